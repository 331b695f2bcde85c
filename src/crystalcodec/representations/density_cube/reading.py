"""The atoms in a cube, read from the density and the grid of species."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.elements import MAX_ATOMIC_NUMBER
from crystalcodec.representations.density_cube.atoms import (
    Found,
    NoAtoms,
    Placed,
    place,
)
from crystalcodec.representations.density_cube.gaussian_sums import (
    GaussianSum,
    Sharpening,
    sharpening,
)
from crystalcodec.representations.density_cube.peaks import find_peaks
from crystalcodec.representations.density_cube.species_grids import BORDER, SpeciesGrid

__all__ = ["CubeReading"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_ROUNDS: Final = 8
_CLEAN: Final = 1e-7  # error of float32, relative to the largest number of a field
_AT_ONCE: Final = 0.1  # of the highest peak: lower ones may be ripples of it, later rounds tell
_REACH: Final = 0.25  # of sigma: how far an atom moves from its peak while others may be missing
_FILLED: Final = 0.75  # of the points around a peak have its species, or it is none
_INNER_AGREEMENT: Final = 0.9
_DENSEST: Final = 0.3  # atoms in an Å3; diamond has 0.18
# In smaller cells strict reading takes this many, of exact crystals that are none; more than one
# in an Å3 would have so many images in the cube that they fill the memory.
_FEW: Final = 4


@dataclass(frozen=True, eq=False)
class CubeReading:
    """How a cube is read; the parameters are those of the representation.

    ``weights`` (119,) and ``told`` (119,): weight by atomic number, and which of them tell the
    element. ``margin``: how far outside an endless crystal's atoms reach in, Å.
    """

    edge: float
    n_points: int
    sigma: float
    weights: Floats
    told: npt.NDArray[np.bool_]
    species_radius: float
    min_separation: float
    margin: float
    tolerance: float
    lenient: bool
    threshold: float
    endless: bool

    @property
    def spacing(self) -> float:
        """Distance between two points, Å."""
        return self.edge / (self.n_points - 1)

    def read(self, field: Floats, species: Floats | None, lattice: Floats | None) -> Found:
        """The atoms of one cube.

        Parameters
        ----------
        field : (N, N, N)
            In units of the peak of an atom of weight 1.
        species : (N, N, N)
            The grid of species, where there is one.
        lattice : (3, 3)
            The cell of an endless crystal, Å: its sites are read, each once, in [0, 1).

        Raises
        ------
        NoAtoms
            Where there are none that explain the cube.
        """
        sharp = self._sharpening(field)
        if species is not None and not self.lenient:
            whole = np.abs(species - np.rint(species)) <= self.tolerance
            if not (whole & (species > -0.5) & (species < MAX_ATOMIC_NUMBER + 0.5)).all():
                raise NoAtoms("species undecided", "the grid of species holds no atomic numbers")
        if self.endless and lattice is None:
            return self._unfitted(field, sharp, species)
        sites, numbers, heights = self._search(field, sharp, species, lattice)
        if species is None:
            # A peak that the fit found to be nothing is no atom; the check below would tell.
            atoms = np.abs(heights) > 0.5 * self.weights[self.told].min()
            sites, heights = sites[atoms], heights[atoms]
            if not len(sites):
                raise NoAtoms("no atoms", "no peak is half as high as that of the lightest atom")
            numbers = self._numbers(heights)
        if not (numbers > 0).all():
            known = numbers > 0
            if not (self.lenient and known.any()):
                raise NoAtoms("species undecided", "the grid of species is 0 at a peak")
            sites, numbers, heights = sites[known], numbers[known], heights[known]
        if not self.lenient or species is None:
            heights = self.weights[numbers]
        sites, heights, rest = self._fit(field, sites, heights, lattice, free=self.lenient)
        if not np.isfinite(sites).all():
            raise NoAtoms("not self-consistent", "the fit of the positions comes to no end")
        if not self.lenient:
            self._check(field, species, sites, numbers, rest, lattice)
        agreement = 1 - float(np.linalg.norm(rest) / np.linalg.norm(field))
        return Found(sites, numbers, min(max(agreement, 0.0), 1.0))

    def _unfitted(self, field: Floats, sharp: Sharpening, species: Floats | None) -> Found:
        """The peaks in a cube cut from an endless crystal whose lattice is not known.

        Atoms outside the cube are not known either, so that there is no joint fit, and agreement
        is that of the points deeper than 3 sigma, which those do not reach.
        """
        none = np.zeros((0, 3))
        sites, _ = self._candidates(field, sharp, species, none, None, True)
        if not len(sites):
            raise NoAtoms("no atoms", "no peak of the density is high enough (threshold)")
        if species is None:
            raise NoAtoms(
                "element undecided",
                "atoms outside the cube make the weight of a peak unsure: decode with the lattice, "
                "or have a grid of species",
            )
        numbers = self._grid(species).named(sites, blurred=self.lenient)
        grid = np.asarray(self.spacing * np.arange(self.n_points), float)
        total = GaussianSum(grid, self.sigma, np.arange(len(sites)), np.zeros((len(sites), 3)))
        rest = field - total.field(total.tables(sites)[0], self.weights[numbers])
        depth = min(int(3 * self.sigma / self.spacing), (self.n_points - 1) // 2)
        inner = (slice(depth, self.n_points - depth),) * 3
        agreement = 1 - float(np.linalg.norm(rest[inner]) / np.linalg.norm(field[inner]))
        if not (agreement > _INNER_AGREEMENT or self.lenient):
            raise NoAtoms(
                "not self-consistent",
                f"the density of the {len(sites)} peaks agrees to {agreement:.2f} only",
            )
        return Found(sites, numbers, min(max(agreement, 0.0), 1.0))

    def _sharpening(self, field: Floats) -> Sharpening:
        """As strong as the noise of the field allows: that part of it which no sum explains."""
        if not np.isfinite(field).all():
            raise NoAtoms("not finite", "the density holds NaN or infinity")
        top = float(field.max())
        if not top > 0:
            raise NoAtoms("no atoms", "the density has no number above 0")
        n = self.n_points
        margin = 3 * self.sigma if self.endless else 0.0
        clean = sharpening(n, self.spacing, self.sigma, margin, _CLEAN)
        inner = np.linalg.norm(clean.components((field / top)[None]))
        outer = max(float(np.linalg.norm(field / top) ** 2 - inner**2), 0.0)
        degrees = max(n**3 - len(clean.project) ** 3, 1)
        if not self.lenient and outer**0.5 > self.tolerance * n**1.5:
            raise NoAtoms(
                "not a sum of Gaussians",
                f"no atoms of sigma = {self.sigma:g} Å make this density: for noisy or generated "
                "cubes decode with lenient=True",
            )
        noise = 10 ** np.ceil(np.log10(max((outer / degrees) ** 0.5, _CLEAN)) - 0.5)
        if noise <= _CLEAN:
            return clean
        return sharpening(n, self.spacing, self.sigma, margin, float(min(noise, 0.1)))

    def _search(
        self, field: Floats, sharp: Sharpening, species: Floats | None, lattice: Floats | None
    ) -> tuple[Floats, Ints, Floats]:
        """Sites, their atomic numbers (0 without species) and heights."""
        sites, heights, numbers = np.zeros((0, 3)), np.zeros(0), np.zeros(0, np.int64)
        rest, top = field, float(field.max())
        free = self.lenient or species is None
        left: list[float] = []
        for turn in range(_ROUNDS):
            fresh, tall = self._candidates(rest, sharp, species, sites, lattice, turn == 0)
            if not len(fresh) and (turn or species is None):
                break
            sites, heights = np.concatenate([sites, fresh]), np.concatenate([heights, tall])
            if species is not None and not free:
                sites, heights = self._completed(species, sites, heights, lattice, turn == 0)
            if not len(sites):
                break
            self._limit(len(sites), lattice)
            sites, heights, rest = self._settled(field, sites, heights, lattice, free)
            if free:
                real = heights > self.threshold * self._lightest(species)
                real &= self._inside(sites, lattice) & self._single(sites, heights, lattice)
                sites, heights = sites[real], heights[real]
                if not len(sites):
                    break
                if not real.all():
                    sites, heights, rest = self._settled(field, sites, heights, lattice, free)
            if species is not None:
                numbers = self._grid(species).named(
                    self._seen(sites, lattice), blurred=self.lenient
                )
                if not free and not np.array_equal(self.weights[numbers], heights):
                    real = numbers > 0
                    sites, numbers = sites[real], numbers[real]
                    heights = self.weights[numbers]
                    if not len(sites):
                        break
                    sites, heights, rest = self._settled(field, sites, heights, lattice, free)
            left.append(float(np.abs(rest).max()))
            if not left[-1] > 0.01 * self.tolerance * top or self._stuck(left):
                break
        if not len(sites):
            raise NoAtoms("no atoms", "no peak of the density is high enough (threshold)")
        return sites, numbers, heights

    @staticmethod
    def _stuck(left: list[float]) -> bool:
        """Whether the last two rounds explained hardly more than those before."""
        return len(left) > 2 and min(left[-2:]) > 0.7 * min(left[:-2])

    def _settled(
        self,
        field: Floats,
        sites: Floats,
        heights: Floats,
        lattice: Floats | None,
        free: bool,
    ) -> tuple[Floats, Floats, Floats]:
        """The fit: to its end where that explains the field, else not far from the peaks.

        While atoms are missing a fit would move others into their places.
        """
        near = self._fit(field, sites, heights, lattice, free=free, reach=_REACH * self.sigma)
        if not np.isfinite(near[0]).all():
            raise NoAtoms("not self-consistent", "the fit of the positions comes to no end")
        far = self._fit(field, near[0], near[1], lattice, free=free)
        explained = float(np.abs(far[2]).max()) <= 0.1 * self.tolerance * float(field.max())
        return far if explained else near

    def _single(
        self, sites: Floats, heights: Floats, lattice: Floats | None
    ) -> npt.NDArray[np.bool_]:
        """Whether no higher site stands at nearly the same place."""
        order = np.argsort(-heights, kind="stable")
        single = np.ones(len(sites), bool)
        for rank, i in enumerate(order.tolist()):
            higher = order[:rank][single[order[:rank]]]
            if len(higher):
                single[i] = self._distance(sites[higher], sites[i], lattice) > self._merge
        return single

    def _limit(self, n_atoms: int, lattice: Floats | None) -> None:
        """There is no room for more atoms than this: the search would go on for long."""
        volume = (self.edge + self.sigma) ** 3
        if lattice is not None:
            volume = min(volume, abs(float(np.linalg.det(lattice))))
        most = int(_DENSEST * volume)
        if not self.lenient:
            most = max(most, min(int(volume), _FEW))
        if n_atoms > most:
            raise NoAtoms(
                "too many peaks",
                f"{n_atoms} peaks in {volume:.3g} Å3, there is room for {most} atoms",
            )

    def _lightest(self, species: Floats | None) -> float:
        weights = self.weights[self.told]
        if species is not None:
            there = np.unique(np.rint(np.clip(species, 0, MAX_ATOMIC_NUMBER))).astype(np.int64)
            weights = self.weights[there]
        return float(weights[weights > 0].min(initial=np.inf))

    def _candidates(
        self,
        rest: Floats,
        sharp: Sharpening,
        species: Floats | None,
        sites: Floats,
        lattice: Floats | None,
        first: bool,
    ) -> tuple[Floats, Floats]:
        """Places and heights of peaks of what is left that are no atom yet."""
        narrow = sharp(rest[None])
        least = self.threshold * self._lightest(species)
        if species is None or self.lenient:
            least = max(least, _AT_ONCE * float(narrow.max()))
        peaks = find_peaks(narrow, least)
        places, tall = peaks.of(0)
        places = places * self.spacing
        self._limit(len(places), None)
        if species is not None:
            numbers = self._grid(species).named(places, blurred=self.lenient)
            known = numbers > 0
            if not self.lenient:
                known &= self._grid(species).filled(places, numbers) > _FILLED
            places, tall = places[known], tall[known]
            if not self.lenient:
                tall = self.weights[numbers[known]]
        if lattice is not None:
            # Peaks at a face are the least certain: those deep inside are taken first, and alone
            # at first.
            depth = np.minimum(places, self.edge - places).min(axis=1)
            order = np.argsort(-np.minimum(depth, 1.5 * self.sigma), kind="stable")
            if first and (deep := depth > 0.3 * self.sigma).any():
                order = order[deep[order]]
            places, tall = places[order], tall[order]
        kept: list[int] = []
        taken = [*sites]
        for i, spot in enumerate(places):
            if not taken or self._distance(np.array(taken), spot, lattice) > self._merge:
                kept.append(i)
                taken.append(spot)
        return places[kept], tall[kept]

    def _completed(
        self,
        species: Floats,
        sites: Floats,
        heights: Floats,
        lattice: Floats | None,
        first: bool,
    ) -> tuple[Floats, Floats]:
        """Sites and heights, with an atom for each part of the grid of species that none covers."""
        atoms, tall = sites, heights
        if lattice is not None and len(sites):
            crystal, _ = self._wrapped(sites, lattice)
            placed = place(crystal, self.edge, self.species_radius)
            atoms, tall = placed.positions, heights[placed.sites]
        # A part at a face may belong to an atom outside: not at first.
        least = 0.6 if first and lattice is not None else 0.0
        for spot, number in self._grid(species).uncovered(atoms, tall, self.weights, least):
            if not len(sites) or self._distance(sites, spot, lattice) > self._merge:
                sites = np.concatenate([sites, spot[None]])
                heights = np.append(heights, self.weights[number])
        return sites, heights

    @property
    def _merge(self) -> float:
        """Peaks nearer than this are one atom, Å."""
        return self.min_separation * (1 if self.lenient else 2 / 3)

    def _distance(self, sites: Floats, spot: Floats, lattice: Floats | None) -> float:
        away = sites - spot
        if lattice is not None:
            coords = away @ np.linalg.inv(lattice)
            away = (coords - np.rint(coords)) @ lattice
        return float(np.sqrt((away * away).sum(axis=1).min()))

    def _inside(self, sites: Floats, lattice: Floats | None) -> npt.NDArray[np.bool_]:
        if lattice is not None:
            return np.ones(len(sites), bool)
        slack = self.spacing / 2
        return np.asarray(((sites >= -slack) & (sites <= self.edge + slack)).all(axis=1))

    def _seen(self, sites: Floats, lattice: Floats | None) -> Floats:
        """The image of each site that lies deepest in the cube, or nearest to it."""
        if lattice is None:
            return sites
        crystal, seen = self._wrapped(sites, lattice)
        placed = place(crystal, self.edge, self.sigma)
        depth = np.minimum(placed.positions, self.edge - placed.positions).min(axis=1)
        order = np.argsort(depth, kind="stable")  # the deepest is written last
        seen = seen.copy()
        seen[placed.sites[order]] = placed.positions[order]
        return seen

    def _grid(self, species: Floats) -> SpeciesGrid:
        return SpeciesGrid(species, self.spacing, self.species_radius)

    def _numbers(self, heights: Floats) -> Ints:
        """(s,) the elements whose weights are nearest to the fitted heights."""
        elements = np.flatnonzero(self.told)
        away = np.abs(heights[:, None] - self.weights[elements])
        order = np.argsort(away, axis=1)[:, :2]
        first, second = np.take_along_axis(away, order, axis=1).T
        unsure = ~(first < 0.5 * second)
        if unsure.any() and not self.lenient:
            raise NoAtoms(
                "element undecided",
                f"a peak has the weight {heights[unsure][0]:.3f}, between those of two elements",
            )
        return np.asarray(elements[order[:, 0]], np.int64)

    def _wrapped(self, sites: Floats, lattice: Floats) -> tuple[Crystals, Floats]:
        coords = sites @ np.linalg.inv(lattice)
        crystal = Crystals.single(lattice, coords, np.ones(len(sites), np.int64))
        return crystal, crystal.cart_coords

    def _fit(
        self,
        field: Floats,
        sites: Floats,
        heights: Floats,
        lattice: Floats | None,
        *,
        free: bool,
        reach: float = np.inf,
    ) -> tuple[Floats, Floats, Floats]:
        grid = np.asarray(self.spacing * np.arange(self.n_points), float)
        if lattice is None:
            index = np.arange(len(sites))
            total = GaussianSum(grid, self.sigma, index, np.zeros((len(sites), 3)))
            return total.fit(field, sites, heights, free=free, reach=reach)
        crystal, sites = self._wrapped(sites, lattice)
        placed = place(crystal, self.edge, self.margin)
        order = np.argsort(placed.sites, kind="stable")
        total = GaussianSum(grid, self.sigma, placed.sites[order], placed.shifts[order])
        return total.fit(field, sites, heights, free=free, reach=reach)

    def _check(
        self,
        field: Floats,
        species: Floats | None,
        sites: Floats,
        numbers: Ints,
        rest: Floats,
        lattice: Floats | None,
    ) -> None:
        """Both grids are those of the atoms, or there are no atoms."""
        worst = float(np.abs(rest).max() / field.max())
        if not worst <= self.tolerance:
            raise NoAtoms(
                "not self-consistent",
                f"the density of the {len(sites)} atoms found differs by {worst:.2g} of the "
                f"largest number, at most {self.tolerance:g} is allowed (tolerance)",
            )
        if species is None:
            return
        index = np.arange(len(sites))
        if lattice is None:
            placed = Placed(np.zeros_like(index), index, sites, np.zeros_like(sites))
        else:
            crystal, _ = self._wrapped(sites, lattice)
            placed = place(crystal, self.edge, self.species_radius + BORDER)
        wrong = self._grid(species).wrong_points(placed, numbers)
        if wrong:
            raise NoAtoms(
                "not self-consistent",
                f"{wrong} points of the grid of species hold another element than the atoms found",
            )
