"""Orders of the rows of a symmetric matrix: by norm, or by norm with noise on top."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals

__all__ = ["by_noisy_norm", "by_norm", "in_order", "site_noise"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]

# Norms, and keys that break ties, are equal below this difference relative to the largest norm:
# some hundred times the rounding, and far below what the last digit of a coordinate in a file
# makes. A larger one would take for equal what is not, and leave the order of sites to decide.
_TIE: Final = 1e-12


def in_order(matrices: Floats, order: Ints) -> Floats:
    """(n, w, w) matrices with rows and columns in the order (n, w)."""
    n, width, _ = matrices.shape
    rows = order + np.arange(0, n * width, width)[:, None]
    taken: Floats = matrices.reshape(-1)[rows[:, :, None] * width + order[:, None, :]]
    return taken


def by_norm(matrices: Floats, squares: Floats) -> Ints:
    """Order of the rows by falling norm; equal rows in an order that the matrix itself gives.

    Sites that symmetry makes equal have rows of one norm, and which of them comes first must not
    depend on the order in which a crystal lists them. The first is any of them, and the next is
    the one with the largest key: a sum over the rows taken so far of a weight times an entry
    that tells what the two rows have to do with each other. Rows whose keys are equal too are, but
    for a few crystals in a thousand, images of each other: any of them gives the same matrix.

    Parameters
    ----------
    matrices : (n, w, w)
        Symmetric; rows of zeros where there is no site.
    squares : (n, w)
        Squared norms of their rows.
    """
    order = np.argsort(-squares, axis=1, kind="stable")
    norms = np.sqrt(np.take_along_axis(squares, order, axis=1))
    lower = norms[:, :-1] - norms[:, 1:] > _TIE * norms[:, :1]
    lower |= norms[:, 1:] == 0  # no site, no tie
    tied = np.flatnonzero(~lower.all(axis=1))
    if len(tied):
        scaled = matrices[tied] / norms[tied, 0, None, None]
        order[tied] = _untied(scaled, order[tied], lower[tied])
    return order


def _untied(matrices: Floats, order: Ints, lower: npt.NDArray[np.bool_]) -> Ints:
    """The order of rows where some have the same norm as the one before: not ``lower``."""
    n, width, _ = matrices.shape
    # Paths over other rows, told apart by their direction: mirror twins differ in these alone.
    # Rows of the matrices have norms up to 1, and so have rows of links: weights add up to 1.
    links = 0.5 * matrices + 0.5 * ((matrices * matrices) @ matrices)
    links = 0.5 * links + 0.5 * ((links * links) @ links)
    classes = np.zeros((n, width))
    np.cumsum(lower, axis=1, out=classes[:, 1:])
    # Further apart than any sum of keys, so that norms come first.
    sites = (matrices.diagonal(axis1=1, axis2=2) != 0).sum(axis=1)
    classes *= -(2.0 * np.sqrt(sites) + 2.0)[:, None]
    keys = np.empty((n, width))
    np.put_along_axis(keys, order, classes, axis=1)
    keys += (links * links * links).sum(axis=1)
    order = np.empty((width, n), np.int64)
    flat, rows, starts = keys.reshape(-1), links.reshape(n * width, width), np.arange(n) * width
    for step in range(width):
        # Of equal keys the first: which one rounding makes the largest may depend on the batch.
        most = keys.max(axis=1)
        most -= _TIE
        taken = np.argmax(keys >= most[:, None], axis=1)
        order[step] = taken
        taken += starts
        keys += rows[taken] * (step + 2.0) ** -0.5
        flat[taken] = -np.inf
    return order.T


def by_noisy_norm(squares: Floats, sites: Ints, noise: Floats, sigma: float) -> Ints:
    """Order of the rows by falling norm plus ``sigma`` times the noise of their sites.

    Parameters
    ----------
    squares : (n, w)
        Squared norms of rows, 0 where there is no site.
    sites : (n, w)
        Site of each row, -1 where there is none.
    noise : (n_sites_total,)
        Of :func:`site_noise`.
    """
    height = np.where(sites >= 0, np.sqrt(squares) + sigma * noise[sites], -np.inf)
    return np.argsort(-height, axis=1, kind="stable")


def site_noise(crystals: Crystals, seed: int) -> Floats:
    """(n_sites_total,) standard normal numbers drawn from the seed and each crystal's content.

    They depend on its species and fractional coordinates, bit by bit, and on nothing else: a
    crystal has the same noise in every batch, and in every orientation.
    """
    words = crystals.frac_coords.view(np.uint64).reshape(-1, 3)
    state = _mixed(crystals.numbers.astype(np.uint64) + _mixed(np.uint64(seed)))
    for column in range(3):
        state = _mixed(state ^ words[:, column])
    place = np.arange(len(state)) - crystals.offsets[crystals.crystal_indices]
    state = _mixed(state + place.astype(np.uint64))
    whole = np.bitwise_xor.reduceat(state, crystals.offsets[:-1]) if len(state) else state
    state = _mixed(state ^ np.repeat(whole, crystals.n_sites))
    # Two uniform numbers of each state make a normal one (Box and Muller).
    first, second = ((_mixed(state + np.uint64(k)) >> np.uint64(11)) * 2.0**-53 for k in (1, 2))
    return np.asarray(np.sqrt(-2.0 * np.log1p(-first)) * np.cos(2.0 * np.pi * second))


def _mixed(words: Words | np.uint64) -> Words:
    """Words scrambled by the finaliser of SplitMix64, 10.1145/2660193.2660195."""
    with np.errstate(over="ignore"):
        mixed = np.asarray(words, np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(mixed ^ (mixed >> np.uint64(31)))
