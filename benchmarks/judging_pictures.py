"""Judging pictures by the command's own functions: what sets score, and how long it takes.

Made slices of prototype crystals (64 x 64 pixels, 16 Å, three planes a crystal): 2,000 pictures
are the reference, 2,000 of other crystals are judged as they are and changed. On one thread:

    python benchmarks/judging_pictures.py
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from record import record  # first: it sets the number of threads

# isort: split
import numpy as np
from scipy.ndimage import gaussian_filter

from crystalcodec import prototypes
from crystalcodec.representations.slices import DensitySlices
from crystalcodec.workflow.judge_picture_inputs import read_pictures
from crystalcodec.workflow.judge_pictures import judge_pictures

N = 2000


def sets(made, reference):
    random = np.random.default_rng(1)
    return {
        "other crystals": made,
        "blurred by 1 pixel": gaussian_filter(made, (0, 1, 1)),
        "half of them copies of the reference": np.concatenate([made[::2], reference[::2]]),
        "ten pictures again and again": made[random.integers(0, 10, len(made))],
    }


def main() -> None:
    crystals = prototypes().crystals
    crystals = crystals[crystals.n_sites <= 40]
    crystals = crystals[np.random.default_rng(0).permutation(len(crystals))]
    pictures = DensitySlices(size=64, width=16.0, n_planes=3).encode(crystals)["density_slices"]
    half = len(pictures) // 2
    reference, made = (part.reshape(-1, 64, 64)[:N] for part in (pictures[:half], pictures[half:]))
    results, seconds = {}, {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "reference.npy", np.rint(255 * reference).astype(np.uint8))
        for name, some in sets(made, reference).items():
            np.save(folder / "made.npy", np.rint(255 * some).astype(np.uint8))
            for again in ("", ", again from what is kept") if name == "other crystals" else ("",):
                start = time.process_time()
                real = read_pictures([folder / "reference.npy"])
                given = read_pictures([folder / "made.npy"], like=real)
                found = judge_pictures(given, real, folder=folder / "kept")
                seconds[name + again] = time.process_time() - start
            floors = found.floor.figures["pictures"]
            results[name] = {one.name: [one.value, one.low, one.high] for one in found.all()}
            results["real halves"] = {one.name: [one.value, one.low, one.high] for one in floors}
            print(name, results[name], seconds[name], flush=True)
        start = time.process_time()
        found.write(folder / "out")
        seconds["report"] = time.process_time() - start
    record(
        "judging_pictures",
        {
            "n": len(made),
            "n_reference": len(reference),
            "network": found.figure("frechet_distance").extra["network"],
            "figures": results,
            "cpu_s": seconds,
        },
    )


if __name__ == "__main__":
    main()
