from __future__ import annotations

import csv
import gzip
import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from crystalcodec.crystals import Crystals
from crystalcodec.failures import Failure
from crystalcodec.io import (
    Loaded,
    ReadError,
    iter_read,
    list_members,
    read,
    read_member,
    read_text,
    write,
    write_failures,
)

CIF = """data_{name}
_cell_length_a {a}
_cell_length_b {a}
_cell_length_c {a}
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
loop_
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
Cs 0 0 0
Cl 0.5 0.5 0.5
"""


def cif(name: str, a: float = 4.1) -> str:
    return CIF.format(name=name, a=a)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Good and bad files, some below, some hidden, some of no known format."""
    root = tmp_path / "files"
    (root / "below" / ".hidden").mkdir(parents=True)
    (root / "b.cif").write_text(cif("b", 4.2))
    (root / "a.cif").write_text(cif("a", 4.1))
    (root / "bad.cif").write_text("data_bad\n_x 'open\n")
    (root / "notes.txt").write_text("no crystal")
    (root / ".c.cif").write_text(cif("c"))
    (root / "below" / "d.cif.gz").write_bytes(gzip.compress(cif("d", 4.3).encode()))
    (root / "below" / ".hidden" / "e.cif").write_text(cif("e"))
    return root


def test_a_folder_is_read_in_order_and_one_bad_file_stops_nothing(folder: Path) -> None:
    loaded = read(folder)
    assert loaded.ids == ("a", "b", "d")
    assert loaded.sources == tuple(
        str(folder / one) for one in ("a.cif", "b.cif", "below/d.cif.gz")
    )
    np.testing.assert_allclose(loaded.crystals.cell_parameters[:, 0], [4.1, 4.2, 4.3])
    [failure] = loaded.failures
    assert (failure.source, failure.reason) == (str(folder / "bad.cif"), "not a CIF")
    assert failure.line == 2
    assert loaded.n == 4


def test_strict_names_the_first_failure(folder: Path) -> None:
    with pytest.raises(ReadError, match=r"bad\.cif:2: not a CIF: .*unterminated"):
        read(folder, strict=True)
    (folder / "worse.cif").write_text("data_worse")
    with pytest.raises(ReadError, match=r"bad\.cif.*\(and 1 more failures\)"):
        read(folder, strict=True)
    (folder / "bad.cif").unlink()
    (folder / "worse.cif").unlink()
    assert len(read(folder, strict=True).crystals) == 3


def test_patterns_and_lists(folder: Path) -> None:
    assert read(str(folder / "[ab].cif")).ids == ("a", "b")
    assert read(str(folder / "**" / "*.cif*")).ids == ("a", "b", "d")
    assert read([folder / "b.cif", str(folder / "a.cif"), folder / "b.cif"]).ids == ("b", "a")
    assert read(folder / "notes.txt", format="cif").failures[0].reason == "not a CIF"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("missing.cif", "no such file or folder"),
        ("missing", "no such file or folder"),
        ("*.extxyz", "no file matches"),
        ("notes.txt", "the name tells no format"),
        ("empty", "nothing to read"),
    ],
)
def test_sources_that_are_none(folder: Path, source: str, message: str) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(ReadError, match=message):
        read(folder / source)


def test_unknown_formats_offer_the_nearest(folder: Path) -> None:
    with pytest.raises(ReadError, match="unknown format 'cfi'; did you mean 'cif'"):
        read(folder, format="cfi")
    with pytest.raises(ReadError, match="unknown format 'poscra'; did you mean 'poscar'"):
        read_text("", "poscra")
    with pytest.raises(ReadError, match="parquet is no text"):
        read_text("", "parquet")
    with pytest.raises(ReadError, match="nothing to read in no sources"):
        read([])
    with pytest.raises(ReadError, match="batch_size 0"):
        next(iter_read(folder, batch_size=0))


def test_unreadable_files_are_failures(folder: Path) -> None:
    (folder / "cut.cif.gz").write_bytes(gzip.compress(cif("cut").encode())[:-30])
    (folder / "fake.cif.gz").write_bytes(b"no gzip")
    (folder / "binary.cif").write_bytes(b"\x00\x01")
    (folder / "gone.cif").symlink_to(folder / "nowhere")
    loaded = read(folder)
    assert len(loaded.crystals) == 3
    reasons = {Path(f.source).name: f.reason for f in loaded.failures}
    assert reasons == {
        "bad.cif": "not a CIF",
        "binary.cif": "not a text",
        "cut.cif.gz": "damaged file",
        "fake.cif.gz": "damaged file",
        "gone.cif": "unreadable file",
    }


def test_batches_hold_what_the_whole_holds(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    crystals = Crystals(
        np.tile(5 * np.eye(3), (25, 1, 1)), rng.random((25, 3)), np.arange(1, 26), np.arange(26)
    )
    write(crystals, tmp_path / "a.extxyz", ids=[f"x{i}" for i in range(25)])
    write(crystals, tmp_path / "b.json", ids=[f"j{i}" for i in range(25)])
    write(crystals, tmp_path / "c.db")
    write(crystals[:7], tmp_path / "d")
    whole = read(tmp_path, strict=True)
    assert len(whole.crystals) == 82
    for size in (1, 10, 82, 1000):
        parts = [*iter_read(tmp_path, batch_size=size)]
        assert all(0 < part.n <= size for part in parts)
        joined = Loaded.concatenate(parts)
        assert joined.crystals == whole.crystals
        assert (joined.ids, joined.sources) == (whole.ids, whole.sources)


def test_members_cover_the_sources_and_can_travel(folder: Path) -> None:
    members = list_members(folder)
    assert pickle.loads(pickle.dumps(members)) == members  # noqa: S301
    assert [member.format for member in members] == ["cif"] * 4
    joined = Loaded.concatenate(part for member in members for part in read_member(member))
    whole = read(folder)
    assert joined.crystals == whole.crystals
    assert joined.failures == whole.failures
    assert list_members(folder) == members


def test_failures_as_a_table(tmp_path: Path) -> None:
    failures = [
        Failure(3, "partial occupancy", 'site 1: "0.5", order it', "a,b.cif", 12),
        Failure(0, "cut off"),
    ]
    write_failures(failures, tmp_path / "new" / "failures.csv")
    with (tmp_path / "new" / "failures.csv").open(newline="") as file:
        rows = [*csv.DictReader(file)]
    assert rows == [
        {"source": "a,b.cif", "line": "12", "index": "3", "reason": "partial occupancy",
         "detail": 'site 1: "0.5", order it'},
        {"source": "", "line": "", "index": "0", "reason": "cut off", "detail": ""},
    ]  # fmt: skip


FRAME = '2\nLattice="4.1 0 0 0 4.1 0 0 0 4.1" Properties={columns} {more}\n{first}\n{second}\n'


def frame(**changes: str) -> str:
    parts = {
        "columns": "species:S:1:pos:R:3",
        "more": 'pbc="T T T"',
        "first": "Cs 0 0 0",
        "second": "Cl 2.05 2.05 2.05",
    }
    return FRAME.format(**(parts | changes))


def test_extxyz_frames() -> None:
    text = (
        frame(more="energy=-1.5 id=one")
        + "\n"
        + frame(columns="forces:R:3:Z:I:1:pos:R:3", first="9 9 9 55 0 0 0",
                second="9 9 9 17 2.05 2.05 2.05")
        + frame(more='pbc="T T F"')
        + frame(second="Q 2.05 2.05 2.05")
        + frame(second="Cl 2.05 2.05")
        + frame(second="Cl 2.05 2.05 here")
        + frame().replace("Lattice", "Cell")
        + frame(second="Cl 0 0 0.01")
        + frame()
    )  # fmt: skip
    loaded = read_text(text, "extxyz", source="a.xyz")
    assert len(loaded.crystals) == 3
    assert loaded.ids[0] == "one"
    assert loaded.properties["energy"] == [-1.5, None, None]
    wanted = read_text(cif("a"), "cif").crystals
    for crystal in loaded.crystals:
        np.testing.assert_allclose(crystal.frac_coords, wanted.frac_coords, atol=1e-15)
        assert crystal.numbers.tolist() == [55, 17]
    assert [(f.index, f.reason, f.line) for f in loaded.failures] == [
        (2, "not periodic", 11),
        (3, "unknown species", 17),
        (4, "not an extxyz", 21),
        (5, "no coordinates", 24),
        (6, "no cell", 27),
        (7, "atoms on top of each other", 30),
    ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no crystal in file"),
        ("many\n", "not an extxyz"),
        ("0\n\n", "not an extxyz"),
        (frame()[:-25], "cut off"),
        ("99999999999999999999\n\n", "not an extxyz"),
        (frame(columns="pos:R:3"), "not an extxyz"),
        (frame(columns="species:S:x:pos:R:3"), "not an extxyz"),
    ],
)
def test_extxyz_junk(text: str, reason: str) -> None:
    loaded = read_text(text, "extxyz")
    assert [f.reason for f in loaded.failures] == [reason]
    assert len(loaded.crystals) == 0


def structure(**changes: object) -> dict[str, object]:
    site = {"species": [{"element": "Cs", "occu": 1}], "abc": [0, 0, 0]}
    return {
        "@class": "Structure",
        "lattice": {"matrix": (4 * np.eye(3)).tolist()},
        "sites": [site],
    } | changes


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", "no crystal in file"),
        ("{", "not a JSON"),
        ("[", "cut off"),
        ('[{"a": 1}', "no structure in JSON"),
        ("nonsense", "not a JSON"),
        ("[" * 100_000, "not a JSON"),
        ("1" * 10_000, "not a JSON"),
        (7, "no structure in JSON"),
        ({}, "no structure in JSON"),
        ({"a": 1}, "no structure in JSON"),
        ({"@module": "os", "@class": "system"}, "no structure in JSON"),
        (structure(**{"@class": "Molecule"}), "no structure in JSON"),
        (structure(lattice={"matrix": [1, 2]}), "not a structure"),
        (structure(lattice=None), "not a structure"),
        (structure(sites=[{"species": [], "abc": [0, 0, 0]}]), "partial occupancy"),
        (structure(sites=[{"species": [{"element": "Fe", "occu": 0.5}], "abc": [0, 0, 0]}]),
         "partial occupancy"),
        (structure(sites=[{"species": [{"element": "D", "occu": 1}], "abc": [0, 0, 0]}]),
         "isotope"),
        (structure(sites=[{"species": [{"element": "Fe", "occu": 1}], "abc": [0, 0]}]),
         "not a structure"),
        (structure(sites=[]), "no sites"),
        (structure(lattice={"matrix": np.eye(3).tolist(), "pbc": [True, True, False]}),
         "not periodic"),
        ({"cell": [[1, 0], [0, 1]], "positions": []}, "not a structure"),
        ({"cell": np.zeros((3, 3)).tolist(), "positions": [[0, 0, 0]], "numbers": [1]},
         "no volume"),
        ({"cell": np.eye(3).tolist(), "positions": [[0, 0, 0]], "numbers": [1.5]},
         "unknown species"),
        ({"cell": np.eye(3).tolist(), "positions": [[0, 0, 0]], "numbers": [1, 2]},
         "not a structure"),
        ({"cif": "junk"}, "not a CIF"),
    ],
)  # fmt: skip
def test_json_junk(value: object, reason: str) -> None:
    text = value if isinstance(value, str) else json.dumps(value)
    loaded = read_text(text, "json", source="a.json")
    assert len(loaded.crystals) == 0
    assert loaded.failures[0].reason == reason
    assert all(f.source.startswith("a.json") for f in loaded.failures)


def test_one_bad_entry_of_a_list_stops_nothing() -> None:
    text = json.dumps([structure(), {"a": 1}, structure(), None])
    loaded = read_text(text, "json", source="a.json")
    assert len(loaded.crystals) == 2
    assert [(f.index, f.source) for f in loaded.failures] == [(1, "a.json!/1"), (3, "a.json!/3")]


@pytest.mark.parametrize("end", ["", ", {", ", nonsense]", ', {"a": '])
def test_what_stands_before_a_cut_is_read(end: str) -> None:
    text = f"[{json.dumps(structure())}, {json.dumps(structure())}{end}"
    loaded = read_text(text, "json", source="a.json")
    assert len(loaded.crystals) == 2
    [failure] = loaded.failures
    assert failure.reason in ("cut off", "not a JSON")
    assert failure.index == 2


def test_large_lists_are_read_piece_by_piece() -> None:
    text = json.dumps([structure(note="x" * 300_000), structure()] * 8)
    loaded = read_text(text, "json")
    assert len(loaded.crystals) == 16


def test_databases_that_are_none(tmp_path: Path) -> None:
    import sqlite3

    (tmp_path / "a.db").write_bytes(b"no database")
    sqlite3.connect(tmp_path / "b.db").close()
    other = sqlite3.connect(tmp_path / "c.db")
    other.execute("create table t (x)")
    other.close()
    before = (tmp_path / "c.db").read_bytes()
    loaded = read(tmp_path)
    assert [f.reason for f in loaded.failures] == ["not an ASE database"] * 3
    assert (tmp_path / "c.db").read_bytes() == before


def test_a_file_named_twice_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.cif").write_text(cif("a"))
    monkeypatch.chdir(tmp_path)
    assert read(["a.cif", "./a.cif", str(tmp_path / "a.cif")]).n == 1


def test_json_lists_one_after_another_and_rows_of_one_label() -> None:
    entry = {"cell": (3 * np.eye(3)).tolist(), "positions": [[0, 0, 0]], "numbers": [11]}
    text = json.dumps([entry]) + "\n" + json.dumps([entry, entry])
    assert len(read_text(text, "json").crystals) == 3
    junk = read_text(json.dumps([entry]) + " and more", "json")
    assert (len(junk.crystals), [failure.reason for failure in junk.failures]) == (
        1,
        ["not a JSON"],
    )
    table = {
        "columns": ["structure", "gap"],
        "index": [0, 0, 1, 1],
        "data": [[entry, 1.0], [entry, 2.0], [entry, 3.0], None],
    }
    loaded = read_text(json.dumps(table), "json")
    assert loaded.properties["gap"] == [1.0, 2.0, 3.0]
    assert [failure.reason for failure in loaded.failures] == ["no structure in JSON"]


def test_entries_of_json_that_are_none_are_failures() -> None:
    entry = {"cell": (3 * np.eye(3)).tolist(), "positions": [[0, 0, 0]], "numbers": [11]}
    cif = "data_x\n" + "".join(f"_cell_length_{axis} 3\n" for axis in "abc")
    named = {"mp1": entry, "mp2": None, "mp3": cif, "version": 3, "note": "made by hand"}
    loaded = read_text(json.dumps(named), "json")
    assert [*loaded.ids] == ["mp1"]
    assert len(loaded.failures) == 2
    assert len(read_text(json.dumps([entry, 3, "x"]), "json").failures) == 2


def test_a_structure_of_wrong_shape_stops_nothing() -> None:
    def structure(coords: list[list[float]]) -> dict[str, object]:
        species = [{"element": "Na", "occu": 1}]
        sites = [{"species": species, "abc": one} for one in coords]
        return {"lattice": {"matrix": [[5, 0, 0], [0, 5, 0], [0, 0, 5]]}, "sites": sites}

    good = structure([[0, 0, 0]])
    bad = structure([[0, 0], [0.5, 0], [0.2, 0.3]])
    loaded = read_text(json.dumps([good, bad, good]), "json")
    assert len(loaded.crystals) == 2
    assert [(f.index, f.reason) for f in loaded.failures] == [(1, "not a structure")]


AMBIGUOUS = ["007", "T", "1 2 3", "_JSON [1]", "a\nb", "1e5", "", "plain", '"b"', "b\\s", "é"]


def test_texts_come_back_from_extxyz_as_they_were(tmp_path: Path) -> None:
    n = len(AMBIGUOUS)
    crystals = Crystals(
        np.tile(3 * np.eye(3), (n, 1, 1)), np.zeros((n, 3)), np.full(n, 11), np.arange(n + 1)
    )
    gaps = [0.5 * i for i in range(n)]
    path = tmp_path / "all.extxyz"
    ids = [f"0{i}" for i in range(n)]
    write(crystals, path, ids=ids, properties={"note": AMBIGUOUS, "gap": gaps})
    loaded = read(path)
    assert loaded.properties == {"note": AMBIGUOUS, "gap": gaps}
    assert [*loaded.ids] == ids


@pytest.mark.parametrize("names", [("band gap", "band_gap"), ("pbc",), ("Lattice",), ("name",)])
def test_properties_that_a_frame_cannot_hold_are_refused(
    names: tuple[str, ...], tmp_path: Path
) -> None:
    salt = read_text(cif("a"), "cif").crystals
    with pytest.raises(ReadError, match="give it another name"):
        write(salt, tmp_path / "x.extxyz", properties={name: [1.0] for name in names})
