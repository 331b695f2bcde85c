"""CNN1d: convolutions along the rows of an array, then the dense layers of the MLP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from crystalcodec.models.base import ModelError, Predictor, dense_head, fixed_arrays
from crystalcodec.representations.base import Representation

__all__ = ["CNN1d"]


class _Convolution(nn.Conv1d):
    """Conv1d of pictures of one row, (batch, channels, 1, length).

    With the channels last in memory, as arrays have them, a CPU is done sooner than with the
    one-dimensional kernels.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  (torch's name)
        return conv2d(
            input,
            self.weight[:, :, None],
            self.bias,
            (1, self.stride[0]),
            (0, int(self.padding[0])),
        )


class CNN1d(Predictor):
    """Conv1d, LeakyReLU 0.2 and BatchNorm along the rows, flatten, then dense layers.

    The array is (length, channels): its rows are the positions, its columns the channels. On IRCR
    (144 x 3) with the defaults it is 3-64-128-256-256 channels over 144, 72, 36, 18, 18 rows,
    flattened to 256 x 18, then 1024-256-128-32-1.

    Parameters
    ----------
    representation
        Any with one array of two axes.
    n_targets
        Values predicted for each crystal.
    channels, kernels, strides, paddings
        One entry for each convolution.
    hidden
        Sizes of the dense hidden layers.
    dropout
        Fraction of dense hidden values set to zero in training.
    """

    name: ClassVar[str] = "cnn1d"

    def __init__(
        self,
        representation: Representation,
        n_targets: int = 1,
        *,
        channels: Sequence[int] = (64, 128, 256, 256),
        kernels: Sequence[int] = (5, 5, 5, 3),
        strides: Sequence[int] = (2, 2, 2, 1),
        paddings: Sequence[int] = (2, 2, 2, 1),
        hidden: Sequence[int] = (1024, 256, 128, 32),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        reason = self.fits(representation)
        if reason:
            raise ModelError(f"model 'cnn1d' does not fit {representation.name!r}: {reason}")
        lists = {"channels": channels, "kernels": kernels, "strides": strides, "paddings": paddings}
        if len({len(entries) for entries in lists.values()}) != 1:
            shown = ", ".join(f"{name} {list(entries)}" for name, entries in lists.items())
            raise ModelError(f"wanted one entry a convolution in each list, got {shown}")
        ((self.array, (length, width)),) = fixed_arrays(representation)[0].items()
        layers: list[nn.Module] = []
        for size, kernel, stride, padding in zip(*lists.values(), strict=True):
            length = (length + 2 * padding - kernel) // stride + 1
            if length < 1:
                raise ModelError(
                    f"after {len(layers) // 3 + 1} convolutions no row is left: smaller kernels or "
                    "strides, or fewer convolutions, fit this array"
                )
            layers += [
                _Convolution(width, size, kernel, stride, padding),
                nn.LeakyReLU(0.2),
                nn.BatchNorm2d(size),
            ]
            width = size
        self.convolutions = nn.Sequential(*layers)
        self.head = dense_head(width * length, hidden, n_targets, dropout)

    @classmethod
    def fits(cls, representation: Representation) -> str | None:
        """Representations of one array (length, channels) fit."""
        shapes, reason = fixed_arrays(representation)
        if reason:
            return reason
        if len(shapes) != 1 or len(next(iter(shapes.values()))) != 2:
            shown = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
            return f"it has {shown}; wanted one array (length, channels)"
        if next(iter(shapes.values()))[0] == 1:
            return "its array has one row: nothing to convolve along"
        return None

    def forward(self, arrays: Mapping[str, Tensor]) -> Tensor:
        """(batch, n_targets) of one array (batch, length, channels)."""
        rows = arrays[self.array].transpose(1, 2)[:, :, None]
        rows = rows.contiguous(memory_format=torch.channels_last)
        values: Tensor = self.head(self.convolutions(rows).flatten(1))
        return values
