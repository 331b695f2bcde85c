"""Relaxed crystals as a dataset on disk, and as a table with a row for every crystal given."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from crystalcodec.data.dataset import Dataset
from crystalcodec.failures import Failure
from crystalcodec.io.whole import whole_file
from crystalcodec.relaxation.base import PotentialError, Relaxed

__all__ = ["energy_column", "from_dataset", "to_dataset", "write_table"]

_KEY: Final = "relaxation"
_FORMAT: Final = 1
_POSITION: Final = "position"
# Columns of Relaxed, and their names and units in a dataset; energies are named by the potential.
_ENERGIES: Final = {"energies": "energy_per_atom", "initial_energies": "initial_energy_per_atom"}
_COLUMNS: Final = {
    "max_forces": ("max_force", "eV/Å"),
    "max_stresses": ("max_stress", "GPa"),
    "n_steps": ("n_steps", ""),
    "converged": ("converged", ""),
    "volume_changes": ("volume_change", ""),
    "rmsds": ("rmsd_to_relaxed", "Å"),
}


def energy_column(potential: str, *, initial: bool = False) -> str:
    """The column that holds the energies of a potential, eV/atom; of another it has another name.

    >>> energy_column("chgnet-0.3.0")
    'energy_per_atom_chgnet_0_3_0'
    """
    stem = _ENERGIES["initial_energies" if initial else "energies"]
    return f"{stem}_{re.sub(r'[^0-9A-Za-z]+', '_', potential)}"


def to_dataset(relaxed: Relaxed, ids: Sequence[str] | None = None, *, given: str = "") -> Dataset:
    """The relaxed crystals with their columns; failures and settings are in its metadata.

    Parameters
    ----------
    relaxed
        m rows of n crystals.
    ids
        Of the n crystals given, each once; their positions if not given.
    given
        Content hash of the n crystals, where it is to be kept.
    """
    names = [str(i) for i in range(relaxed.n)] if ids is None else list(ids)
    if len(names) != relaxed.n:
        raise PotentialError(f"{len(names)} ids of {relaxed.n} crystals, wanted one each")
    columns: dict[str, Any] = {_POSITION: relaxed.positions}
    units = {}
    for column in _ENERGIES:
        name = energy_column(relaxed.potential, initial=column.startswith("initial"))
        columns[name], units[name] = getattr(relaxed, column), "eV/atom"
    for column, (name, unit) in _COLUMNS.items():
        columns[name] = getattr(relaxed, column)
        if unit:
            units[name] = unit
    told = {
        "format": _FORMAT,
        "potential": relaxed.potential,
        "n": relaxed.n,
        "given": given,
        "settings": relaxed.settings,
        "failures": [[one.index, one.reason, one.detail] for one in relaxed.failures],
    }
    return Dataset.from_crystals(
        relaxed.crystals,
        [names[i] for i in relaxed.positions.tolist()],
        columns,
        units=units,
        notes={_KEY: told},
    )


def from_dataset(dataset: Dataset, source: str = "the dataset") -> Relaxed:
    """What :func:`to_dataset` was given.

    Raises
    ------
    PotentialError
        A dataset of something else.
    """
    told = dataset.metadata.notes.get(_KEY)
    if not isinstance(told, dict) or told.get("format") != _FORMAT:
        raise PotentialError(f"{source} holds no relaxed crystals: 'crystalcodec relax' makes some")
    try:
        potential = told["potential"]
        columns: dict[str, Any] = {
            column: dataset.numeric(energy_column(potential, initial=column.startswith("initial")))
            for column in _ENERGIES
        }
        for column, (name, _) in _COLUMNS.items():
            columns[column] = dataset.numeric(name)
        columns["n_steps"] = columns["n_steps"].astype(np.int64)
        columns["converged"] = columns["converged"].astype(bool)
        return Relaxed(
            potential=potential,
            n=told["n"],
            positions=np.asarray(dataset.column(_POSITION), np.int64),
            crystals=dataset.crystals,
            failures=tuple(Failure(*one) for one in told["failures"]),
            settings=told["settings"],
            **columns,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise PotentialError(f"{source} is damaged: {error}") from None


def write_table(
    relaxed: Relaxed,
    path: str | Path,
    *,
    ids: Sequence[str],
    formulas: Sequence[str],
    unread: Sequence[Failure] = (),
) -> None:
    """Write a CSV: a row for each crystal given, converged or not or failed, then what was unread.

    Parameters
    ----------
    relaxed
        Of n crystals.
    path
        The file.
    ids, formulas
        Of the n crystals.
    unread
        Records of files that gave no crystal; their source is their id.
    """
    energies = [energy_column(relaxed.potential, initial=initial) for initial in (False, True)]
    names = [name for name, _ in _COLUMNS.values() if name != "converged"]
    header = ["id", "formula", "status", *energies, *names, "potential", "reason", "detail"]
    rows: dict[int, list[Any]] = {}
    status = np.where(relaxed.converged, "converged", "not converged").tolist()
    values = [relaxed.energies, relaxed.initial_energies]
    values += [getattr(relaxed, one) for one in _COLUMNS if one != "converged"]
    for row, i in enumerate(relaxed.positions.tolist()):
        numbers = [f"{column[row].item():.9g}" for column in values]
        rows[i] = [ids[i], formulas[i], status[row], *numbers, relaxed.potential, "", ""]
    blank = [""] * len(values)
    for one in relaxed.failures:
        i, told = one.index, [relaxed.potential, one.reason, one.detail]
        rows[i] = [ids[i], formulas[i], "failed", *blank, *told]
    with (
        whole_file(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows[i] for i in sorted(rows))
        for one in unread:
            writer.writerow([one.source, "", "failed", *blank, "", one.reason, one.detail])
