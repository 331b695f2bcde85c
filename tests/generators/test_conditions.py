"""What generators are told: fitted on data, written and read again, refused where senseless."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from crystalcodec.crystals import Crystals
from crystalcodec.generators.conditions import (
    Condition,
    ConditionEmbedding,
    ConditionError,
    Conditions,
    Wanted,
    parse_formula,
)

SALT = Crystals.single(
    [[0, 2.8, 2.8], [2.8, 0, 2.8], [2.8, 2.8, 0]], [[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17]
)
RUTILE = Crystals.single(
    np.diag([4.59, 4.59, 2.96]),
    [
        *([0, 0, 0], [0.5, 0.5, 0.5], [0.305, 0.305, 0], [0.695, 0.695, 0]),
        *([0.195, 0.805, 0.5], [0.805, 0.195, 0.5]),
    ],
    [22, 22, 8, 8, 8, 8],
)
BOTH = Crystals.concatenate([SALT, RUTILE])
GAPS = np.array([1.0, 2.0, 3.0, np.nan])


def fitted(*kinds, **columns):
    return Conditions.fit(kinds, columns or {"gap": GAPS}, {"gap": "eV"})


@pytest.mark.parametrize(
    ("formula", "amounts"),
    [
        ("TiO2", {22: 1, 8: 2}),
        ("Ca(OH)2", {20: 1, 8: 2, 1: 2}),
        ("NaN", {11: 1, 7: 1}),
        ("TiO2.0", {22: 1, 8: 2}),
        ("H10C20.00", {1: 10, 6: 20}),
        ("Mg3(Si2O5)2(OH)2", {12: 3, 14: 4, 8: 12, 1: 2}),
        ("HDO", {1: 2, 8: 1}),  # deuterium is hydrogen
    ],
)
def test_formulas(formula, amounts):
    assert parse_formula(formula) == amounts
    assert Wanted(formula).counts == amounts


@pytest.mark.parametrize(
    "formula",
    [
        "",
        " ",
        "Xx2O",
        "Fe0.5O",
        "TiO-1",
        "ti o2",
        "(TiO2",
        "O2-",
        "Ti1e12O",
        "Fe1e999",
        "NaCl!",
        "Ti0",
        "Ti0O",
        "TiO2(OH)0.0",
    ],
)
def test_what_is_no_formula(formula):
    with pytest.raises(ConditionError, match="wanted"):
        parse_formula(formula)


def test_values_are_told_by_mean_and_deviation():
    entry = fitted().entries[0]
    assert (entry.mean, entry.low, entry.high, entry.unit) == (2.0, 1.0, 3.0, "eV")
    assert entry.deviation == pytest.approx(np.sqrt(2 / 3))
    told = fitted().of(BOTH, {"gap": np.array([2.0, np.nan])})["condition.gap"]
    assert told.shape == (2, 1)
    assert told[0, 0] == 0
    assert np.isnan(told[1, 0])
    (wish,) = fitted().batch(Wanted(values={"gap": 2.0 + entry.deviation}), 1).values()
    assert wish.item() == pytest.approx(1.0)


def test_crystals_tell_composition_elements_and_space_group():
    conditions = fitted("composition", "elements", "space_group")
    told = conditions.of(BOTH, {"gap": np.zeros(2)})
    composition = told["condition.composition"]
    np.testing.assert_allclose(composition[0, [10, 16]], 0.5)
    np.testing.assert_allclose(composition[1, [21, 7]], [1 / 3, 2 / 3], rtol=1e-6)
    np.testing.assert_allclose(composition.sum(1), 1, rtol=1e-6)
    elements = told["condition.elements"]
    assert [np.flatnonzero(row).tolist() for row in elements] == [[10, 16], [7, 21]]
    groups = told["condition.space_group"]
    assert groups.argmax(1).tolist() == [224, 135]  # Fm-3m and P4_2/mnm
    assert groups.sum() == 2


def test_a_crystal_is_told_what_its_own_formula_asks_for():
    conditions = fitted("composition", "elements", "space_group")
    told = conditions.of(BOTH, {"gap": np.array([1.0, 3.0])})
    for i, (formula, group, gap) in enumerate((("Na2Cl2", 225, 1.0), ("TiO2", 136, 3.0))):
        wanted = Wanted(formula, space_group=group, values={"gap": gap})
        for key, row in conditions.batch(wanted, 2).items():
            np.testing.assert_allclose(row, np.tile(told[key][i], (2, 1)), rtol=1e-6)


def test_what_is_not_wished_is_not_a_number():
    conditions = fitted("composition", "elements", "space_group")
    batch = conditions.batch(Wanted(elements=("Ti", "O")), 3)
    missing = {key: bool(row.isnan().all()) for key, row in batch.items()}
    assert missing == {
        "condition.composition": True,
        "condition.elements": False,
        "condition.space_group": True,
        "condition.gap": True,
    }
    assert not Wanted()
    assert Wanted(space_group=1)


def test_symmetry_that_is_not_found_is_missing():
    flat = Crystals.single(np.diag([5.0, 5.0, 0.1]), [[0, 0, 0]], [3])
    told = fitted("space_group").of(flat, {"gap": np.zeros(1)})["condition.space_group"]
    assert np.isnan(told).all()


def test_conditions_come_back_from_json():
    conditions = fitted("composition", "space_group")
    back = Conditions.from_records(json.loads(json.dumps(conditions.describe())))
    assert back == conditions
    assert back.names == ("composition", "space_group", "gap")
    assert back.columns == ("gap",)
    assert len(Conditions()) == 0


@pytest.mark.parametrize("records", [[{"what": 1}], [{"name": "a", "kind": "colour"}]])
def test_damaged_records(records):
    with pytest.raises(ConditionError, match="damaged"):
        Conditions.from_records(records)


@pytest.mark.parametrize(
    ("kinds", "columns", "said"),
    [
        (["compositions"], {}, "did you mean 'composition'"),
        ([], {"gap": np.array([1.0, 1.0, np.nan])}, "no two that differ"),
        ([], {"gap": np.full(3, np.nan)}, "0 values"),
        ([], {"gap": np.zeros(0)}, "0 values"),
        (["elements", "elements"], {}, "elements is there twice"),
        (["elements"], {"elements": GAPS}, "elements is there twice"),
    ],
)
def test_conditions_that_cannot_be_learnt(kinds, columns, said):
    with pytest.raises(ConditionError, match=said):
        Conditions.fit(kinds, columns)


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (Wanted(elements=("Xx",)), "no element 'Xx'"),
        (Wanted("TiO2", elements=("Li",)), "do not go together"),
        (Wanted(space_group=231), "wanted 1 to 230"),
        (Wanted(space_group=0), "wanted 1 to 230"),
        (Wanted("Xx2"), "formula"),
        (Wanted(space_group=225), "not trained with a condition on space_group: it knows"),
        (Wanted(elements=("Li",)), "not trained with a condition on elements"),
        (Wanted(values={"density": 1.0}), "not trained with a condition on 'density'"),
        (Wanted(values={"gap": float("nan")}), "wanted a number"),
    ],
)
def test_wishes_that_cannot_be_told(wanted, said):
    with pytest.raises(ConditionError, match=said):
        fitted("composition").check(wanted)


def test_what_a_generator_keeps_to_by_itself_may_be_wished():
    with pytest.raises(ConditionError, match="formula: it knows none"):
        Conditions().check(Wanted("TiO2"))
    Conditions().check(Wanted("TiO2"), frozenset({"formula"}))
    fitted("elements").check(Wanted(elements=("Li", "O"), values={"gap": 1.0}))
    fitted("composition").check(Wanted("TiO2", elements=("O", "Ti")), frozenset({"elements"}))


def test_values_outside_of_the_data_are_told_with_the_range():
    conditions = fitted()
    deviation = conditions.entries[0].deviation
    assert conditions.far(Wanted(values={"gap": 3.0})) == []
    (line,) = conditions.far(Wanted(values={"gap": 3.1}))
    assert "gap = 3.1 is outside" in line
    assert "1 to 3 eV" in line
    assert conditions.far(Wanted(values={"gap": 3 + 2.9 * deviation}), 3.0) == []
    assert conditions.far(Wanted(values={"gap": 3 + 3.1 * deviation}), 3.0)
    assert conditions.far(Wanted(values={"gap": 1 - 3.1 * deviation}), 3.0)


def test_embedding_without_a_wish_is_the_learned_vector():
    conditions = fitted("elements")
    torch.manual_seed(0)
    embedding = ConditionEmbedding(conditions, 8, drop=0.5).eval()
    nothing = embedding.nothing.sum(0)
    torch.testing.assert_close(embedding({}, 2), nothing.expand(2, 8))
    torch.testing.assert_close(embedding(conditions.batch(Wanted(), 2), 2), nothing.expand(2, 8))
    told = embedding(conditions.batch(Wanted(values={"gap": 1.0}), 2), 2)
    assert not torch.allclose(told, nothing.expand(2, 8))
    assert torch.isfinite(told).all()


def test_in_training_conditions_are_left_out_as_often_as_told():
    """Alone with 0.1, or all together with 0.1: kept with 0.81."""
    conditions = Conditions((Condition("a", "value"),))
    torch.manual_seed(0)
    embedding = ConditionEmbedding(conditions, 4, drop=0.1).train()
    n = 20_000
    out = embedding({"condition.a": torch.ones(n, 1)}, n)
    kept = (out != embedding.nothing[0]).any(1).float().mean().item()
    assert kept == pytest.approx(0.81, abs=0.01)
    assert ConditionEmbedding(Conditions(), 4)({}, 3).tolist() == [[0.0] * 4] * 3
