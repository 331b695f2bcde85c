"""Vectors of interatomic potentials: how many crystals a second, and what of that is the network.

The peer is CHGNet's own ``predict_structure`` on structures in memory, in its batches of 16,
asked for the same vectors and for energies alone. Crystals are 200 of MP-20 val drawn with a
fixed seed (100 for SevenNet). Run on one thread:

    python benchmarks/potential_vectors.py
"""

from __future__ import annotations

from record import SHARED_DATA, best_of, record  # first: it sets the number of threads

# isort: split
import warnings

import numpy as np
import torch

from crystalcodec import read, to_pymatgen
from crystalcodec.failures import count_reasons
from crystalcodec.representations.potential_vectors import PotentialVectors, SitePotentialVectors


def main() -> None:
    from chgnet.model import CHGNet

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    everything = read(SHARED_DATA / "mp20" / "val.csv.gz", structure_column="cif").crystals
    drawn = sorted(np.random.default_rng(0).permutation(len(everything))[:1000])
    crystals = everything[drawn[::5]]
    structures = to_pymatgen(crystals)
    ours, sites = PotentialVectors(), SitePotentialVectors()
    other = PotentialVectors(model="sevennet-0-11jul2024")
    network = CHGNet.load(use_device="cpu", verbose=False)

    def peer() -> np.ndarray:
        with torch.no_grad():
            found = network.predict_structure(
                structures, task="e", return_crystal_feas=True, return_atom_feas=True
            )
        return np.stack([one["crystal_fea"] for one in found])

    means = peer() / crystals.n_sites[:, None]
    encoded = ours.encode(crystals)
    other_encoded = other.encode(crystals[:100])
    seconds = {
        "peer": best_of(peer, 3),
        "crystals": best_of(lambda: ours.encode(crystals), 3),
        "sites": best_of(lambda: sites.encode(crystals), 3),
        "sevennet": best_of(lambda: other.encode(crystals[:100]), 2),
    }
    n = len(crystals)
    difference = np.abs(encoded["potential_vectors"] - means[encoded.index]).max()
    record(
        "potential_vectors",
        {
            "ratio": seconds["peer"] / seconds["crystals"],
            "chgnet_crystals_per_s": n / seconds["crystals"],
            "chgnet_sites_crystals_per_s": n / seconds["sites"],
            "peer_crystals_per_s": n / seconds["peer"],
            "peer": "CHGNet.predict_structure, task e, batches of 16, structures in memory",
            "sevennet_crystals_per_s": 100 / seconds["sevennet"],
            "n_crystals": n,
            "n_failed": count_reasons(encoded.failures),
            "n_crystals_sevennet": 100,
            "n_failed_sevennet": count_reasons(other_encoded.failures),
            "largest_difference_from_peer": float(difference),
            "largest_entry": float(np.abs(means).max()),
        },
        packages=("chgnet", "sevenn", "torch", "pymatgen"),
    )


if __name__ == "__main__":
    main()
