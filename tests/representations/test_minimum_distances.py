"""AMD and PDD by hand, against lists of neighbours, and as metrics."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from crystalcodec.crystals import Crystals
from crystalcodec.geometry import lattices_from_cell_parameters
from crystalcodec.io import to_pymatgen
from crystalcodec.representations.base import RepresentationError
from crystalcodec.representations.minimum_distances import (
    AMD,
    PDD,
    earth_movers_distance,
    point_packing_coefficients,
)
from crystalcodec.representations.minimum_distances.rows import merged_rows
from crystalcodec.representations.minimum_distances.search import nearest_distances
from crystalcodec.representations.neighbors import nearest_neighbors
from crystalcodec.testing import check_representation, sample_crystals

POLONIUM = Crystals.single(np.eye(3) * 3.0, [[0, 0, 0]], [84])
COPPER = Crystals.single([[0, 1.8, 1.8], [1.8, 0, 1.8], [1.8, 1.8, 0]], [[0, 0, 0]], [29])
PEROVSKITE = Crystals.single(
    np.eye(3) * 4.0,
    [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]],
    [38, 22, 8, 8, 8],
)


def rattled(crystals, size, seed=0):
    """Every atom moved by at most ``size`` Å."""
    rng = np.random.default_rng(seed)
    moves = rng.normal(size=crystals.frac_coords.shape)
    moves *= size * rng.random((len(moves), 1)) / np.linalg.norm(moves, axis=1, keepdims=True)
    coords = crystals.to_fractional(crystals.cart_coords + moves)
    return Crystals(crystals.lattices, coords, crystals.numbers, crystals.offsets)


def rows_of(encoded, i):
    start, stop = encoded.offsets["rows"][i : i + 2]
    return encoded["weights"][start:stop], encoded["distances"][start:stop]


def test_shells_of_cubic_lattices():
    shells = np.repeat([1, 2**0.5, 3**0.5, 2], [6, 12, 8, 6])
    np.testing.assert_allclose(AMD(k=32).encode(POLONIUM)["amd"][0], 3 * shells, rtol=1e-7)
    shells = np.repeat([1, 2**0.5, 3**0.5, 2], [12, 6, 24, 12])
    wanted = 1.8 * 2**0.5 * shells
    np.testing.assert_allclose(AMD(k=54).encode(COPPER)["amd"][0], wanted, rtol=1e-7)


def test_perovskite_by_hand():
    """Ti has 6 O at a/2 and 8 Sr; O has 2 Ti at a/2, then 4 Sr and 8 O at a/√2; Sr has 12 O."""
    encoded = PDD(k=12).encode(PEROVSKITE)
    weights, rows = rows_of(encoded, 0)
    half, diagonal, body = 2.0, 4 / 2**0.5, 2 * 3**0.5
    titanium = [half] * 6 + [body] * 6
    oxygen = [half] * 2 + [diagonal] * 10
    strontium = [diagonal] * 12
    np.testing.assert_allclose(rows, [titanium, oxygen, strontium], rtol=1e-6)
    np.testing.assert_allclose(weights, [0.2, 0.6, 0.2], rtol=1e-6)
    np.testing.assert_allclose(AMD(k=12).encode(PEROVSKITE)["amd"][0], weights @ rows, rtol=1e-6)


@pytest.mark.parametrize("k", [1, 7, 60, 300])
def test_agrees_with_lists_of_neighbours(k):
    crystals = sample_crystals(20)
    listed = nearest_neighbors(crystals, k).distances.reshape(-1, k)
    # Lists take distances within 1e-8 Å as tied, and of the last tie any.
    np.testing.assert_allclose(nearest_distances(crystals, k), listed, atol=1e-7)


def test_agrees_with_pymatgen():
    crystals = sample_crystals(8)[4:]
    k = 40
    found = nearest_distances(crystals, k)
    for i, structure in enumerate(to_pymatgen(crystals)):
        start = crystals.offsets[i]
        for j, site in enumerate(structure):
            radius = float(found[start + j, -1]) + 0.01
            listed = sorted(n.nn_distance for n in structure.get_neighbors(site, radius))
            np.testing.assert_allclose(found[start + j], listed[:k], atol=1e-7)


@settings(max_examples=40)
@given(
    st.tuples(*[st.floats(1.5, 40)] * 3, *[st.floats(50, 130)] * 3),
    st.integers(1, 6),
    st.integers(1, 50),
    st.integers(0, 2**32 - 1),
)
def test_agrees_with_every_image_of_a_large_block(cell, n_sites, k, seed):
    """Skew and needle-like cells: as many images each way as could ever be wanted."""
    lattice = lattices_from_cell_parameters(np.array(cell))[0]
    if not np.isfinite(lattice).all() or abs(np.linalg.det(lattice)) < 0.05 * np.prod(cell[:3]):
        return
    coords = np.random.default_rng(seed).random((n_sites, 3))
    crystal = Crystals.single(lattice, coords, np.full(n_sites, 6))
    found = nearest_distances(crystal, k)
    # All images within what was found, if there are more, would lie in these.
    heights = 1 / np.linalg.norm(np.linalg.inv(lattice), axis=0)
    most = np.ceil(found.max() / heights).astype(int) + 1
    steps = np.stack(
        np.meshgrid(*[np.arange(-m, m + 1) for m in most], indexing="ij"), axis=-1
    ).reshape(-1, 3)
    coords = crystal.frac_coords
    for i in range(n_sites):
        vectors = ((coords - coords[i])[:, None] + steps).reshape(-1, 3) @ lattice
        distances = np.sort(np.linalg.norm(vectors, axis=1))
        np.testing.assert_allclose(found[i], distances[1 : k + 1], atol=1e-9)


def test_two_sites_in_one_place_are_neighbours_at_no_distance():
    double = Crystals.single(np.eye(3) * 4, [[0, 0, 0], [0, 0, 0]], [26, 25])
    np.testing.assert_allclose(nearest_distances(double, 3), [[0, 4, 4], [0, 4, 4]], atol=1e-12)


def test_amd_tends_to_the_point_packing_coefficient():
    crystals = sample_crystals(6)[[1, 3, 5]]
    k = np.array([100, 3000])
    amd = AMD(k=3000).encode(crystals)["amd"][:, k - 1]
    ratio = amd / (point_packing_coefficients(crystals)[:, None] * np.cbrt(k))
    off = np.abs(ratio - 1)
    assert off[:, 1].max() < 0.01
    assert (off[:, 1] < off[:, 0]).all()


def test_large_supercells_have_the_rows_of_the_cell():
    one = PDD(k=30).encode(PEROVSKITE)
    large = PDD(k=30).encode(PEROVSKITE.supercell(6))
    np.testing.assert_array_equal(large.offsets["rows"], [0, 3])
    np.testing.assert_allclose(large["weights"], one["weights"], rtol=1e-6)
    np.testing.assert_allclose(large["distances"], one["distances"], rtol=1e-6)


def test_parts_of_a_large_batch_change_nothing(monkeypatch):
    crystals = sample_crystals(12)
    whole = {r: r.encode(crystals) for r in (AMD(k=20), PDD(k=20))}
    monkeypatch.setattr("crystalcodec.representations.minimum_distances.search._PART", 300)
    monkeypatch.setattr("crystalcodec.representations.minimum_distances.search._BLOCK", 500)
    for representation, before in whole.items():
        again = representation.encode(crystals)
        for name, array in before.arrays.items():
            np.testing.assert_array_equal(again[name], array)


def test_cells_of_many_sites_are_searched_by_place():
    """The same numbers where the search changes, whatever else is in the batch."""
    large = rattled(PEROVSKITE.supercell(4), 0.1)
    batch = Crystals.concatenate([POLONIUM, large, PEROVSKITE, large[:1]])
    found = nearest_distances(batch, 30)
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(found[1:321], found[-320:])
    structure = to_pymatgen(large)[0]
    for i, site in enumerate(structure[:3]):
        listed = sorted(n.nn_distance for n in structure.get_neighbors(site, 7.0))
        np.testing.assert_allclose(found[1 + i], listed[:30], atol=1e-7)
    np.testing.assert_allclose(found[321:326], nearest_distances(PEROVSKITE, 30), atol=1e-12)


def test_rows_within_the_tolerance_merge_also_through_others():
    rows = np.array([[1.0, 2.0], [1.0, 2.5], [1.00008, 2.0], [1.00016, 2.0], [1.0, 2.5]])
    weights, merged, offsets = merged_rows(rows, np.array([0, 4, 5]), 1e-4)
    np.testing.assert_array_equal(offsets, [0, 2, 3])
    np.testing.assert_allclose(weights, [0.75, 0.25, 1])
    np.testing.assert_allclose(merged, [[1.00008, 2.0], [1.0, 2.5], [1.0, 2.5]])


def test_rows_of_one_mean_are_told_apart_and_found_together():
    """Rows of three kinds with the same sum, interleaved by rounding."""
    rng = np.random.default_rng(0)
    kinds = np.array([[1.0, 3.0, 4.0], [1.0, 2.0, 5.0], [1.0, 2.5, 4.5]])
    which = rng.permutation(np.repeat([0, 1, 2], [5, 4, 3]))
    rows = kinds[which] + rng.normal(0, 1e-12, (12, 3))
    weights, merged, _ = merged_rows(rows, np.array([0, 12]), 1e-4)
    # Rounding in the first column does not decide the order.
    np.testing.assert_allclose(merged, kinds[[1, 2, 0]], atol=1e-10)
    np.testing.assert_allclose(weights, [4 / 12, 3 / 12, 5 / 12])


def test_pdd_merges_less_with_a_smaller_tolerance():
    crystal = rattled(PEROVSKITE.supercell(2), 1e-3)
    few, many = PDD(k=20, tolerance=0.05).encode(crystal), PDD(k=20).encode(crystal)
    assert few.offsets["rows"][-1] == 3
    assert many.offsets["rows"][-1] == 40
    assert many["weights"].sum() == pytest.approx(1)


def test_earth_movers_distance_by_hand():
    """Weights 1/2, 1/2 to 1/4, 3/4: the cheapest way carries a quarter from row 0 to row 1."""
    pdd = PDD(k=1)
    first = pdd.encode(sample_crystals(2))
    offsets = {"rows": np.array([0, 2, 4])}

    def of(weights, rows):
        arrays = {
            "weights": np.array(weights, np.float32),
            "distances": np.array(rows, np.float32),
        }
        return type(first)(arrays, np.arange(2), (), offsets)

    one = of([0.5, 0.5, 0.5, 0.5], [[1, 1], [3, 2], [0, 0], [5, 5]])
    other = of([0.25, 0.75, 0.5, 0.5], [[1, 1.5], [3, 2], [5, 5], [0, 1]])
    # Rows differ by their most different entries: 0.5 and 2; by hand 0.25 · 0.5 + 0.25 · 2.
    np.testing.assert_allclose(
        earth_movers_distance(one, other), [0.25 * 0.5 + 0.25 * 2, 0.5 * 1], rtol=1e-6
    )
    np.testing.assert_allclose(earth_movers_distance(one, other, [[1, 1]]), [0.5], rtol=1e-6)


def test_earth_movers_distance_is_a_metric():
    crystals = sample_crystals(10)
    encoded = PDD(k=15).encode(crystals)
    pairs = np.stack(np.meshgrid(np.arange(10), np.arange(10)), -1).reshape(-1, 2)
    table = earth_movers_distance(encoded, encoded, pairs).reshape(10, 10)
    np.testing.assert_allclose(np.diag(table), 0, atol=1e-6)
    np.testing.assert_allclose(table, table.T, atol=1e-6)
    through = (table[:, :, None] + table[None]).min(axis=1)
    assert (table <= through + 1e-6).all()
    # No less than the difference of the means.
    amd = AMD(k=15).encode(crystals)["amd"]
    apart = np.abs(amd[:, None] - amd).max(axis=2)
    assert (table >= apart - 1e-5).all()


def test_earth_movers_distance_of_equal_weights_is_an_assignment():
    one, other = (rattled(PEROVSKITE.supercell(2), 0.3, seed) for seed in (1, 2))
    pdd = PDD(k=20, tolerance=1e-9)
    first, second = pdd.encode(one), pdd.encode(other)
    costs = np.abs(first["distances"][:, None] - second["distances"]).max(axis=2)
    rows, columns = linear_sum_assignment(costs)
    wanted = costs[rows, columns].mean()
    np.testing.assert_allclose(earth_movers_distance(first, second), [wanted], rtol=1e-5)


@pytest.mark.parametrize("size", [0.1, 0.001])
def test_both_change_by_at_most_twice_the_move(size):
    crystals = Crystals.concatenate([sample_crystals(8), PEROVSKITE, COPPER.supercell(2)])
    moved = rattled(crystals, size)
    change = np.abs(AMD().encode(moved)["amd"] - AMD().encode(crystals)["amd"])
    assert 0 < change.max() <= 2 * size + 1e-5
    pdd = PDD()
    distances = earth_movers_distance(pdd.encode(crystals), pdd.encode(moved))
    assert 0 < distances.max() <= 2 * size + 1e-5


@pytest.mark.parametrize("representation", [AMD(k=1), PDD(k=30), AMD(k=250)])
def test_other_parameters_conform(representation):
    check_representation(representation, sample_crystals())


def test_names_and_wrong_parameters():
    assert AMD(k=2).feature_names() == ("amd_1", "amd_2")
    for kind, parameters, message in [
        (AMD, {"k": 0}, "k is 0"),
        (AMD, {"k": 2.5}, "k is 2.5, wanted a whole number"),
        (PDD, {"k": -1}, "k is -1"),
        (PDD, {"tolerance": 0.0}, "tolerance is 0.0"),
        (PDD, {"tolerance": "small"}, "tolerance is 'small', wanted a number"),
    ]:
        with pytest.raises(RepresentationError, match=message):
            kind(**parameters)


def test_encodings_that_do_not_match_are_refused():
    first, second = PDD(k=4).encode(POLONIUM), PDD(k=5).encode(POLONIUM)
    with pytest.raises(RepresentationError, match="4 and of 5 neighbours"):
        earth_movers_distance(first, second)
    two = PDD(k=4).encode(sample_crystals(2))
    with pytest.raises(RepresentationError, match="say which pairs"):
        earth_movers_distance(first, two)


def test_too_large_for_memory_is_said_before_it_starts():
    with pytest.raises(RepresentationError, match="GiB"):
        PDD(k=10**10).encode(POLONIUM)
