"""The highest peak of the phonon density of states (matbench_phonons) from potentials' vibrations.

The first step computes the features that the recipe names, a file a crystal, and goes on
where it was stopped; several processes may share it (``--part 0/2`` and ``--part 1/2``):

    python benchmarks/phonons.py features benchmarks/recipes/phonons_potential.toml

On some crystals of which there are features, what the highest frequency alone is worth:

    python benchmarks/phonons.py sample benchmarks/recipes/phonons_potential.toml --limit 40

The last runs the five folds of Matbench, for each seed, and writes the result:

    python benchmarks/phonons.py folds benchmarks/recipes/phonons_potential.toml

In a fold everything is chosen by cross-validation inside its training part: for each kind of head
its features, target and parameters, and which heads are averaged how often (greedy selection with
replacement). The test part is predicted once, by heads fitted again on the whole training part.
Folds are kept too, and may be shared by processes in the same way.
``--limit N`` takes the first N crystals of a fixed random order and writes no result.
"""

from __future__ import annotations

from record import SHARED_DATA, record  # first: it sets the number of threads

# isort: split
import argparse
import hashlib
import json
import os
import time
import tomllib
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import ExtraTreesRegressor, HistGradientBoostingRegressor
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LinearRegression, RidgeCV
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import QuantileTransformer, StandardScaler

from crystalcodec import read
from crystalcodec.registry import REPRESENTATIONS, load
from crystalcodec.representations.potential_phonons.cells import smallest_cell
from crystalcodec.representations.potential_phonons.force_constants import (
    find_symmetry,
    make_plan,
    supercell_repeats,
)

CACHE = Path(os.environ.get("PHONONS_FEATURES", "runs/phonons_features"))
KINDS = {
    "potential_phonons": "crystalcodec.representations.potential_phonons:PotentialPhonons",
    **REPRESENTATIONS,
}
PUBLISHED = {"matbench_leader_mae": 28.76}
TRAINED_ON = (
    "CHGNet-0.3.0 and SevenNet-0: MPtrj, energies, forces and stresses along relaxations of the "
    "Materials Project (PBE); SevenNet-l3i5: MPtrj. matbench_phonons is of the same database "
    "(relaxed again with PBEsol, vibrations by perturbation theory): its crystals, not their "
    "vibrations, were part of that training."
)
_LOWEST = 20.0  # 1/cm; a highest frequency below it says nothing, and would spoil a ratio


def label(config: dict[str, Any]) -> str:
    """The folder of a set of features: its name and a hash of all its parameters."""
    text = json.dumps(config, sort_keys=True)
    model = f"_{config['model']}" if "model" in config else ""
    return f"{config['name']}{model}_{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def representations(recipe: dict[str, Any]) -> Iterator[Any]:
    for entry in recipe["features"]:
        parameters = {key: value for key, value in entry.items() if key != "name"}
        yield load(KINDS, entry["name"])(**parameters)


def compute(recipe: dict[str, Any], rows: np.ndarray, part: str, only: str | None) -> None:
    """One ``.npz`` for each crystal and set of features: the numbers, or why there are none."""
    crystals = read(SHARED_DATA / recipe["dataset"]).crystals
    which, of = map(int, part.split("/"))
    for representation in representations(recipe):
        folder = CACHE / label(representation.config())
        if only and only not in folder.name:
            continue
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(representation.config()))
        todo = [int(i) for i in rows[which::of] if not (folder / f"{i:05d}.npz").exists()]
        start = time.perf_counter()
        for done, i in enumerate(todo):
            before = time.perf_counter()
            encoded = representation.encode(crystals[i])
            seconds = time.perf_counter() - before
            reason = "; ".join(f"{f.reason}: {f.detail}" for f in encoded.failures)
            numbers = encoded[representation.name][0] if len(encoded) else np.zeros(0)
            beside = folder / f"{i:05d}.{os.getpid()}.part"
            with beside.open("wb") as file:
                np.savez(file, numbers=numbers, reason=reason, seconds=seconds)
            beside.rename(folder / f"{i:05d}.npz")
            if done % 25 == 24:
                each = (time.perf_counter() - start) / (done + 1)
                left = each * (len(todo) - done - 1) / 60
                print(
                    f"{folder.name}: {done + 1}/{len(todo)}, {each:.2f} s each, {left:.0f} min left"
                )


def gather(representation: Any, rows: np.ndarray) -> tuple[np.ndarray, dict[int, str], float]:
    """(n, n_features), NaN where a crystal failed; the reasons; mean seconds a crystal."""
    folder = CACHE / label(representation.config())
    table = np.full((len(rows), len(representation.feature_names())), np.nan)
    reasons, seconds = {}, []
    for place, i in enumerate(rows):
        path = folder / f"{i:05d}.npz"
        if not path.exists():
            raise SystemExit(f"{path} is not there: run the features step first")
        with np.load(path) as found:
            seconds.append(float(found["seconds"]))
            if str(found["reason"]):
                reasons[int(i)] = str(found["reason"])
            else:
                table[place] = found["numbers"]
    return table, reasons, float(np.mean(seconds))


class Ratio:
    """The logarithm of the target over a first guess of it, as what a head learns."""

    name = "ratio"

    @staticmethod
    def there(y: np.ndarray, guess: np.ndarray) -> np.ndarray:
        return np.log(y / guess)

    @staticmethod
    def back(t: np.ndarray, guess: np.ndarray) -> np.ndarray:
        return np.exp(np.clip(t, -1, 1)) * guess


class Difference:
    """The target less a first guess of it."""

    name = "difference"

    @staticmethod
    def there(y: np.ndarray, guess: np.ndarray) -> np.ndarray:
        return y - guess

    @staticmethod
    def back(t: np.ndarray, guess: np.ndarray) -> np.ndarray:
        return t + guess


def scaled(model: Any) -> Any:
    """Features on one scale, and a target of mean 0 and deviation 1."""
    return TransformedTargetRegressor(
        make_pipeline(StandardScaler(), model), transformer=StandardScaler()
    )


def ranked(model: Any) -> Any:
    """As ``scaled``, with features made normal by their ranks: no crystal stands far outside."""
    ranks = QuantileTransformer(n_quantiles=200, output_distribution="normal", random_state=0)
    clipped = make_pipeline(ranks, StandardScaler(), model)
    return TransformedTargetRegressor(clipped, transformer=StandardScaler())


def heads(n_features: int, seed: int) -> dict[str, list[Callable[[], Any]]]:
    """The models that are tried, by kind.

    Kernel ridge stands for Gaussian processes too: their mean is the same, and parameters that
    cross-validation chooses cost less than those of the likelihood.
    """
    kernel = [
        lambda k=k, a=a, g=g, wrap=wrap: wrap(KernelRidge(alpha=a, gamma=g / n_features, kernel=k))
        for k, g in (("rbf", 0.05), ("rbf", 0.2), ("laplacian", 0.1), ("laplacian", 0.3))
        for a in (0.01, 0.1)
        for wrap in (scaled, ranked)
    ]
    return {
        "ridge": [lambda: scaled(RidgeCV(np.logspace(-1, 4, 11)))],
        "kernel ridge": kernel,
        "extra trees": [
            lambda: ExtraTreesRegressor(200, max_features=0.2, random_state=seed, n_jobs=1)
        ],
        "boosting": [
            lambda: HistGradientBoostingRegressor(
                loss="absolute_error",
                max_iter=250,
                learning_rate=0.05,
                max_leaf_nodes=12,
                l2_regularization=1.0,
                max_features=0.3,
                random_state=seed,
            )
        ],
    }


def candidates(
    tables: dict[str, np.ndarray], seed: int
) -> Iterator[tuple[str, str, Callable[[], Any], np.ndarray, Any]]:
    """Kind, name, model, features and target of every combination that is tried."""
    for features, table in tables.items():
        for kind, models in heads(table.shape[1], seed).items():
            for target in (Ratio, Difference):
                for number, model in enumerate(models):
                    yield kind, f"{features}, {kind} {number}, {target.name}", model, table, target


def guesses(first: np.ndarray, y: np.ndarray, train: np.ndarray) -> np.ndarray:
    """A straight line through the potential's highest frequency, fitted on the training part."""
    line = LinearRegression().fit(first[train, None], y[train])
    return np.maximum(line.predict(first[:, None]), _LOWEST)


def fitted(model, table, target, guess, y, train, test) -> np.ndarray:
    found = model().fit(table[train], target.there(y[train], guess[train]))
    # A crystal far outside the training part is not carried further than a factor e.
    back = target.back(found.predict(table[test]), guess[test])
    return np.clip(back, guess[test] / np.e, guess[test] * np.e)


def one_fold(
    tables: dict[str, np.ndarray],
    first: np.ndarray,
    y: np.ndarray,
    train: np.ndarray,
    test: np.ndarray,
    seed: int,
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Predictions of the test part by the best head of each kind and by their average."""
    inner = list(KFold(5, shuffle=True, random_state=seed).split(train))
    tried = list(candidates(tables, seed))
    outside = np.zeros((len(tried), len(train)))
    for own, other in inner:
        guess = guesses(first, y, train[own])
        for row, (_, _, model, table, target) in zip(outside, tried, strict=True):
            row[other] = fitted(model, table, target, guess, y, train[own], train[other])
    errors = np.abs(outside - y[train]).mean(axis=1)
    kinds = [kind for kind, *_ in tried]
    best = {
        kind: min((i for i, k in enumerate(kinds) if k == kind), key=errors.__getitem__)
        for kind in dict.fromkeys(kinds)
    }
    chosen = blend(outside, y[train], errors)
    guess = guesses(first, y, train)
    final = {i: fitted(*tried[i][2:], guess, y, train, test) for i in {*chosen, *best.values()}}
    predictions = {kind: final[i] for kind, i in best.items()}
    predictions["blend"] = np.mean([final[i] for i in chosen], axis=0)
    predictions["line"] = guess[test]
    inside = {kind: [tried[i][1], float(errors[i])] for kind, i in best.items()}
    names = [tried[i][1] for i in chosen]
    inside["blend"] = {name: names.count(name) for name in dict.fromkeys(names)}
    return predictions, inside


def blend(outside: np.ndarray, y: np.ndarray, errors: np.ndarray, n: int = 20) -> list[int]:
    """Models whose mean has the least error, taken one after the other, with replacement."""
    chosen: list[int] = []
    total = np.zeros(len(y))
    best = errors.argsort()[:40]  # the worst ones would only be taken by chance
    for step in range(1, n + 1):
        scores = np.abs((total + outside[best]) / step - y).mean(axis=1)
        chosen.append(int(best[scores.argmin()]))
        total += outside[chosen[-1]]
    return chosen


def inputs(
    recipe: dict[str, Any], rows: np.ndarray
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], np.ndarray, dict[str, Any]]:
    """Features to learn from, by name; highest frequencies, by potential; target; what to tell."""
    loaded = read(SHARED_DATA / recipe["dataset"])
    y = np.asarray(next(iter(loaded.properties.values())), float)[rows]
    blocks, failed, seconds, highest = {}, {}, {}, {}
    for representation in representations(recipe):
        name = label(representation.config())
        blocks[name], failed[name], seconds[name] = gather(representation, rows)
        if representation.name == "potential_phonons":
            highest[name] = blocks[name][:, 0]
    vibrations = np.concatenate([blocks[name] for name in highest], axis=1)
    magpie = [block for name, block in blocks.items() if name.startswith("magpie")]
    tables = {
        "vibrations": vibrations,
        "vibrations and magpie": np.concatenate([vibrations, *magpie], axis=1),
        "all": np.concatenate([*blocks.values()], axis=1),
    }
    failures = {name: found for name, found in failed.items() if found}
    return tables, highest, y, {"failures": failures, "seconds_a_crystal": seconds}


def folds(
    recipe: dict[str, Any], rows: np.ndarray, seeds: list[int], part: str
) -> dict[str, Any] | None:
    """The figures; None while folds of other processes are missing."""
    tables, highest, y, notes = inputs(recipe, rows)
    whole = np.isfinite(tables["all"]).all(axis=1)
    first = next(iter(highest.values()))
    splitter = KFold(recipe["folds"], shuffle=True, random_state=recipe["fold_seed"])
    every = [(seed, *fold) for seed in seeds for fold in enumerate(splitter.split(y))]
    key = hashlib.sha256(json.dumps([recipe, rows.tolist()]).encode()).hexdigest()[:8]
    folder = CACHE / f"folds_{key}"
    folder.mkdir(parents=True, exist_ok=True)
    which, of = map(int, part.split("/"))
    for seed, number, (train, test) in every[which::of]:
        path = folder / f"{seed}_{number}.json"
        if path.exists():
            continue
        start = time.perf_counter()
        held, asked = train[whole[train]], test[whole[test]]
        found, inside = one_fold(tables, first, y, held, asked, seed)
        errors = {}
        for kind, predicted in found.items():
            # A crystal without features is given the median of the training part.
            full = np.full(len(y), np.median(y[train]))
            full[asked] = predicted
            errors[kind] = float(np.abs(full[test] - y[test]).mean())
        took = time.perf_counter() - start
        beside = path.with_suffix(f".{os.getpid()}.part")
        beside.write_text(json.dumps({"mae": errors, "chosen": inside, "seconds": took}))
        beside.rename(path)
        shown = ", ".join(f"{kind} {error:.2f}" for kind, error in errors.items())
        print(f"seed {seed}, fold {number}: {shown} ({took:.0f} s)", flush=True)
    paths = [(seed, number, folder / f"{seed}_{number}.json") for seed, number, _ in every]
    if not all(path.exists() for _, _, path in paths):
        return None
    done = [(seed, number, json.loads(path.read_text())) for seed, number, path in paths]
    return {
        "dataset": "matbench_phonons: highest peak of the phonon density of states, 1/cm",
        "n": len(y),
        "n_without_features": int((~whole).sum()),
        **notes,
        "recipe": recipe,
        "potentials_trained_on": TRAINED_ON,
        "published": PUBLISHED,
        "line_through_highest_frequency": {
            name: straight(values, y) for name, values in highest.items()
        },
        "mae": {
            kind: summary([[seed, number, one["mae"][kind]] for seed, number, one in done])
            for kind in done[0][2]["mae"]
        },
        "chosen": [{"seed": s, "fold": n, **one["chosen"]} for s, n, one in done],
        "seconds_a_fold": float(np.mean([one["seconds"] for _, _, one in done])),
    }


def straight(values: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Correlation with the target, and the error of a line through all of it."""
    there = np.isfinite(values)
    x, y = values[there], y[there]
    line = np.polyval(np.polyfit(x, y, 1), x)
    return {
        "n": int(there.sum()),
        "correlation": float(np.corrcoef(x, y)[0, 1]),
        "mae_as_it_is": float(np.abs(x - y).mean()),
        "mae_of_the_line": float(np.abs(line - y).mean()),
    }


def summary(errors: list[list[float]]) -> dict[str, Any]:
    """Mean over folds of each seed, then over seeds."""
    seeds = sorted({int(seed) for seed, _, _ in errors})
    by_seed = {seed: [e for s, _, e in errors if s == seed] for seed in seeds}
    means = [float(np.mean(found)) for found in by_seed.values()]
    folds_of = np.array([*by_seed.values()])
    return {
        "mean": float(np.mean(means)),
        "spread_over_seeds": float(np.std(means, ddof=1)) if len(means) > 1 else None,
        "spread_over_folds": float(folds_of.mean(axis=0).std(ddof=1)),
        "per_seed_and_fold": {str(seed): found for seed, found in by_seed.items()},
    }


def sample(recipe: dict[str, Any], rows: np.ndarray) -> dict[str, Any]:
    """How good the highest frequency alone is, and how many forces it took, on some crystals."""
    loaded = read(SHARED_DATA / recipe["dataset"])
    y = np.asarray(next(iter(loaded.properties.values())), float)
    found = {}
    for representation in representations(recipe):
        folder = CACHE / label(representation.config())
        there = np.array([i for i in rows if (folder / f"{i:05d}.npz").exists()], int)
        if representation.name != "potential_phonons" or not len(there):
            continue
        table, reasons, seconds = gather(representation, there)
        names = representation.feature_names()
        counts = np.array([forces_of(representation, loaded.crystals[int(i)]) for i in there])
        found[representation.model] = {
            "parameters": representation.config(),
            "n": len(there),
            "n_failed": len(reasons),
            "wall_seconds_a_crystal_on_a_busy_machine": seconds,
            "force_evaluations": dict(
                zip(("with symmetry", "without"), counts.mean(axis=0)[:2].tolist(), strict=True)
            ),
            "sites": dict(
                zip(("primitive cell", "supercell"), counts.mean(axis=0)[2:].tolist(), strict=True)
            ),
            "highest_frequency": straight(table[:, names.index("summary maximum")], y[there]),
            "highest_frequency_at_zone_centre": straight(
                table[:, names.index("summary maximum at the zone centre")], y[there]
            ),
        }
    return {"dataset": recipe["dataset"], "potentials_trained_on": TRAINED_ON, "models": found}


def forces_of(representation: Any, crystal: Any) -> tuple[int, int, int, int]:
    """Displacements with and without symmetry, sites of the primitive cell and the supercell."""
    cell, rotations, translations = smallest_cell(crystal, representation.symprec)
    repeats = supercell_repeats(cell.lattices[0], representation.min_length)
    symmetry = find_symmetry(cell, repeats, rotations, translations)
    n_sites = len(cell.numbers)
    n_moves = len(make_plan(cell, repeats, symmetry, 0.01).moves)
    return n_moves, 6 * n_sites, n_sites, n_sites * int(np.prod(repeats))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("step", choices=["features", "folds", "sample"])
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--part", default="0/1", help="what this process does: crystals or folds")
    parser.add_argument("--only", help="features whose folder's name holds this")
    parser.add_argument("--limit", type=int, help="crystals, for a trial")
    parser.add_argument("--seeds", type=int, nargs="+", help="of the recipe's; default: all")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    recipe = tomllib.loads(arguments.recipe.read_text())
    rows = np.arange(len(read(SHARED_DATA / recipe["dataset"]).crystals))
    if arguments.limit:
        rows = np.random.default_rng(0).permutation(rows)[: arguments.limit]
    if arguments.step == "features":
        compute(recipe, rows, arguments.part, arguments.only)
        return
    if arguments.step == "sample":
        record("phonons_sample", sample(recipe, rows), packages=("torch", "chgnet", "sevenn"))
        return
    seeds = [0] if arguments.limit else arguments.seeds or recipe["seeds"]
    figures = folds(recipe, rows, seeds, arguments.part)
    if figures is None:
        print("folds of other processes are missing: run this again when they are done")
        return
    if arguments.limit:
        print(json.dumps({key: figures[key] for key in ("line_through_highest_frequency", "mae")}))
        return
    packages = ("scikit-learn", "torch", "chgnet", "sevenn")
    record("phonons_potential", figures, packages=packages)


if __name__ == "__main__":
    main()
