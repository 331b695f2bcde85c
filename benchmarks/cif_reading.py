"""CIF reading beside pymatgen's reader, in one run, one thread each.

    python benchmarks/cif_reading.py

Both read the same texts, chunk after chunk in turns, so that a busy machine slows both. Times are
those of the process (CPU seconds); wall times are told beside them.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from record import SHARED_DATA, record  # first: it sets the number of threads

# isort: split
import numpy as np

from crystalcodec import io as crystals_io
from crystalcodec.crystals import Crystals
from crystalcodec.failures import count_reasons

TOLERANCE = 1e-5


def texts_of(path: Path, column: str, sample: int | None) -> list[str]:
    csv.field_size_limit(2**30)
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as file:
        texts = [row[column] for row in csv.DictReader(file)]
    if sample is None or sample >= len(texts):
        return texts
    chosen = np.random.default_rng(0).choice(len(texts), sample, replace=False)
    return [texts[i] for i in sorted(chosen.tolist())]


def by_pymatgen(texts: list[str], **tolerances: float) -> list[Any]:
    from pymatgen.io.cif import CifParser

    structures = []
    for text in texts:
        try:
            [structure] = CifParser.from_str(text, **tolerances).parse_structures(primitive=False)
        except ValueError:
            structure = None
        structures.append(structure)
    return structures


def timed(function: Callable[[list[str]], Any], texts: list[str]) -> tuple[Any, float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    result = function(texts)
    return result, time.process_time() - cpu, time.perf_counter() - wall


def same(ours: Crystals, theirs: Any) -> bool:
    """Same species in the same order, cell and coordinates within the tolerance."""
    if ours.numbers.tolist() != list(theirs.atomic_numbers):
        return False
    cells = np.abs(ours.cell_parameters[0] - theirs.lattice.parameters)
    apart = ours.frac_coords - theirs.frac_coords
    apart -= np.rint(apart)
    return bool(cells.max() <= TOLERANCE and np.abs(apart).max() <= TOLERANCE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=Path, nargs="?", default=SHARED_DATA / "mp20" / "val.csv.gz")
    parser.add_argument("--column", default="cif")
    parser.add_argument("--sample", type=int, help="only so many texts, drawn with seed 0")
    parser.add_argument("--chunk", type=int, default=1024)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    texts = texts_of(arguments.table, arguments.column, arguments.sample)
    crystals_io.read_cif_texts(texts[:2])
    by_pymatgen(texts[:2])

    cpu, wall = {"ours": 0.0, "pymatgen": 0.0}, {"ours": 0.0, "pymatgen": 0.0}
    agree = agree_unrounded = refused_by_pymatgen = 0
    failures = []
    for start in range(0, len(texts), arguments.chunk):
        chunk = texts[start : start + arguments.chunk]
        readers = [("ours", crystals_io.read_cif_texts), ("pymatgen", by_pymatgen)]
        results = {}
        for name, reader in readers[:: -1 if start // arguments.chunk % 2 else 1]:
            results[name], seconds, passed = timed(reader, chunk)
            cpu[name] += seconds
            wall[name] += passed
        loaded, structures = results["ours"], results["pymatgen"]
        failures += loaded.failures
        failed = {failure.index for failure in loaded.failures}
        read = [i for i in range(len(chunk)) if i not in failed]
        for crystal, i in zip(loaded.crystals, read, strict=True):
            if structures[i] is None:
                refused_by_pymatgen += 1
            elif same(crystal, structures[i]):
                agree += 1
            else:
                [unrounded] = by_pymatgen([chunk[i]], frac_tolerance=0)
                agree_unrounded += same(crystal, unrounded)
        print(f"{start + len(chunk)} of {len(texts)}", file=sys.stderr, flush=True)

    result = {
        "ratio": round(cpu["pymatgen"] / cpu["ours"], 1),
        "ratio_wall": round(wall["pymatgen"] / wall["ours"], 1),
        "n": len(texts),
        "failures": count_reasons(failures),
        "same_crystal": agree + agree_unrounded,
        "same_crystal_as_pymatgen_with_defaults": agree,
        "same_crystal_where_pymatgen_moves_coordinates": agree_unrounded,
        "refused_by_pymatgen": refused_by_pymatgen,
        "tolerance": TOLERANCE,
        "note": (
            "pymatgen moves coordinates within 1e-4 of 1/3 and 2/3 (its frac_tolerance); where "
            "that is more than the tolerance the comparison is with frac_tolerance=0, which "
            "keeps the digits of the file as we do"
        ),
        "crystals_per_cpu_second": {name: round(len(texts) / t, 1) for name, t in cpu.items()},
        "cpu_seconds": {name: round(seconds, 3) for name, seconds in cpu.items()},
        "wall_seconds": {name: round(seconds, 3) for name, seconds in wall.items()},
    }
    print(f"{result['ratio']} times as fast as pymatgen (CPU), {result['ratio_wall']} (wall)")
    record("cif_reading", result, packages=("gemmi", "pymatgen"))


if __name__ == "__main__":
    main()
