"""Judge real crystals of MP-20 as if they had been generated: what must come out is known.

    crystalcodec hull build runs/mp20/train.parquet runs/mp20/val.parquet --potential chgnet-0.3.0 \
        -o runs/mp20/chgnet.hull.parquet
    python benchmarks/judging_real.py -n 400 --baseline-size 120

Attempts are crystals of MP-20 val drawn at random, judged against MP-20 train and the rest of val,
relaxed with CHGNet, above the hull of train and val by the same potential; held-out, random and
substituted crystals beside them. Then training crystals are judged: none of them is novel. What is
relaxed is kept in ``runs/judging_real``, so that the command goes on when it was stopped.
"""

from __future__ import annotations

from record import record  # first: it sets the number of threads

# isort: split
import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np

from crystalcodec import Dataset
from crystalcodec.crystals import Crystals
from crystalcodec.evaluation.base import Attempts
from crystalcodec.relaxation import Hull
from crystalcodec.relaxation.base import Relaxed
from crystalcodec.workflow.judging import Judgement, judge
from crystalcodec.workflow.relaxing import relax_in_parts

FOLDER = Path("runs/judging_real")
POTENTIAL = "chgnet-0.3.0"


def relaxed(name: str, crystals: Crystals) -> Relaxed:
    """With CHGNet, kept by what they are; the name is what the judge calls them."""
    del name
    return relax_in_parts(crystals, FOLDER / crystals.content_hash[:20], POTENTIAL)


def figures(judgement: Judgement) -> dict[str, Any]:
    """Value, interval and baselines of every figure."""
    return {
        f"{figure.family}.{figure.name}": {
            "value": figure.value,
            "interval": [figure.low, figure.high],
            "n": figure.n,
            **{
                one.name: found.value
                for one in judgement.baselines
                if (found := one.find(figure)) is not None
            },
        }
        for figure in judgement.all()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-n", type=int, default=400)
    parser.add_argument("--baseline-size", type=int, default=120)
    parser.add_argument("--mp20", type=Path, default=Path("runs/mp20"))
    arguments = parser.parse_args()
    train = Dataset.read(arguments.mp20 / "train.parquet").crystals
    val = Dataset.read(arguments.mp20 / "val.parquet").crystals
    hull = Hull.read(arguments.mp20 / "chgnet.hull.parquet")
    order = np.random.default_rng(0).permutation(len(val))
    chosen, rest = np.sort(order[: arguments.n]), np.sort(order[arguments.n :])
    start = time.process_time()
    judgement = judge(
        Attempts.of(val[chosen]),
        train=train,
        held_out=val[rest],
        hull=hull,
        relaxed=relaxed("attempts", val[chosen]),
        baselines=True,
        baseline_size=arguments.baseline_size,
        relax_baselines=relaxed,
        folder=FOLDER / "cache",
    )
    seconds = time.process_time() - start
    judgement.write(FOLDER / "report")
    known = train[np.sort(np.random.default_rng(1).permutation(len(train))[: arguments.n])]
    itself = judge(
        Attempts.of(known),
        train=train,
        held_out=val,
        families=["validity", "novelty", "distribution"],
        folder=FOLDER / "cache",
    )
    record(
        "judging_real",
        {
            "n": arguments.n,
            "baseline_size": arguments.baseline_size,
            "n_train": len(train),
            "n_held_out": len(rest),
            "hull": {"potential": hull.potential, "content_hash": hull.content_hash},
            # Of this run: what was relaxed before is read.
            "processor_seconds": seconds,
            "val": figures(judgement),
            "train": figures(itself),
        },
        packages=("chgnet", "pymatgen-core", "moyopy"),
    )


if __name__ == "__main__":
    main()
