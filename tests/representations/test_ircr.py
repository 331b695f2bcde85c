"""IRCR against an array written out by hand, an element-by-element encoder, and junk."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.core import Element

from crystalcodec.crystals import Crystals
from crystalcodec.failures import count_reasons
from crystalcodec.representations.base import RepresentationError
from crystalcodec.representations.ircr import IRCR, VALENCES
from crystalcodec.testing import round_trip_errors, sample_crystals

PEROVSKITE = Crystals.single(
    [[3.9, 0, 0], [0, 3.9, 0], [0, 0, 4.2]],
    [[0.5, 0.5, 0], [0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0, 0.5], [0, 0.5, 0.5]],
    [8, 22, 8, 38, 8],  # O first, then Ti, then Sr
)


def encoded(crystals=PEROVSKITE, **parameters):
    return IRCR(**parameters).encode(crystals)["ircr"]


def test_every_number_of_one_array_is_known():
    expected = np.zeros((144, 3), np.float32)
    expected[7, 0] = expected[21, 1] = expected[37, 2] = 1
    expected[94] = [3.9, 3.9, 4.2]
    expected[95] = 90
    expected[96:101] = PEROVSKITE.frac_coords
    expected[[116, 118, 120], 0] = expected[117, 1] = expected[119, 2] = 1
    expected[136:142] = [
        [8, 22, 38],
        [0.6, 0.2, 0.2],
        [2, 4, 5],
        [16, 4, 2],
        [3.44, 1.54, 0.95],
        [6, 4, 2],
    ]
    np.testing.assert_array_equal(encoded()[0], expected)


def slow(crystal: Crystals) -> np.ndarray:
    """The same array from the definition, element by element, with pymatgen's tables."""
    array = np.zeros((144, 3))
    columns = list(dict.fromkeys(crystal.numbers.tolist()))
    for column, number in enumerate(columns):
        element = Element.from_Z(number)
        array[number - 1, column] = 1
        valence = element.group if element.group <= 12 else (element.group - 10) % 8
        array[136:142, column] = [
            number,
            np.mean(crystal.numbers == number),
            element.row,
            element.group,
            np.nan_to_num(element.X),
            3 if element.is_lanthanoid or element.is_actinoid else valence,
        ]
    array[94:96] = crystal.cell_parameters.reshape(2, 3)
    for site, (number, coords) in enumerate(
        zip(crystal.numbers.tolist(), crystal.frac_coords, strict=True)
    ):
        array[96 + site] = coords
        array[116 + site, columns.index(number)] = 1
    return array


@pytest.mark.filterwarnings("ignore:No Pauling electronegativity")
def test_agrees_with_an_encoder_written_from_the_definition():
    crystals = sample_crystals(60, seed=3)
    arrays = encoded(crystals)
    difference = np.abs(arrays - np.array([slow(one) for one in crystals]))
    difference[:, 96:116] = np.minimum(difference[:, 96:116], 1 - difference[:, 96:116])
    assert difference.max() < 1e-5


@pytest.mark.parametrize(
    ("symbol", "valence"),
    [
        *[("H", 1), ("He", 0), ("Na", 1), ("Sc", 3), ("Fe", 8), ("Zn", 12), ("B", 3), ("C", 4)],
        *[("N", 5), ("O", 6), ("F", 7), ("Ar", 0), ("La", 3), ("Gd", 3), ("Lu", 3), ("Hf", 4)],
        *[("Ac", 3), ("U", 3), ("Lr", 3), ("Rf", 4), ("Ra", 2), ("Ba", 2)],
    ],
)
def test_valences(symbol, valence):
    assert VALENCES[Element(symbol).Z] == valence


def test_fields_cut_the_array_into_its_blocks():
    fields = {field.name: field.of({"ircr": encoded()}) for field in IRCR().fields}
    assert fields["elements"].shape == (1, 94, 3)
    assert fields["lengths"][0, 0].tolist() == pytest.approx([3.9, 3.9, 4.2])
    assert fields["angles"][0, 0].tolist() == [90, 90, 90]
    np.testing.assert_allclose(fields["frac_coords"][0, :5], PEROVSKITE.frac_coords)
    assert fields["occupancy"].sum() == 5
    assert fields["properties"][0, 0].tolist() == [8, 22, 38]


def test_limits_are_counted_by_reason():
    crystals = Crystals.concatenate(
        [
            PEROVSKITE,
            PEROVSKITE.supercell([1, 1, 5]),
            Crystals.single(np.eye(3) * 8, np.eye(4, 3) / 2, [1, 2, 3, 4]),
            Crystals.single(np.eye(3) * 3, [[0, 0, 0]], [95]),
            Crystals.single(np.diag([3, 3, -3]), [[0, 0, 0]], [3]),
        ]
    )
    result = IRCR().encode(crystals)
    assert result.index.tolist() == [0]
    assert [(failure.index, failure.reason, failure.detail) for failure in result.failures] == [
        (1, "too many sites", "25 sites, at most 20 fit (max_sites)"),
        (2, "too many elements", "4 elements, at most 3 fit (max_elements)"),
        (3, "element out of range", "Am, atomic numbers up to 94 fit (max_atomic_number)"),
        (
            4,
            "left-handed lattice",
            "lengths and angles do not tell handedness: use Crystals.right_handed()",
        ),
    ]
    larger = IRCR(max_sites=25, max_elements=4, max_atomic_number=100)
    assert larger.encode(crystals[:4]).index.tolist() == [0, 1, 2, 3]
    assert larger.shapes() == {"ircr": (100 + 2 + 25 + 25 + 8, 4)}
    assert IRCR(max_elements=1).shapes() == {"ircr": (144, 3)}


@pytest.mark.parametrize(
    "parameters",
    [{"max_sites": 0}, {"max_elements": 0}, {"max_atomic_number": 119}, {"tolerance": 1.5}],
)
def test_odd_parameters_are_refused(parameters):
    with pytest.raises(RepresentationError, match=str(next(iter(parameters.values())))):
        IRCR(**parameters)


@given(st.integers(0, 10**6))
def test_round_trip(seed):
    crystals = sample_crystals(8, seed=seed)
    decoded = IRCR().decode(IRCR().encode(crystals))
    assert decoded.index.tolist() == list(range(8))
    assert round_trip_errors(crystals, decoded.crystals).max() < 1e-5


def test_real_crystals_come_back(shared_data):
    """All of MP-20 val: 7,150 hold at most three elements, 194 hold more."""
    from crystalcodec.io import read

    crystals = read(shared_data / "mp20" / "val.csv.gz", structure_column="cif").crystals
    result = IRCR().encode(crystals)
    assert count_reasons(result.failures) == {"too many elements": 194}
    decoded = IRCR().decode(result)
    assert not decoded.failures
    assert round_trip_errors(crystals[result.index], decoded.crystals).max() < 1e-5


def broken(change) -> np.ndarray:
    array = encoded()
    change(array[0])
    return array


def put(rows, columns, value):
    return lambda array: array.__setitem__((rows, columns), value)


EVERYTHING = slice(None)
REFUSED = {
    "no sites": (put(slice(116, 136), EVERYTHING, 0), "no occupied site"),
    "no element": (put(7, 0, 0), "site without element"),
    "half an element": (put(7, 0, 0.6), "element undecided"),
    "two elements": (put(8, 0, 1), "element undecided"),
    "half a site": (put(116, 0, 0.5), "occupancy undecided"),
    "a site of two elements": (put(116, 1, 1), "occupancy undecided"),
    "negative occupancy": (put(135, 1, -1), "occupancy undecided"),
    "no length": (put(94, 0, 0), "lattice closes no cell"),
    "negative length": (put(94, 2, -4), "lattice closes no cell"),
    "angles over 360": (put(95, EVERYTHING, 121), "lattice closes no cell"),
    "angles too small": (put(95, EVERYTHING, [20, 20, 90]), "lattice closes no cell"),
    "flat": (put(95, EVERYTHING, [60, 60, 120]), "lattice closes no cell"),
    "NaN": (put(140, 1, np.nan), "not finite"),
    "infinity": (put(94, 1, np.inf), "not finite"),
    "another Z": (put(136, 0, 9), "not self-consistent"),
    "another fraction": (put(137, 0, 0.5), "not self-consistent"),
    "a last row": (put(143, 2, 0.1), "not self-consistent"),
    "a gap": (put(116, EVERYTHING, 0), "not self-consistent"),
    "coordinates of no site": (put(110, 1, 0.3), "not self-consistent"),
    "an element of no site": (put(120, 2, 1), "occupancy undecided"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_strict_decoding_gives_the_reason(case):
    change, reason = REFUSED[case]
    decoded = IRCR().decode(broken(change))
    assert [failure.reason for failure in decoded.failures] == [reason]
    assert len(decoded.crystals) == 0


def test_the_inconsistent_entry_is_named():
    failure = IRCR().decode(broken(put(136, 0, 9))).failures[0]
    assert failure.detail == ("row 136 (Z), column 0 holds 9, the crystal that it decodes to has 8")


def test_columns_out_of_order_are_no_encoding():
    array = encoded()
    array[..., :94, :] = array[..., :94, [1, 0, 2]]
    array[..., 116:, :] = array[..., 116:, [1, 0, 2]]
    assert [f.reason for f in IRCR().decode(array).failures] == ["not self-consistent"]
    tolerant = IRCR(tolerance=0.5).decode(array).crystals
    assert round_trip_errors(PEROVSKITE, tolerant)[0] < 1e-5


def test_a_generated_array_decodes_with_a_tolerance():
    rng = np.random.default_rng(0)
    noisy = encoded() + rng.uniform(-0.3, 0.3, (1, 144, 3))
    noisy[:, 94:116] = encoded()[:, 94:116]
    assert len(IRCR().decode(noisy).failures) == 1
    decoded = IRCR(tolerance=0.5).decode(noisy)
    assert not decoded.failures
    assert round_trip_errors(PEROVSKITE, decoded.crystals)[0] < 1e-5
    faint = encoded()
    faint[:, 116:136] *= 0.3
    reasons = [f.reason for f in IRCR(tolerance=0.5).decode(faint).failures]
    assert reasons == ["no occupied site"]
    assert len(IRCR(tolerance=0.75).decode(faint).crystals) == 1


def test_arg_max_decides_between_two_elements():
    array = encoded()
    array[0, 7, 0], array[0, 8, 0] = 0.6, 0.9
    assert IRCR(tolerance=0.5).decode(array).crystals.numbers.tolist() == [9, 22, 9, 38, 9]


def test_coordinates_outside_the_cell_are_the_same_place():
    array = encoded()
    array[0, 96:101] += 1
    decoded = IRCR().decode(array)
    assert not decoded.failures
    assert round_trip_errors(PEROVSKITE, decoded.crystals)[0] < 1e-5


def test_failures_are_counted_among_good_arrays():
    good = encoded(sample_crystals(6))
    arrays = np.concatenate([good[:2], broken(put(136, 0, 9)), good[2:], good[:1] * np.nan])
    decoded = IRCR().decode({"ircr": arrays})
    assert decoded.index.tolist() == [0, 1, 3, 4, 5, 6]
    assert [(f.index, f.reason) for f in decoded.failures] == [
        (2, "not self-consistent"),
        (7, "not finite"),
    ]
    assert round_trip_errors(sample_crystals(6), decoded.crystals).max() < 1e-5


def test_arrays_of_another_kind_are_refused():
    for array in (np.zeros((2, 143, 3)), np.zeros((144, 3)), np.zeros((1, 144, 3), "U1")):
        with pytest.raises(RepresentationError, match=r"shape|holds"):
            IRCR().decode(array)
    with pytest.raises(RepresentationError, match=r"needs the array 'ircr', got \['other'\]"):
        IRCR().decode({"other": encoded()})
    assert len(IRCR().decode(np.zeros((0, 144, 3))).crystals) == 0
