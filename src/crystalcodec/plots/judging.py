"""Figures of a judgement: how attempts are lost, how values spread, and crystals as pictures."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["crystal_png", "funnel", "histogram"]

Floats = npt.NDArray[np.float64]

_GENERATED: Final = "#d55e00"
_HELD_OUT: Final = "#0b5fa5"
_BARS: Final = "#56789b"
_MAX_DRAWN_SITES: Final = 1000
# Values beyond these quantiles of either side are put into the outermost bins.
_SHOWN: Final = (0.005, 0.995)


def funnel(stages: Sequence[tuple[str, int]]) -> Figure:
    """Attempts that are left after each stage, as bars from the top, with numbers and shares."""
    figure = _figure(7.2, 0.45 * len(stages) + 0.5)
    axes = figure.subplots()
    most = max(1, stages[0][1])
    places = np.arange(len(stages))[::-1]
    axes.barh(places, [count for _, count in stages], color=_BARS, height=0.72)
    for place, (_, count) in zip(places, stages, strict=True):
        told = f"{count:,}  ({100 * count / most:.3g} %)"
        inside = count > 0.75 * most
        axes.text(
            count + (-0.01 if inside else 0.01) * most,
            place,
            told,
            va="center",
            ha="right" if inside else "left",
            color="white" if inside else "#1c1c1c",
        )
    axes.set_yticks(places, [name for name, _ in stages])
    axes.tick_params(axis="y", length=0)
    axes.set_xticks([])
    axes.set_xlim(0, most)
    for side in axes.spines.values():
        side.set_visible(False)
    return figure


def histogram(
    values: Floats, name: str, unit: str, held_out: Floats | None = None
) -> tuple[Figure, bool]:
    """Shares of attempts by value, beside those of held-out crystals where there are any.

    Parameters
    ----------
    values, held_out
        Finite values.

    Returns
    -------
    Figure, and whether values lie beyond the axis: they are counted in the outermost bins.
    """
    sides = [values] if held_out is None or not len(held_out) else [values, held_out]
    edges = _edges(np.concatenate(sides), sides)
    figure = _figure(4.4, 3.0)
    axes = figure.subplots()
    if len(sides) > 1:
        _stairs(axes, sides[1], edges, _HELD_OUT, f"held-out ({len(sides[1]):,})", 0.45)
    _stairs(axes, values, edges, _GENERATED, f"generated ({len(values):,})", 0.35)
    axes.set_xlabel(f"{name.replace('_', ' ')}{f' ({unit})' if unit else ''}")
    axes.set_ylabel("share")
    axes.set_xlim(edges[0], edges[-1])
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    both = np.concatenate(sides)
    return figure, bool(((both < edges[0]) | (both > edges[-1])).any())


def _stairs(
    axes: object, values: Floats, edges: Floats, colour: str, label: str, alpha: float
) -> None:
    counts = np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0] / max(1, len(values))
    draw = axes.stairs  # type: ignore[attr-defined]
    draw(counts, edges, fill=True, alpha=alpha, color=colour, label=label)
    draw(counts, edges, color=colour, lw=1.1)


def _edges(both: Floats, sides: Sequence[Floats]) -> Floats:
    """Bins between the outer quantiles; one for each whole number where there are few of these."""
    low = min(float(np.quantile(side, _SHOWN[0])) for side in sides)
    high = max(float(np.quantile(side, _SHOWN[1])) for side in sides)
    if np.array_equal(both, np.rint(both)) and high - low < 60:
        return np.arange(np.floor(low) - 0.5, np.ceil(high) + 1.0)
    if high - low < 1e-12 * max(1.0, abs(high)):
        return np.linspace(low - 0.5, high + 0.5, 12)
    return np.linspace(low, high, 41)


def crystal_png(crystal: Crystals, size: int = 260) -> bytes | None:
    """A picture of one crystal; None where it has more sites than a picture shows."""
    from PIL import Image

    from crystalcodec.plots.structures import draw_structure

    if crystal.n_sites[0] > _MAX_DRAWN_SITES:
        return None
    pixels = draw_structure(crystal, size).pixels
    white = pixels[..., :3] * pixels[..., 3:] + 1 - pixels[..., 3:]
    image = Image.fromarray((255 * np.clip(white, 0, 1)).round().astype(np.uint8))
    # Few colours: a page of many pictures stays small.
    stream = io.BytesIO()
    image.quantize(128).save(stream, "png", optimize=True)
    return stream.getvalue()


def _figure(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure
