"""Transforms that are chosen on the validation crystals, once, whatever interrupts it."""

from __future__ import annotations

import json
import signal

import numpy as np
import pytest

from crystalcodec.workflow import RunConfig, loop, train, trials
from crystalcodec.workflow.config import merge


@pytest.fixture
def auto(values, tmp_path, made_dataset):
    """A run on a column whose logarithm is a plane, and on one that has no logarithm."""
    for name, n, seed in (("train", 200, 0), ("validation", 60, 1)):
        energy = np.asarray(made_dataset(n, seed).properties["energy"])
        made_dataset(n, seed, size=np.exp(3 * energy), level=energy - 1).write(
            tmp_path / f"{name}.parquet"
        )
    training = {"epochs": 12, "transform_epochs": 6, "learning_rate": 0.02}
    config = merge(values, {"training": training})
    config["target"] = [{"column": c, "transform": "auto"} for c in ("size", "level")]
    return RunConfig.of(config)


def weights(run):
    return (run.folder / "model.safetensors").read_bytes()


def test_each_column_takes_the_best_that_it_allows(auto, tmp_path):
    said = []
    run = train(auto, tmp_path / "run", say=said.append)
    tried = run.record["transform_trials"]
    assert list(tried) == ["standardise", "sqrt", "log", "asinh"]
    assert set(tried["log"]) == set(tried["sqrt"]) == {"size"}
    assert set(tried["asinh"]) == set(tried["standardise"]) == {"size", "level"}
    for target in run.targets:
        errors = {name: e[target.column] for name, e in tried.items() if target.column in e}
        assert target.transform.name == min(errors, key=errors.get)
    assert run.targets[0].transform.name != "standardise"
    assert any(line.startswith("transform of size: ") for line in said)
    page = (run.folder / "report.html").read_text()
    assert "Transforms tried" in page
    assert not list(run.folder.glob("trial-*"))
    history = json.loads((run.folder / "history.json").read_text())
    assert len(history) == 12
    # What was chosen, trained by name from the start, is the same network.
    values = auto.values()
    for target, found in zip(values["target"], run.targets, strict=True):
        target["transform"] = found.transform.name
    assert weights(train(RunConfig.of(values), tmp_path / "named")) == weights(run)


@pytest.mark.parametrize("stopped", [1, 3, 4])
def test_an_interrupted_choice_goes_on_and_is_not_made_again(auto, tmp_path, monkeypatch, stopped):
    whole = train(auto, tmp_path / "whole")
    fits = []
    fit = trials.fit

    def counted(task, network, targets, training, checkpoint, title=""):
        if len(fits) == stopped:
            raise KeyboardInterrupt
        fits.append(checkpoint)
        return fit(task, network, targets, training, checkpoint, title)

    with monkeypatch.context() as patch:
        patch.setattr(trials, "fit", counted)
        if stopped < 4:
            with pytest.raises(KeyboardInterrupt):
                train(auto, tmp_path / "run")
        else:
            patch.setattr("crystalcodec.workflow.training.fit", counted)
            with pytest.raises(KeyboardInterrupt):
                train(auto, tmp_path / "run")
        record = json.loads((tmp_path / "run" / "run.json").read_text())
        assert len(record["transform_trials"]) == stopped
        fits.clear()
        stopped = 99
        patch.setattr("crystalcodec.workflow.training.fit", counted)
        run = train(auto, tmp_path / "run")
    assert len(fits) == 4 - len(record["transform_trials"]) + 1
    assert weights(run) == weights(whole)
    assert run.record["transform_trials"] == whole.record["transform_trials"]


def test_a_trial_that_is_cut_in_the_middle_goes_on(auto, tmp_path, monkeypatch):
    whole = train(auto, tmp_path / "whole")
    take_step = loop.Loop._take_step
    steps = []

    def interrupted(self, *given):
        take_step(self, *given)
        steps.append(self._step)
        if len(steps) == 50:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Loop, "_take_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(auto, tmp_path / "run")
        # Six epochs of six steps: the first trial is done, the second at its fourteenth step.
        assert steps[-1] == 14
        assert (tmp_path / "run" / "trial-sqrt.safetensors").exists()
        done = len(steps)
        run = train(auto, tmp_path / "run")
        assert steps[done] == 15
    assert weights(run) == weights(whole)
    assert {path.name for path in run.folder.iterdir()} == {
        path.name for path in whole.folder.iterdir()
    }


def test_a_transform_that_is_named_is_not_tried(values, tmp_path):
    run = train(RunConfig.of(merge(values, {"training": {"epochs": 1}})), tmp_path / "run")
    assert run.record["transform_trials"] == {}
    assert "Transforms tried" not in (run.folder / "report.html").read_text()
