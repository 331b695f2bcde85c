"""Sets of pictures as one array, and which of them are pictures at all."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from crystalcodec.evaluation.base import EvaluationError

__all__ = ["PictureSet", "pixel_numbers"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
_SMALLEST = 8


@dataclass(frozen=True)
class PictureSet:
    """Pictures of one size, and the ones of the attempts that are none.

    Parameters
    ----------
    values : (m, height, width, channels)
        Grey values or channels, from 0 to 1 as a rule.
    n
        Number of attempts.
    positions : (m,)
        Which attempt each is, rising.
    """

    values: Floats
    n: int
    positions: Ints

    @classmethod
    def of(cls, pictures: npt.ArrayLike) -> PictureSet:
        """Pictures of an array; those with a value that is not finite are left out and counted.

        Parameters
        ----------
        pictures : (n, height, width) or (n, height, width, channels)
            Real numbers as they are, or uint8 and uint16, which are divided by their largest value.

        Raises
        ------
        EvaluationError
            Another shape or kind, or a side of fewer than 8 pixels.
        """
        array = np.asarray(pictures)
        if array.ndim not in (3, 4) or min(array.shape[1:3]) < _SMALLEST or 0 in array.shape[3:]:
            raise EvaluationError(
                f"pictures of shape {array.shape}, wanted (n, height, width[, channels]) with "
                f"sides of at least {_SMALLEST} pixels"
            )
        if array.dtype in (np.uint8, np.uint16):
            array = array / np.iinfo(array.dtype).max
        elif array.dtype.kind != "f":
            raise EvaluationError(
                f"pictures of {array.dtype}, wanted real numbers, uint8 or uint16"
            )
        values = np.asarray(array, np.float64)
        values = values if values.ndim == 4 else values[..., None]
        # Beyond 1e100 squares of squares would not be finite.
        good = (np.abs(values) < 1e100).all(axis=(1, 2, 3))
        return cls(values[good], len(values), np.flatnonzero(good))

    @property
    def n_failed(self) -> int:
        """Number of attempts that are no pictures."""
        return self.n - len(self.positions)

    def spread(self, rows: npt.ArrayLike) -> Floats:
        """(n, ...) rows of the m pictures, NaN where an attempt is none."""
        told = np.asarray(rows, np.float64)
        out = np.full((self.n, *told.shape[1:]), np.nan)
        out[self.positions] = told
        return out


def pixel_numbers(pictures: npt.ArrayLike) -> Floats:
    """(n,) a number of each picture (n, height, width[, channels]) that follows from its pixels.

    Pictures have the same one if they have the same pixels, rounded to 8 bits; 53 bits of a hash,
    so that two others of a million share one with a probability of 1e-4. NaN for what is none.
    """
    told = PictureSet.of(pictures)
    pixels = np.rint(255 * np.clip(told.values, 0, 1)).astype(np.uint8)
    hashes = [hashlib.blake2b(one.tobytes(), digest_size=8).digest() for one in pixels]
    numbers = np.frombuffer(b"".join(hashes), "<u8") >> 11
    return told.spread(numbers.astype(np.float64))
