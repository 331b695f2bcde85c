"""Representations whose array is a picture that can be kept in an image file."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from crystalcodec.representations.base import (
    Arrays,
    Encoded,
    InvertibleRepresentation,
    RepresentationError,
)

__all__ = ["ImageRepresentation"]


class ImageRepresentation(InvertibleRepresentation):
    """A representation of one array, named as the class, of numbers from 0 to 1.

    Attributes
    ----------
    bits
        Depth of its pixels, 8 or 16; a leaf may make it a parameter.
    """

    bits: int = 8

    @property
    def whole(self) -> int:
        """The pixel that stands for 1: 255 or 65535."""
        return int(2**self.bits - 1)

    def to_pixels(self, arrays: Arrays | npt.NDArray[Any] | Encoded) -> npt.NDArray[Any]:
        """Pixels (n, height, width) or (n, height, width, channels), uint8 or uint16.

        Values are rounded to the nearest step of the depth.

        Raises
        ------
        RepresentationError
            An array of the wrong shape, or with numbers that are not finite or outside [0, 1].
        """
        array = self.checked(arrays)[self.name]
        if not (np.isfinite(array).all() and ((array >= 0) & (array <= 1)).all()):
            raise RepresentationError(
                f"{self.name}: pixels hold numbers from 0 to 1, got {array.min():g} to "
                f"{array.max():g}: clip the array first"
            )
        pixels = np.rint(array * np.float32(self.whole))
        return pixels.astype(np.uint8 if self.bits == 8 else np.uint16)

    def from_pixels(self, pixels: npt.NDArray[Any]) -> dict[str, npt.NDArray[np.float32]]:
        """The array (n, ...) of pixels, float32 from 0 to 1, ready for :meth:`decode`.

        Raises
        ------
        RepresentationError
            Pixels of another shape or depth.
        """
        wanted = np.dtype(np.uint8 if self.bits == 8 else np.uint16)
        if pixels.dtype != wanted:
            raise RepresentationError(
                f"{self.name} with these parameters has pixels of {wanted}, got {pixels.dtype}"
            )
        array = pixels.astype(np.float32) / np.float32(self.whole)
        return dict(self.checked({self.name: array}))
