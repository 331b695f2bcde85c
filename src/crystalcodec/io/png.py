"""PNG files: pixels of 8 bits, or 16 bits of grey, with text beside them."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.failures import Failure
from crystalcodec.io.whole import whole_file

__all__ = ["PNGError", "Picture", "read_png", "read_pngs", "write_png"]

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPES: Final = {
    0: "greyscale",
    2: "RGB",
    3: "palette",
    4: "greyscale with alpha",
    6: "RGB with alpha",
}
_TAKEN: Final = {(0, 8), (0, 16), (2, 8), (6, 8)}  # colour type, bits
_MAX_PIXELS: Final = 1 << 28  # more is a mistake, or made to fill the memory


class PNGError(ValueError):
    """Pixels that no PNG of ours holds, or a file that is not such a PNG."""


@dataclass(frozen=True, eq=False)
class Picture:
    """Pixels of a PNG and the text beside them.

    Parameters
    ----------
    pixels
        (h, w), (h, w, 3) or (h, w, 4) uint8, or (h, w) uint16.
    text
        What the text chunks of the file say, by key.
    """

    pixels: npt.NDArray[Any]
    text: Mapping[str, str] = field(default_factory=dict)


def write_png(
    path: str | os.PathLike[str],
    pixels: npt.NDArray[Any],
    *,
    text: Mapping[str, str] | None = None,
) -> None:
    """Write a PNG file, whole or not at all.

    Parameters
    ----------
    path
        Where the file is wanted; its folder is made where it is missing.
    pixels
        Greyscale (h, w), RGB (h, w, 3) or RGB with alpha (h, w, 4) uint8, or greyscale (h, w)
        uint16. Nothing is scaled.
    text
        Text chunks by key: Latin-1 in tEXt, the rest in iTXt.

    Raises
    ------
    PNGError
        Pixels of another shape or type; a key of no or more than 79 characters.
    OSError
        The file could not be written.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "grey.png"
    >>> write_png(path, np.array([[0, 40000]], np.uint16), text={"crystal": "NaCl"})
    >>> picture = read_png(path)
    >>> picture.pixels, picture.text
    (array([[    0, 40000]], dtype=uint16), {'crystal': 'NaCl'})
    """
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    pixels = np.asarray(pixels)
    grey = pixels.ndim == 2 and pixels.dtype in (np.uint8, np.uint16)
    colour = pixels.ndim == 3 and pixels.shape[2] in (3, 4) and pixels.dtype == np.uint8
    if not (grey or colour) or not pixels.size:
        raise PNGError(
            f"pixels of shape {pixels.shape} and type {pixels.dtype}: wanted (h, w), (h, w, 3) or "
            "(h, w, 4) uint8, or (h, w) uint16"
        )
    chunks = PngInfo()
    for key, value in (text or {}).items():
        if not (0 < len(key) < 80 and key.isascii() and key.isprintable()):
            raise PNGError(f"{key!r} is no key of a PNG text: wanted 1 to 79 ASCII characters")
        if "\0" in value:
            raise PNGError(f"the text of {key!r} has a character 0, which ends a PNG text")
        chunks.add_text(key, value)
    image = Image.fromarray(np.ascontiguousarray(pixels))
    with whole_file(path) as temporary:
        image.save(temporary, format="PNG", pnginfo=chunks)


def read_png(path: str | os.PathLike[str]) -> Picture:
    """The pixels of a PNG file as they stand, and its text.

    Parameters
    ----------
    path
        A PNG of 8 bits (greyscale, RGB, RGB with alpha) or of 16 bits (greyscale).

    Raises
    ------
    PNGError
        Not a PNG, cut short, damaged, or of a kind whose pixels would have to be changed: a
        palette, another depth, a colour that stands for transparent.
    OSError
        The file could not be read.
    """
    from PIL import Image

    content = Path(path).read_bytes()
    width, height = _checked_header(content, os.fspath(path))
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            image.load()
            pixels = np.array(image)
            text = {str(key): str(value) for key, value in getattr(image, "text", {}).items()}
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        # Pillow names the object that it reads from, which tells a user nothing.
        told = str(error).partition(" <")[0]
        raise PNGError(f"{path}: the PNG is damaged ({told})") from error
    if pixels.shape[:2] != (height, width) or pixels.dtype not in (np.uint8, np.uint16):
        raise PNGError(f"{path}: read as {pixels.dtype} of shape {pixels.shape}")
    return Picture(pixels, text)


def read_pngs(paths: Iterable[str | os.PathLike[str]]) -> tuple[list[Picture], list[Failure]]:
    """The pictures of many files, and a failure for each that could not be read.

    Returns
    -------
    pictures
        In the order of the paths, without those that failed.
    failures
        With the position of the path, the reason ``"unreadable PNG"``, and the path.
    """
    pictures, failures = [], []
    for i, path in enumerate(paths):
        try:
            pictures.append(read_png(path))
        except (PNGError, OSError) as error:
            detail = str(error).removeprefix(f"{os.fspath(path)}: ")
            failures.append(Failure(i, "unreadable PNG", detail, os.fspath(path)))
    return pictures, failures


def _checked_header(content: bytes, path: str) -> tuple[int, int]:
    """Width and height of a PNG that is complete and of a kind whose pixels we take."""
    if not content.startswith(_SIGNATURE):
        raise PNGError(f"{path}: not a PNG (it starts with {content[:8]!r})")
    names = [name for name, _ in _chunks(content)]
    if b"IEND" not in names:
        raise PNGError(f"{path}: the PNG is cut short after {len(content)} bytes")
    name, header = next(_chunks(content))
    if name != b"IHDR" or len(header) != 13:
        raise PNGError(f"{path}: the PNG has no header")
    width, height, bits, colour_type = struct.unpack(">IIBB", header[:10])
    if (colour_type, bits) not in _TAKEN or b"tRNS" in names:
        kind = _COLOUR_TYPES.get(colour_type, f"colour type {colour_type}")
        transparent = ", one colour transparent" if b"tRNS" in names else ""
        raise PNGError(
            f"{path}: a PNG of {bits} bits, {kind}{transparent}: wanted 8 bits (greyscale, RGB, "
            "RGB with alpha) or 16 bits (greyscale)"
        )
    if not 0 < width * height <= _MAX_PIXELS:
        raise PNGError(f"{path}: a PNG of {width} x {height} pixels, at most {_MAX_PIXELS} fit")
    return width, height


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and data of each complete chunk."""
    start = len(_SIGNATURE)
    while start + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, start)
        if start + 12 + length > len(content):
            return
        yield content[start + 4 : start + 8], content[start + 8 : start + 8 + length]
        start += 12 + length
