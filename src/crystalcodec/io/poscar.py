"""POSCAR and CONTCAR texts, as VASP 4, 5 and 6 read and write them, to crystals."""

from __future__ import annotations

import re
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.elements import ATOMIC_NUMBERS
from crystalcodec.io.cif_values import CifError, number_of_symbol
from crystalcodec.io.loaded import Records

__all__ = ["add_poscar"]

Floats = npt.NDArray[np.float64]

_FORTRAN: Final = re.compile(r"(?<=\d)[dD](?=[+-]?\d)|(?<=\.)[dD](?=[+-]?\d)")


class _PoscarError(ValueError):
    def __init__(self, reason: str, detail: str, line: int) -> None:
        super().__init__(detail)
        self.reason, self.detail, self.line = reason, detail, line


def add_poscar(
    records: Records,
    text: str,
    *,
    index: int | None,
    name: str | None,
    source: str,
    properties: dict[str, Any] | None = None,
) -> None:
    """Add the crystal of one POSCAR text to records, or the failure that it is.

    Scale factors (one, three, or the negative of a volume), Cartesian and fractional coordinates
    and selective dynamics are understood. Species are taken from the line of symbols; in the old
    form without it from the end of the site lines, or from the comment where it is one symbol for
    each count, as ASE has it. Which directions may relax, velocities and all that follows the
    sites have no place in crystals and are left behind.

    Parameters
    ----------
    records
        Where it goes.
    text
        The POSCAR.
    index
        Of the text among its like; None: 0.
    name
        Id of the crystal; None: the comment line.
    source, properties
        Kept with the crystal.
    """
    position = 0 if index is None else index
    try:
        lattice, coords, numbers = _parse(text.splitlines())
    except _PoscarError as error:
        records.fail(
            error.reason, error.detail, index=position, source=source, line=error.line or None
        )
        return
    records.add(
        lattice,
        coords,
        numbers,
        index=position,
        name=name or text.splitlines()[0].strip(),
        source=source,
        properties=properties,
    )


@np.errstate(all="ignore")
def _parse(lines: list[str]) -> tuple[Floats, Floats, list[int]]:
    if len(lines) < 7:
        raise _PoscarError(
            "not a POSCAR",
            f"{len(lines)} lines, wanted comment, scale, three vectors, counts, mode and sites",
            len(lines),
        )
    scale = _numbers(lines, 1, None)
    vectors = np.array([_numbers(lines, row, 3) for row in (2, 3, 4)])
    lattice, factors = _scaled(vectors, scale)
    symbols, counts, row = _species_lines(lines)
    n = sum(counts)
    if _first_letter(lines, row) == "S":
        row += 1
    cartesian = _first_letter(lines, row) in ("C", "K")
    row += 1
    coords = np.array([_numbers(lines, row + site, 3) for site in range(n)]).reshape(-1, 3)
    _check_end(lines, row + n, n)
    if cartesian:
        try:
            coords = (coords * factors) @ np.linalg.inv(lattice)
        except np.linalg.LinAlgError as error:
            raise _PoscarError("no volume", f"lattice {lattice.tolist()}", 3) from error
    if symbols is None:
        return lattice, coords, _named_elsewhere(lines, row, counts)
    kinds = [_number(symbol, 6) for symbol in symbols]
    numbers = [z for z, count in zip(kinds, counts, strict=True) for _ in range(count)]
    return lattice, coords, numbers


def _numbers(lines: list[str], row: int, n: int | None) -> list[float]:
    """The first n numbers of a line; None: as many as there are, one or three."""
    if row >= len(lines):
        raise _PoscarError("cut off", f"the file ends before line {row + 1}", len(lines))
    words = lines[row].split()
    values = []
    for word in words[: n or 3]:
        try:
            values.append(float(_FORTRAN.sub("e", word)))
        except ValueError:
            break
    wanted = n or (3 if len(values) == 3 else 1)
    if len(values) < wanted:
        reason = "cut off" if not words else "not a POSCAR"
        raise _PoscarError(reason, f"{lines[row]!r}: wanted {wanted} numbers", row + 1)
    return values[:wanted]


def _scaled(vectors: Floats, scale: list[float]) -> tuple[Floats, Floats]:
    """The lattice, Å, and the factors of Cartesian components."""
    volume = abs(float(np.linalg.det(vectors)))
    if not np.isfinite(volume) or not volume > 0:
        raise _PoscarError("no volume", f"vectors {vectors.tolist()} close no cell", 3)
    factors = np.array(scale)
    if len(scale) == 1 and scale[0] < 0:
        factors = np.array([np.cbrt(-scale[0] / volume)])
    if not (np.isfinite(factors) & (factors > 0)).all():
        raise _PoscarError(
            "not a POSCAR",
            f"scale {scale}: wanted one positive number, three of them, or minus a volume",
            2,
        )
    return vectors * factors, factors


def _species_lines(lines: list[str]) -> tuple[list[str] | None, list[int], int]:
    """Symbols (None in the old form), counts, and the row after them; both may be wrapped."""
    row = 5
    symbols: list[str] = []
    while row < len(lines) and (words := lines[row].split()) and not _whole(words[0]):
        if symbols and len(words[0]) > 2 and words[0].isalpha():
            break
        symbols += words
        row += 1
    counts: list[int] = []
    while row < len(lines) and (words := lines[row].split("!")[0].split()) and _whole(words[0]):
        if counts and (not symbols or len(counts) >= len(symbols)):
            break
        for word in words:
            if not _whole(word):
                break
            counts.append(int(word))
        row += 1
    if not counts or (symbols and len(symbols) != len(counts)):
        raise _PoscarError(
            "not a POSCAR",
            f"{len(symbols)} symbols and {len(counts)} counts: wanted one count a symbol",
            row if counts else min(row + 1, len(lines)),
        )
    if sum(counts) < 1 or sum(counts) > len(lines):
        reason = "cut off" if sum(counts) > 0 else "no sites"
        detail = f"counts {counts} make {sum(counts)} sites, and there are {len(lines)} lines"
        raise _PoscarError(reason, detail, row)
    return symbols or None, counts, row


def _whole(word: str) -> bool:
    return word.isascii() and word.isdigit() and len(word) < 10


def _first_letter(lines: list[str], row: int) -> str:
    if row >= len(lines):
        raise _PoscarError("cut off", f"the file ends before line {row + 1}", len(lines))
    return lines[row].strip()[:1].upper()


def _check_end(lines: list[str], row: int, n: int) -> None:
    """Refuse sites beyond the counts: one of the two is wrong."""
    if row >= len(lines) or len(lines[row].split()) < 3:
        return
    try:
        _numbers(lines, row, 3)
    except _PoscarError:
        return
    raise _PoscarError(
        "counts contradict sites",
        f"the counts make {n} sites, and another follows: correct the counts",
        row + 1,
    )


def _named_elsewhere(lines: list[str], row: int, counts: list[int]) -> list[int]:
    """Atomic numbers of the old form, which has no line of symbols."""
    n = sum(counts)
    last = [lines[row + site].split()[-1] for site in range(n)]
    if all(len(lines[row + site].split()) > 3 for site in range(n)) and all(
        word not in ("T", "F") and word[:1].isalpha() for word in last
    ):
        return [_number(word, row + site + 1) for site, word in enumerate(last)]
    comment = lines[0].split()
    if len(comment) == len(counts) and all(word in ATOMIC_NUMBERS for word in comment):
        return [
            ATOMIC_NUMBERS[word]
            for word, count in zip(comment, counts, strict=True)
            for _ in range(count)
        ]
    raise _PoscarError(
        "unknown species",
        f"no line of element symbols before the counts {counts}: add one (VASP 5 form)",
        6,
    )


def _number(symbol: str, line: int) -> int:
    # VASP 6 adds the hash of the potential after a slash, others its kind after an underscore.
    try:
        return number_of_symbol(symbol.split("/")[0])
    except CifError as error:
        raise _PoscarError(error.reason, error.detail, line) from error
