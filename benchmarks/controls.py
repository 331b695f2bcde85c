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
    """IRCR with some of its rows in one fixed random order: the same numbers, no neighbourhood.

    Parameters
    ----------
    rows
        ``all``, ``elements`` (block E) or ``sites`` (blocks C and O).
    seed
        Of the order.
    """

    name: ClassVar[str] = "ircr_shuffled"
    lost: ClassVar[str] = "the orientation of the crystal in space"
    invariances: ClassVar = frozenset({"rotation"})

    rows: str = "all"
    seed: int = 0

    @property
    def fields(self) -> tuple[Field, ...]:
        return (Field("rows", "continuous", self.name, (144, 3)),)

    def refuse(self, crystals: Crystals) -> list[Any]:
        return IRCR().refuse(crystals)

    def _encode(self, crystals: Crystals) -> dict[str, npt.NDArray[Any]]:
        arrays: Arrays = IRCR()._encode(crystals)
        order = np.arange(144)
        chosen = {"all": order, "elements": order[:94], "sites": order[96:136]}[self.rows]
        order[chosen] = np.random.default_rng(self.seed).permutation(chosen)
        return {self.name: arrays["ircr"][:, order]}
