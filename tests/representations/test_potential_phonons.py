"""Vibrations against springs whose frequencies are known, other programs, and all symmetry."""

from __future__ import annotations

import sys
from importlib.util import find_spec

import numpy as np
import pytest
from scipy import constants as physics

from crystalcodec.crystals import Crystals
from crystalcodec.elements import ATOMIC_MASSES
from crystalcodec.io import to_ase, to_pymatgen
from crystalcodec.registry import MissingExtraError
from crystalcodec.representations.base import RepresentationError
from crystalcodec.representations.potential_phonons import PotentialPhonons, features, spectra
from crystalcodec.representations.potential_phonons import force_constants as constants_of
from crystalcodec.representations.potential_phonons.cells import smallest_cell
from crystalcodec.representations.potential_phonons.forces import load_force_field
from crystalcodec.representations.potential_phonons.relaxation import relaxed
from crystalcodec.representations.potentials import one_thread

FCC = np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
SALT = Crystals.single(5.64 * FCC, [[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17])
COPPER = Crystals.single(3.6 * FCC, [[0, 0, 0]], [29])
PEROVSKITE = Crystals.single(
    3.905 * np.eye(3),
    [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]],
    [38, 22, 8, 8, 8],
)
WURTZITE = Crystals.single(
    [[3.25, 0, 0], [-1.625, 1.625 * 3**0.5, 0], [0, 0, 5.2]],
    [[1 / 3, 2 / 3, 0], [2 / 3, 1 / 3, 0.5], [1 / 3, 2 / 3, 0.382], [2 / 3, 1 / 3, 0.882]],
    [30, 30, 8, 8],
)
LOW = Crystals.single(
    [[4.1, 0.2, 0], [0.3, 4.6, 0.4], [-0.2, 0.5, 5.0]],
    [[0.02, 0.05, 0.01], [0.48, 0.55, 0.1], [0.6, 0.1, 0.55]],
    [20, 8, 16],
)
SEVENNET = "sevennet-0-11jul2024"

chgnet = pytest.mark.skipif(not find_spec("chgnet"), reason="chgnet is not installed")
sevennet = pytest.mark.skipif(not find_spec("sevenn"), reason="sevenn is not installed")


def pair_forces(crystal, cutoff=5.0):
    """Forces of a smooth pair potential that depends on the elements, image by image."""
    steps = np.stack(np.meshgrid(*[np.arange(-3, 4)] * 3, indexing="ij"), -1).reshape(-1, 3)
    shifts = steps @ crystal.lattices[0]
    depth = np.sqrt(crystal.numbers[:, None] * crystal.numbers)[:, :, None] / 10

    def forces(moves):
        found = []
        for move in moves:
            places = crystal.cart_coords + move
            apart = places[None, :, None] + shifts - places[:, None, None]
            distance = np.linalg.norm(apart, axis=-1)
            near = (distance > 0.1) & (distance < cutoff)
            safe = np.where(near, distance, 1.0)
            slope = depth * np.where(near, (1 - safe / cutoff) ** 3 * (safe - 2.4), 0)
            found.append((slope[..., None] * apart / safe[..., None]).sum(axis=(1, 2)))
        return np.array(found)

    return forces


def spring_constants(crystal, repeats, length, strength):
    """Isotropic springs of one length, as force constants of a supercell."""
    n, cells = len(crystal.numbers), np.array([*np.ndindex(*repeats)])
    found = np.zeros((n, n, len(cells), 3, 3))
    steps = np.array([*np.ndindex(5, 5, 5)]) - 2
    for i in range(n):
        for j in range(n):
            apart = crystal.frac_coords[j] + steps - crystal.frac_coords[i]
            near = np.abs(np.linalg.norm(apart @ crystal.lattices[0], axis=1) - length) < 1e-3
            for step in steps[near] % repeats:
                cell = int(np.flatnonzero((cells == step).all(axis=1))[0])
                found[i, j, cell] -= strength * np.eye(3)
                found[i, i, 0] += strength * np.eye(3)
    return found


@pytest.mark.parametrize("repeats", [(2, 2, 2), (3, 3, 3)])
def test_frequencies_of_springs_are_the_known_ones(repeats):
    strength, repeats = 3.0, np.array(repeats)
    constants = spring_constants(SALT, repeats, 2.82, strength)
    points = np.random.default_rng(0).random((7, 3))
    weights = np.full(7, 1 / 7)
    found = spectra.vibrations(SALT, repeats, constants, points, weights).frequencies
    # Six springs at each atom; neighbours at +- a/2 along the axes, in Cartesian wave vectors.
    waves = 2 * np.pi * points @ np.linalg.inv(SALT.lattices[0]).T
    coupling = 2 * strength * np.cos(2.82 * waves).sum(axis=1)
    first, second = ATOMIC_MASSES[[11, 17]]
    mean = 3 * strength * (1 / first + 1 / second)
    root = np.sqrt(mean**2 - (36 * strength**2 - coupling**2) / (first * second))
    squares = np.stack([mean - root, mean + root], axis=1).repeat(3, axis=1)
    unit = physics.e / 1e-20 / physics.atomic_mass
    expected = np.sqrt(squares * unit) / (2 * np.pi * physics.c * 100)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_spring_that_pushes_gives_a_negative_number():
    assert spectra.wavenumbers(np.array([-4.0, 0, 1])) == pytest.approx(
        [-1042.9418, 0, 521.4709], rel=1e-6
    )


@pytest.mark.parametrize(
    ("crystal", "repeats", "n_forces"),
    [
        (SALT, (2, 2, 2), 2),
        (PEROVSKITE, (1, 1, 1), 3),  # one an element: a turned diagonal spans space
        (WURTZITE, (2, 2, 1), 4),  # one an element, there and back
        (LOW, (1, 1, 2), 18),
    ],
    ids=["salt", "perovskite", "wurtzite", "low"],
)
def test_symmetry_gives_what_all_displacements_give(crystal, repeats, n_forces):
    repeats = np.array(repeats)
    cell, rotations, translations = smallest_cell(crystal, 0.01)
    forces = pair_forces(cell.supercell(repeats))
    identity = np.eye(3, dtype=int)[None], np.zeros((1, 3))
    found = []
    for operations in ((rotations, translations), identity):
        symmetry = constants_of.find_symmetry(cell, repeats, *operations)
        found.append(constants_of.force_constants(cell, repeats, symmetry, 0.01, forces))
    (few, n_few), (every, n_every) = found
    assert n_every == 6 * len(cell.numbers)
    assert n_few == n_forces
    np.testing.assert_allclose(few, every, atol=1e-4 * np.abs(every).max())
    # A shift of all atoms costs nothing, and action is reaction.
    np.testing.assert_allclose(few.sum(axis=(1, 2)), 0, atol=1e-9 * np.abs(few).max())
    own = few[0, 0, 0]
    np.testing.assert_allclose(own, own.T, atol=1e-6 * np.abs(own).max())


def test_operations_that_the_supercell_lacks_are_left_out():
    repeats = np.array([2, 1, 1])
    cell, rotations, translations = smallest_cell(PEROVSKITE, 0.01)
    symmetry = constants_of.find_symmetry(cell, repeats, rotations, translations)
    assert len(rotations) == 48
    assert len(symmetry.turns) == 16
    assert all(abs(turn[0, 0]) == pytest.approx(1) for turn in symmetry.turns)
    forces = pair_forces(cell.supercell(repeats))
    found, _ = constants_of.force_constants(cell, repeats, symmetry, 0.01, forces)
    none = constants_of.find_symmetry(cell, repeats, np.eye(3, dtype=int)[None], np.zeros((1, 3)))
    every, _ = constants_of.force_constants(cell, repeats, none, 0.01, forces)
    np.testing.assert_allclose(found, every, atol=1e-4 * np.abs(every).max())


def test_the_smallest_cell_is_the_same_crystal():
    cell, rotations, _ = smallest_cell(SALT.supercell([[2, 1, 0], [0, 1, 0], [0, 1, 3]]), 0.01)
    assert sorted(cell.numbers) == [11, 17]
    assert cell.volumes[0] == pytest.approx(SALT.volumes[0])
    assert np.linalg.norm(cell.lattices[0], axis=1) == pytest.approx([5.64 / 2**0.5] * 3)
    assert len(rotations) == 48
    flat = Crystals.single([[0.3, 0, 0], [0, 5, 0], [0, 0, 5]], [[0, 0, 0]], [1])
    cell, rotations, _ = smallest_cell(flat, 0.01)  # no symmetry is sought in it
    assert len(rotations) == 1
    assert cell.volumes[0] == pytest.approx(7.5)


def test_wave_vectors_stand_for_the_whole_zone():
    points, weights = spectra.wave_vectors(np.diag([3.0, 6.0, 5.0]), 1 / 12)
    assert points[0].tolist() == [0, 0, 0]
    assert weights.sum() == pytest.approx(1)
    grid = np.array([*np.ndindex(4, 2, 3)]) / [4, 2, 3]
    wave = np.cos(2 * np.pi * grid @ [1, 0, 2]) + np.cos(2 * np.pi * grid @ [1, 1, 1]) ** 2
    part = np.cos(2 * np.pi * points @ [1, 0, 2]) + np.cos(2 * np.pi * points @ [1, 1, 1]) ** 2
    assert weights @ part == pytest.approx(wave.mean())


def test_numbers_of_a_known_spectrum():
    frequencies = np.array([[0.0, 0, 0, 100, 100, 200], [-50.0, 50, 50, 100, 150, 300]])
    shares = np.zeros((2, 6, 2))
    shares[:, :3, 0] = shares[:, 3:, 1] = 1
    spectrum = spectra.Spectrum(frequencies, shares, np.array([0.25, 0.75]))
    crystal = Crystals.single(4 * np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]], [16, 8])
    constants = np.zeros((2, 2, 1, 3, 3))
    constants[0, 0, 0] = constants[1, 1, 0] = 2 * np.eye(3)
    numbers = dict(
        zip(features.SUMMARY, features.summary(crystal, constants, spectrum), strict=True)
    )
    assert numbers["maximum"] == 300
    assert numbers["maximum at the zone centre"] == 200
    assert numbers["minimum"] == -50
    assert numbers["mean"] == pytest.approx(0.25 * 400 / 6 + 0.75 * 600 / 6)
    assert numbers["mean imaginary"] == pytest.approx(0.75 * -50 / 6)
    power = (0.25 * (2 + 2**8) / 6 + 0.75 * (2 * 0.5**8 + 1 + 1.5**8 + 3**8) / 6) ** (1 / 8) * 100
    assert numbers["power mean 8"] == pytest.approx(power)
    assert numbers["lightest element, mean"] == pytest.approx(0.25 * 400 / 3 + 0.75 * 550 / 3)
    assert numbers["heaviest element, mean"] == pytest.approx(0.75 * 50 / 3)
    alone = 521.4709 * np.sqrt(2 / ATOMIC_MASSES[[8, 16]])
    assert numbers["highest site frequency"] == pytest.approx(alone[0])
    assert numbers["lowest site frequency"] == pytest.approx(alone[1])
    assert numbers["heaviest element, site frequency"] == pytest.approx(alone[1])
    assert features.stiffnesses(constants).tolist() == [2, 2, 2]
    slices = dict(zip(features.EDGES[1:], features.slices(spectrum), strict=True))
    assert slices[0.05] == pytest.approx(-50)
    assert slices[1.0] == pytest.approx(300)
    # Shares below 0: 0.125; at 0: to 0.25; at 50: to 0.5; at 100: to 0.7083.
    assert [slices[edge] for edge in (0.2, 0.3, 0.7)] == pytest.approx([0, 50, 100])
    assert slices[0.15] == pytest.approx(-25)
    assert np.diff(features.EDGES) @ features.slices(spectrum) == pytest.approx(numbers["mean"])
    axis = np.linspace(-500, 1000, 301)
    assert features.density(spectrum, axis, 20.0).sum() == pytest.approx(1)


@chgnet
@pytest.mark.filterwarnings("ignore:Converting a tensor:UserWarning")  # in CHGNet's own code
def test_forces_are_chgnet_s():
    from chgnet.model import CHGNet

    moves = np.random.default_rng(0).normal(0, 0.02, (3, 5, 3))
    with one_thread(gradients=True):
        found = load_force_field("chgnet-0.3.0").forces(PEROVSKITE)(moves)
    peer = CHGNet.load(use_device="cpu", verbose=False)
    inverse = np.linalg.inv(PEROVSKITE.lattices[0])
    for move, forces in zip(moves, found, strict=True):
        coords = PEROVSKITE.frac_coords + move @ inverse
        moved = Crystals.single(PEROVSKITE.lattices[0], coords, PEROVSKITE.numbers)
        expected = peer.predict_structure(to_pymatgen(moved)[0], task="ef")["f"]
        np.testing.assert_allclose(forces, expected, atol=2e-4)


@sevennet
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.jit in sevenn and e3nn
@pytest.mark.parametrize(
    ("model", "name"), [(SEVENNET, "7net-0_11july2024"), ("sevennet-l3i5", "7net-l3i5")]
)
def test_forces_are_sevennet_s(model, name):
    from sevenn.calculator import SevenNetCalculator

    moves = np.random.default_rng(0).normal(0, 0.02, (2, 2, 3))
    with one_thread(gradients=True):
        found = load_force_field(model).forces(SALT)(moves)
    with pytest.warns(UserWarning, match="tensor product"):
        peer = SevenNetCalculator(name, device="cpu")
    for move, forces in zip(moves, found, strict=True):
        atoms = to_ase(SALT)[0]
        atoms.positions += move
        atoms.calc = peer
        np.testing.assert_allclose(forces, atoms.get_forces(), atol=2e-4)


def test_frequencies_are_those_of_ase(tmp_path):
    from ase.calculators.calculator import Calculator
    from ase.phonons import Phonons

    repeats = np.array([3, 3, 1])  # odd: of even ones it makes no symmetric matrix
    cell, rotations, translations = smallest_cell(SALT, 0.01)
    symmetry = constants_of.find_symmetry(cell, repeats, rotations, translations)
    forces = pair_forces(cell.supercell(repeats))
    atoms = to_ase(cell)[0]
    start = atoms.repeat(repeats).positions
    # Its supercell has the cells in the outer loop, ours the sites.
    order = np.arange(18).reshape(9, 2).T.ravel()

    class Peer(Calculator):
        implemented_properties = ("forces",)

        def calculate(self, atoms, properties, changes):
            found = np.zeros((18, 3))
            found[order] = forces((atoms.positions - start)[order][None])[0]
            self.results = {"forces": found}

    peer = Phonons(atoms, Peer(), supercell=(3, 3, 1), delta=0.002, name=str(tmp_path / "phonons"))
    peer.run()
    constants, n_forces = constants_of.force_constants(cell, repeats, symmetry, 0.002, forces)
    assert n_forces < 12
    peer.read(acoustic=True)
    points = np.array([[0, 0, 0], [1 / 3, 1 / 3, 0], [2 / 3, 1 / 3, 0], [0, 1 / 3, 0]])
    energies = np.sort(peer.band_structure(points, verbose=False))
    expected = energies * physics.e / (physics.h * physics.c * 100)
    found = spectra.vibrations(cell, repeats, constants, points, np.full(4, 1 / 4)).frequencies
    assert found.max() > 40
    np.testing.assert_allclose(found, expected, atol=0.02)


@pytest.mark.parametrize(
    "model",
    [
        pytest.param("chgnet-0.3.0", marks=chgnet),
        pytest.param(SEVENNET, marks=sevennet),
    ],
)
def test_the_same_however_a_crystal_is_given(model):
    representation = PotentialPhonons(model=model, min_length=3.5)
    batch = Crystals.concatenate([SALT, COPPER, PEROVSKITE])
    before = representation.encode(batch)["potential_phonons"]
    for i, crystal in enumerate(batch):
        assert np.array_equal(representation.encode(crystal)["potential_phonons"][0], before[i])
    turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    order = [3, 1, 0, 4, 2]
    turned = Crystals.single(
        PEROVSKITE.lattices[0] @ turn,
        PEROVSKITE.frac_coords[order] + 0.3,
        PEROVSKITE.numbers[order],
    )
    others = [
        turned,
        PEROVSKITE.supercell([1, 1, 2]),
        PEROVSKITE.supercell([[1, 1, 0], [0, 1, 0], [0, -1, 1]]),
    ]
    after = representation.encode(Crystals.concatenate(others))["potential_phonons"]
    for field in representation.fields:
        one = before[2][field.where]
        other = after[(slice(None), *field.where)]
        np.testing.assert_allclose(other, np.tile(one, (3, 1)), atol=2e-3 * np.abs(one).max())
    assert not np.allclose(before[0], before[1], rtol=0.05)


@chgnet
def test_sites_are_carried_to_where_no_force_is():
    pushed = Crystals.single(
        PEROVSKITE.lattices[0],
        PEROVSKITE.frac_coords + np.array([[0, 0, 0.02], [0, 0, -0.01], *[[0, 0, 0]] * 3]),
        PEROVSKITE.numbers,
    )
    forces = load_force_field("chgnet-0.3.0").forces(pushed)
    with one_thread(gradients=True):
        assert np.abs(forces(np.zeros((1, 5, 3)))).max() > 0.1
        settled = relaxed(pushed, forces)
        left = load_force_field("chgnet-0.3.0").forces(settled)(np.zeros((1, 5, 3)))
    assert np.abs(left).max() < 0.01
    assert np.array_equal(settled.lattices, pushed.lattices)
    plain, at_rest = (PotentialPhonons(relax=way, min_length=0.0) for way in (False, True))
    assert not np.allclose(
        plain.encode(pushed)["potential_phonons"], at_rest.encode(pushed)["potential_phonons"]
    )


@chgnet
def test_crystals_that_cannot_be_taken_are_failures():
    unknown = Crystals.single(4 * np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]], [96, 8])
    alone = Crystals.single(20 * np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5], [0.55, 0.5, 0.5]], [2] * 3)
    crystals = Crystals.concatenate([unknown, SALT, PEROVSKITE, alone, COPPER])
    representation = PotentialPhonons(max_sites=3, min_length=0.0)
    encoded = representation.encode(crystals)
    assert encoded.index.tolist() == [1, 4]
    assert np.isfinite(encoded["potential_phonons"]).all()
    assert [(f.index, f.reason) for f in encoded.failures] == [
        (0, "element without weights"),
        (2, "too many sites"),
        (3, "isolated atom"),
    ]
    assert [f.index for f in representation.refuse(crystals)] == [0, 2, 3]
    with pytest.raises(RepresentationError, match="too many sites: 5 in the primitive cell"):
        representation.phonons(PEROVSKITE)
    with pytest.raises(RepresentationError, match="knows no Cm"):
        representation.phonons(unknown)
    with pytest.raises(RepresentationError, match="5 crystals, wanted one"):
        representation.phonons(crystals)


def test_a_missing_package_is_told_with_its_extra(monkeypatch):
    load_force_field.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "chgnet"]:
        monkeypatch.delitem(sys.modules, name)

    class Gone:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] == "chgnet":
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(sys, "meta_path", [Gone(), *sys.meta_path])
    representation = PotentialPhonons()
    with pytest.raises(MissingExtraError, match=r"crystalcodec\[mlip\]"):
        representation.encode(SALT)
    # Shapes, names and sizes need no package, and none is asked for by an empty batch.
    assert representation.shapes() == {"potential_phonons": (105,)}
    names = representation.feature_names()
    assert len(set(names)) == representation.length == 105
    assert names[20] == "slice 0 to 0.05"
    assert names[102:] == ("stiffness maximum", "stiffness mean", "stiffness minimum")
    assert representation.n_bytes(SALT) == 4 * 105


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"model": "chgnet"}, "chgnet-0.3.0 or chgnet-r2scan or sevennet"),
        ({"displacement": 0.0}, "displacement is 0.0, wanted a positive number"),
        ({"min_length": -1.0}, "min_length is -1.0, wanted 0 or more"),
        ({"max_sites": 0}, "max_sites is 0"),
        ({"n_points": 1}, "n_points is 1, wanted at least 2"),
        ({"relax": 1}, "relax is 1, wanted true or false"),
        ({"broadening": float("nan")}, "broadening is nan"),
    ],
)
def test_wrong_parameters_are_told(parameters, message):
    with pytest.raises(RepresentationError, match=message):
        PotentialPhonons(**parameters)
