"""Whole benchmarks: processes, kills, failures, limits, and the files they leave."""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from crystalcodec.cli import app
from crystalcodec.io.locking import LOCK, locked
from crystalcodec.workflow.benchmark import BenchmarkConfig, run_benchmark, running, worker
from crystalcodec.workflow.benchmark.running import BenchmarkError

LABEL = "ircr (max_sites=4)"


@pytest.fixture(scope="module")
def written(tmp_path_factory, made_dataset):
    """A quick benchmark as nested values, on datasets that were just written."""
    folder = tmp_path_factory.mktemp("data")
    made_dataset(120, 0).write(folder / "train.parquet")
    made_dataset(40, 1).write(folder / "test.parquet")
    return {
        "data": {"dataset": str(folder / "train.parquet"), "test": str(folder / "test.parquet")},
        "target": "energy",
        "representations": ["ircr:max_sites=4"],
        "models": {"dummy": {}, "ridge": {}},
        "sizes": [30, "all"],
        "seeds": [0, 1],
        "budget": 2,
        "published": {"someone": 0.001},
    }


@pytest.fixture
def values(written):
    """The same, to be changed."""
    return copy.deepcopy(written)


@pytest.fixture(scope="module")
def finished(written, tmp_path_factory):
    """A finished run and its folder, not to be changed."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    return run(written, folder, command=["crystalcodec", "benchmark"]), folder


def run(values, folder, **options):
    return run_benchmark(BenchmarkConfig.of(values), folder, jobs=1, **options)


def cells_in(folder):
    return {path: json.loads(path.read_text()) for path in sorted((folder / "cells").glob("*"))}


def test_a_run_leaves_cells_results_and_a_report(finished):
    summary, folder = finished
    assert len(cells_in(folder)) == 2 * 2 * 2
    by_pair = {(row["model"], row["n_train"]): row for row in summary.rows}
    assert set(by_pair) == {("dummy", 30), ("dummy", 120), ("ridge", 30), ("ridge", 120)}
    best = summary.best[0]
    assert (best["representation"], best["model"], best["n_train"]) == (LABEL, "ridge", 120)
    assert best["length"] == 324 + 2 * 6
    assert best["encode_rate"] > 0
    assert best["peak_memory"] > 2**25
    document = json.loads((folder / "benchmark.json").read_text())
    assert document["unit"] == "eV"
    assert document["command"] == ["crystalcodec", "benchmark"]
    assert [d["n"] for d in document["datasets"]] == [120, 40]
    place = document["cells"]["columns"].index("mae")
    stored = {cell["mae"] for cell in cells_in(folder).values()}
    assert {row[place] for row in document["cells"]["rows"]} == {
        float(f"{mae:.6g}") for mae in stored
    }
    text = (folder / "benchmark.md").read_text()
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    assert [line.split(" | ")[1].strip("*") for line in lines[2:]] == [
        "published",
        "ridge",
        "dummy",
    ]
    page = (folder / "benchmark.html").read_text()
    assert page.count("data:image/png;base64,") == 2
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    assert "someone" in page


def test_every_command_that_had_a_part_is_kept(values, finished, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(finished[1], folder)
    for command in (["second"], ["second"], ["crystalcodec", "benchmark"]):
        run(values, folder, command=command)
    document = json.loads((folder / "benchmark.json").read_text())
    assert document["commands"] == [["crystalcodec", "benchmark"], ["second"]]
    assert "<pre>second</pre>" in (folder / "benchmark.html").read_text()


def test_what_is_there_is_not_computed_again(values, finished, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(finished[1], folder)
    before = {path: path.stat().st_mtime_ns for path in cells_in(folder)}
    # Encoded crystals that were deleted are made again where a cell needs them.
    shutil.rmtree(folder / "encoded")
    values |= {"seeds": [0, 1, 2], "sizes": [30]}
    done = []
    summary = run(values, folder, progress=lambda n, known: done.append((n, known)))
    assert len(cells_in(folder)) == len(before) + 2
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert done[-1] == (6, 6)
    # What an earlier run found on the same rows stands beside it.
    assert {(row["model"], row["n_train"], row["n_finished"]) for row in summary.rows} == {
        ("dummy", 30, 3),
        ("ridge", 30, 3),
        ("dummy", 120, 2),
        ("ridge", 120, 2),
    }


def test_folds_are_all_run_and_averaged(values, tmp_path, monkeypatch):
    # Every encoding counts as slow, and is put off once.
    monkeypatch.setattr(running, "_PATIENCE", 0.0)
    values["data"] = {"dataset": values["data"]["dataset"], "folds": 3}
    values |= {"sizes": ["all"], "seeds": [0]}
    summary = run(values, tmp_path / "run")
    cells = [c for c in cells_in(tmp_path / "run").values() if c["identity"]["model"] == "ridge"]
    assert [cell["n_test"] for cell in cells] == [40, 40, 40]
    row = summary.best[0]
    assert row["mae"] == pytest.approx(np.mean([cell["mae"] for cell in cells]))
    assert row["mae_std"] == pytest.approx(np.std([cell["mae"] for cell in cells], ddof=1))


def test_a_killed_run_goes_on_where_it_stopped(values, tmp_path):
    values["models"] = {"dummy": {}, "ridge": {}, "random_forest": {"n_estimators": 30}}
    values["seeds"] = list(range(4))
    whole = run(values, tmp_path / "whole")
    code = (
        "import json, sys; from crystalcodec.workflow.benchmark import *; "
        "run_benchmark(BenchmarkConfig.of(json.loads(sys.argv[1])), sys.argv[2], jobs=2)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, json.dumps(values), tmp_path / "run"])
    cells, deadline = tmp_path / "run" / "cells", time.monotonic() + 60
    while len(list(cells.glob("[!.]*.json"))) < 8 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert_no_worker_of(tmp_path / "run")
    there = {path: path.stat().st_mtime_ns for path in cells.glob("[!.]*.json")}
    assert 8 <= len(there) < 24
    assert all(json.loads(path.read_text())["status"] == "finished" for path in there)
    summary = run(values, tmp_path / "run")
    assert len(cells_in(tmp_path / "run")) == 24
    assert {path: path.stat().st_mtime_ns for path in there} == there
    assert [row["mae"] for row in summary.rows] == [row["mae"] for row in whole.rows]


def assert_no_worker_of(folder):
    """Workers end by themselves when the process that feeds them is gone."""
    for _ in range(200):
        left = []
        for told in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = told.read_bytes().split(b"\0")
            except OSError:
                continue
            if os.fsencode(folder / "log.txt") in words:
                left.append(told.parent.name)
        if not left:
            return
        time.sleep(0.05)
    raise AssertionError(f"workers {left} are still there")


def test_failures_and_limits_are_shown_and_can_be_tried_again(values, tmp_path):
    values["representations"] = ["ircr:max_sites=4", "ircr:max_sites=0"]
    values["models"] = {"ridge": {}, "kernel_ridge": {}}
    values |= {"sizes": ["all"], "seeds": [0]}
    values["limits"] = {"kernel_rows": 100, "cell_seconds": 1e-4}
    said = []
    summary = run(values, tmp_path / "run", say=said.append)
    why = {
        (group["representation"], group["model"]): (group["status"], group["reason"])
        for group in summary.without_figures
    }
    assert why[LABEL, "ridge"] == ("timed out", "killed after 0.0001 seconds")
    assert why[LABEL, "kernel_ridge"][0] == "not run"
    assert "120 rows" in why[LABEL, "kernel_ridge"][1]
    status, reason = why["ircr (max_sites=0)", "ridge"]
    assert status == "failed"
    assert "limits of at least 1 wanted" in reason
    for told in ("killed after", "120 rows", "limits of at least 1 wanted"):
        assert told in summary.markdown()
        assert told in (tmp_path / "run" / "benchmark.html").read_text()
    assert any("timed out" in line for line in said)
    # Another limit alone does not try again what failed, but what was not begun.
    values["limits"] = {"kernel_rows": 1000}
    summary = run(values, tmp_path / "run")
    assert {(row["model"], row["n_finished"]) for row in summary.rows if row["length"]} == {
        ("ridge", 0),
        ("kernel_ridge", 1),
    }
    summary = run(values, tmp_path / "run", retry=True)
    assert {row["model"] for row in summary.best} == {"ridge", "kernel_ridge"}


def test_a_network_runs_in_a_process_of_its_own(values, tmp_path):
    few = {"hidden": [8], "epochs": 3, "seeds": [0], "sizes": ["all"]}
    values["models"] = {"mlp": few}
    summary = run(values, tmp_path / "run")
    (cell,) = [c for c in cells_in(tmp_path / "run").values() if c["identity"]["model"] == "mlp"]
    assert cell["status"] == "finished"
    assert cell["settings"]["epochs"] == 3
    assert {row["model"] for row in summary.best} == {"mlp"}


def test_a_process_that_dies_is_a_failure(tmp_path, monkeypatch):
    def die(task):
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(worker, "perform", die)
    answer = worker.supervise({"seconds": 20.0}, tmp_path / "log.txt")
    assert answer["status"] == "failed"
    assert "signal 9" in answer["reason"]


def test_an_answer_of_any_length_comes_through(tmp_path, monkeypatch):
    monkeypatch.setattr(worker, "perform", lambda task: {"text": "x" * 300_000, "odd": np.nan})
    answer = worker.supervise({"seconds": 20.0}, tmp_path / "log.txt")
    assert (len(answer["text"]), answer["odd"], answer["status"]) == (300_000, None, "finished")


def test_peak_memory_is_that_of_the_child(tmp_path, monkeypatch):
    def perform(task):
        return {"sum": float(np.ones(task["n"]).sum())}

    monkeypatch.setattr(worker, "perform", perform)
    small, large = (
        worker.supervise({"seconds": 20.0, "n": n}, tmp_path / "log.txt")["peak_memory"]
        for n in (1, 25_000_000)
    )
    assert large - small == pytest.approx(200e6, rel=0.1)


def test_the_command_takes_a_recipe_and_flags(values, tmp_path):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        f'target = "energy"\nsizes = [30, "all"]\nseeds = [0, 1]\n'
        f'[data]\ndataset = "{values["data"]["dataset"]}"\ntest = "{values["data"]["test"]}"\n'
        "[models]\nridge = { alpha = 2.0 }\n"
    )
    out = tmp_path / "run"
    flags = ["-r", "ircr:max_sites=4", "-m", "dummy,ridge", "--seeds", "3", "--sizes", "40"]
    result = CliRunner().invoke(
        app, ["benchmark", str(recipe), *flags, "-j", "1", "-o", str(out), "-q"]
    )
    assert result.exit_code == 0, result.output
    assert "| ircr (max_sites=4) | ridge | 40 |" in result.output
    cells = list(cells_in(out).values())
    assert {cell["identity"]["seed"] for cell in cells} == {3}
    assert [c["settings"] for c in cells if c["identity"]["model"] == "ridge"] == [{"alpha": 2.0}]


def test_a_file_is_no_folder_for_a_benchmark(values, tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(BenchmarkError, match="is a file"):
        run(values, tmp_path / "run")


def test_another_benchmark_of_the_same_crystals_shares_what_is_encoded(values, finished, tmp_path):
    values |= {"models": {"ridge": {}}, "seeds": [7], "sizes": ["all"]}
    cache = finished[1] / "encoded"
    before = {path: path.stat().st_mtime_ns for path in cache.rglob("*")}
    summary = run(values, tmp_path / "other", cache=cache)
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*")} == before
    assert summary.best[0]["encode_rate"] == finished[0].best[0]["encode_rate"]


def test_two_benchmarks_in_one_folder_at_once_are_refused(values, tmp_path):
    with (
        locked(tmp_path / "run" / LOCK),
        pytest.raises(BenchmarkError, match=r"another benchmark runs in .*wait for it"),
    ):
        run(values, tmp_path / "run")


def test_what_another_benchmark_encodes_is_waited_for_and_taken(values, finished, tmp_path):
    made, cache = finished[1] / "encoded", tmp_path / "cache"
    (key,) = [path.name for path in made.iterdir() if path.is_dir()]
    summaries = []
    with locked(cache / f".{key}.lock"):
        # It plans to encode, and then waits.
        waiting = threading.Thread(
            target=lambda: summaries.append(run(values, tmp_path / "other", cache=cache))
        )
        waiting.start()
        waiting.join(3)
        assert waiting.is_alive()
        assert not (cache / key).exists()
        shutil.copytree(made, cache, dirs_exist_ok=True)
    waiting.join(60)
    assert summaries[0].best[0]["encode_rate"] == finished[0].best[0]["encode_rate"]


def test_a_report_of_what_is_there_computes_nothing(values, finished, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(finished[1], folder)
    values["seeds"] = [0, 1, 2, 3]
    said = []
    summary = run(values, folder, compute=False, say=said.append)
    assert len(cells_in(folder)) == 8
    assert said[-1] == "8 cells and 0 encodings are not computed"
    assert "8 cells are not computed yet" in summary.markdown()


def test_the_figures_are_those_of_the_settings_that_were_asked_for(values, tmp_path):
    values |= {"sizes": ["all"], "seeds": [0], "budget": 1}

    def mae(ridge, seeds=(0,)):
        values["models"] = {"ridge": ridge}
        summary = run({**values, "seeds": list(seeds)}, tmp_path / "run")
        (row,) = [row for row in summary.rows if row["model"] == "ridge"]
        return row["mae"], row["n_finished"]

    first, other = mae({}), mae({"alpha": 1e6})
    assert first != other
    # Computed before, and older than what is not asked for.
    assert mae({}) == first
    # Seeds of other settings are not averaged with these.
    assert mae({}, seeds=[0, 1])[1] == 2
    assert mae({"alpha": 1e6})[0] == other[0]
    # Of a model that is not asked for, the newest settings alone.
    values["models"] = {"dummy": {}}
    rows = run(values, tmp_path / "run").rows
    assert [row["n_finished"] for row in rows if row["model"] == "ridge"] == [2]


def test_finished_cells_outlive_arrays_that_are_not_made_again(values, finished, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(finished[1], folder)
    shutil.rmtree(folder / "encoded")
    before = {path: cell["mae"] for path, cell in cells_in(folder).items()}
    values["seeds"] = [0, 1, 2]
    values["limits"] = {"encode_seconds": 1e-4}
    run(values, folder)
    after = cells_in(folder)
    assert {path: after[path]["mae"] for path in before} == before
    assert len(after) > len(before)


def test_sizes_that_the_rows_do_not_have_are_told(values, tmp_path):
    said = []
    values |= {"sizes": [30, 500], "seeds": [0], "models": {"dummy": {}}}
    assert len(run(values, tmp_path / "run", say=said.append).rows) == 1
    assert said[0] == "sizes left out, of more rows than there are: 500"
    with pytest.raises(BenchmarkError, match="no fold has rows for sizes 500: there are 120"):
        run({**values, "sizes": [500]}, tmp_path / "other")
    # As many as there are is one that they have; beside "all" it is the same one.
    for sizes, wanted in (([120], ["120"]), ([120, "all"], ["all"])):
        rows = run({**values, "sizes": sizes}, tmp_path / "-".join(map(str, sizes))).rows
        assert [row["size"] for row in rows] == wanted


def test_known_results_are_taken_over_and_stand_beside_new_ones(values, finished, tmp_path):
    results, folder = finished[1] / "benchmark.json", tmp_path / "run"
    said = []
    summary = run(values, folder, known=[results], compute=False, command=["mine"], say=said.append)
    assert said[0] == f"{results}: 8 cells taken over"
    assert summary.document["n_waiting"] == 0
    for mine, theirs in zip(summary.rows, finished[0].rows, strict=True):
        for key, value in theirs.items():
            # Results keep six digits of the figures of a cell.
            number = isinstance(value, float)
            wanted = pytest.approx(value, rel=1e-5, abs=2e-6) if number else value
            assert mine[key] == wanted
    assert summary.document["taken_over"] == {str(results): 8}
    assert f"8 cells were taken from {results}, times included" in summary.markdown()
    assert summary.document["commands"] == [["crystalcodec", "benchmark"], ["mine"]]
    before = {path: path.stat().st_mtime_ns for path in cells_in(folder)}
    # Taken once: what is there stays, and new cells stand beside it.
    values["seeds"], values["models"] = [0, 1, 2], {"ridge": {}}
    summary = run(values, folder, known=[results], say=said.append)
    assert f"{results}: 0 cells taken over" in said
    assert len(cells_in(folder)) == 8 + 2
    assert {path: path.stat().st_mtime_ns for path in before} == before
    computed = {(row["model"], row["n_train"], row["n_finished"]) for row in summary.rows}
    assert computed == {("dummy", 30, 2), ("dummy", 120, 2), ("ridge", 30, 3), ("ridge", 120, 3)}
    # The results of these are results like any other.
    again = run(values, tmp_path / "third", known=[folder / "benchmark.json"], compute=False)
    assert again.document["n_waiting"] == 0


def test_known_results_without_what_their_arrays_are_need_them_anew(values, finished, tmp_path):
    document = json.loads((finished[1] / "benchmark.json").read_text())
    del document["representations"][0]["parameters"]
    known = tmp_path / "known.json"
    known.write_text(json.dumps(document))
    summary = run(values, tmp_path / "run", known=[known])
    assert summary.document["taken_over"] == {str(known): 8}
    assert len(cells_in(tmp_path / "run")) == 8
    assert "parameters" in summary.document["representations"][0]


def test_known_cells_of_networks_computed_in_another_way_are_left_out(values, finished, tmp_path):
    document = json.loads((finished[1] / "benchmark.json").read_text())
    document["tried"]["ridge"]["format"] = 1
    known = tmp_path / "known.json"
    known.write_text(json.dumps(document))
    summary = run(values, tmp_path / "run", known=[known], compute=False)
    assert summary.document["taken_over"] == {str(known): 4}
    assert {row["model"] for row in summary.rows} == {"dummy"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda told: told.pop("cells"), "is no benchmark.json of"),
        (lambda told: told.pop("tried"), "write it again, with --only-report"),
        (lambda told: told["versions"].update(crystalcodec="0.0.1"), "is of crystalcodec 0.0.1"),
        (lambda told: told["identity"].update(targets="0"), "of other rows: the targets differ"),
        (lambda told: told["tried"].pop("ridge"), "is damaged: KeyError 'ridge'"),
        (lambda told: told["cells"].update(rows=[[1, 2]]), "is damaged"),
    ],
)
def test_known_results_that_do_not_belong_here_are_refused(
    values, finished, tmp_path, change, message
):
    document = json.loads((finished[1] / "benchmark.json").read_text())
    change(document)
    known = tmp_path / "known.json"
    known.write_text(json.dumps(document))
    with pytest.raises(BenchmarkError, match=message):
        run(values, tmp_path / "run", known=[known])


def test_the_command_takes_known_results(finished, tmp_path):
    missing = CliRunner().invoke(
        app, ["benchmark", "a.parquet", "--known", str(tmp_path / "none.json")]
    )
    assert missing.exit_code == 2
    # The message stands in a frame that may break it anywhere but in a word.
    assert "does not exist" in " ".join(re.sub("[│\\s]+", " ", missing.stderr).split())
