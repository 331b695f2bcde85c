from __future__ import annotations

import csv
import errno
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from crystalcodec.crystals import Crystals
from crystalcodec.data import Dataset, DatasetError, DatasetWriter, import_dataset
from crystalcodec.data import parts as parts_module
from crystalcodec.io import ReadError, write
from crystalcodec.testing import sample_crystals

MakeCrystals = Callable[..., Crystals]
WriteTable = Callable[..., Path]


@pytest.fixture
def tables(make_crystals: MakeCrystals, write_table: WriteTable) -> list[Path]:
    """Six tables of 40 crystals each: six parts of an import."""
    crystals = make_crystals(240, seed=11)
    return [
        write_table(
            f"t{k}.csv",
            crystals[40 * k : 40 * k + 40],
            energy=[k + i / 7 for i in range(40)],
            count=list(range(40)),
            stable=["True", "False"] * 20,
            kind=[f"k{i % 3}" if i % 5 else "" for i in range(40)],
        )
        for k in range(6)
    ]


def leftovers(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if ".csv" not in p.suffixes[:1])


def test_tables_become_one_dataset(tables: list[Path], tmp_path: Path) -> None:
    report = import_dataset(
        tables,
        tmp_path / "d.parquet",
        units={"energy": "eV"},
        source="made up",
        licence="CC0",
    )
    dataset = Dataset.read(tmp_path / "d.parquet", verify=True)
    assert (report.n, report.n_failed, report.n_parts, report.n_parts_before) == (240, 0, 6, 0)
    assert report.content_hash == dataset.content_hash
    assert dataset.ids.tolist() == [f"t{k}-{i}" for k in range(6) for i in range(40)]
    expected = [k + i / 7 for k in range(6) for i in range(40)]
    np.testing.assert_array_equal(dataset.column("energy"), expected)
    assert dataset.kinds == {
        "energy": "number",
        "count": "integer",
        "stable": "boolean",
        "kind": "text",
    }
    assert dataset.column("kind")[:3].tolist() == [None, "k1", "k2"]
    assert dataset.metadata.units == {"energy": "eV"}
    assert (dataset.metadata.source, dataset.metadata.licence) == ("made up", "CC0")
    assert [p.name for p in tmp_path.iterdir() if p.suffix != ".csv"] == ["d.parquet"]


def test_the_crystals_are_those_that_were_written(
    make_crystals: MakeCrystals, tmp_path: Path
) -> None:
    crystals = make_crystals(30, seed=4)
    write(crystals, tmp_path / "all.json", properties={"x": list(range(30))})
    import_dataset(tmp_path / "all.json", tmp_path / "d.parquet")
    assert Dataset.read(tmp_path / "d.parquet").crystals == crystals


def test_processes_and_runs_give_the_same_file(tables: list[Path], tmp_path: Path) -> None:
    one = import_dataset(tables, tmp_path / "one.parquet")
    two = import_dataset(tables, tmp_path / "two.parquet", jobs=2)
    assert one.content_hash == two.content_hash
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()


KILLED = """
    import multiprocessing, os, signal, sys
    from crystalcodec.data import import_dataset

    def progress(done, total):
        if done >= 2:
            print(*(child.pid for child in multiprocessing.active_children()), flush=True)
            os.kill(os.getpid(), signal.SIGKILL)

    if __name__ == "__main__":
        import_dataset(sys.argv[2:], "d.parquet", jobs=int(sys.argv[1]), progress=progress)
"""


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_killed_import_goes_on(tables: list[Path], tmp_path: Path, jobs: int) -> None:
    whole = import_dataset(tables, tmp_path / "whole" / "d.parquet")
    (tmp_path / "killed").mkdir()
    (tmp_path / "script.py").write_text(textwrap.dedent(KILLED))
    out = tmp_path / "killed" / "d.parquet"
    killed = subprocess.run(
        [sys.executable, str(tmp_path / "script.py"), str(jobs), *map(str, tables)],
        cwd=out.parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert killed.returncode == -9, killed.stderr
    assert [p.name for p in out.parent.iterdir()] == ["d.parquet.import"]
    workers = [int(pid) for pid in killed.stdout.split()]
    assert len(workers) == (jobs if jobs > 1 else 0)
    _wait_until_gone(workers)

    seen: list[int] = []
    report = import_dataset(tables, out, progress=lambda done, total: seen.append(done))
    assert report.n_parts_before >= 2
    assert report.content_hash == whole.content_hash
    assert out.read_bytes() == (tmp_path / "whole" / "d.parquet").read_bytes()
    assert [p.name for p in out.parent.iterdir()] == ["d.parquet"]


def _wait_until_gone(pids: list[int]) -> None:
    """Workers of a killed import end by themselves."""
    for _ in range(200):
        states = [Path(f"/proc/{pid}/stat") for pid in pids]
        if sys.platform != "linux" or not any(
            s.exists() and s.read_text().rpartition(")")[2].split()[0] != "Z" for s in states
        ):
            return
        time.sleep(0.05)
    raise AssertionError(f"workers {pids} outlive their parent")


def test_finished_parts_are_not_read_again(
    tables: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class StopError(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done == 3:
            raise StopError

    with pytest.raises(StopError):
        import_dataset(tables, tmp_path / "d.parquet", progress=stop)
    read: list[int] = []
    original = parts_module.read_part

    def counted(folder: Path, number: int, *rest: object) -> int:
        read.append(number)
        return original(folder, number, *rest)

    monkeypatch.setattr("crystalcodec.data.importing.read_part", counted)
    report = import_dataset(tables, tmp_path / "d.parquet")
    assert read == [3, 4, 5]
    assert report.n_parts_before == 3


@pytest.mark.parametrize("change", ["file", "option", "sources"])
def test_changed_inputs_start_afresh(tables: list[Path], tmp_path: Path, change: str) -> None:
    def stop(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_dataset(tables, tmp_path / "d.parquet", progress=stop)
    options = {}
    if change == "file":
        os.utime(tables[0], ns=(1, 1))
    elif change == "option":
        options = {"min_distance": 0.2}
    else:
        tables = tables[1:]
    report = import_dataset(tables, tmp_path / "d.parquet", **options)
    assert report.n_parts_before == 0
    whole = import_dataset(tables, tmp_path / "whole.parquet", **options)
    assert report.content_hash == whole.content_hash


def test_an_import_into_the_folder_it_reads_leaves_its_own_files_alone(
    tables: list[Path], tmp_path: Path
) -> None:
    def stop(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    (tmp_path / "broken.cif").write_text("data_y\n")
    with pytest.raises(KeyboardInterrupt):
        import_dataset(tmp_path, tmp_path / "d.parquet", progress=stop)
    report = import_dataset(tmp_path, tmp_path / "d.parquet")
    assert (report.n, report.n_failed, report.n_parts, report.n_parts_before) == (240, 1, 7, 3)
    (tmp_path / "d.parquet").unlink()
    again = import_dataset(tmp_path, tmp_path / "d.parquet")
    assert again.content_hash == report.content_hash
    with pytest.raises(DatasetError, match=r"d\.parquet is among the files to read"):
        import_dataset(tmp_path, tmp_path / "d.parquet", force=True)


def test_other_columns_of_the_same_parts_need_no_new_reading(
    tables: list[Path], tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match="no property 'enrgy' to keep; did you mean 'energy'"):
        import_dataset(tables, tmp_path / "d.parquet", properties=["enrgy"])
    with pytest.raises(DatasetError, match="a unit for 'conut'; did you mean 'count'"):
        import_dataset(tables, tmp_path / "d.parquet", units={"conut": "1"})
    assert not (tmp_path / "d.parquet").exists()
    report = import_dataset(tables, tmp_path / "d.parquet", properties=["count", "energy"])
    assert report.n_parts_before == 6
    assert list(Dataset.read(tmp_path / "d.parquet").properties) == ["count", "energy"]


def test_two_imports_do_not_share_their_parts(tables: list[Path], tmp_path: Path) -> None:
    def again(done: int, total: int) -> None:
        with pytest.raises(DatasetError, match=r"another import .* is under way"):
            import_dataset(tables, tmp_path / "d.parquet")

    assert import_dataset(tables, tmp_path / "d.parquet", progress=again).n == 240


def test_files_of_others_are_not_thrown_away(tables: list[Path], tmp_path: Path) -> None:
    (tmp_path / "d.parquet.import").mkdir()
    (tmp_path / "d.parquet.import" / "thesis.txt").write_text("mine")
    with pytest.raises(DatasetError, match=r"files that no import wrote, such as thesis\.txt"):
        import_dataset(tables, tmp_path / "d.parquet")
    assert (tmp_path / "d.parquet.import" / "thesis.txt").read_text() == "mine"


def test_failures_are_listed_and_counted(
    make_crystals: MakeCrystals, write_table: WriteTable, tmp_path: Path
) -> None:
    table = write_table("t.csv", make_crystals(5))
    with table.open("a", newline="") as file:
        csv.writer(file).writerows([["bad", "data_x\n_cell_length_a 1"], ["empty", ""]])
    (tmp_path / "broken.cif").write_text("data_y\n")
    report = import_dataset([table, tmp_path / "broken.cif"], tmp_path / "d.parquet")
    assert report.n == 5
    assert report.n_failed == 3
    assert report.failures_path == tmp_path / "d.parquet.failures.csv"
    with report.failures_path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["source"] for row in rows] == [
        f"{table}!/row 5",
        f"{table}!/row 6",
        str(tmp_path / "broken.cif"),
    ]
    assert Dataset.read(tmp_path / "d.parquet").metadata.failures == report.failures
    assert sum(report.failures.values()) == 3


def test_strict_makes_the_first_failure_an_error(
    make_crystals: MakeCrystals, write_table: WriteTable, tmp_path: Path
) -> None:
    table = write_table("t.csv", make_crystals(5))
    (tmp_path / "broken.cif").write_text("data_y\n")
    sources = [table, tmp_path / "broken.cif"]
    for _ in range(2):  # the second time the part that failed is there already
        with pytest.raises(ReadError, match=r"broken\.cif"):
            import_dataset(sources, tmp_path / "d.parquet", strict=True)
    assert not (tmp_path / "d.parquet").exists()
    assert import_dataset(sources, tmp_path / "d.parquet").n == 5


def test_no_crystal_is_an_error_that_says_why(tmp_path: Path) -> None:
    (tmp_path / "a.cif").write_text("data_y\n")
    with pytest.raises(DatasetError, match=r"no crystal in .*a\.cif: 1 .*failures\.csv"):
        import_dataset(tmp_path / "a.cif", tmp_path / "d.parquet")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.cif", "d.parquet.failures.csv"]
    (tmp_path / "empty.csv").write_text("id,cif\n")
    with pytest.raises(DatasetError, match="no crystal in"):
        import_dataset(tmp_path / "empty.csv", tmp_path / "e.parquet")
    with pytest.raises(ReadError, match="no such file or folder"):
        import_dataset(tmp_path / "absent", tmp_path / "e.parquet")
    assert not (tmp_path / "e.parquet").exists()


def test_repeated_ids_get_numbers(
    make_crystals: MakeCrystals, write_table: WriteTable, tmp_path: Path
) -> None:
    ids = ["a", "b", "a", "a-2", "a", "c"]
    one = write_table("1.csv", make_crystals(6), material_id=list(ids))
    two = write_table("2.csv", make_crystals(6), material_id=["c", "d", "a", "e", "f", "a-2"])
    report = import_dataset([one, two], tmp_path / "d.parquet")
    assert Dataset.read(tmp_path / "d.parquet").ids.tolist() == [
        *["a", "b", "a-3", "a-2", "a-4", "c"],
        *["c-2", "d", "a-5", "e", "f", "a-2-2"],
    ]
    assert report.n_renamed == 5


def test_columns_of_several_kinds(
    make_crystals: MakeCrystals, write_table: WriteTable, tmp_path: Path
) -> None:
    crystals = make_crystals(3)
    one = write_table(
        "1.csv", crystals, whole=[1, 2, 3], odd=[1, 2, 3], here=["", "", ""], numbers=[1, 2, 3]
    )
    two = write_table(
        "2.csv", crystals, whole=[1.5, 2, 3], odd=["x", "y", ""], here=[1, 2, 3], numbers=[4, 5, 6]
    )
    three = write_table("3.csv", crystals, whole=[7, 8, 9], numbers=[7, 8, 9])
    report = import_dataset([one, two, three], tmp_path / "d.parquet")
    dataset = Dataset.read(tmp_path / "d.parquet", verify=True)
    assert report.mixed == ("odd",)
    assert report.renamed_columns == {"source_numbers": "numbers"}
    np.testing.assert_equal(dataset.column("whole"), [1, 2, 3, 1.5, 2, 3, 7, 8, 9])
    np.testing.assert_equal(dataset.column("here"), [np.nan] * 3 + [1, 2, 3] + [np.nan] * 3)
    assert dataset.column("odd").tolist() == ["1", "2", "3", "x", "y", *[None] * 4]
    assert dataset.kinds["source_numbers"] == "integer"


def test_nan_is_missing_and_infinity_stays(
    make_crystals: MakeCrystals, write_table: WriteTable, tmp_path: Path
) -> None:
    table = write_table("t.csv", make_crystals(4), x=["nan", "inf", "-inf", "1e400"])
    import_dataset(table, tmp_path / "d.parquet")
    np.testing.assert_equal(
        Dataset.read(tmp_path / "d.parquet").column("x"), [np.nan, np.inf, -np.inf, np.inf]
    )


def test_what_is_there_is_not_replaced(tables: list[Path], tmp_path: Path) -> None:
    import_dataset(tables[:1], tmp_path / "d.parquet")
    before = (tmp_path / "d.parquet").read_bytes()
    with pytest.raises(DatasetError, match="exists: give another name, or --force"):
        import_dataset(tables[1:], tmp_path / "d.parquet")
    assert (tmp_path / "d.parquet").read_bytes() == before
    assert import_dataset(tables[1:], tmp_path / "d.parquet", force=True).n == 200
    with pytest.raises(DatasetError, match="is a folder"):
        import_dataset(tables, tmp_path, force=True)


def test_no_more_than_a_few_batches_are_held(
    make_crystals: MakeCrystals,
    write_table: WriteTable,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table = write_table("t.csv", make_crystals(6000, seed=2, max_sites=2))
    batches: list[int] = []
    original = DatasetWriter.write

    def counted(self: DatasetWriter, dataset: Dataset) -> None:
        batches.append(len(dataset))
        original(self, dataset)

    monkeypatch.setattr(DatasetWriter, "write", counted)
    report = import_dataset(table, tmp_path / "d.parquet")
    assert report.n == sum(batches) == 6000
    assert max(batches) <= 2048
    assert report.n_parts > 1


def test_a_full_disk_while_parts_are_read(
    tables: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    import_dataset(tables[:1], tmp_path / "d.parquet")
    before = (tmp_path / "d.parquet").read_bytes()
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space left to write"):
        import_dataset(tables, tmp_path / "d.parquet", force=True)
    assert (tmp_path / "d.parquet").read_bytes() == before
    monkeypatch.undo()
    assert import_dataset(tables, tmp_path / "d.parquet", force=True).n == 240
    assert [p.name for p in tmp_path.iterdir() if p.suffix != ".csv"] == ["d.parquet"]


def test_a_dead_worker_is_said(
    tables: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crystalcodec.data.importing.read_part", _die)
    with pytest.raises(DatasetError, match="a worker process was killed"):
        import_dataset(tables, tmp_path / "d.parquet", jobs=2)


def _die(*_: object) -> int:
    os._exit(9)


def test_a_folder_of_files(make_crystals: MakeCrystals, tmp_path: Path) -> None:
    crystals = make_crystals(300, seed=6)
    write(crystals, tmp_path / "files", format="poscar", ids=[f"m{i:03d}" for i in range(300)])
    report = import_dataset(tmp_path / "files", tmp_path / "d.parquet")
    dataset = Dataset.read(tmp_path / "d.parquet")
    assert (report.n, report.n_parts) == (300, 2)
    assert dataset.ids.tolist() == [f"m{i:03d}" for i in range(300)]
    assert dataset.crystals == crystals


def test_real_table(shared_data: Path, tmp_path: Path) -> None:
    report = import_dataset(shared_data / "mp20" / "val.csv.gz", tmp_path / "d.parquet", jobs=2)
    dataset = Dataset.read(tmp_path / "d.parquet", verify=True)
    assert (report.n, report.n_failed) == (7344, 0)
    assert dataset.kinds["spacegroup.number"] in ("integer", "number")
    assert dataset.crystals.n_sites.max() <= 20


def test_a_dataset_of_ours_hands_on_what_it_says_of_its_columns(tmp_path):
    crystals = sample_crystals(4)
    for name, unit in (("one", "eV"), ("two", "meV")):
        Dataset.from_crystals(
            crystals,
            properties={"band_gap": [1.0, 2.0, 3.0, 4.0], "age": [1, 2, 3, 4]},
            units={"band_gap": unit, "age": "a"},
            descriptions={"band_gap": "by hand"},
            source=f"source {name}",
            licence="MIT",
            notes={"made": name},
        ).write(tmp_path / f"{name}.parquet")
    import_dataset(
        tmp_path / "one.parquet", tmp_path / "out.parquet", properties=["band_gap"], min_distance=0
    )
    metadata = Dataset.read(tmp_path / "out.parquet").metadata
    assert metadata.units == {"band_gap": "eV"}
    assert metadata.descriptions == {"band_gap": "by hand"}
    assert (metadata.source, metadata.licence) == ("source one", "MIT")
    assert metadata.notes["made"] == "one"
    with pytest.raises(DatasetError, match=r"'band_gap' is in eV in one source and in meV in "):
        import_dataset(
            [tmp_path / "one.parquet", tmp_path / "two.parquet"], tmp_path / "both.parquet"
        )
