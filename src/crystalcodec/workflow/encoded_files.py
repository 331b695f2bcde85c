"""Files of arrays and pictures, read piece by piece, each with what encoded it."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from zipfile import BadZipFile

import numpy as np

from crystalcodec.failures import Failure
from crystalcodec.io.png import Picture, read_pngs
from crystalcodec.representations.base import (
    Arrays,
    Encoded,
    InvertibleRepresentation,
    Representation,
    RepresentationError,
)
from crystalcodec.representations.images import ImageRepresentation
from crystalcodec.representations.npy_files import StorageError
from crystalcodec.representations.storage import DOCUMENT, load_encoded, representation_from
from crystalcodec.workflow.encoding import CONFIG_KEY, ID_KEY

__all__ = ["Piece", "Wanted", "read_pieces"]

# Crystals that are decoded at once, whatever their arrays hold.
_PIECE: Final = 512
_ENDINGS: Final = (".png", ".npy", ".npz")


@dataclass(frozen=True)
class Piece:
    """Arrays of one representation and where each came from, or what could not be read.

    ``start`` is the place of the first in its file; None where each has a file of its own.
    """

    representation: InvertibleRepresentation | None = None
    arrays: Arrays | Encoded = field(default_factory=dict)
    ids: Sequence[str] = ()
    sources: Sequence[str] = ()
    failures: Sequence[Failure] = ()
    start: int | None = None

    def placed(self, failure: Failure) -> Failure:
        """A failure to decode one of these, with its file and its place in it."""
        index = 0 if self.start is None else self.start + failure.index
        return dataclasses.replace(failure, index=index, source=self.sources[failure.index])


@dataclass(frozen=True)
class Wanted:
    """What the caller says about the representation, which wins over what files say."""

    name: str | None
    parameters: Mapping[str, Any]

    def of(self, stored: Mapping[str, Any] | None, source: str) -> InvertibleRepresentation:
        """What the caller or, where it says nothing, the file names.

        Raises
        ------
        StorageError
            Nothing of use is named: the file's fault.
        RepresentationError, UnknownNameError
            The caller's name or parameters are wrong.
        """
        if self.name is None and stored is None:
            raise StorageError(f"{source} does not tell its representation: name it (--from)")
        if stored is None or (self.name is not None and stored.get("name") != self.name):
            return _invertible({"name": self.name, **self.parameters})
        try:
            built = _invertible(stored)
        except ValueError as error:
            raise StorageError(str(error)) from None
        return _invertible({**stored, **self.parameters}) if self.parameters else built


def _invertible(config: Mapping[str, Any]) -> InvertibleRepresentation:
    built = representation_from(config)
    if not isinstance(built, InvertibleRepresentation):
        raise RepresentationError(f"{built.name} cannot be decoded: lost is {built.lost}")
    return built


def read_pieces(paths: Sequence[str | os.PathLike[str]], wanted: Wanted) -> Iterator[Piece]:
    """All that stands in these files and folders, arrays first.

    Raises
    ------
    StorageError
        A path that is nothing of this, a damaged folder, arrays that nobody names.
    RepresentationError, UnknownNameError
        The caller's name or parameters are wrong.
    """
    pictures: list[Path] = []
    for file in [file for given in paths for file in _files(Path(given))]:
        if file.name == DOCUMENT:
            yield from _stored(file.parent, wanted)
        elif file.suffix.lower() == ".png":
            pictures.append(file)
        else:
            yield from _arrays(file, wanted)
    for start in range(0, len(pictures), _PIECE):
        yield from _pictures(pictures[start : start + _PIECE], wanted)


def _files(path: Path) -> list[Path]:
    """Files of arrays and pictures, and the documents of folders of encoded crystals."""
    if path.is_dir():
        found: list[Path] = []
        for place, folders, names in os.walk(path):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            if DOCUMENT in names:
                found.append(Path(place, DOCUMENT))
                folders.clear()
                continue
            files = [Path(place, name) for name in sorted(names) if not name.startswith(".")]
            found += [file for file in files if file.suffix.lower() in _ENDINGS]
        if found:
            return found
        raise StorageError(f"{path}: no {', '.join(_ENDINGS)} in this folder, nor {DOCUMENT}")
    if not path.exists():
        raise StorageError(f"{path}: no such file or folder")
    if path.suffix.lower() not in _ENDINGS:
        raise StorageError(f"{path}: wanted {', '.join(_ENDINGS)}, or a folder")
    return [path]


def _stored(folder: Path, wanted: Wanted) -> Iterator[Piece]:
    """A folder of encoded crystals."""
    stored, encoded, ids = load_encoded(folder)
    representation = wanted.of(stored.config(), str(folder))
    for start in range(0, len(ids), _PIECE):
        part = slice(start, start + _PIECE)
        arrays = _part(stored, encoded, part)
        sources = [f"{folder}!/{one}" for one in ids[part]]
        yield Piece(representation, arrays, ids[part], sources, start=start)


def _part(stored: Representation, encoded: Encoded, part: slice) -> Arrays | Encoded:
    """The arrays of some crystals; ragged ones with their offsets, from 0 again."""
    if not encoded.offsets:
        return {name: array[part] for name, array in encoded.arrays.items()}
    bounds = {axis: rows[part.start : part.stop + 1] for axis, rows in encoded.offsets.items()}
    shapes = stored.shapes()
    arrays = {}
    for name, array in encoded.arrays.items():
        axis = (*shapes[name], None)[0]
        rows = slice(bounds[axis][0], bounds[axis][-1]) if isinstance(axis, str) else part
        arrays[name] = array[rows]
    offsets = {axis: rows - rows[0] for axis, rows in bounds.items()}
    return Encoded(arrays, encoded.index[part], (), offsets)


def _arrays(path: Path, wanted: Wanted) -> Iterator[Piece]:
    """A file of arrays."""
    representation = wanted.of(None, str(path))
    try:
        if path.suffix.lower() == ".npz":
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
        else:
            # Where there are several arrays, those that are missing are told below.
            name = next(iter(representation.shapes()))
            arrays = {name: np.load(path, mmap_mode="r", allow_pickle=False)}
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        # What is no file of numpy's at all is taken for a pickle there.
        told = "not an array file, or one of pickled objects" if "pickle" in str(error) else error
        yield Piece(failures=[Failure(0, "unreadable array file", str(told), str(path))])
        return
    shapes = representation.shapes()
    # One crystal without its batch axis is a batch of one.
    arrays = {n: a[None] if a.shape == shapes.get(n) else a for n, a in arrays.items()}
    try:
        for n, shape in shapes.items():
            if n in arrays and arrays[n].shape[1:] != shape:
                has = ", ".join(map(str, ("n", *shape)))
                raise RepresentationError(
                    f"array {n!r} has shape {arrays[n].shape}, {representation.name} with these "
                    f"parameters has ({has})"
                )
        # Of no crystal, which is checked as any other number.
        representation.decode({n: a[:0] if a.ndim else a for n, a in arrays.items()})
        lengths = {len(a) for n, a in arrays.items() if n in shapes}
        if len(lengths) > 1:
            raise RepresentationError(f"arrays of different numbers of crystals: {lengths}")
    except RepresentationError as error:
        yield Piece(failures=[Failure(0, "arrays of another shape", str(error), str(path))])
        return
    arrays = {n: a for n, a in arrays.items() if n in shapes}
    total = len(next(iter(arrays.values())))
    for start in range(0, max(total, 1), _PIECE):
        part = {n: a[start : start + _PIECE] for n, a in arrays.items()}
        rows = range(start, min(start + _PIECE, total))
        ids = [path.stem if total == 1 else f"{path.stem}-{row}" for row in rows]
        sources = [f"{path}!/{row}" for row in rows]
        yield Piece(representation, part, ids, sources, start=start)


def _pictures(paths: Sequence[Path], wanted: Wanted) -> Iterator[Piece]:
    """PNGs, those of one representation together."""
    pictures, failures = read_pngs(paths)
    unread = {failure.index for failure in failures}
    failures = [dataclasses.replace(failure, index=0) for failure in failures]
    read = [path for i, path in enumerate(paths) if i not in unread]
    groups: dict[str, list[int]] = {}
    for i, picture in enumerate(pictures):
        groups.setdefault(picture.text.get(CONFIG_KEY, ""), []).append(i)
    for text, members in groups.items():
        try:
            first = str(read[members[0]])
            representation = _of_pictures(text, wanted, first)
        except StorageError as error:
            detail = str(error).removeprefix(first).lstrip(": ")  # which stands for all of these
            failures += [
                Failure(0, "unknown representation", detail, str(read[i])) for i in members
            ]
            continue
        kept = []
        for i in members:
            reason, detail = _unfit(pictures[i], representation)
            if reason:
                failures.append(Failure(0, reason, detail, str(read[i])))
            else:
                kept.append(i)
        if kept:
            shape = representation.shapes()[representation.name]
            rows = [pictures[i].pixels for i in kept]
            pixels = np.stack(rows).reshape(len(rows), *map(int, shape))
            ids = [pictures[i].text.get(ID_KEY) or read[i].stem for i in kept]
            sources = [str(read[i]) for i in kept]
            yield Piece(representation, representation.from_pixels(pixels), ids, sources)
    if failures:
        yield Piece(failures=failures)


def _of_pictures(text: str, wanted: Wanted, source: str) -> ImageRepresentation:
    """The representation that the text of a picture tells, or that was named."""
    try:
        stored = json.loads(text) if text else None
    except ValueError:
        stored = text
    if not isinstance(stored, dict | None):
        raise StorageError(f"{source}: its text {CONFIG_KEY!r} is no config")
    representation = wanted.of(stored, source)
    if isinstance(representation, ImageRepresentation):
        return representation
    kind = StorageError if wanted.name is None else RepresentationError
    raise kind(f"{source}: {representation.name} is no picture")


def _unfit(picture: Picture, representation: ImageRepresentation) -> tuple[str, str]:
    """Why these pixels are none of the representation's: reason and detail, empty if they are."""
    shape = representation.shapes()[representation.name]
    wanted = shape[:-1] if len(shape) == 3 and shape[-1] == 1 else shape
    bits = 8 * picture.pixels.dtype.itemsize
    name = representation.name
    if picture.pixels.shape != wanted:
        got = " x ".join(map(str, picture.pixels.shape))
        size = " x ".join(map(str, wanted))
        return "picture of another size", f"{got}, {name} with these parameters has {size}"
    if bits != representation.bits:
        told = f"{bits} bits, {name} with these parameters has {representation.bits}"
        return "picture of another depth", told
    return "", ""
