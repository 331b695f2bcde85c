"""ACE: crystals a second, next to dscribe's SOAP where the numbers are the same.

With Gaussian-type orbitals, elements alike, no atom in the centre and the same fading at the
cut-off, order 2 of ACE is dscribe's power spectrum (compression mu2) over π√8: both are made of
the same crystals in one run and compared. Crystals are 1,000 of MP-20 val, in memory as each
wants them. Run on one thread:

    python benchmarks/ace.py
"""

from __future__ import annotations

from record import SHARED_DATA, best_of, record  # first: it sets the number of threads

# isort: split
import numpy as np
from dscribe.descriptors import SOAP
from scipy.spatial.transform import Rotation

from crystalcodec import Crystals, read, to_ase
from crystalcodec.representations.ace import ACE

CUTOFF, N_MAX, L_MAX, SIGMA = 6.0, 8, 6, 0.5


def change_under_rotation(ace: ACE, crystals: Crystals) -> float:
    """Largest change of a number, relative to the largest of its column."""
    matrix = Rotation.random(random_state=0).as_matrix()
    turned = Crystals(
        crystals.lattices @ matrix, crystals.frac_coords, crystals.numbers, crystals.offsets
    )
    before, after = (ace.mean_invariants(each) for each in (crystals, turned))  # in float64
    scale = np.abs(before).max(axis=0)
    return float((np.abs(after - before)[:, scale > 0] / scale[scale > 0]).max())


def main() -> None:
    everything = read(SHARED_DATA / "mp20" / "val.csv.gz", structure_column="cif").crystals
    crystals = everything[sorted(np.random.default_rng(0).permutation(len(everything))[:1000])]
    spectrum = ACE(
        cutoff=CUTOFF,
        n_max=(1, N_MAX),
        l_max=(0, L_MAX),
        channels="none",
        centers="alike",
        radial="gto",
        sigma=SIGMA,
        cutoff_function="polynomial",
    )
    soap = SOAP(
        species=sorted({*everything.numbers.tolist()}),
        r_cut=CUTOFF,
        n_max=N_MAX,
        l_max=L_MAX,
        sigma=SIGMA,
        periodic=True,
        rbf="gto",
        average="outer",
        compression={"mode": "mu2", "species_weighting": None},
        weighting={"function": "poly", "c": 1, "m": 1, "r0": CUTOFF, "w0": 0},
    )
    systems = to_ase(crystals)
    theirs = np.array([soap.create(system) for system in systems])
    ours = spectrum.encode(crystals)["ace"][:, 1:]
    difference = np.abs(np.pi * np.sqrt(8) * ours - theirs).max() / np.abs(theirs).max()

    default, whole = ACE(), ACE(n_max=(6, 6, 3), l_max=(0, 4, 4), channels="none", centers="alike")
    many = Crystals.concatenate([crystals] * 2)
    work = {
        "peer": (len(systems), lambda: [soap.create(system) for system in systems]),
        "spectrum": (len(many), lambda: spectrum.encode(many)),
        "default": (len(many), lambda: default.encode(many)),
        "whole": (len(many), lambda: whole.encode(many)),
    }
    rates = dict.fromkeys(work, 0.0)
    for _ in range(5):  # in turns, so that what else runs on the machine disturbs all alike
        for name, (n, function) in work.items():
            rates[name] = max(rates[name], n / best_of(function, 1))
    record(
        "ace",
        {
            "ratio_spectrum": rates["spectrum"] / rates["peer"],
            "spectrum_per_s": rates["spectrum"],
            "peer_per_s": rates["peer"],
            "peer": "dscribe SOAP, gto, mu2, averaged over the same sites, from ASE in memory",
            "settings": {
                "cutoff": CUTOFF, "n_max": N_MAX, "l_max": L_MAX, "sigma": SIGMA,
                "n_features": int(ours.shape[1]),
            },
            "largest_relative_difference_from_peer": float(difference),
            "default_per_s": rates["default"],
            "default_n_features": default.n_features,
            "default_change_under_rotation": change_under_rotation(default, crystals),
            "element_blind_order_3_per_s": rates["whole"],
            "element_blind_order_3_n_features": whole.n_features,
            "n_crystals": len(crystals),
            "n_failed": len(default.encode(crystals).failures),
        },
        packages=("dscribe", "scipy"),
    )  # fmt: skip


if __name__ == "__main__":
    main()
