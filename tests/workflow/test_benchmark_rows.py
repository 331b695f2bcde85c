"""Rows of a benchmark: which crystals are trained on, which are tested."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.model_selection import KFold

from crystalcodec.data import Dataset
from crystalcodec.workflow.benchmark.config import (
    BenchmarkConfig,
)
from crystalcodec.workflow.benchmark.rows import load_rows, open_rows
from crystalcodec.workflow.targets import TargetError


def config_of(tmp_path, dataset, **more):
    dataset.write(tmp_path / "data.parquet")
    data = {"dataset": str(tmp_path / "data.parquet"), **more.pop("data", {"folds": 5})}
    return BenchmarkConfig.of({"data": data, "target": "energy", **more})


def test_folds_are_those_of_matbench(tmp_path, made_dataset):
    rows = load_rows(config_of(tmp_path, made_dataset(103)), tmp_path)
    wanted = KFold(n_splits=5, shuffle=True, random_state=18012019).split(range(103))
    for fold, (train, test) in zip(rows.folds, wanted, strict=True):
        assert fold.train.tolist() == train.tolist()
        assert fold.test.tolist() == test.tolist()


@pytest.mark.parametrize(("name", "mean"), [("jdft2d", 67.2851), ("phonons", 323.9822)])
def test_the_mean_has_the_published_error_in_matbench(shared_data, tmp_path, name, mean):
    # matbench.materialsproject.org, the dummy's mean of five folds.
    source = str(shared_data / "matbench" / f"{name}.json.gz")
    config = BenchmarkConfig.of({"data": {"dataset": source, "folds": 5}, "target": "y"})
    rows = load_rows(config, tmp_path)
    errors = [
        np.abs(rows.targets[f.test] - rows.targets[f.train].mean()).mean() for f in rows.folds
    ]
    assert np.mean(errors) == pytest.approx(mean, abs=1e-4)


def test_rows_survive_the_disk_and_lose_only_those_without_the_target(tmp_path, made_dataset):
    dataset = made_dataset(40)
    energy = dataset.numeric("energy").copy()
    energy[[3, 7]] = np.nan
    dataset = Dataset.from_crystals(
        dataset.crystals, properties={"energy": energy}, units={"energy": "eV"}
    )
    rows = load_rows(config_of(tmp_path, dataset), tmp_path)
    assert rows.unit == "eV"
    assert len(rows.targets) == 38
    assert rows.datasets[0]["n_without_target"] == 2
    rows.save(tmp_path / "rows")
    crystals, targets, folds = open_rows(tmp_path / "rows")
    assert crystals.content_hash == rows.crystals_hash
    assert targets.tolist() == rows.targets.tolist()
    assert [f.test.tolist() for f in folds] == [f.test.tolist() for f in rows.folds]


def test_several_datasets_are_joined_and_a_test_set_is_not_trained_on(tmp_path, made_dataset):
    for i in range(3):
        made_dataset(30 + i, i).write(tmp_path / f"{i}.parquet")
    paths = [str(tmp_path / f"{i}.parquet") for i in range(3)]
    config = BenchmarkConfig.of(
        {"data": {"dataset": paths[:2], "test": paths[2]}, "target": "energy"}
    )
    rows = load_rows(config, tmp_path)
    assert len(rows.folds) == 1
    assert rows.folds[0].train.tolist() == list(range(61))
    assert rows.folds[0].test.tolist() == list(range(61, 93))
    assert rows.targets[61:].tolist() == made_dataset(32, 2).numeric("energy").tolist()


def test_a_split_trains_on_all_but_its_test_part(tmp_path, made_dataset):
    from crystalcodec.data import split_dataset

    dataset = made_dataset(50).write(tmp_path / "data.parquet")
    fractions = {"train": 0.6, "validation": 0.2, "test": 0.2}
    split = split_dataset(dataset, fractions=fractions)
    split.write(tmp_path / "split.json")
    config = config_of(tmp_path, dataset, data={"split": str(tmp_path / "split.json")})
    (fold,) = load_rows(config, tmp_path).folds
    assert set(dataset.ids[fold.test]) == set(split.parts["test"])
    assert len(fold.train) + len(fold.test) == 50


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"data": {}}, "nothing says what is tested"),
        ({"data": {"folds": 45}}, "30 rows do not make 45 folds"),
        ({"data": {"folds": 2}}, "15 rows with 'energy' to train on"),
        ({"target": "gap"}, "no column 'gap'"),
    ],
)
def test_rows_that_cannot_be_divided_are_said(tmp_path, made_dataset, more, message):
    with pytest.raises(ValueError, match=message):
        load_rows(config_of(tmp_path, made_dataset(30), **more), tmp_path)


def test_a_target_that_is_the_same_everywhere_is_refused(tmp_path, made_dataset):
    dataset = made_dataset(30, flat=np.ones(30))
    with pytest.raises(TargetError, match="the same in all training rows"):
        load_rows(config_of(tmp_path, dataset, target="flat"), tmp_path)
