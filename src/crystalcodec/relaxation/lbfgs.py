"""L-BFGS on many unlike problems at once: rows of numbers, some of them to each problem."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

__all__ = ["Memory", "sums_of"]

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_STEPS: Final = 30
_STIFFNESS: Final = 30.0  # eV/Å² before anything is known of a crystal
# Of a step and the change of slope along it: with less the step tells nothing of curvature.
_LEAST_COSINE: Final = 1e-6


def sums_of(rows: Floats, starts: Ints) -> Floats:
    """(m,) sums of all entries of rows (r, 3) of each problem, whose first rows are ``starts``."""
    if not len(starts):
        return np.zeros(0)
    return np.asarray(np.add.reduceat(rows.sum(axis=1), starts), float)


@dataclass
class Memory:
    """What the last steps told of the curvature of m problems, r rows in all.

    The two-loop recursion of Nocedal (10.1090/S0025-5718-1980-0572855-7), for each problem with
    the steps that it took itself.

    Parameters
    ----------
    counts : (m,)
        Rows of each problem.
    steps, changes
        The last steps and changes of the slope along them, (r, 3) each, the newest last.
    weights
        1 / (step · change), (m,) each; 0 where a step told nothing.
    scales : (m,)
        Å²/eV, the inverse stiffness that the newest step told.
    """

    counts: Ints
    steps: list[Floats] = field(default_factory=list)
    changes: list[Floats] = field(default_factory=list)
    weights: list[Floats] = field(default_factory=list)
    scales: Floats = field(default_factory=lambda: np.zeros(0))

    def __post_init__(self) -> None:
        if not len(self.scales):
            self.scales = np.full(len(self.counts), 1 / _STIFFNESS)

    @property
    def starts(self) -> Ints:
        """(m,) the first row of each problem."""
        return np.cumsum(self.counts) - self.counts

    def direction(self, slopes: Floats) -> Floats:
        """(r, 3) the step that leads to the bottom, as far as is known; always downhill."""
        starts, counts = self.starts, self.counts
        rest = slopes.copy()
        shares: list[Floats] = []
        for step, change, weight in zip(
            reversed(self.steps), reversed(self.changes), reversed(self.weights), strict=True
        ):
            share = weight * sums_of(step * rest, starts)
            rest -= np.repeat(share, counts)[:, None] * change
            shares.append(share)
        rest *= np.repeat(self.scales, counts)[:, None]
        for step, change, weight, share in zip(
            self.steps, self.changes, self.weights, reversed(shares), strict=True
        ):
            other = weight * sums_of(change * rest, starts)
            rest += np.repeat(share - other, counts)[:, None] * step
        uphill = ~(sums_of(rest * slopes, starts) > 0)
        if uphill.any():
            plain = slopes * np.repeat(self.scales, counts)[:, None]
            rest = np.where(np.repeat(uphill, counts)[:, None], plain, rest)
        return -rest

    def learn(self, step: Floats, change: Floats, taken: Bools) -> None:
        """Remember a step of those problems (m,) that took it."""
        starts = self.starts
        product = sums_of(step * change, starts)
        lengths = sums_of(step * step, starts), sums_of(change * change, starts)
        good = taken & (product > _LEAST_COSINE * np.sqrt(lengths[0] * lengths[1]))
        weight = np.zeros(len(product))
        weight[good] = 1 / product[good]
        self.scales[good] = product[good] / lengths[1][good]
        rows = np.repeat(good, self.counts)[:, None]
        self.steps.append(np.where(rows, step, 0.0))
        self.changes.append(np.where(rows, change, 0.0))
        self.weights.append(weight)
        if len(self.steps) > _STEPS:
            del self.steps[0], self.changes[0], self.weights[0]

    def forget(self, which: Bools) -> None:
        """Nothing is known any more of some problems (m,)."""
        self.scales[which] = 1 / _STIFFNESS
        for weight in self.weights:
            weight[which] = 0.0

    def keep(self, which: Bools) -> None:
        """Go on with some of the problems (m,) alone."""
        rows = np.repeat(which, self.counts)
        self.steps = [step[rows] for step in self.steps]
        self.changes = [change[rows] for change in self.changes]
        self.weights = [weight[which] for weight in self.weights]
        self.counts, self.scales = self.counts[which], self.scales[which]

    def add(self, counts: Ints) -> None:
        """Begin with more problems, of so many rows each."""
        nothing, none = np.zeros((int(counts.sum()), 3)), np.zeros(len(counts))
        self.steps = [np.concatenate([step, nothing]) for step in self.steps]
        self.changes = [np.concatenate([change, nothing]) for change in self.changes]
        self.weights = [np.concatenate([weight, none]) for weight in self.weights]
        self.counts = np.concatenate([self.counts, counts])
        self.scales = np.concatenate([self.scales, np.full(len(counts), 1 / _STIFFNESS)])
