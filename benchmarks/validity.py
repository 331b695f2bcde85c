"""Validity of 10,000 crystals: the same answers as plain loops, and how fast; the baselines.

    python benchmarks/validity.py --smact-2-2-1 /path/to/unpacked/wheel

The folder holds SMACT 2.2.1, with which the published figures were counted (``pip download
--no-deps smact==2.2.1`` and unzip). Without it that comparison is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from record import record  # first: it sets the number of threads

# isort: split
import numpy as np

from crystalcodec import Crystals, Dataset
from crystalcodec.data.random_crystals import AtomicPacking, random_crystals
from crystalcodec.data.substitution import substituted_crystals
from crystalcodec.elements import SYMBOLS
from crystalcodec.evaluation.base import Attempts, Evidence
from crystalcodec.evaluation.validity import (
    check_compositions,
    check_structures,
    current_rules,
    measure,
    published_rules,
    published_structure_validity,
)

N = 10_000
QUANTILES = (0.0, 0.001, 0.01, 0.05, 0.5, 0.95, 0.99, 0.999, 1.0)


def timed(function: Callable[[], Any]) -> tuple[Any, float]:
    start = time.process_time()
    found = function()
    return found, time.process_time() - start


def scattered(crystals: Crystals, seed: int) -> Crystals:
    """The same cells and elements, atoms anywhere."""
    coords = np.random.default_rng(seed).random(crystals.frac_coords.shape)
    return Crystals(crystals.lattices, coords, crystals.numbers, crystals.offsets)


def structures_one_by_one(crystals: Crystals) -> list[bool]:
    """As published: a pymatgen structure each, its matrix of distances, its volume."""
    from pymatgen.core import Lattice, Structure

    valid = []
    for i, parameters in enumerate(crystals.cell_parameters):
        sites = slice(*crystals.offsets[i : i + 2])
        structure = Structure(
            Lattice.from_parameters(*parameters),
            crystals.numbers[sites],
            crystals.frac_coords[sites],
        )
        distances = structure.distance_matrix + np.diag(np.full(len(structure), 10.5))
        valid.append(not (distances.min() < 0.5 or structure.volume < 0.1))
    return valid


def compositions_of(crystals: Crystals) -> list[tuple[list[str], list[int]]]:
    found = []
    for row in crystals.element_counts:
        numbers = np.flatnonzero(row)
        amounts = row[numbers] // np.gcd.reduce(row[numbers])
        found.append(([SYMBOLS[z] for z in numbers], amounts.tolist()))
    return found


def current_one_by_one(crystals: Crystals) -> list[bool]:
    from pymatgen.core import Composition
    from smact.screening import smact_validity

    return [
        smact_validity(Composition(dict(zip(*pair, strict=True))))
        for pair in compositions_of(crystals)
    ]


def published_one_by_one(crystals: Crystals, folder: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("validity_peer.py"))],
        input=json.dumps(compositions_of(crystals)),
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(folder)},
    )
    found: dict[str, Any] = json.loads(done.stdout)
    if not Path(found["home"]).is_relative_to(folder.resolve()):
        raise SystemExit(f"{found['home']} was imported, wanted SMACT of {folder}")
    return found


def comparison(one: float, other: float, same: int, n: int) -> dict[str, Any]:
    return {
        "times_as_fast": round(one / other, 1),
        "loop_seconds": round(one, 2),
        "seconds": round(other, 3),
        "equal": same,
        "n": n,
    }


def speed(crystals: Crystals, folder: Path | None) -> dict[str, Any]:
    few = crystals[:2]
    check_structures(few), structures_one_by_one(few)
    rules = {"smact_2_2_1": published_rules(), "smact": current_rules()}
    loop, loop_seconds = timed(lambda: structures_one_by_one(crystals))
    ours, seconds = timed(lambda: published_structure_validity(crystals))
    figures = {
        "structural_validity": comparison(
            loop_seconds, seconds, int(np.sum(np.array(loop) == ours)), len(crystals)
        )
    }
    figures["structural_validity"]["valid"] = int(ours.sum())
    loop, loop_seconds = timed(lambda: current_one_by_one(crystals))
    checks, seconds = timed(lambda: check_compositions(crystals, rules["smact"]))
    figures["smact_validity"] = comparison(
        loop_seconds, seconds, int(np.sum(np.array(loop) == checks.valid)), len(crystals)
    )
    if folder:
        peer = published_one_by_one(crystals, folder)
        checks, seconds = timed(lambda: check_compositions(crystals, rules["smact_2_2_1"]))
        figures["composition_validity"] = comparison(
            peer["seconds"],
            seconds,
            int(np.sum(np.array(peer["valid"]) == checks.valid)),
            len(crystals),
        )
    _, seconds = timed(lambda: measure(Evidence(Attempts.of(crystals))))
    figures["all_figures_seconds"] = round(seconds, 2)
    return figures


def many_elements(folder: Path | None) -> dict[str, Any]:
    """Compositions of five to seven elements, where enumeration is slow."""
    rng = np.random.default_rng(0)
    numbers = [
        rng.choice(np.arange(1, 95), size, replace=False) for size in (5, 6, 7) for _ in "12345"
    ]
    numbers = [np.repeat(some, rng.integers(1, 5, len(some))) for some in numbers]
    offsets = np.cumsum([0, *map(len, numbers)])
    crystals = Crystals(
        np.tile(9.0 * np.eye(3), (len(numbers), 1, 1)),
        rng.random((offsets[-1], 3)),
        np.concatenate(numbers),
        offsets,
    )
    if folder is None:
        return {}
    peer = published_one_by_one(crystals, folder)
    checks, seconds = timed(lambda: check_compositions(crystals, published_rules()))
    same = int(np.sum(np.array(peer["valid"]) == checks.valid))
    return comparison(peer["seconds"], seconds, same, len(crystals))


def shares(attempts: Attempts) -> dict[str, Any]:
    figures = measure(Evidence(attempts))
    return {
        "n": attempts.n,
        "failures": attempts.reasons(),
        **{figure.name: round(figure.value, 4) for figure in figures},
        "composition_validity_by": dict(figures[1].extra),
    }


def distributions(crystals: Crystals) -> dict[str, Any]:
    checks = check_structures(crystals)
    columns = {
        "separation": checks.shortest.over_radii,
        "shortest_distance": checks.shortest.of_all,
        "volume_per_atom": checks.volumes_per_atom,
        "filling": checks.fillings,
    }
    return {
        name: dict(zip(map(str, QUANTILES), np.quantile(values, QUANTILES).round(3), strict=True))
        for name, values in columns.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("runs/mp20"))
    parser.add_argument("--smact-2-2-1", type=Path)
    options = parser.parse_args()
    train = Dataset.read(options.data / "train.parquet").crystals
    held_out = Dataset.read(options.data / "val.parquet").crystals
    packing, fit_seconds = timed(lambda: AtomicPacking.fit(train))
    made, made_seconds = timed(lambda: random_crystals(N, like=train, seed=0, packing=packing))
    swapped, swapped_seconds = timed(lambda: substituted_crystals(N, of=train, seed=0))
    anywhere = scattered(held_out, 0)
    mixed = Crystals.concatenate(
        [held_out[: 2 * N // 5], anywhere[: 3 * N // 10], swapped[0][: N // 5]]
    )
    mixed = Crystals.concatenate([mixed, made[0][: N - len(mixed)]])
    ratios = made[0].volumes / packing.volumes.of(made[0])
    figures = {
        "data": {"train": len(train), "held_out": len(held_out)},
        "speed": speed(mixed, options.smact_2_2_1),
        "five_to_seven_elements": many_elements(options.smact_2_2_1),
        "baselines": {
            "real": shares(Attempts.of(held_out)),
            "training": shares(Attempts.of(train)),
            "random": shares(Attempts.of(*made)),
            "substituted": shares(Attempts.of(*swapped)),
            "atoms_anywhere": shares(Attempts.of(anywhere)),
        },
        "distributions": {
            "training": distributions(train),
            "atoms_anywhere": distributions(anywhere),
        },
        "making": {
            "fit_seconds": round(fit_seconds, 2),
            "random_seconds": round(made_seconds, 1),
            "substituted_seconds": round(swapped_seconds, 2),
            "volume_over_fit": dict(
                zip(map(str, QUANTILES), np.quantile(ratios, QUANTILES).round(3), strict=True)
            ),
            "volume_spread_of_fit": round(packing.volumes.spread, 3),
        },
    }
    packages = ("pymatgen", "smact", "ase")
    record("validity", json.loads(json.dumps(figures, default=float)), packages=packages)


if __name__ == "__main__":
    main()
