"""Do crystals that are asked for a property value have it, as a predictor of our own tells?

    python benchmarks/property_wishes.py --model orbit_diffusion

For each property that the generator was trained with and the package predicts: samples without a
wish, and with each wanted value (the mean of the training data, less and plus one and two standard
deviations where the data reach so far). The predictor has no part in sampling. Samples that decode
to no crystal, and crystals without a prediction, are counted beside the means, and what guidance
costs in validity (of all samples).
"""

from __future__ import annotations

import argparse

from record import record  # first: it sets the number of threads

# isort: split
import numpy as np

import crystalcodec
from crystalcodec.evaluation import validity
from crystalcodec.generators.conditions import Wanted
from crystalcodec.registry import PRETRAINED
from crystalcodec.workflow.generating.runs import find_generator
from crystalcodec.workflow.generating.sampling import sample_arrays


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="orbit_diffusion")
    parser.add_argument("-n", type=int, default=300, help="samples of each wish")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--guidance", type=float, nargs="+", default=[1.0, 2.0])
    arguments = parser.parse_args()
    run = find_generator(arguments.model)

    def told(column: str, wanted: Wanted, guidance: float) -> dict[str, float | int]:
        settings = {"guidance": guidance} if wanted else {}
        sampled = sample_arrays(
            run.generator, arguments.n, wanted, seed=arguments.seed, settings=settings
        )
        crystals = sampled.decoded.crystals
        values = crystalcodec.predict(crystals, column).of(column)
        there = values[np.isfinite(values)]
        return {
            "n": arguments.n,
            "n_decoded": len(crystals),
            "n_predicted": len(there),
            "structures_valid": int(validity.published_structure_validity(crystals).sum()),
            "compositions_valid": int(
                validity.check_compositions(crystals, validity.published_rules()).valid.sum()
            ),
            "mean": float(there.mean()),
            "standard_deviation": float(there.std()),
            "median": float(np.median(there)),
        }

    figures = {}
    for entry in run.conditions.entries:
        if entry.kind != "value" or entry.name not in PRETRAINED:
            continue
        free = told(entry.name, Wanted(), 1.0)
        wishes = []
        for steps in (-2, -1, 0, 1, 2):
            value = entry.mean + steps * entry.deviation
            if not entry.low <= value <= entry.high:
                continue
            for guidance in arguments.guidance:
                made = told(entry.name, Wanted(values={entry.name: value}), guidance)
                moved = (made["mean"] - free["mean"]) / entry.deviation
                wishes.append(
                    {
                        "wanted": value,
                        "deviations_from_mean": steps,
                        "guidance": guidance,
                        **made,
                        "moved_in_deviations_of_data": moved,
                    }
                )
        figures[entry.name] = {
            "unit": entry.unit,
            "data": {"mean": entry.mean, "standard_deviation": entry.deviation},
            "without_wish": free,
            "wishes": wishes,
        }
    record("property_wishes", {"model": arguments.model, "figures": figures})


if __name__ == "__main__":
    main()
