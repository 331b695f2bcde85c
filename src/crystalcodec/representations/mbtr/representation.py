"""The many-body tensor representation, dense and sparse."""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.elements import MAX_ATOMIC_NUMBER, SYMBOLS
from crystalcodec.representations.base import Encoded, Field, RaggedRepresentation
from crystalcodec.representations.mbtr.many_body import ManyBody

__all__ = ["MBTR", "SparseMBTR"]

Ints = npt.NDArray[np.int64]

# Bytes from which on an array is left to the kernel to fill.
_LARGE: Final = 2**22


@dataclass(frozen=True)
class MBTR(ManyBody):
    """Distributions of distances, angles or atomic numbers, one for each combination of elements.

    For one, two or three atoms (``k``) a number is taken: the atomic number; the distance or the
    inverse distance; the angle or its cosine at the atom in the middle. Every pair or triple of
    atoms of the crystal, counted once a cell, adds a Gaussian at its number, times its weight, to
    the spectrum of its elements. The array is the spectra of all combinations of the species,
    joined: for k = 2 in the order 11, 12, ..., 22, 23, ..., for k = 3 the same for the atoms at
    the ends, element in the middle after element in the middle. All numbers equal those of
    dscribe with the same settings.

    Weights: ``exp`` is exp(-scale d) with d the distance, or for triples the way around; a pair
    further than ``r_cut``, or a triple whose way around is longer than twice that, is left out:
    there the weight of both is ``threshold``, so that of scale and r_cut one is given.
    ``inverse_square`` is 1 / d² up to r_cut. ``smooth_cutoff`` is f(d1) f(d2) of the two sides,
    f = 1 + y x^(y + 1) - (y + 1) x^y, x = d / r_cut, with y the sharpness. As
    an atom crosses the cutoff the array jumps by its weight there: by the threshold, by
    1 / r_cut², not at all.

    Parameters
    ----------
    k
        1, 2, 3 or several of them, joined in rising order.
    species
        Atomic numbers; :meth:`fit` finds them where none are given.
    k1_grid, k2_grid, k3_grid
        First point, last point, number of points, sigma: of atomic numbers, Å or 1/Å, degrees or
        cosines. A value is the mean of the Gaussians over a step around its point.
    k2_geometry, k3_geometry
        ``distance`` or ``inverse_distance``; ``angle`` (degrees) or ``cosine``.
    k2_weighting, k3_weighting
        ``exp`` or ``inverse_square``; ``exp`` or ``smooth_cutoff``.
    k2_r_cut, k3_r_cut
        Å.
    k2_scale, k3_scale
        1/Å, in place of r_cut, which is then None (``exp``).
    k2_threshold, k3_threshold
        Smallest weight (``exp``).
    k3_sharpness
        y (``smooth_cutoff``).
    normalization
        Of each k by itself: ``none``; ``l2``, the length is 1; ``n_atoms``, divided by the sites
        of the cell; ``valle_oganov``, times the volume, divided by the numbers of atoms of the
        elements of the spectrum (and 4 pi for k = 2, where N N / 2 is taken for one element; k = 1
        stays as it is).
    normalize_gaussians
        Whether Gaussians have the area 1, or the height 1.

    Raises
    ------
    RepresentationError
        Values out of range; on encoding, an array that does not fit in memory:
        :class:`SparseMBTR` is for many elements.

    References
    ----------
    Huo and Rupp, Mach. Learn.: Sci. Technol. 3, 045017 (2022), 10.1088/2632-2153/aca005;
    Himanen et al., Comput. Phys. Commun. 247, 106949 (2020), 10.1016/j.cpc.2019.106949.

    Examples
    --------
    >>> cubic = Crystals.single(np.eye(3) * 4.0, [[0, 0, 0]], [84])
    >>> mbtr = MBTR(k2_geometry="distance", k2_grid=(3.0, 5.0, 21, 0.1), k2_r_cut=5.0)
    >>> array = mbtr.fit(cubic).encode(cubic)["mbtr"]
    >>> array.shape, int(array[0].argmax())  # three pairs a cell, 4 Å apart
    ((1, 21), 10)
    """

    name: ClassVar[str] = "mbtr"

    @property
    def fields(self) -> tuple[Field, ...]:
        """The terms."""
        return tuple(
            Field(term.name, "continuous", self.name, (part.stop - part.start,), (part,))
            for term, part in zip(self.terms, self.columns(), strict=True)
        )

    def n_bytes(self, crystals: Crystals) -> int:
        """Memory that the array of these crystals takes."""
        return 4 * len(crystals) * self.n_features

    def feature_names(self) -> tuple[str, ...]:
        """Such as ``k2_Na_Cl_inverse_distance_0.25``."""
        symbols = [SYMBOLS[z] for z in self.species]
        pairs = [(a, b) for i, a in enumerate(symbols) for b in symbols[i:]]
        combinations = {
            1: symbols,
            2: [f"{a}_{b}" for a, b in pairs],
            3: [f"{a}_{middle}_{b}" for middle in symbols for a, b in pairs],
        }
        return tuple(
            f"{term.name}_{combination}_{term.geometry}_{point:.9g}"
            for term in self.terms
            for combination in combinations[term.k]
            for point in term.points.tolist()
        )

    def _encode(self, crystals: Crystals) -> dict[str, npt.NDArray[Any]]:
        array = _zeros(len(crystals), self.n_features)
        elements, blocks = self.blocks(crystals)
        columns = self.columns()
        for place, piece, spectra in self.spectra(crystals, elements, blocks):
            # A view: rows of the array, cut into combinations and points.
            by_combination = array[:, columns[place]].reshape(
                len(array), -1, self.terms[place].n, copy=False
            )
            own = blocks[place]
            by_combination[own.crystals[piece], own.combinations[piece]] = spectra
        return {self.name: array}


@dataclass(frozen=True)
class SparseMBTR(ManyBody, RaggedRepresentation):
    """The numbers of :class:`MBTR` without those of absent elements, for many species.

    Of each crystal the spectra of all combinations of its own elements are kept, whole: which
    numbers are kept depends on the elements alone, not on where the atoms are.

    Parameters are those of :class:`MBTR`. Arrays, on the ragged axis ``entries``:

    - ``columns`` (n_entries,): place among the ``n_features`` numbers of :class:`MBTR`, rising
      within a crystal.
    - ``values`` (n_entries,): the number.

    Examples
    --------
    >>> salt = Crystals.single(
    ...     [[0, 2.8, 2.8], [2.8, 0, 2.8], [2.8, 2.8, 0]], [[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17]
    ... )
    >>> sparse = SparseMBTR(species=tuple(range(1, 90)))
    >>> sparse.to_csr(sparse.encode(salt)).shape
    (1, 400500)
    """

    name: ClassVar[str] = "sparse_mbtr"

    @property
    def fields(self) -> tuple[Field, ...]:
        """Columns and values."""
        return (
            Field("columns", "index", "columns", ("entries",)),
            Field("values", "continuous", "values", ("entries",)),
        )

    def n_bytes(self, crystals: Crystals) -> int:
        """Memory that the arrays of these crystals take."""
        pairs = crystals.crystal_indices * (MAX_ATOMIC_NUMBER + 1) + crystals.numbers
        counts = np.bincount(np.unique(pairs) // (MAX_ATOMIC_NUMBER + 1), minlength=len(crystals))
        return 12 * sum(int(term.n_combinations(counts).sum()) * term.n for term in self.terms)

    def _encode_ragged(
        self, crystals: Crystals
    ) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Ints]]:
        elements, blocks = self.blocks(crystals)
        sizes = np.zeros((len(crystals), len(self.terms)), np.int64)
        for place, (term, own) in enumerate(zip(self.terms, blocks, strict=True)):
            sizes[:, place] = np.diff(own.offsets) * term.n
        ends = np.cumsum(sizes).reshape(sizes.shape)
        offsets = np.concatenate([np.zeros(1, np.int64), ends[:, -1]])
        columns = np.empty(offsets[-1], np.int64)
        values = np.empty(offsets[-1], np.float32)
        for place, piece, spectra in self.spectra(crystals, elements, blocks):
            own, n = blocks[place], self.terms[place].n
            crystal, points = own.crystals[piece], np.arange(n)
            # Where the spectrum begins among the entries of its term, and of its crystal.
            start = (np.arange(piece.start, piece.stop) - own.offsets[crystal]) * n
            start += (ends - sizes)[crystal, place]
            entries = start[:, None] + points
            first = own.combinations[piece] * n + self.columns()[place].start
            columns[entries] = first[:, None] + points
            values[entries] = spectra
        return {"columns": columns, "values": values}, {"entries": offsets}

    def to_csr(self, encoded: Encoded) -> Any:
        """Encoded crystals as a ``scipy.sparse.csr_matrix`` (m, ``n_features``), a row each."""
        from scipy.sparse import csr_matrix

        matrix = csr_matrix(
            (encoded["values"], encoded["columns"], encoded.offsets["entries"]),
            shape=(len(encoded), self.n_features),
        )
        matrix.eliminate_zeros()
        return matrix


def _zeros(n_rows: int, n_columns: int) -> npt.NDArray[np.float32]:
    """Zeros of which only what is written takes memory.

    For a large array numpy asks for pages of 2 MB, so that a crystal whose few spectra lie
    scattered over its row makes all of the row real; ordinary pages leave most of it out.
    """
    n_bytes = 4 * n_rows * n_columns
    if n_bytes < _LARGE:
        return np.zeros((n_rows, n_columns), np.float32)
    pages = mmap.mmap(-1, n_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return np.frombuffer(pages, np.float32).reshape(n_rows, n_columns)
