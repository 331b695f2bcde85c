"""Amounts of elements by hand and against pymatgen; what is refused; one-hot vectors."""

from __future__ import annotations

import numpy as np
import pytest

from crystalcodec.crystals import Crystals
from crystalcodec.elements import SYMBOLS
from crystalcodec.failures import count_reasons
from crystalcodec.io import to_pymatgen
from crystalcodec.representations.base import RepresentationError
from crystalcodec.representations.composition import Composition, one_hot
from crystalcodec.representations.composition.pooling import element_parts
from crystalcodec.testing import check_representation, sample_crystals


def crystal(*numbers):
    """Atoms in a row, in a cell that has room for them."""
    n = len(numbers)
    coords = np.zeros((n, 3))
    coords[:, 0] = np.arange(n) / n
    return Crystals.single(np.diag([3.0 * n, 3.0, 3.0]), coords, numbers)


ALUMINA = crystal(13, 13, 8, 8, 8, 13, 13, 8, 8, 8)
HYDROGEN = crystal(1, 1)


def encoded(crystals, **parameters):
    return Composition(**parameters).encode(crystals)["composition"]


def test_every_number_is_known():
    both = Crystals.concatenate([ALUMINA, HYDROGEN])
    fraction = np.zeros((2, 118), np.float32)
    fraction[0, [12, 7]] = 0.4, 0.6
    fraction[1, 0] = 1
    np.testing.assert_array_equal(encoded(both), fraction)
    count = np.zeros((2, 118), np.float32)
    count[0, [12, 7]] = 2, 3
    count[1, 0] = 1  # the element, not the molecule
    np.testing.assert_array_equal(encoded(both, values="count"), count)
    np.testing.assert_array_equal(encoded(both, values="presence"), (count > 0).astype(np.float32))


def test_fractions_are_those_of_pymatgen():
    crystals = sample_crystals(60, seed=3)
    array = encoded(crystals)
    for structure, row in zip(to_pymatgen(crystals), array, strict=True):
        wanted = [structure.composition.get_atomic_fraction(symbol) for symbol in SYMBOLS[1:]]
        np.testing.assert_allclose(row, wanted, atol=1e-7)


def test_counts_are_those_of_the_reduced_formula():
    crystals = sample_crystals(60, seed=4)
    array = encoded(crystals, values="count")
    for structure, row in zip(to_pymatgen(crystals), array, strict=True):
        whole = {e.symbol: int(a) for e, a in structure.composition.items()}
        divisor = np.gcd.reduce([*whole.values()])
        wanted = {symbol: amount // divisor for symbol, amount in whole.items()}
        assert {SYMBOLS[j + 1]: row[j] for j in np.flatnonzero(row)} == wanted


def test_columns_are_the_given_elements_in_their_order():
    array = encoded(ALUMINA, elements=("O", "Ti", "Al"), values="count")
    np.testing.assert_array_equal(array, [[3, 0, 2]])
    names = Composition(elements=("O", "Ti", "Al")).feature_names()
    assert names == ("fraction O", "fraction Ti", "fraction Al")
    assert Composition().feature_names()[25] == "fraction Fe"


def test_an_element_without_a_column_is_a_failure_that_names_it():
    batch = Crystals.concatenate([HYDROGEN, ALUMINA, crystal(8, 84, 86)])
    result = Composition(elements=("Al", "O")).encode(batch)
    assert result.index.tolist() == [1]
    assert count_reasons(result.failures) == {"element out of range": 2}
    assert result.failures[0].detail.startswith("H: not among the 2 elements")
    assert result.failures[1].detail.startswith("Po, Rn:")


def test_elements_are_discovered_by_fit():
    loose = Composition(discover=True)
    assert loose.needs_fit
    with pytest.raises(RepresentationError, match="fit"):
        loose.encode(ALUMINA)
    fitted = loose.fit(Crystals.concatenate([ALUMINA, HYDROGEN]))
    assert fitted.elements == ("H", "O", "Al")
    assert not fitted.needs_fit
    assert fitted.fit(crystal(84)) is fitted
    everything = Composition()
    assert everything.fit(ALUMINA) is everything


@pytest.mark.parametrize(
    "parameters",
    [{"values": "count"}, {"values": "presence"}, {"discover": True}],
    ids=lambda parameters: next(iter(parameters)),
)
def test_other_parameters_conform_too(parameters):
    check_representation(Composition(**parameters))


def test_many_crystals_are_counted_block_by_block():
    few = sample_crystals(30, seed=5)
    many = few[np.arange(9000) % 30]
    np.testing.assert_array_equal(encoded(many), encoded(few)[np.arange(9000) % 30])
    parts = element_parts(many)
    assert len(parts) == 9000
    np.testing.assert_array_equal(parts[4090:4110].rows, element_parts(many[4090:4110]).rows)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"values": "weight"}, "wanted one of fraction, count, presence"),
        ({"elements": ("Na", "Xx")}, "no element 'Xx'"),
        ({"elements": ("Na", "Na")}, "named twice"),
    ],
    ids=["values", "unknown", "twice"],
)
def test_parameters_of_no_meaning_are_refused(parameters, message):
    with pytest.raises(RepresentationError, match=message):
        Composition(**parameters)


def test_one_hot_vectors_of_elements():
    array = one_hot(["H", "Og", 11])
    assert array.shape == (3, 118)
    assert array.dtype == np.float32
    assert array.sum() == array[0, 0] + array[1, 117] + array[2, 10] == 3
    np.testing.assert_array_equal(one_hot(np.array([8, 13]), among=("Al", "O")), [[0, 1], [1, 0]])
    assert one_hot([]).shape == (0, 118)


@pytest.mark.parametrize("element", ["Xx", 0, 119, 2.5, -1])
def test_one_hot_refuses_what_is_no_element(element):
    with pytest.raises(RepresentationError, match="no element"):
        one_hot([element])


def test_one_hot_refuses_an_element_without_a_column():
    with pytest.raises(RepresentationError, match="Na is not among Al, O"):
        one_hot(["O", "Na"], among=("Al", "O"))
