"""UniMat against an array written out by hand, a loop from the paper's definition, and junk."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.core import Element

from crystalcodec.crystals import Crystals
from crystalcodec.failures import count_reasons
from crystalcodec.representations.base import RepresentationError
from crystalcodec.representations.unimat import UniMat
from crystalcodec.testing import check_representation, round_trip_errors, sample_crystals

PEROVSKITE = Crystals.single(
    [[3.9, 0, 0], [0, 3.9, 0], [0, 0, 4.2]],
    [[0.5, 0.5, 0], [0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0, 0.5], [0, 0.5, 0.5]],
    [8, 22, 8, 38, 8],
)


def encoded(crystals=PEROVSKITE, **parameters):
    arrays = UniMat(**parameters).encode(crystals).arrays
    return {name: array.copy() for name, array in arrays.items()}


def test_every_number_of_one_array_is_known():
    expected = np.full((20, 9, 18, 3), -1, np.float32)
    expected[0, 1, 15] = [0.5, 0.5, 0]  # O: period 2, group 16
    expected[1, 1, 15] = [0.5, 0.5, 0.5]
    expected[2, 1, 15] = [0, 0.5, 0.5]
    expected[0, 3, 3] = [0, 0, 0]  # Ti: period 4, group 4
    expected[0, 4, 1] = [0.5, 0, 0.5]  # Sr: period 5, group 2
    arrays = encoded()
    np.testing.assert_array_equal(arrays["unimat"][0], expected)
    np.testing.assert_allclose(arrays["cell_parameters"], [[3.9, 3.9, 4.2, 90, 90, 90]])


@pytest.mark.parametrize(
    ("symbol", "row", "column"),
    [
        *[("H", 0, 0), ("He", 0, 17), ("B", 1, 12), ("Cs", 5, 0), ("Hf", 5, 3), ("Og", 6, 17)],
        *[("La", 7, 2), ("Ce", 7, 3), ("Lu", 7, 16), ("Ac", 8, 2), ("Lr", 8, 16), ("Rf", 6, 3)],
    ],
)
def test_places_in_the_periodic_table(symbol, row, column):
    assert UniMat().places[Element(symbol).Z] == 18 * row + column


def test_every_element_has_a_place_of_its_own():
    places = UniMat().places
    assert len(set(places[1:].tolist())) == 118
    assert places[0] == -1
    assert places[1:].min() >= 0
    assert places.max() < 9 * 18


def slow(crystal: Crystals) -> np.ndarray:
    """The same array from the definition, atom by atom, with pymatgen's table."""
    array = np.full((20, 9, 18, 3), -1.0)
    filled: dict[int, int] = {}
    for number, coords in zip(crystal.numbers.tolist(), crystal.frac_coords, strict=True):
        element = Element.from_Z(number)
        row, column = element.row - 1, element.group - 1
        if element.is_lanthanoid or element.is_actinoid:
            row, column = row + 2, number - (57 if row == 5 else 89) + 2
        array[filled.get(number, 0), row, column] = coords
        filled[number] = filled.get(number, 0) + 1
    return array


def test_agrees_with_an_encoder_written_from_the_definition():
    crystals = sample_crystals(40, seed=3)
    difference = encoded(crystals)["unimat"] - np.array([slow(one) for one in crystals])
    # 1 - 1e-9 is 1 in float32, which is the same place as 0.
    assert np.abs(difference - np.rint(difference)).max() < 1e-6
    assert (np.abs(difference) > 0.5).sum() <= 3


@given(st.integers(0, 10**6))
def test_round_trip(seed):
    crystals = sample_crystals(6, seed=seed)
    decoded = UniMat().decode(UniMat().encode(crystals))
    assert decoded.index.tolist() == list(range(6))
    assert decoded.confidence.tolist() == [1.0] * 6
    assert round_trip_errors(crystals, decoded.crystals, any_order=True).max() < 1e-5


def test_sites_come_back_by_element_and_within_one_in_their_order():
    crystals = UniMat().decode(encoded()).crystals
    assert crystals.numbers.tolist() == [8, 8, 8, 22, 38]
    oxygen = PEROVSKITE.frac_coords[[0, 2, 4]]
    np.testing.assert_allclose(crystals.frac_coords[:3], oxygen, atol=1e-7)


def test_a_grid_of_a_few_elements():
    unimat = UniMat(max_atoms_per_element=3, elements=["Ti", "O", "Sr"])
    result = unimat.encode(PEROVSKITE)
    assert unimat.shapes() == {"unimat": (3, 1, 3, 3), "cell_parameters": (6,)}
    assert result["unimat"][0, 1, 0].tolist() == [[-1, -1, -1], [0.5, 0.5, 0.5], [-1, -1, -1]]
    assert round_trip_errors(PEROVSKITE, unimat.decode(result).crystals, any_order=True) < 1e-5
    config = json.loads(json.dumps(unimat.config()))
    assert UniMat(**{k: v for k, v in config.items() if k != "name"}) == unimat
    salt = Crystals.single(np.eye(3) * 4, [[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17])
    failure = unimat.encode(salt).failures[0]
    assert failure.reason == "element outside the grid"
    assert failure.detail == "Na, Cl: the grid is made for Ti, O, Sr (elements)"


def test_conformance_with_other_parameters():
    check_representation(UniMat(max_atoms_per_element=12, tolerance=0.5))


def test_limits_are_counted_by_reason():
    crystals = Crystals.concatenate(
        [
            PEROVSKITE,
            PEROVSKITE.supercell([1, 1, 7]),
            Crystals.single(np.diag([3, 3, -3]), [[0, 0, 0]], [3]),
        ]
    )
    result = UniMat().encode(crystals)
    assert result.index.tolist() == [0]
    assert [(f.index, f.reason, f.detail) for f in result.failures] == [
        (
            1,
            "too many atoms of one element",
            "21 atoms of O, at most 20 fit (max_atoms_per_element)",
        ),
        (
            2,
            "left-handed lattice",
            "lengths and angles do not tell handedness: use Crystals.right_handed()",
        ),
    ]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"max_atoms_per_element": 0}, "wanted at least 1"),
        ({"tolerance": 1.5}, "wanted 0 to 1"),
        ({"elements": ("Xx",)}, "symbols of elements"),
        ({"elements": ()}, "symbols of elements"),
        ({"elements": ("O", "O")}, "each once"),
    ],
)
def test_odd_parameters_are_refused(parameters, message):
    with pytest.raises(RepresentationError, match=message):
        UniMat(**parameters)


def test_real_crystals_come_back(shared_data):
    from crystalcodec.io import read

    crystals = read(shared_data / "mp20" / "val.csv.gz", structure_column="cif").crystals[:1000]
    result = UniMat().encode(crystals)
    assert not result.failures
    decoded = UniMat().decode(result)
    assert not decoded.failures
    assert round_trip_errors(crystals, decoded.crystals, any_order=True).max() < 1e-5


def put(where, value, array="unimat"):
    return lambda arrays: arrays[array].__setitem__((0, *where), value)


O2, EMPTY = (2, 1, 15), (0, 0, 5)
REFUSED = {
    "half an atom": (put(O2, -0.5), "site undecided"),
    "one channel null": (put((*O2, 0), -1), "site undecided"),
    "a coordinate of 1.2": (put((*O2, 0), 1.2), "site undecided"),
    "an atom that is no element's": (put(EMPTY, 0.5), "atom outside the periodic table"),
    "an atom in the gap of the f block": (put((0, 5, 2), 0.5), "atom outside the periodic table"),
    "a place left empty": (put((1, 1, 15), -1), "gap between sites"),
    "no atom": (put((), -1), "no occupied site"),
    "no length": (put((0,), 0, "cell_parameters"), "lattice closes no cell"),
    "flat": (put((slice(3, 6),), [60, 60, 120], "cell_parameters"), "lattice closes no cell"),
    "NaN": (put(O2, np.nan), "not finite"),
    "NaN in one channel": (put((*O2, 1), np.nan), "not finite"),
    "infinity in the cell": (put((4,), np.inf, "cell_parameters"), "not finite"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_strict_decoding_gives_the_reason(case):
    change, reason = REFUSED[case]
    arrays = encoded()
    change(arrays)
    decoded = UniMat().decode(arrays)
    assert [failure.reason for failure in decoded.failures] == [reason]
    assert len(decoded.crystals) == 0


def test_generated_arrays_decode_with_a_tolerance():
    rng = np.random.default_rng(0)
    noisy = encoded(sample_crystals(8))
    noisy["unimat"] += rng.normal(0, 0.05, noisy["unimat"].shape)
    assert count_reasons(UniMat().decode(noisy).failures) == {"site undecided": 8}
    decoded = UniMat(tolerance=0.5).decode(noisy)
    assert not decoded.failures
    assert ((decoded.confidence > 0.5) & (decoded.confidence < 1)).all()
    for one, other in zip(sample_crystals(8), decoded.crystals, strict=True):
        assert np.array_equal(np.sort(one.numbers), other.numbers)


def test_the_mean_of_the_three_numbers_decides_and_gives_the_confidence():
    arrays = encoded()
    arrays["unimat"][0][O2] = [-0.9, 0.1, 0.2]  # mean -0.2: an atom, at 0.1, 0.1, 0.2
    decoded = UniMat(tolerance=0.5).decode(arrays)
    np.testing.assert_allclose(decoded.crystals.frac_coords[2], [0.1, 0.1, 0.2], atol=1e-6)
    assert decoded.confidence[0] == pytest.approx(0.6, abs=1e-5)
    arrays["unimat"][0][O2] = [-0.9, -0.9, 0.2]
    assert len(UniMat(tolerance=0.5).decode(arrays).crystals.numbers) == 4


def test_an_atom_in_any_place_of_its_cell_counts_with_a_tolerance():
    arrays = encoded()
    arrays["unimat"][0, 5, 1, 15] = arrays["unimat"][0][O2]
    arrays["unimat"][0][O2] = -1
    crystals = UniMat(tolerance=0.5).decode(arrays).crystals
    assert round_trip_errors(PEROVSKITE, crystals, any_order=True)[0] < 1e-5


@pytest.mark.parametrize("tolerance", [1e-3, 0.5])
def test_random_pictures_are_refused(tolerance):
    rng = np.random.default_rng(0)
    cells = np.tile([5.0, 5, 5, 90, 90, 90], (50, 1))
    for grid in (rng.uniform(-1, 1, (50, 20, 9, 18, 3)), rng.random((50, 20, 9, 18, 3))):
        decoded = UniMat(tolerance=tolerance).decode({"unimat": grid, "cell_parameters": cells})
        assert len(decoded.failures) == 50


def test_failures_are_counted_among_good_arrays():
    good, broken = encoded(sample_crystals(4)), encoded()
    put(EMPTY, 0.5)(broken)
    arrays = {name: np.concatenate([good[name], broken[name], good[name]]) for name in good}
    decoded = UniMat().decode(arrays)
    assert decoded.index.tolist() == [0, 1, 2, 3, 5, 6, 7, 8]
    assert decoded.failures[0].index == 4
    twice = sample_crystals(4)[[0, 1, 2, 3, 0, 1, 2, 3]]
    assert round_trip_errors(twice, decoded.crystals, any_order=True).max() < 1e-5


def test_arrays_of_another_kind_are_refused():
    arrays = encoded()
    with pytest.raises(RepresentationError, match="give a mapping of all"):
        UniMat().decode(arrays["unimat"])
    with pytest.raises(RepresentationError, match="shape"):
        UniMat(max_atoms_per_element=19).decode(arrays)
    with pytest.raises(RepresentationError, match="needs the array 'cell_parameters'"):
        UniMat().decode({"unimat": arrays["unimat"]})


def test_infinity_among_absent_atoms_is_not_finite():
    for tolerance in (1e-3, 0.5):
        for value in (np.inf, -np.inf, np.nan):
            arrays = encoded()
            arrays["unimat"][0, 7, 3, 4, 1] = value
            decoded = UniMat(tolerance=tolerance).decode(arrays)
            assert [f.reason for f in decoded.failures] == ["not finite"]


@pytest.mark.parametrize("angle", [450, -90, 0, 180])
def test_angles_of_no_cell_are_refused(angle):
    arrays = encoded()
    arrays["cell_parameters"][0, 4] = angle
    assert [f.reason for f in UniMat().decode(arrays).failures] == ["lattice closes no cell"]
