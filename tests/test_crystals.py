"""Crystals against exact answers, pymatgen and junk."""

from __future__ import annotations

import copy
import pickle
import warnings

import numpy as np
import pytest
from pymatgen.core import Composition, Lattice, Structure

from crystalcodec.crystals import ContentHash, Crystals, CrystalsError, find_faults
from crystalcodec.geometry import cell_parameters_from_lattices, lattices_from_cell_parameters
from crystalcodec.testing import sample_crystals

SALT = Crystals.single(
    [[0, 2.8, 2.8], [2.8, 0, 2.8], [2.8, 2.8, 0]], [[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17]
)
IRON = Crystals.single(np.eye(3) * 2.87, [[0, 0, 0], [0.5, 0.5, 0.5]], [26, 26])


def structures(crystals: Crystals) -> list[Structure]:
    return [
        Structure(Lattice(one.lattices[0]), one.numbers.tolist(), one.frac_coords)
        for one in crystals
    ]


def test_known_crystal():
    assert len(SALT) == 1
    assert SALT.n_sites.tolist() == [2]
    assert SALT.volumes[0] == pytest.approx(2 * 2.8**3, rel=1e-15)
    # 58.4428 u in 43.904 Å3.
    assert SALT.densities[0] == pytest.approx(2.21042, abs=1e-5)
    assert SALT.formulas == ("NaCl",)
    assert SALT.cart_coords[1].tolist() == [2.8, 2.8, 2.8]
    np.testing.assert_allclose(SALT.cell_parameters[0], [2.8 * 2**0.5] * 3 + [60] * 3, rtol=1e-15)
    assert np.flatnonzero(SALT.element_counts[0]).tolist() == [11, 17]


@pytest.mark.filterwarnings("ignore:No Pauling electronegativity")
def test_agrees_with_pymatgen():
    crystals = sample_crystals(40, seed=1)
    for i, structure in enumerate(structures(crystals)):
        one = crystals[i]
        assert one.volumes[0] == pytest.approx(structure.volume, rel=1e-12)
        assert one.densities[0] == pytest.approx(float(structure.density), rel=1e-6)
        np.testing.assert_allclose(one.cart_coords, structure.cart_coords, atol=1e-10)
        np.testing.assert_allclose(one.cell_parameters[0], structure.lattice.parameters, rtol=1e-12)
        assert one.formulas[0] == structure.composition.reduced_formula


@pytest.mark.parametrize(
    "formula",
    [
        *("O2", "Li2O2", "H2O", "NaO", "LiFePO4", "Li3Fe2(PO4)3", "Ca3(PO4)2", "Ba(SiIr)2"),
        *("Fe", "He", "XeF4", "(NH4)2SO4", "K4N4O12"),
    ],
)
def test_formulas_are_written_as_pymatgen_writes_them(formula):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        composition = Composition(formula)
        expected = composition.reduced_formula
    numbers = [e.Z for e, amount in composition.items() for _ in range(round(amount))]
    coords = np.linspace(0, 0.9, len(numbers))[:, None] * [1, 1, 1]
    assert Crystals.single(np.eye(3) * 9, coords, numbers).formulas == (expected,)


def test_cell_parameters_and_lattices_are_inverse_and_oriented_as_in_pymatgen():
    rng = np.random.default_rng(0)
    parameters = np.c_[rng.uniform(2, 30, (300, 3)), rng.uniform(60, 119, (300, 3))]
    lattices = lattices_from_cell_parameters(parameters)
    np.testing.assert_allclose(cell_parameters_from_lattices(lattices), parameters, rtol=1e-12)
    for one, lattice in zip(parameters, lattices, strict=True):
        np.testing.assert_allclose(Lattice.from_parameters(*one).matrix, lattice, atol=1e-12)
    assert (np.linalg.det(lattices) > 0).all()


def test_right_angles_are_exact():
    lattice = lattices_from_cell_parameters([3, 4, 5, 90, 90, 90])[0]
    assert lattice.tolist() == [[3, 0, 0], [0, 4, 0], [0, 0, 5]]


@pytest.mark.parametrize(
    "parameters",
    [
        [3, 4, 5, 30, 40, 90],
        [3, 4, 5, 120, 120, 121],
        [3, 4, 5, 0, 90, 90],
        [3, 4, 5, 180, 90, 90],
        [3, 4, 5, 450, 90, 90],
        [3, 4, 5, 90, -90, 90],
        [-3, 4, 5, 90, 90, 90],
        [0, 4, 5, 90, 90, 90],
        [np.nan, 4, 5, 90, 90, 90],
        [3, 4, np.inf, 90, 90, -np.inf],
    ],
)
def test_parameters_that_close_no_cell_give_no_lattice(parameters):
    assert not np.isfinite(lattices_from_cell_parameters(parameters)).all()


def test_index_slice_mask_and_concatenate():
    crystals = sample_crystals(10)
    assert crystals[3] == Crystals.concatenate([*crystals][3:4])
    assert crystals[-1] == crystals[9]
    assert crystals[2:5] == Crystals.concatenate([crystals[i] for i in (2, 3, 4)])
    mask = crystals.n_sites > 8
    assert crystals[mask] == crystals[np.flatnonzero(mask)]
    assert crystals[[4, 4, 0]].formulas == tuple(crystals.formulas[i] for i in (4, 4, 0))
    assert Crystals.concatenate(crystals) == crystals
    assert len(Crystals.concatenate([])) == 0
    assert len(crystals[:0]) == 0
    with pytest.raises(IndexError):
        crystals[10]
    with pytest.raises(IndexError):
        crystals[[True, False]]
    assert crystals != crystals[::-1]
    assert crystals != "crystals"


def test_an_empty_batch_has_empty_columns():
    none = Crystals.empty()
    assert (none.formulas, len(none.volumes), len(none.densities)) == ((), 0, 0)
    assert none.cell_parameters.shape == (0, 6)
    assert none.cart_coords.shape == (0, 3)
    assert none.element_counts.shape == (0, 119)
    assert len(none.supercell(2)) == len(none.right_handed()) == 0


def test_coordinates_are_wrapped_and_nothing_else_is_changed():
    given = np.array([[1.25, -0.25, 0.1], [-1e-17, 1.0, 0.3]])
    crystal = Crystals.single(np.eye(3) * 5, given, [1, 2])
    assert crystal.frac_coords.tolist() == [[0.25, 0.75, 0.1], [0.0, 0.0, 0.3]]
    assert given[0, 0] == 1.25
    inside = np.random.default_rng(0).random((50, 3))
    kept = Crystals.single(np.eye(3) * 9, inside, np.full(50, 6)).frac_coords
    assert kept.tobytes() == inside.tobytes()


def test_arrays_are_read_only_copies():
    lattice = np.eye(3)
    crystal = Crystals.single(lattice, [[0, 0, 0]], [1])
    lattice[0, 0] = 9
    assert crystal.lattices[0, 0, 0] == 1
    for array in (crystal.lattices, crystal.frac_coords, crystal.numbers, crystal.offsets):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_cartesian_and_fractional_are_inverse():
    crystals = sample_crystals(20)
    back = crystals.to_fractional(crystals.cart_coords)
    np.testing.assert_allclose(back, crystals.frac_coords, atol=1e-13)
    with pytest.raises(CrystalsError, match="one row for each site"):
        crystals.to_cartesian([[0, 0, 0]])


@pytest.mark.parametrize("scaling", [1, 2, [1, 2, 3], [[1, 1, 0], [-1, 2, 0], [0, 1, 3]]])
def test_supercell_is_pymatgens(scaling):
    crystals = sample_crystals(8)
    for ours, structure in zip(crystals.supercell(scaling), structures(crystals), strict=True):
        theirs = structure.make_supercell(scaling, in_place=False, to_unit_cell=True)
        assert ours.numbers.tolist() == list(theirs.atomic_numbers)
        np.testing.assert_allclose(ours.lattices[0], theirs.lattice.matrix, atol=1e-10)
        # The copies of a site may stand in another order.
        apart = ours.frac_coords[:, None] - theirs.frac_coords[None]
        apart = np.abs(apart - np.rint(apart)).max(axis=2)
        same = ours.numbers[:, None] == ours.numbers[None]
        assert np.where(same, apart, 1).min(axis=1).max() < 1e-9
        assert ours.densities[0] == pytest.approx(float(structure.density), rel=1e-6)


def test_supercell_of_odd_scaling_is_refused():
    with pytest.raises(CrystalsError, match="no volume"):
        SALT.supercell([[1, 0, 0], [1, 0, 0], [0, 0, 1]])
    with pytest.raises(CrystalsError, match="whole number"):
        SALT.supercell(1.5)


def test_right_handed_moves_no_atom():
    crystals = sample_crystals(12)
    mirrored = Crystals(
        crystals.lattices[:, [1, 0, 2]],
        crystals.frac_coords[:, [1, 0, 2]],
        crystals.numbers,
        crystals.offsets,
    )
    assert (np.linalg.det(mirrored.lattices) < 0).all()
    turned = mirrored.right_handed()
    assert (np.linalg.det(turned.lattices) > 0).all()
    apart = turned.to_fractional(turned.cart_coords - crystals.cart_coords)
    np.testing.assert_allclose(apart, np.rint(apart), atol=1e-12)
    assert crystals.right_handed() == crystals


def test_content_hash_is_of_the_content_and_not_of_the_batches():
    crystals = sample_crystals(9)
    in_parts = ContentHash().update(crystals[:4]).update(crystals[4:]).hexdigest()
    assert in_parts == crystals.content_hash == crystals[:].content_hash
    assert hash(crystals) == hash(crystals[:])
    # Written down once: the hash must be the same on every machine and in every version.
    assert SALT.content_hash == ("55ec306df0e4872097ee88d83c1b4757c47c89b775a3027370817f0c0e36f72b")
    others = [crystals[::-1], crystals[:8], crystals.supercell([1, 1, 2])]
    assert len({crystals.content_hash, *(other.content_hash for other in others)}) == 4


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ((np.zeros((3, 3)), [[0, 0, 0]], [1]), r"crystal 0: no volume: lattice \[\[0.0"),
        (([[1, 0, 0], [0, 1, 0], [1, 1, 1e-8]], [[0, 0, 0]], [1]), "closes no cell"),
        ((np.diag([1, 1, np.inf]), [[0, 0, 0]], [1]), "lattice not finite"),
        ((np.eye(3), [[0, 0, 0], [0, np.nan, 0]], [1, 1]), r"crystal 0: .* site 1: \[0.0, nan"),
        ((np.eye(3), [[0, 0, 0]], [0]), "site 0: 0, wanted 1 to 118"),
        ((np.eye(3), [[0, 0, 0]], [119]), "no such element: site 0: 119"),
        ((np.eye(3), [[0, 0, 0]], [1.0]), "numbers holds float64, expected whole numbers"),
        ((np.eye(3), [[0, 0, 0]], ["Na"]), "expected whole numbers"),
        ((np.eye(3), [["x", 0, 0]], [1]), "frac_coords holds"),
        ((np.eye(3), [[0, 0]], [1]), r"frac_coords has shape \(1, 2\), expected \(any, 3\)"),
        ((np.eye(2), [[0, 0, 0]], [1]), r"lattices has shape \(1, 2, 2\)"),
        ((np.eye(3), [[0, 0, 0]], [1, 2]), "2 numbers for 1 sites"),
        ((np.eye(3), np.zeros((0, 3)), np.zeros(0, int)), "no sites"),
    ],
)
def test_bad_input_is_named(columns, message):
    with pytest.raises(CrystalsError, match=message):
        Crystals.single(*columns)


def test_the_faulty_crystal_and_site_are_named():
    crystals = sample_crystals(6)
    coords = crystals.frac_coords.copy()
    coords[crystals.offsets[4] + 2] = np.inf
    lattices = crystals.lattices.copy()
    lattices[5] = 0
    with pytest.raises(CrystalsError, match=r"crystal 4: .* site 2: .*\(and 1 more"):
        Crystals(lattices, coords, crystals.numbers, crystals.offsets)
    faults = find_faults(lattices, coords, crystals.numbers, crystals.offsets)
    assert [(fault.index, fault.reason) for fault in faults] == [
        (4, "coordinates not finite"),
        (5, "no volume"),
    ]


@pytest.mark.parametrize("offsets", [[0, 1], [0, 2, 2], [1, 2], [], [0, 3, 2], [0, -1, 2]])
def test_offsets_that_do_not_cut_the_sites_are_refused(offsets):
    with pytest.raises(CrystalsError, match=r"offsets|no sites"):
        Crystals(SALT.lattices, SALT.frac_coords, SALT.numbers, np.array(offsets, int))


def test_arrays_stay_read_only_in_copies_and_pickles():
    salt = Crystals.single(3 * np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17])
    sent = pickle.loads(pickle.dumps(salt))  # noqa: S301
    for twin in (sent, copy.deepcopy(salt), copy.copy(salt)):
        assert twin == salt
        for name in ("lattices", "frac_coords", "numbers", "offsets"):
            with pytest.raises(ValueError, match="read-only"):
                getattr(twin, name)[0] = 1
