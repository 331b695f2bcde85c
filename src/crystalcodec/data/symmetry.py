"""The structure prototype of a crystal as a label: what it is besides its elements and metric."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any, Final

import numpy as np

from crystalcodec.crystals import Crystals
from crystalcodec.data.workers import pool_of
from crystalcodec.failures import Failure
from crystalcodec.symmetry import SYMPREC

__all__ = ["prototype_labels"]

_AT_ONCE: Final = 512


def prototype_labels(
    crystals: Crystals,
    *,
    symprec: float = SYMPREC,
    jobs: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[list[str | None], list[Failure]]:
    """Label of the structure prototype of each crystal, such as ``AB_225_a_b`` for rock salt.

    It holds the anonymous formula, the space group number, and the Wyckoff letters of the atoms
    of each anonymous element, from moyopy. Letters depend on the choice of origin and axes; of
    all choices that leave the space group and the metric as they are (its Euclidean normalizer)
    the first in order of the alphabet is taken, so that a crystal has the same label however it
    is given. Two crystals of one prototype can still have different labels in those orthorhombic,
    monoclinic and triclinic groups whose axes can be exchanged, where the order of their lengths
    differs, and so have mirror images in enantiomorphic space groups.

    Parameters
    ----------
    crystals
        n crystals.
    symprec
        Å; how far sites may be from symmetric places.
    jobs
        Number of processes.
    progress
        Called with the numbers of crystals done and of all.

    Returns
    -------
    labels, failures
        n labels, None for crystals whose symmetry cannot be found, and why.

    Examples
    --------
    >>> perovskite = Crystals.single(
    ...     4 * np.eye(3),
    ...     [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]],
    ...     [38, 22, 8, 8, 8],
    ... )
    >>> prototype_labels(perovskite)[0]
    ['ABC3_221_a_b_c']
    """
    batches = [crystals[start : start + _AT_ONCE] for start in range(0, len(crystals), _AT_ONCE)]
    labels: list[str | None] = []
    failures: list[Failure] = []
    work = partial(_labels, symprec=symprec)
    with pool_of(min(jobs, len(batches))) as pool:
        for some, faults in (map if pool is None else pool.map)(work, batches):
            failures += [replace(fault, index=fault.index + len(labels)) for fault in faults]
            labels += some
            if progress:
                progress(len(labels), len(crystals))
    return labels, failures


def _labels(crystals: Crystals, symprec: float) -> tuple[list[str | None], list[Failure]]:
    import moyopy

    # It warns of each supercell that its list of operations, which is not used here, is short.
    logging.getLogger("moyo").setLevel(logging.ERROR)
    labels: list[str | None] = []
    failures: list[Failure] = []
    offsets = crystals.offsets.tolist()
    for i, (start, stop) in enumerate(pairwise(offsets)):
        cell = moyopy.Cell(
            crystals.lattices[i].tolist(),
            crystals.frac_coords[start:stop].tolist(),
            crystals.numbers[start:stop].tolist(),
        )
        try:
            symmetry = moyopy.MoyoDataset(cell, symprec=symprec)
            labels.append(_label(symmetry))
        except ValueError as error:
            labels.append(None)
            failures.append(Failure(i, "symmetry not found", str(error)))
    return labels, failures


def _label(symmetry: Any) -> str:
    numbers = symmetry.std_cell.numbers
    amounts = Counter(numbers)
    choices = symmetry.normalizer_wyckoff_positions().coset_representatives
    candidates = []
    for _, positions in choices:
        atoms = Counter(
            (number, position.letter, position.multiplicity)
            for number, position in zip(numbers, positions, strict=True)
        )
        letters: dict[int, list[str]] = {number: [] for number in amounts}
        for (number, letter, multiplicity), count in sorted(atoms.items()):
            orbits = count // multiplicity
            letters[number].append(letter if orbits == 1 else f"{orbits}{letter}")
        candidates.append(sorted((amounts[z], "".join(texts)) for z, texts in letters.items()))
    best = min(candidates)
    return "_".join([_anonymous([n for n, _ in best]), str(symmetry.number), *(t for _, t in best)])


def _anonymous(amounts: list[int]) -> str:
    factor = int(np.gcd.reduce(amounts))
    return "".join(
        _letter(i) + (str(amount // factor) if amount > factor else "")
        for i, amount in enumerate(amounts)
    )


def _letter(position: int) -> str:
    """A, B, ..., Z, then (26), (27), ...: crystals of more elements are rare, and are told."""
    return chr(ord("A") + position) if position < 26 else f"({position})"
