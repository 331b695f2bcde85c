"""Planes through three atoms of a crystal: drawn at random, or all that symmetry tells apart."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.representations.slices.symmetry import cross, inequivalent

__all__ = [
    "COLLINEAR",
    "Planes",
    "PlanesError",
    "all_planes",
    "draw_planes",
    "has_planes",
    "per_atom_scales",
]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

COLLINEAR: Final = 0.01
"""Å in the scaled crystal; three atoms are collinear where the triangle is less high than this."""
_LISTED: Final = 40  # points; of more, triples are drawn and not listed first
_MAX_LISTED: Final = 150  # points, 551,300 triples: more take minutes to compare
# Copies of the atoms that stand in where the cell has too few for a plane.
_TRANSLATES: Final = np.array(
    [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1], [1, 1, 1]]
)


class PlanesError(ValueError):
    """A crystal without the planes that are wanted.

    Parameters
    ----------
    reason, detail
        As of a failure.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


@dataclass(frozen=True)
class Planes:
    """Planes of one crystal, each through three atoms; Å in the scaled crystal.

    Parameters
    ----------
    sites : (n, 3)
        The sites of the three atoms, in rising order.
    translations : (n, 3, 3)
        The lattice translation that each of the three is moved by: zero for atoms of the cell.
    frames : (n, 3, 3)
        Rows: along the picture to the right (from the first atom to the second), upwards, and the
        normal towards the viewer. Right-handed.
    origins : (n, 3)
        The first atom: the middle of the picture.
    scale
        The factor that every length was multiplied by.
    n_collinear
        Number of triples that were left out because their atoms stand in a row; of those looked
        at, where planes were drawn at random.
    """

    sites: Ints
    translations: Ints
    frames: Floats
    origins: Floats
    scale: float
    n_collinear: int = 0

    def __len__(self) -> int:
        return len(self.sites)

    def __getitem__(self, key: Any) -> Planes:
        return Planes(
            self.sites[key],
            self.translations[key],
            self.frames[key],
            self.origins[key],
            self.scale,
            self.n_collinear,
        )


def per_atom_scales(crystals: Crystals, volume_per_atom: float | None = 1.0) -> Floats:
    """(n,) factors of all lengths that give each crystal so many Å3 an atom; None: as it is."""
    if volume_per_atom is None:
        return np.ones(len(crystals))
    return np.asarray(np.cbrt(volume_per_atom * crystals.n_sites / crystals.volumes), float)


def has_planes(crystals: Crystals, scales: Floats) -> tuple[npt.NDArray[np.bool_], ...]:
    """(n,) whether the atoms of the cell are three at least, and not all in a row."""
    counts = crystals.n_sites
    if not len(crystals):
        return np.zeros(0, bool), np.zeros(0, bool)
    owner = crystals.crystal_indices
    cart = crystals.cart_coords * scales[owner, None]
    apart = cart - cart[crystals.offsets[:-1]][owner]
    squares = (apart * apart).sum(axis=1)
    largest = np.maximum.reduceat(squares, crystals.offsets[:-1])
    # The first of the atoms furthest from the first one.
    place = np.where(squares == largest[owner], np.arange(len(owner)), len(owner))
    axis = apart[np.minimum.reduceat(place, crystals.offsets[:-1])][owner]
    aside = np.linalg.norm(cross(apart, axis), axis=1)
    heights = np.maximum.reduceat(aside, crystals.offsets[:-1])
    # A triangle's least height is at least half its height over this side.
    spread = heights > 2 * COLLINEAR * np.sqrt(largest)
    return counts >= 3, spread


def draw_planes(
    crystal: Crystals,
    n: int,
    *,
    seed: int = 0,
    scale: float = 1.0,
    translates: bool = True,
    fewer: bool = False,
) -> Planes:
    """Draw n planes at random; the same crystal and seed give the same planes.

    Every triple of atoms of the cell whose atoms are not in a row is equally likely, and is drawn
    once at most. The random numbers depend on the seed, on the species and on the fractional
    coordinates: not on the batch or the orientation.

    Parameters
    ----------
    crystal
        One crystal.
    n
        Number of planes.
    seed
        Seed of the random choice.
    scale
        Factor of all lengths.
    translates
        Whether a crystal that has fewer planes takes the atoms of 2 x 2 x 2 cells.
    fewer
        Whether fewer planes will do, where there are not more; one at least.

    Raises
    ------
    PlanesError
        ``fewer than three atoms``, ``collinear atoms``, ``too few planes``.
    """
    fault = PlanesError("too few planes", "none")
    for copies in (1, len(_TRANSLATES)) if translates else (1,):
        points = _points(crystal, scale, copies)
        # As many as wanted, even where fewer will do, are looked for among the translates first.
        enough = 1 if fewer and (not translates or copies > 1) else n
        rng = np.random.default_rng(_seed(crystal, seed))
        try:
            triples, n_collinear = _drawn(points, n, enough, rng)
        except PlanesError as error:
            # Its traceback holds this frame and with it, in a circle, all arrays of the callers.
            fault = error.with_traceback(None)
            continue
        return _planes(points, triples, len(crystal.numbers), scale, n_collinear)
    raise fault


def all_planes(
    crystal: Crystals,
    *,
    scale: float = 1.0,
    translates: bool = True,
    symprec: float | None = 0.01,
) -> Planes:
    """Every plane through three atoms of the cell, those equivalent by symmetry once.

    Two planes are equivalent where an operation of the space group (moyopy) with any lattice
    translation brings one onto the other. Lattice planes, of Miller indices up to 24, are compared
    by indices and offset. Others, which hold few atoms and no lattice net, are compared by
    direction and by the sites on them; one that passes through four sites or more, of which three
    stand in this cell and three others in another, can be counted twice.

    Parameters
    ----------
    crystal
        One crystal.
    scale
        Factor of all lengths.
    translates
        Whether a crystal without a plane takes the atoms of 2 x 2 x 2 cells.
    symprec
        Å; how far sites may be from symmetric places. None: no symmetry but the lattice's.

    Returns
    -------
    Planes
        The first triple of each, in rising order; ``n_collinear`` of all triples stand in a row.

    Raises
    ------
    PlanesError
        ``fewer than three atoms``, ``collinear atoms``, ``too many atoms`` (more than 150, whose
        triples take minutes to compare), ``symmetry not found``.
    """
    copies = 1
    while True:
        points = _points(crystal, scale, copies)
        if len(points) > _MAX_LISTED:
            raise PlanesError(
                "too many atoms",
                f"{len(points)} atoms, all triples are listed of {_MAX_LISTED} at most: draw "
                "planes at random",
            )
        triples = _triples(len(points))
        good = ~_collinear(points, triples)
        if good.any() or not translates or copies > 1:
            break
        copies = len(_TRANSLATES)
    _require_three(points)
    if not good.any():
        raise PlanesError("collinear atoms", f"all {len(points)} atoms stand in a row")
    chosen = triples[good]
    cells = _TRANSLATES[chosen // len(crystal.numbers)]
    try:
        representatives = inequivalent(crystal, chosen % len(crystal.numbers), cells, symprec)
    except ValueError as error:
        raise PlanesError("symmetry not found", str(error)) from None
    return _planes(points, chosen[representatives], len(crystal.numbers), scale, int((~good).sum()))


def _points(crystal: Crystals, scale: float, copies: int) -> Floats:
    """(copies * n_sites, 3) the atoms of the cell, then their translates; scaled, Å."""
    coords = (crystal.frac_coords + _TRANSLATES[:copies, None]).reshape(-1, 3)
    return np.asarray(coords @ (crystal.lattices[0] * scale), float)


def _seed(crystal: Crystals, seed: int) -> int:
    digest = hashlib.blake2b(str(seed).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(crystal.numbers, "<i8").data)
    digest.update(np.ascontiguousarray(crystal.frac_coords, "<f8").data)
    return int.from_bytes(digest.digest(), "little")


def _require_three(points: Floats) -> None:
    if len(points) < 3:
        raise PlanesError(
            "fewer than three atoms",
            f"{len(points)} atoms in the cell, three define a plane: allow translates",
        )


@lru_cache(maxsize=_LISTED)
def _few_triples(n: int) -> Ints:
    return _triples(n)


def _triples(n: int) -> Ints:
    """(n (n - 1) (n - 2) / 6, 3) all unordered triples, rising."""
    triples = np.fromiter((i for t in combinations(range(n), 3) for i in t), np.int64)
    triples.flags.writeable = False
    return triples.reshape(-1, 3)


def _collinear(points: Floats, triples: Ints) -> npt.NDArray[np.bool_]:
    """(n,) whether the triangle is less high than :data:`COLLINEAR`."""
    a, b, c = points[triples.T]
    u, v = b - a, c - a
    area = cross(u, v)
    longest = np.maximum(
        np.maximum((u * u).sum(axis=1), (v * v).sum(axis=1)), ((v - u) ** 2).sum(axis=1)
    )
    return np.asarray((area * area).sum(axis=1) <= COLLINEAR**2 * longest, bool)


def _drawn(points: Floats, n: int, enough: int, rng: np.random.Generator) -> tuple[Ints, int]:
    """So many different triples that are not collinear, and how many collinear ones were met."""
    _require_three(points)
    if len(points) <= _LISTED:
        listed = _few_triples(len(points))
        order = rng.permutation(len(listed))
        n_collinear = 0
        kept: list[Ints] = []
        step = max(4 * n, 16)  # most often the first few are enough
        for start in range(0, len(order), step):
            some = listed[order[start : start + step]]
            bad = _collinear(points, some)
            kept.append(some[~bad])
            n_collinear += int(bad.sum())
            if sum(map(len, kept)) >= n:
                return np.concatenate(kept)[:n], n_collinear
        n_kept = sum(map(len, kept))
        if n_kept >= enough:
            return np.concatenate(kept), n_collinear
        if not n_kept:
            raise PlanesError("collinear atoms", f"all {len(points)} atoms stand in a row")
        raise PlanesError("too few planes", f"{n_kept} triples of atoms, {n} planes wanted")
    return _drawn_of_many(points, n, enough, rng)


def _drawn_of_many(
    points: Floats, n: int, enough: int, rng: np.random.Generator
) -> tuple[Ints, int]:
    found: dict[tuple[int, ...], None] = {}
    n_collinear = 0
    crystal_axis = points - points[0]
    far = crystal_axis[(crystal_axis**2).sum(axis=1).argmax()]
    aside = np.linalg.norm(np.cross(crystal_axis, far), axis=1).max()
    if aside <= 2 * COLLINEAR * np.linalg.norm(far):
        raise PlanesError("collinear atoms", f"all {len(points)} atoms stand in a row")
    for _ in range(200):
        some = np.sort(rng.integers(len(points), size=(4 * n + 60, 3)), axis=1)
        some = some[(np.diff(some, axis=1) > 0).all(axis=1)]
        bad = _collinear(points, some)
        n_collinear += int(bad.sum())
        found |= dict.fromkeys(map(tuple, some[~bad].tolist()))
        if len(found) >= n:
            return np.array([*found][:n], np.int64), n_collinear
    if len(found) >= enough:
        return np.array([*found], np.int64), n_collinear
    raise PlanesError(
        "too few planes", f"{len(found)} triples of {len(points)} atoms found, {n} planes wanted"
    )


def _planes(points: Floats, triples: Ints, n_sites: int, scale: float, n_collinear: int) -> Planes:
    a, b, c = points[triples.T]
    right = b - a
    right /= np.linalg.norm(right, axis=1)[:, None]
    normal = cross(right, c - a)
    normal /= np.linalg.norm(normal, axis=1)[:, None]
    frames = np.stack([right, cross(normal, right), normal], axis=1)
    return Planes(triples % n_sites, _TRANSLATES[triples // n_sites], frames, a, scale, n_collinear)
