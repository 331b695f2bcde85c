"""PDD: the distances of each site to its nearest neighbours, as a weighted set of rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from scipy.optimize import LinearConstraint, milp
from scipy.sparse import coo_array

from crystalcodec.crystals import Crystals
from crystalcodec.representations.base import (
    Encoded,
    Field,
    Invariance,
    RaggedRepresentation,
    RepresentationError,
)
from crystalcodec.representations.minimum_distances.average import wrong_k
from crystalcodec.representations.minimum_distances.rows import merged_rows
from crystalcodec.representations.minimum_distances.search import nearest_distances, parts_of

__all__ = ["PDD", "earth_movers_distance"]


@dataclass(frozen=True)
class PDD(RaggedRepresentation):
    """Pointwise distance distributions: a row of k distances for each kind of site, with a weight.

    The arrays are ``distances`` (n_rows, k), Å: from a site to its k nearest neighbours in the
    infinite crystal, elements not looked at; and ``weights`` (n_rows,): the share of the sites of
    the cell that have this row, 1 in sum. Rows that differ nowhere by more than the tolerance
    (directly, or through rows between them) are one; the rows of a crystal stand in lexicographic
    order. The weighted mean of the rows is the AMD.

    As a distribution, compared by :func:`earth_movers_distance`, it changes by at most 2ε where
    no atom moves by more than ε. As arrays it jumps where rows merge, part or change places.

    Parameters
    ----------
    k
        Number of neighbours.
    tolerance
        Largest difference between equal distances, Å.

    Raises
    ------
    RepresentationError
        A number of neighbours below 1, a tolerance that is not above 0.

    References
    ----------
    Widdowson, Kurlin, Resolving the data ambiguity for periodic crystals, NeurIPS 2022,
    arXiv 2108.04798. Written from the definition there.

    Examples
    --------
    >>> polonium = Crystals.single(np.eye(3) * 3.0, [[0, 0, 0]], [84])
    >>> encoded = PDD(k=7).encode(polonium.supercell(2))
    >>> encoded["weights"].tolist(), encoded["distances"].round(2).tolist()[0][:6]
    ([1.0], [3.0, 3.0, 3.0, 3.0, 3.0, 3.0])
    """

    name: ClassVar[str] = "pdd"
    lost: ClassVar[str] = (
        "elements, which neighbour is at which distance, directions, mirror image, all beyond the "
        "k-th neighbour"
    )
    invariances: ClassVar[frozenset[Invariance]] = frozenset(
        {"permutation", "translation", "rotation", "supercell", "unit_cell"}
    )
    continuity: ClassVar = "discontinuous"

    k: int = 100
    tolerance: float = 1e-4

    def __post_init__(self) -> None:
        fault = wrong_k(type(self), {"k": self.k, "tolerance": self.tolerance})
        if not fault and not 0 < self.tolerance < np.inf:
            fault = f"tolerance is {self.tolerance} Å, wanted above 0"
        if fault:
            raise RepresentationError(fault)

    @property
    def fields(self) -> tuple[Field, ...]:
        """Weights and distances."""
        return (
            Field("weights", "continuous", "weights", ("rows",)),
            Field("distances", "continuous", "distances", ("rows", self.k), unit="Å"),
        )

    def n_bytes(self, crystals: Crystals) -> int:
        """Memory of the arrays if no two sites of a crystal had the same distances."""
        return 4 * (self.k + 1) * len(crystals.numbers)

    def _encode_ragged(
        self, crystals: Crystals
    ) -> tuple[dict[str, npt.NDArray[Any]], dict[str, npt.NDArray[np.int64]]]:
        weights, rows = [np.zeros(0, np.float32)], [np.zeros((0, self.k), np.float32)]
        counts = [np.zeros(0, np.int64)]
        for part in parts_of(crystals, self.k):
            distances = nearest_distances(part, self.k)
            share, merged, offsets = merged_rows(distances, part.offsets, self.tolerance)
            weights.append(share.astype(np.float32))
            rows.append(merged.astype(np.float32))
            counts.append(np.diff(offsets))
        arrays = {"weights": np.concatenate(weights), "distances": np.concatenate(rows)}
        return arrays, {"rows": np.r_[0, np.cumsum(np.concatenate(counts))].astype(np.int64)}


def earth_movers_distance(
    first: Encoded, second: Encoded, pairs: npt.ArrayLike | None = None
) -> npt.NDArray[np.float64]:
    """(p,) earth mover's distances, Å, between crystals of two encodings by :class:`PDD`.

    The least mean distance over which weights have to be carried to turn one set of rows into the
    other, where two rows are as far apart as their most different entries. It is a metric on
    distributions and exact: each is the optimum of a linear program.

    Parameters
    ----------
    first, second
        What :class:`PDD` gives, of the same number of neighbours.
    pairs : (p, 2)
        Positions in the first and in the second encoding; position i with position i where not
        given.

    Raises
    ------
    RepresentationError
        Encodings of different numbers of neighbours, or, without pairs, of crystals.

    Examples
    --------
    >>> polonium = Crystals.single(np.eye(3) * 3.0, [[0, 0, 0]], [84])
    >>> wider = Crystals.single(np.eye(3) * 3.25, [[0, 0, 0]], [84])
    >>> pdd = PDD(k=6)
    >>> earth_movers_distance(pdd.encode(polonium), pdd.encode(wider)).tolist()
    [0.25]
    """
    widths = first["distances"].shape[1], second["distances"].shape[1]
    if widths[0] != widths[1]:
        raise RepresentationError(f"rows of {widths[0]} and of {widths[1]} neighbours")
    if pairs is None:
        if len(first) != len(second):
            raise RepresentationError(
                f"encodings of {len(first)} and of {len(second)} crystals: say which pairs"
            )
        pairs = np.stack([np.arange(len(first))] * 2, axis=1)
    places = np.asarray(pairs, np.int64).reshape(-1, 2)
    return np.array([_transport(*_rows(first, i), *_rows(second, j)) for i, j in places.tolist()])


def _rows(encoded: Encoded, place: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Weights and distances of one crystal."""
    start, stop = encoded.offsets["rows"][place : place + 2].tolist()
    return encoded["weights"][start:stop], encoded["distances"][start:stop]


def _transport(
    weights: npt.NDArray[Any],
    rows: npt.NDArray[Any],
    other_weights: npt.NDArray[Any],
    other_rows: npt.NDArray[Any],
) -> float:
    """The optimum of the transport problem between two weighted sets of rows."""
    supply, demand = np.asarray(weights, float), np.asarray(other_weights, float)
    # Weights come as float32: sums that differ in the eighth digit leave no feasible transport.
    supply, demand = supply / supply.sum(), demand / demand.sum()
    costs = np.abs(np.asarray(rows, float)[:, None] - other_rows).max(axis=2)
    n, m = costs.shape
    if min(n, m) == 1:
        return float((supply[:, None] * demand * costs).sum())
    carried = np.arange(n * m)
    sums = coo_array(
        (np.ones(2 * n * m), (np.r_[carried // m, n + carried % m], np.r_[carried, carried])),
        shape=(n + m, n * m),
    ).tocsr()
    # The last row follows from the others. Without whole-number conditions this is a linear
    # program, which milp hands to the solver with less ado than linprog.
    totals = np.r_[supply, demand][:-1]
    solved = milp(costs.ravel(), constraints=LinearConstraint(sums[:-1], totals, totals))
    if not solved.success:
        raise RepresentationError(f"the transport problem was not solved: {solved.message}")
    return float(solved.fun)
