"""The table of what each representation respects, as a figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from crystalcodec.plots.results import save

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["invariance_figure", "save_invariance"]


class Row(Protocol):
    """What one representation did under one change."""

    @property
    def representation(self) -> str:
        """Its name."""

    @property
    def change(self) -> str:
        """Its name."""

    @property
    def verdict(self) -> str:
        """As in :class:`crystalcodec.workflow.invariance.Measured`."""

    @property
    def median(self) -> float:
        """Median size of the change."""


_TITLES: Final = {
    "permutation": "order\nof sites",
    "rotation": "rotation",
    "translation": "shift of\nthe origin",
    "supercell": "supercell",
    "unit_cell": "another\nprimitive cell",
    "rattle": "rattle of\n0.01 Å",
}
# Blue to orange: told apart by the colour-blind, and in grey.
_COLOURS: Final = {
    "exact": "#2b6ca3",
    "reordered": "#7fb2d6",
    "continuous": "#cfe3f0",
    "changes": "#f2b48c",
    "none held": "#eeeeee",
}
_MEANINGS: Final = {
    "exact": "the same arrays",
    "reordered": "the same rows in another order",
    "continuous": "a small move, a small change",
    "changes": "other arrays",
    "none held": "no changed crystal can be held",
}


def invariance_figure(rows: Sequence[Row], title: str = "") -> Figure:
    """A row for each representation, a column for each change.

    Numbers are the median change, in units of the distance between two of the crystals.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch, Rectangle

    names = list(dict.fromkeys(row.representation for row in rows))
    figure = Figure(figsize=(9.2, 1.7 + 0.3 * len(names)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for row in rows:
        x, y = [*_TITLES].index(row.change), names.index(row.representation)
        colour = _COLOURS[row.verdict]
        axes.add_patch(Rectangle((x, y), 1, 1, facecolor=colour, edgecolor="white", lw=1.5))
        ink = "white" if row.verdict == "exact" else "#222222"
        axes.text(x + 0.5, y + 0.5, _told(row), ha="center", va="center", fontsize=8.5, color=ink)
    axes.set(xlim=(0, len(_TITLES)), ylim=(len(names), 0))
    axes.set_xticks(np.arange(len(_TITLES)) + 0.5, list(_TITLES.values()), fontsize=9)
    axes.set_yticks(np.arange(len(names)) + 0.5, names, fontsize=9)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    used = [v for v in _COLOURS if any(row.verdict == v for row in rows)]
    figure.legend(
        handles=[Patch(facecolor=_COLOURS[v], label=f"{v}: {_MEANINGS[v]}") for v in used],
        loc="outside lower center",
        ncols=2,
        frameon=False,
        fontsize=8.5,
    )
    if title:
        figure.suptitle(title, fontsize=10.5)
    return figure


def save_invariance(rows: Sequence[Row], path: str | Path, title: str = "") -> None:
    """Draw and write a PNG."""
    save(invariance_figure(rows, title), path)


def _told(row: Row) -> str:
    if row.verdict in ("exact", "reordered", "none held"):
        return row.verdict
    return f"{row.median:.2g}" if np.isfinite(row.median) else "other size"
