"""dscribe on the ASE of today, and what the representations that run it share."""

from __future__ import annotations

import dataclasses
import inspect
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.elements import ATOMIC_NUMBERS, MAX_ATOMIC_NUMBER, SYMBOLS
from crystalcodec.failures import Failure
from crystalcodec.registry import import_extra
from crystalcodec.representations.base import (
    FailureNotes,
    Field,
    RaggedRepresentation,
    Representation,
    RepresentationError,
)
from crystalcodec.representations.parameters import misfit

__all__ = ["SiteRows", "SpeciesDescriptor", "dscribe_descriptors"]

Ints = npt.NDArray[np.int64]


def dscribe_descriptors() -> Any:
    """The module ``dscribe.descriptors``, in a state in which all of its classes work.

    The atoms of dscribe 2.1 hand their arguments on by position, in the order that ASE had until
    3.26; with a later ASE the sine matrix, MBTR, LMBTR and the Valle-Oganov descriptor raise
    ``TypeError``. Here they are handed on by name.

    Raises
    ------
    MissingExtraError
        dscribe is not installed.
    """
    descriptors = import_extra("dscribe.descriptors", "descriptors")
    system = import_extra("dscribe.core.system", "descriptors").System
    atoms = system.__mro__[1]
    by_position = "positions" in inspect.signature(atoms.__init__).parameters
    if not by_position and not getattr(system, "takes_names", False):
        _take_names(system, atoms)
    return descriptors


def _take_names(system: Any, atoms: Any) -> None:
    """Have the atoms of dscribe hand on their arguments to those of ASE by name."""

    def __init__(  # noqa: N807
        self: Any,
        symbols: Any = None,
        *,
        wyckoff_positions: Any = None,
        equivalent_atoms: Any = None,
        **arguments: Any,
    ) -> None:
        given = {name: value for name, value in arguments.items() if value is not None}
        atoms.__init__(self, symbols, **given)
        self.wyckoff_positions = wyckoff_positions
        self.equivalent_atoms = equivalent_atoms
        self._reset_structure()

    def from_atoms(other: Any) -> Any:
        # No more is read by any descriptor; asking for the calculator warns.
        return system(
            numbers=other.get_atomic_numbers(),
            positions=other.get_positions(),
            cell=other.get_cell(),
            pbc=other.get_pbc(),
        )

    system.__init__ = __init__
    system.from_atoms = staticmethod(from_atoms)
    system.takes_names = True


@dataclass(frozen=True)
class SpeciesDescriptor(Representation):
    """A descriptor of dscribe with channels for species, found in the data where none are given.

    A leaf has :meth:`_looks_at`, :meth:`_descriptor`, :attr:`n_features` and :attr:`_features`.

    Parameters
    ----------
    species
        Symbols of the elements, each once; empty for those that :meth:`fit` finds.
    """

    _array: ClassVar[str]

    species: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        wrong = misfit(type(self), vars(self))
        if wrong:
            raise RepresentationError(f"{self.name}: {wrong}")
        strange = [symbol for symbol in self.species if symbol not in ATOMIC_NUMBERS]
        if strange or len(set(self.species)) < len(self.species):
            raise RepresentationError(
                f"species are {', '.join(self.species)}: wanted symbols of elements, each once"
            )
        # By atomic number, the order of the channels.
        ordered = tuple(sorted(self.species, key=ATOMIC_NUMBERS.__getitem__))
        if ordered != tuple(self.species):
            raise RepresentationError(
                f"species are {', '.join(self.species)}: wanted them by atomic number, "
                f"{', '.join(ordered)}"
            )
        object.__setattr__(self, "species", ordered)

    @abstractmethod
    def _looks_at(self) -> tuple[float, int]:
        """How far, Å, and whether at pairs of sites (2) or at triples (3)."""

    @abstractmethod
    def _descriptor(self) -> Any:
        """The object of dscribe."""

    @property
    @abstractmethod
    def n_features(self) -> int:
        """Numbers of a crystal, or of a site."""

    @abstractmethod
    def _names(self) -> Iterator[str]:
        """What they are, in dscribe's order."""

    @property
    def needs_fit(self) -> bool:
        """Whether species have to be found first."""
        return not self.species

    def fit(self, crystals: Crystals) -> Self:
        """With the species of these crystals, where none are given."""
        if self.species:
            return self
        symbols = tuple(SYMBOLS[z] for z in np.unique(crystals.numbers).tolist())
        return dataclasses.replace(self, species=symbols)

    def refuse(self, crystals: Crystals) -> list[Failure]:
        """Crystals with an element that is none of the species, or of too many neighbours."""
        known = np.zeros(MAX_ATOMIC_NUMBER + 1, bool)
        known[[ATOMIC_NUMBERS[symbol] for symbol in self.species]] = True
        strange = ~known[crystals.numbers]
        found = np.zeros(len(crystals), bool)
        found[crystals.crystal_indices[strange]] = True
        notes = FailureNotes()

        def told(i: int) -> str:
            numbers = crystals[i].numbers
            missing = [SYMBOLS[z] for z in np.unique(numbers[~known[numbers]]).tolist()]
            return (
                f"{', '.join(missing)}: none of the {len(self.species)} species; fit on crystals "
                "that have it, or name it in species"
            )

        notes.add(found, "element without a channel", told)
        notes.add_too_dense(crystals, *self._looks_at())
        return notes.in_order()

    def feature_names(self) -> tuple[str, ...]:
        """Species and functions that each number is made of."""
        if isinstance(self, RaggedRepresentation):
            return super().feature_names()
        return tuple(self._names())

    def _rows(self, crystals: Crystals) -> Iterator[npt.NDArray[np.float64]]:
        """What dscribe makes of each crystal, one after the other."""
        if not len(crystals):
            return
        atoms = import_extra("ase", "descriptors").Atoms
        create = self._descriptor().create_single
        coords = crystals.cart_coords
        for lattice, start, stop in zip(
            crystals.lattices, crystals.offsets[:-1], crystals.offsets[1:], strict=True
        ):
            sites = slice(start, stop)
            yield create(
                atoms(
                    numbers=crystals.numbers[sites], positions=coords[sites], cell=lattice, pbc=True
                )
            )


@dataclass(frozen=True)
class SiteRows(SpeciesDescriptor, RaggedRepresentation):
    """A row for each site, in the order of the sites, along the ragged axis ``sites``."""

    @property
    def fields(self) -> tuple[Field, ...]:
        """The row of each site."""
        return (Field("environments", "continuous", self._array, ("sites", self.n_features)),)

    def n_bytes(self, crystals: Crystals) -> int:
        """Memory of the rows of all sites."""
        return 4 * len(crystals.numbers) * self.n_features

    def _encode_ragged(
        self, crystals: Crystals
    ) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Ints]]:
        array = np.zeros((len(crystals.numbers), self.n_features), np.float32)
        for start, rows in zip(crystals.offsets[:-1], self._rows(crystals), strict=True):
            array[start : start + len(rows)] = rows
        return {self._array: array}, {"sites": crystals.offsets}
