"""Shell graphs: exact shells of known crystals, and nothing lost against the whole graph."""

from __future__ import annotations

import numpy as np
import pytest

from crystalcodec.crystals import Crystals
from crystalcodec.data import prototypes
from crystalcodec.data.augmentation import permute_sites, rotate, shift_origin
from crystalcodec.representations.base import RepresentationError
from crystalcodec.representations.neighbors import nearest_neighbors
from crystalcodec.representations.shell_graph import ShellGraph
from crystalcodec.representations.shell_graph.kinds import equal_within
from crystalcodec.testing import check_representation, sample_crystals

A = 5.64


def rock_salt(n=1):
    half = A / 2
    cell = Crystals.single(
        [[0, half, half], [half, 0, half], [half, half, 0]],
        [[0, 0, 0], [0.5, 0.5, 0.5]],
        [11, 17],
    )
    return cell if n == 1 else cell.supercell([n, n, n])


def rows_of(encoded, i):
    """Rows of crystal i: (centre, neighbour, distance, count)."""
    part = slice(*encoded.offsets["shells"][i : i + 2])
    return [
        (int(c), int(j), round(float(d), 4), float(n))
        for (c, j), d, n in zip(
            encoded["shells"][part],
            encoded["distances"][part],
            encoded["counts"][part],
            strict=True,
        )
    ]


@pytest.mark.parametrize("n", [1, 2])
def test_rock_salt_has_two_kinds_and_its_known_shells(n):
    encoded = ShellGraph(max_neighbors=26).encode(rock_salt(n))
    assert encoded["numbers"].tolist() == [11, 17]
    assert encoded["weights"].tolist() == [0.5, 0.5]
    near, next_, third = A / 2, A / 2**0.5, A * 0.75**0.5
    wanted = [
        (0, 0, next_, 12.0),
        (0, 1, near, 6.0),
        (0, 1, third, 8.0),
        (1, 0, near, 6.0),
        (1, 0, third, 8.0),
        (1, 1, next_, 12.0),
    ]
    assert rows_of(encoded, 0) == [(c, j, round(d, 4), k) for c, j, d, k in wanted]
    assert encoded["volume_per_atom"][0, 0] == pytest.approx(A**3 / 8)


def test_sites_of_one_element_with_other_surroundings_are_other_kinds():
    # A chain along c: the middle of three carbon atoms has other neighbours than the ends.
    crystal = Crystals.single(
        np.diag([15.0, 15.0, 12.0]), [[0, 0, 0.0], [0, 0, 0.11], [0, 0, 0.22]], [6, 6, 6]
    )
    encoded = ShellGraph(cutoff=2.0).encode(crystal)
    assert sorted(encoded["weights"].tolist()) == [pytest.approx(1 / 3), pytest.approx(2 / 3)]
    assert sorted(encoded["counts"].tolist()) == [1.0, 2.0]


def test_harmonics_of_known_shells():
    # Steinhardt's sums over an octahedron: q1 = q2 = q3 = 0 and q4² = 7/12.
    encoded = ShellGraph(max_neighbors=6, max_degree=4).encode(rock_salt())
    squares = encoded["harmonics"].astype(float) ** 2
    parts = [squares[:, degree**2 - 1 : (degree + 1) ** 2 - 1].sum(1) for degree in (1, 2, 3, 4)]
    assert np.allclose(parts[:3], 0, atol=1e-6)
    assert np.allclose(parts[3], 7 / 12, atol=1e-6)


def test_one_neighbour_has_harmonics_of_length_one():
    crystal = Crystals.single(np.diag([15.0, 15.0, 15.0]), [[0, 0, 0], [0.03, 0.05, 0.04]], [1, 9])
    encoded = ShellGraph(cutoff=3.0, max_degree=3).encode(crystal)
    squares = encoded["harmonics"].astype(float) ** 2
    parts = [squares[:, degree**2 - 1 : (degree + 1) ** 2 - 1].sum(1) for degree in (1, 2, 3)]
    assert np.allclose(parts, 1, atol=1e-6)


def test_angles_tell_kinds_apart_only_where_they_are_asked_for():
    """Two carbon atoms, each with two fluorine atoms at 1.3 Å: straight, and bent."""
    bent = 1.3 * np.array([np.sin(1.0), np.cos(1.0), 0])
    places = [
        [5, 5, 5],
        [6.3, 5, 5],
        [3.7, 5, 5],
        [15, 5, 5],
        [15 + bent[0], 5 + bent[1], 5],
        [15 - bent[0], 5 + bent[1], 5],
    ]
    cell = np.diag([20.0, 10.0, 10.0])
    crystal = Crystals.single(cell, np.array(places) / np.diag(cell), [6, 9, 9, 6, 9, 9])
    assert ShellGraph(cutoff=1.5).encode(crystal)["numbers"].tolist() == [6, 9]
    assert ShellGraph(cutoff=1.5, max_degree=2).encode(crystal)["numbers"].tolist() == [6, 6, 9, 9]


@pytest.mark.parametrize("max_degree", [0, 3])
def test_contract(max_degree):
    check_representation(ShellGraph(max_degree=max_degree))


def test_messages_on_kinds_are_those_on_sites():
    """Sums over walks of any length: on the graph of all sites and on the shells."""
    crystals = prototypes().crystals[::23]
    encoded = ShellGraph(max_neighbors=12).encode(crystals)
    near = nearest_neighbors(crystals, 12, ties="kept", tie_tolerance=1e-3)
    on_sites = np.sqrt(crystals.numbers)
    on_nodes = np.sqrt(encoded["numbers"])
    first = np.repeat(encoded.offsets["nodes"][:-1], np.diff(encoded.offsets["shells"]))
    centers, neighbors = (encoded["shells"] + first[:, None]).T
    for _ in range(4):
        heard = np.exp(-near.distances) * on_sites[near.neighbors]
        on_sites = np.tanh(np.bincount(near.centers, heard, len(on_sites)) + 0.1 * on_sites)
        heard = encoded["counts"] * np.exp(-encoded["distances"]) * on_nodes[neighbors]
        on_nodes = np.tanh(np.bincount(centers, heard, len(on_nodes)) + 0.1 * on_nodes)
    of_sites = np.add.reduceat(on_sites, crystals.offsets[:-1]) / crystals.n_sites
    of_nodes = np.add.reduceat(on_nodes * encoded["weights"], encoded.offsets["nodes"][:-1])
    assert len(on_nodes) < 0.6 * len(on_sites)
    assert len(centers) < 0.4 * len(near)
    assert np.allclose(of_sites, of_nodes, atol=2e-4)


def test_every_neighbour_is_counted_once():
    crystals = sample_crystals(40)
    encoded = ShellGraph(max_neighbors=9).encode(crystals)
    near = nearest_neighbors(crystals, 9, ties="kept", tie_tolerance=1e-3)
    first = np.repeat(encoded.offsets["nodes"][:-1], np.diff(encoded.offsets["shells"]))
    weights = encoded["weights"][encoded["shells"][:, 0] + first]
    owner = np.repeat(np.arange(len(crystals)), np.diff(encoded.offsets["shells"]))
    edges = np.bincount(owner, encoded["counts"] * weights) * crystals.n_sites
    assert np.allclose(edges, np.diff(near.offsets), rtol=1e-5)
    shares = np.add.reduceat(encoded["weights"], encoded.offsets["nodes"][:-1])
    assert np.allclose(shares, 1, atol=1e-6)


def test_same_crystal_in_another_description_gives_the_same_graph():
    crystals = prototypes().crystals[7::97]
    rng = np.random.default_rng(5)
    changed = rotate(shift_origin(permute_sites(crystals, rng), rng), rng)
    one, other = (ShellGraph().encode(c) for c in (crystals, changed))
    for name, array in one.arrays.items():
        assert np.allclose(array, other[name], atol=2e-5), name


def test_values_are_equal_within_a_tolerance_and_never_further_apart():
    groups = np.array([0, 0, 0, 0, 0, 1])
    values = np.array([3.0, 1.0, 1.0009, 1.0018, 1.00265, 1.0])
    got = equal_within(groups, values, 1e-3)
    # A chain of 2.65 tolerances is cut in three; another group is another number.
    assert got.tolist() == [3, 0, 0, 1, 2, 4]


def test_a_lone_atom_has_a_node_and_no_shell():
    crystal = Crystals.single(np.eye(3) * 20, [[0, 0, 0]], [2])
    encoded = ShellGraph(cutoff=5.0, max_degree=2).encode(crystal)
    assert encoded["numbers"].tolist() == [2]
    assert encoded["shells"].shape == (0, 2)
    assert encoded["harmonics"].shape == (0, 8)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"max_neighbors": 0}, "max_neighbors is 0"),
        ({"cutoff": -1.0}, "cutoff is -1.0"),
        ({"tolerance": 0.0}, "tolerance is 0.0"),
        ({"max_degree": 9}, "max_degree is 9, wanted 0"),
        ({"max_degree": 1.5}, "max_degree"),
    ],
)
def test_wrong_parameters(parameters, message):
    with pytest.raises(RepresentationError, match=message):
        ShellGraph(**parameters)


def test_directions_are_compared_neighbour_by_neighbour():
    """Two octahedra with three hydroxide and three oxide corners: facial, and meridional."""
    corners = 2.0 * np.concatenate([np.eye(3), -np.eye(3)])
    places, numbers = [], []
    for middle, with_hydrogen in (([6, 6, 6], [0, 1, 2]), ([18, 6, 6], [0, 1, 3])):
        hydrogen = 1.48 * corners[with_hydrogen]
        places.append(np.concatenate([np.zeros((1, 3)), corners, hydrogen]) + middle)
        numbers += [26] + 6 * [8] + 3 * [1]
    cell = np.diag([24.0, 12, 12])
    crystal = Crystals.single(cell, np.concatenate(places) / np.diag(cell), numbers)
    assert (ShellGraph(cutoff=2.5).encode(crystal)["numbers"] == 26).sum() == 1
    rng = np.random.default_rng(0)
    encoded = [
        ShellGraph(cutoff=2.5, max_degree=2).encode(c)
        for c in (crystal, *(rotate(permute_sites(crystal, rng), rng) for _ in range(6)))
    ]
    for one in encoded:
        assert one["numbers"].tolist() == [1, 1, 8, 8, 8, 8, 26, 26]
        for name in ("weights", "shells", "distances", "counts"):
            np.testing.assert_allclose(one[name], encoded[0][name], rtol=1e-5)


def test_kinds_that_angles_alone_tell_apart_have_an_order():
    """Straight and bent CF2: which is first does not depend on which was written first."""
    bent = 1.3 * np.array([np.sin(1.0), np.cos(1.0), 0])
    middles = np.array([[5.0, 5, 5], [15, 5, 5]])
    cell = np.diag([20.0, 10.0, 10.0])
    around = np.array([[1.3, 0, 0], [-1.3, 0, 0], bent, bent * [-1, 1, 1]])
    places = np.concatenate([middles, around + middles[[0, 0, 1, 1]]])
    crystal = Crystals.single(cell, places / np.diag(cell), [6, 6, 9, 9, 9, 9])
    rng = np.random.default_rng(1)
    found = set()
    for _ in range(20):
        changed = rotate(shift_origin(permute_sites(crystal, rng), rng), rng)
        encoded = ShellGraph(cutoff=1.5, max_degree=2).encode(changed)
        squares = (encoded["harmonics"].astype(float)[:, :3] ** 2).sum(1)
        found.add((encoded["shells"].tobytes(), squares.round(3).tobytes()))
    assert len(found) == 1
