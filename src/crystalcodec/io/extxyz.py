"""Extended XYZ: frames of atoms with their cell and any properties."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import numpy as np

from crystalcodec.crystals import Crystals
from crystalcodec.elements import SYMBOLS
from crystalcodec.io.cif_values import CifError, number_of_symbol
from crystalcodec.io.loaded import ReadError, Records
from crystalcodec.io.streams import MAX_TEXT_BYTES, DamagedError

if TYPE_CHECKING:
    from crystalcodec.io.reading import Options, Part

__all__ = ["read_extxyz", "write_extxyz"]

_KEY: Final = re.compile(r"[A-Za-z_][\w-]*", re.ASCII)
_ID: Final = re.compile(r"""(?:^|\s)id=(?:"([^"\\]*)"|([^\s"'{\[\\]+))""")
_ID_KEYS: Final = ("id", "material_id", "name", "config_name")
_OWN_KEYS: Final = ("Lattice", "Properties", "pbc")
_COUNT: Final = re.compile(r"[0-9]{1,9}")
_MAX_SITES: Final = 10_000_000


class _FrameError(ValueError):
    def __init__(self, reason: str, detail: str, line: int) -> None:
        super().__init__(detail)
        self.reason, self.detail, self.line = reason, detail, line


def read_extxyz(
    records: Records, stream: IO[bytes], part: Part, options: Options
) -> Iterator[None]:
    """Add the frames of an extended XYZ file to records, one after another.

    A frame that cannot be understood is a failure, and the next one is read; after a line that
    is no number of atoms nothing more can be told apart. A frame needs ``Lattice="..."``, and
    ``pbc="T T T"`` where it says anything about it. Values of the comment line become properties;
    other columns than species and positions are left behind.
    """
    del options
    index, line = 0, 1
    while True:
        head = _line(stream)
        if not head:
            break
        if not head.strip():
            line += 1
            continue
        count = head.strip()
        if not _COUNT.fullmatch(count) or not 0 < int(count) <= _MAX_SITES:
            detail = f"{count[:60]!r}: wanted the number of atoms of the next frame"
            records.fail("not an extxyz", detail, index=index, source=part.source, line=line)
            return
        n = int(count)
        comment = _line(stream)
        rows = [row for row in (_line(stream) for _ in range(n)) if row]
        if len(rows) < n:
            detail = f"{len(rows)} of {n} sites before the end of the file"
            place = line + 1 + len(rows)
            records.fail("cut off", detail, index=index, source=part.source, line=place)
            return
        try:
            lattice, coords, numbers, info = _frame(comment, rows, line)
        except _FrameError as error:
            records.fail(
                error.reason, error.detail, index=index, source=part.source, line=error.line
            )
        else:
            given = next((info.pop(key) for key in _ID_KEYS if key in info), None)
            # As it was written: an id such as 007 is no number.
            match = _ID.search(comment)
            name = (match[1] or match[2]) if match else given
            records.add(
                lattice,
                coords,
                numbers,
                index=index,
                name=f"{part.name}/{index}" if name is None else str(name),
                source=f"{part.source}!/frame {index}",
                line=line,
                properties=info,
            )
        line += n + 2
        index += 1
        yield
    if index == 0:
        raise DamagedError("no crystal in file", "nothing in it")


def _line(stream: IO[bytes]) -> str:
    data = stream.readline(MAX_TEXT_BYTES)
    if len(data) == MAX_TEXT_BYTES:
        raise DamagedError("text too large", f"a line of more than {MAX_TEXT_BYTES} bytes")
    return data.decode("utf-8", "replace")


@np.errstate(all="ignore")
def _frame(
    comment: str, rows: Sequence[str], line: int
) -> tuple[Any, Any, list[int], dict[str, Any]]:
    from ase.io.extxyz import key_val_str_to_dict

    try:
        info = key_val_str_to_dict(comment)
    except Exception as error:
        raise _FrameError("not an extxyz", f"comment line: {error}", line + 1) from error
    lattice = np.asarray(info.pop("Lattice", None) if "Lattice" in info else np.zeros(0))
    if lattice.size != 9 or lattice.dtype.kind not in "fiu":
        raise _FrameError(
            "no cell", 'no Lattice="..." of nine numbers in the comment: add it', line + 1
        )
    # ASE gives the cell vectors in columns where it made a matrix of them.
    lattice = lattice.reshape(3, 3).T if lattice.ndim == 2 else lattice.reshape(3, 3)
    periodic = np.atleast_1d(info.pop("pbc", True))
    if not all(bool(direction) for direction in periodic):
        raise _FrameError(
            "not periodic", f"pbc {periodic.tolist()}: a crystal repeats in all three", line + 1
        )
    species, position, width = _columns(str(info.pop("Properties", "")), line + 1)
    words = [row.split() for row in rows]
    for site, row in enumerate(words):
        if len(row) < width:
            place = line + 2 + site
            raise _FrameError("not an extxyz", f"{len(row)} of {width} columns", place)
    numbers = _numbers([row[species] for row in words], line + 2)
    try:
        cart = np.array([row[position : position + 3] for row in words], float)
        inverse = np.linalg.inv(np.asarray(lattice, float))
    except (ValueError, np.linalg.LinAlgError) as error:
        raise _FrameError("no coordinates", str(error), line + 2) from error
    return np.asarray(lattice, float), cart @ inverse, numbers, _scalars(info)


def _columns(properties: str, line: int) -> tuple[int, int, int]:
    """Column of the species, first column of the positions, number of columns."""
    fields = (properties or "species:S:1:pos:R:3").split(":")
    starts: dict[str, int] = {}
    width = 0
    for name, count in zip(fields[::3], fields[2::3], strict=False):
        if not _COUNT.fullmatch(count):
            raise _FrameError("not an extxyz", f"Properties={properties}", line)
        starts[name] = width
        width += int(count)
    species = next((starts[name] for name in ("species", "Z", "numbers") if name in starts), None)
    if species is None or "pos" not in starts or width > 10_000:
        raise _FrameError(
            "not an extxyz", f"Properties={properties}: wanted species:S:1 and pos:R:3", line
        )
    return species, starts["pos"], width


def _numbers(words: Sequence[str], line: int) -> list[int]:
    numbers = []
    for site, word in enumerate(words):
        try:
            numbers.append(int(word) if _COUNT.fullmatch(word) else number_of_symbol(word))
        except CifError as error:
            raise _FrameError(error.reason, error.detail, line + site) from error
    return numbers


def _scalars(info: Mapping[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for key, value in info.items():
        plain = value.item() if isinstance(value, np.generic) else value
        if isinstance(plain, bool | int | float | str) or plain is None:
            kept[key] = plain
    return kept


def write_extxyz(
    crystals: Crystals,
    path: Path,
    ids: Sequence[str] | None,
    properties: Mapping[str, Sequence[Any]],
) -> None:
    """Write all crystals as frames; lattices and positions with all digits.

    Raises
    ------
    ReadError
        Names of properties that a frame keeps for itself, or that would be written as one.
    """
    keys = {
        name: name if _KEY.fullmatch(name) else re.sub(r"[^\w-]", "_", name) for name in properties
    }
    _check_names(keys, ids is not None)
    cart = crystals.cart_coords.tolist()
    with path.open("w", encoding="utf-8") as file:
        for i, lattice in enumerate(crystals.lattices):
            start, stop = int(crystals.offsets[i]), int(crystals.offsets[i + 1])
            info = {} if ids is None else {"id": ids[i]}
            info |= {keys[name]: values[i] for name, values in properties.items()}
            told = "".join(
                f" {key}={_value(value)}" for key, value in info.items() if value is not None
            )
            cell = " ".join(map(repr, lattice.ravel().tolist()))
            file.write(
                f'{stop - start}\nLattice="{cell}" Properties=species:S:1:pos:R:3 '
                f'pbc="T T T"{told}\n'
            )
            for z, (x, y, height) in zip(
                crystals.numbers[start:stop].tolist(), cart[start:stop], strict=True
            ):
                file.write(f"{SYMBOLS[z]} {x!r} {y!r} {height!r}\n")


def _check_names(keys: Mapping[str, str], named: bool) -> None:
    taken = {**dict.fromkeys((*_OWN_KEYS, *_ID_KEYS[: 1 if named else None]), "the frame itself")}
    for name, key in keys.items():
        if key in taken:
            raise ReadError(
                f"property {name!r} is {key} in an extxyz, which {taken[key]!r} is already: give "
                "it another name"
            )
        taken[key] = name


def _value(value: Any) -> str:
    plain = value.item() if isinstance(value, np.generic) else value
    if isinstance(plain, bool):
        return "T" if plain else "F"
    if isinstance(plain, int | float):
        return repr(plain)
    return _text(str(plain))


@lru_cache(maxsize=4096)
def _text(text: str) -> str:
    """A text in quotes; as JSON where ASE would read a number, a truth value or less of it."""
    from ase.io.extxyz import key_val_str_to_dict

    quoted = json.dumps(text, ensure_ascii=False)
    try:
        read = key_val_str_to_dict(f"x={quoted}")
    except Exception:
        read = {}
    if isinstance(read.get("x"), str) and read == {"x": text}:
        return quoted
    return json.dumps(f"_JSON {json.dumps(text)}")
