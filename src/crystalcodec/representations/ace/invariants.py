"""The parameters of the expansion and the invariants of every site, for ACE and SiteACE."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Final, Literal, Self

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from crystalcodec.crystals import Crystals
from crystalcodec.elements import MAX_ATOMIC_NUMBER, SYMBOLS
from crystalcodec.failures import Failure
from crystalcodec.representations.ace.channels import Channels, channel_names, channel_weights
from crystalcodec.representations.ace.expansion import BBasis, atomic_basis
from crystalcodec.representations.ace.radial import (
    CutoffFunction,
    Radial,
    chebyshev,
    cutoff_values,
    gaussian_orbitals,
)
from crystalcodec.representations.base import (
    FailureNotes,
    Invariance,
    Representation,
    RepresentationError,
)
from crystalcodec.representations.neighbors import neighbors_within
from crystalcodec.representations.parameters import misfit

__all__ = ["Expansion"]

Floats = npt.NDArray[np.float64]
# Sites of a part of the batch, and numbers of its widest array: some 30 MB.
_SITES: Final = 1_000
_PART: Final = 4_000_000


@dataclass(frozen=True)
class Expansion(Representation):
    """The parameters and the invariants of each site, for ACE and SiteACE."""

    lost: ClassVar[str] = (
        "all beyond the cut-off and the basis, mirror image, elements as far as channels mix them"
    )
    invariances: ClassVar[frozenset[Invariance]] = frozenset(
        {"permutation", "translation", "rotation", "supercell", "unit_cell"}
    )
    continuity: ClassVar = "continuous"

    cutoff: float = 6.0
    n_max: tuple[int, ...] = (6, 3, 1)
    l_max: tuple[int, ...] = (0, 3, 2)
    channels: Channels = "properties"
    n_channels: int = 4
    seed: int = 0
    species: tuple[int, ...] = ()
    centers: Literal["alike", "channels"] = "channels"
    radial: Radial = "chebyshev"
    decay: float = 5.25
    sigma: float = 0.5
    cutoff_function: CutoffFunction = "cosine"

    def __post_init__(self) -> None:
        for name in ("n_max", "l_max", "species"):
            if isinstance(getattr(self, name), list):
                object.__setattr__(self, name, tuple(getattr(self, name)))
        fault = misfit(Expansion, dataclasses.asdict(self)) or self._out_of_range()
        if fault:
            raise RepresentationError(fault)
        if self.radial == "gto":
            try:
                for degree in range(max(self.l_max) + 1):
                    gaussian_orbitals(np.ones(1), max(self.n_max), degree, self.cutoff, self.sigma)
            except ValueError as error:
                raise RepresentationError(
                    f"n_max is {max(self.n_max)} within {self.cutoff} Å: {error}; use fewer "
                    "functions or a larger cut-off"
                ) from None

    def _out_of_range(self) -> str:
        """What is wrong with the first parameter that is."""
        orders = len(self.n_max)
        if not 1 <= orders <= 3 or len(self.l_max) != orders:
            return (
                f"n_max is {self.n_max} and l_max is {self.l_max}, wanted one number for each "
                "order, 1 to 3 orders"
            )
        if min(self.n_max) < 1 or min(self.l_max) < 0 or self.l_max[0] != 0:
            return (
                f"n_max is {self.n_max} and l_max is {self.l_max}, wanted n at least 1 and l at "
                "least 0, and 0 for order 1, which has no other invariant"
            )
        if max(self.l_max) > 20:
            return f"l_max is {self.l_max}, wanted at most 20"
        if not 0 < self.cutoff < np.inf:
            return f"cutoff is {self.cutoff} Å, wanted above 0"
        if self.radial == "gto" and self.cutoff <= 1:
            return f"cutoff is {self.cutoff} Å, wanted above 1 Å, where the first orbital ends"
        if not 0 < self.decay <= 50:
            return f"decay is {self.decay}, wanted above 0 and at most 50"
        if not 0 < self.sigma < np.inf:
            return f"sigma is {self.sigma} Å, wanted above 0"
        if self.n_channels < 1:
            return f"n_channels is {self.n_channels}, wanted at least 1"
        if self.seed < 0:
            return f"seed is {self.seed}, wanted at least 0"
        return self._wrong_species()

    def _wrong_species(self) -> str:
        if self.species and self.channels != "one_hot":
            return f"species are given for channels {self.channels!r}, wanted 'one_hot' with them"
        if len(set(self.species)) != len(self.species) or not all(
            1 <= z <= MAX_ATOMIC_NUMBER for z in self.species
        ):
            return (
                f"species are {self.species}, wanted atomic numbers from 1 to "
                f"{MAX_ATOMIC_NUMBER}, each once"
            )
        return ""

    @property
    def needs_fit(self) -> bool:
        """Whether channels are elements and none are given."""
        return self.channels == "one_hot" and not self.species

    def fit(self, crystals: Crystals) -> Self:
        """With the elements of these crystals as channels, where channels are elements."""
        if not self.needs_fit:
            return self
        species = np.unique(crystals.numbers).tolist()
        if not species:
            raise RepresentationError(f"{self.name}: no crystals to find the species in")
        return dataclasses.replace(self, species=tuple(species))

    def refuse(self, crystals: Crystals) -> list[Failure]:
        """Crystals of an element that is no channel, and of too many neighbours."""
        notes = FailureNotes()
        notes.add_too_dense(crystals, self.cutoff)
        if self.channels != "one_hot":
            return notes.in_order()
        unknown = ~np.isin(crystals.numbers, self.species)
        found = np.zeros(len(crystals), bool)
        found[crystals.crystal_indices[unknown]] = True

        def detail(i: int) -> str:
            missing = sorted({*crystals[i].numbers.tolist()} - {*self.species})
            symbols = ", ".join(SYMBOLS[z] for z in missing)
            return f"{symbols}, not of the {len(self.species)} species; fit to crystals with it"

        notes.add(found, "element not among the species", detail)
        return notes.in_order()

    @cached_property
    def _weights(self) -> Floats:
        return channel_weights(self.channels, self.n_channels, self.species, self.seed)

    @property
    def channel_names(self) -> tuple[str, ...]:
        """Names of the channels that neighbours of all elements are summed into."""
        return channel_names(self.channels, self.n_channels, self.species)

    @cached_property
    def _basis(self) -> BBasis:
        n_channels = len(self.channel_names)
        return BBasis(tuple(n * n_channels for n in self.n_max), self.l_max)

    @property
    def n_features(self) -> int:
        """Numbers of a site."""
        return len(self._basis) * (len(self.channel_names) if self.centers == "channels" else 1)

    def feature_names(self) -> tuple[str, ...]:
        """Order, l's, then n and channel of each factor, and the channel of the centre."""
        channels = self.channel_names
        names = []
        for degrees, factors in self._basis.blocks:
            head = f"b{len(degrees)}_l" + "-".join(map(str, degrees))
            for product in np.stack(factors, axis=1).tolist():
                parts = [f"n{v // len(channels)}_{channels[v % len(channels)]}" for v in product]
                names.append("_".join([head, *parts]))
        if self.centers == "channels":
            names = [f"{name}_center_{channel}" for channel in channels for name in names]
        return tuple(names)

    def n_bytes(self, crystals: Crystals) -> int:
        """Memory of the array and of the list of products, known before either is made."""
        return super().n_bytes(crystals) + 100 * len(self._basis)

    def _radial(self, distances: Floats, degree: int) -> tuple[Floats, Floats | None]:
        """(n, p) radial functions, the cut-off function included, and how to mix them."""
        n_max, mixing = max(self.n_max), None
        if self.radial == "gto":
            values, mixing = gaussian_orbitals(distances, n_max, degree, self.cutoff, self.sigma)
        else:
            values = chebyshev(distances, n_max, self.cutoff, self.decay)
        values *= cutoff_values(distances, self.cutoff, self.cutoff_function)
        return values, mixing

    def atomic_basis(self, crystals: Crystals) -> Floats:
        """(n_sites_total, n, channels, (l_max + 1)²) the A-basis of all sites.

        A_{n c l m} is the sum over the neighbours of a site of the radial function n, the real
        spherical harmonic in column l² + l + m, and what the element of the neighbour weighs in
        channel c; 0 for l's that no order wants for this n.
        """
        near = neighbors_within(crystals, self.cutoff)
        numbers = crystals.numbers[near.neighbors]
        if self.channels == "none":
            numbers = np.ones_like(numbers)
        of_order = list(zip(self.n_max, self.l_max, strict=True))
        cached: dict[int, tuple[Floats, Floats | None]] = {}

        def radial(distances: Floats, degree: int) -> tuple[Floats, Floats | None]:
            if self.radial == "gto":
                return self._radial(distances, degree)
            if not cached:
                cached[0] = self._radial(distances, 0)
            return cached[0]

        return atomic_basis(
            len(crystals.numbers),
            near.centers,
            numbers,
            near.vectors,
            radial,
            tuple(max(degree for n, degree in of_order if n > i) for i in range(max(self.n_max))),
            self._weights,
        )

    def _products(self, crystals: Crystals) -> Floats:
        """(n_sites_total, products) of all sites, the centre not looked at."""
        atomic = self.atomic_basis(crystals)
        atomic = atomic.reshape(len(atomic), -1, atomic.shape[-1])
        return np.concatenate(list(self._basis.products(atomic)), axis=1)

    def _center_weights(self, crystals: Crystals) -> Floats:
        """(n_sites_total, times) what the products of each site are multiplied by."""
        if self.centers == "alike":
            return np.ones((len(crystals.numbers), 1))
        return np.asarray(self._weights[crystals.numbers], float)

    def site_invariants(self, crystals: Crystals) -> Floats:
        """(n_sites_total, n_features) of all sites."""
        products = self._products(crystals)
        own = self._center_weights(crystals)
        return (own[:, :, None] * products[:, None]).reshape(len(products), -1)

    def mean_invariants(self, crystals: Crystals) -> Floats:
        """(n, n_features) means over the sites of each crystal."""
        products = self._products(crystals)
        own = self._center_weights(crystals)
        own = own / crystals.n_sites[crystals.crystal_indices, None]
        shape = len(crystals), len(products)
        sites = np.arange(len(products))
        # Site after site in each row: the same sum in whatever batch.
        return np.concatenate(
            [
                csr_array((share, sites, crystals.offsets), shape=shape) @ products
                for share in own.T
            ],
            axis=1,
        )

    def parts_of(self, crystals: Crystals) -> Iterator[Crystals]:
        """The batch in parts whose arrays stay small."""
        sites, start = max(1, min(_SITES, _PART // self.n_features)), 0
        while start < len(crystals):
            last = crystals.offsets[start] + sites
            stop = max(start + 1, int(np.searchsorted(crystals.offsets, last, "right")) - 1)
            yield crystals[start:stop]
            start = stop
