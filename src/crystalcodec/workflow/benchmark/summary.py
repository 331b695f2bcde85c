"""What a benchmark found: cells gathered, seeds and folds as mean and spread, tables."""

from __future__ import annotations

import json
import os
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import numpy as np

from crystalcodec.io.whole import whole_file
from crystalcodec.workflow.benchmark.cells import candidates_of, is_current
from crystalcodec.workflow.benchmark.config import BenchmarkConfig
from crystalcodec.workflow.benchmark.documents import plain, read_document
from crystalcodec.workflow.benchmark.known import tried
from crystalcodec.workflow.benchmark.rows import Rows

__all__ = ["Summary", "gather", "summarise", "write_results"]

FORMAT: Final = 1
_METRICS: Final = ("mae", "rmse", "r2", "mae_held")
_COSTS: Final = ("search_seconds", "train_seconds", "predict_seconds")
_COLUMNS: Final = (
    "representation",
    "model",
    "size",
    "n_train",
    "fold",
    "seed",
    "status",
    "mae",
    "rmse",
    "r2",
    "mae_held",
    "n_train_not_held",
    "n_test_not_held",
    "search_seconds",
    "train_seconds",
    "predict_seconds",
    "peak_memory",
    "device",
    "settings",
    "reason",
)
_PACKAGES: Final = ("crystalcodec", "numpy", "scipy", "scikit-learn", "torch", "lightning")


@dataclass(frozen=True)
class Summary:
    """The whole of a benchmark, as ``benchmark.json`` holds it.

    Parameters
    ----------
    document
        ``rows``: one for each representation, model and size, with ``mae``, ``rmse``, ``r2`` and
        ``mae_held`` as mean and sample standard deviation (``mae_std``) over folds, or over seeds
        where there is one fold; ``cells``: every cell; ``representations``: encode time, length,
        crystals not held; and the data, versions and command.
    """

    document: Mapping[str, Any]

    @property
    def rows(self) -> list[Mapping[str, Any]]:
        """One for each representation, model and size."""
        return list(self.document["rows"])

    @property
    def complete(self) -> list[Mapping[str, Any]]:
        """Rows that have figures of every fold."""
        return [row for row in self.rows if row["complete"]]

    @property
    def best(self) -> list[Mapping[str, Any]]:
        """Of each representation and model the row of most training rows, by MAE."""
        largest: dict[tuple[str, str], Mapping[str, Any]] = {}
        for row in self.complete:
            pair = row["representation"], row["model"]
            if pair not in largest or row["n_train"] > largest[pair]["n_train"]:
                largest[pair] = row
        return sorted(largest.values(), key=lambda row: row["mae"])

    @property
    def without_figures(self) -> list[dict[str, Any]]:
        """Cells that were not run, failed or took too long, those of one reason together.

        Rows that have figures of some folds only are there, too.
        """
        return list(self.document["without_figures"])

    def markdown(self) -> str:
        """The table of :attr:`best`, with published figures, as Markdown."""
        from crystalcodec.workflow.benchmark.tables import markdown

        return markdown(self)


def gather(folder: Path, rows: Rows, config: BenchmarkConfig) -> list[dict[str, Any]]:
    """Documents of all cells on these rows with this search, the newest of each cell.

    Cells of another version of this library do not count, nor do those of a model that was tried
    with other settings: the ones of this configuration, or for a model that is not in it those of
    its newest cell.
    """
    identity, mine = rows.identity(), version("crystalcodec")
    found: list[tuple[tuple[bool, float], dict[str, Any]]] = []
    for path in sorted((folder / "cells").glob("*.json")):
        document = read_document(path)
        if document is None:
            continue
        told = document["identity"]
        if (told["rows"], told["version"]) != (identity, mine):
            continue
        if told["search_rows"] != config.search_rows or not is_current(told):
            continue
        here = told.get("device", config.device) == config.device
        found.append(((here, path.stat().st_mtime), document))
    found.sort(key=lambda one: one[0])
    last = {document["identity"]["model"]: document["identity"] for _, document in found}
    settings: dict[str, Any] = {name: told["candidates"] for name, told in last.items()}
    for name, choice in config.chosen_models().items():
        settings[name] = plain(candidates_of(name, config.budget, choice.settings))
    newest: dict[tuple[Any, ...], dict[str, Any]] = {}
    for _, document in found:
        told = document["identity"]
        if told["candidates"] == settings[told["model"]]:
            keys = ("model", "size", "seed", "fold")
            newest[document["label"], *(told[key] for key in keys)] = document
    # Not in the order in which they were computed, which the last digit of a mean would tell.
    return [newest[place] for place in sorted(newest, key=str)]


def summarise(
    cells: Sequence[Mapping[str, Any]], encodings: Mapping[str, Mapping[str, Any]], n_folds: int
) -> list[dict[str, Any]]:
    """One row for each representation, model and number of training rows.

    A row that has no figures of some of the folds is not ``complete``: folds differ, so that it
    does not compare with the others.
    """
    groups: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for cell in cells:
        told = cell["identity"]
        # Not by rows: all rows of one fold may be one more than those of another.
        groups.setdefault((cell["label"], told["model"], str(told["size"])), []).append(cell)
    by_label: dict[str, list[Mapping[str, Any]]] = {}
    for encoding in encodings.values():
        if encoding["status"] == "finished":
            by_label.setdefault(encoding["label"], []).append(encoding)
    rows = []
    for (label, model, size), group in groups.items():
        finished = [cell for cell in group if cell["status"] == "finished"]
        row: dict[str, Any] = {
            "representation": label,
            "model": model,
            "size": size,
            "n_train": max(map(_count, group)),
            "n_cells": len(group),
            "n_finished": len(finished),
            **_spread(finished),
            **{name: _mean([cell[name] for cell in finished]) for name in _COSTS},
            "peak_memory": max((cell["peak_memory"] for cell in finished), default=None),
            "n_train_not_held": _mean([cell["n_train_not_held"] for cell in finished]),
            "n_test_not_held": _mean([cell["n_test_not_held"] for cell in finished]),
        }
        row["complete"] = row["n_folds"] == n_folds
        known = by_label.get(label, [])
        row["length"] = _mean([one["length"] for one in known])
        row["encode_seconds"] = _mean([one["encode_seconds"] for one in known])
        row["encode_rate"] = _mean(
            [one["n"] / one["encode_seconds"] for one in known if one["encode_seconds"]]
        )
        rows.append(row)
    return sorted(rows, key=lambda row: (row["n_train"], row["mae"] is None, row["mae"] or 0.0))


def _spread(cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean and spread over folds (each the mean of its seeds), or over seeds of one fold."""
    folds = sorted({cell["identity"]["fold"] for cell in cells})
    figures: dict[str, Any] = {}
    for name in _METRICS:
        values = [[c[name] for c in cells if c["identity"]["fold"] == f] for f in folds]
        parts = [_mean(part) for part in values] if len(folds) > 1 else (values or [[]])[0]
        kept = [part for part in parts if part is not None]
        figures[name] = _mean(kept)
        figures[f"{name}_std"] = float(np.std(kept, ddof=1)) if len(kept) > 1 else None
    return {**figures, "n_folds": len(folds)}


def _commands(folder: Path, commands: Sequence[list[str]]) -> list[list[str]]:
    """Every command that had a part in the results, in order, each once."""
    known: list[list[str]] = (read_document(folder / "benchmark.json") or {}).get("commands", [])
    return list(map(list, dict.fromkeys(map(tuple, [*known, *commands]))))


def write_results(
    folder: Path,
    config: BenchmarkConfig,
    rows: Rows,
    encodings: Mapping[str, Mapping[str, Any]],
    commands: Sequence[list[str]],
    n_waiting: int = 0,
) -> Summary:
    """Write ``benchmark.json``, ``benchmark.md``, ``benchmark.html`` and the figures.

    ``commands`` had a part in the results, the one that is run is the last of them.
    """
    from crystalcodec.workflow.benchmark.tables import write_page

    cells = gather(folder, rows, config)
    known = {**_all_encodings(folder, cells), **encodings}
    document: dict[str, Any] = {
        "format": FORMAT,
        "title": config.title,
        "target": config.target,
        "unit": rows.unit,
        "command": commands[-1],
        "commands": _commands(folder, commands),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "machine": _machine(),
        "versions": _versions(),
        "config": config.model_dump(mode="json"),
        "identity": rows.identity(),
        "tried": tried(cells),
        "taken_over": dict(Counter(c["taken_from"] for c in cells if "taken_from" in c)),
        "datasets": list(rows.datasets),
        "n_folds": len(rows.folds),
        "n_train": len(rows.folds[0].train),
        "n_test": len(rows.folds[0].test),
        "n_waiting": n_waiting,
        "published": dict(config.published),
        "representations": [_told(encoding) for encoding in known.values()],
        "rows": summarise(cells, known, len(rows.folds)),
        "without_figures": [],
        "cells": {"columns": list(_COLUMNS), "rows": [_compact(cell) for cell in _sorted(cells)]},
    }
    document["without_figures"] = [
        *_without_figures(cells),
        *_incomplete(document),
        *_without_models(known, cells),
    ]
    summary = Summary(plain(document))
    _write_json(folder / "benchmark.json", summary.document)
    with whole_file(folder / "benchmark.md") as partial:
        partial.write_text(summary.markdown(), encoding="utf-8")
    write_page(summary, folder)
    return summary


def _all_encodings(folder: Path, cells: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Encodings that earlier runs made, of representations that have cells."""
    labels = {cell["label"] for cell in cells}
    found = {}
    for path in sorted((folder / "encodings").glob("*.json")):
        document = read_document(path)
        if document is not None and document["label"] in labels:
            found[path.stem] = document
    return found


def _told(encoding: Mapping[str, Any]) -> dict[str, Any]:
    """What the results keep of an encoding, with the representation as it was fitted."""
    kept = {key: value for key, value in encoding.items() if key != "representation"}
    return {**kept, "parameters": encoding.get("representation")}


def _without_figures(cells: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    groups: dict[tuple[str, str, str, str], list[int]] = {}
    for cell in cells:
        if cell["status"] != "finished":
            key = cell["label"], cell["identity"]["model"], cell["status"], cell["reason"]
            groups.setdefault(key, []).append(_count(cell))
    return [
        {
            "representation": label,
            "model": model,
            "status": status,
            "reason": reason,
            "n_train": sorted(set(counts)),
            "n_cells": len(counts),
        }
        for (label, model, status, reason), counts in sorted(groups.items())
    ]


def _incomplete(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "representation": row["representation"],
            "model": row["model"],
            "status": "incomplete",
            "reason": f"{row['n_folds']} of {document['n_folds']} folds have figures",
            "n_train": [row["n_train"]],
            "n_cells": row["n_finished"],
        }
        for row in document["rows"]
        if row["n_finished"] and not row["complete"]
    ]


def _without_models(
    encodings: Mapping[str, Mapping[str, Any]], cells: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Representations that none of the models fits."""
    with_cells = {cell["label"] for cell in cells}
    labels = {encoding["label"] for encoding in encodings.values()}
    return [
        {
            "representation": label,
            "model": "",
            "status": "no model",
            "reason": "none of the chosen models takes its arrays",
            "n_train": [],
            "n_cells": 0,
        }
        for label in sorted(labels - with_cells)
    ]


def _count(cell: Mapping[str, Any]) -> int:
    """Training rows of a cell."""
    return int(cell.get("n_train") or cell["n"])


def _sorted(cells: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return sorted(
        cells,
        key=lambda cell: (
            cell["label"],
            cell["identity"]["model"],
            _count(cell),
            cell["identity"]["fold"],
            cell["identity"]["seed"],
        ),
    )


def _compact(cell: Mapping[str, Any]) -> list[Any]:
    told = {**cell["identity"], **cell, "representation": cell["label"], "n_train": _count(cell)}
    return [_short(told.get(column)) for column in _COLUMNS]


def _short(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _write_json(path: Path, document: Mapping[str, Any]) -> None:
    """As JSON with a line for each cell, so that a change shows as a line."""
    cells = document["cells"]["rows"]
    text = json.dumps(
        {**document, "cells": {**document["cells"], "rows": "CELLS"}}, indent=1, ensure_ascii=False
    )
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in cells)
    with whole_file(path) as partial:
        partial.write_text(text.replace('"CELLS"', f"[\n{lines}\n]") + "\n", encoding="utf-8")


def _mean(values: Sequence[float | None]) -> float | None:
    numbers = [value for value in values if value is not None]
    return float(np.mean(numbers)) if numbers else None


def _versions() -> dict[str, str]:
    told = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            told[package] = version(package)
        except PackageNotFoundError:
            continue
    return told


def _machine() -> dict[str, Any]:
    return {"platform": platform.platform(), "cores": os.cpu_count()}
