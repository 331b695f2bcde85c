"""Encoded crystals on disk: a folder of .npy files, written in a stream, read by memory map.

What stands in the folder:

- ``<array>.npy``: each array of the representation, encoded crystals along the first axis;
  ``offsets-<axis>.npy`` where an axis is ragged.
- ``index.npy``: (m,) position in the input of each encoded crystal.
- ``ids.jsonl``: the id of each encoded crystal, a JSON string a line.
- ``failures.jsonl``: the crystals that could not be encoded, a JSON object a line.
- ``representation.json``: name and parameters, fields, number of crystals, failures by reason,
  content hash of the crystals, versions.

Any program that reads .npy can use the arrays. Nothing is pickled.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from shutil import disk_usage
from types import TracebackType
from typing import IO, Any, Final, Self

import numpy as np

from crystalcodec.crystals import ContentHash, Crystals
from crystalcodec.failures import Failure
from crystalcodec.registry import REPRESENTATIONS, did_you_mean, load
from crystalcodec.representations.base import (
    Encoded,
    Representation,
    RepresentationError,
)
from crystalcodec.representations.npy_files import (
    GrowingArray,
    StorageError,
    mapped_array,
    whole_folder,
)
from crystalcodec.representations.parameters import misfit

__all__ = [
    "EncodedWriter",
    "StorageError",
    "load_encoded",
    "representation_from",
    "save_encoded",
    "whole_folder",
]

FORMAT: Final = 1
DOCUMENT: Final = "representation.json"
# Arrays of a piece that is encoded at once: large enough for whole-batch speed, and nothing to
# the memory of any machine.
_PIECE_BYTES: Final = 2**25
_PIECE: Final = 4096


def representation_from(config: Mapping[str, Any]) -> Representation:
    """The representation of a config: its ``name`` in the registry, and parameters beside it.

    Raises
    ------
    UnknownNameError, RepresentationError
        An unknown name, an unknown parameter, a value that it refuses.

    Examples
    --------
    >>> representation_from({"name": "ircr", "max_sites": 8}).shapes()
    {'ircr': (120, 3)}
    >>> representation_from({"name": "ircr", "max_site": 8})
    Traceback (most recent call last):
    crystalcodec.representations.base.RepresentationError: 'ircr' has no parameter 'max_site'; ...
    """
    parameters = dict(config)
    name = parameters.pop("name", None)
    if not isinstance(name, str):
        raise RepresentationError(f"a config without the name of a representation: {config}")
    kind = load(REPRESENTATIONS, name)
    known = [f.name for f in dataclasses.fields(kind) if f.init]
    for parameter in parameters:
        if parameter not in known:
            raise RepresentationError(
                f"{name!r} has no parameter {parameter!r}{did_you_mean(parameter, known)}"
            )
    if wrong := misfit(kind, parameters):
        raise RepresentationError(f"{name!r}: {wrong}")
    try:
        built: Representation = kind(**parameters)
    except TypeError as error:
        raise RepresentationError(f"{name!r} with {parameters}: {error}") from None
    return built


class EncodedWriter:
    """Encodes batch after batch into a folder; the folder appears when all is written.

    Parameters
    ----------
    folder
        Where the folder is wanted.
    representation
        What encodes.
    force
        Replace a folder that stands there.

    Raises
    ------
    StorageError
        Something stands there.

    Examples
    --------
    >>> import tempfile
    >>> from crystalcodec.representations.ircr import IRCR
    >>> from crystalcodec.testing import sample_crystals
    >>> folder = Path(tempfile.mkdtemp()) / "encoded"
    >>> with EncodedWriter(folder, IRCR(max_sites=12)) as writer:
    ...     for batch in (sample_crystals(10), sample_crystals(14)):
    ...         failed = writer.write(batch)
    >>> writer.n, writer.n_encoded, dict(writer.failures)
    (24, 14, {'too many sites': 10})
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        representation: Representation,
        *,
        force: bool = False,
    ) -> None:
        self.n = self.n_encoded = 0
        self.failures: Counter[str] = Counter()
        self._folder, self._force, self._representation = folder, force, representation
        self._hash = ContentHash()
        self._arrays: dict[str, GrowingArray] = {}
        self._ends: dict[str, int] = {}

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._temporary = stack.enter_context(whole_folder(self._folder, force=self._force))
            self._ids = stack.enter_context(self._lines("ids.jsonl"))
            self._failed = stack.enter_context(self._lines("failures.jsonl"))
            # Files are there, and of the right shape, even if no crystal comes.
            none = Crystals.empty()
            self._append(self._representation.encode(none))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            with self._stack:
                self._finish()
            return
        for array in self._arrays.values():
            array.abandon()
        self._stack.__exit__(kind, value, traceback)  # which leaves no folder

    def write(
        self,
        crystals: Crystals,
        ids: Sequence[str] | None = None,
        encode: Callable[[Crystals], Encoded] | None = None,
    ) -> list[Failure]:
        """Encode crystals and add them; gives those that could not be, by position in the input.

        Parameters
        ----------
        crystals
            The next of the input. Memory does not grow with their number, nor with the size of
            their arrays: they are encoded in pieces.
        ids
            One a crystal; its position in the input where none are given.
        encode
            Encodes a piece, where the representation's own ``encode`` is to be told more.

        Raises
        ------
        StorageError
            Not one id for each crystal, or arrays larger than what is free on the disk.
        """
        names = [str(self.n + i) for i in range(len(crystals))] if ids is None else [*map(str, ids)]
        if len(names) != len(crystals):
            raise StorageError(f"{len(names)} ids for {len(crystals)} crystals: wanted one each")
        failures: list[Failure] = []
        wanted, free = self._representation.n_bytes(crystals), disk_usage(self._temporary).free
        if wanted > free:
            raise StorageError(
                f"{self._representation.name} of {len(crystals):,} crystals takes "
                f"{wanted / 2**30:.1f} GiB, {free / 2**30:.1f} GiB of the disk of {self._folder} "
                "are free: use a smaller one, or fewer crystals"
            )
        step = self._piece()
        for start in range(0, len(crystals), step):
            piece = crystals[start : start + step]
            encoded = (encode or self._representation.encode)(piece)
            failures += self._add(piece, encoded, names[start : start + step])
        return failures

    def _piece(self) -> int:
        size = 0
        for shape in self._representation.shapes().values():
            fixed = [axis for axis in shape if isinstance(axis, int)]
            size += 4 * int(np.prod(fixed, dtype=np.int64))
        return max(1, min(_PIECE, _PIECE_BYTES // max(1, size)))

    def _add(self, piece: Crystals, encoded: Encoded, names: list[str]) -> list[Failure]:
        self._append(encoded)
        for i in encoded.index.tolist():
            self._ids.write(json.dumps(names[i]) + "\n")
        placed = []
        for failure in encoded.failures:
            placed.append(dataclasses.replace(failure, index=self.n + failure.index))
            row = {"id": names[failure.index], **dataclasses.asdict(placed[-1])}
            self._failed.write(json.dumps(row) + "\n")
            self.failures[failure.reason] += 1
        self._hash.update(piece)
        self.n += len(piece)
        self.n_encoded += len(encoded)
        return placed

    def _append(self, encoded: Encoded) -> None:
        columns = {**encoded.arrays, "index": encoded.index + self.n}
        for axis, offsets in encoded.offsets.items():
            # The first row of all offsets, 0, comes with the empty batch at the start.
            first = axis not in self._ends
            rows = offsets if first else offsets[1:]
            columns[f"offsets-{axis}"] = rows + self._ends.get(axis, 0)
            self._ends[axis] = self._ends.get(axis, 0) + int(offsets[-1])
        for name, rows in columns.items():
            if name not in self._arrays:
                path = self._temporary / f"{name}.npy"
                self._arrays[name] = GrowingArray(path, rows.shape[1:], rows.dtype)
            self._arrays[name].append(rows)

    def _finish(self) -> None:
        for array in self._arrays.values():
            array.close()
        document = {
            "format": FORMAT,
            "representation": self._representation.config(),
            "lost": self._representation.lost,
            "arrays": [name for name in self._arrays if name != "index"],
            "fields": [_described(field) for field in self._representation.fields],
            "n": self.n,
            "n_encoded": self.n_encoded,
            "failures": dict(self.failures.most_common()),
            "content_hash": self._hash.hexdigest(),
            "versions": {name: version(name) for name in ("crystalcodec", "numpy")},
        }
        text = json.dumps(document, indent=1, ensure_ascii=False)
        (self._temporary / DOCUMENT).write_text(text + "\n", encoding="utf-8")

    def _lines(self, name: str) -> IO[str]:
        return (self._temporary / name).open("w", encoding="utf-8")


def _described(field: Any) -> dict[str, Any]:
    """A field for JSON, its slices as pairs."""
    where = [[one.start, one.stop] for one in field.where]
    return {**{f.name: getattr(field, f.name) for f in dataclasses.fields(field)}, "where": where}


def save_encoded(
    folder: str | os.PathLike[str],
    representation: Representation,
    batches: Iterable[Crystals],
    ids: Iterable[str] | None = None,
    *,
    force: bool = False,
) -> EncodedWriter:
    """Encode crystals in a stream into a folder; memory does not grow with their number.

    Parameters
    ----------
    folder
        Where the folder is wanted; it appears whole or not at all.
    representation
        What encodes.
    batches
        The crystals; a batch is held at a time.
    ids
        One a crystal, for all batches in order; positions where none are given.
    force
        Replace a folder that stands there.

    Returns
    -------
    EncodedWriter
        With the counts ``n``, ``n_encoded`` and ``failures`` by reason.

    Raises
    ------
    StorageError
        Something stands there, or fewer ids than crystals.
    """
    names = None if ids is None else iter(ids)
    with EncodedWriter(folder, representation, force=force) as writer:
        for crystals in batches:
            taken = None if names is None else list(islice(names, len(crystals)))
            writer.write(crystals, taken)
    return writer


def load_encoded(
    folder: str | os.PathLike[str], representation: Representation | None = None
) -> tuple[Representation, Encoded, tuple[str, ...]]:
    """What :func:`save_encoded` wrote, its arrays as memory maps: nothing is read until used.

    Parameters
    ----------
    folder
        The folder.
    representation
        What encoded, where the registry does not know it.

    Returns
    -------
    representation, encoded, ids
        ``ids`` names each encoded crystal.

    Raises
    ------
    StorageError
        No such folder, or one that is damaged.
    UnknownNameError, RepresentationError
        A representation that this version does not know.
    """
    place = Path(folder)
    try:
        document = json.loads((place / DOCUMENT).read_text(encoding="utf-8"))
        form, config = document["format"], document["representation"]
        arrays = {name: mapped_array(place / f"{name}.npy") for name in document["arrays"]}
        index = np.array(mapped_array(place / "index.npy"))
        ids = tuple(map(json.loads, _read_lines(place / "ids.jsonl")))
        rows = [json.loads(line) for line in _read_lines(place / "failures.jsonl")]
        for row in rows:
            row.pop("id")
        failures = tuple(Failure(**row) for row in rows)
        n = int(document["n"])
    except FileNotFoundError as error:
        raise StorageError(
            f"{place} holds no encoded crystals: {Path(error.filename).name} is missing"
        ) from None
    except (KeyError, TypeError, ValueError, EOFError) as error:
        raise StorageError(f"{place} is damaged: {error}; encode again") from None
    if form != FORMAT:
        raise StorageError(f"{place} has format {form}, this version reads {FORMAT}")
    offsets = {
        name.removeprefix("offsets-"): np.array(arrays.pop(name))
        for name in [*arrays]
        if name.startswith("offsets-")
    }
    lengths = {name: len(array) for name, array in arrays.items() if not offsets}
    lengths |= {"index": len(index), "ids": len(ids)}
    if len(set(lengths.values())) > 1 or len(index) + len(failures) != n:
        raise StorageError(
            f"{place} is damaged: {lengths} entries and {len(failures)} failures for {n} crystals"
        )
    built = representation or representation_from(config)
    return built, Encoded(arrays, index, failures, offsets), ids


def _read_lines(path: Path) -> list[str]:
    return [line for line in path.read_text(encoding="utf-8").split("\n") if line]
