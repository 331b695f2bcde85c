"""The radial distribution function: how dense the atoms are at each distance from an atom."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final, Literal, Self

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.elements import ATOMIC_NUMBERS, MAX_ATOMIC_NUMBER, SYMBOLS
from crystalcodec.failures import Failure
from crystalcodec.representations.base import (
    FailureNotes,
    Field,
    Representation,
    RepresentationError,
)
from crystalcodec.representations.neighbors import Neighbors, neighbors_within
from crystalcodec.representations.parameters import misfit

__all__ = ["RadialDistribution"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_SIGMAS: Final = 5.0
_MEET: Final = 1e-3  # Å; sites nearer than that lie on each other
_PAIRS_AT_ONCE: Final = 1 << 18
_ENTRIES_AT_ONCE: Final = 1 << 17


@dataclass(frozen=True)
class RadialDistribution(Representation):
    """Density of atoms at a distance from an atom, in units of the mean: g(r), 1 far away.

    The array ``radial_distribution`` (n, n_points, n_channels) holds g at the middles of
    ``n_points`` equal bins from 0 to ``cutoff``. With N atoms in the volume V,

        g(r) = V / N² Σ_ij K(r - r_ij) / (4π r_ij²)

    over all pairs of an atom i of the cell and another atom or image j; K is a Gaussian of unit
    area and width ``sigma``. With ``smoothing="histogram"`` it is instead the number of pairs in
    each bin over the number that the mean density would put in that shell. With ``partial`` there
    is a channel for each pair of ``species``, and g of a pair a, b counts atoms b around atoms a:
    V / (N_a N_b) stands before the sum. It is the same for b around a, and 0 where one of both is
    absent.

    Parameters
    ----------
    cutoff
        Å, the end of the last bin.
    n_points
        Bins.
    sigma
        Å, the standard deviation of the Gaussian, cut at five of them; atoms beyond the cutoff
        whose Gaussians reach in count too.
    smoothing
        ``"gaussian"``, or ``"histogram"``, which jumps where an atom crosses the edge of a bin.
    partial
        Whether pairs of elements have channels of their own.
    species
        Symbols of the elements of the channels; found by :meth:`fit` where none are given.

    Raises
    ------
    RepresentationError
        A cutoff or sigma that is not positive, no bins, an unknown or repeated symbol, species
        without ``partial``.

    References
    ----------
    As an input of learning: Schütt et al., Phys. Rev. B 89, 205118 (2014),
    10.1103/PhysRevB.89.205118.

    Examples
    --------
    >>> polonium = Crystals.single(np.eye(3) * 3.35, [[0, 0, 0]], [84])
    >>> rdf = RadialDistribution(cutoff=5.0, n_points=50)
    >>> g = rdf.encode(polonium)["radial_distribution"]
    >>> g.shape, rdf.points[g[0, :, 0] > 3].round(2).tolist()  # 6 at 3.35 Å, 12 at 4.74 Å
    ((1, 50, 1), [3.25, 3.35, 3.45, 4.65, 4.75, 4.85])
    """

    name: ClassVar[str] = "radial_distribution"
    lost: ClassVar[str] = (
        "angles, and all that lies beyond the cutoff; without partial channels also which elements "
        "the atoms are"
    )
    invariances: ClassVar = frozenset(
        {"permutation", "translation", "rotation", "supercell", "unit_cell"}
    )

    cutoff: float = 10.0
    n_points: int = 100
    sigma: float = 0.1
    smoothing: Literal["gaussian", "histogram"] = "gaussian"
    partial: bool = False
    species: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        wrong = misfit(type(self), vars(self))
        if wrong:
            raise RepresentationError(wrong)
        object.__setattr__(self, "species", tuple(self.species))
        for name in ("cutoff", "sigma"):
            if not 0 < getattr(self, name) < np.inf:
                raise RepresentationError(
                    f"{name} is {getattr(self, name)}, wanted a positive number of Å"
                )
        if self.n_points < 1:
            raise RepresentationError(f"n_points is {self.n_points}, wanted at least 1")
        strange = [symbol for symbol in self.species if symbol not in ATOMIC_NUMBERS]
        if strange or len(set(self.species)) < len(self.species):
            raise RepresentationError(
                f"species are {', '.join(self.species)}: wanted symbols of elements, each once"
            )
        if self.species and not self.partial:
            raise RepresentationError("species are given and partial is false: set partial=True")

    @property
    def continuity(self) -> Literal["continuous", "discontinuous"]:  # type: ignore[override]
        """A histogram jumps, the sum of Gaussians does not."""
        return "continuous" if self.smoothing == "gaussian" else "discontinuous"

    @property
    def points(self) -> Floats:
        """(n_points,) the middles of the bins, Å."""
        return np.asarray((np.arange(self.n_points) + 0.5) * (self.cutoff / self.n_points), float)

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """The elements of each channel, in the order of ``species``; none without ``partial``."""
        firsts, seconds = np.triu_indices(len(self.species))
        return tuple(
            (self.species[a], self.species[b]) for a, b in zip(firsts, seconds, strict=True)
        )

    @property
    def n_channels(self) -> int:
        """1, or the number of pairs."""
        return len(self.pairs) if self.partial else 1

    @property
    def needs_fit(self) -> bool:
        """Whether channels are wanted and the elements are not known."""
        return self.partial and not self.species

    def fit(self, crystals: Crystals) -> Self:
        """With the elements of these crystals as ``species``, by atomic number."""
        if not self.needs_fit:
            return self
        return replace(self, species=tuple(SYMBOLS[z] for z in np.unique(crystals.numbers)))

    @property
    def fields(self) -> tuple[Field, ...]:
        """The values of g."""
        return (Field("g", "continuous", self.name, (self.n_points, self.n_channels)),)

    def feature_names(self) -> tuple[str, ...]:
        """``g 3.35`` or ``g Cl-Na 3.35``, by distance in Å."""
        labels = [f"g {a}-{b}" for a, b in self.pairs] if self.partial else ["g"]
        decimals = max(2, 1 - int(np.floor(np.log10(self.cutoff / self.n_points))))
        return tuple(f"{label} {r:.{decimals}f}" for r in self.points for label in labels)

    def n_bytes(self, crystals: Crystals) -> int:
        """Four bytes a number."""
        return 4 * len(crystals) * self.n_channels * self.n_points

    def refuse(self, crystals: Crystals) -> list[Failure]:
        """Crystals of elements that no channel is for, too dense, or with sites at one place."""
        notes = FailureNotes()
        notes.add_too_dense(crystals, self.cutoff)
        if self.partial:
            strange = self._ranks()[crystals.numbers] < 0
            notes.add(
                _of_crystals(crystals, strange),
                "element without channel",
                lambda i: (
                    ", ".join(sorted({SYMBOLS[z] for z in crystals[i].numbers} - {*self.species}))
                    + ": not among the species"
                ),
            )
        meet = np.zeros(len(crystals.numbers), bool)
        meet[neighbors_within(crystals, _MEET, order="site").centers] = True
        notes.add(
            _of_crystals(crystals, meet),
            "sites at one place",
            f"two sites less than {_MEET:g} Å apart: g of their distance has no bounds",
        )
        return notes.in_order()

    def _encode(self, crystals: Crystals) -> dict[str, npt.NDArray[Any]]:
        array = np.zeros((len(crystals), self.n_points, self.n_channels), np.float32)
        margin = _SIGMAS * self.sigma if self.smoothing == "gaussian" else 0.0
        reach = self.cutoff + margin
        start = 0
        for block in self._blocks(crystals, reach):
            near = neighbors_within(block, reach)
            channels, weights = self._channels(block, near)
            sums = np.zeros((len(block) * self.n_channels, self.n_points))
            add = self._add_gaussians if self.smoothing == "gaussian" else self._add_counts
            add(near.distances, channels, weights, sums)
            by_channel = sums.reshape(len(block), self.n_channels, self.n_points)
            array[start : start + len(block)] = by_channel.transpose(0, 2, 1)
            start += len(block)
        return {self.name: array}

    def _ranks(self) -> Ints:
        """(119,) place of each atomic number among the species; -1 where it is none of them."""
        ranks = np.full(MAX_ATOMIC_NUMBER + 1, -1)
        ranks[[ATOMIC_NUMBERS[symbol] for symbol in self.species]] = np.arange(len(self.species))
        return ranks

    def _channels(self, crystals: Crystals, near: Neighbors) -> tuple[Ints, Floats]:
        """Row of the output of each pair of atoms, and V / N² or V / (N_a N_b)."""
        owner = np.repeat(np.arange(len(crystals)), np.diff(near.offsets))
        if not self.partial:
            return owner, (crystals.volumes / crystals.n_sites.astype(float) ** 2)[owner]
        numbers = crystals.numbers[near.centers], crystals.numbers[near.neighbors]
        ranks = self._ranks()
        first, second = np.sort([ranks[number] for number in numbers], axis=0)
        n = len(self.species)
        channel = first * n - first * (first - 1) // 2 + second - first
        # A pair of two elements stands twice in the list, once from each side.
        twice = np.where(first == second, 1.0, 2.0)
        counts = crystals.element_counts
        product = counts[owner, numbers[0]].astype(float) * counts[owner, numbers[1]]
        return owner * self.n_channels + channel, crystals.volumes[owner] / (product * twice)

    def _add_counts(self, distances: Floats, rows: Ints, weights: Floats, sums: Floats) -> None:
        step = self.cutoff / self.n_points
        bins = np.minimum((distances / step).astype(np.int64), self.n_points - 1)
        edges = np.arange(self.n_points + 1) * step
        shells = 4 / 3 * np.pi * np.diff(edges**3)
        np.add.at(sums.reshape(-1), rows * self.n_points + bins, weights / shells[bins])

    def _add_gaussians(self, distances: Floats, rows: Ints, weights: Floats, sums: Floats) -> None:
        step, sigma = self.cutoff / self.n_points, self.sigma
        width = min(self.n_points, int(np.ceil(2 * _SIGMAS * sigma / step)) + 1)
        window = np.arange(width)
        heights = weights / (4 * np.pi * distances**2 * sigma * np.sqrt(2 * np.pi))
        first = np.ceil((distances - _SIGMAS * sigma) / step - 0.5).astype(np.int64)
        first = np.clip(first, 0, self.n_points - width)
        at_once = max(1, _ENTRIES_AT_ONCE // width)
        for start in range(0, len(distances), at_once):
            some = slice(start, start + at_once)
            bins = first[some, None] + window
            away = ((bins + 0.5) * step - distances[some, None]) / sigma
            values = np.exp(-0.5 * away * away) * heights[some, None]
            places = rows[some, None] * self.n_points + bins
            # Pair after pair, so that where a block ends does not change the sums.
            np.add.at(sums.reshape(-1), places.ravel(), values.ravel())

    def _blocks(self, crystals: Crystals, reach: float) -> Iterator[Crystals]:
        """The crystals in order, some at a time, so that a block has not too many pairs."""
        per_site = 4 / 3 * np.pi * reach**3 * crystals.n_sites / crystals.volumes
        expected = np.cumsum(per_site * crystals.n_sites + 1)
        ends = np.flatnonzero(np.diff(expected // _PAIRS_AT_ONCE, append=np.inf)) + 1
        start = 0
        for end in ends.tolist():
            yield crystals[start:end]
            start = end


def _of_crystals(crystals: Crystals, sites: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """(n,) crystals of which a site is among these (n_sites_total,)."""
    found = np.zeros(len(crystals), bool)
    found[crystals.crystal_indices[sites]] = True
    return found
