"""Guidance by a trained predictor: samples are moved to where it tells a wanted value.

The generator needs no condition on the property, and the predictor never saw noise: it judges
what the denoiser expects behind the noise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from crystalcodec.generators.edm import EDM, Denoiser
from crystalcodec.models.base import ModelError

__all__ = ["PredictorGuidance", "checked_guidance", "guided_by_predictor"]

Predict = Callable[[Mapping[str, Tensor]], Tensor]


@dataclass(frozen=True)
class PredictorGuidance:
    """A property that samples are to have, and what tells it.

    Parameters
    ----------
    predict
        From arrays of the representation, in its units, to the property, (n,), with slopes.
    value
        What is wanted.
    tolerance
        How far off it may be, a standard deviation, in the unit of the property; above 0.
    strength
        1 for what follows from the tolerance, more to overdo it; 0 for nothing.

    Raises
    ------
    ModelError
        Numbers that are not finite, a tolerance not above 0, a strength below 0.
    """

    predict: Predict
    value: float
    tolerance: float
    strength: float = 1.0

    def __post_init__(self) -> None:
        numbers = torch.tensor([self.value, self.tolerance, self.strength])
        if not (bool(numbers.isfinite().all()) and self.tolerance > 0 and self.strength >= 0):
            raise ModelError(
                f"value {self.value}, tolerance {self.tolerance}, strength {self.strength}: wanted "
                "finite numbers, a tolerance above 0 and a strength of at least 0"
            )


def checked_guidance(
    guidance: PredictorGuidance | Sequence[PredictorGuidance] | None,
) -> tuple[PredictorGuidance, ...]:
    """One, several or none, as a tuple.

    Raises
    ------
    ModelError
        Anything else.
    """
    if guidance is None:
        return ()
    several: tuple[Any, ...] = (
        tuple(guidance) if isinstance(guidance, list | tuple) else (guidance,)
    )
    for one in several:
        if not isinstance(one, PredictorGuidance):
            raise ModelError(
                f"predictor_guidance holds {type(one).__name__}, wanted PredictorGuidance"
            )
    return several


def guided_by_predictor(
    denoise: Denoiser,
    guidance: Sequence[PredictorGuidance],
    arrays: Callable[[Tensor], Mapping[str, Tensor]],
    edm: EDM,
) -> Denoiser:
    """A denoiser whose estimates are moved down the gradient of the predictor's squared error.

    Of data of variance d² about the estimate x̂ has at a noise level σ the variance
    v = σ²d² / (σ² + d²). Where the predictor f has the gradient g at x̂, a value y that is known
    to τ moves the expected data to

        x̂ + s v g (y - f(x̂)) / (τ² + v |g|²)

    with the strength s. For normal data of variance d² and a linear predictor this is exact with
    s = 1: samples come from the distribution given y. The denoiser itself is not differentiated.
    No move is longer than the spread of what it moves, √v in root mean square.

    Parameters
    ----------
    arrays
        The arrays of a representation that an estimate stands for, with slopes.

    References
    ----------
    Dhariwal and Nichol, arXiv 2105.05233; the variance of the estimate as by Song et al.,
    Pseudoinverse-guided diffusion models, ICLR 2023.
    """
    if not guidance:
        return denoise

    def moved(x: Tensor, sigma: Tensor) -> Tensor:
        estimate = denoise(x, sigma)
        variance = sigma.square() * edm.data**2 / (sigma.square() + edm.data**2)
        move = torch.zeros_like(estimate)
        for one in guidance:
            told, slope = _told(one.predict, arrays, estimate)
            flat = (-1, *[1] * (x.ndim - 1))
            steep = slope.flatten(1).square().sum(1)
            share = (one.value - told) / (one.tolerance**2 + variance * steep)
            own = (one.strength * variance * share).view(flat) * slope
            # What the predictor cannot tell of, such as a cell that closes nowhere, moves nothing.
            move = move + own.nan_to_num(0.0, 0.0, 0.0)
        length = move.flatten(1).square().mean(1).sqrt()
        allowed = (variance.sqrt() / length.clamp(min=1e-12)).clamp(max=1.0)
        return estimate + move * allowed.view(-1, *[1] * (x.ndim - 1))

    return moved


def _told(
    predict: Predict, arrays: Callable[[Tensor], Mapping[str, Tensor]], estimate: Tensor
) -> tuple[Tensor, Tensor]:
    """What the predictor tells of estimates, (n,), and its gradient there."""
    with torch.enable_grad():
        point = estimate.detach().requires_grad_()
        told = predict(arrays(point))
        if told.shape != (len(estimate),):
            raise ModelError(
                f"the predictor told values of shape {tuple(told.shape)} of {len(estimate)} "
                "samples: wanted one each"
            )
        (slope,) = torch.autograd.grad(told.sum(), point, allow_unused=True)
    return told.detach(), torch.zeros_like(estimate) if slope is None else slope
