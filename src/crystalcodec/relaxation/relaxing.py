"""Crystals relaxed with an interatomic potential, many at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.failures import Failure
from crystalcodec.geometry import triple_products
from crystalcodec.relaxation.base import (
    Evaluated,
    Potential,
    Relaxed,
    load_potential,
)
from crystalcodec.relaxation.descent import Descent, Place
from crystalcodec.relaxation.limits import Limits, settings_of
from crystalcodec.relaxation.trajectories import Trajectory
from crystalcodec.representations.minimum_images import minimum_images
from crystalcodec.representations.neighbors import neighbors_within

__all__ = ["EV_PER_CUBIC_ANGSTROM", "close_sites", "displacements", "relax"]

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Progress = Callable[[int, int], None]

EV_PER_CUBIC_ANGSTROM: Final = 160.21766208
"""One eV/Å³ in GPa."""

# Sites on the way at once: enough for a few parts of what goes through a network at a time.
_SITES: Final = 400
# Å: where no step so short leads down, or to any energy, a crystal stays and is not converged.
_SHORTEST: Final = 1e-5


def relax(
    crystals: Crystals,
    potential: str | Potential = "chgnet-0.3.0",
    *,
    max_steps: int = 500,
    max_force: float = 0.05,
    max_stress: float = 0.5,
    cell: bool = True,
    volume_bounds: Sequence[float] = (0.5, 2.0),
    min_distance: float = 0.3,
    trajectory: str | Path | None = None,
    progress: Progress | None = None,
) -> Relaxed:
    """Move sites and cells downhill until forces and stresses are small.

    Parameters
    ----------
    crystals
        Any crystals; what a potential cannot take is a failure.
    potential
        Name in the registry, ``ase:module:factory`` of a calculator of ASE, or a potential.
    max_steps, max_force, max_stress, cell, volume_bounds, min_distance
        As in :class:`~crystalcodec.relaxation.limits.Limits`.
    trajectory
        File for all steps of all crystals, ``.extxyz`` or ``.parquet``.
    progress
        Called with the number of crystals done, and of all.

    Returns
    -------
    Relaxed
        A row for each crystal that has an energy, converged or not; the others are failures.

    Raises
    ------
    PotentialError
        Limits that make no sense.
    UnknownNameError, MissingExtraError
        No such potential, or its package is not installed.

    Examples
    --------
    >>> squeezed = Crystals.single(np.full((3, 3), 1.7) - np.eye(3) * 1.7, [[0, 0, 0]], [29])
    >>> relaxed = relax(squeezed, "ase:ase.calculators.emt:EMT", max_stress=0.01)
    >>> relaxed.converged.tolist(), (relaxed.crystals.volumes * 4).round(1).tolist()
    ([True], [46.3])
    """
    low, high = volume_bounds
    limits = Limits(max_steps, max_force, max_stress, cell, (low, high), min_distance)
    chosen = load_potential(potential) if isinstance(potential, str) else potential
    kept = None if trajectory is None else Trajectory(trajectory)
    run = _Run(crystals, chosen, limits, kept, progress)
    run.all()
    if kept is not None:
        kept.write(chosen.name)
    return run.relaxed()


def displacements(before: Crystals, after: Crystals) -> Floats:
    """(n,) root of the mean squared displacement of the sites, Å.

    Each displacement is the shortest image, in the mean of both cells, after the mean of all of
    them is taken away. Sites are in one order in both.
    """
    owners, counts = before.crystal_indices, before.n_sites
    moves = after.frac_coords - before.frac_coords
    moves -= np.rint(moves)
    for axis in range(3):
        sums = np.bincount(owners, moves[:, axis], minlength=len(before))
        moves[:, axis] -= (sums / counts)[owners]
    cells = ((before.lattices + after.lattices) / 2)[owners]
    _, distances = minimum_images(moves[:, None, :], cells)
    squares = np.bincount(owners, distances[:, 0] ** 2, minlength=len(before))
    return np.asarray(np.sqrt(squares / counts), float)


class _Run:
    """One call of :func:`relax`: who is waiting, on the way, done or lost."""

    def __init__(
        self,
        crystals: Crystals,
        potential: Potential,
        limits: Limits,
        trajectory: Trajectory | None,
        progress: Progress | None,
    ) -> None:
        n = len(crystals)
        self.crystals, self.potential, self.limits = crystals, potential, limits
        self.trajectory, self.progress = trajectory, progress
        self.failures: dict[int, Failure] = {}
        self.initial = np.full(n, np.nan)
        self.n_steps = np.zeros(n, np.int64)
        self.ends: dict[int, Place] = {}
        # Which crystal each of those on the way is, and how many have come in.
        self.which, self.n_entered = np.zeros(0, np.int64), 0
        self.descent = Descent(cell=limits.cell)

    def all(self) -> None:
        """Relax every crystal."""
        least = self.limits.min_distance
        for i, detail in close_sites(self.crystals, least).items():
            self.failures[i] = Failure(i, "sites too close", f"{detail} before the first step")
        while self.n_entered < len(self.crystals) or len(self.which):
            self._enter()
            self._leave(np.zeros(len(self.which), bool))
            if len(self.which):
                self._leave(self._step())

    def _enter(self) -> None:
        """As many of those that wait as there is room for."""
        held, start, sizes = len(self.descent.numbers), self.n_entered, self.crystals.n_sites
        entering = []
        for i in range(start, len(sizes)):
            if i not in self.failures:
                if held and held + sizes[i] > _SITES:
                    break
                held += int(sizes[i])
                entering.append(i)
            self.n_entered = i + 1
        if not entering:
            return
        crystals, which = self.crystals[entering], np.array(entering)
        found = self.potential.evaluate(crystals)
        failures = self._failures(crystals, found)
        good = np.ones(len(which), bool)
        for i, one in failures.items():
            good[i] = False
            self.failures[int(which[i])] = Failure(int(which[i]), one.reason, one.detail)
        place = Place.of(crystals, found).choose(good, good[crystals.crystal_indices])
        self.initial[which[good]] = place.energies
        self.which = np.concatenate([self.which, which[good]])
        self.descent.add(crystals[good], place)
        self._record(np.arange(len(self.which)) >= len(self.which) - int(good.sum()))

    def _step(self) -> Bools:
        """One step of all that are on the way; gives which of them are stuck or lost."""
        descent, which = self.descent, self.which
        step, lattices, coords = descent.propose()
        ratios = np.abs(triple_products(lattices)) / self.crystals.volumes[which]
        low, high = self.limits.volume_bounds
        inside = (ratios >= low) & (ratios <= high)
        for i in np.flatnonzero(~inside).tolist():
            told = f"{ratios[i]:.3g} of that before the first step, wanted {low:g} to {high:g}"
            index = int(which[i])
            self.failures[index] = Failure(index, "volume out of bounds", told)
        there = self._look(lattices, coords, inside)
        taken = descent.settle(step, there)
        self.n_steps[which] += 1
        self._record(taken)
        return (
            ~inside | (descent.longest < _SHORTEST) | (self.n_steps[which] >= self.limits.max_steps)
        )

    def _look(self, lattices: Floats, coords: Floats, inside: Bools) -> Place:
        """What the potential says of the crystals inside the bounds."""
        n, n_sites = len(lattices), self.descent.n_sites
        there = Place(
            lattices,
            coords,
            np.full(n, np.nan),
            np.full(coords.shape, np.nan),
            np.full(lattices.shape, np.nan),
        )
        if not inside.any():
            return there
        sites = inside[self.descent.owners]
        offsets = np.concatenate([[0], np.cumsum(n_sites[inside])])
        crystals = Crystals(lattices[inside], coords[sites], self.descent.numbers[sites], offsets)
        found = self.potential.evaluate(crystals)
        there.energies[inside], there.stresses[inside] = found.energies, found.stresses
        there.forces[sites] = found.forces
        there.energies[np.flatnonzero(inside)[list(self._failures(crystals, found))]] = np.nan
        return there

    def _failures(self, crystals: Crystals, found: Evaluated) -> dict[int, Failure]:
        """Why crystals of a batch have no energy, forces or stress, by position in it."""
        failures = {one.index: one for one in found.failures}
        bad = np.isin(np.arange(len(crystals)), crystals.crystal_indices[_strange(found.forces)])
        for i in np.flatnonzero(bad | _strange(found.energies)).tolist():
            told = "energy or forces are not finite numbers"
            failures.setdefault(i, Failure(i, "energy not finite", told))
        if self.limits.cell:
            for i in np.flatnonzero(_strange(found.stresses)).tolist():
                told = f"{self.potential.name} gives none: fix the cell"
                failures.setdefault(i, Failure(i, "no stress", told))
        return failures

    def _leave(self, stopped: Bools) -> None:
        """Those that have converged, or stopped without, leave."""
        place, owners = self.descent.place, self.descent.owners
        forces, stresses = _largest(place, owners)
        calm = forces <= self.limits.max_force
        if self.limits.cell:
            calm &= stresses <= self.limits.max_stress
        leaving = calm | stopped | (self.limits.max_steps == 0)
        if not leaving.any():
            return
        for i in np.flatnonzero(leaving).tolist():
            if int(self.which[i]) not in self.failures:
                self.ends[int(self.which[i])] = place.choose(np.array([i]), owners == i)
        self.descent.keep(~leaving)
        self.which = self.which[~leaving]
        if self.progress is not None:
            self.progress(self.n_entered - len(self.which), len(self.crystals))

    def _record(self, moved: Bools) -> None:
        if self.trajectory is None:
            return
        place, owners = self.descent.place, self.descent.owners
        for i in np.flatnonzero(moved).tolist():
            index, sites = int(self.which[i]), owners == i
            crystal = Crystals.single(
                place.lattices[i], place.frac_coords[sites], self.descent.numbers[sites]
            )
            self.trajectory.add(index, int(self.n_steps[index]), crystal, float(place.energies[i]))

    def relaxed(self) -> Relaxed:
        """Rows and failures of all."""
        given = self._ends(sorted(self.ends))
        for row, detail in close_sites(given[1], self.limits.min_distance).items():
            index = int(given[0][row])
            told = f"{detail} after the last step"
            self.failures[index] = Failure(index, "sites too close", told)
            del self.ends[index]
        positions, crystals = self._ends(sorted(self.ends))
        before, n_sites = self.crystals[positions], self.crystals.n_sites[positions]
        places = [self.ends[int(i)] for i in positions]
        largest = [_largest(one, np.zeros(len(one.forces), np.int64)) for one in places]
        forces, stresses = np.array(largest).reshape(-1, 2).T
        calm = forces <= self.limits.max_force
        if self.limits.cell:
            calm &= stresses <= self.limits.max_stress
        energies = np.array([one.energies[0] for one in places]).reshape(-1)
        return Relaxed(
            potential=self.potential.name,
            n=len(self.crystals),
            positions=positions,
            crystals=crystals,
            energies=energies / n_sites,
            initial_energies=self.initial[positions] / n_sites,
            max_forces=forces,
            max_stresses=stresses,
            n_steps=self.n_steps[positions],
            converged=calm,
            volume_changes=crystals.volumes / before.volumes - 1,
            rmsds=displacements(before, crystals),
            failures=tuple(self.failures[i] for i in sorted(self.failures)),
            settings=settings_of(self.potential.packages, self.limits),
        )

    def _ends(self, which: list[int]) -> tuple[Ints, Crystals]:
        """Positions, and the crystals as they are at the end."""
        positions = np.array(which, np.int64)
        before = self.crystals[positions]
        lattices = [self.ends[i].lattices for i in which]
        coords = [self.ends[i].frac_coords for i in which]
        return positions, Crystals(
            np.concatenate([np.zeros((0, 3, 3)), *lattices]),
            np.concatenate([np.zeros((0, 3)), *coords]),
            before.numbers,
            before.offsets,
        )


def _strange(values: Floats) -> Bools:
    """(k,) which rows are not all finite."""
    return np.asarray(~np.isfinite(values.reshape(len(values), -1)).all(axis=1), bool)


def _largest(place: Place, owners: Ints) -> tuple[Floats, Floats]:
    """(m,) the longest force, eV/Å, and the largest component of the stress, GPa."""
    forces = np.zeros(len(place.energies))
    np.maximum.at(forces, owners, np.linalg.norm(place.forces, axis=1))
    stresses = np.abs(place.stresses).max(axis=(1, 2), initial=0.0)
    return forces, stresses * EV_PER_CUBIC_ANGSTROM


def close_sites(crystals: Crystals, least: float) -> dict[int, str]:
    """Crystals with sites nearer than this, Å, and the shortest distance of each in words."""
    if not least > 0 or not len(crystals):
        return {}
    close: dict[int, str] = {}
    # A cell thinner than this has images as near; its pairs would be without number.
    heights = crystals.volumes / _areas(crystals.lattices).max(axis=1)
    for i in np.flatnonzero(heights < least).tolist():
        close[i] = f"a cell {heights[i]:.3g} Å thin, wanted {least:g} or more"
    rest = np.array([i for i in range(len(crystals)) if i not in close], np.int64)
    pairs = neighbors_within(crystals[rest], least, order="site")
    owners = np.repeat(np.arange(len(rest)), np.diff(pairs.offsets))
    shortest = np.full(len(rest), np.inf)
    np.minimum.at(shortest, owners, pairs.distances)
    for i in np.flatnonzero(shortest < least).tolist():
        close[int(rest[i])] = f"{shortest[i]:.3g} Å, wanted {least:g} or more"
    return close


def _areas(lattices: Floats) -> Floats:
    """(n, 3) areas of the faces of cells, Å²."""
    a, b, c = lattices.transpose(1, 0, 2)
    return np.stack(
        [np.linalg.norm(np.cross(x, y), axis=1) for x, y in ((b, c), (c, a), (a, b))], 1
    )
