"""Arrays between their own units and [-1, 1], where a hyperbolic tangent ends."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from crystalcodec.representations.base import Field

__all__ = ["MinMax"]


class MinMax(nn.Module):
    """The smallest and the largest training number of each field go to -1 and 1.

    In an array of two axes each row of a field has a range of its own, since its rows are
    different quantities (IRCR: periods and electronegativities); in a picture all of a field has
    one. Entries that are the same in all training crystals are 0 here, and get back what they
    were.

    Parameters
    ----------
    shape
        Of the array, batch axis not counted.
    """

    low: Tensor
    width: Tensor

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("low", torch.full(tuple(shape), -1.0))
        self.register_buffer("width", torch.full(tuple(shape), 2.0))

    @torch.no_grad()
    def fit(self, array: Tensor, fields: Sequence[Field]) -> None:
        """Find the ranges in training arrays (n, *shape); ``fields`` are those of this array."""
        least, most = array.amin(dim=0).float(), array.amax(dim=0).float()
        constant = least == most
        low, high = least.clone(), most.clone()
        # First all at once: entries that no field tells of share one range.
        parts = [((), 0), *((field.where, 1 if low.ndim == 2 else 0) for field in fields)]
        for where, first in parts:
            axes = tuple(range(first, low.ndim))
            inside = torch.where(constant, torch.inf, least)[where].amin(dim=axes, keepdim=True)
            beyond = torch.where(constant, -torch.inf, most)[where].amax(dim=axes, keepdim=True)
            low[where], high[where] = inside, beyond
        self.low.copy_(torch.where(constant, least, low))
        self.width.copy_(torch.where(constant, 0.0, high - low))

    @property
    def varies(self) -> Tensor:
        """``shape``: 1 where training arrays differ, 0 where they are all the same."""
        return (self.width > 0).float()

    def scale(self, array: Tensor) -> Tensor:
        """(n, *shape) in units to (n, *shape) in [-1, 1], if it is within the training range."""
        width = torch.where(self.width > 0, self.width, 1.0)
        return self.varies * (2 * (array.float() - self.low) / width - 1)

    def unscale(self, scaled: Tensor) -> Tensor:
        """The way back."""
        return self.low + (scaled + 1) / 2 * self.width
