"""SOAP and ACSF: what the way through this library costs on top of dscribe.

Both get the same 1,000 crystals of MP-20 val, drawn by a seed, the same settings and the same
species, those of all 1,000. dscribe starts from ASE atoms that are there before the clock starts,
ours from the columns of crystals. Turn by turn each runs once; the time on top is the median of
the ratios of neighbouring turns. Run on one thread:

    python benchmarks/soap.py
"""

from __future__ import annotations

from record import SHARED_DATA, record  # first: it sets the number of threads

# isort: split
import time
from typing import Any

import numpy as np
from ase import Atoms

from crystalcodec import read
from crystalcodec.data.augmentation import rotate
from crystalcodec.representations.acsf import ACSF, SiteACSF
from crystalcodec.representations.soap import SOAP, SiteSOAP

SAMPLE = 1000
SETTINGS: dict[str, Any] = {
    "soap, mu1nu1, outer": SOAP(),
    "soap, crossover, outer": SOAP(compression="crossover"),
    "soap, crossover, inner": SOAP(compression="crossover", average="inner"),
    "soap, mu2, n_max 8, l_max 6": SOAP(compression="mu2", n_max=8, l_max=6),
    "soap of sites, crossover": SiteSOAP(compression="crossover"),
    "acsf": ACSF(),
    "acsf of sites": SiteACSF(),
}


def main() -> None:
    everything = read(SHARED_DATA / "mp20" / "val.csv.gz", structure_column="cif").crystals
    chosen = np.random.default_rng(0).permutation(len(everything))[:SAMPLE]
    crystals = everything[np.sort(chosen)]
    atoms = [
        Atoms(numbers=c.numbers, positions=c.cart_coords, cell=c.lattices[0], pbc=True)
        for c in crystals
    ]
    figures: dict[str, Any] = {}
    for name, setting in SETTINGS.items():
        ours = setting.fit(crystals)
        peer = ours._descriptor()
        array = ours.fields[0].array
        got = ours.encode(crystals)[array]
        made = peer.create(atoms)
        if isinstance(ours, ACSF):
            made = np.array([sites.mean(axis=0) for sites in made])
        wanted = np.concatenate(made) if isinstance(made, list) else np.asarray(made)
        turned = ours.encode(rotate(crystals, np.random.default_rng(0)))[array]
        scale = np.abs(wanted).max(axis=1)
        scale[scale == 0] = 1.0
        del made
        times: dict[str, list[float]] = {"ours": [], "dscribe": []}
        calls = {
            "dscribe": lambda p=peer: p.create(atoms),
            "ours": lambda o=ours: o.encode(crystals),
        }
        for _ in range(5):
            for who, call in calls.items():
                start = time.perf_counter()
                call()
                times[who].append(time.perf_counter() - start)
        ratio = np.array(times["ours"]) / np.array(times["dscribe"])
        figures[name] = {
            "time_on_top": float(np.median(ratio) - 1),
            "time_on_top_of_best": min(times["ours"]) / min(times["dscribe"]) - 1,
            "crystals_per_s": SAMPLE / min(times["ours"]),
            "dscribe_crystals_per_s": SAMPLE / min(times["dscribe"]),
            "n_features": ours.n_features,
            "largest_difference_from_dscribe": float(
                (np.abs(got - wanted).max(axis=1) / scale).max()
            ),
            "largest_change_by_rotation": float((np.abs(got - turned).max(axis=1) / scale).max()),
        }
    record(
        "soap",
        {
            "target_time_on_top": 0.1,
            "settings": figures,
            "n_crystals": len(crystals),
            "n_species": len(np.unique(crystals.numbers)),
        },
        packages=("dscribe", "ase"),
    )


if __name__ == "__main__":
    main()
