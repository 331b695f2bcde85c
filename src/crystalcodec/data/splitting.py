"""Datasets divided into parts: at random, or so that groups of crystals stay together."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Literal, get_args

import numpy as np
import numpy.typing as npt

from crystalcodec.data.columns import DatasetError, kind_of, missing
from crystalcodec.data.compositions import (
    chemical_system_numbers,
    reduced_composition_numbers,
)
from crystalcodec.data.dataset import Dataset
from crystalcodec.io.whole import whole_file
from crystalcodec.registry import did_you_mean

__all__ = ["FRACTIONS", "Split", "SplitKind", "split_dataset"]

Ints = npt.NDArray[np.int64]
SplitKind = Literal["random", "formula", "chemical-system", "prototype", "time"]

FRACTIONS: Final[Mapping[str, float]] = {"train": 0.64, "validation": 0.16, "test": 0.2}
"""The fractions of a split where none are given."""
_FORMAT: Final = 1


@dataclass(frozen=True)
class Split:
    """Which crystals of a dataset belong to which part.

    Parameters
    ----------
    parts
        Ids of the crystals of each part, in the order of the dataset.
    kind
        What kept together: see :func:`split_dataset`.
    fractions
        The fractions wanted; they add up to 1.
    seed
        Seed of the random order.
    dataset_hash
        Content hash of the dataset that was split.
    column
        The property that a split by time went by.
    left_out
        Ids of crystals in no part: without a time.
    """

    parts: Mapping[str, tuple[str, ...]]
    kind: SplitKind
    fractions: Mapping[str, float]
    seed: int
    dataset_hash: str
    column: str = ""
    left_out: tuple[str, ...] = ()
    created_by: Mapping[str, str] = field(default_factory=dict)

    def apply(self, dataset: Dataset) -> dict[str, Dataset]:
        """The parts of the dataset that was split.

        Raises
        ------
        DatasetError
            If it is another dataset: its content hash differs.
        """
        if self.dataset_hash not in (dataset.content_hash, dataset.metadata.content_hash):
            raise DatasetError(
                f"this split belongs to a dataset with content hash {self.dataset_hash[:16]}..., "
                f"got one with {dataset.content_hash[:16]}...: split this dataset, or use the one "
                "that was split"
            )
        position = {name: i for i, name in enumerate(dataset.ids)}
        return {
            name: dataset[np.array([position[i] for i in ids], np.int64)]
            for name, ids in self.parts.items()
        }

    def write(self, path: str | Path) -> None:
        """Write as JSON, whole or not at all; an existing file is replaced."""
        entries = {
            "format": _FORMAT,
            "kind": self.kind,
            "column": self.column,
            "fractions": dict(self.fractions),
            "seed": self.seed,
            "dataset_hash": self.dataset_hash,
            "sizes": {name: len(ids) for name, ids in self.parts.items()},
            "created_by": {"crystalcodec": version("crystalcodec"), **self.created_by},
            "parts": {name: list(ids) for name, ids in self.parts.items()},
            "left_out": list(self.left_out),
        }
        with whole_file(path) as temporary:
            temporary.write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: str | Path) -> Split:
        """Read what :meth:`write` wrote.

        Raises
        ------
        DatasetError
            No such file, or no split in it.
        """
        try:
            entries = json.loads(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise DatasetError(f"no split at {path}: there is no such file") from None
        except ValueError as error:
            raise DatasetError(f"{path} is no split: it is not JSON ({error})") from None
        try:
            if entries["format"] != _FORMAT:
                raise DatasetError(
                    f"{path} has split format {entries['format']}, this version of crystalcodec "
                    f"reads format {_FORMAT}"
                )
            return cls(
                {name: tuple(map(str, ids)) for name, ids in entries["parts"].items()},
                entries["kind"],
                entries["fractions"],
                int(entries["seed"]),
                entries["dataset_hash"],
                entries["column"],
                tuple(map(str, entries["left_out"])),
                entries["created_by"],
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise DatasetError(
                f"{path} is no split: {error!r}; wanted a file of 'crystalcodec data split'"
            ) from None


def split_dataset(
    dataset: Dataset,
    kind: SplitKind = "random",
    *,
    fractions: Mapping[str, float] = FRACTIONS,
    seed: int = 0,
    column: str = "",
    jobs: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Split:
    """Divide a dataset into parts; each crystal is in one part.

    Parameters
    ----------
    dataset
        At least as many crystals as parts.
    kind
        ``random``: by crystal. ``formula``: all crystals of one reduced formula are in one part.
        ``chemical-system``: all of the same set of elements are. ``prototype``: all of one
        structure prototype are (:func:`crystalcodec.data.prototype_labels`; a crystal whose
        symmetry cannot be found is a group of its own). ``time``: by ``column``, the earliest in
        the first part, the latest in the last; equal times are in one part.
    fractions
        Of the crystals, by part, in order; they add up to 1. Groups that stay together make the
        parts come out as near to it as they can.
    seed
        For the order in which crystals or groups are dealt out (numpy's PCG64), the same on every
        machine. Does nothing in a split by time.
    column
        The property for ``time``: numbers, or texts that sort by time (2021-05-31).
    jobs, progress
        For ``prototype``: number of processes; called with the numbers of crystals done and of
        all.

    Raises
    ------
    DatasetError
        Fractions that are none, fewer crystals or groups than parts, no such column.
    """
    if kind not in get_args(SplitKind):
        raise DatasetError(f"no split by {kind!r}{did_you_mean(kind, get_args(SplitKind))}")
    if bool(column) != (kind == "time"):
        raise DatasetError(
            "a split by time needs the column that holds the time"
            if kind == "time"
            else f"a split by {kind} uses no column, got {column!r}"
        )
    _check_fractions(fractions)
    if len(set(dataset.ids.tolist())) < len(dataset):
        raise DatasetError("several crystals have one id, and a split goes by ids: give other ids")
    targets = np.array(list(fractions.values()))
    left_out = np.zeros(len(dataset), bool)
    if kind == "time":
        times = dataset.column(column)
        left_out = missing(times)
        groups = _ranks(times, ~left_out)
        _check_sizes(groups[~left_out], targets, "times")
        part = np.full(len(dataset), -1)
        part[~left_out] = _deal_in_order(groups[~left_out], targets)
    else:
        groups = _groups(dataset, kind, jobs, progress)
        _check_sizes(groups, targets, "crystals" if kind == "random" else "groups")
        part = _deal_at_random(groups, targets, np.random.Generator(np.random.PCG64(seed)))
    return Split(
        {name: tuple(dataset.ids[part == p].tolist()) for p, name in enumerate(fractions)},
        kind,
        dict(fractions),
        seed,
        dataset.content_hash,
        column,
        tuple(dataset.ids[left_out].tolist()),
    )


def _check_fractions(fractions: Mapping[str, float]) -> None:
    values = list(fractions.values())
    if not values or min(values) <= 0 or abs(sum(values) - 1) > 1e-6:
        shown = ", ".join(f"{name} {value:g}" for name, value in fractions.items()) or "none"
        raise DatasetError(
            f"fractions {shown}: wanted positive ones that add up to 1, such as 0.64 0.16 0.2"
        )


def _check_sizes(groups: Ints, targets: npt.NDArray[np.float64], what: str) -> None:
    n_groups = len(np.unique(groups))
    if n_groups < len(targets):
        raise DatasetError(
            f"{n_groups} different {what} cannot fill {len(targets)} parts: wanted at least one "
            "for each part"
        )


def _groups(
    dataset: Dataset,
    kind: SplitKind,
    jobs: int,
    progress: Callable[[int, int], None] | None,
) -> Ints:
    """(n,) number of the group of each crystal."""
    crystals = dataset.crystals
    if kind == "random":
        return np.arange(len(dataset))
    if kind == "prototype":
        from crystalcodec.data.symmetry import prototype_labels

        labels, _ = prototype_labels(crystals, jobs=jobs, progress=progress)
        names = [label or f"unknown {i}" for i, label in enumerate(labels)]
        return np.unique(names, return_inverse=True)[1]
    if kind == "chemical-system":
        return chemical_system_numbers(crystals)
    return reduced_composition_numbers(crystals)


def _ranks(times: npt.NDArray[Any], known: npt.NDArray[np.bool_]) -> Ints:
    ranks = np.full(len(times), -1)
    values = times[known]
    if kind_of(times) == "text":
        values = values.astype(str)
    ranks[known] = np.unique(values, return_inverse=True)[1]
    return ranks


def _deal_in_order(groups: Ints, targets: npt.NDArray[np.float64]) -> Ints:
    """Part of each crystal: groups in rising order, cut where the fractions are nearest."""
    ends = np.cumsum(np.bincount(groups))
    part_of_group = np.zeros(len(ends), np.int64)
    cut = 0
    for p, wanted in enumerate(np.cumsum(targets)[:-1] * len(groups), start=1):
        # At least one group for this part and for each that is still to come.
        possible = np.arange(cut + 1, len(ends) - (len(targets) - p) + 1)
        cut = int(possible[np.argmin(np.abs(ends[possible - 1] - wanted))])
        part_of_group[cut:] = p
    return part_of_group[groups]


def _deal_at_random(
    groups: Ints, targets: npt.NDArray[np.float64], rng: np.random.Generator
) -> Ints:
    """Part of each crystal: groups in random order, each to the part that lacks most."""
    sizes = np.bincount(groups)
    order = rng.permutation(len(sizes))
    if (sizes == 1).all():
        ends = np.cumsum(_sizes(len(sizes), targets))
        part_of_group = np.empty(len(sizes), np.int64)
        part_of_group[order] = np.searchsorted(ends, np.arange(len(sizes)), side="right")
        return part_of_group[groups]
    lacking = (targets * len(groups)).tolist()
    empty = set(range(len(targets)))
    part_of_group = np.zeros(len(sizes), np.int64)
    for done, group in enumerate(order.tolist()):
        # The last groups go to parts that have none.
        open_to = empty if len(order) - done <= len(empty) else range(len(targets))
        part = max(open_to, key=lacking.__getitem__)
        part_of_group[group] = part
        lacking[part] -= int(sizes[group])
        empty.discard(part)
    return part_of_group[groups]


def _sizes(n: int, targets: npt.NDArray[np.float64]) -> Ints:
    """Sizes that add up to n: by largest remainder, and no part empty."""
    exact = targets * n
    sizes = np.floor(exact + 1e-9).astype(np.int64)
    for p in np.argsort(sizes - exact, kind="stable")[: n - int(sizes.sum())]:
        sizes[p] += 1
    while (sizes == 0).any():
        sizes[np.argmax(sizes)] -= 1
        sizes[np.argmin(sizes)] += 1
    return sizes
