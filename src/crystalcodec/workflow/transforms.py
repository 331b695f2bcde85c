"""Transforms: what a model learns instead of a target itself, and the way back."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["CANDIDATES", "TargetError", "TargetTransform", "possible_transforms"]

Floats = npt.NDArray[np.float64]

CANDIDATES: Final = ("standardise", "sqrt", "log", "asinh")
"""What ``transform = "auto"`` tries, as far as the column allows it."""


class TargetError(ValueError):
    """A target column that cannot be learnt; the message names the rows and values."""


@dataclass(frozen=True)
class TargetTransform:
    """What a model learns instead of the target itself, and the way back.

    ``standardise`` is (y - mean) / std over training crystals; ``sqrt``, ``log`` and ``asinh``
    are taken first and standardised afterwards; ``none`` changes nothing. ``asinh`` is of
    y / scale, with the median size of the training targets as scale: linear below it, logarithmic
    above it, on both sides of 0.
    """

    name: str
    mean: float = 0.0
    std: float = 1.0
    scale: float = 1.0

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
                "nothing to learn; choose another column, or data in which it differs"
            )
        if name == "none":
            return cls(name)
        scale = 1.0
        if name == "asinh":
            sizes = np.abs(targets)
            scale = float(np.median(sizes)) or float(sizes.mean())
        plain = cls(name, scale=scale).apply(targets)
        return cls(name, float(plain.mean()), float(plain.std()) or 1.0, scale)

    def apply(self, targets: Floats) -> Floats:
        """What the model learns; NaN stays NaN.

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
                f"{int(impossible.sum()) - 1} more such): use 'standardise', 'asinh' or 'none'"
            )
        scaled = targets / self.scale
        plain = {"sqrt": np.sqrt, "log": np.log, "asinh": np.arcsinh}.get(self.name, np.asarray)
        return (plain(scaled) - self.mean) / self.std

    def undo(self, learnt: Floats) -> Floats:
        """Values in the unit of the target, from what the model gave."""
        plain = learnt * self.std + self.mean
        if self.name == "sqrt":
            # Below 0 the square would grow again.
            return np.square(np.maximum(plain, 0.0))
        undo = {"log": np.exp, "asinh": np.sinh}.get(self.name, np.asarray)
        return undo(plain) * self.scale

    def undo_tensor(self, learnt: Tensor) -> Tensor:
        """As :meth:`undo`, with a slope everywhere: below 0 a square root has a mirrored square."""
        plain = learnt * self.std + self.mean
        if self.name == "sqrt":
            plain = plain * plain.abs()
        elif self.name in ("log", "asinh"):
            plain = plain.exp() if self.name == "log" else plain.sinh()
        return plain * self.scale

    def describe(self) -> dict[str, Any]:
        """Name and fitted numbers, ready for JSON."""
        return asdict(self)


def possible_transforms(targets: Floats) -> list[str]:
    """The transforms that can be tried on training targets.

    >>> possible_transforms(np.array([0.0, 2.0]))
    ['standardise', 'sqrt', 'asinh']
    """
    there = targets[~np.isnan(targets)]
    refused = {"sqrt"} if (there < 0).any() else set()
    refused |= {"log"} if (there <= 0).any() else set()
    return [name for name in CANDIDATES if name not in refused]
