"""Pooled vectors of elements: by hand, by plain loops, and against ElementEmbeddings."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from crystalcodec.crystals import Crystals
from crystalcodec.elements import SYMBOLS
from crystalcodec.failures import count_reasons
from crystalcodec.representations.base import RepresentationError
from crystalcodec.representations.composition import POOLINGS, ElementEmbedding
from crystalcodec.representations.composition.pooling import Parts, pool
from crystalcodec.representations.element_tables import ELEMENT_TABLES, element_table
from crystalcodec.testing import check_representation, sample_crystals

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("elementembeddings") is None, reason="ElementEmbeddings is not there"
)


def crystal(*numbers):
    """Atoms in a row, in a cell that has room for them."""
    n = len(numbers)
    coords = np.zeros((n, 3))
    coords[:, 0] = np.arange(n) / n
    return Crystals.single(np.diag([3.0 * n, 3.0, 3.0]), coords, numbers)


def encoded(crystals, *parameters, **named):
    return ElementEmbedding(*parameters, **named).encode(crystals)["element_embedding"]


def pooled(values, amounts, pooling):
    """Of one crystal that holds each row of a table in these amounts."""
    out = np.empty((1, 1, np.shape(values)[1]))
    parts = Parts.reduced(np.array([0, len(amounts)]), np.arange(len(amounts)), np.array(amounts))
    pool(parts, np.asarray(values, float), (pooling,), out)
    return out[0, 0].tolist()


@pytest.mark.parametrize(
    ("pooling", "wanted"),
    [
        ("mean", [2.5, 1.0]),
        ("sum", [10.0, 4.0]),  # of the reduced formula, 1 to 3
        ("minimum", [1.0, 1.0]),
        ("maximum", [3.0, 1.0]),
        ("range", [2.0, 0.0]),
        ("standard_deviation", [0.75**0.5, 0.0]),
        ("mean_absolute_deviation", [0.75, 0.0]),
        ("mode", [3.0, 1.0]),
    ],
)
def test_poolings_by_hand(pooling, wanted):
    assert pooled([[1.0, 1.0], [3.0, 1.0]], [2, 6], pooling) == pytest.approx(wanted, abs=1e-15)


def test_the_mode_of_equal_amounts_is_the_smallest_number_of_each_column():
    assert pooled([[1, 9], [5, 2], [7, 0]], [3, 3, 1], "mode") == [1, 2]
    assert pooled([[7, 9]], [4], "mode") == [7, 9]


def test_every_pooling_is_tested():
    cases = test_poolings_by_hand.pytestmark[0].args[1]
    assert [name for name, _ in cases] == [*POOLINGS]


def by_loops(crystals, values):
    """All poolings of each crystal, one element at a time, in plain Python."""
    rows = []
    for one in crystals:
        numbers, counts = np.unique(one.numbers, return_counts=True)
        divisor = np.gcd.reduce(counts)
        row = []
        for column in values.T.tolist():
            x = [column[z] for z in numbers]
            f = [c / sum(counts) for c in counts]
            mean = sum(a * b for a, b in zip(f, x, strict=True))
            row.append(
                [
                    mean,
                    sum(c // divisor * b for c, b in zip(counts, x, strict=True)),
                    min(x),
                    max(x),
                    max(x) - min(x),
                    sum(a * (b - mean) ** 2 for a, b in zip(f, x, strict=True)) ** 0.5,
                    sum(a * abs(b - mean) for a, b in zip(f, x, strict=True)),
                    min(b for c, b in zip(counts, x, strict=True) if c == max(counts)),
                ]
            )
        rows.append(np.transpose(row).ravel())
    return np.array(rows)


def test_all_poolings_are_what_plain_loops_give():
    crystals = sample_crystals(40, seed=6)
    wanted = by_loops(crystals, element_table("magpie").values)
    array = encoded(crystals, "magpie", POOLINGS)
    np.testing.assert_allclose(array, wanted, rtol=1e-6, atol=1e-5)
    one_by_one = [encoded(crystals, "magpie", name) for name in POOLINGS]
    np.testing.assert_array_equal(np.hstack(one_by_one), array)


@pytest.mark.parametrize("table", ["magpie", "mat2vec", "skipatom", "crystallm", "megnet16"])
def test_embeddings_are_those_of_the_package(table):
    composition = pytest.importorskip("elementembeddings.composition", exc_type=ImportError)
    core = pytest.importorskip("elementembeddings.core", exc_type=ImportError)
    loaded = core.Embedding.load_data(table)
    batch = sample_crystals(100, seed=7)
    pooling = ("mean", "sum", "minimum", "maximum", "range")
    result = ElementEmbedding(table, (*pooling, "standard_deviation")).encode(batch)
    held = batch[result.index]
    assert len(held) > 70
    stats = ["mean", "sum", "minpool", "maxpool", "range", "variance"]
    theirs = []
    for i in range(len(held)):
        numbers, counts = np.unique(held[i].numbers, return_counts=True)
        counts //= np.gcd.reduce(counts)
        formula = "".join(f"{SYMBOLS[z]}{n}" for z, n in zip(numbers, counts, strict=True))
        theirs.append(composition.CompositionalEmbedding(formula, loaded).feature_vector(stats))
    theirs = np.array(theirs)
    d = ELEMENT_TABLES[table].dimension
    theirs[:, 5 * d :] **= 0.5
    scale = np.abs(theirs).max(axis=0) + 1e-12
    assert np.abs((result["element_embedding"] - theirs) / scale).max() < 1e-6


def test_a_batch_over_several_blocks_is_its_single_crystals():
    crystals = sample_crystals(20, seed=8)
    many = crystals[np.arange(400) % 20]  # 42 crystals a block
    single = np.concatenate([encoded(one, "matscibert", POOLINGS) for one in crystals])
    array = encoded(many, "matscibert", POOLINGS)
    np.testing.assert_array_equal(array, single[np.arange(400) % 20])


def test_a_missing_element_is_a_failure_that_names_it_and_the_table():
    batch = Crystals.concatenate([crystal(11, 17), crystal(2, 84, 8), crystal(1)])
    result = ElementEmbedding("skipatom").encode(batch)
    assert result.index.tolist() == [0, 2]
    (failure,) = result.failures
    assert failure.index == 1
    assert failure.reason == "element not in the table"
    assert failure.detail.startswith("He, Po: the table 'skipatom' has 86 elements")


def test_missing_elements_are_filled_as_asked():
    helium_oxide = crystal(2, 2, 2, 8)
    values = element_table("skipatom").values
    oxygen, mean = values[8], np.nanmean(values, axis=0)
    zero = encoded(helium_oxide, "skipatom", missing="zero")
    np.testing.assert_allclose(zero[0], oxygen / 4, rtol=1e-6)
    filled = encoded(helium_oxide, "skipatom", missing="mean")
    np.testing.assert_allclose(filled[0], oxygen / 4 + 0.75 * mean, rtol=1e-5, atol=1e-7)


def test_gaps_of_a_row_are_filled_number_by_number():
    raw = element_table("oliynyk_raw")
    z = int(np.flatnonzero(np.isnan(raw.values).any(axis=1) & (raw.values[:, 0] > 0))[0])
    array = encoded(crystal(z), "oliynyk_raw", missing="zero")[0]
    np.testing.assert_allclose(array, np.nan_to_num(raw.values[z]), rtol=1e-6)
    result = ElementEmbedding("oliynyk_raw").encode(crystal(z))
    assert count_reasons(result.failures) == {"element not in the table": 1}


@pytest.mark.parametrize("missing", ["error", "zero", "mean"])
def test_missing_elements_are_counted(missing):
    batch = Crystals.concatenate([crystal(11, 17), crystal(2, 2, 84), crystal(2), crystal(8)])
    found = ElementEmbedding("skipatom", missing=missing).missing_elements(batch)
    assert (found.n_crystals, found.n_affected) == (4, 2)
    assert found.counts == {"He": 2, "Po": 1}
    assert str(found) == "2 of 4 crystals hold what 'skipatom' lacks: He in 2, Po in 1"
    none = ElementEmbedding("mat2vec").missing_elements(batch)
    assert str(none) == "0 of 4 crystals hold what 'mat2vec' lacks"


def test_names_and_fields_say_pooling_and_column():
    embedding = ElementEmbedding("magpie", ("mean", "mode"))
    assert embedding.feature_names()[0] == "mean Number"
    assert embedding.feature_names()[-1] == "mode SpaceGroupNumber"
    array = embedding.encode(crystal(26, 26, 8))
    mode = next(field for field in embedding.fields if field.name == "mode").of(array.arrays)
    np.testing.assert_allclose(mode[0], element_table("magpie").values[26], rtol=1e-6)


@pytest.mark.parametrize(
    "parameters",
    [
        {"table": "mat2vec", "pooling": POOLINGS},
        {"table": "skipatom"},
        {"table": "skipatom", "missing": "mean"},
        {"table": "atomic", "pooling": ["sum"]},
    ],
    ids=lambda parameters: "-".join(map(str, parameters.values()))[:30],
)
def test_other_parameters_conform_too(parameters):
    check_representation(ElementEmbedding(**parameters))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"table": "magpy"}, "did you mean 'magpie'"),
        ({"pooling": ()}, "wanted at least one"),
        ({"pooling": ("mean", "mean")}, "each once"),
        ({"pooling": "median"}, "no pooling 'median'; did you mean"),
        ({"missing": "drop"}, "wanted one of error, zero, mean"),
    ],
    ids=["table", "none", "twice", "pooling", "missing"],
)
def test_parameters_of_no_meaning_are_refused(parameters, message):
    with pytest.raises(RepresentationError, match=message):
        ElementEmbedding(**parameters)
