"""How the numbers of sites fill a CrysTens array."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.representations.minimum_images import minimum_images

__all__ = ["HEADER", "LAYERS", "ROWS", "Blocks", "chunks"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

HEADER: Final = 12
"""Rows and columns before the sites; the last of them stays empty."""
ROWS: Final = 11
"""Of them in use: atomic number, x, y, z, a, b, c, alpha, beta, gamma, space group."""
LAYERS: Final = 4
"""Layers before those of chemistry."""

_CHUNK: Final = 1 << 20  # bytes of arrays worked on at a time: they stay in the cache


def chunks(counts: Ints, n_layers: int = LAYERS) -> Iterator[tuple[int, Ints]]:
    """Numbers of sites, and positions with that number, as many at a time as the cache holds."""
    order = np.argsort(counts, kind="stable")
    sizes, starts = np.unique(counts[order], return_index=True)
    edges = [*starts.tolist(), len(order)]
    for n, (first, stop) in zip(sizes.tolist(), pairwise(edges), strict=True):
        step = max(1, _CHUNK // ((HEADER + n) ** 2 * n_layers * 4))
        for start in range(first, stop, step):
            yield n, order[start : min(start + step, stop)]


@dataclass(frozen=True)
class Blocks:
    """The part of arrays that is not empty, for crystals of one number of sites.

    Parameters
    ----------
    low, width : (13,)
        What is subtracted from each quantity, and what it is then divided by.
    periodic
        Whether pairs hold the nearest images.
    properties
        A table by atomic number for each further layer.
    spread : (13 + number of properties,)
        Length of the range of each quantity in the array, by which noise is weighed.
    """

    low: Floats
    width: Floats
    periodic: bool
    properties: tuple[npt.NDArray[np.float64], ...]
    spread: Floats

    @property
    def n_layers(self) -> int:
        """Layers of an array."""
        return LAYERS + len(self.properties)

    def of(self, table: Floats, lattices: Floats) -> npt.NDArray[np.float32]:
        """(g, 12 + n, 12 + n, layers) of the numbers of n sites (g, n, 11) and lattices, Å."""
        g, n, _ = table.shape
        block = np.zeros((g, HEADER + n, HEADER + n, self.n_layers), np.float32)
        header = ((table - self.low[:ROWS]) / self.width[:ROWS]).astype(np.float32)
        block[:, HEADER:, :ROWS, :LAYERS] = header[..., None]
        block[:, :ROWS, HEADER:, :LAYERS] = header.transpose(0, 2, 1)[..., None]
        pairs = block[:, HEADER:, HEADER:]
        differences, distances = self._differences(table[:, :, 1:4], lattices)
        pairs[..., 0] = (distances - self.low[11]) / self.width[11]
        pairs[..., 1:LAYERS] = (differences - self.low[12]) / self.width[12]
        pairs[:, np.arange(n), np.arange(n)] = 0.0
        for layer, values in enumerate(self.properties, LAYERS):
            of_sites = values[table[:, :, 0].astype(np.int64)]
            block[:, HEADER:, 0, layer] = block[:, 0, HEADER:, layer] = of_sites
            pairs[..., layer] = (of_sites[:, :, None] + of_sites[:, None]) / 2
        return block

    def _differences(self, coords: Floats, lattices: Floats) -> tuple[Floats, Floats]:
        """(g, n, n, 3) and (g, n, n): coordinates of site i less those of j, and how far."""
        between = coords[:, :, None] - coords[:, None]
        if not self.periodic:
            x, y, z = between[..., 0], between[..., 1], between[..., 2]
            return between, np.sqrt(x * x + y * y + z * z)
        # One half is found and mirrored: of two images equally near both sites take the same.
        i, j = np.triu_indices(coords.shape[1], 1)
        upper, lengths = minimum_images(between[:, i, j], lattices)
        between[:, i, j], between[:, j, i] = upper, -upper
        distances = np.zeros(between.shape[:3])
        distances[:, i, j] = distances[:, j, i] = lengths
        return between, distances

    def residual(
        self, arrays: npt.NDArray[Any], block: npt.NDArray[np.float32]
    ) -> npt.NDArray[Any]:
        """(g, 12 + n, 12 + n, layers) arrays less the block that they should hold.

        Periodic differences that are a whole number off are the same.
        """
        stop = block.shape[1]
        residual: npt.NDArray[Any] = arrays[:, :stop, :stop] - block
        if self.periodic:
            pairs = residual[:, HEADER:, HEADER:, 1:LAYERS]
            pairs -= np.rint(pairs * self.width[12]) / self.width[12]
        return residual
