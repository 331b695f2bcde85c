"""The sites that symmetry operations generate from listed ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from crystalcodec.geometry import wrap
from crystalcodec.io.cif_values import CifError

__all__ = ["Operations", "expand"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]

# Å; images of one listed site closer than this are one atom on a special position, written with
# few digits: three of them make up to 0.05 Å in a cell of 30 Å. Two atoms are never that close.
_SPECIAL_POSITION: Final = 0.05
_MAX_IMAGES: Final = 2_000_000
# Pairs of images looked at together: bounds the memory, some 30 MB.
_PAIRS_AT_ONCE: Final = 1_000_000
# Translations of space groups are multiples of 1/24 of the cell.
_TRANSLATIONS: Final = 24


@dataclass(frozen=True, eq=False)
class Operations:
    """Symmetry operations on fractional coordinates, x' = R x + t.

    Parameters
    ----------
    rotations : (g, 3, 3)
        R.
    translations : (g, 3)
        t.
    """

    rotations: Floats
    translations: Floats

    @cached_property
    def products(self) -> npt.NDArray[np.int16] | None:
        """(g, g) position of the product of operations i and j; None where they are no group."""
        rotations = np.rint(self.rotations).astype(np.int64)
        translations = np.rint(self.translations * _TRANSLATIONS).astype(np.int64)
        n = len(rotations)
        if n > 400 or np.abs(rotations).max() > 1:
            return None
        keys = _keys(rotations, translations)
        order = np.argsort(keys)
        if (np.diff(keys[order]) == 0).any():
            return None
        products = np.einsum("iab,jbc->ijac", rotations, rotations)
        if np.abs(products).max() > 1:
            return None
        moved = translations[:, None] + np.einsum("iab,jb->ija", rotations, translations)
        wanted = _keys(products, moved)
        found = order[np.minimum(np.searchsorted(keys, wanted, sorter=order), n - 1)]
        return found.astype(np.int16) if (keys[found] == wanted).all() else None


def _keys(rotations: Ints, translations: Ints) -> Ints:
    """A number for each operation, the same where two differ by a lattice vector only."""
    digits = (rotations + 1).reshape(*rotations.shape[:-2], 9)
    shifts = translations % _TRANSLATIONS
    return np.asarray(
        digits @ 3 ** np.arange(9) + 3**9 * (shifts @ _TRANSLATIONS ** np.arange(3)), np.int64
    )


def expand(
    frac_coords: Floats, operations: Operations, cell: Sequence[float]
) -> tuple[Floats, Ints]:
    """All sites of the cell that operations generate from listed ones.

    Images of one listed site that fall together are one atom (a special position); the image of
    the first operation that gives it is kept, its digits as they are. Images of different listed
    sites are kept, also where they fall together: that is for a later check to refuse.

    Parameters
    ----------
    frac_coords : (n, 3)
        Listed sites.
    operations
        What is applied to them.
    cell
        a, b, c in Å and alpha, beta, gamma in degrees.

    Returns
    -------
    frac_coords : (m, 3)
        Sites of the cell, in [0, 1): those of the first listed site in the order of the
        operations, then those of the second.
    listed : (m,)
        The listed site that each came from.

    Raises
    ------
    CifError
        A cell that closes no volume; sites without end.
    """
    n_images = len(operations.rotations)
    if len(frac_coords) * n_images > _MAX_IMAGES:
        raise CifError(
            "too many sites",
            f"{len(frac_coords)} sites under {n_images} operations: at most {_MAX_IMAGES} images "
            "are looked at",
        )
    frame = _frame(cell)
    rotated = np.einsum("gij,nj->ngi", operations.rotations, frac_coords)
    images = wrap(rotated + operations.translations)
    if operations.products is not None:
        kept = _first_images_of_group(frac_coords, images, operations.products, frame)
    else:
        at_once = max(1, _PAIRS_AT_ONCE // n_images**2)
        starts = range(0, len(images), at_once)
        kept = np.concatenate([_first_images(images[i : i + at_once], frame) for i in starts])
    return images[kept], np.nonzero(kept)[0]


def _frame(cell: Sequence[float]) -> Floats:
    """(3, 3) vectors of a cell in rows, Å, in some orientation."""
    lengths, cosines = np.array(cell[:3]), np.cos(np.radians(cell[3:]))
    metric = np.outer(lengths, lengths)
    for i, j, cosine in ((1, 2, cosines[0]), (0, 2, cosines[1]), (0, 1, cosines[2])):
        metric[i, j] = metric[j, i] = metric[i, j] * cosine
    try:
        if not (lengths > 0).all() or not np.isfinite(metric).all():
            raise np.linalg.LinAlgError("no lengths")
        return np.asarray(np.linalg.cholesky(metric), float)
    except np.linalg.LinAlgError as error:
        detail = f"cell {tuple(cell)} closes no cell"
        raise CifError("no volume", detail, tag="_cell_length_a") from error


def _first_images_of_group(
    frac_coords: Floats, images: Floats, products: npt.NDArray[np.int16], frame: Floats
) -> Booleans:
    """(n, g) whether no earlier image of the same site is at the same place.

    In a group, operations i and j put a site at the same place where j is the product of i and an
    operation that leaves the site where it is; so it is enough to find those.
    """
    apart = images - frac_coords[:, None]
    apart -= np.rint(apart)
    vectors = apart @ frame
    stays = np.einsum("ngi,ngi->ng", vectors, vectors) < _SPECIAL_POSITION**2
    kept = np.ones(images.shape[:2], bool)
    first = np.arange(len(products))
    for site in np.flatnonzero(stays.sum(axis=1) > 1).tolist():
        kept[site] = products[:, stays[site]].min(axis=1) >= first
    return kept


def _first_images(images: Floats, frame: Floats) -> Booleans:
    """The same for operations that are no group, by the distances of all images."""
    from scipy.spatial import cKDTree

    n_listed, n_images = images.shape[:2]
    flat = images.reshape(-1, 3)
    # Height of the cell along each axis: points closer than a distance are also closer than it
    # along each axis measured in heights. A fourth axis keeps different sites apart.
    heights = 1 / np.linalg.norm(np.linalg.inv(frame), axis=0)
    places = np.empty((len(flat), 4))
    places[:, :3] = np.minimum(flat * heights, np.nextafter(heights, 0))
    places[:, 3] = np.repeat(np.arange(n_listed), n_images)
    tree = cKDTree(places, boxsize=[*heights, 0])
    pairs = tree.query_pairs(_SPECIAL_POSITION, p=np.inf, output_type="ndarray")
    first, second = np.sort(pairs.reshape(-1, 2), axis=1).T
    apart = flat[second] - flat[first]
    apart -= np.rint(apart)
    near = np.linalg.norm(apart @ frame, axis=1) < _SPECIAL_POSITION
    kept = np.ones(len(flat), bool)
    kept[second[near]] = False
    return kept.reshape(n_listed, n_images)
