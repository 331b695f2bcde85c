"""Crystals reduced as pymatgen's StructureMatcher reduces them, and what a comparison needs."""

from __future__ import annotations

import math
import warnings
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals, CrystalsError
from crystalcodec.data.matching.tolerances import Tolerances
from crystalcodec.failures import Failure

__all__ = ["REFUSALS", "Cell", "reduce_crystals"]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

REFUSALS: Final = (
    "cell too elongated",
    "too many sites",
    "no reduced cell",
    "cell too small",
)
"""Why a crystal cannot be compared with any other."""

# Lattice points within the longest vector and its tolerance. Two crystals are compared by going
# through triples of them; a cell 40 times as long as it is wide has as many.
_MOST_POINTS: Final = 20_000
# Bytes that the search for the primitive cell may take.
_MOST_MEMORY: Final = 2e9
# Å3. pymatgen lists the images within 0.1 Å at least, which are without number in a smaller cell.
_LEAST_VOLUME: Final = 1e-4


def reduce_crystals(crystals: Crystals, tolerances: Tolerances) -> tuple[Crystals, list[Failure]]:
    """Niggli cells, then primitive ones, by pymatgen; those that fail are left out and told.

    The two steps in this order, with pymatgen's tolerance of 0.25 Å for the primitive cell, are
    what ``StructureMatcher`` does before each comparison.
    """
    from crystalcodec.io.foreign import from_pymatgen, to_pymatgen

    reduced: list[Crystals] = []
    failures: list[Failure] = []
    for i, crystal in enumerate(crystals):
        try:
            _check_size(crystal)
            _check_shape(crystal.lattices[0], tolerances)
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                [structure] = to_pymatgen(crystal)
                structure = structure.get_reduced_structure("niggli").get_primitive_structure()
            small = from_pymatgen(structure)
            _check_shape(small.lattices[0], tolerances)
        except _Refused as refused:
            failures.append(Failure(i, refused.reason, str(refused)))
        # Whatever a cell out of the ordinary makes of pymatgen's search.
        except (ArithmeticError, CrystalsError, IndexError, TypeError, ValueError) as error:
            failures.append(Failure(i, REFUSALS[2], f"{type(error).__name__}: {error}"))
        else:
            reduced.append(small)
    return Crystals.concatenate(reduced), failures


class _Refused(Exception):  # noqa: N818
    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def _check_size(crystal: Crystals) -> None:
    """Refuse what pymatgen would take all memory for.

    It makes every cell smaller by a divisor of the number of formula units, and holds each beside
    all vectors between sites of the rarest element.
    """
    _, counts = np.unique(crystal.numbers, return_counts=True)
    units = math.gcd(*counts.tolist())
    needed = 72.0 * units**2 * counts.min()
    if needed > _MOST_MEMORY:
        detail = f"{len(crystal.numbers)} sites, {units} formula units"
        raise _Refused(REFUSALS[1], detail)


def _check_shape(lattice: Floats, tolerances: Tolerances) -> None:
    from pymatgen.core import Lattice

    matrix = Lattice(lattice.copy()).lll_matrix
    longest = float(np.linalg.norm(matrix, axis=1).max())
    radius = longest * (1 + tolerances.ltol)
    volume = abs(float(np.linalg.det(matrix)))
    if not volume >= _LEAST_VOLUME:
        raise _Refused(REFUSALS[3], f"volume {volume:.3g} Å3")
    points = 4 / 3 * np.pi * radius**3 / volume
    if not points <= _MOST_POINTS:
        raise _Refused(REFUSALS[0], f"longest vector {longest:.3g} Å, volume {volume:.3g} Å3")


class Cell:
    """A reduced crystal, scaled to a volume of 1.

    Attributes
    ----------
    numbers : (n,)
        Atomic numbers, rising.
    kind
        The same for cells of the same numbers.
    frac_coords : (n, 3)
        Of the sites in that order.
    rarest
        The site that is put onto each of its kind in another crystal: the first of the rarest
        element in the order that the sites came in.
    images
        Sites that it may be put onto.
    lengths, angles : (3,)
        Of the lattice vectors, and between them in degrees.
    """

    def __init__(self, crystal: Crystals) -> None:
        order = np.argsort(crystal.numbers, kind="stable")
        self.numbers: Ints = crystal.numbers[order]
        self.kind = self.numbers.tobytes()
        self.frac_coords: Floats = np.ascontiguousarray(crystal.frac_coords[order])
        counts = np.bincount(crystal.numbers)[crystal.numbers]
        self.rarest = int(np.flatnonzero(order == np.argmin(counts))[0])
        self.images: Ints = np.flatnonzero(self.numbers == self.numbers[self.rarest])
        volume = float(crystal.volumes[0])
        self.lattice: Floats = crystal.lattices[0] / volume ** (1 / 3)
        self.lengths: Floats = np.linalg.norm(self.lattice, axis=1)
        self.sorted_lengths: Floats = np.sort(self.lengths)
        self.angles: Floats = crystal.cell_parameters[0, 3:]
        self._radius = 0.0
        self._points = _points_within(self.lattice, 0.0)

    @cached_property
    def minima(self) -> Floats:
        """(3,) lengths of the shortest lattice vector and of the next ones independent of it."""
        _, vectors, lengths = self.points(float(self.lengths.max()) * (1 + 1e-9))
        first = vectors[0]
        across = np.linalg.norm(np.cross(vectors, first), axis=1)
        j = int(np.argmax(across > 1e-6 * lengths[0] * lengths))
        normal = np.cross(first, vectors[j])
        height = np.abs(vectors @ normal)
        k = int(np.argmax(height > 1e-6))  # in units of the volume, 1
        return lengths[[0, j, k]]

    def points(self, radius: float) -> tuple[Ints, Floats, Floats]:
        """Lattice points within a radius at least, without the origin, nearest first.

        Returns
        -------
        steps (m, 3), vectors (m, 3), lengths (m,)
        """
        if radius > self._radius:
            self._radius = radius
            self._points = _points_within(self.lattice, radius)
        return self._points


def _points_within(lattice: Floats, radius: float) -> tuple[Ints, Floats, Floats]:
    # The planes of step k along a vector are 1 / |its reciprocal vector| apart.
    most = np.floor(radius * np.linalg.norm(np.linalg.inv(lattice), axis=0) + 1e-6).astype(int)
    axes = [np.arange(-m, m + 1) for m in most.tolist()]
    steps = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    vectors = steps @ lattice
    squares = (vectors * vectors).sum(axis=1)
    inside = np.flatnonzero((squares <= radius * radius * (1 + 1e-9)) & steps.any(axis=1))
    inside = inside[np.argsort(squares[inside], kind="stable")]
    return steps[inside], vectors[inside], np.sqrt(squares[inside])
