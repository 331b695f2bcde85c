"""Parameters of the many-body tensor representation, and the spectra that it is made of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Final, Literal, Self

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.elements import MAX_ATOMIC_NUMBER, SYMBOLS
from crystalcodec.failures import Failure
from crystalcodec.representations.base import (
    FailureNotes,
    Invariance,
    Representation,
    RepresentationError,
)
from crystalcodec.representations.mbtr.blocks import Blocks, Elements
from crystalcodec.representations.mbtr.counting import spectra_of
from crystalcodec.representations.mbtr.pairs import crowded
from crystalcodec.representations.mbtr.terms import Term
from crystalcodec.representations.parameters import misfit

__all__ = ["ManyBody"]

Floats = npt.NDArray[np.float64]
Grid = tuple[float, float, int, float]

_WORDS: Final = ("geometry", "weighting", "normalization")
_NORMALIZATIONS: Final = ("none", "l2", "n_atoms", "valle_oganov")
_ALWAYS: Final[frozenset[Invariance]] = frozenset(
    {"permutation", "translation", "rotation", "unit_cell"}
)
# Å; sites nearer than this are one place, and their inverse distance says nothing.
_SAME_PLACE: Final = 1e-3


@dataclass(frozen=True)
class ManyBody(Representation):
    """Parameters of both forms, and the spectra that both are made of."""

    lost: ClassVar[str] = (
        "everything but the distributions of elements, distances or angles: no coordinates, no "
        "cell, and the handedness is gone"
    )
    invariances: ClassVar[frozenset[Invariance]] = _ALWAYS | {"supercell"}
    continuity: ClassVar = "continuous"

    k: int | tuple[int, ...] = 2
    species: tuple[int, ...] = ()
    k1_grid: Grid = (0.0, 120.0, 121, 1.0)
    k2_geometry: Literal["distance", "inverse_distance"] = "inverse_distance"
    k2_grid: Grid = (0.0, 1.0, 100, 0.02)
    k2_weighting: Literal["exp", "inverse_square"] = "exp"
    k2_r_cut: float | None = 8.0
    k2_scale: float | None = None
    k2_threshold: float = 1e-3
    k3_geometry: Literal["angle", "cosine"] = "cosine"
    k3_grid: Grid = (-1.0, 1.0, 100, 0.05)
    k3_weighting: Literal["exp", "smooth_cutoff"] = "exp"
    k3_r_cut: float | None = 6.0
    k3_scale: float | None = None
    k3_threshold: float = 1e-3
    k3_sharpness: float = 2.0
    normalization: Literal["none", "l2", "n_atoms", "valle_oganov"] = "n_atoms"
    normalize_gaussians: bool = True

    def __post_init__(self) -> None:
        # Wrong words and grids of another length are told of below, with what they should be.
        known = {
            name: value
            for name, value in vars(self).items()
            if not (isinstance(value, str) and name.endswith(_WORDS))
            and not (isinstance(value, list | tuple) and name.endswith("grid") and len(value) != 4)
        }
        if wrong := misfit(type(self), known):
            raise RepresentationError(wrong)
        orders = (self.k,) if isinstance(self.k, int) else tuple(self.k)
        if not orders or len({*orders}) < len(orders) or not {*orders} <= {1, 2, 3}:
            raise RepresentationError(f"k is {self.k}: wanted 1, 2 or 3, or several of them")
        species = tuple(self.species)
        if len({*species}) < len(species) or not all(
            1 <= number <= MAX_ATOMIC_NUMBER for number in species
        ):
            raise RepresentationError(
                f"species are {species}: wanted different atomic numbers, 1 to {MAX_ATOMIC_NUMBER}"
            )
        if self.normalization not in _NORMALIZATIONS:
            raise RepresentationError(
                f"normalization is {self.normalization!r}, wanted one of "
                f"{', '.join(_NORMALIZATIONS)}"
            )
        values: dict[str, object] = {"k": tuple(sorted(orders)), "species": tuple(sorted(species))}
        for grid in ("k1_grid", "k2_grid", "k3_grid"):
            values[grid] = tuple(getattr(self, grid))
        # What holds for these parameters, in front of what holds for the class.
        if self.normalization == "none" or (
            self.normalization == "valle_oganov" and orders != (2,)
        ):
            values["invariances"] = _ALWAYS
        if orders == (1,):
            values["continuity"] = "constant"
        elif 2 in orders and self.k2_weighting == "inverse_square":
            values["continuity"] = "discontinuous"
        for name, value in values.items():
            object.__setattr__(self, name, value)
        self.terms  # noqa: B018  (a wrong parameter is told now)
        if wrong := misfit(type(self), vars(self)):  # of the terms that there are not
            raise RepresentationError(wrong)

    @cached_property
    def terms(self) -> tuple[Term, ...]:
        """One for each ``k``, in rising order."""
        every = {
            1: lambda: Term(1, "atomic_number", self.k1_grid),
            2: lambda: Term(
                2,
                self.k2_geometry,
                self.k2_grid,
                self.k2_weighting,
                self.k2_r_cut,
                self.k2_scale,
                self.k2_threshold,
            ),
            3: lambda: Term(
                3,
                self.k3_geometry,
                self.k3_grid,
                self.k3_weighting,
                self.k3_r_cut,
                self.k3_scale,
                self.k3_threshold,
                self.k3_sharpness,
            ),
        }
        return tuple(every[k]() for k in self.k)  # type: ignore[union-attr]

    @property
    def needs_fit(self) -> bool:
        """Whether species are still to be found."""
        return not self.species

    def fit(self, crystals: Crystals) -> Self:
        """The same representation for the elements of these crystals, where none are given."""
        if self.species or not len(crystals):
            return self
        return replace(self, species=tuple(np.unique(crystals.numbers).tolist()))

    @property
    def n_features(self) -> int:
        """Numbers of a crystal, zeros of absent elements and all."""
        return sum(part.stop - part.start for part in self.columns())

    def columns(self) -> list[slice]:
        """Where each term stands among the numbers of a crystal."""
        sizes = [int(term.n_combinations(len(self.species))) * term.n for term in self.terms]
        ends = np.cumsum(sizes).tolist()
        return [slice(end - size, end) for size, end in zip(sizes, ends, strict=True)]

    def location(self, *elements: int) -> slice:
        """Where the spectrum of one, two or three elements stands among the numbers.

        Parameters
        ----------
        *elements
            Atomic numbers; of three the one in the middle is the one at the angle.

        Raises
        ------
        RepresentationError
            A term or an element that is not there.
        """
        for term, part in zip(self.terms, self.columns(), strict=True):
            if term.k == len(elements) and {*elements} <= {*self.species}:
                places = sorted(self.species.index(z) for z in (elements[0], elements[-1]))
                n, (low, high) = len(self.species), places
                number = high + low * n - low * (low + 1) // 2 if term.k > 1 else low
                if term.k == 3:
                    number += self.species.index(elements[1]) * (n * (n + 1) // 2)
                return slice(part.start + number * term.n, part.start + (number + 1) * term.n)
        raise RepresentationError(
            f"no spectrum of {elements}: k is {self.k}, species are {self.species}"
        )

    def refuse(self, crystals: Crystals) -> list[Failure]:
        """Crystals of elements not among the species, too dense, or of two sites in one place."""
        notes = FailureNotes()
        known = np.zeros(MAX_ATOMIC_NUMBER + 1, bool)
        known[[*self.species]] = True
        unknown = ~known[crystals.numbers]

        def elements(i: int) -> str:
            own = crystals[i].numbers
            names = [SYMBOLS[z] for z in np.unique(own[~known[own]])]
            return f"{', '.join(names)}: not among the species, fit on crystals that have it"

        notes.add(
            np.bincount(crystals.crystal_indices[unknown], minlength=len(crystals)) > 0,
            "element not in species",
            elements,
        )
        for term in self.terms:
            if term.k > 1:
                notes.add_too_dense(crystals, term.reach, term.k)
        if self.k != (1,):
            notes.add(
                crowded(crystals, _SAME_PLACE),
                "sites in one place",
                f"two sites are less than {_SAME_PLACE} Å apart",
            )
        return notes.in_order()

    def blocks(self, crystals: Crystals) -> tuple[Elements, list[Blocks]]:
        """Elements of the crystals, and the spectra of each term."""
        elements = Elements.of(crystals, self.species)
        return elements, [Blocks.of(term, elements, len(self.species)) for term in self.terms]

    def spectra(
        self, crystals: Crystals, elements: Elements, blocks: list[Blocks]
    ) -> Iterator[tuple[int, slice, Floats]]:
        """Normalised spectra in pieces: the place of the term, the blocks, (n_blocks, n)."""
        volumes, n_sites = crystals.volumes, crystals.n_sites
        for place, (term, own) in enumerate(zip(self.terms, blocks, strict=True)):
            for start, stop, spectra in spectra_of(term, crystals, elements, own):
                piece = slice(int(own.offsets[start]), int(own.offsets[stop]))
                crystal = own.crystals[piece]
                if not self.normalize_gaussians:
                    spectra /= term.factor()
                if self.normalization == "n_atoms":
                    spectra /= n_sites[crystal, None]
                elif self.normalization == "valle_oganov" and term.k > 1:
                    factors = volumes[crystal] / own.products[piece]
                    spectra *= (factors / (4 * np.pi if term.k == 2 else 1))[:, None]
                elif self.normalization == "l2":
                    squares = np.einsum("bt,bt->b", spectra, spectra)
                    norms = np.sqrt(np.bincount(crystal - start, squares, stop - start))
                    # No pair within reach: zeros stay zeros.
                    norms[norms == 0] = 1
                    spectra /= norms[crystal - start, None]
                yield place, piece, spectra
