"""Energies above hulls: against the labels of MP-20, and timed beside pymatgen's phase diagrams.

    python benchmarks/hulls.py energies --mp20 runs/mp20
    python benchmarks/hulls.py labels --mp20 runs/mp20

``energies`` makes a hull of the formation energies of MP-20 (train and val) and of the Materials
Project's other crystals with labels of the same release, and asks for the energies of val above
it. ``labels`` times CHGNet on crystals of val as they are, and tells by how much they fall when
relaxed.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from itertools import combinations
from pathlib import Path
from typing import Any

from record import SHARED_DATA, record  # first: it sets the number of threads

# isort: split
import numpy as np
import pyarrow.parquet as pq

from crystalcodec import Crystals, Dataset
from crystalcodec.relaxation.hull import Hull
from crystalcodec.relaxation.hull_compositions import amounts_of, composition_counts


def dft_hull(folder: Path) -> Hull:
    """Formation energies of MP-20 and of the rest of the Materials Project, and the elements."""
    parts = [Dataset.read(folder / f"{name}.parquet") for name in ("train", "val")]
    rest = pq.read_table(
        SHARED_DATA / "mp" / "mp.parquet",
        columns=["material_id", "formula", "formation_energy_per_atom_2021"],
    )
    known = {str(one) for part in parts for one in part.ids}
    energies = rest["formation_energy_per_atom_2021"].to_numpy()
    ids = rest["material_id"].to_pylist()
    kept = [i for i in np.flatnonzero(np.isfinite(energies)) if ids[i] not in known]
    formulas = rest["formula"].take(kept).to_pylist()
    amounts = {one: amounts_of(one) for one in set(formulas)}
    compositions = np.concatenate(
        [composition_counts(part.crystals) for part in parts]
        + [np.array([amounts[one] for one in formulas]).astype(np.int64)]
    )
    values = [part.numeric("formation_energy_per_atom") for part in parts] + [energies[kept]]
    used = np.flatnonzero(compositions.any(axis=0))
    elements = np.zeros((len(used), compositions.shape[1]), np.int64)
    elements[np.arange(len(used)), used] = 1
    return Hull(
        "Materials Project 2021",
        np.concatenate([compositions, elements]),
        np.concatenate([*values, np.zeros(len(used))]),
        np.array([*(str(i) for part in parts for i in part.ids), *(ids[i] for i in kept)]
                 + [f"element {z}" for z in used], object),
    )  # fmt: skip


def beside_pymatgen(hull: Hull, val: Dataset, n: int) -> dict[str, Any]:
    """The same energies from a PhaseDiagram of each chemical system."""
    from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
    from pymatgen.core import Composition

    rng = np.random.default_rng(0)
    rows = np.sort(rng.choice(len(val), n, replace=False))
    energies = val.numeric("formation_energy_per_atom")[rows]
    asked = val[rows].crystals
    start = time.process_time()
    entries = [
        PDEntry(Composition(formula), energy * Composition(formula).num_atoms)
        for formula, energy in zip(hull.formulas, hull.energies, strict=True)
    ]
    by_space: dict[frozenset[Any], list[Any]] = {}
    for entry in entries:
        by_space.setdefault(frozenset(entry.elements), []).append(entry)
    making = time.process_time() - start
    start = time.process_time()
    theirs = []
    for formula, energy in zip(asked.formulas, energies, strict=True):
        composition = Composition(formula)
        inside = [
            entry
            for size in range(1, len(composition.elements) + 1)
            for space in combinations(composition.elements, size)
            for entry in by_space.get(frozenset(space), [])
        ]
        query = PDEntry(composition, energy * composition.num_atoms)
        theirs.append(PhaseDiagram(inside).get_e_above_hull(query, allow_negative=True))
    seconds = time.process_time() - start
    ours = hull.energies_above(asked, energies)
    return {
        "n": n,
        "largest_difference": float(np.abs(ours - np.array(theirs)).max()),
        "pymatgen_seconds": seconds,
        "pymatgen_ms_per_crystal": 1000 * seconds / n,
        "pymatgen_seconds_to_make_entries": making,
    }


def of_any_size(n: int) -> Crystals:
    """Crystals of random compositions of the Materials Project; where their sites are is made."""
    formulas = pq.read_table(SHARED_DATA / "mp" / "mp.parquet", columns=["formula"])["formula"]
    rows = np.random.default_rng(0).choice(len(formulas), n, replace=False)
    amounts = np.array([amounts_of(one) for one in formulas.take(rows).to_pylist()], int)
    which, numbers = np.nonzero(amounts)
    counts = amounts[which, numbers]
    offsets = np.concatenate([[0], np.cumsum(amounts.sum(axis=1))])
    coords = np.random.default_rng(1).random((offsets[-1], 3))
    cells = np.broadcast_to(10 * np.eye(3), (n, 3, 3))
    return Crystals(cells, coords, np.repeat(numbers, counts), offsets)


def energies(folder: Path, n_peer: int) -> None:
    hull = dft_hull(folder)
    val = Dataset.read(folder / "val.parquet")
    values = val.numeric("formation_energy_per_atom")
    start = time.process_time()
    above = hull.energies_above(val.crystals, values)
    seconds = time.process_time() - start
    asked = of_any_size(10_000)
    start = time.process_time()
    hull.energies_above(asked, np.zeros(len(asked)))
    again = time.process_time() - start
    sizes = np.bincount((asked.element_counts > 0).sum(axis=1))
    start = time.process_time()
    n_on_hull = int(hull.on_hull.sum())
    whole = time.process_time() - start
    labels = val.numeric("e_above_hull")
    both = np.isfinite(labels)
    apart = above[both] - labels[both]
    peer = beside_pymatgen(hull, val, n_peer)
    record(
        "hulls",
        {
            "hull": {
                "n_phases": len(hull),
                "n_on_hull": n_on_hull,
                "content_hash": hull.content_hash,
                "seconds_for_all_its_phases": whole,
            },
            "val": {
                "n": len(val),
                "seconds": seconds,
                "ms_per_crystal": 1000 * seconds / len(val),
            },
            "10,000 of the Materials Project": {
                "n_by_number_of_elements": {str(n): int(c) for n, c in enumerate(sizes) if c},
                "seconds": again,
            },
            "against_e_above_hull": {
                "n": int(both.sum()),
                "mean_absolute_difference": float(np.abs(apart).mean()),
                "median_absolute_difference": float(np.median(np.abs(apart))),
                "share_within_1_meV": float((np.abs(apart) < 1e-3).mean()),
                "share_lower_by_more": float((apart <= -1e-3).mean()),
                "share_higher_by_more": float((apart >= 1e-3).mean()),
            },
            "beside_pymatgen": peer,
            "times_faster": peer["pymatgen_ms_per_crystal"] / (1000 * seconds / len(val)),
        },
        packages=("pymatgen",),
    )


def labels(folder: Path, n: int, n_relaxed: int, potential: str) -> None:
    from crystalcodec.relaxation import relax
    from crystalcodec.relaxation.base import load_potential
    from crystalcodec.workflow.hulls import label_in_parts

    val = Dataset.read(folder / "val.parquet", [])
    rng = np.random.default_rng(0)
    rows = rng.choice(len(val), n, replace=False)
    asked = val.crystals[np.sort(rows)]
    load_potential(potential)
    with tempfile.TemporaryDirectory() as kept:
        start, cpu = time.perf_counter(), time.process_time()
        _, failures = label_in_parts(asked, Path(kept) / "parts", potential)
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    start = time.process_time()
    relaxed = relax(asked[:n_relaxed], potential)
    falls = relaxed.initial_energies - relaxed.energies
    record(
        "hull_labels",
        {
            "potential": potential,
            "n": n,
            "mean_sites": float(asked.n_sites.mean()),
            "failures": len(failures),
            "wall_seconds": seconds,
            "processor_seconds": cpu,
            "crystals_per_processor_second": n / cpu,
            "relaxed": {
                "n": n_relaxed,
                "n_failed": len(relaxed.failures),
                "n_converged": int(relaxed.converged.sum()),
                "processor_seconds": time.process_time() - start,
                "mean_fall": float(falls.mean()),
                "median_fall": float(np.median(falls)),
                "share_falling_more_than_20_meV": float((falls > 0.02).mean()),
            },
        },
        packages=("chgnet", "torch"),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["energies", "labels"])
    parser.add_argument("--mp20", type=Path, required=True, help="folder of the MP-20 datasets")
    parser.add_argument("--peer", type=int, default=300)
    parser.add_argument("-n", type=int, default=1024)
    parser.add_argument("--relaxed", type=int, default=100)
    parser.add_argument("--potential", default="chgnet-0.3.0")
    options = parser.parse_args()
    if options.what == "energies":
        energies(options.mp20, options.peer)
    else:
        labels(options.mp20, options.n, options.relaxed, options.potential)


if __name__ == "__main__":
    main()
