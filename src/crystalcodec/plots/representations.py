"""One picture of a crystal and its representations side by side, with what each one loses."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.elements import SYMBOLS
from crystalcodec.failures import Failure
from crystalcodec.plots.arrays import Tile, tiles
from crystalcodec.plots.results import save
from crystalcodec.plots.structures import draw_structure, element_colours
from crystalcodec.registry import REPRESENTATIONS, MissingExtraError, load
from crystalcodec.representations.base import (
    InvertibleRepresentation,
    Representation,
    RepresentationError,
)
from crystalcodec.symmetry import space_group_numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["show"]

Array = npt.NDArray[Any]

# Inches.
_MARGIN, _GAP = 0.22, 0.14
_SIDE: Final = 3.5
_CARD_WIDTH, _CARD_HEIGHT = 2.75, 3.32
_HEAD, _FOOT = 0.52, 0.66
_COLUMNS: Final = 4

_INK, _SOFT, _RULE, _PAPER = "#1f2430", "#6b7280", "#d9dde5", "#f7f8fa"
_LINE: Final = "#0b5fa5"
_REFUSED: Final = "#b3261e"
_HOW_TO_READ: Final = (
    "Volumes are drawn as the largest value along their depth; entries of different units are "
    "each scaled to their own range; blue is negative, red positive."
)


def show(
    crystals: Crystals,
    representations: str | Sequence[str | Representation] = "all",
    path: str | Path | None = None,
    *,
    ids: Sequence[str] | None = None,
) -> Figure:
    """Draw each crystal beside its representations, with what each one holds and loses.

    Parameters
    ----------
    crystals
        One crystal or a few: each is a block of the picture.
    representations
        ``"all"`` that are registered, a name, or names and representations.
    path
        Where to write the picture (PNG); not written where None.
    ids
        A title for each crystal.

    Returns
    -------
    matplotlib.figure.Figure
        Of its own, not pyplot's; a notebook shows it.

    Raises
    ------
    RepresentationError
        No crystal, not one id for each, or a path that does not end in ``.png``.
    UnknownNameError
        A name that is not registered.

    Examples
    --------
    >>> from crystalcodec.testing import sample_crystals
    >>> figure = show(sample_crystals(1), "ircr")
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not len(crystals) or (ids is not None and len(ids) != len(crystals)):
        raise RepresentationError(
            f"{len(crystals)} crystals and {'no' if ids is None else len(ids)} ids to show: wanted "
            "at least one crystal, and an id for each or none"
        )
    if path is not None and Path(path).suffix.lower() != ".png":
        raise RepresentationError(f"{path}: wanted a name that ends in .png")
    chosen = _chosen(representations)
    columns = min(_COLUMNS, max(1, len(chosen)))
    rows = -(-len(chosen) // columns)
    block = max(rows * (_CARD_HEIGHT + _GAP) - _GAP, _SIDE + 2.75) + 2 * _MARGIN
    width = 2 * _MARGIN + _SIDE + columns * (_CARD_WIDTH + _GAP)
    figure = Figure(figsize=(width, block * len(crystals)), facecolor="white")
    FigureCanvasAgg(figure)
    for i, crystal in enumerate(crystals):
        sheet = _Sheet(figure, top=i * block)
        _draw_crystal(sheet, crystal, "" if ids is None else ids[i])
        for place, representation in enumerate(chosen):
            row, column = divmod(place, columns)
            left = _MARGIN + _SIDE + _GAP + column * (_CARD_WIDTH + _GAP)
            top = _MARGIN + row * (_CARD_HEIGHT + _GAP)
            _draw_card(sheet, left, top, representation, crystal)
        if i:
            sheet.rule(0, width)
    if path is not None:
        save(figure, path)
    return figure


def _chosen(wanted: str | Sequence[str | Representation]) -> list[Representation]:
    if isinstance(wanted, str):
        wanted = list(REPRESENTATIONS) if wanted == "all" else [wanted]
    return [load(REPRESENTATIONS, one)() if isinstance(one, str) else one for one in wanted]


@dataclass(frozen=True)
class _Sheet:
    """A part of a figure whose places are in inches from its top left corner."""

    figure: Any
    top: float

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        w, h = self.figure.get_size_inches()
        place = (left / w, 1 - (self.top + top + height) / h, width / w, height / h)
        axes: Axes = self.figure.add_axes(place)
        axes.set_axis_off()
        return axes

    def text(self, left: float, top: float, text: str, size: float, **style: Any) -> None:
        """Some lines; their top is at the place unless ``va`` says otherwise."""
        w, h = self.figure.get_size_inches()
        style = {"color": _INK, "va": "top", "ha": "left", "linespacing": 1.3, **style}
        self.figure.text(left / w, 1 - (self.top + top) / h, text, fontsize=size, **style)

    def card(self, left: float, top: float, width: float, height: float) -> None:
        from matplotlib.patches import FancyBboxPatch

        h = self.figure.get_size_inches()[1]
        box = FancyBboxPatch(
            (left, h - (self.top + top + height)),
            width,
            height,
            boxstyle="round,pad=0,rounding_size=0.08",
            facecolor=_PAPER,
            edgecolor=_RULE,
            linewidth=0.8,
            transform=self.figure.dpi_scale_trans,
            zorder=-1,
        )
        self.figure.add_artist(box)

    def rule(self, left: float, right: float) -> None:
        from matplotlib.lines import Line2D

        h = self.figure.get_size_inches()[1]
        at = h - self.top
        self.figure.add_artist(
            Line2D([left, right], [at, at], color=_RULE, transform=self.figure.dpi_scale_trans)
        )


def _draw_crystal(sheet: _Sheet, crystal: Crystals, title: str) -> None:
    """The structure, its elements, its cell."""
    formula = crystal.formulas[0]
    sheet.text(_MARGIN, _MARGIN, _subscripts(formula), 17, weight="bold")
    if title and title != formula:
        sheet.text(_MARGIN, _MARGIN + 0.34, textwrap.shorten(title, 44), 8.5, color=_SOFT)
    axes = sheet.axes(_MARGIN, _MARGIN + 0.5, _SIDE, _SIDE)
    picture = draw_structure(crystal, 540)
    axes.imshow(picture.pixels, interpolation="antialiased")
    _draw_directions(sheet, picture.corners)
    _draw_elements(sheet, crystal, _MARGIN + 0.5 + _SIDE + 0.12)
    lengths, angles = np.split(crystal.cell_parameters[0], 2)
    [group] = space_group_numbers(crystal)
    counts = f"{len(crystal.numbers)} sites in a cell of {crystal.volumes[0]:.1f} Å³"
    lines = [
        counts,
        "a, b, c     " + ", ".join(f"{v:.3f}" for v in lengths) + " Å",
        "α, β, γ     " + ", ".join(f"{v:.2f}" for v in angles) + "°",
        f"space group {group or 'not found'}",
        f"density    {crystal.densities[0]:.2f} g/cm³",
    ]
    top = _MARGIN + 0.5 + _SIDE + 0.5
    sheet.text(_MARGIN, top, "\n".join(lines), 8.5, linespacing=1.6)
    note = textwrap.fill(_HOW_TO_READ, 62)
    sheet.text(_MARGIN, top + 1.22, note, 6.8, color=_SOFT)


def _draw_directions(sheet: _Sheet, corners: Array) -> None:
    """Small arrows along a, b and c, below the structure on the right."""
    axes = sheet.axes(_MARGIN + _SIDE - 0.95, _MARGIN + 0.5 + _SIDE + 0.5, 0.8, 0.8)
    axes.set(xlim=(-1.2, 1.2), ylim=(1.2, -1.2))
    steps = corners[1:] - corners[0]
    steps = steps / np.linalg.norm(steps, axis=1).max()
    for name, colour, (x, y) in zip("abc", ("#c62828", "#2e7d32", "#1565c0"), steps, strict=True):
        style = {"arrowstyle": "-|>", "color": colour, "lw": 1.3, "shrinkA": 0, "shrinkB": 0}
        length = max(float(np.hypot(x, y)), 1e-9)
        x, y = x / length * max(length, 0.35), y / length * max(length, 0.35)
        axes.annotate("", (0.85 * x, 0.85 * y), (0, 0), arrowprops=style)
        axes.text(1.1 * x, 1.1 * y, name, color=colour, fontsize=8, ha="center", va="center")


def _draw_elements(sheet: _Sheet, crystal: Crystals, top: float) -> None:
    """A dot for each element, with how many atoms of it there are."""
    numbers, counts = np.unique(crystal.numbers, return_counts=True)
    axes = sheet.axes(_MARGIN, top, _SIDE, 0.28)
    axes.set(xlim=(0, _SIDE), ylim=(-0.14, 0.14))
    step = min(0.72, _SIDE / len(numbers))
    for i, (number, count) in enumerate(zip(numbers.tolist(), counts.tolist(), strict=True)):
        colour = element_colours()[number]
        axes.plot(0.1 + i * step, 0, "o", ms=10, mfc=colour, mec=0.6 * colour, mew=0.8)
        label = f"{SYMBOLS[number]} {count}"
        axes.text(0.22 + i * step, 0, label, fontsize=8.5, va="center", color=_INK)


def _draw_card(
    sheet: _Sheet, left: float, top: float, representation: Representation, crystal: Crystals
) -> None:
    """A representation: name, shapes, picture, and what is lost."""
    if representation.needs_fit:
        representation = representation.fit(crystal)
    sheet.card(left, top, _CARD_WIDTH, _CARD_HEIGHT)
    inner = left + 0.12
    sheet.text(inner, top + 0.23, representation.name, 10.5, weight="bold", va="baseline")
    back = "invertible" if isinstance(representation, InvertibleRepresentation) else "one way"
    style: dict[str, Any] = {"ha": "right", "va": "baseline"}
    sheet.text(left + _CARD_WIDTH - 0.12, top + 0.23, back, 7.5, color=_SOFT, **style)
    encoded, failure = _encoded(representation, crystal)
    sizes = {name: array.shape for name, array in encoded.items()} or _sizes(representation)
    shapes = ", ".join(_shape(name, size, representation) for name, size in sizes.items())
    sheet.text(inner, top + 0.31, textwrap.shorten(shapes, 46, placeholder=" …"), 7.5, color=_SOFT)
    place = (inner, top + _HEAD, _CARD_WIDTH - 0.24, _CARD_HEIGHT - _HEAD - _FOOT - 0.06)
    if failure is None:
        _draw_tiles(sheet, tiles(representation, encoded), *place)
    else:
        why = "\n".join(textwrap.wrap(failure.detail, 46)[:6])
        middle = (left + _CARD_WIDTH / 2, top + _HEAD + 0.62)
        reason = textwrap.wrap(f"refused: {failure.reason}", 33)
        sheet.text(*middle, "\n".join(reason), 9, color=_REFUSED, ha="center")
        below = middle[1] + 0.09 + 0.17 * len(reason)
        sheet.text(middle[0], below, why, 7.5, color=_SOFT, ha="center")
    lost = textwrap.wrap(f"loses {representation.lost}", 46)
    if len(lost) > 4:
        lost = [*lost[:3], lost[3][:46] + " …"]
    sheet.text(inner, top + _CARD_HEIGHT - _FOOT, "\n".join(lost), 7.3, linespacing=1.25)


def _encoded(
    representation: Representation, crystal: Crystals
) -> tuple[dict[str, Array], Failure | None]:
    """The arrays of the crystal without batch axis, or why there are none."""
    try:
        encoded = representation.encode(crystal)
    except MissingExtraError as error:
        return {}, Failure(0, "package not installed", str(error))
    if not len(encoded):
        return {}, encoded.failures[0]
    ragged = {name: isinstance((*s, 0)[0], str) for name, s in representation.shapes().items()}
    arrays = encoded.arrays.items()
    return {name: array if ragged[name] else array[0] for name, array in arrays}, None


def _sizes(representation: Representation) -> dict[str, tuple[int | str, ...]]:
    """Shapes of what was not encoded; none where a package that is not there knows them."""
    try:
        return representation.shapes()
    except MissingExtraError:
        return {}


def _shape(name: str, shape: tuple[int | str, ...], representation: Representation) -> str:
    sizes = " × ".join(map(str, shape))
    return sizes if name == representation.name else f"{name} {sizes}"


def _draw_tiles(
    sheet: _Sheet, shown: Sequence[Tile], left: float, top: float, width: float, height: float
) -> None:
    """Pictures in a grid; wide ones below each other."""
    wide = all(not tile.square for tile in shown)
    columns = 1 if wide or len(shown) == 1 else 2
    rows = max(1, -(-len(shown) // columns))
    caption = 0.17 if any(tile.caption for tile in shown) else 0.0
    w, h = width / columns, height / rows
    for i, tile in enumerate(shown):
        row, column = divmod(i, columns)
        x, y = left + column * w, top + row * h
        gap = 0.03
        axes = sheet.axes(x + gap, y + caption, w - 2 * gap, h - caption - gap)
        draw_tile(axes, tile)
        if caption:
            text = textwrap.shorten(tile.caption, int(20 * w), placeholder="…")
            sheet.text(x + w / 2, y + 0.02, text, 6.6, color=_SOFT, ha="center")


def draw_tile(axes: Axes, tile: Tile) -> None:
    """One tile on axes of matplotlib."""
    if tile.line:
        axes.plot(tile.pixels.ravel(), color=_LINE, lw=0.8)
        axes.margins(x=0.01)
        axes.axhline(0, color=_RULE, lw=0.6, zorder=0)
        return
    if tile.numbers:
        n = tile.pixels.size
        across = 3 if n % 3 == 0 else 4 if n > 4 else n  # what fits beside another tile
        texts = [f"{round(value, 3):.4g}" for value in tile.pixels.ravel().tolist()]
        rows = ["  ".join(texts[start : start + across]) for start in range(0, n, across)]
        axes.text(0.5, 0.5, "\n".join(rows), fontsize=7, ha="center", va="center", color=_INK)
        return
    low, high = float(tile.pixels.min()), float(tile.pixels.max())
    if tile.signed:
        high = max(abs(low), abs(high), 1e-12)
        low = -high
    axes.imshow(
        tile.pixels,
        cmap="RdBu_r" if tile.signed else tile.colours,
        vmin=low,
        vmax=max(high, low + 1e-12),
        interpolation="nearest",
        aspect="equal" if tile.square else "auto",
    )


def _subscripts(formula: str) -> str:
    """Numbers of a formula as subscripts."""
    return formula.translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))
