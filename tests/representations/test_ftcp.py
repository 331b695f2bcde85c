"""FTCP against numbers written out by hand, a loop over sites and points, noise, and junk."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.core import Element, Lattice

from crystalcodec.crystals import Crystals
from crystalcodec.failures import count_reasons
from crystalcodec.geometry import lattices_from_cell_parameters
from crystalcodec.representations.base import RepresentationError
from crystalcodec.representations.ftcp import FTCP
from crystalcodec.representations.ftcp.reciprocal import PROPERTIES, reciprocal_points
from crystalcodec.testing import CHECKS, check_representation, round_trip_errors, sample_crystals

PEROVSKITE = Crystals.single(
    [[3.9, 0, 0], [0, 3.9, 0], [0, 0, 4.2]],
    [[0.5, 0.5, 0], [0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0, 0.5], [0, 0.5, 0.5]],
    [8, 22, 8, 38, 8],  # O first, then Ti, then Sr
)
L, C, OCC, K, P = 103, 105, 125, 145, 146  # the first row of each block but E


def encoded(crystals=PEROVSKITE, **parameters):
    return FTCP(**parameters).encode(crystals)["ftcp"].copy()


def test_the_real_space_half_is_known():
    array = encoded()[0]
    expected = np.zeros((146, 3), np.float32)
    expected[7, 0] = expected[21, 1] = expected[37, 2] = 1
    expected[L] = [3.9, 3.9, 4.2]
    expected[L + 1] = 90
    expected[C : C + 5] = PEROVSKITE.frac_coords
    expected[[OCC, OCC + 2, OCC + 4], 0] = expected[OCC + 1, 1] = expected[OCC + 3, 2] = 1
    np.testing.assert_array_equal(array[:P, :3], expected)
    np.testing.assert_array_equal(array[P:, :3], PROPERTIES[[8, 22, 38]].T)
    assert not array[:K, 3:].any()


def test_the_reciprocal_half_of_a_simple_cubic_crystal_is_known():
    cubic = Crystals.single(np.eye(3) * 4, [[0.1, 0.2, 0.4]], [1])
    array = encoded(cubic)[0]
    # 100, 010, 001, 00-1, 0-10, -100, then those of index sum 2: 200, 110, 101, 10-1.
    lengths = np.sqrt([1, 1, 1, 1, 1, 1, 4, 2, 2, 2]) / 4
    np.testing.assert_allclose(array[K, 3:13], lengths, rtol=1e-6)
    phases = np.pi * np.array([0.1, 0.2, 0.4, -0.4, -0.2, -0.1, 0.2, 0.3, 0.5, -0.3])
    for row in np.flatnonzero(PROPERTIES[1]):
        np.testing.assert_allclose(array[P + row, 3:13], phases, rtol=1e-6)
    assert not array[P + np.flatnonzero(PROPERTIES[1] == 0), 3:].any()


def slow(crystal: Crystals) -> np.ndarray:
    """The same array from the definition, site by site and point by point, with pymatgen."""
    array = np.zeros((238, 62))
    columns = list(dict.fromkeys(crystal.numbers.tolist()))
    for column, number in enumerate(columns):
        array[number - 1, column] = 1
        array[P:, column] = PROPERTIES[number]
    array[L : L + 2, :3] = crystal.cell_parameters.reshape(2, 3)
    for site, (number, coords) in enumerate(
        zip(crystal.numbers.tolist(), crystal.frac_coords, strict=True)
    ):
        array[C + site, :3] = coords
        array[OCC + site, columns.index(number)] = 1
    lattice = Lattice(crystal.lattices[0]).reciprocal_lattice_crystallographic
    for radius in (1.297, 1.4):
        points = lattice.get_points_in_sphere([[0, 0, 0]], [0, 0, 0], radius)
        if len(points) >= 60:
            break
    points = [([round(i) for i in point[0]], point[1]) for point in points if point[1] > 1e-8]
    points.sort(key=lambda p: (sum(map(abs, p[0])), [-i for i in p[0]]))
    for column, (hkl, length) in enumerate(points[:59], start=3):
        array[K, column] = length
        for number, coords in zip(crystal.numbers.tolist(), crystal.frac_coords, strict=True):
            array[P:, column] += PROPERTIES[number] * np.pi * np.dot(hkl, coords)
    return array


def test_agrees_with_an_encoder_written_from_the_definition():
    crystals = sample_crystals(24, seed=3)
    below = crystals.frac_coords * (crystals.frac_coords < 1 - 1e-7)  # float32 rounds up to 1
    crystals = Crystals(crystals.lattices, below, crystals.numbers, crystals.offsets)
    arrays = encoded(crystals)
    expected = np.array([slow(one) for one in crystals])
    np.testing.assert_allclose(arrays, expected, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize(
    "cell",
    [
        [4, 4, 4, 60, 60, 60],  # some points of index sum 3 lie outside the sphere
        [2.5, 2.5, 30, 90, 90, 120],
        [1.2, 1.2, 40, 90, 90, 90],  # a needle: 59 points need high l
        [1.7, 1.7, 1.9, 90, 90, 90],  # too few within 1.297
    ],
)
def test_points_of_awkward_cells(cell):
    hkl, lengths, found = reciprocal_points(np.array([cell], float))
    assert found.all()
    lattice = Lattice.from_parameters(*cell).reciprocal_lattice_crystallographic
    radius = 1.297 if len(lattice.get_points_in_sphere([[0] * 3], [0] * 3, 1.297)) >= 60 else 1.4
    points = lattice.get_points_in_sphere([[0] * 3], [0] * 3, radius)
    expected = [[round(i) for i in point[0]] for point in points if point[1] > 1e-8]
    expected.sort(key=lambda p: (sum(map(abs, p)), [-i for i in p]))
    assert hkl[0].astype(int).tolist() == expected[:59]
    np.testing.assert_allclose(lengths[0], np.linalg.norm(hkl[0] @ lattice.matrix, axis=1))


def test_properties_are_those_of_cgcnn():
    """Nine one-hot blocks; the places of a few elements are known from its atom_init.json."""
    assert PROPERTIES.shape == (119, 92)
    ends = np.cumsum([19, 7, 10, 10, 12, 10, 10, 4, 10])[:-1]
    blocks = np.split(PROPERTIES[1:101], ends, axis=1)
    assert all(block.sum(axis=1).max() == 1 for block in blocks)
    assert not PROPERTIES[101:].any()
    assert not PROPERTIES[0].any()
    known = {
        1: [1, 19, 30, 36, 46, 64, 73, 78, 86],
        26: [8, 22, 29, 40, 53, 61, 72, 80, 83],
        57: [0, 24, 27, 42, 47, 60, 73, 81, 87],
        71: [3, 24, 27, 42, 48, 59, 72, 80, 86],
        92: [0, 25, 29, 42, 47, 60, 81, 85],
    }
    for number, places in known.items():
        assert np.flatnonzero(PROPERTIES[number]).tolist() == places
    periods = [Element.from_Z(z).row for z in range(1, 101)]
    assert (blocks[1].argmax(axis=1) + 1).tolist() == periods
    letters = ["spdf"[i] for i in blocks[7].argmax(axis=1)]
    other = [z for z in range(1, 101) if Element.from_Z(z).block != letters[z - 1]]
    assert other == [2]  # helium is s in the table, p by its column


def test_fields_cut_the_array_into_its_blocks():
    fields = {field.name: field.of({"ftcp": encoded()}) for field in FTCP().fields}
    assert fields["elements"].shape == (1, 103, 3)
    assert fields["lengths"][0, 0].tolist() == pytest.approx([3.9, 3.9, 4.2])
    np.testing.assert_allclose(fields["frac_coords"][0, :5], PEROVSKITE.frac_coords)
    assert fields["occupancy"].sum() == 5
    assert fields["k_lengths"].shape == (1, 1, 59)
    assert fields["k_sums"].shape == (1, 92, 59)


def test_shapes_follow_the_published_sizes():
    assert FTCP(max_sites=20).shapes() == {"ftcp": (238, 62)}
    assert FTCP(max_sites=40, max_elements=4, padding=2).shapes() == {"ftcp": (280, 63)}


def test_limits_are_counted_by_reason():
    crystals = Crystals.concatenate(
        [
            PEROVSKITE,
            PEROVSKITE.supercell([1, 1, 5]),
            Crystals.single(np.eye(3) * 8, np.eye(4, 3) / 2, [1, 2, 3, 4]),
            Crystals.single(np.eye(3) * 3, [[0, 0, 0]], [101]),
            Crystals.single(np.diag([3, 3, -3]), [[0, 0, 0]], [3]),
            Crystals.single(np.eye(3), [[0, 0, 0]], [3]),
        ]
    )
    result = FTCP().encode(crystals)
    assert result.index.tolist() == [0]
    assert [(failure.index, failure.reason) for failure in result.failures] == [
        (1, "too many sites"),
        (2, "too many elements"),
        (3, "element out of range"),
        (4, "left-handed lattice"),
        (5, "too few reciprocal points"),
    ]
    assert result.failures[2].detail == (
        "Md, atomic numbers up to 100 fit (max_atomic_number, and the 100 of CGCNN's properties)"
    )
    assert FTCP(max_sites=25, max_elements=4).encode(crystals[:3]).index.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"max_sites": 0}, "at least 1"),
        ({"max_elements": 0}, "at least 1"),
        ({"padding": -1}, "at least 1"),
        ({"max_atomic_number": 119}, "there are 118"),
        ({"tolerance": 1.5}, "wanted 0 to 1"),
        ({"decoder": "magic"}, "'direct' or 'robust'"),
        ({"row_ranges": [(0, 1)]}, "1 row_ranges for 238 rows"),
        ({"row_ranges": [(1, 0)] * 238}, "smallest"),
    ],
)
def test_odd_parameters_are_refused(parameters, message):
    with pytest.raises(RepresentationError, match=message):
        FTCP(**parameters)


@given(st.integers(0, 10**6))
def test_round_trip(seed):
    crystals = sample_crystals(4, seed=seed)
    for ftcp in (FTCP(), FTCP(decoder="robust")):
        decoded = ftcp.decode(ftcp.encode(crystals))
        assert decoded.index.tolist() == list(range(4))
        assert round_trip_errors(crystals, decoded.crystals).max() < 1e-5


def test_row_ranges_scale_to_one_and_back():
    crystals = sample_crystals(12)
    ftcp = FTCP(padding=2).fit(crystals)
    array = ftcp.encode(crystals)["ftcp"]
    assert array.min() == 0
    assert array.max() == 1
    assert ftcp.shapes() == {"ftcp": (240, 62)}
    config = json.loads(json.dumps(ftcp.config()))
    assert FTCP(**{k: v for k, v in config.items() if k != "name"}) == ftcp
    for decoder in ("direct", "robust"):
        decoded = dataclasses.replace(ftcp, decoder=decoder).decode(array)
        assert round_trip_errors(crystals, decoded.crystals).max() < 1e-4
    with pytest.raises(RepresentationError, match="all were refused"):
        FTCP(max_sites=1).fit(PEROVSKITE)


def test_conformance_with_other_parameters():
    check_representation(FTCP(max_sites=14, max_elements=4, padding=2, decoder="robust"))
    fitted = FTCP().fit(sample_crystals())
    for name in ("fields", "batches", "config", "junk"):
        CHECKS[name](fitted, sample_crystals())


def test_real_crystals_come_back(shared_data):
    from crystalcodec.io import read

    crystals = read(shared_data / "mp20" / "val.csv.gz", structure_column="cif").crystals[:500]
    for ftcp in (FTCP(max_elements=5), FTCP(max_elements=5).fit(crystals)):
        result = ftcp.encode(crystals)
        assert set(count_reasons(result.failures)) <= {"too many elements"}
        decoded = ftcp.decode(result)
        assert not decoded.failures
        errors = round_trip_errors(crystals[result.index], decoded.crystals)
        assert errors.max() < (1e-5 if ftcp.row_ranges is None else 1e-4)


def put(rows, columns, value):
    return lambda array: array.__setitem__((rows, columns), value)


EVERYTHING = slice(None)
REFUSED = {
    "no sites": (put(slice(OCC, K), EVERYTHING, 0), "no occupied site"),
    "no element": (put(7, 0, 0), "site without element"),
    "half an element": (put(7, 0, 0.6), "element undecided"),
    "two elements": (put(8, 0, 1), "element undecided"),
    "half a site": (put(OCC, 0, 0.5), "occupancy undecided"),
    "a site of two elements": (put(OCC, 1, 1), "occupancy undecided"),
    "no length": (put(L, 0, 0), "lattice closes no cell"),
    "angles too small": (put(L + 1, slice(0, 3), [20, 20, 90]), "lattice closes no cell"),
    "flat": (put(L + 1, slice(0, 3), [60, 60, 120]), "lattice closes no cell"),
    "NaN": (put(P + 3, 40, np.nan), "not finite"),
    "infinity": (put(L, 1, np.inf), "not finite"),
    "a huge number": (put(L, 1, 1e30), "not finite"),
    "another coordinate": (put(C + 1, 0, 0.25), "not self-consistent"),
    "another length of k": (put(K, 20, 0.7), "not self-consistent"),
    "another sum": (put(P + 15, 20, 3), "not self-consistent"),
    "a number among the zeros": (put(30, 20, 0.1), "not self-consistent"),
    "another property": (put(P + 16, 0, 0), "not self-consistent"),
    "another cell": (put(L, 0, 4.0), "not self-consistent"),
    "a gap": (put(OCC, EVERYTHING, 0), "not self-consistent"),
    "an element beyond the properties": (put(EVERYTHING, EVERYTHING, 0), "no occupied site"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_strict_decoding_gives_the_reason(case):
    change, reason = REFUSED[case]
    array = encoded()
    change(array[0])
    decoded = FTCP().decode(array)
    assert [failure.reason for failure in decoded.failures] == [reason]
    assert len(decoded.crystals) == 0


def test_the_inconsistent_entry_is_named():
    array = encoded()
    array[0, K, 20] += 0.5
    failure = FTCP().decode(array).failures[0]
    assert failure.detail.startswith(f"row {K}, column 20 holds")


def test_an_element_without_properties_is_refused():
    array = encoded()
    array[0, 7, 0], array[0, 101, 0] = 0, 1
    assert [f.reason for f in FTCP().decode(array).failures] == ["not self-consistent"]


def test_arg_max_with_a_tolerance_reads_the_real_space_half_only():
    rng = np.random.default_rng(0)
    array = encoded() + rng.uniform(-0.3, 0.3, (1, 238, 62))
    array[:, L:OCC] = encoded()[:, L:OCC]
    array[:, K:] = 0
    decoded = FTCP(tolerance=0.5).decode(array)
    assert not decoded.failures
    assert decoded.confidence is None
    assert round_trip_errors(PEROVSKITE, decoded.crystals)[0] < 1e-5


def noisy(seed=0, size=4 / 255):
    crystals = sample_crystals(16, seed=5)
    ftcp = FTCP(decoder="robust").fit(sample_crystals(64, seed=6))
    array = ftcp.encode(crystals)["ftcp"]
    rng = np.random.default_rng(seed)
    return crystals, ftcp, array + rng.normal(0, size, array.shape)


def test_the_robust_decoder_finds_species_and_a_better_cell_in_noise():
    crystals, ftcp, array = noisy()
    robust = ftcp.decode(array)
    assert len(robust.failures) <= 1
    kept = crystals[robust.index]
    assert (robust.crystals.numbers == kept.numbers).mean() == 1
    plain = dataclasses.replace(ftcp, decoder="direct", tolerance=0.5).decode(array[robust.index])
    errors = [
        np.abs(found.cell_parameters - kept[plain.index].cell_parameters)[:, :3].mean()
        for found in (robust.crystals[plain.index], plain.crystals)
    ]
    assert errors[0] < 0.5 * errors[1]
    assert ((robust.confidence > 0.6) & (robust.confidence < 1)).all()


def test_the_sums_draw_coordinates_back():
    array = encoded()
    array[0, C + 1, :3] = [0.2, 0.1, 0]
    array[0, C + 3, :3] = [0.4, 0, 0.5]
    decoded = FTCP(decoder="robust").decode(array)
    shift = decoded.crystals.frac_coords - PEROVSKITE.frac_coords
    shift -= np.rint(shift)
    assert 0 < shift[1, 0] < 0.18
    assert 0 < shift[1, 1] < 0.09
    assert -0.09 < shift[3, 0] < 0
    np.testing.assert_allclose(shift[[0, 2, 4]], 0, atol=1e-4)


@pytest.mark.parametrize("kind", ["uniform", "normal", "reversed", "shuffled", "zeros"])
def test_the_robust_decoder_refuses_junk(kind):
    _, ftcp, array = noisy(size=0.0)
    rng = np.random.default_rng(1)
    junk = {
        "uniform": rng.random(array.shape),
        "normal": rng.standard_normal(array.shape),
        "reversed": array[:, ::-1],
        "shuffled": rng.permuted(array.reshape(16, -1), axis=1).reshape(array.shape),
        "zeros": np.zeros_like(array),
    }[kind]
    assert len(ftcp.decode(junk).failures) == 16


def test_two_columns_of_one_element_are_refused_by_the_robust_decoder():
    array = encoded()
    array[0, :L, 1], array[0, P:, 1] = array[0, :L, 0], array[0, P:, 0]
    assert [f.reason for f in FTCP(decoder="robust").decode(array).failures] == [
        "not self-consistent"
    ]


def test_failures_are_counted_among_good_arrays():
    crystals = sample_crystals(40)
    good = encoded(crystals)
    arrays = np.concatenate([good[:35], good[:1] * np.nan, good[35:]])
    decoded = FTCP().decode({"ftcp": arrays})
    assert [(f.index, f.reason) for f in decoded.failures] == [(35, "not finite")]
    assert round_trip_errors(crystals, decoded.crystals).max() < 1e-5


def test_arrays_of_another_kind_are_refused():
    for array in (np.zeros((2, 237, 62)), np.zeros((238, 62)), np.zeros((1, 238, 62), "U1")):
        with pytest.raises(RepresentationError, match=r"shape|holds"):
            FTCP().decode(array)
    assert len(FTCP(decoder="robust").decode(np.zeros((0, 238, 62))).crystals) == 0


@pytest.mark.parametrize("kind", [np.float16, np.longdouble, ">f4", np.int16])
@pytest.mark.parametrize("decoder", ["direct", "robust"])
def test_numbers_of_any_width_are_read(kind, decoder):
    array = encoded().astype(kind)
    decoded = FTCP(decoder=decoder, tolerance=0.5).decode(array)
    assert not decoded.failures
    np.testing.assert_array_equal(decoded.crystals.numbers, PEROVSKITE.numbers)


def test_the_mean_of_two_crystals_is_none_for_the_robust_decoder():
    _, ftcp, array = noisy(size=0.0)
    assert len(ftcp.decode((array + np.roll(array, 1, axis=0)) / 2).failures) == 16


def test_the_robust_decoder_doubts_halves_of_two_crystals():
    _, ftcp, array = noisy(size=0.0)
    whole = ftcp.decode(array)
    assert whole.confidence.min() > 0.999
    array[:, :, 32:] = np.roll(array, 1, axis=0)[:, :, 32:]
    assert (ftcp.decode(array).confidence < 0.9).all()


@pytest.mark.parametrize("gamma", [3, 177])
def test_the_robust_decoder_reads_sharp_angles(gamma):
    lattice = lattices_from_cell_parameters([5, 5, 5, 90, 90, gamma])[0]
    crystal = Crystals.single(lattice, [[0, 0, 0], [0.3, 0.4, 0.5]], [11, 17])
    decoded = FTCP(decoder="robust").decode(encoded(crystal))
    assert round_trip_errors(crystal, decoded.crystals)[0] < 1e-5
