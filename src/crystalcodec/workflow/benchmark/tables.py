"""The results of a benchmark for people: Markdown, and what the page and its figures show."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from crystalcodec.workflow.benchmark.summary import Summary

__all__ = ["HEADS", "cells_of", "markdown", "write_page"]

HEADS: Final = (
    "representation",
    "model",
    "training rows",
    "MAE",
    "RMSE",
    "R²",
    "MAE of held",
    "not held (train, test)",
    "length",
    "encode (1/s)",
    "train (s)",
    "predict (s)",
    "peak memory (MB)",
)


def markdown(summary: Summary) -> str:
    """The table of the best rows and of what has no figures."""
    document = summary.document
    unit = f" ({document['unit']})" if document["unit"] else ""
    heads = [f"{head}{unit}" if head in ("MAE", "RMSE", "MAE of held") else head for head in HEADS]
    lines = [_line(heads), _line(["---", "---", *["---:"] * (len(heads) - 2)])]
    entries = [(row["mae"], cells_of(row)) for row in summary.best]
    empty = [""] * (len(HEADS) - 4)
    for name, value in document["published"].items():
        entries.append((value, [f"*{name}*", "*published*", "", f"{value:g}", *empty]))
    lines += [_line(cells) for _, cells in sorted(entries, key=lambda entry: entry[0])]
    text = [f"# {document['title'] or document['target']}", "", lead(document), "", *lines]
    if summary.without_figures:
        text += ["", "Without figures:", "", _line(["representation", "model", "rows", "", "why"])]
        text.append(_line(["---", "---", "---:", "---", "---"]))
        for group in summary.without_figures:
            counts = ", ".join(f"{n:,}" for n in group["n_train"])
            text.append(
                _line(
                    [
                        group["representation"],
                        group["model"],
                        counts,
                        group["status"],
                        group["reason"],
                    ]
                )
            )
    return "\n".join([*text, ""])


def lead(document: Mapping[str, Any]) -> str:
    """What was trained on what, in a sentence or two."""
    config = document["config"]
    rows = f"{document['n_train']:,} rows to train on, {document['n_test']:,} to test"
    folds = document["n_folds"]
    if folds > 1:
        rows = f"{folds} folds of {rows}"
    spread = "folds" if folds > 1 else "seeds"
    waiting = document.get("n_waiting", 0)
    taken = document.get("taken_over", {}).items()
    return (
        f"{document['target']}: {rows}. Seeds {', '.join(map(str, config['seeds']))}; ± is the "
        f"sample standard deviation over {spread}. The search of each model tries "
        f"{config['budget']} settings on a tenth of the training rows. Crystals that a "
        "representation cannot hold are predicted as the mean of the training rows and count in "
        "MAE, RMSE and R²."
        + "".join(f" {n:,} cells were taken from {path}, times included." for path, n in taken)
        + (f" {waiting:,} cells are not computed yet." if waiting else "")
    )


def cells_of(row: Mapping[str, Any]) -> list[str]:
    """The cells of a row, in the order of :data:`HEADS`."""
    return [
        row["representation"],
        row["model"],
        f"{row['n_train']:,}",
        with_spread(row["mae"], row["mae_std"]) + _lacking(row),
        with_spread(row["rmse"], row["rmse_std"]),
        with_spread(row["r2"], row["r2_std"], 3),
        with_spread(row["mae_held"], row["mae_held_std"]),
        f"{_number(row['n_train_not_held'])}, {_number(row['n_test_not_held'])}",
        _number(row["length"]),
        _number(row["encode_rate"]),
        _seconds(row["train_seconds"]),
        _seconds(row["predict_seconds"]),
        "" if row["peak_memory"] is None else f"{row['peak_memory'] / 1e6:,.0f}",
    ]


def _lacking(row: Mapping[str, Any]) -> str:
    """How many of its cells have no figures, where some have none."""
    lacking = row["n_cells"] - row["n_finished"]
    return f" ({lacking} of {row['n_cells']} without)" if lacking else ""


def with_spread(value: float | None, spread: float | None, digits: int | None = None) -> str:
    """A mean with its spread; two digits after the point from 10 on, four below."""
    if value is None:
        return "none"
    if digits is None:
        digits = 2 if abs(value) >= 10 else 4
    mean = f"{value:.{digits}f}"
    return mean if spread is None else f"{mean} ± {spread:.{digits}f}"


def write_page(summary: Summary, folder: Path) -> None:
    """Write the figures and the HTML page."""
    from crystalcodec.benchmark_report import write_benchmark_report
    from crystalcodec.plots.benchmarks import draw_benchmark

    figures = draw_benchmark(summary.document, summary.best, folder)
    table = [(row["mae"], cells_of(row)) for row in summary.best]
    write_benchmark_report(
        folder / "benchmark.html",
        summary.document,
        lead(summary.document),
        list(HEADS),
        table,
        figures,
    )


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 10 or value == int(value) else f"{value:.1f}"


def _seconds(value: float | None) -> str:
    if value is None:
        return ""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.2g}" if value >= 1e-3 or value == 0 else "<0.001"
