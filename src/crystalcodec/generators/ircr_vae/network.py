"""Encoder, decoder and property branches, as published."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from crystalcodec.models.base import FullPrecisionLinear

__all__ = ["RowDecoder", "RowEncoder", "branch", "padded_rows"]

_STRIDES = 8  # three convolutions halve the rows


def padded_rows(rows: int) -> int:
    """Rows of zeros are added below until they can be halved three times."""
    return -(-rows // _STRIDES) * _STRIDES


class RowEncoder(nn.Module):
    """Four convolutions along the rows, a dense layer, mean and logarithm of the variance.

    Three convolutions of five rows and stride 2 and one of three rows and stride 1, each with a
    leaky ReLU (0.2) and batch normalisation after it; then one dense layer with a sigmoid.

    Parameters
    ----------
    columns, rows
        Of the image.
    channels
        Of the four convolutions.
    hidden
        Of the dense layer.
    code
        Numbers of a code.
    """

    def __init__(
        self, columns: int, rows: int, channels: Sequence[int], hidden: int, code: int
    ) -> None:
        super().__init__()
        self.rows = padded_rows(rows)
        layers: list[nn.Module] = []
        for i, size in enumerate(channels):
            kernel, stride = (3, 1) if i == 3 else (5, 2)
            layers += [
                nn.Conv1d(columns, size, kernel, stride, kernel // 2),
                nn.LeakyReLU(0.2),
                nn.BatchNorm1d(size),
            ]
            columns = size
        self.convolutions = nn.Sequential(*layers)
        self.dense = nn.Sequential(
            nn.Flatten(), nn.Linear(columns * self.rows // _STRIDES, hidden), nn.Sigmoid()
        )
        self.mean = FullPrecisionLinear(hidden, code)
        self.log_variance = FullPrecisionLinear(hidden, code)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """(n, code) each, of (n, rows, columns)."""
        image = nn.functional.pad(image.transpose(1, 2), (0, self.rows - image.shape[1]))
        found = self.dense(self.convolutions(image))
        return self.mean(found), self.log_variance(found).clamp(-12, 8)


class RowDecoder(nn.Module):
    """The mirror image: two dense layers, four transposed convolutions, one of width one.

    Batch normalisation stands before each transposed convolution and a ReLU after it. What comes
    out has no sigmoid yet.

    Parameters as of :class:`RowEncoder`; ``outputs`` is the number of columns that come out.
    """

    def __init__(
        self, outputs: int, rows: int, channels: Sequence[int], hidden: int, code: int
    ) -> None:
        super().__init__()
        self.rows, self.deepest = rows, channels[3]
        short = padded_rows(rows) // _STRIDES
        self.dense = nn.Sequential(
            nn.Linear(code, hidden), nn.ReLU(), nn.Linear(hidden, channels[3] * short)
        )
        layers: list[nn.Module] = []
        sizes = [channels[3], channels[3], channels[2], channels[1], channels[0]]
        for i in range(4):
            kernel, stride = (3, 1) if i == 0 else (5, 2)
            layers += [
                nn.BatchNorm1d(sizes[i]),
                nn.ConvTranspose1d(
                    sizes[i], sizes[i + 1], kernel, stride, kernel // 2, output_padding=stride - 1
                ),
                nn.ReLU(),
            ]
        self.convolutions = nn.Sequential(*layers, nn.Conv1d(channels[0], outputs, 1))

    def forward(self, codes: Tensor) -> Tensor:
        """(n, rows, outputs) of (n, code)."""
        found = self.dense(codes).view(len(codes), self.deepest, -1)
        image: Tensor = self.convolutions(found)[..., : self.rows].transpose(1, 2)
        # Losses and arrays want more digits than bfloat16 has.
        return image.float()


def branch(code: int) -> nn.Module:
    """Dense layers of 128 and 32 with ReLU, and one number."""
    return nn.Sequential(
        nn.Linear(code, 128),
        nn.ReLU(),
        nn.Linear(128, 32),
        nn.ReLU(),
        FullPrecisionLinear(32, 1),
    )


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """(n,) nats: of normal distributions from the standard one, summed over the code."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)


def drawn(mean: Tensor, log_variance: Tensor) -> Tensor:
    """(n, code) one random code of each posterior."""
    return mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
