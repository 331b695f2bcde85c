from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crystalcodec.crystals import Crystals
from crystalcodec.io import ReadError, read, write

# None of those without an electronegativity: pymatgen warns about them.
ELEMENTS = [z for z in range(1, 104) if z not in (2, 10, 18)]
IDS = ("mp-1", "mp-2", "007", "x y")
PROPERTIES: dict[str, list[Any]] = {
    "energy": [-1.5, 1e-300, None, 0.1 + 0.2],
    "count": [1, None, 3, -4],
    "stable": [True, False, None, True],
    "note": ["a b", 'quoted "so"', None, "plain"],
}


@pytest.fixture
def crystals() -> Crystals:
    rng = np.random.default_rng(11)
    counts = np.array([2, 1, 7, 350])
    lattices = 6 * np.eye(3) + rng.normal(0, 1, (4, 3, 3))
    lattices[3] = 40 * np.eye(3) + rng.normal(0, 3, (3, 3))
    grid = np.stack(np.meshgrid(*[np.arange(8)] * 3), axis=-1).reshape(-1, 3) / 8
    coords = np.concatenate([grid[rng.permutation(512)[:n]] for n in counts.tolist()])
    coords += rng.random((360, 3)) / 40
    return Crystals(lattices, coords, rng.choice(ELEMENTS, 360), np.append(0, np.cumsum(counts)))


def assert_close(ours: Crystals, wanted: Crystals, tolerance: float) -> None:
    assert ours.n_sites.tolist() == wanted.n_sites.tolist()
    np.testing.assert_array_equal(ours.numbers, wanted.numbers)
    apart = ours.frac_coords - wanted.frac_coords
    assert np.abs(apart - np.rint(apart)).max() <= tolerance
    np.testing.assert_allclose(ours.cell_parameters, wanted.cell_parameters, rtol=tolerance)


@pytest.mark.parametrize("name", ["all.cif", "all.cif.gz"])
def test_cif_of_many_blocks(crystals: Crystals, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    write(crystals, path, ids=IDS)
    loaded = read(path, strict=True)
    assert loaded.ids == tuple(f"all/{one.replace(' ', '_')}" for one in IDS)
    assert loaded.sources == (str(path),) * 4
    wanted = crystals.right_handed()
    assert_close(loaded.crystals, wanted, 1e-12)
    # The coordinates are the same numbers, not only near ones.
    np.testing.assert_array_equal(loaded.crystals.frac_coords, wanted.frac_coords)


def test_a_left_handed_cell_keeps_its_hand_in_a_cif(tmp_path: Path) -> None:
    lattice = np.array([[3, 0, 0], [0, 0, 5], [0.5, 4, 0]], float)
    left = Crystals.single(lattice, [[0, 0, 0], [0.1, 0.2, 0.3], [0.4, 0.1, 0.7]], [3, 8, 26])
    assert np.linalg.det(lattice) < 0
    write(left, tmp_path / "left.cif")
    [back] = read(tmp_path / "left.cif").crystals

    def chirality(crystal: Crystals) -> float:
        cart = crystal.cart_coords
        nearest = cart[1:] - cart[0]
        return float(np.linalg.det(np.vstack([nearest, crystal.lattices[0].sum(axis=0)])))

    wanted = left.right_handed()
    assert np.sign(chirality(back)) == np.sign(chirality(wanted))
    assert_close(back, wanted, 1e-12)


@pytest.mark.parametrize("format_", ["cif", "poscar"])
def test_folders(crystals: Crystals, tmp_path: Path, format_: str) -> None:
    write(crystals, tmp_path / "out", format=format_, ids=IDS)
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == sorted(f"{one.replace(' ', '_')}.{format_}" for one in IDS)
    loaded = read(tmp_path / "out", strict=True)
    assert loaded.ids == ("007", "mp-1", "mp-2", "x_y")
    wanted = crystals[[2, 0, 1, 3]]
    if format_ == "poscar":
        assert loaded.crystals == wanted
    else:
        assert_close(loaded.crystals, wanted.right_handed(), 1e-12)


def test_folder_names_are_safe_and_unique(crystals: Crystals, tmp_path: Path) -> None:
    write(crystals, tmp_path / "out", ids=["../up", "a/b", "A_B", ""])
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["A_B_2.cif", "_up.cif", "a_b.cif", "crystal.cif"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_one_poscar(crystals: Crystals, tmp_path: Path) -> None:
    for name in ("POSCAR", "CONTCAR.gz", "a.vasp"):
        write(crystals[2], tmp_path / name)
        assert read(tmp_path / name).crystals == crystals[2]
    with pytest.raises(ReadError, match=r"4 crystals .* a POSCAR holds one"):
        write(crystals, tmp_path / "b.poscar")


@pytest.mark.parametrize("name", ["all.extxyz", "all.xyz.gz", "all.db", "all.json", "all.json.gz"])
def test_formats_with_properties(crystals: Crystals, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    write(crystals, path, ids=IDS, properties=PROPERTIES)
    assert [file.name for file in tmp_path.iterdir()] == [name]
    loaded = read(path, strict=True)
    assert loaded.ids == IDS
    np.testing.assert_array_equal(loaded.crystals.lattices, crystals.lattices)
    assert_close(loaded.crystals, crystals, 1e-13)
    if "json" in name:
        assert loaded.crystals == crystals
    assert {key: loaded.properties[key] for key in PROPERTIES} == PROPERTIES


@pytest.mark.parametrize("name", ["one.json", "one.extxyz", "one.db", "one.cif"])
def test_one_crystal_without_more(crystals: Crystals, tmp_path: Path, name: str) -> None:
    write(crystals[0], tmp_path / name)
    loaded = read(tmp_path / name, strict=True)
    assert_close(
        loaded.crystals, crystals[0].right_handed() if "cif" in name else crystals[0], 1e-12
    )


def test_pymatgen_reads_our_files(crystals: Crystals, tmp_path: Path) -> None:
    from pymatgen.core import Structure

    from crystalcodec.io import from_pymatgen

    one = crystals[2].right_handed()
    for name, tolerance in (("a.cif", 1e-4), ("POSCAR", 1e-12), ("a.json", 0.0)):
        write(one, tmp_path / name)
        back = from_pymatgen(Structure.from_file(tmp_path / name))
        order = np.lexsort((back.frac_coords[:, 0], back.numbers))
        wanted = np.lexsort((one.frac_coords[:, 0], one.numbers))
        np.testing.assert_array_equal(back.numbers[order], one.numbers[wanted])
        np.testing.assert_allclose(
            back.frac_coords[order], one.frac_coords[wanted], rtol=0, atol=tolerance
        )


def test_ase_reads_our_files(crystals: Crystals, tmp_path: Path) -> None:
    from ase.db import connect
    from ase.io import read as ase_read

    from crystalcodec.io import from_ase

    write(crystals, tmp_path / "a.extxyz", ids=IDS, properties={"e": [1.5, 2.5, 3.5, 4.5]})
    frames = ase_read(tmp_path / "a.extxyz", index=":")
    np.testing.assert_array_equal(from_ase(frames).lattices, crystals.lattices)
    assert [frame.info["e"] for frame in frames] == [1.5, 2.5, 3.5, 4.5]
    write(crystals, tmp_path / "a.db", properties={"e": [1.5, 2.5, 3.5, 4.5]})
    rows = [*connect(tmp_path / "a.db").select("e>2")]
    np.testing.assert_array_equal(rows[0].numbers, crystals[1].numbers)


def test_json_of_pymatgen_and_of_others(crystals: Crystals, tmp_path: Path) -> None:
    from pymatgen.entries.computed_entries import ComputedStructureEntry

    from crystalcodec.io import to_pymatgen

    structures = to_pymatgen(crystals)
    named = [*zip(IDS, structures, strict=True)]
    entries = [
        ComputedStructureEntry(one, -3.5, parameters={"run_type": "GGA"}, entry_id=name)
        for name, one in named
    ]
    texts = {
        "list.json": json.dumps([one.as_dict() for one in structures]),
        "entries.json": json.dumps([one.as_dict() for one in entries]),
        "named.json": json.dumps({name: one.as_dict() for name, one in named}),
        "lines.jsonl": "\n".join(json.dumps({"id": name, "structure": one.as_dict(), "gap": 1.0})
                                 for name, one in named),
        "split.json": json.dumps({"columns": ["structure", "gap"], "index": [*IDS],
                                  "data": [[one.as_dict(), 1.0] for one in structures]}),
    }  # fmt: skip
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
        loaded = read(tmp_path / name, strict=True)
        assert loaded.crystals == crystals, name
        if name != "list.json":
            assert loaded.ids == IDS, name
        if name in ("lines.jsonl", "split.json"):
            assert loaded.properties["gap"] == [1.0] * 4
    assert read(tmp_path / "entries.json").properties["energy"] == [-3.5] * 4
    cells = [
        {"cell": crystal.lattices[0].tolist(), "positions": crystal.cart_coords.tolist(),
         "atomic_numbers": crystal.numbers.tolist(), "y": [2.5]}
        for crystal in crystals
    ]  # fmt: skip
    (tmp_path / "cells.json").write_text(json.dumps(cells))
    loaded = read(tmp_path / "cells.json", strict=True)
    assert_close(loaded.crystals, crystals, 1e-13)
    assert loaded.properties == {"y": [2.5] * 4}


def test_numbers_given_to_write_are_one_a_crystal(crystals: Crystals, tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="1 entries in ids for 4 crystals"):
        write(crystals, tmp_path / "a.cif", ids=["a"])
    with pytest.raises(ReadError, match="2 entries in gap for 4 crystals"):
        write(crystals, tmp_path / "a.json", properties={"gap": [1, 2]})
    with pytest.raises(ReadError, match=r"unknown format 'cfi'; did you mean 'cif'"):
        write(crystals, tmp_path / "a", format="cfi")
    with pytest.raises(ReadError, match="unknown format 'parquet'"):
        write(crystals, tmp_path / "a.parquet")
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("name", ["a.cif", "a.extxyz", "a.json", "a.db", "POSCAR"])
def test_a_failed_write_leaves_what_was_there(
    crystals: Crystals, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / name
    path.write_text("before")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match=r"no space left to write .*what stood there"):
        write(crystals[0], path)
    assert [file.name for file in tmp_path.iterdir()] == [name]
    assert path.read_text() == "before"


def test_same_bytes_each_time(crystals: Crystals, tmp_path: Path) -> None:
    for name in ("a.cif.gz", "b.cif.gz"):
        write(crystals, tmp_path / name)
    assert (tmp_path / "a.cif.gz").read_bytes() == (tmp_path / "b.cif.gz").read_bytes()
    assert gzip.decompress((tmp_path / "a.cif.gz").read_bytes()).startswith(b"data_0\n")
