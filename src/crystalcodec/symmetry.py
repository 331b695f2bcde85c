"""The symmetry of each crystal of a batch: space group, Wyckoff letters, prototype label.

It is found by moyopy; space groups also by spglib where moyopy gives up.
"""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals

__all__ = [
    "BRAVAIS_LATTICES",
    "CRYSTAL_SYSTEMS",
    "SYMPREC",
    "SymmetryError",
    "bravais_lattice_ranks",
    "crystal_system_ranks",
    "moyo_datasets",
    "pearson_symbols",
    "prototype_label",
    "space_group_numbers",
    "wyckoff_letters",
]

SYMPREC: Final = 0.01
"""Å; how far sites may be from symmetric places."""

CRYSTAL_SYSTEMS: Final = (
    "triclinic",
    "monoclinic",
    "orthorhombic",
    "tetragonal",
    "trigonal",
    "hexagonal",
    "cubic",
)
"""In the order of the space groups; a trigonal crystal has a hexagonal or rhombohedral lattice."""

BRAVAIS_LATTICES: Final = (
    *("aP", "mP", "mC", "oP", "oS", "oI", "oF", "tP", "tI", "hR", "hP", "cP", "cI", "cF"),
)
"""The 14 by Pearson's letters: S stands for one centred pair of faces, whichever it is."""

# Å, and in tolerances: of cells with shorter lattice vectors moyopy may never come to an end.
_SHORT: Final = 0.5
_SHORT_IN_TOLERANCES: Final = 12.0

_STEPS: Final = np.stack(np.meshgrid(*[np.arange(-2, 3)] * 3, indexing="ij"), -1).reshape(-1, 3)
_STEPS_AWAY: Final = _STEPS[_STEPS.any(axis=1)]


class SymmetryError(ValueError):
    """A tolerance with which no symmetry can be sought."""


def space_group_numbers(
    crystals: Crystals, *, symprec: float = SYMPREC, angle_tolerance: float | None = None
) -> npt.NDArray[np.int64]:
    """(n,) the number of each crystal's space group, 1 to 230; 0 where none could be found.

    None is sought in a flat cell, of which two copies stand nearer than 0.5 Å.

    Parameters
    ----------
    crystals
        n crystals.
    symprec
        Å; how far sites may be from symmetric places.
    angle_tolerance
        Degrees; how far angles between lattice vectors may be from symmetric ones. Judged by
        lengths and ``symprec`` alone where it is None.

    Raises
    ------
    SymmetryError
        If a tolerance is not a positive number.

    Examples
    --------
    >>> salt = Crystals.single(
    ...     [[0, 2.8, 2.8], [2.8, 0, 2.8], [2.8, 2.8, 0]], [[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17]
    ... )
    >>> space_group_numbers(salt)
    array([225])
    """
    numbers = np.zeros(len(crystals), np.int64)
    flat = _have_short_vectors(crystals.lattices, _SHORT)
    for i, found in enumerate(moyo_datasets(crystals, symprec, angle_tolerance)):
        if not isinstance(found, str):
            numbers[i] = found.number
        elif not flat[i]:
            # Some arrangements on half the points of a lattice end its search, not spglib's, and
            # with a large tolerance a search by moyopy is not begun.
            numbers[i] = _by_spglib(crystals[i], symprec, angle_tolerance)
    return numbers


def moyo_datasets(
    crystals: Crystals, symprec: float = SYMPREC, angle_tolerance: float | None = None
) -> Iterator[Any]:
    """What moyopy finds out about each crystal, a ``MoyoDataset``, or in words why nothing.

    Parameters and errors are those of :func:`space_group_numbers`.
    """
    for name, value in (("symprec", symprec), ("angle_tolerance", angle_tolerance)):
        if value is not None and not 0 < value < np.inf:
            unit = "Å" if name == "symprec" else "degrees"
            raise SymmetryError(f"{name} is {value}, wanted a positive number of {unit}")
    return _datasets(crystals, symprec, angle_tolerance)


def _datasets(crystals: Crystals, symprec: float, angle_tolerance: float | None) -> Iterator[Any]:
    import moyopy

    # It warns of each supercell that its list of operations, which is not used here, is short.
    logging.getLogger("moyo").setLevel(logging.ERROR)
    lattices = crystals.lattices.tolist()
    shortest = max(_SHORT, _SHORT_IN_TOLERANCES * symprec)
    flat = _have_short_vectors(crystals.lattices, shortest)
    radians = None if angle_tolerance is None else float(np.radians(angle_tolerance))
    for i, (start, stop) in enumerate(pairwise(crystals.offsets.tolist())):
        if flat[i]:
            yield f"two copies of the cell stand nearer than {shortest:g} Å"
            continue
        cell = moyopy.Cell(
            lattices[i],
            crystals.frac_coords[start:stop].tolist(),
            crystals.numbers[start:stop].tolist(),
        )
        try:
            yield moyopy.MoyoDataset(cell, symprec=symprec, angle_tolerance=radians)
        except ValueError as error:
            yield str(error)


def wyckoff_letters(
    crystals: Crystals, *, symprec: float = SYMPREC, angle_tolerance: float | None = None
) -> list[tuple[str, ...] | None]:
    """The Wyckoff letter of each site of each crystal; None where no symmetry could be found.

    Letters depend on the choice of origin and axes: of all choices that leave the space group and
    the metric as they are, the one of :func:`prototype_label` is taken, and of several such the
    one whose letters, site after site, come first. Parameters and errors are those of
    :func:`space_group_numbers`.

    Examples
    --------
    >>> perovskite = Crystals.single(
    ...     4 * np.eye(3),
    ...     [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]],
    ...     [38, 22, 8, 8, 8],
    ... )
    >>> wyckoff_letters(perovskite)
    [('a', 'b', 'c', 'c', 'c')]
    """
    letters: list[tuple[str, ...] | None] = []
    for found in moyo_datasets(crystals, symprec, angle_tolerance):
        if isinstance(found, str):
            letters.append(None)
            continue
        # Atoms of the standardized cell come in groups, one of each atom of the primitive one.
        copies = len(found.std_cell.numbers) // len(found.prim_std_cell.numbers)
        places = [place * copies for place in found.mapping_std_prim]
        choices = [
            (parts, tuple(positions[place].letter for place in places))
            for parts, positions in _choices(found)
        ]
        letters.append(min(choices)[1] if choices else None)
    return letters


def pearson_symbols(
    crystals: Crystals, *, symprec: float = SYMPREC, angle_tolerance: float | None = None
) -> list[str | None]:
    """Pearson's symbol of each crystal, such as ``cF8``; None where no symmetry could be found.

    Parameters and errors are those of :func:`space_group_numbers`.
    """
    found = moyo_datasets(crystals, symprec, angle_tolerance)
    return [None if isinstance(one, str) else str(one.pearson_symbol) for one in found]


def prototype_label(symmetry: Any) -> str | None:
    """The label of a structure prototype, such as ``AB_225_a_b``, from a ``MoyoDataset``.

    None where moyopy gives up on the Wyckoff positions of other choices of origin and axes.
    """
    choices = [parts for parts, _ in _choices(symmetry)]
    if not choices:
        return None
    parts = min(choices)
    amounts = [amount for amount, _ in parts]
    return "_".join([_anonymous(amounts), str(symmetry.number), *(text for _, text in parts)])


def _choices(symmetry: Any) -> Iterator[tuple[list[tuple[int, str]], Any]]:
    """Amount and letters of each anonymous element, and position of each atom, by choice of axes.

    The choices are those of the Euclidean normalizer of the space group; none where moyopy does
    not find the positions of all of them, as for a crystal that has its symmetry only just.
    """
    numbers = symmetry.std_cell.numbers
    amounts = Counter(numbers)
    try:
        found = symmetry.normalizer_wyckoff_positions().coset_representatives
    except ValueError:
        return
    for _, positions in found:
        atoms = Counter(
            (number, position.letter, position.multiplicity)
            for number, position in zip(numbers, positions, strict=True)
        )
        letters: dict[int, list[str]] = {number: [] for number in amounts}
        for (number, letter, multiplicity), count in sorted(atoms.items()):
            orbits = count // multiplicity
            letters[number].append(letter if orbits == 1 else f"{orbits}{letter}")
        parts = sorted((amounts[z], "".join(texts)) for z, texts in letters.items())
        yield parts, positions


def _anonymous(amounts: list[int]) -> str:
    factor = int(np.gcd.reduce(amounts))
    return "".join(
        _letter(i) + (str(amount // factor) if amount > factor else "")
        for i, amount in enumerate(amounts)
    )


def _letter(position: int) -> str:
    """A, B, ..., Z, then (26), (27), ...: crystals of more elements are rare, and are told."""
    return chr(ord("A") + position) if position < 26 else f"({position})"


@cache
def crystal_system_ranks() -> npt.NDArray[np.int64]:
    """(231,) place in :data:`CRYSTAL_SYSTEMS` of each space group; -1 for 0, none."""
    import moyopy

    groups = [moyopy.SpaceGroupType(number) for number in range(1, 231)]
    names = [str(group.crystal_system).lower() for group in groups]
    return np.array([-1, *(CRYSTAL_SYSTEMS.index(name) for name in names)])


@cache
def bravais_lattice_ranks() -> npt.NDArray[np.int64]:
    """(231,) place in :data:`BRAVAIS_LATTICES` of each space group; -1 for 0, none."""
    import moyopy

    groups = [moyopy.SpaceGroupType(number) for number in range(1, 231)]
    return np.array([-1, *(BRAVAIS_LATTICES.index(str(group.bravais_class)) for group in groups)])


def _have_short_vectors(
    lattices: npt.NDArray[np.float64], shortest: float
) -> npt.NDArray[np.bool_]:
    """(n,) whether two cells of the crystal stand nearer than that, in Å, as in a flat cell."""
    vectors = _STEPS_AWAY @ lattices
    return np.asarray((vectors**2).sum(axis=2).min(axis=1, initial=np.inf) < shortest**2, bool)


def _by_spglib(crystal: Crystals, symprec: float, angle_tolerance: float | None) -> int:
    import spglib

    cell = (crystal.lattices[0], crystal.frac_coords, crystal.numbers)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # on how its next version fails
        try:
            found = spglib.get_symmetry_dataset(
                cell,
                symprec=symprec,
                # What it takes for "by lengths alone".
                angle_tolerance=-1.0 if angle_tolerance is None else angle_tolerance,
            )
        except spglib.SpglibError:
            return 0
    return 0 if found is None else int(found.number)
