"""Files of arrays that are written piece by piece, and folders that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

__all__ = ["GrowingArray", "StorageError", "mapped_array", "whole_folder"]


class StorageError(ValueError):
    """A place where nothing can be written, or a folder that holds no encoded crystals."""


@contextmanager
def whole_folder(path: str | os.PathLike[str], *, force: bool = False) -> Iterator[Path]:
    """Fill a folder beside its place, then move it there in one step.

    Parameters
    ----------
    path
        Where the folder is wanted; a link is followed.
    force
        Replace a folder that stands there, if it holds nothing but encoded crystals.

    Raises
    ------
    StorageError
        Something stands there, and not ``force``, or something else than encoded crystals.
    """
    target = Path(os.path.realpath(path))
    if target.exists():
        _check_place(Path(path), target, force=force)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{secrets.token_hex(4)}.{target.name}")
    temporary.mkdir()
    try:
        yield temporary
        if target.is_dir():
            before = temporary.with_name(f"{temporary.name}.before")
            target.rename(before)
            try:
                temporary.rename(target)
            except BaseException:
                before.rename(target)
                raise
            shutil.rmtree(before)
        else:
            temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _check_place(given: Path, target: Path, *, force: bool) -> None:
    """Whether a folder may take the place of what stands there."""
    if not target.is_dir():
        raise StorageError(f"{given} is a file: give the name of a folder")
    if target in (here := Path.cwd(), *here.parents):
        raise StorageError(f"{given} is the folder you are in: give the name of a folder in it")
    inside = sorted(target.iterdir())
    if inside and not force:
        raise StorageError(
            f"{given} exists: give another name, or --force (force=True) to replace a folder"
        )
    for one in inside:
        if not _written_here(one):
            raise StorageError(
                f"{given} holds {one.name}, which encoding did not write, and is not replaced: "
                "give another name"
            )


def _written_here(path: Path) -> bool:
    """Whether a file is one of those that encoding writes."""
    if not path.is_file() or path.is_symlink():
        return False
    if path.suffix == ".png":
        with path.open("rb") as file:  # the text stands before the pixels
            return b"crystalcodec" in file.read(4096)
    return path.name == "representation.json" or path.suffix in (".npy", ".jsonl")


class GrowingArray:
    """A .npy file to which rows are added; its header is written again at the end.

    Parameters
    ----------
    path
        The file, which is replaced.
    shape, dtype
        Of a row.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: npt.DTypeLike) -> None:
        self._shape, self._dtype, self._n = shape, np.dtype(dtype), 0
        self._file: IO[bytes] = path.open("wb")
        self._header()
        self._start = self._file.tell()

    def append(self, rows: npt.NDArray[Any]) -> None:
        """Add rows (k, *shape)."""
        if rows.shape[1:] != self._shape:
            raise StorageError(f"rows of shape {rows.shape[1:]}, those before had {self._shape}")
        self._file.write(np.ascontiguousarray(rows, self._dtype).data)
        self._n += len(rows)

    def close(self) -> None:
        """Make the file whole."""
        # numpy leaves room in a header for the first axis to grow.
        self._file.seek(0)
        self._header()
        if self._file.tell() != self._start:
            raise StorageError("this version of numpy writes headers that cannot grow")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def abandon(self) -> None:
        """Leave the file as it is, which is not whole."""
        self._file.close()

    def _header(self) -> None:
        np.lib.format.write_array_header_1_0(
            self._file,
            {
                "descr": np.lib.format.dtype_to_descr(self._dtype),
                "fortran_order": False,
                "shape": (self._n, *self._shape),
            },
        )


def mapped_array(path: Path) -> npt.NDArray[Any]:
    """The array of a .npy file as a memory map; never a pickle.

    Raises
    ------
    FileNotFoundError, ValueError, EOFError
        No such file, or one that is damaged.
    """
    try:
        array: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError:
        # An array without numbers cannot be mapped; what else is wrong shows again.
        array = np.load(path, allow_pickle=False)
    return array
