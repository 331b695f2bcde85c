"""What a finished run leaves: predictions, metrics, figures, the report and its record."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from crystalcodec.evaluation.regression import regression_metrics
from crystalcodec.failures import count_reasons
from crystalcodec.io.whole import whole_file
from crystalcodec.plots.results import learning_curve, parity, save
from crystalcodec.report import write_report
from crystalcodec.workflow.prediction import predict_with
from crystalcodec.workflow.runs import RECORD, Run, write_json
from crystalcodec.workflow.splits import Labelled

__all__ = ["judge", "write_results"]

Floats = npt.NDArray[np.float64]


def judge(run: Run, part: Labelled) -> tuple[Floats, dict[str, Any]]:
    """(m,) predictions for the usable crystals, and their metrics with what was left out.

    Augmented copies are averaged over where the run is configured so. A prediction that is not
    finite counts as a failure.
    """
    values, failures = predict_with(
        run.predictor,
        run.representation,
        run.scaling,
        run.transform,
        part.crystals,
        run.config.augmentation,
        run.config.seed,
        run.config.machine.precision,
    )
    good = np.isfinite(values)
    metrics: dict[str, Any] = {"n": 0}
    if good.any():
        metrics = regression_metrics(part.targets[good], values[good])
    reasons = count_reasons((*part.failures, *failures))
    return values, {
        **metrics,
        "n_total": part.n,
        "n_failures": sum(reasons.values()),
        "failures": reasons,
        "n_zero_targets": int((part.targets[good] == 0).sum()),
    }


def write_results(
    run: Run, data: Mapping[str, Labelled], history: Sequence[Mapping[str, float]]
) -> None:
    """Write everything but weights and config into the run's folder, the record last."""
    folder = run.folder
    judged = {name: judge(run, part) for name, part in data.items()}
    metrics = {name: figures for name, (_, figures) in judged.items()}
    write_json(folder / "metrics.json", {"target": run.target, "unit": run.unit, **metrics})
    write_json(folder / "history.json", list(history))
    _write_predictions(folder / "predictions.csv", data, {n: v for n, (v, _) in judged.items()})
    figures = {"learning curve": folder / "learning_curve.png"}
    save(learning_curve(history, run.target, run.unit), figures["learning curve"])
    for name, part in data.items():
        figures[f"{name}: predicted against true"] = path = folder / f"parity_{name}.png"
        values, good = judged[name][0], np.isfinite(judged[name][0])
        figure = parity(part.targets[good], values[good], run.target, run.unit, name, metrics[name])
        save(figure, path)
    record = {
        **run.record,
        "status": "finished",
        "seconds": history[-1]["seconds"] if history else 0.0,
        "epochs": len(history),
    }
    write_report(folder / "report.html", record, metrics, figures)
    write_json(folder / RECORD, record)


def _write_predictions(
    path: Path, data: Mapping[str, Labelled], predictions: Mapping[str, Floats]
) -> None:
    with whole_file(path) as partial, Path(partial).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["split", "id", "target", "prediction"])
        for name, part in data.items():
            rows = zip(part.ids, part.targets.tolist(), predictions[name].tolist(), strict=True)
            writer.writerows((name, *row) for row in rows)
