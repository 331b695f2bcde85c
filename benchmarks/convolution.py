"""How much of the difference between the two regressors the convolution makes, and why.

Networks on MP-20 with one recipe (``recipes/convolution.toml``), so that nothing but the
network, or the order of the rows, differs:

- ``mlp``: Task 1.
- ``mlp_wide``: Task 1 with a dense first layer as wide as the convolutions' output (4,608), which
  has the parameters of Task 2 and no convolution.
- ``cnn1d``: Task 2.
- ``cnn1d_shuffled``: Task 2 on rows in a fixed random order: the same numbers, no neighbourhood.
- ``cnn1d_shuffled_elements``, ``cnn1d_shuffled_sites``: only the rows of the elements (block E),
  or of the sites (C and O), in random order: which neighbourhood it is.
- ``mlp_standardised``, ``cnn1d_standardised``: the scaling that suits the MLP better; the recipe's
  own was found for the convolution.
- ``mlp_shuffled``: Task 1 on the same rows; it must not care, which checks the control itself.

    python benchmarks/convolution.py
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from record import record  # first: it sets the number of threads

# isort: split
from crystalcodec import registry
from crystalcodec.workflow import RunConfig, compare, train
from formation_energy import RECIPES, datasets

WIDE = [4608, 1024, 256, 128, 32]
STANDARDISED = {"scaling": {"kind": "standardise"}}


def shuffled(rows: str) -> dict[str, dict[str, str]]:
    return {"representation": {"name": "ircr_shuffled", "rows": rows}}


NETWORKS = {
    "mlp": {"model": {"name": "mlp"}},
    "mlp_shuffled": {"model": {"name": "mlp"}, **shuffled("all")},
    "mlp_wide": {"model": {"name": "mlp", "hidden": WIDE}},
    "cnn1d": {"model": {"name": "cnn1d"}},
    "cnn1d_shuffled": {"model": {"name": "cnn1d"}, **shuffled("all")},
    "cnn1d_shuffled_elements": {"model": {"name": "cnn1d"}, **shuffled("elements")},
    "cnn1d_shuffled_sites": {"model": {"name": "cnn1d"}, **shuffled("sites")},
    "mlp_standardised": {"model": {"name": "mlp"}, **STANDARDISED},
    "cnn1d_standardised": {"model": {"name": "cnn1d"}, **STANDARDISED},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    arguments = parser.parse_args()
    datasets()
    registry.REPRESENTATIONS["ircr_shuffled"] = "controls:ShuffledIRCR"  # type: ignore[index]
    folders = []
    for name in arguments.networks:
        for seed in arguments.seeds:
            config = RunConfig.read(RECIPES / "convolution.toml", {**NETWORKS[name], "seed": seed})
            folder = Path("runs") / "convolution" / name / f"seed-{seed}"
            folders.append(train(config, folder, say=print).folder)
    comparison = compare(folders)
    print(comparison.table())
    if set(arguments.networks) != set(NETWORKS):
        return  # the result file holds all of them
    record(
        "convolution",
        {"recipe": "benchmarks/recipes/convolution.toml", **json.loads(comparison.to_json())},
        packages=("torch", "lightning"),
    )


if __name__ == "__main__":
    main()
