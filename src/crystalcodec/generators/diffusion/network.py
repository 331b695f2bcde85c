"""A U-Net in one, two or three dimensions, told a vector and aware of places.

monai's has all three, too, but no vector to be told, and needs einops; that of diffusers is for
pictures alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["LevelEmbedding", "UNet"]

_CONVOLUTIONS: Final = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_POOLS: Final = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}
_GROUPS: Final = 8
_HEAD: Final = 32  # channels of each head of attention
_FREQUENCIES: Final = 16


class LevelEmbedding(nn.Module):
    """(n, width) of the noise levels that EDM tells, (n,): cosines and sines, then two layers."""

    frequencies: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        # What is told runs from about -1.5 to 1.1.
        self.register_buffer("frequencies", torch.logspace(-0.5, 1.3, _FREQUENCIES))
        self.layers = nn.Sequential(
            nn.Linear(2 * _FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width)
        )

    def forward(self, told: Tensor) -> Tensor:
        """See above."""
        angles = told[:, None] * self.frequencies
        embedded: Tensor = self.layers(torch.cat([angles.cos(), angles.sin()], dim=1))
        return embedded


class UNet(nn.Module):
    """Residual blocks at several sizes, down and up again, with the way down joined on the way up.

    A block is norm, SiLU, convolution, then a norm whose scale and shift come from what is told,
    SiLU, convolution. Between levels neighbours are averaged two by two along each axis; on the
    way up places are repeated to the size that was there, so that any size fits. The last layers
    of each block and of all start at zero: the network begins by saying nothing.

    Parameters
    ----------
    dims
        1, 2 or 3.
    before, after
        Channels in and out.
    widths
        Channels of each level, multiples of 8.
    blocks
        Residual blocks of each level.
    attention
        How many of the last levels attend over all their places.
    told
        Length of the vectors that are told.
    periodic
        Whether convolutions go round.
    dropout
        Within blocks, in training.
    """

    def __init__(
        self,
        dims: int,
        before: int,
        after: int,
        widths: Sequence[int],
        blocks: int,
        attention: int,
        told: int,
        *,
        periodic: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.dims = dims

        def block(one: int, other: int, level: int) -> nn.Module:
            attends = level >= len(widths) - attention
            return _Block(dims, one, other, told, periodic, dropout, attends)

        self.first = _Convolution(dims, before, widths[0], periodic)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        width, skips = widths[0], [widths[0]]
        for level, size in enumerate(widths):
            row = nn.ModuleList()
            for _ in range(blocks):
                row.append(block(width, size, level))
                width = size
                skips.append(size)
            self.down.append(row)
        last = len(widths) - 1
        self.middle = nn.ModuleList([block(width, width, last), block(width, width, last)])
        # One block more on each level: also what came in from the level above is joined.
        for level in reversed(range(len(widths))):
            row = nn.ModuleList()
            for _ in range(blocks + (level == 0)):
                row.append(block(width + skips.pop(), widths[level], level))
                width = widths[level]
            self.up.append(row)
        self.norm = nn.GroupNorm(_GROUPS, width)
        self.last = _Convolution(dims, width, after, periodic).zero()

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        """(n, after, ...) of (n, before, ...) and (n, told)."""
        told = functional.silu(told)
        x = self.first(x)
        skips = [x]
        for level, row in enumerate(self.down):
            if level:
                x = _POOLS[self.dims](x, 2, ceil_mode=True, count_include_pad=False)
            for block in row:  # type: ignore[attr-defined]
                x = block(x, told)
                skips.append(x)
        for block in self.middle:
            x = block(x, told)
        for row in self.up:
            for block in row:  # type: ignore[attr-defined]
                skip = skips.pop()
                if skip.shape[2:] != x.shape[2:]:
                    x = _repeated(x, skip.shape[2:])
                x = block(torch.cat([x, skip], dim=1), told)
        last: Tensor = self.last(functional.silu(self.norm(x)))
        return last


def _repeated(x: Tensor, size: Sequence[int]) -> Tensor:
    """Each place twice along each axis, cut to a size."""
    for axis, n in enumerate(size, 2):
        x = x.repeat_interleave(2, dim=axis).narrow(axis, 0, n)
    return x


class _Block(nn.Module):
    """A residual block, with attention behind it or without."""

    def __init__(
        self,
        dims: int,
        before: int,
        after: int,
        told: int,
        periodic: bool,
        dropout: float,
        attends: bool,
    ) -> None:
        super().__init__()
        self.norm, self.between = nn.GroupNorm(_GROUPS, before), nn.GroupNorm(_GROUPS, after)
        self.one = _Convolution(dims, before, after, periodic)
        self.other = _Convolution(dims, after, after, periodic).zero()
        self.film = nn.Linear(told, 2 * after)
        self.dropout = nn.Dropout(dropout)
        self.past = nn.Identity() if before == after else _CONVOLUTIONS[dims](before, after, 1)
        self.attention = _Attention(after) if attends else None

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        inner = self.one(functional.silu(self.norm(x)))
        film = self.film(told).unflatten(1, (2, -1))
        scale, shift = (part.reshape(*part.shape, *[1] * (x.ndim - 2)) for part in film.unbind(1))
        inner = functional.silu(self.between(inner) * (1 + scale) + shift)
        x = self.past(x) + self.other(self.dropout(inner))
        return x if self.attention is None else self.attention(x)


class _Attention(nn.Module):
    """Each place looks at all."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = max(1, width // _HEAD)
        self.norm = nn.GroupNorm(_GROUPS, width)
        self.three = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        places = self.norm(x).flatten(2).transpose(1, 2)
        three = self.three(places).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(*three)
        added = self.out(seen.transpose(1, 2).flatten(2)).transpose(1, 2)
        looked: Tensor = x + added.reshape(x.shape)
        return looked


class _Convolution(nn.Module):
    """A convolution of three places along each axis that keeps the size."""

    def __init__(self, dims: int, before: int, after: int, periodic: bool) -> None:
        super().__init__()
        self.periodic = periodic
        self.inner = _CONVOLUTIONS[dims](before, after, 3, padding=0 if periodic else 1)

    def forward(self, x: Tensor) -> Tensor:
        if self.periodic:
            # Faster, forward and backward, than torch's own circular padding.
            for axis in range(2, x.ndim):
                last, first = x.narrow(axis, x.shape[axis] - 1, 1), x.narrow(axis, 0, 1)
                x = torch.cat([last, x, first], dim=axis)
        values: Tensor = self.inner(x)
        return values

    def zero(self) -> _Convolution:
        """The same, saying nothing."""
        for parameter in self.inner.parameters():
            nn.init.zeros_(parameter)
        return self
