from __future__ import annotations

import numpy as np
import pytest

from crystalcodec.crystals import Crystals, CrystalsError
from crystalcodec.io import from_ase, from_pymatgen, to_ase, to_pymatgen


@pytest.fixture
def crystals() -> Crystals:
    rng = np.random.default_rng(7)
    counts = np.array([1, 5, 12])
    lattices = 4 * np.eye(3) + rng.normal(0, 0.8, (3, 3, 3))
    lattices[1] = lattices[1][[1, 0, 2]]  # left-handed
    return Crystals(
        lattices, rng.random((18, 3)), rng.integers(1, 104, 18), np.append(0, np.cumsum(counts))
    )


def test_pymatgen_and_back_is_bit_for_bit(crystals: Crystals) -> None:
    structures = to_pymatgen(crystals)
    assert from_pymatgen(structures) == crystals
    assert from_pymatgen(structures[1]) == crystals[1]
    for structure, crystal in zip(structures, crystals, strict=True):
        assert list(structure.atomic_numbers) == crystal.numbers.tolist()
        np.testing.assert_allclose(structure.cart_coords, crystal.cart_coords, atol=1e-12)


def test_structures_do_not_share_memory(crystals: Crystals) -> None:
    [structure] = to_pymatgen(crystals[0])
    before = crystals.lattices[0].copy()
    structure.apply_strain(0.1)
    structure.translate_sites([0], [0.1, 0.1, 0.1])
    np.testing.assert_array_equal(crystals.lattices[0], before)


def test_ase_and_back(crystals: Crystals) -> None:
    back = from_ase(to_ase(crystals))
    np.testing.assert_array_equal(back.lattices, crystals.lattices)
    np.testing.assert_array_equal(back.numbers, crystals.numbers)
    np.testing.assert_array_equal(back.offsets, crystals.offsets)
    apart = back.frac_coords - crystals.frac_coords
    assert np.abs(apart - np.rint(apart)).max() < 1e-14
    np.testing.assert_array_equal(from_ase(to_ase(crystals)[2]).numbers, crystals[2].numbers)
    assert all(atoms.pbc.all() for atoms in to_ase(crystals))


def test_nothing_gives_nothing() -> None:
    for there, back in ((to_pymatgen, from_pymatgen), (to_ase, from_ase)):
        assert there(Crystals.empty()) == []
        assert back([]) == Crystals.empty()


def test_oxidation_states_and_site_properties_are_left_behind(crystals: Crystals) -> None:
    [structure] = to_pymatgen(Crystals.single(4 * np.eye(3), [[0, 0, 0], [0.5] * 3], [55, 17]))
    wanted = from_pymatgen(structure)
    structure.add_oxidation_state_by_element({"Cs": 1, "Cl": -1})
    structure.add_site_property("magmom", [1.0, -1.0])
    assert from_pymatgen(structure) == wanted


def test_coordinates_are_wrapped() -> None:
    from pymatgen.core import Structure

    structure = Structure(4 * np.eye(3), ["Cs", "Cl"], [[0, 0, 0], [-0.5, 1.5, 0.5]])
    np.testing.assert_array_equal(from_pymatgen(structure).frac_coords[1], [0.5, 0.5, 0.5])


@pytest.mark.parametrize(
    ("species", "message"),
    [
        ({"Fe": 0.5, "Co": 0.5}, "structure 1, site 1: partial occupancy"),
        ({"Fe": 0.9}, "structure 1, site 1: partial occupancy"),
        ("D", "structure 1, site 1: species 'D'"),
        ("X", "structure 1, site 1: species 'X"),
    ],
)
def test_what_crystals_cannot_hold_is_named(species: object, message: str) -> None:
    from pymatgen.core import DummySpecies, Structure

    one = DummySpecies("X") if species == "X" else species
    good = Structure(4 * np.eye(3), ["Fe", "Fe"], [[0, 0, 0], [0.5] * 3])
    bad = Structure(4 * np.eye(3), ["Fe", one], [[0, 0, 0], [0.5] * 3])
    with pytest.raises(CrystalsError, match=message):
        from_pymatgen([good, bad])


def test_open_directions_are_refused() -> None:
    from ase import Atoms
    from pymatgen.core import Lattice, Structure

    slab = Structure(Lattice(4 * np.eye(3), pbc=(True, True, False)), ["Fe"], [[0, 0, 0]])
    with pytest.raises(CrystalsError, match=r"structure 0: periodic along a, b, c.*pbc"):
        from_pymatgen(slab)
    with pytest.raises(CrystalsError, match=r"structure 0: periodic along a, b, c"):
        from_ase(Atoms("Fe", cell=4 * np.eye(3), pbc=[True, True, False]))
    with pytest.raises(CrystalsError, match=r"structure 0: cell .* has no volume"):
        from_ase(Atoms("Fe", cell=[4, 0, 0], pbc=True))


def test_dummies_and_shared_sites_of_ase_are_refused() -> None:
    from ase import Atoms

    with pytest.raises(CrystalsError, match="no such element"):
        from_ase(Atoms("X", cell=4 * np.eye(3), pbc=True))
    shared = Atoms("Fe", cell=4 * np.eye(3), pbc=True, info={"occupancy": {"0": {"Fe": 0.7}}})
    with pytest.raises(CrystalsError, match="structure 0, sites of kind 0: partial occupancy"):
        from_ase(shared)
    whole = Atoms("Fe", cell=4 * np.eye(3), pbc=True, info={"occupancy": {"0": {"Fe": 1.0}}})
    assert len(from_ase(whole)) == 1
    with pytest.raises(CrystalsError, match="no sites"):
        from_ase(Atoms(cell=4 * np.eye(3), pbc=True))
