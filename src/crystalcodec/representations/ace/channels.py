"""Elements as a few numbers each: the channels into which neighbours of all elements are summed."""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from crystalcodec.elements import (
    ELECTRONEGATIVITIES,
    GROUPS,
    MAX_ATOMIC_NUMBER,
    PERIODS,
    SYMBOLS,
)

__all__ = ["Channels", "channel_names", "channel_weights"]

Floats = npt.NDArray[np.float64]
Channels = Literal["properties", "random", "one_hot", "none"]

_PROPERTIES: Final = {
    "electronegativity": ELECTRONEGATIVITIES,
    "period": PERIODS,
    "group": GROUPS,
}
# Properties are brought to mean 0 and variance 1 over these elements.
_STANDARD: Final = slice(1, 104)


def channel_names(kind: Channels, n_channels: int, species: tuple[int, ...]) -> tuple[str, ...]:
    """The channels by name."""
    if kind == "properties":
        return ("one", *_PROPERTIES)
    if kind == "random":
        return tuple(f"random{i}" for i in range(n_channels))
    return tuple(SYMBOLS[z] for z in species) if kind == "one_hot" else ("one",)


def channel_weights(kind: Channels, n_channels: int, species: tuple[int, ...], seed: int) -> Floats:
    """(119, channels) what an atom of each atomic number weighs in each channel."""
    weights = np.zeros((MAX_ATOMIC_NUMBER + 1, len(channel_names(kind, n_channels, species))))
    if kind == "none":
        weights[1:] = 1.0
    elif kind == "one_hot":
        weights[list(species), np.arange(len(species))] = 1.0
    elif kind == "random":
        # From the raw bits, the one stream that numpy promises never to change.
        bits = np.random.PCG64(seed).random_raw(MAX_ATOMIC_NUMBER * n_channels)
        uniform = ((bits >> np.uint64(12)).astype(float) + 0.5) / 2.0**52
        weights[1:] = ndtri(uniform).reshape(-1, n_channels) / np.sqrt(n_channels)
    else:
        weights[1:, 0] = 1.0
        for i, table in enumerate(_PROPERTIES.values(), 1):
            known = table[_STANDARD][np.isfinite(table[_STANDARD])]
            # Where Pauling's scale has no value (He, Ne, Ar, Z > 103): the mean, 0.
            weights[1:, i] = np.nan_to_num((table[1:] - known.mean()) / known.std())
    return weights
