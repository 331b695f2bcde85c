"""What intervals, spreads and distances are worth on the crystals in the box.

Networks learn the formation energy of the prototypes: one network, three seeds, and one training
of the same length with three snapshots. Coverage is measured on crystals that were drawn at random
with the training crystals, and on crystals of structure prototypes that are in none of them.

    python benchmarks/uncertainty.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from record import record  # first: it sets the number of threads

# isort: split
import numpy as np
from scipy.stats import spearmanr

from crystalcodec.data import Dataset, prototypes
from crystalcodec.evaluation.intervals import coverage_figures
from crystalcodec.workflow import RunConfig, open_run, predict
from crystalcodec.workflow.applicability import TrainingSpace
from crystalcodec.workflow.calibration import Calibration
from crystalcodec.workflow.prediction import answers_of
from crystalcodec.workflow.training import train, train_seeds
from crystalcodec.workflow.trust import SPACE

TARGET = "formation_energy_per_atom"
COVERAGES = (0.5, 0.8, 0.9, 0.95)


def recipe(folder: Path, **training: Any) -> RunConfig:
    return RunConfig.of(
        {
            "data": {
                "dataset": str(folder / "train.parquet"),
                "validation": str(folder / "validation.parquet"),
                "test": str(folder / "test.parquet"),
            },
            "target": {"column": TARGET},
            "representation": {"name": "ircr", "max_sites": 20},
            "model": {"name": "mlp", "hidden": [256, 128, 32]},
            "augmentation": {"names": ["permute_elements", "permute_sites_of_elements"]},
            "training": {"epochs": 120, "batch_size": 64, "learning_rate": 0.005, **training},
            "machine": {"device": "cpu"},
        }
    )


def cut(folder: Path) -> dict[str, Dataset]:
    """A tenth of the prototypes aside; the other crystals at random into three parts."""
    whole = prototypes()
    rng = np.random.default_rng(0)
    names = np.array([str(name) for name in whole.properties["prototype"]])
    aside = np.isin(names, rng.choice(np.unique(names), len(np.unique(names)) // 10, replace=False))
    order = rng.permutation(np.flatnonzero(~aside))
    ends = [int(0.6 * len(order)), int(0.8 * len(order))]
    rows = dict(zip(("train", "validation", "test"), np.split(order, ends), strict=True))
    parts = {name: whole[np.sort(chosen)] for name, chosen in rows.items()}
    for name, part in parts.items():
        part.write(folder / f"{name}.parquet")
    return {**parts, "new prototypes": whole[np.flatnonzero(aside)]}


def measured(model: Path, parts: dict[str, Dataset]) -> dict[str, Any]:
    """Error, coverage and distance on the two kinds of held-out crystals."""
    document = Calibration.open(model).document["targets"][TARGET]
    figures: dict[str, Any] = {
        "members": Calibration.open(model).document["members"],
        "spread_and_error": document["spread_and_error"],
        "distance_and_error": document["distance_and_error"],
    }
    for name in ("test", "new prototypes"):
        true = parts[name].numeric(TARGET)
        coverage = {}
        for asked in COVERAGES:
            made = predict(model, parts[name].crystals, coverage=asked)
            coverage[f"{asked:g}"] = coverage_figures(true, made.lower[:, 0], made.upper[:, 0])
        far = sum("further from the training" in line for line in made.warnings)
        figures[name] = {
            "n": len(true),
            "n_failures": len(made.failures),
            "mae": float(np.nanmean(np.abs(made.values[:, 0] - true))),
            "coverage": coverage,
            "median_distance": float(np.nanmedian(made.distance)),
            "warned_as_far": far / len(true),
        }
    return figures


def by_dimensions(model: Path, parts: dict[str, Dataset]) -> dict[str, Any]:
    """Spearman's correlation of distance and error on test crystals, by principal components."""
    run = open_run(model)
    training, validation, test = (
        answers_of(run, parts[name].crystals) for name in ("train", "validation", "test")
    )
    error = np.abs(test.values[:, 0] - parts["test"].numeric(TARGET))
    return {
        str(n): float(
            spearmanr(
                TrainingSpace.fit(
                    training.hidden,
                    list(parts["train"].ids),
                    validation.hidden,
                    np.zeros(119, int),
                    dimensions=n,
                ).distances(test.hidden),
                error,
            ).statistic
        )
        for n in (1, 2, 4, 8, 16)
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parts = cut(folder)
        train_seeds(recipe(folder), folder / "seeds", [0, 1, 2], progress=False)
        train(recipe(folder, snapshots=3), folder / "snapshots", progress=False)
        graphs = recipe(folder, epochs=25, learning_rate=0.003).values() | {
            "representation": {"name": "crystal_graph"},
            "model": {"name": "cgcnn"},
            "augmentation": {},
        }
        train(RunConfig.of(graphs), folder / "cgcnn", progress=False)
        one = folder / "seeds" / "seed-0"
        record(
            "uncertainty",
            {
                "n": {part: len(dataset) for part, dataset in parts.items()},
                "models": {
                    "one network": measured(one, parts),
                    "three seeds": measured(folder / "seeds", parts),
                    "three snapshots": measured(folder / "snapshots", parts),
                },
                "spearman_by_dimensions": {
                    "mlp": by_dimensions(one, parts),
                    "cgcnn": by_dimensions(folder / "cgcnn", parts),
                },
                "bytes": {
                    name: (one / name).stat().st_size
                    for name in (SPACE, "calibration.safetensors", "calibration.json")
                },
            },
            packages=("torch",),
        )


if __name__ == "__main__":
    main()
