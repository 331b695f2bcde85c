"""Made slices: pictures a second, and how well atoms in them are counted.

No loop is published for them, so that the peer is the recipe written down step by step: a supercell
that holds the square, the distance of every atom from the plane, and a Gaussian over the whole
picture for each atom kept. It draws the same planes, and its pictures are compared with ours. Run
on one thread:

    python benchmarks/slices.py
"""

from __future__ import annotations

import argparse
import resource
from itertools import pairwise

from record import SHARED_DATA, best_of, record  # first: it sets the number of threads

# isort: split
import numpy as np

from crystalcodec import Crystals, read
from crystalcodec.evaluation.atom_counts import count_atoms, counting_errors
from crystalcodec.failures import count_reasons
from crystalcodec.representations.slices import DensitySliceBlocks, DensitySlices
from crystalcodec.representations.slices.drawing import SliceStyle, draw_slice
from crystalcodec.representations.slices.planes import Planes

NOISE = (0, 4, 8, 16, 32)


def peer(crystal: Crystals, planes: Planes, style: SliceStyle) -> np.ndarray:
    lattice = crystal.lattices[0] * planes.scale
    frame, origin = planes.frames[0], planes.origins[0]
    radius = style.width / np.sqrt(2) + 2
    heights = 1 / np.linalg.norm(np.linalg.inv(lattice), axis=0)
    centre = origin @ np.linalg.inv(lattice)
    cells = [
        np.arange(np.floor(c - radius / h), np.ceil(c + radius / h) + 1)
        for c, h in zip(centre, heights, strict=True)
    ]
    shifts = np.stack(np.meshgrid(*cells, indexing="ij"), axis=-1).reshape(-1, 3)
    middles = (np.arange(style.size) - (style.size - 1) / 2) * style.pixel
    x, y = middles[None, :], middles[::-1, None]
    picture = np.zeros((style.size, style.size))
    for coords in crystal.frac_coords:
        atoms = ((coords + shifts) @ lattice - origin) @ frame.T
        near = np.abs(atoms[:, 2]) <= style.tolerance
        for right, up, _ in atoms[near & (np.abs(atoms[:, :2]) < style.width / 2 + 1).all(axis=1)]:
            picture += np.exp(-((x - right) ** 2 + (y - up) ** 2) / (2 * style.sigma**2))
    return np.minimum(picture, 1)


def by_density(truth: np.ndarray, counts: np.ndarray) -> dict[str, object]:
    """Errors of pictures with few, more and many atoms."""
    limits = [0, 350, 600, 1000, 10**9]
    return {
        f"{low} to {high - 1} atoms" if high < 10**9 else f"{low} atoms or more": counting_errors(
            truth[chosen], counts[chosen]
        )
        for low, high in pairwise(limits)
        if (chosen := (truth >= low) & (truth < high)).any()
    }


def counting(crystals: Crystals, slices: DensitySlices) -> dict[str, object]:
    pictures, truth = [], []
    for crystal in crystals:
        picture, n = draw_slice(crystal, slices.planes(crystal), 0, slices.style)
        pictures.append(np.rint(picture * 255).astype(np.uint8))
        truth.append(n)
    stack, wanted = np.array(pictures), np.array(truth)
    counts = count_atoms(stack)
    rng = np.random.default_rng(0)
    with_noise = {}
    for noise in NOISE:
        noisy = stack[:200] / 255 + rng.normal(0, noise / 255, stack[:200].shape)
        got = count_atoms(noisy, smoothing=0.7 if noise else 0.0)
        with_noise[f"{noise}/255"] = counting_errors(wanted[:200], got)
    return {
        "pixels": "8 bits",
        "all": counting_errors(wanted, counts),
        "by_atoms_in_the_picture": by_density(wanted, counts),
        "noise, first 200 pictures, smoothing of 0.7 pixels where there is noise": with_noise,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--n", type=int, default=1000, help="crystals of MP-20 val")
    parser.add_argument("--n-peer", type=int, default=20, help="of these, drawn by the peer")
    arguments = parser.parse_args()
    everything = read(SHARED_DATA / "mp20" / "val.csv.gz", structure_column="cif").crystals
    chosen = np.random.default_rng(0).permutation(len(everything))[:1000]
    crystals = everything[np.sort(chosen)][: arguments.n]
    slices = DensitySlices()
    encoded = slices.encode(crystals)
    array = encoded["density_slices"]
    few = crystals[: arguments.n_peer]
    planes = [slices.planes(crystal) for crystal in few]

    def by_peer() -> list[np.ndarray]:
        return [peer(c, p, slices.style) for c, p in zip(few, planes, strict=True)]

    difference = np.abs(np.array(by_peer()) - array[: len(few), 0]).max()
    copy = np.empty_like(array)
    small, blocks = DensitySlices(size=64), DensitySliceBlocks()
    element = DensitySlices(atoms="element")
    seconds = {
        "peer": best_of(by_peer, 1),
        "encode": best_of(lambda: slices.encode(crystals), 3),
        "small": best_of(lambda: small.encode(crystals), 3),
        "element": best_of(lambda: element.encode(crystals), 2),
        "blocks": best_of(lambda: blocks.encode(crystals[:200]), 2),
        "copy": best_of(lambda: np.copyto(copy, array)),
    }
    rate, peer_rate = len(crystals) / seconds["encode"], len(few) / seconds["peer"]
    record(
        "slices",
        {
            "ratio_256": rate / peer_rate,
            "slices_256_per_s": rate,
            "slices_64_per_s": len(crystals) / seconds["small"],
            "slices_256_by_element_per_s": len(crystals) / seconds["element"],
            "blocks_32x32x32_per_s": len(crystals[:200]) / seconds["blocks"],
            "peer_256_per_s": peer_rate,
            "peer": "the recipe step by step: supercell, distances, a Gaussian an atom (this file)",
            "n_drawn_by_peer": len(few),
            "array_megabytes_per_s": array.nbytes / seconds["encode"] / 1e6,
            "copy_megabytes_per_s": array.nbytes / seconds["copy"] / 1e6,
            "fraction_of_copy_bandwidth": seconds["copy"] / seconds["encode"],
            "n_crystals": len(crystals),
            "n_encoded": len(encoded),
            "n_failed": count_reasons(encoded.failures),
            "largest_difference_from_peer": float(difference),
            "peak_memory_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
            "atom_counter": {
                "fixed, 256": counting(crystals, slices),
                "element, 256": counting(crystals, element),
                "fixed, 128": counting(crystals, DensitySlices(size=128)),
                "fixed, 64, 16 Å": counting(crystals, DensitySlices(size=64, width=16.0)),
            },
        },
        packages=("scikit-image",),
    )


if __name__ == "__main__":
    main()
