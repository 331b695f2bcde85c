"""Datasets of crystals on disk: import, filter, split, describe, export.

A dataset is one Parquet file. Its columns ``id`` (string), ``lattice`` (nine numbers: rows a, b,
c, Å), ``frac_coords`` (three numbers a site, in [0, 1)) and ``numbers`` (atomic numbers) are the
crystals; every other column is a property, null where it is missing. Units, source, licence and a
content hash are in the schema metadata under ``crystalcodec``, as JSON.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from crystalcodec.data.columns import DatasetError as DatasetError
    from crystalcodec.data.dataset import Dataset as Dataset
    from crystalcodec.data.dataset import DatasetHash as DatasetHash
    from crystalcodec.data.dataset import DatasetMetadata as DatasetMetadata
    from crystalcodec.data.dataset import prototypes as prototypes
    from crystalcodec.data.storage import DatasetWriter as DatasetWriter
    from crystalcodec.data.storage import iter_dataset as iter_dataset

_PUBLIC: Final = {
    "Dataset": "dataset",
    "DatasetError": "columns",
    "DatasetHash": "dataset",
    "DatasetMetadata": "dataset",
    "DatasetWriter": "storage",
    "iter_dataset": "storage",
    "prototypes": "dataset",
}

__all__ = list(_PUBLIC)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_PUBLIC)
