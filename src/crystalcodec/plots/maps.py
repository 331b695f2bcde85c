"""Maps of elements, compounds and crystals: a point for each, near where they are alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.elements import (
    ATOMIC_MASSES,
    ELECTRONEGATIVITIES,
    GROUPS,
    MAX_ATOMIC_NUMBER,
    PERIODS,
    SYMBOLS,
)
from crystalcodec.evaluation.projection import Projection, project
from crystalcodec.evaluation.similarity import SimilarityError
from crystalcodec.plots.element_order import COLOURS, FAMILIES, family_indices, ink_on
from crystalcodec.plots.results import save
from crystalcodec.plots.similarity import element_rows, new_figure
from crystalcodec.registry import did_you_mean

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ELEMENT_COLOURS", "anions", "draw_map", "element_map"]

Array = npt.NDArray[Any]

ELEMENT_COLOURS: Final[dict[str, tuple[Array, str]]] = {
    "electronegativity": (ELECTRONEGATIVITIES, "Pauling electronegativity"),
    "mass": (ATOMIC_MASSES, "atomic mass (u)"),
    "group": (GROUPS, "group of the periodic table"),
    "period": (PERIODS, "period of the periodic table"),
}
"""Numbers of elements that a map can be coloured by, with the words for them; and ``family``."""

_METHODS: Final = {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP"}
_MOST_GROUPS: Final = 8  # the ninth colour and the rest are too near each other in small points
_DISC: Final = 13.5  # points
_MARKERS: Final = "osD^vPX*h"
_MISSING: Final = "#d4d4d4"


def element_map(
    values: npt.ArrayLike,
    *,
    method: str = "pca",
    colour: str = "family",
    standardise: bool = True,
    neighbours: int | None = None,
    seed: int = 0,
    title: str = "",
    path: str | Path | None = None,
) -> Figure:
    """Draw the elements of a table as a map, each with its symbol.

    Discs that would hide each other are moved apart; where the place of one lies outside it then,
    a line leads to it.

    Parameters
    ----------
    values : (119, d)
        Such as ``element_table("magpie").values``; elements with gaps (NaN) are left out, and how
        many is said.
    method, standardise, neighbours, seed
        As of :func:`~crystalcodec.evaluation.projection.project`.
    colour
        ``family`` (alkali metals, halogens and so on), or a name of :data:`ELEMENT_COLOURS`.
    title
        What the rows are: ``"magpie"``.
    path
        Where to write the picture (PNG); not written where None.

    Raises
    ------
    SimilarityError
        An unknown method or colour, a table of another shape, too few elements.
    """
    known = ["family", *ELEMENT_COLOURS]
    if colour not in known:
        raise SimilarityError(f"no colour {colour!r} of elements{did_you_mean(colour, known)}")
    rows, numbers = element_rows(values)
    found = project(rows, method, standardise=standardise, neighbours=neighbours, seed=seed)
    missing = MAX_ATOMIC_NUMBER - len(numbers)
    head = f"{title}, " if title else ""
    head += f"{_METHODS[method]} of {len(numbers)} elements"
    figure = new_figure(9.2, 7.6)
    axes = figure.subplots()
    if colour == "family":
        families = family_indices()[numbers]
        colours = [COLOURS[i] for i in families.tolist()]
        _legend(
            figure, [name for i, name in enumerate(FAMILIES) if i in families], "o", list(FAMILIES)
        )
    else:
        table, words = ELEMENT_COLOURS[colour]
        colours = _coloured(figure, axes, table[numbers], words)
    _finish(axes, found, head + (f" ({missing} are not in the table)" if missing else ""))
    _draw_symbols(figure, axes, found.points, numbers, colours)
    if path is not None:
        save(figure, path)
    return figure


def draw_map(
    projection: Projection,
    colour: Array | Sequence[Any] | None = None,
    *,
    label: str = "",
    title: str = "",
    path: str | Path | None = None,
) -> Figure:
    """Draw points of compounds or crystals, coloured by a property or by a group.

    Parameters
    ----------
    projection
        What :func:`~crystalcodec.evaluation.projection.project` gives, n points.
    colour : (n,)
        Numbers (NaN where missing: grey) for a scale of colours, or texts (None where missing)
        for groups: the eight largest have their own colour and marker, the rest is grey. One
        colour where None.
    label
        What it is, with its unit: ``"band gap (eV)"``.
    title
        What is drawn.
    path
        Where to write the picture (PNG); not written where None.

    Raises
    ------
    SimilarityError
        Another number of colours than points.
    """
    points = projection.points
    figure = new_figure(8.4, 6.6)
    axes = figure.subplots()
    size = float(np.clip(20000 / max(1, len(points)), 5, 42))
    style: dict[str, Any] = {"s": size, "linewidths": 0.25 if size > 12 else 0.0}
    style["edgecolors"] = "white"
    if colour is None:
        axes.scatter(*points.T, color=COLOURS[0], **style)
    else:
        given: Array
        if isinstance(colour, np.ndarray):
            given = colour
        else:
            given = np.empty(len(colour), np.object_)
            given[:] = colour
        if given.shape != (len(points),):
            raise SimilarityError(
                f"colours of shape {given.shape} for {len(points)} points: wanted one for each"
            )
        numbers = _as_numbers(given)
        if numbers is None:
            _scatter_groups(figure, axes, points, given, label, style)
        else:
            _scatter_numbers(figure, axes, points, numbers, label, style)
    _finish(axes, projection, title)
    if path is not None:
        save(figure, path)
    return figure


def anions(crystals: Crystals) -> list[str]:
    """The symbol of the most electronegative element of each crystal.

    >>> from crystalcodec.testing import sample_crystals
    >>> len(anions(sample_crystals(3)))
    3
    """
    values = np.nan_to_num(ELECTRONEGATIVITIES, nan=-1.0)
    there = crystals.element_counts > 0
    strongest = np.where(there, values, -2.0).argmax(axis=1)
    return [SYMBOLS[z] for z in strongest.tolist()]


def _draw_symbols(
    figure: Any, axes: Any, points: Array, numbers: Array, colours: Sequence[Any]
) -> None:
    """A disc with its symbol for each element; discs that overlap are moved apart."""
    axes.scatter(*points.T, s=0)  # sets the limits
    figure.draw_without_rendering()
    scale = figure.dpi / 72
    places = axes.transData.transform(points) / scale
    moved = _apart(places, _DISC + 0.6)
    shown = axes.transData.inverted().transform(moved * scale)
    limits = axes.get_xlim(), axes.get_ylim()
    far = np.linalg.norm(moved - places, axis=1) > _DISC / 2
    for i, (z, shade) in enumerate(zip(numbers.tolist(), colours, strict=True)):
        if far[i]:
            line: dict[str, Any] = {"color": "#555555", "lw": 0.5, "zorder": 1.5}
            axes.plot(*zip(points[i], shown[i], strict=True), **line)
            axes.plot(*points[i], ".", ms=3.5, color="#222222", zorder=4)
        style: dict[str, Any] = {"mfc": shade, "mec": "white", "mew": 0.6}
        axes.plot(*shown[i], "o", ms=_DISC, zorder=2, **style)
        ink: dict[str, Any] = {"color": ink_on(shade), "ha": "center", "va": "center_baseline"}
        axes.text(*shown[i], SYMBOLS[z], fontsize=7.2, zorder=3, **ink)
    axes.set(xlim=limits[0], ylim=limits[1])
    # Discs at the edge may have been moved over it.
    for artist in (*axes.lines, *axes.texts):
        artist.set_clip_on(False)


def _apart(places: Array, distance: float) -> Array:
    """Places moved until each pair is this far apart, or as far as many small steps lead."""
    moved = places + 1e-3 * np.random.default_rng(0).normal(size=places.shape)
    for _ in range(400):
        steps = moved[:, None] - moved
        lengths = np.linalg.norm(steps, axis=2)
        np.fill_diagonal(lengths, np.inf)
        overlap = np.maximum(0.0, distance - lengths)
        if overlap.max() < 0.05:
            break
        push = (overlap / lengths)[..., None] * steps
        moved = moved + 0.35 * push.sum(axis=1)
    return moved


def _as_numbers(given: Array) -> Array | None:
    """The colours as float64 with NaN where missing, if they are numbers."""
    if given.dtype.kind in "iuf":
        return given.astype(np.float64)
    if given.dtype.kind == "O" and all(
        value is None or (isinstance(value, int | float) and not isinstance(value, bool))
        for value in given.tolist()
    ):
        return np.array([np.nan if value is None else value for value in given.tolist()], float)
    return None


def _scatter_numbers(
    figure: Any, axes: Any, points: Array, numbers: Array, label: str, style: dict[str, Any]
) -> None:
    there = np.isfinite(numbers)
    if not there.all():
        axes.scatter(*points[~there].T, color=_MISSING, label="no value", **style)
        axes.legend(loc="best", fontsize=9)
    if not there.any():
        return
    low, high = np.percentile(numbers[there], [1, 99])
    # A few extreme values would leave one colour for all others: the ends of the scale say so.
    cut_low, cut_high = numbers[there].min() < low, numbers[there].max() > high
    wide = len(points) < 100 or not high > low
    image = axes.scatter(
        *points[there].T,
        c=numbers[there],
        cmap="viridis",
        vmin=None if wide else low,
        vmax=None if wide else high,
        **style,
    )
    extend = {(0, 0): "neither", (1, 0): "min", (0, 1): "max", (1, 1): "both"}
    ends = "neither" if wide else extend[int(cut_low), int(cut_high)]
    bar = figure.colorbar(image, ax=axes, shrink=0.75, pad=0.02, aspect=30, extend=ends)
    bar.set_label(label)


def _scatter_groups(
    figure: Any, axes: Any, points: Array, given: Array, label: str, style: dict[str, Any]
) -> None:
    """The largest groups in their own colours, the rest below them in grey."""
    texts = np.array(["" if value is None else str(value) for value in given.tolist()], object)
    counts = Counter(text for text in texts.tolist() if text)
    named = [name for name, _ in counts.most_common(_MOST_GROUPS)]
    rest = ~np.isin(texts, named)
    handles = []
    if rest.any():
        axes.scatter(*points[rest].T, color=_MISSING, **style)
    # Small groups are drawn last, above the large ones.
    for i, name in enumerate(named):
        some = texts == name
        axes.scatter(*points[some].T, color=COLOURS[i], marker=_MARKERS[i], **style)
        handles.append((f"{name} ({some.sum():,})", COLOURS[i], _MARKERS[i]))
    n_missing = int((texts == "").sum())
    others = int(rest.sum()) - n_missing
    for n, name in ((others, "others"), (n_missing, "no value")):
        if n:
            handles.append((f"{name} ({n:,})", _MISSING, "o"))
    _draw_legend(figure, handles, label)


def _coloured(figure: Any, axes: Any, numbers: Array, words: str) -> list[Any]:
    """Colours of numbers, with their bar; grey where there is none."""
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    there = np.isfinite(numbers)
    low, high = (numbers[there].min(), numbers[there].max()) if there.any() else (0.0, 1.0)
    mapped = ScalarMappable(Normalize(low, high), colormaps["viridis"])
    bar = figure.colorbar(mapped, ax=axes, shrink=0.75, pad=0.02, aspect=30)
    bar.set_label(words if there.all() else f"{words}; grey: none is known")
    return [mapped.to_rgba(value) if np.isfinite(value) else _MISSING for value in numbers]


def _legend(figure: Any, names: list[str], marker: str, every: list[str]) -> None:
    _draw_legend(figure, [(name, COLOURS[every.index(name)], marker) for name in names], "")


def _draw_legend(figure: Any, handles: list[tuple[str, str, str]], label: str) -> None:
    """A legend beside the points, where it hides none."""
    from matplotlib.lines import Line2D

    lines = [
        Line2D([], [], ls="", marker=marker, mfc=colour, mec="white", mew=0.5, ms=8, label=name)
        for name, colour, marker in handles
    ]
    figure.legend(
        handles=lines, title=label or None, loc="outside right upper", frameon=False, fontsize=9
    )


def _finish(axes: Any, projection: Projection, title: str) -> None:
    axes.set_xlabel(projection.axes[0])
    axes.set_ylabel(projection.axes[1])
    if title:
        axes.set_title(title, fontsize=11)
    if projection.method != "pca":
        # Positions have no unit and no scale of their own.
        axes.set(xticks=[], yticks=[])
    axes.margins(0.05)
