"""The terms of a many-body tensor: what of one, two or three atoms is counted, and how much."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.representations.base import RepresentationError
from crystalcodec.representations.mbtr.broadening import Broadening

__all__ = ["GEOMETRIES", "WEIGHTINGS", "Term"]

Floats = npt.NDArray[np.float64]

GEOMETRIES: Final[Mapping[int, tuple[str, ...]]] = {
    1: ("atomic_number",),
    2: ("distance", "inverse_distance"),
    3: ("angle", "cosine"),
}
"""What is counted, by the number of atoms."""

WEIGHTINGS: Final[Mapping[int, tuple[str, ...]]] = {
    1: ("unity",),
    2: ("exp", "inverse_square"),
    3: ("exp", "smooth_cutoff"),
}
"""How it is weighted, by the number of atoms."""

_UNITS: Final = {"distance": "Å", "inverse_distance": "1/Å", "angle": "degree"}


@dataclass(frozen=True)
class Term:
    """One term: a function of ``k`` atoms, its weight, and the grid of its distribution.

    Raises
    ------
    RepresentationError
        Values that make no term; the message names them as the parameters of the
        representation.
    """

    k: int
    geometry: str
    grid: tuple[float, float, int, float]
    weighting: str = "unity"
    r_cut: float | None = None
    scale: float | None = None
    threshold: float = 1e-3
    sharpness: float = 2.0

    def __post_init__(self) -> None:
        k = f"k{self.k}"
        _one_of(f"{k}_geometry", self.geometry, GEOMETRIES[self.k])
        if self.weighting == "unity" and self.k > 1:
            raise RepresentationError(
                f"{k}_weighting is 'unity': without weights the sum over a crystal has no end; "
                f"use {' or '.join(WEIGHTINGS[self.k])}"
            )
        _one_of(f"{k}_weighting", self.weighting, WEIGHTINGS[self.k])
        if len(self.grid) != 4:
            raise RepresentationError(
                f"{k}_grid is {self.grid}: wanted minimum, maximum, number of points and sigma"
            )
        low, high, n, sigma = self.grid
        if not (all(map(math.isfinite, self.grid)) and low < high and sigma > 0):
            raise RepresentationError(
                f"{k}_grid is {self.grid}: wanted a minimum below the maximum, and a sigma above 0"
            )
        if n != int(n) or n < 2:
            raise RepresentationError(f"{k}_grid has {n} points, wanted a whole number from 2")
        if self.k > 1:
            self._check_weighting(k)

    def _check_weighting(self, k: str) -> None:
        for name in ("r_cut", "scale", "sharpness"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise RepresentationError(f"{k}_{name} is {value}, wanted a number above 0")
        if self.weighting != "exp":
            if self.r_cut is None:
                raise RepresentationError(f"{k}_weighting {self.weighting!r} needs {k}_r_cut, Å")
            if self.scale is not None:
                raise RepresentationError(
                    f"{k}_scale is {self.scale}: the weighting {self.weighting!r} has none"
                )
            return
        if (self.r_cut is None) == (self.scale is None):
            raise RepresentationError(
                f"{k}_r_cut is {self.r_cut} and {k}_scale is {self.scale}: give one and set the "
                f"other to None; with {k}_threshold each follows from the other"
            )
        if not 0 < self.threshold < 1:
            raise RepresentationError(
                f"{k}_threshold is {self.threshold}, wanted a number between 0 and 1"
            )

    @property
    def name(self) -> str:
        """Such as ``"k2"``."""
        return f"k{self.k}"

    @property
    def n(self) -> int:
        """Points of the grid."""
        return int(self.grid[2])

    @property
    def unit(self) -> str:
        """Unit of the grid, empty where it has none."""
        return _UNITS.get(self.geometry, "")

    @cached_property
    def points(self) -> Floats:
        """(n,) the grid."""
        return np.linspace(self.grid[0], self.grid[1], self.n)

    @cached_property
    def broadening(self) -> Broadening:
        """Gaussians on the grid."""
        low, high, n, sigma = self.grid
        return Broadening(float(low), float(high), int(n), float(sigma))

    @property
    def reach(self) -> float:
        """Distance in Å from which on two atoms have no weight (k2), or no triple is in (k3)."""
        if self.r_cut is not None:
            return float(self.r_cut)
        # A triple is as far as its path there and back, so that half of it is a distance.
        return -math.log(self.threshold) / (self._decay * (1 if self.k == 2 else 2))

    @property
    def _decay(self) -> float:
        if self.scale is not None:
            return float(self.scale)
        return -math.log(self.threshold) / (self.reach * (1 if self.k == 2 else 2))

    def n_combinations(self, n_elements: Any) -> Any:
        """How many spectra that many elements make."""
        pairs = n_elements * (n_elements + 1) // 2
        return {1: n_elements, 2: pairs, 3: n_elements * pairs}[self.k]

    def factor(self) -> float:
        """Height of a Gaussian of area 1, by which heights of 1 are had."""
        return 1 / (float(self.grid[3]) * math.sqrt(2 * math.pi))

    def of_pairs(self, distances: Floats) -> tuple[Floats, Floats]:
        """Values and weights of pairs at these distances."""
        values = distances if self.geometry == "distance" else 1 / distances
        if self.weighting == "exp":
            return values, np.exp(-self._decay * distances)
        return values, 1 / (distances * distances)

    def angles(self, cosines: Floats) -> Floats:
        """Values of triples with these cosines at the middle atom."""
        cosines = np.clip(cosines, -1, 1)
        return np.degrees(np.arccos(cosines)) if self.geometry == "angle" else cosines

    def of_perimeters(self, perimeters: Floats) -> Floats:
        """Weights of triples with these lengths of the way around (``exp``)."""
        return np.exp(-self._decay * perimeters)

    def of_sides(self, distances: Floats) -> Floats:
        """What a side of this length gives to the weight of a triple (``smooth_cutoff``)."""
        y, x = self.sharpness, distances / self.reach
        power = x**y
        return 1 + y * power * x - (y + 1) * power


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise RepresentationError(f"{name} is {value!r}, wanted {' or '.join(map(repr, known))}")
