"""Diffusion by EDM: noise levels and weights of training, and samplers, around any denoiser.

The one seam is ``denoise(x, sigma) -> x without noise``; what x is, and what a network does to
tell, is a generator's own. The samplers step with the schedulers of diffusers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from crystalcodec.models.base import ModelError
from crystalcodec.registry import did_you_mean

__all__ = ["EDM", "SAMPLERS", "Denoiser", "guided", "run_sampler"]

SAMPLERS: Final = {
    "dpm": "deterministic: DPM-Solver++, second order, multistep",
    "sde": "stochastic: the same solver of the stochastic equation",
}

Denoiser = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class EDM:
    """Noise levels, preconditioning and weights of Karras et al., arXiv 2206.00364.

    Parameters
    ----------
    data
        Standard deviation of the data, which are centred.
    low, high
        Noise levels that sampling goes between.
    log_mean, log_deviation
        Of the logarithms of the noise levels of training.
    """

    data: float = 1.0
    low: float = 0.002
    high: float = 80.0
    log_mean: float = -0.5
    log_deviation: float = 1.2

    def levels(self, n: int, device: torch.device) -> Tensor:
        """(n,) random noise levels for training, log-normal, from torch's global numbers.

        One from each of n parts of equal probability, in random order: a batch then sees all
        levels, and its loss varies less.
        """
        parts = (torch.randperm(n, device=device) + torch.rand(n, device=device)) / n
        normal = torch.special.ndtri(parts.double().clamp(1e-6, 1 - 1e-6)).float()
        levels: Tensor = (self.log_mean + self.log_deviation * normal).exp()
        return levels

    def scales(self, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the noisy input is kept with, the network's output and its input multiplied by."""
        total = sigma.square() + self.data**2
        return self.data**2 / total, sigma * self.data / total.sqrt(), total.rsqrt()

    def weights(self, sigma: Tensor) -> Tensor:
        """Weight of the squared error at a noise level, so that every level counts alike."""
        return (sigma.square() + self.data**2) / (sigma * self.data).square()

    @staticmethod
    def told(sigma: Tensor) -> Tensor:
        """What a network is told of a noise level."""
        return sigma.log() / 4


def guided(denoise: Denoiser, blank: Denoiser, guidance: float) -> Denoiser:
    """Classifier-free guidance: away from what is made without the condition.

    1 for the condition as it was learnt, above 1 for more of it (Ho and Salimans, arXiv
    2207.12598).
    """
    if guidance == 1:
        return denoise

    def both(x: Tensor, sigma: Tensor) -> Tensor:
        without = blank(x, sigma)
        return without + guidance * (denoise(x, sigma) - without)

    return both


def run_sampler(
    denoise: Denoiser,
    start: Tensor,
    random: torch.Generator,
    *,
    edm: EDM,
    steps: int = 30,
    sampler: str = "dpm",
) -> Tensor:
    """Samples from noise.

    Parameters
    ----------
    denoise
        From x of the shape of ``start`` and noise levels (n,) to the expected x without noise.
    start : (n, ...)
        Normal random numbers of deviation 1.
    random
        Of the stochastic sampler.
    steps
        Calls of ``denoise``.
    sampler
        ``dpm`` or ``sde``.

    Raises
    ------
    ModelError
        No such sampler, or fewer than two steps.
    """
    if sampler not in SAMPLERS:
        raise ModelError(f"no sampler {sampler!r}{did_you_mean(sampler, SAMPLERS)}")
    if steps < 2:
        raise ModelError(f"{steps} steps: wanted at least 2")
    scheduler = _scheduler(edm, sampler)
    scheduler.set_timesteps(steps)
    x: Tensor = start * scheduler.init_noise_sigma
    times = zip(scheduler.sigmas[:-1].tolist(), scheduler.timesteps, strict=True)
    for sigma, time in times:
        level = torch.full((len(x),), sigma, device=x.device)
        keep, out, _ = edm.scales(level[0])
        # The scheduler wants the network's output, of which it makes this again.
        told = (denoise(x, level) - keep * x) / out
        x = scheduler.step(told, time, x, generator=random, return_dict=False)[0]
    return x


def _scheduler(edm: EDM, sampler: str) -> Any:
    # Imported when first used: it takes a second.
    from diffusers import EDMDPMSolverMultistepScheduler

    kind = "dpmsolver++" if sampler == "dpm" else "sde-dpmsolver++"
    return EDMDPMSolverMultistepScheduler(  # type: ignore[no-untyped-call]
        sigma_min=edm.low,
        sigma_max=edm.high,
        sigma_data=edm.data,
        solver_order=2,
        algorithm_type=kind,
        final_sigmas_type="zero",
    )
