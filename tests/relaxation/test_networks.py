"""CHGNet and SevenNet in batches against their own packages, and against differences of energy."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest

from crystalcodec.crystals import Crystals
from crystalcodec.io import to_ase, to_pymatgen
from crystalcodec.relaxation import load_potential, relax
from crystalcodec.relaxation.edges import strains_of
from crystalcodec.representations.neighbors import neighbors_within

FCC = np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
SEVENNET = "sevennet-0-11jul2024"


def _some():
    """Skew, left-handed, of one site, with bonds and without, every site off its place."""
    rng = np.random.default_rng(0)
    crystals = [
        Crystals.single(5.64 * FCC, [[0, 0, 0], [0.48, 0.51, 0.53]], [11, 17]),
        Crystals.single(3.7 * FCC, [[0, 0, 0]], [29]),
        Crystals.single(
            [[-3.9, 0, 0], [0.3, 4.0, 0], [7.6, 0.1, 4.1]],
            np.array([[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
            + rng.normal(size=(5, 3)) * 0.02,
            [38, 22, 8, 8, 8],
        ),
        Crystals.single(4.5 * np.eye(3), [[0, 0, 0]], [55]),
    ]
    return Crystals.concatenate(crystals)


SOME = _some()
chgnet = pytest.mark.skipif(not find_spec("chgnet"), reason="chgnet is not installed")
sevennet = pytest.mark.skipif(not find_spec("sevenn"), reason="sevenn is not installed")
CHGNET = pytest.param("chgnet-0.3.0", marks=chgnet)
BOTH = [CHGNET, pytest.param(SEVENNET, marks=sevennet)]
quietly = pytest.mark.filterwarnings(
    "ignore:Converting a tensor:UserWarning", "ignore::DeprecationWarning"
)


@chgnet
@quietly
@pytest.mark.parametrize("version", ["0.3.0", "r2scan"])
def test_chgnet_is_the_package_s(version):
    from chgnet.model import CHGNet

    found = load_potential(f"chgnet-{version}").evaluate(SOME)
    assert not found.failures
    peer = CHGNet.load(model_name=version, use_device="cpu", verbose=False)
    for i, structure in enumerate(to_pymatgen(SOME)):
        rows = slice(*SOME.offsets[i : i + 2])
        expected = peer.predict_structure(structure, task="efs")
        energy = float(expected["e"]) * len(structure)
        assert found.energies[i] == pytest.approx(energy, abs=1e-5 * len(structure))
        np.testing.assert_allclose(found.forces[rows], expected["f"], atol=2e-4)
        # The package divides by a volume that is negative for a left-handed cell.
        hand = np.sign(np.linalg.det(SOME.lattices[i]))
        stress = hand * expected["s"] / 160.21766208
        np.testing.assert_allclose(found.stresses[i], stress, atol=1e-5)


@sevennet
@quietly
def test_sevennet_is_the_package_s():
    from sevenn.calculator import SevenNetCalculator

    found = load_potential(SEVENNET).evaluate(SOME)
    assert not found.failures
    with pytest.warns(UserWarning, match="tensor product"):
        peer = SevenNetCalculator("7net-0_11july2024", device="cpu")
    for i, atoms in enumerate(to_ase(SOME)):
        atoms.calc = peer
        rows = slice(*SOME.offsets[i : i + 2])
        energy = atoms.get_potential_energy()
        assert found.energies[i] == pytest.approx(energy, abs=1e-5 * len(atoms))
        np.testing.assert_allclose(found.forces[rows], atoms.get_forces(), atol=1e-4)
        np.testing.assert_allclose(found.stresses[i], atoms.get_stress(voigt=False), atol=1e-5)


@quietly
@pytest.mark.parametrize("name", BOTH)
def test_forces_and_stresses_are_slopes_of_the_energy(name):
    potential = load_potential(name)
    crystal = SOME[2]
    found = potential.evaluate(crystal)
    step = 0.01
    rng = np.random.default_rng(1)
    move = rng.normal(size=(5, 3))
    strain = rng.normal(size=(3, 3)) * 0.3
    strain = (strain + strain.T) / 2
    moved = [
        Crystals.single(
            crystal.lattices[0],
            crystal.to_fractional(crystal.cart_coords + sign * step * move),
            crystal.numbers,
        )
        for sign in (1, -1)
    ]
    strained = [
        Crystals.single(
            crystal.lattices[0] @ (np.eye(3) + sign * step * strain),
            crystal.frac_coords,
            crystal.numbers,
        )
        for sign in (1, -1)
    ]
    energies = potential.evaluate(Crystals.concatenate([*moved, *strained])).energies
    along = (energies[0] - energies[1]) / (2 * step)
    assert along == pytest.approx(-(found.forces * move).sum(), rel=0.01, abs=0.02)
    virial = (energies[2] - energies[3]) / (2 * step)
    expected = (found.stresses[0] * strain).sum() * crystal.volumes[0]
    assert virial == pytest.approx(expected, rel=0.01, abs=0.02)
    np.testing.assert_allclose(found.forces.sum(axis=0), 0, atol=1e-4)


@quietly
@pytest.mark.parametrize("name", BOTH)
def test_a_batch_is_its_crystals(name):
    potential = load_potential(name)
    whole = potential.evaluate(SOME)
    potential.most_pairs, before = 1, potential.most_pairs
    parts = potential.evaluate(SOME)
    potential.most_pairs = before
    np.testing.assert_allclose(parts.energies, whole.energies, atol=2e-5)
    np.testing.assert_allclose(parts.forces, whole.forces, atol=2e-4)
    np.testing.assert_allclose(parts.stresses, whole.stresses, atol=1e-5)
    none = potential.evaluate(Crystals.empty())
    assert none.energies.shape == (0,)
    assert none.forces.shape == (0, 3)


@quietly
@pytest.mark.parametrize("name", BOTH)
def test_what_a_network_cannot_take_is_counted(name):
    one = Crystals.single
    junk = Crystals.concatenate(
        [
            one(np.eye(3) * 100, [[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17]),  # 1e6 Å3
            one(np.eye(3) * 4, [[0, 0, 0]], [118]),
            one(np.eye(3) * 0.5, np.random.default_rng(0).random((20, 3)), [6] * 20),
            one(np.eye(3) * 4, [[0, 0, 0], [0, 0, 0]], [11, 17]),  # one place
            SOME[1],
        ]
    )
    found = load_potential(name).evaluate(junk)
    assert {one.index: one.reason for one in found.failures} == {
        0: "isolated atoms",
        1: "element without weights",
        2: "too many neighbours",
        3: "energy not finite",
    }
    assert np.isfinite(found.energies).tolist() == [False] * 4 + [True]
    alone = load_potential(name).evaluate(SOME[1])
    assert found.energies[4] == pytest.approx(alone.energies[0], abs=1e-5)
    np.testing.assert_allclose(found.stresses[4], alone.stresses[0], atol=1e-5)
    assert np.isnan(found.forces[:-1]).all()


@quietly
@pytest.mark.parametrize("name", [CHGNET])
def test_relaxed_energies_are_those_of_ase_s_optimiser(name):
    from ase.calculators.calculator import Calculator
    from ase.filters import FrechetCellFilter
    from ase.optimize import BFGS

    from crystalcodec.io import from_ase

    potential = load_potential(name)

    class Same(Calculator):
        implemented_properties = ("energy", "forces", "stress")

        def calculate(self, atoms=None, properties=None, system_changes=None):
            super().calculate(atoms, properties or ["energy"], system_changes or [])
            found = potential.evaluate(from_ase(atoms))
            stress = found.stresses[0][[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
            self.results = {
                "energy": found.energies[0],
                "forces": found.forces,
                "stress": stress,
            }

    crystals = SOME[:2]
    found = relax(crystals, potential, max_force=0.01, max_stress=0.05)
    assert found.converged.all()
    for i, atoms in enumerate(to_ase(crystals)):
        atoms.calc = Same()
        BFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=0.005, steps=200)
        energy = atoms.get_potential_energy() / len(atoms)
        assert found.energies[i] == pytest.approx(energy, abs=5e-4)
        assert found.crystals.volumes[i] == pytest.approx(atoms.get_volume(), rel=0.01)


def test_a_batch_that_fails_does_not_take_others_with_it():
    from crystalcodec.relaxation.networks import NetworkPotential, Slopes

    class Fragile(NetworkPotential):
        name, cutoff, most_pairs, elements = "fragile", 4.0, 10_000, np.ones(119, bool)

        def slopes(self, crystals, pairs):
            if (crystals.numbers == 92).any():
                raise RuntimeError("not this one")
            return Slopes(np.ones(len(crystals)), np.zeros((len(pairs), 3)))

    crystals = Crystals.concatenate(
        [Crystals.single(3 * np.eye(3), [[0, 0, 0]], [z]) for z in (1, 2, 92, 4, 5)]
    )
    found = Fragile().evaluate(crystals)
    assert [(one.index, one.reason) for one in found.failures] == [(2, "potential failed")]
    assert found.energies[[0, 1, 3, 4]].tolist() == [1] * 4


def test_slopes_of_springs_by_hand():
    # One spring of stiffness 1 to each image at 3 Å, of length 2 Å: energy 6/2 x 1/2 (3 - 2)^2.
    crystal = Crystals.single(3 * np.eye(3), [[0, 0, 0]], [84])
    pairs = neighbors_within(crystal, 3.5, order="site")
    slopes = 0.5 * (pairs.distances - 2)[:, None] * pairs.vectors / pairs.distances[:, None]
    found = strains_of(crystal, pairs, slopes)
    np.testing.assert_allclose(found.forces, 0, atol=1e-12)
    # Of 3 springs d/de 1/2 (3 (1 + e) - 2)^2 = 3 along each axis, over 27 Å3.
    np.testing.assert_allclose(found.stresses[0], np.eye(3) * 3 / 27, atol=1e-12)
