"""What a benchmark is asked for, and what its rows come to: means and spreads."""

from __future__ import annotations

import numpy as np
import pytest

from crystalcodec.workflow.benchmark.config import (
    BenchmarkConfig,
    parse_names,
)
from crystalcodec.workflow.benchmark.summary import summarise
from crystalcodec.workflow.config import ConfigError


@pytest.mark.parametrize(
    ("text", "entries"),
    [
        ("ircr", [{"name": "ircr"}]),
        ("ircr,ftcp:max_sites=40", [{"name": "ircr"}, {"name": "ftcp", "max_sites": 40}]),
        ("a:x=1,y=[2, 3],b", [{"name": "a", "x": 1, "y": [2, 3]}, {"name": "b"}]),
        ("a:kind=text,on=true", [{"name": "a", "kind": "text", "on": True}]),
    ],
)
def test_names_with_parameters(text, entries):
    assert parse_names(text) == entries


@pytest.mark.parametrize("text", ["x=1", "a:x", "a:=3"])
def test_parameters_without_name_or_value_are_refused(text):
    with pytest.raises(ConfigError, match="wanted NAME"):
        parse_names(text)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"representations": "icrc"}, "no representation 'icrc'; did you mean 'ircr'"),
        ({"models": 5}, "5: wanted names, or a table of them"),
        ({"models": [5]}, "wanted names, or a table of them"),
        ({"models": "rigde"}, "no model 'rigde'; did you mean 'ridge'"),
        ({"sizes": [0]}, "greater than or equal to 1"),
        ({"seeds": []}, "at least one size and one seed"),
        ({"data": {"dataset": "a", "folds": 5, "test": "b"}}, "only one says what is tested"),
        ({"colour": 1}, "unknown key 'colour'"),
        ({"limits": {"cell_second": 1}}, "unknown key 'limits.cell_second'"),
    ],
)
def test_wrong_configurations_are_said(values, message):
    with pytest.raises(ConfigError, match=message):
        BenchmarkConfig.of({"data": {"dataset": "a"}, "target": "y", **values})


def test_all_is_every_registered_one_and_named_ones_keep_their_parameters():
    from crystalcodec.registry import REPRESENTATIONS

    config = BenchmarkConfig.of(
        {
            "data": {"dataset": "a"},
            "target": "y",
            "representations": ["all", "ircr:max_sites=40", {"name": "ircr"}],
            "models": {"mlp": {"seeds": [0], "hidden": [8]}, "ridge": {}},
        }
    )
    chosen = config.chosen_representations()
    assert list(chosen)[: len(REPRESENTATIONS)] == list(REPRESENTATIONS)
    assert chosen["ircr (max_sites=40)"] == {"name": "ircr", "max_sites": 40}
    assert len(chosen) == len(REPRESENTATIONS) + 1
    assert list(config.chosen_models()) == ["ridge", "mlp"]  # the cheap ones first
    assert config.chosen_models()["mlp"].settings == {"hidden": [8]}


def made_cell(fold, seed, mae, label="a", status="finished"):
    return {
        "label": label,
        "status": status,
        "identity": {"model": "ridge", "size": "all", "fold": fold, "seed": seed},
        "n_train": 80 + fold,
        **dict.fromkeys(("rmse", "r2", "mae_held"), mae),
        **dict.fromkeys(("search_seconds", "train_seconds", "predict_seconds"), 1.0),
        **dict.fromkeys(("peak_memory", "n_train_not_held", "n_test_not_held"), 0),
        "mae": mae,
    }


def test_spread_is_over_seeds_of_one_fold():
    (row,) = summarise([made_cell(0, seed, mae) for seed, mae in enumerate((1, 2, 6))], {}, 1)
    assert row["mae"] == 3
    assert row["mae_std"] == pytest.approx(np.sqrt(7))
    assert row["complete"]


def test_spread_is_over_folds_each_the_mean_of_its_seeds():
    cells = [made_cell(0, 0, 1), made_cell(0, 1, 3), made_cell(1, 0, 6)]
    (row,) = summarise(cells, {}, 2)
    assert row["mae"] == 4  # of 2 and 6, not of 1, 3 and 6
    assert row["mae_std"] == pytest.approx(np.sqrt(8))
    assert (row["n_cells"], row["n_finished"], row["n_train"]) == (3, 3, 81)


def test_a_row_that_lacks_a_fold_is_not_complete():
    (row,) = summarise([made_cell(0, 0, 1), made_cell(1, 0, 9, status="failed")], {}, 2)
    assert not row["complete"]
    assert (row["n_cells"], row["n_finished"]) == (2, 1)
