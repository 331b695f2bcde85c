"""The arrays of a crystal as small pictures, by what their layouts and fields say they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.representations.base import Representation
from crystalcodec.representations.images import ImageRepresentation

__all__ = ["Tile", "tiles"]

Array = npt.NDArray[Any]

_MOST_TILES: Final = 4
_FEW: Final = 12  # numbers that are written out, not painted


@dataclass(frozen=True, eq=False)
class Tile:
    """A picture to be drawn: numbers, or red, green and blue.

    Parameters
    ----------
    pixels
        (h, w) numbers or (h, w, 3) colours from 0 to 1.
    caption
        What it shows.
    signed
        Whether 0 is the middle of the colours.
    square
        Whether pixels are square; where not, the picture fills its place.
    colours
        Name of the colour map.
    numbers
        Whether the few numbers are written out.
    line
        Whether the numbers are a row to be drawn as a line.
    """

    pixels: Array
    caption: str = ""
    signed: bool = False
    square: bool = True
    colours: str = "viridis"
    numbers: bool = False
    line: bool = False


def tiles(representation: Representation, arrays: Mapping[str, Array]) -> list[Tile]:
    """What to draw of the arrays of one crystal (without batch axis), at most four pictures.

    Arrays with a layout are drawn as the pictures and volumes that they are, volumes as their
    maximum along the depth and, where there is one channel, their middle slice. All others are
    laid flat. Where an array has fields of different units, each is scaled to its own range.
    """
    found: list[list[Tile]] = []
    for name, array in arrays.items():
        if not array.size:
            continue
        layout = representation.layouts.get(name)
        label = "" if name == representation.name else name
        picture = isinstance(representation, ImageRepresentation)
        scaled = array if picture else _scaled(representation, name, array)
        if layout is None or not {"h", "w"} <= set(layout):
            few = 0 < array.size <= _FEW
            one_row = array.size == max(array.shape, default=0)
            if one_row and not few and array.dtype.kind == "f":
                found.append([Tile(scaled, label, line=True)])
                continue
            found.append([Tile(array, label, numbers=True) if few else _flat(scaled, label)])
        elif "d" in layout:
            found.append(list(_volume(array, layout, label)))
        else:
            colours = "gray" if picture else "viridis"
            found.append(list(_picture(scaled, layout, label, colours)))
    return _some(found)


def _some(found: list[list[Tile]]) -> list[Tile]:
    """At most four tiles of all arrays, the first of each before the second of any."""
    ranked = sorted((k, a) for a, of_array in enumerate(found) for k in range(len(of_array)))
    chosen = sorted((a, k) for k, a in ranked[:_MOST_TILES])
    kept = [found[a][k] for a, k in chosen]
    more = len(ranked) - len(kept)
    if more and kept:
        kept[-1] = replace(kept[-1], caption=f"{kept[-1].caption} (+{more})")
    return kept


def _scaled(representation: Representation, name: str, array: Array) -> Array:
    """The array with each of its fields divided by its largest magnitude."""
    scaled = array.astype(np.float64)
    parts = []
    for field in representation.fields:
        if field.array == name:
            # A ragged axis takes the place of the batch axis.
            ragged = bool(field.shape) and isinstance(field.shape[0], str)
            parts.append(field.of({name: scaled if ragged else scaled[None]}))
    for part in parts or [scaled]:
        part /= max(float(np.abs(part).max(initial=0.0)), 1e-12)
    return scaled


def _picture(array: Array, layout: str, label: str, colours: str) -> Iterator[Tile]:
    """A tile for each channel; three channels of a picture are its colours."""
    channels = _channels_first(array, layout)
    if len(channels) == 3 and colours == "gray":
        yield Tile(np.moveaxis(channels, 0, -1).clip(0, 1), label)
        return
    for k, channel in enumerate(channels):
        caption = _joined(label, f"channel {k + 1}") if len(channels) > 1 else label
        yield Tile(channel, caption, bool((channel < 0).any()), colours=colours)


def _volume(array: Array, layout: str, label: str) -> Iterator[Tile]:
    """The maximum along the depth of each channel, and the middle slice where there is one."""
    channels = _channels_first(array, layout)
    # What stands out is farthest from what most of the volume holds: 0, or a value for nothing.
    background = float(np.median(channels))
    signed = background == 0.0 and bool((channels < 0).any())
    several = len(channels) > 1
    for k, volume in enumerate(channels):
        what = (
            f"channel {k + 1}, max." if several else "maximum" if label else "maximum along depth"
        )
        place = np.abs(volume - background).argmax(axis=0)[None]
        strongest = np.take_along_axis(volume, place, axis=0)[0]
        yield Tile(strongest, _joined(label, what), signed, colours="magma")
        if not several:
            middle = volume[len(volume) // 2]
            yield Tile(middle, _joined(label, "middle slice"), signed, colours="magma")


def _joined(label: str, what: str) -> str:
    return f"{label}: {what}" if label else what


def _channels_first(array: Array, layout: str) -> Array:
    if "c" not in layout:
        return array[None]
    return np.moveaxis(array, layout.index("c"), 0)


def _flat(array: Array, label: str) -> Tile:
    """Any array as a picture of two axes, the longer one to the right."""
    if array.ndim != 2:
        array = array.reshape(len(array) if array.ndim > 1 else 1, -1)
    if array.shape[0] > array.shape[1]:
        array = array.T
    if array.shape[0] == 1 and array.shape[1] > 256:
        # A long list of numbers, line by line.
        side = int(np.ceil(np.sqrt(array.shape[1])))
        array = np.pad(array[0], (0, side * side - array.shape[1])).reshape(side, side)
    square = array.shape[1] <= 2 * array.shape[0]
    return Tile(array, label, bool((array < 0).any()), square)
