"""Coverage: how many held-out crystals have a generated one near, and the other way round.

Distances are Euclidean, between fingerprints of structure and of composition. The code published
with CDVAE looks for the nearest crystal in structure and for the nearest in composition, which
may be two crystals; the paper asks for one that is near in both. Both are here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Self

import numpy as np
import numpy.typing as npt

from crystalcodec.evaluation.base import EvaluationError
from crystalcodec.evaluation.similarity import pairwise

__all__ = ["CUTOFFS", "Coverage", "Cutoffs"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Kind = Literal["structure", "composition", "both"]

_KINDS: Final[tuple[Kind, ...]] = ("structure", "composition", "both")
# How many of the nearest are kept. A sample with replacement lacks all of them with a
# probability of e^-32; what is lacking is searched for again.
_KEPT: Final = 32
_BLOCK: Final = 2**21  # distances at a time


@dataclass(frozen=True)
class Cutoffs:
    """Distances up to which two crystals count as near.

    Parameters
    ----------
    structure
        Between CrystalNN fingerprints.
    composition
        Between Magpie fingerprints, scaled as in :func:`composition_fingerprints`.

    Raises
    ------
    EvaluationError
        Unless both are positive numbers.
    """

    structure: float
    composition: float

    def __post_init__(self) -> None:
        if not (0 < self.structure < np.inf and 0 < self.composition < np.inf):
            raise EvaluationError(f"{self}: wanted two positive distances, such as 0.4 and 10")


CUTOFFS: Final[Mapping[str, Cutoffs]] = {
    "mp_20": Cutoffs(0.4, 10.0),
    "perov_5": Cutoffs(0.2, 4.0),
    "carbon_24": Cutoffs(0.2, 4.0),
}
"""As published with CDVAE (10.48550/arXiv.2110.06197), by data set."""


@dataclass(frozen=True, eq=False)
class Coverage:
    """Distances from each held-out crystal to the generated ones nearest it, and back.

    Made by :meth:`between`. Distances in ``both`` are the larger of the two distances, each
    divided by its cutoff: 1 or less where one crystal is near in both.

    Parameters
    ----------
    fingerprints
        Of m generated and l held-out crystals: structure (m, d), composition (m, e), structure
        (l, d), composition (l, e).
    cutoffs
        What counts as near.
    index : (3, l, k)
        The generated crystals nearest to each held-out one in structure, composition and both,
        nearest first.
    distances : (3, l, k)
        Distances to them.
    nearest : (3, m)
        Distance from each generated crystal to the nearest held-out one; infinite without any.
    """

    fingerprints: tuple[Floats, Floats, Floats, Floats]
    cutoffs: Cutoffs
    index: Ints
    distances: Floats
    nearest: Floats

    @classmethod
    def between(
        cls,
        structures: npt.ArrayLike,
        compositions: npt.ArrayLike,
        held_structures: npt.ArrayLike,
        held_compositions: npt.ArrayLike,
        cutoffs: Cutoffs = CUTOFFS["mp_20"],
    ) -> Self:
        """Search among fingerprints of m generated and l held-out crystals.

        Parameters
        ----------
        structures, held_structures : (m, d), (l, d)
            Fingerprints of structure.
        compositions, held_compositions : (m, e), (l, e)
            Fingerprints of composition.
        cutoffs
            What counts as near.

        Raises
        ------
        EvaluationError
            Shapes that do not fit together, a number that is not finite.

        Examples
        --------
        >>> found = Coverage.between([[0.0]], [[0.0]], [[0.0], [0.3], [9.0]], [[0.0]] * 3)
        >>> found.recall(), found.precision().tolist()
        (0.6666666666666666, [True])
        """
        prints = _checked(structures, compositions, held_structures, held_compositions)
        return cls(prints, cutoffs, **_search(prints, cutoffs))

    @classmethod
    def kept(
        cls,
        fingerprints: tuple[Floats, Floats, Floats, Floats],
        cutoffs: Cutoffs,
        arrays: Mapping[str, npt.NDArray[Any]],
    ) -> Self:
        """One of :attr:`arrays` that were kept, and of the same fingerprints and cutoffs."""
        return cls(
            _checked(*fingerprints),
            cutoffs,
            *(np.asarray(arrays[name]) for name in ("index", "distances", "nearest")),
        )

    @property
    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """What the search found, by name."""
        return {"index": self.index, "distances": self.distances, "nearest": self.nearest}

    def recall(self, chosen: npt.NDArray[np.bool_] | None = None, *, joint: bool = False) -> float:
        """Share of the held-out crystals that have a generated one near.

        Parameters
        ----------
        chosen : (m,)
            Which generated crystals count; all of them where None.
        joint
            Whether one generated crystal has to be near in both.

        Returns
        -------
        float
            0 without generated crystals, NaN without held-out ones.
        """
        if not len(self.fingerprints[2]):
            return float("nan")
        if joint:
            return float(np.mean(self.least("both", chosen) <= 1))
        near = self.least("structure", chosen) <= self.cutoffs.structure
        near &= self.least("composition", chosen) <= self.cutoffs.composition
        return float(near.mean())

    def precision(self, *, joint: bool = False) -> npt.NDArray[np.bool_]:
        """(m,) whether each generated crystal has a held-out one near."""
        structure, composition, both = self.nearest
        if joint:
            return np.asarray(both <= 1)
        return np.asarray(
            (structure <= self.cutoffs.structure) & (composition <= self.cutoffs.composition)
        )

    def average_least(self, kind: Kind, chosen: npt.NDArray[np.bool_] | None = None) -> float:
        """Mean over the held-out crystals of :meth:`least`; NaN where there is nothing."""
        least = self.least(kind, chosen)
        return float(least.mean()) if len(least) and np.isfinite(least).all() else float("nan")

    def least(self, kind: Kind, chosen: npt.NDArray[np.bool_] | None = None) -> Floats:
        """(l,) distance from each held-out crystal to the nearest of the chosen generated ones.

        Infinite where none is chosen. Parameters as of :meth:`recall`.
        """
        place = _KINDS.index(kind)
        index, distances = self.index[place], self.distances[place]
        if not index.shape[1]:
            return np.full(len(index), np.inf)
        if chosen is None:
            return np.asarray(distances[:, 0])
        there = chosen[index]
        first = there.argmax(axis=1)
        rows = np.arange(len(index))
        least = np.where(there[rows, first], distances[rows, first], np.inf)
        missed = np.flatnonzero(np.isinf(least))
        if len(missed) and index.shape[1] < len(chosen) and chosen.any():
            structures, compositions, held_structures, held_compositions = self.fingerprints
            some = (
                structures[chosen],
                compositions[chosen],
                held_structures[missed],
                held_compositions[missed],
            )
            least[missed] = _search(some, self.cutoffs)["distances"][place, :, 0]
        return least


def _checked(*fingerprints: npt.ArrayLike) -> tuple[Floats, Floats, Floats, Floats]:
    prints = [np.asarray(rows, np.float64) for rows in fingerprints]
    shapes = [rows.shape for rows in prints]
    fits = all(len(shape) == 2 and shape[1] for shape in shapes)
    if not fits or [shapes[0][0], shapes[2][0]] != [shapes[1][0], shapes[3][0]]:
        raise EvaluationError(
            f"fingerprints of shapes {shapes}: wanted structure (m, d) and composition (m, e) of "
            "m generated crystals, then (l, d) and (l, e) of l held-out ones"
        )
    if shapes[0][1] != shapes[2][1] or shapes[1][1] != shapes[3][1]:
        raise EvaluationError(
            f"fingerprints of shapes {shapes}: those of generated and of held-out crystals have "
            "different columns; make both in the same way"
        )
    if not all(np.isfinite(rows).all() for rows in prints):
        raise EvaluationError("a fingerprint holds a number that is not finite: leave it out")
    return prints[0], prints[1], prints[2], prints[3]


def _search(
    fingerprints: tuple[Floats, Floats, Floats, Floats], cutoffs: Cutoffs
) -> dict[str, npt.NDArray[Any]]:
    structures, compositions, held_structures, held_compositions = fingerprints
    m, n_held = len(structures), len(held_structures)
    kept = min(_KEPT, m)
    index = np.zeros((len(_KINDS), n_held, kept), np.int64)
    distances = np.zeros((len(_KINDS), n_held, kept))
    nearest = np.full((len(_KINDS), m), np.inf)
    step = max(1, _BLOCK // max(1, m))
    for start in range(0, n_held if m else 0, step):
        rows = slice(start, start + step)
        between = [
            pairwise(held_structures[rows], structures),
            pairwise(held_compositions[rows], compositions),
        ]
        between.append(np.maximum(between[0] / cutoffs.structure, between[1] / cutoffs.composition))
        for place, found in enumerate(between):
            np.minimum(nearest[place], found.min(axis=0), out=nearest[place])
            best = _least_of_rows(found, kept)
            index[place, rows] = best
            distances[place, rows] = np.take_along_axis(found, best, axis=1)
    return {"index": index, "distances": distances, "nearest": nearest}


def _least_of_rows(values: Floats, kept: int) -> Ints:
    """(n, kept) columns of the least values of each row, the least first."""
    if kept < values.shape[1]:
        columns = np.argpartition(values, kept - 1, axis=1)[:, :kept]
        order = np.argsort(np.take_along_axis(values, columns, axis=1), axis=1, kind="stable")
        return np.take_along_axis(columns, order, axis=1)
    return np.argsort(values, axis=1, kind="stable")
