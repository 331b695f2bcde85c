"""Wanted ranges of property values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from crystalcodec.registry import did_you_mean

__all__ = ["LatentError", "Window", "in_windows"]

Bools = npt.NDArray[np.bool_]


class LatentError(ValueError):
    """Something that cannot be done with codes; the message says what to give instead."""


@dataclass(frozen=True)
class Window:
    """Values of a property from ``low`` to ``high``, both included.

    Raises
    ------
    LatentError
        Ends that are no numbers, or that leave nothing between them.

    Examples
    --------
    >>> Window.parse("band_gap=1:2.5")
    Window(name='band_gap', low=1.0, high=2.5)
    >>> Window.parse("formation_energy_per_atom=:-2")
    Window(name='formation_energy_per_atom', low=-inf, high=-2.0)
    """

    name: str
    low: float = -math.inf
    high: float = math.inf

    def __post_init__(self) -> None:
        if math.isnan(self.low) or math.isnan(self.high) or self.low > self.high:
            raise LatentError(
                f"window {self.low:g} to {self.high:g} of {self.name!r} holds nothing: wanted the "
                "smaller number first"
            )

    @classmethod
    def parse(cls, text: str) -> Self:
        """The window that ``"name=low:high"`` tells; an end that is left out is open."""
        name, equals, ends = text.partition("=")
        low, colon, high = ends.partition(":")
        try:
            if not (name.strip() and equals and colon and ends.strip() != ":"):
                raise ValueError
            return cls(
                name.strip(),
                float(low) if low.strip() else -math.inf,
                float(high) if high.strip() else math.inf,
            )
        except ValueError as error:
            if isinstance(error, LatentError):
                raise
            raise LatentError(
                f"window {text!r}: wanted NAME=LOW:HIGH, one end may be left out: band_gap=1:2"
            ) from None

    def holds(self, values: npt.ArrayLike) -> Bools:
        """Whether each value is in it; a missing one (NaN) is not."""
        given = np.asarray(values, np.float64)
        return np.asarray((given >= self.low) & (given <= self.high))


def in_windows(windows: Sequence[Window], values: Mapping[str, npt.ArrayLike], n: int) -> Bools:
    """(n,) whether crystals are in every window, by their (n,) values.

    Raises
    ------
    LatentError
        A window of a property that there is not.
    """
    inside = np.ones(n, bool)
    for window in windows:
        if window.name not in values:
            raise LatentError(f"no values of {window.name!r}{did_you_mean(window.name, [*values])}")
        inside &= window.holds(values[window.name])
    return inside
