"""The file of a hull: Parquet with a row for each phase, and what it was made of."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from crystalcodec.elements import MAX_ATOMIC_NUMBER
from crystalcodec.io.whole import whole_file
from crystalcodec.relaxation.base import PotentialError

if TYPE_CHECKING:
    from crystalcodec.relaxation.hull import Hull

__all__ = ["read_hull", "write_hull"]

FORMAT: Final = 1
KEY: Final = b"crystalcodec.hull"


def write_hull(hull: Hull, path: str | Path) -> None:
    """Write a hull; see :meth:`Hull.write`.

    Formulas, formation energies and energies above the hull are there for other readers; the
    compositions and energies alone are read back.
    """
    rows, numbers = np.nonzero(hull.compositions)
    ends = np.zeros(len(hull) + 1, np.int32)
    np.cumsum(np.bincount(rows, minlength=len(hull)), out=ends[1:])
    amounts = hull.compositions[rows, numbers]
    table = pa.table(
        {
            "id": pa.array([str(one) for one in hull.ids], pa.string()),
            "formula": pa.array(hull.formulas, pa.string()),
            "elements": pa.ListArray.from_arrays(ends, pa.array(numbers.astype(np.uint8))),
            "amounts": pa.ListArray.from_arrays(ends, pa.array(amounts.astype(np.int64))),
            "energy_per_atom": pa.array(hull.energies),
            "formation_energy_per_atom": pa.array(hull.formation_energies, from_pandas=True),
            "energy_above_hull": pa.array(hull.above, from_pandas=True),
        }
    )
    stored = {
        "format": FORMAT,
        "potential": hull.potential,
        "source": hull.source,
        "settings": dict(hull.settings),
        "content_hash": hull.content_hash,
        "created_by": {"crystalcodec": version("crystalcodec"), "pyarrow": pa.__version__},
    }
    described = {KEY: json.dumps(stored, sort_keys=True)}
    with whole_file(path) as partial:
        pq.write_table(table.replace_schema_metadata(described), partial, compression="zstd")


def read_hull(path: str | Path) -> dict[str, Any]:
    """What a :class:`Hull` takes, from its file; see :meth:`Hull.read`."""
    try:
        table = pq.read_table(path)
    except FileNotFoundError:
        raise PotentialError(f"no hull at {path}: there is no such file") from None
    except (pa.ArrowException, OSError) as error:
        raise PotentialError(f"{path} is no readable Parquet file ({error})") from None
    stored = (table.schema.metadata or {}).get(KEY)
    if stored is None:
        raise PotentialError(
            f"{path} is no hull; make one with 'crystalcodec hull build DATASET -o HULL'"
        )
    try:
        return _held(table, json.loads(stored), path)
    except PotentialError:
        raise
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise PotentialError(
            f"{path} is a damaged hull ({type(error).__name__}: {error}); get or make the file "
            "again"
        ) from None


def _held(table: pa.Table, told: dict[str, Any], path: str | Path) -> dict[str, Any]:
    """What rows and metadata say; any error where they are not those of a hull."""
    from crystalcodec.relaxation.hull import Hull

    if told.get("format") != FORMAT:
        raise PotentialError(
            f"{path} has hull format {told.get('format')}, this version of crystalcodec reads "
            f"format {FORMAT}: install the version that wrote it"
        )
    elements, amounts = (table.column(name).combine_chunks() for name in ("elements", "amounts"))
    rows = np.repeat(np.arange(len(table)), elements.value_lengths().to_numpy())
    compositions = np.zeros((len(table), MAX_ATOMIC_NUMBER + 1), np.int64)
    compositions[rows, elements.flatten().to_numpy()] = amounts.flatten().to_numpy()
    found = {
        "potential": told["potential"],
        "compositions": compositions,
        "energies": table.column("energy_per_atom").to_numpy(),
        "ids": np.array(table.column("id").to_pylist(), object),
        "source": told["source"],
        "settings": dict(told["settings"]),
    }
    if Hull(**found).content_hash != told["content_hash"]:
        raise PotentialError(
            f"{path} was changed after it was written: its phases have another hash; get or make "
            "the file again"
        )
    return found
