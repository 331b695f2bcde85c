"""Evaluate trained runs on a dataset, and compare runs: seeds as mean and spread."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from crystalcodec.io.whole import whole_file
from crystalcodec.workflow.ensembles import Ensemble
from crystalcodec.workflow.runs import (
    Run,
    RunError,
    check_predicts,
    digest,
    finite,
    read_record,
)

__all__ = ["Comparison", "compare", "evaluate"]

METRICS: Final = ("mae", "rmse", "mse", "r2", "mape")
CLASS_METRICS: Final = ("accuracy", "balanced_accuracy", "roc_auc", "average_precision", "log_loss")


def evaluate(run: Run | Ensemble | str | Path, dataset: Any) -> dict[str, Any]:
    """Metrics of a run on a dataset that has its targets.

    Parameters
    ----------
    run
        A run, several runs as one, or the folder of a run or of ``seed-N`` runs.
    dataset
        A :class:`~crystalcodec.data.Dataset` or the path of one.

    Returns
    -------
    dict
        ``n``, MAE, RMSE, MSE, R2, MAPE (of a class its accuracy, ROC AUC and so on), and
        ``failures`` by reason: crystals without a target and crystals that the representation
        cannot hold. Of several targets these figures are in ``targets``, by column.
        ``intervals``, where the run has any: by target and coverage, how many targets lie in
        them.

    Raises
    ------
    RunError, DatasetError, TargetError
        A run or dataset that cannot be used, or a dataset without one of the targets or with one
        in another unit.
    """
    from crystalcodec.data import Dataset
    from crystalcodec.workflow.prediction import opened
    from crystalcodec.workflow.results import judge
    from crystalcodec.workflow.splits import check_units, label
    from crystalcodec.workflow.trust import Trust

    model = opened(run)
    first = model.members[0]
    if not isinstance(dataset, Dataset):
        dataset = Dataset.read(dataset)
    columns = [target.column for target in model.targets]
    check_units(dataset, {t.column: t.unit for t in model.targets if not t.is_class}, "given")
    part = label(dataset, columns, first.representation, "given", first.inputs)
    if not len(part):
        reasons = ", ".join(f"{n} {r}" for r, n in part.describe()["failures"].items())
        raise RunError(f"no crystal of the dataset can be evaluated ({reasons or 'it is empty'})")
    judged = judge(model, part)
    intervals = Trust.open(model).coverage_on(model.targets, part, judged.told)
    more = {"intervals": intervals} if intervals else {}
    return {**judged.metrics, **more, "content_hash": part.content_hash}


@dataclass(frozen=True)
class Comparison:
    """Runs beside each other; runs that differ in their seed alone are one row.

    Parameters
    ----------
    target, unit
        What all of them predict; of several targets their names, and no unit.
    rows
        For each run and target: ``name``, ``target``, ``unit``, ``model``, ``representation``,
        ``seeds``, ``n_parameters``, ``seconds`` (mean), and for each split each metric as
        ``{"mean", "std", "values"}``, with the sample standard deviation, 0 for one run.
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
        """As text, one line for each row and split; classes in a table of their own."""
        values = [row for row in self.rows if not row["is_class"]]
        classes = [row for row in self.rows if row["is_class"]]
        unit = f" ({self.unit})" if self.unit else ""
        tables = []
        if values:
            heads = {"mae": f"MAE{unit}", "rmse": f"RMSE{unit}", "r2": "R²", "mape": "MAPE (%)"}
            tables.append(self._table(values, heads))
        if classes:
            heads = {
                "accuracy": "accuracy",
                "balanced_accuracy": "balanced",
                "roc_auc": "ROC AUC",
                "average_precision": "average precision",
            }
            tables.append(self._table(classes, heads))
        return "\n\n".join(tables)

    def _table(self, rows: Sequence[Mapping[str, Any]], metrics: Mapping[str, str]) -> str:
        several = len({row["target"] for row in self.rows}) > 1
        heads = ["run", *(["target"] if several else []), "model", "parameters", "seeds"]
        lines = [[*heads, "split", "n", *metrics.values(), "time (s)"]]
        for row in rows:
            unit = f" ({row['unit']})" if row["unit"] else ""
            first = [row["name"], *([f"{row['target']}{unit}"] if several else []), row["model"]]
            first += [f"{row['n_parameters']:,}", str(len(row["seeds"]))]
            for split, figures in row["splits"].items():
                shown = [_spread(figures[m], 1 if m == "mape" else 4) for m in metrics]
                n = f"{figures['n']:,}"
                lines.append([*first, split, n, *shown, f"{row['seconds']:.0f}"])
                first = [""] * len(first)
        widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
        text = {0, 1, len(heads)} | ({2} if several else set())
        return "\n".join(
            "  ".join(
                cell.ljust(w) if i in text else cell.rjust(w)
                for i, (cell, w) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        )


def compare(runs: Sequence[Run | str | Path]) -> Comparison:
    """Compare finished runs by the metrics they were saved with, for the targets they share.

    A folder without a run is searched for runs (``seed-0``, ``seed-1`` ...).

    Raises
    ------
    RunError
        No run, a run that is not finished, or runs that have no target and unit in common.
    """
    folders = [f for run in runs for f in _folders(run.folder if isinstance(run, Run) else run)]
    if not folders:
        raise RunError("no runs to compare")
    groups: dict[str, list[tuple[Path, dict[str, Any], dict[str, Any]]]] = {}
    targets: dict[Path, dict[tuple[str, str], None]] = {}
    for folder in dict.fromkeys(folders):
        record = read_record(folder)
        check_predicts(folder, record)
        if record.get("status") != "finished":
            raise RunError(f"the run in {folder} is not finished: run its train command again")
        try:
            metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
            _targets(metrics)
        except (OSError, ValueError, KeyError, TypeError):
            raise RunError(f"{folder / 'metrics.json'} is missing or damaged") from None
        targets[folder] = dict.fromkeys(_targets(metrics))
        recipe = {key: value for key, value in record["identity"].items() if key != "seed"}
        groups.setdefault(digest(recipe), []).append((folder, record, metrics))
    first, *others = targets.values()
    shared = [pair for pair in first if all(pair in other for other in others)]
    if not shared:
        shown = "; ".join(
            f"{folder} predicts {', '.join(f'{t} ({u})' for t, u in found)}"
            for folder, found in targets.items()
        )
        raise RunError(f"runs of different targets do not compare: {shown}")
    return Comparison(
        ", ".join(target for target, _ in shared),
        shared[0][1] if len(shared) == 1 else "",
        tuple(_row(group, *pair) for pair in shared for group in groups.values()),
    )


def _targets(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Targets and units that metrics are of."""
    if "target" in metrics:
        return [(metrics["target"], metrics["unit"])]
    return list(zip(metrics["targets"], metrics["units"], strict=True))


def _row(
    group: Sequence[tuple[Path, dict[str, Any], dict[str, Any]]], target: str, unit: str
) -> dict[str, Any]:
    folder, record, metrics = group[0]
    splits = [key for key, value in metrics.items() if isinstance(value, dict)]
    named_by_seed = folder.name == f"seed-{record['config']['seed']}"
    # By run and split, the figures of this target.
    figures = [{s: m[s].get("targets", {}).get(target, m[s]) for s in splits} for _, _, m in group]
    is_class = any("roc_auc" in figures[0][split] for split in splits)
    return {
        "name": folder.parent.name if named_by_seed else folder.name,
        "target": target,
        "unit": unit,
        "is_class": is_class,
        "model": record["config"]["model"]["name"],
        "representation": record["config"]["representation"]["name"],
        "seeds": [r["config"]["seed"] for _, r, _ in group],
        "n_parameters": record["n_parameters"],
        "seconds": float(np.mean([r["seconds"] for _, r, _ in group])),
        "splits": {
            split: {
                "n": figures[0][split]["n"],
                "failures": metrics[split]["failures"],
                **{
                    name: _statistics([found[split].get(name) for found in figures])
                    for name in (CLASS_METRICS if is_class else METRICS)
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
