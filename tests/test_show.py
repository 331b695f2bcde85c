"""The picture of a crystal and its representations: what is in it, and that nothing breaks it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from typer.testing import CliRunner

from crystalcodec import Crystals, write
from crystalcodec.cli import app
from crystalcodec.io.png import read_png
from crystalcodec.plots.arrays import tiles
from crystalcodec.plots.representations import show
from crystalcodec.plots.structures import draw_structure, element_colours
from crystalcodec.registry import REPRESENTATIONS, MissingExtraError, UnknownNameError
from crystalcodec.representations.base import Field, Representation, RepresentationError
from crystalcodec.representations.images import ImageRepresentation
from crystalcodec.representations.ircr import IRCR
from crystalcodec.testing import sample_crystals

SALT = Crystals.single(4.0 * np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17])


def texts(figure):
    found = [text.get_text() for text in figure.texts]
    return found + [text.get_text() for axes in figure.axes for text in axes.texts]


def test_every_representation_is_named_with_its_shapes_and_what_it_loses():
    figure = show(SALT, ids=["salt"])
    found = texts(figure)
    joined = " ".join(found).replace("\n", " ")
    assert "NaCl" in found
    assert "salt" in found
    for name in REPRESENTATIONS:
        assert name in found
    assert "144 × 3" in found
    assert "loses the orientation of the crystal in space" in joined
    assert "2 sites in a cell of 64.0 Å³" in joined
    assert {"Na 1", "Cl 1", "a", "b", "c"} <= set(found)


def test_a_refusal_is_said_in_words():
    figure = show(SALT, [IRCR(max_sites=1)])
    found = texts(figure)
    assert "refused: too many sites" in found
    assert "2 sites, at most 1 fit (max_sites)" in found


def test_a_package_that_is_missing_is_said_on_its_card_alone(monkeypatch):
    """The package may be what knows the shapes, as with tables of elements."""

    class Needy(Shaped):
        def _encode(self, crystals):
            raise MissingExtraError("something is not installed: pip install 'crystalcodec[x]'")

    found = texts(show(SALT, [Needy((3,)), IRCR()]))
    assert "refused: package not installed" in found
    assert "144 × 3" in found


def test_the_picture_is_written_and_the_same_each_time(tmp_path):
    for name in ("a.png", "b.png"):
        show(SALT, "ircr", tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    height, width, _ = read_png(tmp_path / "a.png").pixels.shape
    assert width > height > 500


def test_several_crystals_are_blocks_below_each_other():
    one, three = show(SALT, "ircr"), show(sample_crystals(3), ["ircr", IRCR(max_sites=30)])
    assert three.get_size_inches()[1] == pytest.approx(3 * one.get_size_inches()[1])
    assert texts(three).count("ircr") == 6


def test_wrong_calls():
    with pytest.raises(RepresentationError, match="at least one"):
        show(Crystals.empty())
    with pytest.raises(RepresentationError, match="an id for each"):
        show(SALT, ids=["a", "b"])
    with pytest.raises(UnknownNameError, match="did you mean 'ircr'"):
        show(SALT, "icrc")


@dataclass(frozen=True)
class Shaped(Representation):
    """Arrays of any shape and layout."""

    name: ClassVar[str] = "shaped"
    lost: ClassVar[str] = "much " * 60
    fields: ClassVar = (Field("first", "continuous", "shaped", (1,), (slice(0, 1),)),)

    shape: tuple[int, ...] = (3,)
    fill: float = 1.0

    def _encode(self, crystals):
        return {"shaped": np.full((len(crystals), *self.shape), self.fill, np.float32)}


@pytest.mark.parametrize(
    ("shape", "layout", "n", "of"),
    [
        ((8, 9), "hw", 1, (8, 9)),
        ((8, 9, 1), "hwc", 1, (8, 9)),
        ((8, 9, 3), "hwc", 3, (8, 9)),
        ((4, 8, 9), "chw", 4, (8, 9)),
        ((9, 8, 9), "chw", 4, (8, 9)),
        ((5, 8, 9), "dhw", 2, (8, 9)),
        ((5, 8, 9, 2), "dhwc", 2, (8, 9)),
        ((6, 5, 8, 9), "cdhw", 4, (8, 9)),
        ((20, 3), None, 1, (3, 20)),
        ((400,), None, 1, (400,)),
        ((2, 300), None, 1, (2, 300)),
        ((100,), "w", 1, (100,)),
        ((3, 3), None, 1, (3, 3)),
        ((4, 5, 6), None, 1, (4, 30)),
        ((1,), None, 1, (1,)),
    ],
)
def test_any_array_becomes_pictures(monkeypatch, shape, layout, n, of):
    monkeypatch.setattr(Shaped, "layouts", {"shaped": layout} if layout else {})
    found = tiles(Shaped(shape), {"shaped": np.ones(shape)})
    assert len(found) == n
    assert {tile.pixels.shape for tile in found} == {of}


@pytest.mark.parametrize("n", [4, 7, 8, 11])
def test_few_numbers_are_written_within_their_place(n):
    """A row of eight numbers reached over the edge of the card."""
    figure = show(SALT, [Shaped((n,), 17.25)])
    [written] = [t for axes in figure.axes for t in axes.texts if "17.25" in t.get_text()]
    rows = [row.split() for row in written.get_text().split("\n")]
    assert sum(map(len, rows)) == n
    assert max(map(len, rows)) <= 4


def test_one_row_of_many_numbers_is_a_line():
    for shape in [(100,), (1, 100), (100, 1)]:
        [tile] = tiles(Shaped(shape), {"shaped": np.ones(shape, np.float32)})
        assert tile.line, shape
    [tile] = tiles(Shaped((2, 50)), {"shaped": np.ones((2, 50), np.float32)})
    assert not tile.line


def test_any_array_is_drawn():
    shapes = [(8, 9), (20, 3), (400,), (100,), (3, 3), (4, 5, 6), (1,), (0,), (0, 3), (2, 2)]
    fills = [0.0, -1.0, 2.0, 1e30, 1e-30] * 2
    shaped = [Shaped(shape, fill) for shape, fill in zip(shapes, fills, strict=True)]
    show(SALT, shaped).canvas.draw()


class Picture(ImageRepresentation):
    name = "picture"
    round_trip_tolerance = 0.0
    lost = "nothing"
    layouts: ClassVar = {"picture": "hwc"}
    fields = ()

    def _encode(self, crystals):
        return {"picture": np.zeros((len(crystals), 4, 4, 3), np.float32)}

    def _decode(self, arrays):
        raise NotImplementedError


def test_three_channels_of_a_picture_are_its_colours():
    array = np.random.default_rng(0).random((4, 4, 3), dtype=np.float32)
    [tile] = tiles(Picture(), {"picture": array})
    np.testing.assert_array_equal(tile.pixels, array)


def test_a_volume_is_its_strongest_entries_along_the_depth(monkeypatch):
    monkeypatch.setattr(Shaped, "layouts", {"shaped": "dhw"})
    volume = np.full((3, 4, 5), -1.0)  # -1: nothing is here
    volume[0, 1, 2], volume[2, 3, 3] = 0.5, 0.7
    strongest = tiles(Shaped((3, 4, 5)), {"shaped": volume})[0]
    expected = np.full((4, 5), -1.0)
    expected[1, 2], expected[3, 3] = 0.5, 0.7
    np.testing.assert_array_equal(strongest.pixels, expected)
    assert not strongest.signed
    waves = np.zeros((3, 4, 5))
    waves[0, 1, 2], waves[1, 1, 2] = -2, 1
    strongest = tiles(Shaped((3, 4, 5)), {"shaped": waves})[0]
    assert strongest.pixels[1, 2] == -2
    assert strongest.signed


def test_fields_of_different_units_are_each_scaled():
    [tile] = tiles(IRCR(), {"ircr": IRCR().encode(SALT)["ircr"][0]})
    assert tile.pixels.shape == (3, 144)
    assert np.abs(tile.pixels).max() == 1.0
    np.testing.assert_allclose(tile.pixels[:, 94], 1.0)  # a = b = c
    np.testing.assert_allclose(tile.pixels[:, 95], 1.0)  # 90 degrees each


def test_atoms_on_faces_are_drawn_on_all_of_them():
    alone = Crystals.single(9 * np.eye(3), [[0.5, 0.5, 0.5]], [11])
    corner = Crystals.single(9 * np.eye(3), [[0, 0, 0]], [11])
    purple = element_colours()[11]

    def painted(crystal):
        pixels = draw_structure(crystal, 200).pixels
        near = (
            np.abs(
                pixels[..., :3] / np.maximum(pixels[..., :3].max(-1, keepdims=True), 1e-9)
                - purple / purple.max()
            ).max(axis=-1)
            < 0.25
        )
        return (near & (pixels[..., 3] > 0.5)).sum()

    assert painted(corner) > 4 * painted(alone) > 0


def test_near_atoms_hide_far_ones():
    # Seen along the depth: the heavier atom in front.
    pair = Crystals.single(6 * np.eye(3), [[0.5, 0.5, 0.5], [0.5, 0.5, 0.9]], [8, 16])
    picture = draw_structure(pair, 120, bonds=False)
    assert picture.pixels.shape == (120, 120, 4)
    assert np.isfinite(picture.pixels).all()
    assert picture.pixels.min() >= 0
    assert picture.pixels.max() <= 1
    assert picture.corners.shape == (4, 2)
    assert ((picture.corners > -5) & (picture.corners < 125)).all()


@pytest.mark.parametrize("crystal", list(sample_crystals(6)), ids=range(6))
def test_any_crystal_is_drawn(crystal):
    assert draw_structure(crystal, 48).pixels[..., 3].max() == 1.0


@pytest.fixture
def cifs(tmp_path):
    write(sample_crystals(6, seed=4)[4:], tmp_path / "cifs", ids=["first", "second"])
    (tmp_path / "cifs" / "bad.cif").write_text("nothing")
    return tmp_path / "cifs"


def invoke(*arguments):
    result = CliRunner().invoke(app, ["show", *map(str, arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_the_command_draws_files(cifs, tmp_path):
    result = invoke(cifs, "--as", "ircr", "-o", tmp_path / "p.png")
    assert result.exit_code == 0
    assert "2 crystals, 1 representations in" in result.stdout
    assert "could not be read: 1" in result.stderr
    assert str(cifs / "bad.cif") in result.stderr
    assert read_png(tmp_path / "p.png").pixels.ndim == 3


def test_the_command_takes_parameters_and_a_limit(cifs, tmp_path):
    given = ("--as", "ircr", "--set", "ircr.max_sites=40", "--set", "max_elements=5")
    result = invoke(cifs, *given, "--limit", 1, "-o", tmp_path / "p.png")
    assert "1 crystals, 1 rep" in result.stdout
    assert "there are more crystals than --limit" in result.stderr
    with pytest.raises(RepresentationError, match="no parameter"):
        invoke(cifs, "--as", "ircr", "--set", "ircr.x=40", "-o", tmp_path / "p.png")
    wrong = invoke(cifs, "--as", "ircr", "--set", "unimat.x=40", "-o", tmp_path / "p.png")
    assert wrong.exit_code == 2


def test_the_command_says_when_there_is_nothing(cifs, tmp_path):
    result = invoke(cifs / "bad.cif", "-o", tmp_path / "p.png")
    assert result.exit_code == 1
    assert not (tmp_path / "p.png").exists()
    assert "no crystal to draw" in result.stderr


@pytest.mark.parametrize("name", ["first.cif", "p.jpg", "."])
def test_a_picture_takes_the_place_of_no_other_file(cifs, monkeypatch, name):
    monkeypatch.chdir(cifs)
    before = (cifs / "first.cif").read_text()
    result = invoke("first.cif", "--as", "ircr", "-o", name)
    assert result.exit_code == 2
    with pytest.raises(RepresentationError, match=r"ends in \.png"):
        show(sample_crystals(1), "ircr", name)
    assert (cifs / "first.cif").read_text() == before
