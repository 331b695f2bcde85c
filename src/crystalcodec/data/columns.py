"""Property columns: their four kinds, in memory and as Arrow arrays.

========= ================================= ===============================
kind      in memory                         on disk
========= ================================= ===============================
number    float64, NaN where missing        double, null where missing
integer   int64, nothing missing            int64
boolean   bool, or object with None         bool, null where missing
text      object, str or None               string, null where missing
========= ================================= ===============================

Integers with missing values are numbers. A column without any value is a number column.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, cast

import numpy as np
import numpy.typing as npt

__all__ = [
    "KINDS",
    "Column",
    "DatasetError",
    "Kind",
    "as_column",
    "column_from_arrow",
    "column_to_arrow",
    "kind_of",
    "kind_of_arrow",
    "missing",
]

Kind = Literal["number", "integer", "boolean", "text"]
Column = npt.NDArray[Any]

KINDS: Final[tuple[Kind, ...]] = ("number", "integer", "boolean", "text")
_ARROW_NAMES: Final = {
    "number": "float64",
    "integer": "int64",
    "boolean": "bool_",
    "text": "string",
}


class DatasetError(ValueError):
    """A dataset, or a request on one, that cannot be; the message says what to do."""


def kind_of(column: Column) -> Kind:
    """The kind of a column in memory."""
    if column.dtype.kind in "fib":
        kinds: dict[str, Kind] = {"f": "number", "i": "integer", "b": "boolean"}
        return kinds[column.dtype.kind]
    first = next((value for value in column if value is not None), None)
    if first is None:
        return "number"
    return "boolean" if isinstance(first, bool | np.bool_) else "text"


def missing(column: Column) -> npt.NDArray[np.bool_]:
    """(n,) where a column has no value."""
    if column.dtype.kind == "f":
        return np.isnan(column)
    if column.dtype.kind == "O":
        return np.asarray(column == None, bool)  # noqa: E711 (elementwise)
    return np.zeros(len(column), bool)


def as_column(values: npt.ArrayLike | Sequence[Any], name: str, n: int) -> Column:
    """Values, one a crystal, None or NaN where missing, as a column; a fresh read-only array.

    Raises
    ------
    DatasetError
        Another number of values than ``n``, several values a crystal, mixed kinds, or a kind that
        is no number, truth value or text.
    """
    import pyarrow as pa

    shape = np.shape(values) if isinstance(values, np.ndarray) else (len(cast(Any, values)),)
    if shape != (n,):
        raise DatasetError(
            f"property {name!r} has shape {shape}, wanted ({n},): one value for each crystal"
        )
    if isinstance(values, np.ndarray) and values.dtype.kind in "fib":
        kind = {"f": np.float64, "i": np.int64, "b": np.bool_}[values.dtype.kind]
        column: Column = np.array(values, kind)
        column.flags.writeable = False
        return column
    listed = values.tolist() if isinstance(values, np.ndarray) else list(cast(Any, values))
    try:
        array = pa.array(listed, from_pandas=True)
    except (pa.ArrowException, OverflowError, UnicodeError) as error:
        raise DatasetError(
            f"property {name!r} cannot be one column ({error}); wanted numbers, true and false, "
            "or text throughout, with None where a value is missing"
        ) from None
    return column_from_arrow(array, kind_of_arrow(array.type, name, array.null_count, n))


def kind_of_arrow(arrow_type: Any, name: str, n_missing: int, n: int) -> Kind:
    """The kind of an Arrow column with ``n_missing`` nulls in ``n`` rows.

    Raises
    ------
    DatasetError
        For dates, lists, structures and other types that are no property of a crystal.
    """
    import pyarrow.types as types

    if types.is_dictionary(arrow_type):
        arrow_type = arrow_type.value_type
    if types.is_null(arrow_type) or (n_missing == n and n > 0):
        return "number"
    if types.is_boolean(arrow_type):
        return "boolean"
    if types.is_integer(arrow_type):
        return "number" if n_missing or types.is_uint64(arrow_type) else "integer"
    if types.is_floating(arrow_type) or types.is_decimal(arrow_type):
        return "number"
    if types.is_string(arrow_type) or types.is_large_string(arrow_type):
        return "text"
    raise DatasetError(
        f"column {name!r} holds {arrow_type}, wanted numbers, true and false, or text; convert "
        "it, or leave it out by naming the columns to read"
    )


def column_from_arrow(array: Any, kind: Kind) -> Column:
    """An Arrow array (or chunked array) as a column of that kind, read-only."""
    import pyarrow as pa

    if kind == "number":
        try:  # whole numbers that float64 cannot hold are refused
            numbers = array.cast(pa.float64(), safe=pa.types.is_integer(array.type))
        except pa.ArrowInvalid as error:
            raise DatasetError(
                f"whole numbers too large for float64, in a column with missing values ({error}): "
                "give them as text"
            ) from None
        column = np.array(_plain(numbers), np.float64)
        column += 0.0  # -0.0 becomes 0.0, and a fresh array
    elif kind == "integer":
        column = np.array(_plain(array.cast(pa.int64())), np.int64)
    elif kind == "boolean":
        if array.null_count:
            column = _objects(array.cast(pa.bool_()))
        else:
            column = np.array(_plain(array.cast(pa.bool_())), np.bool_)
    else:
        column = _objects(array.cast(pa.string()))
    column.flags.writeable = False
    return column


def column_to_arrow(column: Column, kind: Kind) -> Any:
    """A column of that kind as an Arrow array, null where a value is missing.

    Raises
    ------
    DatasetError
        If the values are of another kind.
    """
    import pyarrow as pa

    wanted = getattr(pa, _ARROW_NAMES[kind])()
    if missing(column).all():
        return pa.nulls(len(column), wanted)
    own = kind_of(column)
    if own != kind and (own, kind) != ("integer", "number"):
        raise DatasetError(f"got {own} values for a {kind} column")
    return pa.array(column, wanted, from_pandas=True)


def _plain(array: Any) -> npt.NDArray[Any]:
    # Chunked arrays convert by themselves; plain arrays want to be told that a copy is fine.
    import pyarrow as pa

    if isinstance(array, pa.ChunkedArray):
        return cast(npt.NDArray[Any], array.to_numpy())
    return cast(npt.NDArray[Any], array.to_numpy(zero_copy_only=False))


def _objects(array: Any) -> Column:
    return np.array(_plain(array), object)
