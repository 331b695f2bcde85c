"""Space groups of a batch against known crystals and pymatgen."""

from __future__ import annotations

import numpy as np
import pytest
import spglib

from crystalcodec.crystals import Crystals
from crystalcodec.geometry import lattices_from_cell_parameters
from crystalcodec.symmetry import SymmetryError, space_group_numbers
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
