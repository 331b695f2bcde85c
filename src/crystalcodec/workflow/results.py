"""What a finished run leaves: predictions, metrics, figures, the report and its record."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from crystalcodec.evaluation.classification import classification_metrics
from crystalcodec.evaluation.regression import regression_metrics
from crystalcodec.failures import count_reasons
from crystalcodec.io.whole import whole_file
from crystalcodec.plots.results import learning_curve, parity, probabilities, save
from crystalcodec.report import write_report
from crystalcodec.workflow.ensembles import Ensemble
from crystalcodec.workflow.prediction import Answers, answers_of
from crystalcodec.workflow.runs import RECORD, Run, write_json
from crystalcodec.workflow.splits import Labelled
from crystalcodec.workflow.targets import Target
from crystalcodec.workflow.trust import write_trust

__all__ = ["Judged", "judge", "target_metrics", "write_results"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Judged:
    """Predictions for the m usable crystals of a split, and their metrics.

    Parameters
    ----------
    told
        What the run says of them.
    metrics
        ``n_total``, ``n_failures`` and ``failures`` by reason; and the figures of the target, or,
        of several, ``targets``, the figures of each by its column.
    """

    told: Answers
    metrics: dict[str, Any]

    @property
    def values(self) -> Floats:
        """(m, t) predictions."""
        return self.told.values

    @property
    def probabilities(self) -> Floats:
        """(m, t) probabilities, NaN for targets without."""
        return self.told.probabilities


def judge(run: Run | Ensemble, part: Labelled) -> Judged:
    """Predictions for the usable crystals, and their metrics with what was left out.

    Augmented copies are averaged over where the run is configured so. A prediction that is not
    finite counts as a failure; a target that is missing counts in no figure of it.
    """
    told = answers_of(run, part.crystals)
    values, chances = told.values, told.probabilities
    figures = {
        target.column: target_metrics(target, part.targets[:, i], values[:, i], chances[:, i])
        for i, target in enumerate(run.targets)
    }
    reasons = count_reasons((*part.failures, *told.failures))
    metrics = {
        "n_total": part.n,
        "n_failures": sum(reasons.values()),
        "failures": reasons,
    }
    (first, *others) = figures.values()
    metrics = {**metrics, "targets": figures} if others else {**first, **metrics}
    return Judged(told, metrics)


def target_metrics(target: Target, true: Floats, values: Floats, chances: Floats) -> dict[str, Any]:
    """Metrics of one target over the rows that have a true value and a prediction.

    Of a class those of its probability; of a value those of regression with ``n_zero_targets``,
    and, where a classifier finds the zeros, ``nonzero``, how well it finds them.
    """
    good = np.isfinite(true) & np.isfinite(values)
    if not good.any():
        return {"n": 0} if target.is_class else {"n": 0, "n_zero_targets": 0}
    if target.is_class:
        return classification_metrics(true[good], values[good])
    metrics: dict[str, Any] = regression_metrics(true[good], values[good])
    metrics["n_zero_targets"] = int((true[good] == 0).sum())
    if target.finds_zeros:
        metrics["nonzero"] = classification_metrics((true[good] != 0).astype(float), chances[good])
    return metrics


def write_results(
    run: Run, data: Mapping[str, Labelled], history: Sequence[Mapping[str, float]]
) -> None:
    """Write everything but weights and config into the run's folder, the record last."""
    folder = run.folder
    judged = {name: judge(run, part) for name, part in data.items()}
    metrics = {name: made.metrics for name, made in judged.items()}
    write_json(folder / "metrics.json", {**_named(run.targets), **metrics})
    write_json(folder / "history.json", list(history))
    _write_predictions(folder / "predictions.csv", run.targets, data, judged)
    figures = _write_figures(run, data, judged, history)
    files, trust = write_trust(run, data, {name: made.told for name, made in judged.items()})
    record = {
        **run.record,
        "files": {**run.record["files"], **files},
        "status": "finished",
        "seconds": history[-1]["seconds"] if history else 0.0,
        "epochs": len(history),
    }
    write_report(folder / "report.html", record, metrics, figures, trust)
    write_json(folder / RECORD, record)


def _named(targets: Sequence[Target]) -> dict[str, Any]:
    """The target and its unit; of several, lists of both."""
    if len(targets) == 1:
        return {"target": targets[0].column, "unit": targets[0].unit}
    return {"targets": [t.column for t in targets], "units": [t.unit for t in targets]}


def _write_figures(
    run: Run,
    data: Mapping[str, Labelled],
    judged: Mapping[str, Judged],
    history: Sequence[Mapping[str, float]],
) -> dict[str, Path]:
    """PNG files by their captions."""
    figures = {"learning curve": run.folder / "learning_curve.png"}
    save(learning_curve(history, run.target, run.unit), figures["learning curve"])
    several = len(run.targets) > 1
    for i, target in enumerate(run.targets):
        for name, part in data.items():
            made = judged[name]
            good = np.isfinite(part.targets[:, i]) & np.isfinite(made.values[:, i])
            true, given = part.targets[good, i], made.values[good, i]
            what = f"{target.column}, {name}" if several else name
            # A column may be called anything; a file may not.
            path = run.folder / (f"parity_{i}_{name}.png" if several else f"parity_{name}.png")
            if target.is_class:
                save(probabilities(true, given, target.column, name), path)
                figures[f"{what}: predicted probability"] = path
                continue
            found = made.metrics["targets"][target.column] if several else made.metrics
            save(parity(true, given, target.column, target.unit, name, found), path)
            figures[f"{what}: predicted against true"] = path
    return figures


def _write_predictions(
    path: Path,
    targets: Sequence[Target],
    data: Mapping[str, Labelled],
    judged: Mapping[str, Judged],
) -> None:
    """``split, id``, then ``target, prediction``, with their columns' names where several."""
    heads = ["split", "id"]
    for target in targets:
        true, given, chance = (
            ("target", "prediction", "probability")
            if len(targets) == 1
            else (target.column, f"{target.column}_prediction", f"{target.column}_probability")
        )
        heads += [true, given, chance] if target.finds_zeros else [true, given]
    with whole_file(path) as partial, Path(partial).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(heads)
        for name, part in data.items():
            made = judged[name]
            columns: list[list[Any]] = [[name] * len(part), list(part.ids)]
            for i, target in enumerate(targets):
                columns += [_cells(part.targets[:, i]), _cells(made.values[:, i])]
                if target.finds_zeros:
                    columns.append(_cells(made.probabilities[:, i]))
            writer.writerows(zip(*columns, strict=True))


def _cells(column: Floats) -> list[Any]:
    """Numbers, and nothing for NaN."""
    return ["" if value != value else value for value in column.tolist()]
