"""Units of reading: which files, archive entries and table rows some sources come down to."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from crystalcodec.io.formats import ARCHIVES, checked_format, format_of
from crystalcodec.io.loaded import ReadError

__all__ = ["Member", "Sources", "list_members", "whole_files"]

Sources = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]

_ROWS: Final = 4096
_ENTRIES: Final = 2048


@dataclass(frozen=True, slots=True)
class Member:
    """A part of the sources that is read on its own, in any order and by any process.

    Parameters
    ----------
    path
        File on disk, as it was given or found.
    format
        Its format.
    start, stop
        Rows of a table, or entries of an archive, counted from 0; None: to the end.
    offset, line
        Where the first row of a CSV table starts, in decompressed bytes and in lines from 1.
    kinds
        Of the columns of a CSV table, as its whole file has them; empty where not looked at.
    """

    path: str
    format: str
    start: int = 0
    stop: int | None = None
    offset: int = 0
    line: int = 1
    kinds: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        """The part in words, the same in every run over the same files."""
        whole = self.start == 0 and self.stop is None
        end = "" if self.stop is None else str(self.stop)
        return self.path if whole else f"{self.path}!/{self.start}-{end}"


def list_members(sources: Sources, *, format: str | None = None) -> list[Member]:  # noqa: A002
    """Parts that sources come down to, in a fixed order, for parallel and resumable reading.

    Parameters
    ----------
    sources
        A file, a folder (with all folders in it), a glob pattern, or several of them. In a
        folder, files are taken that a name shows to be of a known format; hidden ones are left.
        A file found twice counts once.
    format
        Format of all files, where their names do not tell it.

    Raises
    ------
    ReadError
        A path that does not exist, a pattern without a match, a file of unknown format, or
        nothing to read at all.
    """
    return [
        part for whole in whole_files(sources, format) for part in _parts(whole.path, whole.format)
    ]


def whole_files(sources: Sources, format_: str | None) -> list[Member]:
    """The files that sources come down to, each as one part; see :func:`list_members`."""
    if format_ is not None:
        checked_format(format_)
    given = [sources] if isinstance(sources, str | os.PathLike) else list(sources)
    found: dict[str, str] = {}
    seen: set[str] = set()
    for source in given:
        for path in _files(os.fspath(source), format_):
            # ./a.cif is a.cif; a link to it is a file of its own.
            whole = os.path.abspath(path)  # noqa: PTH100
            if whole not in seen:
                seen.add(whole)
                found[path] = format_ or format_of(path) or ""
    unknown = [path for path, name in found.items() if not name]
    if unknown:
        raise ReadError(
            f"{unknown[0]}: the name tells no format; give it (cif, poscar, extxyz, ase-db, "
            "json, csv, parquet, zip, tar)"
        )
    if not found:
        raise ReadError(f"nothing to read in {', '.join(map(str, given)) or 'no sources'}")
    return [Member(path, name) for path, name in found.items()]


def _files(source: str, format_: str | None) -> list[str]:
    path = Path(source)
    if path.is_dir():
        inside = sorted(
            os.path.join(folder, name)  # noqa: PTH118
            for folder, folders, names in os.walk(path)
            for name in names
            if not name.startswith(".") and _visible(folders)
        )
        return [one for one in inside if format_ is not None or format_of(one)]
    if path.exists():
        return [source]
    if glob.has_magic(source):
        matches = sorted(glob.glob(source, recursive=True))  # noqa: PTH207
        files = [one for match in matches for one in _files(match, format_)]
        if files:
            return [one for one in files if format_ is not None or format_of(one)]
        raise ReadError(f"no file matches {source!r}")
    raise ReadError(f"{source}: no such file or folder")


def _visible(folders: list[str]) -> bool:
    """Take hidden folders out of a walk, and put the others in order."""
    folders[:] = sorted(folder for folder in folders if not folder.startswith("."))
    return True


def _parts(path: str, format_: str) -> list[Member]:
    """Parts of one file: ranges of a table or an archive, or the file itself.

    A file that cannot be taken apart is one part: reading it says what is wrong.
    """
    if format_ in ARCHIVES:
        from crystalcodec.io.archives import count_entries

        n = count_entries(path, format_)
        return _ranges(path, format_, n, _ENTRIES)
    if format_ == "parquet":
        from crystalcodec.io.tables import count_parquet_rows

        return _ranges(path, format_, count_parquet_rows(path), _ROWS)
    if format_ == "csv":
        from crystalcodec.io.tables import scan_csv

        starts, kinds = scan_csv(path, _ROWS)
        if len(starts) > 1:
            stops = [*(start[0] for start in starts[1:]), None]
            return [
                Member(path, format_, row, stop, offset, line, kinds)
                for (row, offset, line), stop in zip(starts, stops, strict=True)
            ]
        return [Member(path, format_, kinds=kinds)]
    return [Member(path, format_)]


def _ranges(path: str, format_: str, n: int, step: int) -> list[Member]:
    if n <= step:
        return [Member(path, format_)]
    return [Member(path, format_, start, min(start + step, n)) for start in range(0, n, step)]
