"""Neighbours equal those of pymatgen and vesin, for any cell, and the same in any batch."""

from __future__ import annotations

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from crystalcodec.crystals import Crystals
from crystalcodec.representations.neighbors import nearest_neighbors, neighbors_within
from crystalcodec.testing import sample_crystals


def random_crystals(n, seed=1):
    """Cells of all shapes: thin, very skew, left-handed, of one site and of many."""
    rng = np.random.default_rng(seed)
    crystals = []
    while len(crystals) < n:
        lattice = rng.normal(size=(3, 3)) * rng.uniform(1.5, 8, 3)[:, None]
        if abs(np.linalg.det(lattice)) < 12:
            continue
        if len(crystals) % 3 == 0:
            change = np.eye(3, dtype=int)
            for _ in range(3):
                row, other = rng.choice(3, 2, replace=False)
                change[row] += change[other] * int(rng.integers(-3, 4))
            lattice = change @ lattice
        sites = 1 if len(crystals) % 7 == 0 else int(rng.integers(1, 25))
        crystals.append(
            Crystals.single(lattice, rng.random((sites, 3)), rng.integers(1, 90, sites))
        )
    big = rng.random((180, 3))  # enough sites for the other way of searching
    crystals.append(Crystals.single(np.diag([14.0, 14, 15]), big, rng.integers(1, 90, 180)))
    crystals.append(Crystals.single(np.diag([1.0, 1, 60]), [[0, 0, 0], [0, 0, 0.99]], [1, 2]))
    crystals.append(Crystals.single(np.eye(3) * 40, [[0.5, 0.5, 0.5]], [1]))
    return Crystals.concatenate(crystals)


MADE = Crystals.concatenate([sample_crystals(16), random_crystals(30)])


def rows_of(near, crystals, i):
    start, stop = near.offsets[i : i + 2]
    first = crystals.offsets[i]
    columns = np.c_[near.centers - first, near.neighbors - first, near.images][start:stop]
    return sorted(map(tuple, columns.tolist()))


@pytest.mark.parametrize("order", ["distance", "site"])
@pytest.mark.parametrize("cutoff", [0.8, 3.1, 5.7])
def test_pairs_equal_vesin(cutoff, order):
    vesin = pytest.importorskip("vesin")
    near = neighbors_within(MADE, cutoff, order=order)
    theirs = vesin.NeighborList(cutoff=cutoff, full_list=True)
    for i, crystal in enumerate(MADE):
        columns = theirs.compute(
            points=crystal.cart_coords,
            box=crystal.lattices[0],
            periodic=True,
            quantities="ijS",
        )
        wanted = sorted(map(tuple, np.column_stack(columns).astype(int).tolist()))
        assert rows_of(near, MADE, i) == wanted


def test_pairs_equal_pymatgen():
    near = neighbors_within(MADE, 4.3)
    for i, crystal in enumerate(MADE):
        structure = Structure(
            Lattice(crystal.lattices[0].copy()), crystal.numbers, crystal.frac_coords
        )
        centers, others, images, distances = structure.get_neighbor_list(4.3, exclude_self=True)
        columns = np.column_stack([centers, others, images]).astype(int)
        assert rows_of(near, MADE, i) == sorted(map(tuple, columns.tolist()))
        got = near.distances[slice(*near.offsets[i : i + 2])]
        np.testing.assert_allclose(np.sort(got), np.sort(distances), atol=1e-9)


@pytest.mark.parametrize("order", ["distance", "site"])
def test_vectors_are_what_images_say(order):
    near = neighbors_within(MADE, 5.0, order=order)
    coords, owner = MADE.frac_coords, MADE.crystal_indices
    steps = coords[near.neighbors] + near.images - coords[near.centers]
    vectors = np.einsum("si,sij->sj", steps, MADE.lattices[owner[near.centers]])
    np.testing.assert_allclose(near.vectors, vectors, atol=1e-11)
    np.testing.assert_allclose(near.distances, np.linalg.norm(vectors, axis=1), atol=1e-11)
    assert (np.diff(near.centers) >= 0).all()


def test_rows_stand_by_distance_or_by_neighbour():
    near = neighbors_within(MADE, 5.0)
    same = np.diff(near.centers) == 0
    # Distances nearer to each other than the tolerance count as equal.
    assert np.diff(near.distances)[same].min() > -1e-6
    near = neighbors_within(MADE, 5.0, order="site")
    keys = near.centers * len(MADE.numbers) + near.neighbors
    assert (np.diff(keys) >= 0).all()


@pytest.mark.parametrize(
    "find",
    [
        lambda c: neighbors_within(c, 4.0),
        lambda c: neighbors_within(c, 4.0, order="site"),
        lambda c: nearest_neighbors(c, 12, cutoff=8.0),
        lambda c: nearest_neighbors(c, 12, cutoff=5.0, ties="kept", tie_tolerance=1e-3),
        lambda c: nearest_neighbors(c, 40),
    ],
    ids=["within", "site", "nearest", "kept", "40"],
)
def test_a_crystal_is_the_same_in_any_batch(find):
    whole = find(MADE)
    backwards = find(MADE[::-1])
    for i, crystal in enumerate(MADE):
        alone = find(crystal)
        for batch, crystals, place in (
            (whole, MADE, i),
            (backwards, MADE[::-1], len(MADE) - 1 - i),
        ):
            rows = slice(*batch.offsets[place : place + 2].tolist())
            first = crystals.offsets[place]
            np.testing.assert_array_equal(batch.centers[rows] - first, alone.centers)
            np.testing.assert_array_equal(batch.neighbors[rows] - first, alone.neighbors)
            for name in ("images", "vectors", "distances"):
                np.testing.assert_array_equal(getattr(batch, name)[rows], getattr(alone, name))


def test_no_crystals_have_no_neighbours():
    none = Crystals.empty()
    for near in (neighbors_within(none, 5.0), nearest_neighbors(none, 3)):
        assert len(near) == 0
        assert near.images.shape == near.vectors.shape == (0, 3)
        assert near.offsets.tolist() == [0]


def test_the_shells_of_a_simple_cubic_crystal():
    cubic = Crystals.single(np.eye(3) * 3, [[0.25, 0.5, 0.75]], [84])
    # 6 at a, 12 at a√2, 8 at a√3, 6 at 2a.
    for cutoff, count in ((2.9, 0), (3.0, 6), (4.25, 18), (3 * 3**0.5, 26), (6.0, 32)):
        assert len(neighbors_within(cubic, cutoff)) == count


def test_a_shell_at_the_cutoff_is_whole_whatever_round_off_says():
    rng = np.random.default_rng(0)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    shift = rng.random((20, 1, 3))
    for a in (3.0, 3.3, 4.123456789):
        for origin in shift:
            crystal = Crystals.single(a * np.eye(3) @ turn, origin, [84])
            assert len(neighbors_within(crystal, a)) == 6
            assert len(neighbors_within(crystal, a - 1e-6)) == 0


def test_left_handed_and_skew_cells_hold_the_same_crystal():
    rng = np.random.default_rng(3)
    crystal = Crystals.single(np.diag([3.0, 4, 5]), rng.random((4, 3)), [1, 2, 3, 4])
    wanted = np.sort(neighbors_within(crystal, 6.0).distances)
    for change in (
        [[0, 1, 0], [1, 0, 0], [0, 0, 1]],
        [[1, 0, 0], [7, 1, 0], [-5, 9, 1]],
        [[1, 0, 0], [25, 1, 0], [0, 0, -1]],
    ):
        other = crystal.supercell(change)
        np.testing.assert_allclose(np.sort(neighbors_within(other, 6.0).distances), wanted)


def test_sites_in_one_place_are_neighbours_at_no_distance():
    crystal = Crystals.single(np.eye(3) * 5, [[0.1, 0.1, 0.1]] * 2, [1, 2])
    near = neighbors_within(crystal, 1.0)
    assert near.centers.tolist() == [0, 1]
    assert near.neighbors.tolist() == [1, 0]
    assert near.distances.tolist() == [0.0, 0.0]


def test_nearest_neighbors_are_the_first_of_all():
    for k in (1, 12, 100):
        near = nearest_neighbors(MADE, k)
        assert (np.bincount(near.centers, minlength=len(MADE.numbers)) == k).all()
        for i in range(0, len(MADE), 5):
            rows = slice(*near.offsets[i : i + 2].tolist())
            all_ = neighbors_within(MADE[i], float(near.distances[rows].max()) + 0.1)
            counts = np.bincount(all_.centers)
            rank = np.arange(len(all_)) - np.repeat(np.cumsum(counts) - counts, counts)
            np.testing.assert_array_equal(near.vectors[rows], all_.vectors[rank < k])


def test_ties_are_cut_or_kept():
    # Body-centred cubic: 8 neighbours, then 6.
    bcc = Crystals.single(3 * np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]], [26, 26])
    for k, kept in ((1, 8), (8, 8), (9, 14), (14, 14)):
        assert len(nearest_neighbors(bcc, k)) == 2 * k
        assert len(nearest_neighbors(bcc, k, ties="kept")) == 2 * kept
        assert len(nearest_neighbors(bcc, k, ties="kept", cutoff=2.7)) == 2 * 8
    assert len(nearest_neighbors(bcc, 12, cutoff=2.7)) == 2 * 8
    assert len(nearest_neighbors(bcc, 12, cutoff=2.0)) == 0


@pytest.mark.parametrize("ties", ["cut", "kept"])
def test_the_order_at_ties_does_not_follow_noise(ties):
    rng = np.random.default_rng(0)
    coords = np.array([[0, 0, 0], [0.5, 0.5, 0.5]]) + 0.1  # no site on a face
    steady = nearest_neighbors(
        Crystals.single(3 * np.eye(3), coords, [26, 26]), 10, ties=ties, tie_tolerance=1e-4
    )
    for _ in range(20):
        noisy = Crystals.single(3 * np.eye(3), coords + rng.normal(0, 1e-6, (2, 3)), [26, 26])
        near = nearest_neighbors(noisy, 10, ties=ties, tie_tolerance=1e-4)
        np.testing.assert_array_equal(near.neighbors, steady.neighbors)
        np.testing.assert_array_equal(near.images, steady.images)


def test_isolated_sites_have_none_and_far_ones_are_found():
    alone = Crystals.single(np.eye(3) * 40, [[0, 0, 0]], [18])
    assert len(neighbors_within(alone, 12.0)) == 0
    assert len(nearest_neighbors(alone, 12, cutoff=8.0)) == 0
    assert nearest_neighbors(alone, 6).distances.tolist() == [40.0] * 6


def test_a_shell_that_the_first_reach_cuts_is_taken_whole():
    # The reach that is tried first, in a cell of 20 Å with three sites, for one neighbour.
    reach = 1.15 * (3 * 2 * 8000 / 3 / (4 * np.pi)) ** (1 / 3)
    near, far = (np.full(3, (reach + apart) / np.sqrt(3) / 20) for apart in (-3e-5, 3e-5))
    crystal = Crystals.single(np.eye(3) * 20, [[0, 0, 0], -far, near], [1, 2, 3])
    both = nearest_neighbors(crystal, 1, ties="kept", tie_tolerance=1e-4)
    np.testing.assert_array_equal(both.neighbors[both.centers == 0], [1, 2])
    # Of equally near ones the first site, also where it lies a little further.
    one = nearest_neighbors(crystal, 1, tie_tolerance=1e-4)
    np.testing.assert_array_equal(one.neighbors[one.centers == 0], [1])
    exactly = nearest_neighbors(crystal, 1, ties="kept")
    np.testing.assert_array_equal(exactly.neighbors[exactly.centers == 0], [2])
