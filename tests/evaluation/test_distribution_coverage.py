"""Coverage and least distances: by hand, and against the published formulas in loops."""

from __future__ import annotations

import math

import numpy as np
import pytest

from crystalcodec import Crystals, prototypes
from crystalcodec.evaluation.base import EvaluationError
from crystalcodec.evaluation.distribution import (
    CUTOFFS,
    Coverage,
    Cutoffs,
    composition_fingerprints,
)
from crystalcodec.evaluation.distribution.fingerprints import composition_scale
from crystalcodec.representations.composition import Magpie

# Three generated and three held-out crystals, fingerprints of one number each.
GENERATED = ([[0.0], [1.0], [5.0]], [[0.0], [20.0], [0.0]])
HELD_OUT = ([[0.3], [1.2], [9.0]], [[15.0], [12.0], [0.0]])


def test_cutoffs_as_published():
    assert (CUTOFFS["mp_20"].structure, CUTOFFS["mp_20"].composition) == (0.4, 10)
    assert CUTOFFS["perov_5"] == CUTOFFS["carbon_24"] == Cutoffs(0.2, 4)


def test_by_hand():
    found = Coverage.between(*GENERATED, *HELD_OUT)
    # Held-out 0: 0.3 from the first in structure, 5 from the second in composition: near by the
    # code, not by the formula. Held-out 1: 0.2 and 8 from the second: near by both. The last: 4.
    assert found.recall() == pytest.approx(2 / 3)
    assert found.recall(joint=True) == pytest.approx(1 / 3)
    assert found.precision().tolist() == [True, True, False]
    assert found.precision(joint=True).tolist() == [False, True, False]
    assert found.average_least("structure") == pytest.approx((0.3 + 0.2 + 4) / 3)
    assert found.average_least("composition") == pytest.approx((5 + 8 + 0) / 3)
    assert found.nearest[0].tolist() == pytest.approx([0.3, 0.2, 3.8])
    assert found.nearest[1].tolist() == pytest.approx([0, 5, 0])


def test_a_distance_of_the_cutoff_is_near():
    found = Coverage.between([[0.0]], [[0.0]], [[0.4]], [[10.0]])
    assert found.recall() == found.recall(joint=True) == 1
    beyond = Coverage.between([[0.0]], [[0.0]], [[0.4]], [[10.000001]])
    assert beyond.recall() == beyond.recall(joint=True) == 0


def test_of_some_of_the_generated():
    found = Coverage.between(*GENERATED, *HELD_OUT)
    # Without the second the composition of held-out 0 is 15 away, and 1.2 is 0.9 off in nothing.
    assert found.recall(np.array([True, False, True])) == 0
    assert found.least("structure", np.array([True, False, True])).tolist() == pytest.approx(
        [0.3, 1.2, 4]
    )
    assert found.recall(np.zeros(3, bool)) == 0
    assert math.isnan(found.average_least("structure", np.zeros(3, bool)))


def in_loops(generated, held_out, cutoffs):
    """The formulas of ``compute_cov`` of the published code, pair by pair."""
    structures, compositions = generated
    held_structures, held_compositions = held_out

    def least(one, others):
        return [min(math.dist(a, b) for b in others) for a in one]

    recall = [
        least(held_structures, structures),
        least(held_compositions, compositions),
    ]
    precision = [
        least(structures, held_structures),
        least(compositions, held_compositions),
    ]

    def share(of, n):
        pairs = zip(*of, strict=True)
        return sum(s <= cutoffs.structure and c <= cutoffs.composition for s, c in pairs) / n

    return {
        "cov_recall": share(recall, len(held_structures)),
        "cov_precision": share(precision, len(structures)),
        "amsd_recall": np.mean(recall[0]),
        "amsd_precision": np.mean(precision[0]),
        "amcd_recall": np.mean(recall[1]),
        "amcd_precision": np.mean(precision[1]),
    }


def made(seed, n, scale=1.0):
    random = np.random.default_rng(seed)
    return random.normal(0, 0.15 * scale, (n, 5)), random.normal(0, 3 * scale, (n, 8))


@pytest.mark.parametrize("sizes", [(70, 50), (1, 40), (40, 1)])
def test_the_published_formulas(sizes):
    generated, held_out = made(0, sizes[0], 1.2), made(1, sizes[1])
    cutoffs = Cutoffs(0.3, 6.0)
    expected = in_loops(generated, held_out, cutoffs)
    found = Coverage.between(*generated, *held_out, cutoffs)
    assert found.recall() == expected["cov_recall"]
    assert found.precision().mean() == expected["cov_precision"]
    for kind, short, place in (("structure", "amsd", 0), ("composition", "amcd", 1)):
        assert found.average_least(kind) == pytest.approx(expected[f"{short}_recall"], abs=1e-12)
        least = found.nearest[place].mean()
        assert least == pytest.approx(expected[f"{short}_precision"], abs=1e-12)
    if min(sizes) > 1:
        assert 0 < expected["cov_recall"] < 1
        assert 0 < found.recall(joint=True) <= expected["cov_recall"]


@pytest.mark.parametrize("kept", [3, 40, 200])
def test_a_sample_is_as_if_the_rest_had_not_been_generated(kept):
    generated, held_out = made(2, 200), made(3, 60)
    chosen = np.zeros(200, bool)
    chosen[np.random.default_rng(kept).choice(200, kept, replace=False)] = True
    cutoffs = Cutoffs(0.25, 5.0)
    whole = Coverage.between(*generated, *held_out, cutoffs)
    alone = Coverage.between(*(rows[chosen] for rows in generated), *held_out, cutoffs)
    for kind in ("structure", "composition", "both"):
        np.testing.assert_allclose(whole.least(kind, chosen), alone.least(kind), atol=1e-12)
    assert whole.recall(chosen) == alone.recall()
    assert whole.recall(chosen, joint=True) == alone.recall(joint=True)


def test_the_same_crystals_cover_one_another():
    rows = made(4, 100)
    found = Coverage.between(*rows, *rows)
    assert found.recall() == found.recall(joint=True) == 1
    assert found.precision(joint=True).all()
    assert found.average_least("structure") == found.average_least("composition") == 0


def test_nothing_generated_and_nothing_held_out():
    nothing, rows = (np.zeros((0, 5)), np.zeros((0, 8))), made(5, 4)
    none = Coverage.between(*nothing, *rows)
    assert none.recall() == none.recall(joint=True) == 0
    assert math.isnan(none.average_least("structure"))
    assert none.precision().shape == (0,)
    alone = Coverage.between(*rows, *nothing)
    assert math.isnan(alone.recall())
    assert not alone.precision().any()
    assert not alone.precision(joint=True).any()


def test_what_is_kept_gives_the_same():
    generated, held_out = made(6, 50), made(7, 50)
    found = Coverage.between(*generated, *held_out)
    again = Coverage.kept((*generated, *held_out), found.cutoffs, found.arrays)
    assert again.recall() == found.recall()
    np.testing.assert_array_equal(again.precision(), found.precision())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ((np.zeros((2, 5)), None, None, None), "of m generated"),
        ((None, None, np.zeros((4, 3)), None), "different columns"),
        ((np.full((4, 5), np.nan), None, None, None), "not finite"),
        ((np.zeros(4), None, None, None), "wanted structure"),
    ],
)
def test_fingerprints_that_do_not_fit(change, says):
    rows = (*made(8, 4), *made(9, 4))
    given = [one if other is None else other for one, other in zip(rows, change, strict=True)]
    with pytest.raises(EvaluationError, match=says):
        Coverage.between(*given)


@pytest.mark.parametrize("bad", [0, -1, math.inf, math.nan])
def test_cutoffs_that_are_none(bad):
    with pytest.raises(EvaluationError, match="wanted two positive distances"):
        Cutoffs(bad, 10)


def test_the_scale_of_compositions():
    means, deviations = composition_scale()
    assert means.shape == deviations.shape == (132,)
    assert (deviations > 0).all()
    assert len(Magpie().feature_names()) == 132
    salt = Crystals.single(
        [[0, 2.8, 2.8], [2.8, 0, 2.8], [2.8, 2.8, 0]], [[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17]
    )
    row = composition_fingerprints(salt)[0]
    # Atomic numbers 11 and 17: minimum, maximum, range, mean, mean deviation; the published scale.
    assert row[0] == pytest.approx((11 - 21.194441759304013) / 16.35781741152948)
    assert row[1] == pytest.approx((17 - 58.20212663122281) / 20.189540126474725)
    assert row[2] == pytest.approx((6 - 37.0076848719188) / 20.516298414514758)
    assert row[3] == pytest.approx((14 - 36.52738520455582) / 16.816765336550194)
    assert row[4] == pytest.approx((3 - 13.350626389725019) / 7.966591328222124)
    # Space group of the elements in their ground states: Na 229 (Im-3m), Cl 64 (Cmce).
    assert row[127] == pytest.approx((229 - 217.5905751570807) / 21.345794811194104)


def test_compositions_as_of_matminer():
    featurizers = pytest.importorskip("matminer.featurizers.composition")
    from pymatgen.core import Composition

    crystals = prototypes().crystals[::7]
    made_by = featurizers.ElementProperty.from_preset("magpie")
    means, deviations = composition_scale()
    for formula, row in zip(crystals.formulas, composition_fingerprints(crystals), strict=True):
        expected = (np.array(made_by.featurize(Composition(formula))) - means) / deviations
        np.testing.assert_allclose(row, expected, atol=1e-9)


def test_no_compositions():
    assert composition_fingerprints(Crystals.empty()).shape == (0, 132)
