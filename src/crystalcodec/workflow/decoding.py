"""Files of arrays or pictures back to files of crystals."""

from __future__ import annotations

import dataclasses
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.failures import Failure
from crystalcodec.io import write, write_failures
from crystalcodec.io.formats import WRITERS, format_of
from crystalcodec.io.png import Picture, read_pngs
from crystalcodec.representations.base import (
    Arrays,
    Decoded,
    InvertibleRepresentation,
    RepresentationError,
)
from crystalcodec.representations.images import ImageRepresentation
from crystalcodec.representations.npy_files import StorageError
from crystalcodec.representations.storage import DOCUMENT, load_encoded, representation_from
from crystalcodec.workflow.encoding import CONFIG_KEY, ID_KEY

__all__ = ["DecodeReport", "decode_files"]

Progress = Callable[[int], None]

# Crystals that are decoded at once, whatever their arrays hold.
_PIECE: Final = 512
_TABLES: Final = (".parquet", ".pq")


@dataclass
class DecodeReport:
    """What became of the arrays of some files.

    Parameters
    ----------
    out
        What was written; nothing where no array holds a crystal.
    n_decoded
        Crystals that are in it.
    failures
        Files that could not be read and arrays that could not be decoded, by reason.
    first
        The first of each reason.
    failures_path
        The CSV file that lists them; None if there are none.
    confidence : (n_decoded,)
        Of each crystal, NaN where its representation gives none.
    """

    out: Path
    n_decoded: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    first: dict[str, Failure] = field(default_factory=dict)
    failures_path: Path | None = None
    confidence: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))

    @property
    def n_failed(self) -> int:
        """Files and arrays that gave no crystal."""
        return self.failures.total()


@dataclass(frozen=True)
class _Piece:
    """Arrays of one representation and where each came from, or what could not be read."""

    representation: InvertibleRepresentation | None = None
    arrays: Arrays = field(default_factory=dict)
    ids: Sequence[str] = ()
    sources: Sequence[str] = ()
    failures: Sequence[Failure] = ()


@dataclass(frozen=True)
class _Wanted:
    """What the caller says about the representation, which wins over what files say."""

    name: str | None
    parameters: Mapping[str, Any]

    def of(self, stored: Mapping[str, Any] | None, source: str) -> InvertibleRepresentation:
        if self.name is None and stored is None:
            raise StorageError(f"{source} does not tell its representation: name it (--from)")
        if stored is None or (self.name is not None and stored.get("name") != self.name):
            config = {"name": self.name, **self.parameters}
        else:
            config = {**stored, **self.parameters}
        built = representation_from(config)
        if not isinstance(built, InvertibleRepresentation):
            raise RepresentationError(f"{built.name} cannot be decoded: lost is {built.lost}")
        return built


def decode_files(
    paths: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    name: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    failures: str | os.PathLike[str] | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> DecodeReport:
    """Decode arrays and pictures into files of crystals.

    Parameters
    ----------
    paths
        Folders of :func:`~crystalcodec.workflow.encoding.encode_files`; .npy files (where the
        representation has one array) and .npz files (arrays by name); PNGs, or folders of these.
    out
        A dataset (``.parquet``), or what :func:`crystalcodec.io.write` writes: a folder of CIFs,
        ``all.extxyz``, ``x.json``.
    name
        The representation, where files do not tell it, or tell another.
    parameters
        Of the representation; they win over those that files tell, so that a decoder can be told
        its tolerance.
    failures
        CSV file for what could not be decoded; ``out``.failures.csv where None. Written if there
        is any.
    force
        Replace what stands in ``out``, or add to a folder with files in it.
    progress
        Called with the number of arrays done.

    Raises
    ------
    StorageError
        A path that is nothing of this, a place that is taken or a name that tells no format.
    RepresentationError, UnknownNameError
        A representation that there is not, or that cannot be decoded.
    """
    target = Path(out)
    _check_target(target, force=force)
    wanted = _Wanted(name, dict(parameters or {}))
    report = DecodeReport(target)
    parts, ids, listed = list[Crystals](), list[str](), list[Failure]()
    confidence = [np.zeros(0)]
    done = 0
    for piece in _pieces(paths, wanted):
        listed += piece.failures
        if piece.representation is not None:
            decoded = piece.representation.decode(piece.arrays)
            parts.append(decoded.crystals)
            ids += [piece.ids[i] for i in decoded.index.tolist()]
            confidence.append(_confidence(decoded))
            listed += [
                dataclasses.replace(one, source=piece.sources[one.index])
                for one in decoded.failures
            ]
        done += len(piece.ids) + len(piece.failures)
        if progress is not None:
            progress(done)
    report.n_decoded = len(ids)
    report.confidence = np.concatenate(confidence)
    report.failures.update(failure.reason for failure in listed)
    report.first = {failure.reason: failure for failure in reversed(listed)}
    if ids:
        _write(Crystals.concatenate(parts), target, ids, report.confidence)
    if listed:
        path = Path(failures or target.with_name(f"{target.name}.failures.csv"))
        write_failures(listed, path)
        report.failures_path = path
    return report


def _confidence(decoded: Decoded) -> npt.NDArray[np.float64]:
    if decoded.confidence is None:
        return np.full(len(decoded.crystals), np.nan)
    return decoded.confidence


def _check_target(target: Path, *, force: bool) -> None:
    if target.suffix and not target.is_dir() and target.suffix.lower() not in _TABLES:
        named = format_of(target.name)
        if named not in WRITERS:
            raise StorageError(
                f"{target.name}: the ending tells no format; wanted .parquet, .cif, .extxyz, .db, "
                ".json, or a folder without an ending"
            )
    taken = any(target.iterdir()) if target.is_dir() else target.exists()
    if taken and not force:
        raise StorageError(f"{target} exists: give another name, or --force (force=True)")


def _write(
    crystals: Crystals, target: Path, ids: Sequence[str], confidence: npt.NDArray[np.float64]
) -> None:
    told = bool(np.isfinite(confidence).any())
    if target.suffix.lower() in _TABLES:
        from crystalcodec.data import Dataset

        properties: dict[str, Any] = {"confidence": confidence} if told else {}
        Dataset.from_crystals(crystals, _unique(ids), properties).write(target)
        return
    known = [None if value != value else value for value in confidence.tolist()]
    write(crystals, target, ids=ids, properties={"confidence": known} if told else None)


def _unique(ids: Sequence[str]) -> list[str]:
    """Ids of which those that come again get a number: salt, salt-2."""
    counts: dict[str, int] = {}
    given = []
    for one in ids:
        name = one
        while name in counts:
            counts[one] += 1
            name = f"{one}-{counts[one]}"
        counts[name] = 1
        given.append(name)
    return given


def _pieces(paths: Sequence[str | os.PathLike[str]], wanted: _Wanted) -> Iterator[_Piece]:
    pictures: list[Path] = []
    for given in paths:
        path = Path(given)
        if (path / DOCUMENT).is_file():
            yield from _stored(path, wanted)
            continue
        for file in _files(path):
            if file.suffix.lower() == ".png":
                pictures.append(file)
            else:
                yield from _arrays(file, wanted)
    for start in range(0, len(pictures), _PIECE):
        yield from _pictures(pictures[start : start + _PIECE], wanted)


def _files(path: Path) -> list[Path]:
    endings = (".png", ".npy", ".npz")
    if path.is_dir():
        found = [
            file
            for file in sorted(path.rglob("*"))
            if file.suffix.lower() in endings
            and not any(part.startswith(".") for part in file.relative_to(path).parts)
        ]
        if found:
            return found
        raise StorageError(f"{path}: no {', '.join(endings)} in this folder, nor {DOCUMENT}")
    if not path.exists():
        raise StorageError(f"{path}: no such file or folder")
    if path.suffix.lower() not in endings:
        raise StorageError(f"{path}: wanted {', '.join(endings)}, or a folder")
    return [path]


def _stored(folder: Path, wanted: _Wanted) -> Iterator[_Piece]:
    """A folder of encoded crystals."""
    stored, encoded, ids = load_encoded(folder)
    representation = wanted.of(stored.config(), str(folder))
    for start in range(0, len(ids), _PIECE):
        part = slice(start, start + _PIECE)
        arrays = {name: array[part] for name, array in encoded.arrays.items()}
        sources = [f"{folder}!/{one}" for one in ids[part]]
        yield _Piece(representation, arrays, ids[part], sources)


def _arrays(path: Path, wanted: _Wanted) -> Iterator[_Piece]:
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
    except (OSError, ValueError, EOFError) as error:
        yield _Piece(failures=[Failure(0, "unreadable array file", str(error), str(path))])
        return
    shapes = representation.shapes()
    # One crystal without its batch axis is a batch of one.
    arrays = {n: a[None] if a.shape == shapes.get(n) else a for n, a in arrays.items()}
    try:
        # Of no crystal, which is checked as any other number.
        representation.decode({n: a[:0] if a.ndim else a for n, a in arrays.items()})
        lengths = {len(a) for n, a in arrays.items() if n in shapes}
        if len(lengths) > 1:
            raise RepresentationError(f"arrays of different numbers of crystals: {lengths}")
    except RepresentationError as error:
        yield _Piece(failures=[Failure(0, "arrays of another shape", str(error), str(path))])
        return
    arrays = {n: a for n, a in arrays.items() if n in shapes}
    total = len(next(iter(arrays.values())))
    for start in range(0, max(total, 1), _PIECE):
        part = {n: a[start : start + _PIECE] for n, a in arrays.items()}
        rows = range(start, min(start + _PIECE, total))
        ids = [path.stem if total == 1 else f"{path.stem}-{row}" for row in rows]
        yield _Piece(representation, part, ids, [f"{path}!/{row}" for row in rows])


def _pictures(paths: Sequence[Path], wanted: _Wanted) -> Iterator[_Piece]:
    """PNGs, those of one representation together."""
    pictures, failures = read_pngs(paths)
    unread = {failure.index for failure in failures}
    read = [path for i, path in enumerate(paths) if i not in unread]
    groups: dict[str, list[int]] = {}
    for i, picture in enumerate(pictures):
        groups.setdefault(picture.text.get(CONFIG_KEY, ""), []).append(i)
    for text, members in groups.items():
        try:
            representation = _of_pictures(text, wanted, str(read[members[0]]))
        except ValueError as error:
            if wanted.name is not None:
                raise
            failures += [
                Failure(0, "unknown representation", str(error), str(read[i])) for i in members
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
            yield _Piece(representation, representation.from_pixels(pixels), ids, sources)
    if failures:
        yield _Piece(failures=failures)


def _of_pictures(text: str, wanted: _Wanted, source: str) -> ImageRepresentation:
    """The representation that the text of a picture tells, or that was named."""
    stored = json.loads(text) if text else None
    if not isinstance(stored, dict | None):
        raise StorageError(f"{source}: its text {CONFIG_KEY!r} is no config")
    representation = wanted.of(stored, source)
    if not isinstance(representation, ImageRepresentation):
        raise RepresentationError(f"{source}: {representation.name} is no picture")
    return representation


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
