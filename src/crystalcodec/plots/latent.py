"""Pictures of codes: crystals on the way between two, and the graph of near codes."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.plots.judging import crystal_png
from crystalcodec.plots.similarity import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_graph", "draw_path"]

_MOST_COLUMNS = 9


def draw_path(
    crystals: Sequence[Crystals | None],
    reasons: Sequence[str],
    parts: npt.ArrayLike,
    title: str = "",
) -> Figure:
    """A strip of crystals, or of why there is none, with how far each is on the way."""
    parts = np.asarray(parts)
    columns = min(len(parts), _MOST_COLUMNS)
    rows = -(-len(parts) // columns)
    figure = new_figure(1.7 * columns, 2.0 * rows + 0.4)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for place in axes:
        place.set_axis_off()
    for place, crystal, reason, part in zip(axes, crystals, reasons, parts.tolist(), strict=False):
        picture = None if crystal is None else crystal_png(crystal)
        if picture is not None and crystal is not None:
            place.imshow(_pixels(picture))
            place.set_title(f"{part:.2f}  {crystal.formulas[0]}", fontsize=8)
        else:
            text = reason if crystal is None else "too many sites to draw"
            place.text(0.5, 0.5, textwrap.fill(text, 16), ha="center", va="center", fontsize=8)
            place.set_title(f"{part:.2f}", fontsize=8)
    if title:
        figure.suptitle(title, fontsize=10)
    return figure


def draw_graph(
    points: npt.ArrayLike,
    edges: npt.ArrayLike,
    *,
    colours: npt.ArrayLike | None = None,
    label: str = "",
    chosen: npt.ArrayLike = (),
    title: str = "",
    axes_names: tuple[str, str] = ("", ""),
) -> Figure:
    """Nodes where a map has them, edges as lines, chosen nodes with a ring.

    Parameters
    ----------
    points : (n, 2)
    edges : (m, 2)
        Positions of nodes.
    colours : (n,)
        Numbers; NaN is grey.
    label
        What they are.
    chosen
        Positions of nodes.
    """
    from matplotlib.collections import LineCollection

    points, edges = np.asarray(points, float), np.asarray(edges, int).reshape(-1, 2)
    figure = new_figure(8.0, 6.4)
    axes: Any = figure.subplots()
    if len(edges):
        lines = LineCollection(points[edges], colors="#9aa4b2", linewidths=0.3, alpha=0.35)
        axes.add_collection(lines)
    size = float(np.clip(4000 / max(1, len(points)), 3, 40))
    numbers = None if colours is None else np.asarray(colours, float)
    known = np.ones(len(points), bool) if numbers is None else np.isfinite(numbers)
    axes.scatter(*points[~known].T, s=size, c="#d4d4d4", linewidths=0)
    if numbers is None or not known.any():
        axes.scatter(*points[known].T, s=size, c="#3b6ea5", linewidths=0)
    else:
        drawn = axes.scatter(
            *points[known].T, s=size, c=numbers[known], cmap="viridis", linewidths=0
        )
        figure.colorbar(drawn, ax=axes, label=label)
    ringed = np.asarray(chosen, int)
    if len(ringed):
        axes.scatter(
            *points[ringed].T, s=3 * size, facecolors="none", edgecolors="#d1495b", linewidths=0.8
        )
    axes.set_xlabel(axes_names[0])
    axes.set_ylabel(axes_names[1])
    axes.set_title(title, fontsize=10)
    return figure


def _pixels(png: bytes) -> npt.NDArray[Any]:
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
