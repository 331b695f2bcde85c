"""The Ewald sum matrix."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np
import numpy.typing as npt
from scipy.special import erfc

from crystalcodec.crystals import Crystals
from crystalcodec.representations.base import FailureNotes, RepresentationError
from crystalcodec.representations.neighbors import neighbors_within
from crystalcodec.representations.site_matrices.representation import SiteMatrix, padded_sites

__all__ = ["EwaldSumMatrix"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_MEET: Final = 1e-6  # Å; sites nearer than that lie on each other
_BLOCK: Final = 2**19  # terms of either sum that are worked on at once
_MOST: Final = 2**23  # terms of either sum of one crystal


@dataclass(frozen=True)
class EwaldSumMatrix(SiteMatrix):
    """Electrostatic energy of each two sites with all their images, nuclei as point charges.

    The array ``ewald_sum_matrix`` (n, max_sites, max_sites) holds Z_i Z_j times sums of 1/Å, and
    zeros beyond the sites; with ``permutation="eigenspectrum"`` it is (n, max_sites). A uniform
    background makes the cell neutral. The entries on and above the diagonal add up to the energy
    of a cell:

        M_ij = Z_i Z_j [Σ_L erfc(α r_L) / r_L + 4π/V Σ_G exp(-G²/4α²) cos(G·r_ij) / G² - π/(V α²)]
        M_ii = Z_i² [half of the same bracket, without L = 0] - α/√π Z_i²

    with r_L the distances to the images of the other site, L the lattice points and G the
    reciprocal vectors but 0. Sums end at ``r_cut`` and ``g_cut``. The result does not depend on
    α where they have converged, and it belongs to the lattice, not to the cell vectors.

    Parameters
    ----------
    max_sites, permutation, sigma, seed
        See :class:`SiteMatrix`.
    accuracy
        A, how far the sums run where no cut-off is given: r_cut = f/α and g_cut = 2fα with
        f = √(-ln A), 10.1080/08927022.2013.840898.
    w
        Cost of a term of the real sum in units of one of the reciprocal sum, for the choice of α.
    r_cut, g_cut
        Cut-offs, Å and 1/Å; both or neither.
    a
        α, 1/Å; √π (w n_sites / V²)^(1/6) where it is not given.

    Raises
    ------
    RepresentationError
        A limit below 1, an unknown permutation, a negative sigma or seed, an accuracy outside
        (0, 1), one cut-off without the other, numbers that are not positive.

    References
    ----------
    Faber, Lindmaa, von Lilienfeld and Armiento, Int. J. Quantum Chem. 115, 1094 (2015),
    10.1002/qua.24917; Toukmaji and Board, 10.1016/0010-4655(96)00016-1. The same numbers as
    dscribe's, 10.1016/j.cpc.2019.106949.

    Examples
    --------
    The Madelung constant of caesium chloride, 1.76267, from the energy of charges of 1 and -1:

    >>> salt = Crystals.single(np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]], [1, 1])
    >>> matrix = EwaldSumMatrix(max_sites=2, permutation="none", accuracy=1e-10)
    >>> entries = matrix.encode(salt)["ewald_sum_matrix"][0]
    >>> energy = entries[0, 0] + entries[1, 1] - entries[0, 1]
    >>> float(round(-energy * np.sqrt(3) / 2, 5))
    1.76267
    """

    name: ClassVar[str] = "ewald_sum_matrix"
    lost: ClassVar[str] = (
        "orientation and handedness, and of the lattice all that the sums do not tell (of "
        "eigenvalues, most of the rest too)"
    )
    _invariances_of_entries: ClassVar = frozenset({"rotation", "translation", "unit_cell"})
    _entries_continuous: ClassVar[bool] = True

    accuracy: float = 1e-5
    w: float = 1.0
    r_cut: float | None = None
    g_cut: float | None = None
    a: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.accuracy < 1:
            raise RepresentationError(f"accuracy is {self.accuracy}, wanted between 0 and 1")
        for name in ("w", "r_cut", "g_cut", "a"):
            value = getattr(self, name)
            if value is not None and not 0 < value < np.inf:
                raise RepresentationError(f"{name} is {value}, wanted a positive number")
        if (self.r_cut is None) != (self.g_cut is None):
            raise RepresentationError("one cut-off without the other: give r_cut and g_cut")

    def _limits(self, crystals: Crystals) -> tuple[Floats, Floats, Floats]:
        """α, r_cut and g_cut of each crystal, (n,)."""
        counts, volumes = crystals.n_sites, crystals.volumes
        if self.a is None:
            alphas = np.sqrt(np.pi) * (self.w * counts / volumes**2) ** (1 / 6)
        else:
            alphas = np.full(len(crystals), float(self.a))
        if self.r_cut is not None and self.g_cut is not None:
            return alphas, np.full_like(alphas, self.r_cut), np.full_like(alphas, self.g_cut)
        factor = np.sqrt(-np.log(self.accuracy))
        return alphas, factor / alphas, 2 * factor * alphas

    def _note_too_large(self, crystals: Crystals, notes: FailureNotes) -> None:
        super()._note_too_large(crystals, notes)
        _, r_cuts, g_cuts = self._limits(crystals)
        terms = np.maximum(_n_real(crystals, r_cuts), _n_reciprocal(crystals, g_cuts))
        notes.add(
            terms > _MOST,
            "too many terms",
            lambda i: (
                f"its Ewald sum has {terms[i]:.2g} terms, at most {_MOST} are summed: smaller "
                "r_cut and g_cut, or a larger accuracy, make fewer"
            ),
        )

    def _matrices(self, crystals: Crystals, width: int) -> Floats:
        alphas, r_cuts, g_cuts = self._limits(crystals)
        volumes = crystals.volumes
        sites = padded_sites(crystals, width)
        charges = np.where(sites >= 0, crystals.numbers[sites], 0).astype(float)
        sums = _real_sums(crystals, sites, alphas, r_cuts)
        sums += _reciprocal_sums(crystals, sites, alphas, g_cuts)
        sums -= (np.pi / (volumes * alphas**2))[:, None, None]
        diagonal = np.arange(width)
        sums[:, diagonal, diagonal] /= 2
        sums[:, diagonal, diagonal] -= (alphas / np.sqrt(np.pi))[:, None]
        products = charges[:, :, None] * charges[:, None, :]
        return np.where(products > 0, sums * products, 0.0)


def _n_real(crystals: Crystals, r_cuts: Floats) -> Floats:
    """(n,) about how many terms the real sums have: pairs of a site and an image within reach."""
    return np.asarray(4 / 3 * np.pi * r_cuts**3 * crystals.n_sites**2 / crystals.volumes)


def _largest_indices(crystals: Crystals, g_cuts: Floats) -> Floats:
    """(n, 3) the largest indices of reciprocal vectors within reach, from the cell lengths."""
    lengths = np.linalg.norm(crystals.lattices, axis=2)
    return np.asarray(np.floor(g_cuts[:, None] * lengths / (2 * np.pi)))


def _n_reciprocal(crystals: Crystals, g_cuts: Floats) -> Floats:
    """(n,) how many terms are tried for the reciprocal sums: vectors of a box, times sites."""
    sides = 2 * _largest_indices(crystals, g_cuts) + 1
    return np.asarray(sides.prod(axis=1) * crystals.n_sites)


def _real_sums(crystals: Crystals, sites: Ints, alphas: Floats, r_cuts: Floats) -> Floats:
    """(n, w, w) sums of erfc(α r)/r over all images of a site within reach of another."""
    n, width = sites.shape
    sums = np.zeros((n, width, width))
    for start, stop in _runs(_n_real(crystals, r_cuts)):
        # Lengths in units of each crystal's own reach: one cut-off then serves them all.
        block = crystals[start:stop]
        scale = r_cuts[start:stop]
        scaled = Crystals(
            block.lattices / scale[:, None, None], block.frac_coords, block.numbers, block.offsets
        )
        near = neighbors_within(scaled, 1.0)
        owner = block.crystal_indices[near.centers]
        first = block.offsets[owner]
        lengths = near.distances * scale[owner]
        meet = lengths < _MEET
        lengths[meet] = np.inf
        terms = erfc(alphas[start:stop][owner] * lengths) / lengths
        terms[meet] = np.inf
        cells = ((owner * width) + near.centers - first) * width + near.neighbors - first
        total = np.bincount(cells, terms, minlength=(stop - start) * width**2)
        sums[start:stop] = total.reshape(stop - start, width, width)
    # The same pair met from either end, to the last bit.
    return (sums + sums.transpose(0, 2, 1)) / 2


def _reciprocal_sums(crystals: Crystals, sites: Ints, alphas: Floats, g_cuts: Floats) -> Floats:
    """(n, w, w) sums of 4π/V exp(-G²/4α²)/G² cos(G·r) over reciprocal vectors within reach."""
    n, width = sites.shape
    largest = _largest_indices(crystals, g_cuts)
    sums = np.zeros((n, width, width))
    coords = np.where((sites >= 0)[..., None], crystals.frac_coords[sites], 0.0)
    for start, stop in _runs(_n_reciprocal(crystals, g_cuts)):
        here = slice(start, stop)
        vectors, weights = _half_sphere(
            crystals.lattices[here], largest[here].astype(np.int64), alphas[here], g_cuts[here]
        )
        # exp(-G²/4α²)/G² 4π/V, twice for G and -G, in equal parts on either site.
        roots = np.sqrt(8 * np.pi / crystals.volumes[here, None] * weights)[:, :, None]
        phases = np.zeros((stop - start, vectors.shape[1], width))
        for axis in range(3):
            phases += vectors[:, :, None, axis] * coords[here, None, :, axis]
        phases *= 2 * np.pi
        # Term by term, so that the vectors another crystal has more of add nothing but zeros.
        for part in (np.cos(phases) * roots, np.sin(phases) * roots):
            for k in range(part.shape[1]):
                sums[here] += part[:, k, :, None] * part[:, k, None, :]
    return sums


def _half_sphere(
    lattices: Floats, largest: Ints, alphas: Floats, g_cuts: Floats
) -> tuple[Floats, Floats]:
    """Indices (n, k, 3) of one of each G and -G within reach, and exp(-G²/4α²)/G² (n, k).

    Rows of crystals that have fewer end in weights of zero.
    """
    sides = 2 * largest + 1
    # Lattice points of a box come in an order that -G runs through backwards; 0 is in the middle.
    sizes = sides.prod(axis=1) // 2
    owner = np.repeat(np.arange(len(sizes)), sizes)
    rank = np.arange(len(owner)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    rest, third = np.divmod(rank, sides[owner, 2])
    first, second = np.divmod(rest, sides[owner, 1])
    indices = np.stack([first, second, third], axis=1) - largest[owner]
    reciprocal = 2 * np.pi * np.linalg.inv(lattices).transpose(0, 2, 1)
    vectors = np.einsum("ni,nij->nj", indices.astype(float), reciprocal[owner])
    squares = (vectors * vectors).sum(axis=1)
    inside = np.flatnonzero(squares <= g_cuts[owner] ** 2)
    owner, squares = owner[inside], squares[inside]
    counts = np.bincount(owner, minlength=len(sizes))
    place = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    chosen = np.zeros((len(sizes), int(counts.max(initial=0)), 3))
    weights = np.zeros(chosen.shape[:2])
    chosen[owner, place] = indices[inside]
    weights[owner, place] = np.exp(-squares / (4 * alphas[owner] ** 2)) / squares
    return chosen, weights


def _runs(terms: Floats) -> Iterator[tuple[int, int]]:
    """Runs of crystals whose terms fill a block."""
    ends = np.cumsum(terms)
    start = 0
    while start < len(terms):
        before = ends[start] - terms[start]
        stop = max(start + 1, int(np.searchsorted(ends, before + _BLOCK, side="right")))
        yield start, stop
        start = stop
