"""Make the small dataset that ships inside the package: about 2,000 crystals, some 90 prototypes.

Common structure types (``prototype_structures``) are decorated with chemically sensible elements
(``prototype_rules``), relaxed inside their symmetry (``prototype_relaxation``) and labelled
with the universal potential CHGNet 0.3.0. **Every label comes from a machine-learned potential,
none from DFT**, and nothing tests the crystals for dynamical stability: the dataset serves the
demo and the tests, not the discovery of materials.

CHGNet: DOI 10.1038/s42256-023-00716-3. One thread, one crystal at a time, a fixed seed: a second
run on the same machine with the same versions gives the same file. Finished relaxations are kept
in a folder, so that an interrupted run goes on where it stopped.

Usage::

    python scripts/make_prototypes.py                              # the whole dataset, 10 minutes
    python scripts/make_prototypes.py --limit 60 --out small.parquet
    python scripts/make_prototypes.py --verify 50                  # compare a sample, write nothing
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import sys
import tempfile
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

# One thread: the order of floating-point sums, and so the last digits, must not depend on load.
os.environ["OMP_NUM_THREADS"] = "1"

import moyopy
import numpy as np
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Composition, Lattice, Structure

from crystalcodec.crystals import Crystals
from crystalcodec.data import Dataset, DatasetMetadata
from crystalcodec.io import to_pymatgen
from prototype_chemistry import Candidate
from prototype_relaxation import (
    COORDINATE_DECIMALS,
    FORCE_GOAL,
    LATTICE_DECIMALS,
    MODEL,
    SHORTEST_DISTANCE,
    STRESS_GOAL,
    Potential,
    Relaxed,
    relax,
)
from prototype_rules import compound_candidates, elemental_candidates
from prototype_symmetry import template

OUT = Path(__file__).resolve().parents[1] / "src/crystalcodec/data/prototypes.parquet"
SEED = 20260
N_COMPOUNDS = 1850
#: No structure type gets more than this share of the compounds.
LARGEST_SHARE = 0.06
MAX_SITES = 20
#: The stored, rounded crystal must still pass these (eV/Å, GPa).
FORCE_LIMIT, STRESS_LIMIT = 0.02, 0.2
#: Tolerance (Å) of the test whether a crystal rose to a higher symmetry than its type's.
SYMMETRY_TOLERANCE = 0.02
#: Formation energies (eV/atom) outside this window belong to no sensible compound.
ENERGY_WINDOW = (-6.0, 1.0)
#: Decimals of the labels, in the order energy (eV/atom), density (g/cm³), volume (Å³/atom).
LABEL_DECIMALS = 4
REFERENCE_DECIMALS = 6
LABELS = ("formation_energy_per_atom", "density", "volume_per_atom")

UNITS = {"formation_energy_per_atom": "eV/atom", "density": "g/cm^3", "volume_per_atom": "Å^3"}
DESCRIPTIONS = {
    "prototype": "structure type that the crystal was made from",
    "formula": "reduced chemical formula",
    "formation_energy_per_atom": (
        f"CHGNet {MODEL} energy of the stored crystal minus CHGNet's energies of the elements; "
        "from a machine-learned potential, not from DFT"
    ),
    "density": f"mass density; the cell was relaxed with CHGNet {MODEL}, not with DFT",
    "volume_per_atom": f"volume per site; the cell was relaxed with CHGNet {MODEL}, not with DFT",
}
SOURCE = (
    "Made by this project (scripts/make_prototypes.py): common structure types decorated with "
    "chemically sensible elements, relaxed within their symmetry and labelled with the "
    f"machine-learned potential CHGNet {MODEL} (DOI 10.1038/s42256-023-00716-3). The labels come "
    "from a potential, not from DFT."
)


@dataclass(frozen=True)
class Row:
    """A crystal with the stored number of decimals and its CHGNet energy (eV/atom)."""

    candidate: Candidate
    structure: Structure
    energy: float

    @property
    def formula(self) -> str:
        """Reduced formula."""
        return str(self.structure.composition.reduced_formula)

    @property
    def id(self) -> str:
        """Readable and unique: the slug of the structure type, and the formula."""
        slug = re.sub(r"[^A-Za-z0-9]+", "-", self.candidate.prototype).strip("-")
        amounts = self.structure.composition.reduced_composition
        # From the least electronegative element on, and without the brackets of pymatgen.
        formula = "".join(
            f"{element.symbol}{int(amounts[element]) if amounts[element] > 1 else ''}"
            for element in sorted(amounts)
        )
        return f"{slug}-{formula}"


def chosen_candidates(limit: int | None) -> list[Candidate]:
    """The candidates of the dataset, the elements first, which every formation energy needs."""
    rng = np.random.default_rng(SEED)
    compounds = compound_candidates(N_COMPOUNDS, rng, LARGEST_SHARE)
    return elemental_candidates() + compounds[: len(compounds) if limit is None else limit]


def relax_all(
    potential: Potential, candidates: Iterable[Candidate], checkpoint: Path
) -> list[tuple[Candidate, Relaxed]]:
    """Relax the candidates that the checkpoint does not hold yet; all outcomes, in order."""
    done: dict[str, Relaxed] = {}
    if checkpoint.exists():
        # A run that was killed may have left half a line at the end: that one is made again.
        lines = checkpoint.read_text(encoding="utf-8").splitlines(keepends=True)
        whole = [line for line in lines if line.endswith("\n")]
        checkpoint.write_text("".join(whole), encoding="utf-8")
        done = {outcome.key: outcome for outcome in (Relaxed(**json.loads(x)) for x in whole)}
    outcomes = []
    with checkpoint.open("a", encoding="utf-8") as file:
        for i, candidate in enumerate(candidates):
            if candidate.key not in done:
                done[candidate.key] = relax(potential, candidate)
                file.write(json.dumps(asdict(done[candidate.key])) + "\n")
                file.flush()
                if i % 50 == 0:
                    print(f"relaxed {i}: {candidate.key}", file=sys.stderr)
            outcomes.append((candidate, done[candidate.key]))
    return outcomes


def label(potential: Potential, candidate: Candidate, outcome: Relaxed) -> Row | str:
    """The crystal as it will be stored with its energy, or the reason why it is left out."""
    if outcome.reason:
        return outcome.reason
    structure = outcome.structure()
    energy, force, stress = potential.public(structure)
    if force > FORCE_LIMIT or stress > STRESS_LIMIT:
        return "stored crystal not at rest"
    return Row(candidate, structure, energy)


def rose(row: Row) -> bool:
    """Whether a crystal relaxed to a symmetry that is higher than its structure type's."""
    shape = template(row.candidate.prototype)
    bare = Structure(Lattice(shape.lattice), row.structure.species, shape.coords)
    return symmetry_number(row.structure) != symmetry_number(bare)


def symmetry_number(structure: Structure) -> int:
    """Number of the space group."""
    cell = moyopy.Cell(
        structure.lattice.matrix.tolist(),
        structure.frac_coords.tolist(),
        [int(z) for z in structure.atomic_numbers],
    )
    return int(moyopy.MoyoDataset(cell, symprec=SYMMETRY_TOLERANCE).number)


def elemental_energies(rows: Iterable[Row]) -> dict[str, tuple[float, str]]:
    """Lowest CHGNet energy (eV/atom) of every element and the structure type that has it."""
    lowest: dict[str, tuple[float, str]] = {}
    for row in rows:
        elements = row.structure.composition.elements
        if len(elements) == 1:
            # Rounded as the file keeps them, so that its labels follow from its own table.
            entry = (round(row.energy, REFERENCE_DECIMALS), row.candidate.prototype)
            lowest[elements[0].symbol] = min(lowest.get(elements[0].symbol, entry), entry)
    return lowest


def formation_energy(row: Row, references: dict[str, tuple[float, str]]) -> float:
    """Formation energy (eV/atom) against CHGNet's own elements."""
    composition = row.structure.composition
    elements = sum(n * references[el.symbol][0] for el, n in composition.items())
    return float(row.energy - elements / composition.num_atoms)


def distinct(rows: Iterable[Row], dropped: Counter[str]) -> list[Row]:
    """One row per prototype and formula, and one per crystal, in the order of the candidates."""
    lowest: dict[tuple[str, str], Row] = {}
    rows = list(rows)
    for row in rows:
        name = (row.candidate.prototype, row.formula)
        if name not in lowest or row.energy < lowest[name].energy:
            lowest[name] = row
    kept = {id(row) for row in lowest.values()}
    dropped["same formula and prototype as a row of lower energy"] += len(rows) - len(kept)
    # Two types may relax to one crystal; the type with fewer free parameters gives it its name.
    by_formula: dict[str, list[Row]] = defaultdict(list)
    for row in sorted(lowest.values(), key=_freedom):
        by_formula[row.formula].append(row)
    matcher = StructureMatcher(ltol=0.05, stol=0.05, angle_tol=1.0, scale=False)
    for group in by_formula.values():
        unique: list[Row] = []
        for row in group:
            if any(matcher.fit(row.structure, other.structure) for other in unique):
                kept.discard(id(row))
                dropped["same crystal as a row of another prototype"] += 1
            else:
                unique.append(row)
    return [row for row in rows if id(row) in kept]


def _freedom(row: Row) -> int:
    shape = template(row.candidate.prototype)
    return len(shape.strains) + len(shape.shifts)


def assemble(outcomes: list[tuple[Candidate, Relaxed]], potential: Potential) -> Dataset:
    """Label, select and gather the rows, with everything that was left out counted by reason."""
    dropped: Counter[str] = Counter()
    rows: list[Row] = []
    for candidate, outcome in outcomes:
        row = label(potential, candidate, outcome)
        if isinstance(row, Row):
            rows.append(row)
        else:
            dropped[row] += 1
    references = elemental_energies(rows)
    sensible = []
    for row in rows:
        if any(el.symbol not in references for el in row.structure.composition.elements):
            dropped["no elemental reference"] += 1
        elif not ENERGY_WINDOW[0] <= formation_energy(row, references) <= ENERGY_WINDOW[1]:
            dropped["formation energy outside -6 to 1 eV/atom"] += 1
        elif rose(row):
            dropped["relaxed into another structure type of higher symmetry"] += 1
        elif len(row.structure) > MAX_SITES:
            dropped[f"more than {MAX_SITES} sites (elemental reference only)"] += 1
        else:
            sensible.append(row)
    kept = distinct(sensible, dropped)
    # Shuffled, so that the first rows of the file already show every kind of crystal.
    order = np.random.default_rng(SEED).permutation(len(kept))
    return as_dataset([kept[i] for i in order], references, dropped, len(outcomes))


def as_dataset(
    rows: list[Row],
    references: dict[str, tuple[float, str]],
    dropped: Counter[str],
    n_candidates: int,
) -> Dataset:
    """The rows as a dataset, with what is needed to judge and to make it again."""
    structures = [row.structure for row in rows]
    crystals = Crystals.concatenate(
        [
            Crystals.single(s.lattice.matrix, s.frac_coords, list(s.atomic_numbers))
            for s in structures
        ]
    )
    labels = np.array([labels_of(row, references) for row in rows])
    notes = {
        "warning": "labels come from the machine-learned potential CHGNet, not from DFT",
        "model": f"CHGNet {MODEL}",
        "doi": "10.1038/s42256-023-00716-3",
        "elemental_energies": {
            symbol: {"ev_per_atom": energy, "prototype": kind}
            for symbol, (energy, kind) in sorted(references.items())
        },
        "seed": SEED,
        "candidates": n_candidates,
        "relaxation": {
            "force_goal_ev_per_angstrom": FORCE_GOAL,
            "stress_goal_gpa": STRESS_GOAL,
            "shortest_distance_in_slater_radii": SHORTEST_DISTANCE,
            "symmetry": "kept as in the prototype; dynamical stability not tested",
        },
        "versions": {
            name: importlib.metadata.version(name)
            for name in ("chgnet", "torch", "pymatgen", "pymatgen-core", "moyopy", "numpy")
        }
        | {"python": platform.python_version()},
    }
    return Dataset(
        crystals,
        np.array([row.id for row in rows], dtype=object),
        {
            "prototype": np.array([row.candidate.prototype for row in rows], dtype=object),
            "formula": np.array([row.formula for row in rows], dtype=object),
            **dict(zip(LABELS, labels.T, strict=True)),
        },
        DatasetMetadata(
            units=UNITS,
            descriptions=DESCRIPTIONS,
            source=SOURCE,
            licence="MIT",
            failures={reason: n for reason, n in sorted(dropped.items()) if n},
            notes=notes,
        ),
    )


def labels_of(row: Row, references: dict[str, tuple[float, str]]) -> tuple[float, float, float]:
    """Formation energy (eV/atom), density (g/cm³) and volume per atom (Å³), rounded."""
    structure = row.structure
    values = (
        formation_energy(row, references),
        float(structure.density),
        structure.volume / len(structure),
    )
    energy, density, volume = (round(value, LABEL_DECIMALS) + 0.0 for value in values)
    return energy, density, volume


def verify(path: Path, n: int, potential: Potential) -> bool:
    """Recompute the labels of ``n`` rows from the stored crystals, and relax them again.

    Returns whether all of them came out as stored, to the stored decimals.
    """
    dataset = Dataset.read(path, verify=True)
    references = {
        symbol: (entry["ev_per_atom"], entry["prototype"])
        for symbol, entry in dataset.metadata.notes["elemental_energies"].items()
    }
    makers: dict[tuple[str, str], list[Candidate]] = defaultdict(list)
    for candidate in chosen_candidates(None):
        counts = template(candidate.prototype).counts
        formula = Composition(
            {element: counts[role] for role, element in candidate.elements}
        ).reduced_formula
        makers[candidate.prototype, formula].append(candidate)
    sample = np.sort(np.random.default_rng(SEED).permutation(len(dataset))[:n])
    label_error = cell_error = site_error = 0.0
    for i, structure in zip(sample, to_pymatgen(dataset.crystals[sample]), strict=True):
        kind, formula = (str(dataset.properties[c][i]) for c in ("prototype", "formula"))
        candidates = makers[kind, formula]
        row = Row(candidates[0], structure, potential.public(structure)[0])
        stored = [dataset.properties[name][i] for name in LABELS]
        label_error = max(label_error, *np.abs(np.subtract(labels_of(row, references), stored)))
        again = [relax(potential, candidate) for candidate in candidates]
        fresh = min((r for r in again if not r.reason), key=lambda r: r.energy).structure()
        change = np.abs(fresh.frac_coords - structure.frac_coords)
        cell_error = max(
            cell_error, float(np.abs(fresh.lattice.matrix - structure.lattice.matrix).max())
        )
        site_error = max(site_error, float(np.minimum(change, 1.0 - change).max()))
    print(
        f"{len(sample)} rows: largest differences: labels {label_error:.1e}, lattice "
        f"{cell_error:.1e} Å, fractional coordinates {site_error:.1e}"
    )
    # One unit of the last stored decimal: a sum that falls on the edge may round either way.
    return bool(
        label_error <= 1.01 * 10.0**-LABEL_DECIMALS
        and cell_error <= 1.01 * 10.0**-LATTICE_DECIMALS
        and site_error <= 1.01 * 10.0**-COORDINATE_DECIMALS
    )


def checkpoint_path(folder: Path) -> Path:
    """File of finished relaxations, named by what they depend on: code, model and versions."""
    digest = hashlib.sha256()
    for module in ("prototype_structures", "prototype_symmetry", "prototype_relaxation"):
        digest.update(Path(__file__).with_name(f"{module}.py").read_bytes())
    for package in ("chgnet", "torch", "numpy", "moyopy"):
        digest.update(importlib.metadata.version(package).encode())
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"relaxed-{digest.hexdigest()[:12]}.jsonl"


def main() -> int:
    """Make the dataset, or verify the one that is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=OUT, help="the Parquet file")
    parser.add_argument(
        "--work",
        type=Path,
        default=Path(tempfile.gettempdir()) / "crystalcodec-prototypes",
        help="folder of finished relaxations; an interrupted run goes on from it",
    )
    parser.add_argument("--limit", type=int, help="only so many compounds, beside the elements")
    parser.add_argument("--verify", type=int, metavar="N", help="check N rows of the file instead")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", module="chgnet|pymatgen")
    potential = Potential()
    if options.verify is not None:
        return 0 if verify(options.out, options.verify, potential) else 1
    candidates = chosen_candidates(options.limit)
    outcomes = relax_all(potential, candidates, checkpoint_path(options.work))
    dataset = assemble(outcomes, potential).write(options.out)
    print(
        f"{len(dataset)} crystals of {len(candidates)} candidates, "
        f"{options.out.stat().st_size / 1e6:.2f} MB: {options.out}"
    )
    for reason, count in dataset.metadata.failures.items():
        print(f"  {count:5d} left out: {reason}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
