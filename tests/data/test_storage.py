from __future__ import annotations

import errno
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crystalcodec.crystals import Crystals
from crystalcodec.data import Dataset, DatasetError, DatasetWriter, iter_dataset

MakeCrystals = Callable[..., Crystals]


@pytest.fixture
def many(make_crystals: MakeCrystals) -> Dataset:
    n = 9000
    rng = np.random.default_rng(1)
    texts = [None if i < 5000 else f"t{i % 7}" for i in range(n)]
    return Dataset.from_crystals(
        make_crystals(n), properties={"x": rng.normal(size=n), "t": texts, "i": np.arange(n)}
    )


def test_written_and_read_is_the_same(mixed: Dataset, tmp_path: Path) -> None:
    written = mixed.write(tmp_path / "d.parquet")
    read = Dataset.read(tmp_path / "d.parquet", verify=True)
    assert read == mixed
    assert read.crystals == mixed.crystals
    assert read.ids.tolist() == mixed.ids.tolist()
    assert read.kinds == mixed.kinds
    for name, column in mixed.properties.items():
        np.testing.assert_equal(read.column(name), column)
    assert read.metadata.content_hash == written.content_hash == mixed.content_hash
    assert read.metadata.units == {"energy": "eV/atom"}
    assert read.metadata.descriptions == {"energy": "made up"}
    assert (read.metadata.source, read.metadata.licence) == ("nowhere", "CC0")
    assert read.metadata.notes == {"seed": 0}
    assert set(read.metadata.created_by) == {"crystalcodec", "pyarrow"}
    assert [path.name for path in tmp_path.iterdir()] == ["d.parquet"]


def test_the_same_rows_give_the_same_bytes_however_they_come(many: Dataset, tmp_path: Path) -> None:
    many.write(tmp_path / "whole.parquet")
    with DatasetWriter(tmp_path / "parts.parquet", many.kinds) as writer:
        for start in range(0, len(many), 1300):
            writer.write(many[start : start + 1300])
    assert writer.content_hash == many.content_hash
    whole, parts = ((tmp_path / f"{name}.parquet").read_bytes() for name in ("whole", "parts"))
    assert whole == parts


def test_batches_are_the_rows_in_order(many: Dataset, tmp_path: Path) -> None:
    many.write(tmp_path / "d.parquet")
    batches = list(iter_dataset(tmp_path / "d.parquet", 1000))
    assert {len(batch) for batch in batches} <= {1000, *range(1000)}
    assert Crystals.concatenate(batch.crystals for batch in batches) == many.crystals
    assert [i for batch in batches for i in batch.ids] == many.ids.tolist()
    texts = [None if isinstance(v, float) else v for batch in batches for v in batch.column("t")]
    assert texts == many.column("t").tolist()


def test_hash_does_not_depend_on_row_groups_or_on_the_writer(many: Dataset, tmp_path: Path) -> None:
    many.write(tmp_path / "d.parquet")
    table = pq.read_table(tmp_path / "d.parquet")
    metadata = {b"crystalcodec": pq.ParquetFile(tmp_path / "d.parquet").metadata.metadata[KEY]}
    other = tmp_path / "other.parquet"
    pq.write_table(
        table.replace_schema_metadata(metadata), other, row_group_size=77, compression="gzip"
    )
    assert Dataset.read(other, verify=True) == many


KEY = b"crystalcodec"


def test_only_the_columns_asked_for_are_read(mixed: Dataset, tmp_path: Path) -> None:
    mixed.write(tmp_path / "d.parquet")
    part = Dataset.read(tmp_path / "d.parquet", columns=["stable"], verify=True)
    assert list(part.properties) == ["stable"]
    assert part.content_hash == mixed.content_hash
    assert part != mixed
    assert part[:5].content_hash not in (mixed.content_hash, "")
    with pytest.raises(DatasetError, match=r"no column 'stabel' in .*; did you mean 'stable'"):
        Dataset.read(tmp_path / "d.parquet", columns=["stabel"])


def test_changed_values_are_found_out(mixed: Dataset, tmp_path: Path) -> None:
    mixed.write(tmp_path / "d.parquet")
    metadata = pq.ParquetFile(tmp_path / "d.parquet").metadata.metadata
    table = pq.read_table(tmp_path / "d.parquet")
    changed = table.set_column(
        table.column_names.index("count"), "count", pa.array(np.arange(10) + 1)
    ).replace_schema_metadata({KEY: metadata[KEY]})
    pq.write_table(changed, tmp_path / "changed.parquet")
    assert len(Dataset.read(tmp_path / "changed.parquet")) == 10
    with pytest.raises(DatasetError, match="were changed after it was written"):
        Dataset.read(tmp_path / "changed.parquet", verify=True)


def test_pandas_reads_it(mixed: Dataset, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    mixed.write(tmp_path / "d.parquet")
    frame = pandas.read_parquet(tmp_path / "d.parquet")
    assert frame["id"].tolist() == mixed.ids.tolist()
    np.testing.assert_array_equal(
        np.stack(frame["lattice"]).reshape(-1, 3, 3)[3], mixed.crystals.lattices[3]
    )
    np.testing.assert_array_equal(
        frame["frac_coords"][2].reshape(-1, 3), mixed.crystals[2].frac_coords
    )
    assert frame["energy"].isna().tolist() == [i == 1 for i in range(10)]


def test_duckdb_reads_it_and_what_it_selects_is_a_dataset(mixed: Dataset, tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    mixed.write(tmp_path / "d.parquet")
    path, out = tmp_path / "d.parquet", tmp_path / "selected.parquet"
    rows = duckdb.sql(f"select id, lattice[1], len(numbers), \"kind.of\" from '{path}'").fetchall()
    for i, row in enumerate(rows):
        n_sites = len(mixed.crystals[i].numbers)
        assert row == (
            f"c{i}",
            mixed.crystals.lattices[i, 0, 0],
            n_sites,
            mixed.column("kind.of")[i],
        )
    duckdb.sql(f"copy (select * from '{path}' where count >= 4) to '{out}' (format parquet)")
    selected = Dataset.read(out)
    assert selected == mixed[4:]
    assert selected.metadata.units == {}


@given(
    texts=st.lists(st.none() | st.text(st.characters(codec="utf-8")), min_size=3, max_size=3),
    numbers=st.lists(st.none() | st.floats(), min_size=3, max_size=3),
    whole=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=3, max_size=3),
    truth=st.lists(st.none() | st.booleans(), min_size=3, max_size=3),
    name=st.text(st.characters(codec="utf-8"), min_size=1),
)
@settings(max_examples=60)
def test_any_values_come_back(
    texts: list[str | None],
    numbers: list[float | None],
    whole: list[int],
    truth: list[bool | None],
    name: str,
) -> None:
    crystals = Crystals.single(3 * np.eye(3), [[0, 0, 0]], [84])[[0, 0, 0]]
    properties = {"t": texts, "x": numbers, "w": whole, "b": truth, f"p{name}": numbers}
    dataset = Dataset.from_crystals(crystals, properties=properties)
    with tempfile.TemporaryDirectory() as folder:
        dataset.write(Path(folder) / "d.parquet")
        read = Dataset.read(Path(folder) / "d.parquet", verify=True)
        batches = list(iter_dataset(Path(folder) / "d.parquet", 2))
    assert read == dataset
    for column, values in dataset.properties.items():
        np.testing.assert_equal(read.column(column), values)
    assert [len(batch) for batch in batches] == [2, 1]


def test_an_empty_dataset_can_be_kept(tmp_path: Path) -> None:
    empty = Dataset.from_crystals(Crystals.empty(), properties={"x": np.zeros(0), "t": []})
    empty.write(tmp_path / "d.parquet")
    read = Dataset.read(tmp_path / "d.parquet", verify=True)
    assert len(read) == 0
    assert list(read.properties) == ["x", "t"]
    assert [len(batch) for batch in iter_dataset(tmp_path / "d.parquet")] in ([], [0])


def test_repeated_ids_are_not_written(mixed: Dataset, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="several crystals have the id 'c3'"):
        mixed[[3, 1, 3]].write(tmp_path / "d.parquet")
    assert not list(tmp_path.iterdir())


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="there is no such file"):
        Dataset.read(tmp_path / "d.parquet")


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + bytes(100) + b"PAR1", b"id,cif\n"])
def test_what_is_no_parquet_is_said(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "d.parquet").write_bytes(content)
    with pytest.raises(DatasetError, match="no readable Parquet file"):
        Dataset.read(tmp_path / "d.parquet")


def test_a_folder_is_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no readable Parquet file"):
        Dataset.read(tmp_path)


def test_damaged_rows_are_said(many: Dataset, tmp_path: Path) -> None:
    many.write(tmp_path / "d.parquet")
    data = bytearray((tmp_path / "d.parquet").read_bytes())
    data[100 : len(data) // 2] = bytes(len(data) // 2 - 100)
    (tmp_path / "d.parquet").write_bytes(data)
    with pytest.raises(DatasetError, match="rows cannot be read"):
        Dataset.read(tmp_path / "d.parquet")
    with pytest.raises(DatasetError, match="rows cannot be read"):
        list(iter_dataset(tmp_path / "d.parquet"))


def test_another_table_is_no_dataset(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": ["a"], "cif": ["data_"]}), tmp_path / "d.parquet")
    with pytest.raises(DatasetError, match="no column 'lattice', 'frac_coords', 'numbers'"):
        Dataset.read(tmp_path / "d.parquet")


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("numbers", [[11, 17], [11]], "row 1: 1 numbers, 6 coordinates"),
        ("numbers", [[11, 17], [11, 119]], "crystal 1: no such element"),
        ("numbers", [[11, 17], None], "row 1: no numbers"),
        ("lattice", [[1.0] * 9, [1.0] * 8], "row 1: .* 8 lattice entries"),
        ("lattice", ["a", "b"], "no dataset of crystals"),
        ("frac_coords", [[0.0] * 6, [0.0] * 5 + [float("nan")]], "crystal 1: coordinates not"),
        ("id", ["a", None], "row 1: no id"),
    ],
)
def test_broken_crystals_are_named(
    rock_salt: Crystals, tmp_path: Path, name: str, values: list[Any], message: str
) -> None:
    two = Dataset.from_crystals(rock_salt[[0, 0]])
    two.write(tmp_path / "d.parquet")
    table = pq.read_table(tmp_path / "d.parquet")
    position = table.column_names.index(name)
    pq.write_table(table.set_column(position, name, pa.array(values)), tmp_path / "d.parquet")
    with pytest.raises(DatasetError, match=message):
        Dataset.read(tmp_path / "d.parquet")


def test_columns_of_other_types_are_named_and_can_be_left_out(
    mixed: Dataset, tmp_path: Path
) -> None:
    mixed.write(tmp_path / "d.parquet")
    table = pq.read_table(tmp_path / "d.parquet")
    pq.write_table(table.append_column("spectrum", pa.array([[1.0]] * 10)), tmp_path / "d.parquet")
    with pytest.raises(DatasetError, match="'spectrum' holds list"):
        Dataset.read(tmp_path / "d.parquet")
    assert len(Dataset.read(tmp_path / "d.parquet", columns=["energy"])) == 10


def test_another_format_is_said(mixed: Dataset, tmp_path: Path) -> None:
    mixed.write(tmp_path / "d.parquet")
    table = pq.read_table(tmp_path / "d.parquet")
    for metadata, message in ((b'{"format": 9}', "format 9"), (b"{", "damaged")):
        pq.write_table(table.replace_schema_metadata({KEY: metadata}), tmp_path / "e.parquet")
        with pytest.raises(DatasetError, match=message):
            Dataset.read(tmp_path / "e.parquet")


def test_a_full_disk_leaves_what_was_there(
    mixed: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixed.write(tmp_path / "d.parquet")
    before = (tmp_path / "d.parquet").read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    with pytest.raises(OSError, match=r"no space left to write .*d\.parquet"):
        mixed[:3].write(tmp_path / "d.parquet")
    assert [path.name for path in tmp_path.iterdir()] == ["d.parquet"]
    assert (tmp_path / "d.parquet").read_bytes() == before


def test_rows_of_another_kind_are_not_written(mixed: Dataset, tmp_path: Path) -> None:
    with (
        pytest.raises(DatasetError, match="got number values for a boolean column"),
        DatasetWriter(tmp_path / "d.parquet", {"energy": "boolean"}) as writer,
    ):
        writer.write(mixed)
    assert not list(tmp_path.iterdir())


def test_real_crystals_come_back(shared_data: Path, tmp_path: Path) -> None:
    from crystalcodec.io import read

    loaded = read(shared_data / "perov_5" / "val.csv.gz")
    dataset = Dataset.from_crystals(loaded.crystals, loaded.ids, loaded.properties)
    dataset.write(tmp_path / "d.parquet")
    assert Dataset.read(tmp_path / "d.parquet", verify=True).crystals == loaded.crystals
    assert replace(dataset.metadata, content_hash="") == dataset.metadata
