"""The network of a run: the model itself, or the model and last layers that take inputs, too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from crystalcodec.models.base import FullPrecisionLinear, Predictor, build_model
from crystalcodec.representations.base import Representation
from crystalcodec.workflow.config import RunConfig

__all__ = ["InputNetwork", "build_network"]


class InputNetwork(Predictor):
    """A predictor that describes a crystal, and last layers on that and on given inputs.

    The inputs are standardised; the last linear layer sees them beside the hidden values, so that
    a sum or difference of them needs nothing to be learnt around it.

    Parameters
    ----------
    predictor
        Gives ``width`` values for each crystal.
    n_inputs
        Inputs of each crystal, ``arrays["inputs"]`` of (batch, n_inputs).
    """

    name: ClassVar[str] = "inputs"

    input_mean: Tensor
    input_std: Tensor

    def __init__(self, predictor: Predictor, width: int, n_inputs: int, n_outputs: int) -> None:
        super().__init__()
        self.predictor = predictor
        self.hidden = nn.Linear(width + n_inputs, width)
        self.last = FullPrecisionLinear(width + n_inputs, n_outputs)
        self.register_buffer("input_mean", torch.zeros(n_inputs))
        self.register_buffer("input_std", torch.ones(n_inputs))

    @classmethod
    def fits(cls, representation: Representation) -> str | None:
        """Whatever its predictor fits."""
        del representation
        return None

    def fit_inputs(self, values: Tensor) -> None:
        """Take mean and spread of the (m, n_inputs) inputs of training crystals."""
        std = values.double().std(dim=0, correction=0)
        self.input_mean.copy_(values.double().mean(dim=0))
        self.input_std.copy_(torch.where(std > 0, std, 1.0))

    def recorded(self) -> dict[str, Any]:
        """What the record of a run holds of its predictor."""
        return self.predictor.recorded()

    def forward(self, arrays: Mapping[str, Tensor]) -> Tensor:
        """(batch, n_outputs)."""
        given = (arrays["inputs"] - self.input_mean) / self.input_std
        described = functional.silu(self.predictor(arrays).float())
        hidden = functional.silu(self.hidden(torch.cat([described, given], dim=1)))
        outputs: Tensor = self.last(torch.cat([hidden.float(), given], dim=1))
        return outputs


def build_network(
    config: RunConfig,
    model: Mapping[str, Any],
    representation: Representation,
    n_outputs: int,
    n_inputs: int,
) -> Predictor:
    """The network of a run, with random weights.

    ``model`` is the model's name and parameters. Raises as
    :func:`~crystalcodec.models.base.build_model` does.
    """
    parameters = {key: value for key, value in model.items() if key != "name"}
    if not n_inputs:
        return build_model(model["name"], representation, n_outputs, **parameters)
    width = config.inputs.width
    predictor = build_model(model["name"], representation, width, **parameters)
    return InputNetwork(predictor, width, n_inputs, n_outputs)
