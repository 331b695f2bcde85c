"""What a generator makes, as one picture: its arrays, and the crystals that they decode to."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.plots.arrays import tiles
from crystalcodec.plots.judging import crystal_png
from crystalcodec.plots.representations import draw_tile
from crystalcodec.representations.base import Representation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_samples"]


def draw_samples(
    representation: Representation,
    arrays: Mapping[str, npt.NDArray[Any]],
    crystals: Sequence[Crystals | None],
    reasons: Sequence[str],
    title: str = "",
) -> Figure:
    """A column a sample: its first array with the most axes, and its crystal or why there is none.

    Parameters
    ----------
    arrays
        Of n samples, by name.
    crystals
        A crystal, or None, for each; empty where the representation cannot be decoded.
    reasons
        For each what is said where there is no crystal.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    n = len(next(iter(arrays.values())))
    rows = 2 if crystals else 1
    figure = Figure(figsize=(1.6 * n, 1.9 * rows + 0.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, n, squeeze=False)
    for column in range(n):
        # Numbers beside a picture (a cell, a space group) tell less than the picture.
        largest = max(arrays, key=lambda name: arrays[name].ndim)
        shown = tiles(representation, {largest: arrays[largest][column]})
        axes[0, column].set_axis_off()
        if shown:
            draw_tile(axes[0, column], shown[0])
        if not crystals:
            continue
        below = axes[1, column]
        below.set_axis_off()
        crystal = crystals[column]
        picture = None if crystal is None else crystal_png(crystal)
        if picture is not None and crystal is not None:
            below.imshow(_pixels(picture))
            below.set_title(crystal.formulas[0], fontsize=7)
        else:
            text = reasons[column] if crystal is None else "too many sites to draw"
            below.text(0.5, 0.5, textwrap.fill(text, 16), ha="center", va="center", fontsize=7)
    if title:
        figure.suptitle(title, fontsize=9)
    return figure


def _pixels(png: bytes) -> npt.NDArray[Any]:
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
