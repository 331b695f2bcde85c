"""What the networks share: parts that fit the memory, failures by crystal, one thread."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.failures import Failure
from crystalcodec.relaxation.base import Evaluated, Potential
from crystalcodec.relaxation.edges import crowded, lonely, pairs_within, strains_of
from crystalcodec.representations.neighbors import Neighbors
from crystalcodec.representations.potentials import one_thread, unknown_elements

__all__ = ["NetworkPotential", "Slopes"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Slopes:
    """What a network says of n crystals.

    Parameters
    ----------
    energies : (n,)
        Of the whole cell, eV.
    along : (n_pairs, 3)
        Slope of the sum of the energies along each pair's vector, eV/Å.
    """

    energies: Floats
    along: Floats


class NetworkPotential(Potential):
    """A network on pairs of sites within a cut-off; several crystals go through it at once.

    Attributes
    ----------
    cutoff
        Å.
    most_pairs
        Pairs that go through at once: more need more memory, and are no faster.
    most_pairs_of_one
        Pairs of a crystal: more might not fit 4 GB.
    """

    cutoff: float
    most_pairs: int
    most_pairs_of_one: int = 100_000

    @abstractmethod
    def slopes(self, crystals: Crystals, pairs: Neighbors) -> Slopes:
        """Energies and slopes of crystals that the network can hold."""

    def evaluate(self, crystals: Crystals) -> Evaluated:
        """Energies, forces and stresses of n crystals, each as if it were alone."""
        energies = np.full(len(crystals), np.nan)
        forces = np.full((len(crystals.numbers), 3), np.nan)
        stresses = np.full((len(crystals), 3, 3), np.nan)
        failures = {
            one.index: one
            for one in (
                *crowded(crystals, self.cutoff, self.most_pairs_of_one),
                *unknown_elements(crystals, self.elements, self.name),
            )
        }
        kept = np.array([i for i in range(len(crystals)) if i not in failures], np.int64)
        for part in self._parts(crystals, kept):
            found = self._held(crystals[part])
            for one in found.failures:
                index = int(part[one.index])
                failures[index] = Failure(index, one.reason, one.detail)
            rows = _sites(crystals, part)
            energies[part], stresses[part], forces[rows] = (
                found.energies,
                found.stresses,
                found.forces,
            )
        return Evaluated(energies, forces, stresses, tuple(failures[i] for i in sorted(failures)))

    def _parts(self, crystals: Crystals, kept: Ints) -> Iterator[Ints]:
        """Crystals by position, as many as make about ``most_pairs``."""
        sphere = 4 / 3 * np.pi * self.cutoff**3
        expected = crystals.n_sites**2 * sphere / crystals.volumes
        start, total = 0, 0.0
        for stop, one in enumerate(expected[kept].tolist()):
            if stop > start and total + one > self.most_pairs:
                yield kept[start:stop]
                start, total = stop, 0.0
            total += one
        if start < len(kept):
            yield kept[start:]

    def _held(self, crystals: Crystals) -> Evaluated:
        """The same for crystals of known elements that together fit the memory."""
        pairs = pairs_within(crystals, self.cutoff)
        alone = lonely(crystals, pairs, self.cutoff)
        if alone:
            return self._without(crystals, alone)
        try:
            with one_thread(gradients=True):
                found = self.slopes(crystals, pairs)
        except (RuntimeError, MemoryError) as error:
            # One crystal that a network cannot take does not take others with it.
            if len(crystals) == 1:
                return _nothing(crystals, [Failure(0, "potential failed", str(error)[:200])])
            halves = np.array_split(np.arange(len(crystals)), 2)
            return _joined(crystals, [(half, self._held(crystals[half])) for half in halves], [])
        strains = strains_of(crystals, pairs, found.along)
        return _finite(crystals, found.energies, strains.forces, strains.stresses)

    def _without(self, crystals: Crystals, failures: list[Failure]) -> Evaluated:
        others = np.setdiff1d(np.arange(len(crystals)), [one.index for one in failures])
        parts = [(others, self._held(crystals[others]))] if len(others) else []
        return _joined(crystals, parts, failures)


def _sites(crystals: Crystals, part: Ints) -> Ints:
    """Rows of the sites of some crystals."""
    counts = crystals.n_sites[part]
    starts = np.cumsum(counts) - counts
    first = np.repeat(crystals.offsets[part] - starts, counts)
    return np.asarray(np.arange(len(first)) + first, np.int64)


def _nothing(crystals: Crystals, failures: list[Failure]) -> Evaluated:
    n = len(crystals)
    return Evaluated(
        np.full(n, np.nan),
        np.full((len(crystals.numbers), 3), np.nan),
        np.full((n, 3, 3), np.nan),
        tuple(failures),
    )


def _joined(
    crystals: Crystals, parts: list[tuple[Ints, Evaluated]], failures: list[Failure]
) -> Evaluated:
    whole = _nothing(crystals, [])
    failures = list(failures)
    for part, found in parts:
        whole.energies[part], whole.stresses[part] = found.energies, found.stresses
        whole.forces[_sites(crystals, part)] = found.forces
        failures += [Failure(int(part[f.index]), f.reason, f.detail) for f in found.failures]
    failures.sort(key=lambda one: one.index)
    return Evaluated(whole.energies, whole.forces, whole.stresses, tuple(failures))


def _finite(crystals: Crystals, energies: Floats, forces: Floats, stresses: Floats) -> Evaluated:
    """NaN and a failure for each crystal of which any number is not finite."""
    bad = ~np.isfinite(energies) | ~np.isfinite(stresses).all(axis=(1, 2))
    bad |= np.logical_or.reduceat(~np.isfinite(forces).all(axis=1), crystals.offsets[:-1])
    energies, forces, stresses = energies.copy(), forces.copy(), stresses.copy()
    energies[bad], stresses[bad], forces[bad[crystals.crystal_indices]] = np.nan, np.nan, np.nan
    failures = tuple(
        Failure(i, "energy not finite", "energy, forces or stress are not finite numbers")
        for i in np.flatnonzero(bad).tolist()
    )
    return Evaluated(energies, forces, stresses, failures)
