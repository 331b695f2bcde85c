"""The mean of the predictions of several runs: seeds of one recipe, and recipes together.

After ``formation_energy.py shellnet_mp20 --seeds 0 1 2`` and the same of another recipe:

    python benchmarks/mean_of_runs.py shellnet_mp20 formation_energy_site_attention

A crystal that a run has no prediction for (too many elements for its array) is predicted by the
mean of the others; a crystal without any prediction counts with the mean of the training targets.
"""

from __future__ import annotations

import argparse
import csv
from itertools import combinations
from pathlib import Path

from record import record  # first: it sets the number of threads

# isort: split
import numpy as np

RUNS = Path("runs")


def predictions(folder: Path, split: str) -> dict[str, tuple[float, float]]:
    """First target and its prediction of each crystal that has both, by its id."""
    with (folder / "predictions.csv").open() as file:
        rows = csv.reader(file)
        next(rows)
        return {
            row[1]: (float(row[2]), float(row[3]))
            for row in rows
            if row[0] == split and row[2] and row[3]
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", metavar="RUN", help="Folders of runs/ with seed-N.")
    names = parser.parse_args().runs
    folders = {
        f"{n}/{p.name}": p
        for n in names
        for p in sorted((RUNS / n).glob("seed-*"))
        if (p / "predictions.csv").exists()
    }
    told = {name: predictions(folder, "validation") for name, folder in folders.items()}
    targets: dict[str, float] = {}
    for rows in told.values():
        targets |= {key: target for key, (target, _) in rows.items()}
    ids = sorted(targets)
    true = np.array([targets[key] for key in ids])
    first = predictions(next(iter(folders.values())), "train")
    rest = float(np.mean([target for target, _ in first.values()]))
    given = {
        name: np.array([rows.get(key, (0.0, np.nan))[1] for key in ids])
        for name, rows in told.items()
    }

    def error(chosen: list[str]) -> dict[str, float | int]:
        table = np.stack([given[name] for name in chosen])
        there = np.isfinite(table)
        mean = np.where(there, table, 0.0).sum(0) / np.maximum(there.sum(0), 1)
        mean[~there.any(0)] = rest
        return {
            "mae": float(np.abs(mean - true).mean()),
            "n_runs": len(chosen),
            "n_without_prediction": int((~there.any(0)).sum()),
        }

    figures: dict[str, object] = {"n": len(ids), "each": {name: error([name]) for name in given}}
    for kind in names:
        own = [name for name in given if name.startswith(f"{kind}/")]
        pairs = [error(list(pair))["mae"] for pair in combinations(own, 2)]
        figures[f"mean of {kind}"] = error(own)
        figures[f"spread of {kind}"] = {
            "mean": float(np.mean([error([name])["mae"] for name in own])),
            "standard_deviation": float(np.std([error([name])["mae"] for name in own], ddof=1))
            if len(own) > 1
            else None,
            "of_pairs": pairs,
        }
    if len(names) > 1:
        figures["mean of all"] = error([*given])
    record("mean_of_runs", figures)


if __name__ == "__main__":
    main()
