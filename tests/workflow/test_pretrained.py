"""The predictors of the package: known crystals, tables of several models, files, refusals."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import crystalcodec
from crystalcodec.cli import app
from crystalcodec.crystals import Crystals
from crystalcodec.failures import Failure
from crystalcodec.registry import PRETRAINED, UnknownNameError
from crystalcodec.testing import sample_crystals
from crystalcodec.workflow.checkpoints import CheckpointError
from crystalcodec.workflow.predictions import Predictions, joined
from crystalcodec.workflow.pretrained import FOLDER, open_pretrained
from crystalcodec.workflow.runs import RunError

EXAMPLES = Path(__file__).parents[2] / "examples"
FILES = [EXAMPLES / f"{name}.cif" for name in ("NaCl", "MgO", "Si", "GaAs")]


def table(targets, values, failures=(), **others):
    n = len(values)
    blank = ("",) * n
    values = np.array(values, float)
    return Predictions(
        targets, ("eV",) * len(targets), values, failures, blank, blank, blank, **others
    )


def test_known_crystals():
    """Published: NaCl -2.11, MgO -3.05 eV/atom; elements 0; NaCl and MgO are wide, Si is not."""
    made = crystalcodec.predict(FILES)
    assert made.targets == tuple(PRETRAINED)
    energies = made.of("formation_energy_per_atom")
    assert energies[:2] == pytest.approx([-2.11, -3.05], abs=0.12)
    assert energies[2] == pytest.approx(0, abs=0.12)
    gaps = made.of("band_gap")
    assert gaps[0] > 4
    assert gaps[1] > 3.5
    assert gaps[2] < 2
    assert made.of("bulk_modulus_vrh") == pytest.approx([24, 150, 88, 60], rel=0.5)
    # An interval of a quantity that is never negative ends at 0, whatever the value is.
    assert (made.lower <= np.maximum(made.values, 0)).all()
    assert (made.upper > made.values).all()
    assert (made.upper - made.lower)[:, 0] == pytest.approx(0.08, abs=0.05)
    assert not made.failures


def test_structures_of_other_libraries_are_the_same_crystals():
    crystals = crystalcodec.read(FILES).crystals
    wanted = crystalcodec.predict(crystals, "band_gap").values
    for convert in (crystalcodec.to_pymatgen, crystalcodec.to_ase):
        got = crystalcodec.predict(convert(crystals), "band_gap")
        assert got.targets == ("band_gap",)
        assert np.allclose(got.values, wanted, atol=1e-3)


def test_what_is_no_structure():
    with pytest.raises(TypeError, match="got int: wanted Crystals"):
        crystalcodec.predict(3)
    with pytest.raises(TypeError, match="got nothing"):
        crystalcodec.predict([])
    with pytest.raises(UnknownNameError, match="did you mean 'band_gap'"):
        crystalcodec.predict(FILES[0], "bandgap")


def test_an_element_never_seen_is_a_row_without_a_number():
    odd = Crystals.single(np.eye(3) * 4, [[0, 0, 0]], [118])
    made = crystalcodec.predict(odd)
    assert np.isnan(made.values).all()
    assert "Og" in made.failures[0].detail
    assert np.isfinite(crystalcodec.predict(odd, allow_unseen=True).values).all()


def test_the_command(tmp_path):
    out = tmp_path / "table.json"
    arguments = ["predict", *map(str, FILES), "-p", "band_gap,magnetization", "-o", str(out)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    rows = json.loads(out.read_text())
    assert [row["formula"] for row in rows] == ["NaCl", "MgO", "Si", "GaAs"]
    assert {"band_gap", "band_gap_lower", "magnetization"} <= {*rows[0]}
    assert "formation_energy_per_atom" not in rows[0]


def test_all_models_are_there_small_and_described():
    folders = {*PRETRAINED.values()}
    there = {path.name for path in FOLDER.iterdir() if path.is_dir()}
    assert there - {"generators"} == folders
    files = [path for name in folders for path in (FOLDER / name).rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    assert size < 8e6
    for name in folders:
        card = (FOLDER / name / "card.md").read_text(encoding="utf-8")
        for said in ("CC BY 4.0", "MP-20", "## Figures", "not be used"):
            assert said in card
    opened = open_pretrained()
    assert [p for _, properties in opened.models for p in properties] == [*PRETRAINED]


def test_damaged_weights_are_refused(tmp_path, monkeypatch):
    import shutil

    monkeypatch.setattr("crystalcodec.workflow.pretrained.FOLDER", tmp_path)
    shutil.copytree(FOLDER, tmp_path, dirs_exist_ok=True)
    for path in tmp_path.rglob("model.safetensors"):
        path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\1")
    with pytest.raises((RunError, CheckpointError), match="damaged"):
        crystalcodec.predict(sample_crystals(2))


def test_tables_side_by_side():
    failed = (Failure(1, "unseen element", "Og"), Failure(2, "too large", "300 sites"))
    one = table(
        ("a", "b"),
        [[1, 2], [np.nan, np.nan], [np.nan, np.nan]],
        failed,
        lower=np.zeros((3, 2)),
        warnings=("few Tc", "", ""),
    )
    other = table(("c",), [[3], [4], [np.nan]], failed[1:], warnings=("few Tc", "far", ""))
    both = joined([one, other])
    assert both.targets == ("a", "b", "c")
    assert np.array_equal(both.values[:, 2], [3, 4, np.nan], equal_nan=True)
    assert both.failures == failed[1:]
    assert both.warnings == ("few Tc", "no a, b: unseen element (Og); far", "")
    assert np.array_equal(both.lower[0], [0, 0, np.nan], equal_nan=True)
    assert both.upper is None
    assert joined([one]) is one
    assert joined([one, replace(other, coverage=0.9)]).coverage == 0.9


def test_selection_of_targets():
    one = table(
        ("a", "b"), [[1, 2]], spread=np.array([[0.1, 0.2]]), probabilities={"a": np.ones(1)}
    )
    part = one.select(["b"])
    assert part.targets == ("b",)
    assert part.values.tolist() == [[2.0]]
    assert part.spread.tolist() == [[0.2]]
    assert part.probabilities == {}
    with pytest.raises(KeyError, match="no target 'c'"):
        one.select(["c"])


def test_ids_of_files_and_no_named_property(run):
    made = crystalcodec.predict(FILES[2], [], model=run.folder, ids=["silicon"])
    assert (made.targets, made.ids) == (("energy",), ("silicon",))
    twice = crystalcodec.predict(FILES[2], ["energy", "energy"], model=run.folder)
    assert (twice.targets, twice.ids) == (("energy",), ("Si",))
