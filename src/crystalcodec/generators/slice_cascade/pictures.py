"""What the two stages see of a picture: the small one, standardised values, and crops."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["PictureScale", "crops", "reduced"]

_LEAST = 1e-4  # of a standard deviation: pictures that are all alike have none


def reduced(pictures: Tensor, factor: int) -> Tensor:
    """(n, c, h / factor, w / factor) means of squares of pixels."""
    return functional.avg_pool2d(pictures, factor)


def crops(pictures: Tensor, low: Tensor, crop: int) -> tuple[Tensor, Tensor]:
    """A square of each picture and the same square of its small picture, at a random place.

    Parameters
    ----------
    pictures : (n, c, size, size)
        Pictures.
    low : (n, c, size / factor, size / factor)
        Small ones; a square begins at the rim of one of their pixels, every such place equally
        likely.
    crop
        Pixels of a side, a multiple of the factor and at most the size.

    Returns
    -------
    (n, c, crop, crop), (n, c, crop / factor, crop / factor)
        By torch's global random numbers.
    """
    factor = pictures.shape[-1] // low.shape[-1]
    small = crop // factor
    places = torch.randint(low.shape[-1] - small + 1, (len(low), 2), device=low.device)
    return _cut(pictures, places * factor, crop), _cut(low, places, small)


def _cut(pictures: Tensor, places: Tensor, side: int) -> Tensor:
    """Squares of ``side`` pixels, the first row and column of each picture as told."""
    steps = torch.arange(side, device=pictures.device)
    rows = (places[:, 0, None] + steps)[:, None, :, None]
    columns = (places[:, 1, None] + steps)[:, None, None, :]
    n, c = pictures.shape[:2]
    index = torch.arange(n, device=pictures.device)[:, None, None, None]
    channels = torch.arange(c, device=pictures.device)[None, :, None, None]
    return pictures[index, channels, rows, columns]


class PictureScale(nn.Module):
    """Values less their mean, over their standard deviation: found once, kept with the weights.

    Also the standard deviation of the mean value of a picture, in these units: the mean value
    tells how many atoms there are.
    """

    mean: Tensor
    deviation: Tensor
    deviation_of_means: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("deviation", torch.ones(()))
        self.register_buffer("deviation_of_means", torch.ones(()))

    def fit(self, pictures: Tensor) -> None:
        """Find them in pictures (n, c, h, w)."""
        # By pictures, so that no copy of all of them in double precision is made.
        means = pictures.mean((1, 2, 3)).double()
        within = pictures.var((1, 2, 3), correction=0).double()
        between = means.var(correction=0)
        deviation = (within.mean() + between).sqrt().clamp(min=_LEAST)
        self.mean.copy_(means.mean())
        self.deviation.copy_(deviation)
        self.deviation_of_means.copy_((between.sqrt() / deviation).clamp(min=0.01))

    def standard(self, pictures: Tensor) -> Tensor:
        """Pictures of mean 0 and standard deviation 1."""
        return (pictures - self.mean) / self.deviation

    def undo(self, standard: Tensor) -> Tensor:
        """The way back."""
        return standard * self.deviation + self.mean
