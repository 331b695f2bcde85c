"""Mode collapse of made sets: all the same, all different, so many kinds."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import chi2

from crystalcodec import prototypes
from crystalcodec.crystals import Crystals
from crystalcodec.evaluation.base import EvaluationError
from crystalcodec.evaluation.collapse import (
    KINDS,
    collapse,
    effective_number,
    kinds_of,
    variety,
    vendi_score,
)


@pytest.fixture(scope="module")
def real():
    crystals = prototypes().crystals
    return crystals[np.flatnonzero(crystals.n_sites <= 8)[:120]]


def test_all_the_same():
    found = variety([3] * 10)
    assert (found.n, found.n_kinds, found.most_of_one, found.n_pairs) == (10, 1, 10, 45)
    assert found.effective == 1.0
    assert found.support == 1.0
    assert found.low == 1.0


def test_all_different():
    """Without a pair the interval of a Poisson number is (0, 3.69): at least 45 / 3.69 kinds."""
    found = variety(range(10))
    assert (found.n_kinds, found.most_of_one, found.n_pairs) == (10, 1, 0)
    assert found.effective == pytest.approx(10)
    assert found.support == np.inf
    assert found.high == np.inf
    assert found.low == pytest.approx(45 / 3.688879, rel=1e-6)


def test_kinds_of_one_size():
    """5 kinds of 4: 5 × 6 pairs of 190."""
    found = variety(np.repeat([5, 1, 9, -2, 0], 4))
    assert (found.n_kinds, found.n_pairs) == (5, 30)
    assert found.effective == pytest.approx(5)
    assert found.support == pytest.approx(190 / 30)
    # As common one as the other: the jackknife has no spread, and the interval is Garwood's.
    assert found.low == pytest.approx(190 / (chi2.ppf(0.975, 62) / 2))
    assert found.high == pytest.approx(190 / (chi2.ppf(0.025, 60) / 2))


def test_two_kinds_of_different_size():
    found = variety([1] * 9 + [2])
    assert found.most_of_one == 9
    assert found.effective == pytest.approx(np.exp(-0.9 * np.log(0.9) - 0.1 * np.log(0.1)))
    assert found.support == pytest.approx(45 / 36)


@pytest.mark.parametrize("weights", [np.ones(400), 1 / np.arange(1, 2001)], ids=["even", "zipf"])
def test_the_number_of_kinds_is_found_from_few_samples(weights):
    """Even 400 kinds from 100 samples; the interval holds the truth about as often as it says."""
    shares = weights / weights.sum()
    truth = 1 / (shares**2).sum()
    rng = np.random.default_rng(0)
    found = [variety(rng.choice(len(shares), 100, p=shares)) for _ in range(400)]
    held = np.mean([one.low <= truth <= one.high for one in found])
    assert held >= 0.92
    # The probability of a pair is estimated without bias.
    mean = np.mean([one.n_pairs for one in found]) / 4950
    assert mean == pytest.approx(1 / truth, rel=0.06)


def test_few_samples():
    assert np.isnan(variety([]).support)
    assert variety([]).n_kinds == 0
    one = variety([7])
    assert (one.n_kinds, one.most_of_one, one.effective) == (1, 1, 1.0)
    assert np.isnan(one.support)
    assert one.document()["support"] is None
    assert variety([7, 7]).support == 1.0


@pytest.mark.parametrize("labels", [[0.5, 1.0], [[1, 2]], ["a"]])
def test_labels_that_are_none(labels):
    with pytest.raises(EvaluationError, match="whole number"):
        variety(labels)


@pytest.mark.parametrize("coverage", [0, 1, -1, float("nan")])
def test_coverage_that_is_none(coverage):
    with pytest.raises(EvaluationError, match="coverage"):
        variety([1, 2], coverage)


def test_effective_number():
    assert effective_number([1, 1, 0, 2]) == pytest.approx(2 * np.sqrt(2))
    assert np.isnan(effective_number([0, 0]))


@pytest.mark.parametrize("k", [1, 2, 5])
def test_vendi_score_of_groups(k):
    """Groups alike within and unlike outside: as many as groups (Friedman and Dieng, 2.2)."""
    assert vendi_score(np.kron(np.eye(k), np.ones((4, 4)))) == pytest.approx(k)


def test_vendi_score_of_two_somewhat_alike():
    """Eigenvalues (1 ± s) / 2."""
    values = np.array([0.8, 0.2])
    wanted = np.exp(-(values * np.log(values)).sum())
    assert vendi_score([[1, 0.6], [0.6, 1]]) == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("matrix", "said"),
    [
        ([[1.0, 0.5], [0.4, 1.0]], "not symmetric"),
        ([[2.0, 0.5], [0.5, 1.0]], "not 1"),
        ([[1.0, 3.0], [3.0, 1.0]], "negative eigenvalue -2"),
        ([[1.0, np.nan], [np.nan, 1.0]], "finite"),
        ([[1.0, 0.5]], "wanted"),
    ],
)
def test_matrices_that_are_no_similarities(matrix, said):
    with pytest.raises(EvaluationError, match=said):
        vendi_score(matrix)


def test_one_crystal_again_and_again(real):
    made = real[[5] * 30]
    found = collapse(made, real, n_attempts=40)
    assert (found.n_attempts, found.n) == (40, 30)
    assert {name: one.n_kinds for name, one in found.made.items()} == dict.fromkeys(KINDS, 1)
    assert all(one.support == 1 for one in found.made.values())
    for ours, theirs in found.vendi.values():
        assert ours == pytest.approx(1)
        assert theirs > 3
    ours, theirs = found.elements
    shares = np.unique(made[:1].numbers, return_counts=True)[1] / made[:1].n_sites[0]
    assert ours == pytest.approx(np.exp(-(shares * np.log(shares)).sum()))
    assert theirs > 5


def test_three_crystals_in_turn(real):
    """Shifted and repeated cells are the same crystal; so many kinds as crystals were taken."""
    three = [real[i] for i in (0, 40, 80)]
    rng = np.random.default_rng(0)
    made = []
    for one in three * 4:
        moved = Crystals(
            one.lattices, (one.frac_coords + rng.random(3)) % 1, one.numbers, one.offsets
        )
        made.append(moved)
    found = collapse(Crystals.concatenate(made), real)
    assert found.made["crystal"].n_kinds == 3
    assert found.made["crystal"].support == pytest.approx(66 / 18)
    assert found.made["crystal"].effective == pytest.approx(3)
    assert found.vendi["structure"][0] <= 3 + 1e-6


def test_real_crystals_are_as_various_as_themselves(real):
    found = collapse(real, real)
    assert found.made == found.real
    assert found.elements[0] == found.elements[1]
    for ours, theirs in found.vendi.values():
        assert ours == theirs
    assert found.made["crystal"].n_kinds <= found.made["crystal"].n == len(real)
    json.dumps(found.document(), allow_nan=False)


def test_kinds_are_counted_from_definitions(real):
    kinds = kinds_of(real)
    formulas = {tuple(sorted(_reduced(real[i]).items())) for i in range(len(real))}
    assert len(np.unique(kinds["composition"][0])) == len(formulas)
    systems = {frozenset(real[i].numbers.tolist()) for i in range(len(real))}
    assert len(np.unique(kinds["chemical_system"][0])) == len(systems)


def _reduced(crystal):
    numbers, counts = np.unique(crystal.numbers, return_counts=True)
    divisor = np.gcd.reduce(counts)
    return dict(zip(numbers.tolist(), (counts // divisor).tolist(), strict=True))


def test_junk_is_counted(real):
    """Atoms upon each other, a vast cell, one atom of a noble gas, and nothing at all."""
    junk = Crystals.concatenate(
        [
            Crystals.single(3 * np.eye(3), [[0, 0, 0], [0, 0, 0]], [11, 17]),
            Crystals.single(100 * np.eye(3), [[0, 0, 0]], [2]),
            Crystals.single(4 * np.eye(3), [[0, 0, 0]], [54]),
            Crystals.single(np.diag([200.0, 0.3, 200.0]), [[0, 0, 0], [0.5, 0, 0.5]], [1, 118]),
        ]
    )
    found = collapse(junk, real, n_attempts=1000)
    for name, one in found.made.items():
        assert one.n + found.left_out[name][0] == 4
    assert found.made["composition"].n_kinds == 4
    none = collapse(Crystals.empty(), real, n_attempts=1000)
    assert none.n == 0
    assert none.made["crystal"].n_kinds == 0
    assert np.isnan(none.vendi["structure"][0])
    json.dumps(none.document(), allow_nan=False)
    assert collapse(real[:1], real).made["crystal"].n_kinds == 1
    with pytest.raises(EvaluationError, match="wanted at least"):
        collapse(real, real, n_attempts=3)
