"""Targets: the column to learn, its missing values, and the transform that is undone later."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from crystalcodec.data import Dataset

__all__ = ["TargetError", "TargetTransform", "target_values"]

Floats = npt.NDArray[np.float64]


class TargetError(ValueError):
    """A target column that cannot be learnt; the message names the rows and values."""


def target_values(dataset: Dataset, column: str, what: str) -> Floats:
    """(n,) the column as float64, NaN where missing.

    Raises
    ------
    DatasetError
        No such column, or one of text.
    TargetError
        Infinite values.
    """
    values = dataset.numeric(column)
    infinite = np.flatnonzero(np.isinf(values))
    if len(infinite):
        rows = ", ".join(f"row {i} (id {dataset.ids[i]})" for i in infinite[:3])
        more = f" and {len(infinite) - 3} more" if len(infinite) > 3 else ""
        raise TargetError(
            f"{column!r} of the {what} data is infinite in {rows}{more}: correct these values, or "
            "make them empty, which drops the rows"
        )
    return values


@dataclass(frozen=True)
class TargetTransform:
    """What a model learns instead of the target itself, and the way back.

    ``standardise`` is (y - mean) / std over training crystals; ``sqrt`` and ``log`` are taken
    first and standardised afterwards; ``none`` changes nothing.
    """

    name: str
    mean: float = 0.0
    std: float = 1.0

    @classmethod
    def fit(cls, name: str, targets: Floats) -> TargetTransform:
        """Fit on the targets of training crystals, none of them NaN.

        Raises
        ------
        TargetError
            No targets, all of one value, or values that have no square root or logarithm.
        """
        if not len(targets):
            raise TargetError("no training crystal with a target is left: nothing to learn from")
        if len(targets) > 1 and np.ptp(targets) == 0:
            raise TargetError(
                f"the target is {targets[0]:g} in all {len(targets)} training crystals: there is "
                "nothing to learn"
            )
        if name == "none":
            return cls(name)
        plain = cls(name).apply(targets)
        return cls(name, float(plain.mean()), float(plain.std()) or 1.0)

    def apply(self, targets: Floats) -> Floats:
        """What the model learns.

        Raises
        ------
        TargetError
            A value that has no square root or logarithm.
        """
        impossible = targets < 0 if self.name == "sqrt" else targets <= 0
        if self.name in ("sqrt", "log") and impossible.any():
            row = int(np.flatnonzero(impossible)[0])
            wanted = "at least 0" if self.name == "sqrt" else "above 0"
            raise TargetError(
                f"transform {self.name!r} needs targets {wanted}, got {targets[row]:g} (and "
                f"{int(impossible.sum()) - 1} more such): use 'standardise' or 'none'"
            )
        plain = {"sqrt": np.sqrt, "log": np.log}.get(self.name, np.asarray)(targets)
        return (plain - self.mean) / self.std

    def undo(self, learnt: Floats) -> Floats:
        """Values in the unit of the target, from what the model gave."""
        plain = learnt * self.std + self.mean
        if self.name == "sqrt":
            # Below 0 the square would grow again.
            return np.square(np.maximum(plain, 0.0))
        return np.exp(plain) if self.name == "log" else plain

    def describe(self) -> dict[str, Any]:
        """Name and fitted numbers, ready for JSON."""
        return asdict(self)
