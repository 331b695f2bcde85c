"""Figures of results: drawn off screen, with units, readable at the size they are saved in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.io.whole import whole_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["learning_curve", "parity", "probabilities", "save"]

_TRAINING: Final = "#8a8a8a"
_HELD_OUT: Final = "#0b5fa5"


def learning_curve(history: Sequence[Mapping[str, float]], target: str, unit: str) -> Figure:
    """Training loss above, the watched validation error below, by epoch, on logarithmic axes."""
    figure = _figure(6.4, 5.4)
    seen = [row for row in history if _watched(row)]
    upper, lower = figure.subplots(2, 1, sharex=True)
    upper.set_title(f"Learning curve: {_words(target)}")
    upper.plot([row["epoch"] for row in history], [row["loss"] for row in history], color=_TRAINING)
    upper.set_ylabel("training loss\n(transformed target)")
    watched = _watched(seen[0]) if seen else "validation_mae"
    errors = [row[watched] for row in seen]
    # Shares and entropies have no unit.
    unit = unit if watched == "validation_mae" else ""
    lower.plot(
        [row["epoch"] for row in seen],
        errors,
        color=_HELD_OUT,
        marker="." if len(seen) < 40 else None,
    )
    if errors:
        label = f"last {errors[-1]:.4g}{_unit(unit)}"
        lower.text(0.98, 0.93, label, transform=lower.transAxes, ha="right", va="top")
    lower.set_ylabel(f"{_words(watched).replace('mae', 'MAE')}{_bracket(unit)}")
    lower.set_xlabel("epoch")
    for axes in (upper, lower):
        axes.grid(axis="y", color="#e4e4e4", lw=0.6)
        _logarithmic(axes)
    figure.align_ylabels()
    return figure


def parity(
    targets: npt.ArrayLike,
    predictions: npt.ArrayLike,
    target: str,
    unit: str,
    title: str,
    metrics: Mapping[str, Any] | None = None,
) -> Figure:
    """Predicted against true values: where points crowd, their number by colour."""
    wanted, got = np.asarray(targets, float), np.asarray(predictions, float)
    figure = _figure(5.4, 5.2)
    axes = figure.subplots()
    low, high = _limits(np.concatenate([wanted, got]))
    axes.plot([low, high], [low, high], color="#999999", lw=0.8, zorder=0)
    if len(wanted) > 1500:
        cells = axes.hexbin(
            wanted,
            got,
            gridsize=90,
            bins="log",
            mincnt=1,
            extent=(low, high, low, high),
            cmap="viridis",
            linewidths=0.1,
        )
        bar = figure.colorbar(cells, ax=axes, label="crystals in a cell", shrink=0.8)
        bar.ax.yaxis.set_major_formatter("{x:g}")
    else:
        axes.scatter(wanted, got, s=10, color=_HELD_OUT, alpha=0.5, linewidths=0)
    axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")
    axes.set_xlabel(f"true {_words(target)}{_bracket(unit)}")
    axes.set_ylabel(f"predicted {_words(target)}{_bracket(unit)}")
    axes.set_title(f"{title[:1].upper()}{title[1:]}: {len(wanted):,} crystals")
    if metrics and metrics.get("n"):
        lines = [
            f"MAE {metrics['mae']:.4g}{_unit(unit)}",
            f"RMSE {metrics['rmse']:.4g}{_unit(unit)}",
        ]
        if np.isfinite(metrics["r2"]):
            lines.append(f"R² {metrics['r2']:.4f}")
        axes.text(0.04, 0.96, "\n".join(lines), transform=axes.transAxes, va="top")
    return figure


def probabilities(
    targets: npt.ArrayLike, predictions: npt.ArrayLike, target: str, title: str
) -> Figure:
    """How often each probability is predicted, for crystals of either class."""
    wanted, got = np.asarray(targets, float), np.asarray(predictions, float)
    figure = _figure(5.4, 4.2)
    axes = figure.subplots()
    edges = np.linspace(0, 1, 26)
    for value, name, color in ((0, "false", _TRAINING), (1, "true", _HELD_OUT)):
        there = got[wanted == value]
        counts = np.histogram(there, edges)[0] / max(1, len(there))
        label = f"{name}: {len(there):,} crystals"
        axes.stairs(counts, edges, fill=True, alpha=0.6, color=color, label=label)
    axes.set(xlim=(0, 1))
    axes.set_xlabel(f"predicted probability of {_words(target)}")
    axes.set_ylabel("share of the class")
    axes.set_title(f"{title[:1].upper()}{title[1:]}: {len(wanted):,} crystals")
    axes.legend(frameon=False)
    return figure


def save(figure: Figure, path: str | Path) -> None:
    """Write a PNG, whole or not at all."""
    with whole_file(path) as partial:
        # No creation date and no software version: the same figure is the same file.
        figure.savefig(partial, format="png", dpi=150, metadata={"Software": None})


def _figure(width: float, height: float) -> Figure:
    # A Figure of its own, not pyplot's: no global state, no screen.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _logarithmic(axes: Any) -> None:
    """A logarithmic y axis with numbers as 0.05 and not 5 x 10^-2; linear over a small range."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    low, high = axes.get_ylim()
    if low <= 0 or high < 2 * low:
        return
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    decades = np.log10(high / low)
    subs: tuple[float, ...] = (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0)
    if decades > 0.6:
        subs = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0) if decades < 1.2 else (1.0, 2.0, 5.0)
    axes.yaxis.set_major_locator(LogLocator(subs=subs if decades < 3 else (1.0,)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())


def _limits(values: npt.NDArray[np.float64]) -> tuple[float, float]:
    if not len(values):
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    margin = 0.04 * (high - low) or 1.0
    return low - margin, high + margin


def _watched(row: Mapping[str, float]) -> str:
    """The first figure on held-out crystals in a row of the history, empty without any."""
    return next((name for name in row if name.startswith("validation_")), "")


def _words(name: str) -> str:
    return name.replace("_", " ")


def _unit(unit: str) -> str:
    return f" {unit}" if unit else ""


def _bracket(unit: str) -> str:
    return f" ({unit})" if unit else ""
