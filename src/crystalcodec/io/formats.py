"""Which format a file has, by its name, and which function reads it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Final

from crystalcodec.io.loaded import ReadError
from crystalcodec.registry import did_you_mean

__all__ = [
    "ARCHIVES",
    "RECORDS",
    "TEXTS",
    "WRITERS",
    "checked_format",
    "format_of",
    "stem_of",
]

TEXTS: Final[Mapping[str, str]] = {
    "cif": "crystalcodec.io.cif:add_cif",
    "poscar": "crystalcodec.io.poscar:add_poscar",
}
"""Formats of small texts: a function that adds the crystals of one text to records."""

RECORDS: Final[Mapping[str, str]] = {
    "extxyz": "crystalcodec.io.extxyz:read_extxyz",
    "ase-db": "crystalcodec.io.ase_db:read_ase_db",
    "json": "crystalcodec.io.structure_json:read_json",
    "csv": "crystalcodec.io.tables:read_csv",
    "parquet": "crystalcodec.io.tables:read_parquet",
}
"""Formats of many records: a function that adds them to records one after another."""

ARCHIVES: Final = ("zip", "tar")
"""Formats that hold files of the others."""

WRITERS: Final[Mapping[str, str]] = {
    "cif": "crystalcodec.io.writing:cif_texts",
    "poscar": "crystalcodec.io.writing:poscar_texts",
    "extxyz": "crystalcodec.io.extxyz:write_extxyz",
    "ase-db": "crystalcodec.io.ase_db:write_ase_db",
    "json": "crystalcodec.io.structure_json:write_json",
}
"""Formats that can be written; those of :data:`TEXTS` as texts, the others as a file."""

_ENDINGS: Final[Mapping[str, str]] = {
    ".cif": "cif",
    ".mcif": "cif",
    ".poscar": "poscar",
    ".contcar": "poscar",
    ".vasp": "poscar",
    ".extxyz": "extxyz",
    ".xyz": "extxyz",
    ".db": "ase-db",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".csv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".zip": "zip",
    ".tar": "tar",
    ".tgz": "tar",
}
# POSCAR, CONTCAR.gz, POSCAR.GaAs, neb_00_POSCAR; not the script that makes them.
_POSCAR: Final = re.compile(r"POSCAR|CONTCAR")
_NO_POSCAR: Final = {
    *".py .sh .md .png .jpg .svg .pdf .html .log .out .xml .yaml .yml .toml .h5 .xz .bz2".split(),
}


def format_of(name: str) -> str | None:
    """Format of a file by its name alone; None where the name says nothing.

    >>> format_of("run/POSCAR.GaAs"), format_of("a.cif.gz"), format_of("notes.txt")
    ('poscar', 'cif', None)
    """
    path = PurePath(name)
    if path.suffix.lower() == ".gz":
        path = path.with_suffix("")
    ending = path.suffix.lower()
    if ending in _ENDINGS:
        return _ENDINGS[ending]
    named = _POSCAR.search(path.name) or path.name in ("poscar", "contcar")
    return "poscar" if named and path.suffix not in _NO_POSCAR else None


def stem_of(name: str) -> str:
    """Name of a file without its folder and its known endings: what its crystal is called.

    >>> stem_of("dir/mp-123.cif.gz"), stem_of("POSCAR.GaAs")
    ('mp-123', 'POSCAR.GaAs')
    """
    path = PurePath(name)
    if path.suffix.lower() == ".gz":
        path = path.with_suffix("")
    return path.stem if path.suffix.lower() in _ENDINGS else path.name


def checked_format(name: str, *, writable: bool = False) -> str:
    """The name of a format, where there is one.

    Raises
    ------
    ReadError
        Names the formats that there are, the nearest first.
    """
    known = [*WRITERS] if writable else [*TEXTS, *RECORDS, *ARCHIVES]
    if name not in known:
        raise ReadError(f"unknown format {name!r}{did_you_mean(name, known)}")
    return name
