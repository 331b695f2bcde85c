"""CrystalNN fingerprints: crystals a second beside matminer, and whether they are the same.

Both make the fingerprint that the evaluation of CDVAE makes: the mean over the sites. The peer
takes the pymatgen structures, made beforehand; times are processor time, of the same crystals in
the same run. Where a crystal differs by more than 1e-6, the peer is asked again for the same
crystal with its sites in another order, turned, and from another origin: whether its own answer
stays the same. Crystals are N of MP-20 val, 1,000 unless said, and all of them for ours alone. Run
on one thread:

    python benchmarks/crystal_nn.py [N]
"""

from __future__ import annotations

import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable

from record import SHARED_DATA, record  # first: it sets the number of threads

# isort: split
import numpy as np
from matminer.featurizers.site.fingerprint import CrystalNNFingerprint as Peer

from crystalcodec import Crystals, read, to_pymatgen
from crystalcodec.data.augmentation import permute_sites, rotate, shift_origin
from crystalcodec.representations.crystal_nn import SITE_LABELS, site_fingerprints

TOLERANCE = 1e-6
CHANGES = (permute_sites, rotate, shift_origin) * 4


def seconds(function: Callable[[], object]) -> float:
    """Processor time."""
    start = time.process_time()
    function()
    return time.process_time() - start


def by_peer(peer: Peer, crystals: Crystals) -> np.ndarray:
    structures = to_pymatgen(crystals)
    return np.array(
        [np.mean([peer.featurize(one, i) for i in range(len(one))], axis=0) for one in structures]
    )


def ours(crystals: Crystals) -> np.ndarray:
    return site_fingerprints(crystals).statistics()[..., 0]


def changes_itself(of: Callable[[Crystals], np.ndarray], crystal: Crystals) -> bool:
    """Whether the answer for a crystal depends on how it is described."""
    rng = np.random.default_rng(0)
    first = of(crystal)
    return any(np.abs(of(change(crystal, rng)) - first).max() > TOLERANCE for change in CHANGES)


def main() -> None:
    warnings.simplefilter("ignore")  # pymatgen tells of missing oxidation states at every site
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    everything = read(SHARED_DATA / "mp20" / "val.csv.gz", structure_column="cif").crystals
    crystals = everything[np.sort(np.random.default_rng(0).permutation(len(everything))[:n])]
    peer = Peer.from_preset("ops")
    by_peer(peer, crystals[:5])

    wanted = np.zeros((n, len(SITE_LABELS)))

    def run_peer() -> None:
        wanted[:] = by_peer(peer, crystals)

    times = {
        "peer": seconds(run_peer),
        "ours": min(seconds(lambda: ours(crystals)) for _ in range(3)),
        "all": seconds(lambda: site_fingerprints(everything)),
    }
    differences = np.abs(ours(crystals) - wanted)
    unequal = np.flatnonzero(differences.max(axis=1) > TOLERANCE)
    numbers = Counter(
        SITE_LABELS[j] for i in unequal for j in np.flatnonzero(differences[i] > TOLERANCE)
    )
    record(
        "crystal_nn",
        {
            "ratio": times["peer"] / times["ours"],
            "per_s": n / times["ours"],
            "peer_per_s": n / times["peer"],
            "peer": "matminer CrystalNNFingerprint.from_preset('ops'), mean over the sites",
            "per_s_all": len(everything) / times["all"],
            "n_crystals": n,
            "n_equal_to_1e-6": n - len(unequal),
            "largest_difference": float(differences.max()),
            "numbers_that_differ": dict(numbers),
            "n_unequal": len(unequal),
            "n_unequal_where_peer_depends_on_the_description": sum(
                changes_itself(lambda c: by_peer(peer, c), crystals[i]) for i in unequal
            ),
            "n_unequal_where_ours_does": sum(changes_itself(ours, crystals[i]) for i in unequal),
            "sites_a_crystal": float(crystals.n_sites.mean()),
            "n_all": len(everything),
            "n_failed": len(site_fingerprints(everything).failures),
        },
        packages=("matminer", "pymatgen", "scipy"),
    )


if __name__ == "__main__":
    main()
