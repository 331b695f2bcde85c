"""Judge real crystals as if they had been generated, with baselines, and once more from the cache.

    python benchmarks/judging.py

Prototypes of the package, drawn at random: 300 attempts, of which 20 are training crystals, 10
come again and 10 gave no crystal; 1,000 training crystals; 500 held-out ones. What must come out
is known.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np

import record
from crystalcodec import prototypes
from crystalcodec.crystals import Crystals
from crystalcodec.evaluation.base import Attempts
from crystalcodec.failures import Failure
from crystalcodec.workflow.judging import judge

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


if __name__ == "__main__":
    main()
