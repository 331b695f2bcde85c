"""Builds of slices: what is recorded draws the same picture again; kills and bad files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner

from crystalcodec.cli.slices import slices as slices_command
from crystalcodec.crystals import Crystals
from crystalcodec.data import Dataset, DatasetError
from crystalcodec.data.slice_dataset import SliceOptions, build_slice_dataset
from crystalcodec.io.png import read_png
from crystalcodec.io.writing import poscar_texts
from crystalcodec.representations.base import RepresentationError
from crystalcodec.representations.slices import DensitySlices
from crystalcodec.representations.slices.charge import ChargeSlicing
from crystalcodec.representations.slices.drawing import SliceStyle, draw_slice
from crystalcodec.representations.slices.planes import Planes
from crystalcodec.testing import sample_crystals

STYLE = SliceStyle(size=24, width=8.0)
OPTIONS = SliceOptions(planes=2, style=STYLE)
ROW = Crystals.single(np.eye(3) * 6, [[0, 0, z] for z in (0.1, 0.3, 0.6)], [1, 1, 1])


def rows_of(folder: Path) -> list[dict]:
    return pq.read_table(folder / "slices.parquet").to_pylist()


def pictures_of(folder: Path) -> np.ndarray:
    if (folder / "slices.npy").exists():
        return np.load(folder / "slices.npy")
    return np.array([read_png(folder / row["image"]).pixels for row in rows_of(folder)])


def write_chgcar(path: Path, values: np.ndarray, cell: float = 5.0) -> Path:
    numbers = " ".join(f"{v:.11E}" for v in (values * cell**3).ravel(order="F"))
    grid = " ".join(map(str, values.shape))
    lattice = f"{cell} 0 0\n0 {cell} 0\n0 0 {cell}"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"x\n1\n{lattice}\nNa\n1\nDirect\n0 0 0\n\n{grid}\n{numbers}\n")
    return path


@pytest.mark.parametrize("output", ["png", "array"])
def test_every_picture_can_be_drawn_again_from_its_row(tmp_path, output):
    crystals = sample_crystals(12, seed=1)
    report = build_slice_dataset(crystals, tmp_path / "s", OPTIONS, output=output)
    rows, pictures = rows_of(tmp_path / "s"), pictures_of(tmp_path / "s")
    kept = Dataset.read(tmp_path / "s" / "crystals.parquet")
    assert report.n_pictures == len(rows) == 24
    assert report.n_crystals == len(kept) == 12
    assert not report.failures
    assert not (tmp_path / "s" / "parts").exists()
    expected = DensitySlices(n_planes=2, size=24, width=8.0).encode(crystals)["density_slices"]
    for i, (row, picture) in enumerate(zip(rows, pictures, strict=True)):
        crystal = kept.crystals[row["crystal"]]
        assert kept.ids[row["crystal"]] == row["id"] == str(i // 2)
        assert crystal.formulas[0] == row["formula"]
        frame = np.array([row["right"], row["up"], row["normal"]])
        planes = Planes(
            np.array([row["sites"]]),
            np.array(row["translations"]).reshape(1, 3, 3),
            frame[None],
            np.array([row["origin"]]),
            row["scale"],
        )
        again, n = draw_slice(crystal, planes, 0, STYLE)
        np.testing.assert_array_equal(picture, np.rint(again * 255))
        np.testing.assert_array_equal(picture, np.rint(expected[i // 2, i % 2] * 255))
        assert row["n_atoms"] == n
        coords = crystal.frac_coords[row["sites"]] + planes.translations[0]
        apart = coords @ crystal.lattices[0] * row["scale"] - row["origin"]
        assert np.abs(apart @ frame[2]).max() < 1e-9


def test_all_planes_and_fewer_than_wanted(tmp_path):
    crystals = sample_crystals(3, seed=5, max_sites=5)
    every = build_slice_dataset(crystals, tmp_path / "all", replace(OPTIONS, planes="all"))
    drawn = build_slice_dataset(
        crystals, tmp_path / "many", replace(OPTIONS, planes=500, translates=True)
    )
    assert every.n_pictures < drawn.n_pictures < 1500
    assert not drawn.failures


def test_failures_are_counted_by_reason(tmp_path):
    one = Crystals.single(np.eye(3) * 3, [[0, 0, 0]], [26])
    crystals = Crystals.concatenate([sample_crystals(3, seed=1)[1:], ROW, one])
    report = build_slice_dataset(
        crystals, tmp_path / "s", replace(OPTIONS, planes=1, translates=False)
    )
    assert report.failures == {"collinear atoms": 1, "fewer than three atoms": 1}
    assert report.n_crystals == 2
    text = (tmp_path / "s" / "failures.csv").read_text()
    assert "collinear atoms,all 3 atoms stand in a row" in text
    assert json.loads((tmp_path / "s" / "build.json").read_text())["failures"] == report.failures
    with pytest.raises(DatasetError, match="no slice: 1 collinear atoms"):
        build_slice_dataset(ROW, tmp_path / "t", replace(OPTIONS, translates=False))


def test_densities_are_cut_and_bad_ones_counted(tmp_path):
    values = np.random.default_rng(0).uniform(0.5, 1, (6, 5, 4))
    values[0] = 0
    write_chgcar(tmp_path / "run" / "CHGCAR", values)
    write_chgcar(tmp_path / "run" / "CHGCAR_other", values)
    short = (tmp_path / "run" / "CHGCAR").read_text()[:-60]
    (tmp_path / "run" / "CHGCAR_short").write_text(short)
    (tmp_path / "run" / "POSCAR").write_text("not read where there are densities")
    report = build_slice_dataset(tmp_path / "run", tmp_path / "s", replace(OPTIONS, bits=16))
    assert report.failures == {"cut off": 1}
    assert (report.n_crystals, report.n_pictures, report.n_sparse) == (2, 28, 2)
    rows, pictures = rows_of(tmp_path / "s"), pictures_of(tmp_path / "s")
    slicing = ChargeSlicing(size=24)
    from crystalcodec.io.volumetric import read_volumetric

    wanted = [
        one
        for one in slicing.cut(read_volumetric(tmp_path / "run" / "CHGCAR")[0])
        if one.picture is not None
    ]
    assert [(row["axis"], row["index"]) for row in rows[:14]] == [(o.axis, o.index) for o in wanted]
    np.testing.assert_array_equal(pictures[:14], [np.rint(o.picture * 65535) for o in wanted])
    assert {row["kind"] for row in rows} == {"total"}
    assert {row["n_atoms"] for row in rows} == {-1}
    empty = write_chgcar(tmp_path / "CHGCAR_hole", np.where(np.arange(8).reshape(2, 2, 2), 0, 9.0))
    with pytest.raises(DatasetError, match="1 sparse slices"):
        build_slice_dataset(
            empty, tmp_path / "u", replace(OPTIONS, charge=ChargeSlicing(min_share=0.9))
        )


def test_a_grid_point_that_one_density_lacks_stops_no_other(tmp_path):
    write_chgcar(tmp_path / "run" / "CHGCAR_small", np.ones((4, 4, 4)))
    write_chgcar(tmp_path / "run" / "CHGCAR_large", np.ones((8, 8, 8)))
    options = replace(OPTIONS, charge=ChargeSlicing(axes=(2,), indices=(6,)))
    report = build_slice_dataset(tmp_path / "run", tmp_path / "s", options)
    assert report.failures == {"no such grid point": 1}
    assert report.n_pictures == 1


def test_crystals_are_read_from_files(tmp_path, make_crystals):
    crystals = make_crystals(3)
    for i, text in enumerate(poscar_texts(crystals, ["a", "b", "c"])):
        (tmp_path / f"POSCAR.{i}").write_text(text)
    (tmp_path / "POSCAR.bad").write_text("no crystal")
    report = build_slice_dataset([str(tmp_path / "POSCAR.*")], tmp_path / "s", OPTIONS)
    assert report.n_crystals == 3
    assert report.failures == {"not a POSCAR": 1}


def test_processes_change_nothing(tmp_path):
    crystals = Crystals.concatenate([sample_crystals(24, seed=i) for i in range(3)])
    for jobs in (1, 2):
        build_slice_dataset(crystals, tmp_path / str(jobs), OPTIONS, output="array", jobs=jobs)
    for name in ("slices.npy", "slices.parquet"):
        one, two = ((tmp_path / jobs / name).read_bytes() for jobs in ("1", "2"))
        assert one == two


def test_what_is_there_is_not_replaced_unasked(tmp_path):
    crystals = sample_crystals(4)
    build_slice_dataset(crystals, tmp_path / "s", OPTIONS)
    with pytest.raises(DatasetError, match="a finished build"):
        build_slice_dataset(crystals, tmp_path / "s", OPTIONS)
    with pytest.raises(DatasetError, match="a finished build"):
        build_slice_dataset(crystals, tmp_path / "s", replace(OPTIONS, seed=1))
    report = build_slice_dataset(crystals[:2], tmp_path / "s", OPTIONS, output="array", force=True)
    assert report.n_pictures == 4
    assert not (tmp_path / "s" / "images").exists()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("")
    with pytest.raises(DatasetError, match=r"other files, such as thesis.tex"):
        build_slice_dataset(crystals, tmp_path / "other", OPTIONS, force=True)
    with pytest.raises(DatasetError, match="wanted 'png' or 'array'"):
        build_slice_dataset(crystals, tmp_path / "x", OPTIONS, output="gif")


_BUILD = """
import sys
from crystalcodec.crystals import Crystals
from crystalcodec.data.slice_dataset import SliceOptions, build_slice_dataset
from crystalcodec.representations.slices.representation import SliceStyle
from crystalcodec.testing import sample_crystals
if __name__ == "__main__":
    crystals = Crystals.concatenate([sample_crystals(24, seed=i) for i in range(8)])
    options = SliceOptions(planes=2, style=SliceStyle(size=24, width=8.0))
    build_slice_dataset(crystals, sys.argv[1], options)
"""


def test_a_killed_build_goes_on(tmp_path):
    script = tmp_path / "build.py"
    script.write_text(_BUILD)
    command = [sys.executable, str(script), str(tmp_path / "s")]
    process = subprocess.Popen(command)
    parts = tmp_path / "s" / "parts"
    until = time.monotonic() + 60
    while not any(parts.glob("0*.json")) and time.monotonic() < until and process.poll() is None:
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    crystals = Crystals.concatenate([sample_crystals(24, seed=i) for i in range(8)])
    before = len([*parts.glob("0*.json")])
    assert before >= 1
    with pytest.raises(DatasetError, match="a build of other options"):
        build_slice_dataset(crystals, tmp_path / "s", replace(OPTIONS, seed=3))
    report = build_slice_dataset(crystals, tmp_path / "s", OPTIONS)
    assert report.n_parts_before == before
    build_slice_dataset(crystals, tmp_path / "whole", OPTIONS)
    np.testing.assert_array_equal(pictures_of(tmp_path / "s"), pictures_of(tmp_path / "whole"))
    assert rows_of(tmp_path / "s") == rows_of(tmp_path / "whole")


@pytest.mark.parametrize(
    "parameters", [{"planes": 0}, {"planes": "some"}, {"bits": 12}, {"symprec": 0}]
)
def test_odd_options_are_refused(parameters):
    with pytest.raises(RepresentationError, match=next(iter(parameters))):
        SliceOptions(**parameters)


def test_the_command(tmp_path):
    app = typer.Typer()
    app.command()(slices_command)
    density = write_chgcar(tmp_path / "CHGCAR", np.ones((2, 3, 4)) + np.arange(4))
    (tmp_path / "CHGCAR_bad").write_text("nothing")
    command = [str(density), str(tmp_path / "CHGCAR_bad"), "-o", str(tmp_path / "s")]
    result = CliRunner().invoke(
        app, [*command, "--size", "16", "--axes", "ab", "--as", "array", "-j", "1"]
    )
    assert result.exit_code == 0, result.output
    assert "5 pictures of 1 crystals" in result.output
    assert "without a picture: cut off" in result.output
    assert np.load(tmp_path / "s" / "slices.npy").shape == (5, 16, 16)
    for bad in (["--planes", "few"], ["--axes", "xy"], ["--indices", "a"]):
        assert CliRunner().invoke(app, [*command, *bad]).exit_code == 2
