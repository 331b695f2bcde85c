"""What a judge has computed, kept on disk: rows by the crystal they belong to, and wholes."""

from __future__ import annotations

import hashlib
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

import crystalcodec
from crystalcodec.crystals import Crystals
from crystalcodec.data.workers import pool_of
from crystalcodec.evaluation.base import EvaluationError, Evidence
from crystalcodec.io.whole import whole_file
from crystalcodec.workflow.benchmark.documents import digest

__all__ = ["Store", "code_version", "crystal_keys", "load_arrays", "save_arrays", "versions"]

Array = npt.NDArray[Any]

_PART: Final = 64  # crystals that a process gets at once
_SECONDS: Final = 5.0  # between two files of rows that are done
_PACKAGES: Final = ("crystalcodec", "numpy", "scipy", "pymatgen-core", "moyopy", "SMACT")
# What the rows of a metric are computed by: another text of it makes other rows.
_SOURCES: Final = ("*.py", "data", "evaluation", "io", "models", "representations", "relaxation")
# What a file that was cut off or changed makes numpy raise.
_DAMAGED: Final = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)


@dataclass(frozen=True)
class Store(Evidence):
    """Evidence whose rows and wholes are kept in a folder, so that no work is done twice.

    A row is found again by the crystal (its lattice, coordinates and elements, to the last bit),
    by the name of what it is, and by the versions and the source of this library; so crystals
    that several evaluations share, such as the training crystals, are worked on once. What is
    done is written every few seconds: a killed evaluation goes on. Files that are damaged count
    as absent. Nothing is pickled.

    Parameters
    ----------
    folder
        May be shared by evaluations, one after another or at the same time.
    """

    folder: Path = Path("cache")

    def each(self, name: str, crystals: Crystals, function: Callable[[Crystals], Array]) -> Array:
        """(n, ...) rows, one a crystal; those that are not kept already are computed.

        Raises
        ------
        EvaluationError
            Rows of Python objects, another number of rows than of crystals, or a process that
            was killed.
        """
        if not len(crystals):
            return np.asarray(function(crystals))
        shelf = _Shelf(self.folder / "rows" / _name_of(name))
        keys = crystal_keys(crystals)
        shelf.load()
        places = {key: i for i, key in reversed(list(enumerate(keys)))}
        missing = sorted(i for key, i in places.items() if key not in shelf.places)
        parts = [missing[start : start + _PART] for start in range(0, len(missing), _PART)]
        done = len(crystals) - len(missing)
        try:
            for part, rows in self._rows(parts, crystals, function):
                shelf.add([keys[i] for i in part], _checked(name, rows, len(part)))
                done += len(part)
                self.tell(name, done, len(crystals))
        finally:
            shelf.write()
        shelf.merge()
        return shelf.rows(keys)

    def once(self, name: str, function: Callable[[], Mapping[str, Array]]) -> Mapping[str, Array]:
        """Arrays by name that a function gives, kept for these attempts and this evidence."""
        path = self.folder / "wholes" / f"{_name_of(name, self.content)}.npz"
        kept = load_arrays(path)
        if kept is None:
            kept = {key: np.asarray(value) for key, value in function().items()}
            for key, value in kept.items():
                _checked(f"{name}, {key}", value)
            save_arrays(path, kept)
        return kept

    @cached_property
    def content(self) -> str:
        """Hash of the attempts, of ``train`` and of ``held_out``."""
        parts = [
            self.attempts.crystals.content_hash,
            str(self.attempts.n),
            hashlib.sha256(np.asarray(self.attempts.positions, "<i8").tobytes()).hexdigest(),
            *("" if one is None else one.content_hash for one in (self.train, self.held_out)),
        ]
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()

    def _rows(
        self, parts: list[list[int]], crystals: Crystals, function: Callable[[Crystals], Array]
    ) -> Iterator[tuple[list[int], Array]]:
        """Each part and its rows, in the order in which they are done."""
        with pool_of(min(self.jobs, len(parts))) as pool:
            if pool is None:
                for part in parts:
                    yield part, np.asarray(function(crystals[part]))
                return
            waiting = {pool.submit(function, crystals[part]): part for part in parts}
            try:
                for future in as_completed(waiting):
                    yield waiting.pop(future), np.asarray(future.result())
            except BrokenProcessPool:
                raise EvaluationError(
                    "a process of the evaluation was killed, perhaps for want of memory: run it "
                    "again with fewer jobs; what was done is kept"
                ) from None


class _Shelf:
    """Rows of one name: files of keys and rows, and what is not written yet."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.places: dict[bytes, tuple[int, int]] = {}  # key: (segment, row)
        self._segments: list[Array] = []
        self._files: list[Path] = []
        self._waiting: list[tuple[list[bytes], Array]] = []
        self._written = time.monotonic()

    def load(self) -> None:
        """Take in all files that are whole."""
        for path in sorted(self.folder.glob("[!.]*.npz")):
            arrays = load_arrays(path)
            if arrays is None or not {"keys", "rows"} <= arrays.keys():
                continue
            keys, rows = arrays["keys"], arrays["rows"]
            if keys.ndim == 2 and len(keys) == len(rows) and self._fits(rows):
                self._take([key.tobytes() for key in keys], rows)
                self._files.append(path)

    def add(self, keys: list[bytes], rows: Array) -> None:
        """Take in rows that were just computed; they are written now and then."""
        if not self._fits(rows):
            raise EvaluationError(
                f"rows of shape {rows.shape[1:]} after rows of shape "
                f"{self._segments[0].shape[1:]}: wanted one shape, whatever the batch"
            )
        self._take(keys, rows)
        self._waiting.append((keys, rows))
        if time.monotonic() - self._written > _SECONDS:
            self.write()

    def write(self) -> None:
        """Write what waits, as one more file."""
        if self._waiting:
            keys = [key for some, _ in self._waiting for key in some]
            self._save(keys, np.concatenate([rows for _, rows in self._waiting]))
            self._waiting = []
        self._written = time.monotonic()

    def merge(self) -> None:
        """One file instead of several."""
        if len(self._files) > 1:
            keys, old = list(self.places), self._files
            self._files = []
            self._save(keys, self.rows(keys))
            for path in old:
                if path not in self._files:
                    path.unlink(missing_ok=True)

    def rows(self, keys: list[bytes]) -> Array:
        """(n, ...) rows of these keys."""
        starts = np.cumsum([0, *map(len, self._segments)])
        index = [starts[segment] + row for segment, row in map(self.places.__getitem__, keys)]
        return np.asarray(np.concatenate(self._segments)[index])

    def _fits(self, rows: Array) -> bool:
        return not self._segments or rows.shape[1:] == self._segments[0].shape[1:]

    def _take(self, keys: list[bytes], rows: Array) -> None:
        segment = len(self._segments)
        self._segments.append(rows)
        self.places.update((key, (segment, row)) for row, key in enumerate(keys))

    def _save(self, keys: list[bytes], rows: Array) -> None:
        named = hashlib.sha256(b"".join(keys)).hexdigest()[:20]
        path = self.folder / f"{named}.npz"
        as_bytes = np.frombuffer(b"".join(keys), np.uint8).reshape(len(keys), -1)
        save_arrays(path, {"keys": as_bytes, "rows": rows})
        self._files.append(path)


def crystal_keys(crystals: Crystals) -> list[bytes]:
    """A hash of each crystal: of lattice, coordinates and elements as they stand."""
    lattices, coords, numbers = (
        np.ascontiguousarray(array, kind)
        for array, kind in (
            (crystals.lattices, "<f8"),
            (crystals.frac_coords, "<f8"),
            (crystals.numbers, "<i8"),
        )
    )
    keys = []
    for i, (start, stop) in enumerate(pairwise(crystals.offsets.tolist())):
        # The length of all three tells the number of sites: no two crystals give the same bytes.
        made = hashlib.blake2b(lattices[i].data, digest_size=16)
        made.update(coords[start:stop].data)
        made.update(numbers[start:stop].data)
        keys.append(made.digest())
    return keys


def save_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write arrays under any names, whole or not at all."""
    with whole_file(path) as partial, Path(partial).open("wb") as file:
        numbered = {str(i): array for i, array in enumerate(arrays.values())}
        names = np.array(list(arrays), np.str_) if arrays else np.zeros(0, "<U1")
        np.savez(file, allow_pickle=False, names=names, **numbered)


def load_arrays(path: Path) -> dict[str, Array] | None:
    """Arrays of a file by their names; None where there is no whole one."""
    try:
        # Opened here: numpy leaves a damaged file open.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            return {str(name): file[str(i)] for i, name in enumerate(file["names"])}
    except _DAMAGED:
        return None


def versions(*more: str) -> dict[str, str]:
    """Versions of the packages that figures depend on, as far as they are installed."""
    found = {}
    for package in (*_PACKAGES, *more):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


@lru_cache(maxsize=1)
def code_version() -> str:
    """Hash of the versions and of the source that metrics are computed by."""
    root = Path(crystalcodec.__file__).parent
    whole = hashlib.sha256(digest(versions()).encode())
    for entry in _SOURCES:
        for path in sorted(root.glob(entry) if "*" in entry else (root / entry).rglob("*.py")):
            whole.update(path.relative_to(root).as_posix().encode())
            whole.update(path.read_bytes())
    return whole.hexdigest()


def _name_of(name: str, *more: str) -> str:
    """A name of a file for what may have any name."""
    return digest({"name": name, "code": code_version(), "more": more})


def _checked(name: str, rows: Array, n: int | None = None) -> Array:
    if rows.dtype.hasobject:
        raise EvaluationError(
            f"{name}: an array of Python objects; wanted numbers, truth values or texts, which "
            "can be kept without pickling"
        )
    if n is not None and (not rows.ndim or len(rows) != n):
        raise EvaluationError(f"{name}: an array of shape {rows.shape} for {n} crystals")
    return rows
