"""PNG files against a reader and a writer made from the definition of the format, and junk."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from crystalcodec.io.png import PNGError, read_png, read_pngs, write_png

SHAPES = {"grey": ((5, 7), np.uint8), "grey 16": ((5, 7), np.uint16)}
SHAPES |= {"RGB": ((5, 7, 3), np.uint8), "RGBA": ((5, 7, 4), np.uint8)}


def pixels_of(shape, dtype, seed=0):
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, shape, dtype)


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def file_from_definition(pixels, *, bits=None, colour_type=None, extra=b"") -> bytes:
    """A PNG with filter 0 in each row, written from the text of the standard."""
    height, width = pixels.shape[:2]
    if colour_type is None:
        colour_type = {1: 0, 3: 2, 4: 6}[pixels.reshape(height, width, -1).shape[2]]
    bits = bits or 8 * pixels.itemsize
    rows = b"".join(b"\0" + row.astype(row.dtype.newbyteorder(">")).tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    body = chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", SHAPES)
def test_pixels_come_back_exactly(tmp_path, kind):
    pixels = pixels_of(*SHAPES[kind])
    write_png(tmp_path / "a.png", pixels, text={"a key": "some text", "Title": "σ = 1 Å, 日本"})
    picture = read_png(tmp_path / "a.png")
    np.testing.assert_array_equal(picture.pixels, pixels)
    assert picture.pixels.dtype == pixels.dtype
    assert picture.text == {"a key": "some text", "Title": "σ = 1 Å, 日本"}
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("kind", SHAPES)
def test_reads_files_written_from_the_definition(tmp_path, kind):
    pixels = pixels_of(*SHAPES[kind])
    (tmp_path / "a.png").write_bytes(
        file_from_definition(pixels, extra=chunk(b"tEXt", b"key\0value"))
    )
    picture = read_png(tmp_path / "a.png")
    np.testing.assert_array_equal(picture.pixels, pixels)
    assert picture.text == {"key": "value"}


def test_sixteen_bits_are_written_as_the_standard_says(tmp_path):
    pixels = np.array([[0, 1, 255, 256, 65535]], np.uint16)
    write_png(tmp_path / "a.png", pixels)
    content = (tmp_path / "a.png").read_bytes()
    assert content[24:26] == b"\x10\0"  # 16 bits, greyscale
    start = content.index(b"IDAT")
    (length,) = struct.unpack(">I", content[start - 4 : start])
    row = zlib.decompress(content[start + 4 : start + 4 + length])
    values = np.frombuffer(row[1:], ">u2").astype(int)
    if row[0] == 1:  # differences from the pixel on the left, byte by byte
        values = np.cumsum(np.frombuffer(row[1:], "u1").reshape(-1, 2), axis=0) % 256 @ [256, 1]
    else:
        assert row[0] in (0, 2)  # nothing, or differences from a row above that is not there
    assert values.tolist() == pixels[0].tolist()


@given(
    pixels=arrays.arrays(
        np.uint16, arrays.array_shapes(min_dims=2, max_dims=2, max_side=9), elements={}
    ),
    value=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
)
def test_any_grey_and_any_text_survive(tmp_path_factory, pixels, value):
    path = tmp_path_factory.mktemp("png") / "a.png"
    write_png(path, pixels, text={"key": value})
    picture = read_png(path)
    np.testing.assert_array_equal(picture.pixels, pixels)
    assert picture.text == {"key": value}


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((2, 2)),
        np.zeros((2, 2), np.int64),
        np.zeros((2, 2, 2), np.uint8),
        np.zeros((2, 2, 3), np.uint16),
        np.zeros(4, np.uint8),
        np.zeros((0, 4), np.uint8),
    ],
    ids=lambda pixels: f"{pixels.dtype}{pixels.shape}",
)
def test_pixels_that_no_file_holds_are_refused(tmp_path, pixels):
    with pytest.raises(PNGError, match=r"wanted \(h, w\)"):
        write_png(tmp_path / "a.png", pixels)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("text", [{"": "a"}, {"k" * 80: "a"}, {"a\n": "a"}, {"a": "\0"}])
def test_text_that_no_file_holds_is_refused(tmp_path, text):
    with pytest.raises(PNGError):
        write_png(tmp_path / "a.png", np.zeros((2, 2), np.uint8), text=text)
    assert not [*tmp_path.iterdir()]


GREY = pixels_of((8, 8), np.uint8)


def other_kinds():
    yield "palette", "8 bits, palette", Image.fromarray(GREY).convert("P"), {}
    yield "one bit", "1 bits, greyscale", Image.fromarray(GREY).convert("1"), {}
    yield "alpha", "8 bits, greyscale with alpha", Image.fromarray(GREY).convert("LA"), {}
    yield "transparent", "transparent", Image.fromarray(GREY), {"transparency": 3}


@pytest.mark.parametrize(("said", "image", "options"), [kind[1:] for kind in other_kinds()])
def test_other_kinds_are_refused_by_name(tmp_path, said, image, options):
    image.save(tmp_path / "a.png", **options)
    with pytest.raises(PNGError, match=said):
        read_png(tmp_path / "a.png")


def test_sixteen_bits_of_colour_are_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(file_from_definition(pixels_of((4, 4, 3), np.uint16)))
    with pytest.raises(PNGError, match="16 bits, RGB"):
        read_png(tmp_path / "a.png")


def test_a_file_cut_short_anywhere_is_refused(tmp_path):
    path = tmp_path / "a.png"
    write_png(path, GREY, text={"key": "value"})
    content = path.read_bytes()
    for stop in range(len(content)):
        path.write_bytes(content[:stop])
        with pytest.raises(PNGError, match="not a PNG" if stop < 8 else "cut short"):
            read_png(path)


def test_a_damaged_file_is_refused_or_says_the_same_pixels(tmp_path):
    path = tmp_path / "a.png"
    write_png(path, GREY)
    content = path.read_bytes()
    refused = 0
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :])
        pictures, failures = read_pngs([path])
        refused += len(failures)
        for picture in pictures:
            np.testing.assert_array_equal(picture.pixels, GREY)
    assert refused >= len(content) - 12  # Pillow does not read the last chunk


def test_another_format_under_the_name_is_refused(tmp_path):
    Image.fromarray(GREY).save(tmp_path / "a.png", format="BMP")
    with pytest.raises(PNGError, match=r"not a PNG \(it starts with b'BM"):
        read_png(tmp_path / "a.png")


def test_a_size_made_to_fill_the_memory_is_refused(tmp_path):
    content = file_from_definition(GREY)
    header = struct.pack(">IIBBBBB", 1 << 20, 1 << 20, 8, 0, 0, 0, 0)
    (tmp_path / "a.png").write_bytes(content[:8] + chunk(b"IHDR", header) + content[33:])
    with pytest.raises(PNGError, match="1048576 x 1048576 pixels"):
        read_png(tmp_path / "a.png")


def test_many_files_give_pictures_and_failures(tmp_path):
    write_png(tmp_path / "a.png", GREY)
    (tmp_path / "b.png").write_bytes(b"no picture")
    write_png(tmp_path / "d.png", GREY.T)
    pictures, failures = read_pngs(
        [tmp_path / name for name in ("a.png", "b.png", "c.png", "d.png")]
    )
    np.testing.assert_array_equal([p.pixels for p in pictures], [GREY, GREY.T])
    assert [(f.index, f.reason) for f in failures] == [(1, "unreadable PNG"), (2, "unreadable PNG")]
    assert "not a PNG" in failures[0].detail
    assert failures[0].source == str(tmp_path / "b.png")
