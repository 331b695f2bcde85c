"""The dataset file: Parquet with the crystals in columns, read and written in whole or in parts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, fields
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from crystalcodec.crystals import Crystals, CrystalsError
from crystalcodec.data.columns import (
    DatasetError,
    Kind,
    column_from_arrow,
    column_to_arrow,
    kind_of_arrow,
)
from crystalcodec.data.dataset import CRYSTAL_COLUMNS, Dataset, DatasetHash, DatasetMetadata
from crystalcodec.io.whole import whole_file
from crystalcodec.registry import did_you_mean

__all__ = [
    "DatasetReader",
    "DatasetWriter",
    "crystals_from_arrow",
    "crystals_to_arrow",
    "iter_dataset",
    "read_dataset",
    "require_new",
]

FORMAT: Final = 1
KEY: Final = b"crystalcodec"
ROWS_PER_GROUP: Final = 4096
_ARROW_TYPES: Final = {
    "number": pa.float64(),
    "integer": pa.int64(),
    "boolean": pa.bool_(),
    "text": pa.string(),
}
_CRYSTAL_FIELDS: Final = (
    pa.field("id", pa.string(), nullable=False),
    pa.field("lattice", pa.list_(pa.float64(), 9), nullable=False),
    pa.field("frac_coords", pa.list_(pa.float64()), nullable=False),
    pa.field("numbers", pa.list_(pa.uint8()), nullable=False),
)


def crystals_to_arrow(crystals: Crystals) -> dict[str, Any]:
    """Crystals as the Arrow columns ``lattice``, ``frac_coords`` and ``numbers``.

    Raises
    ------
    DatasetError
        More sites than a list column of Arrow counts.
    """
    ends = crystals.offsets
    if 3 * ends[-1] > np.iinfo(np.int32).max:
        raise DatasetError(f"{ends[-1]} sites in one batch: write the dataset in smaller ones")
    coords = pa.array(crystals.frac_coords.reshape(-1))
    numbers = pa.array(crystals.numbers.astype(np.uint8))
    return {
        "lattice": pa.FixedSizeListArray.from_arrays(pa.array(crystals.lattices.reshape(-1)), 9),
        "frac_coords": pa.ListArray.from_arrays(pa.array((3 * ends).astype(np.int32)), coords),
        "numbers": pa.ListArray.from_arrays(pa.array(ends.astype(np.int32)), numbers),
    }


def crystals_from_arrow(table: Any, source: str, start: int = 0) -> Crystals:
    """The crystals of a table with the columns of a dataset, checked.

    Parameters
    ----------
    table
        The Arrow table.
    source, start
        For messages: what the table was read from, and the number of its first row there.

    Raises
    ------
    DatasetError
        Columns that are no crystals; the message names the row.
    """
    for name in CRYSTAL_COLUMNS:
        if table.column(name).null_count:
            row = start + int(np.argmax(table.column(name).is_null().to_numpy()))
            raise DatasetError(f"{source}, row {row}: no {name}")
    try:
        (n_sites, numbers), (n_coords, coords), (n_lattice, lattices) = (
            (pc.list_value_length(column).to_numpy(), pc.list_flatten(column).to_numpy())
            for column in map(table.column, ("numbers", "frac_coords", "lattice"))
        )
    except (pa.ArrowException, NotImplementedError) as error:
        raise DatasetError(f"{source} is no dataset of crystals: {error}") from None
    wrong = (n_coords != 3 * n_sites.astype(np.int64)) | (n_lattice != 9)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise DatasetError(
            f"{source}, row {start + row}: {n_sites[row]} numbers, {n_coords[row]} coordinates "
            f"and {n_lattice[row]} lattice entries; wanted three coordinates a site and nine "
            "entries"
        )
    offsets = np.zeros(len(table) + 1, np.int64)
    np.cumsum(n_sites, out=offsets[1:])
    try:
        return Crystals(lattices.reshape(-1, 3, 3), coords.reshape(-1, 3), numbers, offsets)
    except CrystalsError as error:
        where = f" (counted from row {start})" if start else ""
        raise DatasetError(f"{source}: {error}{where}") from None


class DatasetReader:
    """An open dataset file: its size, its columns, its metadata, and its rows.

    Parameters
    ----------
    path
        The Parquet file. One without our metadata is a dataset too if it has the columns, as
        what another program has selected from a dataset.
    columns
        The property columns to read; all where None.

    Raises
    ------
    DatasetError
        No such file, no Parquet file, no dataset, or a column that is not there.
    """

    def __init__(self, path: str | Path, columns: Sequence[str] | None = None) -> None:
        self.path = Path(path)
        try:
            self._file = pq.ParquetFile(self.path)
        except FileNotFoundError:
            raise DatasetError(f"no dataset at {self.path}: there is no such file") from None
        except (pa.ArrowInvalid, OSError) as error:
            raise DatasetError(
                f"{self.path} is no readable Parquet file ({error}); wanted a dataset written by "
                "'crystalcodec data import'"
            ) from None
        try:
            self._open(columns)
        except BaseException:
            self._file.close()
            raise

    def _open(self, columns: Sequence[str] | None) -> None:
        schema = self._file.schema_arrow
        absent = [name for name in CRYSTAL_COLUMNS if name not in schema.names]
        if absent:
            raise DatasetError(
                f"{self.path} is no dataset of crystals: it has no column "
                f"{', '.join(map(repr, absent))}. Tables with a column of structures become one "
                "with 'crystalcodec data import'"
            )
        properties = [name for name in schema.names if name not in CRYSTAL_COLUMNS]
        for name in columns or ():
            if name not in properties:
                raise DatasetError(
                    f"no column {name!r} in {self.path}{did_you_mean(name, properties)}"
                )
        self.n = int(self._file.metadata.num_rows)
        self.kinds: dict[str, Kind] = {
            name: kind_of_arrow(schema.field(name).type, name, self._missing(name), self.n)
            for name in (properties if columns is None else dict.fromkeys(columns))
        }
        self.metadata = self._read_metadata()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def read(self) -> Dataset:
        """All rows."""
        return self._dataset(self._rows(lambda: self._file.read(columns=self._names())), 0)

    def batches(self, batch_size: int) -> Iterator[Dataset]:
        """All rows, ``batch_size`` at a time."""
        start = 0
        batches = self._file.iter_batches(batch_size, columns=self._names())
        while (batch := self._rows(lambda: next(batches, None))) is not None:
            yield self._dataset(pa.Table.from_batches([batch]), start)
            start += len(batch)

    def _names(self) -> list[str]:
        return [*CRYSTAL_COLUMNS, *self.kinds]

    def _rows(self, get: Any) -> Any:
        try:
            return get()
        except (pa.ArrowException, OSError) as error:
            raise DatasetError(
                f"{self.path} is damaged: its rows cannot be read ({error}); get or make the file "
                "again"
            ) from None

    def _missing(self, name: str) -> int:
        """Number of missing values of a column, from the file's own statistics."""
        footer = self._file.metadata
        paths = [self._file.schema.column(i).path for i in range(footer.num_columns)]
        if name not in paths:  # a nested column, which is no property
            return 0
        statistics = [
            footer.row_group(g).column(paths.index(name)).statistics
            for g in range(footer.num_row_groups)
        ]
        if all(s is not None and s.has_null_count for s in statistics):
            return int(sum(s.null_count for s in statistics))
        return int(self._file.read(columns=[name]).column(0).null_count)

    def _read_metadata(self) -> DatasetMetadata:
        stored = (self._file.metadata.metadata or {}).get(KEY)
        if stored is None:
            return DatasetMetadata()
        try:
            entries = json.loads(stored)
            form = entries.pop("format")
        except (ValueError, KeyError, AttributeError) as error:
            raise DatasetError(f"{self.path}: its metadata are damaged ({error!r})") from None
        if form != FORMAT:
            raise DatasetError(
                f"{self.path} has dataset format {form}, this version of crystalcodec reads "
                f"format {FORMAT}: install the version that wrote it"
            )
        known = {f.name for f in fields(DatasetMetadata)}
        return DatasetMetadata(**{name: v for name, v in entries.items() if name in known})

    def _dataset(self, table: Any, start: int) -> Dataset:
        crystals = crystals_from_arrow(table, str(self.path), start)
        properties = {
            name: column_from_arrow(table.column(name), kind) for name, kind in self.kinds.items()
        }
        ids = table.column("id").cast(pa.string()).to_numpy()
        return Dataset(crystals, ids, properties, self.metadata)


def read_dataset(
    path: str | Path, columns: Sequence[str] | None = None, *, verify: bool = False
) -> Dataset:
    """Read a dataset file; see :meth:`Dataset.read`."""
    with DatasetReader(path, columns) as reader:
        dataset = reader.read()
        if verify:
            whole = dataset if columns is None else read_dataset(path)
            stored = reader.metadata.content_hash
            if whole.computed_hash != stored:
                raise DatasetError(
                    f"{path} holds {whole.computed_hash[:16]}..., its metadata say "
                    f"{stored[:16] or 'nothing'}...: the values were changed after it was "
                    "written; get or make the file again"
                )
    return dataset


def iter_dataset(
    path: str | Path, batch_size: int = ROWS_PER_GROUP, columns: Sequence[str] | None = None
) -> Iterator[Dataset]:
    """The rows of a dataset file in batches, without holding more than a few row groups.

    Raises
    ------
    DatasetError
        As :meth:`Dataset.read`.
    """
    with DatasetReader(path, columns) as reader:
        yield from reader.batches(batch_size)


def require_new(path: str | Path, *, force: bool) -> None:
    """Refuse to write over something.

    Raises
    ------
    DatasetError
        If ``path`` exists and not ``force``, or if it is a folder.
    """
    if Path(path).is_dir():
        raise DatasetError(f"{path} is a folder, wanted the name of a file to write")
    if Path(path).exists() and not force:
        raise DatasetError(
            f"{path} exists: give another name, or --force (force=True) to replace it"
        )


class DatasetWriter:
    """Writes a dataset file batch by batch; the file appears when all is written.

    Row groups have the same size however the rows come, so that the same rows give the same file.
    That no id comes twice is for the caller to see to.

    Parameters
    ----------
    path
        The file; replaced if it exists.
    kinds
        Kind of each property column, by name, in the order of the columns.
    metadata
        Its ``content_hash`` and ``created_by`` are filled in here.

    Raises
    ------
    OSError
        If the file cannot be written; nothing of it is left.
    """

    def __init__(
        self,
        path: str | Path,
        kinds: Mapping[str, Kind],
        metadata: DatasetMetadata | None = None,
    ) -> None:
        self.content_hash = ""
        self._path = Path(path)
        self._kinds = dict(kinds)
        self._metadata = metadata or DatasetMetadata()
        self._hash = DatasetHash(kinds)
        self._schema = pa.schema(
            [*_CRYSTAL_FIELDS, *(pa.field(n, _ARROW_TYPES[k]) for n, k in kinds.items())]
        )
        self._waiting: list[Any] = []
        self._n_waiting = 0

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            partial = stack.enter_context(whole_file(self._path))
            self._parquet = stack.enter_context(
                pq.ParquetWriter(
                    partial,
                    self._schema,
                    compression="zstd",
                    compression_level=6,
                    # Lattices hardly repeat: their bytes compress better in this order.
                    use_dictionary=[n for n in self._schema.names if n != "lattice"],
                    use_byte_stream_split=["lattice.list.element"],
                )
            )
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._stack.__exit__(kind, value, traceback)  # which leaves no file
            return
        with self._stack:
            self._finish()

    def write(self, dataset: Dataset) -> None:
        """Add rows; they have the columns of the file, and may have more."""
        self._hash.update(dataset)
        self._waiting.append(self._table(dataset))
        self._n_waiting += len(dataset)
        if self._n_waiting >= ROWS_PER_GROUP:
            self._flush(self._n_waiting // ROWS_PER_GROUP * ROWS_PER_GROUP)

    def _flush(self, n_rows: int) -> None:
        waiting = pa.concat_tables(self._waiting)
        # In one piece, so that pages end at the same rows whatever the batches were.
        for start in range(0, n_rows, ROWS_PER_GROUP):
            group = waiting.slice(start, min(ROWS_PER_GROUP, n_rows - start)).combine_chunks()
            self._parquet.write_table(group, row_group_size=ROWS_PER_GROUP)
        self._waiting = [waiting.slice(n_rows)]
        self._n_waiting -= n_rows

    def _finish(self) -> None:
        if self._n_waiting:
            self._flush(self._n_waiting)
        self.content_hash = self._hash.hexdigest()
        stored = {
            "format": FORMAT,
            **asdict(self._metadata),
            "created_by": {
                **self._metadata.created_by,
                "crystalcodec": version("crystalcodec"),
                "pyarrow": pa.__version__,
            },
            "content_hash": self.content_hash,
        }
        self._parquet.add_key_value_metadata({KEY: json.dumps(stored, sort_keys=True)})

    def _table(self, dataset: Dataset) -> Any:
        arrays = {"id": column_to_arrow(dataset.ids, "text"), **crystals_to_arrow(dataset.crystals)}
        arrays |= {
            name: column_to_arrow(dataset.column(name), kind) for name, kind in self._kinds.items()
        }
        return pa.Table.from_pydict(arrays, schema=self._schema)
