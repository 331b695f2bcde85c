"""Sizes of atoms and shortest distances by pair of elements."""

from __future__ import annotations

import numpy as np
import pytest
from pymatgen.core import Element

from crystalcodec import Crystals, prototypes
from crystalcodec.data.atom_sizes import ElementVolumes, covalent_radii
from crystalcodec.data.pair_distances import separation_table, site_pairs
from crystalcodec.elements import SYMBOLS
from crystalcodec.io.foreign import to_pymatgen


def salt(metal, halogen, half):
    lattice = half * np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0.0]])
    return Crystals.single(lattice, [[0, 0, 0], [0.5, 0.5, 0.5]], [metal, halogen])


def test_radii_are_cordero():
    radii = covalent_radii()
    # From the paper's table.
    for symbol, radius in {
        "H": 0.31,
        "C": 0.76,
        "O": 0.66,
        "Na": 1.66,
        "Cs": 2.44,
        "U": 1.96,
    }.items():
        assert radii[Element(symbol).Z] == radius
    assert radii[0] == 0
    assert (radii[97:] == radii[96]).all()
    assert not radii.flags.writeable


def test_volumes_are_recovered_from_sums():
    rng = np.random.default_rng(0)
    true = np.zeros(119)
    true[[3, 9, 11, 17]] = [8.0, 11.0, 20.0, 25.0]
    numbers = [rng.choice([3, 9, 11, 17], 4) for _ in range(400)]
    sides = np.array([true[some].sum() for some in numbers]) ** (1 / 3)
    crystals = Crystals(
        sides[:, None, None] * np.eye(3),
        np.tile(rng.random((4, 3)), (400, 1)),
        np.concatenate(numbers),
        np.arange(0, 1601, 4),
    )
    volumes = ElementVolumes.fit(crystals)
    np.testing.assert_allclose(volumes.values[[3, 9, 11, 17]], [8, 11, 20, 25], rtol=0.02)
    assert volumes.spread < 0.01
    np.testing.assert_allclose(volumes.of(crystals), crystals.volumes, rtol=0.02)
    # An element that is not there has the volume of its radius, on the scale of the others.
    cubes = covalent_radii() ** 3
    scale = np.median(crystals.volumes / (crystals.element_counts @ cubes))
    assert volumes.values[55] == pytest.approx(scale * 2.44**3)


def test_volumes_without_crystals():
    volumes = ElementVolumes.fit(Crystals.empty())
    assert (volumes.values[1:] >= 3).all()
    assert volumes.spread == 0.1


def test_the_table_holds_shortest_distances_by_hand():
    # Na-Cl at 2.8, 2.9, ...; like ones at sqrt 2 times as much.
    crystals = Crystals.concatenate(salt(11, 17, 2.8 + 0.1 * k) for k in range(6))
    table = separation_table(crystals, quantile=0.2)
    assert table[11, 17] == table[17, 11] == pytest.approx(2.9)
    assert table[11, 11] == pytest.approx(2.9 * np.sqrt(2))
    assert separation_table(crystals, quantile=0)[11, 17] == pytest.approx(2.8)
    # Not seen five times: radii, times the ratio of the crystals.
    ratio = np.quantile([(2.8 + 0.1 * k) / 2.68 for k in range(6)], 0.2)
    assert table[3, 9] == pytest.approx(ratio * (1.28 + 0.57))
    assert separation_table(crystals[:4], quantile=0)[11, 17] == pytest.approx(2.8 / 2.68 * 2.68)


def test_the_table_is_that_of_a_plain_loop():
    crystals = prototypes().crystals[:60]
    found: dict[tuple[str, str], list[float]] = {}
    for structure in to_pymatgen(crystals):
        symbols = [site.specie.symbol for site in structure]
        matrix = structure.distance_matrix
        shortest: dict[tuple[str, str], float] = {}
        own = min(
            structure.lattice.get_points_in_sphere([[0, 0, 0]], [0, 0, 0], 15),
            key=lambda point: point[1] if point[1] > 1e-6 else np.inf,
        )[1]
        for i, one in enumerate(symbols):
            for j, other in enumerate(symbols):
                key = tuple(sorted((one, other)))
                distance = own if i == j else matrix[i, j]
                shortest[key] = min(shortest.get(key, np.inf), distance)
        for key, distance in shortest.items():
            found.setdefault(key, []).append(distance)
    table = separation_table(crystals, quantile=0, least_crystals=1)
    assert len(found) > 50
    for (one, other), distances in found.items():
        expected = pytest.approx(min(distances), abs=1e-7)
        assert table[SYMBOLS.index(one), SYMBOLS.index(other)] == expected


def test_every_pair_comes():
    for size in (2, 3, 4, 7, 8):
        coords = np.random.default_rng(size).random((size, 3))
        crystal = Crystals.single(5 * np.eye(3), coords, np.full(size, 6))
        seen = {
            frozenset(pair)
            for pairs in site_pairs(crystal)
            for pair in zip(pairs.first[0].tolist(), pairs.second[0].tolist(), strict=True)
        }
        assert len(seen) == size * (size - 1) // 2
        assert all(len(pair) == 2 for pair in seen)
