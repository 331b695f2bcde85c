"""Training: what a run folder holds, what it learns, what is refused before it starts."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest
import torch
from torch import nn

from crystalcodec.data import DatasetError
from crystalcodec.io.locking import LOCK, locked
from crystalcodec.models.base import ModelError
from crystalcodec.registry import UnknownNameError
from crystalcodec.representations.base import RepresentationError
from crystalcodec.representations.ircr import IRCR
from crystalcodec.workflow import ConfigError, RunConfig, RunError, open_run, predict, train
from crystalcodec.workflow.config import merge
from crystalcodec.workflow.loop import TrainingError, learning_rate_factor
from crystalcodec.workflow.targets import TargetError


def changed(values, **sections):
    return RunConfig.of(merge(values, sections))


def weights(run):
    return (run.folder / "model.safetensors").read_bytes()


def test_a_run_folder_holds_everything(run):
    names = {path.name for path in run.folder.iterdir()}
    assert names == {
        "config.toml",
        "run.json",
        "model.safetensors",
        "scaling.safetensors",
        "metrics.json",
        "history.json",
        "predictions.csv",
        "learning_curve.png",
        "parity_train.png",
        "parity_validation.png",
        "parity_test.png",
        "report.html",
        "applicability.safetensors",
        "calibration.json",
        "calibration.safetensors",
        "held_out.safetensors",
    }
    record = json.loads((run.folder / "run.json").read_text())
    assert record["status"] == "finished"
    assert run.record == record
    assert record["model"] == {"name": "mlp", "hidden": [64, 32], "dropout": 0.0}
    assert record["representation"]["max_elements"] == 3
    assert record["versions"]["torch"] == torch.__version__
    assert record["data"]["train"]["n_used"] == 280
    assert len(record["data"]["train"]["content_hash"]) == 64
    assert record["command"] == ["crystalcodec", "train"]
    assert RunConfig.read(run.folder / "config.toml") == run.config


def test_it_learns(run):
    metrics = json.loads((run.folder / "metrics.json").read_text())
    assert metrics["unit"] == "eV"
    for split in ("train", "validation", "test"):
        assert metrics[split]["r2"] > 0.9
    assert (metrics["train"]["n"], metrics["test"]["n"]) == (280, 60)
    history = json.loads((run.folder / "history.json").read_text())
    assert [row["epoch"] for row in history] == list(range(1, 41))
    assert history[-1]["validation_mae"] < history[0]["validation_mae"] / 3


def test_metrics_are_those_of_the_written_predictions(run):
    metrics = json.loads((run.folder / "metrics.json").read_text())
    with (run.folder / "predictions.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "validation"]
    errors = [abs(float(row["target"]) - float(row["prediction"])) for row in rows]
    assert len(rows) == 60
    assert np.mean(errors) == pytest.approx(metrics["validation"]["mae"], rel=1e-12)


def test_the_scaling_is_of_training_crystals_alone(values, tmp_path, made_dataset):
    held_out = made_dataset(60, 1)
    bigger = held_out.crystals.supercell([1, 1, 2])
    type(held_out).from_crystals(
        bigger, properties=dict(held_out.properties), units={"energy": "eV"}
    ).write(tmp_path / "validation.parquet")
    config = changed(values, training={"epochs": 1}, scaling={"kind": "minmax", "per": "row"})
    run = train(config, tmp_path / "run")
    lengths = IRCR(max_sites=4).encode(made_dataset(200, 0).crystals)["ircr"][:, 94]
    assert run.scaling.offsets["ircr"][94, 0] == lengths.min()
    assert run.scaling.widths["ircr"][94, 0] == lengths.max() - lengths.min()


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(values, tmp_path):
    state = torch.get_rng_state()
    runs = [
        train(changed(values, seed=seed), tmp_path / f"run{i}") for i, seed in enumerate([3, 3, 4])
    ]
    assert weights(runs[0]) == weights(runs[1]) != weights(runs[2])
    assert torch.equal(state, torch.get_rng_state())


def test_a_finished_run_is_given_back_and_another_is_refused(values, tmp_path):
    config = changed(values, training={"epochs": 1})
    said = []
    run = train(config, tmp_path / "run")
    before = weights(run)
    again = train(config, tmp_path / "run", say=said.append)
    assert weights(again) == before
    assert "finished: nothing to do" in said[0]
    # What only changes the speed does not make another run.
    train(changed(values, training={"epochs": 1}, machine={"threads": 2}), tmp_path / "run")
    with pytest.raises(RunError, match=r"another run \(training.epochs: 1 there, 2 wanted\)"):
        train(changed(values, training={"epochs": 2}), tmp_path / "run")


def test_other_data_is_another_run(values, tmp_path, made_dataset):
    config = changed(values, training={"epochs": 1})
    train(config, tmp_path / "run")
    made_dataset(200, 5).write(tmp_path / "train.parquet")
    with pytest.raises(RunError, match=r"data\.train: other data"):
        train(config, tmp_path / "run")


def test_a_folder_of_other_files_is_refused(values, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("precious")
    with pytest.raises(RunError, match=r"other files \(thesis.txt\)"):
        train(RunConfig.of(values), tmp_path / "full")
    with pytest.raises(RunError, match="is a file"):
        train(RunConfig.of(values), tmp_path / "train.parquet")


def test_a_folder_in_which_another_process_trains_is_refused(values, tmp_path):
    folder, config = tmp_path / "run", RunConfig.of(values)
    with (
        locked(folder / LOCK),
        pytest.raises(RunError, match=r"another process trains in .*wait for it"),
    ):
        train(config, folder)
    assert train(config, folder).record["status"] == "finished"
    assert not (folder / LOCK).exists()
    # A finished run is read whoever holds its folder.
    with locked(folder / LOCK):
        train(config, folder)


def test_rows_left_out_are_counted_and_said(values, tmp_path, made_dataset):
    gap = np.arange(200.0)
    gap[:7] = np.nan
    dataset = made_dataset(200, 0, gap=gap)
    crystals = type(dataset.crystals).concatenate(
        [dataset.crystals[:190], dataset.crystals[190:].supercell([1, 1, 3])]
    )
    type(dataset).from_crystals(crystals, properties=dict(dataset.properties)).write(
        tmp_path / "train.parquet"
    )
    said = []
    config = changed(
        values,
        data={"validation": None, "fractions": [0.5, 0.5, 0.0]},
        target={"column": "gap"},
        training={"epochs": 1},
    )
    run = train(config, tmp_path / "run", say=said.append)
    counts = {}
    for split in ("train", "validation"):
        part = json.loads((run.folder / "metrics.json").read_text())[split]
        assert part["n"] + part["n_failures"] == part["n_total"] == 100
        for reason, count in part["failures"].items():
            counts[reason] = counts.get(reason, 0) + count
    assert counts == {"missing target": 7, "too many sites": 10}
    assert any("missing target" in line for line in said)
    assert any("too many sites" in line for line in said)


@pytest.mark.parametrize(
    ("sections", "error", "says"),
    [
        ({"target": {"column": "enrgy"}}, DatasetError, "did you mean 'energy'"),
        ({"model": {"name": "mpl"}}, UnknownNameError, "did you mean 'mlp'"),
        ({"model": {"hiden": [3]}}, ModelError, "did you mean 'hidden'"),
        ({"representation": {"max_site": 3}}, RepresentationError, "did you mean 'max_sites'"),
        ({"representation": {"max_sites": 1}}, TargetError, "nothing to learn from"),
        ({"augmentation": {"names": ["rotat"]}}, UnknownNameError, "did you mean 'rotate'"),
        ({"target": {"transform": "log"}}, TargetError, "above 0"),
        ({"data": {"dataset": "nowhere.parquet"}}, DatasetError, "nowhere.parquet"),
    ],
)
def test_what_cannot_be_trained_leaves_no_folder(values, tmp_path, sections, error, says):
    with pytest.raises(error, match=says):
        train(changed(values, **sections), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_no_device_of_that_kind(values, tmp_path):
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(ConfigError, match="torch sees none"):
        train(changed(values, machine={"device": "cuda"}), tmp_path / "run")


def test_batches_of_one_crystal(values, tmp_path, made_dataset):
    with pytest.raises(TrainingError, match="batches of one"):
        train(changed(values, training={"batch_size": 1}), tmp_path / "one")
    # Five crystals in batches of two: batches of two and three, and never one of one.
    made_dataset(5, 0).write(tmp_path / "train.parquet")
    run = train(changed(values, training={"batch_size": 2}), tmp_path / "five")
    assert json.loads((run.folder / "metrics.json").read_text())["train"]["n"] == 5


def test_a_loss_that_explodes_is_said(values, tmp_path):
    config = changed(
        values, training={"learning_rate": 1e30, "schedule": "constant", "loss": "mse"}
    )
    with pytest.raises(TrainingError, match="lower learning_rate"):
        train(config, tmp_path / "run")


def test_early_stopping_keeps_the_best_weights(values, tmp_path):
    config = changed(
        values,
        training={
            "epochs": 60,
            "patience": 2,
            "learning_rate": 0.3,
            "schedule": "constant",
            "average": 0.0,
        },
    )
    run = train(config, tmp_path / "run")
    history = json.loads((run.folder / "history.json").read_text())
    errors = [row["validation_mae"] for row in history]
    assert len(history) < 60
    assert errors.index(min(errors)) == len(errors) - 3
    metrics = json.loads((run.folder / "metrics.json").read_text())
    assert metrics["validation"]["mae"] == pytest.approx(min(errors), rel=1e-9)


@pytest.mark.parametrize(
    "training",
    [
        {"optimiser": "adam", "loss": "mse", "schedule": "constant", "average": 0.0},
        {"loss": "huber", "schedule": "one-cycle", "clip_norm": 1.0, "validate_every": 3},
    ],
)
@pytest.mark.parametrize("transform", ["none", "sqrt"])
def test_other_recipes(values, tmp_path, training, transform, made_dataset):
    for name, seed in (("train", 0), ("validation", 1)):
        made_dataset(80, seed, size=np.linspace(1, 9, 80)).write(tmp_path / f"{name}.parquet")
    target = {"column": "size", "transform": transform}
    run = train(changed(values, target=target, training=training), tmp_path / "run")
    assert np.isfinite(json.loads((run.folder / "metrics.json").read_text())["train"]["mae"])


def test_mixed_precision_and_convolutions(values, tmp_path, monkeypatch):
    monkeypatch.setattr("crystalcodec.workflow.precision.computes_bfloat16", lambda: True)
    config = changed(
        values,
        model={"name": "cnn1d", "channels": [4], "kernels": [3], "strides": [2], "paddings": [1]},
        machine={"precision": "bf16-mixed"},
        training={"epochs": 1},
    )
    run = train(config, tmp_path / "run")
    kinds = {weight.dtype for weight in run.predictor.parameters()}
    assert kinds == {torch.float32}


def test_schedules():
    config = RunConfig.of({"data": {"dataset": "a"}, "target": {"column": "x"}}).training

    def rates(schedule):
        settings = config.model_copy(update={"schedule": schedule})
        return np.array([learning_rate_factor(settings, step, 1000) for step in range(1000)])

    assert (rates("constant") == 1).all()
    for schedule in ("one-cycle", "cosine"):
        factors = rates(schedule)
        assert factors.max() == pytest.approx(1, abs=1e-6)
        assert factors.argmax() in (99, 100)
        assert (np.diff(factors[:100]) > 0).all()
        assert (np.diff(factors[101:]) < 0).all()
        assert 0 <= factors[-1] < 1e-4
    assert rates("one-cycle")[0] == pytest.approx(1 / 25)


def test_runs_that_cannot_be_opened(run, tmp_path):
    def copy(name):
        folder = tmp_path / name
        folder.mkdir()
        for path in run.folder.iterdir():
            (folder / path.name).write_bytes(path.read_bytes())
        return folder

    def rewrite(folder, **changes):
        record = json.loads((folder / "run.json").read_text())
        (folder / "run.json").write_text(json.dumps(record | changes))
        return folder

    with pytest.raises(RunError, match="no run folder"):
        open_run(tmp_path)
    with pytest.raises(RunError, match="format version 99"):
        open_run(rewrite(copy("version"), format=99))
    with pytest.raises(RunError, match="not finished"):
        open_run(rewrite(copy("status"), status="training"))
    for name in ("model.safetensors", "scaling.safetensors"):
        folder = copy(name)
        content = bytearray((folder / name).read_bytes())
        content[-1] ^= 1
        (folder / name).write_bytes(content)
        with pytest.raises(RunError, match=f"{name} is damaged"):
            open_run(folder)
        (folder / name).unlink()
        with pytest.raises(RunError, match="is missing"):
            open_run(folder)
    folder = copy("json")
    (folder / "run.json").write_text("{")
    with pytest.raises(RunError, match="damaged"):
        open_run(folder)


def test_a_run_of_before_there_were_several_targets(run, tmp_path, made_dataset):
    folder = tmp_path / "old"
    shutil.copytree(run.folder, folder)
    record = json.loads((folder / "run.json").read_text())
    (target,) = record.pop("targets")
    transform = {key: target["transform"][key] for key in ("name", "mean", "std")}
    record["target"] = {"column": "energy", "unit": "eV", "transform": transform}
    del record["config"]["inputs"]
    (folder / "run.json").write_text(json.dumps(record))
    crystals = made_dataset(5, 3).crystals
    old, new = predict(folder, crystals), predict(run, crystals)
    np.testing.assert_array_equal(old.values, new.values)
    assert old.units == ("eV",)


def test_no_weight_decay_on_biases_and_normalisation(values):
    from crystalcodec.workflow.loop import _optimiser

    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    groups = _optimiser(network, RunConfig.of(values).training).param_groups
    assert [[p.ndim for p in group["params"]] for group in groups] == [[2], [1, 1, 1]]
    assert [group["weight_decay"] for group in groups] == [0.1, 0.0]
