"""Several targets in one run: missing values, classes, zeros, extensive columns, and its files."""

from __future__ import annotations

import csv
import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from crystalcodec.crystals import Crystals
from crystalcodec.data import DatasetError
from crystalcodec.failures import Failure
from crystalcodec.workflow import ConfigError, RunConfig, compare, evaluate, predict, train
from crystalcodec.workflow.config import merge
from crystalcodec.workflow.prediction import Predictions, with_unread
from crystalcodec.workflow.targets import TargetError
from crystalcodec.workflow.training import train_seeds

TARGETS = [
    {"column": "energy"},
    {"column": "gap", "zero": "classifier"},
    {"column": "metal", "kind": "class"},
    {"column": "rare", "transform": "asinh"},
    {"column": "total", "extensive": True},
]


def with_columns(make, n, seed):
    """The made dataset with columns of every kind that follow from the energy."""
    dataset = make(n, seed)
    energy = np.asarray(dataset.properties["energy"])
    rare = np.where(np.arange(n) % 3 == 0, np.sinh(2 * energy), np.nan)
    gap = np.where(energy > 1.2, energy, 0.0)
    columns = {"gap": gap, "metal": energy <= 1.2, "rare": rare, "total": 2 * energy}
    return make(n, seed, **columns)


@pytest.fixture(scope="module")
def joint(tmp_path_factory, made_dataset):
    """A finished run of five targets."""
    folder = tmp_path_factory.mktemp("joint")
    with_columns(made_dataset, 300, 0).write(folder / "train.parquet")
    with_columns(made_dataset, 90, 1).write(folder / "validation.parquet")
    config = RunConfig.of(
        {
            "data": {
                "dataset": str(folder / "train.parquet"),
                "validation": str(folder / "validation.parquet"),
            },
            "target": TARGETS,
            "representation": {"name": "ircr", "max_sites": 4},
            "model": {"name": "mlp", "hidden": [32, 16]},
            "training": {"epochs": 30, "batch_size": 32, "learning_rate": 0.01},
            "machine": {"device": "cpu"},
        }
    )
    return train(config, folder / "run", command=["crystalcodec", "train"])


def metrics_of(run):
    return json.loads((run.folder / "metrics.json").read_text())


def test_every_target_is_learnt(joint):
    metrics = metrics_of(joint)
    assert metrics["targets"] == ["energy", "gap", "metal", "rare", "total"]
    assert metrics["units"] == ["eV", "", "probability", "", ""]
    found = metrics["validation"]["targets"]
    for name in ("energy", "gap", "total"):
        assert found[name]["n"] == 90
        assert found[name]["r2"] > 0.9
    assert found["rare"]["n"] == 30
    assert metrics["train"]["targets"]["rare"]["n"] == 100
    assert found["rare"]["r2"] > 0.5
    assert found["metal"]["roc_auc"] > 0.95
    assert found["gap"]["nonzero"]["roc_auc"] > 0.95
    # The value of two sites is that of one, twice.
    assert found["total"]["mae"] < 4 * found["energy"]["mae"]
    history = json.loads((joint.folder / "history.json").read_text())
    assert history[-1]["validation_relative_error"] < 0.3 < history[0]["validation_relative_error"]
    assert history[-1]["validation_mae_energy"] == pytest.approx(found["energy"]["mae"])


def test_the_threshold_is_in_the_record_and_is_used(joint, made_dataset):
    record = joint.record["targets"][1]
    made = predict(joint, made_dataset(200, 7).crystals)
    chances = made.probabilities["gap"]
    assert list(made.probabilities) == ["gap"]
    assert ((made.of("gap") == 0) == (chances < record["threshold"])).all()
    assert 0 < (made.of("gap") == 0).sum() < 200
    assert ((made.of("metal") >= 0) & (made.of("metal") <= 1)).all()


def test_tables_have_columns_of_each_target(joint, made_dataset, tmp_path):
    crystals = made_dataset(3, 3).crystals
    mixed = type(crystals).concatenate([crystals[:2], crystals[2:].supercell(2)])
    made = predict(joint, mixed, ids=["a", "b", "c"])
    for name in ("table.csv", "table.json", "table.parquet"):
        made.write(tmp_path / name)
    rows = made.rows()
    heads = list(rows[0])
    wanted = ["source", "id", "formula", "energy", "energy_unit"]
    wanted += ["gap", "gap_probability", "gap_unit", "metal", "metal_unit"]
    wanted += ["rare", "rare_unit", "total", "total_unit", "reason", "detail"]
    assert [name for name in heads if name in wanted] == wanted
    assert json.loads((tmp_path / "table.json").read_text()) == rows
    assert pq.read_table(tmp_path / "table.parquet").to_pylist() == rows
    with (tmp_path / "table.csv").open() as file:
        assert csv.DictReader(file).fieldnames == heads
    assert rows[2]["reason"] == "too many sites"
    assert [rows[2][name] for name in ("energy", "gap", "gap_probability", "total")] == [None] * 4
    assert rows[0]["metal_unit"] == "probability"


def test_optional_columns_stand_beside_their_target(tmp_path):
    table = np.array([[1.0, 2.0], [np.nan, np.nan]])
    made = Predictions(
        ("a", "b"),
        ("eV", ""),
        table,
        (Failure(1, "too many sites", "25 sites"),),
        ("x", "y"),
        ("1.cif", "2.cif"),
        ("NaCl", "MgO"),
        probabilities={"b": np.array([0.123456789, np.nan])},
        lower=table - 1,
        upper=table + 1,
        spread=table / 10,
        distance=np.array([0.5, np.nan]),
        warnings=("no Na in training", ""),
        target_warnings={"b": ("few have Na (3)", "")},
    )
    made.write(tmp_path / "table.csv")
    lines = (tmp_path / "table.csv").read_text().splitlines()
    names = "source,id,formula,a,a_lower,a_upper,a_spread,a_unit,"
    names += "b,b_lower,b_upper,b_spread,b_probability,b_unit,distance,warning,reason,detail"
    assert lines[0] == names
    assert lines[1] == (
        "1.cif,x,NaCl,1.0,0.0,2.0,0.1,eV,2.0,1.0,3.0,0.2,0.1234568,,0.5,"
        "no Na in training; b: few have Na (3),,"
    )
    assert made.select(["a"]).all_warnings() == ["no Na in training", ""]
    assert made.select(["b"]).all_warnings()[0] == "no Na in training; b: few have Na (3)"
    assert lines[2] == "2.cif,y,MgO,,,,,eV,,,,,,,,,too many sites,25 sites"
    longer = with_unread(made, [Failure(0, "not readable", "", "3.cif")])
    assert len(longer) == 3
    assert longer.rows()[2]["reason"] == "not readable"
    assert longer.rows()[2]["source"] == "3.cif"
    assert longer.rows()[2]["warning"] == ""
    with pytest.raises(KeyError, match="there is a, b"):
        made.of("c")


def test_a_target_warns_of_elements_that_its_own_values_lack(made_dataset, tmp_path, values):
    dataset = made_dataset(200, 0)
    with_salt = (dataset.crystals.element_counts[:, [11, 17]] > 0).any(1)
    assert 30 < with_salt.sum() < 100
    rare = np.where(with_salt, np.nan, np.asarray(dataset.properties["energy"]))
    made_dataset(200, 0, rare=rare).write(tmp_path / "train.parquet")
    made_dataset(60, 1, rare=np.arange(60.0)).write(tmp_path / "validation.parquet")
    config = RunConfig.of({**values, "target": [{"column": "energy"}, {"column": "rare"}]})
    train(config, tmp_path / "run")
    salt = Crystals.single(4 * np.eye(3), [[0] * 3, [0.5] * 3], [11, 17])
    made = predict(tmp_path / "run", salt)
    told = "few training crystals with a value have Na (0), Cl (0)"
    assert made.target_warnings == {"rare": (told,)}
    assert f"rare: {told}" in made.rows()[0]["warning"]


def test_figures_of_a_dataset_and_beside_other_runs(joint, made_dataset, tmp_path, values):
    dataset = with_columns(made_dataset, 60, 4)
    found = evaluate(joint, dataset)["targets"]
    assert (found["energy"]["n"], found["rare"]["n"]) == (60, 20)
    plain = made_dataset(60, 4)
    with pytest.raises(DatasetError, match="no column 'gap'"):
        evaluate(joint, plain)
    table = compare([joint]).table()
    assert "ROC AUC" in table
    assert "energy (eV)" in table
    alone = train(RunConfig.of(values), tmp_path / "alone")
    both = compare([joint, alone])
    assert (both.target, both.unit) == ("energy", "eV")
    assert [row["name"] for row in both.rows] == ["run", "alone"]


def test_the_report_tells_each_target(joint):
    page = (joint.folder / "report.html").read_text()
    for name in ("energy", "gap", "metal", "rare", "total"):
        assert f"<h3>{name}</h3>" in page
    assert "balanced accuracy" in page
    # A learning curve, and a figure of each target for each part.
    assert page.count("<img") == 1 + 5 * 2


def test_a_crystal_counts_where_it_has_any_target(values, tmp_path, made_dataset):
    energy = np.asarray(made_dataset(200, 0).properties["energy"]).copy()
    energy[:50] = np.nan
    other = np.where(np.arange(200) < 20, np.nan, 1.0 + np.arange(200.0))
    made_dataset(200, 0, energy=energy, other=other).write(tmp_path / "train.parquet")
    made_dataset(60, 1, other=np.arange(60.0)).write(tmp_path / "validation.parquet")
    config = merge(values, {"training": {"epochs": 1}})
    config["target"] = [{"column": "energy"}, {"column": "other"}]
    run = train(RunConfig.of(config), tmp_path / "run")
    figures = metrics_of(run)["train"]
    assert figures["failures"] == {"missing target": 20}
    assert (figures["targets"]["energy"]["n"], figures["targets"]["other"]["n"]) == (150, 180)
    with (run.folder / "predictions.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "train"]
    assert len(rows) == 180
    assert rows[0]["energy"] == ""
    assert rows[0]["energy_prediction"]


def test_seeds_of_several_targets_are_one_row_each(values, tmp_path, made_dataset):
    for name, n in (("train", 60), ("validation", 30)):
        with_columns(made_dataset, n, n).write(tmp_path / f"{name}.parquet")
    config = merge(values, {"training": {"epochs": 1}}) | {"target": TARGETS[:3]}
    runs = train_seeds(RunConfig.of(config), tmp_path / "seeds", [0, 1])
    rows = compare(runs).rows
    assert [(row["target"], row["seeds"]) for row in rows] == [
        ("energy", [0, 1]),
        ("gap", [0, 1]),
        ("metal", [0, 1]),
    ]
    stored = [metrics_of(run)["validation"]["targets"]["metal"]["roc_auc"] for run in runs]
    assert rows[2]["splits"]["validation"]["roc_auc"]["values"] == stored


def test_percentage_errors_as_the_loss(values, tmp_path, made_dataset):
    for name, n, seed in (("train", 200, 0), ("validation", 60, 1)):
        size = np.asarray(made_dataset(n, seed).properties["energy"]) + 2.0
        size[:5] = 0.0
        made_dataset(n, seed, size=size).write(tmp_path / f"{name}.parquet")
    said = []
    config = merge(
        values, {"target": {"column": "size"}, "training": {"loss": "mape", "epochs": 20}}
    )
    run = train(RunConfig.of(config), tmp_path / "run", say=said.append)
    assert "train: 5 crystals whose size is 0 are in no loss" in said
    metrics = metrics_of(run)
    assert metrics["train"]["n_zero_targets"] == 5
    assert metrics["validation"]["mape"] < 10
    history = json.loads((run.folder / "history.json").read_text())
    # The loss is a fraction, and no percentage.
    assert history[-1]["loss"] < 0.2


@pytest.mark.parametrize(
    ("target", "error", "says"),
    [
        ({"column": "empty"}, TargetError, "'empty' is empty in all"),
        ({"column": "few"}, TargetError, "'few' has 3 values"),
        ({"column": "same"}, TargetError, "'same': the target is 1 in all 200"),
        ({"column": "name"}, DatasetError, "holds text"),
        ({"column": "unseen"}, TargetError, "no validation crystal is left"),
        (
            [{"column": "energy"}, {"column": "unseen"}],
            TargetError,
            "'unseen' is empty in all validation crystals",
        ),
        ({"column": "energy", "kind": "class"}, TargetError, "among its values"),
        ([{"column": "energy"}, {"column": "few"}], TargetError, "'few' has 3 values"),
        ({"column": "energy", "zero": "classifier"}, TargetError, "is 0 in 0 of 200"),
    ],
)
def test_columns_that_cannot_be_learnt_leave_no_folder(
    values, tmp_path, made_dataset, target, error, says
):
    for name, n in (("train", 200), ("validation", 60)):
        columns = {
            "empty": np.full(n, np.nan),
            "few": np.where(np.arange(n) < 3, np.arange(n), np.nan),
            "same": np.ones(n),
            "name": ["x"] * n,
            "unseen": np.arange(n) if name == "train" else np.full(n, np.nan),
        }
        made_dataset(n, 0, **columns).write(tmp_path / f"{name}.parquet")
    with pytest.raises(error, match=says):
        train(RunConfig.of({**values, "target": target}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_another_weight_is_another_run(values, tmp_path):
    config = merge(values, {"training": {"epochs": 1}})
    train(RunConfig.of(config), tmp_path / "run")
    with pytest.raises(ValueError, match=r"another run \(target.weight: 1.0 there, 2.0 wanted\)"):
        train(RunConfig.of(merge(config, {"target": {"weight": 2}})), tmp_path / "run")
    assert issubclass(ConfigError, ValueError)


@pytest.mark.parametrize("part", ["validation", "test"])
def test_a_class_of_other_values_in_any_part_leaves_no_folder(values, tmp_path, made_dataset, part):
    for name, n in (("train", 60), ("validation", 30), ("test", 30)):
        metal = np.arange(n) % 2 * (2.0 if name == part else 1.0)
        made_dataset(n, 0, metal=metal).write(tmp_path / f"{name}.parquet")
    data = {"test": str(tmp_path / "test.parquet")}
    config = {**merge(values, {"data": data}), "target": {"column": "metal", "kind": "class"}}
    with pytest.raises(TargetError, match=f"'metal' is a class, and 2 among its {part} values"):
        train(RunConfig.of(config), tmp_path / "run")
    assert not (tmp_path / "run").exists()
