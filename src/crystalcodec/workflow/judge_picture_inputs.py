"""Pictures that are judged, from files, and every attempt that gave none, with its reason."""

from __future__ import annotations

import csv
import glob
import hashlib
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.evaluation.base import EvaluationError
from crystalcodec.failures import Failure, count_reasons
from crystalcodec.io.formats import format_of
from crystalcodec.io.png import PNGError, read_png
from crystalcodec.representations.npy_files import StorageError, mapped_array
from crystalcodec.representations.storage import DOCUMENT, load_encoded
from crystalcodec.workflow.encoding import CONFIG_KEY

__all__ = ["GivenPictures", "are_pictures", "read_pictures"]

Array = npt.NDArray[Any]
Shape = tuple[int, int, int]

_TABLE: Final = "slices.parquet"
_ENDINGS: Final = (".png", ".npy")
# Representations whose arrays are pictures, and whether their peaks are atoms.
_PICTURED: Final = {
    "density_slices": True,
    "density_slice_blocks": True,
    "crystens": False,
    "xtal2png": False,
    "crystal_image": False,
}
# Formats that lie beside pictures, to tell of them.
_NOTES: Final = ("json", "csv")
_SMALLEST: Final = 8
_NOT_GIVEN: Final = "no picture was given"


@dataclass(frozen=True, eq=False)
class GivenPictures:
    """Pictures of one size that were read, and the attempts that gave none.

    Parameters
    ----------
    values : (m, height, width, channels)
        uint8, or float32.
    positions : (m,)
        Which attempt each is, rising.
    n
        Number of attempts.
    ids
        Of each attempt.
    failures
        Why the others gave no picture.
    representation
        What encoded them, ``"slices"`` for a folder of slices, empty where it is not told.
    notes
        What was counted or left on purpose, in words.
    """

    values: Array
    positions: npt.NDArray[np.int64]
    n: int
    ids: tuple[str, ...]
    failures: tuple[Failure, ...] = ()
    representation: str = ""
    notes: tuple[str, ...] = ()

    @property
    def shape(self) -> Shape:
        """Height, width and channels."""
        height, width, channels = self.values.shape[1:]
        return height, width, channels

    @property
    def has_atoms(self) -> bool:
        """Whether the peaks of a picture may be atoms: not where it is a table of numbers."""
        return self.shape[2] == 1 and _PICTURED.get(self.representation, True)

    def reasons(self) -> dict[str, int]:
        """Number of failures by reason."""
        return count_reasons(self.failures)

    def spread(self, rows: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """(n, ...) rows of the m pictures, NaN where an attempt is none."""
        told = np.asarray(rows, np.float64)
        out = np.full((self.n, *told.shape[1:]), np.nan)
        out[self.positions] = told
        return out

    @cached_property
    def content_hash(self) -> str:
        """Hash of all pixels, and of which attempts they are."""
        made = hashlib.sha256(repr((self.values.shape, self.values.dtype.str, self.n)).encode())
        made.update(self.positions.astype("<i8").tobytes())
        made.update(np.ascontiguousarray(self.values).data)
        return made.hexdigest()


@dataclass(frozen=True, slots=True, eq=False)
class _Item:
    """A picture that can be read, of a file or of an array, or an attempt that failed."""

    name: str
    path: Path | None = None
    array: Any = None
    row: int = 0
    failure: Failure | None = None

    def read(self) -> Array:
        """(h, w, c) uint8 or float32."""
        pixels: Array
        if self.path is not None:
            pixels = read_png(self.path).pixels
        else:
            pixels = np.array(self.array[self.row])
        if pixels.dtype == np.uint16:
            pixels = pixels.astype(np.float32) / np.float32(65535)
        elif pixels.dtype != np.uint8:
            pixels = pixels.astype(np.float32)
        return pixels if pixels.ndim == 3 else pixels[..., None]


def are_pictures(sources: Sequence[str | os.PathLike[str]]) -> bool:
    """Whether pictures are given: PNG, .npy, a folder of slices, of encoded crystals or of these.

    A folder that holds pictures and files of crystals is one of crystals; JSON and CSV beside
    pictures are taken as notes about them.

    Raises
    ------
    EvaluationError
        Pictures and crystals at once.
    """
    told = {str(source): _is_pictured(Path(source)) for source in sources}
    if len({*told.values()}) > 1:
        one, other = (next(name for name in told if told[name] is way) for way in (True, False))
        raise EvaluationError(f"{one} holds pictures and {other} does not: judge them one by one")
    return any(told.values())


def _is_pictured(path: Path) -> bool:
    if not path.is_dir():
        return path.suffix.lower() in _ENDINGS
    if (path / _TABLE).exists() or (path / DOCUMENT).exists():
        return True
    files = [file for file in path.rglob("*") if file.is_file()]
    return any(file.suffix.lower() in _ENDINGS for file in files) and not any(
        (format_of(file.name) or "json") not in _NOTES for file in files
    )


def read_pictures(
    sources: Sequence[str | os.PathLike[str]],
    *,
    like: GivenPictures | None = None,
    n: int | None = None,
    recorded: bool = True,
    max_pictures: int | None = None,
    seed: int = 0,
) -> GivenPictures:
    """Read pictures; what cannot be read or is of another size is an attempt that failed.

    Parameters
    ----------
    sources
        PNG files; ``.npy`` files of (n, height, width), (n, height, width, channels) with up to
        four channels, or (n, planes, height, width); folders of these, of slices as
        :func:`~crystalcodec.data.slice_dataset.build_slice_dataset` makes them, or of encoded
        crystals (:mod:`crystalcodec.representations.storage`). Of several planes of a crystal each
        is a picture.
    like
        Reference pictures, whose size and channels are wanted. None: those that most have. Grey
        pictures that are stored in colour are taken as grey where all of the reference are grey.
    n
        Number of attempts, where more were made: the others failed.
    recorded
        Whether crystals without a picture, listed in such a folder, count as attempts.
    max_pictures
        A random sample of so many attempts, where there are more; it is told.
    seed
        Of the sample.

    Raises
    ------
    EvaluationError
        No picture, an array that is none of pictures, fewer attempts than pictures.
    StorageError
        A folder that is damaged, or that holds something else.
    """
    items, kinds = [], set()
    for source in sources:
        found, failed, kind = _items(source)
        items += [*found, *failed] if recorded else found
        kinds.add(kind)
    notes = []
    if n_failed := sum(item.failure is not None for item in items):
        notes.append(
            f"{n_failed:,} crystals without a picture, listed in {', '.join(map(str, sources))}, "
            "count as attempts; --only-rows leaves them"
        )
    if n is not None:
        if n < len(items):
            raise EvaluationError(f"{n:,} attempts, but there are {len(items):,}: wanted no fewer")
        items += [_Item("", failure=Failure(0, _NOT_GIVEN))] * (n - len(items))
    if not items:
        raise EvaluationError(f"no picture in {', '.join(map(str, sources))}")
    if max_pictures is not None and len(items) > max_pictures:
        notes.append(f"{max_pictures:,} of {len(items):,} attempts, drawn at random (seed {seed})")
        drawn = np.random.default_rng(seed).choice(len(items), max_pictures, replace=False)
        items = [items[i] for i in np.sort(drawn)]
    read, failures = _read(items)
    wanted = like.shape if like is not None else _usual(list(read.values()))
    values, misfits = _stacked(read, wanted)
    positions = np.array(sorted({*read} - {one.index for one in misfits}), np.int64)
    kind = kinds.pop() if len(kinds) == 1 else ""
    every = tuple(sorted([*failures, *misfits], key=lambda failure: failure.index))
    ids = tuple(item.name for item in items)
    return GivenPictures(values, positions, len(items), ids, every, kind, tuple(notes))


def _items(source: str | os.PathLike[str]) -> tuple[list[_Item], list[_Item], str]:
    """Pictures, failures that are recorded with them, and what encoded them."""
    path = Path(source)
    beside = path.with_name(f"{path.name}.failures.csv")
    if (path / _TABLE).exists():
        return _slices(path), _listed(path / "failures.csv"), "slices"
    if (path / DOCUMENT).exists():
        found, failed, kind = _encoded(path)
        return found, _listed(beside) or failed, kind
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() in _ENDINGS)
    elif path.exists():
        files = [path]
    else:
        files = sorted(map(Path, glob.glob(str(source), recursive=True)))  # noqa: PTH207
    if not files:
        raise EvaluationError(f"{source}: no such file, or no PNG and no .npy in this folder")
    items = []
    for file in files:
        name = str(file.relative_to(path)) if path.is_dir() else file.name
        if file.suffix.lower() == ".png":
            items.append(_Item(name, file))
        else:
            items += _rows(_stack(file), name)
    return items, _listed(beside), _told(files[0])


def _told(file: Path) -> str:
    """The representation that the text of a PNG names, as `encode` writes it."""
    try:
        told = json.loads(read_png(file).text[CONFIG_KEY]) if file.suffix == ".png" else {}
        name = str(told.get("name", ""))
    except (PNGError, OSError, KeyError, ValueError, AttributeError):
        return ""
    return name if name in _PICTURED else ""


def _listed(path: Path) -> list[_Item]:
    """Crystals that gave no picture, from the CSV that was written with the pictures."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        rows = [
            tuple(row.get(name) or "" for name in ("source", "reason", "detail"))
            for row in csv.DictReader(file)
        ]
    return [
        _Item(source, failure=Failure(0, reason or "not told", detail, source))
        for source, reason, detail in rows
    ]


def _rows(stack: Array, name: str) -> list[_Item]:
    return [_Item(f"{name}[{i}]", array=stack, row=i) for i in range(len(stack))]


def _stack(path: Path) -> Array:
    try:
        array = mapped_array(path)
    except (OSError, ValueError, EOFError) as error:
        raise StorageError(f"{path} holds no array that can be read: {error}") from None
    return _flat(array, str(path))


def _flat(array: Array, source: str) -> Array:
    """(n, h, w) or (n, h, w, c) of an array whose planes are pictures, too."""
    kind = array.dtype.kind == "f" or array.dtype in (np.uint8, np.uint16)
    if array.ndim == 4 and array.shape[3] > 4:
        array = array.reshape(-1, *array.shape[2:])
    if array.ndim not in (3, 4) or not kind:
        raise EvaluationError(
            f"{source}: an array {array.shape} of {array.dtype}, wanted (n, height, width), (n, "
            "height, width, channels) or (n, planes, height, width) of real numbers, uint8 or "
            "uint16"
        )
    return array


def _slices(folder: Path) -> list[_Item]:
    """Pictures in the order of the table."""
    import pyarrow.parquet as pq

    images = pq.read_table(folder / _TABLE, columns=["image"]).column(0).to_pylist()
    stack = folder / "slices.npy"
    if stack.exists():
        items = _rows(_stack(stack), stack.name)
    else:
        items = [_Item(str(image), folder / str(image)) for image in images]
    if len(items) != len(images):
        raise StorageError(f"{folder}: {len(items):,} pictures, {len(images):,} rows in {_TABLE}")
    return items


def _encoded(folder: Path) -> tuple[list[_Item], list[_Item], str]:
    representation, encoded, ids = load_encoded(folder)
    name = representation.name
    if name not in _PICTURED:
        raise EvaluationError(
            f"{folder} holds {name}, which is no picture: wanted {', '.join(_PICTURED)}"
        )
    array = encoded.arrays[name]
    flat = _flat(array, str(folder))
    planes = len(flat) // max(1, len(array))
    names = [id_ if planes == 1 else f"{id_}[{k}]" for id_ in ids for k in range(planes)]
    items = [_Item(one, array=flat, row=i) for i, one in enumerate(names)]
    return items, [_Item(why.source, failure=why) for why in encoded.failures], name


def _read(items: Sequence[_Item]) -> tuple[dict[int, Array], list[Failure]]:
    """Pictures by position, and a failure for each that is none."""
    read: dict[int, Array] = {}
    failures: list[Failure] = []
    for i, item in enumerate(items):
        if item.failure is not None:
            why = item.failure
            failures.append(Failure(i, why.reason, why.detail, why.source))
            continue
        try:
            pixels = item.read()
        except (PNGError, OSError) as error:
            detail = str(error).removeprefix(f"{item.path}: ")
            failures.append(Failure(i, "unreadable PNG", detail, item.name))
            continue
        if not np.isfinite(pixels).all() or np.abs(pixels).max(initial=0) > 1e30:
            failures.append(Failure(i, "values that are not finite", "", item.name))
        else:
            read[i] = pixels
    return read, failures


def _usual(pictures: Sequence[Array]) -> Shape:
    """The size and channels that most have; one channel where all of these are grey."""
    if not pictures:
        raise EvaluationError(
            "no reference picture could be read: there is nothing to compare with"
        )
    (height, width, channels), _ = Counter(one.shape for one in pictures).most_common(1)[0]
    if min(height, width) < _SMALLEST:
        raise EvaluationError(
            f"reference pictures of {height} x {width} pixels, wanted at least {_SMALLEST}"
        )
    same = [one for one in pictures if one.shape == (height, width, channels)]
    grey = channels == 3 and all(_with_channels(one, 1) is not None for one in same)
    return height, width, 1 if grey else channels


def _stacked(read: Mapping[int, Array], wanted: Shape) -> tuple[Array, list[Failure]]:
    good: list[Array] = []
    failures: list[Failure] = []
    for i, pixels in read.items():
        height, width, channels = pixels.shape
        if (height, width) != wanted[:2]:
            told = f"{height} x {width} pixels, wanted {wanted[0]} x {wanted[1]}"
            failures.append(Failure(i, "another size", told))
            continue
        taken = _with_channels(pixels, wanted[2])
        if taken is None:
            told = f"{channels} channels, wanted {wanted[2]}"
            failures.append(Failure(i, "another number of channels", told))
        else:
            good.append(taken)
    if not good:
        return np.zeros((0, *wanted), np.float32), failures
    if any(one.dtype != np.uint8 for one in good):
        good = [one / np.float32(255) if one.dtype == np.uint8 else one for one in good]
    return np.stack(good), failures


def _with_channels(pixels: Array, wanted: int) -> Array | None:
    """The picture with other channels, where that changes nothing that is seen; else None."""
    channels = pixels.shape[2]
    if channels == wanted:
        return pixels
    full = 255 if pixels.dtype == np.uint8 else 1
    if channels == 4 and wanted in (1, 3) and (pixels[..., 3] == full).all():
        pixels, channels = pixels[..., :3], 3
    if channels == 3 and wanted == 1 and (pixels == pixels[..., :1]).all():
        return pixels[..., :1]
    if channels == 1 and wanted == 3:
        return np.repeat(pixels, 3, axis=2)
    return pixels if channels == wanted else None
