"""The commands train, predict and evaluate."""

from __future__ import annotations

import inspect
import json
import signal
from typing import get_args

import numpy as np
import pytest
from typer.testing import CliRunner

from crystalcodec.cli import app
from crystalcodec.cli import train as commands
from crystalcodec.io import write
from crystalcodec.workflow import ConfigError, RunConfig, RunError
from crystalcodec.workflow.config import NamedConfig

RUNNER = CliRunner()


def invoke(*arguments):
    result = RUNNER.invoke(app, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_every_key_has_a_flag():
    keys = {"seed"}
    sections = {n: f for n, f in RunConfig.model_fields.items() if n != "seed"}
    for name, section in sections.items():
        # Several targets have the flags of one.
        name, kind = (
            section.alias or name,
            (get_args(section.annotation) or [section.annotation])[0],
        )
        if issubclass(kind, NamedConfig):
            keys.add(f"{name}.name")
        else:
            keys |= {f"{name}.{key}" for key in kind.model_fields}
    assert set(commands._KEYS.values()) | {"seed"} == keys
    assert set(commands._KEYS) < set(inspect.signature(commands.train).parameters)


def test_a_file_and_the_same_flags_are_the_same_run(values, tmp_path):
    values["training"]["epochs"] = 2
    (tmp_path / "run.toml").write_text(RunConfig.of(values).to_toml())
    first = invoke("train", tmp_path / "run.toml", "-o", tmp_path / "toml")
    assert first.exit_code == 0
    assert "report:" in first.stdout
    data = values["data"]
    flags = (
        *("--data", data["dataset"], "--validation", data["validation"], "--target", "energy"),
        *("--set", "representation.max_sites=4", "--set", "model.hidden=[16, 8]"),
        *("--epochs", 2, "--batch-size", 32, "--learning-rate", 0.01, "--device", "cpu"),
    )
    second = invoke("train", *flags, "-o", tmp_path / "flags")
    assert second.exit_code == 0
    weights = [(tmp_path / n / "model.safetensors").read_bytes() for n in ("toml", "flags")]
    assert weights[0] == weights[1]
    identities = [
        json.loads((tmp_path / n / "run.json").read_text())["identity"] for n in ("toml", "flags")
    ]
    assert identities[0] == identities[1]
    # And the flags take up the run of the file.
    assert "nothing to do" in invoke("train", *flags, "-o", tmp_path / "toml").stderr


def test_several_targets_by_flags(values, tmp_path, made_dataset):
    for name in ("train", "validation"):
        numbers = np.arange(30.0)
        made_dataset(30, metal=numbers > 9, size=numbers + 1).write(tmp_path / f"{name}.parquet")
    values["training"]["epochs"] = 1
    (tmp_path / "run.toml").write_text(RunConfig.of(values).to_toml())
    both = ("train", tmp_path / "run.toml", "--target", "energy,size", "--quiet")
    result = invoke(*both, "--transform", "asinh", "--weight", 2, "-o", tmp_path / "both")
    assert "energy (eV)" in result.stdout
    config = RunConfig.read(tmp_path / "both" / "config.toml")
    assert config.columns == ("energy", "size")
    assert [(t.transform, t.weight) for t in config.targets] == [("asinh", 2.0)] * 2
    # A file of several: those that are named stay as they are described there.
    values["target"] = [{"column": "metal", "kind": "class"}, {"column": "size", "weight": 3.0}]
    (tmp_path / "run.toml").write_text(RunConfig.of(values).to_toml())
    some = ("train", tmp_path / "run.toml", "--target", "energy,metal", "--quiet")
    assert "ROC AUC" in invoke(*some, "-o", tmp_path / "some").stdout
    config = RunConfig.read(tmp_path / "some" / "config.toml")
    assert [(t.column, t.kind) for t in config.targets] == [("energy", "value"), ("metal", "class")]
    one = ("train", tmp_path / "run.toml", "--target", "size", "--quiet", "-o", tmp_path / "one")
    invoke(*one, "--inputs", tmp_path / "both", "--input-folds", 0)
    config = RunConfig.read(tmp_path / "one" / "config.toml")
    assert (config.columns, config.targets[0].weight) == (("size",), 3.0)
    assert (config.inputs.runs, config.inputs.folds) == ((str(tmp_path / "both"),), 0)


def test_several_seeds_write_a_summary(values, tmp_path):
    (tmp_path / "run.toml").write_text(RunConfig.of(values).to_toml())
    seeds = ("--seed", 0, "--seed", 1, "--epochs", 1, "--quiet")
    result = invoke("train", tmp_path / "run.toml", *seeds, "-o", tmp_path / "out")
    assert "±" in result.stdout
    assert result.stderr == ""
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["rows"][0]["seeds"] == [0, 1]


def test_unknown_keys_and_flags(values, tmp_path):
    (tmp_path / "run.toml").write_text(RunConfig.of(values).to_toml())
    with pytest.raises(ConfigError, match="did you mean 'epochs'"):
        invoke("train", tmp_path / "run.toml", "--set", "training.epoch=3", "-o", tmp_path / "r")
    assert invoke("train", tmp_path / "run.toml", "--set", "epochs").exit_code == 2
    with pytest.raises(ConfigError, match=r"'data' is missing"):
        invoke("train", "--target", "energy")
    for wrong in (["--set", "target=foo"], ["--set", "seed=1", "--set", "seed.x=2"]):
        result = invoke("train", tmp_path / "run.toml", *wrong, "-o", tmp_path / "r")
        assert (result.exit_code, "Traceback" in result.stderr) == (2, False)


def test_no_seed_is_trained_where_one_cannot_be(values, tmp_path):
    (tmp_path / "run.toml").write_text(RunConfig.of(values).to_toml())
    for bad in (-1, 10**22):
        with pytest.raises(ConfigError, match="seed"):
            invoke("train", tmp_path / "run.toml", "--seed", 0, "--seed", bad, "-o", tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_ctrl_c_exits_130(values, tmp_path, monkeypatch):
    from crystalcodec.workflow import loop

    take_step = loop.Loop._take_step

    def interrupted(self, *given):
        take_step(self, *given)
        signal.raise_signal(signal.SIGINT)

    (tmp_path / "run.toml").write_text(RunConfig.of(values).to_toml())
    with monkeypatch.context() as patch:
        patch.setattr(loop.Loop, "_take_step", interrupted)
        result = invoke("train", tmp_path / "run.toml", "-o", tmp_path / "run")
    assert result.exit_code == 130
    assert "the same command goes on" in result.stderr
    result = invoke("train", tmp_path / "run.toml", "-o", tmp_path / "run")
    assert result.exit_code == 0
    assert "going on" in result.stderr


@pytest.fixture
def crystal_file(tmp_path, made_dataset):
    """One CIF that the run can take."""
    write(made_dataset(1, 9).crystals, tmp_path / "one.cif")
    return tmp_path / "one.cif"


def test_predict_prints_a_table(run, crystal_file):
    result = invoke("predict", crystal_file, "--model", run.folder)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == (
        "source,id,formula,energy,energy_lower,energy_upper,energy_unit,distance,"
        "distance_percentile,warning,reason,detail"
    )
    assert len(lines) == 2


def test_predict_exit_codes(run, crystal_file, tmp_path):
    broken = tmp_path / "broken.cif"
    broken.write_text("data_x\n")
    out = tmp_path / "table.json"
    mixed = invoke("predict", crystal_file, broken, "--model", run.folder, "-o", out)
    assert mixed.exit_code == 0
    assert "1 of 2 predicted" in mixed.stderr
    assert len(json.loads(out.read_text())) == 2
    strict = ("predict", crystal_file, broken, "--model", run.folder, "--strict")
    assert invoke(*strict).exit_code == 1
    assert invoke("predict", broken, "--model", run.folder).exit_code == 1


def test_evaluate_on_a_dataset_and_beside_each_other(run, made_dataset, tmp_path):
    made_dataset(20, 4).write(tmp_path / "data.parquet")
    out = tmp_path / "result.json"
    result = invoke("evaluate", run.folder, tmp_path / "data.parquet", "-o", out)
    assert json.loads(result.stdout) == json.loads(out.read_text())
    assert json.loads(out.read_text())[str(run.folder)]["n"] == 20
    table = invoke("evaluate", run.folder, "-o", tmp_path / "compared.json")
    assert "validation" in table.stdout
    assert json.loads((tmp_path / "compared.json").read_text())["unit"] == "eV"
    with pytest.raises(RunError, match="at most one dataset"):
        invoke("evaluate", tmp_path / "data.parquet")
