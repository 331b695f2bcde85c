"""Samples of a generator: arrays of new crystals, and what they decode to."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
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

__all__ = ["Sampled", "iter_samples", "sample_arrays"]


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
    began = time.perf_counter()
    parts = []
    for part in iter_samples(
        generator, n, wanted, seed=seed, batch_size=batch_size, settings=settings
    ):
        parts.append(part)
        progress(sum(map(_length, parts)))
    arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    representation = generator.representation
    decoded = None
    if isinstance(representation, InvertibleRepresentation):
        decoded = representation.decode(arrays)
    return Sampled(arrays, decoded, time.perf_counter() - began)


def iter_samples(
    generator: Generator,
    n: int,
    wanted: Wanted | None = None,
    *,
    seed: int = 0,
    batch_size: int = 250,
    settings: Mapping[str, Any] | None = None,
) -> Iterator[dict[str, npt.NDArray[Any]]]:
    """The arrays of :func:`sample_arrays`, a batch at a time, for more than fit into memory.

    Each batch has random numbers of its own, so that it does not depend on those before it.
    Parameters and errors are those of :func:`sample_arrays`; errors come at once.
    """
    wanted = wanted or Wanted()
    if n < 1 or batch_size < 1:
        raise ModelError(f"{n} samples in batches of {batch_size}: wanted at least 1 of each")
    chosen = dict(settings or {})
    _check_settings(generator, chosen)
    generator.check(wanted)

    def batches() -> Iterator[dict[str, npt.NDArray[Any]]]:
        training = generator.training
        generator.eval()
        try:
            for start in range(0, n, batch_size):
                size = min(batch_size, n - start)
                random = torch.Generator().manual_seed((seed * 1_000_003 + start) % 2**63)
                with torch.no_grad():
                    made = generator.sample(size, wanted, random, **chosen)
                yield {name: tensor.float().cpu().numpy() for name, tensor in made.items()}
        finally:
            generator.train(training)

    return batches()


def _length(arrays: Mapping[str, npt.NDArray[Any]]) -> int:
    return len(next(iter(arrays.values())))


def _check_settings(generator: Generator, settings: Mapping[str, Any]) -> None:
    """Raise ModelError for a setting that is not known, or of another kind than its default."""
    known = generator.sample_settings()
    for name, value in settings.items():
        if name not in known:
            raise ModelError(
                f"generator {generator.name!r} has no setting {name!r}{did_you_mean(name, known)}"
            )
        default = known[name]
        kinds: tuple[type, ...] = (type(default),)
        if isinstance(default, float):
            kinds = (int, float)
        if not isinstance(default, bool | int | float | str):
            continue
        sound = not isinstance(value, float) or math.isfinite(value)
        same = isinstance(value, kinds) and isinstance(value, bool) == isinstance(default, bool)
        if not (sound and same):
            raise ModelError(
                f"setting {name} of generator {generator.name!r} is {value!r}: wanted such as "
                f"{default!r}"
            )
