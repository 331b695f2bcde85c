"""Make relaxation/elemental_references.json: energies of the elements by the potentials.

Each potential gives the energies of the elemental crystals of the Materials Project as they are,
and relaxes for each element those within a window of the lowest. The lowest energy is kept, with
the id of its crystal; no crystal is copied.

    python scripts/make_elemental_references.py energies --potential chgnet-0.3.0
    python scripts/make_elemental_references.py relax --potential chgnet-0.3.0 --seconds 150
    python scripts/make_elemental_references.py write

Set OMP_NUM_THREADS=1. The first two keep what they did in --work, so that they can be called
again until nothing is left to do; the last writes the file from what is there.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from crystalcodec import Crystals
from crystalcodec.elements import SYMBOLS
from crystalcodec.io import read
from crystalcodec.registry import POTENTIALS
from crystalcodec.relaxation.base import load_potential
from crystalcodec.relaxation.references import ELEMENTAL_REFERENCES

SHARED_DATA = Path(
    os.environ.get("CRYSTALCODEC_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data")
)
MOST_SITES = 110
WINDOW = 0.03  # eV/atom above the lowest as it is: what relaxing could bring below it
LIKE = {"sevennet-l3i5": "sevennet-0-11jul2024"}
MOST = {"chgnet-0.3.0": 1000, "chgnet-r2scan": 1000, "sevennet-0-11jul2024": 1, "sevennet-l3i5": 1}
SETTINGS = {"max_force": 0.02, "max_steps": 300}
SOURCE = (
    "Energies by each potential of elemental crystals of the Materials Project (Jain et al., APL "
    "Materials 1, 011002, 2013, 10.1063/1.4812323, CC BY 4.0), at most "
    f"{MOST_SITES} sites a cell. Of those within {WINDOW} eV/atom of the lowest energy of their "
    "element n_relaxed were relaxed, sites and cell, those of the slower potentials not all; the "
    "lowest energy of all is kept. With tried_near, only crystals within twice the window of the "
    "lowest by that other potential were tried."
)


def elemental_crystals(work: Path) -> tuple[Crystals, list[str]]:
    """The elemental crystals of the database, and their ids."""
    path = work / "elements.json"
    if not path.exists():
        table = pq.read_table(SHARED_DATA / "mp" / "mp.parquet", columns=["material_id", "cif"])
        chemical = pc.extract_regex(
            table["cif"], r"_chemical_formula_sum\s+'?(?P<formula>[^'\n]*)'?\s*\n"
        )
        formulas = pc.struct_field(chemical.combine_chunks(), "formula").to_pylist()
        rows = [i for i, one in enumerate(formulas) if one and " " not in one.strip()]
        path.write_text(json.dumps(table.take(rows).to_pydict()))
    held = json.loads(path.read_text())
    ids, crystals = [], []
    for name, cif in zip(held["material_id"], held["cif"], strict=True):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "one.cif"
            file.write_text(cif)
            one = read(file).crystals
        if len(one) == 1 and len(one.numbers) <= MOST_SITES and len(set(one.numbers)) == 1:
            ids.append(name)
            crystals.append(one)
    return Crystals.concatenate(crystals), ids


def energies(work: Path, potential: str, seconds: float = 0.0) -> dict[str, Any]:
    """Element and energy of the crystals as they are, by id, eV/atom; more until time is up."""
    path = work / f"{potential}.energies.json"
    rows: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    if not seconds:
        return {name: one for name, one in rows.items() if one[1] is not None}
    crystals, ids = elemental_crystals(work)
    wanted = [i for i in np.argsort(crystals.n_sites).tolist() if ids[i] not in rows]
    if potential in LIKE:
        # A slow potential: only what another of the kind puts near the lowest of its element.
        other = energies(work, LIKE[potential])
        near = near_lowest(other, 2 * WINDOW)
        wanted = [i for i in wanted if ids[i] in near]
    loaded, start = load_potential(potential), time.monotonic()
    while wanted and time.monotonic() - start < seconds:
        part, wanted = wanted[:16], wanted[16:]
        found = loaded.evaluate(crystals[part])
        for i, energy in zip(part, found.energies / crystals.n_sites[part], strict=True):
            known = float(energy) if np.isfinite(energy) else None
            rows[ids[i]] = [SYMBOLS[int(crystals[i].numbers[0])], known]
        for failure in found.failures:
            print(ids[part[failure.index]], failure.reason)
        path.write_text(json.dumps(rows))
    print(f"{len(rows)} done, {len(wanted)} left")
    return {name: one for name, one in rows.items() if one[1] is not None}


def near_lowest(rows: dict[str, Any], window: float, most: int = 1000) -> set[str]:
    """Of each element the crystals up to a window above the lowest, the lowest so many."""
    found: set[str] = set()
    for symbol in {one[0] for one in rows.values()}:
        own = sorted((energy, name) for name, (other, energy) in rows.items() if other == symbol)
        found |= {name for energy, name in own[:most] if energy <= own[0][0] + window}
    return found


def relax_lowest(work: Path, potential: str, seconds: float) -> None:
    """Relax the crystals near the lowest of their element, until the time is up."""
    from crystalcodec.relaxation import relax

    rows = energies(work, potential)
    near = near_lowest(rows, WINDOW, MOST[potential])
    path = work / f"{potential}.relaxed.json"
    done: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    crystals, ids = elemental_crystals(work)
    wanted = [
        i for i in np.argsort(crystals.n_sites).tolist() if ids[i] in near and ids[i] not in done
    ]
    print(f"{len(done)} relaxed, {len(wanted)} to go")
    start, size = time.monotonic(), 4
    for at in range(0, len(wanted), size):
        if time.monotonic() - start > seconds:
            break
        part = wanted[at : at + size]
        found = relax(crystals[part], potential, **SETTINGS)
        done |= {ids[i]: None for i in part}
        for position, energy, converged in zip(
            found.positions.tolist(), found.energies, found.converged, strict=True
        ):
            done[ids[part[position]]] = [float(energy), bool(converged)]
        path.write_text(json.dumps(done))
    print(f"{sum(ids[i] not in done for i in wanted)} left")


def write(work: Path) -> None:
    """The file of the package from what was computed."""
    potentials: dict[str, Any] = {}
    for potential in POTENTIALS:
        if not (work / f"{potential}.energies.json").exists():
            continue
        rows = energies(work, potential)
        path = work / f"{potential}.relaxed.json"
        done = json.loads(path.read_text()) if path.exists() else {}
        found: dict[str, list[Any]] = {}
        tried: dict[str, int] = {}
        for name, (symbol, energy) in rows.items():
            tried[symbol] = tried.get(symbol, 0) + 1
            end = done.get(name)
            best = [name, end[0], True] if end else [name, energy, False]
            if symbol not in found or best[1] < found[symbol][1]:
                found[symbol] = best
        package = "chgnet" if potential.startswith("chgnet") else "sevenn"
        potentials[potential] = {
            "date": datetime.now(UTC).strftime("%Y-%m-%d"),
            "versions": {name: version(name) for name in (package, "torch", "crystalcodec")},
            "relaxed": SETTINGS if done else None,
            "tried_near": LIKE.get(potential),
            "n_relaxed": sum(end is not None for end in done.values()),
            "n_converged": sum(end is not None and end[1] for end in done.values()),
            "elements": {
                symbol: [one[0], round(one[1], 6), one[2], tried[symbol]]
                for symbol in SYMBOLS
                if (one := found.get(symbol))
            },
        }
    text = json.dumps({"source": SOURCE, "potentials": potentials}, indent=1)
    ELEMENTAL_REFERENCES.write_text(text + "\n", encoding="utf-8")
    for name, one in potentials.items():
        print(name, len(one["elements"]), "elements,", one["n_relaxed"], "relaxed")


def main() -> None:
    """Do one step."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step", choices=["energies", "relax", "write"])
    parser.add_argument("--potential", default="chgnet-0.3.0", choices=list(POTENTIALS))
    parser.add_argument("--work", type=Path, default=Path("runs/elemental_references"))
    parser.add_argument("--seconds", type=float, default=1e9)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    if options.step == "energies":
        start = time.process_time()
        found = energies(options.work, options.potential, options.seconds)
        print(f"{len(found)} crystals, {time.process_time() - start:.1f} s")
    elif options.step == "relax":
        relax_lowest(options.work, options.potential, options.seconds)
    else:
        write(options.work)


if __name__ == "__main__":
    main()
