"""Samples: the arrays of many crystals in memory as tensors, and batches of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from crystalcodec.crystals import Crystals
from crystalcodec.data.augmentation import augment
from crystalcodec.models.scaling import Scaling
from crystalcodec.registry import AUGMENTATIONS, load
from crystalcodec.representations.base import Encoded, Representation
from crystalcodec.workflow.config import ConfigError

__all__ = [
    "AugmentedCrystals",
    "Batch",
    "Batches",
    "Samples",
    "Source",
    "encode_samples",
    "ragged_arrays",
    "redescribe",
    "split_share",
]

Batch = Mapping[str, Tensor]


@dataclass(frozen=True)
class Samples:
    """Tensors of n crystals, all on one device.

    Parameters
    ----------
    n
        Number of crystals.
    tensors
        By name; crystals along the first axis, or a ragged axis named in ``axes``.
    offsets
        By ragged axis, (n + 1,): rows of crystal ``i`` are ``offsets[i]:offsets[i + 1]``.
    axes
        The ragged axis of each tensor that has one.
    """

    n: int
    tensors: Mapping[str, Tensor]
    offsets: Mapping[str, Tensor] = field(default_factory=dict)
    axes: Mapping[str, str] = field(default_factory=dict)

    def batch(self, index: Tensor) -> dict[str, Tensor]:
        """The crystals at these positions.

        Rows along a ragged axis are joined, without padding; ``"<axis>_crystals"`` tells the
        place in the batch of the crystal that each row belongs to.
        """
        chosen: dict[str, Tensor] = {}
        rows: dict[str, Tensor] = {}
        for axis, offsets in self.offsets.items():
            counts = (offsets[1:] - offsets[:-1]).index_select(0, index)
            starts = counts.cumsum(0) - counts
            owner = torch.repeat_interleave(torch.arange(len(index), device=index.device), counts)
            first = offsets.index_select(0, index) - starts
            rows[axis] = torch.arange(len(owner), device=index.device) + first[owner]
            chosen[f"{axis}_crystals"] = owner
        for name, tensor in self.tensors.items():
            ragged = self.axes.get(name)
            chosen[name] = tensor.index_select(0, index if ragged is None else rows[ragged])
        return chosen


class Batches(Protocol):
    """What batches can be taken from: :class:`Samples`, or what makes them when asked."""

    @property
    def n(self) -> int:
        """Number of crystals."""

    def batch(self, index: Tensor) -> dict[str, Tensor]:
        """The crystals at these positions."""


class Source(Protocol):
    """Where a training gets the samples of an epoch from."""

    @property
    def n(self) -> int:
        """Crystals in an epoch."""

    def epoch(self, epoch: int) -> Batches:
        """The samples of that epoch: the same ones whenever it is asked for again."""


def ragged_arrays(representation: Representation) -> dict[str, str]:
    """The ragged axis along which each array is cut into crystals, for arrays that have one."""
    return {
        f.array: f.shape[0]
        for f in representation.fields
        if f.shape and isinstance(f.shape[0], str)
    }


def encode_samples(
    encoded: Encoded,
    scaling: Scaling,
    ragged: Mapping[str, str],
    device: torch.device,
    extra: Mapping[str, npt.NDArray[Any]] | None = None,
) -> Samples:
    """Scaled tensors of encoded crystals, with ``extra`` arrays (one row a crystal) beside them."""
    arrays = {**scaling.apply(encoded.arrays), **(extra or {})}

    def tensor(array: npt.NDArray[Any]) -> Tensor:
        # Copied only where torch cannot share it: columns of crystals are read-only.
        return torch.from_numpy(np.require(array, requirements=["C", "W"])).to(device)

    return Samples(
        len(encoded),
        {name: tensor(array) for name, array in arrays.items()},
        {axis: tensor(offsets) for axis, offsets in encoded.offsets.items()},
        dict(ragged),
    )


def redescribe(crystals: Crystals, names: Sequence[str], rng: np.random.Generator) -> Crystals:
    """Apply augmentations in their order; ``"name@0.5"`` to a random half of the crystals."""
    for entry in names:
        name, share = split_share(entry)
        drawn = np.flatnonzero(rng.random(len(crystals)) < share) if share < 1 else None
        if drawn is None:
            crystals = augment(crystals, [name], rng)
        elif len(drawn):
            both = Crystals.concatenate([crystals, augment(crystals[drawn], [name], rng)])
            order = np.arange(len(crystals))
            order[drawn] = len(crystals) + np.arange(len(drawn))
            crystals = both[order]
    return crystals


def split_share(entry: str) -> tuple[str, float]:
    """Name and share of an augmentation given as ``"name"`` or ``"name@share"``.

    Raises
    ------
    ConfigError
        A share that is no number above 0 and at most 1.
    UnknownNameError
        A name that is none of an augmentation.
    """
    name, at, text = entry.partition("@")
    load(AUGMENTATIONS, name)
    try:
        share = float(text) if at else 1.0
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise ConfigError(f"augmentation {entry!r}: wanted a share above 0 and at most 1 after @")
    return name, share


@dataclass
class AugmentedCrystals:
    """A source that describes its crystals anew each epoch; the same each time without names.

    Parameters
    ----------
    crystals
        Crystals that the representation can hold.
    extra
        Further arrays, one row a crystal (targets).
    make
        From encoded crystals and extra arrays to samples.
    """

    crystals: Crystals
    representation: Representation
    extra: Mapping[str, npt.NDArray[Any]]
    names: tuple[str, ...]
    seed: int
    make: Callable[[Encoded, Mapping[str, npt.NDArray[Any]]], Samples]
    _kept: Samples | None = field(default=None, repr=False)

    @property
    def n(self) -> int:
        """Crystals in an epoch."""
        return len(self.crystals)

    def epoch(self, epoch: int) -> Samples:
        """Samples that depend on seed and epoch alone, so that a resumed run sees the same."""
        if self._kept is not None:
            return self._kept
        crystals = self.crystals
        if self.names:
            crystals = redescribe(crystals, self.names, np.random.default_rng([self.seed, epoch]))
        encoded = self.representation.encode(crystals)
        samples = self.make(encoded, {k: a[encoded.index] for k, a in self.extra.items()})
        if not self.names:
            self._kept = samples
        return samples
