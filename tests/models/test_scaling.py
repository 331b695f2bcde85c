"""Scalings: numbers worked out by hand, the way back, and training crystals only."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crystalcodec.models.scaling import Scaling, ScalingError, fit_scaling

RNG = np.random.default_rng(0)
ARRAYS = {"x": RNG.normal(3, 2, (50, 6, 3)).astype(np.float32)}


def test_minmax_by_row_is_over_crystals_and_columns():
    array = np.array([[[0, 4], [5, 5]], [[2, 3], [5, 5]]], np.float32)
    scaling = fit_scaling({"x": array})
    assert scaling.describe() == {"kind": "minmax", "per": "row"}
    assert scaling.offsets["x"].tolist() == [[0], [5]]
    assert scaling.widths["x"].tolist() == [[4], [0]]
    assert scaling.apply({"x": array})["x"].tolist() == [[[0, 1], [0, 0]], [[0.5, 0.75], [0, 0]]]


def test_standardise_by_entry():
    scaled = fit_scaling(ARRAYS, "standardise").apply(ARRAYS)["x"]
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(scaled.std(axis=0), 1, atol=1e-5)


def test_standardise_by_row_and_of_the_whole_array():
    rows = fit_scaling(ARRAYS, "standardise", "row").apply(ARRAYS)["x"]
    np.testing.assert_allclose(rows.std(axis=(0, 2)), 1, atol=1e-5)
    assert rows.std(axis=0).std() > 0.01
    whole = fit_scaling(ARRAYS, "standardise", "array")
    assert whole.offsets["x"].shape == (1, 1)
    np.testing.assert_allclose(whole.apply(ARRAYS)["x"].std(), 1, atol=1e-5)


def test_constant_entries_become_zero_and_come_back():
    # 0.1 has no exact float32: a plain standard deviation of it is above zero.
    array = np.full((1000, 2, 2), 0.1, np.float32)
    array[:, 0, 0] = np.arange(1000)
    for kind in ("minmax", "standardise"):
        scaling = fit_scaling({"x": array}, kind, "entry")
        other = scaling.apply({"x": array + 7})["x"]
        assert (other[:, 1] == 0).all()
        assert (scaling.inverse({"x": other})["x"][:, 1] == np.float32(0.1)).all()


@pytest.mark.parametrize("kind", ["none", "minmax", "standardise"])
@pytest.mark.parametrize("per", ["entry", "row", "array", None])
def test_round_trip(kind, per):
    scaling = fit_scaling(ARRAYS, kind, per)
    before = ARRAYS["x"].copy()
    back = scaling.inverse(scaling.apply(ARRAYS))["x"]
    np.testing.assert_allclose(back, ARRAYS["x"], atol=1e-5)
    np.testing.assert_array_equal(ARRAYS["x"], before)


@settings(max_examples=30)
@given(st.integers(1, 20), st.floats(-1e3, 1e3, width=32), st.floats(0, 1e3, width=32))
def test_minmax_of_training_crystals_is_in_the_unit_interval(n, centre, spread):
    array = np.random.default_rng(n).normal(centre, spread, (n, 3, 2)).astype(np.float32)
    scaled = fit_scaling({"x": array}).apply({"x": array})["x"]
    assert scaled.min() >= 0
    assert scaled.max() <= 1 + 1e-6


def test_entries_too_small_to_divide_by_become_zero():
    """The tails of Gaussians far from every distance: below the normal numbers of float32."""
    array = np.array([[0.0, 1.0], [1e-40, 3.0]], np.float32)
    scaling = fit_scaling({"x": array}, "minmax", "entry")
    assert scaling.apply({"x": array})["x"].tolist() == [[0, 0], [0, 1]]


def test_through_arrays_bit_for_bit():
    scaling = fit_scaling(ARRAYS, "standardise")
    again = Scaling.from_arrays(scaling.kind, scaling.per, scaling.to_arrays())
    np.testing.assert_array_equal(again.apply(ARRAYS)["x"], scaling.apply(ARRAYS)["x"])
    assert set(scaling.to_arrays()) == {"offset.x", "width.x"}


def test_whole_numbers_pass_unchanged():
    arrays = {"x": ARRAYS["x"], "edges": np.arange(50)}
    scaled = fit_scaling(arrays).apply(arrays)
    assert scaled["edges"] is arrays["edges"]


def test_ragged_rows_are_the_batch():
    arrays = {"bonds": RNG.normal(5, 3, (40, 2)).astype(np.float32)}
    scaled = fit_scaling(arrays, "standardise", "row", ragged=["bonds"]).apply(arrays)["bonds"]
    np.testing.assert_allclose(scaled.std(axis=0), 1, atol=1e-5)


def test_what_cannot_be_scaled():
    with pytest.raises(ScalingError, match="did you mean 'minmax'"):
        fit_scaling(ARRAYS, "minmx")
    with pytest.raises(ScalingError, match="did you mean 'row'"):
        fit_scaling(ARRAYS, "minmax", "rows")
    with pytest.raises(ScalingError, match="no training crystals"):
        fit_scaling({"x": np.zeros((0, 2, 2), np.float32)})
    with pytest.raises(ScalingError, match="not finite"):
        fit_scaling({"x": np.full((2, 2, 2), np.nan, np.float32)})
    scaling = fit_scaling(ARRAYS)
    with pytest.raises(ScalingError, match="shape"):
        scaling.apply({"x": np.zeros((4, 5, 3), np.float32)})
    with pytest.raises(ScalingError, match="fitted on 'x'"):
        scaling.apply({"y": ARRAYS["x"]})
    with pytest.raises(ScalingError, match="damaged"):
        Scaling.from_arrays("minmax", "row", {"offset.x": np.zeros(1, np.float32)})
    with pytest.raises(ScalingError, match="damaged"):
        Scaling.from_arrays("minmax", "row", {"offset.x": np.full(1, np.nan, np.float32)})
