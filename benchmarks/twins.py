"""Validation crystals that a training crystal is the same as, and the error without them.

Another id is no proof of another material: the same crystal, or one that relaxes to it, may be in
the training data a second time. Here "the same" is what StructureMatcher with pymatgen's own
tolerances says of the structures (lengths within 20 %, sites within 0.3 of the spacing, volumes
scaled to one another), so that slightly different relaxations of one prototype count as well.

    python benchmarks/twins.py runs/shellnet_two_releases runs/shellnet_mp20

For each folder of seeds: how many crystals of its validation set have a twin among the training
crystals that it was given a label of, and the mean absolute error of the mean of its seeds on all,
on those with a twin, and on those without. Targets of older releases count as labels, too.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from record import record  # first: it sets the number of threads

# isort: split
import numpy as np

from crystalcodec.data import Dataset
from crystalcodec.data.matching import alike_in
from crystalcodec.workflow import RunConfig
from mean_of_runs import predictions


def figures(folder: Path, jobs: int) -> dict[str, object]:
    runs = sorted(path for path in folder.glob("seed-*") if (path / "predictions.csv").exists())
    config = RunConfig.read(runs[0] / "config.toml")
    train, validation = Dataset.read(config.data.dataset), Dataset.read(config.data.validation)
    columns = [target.column for target in config.targets]
    labelled = np.isfinite(np.stack([train.numeric(c) for c in columns])).any(axis=0)
    train = train[np.flatnonzero(labelled)]
    found = alike_in(validation.crystals, train.crystals, jobs=jobs)
    twin = found.positions >= 0
    by_id = dict(zip(validation.ids.tolist(), twin.tolist(), strict=True))
    told = [predictions(run, "validation") for run in runs]
    ids = [one for one in validation.ids.tolist() if all(one in rows for rows in told)]
    true = np.array([told[0][one][0] for one in ids])
    mean = np.mean([[rows[one][1] for one in ids] for rows in told], axis=0)
    error = np.abs(mean - true)
    has = np.array([by_id[one] for one in ids])
    return {
        "runs": [run.name for run in runs],
        "target": columns[0],
        "labels": columns,
        "n_train": len(train),
        "n_validation": len(ids),
        "n_with_twin": int(has.sum()),
        "n_not_compared": len(found.failures),
        "mae_of_mean": {
            "all": float(error.mean()),
            "with twin": float(error[has].mean()) if has.any() else None,
            "without twin": float(error[~has].mean()),
        },
        "mae_of_each_without_twin": [
            float(np.abs(np.array([rows[one][1] for one in ids]) - true)[~has].mean())
            for rows in told
        ],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, metavar="FOLDER", help="Folders with seed-N.")
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    result = {folder.name: figures(folder, arguments.jobs) for folder in arguments.runs}
    print(json.dumps(result, indent=1))
    record("twins", result)


if __name__ == "__main__":
    main()
