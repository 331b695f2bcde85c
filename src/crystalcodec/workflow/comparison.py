"""Evaluate trained runs on a dataset, and compare runs: seeds as mean and spread."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from crystalcodec.io.whole import whole_file
from crystalcodec.workflow.runs import (
    Run,
    RunError,
    digest,
    finite,
    open_run,
    read_record,
)

__all__ = ["Comparison", "compare", "evaluate"]

METRICS: Final = ("mae", "rmse", "mse", "r2", "mape")


def evaluate(run: Run | str | Path, dataset: Any) -> dict[str, Any]:
    """Metrics of a run on a dataset that has its target.

    Parameters
    ----------
    run
        A run or its folder.
    dataset
        A :class:`~crystalcodec.data.Dataset` or the path of one.

    Returns
    -------
    dict
        ``n``, MAE, RMSE, MSE, R2, MAPE, and ``failures`` by reason: crystals without a target
        and crystals that the representation cannot hold.

    Raises
    ------
    RunError, DatasetError, TargetError
        A run or dataset that cannot be used, or a dataset without the target.
    """
    from crystalcodec.data import Dataset
    from crystalcodec.workflow.results import judge
    from crystalcodec.workflow.splits import label

    run = run if isinstance(run, Run) else open_run(run)
    if not isinstance(dataset, Dataset):
        dataset = Dataset.read(dataset)
    part = label(dataset, run.target, run.representation, "given")
    if not len(part):
        reasons = ", ".join(f"{n} {r}" for r, n in part.describe()["failures"].items())
        raise RunError(f"no crystal of the dataset can be evaluated ({reasons or 'it is empty'})")
    return judge(run, part)[1] | {"content_hash": part.content_hash}


@dataclass(frozen=True)
class Comparison:
    """Runs beside each other; runs that differ in their seed alone are one row.

    Parameters
    ----------
    target, unit
        What all of them predict.
    rows
        For each: ``name``, ``model``, ``representation``, ``seeds``, ``n_parameters``,
        ``seconds`` (mean), and for each split each metric as ``{"mean", "std", "values"}``, with
        the sample standard deviation, 0 for one run.
    """

    target: str
    unit: str
    rows: tuple[Mapping[str, Any], ...]

    def to_json(self) -> str:
        """As JSON; a number that does not exist is null."""
        document = {"target": self.target, "unit": self.unit, "rows": list(self.rows)}
        return json.dumps(finite(document), indent=1, ensure_ascii=False)

    def write(self, path: str | Path) -> None:
        """Write :meth:`to_json`, whole or not at all."""
        with whole_file(path) as partial:
            Path(partial).write_text(self.to_json() + "\n", encoding="utf-8")

    def table(self) -> str:
        """As text, one line for each row and split."""
        unit = f" ({self.unit})" if self.unit else ""
        heads = [
            "run",
            "model",
            "parameters",
            "seeds",
            "split",
            "n",
            f"MAE{unit}",
            f"RMSE{unit}",
            "R²",
            "MAPE (%)",
            "time (s)",
        ]
        lines = [heads]
        for row in self.rows:
            first = [row["name"], row["model"], f"{row['n_parameters']:,}", str(len(row["seeds"]))]
            for split, figures in row["splits"].items():
                shown = [_spread(figures[m], d) for m, d in (("mae", 4), ("rmse", 4), ("r2", 4))]
                lines.append(
                    [
                        *first,
                        split,
                        f"{figures['n']:,}",
                        *shown,
                        _spread(figures["mape"], 1),
                        f"{row['seconds']:.0f}",
                    ]
                )
                first = ["", "", "", ""]
        widths = [max(len(line[i]) for line in lines) for i in range(len(heads))]
        return "\n".join(
            "  ".join(
                cell.ljust(w) if i in (0, 1, 4) else cell.rjust(w)
                for i, (cell, w) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        )


def compare(runs: Sequence[Run | str | Path]) -> Comparison:
    """Compare finished runs by the metrics they were saved with.

    A folder without a run is searched for runs (``seed-0``, ``seed-1`` ...).

    Raises
    ------
    RunError
        No run, a run that is not finished, or runs of different targets or units.
    """
    folders = [f for run in runs for f in _folders(run.folder if isinstance(run, Run) else run)]
    if not folders:
        raise RunError("no runs to compare")
    groups: dict[str, list[tuple[Path, dict[str, Any], dict[str, Any]]]] = {}
    targets = {}
    for folder in dict.fromkeys(folders):
        record = read_record(folder)
        if record["status"] != "finished":
            raise RunError(f"the run in {folder} is not finished: run its train command again")
        try:
            metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise RunError(f"{folder / 'metrics.json'} is missing or damaged") from None
        targets[metrics["target"], metrics["unit"]] = folder
        recipe = {key: value for key, value in record["identity"].items() if key != "seed"}
        groups.setdefault(digest(recipe), []).append((folder, record, metrics))
    if len(targets) > 1:
        shown = "; ".join(f"{f} predicts {t} ({u})" for (t, u), f in targets.items())
        raise RunError(f"runs of different targets do not compare: {shown}")
    ((target, unit),) = targets
    return Comparison(target, unit, tuple(_row(group) for group in groups.values()))


def _row(group: Sequence[tuple[Path, dict[str, Any], dict[str, Any]]]) -> dict[str, Any]:
    folder, record, metrics = group[0]
    splits = [key for key, value in metrics.items() if isinstance(value, dict)]
    named_by_seed = folder.name == f"seed-{record['config']['seed']}"
    return {
        "name": folder.parent.name if named_by_seed else folder.name,
        "model": record["config"]["model"]["name"],
        "representation": record["config"]["representation"]["name"],
        "seeds": [r["config"]["seed"] for _, r, _ in group],
        "n_parameters": record["n_parameters"],
        "seconds": float(np.mean([r["seconds"] for _, r, _ in group])),
        "splits": {
            split: {
                "n": metrics[split]["n"],
                "failures": metrics[split]["failures"],
                **{
                    name: _statistics([m[split].get(name) for _, _, m in group]) for name in METRICS
                },
            }
            for split in splits
        },
    }


def _statistics(values: Sequence[float | None]) -> dict[str, Any]:
    numbers = [np.nan if value is None else value for value in values]
    spread = float(np.std(numbers, ddof=1)) if len(numbers) > 1 else 0.0
    return {"mean": float(np.mean(numbers)), "std": spread, "values": numbers}


def _spread(figures: Mapping[str, Any], digits: int) -> str:
    if not np.isfinite(figures["mean"]):
        return "none"
    mean = f"{figures['mean']:.{digits}f}"
    return f"{mean} ± {figures['std']:.{digits}f}" if len(figures["values"]) > 1 else mean


def _folders(path: str | Path) -> list[Path]:
    path = Path(path)
    if (path / "run.json").exists():
        return [path]
    inside = sorted(found.parent for found in path.glob("*/run.json"))
    if not inside:
        raise RunError(f"{path} is no run folder and holds none")
    return inside
