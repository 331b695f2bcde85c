"""The clean-up of generated CrysTens arrays: each step on arrays where its effect is known."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crystalcodec.crystals import Crystals
from crystalcodec.representations.base import RepresentationError
from crystalcodec.representations.crystens import CrysTens
from crystalcodec.representations.crystens.cleanup import clean_up, cluster_means
from crystalcodec.testing import round_trip_errors, sample_crystals

SAMPLE = sample_crystals(12, seed=1, max_sites=8)
CELL = Crystals.single(
    np.diag([4.0, 5, 6]), [[0.1, 0.2, 0.3], [0.6, 0.7, 0.8], [0.1, 0.6, 0.55]], [3, 9, 26]
)
RAW = CrysTens()


def encoded(crystals, representation=RAW):
    groups = np.ones(len(crystals), int)
    return representation.encode(crystals, space_group_numbers=groups)["crystens"]


@pytest.mark.parametrize(
    "representation",
    [
        RAW,
        CrysTens(normalisation="avg_std", chemistry=("group",)),
        CrysTens(distances="periodic").fit(SAMPLE),
    ],
)
def test_exact_arrays_stay_as_they_are(representation):
    array = encoded(SAMPLE, representation)
    before = array.copy()
    cleaned = clean_up(array, representation)["crystens"]
    np.testing.assert_array_equal(array, before)
    assert cleaned.dtype == np.float32
    if representation.distances == "fractional":  # of images equally near another may be taken
        np.testing.assert_allclose(cleaned, array, rtol=1e-5, atol=1e-5)
    assert round_trip_errors(SAMPLE, representation.decode(cleaned).crystals).max() < 1e-4


@pytest.mark.parametrize("distances", ["fractional", "periodic"])
def test_noisy_arrays_become_exact_and_decode(distances):
    representation = CrysTens(distances=distances).fit(SAMPLE)
    array = encoded(SAMPLE, representation)
    noisy = array + np.random.default_rng(0).normal(0, 0.001, array.shape)
    assert len(representation.decode(noisy).failures) == len(SAMPLE)
    decoded = representation.decode(clean_up(noisy, representation))
    assert not decoded.failures
    assert round_trip_errors(SAMPLE, decoded.crystals).max() < 0.1


def test_copies_are_averaged_and_the_cell_over_sites():
    array = encoded(CELL)
    array[0, 13, 0] += [0.4, 0.4, 0, 0]  # four of the eight copies of one atomic number
    array[0, 4, 12:15] += 0.3  # half of all copies of a
    crystal = RAW.decode(clean_up(array, RAW)).crystals
    assert crystal.numbers.tolist() == [3, 9, 26]
    np.testing.assert_allclose(crystal.cell_parameters[0, 0], 4.15, atol=1e-5)


@pytest.mark.parametrize(("pair_weight", "share"), [(0.0, 0.0), (1.0, 1.0), (None, 14 / 15)])
def test_coordinates_are_mixed_from_themselves_and_from_differences(pair_weight, share):
    array = encoded(CELL)
    array[0, 12, 1] = array[0, 1, 12] = 0.16  # x of site 0 says 0.16, its differences 0.1
    crystal = RAW.decode(clean_up(array, RAW, pair_weight=pair_weight)).crystals
    # Its own word and its place as reference of the differences: a third of the mean over sites.
    told = [(0.16 + 0.1 + 0.1) / 3, (0.66 + 0.6 + 0.6) / 3, (0.16 + 0.1 + 0.1) / 3]
    own = [0.16, 0.6, 0.1]
    wanted = share * np.array(told) + (1 - share) * np.array(own)
    np.testing.assert_allclose(crystal.frac_coords[:, 0], wanted, atol=1e-6)


def test_clusters_give_coordinates_and_elements_in_common():
    array = encoded(CELL)
    crystal = RAW.decode(clean_up(array, RAW, n_coordinate_clusters=2)).crystals
    low, high = np.mean([0.1, 0.1, 0.2, 0.3]), np.mean([0.55, 0.6, 0.6, 0.7, 0.8])
    wanted = [[low, low, low], [high, high, high], [low, high, high]]
    np.testing.assert_allclose(crystal.frac_coords, wanted, atol=1e-6)
    merged = RAW.decode(clean_up(array, RAW, n_element_clusters=2)).crystals
    assert merged.numbers.tolist() == [6, 6, 26]
    four = encoded(
        Crystals.single(np.eye(3) * 9, np.arange(4)[:, None] / 5 * [1, 1, 1], [3, 4, 9, 26])
    )
    assert RAW.decode(clean_up(four, RAW)).crystals.numbers.tolist() == [4, 4, 9, 26]
    every = RAW.decode(clean_up(four, RAW, n_element_clusters=None)).crystals
    assert every.numbers.tolist() == [3, 4, 9, 26]


def test_sites_upon_each_other_are_dropped_also_across_the_face_of_the_cell():
    coords = [[0.001, 0, 0], [0.5, 0.5, 0.5], [0.999, 0, 0], [0.5, 0.5, 0.6]]
    array = encoded(Crystals.single(np.eye(3) * 5, coords, [3, 9, 9, 9]))
    crystal = RAW.decode(clean_up(array, RAW, pair_weight=0)).crystals
    assert crystal.numbers.tolist() == [3, 9, 9]
    assert len(RAW.decode(clean_up(array, RAW, duplicate_distance=0)).crystals.numbers) == 4
    few = RAW.decode(clean_up(array, RAW, pair_weight=0, duplicate_distance=0.6)).crystals
    assert few.numbers.tolist() == [3, 9]


def test_the_first_other_angle_ends_the_sites():
    array = encoded(CELL)
    array[0, 14, 7] = 71.0
    assert len(RAW.decode(clean_up(array, RAW)).crystals.numbers) == 2
    assert len(RAW.decode(clean_up(array, RAW, angle_tolerance=0.3)).crystals.numbers) == 3
    full = Crystals.single(np.eye(3) * 9, np.random.default_rng(0).random((52, 3)), [6] * 52)
    cleaned = clean_up(encoded(full), RAW, duplicate_distance=0)
    assert len(RAW.decode(cleaned).crystals.numbers) == 52


def test_arrays_of_no_crystal_stay_as_they_are_and_are_refused():
    array = np.concatenate([encoded(CELL)] * 5)
    array[0] = 0
    array[1, 20, 20, 1] = np.nan
    array[2, :, :11] *= -1
    array[3, 12:15, 0] = array[3, 0, 12:15] = 300
    array[4, 12:15, 7:10] = array[4, 7:10, 12:15] = 150
    junk = np.random.default_rng(0).random((5, 64, 64, 4)).astype(np.float32)
    for arrays in (array, junk):
        cleaned = clean_up({"crystens": arrays}, RAW)["crystens"]
        assert cleaned.shape == arrays.shape
    np.testing.assert_array_equal(clean_up(array, RAW)["crystens"], array)
    assert len(RAW.decode(clean_up(array, RAW)).failures) == 5
    assert len(clean_up(array[:0], RAW)["crystens"]) == 0


@given(
    values=st.lists(st.integers(-40, 40), min_size=1, max_size=9),
    n_clusters=st.integers(1, 9),
)
def test_clusters_are_the_best_of_all_partitions(values, n_clusters):
    line = np.sort(np.array(values, float))
    got = cluster_means(line, n_clusters)

    def scatter(cuts):
        return sum(((part - part.mean()) ** 2).sum() for part in np.split(line, cuts))

    cuts = combinations(range(1, len(line)), min(n_clusters, len(line)) - 1)
    assert ((line - got) ** 2).sum() == pytest.approx(min(map(scatter, cuts)), abs=1e-6)
    shuffled = np.random.default_rng(0).permutation(len(line))
    assert ((line[shuffled] - cluster_means(line[shuffled], n_clusters)) ** 2).sum() == (
        pytest.approx(((line - got) ** 2).sum(), abs=1e-6)
    )


@pytest.mark.parametrize(
    "parameters",
    [
        {"pair_weight": 1.5},
        {"n_coordinate_clusters": 0},
        {"n_element_clusters": 0},
        {"angle_tolerance": 0},
        {"duplicate_distance": -1},
    ],
)
def test_bad_parameters_are_named(parameters):
    with pytest.raises(RepresentationError, match=next(iter(parameters))):
        clean_up(encoded(CELL), RAW, **parameters)
    with pytest.raises(RepresentationError, match="shape"):
        clean_up(np.zeros((1, 64, 64, 3)), RAW)
