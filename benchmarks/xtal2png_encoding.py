"""xtal2png: its files in ours and ours in its package, speed, fidelity and noise.

The peer is the package xtal2png 0.9.4, which needs old versions of its dependencies and therefore
a Python of its own; it runs as a subprocess on the same crystals. The 1,000 MP-20 val crystals of
all benchmarks, ten times over for our speeds. Run on one thread:

    python -m venv peer && peer/bin/pip install xtal2png==0.9.4
    XTAL2PNG_PYTHON=peer/bin/python python benchmarks/xtal2png_encoding.py

On two cores it takes about a minute.
"""

from __future__ import annotations

from record import SHARED_DATA, best_of, record  # first: it sets the number of threads

# isort: split
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from crystalcodec import Crystals, read
from crystalcodec.failures import count_reasons
from crystalcodec.io.png import read_pngs, write_png
from crystalcodec.representations.xtal2png import Xtal2PNG
from crystalcodec.symmetry import space_group_numbers
from crystalcodec.testing import round_trip_errors

NOISE = (1, 2, 4, 8, 16, 32)
N_NOISY, N_RANDOM, TIMES = 300, 300, 10


def the_crystals() -> Crystals:
    everything = read(SHARED_DATA / "mp20" / "val.csv.gz", structure_column="cif").crystals
    return everything[np.sort(np.random.default_rng(0).permutation(len(everything))[:1000])]


def peer_crystals(columns: Any, name: str) -> tuple[Crystals, np.ndarray]:
    """The peer's crystals, and the position of each among the pictures it was given."""
    counts = columns[f"{name}_counts"]
    index = np.flatnonzero(counts)
    crystals = Crystals(
        columns[f"{name}_lattices"],
        columns[f"{name}_frac_coords"],
        columns[f"{name}_numbers"],
        np.concatenate([[0], np.cumsum(counts[index])]),
    )
    return crystals, index


def n_same_composition(truth: Crystals, found: Crystals, index: np.ndarray) -> int:
    return int((truth[index].element_counts == found.element_counts).all(axis=1).sum())


def fidelity(truth: Crystals, found: Crystals, index: np.ndarray) -> dict[str, Any]:
    errors = round_trip_errors(truth[index], found)
    lengths = np.abs(found.cell_parameters - truth[index].cell_parameters)
    return {
        "n_decoded": len(found),
        "n_same_composition": n_same_composition(truth, found, index),
        "largest_error_angstrom": float(errors.max()),
        "median_error_angstrom": float(np.median(errors)),
        "largest_errors_of_cell": lengths.max(axis=0).round(5).tolist(),
    }


def noisy_pictures(pixels: np.ndarray) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    pictures = {
        f"noise_{level}": np.clip(np.rint(pixels + rng.normal(0, level, pixels.shape)), 0, 255)
        for level in NOISE
    }
    pictures["random"] = rng.integers(0, 256, (N_RANDOM, 64, 64))
    return {name: values.astype(np.uint8) for name, values in pictures.items()}


def main() -> None:
    crystals = the_crystals()
    eight, sixteen, robust = Xtal2PNG(), Xtal2PNG(bits=16), Xtal2PNG(decoder="robust")
    groups = space_group_numbers(crystals)
    encoded = eight.encode(crystals, space_group_numbers=groups)
    held, held_groups = crystals[encoded.index], groups[encoded.index]
    pixels = eight.to_pixels(encoded)
    pictures = noisy_pictures(pixels[:N_NOISY])
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        names = ("lattices", "frac_coords", "numbers", "offsets")
        np.savez(folder / "crystals.npz", **{name: getattr(held, name) for name in names})
        np.savez(folder / "noisy.npz", **pictures)
        for i, picture in enumerate(pixels):
            write_png(folder / "ours" / f"{i:05d}.png", picture)
        subprocess.run(
            [os.environ["XTAL2PNG_PYTHON"], Path(__file__).parent / "xtal2png_peer.py", folder],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        files, unread = read_pngs(sorted((folder / "peer").glob("*.png")))
        theirs = np.load(folder / "peer.npz")
        columns = {name: theirs[name] for name in theirs.files}
    its_pixels = np.stack([file.pixels for file in files])
    of_its = eight.decode(eight.from_pixels(its_pixels))
    difference = np.abs(its_pixels.astype(int) - pixels)
    same_group = difference[:, 11].max(axis=1) == 0

    many = Crystals.concatenate([held] * TIMES)
    many_groups = np.tile(held_groups, TIMES)
    arrays = eight.encode(many, space_group_numbers=many_groups)
    arrays16 = sixteen.encode(many, space_group_numbers=many_groups)
    copy = np.empty_like(arrays["xtal2png"])
    some = eight.from_pixels(pixels)
    seconds = {
        "encode": best_of(lambda: eight.encode(many, space_group_numbers=many_groups)),
        "decode": best_of(lambda: eight.decode(arrays)),
        "encode16": best_of(lambda: sixteen.encode(many, space_group_numbers=many_groups)),
        "decode16": best_of(lambda: sixteen.decode(arrays16)),
        "groups": best_of(lambda: eight.encode(held), 2) * TIMES,
        "robust": best_of(lambda: robust.decode(some), 2) * TIMES,
        "copy": best_of(lambda: np.copyto(copy, arrays["xtal2png"])),
    }
    per_s = {name: len(many) / value for name, value in seconds.items()}
    peer_encode = len(held) / float(columns["encode_seconds"])
    peer_decode = len(held) / float(columns["decode_seconds"])

    ours16 = sixteen.encode(held, space_group_numbers=held_groups)
    back16, back = sixteen.decode(ours16), eight.decode(encoded)
    noise = {}
    truth = held[:N_NOISY]
    for name, noisy in pictures.items():
        found, index = peer_crystals(columns, name)
        ours = robust.decode(robust.from_pixels(noisy))
        strict = eight.decode(eight.from_pixels(noisy))
        noise[name] = {
            "n": len(noisy),
            "peer_n_decoded": len(found),
            "strict_n_decoded": len(strict.crystals),
            "robust_n_decoded": len(ours.crystals),
            "robust_n_failed": count_reasons(ours.failures),
        }
        if name != "random":
            noise[name] |= {
                "peer_n_same_composition": n_same_composition(truth, found, index),
                "robust_n_same_composition": n_same_composition(truth, ours.crystals, ours.index),
                "robust_mean_confidence": float(np.mean(ours.confidence)),
            }
    record(
        "xtal2png_encoding",
        {
            "ratio_encode": per_s["encode"] / peer_encode,
            "ratio_decode": per_s["decode"] / peer_decode,
            "encode_per_s": per_s["encode"],
            "decode_per_s": per_s["decode"],
            "peer_encode_per_s": peer_encode,
            "peer_decode_per_s": peer_decode,
            "encode_with_space_groups_by_moyopy_per_s": per_s["groups"],
            "encode_16_bits_per_s": per_s["encode16"],
            "decode_16_bits_per_s": per_s["decode16"],
            "robust_decode_per_s": per_s["robust"],
            "peer": f"xtal2png {columns['version']}, structures in memory, its own space groups",
            "array_megabytes_per_s": copy.nbytes / seconds["encode"] / 1e6,
            "copy_megabytes_per_s": copy.nbytes / seconds["copy"] / 1e6,
            "fraction_of_copy_bandwidth": seconds["copy"] / seconds["encode"],
            "n_crystals": len(crystals),
            "n_encoded": len(held),
            "n_failed": count_reasons(encoded.failures),
            "our_files_in_ours": fidelity(held, back.crystals, back.index),
            "our_files_in_its": fidelity(held, *peer_crystals(columns, "of_ours")),
            "its_files_in_ours": fidelity(held, of_its.crystals, of_its.index),
            "its_files_in_ours_n_failed": count_reasons([*of_its.failures, *unread]),
            "its_files_in_its": fidelity(held, *peer_crystals(columns, "of_its_own")),
            "sixteen_bits": fidelity(held, back16.crystals, back16.index),
            "sixteen_bits_n_failed": count_reasons([*ours16.failures, *back16.failures]),
            "pixels_equal_to_its": float((difference == 0).mean()),
            "pictures_equal_to_its": int((difference.max(axis=(1, 2)) == 0).sum()),
            "largest_pixel_difference_but_space_group": int(
                np.delete(np.delete(difference, 11, axis=1), 11, axis=2).max()
            ),
            "n_same_space_group": int(same_group.sum()),
            "noise": noise,
        },
        packages=("pillow", "moyopy"),
    )


if __name__ == "__main__":
    main()
