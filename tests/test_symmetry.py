"""Space groups of a batch against known crystals and pymatgen."""

from __future__ import annotations

import numpy as np
import pytest
import spglib

from crystalcodec.crystals import Crystals
from crystalcodec.data import prototype_labels
from crystalcodec.geometry import lattices_from_cell_parameters
from crystalcodec.symmetry import (
    SymmetryError,
    moyo_datasets,
    prototype_label,
    space_group_numbers,
    wyckoff_letters,
)
from crystalcodec.testing import sample_crystals


def test_known_groups():
    primitive = [[0, 2, 2], [2, 0, 2], [2, 2, 0]]
    crystals = Crystals.concatenate(
        [
            Crystals.single(primitive, [[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17]),  # rock salt
            Crystals.single(primitive, [[0, 0, 0], [0.25, 0.25, 0.25]], [30, 16]),  # zinc blende
            Crystals.single(primitive, [[0, 0, 0], [0.25, 0.25, 0.25]], [14, 14]),  # diamond
            Crystals.single(np.diag([3, 4, 5]), [[0.1, 0.2, 0.3]], [1]),
        ]
    )
    np.testing.assert_array_equal(space_group_numbers(crystals), [225, 216, 227, 47])


@pytest.mark.filterwarnings("ignore:Set OLD_ERROR_HANDLING:DeprecationWarning")
@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_spglib(seed):
    # Half of these lie on points of half the lattice, where moyopy alone gives up at times.
    crystals = sample_crystals(60, seed=seed)
    found = [
        spglib.get_symmetry_dataset((one.lattices[0], one.frac_coords, one.numbers), 0.01)
        for one in crystals
    ]
    expected = [0 if group is None else group.number for group in found]
    assert expected.count(0) <= 1
    np.testing.assert_array_equal(space_group_numbers(crystals), expected)


def test_none_is_found_for_atoms_on_top_of_each_other():
    crystal = Crystals.single(np.eye(3) * 4, [[0, 0, 0], [0, 0, 0.0001]], [1, 1])
    assert space_group_numbers(crystal).tolist() == [0]


def test_an_empty_batch_has_none():
    assert space_group_numbers(Crystals.empty()).shape == (0,)


def test_a_flat_cell_has_none_and_comes_to_an_end():
    lattice = lattices_from_cell_parameters([5, 5, 5, 119.99, 119.99, 119.99])[0]
    flat = Crystals.single(lattice, [[0, 0, 0], [0.3, 0.3, 0.3]], [11, 17])
    assert space_group_numbers(flat).tolist() == [0]


@pytest.mark.parametrize("symprec", [-1.0, 0.0, np.nan, np.inf])
def test_a_tolerance_that_is_none_raises(symprec):
    with pytest.raises(SymmetryError, match="wanted a positive number"):
        space_group_numbers(sample_crystals(1), symprec=symprec)


def test_a_crystal_that_has_its_symmetry_only_just_is_a_failure():
    # Cinnabar-like HgSe whose atoms stand up to 0.004 Å beside their symmetric places.
    only_just = Crystals.single(
        [[4.418924, 0, -0.001956], [-2.209323, 3.831122, 0.003622], [0, 0, 9.901605]],
        [
            [0.72134936, 0.72177565, 0.9999193],
            [0.27837831, 0.99990134, 0.66659201],
            [0.99999654, 0.27791316, 0.33326003],
            [0.49376044, 0.49372573, 0.4999329],
            [0.50594695, 0.00020443, 0.16656807],
            [0.00056839, 0.50647869, 0.83352668],
        ],
        [80, 80, 80, 34, 34, 34],
    )
    [found] = moyo_datasets(only_just)
    with pytest.raises(ValueError, match="tolerance"):
        found.normalizer_wyckoff_positions()
    assert wyckoff_letters(only_just) == [None]
    assert prototype_label(found) is None
    labels, failures = prototype_labels(only_just)
    assert labels == [None]
    assert [f.reason for f in failures] == ["symmetry not found"]


def test_a_search_with_a_large_tolerance_comes_to_an_end():
    # moyopy alone does not end on this one with 0.2 Å.
    crystal = sample_crystals(5)[4]
    half = Crystals(crystal.lattices / 2, crystal.frac_coords, crystal.numbers, crystal.offsets)
    for one, symprec in ((crystal, 0.2), (half, 0.1)):
        # spglib's answer, too.
        assert space_group_numbers(one, symprec=symprec).tolist() == [1]
    assert "nearer than 2.4 Å" in next(moyo_datasets(crystal, symprec=0.2))
