"""Representations that hold the number of a crystal's space group."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.failures import Failure
from crystalcodec.representations.base import (
    Encoded,
    FailureNotes,
    InvertibleRepresentation,
    RepresentationError,
    held_crystals,
)
from crystalcodec.symmetry import SYMPREC, space_group_numbers

__all__ = ["SpaceGroupRepresentation"]

Ints = npt.NDArray[np.int64]


class SpaceGroupRepresentation(InvertibleRepresentation):
    """A representation that writes the space group of each crystal into its array.

    Finding it takes longer than all the rest of an encoding, so that known numbers can be given.
    """

    symprec: float = SYMPREC

    @abstractmethod
    def _encode_with(
        self, crystals: Crystals, space_group_numbers: Ints
    ) -> dict[str, npt.NDArray[Any]]:
        """The arrays of crystals that were not refused, and of their groups, 1 to 230."""

    def _refuse(self, crystals: Crystals) -> list[Failure]:
        """Why crystals cannot be held whose space group is known: one failure each, in order."""
        return super().refuse(crystals)

    def refuse(self, crystals: Crystals) -> list[Failure]:
        """Why crystals of this batch cannot be held; their space groups are sought for it."""
        refused = self._refuse(crystals)
        return _in_order(refused, self._without_group(crystals, refused)[1])

    def _without_group(
        self, crystals: Crystals, refused: Iterable[Failure]
    ) -> tuple[Ints, list[Failure]]:
        """The groups of the crystals that are not refused, 0 of others, and where none is found."""
        groups = np.zeros(len(crystals), np.int64)
        left, index = held_crystals(crystals, refused)
        groups[index] = _found(left, self.symprec)
        notes = FailureNotes()
        wanted = f"moyopy finds none at symprec = {self.symprec:g} Å: give its number"
        notes.add(groups == 0, "unknown space group", wanted)
        return groups, notes.in_order()

    def encode(
        self, crystals: Crystals, *, space_group_numbers: npt.ArrayLike | None = None
    ) -> Encoded:
        """Encode a batch.

        Parameters
        ----------
        crystals
            Any number of crystals; they are not changed.
        space_group_numbers : (n,)
            The space group of each, 1 to 230, where it is known; found by moyopy where not.

        Returns
        -------
        Encoded
            Arrays of the crystals that this representation can hold, float32, and a failure for
            each of the others, also for those whose group is unknown.

        Raises
        ------
        RepresentationError
            Space groups that are not n whole numbers, parameters that :meth:`fit` has yet to find,
            or arrays larger than the free memory.
        """
        self._check_ready(crystals)
        refused = self._refuse(crystals)
        if space_group_numbers is None:
            groups, unknown = self._without_group(crystals, refused)
        else:
            groups = _checked(space_group_numbers, len(crystals))
            notes = FailureNotes()
            notes.add(
                (groups < 1) | (groups > 230),
                "unknown space group",
                lambda i: f"got the number {groups[i]}, wanted 1 to 230",
            )
            unknown = notes.in_order()
        ordered = tuple(_in_order(refused, unknown))
        held, index = held_crystals(crystals, ordered)
        return Encoded(self._encode_with(held, groups[index]), index, ordered)

    def _encode(self, crystals: Crystals) -> dict[str, npt.NDArray[Any]]:
        return self._encode_with(crystals, _found(crystals, self.symprec))


def _in_order(refused: Iterable[Failure], unknown: Iterable[Failure]) -> list[Failure]:
    """One failure a crystal: a group is not missed in what cannot be held anyway."""
    failures = {one.index: one for one in (*unknown, *refused)}
    return [failures[i] for i in sorted(failures)]


def _found(crystals: Crystals, symprec: float) -> Ints:
    return space_group_numbers(crystals, symprec=symprec)


def _checked(given: npt.ArrayLike, n: int) -> Ints:
    numbers = np.asarray(given)
    if numbers.shape != (n,) or numbers.dtype.kind not in "iu":
        raise RepresentationError(
            f"space_group_numbers of shape {numbers.shape} and type {numbers.dtype}: wanted one "
            f"whole number for each of {n} crystals"
        )
    return numbers.astype(np.int64)
