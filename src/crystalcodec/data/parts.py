"""What an import keeps while it is under way: parts read, one by one, in a folder."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from crystalcodec.data.columns import Column, DatasetError, Kind, column_from_arrow, kind_of_arrow
from crystalcodec.data.dataset import Dataset
from crystalcodec.data.storage import crystals_from_arrow, crystals_to_arrow
from crystalcodec.failures import Failure
from crystalcodec.io.loaded import Loaded
from crystalcodec.io.locking import LOCK, locked
from crystalcodec.io.members import Member
from crystalcodec.io.whole import whole_file

__all__ = ["Checkpoint", "PartOptions", "Summary", "read_part"]

_ROWS_A_BATCH: Final = 1024
_ID_HASH: Final = "id_hash"
# In the files of a part, so that no property can have the name of another column.
_PREFIX: Final = "property "


@dataclass(frozen=True)
class PartOptions:
    """Options that decide what is read from a part; see :func:`import_dataset`."""

    structure_column: str | None = None
    id_column: str | None = None
    min_distance: float = 0.1


@dataclass
class Summary:
    """What all parts hold together.

    Parameters
    ----------
    n
        Number of crystals.
    failures
        Number of failures by reason.
    kinds
        Kinds of values seen, by property column; ``mixed`` where one batch held several.
    n_values
        Number of values that are not missing, by property column.
    left_out
        Columns of values that are no property.
    """

    n: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    kinds: dict[str, set[str]] = field(default_factory=dict)
    n_values: Counter[str] = field(default_factory=Counter)
    left_out: dict[str, None] = field(default_factory=dict)


class Checkpoint:
    """The folder beside the output in which an import keeps its parts.

    Parts of other sources or options are thrown away. Two imports never share a folder.

    Parameters
    ----------
    out
        The dataset that is to come.
    parts
        The members of each part, in order.
    options
        How they are read.

    Raises
    ------
    DatasetError
        If another import to ``out`` is under way, or if the folder holds files of another kind.
    """

    def __init__(self, out: Path, parts: Sequence[Sequence[Member]], options: PartOptions) -> None:
        self.folder = folder_of(out)
        self.parts = parts
        self.options = options
        self._key = _key(parts, options)

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        busy = (
            f"another import that uses {self.folder} is under way: wait for it, or give another "
            "output"
        )
        with ExitStack() as stack:
            stack.enter_context(locked(self.folder / LOCK, DatasetError(busy)))
            self._throw_away_others()
            self._held = stack.pop_all()
        return self

    def _throw_away_others(self) -> None:
        """Parts of other sources or options; says whose the folder is now."""
        manifest = self.folder / "manifest.json"
        others = [p for p in self.folder.iterdir() if p.name[0] != "."]
        if others and not manifest.exists():
            raise DatasetError(
                f"{self.folder} holds files that no import wrote, such as {others[0].name}, and "
                "the import needs that name: move it, or give another output"
            )
        if not others or json.loads(manifest.read_text()).get("key") != self._key:
            for old in others:
                old.unlink()
            with whole_file(manifest) as temporary:
                temporary.write_text(json.dumps({"key": self._key}))

    def __exit__(self, *exception: object) -> None:
        self._held.close()

    def remove(self) -> None:
        """Throw all parts away: they are not needed any more."""
        shutil.rmtree(self.folder)

    def finished(self) -> set[int]:
        """Numbers of the parts that are there."""
        return {i for i in range(len(self.parts)) if _marker(self.folder, i).exists()}

    def summary(self) -> Summary:
        """What the parts hold together; all must be there."""
        summary = Summary()
        for marker in self._markers():
            summary.n += sum(marker["rows"])
            summary.failures.update(entry[1] for entry in marker["failures"])
            summary.left_out |= dict.fromkeys(marker["left_out"])
            for name, (kind, n_values) in marker["columns"].items():
                seen = summary.kinds.setdefault(name, set())
                seen.update(kind)
                summary.n_values[name] += n_values
        return summary

    def failures(self) -> Iterator[Failure]:
        """All failures in the order of the sources."""
        for marker in self._markers():
            yield from failures_of(marker)

    def id_hashes(self) -> npt.NDArray[np.uint64]:
        """(n,) a 64-bit hash of each id, in order."""
        hashes = [np.zeros(0, np.uint64)]
        hashes += [table.column(_ID_HASH).to_numpy() for table in self._tables([_ID_HASH])]
        return np.concatenate(hashes)

    def batches(
        self, kinds: Mapping[str, Kind], names: Mapping[str, str]
    ) -> Iterator[tuple[Dataset, npt.NDArray[np.uint64]]]:
        """The crystals batch by batch, and the hashes of their ids.

        Parameters
        ----------
        kinds
            Kind of each property column to keep, by its name in the dataset.
        names
            Names of columns in the sources where they differ, by their names in the dataset.
        """
        for table in self._tables():
            columns = {
                name: _property(table, names.get(name, name), kind) for name, kind in kinds.items()
            }
            crystals = crystals_from_arrow(table, str(self.folder))
            ids = table.column("id").to_numpy()
            yield Dataset(crystals, ids, columns), table.column(_ID_HASH).to_numpy()

    def marker(self, number: int) -> dict[str, Any]:
        """What is known about a finished part."""
        entries: dict[str, Any] = json.loads(_marker(self.folder, number).read_text())
        return entries

    def _markers(self) -> Iterator[dict[str, Any]]:
        return map(self.marker, range(len(self.parts)))

    def _tables(self, columns: Sequence[str] | None = None) -> Iterator[Any]:
        for number, marker in enumerate(self._markers()):
            for batch in range(len(marker["rows"])):
                path = _batch(self.folder, number, batch)
                options = None
                if columns is not None:
                    with pa.ipc.open_file(str(path)) as file:
                        wanted = [file.schema.get_field_index(name) for name in columns]
                    options = pa.ipc.IpcReadOptions(included_fields=wanted)
                with pa.ipc.open_file(str(path), options=options) as file:
                    yield file.read_all()


def folder_of(out: Path) -> Path:
    """The folder in which an import to ``out`` keeps its parts."""
    return out.with_name(out.name + ".import")


def read_part(folder: Path, number: int, members: Sequence[Member], options: PartOptions) -> int:
    """Read the members of a part into its files; gives its number.

    The last file, which says that the part is whole, comes when all others are there.
    """
    from crystalcodec.io import read_member

    rows: list[int] = []
    failures: list[Failure] = []
    columns: dict[str, tuple[set[str], int]] = {}
    left_out: dict[str, None] = {}

    def keep(held: list[Loaded]) -> None:
        loaded = Loaded.concatenate(held)
        failures.extend(loaded.failures)
        if not len(loaded.crystals):
            return
        arrays = {"id": pa.array(map(_storable, loaded.ids), pa.string())}
        arrays[_ID_HASH] = pa.array(_id_hashes(loaded.ids))
        arrays |= crystals_to_arrow(loaded.crystals)
        for name, values in loaded.properties.items():
            kind, array = _property_to_arrow(values)
            if array is None:
                left_out[name] = None
                continue
            kinds, n_values = columns.get(name, (set(), 0))
            columns[name] = (kinds | {kind}, n_values + len(array) - array.null_count)
            arrays[_PREFIX + name] = array
        _write_arrow(_batch(folder, number, len(rows)), pa.table(arrays))
        rows.append(len(loaded.crystals))

    held: list[Loaded] = []
    for member in members:
        for loaded in read_member(
            member,
            structure_column=options.structure_column,
            id_column=options.id_column,
            min_distance=options.min_distance,
        ):
            held.append(loaded)
            if sum(one.n for one in held) >= _ROWS_A_BATCH:
                keep(held)
                held = []
    keep(held)
    marker = {
        "rows": rows,
        "columns": {name: (sorted(kinds), n) for name, (kinds, n) in columns.items()},
        "left_out": list(left_out),
        "failures": [[f.index, f.reason, f.detail, f.source, f.line] for f in failures],
    }
    with whole_file(_marker(folder, number)) as temporary:
        temporary.write_text(json.dumps(marker))
    return number


def failures_of(marker: Mapping[str, Any]) -> Iterator[Failure]:
    """The failures of a finished part."""
    return (Failure(*entry) for entry in marker["failures"])


def _property_to_arrow(values: Sequence[Any]) -> tuple[str, Any]:
    """Kind of values and their Arrow array; no array for values that are no property."""
    try:
        array = pa.array(values, from_pandas=True)
        if pa.types.is_null(array.type):
            return "nothing", array
        if pa.types.is_temporal(array.type):
            raise pa.ArrowTypeError("times are kept as text")
        kind = kind_of_arrow(array.type, "", 0, len(array))
        if kind == "text":
            return kind, array.cast(pa.string())
        return kind, array
    except DatasetError:
        return "", None
    except (pa.ArrowException, OverflowError, UnicodeError):
        if any(isinstance(value, list | tuple | dict | set | np.ndarray) for value in values):
            return "", None
        kinds = {type(value) for value in values if value is not None}
        return "text" if len(kinds) == 1 else "mixed", pa.array(map(_text, values), pa.string())


def _text(value: Any) -> str | None:
    if value is None or value != value:  # NaN
        return None
    return str(value).lower() if isinstance(value, bool) else _storable(str(value))


def _storable(text: str) -> str:
    """Text without the stray bytes that names of files may have, which are no text."""
    return text.encode("utf-8", "backslashreplace").decode()


def _property(table: Any, name: str, kind: Kind) -> Column:
    if _PREFIX + name not in table.column_names:
        return column_from_arrow(pa.nulls(len(table)), kind)
    return column_from_arrow(table.column(_PREFIX + name), kind)


def _id_hashes(ids: Sequence[str]) -> npt.NDArray[np.uint64]:
    return np.array([id_hash(one) for one in ids], np.uint64)


def id_hash(text: str) -> int:
    """64 bits that tell an id from others; of a million, two are alike once in 10^7 datasets."""
    digest = hashlib.blake2b(_storable(text).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def _write_arrow(path: Path, table: Any) -> None:
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with (
        whole_file(path) as temporary,
        pa.OSFile(str(temporary), "wb") as sink,
        pa.ipc.new_file(sink, table.schema, options=options) as writer,
    ):
        writer.write_table(table)


def _key(parts: Sequence[Sequence[Member]], options: PartOptions) -> str:
    """Hash of all that the parts depend on: files by path, size and time of change; options."""
    files = {}
    for path in dict.fromkeys(member.path for part in parts for member in part):
        status = Path(path).stat()
        files[str(Path(path).absolute())] = [status.st_size, status.st_mtime_ns]
    entries = [
        version("crystalcodec"),
        asdict(options),
        files,
        [[asdict(member) for member in part] for part in parts],
    ]
    return hashlib.sha256(json.dumps(entries).encode()).hexdigest()


def _marker(folder: Path, number: int) -> Path:
    return folder / f"{number:06d}.json"


def _batch(folder: Path, number: int, batch: int) -> Path:
    return folder / f"{number:06d}.{batch:04d}.arrow"
