"""MBTR: how many crystals a second, beside dscribe at the same settings, and how equal they are.

Pairs (k = 2) are taken at the settings of dscribe's own tutorial: inverse distance on 100 points
from 0 to 1 per Å, sigma 0.1, weights exp(-0.5 d) down to 0.001 (that is 13.8 Å), length 1; species
are the 89 elements of MP-20, which makes 400,500 numbers a crystal. Crystals are 1,000 of MP-20
val; dscribe, which takes seconds for one, is timed on 50 of them, and so is ours once more. One
thread:

    python benchmarks/mbtr.py
"""

from __future__ import annotations

from record import SHARED_DATA, best_of, record  # first: it sets the number of threads

# isort: split
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from ase import Atoms
from dscribe import descriptors
from dscribe.core.system import System

from crystalcodec import Crystals, read, to_ase
from crystalcodec.representations.mbtr import MBTR, SparseMBTR

SPECIES = (*range(1, 84), *range(89, 95))
TUTORIAL = {
    "k2_grid": (0.0, 1.0, 100, 0.1),
    "k2_r_cut": None,
    "k2_scale": 0.5,
    "normalization": "l2",
}


def by_keyword(atoms: Atoms) -> System:
    """Their System hands positional arguments on to Atoms, which has taken none since ASE 3.27."""
    system = object.__new__(System)
    Atoms.__init__(
        system, numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc
    )
    system._distance_matrix = system._displacement_tensor = system._cell_inverse = None
    return system


def compare(
    ours: MBTR, crystals: Crystals, geometry: str, grid: tuple[Any, ...], weighting: Any
) -> dict[str, Any]:
    """Crystals a second of both, and the largest difference by the crystal's largest number."""
    theirs = descriptors.MBTR(
        geometry={"function": geometry},
        grid=dict(zip(("min", "max", "n", "sigma"), grid, strict=True)),
        weighting=weighting,
        normalization=ours.normalization,
        species=list(ours.species),
        periodic=True,
    )
    encoded = ours.encode(crystals)["mbtr"]
    seconds, worst = 0.0, 0.0
    for atoms, own in zip(to_ase(crystals), encoded, strict=True):
        start = time.perf_counter()
        row = theirs.create_single(atoms)
        seconds += time.perf_counter() - start
        # Triples within reach are not in every crystal: zeros are then wanted.
        worst = max(worst, float(np.abs(row - own).max() / (np.abs(row).max() or 1.0)))
    rate = len(crystals) / best_of(lambda: ours.encode(crystals))
    return {
        "ratio": rate * seconds / len(crystals),
        "per_s": rate,
        "dscribe_per_s": len(crystals) / seconds,
        "largest_difference": worst,
        "n_crystals": len(crystals),
        "n_features": ours.n_features,
    }


def in_batches(ours: MBTR, crystals: Crystals) -> Callable[[], None]:
    """Dense arrays a hundred crystals at a time, as a stream to a file or a model takes them."""
    batches = [crystals[start : start + 100] for start in range(0, len(crystals), 100)]

    def run() -> None:
        for encoded in ours.encode_stream(batches):
            assert not encoded.failures

    return run


def main() -> None:
    System.from_atoms = staticmethod(by_keyword)
    everything = read(SHARED_DATA / "mp20" / "val.csv.gz", structure_column="cif").crystals
    sample = sorted(np.random.default_rng(0).permutation(len(everything))[:1000])
    crystals = everything[sample]
    some = crystals[::20]
    few = crystals[::50]

    tutorial = compare(
        MBTR(species=SPECIES, **TUTORIAL),
        some,
        "inverse_distance",
        TUTORIAL["k2_grid"],
        {"function": "exp", "scale": 0.5, "threshold": 1e-3},
    )
    dense = MBTR(species=SPECIES, **TUTORIAL)
    sparse = SparseMBTR(species=SPECIES, **TUTORIAL)
    others = {
        "k2_default": SparseMBTR(species=SPECIES),
        "k1_default": SparseMBTR(k=1, species=SPECIES),
        "k3_default": SparseMBTR(k=3, species=SPECIES),
        "k3_smooth_cutoff_5": SparseMBTR(
            k=3, species=SPECIES, k3_weighting="smooth_cutoff", k3_r_cut=5.0
        ),
    }
    whole = {
        "dense_per_s": len(crystals) / best_of(in_batches(dense, crystals), 3),
        "sparse_per_s": len(crystals) / best_of(lambda: sparse.encode(crystals), 3),
        "sparse_bytes_per_crystal": sparse.n_bytes(crystals) / len(crystals),
        "dense_bytes_per_crystal": dense.n_bytes(crystals) / len(crystals),
        **{
            f"sparse_{name}_per_s": len(crystals) / best_of(lambda r=r: r.encode(crystals), 3)
            for name, r in others.items()
        },
    }
    own = MBTR(k=3, k3_r_cut=4.0).fit(few)
    triples = compare(
        own, few, "cosine", own.k3_grid, {"function": "exp", "r_cut": 4.0, "threshold": 1e-3}
    )
    numbers = MBTR(k=1, species=SPECIES)
    atomic_numbers = compare(numbers, some, "atomic_number", numbers.k1_grid, None)
    record(
        "mbtr",
        {
            "ratio_k2": tutorial["ratio"],
            "k2_against_dscribe": tutorial,
            "k2_on_1000_crystals": whole,
            "k1_against_dscribe": atomic_numbers,
            "k3_against_dscribe": triples,
            "settings_k2": {**TUTORIAL, "k2_threshold": 1e-3, "n_species": len(SPECIES)},
            "settings_k3": {"k3_r_cut": 4.0, "k3_grid": own.k3_grid, "n_species": len(own.species)},
            "n_crystals": len(crystals),
        },
        packages=("dscribe", "ase", "scipy"),
    )


if __name__ == "__main__":
    main()
