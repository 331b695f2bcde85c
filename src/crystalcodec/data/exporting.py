"""Datasets to files that other programs read."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from crystalcodec.data.columns import Column, DatasetError
from crystalcodec.data.dataset import Dataset
from crystalcodec.data.storage import iter_dataset, require_new
from crystalcodec.io.formats import WRITERS, format_of
from crystalcodec.io.whole import whole_file
from crystalcodec.registry import did_you_mean

__all__ = ["EXPORT_FORMATS", "export_dataset"]

EXPORT_FORMATS: Final = (*WRITERS, "csv")
"""Formats of :func:`export_dataset`."""


def export_dataset(
    path: str | Path,
    out: str | Path,
    *,
    format: str | None = None,  # noqa: A002
    columns: Sequence[str] | None = None,
    force: bool = False,
) -> int:
    """Write a dataset to files of another format; gives the number of crystals.

    Parameters
    ----------
    path
        The dataset file.
    out
        A file or, for CIF and POSCAR without an ending, a folder of one file for each crystal;
        see :func:`crystalcodec.io.write`. A CSV table has the columns ``id``, ``formula``, the
        properties, and ``cif`` with the whole crystal, which can be imported again.
    format
        ``cif``, ``poscar``, ``extxyz``, ``ase-db``, ``json`` or ``csv``; by default what the
        ending says, and ``cif`` for a folder. CIF and POSCAR hold no properties.
    columns
        Properties to write; all where None.
    force
        Whether ``out`` may be replaced, or a folder with files in it be added to.

    Raises
    ------
    DatasetError
        No dataset, no such column or format, or an ``out`` that exists.
    """
    if format is not None and format not in EXPORT_FORMATS:
        raise DatasetError(f"no format {format!r}{did_you_mean(format, EXPORT_FORMATS)}")
    target = Path(out)
    if format is None and target.suffix and format_of(target.name) is None and not target.is_dir():
        raise DatasetError(
            f"{target.name}: the ending tells no format; wanted .cif, .poscar, .extxyz, .db, .json "
            f"or .csv, or one of the formats {', '.join(EXPORT_FORMATS)} beside it"
        )
    if not target.is_dir():
        require_new(target, force=force)
    elif any(target.iterdir()) and not force:
        raise DatasetError(
            f"{target} is a folder with files in it: give another name, or --force (force=True) "
            "to add to it"
        )
    if format == "csv" or (format is None and format_of(target.name) == "csv"):
        return _write_table(path, target, columns)
    from crystalcodec.io import write

    dataset = Dataset.read(path, columns)
    write(
        dataset.crystals,
        target,
        format=format,
        ids=dataset.ids.tolist(),
        properties={name: _values(column) for name, column in dataset.properties.items()},
    )
    return len(dataset)


def _values(column: Column) -> list[Any]:
    """Python values, None where missing."""
    return [None if value != value else value for value in column.tolist()]  # NaN


def _write_table(path: str | Path, out: Path, columns: Sequence[str] | None) -> int:
    from crystalcodec.io.writing import cif_texts

    n = 0
    with whole_file(out) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        for batch in iter_dataset(path, columns=columns):
            if n == 0:
                rows.writerow(["id", "formula", *batch.properties, "cif"])
            texts = cif_texts(batch.crystals, [str(n + i) for i in range(len(batch))])
            values = map(_values, batch.properties.values())
            rows.writerows(zip(batch.ids, batch.crystals.formulas, *values, texts, strict=True))
            n += len(batch)
    return n
