"""Training, validation and test crystals of a run, with their targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.data import Dataset
from crystalcodec.data.splitting import FRACTIONS, Split, split_dataset
from crystalcodec.failures import Failure, count_reasons
from crystalcodec.representations.base import Representation
from crystalcodec.workflow.config import DataConfig
from crystalcodec.workflow.prediction import input_values
from crystalcodec.workflow.runs import Run
from crystalcodec.workflow.targets import TargetError, target_values

__all__ = ["Labelled", "check_units", "label", "load_splits"]


@dataclass(frozen=True)
class Labelled:
    """Crystals that can be encoded, with their targets, and what was left out.

    Parameters
    ----------
    crystals, ids
        m crystals and their ids.
    targets : (m, t)
        Finite, or NaN where missing; each crystal has one at least.
    inputs : (m, k)
        What other runs predict for them, as inputs of this one; k is 0 without any.
    rows : (m,)
        Their positions among the n.
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
    inputs: npt.NDArray[np.float32]
    rows: npt.NDArray[np.int64]
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


def label(
    dataset: Dataset,
    columns: Sequence[str],
    representation: Representation,
    what: str,
    inputs: Sequence[Run] = (),
) -> Labelled:
    """Leave out the crystals without any target and those that cannot be predicted.

    That is what the representation cannot hold, and what a run that gives an input refuses. Every
    cell is made right-handed first, which moves no atom.

    Raises
    ------
    DatasetError, TargetError
        No such column, one of text, or infinite values.
    """
    values = np.stack([target_values(dataset, column, what) for column in columns], axis=1)
    missing = np.isnan(values).all(axis=1)
    failures = {
        int(i): Failure(int(i), "missing target", f"{', '.join(columns)} empty")
        for i in np.flatnonzero(missing)
    }
    crystals = dataset.crystals.right_handed()
    for failure in representation.refuse(crystals):
        failures.setdefault(failure.index, failure)
    rows = np.setdiff1d(np.arange(len(dataset)), list(failures))
    given, refused = input_values(inputs, crystals[rows])
    failures |= {int(rows[f.index]): replace(f, index=int(rows[f.index])) for f in refused}
    good = np.setdiff1d(np.arange(len(rows)), [f.index for f in refused])
    kept = rows[good]
    return Labelled(
        crystals[kept],
        dataset.ids[kept],
        values[kept],
        given[good],
        kept,
        len(dataset),
        tuple(failures[i] for i in sorted(failures)),
        dataset.content_hash,
    )


def check_units(dataset: Dataset, units: Mapping[str, str], what: str) -> None:
    """Raise TargetError where a dataset tells another unit of a column, by name, than these."""
    for column, unit in units.items():
        there = dataset.metadata.units.get(column, "")
        if unit and there and there != unit:
            raise TargetError(
                f"{column!r} of the {what} data is in {there}, and learnt in {unit}: convert it, "
                "or correct the unit"
            )


def load_splits(
    config: DataConfig, columns: Sequence[str]
) -> tuple[dict[str, Dataset], dict[str, str]]:
    """Datasets ``train``, ``validation`` and, where there is one, ``test``, and columns' units.

    Raises
    ------
    DatasetError
        A dataset that cannot be read, or without one of the columns.
    TargetError
        No training or no validation crystals, or a part in another unit than the training data.
    """
    columns = list(columns)
    whole = Dataset.read(config.dataset, columns)
    units = {column: whole.metadata.units.get(column, "") for column in columns}
    if config.validation is not None:
        parts = {"train": whole, "validation": Dataset.read(config.validation, columns)}
        if config.test is not None:
            parts["test"] = Dataset.read(config.test, columns)
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
    for name, part in parts.items():
        check_units(part, units, name)
    known = ("train", "validation", "test")
    return {name: parts[name] for name in known if name in parts and len(parts[name])}, units
