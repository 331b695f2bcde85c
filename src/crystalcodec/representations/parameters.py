"""Values of parameters held against their types, so that a wrong one is told by its name."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from typing import Any

__all__ = ["misfit"]

_WORDS: typing.Final = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    type(None): "nothing",
}


def misfit(kind: type, parameters: Mapping[str, Any]) -> str:
    """What is wrong with the first value that is not of its parameter's type; empty if none is.

    Lists stand for tuples and whole numbers for numbers, as JSON and TOML write them; true and
    false are no numbers, and a whole number is written without a point.

    Parameters
    ----------
    kind
        A class with annotations.
    parameters
        Values by name. Names without an annotation are passed over.

    Examples
    --------
    >>> from crystalcodec.representations.ircr import IRCR
    >>> misfit(IRCR, {"max_sites": 8, "tolerance": 1})
    ''
    >>> misfit(IRCR, {"max_sites": 8.5})
    'max_sites is 8.5, wanted a whole number'
    """
    types_of = typing.get_type_hints(kind)
    for name, value in parameters.items():
        if name in types_of and not _fits(value, types_of[name]):
            return f"{name} is {value!r}, wanted {_words(types_of[name])}"
    return ""


def _fits(value: Any, wanted: Any) -> bool:
    origin, parts = typing.get_origin(wanted), typing.get_args(wanted)
    if origin is typing.Literal:
        return any(value == one and type(value) is type(one) for one in parts)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, one) for one in parts)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            return False
        if parts[-1] is Ellipsis:
            return all(_fits(one, parts[0]) for one in value)
        return len(value) == len(parts) and all(map(_fits, value, parts))
    if wanted in (int, float):
        return isinstance(value, int | wanted) and not isinstance(value, bool)
    # Of other types the class itself is the judge.
    return wanted not in _WORDS or isinstance(value, wanted)


def _words(wanted: Any) -> str:
    origin, parts = typing.get_origin(wanted), typing.get_args(wanted)
    if origin is typing.Literal:
        return " or ".join(map(str, parts))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(_words, parts))
    if origin is tuple:
        if parts[-1] is Ellipsis:
            return f"a list, each entry {_words(parts[0])}"
        return f"a list of {len(parts)}: {', '.join(map(_words, parts))}"
    return _WORDS.get(wanted, str(wanted))
