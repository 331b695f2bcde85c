"""The Wyckoff positions of all space groups: where their points are, and what a point is copied to.

Groups are in the standard setting of moyopy: axis b unique, hexagonal axes, origin choice 2.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from importlib.resources import files
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.geometry import wrap

__all__ = ["LETTERS", "N_SPACE_GROUPS", "WyckoffPositions", "wyckoff_positions"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

N_SPACE_GROUPS: Final = 230
LETTERS: Final = "abcdefghijklmnopqrstuvwxyzA"
"""Wyckoff letters; the first one is number 1. Only group 47 has the last."""

_TERM: Final = re.compile(r"([+-]?)(\d+/\d+|\d*)([xyz]?)")
_SOME_POINT: Final = np.array([0.1234567, 0.2718281, 0.3819660])
_SAME: Final = 1e-6


@dataclass(frozen=True, eq=False)
class WyckoffPositions:
    """Tables of all positions; those of a group stand together, a first. Position 0 is none.

    A position is a point, or a line, plane or space of them, in the fractional coordinates of the
    conventional cell (columns x), and its images are the sites of the primitive cell (columns y)
    that symmetry copies a point of it to.

    Parameters
    ----------
    first : (231,)
        The position before the first one of each group, so that letter number k of group g is
        position ``first[g] + k``.
    n_letters : (231,)
        Positions of each group; 0 for 0, no group.
    symmetries
        Site symmetry of each position.
    projectors : (1732, 3, 3), points : (1732, 3)
        x is on the position where x = point + projector (x - point), the projector symmetric; and
        where this holds after whole numbers are added to x.
    n_free : (1732,)
        Numbers that are free: 0 for a point to 3 for the general position.
    n_sites : (1732,)
        Images of a point in the primitive cell.
    starts : (1732,)
        The first of its rows in ``linears`` and ``shifts``.
    linears : (n_images, 3, 3), shifts : (n_images, 3)
        Images: y = linear x + shift. The first one is x itself.
    to_primitive : (231, 3, 3)
        y = matrix x, and whole numbers for every lattice vector. Rows of the primitive cell are
        the inverse of its transpose times those of the conventional one.
    """

    first: Ints
    n_letters: Ints
    symmetries: tuple[str, ...]
    projectors: Floats
    points: Floats
    n_free: Ints
    n_sites: Ints
    starts: Ints
    linears: Floats
    shifts: Floats
    to_primitive: Floats

    def index(self, groups: Ints, letters: Ints) -> Ints:
        """The position of each letter number (1 for a) of each group; 0 where there is none."""
        there = (letters >= 1) & (letters <= self.n_letters[groups])
        return np.where(there, self.first[groups] + letters, 0)

    def images(self, positions: Ints, coords: Floats) -> tuple[Floats, Ints]:
        """The sites of orbits.

        Parameters
        ----------
        positions : (n,)
            Of each orbit.
        coords : (n, 3)
            A point of it, in the conventional cell.

        Returns
        -------
        frac_coords : (n_images, 3)
            In the primitive cell, not wrapped, orbit after orbit.
        orbits : (n_images,)
            The orbit of each.
        """
        counts = self.n_sites[positions]
        orbits = np.repeat(np.arange(len(positions)), counts)
        place = np.arange(len(orbits)) - np.repeat(np.cumsum(counts) - counts, counts)
        rows = self.starts[positions][orbits] + place
        made = np.einsum("sij,sj->si", self.linears[rows], coords[orbits]) + self.shifts[rows]
        return np.asarray(made, float), orbits


@cache
def wyckoff_positions() -> WyckoffPositions:
    """The tables of all 1,731 positions; made once, in about a second."""
    import moyopy

    text = files(__package__).joinpath("positions.csv").read_text()
    rows = [*csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))]
    numbers = np.array([int(row["number"]) for row in rows])
    n_letters = np.bincount(numbers, minlength=N_SPACE_GROUPS + 1)
    forms = [_form(row["coordinates"]) for row in rows]
    projectors = np.array(
        [np.zeros((3, 3)), *(slope @ np.linalg.pinv(slope) for slope, _ in forms)]
    )
    points = np.array([np.zeros(3), *(point for _, point in forms)])
    linears, shifts, counts = [np.zeros((0, 3, 3))], [np.zeros((0, 3))], [0]
    to_primitive = np.broadcast_to(np.eye(3), (N_SPACE_GROUPS + 1, 3, 3)).copy()
    setting = moyopy.Setting.standard()
    operations: dict[int, Any] = {}
    for row, (slope, point) in zip(rows, forms, strict=True):
        number = int(row["number"])
        if number not in operations:
            found = moyopy.operations_from_number(number, setting=setting)
            hall = moyopy.HallSymbolEntry(hall_number=int(row["hall_number"]))
            to_primitive[number] = matrix = np.array(hall.centering.linear, float)
            operations[number] = (
                matrix @ np.array(found.rotations, float),
                np.array(found.translations) @ matrix.T,
            )
        rotated, moved = operations[number]
        images = wrap(rotated @ (slope @ _SOME_POINT + point) + moved)
        apart = images[:, None] - images
        same = np.abs(apart - np.rint(apart)).max(axis=2) < _SAME
        chosen = same.argmax(axis=1) == np.arange(len(images))
        linears.append(rotated[chosen])
        shifts.append(moved[chosen])
        counts.append(int(chosen.sum()))
    n_sites = np.array(counts)
    return WyckoffPositions(
        first=np.cumsum(n_letters) - n_letters,
        n_letters=n_letters,
        symmetries=("", *(row["site_symmetry"] for row in rows)),
        projectors=projectors,
        points=points,
        n_free=np.rint(np.trace(projectors, axis1=1, axis2=2)).astype(np.int64),
        n_sites=n_sites,
        starts=np.cumsum(n_sites) - n_sites,
        linears=np.concatenate(linears),
        shifts=np.concatenate(shifts),
        to_primitive=to_primitive,
    )


def _form(coordinates: str) -> tuple[Floats, Floats]:
    """Slope (3, 3) and point (3,) of coordinates such as ``x,2x,1/4``."""
    slope, point = np.zeros((3, 3)), np.zeros(3)
    for row, part in enumerate(coordinates.replace(" ", "").split(",")):
        for sign, amount, letter in _TERM.findall(part):
            if not (amount or letter):
                continue
            value = float(Fraction(amount or 1)) * (-1 if sign == "-" else 1)
            if letter:
                slope[row, "xyz".index(letter)] += value
            else:
                point[row] += value
    return slope, point
