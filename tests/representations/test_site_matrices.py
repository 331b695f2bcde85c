"""Coulomb, sine and Ewald sum matrices against hand, dscribe and pymatgen."""

import numpy as np
import pytest

from crystalcodec.crystals import Crystals
from crystalcodec.data.augmentation import permute_sites, rotate, shift_origin
from crystalcodec.representations.base import RepresentationError
from crystalcodec.representations.dscribe_shim import dscribe_descriptors
from crystalcodec.representations.site_matrices import CoulombMatrix, EwaldSumMatrix, SineMatrix
from crystalcodec.testing import CHECKS, sample_crystals
from crystalcodec.workflow.invariance import another_cell

ALL = (CoulombMatrix, SineMatrix, EwaldSumMatrix)
PERMUTATIONS = ("sorted_l2", "eigenspectrum", "random", "none")


def atoms_of(crystals):
    ase = pytest.importorskip("ase")
    return [
        ase.Atoms(numbers=c.numbers, positions=c.cart_coords, cell=c.lattices[0], pbc=True)
        for c in crystals
    ]


def array_of(representation, crystals):
    encoded = representation.encode(crystals)
    assert not encoded.failures
    return encoded[representation.name]


def rock_salt(a=5.64, numbers=(11, 17)):
    corners = np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]]) / 2
    coords = np.concatenate([corners, corners + np.array([0.5, 0, 0])])
    return Crystals.single(np.eye(3) * a, coords, np.repeat(numbers, 4))


@pytest.mark.parametrize("permutation", PERMUTATIONS)
@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("check", [name for name in CHECKS if name != "continuity"])
def test_every_permutation_conforms(kind, permutation, check):
    CHECKS[check](kind(permutation=permutation), sample_crystals())


@pytest.mark.parametrize("kind", [SineMatrix, EwaldSumMatrix])
@pytest.mark.parametrize("permutation", ["eigenspectrum", "none"])
def test_unsorted_matrices_are_continuous(kind, permutation):
    CHECKS["continuity"](kind(permutation=permutation), sample_crystals())


@pytest.mark.parametrize("kind", ALL)
def test_rows_sorted_by_norm_jump(kind):
    # Three-fold axes make rows of equal norm; which comes first, any move decides.
    ring = [[0.1, 0.2, 0.4], [0.4, 0.1, 0.2], [0.2, 0.4, 0.1]]
    coords = [*ring, [0.9, 0.6, 0.7], [0.7, 0.9, 0.6], [0.6, 0.7, 0.9]]
    crystal = Crystals.single(np.eye(3) * 6, coords, [8, 8, 8, 16, 16, 16])
    matrix, rng = kind(max_sites=6), np.random.default_rng(0)
    before, largest = array_of(matrix, crystal), 0.0
    for _ in range(20):
        moved = crystal.frac_coords + rng.normal(0, 1e-7, crystal.frac_coords.shape)
        after = array_of(matrix, Crystals.single(crystal.lattices[0], moved, crystal.numbers))
        largest = max(largest, np.abs(after - before).max())
    assert matrix.continuity == "discontinuous"
    assert largest > 0.1


def test_coulomb_matrix_by_hand():
    crystal = Crystals.single(
        np.diag([4.0, 5, 6]), [[0, 0, 0], [0.5, 0, 0], [0, 0.8, 0]], [3, 9, 1]
    )
    array = array_of(CoulombMatrix(max_sites=4, permutation="none"), crystal)[0]
    wanted = np.zeros((4, 4))
    wanted[:3, :3] = [
        [0.5 * 3**2.4, 27 / 2, 3 / 4],
        [27 / 2, 0.5 * 9**2.4, 9 / np.sqrt(4 + 16)],
        [3 / 4, 9 / np.sqrt(20), 0.5],
    ]
    assert array == pytest.approx(wanted, rel=1e-6)


def test_sine_matrix_by_hand():
    crystal = Crystals.single(np.diag([4.0, 5, 6]), [[0, 0, 0], [0.5, 0.25, 0]], [3, 9])
    array = array_of(SineMatrix(max_sites=2, permutation="none"), crystal)[0]
    phi = np.hypot(4 * 1.0, 5 * 0.5)  # sin²(π/2) = 1, sin²(π/4) = 1/2
    assert array == pytest.approx(
        np.array([[0.5 * 3**2.4, 27 / phi], [27 / phi, 0.5 * 9**2.4]]), rel=1e-6
    )


@pytest.mark.parametrize(
    ("lattice", "coords", "distance", "madelung"),
    [
        ([[0, 1, 1], [1, 0, 1], [1, 1, 0]], [0.5, 0.5, 0.5], 1.0, 1.7475645946331822),
        (np.eye(3), [0.5, 0.5, 0.5], np.sqrt(3) / 2, 1.76267477307099),
        ([[0, 1, 1], [1, 0, 1], [1, 1, 0]], [0.25, 0.25, 0.25], np.sqrt(3) / 2, 1.63805505338879),
    ],
    ids=["NaCl", "CsCl", "ZnS"],
)
def test_ewald_sum_gives_madelung_constants(lattice, coords, distance, madelung):
    crystal = Crystals.single(lattice, [[0, 0, 0], coords], [1, 1])
    ewald = EwaldSumMatrix(max_sites=2, permutation="none", accuracy=1e-12)
    matrix = ewald._matrices(crystal, 2)[0]
    energy = matrix[0, 0] + matrix[1, 1] - matrix[0, 1]
    assert -energy * distance == pytest.approx(madelung, abs=1e-10)


def test_ewald_energy_equals_pymatgen():
    from pymatgen.analysis.ewald import EwaldSummation
    from pymatgen.core import Lattice, Structure

    crystals = sample_crystals()[5:9]
    ewald = EwaldSumMatrix(accuracy=1e-12, permutation="none")
    for crystal, matrix in zip(crystals, array_of(ewald, crystals), strict=True):
        charges = np.where(np.arange(len(crystal.numbers)) % 2, -1.0, 2.0)
        structure = Structure(
            Lattice(crystal.lattices[0]),
            ["H"] * len(charges),
            crystal.frac_coords,
            site_properties={"charge": charges},
        )
        structure.add_oxidation_state_by_site(charges.tolist())
        theirs = EwaldSummation(structure, acc_factor=14)
        scale = crystal.numbers[:, None] * crystal.numbers
        n = len(charges)
        ours = matrix[:n, :n] / scale * np.outer(charges, charges)
        # pymatgen keeps the energy of the background apart, and counts each pair twice.
        energy = np.triu(ours).sum() * EwaldSummation.CONV_FACT
        assert energy == pytest.approx(theirs.total_energy, rel=1e-5, abs=1e-4)


def test_ewald_sum_does_not_depend_on_the_screening():
    crystals = sample_crystals()[:6]
    one, other = (
        EwaldSumMatrix(permutation="none", a=a, r_cut=18.0, g_cut=8.0)._matrices(crystals, 20)
        for a in (0.35, 0.45)
    )
    assert one == pytest.approx(other, rel=1e-9, abs=1e-7)


@pytest.mark.parametrize("permutation", ["none", "eigenspectrum"])
@pytest.mark.parametrize("kind", ALL)
def test_equal_to_dscribe(kind, permutation):
    pytest.importorskip("dscribe")
    crystals = sample_crystals()[[0, 1, 2, 3, 4, 6, 9, 12]]
    more = {"accuracy": 1e-10} if kind is EwaldSumMatrix else {}
    theirs = getattr(dscribe_descriptors(), kind.__name__)(n_atoms_max=20, permutation=permutation)
    wanted = theirs.create(atoms_of(crystals), **more)
    got = array_of(kind(permutation=permutation, **more), crystals).reshape(len(crystals), -1)
    scale = np.abs(wanted).max(axis=1, keepdims=True)
    assert (got - wanted) / scale == pytest.approx(0.0, abs=1e-6)


def test_ewald_cutoffs_are_those_of_dscribe():
    pytest.importorskip("dscribe")
    crystals = sample_crystals()[[1, 4, 5]]
    theirs = dscribe_descriptors().EwaldSumMatrix(n_atoms_max=20, permutation="none")
    for more in ({"accuracy": 1e-2, "w": 3.0}, {"r_cut": 4.0, "g_cut": 3.0, "a": 0.6}):
        wanted = theirs.create(atoms_of(crystals), **more)
        got = array_of(EwaldSumMatrix(permutation="none", **more), crystals).reshape(3, -1)
        assert got == pytest.approx(wanted, rel=1e-5, abs=1e-4 * np.abs(wanted).max())


@pytest.mark.parametrize("kind", ALL)
def test_sorted_equals_dscribe_but_for_rows_of_one_norm(kind):
    pytest.importorskip("dscribe")
    crystals = sample_crystals(60, seed=3)
    more = {"accuracy": 1e-10} if kind is EwaldSumMatrix else {}
    if more:
        crystals = crystals[:12]
    theirs = getattr(dscribe_descriptors(), kind.__name__)(n_atoms_max=20)
    wanted = theirs.create(atoms_of(crystals), **more).reshape(-1, 20, 20)
    got = array_of(kind(**more), crystals)
    compared = 0
    for ours, matrix, n in zip(got, wanted, crystals.n_sites, strict=True):
        norms = np.linalg.norm(matrix[:n], axis=1)
        assert np.linalg.norm(ours[:n], axis=1) == pytest.approx(norms, rel=1e-5)
        if (norms[:-1] - norms[1:] > 1e-9 * norms[0]).all():
            assert ours == pytest.approx(matrix, rel=1e-6, abs=1e-6 * norms[0])
            compared += 1
    assert compared >= 4


@pytest.mark.parametrize("kind", ALL)
def test_rows_of_one_norm_do_not_follow_the_order_of_sites(kind):
    # All eight rows of rock salt's cell fall into two norms.
    crystals = Crystals.concatenate([rock_salt(), rock_salt(4.2, (12, 8))])
    before = array_of(kind(max_sites=8), crystals)
    for seed in range(5):
        after = array_of(kind(max_sites=8), permute_sites(crystals, np.random.default_rng(seed)))
        assert after == pytest.approx(before, rel=1e-5, abs=1e-4)


@pytest.mark.parametrize("permutation", ["sorted_l2", "eigenspectrum", "none"])
@pytest.mark.parametrize("kind", ALL)
def test_rotation_leaves_a_millionth(kind, permutation):
    matrix, crystals = kind(permutation=permutation), sample_crystals()
    before = array_of(matrix, crystals)
    after = array_of(matrix, rotate(crystals, np.random.default_rng(4)))
    scale = np.abs(before).reshape(len(crystals), -1).max(axis=1)
    change = np.abs(after - before).reshape(len(crystals), -1).max(axis=1)
    assert (change / scale).max() < 1e-6


def test_only_the_ewald_sum_belongs_to_the_lattice():
    crystals = sample_crystals()[[1, 5, 9]]
    other = another_cell(crystals, np.random.default_rng(1))
    changes = [
        np.abs(array_of(kind(), other) - array_of(kind(), crystals)).max()
        / np.abs(array_of(kind(), crystals)).max()
        for kind in ALL
    ]
    assert changes[0] > 1e-2
    assert changes[1] > 1e-2
    assert changes[2] < 1e-4


def test_the_coulomb_matrix_ignores_periodicity():
    # Two atoms across a face of the cell: near as images, far apart in the cell.
    crystal = Crystals.single(np.eye(3) * 10, [[0.05, 0, 0], [0.95, 0, 0]], [1, 1])
    coulomb = CoulombMatrix(max_sites=2)
    assert array_of(coulomb, crystal)[0, 0, 1] == pytest.approx(1 / 9)
    moved = shift_origin(crystal, np.random.default_rng(0))
    assert array_of(coulomb, moved)[0, 0, 1] == pytest.approx(1.0)


def test_random_order_follows_seed_and_content():
    crystals = sample_crystals()
    none = array_of(CoulombMatrix(permutation="none"), crystals)
    wide = CoulombMatrix(permutation="random", sigma=1e9)
    array = array_of(wide, crystals)
    assert np.array_equal(array, array_of(wide, crystals))
    for i in (1, 7, 15):
        assert np.array_equal(array[i], array_of(wide, crystals[i])[0])
    other = array_of(CoulombMatrix(permutation="random", sigma=1e9, seed=1), crystals)
    differ = [not np.array_equal(a, b) for a, b in zip(array, other, strict=True)]
    assert sum(differ) > 12
    # The same rows in another order.
    for a, b in zip(array, none, strict=True):
        assert np.sort(np.linalg.norm(a, axis=1)) == pytest.approx(
            np.sort(np.linalg.norm(b, axis=1)), rel=1e-6
        )
    still = array_of(CoulombMatrix(permutation="random", sigma=0.0), crystals)
    norms = np.linalg.norm(still, axis=2)
    assert (np.diff(norms, axis=1) <= 1e-4 * norms[:, :1]).all()


def test_noise_is_normal():
    from crystalcodec.representations.site_matrices.ordering import site_noise

    crystals = sample_crystals(800, seed=5)
    noise = site_noise(crystals, 3)
    n = len(noise)
    assert abs(noise.mean()) < 4 / np.sqrt(n)
    assert abs(noise.std() - 1) < 4 / np.sqrt(2 * n)
    assert len(np.unique(noise)) > 0.99 * n  # lone atoms at the origin may be the same crystal
    assert abs((noise > 1.96).mean() - 0.025) < 4 * np.sqrt(0.025 / n)


@pytest.mark.parametrize("kind", ALL)
def test_too_many_sites_and_sites_at_one_place_are_refused(kind):
    together = Crystals.single(np.eye(3) * 4, [[0.1, 0, 0], [0.5, 0, 0], [0.1, 0, 0]], [1, 2, 3])
    good = sample_crystals()[1]
    crystals = Crystals.concatenate([good, together, sample_crystals()[5].supercell(4)])
    for permutation in PERMUTATIONS:
        matrix = kind(permutation=permutation)
        encoded = matrix.encode(crystals)
        assert [(f.index, f.reason) for f in encoded.failures] == [
            (1, "sites at one place"),
            (2, "too many sites"),
        ]
        assert encoded.index.tolist() == [0]
        assert np.array_equal(encoded[matrix.name], array_of(matrix, good))
        assert tuple(matrix.refuse(crystals)) == encoded.failures


def test_one_atom_has_one_entry():
    alone = Crystals.single(np.eye(3) * 40, [[0.3, 0.3, 0.3]], [2])
    for kind in (CoulombMatrix, SineMatrix):
        for permutation in PERMUTATIONS:
            array = array_of(kind(max_sites=3, permutation=permutation), alone)
            assert array.reshape(-1)[0] == pytest.approx(0.5 * 2**2.4)
            assert not array.reshape(-1)[1:].any()
    # A lattice of charges in their background: -2.837297 / 2 for a unit cube.
    array = array_of(EwaldSumMatrix(max_sites=3, accuracy=1e-10), alone)
    assert array[0, 0, 0] == pytest.approx(-4 * 2.8372974795 / 2 / 40, rel=1e-6)


def test_thin_and_skewed_cells_equal_dscribe():
    pytest.importorskip("dscribe")
    lattice = [[2.0, 0, 0], [7.5, 2.2, 0], [1.0, 9.0, 30.0]]
    crystal = Crystals.single(lattice, [[0.1, 0.2, 0.3], [0.6, 0.7, 0.35]], [8, 22])
    theirs = dscribe_descriptors().EwaldSumMatrix(n_atoms_max=2, permutation="none")
    wanted = theirs.create(atoms_of(crystal), accuracy=1e-8)
    got = array_of(EwaldSumMatrix(max_sites=2, permutation="none", accuracy=1e-8), crystal)
    assert got.reshape(-1) == pytest.approx(wanted.reshape(-1), rel=1e-6)


@pytest.mark.parametrize(
    ("kind", "parameters", "message"),
    [
        (CoulombMatrix, {"max_sites": 0}, "max_sites is 0"),
        (CoulombMatrix, {"max_sites": 2.5}, "max_sites is 2.5"),
        (CoulombMatrix, {"permutation": "sorted"}, "permutation is 'sorted'"),
        (SineMatrix, {"sigma": -1.0}, "sigma is -1.0"),
        (SineMatrix, {"seed": -1}, "seed is -1"),
        (EwaldSumMatrix, {"accuracy": 1.0}, "accuracy is 1.0"),
        (EwaldSumMatrix, {"r_cut": 3.0}, "give r_cut and g_cut"),
        (EwaldSumMatrix, {"a": 0.0}, "a is 0.0"),
    ],
)
def test_wrong_parameters_are_told(kind, parameters, message):
    with pytest.raises(RepresentationError, match=message):
        kind(**parameters)


def test_a_sum_of_too_many_terms_is_refused_before_it_starts():
    sparse = Crystals.single(np.eye(3) * 100, [[0, 0, 0]], [1])
    ewald = EwaldSumMatrix(r_cut=300.0, g_cut=1.0)
    encoded = ewald.encode(Crystals.concatenate([rock_salt(), sparse]))
    assert encoded.index.tolist() == [1]
    (failure,) = encoded.failures
    assert (failure.index, failure.reason) == (0, "too many terms")
    assert "r_cut" in failure.detail


def test_names_tell_rows_and_eigenvalues():
    assert CoulombMatrix(max_sites=2).feature_names()[2] == "coulomb_matrix row 1 column 0"
    names = SineMatrix(max_sites=2, permutation="eigenspectrum").feature_names()
    assert names == ("sine_matrix eigenvalue 0", "sine_matrix eigenvalue 1")
