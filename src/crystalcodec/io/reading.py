"""Reading: files, folders, patterns and archives of any known format to crystals."""

from __future__ import annotations

import io
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from crystalcodec.io.formats import ARCHIVES, RECORDS, TEXTS, checked_format, stem_of
from crystalcodec.io.loaded import MIN_DISTANCE, Loaded, ReadError, Records
from crystalcodec.io.members import Member, Sources, whole_files
from crystalcodec.io.streams import MAX_TEXT_BYTES, DamagedError, decompressed, text_of
from crystalcodec.registry import load

__all__ = ["Options", "Part", "iter_read", "read", "read_member", "read_text"]

_BATCH: Final = 1024
# What damaged bytes make the standard library raise.
_UNREADABLE: Final = (
    OSError,
    EOFError,
    zlib.error,
    zipfile.BadZipFile,
    tarfile.TarError,
    UnicodeError,
)


@dataclass(frozen=True, slots=True)
class Options:
    """How records are read.

    Parameters
    ----------
    structure_column, id_column
        Columns of tables; None: found by their names.
    min_distance
        Å; a crystal with two atoms closer than this is a failure.
    batch_size
        Most crystals at once.
    """

    structure_column: str | None = None
    id_column: str | None = None
    min_distance: float = MIN_DISTANCE
    batch_size: int = _BATCH


@dataclass(frozen=True, slots=True)
class Part:
    """A file or an archive entry that is being read.

    Parameters
    ----------
    format
        Its format.
    source
        What it is called in failures and sources.
    member
        The rows that are wanted.
    """

    format: str
    source: str
    member: Member

    @property
    def archived(self) -> bool:
        """Whether it is an entry of an archive."""
        return self.source != self.member.path

    @property
    def name(self) -> str:
        """Id of its crystal, where it holds only one and names none."""
        return stem_of(self.source.rpartition("!/")[2])


def read(
    sources: Sources,
    *,
    format: str | None = None,  # noqa: A002
    structure_column: str | None = None,
    id_column: str | None = None,
    min_distance: float = MIN_DISTANCE,
    strict: bool = False,
) -> Loaded:
    """Read crystals from files, folders, glob patterns and archives.

    Parameters
    ----------
    sources
        One or several paths or patterns; see :func:`crystalcodec.io.list_members`.
    format
        ``cif``, ``poscar``, ``extxyz``, ``ase-db``, ``json``, ``csv``, ``parquet``, ``zip`` or
        ``tar``, where names do not tell it.
    structure_column, id_column
        Columns of tables; without them the usual names are looked for.
    min_distance
        Å; a crystal with two atoms closer than this is a failure. 0: no such check.
    strict
        Make the first failure an error.

    Returns
    -------
    Loaded
        All crystals, and a failure for each record that could not be read: one bad file never
        stops the rest.

    Raises
    ------
    ReadError
        A missing path, an unknown format, nothing to read; in strict mode, the first failure.
    """
    return Loaded.concatenate(
        iter_read(
            sources,
            format=format,
            structure_column=structure_column,
            id_column=id_column,
            min_distance=min_distance,
            strict=strict,
        )
    )


def iter_read(
    sources: Sources,
    *,
    format: str | None = None,  # noqa: A002
    structure_column: str | None = None,
    id_column: str | None = None,
    min_distance: float = MIN_DISTANCE,
    strict: bool = False,
    batch_size: int = _BATCH,
) -> Iterator[Loaded]:
    """Read as :func:`read` does, in batches of at most ``batch_size`` crystals.

    Memory does not grow with the input, but for single files of pymatgen JSON that are no list.
    """
    if batch_size < 1:
        raise ReadError(f"batch_size {batch_size}: wanted 1 or more")
    options = Options(structure_column, id_column, min_distance, batch_size)
    members = whole_files(sources, format)
    for loaded in _rebatched(_loaded(members, options), batch_size):
        yield loaded.strictly() if strict else loaded


def read_member(
    member: Member,
    *,
    structure_column: str | None = None,
    id_column: str | None = None,
    min_distance: float = MIN_DISTANCE,
    batch_size: int = _BATCH,
) -> Iterator[Loaded]:
    """Read one part of some sources, in batches; parameters as of :func:`iter_read`."""
    options = Options(structure_column, id_column, min_distance, batch_size)
    return _rebatched(_loaded([member], options), batch_size)


def read_text(
    text: str,
    format: str,  # noqa: A002
    *,
    source: str = "",
    min_distance: float = MIN_DISTANCE,
) -> Loaded:
    """Crystals of a text: ``cif``, ``poscar``, ``extxyz``, ``json`` or ``csv``.

    Parameters
    ----------
    text
        The text.
    format
        Its format.
    source
        What it is called in failures.
    min_distance
        Å; a crystal with two atoms closer than this is a failure.

    Raises
    ------
    ReadError
        A format that is unknown, or no text.

    Examples
    --------
    >>> read_text("salt", "poscar").failures[0].reason
    'not a POSCAR'
    """
    if checked_format(format) in (*ARCHIVES, "parquet", "ase-db"):
        raise ReadError(f"{format} is no text: write it to a file and read that")
    options = Options(min_distance=min_distance)
    if format in TEXTS:
        records = Records()
        load(TEXTS, format)(records, text, index=None, name=None, source=source)
        return records.finish(min_distance)
    stream = io.BytesIO(text.encode("utf-8", "surrogateescape"))
    part = Part(format, source, Member(source, format))
    records = Records()
    for _ in _added(records, stream, part, options):
        pass
    return records.take(options.min_distance)


def _loaded(members: Iterable[Member], options: Options) -> Iterator[Loaded]:
    """What members hold; records of many small files are checked together."""
    records, size = Records(), 0
    for member in members:
        for part, stream in _parts(member):
            for length in _added(records, stream, part, options):
                size += length
                if len(records) >= options.batch_size or size > MAX_TEXT_BYTES // 2:
                    yield records.take(options.min_distance)
                    size = 0
    if len(records):
        yield records.finish(options.min_distance)


def _added(
    records: Records, stream: IO[bytes] | DamagedError, part: Part, options: Options
) -> Iterator[int]:
    """Add the records of a file one after another, giving the size of the text of each.

    Bytes that no reader can go on with end in a failure, after the records before them.
    """
    before = records.taken + len(records)
    try:
        if isinstance(stream, DamagedError):
            raise stream
        if part.format in TEXTS:
            text = text_of(stream)
            add = load(TEXTS, part.format)
            add(records, text, index=None, name=part.name, source=part.source)
            yield len(text)
        else:
            for _ in load(RECORDS, part.format)(records, stream, part, options):
                yield 0
    except ReadError:
        raise
    except Exception as error:
        reason, detail = _told(error)
        done = records.taken + len(records) - before
        records.fail(reason, detail, index=part.member.start + done, source=part.source)
        yield 0


def _told(error: Exception) -> tuple[str, str]:
    """Reason and detail of an error that ends the reading of a file, of whatever origin.

    One bad file never stops the rest, so that nothing may escape here.
    """
    if isinstance(error, DamagedError):
        return error.reason, error.detail
    if isinstance(error, _UNREADABLE):
        return "damaged file", f"{error}: get it again, or repair it"
    return (
        "reader error",
        f"{type(error).__name__}: {error}: not foreseen, please report it with the file",
    )


def _parts(member: Member) -> Iterator[tuple[Part, IO[bytes] | DamagedError]]:
    """Files of a member with their bytes, or with the reason why there are none."""
    if member.format in ARCHIVES:
        from crystalcodec.io.archives import entries

        for name, format_, stream in entries(member):
            source = f"{member.path}!/{name}" if name else member.path
            yield Part(format_, source, Member(member.path, format_)), stream
        return
    part = Part(member.format, member.path, member)
    with ExitStack() as stack:
        try:
            stream = stack.enter_context(_opened(member.path))
        except OSError as error:
            yield part, DamagedError("unreadable file", error.strerror or str(error))
            return
        yield part, stream


@contextmanager
def _opened(path: str) -> Iterator[IO[bytes]]:
    with Path(path).open("rb") as raw:
        yield decompressed(raw, path)


def _rebatched(parts: Iterable[Loaded], batch_size: int) -> Iterator[Loaded]:
    """The same crystals in batches as large as they may be."""
    held: list[Loaded] = []
    n = 0
    for part in parts:
        held.append(part)
        n += part.n
        if n < batch_size:
            continue
        whole = Loaded.concatenate(held)
        first = True
        for start in range(0, max(len(whole.crystals), 1), batch_size):
            batch = whole[start : start + batch_size] if batch_size < len(whole.crystals) else whole
            if first and batch is not whole:
                batch = Loaded(
                    batch.crystals, batch.ids, batch.sources, batch.properties, whole.failures
                )
            first = False
            yield batch
        held, n = [], 0
    if held:
        yield Loaded.concatenate(held)
