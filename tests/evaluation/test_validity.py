"""Structural validity and the figures: by hand, against pymatgen, and on junk."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from crystalcodec import Crystals, prototypes
from crystalcodec.data.pair_distances import shortest_distances
from crystalcodec.evaluation.base import Attempts, Evidence
from crystalcodec.evaluation.validity import check_structures, published_structure_validity
from crystalcodec.failures import Failure
from crystalcodec.io.foreign import to_pymatgen
from crystalcodec.registry import FAMILIES, load

pytest.importorskip("smact")


def cube(side, coords, numbers):
    return Crystals.single(side * np.eye(3), np.array(coords) / side, numbers)


def published_loop(crystals):
    """CDVAE's definition, one structure at a time."""
    valid = []
    for structure in to_pymatgen(crystals):
        distances = structure.distance_matrix
        distances = distances + np.diag(np.full(len(structure), 10.5))
        valid.append(not (distances.min() < 0.5 or structure.volume < 0.1))
    return valid


def scattered(n, seed, skew=0.0):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 9, n)
    lattices = np.eye(3) * rng.uniform(1.5, 5, (n, 3))[:, None] + rng.normal(0, 0.4, (n, 3, 3))
    lattices[:, 2] += skew * (lattices[:, 0] * rng.integers(-3, 4, (n, 1)) + 2 * lattices[:, 1])
    total = int(sizes.sum())
    return Crystals(
        lattices,
        rng.random((total, 3)),
        rng.integers(1, 95, total),
        np.concatenate([[0], np.cumsum(sizes)]),
    )


@pytest.mark.parametrize(
    ("crystal", "valid"),
    [
        (cube(5, [[0, 0, 0], [0.49, 0, 0]], [3, 3]), False),
        (cube(5, [[0, 0, 0], [0.51, 0, 0]], [3, 3]), True),
        # Across the border of the cell.
        (cube(5, [[0.1, 0, 0], [4.7, 0, 0]], [3, 3]), False),
        (cube(5, [[0, 0, 0], [0, 0, 0]], [3, 9]), False),
        # 0.064 and 0.104 Å³; its own images, 0.47 Å away, are not looked at.
        (cube(0.4, [[0, 0, 0]], [3]), False),
        (cube(0.47, [[0, 0, 0]], [3]), True),
        (cube(100, [[0, 0, 0]], [2]), True),
    ],
)
def test_published_structural_validity_by_hand(crystal, valid):
    assert published_structure_validity(crystal).tolist() == [valid]
    assert published_loop(crystal) == [valid]


@pytest.mark.parametrize("skew", [0.0, 1.0])
def test_published_structural_validity_is_pymatgens(skew):
    crystals = scattered(400, 1, skew)
    expected = published_loop(crystals)
    assert 40 < sum(expected) < 360
    assert published_structure_validity(crystals).tolist() == expected


def test_shortest_distances_are_pymatgens():
    crystals = Crystals.concatenate([scattered(60, 2, 1.0), prototypes().crystals[:40]])
    found = shortest_distances(crystals)
    for i, structure in enumerate(to_pymatgen(crystals)):
        matrix = structure.distance_matrix + np.diag(np.full(len(structure), np.inf))
        assert found.between_sites[i] == pytest.approx(matrix.min(), abs=1e-7)
        reach = 1.001 * found.of_all[i] + 0.01
        _, _, _, near = structure.get_neighbor_list(reach)
        assert found.of_all[i] == pytest.approx(near.min(), abs=1e-7)


def test_separation_by_hand():
    # Cordero: Na 1.66, Cl 1.02, Fe 1.32 Å.
    salt = Crystals.single(
        [[0, 2.8, 2.8], [2.8, 0, 2.8], [2.8, 2.8, 0]], [[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17]
    )
    iron = cube(2.4, [[0, 0, 0]], [26])
    close = cube(5, [[0, 0, 0], [1.8, 0, 0]], [11, 17])
    checks = check_structures(Crystals.concatenate([salt, iron, close]))
    np.testing.assert_allclose(
        checks.shortest.over_radii, [2.8 / 2.68, 2.4 / 2.64, 1.8 / 2.68], rtol=1e-12
    )
    assert checks.separated.tolist() == [True, True, False]
    np.testing.assert_allclose(checks.volumes_per_atom, [21.952, 13.824, 62.5])
    assert checks.fillings[1] == pytest.approx(4 / 3 * np.pi * 1.32**3 / 13.824)


@pytest.mark.parametrize(
    ("lattice", "numbers", "sized", "regular"),
    [
        (3 * np.eye(3), [26], True, True),
        (1.9 * np.eye(3), [4], True, False),  # too short
        (100 * np.eye(3), [26], False, False),  # a million Å³
        (np.diag([3, 3, 40.0]), [26], False, True),  # 360 Å³
        (np.diag([3, 3, 46.0]), [55] * 4, True, False),  # 15.3 times as long
        (np.diag([1.5, 1.5, 1.5]), [1], False, False),  # 3.4 Å³
        (5.25 * np.eye(3), [1], False, True),  # hydrogen, thinly spread
        ([[3, 0, 0], [60, 3, 0], [0, 0, 3]], [26], True, False),  # angle of 2.9°
    ],
)
def test_volumes_and_cells_by_hand(lattice, numbers, sized, regular):
    coords = np.linspace(0, 1, len(numbers), endpoint=False)[:, None] * [0, 0, 1]
    checks = check_structures(Crystals.single(lattice, coords, numbers))
    assert (checks.sized[0], checks.regular[0]) == (sized, regular)


def test_another_cell_of_the_same_crystal_is_judged_alike():
    crystals = scattered(80, 3)
    rng = np.random.default_rng(0)
    base = shortest_distances(crystals)
    turned, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    change = np.array([[1, 2, 0], [0, 1, 0], [-1, 3, 1]])
    shift = rng.random(3)
    others = [
        Crystals(crystals.lattices @ turned, crystals.frac_coords, *sites(crystals)),
        Crystals(crystals.lattices, crystals.frac_coords + shift, *sites(crystals)),
        Crystals(
            change @ crystals.lattices,
            crystals.frac_coords @ np.linalg.inv(change),
            *sites(crystals),
        ),
        crystals.supercell([2, 1, 1]),
    ]
    for other in others:
        found = shortest_distances(other)
        np.testing.assert_allclose(found.of_all, base.of_all, atol=1e-6)
        np.testing.assert_allclose(found.over_radii, base.over_radii, atol=1e-6)


def sites(crystals):
    return crystals.numbers, crystals.offsets


def test_a_batch_gives_what_its_crystals_give():
    crystals = scattered(30, 4)
    whole = shortest_distances(crystals)
    for i, crystal in enumerate(crystals):
        one = shortest_distances(crystal)
        assert one.between_sites[0] == whole.between_sites[i]
        assert one.over_radii[0] == whole.over_radii[i]


def test_many_sites_are_measured_in_blocks():
    rng = np.random.default_rng(5)
    crystal = cube(60, rng.random((700, 3)) * 60, np.full(700, 14))
    (structure,) = to_pymatgen(crystal)
    distances = structure.distance_matrix + np.diag(np.full(700, np.inf))
    assert shortest_distances(crystal).between_sites[0] == pytest.approx(distances.min())


def by_name(attempts):
    figures = load(FAMILIES, "validity")(Evidence(attempts))
    assert len({figure.name for figure in figures}) == len(figures)
    return {figure.name: figure for figure in figures}


SHARES = (
    *("structural_validity", "composition_validity", "validity", "separation_validity"),
    *("volume_validity", "lattice_validity", "plausible_structures", "plausibility"),
    *("smact_validity", "charge_neutrality", "electronegativity_order"),
)


def test_figures_count_over_all_attempts():
    salt = cube(5.6, [[0, 0, 0], [2.8, 0, 0]], [11, 17])
    clash = cube(5.6, [[0, 0, 0], [0.3, 0, 0]], [11, 17])
    odd = cube(5.6, [[0, 0, 0], [2.8, 0, 0], [0, 2.8, 0]], [11, 17, 17])  # NaCl2
    failures = [Failure(1, "no crystal"), Failure(4, "no crystal")]
    figures = by_name(Attempts.of(Crystals.concatenate([salt, clash, odd]), failures))
    expected = {
        "structural_validity": [1, 0, 0, 1, 0],
        "composition_validity": [1, 0, 1, 0, 0],
        "validity": [1, 0, 0, 0, 0],
        "separation_validity": [1, 0, 0, 1, 0],
        "volume_validity": [1, 0, 1, 1, 0],
        "lattice_validity": [1, 0, 1, 1, 0],
        "plausible_structures": [1, 0, 0, 1, 0],
        "plausibility": [1, 0, 0, 0, 0],
        "smact_validity": [1, 0, 1, 0, 0],
        "charge_neutrality": [1, 0, 1, 0, 0],
        "electronegativity_order": [1, 0, 1, 1, 0],
    }
    assert set(expected) == set(SHARES)
    for name, of_each in expected.items():
        assert figures[name].of_each.tolist() == of_each, name
        assert figures[name].value == sum(of_each) / 5
        assert figures[name].failures == {"no crystal": 2}
        assert figures[name].n == 5
    assert figures["composition_validity"].extra == {
        "as_single_element": 0,
        "as_metals": 0,
        "by_oxidation_states": 2,
    }
    distances = figures["shortest_distance"].of_each
    np.testing.assert_allclose(distances, [2.8, np.nan, 0.3, 2.8, np.nan])
    assert figures["shortest_distance"].value == pytest.approx(5.9 / 3)


def test_nothing_and_only_failures():
    for attempts in (
        Attempts.of(Crystals.empty()),
        Attempts.of(Crystals.empty(), [Failure(0, "broken"), Failure(1, "broken")]),
    ):
        figures = by_name(attempts)
        for name in SHARES:
            value = figures[name].value
            assert value == 0 if attempts.n else np.isnan(value)
        assert np.isnan(figures["separation"].value)


def test_junk_is_counted():
    rng = np.random.default_rng(6)
    crystals = Crystals.concatenate(
        [
            cube(3, [[0, 0, 0]] * 4, [1, 2, 3, 4]),
            cube(100, [[0, 0, 0]], [26]),
            cube(4, [[0, 0, 0]], [10]),
            cube(4, [[0, 0, 0], [2, 2, 2]], [118, 8]),
            Crystals.single([[5, 0, 0], [4.999, 0.01, 0], [0, 0, 1e-3]], [[0, 0, 0]], [6]),
            Crystals.single([[100, 0, 0], [100, 3, 0], [-100, 1, 3]], [[0, 0, 0]], [6]),
            cube(12, rng.random((24, 3)) * 12, rng.permutation(np.arange(1, 95))[:24]),
        ]
    )
    figures = by_name(Attempts.of(crystals))
    assert figures["structural_validity"].of_each.tolist() == [0, 1, 1, 1, 0, 1, 1]
    assert figures["composition_validity"].of_each.tolist()[:6] == [0, 1, 1, 0, 1, 1]
    assert figures["plausible_structures"].of_each.tolist()[:2] == [0, 0]
    for figure in figures.values():
        assert np.isfinite(figure.value)


def test_real_prototypes_pass():
    figures = by_name(Attempts.of(prototypes().crystals))
    assert figures["structural_validity"].value == 1
    assert figures["plausible_structures"].value > 0.95


def test_atoms_put_anywhere_pass_the_published_check_and_not_the_other():
    real = prototypes().crystals
    rng = np.random.default_rng(7)
    coords = rng.random(real.frac_coords.shape)
    figures = by_name(Attempts.of(Crystals(real.lattices, coords, real.numbers, real.offsets)))
    assert figures["structural_validity"].value > 0.7
    assert figures["separation_validity"].value < 0.4


def test_definitions_hold_the_thresholds():
    figures = by_name(Attempts.of(Crystals.empty()))
    for name, words in {
        "structural_validity": ("0.5 Å", "0.1 Å³", "2110.06197"),
        "separation_validity": ("0.7 times", "10.1039/b801115j"),
        "volume_validity": ("5 to 150 Å³", "0.1 to 1.5"),
        "lattice_validity": ("2 to 50 Å", "15 times", "5 to 175°"),
        "composition_validity": ("SMACT 2.2.1",),
        "smact_validity": ("ICSD",),
    }.items():
        assert all(word in figures[name].definition for word in words)


def test_intervals_come_from_resampled_attempts():
    coords = [[0, 0, 0], [0.3, 0, 0]]
    crystals = Crystals.concatenate(
        itertools.chain([cube(4, [[0, 0, 0]], [26])] * 50, [cube(4, coords, [26, 26])] * 50)
    )
    low, high = by_name(Attempts.of(crystals))["validity"].interval()
    assert 0.3 < low < 0.5 < high < 0.7
