from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from crystalcodec.crystals import Crystals
from crystalcodec.io import Loaded, ReadError, iter_read, list_members, read, read_member, write
from crystalcodec.io import members as members_module

N = 25


def crystals() -> Crystals:
    rng = np.random.default_rng(5)
    return Crystals(
        4 * np.eye(3) + rng.normal(0, 0.3, (N, 3, 3)),
        np.tile([[0, 0, 0], [0.5, 0.5, 0.5]], (N, 1)) + rng.random((2 * N, 3)) / 20,
        rng.integers(21, 80, 2 * N),
        2 * np.arange(N + 1),
    ).right_handed()


def texts(kind: str, folder: Path) -> list[str]:
    values = []
    for i, crystal in enumerate(crystals()):
        path = folder / f"{i}.{'poscar' if kind == 'poscar' else kind}"
        write(crystal, path)
        values.append(path.read_text())
        path.unlink()
    return values


def rows(structures: list[Any], column: str) -> list[dict[str, Any]]:
    return [
        {
            "material_id": f"mp-{i}",
            column: one,
            "energy": i / 7 if i % 5 else None,
            "count": i,
            "stable": i % 2 == 0,
            "code": f"{i:03}",
            "empty": None,
        }
        for i, one in enumerate(structures)
    ]


def write_csv(path: Path, table: list[dict[str, Any]]) -> Path:
    text = io.StringIO()
    writer = csv.DictWriter(text, [*table[0]])
    writer.writeheader()
    writer.writerows(table)
    data = text.getvalue().encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def write_parquet(path: Path, table: list[dict[str, Any]]) -> Path:
    pq.write_table(pa.Table.from_pylist(table), path, row_group_size=7)
    return path


def assert_whole(loaded: Loaded, wanted: Crystals) -> None:
    assert loaded.failures == ()
    np.testing.assert_array_equal(loaded.crystals.numbers, wanted.numbers)
    np.testing.assert_allclose(loaded.crystals.cell_parameters, wanted.cell_parameters, rtol=1e-12)
    np.testing.assert_array_equal(loaded.crystals.frac_coords, wanted.frac_coords)
    assert loaded.ids == tuple(f"mp-{i}" for i in range(N))
    assert [source.split("!/")[1] for source in loaded.sources] == [f"row {i}" for i in range(N)]
    properties = loaded.properties
    assert properties["energy"] == [i / 7 if i % 5 else None for i in range(N)]
    assert properties["count"] == [*range(N)]
    assert properties["stable"] == [i % 2 == 0 for i in range(N)]
    assert properties["code"] == [f"{i:03}" for i in range(N)]
    assert properties["empty"] == [None] * N


@pytest.mark.parametrize("kind", ["cif", "poscar", "json"])
@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.parquet"])
def test_structure_columns(kind: str, name: str, tmp_path: Path) -> None:
    column = {"cif": "cif", "poscar": "POSCAR", "json": "structure"}[kind]
    table = rows(texts(kind, tmp_path), column)
    path = (write_parquet if "parquet" in name else write_csv)(tmp_path / name, table)
    assert_whole(read(path), crystals())


def test_nested_columns_of_parquet(tmp_path: Path) -> None:
    structures = [json.loads(text) for text in texts("json", tmp_path)]
    for one in structures:
        del one["properties"]
        for site in one["sites"]:
            del site["properties"]
    path = write_parquet(tmp_path / "t.parquet", rows(structures, "structure"))
    assert_whole(read(path), crystals())


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.parquet"])
def test_parts_of_a_table_make_the_whole(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(members_module, "_ROWS", 10)
    table = rows(texts("cif", tmp_path), "cif")
    path = (write_parquet if "parquet" in name else write_csv)(tmp_path / name, table)
    members = list_members(path)
    assert [member.start for member in members] == [0, 10, 20]
    assert members[1].source == f"{path}!/10-20"
    parts = [part for member in members for part in read_member(member, batch_size=4)]
    assert max(len(part.crystals) for part in parts) == 4
    assert_whole(Loaded.concatenate(parts), crystals())
    assert_whole(read(path), crystals())
    assert_whole(Loaded.concatenate(iter_read(path, batch_size=3)), crystals())


def test_lines_of_a_table_are_those_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(members_module, "_ROWS", 10)
    path = write_csv(tmp_path / "t.csv", rows(texts("cif", tmp_path), "cif"))
    lines = path.read_text().splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("mp-17,"))
    lines[at] = "one too many," + lines[at]
    path.write_text("\n".join(lines))
    [failure] = read(path).failures
    assert (failure.reason, failure.index, failure.line) == ("wrong row", 17, at + 1)
    assert failure.source == f"{path}!/row 17"


def test_bad_rows_stop_nothing(tmp_path: Path) -> None:
    table = rows(texts("cif", tmp_path), "cif")
    table[3]["cif"] = ""
    table[4]["cif"] = "data_junk"
    table[5]["cif"] = "{"
    table[6]["cif"] = "no structure"
    for path in (
        write_csv(tmp_path / "t.csv", table),
        write_parquet(tmp_path / "t.parquet", table),
    ):
        loaded = read(path)
        assert len(loaded.crystals) == N - 4
        assert [(f.index, f.reason) for f in loaded.failures] == [
            (3, "no structure"),
            (4, "no crystal in file"),
            (5, "not a JSON"),
            (6, "not a POSCAR"),
        ]
        assert loaded.failures[0].source == f"{path}!/row 3"


def test_columns_by_name(tmp_path: Path) -> None:
    table = [
        {"key": f"k{i}", "crystal_text": text} for i, text in enumerate(texts("cif", tmp_path))
    ]
    for path in (
        write_csv(tmp_path / "t.csv", table),
        write_parquet(tmp_path / "t.parquet", table),
    ):
        [failure] = read(path).failures
        assert failure.reason == "no structure column"
        assert "key, crystal_text" in failure.detail
        loaded = read(path, structure_column="crystal_text", id_column="key", strict=True)
        assert loaded.ids[:2] == ("k0", "k1")
        assert loaded.properties == {}
        with pytest.raises(ReadError, match="did you mean 'crystal_text'"):
            read(path, structure_column="crystal_txt")
        with pytest.raises(ReadError, match=r"no id column 'kye'; did you mean 'key'"):
            read(path, structure_column="crystal_text", id_column="kye")


def test_datasets_of_this_library(tmp_path: Path) -> None:
    wanted = crystals()
    table = pa.table(
        {
            "id": [f"x{i}" for i in range(N)],
            "lattice": pa.FixedSizeListArray.from_arrays(pa.array(wanted.lattices.ravel()), 9),
            "frac_coords": wanted.frac_coords.reshape(N, -1).tolist(),
            "numbers": pa.array(wanted.numbers.reshape(N, -1).tolist(), type=pa.list_(pa.uint8())),
            "energy": [float(i) if i else None for i in range(N)],
        }
    )
    pq.write_table(table, tmp_path / "d.parquet", row_group_size=10)
    loaded = read(tmp_path / "d.parquet", strict=True)
    assert loaded.crystals == wanted
    assert loaded.ids == tuple(f"x{i}" for i in range(N))
    assert loaded.properties == {"energy": [float(i) if i else None for i in range(N)]}
    broken = table.set_column(2, "frac_coords", pa.array([[0.0]] * N))
    pq.write_table(broken, tmp_path / "d.parquet")
    assert {f.reason for f in read(tmp_path / "d.parquet").failures} == {"wrong row"}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no crystal in file"),
        (b"id,cif\n", "no crystal in file"),
        (b"a,b\n1,2\n", "no structure column"),
        (b"id,cif\n\x00\x01,2\n", "not a text"),
        (b'id,cif\n1,"open', "no structure"),
    ],
)
def test_tables_that_are_none(data: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(data)
    loaded = read(tmp_path)
    assert len(loaded.crystals) == 0
    if reason == "no structure":
        assert loaded.failures[0].reason == "not a POSCAR"
    else:
        assert [f.reason for f in loaded.failures] == [reason]


@pytest.mark.parametrize("data", [b"", b"PAR1", b"PAR1" + bytes(50) + b"PAR1"])
def test_parquet_that_is_none(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_bytes(data)
    [failure] = read(tmp_path).failures
    assert failure.reason in ("damaged table", "damaged file")


def test_what_stands_before_a_cut_is_read(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "t.csv.gz", rows(texts("cif", tmp_path), "cif"))
    path.write_bytes(path.read_bytes()[:-400])
    loaded = read(path)
    assert 5 < len(loaded.crystals) < N
    assert loaded.failures[-1].reason == "damaged file"


@pytest.mark.parametrize(("late", "kind"), [("n/a", str), ("1.5", float), ("7", int), ("", int)])
def test_the_last_row_decides_how_the_first_is_read(late: str, kind: type, tmp_path: Path) -> None:
    cif = texts("cif", tmp_path)[0]
    table = [{"id": f"c{i}", "cif": cif, "gap": str(i), "long": str(2**62 + i)} for i in range(60)]
    table[-1]["gap"] = late
    path = write_csv(tmp_path / "table.csv", table)
    whole = read(path).properties
    parts = [loaded.properties for loaded in iter_read(path, batch_size=7)]
    for gaps in (whole["gap"], [gap for part in parts for gap in part["gap"]]):
        assert {type(gap) for gap in gaps[:-1]} == {kind}
        assert gaps[:2] == [
            kind(0) if kind is not str else "0",
            kind(1) if kind is not str else "1",
        ]
    assert whole["long"][3] == str(2**62 + 3)


def test_parts_of_a_table_read_a_column_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(members_module, "_ROWS", 10)
    cif = texts("cif", tmp_path)[0]
    table = [{"id": f"c{i}", "cif": cif, "hex": "12e4" if i < 20 else "12f4"} for i in range(30)]
    members = list_members(write_csv(tmp_path / "table.csv", table))
    assert len(members) == 3
    read_parts = [next(read_member(member)).properties["hex"] for member in members]
    assert [sorted(set(part)) for part in read_parts] == [["12e4"], ["12e4"], ["12f4"]]


def test_a_table_in_latin_1_and_columns_of_one_name(tmp_path: Path) -> None:
    cif = texts("cif", tmp_path)[0]
    text = f'id,cif,gap,gap,town\ncaf\xe9,"{cif}",1,2,K\xf6ln\n'
    (tmp_path / "table.csv").write_bytes(text.encode("latin-1"))
    loaded = read(tmp_path / "table.csv")
    assert [*loaded.ids] == ["caf\xe9"]
    assert loaded.properties == {"gap": [1], "gap.1": [2], "town": ["K\xf6ln"]}


def test_a_damaged_compressed_table_is_listed_and_read_as_far_as_it_goes(tmp_path: Path) -> None:
    table = rows(texts("cif", tmp_path), "cif")
    data = bytearray(gzip.compress(write_csv(tmp_path / "whole.csv", table).read_bytes()))
    data[len(data) // 2 :] = bytes(byte ^ 0x5A for byte in data[len(data) // 2 :])
    path = tmp_path / "table.csv.gz"
    path.write_bytes(data)
    assert [member.format for member in list_members(path)] == ["csv"]
    loaded = read(path)
    assert len(loaded.crystals) < N
    assert len(loaded.failures) == 1
