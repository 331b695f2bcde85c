"""Formation energy on MP-20 from IRCR: recipes of TOML, several seeds each, one table.

The crystals are MP-20's training and validation sets as far as IRCR holds them (at most 20 sites
and three elements: 17,959 and 7,150). Runs are kept in ``runs/`` and go on after an interruption.

    python benchmarks/formation_energy.py task1_published task1 task2_published task2
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from record import SHARED_DATA, record  # first: it sets the number of threads

# isort: split
from crystalcodec.data import import_dataset
from crystalcodec.workflow import RunConfig, compare, train

RECIPES = Path(__file__).parent / "recipes"
DATA = Path("runs/mp20")


def datasets() -> None:
    """The two Parquet files that the recipes name, made once."""
    for part in ("train", "val"):
        out = DATA / f"{part}.parquet"
        if not out.exists():
            out.parent.mkdir(parents=True, exist_ok=True)
            import_dataset(
                SHARED_DATA / "mp20" / f"{part}.csv.gz",
                out,
                structure_column="cif",
                id_column="material_id",
                units={"formation_energy_per_atom": "eV/atom", "band_gap": "eV"},
                source="MP-20, Xie et al., ICLR 2022",
                licence="CC BY 4.0",
            )


def learning_curve(run: Path) -> list[dict[str, float]]:
    """The epochs of a run whose validation error was taken."""
    rows = json.loads((run / "history.json").read_text())
    return [row for row in rows if "validation_mae" in row]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    known = sorted(path.stem for path in RECIPES.glob("*.toml"))
    parser.add_argument(
        "recipes", nargs="+", choices=known, metavar="RECIPE", help=", ".join(known)
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    datasets()
    for recipe in arguments.recipes:
        folders = []
        for seed in arguments.seeds:
            config = RunConfig.read(RECIPES / f"{recipe}.toml", {"seed": seed})
            folders.append(train(config, Path("runs") / recipe / f"seed-{seed}", say=print).folder)
        comparison = compare(folders)
        print(comparison.table())
        record(
            f"formation_energy_{recipe}",
            {
                "recipe": f"benchmarks/recipes/{recipe}.toml",
                **json.loads(comparison.to_json()),
                "learning_curves": [learning_curve(folder) for folder in folders],
            },
            packages=("torch", "lightning"),
        )


if __name__ == "__main__":
    main()
