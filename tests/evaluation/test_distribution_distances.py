"""Wasserstein, Jensen-Shannon, total variation, mean discrepancy: by hand and against scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import wasserstein_distance as of_scipy

from crystalcodec.evaluation.base import EvaluationError
from crystalcodec.evaluation.distribution import (
    Categories,
    Discrepancy,
    Wasserstein,
    jensen_shannon_distance,
    median_distance,
    total_variation,
    wasserstein_distance,
)
from crystalcodec.evaluation.distribution.resampling import noise_floor

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("values", "others", "expected"),
    [
        ([0, 1, 3], [5, 6, 8], 5),
        ([1, 1, 2, 4], [2], (1 + 1 + 0 + 2) / 4),
        ([0, 0, 1], [1], 2 / 3),
        ([3], [3], 0),
        ([np.nan, 2, np.inf], [2, np.nan], 0),
    ],
)
def test_wasserstein_by_hand(values, others, expected):
    assert wasserstein_distance(values, others) == pytest.approx(expected)


@pytest.mark.parametrize("whole", [True, False])
def test_wasserstein_as_of_scipy_for_every_sample(whole):
    values, others = RANDOM.gamma(2, 3, 300), RANDOM.gamma(3, 2, 200)
    if whole:
        values, others = values.round(), others.round()
    distance = Wasserstein.between(values, others)
    assert distance.of() == pytest.approx(of_scipy(values, others), abs=1e-12)
    for n in (1, 5, 300):
        positions = RANDOM.integers(0, 300, n)
        expected = of_scipy(values[positions], others)
        assert distance.of(positions) == pytest.approx(expected, abs=1e-12)


def test_wasserstein_moves_with_the_numbers():
    values = RANDOM.normal(size=50)
    assert wasserstein_distance(values, values) == 0
    assert wasserstein_distance(values + 3, values) == pytest.approx(3)
    assert wasserstein_distance(5 * values, 5 * values + 1) == pytest.approx(1)


@pytest.mark.parametrize(("values", "others"), [([], [1.0]), ([1.0, 2.0], []), ([], [])])
def test_wasserstein_of_nothing(values, others):
    assert math.isnan(wasserstein_distance(values, others))
    assert math.isnan(wasserstein_distance([np.nan], [np.nan]))


def test_shares_by_hand():
    assert total_variation([0.7, 0.3], [0.5, 0.5]) == pytest.approx(0.2)
    assert total_variation([1, 0, 0], [0, 0.5, 0.5]) == 1
    assert jensen_shannon_distance([1, 0], [0, 1]) == 1
    assert jensen_shannon_distance([0.2, 0.8], [0.2, 0.8]) == 0
    # Mean (3/4, 1/4): entropy 0.811278; entropies 0 and 1; root of 0.811278 - 0.5.
    expected = math.sqrt(0.8112781244591328 - 0.5)
    assert jensen_shannon_distance([1, 0], [0.5, 0.5]) == pytest.approx(expected)


def test_jensen_shannon_as_of_scipy():
    for _ in range(20):
        one, other = RANDOM.dirichlet(np.full(12, 0.3), 2)
        found = jensen_shannon_distance(one, other)
        assert found == pytest.approx(jensenshannon(one, other, base=2), abs=1e-7)


def test_categories_of_attempts():
    # Attempts of category 0, 0, 2, none; held-out crystals of 0, 2, 2, none.
    found = Categories.numbered([0, 0, 2, -1], [0, 2, 2, -1], 3)
    assert found.shares().tolist() == pytest.approx([2 / 3, 0, 1 / 3])
    assert found.held_shares.tolist() == pytest.approx([1 / 3, 0, 2 / 3])
    assert found.apart(total_variation) == pytest.approx(1 / 3)
    assert found.apart(total_variation, np.array([2, 2, 0, 3])) == pytest.approx(0)
    assert math.isnan(found.apart(total_variation, np.array([3, 3])))


def test_categories_of_nothing():
    assert math.isnan(Categories.numbered([], [0], 2).apart(total_variation))
    assert math.isnan(Categories.numbered([0], [], 2).apart(jensen_shannon_distance))
    empty = Categories.of_rows(np.zeros((0, 3)), np.full((2, 3), np.nan))
    assert math.isnan(empty.apart(total_variation))


def discrepancy_in_loops(x, y, width):
    def mean(a, b, own):
        pairs = [(i, j) for i in range(len(a)) for j in range(len(b)) if not (own and i == j)]
        kernel = [math.exp(-(math.dist(a[i], b[j]) ** 2) / (2 * width**2)) for i, j in pairs]
        return sum(kernel) / len(kernel)

    return mean(x, x, True) + mean(y, y, True) - 2 * mean(x, y, False)


def test_discrepancy_by_hand():
    # x = 0, 1; y = 0, 2; kernel exp(-d²/2): pairs exp(-1/2), exp(-2); between 1, e^-2, e^-.5, e^-.5
    expected = math.exp(-0.5) + math.exp(-2) - 2 * (1 + math.exp(-2) + 2 * math.exp(-0.5)) / 4
    found = Discrepancy.measured([[0.0], [1.0]], [[0.0], [2.0]], bandwidth=1.0)
    assert found.value() == pytest.approx(expected)


def test_discrepancy_in_loops():
    x, y = RANDOM.normal(size=(23, 4)), RANDOM.normal(0.5, 1, (31, 4)) + 100
    x += 100
    found = Discrepancy.measured(x, y)
    assert found.bandwidth == median_distance(y)
    assert found.value() == pytest.approx(discrepancy_in_loops(x, y, found.bandwidth), abs=1e-10)


def test_discrepancy_between_halves_is_that_of_their_crystals():
    y = RANDOM.normal(size=(9, 3))
    found = Discrepancy.measured(y[:2], y, bandwidth=1.3, seed=5)
    random = np.random.default_rng(5)
    for value in found.halves[:4]:
        order = random.permutation(9)
        halves = y[order[:4]], y[order[4:8]]
        assert value == pytest.approx(discrepancy_in_loops(*halves, 1.3), abs=1e-10)


def test_discrepancy_tells_distributions_apart():
    y = RANDOM.normal(size=(400, 5))
    same = Discrepancy.measured(RANDOM.normal(size=(400, 5)), y)
    moved = Discrepancy.measured(RANDOM.normal(0.4, 1, (400, 5)), y)
    assert abs(same.value()) < 2 * same.noise_floor
    assert moved.value() > 5 * moved.noise_floor
    # The halves come from one distribution: their mean is near 0, beside their spread.
    assert abs(same.halves.mean()) < same.halves.std()


def test_discrepancy_of_samples_varies_as_that_of_their_pairs():
    x, y = RANDOM.normal(0.5, 1, (60, 2)), RANDOM.normal(size=(60, 2))
    found = Discrepancy.measured(x, y, bandwidth=1.0)
    close, exact = [], []
    for _ in range(150):
        positions = RANDOM.integers(0, 60, 60)
        close.append(found.value(positions))
        kernel = np.exp(-((x[positions, None] - x[positions]) ** 2).sum(-1) / 2)
        apart = positions[:, None] != positions
        across = np.exp(-((x[positions, None] - y) ** 2).sum(-1) / 2)
        exact.append(kernel[apart].mean() + found.of_others - 2 * across.mean())
    assert found.value(np.arange(60)) == pytest.approx(found.value())
    assert np.mean(close) == pytest.approx(np.mean(exact), abs=0.3 * np.std(exact))
    assert np.std(close) == pytest.approx(np.std(exact), rel=0.2)


@pytest.mark.parametrize(("m", "n"), [(0, 5), (1, 5), (5, 1), (5, 0), (0, 0)])
def test_discrepancy_of_too_few(m, n):
    found = Discrepancy.measured(np.ones((m, 2)), np.ones((n, 2)))
    assert math.isnan(found.value())
    assert len(found.halves) == (50 if n > 3 else 0)
    again = Discrepancy.kept(found.arrays)
    assert math.isnan(again.value())


def test_discrepancy_of_one_vector_many_times():
    found = Discrepancy.measured(np.ones((5, 2)), np.ones((6, 2)))
    assert found.value() == pytest.approx(0)
    assert found.bandwidth == 1


@pytest.mark.parametrize(
    ("x", "y", "width", "says"),
    [
        ([[1.0]], [[1.0, 2.0]], None, "of one length"),
        ([[np.nan]], [[1.0]], None, "not finite"),
        ([[1.0]], [[1.0]], 0.0, "wanted a positive number"),
    ],
)
def test_discrepancy_of_junk(x, y, width, says):
    with pytest.raises(EvaluationError, match=says):
        Discrepancy.measured(x, y, bandwidth=width)


def test_median_distance():
    assert median_distance([[0.0], [1.0], [3.0]]) == 2
    assert median_distance([[0.0]] * 5 + [[4.0]]) == pytest.approx(4 * 5 / 15)
    assert median_distance([[2.0]]) == 1
    many = RANDOM.normal(size=(3000, 1))
    assert median_distance(many) == pytest.approx(median_distance(many, at_most=3000), rel=0.1)


def test_noise_floor():
    def apart(one, other):
        assert not set(one) & set(other)
        return float(len(one))

    assert noise_floor(7, apart) == {"n": 3, "halvings": 20, "median": 3.0, "p95": 3.0}
    assert noise_floor(1, apart) is None
