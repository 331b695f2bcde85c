"""Hulls of datasets: labels, resuming, failures, commands."""

from __future__ import annotations

import json
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext

import numpy as np
import pytest
from typer.testing import CliRunner

from crystalcodec import Crystals, Dataset
from crystalcodec.cli.hull import app
from crystalcodec.data import DatasetError
from crystalcodec.data.workers import n_cores
from crystalcodec.failures import Failure
from crystalcodec.registry import UnknownNameError
from crystalcodec.relaxation.base import Evaluated, Potential, PotentialError, Relaxed
from crystalcodec.relaxation.hull import Hull
from crystalcodec.workflow import hulls
from crystalcodec.workflow.hulls import build_hull, label_in_parts


class Made(Potential):
    """Minus 0.1 times the atomic numbers; where elements mix 1.2 eV lower, or 2 of three atoms."""

    name = "chgnet-0.3.0"

    def __init__(self, breaks_after=None):
        self.elements = np.ones(119, bool)
        self.elements[10] = False
        self.calls = 0
        self.breaks_after = breaks_after

    def evaluate(self, crystals):
        if self.calls == self.breaks_after:
            raise KeyboardInterrupt
        self.calls += 1
        energies = np.array(
            [-0.1 * one.numbers.sum() - (0, 1.2, 2.0)[len(one.numbers) - 1] for one in crystals]
        )
        bad = [i for i, one in enumerate(crystals) if 10 in one.numbers]
        energies[bad] = np.nan
        return Evaluated(
            energies,
            np.zeros((len(crystals.numbers), 3)),
            np.zeros((len(crystals), 3, 3)),
            tuple(Failure(i, "element without weights", "no Ne") for i in bad),
        )


@pytest.fixture
def made(monkeypatch):
    potential = Made()
    monkeypatch.setattr(hulls, "_loaded", lambda name: potential)
    return potential


def crystal(*numbers):
    coords = np.stack([np.arange(len(numbers)) / len(numbers), *np.zeros((2, len(numbers)))], 1)
    return Crystals.single(5 * np.eye(3), coords, numbers)


def two_datasets(folder):
    first = Dataset.from_crystals(
        Crystals.concatenate([crystal(3), crystal(8), crystal(3, 3, 8)]), ids=["li", "o", "li2o"]
    )
    second = Dataset.from_crystals(
        Crystals.concatenate([crystal(10), crystal(3, 8)]), ids=["ne", "lio"]
    )
    paths = [folder / "first.parquet", folder / "second.parquet"]
    first.write(paths[0])
    second.write(paths[1])
    return paths


@pytest.mark.usefixtures("made")
def test_a_hull_of_two_datasets(tmp_path):
    paths = two_datasets(tmp_path)
    out = tmp_path / "hull.parquet"
    report = build_hull(paths, out, elements=False)
    assert (report.n_given, len(report.failures), report.n_elements_added) == (5, 1, 0)
    assert report.reasons == {"element without weights": 1}
    assert report.failures[0].index == 3
    assert "no Ne" in report.failures_path.read_text()
    hull = Hull.read(out)
    assert hull.ids.tolist() == ["li", "o", "li2o", "lio"]
    assert hull.energies == pytest.approx([-0.3, -0.8, -3.4 / 3, -2.3 / 2])
    assert hull.formation_energies == pytest.approx([0, 0, -2 / 3, -0.6])
    assert hull.on_hull.all()
    settings = hull.settings
    assert settings["relaxed"] is False
    assert [one["name"] for one in settings["datasets"]] == ["first.parquet", "second.parquet"]
    assert settings["datasets"][0]["content_hash"] == Dataset.read(paths[0]).content_hash
    assert (settings["n_crystals"], settings["n_without_energy"]) == (5, 1)
    assert not (tmp_path / "hull.parquet.parts").exists()
    with pytest.raises(DatasetError, match="exists"):
        build_hull(paths, out)
    assert len(build_hull(paths, out, elements=False, force=True).hull) == 4


@pytest.mark.usefixtures("made")
def test_elemental_references_are_added_and_counted(tmp_path):
    report = build_hull(two_datasets(tmp_path), tmp_path / "hull.parquet")
    own = Hull.elemental("chgnet-0.3.0")
    assert report.n_elements_added == len(own) > 80
    assert report.hull.settings["n_elements_added"] == len(own)
    assert len(report.hull) == 4 + len(own)
    # Those of lithium and oxygen are lower than the made ones.
    assert report.hull.element_energies == pytest.approx(own.element_energies, nan_ok=True)


def test_a_stopped_build_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(hulls, "_PART", 2)
    paths, out = two_datasets(tmp_path), tmp_path / "hull.parquet"
    breaking = Made(breaks_after=2)
    monkeypatch.setattr(hulls, "_loaded", lambda name: breaking)
    with pytest.raises(KeyboardInterrupt):
        build_hull(paths, out, elements=False)
    assert not out.exists()
    assert len(list((tmp_path / "hull.parquet.parts").glob("0*.json"))) == 2
    going_on = Made()
    monkeypatch.setattr(hulls, "_loaded", lambda name: going_on)
    seen = []
    report = build_hull(
        paths, out, elements=False, progress=lambda done, of: seen.append((done, of))
    )
    assert going_on.calls == 1
    assert seen == [(4, 5), (5, 5)]
    whole = build_hull(paths, tmp_path / "other.parquet", elements=False)
    assert report.hull.content_hash == whole.hull.content_hash
    assert [one.index for one in report.failures] == [3]


def test_parts_of_other_crystals_are_not_used(tmp_path, made):
    folder = tmp_path / "parts"
    energies, _ = label_in_parts(crystal(3), folder)
    assert energies == pytest.approx([-0.3])
    energies, _ = label_in_parts(crystal(8), folder)
    assert energies == pytest.approx([-0.8])
    assert made.calls == 2
    label_in_parts(crystal(8), folder)
    assert made.calls == 2
    energies, failures = label_in_parts(Crystals.empty(), folder)
    assert (energies.shape, failures) == ((0,), [])
    strange = tmp_path / "strange"
    strange.mkdir()
    (strange / "mine.txt").write_text("mine")
    with pytest.raises(PotentialError, match="another kind"):
        label_in_parts(crystal(3), strange)


@pytest.mark.usefixtures("made")
def test_sites_too_close_make_no_phase_and_failures_have_ids(tmp_path, monkeypatch):
    """Whatever a potential says of them, which may be far below all else."""
    monkeypatch.setattr(hulls, "_PART", 2)
    close = Crystals.single(5 * np.eye(3), [[0, 0, 0], [0.05, 0, 0]], [3, 3])
    held = Crystals.concatenate([crystal(3), close, crystal(10), crystal(8)])
    Dataset.from_crystals(held, ids=["li", "close", "ne", "o"]).write(tmp_path / "in.parquet")
    report = build_hull([tmp_path / "in.parquet"], tmp_path / "h.parquet", elements=False)
    assert [(one.index, one.source, one.reason) for one in report.failures] == [
        (1, "close", "sites too close"),
        (2, "ne", "element without weights"),
    ]
    assert report.hull.ids.tolist() == ["li", "o"]
    assert report.hull.energies == pytest.approx([-0.3, -0.8])


def test_parts_that_a_kill_left_half_written(tmp_path, made):
    folder = tmp_path / "parts"
    folder.mkdir()
    (folder / ".1a2b3c4d.manifest.json").write_text("{")
    assert label_in_parts(crystal(3), folder)[0] == pytest.approx([-0.3])
    (folder / "manifest.json").write_text("{")
    assert label_in_parts(crystal(3), folder)[0] == pytest.approx([-0.3])
    assert made.calls == 2
    (tmp_path / "file").write_text("mine")
    with pytest.raises(PotentialError, match="is a file"):
        label_in_parts(crystal(3), tmp_path / "file")


def test_a_worker_that_is_killed_is_told_in_one_line(tmp_path, monkeypatch):
    class Broken:
        def map(self, function, items):
            raise BrokenProcessPool

    monkeypatch.setattr(hulls, "_loaded", lambda name: Made())
    monkeypatch.setattr(hulls, "pool_of", lambda jobs: nullcontext(Broken()))
    with pytest.raises(PotentialError, match="fewer jobs goes on"):
        label_in_parts(crystal(3), tmp_path / "parts", jobs=2)


def test_relaxed_energies_are_used_where_wanted(tmp_path, monkeypatch):
    asked = {}

    def relax_in_parts(crystals, folder, potential, *, jobs, progress, **limits):
        asked.update(limits, potential=potential, folder=folder.name)
        kept = np.array([0, 1, 2, 4])
        zeros = np.zeros(4)
        return Relaxed(
            potential,
            5,
            kept,
            crystals[kept],
            np.array([-1.0, -2.0, -3.0, -2.5]),
            *(zeros for _ in range(3)),
            zeros.astype(int),
            np.array([True, True, False, True]),
            zeros,
            zeros,
            (Failure(3, "isolated atoms"),),
            {"max_steps": 7},
        )

    monkeypatch.setattr("crystalcodec.workflow.relaxing.relax_in_parts", relax_in_parts)
    report = build_hull(
        two_datasets(tmp_path), tmp_path / "h.parquet", relax=True, elements=False, max_steps=7
    )
    assert asked == {"max_steps": 7, "potential": "chgnet-0.3.0", "folder": "h.parquet.relaxing"}
    assert report.hull.energies.tolist() == [-1, -2, -3, -2.5]
    assert report.hull.settings["relaxed"] is True
    assert report.hull.settings["n_converged"] == 3
    paths = [str(tmp_path / name) for name in ("first.parquet", "second.parquet")]
    arguments = ["build", *paths, "-o", str(tmp_path / "i.parquet"), "--relax", "--no-elements"]
    assert "1 not converged" in CliRunner().invoke(app, arguments).output
    assert report.reasons == {"isolated atoms": 1}


def test_what_is_refused(tmp_path, made):
    paths = two_datasets(tmp_path)
    with pytest.raises(PotentialError, match="no dataset"):
        build_hull([], tmp_path / "a.parquet")
    with pytest.raises(PotentialError, match="max_steps without relax"):
        build_hull(paths, tmp_path / "a.parquet", max_steps=3)
    with pytest.raises(DatasetError, match="no such file"):
        build_hull([tmp_path / "none.parquet"], tmp_path / "a.parquet")
    Dataset.from_crystals(crystal(10)).write(tmp_path / "neon.parquet")
    with pytest.raises(PotentialError, match="none of 1 crystals"):
        build_hull([tmp_path / "neon.parquet"], tmp_path / "a.parquet", elements=False)
    # A hull of the package's elements alone would look like one of the dataset.
    with pytest.raises(PotentialError, match="none of 1 crystals"):
        build_hull([tmp_path / "neon.parquet"], tmp_path / "a.parquet")
    assert not (tmp_path / "a.parquet").exists()


def test_an_unknown_potential_is_told_before_any_work(tmp_path):
    with pytest.raises(UnknownNameError, match=r"chgnet-0\.3\.0"):
        build_hull(two_datasets(tmp_path), tmp_path / "a.parquet", "chgnet-0.3")
    assert not (tmp_path / "a.parquet").exists()


@pytest.mark.usefixtures("made")
def test_commands(tmp_path):
    run = CliRunner().invoke
    paths, out = two_datasets(tmp_path), tmp_path / "hull.parquet"
    assert n_cores() >= 1
    built = run(app, ["build", *map(str, paths), "-o", str(out), "-j", "1", "--no-elements"])
    assert built.exit_code == 0, built.output
    assert "5 crystals, 1 without an energy" in built.output
    assert "4 phases in" in built.output
    told = run(app, ["info", str(out)]).output
    assert "potential: chgnet-0.3.0" in told
    assert json.loads(told[told.index("{") :])["n_crystals"] == 5
    shown = run(app, ["show", str(out), "Li3O"]).output
    # Li3O is 3/4 Li2O and 1/4 Li of the atoms: -1/2 from the elements.
    assert "-0.5000 eV/atom from the elements" in shown
    assert [line.split()[:2] for line in shown.splitlines()[2:]] == [
        ["0.7500", "Li2O"],
        ["0.2500", "Li"],
    ]
    listed = run(app, ["show", str(out), "--system", "Li-O"]).output
    assert "4 of 4 phases of Li-O" in listed
    assert [line.split()[0] for line in listed.splitlines()[2:]] == ["Li", "Li2O", "Li2O2", "O2"]
    assert run(app, ["show", str(out)]).exit_code == 2
    assert run(app, ["show", str(out), "LiO", "--system", "Li-O"]).exit_code == 2
    assert run(app, ["show", str(out), "--system", "Li-X"]).exit_code == 2
