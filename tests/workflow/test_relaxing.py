"""Relaxation in parts: resumed after a kill, refused where it does not belong, and its tables."""

from __future__ import annotations

import csv
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner

from crystalcodec.cli.relax import relax as command
from crystalcodec.crystals import Crystals
from crystalcodec.data import Dataset
from crystalcodec.io import read, to_pymatgen
from crystalcodec.io.locking import LOCK, locked
from crystalcodec.relaxation import PotentialError, relax
from crystalcodec.relaxation.tables import energy_column, from_dataset, to_dataset
from crystalcodec.workflow import relaxing
from crystalcodec.workflow.relaxing import (
    RelaxingError,
    load_relaxed,
    relax_files,
    relax_in_parts,
)

FCC = np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
EMT = "ase:ase.calculators.emt:EMT"
LJ = "ase:ase.calculators.lj:LennardJones"
COLUMN = "energy_per_atom_ase_ase_calculators_emt_EMT"


def some(n=7):
    """Copper cells, and one of uranium, which EMT has not."""
    rng = np.random.default_rng(0)
    numbers = np.full(n, 29)
    numbers[3] = 92
    lattices = 3.6 * FCC * (1 + 0.03 * rng.normal(size=(n, 1, 1)))
    return Crystals(lattices, np.zeros((n, 3)), numbers, np.arange(n + 1))


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(relaxing, "_SIZE", 2)


def equal(one, other):
    names = ("energies", "initial_energies", "max_forces", "n_steps", "converged", "rmsds")
    assert all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)
    assert one.crystals == other.crystals
    assert one.positions.tolist() == other.positions.tolist()
    assert one.failures == other.failures
    assert (one.potential, one.n, one.settings) == (other.potential, other.n, other.settings)


@pytest.mark.usefixtures("small_parts")
def test_parts_give_what_one_call_gives(tmp_path):
    crystals, seen = some(), []
    found = relax_in_parts(
        crystals, tmp_path / "run", EMT, progress=lambda done, of: seen.append((done, of))
    )
    equal(found, relax(crystals, EMT))
    equal(load_relaxed(tmp_path / "run"), found)
    equal(load_relaxed(tmp_path / "run" / "relaxed.parquet"), found)
    assert seen[0] == (0, 7)
    assert seen[-1] == (7, 7)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert sorted(path.name for path in (tmp_path / "run").glob("[!.]*")) == [
        "relaxed.csv",
        "relaxed.parquet",
        "relaxing.json",
    ]
    # Once more: read, not made.
    equal(relax_in_parts(crystals, tmp_path / "run", EMT), found)


@pytest.mark.usefixtures("small_parts")
def test_what_is_done_is_not_done_again(tmp_path, monkeypatch):
    crystals, real, calls = some(), relaxing._relax_part, []

    def stop_at_third(part, progress=None):
        if part.number == 2:
            raise KeyboardInterrupt
        return real(part, progress)

    monkeypatch.setattr(relaxing, "_relax_part", stop_at_third)
    with pytest.raises(KeyboardInterrupt):
        relax_in_parts(crystals, tmp_path / "run", EMT)
    with pytest.raises(RelaxingError, match="not finished"):
        load_relaxed(tmp_path / "run")

    def counted(part, progress=None):
        calls.append(part.number)
        return real(part, progress)

    monkeypatch.setattr(relaxing, "_relax_part", counted)
    found = relax_in_parts(crystals, tmp_path / "run", EMT)
    assert calls == [2, 3]
    equal(found, relax(crystals, EMT))


def test_a_killed_process_goes_on(tmp_path):
    """The process is killed as soon as its first part is there."""
    crystals = some(160)
    Dataset.from_crystals(crystals).write(tmp_path / "in.parquet")
    folder = tmp_path / "run"
    code = (
        "from crystalcodec import Dataset; from crystalcodec.workflow import relaxing;"
        f"relaxing._SIZE = 8; crystals = Dataset.read({str(tmp_path / 'in.parquet')!r}).crystals;"
        f"relaxing.relax_in_parts(crystals, {str(folder)!r}, {EMT!r})"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 60
    while not list(folder.glob("parts/0*.parquet")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    n_kept = len(list(folder.glob("parts/0*.parquet")))
    assert n_kept > 0
    assert not (folder / "relaxed.parquet").exists()
    relaxing._SIZE, before = 8, relaxing._SIZE
    try:
        found = relax_in_parts(crystals, folder, EMT)
    finally:
        relaxing._SIZE = before
    equal(found, relax(crystals, EMT))
    assert found.converged.sum() == 159


@pytest.mark.usefixtures("small_parts")
def test_another_relaxation_is_refused(tmp_path):
    crystals, folder = some(), tmp_path / "run"
    relax_in_parts(crystals, folder, EMT)
    for arguments, says in (
        ((crystals, folder, LJ), "potential ase:ase.calculators.emt:EMT there"),
        ((crystals[:3], folder, EMT), "other crystals"),
    ):
        with pytest.raises(RelaxingError, match=says):
            relax_in_parts(*arguments)
    with pytest.raises(RelaxingError, match=r"max_force 0\.05 there, 0\.01 wanted"):
        relax_in_parts(crystals, folder, EMT, max_force=0.01)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(RelaxingError, match="other files"):
        relax_in_parts(crystals, tmp_path / "other", EMT)
    with pytest.raises(RelaxingError, match="is a file"):
        relax_in_parts(crystals, tmp_path / "other" / "notes.txt", EMT)
    with pytest.raises(RelaxingError, match="no relaxed crystals"):
        load_relaxed(tmp_path / "nowhere")
    with pytest.raises(RelaxingError, match="another process"), locked(folder / LOCK):
        relax_in_parts(crystals, folder, EMT)
    (folder / "relaxing.json").write_text("{")
    with pytest.raises(RelaxingError, match="damaged"):
        relax_in_parts(crystals, folder, EMT)


def test_nothing_and_nothing_but_failures(tmp_path):
    none = relax_in_parts(Crystals.empty(), tmp_path / "none", EMT)
    assert (none.n, len(none.crystals)) == (0, 0)
    equal(load_relaxed(tmp_path / "none"), none)
    failed = relax_in_parts(some()[3], tmp_path / "failed", EMT)
    assert (failed.n, len(failed.crystals), len(failed.failures)) == (1, 0, 1)
    equal(load_relaxed(tmp_path / "failed"), failed)


def test_energies_of_two_potentials_have_two_names(tmp_path):
    found = relax(some(), EMT)
    dataset = to_dataset(found, [f"c{i}" for i in range(7)])
    dataset.write(tmp_path / "x.parquet")
    back = Dataset.read(tmp_path / "x.parquet")
    equal(from_dataset(back), found)
    assert back.ids.tolist() == ["c0", "c1", "c2", "c4", "c5", "c6"]
    assert back.metadata.units[COLUMN] == "eV/atom"
    assert energy_column("chgnet-0.3.0") != energy_column("chgnet-r2scan") != COLUMN
    np.testing.assert_array_equal(back.column(COLUMN), found.energies)
    with pytest.raises(PotentialError, match="holds no relaxed crystals"):
        from_dataset(Dataset.from_crystals(some()))
    with pytest.raises(PotentialError, match="wanted one each"):
        to_dataset(found, ["a"])


@pytest.mark.usefixtures("small_parts")
def test_files(tmp_path):
    Dataset.from_crystals(some(), ids=list("abcdefg")).write(tmp_path / "in.parquet")
    (tmp_path / "bad.cif").write_text("no crystal")
    sources = [tmp_path / "in.parquet", tmp_path / "bad.cif"]
    report = relax_files(sources, tmp_path / "out.parquet", EMT, trajectory=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "bad.cif",
        "in.parquet",
        "out.csv",
        "out.parquet",
        "out.trajectory",
    ]
    assert Dataset.read(report.dataset).ids.tolist() == list("abcefg")
    with report.table.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows[:7]] == list("abcdefg")
    assert [row["status"] for row in rows] == [
        *["converged"] * 3,
        "failed",
        *["converged"] * 3,
        "failed",
    ]
    assert float(rows[0][COLUMN]) == pytest.approx(report.relaxed.energies[0])
    assert rows[3]["reason"] == "potential failed"
    assert rows[7]["id"].endswith("bad.cif")
    frames = read(tmp_path / "out.trajectory")
    assert len(frames.crystals) == 6 + report.relaxed.n_steps.sum()
    # The same again is read; other limits are refused.
    before = report.dataset.stat().st_mtime_ns
    equal(relax_files(sources, tmp_path / "out.parquet", EMT).relaxed, report.relaxed)
    assert report.dataset.stat().st_mtime_ns == before
    with pytest.raises(RelaxingError, match="max_steps"):
        relax_files(sources, tmp_path / "out.parquet", EMT, limits={"max_steps": 3})
    Dataset.from_crystals(some()[::-1]).write(tmp_path / "other.parquet")
    with pytest.raises(RelaxingError, match="other crystals"):
        relax_files([tmp_path / "other.parquet"], tmp_path / "out.parquet", EMT)


@pytest.mark.usefixtures("small_parts")
def test_files_beside_the_dataset_are_not_replaced(tmp_path):
    """A table of crystals is relaxed into a dataset of the same stem."""
    rows = ["id,cif", *(f'{i},"{cif}"' for i, cif in enumerate(_cifs(some()[:2])))]
    (tmp_path / "x.csv").write_text("\n".join(rows))
    with pytest.raises(RelaxingError, match=r"x\.csv exists, and would be replaced"):
        relax_files([tmp_path / "x.csv"], tmp_path / "x.parquet", EMT)
    assert (tmp_path / "x.csv").read_text() == "\n".join(rows)
    assert not (tmp_path / "x.parquet.relaxing").exists()
    (tmp_path / "y.trajectory").mkdir()
    with pytest.raises(RelaxingError, match=r"y\.trajectory exists"):
        relax_files([tmp_path / "x.csv"], tmp_path / "y.parquet", EMT, trajectory=True)
    assert relax_files([tmp_path / "x.csv"], tmp_path / "y.parquet", EMT).relaxed.n == 2
    shutil.rmtree(tmp_path / "y.trajectory")
    with pytest.raises(RelaxingError, match="without --trajectory"):
        relax_files([tmp_path / "x.csv"], tmp_path / "y.parquet", EMT, trajectory=True)


def _cifs(crystals):
    return [one.to(fmt="cif") for one in to_pymatgen(crystals)]


def test_moving_goes_on_after_a_kill(tmp_path, monkeypatch):
    """Killed between the table and the dataset, when all is done but for the names."""
    Dataset.from_crystals(some()).write(tmp_path / "in.parquet")
    real, wanted = Path.replace, tmp_path / "out.parquet"

    def stop(self, target):
        if Path(target) == wanted:
            raise KeyboardInterrupt
        return real(self, target)

    monkeypatch.setattr(Path, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        relax_files([tmp_path / "in.parquet"], wanted, EMT, trajectory=True)
    assert (tmp_path / "out.csv").exists()
    assert not wanted.exists()
    monkeypatch.undo()
    found = relax_files([tmp_path / "in.parquet"], wanted, EMT, trajectory=True)
    equal(found.relaxed, relax(some(), EMT))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "in.parquet",
        "out.csv",
        "out.parquet",
        "out.trajectory",
    ]


def test_a_potential_that_cannot_be_loaded_claims_no_folder(tmp_path):
    with pytest.raises(PotentialError, match="no_such_module"):
        relax_in_parts(some(), tmp_path / "run", "ase:no_such_module:EMT", jobs=2)
    assert not (tmp_path / "run").exists()
    assert relax_in_parts(some()[:2], tmp_path / "run", EMT).n == 2


def test_a_worker_that_is_killed_is_told_in_one_line(tmp_path, monkeypatch):
    class Broken:
        def map(self, function, items):
            raise BrokenProcessPool

    monkeypatch.setattr(relaxing, "pool_of", lambda jobs: nullcontext(Broken()))
    with pytest.raises(RelaxingError, match="fewer jobs goes on"):
        relax_in_parts(some(), tmp_path / "run", EMT, jobs=2)
    monkeypatch.undo()
    equal(relax_in_parts(some(), tmp_path / "run", EMT), relax(some(), EMT))


def test_rows_that_were_changed_are_refused(tmp_path):
    path = tmp_path / "x.parquet"
    for name in (COLUMN, "rmsd_to_relaxed", "volume_change"):
        to_dataset(relax(some(), EMT)).write(path)
        with pq.ParquetFile(path) as file:
            table, described = file.read(), file.metadata.metadata
        at, values = table.schema.get_field_index(name), table.column(name).to_numpy() - 0.25
        with pq.ParquetWriter(path, table.schema) as file:
            file.write_table(table.set_column(at, table.schema.field(name), [values]))
            file.add_key_value_metadata({"crystalcodec": described[b"crystalcodec"]})
        with pytest.raises(RelaxingError, match="values were changed"):
            load_relaxed(path)


def test_two_processes(tmp_path):
    crystals = some(70)
    found = relax_in_parts(crystals, tmp_path / "run", EMT, jobs=2, trajectory=True)
    equal(found, load_relaxed(tmp_path / "run"))
    np.testing.assert_allclose(found.energies, relax(crystals, EMT).energies, atol=1e-12)
    assert len(list((tmp_path / "run" / "trajectory").iterdir())) == 2


def test_the_command(tmp_path):
    app = typer.Typer()
    app.command()(command)
    Dataset.from_crystals(some()).write(tmp_path / "in.parquet")
    arguments = [str(tmp_path / "in.parquet"), "-o", str(tmp_path / "out"), "--potential", EMT]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "6 crystals relaxed with" in result.output
    assert "1 failed" in result.output
    assert "potential failed" in result.output
    notes = Dataset.read(tmp_path / "out" / "relaxed.parquet").metadata.notes
    assert notes["relaxation"]["potential"] == EMT
    assert CliRunner().invoke(app, [*arguments, "--strict"]).exit_code == 1
    again = CliRunner().invoke(app, [*arguments, "--max-force", "0.01"])
    assert isinstance(again.exception, RelaxingError)
