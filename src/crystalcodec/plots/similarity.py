"""Heat maps of how alike the elements are, and the periodic table seen from one of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import numpy.typing as npt

from crystalcodec.elements import GROUPS, MAX_ATOMIC_NUMBER, PERIODS, SYMBOLS
from crystalcodec.evaluation.similarity import SIMILARITY_METRICS, SimilarityError, pairwise
from crystalcodec.plots.element_order import (
    COLOURS,
    FAMILIES,
    PETTIFOR_ORDER,
    family_indices,
    ink_on,
)
from crystalcodec.plots.results import save
from crystalcodec.registry import did_you_mean

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["element_heat_map", "element_rows", "new_figure", "periodic_table_map"]

Array = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]

_ORDERS: Final = {"periodic": range(1, MAX_ATOMIC_NUMBER + 1), "pettifor": PETTIFOR_ORDER}
_AXIS_NAMES: Final = {"periodic": "atomic number", "pettifor": "Pettifor's chemical scale"}
_SOFT: Final = "#8a8a8a"
_STRIP: Final = 2.2  # width of the strip of families, in cells


def element_rows(values: npt.ArrayLike) -> tuple[Array, Ints]:
    """The rows of a table of elements that hold numbers, and their atomic numbers.

    Parameters
    ----------
    values : (119, d)
        Row Z is the element of atomic number Z; NaN where the table has no number.

    Returns
    -------
    rows : (n, d)
    numbers : (n,)

    Raises
    ------
    SimilarityError
        Another shape, or no element without gaps.
    """
    table = np.asarray(values, float)
    if table.ndim != 2 or len(table) != MAX_ATOMIC_NUMBER + 1:
        raise SimilarityError(
            f"a table of shape {table.shape}: wanted ({MAX_ATOMIC_NUMBER + 1}, d), a row for each "
            "atomic number"
        )
    numbers = 1 + np.flatnonzero(np.isfinite(table[1:]).all(axis=1))
    if not len(numbers):
        raise SimilarityError("no element has all numbers of the table")
    return table[numbers], numbers


def element_heat_map(
    values: npt.ArrayLike,
    *,
    metric: str = "cosine",
    order: Literal["periodic", "pettifor"] | str = "periodic",
    standardise: bool = False,
    title: str = "",
    path: str | Path | None = None,
) -> Figure:
    """Draw the metric between all pairs of elements as a matrix of colours.

    Strips along the axes show the families of the elements.

    Parameters
    ----------
    values : (119, d)
        Such as ``element_table("skipatom").values``; elements with gaps (NaN) are left out, and
        how many is said.
    metric
        In :data:`~crystalcodec.evaluation.similarity.SIMILARITY_METRICS`.
    order
        ``periodic`` (by atomic number) or ``pettifor``.
    standardise
        Give each column mean 0 and standard deviation 1 over the elements first: wanted where
        columns have different units, and nothing for learned embeddings.
    title
        What the rows are: ``"skipatom"``.
    path
        Where to write the picture (PNG); not written where None.

    Raises
    ------
    SimilarityError
        An unknown metric or order, a table of another shape or without elements.

    Examples
    --------
    >>> import numpy as np
    >>> from crystalcodec.elements import ATOMIC_MASSES, GROUPS
    >>> figure = element_heat_map(np.stack([ATOMIC_MASSES, GROUPS], axis=1), metric="manhattan")
    """
    if order not in _ORDERS:
        raise SimilarityError(f"no order {order!r}{did_you_mean(order, [*_ORDERS])}")
    rows, numbers = element_rows(values)
    place = {z: i for i, z in enumerate(_ORDERS[order])}
    sorting = np.argsort([place[z] for z in numbers.tolist()])
    rows, numbers = rows[sorting], numbers[sorting]
    matrix = pairwise(_standardised(rows) if standardise else rows, metric=metric)
    n = len(numbers)
    figure = new_figure(10.6, 10.7)
    axes = figure.subplots()
    low, high, colours = _range(matrix, metric)
    image = axes.imshow(matrix, cmap=colours, vmin=low, vmax=high, interpolation="nearest")
    symbols = [SYMBOLS[z] for z in numbers.tolist()]
    size = min(8.0, 660 / n)
    axes.set_xticks(range(n), symbols, fontsize=size, rotation=90)
    axes.set_yticks(range(n), symbols, fontsize=size)
    axes.tick_params(length=0, pad=1)
    _draw_strips(axes, numbers)
    _draw_ends(axes, numbers, order)
    label = _name(metric)
    bar = figure.colorbar(image, ax=axes, shrink=0.6, pad=0.015, aspect=35)
    bar.set_label(f"{label}{' of standardised columns' if standardise else ''}", fontsize=10)
    missing = MAX_ATOMIC_NUMBER - n
    head = f"{title}: {n} elements" if title else f"{n} elements"
    head += f" in the order of {_AXIS_NAMES[order]}"
    axes.set_title(head + (f" ({missing} are not in the table)" if missing else ""), fontsize=11)
    present = set(family_indices()[numbers].tolist())
    _legend_of_families(figure, present)
    if path is not None:
        save(figure, path)
    return figure


def periodic_table_map(
    values: npt.ArrayLike,
    element: str,
    *,
    metric: str = "cosine",
    standardise: bool = False,
    title: str = "",
    path: str | Path | None = None,
) -> Figure:
    """Draw how alike every element is to one of them, on the periodic table.

    Parameters are those of :func:`element_heat_map`, and ``element``, its symbol. Elements that
    the table lacks are empty cells.

    Raises
    ------
    SimilarityError
        As of :func:`element_heat_map`; an element that the table lacks.
    """
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.patches import Rectangle

    rows, numbers = element_rows(values)
    known = [SYMBOLS[z] for z in numbers.tolist()]
    if element not in known:
        raise SimilarityError(f"no element {element!r} in the table{did_you_mean(element, known)}")
    columns = _standardised(rows) if standardise else rows
    here = known.index(element)
    found = pairwise(columns[here : here + 1], columns, metric)[0]
    figure = new_figure(10.2, 5.4)
    axes = figure.subplots()
    low, high, name = _range(np.delete(found, here), metric)
    mapped = ScalarMappable(Normalize(low, high), colormaps[name])
    value_of = dict(zip(numbers.tolist(), found.tolist(), strict=True))
    for z in range(1, MAX_ATOMIC_NUMBER + 1):
        x, y = _cell(z)
        value = value_of.get(z, float("nan"))
        known_value = bool(np.isfinite(value))
        colour = mapped.to_rgba(value) if known_value else "#f2f2f2"
        own = SYMBOLS[z] == element
        style: dict[str, Any] = {
            "edgecolor": "black" if own else "white",
            "linewidth": 2.0 if own else 0.8,
        }
        axes.add_patch(Rectangle((x, y), 1, 1, facecolor=colour, zorder=2 + own, **style))
        ink = ink_on(colour) if known_value else _SOFT
        text: dict[str, Any] = {"ha": "center", "va": "center", "color": ink, "zorder": 4}
        axes.text(x + 0.5, y + 0.38, SYMBOLS[z], fontsize=9, weight="bold", **text)
        if known_value:
            axes.text(x + 0.5, y + 0.76, _short(value), fontsize=5.8, **text)
    for row, numbers_of in ((6, "57–71"), (7, "89–103")):
        axes.text(3.5, row + 0.5, numbers_of, fontsize=6.5, ha="center", va="center", color=_SOFT)
    axes.set(xlim=(0.9, 19.1), ylim=(10.2, 0.9), aspect="equal")
    axes.set_axis_off()
    label = f"{_name(metric)} to {element}"
    figure.colorbar(mapped, ax=axes, shrink=0.75, pad=0.01, aspect=30).set_label(label)
    axes.set_title(f"{title}: {label}" if title else label, fontsize=11)
    if path is not None:
        save(figure, path)
    return figure


def new_figure(width: float, height: float) -> Figure:
    """A figure of its own, not pyplot's: no global state, no screen. Inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _standardised(rows: Array) -> Array:
    spread = rows.std(axis=0)
    varies = spread > 0
    standard: Array = (rows[:, varies] - rows[:, varies].mean(axis=0)) / spread[varies]
    return standard


def _range(found: Array, metric: str) -> tuple[float, float, str]:
    """Least and largest value of the colours, and their map; similarities have 0 in the middle."""
    values = found[np.isfinite(found)]
    if SIMILARITY_METRICS[metric] == "similarity":
        return -1.0, 1.0, "RdBu_r"
    return 0.0, float(values.max(initial=0.0)) or 1.0, "cividis_r"


def _draw_strips(axes: Axes, numbers: Ints) -> None:
    """A strip of the colours of families above and to the left of the matrix."""
    from matplotlib.patches import Rectangle

    n = len(numbers)
    gap = 0.35
    width = _STRIP * n / 100
    for i, family in enumerate(family_indices()[numbers].tolist()):
        style: dict[str, Any] = {"facecolor": COLOURS[family], "edgecolor": "none"}
        axes.add_patch(Rectangle((i - 0.5, -0.5 - gap - width), 1, width, **style))
        axes.add_patch(Rectangle((-0.5 - gap - width, i - 0.5), width, 1, **style))
    axes.set(xlim=(-0.5 - gap - width, n - 0.5), ylim=(n - 0.5, -0.5 - gap - width))
    for side in ("top", "right", "bottom", "left"):
        axes.spines[side].set_visible(False)


def _draw_ends(axes: Axes, numbers: Ints, order: str) -> None:
    """Fine lines: in periodic order behind each noble gas, else where families meet."""
    groups = PERIODS[numbers] if order == "periodic" else family_indices()[numbers]
    ends = np.flatnonzero(np.diff(groups) != 0) + 0.5
    n = len(numbers)
    style: dict[str, Any] = {"color": "black", "linewidth": 0.35, "alpha": 0.55}
    axes.hlines(ends, -0.5, n - 0.5, **style)
    axes.vlines(ends, -0.5, n - 0.5, **style)


def _legend_of_families(figure: Figure, present: set[int]) -> None:
    from matplotlib.patches import Patch

    handles = [
        Patch(facecolor=COLOURS[i], label=name) for i, name in enumerate(FAMILIES) if i in present
    ]
    style: dict[str, Any] = {
        "frameon": False,
        "fontsize": 9,
        "handlelength": 1.1,
        "handleheight": 1.1,
    }
    figure.legend(handles=handles, loc="outside lower center", ncols=5, **style)


def _cell(number: int) -> tuple[float, float]:
    """Column and row of an element; the f block stands below, with a gap."""
    for first, row in ((57, 8.3), (89, 9.3)):
        if first <= number < first + 15:
            return 3.0 + number - first, row - 0.2
    return float(GROUPS[number]), float(PERIODS[number])


def _name(metric: str) -> str:
    return {
        "euclidean": "Euclidean distance",
        "manhattan": "Manhattan distance",
        "chebyshev": "Chebyshev distance",
        "cosine": "cosine similarity",
        "pearson": "Pearson correlation",
        "spearman": "Spearman rank correlation",
    }[metric]


def _short(value: float) -> str:
    """Three digits."""
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.0f}"
