"""The report, the figures, and runs beside each other."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from crystalcodec.data import Dataset, DatasetError
from crystalcodec.plots import results as plots
from crystalcodec.report import write_report
from crystalcodec.workflow import RunConfig, RunError, compare, evaluate, train
from crystalcodec.workflow.config import merge
from crystalcodec.workflow.targets import TargetError
from crystalcodec.workflow.training import train_seeds

pytestmark = pytest.mark.pictures

PNG = b"\x89PNG\r\n\x1a\n"


def test_the_report_asks_for_nothing_outside(run):
    page = (run.folder / "report.html").read_text()
    sources = re.findall(r"(?:src|href)\s*=\s*[\"']?([^\"'> ]+)", page)
    assert len(sources) == 4
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert "http" not in re.sub(r"base64,[^\"]+", "", page)
    assert "url(" not in page
    assert "@import" not in page


def test_the_report_tells_the_figures(run):
    page = (run.folder / "report.html").read_text()
    metrics = json.loads((run.folder / "metrics.json").read_text())
    for split in ("train", "validation", "test"):
        assert f"{metrics[split]['mae']:.4g}" in page
    assert "MAE (eV)" in page
    assert "No crystal was left out" in page
    assert run.record["data"]["train"]["content_hash"][:16] in page


def test_names_from_outside_are_escaped(run, tmp_path):
    record = json.loads((run.folder / "run.json").read_text())
    record["command"] = ["<script>alert(1)</script>"]
    record["targets"][0]["column"] = "<b>"
    metrics = json.loads((run.folder / "metrics.json").read_text())
    write_report(tmp_path / "r.html", record, {"train": metrics["train"]}, {})
    page = (tmp_path / "r.html").read_text()
    assert "<script>" not in page
    assert "<b>" not in page


def test_figures_are_png(run):
    for path in run.folder.glob("*.png"):
        assert path.read_bytes().startswith(PNG)


@pytest.mark.parametrize("n", [0, 1, 50, 3000])
def test_parity_of_any_number_of_crystals(n, tmp_path):
    values = np.linspace(-1, 1, n)
    plots.save(plots.parity(values, values**2, "gap", "eV", "test"), tmp_path / "parity.png")
    assert (tmp_path / "parity.png").read_bytes().startswith(PNG)


def test_figures_carry_units(run):
    history = json.loads((run.folder / "history.json").read_text())
    lower = plots.learning_curve(history, "energy", "eV").axes[1]
    assert lower.get_ylabel() == "validation MAE (eV)"
    axes = plots.parity([0.0, 1.0], [0.0, 1.0], "energy", "eV", "test").axes[0]
    assert axes.get_xlabel() == "true energy (eV)"


def test_the_learning_curve_without_errors_and_with_one_epoch(tmp_path):
    rows = [{"epoch": 1, "loss": 0.5, "learning_rate": 0.1}]
    plots.save(plots.learning_curve(rows, "x", ""), tmp_path / "curve.png")


def test_evaluate_gives_the_metrics_of_the_run(run, made_dataset, tmp_path):
    dataset = made_dataset(400, 0)
    figures = evaluate(run, dataset)
    assert figures["n"] == 400
    assert figures["mae"] < 0.1
    dataset.write(tmp_path / "data.parquet")
    assert evaluate(run.folder, tmp_path / "data.parquet")["mae"] == figures["mae"]


def test_evaluate_counts_what_it_cannot(run, made_dataset):
    dataset = made_dataset(10, 2)
    values = dataset.properties["energy"].copy()
    values[:4] = np.nan
    figures = evaluate(run, type(dataset).from_crystals(dataset.crystals, None, {"energy": values}))
    assert (figures["n"], figures["failures"]) == (6, {"missing target": 4})
    with pytest.raises(RunError, match="no crystal"):
        evaluate(run, dataset[:0])
    with pytest.raises(DatasetError, match="no column 'energy'"):
        evaluate(run, type(dataset).from_crystals(dataset.crystals))


def test_seeds_are_one_row_with_mean_and_spread(values, run, tmp_path):
    config = RunConfig.of(merge(values, {"training": {"epochs": 2}}))
    runs = train_seeds(config, tmp_path / "seeds", [0, 1, 2])
    assert [r.folder.name for r in runs] == ["seed-0", "seed-1", "seed-2"]
    both = compare([tmp_path / "seeds", run])
    first, second = both.rows
    assert (first["name"], first["seeds"]) == ("seeds", [0, 1, 2])
    assert second["seeds"] == [0]
    maes = [json.loads((r.folder / "metrics.json").read_text())["validation"]["mae"] for r in runs]
    figures = first["splits"]["validation"]["mae"]
    assert figures["values"] == maes
    assert figures["mean"] == pytest.approx(np.mean(maes))
    assert figures["std"] == pytest.approx(np.std(maes, ddof=1))
    table = both.table()
    assert f"{np.mean(maes):.4f} ± {np.std(maes, ddof=1):.4f}" in table
    assert "MAE (eV)" in table
    assert json.loads(both.to_json())["rows"][0]["splits"]["train"]["n"] == 200


def test_what_cannot_be_compared(run, tmp_path):
    with pytest.raises(RunError, match="no runs"):
        compare([])
    with pytest.raises(RunError, match="no run folder"):
        compare([tmp_path])
    folder = tmp_path / "other"
    folder.mkdir()
    for name in ("run.json", "metrics.json"):
        document = json.loads((run.folder / name).read_text())
        if name == "metrics.json":
            document["target"] = "gap"
        (folder / name).write_text(json.dumps(document))
    with pytest.raises(RunError, match="different targets"):
        compare([run, folder])
    (folder / "metrics.json").unlink()
    with pytest.raises(RunError, match="missing or damaged"):
        compare([folder])


def test_data_in_another_unit_are_refused(values, run, tmp_path, made_dataset):
    dataset = made_dataset(60, 1)
    other = Dataset.from_crystals(
        dataset.crystals, properties=dict(dataset.properties), units={"energy": "meV"}
    )
    with pytest.raises(TargetError, match="'energy' of the given data is in meV"):
        evaluate(run, other)
    other.write(tmp_path / "validation.parquet")
    with pytest.raises(TargetError, match="validation data is in meV, and learnt in eV"):
        train(RunConfig.of(values), tmp_path / "run")
    assert not (tmp_path / "run").exists()
