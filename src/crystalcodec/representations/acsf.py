"""ACSF, the atom-centred symmetry functions of Behler."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.representations.base import Field, RepresentationError
from crystalcodec.representations.dscribe_shim import (
    SiteRows,
    SpeciesDescriptor,
    dscribe_descriptors,
)

__all__ = ["ACSF", "SiteACSF"]

Pairs = tuple[tuple[float, float], ...]
Triplets = tuple[tuple[float, float, float], ...]

# Shells of half an ångström or so at the distances of first and second neighbours.
_SHELLS: Pairs = ((4.0, 1.5), (4.0, 2.0), (4.0, 2.5), (4.0, 3.0), (4.0, 3.5), (4.0, 4.0))


@dataclass(frozen=True)
class _SymmetryFunctions(SpeciesDescriptor):
    """The parameters of the symmetry functions, and their object of dscribe."""

    r_cut: float = 6.0
    g2_params: Pairs = _SHELLS
    g3_params: tuple[float, ...] = ()
    g4_params: Triplets = ()
    g5_params: Triplets = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.r_cut < np.inf:
            raise RepresentationError(f"r_cut is {self.r_cut} Å, wanted a positive number")
        object.__setattr__(self, "g3_params", tuple(self.g3_params))
        if not np.isfinite(self.g3_params).all():
            raise RepresentationError(f"g3_params are {self.g3_params}: wanted finite numbers")
        for name in ("g2_params", "g4_params", "g5_params"):
            rows = tuple(map(tuple, getattr(self, name)))
            object.__setattr__(self, name, rows)
            if any(row[0] <= 0 or not np.isfinite(row).all() for row in rows):
                raise RepresentationError(
                    f"{name} are {rows}: wanted finite numbers, each η positive"
                )

        for _, zeta, sign in (*self.g4_params, *self.g5_params):
            if zeta < 1 or zeta != int(zeta) or abs(sign) > 1:
                raise RepresentationError(
                    f"ζ is {zeta:g} and λ {sign:g}: wanted ζ a whole number from 1 and λ from -1 "
                    "to 1; for three atoms on a line rounding leaves less than nothing of 1 + "
                    "λ cos θ, which has no other powers"
                )

    @property
    def n_features(self) -> int:
        """Numbers of a crystal, or of a site."""
        species = len(self.species)
        radial = 1 + len(self.g2_params) + len(self.g3_params)
        angular = len(self.g4_params) + len(self.g5_params)
        return species * radial + species * (species + 1) // 2 * angular

    def _names(self) -> Iterator[str]:
        for symbol in self.species:
            yield f"ACSF {symbol} G1"
            yield from (f"ACSF {symbol} G2 eta={e:g} Rs={r:g}" for e, r in self.g2_params)
            yield from (f"ACSF {symbol} G3 kappa={kappa:g}" for kappa in self.g3_params)
        for i, one in enumerate(self.species):
            for other in self.species[: i + 1]:
                for kind, rows in (("G4", self.g4_params), ("G5", self.g5_params)):
                    yield from (
                        f"ACSF {other}-{one} {kind} eta={e:g} zeta={z:g} lambda={sign:g}"
                        for e, z, sign in rows
                    )

    def _looks_at(self) -> tuple[float, int]:
        return self.r_cut, 3 if self.g4_params or self.g5_params else 2

    def _descriptor(self) -> Any:
        return dscribe_descriptors().ACSF(
            species=list(self.species),
            r_cut=self.r_cut,
            g2_params=self.g2_params or None,
            g3_params=self.g3_params or None,
            g4_params=self.g4_params or None,
            g5_params=self.g5_params or None,
            periodic=True,
        )


@dataclass(frozen=True)
class ACSF(_SymmetryFunctions):
    """Atom-centred symmetry functions, averaged over the sites of a crystal, by dscribe.

    The array ``acsf`` (n, n_features). With f(r) = (cos(π r / r_cut) + 1) / 2 within the reach,
    for each element of the neighbours j, or each pair of elements of neighbours j and k, each two
    neighbours counted once:

        G1 = Σ f(r_ij)                        G2 = Σ exp(-η (r_ij - Rs)²) f(r_ij)
        G3 = Σ cos(κ r_ij) f(r_ij)
        G4 = 2^(1-ζ) Σ (1 + λ cos θ)^ζ exp(-η (r_ij² + r_ik² + r_jk²)) f(r_ij) f(r_ik) f(r_jk)
        G5 = 2^(1-ζ) Σ (1 + λ cos θ)^ζ exp(-η (r_ij² + r_ik²)) f(r_ij) f(r_ik)

    There are S (1 + |G2| + |G3|) + S (S + 1)/2 (|G4| + |G5|) numbers for S species; with many
    elements the functions of pairs are many, and none are there by default. Which element sits at
    the centre is not told.

    Parameters
    ----------
    species
        Symbols of the elements by atomic number; empty for those that :meth:`fit` finds.
    r_cut
        Reach, Å.
    g2_params
        η (1/Å²) and Rs (Å) of each G2.
    g3_params
        κ (1/Å) of each G3.
    g4_params, g5_params
        η (1/Å²), ζ, a whole number, and λ, from -1 to 1, of each G4 and G5.

    Raises
    ------
    RepresentationError
        Parameters outside their range, species that are no elements or not by atomic number.
    MissingExtraError
        On encoding, where dscribe is not installed.

    References
    ----------
    Behler, J. Chem. Phys. 134, 074106 (2011), 10.1063/1.3553717; dscribe:
    10.1016/j.cpc.2019.106949.

    Examples
    --------
    A simple cubic crystal with six neighbours at half the reach, f = 1/2:

    >>> cubic = Crystals.single(np.eye(3) * 3.0, [[0, 0, 0]], [84])
    >>> acsf = ACSF(r_cut=4.0, g2_params=((1.0, 3.0),)).fit(cubic)
    >>> acsf.encode(cubic)["acsf"].round(4).tolist()
    [[0.8787000179290771, 0.8787000179290771]]
    """

    name: ClassVar[str] = "acsf"
    _array: ClassVar[str] = "acsf"
    lost: ClassVar[str] = (
        "handedness, which site has which element and environment, and everything beyond the reach"
    )
    invariances: ClassVar = frozenset(
        {"permutation", "translation", "rotation", "supercell", "unit_cell"}
    )

    @property
    def fields(self) -> tuple[Field, ...]:
        """The functions."""
        return (Field("symmetry_functions", "continuous", "acsf", (self.n_features,)),)

    def _encode(self, crystals: Crystals) -> dict[str, npt.NDArray[Any]]:
        array = np.zeros((len(crystals), self.n_features), np.float32)
        for row, sites in zip(array, self._rows(crystals), strict=True):
            row[:] = sites.mean(axis=0)
        return {"acsf": array}


@dataclass(frozen=True)
class SiteACSF(_SymmetryFunctions, SiteRows):
    """Atom-centred symmetry functions of each site, by dscribe.

    The ragged array ``acsf`` (sites, n_features); all else as for :class:`ACSF`.

    Parameters
    ----------
    species, r_cut, g2_params, g3_params, g4_params, g5_params
        As for :class:`ACSF`.

    Raises
    ------
    RepresentationError
        As for :class:`ACSF`.
    MissingExtraError
        On encoding, where dscribe is not installed.

    Examples
    --------
    >>> pair = Crystals.single(np.eye(3) * 4, [[0, 0, 0], [0.5, 0.5, 0.5]], [55, 17])
    >>> SiteACSF(species=("Cl", "Cs"), g2_params=()).encode(pair)["acsf"].round().tolist()
    [[3.0, 2.0], [2.0, 3.0]]
    """

    name: ClassVar[str] = "site_acsf"
    _array: ClassVar[str] = "acsf"
    lost: ClassVar[str] = (
        "handedness, the elements of the sites and where they are, and everything beyond the reach"
    )
    invariances: ClassVar = frozenset({"translation", "rotation", "unit_cell"})
