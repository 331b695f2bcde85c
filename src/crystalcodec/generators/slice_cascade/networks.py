"""The denoisers of the two stages: U-Nets of diffusers on squares of pixels."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

import torch
from torch import Tensor, nn
from torch.nn import functional

from crystalcodec.generators.edm import EDM
from crystalcodec.models.base import ModelError

__all__ = ["PictureNet", "denoised_mean", "least_multiple"]

_TIME = 250.0  # of the logarithm of a noise level: the U-Net's waves are made for 0 to 1,000
_HEAD = 16  # channels of a head of attention
_HIDDEN = 64  # channels that leave the U-Net


def least_multiple(patch: int, channels: Sequence[int]) -> int:
    """What the sides of a :class:`PictureNet`'s pictures are multiples of, in pixels.

    Raises
    ------
    ModelError
        No channels, or not multiples of 16.
    """
    if not channels or any(not isinstance(c, int) or c < 16 or c % 16 for c in channels):
        raise ModelError(f"channels {list(channels)}: wanted multiples of 16, one at least")
    return patch << (len(channels) - 1)


class PictureNet(nn.Module):
    """A U-Net (diffusers' ``UNet2DModel``) that sees each square of pixels as one place.

    What it is shown is joined once more to what it makes: at low noise EDM asks a network for the
    noise itself, pixel by pixel, which does not pass through the normalisations of a U-Net of few
    channels.

    Parameters
    ----------
    inner, outer
        Channels of a picture that is denoised, and of one that is shown beside it, of one pixel a
        square.
    patch
        Pixels of the side of a square: their values are the channels of one place.
    channels
        Of each level, multiples of 16; the side is halved between two.
    blocks
        Residual blocks a level.
    attention
        Whether places of the last level, and in the middle, look at each other.
    """

    def __init__(
        self,
        inner: int,
        outer: int,
        patch: int,
        channels: Sequence[int],
        blocks: int,
        *,
        attention: bool,
    ) -> None:
        super().__init__()
        diffusers = import_module("diffusers")
        self.patch = patch
        attends = [False] * (len(channels) - 1) + [attention]
        self.unet = diffusers.UNet2DModel(
            in_channels=inner * patch**2 + outer,
            out_channels=_HIDDEN,
            layers_per_block=blocks,
            block_out_channels=tuple(channels),
            down_block_types=tuple("AttnDownBlock2D" if a else "DownBlock2D" for a in attends),
            up_block_types=tuple("AttnUpBlock2D" if a else "UpBlock2D" for a in attends[::-1]),
            norm_num_groups=8,
            attention_head_dim=_HEAD,
            class_embed_type="identity",
            add_attention=attention,
            resnet_time_scale_shift="scale_shift",
        )
        self.width = 4 * channels[0]
        seen = inner * patch**2 + outer
        self.join = nn.Conv2d(_HIDDEN + seen, 2 * _HIDDEN, 1)
        self.level = nn.Sequential(nn.Linear(1, 64), nn.SiLU(), nn.Linear(64, 4 * _HIDDEN))
        self.out = nn.Conv2d(2 * _HIDDEN, inner * patch**2, 1)
        # An output of 0 is the best guess of a network that knows nothing.
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def forward(
        self, pictures: Tensor, level: Tensor, told: Tensor, beside: Tensor | None = None
    ) -> Tensor:
        """What EDM wants of a network.

        Parameters
        ----------
        pictures : (n, inner, h, w)
            With noise, of standard deviation 1.
        level : (n,)
            ``EDM.told`` of the noise level.
        told : (n, width)
            What else is known.
        beside : (n, outer, h / patch, w / patch)
            The picture shown beside it.
        """
        places = functional.pixel_unshuffle(pictures, self.patch)
        if beside is not None:
            places = torch.cat([places, beside], dim=1)
        made = self.unet(places, _TIME * level, class_labels=told).sample
        factor, shift = self.level(4 * level[:, None])[:, :, None, None].chunk(2, dim=1)
        joined = self.join(torch.cat([made, places], dim=1)) * (1 + factor) + shift
        made = self.out(functional.silu(joined))
        pixels: Tensor = functional.pixel_shuffle(made.float(), self.patch)
        return pixels


def denoised_mean(edm: EDM, sigma: Tensor, mean: Tensor, told: Tensor, pixels: int) -> Tensor:
    """The mean of a denoised picture, preconditioned as a number of its own.

    Noise of the deviation sigma in every pixel is noise of sigma / sqrt(pixels) in the mean, so
    that the mean, which tells how many atoms there are, is settled at noise levels at which single
    pixels tell nothing, and as one mode of thousands counts for nothing in their squared error.

    Parameters
    ----------
    edm
        With the standard deviation of means as that of the data.
    sigma : (n,)
        Noise of the pixels.
    mean, told : (n,)
        Mean of the noisy picture, and what the network says of it.
    pixels
        Of a picture.
    """
    keep, out, _ = edm.scales(sigma / pixels**0.5)
    return keep * mean + out * told
