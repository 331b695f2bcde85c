"""Tables of figures: as text, CSV and Markdown; and the table of all attempts."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from crystalcodec.evaluation.base import Attempts
from crystalcodec.io.whole import whole_file
from crystalcodec.workflow.judge_baselines import Baseline
from crystalcodec.workflow.judge_figures import Figures, Measured

__all__ = ["SHIFTED", "interval_text", "number", "text_table", "write_attempts", "write_tables"]

SHIFTED: Final = (
    "An interval with a star does not hold its number: its samples repeat attempts, and what grows "
    "with the number of different ones (coverage, closeness of distributions) is worse in each. "
    "Its width tells how sure the number is; its place does not."
)


def text_table(figures: Figures, baselines: Sequence[Baseline] = ()) -> str:
    """A line for each figure: name, value, 95 % interval, n, failures; then the baselines."""
    heads = ["", "value", "95 % interval", "n", "failures", *(one.name for one in baselines)]
    lines: list[list[str]] = [heads]
    for family, own in figures.items():
        lines.append([family])
        lines += [["  " + _title(one), *_cells(one, baselines)] for one in own]
    widths = [
        max(len(line[i]) for line in lines if len(line) > i) if i else _widest(lines)
        for i in range(len(heads))
    ]
    rows = [
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=False))
        ).rstrip()
        for line in lines
    ]
    if any(one.shifted for own in figures.values() for one in own):
        rows.append(f"* {SHIFTED}")
    return "\n".join(rows)


def write_tables(folder: Path, figures: Figures, baselines: Sequence[Baseline]) -> None:
    """``judge.csv`` with full numbers and definitions, ``judge.md`` to paste; whole or not."""
    beside = [f"{one.name}{end}" for one in baselines for end in ("", "_low", "_high")]
    heads = ["family", "figure", "unit", "value", "low", "high", "n", "failures", "better"]
    rows: list[list[Any]] = [[*heads, *beside, "definition"]]
    for family, own in figures.items():
        for one in own:
            named = [family, one.name, one.unit]
            numbers = [_plain(value) for value in (one.value, one.low, one.high)]
            rows.append([*named, *numbers, one.n, sum(one.failures.values()), one.better])
            for other in (baseline.find(one) for baseline in baselines):
                values = (other.value, other.low, other.high) if other else (np.nan,) * 3
                rows[-1] += map(_plain, values)
            rows[-1].append(one.definition)
    _write_csv(folder / "judge.csv", rows)
    columns = ["figure", "value", "95 % interval", "n", "failures"]
    heads = [*columns, *(one.name for one in baselines)]
    lines = [f"| {' | '.join(heads)} |", f"| --- |{' ---: |' * (len(heads) - 1)}"]
    for family, own in figures.items():
        lines.append(f"| **{family}** |{' |' * (len(heads) - 1)}")
        lines += [f"| {' | '.join([_title(one), *_cells(one, baselines)])} |" for one in own]
    with whole_file(folder / "judge.md") as partial:
        Path(partial).write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_attempts(
    path: Path, attempts: Attempts, ids: Sequence[str], figures: Sequence[Measured]
) -> None:
    """CSV of all attempts: name, formula, each figure that has values of each, and why not."""
    formulas = [""] * attempts.n
    for position, formula in zip(
        attempts.positions.tolist(), attempts.crystals.formulas, strict=True
    ):
        formulas[position] = formula
    failed = {failure.index: failure for failure in attempts.failures}
    told = [one for one in figures if one.of_each is not None and len(one.of_each) == attempts.n]
    names = [one.name for one in told]
    columns: dict[str, Iterable[Any]] = {
        "attempt": range(attempts.n),
        "id": ids or [""] * attempts.n,
        "formula": formulas,
    }
    for one in told:
        label = one.name if names.count(one.name) == 1 else f"{one.family}.{one.name}"
        columns[label] = [_plain(value) for value in np.asarray(one.of_each).tolist()]
    columns["reason"] = [failed[i].reason if i in failed else "" for i in range(attempts.n)]
    columns["detail"] = [failed[i].detail if i in failed else "" for i in range(attempts.n)]
    _write_csv(path, [list(columns), *zip(*columns.values(), strict=True)])


def number(value: float) -> str:
    """Four digits; a dash where there is no number."""
    if value != value:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def interval_text(figure: Measured) -> str:
    """Both ends; a star where they do not hold the value, a dash where there is no interval."""
    if figure.low != figure.low:
        return "–"
    return f"{number(figure.low)} to {number(figure.high)}{'*' if figure.shifted else ''}"


def _cells(figure: Measured, baselines: Sequence[Baseline]) -> list[str]:
    others = [one.find(figure) for one in baselines]
    return [
        number(figure.value),
        interval_text(figure),
        f"{figure.n:,}",
        f"{sum(figure.failures.values()):,}",
        *("–" if other is None else number(other.value) for other in others),
    ]


def _title(figure: Measured) -> str:
    return f"{figure.name} ({figure.unit})" if figure.unit else figure.name


def _widest(lines: Sequence[Sequence[str]]) -> int:
    return max(len(line[0]) for line in lines)


def _plain(value: float) -> float | str:
    if value != value:
        return ""
    whole = math.isfinite(value) and abs(value) < 2**53 and value == int(value)
    return int(value) if whole else value


def _write_csv(path: Path, rows: Iterable[Sequence[Any]]) -> None:
    with whole_file(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
