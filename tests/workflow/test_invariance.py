"""Representations whose behaviour is known in advance are told as they are."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from typer.testing import CliRunner

from crystalcodec import Crystals, prototypes, write
from crystalcodec.cli import app
from crystalcodec.plots.invariance import invariance_figure
from crystalcodec.registry import MissingExtraError
from crystalcodec.representations.base import (
    FailureNotes,
    Field,
    RaggedRepresentation,
    Representation,
)
from crystalcodec.representations.minimum_distances import PDD
from crystalcodec.testing import sample_crystals
from crystalcodec.workflow.invariance import (
    CHANGES,
    another_cell,
    continuity,
    measure_invariance,
    table,
    write_invariance,
)

pytestmark = pytest.mark.pictures


@dataclass(frozen=True)
class Fake(Representation):
    """One array, (n, k)."""

    what: str = "density"
    name: ClassVar[str] = "fake"
    lost: ClassVar[str] = "nearly everything"

    @property
    def fields(self):
        kind = "periodic" if self.what == "circle" else "continuous"
        return (Field("all", kind, "all", (len(self._columns(sample_crystals(1))[0]),)),)

    def _columns(self, crystals):
        first = crystals.offsets[:-1]
        columns = {
            "density": lambda: crystals.densities,
            "sites": lambda: crystals.n_sites,
            "lattice": lambda: crystals.lattices.reshape(-1, 9).T,
            "metric": lambda: (
                (crystals.lattices @ crystals.lattices.transpose(0, 2, 1)).reshape(-1, 9).T
            ),
            "first": lambda: crystals.frac_coords[first, 0] + crystals.numbers[first] * 1000,
            "circle": lambda: crystals.frac_coords[first, 0],
            "spread": lambda: np.add.reduceat(
                (
                    (crystals.cart_coords - crystals.cart_coords[first][crystals.crystal_indices])
                    ** 2
                ).sum(axis=1),
                first,
            ),
            "steps": lambda: np.floor(crystals.frac_coords[first, 0] * 40),
        }
        return np.atleast_2d(columns[self.what]()).T

    def _encode(self, crystals):
        if not len(crystals):
            return {"all": np.zeros((0, self.fields[0].shape[0]), np.float32)}
        return {"all": self._columns(crystals).astype(np.float32)}


@dataclass(frozen=True)
class Small(Fake):
    """Crystals of at most ten sites."""

    name: ClassVar[str] = "small"

    def refuse(self, crystals):
        notes = FailureNotes()
        notes.add_too_many_sites(crystals, 10)
        return notes.in_order()


@dataclass(frozen=True)
class Sites(RaggedRepresentation):
    """A row a site: its element and its distance to the first image of itself."""

    name: ClassVar[str] = "sites"
    lost: ClassVar[str] = "nearly everything"

    @property
    def fields(self):
        return (
            Field("numbers", "index", "numbers", ("sites",)),
            Field("volume", "continuous", "volume", ("sites", 2)),
        )

    def _encode_ragged(self, crystals):
        volumes = crystals.volumes[crystals.crystal_indices]
        rows = np.stack([volumes, crystals.numbers], axis=1).astype(np.float32)
        return {"numbers": crystals.numbers, "volume": rows}, {"sites": crystals.offsets}


def verdicts(representation, crystals=None):
    crystals = sample_crystals(16, max_sites=8)[4:] if crystals is None else crystals
    return {row.change: row.verdict for row in measure_invariance([representation], crystals)}


def expected(**others):
    return {**dict.fromkeys(CHANGES, "exact"), **others}


@pytest.mark.parametrize(
    ("what", "others"),
    [
        ("density", {}),
        ("sites", {"supercell": "changes"}),
        ("lattice", {"rotation": "continuous", "supercell": "changes", "unit_cell": "changes"}),
        ("metric", {"supercell": "changes", "unit_cell": "changes"}),
    ],
)
def test_what_does_not_depend_on_positions(what, others):
    assert verdicts(Fake(what)) == expected(**others)
    assert continuity(Fake(what), sample_crystals()) == "constant"


def test_positions_are_continuous_on_a_circle_only():
    at_the_face = Crystals.concatenate(
        Crystals.single(np.eye(3) * 5, [[0.0, 0.2, 0.1 * i], [0.5, 0.5, 0.5]], [8, 20 + i])
        for i in range(6)
    )
    assert verdicts(Fake("circle"), at_the_face)["rattle"] == "continuous"
    assert verdicts(Fake("first"), at_the_face)["rattle"] == "changes"
    assert continuity(Fake("circle"), at_the_face) == "continuous"
    assert continuity(Fake("first"), at_the_face) == "discontinuous"
    assert continuity(Fake("steps"), at_the_face) == "discontinuous"


def test_the_size_is_in_units_of_the_distance_between_crystals():
    cells = Crystals.concatenate(
        Crystals.single(np.eye(3) * a, [[0, 0, 0]], [14]) for a in (3.0, 4.0, 5.0)
    )
    rows = measure_invariance([Fake("sites"), Fake("metric")], cells)
    # All have one site: no distance between them, so that the plain change is told.
    assert next(row.median for row in rows if row.change == "supercell") == 1.0
    metric = next(r for r in rows[len(CHANGES) :] if r.change == "supercell")
    # c² goes from a² to 4 a²; the entries of the diagonal vary alike.
    squares = np.array([9.0, 16, 25])
    assert metric.median == pytest.approx(3 * 16 / np.sqrt(2 * 3 * squares.var()), rel=1e-6)
    assert metric.largest == pytest.approx(3 * 25 / np.sqrt(2 * 3 * squares.var()), rel=1e-6)


def test_rows_in_another_order_are_told_from_other_rows():
    assert verdicts(Sites()) == expected(permutation="reordered", supercell="changes")
    rows = measure_invariance([Sites()], sample_crystals(16))
    assert next(row for row in rows if row.change == "supercell").median == np.inf


def test_rows_that_part_under_any_move_have_jumped():
    """However little the atoms move, sites of a supercell are no longer alike."""
    crystals = sample_crystals(6, max_sites=4).supercell(2)
    pdd = PDD(k=1, tolerance=1e-6)
    assert continuity(pdd, crystals) == "discontinuous"
    rattled = next(r for r in measure_invariance([pdd], crystals) if r.change == "rattle")
    assert (rattled.verdict, rattled.median) == ("changes", np.inf)


def test_what_cannot_be_held_is_counted():
    crystals = sample_crystals(16, max_sites=10)
    rows = {row.change: row for row in measure_invariance([Small("density")], crystals)}
    held = int((crystals.n_sites <= 5).sum())
    assert (rows["supercell"].n, rows["supercell"].n_refused) == (held, 16 - held)
    assert rows["supercell"].reasons == {"too many sites": 16 - held}
    assert rows["rotation"].n_refused == 0
    large = crystals[crystals.n_sites > 5]
    rows = measure_invariance([Small("density")], large)
    assert next(row for row in rows if row.change == "supercell").verdict == "none held"


def test_another_cell_is_the_same_crystal():
    crystals = sample_crystals(8)
    other = another_cell(crystals, np.random.default_rng(0))
    np.testing.assert_allclose(other.volumes, crystals.volumes)
    np.testing.assert_array_equal(other.n_sites, crystals.n_sites)
    turned = np.linalg.solve(
        crystals.lattices.transpose(0, 2, 1), other.lattices.transpose(0, 2, 1)
    )
    np.testing.assert_allclose(turned, np.rint(turned), atol=1e-9)
    assert not np.allclose(turned[0], np.eye(3))
    moved = crystals.to_fractional(other.cart_coords) - crystals.frac_coords
    np.testing.assert_allclose(moved, np.rint(moved), atol=1e-9)


def test_one_crystal_is_too_few():
    with pytest.raises(ValueError, match="1 crystals: wanted at least two"):
        measure_invariance([Fake()], sample_crystals(1))


def test_table_figure_and_file(tmp_path):
    rows = measure_invariance([Fake("density"), Sites()], sample_crystals(16))
    lines = table(rows).splitlines()
    assert lines[0].split() == ["representation", *CHANGES]
    assert lines[2].startswith("sites")
    assert "changes other size" in lines[2]
    texts = [text.get_text() for text in invariance_figure(rows).axes[0].texts]
    assert texts.count("exact") == 10
    assert texts.count("reordered") == 1
    assert texts.count("other size") == 1
    write_invariance(rows, tmp_path / "rows.json", n=16)
    document = json.loads((tmp_path / "rows.json").read_text())
    assert document["n"] == 16
    assert len(document["rows"]) == 12
    assert [r["median"] for r in document["rows"] if r["verdict"] == "changes"] == [None]


def run(*arguments):
    return CliRunner().invoke(app, ["invariance", *map(str, arguments)])


def test_the_command(tmp_path, monkeypatch):
    write(prototypes().crystals[:12], tmp_path / "some.extxyz")
    out, numbers = tmp_path / "table.png", tmp_path / "table.json"
    result = run(
        tmp_path / "some.extxyz", "--as", "ircr,density_cell", "-n", 8, "-o", out, "--json", numbers
    )
    assert result.exit_code == 0, result.output
    assert out.read_bytes()[:4] == b"\x89PNG"
    document = json.loads(numbers.read_text())
    assert document["n"] == 8
    assert {row["representation"] for row in document["rows"]} == {"ircr", "density_cell"}
    assert "ircr" in result.output
    assert "exact" in result.output
    wrong = run(tmp_path / "some.extxyz", "--as", "ircr", "-o", tmp_path / "table.txt")
    assert wrong.exit_code != 0
    assert ".png" in wrong.output

    def missing(*arguments, **options):
        raise MissingExtraError("dscribe is not installed: pip install 'crystalcodec[descriptors]'")

    monkeypatch.setattr("crystalcodec.workflow.invariance.measure_invariance", missing)
    result = run(tmp_path / "some.extxyz", "--as", "ircr")
    assert "ircr is left out: dscribe is not installed" in result.output
