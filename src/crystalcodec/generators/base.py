"""The contract of every generator: arrays of a representation in, arrays like them out."""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from crystalcodec.crystals import Crystals
from crystalcodec.generators.conditions import (
    Conditions,
    Wanted,
)
from crystalcodec.models.base import ModelError, refused_parameters
from crystalcodec.registry import GENERATORS, did_you_mean, load
from crystalcodec.representations.base import Representation

__all__ = [
    "Batch",
    "Generator",
    "LatentGenerator",
    "build_generator",
    "check_weights",
    "generator_parameters",
]

Batch = Mapping[str, Tensor]


class Generator(nn.Module, ABC):
    """A network that makes arrays of a representation like those that it was trained on.

    A leaf takes the representation and the conditions first, then its own parameters, all with
    defaults; it declares :meth:`fits` and implements :meth:`prepare`, :meth:`forward` and
    :meth:`sample`. Arrays come in and go out in the representation's own units: what a leaf does
    to them (scaling, cosines and sines of periodic numbers, categories as bits) is its own, found
    in :meth:`prepare` and kept in buffers, so that the weights tell all. Which numbers are
    continuous, periodic or categorical it reads from ``representation.fields``.

    Batches hold the arrays by name, and for each condition ``"condition.<name>"``, (n, size),
    NaN where a crystal has no value.

    Attributes
    ----------
    name
        Name in the registry.
    own_conditions
        Of ``formula``, ``elements`` and ``space_group`` those that it can keep to without having
        been trained with a condition of that name.
    """

    name: ClassVar[str]
    own_conditions: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, representation: Representation, conditions: Conditions) -> None:
        super().__init__()
        reason = self.fits(representation)
        if reason:
            raise ModelError(
                f"generator {self.name!r} does not fit {representation.name!r}: {reason}"
            )
        self.representation = representation
        self.conditions = conditions

    @classmethod
    @abstractmethod
    def fits(cls, representation: Representation) -> str | None:
        """Why this generator cannot work on that representation; None where it can."""

    @abstractmethod
    def prepare(self, crystals: Crystals, arrays: Batch) -> None:
        """Find in training data what must be known before the first step.

        Parameters
        ----------
        crystals
            All training crystals that the representation holds.
        arrays
            The arrays of them, or of a random part where all would not fit into memory.
        """

    @abstractmethod
    def forward(self, batch: Batch) -> Tensor:
        """The loss of a batch, a scalar; random numbers are drawn from torch's global ones."""

    def figures(self, batch: Batch) -> dict[str, Tensor]:
        """Figures of held-out crystals, lower is better; the first is the one to watch.

        Called in evaluation mode, with the same random numbers each time. Means over a batch.
        """
        return {"loss": self.forward(batch)}

    @abstractmethod
    def sample(
        self, n: int, wanted: Wanted, random: torch.Generator, **settings: Any
    ) -> dict[str, Tensor]:
        """Arrays of n new crystals, in the representation's units.

        Parameters
        ----------
        wanted
            What they are to be; :meth:`check` has let it pass.
        random
            All random numbers come from it (it lives on the CPU).
        settings
            Those of :meth:`sample_settings`.
        """

    @classmethod
    def sample_settings(cls) -> dict[str, Any]:
        """Settings of :meth:`sample` with their defaults: ``steps``, ``guidance`` and so on."""
        known = list(inspect.signature(cls.sample).parameters.values())[4:]
        return {p.name: p.default for p in known if p.kind is p.KEYWORD_ONLY}

    def check(self, wanted: Wanted) -> None:
        """Raise ConditionError where this generator cannot be asked for that."""
        self.conditions.check(wanted, self.own_conditions)

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return next(self.parameters()).device


class LatentGenerator(Generator):
    """A generator with a code for each crystal: arrays to codes and back."""

    @abstractmethod
    def encode(self, batch: Batch) -> Tensor:
        """(n, ...) codes of arrays, without noise."""

    @abstractmethod
    def decode(self, codes: Tensor, batch: Batch | None = None) -> dict[str, Tensor]:
        """Arrays of codes; ``batch`` holds conditions, where the decoder reads any."""


def build_generator(
    name: str, representation: Representation, conditions: Conditions, **parameters: Any
) -> Generator:
    """The generator of that name for a representation.

    Raises
    ------
    UnknownNameError
        If there is no generator of that name.
    ModelError
        A parameter that it does not have or cannot take, or a representation that it does not
        fit.
    """
    generator: type[Generator] = load(GENERATORS, name)
    known = generator_parameters(name, **parameters)
    with refused_parameters("generator", name):
        return generator(representation, conditions, **known)


def check_weights(**weights: object) -> None:
    """Raise ModelError where a weight of a part of the loss is no finite number of 0 or more."""
    for name, value in weights.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not (number and 0 <= float(value) < math.inf):  # type: ignore[arg-type]
            raise ModelError(f"{name} is {value!r}, wanted a finite number of at least 0")


def generator_parameters(name: str, **parameters: Any) -> dict[str, Any]:
    """The given parameters of a generator, and the defaults of the others; for a run's record.

    Raises as :func:`build_generator` does.
    """
    # The first two are the representation and the conditions.
    known = dict(list(inspect.signature(load(GENERATORS, name)).parameters.items())[2:])
    for parameter in parameters:
        if parameter not in known:
            raise ModelError(
                f"generator {name!r} has no parameter {parameter!r}{did_you_mean(parameter, known)}"
            )
    return {key: parameters.get(key, entry.default) for key, entry in known.items()}
