"""What the training of a Wasserstein GAN measures: gradients of a critic, distances of samples."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["gradient_penalty", "sliced_wasserstein"]


def gradient_penalty(critic: Callable[[Tensor], Tensor], real: Tensor, made: Tensor) -> Tensor:
    """Mean of (norm of the critic's gradient less 1)² between real and made arrays.

    At one random point on the line between each pair, from torch's global random numbers, and in
    full precision whatever the training's is (Gulrajani et al., arXiv 1704.00028).

    Parameters
    ----------
    critic
        From (n, ...) to (n,).
    real, made : (n, ...)
        Pairs of arrays.
    """
    with torch.enable_grad(), torch.autocast(real.device.type, enabled=False):
        part = torch.rand(len(real), *[1] * (real.ndim - 1), device=real.device)
        between = torch.lerp(made.detach().float(), real.detach().float(), part).requires_grad_()
        (gradient,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
        penalty: Tensor = (gradient.flatten(1).norm(dim=1) - 1).square().mean()
        return penalty


def sliced_wasserstein(ones: Tensor, others: Tensor, n_directions: int = 256) -> Tensor:
    """Mean over random directions of the 1-Wasserstein distance between n and n projected arrays.

    The distance of two single arrays that differ by 1 in each entry is about sqrt(2 / pi) = 0.8,
    whatever their size. Directions come from torch's global random numbers. It is above 0 for two
    samples of one distribution, the more so the smaller they are.

    Parameters
    ----------
    ones, others : (n, ...)
        Two samples of the same size.

    References
    ----------
    Rabin et al., 10.1007/978-3-642-24785-9_37.
    """
    ones, others = ones.flatten(1).float(), others.flatten(1).float()
    size = ones.shape[1]
    directions = torch.nn.functional.normalize(
        torch.randn(size, n_directions, device=ones.device), dim=0
    )
    first, second = ((x @ directions).sort(dim=0).values for x in (ones, others))
    distance: Tensor = (first - second).abs().mean()
    return distance
