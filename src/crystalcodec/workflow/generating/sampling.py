"""Samples of a generator: arrays of new crystals, and what they decode to."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from crystalcodec.crystals import Crystals
from crystalcodec.generators.base import Generator
from crystalcodec.generators.conditions import Wanted
from crystalcodec.models.base import ModelError
from crystalcodec.registry import did_you_mean
from crystalcodec.representations.base import Decoded, InvertibleRepresentation

__all__ = ["Sampled", "sample_arrays"]


@dataclass(frozen=True, eq=False)
class Sampled:
    """What a generator made.

    Parameters
    ----------
    arrays
        By name, n samples along the first axis, in the representation's units.
    decoded
        The crystals of them, and a failure for each other sample; None where the representation
        cannot be decoded.
    seconds
        That sampling and decoding took.
    """

    arrays: Mapping[str, npt.NDArray[Any]]
    decoded: Decoded | None
    seconds: float

    @property
    def n(self) -> int:
        """Number of samples."""
        return len(next(iter(self.arrays.values())))

    def of_each(self) -> tuple[list[Crystals | None], list[str]]:
        """The crystal of each sample or None, and why there is none; empty without decoding."""
        if self.decoded is None:
            return [], []
        crystals: list[Crystals | None] = [None] * self.n
        for place, crystal in zip(self.decoded.index.tolist(), self.decoded.crystals, strict=True):
            crystals[place] = crystal
        reasons = [""] * self.n
        for failure in self.decoded.failures:
            reasons[failure.index] = failure.reason
        return crystals, reasons


def sample_arrays(
    generator: Generator,
    n: int,
    wanted: Wanted | None = None,
    *,
    seed: int = 0,
    batch_size: int = 250,
    settings: Mapping[str, Any] | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> Sampled:
    """Sample a generator and decode what it makes.

    The same arguments give the same samples on the same machine; ``batch_size`` is one of them.

    Parameters
    ----------
    n
        Number of samples.
    wanted
        What they are to be; anything where None.
    batch_size
        Samples made at a time.
    settings
        Of the generator's ``sample``: ``steps``, ``guidance`` and so on.
    progress
        Called with the number of samples done.

    Raises
    ------
    ConditionError
        A wish that makes no sense, or that the generator was not trained for.
    ModelError
        A setting that it does not have; no samples asked for.
    """
    wanted = wanted or Wanted()
    settings = dict(settings or {})
    if n < 1 or batch_size < 1:
        raise ModelError(f"{n} samples in batches of {batch_size}: wanted at least 1 of each")
    known = generator.sample_settings()
    for name in settings:
        if name not in known:
            raise ModelError(
                f"generator {generator.name!r} has no setting {name!r}{did_you_mean(name, known)}"
            )
    generator.check(wanted)
    began = time.perf_counter()
    training = generator.training
    generator.eval()
    parts: list[dict[str, npt.NDArray[Any]]] = []
    try:
        for start in range(0, n, batch_size):
            size = min(batch_size, n - start)
            # A generator a batch, so that a batch does not depend on those before it.
            random = torch.Generator().manual_seed((seed * 1_000_003 + start) % 2**63)
            with torch.no_grad():
                made = generator.sample(size, wanted, random, **settings)
            parts.append({name: tensor.float().cpu().numpy() for name, tensor in made.items()})
            progress(start + size)
    finally:
        generator.train(training)
    arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    representation = generator.representation
    decoded = None
    if isinstance(representation, InvertibleRepresentation):
        decoded = representation.decode(arrays)
    return Sampled(arrays, decoded, time.perf_counter() - began)
