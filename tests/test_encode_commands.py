"""The commands encode and decode: files to arrays or PNGs, and back; what fails is counted."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from typer.testing import CliRunner

from crystalcodec import IRCR, Crystals, Dataset, prototypes, read, write
from crystalcodec.cli import app
from crystalcodec.io.png import read_png, write_png
from crystalcodec.registry import REPRESENTATIONS, UnknownNameError
from crystalcodec.representations.base import Decoded, FailureNotes, Field, RepresentationError
from crystalcodec.representations.images import ImageRepresentation
from crystalcodec.representations.npy_files import StorageError
from crystalcodec.representations.space_groups import SpaceGroupRepresentation
from crystalcodec.representations.storage import load_encoded
from crystalcodec.testing import round_trip_errors, sample_crystals
from crystalcodec.workflow.encoding import unique_names


@dataclass(frozen=True)
class Postcard(ImageRepresentation):
    """Cubic cells of at most eight sites: a row a site, of its number, x, y, z and a."""

    name: ClassVar[str] = "postcard"
    lost: ClassVar[str] = "digits"
    layouts: ClassVar = {"postcard": "hw"}
    round_trip_tolerance: ClassVar[float] = 0.1
    bits: int = 8
    patience: int = 1

    @property
    def fields(self):
        return (Field("all", "continuous", "postcard", (8, 5)),)

    def refuse(self, crystals):
        notes = FailureNotes()
        notes.add(crystals.n_sites > 8, "too many sites", "at most 8 fit")
        notes.add(np.linalg.det(crystals.lattices) < 0, "left-handed lattice", "turn it")
        return notes.in_order()

    def _encode(self, crystals):
        array = np.zeros((len(crystals), 8, 5), np.float32)
        for i, crystal in enumerate(crystals):
            n = len(crystal.numbers)
            array[i, :n, 0] = crystal.numbers / 255
            array[i, :n, 1:4] = crystal.frac_coords
            array[i, :n, 4] = crystal.volumes[0] ** (1 / 3) / 20
        return {"postcard": array}

    def _decode(self, arrays):
        notes, found = FailureNotes(), []
        for i, rows in enumerate(np.asarray(arrays["postcard"], float)):
            numbers = np.rint(rows[:, 0] * 255).astype(int)
            kept = numbers > 0
            if not kept.any():
                notes.add(np.arange(len(arrays["postcard"])) == i, "no site", "all black")
                continue
            a = rows[kept, 4].mean() * 20
            found.append(Crystals.single(a * np.eye(3), rows[kept, 1:4], numbers[kept]))
        crystals = Crystals.concatenate(found)
        failures = notes.in_order()
        confidence = np.full(len(crystals), 0.5)
        return Decoded.of(len(arrays["postcard"]), crystals, failures, confidence)


@dataclass(frozen=True)
class Stamped(SpaceGroupRepresentation, Postcard):
    """A postcard with the space group in its last row."""

    name: ClassVar[str] = "stamped"
    layouts: ClassVar = {"stamped": "hw"}
    symprec: float = 0.01

    def _encode_with(self, crystals, space_group_numbers):
        array = Postcard._encode(self, crystals)["postcard"]
        array[:, 7, 4] = space_group_numbers / 255
        return {"stamped": array}


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setitem(REPRESENTATIONS, "stamped", f"{__name__}:Stamped")
    monkeypatch.setitem(REPRESENTATIONS, "postcard", f"{__name__}:Postcard")


def invoke(*arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def said(*arguments):
    result = invoke(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def cubic(n, seed=0):
    rng = np.random.default_rng(seed)
    return Crystals.concatenate(
        Crystals.single(
            rng.integers(60, 200) * 20 / 255 * np.eye(3),
            rng.integers(0, 255, (3, 3)) / 255,
            rng.integers(1, 90, 3),
        )
        for _ in range(n)
    )


@pytest.fixture
def cifs(tmp_path):
    """A folder of five small cubic crystals, one too large, and a file that is none."""
    folder = tmp_path / "cifs"
    write(cubic(5), folder, ids=[f"mp-{i}" for i in range(5)])
    large = Crystals.single(9 * np.eye(3), np.arange(27).reshape(9, 3) / 27, [6] * 9)
    write(large, folder / "large.cif", ids=["large"])
    (folder / "bad.cif").write_text("data_bad\n_cell_length_a 3\n")
    return folder


def test_a_folder_becomes_pngs_and_comes_back(cifs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = said("encode", "--to", "postcard", cifs)
    assert "5 crystals in cifs.postcard, 1 could not be read, 1 could not be encoded" in text
    assert "1  too many sites" in text
    names = sorted(path.name for path in (tmp_path / "cifs.postcard").iterdir())
    assert names == [f"mp-{i}.png" for i in range(5)]
    text = said("decode", "cifs.postcard", "-o", "back")
    assert "5 crystals in back, 0 could not be decoded" in text
    assert "confidence: median 0.5, least 0.5" in text
    again = read(tmp_path / "back")
    assert again.ids == tuple(f"mp-{i}" for i in range(5))
    assert round_trip_errors(cubic(5), again.crystals).max() < 0.1


def test_each_png_tells_what_it_is(cifs, tmp_path):
    said("encode", "--to", "postcard", "--set", "bits=16", cifs, "-o", tmp_path / "p")
    picture = read_png(tmp_path / "p" / "mp-3.png")
    assert picture.pixels.dtype == np.uint16
    assert picture.text["id"] == "mp-3"
    assert json.loads(picture.text["crystalcodec"]) == Postcard(bits=16).config()


def test_what_failed_is_listed(cifs, tmp_path):
    said("encode", "--to", "postcard", cifs, "-o", tmp_path / "p")
    with (tmp_path / "p.failures.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["reason"] for row in rows} >= {"too many sites"}
    assert {row["source"] for row in rows} == {str(cifs / f"{n}.cif") for n in ("bad", "large")}
    said("encode", "--to", "postcard", cifs, "-o", tmp_path / "q", "--failures", tmp_path / "f")
    assert (tmp_path / "f").exists()
    assert invoke("encode", "--to", "postcard", cifs, "--strict", "-o", tmp_path / "r").exit_code


def test_nothing_encoded_is_an_error(cifs, tmp_path):
    result = invoke("encode", "--to", "postcard", cifs / "large.cif", "-o", tmp_path / "p")
    assert result.exit_code == 1
    assert "0 crystals in" in result.stdout


def test_arrays_of_a_dataset(tmp_path):
    names = [f"c{i}" for i in range(30)]
    Dataset.from_crystals(sample_crystals(30), names).write(tmp_path / "d.parquet")
    loaded = read(tmp_path / "d.parquet")  # atoms on top of each other are not read
    crystals, ids = loaded.crystals, loaded.ids
    arguments = ("--to", "ircr", "--set", "max_sites=12", "-o", tmp_path / "arrays")
    text = said("encode", tmp_path / "d.parquet", *arguments)
    representation, encoded, names = load_encoded(tmp_path / "arrays")
    assert representation == IRCR(max_sites=12)
    assert f"{len(encoded)} crystals in" in text
    assert names == tuple(ids[i] for i in encoded.index)
    np.testing.assert_array_equal(encoded["ircr"], IRCR(max_sites=12).encode(crystals)["ircr"])
    said("decode", tmp_path / "arrays", "-o", tmp_path / "back.parquet")
    back = Dataset.read(tmp_path / "back.parquet")
    assert back.ids.tolist() == list(names)
    assert round_trip_errors(crystals[encoded.index], back.crystals).max() < 1e-5


def test_graphs_in_a_folder_come_back(tmp_path, monkeypatch):
    """Ragged arrays, whose offsets are cut with them, in pieces of a few crystals."""
    monkeypatch.setattr("crystalcodec.workflow.encoded_files._PIECE", 4)
    crystals = prototypes()[:30:3]
    crystals.write(tmp_path / "d.parquet")
    said("encode", tmp_path / "d.parquet", "--to", "crystal_graph", "-o", tmp_path / "graphs")
    said("decode", tmp_path / "graphs", "-o", tmp_path / "back.parquet")
    back = Dataset.read(tmp_path / "back.parquet")
    assert back.ids.tolist() == crystals.ids.tolist()
    assert round_trip_errors(crystals.crystals, back.crystals).max() < 1e-4


def test_pictures_may_be_arrays_and_arrays_no_pictures(cifs, tmp_path):
    said("encode", "--to", "postcard", "--as", "arrays", cifs, "-o", tmp_path / "a")
    assert load_encoded(tmp_path / "a")[1]["postcard"].shape == (5, 8, 5)
    assert "5 crystals" in said("decode", tmp_path / "a", "-o", tmp_path / "x.extxyz")
    with pytest.raises(RepresentationError, match="write arrays"):
        invoke("encode", "--to", "ircr", "--as", "png", cifs, "-o", tmp_path / "b")


def test_left_handed_cells_are_turned_only_when_told(tmp_path):
    mirrored = Crystals.single(np.diag([4.0, 4.0, -4.0]), [[0, 0, 0.5]], [11])
    Dataset.from_crystals(mirrored, ["m"]).write(tmp_path / "m.parquet")
    arguments = ("encode", "--to", "postcard", tmp_path / "m.parquet")
    result = invoke(*arguments, "-o", tmp_path / "a")
    assert result.exit_code == 1
    assert "left-handed lattice" in result.stdout
    assert "1 crystals" in said(*arguments, "-o", tmp_path / "b", "--right-handed")


def test_known_space_groups_are_taken_over(tmp_path):
    crystals = cubic(600)
    groups = [*range(1, 231), *range(1, 231), *range(1, 141)]
    groups[3], groups[500] = None, 999
    table = Dataset.from_crystals(crystals, properties={"group": groups})
    table.write(tmp_path / "d.parquet")
    given = ("encode", "--to", "stamped", tmp_path / "d.parquet", "--space-groups", "group")
    for kind in ("png", "arrays"):
        text = said(*given, "--as", kind, "-o", tmp_path / kind)
        assert "598 crystals in" in text
        assert "2  unknown space group" in text
    stamps = load_encoded(tmp_path / "arrays")[1]["stamped"][:, 7, 4] * 255
    expected = [group for group in groups if group not in (None, 999)]
    assert np.rint(stamps).tolist() == expected
    assert read_png(tmp_path / "png" / "599.png").pixels[7, 4] == groups[599]
    with pytest.raises(RepresentationError, match="did you mean 'group'"):
        invoke(*given[:-1], "gruop", "-o", tmp_path / "x")
    with pytest.raises(RepresentationError, match="holds no space group"):
        invoke(*given[:2], "ircr", *given[3:], "-o", tmp_path / "x")
    assert not (tmp_path / "x").exists()
    found = ("encode", "--to", "stamped", tmp_path / "d.parquet", "--as", "arrays")
    said(*found, "-o", tmp_path / "found")
    assert load_encoded(tmp_path / "found")[1]["stamped"][:, 7, 4].max() * 255 < 2  # P 1


def test_ids_that_come_again_or_cannot_be_names(tmp_path):
    ids = ["a/b", "a/b", "A_B", "", ".."]
    for i, one in enumerate(cubic(5)):
        Dataset.from_crystals(one, [ids[i] or "x"]).write(tmp_path / f"{i}.parquet")
    said("encode", "--to", "postcard", *sorted(tmp_path.glob("*.parquet")), "-o", tmp_path / "p")
    assert len(list((tmp_path / "p").glob("*.png"))) == 5
    said("decode", tmp_path / "p", "-o", tmp_path / "back.parquet")
    assert len(set(Dataset.read(tmp_path / "back.parquet").ids)) == 5


def test_names_are_unique_at_any_number():
    names = list(unique_names(["x"] * 5000 + ["x-2", "X"]))
    assert len({name.lower() for name in names}) == 5002


@pytest.fixture
def pngs(tmp_path):
    folder = tmp_path / "pngs"
    card = Postcard()
    for i, pixels in enumerate(card.to_pixels(card.encode(cubic(3)))):
        write_png(folder / f"foreign-{i}.png", pixels)
    return folder


def test_foreign_pngs_need_a_name(pngs, tmp_path):
    result = invoke("decode", pngs, "-o", tmp_path / "back")
    assert result.exit_code == 1
    assert "3  unknown representation" in result.stdout
    assert not (tmp_path / "back").exists()
    assert "3 crystals" in said("decode", pngs, "--from", "postcard", "-o", tmp_path / "back")
    assert (tmp_path / "back" / "foreign-2.cif").exists()


def test_pngs_of_other_kinds_are_counted_each(pngs, tmp_path):
    write_png(pngs / "size.png", np.zeros((9, 5), np.uint8))
    write_png(pngs / "colour.png", np.zeros((8, 5, 3), np.uint8))
    write_png(pngs / "depth.png", np.zeros((8, 5), np.uint16))
    write_png(pngs / "black.png", np.zeros((8, 5), np.uint8))
    (pngs / "cut.png").write_bytes((pngs / "foreign-0.png").read_bytes()[:60])
    (pngs / "none.png").write_text("no picture")
    text = said("decode", pngs, "--from", "postcard", "-o", tmp_path / "back")
    assert "3 crystals in" in text
    for line in (
        *("6 could not be decoded", "2  picture of another size", "1  picture of another depth"),
        *("1  no site", "2  unreadable PNG"),
    ):
        assert line in text
    with (tmp_path / "back.failures.csv").open() as file:
        rows = {row["source"]: row for row in csv.DictReader(file)}
    assert rows[str(pngs / "size.png")]["detail"].startswith("9 x 5, postcard")
    assert str(pngs / "black.png") in rows


@pytest.mark.parametrize("text", ["{", "[]", '{"name": "nothing"}', '{"name": "ircr"}'])
def test_a_png_with_a_strange_text_is_a_failure(pngs, tmp_path, text):
    pixels = read_png(pngs / "foreign-0.png").pixels
    write_png(pngs / "strange.png", pixels, text={"crystalcodec": text})
    result = invoke("decode", pngs / "strange.png", "-o", tmp_path / "back")
    assert result.exit_code == 1
    assert "1  unknown representation" in result.stdout


def test_parameters_of_files_and_of_the_caller(cifs, tmp_path, monkeypatch):
    seen = []

    def decoded(self, arrays):
        seen.append(self)
        return ORIGINAL(self, arrays)

    said("encode", "--to", "postcard", "--set", "bits=16", cifs, "-o", tmp_path / "p")
    monkeypatch.setattr(Postcard, "_decode", decoded)
    said("decode", tmp_path / "p", "-o", tmp_path / "1")
    said("decode", tmp_path / "p", "--set", "patience=7", "-o", tmp_path / "2")
    said("decode", tmp_path / "p", "--from", "postcard", "-o", tmp_path / "3")
    assert [(one.bits, one.patience) for one in seen] == [(16, 1), (16, 7), (16, 1)]


ORIGINAL = Postcard._decode


def test_arrays_of_a_generator(tmp_path):
    crystals = sample_crystals(6)
    array = IRCR().encode(crystals)["ircr"]
    array[2] = 0
    np.save(tmp_path / "made.npy", array)
    text = said("decode", tmp_path / "made.npy", "--from", "ircr", "-o", tmp_path / "m.parquet")
    assert "5 crystals in" in text
    assert "1  no occupied site" in text
    assert Dataset.read(tmp_path / "m.parquet").ids.tolist() == [
        f"made-{i}" for i in (0, 1, 3, 4, 5)
    ]
    np.save(tmp_path / "one.npy", array[0])
    np.savez(tmp_path / "two.npz", ircr=array[:2])
    np.save(tmp_path / "pickle.npy", np.array([{}], object), allow_pickle=True)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "made.npy").read_bytes()[:300])
    paths = [tmp_path / name for name in ("one.npy", "two.npz", "pickle.npy", "cut.npy")]
    text = said("decode", *paths, "--from", "ircr", "-o", tmp_path / "x.json")
    assert "3 crystals in" in text
    assert "2  unreadable array file" in text
    assert read(tmp_path / "x.json").crystals.formulas[0] == crystals.formulas[0]


def test_arrays_of_another_shape_are_failures(tmp_path):
    good = IRCR().encode(sample_crystals(3))["ircr"]
    for name, array in {
        "a-good": good,
        "another": good[..., :2],
        "number": np.float32(3),
        "text": np.array(["a"]),
        "none": np.zeros((0, 144, 3)),
        "complex": good.astype(complex),
    }.items():
        np.save(tmp_path / f"{name}.npy", array)
    np.savez(tmp_path / "foreign.npz", foo=good)
    np.savez(tmp_path / "empty.npz")
    np.savez(tmp_path / "more.npz", ircr=good[:1], labels=np.array(["x", "y"]))
    text = said("decode", tmp_path, "--from", "ircr", "-o", tmp_path / "back")
    assert "4 crystals in" in text
    assert "6  arrays of another shape" in text
    assert "first: " in text
    cards = Postcard().encode(cubic(2))["postcard"]
    np.savez(tmp_path / "two.npz", postcard=cards)
    assert "2 crystals in" in said(
        "decode", tmp_path / "two.npz", "--from", "postcard", "-o", tmp_path / "b.db"
    )


def test_wrong_calls_say_what_to_do(cifs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("a.npy", np.zeros((2, 5)))
    shutil.copytree(cifs, "elsewhere")
    said("encode", "--to", "postcard", cifs)
    for arguments, error, message in (
        (("encode", cifs, "--to", "icrc"), UnknownNameError, "did you mean 'ircr'"),
        (("encode", cifs, "--to", "ircr", "--set", "x=1"), RepresentationError, "no parameter"),
        (("encode", cifs, "--to", "postcard"), StorageError, "--force"),
        (("decode", "a.npy", "-o", "b"), StorageError, "name it"),
        (("decode", "absent", "-o", "b"), StorageError, "no such file"),
        (("decode", "elsewhere", "-o", "b"), StorageError, "no .png"),
        (("decode", "elsewhere/bad.cif", "-o", "b"), StorageError, "wanted .png"),
        (("decode", "cifs.postcard", "-o", "b.foo"), StorageError, "tells no format"),
        (("decode", "cifs.postcard", "-o", "cifs"), StorageError, "--force"),
    ):
        with pytest.raises(error, match=message):
            invoke(*arguments)
    assert invoke("encode", cifs, "--to", "ircr", "--set", "max_sites").exit_code == 2
    assert invoke("encode", cifs).exit_code == 2
    said("encode", "--to", "postcard", cifs, "--force")


def test_one_bad_text_does_not_stop_the_rest(pngs, tmp_path):
    pixels = read_png(pngs / "foreign-0.png").pixels
    for i, text in enumerate(["{", '{"name": "postcard", "bits": 8.0}', "[]"]):
        write_png(pngs / f"strange-{i}.png", pixels, text={"crystalcodec": text})
    text = said("decode", pngs, "--from", "postcard", "-o", tmp_path / "back")
    assert "3 crystals in" in text
    assert "3  unknown representation" in text
    with pytest.raises(RepresentationError, match="no parameter"):
        invoke("decode", pngs, "--from", "postcard", "--set", "x=1", "-o", tmp_path / "b")


def test_the_sources_are_never_replaced(cifs):
    before = sorted(cifs.iterdir())
    with pytest.raises(StorageError, match="which encoding did not write"):
        invoke("encode", "--to", "postcard", cifs, "-o", cifs, "--force")
    assert sorted(cifs.iterdir()) == before


def test_a_list_of_failures_does_not_outlive_them(cifs, tmp_path):
    out, listed = tmp_path / "p", tmp_path / "p.failures.csv"
    said("encode", "--to", "postcard", cifs, "-o", out)
    assert listed.exists()
    said("encode", "--to", "postcard", cifs / "mp-0.cif", "-o", out, "--force")
    assert not listed.exists()
    with pytest.raises(StorageError, match="cannot be written"):
        invoke(
            "encode",
            "--to",
            "postcard",
            cifs,
            "-o",
            tmp_path / "q",
            "--failures",
            cifs / "bad.cif" / "f.csv",
        )
    assert not (tmp_path / "q").exists()


def test_a_folder_of_folders_and_the_rows_that_failed(cifs, tmp_path):
    for name in ("a", "b"):
        said("encode", "--to", "postcard", cifs, "--as", "arrays", "-o", tmp_path / "all" / name)
    assert "10 crystals in" in said("decode", tmp_path / "all", "-o", tmp_path / "back")
    rows = np.repeat(np.load(tmp_path / "all" / "a" / "postcard.npy"), 200, axis=0)
    rows[700] = 0
    np.save(tmp_path / "rows.npy", rows)
    said("decode", tmp_path / "rows.npy", "--from", "postcard", "-o", tmp_path / "x.json")
    with (tmp_path / "x.json.failures.csv").open() as file:
        [row] = csv.DictReader(file)
    assert row["index"] == "700"


def test_a_name_is_no_parameter(cifs):
    assert invoke("encode", cifs, "--to", "postcard", "--set", "name=ircr").exit_code == 2


def test_help_lists_the_names():
    assert "ircr" in invoke("encode", "--help").stdout
    assert "ircr" in invoke("decode", "--help").stdout


@pytest.mark.parametrize("command", ["encode", "decode", "show"])
def test_help_imports_nothing_heavy(command):
    code = (
        "import sys\nfrom crystalcodec.cli import app\n"
        f"app([{command!r}, '--help'], standalone_mode=False)\n"
        "print('imported', *sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = {name.partition(".")[0] for name in done.stdout.partition("imported")[2].split()}
    assert not modules & {"numpy", "torch", "pymatgen", "matplotlib", "scipy", "pyarrow", "ase"}


@pytest.mark.parametrize(
    ("name", "parameters", "within"),
    [("xtal2png", (), 0.5), ("xtal2png", ("bits=16",), 1e-3), ("crystal_image", (), 0.01)],
)
def test_real_pictures_of_a_folder_and_back(tmp_path, monkeypatch, name, parameters, within):
    monkeypatch.chdir(tmp_path)
    crystals = prototypes().crystals[::90]
    write(crystals, "cifs")
    options = [part for one in parameters for part in ("--set", one)]
    said("encode", "--to", name, "cifs", *options)
    said("decode", f"cifs.{name}", "-o", "back")
    before, after = read("cifs"), read("back")
    kept = [before.ids.index(one) for one in after.ids]
    assert len(kept) > 0.8 * len(crystals)
    assert round_trip_errors(before.crystals[kept], after.crystals).max() < within
