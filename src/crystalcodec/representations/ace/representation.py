"""ACE averaged over the sites of a crystal, and SiteACE, site by site."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.representations.ace.invariants import Expansion
from crystalcodec.representations.base import Field, Invariance, RaggedRepresentation

__all__ = ["ACE", "SiteACE"]


@dataclass(frozen=True)
class ACE(Expansion):
    """The atomic cluster expansion, averaged over the sites of the cell: (n, n_features).

    Around each site the neighbours within the cut-off are summed into the A-basis,

        A_{n c l m} = Σ_j R_n(r_j) w_c(Z_j) Y_lm(r_j),

    R radial functions, w_c what an element weighs in channel c, Y real spherical harmonics. The
    B-basis is the products of one, two and three A's that rotation and inversion leave as they
    are: order 1, A with l = 0; order 2, the power spectrum Σ_m A_{v l m} A_{v' l m} / √(2l + 1);
    order 3, the bispectrum, with Wigner's 3j symbols and an even sum of l's. Each product is there
    once. A site without neighbours has zeros.

    Parameters
    ----------
    cutoff
        Å; neighbours fade to nothing there.
    n_max
        Number of radial functions for each order, as many numbers as orders, 1 to 3.
    l_max
        Largest l for each order; 0 for order 1.
    channels
        How elements enter: ``properties``, 1 and electronegativity, period and group of the
        periodic table (over the elements of mean 0 and variance 1; 0 where Pauling's scale has no
        value); ``random``, ``n_channels`` normal numbers for each element, of variance
        1 / ``n_channels``, the same for the same ``seed``; ``one_hot``, a channel for each of
        ``species``; ``none``, all elements alike.
    n_channels, seed
        For random channels.
    species
        Atomic numbers, for one-hot channels; :meth:`fit` finds them.
    centers
        How the element of the site itself enters: ``alike``, not at all; ``channels``, the
        invariants are there once for each channel, times what the site weighs in it.
    radial
        ``chebyshev``, (1 - T_n) / 2 of a scaled distance and 1 for the first, as Drautz has them;
        ``gto``, the Gaussian-type orbitals of SOAP with a Gaussian for each atom, with which order
        2 is a SOAP power spectrum: dscribe's is π√8 times it.
    decay
        How much more of the Chebyshev polynomials lies at short distances.
    sigma
        Width of the Gaussian of an atom, Å, for Gaussian-type orbitals.
    cutoff_function
        What the radial functions are multiplied by: ``cosine`` or ``polynomial``.

    Raises
    ------
    RepresentationError
        A parameter out of range, or orbitals too many for their cut-off.

    References
    ----------
    Drautz, 10.1103/PhysRevB.99.014104. Radial functions, invariants, what is independent:
    Dusson et al., 10.1016/j.jcp.2022.110946.

    Examples
    --------
    >>> salt = Crystals.single(
    ...     [[0, 2.8, 2.8], [2.8, 0, 2.8], [2.8, 2.8, 0]], [[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17]
    ... )
    >>> ace = ACE(cutoff=5.0, n_max=(3, 2), l_max=(0, 2), channels="none")
    >>> ace.encode(salt)["ace"].shape, ace.feature_names()[3]
    ((1, 12), 'b2_l0-0_n0_one_n0_one_center_one')
    """

    name: ClassVar[str] = "ace"

    @property
    def fields(self) -> tuple[Field, ...]:
        """Invariants."""
        return (Field("invariants", "continuous", self.name, (self.n_features,)),)

    def _encode(self, crystals: Crystals) -> dict[str, npt.NDArray[Any]]:
        out = np.zeros((len(crystals), self.n_features), np.float32)
        start = 0
        for part in self.parts_of(crystals):
            out[start : start + len(part)] = self.mean_invariants(part)
            start += len(part)
        return {self.name: out}


@dataclass(frozen=True)
class SiteACE(Expansion, RaggedRepresentation):
    """The atomic cluster expansion of each site: (n_sites_total, n_features), not averaged.

    Parameters are those of :class:`ACE`, which is the mean of these rows over the sites of a cell.

    Raises
    ------
    RepresentationError
        A parameter out of range, or orbitals too many for their cut-off.

    References
    ----------
    Drautz, 10.1103/PhysRevB.99.014104.

    Examples
    --------
    >>> salt = Crystals.single(
    ...     [[0, 2.8, 2.8], [2.8, 0, 2.8], [2.8, 2.8, 0]], [[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17]
    ... )
    >>> SiteACE().encode(salt)["site_ace"].shape
    (2, 1984)
    """

    name: ClassVar[str] = "site_ace"
    invariances: ClassVar[frozenset[Invariance]] = frozenset(
        {"translation", "rotation", "unit_cell"}
    )

    @property
    def fields(self) -> tuple[Field, ...]:
        """Invariants of each site."""
        return (Field("invariants", "continuous", self.name, ("sites", self.n_features)),)

    def n_bytes(self, crystals: Crystals) -> int:
        """Memory of the array and of the list of products."""
        return super().n_bytes(crystals) + 4 * self.n_features * len(crystals.numbers)

    def feature_names(self) -> tuple[str, ...]:
        """Names of the numbers of a site, as for :class:`ACE`."""
        return super().feature_names()

    def _encode_ragged(
        self, crystals: Crystals
    ) -> tuple[dict[str, npt.NDArray[Any]], dict[str, npt.NDArray[np.int64]]]:
        out = np.zeros((len(crystals.numbers), self.n_features), np.float32)
        start = 0
        for part in self.parts_of(crystals):
            out[start : start + len(part.numbers)] = self.site_invariants(part)
            start += len(part.numbers)
        return {self.name: out}, {"sites": crystals.offsets}
