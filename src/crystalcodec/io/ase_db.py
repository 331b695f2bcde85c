"""ASE databases (SQLite): rows of atoms with key-value pairs."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import numpy as np

from crystalcodec.crystals import Crystals
from crystalcodec.io.foreign import to_ase
from crystalcodec.io.loaded import Records
from crystalcodec.io.streams import DamagedError

if TYPE_CHECKING:
    from crystalcodec.io.reading import Options, Part

__all__ = ["read_ase_db", "write_ase_db"]

# Key-value pairs of ASE allow no reserved words and no strings that look like numbers: what
# does not go there goes into the data of the row, under this name.
_DATA: Final = "crystalcodec"
# What rows with damaged fields make ASE raise.
_DAMAGED: Final = (
    TypeError,
    ValueError,
    KeyError,
    IndexError,
    AttributeError,
    AssertionError,
    OverflowError,
)
_ID_KEYS: Final = ("material_id", "mp_id", "identifier", "name", "uid")


def read_ase_db(
    records: Records, stream: IO[bytes], part: Part, options: Options
) -> Iterator[None]:
    """Add the rows of an ASE database to records; key-value pairs become properties.

    Calculated energies and forces, constraints, moments and tags are left behind.
    """
    del options
    from ase.db import connect

    with ExitStack() as stack:
        path = part.member.path
        if part.archived or path.lower().endswith(".gz"):
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="crystalcodec-"))
            path = str(Path(folder) / "rows.db")
            with Path(path).open("wb") as file:
                shutil.copyfileobj(stream, file)
        if _count(path) == 0:
            raise DamagedError("no crystal in file", "no row in it")
        index = 0
        try:
            database = connect(path, type="db", use_lock_file=False)
            for index, row in enumerate(database.select()):
                _add_row(records, row, index, part)
                yield
        except sqlite3.Error as error:
            raise DamagedError("not an ASE database", str(error)) from error
        except _DAMAGED as error:
            detail = f"{type(error).__name__} in row {index + 1}: {error}"
            raise DamagedError("damaged database", detail) from error


def _count(path: str) -> int:
    """Number of rows; asked without ASE, which would make its tables where there are none."""
    if not Path(path).stat().st_size:
        raise DamagedError("not an ASE database", "nothing in it")
    uri = f"{Path(path).resolve().as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(uri, uri=True)) as database:
            return int(database.execute("select count(*) from systems").fetchone()[0])
    except sqlite3.Error as error:
        raise DamagedError("not an ASE database", str(error)) from error


def _add_row(records: Records, row: Any, index: int, part: Part) -> None:
    source = f"{part.source}!/row {row.id}"
    if not all(row.pbc):
        detail = f"pbc {row.pbc.tolist()}: a crystal repeats in all three directions"
        records.fail("not periodic", detail, index=index, source=source)
        return
    properties = dict(row.key_value_pairs)
    more = row.data.get(_DATA)
    if isinstance(more, dict):
        properties.update(more)
    name = properties.pop("crystal_id", None)
    if name is None:
        name = next((properties[key] for key in _ID_KEYS if key in properties), None)
    cell = np.asarray(row.cell, float)
    try:
        coords = np.linalg.solve(cell.T, np.asarray(row.positions, float).T).T
    except np.linalg.LinAlgError:
        detail = f"cell {cell.tolist()} closes no volume"
        records.fail("no volume", detail, index=index, source=source)
        return
    records.add(
        cell,
        coords,
        row.numbers,
        index=index,
        name=f"{part.name}/{row.id}" if name is None else str(name),
        source=source,
        properties=properties,
    )


def write_ase_db(
    crystals: Crystals,
    path: Path,
    ids: Sequence[str] | None,
    properties: Mapping[str, Sequence[Any]],
) -> None:
    """Write all crystals as rows; the id as ``crystal_id`` in the data of the row."""
    from ase.db import connect

    database = connect(path, type="db", append=False, use_lock_file=False)
    with database:
        for i, atoms in enumerate(to_ase(crystals)):
            pairs: dict[str, Any] = {}
            data: dict[str, Any] = {} if ids is None else {"crystal_id": str(ids[i])}
            for name, values in properties.items():
                value = values[i].item() if isinstance(values[i], np.generic) else values[i]
                if value is not None:
                    (pairs if _fits_pair(name, value) else data)[name] = value
            database.write(atoms, key_value_pairs=pairs, data={_DATA: data} if data else {})


def _fits_pair(name: str, value: Any) -> bool:
    """Whether ASE takes a value as a key-value pair."""
    from ase.db.core import check

    try:
        with warnings.catch_warnings():
            # A key that is also a formula: ASE could not find it again.
            warnings.simplefilter("error")
            check({name: value})
    except (ValueError, UserWarning):
        return False
    return True
