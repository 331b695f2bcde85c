"""Relaxation against minima known exactly, ASE's own optimisers, and potentials that misbehave."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS

from crystalcodec.crystals import Crystals
from crystalcodec.data import Dataset
from crystalcodec.failures import Failure
from crystalcodec.io import read, to_ase
from crystalcodec.relaxation import ASEPotential, Potential, PotentialError, load_potential, relax
from crystalcodec.relaxation.base import Evaluated
from crystalcodec.relaxation.descent import Descent, Place
from crystalcodec.relaxation.lbfgs import Memory
from crystalcodec.relaxation.relaxing import displacements

FCC = np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
CUBIC = [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]
SIGMA, EPSILON, REACH = 3.0, 0.4, 1.3
EMT_NAME = "ase:ase.calculators.emt:EMT"


def shaken(seed, numbers=(29, 29, 29, 79), a=3.8):
    rng = np.random.default_rng(seed)
    strain = rng.normal(size=(3, 3)) * 0.03
    lattice = a * (np.eye(3) + (strain + strain.T) / 2)
    return Crystals.single(lattice, CUBIC + rng.normal(size=(4, 3)) * 0.1 / a, numbers)


def lennard_jones():
    """Nearest neighbours alone are within reach of one another."""
    return LennardJones(sigma=SIGMA, epsilon=EPSILON, rc=REACH * SIGMA)


def test_lennard_jones_is_at_the_bottom_of_its_pair_energy():
    crystals = Crystals.single(4.6 * FCC, [[0, 0, 0]], [18])
    found = relax(crystals, ASEPotential(lennard_jones, "lj"), max_stress=1e-4)
    # r = 2^(1/6) sigma; six pairs an atom, their energy counted from that at the cut-off.
    nearest = np.linalg.norm(found.crystals.lattices[0, 0])
    at_the_end = 4 * EPSILON * (REACH**-12 - REACH**-6)
    assert found.converged.all()
    assert nearest == pytest.approx(2 ** (1 / 6) * SIGMA, rel=1e-6)
    assert found.energies[0] == pytest.approx(6 * (-EPSILON - at_the_end), abs=1e-8)
    assert found.volume_changes[0] == pytest.approx(
        np.sqrt(2) * SIGMA**3 / np.sqrt(2) / (4.6**3 / 4) - 1, rel=1e-5
    )
    assert found.rmsds[0] == 0
    assert found.max_stresses[0] < 1e-4


def test_minima_are_those_of_ase():
    crystals = Crystals.concatenate([shaken(0), shaken(1, (46, 28, 28, 46)), shaken(2, (13,) * 4)])
    found = relax(crystals, EMT_NAME, max_force=1e-3, max_stress=1e-2)
    assert found.converged.all()
    for i, atoms in enumerate(to_ase(crystals)):
        atoms.calc = EMT()
        before = atoms.get_potential_energy()
        BFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=1e-3, steps=500)
        assert found.initial_energies[i] == pytest.approx(before / 4)
        assert found.energies[i] == pytest.approx(atoms.get_potential_energy() / 4, abs=1e-5)
        assert found.crystals.volumes[i] == pytest.approx(atoms.get_volume(), rel=1e-3)
        again = to_ase(found.crystals[i])[0]
        again.calc = EMT()
        assert found.energies[i] * 4 == pytest.approx(again.get_potential_energy(), abs=1e-8)
        force = np.linalg.norm(again.get_forces(), axis=1).max()
        assert found.max_forces[i] == pytest.approx(force, abs=1e-8)
        assert force < 1e-3
        stress = np.abs(again.get_stress()).max() * 160.21766208
        assert found.max_stresses[i] == pytest.approx(stress, abs=1e-6)
        assert stress < 1e-2


def test_a_crystal_is_relaxed_as_if_it_were_alone():
    crystals = Crystals.concatenate([shaken(i) for i in range(5)])
    together = relax(crystals, EMT_NAME)
    for i, crystal in enumerate(crystals):
        alone = relax(crystal, EMT_NAME)
        assert alone.n_steps[0] == together.n_steps[i]
        assert alone.energies[0] == pytest.approx(together.energies[i], abs=1e-10)
        np.testing.assert_allclose(
            alone.crystals.lattices[0], together.crystals.lattices[i], atol=1e-8
        )


def test_more_than_fit_at_once_come_in_one_after_another(monkeypatch):
    crystals = Crystals.concatenate([shaken(i % 3) for i in range(7)])
    whole = relax(crystals, EMT_NAME)
    monkeypatch.setattr("crystalcodec.relaxation.relaxing._SITES", 9)
    seen = []
    parts = relax(crystals, EMT_NAME, progress=lambda done, of: seen.append((done, of)))
    np.testing.assert_allclose(parts.energies, whole.energies, atol=1e-10)
    assert parts.n_steps.tolist() == whole.n_steps.tolist()
    assert seen[-1] == (7, 7)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_a_fixed_cell_stays():
    crystals = shaken(3)
    found = relax(crystals, EMT_NAME, cell=False, max_force=1e-3)
    np.testing.assert_array_equal(found.crystals.lattices, crystals.lattices)
    assert found.converged[0]
    assert found.volume_changes[0] == 0
    assert found.max_stresses[0] > 0.5  # told, though it does not count
    assert found.energies[0] < found.initial_energies[0]


def test_without_steps_crystals_are_labelled_as_they_are():
    crystals = shaken(0)
    found = relax(crystals, EMT_NAME, max_steps=0)
    assert found.n_steps.tolist() == [0]
    assert not found.converged[0]
    assert found.energies[0] == found.initial_energies[0]
    np.testing.assert_allclose(found.crystals.frac_coords, crystals.frac_coords)
    few = relax(crystals, EMT_NAME, max_steps=2)
    assert few.n_steps.tolist() == [2]
    assert not few.converged[0]
    assert few.energies[0] < found.energies[0]


def test_displacements_by_hand():
    lattice = np.diag([4.0, 5.0, 6.0])
    before = Crystals.single(lattice, [[0.05, 0, 0], [0.5, 0.5, 0.5]], [1, 1])
    # One site goes 0.4 Å down through the face of the cell, and then both go up by 0.1 Å.
    after = Crystals.single(lattice, [[0.975, 0, 0], [0.525, 0.5, 0.5]], [1, 1])
    # Without the shift of both, -0.15 Å: 0.2 Å each.
    assert displacements(before, before)[0] == 0
    assert displacements(before, after)[0] == pytest.approx(0.2)
    # In the mean of cells of 4 and 5 Å.
    longer = Crystals.single(np.diag([5.0, 5.0, 6.0]), after.frac_coords, [1, 1])
    assert displacements(before, longer)[0] == pytest.approx(0.05 * 4.5)
    assert displacements(Crystals.empty(), Crystals.empty()).shape == (0,)


class Odd(Potential):
    """Each element misbehaves in its own way."""

    name = "odd"
    elements = np.ones(119, bool)

    def __init__(self):
        self.calls = 0

    def evaluate(self, crystals):
        self.calls += 1
        n, numbers = len(crystals), crystals.numbers[crystals.offsets[:-1]]
        volumes = crystals.volumes
        slopes = np.select(
            # 1 grows for ever, 2 shrinks for ever, 3 is content, 4 has no energy, that of 5 never
            # falls, 6 has one at the start alone.
            [numbers == 1, numbers == 2, numbers == 3, numbers == 4],
            [-1.0, 1.0, 0.0, np.nan],
            0.0,
        )
        energies = slopes * volumes
        forces = np.zeros((len(crystals.numbers), 3))
        lies = (numbers == 5)[crystals.crystal_indices]
        forces[lies] = [[1, 0, 0]]
        energies[numbers == 5] = self.calls
        gone = (numbers == 6) & (self.calls > 1)
        forces[(numbers == 6)[crystals.crystal_indices]] = [[0, 1, 0]]
        failures = [
            Failure(int(i), "energy not finite") for i in np.flatnonzero((numbers == 4) | gone)
        ]
        stresses = slopes[:, None, None] * np.eye(3) * np.ones((n, 1, 1))
        return Evaluated(energies, forces, stresses, tuple(failures))


def test_what_goes_wrong_is_counted_and_ends():
    crystals = Crystals.concatenate(
        [Crystals.single(4 * np.eye(3), [[0, 0, 0]], [z]) for z in (1, 2, 3, 4, 5, 6)]
    )
    found = relax(crystals, Odd(), max_steps=300)
    reasons = {failure.index: failure.reason for failure in found.failures}
    assert reasons == {
        0: "volume out of bounds",
        1: "volume out of bounds",
        3: "energy not finite",
    }
    assert found.positions.tolist() == [2, 4, 5]
    assert found.converged.tolist() == [True, False, False]
    # An energy that never falls, or is not there, is given up, at the place where it was lowest.
    assert (found.n_steps[1:] < 30).all()
    np.testing.assert_allclose(found.crystals[1:].frac_coords, 0)


def test_junk_is_counted():
    one = Crystals.single
    crystals = Crystals.concatenate(
        [
            one(np.eye(3) * 4, [[0, 0, 0], [0, 0, 0]], [29, 29]),  # one place
            one(np.diag([0.2, 5, 5]), [[0, 0, 0]], [29]),  # nearer to its image than allowed
            one(np.eye(3) * 4, [[0, 0, 0]], [92]),  # EMT has none
            one(3.6 * FCC, [[0, 0, 0]], [29]),
        ]
    )
    found = relax(crystals, EMT_NAME)
    assert found.positions.tolist() == [3]
    reasons = [failure.reason for failure in found.failures]
    assert reasons == ["sites too close", "sites too close", "potential failed"]
    assert "U" in found.failures[2].detail
    none = relax(Crystals.empty(), EMT_NAME)
    assert (none.n, len(none.crystals), none.failures) == (0, 0, ())
    failed = relax(crystals[:2], EMT_NAME)
    assert (failed.n, len(failed.crystals), len(failed.failures)) == (2, 0, 2)


def test_a_calculator_without_stress_needs_a_fixed_cell():
    class Plain(EMT):
        def get_stress(self, *arguments, **options):
            raise NotImplementedError

    potential = ASEPotential(Plain, "plain")
    assert [f.reason for f in relax(shaken(0), potential).failures] == ["no stress"]
    assert relax(shaken(0), potential, cell=False).converged.all()


def test_a_calculator_of_wrong_shapes_is_counted():
    class One(EMT):
        def calculate(self, *arguments, **options):
            super().calculate(*arguments, **options)
            self.results["forces"] = self.results["forces"][:1]

    found = relax(shaken(0), ASEPotential(One, "one"))
    assert [f.reason for f in found.failures] == ["potential failed"]
    assert "forces of shape (1, 3)" in found.failures[0].detail


def test_reasons_are_one_line():
    class Wordy(EMT):
        def calculate(self, *arguments, **options):
            raise RuntimeError("no\nluck")

    failures = relax(shaken(0), ASEPotential(Wordy, "wordy")).failures
    assert [f.detail for f in failures] == ["RuntimeError: no luck"]


@pytest.mark.parametrize("code", ["raise RuntimeError('not today')", "def broken(:", "import nope"])
def test_modules_that_raise_are_one_line(tmp_path, monkeypatch, code):
    (tmp_path / "raises_when_imported.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "raises_when_imported", raising=False)
    with pytest.raises(PotentialError, match="'ase:raises_when_imported:EMT': ") as caught:
        load_potential("ase:raises_when_imported:EMT")
    assert "\n" not in str(caught.value)


def test_factories_that_raise_are_one_line(tmp_path, monkeypatch):
    code = "def factory():\n    raise OSError('weights.pt')\n"
    (tmp_path / "raises_when_called.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "raises_when_called", raising=False)
    with pytest.raises(PotentialError, match=r"OSError: weights\.pt"):
        load_potential("ase:raises_when_called:factory")


def test_a_step_back_makes_the_next_a_quarter():
    """Cells and sites alike, in cells of one site and of many: no step is tried twice."""
    for n in (1, 64):
        crystals = Crystals.single(
            5 * np.eye(3), np.arange(3 * n).reshape(n, 3) / (3 * n), [29] * n
        )
        descent = Descent(cell=True)
        stress = 1e-3 * np.eye(3)[None]
        place = Place(
            crystals.lattices, crystals.frac_coords, np.zeros(1), np.zeros((n, 3)), stress
        )
        descent.add(crystals, place)
        first, lattices, coords = descent.propose()
        worse = Place(lattices, coords, np.full(1, np.nan), place.forces, stress)
        assert not descent.settle(first, worse).any()
        second, _, _ = descent.propose()
        assert np.linalg.norm(second) == pytest.approx(np.linalg.norm(first) / 4)


def test_trajectories(tmp_path):
    crystals = Crystals.concatenate([shaken(0), shaken(1)])
    found = relax(crystals, EMT_NAME, trajectory=tmp_path / "steps.extxyz")
    frames = read(tmp_path / "steps.extxyz")
    relax(crystals, EMT_NAME, trajectory=tmp_path / "steps.parquet")
    dataset = Dataset.read(tmp_path / "steps.parquet")
    assert list(frames.ids) == dataset.ids.tolist()
    np.testing.assert_allclose(frames.properties["energy"], dataset.column("energy"))
    assert set(dataset.column("potential")) == {EMT_NAME}
    for i in range(2):
        mine = np.flatnonzero(dataset.column("crystal") == i)
        energies = dataset.column("energy")[mine] / 4
        assert dataset.column("step")[mine[0]] == 0
        assert energies[0] == pytest.approx(found.initial_energies[i])
        assert energies[-1] == pytest.approx(found.energies[i])
        np.testing.assert_allclose(dataset.crystals[mine[-1]].lattices, found.crystals[i].lattices)
        assert (np.diff(energies) < 2e-5).all()
    with pytest.raises(PotentialError, match=r"extxyz or \.parquet"):
        relax(crystals, EMT_NAME, trajectory=tmp_path / "steps.cif")


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        ({"max_steps": -1}, "max_steps"),
        ({"max_force": 0}, "max_force"),
        ({"max_stress": float("nan")}, "max_stress"),
        ({"volume_bounds": (1.5, 2)}, "volume_bounds"),
        ({"min_distance": -1}, "min_distance"),
    ],
)
def test_limits_that_make_no_sense(limits, says):
    with pytest.raises(PotentialError, match=says):
        relax(Crystals.empty(), EMT_NAME, **limits)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("ase:EMT", "wanted ase:module:factory"),
        ("ase:no_such_module:EMT", "no_such_module"),
        ("ase.calculators.emt:EMT", "did you mean|no 'ase"),
        ("ase:ase.calculators.emt:NoSuch", "NoSuch"),
        ("ase:fractions:Fraction", "wanted a calculator"),
        ("ase:ase.filters:FrechetCellFilter", "takes no arguments"),
    ],
)
def test_calculators_that_are_none(name, says):
    with pytest.raises(ValueError, match=says):
        load_potential(name)


def test_directions_of_many_are_those_of_each():
    """A quadratic bowl is solved in as many steps as it has dimensions, whoever is beside it."""
    rng = np.random.default_rng(0)
    counts = np.array([1, 3, 2])
    starts = np.cumsum(counts) - counts
    bowls = []
    for count in counts:
        root = rng.normal(size=(3 * count, 3 * count))
        bowls.append(root @ root.T / count + np.eye(3 * count))

    def slopes(places):
        return np.concatenate(
            [
                (bowl @ places[start : start + count].ravel()).reshape(-1, 3)
                for bowl, start, count in zip(bowls, starts, counts, strict=True)
            ]
        )

    places, memory = rng.normal(size=(6, 3)), Memory(counts)
    for _ in range(60):
        slope = slopes(places)
        step = memory.direction(slope)
        assert (np.add.reduceat((step * slope).sum(axis=1), starts) <= 0).all()
        # The best length along the direction, by problem.
        along = np.add.reduceat((step * slopes(step)).sum(axis=1), starts)
        best = -np.add.reduceat((step * slope).sum(axis=1), starts) / np.maximum(along, 1e-300)
        step *= np.repeat(best, counts)[:, None]
        memory.learn(step, slopes(places + step) - slope, np.ones(3, bool))
        places = places + step
        if np.abs(slopes(places)).max() < 1e-10:
            break
    assert np.abs(places).max() < 1e-9
    assert len(memory.steps) <= 14
