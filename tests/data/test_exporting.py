from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from crystalcodec.data import Dataset, DatasetError, export_dataset, import_dataset
from crystalcodec.io import read


@pytest.fixture
def stored(mixed: Dataset, tmp_path: Path) -> Path:
    mixed.write(tmp_path / "d.parquet")
    return tmp_path / "d.parquet"


@pytest.mark.parametrize("name", ["x.json", "x.extxyz", "x.db", "x.cif", "folder", "x.csv"])
def test_exported_and_read_is_the_same(
    stored: Path, mixed: Dataset, tmp_path: Path, name: str
) -> None:
    assert export_dataset(stored, tmp_path / name) == 10
    loaded = read(tmp_path / name)
    assert not loaded.failures
    if name != "x.db":  # which numbers its rows
        assert [one.rpartition("/")[2] for one in loaded.ids] == mixed.ids.tolist()
    assert loaded.crystals.numbers.tolist() == mixed.crystals.numbers.tolist()
    np.testing.assert_allclose(
        loaded.crystals.cell_parameters, mixed.crystals.cell_parameters, atol=1e-9
    )
    apart = loaded.crystals.frac_coords - mixed.crystals.frac_coords
    np.testing.assert_allclose(apart - np.rint(apart), 0, atol=1e-9)


def test_a_table_can_be_imported_again(stored: Path, mixed: Dataset, tmp_path: Path) -> None:
    export_dataset(stored, tmp_path / "x.csv")
    import_dataset(tmp_path / "x.csv", tmp_path / "again.parquet")
    again = Dataset.read(tmp_path / "again.parquet")
    assert again.ids.tolist() == mixed.ids.tolist()
    assert again.column("formula").tolist() == list(mixed.crystals.formulas)
    for name in ("energy", "count", "holes", "metal", "stable", "nothing"):
        np.testing.assert_equal(again.column(name), mixed.column(name))
    # CSV has no empty text beside a missing one.
    texts = [value or None for value in mixed.column("kind.of")]
    assert again.column("kind.of").tolist() == texts


def test_only_the_columns_asked_for_are_written(stored: Path, tmp_path: Path) -> None:
    export_dataset(stored, tmp_path / "x.csv", columns=["count"])
    header = (tmp_path / "x.csv").read_text().splitlines()[0]
    assert header == "id,formula,count,cif"
    with pytest.raises(DatasetError, match="no column 'cuont'"):
        export_dataset(stored, tmp_path / "y.csv", columns=["cuont"])
    assert not (tmp_path / "y.csv").exists()


def test_what_is_there_is_not_replaced(stored: Path, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("mine")
    with pytest.raises(DatasetError, match="exists"):
        export_dataset(stored, tmp_path / "x.csv")
    assert (tmp_path / "x.csv").read_text() == "mine"
    export_dataset(stored, tmp_path / "x.csv", force=True)
    (tmp_path / "folder").mkdir()
    export_dataset(stored, tmp_path / "folder", format="poscar")
    with pytest.raises(DatasetError, match="with files in it"):
        export_dataset(stored, tmp_path / "folder", format="poscar")
    assert len(list((tmp_path / "folder").iterdir())) == 10


def test_unknown_formats_are_refused(stored: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no format 'exyz'; did you mean 'extxyz'"):
        export_dataset(stored, tmp_path / "x", format="exyz")
    with pytest.raises(DatasetError, match=r"x\.cfi: the ending tells no format"):
        export_dataset(stored, tmp_path / "x.cfi")
    assert export_dataset(stored, tmp_path / "x.cfi", format="cif") == 10
