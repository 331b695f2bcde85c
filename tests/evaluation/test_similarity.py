"""Distances and similarities of rows: known answers, scipy, blocks, ties, bad input."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.stats import pearsonr, spearmanr

from crystalcodec.evaluation import similarity
from crystalcodec.evaluation.similarity import (
    SIMILARITY_METRICS,
    Nearest,
    SimilarityError,
    nearest,
    pairwise,
)

METRICS = [*SIMILARITY_METRICS]
DISTANCES = [name for name, kind in SIMILARITY_METRICS.items() if kind == "distance"]


def by_definition(a, b, metric):
    """The metric of two rows, written out."""
    difference = np.abs(a - b)
    match metric:
        case "euclidean":
            return np.sqrt(np.sum(difference**2))
        case "manhattan":
            return difference.sum()
        case "chebyshev":
            return difference.max()
        case "cosine":
            return a @ b / np.sqrt((a @ a) * (b @ b))
        case "pearson":
            return pearsonr(a, b).statistic
        case "spearman":
            return spearmanr(a, b).statistic


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        ("euclidean", np.sqrt(11)),
        ("manhattan", 5),
        ("chebyshev", 3),
        ("cosine", 8 / np.sqrt(14 * 13)),
        ("pearson", -2 / np.sqrt(2 * 42 / 9)),
        ("spearman", -0.5),
    ],
)
def test_known_answers(metric, value):
    # Less their means: (-1, 0, 1) and (1, 4, -5) / 3, whose product is -2; ranks: 1 2 3, 2 3 1.
    assert pairwise([[1, 2, 3]], [[2, 3, 0]], metric)[0, 0] == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_every_pair_is_by_definition(metric):
    rng = np.random.default_rng(1)
    rows, others = rng.normal(size=(7, 12)), rng.integers(0, 4, (5, 12)).astype(float)
    found = pairwise(rows, others, metric)
    for i, j in itertools.product(range(7), range(5)):
        assert found[i, j] == pytest.approx(by_definition(rows[i], others[j], metric), abs=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_with_itself_it_is_symmetric_and_each_row_is_like_itself(metric):
    rows = np.random.default_rng(2).normal(size=(9, 30)).astype(np.float32)
    found = pairwise(rows, metric=metric)
    assert np.array_equal(found, found.T)
    itself = 0.0 if metric in DISTANCES else 1.0
    assert np.array_equal(found.diagonal(), np.full(9, itself))
    assert np.allclose(found, pairwise(rows, rows.copy(), metric), atol=1e-7)


@pytest.mark.parametrize("metric", METRICS)
def test_blocks_give_what_one_block_gives(metric, monkeypatch):
    rng = np.random.default_rng(3)
    rows, others = rng.normal(size=(23, 6)), rng.normal(size=(57, 6))
    whole = pairwise(rows, others, metric)
    index, values = nearest(rows, others, 5, metric)
    monkeypatch.setattr(similarity, "_BLOCK", 40)
    monkeypatch.setattr(similarity, "_QUERIES", 4)
    assert np.allclose(pairwise(rows, others, metric), whole, atol=1e-14)
    index_of_blocks, values_of_blocks = nearest(rows, others, 5, metric)
    assert np.array_equal(index_of_blocks, index)
    assert np.allclose(values_of_blocks, values, atol=1e-14)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("k", [1, 4, 60])
def test_the_nearest_are_those_of_the_whole_matrix(metric, k):
    rng = np.random.default_rng(4)
    queries, rows = rng.normal(size=(8, 5)), rng.normal(size=(50, 5))
    index, values = nearest(queries, rows, k, metric)
    whole = pairwise(queries, rows, metric)
    cost = whole if metric in DISTANCES else -whole
    assert np.array_equal(index, np.argsort(cost, axis=1, kind="stable")[:, :k])
    assert np.allclose(values, np.take_along_axis(whole, index, axis=1), atol=1e-12)


def test_batches_are_counted_through():
    rows = np.arange(30.0)[:, None]
    search = Nearest([[11.2], [29.0]], k=3)
    for batch in np.array_split(rows, [1, 1, 12, 20]):
        search.add(batch)
    assert search.n_rows == 30
    assert search.index.tolist() == [[11, 12, 10], [29, 28, 27]]
    assert np.allclose(search.values, [[0.2, 0.8, 1.2], [0, 1, 2]])


@pytest.mark.parametrize("n", [8, 400])
def test_of_equally_near_rows_the_first_come_first(n):
    rows = np.tile([[3.0], [1.0], [1.0], [2.0]], (n // 4, 1))
    index, _ = nearest([[1.0]], rows, 3)
    assert index.tolist() == [[1, 2, 5]]
    search = Nearest([[1.0]], 3)
    search.add(rows[:4])
    search.add(rows[4:])
    assert search.index.tolist() == [[1, 2, 5]]


def test_near_rows_far_from_the_origin_keep_their_digits():
    """|a|^2 + |b|^2 - 2 a.b would leave nothing of these distances."""
    rng = np.random.default_rng(5)
    centre = 1e6 + rng.normal(size=40)
    rows = centre + rng.normal(0, 1e-4, (30, 40))
    few = np.concatenate([rows[:3], rng.normal(0, 1e6, (200, 40))])
    for others in (rows, few):
        exact = cdist(rows, others)
        assert np.allclose(pairwise(rows, others), exact, rtol=1e-9, atol=0)
    assert (pairwise(few, few.copy()).diagonal() == 0).all()


@pytest.mark.parametrize("metric", DISTANCES)
@pytest.mark.parametrize("centre", [0.0, 1e6])
def test_the_nearest_of_many_are_exact_wherever_they_are(metric, centre):
    rng = np.random.default_rng(7)
    rows = centre + rng.normal(0, 1e-3, (5000, 12))
    rows[2500:] = rows[:2500]  # each is there twice
    queries = np.concatenate([rows[100:400], centre + rng.normal(0, 1e-3, (40, 12))])
    index, values = nearest(queries, rows, 7, metric)
    exact = cdist(queries, rows, {"manhattan": "cityblock"}.get(metric, metric))
    order = np.argsort(exact, axis=1, kind="stable")[:, :7]
    assert np.array_equal(index, order)
    assert np.allclose(values, np.take_along_axis(exact, order, axis=1), rtol=1e-12, atol=0)
    assert (values[:300, :2] == 0).all()


@pytest.mark.parametrize("scale", [1e-200, 1e200])
@pytest.mark.parametrize("metric", ["cosine", "pearson", "spearman"])
def test_similarities_know_no_scale(metric, scale):
    rows = np.random.default_rng(6).normal(size=(6, 9))
    assert np.allclose(
        pairwise(scale * rows, metric=metric), pairwise(rows, metric=metric), atol=1e-12
    )


@pytest.mark.parametrize("metric", ["cosine", "pearson", "spearman"])
def test_a_row_without_direction_is_like_nothing_and_comes_last(metric):
    flat = [0.0, 0.0, 0.0] if metric == "cosine" else [0.1, 0.1, 0.1]
    rows = np.array([flat, [3.0, 2.0, 1.0], [1.0, 2.0, 3.0]])
    found = pairwise(rows, metric=metric)
    assert np.isnan(found[0]).all()
    assert np.isnan(found[:, 0]).all()
    assert np.isfinite(found[1:, 1:]).all()
    index, values = nearest([[1.0, 2.0, 4.0]], rows, 3, metric)
    assert index.tolist() == [[2, 1, 0]]
    assert np.isnan(values).tolist() == [[False, False, True]]


def test_no_rows_and_no_queries():
    assert pairwise(np.zeros((0, 3))).shape == (0, 0)
    assert pairwise(np.zeros((0, 3)), np.ones((2, 3)), "spearman").shape == (0, 2)
    index, values = nearest(np.ones((2, 3)), np.zeros((0, 3)))
    assert index.shape == values.shape == (2, 0)
    assert nearest(np.zeros((0, 3)), np.ones((4, 3)), 2)[0].shape[0] == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (([[1.0]], None, "euclidian"), "did you mean 'euclidean'"),
        (([1.0, 2.0], None), r"\(2,\)"),
        ((np.zeros((2, 0)), None), "one row of numbers"),
        ((["ab"], None), "one row of numbers"),
        (([[1.0, 2.0]], [[1.0]]), "rows of 1 numbers beside rows of 2"),
        (([[1.0, 2.0], [1.0, np.nan]], None), "row 1, column 1 holds nan"),
        (([[1.0]], [[np.inf]]), "row 0, column 0 holds inf"),
    ],
)
def test_bad_input_is_told(arguments, told):
    with pytest.raises(SimilarityError, match=told):
        pairwise(*arguments)


def test_no_neighbour_at_all_is_no_wish():
    with pytest.raises(SimilarityError, match="k = 0"):
        nearest([[1.0]], [[1.0]], 0)


def test_a_matrix_larger_than_memory_is_told_before_it_is_made(monkeypatch):
    monkeypatch.setattr(similarity, "available_memory", lambda: 2**20)
    with pytest.raises(SimilarityError, match="1000 x 1000 values take"):
        pairwise(np.zeros((1000, 1)))
    assert pairwise(np.zeros((100, 1))).shape == (100, 100)
