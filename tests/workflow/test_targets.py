"""Target columns and transforms."""

from __future__ import annotations

import numpy as np
import pytest

from crystalcodec.data import DatasetError
from crystalcodec.workflow.targets import TargetError, TargetTransform, target_values

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
