"""Where the training of a generator gets its arrays from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from crystalcodec.crystals import Crystals
from crystalcodec.representations.base import Representation
from crystalcodec.workflow.config import ConfigError
from crystalcodec.workflow.samples import redescribe

__all__ = ["ArraySource", "CrystalArrays"]

_MOST_BYTES: Final = 1 << 30  # arrays larger than this are made batch by batch


@dataclass
class CrystalArrays:
    """Batches of the arrays of crystals, kept in memory where they fit, made anew where not.

    Parameters
    ----------
    crystals
        Crystals that the representation holds.
    extra
        Further arrays, one row a crystal (conditions).
    """

    crystals: Crystals
    representation: Representation
    extra: Mapping[str, npt.NDArray[Any]]
    device: torch.device
    _kept: dict[str, Tensor] | None = field(default=None, repr=False)

    @property
    def n(self) -> int:
        """Number of crystals."""
        return len(self.crystals)

    def batch(self, index: Tensor) -> dict[str, Tensor]:
        """Arrays and extra arrays of the crystals at these positions."""
        if self._kept is None and self.representation.n_bytes(self.crystals) <= _MOST_BYTES:
            self._kept = self._arrays(np.arange(self.n))
        if self._kept is not None:
            return {name: tensor.index_select(0, index) for name, tensor in self._kept.items()}
        return self._arrays(index.cpu().numpy())

    def _arrays(self, index: npt.NDArray[np.int64]) -> dict[str, Tensor]:
        encoded = self.representation.encode(self.crystals[index])
        if len(encoded) < len(index):
            first = encoded.failures[0]
            raise ConfigError(
                f"{len(encoded.failures)} crystals that could be encoded cannot after an "
                f"augmentation, the first for {first.reason} ({first.detail}): leave it out"
            )
        extra = {name: array[index] for name, array in self.extra.items()}
        return {
            name: torch.from_numpy(np.require(array, requirements=["C", "W"])).to(self.device)
            for name, array in {**encoded.arrays, **extra}.items()
        }


@dataclass
class ArraySource:
    """A source of a training loop: the crystals, described anew each epoch where names say so.

    A crystal whose new description the representation cannot hold keeps its own in that epoch.
    """

    crystals: Crystals
    representation: Representation
    extra: Mapping[str, npt.NDArray[Any]]
    names: tuple[str, ...]
    seed: int
    device: torch.device
    _kept: CrystalArrays | None = field(default=None, repr=False)

    @property
    def n(self) -> int:
        """Crystals in an epoch."""
        return len(self.crystals)

    def epoch(self, epoch: int) -> CrystalArrays:
        """What depends on seed and epoch alone, so that a resumed run sees the same."""
        if self._kept is not None:
            return self._kept
        crystals = self.crystals
        if self.names:
            drawn = redescribe(crystals, self.names, np.random.default_rng([self.seed, epoch]))
            # A description that cannot be held (turned out of the cube, say) is not taken.
            out = [failure.index for failure in self.representation.refuse(drawn)]
            order = np.arange(self.n)
            order[out] += self.n
            crystals = Crystals.concatenate([drawn, crystals])[order] if out else drawn
        arrays = CrystalArrays(crystals, self.representation, self.extra, self.device)
        if not self.names:
            self._kept = arrays
        return arrays
