"""The networks on grids: encoder, decoder and segmenter, made of monai's blocks."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from crystalcodec.registry import import_extra

__all__ = ["Circular", "Decoder", "Encoder", "Segmenter", "coarsest", "make_periodic", "padded"]

_GROUPS = 4  # of a group norm; narrower layers have as many groups as divide them


class Encoder(nn.Module):
    """From a grid and numbers beside it to the mean and logarithm of the variance of a code.

    A convolution, then for each further width one of stride 2 and a residual unit. With ``local``
    the code has ``latent_size`` numbers at each point of the coarsest grid, and two for each
    number beside the grid; without, ``latent_size`` in all.
    """

    def __init__(
        self,
        channels: int,
        n_numbers: int,
        n_points: int,
        widths: Sequence[int],
        latent_size: int,
        local: bool,
        periodic: bool,
    ) -> None:
        super().__init__()
        blocks = import_extra("monai.networks.blocks", "generate")
        self.local = local
        self.stem = _convolution(blocks, channels, widths[0])
        self.told = nn.Linear(n_numbers, widths[0])
        self.down = nn.Sequential(
            *(
                nn.Sequential(
                    _convolution(blocks, before, after, stride=2),
                    _residual(blocks, after),
                )
                for before, after in itertools.pairwise(widths)
            )
        )
        coarse = coarsest(n_points, widths)
        if local:
            self.code: nn.Module = nn.Conv3d(widths[-1], 2 * latent_size, 1)
            self.number_code = nn.Linear(n_numbers, 4 * n_numbers)
        else:
            self.code = nn.Linear(widths[-1] * coarse**3 + n_numbers, 2 * latent_size)
        if periodic:
            make_periodic(self)

    def forward(self, grid: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the variance, (n, size of the code) each."""
        x = self.down(self.stem(grid) + _everywhere(self.told(numbers)))
        if self.local:
            parts = self.code(x).flatten(2), self.number_code(numbers)[:, :, None]
            halves = [part.chunk(2, dim=1) for part in parts]
            mean, log = (torch.cat([h[k].flatten(1) for h in halves], dim=1) for k in (0, 1))
        else:
            mean, log = self.code(torch.cat([x.flatten(1), numbers], dim=1)).chunk(2, dim=1)
        # Beyond these a variance says nothing more, and its exponential overflows.
        return mean, log.clamp(-20, 10)


class Decoder(nn.Module):
    """From a code to a grid and the numbers beside it; the mirror image of :class:`Encoder`.

    Grids are made larger by copying points, as a convolution follows: transposed convolutions
    leave patterns. ``n_told`` is the length of a vector of conditions.
    """

    def __init__(
        self,
        channels: int,
        n_numbers: int,
        n_points: int,
        widths: Sequence[int],
        latent_size: int,
        local: bool,
        periodic: bool,
        n_told: int = 0,
    ) -> None:
        super().__init__()
        blocks = import_extra("monai.networks.blocks", "generate")
        coarse, widest = coarsest(n_points, widths), widths[-1]
        self.local, self.shape = local, (-1, widest, coarse, coarse, coarse)
        if local:
            self.split = [latent_size * coarse**3, 2 * n_numbers]
            self.start: nn.Module = nn.Conv3d(latent_size, widest, 1)
            self.vector_size = self.split[1]
            self.told: nn.Module = nn.Linear(self.vector_size + n_told, widest)
        else:
            self.vector_size = latent_size
            self.start = nn.Linear(latent_size + n_told, widest * coarse**3)
        self.numbers = nn.Sequential(
            nn.Linear(self.vector_size + n_told, 64), nn.SiLU(), nn.Linear(64, n_numbers)
        )
        self.first = _residual(blocks, widest)
        self.up = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Upsample(scale_factor=2),
                    _convolution(blocks, before, after),
                    # Where there are most points a further block costs as much as all others.
                    _residual(blocks, after) if k < len(widths) - 2 else nn.Identity(),
                )
                for k, (before, after) in enumerate(itertools.pairwise(tuple(widths)[::-1]))
            )
        )
        self.out = nn.Conv3d(widths[0], channels, 3, padding=1)
        if periodic:
            make_periodic(self)

    @property
    def code_size(self) -> int:
        """Numbers of a code."""
        return sum(self.split) if self.local else self.vector_size

    def forward(self, codes: Tensor, told: Tensor) -> tuple[Tensor, Tensor]:
        """The grid (n, channels, N, N, N) and the numbers (n, k)."""
        if self.local:
            spread, vector = torch.split(codes, self.split, dim=1)
            vector = torch.cat([vector, told], dim=1)
            x = self.start(spread.reshape(len(codes), -1, *self.shape[2:]))
            x = x + _everywhere(self.told(vector))
        else:
            vector = torch.cat([codes, told], dim=1)
            x = self.start(vector).reshape(self.shape)
        return self.out(self.up(self.first(x))), self.numbers(vector)


class Segmenter(nn.Module):
    """An attention U-Net (Oktay et al., arXiv 1804.03999) that gives features of each point.

    monai's, with group norms in place of batch norms; ``classify`` turns features into what they
    say of each class, at all points or at some.
    """

    def __init__(
        self, channels: int, n_classes: int, widths: Sequence[int], periodic: bool
    ) -> None:
        super().__init__()
        nets = import_extra("monai.networks.nets", "generate")
        self.body = nets.AttentionUnet(
            spatial_dims=3,
            in_channels=channels,
            out_channels=2 * widths[0],
            channels=tuple(widths),
            strides=(2,) * (len(widths) - 1),
        )
        _replace(self, lambda m: _group_norm(m) if isinstance(m, nn.BatchNorm3d) else None)
        if periodic:
            make_periodic(self)
        self.classify = nn.Sequential(
            nn.Linear(2 * widths[0] + channels, 64),
            nn.SiLU(),
            nn.Linear(64, 64),
            nn.SiLU(),
            nn.Linear(64, n_classes),
        )

    def forward(self, grid: Tensor) -> Tensor:
        """(n, N, N, N, features); the density, whose height the norms forget, is among them."""
        return torch.cat([self.body(grid), grid], dim=1).movedim(1, -1)


class Circular(nn.Module):
    """A convolution, or a transposed one, round all three axes.

    The grid is continued by as many points as the kernel reaches. What a transposed convolution,
    which torch knows none of that goes round, makes of these is cut off.
    """

    def __init__(self, convolution: nn.Conv3d | nn.ConvTranspose3d) -> None:
        super().__init__()
        self.convolution = convolution
        kernel, stride = convolution.kernel_size[0], convolution.stride[0]
        padding = int(convolution.padding[0])
        self.cut = 0
        if isinstance(convolution, nn.ConvTranspose3d):
            self.reach = -(-max(padding, kernel - 1 - padding) // stride)
            self.cut = self.reach * stride
        else:
            self.reach = padding
            convolution.padding = (0, 0, 0)

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, ...) of the size that the convolution gives."""
        longer: Tensor = _Continued.apply(x, self.reach)  # type: ignore[no-untyped-call]
        made: Tensor = self.convolution(longer)
        return made[(..., *(slice(self.cut, -self.cut),) * 3)] if self.cut else made


class _Continued(torch.autograd.Function):
    """Three axes continued round by some points, fewer than they have.

    torch's own padding gives the same, and takes several times as long on the way back.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, reach: int) -> Tensor:
        ctx.reach = reach
        return functional.pad(x, (reach,) * 6, mode="circular")

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        reach = ctx.reach
        for axis in (2, 3, 4):
            n = gradient.shape[axis] - 2 * reach
            inner = gradient.narrow(axis, reach, n).clone()
            inner.narrow(axis, n - reach, reach).add_(gradient.narrow(axis, 0, reach))
            inner.narrow(axis, 0, reach).add_(gradient.narrow(axis, n + reach, reach))
            gradient = inner
        return gradient, None


def make_periodic(network: nn.Module) -> None:
    """Make every convolution in a network on grids go round."""

    def around(module: nn.Module) -> nn.Module | None:
        grows = isinstance(module, nn.ConvTranspose3d)
        reaches = isinstance(module, nn.Conv3d) and any(module.padding)
        return Circular(module) if grows or reaches else None  # type: ignore[arg-type]

    _replace(network, around)


def coarsest(n_points: int, widths: Sequence[int]) -> int:
    """Points along an axis where there are fewest."""
    return n_points // int(2 ** (len(widths) - 1))


def _replace(network: nn.Module, by: Any) -> None:
    """Put ``by(module)`` in the place of each module inside where it is not None."""
    for name, module in list(network.named_children()):
        other = by(module)
        if other is None:
            _replace(module, by)
        else:
            setattr(network, name, other)


def _group_norm(norm: nn.BatchNorm3d) -> nn.GroupNorm:
    return nn.GroupNorm(_groups(norm.num_features), norm.num_features)


def _groups(width: int) -> int:
    return next(n for n in range(min(_GROUPS, width), 0, -1) if width % n == 0)


def _norm(width: int) -> tuple[str, dict[str, int]]:
    return ("GROUP", {"num_groups": _groups(width)})


def _convolution(blocks: Any, before: int, after: int, stride: int = 1) -> nn.Module:
    made: nn.Module = blocks.Convolution(
        3, before, after, strides=stride, act="SWISH", norm=_norm(after)
    )
    return made


def _residual(blocks: Any, width: int) -> nn.Module:
    made: nn.Module = blocks.ResidualUnit(
        3, width, width, subunits=1, act="SWISH", norm=_norm(width)
    )
    return made


def _everywhere(vectors: Tensor) -> Tensor:
    """(n, channels, 1, 1, 1), the same at all points."""
    return vectors[:, :, None, None, None]


def padded(grid: Tensor, n_points: int) -> Tensor:
    """(n, channels, N, N, N) with zeros beyond the last points, up to ``n_points`` an axis."""
    more = n_points - grid.shape[-1]
    return functional.pad(grid, (0, more) * 3) if more else grid
