"""Steps that clean generated crystals: each by name, with what it changed and what it lost.

Coordinates need no step of their own to be in the cell: crystals hold them in [0, 1) always.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals, find_faults
from crystalcodec.data.pair_distances import site_pairs
from crystalcodec.evaluation.base import Attempts
from crystalcodec.failures import Failure, count_reasons
from crystalcodec.geometry import wrap
from crystalcodec.registry import did_you_mean
from crystalcodec.representations.base import held_crystals
from crystalcodec.representations.minimum_images import minimum_images

__all__ = ["STEPS", "CleaningError", "Step", "clean", "parse_steps"]

Bools = npt.NDArray[np.bool_]
Columns = tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]


class CleaningError(ValueError):
    """A cleaning step that there is not, or a tolerance that makes no sense."""


@dataclass(frozen=True)
class Cleaned:
    """What a step made of m crystals.

    Parameters
    ----------
    columns
        Lattices, coordinates, numbers and offsets of all m, as :class:`Crystals` has them; they
        need not be crystals any more.
    changed : (m,)
        Which are other crystals, or described in another way.
    notes
        Further counts, in words.
    """

    columns: Columns
    changed: Bools
    notes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Kind:
    """A step that there is: its function, and its tolerance in Å where it takes one."""

    function: Callable[[Crystals, float], Cleaned]
    does: str
    tolerance: float | None = None


@dataclass(frozen=True)
class Step:
    """A step as it is asked for.

    Parameters
    ----------
    name
        One of :data:`STEPS`.
    tolerance
        Å; None where the step takes none.
    """

    name: str
    tolerance: float | None = None

    def __str__(self) -> str:
        return self.name if self.tolerance is None else f"{self.name}={self.tolerance:g}"


def parse_steps(texts: Sequence[str]) -> tuple[Step, ...]:
    """Steps given as ``name`` or ``name=tolerance``, in the order in which they are done.

    Raises
    ------
    CleaningError
        No such step, a tolerance that is no positive number or is not taken, a step twice.

    >>> [str(step) for step in parse_steps(["merge", "symmetrise=0.05"])]
    ['merge=0.5', 'symmetrise=0.05']
    """
    steps = []
    for text in texts:
        name, equals, given = text.strip().partition("=")
        if name not in STEPS:
            raise CleaningError(f"no cleaning step {name!r}{did_you_mean(name, STEPS)}")
        usual = STEPS[name].tolerance
        if equals and usual is None:
            raise CleaningError(f"{text!r}: {name} takes no tolerance, leave it out")
        try:
            tolerance = float(given) if equals else usual
        except ValueError:
            tolerance = 0.0
        if tolerance is not None and not 0 < tolerance < np.inf:
            raise CleaningError(f"{text!r}: wanted a positive number of Å after =")
        steps.append(Step(name, tolerance))
    names = [step.name for step in steps]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise CleaningError(f"{', '.join(repeated)} is there twice: wanted each step once")
    return tuple(steps)


def clean(attempts: Attempts, steps: Sequence[Step]) -> tuple[Attempts, list[dict[str, Any]]]:
    """Do the steps one after the other; what is no crystal after one is a failed attempt.

    Returns
    -------
    attempts
        The same number of attempts.
    counts
        For each step ``step``, ``does``, ``n`` crystals that came to it, ``n_changed``,
        ``lost`` by reason, and further counts in words in ``notes``.
    """
    counts = []
    for step in steps:
        kind = STEPS[step.name]
        crystals = attempts.crystals
        done = kind.function(crystals, step.tolerance or 0.0)
        faults = find_faults(*done.columns) if len(crystals) else []
        attempts = _without(attempts, done.columns, faults, step.name)
        lost = np.zeros(len(crystals), bool)
        lost[[fault.index for fault in faults]] = True
        counts.append(
            {
                "step": str(step),
                "does": kind.does,
                "n": len(crystals),
                "n_changed": int((done.changed & ~lost).sum()),
                "lost": count_reasons(faults),
                "notes": {told: n for told, n in done.notes.items() if n},
            }
        )
    return attempts, counts


def _without(attempts: Attempts, columns: Columns, faults: list[Failure], step: str) -> Attempts:
    """The attempts with other crystals, of which those with a fault have failed."""
    if not faults:
        made = Crystals(*columns)
        return Attempts(made, attempts.positions, attempts.n, attempts.failures)
    _, kept = held_crystals(attempts.crystals, faults)
    positions = attempts.positions
    failed = [
        Failure(int(positions[one.index]), one.reason, f"after {step}: {one.detail}")
        for one in faults
    ]
    failures = sorted([*attempts.failures, *failed], key=lambda one: one.index)
    return Attempts(_chosen(columns, kept), positions[kept], attempts.n, tuple(failures))


def _chosen(columns: Columns, kept: npt.NDArray[np.int64]) -> Crystals:
    lattices, coords, numbers, offsets = columns
    counts = np.diff(offsets)
    mask = np.zeros(len(counts), bool)
    mask[kept] = True
    sites = np.repeat(mask, counts)
    ends = np.concatenate([[0], np.cumsum(counts[kept])])
    return Crystals(lattices[kept], coords[sites], numbers[sites], ends)


def _merge(crystals: Crystals, tolerance: float) -> Cleaned:
    """Sites of one element nearer than the tolerance, and what is near to these, become one."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    edges = [
        np.stack([pairs.first[near], pairs.second[near]])
        for pairs in site_pairs(crystals)
        for near in [
            (pairs.distances < tolerance)
            & (crystals.numbers[pairs.first] == crystals.numbers[pairs.second])
        ]
    ]
    n = len(crystals.numbers)
    first, second = np.concatenate([np.zeros((2, 0), np.int64), *edges], axis=1)
    graph = coo_array((np.ones(len(first), bool), (first, second)), shape=(n, n))
    _, group = connected_components(graph, directed=False)
    # The first site of each group, and the mean of where the others are from there.
    _, heads, members = np.unique(group, return_index=True, return_inverse=True)
    owners = crystals.crystal_indices
    away = crystals.frac_coords - crystals.frac_coords[heads][members]
    moves, _ = minimum_images(away[:, None, :], crystals.lattices[owners])
    sizes = np.bincount(members, minlength=len(heads))
    sums = [np.bincount(members, moves[:, 0, k], minlength=len(heads)) for k in range(3)]
    mean = np.stack(sums, axis=1) / np.maximum(sizes, 1)[:, None]
    order = np.argsort(heads, kind="stable")
    kept = heads[order]
    coords = crystals.frac_coords[kept] + np.where(sizes[order][:, None] > 1, mean[order], 0.0)
    counts = np.bincount(owners[kept], minlength=len(crystals))
    offsets = np.concatenate([[0], np.cumsum(counts)])
    return Cleaned(
        (crystals.lattices, wrap(coords), crystals.numbers[kept], offsets),
        counts < crystals.n_sites,
        {"sites merged into others": n - len(kept)},
    )


def _niggli(crystals: Crystals, tolerance: float) -> Cleaned:
    """Another cell of the same lattice; no atom moves."""
    import spglib

    del tolerance
    lattices = crystals.lattices
    changes = np.broadcast_to(np.eye(3), lattices.shape).copy()
    missing = 0
    for i, lattice in enumerate(lattices):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # on how its next version fails
            try:
                reduced = spglib.niggli_reduce(lattice)
            except spglib.SpglibError:
                reduced = None
        found = None if reduced is None else np.rint(reduced @ np.linalg.inv(lattice))
        if found is None or abs(abs(np.linalg.det(found)) - 1) > 1e-6:
            missing += 1
            continue
        # The handedness stays: all three vectors turned round are as reduced as before.
        changes[i] = found * np.sign(np.linalg.det(found))
    back = np.rint(np.linalg.inv(changes)) if len(changes) else changes
    coords = np.einsum("si,sij->sj", crystals.frac_coords, back[crystals.crystal_indices])
    return Cleaned(
        (changes @ lattices, wrap(coords), crystals.numbers, crystals.offsets),
        (changes != np.eye(3)).any(axis=(1, 2)),
        {"left as they were, no reduced cell found": missing},
    )


def _symmetrise(crystals: Crystals, tolerance: float) -> Cleaned:
    """The primitive standard cell, with sites and vectors moved to where symmetry wants them."""
    from crystalcodec.symmetry import moyo_datasets

    lattices = np.array(crystals.lattices)
    changed = np.zeros(len(crystals), bool)
    coords, numbers, missing = [], [], 0
    for i, found in enumerate(moyo_datasets(crystals, tolerance)):
        start, stop = crystals.offsets[i], crystals.offsets[i + 1]
        # Of a crystal without symmetry there is nothing to move.
        if isinstance(found, str) or found.number == 1:
            missing += isinstance(found, str)
            coords.append(crystals.frac_coords[start:stop])
            numbers.append(crystals.numbers[start:stop])
            continue
        cell = found.prim_std_cell
        lattices[i], changed[i] = cell.basis, True
        coords.append(np.asarray(cell.positions, float).reshape(-1, 3))
        numbers.append(np.asarray(cell.numbers, np.int64))
    counts = np.array([len(one) for one in numbers], np.int64)
    return Cleaned(
        (
            lattices,
            wrap(np.concatenate([np.zeros((0, 3)), *coords])),
            np.concatenate([np.zeros(0, np.int64), *numbers]),
            np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        ),
        changed,
        {"left as they were, no symmetry found": missing},
    )


STEPS: Final[Mapping[str, _Kind]] = {
    "merge": _Kind(
        _merge, "sites of one element nearer to each other than this become one, at their mean", 0.5
    ),
    "niggli": _Kind(_niggli, "the Niggli-reduced cell; no atom moves"),
    "symmetrise": _Kind(
        _symmetrise,
        "the primitive standard cell by moyopy, sites within this of symmetric places moved there",
        0.1,
    ),
}
"""The cleaning steps by name."""
