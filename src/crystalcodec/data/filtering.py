"""Datasets made smaller: by sites, elements, properties, and without duplicates."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.data.columns import DatasetError
from crystalcodec.data.compositions import element_presence
from crystalcodec.data.conditions import parse_condition
from crystalcodec.data.dataset import Dataset
from crystalcodec.data.duplicates import VOLUME_TOLERANCE, find_duplicates
from crystalcodec.data.storage import DatasetReader, DatasetWriter, require_new
from crystalcodec.elements import ATOMIC_NUMBERS, MAX_ATOMIC_NUMBER

__all__ = ["Filter", "FilterReport", "filter_dataset", "parse_elements"]

Mask = npt.NDArray[np.bool_]

_BATCH: Final = 4096


@dataclass(frozen=True)
class Filter:
    """Which crystals to keep; what is None or empty filters nothing.

    Parameters
    ----------
    min_sites, max_sites
        Least and greatest number of sites.
    min_elements, max_elements
        Least and greatest number of different elements.
    only, containing, excluding
        Element symbols: a crystal is made of ``only`` these, holds all of ``containing``, and
        none of ``excluding``.
    conditions
        On properties, as texts such as ``"e_above_hull <= 0.1"``; a crystal without the property
        fails.

    Raises
    ------
    DatasetError
        An unknown element, or a condition that is none.
    """

    min_sites: int | None = None
    max_sites: int | None = None
    min_elements: int | None = None
    max_elements: int | None = None
    only: Collection[str] = ()
    containing: Collection[str] = ()
    excluding: Collection[str] = ()
    conditions: Sequence[str] = ()

    def __post_init__(self) -> None:
        for symbol in (*self.only, *self.containing, *self.excluding):
            if symbol not in ATOMIC_NUMBERS:
                near = symbol.capitalize()
                hint = f"; did you mean {near!r}?" if near in ATOMIC_NUMBERS else ""
                raise DatasetError(f"no element {symbol!r}{hint}: wanted symbols such as Na")
        for condition in self.conditions:
            parse_condition(condition)

    def steps(self, dataset: Dataset) -> dict[str, Mask]:
        """By what is refused: (n,) which crystals pass. In the order in which losses are counted.

        Raises
        ------
        DatasetError
            A condition on a column that is not there, or that does not go with its kind.
        """
        n_sites = dataset.crystals.n_sites
        holds = element_presence(dataset.crystals)
        n_elements = np.asarray(holds.sum(axis=1))
        steps: dict[str, Mask] = {}
        if self.min_sites is not None:
            steps[f"fewer than {self.min_sites} sites"] = n_sites >= self.min_sites
        if self.max_sites is not None:
            steps[f"more than {self.max_sites} sites"] = n_sites <= self.max_sites
        if self.min_elements is not None:
            steps[f"fewer than {self.min_elements} elements"] = n_elements >= self.min_elements
        if self.max_elements is not None:
            steps[f"more than {self.max_elements} elements"] = n_elements <= self.max_elements
        if self.only:
            others = ~_element_mask(self.only)
            steps[f"other elements than {' '.join(self.only)}"] = np.asarray(
                ~holds[:, others].any(axis=1)
            )
        for symbol in self.containing:
            steps[f"no {symbol}"] = holds[:, ATOMIC_NUMBERS[symbol]]
        for symbol in self.excluding:
            steps[f"with {symbol}"] = ~holds[:, ATOMIC_NUMBERS[symbol]]
        for condition in map(parse_condition, self.conditions):
            passes, without = condition.passes(dataset)
            steps[f"no value of {condition.name}"] = ~without
            steps[f"not {condition}"] = passes
        return steps


@dataclass(frozen=True)
class FilterReport:
    """What a filter did.

    Parameters
    ----------
    n_read, n_kept
        Number of crystals before and after.
    losses
        Number of crystals refused, by what they were refused for: each crystal counts once, for
        the first filter that it fails.
    content_hash
        Of the dataset that was written.
    """

    n_read: int
    n_kept: int
    losses: dict[str, int]
    content_hash: str


def parse_elements(texts: Sequence[str]) -> tuple[str, ...]:
    """Element symbols from texts that separate them by commas, hyphens or spaces.

    >>> parse_elements(["Na-Cl", "O, Si"])
    ('Na', 'Cl', 'O', 'Si')
    """
    joined = " ".join(texts).replace(",", " ").replace("-", " ")
    return tuple(dict.fromkeys(joined.split()))


def filter_dataset(
    path: str | Path,
    out: str | Path,
    wanted: Filter,
    *,
    unique: bool = False,
    volume_tolerance: float = VOLUME_TOLERANCE,
    jobs: int = 1,
    force: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> FilterReport:
    """Write the crystals of a dataset that pass to another dataset.

    Parameters
    ----------
    path, out
        The dataset file, and the one to write.
    wanted
        Which crystals to keep.
    unique
        Whether to leave duplicates out too, after all other filters: the first of the same
        crystals is kept; see :func:`crystalcodec.data.find_duplicates`.
    volume_tolerance
        For ``unique``: largest relative difference of volume per atom between duplicates.
    jobs
        Number of processes for ``unique``.
    force
        Whether ``out`` may be replaced.
    progress
        For ``unique``: called with the numbers of groups of candidates done and of all of them.

    Raises
    ------
    DatasetError
        A filter that does not go with the dataset, none at all, one that leaves no crystal, or an
        ``out`` that exists.
    """
    if not unique and wanted == Filter():
        raise DatasetError(
            "no filter given: wanted limits of sites or elements, conditions, or unique"
        )
    require_new(out, force=force)
    with DatasetReader(path) as reader:
        kept, losses, crystals = _kept_rows(reader, wanted, collect=unique)
        if unique:
            first = find_duplicates(
                crystals, volume_tolerance=volume_tolerance, jobs=jobs, progress=progress
            )
            duplicate = first != np.arange(len(first))
            losses["duplicate of a crystal before it"] = int(duplicate.sum())
            kept[np.flatnonzero(kept)[duplicate]] = False
        if not kept.any():
            raise DatasetError(
                f"no crystal of {path} passes: {_list_losses(losses) or 'it holds none'}; nothing "
                "was written"
            )
        metadata = reader.metadata
        entry = {
            "from": metadata.content_hash,
            "losses": losses,
            "n_read": len(kept),
        }
        notes = {**metadata.notes, "filtered": [*metadata.notes.get("filtered", []), entry]}
        with DatasetWriter(out, reader.kinds, replace(metadata, notes=notes)) as writer:
            start = 0
            for batch in reader.batches(_BATCH):
                mask = kept[start : start + len(batch)]
                start += len(batch)
                if mask.any():
                    writer.write(batch if mask.all() else batch[mask])
    return FilterReport(len(kept), int(kept.sum()), losses, writer.content_hash)


def _kept_rows(
    reader: DatasetReader, wanted: Filter, *, collect: bool
) -> tuple[Mask, dict[str, int], Crystals]:
    """Mask of the rows that pass, losses by reason, and, if asked for, their crystals."""
    masks = [np.zeros(0, bool)]
    losses: dict[str, int] = {}
    passed = []
    for batch in reader.batches(_BATCH):
        kept = np.ones(len(batch), bool)
        for name, mask in wanted.steps(batch).items():
            losses[name] = losses.get(name, 0) + int((kept & ~mask).sum())
            kept &= mask
        masks.append(kept)
        if collect:
            passed.append(batch.crystals[kept])
    return np.concatenate(masks), losses, Crystals.concatenate(passed)


def _element_mask(symbols: Collection[str]) -> Mask:
    mask = np.zeros(MAX_ATOMIC_NUMBER + 1, bool)
    mask[[ATOMIC_NUMBERS[symbol] for symbol in symbols]] = True
    return mask


def _list_losses(losses: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in losses.items() if count)
