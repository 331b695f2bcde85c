"""Where runs are wrong together: correlation of errors, means of predictions, the worst crystals.

After ``formation_energy.py task1 task2``, on the validation set:

    python benchmarks/seeds.py
"""

from __future__ import annotations

import csv
from itertools import combinations
from pathlib import Path

from record import record  # first: it sets the number of threads

# isort: split
import numpy as np

TASKS, SEEDS = ("task1", "task2"), (0, 1, 2)


def errors(task: str, seed: int) -> np.ndarray:
    with (Path("runs") / task / f"seed-{seed}" / "predictions.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "validation"]
    return np.array([float(row["prediction"]) - float(row["target"]) for row in rows])


def main() -> None:
    runs = {(task, seed): errors(task, seed) for task in TASKS for seed in SEEDS}

    def correlation(pairs: list[tuple[tuple[str, int], tuple[str, int]]]) -> float:
        return float(np.mean([np.corrcoef(runs[one], runs[other])[0, 1] for one, other in pairs]))

    def mean_of(task: str) -> np.ndarray:
        return np.mean([runs[task, seed] for seed in SEEDS], axis=0)

    worst = np.sort(np.abs(runs["task1", 0]))[::-1]
    record(
        "seeds",
        {
            "n": len(worst),
            "correlation_of_errors": {
                **{t: correlation([*combinations([(t, s) for s in SEEDS], 2)]) for t in TASKS},
                "task1 with task2": correlation(
                    [((TASKS[0], one), (TASKS[1], other)) for one in SEEDS for other in SEEDS]
                ),
            },
            "mae_of_mean_prediction": {
                **{task: float(np.abs(mean_of(task)).mean()) for task in TASKS},
                "both": float(np.abs(np.mean([mean_of(task) for task in TASKS], axis=0)).mean()),
            },
            "share_of_error_in_worst_twentieth": float(
                worst[: len(worst) // 20].sum() / worst.sum()
            ),
        },
    )


if __name__ == "__main__":
    main()
