"""Dropout that costs little on a CPU."""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor, nn

__all__ = ["Dropout"]

_LEVELS: Final = 2**16


class Dropout(nn.Dropout):
    """As :class:`torch.nn.Dropout`, with the chance rounded to a multiple of 1/65536.

    On a CPU torch draws a number of full precision for each element, one after another, which
    takes longer than a dense layer; here four elements share one of 64 bits. On other devices it
    is torch's own.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 -- torch's name
        """Values of the same shape; unchanged where it does not train."""
        dropped = round(self.p * _LEVELS)
        if not self.training or dropped in (0, _LEVELS) or input.device.type != "cpu":
            return super().forward(input)
        bits = torch.empty(math.ceil(input.numel() / 4), dtype=torch.long)
        drawn = bits.random_(-(2**63), None).view(torch.int16)[: input.numel()]
        kept = (drawn >= dropped - _LEVELS // 2).view(input.shape).to(input.dtype)
        return input * kept.mul_(_LEVELS / (_LEVELS - dropped))
