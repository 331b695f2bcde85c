"""The contract of every predictor: arrays of a representation in, property values out."""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from crystalcodec.registry import MODELS, did_you_mean, load
from crystalcodec.representations.base import Representation

__all__ = [
    "ModelError",
    "Predictor",
    "all_parameters",
    "build_model",
    "count_parameters",
    "dense_head",
    "refused_parameters",
]


class ModelError(ValueError):
    """A model that does not fit a representation, or parameters that it does not have."""


class Predictor(nn.Module, ABC):
    """A network from the arrays of a representation to property values.

    A leaf takes the representation and ``n_targets`` first, then its own parameters, all with
    defaults; it declares :meth:`fits` and implements :meth:`forward`. It neither scales its
    arrays nor knows what a target is: the workflow does that around any model, saves it with the
    weights and undoes it.

    Attributes
    ----------
    name
        Name in the registry.
    unscaled
        Arrays that it needs in their own units: the workflow leaves them as they are, whatever
        scaling it is told.
    """

    name: ClassVar[str]
    unscaled: ClassVar[tuple[str, ...]] = ()

    @classmethod
    @abstractmethod
    def fits(cls, representation: Representation) -> str | None:
        """Why this model cannot work on that representation; None where it can."""

    @abstractmethod
    def forward(self, arrays: Mapping[str, Tensor]) -> Tensor:
        """Predict.

        Parameters
        ----------
        arrays
            The arrays of a batch by name, as the representation declares them. Where it has
            ragged axes, their arrays are joined along them, and ``"<axis>_crystals"`` holds for
            each of their rows the number of its crystal in the batch.

        Returns
        -------
        (batch, n_targets)
            One row for each crystal.
        """

    def recorded(self) -> dict[str, Any]:
        """What a run's record holds of the network beside its parameters: weights it began with."""
        return {}


def build_model(
    name: str, representation: Representation, n_targets: int = 1, **parameters: Any
) -> Predictor:
    """The model of that name for a representation.

    Raises
    ------
    UnknownNameError
        If there is no model of that name.
    ModelError
        A parameter that the model does not have or cannot take, or a representation that it
        does not fit.
    """
    model: type[Predictor] = load(MODELS, name)
    parameters = all_parameters(name, **parameters)
    reason = model.fits(representation)
    if reason:
        raise ModelError(f"model {name!r} does not fit {representation.name!r}: {reason}")
    with refused_parameters("model", name):
        return model(representation, n_targets, **parameters)


@contextmanager
def refused_parameters(what: str, name: str) -> Iterator[None]:
    """Turn what a constructor raises at a value of the wrong kind into a ModelError."""
    try:
        yield
    except (TypeError, ValueError, RuntimeError) as error:
        if type(error).__module__.startswith("crystalcodec."):
            raise
        raise ModelError(f"{what} {name!r} cannot take these parameters: {error}") from error


def all_parameters(name: str, **parameters: Any) -> dict[str, Any]:
    """The given parameters of a model, and the defaults of the others; for a run's record.

    Raises as :func:`build_model` does.
    """
    # The first two are the representation and the number of targets.
    known = dict(list(inspect.signature(load(MODELS, name)).parameters.items())[2:])
    for parameter in parameters:
        if parameter not in known:
            raise ModelError(
                f"model {name!r} has no parameter {parameter!r}{did_you_mean(parameter, known)}"
            )
    return {key: parameters.get(key, entry.default) for key, entry in known.items()}


def count_parameters(model: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def dense_head(
    width: int, hidden: Sequence[int], n_targets: int, dropout: float = 0.0
) -> nn.Module:
    """Linear, BatchNorm, ReLU for each hidden size, then one linear layer to the targets."""
    if not 0 <= dropout < 1:
        raise ModelError(f"dropout is {dropout!r}, wanted a number from 0 to below 1")
    layers: list[nn.Module] = []
    for size in _sizes("hidden", hidden):
        layers += [nn.Linear(width, size), nn.BatchNorm1d(size), nn.ReLU()]
        if dropout:
            layers.append(nn.Dropout(dropout))
        width = size
    return nn.Sequential(*layers, FullPrecisionLinear(width, n_targets))


class FullPrecisionLinear(nn.Linear):
    """A linear layer that stays in the precision of its weights under autocast.

    The last layer of a regressor: bfloat16 has three digits, so a value of -3.05 eV/atom would
    be rounded by up to 8 meV/atom, a good part of the error that is being measured.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's own name
        """(batch, out_features) of (batch, in_features)."""
        with torch.autocast(input.device.type, enabled=False):
            return super().forward(input.to(self.weight.dtype))


def fixed_arrays(representation: Representation) -> tuple[dict[str, tuple[int, ...]], str | None]:
    """Shapes of the arrays that have no ragged axis, and why there are others, if there are."""
    ragged = [
        field for field in representation.fields if any(isinstance(n, str) for n in field.shape)
    ]
    if ragged:
        axes = sorted({n for field in ragged for n in field.shape if isinstance(n, str)})
        return {}, f"its axes {', '.join(axes)} differ from crystal to crystal; wanted fixed shapes"
    return {name: tuple(map(int, shape)) for name, shape in representation.shapes().items()}, None


def flat_width(shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Numbers a crystal has in arrays of these shapes."""
    return sum(math.prod(shape) for shape in shapes.values())


def _sizes(name: str, sizes: Sequence[int]) -> tuple[int, ...]:
    if isinstance(sizes, str) or not isinstance(sizes, Sequence):
        raise ModelError(f"{name} is {sizes!r}, wanted a list of whole numbers of at least 1")
    for size in sizes:
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise ModelError(f"{name} is {list(sizes)}, wanted whole numbers of at least 1")
    return tuple(sizes)
