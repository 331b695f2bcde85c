"""Repeats among crystals, and crystals that are known already."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.data.compositions import reduced_composition_numbers
from crystalcodec.data.matching.cells import reduce_crystals
from crystalcodec.data.matching.shelf import Batch, Rules, find_in, first_in
from crystalcodec.data.matching.tolerances import PYMATGEN, Tolerances
from crystalcodec.data.workers import pool_of
from crystalcodec.failures import Failure

__all__ = ["Alike", "alike_in", "first_alike"]

Ints = npt.NDArray[np.int64]
Progress = Callable[[str, int, int], None]
T = TypeVar("T")
R = TypeVar("R")

# Crystals reduced by one worker at once, and those that are worth another process.
_REDUCED_AT_ONCE: Final = 64
_WORTH_A_PROCESS: Final = 100
# Comparisons, about, that are handed to a worker at once.
_PAIRS_A_TASK: Final = 2000
# Crystals of a block: they are compared with all before the block by all workers, and then among
# themselves in this process.
_BLOCK: Final = 256


@dataclass(frozen=True)
class Alike:
    """What crystals are the same as.

    Attributes
    ----------
    positions : (n,)
        See the function that gives it.
    failures
        Crystals that cannot be compared, by position. They are looked for only among crystals
        of a composition that another one has.
    known_failures
        The same of the known ones.
    """

    positions: Ints
    failures: list[Failure] = field(default_factory=list)
    known_failures: list[Failure] = field(default_factory=list)


def first_alike(
    crystals: Crystals,
    *,
    tolerances: Tolerances = PYMATGEN,
    volume_tolerance: float | None = None,
    jobs: int = 1,
    progress: Progress | None = None,
) -> Alike:
    """For each crystal the first crystal that is the same one; itself where there is none before.

    Two crystals are the same if ``StructureMatcher(ltol, stol, angle_tol).fit(earlier, later)``
    of pymatgen says so: their elements are in one ratio, and their primitive Niggli cells, scaled
    to one volume, have as many sites and can be laid over each other. Each crystal is compared
    with those before it that are no repeats themselves, in their order, as
    ``StructureMatcher.group_structures`` does; "the same" is not transitive and, in rare cases,
    not symmetric.

    Parameters
    ----------
    crystals
        n crystals.
    tolerances
        How far apart is the same.
    volume_tolerance
        Where given, crystals whose volumes per atom differ by more, as a fraction of the larger
        one, are not the same. ``StructureMatcher`` has no such rule: it scales volumes.
    jobs
        Number of processes.
    progress
        Called with what is done, how many are done, and of how many.

    Returns
    -------
    Alike
        Positions ``first[i] <= i``. A crystal that cannot be compared is the same only as exact
        copies of it.

    Examples
    --------
    >>> iron = Crystals.single(2.87 * np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]], [26, 26])
    >>> first_alike(Crystals.concatenate([iron, iron.supercell(2)])).positions.tolist()
    [0, 0]
    """
    names = _names(crystals)
    places: dict[bytes, int] = {}
    copies = np.array([places.setdefault(name, i) for i, name in enumerate(names)], np.int64)
    keys = reduced_composition_numbers(crystals)
    different = np.unique(copies)
    counts = np.bincount(keys[different], minlength=1)
    chosen = different[counts[keys[different]] > 1]
    first = np.arange(len(crystals))
    with _workers(jobs, len(chosen), Rules(tolerances, volume_tolerance), progress) as work:
        batch, positions, failures = work.reduce(crystals, chosen)
        groups = _groups(keys[positions], batch.crystals.n_sites)
        for group, local in work.first_in_groups(batch, groups):
            first[positions[group]] = positions[group[local]]
    return Alike(first[copies], failures)


def alike_in(
    crystals: Crystals,
    known: Crystals,
    *,
    tolerances: Tolerances = PYMATGEN,
    volume_tolerance: float | None = None,
    jobs: int = 1,
    progress: Progress | None = None,
) -> Alike:
    """For each crystal the known crystal that is the same one; -1 where there is none.

    "The same" is that of :func:`first_alike`, with ``fit(known, new)``.

    Parameters
    ----------
    crystals
        n crystals.
    known
        Those that they are sought in.
    tolerances, volume_tolerance, jobs, progress
        Those of :func:`first_alike`.

    Returns
    -------
    Alike
        Positions in ``known``: an exact copy where there is one, otherwise the first that is the
        same; -1 also for crystals that cannot be compared.
    """
    places: dict[bytes, int] = {}
    for i, name in enumerate(_names(known)):
        places.setdefault(name, i)
    names = _names(crystals)
    found = np.array([places.get(name, -1) for name in names], np.int64)
    firsts: dict[bytes, int] = {}
    copies = np.array([firsts.setdefault(name, i) for i, name in enumerate(names)], np.int64)
    sought = np.flatnonzero((found < 0) & (copies == np.arange(len(crystals))))
    all_keys = reduced_composition_numbers(Crystals.concatenate([known, crystals]))
    known_keys, keys = all_keys[: len(known)], all_keys[len(known) :]
    sought = sought[np.isin(keys[sought], known_keys)]
    wanted = np.flatnonzero(np.isin(known_keys, keys[sought]))
    n_chosen = len(sought) + len(wanted)
    with _workers(jobs, n_chosen, Rules(tolerances, volume_tolerance), progress) as work:
        batch, positions, failures = work.reduce(crystals, sought)
        shelf, shelved, known_failures = work.reduce(known, wanted)
        pairs = _joint_groups(
            (keys[positions], batch.crystals.n_sites),
            (known_keys[shelved], shelf.crystals.n_sites),
        )
        for new, old, local in work.find_in_groups(batch, shelf, pairs):
            hit = local >= 0
            found[positions[new[hit]]] = shelved[old[local[hit]]]
    reasons = {failure.index: failure for failure in failures}
    failures = [
        replace(reasons[first], index=i)
        for i, first in enumerate(copies.tolist())
        if first in reasons
    ]
    return Alike(found[copies], failures, known_failures)


def _names(crystals: Crystals) -> list[bytes]:
    """All numbers of each crystal: equal for exact copies."""
    return [
        crystals.lattices[i].tobytes()
        + crystals.numbers[start:stop].tobytes()
        + crystals.frac_coords[start:stop].tobytes()
        for i, (start, stop) in enumerate(pairwise(crystals.offsets.tolist()))
    ]


def _groups(keys: Ints, sizes: Ints) -> list[Ints]:
    """Positions of one composition and number of sites, in order; those alone are left out."""
    order = np.lexsort((np.arange(len(keys)), sizes, keys))
    apart = (np.diff(keys[order]) != 0) | (np.diff(sizes[order]) != 0)
    groups = np.split(order, np.flatnonzero(apart) + 1)
    return [group for group in groups if len(group) > 1]


def _joint_groups(new: tuple[Ints, Ints], old: tuple[Ints, Ints]) -> list[tuple[Ints, Ints]]:
    """Positions among the new and among the old, of one composition and number of sites."""
    n = len(new[0])
    keys, sizes = (np.concatenate(pair) for pair in zip(new, old, strict=True))
    groups = ((group[group < n], group[group >= n] - n) for group in _groups(keys, sizes))
    return [(ours, theirs) for ours, theirs in groups if len(ours) and len(theirs)]


@dataclass
class _Work:
    """Work shared among processes, and told of."""

    rules: Rules
    jobs: int
    pool: Executor | None
    progress: Progress | None

    def map(self, function: Callable[[T], R], tasks: Iterable[T]) -> Iterator[R]:
        return map(function, tasks) if self.pool is None else self.pool.map(function, tasks)

    def tell(self, name: str, done: int, of: int) -> None:
        if self.progress:
            self.progress(name, done, of)

    def reduce(self, crystals: Crystals, chosen: Ints) -> tuple[Batch, Ints, list[Failure]]:
        """Reduced cells of the chosen crystals, and which those are."""
        starts = range(0, len(chosen), _REDUCED_AT_ONCE)
        tasks = (crystals[chosen[start : start + _REDUCED_AT_ONCE]] for start in starts)
        parts: list[Crystals] = []
        failures: list[Failure] = []
        for start, (part, faults) in zip(
            starts,
            self.map(partial(reduce_crystals, tolerances=self.rules.tolerances), tasks),
            strict=True,
        ):
            parts.append(part)
            failures += [replace(fault, index=int(chosen[start + fault.index])) for fault in faults]
            self.tell("reduced", min(start + _REDUCED_AT_ONCE, len(chosen)), len(chosen))
        positions = np.setdiff1d(chosen, [failure.index for failure in failures])
        positions = positions.astype(np.int64)
        volumes = crystals[positions].volumes / crystals[positions].n_sites
        return Batch(Crystals.concatenate(parts), volumes), positions, failures

    def first_in_groups(self, batch: Batch, groups: list[Ints]) -> Iterator[tuple[Ints, Ints]]:
        """Each group, and for each of it the place in the group of the first that is the same."""
        small = [group for group in groups if len(group) <= 2 * _BLOCK]
        n_done, n = 0, sum(map(len, groups))
        for group in groups:
            if len(group) > 2 * _BLOCK:
                yield group, self._first_in_blocks(batch[group])
                n_done += len(group)
                self.tell("compared", n_done, n)
        tasks = _tasks(small, [len(group) ** 2 // 2 for group in small])
        inputs = ([batch[group] for group in task] for task in tasks)
        for task, firsts in zip(
            tasks, self.map(partial(_first_in_all, self.rules), inputs), strict=True
        ):
            yield from zip(task, firsts, strict=True)
            n_done += sum(map(len, task))
            self.tell("compared", n_done, n)

    def _first_in_blocks(self, batch: Batch) -> Ints:
        first = np.arange(len(batch))
        for start in range(0, len(batch), _BLOCK):
            block = np.arange(start, min(start + _BLOCK, len(batch)))
            kept = np.flatnonzero(first[:start] == np.arange(start))
            parts = np.array_split(block, self.jobs)
            tasks = [(batch[part], batch[kept]) for part in parts]
            found = np.concatenate([*self.map(partial(find_in, self.rules), tasks)])
            first[block[found >= 0]] = kept[found[found >= 0]]
            rest = block[found < 0]
            first[rest] = rest[first_in(self.rules, batch[rest])]
        return first

    def find_in_groups(
        self, batch: Batch, shelf: Batch, pairs: list[tuple[Ints, Ints]]
    ) -> Iterator[tuple[Ints, Ints, Ints]]:
        """New and old of each group, and for each new one its place among the old, or -1."""
        parts = [
            (part, old)
            for new, old in pairs
            for part in np.array_split(new, -(-len(new) * len(old) // _PAIRS_A_TASK))
            if len(part)
        ]
        tasks = _tasks(parts, [len(new) * len(old) for new, old in parts])
        inputs = ([(batch[new], shelf[old]) for new, old in task] for task in tasks)
        n_done, n = 0, sum(len(new) for new, _ in parts)
        for task, found in zip(
            tasks, self.map(partial(_find_in_all, self.rules), inputs), strict=True
        ):
            for (new, old), local in zip(task, found, strict=True):
                yield new, old, local
                n_done += len(new)
            self.tell("compared", n_done, n)


def _first_in_all(rules: Rules, batches: list[Batch]) -> list[Ints]:
    return [first_in(rules, batch) for batch in batches]


def _find_in_all(rules: Rules, pairs: list[tuple[Batch, Batch]]) -> list[Ints]:
    return [find_in(rules, pair) for pair in pairs]


def _tasks(items: list[T], pairs: list[int]) -> list[list[T]]:
    """Items gathered until their comparisons are worth sending to another process."""
    tasks: list[list[T]] = []
    size = _PAIRS_A_TASK
    for item, cost in zip(items, pairs, strict=True):
        if size >= _PAIRS_A_TASK:
            tasks.append([])
            size = 0
        tasks[-1].append(item)
        size += cost + 16  # and what is made ready before
    return tasks


@contextmanager
def _workers(jobs: int, n: int, rules: Rules, progress: Progress | None) -> Iterator[_Work]:
    jobs = max(1, min(jobs, n // _WORTH_A_PROCESS))
    with pool_of(jobs) as pool:
        yield _Work(rules, jobs, pool, progress)
