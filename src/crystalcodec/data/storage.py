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

__all__ = ["DatasetWriter", "DatasetReader", "iter_dataset", "read_dataset"]

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
        index = self._file.schema_arrow.names.index(name)
        groups = range(self._file.metadata.num_row_groups)
        # Columns before this one may be lists, whose values are one column of the file each.
        paths = self._file.metadata
        column = next(
            i for i in range(paths.num_columns) if _path_of(paths, i).split(".")[0] == name
        )
        del index
        statistics = [paths.row_group(g).column(column).statistics for g in groups]
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
        crystals = self._crystals(table, start)
        properties = {
            name: column_from_arrow(table.column(name), kind) for name, kind in self.kinds.items()
        }
        ids = table.column("id").cast(pa.string()).to_numpy()
        return Dataset(crystals, ids, properties, self.metadata)

    def _crystals(self, table: Any, start: int) -> Crystals:
        for name in CRYSTAL_COLUMNS:
            if table.column(name).null_count:
                row = start + int(np.argmax(table.column(name).is_null().to_numpy()))
                raise DatasetError(f"{self.path}, row {row}: no {name}")
        try:
            n_sites = pc.list_value_length(table.column("numbers")).to_numpy()
            numbers = pc.list_flatten(table.column("numbers")).to_numpy()
            n_coords = pc.list_value_length(table.column("frac_coords")).to_numpy()
            coords = pc.list_flatten(table.column("frac_coords")).to_numpy()
            n_lattice = pc.list_value_length(table.column("lattice")).to_numpy()
            lattices = pc.list_flatten(table.column("lattice")).to_numpy()
        except pa.ArrowException as error:
            raise DatasetError(f"{self.path} is no dataset of crystals: {error}") from None
        wrong = (n_coords != 3 * n_sites.astype(np.int64)) | (n_lattice != 9)
        if wrong.any():
            row = int(np.argmax(wrong))
            raise DatasetError(
                f"{self.path}, row {start + row}: {n_sites[row]} numbers, {n_coords[row]} "
                f"coordinates and {n_lattice[row]} lattice entries; wanted three coordinates a "
                "site and nine entries"
            )
        offsets = np.zeros(len(table) + 1, np.int64)
        np.cumsum(n_sites, out=offsets[1:])
        try:
            return Crystals(lattices.reshape(-1, 3, 3), coords.reshape(-1, 3), numbers, offsets)
        except CrystalsError as error:
            where = f" (counted from row {start})" if start else ""
            raise DatasetError(f"{self.path}: {error}{where}") from None


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

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            partial = stack.enter_context(whole_file(self._path))
            self._parquet = stack.enter_context(
                pq.ParquetWriter(partial, self._schema, compression="zstd")
            )
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._stack:
            if value is not None:
                self._stack.__exit__(kind, value, traceback)
                return
            if self._waiting:
                self._flush(ROWS_PER_GROUP * len(self._waiting))
            self.content_hash = self._hash.hexdigest()
            stored = asdict(self._metadata) | {"format": FORMAT, "content_hash": self.content_hash}
            self._parquet.add_key_value_metadata({KEY: json.dumps(stored, sort_keys=True)})

    def write(self, dataset: Dataset) -> None:
        """Add rows; their columns are those of the file."""
        self._hash.update(dataset)
