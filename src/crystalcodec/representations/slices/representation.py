"""Made slices: the atoms near a plane of a crystal as Gaussians in a picture, no DFT needed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.failures import Failure
from crystalcodec.representations.base import (
    FailureNotes,
    Field,
    Representation,
    RepresentationError,
)
from crystalcodec.representations.slices.drawing import SliceStyle, draw_slice
from crystalcodec.representations.slices.planes import (
    Planes,
    PlanesError,
    draw_planes,
    has_planes,
    per_atom_scales,
)

__all__ = ["DensitySliceBlocks", "DensitySlices"]


@dataclass(frozen=True)
class DensitySlices(Representation):
    """Pictures of a crystal cut along planes through three of its atoms.

    The cell is scaled to ``volume_per_atom``, three atoms define a plane, atoms of the endless
    crystal within ``tolerance`` of it are projected onto it, and a square of ``width`` Å around
    the first of the three is drawn with a Gaussian at each atom. To the right is the direction
    from the first atom to the second, and the normal, (second - first) x (third - first), points
    at the viewer. Mirror images differ. Planes are drawn at random without repetition; the random
    numbers depend on ``seed``, the species and the fractional coordinates alone.

    One-way. Lost are the scale, all atoms off the planes, with ``atoms="fixed"`` the elements,
    and which plane is which. The pictures depend on the order of the sites, on the origin and on
    the choice of cell, since each decides which planes are drawn; not on the orientation.

    Parameters
    ----------
    n_planes
        Pictures of a crystal.
    size, width, tolerance, sigma, atoms
        See :class:`crystalcodec.representations.slice_drawing.SliceStyle`.
    volume_per_atom
        Å3; None leaves the cell as it is.
    translates
        Where the cell has too few atoms, or all of them in a row, planes go through atoms of
        2 x 2 x 2 cells. Without it such crystals are refused.
    seed
        Seed of the choice of planes.

    Raises
    ------
    RepresentationError
        Parameters out of range.

    Notes
    -----
    Arrays: ``density_slices`` (n, n_planes, size, size), 0 to 1. Refused, by reason: ``fewer than
    three atoms`` and ``collinear atoms`` without ``translates``; ``too few planes``.

    Examples
    --------
    >>> salt = Crystals.single(
    ...     [[0, 2.8, 2.8], [2.8, 0, 2.8], [2.8, 2.8, 0]], [[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17]
    ... )
    >>> array = DensitySlices(size=64, width=10.0).encode(salt)["density_slices"]
    >>> array.shape, bool(array.max() > 0.9)
    ((1, 1, 64, 64), True)
    >>> DensitySlices(translates=False).encode(salt).failures[0].reason
    'fewer than three atoms'
    """

    name: ClassVar[str] = "density_slices"
    lost: ClassVar[str] = (
        "the scale, all atoms away from the planes, and which planes they are; the elements too "
        "where all atoms are drawn alike"
    )
    invariances: ClassVar = frozenset({"rotation"})
    continuity: ClassVar = "discontinuous"
    layouts: ClassVar = {"density_slices": "chw"}

    n_planes: int = 1
    size: int = 256
    width: float = 40.0
    tolerance: float = 0.1
    sigma: float = 0.2
    atoms: Literal["fixed", "element"] = "fixed"
    volume_per_atom: float | None = 1.0
    translates: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        _ = self.style
        if isinstance(self.n_planes, bool) or not self.n_planes >= 1:
            raise RepresentationError(f"n_planes is {self.n_planes}, wanted 1 or more")
        if self.volume_per_atom is not None and not (
            math.isfinite(self.volume_per_atom) and self.volume_per_atom > 0
        ):
            raise RepresentationError(
                f"volume_per_atom is {self.volume_per_atom}, wanted a positive number of Å3 or None"
            )

    @property
    def style(self) -> SliceStyle:
        """How atoms are drawn."""
        return SliceStyle(self.size, self.width, self.tolerance, self.sigma, self.atoms)

    @property
    def fields(self) -> tuple[Field, ...]:
        """The pictures."""
        return (Field("slices", "continuous", self.name, self._shape),)

    @property
    def _shape(self) -> tuple[int, ...]:
        return self.n_planes, self.size, self.size

    def planes(self, crystal: Crystals) -> Planes:
        """The planes of the pictures of one crystal.

        Raises
        ------
        PlanesError
            The crystal has none, or too few.
        """
        scale = float(per_atom_scales(crystal, self.volume_per_atom)[0])
        return draw_planes(
            crystal, self.n_planes, seed=self.seed, scale=scale, translates=self.translates
        )

    def refuse(self, crystals: Crystals) -> list[Failure]:
        """Crystals of fewer than three atoms, of atoms in a row, or of too few planes."""
        notes = FailureNotes()
        three, spread = has_planes(crystals, per_atom_scales(crystals, self.volume_per_atom))
        doubtful = ~(three & spread)
        if not self.translates:
            counts = crystals.n_sites
            advice = "allow translates"
            notes.add(
                ~three,
                "fewer than three atoms",
                lambda i: f"{counts[i]} atoms in the cell, three define a plane: {advice}",
            )
            notes.add(
                ~spread,
                "collinear atoms",
                lambda i: f"all {counts[i]} atoms of the cell stand in a row: {advice}",
            )
        self._try_planes(crystals, doubtful | (self.n_planes > 1), notes)
        return notes.in_order()

    def _try_planes(
        self, crystals: Crystals, doubtful: npt.NDArray[np.bool_], notes: FailureNotes
    ) -> None:
        """Note the crystals whose planes cannot be drawn, by drawing them."""
        for i in np.flatnonzero(doubtful & ~notes.mask(len(crystals))).tolist():
            try:
                self.planes(crystals[i])
            except PlanesError as error:
                notes.add(np.arange(len(crystals)) == i, error.reason, error.detail)

    def _encode(self, crystals: Crystals) -> dict[str, npt.NDArray[Any]]:
        # One plane after another: each has its own number of atoms, and a product of matrices of
        # its own shape, so that a picture does not depend on the batch.
        array = np.empty((len(crystals), *self._shape), np.float32)
        for i, crystal in enumerate(crystals):
            planes = self.planes(crystal)
            for j in range(self.n_planes):
                draw_slice(crystal, planes, j, self.style, out=array[i, j])
        return {self.name: array}


@dataclass(frozen=True)
class DensitySliceBlocks(DensitySlices):
    """Parallel slices of a crystal as one volume, for models of volumes.

    The slices of :class:`DensitySlices` at ``spacing`` Å along the normal, the plane through
    three atoms in the middle (of an even number, the first above the middle); depth 0 is the
    furthest from the viewer.

    Lost is what :class:`DensitySlices` loses, but atoms off the plane are in the other slices; an
    atom between two slices, further than ``tolerance`` from both, is in none. With ``tolerance``
    half of ``spacing``, the default, every atom of the block is in one slice.

    Parameters
    ----------
    n_planes
        Must be 1: a block a crystal.
    depth
        Slices of a block.
    spacing
        Å, between slices.
    size, width, tolerance, sigma, atoms, volume_per_atom, translates, seed
        See :class:`DensitySlices`.

    Notes
    -----
    Arrays: ``density_slice_blocks`` (n, depth, size, size), 0 to 1.

    Examples
    --------
    >>> salt = Crystals.single(
    ...     [[0, 2.8, 2.8], [2.8, 0, 2.8], [2.8, 2.8, 0]], [[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17]
    ... )
    >>> DensitySliceBlocks(depth=8).encode(salt)["density_slice_blocks"].shape
    (1, 8, 32, 32)
    """

    name: ClassVar[str] = "density_slice_blocks"
    lost: ClassVar[str] = (
        "the scale, all atoms outside the block, and where it lies; the elements too where all "
        "atoms are drawn alike"
    )
    layouts: ClassVar = {"density_slice_blocks": "dhw"}

    size: int = 32
    width: float = 8.0
    tolerance: float = 0.125
    depth: int = 32
    spacing: float = 0.25

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_planes != 1:
            raise RepresentationError(f"n_planes is {self.n_planes}, a block has 1: set depth")
        if isinstance(self.depth, bool) or not self.depth >= 1:
            raise RepresentationError(f"depth is {self.depth}, wanted 1 or more")
        if not (math.isfinite(self.spacing) and self.spacing > 0):
            raise RepresentationError(f"spacing is {self.spacing}, wanted a positive number of Å")

    @property
    def fields(self) -> tuple[Field, ...]:
        """The blocks."""
        return (Field("blocks", "continuous", self.name, self._shape),)

    @property
    def _shape(self) -> tuple[int, ...]:
        return self.depth, self.size, self.size

    def _encode(self, crystals: Crystals) -> dict[str, npt.NDArray[Any]]:
        array = np.empty((len(crystals), *self._shape), np.float32)
        for i, crystal in enumerate(crystals):
            planes = self.planes(crystal)
            for level in range(self.depth):
                offset = (level - self.depth // 2) * self.spacing
                draw_slice(crystal, planes, 0, self.style, offset=offset, out=array[i, level])
        return {self.name: array}
