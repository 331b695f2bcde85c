"""Reconstruction: beside pymatgen alone, and of crystals with known and with real errors.

200 crystals drawn from MP-20 val. The published way is one call of pymatgen's get_rms_dist a pair.
Moved: each coordinate by a normal deviate of the length told, cells as they are; or atoms anywhere.
Decoded: what representations give back of the same crystals, with real or 8-bit numbers. On one
thread:

    python benchmarks/reconstruction.py
"""

from __future__ import annotations

import time
from dataclasses import replace

from record import SHARED_DATA, record  # first: it sets the number of threads

# isort: split
import numpy as np
from pymatgen.analysis.structure_matcher import StructureMatcher

from crystalcodec import read
from crystalcodec.crystals import Crystals
from crystalcodec.evaluation.base import Attempts, Evidence
from crystalcodec.evaluation.reconstruction import match_pairs, measure, site_differences
from crystalcodec.io.foreign import to_pymatgen
from crystalcodec.representations.crystens import CrysTens
from crystalcodec.representations.xtal2png import Xtal2PNG

N = 200


def moved(crystals: Crystals, length: float) -> Crystals:
    moves = np.random.default_rng(0).normal(scale=length, size=crystals.frac_coords.shape)
    coords = crystals.frac_coords + crystals.to_fractional(moves)
    return Crystals(crystals.lattices, coords, crystals.numbers, crystals.offsets)


def scattered(crystals: Crystals) -> Crystals:
    """The right cell and composition, and atoms anywhere: what chance gives."""
    coords = np.random.default_rng(1).random(crystals.frac_coords.shape)
    return Crystals(crystals.lattices, coords, crystals.numbers, crystals.offsets)


def decoded(representation, crystals: Crystals) -> Attempts:
    encoded = representation.encode(crystals)
    made = representation.decode(encoded)
    # A crystal that could not be encoded is a miss, too.
    failures = [*encoded.failures]
    failures += [replace(f, index=int(encoded.index[f.index])) for f in made.failures]
    return Attempts.of(made.crystals, failures)


def figures_of(attempts: Attempts, wanted: Crystals) -> dict[str, object]:
    start = time.process_time()
    figures = measure(Evidence(attempts, wanted=wanted))
    seconds = time.process_time() - start
    values = {figure.name: figure.value for figure in figures}
    missed = next(f.failures for f in figures if f.name == "match_rate")
    return {"n": attempts.n, "seconds": seconds, "missed": dict(missed), **values}


def main() -> None:
    everything = read(SHARED_DATA / "mp20" / "val.csv.gz", structure_column="cif").crystals
    some = np.sort(np.random.default_rng(0).permutation(len(everything))[:N])
    wanted = everything[some]
    got = moved(wanted, 0.1)

    start = time.process_time()
    matcher = StructureMatcher(ltol=0.3, stol=0.5, angle_tol=10)
    found = [
        matcher.get_rms_dist(one, other)
        for one, other in zip(to_pymatgen(got), to_pymatgen(wanted), strict=True)
    ]
    published_s = time.process_time() - start
    peer = np.array([np.nan if pair is None else pair[0] for pair in found])
    StructureMatcher._get_reduced_istructure.cache_clear()
    start = time.process_time()
    ours, _ = match_pairs(got, wanted)
    ours_s = time.process_time() - start
    start = time.process_time()
    site_differences(got, wanted)
    sites_s = time.process_time() - start

    record(
        "reconstruction",
        {
            "n": N,
            "beside_pymatgen": {
                "different_answers": int((np.isnan(peer) != np.isnan(ours)).sum()),
                "largest_difference": float(np.nanmax(np.abs(peer - ours))),
                "pairs_per_s": N / ours_s,
                "published_pairs_per_s": N / published_s,
                "site_pairings_per_s": N / sites_s,
            },
            "moved": {
                f"{length} Å": figures_of(Attempts.of(moved(wanted, length)), wanted)
                for length in (0.05, 0.2, 0.5, 1.0)
            },
            "random_coordinates": figures_of(Attempts.of(scattered(wanted)), wanted),
            "decoded": {
                type(form).__name__: figures_of(decoded(form, wanted), wanted)
                for form in (CrysTens(), Xtal2PNG())
            },
        },
        packages=("pymatgen-core",),
    )


if __name__ == "__main__":
    main()
