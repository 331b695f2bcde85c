"""Dataset: crystals with ids and properties, and what is known about them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import ContentHash, Crystals
from crystalcodec.data.columns import (
    Column,
    DatasetError,
    Kind,
    as_column,
    column_to_arrow,
    kind_of,
    missing,
)
from crystalcodec.registry import did_you_mean

__all__ = [
    "CRYSTAL_COLUMNS",
    "PROTOTYPES",
    "Dataset",
    "DatasetHash",
    "DatasetMetadata",
    "prototypes",
]

PROTOTYPES: Final = Path(__file__).with_name("prototypes.parquet")
"""The file of :func:`prototypes`."""

CRYSTAL_COLUMNS: Final = ("id", "lattice", "frac_coords", "numbers")
"""Names of the columns that hold the crystals; no property can have one of them."""


@dataclass(frozen=True)
class DatasetMetadata:
    """What is known about a dataset besides its values.

    Parameters
    ----------
    units
        Unit of a property column, by name (``{"band_gap": "eV"}``).
    descriptions
        What a property column holds, by name.
    source, licence
        Where the data come from, and under which terms.
    created_by
        Versions of what made the file.
    failures
        What could not be imported: number of records by reason.
    notes
        Anything else that JSON holds.
    content_hash
        Hash of the whole file that the rows were read from; empty for crystals that were made,
        selected or changed in memory. See :attr:`Dataset.content_hash`.
    """

    units: Mapping[str, str] = field(default_factory=dict)
    descriptions: Mapping[str, str] = field(default_factory=dict)
    source: str = ""
    licence: str = ""
    created_by: Mapping[str, str] = field(default_factory=dict)
    failures: Mapping[str, int] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)
    content_hash: str = ""


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Crystals, an id for each, and property columns.

    Parameters
    ----------
    crystals
        The crystals, n of them.
    ids : (n,)
        One text for each crystal.
    properties
        Columns (n,) by name: float64 with NaN where a value is missing, int64, bool, or object
        arrays of text (or of truth values with some missing) with None where missing. Infinite
        numbers are kept as they are.
    metadata
        Units, source, licence and the like.

    Raises
    ------
    DatasetError
        Columns that do not fit the crystals, or of no known kind.

    Examples
    --------
    >>> salt = Crystals.single(
    ...     [[0, 2.8, 2.8], [2.8, 0, 2.8], [2.8, 2.8, 0]], [[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17]
    ... )
    >>> dataset = Dataset.from_crystals(salt, ids=["salt"], properties={"band_gap": [5.0]})
    >>> dataset
    Dataset(n=1: NaCl; band_gap)
    >>> dataset.column("bandgap")
    Traceback (most recent call last):
    crystalcodec.data.columns.DatasetError: no column 'bandgap'; did you mean 'band_gap'? ...
    """

    crystals: Crystals
    ids: npt.NDArray[np.object_]
    properties: Mapping[str, Column] = field(default_factory=dict)
    metadata: DatasetMetadata = field(default_factory=DatasetMetadata)

    def __post_init__(self) -> None:
        n = len(self.crystals)
        ids = np.empty(len(self.ids), object)
        ids[:] = [_checked_id(one) for one in self.ids]
        if len(ids) != n:
            raise DatasetError(f"{len(ids)} ids for {n} crystals: wanted one for each")
        ids.flags.writeable = False
        columns: dict[str, Column] = {}
        for name, values in self.properties.items():
            if name in CRYSTAL_COLUMNS:
                raise DatasetError(
                    f"a property cannot be called {name!r}: that column holds the crystals; "
                    "give it another name"
                )
            columns[name] = as_column(values, name, n)
        object.__setattr__(self, "ids", ids)
        object.__setattr__(self, "properties", MappingProxyType(columns))

    @classmethod
    def from_crystals(
        cls,
        crystals: Crystals,
        ids: Sequence[str] | npt.NDArray[Any] | None = None,
        properties: Mapping[str, npt.ArrayLike | Sequence[Any]] | None = None,
        *,
        units: Mapping[str, str] | None = None,
        descriptions: Mapping[str, str] | None = None,
        source: str = "",
        licence: str = "",
        notes: Mapping[str, Any] | None = None,
    ) -> Dataset:
        """A dataset of crystals in memory; the ids are 0, 1, 2, ... where none are given.

        Raises
        ------
        DatasetError
            Columns that do not fit, or a unit for a column that is not there.
        """
        given = dict(properties or {})
        for name in {**(units or {}), **(descriptions or {})}:
            if name not in given:
                raise DatasetError(f"a unit or description for {name!r}{did_you_mean(name, given)}")
        return cls(
            crystals,
            ids if ids is not None else [str(i) for i in range(len(crystals))],  # type: ignore[arg-type]
            given,  # type: ignore[arg-type]
            DatasetMetadata(
                units=dict(units or {}),
                descriptions=dict(descriptions or {}),
                source=source,
                licence=licence,
                notes=dict(notes or {}),
            ),
        )

    @classmethod
    def read(
        cls, path: str | Path, columns: Sequence[str] | None = None, *, verify: bool = False
    ) -> Dataset:
        """Read a dataset file.

        Parameters
        ----------
        path
            The Parquet file.
        columns
            The property columns to read; all where None.
        verify
            Compute the content hash of what was read and compare it with the stored one.

        Raises
        ------
        DatasetError
            No such file, no Parquet file, no dataset, a column that is not there, broken
            crystals, or a content hash that differs.
        """
        from crystalcodec.data.storage import read_dataset

        return read_dataset(path, columns, verify=verify)

    def write(self, path: str | Path) -> Dataset:
        """Write the dataset as one Parquet file, whole or not at all; gives it with its hash.

        An existing file is replaced.

        Raises
        ------
        DatasetError
            Two crystals of the same id.
        OSError
            Where the file cannot be written.
        """
        from crystalcodec.data.storage import DatasetWriter

        repeated = [i for i, times in Counter(self.ids.tolist()).most_common(3) if times > 1]
        if repeated:
            raise DatasetError(
                f"several crystals have the id {', '.join(map(repr, repeated))}: in a file each "
                "id is there once; give other ids"
            )
        with DatasetWriter(path, self.kinds, self.metadata) as writer:
            writer.write(self)
        return replace(self, metadata=replace(self.metadata, content_hash=writer.content_hash))

    def __len__(self) -> int:
        return len(self.crystals)

    def __getitem__(self, key: int | slice | npt.ArrayLike) -> Dataset:
        """Rows by position, slice, list of positions or mask; always a dataset."""
        index = np.atleast_1d(np.arange(len(self))[cast(Any, key)])
        return Dataset(
            self.crystals[index],
            self.ids[index],
            {name: column[index] for name, column in self.properties.items()},
            replace(self.metadata, content_hash=""),
        )

    def __eq__(self, other: object) -> bool:
        """Whether crystals, ids and properties are the same; metadata does not matter."""
        if not isinstance(other, Dataset):
            return NotImplemented
        return self.computed_hash == other.computed_hash

    def __hash__(self) -> int:
        return hash(self.computed_hash)

    def __repr__(self) -> str:
        shown = ", ".join(self.crystals[:4].formulas) + (", ..." if len(self) > 4 else "")
        names = ", ".join(self.properties) or "no properties"
        return f"Dataset(n={len(self)}: {shown}; {names})"

    @property
    def content_hash(self) -> str:
        """SHA-256 of crystals, ids and properties, 64 hexadecimal digits.

        Of the whole file for a dataset as it was read, whichever columns were read of it;
        otherwise of what the dataset holds. How a file is cut into row groups, the order of its
        property columns and its metadata do not matter.
        """
        return self.metadata.content_hash or self.computed_hash

    @cached_property
    def computed_hash(self) -> str:
        """The content hash of what this dataset holds, computed and not as stored."""
        return DatasetHash(self.kinds).update(self).hexdigest()

    @property
    def kinds(self) -> dict[str, Kind]:
        """The kind of each property column: number, integer, boolean or text."""
        return {name: kind_of(column) for name, column in self.properties.items()}

    def column(self, name: str) -> Column:
        """(n,) a property column.

        Raises
        ------
        DatasetError
            If there is none of that name; the message offers the nearest ones.
        """
        if name not in self.properties:
            raise DatasetError(f"no column {name!r}{did_you_mean(name, self.properties)}")
        return self.properties[name]

    def numeric(self, name: str) -> npt.NDArray[np.float64]:
        """(n,) a property as float64, NaN where missing; true is 1 and false is 0.

        Raises
        ------
        DatasetError
            If there is no such column, or if it holds text.
        """
        column = self.column(name)
        if kind_of(column) == "text":
            raise DatasetError(f"column {name!r} holds text, wanted numbers: choose another column")
        return np.asarray(column, np.float64)  # None becomes NaN


def _checked_id(given: object) -> str:
    name = str(given)
    try:
        name.encode()
    except UnicodeEncodeError:
        raise DatasetError(f"id {name!r} is no text that UTF-8 holds: give another one") from None
    return name


class DatasetHash:
    """SHA-256 of a dataset that comes in batches; how it is cut does not matter.

    A column without any value counts by its name alone: its kind shows nowhere.

    Parameters
    ----------
    kinds
        Kind of each property column of the whole dataset, by name, in any order.
    """

    def __init__(self, kinds: Mapping[str, Kind]) -> None:
        self._kinds = dict(sorted(kinds.items()))
        self._crystals = ContentHash()
        self._ids = _ColumnHash("text")
        self._columns = {name: _ColumnHash(kind) for name, kind in self._kinds.items()}

    def update(self, dataset: Dataset) -> DatasetHash:
        """Add rows; gives itself."""
        self._crystals.update(dataset.crystals)
        self._ids.update(dataset.ids)
        for name, column_hash in self._columns.items():
            column_hash.update(dataset.column(name))
        return self

    def hexdigest(self) -> str:
        """The hash of all rows so far, as 64 hexadecimal digits."""
        whole = hashlib.sha256(b"crystalcodec.Dataset 1")
        whole.update(self._crystals.hexdigest().encode())
        whole.update(self._ids.hexdigest().encode())
        for name, column_hash in self._columns.items():
            whole.update(f"{len(name)} {name} {column_hash.hexdigest()}".encode())
        return whole.hexdigest()


class _ColumnHash:
    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self._values = hashlib.sha256(kind.encode())
        self._lengths = hashlib.sha256(b"lengths")
        self._has_values = False

    def update(self, column: Column) -> None:
        if not missing(column).all():
            self._has_values = True
        if self._kind == "text":
            lengths, text = _lengths_and_text(column)
            self._lengths.update(lengths)
            self._values.update(text)
        else:
            self._values.update(_bytes_of(column, self._kind))

    def hexdigest(self) -> str:
        if not self._has_values:
            return "no value"
        return self._values.hexdigest() + self._lengths.hexdigest()


def _lengths_and_text(column: Column) -> tuple[bytes, memoryview]:
    """Of a text column: bytes of each value, -1 where missing, as int64; all values as UTF-8."""
    import pyarrow as pa
    import pyarrow.compute as pc

    array = column_to_arrow(column, "text")
    lengths = pc.fill_null(pc.binary_length(array), -1).cast(pa.int64()).to_numpy()
    text = array.buffers()[2]
    n_bytes = int(lengths[lengths > 0].sum())
    return (
        lengths.astype("<i8", copy=False).tobytes(),
        memoryview(b"" if text is None else text)[:n_bytes],
    )


def _bytes_of(column: Column, kind: Kind) -> bytes:
    """The values of a column of numbers or truth values, the same bytes on every machine."""
    if kind == "integer":
        return column.astype("<i8", copy=False).tobytes()
    if kind == "boolean":
        import pyarrow as pa
        import pyarrow.compute as pc

        values = pc.fill_null(column_to_arrow(column, kind).cast(pa.int8()), -1)
        return bytes(values.to_numpy().astype(np.int8, copy=False).tobytes())
    numbers = column.astype("<f8") + 0.0  # -0.0 becomes 0.0
    numbers[np.isnan(numbers)] = np.nan  # one NaN of the many that there are
    return numbers.tobytes()


def prototypes() -> Dataset:
    """The dataset that comes with the package: crystals of common structure prototypes.

    Its labels are computed with an interatomic potential, CHGNet, and not with density functional
    theory; the metadata say more.

    Raises
    ------
    DatasetError
        If the package was installed without it.
    """
    return Dataset.read(PROTOTYPES)
