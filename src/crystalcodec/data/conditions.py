"""Conditions on properties, such as ``e_above_hull <= 0.1``."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.data.columns import DatasetError, kind_of, missing
from crystalcodec.data.dataset import Dataset

__all__ = ["Condition", "parse_condition"]

_COMPARISONS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
}
_PATTERN: Final = re.compile(
    r"\s*(?P<name>[^<>=!]+?)\s*(?P<sign><=|>=|==|!=|<|>|=)\s*(?P<value>.*?)\s*"
)
_TRUTH: Final = {"true": True, "false": False}


@dataclass(frozen=True)
class Condition:
    """A property compared with a value; a crystal without the property fails it.

    Parameters
    ----------
    name
        The property column.
    sign
        One of ``< <= == != >= >``; for text ``==`` and ``!=``.
    value
        As it was written: a number, true or false, or a text (in quotes or not).
    """

    name: str
    sign: str
    value: str

    def __str__(self) -> str:
        return f"{self.name} {self.sign} {self.value}"

    def passes(self, dataset: Dataset) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """(n,) which crystals pass, and (n,) which have no value and fail for it.

        Raises
        ------
        DatasetError
            No such column, or a value or sign that does not go with its kind.
        """
        column = dataset.column(self.name)
        without = missing(column)
        if without.all():  # such a part of a text column is a number column
            return ~without, without
        compare = _COMPARISONS[self.sign]
        if kind_of(column) == "text":
            if self.sign not in ("==", "!="):
                raise DatasetError(
                    f"condition {str(self)!r}: {self.name!r} holds text, which compares by == or "
                    "!= only"
                )
            fits = np.asarray(compare(column, _unquoted(self.value)), bool)
        else:
            fits = compare(np.asarray(column, np.float64), self._number())
        return np.asarray(fits & ~without), without

    def _number(self) -> float:
        if self.value.lower() in _TRUTH:
            return float(_TRUTH[self.value.lower()])
        try:
            number = float(self.value)
        except ValueError:
            number = np.nan
        if np.isnan(number):
            raise DatasetError(
                f"condition {str(self)!r}: {self.name!r} holds numbers, got {self.value!r}; "
                "wanted a number, true or false"
            )
        return number


def parse_condition(text: str) -> Condition:
    """Read a condition: a column name, one of ``< <= == != >= > =``, and a value.

    Raises
    ------
    DatasetError
        If it is none.

    >>> parse_condition("e_above_hull<=0.1")
    Condition(name='e_above_hull', sign='<=', value='0.1')
    """
    match = _PATTERN.fullmatch(text)
    if match is None or not match["value"] or set(match["value"]) & set("<>="):
        raise DatasetError(
            f"condition {text!r}: wanted a property, a comparison (< <= == != >= >) and one value, "
            'such as "e_above_hull <= 0.1"; give several conditions one by one'
        )
    sign = "==" if match["sign"] == "=" else match["sign"]
    return Condition(match["name"], sign, match["value"])


def _unquoted(text: str) -> str:
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    return text
