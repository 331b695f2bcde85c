"""Exfoliation energies of matbench_jdft2d by a mean of networks on several representations.

Each of Matbench's five folds, for each seed: on the training part, five inner folds tell how well
each kind (a representation with a model) predicts what it has not seen; kinds are taken one after
the other, with replacement, into the mean of least error; then each that was taken is fitted on the
whole training part, networks five times, and the test part is predicted once. Nothing of a test
part is looked at before that. Folds are kept (``--cache``), so that the command goes on.

    python benchmarks/jdft2d.py --seeds 0
"""

from __future__ import annotations

from record import SHARED_DATA, record  # first: it sets the number of threads

# isort: split
import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.model_selection import KFold

from crystalcodec import read
from crystalcodec.registry import REPRESENTATIONS, load
from crystalcodec.workflow.benchmark.encodings import Features
from crystalcodec.workflow.benchmark.estimators import ESTIMATORS
from crystalcodec.workflow.benchmark.networks import NETWORKS
from phonons import blend

DATASET = "matbench/jdft2d.json.gz"
PUBLISHED = {"leader": 33.19, "CGCNN": 49.24, "random forest": 50.04}
TABLES = ("ace", "amd", "potential_vectors", "magpie")
KINDS = [
    *((table, "mlp", {"precision": "bf16-mixed"}) for table in TABLES),
    *((table, "mlp", {"precision": "bf16-mixed", "dropout": 0.2}) for table in TABLES),
    *((table, "random_forest", {"n_estimators": 200}) for table in TABLES),
]
INNER, TAKEN, NETWORKS_OF_A_KIND = 5, 20, 5
Rows = np.ndarray


def features_of(name: str, crystals: Any) -> Features:
    representation = load(REPRESENTATIONS, name)()
    encoded = representation.encode(crystals)
    if encoded.failures:
        raise SystemExit(f"{name}: {encoded.failures[0]}")
    return Features(representation, encoded, np.arange(len(crystals)))


def fit(
    kind: tuple[str, str, dict[str, Any]],
    features: dict[str, Features],
    y: np.ndarray,
    rows: Rows,
    seed: int,
) -> Callable[[Rows], np.ndarray]:
    """A model of a kind, fitted on rows."""
    table, model, settings = kind
    if model in NETWORKS:
        whole = {**NETWORKS[model].candidates[0], **settings}
        network = NETWORKS[model].fit(features[table], rows, y[rows], whole, seed, "cpu")
        return lambda asked: network.predict(features[table], asked)
    estimator = ESTIMATORS[model]
    prepared = estimator.prepare(features[table].matrix(rows), y[rows])
    fitted = estimator.fit(prepared, {**estimator.candidates[0], **settings}, seed)
    return lambda asked: fitted.predict(features[table].matrix(asked))


def one_fold(
    features: dict[str, Features], y: np.ndarray, train: Rows, test: Rows, seed: int
) -> dict[str, Any]:
    start = time.process_time()
    outside = np.zeros((len(KINDS), len(train)))
    for own, other in KFold(INNER, shuffle=True, random_state=seed).split(train):
        for row, kind in zip(outside, KINDS, strict=True):
            row[other] = fit(kind, features, y, train[own], seed)(train[other])
    inside = np.abs(outside - y[train]).mean(axis=1)
    chosen = blend(outside, y[train], inside, TAKEN)
    names = [
        " ".join([table, model, *map(str, settings.values())]) for table, model, settings in KINDS
    ]
    predicted = {}
    for i in dict.fromkeys([*chosen, int(inside.argmin())]):
        several = NETWORKS_OF_A_KIND if KINDS[i][1] in NETWORKS else 1
        each = [fit(KINDS[i], features, y, train, 100 * seed + k)(test) for k in range(several)]
        predicted[i] = np.mean(each, axis=0)
    found = np.mean([predicted[i] for i in chosen], axis=0)
    best = predicted[int(inside.argmin())]
    return {
        "mae": float(np.abs(found - y[test]).mean()),
        "mae_of_the_best_kind": float(np.abs(best - y[test]).mean()),
        "mae_inside": dict(zip(names, inside.tolist(), strict=True)),
        "taken": {names[i]: chosen.count(i) / TAKEN for i in dict.fromkeys(chosen)},
        "seconds": time.process_time() - start,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--cache", type=Path, default=Path("runs/jdft2d"))
    arguments = parser.parse_args()
    loaded = read(SHARED_DATA / DATASET)
    y = np.asarray(next(iter(loaded.properties.values())), float)
    features = {name: features_of(name, loaded.crystals.right_handed()) for name in TABLES}
    arguments.cache.mkdir(parents=True, exist_ok=True)
    found = []
    for seed in arguments.seeds:
        for fold, (train, test) in enumerate(
            KFold(5, shuffle=True, random_state=18012019).split(y)
        ):
            path = arguments.cache / f"seed-{seed}_fold-{fold}.json"
            if not path.exists():
                told = {"seed": seed, "fold": fold, **one_fold(features, y, train, test, seed)}
                path.write_text(json.dumps(told))
            found.append(json.loads(path.read_text()))
            print(seed, fold, f"{found[-1]['mae']:.2f}", found[-1]["taken"], flush=True)
    of_seeds = {
        name: [
            float(np.mean([one[name] for one in found if one["seed"] == seed]))
            for seed in arguments.seeds
        ]
        for name in ("mae", "mae_of_the_best_kind")
    }
    record(
        "jdft2d",
        {
            "dataset": "matbench_jdft2d, exfoliation energy, meV/atom",
            "n": len(y),
            "published": PUBLISHED,
            "seeds": arguments.seeds,
            "mean_of_folds_of_each_seed": of_seeds,
            "mae": float(np.mean(of_seeds["mae"])),
            "standard_deviation_over_seeds": float(np.std(of_seeds["mae"], ddof=1))
            if len(arguments.seeds) > 1
            else None,
            "folds": found,
        },
        packages=("torch", "lightning", "scikit-learn"),
    )


if __name__ == "__main__":
    main()
