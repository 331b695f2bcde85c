"""Distances between all sites of periodic crystals, fast: the shortest image and no vectors."""

from __future__ import annotations

from itertools import product
from typing import Final

import numpy as np
import numpy.typing as npt

from crystalcodec.representations.minimum_images import reduced_cells

__all__ = ["reduce_skew", "site_distances"]

Floats = npt.NDArray[np.float64]

# Steps to neighbouring cells, one of each opposite pair: the sign that points along a vector is
# the one that can shorten it.
_STEPS: Final = np.array([s for s in product((-1, 0, 1), repeat=3) if s > (0, 0, 0)])
# Pairs of sites at once: their working arrays stay in the processor's cache.
_PAIRS_AT_ONCE: Final = 16_384


def site_distances(
    lattices: Floats, frac_coords: Floats, reduced: tuple[Floats, Floats] | None = None
) -> Floats:
    """(k, s, s) distances, Å, between the nearest images of the sites of crystals of s sites.

    Parameters
    ----------
    lattices : (k, 3, 3)
        Cell vectors in rows, Å; any cell, however skew.
    frac_coords : (k, s, 3)
        Any fractional coordinates.
    reduced
        What :func:`reduce_skew` gives for these lattices, where it is known.

    Examples
    --------
    >>> site_distances(np.eye(3)[None] * 4, np.array([[[0, 0, 0], [0.75, 0, 0]]]))[0].tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    k, sites = frac_coords.shape[:2]
    out = np.zeros((k, sites, sites))
    first, second = np.triu_indices(sites, 1)
    if not len(first) or not k:
        return out
    cells, changes = reduce_skew(lattices) if reduced is None else reduced
    frac_coords = np.einsum("ksi,kij->ksj", frac_coords, changes)
    for start in range(0, k, step := max(1, _PAIRS_AT_ONCE // len(first))):
        part = slice(start, start + step)
        coords = np.ascontiguousarray(frac_coords[part].transpose(2, 0, 1))
        apart = coords[..., first] - coords[..., second]
        apart -= np.rint(apart)
        distances = _nearest(apart, cells[part])
        out[part, first, second] = distances
        out[part, second, first] = distances
    return out


def _nearest(apart: Floats, lattices: Floats) -> Floats:
    """(k, p) lengths of the nearest images of differences (3, k, p) in [-1/2, 1/2]."""
    gram = np.einsum("kix,kjx->ijk", lattices, lattices)[..., None]
    # Products of each difference with the cell vectors; with a step of whole numbers t they give
    # |d + t|² = |d|² + 2 d·t + |t|².
    along = [sum(gram[i, j] * apart[j] for j in range(3)) for i in range(3)]
    squares = sum(along[i] * apart[i] for i in range(3))
    shorter = np.zeros_like(squares)
    for step in _STEPS:
        used = [(i, int(s)) for i, s in enumerate(step) if s]
        product_ = along[used[0][0]] * float(used[0][1])
        for i, sign in used[1:]:
            (np.add if sign > 0 else np.subtract)(product_, along[i], out=product_)
        np.abs(product_, out=product_)
        product_ *= -2.0
        product_ += sum(gram[i, j] * float(s * t) for i, s in used for j, t in used)
        np.minimum(shorter, product_, out=shorter)
    squares += shorter
    return np.asarray(np.sqrt(np.maximum(squares, 0.0)), float)


def reduce_skew(lattices: Floats) -> tuple[Floats, Floats]:
    """Minkowski-reduced cells (n, 3, 3), and (n, 3, 3) what turns coordinates into theirs.

    Cells that are reduced already, as most are, stay as they are, with the unit matrix.
    """
    gram = np.einsum("kix,kjx->ijk", lattices, lattices)
    size = np.stack([gram[i, i] for i in range(3)])
    skew = np.zeros(len(lattices), bool)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        skew |= 2 * np.abs(gram[i, j]) > np.minimum(size[i], size[j]) * (1 + 1e-9)
    least = size.sum(axis=0) - size.max(axis=0)
    for s, t in product((-1, 1), repeat=2):
        crossed = s * gram[0, 1] + t * gram[0, 2] + s * t * gram[1, 2]
        skew |= least + 2 * crossed < -1e-9 * least
    cells = np.array(lattices, float)
    changes = np.broadcast_to(np.eye(3), cells.shape).copy()
    if skew.any():
        cells[skew], steps = reduced_cells(cells[skew])
        changes[skew] = np.rint(np.linalg.inv(steps))
    return cells, changes
