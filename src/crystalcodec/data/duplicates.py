"""Crystals that are the same crystal: by fingerprint, then by pymatgen's StructureMatcher."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.data.compositions import reduced_composition_numbers
from crystalcodec.data.workers import pool_of

__all__ = ["VOLUME_TOLERANCE", "find_duplicates"]

Ints = npt.NDArray[np.int64]

VOLUME_TOLERANCE: Final = 0.1
"""Largest difference of volume per atom of the same crystal, as a fraction of the larger one."""
# Crystals handed to one worker at once, about.
_CRYSTALS_A_TASK: Final = 64


def find_duplicates(
    crystals: Crystals,
    *,
    volume_tolerance: float = VOLUME_TOLERANCE,
    jobs: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Ints:
    """For each crystal the first crystal that is the same one; itself where there is none before.

    Two crystals are the same if their reduced compositions are equal, their volumes per atom
    differ by at most ``volume_tolerance``, and pymatgen's ``StructureMatcher`` fits them with its
    default tolerances (lengths 0.2, sites 0.3, angles 5°), both reduced to primitive cells and
    scaled to one volume. So a supercell is a duplicate of its primitive cell; another choice of
    cell, origin, orientation or site order is a duplicate; a crystal strained by a few per cent is
    one; the mirror image of a chiral crystal is one. Each crystal is compared with the crystals
    before it that are no duplicates themselves, in their order.

    Parameters
    ----------
    crystals
        n crystals.
    volume_tolerance
        See above; the fingerprint is the reduced composition and a window of volumes around each
        crystal, so that no bin edge can part two crystals.
    jobs
        Number of processes.
    progress
        Called with the numbers of groups of candidates done and of all of them.

    Returns
    -------
    (n,) positions
        ``first[i] <= i``; the crystals to keep are those where ``first[i] == i``.

    Examples
    --------
    >>> iron = Crystals.single(2.87 * np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]], [26, 26])
    >>> both = Crystals.concatenate([iron, iron.supercell(2)])
    >>> find_duplicates(both).tolist()
    [0, 0]
    """
    first = np.arange(len(crystals))
    groups = _candidate_groups(crystals, volume_tolerance)
    tasks = _tasks(groups)
    inputs = ((crystals[np.concatenate(task)], _lengths(task), volume_tolerance) for task in tasks)
    n_done = 0
    with pool_of(min(jobs, len(tasks))) as executor:
        found = (
            map(_match_groups, inputs) if executor is None else executor.map(_match_groups, inputs)
        )
        for task, local in zip(tasks, found, strict=True):
            positions = np.concatenate(task)
            first[positions] = positions[local]
            n_done += len(task)
            if progress:
                progress(n_done, len(groups))
    return first


def _lengths(task: list[Ints]) -> list[int]:
    return [len(group) for group in task]


def _candidate_groups(crystals: Crystals, tolerance: float) -> list[Ints]:
    """Positions of crystals that may be equal, in rising order; singles are left out.

    Groups are connected: of one reduced composition, and, sorted by volume per atom, without a
    gap wider than the tolerance. Two equal crystals are always in one group.
    """
    composition = reduced_composition_numbers(crystals)
    volumes = crystals.volumes / crystals.n_sites
    order = np.lexsort((volumes, composition))
    apart = np.diff(composition[order]) != 0
    apart |= _differ(volumes[order][1:], volumes[order][:-1], tolerance)
    groups = np.split(order, np.flatnonzero(apart) + 1)
    return [np.sort(group) for group in groups if len(group) > 1]


def _differ(one: Any, other: Any, tolerance: float) -> Any:
    # A little more than the tolerance, so that rounding parts nothing.
    return np.abs(one - other) > tolerance * np.maximum(one, other) * (1 + 1e-9)


def _tasks(groups: list[Ints]) -> list[list[Ints]]:
    """Groups gathered until they are worth sending to another process."""
    tasks: list[list[Ints]] = []
    size = _CRYSTALS_A_TASK
    for group in groups:
        if size >= _CRYSTALS_A_TASK:
            tasks.append([])
            size = 0
        tasks[-1].append(group)
        size += len(group)
    return tasks


def _match_groups(task: tuple[Crystals, list[int], float]) -> Ints:
    """For crystals that come group after group: position of the first that is the same."""
    crystals, lengths, tolerance = task
    first = np.arange(len(crystals))
    start = 0
    for length in lengths:
        group = slice(start, start + length)
        first[group] = start + _match(crystals[group], tolerance)
        start += length
    return first


def _match(crystals: Crystals, tolerance: float) -> Ints:
    from pymatgen.core.structure_matcher import StructureMatcher

    from crystalcodec.io.foreign import to_pymatgen

    matcher = StructureMatcher()
    # Reduced here, once a crystal, and not in each comparison.
    reduced = [_reduced(structure) for structure in to_pymatgen(crystals)]
    volumes = crystals.volumes / crystals.n_sites
    first = np.arange(len(crystals))
    kept: list[int] = []
    for i in range(len(crystals)):
        for k in kept:
            if len(reduced[k]) != len(reduced[i]) or _differ(volumes[k], volumes[i], tolerance):
                continue
            if matcher.fit(reduced[k], reduced[i], skip_structure_reduction=True):
                first[i] = k
                break
        else:
            kept.append(i)
    return first


def _reduced(structure: Any) -> Any:
    return structure.get_primitive_structure().get_reduced_structure("niggli")
