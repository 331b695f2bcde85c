"""The line graph: pairs of edges of one centre and the angle between them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["edge_pairs"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def edge_pairs(centers: Ints, vectors: Floats, distances: Floats) -> tuple[Ints, Floats]:
    """All pairs of different edges that share their centre, each once, and their cosines.

    Parameters
    ----------
    centers : (m,)
        Rising: edges of one centre stand together.
    vectors : (m, 3)
    distances : (m,)

    Returns
    -------
    pairs : (p, 2)
        Rows of edges, first before second, by the first and then by the second.
    cosines : (p,)
        Of the angle at the centre, from -1 to 1.
    """
    ends = np.searchsorted(centers, centers, side="right")
    after = ends - np.arange(len(centers)) - 1
    first = np.repeat(np.arange(len(centers)), after)
    starts = np.cumsum(after) - after
    second = np.arange(len(first)) - np.repeat(starts, after) + first + 1
    unit = vectors / np.where(distances > 0, distances, 1.0)[:, None]
    one, other = unit[first], unit[second]
    cosines = one[:, 0] * other[:, 0] + one[:, 1] * other[:, 1] + one[:, 2] * other[:, 2]
    return np.stack([first, second], axis=1), np.clip(cosines, -1.0, 1.0)
