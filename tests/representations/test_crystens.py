"""CrysTens against arrays written out by hand, loops over entries, neighbour lists and junk."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from ase.data import covalent_radii
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.core import Lattice

from crystalcodec.crystals import Crystals
from crystalcodec.failures import count_reasons
from crystalcodec.geometry import lattices_from_cell_parameters
from crystalcodec.io import read
from crystalcodec.representations.base import RepresentationError
from crystalcodec.representations.crystens import CrysTens
from crystalcodec.representations.crystens.decoding import (
    choose_elements,
    count_sites,
    least_squares_coordinates,
)
from crystalcodec.representations.crystens.scales import AVG_STD, COVALENT_RADII, NEAR_MAX
from crystalcodec.representations.ircr import VALENCES
from crystalcodec.representations.minimum_images import minimum_images, reduced_cells
from crystalcodec.testing import check_representation, round_trip_errors, sample_crystals

SALT = Crystals.single([[3, 0, 0], [0, 4, 0], [0, 0, 5]], [[0, 0, 0], [0.25, 0.5, 0.75]], [11, 17])
SAMPLE = sample_crystals()
# Two sites of the third are one atom upon another, which the robust decoder takes for junk.
APART = SAMPLE[[i for i in range(len(SAMPLE)) if i != 2]]
VARIANTS = {
    "raw": CrysTens(),
    "periodic": CrysTens(distances="periodic"),
    "divide_near_max": CrysTens(normalisation="divide_near_max"),
    "avg_std": CrysTens(normalisation="avg_std"),
    "fitted": CrysTens().fit(SAMPLE),
    "fitted periodic": CrysTens(distances="periodic").fit(SAMPLE),
    "chemistry": CrysTens(chemistry=("electronegativity", "covalent_radius", "valence")),
    "smaller": CrysTens(max_sites=20),
    "robust": CrysTens(decoder="robust"),
    "robust fitted": dataclasses.replace(
        CrysTens(distances="periodic", chemistry=("group",)).fit(SAMPLE), decoder="robust"
    ),
}


def groups(crystals):
    return np.arange(len(crystals)) % 230 + 1


def encoded(crystals=SALT, representation=None, **parameters):
    representation = representation or CrysTens(**parameters)
    return representation.encode(crystals, space_group_numbers=groups(crystals))["crystens"]


def test_every_number_of_one_array_is_known():
    expected = np.zeros((64, 64, 4))
    for site, row in enumerate(
        ([11, 0, 0, 0, 3, 4, 5, 90, 90, 90, 1], [17, 0.25, 0.5, 0.75, 3, 4, 5, 90, 90, 90, 1])
    ):
        expected[12 + site, :11] = np.array(row)[:, None]
        expected[:11, 12 + site] = np.array(row)[:, None]
    expected[12, 13] = [np.sqrt(0.875), -0.25, -0.5, -0.75]
    expected[13, 12] = [np.sqrt(0.875), 0.25, 0.5, 0.75]
    np.testing.assert_array_equal(encoded()[0], expected.astype(np.float32))


def test_fields_cover_what_is_not_empty_once():
    chemical = CrysTens(chemistry=("group",))
    seen = {chemical.name: np.zeros((1, 64, 64, 5))}
    for field in chemical.fields:
        field.of(seen)[:] += 1
    assert set(np.unique(seen["crystens"])) == {0, 1}
    full = encoded(sample_crystals(4, max_sites=52), chemical)
    assert seen["crystens"][0][(full != 0).any(axis=0)].all()


def slow(crystal: Crystals, group: int) -> np.ndarray:
    """The published array from its definition, entry by entry."""
    array = np.zeros((64, 64, 4))
    cell = crystal.cell_parameters[0].tolist()
    for i, (number, coords) in enumerate(
        zip(crystal.numbers.tolist(), crystal.frac_coords.tolist(), strict=True)
    ):
        for k, value in enumerate([number, *coords, *cell, group]):
            for layer in range(4):
                array[12 + i, k, layer] = array[k, 12 + i, layer] = value
        for j, other in enumerate(crystal.frac_coords.tolist()):
            difference = [coords[axis] - other[axis] for axis in range(3)]
            array[12 + i, 12 + j, 0] = sum(d**2 for d in difference) ** 0.5
            array[12 + i, 12 + j, 1:] = difference
    return array


def test_agrees_with_an_encoder_written_from_the_definition():
    crystals = sample_crystals(40, seed=3)
    wanted = np.array([slow(c, g) for c, g in zip(crystals, groups(crystals), strict=True)])
    # A coordinate that float32 rounds up to 1 is 0 here.
    far = (np.abs(wanted[:, 12:, 1:4]) < 1 - 1e-7).all(axis=(1, 2, 3))
    assert far.sum() > 35
    np.testing.assert_allclose(encoded(crystals)[far], wanted[far], rtol=1e-6, atol=1e-7)


def test_space_groups_are_found_where_none_are_given():
    rock_salt = Crystals.single(2.8 * (1 - np.eye(3)), [[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17])
    array = CrysTens().encode(rock_salt.right_handed())["crystens"]
    assert array[0, 10, 12, 0] == array[0, 13, 10, 3] == 225
    given = CrysTens().encode(SAMPLE, space_group_numbers=[225] * len(SAMPLE))["crystens"]
    assert (given[:, 10, 12] == 225).all()


@pytest.mark.parametrize(
    ("normalisation", "quantity", "value", "wanted"),
    [
        ("divide_near_max", (12, 0), 11, 11 / 83),
        ("divide_near_max", (4, 13), 3, 3 / 19.866),
        ("divide_near_max", (10, 13), 1, 1 / 227),
        ("divide_near_max", (12, 13, 0), 0.875**0.5, 0.875**0.5 / 1.2779113271271993),
        ("divide_near_max", (12, 13, 1), -0.25, (-0.25 + 0.9999933) / 0.89146),
        (
            "avg_std",
            (13, 0),
            17,
            ((17 - 22.417031299395948) / 27.503517675002012 + 0.778701530199605)
            / (0.778701530199605 + 2.7844790475732646),
        ),
        (
            "avg_std",
            (12, 7),
            90,
            ((90 - 2.7943744442379326) / 89.96235708184788) / 1.3028296429486415,
        ),
        (
            "avg_std",
            (13, 12, 3),
            0.75,
            ((0.75 + 0.9999933 - 0.4099350434569409) / 0.9999933333333323 + 0.4099377763754505)
            / (0.4099377763754505 + 1.5900622236245516),
        ),
    ],
)
def test_published_normalisations_by_hand(normalisation, quantity, value, wanted):
    raw, array = encoded(), encoded(normalisation=normalisation)
    assert np.ravel(raw[0][quantity])[0] == np.float32(value)
    assert np.ravel(array[0][quantity])[0] == pytest.approx(wanted, abs=1e-6)
    assert (array[0, [12, 13], [12, 13]] == 0).all()
    assert (array[0, 14:] == 0).all()
    assert (array[0, :, 14:] == 0).all()


def test_published_ranges_are_what_they_seem_to_be():
    # The constants named average and standard deviation amount to smallest and largest values.
    np.testing.assert_allclose(AVG_STD[0], (1, 99), atol=2e-5)
    np.testing.assert_allclose(AVG_STD[1:4], [(0, 1)] * 3, atol=2e-4)
    np.testing.assert_allclose([high for _, high in AVG_STD[7:11]], [120, 138.42, 120, 230], 1e-4)
    np.testing.assert_allclose(AVG_STD[12], (-1, 1), atol=1e-4)
    assert NEAR_MAX[0] == (0, 83)


def test_a_fitted_normalisation_fills_zero_to_one():
    fitted = CrysTens(chemistry=("period",)).fit(SAMPLE)
    array = encoded(SAMPLE, fitted)
    assert array.min() >= 0
    assert array.max() == 1
    largest = array[:, 12:, :10].max(axis=(0, 1, 3))
    np.testing.assert_array_equal(largest[[0, 4, 5, 6, 7, 8, 9]], 1)
    assert fitted.ranges[0] == (0, SAMPLE.numbers.max())
    assert CrysTens(**json.loads(json.dumps(dataclasses.asdict(fitted)))) == fitted
    alone = CrysTens().fit(SAMPLE[0])  # no pairs
    assert round_trip_errors(SAMPLE[0], alone.decode(alone.encode(SAMPLE[0])).crystals)[0] < 1e-5


@pytest.mark.parametrize("variant", VARIANTS)
def test_conforms(variant):
    check_representation(VARIANTS[variant], APART)


@pytest.mark.parametrize("variant", VARIANTS)
def test_full_arrays_come_back(variant):
    crystals = sample_crystals(6, seed=7, max_sites=90)
    crystals = crystals[crystals.n_sites > 20]
    representation = dataclasses.replace(VARIANTS[variant], max_sites=90)
    decoded = representation.decode(encoded(crystals, representation))
    assert not decoded.failures
    assert round_trip_errors(crystals, decoded.crystals).max() < 1e-5


def test_real_crystals_come_back(shared_data):
    everything = read(shared_data / "mp20" / "val.csv.gz", structure_column="cif").crystals
    crystals = everything[:: len(everything) // 100]
    for name in ("raw", "avg_std", "periodic", "robust fitted"):
        decoded = VARIANTS[name].decode(encoded(crystals, VARIANTS[name]))
        assert not decoded.failures
        assert round_trip_errors(crystals, decoded.crystals).max() < 1e-5


def test_chemistry_stands_where_the_atomic_number_does():
    array = encoded(chemistry=("electronegativity", "covalent_radius"))[0]
    assert array.shape == (64, 64, 6)
    np.testing.assert_array_equal(array[..., :4], encoded()[0])
    layer = np.zeros((64, 64), np.float32)
    layer[12:14, 0] = layer[0, 12:14] = [0.93, 3.16]
    layer[12:14, 12:14] = [[0.93, 2.045], [2.045, 3.16]]
    np.testing.assert_allclose(array[..., 4], layer, rtol=1e-6)
    assert array[12, 13, 5] == np.float32((1.66 + 1.02) / 2)
    np.testing.assert_allclose(COVALENT_RADII[1:97], covalent_radii[1:97])
    helium = Crystals.single(np.eye(3) * 4, [[0, 0, 0]], [2])
    assert encoded(helium, chemistry=("electronegativity",))[0, ..., 4].max() == 0
    table = CrysTens(chemistry=("valence",)).blocks.properties[0]
    np.testing.assert_array_equal(table, VALENCES)


@pytest.mark.parametrize("skew", [0, 1, 7])
def test_periodic_distances_agree_with_pymatgen(skew):
    rng = np.random.default_rng(skew)
    lattices = rng.normal(size=(12, 3, 3)) * [3, 4, 9] + np.eye(3) * 3
    lattices[:, 2] += skew * lattices[:, 0] - skew * lattices[:, 1]
    lattices[np.linalg.det(lattices) < 0] *= -1
    coords = rng.random((12, 5, 3))
    crystals = Crystals(lattices, coords.reshape(-1, 3), [6] * 60, np.arange(0, 61, 5))
    array = encoded(crystals, distances="periodic")
    for i, one in enumerate(crystals):
        reduced = Lattice(lattices[i]).get_niggli_reduced_lattice().matrix
        inside = one.cart_coords @ np.linalg.inv(reduced)
        wanted = Lattice(reduced).get_all_distances(inside, inside)
        pairs = array[i, 12:17, 12:17]
        np.testing.assert_allclose(pairs[..., 0], wanted, atol=1e-4)
        np.testing.assert_allclose(
            np.linalg.norm(pairs[..., 1:] @ lattices[i], axis=-1), wanted, atol=1e-4
        )
        np.testing.assert_array_equal(pairs[..., 1:], -pairs[..., 1:].transpose(1, 0, 2))
        whole = pairs[..., 1:] - (one.frac_coords[:, None] - one.frac_coords)
        np.testing.assert_allclose(whole, np.rint(whole), atol=1e-4)


def test_reduced_cells_are_cells_of_the_same_lattice():
    rng = np.random.default_rng(1)
    lattices = rng.normal(size=(50, 3, 3))
    lattices[:, 1] += 40 * lattices[:, 0]
    cells, changes = reduced_cells(lattices)
    np.testing.assert_array_equal(changes, np.rint(changes))
    np.testing.assert_allclose(np.abs(np.linalg.det(changes)), 1, atol=1e-6)
    np.testing.assert_allclose(changes @ lattices, cells, atol=1e-9)
    lengths = np.linalg.norm(cells, axis=2)
    assert (np.diff(lengths) >= -1e-9).all()
    for other in (cells[:, 1] + cells[:, 0], cells[:, 1] - cells[:, 0]):
        assert (np.linalg.norm(other, axis=1) >= lengths[:, 1] * (1 - 1e-8)).all()


def test_two_images_equally_near_are_chosen_by_the_given_cell():
    half, _ = minimum_images(np.array([[[0.5, 0.5, 0.0]]]), np.eye(3)[None] * 4)
    turned = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    again, _ = minimum_images(np.array([[[0.5, 0.5, 0.0]]]), turned[None] * 4)
    np.testing.assert_array_equal(half, again)
    np.testing.assert_array_equal(np.abs(half), [[[0.5, 0.5, 0.0]]])


def test_crystals_that_do_not_fit_are_counted():
    many = sample_crystals(3, seed=5, max_sites=60)
    left = Crystals.single(np.diag([3.0, 3, -3]), [[0, 0, 0]], [3])
    batch = Crystals.concatenate([SALT, left, many, SALT])
    numbers = [1, 1, *groups(many), 231]
    result = CrysTens(max_sites=2).encode(batch, space_group_numbers=numbers)
    assert count_reasons(result.failures) == {
        "left-handed lattice": 1,
        "too many sites": 1,
        "unknown space group": 1,
    }
    assert result.index.tolist() == [0, 2, 4]
    details = {failure.reason: failure.detail for failure in result.failures}
    assert details["unknown space group"] == "got the number 231, wanted 1 to 230"
    assert "at most 2 fit (max_sites)" in details["too many sites"]


def put(value, *place):
    def change(array):
        array[(0, *place)] = value

    return change


def both(value, site, row):
    def change(array):
        array[0, 12 + site, row] = array[0, row, 12 + site] = value

    return change


def move(array):
    array[:, 12:14, :], array[:, :, 12:14] = array[:, 14:16, :].copy(), array[:, :, 14:16].copy()
    array[:, 12:14, :] = 0


REFUSED = {
    "NaN in the header": (put(np.nan, 12, 0, 0), "not finite"),
    "infinity far away": (put(-np.inf, 63, 63, 3), "not finite"),
    "no site": (put(0, slice(None)), "no occupied site"),
    "first site empty": (lambda a: both(0, 0, slice(0, 11))(a), "gap between sites"),
    "element 0.4": (both(0.4, 1, 0), "no such element"),
    "element 119": (both(119, 1, 0), "no such element"),
    "group 231": (lambda a: (both(231, 0, 10)(a), both(231, 1, 10)(a)), "unknown space group"),
    "coordinate": (both(1.2, 1, 1), "coordinates outside the cell"),
    "half an element": (both(17.4, 1, 0), "not self-consistent"),
    "a mirrored entry": (put(16, 0, 13, 0), "not self-consistent"),
    "another layer": (put(16, 13, 0, 2), "not self-consistent"),
    "another cell": (both(3.1, 1, 4), "not self-consistent"),
    "a distance": (put(0.5, 12, 13, 0), "not self-consistent"),
    "a difference": (put(0.25, 12, 13, 1), "not self-consistent"),
    "the empty corner": (put(0.1, 3, 3, 0), "not self-consistent"),
    "the empty row": (put(0.1, 11, 12, 0), "not self-consistent"),
    "an empty pair": (put(0.1, 30, 13, 1), "not self-consistent"),
    "flat": (lambda a: (both(180, 0, 7)(a), both(180, 1, 7)(a)), "lattice closes no cell"),
    "no length": (lambda a: (both(-3, 0, 4)(a), both(-3, 1, 4)(a)), "lattice closes no cell"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_each_fault_has_its_reason(case):
    change, reason = REFUSED[case]
    array = encoded()
    change(array)
    good = encoded()
    decoded = CrysTens().decode(np.concatenate([good, array, good]))
    assert [(f.index, f.reason) for f in decoded.failures] == [(1, reason)]
    assert decoded.index.tolist() == [0, 2]


def test_the_inconsistent_entry_is_named():
    array = encoded()
    array[0, 12, 13, 1] = 9
    failure = CrysTens().decode(array).failures[0]
    assert failure.detail.startswith(
        "row 12, column 13, layer 1 holds 9, the crystal that it decodes to has -0.25"
    )


def test_another_image_is_the_same_only_if_it_is_as_near():
    cell = Crystals.single(np.eye(3) * 4, [[0, 0, 0], [0.5, 0.2, 0.3]], [3, 9])
    periodic = CrysTens(distances="periodic")
    array = encoded(cell, periodic)
    array[0, 12, 13, 1] += 1 if array[0, 12, 13, 1] < 0 else -1
    assert not periodic.decode(array).failures


def same_elements(crystals, others):
    return np.array(
        [
            np.array_equal(one.numbers, other.numbers)
            for one, other in zip(crystals, others, strict=True)
        ]
    )


@pytest.mark.parametrize("variant", ["robust", "robust fitted"])
def test_random_pictures_are_refused(variant):
    robust = VARIANTS[variant]
    rng = np.random.default_rng(0)
    shape = (20, *encoded(SALT, robust).shape[1:])
    pictures = {
        "uniform": rng.random(shape),
        "dark": rng.random(shape) * 0.05,
        "normal": rng.normal(0.5, 0.2, shape),
        "constant": np.full(shape, rng.random((20, 1, 1, 1))),
        "striped": np.broadcast_to(rng.random((20, 1, *shape[2:])), shape),
        "zero": np.zeros(shape),
        "infinite": np.full(shape, np.inf),
    }
    for name, picture in pictures.items():
        decoded = robust.decode(np.asarray(picture, np.float32))
        assert len(decoded.failures) == 20, name


@pytest.mark.parametrize(
    "name", ["transposed", "rolled layers", "dimmed", "upside down", "negative"]
)
def test_pictures_that_are_nearly_right_are_refused(name):
    robust = dataclasses.replace(VARIANTS["fitted"], decoder="robust")
    # Of two sites half a cell apart the differences have either sign.
    array = encoded(APART[APART.n_sites > 3], robust)
    changed = {
        "transposed": array.transpose(0, 2, 1, 3),
        "rolled layers": np.roll(array, 1, axis=3),
        "dimmed": array / 2,
        "upside down": array[:, ::-1],
        "negative": 1 - array,
    }[name]
    assert not robust.decode(array).failures
    assert not len(robust.decode(changed).crystals)


def test_the_robust_decoder_reads_noisy_arrays():
    robust = VARIANTS["robust fitted"]
    crystals = APART[APART.n_sites > 3]
    clean = encoded(crystals, robust)
    noisy = clean + np.random.default_rng(0).normal(0, 1 / 255, clean.shape)
    assert not len(VARIANTS["fitted periodic"].decode(noisy[..., :4]).crystals)
    decoded = robust.decode(noisy)
    assert not decoded.failures
    right = same_elements(crystals, decoded.crystals)
    assert right.mean() > 0.9
    same = decoded.crystals[right]
    assert np.median(round_trip_errors(crystals[right], same)) < 0.1
    assert decoded.confidence.mean() > 0.9


NUMBERS = np.arange(119.0)[None]


@pytest.mark.parametrize("n", [1, 4])
def test_confidence_is_how_often_elements_are_right(n):
    rng = np.random.default_rng(2)
    truth = rng.integers(1, 119, (3000, 1)) + np.zeros((1, n))
    seen = truth + rng.normal(0, 0.5, truth.shape)
    numbers, confidence = choose_elements(seen[..., None], np.full((3000, 1), 0.25), NUMBERS)
    right = (numbers == truth).all(axis=1)
    assert right.mean() == pytest.approx(confidence.mean(), abs=0.06)
    assert confidence[right].mean() > confidence[~right].mean() + 0.02


def test_elements_support_each_other_and_stay_apart():
    def numbers(values, noise):
        seen = np.array(values)[None, :, None]
        return choose_elements(seen, np.array([[noise**2]]), NUMBERS)[0][0].tolist()

    assert numbers([7.6, 26.3, 8.3, 8.2, 27.0], 0.4) == [8, 27, 8, 8, 27]
    assert numbers([26.02, 26.99, 26.98], 0.05) == [26, 27, 27]
    assert numbers([1.0, 50.0, 94.0, 20.0, 50.0], 0.1) == [1, 50, 94, 20, 50]


def test_layers_of_chemistry_tell_elements_that_atomic_numbers_do_not():
    crystals = APART[APART.n_sites > 3]
    right = {}
    for chemistry in ((), ("group", "period", "electronegativity")):
        fitted = CrysTens(chemistry=chemistry).fit(crystals)
        robust = dataclasses.replace(fitted, decoder="robust", min_confidence=0)
        clean = encoded(crystals, robust)
        noisy = clean + np.random.default_rng(0).normal(0, 6 / 255, clean.shape)
        decoded = robust.decode(noisy)
        assert not decoded.failures
        right[len(chemistry)] = same_elements(crystals, decoded.crystals).mean()
    assert right[3] > 0.8
    assert right[3] > right[0] + 0.2


def test_undecided_elements_are_a_reason():
    robust = dataclasses.replace(VARIANTS["fitted"], decoder="robust")
    clean = encoded(APART, robust)
    noisy = clean + np.random.default_rng(0).normal(0, 8 / 255, clean.shape)
    decoded = robust.decode(noisy)
    assert {failure.reason for failure in decoded.failures} == {"elements undecided"}
    assert (decoded.confidence >= 0.5).all()
    lenient = dataclasses.replace(robust, min_confidence=0.0).decode(noisy)
    assert not lenient.failures


def test_numbers_of_no_element_are_refused_by_the_robust_decoder():
    robust = CrysTens(decoder="robust")
    array = encoded()
    both(0, 0, 0)(array)
    assert [f.reason for f in robust.decode(array).failures] == ["no such element"]
    both(130, 0, 0)(array)
    assert [f.reason for f in robust.decode(array).failures] == ["no such element"]


def test_sites_are_counted_by_their_cell():
    array = encoded(sample_crystals(8, seed=2), VARIANTS["fitted"])
    noisy = array + np.random.default_rng(0).normal(0, 0.1, array.shape)
    np.testing.assert_array_equal(count_sites(noisy), sample_crystals(8, seed=2).n_sites)
    assert count_sites(np.zeros((1, 64, 64, 4))).tolist() == [0]


@given(seed=st.integers(0, 10**6), n=st.integers(1, 6), periodic=st.booleans())
def test_coordinates_are_the_least_squares_solution(seed, n, periodic):
    rng = np.random.default_rng(seed)
    coords = rng.random((n, 3))
    between = coords[:, None] - coords + rng.normal(0, 0.05, (n, n, 3))
    weight, pair = np.array([8.0, 7.0, 6.0]), 1.7
    shift = rng.integers(-1, 2, (n, n, 1)) * (1 - np.eye(n)[:, :, None]) * periodic
    got = least_squares_coordinates(
        coords[None], (between + shift - shift.transpose(1, 0, 2))[None], weight, pair, periodic
    )[0]
    for axis in range(3):
        rows, wanted, scale = [], [], []
        for i in range(n):
            rows.append(np.eye(n)[i])
            wanted.append(coords[i, axis])
            scale.append(weight[axis])
            for j in range(i):
                rows.append(np.eye(n)[i] - np.eye(n)[j])
                wanted.append((between[i, j, axis] - between[j, i, axis]) / 2)
                scale.append(pair)
        root = np.sqrt(scale)
        exact = np.linalg.lstsq(np.array(rows) * root[:, None], np.array(wanted) * root)[0]
        np.testing.assert_allclose(got[:, axis], exact, atol=1e-9)


def test_sites_upon_each_other_are_junk_for_the_robust_decoder():
    twice = Crystals.single(np.eye(3) * 4, [[0, 0, 0], [0.01, 0, 0]], [3, 3])
    assert not CrysTens().decode(encoded(twice)).failures
    decoded = CrysTens(decoder="robust").decode(encoded(twice))
    assert [failure.reason for failure in decoded.failures] == ["sites coincide"]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"max_sites": 0}, "max_sites of at least 1"),
        ({"tolerance": 0.5}, "tolerance between 0 and 0.5"),
        ({"noise_limit": 0}, "noise_limit"),
        ({"min_confidence": 1.5}, "min_confidence is 1.5"),
        ({"symprec": -1}, "symprec is -1"),
        ({"symprec": np.nan}, "symprec is nan"),
        ({"distances": "periodical"}, "did you mean 'periodic'"),
        ({"normalisation": "avg"}, "normalisation is 'avg'"),
        ({"decoder": "median"}, "decoder is 'median'"),
        ({"chemistry": ("electronegativty",)}, "did you mean 'electronegativity'"),
        ({"chemistry": ("valence", "valence")}, "names a layer twice"),
        ({"normalisation": "fitted"}, "takes 13 ranges, got 0"),
        ({"ranges": ((0, 1),)}, "takes 0 ranges, got 1"),
        ({"normalisation": "fitted", "ranges": ((1, 1),) * 13}, "low < high"),
        ({"normalisation": "avg_std", "distances": "periodic"}, "use 'fitted'"),
    ],
)
def test_bad_parameters_are_named(parameters, message):
    with pytest.raises(RepresentationError, match=message):
        CrysTens(**parameters)


def test_arrays_and_groups_of_another_kind_are_refused():
    for array in (np.zeros((2, 64, 63, 4)), np.zeros((64, 64, 4)), np.zeros((1, 64, 64, 4), "U1")):
        with pytest.raises(RepresentationError, match=r"shape|holds"):
            CrysTens().decode(array)
    with pytest.raises(RepresentationError, match="wanted one whole number"):
        CrysTens().encode(SALT, space_group_numbers=[1, 2])
    with pytest.raises(RepresentationError, match="at least one crystal"):
        CrysTens(max_sites=1).fit(SALT)
    for representation in VARIANTS.values():
        empty = representation.decode(encoded(SAMPLE[:0], representation))
        assert len(empty.crystals) == 0
    assert len(CrysTens().decode(encoded().astype(np.float64)).crystals) == 1


@pytest.mark.parametrize("normalisation", ["avg_std", "divide_near_max"])
def test_small_cells_are_not_too_faint_for_the_robust_decoder(normalisation):
    lattice = lattices_from_cell_parameters([3, 3, 8, 25, 25, 30])[0]
    small = Crystals.single(lattice, [[0, 0, 0], [0.3, 0.4, 0.5]], [3, 9])
    robust = CrysTens(normalisation=normalisation, decoder="robust")
    decoded = robust.decode(robust.encode(small, space_group_numbers=[1]))
    assert round_trip_errors(small, decoded.crystals)[0] < 1e-5


def test_periodic_differences_are_asked_by_the_robust_decoder():
    robust = CrysTens(distances="periodic", decoder="robust")
    array = encoded(APART[APART.n_sites > 3], robust)
    assert not robust.decode(array).failures
    shape = (*array[:, 12:, 12:, 0].shape, 3)
    turned = array.copy()
    turned[:, 12:, 12:, 1:] = np.random.default_rng(0).uniform(-0.5, 0.5, shape)
    assert not len(robust.decode(turned).crystals)
