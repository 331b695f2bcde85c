"""Which arrays of a representation are the picture that diffuses, and what stands beside it.

The picture is channels first, (channels, *size), of one, two or three axes; further arrays are a
row of numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from torch import Tensor

from crystalcodec.models.base import ModelError, fixed_arrays
from crystalcodec.representations.base import Representation

__all__ = ["AXES", "Layout", "layout_of"]

AXES: Final = ("h", "hw", "dhw")
"""Letters of the axes that a network of one, two and three dimensions goes over."""

# Axes that are no space: the depth of UniMat counts the atoms of an element.
_COUNTED: Final = {"unimat": "d"}
# Grids whose axes run through the unit cell, so that the last point is the first one's neighbour.
_PERIODIC: Final = frozenset({"density_cell"})
# An array of two axes of which nothing is said is a table; few columns are channels.
_COLUMNS: Final = 16
_SMALLEST: Final = 4


@dataclass(frozen=True)
class Layout:
    """How arrays become a picture and a row of numbers.

    Parameters
    ----------
    axes
        Letters of the axes that stay, ``h``, ``hw`` or ``dhw``; all others become channels.
    letters
        Of each array that is part of the picture its axes, in the order of the array.
    shapes
        Of all arrays.
    size
        Places along each axis.
    periodic
        Whether the last place along each axis is the first one's neighbour.
    """

    axes: str
    letters: Mapping[str, str]
    shapes: Mapping[str, tuple[int, ...]]
    size: tuple[int, ...]
    periodic: bool

    @property
    def beside(self) -> tuple[str, ...]:
        """Names of the arrays beside the picture."""
        return tuple(name for name in self.shapes if name not in self.letters)

    def first(self, name: str, array: Tensor) -> Tensor:
        """(n, channels, *size) of an array of the picture (n, ...)."""
        letters = self.letters[name]
        channels = [i for i, letter in enumerate(letters, 1) if letter not in self.axes]
        places = [letters.index(letter) + 1 for letter in self.axes]
        moved = array.permute(0, *channels, *places)
        return moved.reshape(len(array), -1, *self.size)

    def back(self, name: str, picture: Tensor) -> Tensor:
        """The array of (n, channels, *size)."""
        letters, shape = self.letters[name], self.shapes[name]
        order = [i for i, letter in enumerate(letters) if letter not in self.axes]
        order += [letters.index(letter) for letter in self.axes]
        moved = picture.reshape(len(picture), *(shape[i] for i in order))
        return moved.permute(0, *(order.index(i) + 1 for i in range(len(order))))

    def channels(self, name: str) -> int:
        """Channels of an array of the picture."""
        return math.prod(self.shapes[name]) // math.prod(self.size)


def layout_of(
    representation: Representation, axes: str | None = None
) -> tuple[Layout | None, str | None]:
    """The layout of a representation, or why it has none.

    Parameters
    ----------
    axes
        ``h``, ``hw`` or ``dhw``; None for all that its ``layouts`` name, save that the depth of
        UniMat counts atoms. What they do not name is a table of rows (``h``, with up to 16
        columns as channels) or a picture.

    Raises
    ------
    ModelError
        Other axes.
    """
    if axes is not None and axes not in AXES:
        raise ModelError(f"axes is {axes!r}, wanted one of {', '.join(AXES)}")
    shapes, reason = fixed_arrays(representation)
    if reason:
        return None, reason
    letters = {name: _letters(representation, name, shape) for name, shape in shapes.items()}
    if axes is None:
        counted = _COUNTED.get(representation.name, "")
        named = {letter for word in letters.values() for letter in word} - {"c", *counted}
        axes = "".join(letter for letter in "dhw" if letter in named)
    pictures = {name: word for name, word in letters.items() if axes and {*axes} <= {*word}}
    sizes = {
        tuple(shapes[name][word.index(letter)] for letter in axes)
        for name, word in pictures.items()
    }
    shown = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
    if len(sizes) != 1:
        return (
            None,
            f"it has {shown}; wanted arrays of one size that are a table, a picture or a "
            "volume" + (f" of axes {axes}" if axes else ""),
        )
    (size,) = sizes
    if min(size) < _SMALLEST:
        return None, f"it has {shown}; wanted at least {_SMALLEST} places along each axis"
    beside = {field.array for field in representation.fields if field.kind == "index"} - {*pictures}
    if beside:
        return None, f"{', '.join(sorted(beside))} holds whole numbers beside the picture"
    periodic = representation.name in _PERIODIC and axes == "dhw"
    return Layout(axes, pictures, shapes, size, periodic), None


def _letters(representation: Representation, name: str, shape: tuple[int, ...]) -> str:
    """The axes of an array, a letter each; empty for one that is none of a picture's."""
    if representation.layouts:
        return representation.layouts.get(name, "")
    if len(shape) == 2:
        return "hc" if shape[1] <= _COLUMNS else "hw"
    return "hwc" if len(shape) == 3 else ""
