"""Texts that are mostly numbers, taken apart line by line, with errors that say where."""

from __future__ import annotations

import re
import warnings
from typing import Final

import numpy as np
import numpy.typing as npt

from crystalcodec.io.loaded import ReadError

__all__ = ["NumberText", "VolumetricError"]

Floats = npt.NDArray[np.float64]

# Fortran leaves the E out where the exponent has three digits: 0.12345-100.
_NO_EXPONENT: Final = re.compile(rb"(\d)([+-]\d{3})(?=\s|$)")


class VolumetricError(ReadError):
    """A file that is no whole density, with where and why.

    Parameters
    ----------
    reason, detail, source, line
        As of a :class:`crystalcodec.failures.Failure`.
    """

    def __init__(self, reason: str, detail: str, source: str, line: int | None = None) -> None:
        where = f"{source}:{line}" if line else source
        super().__init__(f"{where}: {reason}: {detail}")
        self.reason, self.detail, self.source, self.line = reason, detail, source, line


class NumberText:
    """The bytes of a file by lines, and numbers out of them.

    Parameters
    ----------
    data, source
        The file.
    """

    def __init__(self, data: bytes, source: str) -> None:
        self.data, self.source = data, source
        ends = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n"))
        self.starts = np.concatenate([[0], ends + 1])
        if self.starts[-1] >= len(data):
            self.starts = self.starts[:-1]

    def __len__(self) -> int:
        return len(self.starts)

    def line(self, number: int) -> str:
        """A line, counted from 0."""
        if number >= len(self):
            raise self.error("cut off", f"the file ends before line {number + 1}", len(self) - 1)
        return self.lines(number, number + 1).decode("latin-1").rstrip("\r\n")

    def lines(self, first: int, stop: int) -> bytes:
        """The bytes of some lines."""
        end = int(self.starts[stop]) if stop < len(self) else len(self.data)
        return self.data[int(self.starts[first]) : end]

    def error(self, reason: str, detail: str, line: int | None = None) -> VolumetricError:
        """An error at a line counted from 0."""
        return VolumetricError(reason, detail, self.source, None if line is None else line + 1)

    def whole_numbers(self, number: int, n: int) -> list[int] | None:
        """The numbers of a line where it holds n whole ones and nothing else."""
        words = self.line(number).split()
        if len(words) != n or not all(re.fullmatch(r"[+-]?\d{1,9}", word) for word in words):
            return None
        return [int(word) for word in words]

    def floats(self, number: int, n: int) -> list[float]:
        """The first n numbers of a line."""
        words = self.line(number).split()
        try:
            values = [float(word) for word in words[:n]]
        except ValueError:
            values = []
        if len(values) < n or not np.isfinite(values).all():
            raise self.error(
                "not a number", f"{self.line(number)!r}: wanted {n} finite numbers", number
            )
        return values

    def values(self, first: int, n: int) -> tuple[Floats, int]:
        """So many numbers from a line on, and the line after them.

        Lines may have any number of numbers, the same on each but the last. Some programs that
        add densities fill up the last line with zeros, which are no values.
        """
        width = max(len(self.line(first).split()), 1)
        stop = first + -(-n // width)
        values = self.numbers(first, min(stop, len(self)))
        if len(values) == width * (stop - first) and not values[n:].any():
            values = values[:n]
        if len(values) == n:
            if stop >= len(self):
                self.require_end()
            return values, stop
        if stop > len(self) or (stop == len(self) and len(values) < n):
            raise self.error(
                "cut off",
                f"{len(values)} values, wanted {n}: the file is cut short, or its grid is another "
                "than it says",
                len(self) - 1,
            )
        raise self.error(
            "grid contradicts values",
            f"lines {first + 1} to {stop} hold {len(values)} values, wanted {n}",
            stop - 1,
        )

    def require_end(self) -> None:
        """Refuse a file that ends without a line end, and with a number shorter than the others."""
        words = self.line(len(self) - 1).split()[-1:]
        if self.data.endswith(b"\n") or not words:
            return
        before = self.data[int(self.starts[max(len(self) - 2, 0)]) :].split()[-2].decode("latin-1")
        if _digits(words[0]) != _digits(before) or "." not in words[0]:
            raise self.error(
                "cut off",
                f"the file ends with {words[0]!r} and no line end: is it whole? Add the line end",
                len(self) - 1,
            )

    def numbers(self, first: int, stop: int) -> Floats:
        """All numbers of some lines."""
        if first >= len(self):
            raise self.error("cut off", "no values", len(self) - 1)
        block = self.lines(first, stop)
        try:
            values = _parsed(block)
        except (ValueError, DeprecationWarning):
            try:
                values = _parsed(_NO_EXPONENT.sub(rb"\1E\2", block))
            except (ValueError, DeprecationWarning):
                raise self._odd_word(first, stop) from None
        if not np.isfinite(values).all():
            raise self._odd_word(first, stop)
        return values

    def _odd_word(self, first: int, stop: int) -> VolumetricError:
        """The first word that is no finite number; what follows the values is another fault."""
        for number in range(first, stop):
            for word in self.line(number).split():
                try:
                    value = float(word)
                except ValueError:
                    if number == len(self) - 1 and re.fullmatch(r"[-+.\dEe]*", word):
                        return self.error("cut off", f"the file ends with {word!r}", number)
                    if re.match(r"[A-Za-z]", word):
                        return self.error(
                            "grid contradicts values",
                            f"{self.line(number).strip()[:40]!r} where a value is wanted: the "
                            "grid has more points than there are values",
                            number,
                        )
                    return self.error(
                        "not a number",
                        f"{word!r}: wanted a number (asterisks are numbers too wide for their "
                        "columns)",
                        number,
                    )
                if not np.isfinite(value):
                    return self.error("not finite", f"{word!r}: wanted a finite number", number)
        return self.error("not a number", "a value cannot be read", first)


def _parsed(block: bytes) -> Floats:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # numpy before 2.3 only warns of what is no number
        return np.asarray(np.fromstring(block, sep=" "), float)


def _digits(word: str) -> tuple[int, int]:
    """Digits behind the point, and of the exponent."""
    mantissa, _, exponent = re.sub("[dDE]", "e", word).partition("e")
    return len(mantissa.partition(".")[2]), len(exponent.lstrip("+-"))
