"""Coverage, Wasserstein distances and mean discrepancy of 10,000 crystals against 7,344.

The crystals are real ones of MP-20: those of ``train.parquet`` play the attempts, those of
``val.parquet`` are held out. Beside coverage stand the published formulas with scipy's ``cdist``,
on the same fingerprints. Seconds are processor time, one thread; those of a whole family are
without rows (fingerprints, space groups) that were made for an earlier one.

    python benchmarks/distribution.py FOLDER_OF_MP20
"""

from __future__ import annotations

from record import best_of, record  # first: it sets the number of threads

# isort: split
import sys
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from scipy.spatial.distance import cdist
from scipy.stats import wasserstein_distance

from crystalcodec import Crystals, Dataset
from crystalcodec.evaluation.base import Attempts, Evidence
from crystalcodec.evaluation.distribution import (
    CUTOFFS,
    Coverage,
    Discrepancy,
    Wasserstein,
    composition_fingerprints,
    measure,
    structure_fingerprints,
)

N = 10_000
CUTOFF = CUTOFFS["mp_20"]


def timed(work: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """What it gives, and processor seconds; then once more for the peak of its memory."""
    start = time.process_time()
    found = work()
    seconds = time.process_time() - start
    del found
    tracemalloc.start()
    found = work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return found, {"seconds": round(seconds, 3), "peak_mib": round(peak / 2**20)}


def published(prints: tuple[Any, ...]) -> dict[str, float]:
    structure, composition = cdist(prints[0], prints[2]), cdist(prints[1], prints[3])
    least = [table.min(axis=axis) for axis in (0, 1) for table in (structure, composition)]
    near = [(least[i] <= CUTOFF.structure) & (least[i + 1] <= CUTOFF.composition) for i in (0, 2)]
    names = ("amsd_recall", "amcd_recall", "amsd_precision", "amcd_precision")
    return {
        "cov_recall": float(near[0].mean()),
        "cov_precision": float(near[1].mean()),
        **{name: float(values.mean()) for name, values in zip(names, least, strict=True)},
    }


def scattered(crystals: Crystals) -> Crystals:
    """The same cells and elements with random positions."""
    places = np.random.default_rng(0).random(crystals.frac_coords.shape)
    return Crystals(crystals.lattices, places, crystals.numbers, crystals.offsets)


@dataclass(frozen=True)
class Kept(Evidence):
    """Rows are made once, whatever they are compared with."""

    rows: ClassVar[dict[tuple[str, str], Any]] = {}

    def each(self, name: str, crystals: Crystals, function: Callable[[Crystals], Any]) -> Any:
        key = name, crystals.content_hash
        if key not in self.rows:
            start = time.process_time()
            self.rows[key] = super().each(name, crystals, function)
            print(name, len(crystals), time.process_time() - start, file=sys.stderr)
        return self.rows[key]


def values(crystals: Crystals, held_out: Crystals) -> dict[str, Any]:
    start = time.process_time()
    figures = measure(Kept(Attempts.of(crystals), held_out=held_out))
    made = time.process_time()
    intervals = [figure.interval() for figure in figures]
    return {
        "seconds": round(made - start, 1),
        "seconds_of_intervals": round(time.process_time() - made, 1),
        "figures": {
            figure.name: {
                "value": round(figure.value, 5),
                "interval": [round(low, 5), round(high, 5)],
                "noise_floor": (figure.extra.get("noise_floor") or {}).get("p95"),
            }
            for figure, (low, high) in zip(figures, intervals, strict=True)
        },
    }


def main() -> None:
    folder = Path(sys.argv[1])
    train = Dataset.read(folder / "train.parquet").crystals
    held_out = Dataset.read(folder / "val.parquet").crystals
    chosen = np.random.default_rng(0).choice(len(train), N, replace=False)
    attempts = train[np.sort(chosen)]
    kept = Kept(Attempts.of(attempts))
    start = time.process_time()
    prints = [
        kept.each(name, some, function)
        for some in (attempts, held_out)
        for name, function in (
            ("fingerprints by crystal_nn", structure_fingerprints),
            ("fingerprints by magpie", composition_fingerprints),
        )
    ]
    seconds = time.process_time() - start
    known = [np.isfinite(rows).all(axis=1) for rows in (prints[0], prints[2])]
    used = tuple(rows[known[i // 2]] for i, rows in enumerate(prints))
    coverage, ours = timed(lambda: Coverage.between(*used))
    expected, peer = timed(lambda: published(used))
    got = {
        "cov_recall": coverage.recall(),
        "cov_precision": float(coverage.precision().mean()),
        "amsd_recall": coverage.average_least("structure"),
        "amcd_recall": coverage.average_least("composition"),
        "amsd_precision": float(coverage.nearest[0].mean()),
        "amcd_precision": float(coverage.nearest[1].mean()),
    }
    random = np.random.default_rng(0)
    mask = np.zeros(len(used[0]), bool)
    mask[random.integers(0, len(mask), len(mask))] = True
    densities = attempts.densities, held_out.densities
    wasserstein, of_density = timed(lambda: Wasserstein.between(*densities))
    positions = random.integers(0, N, N)
    _, of_discrepancy = timed(lambda: Discrepancy.measured(used[0], used[2]))
    record(
        "distribution",
        {
            "n_attempts": N,
            "n_held_out": len(held_out),
            "without_fingerprint": [int((~rows).sum()) for rows in known],
            "fingerprints": {"seconds": round(seconds, 1)},
            "coverage": ours | {"seconds_of_a_sample": best_of(lambda: coverage.recall(mask))},
            "coverage_published": peer,
            "largest_difference": max(abs(got[name] - expected[name]) for name in expected),
            "wasserstein_density": of_density
            | {
                "seconds_of_a_sample": best_of(lambda: wasserstein.of(positions)),
                "seconds_of_scipy": best_of(lambda: wasserstein_distance(*densities)),
                "difference": abs(wasserstein.of() - wasserstein_distance(*densities)),
            },
            "discrepancy_structure": of_discrepancy,
            "train_against_held_out": values(attempts, held_out),
            "first_1000_of_train": values(attempts[:1000], held_out),
            "held_out_against_itself": values(held_out, held_out),
            "held_out_at_random_positions": values(scattered(held_out), held_out),
        },
        packages=("scipy",),
    )


if __name__ == "__main__":
    main()
