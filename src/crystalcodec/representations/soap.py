"""SOAP, the smooth overlap of atomic positions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.representations.base import Field, RepresentationError
from crystalcodec.representations.dscribe_shim import (
    SiteRows,
    SpeciesDescriptor,
    dscribe_descriptors,
)

__all__ = ["SOAP", "SiteSOAP"]

_LARGEST_DEGREE = 20  # the spherical harmonics that dscribe has


@dataclass(frozen=True)
class _PowerSpectrum(SpeciesDescriptor):
    """The parameters of SOAP, and its object of dscribe."""

    r_cut: float = 5.0
    n_max: int = 4
    l_max: int = 3
    sigma: float = 0.5
    rbf: Literal["gto", "polynomial"] = "gto"
    compression: Literal["off", "mu2", "mu1nu1", "crossover"] = "mu1nu1"
    species_weights: tuple[float, ...] = ()
    weighting: Literal["off", "poly", "pow", "exp"] = "off"
    weighting_r0: float | None = None
    weighting_c: float = 1.0
    weighting_d: float = 1.0
    weighting_m: float = 2.0
    central_weight: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "species_weights", tuple(self.species_weights))
        if not 1 < self.r_cut < np.inf:
            raise RepresentationError(f"r_cut is {self.r_cut} Å, wanted more than 1 Å")
        if not 0 < self.sigma < np.inf:
            raise RepresentationError(f"sigma is {self.sigma} Å, wanted a positive number")
        if self.n_max < 1 or not 0 <= self.l_max <= _LARGEST_DEGREE:
            raise RepresentationError(
                f"n_max is {self.n_max} and l_max {self.l_max}, wanted n_max from 1 on and l_max "
                f"from 0 to {_LARGEST_DEGREE}"
            )
        if self.species_weights and len(self.species_weights) != len(self.species):
            raise RepresentationError(
                f"{len(self.species_weights)} species_weights for {len(self.species)} species: "
                "give one for each of the species, which have to be given too"
            )
        if not np.isfinite(self.species_weights).all():
            raise RepresentationError(
                f"species_weights are {self.species_weights}, wanted finite numbers"
            )
        for name in ("weighting_r0", "weighting_c", "weighting_d", "weighting_m", "central_weight"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < np.inf:
                raise RepresentationError(f"{name} is {value}, wanted a number not below 0")
        if self.weighting_r0 == 0:
            raise RepresentationError("weighting_r0 is 0 Å, wanted a positive number")
        if self.weighting == "pow" and self.weighting_d == 0:
            raise RepresentationError(
                "weighting_d is 0, wanted above 0 with 'pow': an atom at the centre has no bounds"
            )

    @property
    def n_features(self) -> int:
        """Numbers of a crystal, or of a site."""
        n, degrees, species = self.n_max, self.l_max + 1, len(self.species)
        return {
            "off": species * n * (species * n + 1) // 2 * degrees,
            "mu2": (n * (n + 1) // 2 * degrees) if species else 0,
            "mu1nu1": species * n * n * degrees,
            "crossover": species * (n * (n + 1) // 2) * degrees,
        }[self.compression]

    def _names(self) -> Iterator[str]:
        symbols = self.species
        pairs: list[tuple[str, str, bool]] = {
            "off": [(a, b, a == b) for i, a in enumerate(symbols) for b in symbols[i:]],
            "mu2": [("all", "all", True)] if symbols else [],
            "mu1nu1": [(a, "all", False) for a in symbols],
            "crossover": [(a, a, True) for a in symbols],
        }[self.compression]
        for one, other, symmetric in pairs:
            for degree in range(self.l_max + 1):
                for n in range(self.n_max):
                    for m in range(n if symmetric else 0, self.n_max):
                        yield f"SOAP {one}-{other} n={n} n'={m} l={degree}"

    def _looks_at(self) -> tuple[float, int]:
        return self.r_cut, 2

    def _descriptor(self, average: str = "off") -> Any:
        weights: dict[str, Any] = {}
        if self.weighting != "off":
            weights = {
                "function": self.weighting,
                "r0": self.r_cut if self.weighting_r0 is None else self.weighting_r0,
                "c": self.weighting_c,
                "d": self.weighting_d,
                "m": self.weighting_m,
            }
        if self.central_weight is not None:
            weights["w0"] = self.central_weight
        of_species = dict(zip(self.species, self.species_weights, strict=False)) or None
        return dscribe_descriptors().SOAP(
            species=list(self.species),
            r_cut=self.r_cut,
            n_max=self.n_max,
            l_max=self.l_max,
            sigma=self.sigma,
            rbf=self.rbf,
            weighting=weights or None,
            average=average,
            compression={"mode": self.compression, "species_weighting": of_species},
            periodic=True,
        )


@dataclass(frozen=True)
class SOAP(_PowerSpectrum):
    """The SOAP power spectrum, averaged over the sites of a crystal, by dscribe.

    The array ``soap`` (n, n_features). Each atom within reach of a site is a Gaussian; the sum is
    expanded in radial functions n and spherical harmonics l, m around the site, a channel for
    each element, and the power spectrum sums over m what rotation mixes:

        p(Z n, Z' n', l) = π √(8 / (2l + 1)) Σ_m c(Z n l m) c(Z' n' l m)

    With S species, N = ``n_max`` and L = ``l_max`` + 1 there are SN(SN + 1)/2 L numbers without
    compression, S N² L under ``mu1nu1``, S N(N + 1)/2 L under ``crossover`` and N(N + 1)/2 L under
    ``mu2``: 254,184, 5,696, 3,560 and 40 for 89 elements and the default N and L.

    Parameters
    ----------
    species
        Symbols of the elements by atomic number; empty for those that :meth:`fit` finds.
    r_cut
        Reach, Å; the Gaussians of atoms a few sigma beyond are counted too.
    n_max, l_max
        Number of radial functions, largest degree of spherical harmonics.
    sigma
        Width of the Gaussians, Å.
    rbf
        Radial functions: ``gto`` or ``polynomial``.
    compression
        ``off``: each pair of elements; ``crossover``: each element with itself; ``mu1nu1``: each
        element with the sum over all; ``mu2``: the sum over all with itself,
        10.1038/s41524-022-00847-y.
    species_weights
        A weight for each of the species, by which ``mu2`` can tell them apart; empty for 1.
    weighting, weighting_r0, weighting_c, weighting_d, weighting_m
        How the weight of an atom falls with its distance, in dscribe's words: ``off``;
        ``poly``, c (1 + 2 (r/r0)³ - 3 (r/r0)²)^m; ``pow``, c / (d + (r/r0)^m); ``exp``,
        c / (d + exp(-r/r0)). ``r0`` is ``r_cut`` where it is not given.
    central_weight
        Weight of the atom at the centre, where it is not to be that of the others.
    average
        ``outer``: the mean of the power spectra of the sites; ``inner``: the power spectrum of
        the mean expansion, 10.1039/c6cp00415f.

    Raises
    ------
    RepresentationError
        Parameters outside their range, species that are no elements or not by atomic number.
    MissingExtraError
        On encoding, where dscribe is not installed.

    References
    ----------
    Bartók, Kondor and Csányi, Phys. Rev. B 87, 184115 (2013), 10.1103/PhysRevB.87.184115;
    dscribe: 10.1016/j.cpc.2019.106949.

    Examples
    --------
    >>> salt = Crystals.single(
    ...     [[0, 2.8, 2.8], [2.8, 0, 2.8], [2.8, 2.8, 0]], [[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17]
    ... )
    >>> soap = SOAP().fit(salt)
    >>> soap.species, soap.encode(salt)["soap"].shape
    (('Na', 'Cl'), (1, 128))
    """

    name: ClassVar[str] = "soap"
    _array: ClassVar[str] = "soap"
    lost: ClassVar[str] = (
        "handedness, which site has which environment, everything beyond the reach, and what of a "
        "density its power spectrum does not tell"
    )
    invariances: ClassVar = frozenset(
        {"permutation", "translation", "rotation", "supercell", "unit_cell"}
    )

    average: Literal["inner", "outer"] = "outer"

    @property
    def fields(self) -> tuple[Field, ...]:
        """The power spectrum."""
        return (Field("power_spectrum", "continuous", "soap", (self.n_features,)),)

    def _descriptor(self, average: str = "") -> Any:
        return super()._descriptor(average or self.average)

    def _encode(self, crystals: Crystals) -> dict[str, npt.NDArray[Any]]:
        array = np.zeros((len(crystals), self.n_features), np.float32)
        for row, spectrum in zip(array, self._rows(crystals), strict=True):
            row[:] = spectrum
        return {"soap": array}


@dataclass(frozen=True)
class SiteSOAP(_PowerSpectrum, SiteRows):
    """The SOAP power spectrum of each site, by dscribe.

    The ragged array ``soap`` (sites, n_features); all else as for :class:`SOAP`.

    Parameters
    ----------
    species, r_cut, n_max, l_max, sigma, rbf, compression, species_weights
        As for :class:`SOAP`.
    weighting, weighting_r0, weighting_c, weighting_d, weighting_m, central_weight
        As for :class:`SOAP`.

    Raises
    ------
    RepresentationError
        As for :class:`SOAP`.
    MissingExtraError
        On encoding, where dscribe is not installed.

    Examples
    --------
    >>> pair = Crystals.single(np.eye(3) * 4, [[0, 0, 0], [0.5, 0.5, 0.5]], [55, 17])
    >>> encoded = SiteSOAP(species=("Cl", "Cs")).encode(pair)
    >>> encoded["soap"].shape, encoded.offsets["sites"].tolist()
    ((2, 128), [0, 2])
    """

    name: ClassVar[str] = "site_soap"
    _array: ClassVar[str] = "soap"
    lost: ClassVar[str] = (
        "handedness, where the sites are, everything beyond their reach, and what of a density its "
        "power spectrum does not tell"
    )
    invariances: ClassVar = frozenset({"translation", "rotation", "unit_cell"})
