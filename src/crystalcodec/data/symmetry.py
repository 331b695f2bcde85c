"""The structure prototype of a crystal as a label: what it is besides its elements and metric."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final

from crystalcodec.crystals import Crystals
from crystalcodec.data.workers import pool_of
from crystalcodec.failures import Failure
from crystalcodec.symmetry import SYMPREC, moyo_datasets, prototype_label

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
    >>> import numpy as np
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
    labels: list[str | None] = []
    failures: list[Failure] = []
    for i, found in enumerate(moyo_datasets(crystals, symprec)):
        if isinstance(found, str):
            labels.append(None)
            failures.append(Failure(i, "symmetry not found", found))
            continue
        labels.append(prototype_label(found))
        if labels[-1] is None:
            told = f"moyopy finds no Wyckoff positions at symprec = {symprec:g} Å"
            failures.append(Failure(i, "symmetry not found", told))
    return labels, failures
