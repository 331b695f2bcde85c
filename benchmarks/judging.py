"""Judge real crystals as if they had been generated, with baselines, and once more from the cache.

    python benchmarks/judging.py
    python benchmarks/judging.py runs/mp20

Prototypes of the package, drawn at random: 300 attempts, of which 20 are training crystals, 10
come again and 10 gave no crystal; 1,000 training crystals; 500 held-out ones. What must come out
is known. With a folder of MP-20 (``train.parquet``, ``val.parquet``): the cost of 10,000
attempts against all of it, with baselines of 2,000, by two processes.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import record
from crystalcodec import Dataset, prototypes
from crystalcodec.crystals import Crystals
from crystalcodec.data.random_crystals import random_crystals
from crystalcodec.data.substitution import substituted_crystals
from crystalcodec.evaluation.base import Attempts
from crystalcodec.failures import Failure
from crystalcodec.workflow.judging import judge

PARTS = ("train", "val")
SHOWN = (
    "structural_validity",
    "composition_validity",
    "separation_validity",
    "uniqueness",
    "novelty",
    "unique_and_novel",
    "cov_recall",
    "cov_precision",
    "wdist_density_of_all",
    "squared_mmd_structure",
)


def main() -> None:
    crystals = prototypes().crystals
    order = np.random.default_rng(0).permutation(len(crystals))
    train, held_out = crystals[order[:1000]], crystals[order[1000:1500]]
    fresh = crystals[order[1500:1760]]
    made = Crystals.concatenate([fresh, train[:20], fresh[:10]])
    attempts = Attempts.of(made, [Failure(290 + i, "no cell") for i in range(10)])
    options = {
        "train": train,
        "held_out": held_out,
        "families": ["validity", "novelty", "distribution"],
        "baselines": True,
    }
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(2):
            start = time.process_time()
            judgement = judge(attempts, **options, folder=Path(folder) / "cache")
            seconds.append(time.process_time() - start)
        start = time.process_time()
        judgement.write(Path(folder) / "out")
        seconds.append(time.process_time() - start)
        sizes = {one.name: one.stat().st_size for one in (Path(folder) / "out").glob("*.*")}
    there = {figure.name for figure in judgement.all()}
    record.record(
        "judging",
        {
            "n": attempts.n,
            "n_train": len(train),
            "n_held_out": len(held_out),
            "families": options["families"],
            "n_figures": len(judgement.all()),
            "processor_seconds": {
                "first": seconds[0],
                "again": seconds[1],
                "writing the report": seconds[2],
            },
            "bytes": sizes,
            "baselines": {one.name: one.note for one in judgement.baselines},
            "figures": {
                name: {
                    "value": (figure := judgement.figure(name)).value,
                    "interval": [figure.low, figure.high],
                    **{
                        one.name: found.value
                        for one in judgement.baselines
                        if (found := one.find(figure)) is not None
                    },
                }
                for name in SHOWN
                if name in there
            },
        },
        packages=("pymatgen-core", "moyopy", "matminer"),
    )


def against_mp20(folder: Path) -> None:
    """Cost of 10,000 attempts: 2,250 known crystals, 4,500 substituted, 3,000 random, 250 none."""
    train, held_out = (Dataset.read(folder / f"{part}.parquet").crystals for part in PARTS)
    chosen = np.sort(np.random.default_rng(0).permutation(len(train))[:2250])
    substituted, _ = substituted_crystals(4500, of=train, seed=1)
    random, _ = random_crystals(3000, like=train, seed=1)
    made = Crystals.concatenate([train[chosen], substituted, random])
    n = 10_000 - len(made)
    attempts = Attempts.of(made, [Failure(len(made) + i, "no cell") for i in range(n)])
    costs = []
    with tempfile.TemporaryDirectory() as kept:
        for _ in range(2):
            start, processors = time.perf_counter(), sum(os.times()[:4])
            judgement = judge(
                attempts,
                train=train,
                held_out=held_out,
                families=["validity", "novelty", "distribution"],
                baselines=True,
                baseline_size=2000,
                jobs=2,
                folder=kept,
            )
            seconds = [time.perf_counter() - start, sum(os.times()[:4]) - processors]
            costs.append(dict(zip(("by the clock", "of processors"), seconds, strict=True)))
    peaks = [
        resource.getrusage(who).ru_maxrss / 1024
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    ]
    record.record(
        "judging_mp20",
        {
            "n": attempts.n,
            "n_failures": len(attempts.failures),
            "n_train": len(train),
            "n_held_out": len(held_out),
            "baselines": {one.name: one.n for one in judgement.baselines},
            "jobs": 2,
            "seconds": {"first": costs[0], "again": costs[1]},
            "peak_mebibytes": {"main process": peaks[0], "largest other one": peaks[1]},
            "figures": {
                name: {"value": figure.value, "interval": [figure.low, figure.high]}
                for name in SHOWN
                for figure in [judgement.figure(name)]
            },
        },
        packages=("pymatgen-core", "moyopy", "matminer"),
    )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        against_mp20(Path(sys.argv[1]))
    else:
        main()
