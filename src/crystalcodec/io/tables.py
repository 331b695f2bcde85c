"""Tables with a structure column (CIF, POSCAR or JSON), and this library's own Parquet datasets."""

from __future__ import annotations

import csv
import io
import json
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import numpy as np

from crystalcodec.io.cif import add_cif
from crystalcodec.io.loaded import ReadError, Records
from crystalcodec.io.poscar import add_poscar
from crystalcodec.io.streams import MAX_TEXT_BYTES, MIB, DamagedError, decompressed
from crystalcodec.io.structure_json import Place, add_json
from crystalcodec.registry import did_you_mean

if TYPE_CHECKING:
    from crystalcodec.io.reading import Options, Part

__all__ = ["count_parquet_rows", "read_csv", "read_parquet", "scan_csv"]

_STRUCTURE_COLUMNS: Final = (
    "cif",
    "structure",
    "poscar",
    "structure_json",
    "structures",
    "cif_string",
    "structure_cif",
    "crystal",
)
_ID_COLUMNS: Final = (
    "id",
    "material_id",
    "mp_id",
    "mpid",
    "structure_id",
    "entry_id",
    "identifier",
    "jid",
    "name",
)
_OWN_COLUMNS: Final = ("lattice", "frac_coords", "numbers")
# 007 is a name that looks like a number.
_INTEGER: Final = re.compile(r"[+-]?(?:0|[1-9][0-9]{0,17})")
# Of a whole number of more digits a float would keep sixteen.
_REAL: Final = re.compile(
    r"[+-]?(?:0(?:\.[0-9]*)?|[1-9][0-9]*\.[0-9]*|[1-9][0-9]{0,17}|\.[0-9]+)(?:e[+-]?[0-9]+)?"
    r"|[+-]?inf|nan",
    re.IGNORECASE,
)
_TRUTHS: Final[dict[str, Any]] = {"True": True, "False": False, "true": True, "false": False}
_CONVERSIONS: Final[dict[str, Callable[[str], Any]]] = {
    "truth": _TRUTHS.__getitem__,
    "integer": int,
    "real": float,
    "text": str,
}
_CELLS: Final = 1024
_MOST_HELD: Final = 1024 * MIB


Starts = list[tuple[int, int, int]]


def scan_csv(path: str, step: int) -> tuple[Starts, tuple[str, ...]]:
    """Row, byte and line at which every ``step``-th row of a CSV file starts; kinds of columns.

    Bytes are those of the decompressed file. A file that cannot be read to its end is given as
    far as it goes; reading it says what is wrong.
    """
    try:
        with Path(path).open("rb") as raw:
            starts, kinds, whole = _scanned(decompressed(raw, path), step)
    except (OSError, EOFError, ValueError):
        return [], ()
    return (starts if whole else []), kinds


def _scanned(stream: IO[bytes], step: int) -> tuple[Starts, tuple[str, ...], bool]:
    """Starts of rows, the kind of each column, and whether the end was reached.

    A column is ``truth``, ``integer`` or ``real`` where all cells that are not empty are, and
    ``text`` otherwise: what stands late in a table decides how its first cells are read.
    """
    starts: Starts = []
    kinds: list[str] = []
    lines = _Lines(stream)
    row, narrowed, whole = 0, 0, True
    block: list[list[str]] = []
    try:
        rows = _rows(lines)
        width = len(next(rows))
        kinds = [""] * width
        while True:
            if row % step == 0:
                starts.append((row, lines.bytes, lines.n + 1))
            cells = next(rows)
            row += 1
            if len(cells) == width:
                block.append(cells)
            # Rows may be long: not many of those are held.
            if len(block) == _CELLS or lines.bytes - narrowed > MAX_TEXT_BYTES:
                kinds, narrowed = _narrowed(kinds, block), lines.bytes
                block = []
    except StopIteration:
        pass
    except (OSError, EOFError, ValueError, csv.Error, zlib.error):
        whole = False
    kinds = _narrowed(kinds, block)
    if starts and starts[-1][0] == row and row:
        starts.pop()
    return starts, tuple(kinds), whole


def _narrowed(kinds: list[str], rows: list[list[str]]) -> list[str]:
    """The kinds of columns, given more of their rows."""
    columns = [*zip(*rows, strict=True)] or [()] * len(kinds)
    return [
        kind if kind == "text" else _joined_kind(kind, {cell for cell in cells if cell})
        for kind, cells in zip(kinds, columns, strict=True)
    ]


def _joined_kind(kind: str, given: set[str]) -> str:
    if not given:
        return kind
    if given <= _TRUTHS.keys():
        found = "truth"
    elif all(map(_INTEGER.fullmatch, given)):
        found = "integer"
    elif all(map(_REAL.fullmatch, given)):
        found = "real"
    else:
        found = "text"
    if kind in ("", found):
        return found
    return "real" if {kind, found} == {"integer", "real"} else "text"


class _Lines:
    """Lines of a stream as text; counts lines and bytes that were taken."""

    def __init__(self, stream: IO[bytes], bytes_: int = 0, n: int = 0) -> None:
        self._stream, self.bytes, self.n = stream, bytes_, n

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        data = self._stream.readline(MAX_TEXT_BYTES)
        if not data:
            raise StopIteration
        if len(data) == MAX_TEXT_BYTES:
            raise DamagedError("text too large", f"a line of more than {MAX_TEXT_BYTES} bytes")
        first = self.bytes == 0
        self.bytes += len(data)
        self.n += 1
        if b"\0" in data:
            raise DamagedError("not a text", f"line {self.n} holds binary bytes")
        try:
            return data.decode("utf-8-sig" if first else "utf-8")
        except UnicodeDecodeError:
            return data.decode("latin-1")


def _rows(lines: Iterator[str]) -> Iterator[list[str]]:
    # The limit of the csv module (131,072) is for the whole process, and a CIF may be longer.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_TEXT_BYTES))
    return (row for row in csv.reader(lines) if row)


def read_csv(records: Records, stream: IO[bytes], part: Part, options: Options) -> Iterator[None]:
    """Add the rows of a CSV table to records.

    Cells of other columns are numbers or truth values where all of their column are; of columns of
    one name the later ones get a number, ``gap.1``.
    """
    member = part.member
    kinds = member.kinds
    if not kinds:
        stream = _held(stream) if part.archived else stream
        _, kinds, _ = _scanned(stream, 1 << 62)
        stream.seek(0)
    lines = _Lines(stream)
    rows = _rows(lines)
    try:
        header = next(rows, None)
        if header is None:
            raise DamagedError("no crystal in file", "nothing in it")
        structure, ids = _chosen_columns(header, options, part.source)
        names = _distinct(header)
        kept = [
            (c, names[c], _CONVERSIONS[kinds[c] or "text"])
            for c in range(len(header))
            if c not in (structure, ids)
        ]
        if member.start:
            stream.seek(member.offset)
            lines = _Lines(stream, member.offset, member.line - 1)
            rows = _rows(lines)
        index = member.start
        while member.stop is None or index < member.stop:
            line = lines.n + 1
            row = next(rows, None)
            if row is None:
                break
            source = f"{part.source}!/row {index}"
            if len(row) != len(header):
                detail = f"{len(row)} cells, and the header names {len(header)}"
                records.fail("wrong row", detail, index=index, source=source, line=line)
            else:
                name = f"row {index}" if ids is None else row[ids]
                own = {name: convert(row[c]) if row[c] else None for c, name, convert in kept}
                _add_cell(records, row[structure], index, name, source, own)
            index += 1
            yield
    except csv.Error as error:
        raise DamagedError("damaged table", f"line {lines.n}: {error}") from error
    if index == 0:
        raise DamagedError("no crystal in file", "a header and no row")


def _chosen_columns(header: Sequence[str], options: Options, source: str) -> tuple[int, int | None]:
    """Positions of the structure column and of the id column."""
    structure = _chosen(header, options.structure_column, _STRUCTURE_COLUMNS, source, "structure")
    if structure is None:
        raise DamagedError(
            "no structure column",
            f"columns {', '.join(header)[:300]}: name the one that holds the structures "
            "(structure_column)",
        )
    return structure, _chosen(header, options.id_column, _ID_COLUMNS, source, "id")


def _chosen(
    header: Sequence[str], wanted: str | None, usual: Sequence[str], source: str, what: str
) -> int | None:
    if wanted is not None:
        if wanted not in header:
            raise ReadError(
                f"{source}: no {what} column {wanted!r}{did_you_mean(wanted, [*header])}"
            )
        return header.index(wanted)
    lower = [name.lower().strip() for name in header]
    return next((lower.index(name) for name in usual if name in lower), None)


def _add_cell(
    records: Records, value: Any, index: int, name: str, source: str, properties: dict[str, Any]
) -> None:
    """One structure of a table, whichever of the three ways it is written."""
    text = value if isinstance(value, str) else ""
    if not text.strip() and not isinstance(value, dict):
        records.fail("no structure", "the cell is empty", index=index, source=source)
    elif isinstance(value, dict) or text.lstrip()[0] in "{[":
        try:
            document = value if isinstance(value, dict) else json.loads(text)
        except (ValueError, RecursionError) as error:
            records.fail("not a JSON", str(error), index=index, source=source)
            return
        add_json(records, document, Place(index, source, name, properties), name)
    else:
        add = add_cif if "_cell_length_a" in text or "data_" in text else add_poscar
        add(records, text, index=index, name=name, source=source, properties=properties)


def _held(stream: IO[bytes]) -> IO[bytes]:
    """The bytes of an archive's entry, which can only be read forwards, in memory."""
    data = stream.read(_MOST_HELD + 1)
    if len(data) > _MOST_HELD:
        raise DamagedError(
            "table too large",
            f"more than {_MOST_HELD >> 20} MiB in an archive: take it out of there first",
        )
    return io.BytesIO(data)


def _distinct(header: Sequence[str]) -> list[str]:
    """Names of columns, those that repeat an earlier one with a number, as pandas numbers them."""
    names: list[str] = []
    for name in header:
        number, own = 0, name
        while own in names:
            number += 1
            own = f"{name}.{number}"
        names.append(own)
    return names


def count_parquet_rows(path: str) -> int:
    """Number of rows; 0 where it cannot be told: reading says why."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return int(pq.ParquetFile(path).metadata.num_rows)
    except (OSError, ValueError, pa.ArrowException):
        return 0


def read_parquet(
    records: Records, stream: IO[bytes], part: Part, options: Options
) -> Iterator[None]:
    """Add the rows of a Parquet table or dataset to records; other columns become properties."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    # A Parquet file is read from its end: entries of archives have to be held in memory.
    source = _held(stream) if part.archived else stream
    try:
        file = pq.ParquetFile(source)
        before = records.taken + len(records)
        for start, batch in _batches(file, part, options.batch_size):
            names = batch.schema.names
            if options.structure_column is None and all(name in names for name in _OWN_COLUMNS):
                yield from _add_own_batch(records, batch, start, part, options)
            else:
                yield from _add_foreign_batch(records, batch, start, part, options)
        if records.taken + len(records) == before:
            raise DamagedError("no crystal in file", "no row in it")
    except pa.ArrowException as error:
        raise DamagedError("damaged table", str(error).splitlines()[0]) from error


def _batches(file: Any, part: Part, batch_size: int) -> Iterator[tuple[int, Any]]:
    """First row and rows of each batch within the rows of the member."""
    start, stop = part.member.start, part.member.stop
    first = 0
    for group in range(file.num_row_groups):
        n = file.metadata.row_group(group).num_rows
        last = first + n
        if last > start and (stop is None or first < stop):
            row = first
            for batch in file.iter_batches(batch_size=batch_size, row_groups=[group]):
                low = max(start - row, 0)
                high = len(batch) if stop is None else min(stop - row, len(batch))
                if low < high:
                    yield row + low, batch.slice(low, high - low)
                row += len(batch)
        first = last


def _add_foreign_batch(
    records: Records, batch: Any, start: int, part: Part, options: Options
) -> Iterator[None]:
    names = batch.schema.names
    structure, ids = _chosen_columns(names, options, part.source)
    columns = {name: batch.column(i).to_pylist() for i, name in enumerate(names)}
    cells = columns.pop(names[structure])
    keys = [f"row {start + i}" for i in range(len(cells))]
    if ids is not None:
        keys = [*map(str, columns.pop(names[ids]))]
    for i, (cell, key) in enumerate(zip(cells, keys, strict=True)):
        own = {name: values[i] for name, values in columns.items() if _is_scalar(values[i])}
        source = f"{part.source}!/row {start + i}"
        _add_cell(records, cell, start + i, key, source, own)
        yield


def _add_own_batch(
    records: Records, batch: Any, start: int, part: Part, options: Options
) -> Iterator[None]:
    """Rows of a dataset of this library: its columns are those of crystals."""
    columns = {name: batch.column(i) for i, name in enumerate(batch.schema.names)}
    geometry = [columns.pop(name).to_pylist() for name in _OWN_COLUMNS]
    id_name = options.id_column or "id"
    given = columns.pop(id_name).to_pylist() if id_name in columns else []
    values = {name: column.to_pylist() for name, column in columns.items()}
    for i, (lattice, coords, numbers) in enumerate(zip(*geometry, strict=True)):
        source = f"{part.source}!/row {start + i}"
        sizes = [len(one) if one is not None else -1 for one in (lattice, coords, numbers)]
        if sizes[0] != 9 or sizes[1] != 3 * sizes[2] or None in (*lattice, *coords, *numbers):
            detail = f"lattice, frac_coords, numbers of lengths {sizes}: wanted 9, 3 n and n"
            records.fail("wrong row", detail, index=start + i, source=source)
            yield
            continue
        records.add(
            np.array(lattice, float).reshape(3, 3),
            np.array(coords, float),
            np.array(numbers, np.int64),
            index=start + i,
            name=str(given[i]) if given else f"row {start + i}",
            source=source,
            properties={name: column[i] for name, column in values.items()},
        )
        yield


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str)
