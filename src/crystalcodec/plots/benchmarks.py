"""Figures of a benchmark: learning curves, and error against what it costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from crystalcodec.plots.results import save

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["cost_scatter", "draw_benchmark", "learning_curves"]

Row = Mapping[str, Any]
# Okabe and Ito: told apart by people who see few colours.
_COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X")
_MOST_CURVES: Final = 7
_MOST_NAMES: Final = 10


def draw_benchmark(
    document: Mapping[str, Any], best: Sequence[Row], folder: Path
) -> dict[str, Path]:
    """Draw what there is to draw; gives PNG files by caption."""
    drawn: dict[str, Path] = {}
    unit = str(document["unit"])
    title = str(document["title"] or document["target"]).replace("_", " ")
    if any(row["n_train"] != document["rows"][0]["n_train"] for row in document["rows"]):
        path = folder / "learning_curves.png"
        save(learning_curves(document["rows"], best, title, unit), path)
        drawn["Mean absolute error against training rows; bars are the spread"] = path
    dear = [row for row in best if row["encode_seconds"] and row["train_seconds"]]
    if dear:
        path = folder / "costs.png"
        save(cost_scatter(dear, title, unit), path)
        drawn["Mean absolute error against the time to encode and to train, one thread"] = path
    return drawn


def learning_curves(rows: Sequence[Row], best: Sequence[Row], title: str, unit: str) -> Figure:
    """MAE against training rows, both logarithmic, of the best pairs and of the mean."""
    figure = _figure(8.6, 5.0)
    axes = figure.subplots()
    pairs = [(row["representation"], row["model"]) for row in best if row["model"] != "dummy"]
    shown = [*_best_of_each_model(best), *pairs]
    chosen = list(dict.fromkeys(shown))[:_MOST_CURVES]
    chosen.sort(key=pairs.index)
    for i, pair in enumerate(chosen):
        _curve(axes, rows, pair, _COLOURS[i % 7], _MARKERS[i % 7], f"{pair[0]}, {pair[1]}")
    for row in best:
        if row["model"] == "dummy":
            pair = row["representation"], row["model"]
            _curve(axes, rows, pair, "#8a8a8a", "", "mean of the training rows")
    axes.set_xscale("log")
    sizes = sorted({row["n_train"] for row in rows})
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.set_xticks([], minor=True)
    _logarithmic(axes.yaxis, *axes.get_ylim())
    axes.set_xlabel("training rows")
    axes.set_ylabel(f"test MAE{_bracket(unit)}")
    axes.set_title(title)
    axes.grid(color="#e4e4e4", lw=0.6)
    figure.legend(loc="outside right upper", frameon=False, fontsize=9)
    return figure


def cost_scatter(best: Sequence[Row], title: str, unit: str) -> Figure:
    """MAE against encode seconds (left) and train seconds (right), a colour a model."""
    figure = _figure(10.5, 5.0)
    left, right = figure.subplots(1, 2, sharey=True)
    models = sorted({row["model"] for row in best})
    for axes, key in ((left, "encode_seconds"), (right, "train_seconds")):
        for i, model in enumerate(models):
            some = [row for row in best if row["model"] == model]
            axes.scatter(
                [row[key] for row in some],
                [row["mae"] for row in some],
                color=_COLOURS[i % 7],
                marker=_MARKERS[i % 7],
                s=34,
                alpha=0.85,
                linewidths=0,
                label=model if axes is left else None,
            )
        times = [row[key] for row in best]
        axes.set_xscale("log")
        # Room for names on the right; at least a decade, so that its ends are named.
        axes.set_xlim(10 ** np.floor(np.log10(min(times))), 4 * max(times))
        axes.grid(color="#e4e4e4", lw=0.6)
        _name_the_front(axes, best, key)
    _logarithmic(left.yaxis, *left.get_ylim())
    left.set_xlabel("time to encode all crystals (s)")
    right.set_xlabel("time to train on the most rows (s)")
    left.set_ylabel(f"test MAE{_bracket(unit)}")
    figure.suptitle(title)
    figure.legend(loc="outside right upper", frameon=False, fontsize=9)
    return figure


def _name_the_front(axes: Any, best: Sequence[Row], key: str) -> None:
    """Names of the points that no cheaper one is better than."""
    lowest, named = np.inf, 0
    for row in sorted(best, key=lambda one: (one[key], one["mae"])):
        if row["mae"] < lowest and named < _MOST_NAMES:
            lowest, named = row["mae"], named + 1
            axes.annotate(
                row["representation"],
                (row[key], row["mae"]),
                xytext=(4, -9),
                textcoords="offset points",
                fontsize=7.5,
                color="#333333",
            )


def _best_of_each_model(best: Sequence[Row]) -> list[tuple[str, str]]:
    """The best pair of each model, so that the figure does not show one model alone."""
    first: dict[str, tuple[str, str]] = {}
    for row in best:
        if row["model"] != "dummy":
            first.setdefault(row["model"], (row["representation"], row["model"]))
    return list(first.values())[: _MOST_CURVES - 2]


def _curve(
    axes: Any, rows: Sequence[Row], pair: tuple[str, str], colour: str, marker: str, label: str
) -> None:
    points = sorted(
        (row["n_train"], row["mae"], row["mae_std"] or 0.0)
        for row in rows
        if (row["representation"], row["model"]) == pair and row["complete"]
    )
    axes.errorbar(
        [p[0] for p in points],
        [p[1] for p in points],
        yerr=[p[2] for p in points],
        color=colour,
        marker=marker,
        ms=5,
        lw=1.4,
        capsize=2.5,
        ls="-" if marker else "--",
        label=label,
    )


def _figure(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _logarithmic(axis: Any, low: float, high: float) -> None:
    """Logarithmic with numbers as 0.05 and not 5 x 10^-2; linear over a small range."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    if low <= 0 or high < 1.5 * low:
        return
    axis.axes.set_yscale("log")
    subs = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0) if high < 12 * low else (1.0, 2.0, 5.0)
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def _bracket(unit: str) -> str:
    return f" ({unit})" if unit else ""
