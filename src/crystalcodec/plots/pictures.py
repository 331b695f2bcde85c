"""Figures of judged pictures: some of either side, numbers of atoms, power spectra."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["atom_count_shares", "picture_strip", "spectra_curves"]

Floats = npt.NDArray[np.float64]

_GENERATED: Final = "#d55e00"
_REFERENCE: Final = "#0b5fa5"


def picture_strip(generated: npt.NDArray[Any], reference: npt.NDArray[Any]) -> Figure:
    """A row of generated pictures above a row of reference pictures.

    Parameters
    ----------
    generated, reference : (k, height, width, channels)
        uint8, or numbers that are cut to 0 and 1; one or three channels, of others the first.
    """
    columns = max(1, len(generated), len(reference))
    figure = _figure(1.05 * columns + 0.5, 2.4)
    axes = figure.subplots(2, columns, squeeze=False)
    for row, (name, some) in zip(
        axes, (("generated", generated), ("real", reference)), strict=True
    ):
        for place, one in enumerate(row):
            one.set_xticks([])
            one.set_yticks([])
            one.spines[:].set_visible(False)
            if place < len(some):
                one.imshow(
                    _shown(some[place]), cmap="gray", vmin=0, vmax=1, interpolation="nearest"
                )
        row[0].set_ylabel(name)
    return figure


def atom_count_shares(generated: Floats, reference: Floats) -> Figure:
    """Shares of pictures by number of atoms, of both sides."""
    figure = _figure(4.4, 3.0)
    axes = figure.subplots()
    both = np.concatenate([generated, reference])
    low, high = (float(both.min()), float(both.max())) if len(both) else (0.0, 1.0)
    step = max(1.0, np.ceil((high - low + 1) / 60))
    edges = np.arange(low - 0.5, high + step + 0.5, step)
    sides = ((reference, _REFERENCE, "real"), (generated, _GENERATED, "generated"))
    for values, colour, name in sides:
        shares = np.histogram(values, edges)[0] / max(1, len(values))
        axes.stairs(shares, edges, fill=True, alpha=0.4, color=colour)
        axes.stairs(shares, edges, color=colour, lw=1.1, label=f"{name} ({len(values):,})")
    axes.set_xlabel("atoms in a picture")
    axes.set_ylabel("share" if step == 1 else f"share, in bins of {step:.0f}")
    return _finished(figure, axes)


def spectra_curves(
    frequencies: Sequence[float],
    generated: Sequence[Sequence[float]],
    reference: Sequence[Sequence[float]],
) -> Figure:
    """Mean logarithms of power by frequency, of both sides, a line for each channel.

    Parameters
    ----------
    frequencies : (k,)
        Cycles a pixel.
    generated, reference : (channels, k)
        Decadic logarithms.
    """
    figure = _figure(4.4, 3.0)
    axes = figure.subplots()
    styles = ("-", "--", ":", "-.")
    for rows, colour, name in (
        (reference, _REFERENCE, "real"),
        (generated, _GENERATED, "generated"),
    ):
        for i, row in enumerate(rows):
            told = name if len(rows) == 1 else f"{name}, channel {i}"
            axes.plot(frequencies, row, styles[i % len(styles)], color=colour, lw=1.4, label=told)
    axes.set_xlabel("frequency (cycles a pixel)")
    axes.set_ylabel("power, decadic logarithm")
    return _finished(figure, axes)


def _shown(picture: npt.NDArray[Any]) -> npt.NDArray[Any]:
    scale = 255 if picture.dtype == np.uint8 else 1
    values = np.clip(picture / scale, 0, 1)
    return values if values.shape[2] == 3 else values[..., 0]


def _finished(figure: Figure, axes: Any) -> Figure:
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _figure(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure
