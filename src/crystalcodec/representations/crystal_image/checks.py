"""Whether a picture is the picture of the crystal that was read in it."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.representations.crystal_image.codes import (
    BORDER,
    ELEMENT_ROWS,
    MAX_SITES,
    ZOOMS,
)
from crystalcodec.representations.crystal_image.reading import shrunk

__all__ = ["PARTS", "differences_by_part"]

Floats = npt.NDArray[Any]

PARTS: Final = (
    "the cell",
    "an element along the top",
    "the coordinates of a site along the top",
    "an element down the side",
    "the coordinates of a site down the side",
    "the pairs of a site along a row",
    "the pairs of a site down a column",
    "the empty places",
)


def _row_weights() -> npt.NDArray[np.float32]:
    """(2, 12) means over the rows of the frame that tell the element, and over the others."""
    elements = np.zeros(BORDER, np.float32)
    elements[ELEMENT_ROWS] = 1
    return np.stack([elements / elements.sum(), (1 - elements) / (1 - elements).sum()])


_ROW_WEIGHTS: Final = _row_weights()

_ENOUGH: Final = 8  # pixels


def differences_by_part(
    pictures: npt.NDArray[np.float32], drawn: npt.NDArray[np.float32], counts: Any
) -> Floats:
    """(m, 8) root mean square difference of two pictures, of the worst site in each of PARTS.

    ``drawn`` is overwritten.
    """
    squares = np.subtract(pictures, drawn, out=drawn)
    squares *= squares
    pixels = squares[..., 0] + squares[..., 1]
    pixels += squares[..., 2]
    pixels *= np.float32(1 / 3)
    parts = np.zeros((len(pictures), len(PARTS)))
    top, side = pixels[:, :BORDER, BORDER:], pixels[:, BORDER:, :BORDER]
    pairs = pixels[:, BORDER:, BORDER:]
    widths = counts * ZOOMS[counts]
    filled = (np.arange(MAX_SITES) < widths[:, None]).astype(np.float32)
    parts[:, 0] = pixels[:, :BORDER, :BORDER].mean(axis=(1, 2))
    frame = np.concatenate([_ROW_WEIGHTS @ top, _ROW_WEIGHTS @ side.transpose(0, 2, 1)], axis=1)
    to_right = (pairs @ filled[..., None])[..., 0]
    down = (filled[:, None] @ pairs)[:, 0]
    across = np.stack([to_right, down], axis=1) / widths[:, None, None]
    by_pixel = np.concatenate([frame, across], axis=1)
    inside = filled[:, None]
    by_site, outside = by_pixel * inside, np.stack([top.mean(axis=1), side.mean(axis=2)], axis=1)
    outside *= 1 - inside
    # Beyond the sites: the frame, whole rows and columns of the pairs, and the rest of the others
    # where that is enough pixels for a mean.
    whole = np.stack([pairs.sum(axis=2), pairs.sum(axis=1)], axis=1)
    left = (MAX_SITES - widths)[:, None, None]
    rest = np.maximum(whole - across * widths[:, None, None], 0) / np.maximum(left, 1)
    dark = np.where(inside > 0, np.where(left >= _ENOUGH, rest, 0), whole / MAX_SITES)
    parts[:, 7] = dark.max(axis=(1, 2))
    for zoom in (1, 2, 4):
        chosen = ZOOMS[counts] == zoom
        parts[chosen, 1:7] = shrunk(by_site[chosen], zoom, 2).max(axis=2)
        frame_outside = shrunk(outside[chosen], zoom, 2).max(axis=(1, 2))
        parts[chosen, 7] = np.maximum(parts[chosen, 7], frame_outside)
    return np.asarray(np.sqrt(parts))
