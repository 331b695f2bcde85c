"""What the matrices over pairs of sites share: padding, orders, spectra, refusals."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.failures import Failure
from crystalcodec.representations.base import (
    Continuity,
    Encoded,
    FailureNotes,
    Field,
    Invariance,
    Representation,
    RepresentationError,
    held_crystals,
)
from crystalcodec.representations.parameters import misfit
from crystalcodec.representations.site_matrices.ordering import (
    by_noisy_norm,
    by_norm,
    in_order,
    site_noise,
)

__all__ = ["SiteMatrix", "padded_sites"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Permutation = Literal["sorted_l2", "eigenspectrum", "random", "none"]

# Matrix entries that are worked on at once: with some ten of such arrays they stay in the cache.
_BLOCK: Final = 2**15


def padded_sites(crystals: Crystals, width: int) -> Ints:
    """(n, width) the sites of each crystal in a row of its own, then -1."""
    place = np.arange(width)
    return np.where(place < crystals.n_sites[:, None], crystals.offsets[:-1, None] + place, -1)


@dataclass(frozen=True)
class SiteMatrix(Representation):
    """A symmetric matrix with a row for each site, filled up with zeros to ``max_sites`` rows.

    A leaf implements :meth:`_matrices`.

    Parameters
    ----------
    max_sites
        Rows and columns.
    permutation
        What is done about the order of the sites, in dscribe's words:

        - ``sorted_l2``: rows and columns by falling norm of the rows. Where rows have the same
          norm, which symmetry makes the rule in crystals, they come in an order that the matrix
          itself decides, so that the array does not depend on the order of sites, but for a few
          crystals in a thousand whose equal rows it cannot tell apart. (dscribe leaves them in the
          order of sites, as far as rounding lets it.)
        - ``eigenspectrum``: only the eigenvalues, by falling absolute value.
        - ``random``: by falling norm with normal noise on top, 10.1088/1367-2630/15/9/095003.
        - ``none``: the order of sites.
    sigma
        Standard deviation of that noise, in the unit of the entries.
    seed
        Of that noise, with the species and fractional coordinates of each crystal: the same
        crystal has the same order in any batch.
    """

    max_sites: int = 20
    permutation: Permutation = "sorted_l2"
    sigma: float = 1.0
    seed: int = 0

    _invariances_of_entries: ClassVar[frozenset[Invariance]]
    _entries_continuous: ClassVar[bool]

    def __post_init__(self) -> None:
        wrong = misfit(type(self), vars(self))
        if wrong:
            raise RepresentationError(f"{self.name}: {wrong}")
        if self.max_sites < 1:
            raise RepresentationError(f"max_sites is {self.max_sites}, wanted at least 1")
        if not 0 <= self.sigma < np.inf:
            raise RepresentationError(f"sigma is {self.sigma}, wanted a number not below 0")
        if not 0 <= self.seed < 2**63:
            raise RepresentationError(f"seed is {self.seed}, wanted a whole number not below 0")

    @abstractmethod
    def _matrices(self, crystals: Crystals, width: int) -> Floats:
        """(n, width, width) matrices, zero beyond the sites; infinite where two sites meet."""

    def _note_too_large(self, crystals: Crystals, notes: FailureNotes) -> None:
        """Note crystals that would take too long or too much."""
        notes.add_too_many_sites(crystals, self.max_sites)

    @property
    def invariances(self) -> frozenset[Invariance]:  # type: ignore[override]
        """Those of the entries; order of sites too where rows are sorted or left out."""
        if self.permutation == "random":
            return frozenset({"rotation"})  # fractional coordinates are the seed
        order: frozenset[Invariance] = frozenset({"permutation"})
        return self._invariances_of_entries | (order if self.permutation != "none" else set())

    @property
    def continuity(self) -> Continuity:  # type: ignore[override]
        """Rows that are sorted may change places as atoms move by ever so little."""
        keeps = self.permutation in ("eigenspectrum", "none")
        return "continuous" if keeps and self._entries_continuous else "discontinuous"

    @property
    def fields(self) -> tuple[Field, ...]:
        """The matrix, or its eigenvalues."""
        if self.permutation == "eigenspectrum":
            return (Field("eigenvalues", "continuous", self.name, (self.max_sites,)),)
        return (Field("matrix", "continuous", self.name, (self.max_sites, self.max_sites)),)

    def feature_names(self) -> tuple[str, ...]:
        """Row and column of each entry, or the place of each eigenvalue, counted from 0."""
        if self.permutation == "eigenspectrum":
            return tuple(f"{self.name} eigenvalue {i}" for i in range(self.max_sites))
        places = np.ndindex(self.max_sites, self.max_sites)
        return tuple(f"{self.name} row {i} column {j}" for i, j in places)

    def refuse(self, crystals: Crystals) -> list[Failure]:
        """Crystals of too many sites, or with two sites at one place."""
        return list(self.encode(crystals).failures)

    def encode(self, crystals: Crystals) -> Encoded:
        """Encode a batch; as :meth:`Representation.encode`.

        Sites at one place are found in the distances that the matrix is made of, in one go.
        """
        self._check_ready(crystals)
        notes = FailureNotes()
        self._note_too_large(crystals, notes)
        held, index = held_crystals(crystals, notes.in_order())
        arrays = self._encode(held)
        array = arrays[self.name]
        apart = np.isfinite(array[:, 0] if array.ndim == 2 else array[:, 0, 0])
        if not apart.all():
            meet = np.zeros(len(crystals), bool)
            meet[index[~apart]] = True
            notes.add(
                meet,
                "sites at one place",
                "two sites that lie on each other: the entry of the pair has no bounds",
            )
            arrays, index = {self.name: array[apart]}, index[apart]
        return Encoded(arrays, index, tuple(notes.in_order()))

    def _encode(self, crystals: Crystals) -> dict[str, npt.NDArray[Any]]:
        spectrum = self.permutation == "eigenspectrum"
        shape = (self.max_sites,) if spectrum else (self.max_sites, self.max_sites)
        array = np.zeros((len(crystals), *shape), np.float32)
        counts = crystals.n_sites
        order = np.argsort(counts, kind="stable")
        rising = crystals[order]
        noise = site_noise(rising, self.seed) if self.permutation == "random" else np.zeros(0)
        for start, stop in _blocks(counts[order], same_size=spectrum):
            block, width = rising[start:stop], int(counts[order[stop - 1]])
            matrices = self._matrices(block, width)
            # A sum over the middle axis runs row by row, so that zeros below change no bit.
            squares = (matrices * matrices).sum(axis=1)
            meet = ~np.isfinite(squares).all(axis=1)
            if meet.any():
                matrices[meet], squares[meet] = 0.0, 0.0
            if spectrum:
                values = np.linalg.eigvalsh(matrices)
                falling = np.argsort(-np.abs(values), axis=1, kind="stable")
                array[order[start:stop], :width] = np.take_along_axis(values, falling, axis=1)
            else:
                if self.permutation == "sorted_l2":
                    matrices = in_order(matrices, by_norm(matrices, squares))
                elif self.permutation == "random":
                    sites = padded_sites(block, width)
                    here = noise[rising.offsets[start] : rising.offsets[stop]]
                    matrices = in_order(matrices, by_noisy_norm(squares, sites, here, self.sigma))
                array[order[start:stop], :width, :width] = matrices
            array[order[start:stop][meet]] = np.inf
        return {self.name: array}


def _blocks(counts: Ints, *, same_size: bool) -> Iterator[tuple[int, int]]:
    """Runs of crystals, by rising number of sites, whose padded matrices fill a block."""
    start = 0
    while start < len(counts):
        rest = counts[start:]
        fits = np.searchsorted(np.arange(1, len(rest) + 1) * rest**2, _BLOCK, side="right")
        if same_size:
            fits = min(fits, np.searchsorted(rest, rest[0], side="right"))
        stop = start + max(1, int(fits))
        yield start, stop
        start = stop
