"""Calibration of a model: what is written, what comes back, what is said where it cannot be."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from crystalcodec.evaluation.intervals import Conformal, IntervalError
from crystalcodec.workflow.calibration import (
    Calibration,
    HeldOut,
    limit_of,
    open_held_out,
    pooled,
    save_held_out,
)
from crystalcodec.workflow.checkpoints import CheckpointError

UNITS = {"energy": "eV", "gap": "eV"}
LIMITS = {"energy": None, "gap": 0.0}


def held_out(n=400, seed=0, spread=True):
    """Errors that grow with the distance, and with the spread where there is one."""
    rng = np.random.default_rng(seed)
    distances = rng.gamma(4, size=n) / 4
    errors = rng.normal(size=(n, 2)) * distances[:, None] * [0.1, 0.5]
    targets = rng.normal(size=(n, 2))
    targets[:, 1] = np.maximum(targets[:, 1], 0)
    values = targets + errors
    targets[: n // 10, 1] = np.nan
    return HeldOut(
        targets,
        values,
        np.tile(distances[:, None], 2) * 0.1 if spread else None,
        distances,
        rng.integers(1, 5, n),
        f"hash {seed}",
    )


def test_coverage_on_test_rows_is_near_what_was_asked():
    parts = {"validation": held_out(2000), "test": held_out(2000, 1)}
    made = Calibration.fit(UNITS, parts, LIMITS, members=3)
    document = made.document
    assert (document["checked_on"], document["members"]) == ("test", 3)
    for name, n in (("energy", 2000), ("gap", 1800)):
        described = document["targets"][name]
        assert described["n"] == n
        for coverage, figures in described["coverage"].items():
            assert figures["n"] == n
            # An interval that is cut to the point 0 still holds targets that are 0.
            most = 0.04 if name == "energy" else 0.2
            assert -0.04 < figures["inside"] - float(coverage) < most
            assert figures["low"] < figures["inside"] < figures["high"]
            quarters = [figures["groups"][f"distance, quarter {k} of 4"] for k in (1, 2, 3, 4)]
            assert sum(quarter["n"] for quarter in quarters) == n
            # Widths follow the spread, which grows with the distance.
            assert quarters[0]["median_width"] < quarters[3]["median_width"]
        assert sum(described["coverage"]["0.9"]["groups"][f"{k} elements"]["n"] for k in (2, 3)) > 0
        assert described["distance_and_error"]["spearman"] > 0.2
        assert (np.diff(described["distance_and_error"]["mae_by_quarter"]) > 0).all()
    assert document["targets"]["energy"]["lower_limit"] is None
    assert document["targets"]["gap"]["lower_limit"] == 0


def test_without_test_rows_folds_are_checked():
    made = Calibration.fit(UNITS, {"validation": held_out(300, spread=False)}, LIMITS)
    assert made.document["checked_on"] == "validation, 10 folds"
    energy = made.document["targets"]["energy"]
    assert energy["score"] == "|error|"
    assert energy["spread_and_error"] is None
    assert energy["coverage"]["0.9"]["n"] == 300
    assert energy["coverage"]["0.9"]["low"] < 0.9 < energy["coverage"]["0.9"]["high"]
    # One width: the far ones are covered less, and that is told.
    groups = energy["coverage"]["0.9"]["groups"]
    near, far = groups["distance, quarter 1 of 4"], groups["distance, quarter 4 of 4"]
    assert near["inside"] > far["inside"]


def test_it_comes_back_and_gives_the_same_intervals(tmp_path):
    rows = held_out()
    made = Calibration.fit(UNITS, {"validation": rows}, LIMITS, 3)
    made.save(tmp_path, {"seeds": ["a"]})
    back = Calibration.open(tmp_path)
    assert back.document["seeds"] == ["a"]
    wanted = made.intervals(list(UNITS), rows.values, rows.spread, 0.9)
    got = back.intervals(list(UNITS), rows.values, rows.spread, 0.9)
    np.testing.assert_allclose(got[0], wanted[0], atol=1e-5)
    np.testing.assert_allclose(got[1], wanted[1], atol=1e-5)
    # Rounded to the file's precision, an interval is never smaller.
    assert (got[1] >= wanted[1]).all()
    assert got[0][:, 1].min() == 0 > got[0][:, 0].min()
    swapped = back.intervals(["gap", "energy"], rows.values[:, ::-1], rows.spread[:, ::-1], 0.9)
    np.testing.assert_array_equal(swapped[0], got[0][:, ::-1])
    with pytest.raises(IntervalError, match="wanted the spread"):
        back.intervals(list(UNITS), rows.values, None, 0.9)
    with pytest.raises(IntervalError, match="between 0 and 1"):
        back.intervals(list(UNITS), rows.values, rows.spread, 90)


def test_a_target_without_a_calibration_has_no_interval():
    made = Calibration.fit({"energy": "eV"}, {"validation": held_out()}, {"energy": None})
    lower, upper, lines = made.intervals(
        ["energy", "metal"], np.zeros((3, 2)), np.ones((3, 2)), 0.9
    )
    assert np.isnan(lower).tolist() == np.isnan(upper).tolist() == [[False, True]] * 3
    assert lines == {}


def test_too_few_validation_crystals_are_said():
    made = Calibration.fit(UNITS, {"validation": held_out(10)}, LIMITS)
    rows = held_out(3)
    lower, upper, lines = made.intervals(list(UNITS), rows.values, rows.spread, 0.95)
    assert np.isnan([lower, upper]).all()
    assert lines["energy"] == (
        "no 95 % interval: it needs at least 19 validation crystals, the model has 10"
    )
    assert len(lines) == 2
    assert made.intervals(list(UNITS), rows.values, rows.spread, 0.9)[2] == {}
    figures = made.document["targets"]["energy"]["coverage"]["0.95"]
    assert figures["n"] == 0
    assert figures["inside"] is None
    json.dumps(made.document)


def test_all_missing_targets_give_no_interval_and_no_error():
    rows = held_out(20)
    empty = dataclasses.replace(rows, targets=np.full_like(rows.targets, np.nan))
    made = Calibration.fit(UNITS, {"validation": empty}, LIMITS)
    lower, _, lines = made.intervals(list(UNITS), rows.values, rows.spread, 0.5)
    assert np.isnan(lower).all()
    assert "the model has 0" in lines["energy"]


def test_limits():
    assert limit_of(np.array([0.0, 2.0, np.nan])) == 0
    assert limit_of(np.array([-1e-9, 2.0])) is None
    assert limit_of(np.array([np.nan])) is None


def test_runs_are_pooled_where_their_crystals_are_the_same(tmp_path):
    one = {"validation": held_out(spread=False), "test": held_out(5, 1, spread=False)}
    other = {
        "validation": dataclasses.replace(
            one["validation"], values=one["validation"].values + 0.2, distances=None
        ),
        "test": held_out(5, 2, spread=False),
    }
    save_held_out(tmp_path / "other.safetensors", other)
    together = pooled([one, open_held_out(tmp_path / "other.safetensors")])
    assert list(together) == ["validation"]
    rows = together["validation"]
    np.testing.assert_allclose(rows.values, one["validation"].values + 0.1)
    np.testing.assert_allclose(rows.spread, 0.2 / np.sqrt(2))
    assert np.array_equal(rows.distances, one["validation"].distances)
    assert rows.spread.shape == rows.values.shape


def test_damaged_files_are_refused(tmp_path):
    save_held_out(tmp_path / "held_out.safetensors", {"validation": held_out(5)})
    with pytest.raises(CheckpointError, match="no file"):
        Calibration.open(tmp_path)
    made = Calibration.fit(UNITS, {"validation": held_out()}, LIMITS)
    made.save(tmp_path)
    with pytest.raises(CheckpointError, match="something else"):
        open_held_out(tmp_path / "calibration.safetensors")
    for content in ("", "{}", '{"format": 99}'):
        (tmp_path / "calibration.json").write_text(content)
        with pytest.raises(CheckpointError, match="damaged or of another version"):
            Calibration.open(tmp_path)
    made.save(tmp_path)
    whole = (tmp_path / "calibration.safetensors").read_bytes()
    (tmp_path / "calibration.safetensors").write_bytes(whole[:-3])
    with pytest.raises(CheckpointError, match="damaged"):
        Calibration.open(tmp_path)


def test_scores_on_disk_are_those_of_the_conformal(tmp_path):
    made = Calibration.fit({"energy": "eV"}, {"validation": held_out()}, {"energy": None})
    made.save(tmp_path)
    rows = held_out()
    by_hand = Conformal.fit(*rows.column(0))
    np.testing.assert_allclose(
        Calibration.open(tmp_path).conformals["energy"].scores, by_hand.scores, rtol=1e-6
    )


def test_scores_of_another_calibration_are_refused(tmp_path):
    Calibration.fit(UNITS, {"validation": held_out(seed=5)}, LIMITS).save(tmp_path / "other")
    made = Calibration.fit(UNITS, {"validation": held_out()}, LIMITS)
    made.save(tmp_path, {"seeds": {}})
    other = (tmp_path / "other" / "calibration.safetensors").read_bytes()
    (tmp_path / "calibration.safetensors").write_bytes(other)
    with pytest.raises(CheckpointError, match="other scores"):
        Calibration.open(tmp_path)
