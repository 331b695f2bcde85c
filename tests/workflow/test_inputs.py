"""One property's prediction as an input of another."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch

from crystalcodec.models.base import build_model
from crystalcodec.representations.ircr import IRCR
from crystalcodec.workflow import ConfigError, RunConfig, RunError, open_run, predict, train
from crystalcodec.workflow.checkpoints import load_weights
from crystalcodec.workflow.config import merge
from crystalcodec.workflow.input_network import InputNetwork
from crystalcodec.workflow.prediction import answers


@pytest.fixture
def settings(values, tmp_path, made_dataset):
    """Three columns: gap, cbm = f(gap), vbm = cbm - gap."""
    for name, n, seed in (("train", 120, 0), ("validation", 40, 1)):
        dataset = made_dataset(n, seed)
        gap = np.asarray(dataset.properties["energy"])
        lengths = np.linalg.norm(dataset.crystals.lattices, axis=-1)[:, 0]
        cbm = 0.5 * gap + 0.1 * lengths
        made_dataset(n, seed, gap=gap, cbm=cbm, vbm=cbm - gap).write(tmp_path / f"{name}.parquet")
    return merge(values, {"training": {"epochs": 8, "learning_rate": 0.02}})


def named(settings, column, **sections):
    return RunConfig.of(merge(settings, {"target": {"column": column}, **sections}))


@pytest.fixture
def gap(settings, tmp_path):
    return train(named(settings, "gap"), tmp_path / "gap")


def inputs(*folders, folds=0, width=4):
    return {"runs": [str(folder) for folder in folders], "folds": folds, "width": width}


def test_a_chain_of_runs_predicts_by_itself(settings, gap, tmp_path, made_dataset):
    cbm = train(named(settings, "cbm", inputs=inputs(tmp_path / "gap")), tmp_path / "cbm")
    both = inputs(tmp_path / "cbm", tmp_path / "gap")
    vbm = train(named(settings, "vbm", inputs=both), tmp_path / "vbm")
    crystals = made_dataset(20, 5).crystals
    before = predict(vbm, crystals).values
    given = torch.from_numpy(
        np.hstack([predict(cbm, crystals).values, predict(gap, crystals).values])
    )
    assert [run.target for run in vbm.inputs] == ["cbm", "gap"]
    assert vbm.inputs[0].inputs[0].target == "gap"
    # Nothing of the runs that it was made from is needed any more.
    for name in ("gap", "cbm"):
        shutil.rmtree(tmp_path / name)
    moved = tmp_path / "vbm.moved"
    (tmp_path / "vbm").rename(moved)
    np.testing.assert_array_equal(predict(moved, crystals).values, before)
    # And the inputs are used: with others the network says something else.
    run = open_run(moved)
    with torch.no_grad():
        arrays = run.scaling.apply(run.representation.encode(crystals).arrays)
        arrays = {name: torch.from_numpy(array) for name, array in arrays.items()}
        same = run.predictor({**arrays, "inputs": given.float()})
        other = run.predictor({**arrays, "inputs": given.float() + 1.0})
    learnt = run.targets[0].transform.undo(same.double().numpy())
    np.testing.assert_allclose(learnt, before, rtol=1e-5)
    assert (same - other).abs().min() > 1e-3


def test_inputs_of_training_crystals_are_of_models_that_have_not_seen_them(
    settings, gap, tmp_path, monkeypatch
):
    from crystalcodec.workflow import crossfitting

    trained = []
    train_again = crossfitting._train_again

    def recorded(task, run, parts, rows, folder):
        made = train_again(task, run, parts, rows, folder)
        trained.append((made, rows))
        return made

    monkeypatch.setattr(crossfitting, "_train_again", recorded)
    config = named(settings, "cbm", inputs=inputs(tmp_path / "gap", folds=3))
    run = train(config, tmp_path / "cbm")
    values = load_weights(run.folder / "inputs" / "training.safetensors")[0]["values"].numpy()
    from crystalcodec.data import Dataset

    crystals = Dataset.read(tmp_path / "train.parquet").crystals
    assert sum((~rows).sum() for _, rows in trained) == 120
    for made, rows in trained:
        assert made.record["data"]["train"]["n"] == rows.sum() == 80
        expected = answers(made, crystals[~rows])[0]
        np.testing.assert_allclose(values[~rows], expected, rtol=1e-5)
    # They differ from what the run itself, which has seen them, predicts.
    assert np.abs(values - predict(gap, crystals).values).max() > 1e-3
    assert not (run.folder / "folds").exists()
    mean = load_weights(run.folder / "model.safetensors")[0]["input_mean"].numpy()
    np.testing.assert_allclose(mean, values.mean(axis=0), rtol=1e-5)
    assert run.record["config"]["inputs"]["folds"] == 3


def test_folds_of_a_chain_train_its_first_links_again(settings, gap, tmp_path):
    folded = inputs(tmp_path / "gap", folds=2)
    train(named(settings, "cbm", inputs=folded), tmp_path / "cbm")
    # The data have the column of the first link, which is no input of the last one.
    run = train(named(settings, "vbm", inputs=inputs(tmp_path / "cbm", folds=2)), tmp_path / "vbm")
    assert run.inputs[0].inputs[0].target == "gap"
    assert run.record["status"] == "finished"


def test_interrupted_folds_go_on(settings, gap, tmp_path, monkeypatch):
    from crystalcodec.workflow import crossfitting

    config = named(settings, "cbm", inputs=inputs(tmp_path / "gap", folds=2))
    whole = train(config, tmp_path / "whole")
    calls = []
    train_again = crossfitting._train_again

    def interrupted(*given):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return train_again(*given)

    with monkeypatch.context() as patch:
        patch.setattr(crossfitting, "_train_again", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(config, tmp_path / "run")
    # The run that gives the input is gone, and its copy is in the folder.
    shutil.rmtree(tmp_path / "gap")
    run = train(config, tmp_path / "run")
    for name in ("model.safetensors", "metrics.json"):
        assert (run.folder / name).read_bytes() == (whole.folder / name).read_bytes()


def test_what_an_input_refuses_is_refused(settings, gap, tmp_path, made_dataset):
    wider = {"representation": {"max_sites": 20}, "inputs": inputs(tmp_path / "gap")}
    run = train(named(settings, "cbm", **wider), tmp_path / "cbm")
    crystals = made_dataset(3, 3).crystals
    mixed = type(crystals).concatenate([crystals[:1], crystals[1:2].supercell(2), crystals[2:]])
    rows = predict(run, mixed).rows()
    assert [row["reason"] for row in rows] == ["", "too many sites", ""]
    assert rows[1]["detail"].endswith("(for the input gap)")
    assert rows[1]["cbm"] is None
    alone = predict(run, crystals[2:]).values
    np.testing.assert_allclose(predict(run, mixed).values[2:], alone, rtol=1e-5)


def test_another_input_is_another_run(settings, gap, tmp_path):
    config = named(settings, "cbm", inputs=inputs(tmp_path / "gap"))
    train(config, tmp_path / "cbm")
    other = train(named(settings, "gap", seed=1), tmp_path / "other")
    with pytest.raises(RunError, match=r"inputs\.runs"):
        train(named(settings, "cbm", inputs=inputs(other.folder)), tmp_path / "cbm")
    # The same run in another place is the same.
    shutil.copytree(gap.folder, tmp_path / "copied")
    said = []
    again = named(settings, "cbm", inputs=inputs(tmp_path / "copied"))
    train(again, tmp_path / "cbm", say=said.append)
    assert "nothing to do" in said[0]


def test_inputs_that_cannot_be_had(settings, gap, tmp_path, made_dataset):
    with pytest.raises(RunError, match="no run folder"):
        train(named(settings, "cbm", inputs=inputs(tmp_path / "none")), tmp_path / "run")
    record = json.loads((gap.folder / "run.json").read_text())
    (gap.folder / "run.json").write_text(json.dumps(record | {"status": "training"}))
    with pytest.raises(RunError, match="not finished"):
        train(named(settings, "cbm", inputs=inputs(gap.folder)), tmp_path / "run")
    (gap.folder / "run.json").write_text(json.dumps(record))
    few = np.where(np.arange(120) < 6, 1.0 * np.arange(120), np.nan)
    made_dataset(120, 0, gap=few, cbm=np.arange(120.0)).write(tmp_path / "train.parquet")
    with pytest.raises(ConfigError, match=r"'gap' has 6 values.*inputs\.folds to 0"):
        train(named(settings, "cbm", inputs=inputs(gap.folder, folds=3)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_last_layer_sees_the_inputs_in_full_precision():
    representation = IRCR(max_sites=4)
    torch.manual_seed(0)
    network = InputNetwork(build_model("mlp", representation, 3, hidden=[8]), 3, 2, 2).eval()
    network.fit_inputs(torch.tensor([[1.0, 5.0], [3.0, 5.0]]))
    assert network.input_mean.tolist() == [2.0, 5.0]
    assert network.input_std.tolist() == [1.0, 1.0]
    arrays = {name: torch.rand(4, *shape) for name, shape in representation.shapes().items()}
    given = torch.tensor([[2.0 + 1e-4, 5.0]] * 4)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        one = network({**arrays, "inputs": given})
        other = network({**arrays, "inputs": given + torch.tensor([1e-4, 0.0])})
    assert one.shape == (4, 2)
    assert one.dtype == torch.float32
    # bfloat16 does not tell 2e-4 from 1e-4 beside a hidden value of 0.5; the last layer does.
    wanted = network.last.weight[:, 3] * 1e-4
    np.testing.assert_allclose((other - one)[0].numpy(), wanted.detach().numpy(), atol=6e-5)
    assert ((other - one).abs() > 0).all()


def test_an_input_of_other_data_is_told(settings, gap, tmp_path):
    said = []
    one_epoch = {"training": {"epochs": 1}, "inputs": inputs(gap.folder)}
    train(named(settings, "cbm", **one_epoch), tmp_path / "same", say=said.append)
    assert said == []
    data = {"dataset": str(tmp_path / "train.parquet"), "fractions": [0.5, 0.25, 0.25]}
    config = RunConfig.of({**named(settings, "cbm", **one_epoch).values(), "data": data})
    train(config, tmp_path / "other", say=said.append)
    assert len(said) == 1
    assert said[0].startswith("input gap: its run names other data")
