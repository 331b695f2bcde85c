"""Target columns and transforms."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from crystalcodec.data import DatasetError
from crystalcodec.workflow.config import TargetConfig
from crystalcodec.workflow.targets import (
    Target,
    TargetError,
    TargetTransform,
    choose_threshold,
    fit_target,
    learnable,
    n_outputs,
    target_values,
    values_of,
)
from crystalcodec.workflow.transforms import possible_transforms

TARGETS = np.array([0.5, 1.0, 4.0, 9.0])


@pytest.mark.parametrize("name", ["none", "standardise", "sqrt", "log"])
def test_undo_is_the_way_back(name):
    transform = TargetTransform.fit(name, TARGETS)
    np.testing.assert_allclose(transform.undo(transform.apply(TARGETS)), TARGETS, rtol=1e-12)
    if name != "none":
        learnt = transform.apply(TARGETS)
        assert abs(learnt.mean()) < 1e-12
        assert learnt.std() == pytest.approx(1)


def test_square_root_of_what_a_model_may_give_below_zero():
    transform = TargetTransform("sqrt", 0.0, 1.0)
    assert transform.undo(np.array([-3.0, 2.0])).tolist() == [0.0, 4.0]


def test_impossible_transforms():
    with pytest.raises(TargetError, match=r"above 0, got -1 \(and 1 more"):
        TargetTransform.fit("log", np.array([1.0, -1.0, 0.0]))
    with pytest.raises(TargetError, match="at least 0, got -1"):
        TargetTransform.fit("sqrt", np.array([0.0, -1.0]))


def test_targets_that_cannot_be_learnt():
    with pytest.raises(TargetError, match="nothing to learn from"):
        TargetTransform.fit("none", np.zeros(0))
    with pytest.raises(TargetError, match=r"0\.5 in all 3"):
        TargetTransform.fit("none", np.full(3, 0.5))


def test_columns(made_dataset):
    values = np.array([1.0, np.nan, 3.0])
    dataset = made_dataset(3, gap=values, name=["a", "b", "c"])
    np.testing.assert_array_equal(target_values(dataset, "gap", "training"), values)
    with pytest.raises(DatasetError, match="did you mean 'energy'"):
        target_values(dataset, "enrgy", "training")
    with pytest.raises(DatasetError, match="holds text"):
        target_values(dataset, "name", "training")
    dataset = made_dataset(3, gap=np.array([1.0, np.inf, -np.inf]))
    with pytest.raises(TargetError, match=r"infinite in row 1 \(id 1\), row 2 \(id 2\)"):
        target_values(dataset, "gap", "training")


# Several targets, classes and zeros.


def fitted(values, n_sites=None, transform=None, **settings):
    values = np.asarray(values, float)
    config = TargetConfig(column="x", **settings)
    n_sites = np.ones(len(values), int) if n_sites is None else np.asarray(n_sites)
    return fit_target(config, "eV", values, n_sites, transform or config.transform)


def test_asinh_is_linear_near_zero_and_signed_far_from_it():
    targets = np.array([-1000.0, -2.0, -1.0, 0.0, 1.0, 2.0, 1000.0])
    transform = TargetTransform.fit("asinh", targets)
    assert transform.scale == 2.0
    learnt = transform.apply(targets)
    np.testing.assert_allclose(learnt, -learnt[::-1], atol=1e-12)
    np.testing.assert_allclose(transform.undo(learnt), targets, rtol=1e-12, atol=1e-12)
    # Mostly zero: the median size would be 0.
    assert TargetTransform.fit("asinh", np.array([0.0, 0.0, 0.0, 8.0])).scale == 2.0


@pytest.mark.parametrize("name", ["none", "standardise", "sqrt", "log", "asinh"])
def test_tensors_are_undone_as_arrays_are(name):
    transform = TargetTransform.fit(name, TARGETS)
    learnt = transform.apply(TARGETS)
    undone = transform.undo_tensor(torch.from_numpy(learnt)).numpy()
    np.testing.assert_allclose(undone, transform.undo(learnt), rtol=1e-12)


def test_a_square_root_below_zero_keeps_a_slope():
    learnt = torch.tensor([-3.0], requires_grad=True)
    TargetTransform("sqrt").undo_tensor(learnt).backward()
    assert learnt.grad.tolist() == [6.0]


def test_transforms_that_a_column_allows():
    assert possible_transforms(np.array([1.0, np.nan])) == ["standardise", "sqrt", "log", "asinh"]
    assert possible_transforms(np.array([-1.0, 2.0])) == ["standardise", "asinh"]


def test_an_extensive_target_is_learnt_for_one_site():
    n_sites = np.array([1, 2, 4, 8, 10])
    values = np.array([3.0, 8.0, 4.0, 40.0, 10.0])
    target = fitted(values, n_sites, extensive=True)
    per_site = values / n_sites
    assert target.transform.mean == pytest.approx(per_site.mean())
    wanted = learnable([target], values[:, None], n_sites)
    got, chances = values_of([target], wanted.astype(float), n_sites)
    np.testing.assert_allclose(got[:, 0], values, rtol=1e-6)
    assert np.isnan(chances).all()
    # The same crystal in a cell of twice the size has twice the value.
    doubled, _ = values_of([target], wanted.astype(float), 2 * n_sites)
    np.testing.assert_allclose(doubled, 2 * got)


def test_outputs_of_several_targets():
    gap = fitted([0, 0, 0, 1, 2, 3, 4, 5], zero="classifier", transform="none")
    metal = fitted([0, 1, 1, 0, 1], kind="class")
    energy = fitted([1.0, 2, 3, 4, 9], transform="none")
    targets = [gap, metal, energy]
    assert n_outputs(targets) == 4
    values = np.array([[0.0, 1.0, np.nan], [2.0, np.nan, 7.0], [np.nan, 0.0, 0.0]])
    wanted = learnable(targets, values, np.ones(3))
    expected = [[np.nan, 1, np.nan, 0], [2, np.nan, 7, 1], [np.nan, 0, 0, np.nan]]
    np.testing.assert_array_equal(wanted, expected)
    without = learnable(targets, values, np.ones(3), without_zeros=True)
    assert np.isnan(without[2, 2])
    assert without[2, 1] == 0
    logit = np.log(3)  # a probability of 3/4
    outputs = np.array([[2.0, logit, 7.0, logit], [2.0, -logit, 7.0, -logit]])
    got, chances = values_of(targets, outputs, np.ones(2))
    np.testing.assert_allclose(got, [[2, 0.75, 7], [0, 0.25, 7]])
    np.testing.assert_allclose(chances, [[0.75, 0.75, np.nan], [0.25, 0.25, np.nan]])
    higher, _ = values_of([gap.with_threshold(0.8), *targets[1:]], outputs, np.ones(2))
    assert higher[:, 0].tolist() == [0, 0]


def test_no_value_is_nothing_else_than_no_value():
    targets = [fitted([0, 0, 0, 1, 2, 3, 4, 5], zero="classifier"), fitted([0, 1, 1, 0, 1])]
    got, _ = values_of(targets, np.full((2, 3), np.nan), np.ones(2))
    assert np.isnan(got).all()


def test_the_threshold_of_least_error():
    rng = np.random.default_rng(0)
    values = np.where(rng.random(60) < 0.5, 0.0, rng.uniform(0.1, 4, 60))
    chances = np.clip(0.3 * (values > 0) + rng.uniform(0, 0.6, 60), 0, 1).round(1)
    given = values + rng.normal(0, 0.5, 60) + 1.0
    chosen = choose_threshold(values, given, chances)

    def error(threshold):
        return np.abs(np.where(chances >= threshold, given, 0.0) - values).sum()

    best = min(error(t) for t in [*np.unique(chances), 2.0])
    assert error(chosen) == pytest.approx(best)
    assert best < error(0.5)
    missing = np.where(np.arange(60) % 2, np.nan, values)
    assert np.isfinite(choose_threshold(missing, given, chances))
    assert choose_threshold(np.array([1.0]), np.array([1.0]), np.array([0.9])) == 0.5


@pytest.mark.parametrize(
    ("values", "settings", "says"),
    [
        ([np.nan] * 6, {}, "'x' is empty in all"),
        ([1.0, 2.0, 3.0, np.nan], {}, "has 3 values among the training crystals, wanted at least"),
        ([2.0] * 6, {}, "'x': the target is 2 in all 6"),
        ([1.0, 1, 1, 1, 1], {"kind": "class"}, "is True in all 5"),
        ([1.0, 0, 1, 0, 2], {"kind": "class"}, "2 among its values"),
        ([1.0, 2, 3, 4, 5], {"zero": "classifier"}, "is 0 in 0 of 5"),
        ([0.0, 0, 0, 4, 5], {"zero": "classifier"}, "is 0 in 3 of 5"),
        ([0.0, 1, 2, 3, 4], {"transform": "log"}, "'x': transform 'log' needs targets above 0"),
    ],
)
def test_columns_that_cannot_be_learnt(values, settings, says):
    with pytest.raises(TargetError, match=says):
        fitted(values, **settings)


def test_what_knowing_nothing_is_off_by():
    assert fitted([0.0, 0, 4, 4, 12]).deviation == pytest.approx((4 + 4 + 0 + 0 + 8) / 5)
    share = 2 / 5
    expected = -share * np.log(share) - (1 - share) * np.log(1 - share)
    assert fitted([0.0, 1, 1, 0, 0], kind="class").deviation == pytest.approx(expected)


def test_a_target_comes_back_from_its_record():
    target = fitted([0, 0, 0, 1, 2, 3, 4, 5], zero="classifier", transform="log", weight=0.5)
    assert Target.of(json.loads(json.dumps(target.describe()))) == target
    # A record of before there were several.
    old = {"column": "x", "unit": "eV", "transform": {"name": "log", "mean": 1.0, "std": 2.0}}
    assert Target.of(old).transform.undo(np.array([0.0])) == pytest.approx(np.e)
