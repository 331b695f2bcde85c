"""Orbits of space groups on MP-20 val: what comes back, how few numbers it is, how fast.

All 7,344 crystals are encoded, decoded and compared by pymatgen's StructureMatcher; speeds are of
1,000 of them, beside moyopy's alone, which finds the symmetry. On one thread:

    crystalcodec data import ../shared/data/mp20/val.csv.gz -o runs/mp20/val.parquet
    python benchmarks/wyckoff_orbits.py
"""

from __future__ import annotations

from record import best_of, record  # first: it sets the number of threads

# isort: split
import argparse
from pathlib import Path

import numpy as np

from crystalcodec import Dataset
from crystalcodec.failures import count_reasons
from crystalcodec.representations.wyckoff_orbits import WyckoffOrbits
from crystalcodec.representations.wyckoff_orbits.cells import cell_rules
from crystalcodec.representations.wyckoff_orbits.positions import wyckoff_positions
from crystalcodec.symmetry import moyo_datasets
from crystalcodec.testing import displacements


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("runs/mp20/val.parquet"))
    data = parser.parse_args().data
    crystals = Dataset.read(data).crystals.right_handed()
    representation = WyckoffOrbits()
    encoded = representation.encode(crystals)
    held = crystals[encoded.index]
    decoded = representation.decode(encoded)
    errors = np.full(len(held), np.inf)
    errors[decoded.index] = displacements(held[decoded.index], decoded.crystals)
    groups = encoded["space_group"].argmax(axis=1) + 1
    there = encoded["elements"] > 0
    positions = wyckoff_positions()
    places = np.where(there, positions.index(groups[:, None], encoded["letters"]), 0)
    means, angles = cell_rules()
    of_cells = np.linalg.matrix_rank(means)[groups] + np.isnan(angles[groups]).sum(axis=1)
    some = crystals[: min(1000, len(crystals))]
    arrays = representation.encode(some).arrays
    times = {
        "encode": best_of(lambda: representation.encode(some), 3),
        "moyopy's datasets alone": best_of(lambda: [*moyo_datasets(some)], 3),
        "decode": best_of(lambda: representation.decode(arrays), 3),
    }
    record(
        "wyckoff_orbits",
        {
            "n": len(crystals),
            "refused": count_reasons(encoded.failures),
            "n_not_decoded": len(decoded.failures),
            "n_not_matched": int(np.isinf(errors).sum()),
            "largest_displacement_angstrom": float(errors[np.isfinite(errors)].max()),
            "median_displacement_angstrom": float(np.median(errors)),
            "mean_sites": float(decoded.crystals.n_sites.mean()),
            "mean_orbits": float(there.sum(axis=1).mean()),
            "mean_free_coordinates": float(positions.n_free[places].sum(axis=1).mean()),
            "mean_free_cell_parameters": float(of_cells.mean()),
            "share_without_free_coordinates": float(
                (positions.n_free[places].sum(axis=1) == 0).mean()
            ),
            "n_timed": len(some),
            "per_second": {name: len(some) / seconds for name, seconds in times.items()},
        },
        packages=("moyopy", "pymatgen"),
    )


if __name__ == "__main__":
    main()
