"""The table of predictions: values of one or several targets for each crystal, and its files."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt

from crystalcodec.failures import Failure
from crystalcodec.io.whole import whole_file

__all__ = ["PredictionError", "Predictions", "check_table_path", "joined"]

Floats = npt.NDArray[np.float64]


class PredictionError(ValueError):
    """Predictions that cannot be made or written at all."""


@dataclass(frozen=True)
class Predictions:
    """Values of t targets for each of n crystals, NaN where there are none, and why.

    Parameters
    ----------
    targets, units
        The t properties and their units, empty where the data told none.
    values : (n, t)
        Predicted values; of a class the probability of true.
    failures
        One for each crystal without values; their index is its row.
    ids, sources, formulas : (n,)
        Of each row; a file that could not be read has no formula.
    probabilities
        By target, (n,): of not being 0, where a classifier finds the zeros.
    lower, upper : (n, t)
        Ends of the interval of each value, None where there are no intervals.
    spread : (n, t)
        Standard deviation over the members of an ensemble.
    coverage
        The probability that an interval is calibrated for.
    distance : (n,)
        To the training crystals; 1 is usual among validation crystals.
    percentile : (n,)
        Per cent of validation crystals that are nearer to the training crystals.
    nearest
        For each row the ids of its nearest training crystals, where they were asked for.
    warnings
        For each row what a reader should know of its values, empty for nothing.
    target_warnings
        The same about the values of one target, by target.
    """

    targets: tuple[str, ...]
    units: tuple[str, ...]
    values: Floats
    failures: tuple[Failure, ...]
    ids: tuple[str, ...]
    sources: tuple[str, ...]
    formulas: tuple[str, ...]
    probabilities: Mapping[str, Floats] = field(default_factory=dict)
    lower: Floats | None = None
    upper: Floats | None = None
    spread: Floats | None = None
    coverage: float | None = None
    distance: Floats | None = None
    percentile: Floats | None = None
    nearest: tuple[str, ...] | None = None
    warnings: tuple[str, ...] | None = None
    target_warnings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.values)

    def of(self, target: str) -> Floats:
        """(n,) values of one target; KeyError where it is none of these."""
        if target not in self.targets:
            raise KeyError(f"no target {target!r}: there is {', '.join(self.targets)}")
        return np.asarray(self.values[:, self.targets.index(target)])

    def select(self, targets: Sequence[str]) -> Predictions:
        """The same rows with these targets alone; KeyError where one is none of these."""
        for target in targets:
            self.of(target)
        places = [self.targets.index(target) for target in targets]
        tables: dict[str, Any] = {
            name: table[:, places]
            for name in ("values", "lower", "upper", "spread")
            if (table := getattr(self, name)) is not None
        }
        return replace(
            self,
            targets=tuple(targets),
            units=tuple(self.units[i] for i in places),
            probabilities={k: v for k, v in self.probabilities.items() if k in targets},
            target_warnings={k: v for k, v in self.target_warnings.items() if k in targets},
            **tables,
        )

    def all_warnings(self) -> list[str]:
        """For each row its warnings and those of its targets, by name, in one line."""
        lines = [[text] if text else [] for text in self.warnings or [""] * len(self)]
        for target in self.targets:
            for own, text in zip(lines, self.target_warnings.get(target, ()), strict=False):
                if text:
                    own.append(f"{target}: {text}")
        return ["; ".join(own) for own in lines]

    def rows(self) -> list[dict[str, Any]]:
        """One row for each crystal, in the columns of the files.

        ``source``, ``id``, ``formula``; for each target its name, then, where there are any,
        ``_lower``, ``_upper``, ``_spread`` and ``_probability`` of it, and ``_unit``; ``distance``,
        ``distance_percentile``, ``nearest`` and ``warning`` where there are any; ``reason`` and
        ``detail`` of a row without values.
        """
        columns = self._columns()
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def write(self, path: str | Path) -> None:
        """Write the rows as ``.csv``, ``.json`` or ``.parquet``, by the ending; whole or not.

        Raises
        ------
        PredictionError
            Another ending.
        OSError
            Where the file cannot be written.
        """
        path = Path(path)
        check_table_path(path)
        with whole_file(path) as partial:
            if path.suffix == ".json":
                text = json.dumps(self.rows(), indent=1, ensure_ascii=False)
                Path(partial).write_text(text + "\n", encoding="utf-8")
            elif path.suffix == ".csv":
                with Path(partial).open("w", newline="", encoding="utf-8") as file:
                    self.write_csv(file)
            else:
                import pyarrow as pa
                import pyarrow.parquet as pq

                numbers = self._numbers()
                kinds = {True: pa.float64(), False: pa.string()}
                table = {
                    name: pa.array(column, kinds[name in numbers])
                    for name, column in self._columns().items()
                }
                pq.write_table(pa.table(table), partial, compression="zstd")

    def write_csv(self, file: TextIO) -> None:
        """Write the rows to an open text file."""
        writer = csv.writer(file)
        columns = self._columns()
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))

    def _numbers(self) -> dict[str, Floats]:
        """The (n,) columns of numbers, in their order."""
        numbers = {}
        for i, target in enumerate(self.targets):
            numbers[target] = self.values[:, i]
            for name in ("lower", "upper", "spread"):
                table = getattr(self, name)
                if table is not None:
                    numbers[f"{target}_{name}"] = table[:, i]
            if target in self.probabilities:
                numbers[f"{target}_probability"] = self.probabilities[target]
        if self.distance is not None:
            numbers["distance"] = self.distance
        if self.percentile is not None:
            numbers["distance_percentile"] = self.percentile
        return numbers

    def _columns(self) -> dict[str, list[Any]]:
        columns: dict[str, list[Any]] = {
            "source": list(self.sources),
            "id": list(self.ids),
            "formula": list(self.formulas),
        }
        numbers = {name: _shown(column) for name, column in self._numbers().items()}
        for target, unit in zip(self.targets, self.units, strict=True):
            columns[target] = numbers.pop(target)
            for name in ("lower", "upper", "spread", "probability"):
                if f"{target}_{name}" in numbers:
                    columns[f"{target}_{name}"] = numbers.pop(f"{target}_{name}")
            columns[f"{target}_unit"] = [unit] * len(self)
        columns |= numbers  # the distance and its percentile
        if self.nearest is not None:
            columns["nearest"] = list(self.nearest)
        if self.warnings is not None:
            columns["warning"] = self.all_warnings()
        why = {failure.index: failure for failure in self.failures}
        rows = [why.get(i) for i in range(len(self))]
        columns["reason"] = [failure.reason if failure else "" for failure in rows]
        columns["detail"] = [failure.detail if failure else "" for failure in rows]
        return columns


def joined(tables: Sequence[Predictions]) -> Predictions:
    """Predictions of several models for the same crystals as one table.

    A row is a failure where no model has values for it; where some have none, the warning says
    why. Distances are to the training crystals of the first model.
    """
    first, *others = tables
    if not others:
        return first
    why = [{failure.index: failure for failure in table.failures} for table in tables]
    nowhere = set.intersection(*(set(found) for found in why))
    notes: list[list[str]] = [[] for _ in range(len(first))]
    for table, found in zip(tables, why, strict=True):
        for i, text in enumerate(table.warnings or ()):
            # Models that share training crystals warn of the same elements.
            if text and text not in notes[i]:
                notes[i].append(text)
        for i in found.keys() - nowhere:
            names = ", ".join(table.targets)
            notes[i].append(f"no {names}: {found[i].reason} ({found[i].detail})")
    some = any(table.warnings is not None for table in tables) or any(notes)
    return replace(
        first,
        targets=tuple(target for table in tables for target in table.targets),
        units=tuple(unit for table in tables for unit in table.units),
        values=np.concatenate([table.values for table in tables], axis=1),
        failures=tuple(failure for failure in first.failures if failure.index in nowhere),
        probabilities={k: v for table in tables for k, v in table.probabilities.items()},
        lower=_side_by_side([table.lower for table in tables], tables),
        upper=_side_by_side([table.upper for table in tables], tables),
        spread=_side_by_side([table.spread for table in tables], tables),
        coverage=next((t.coverage for t in tables if t.coverage is not None), None),
        warnings=tuple("; ".join(texts) for texts in notes) if some else None,
        target_warnings={k: v for table in tables for k, v in table.target_warnings.items()},
    )


def _side_by_side(columns: Sequence[Floats | None], tables: Sequence[Predictions]) -> Floats | None:
    """Columns of all models, NaN for a model that has none; None where no model has any."""
    if all(part is None for part in columns):
        return None
    return np.concatenate(
        [
            np.full(table.values.shape, np.nan) if part is None else part
            for part, table in zip(columns, tables, strict=True)
        ],
        axis=1,
    )


def check_table_path(path: str | Path) -> None:
    """Raise PredictionError where no table can be written under that name."""
    if Path(path).suffix not in (".csv", ".json", ".parquet"):
        raise PredictionError(f"{path}: wanted a name that ends in .csv, .json or .parquet")


def _shown(column: Floats) -> list[float | None]:
    """Numbers of seven digits, which is what a float32 network has; None for NaN."""
    return [float(f"{value:.7g}") if value == value else None for value in column.tolist()]
