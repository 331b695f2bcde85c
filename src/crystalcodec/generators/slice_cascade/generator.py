"""SliceCascade: small pictures of slices by diffusion, and the large ones of them by another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

import torch
from torch import Tensor, nn

from crystalcodec.crystals import Crystals
from crystalcodec.generators.base import Batch, Generator
from crystalcodec.generators.conditions import ConditionEmbedding, Conditions, Wanted
from crystalcodec.generators.edm import EDM, Denoiser, guided, run_sampler
from crystalcodec.generators.slice_cascade.networks import (
    PictureNet,
    denoised_mean,
    least_multiple,
)
from crystalcodec.generators.slice_cascade.pictures import PictureScale, crops, reduced
from crystalcodec.models.base import ModelError
from crystalcodec.models.images import image_of
from crystalcodec.representations.base import Representation
from crystalcodec.representations.slices import DensitySlices

__all__ = ["SliceCascade"]

_HIGH: Final = 400.0  # the noise of 64 x 64 pixels of 400 is one of 6 in their mean
_HIGH_LARGE: Final = 40.0
_LOW: Final = 0.01
_TOGETHER: Final = 1 << 21  # pixels of large pictures that are made together


class SliceCascade(Generator):
    """Pictures of slices in two stages, after Ho et al. (cascaded diffusion, arXiv 2106.15282).

    The first stage makes small pictures, whose pixels are means of squares of ``factor`` pixels,
    by EDM diffusion (Karras et al., arXiv 2206.00364). The second makes the large one in the same
    way, shown the small one, to which noise is added, so that it forgives what the first stage
    does badly; it is trained on crops. Both are U-Nets that see squares of pixels as one place,
    and are trained together: the loss is the sum of the losses of both.

    The mean of a small picture, which tells how many atoms there are, has a preconditioning and a
    part of the loss of its own. The weights of modes do not change what minimises the squared
    error; they change how soon it is learnt.

    Values are standardised by one mean and one standard deviation, of the small pictures and of
    the large ones, and cut to 0 to 1 in the end. Several planes of a crystal are channels.

    Parameters
    ----------
    representation
        ``density_slices``.
    conditions
        Any; the first stage is told.
    factor
        Pixels of the large picture, a side, that are one of the small one.
    patch
        Pixels of the small picture, a side, that the first network sees as one place.
    channels, blocks
        Of the first U-Net: of each level, multiples of 16; residual blocks a level.
    large_channels, large_blocks
        Of the second.
    crop
        Pixels of a side of the crops of the large picture.
    large_share
        Share of the crystals of a batch that the second stage is trained with.
    mean_weight
        Of the loss of the mean of small pictures.
    drop
        Share of crystals that each condition is left out of in training.
    level_mean, level_deviation, large_level_mean, large_level_deviation
        Of the logarithms of the noise levels of training. A pattern that repeats is settled at
        noise levels at which a single pixel tells nothing: the first stage trains at high ones.
    most_noise
        Added to the small pictures that the second stage is shown in training, from 0 to so many
        of their standard deviations.
    """

    name: ClassVar[str] = "slice_cascade"

    def __init__(
        self,
        representation: Representation,
        conditions: Conditions,
        *,
        factor: int = 4,
        patch: int = 2,
        channels: Sequence[int] = (32, 64, 96),
        blocks: int = 1,
        large_channels: Sequence[int] = (48, 64),
        large_blocks: int = 1,
        crop: int = 64,
        large_share: float = 1.0,
        mean_weight: float = 0.1,
        drop: float = 0.1,
        level_mean: float = 1.2,
        level_deviation: float = 1.6,
        large_level_mean: float = 0.0,
        large_level_deviation: float = 1.3,
        most_noise: float = 0.5,
    ) -> None:
        super().__init__(representation, conditions)
        image, _ = image_of(representation)
        assert image is not None
        self.image = image
        side = image.width
        counts = {"factor": factor, "patch": patch, "blocks": blocks, "large_blocks": large_blocks}
        _check_counts(counts)
        _check_shares(large_share, most_noise, mean_weight)
        unit = least_multiple(factor, large_channels)
        _check_side("size", side, side, factor * least_multiple(patch, channels))
        _check_side("size", side, side, unit)
        _check_side("crop", crop, side, unit)
        self.factor, self.crop, self.most_noise = factor, crop, most_noise
        self.large_share, self.mean_weight = large_share, mean_weight
        self.pixels = image.channels * (side // factor) ** 2
        self.edm = EDM(low=_LOW, high=_HIGH, log_mean=level_mean, log_deviation=level_deviation)
        self.large_edm = EDM(
            low=_LOW,
            high=_HIGH_LARGE,
            log_mean=large_level_mean,
            log_deviation=large_level_deviation,
        )
        planes = image.channels
        self.small = PictureNet(planes, 0, patch, channels, blocks, attention=True)
        self.large = PictureNet(
            planes, planes, factor, large_channels, large_blocks, attention=False
        )
        self.told = ConditionEmbedding(conditions, self.small.width, drop)
        self.brightness = nn.Sequential(nn.Linear(2, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU())
        self.brightness_told = nn.Linear(64, self.small.width)
        self.brightness_out = nn.Linear(64, 1)
        nn.init.zeros_(self.brightness_out.weight)
        nn.init.zeros_(self.brightness_out.bias)
        self.noise_told = nn.Sequential(
            nn.Linear(1, 64), nn.SiLU(), nn.Linear(64, self.large.width)
        )
        self.small_scale, self.large_scale = PictureScale(), PictureScale()

    @classmethod
    def fits(cls, representation: Representation) -> str | None:
        """Made slices; each has its planes as channels."""
        image, reason = image_of(representation)
        if reason or not isinstance(representation, DensitySlices):
            return reason or "it is not of pictures of slices; wanted density_slices"
        assert image is not None
        return None

    def prepare(self, crystals: Crystals, arrays: Batch) -> None:
        """Mean and spread of small and large pictures."""
        pictures = self.image.channels_first(arrays[self.image.array])
        self.large_scale.fit(pictures)
        self.small_scale.fit(reduced(pictures, self.factor))

    def forward(self, batch: Batch) -> Tensor:
        """Sum of the losses of both stages."""
        small, large = self._losses(batch)
        return small + large

    def figures(self, batch: Batch) -> dict[str, Tensor]:
        """The loss, and those of the stages."""
        small, large = self._losses(batch)
        return {"loss": small + large, "small_loss": small, "large_loss": large}

    def _losses(self, batch: Batch) -> tuple[Tensor, Tensor]:
        pictures = self.image.channels_first(batch[self.image.array]).float()
        low = reduced(pictures, self.factor)
        small = self._small_loss(self.small_scale.standard(low), batch)
        n = max(1, round(self.large_share * len(pictures)))
        cut, shown = crops(pictures[:n], low[:n], self.crop)
        large = self._large_loss(self.large_scale.standard(cut), self.small_scale.standard(shown))
        return small, large

    def _small_loss(self, clean: Tensor, batch: Batch) -> Tensor:
        sigma = self.edm.levels(len(clean), clean.device)
        noisy = clean + sigma.view(-1, 1, 1, 1) * torch.randn_like(clean)
        told = self.told(batch, len(clean))
        error = self._small(noisy, sigma, told) - clean
        means = error.mean((1, 2, 3))
        edm = self._edm_of_means()
        weights = edm.weights(sigma / self.pixels**0.5)
        squares = (error - means.view(-1, 1, 1, 1)).square().mean((1, 2, 3))
        loss = self.edm.weights(sigma) * squares + self.mean_weight * weights * means.square()
        return loss.mean()

    def _large_loss(self, clean: Tensor, shown: Tensor) -> Tensor:
        sigma = self.large_edm.levels(len(clean), clean.device)
        noisy = clean + sigma.view(-1, 1, 1, 1) * torch.randn_like(clean)
        added = self.most_noise * torch.rand(len(clean), device=clean.device)
        shown = shown + added.view(-1, 1, 1, 1) * torch.randn_like(shown)
        error = self._large(noisy, sigma, shown, added) - clean
        return (self.large_edm.weights(sigma) * error.square().mean((1, 2, 3))).mean()

    def _edm_of_means(self) -> EDM:
        return EDM(data=float(self.small_scale.deviation_of_means))

    def _small(self, noisy: Tensor, sigma: Tensor, told: Tensor) -> Tensor:
        """Small pictures without noise, standardised."""
        edm, level = self._edm_of_means(), self.edm.told(sigma)
        mean = noisy.mean((1, 2, 3))
        standard = mean * edm.scales(sigma / self.pixels**0.5)[2]
        known = self.brightness(torch.stack([standard, level], dim=1))
        keep, out, scale = (s.view(-1, 1, 1, 1) for s in self.edm.scales(sigma))
        made = self.small(scale * noisy, level, told + self.brightness_told(known))
        said = self.brightness_out(known).float()[:, 0] + made.mean((1, 2, 3))
        denoised: Tensor = keep * noisy + out * made
        shift = denoised_mean(edm, sigma, mean, said, self.pixels) - denoised.mean((1, 2, 3))
        return torch.add(denoised, shift.view(-1, 1, 1, 1))

    def _large(self, noisy: Tensor, sigma: Tensor, shown: Tensor, added: Tensor) -> Tensor:
        """Large pictures without noise, standardised; ``added`` (n,) is the noise in ``shown``."""
        keep, out, scale = (s.view(-1, 1, 1, 1) for s in self.large_edm.scales(sigma))
        told = self.noise_told(added[:, None])
        made = self.large(scale * noisy, self.large_edm.told(sigma), told, shown)
        denoised: Tensor = keep * noisy + out * made
        return denoised

    def sample(  # type: ignore[override]
        self,
        n: int,
        wanted: Wanted,
        random: torch.Generator,
        *,
        steps: int = 30,
        large_steps: int = 10,
        noise: float = 0.1,
        guidance: float = 1.0,
        sampler: str = "dpm",
    ) -> dict[str, Tensor]:
        """Pictures of n new slices, from 0 to 1.

        Parameters
        ----------
        wanted, random
            As of every generator.
        steps, large_steps
            Of the first and the second stage.
        noise
            Added to the small pictures that the second stage is shown, in their standard
            deviations; at most ``most_noise`` was learnt.
        guidance
            1: as learnt; above 1: more of what is wanted.
        sampler
            Of ``generators.edm``.
        """
        low = self.sample_small(n, wanted, random, steps=steps, guidance=guidance, sampler=sampler)
        pictures = self.enlarge(low, random, steps=large_steps, noise=noise, sampler=sampler)
        if self.image.layout == "hw":
            pictures = pictures[:, 0]
        return {self.image.array: pictures}

    def sample_small(
        self,
        n: int,
        wanted: Wanted,
        random: torch.Generator,
        *,
        steps: int = 30,
        guidance: float = 1.0,
        sampler: str = "dpm",
    ) -> Tensor:
        """(n, c, size / factor, size / factor) what the first stage makes; see :meth:`sample`."""
        side = self.image.width // self.factor
        start = torch.randn(n, self.image.channels, side, side, generator=random).to(self.device)
        told = self.told(self.conditions.batch(wanted, n, self.device), n)
        denoise = self._denoiser(told)
        if wanted and guidance != 1:
            denoise = guided(denoise, self._denoiser(self.told({}, n)), guidance)
        made = run_sampler(denoise, start, random, edm=self.edm, steps=steps, sampler=sampler)
        return self.small_scale.undo(made).clamp(0, 1)

    def enlarge(
        self,
        low: Tensor,
        random: torch.Generator,
        *,
        steps: int = 10,
        noise: float = 0.1,
        sampler: str = "dpm",
    ) -> Tensor:
        """(n, c, size, size) large pictures of small ones, 0 to 1; see :meth:`sample`.

        Raises
        ------
        ModelError
            More noise than was learnt.
        """
        if not 0 <= noise <= self.most_noise:
            raise ModelError(f"noise is {noise}, wanted 0 to {self.most_noise}, which was learnt")
        side = self.image.width
        shape = (len(low), self.image.channels, side, side)
        start = torch.randn(shape, generator=random).to(self.device)
        shown = self.small_scale.standard(low.to(self.device))
        shown = shown + noise * torch.randn(shown.shape, generator=random).to(self.device)
        n = max(1, _TOGETHER // start[0].numel())
        parts = [
            run_sampler(
                self._large_denoiser(own, noise),
                first,
                random,
                edm=self.large_edm,
                steps=steps,
                sampler=sampler,
            )
            for own, first in zip(torch.split(shown, n), torch.split(start, n), strict=True)
        ]
        return self.large_scale.undo(torch.cat(parts)).clamp(0, 1)

    def _denoiser(self, told: Tensor) -> Denoiser:
        def denoise(x: Tensor, sigma: Tensor) -> Tensor:
            return self._small(x, sigma, told)

        return denoise

    def _large_denoiser(self, shown: Tensor, noise: float) -> Denoiser:
        added = torch.full((len(shown),), float(noise), device=self.device)

        def denoise(x: Tensor, sigma: Tensor) -> Tensor:
            return self._large(x, sigma, shown, added)

        return denoise

    def extra_repr(self) -> str:
        """Sizes of both pictures."""
        side = self.image.width
        return f"{side // self.factor} to {side} pixels"


def _check_counts(counts: Mapping[str, int]) -> None:
    for name, value in counts.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ModelError(f"{name} is {value!r}, wanted a whole number of at least 1")


def _check_shares(large_share: float, most_noise: float, mean_weight: float) -> None:
    if not (0 < large_share <= 1 and 0 <= most_noise < 100 and 0 <= mean_weight < 1e6):
        raise ModelError(
            f"large_share {large_share}, most_noise {most_noise}, mean_weight {mean_weight}: "
            "wanted a share above 0, and numbers of at least 0"
        )


def _check_side(name: str, given: int, side: int, unit: int) -> None:
    if given < 1 or given > side or given % unit:
        raise ModelError(
            f"{name} is {given} pixels, wanted a multiple of {unit} and at most {side} (factor and "
            "patch times 2 for each halving of the networks)"
        )
