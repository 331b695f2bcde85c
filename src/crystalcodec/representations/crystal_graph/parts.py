"""Connected parts of graphs, and the site of each that holds it in its place."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

__all__ = ["first_sites_of_parts"]

Ints = npt.NDArray[np.int64]


def first_sites_of_parts(centers: Ints, neighbors: Ints, n_sites: int) -> Ints:
    """The first site of each connected part, rising; an edge joins its ends both ways.

    Parameters
    ----------
    centers, neighbors : (m,)
        Ends of the edges, centres rising.
    n_sites
        Sites of the whole batch.
    """
    starts = np.searchsorted(centers, np.arange(n_sites + 1)).astype(np.int32)
    ones = np.ones(len(neighbors), np.int8)
    links = csr_array((ones, neighbors.astype(np.int32), starts), shape=(n_sites, n_sites))
    _, labels = connected_components(links, directed=False)
    return np.sort(np.unique(labels, return_index=True)[1]).astype(np.int64)
