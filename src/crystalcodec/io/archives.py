"""Entries of zip and tar archives, read where they are: nothing is ever written to disk.

An entry whose name leads out of the archive, a link, a device, an encrypted entry, an archive
inside the archive, and whatever goes beyond the limits of :mod:`crystalcodec.io.streams` are
refused by name; the entries beside it are read.
"""

from __future__ import annotations

import gzip
import io
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Final

from crystalcodec.io.formats import ARCHIVES, format_of
from crystalcodec.io.members import Member
from crystalcodec.io.streams import (
    MAX_ENTRIES,
    MAX_ENTRY_BYTES,
    MAX_TOTAL_BYTES,
    MIB,
    DamagedError,
    Limited,
    check_ratio,
    decompressed,
)

__all__ = ["count_entries", "entries"]

Entry = tuple[str, str, "IO[bytes] | DamagedError"]

_BROKEN: Final = (
    zipfile.BadZipFile,
    tarfile.TarError,
    gzip.BadGzipFile,
    zlib.error,
    OSError,
    EOFError,
    ValueError,
    RuntimeError,
    NotImplementedError,
)


def count_entries(path: str, format_: str) -> int:
    """Number of entries of an archive; 0 where it cannot be told: reading says why."""
    try:
        if format_ == "zip":
            with zipfile.ZipFile(path) as archive:
                return len(archive.infolist())
        with _opened_tar(path) as tar:
            n = 0
            for _ in tar:
                n += 1
                tar.members.clear()  # type: ignore[attr-defined]  # it would keep them all
                if n > MAX_ENTRIES:
                    break
            return n
    except (*_BROKEN, DamagedError):
        return 0


def entries(member: Member) -> Iterator[Entry]:
    """Name, format and bytes of each file of an archive that has a known format.

    Where an entry is refused a :class:`DamagedError` stands for its bytes; where the archive
    itself is damaged, the name is empty.
    """
    walk = _zip_entries if member.format == "zip" else _tar_entries
    found = False
    try:
        for entry in walk(member):
            found = True
            yield entry
    except DamagedError as error:
        yield "", member.format, error
    except _BROKEN as error:
        detail = f"{error}: get the archive again, or repair it"
        yield "", member.format, DamagedError("damaged archive", detail)
    else:
        if not found and member.start == 0 and member.stop is None:
            nothing = DamagedError("no readable file", "no file of a known format in the archive")
            yield "", member.format, nothing


def _zip_entries(member: Member) -> Iterator[Entry]:
    with zipfile.ZipFile(member.path) as archive:
        infos = archive.infolist()
        _check_count(len(infos))
        total = 0
        for info in infos[member.start : member.stop]:
            format_ = _wanted(info.filename, info.is_dir())
            if format_ is None:
                continue
            total += info.file_size
            refused = _refuse_name(info.filename, format_) or _refuse_size(
                info.file_size, total, info.compress_size
            )
            if stat.S_ISLNK(info.external_attr >> 16):
                refused = DamagedError("link in archive", "links are not followed: add the file")
            elif info.flag_bits & 1:
                refused = DamagedError("encrypted entry", "unpack the archive with its password")
            if refused is not None:
                yield info.filename, format_, refused
                continue
            try:
                stream = archive.open(info)
            except _BROKEN as error:
                yield info.filename, format_, DamagedError("damaged archive", str(error))
                continue
            with stream:
                yield (
                    info.filename,
                    format_,
                    _unpacked(stream, info.filename, info.file_size),
                )


def _tar_entries(member: Member) -> Iterator[Entry]:
    total = 0
    with _opened_tar(member.path) as tar:
        for n, info in enumerate(tar):
            tar.members.clear()  # type: ignore[attr-defined]  # it would keep them all
            _check_count(n)
            total += max(info.size, 0)
            if member.stop is not None and n >= member.stop:
                return
            format_ = _wanted(info.name, info.isdir())
            if n < member.start or format_ is None:
                continue
            refused = _refuse_name(info.name, format_) or _refuse_size(info.size, total, None)
            if info.issym() or info.islnk():
                detail = f"it points to {info.linkname!r}, and links are not followed: add the file"
                refused = DamagedError("link in archive", detail)
            elif not info.isfile():
                refused = DamagedError("not a file", "a device or a pipe, not a file")
            stream = None if refused is not None else tar.extractfile(info)
            if stream is None:
                yield info.name, format_, refused or DamagedError("not a file", "no bytes")
                continue
            yield info.name, format_, _unpacked(stream, info.name, info.size)
        if tar.fileobj is not None and tar.fileobj.tell() <= tar.offset:
            raise DamagedError(
                "cut off", "the archive has no end mark, so entries may be missing: get it again"
            )


@contextmanager
def _opened_tar(path: str) -> Iterator[tarfile.TarFile]:
    """A tar opened as a stream: entry after entry, forwards only."""
    with Path(path).open("rb") as raw:
        zipped = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        stream = decompressed(raw, "a.gz" if zipped else "a.tar")
        with tarfile.open(fileobj=stream, mode="r|") as tar:
            yield tar


def _wanted(name: str, folder: bool) -> str | None:
    """Format of an entry that is to be read or refused; None for one that is passed over."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if folder or not parts or parts[0] == "__MACOSX":
        return None
    if any(part.startswith(".") and part.strip(".") for part in parts):
        return None
    return format_of(name)


def _refuse_name(name: str, format_: str) -> DamagedError | None:
    path = name.replace("\\", "/")
    if path.startswith("/") or ".." in path.split("/") or re.match(r"[A-Za-z]:", path):
        return DamagedError(
            "path leaves the archive", f"entry {name!r} names a place outside: pack it again"
        )
    if format_ in ARCHIVES:
        return DamagedError("archive inside an archive", "unpack the outer one first")
    return None


def _refuse_size(size: int, total: int, compressed: int | None) -> DamagedError | None:
    for got, most, what in (
        (size, MAX_ENTRY_BYTES, "entry"),
        (total, MAX_TOTAL_BYTES, "archive up to here"),
    ):
        if got > most:
            return DamagedError(
                "decompression limit", f"the {what} has {got} bytes, at most {most} are accepted"
            )
    try:
        if compressed is not None:
            check_ratio(size, compressed)
    except DamagedError as error:
        return error
    return None


def _check_count(n: int) -> None:
    if n > MAX_ENTRIES:
        raise DamagedError(
            "decompression limit", f"more than {MAX_ENTRIES} entries: unpack it in parts"
        )


def _unpacked(stream: IO[bytes], name: str, size: int) -> IO[bytes]:
    """Bytes of an entry, all that were promised, decompressed where the entry is itself so."""
    limited = Limited(stream, MAX_ENTRY_BYTES, f"entry {name}", promised=size)
    return decompressed(io.BufferedReader(limited, MIB), name)
