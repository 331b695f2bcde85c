"""Slices by a trained cascade, judged as `crystalcodec judge` does, beside real ones.

The held-out crystals are halved at random: slices of one half are the reference, slices of the
other half are judged as if they were generated (the floor), and small pictures of real slices are
enlarged by the second stage alone, which tells the faults of the stages apart. On one thread:

    crystalcodec train benchmarks/recipes/generate_slices.toml -o runs/slice_cascade
    python benchmarks/slice_cascade.py runs/slice_cascade

Without a run: what the real slices say, among it the floor of the counts.

    python benchmarks/slice_cascade.py
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from record import record  # first: it sets the number of threads

# isort: split
import numpy as np
import torch

from crystalcodec import Dataset
from crystalcodec.data.augmentation import augment
from crystalcodec.evaluation.atom_counts import count_atoms
from crystalcodec.evaluation.pictures import kolmogorov_smirnov
from crystalcodec.generators.slice_cascade import SliceCascade
from crystalcodec.generators.slice_cascade.pictures import reduced
from crystalcodec.representations.slices import DensitySlices
from crystalcodec.workflow.generating.runs import open_generator
from crystalcodec.workflow.generating.sampling import sample_arrays
from crystalcodec.workflow.judge_picture_inputs import read_pictures
from crystalcodec.workflow.judge_pictures import judge_pictures

SEED = 0


def halves(path: Path, representation) -> tuple[np.ndarray, np.ndarray]:
    """Slices of one half of the crystals, and of the other; uint8."""
    crystals = Dataset.read(path).crystals.right_handed()
    order = np.random.default_rng(SEED).permutation(len(crystals))
    parts = order[: len(order) // 2], order[len(order) // 2 :]
    made = [representation.encode(crystals[np.sort(part)]).arrays for part in parts]
    return tuple(_bytes(arrays["density_slices"]) for arrays in made)


def _bytes(pictures: np.ndarray) -> np.ndarray:
    """(n * planes, size, size) as the 8 bits of a PNG."""
    flat = np.asarray(pictures).reshape(-1, *pictures.shape[-2:])
    return np.rint(255 * flat).astype(np.uint8)


def enlarged(generator: SliceCascade, pictures: np.ndarray, noise: float, steps: int) -> np.ndarray:
    """Small pictures of real ones (n, size, size), made large by the second stage."""
    values = torch.from_numpy(pictures).float()[:, None] / 255
    random = torch.Generator().manual_seed(SEED)
    parts = [
        generator.enlarge(reduced(part, generator.factor), random, noise=noise, steps=steps)
        for part in values.split(100)
    ]
    return _bytes(torch.cat(parts).float().numpy())


def judged(name: str, pictures: np.ndarray, folder: Path, features: str) -> dict[str, object]:
    """Figures with intervals, as the command gives them."""
    np.save(folder / "pictures.npy", pictures)
    real = read_pictures([folder / "reference.npy"])
    found = judge_pictures(
        read_pictures([folder / "pictures.npy"], like=real),
        real,
        features=features,
        seed=SEED,
        folder=folder / "kept",
    )
    floors = found.floor.figures["pictures"]
    told = {one.name: [one.value, one.low, one.high] for one in found.all()}
    extra = found.figure("atom_count_ks").extra
    print(name, told, flush=True)
    return {
        "n": len(pictures),
        "figures": told,
        "mean_count": extra["mean_count"],
        "mean_reference_count": extra["mean_reference_count"],
        "real_halves": {one.name: [one.value, one.low, one.high] for one in floors},
    }


def real_slices(path: Path, n: int) -> dict[str, object]:
    """Counts against mean values, the floor of the counts, and what augmentations change."""
    representation = DensitySlices()
    reference, others = halves(path, representation)
    means = reference[:n].mean((1, 2))
    counts = count_atoms(reference)
    crystals = Dataset.read(path).crystals.right_handed()

    def mean_values(names: tuple[str, ...]) -> np.ndarray:
        drawn = augment(crystals, names, np.random.default_rng(SEED))
        return representation.encode(drawn)["density_slices"].mean((1, 2, 3))

    usual = mean_values(())
    return {
        "n_reference": len(reference),
        "counts": {f"{q:g}": float(np.quantile(counts, q)) for q in (0, 0.05, 0.25, 0.5, 0.75, 1)},
        "correlation_of_means_and_counts": float(np.corrcoef(means, counts[:n])[0, 1]),
        "atom_count_ks_of_other_half": kolmogorov_smirnov(count_atoms(others[:n]), counts),
        "ks_of_mean_values": {
            name: kolmogorov_smirnov(mean_values((name,)), usual)
            for name in ("permute_sites", "shift_origin")
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument("--held-out", type=Path, default=Path("runs/mp20/val.parquet"))
    parser.add_argument("-n", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--large-steps", type=int, default=10)
    parser.add_argument("--noise", type=float, default=0.1)
    parser.add_argument("--precision", choices=("32-true", "bf16-mixed"), default="bf16-mixed")
    parser.add_argument("--features", default="own", help="of the Fréchet distance")
    parser.add_argument("--name", default="slice_cascade", help="of the result file")
    parser.add_argument("--pictures", type=Path, help="where the sampled pictures go (.npy)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.run is None:
        record(f"{options.name}_real", real_slices(options.held_out, options.n))
        return
    run = open_generator(options.run)
    generator = run.generator
    reference, others = halves(options.held_out, run.representation)
    settings = {
        "steps": options.steps,
        "large_steps": options.large_steps,
        "noise": options.noise,
    }
    half = options.precision == "bf16-mixed"
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=half):
        start = time.process_time()
        sampled = sample_arrays(generator, options.n, seed=SEED, batch_size=100, settings=settings)
        seconds = time.process_time() - start
        again = enlarged(generator, others[: options.n], options.noise, options.large_steps)
    made = _bytes(sampled.arrays["density_slices"])
    if options.pictures:
        np.save(options.pictures, made)
    sets = {
        "generated": made,
        "slices of the other half of the crystals": others[: options.n],
        "their small pictures, enlarged": again,
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "reference.npy", reference)
        results = {key: judged(key, some, folder, options.features) for key, some in sets.items()}
    record(
        options.name,
        {
            "run": {
                key: run.record[key]
                for key in ("representation", "model", "n_parameters", "data", "history")
            },
            "training": run.record["config"]["training"],
            "settings": {**settings, "precision": options.precision, "seed": SEED},
            "n_reference": len(reference),
            "sampling_cpu_s": seconds,
            "judged": results,
        },
        packages=("torch", "diffusers", "scikit-image"),
    )


if __name__ == "__main__":
    main()
