"""Writing crystals: one file of many records, or a folder of files."""

from __future__ import annotations

import gzip
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from crystalcodec.crystals import Crystals
from crystalcodec.elements import SYMBOLS
from crystalcodec.io.formats import TEXTS, WRITERS, checked_format, format_of
from crystalcodec.io.loaded import ReadError
from crystalcodec.io.whole import whole_file
from crystalcodec.registry import load

__all__ = ["cif_texts", "poscar_texts", "write"]


def write(
    crystals: Crystals,
    path: str | os.PathLike[str],
    *,
    format: str | None = None,  # noqa: A002
    ids: Sequence[str] | None = None,
    properties: Mapping[str, Sequence[Any]] | None = None,
) -> None:
    """Write crystals to a file, or to a folder of one CIF or POSCAR each.

    All numbers are written with the digits that give the same float64 again. POSCAR, extxyz, ASE
    db and JSON keep the lattice as it is; a CIF holds cell parameters only, so that its reader
    turns the frame (a left-handed cell is made right-handed first; no atom moves beside another).
    extxyz and ASE db hold Cartesian coordinates: fractional ones come back to rounding.

    Parameters
    ----------
    crystals
        What to write.
    path
        A file (``all.cif``, ``a.poscar``, ``x.extxyz``, ``x.db``, ``x.json``; ``.gz`` may
        follow, but for ``.db``) or, without a known ending, a folder of ``ID.cif`` or
        ``ID.poscar``. Files appear whole or not at all.
    format
        ``cif``, ``poscar``, ``extxyz``, ``ase-db`` or ``json``; by default what the ending
        says, and ``cif`` for a folder.
    ids
        One a crystal: names of files and blocks; by default their positions.
    properties
        By name, one value a crystal, None where missing: for extxyz, ASE db and JSON.

    Raises
    ------
    ReadError
        An unknown format, several crystals for one POSCAR, or ids or properties that are not one
        a crystal.
    OSError
        The file could not be written.
    """
    target = Path(path)
    named = format_of(target.name)
    chosen = checked_format(format or named or "cif", writable=True)
    _check_lengths(crystals, ids, properties)
    folder = named is None and chosen in TEXTS and (target.is_dir() or not target.suffix)
    if folder:
        return _write_folder(crystals, target, chosen, ids)
    if chosen in TEXTS:
        if chosen == "poscar" and len(crystals) != 1:
            raise ReadError(
                f"{len(crystals)} crystals for {target}, and a POSCAR holds one: give a folder"
            )
        _write_text(target, "".join(load(WRITERS, chosen)(crystals, _names(crystals, ids))))
        return None
    with whole_file(target) as temporary:
        load(WRITERS, chosen)(crystals, temporary, ids, dict(properties or {}))
        if target.suffix.lower() == ".gz":
            temporary.write_bytes(gzip.compress(temporary.read_bytes(), mtime=0))
    return None


def _check_lengths(
    crystals: Crystals,
    ids: Sequence[str] | None,
    properties: Mapping[str, Sequence[Any]] | None,
) -> None:
    columns = {"ids": ids, **(properties or {})}
    for name, column in columns.items():
        if column is not None and len(column) != len(crystals):
            raise ReadError(
                f"{len(column)} entries in {name} for {len(crystals)} crystals: wanted one each"
            )


def _names(crystals: Crystals, ids: Iterable[str] | None) -> list[str]:
    """Names without blanks and separators, each once whatever case counts."""
    wanted = map(str, range(len(crystals))) if ids is None else ids
    taken: set[str] = set()
    names = []
    for one in wanted:
        bare = re.sub(r"[^\w.+()\[\]-]", "_", one, flags=re.ASCII).lstrip(".")[:180] or "crystal"
        name, again = bare, 1
        while name.lower() in taken:
            again += 1
            name = f"{bare}_{again}"
        taken.add(name.lower())
        names.append(name)
    return names


def _write_folder(
    crystals: Crystals, folder: Path, format_: str, ids: Sequence[str] | None
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    names = _names(crystals, ids)
    for name, text in zip(names, load(WRITERS, format_)(crystals, names), strict=True):
        _write_text(folder / f"{name}.{format_}", text)


def _write_text(path: Path, text: str) -> None:
    data = text.encode()
    with whole_file(path) as temporary:
        packed = path.suffix.lower() == ".gz"
        temporary.write_bytes(gzip.compress(data, mtime=0) if packed else data)


def cif_texts(crystals: Crystals, names: Sequence[str]) -> Iterable[str]:
    """A data block for each crystal, in P 1, with all digits."""
    kept = crystals.right_handed()
    cells = kept.cell_parameters
    for i, (crystal, name, formula) in enumerate(zip(kept, names, kept.formulas, strict=True)):
        numbers = crystal.numbers.tolist()
        z, counts = np.unique(crystal.numbers, return_counts=True)
        parts = zip(z.tolist(), counts.tolist(), strict=True)
        total = " ".join(f"{SYMBOLS[one]}{count}" for one, count in parts)
        a, b, c, alpha, beta, gamma = (repr(value) for value in cells[i].tolist())
        sites = "\n".join(
            f"{SYMBOLS[one]} {SYMBOLS[one]}{site} {x!r} {y!r} {z!r} 1"
            for site, (one, (x, y, z)) in enumerate(
                zip(numbers, crystal.frac_coords.tolist(), strict=True)
            )
        )
        yield (
            f"data_{name}\n"
            f"_chemical_formula_structural '{formula}'\n"
            f"_chemical_formula_sum '{total}'\n"
            f"_cell_length_a {a}\n_cell_length_b {b}\n_cell_length_c {c}\n"
            f"_cell_angle_alpha {alpha}\n_cell_angle_beta {beta}\n_cell_angle_gamma {gamma}\n"
            f"_cell_volume {float(kept.volumes[i])!r}\n"
            "_symmetry_space_group_name_H-M 'P 1'\n"
            "_symmetry_Int_Tables_number 1\n"
            "loop_\n_symmetry_equiv_pos_site_id\n_symmetry_equiv_pos_as_xyz\n1 'x, y, z'\n"
            "loop_\n_atom_site_type_symbol\n_atom_site_label\n_atom_site_fract_x\n"
            "_atom_site_fract_y\n_atom_site_fract_z\n_atom_site_occupancy\n"
            f"{sites}\n\n"
        )


def poscar_texts(crystals: Crystals, names: Sequence[str]) -> Iterable[str]:
    """A POSCAR (VASP 5) for each crystal, fractional coordinates, all digits.

    Sites keep their order: an element that comes back later in the list gets a second column.
    """
    for crystal, name in zip(crystals, names, strict=True):
        numbers = crystal.numbers
        starts = np.flatnonzero(np.diff(numbers, prepend=0))
        counts = np.diff(np.append(starts, len(numbers)))
        symbols = [SYMBOLS[z] for z in numbers[starts].tolist()]
        rows = [
            "  ".join(map(repr, row))
            for row in (*crystal.lattices[0].tolist(), *crystal.frac_coords.tolist())
        ]
        yield "\n".join(
            [
                name,
                "1.0",
                *rows[:3],
                " ".join(symbols),
                " ".join(map(str, counts.tolist())),
                "Direct",
                *rows[3:],
                "",
            ]
        )
