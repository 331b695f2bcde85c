"""Coulomb, sine and Ewald sum matrices: how many crystals a second, beside dscribe and matminer.

All get the same 1,000 crystals of MP-20 val, drawn by a seed, in memory and in their own form
before the clock starts: ASE atoms for dscribe, pymatgen structures for matminer. dscribe runs
with the shim that lets it work with this ASE; its Ewald sum is timed on the first 100 crystals.
Whether the numbers are the same is measured without sorting, by eigenvalues, and for sorted
matrices where no two rows have norms within 1e-9 of each other. Run on one thread:

    python benchmarks/site_matrices.py
"""

from __future__ import annotations

from record import SHARED_DATA, record  # first: it sets the number of threads

# isort: split
import time
import warnings
from typing import Any

import numpy as np
from ase import Atoms
from matminer.featurizers.structure import CoulombMatrix as MatminerCoulomb
from matminer.featurizers.structure import SineCoulombMatrix

from crystalcodec import Crystals, read, to_pymatgen
from crystalcodec.data.augmentation import permute_sites, rotate
from crystalcodec.failures import count_reasons
from crystalcodec.representations.dscribe_shim import dscribe_descriptors
from crystalcodec.representations.site_matrices import (
    CoulombMatrix,
    EwaldSumMatrix,
    SineMatrix,
    SiteMatrix,
)

REPEATS, SAMPLE, SLOW = 60, 1000, 100


def rates(calls: dict[str, tuple[Any, int]], repeats: int) -> dict[str, float]:
    """Crystals a second of each, best of several turns that all take in a row."""
    best = dict.fromkeys(calls, np.inf)
    for _ in range(repeats):
        for name, (call, _n) in calls.items():
            start = time.perf_counter()
            call()
            best[name] = min(best[name], time.perf_counter() - start)
    return {name: calls[name][1] / seconds for name, seconds in best.items()}


def difference(kind: type[SiteMatrix], crystals: Crystals, atoms: list[Atoms]) -> dict[str, Any]:
    """Largest difference from dscribe relative to the largest entry of each crystal."""
    more = {"accuracy": 1e-10} if kind is EwaldSumMatrix else {}
    figures: dict[str, Any] = {}
    for permutation in ("none", "eigenspectrum", "sorted_l2"):
        ours = kind(permutation=permutation, **more)
        peer = getattr(dscribe_descriptors(), kind.__name__)(
            n_atoms_max=ours.max_sites, permutation=permutation
        )
        wanted = peer.create(atoms, **more).reshape(len(atoms), -1)
        got = ours.encode(crystals)[ours.name].reshape(len(atoms), -1)
        worst = np.abs(got - wanted).max(axis=1) / np.abs(wanted).max(axis=1)
        if permutation == "sorted_l2":
            width = ours.max_sites
            norms = np.linalg.norm(wanted.reshape(-1, width, width), axis=2)
            falls = norms[:, :-1] - norms[:, 1:] > 1e-9 * norms[:, :1]
            untied = (falls | (norms[:, 1:] == 0)).all(axis=1)
            figures["n_without_rows_of_one_norm"] = int(untied.sum())
            worst = worst[untied]
        figures[permutation] = float(worst.max())
    return figures


def order_of_sites(kind: type[SiteMatrix], everything: Crystals) -> dict[str, Any]:
    """Crystals whose sorted matrix changes with the order of sites, or in another frame."""
    ours = kind()
    before = ours.encode(everything)
    counts: dict[str, Any] = {"n": len(before), "n_failed": count_reasons(before.failures)}
    for name, change in (("another order of sites", permute_sites), ("another frame", rotate)):
        after = ours.encode(change(everything, np.random.default_rng(0)))[ours.name]
        apart = np.abs(after - before[ours.name]).max(axis=(1, 2))
        counts[name] = int((apart > 1e-4 * np.abs(after).max(axis=(1, 2))).sum())
    return counts


def main() -> None:
    warnings.filterwarnings("ignore", module=r"matminer|pymatgen|dscribe|ase")
    everything = read(SHARED_DATA / "mp20" / "val.csv.gz", structure_column="cif").crystals
    chosen = np.random.default_rng(0).permutation(len(everything))[:SAMPLE]
    crystals = everything[np.sort(chosen)]
    atoms = [
        Atoms(numbers=c.numbers, positions=c.cart_coords, cell=c.lattices[0], pbc=True)
        for c in crystals
    ]
    structures = to_pymatgen(crystals)
    dscribe = dscribe_descriptors()

    def ours(kind: type[SiteMatrix], **more: Any) -> tuple[Any, int]:
        matrix = kind(**more)
        return (lambda: matrix.encode(crystals)), len(crystals)

    def theirs(name: str, n: int = SAMPLE, **more: Any) -> tuple[Any, int]:
        matrix = getattr(dscribe, name)(n_atoms_max=20, **more)
        return (lambda: matrix.create(atoms[:n])), n

    def matminers(matrix: Any) -> tuple[Any, int]:
        few = structures[:SLOW]
        matrix.fit(structures)
        return (lambda: [matrix.featurize(structure) for structure in few]), SLOW

    spectrum = {"permutation": "eigenspectrum"}
    fast = {
        "coulomb": ours(CoulombMatrix),
        "coulomb dscribe": theirs("CoulombMatrix"),
        "coulomb, unsorted": ours(CoulombMatrix, permutation="none"),
        "coulomb, unsorted dscribe": theirs("CoulombMatrix", permutation="none"),
        "coulomb, eigenvalues": ours(CoulombMatrix, **spectrum),
        "coulomb, eigenvalues dscribe": theirs("CoulombMatrix", **spectrum),
        "sine": ours(SineMatrix),
        "sine, unsorted": ours(SineMatrix, permutation="none"),
        "sine, eigenvalues": ours(SineMatrix, **spectrum),
    }
    slow = {
        "sine dscribe": theirs("SineMatrix"),
        "sine, eigenvalues matminer": matminers(SineCoulombMatrix()),
        "coulomb, eigenvalues matminer": matminers(MatminerCoulomb()),
        "ewald": ours(EwaldSumMatrix),
        "ewald dscribe": theirs("EwaldSumMatrix", SLOW),
    }
    per_second = {**rates(fast, REPEATS), **rates(slow, 4)}
    kinds = {"coulomb": CoulombMatrix, "sine": SineMatrix, "ewald": EwaldSumMatrix}
    record(
        "site_matrices",
        {
            "ratio": {name: per_second[name] / per_second[f"{name} dscribe"] for name in kinds},
            "target_per_s": {"coulomb": 150_000, "sine": 50_000},
            "crystals_per_s": per_second,
            "n_crystals": len(crystals),
            "difference_from_dscribe": {
                name: difference(kind, crystals[:n], atoms[:n])
                for name, kind, n in (
                    ("coulomb", CoulombMatrix, SAMPLE),
                    ("sine", SineMatrix, SAMPLE),
                    ("ewald", EwaldSumMatrix, SLOW),
                )
            },
            "changed_in_all_of_val": {
                name: order_of_sites(kind, everything) for name, kind in kinds.items()
            },
        },
        packages=("dscribe", "ase", "matminer", "scipy"),
    )


if __name__ == "__main__":
    main()
