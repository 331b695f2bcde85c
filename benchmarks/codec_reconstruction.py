"""Held-out reconstruction of any run with codes: encode, decode, match; failures are misses.

All crystals of the run's validation dataset, or so many of them drawn at random. Matches are by
StructureMatcher in CDVAE's tolerances (stol 0.5, angle_tol 10, ltol 0.3). Beside the match rate
stands how large a code is: numbers in it, numbers in a crystal (three coordinates and an element a
site, six of the cell), and the match rate of codes kept with 8, 6 and 4 bits a number, in equal
steps between the smallest and the largest of up to 2,048 training codes. On one thread:

    python benchmarks/codec_reconstruction.py runs/site_codec
    python benchmarks/codec_reconstruction.py runs/ircr_vae --limit 1000
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from record import record  # first: it sets the number of threads

# isort: split
import numpy as np
import torch

from crystalcodec.crystals import Crystals
from crystalcodec.data import Dataset
from crystalcodec.evaluation.base import Attempts
from crystalcodec.evaluation.reconstruction import measure_pairs, published_validity
from crystalcodec.failures import Failure
from crystalcodec.workflow.latent import Codes, decode_codes, encode_crystals, open_latent

BITS = (8, 6, 4)
SITES = ((1, 4), (5, 8), (9, 12), (13, 20), (21, 10**6))


def attempts_of(generator: Any, codes: Codes, rows: np.ndarray, n: int) -> Attempts:
    """Codes decoded; what gave no code is a failure, too."""
    decoded = decode_codes(generator, rows, codes).decoded
    failures = [*codes.failures]
    failures += [Failure(int(codes.index[f.index]), f.reason, f.detail) for f in decoded.failures]
    made = Attempts.of(decoded.crystals, sorted(failures, key=lambda f: f.index))
    assert made.n == n
    return made


def kept_with(rows: np.ndarray, bits: int, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Each number at the nearest of 2^bits equal steps from low to high."""
    steps = 2**bits - 1
    span = np.where(high > low, high - low, 1.0)
    whole = np.clip(np.round((rows - low) / span * steps), 0, steps)
    return (low + whole / steps * span).astype(np.float32)


def rate(wanted: Crystals, attempts: Attempts, jobs: int) -> float:
    figures = {f.name: f.value for f in measure_pairs(wanted, attempts, jobs=jobs)}
    return figures["match_rate"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", help="a dataset; that of the run's validation if not given")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--name", help="of the result; that of the folder if not given")
    told = parser.parse_args()
    torch.set_num_threads(1)
    run = open_latent(told.run)
    generator = run.generator
    wanted = Dataset.read(told.data or run.config.data.validation).crystals.right_handed()
    if told.limit and told.limit < len(wanted):
        some = np.random.default_rng(0).permutation(len(wanted))[: told.limit]
        wanted = wanted[np.sort(some)]
    n = len(wanted)

    start = time.process_time()
    codes = encode_crystals(generator, wanted)
    encoding = time.process_time() - start
    start = time.process_time()
    attempts = attempts_of(generator, codes, codes.codes, n)
    decoding = time.process_time() - start
    valid = published_validity(attempts.crystals)
    figures = measure_pairs(wanted, attempts, valid=valid, jobs=told.jobs)
    matched = next(~np.isnan(f.of_each) for f in figures if f.name == "match_rms")
    low_high = next(f.interval() for f in figures if f.name == "match_rate")
    missed = next(dict(f.failures) for f in figures if f.name == "match_rate")

    train = Dataset.read(run.config.data.dataset).crystals
    some = np.sort(np.random.default_rng(0).permutation(len(train))[:2048])
    known = encode_crystals(generator, train[some]).codes
    ends = known.min(0), known.max(0)
    n_code = int(codes.flat.shape[1])
    numbers = 4 * wanted.n_sites + 6
    record(
        f"codec_reconstruction_{told.name or told.run.name}",
        {
            "run": str(told.run),
            "generator": generator.name,
            "data": told.data or run.config.data.validation,
            "n": n,
            "failures": attempts.reasons(),
            "missed": missed,
            "match_rate_interval": low_high,
            # JSON has no NaN: a mean over matches, where nothing matches.
            **{f.name: None if np.isnan(f.value) else f.value for f in figures},
            "match_rate_by_sites": {
                f"{low} to {high}": {
                    "n": int(held.sum()),
                    "match_rate": float(matched[held].mean()),
                }
                for low, high in SITES
                if (held := (wanted.n_sites >= low) & (wanted.n_sites <= high)).any()
            },
            "numbers_in_a_code": n_code,
            "numbers_in_a_crystal": {"mean": float(numbers.mean()), "most": int(numbers.max())},
            "spread_of_codes": float(known.std(0).mean()),
            "match_rate_by_bits_of_a_number": {
                str(bits): {
                    "bytes_of_a_code": n_code * bits / 8,
                    "match_rate": rate(
                        wanted,
                        attempts_of(generator, codes, kept_with(codes.codes, bits, *ends), n),
                        told.jobs,
                    ),
                }
                for bits in BITS
            },
            "crystals_per_s": {"encoded": n / encoding, "decoded": n / decoding},
        },
        packages=("torch", "pymatgen-core"),
    )


if __name__ == "__main__":
    main()
