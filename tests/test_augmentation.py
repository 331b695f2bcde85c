"""Augmentation changes the description and leaves the crystal."""

from __future__ import annotations

import numpy as np
import pytest
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure

from crystalcodec.data.augmentation import augment, invert
from crystalcodec.registry import AUGMENTATIONS, UnknownNameError
from crystalcodec.testing import sample_crystals


def structure_of(one):
    return Structure(Lattice(one.lattices[0]), one.numbers.tolist(), one.frac_coords)


def distances(one):
    """Sorted distances between all pairs of elements: the same for the same crystal."""
    structure = structure_of(one)
    matrix = structure.distance_matrix
    kinds = np.sort(np.stack(np.broadcast_arrays(one.numbers[:, None], one.numbers), -1), -1)
    return sorted(zip(kinds.reshape(-1, 2).tolist(), matrix.round(8).ravel(), strict=True))


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_the_crystal_stays_and_the_description_changes(name):
    crystals = sample_crystals(16, max_sites=8)
    changed = augment(crystals, [name], np.random.default_rng(0))
    assert changed != crystals
    assert changed.formulas == crystals.formulas
    np.testing.assert_allclose(changed.volumes, crystals.volumes, rtol=1e-12)
    assert (np.linalg.det(changed.lattices) > 0).all()
    for before, after in zip(crystals, changed, strict=True):
        np.testing.assert_allclose(
            [d for _, d in distances(before)], [d for _, d in distances(after)], atol=1e-6
        )


@pytest.mark.parametrize("name", [name for name in AUGMENTATIONS if name != "invert"])
def test_pymatgen_finds_the_same_crystal(name):
    crystals = sample_crystals(8, max_sites=6)
    matcher = StructureMatcher(ltol=1e-3, stol=1e-3, angle_tol=0.1, scale=False)
    for before, after in zip(
        crystals, augment(crystals, [name], np.random.default_rng(1)), strict=True
    ):
        assert matcher.fit(structure_of(before), structure_of(after))


def test_elements_are_grouped_in_a_random_order_and_keep_the_order_of_their_sites():
    crystals = sample_crystals(40)
    changed = augment(crystals, ["permute_elements"], np.random.default_rng(0))
    orders = set()
    for before, after in zip(crystals, changed, strict=True):
        changes = np.flatnonzero(np.diff(after.numbers))
        assert len(changes) + 1 == len(set(after.numbers.tolist()))
        for number in set(before.numbers.tolist()):
            np.testing.assert_array_equal(
                before.frac_coords[before.numbers == number],
                after.frac_coords[after.numbers == number],
            )
        orders.add(tuple(np.sign(np.diff(after.numbers[[0, *changes + 1]]))))
    assert {(1, 1), (-1, -1)} <= orders


def test_sites_are_exchanged_within_their_element_only():
    crystals = sample_crystals(20)
    changed = augment(crystals, ["permute_sites_of_elements"], np.random.default_rng(0))
    assert changed.numbers.tolist() == crystals.numbers.tolist()
    assert changed.frac_coords.tolist() != crystals.frac_coords.tolist()


def test_the_origin_is_a_site():
    crystals = sample_crystals(20)
    changed = augment(crystals, ["shift_origin_to_site"], np.random.default_rng(0))
    at_origin = (changed.frac_coords == 0).all(axis=1)
    assert set(changed.crystal_indices[at_origin].tolist()) == set(range(20))
    assert changed.frac_coords.max() < 1 - 1e-9


def test_permuted_axes_and_rotations_move_no_atom_against_another():
    crystals = sample_crystals(30)
    for name in ("permute_axes", "rotate", "permute_sites"):
        changed = augment(crystals, [name], np.random.default_rng(2))
        before = np.sort(np.linalg.eigvalsh(crystals.lattices @ crystals.lattices.mT))
        after = np.sort(np.linalg.eigvalsh(changed.lattices @ changed.lattices.mT))
        np.testing.assert_allclose(before, after, rtol=1e-9, atol=1e-9)


def test_rotations_are_rotations_and_have_no_preferred_direction():
    crystals = sample_crystals(1)[[0] * 4000]
    turned = augment(crystals, ["rotate"], np.random.default_rng(3))
    rotations = np.linalg.inv(crystals.lattices) @ turned.lattices
    np.testing.assert_allclose(rotations @ rotations.mT, [np.eye(3)] * 4000, atol=1e-9)
    # The mean of uniformly drawn rotations is zero; its standard error here is 0.01.
    assert np.abs(rotations.mean(axis=0)).max() < 0.05
    assert np.trace(rotations, axis1=1, axis2=2).mean() == pytest.approx(0.0, abs=0.06)


def test_seeds_decide():
    crystals = sample_crystals(8)
    names = list(AUGMENTATIONS)
    once, again, other = (augment(crystals, names, np.random.default_rng(s)) for s in (5, 5, 6))
    assert once == again
    assert once != other


def test_half_are_inverted():
    crystals = sample_crystals(2)[[1] * 1000]
    changed = invert(crystals, np.random.default_rng(0))
    same = sum(one == crystals[0] for one in changed)
    assert 430 < same < 570


def test_an_unknown_augmentation_is_refused():
    with pytest.raises(UnknownNameError, match="did you mean 'rotate'"):
        augment(sample_crystals(1), ["rotation"], np.random.default_rng(0))
