from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from crystalcodec.crystals import Crystals
from crystalcodec.data import find_duplicates
from crystalcodec.geometry import lattices_from_cell_parameters

MakeCrystals = Callable[..., Crystals]


def scaled(crystals: Crystals, volume: float) -> Crystals:
    return Crystals(
        crystals.lattices * volume ** (1 / 3),
        crystals.frac_coords,
        crystals.numbers,
        crystals.offsets,
    )


def moved(crystal: Crystals, seed: int = 0) -> Crystals:
    """The same crystal: another origin, another order of sites, turned in space."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(crystal.numbers))
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    return Crystals.single(
        crystal.lattices[0] @ turn,
        crystal.frac_coords[order] + rng.random(3),
        crystal.numbers[order],
    )


def zinc_blende(volume: float = 40.0) -> Crystals:
    a = (4 * volume) ** (1 / 3)
    return Crystals.single(
        [[0, a / 2, a / 2], [a / 2, 0, a / 2], [a / 2, a / 2, 0]],
        [[0, 0, 0], [0.25, 0.25, 0.25]],
        [30, 16],
    )


def wurtzite(volume: float = 40.0) -> Crystals:
    ratio, u = (8 / 3) ** 0.5, 3 / 8
    a = (2 * volume / (ratio * 3**0.5 / 2)) ** (1 / 3)
    lattice = lattices_from_cell_parameters([[a, a, a * ratio, 90, 90, 120]])[0]
    third = [[1 / 3, 2 / 3, 0], [2 / 3, 1 / 3, 0.5]]
    coords = np.array([*third, *third]) + np.repeat([[0, 0, 0], [0, 0, u]], 2, axis=0)
    return Crystals.single(lattice, coords, [30, 30, 16, 16])


def first_of(*crystals: Crystals, **options: float) -> list[int]:
    return find_duplicates(Crystals.concatenate(crystals), **options).tolist()


def test_another_description_of_a_crystal_is_a_duplicate(rock_salt: Crystals) -> None:
    conventional = rock_salt.supercell([[-1, 1, 1], [1, -1, 1], [1, 1, -1]])
    assert len(conventional.numbers) == 8
    copies = [rock_salt, conventional, moved(rock_salt), moved(conventional, 1)]
    assert first_of(*copies) == [0, 0, 0, 0]


def test_a_supercell_is_a_duplicate(rock_salt: Crystals) -> None:
    assert first_of(rock_salt.supercell([2, 1, 1]), rock_salt, moved(rock_salt.supercell(2))) == [
        *(0, 0, 0)
    ]


def test_a_slight_strain_is_a_duplicate(rock_salt: Crystals) -> None:
    strain = np.eye(3) + 0.02 * np.array([[1, 0.5, 0], [0.5, -1, 0], [0, 0, 0.5]])
    strained = Crystals.single(
        rock_salt.lattices[0] @ strain, rock_salt.frac_coords, rock_salt.numbers
    )
    assert first_of(rock_salt, strained) == [0, 0]


def test_other_structures_and_other_elements_are_none(rock_salt: Crystals) -> None:
    per_atom = float(rock_salt.volumes[0] / 2)
    caesium_chloride = Crystals.single(
        (2 * per_atom) ** (1 / 3) * np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17]
    )
    swapped = Crystals.single(rock_salt.lattices[0], rock_salt.frac_coords, [19, 17])
    assert first_of(rock_salt, caesium_chloride, swapped) == [0, 1, 2]


def test_polytypes_of_one_volume_are_told_apart() -> None:
    assert first_of(zinc_blende(), wurtzite(), moved(wurtzite()), moved(zinc_blende())) == [
        *(0, 1, 1, 0)
    ]


def test_an_expanded_crystal_is_another_one(rock_salt: Crystals) -> None:
    assert first_of(rock_salt, scaled(rock_salt, 1.05)) == [0, 0]
    assert first_of(rock_salt, scaled(rock_salt, 1.2)) == [0, 1]
    assert first_of(rock_salt, scaled(rock_salt, 1.05), volume_tolerance=0.01) == [0, 1]


def test_no_bin_edge_parts_equal_crystals(rock_salt: Crystals) -> None:
    # Wherever a volume lies, one 9 % larger is within the tolerance of 10 %.
    for volume in np.linspace(0.8, 1.3, 11):
        assert first_of(scaled(rock_salt, volume), scaled(rock_salt, volume * 1.09)) == [0, 0]


def test_chains_are_compared_with_what_is_kept(rock_salt: Crystals) -> None:
    # The third is near the second, which is not kept, and too far from the first.
    chain = [scaled(rock_salt, 1.09**k) for k in range(3)]
    assert first_of(*chain) == [0, 0, 2]


def test_processes_do_not_change_the_answer(
    rock_salt: Crystals, make_crystals: MakeCrystals
) -> None:
    singles = list(make_crystals(40, seed=3))
    copies = [moved(crystal, i) for i, crystal in enumerate(singles)]
    expected = [*range(40), *range(40)]
    assert first_of(*singles, *copies) == expected
    assert first_of(*singles, *copies, jobs=2) == expected


@pytest.mark.parametrize("n", [0, 1])
def test_few_crystals(rock_salt: Crystals, n: int) -> None:
    assert find_duplicates(rock_salt[:n]).tolist() == list(range(n))
