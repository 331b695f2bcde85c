"""The predictors of the package on MP-20 val, as they are shipped, beside the best constant.

    python benchmarks/training_data.py
    crystalcodec data filter runs/data/mp_train.parquet --max-sites 20 \\
        -o runs/data/mp_train_20.parquet
    python benchmarks/shipped_predictors.py

Each network alone (mean and standard deviation over the seeds) and their mean, which is what
``crystalcodec predict`` tells; the share of its 90 % intervals that hold the true value (they were
calibrated on the same crystals); and the median of the training column for every crystal. Where a
column is often 0, how well those crystals are told from the others.
"""

from __future__ import annotations

from record import record, spread  # first: it sets the number of threads

# isort: split
import argparse
from pathlib import Path
from typing import Any

import numpy as np

from crystalcodec import Dataset
from crystalcodec.registry import PRETRAINED
from crystalcodec.workflow.prediction import answers_of
from crystalcodec.workflow.pretrained import open_pretrained

SOME_ZEROS = 0.1


def errors(true: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """Mean absolute and root mean squared error, and R²."""
    difference = predicted - true
    return {
        "mae": float(np.abs(difference).mean()),
        "rmse": float(np.sqrt((difference**2).mean())),
        "r2": float(1 - (difference**2).sum() / ((true - true.mean()) ** 2).sum()),
    }


def ranked(true: np.ndarray, predicted: np.ndarray) -> float:
    """ROC AUC of the predicted value for the question whether the true one is 0."""
    from scipy.stats import mannwhitneyu

    zeros, others = predicted[true == 0], predicted[true != 0]
    return float(mannwhitneyu(others, zeros).statistic / (len(zeros) * len(others)))


def of_column(
    true: np.ndarray, training: np.ndarray, made: Any, i: int, each: list[np.ndarray]
) -> dict[str, Any]:
    """Figures of one property, over the crystals whose value is known."""
    known = np.isfinite(true)
    if lost := int((known & ~np.isfinite(made.values[:, i])).sum()):
        raise SystemExit(f"{made.targets[i]}: {lost} crystals without a prediction, wanted none")
    true, predicted = true[known], made.values[known, i]
    singles = [errors(true, one[known]) for one in each]
    inside = (made.lower[known, i] <= true) & (true <= made.upper[known, i])
    constant = float(np.median(training[np.isfinite(training)]))
    figures: dict[str, Any] = {
        "unit": made.units[i],
        "n": int(known.sum()),
        "n_train": int(np.isfinite(training).sum()),
        "shipped": errors(true, predicted),
        "one_network": {name: spread([one[name] for one in singles]) for name in singles[0]},
        "intervals_hold": float(inside.mean()),
        "constant": {"value": constant, **errors(true, np.full(len(true), constant))},
    }
    if (true == 0).mean() > SOME_ZEROS:
        figures["zero"] = {
            "share": float((true == 0).mean()),
            "roc_auc": ranked(true, predicted),
            "right": float(((true == 0) == (predicted == 0)).mean()),
        }
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("runs/data"))
    data = parser.parse_args().data
    train, val = (Dataset.read(data / f"mp_{part}.parquet") for part in ("train_20", "val"))
    models = open_pretrained()
    made = models.predict(val.crystals)
    figures = {}
    for model, properties in models.models:
        columns = [target.column for target in model.targets]
        answers = [answers_of(one, val.crystals).values for one in model.members]
        for name in properties:
            of = [one[:, columns.index(name)] for one in answers]
            figures[name] = of_column(
                val.numeric(name), train.numeric(name), made, made.targets.index(name), of
            )
    record(
        "shipped_predictors",
        {"data": "MP-20 val", "figures": {name: figures[name] for name in PRETRAINED}},
        packages=("torch",),
    )


if __name__ == "__main__":
    main()
