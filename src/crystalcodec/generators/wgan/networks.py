"""The two networks of the GAN: from noise to arrays, and from arrays to one number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from crystalcodec.models.images import Image

__all__ = ["DenseCritic", "DenseMaker", "PictureCritic", "PictureMaker"]

_SLOPE = 0.2  # of the published networks' leaky ReLU


def _dense(inputs: int, width: int, normalised: bool) -> list[nn.Module]:
    norm = [nn.LayerNorm(width)] if normalised else []
    return [nn.Linear(inputs, width), *norm, nn.LeakyReLU(_SLOPE)]


class DenseMaker(nn.Module):
    """Linear, layer normalisation and leaky ReLU, ``depth`` times, then the numbers of an array.

    Parameters
    ----------
    inputs
        Numbers of the noise and of what is told with it.
    shape
        Of the array.
    width, depth
        Of the hidden layers.
    """

    def __init__(self, inputs: int, shape: Sequence[int], width: int, depth: int) -> None:
        super().__init__()
        self.shape = tuple(shape)
        layers = _dense(inputs, width, True)
        for _ in range(depth - 1):
            layers += _dense(width, width, True)
        self.layers = nn.Sequential(*layers, nn.Linear(width, math.prod(self.shape)))

    def forward(self, noise: Tensor) -> Tensor:
        """(n, *shape) of (n, inputs)."""
        made: Tensor = self.layers(noise)
        return made.reshape(-1, *self.shape)


class DenseCritic(nn.Module):
    """Linear and leaky ReLU, ``depth`` times, then one number.

    No normalisation over a batch: the gradient penalty is on single arrays.

    Parameters
    ----------
    shape
        Of the array.
    told
        Numbers of what is told with it.
    width, depth
        Of the hidden layers.
    """

    def __init__(self, shape: Sequence[int], told: int, width: int, depth: int) -> None:
        super().__init__()
        layers = _dense(math.prod(shape) + told, width, False)
        for _ in range(depth - 1):
            layers += _dense(width, width, False)
        # Only differences between arrays count: a constant would have no gradient.
        self.layers = nn.Sequential(*layers, nn.Linear(width, 1, bias=False))

    def forward(self, arrays: Tensor, told: Tensor) -> Tensor:
        """(n,) of (n, *shape) and (n, told)."""
        judged: Tensor = self.layers(torch.cat([arrays.flatten(1), told], dim=1))
        return judged[:, 0]


class PictureMaker(nn.Module):
    """A dense layer to a small picture that is doubled ``depth`` times, with convolutions.

    Each doubling is by nearest neighbours, then a 3 × 3 convolution, layer normalisation and
    leaky ReLU.

    Parameters
    ----------
    inputs
        Numbers of the noise and of what is told with it.
    image
        What is made.
    channels
        Of the full-sized picture; twice as many each time that it is halved, up to eight times.
    depth
        See above.
    """

    def __init__(self, inputs: int, image: Image, channels: int, depth: int) -> None:
        super().__init__()
        self.image = image
        widths = [channels * min(8, 2**level) for level in range(depth, -1, -1)]
        self.start = (
            widths[0],
            math.ceil(image.height / 2**depth),
            math.ceil(image.width / 2**depth),
        )
        self.dense = nn.Linear(inputs, math.prod(self.start))
        blocks: list[nn.Module] = [nn.GroupNorm(1, widths[0]), nn.LeakyReLU(_SLOPE)]
        for before, after in pairwise(widths):
            blocks += [
                nn.Upsample(scale_factor=2),
                nn.Conv2d(before, after, 3, padding=1),
                nn.GroupNorm(1, after),
                nn.LeakyReLU(_SLOPE),
            ]
        self.blocks = nn.Sequential(*blocks, nn.Conv2d(widths[-1], image.channels, 3, padding=1))

    def forward(self, noise: Tensor) -> Tensor:
        """(n, ...), axes as the representation has them, of (n, inputs)."""
        made: Tensor = self.blocks(self.dense(noise).reshape(-1, *self.start))
        made = made[:, :, : self.image.height, : self.image.width]
        if self.image.layout == "hw":
            return made[:, 0]
        return made.permute(0, 2, 3, 1) if self.image.layout == "hwc" else made


class PictureCritic(nn.Module):
    """Convolutions that halve the picture ``depth`` times, then a dense layer and one number.

    The last picture is flattened, not averaged: where a number stands in these arrays tells what
    it is.

    Parameters
    ----------
    image
        What is judged.
    told
        Numbers of what is told with it.
    channels
        After the first halving; twice as many each time, up to eight times.
    depth
        See above.
    """

    def __init__(self, image: Image, told: int, channels: int, depth: int) -> None:
        super().__init__()
        self.image = image
        blocks: list[nn.Module] = []
        before, height, width = image.channels, image.height, image.width
        for level in range(depth):
            after = channels * min(8, 2**level)
            blocks += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.LeakyReLU(_SLOPE)]
            before, height, width = after, (height + 1) // 2, (width + 1) // 2
        self.blocks = nn.Sequential(*blocks, nn.Flatten())
        self.head = nn.Sequential(
            *_dense(before * height * width + told, 8 * channels, False),
            nn.Linear(8 * channels, 1, bias=False),
        )

    def forward(self, arrays: Tensor, told: Tensor) -> Tensor:
        """(n,) of (n, ...), axes as the representation has them, and (n, told)."""
        seen = self.blocks(self.image.channels_first(arrays))
        judged: Tensor = self.head(torch.cat([seen, told], dim=1))
        return judged[:, 0]
