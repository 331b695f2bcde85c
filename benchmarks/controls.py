"""What the convolution does for IRCR: the same recipe with the order of the rows destroyed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from crystalcodec import Crystals
from crystalcodec.representations.base import Arrays, Field, Representation
from crystalcodec.representations.ircr import IRCR


@dataclass(frozen=True)
class ShuffledIRCR(Representation):
    """IRCR with its rows in one fixed random order: the same numbers, no neighbourhood."""

    name: ClassVar[str] = "ircr_shuffled"
    lost: ClassVar[str] = "the orientation of the crystal in space"
    invariances: ClassVar = frozenset({"rotation"})

    seed: int = 0

    @property
    def fields(self) -> tuple[Field, ...]:
        return (Field("rows", "continuous", self.name, (144, 3)),)

    def refuse(self, crystals: Crystals) -> list[Any]:
        return IRCR().refuse(crystals)

    def _encode(self, crystals: Crystals) -> dict[str, npt.NDArray[Any]]:
        arrays: Arrays = IRCR()._encode(crystals)
        order = np.random.default_rng(self.seed).permutation(144)
        return {self.name: arrays["ircr"][:, order]}
