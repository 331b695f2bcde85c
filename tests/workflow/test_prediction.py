"""Predictions for crystals and files: a value or a reason for each."""

from __future__ import annotations

import csv
import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from crystalcodec.crystals import Crystals
from crystalcodec.data import Dataset
from crystalcodec.io import write
from crystalcodec.workflow import RunConfig, predict, predict_files, train
from crystalcodec.workflow.prediction import PredictionError


def test_predictions_are_those_of_the_training(run, made_dataset):
    with (run.folder / "predictions.csv").open() as file:
        written = {row["id"]: float(row["prediction"]) for row in csv.DictReader(file)}
    dataset = made_dataset(400, 0)
    made = predict(run.folder, dataset.crystals, ids=dataset.ids, copies=0)
    plain = np.array([written[i] for i in dataset.ids])
    # Other draws of the augmented copies; the same model.
    assert np.abs(made.of("energy") - plain).mean() < 0.05
    assert (made.targets, made.units) == (("energy",), ("eV",))
    errors = np.abs(made.of("energy") - dataset.properties["energy"])
    assert errors.mean() < 0.1


def test_a_batch_equals_its_single_crystals(run, made_dataset):
    crystals = made_dataset(10, 3).crystals
    together = predict(run, crystals, copies=0).values
    alone = [predict(run, crystal, copies=0).values[0] for crystal in crystals]
    np.testing.assert_allclose(together, alone, rtol=1e-5)


def test_left_handed_cells_are_the_same_crystals(run, made_dataset):
    crystals = made_dataset(5, 3).crystals
    mirrored = Crystals(
        crystals.lattices * -1, 1 - crystals.frac_coords, crystals.numbers, crystals.offsets
    )
    values = predict(run, crystals, copies=0).values
    np.testing.assert_allclose(predict(run, mirrored, copies=0).values, values, rtol=1e-5)


def test_a_crystal_that_does_not_fit_has_a_reason_and_no_number(run, made_dataset):
    crystals = made_dataset(3, 3).crystals
    mixed = Crystals.concatenate([crystals[:1], crystals[1:2].supercell(2), crystals[2:]])
    made = predict(run, mixed)
    assert np.isnan(made.values[:, 0]).tolist() == [False, True, False]
    rows = made.rows()
    assert [row["reason"] for row in rows] == ["", "too many sites", ""]
    assert rows[1]["energy"] is None
    assert "at most 4 fit" in rows[1]["detail"]
    assert len(predict(run, Crystals.empty())) == 0
    with pytest.raises(PredictionError, match="1 ids for 3 crystals"):
        predict(run, mixed, ids=["a"])


def test_a_crystal_whose_space_group_is_unknown_takes_no_other_value(
    values, tmp_path, made_dataset
):
    doubled = Crystals.single(np.eye(3) * 4, [[0, 0, 0], [0, 0, 0.0001]], [1, 1])
    dataset = made_dataset(40, 2)
    spoilt = Dataset.from_crystals(
        Crystals.concatenate([doubled, dataset.crystals]),
        properties={"energy": [0.0, *dataset.properties["energy"]]},
    )
    spoilt.write(tmp_path / "train.parquet")
    spoilt.write(tmp_path / "validation.parquet")
    values["representation"] = {"name": "crystens", "max_sites": 4}
    values["training"]["epochs"] = 1
    run = train(RunConfig.of(values), tmp_path / "run")
    assert run.record["data"]["validation"]["failures"] == {"unknown space group": 1}
    crystals = dataset.crystals[:2]
    big = crystals[:1].supercell(2)
    mixed = Crystals.concatenate([crystals[:1], doubled, big, crystals[1:]])
    made = predict(run, mixed)
    expected = predict(run, crystals).values[:, 0]
    np.testing.assert_allclose(made.values[[0, 3], 0], expected, rtol=1e-5)
    assert np.isnan(made.values[[1, 2], 0]).all()
    reasons = [row["reason"] for row in made.rows()]
    assert reasons == ["", "unknown space group", "too many sites", ""]
    assert [row["reason"] for row in predict(run, doubled).rows()] == ["unknown space group"]


def test_copies_need_augmentation(values, tmp_path, made_dataset):
    run = train(RunConfig.of(values), tmp_path / "run")
    with pytest.raises(PredictionError, match="trained without augmentation"):
        predict(run, made_dataset(2).crystals, copies=3)


@pytest.fixture
def files(tmp_path, made_dataset):
    """A folder of three CIFs, one of them too big, and a broken one."""
    crystals = made_dataset(3, 3).crystals
    folder = tmp_path / "files"
    folder.mkdir()
    for i in range(2):
        write(crystals[i], folder / f"{i}.cif")
    write(crystals[2].supercell(2), folder / "2.cif")
    (folder / "3.cif").write_text("data_broken\n_cell_length_a never\n")
    return folder


def test_files_that_cannot_be_read_are_rows_too(run, files):
    made = predict_files(run, [files])
    rows = made.rows()
    assert len(rows) == 4
    assert [row["energy"] is None for row in rows] == [False, False, True, True]
    assert rows[2]["reason"] == "too many sites"
    assert rows[3]["source"].endswith("3.cif")
    assert rows[3]["reason"]


def test_tables_in_three_formats(run, files, tmp_path):
    made = predict_files(run, [files])
    for name in ("table.csv", "table.json", "table.parquet"):
        made.write(tmp_path / name)
    with (tmp_path / "table.csv").open() as file:
        from_csv = list(csv.DictReader(file))
    from_json = json.loads((tmp_path / "table.json").read_text())
    from_parquet = pq.read_table(tmp_path / "table.parquet").to_pylist()
    assert from_json == from_parquet == made.rows()
    assert [float(row["energy"] or "nan") for row in from_csv] == pytest.approx(
        [row["energy"] if row["energy"] is not None else np.nan for row in from_json], nan_ok=True
    )
    with pytest.raises(PredictionError, match=r"\.csv, \.json or \.parquet"):
        made.write(tmp_path / "table.xlsx")
