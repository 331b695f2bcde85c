"""Features of nodes by name: numbers that the element of a site has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt

from crystalcodec.elements import (
    ATOMIC_MASSES,
    ELECTRONEGATIVITIES,
    GROUPS,
    MAX_ATOMIC_NUMBER,
    PERIODS,
    SYMBOLS,
)
from crystalcodec.registry import did_you_mean
from crystalcodec.representations.base import RepresentationError
from crystalcodec.representations.crystal_graph.cgcnn_bins import CGCNN_BINS, cgcnn_features
from crystalcodec.representations.element_tables import ELEMENT_TABLES, element_table

__all__ = ["NODE_FEATURES", "check_node_features", "node_table"]

Floats = npt.NDArray[np.float64]
Table = tuple[Floats, tuple[str, ...]]

_ROWS: Final = MAX_ATOMIC_NUMBER + 1


def _one_hot(places: npt.NDArray[np.int64], names: list[str]) -> Table:
    """Rows of one 1; of NaN for row 0, "no element"."""
    table = np.zeros((_ROWS, len(names)))
    table[np.arange(1, _ROWS), places[1:]] = 1.0
    table[0] = np.nan
    return table, tuple(names)


def _column(name: str, values: Floats) -> Table:
    column = np.array(values, float)[:, None]
    column[0] = np.nan
    return column, (name,)


def _groups() -> Table:
    return _one_hot(GROUPS.astype(np.int64) - 1, [f"group_{k}" for k in range(1, 19)])


def _periods() -> Table:
    return _one_hot(PERIODS.astype(np.int64) - 1, [f"period_{k}" for k in range(1, 8)])


def _blocks() -> Table:
    bins = next(bins for name, _, bins in CGCNN_BINS if name == "block")
    heavy = np.r_[np.full(2, 3), np.full(10, 2), np.full(6, 1)]  # Md and No, Lr to Cn, Nh to Og
    places = np.r_[0, [int(digit) for digit in bins], heavy]
    places[2] = 0  # helium's electrons are 1s²
    return _one_hot(places, [f"block_{letter}" for letter in "spdf"])


def _elements() -> Table:
    return _one_hot(np.arange(_ROWS) - 1, [f"element_{symbol}" for symbol in SYMBOLS[1:]])


NODE_FEATURES: Final[Mapping[str, Callable[[], Table]]] = {
    "element": _elements,
    "group": _groups,
    "period": _periods,
    "block": _blocks,
    "atomic_number": lambda: _column("atomic_number", np.arange(_ROWS, dtype=float)),
    "atomic_mass": lambda: _column("atomic_mass", ATOMIC_MASSES),
    "electronegativity": lambda: _column("electronegativity", ELECTRONEGATIVITIES),
    "cgcnn": cgcnn_features,
}
"""Features of a node beside the tables of :data:`ELEMENT_TABLES`, which go by their own names."""


def check_node_features(names: tuple[str, ...]) -> None:
    """Whether all names are known, without reading a table.

    Raises
    ------
    RepresentationError
        An unknown name.
    """
    known = [*NODE_FEATURES, *ELEMENT_TABLES]
    for name in names:
        if name not in known:
            raise RepresentationError(f"no node feature {name!r}{did_you_mean(name, known)}")


@cache
def node_table(names: tuple[str, ...]) -> Table:
    """Features (119, d) by atomic number, NaN where an element lacks one, and their names.

    Raises
    ------
    MissingExtraError
        A table of elements whose package is not installed.
    """
    parts = []
    for name in names:
        if name in NODE_FEATURES:
            parts.append(NODE_FEATURES[name]())
        else:
            table = element_table(name)
            parts.append((table.values, tuple(f"{name}_{one}" for one in table.feature_names)))
    values = np.concatenate([np.zeros((_ROWS, 0)), *(part[0] for part in parts)], axis=1)
    return values, tuple(name for part in parts for name in part[1])
