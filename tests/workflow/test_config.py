"""The configuration: TOML, flags, and what both refuse."""

from __future__ import annotations

import math

import pytest

from crystalcodec.workflow import ConfigError, RunConfig
from crystalcodec.workflow.config import merge

VALUES = {"data": {"dataset": "a.parquet"}, "target": {"column": "band_gap"}}


def test_toml_round_trip_with_every_default(tmp_path):
    config = RunConfig.of(
        VALUES
        | {
            "model": {"name": "mlp", "hidden": [8, 4], "dropout": 0.1},
            "augmentation": {"names": ["invert"], "copies": 3},
        }
    )
    (tmp_path / "run.toml").write_text(config.to_toml())
    assert RunConfig.read(tmp_path / "run.toml") == config
    assert "weight_decay" in config.to_toml()


def test_flags_win_over_the_file(tmp_path):
    (tmp_path / "run.toml").write_text(
        '[data]\ndataset = "a.parquet"\n[target]\ncolumn = "x"\n[training]\nepochs = 7\n'
    )
    config = RunConfig.read(tmp_path / "run.toml", {"training": {"epochs": 9}})
    assert config.training.epochs == 9
    assert config.columns == ("x",)


def test_another_model_does_not_inherit_parameters():
    file = {"model": {"name": "mlp", "hidden": [8]}}
    assert merge(file, {"model": {"name": "cnn1d"}}) == {"model": {"name": "cnn1d"}}
    assert merge(file, {"model": {"dropout": 0.1}})["model"] == {
        "name": "mlp",
        "hidden": [8],
        "dropout": 0.1,
    }


SEVERAL = {
    "data": {"dataset": "a.parquet"},
    "target": [{"column": "gap", "zero": "classifier"}, {"column": "metal", "kind": "class"}],
    "inputs": {"runs": ["runs/one"], "folds": 0},
}


def test_several_targets_are_several_tables(tmp_path):
    config = RunConfig.of(SEVERAL)
    assert config.columns == ("gap", "metal")
    text = config.to_toml()
    assert text.count("[[target]]") == 2
    (tmp_path / "run.toml").write_text(text)
    assert RunConfig.read(tmp_path / "run.toml") == config
    assert "[target]" in RunConfig.of(VALUES).to_toml()


def test_a_table_over_several_changes_each():
    merged = merge(SEVERAL, {"target": {"weight": 0.5}})
    assert [target.weight for target in RunConfig.of(merged).targets] == [0.5, 0.5]
    assert "weight" not in SEVERAL["target"][0]
    replaced = merge(SEVERAL, {"target": [{"column": "x"}]})
    assert RunConfig.of(replaced).columns == ("x",)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"trainin": {}}, "unknown key 'trainin'; did you mean 'training'"),
        ({"training": {"epoch": 3}}, "'training.epoch'; did you mean 'epochs'"),
        ({"training": {"loss": "l2"}}, "'training.loss' is 'l2'; did you mean 'l1'"),
        ({"training": {"epochs": 0}}, "'training.epochs'.*got 0"),
        ({"training": {"learning_rate": "fast"}}, "'training.learning_rate'.*got 'fast'"),
        ({"target": {}}, "'target.column' is missing"),
        ({"target": []}, "'target' is missing"),
        ({"target": [{"column": "a"}, {}]}, "'target.1.column' is missing"),
        ({"target": [{"column": "a"}, {"column": "a"}]}, "target a is there twice"),
        (
            {"target": [{"column": "a", "transfrom": 1}]},
            "'target.transfrom'; did you mean 'transfo",
        ),
        ({"target": {"column": "a", "kind": "clas"}}, "'target.kind' is 'clas'; did you mean 'cl"),
        ({"target": {"column": "a", "weight": 0}}, "'target.weight'.*greater than 0"),
        (
            {"target": {"column": "a", "kind": "class", "extensive": True}},
            "'a' is a class, which has no transform",
        ),
        ({"inputs": {"folds": 1}}, "folds is 1"),
        ({"data": {"dataset": "a", "split": "s", "validation": "v"}}, "validation and split"),
        ({"data": {"dataset": "a", "test": "t"}}, "test dataset needs a validation"),
        ({"data": {"dataset": "a", "fractions": [0.5, 0.2, 0.2]}}, "sum to 1"),
        ({"training": {"weight_decay": math.inf}}, "'training.weight_decay'.*finite"),
        ({"machine": {"checkpoint_seconds": math.inf}}, "checkpoint_seconds'.*finite"),
        ({"model": {"name": "mlp", "dropout": math.nan}}, "'dropout' is nan: wanted finite"),
        ({"seed": 2**63}, "'seed'.*less than"),
        ({"seed": -1}, "'seed'.*greater"),
        ({"augmentation": {"copies": 4}}, "no names of augmentations"),
        ({"data": {"dataset": "a", "fractions": [1.0, 0.0, 0.0]}}, "sum to 1"),
    ],
)
def test_wrong_values_are_named(changes, says):
    with pytest.raises(ConfigError, match=says):
        RunConfig.of(VALUES | changes)


def test_files_that_are_no_configuration(tmp_path):
    with pytest.raises(ConfigError, match="no configuration"):
        RunConfig.read(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("epochs = = 3")
    with pytest.raises(ConfigError, match="is no TOML file"):
        RunConfig.read(tmp_path / "bad.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="is no TOML file"):
        RunConfig.read(tmp_path / "bytes.toml")
