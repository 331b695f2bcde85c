"""Training, validation and test crystals of a run, with their targets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.data import Dataset
from crystalcodec.data.splitting import FRACTIONS, Split, split_dataset
from crystalcodec.failures import Failure, count_reasons
from crystalcodec.representations.base import Representation
from crystalcodec.workflow.config import DataConfig
from crystalcodec.workflow.targets import TargetError, target_values

__all__ = ["Labelled", "label", "load_splits"]


@dataclass(frozen=True)
class Labelled:
    """Crystals that can be encoded, with their targets, and what was left out.

    Parameters
    ----------
    crystals, ids, targets
        m crystals, their ids and finite targets.
    n
        Crystals there were.
    failures
        What was left out and why, by position among the n.
    content_hash
        Of the dataset that they come from.
    """

    crystals: Crystals
    ids: npt.NDArray[np.object_]
    targets: npt.NDArray[np.float64]
    n: int
    failures: tuple[Failure, ...]
    content_hash: str

    def __len__(self) -> int:
        return len(self.crystals)

    def describe(self) -> dict[str, Any]:
        """Counts and hash, ready for JSON."""
        return {
            "n": self.n,
            "n_used": len(self),
            "failures": count_reasons(self.failures),
            "content_hash": self.content_hash,
        }


def label(dataset: Dataset, column: str, representation: Representation, what: str) -> Labelled:
    """Leave out the crystals without a target and those that the representation cannot hold.

    Every cell is made right-handed first, which moves no atom.

    Raises
    ------
    DatasetError, TargetError
        No such column, one of text, or infinite values.
    """
    values = target_values(dataset, column, what)
    missing = np.isnan(values)
    failures = {
        int(i): Failure(int(i), "missing target", f"{column} is empty")
        for i in np.flatnonzero(missing)
    }
    crystals = dataset.crystals.right_handed()
    for failure in representation.refuse(crystals):
        failures.setdefault(failure.index, failure)
    kept = np.ones(len(dataset), bool)
    kept[list(failures)] = False
    return Labelled(
        crystals[kept],
        dataset.ids[kept],
        values[kept],
        len(dataset),
        tuple(failures[i] for i in sorted(failures)),
        dataset.content_hash,
    )


def load_splits(config: DataConfig, column: str) -> tuple[dict[str, Dataset], str]:
    """Datasets ``train``, ``validation`` and, where there is one, ``test``, and the target's unit.

    Raises
    ------
    DatasetError
        A dataset that cannot be read, or without the column.
    """
    whole = Dataset.read(config.dataset, [column])
    unit = whole.metadata.units.get(column, "")
    if config.validation is not None:
        parts = {"train": whole, "validation": Dataset.read(config.validation, [column])}
        if config.test is not None:
            parts["test"] = Dataset.read(config.test, [column])
    elif config.split is not None:
        parts = Split.read(config.split).apply(whole)
    else:
        shares = dict(FRACTIONS)
        if config.fractions is not None:
            shares = dict(zip(FRACTIONS, config.fractions, strict=True))
        wanted = {name: share for name, share in shares.items() if share > 0}
        parts = split_dataset(whole, fractions=wanted, seed=config.split_seed).apply(whole)
    for name in ("train", "validation"):
        if name not in parts or not len(parts[name]):
            raise TargetError(
                f"no {name} crystals: {config.dataset} has {len(whole)}, cut into "
                f"{ {name: len(part) for name, part in parts.items()} }"
            )
    known = ("train", "validation", "test")
    return {name: parts[name] for name in known if name in parts and len(parts[name])}, unit
