"""AMD and PDD: crystals a second with k = 100, and pairs compared a second.

The published package may not be used here for its licence, so that the peer is the definition
written plainly: one crystal at a time, pymatgen's search for points within a radius that holds
some more than k neighbours and grows until it does, the distances of each site sorted and cut.
Crystals are 1,000 of MP-20 val, in memory. Run on one thread:

    python benchmarks/minimum_distances.py
"""

from __future__ import annotations

from record import SHARED_DATA, best_of, record  # first: it sets the number of threads

# isort: split
import numpy as np
from pymatgen.core import Structure

from crystalcodec import Crystals, read, to_pymatgen
from crystalcodec.representations.minimum_distances import (
    AMD,
    PDD,
    earth_movers_distance,
    point_packing_coefficients,
)

K = 100


def peer(structure: Structure) -> np.ndarray:
    radius = (3 * 1.3 * K * structure.volume / (4 * np.pi * len(structure))) ** (1 / 3)
    while True:
        center, _, _, distance = structure.get_neighbor_list(radius, exclude_self=True)
        counts = np.bincount(center, minlength=len(structure))
        if counts.min() >= K:
            break
        radius *= 1.2
    rows = distance[np.lexsort((distance, center))]
    starts = np.cumsum(counts) - counts
    return np.mean([rows[start : start + K] for start in starts], axis=0)


def main() -> None:
    everything = read(SHARED_DATA / "mp20" / "val.csv.gz", structure_column="cif").crystals
    crystals = everything[sorted(np.random.default_rng(0).permutation(len(everything))[:1000])]
    structures = to_pymatgen(crystals)
    amd, pdd = AMD(k=K), PDD(k=K)
    by_peer = np.array([peer(structure) for structure in structures])
    difference = np.abs(by_peer - amd.encode(crystals)["amd"]).max()
    far = AMD(k=1000).encode(crystals[:100])["amd"][:, -1]
    tends = far / (10 * point_packing_coefficients(crystals[:100])) - 1

    encoded = pdd.encode(crystals)
    rng = np.random.default_rng(0)
    pairs = rng.integers(0, len(crystals), (500, 2))
    many = Crystals.concatenate([crystals] * 5)
    rates = {
        "peer": len(structures) / best_of(lambda: [peer(s) for s in structures], 3),
        "amd": len(many) / best_of(lambda: amd.encode(many)),
        "pdd": len(many) / best_of(lambda: pdd.encode(many)),
        "pairs": len(pairs) / best_of(lambda: earth_movers_distance(encoded, encoded, pairs), 3),
    }
    record(
        "minimum_distances",
        {
            "ratio_amd": rates["amd"] / rates["peer"],
            "amd_per_s": rates["amd"],
            "pdd_per_s": rates["pdd"],
            "peer_per_s": rates["peer"],
            "peer": "the definition, one crystal at a time, with pymatgen's search for points",
            "k": K,
            "earth_movers_distances_per_s": rates["pairs"],
            "largest_difference_from_peer_angstrom": float(difference),
            "largest_relative_distance_from_limit_at_k_1000": float(np.abs(tends).max()),
            "rows_a_crystal": len(encoded["weights"]) / len(encoded),
            "sites_a_crystal": float(crystals.n_sites.mean()),
            "n_crystals": len(crystals),
            "n_failed": len(encoded.failures),
        },
        packages=("pymatgen", "scipy"),
    )


if __name__ == "__main__":
    main()
