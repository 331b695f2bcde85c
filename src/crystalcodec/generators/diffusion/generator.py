"""Diffusion: the arrays of a representation from noise, by a U-Net."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final, Literal

import torch
from torch import Tensor, nn

from crystalcodec.crystals import Crystals
from crystalcodec.generators.base import Batch, Generator
from crystalcodec.generators.conditions import ConditionEmbedding, Conditions, Wanted
from crystalcodec.generators.diffusion.layout import layout_of
from crystalcodec.generators.diffusion.network import LevelEmbedding, UNet
from crystalcodec.generators.diffusion.scaling import ArrayScaling
from crystalcodec.generators.edm import EDM, Denoiser, guided, run_sampler
from crystalcodec.generators.guidance import (
    PredictorGuidance,
    checked_guidance,
    guided_by_predictor,
)
from crystalcodec.models.base import ModelError
from crystalcodec.representations.base import Representation

__all__ = ["Diffusion"]

_WIDTHS: Final = {1: (64, 96, 128), 2: (32, 64, 96), 3: (16, 32, 64)}
_GROUP: Final = 8


class Diffusion(Generator):
    """Arrays as one-, two- or three-dimensional pictures, by EDM diffusion.

    The network is a U-Net (:class:`~crystalcodec.generators.diffusion.network.UNet`) over the
    axes that the ``layouts`` of the representation name; other axes are channels. Numbers beside
    the picture (such as cell parameters) are noised as they are, shown to the network as constant
    channels and read back by the mean over all places. Places have learned vectors, since rows
    and columns of such pictures mean something; along the axes of a unit cell convolutions go
    round instead. What is scaled how is said at
    :class:`~crystalcodec.generators.diffusion.scaling.ArrayScaling`. Conditions are added to what
    tells the noise level.

    Parameters
    ----------
    representation
        Any with arrays of fixed shape of which one, or several of one size, have axes.
    conditions
        Any.
    axes
        ``h``, ``hw`` or ``dhw``, the axes that the network goes over; None for all that the
        layouts name, save that the depth of UniMat counts atoms.
    widths
        Channels of each level, multiples of 8; by the number of axes where None.
    blocks
        Residual blocks of each level.
    attention
        How many of the last levels have attention.
    places
        Channels of the learned vectors of places; 0 for none.
    periodic
        ``plain`` as published, or ``embed``: periodic numbers as cosines and sines.
    dropout
        In residual blocks.
    drop
        Share of crystals that each condition is left out of in training.
    level_mean, level_deviation
        Of the logarithms of the noise levels of training.
    high
        The noise level that sampling begins with, in standard deviations of the data.

    References
    ----------
    EDM: Karras et al., arXiv 2206.00364. On IRCR: DiffCrysGen, arXiv 2510.12329; on UniMat: Yang
    et al., arXiv 2311.09235; on CrysTens: Alverson et al., 10.1039/D3DD00137G.
    """

    name: ClassVar[str] = "diffusion"

    def __init__(
        self,
        representation: Representation,
        conditions: Conditions,
        *,
        axes: str | None = None,
        widths: Sequence[int] | None = None,
        blocks: int = 1,
        attention: int = 1,
        places: int = 8,
        periodic: Literal["plain", "embed"] = "plain",
        dropout: float = 0.0,
        drop: float = 0.1,
        level_mean: float = -0.5,
        level_deviation: float = 1.4,
        high: float = 40.0,
    ) -> None:
        super().__init__(representation, conditions)
        layout, reason = layout_of(representation, axes)
        if layout is None:
            raise ModelError(
                f"generator {self.name!r} does not fit {representation.name!r}: {reason}"
            )
        dims = len(layout.axes)
        widths = tuple(_WIDTHS[dims] if widths is None else widths)
        _check(widths, blocks, attention, places)
        if periodic not in ("plain", "embed"):
            raise ModelError(f"periodic is {periodic!r}, wanted 'plain' or 'embed'")
        if not (high > 0.01 and level_deviation > 0 and 0 <= dropout < 1 and 0 <= drop <= 1):
            raise ModelError(
                f"high {high}, level_deviation {level_deviation}, dropout {dropout}, drop {drop}: "
                "wanted above 0.01, above 0, from 0 to below 1, from 0 to 1"
            )
        self.edm = EDM(high=high, log_mean=level_mean, log_deviation=level_deviation)
        self.scaling = ArrayScaling(representation, layout, periodic == "embed")
        channels = self.scaling.n_channels + self.scaling.n_row
        n_places = 0 if layout.periodic else places
        self.places = nn.Parameter(torch.randn(n_places, *layout.size))
        told = 4 * widths[0]
        self.levels = LevelEmbedding(told)
        self.told = ConditionEmbedding(conditions, told, drop)
        self.network = UNet(
            dims,
            channels + n_places,
            channels,
            widths,
            blocks,
            attention,
            told,
            periodic=layout.periodic,
            dropout=dropout,
        )

    @classmethod
    def fits(cls, representation: Representation) -> str | None:
        """Tables, pictures and volumes of fixed shape fit."""
        return layout_of(representation)[1]

    def prepare(self, crystals: Crystals, arrays: Batch) -> None:
        """Find the scaling of the arrays."""
        self.scaling.fit(arrays)

    def forward(self, batch: Batch) -> Tensor:
        """Weighted squared error of the denoiser: of the picture plus of the numbers beside it."""
        return self.figures(batch)["loss"]

    def figures(self, batch: Batch) -> dict[str, Tensor]:
        """The loss, and both parts of it where there are two."""
        picture, row = self.scaling(batch)
        n = len(picture)
        sigma = self.edm.levels(n, picture.device)
        clean = torch.cat([picture.flatten(1), row], dim=1)
        noisy = clean + torch.randn_like(clean) * sigma[:, None]
        told = self.levels(self.edm.told(sigma)) + self.told(batch, n)
        errors = (self._denoised(noisy, sigma, told) - clean).square()
        weights = self.edm.weights(sigma)
        size = picture[0].numel()
        varies, row_varies = self.scaling.varies.sum(), self.scaling.row_varies.sum()
        of_picture = (weights * errors[:, :size].sum(1)).mean() / varies.clamp(min=1)
        if not self.scaling.n_row:
            return {"loss": of_picture}
        of_row = (weights * errors[:, size:].sum(1)).mean() / row_varies.clamp(min=1)
        return {"loss": of_picture + of_row, "picture": of_picture, "beside": of_row}

    def _denoised(self, x: Tensor, sigma: Tensor, told: Tensor) -> Tensor:
        """(n, m) what is expected behind the noise, of pictures and rows as one row each."""
        scaling = self.scaling
        keep, out, inward = (scale[:, None] for scale in self.edm.scales(sigma))
        varies = torch.cat([scaling.varies.flatten(), scaling.row_varies])
        x = x * varies
        picture, row = self._split(inward * x)
        seen = [picture, self.places.expand(len(x), *self.places.shape)]
        if scaling.n_row:
            shape = (*row.shape, *[1] * (picture.ndim - 2))
            seen.append(row.view(shape).expand(*row.shape, *picture.shape[2:]))
        raw = self.network(torch.cat(seen, dim=1), told).float()
        n = scaling.n_channels
        flat = torch.cat([raw[:, :n].flatten(1), raw[:, n:].flatten(2).mean(2)], dim=1)
        return (keep * x + out * flat) * varies

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures (n, channels, *size) and rows of numbers."""
        shape = self.scaling.varies.shape
        size = shape.numel()
        return x[:, :size].reshape(-1, *shape), x[:, size:]

    def sample(  # type: ignore[override]
        self,
        n: int,
        wanted: Wanted,
        random: torch.Generator,
        *,
        steps: int = 30,
        sampler: str = "dpm",
        guidance: float = 1.0,
        predictor_guidance: PredictorGuidance | Sequence[PredictorGuidance] | None = None,
    ) -> dict[str, Tensor]:
        """Arrays of n new crystals.

        Parameters
        ----------
        steps, sampler, guidance
            See :mod:`crystalcodec.generators.edm`.
        predictor_guidance
            One or several, see :mod:`crystalcodec.generators.guidance`.
        """
        guides = checked_guidance(predictor_guidance)
        batch = self.conditions.batch(wanted, n, self.device)

        def denoiser(told: Tensor) -> Denoiser:
            def denoise(x: Tensor, sigma: Tensor) -> Tensor:
                return self._denoised(x, sigma, self.levels(self.edm.told(sigma)) + told)

            return denoise

        denoise = denoiser(self.told(batch, n))
        if wanted and len(self.conditions):
            denoise = guided(denoise, denoiser(self.told({}, n)), guidance)
        denoise = guided_by_predictor(denoise, guides, self._arrays, self.edm)
        size = self.scaling.varies.numel() + self.scaling.n_row
        start = torch.randn(n, size, generator=random).to(self.device)
        x = run_sampler(denoise, start, random, edm=self.edm, steps=steps, sampler=sampler)
        return self._arrays(x)

    def _arrays(self, x: Tensor) -> dict[str, Tensor]:
        return self.scaling.arrays(*self._split(x))


def _check(widths: tuple[Any, ...], blocks: Any, attention: Any, places: Any) -> None:
    if not widths or any(not _whole(width, _GROUP) or width % _GROUP for width in widths):
        raise ModelError(f"widths is {list(widths)}, wanted multiples of {_GROUP}, one a level")
    for name, value, least in (("blocks", blocks, 1), ("attention", attention, 0)):
        if not _whole(value, least):
            raise ModelError(f"{name} is {value!r}, wanted a whole number of at least {least}")
    if attention > len(widths):
        raise ModelError(f"attention is {attention}, there are {len(widths)} levels (widths)")
    if not _whole(places, 0):
        raise ModelError(f"places is {places!r}, wanted a whole number of at least 0")


def _whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
