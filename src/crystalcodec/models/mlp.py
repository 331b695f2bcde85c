"""MLP: dense layers on all numbers of a crystal's arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from crystalcodec.models.base import ModelError, Predictor, dense_head, fixed_arrays, flat_width
from crystalcodec.representations.base import Representation

__all__ = ["MLP"]


class MLP(Predictor):
    """Linear, BatchNorm and ReLU, layer after layer, on the flattened arrays.

    On IRCR (144 x 3) with the default sizes it is 432-1024-256-128-32-1.

    Parameters
    ----------
    representation
        Any whose arrays all have fixed shapes; they are flattened and joined in their order.
    n_targets
        Values predicted for each crystal.
    hidden
        Sizes of the hidden layers.
    dropout
        Fraction of hidden values set to zero in training.
    """

    name: ClassVar[str] = "mlp"

    def __init__(
        self,
        representation: Representation,
        n_targets: int = 1,
        *,
        hidden: Sequence[int] = (1024, 256, 128, 32),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        shapes, reason = fixed_arrays(representation)
        if reason:
            raise ModelError(f"model 'mlp' does not fit {representation.name!r}: {reason}")
        self.arrays = tuple(shapes)
        self.head = dense_head(flat_width(shapes), hidden, n_targets, dropout)

    @classmethod
    def fits(cls, representation: Representation) -> str | None:
        """Every representation whose arrays have fixed shapes fits."""
        return fixed_arrays(representation)[1]

    def forward(self, arrays: Mapping[str, Tensor]) -> Tensor:
        """(batch, n_targets) of arrays (batch, ...)."""
        flat = [arrays[name].flatten(1) for name in self.arrays]
        values: Tensor = self.head(flat[0] if len(flat) == 1 else torch.cat(flat, dim=1))
        return values
