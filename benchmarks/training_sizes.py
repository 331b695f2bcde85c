"""Learning curves of a recipe: its error when it is trained on parts of its data.

    python benchmarks/training_sizes.py joint_zeros --parts 8 4 2 --whole runs/joint24

Parts are random and nested (1/8 is in 1/4), with the recipe's epochs: a small part takes few
steps. One seed each; the seeds of the whole data are those of ``--whole``. Runs are kept in
``runs/sizes`` and go on after an interruption.
"""

from __future__ import annotations

from record import record, spread  # first: it sets the number of threads

# isort: split
import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from crystalcodec.data import Dataset
from crystalcodec.workflow import RunConfig, train

RECIPES = Path(__file__).parent / "recipes"
FOLDER = Path("runs/sizes")


def part_of(dataset: Path, part: int) -> Path:
    """A file with one of ``part`` crystals, always the same; in the order of the whole."""
    out = FOLDER / f"{dataset.stem}_{part}.parquet"
    if not out.exists():
        whole = Dataset.read(dataset)
        order = np.random.default_rng(0).permutation(len(whole))
        out.parent.mkdir(parents=True, exist_ok=True)
        whole[np.sort(order[: len(whole) // part])].write(out)
    return out


def point(runs: list[Path], part: int) -> dict[str, Any]:
    """MAE on validation crystals of each target, and how many training crystals had it."""
    metrics = [json.loads((run / "metrics.json").read_text()) for run in runs]
    figures = {}
    for target in metrics[0]["targets"]:
        found = [one["validation"]["targets"][target]["mae"] for one in metrics]
        figures[target] = {
            "n_train": metrics[0]["train"]["targets"][target]["n"],
            "mae": spread(found),
        }
    return {"part": part, "targets": figures}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", help="of several targets, without .toml")
    parser.add_argument("--parts", type=int, nargs="+", default=[8, 4, 2])
    parser.add_argument("--whole", type=Path, required=True, help="folder with seed-0, seed-1 ...")
    arguments = parser.parse_args()
    path = RECIPES / f"{arguments.recipe}.toml"
    dataset = Path(RunConfig.read(path).data.dataset)
    points = []
    for part in sorted(arguments.parts, reverse=True):
        config = RunConfig.read(path, {"data": {"dataset": str(part_of(dataset, part))}})
        run = train(config, FOLDER / f"{arguments.recipe}_{part}", say=print)
        points.append(point([run.folder], part))
    points.append(point(sorted(arguments.whole.glob("seed-*")), 1))
    record(f"training_sizes_{arguments.recipe}", {"curve": points}, packages=("torch",))


if __name__ == "__main__":
    main()
