"""The datasets that the shipped predictors are trained and measured on.

Joins MP-20 with the wider tables of the Materials Project by material, so that one training can
learn several properties at once. Rows of MP-20 ``val`` are in ``mp_val.parquet`` and nowhere else:
no label of theirs, of any release or property, is in ``mp_train.parquet``. Labels of different
corrections stand in different columns and are never mixed.

    python benchmarks/training_data.py --data ../shared/data --out runs/data
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from crystalcodec.crystals import Crystals
from crystalcodec.data import Dataset, import_dataset

# Column here -> columns it is taken from, the first that has a value: (of MP-20, of the tables).
COLUMNS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "formation_energy_per_atom": (
        ("formation_energy_per_atom",),
        ("formation_energy_per_atom_2021",),
    ),
    "formation_energy_per_atom_2019": ((), ("formation_energy_per_atom_2019",)),
    "band_gap": (("band_gap",), ("band_gap_2021",)),
    "band_gap_2020": ((), ("band_gap_2020",)),
    "e_above_hull": (("e_above_hull",), ("e_above_hull_2021",)),
    "bulk_modulus_vrh": ((), ("bulk_modulus_vrh",)),
    "shear_modulus_vrh": ((), ("shear_modulus_vrh",)),
    "magnetization": ((), ("magnetization_muB_per_A3",)),
}
UNITS = {
    "formation_energy_per_atom": "eV/atom",
    "formation_energy_per_atom_2019": "eV/atom",
    "band_gap": "eV",
    "band_gap_2020": "eV",
    "e_above_hull": "eV/atom",
    "bulk_modulus_vrh": "GPa",
    "shear_modulus_vrh": "GPa",
    "magnetization": "µB/Å³",
}
SOURCE = "Materials Project (Jain et al., 10.1063/1.4812323): MP-20 and tables joined by material"
LICENCE = "CC BY 4.0"


def main() -> None:
    """Write mp_train.parquet and mp_val.parquet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("runs/data"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    parts = {
        "train": arguments.data / "mp20/train.csv.gz",
        "val": arguments.data / "mp20/val.csv.gz",
        "tables": arguments.data / "mp/mp.parquet",
    }
    read = {}
    for name, path in parts.items():
        imported = arguments.out / f"imported_{name}.parquet"
        import_dataset(path, imported, force=True)
        read[name] = Dataset.read(imported)
        imported.unlink()
    tables = read["tables"]
    held_out = {*read["val"].ids.tolist()}
    split = np.asarray(tables.column("mp20_split"), object)
    held_out |= {*tables.ids[split == "val"].tolist()}
    if overlap := held_out & {*read["train"].ids.tolist()}:
        raise SystemExit(f"{len(overlap)} materials are in both train and val: wanted none")
    for name in ("train", "val"):
        joined = _join(read[name], tables, held_out, more=name == "train")
        path = arguments.out / f"mp_{name}.parquet"
        joined.write(path)
        counts = {c: int(np.isfinite(joined.numeric(c)).sum()) for c in COLUMNS}
        print(
            f"{path}: {len(joined):,} crystals; "
            + ", ".join(f"{c} {n:,}" for c, n in counts.items())
        )


def _join(mp20: Dataset, tables: Dataset, held_out: set[str], *, more: bool) -> Dataset:
    """Crystals of MP-20 with the labels of both; ``more`` adds those that only the tables have."""
    row = {one: i for i, one in enumerate(tables.ids.tolist())}
    there = np.array([row.get(one, -1) for one in mp20.ids.tolist()])
    others = np.zeros(0, np.int64)
    if more:
        known = {*mp20.ids.tolist()} | held_out
        others = np.array([i for one, i in row.items() if one not in known])
    crystals = Crystals.concatenate([mp20.crystals, tables.crystals[others]])
    properties = {}
    for name, (ours, theirs) in COLUMNS.items():
        values = np.full(len(crystals), np.nan)
        for column in ours:
            values[: len(mp20)] = mp20.numeric(column)
        for column in theirs:
            found = np.append(tables.numeric(column), np.nan)
            values = np.where(np.isnan(values), found[np.append(there, others)], values)
        properties[name] = values
    return Dataset.from_crystals(
        crystals,
        [*mp20.ids, *tables.ids[others]],
        properties,
        units=UNITS,
        source=SOURCE,
        licence=LICENCE,
    )


if __name__ == "__main__":
    main()
