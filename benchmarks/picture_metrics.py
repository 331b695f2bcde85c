"""Pictures against pictures: which figure sees what, its floor, its bias and its time.

Made slices of prototype crystals (64 x 64 pixels, 16 Å; one picture a crystal): 700 are the
reference, 700 others are changed in one way at a time. Features of a network trained on the
reference. On one thread:

    python benchmarks/picture_metrics.py
"""

from __future__ import annotations

import time

from record import record  # first: it sets the number of threads

# isort: split
import numpy as np
import torch
from scipy.linalg import sqrtm
from scipy.ndimage import gaussian_filter

from crystalcodec import prototypes
from crystalcodec.evaluation.pictures import frechet_distance, measure_pictures
from crystalcodec.models.picture_features import train_picture_features
from crystalcodec.representations.slices import DensitySlices

N = 700
EPOCHS = 10
NAMES = ("atom_count_ks", "frechet_distance", "power_spectrum_distance")


def changed(pictures):
    random = np.random.default_rng(1)
    middle = pictures[:, 8:56, 8:56].repeat(4, axis=1).repeat(4, axis=2)[:, 1::3, 1::3]
    return {
        "nothing": pictures,
        "noise of 0.02": pictures + random.normal(scale=0.02, size=pictures.shape),
        "noise of 0.1": pictures + random.normal(scale=0.1, size=pictures.shape),
        "blurred by 1 pixel": gaussian_filter(pictures, (0, 1, 1)),
        "enlarged by a third": middle,
        "10 % darker": 0.9 * pictures,
        "half of them copies of one": np.where(
            (np.arange(len(pictures)) % 2 == 0)[:, None, None], pictures, pictures[:1]
        ),
    }


def scipy_distance(one, other):
    a, b = np.cov(one.T), np.cov(other.T)
    shift = ((one.mean(0) - other.mean(0)) ** 2).sum()
    return float(shift + np.trace(a + b) - 2 * np.trace(sqrtm(a @ b)).real)


def seconds_of(function, repeats=20):
    start = time.process_time()
    for _ in range(repeats):
        function()
    return (time.process_time() - start) / repeats


def main() -> None:
    torch.set_num_threads(1)
    crystals = prototypes().crystals
    crystals = crystals[crystals.n_sites <= 40]
    crystals = crystals[np.random.default_rng(0).permutation(len(crystals))[: 2 * N]]
    pictures = DensitySlices(size=64, width=16.0).encode(crystals)["density_slices"]
    pictures = pictures.reshape(-1, 64, 64).astype(np.float64)
    reference, made = pictures[:N], pictures[N:]

    start = time.process_time()
    network = train_picture_features(reference, epochs=EPOCHS)
    training_s = time.process_time() - start
    sets = {}
    for name, some in changed(made).items():
        start = time.process_time()
        figures = {
            figure.name: figure
            for figure in measure_pictures(some, reference, features=network.features)
        }
        sets[name] = {key: figures[key].value for key in NAMES}
        sets[name]["atom_count_p_value"] = figures["atom_count_ks"].extra["p_value"]
        sets[name]["seconds"] = time.process_time() - start
    floors = {key: figures[f"{key}_floor"].value for key in NAMES}
    start = time.process_time()
    intervals = {key: figures[key].interval() for key in NAMES}
    intervals_s = time.process_time() - start

    rows, real = network.features(made), network.features(reference)
    record(
        "picture_metrics",
        {
            "n": N,
            "n_features": rows.shape[1],
            "trained_on": network.trained_on,
            "training_s": training_s,
            "changed": sets,
            "floors_of_two_halves": floors,
            "intervals_of_the_last_s": intervals_s,
            "intervals_of_the_last": intervals,
            "frechet_by_number_of_pictures": {
                str(n): frechet_distance(rows[:n], real[:n]) for n in (50, 100, 200, 400, 700)
            },
            "beside_scipy_sqrtm": {
                "relative_difference": abs(
                    frechet_distance(rows, real) / scipy_distance(rows, real) - 1
                ),
                "ours_s": seconds_of(lambda: frechet_distance(rows, real)),
                "scipy_s": seconds_of(lambda: scipy_distance(rows, real)),
            },
        },
        packages=("torch", "scipy", "scikit-image"),
    )


if __name__ == "__main__":
    main()
