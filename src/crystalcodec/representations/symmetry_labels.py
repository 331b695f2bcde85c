"""What kind of symmetry a crystal has, and which place in it each of its sites takes."""

from __future__ import annotations

import string
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final, Literal, Self

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.failures import Failure
from crystalcodec.representations.base import (
    Encoded,
    FailureNotes,
    Field,
    RaggedRepresentation,
    Representation,
    RepresentationError,
    held_crystals,
)
from crystalcodec.representations.parameters import misfit
from crystalcodec.symmetry import (
    BRAVAIS_LATTICES,
    CRYSTAL_SYSTEMS,
    SYMPREC,
    bravais_lattice_ranks,
    crystal_system_ranks,
    moyo_datasets,
    prototype_label,
    space_group_numbers,
    wyckoff_letters,
)

__all__ = ["LETTERS", "SymmetryLabels", "WyckoffLetters"]

Ints = npt.NDArray[np.int64]
Kind = Literal["crystal_system", "bravais_lattice", "space_group", "prototype"]

LETTERS: Final = string.ascii_lowercase + "A"
"""Wyckoff letters by index; Pmmm alone has 27, of which the last is written A."""

_SPACE_GROUPS: Final = tuple(map(str, range(1, 231)))


def _check_tolerances(symprec: float, angle_tolerance: float | None) -> None:
    for name, value in (("symprec", symprec), ("angle_tolerance", angle_tolerance)):
        if value is not None and not 0 < value < np.inf:
            raise RepresentationError(f"{name} is {value}, wanted a positive number")


@dataclass(frozen=True)
class SymmetryLabels(Representation):
    """Crystal system, Bravais lattice, space group and structure prototype as classes.

    With ``encoding="one_hot"`` the array ``symmetry_labels`` (n, length) holds one field after
    another, each with a single 1: by default 7 crystal systems, 14 Bravais lattices and 230 space
    groups. With ``encoding="index"`` it is (n, n_labels) of whole numbers that count from 1 in
    the same order, so that the space group is its number. A prototype that is not among
    ``prototypes`` is a field of zeros, or the index 0. An atom that leaves a symmetric place by
    more than ``symprec`` changes the labels at once, one that stays within it not at all.

    Parameters
    ----------
    labels
        Which of ``"crystal_system"``, ``"bravais_lattice"``, ``"space_group"`` and
        ``"prototype"`` there are, in this order in the array.
    encoding
        ``"one_hot"`` or ``"index"``.
    prototypes
        Labels such as ``AB_225_a_b``; found by :meth:`fit` where the prototype is wanted and none
        are given.
    symprec
        Å; how far sites may be from symmetric places.
    angle_tolerance
        Degrees; how far angles of the lattice may be from symmetric ones, judged by lengths alone
        where it is None.

    Raises
    ------
    RepresentationError
        No label, an unknown or repeated one, prototypes where none are wanted, a tolerance that
        is not positive.

    References
    ----------
    International Tables for Crystallography A, 10.1107/97809553602060000114. Found by moyo,
    https://github.com/spglib/moyo.

    Examples
    --------
    >>> salt = Crystals.single(
    ...     [[0, 2.8, 2.8], [2.8, 0, 2.8], [2.8, 2.8, 0]], [[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17]
    ... )
    >>> SymmetryLabels(encoding="index").encode(salt)["symmetry_labels"].tolist()
    [[7, 14, 225]]
    >>> labels = SymmetryLabels()
    >>> array = labels.encode(salt)["symmetry_labels"]
    >>> [name for name, hot in zip(labels.feature_names(), array[0]) if hot]
    ['crystal_system cubic', 'bravais_lattice cF', 'space_group 225']
    """

    name: ClassVar[str] = "symmetry_labels"
    lost: ClassVar[str] = "everything but the classes: elements, distances, coordinates"
    invariances: ClassVar = frozenset(
        {"permutation", "translation", "rotation", "supercell", "unit_cell"}
    )
    continuity: ClassVar = "discontinuous"

    labels: tuple[Kind, ...] = ("crystal_system", "bravais_lattice", "space_group")
    encoding: Literal["one_hot", "index"] = "one_hot"
    prototypes: tuple[str, ...] = ()
    symprec: float = SYMPREC
    angle_tolerance: float | None = None

    def __post_init__(self) -> None:
        wrong = misfit(type(self), vars(self))
        if wrong:
            raise RepresentationError(wrong)
        object.__setattr__(self, "labels", tuple(self.labels))
        object.__setattr__(self, "prototypes", tuple(self.prototypes))
        for name in ("labels", "prototypes"):
            if len(set(getattr(self, name))) < len(getattr(self, name)):
                raise RepresentationError(f"{name} holds one twice: {getattr(self, name)}")
        if not self.labels:
            raise RepresentationError("labels is empty, wanted at least one")
        if self.prototypes and "prototype" not in self.labels:
            raise RepresentationError("prototypes are given and labels does not hold 'prototype'")
        _check_tolerances(self.symprec, self.angle_tolerance)

    @property
    def classes(self) -> dict[str, tuple[str, ...]]:
        """The classes of each label, in their order."""
        known: dict[str, tuple[str, ...]] = {
            "crystal_system": CRYSTAL_SYSTEMS,
            "bravais_lattice": BRAVAIS_LATTICES,
            "space_group": _SPACE_GROUPS,
            "prototype": self.prototypes,
        }
        return {label: known[label] for label in self.labels}

    @property
    def fields(self) -> tuple[Field, ...]:
        """One for each label."""
        fields, start = [], 0
        for i, (label, classes) in enumerate(self.classes.items()):
            if self.encoding == "index":
                fields.append(Field(label, "index", self.name, (1,), (slice(i, i + 1),)))
                continue
            stop = start + len(classes)
            where = (slice(start, stop),)
            fields.append(Field(label, "categorical", self.name, (len(classes),), where, axis=0))
            start = stop
        return tuple(fields)

    @property
    def needs_fit(self) -> bool:
        """Whether prototypes are wanted and not known."""
        return "prototype" in self.labels and not self.prototypes

    def fit(self, crystals: Crystals) -> Self:
        """With the prototypes of these crystals, in order of the alphabet."""
        if not self.needs_fit:
            return self
        found = {label for label in self._prototypes(crystals) if label}
        if not found:
            raise RepresentationError("no prototype could be found in these crystals")
        return replace(self, prototypes=tuple(sorted(found)))

    def feature_names(self) -> tuple[str, ...]:
        """``space_group 225`` and so on; the labels themselves where they are indices."""
        if self.encoding == "index":
            return self.labels
        return tuple(f"{label} {one}" for label, some in self.classes.items() for one in some)

    def refuse(self, crystals: Crystals) -> list[Failure]:
        """Crystals whose symmetry could not be found."""
        return self._found(crystals)[1]

    def encode(self, crystals: Crystals) -> Encoded:
        """Encode a batch; as the base does, but seeks the symmetry once."""
        self._check_ready(crystals)
        ranks, failures = self._found(crystals)
        _, index = held_crystals(crystals, failures)
        return Encoded(self._arrays(ranks[index]), index, tuple(failures))

    def _encode(self, crystals: Crystals) -> dict[str, npt.NDArray[Any]]:
        return self._arrays(self._found(crystals)[0])

    def _found(self, crystals: Crystals) -> tuple[Ints, list[Failure]]:
        """(n, n_labels) place of each crystal among the classes, -1 where none; and why not."""
        tolerances = {"symprec": self.symprec, "angle_tolerance": self.angle_tolerance}
        groups = space_group_numbers(crystals, **tolerances)  # type: ignore[arg-type]
        missing = groups == 0
        columns: dict[str, Ints] = {
            "crystal_system": crystal_system_ranks()[groups],
            "bravais_lattice": bravais_lattice_ranks()[groups],
            "space_group": groups - 1,
        }
        notes = FailureNotes()
        notes.add(
            missing,
            "symmetry not found",
            f"neither moyopy nor spglib finds a space group at symprec = {self.symprec:g} Å",
        )
        if "prototype" in self.labels:
            names = self._prototypes(crystals)
            places = {name: place for place, name in enumerate(self.prototypes)}
            columns["prototype"] = np.array([places.get(name or "", -1) for name in names], int)
            notes.add(
                [name is None for name in names],
                "symmetry not found",
                f"moyopy finds no Wyckoff positions at symprec = {self.symprec:g} Å",
            )
        ranks = np.stack([columns[label] for label in self.labels], axis=1)
        return ranks.astype(np.int64), notes.in_order()

    def _prototypes(self, crystals: Crystals) -> list[str | None]:
        found = moyo_datasets(crystals, self.symprec, self.angle_tolerance)
        return [None if isinstance(one, str) else prototype_label(one) for one in found]

    def _arrays(self, ranks: Ints) -> dict[str, npt.NDArray[Any]]:
        if self.encoding == "index":
            return {self.name: ranks + 1}
        lengths = [len(classes) for classes in self.classes.values()]
        starts = np.cumsum([0, *lengths[:-1]])
        array = np.zeros((len(ranks), sum(lengths)), np.float32)
        rows, columns = np.nonzero(ranks >= 0)
        array[rows, starts[columns] + ranks[rows, columns]] = 1.0
        return {self.name: array}


@dataclass(frozen=True)
class WyckoffLetters(RaggedRepresentation):
    """The Wyckoff letter of every site, as a whole number: a is 0, b is 1, up to A, 26.

    The array ``wyckoff_letters`` (n_sites_total,) is ragged along the axis ``sites``. Letters
    depend on the choice of origin and axes of the space group. Of all choices that leave group
    and metric as they are (its Euclidean normalizer) the one of the crystal's prototype label is
    taken, and of several such the one whose letters, site after site, come first.

    Parameters
    ----------
    symprec, angle_tolerance
        As for :class:`SymmetryLabels`.

    Raises
    ------
    RepresentationError
        A tolerance that is not positive.

    Examples
    --------
    >>> perovskite = Crystals.single(
    ...     4 * np.eye(3),
    ...     [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]],
    ...     [38, 22, 8, 8, 8],
    ... )
    >>> WyckoffLetters().encode(perovskite)["wyckoff_letters"].tolist()
    [0, 1, 2, 2, 2]
    """

    name: ClassVar[str] = "wyckoff_letters"
    lost: ClassVar[str] = "the space group, elements, the cell, free coordinates of the sites"
    invariances: ClassVar = frozenset({"translation", "rotation", "unit_cell"})
    continuity: ClassVar = "discontinuous"

    symprec: float = SYMPREC
    angle_tolerance: float | None = None

    def __post_init__(self) -> None:
        wrong = misfit(type(self), vars(self))
        if wrong:
            raise RepresentationError(wrong)
        _check_tolerances(self.symprec, self.angle_tolerance)

    @property
    def fields(self) -> tuple[Field, ...]:
        """The letters."""
        return (Field("wyckoff_letter", "index", self.name, ("sites",)),)

    def n_bytes(self, crystals: Crystals) -> int:
        """Eight bytes a site."""
        return 8 * len(crystals.numbers)

    def refuse(self, crystals: Crystals) -> list[Failure]:
        """Crystals whose symmetry moyopy does not find."""
        return self._failures(self._letters(crystals))

    def encode(self, crystals: Crystals) -> Encoded:
        """Encode a batch; as the base does, but seeks the symmetry once."""
        self._check_ready(crystals)
        letters = self._letters(crystals)
        failures = self._failures(letters)
        _, index = held_crystals(crystals, failures)
        arrays, offsets = self._joined([one for one in letters if one is not None])
        return Encoded(arrays, index, tuple(failures), offsets)

    def _encode_ragged(
        self, crystals: Crystals
    ) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Ints]]:
        return self._joined([one or () for one in self._letters(crystals)])

    def _letters(self, crystals: Crystals) -> list[tuple[str, ...] | None]:
        return wyckoff_letters(crystals, symprec=self.symprec, angle_tolerance=self.angle_tolerance)

    def _failures(self, letters: list[tuple[str, ...] | None]) -> list[Failure]:
        notes = FailureNotes()
        notes.add(
            [one is None for one in letters],
            "symmetry not found",
            f"moyopy finds no Wyckoff positions at symprec = {self.symprec:g} Å",
        )
        return notes.in_order()

    def _joined(
        self, letters: list[tuple[str, ...]]
    ) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Ints]]:
        array = np.array([LETTERS.index(one) for some in letters for one in some], np.int64)
        offsets = np.concatenate([[0], np.cumsum([len(some) for some in letters])])
        return {self.name: array}, {"sites": offsets.astype(np.int64)}
