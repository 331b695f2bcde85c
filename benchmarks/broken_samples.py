r"""Why do samples of a generator break: how much noise can real crystals be given and come back?

Held-out crystals are encoded, given noise, and brought back by the generator from there. Diffusion:
noise of a level of its own schedule (standard deviations of the scaled arrays), denoised from that
level on. A generator with codes: noise of that many standard deviations of each number of
the codes, decoded. At the lowest levels the fine work is told, at the highest how crystals are
begun; samples are made with all of it. Beside them the noised arrays as they are (``denoised``
false; diffusion alone), which tell what the representation stands, and samples of the generator.

    python benchmarks/broken_samples.py diffusion_unimat=runs/diffusion_unimat \
        --dataset runs/mp20/val.parquet

Of all crystals, failures counted: decoded; structures valid as published; at plausible distances
(``plausible_structures`` of ``crystalcodec judge``); compositions valid as published; the
composition of the crystal that it was; StructureMatcher's match with that crystal (tolerances of
CDVAE). And of structures with atoms too near, how often the two nearest are of one element.
Results of runs that are not given are kept.
"""

from __future__ import annotations

from record import RESULTS, record  # first: it sets the number of threads

# isort: split
import argparse
import json
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from crystalcodec import Dataset
from crystalcodec.crystals import Crystals
from crystalcodec.data.atom_sizes import covalent_radii
from crystalcodec.data.pair_distances import site_pairs
from crystalcodec.evaluation import validity
from crystalcodec.evaluation.base import Attempts
from crystalcodec.evaluation.reconstruction import measure_pairs
from crystalcodec.generators.base import Batch, Generator, LatentGenerator
from crystalcodec.generators.conditions import Wanted
from crystalcodec.generators.diffusion import Diffusion
from crystalcodec.generators.edm import run_sampler
from crystalcodec.representations.base import Decoded
from crystalcodec.representations.minimum_images import reduced_cells
from crystalcodec.workflow.generating.decoders import with_decoding
from crystalcodec.workflow.generating.runs import open_generator
from crystalcodec.workflow.generating.sampling import sample_arrays

LEVELS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
STEPS = 20
NAME = "broken_samples"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", metavar="NAME=FOLDER")
    parser.add_argument("--dataset", type=Path, required=True, help="held-out crystals")
    parser.add_argument("-n", type=int, default=200)
    parser.add_argument("--decoding", type=json.loads, default={}, metavar="JSON")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    dataset = Dataset.read(arguments.dataset)
    order = np.random.default_rng(arguments.seed).permutation(len(dataset))
    path = RESULTS / f"{NAME}.json"
    rows = json.loads(path.read_text())["runs"] if path.exists() else {}
    for given in arguments.runs:
        name, _, folder = given.partition("=")
        generator = with_decoding(open_generator(folder), arguments.decoding).generator
        encoded = generator.representation.encode(dataset[order[: arguments.n]].crystals)
        crystals = dataset[order[: arguments.n]].crystals[encoded.index]
        arrays = {key: torch.from_numpy(np.array(a)) for key, a in encoded.arrays.items()}
        with torch.no_grad():
            found = levels(generator, crystals, arrays, arguments.seed)
        sampled = sample_arrays(generator, len(crystals), seed=arguments.seed)
        rows[name] = {
            "generator": generator.name,
            "representation": generator.representation.name,
            "decoding": arguments.decoding,
            "command": shlex.join(["python", *sys.argv]),
            "seed": arguments.seed,
            "n_crystals": len(crystals),
            "n_not_encoded": arguments.n - len(crystals),
            "back_from_noise": found,
            "samples": of_decoded(sampled.decoded, len(crystals), None),
        }
        record(NAME, {"runs": rows}, packages=("torch",))


def levels(
    generator: Generator, crystals: Crystals, arrays: Batch, seed: int
) -> list[dict[str, Any]]:
    """What comes back of each level of noise."""
    rows = []
    representation: Any = generator.representation
    if isinstance(generator, Diffusion):
        picture, row = generator.scaling(arrays)
        clean = torch.cat([picture.flatten(1), row], dim=1)
    elif isinstance(generator, LatentGenerator):
        clean = generator.encode(arrays)
    else:
        return []
    for level in (0.0, *LEVELS):
        random = torch.Generator().manual_seed(seed)
        noise = torch.randn(clean.shape, generator=random)
        kinds = [True] if isinstance(generator, LatentGenerator) else [True, False]
        for denoised in kinds if level else kinds[:1]:
            if isinstance(generator, LatentGenerator):
                made = generator.decode(clean + level * clean.std(0) * noise)
            else:
                x = clean + level * noise
                made = generator._arrays(
                    back(generator, x, level, random) if denoised and level else x
                )
            decoded = representation.decode({key: a.float().numpy() for key, a in made.items()})
            figures = of_decoded(decoded, len(crystals), crystals)
            rows.append({"level": level, "denoised": denoised, **figures})
            print(generator.representation.name, rows[-1], flush=True)
    return rows


def back(generator: Diffusion, x: Tensor, level: float, random: torch.Generator) -> Tensor:
    """(n, m) denoised from that level on, nothing wished for."""
    edm = replace(generator.edm, high=level)
    told = generator.told(generator.conditions.batch(Wanted(), len(x), generator.device), len(x))

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        return generator._denoised(x, sigma, generator.levels(edm.told(sigma)) + told)

    # The sampler multiplies by the deviation of noised data.
    start = x / (level**2 + edm.data**2) ** 0.5
    return run_sampler(denoise, start, random, edm=edm, steps=STEPS)


def of_decoded(decoded: Decoded, n: int, wanted: Crystals | None) -> dict[str, Any]:
    """Shares of n."""
    crystals = decoded.crystals
    figures: dict[str, Any] = {"decoded": len(crystals) / n}
    checks = validity.check_structures(crystals)
    plausible = checks.separated & checks.sized & checks.regular
    compositions = validity.check_compositions(crystals, validity.published_rules()).valid
    figures["structures_valid"] = float(checks.published.sum()) / n
    figures["plausible"] = float(plausible.sum()) / n
    figures["compositions_valid"] = float(compositions.sum()) / n
    figures["too_near"] = float((~checks.separated).sum()) / n
    figures["too_near_of_one_element"] = float(nearest_alike(crystals[~checks.separated]).sum()) / n
    if wanted is not None:
        there = wanted[decoded.index]
        alike = (crystals.element_counts == there.element_counts).all(1)
        figures["same_composition"] = float(alike.sum()) / n
        attempts = Attempts(crystals, decoded.index, n, decoded.failures)
        pairs = {figure.name: figure.value for figure in measure_pairs(wanted, attempts)}
        figures["match_rate"] = pairs["match_rate"]
    return figures


def nearest_alike(crystals: Crystals) -> np.ndarray:
    """(n,) whether the two sites that are the nearest, by their radii, are of one element."""
    alike = np.zeros(len(crystals), bool)
    radii = covalent_radii()[crystals.numbers]
    for pairs in site_pairs(crystals, *reduced_cells(crystals.lattices)):
        nearest = (pairs.distances / (radii[pairs.first] + radii[pairs.second])).argmin(axis=1)
        first, second = (
            np.take_along_axis(p, nearest[:, None], 1)[:, 0] for p in (pairs.first, pairs.second)
        )
        alike[pairs.crystals] = crystals.numbers[first] == crystals.numbers[second]
    return alike


if __name__ == "__main__":
    main()
