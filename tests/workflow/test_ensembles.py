"""Seeds and snapshots as one model, and what comes with its predictions."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch

from crystalcodec.crystals import Crystals
from crystalcodec.evaluation.intervals import IntervalError
from crystalcodec.workflow import (
    RunConfig,
    RunError,
    evaluate,
    open_run,
    predict,
    prediction,
    train,
)
from crystalcodec.workflow.calibration import Calibration, open_held_out
from crystalcodec.workflow.checkpoints import load_weights
from crystalcodec.workflow.config import merge
from crystalcodec.workflow.ensembles import averaged, open_ensemble, seed_folders
from crystalcodec.workflow.prediction import Encodings, answers_of
from crystalcodec.workflow.results import judge
from crystalcodec.workflow.splits import label
from crystalcodec.workflow.training import train_seeds
from crystalcodec.workflow.trust import Trust


@pytest.fixture(scope="module")
def seeds(tmp_path_factory, made_dataset):
    """A folder of three seeds, each of two snapshots."""
    folder = tmp_path_factory.mktemp("seeds")
    made_dataset(400, 0).write(folder / "data.parquet")
    config = RunConfig.of(
        {
            "data": {"dataset": str(folder / "data.parquet"), "fractions": [0.6, 0.2, 0.2]},
            "target": {"column": "energy"},
            "representation": {"name": "ircr", "max_sites": 4},
            "model": {"name": "mlp", "hidden": [32, 16]},
            "training": {"epochs": 6, "batch_size": 32, "snapshots": 2},
            "machine": {"device": "cpu"},
        }
    )
    train_seeds(config, folder / "seeds", [0, 1, 2])
    return folder / "seeds"


def of_numbers(crystals, *numbers):
    return Crystals(crystals.lattices, crystals.frac_coords, np.ravel(numbers), crystals.offsets)


def test_mean_and_spread_by_hand():
    one, other = np.array([[1.0, np.nan]]), np.array([[4.0, 2.0]])
    mean, spread = averaged([one, other])
    np.testing.assert_allclose(mean, [[2.5, np.nan]])
    np.testing.assert_allclose(spread, [[3 / np.sqrt(2), np.nan]])
    alone, none = averaged([one])
    assert alone is one
    assert none is None


def test_a_folder_of_seeds_is_the_mean_of_its_runs(seeds, made_dataset):
    crystals = made_dataset(9, 4).crystals
    assert [path.name for path in seed_folders(seeds)] == ["seed-0", "seed-1", "seed-2"]
    together = predict(seeds, crystals)
    each = np.stack([predict(path, crystals).values for path in seed_folders(seeds)])
    np.testing.assert_allclose(together.values, each.mean(0))
    np.testing.assert_allclose(together.spread, each.std(0, ddof=1))
    assert (together.lower < together.values).all()
    assert (together.values < together.upper).all()
    assert together.coverage == 0.9


def test_crystals_are_encoded_once_for_all_networks(seeds, made_dataset, monkeypatch):
    crystals = made_dataset(9, 4).crystals
    representation = open_ensemble(seeds).members[0].representation
    encode, calls = type(representation).encode, []

    def counted(self, some):
        calls.append(len(some))
        return encode(self, some)

    monkeypatch.setattr(type(representation), "encode", counted)
    once = predict(seeds, crystals)
    assert calls == [9]
    # What is too large to be kept is encoded for each, and is the same.
    again = predict(seeds, crystals, encodings=Encodings(most=0))
    assert calls == [9] * 4
    np.testing.assert_array_equal(once.values, again.values)
    # Each part of many crystals has arrays of its own.
    monkeypatch.setattr(prediction, "_DRAWN", 4)
    calls.clear()
    in_parts = predict(seeds, crystals)
    assert calls == [4, 4, 1]
    np.testing.assert_allclose(in_parts.values, once.values, rtol=1e-5)


def test_a_run_with_snapshots_is_the_mean_of_them(seeds, made_dataset):
    crystals = made_dataset(9, 4).crystals
    run = open_run(seeds / "seed-0")
    (first,) = run.snapshots
    kept, _ = load_weights(run.folder / "snapshot-1.safetensors")
    assert all(torch.equal(tensor, kept[name]) for name, tensor in first.state_dict().items())
    from dataclasses import replace

    each = np.stack(
        [
            answers_of(replace(run, predictor=network, snapshots=()), crystals).values
            for network in run.networks
        ]
    )
    made = predict(run, crystals)
    # The transform is linear: the mean of the outputs is the mean of the values.
    np.testing.assert_allclose(made.values, each.mean(0))
    np.testing.assert_allclose(made.spread, each.std(0, ddof=1))
    assert np.abs(each[0] - each[1]).max() > 1e-3


def test_figures_of_a_run_are_those_of_what_it_predicts(seeds, made_dataset):
    run = open_run(seeds / "seed-0")
    metrics = json.loads((run.folder / "metrics.json").read_text())
    held_out = open_held_out(run.folder / "held_out.safetensors")
    for part in ("validation", "test"):
        error = np.abs(held_out[part].values - held_out[part].targets)
        assert error.mean() == pytest.approx(metrics[part]["mae"])
    dataset = made_dataset(50, 7)
    part = label(dataset, ["energy"], run.representation, "given")
    np.testing.assert_array_equal(
        judge(run, part).values, predict(run, dataset.crystals.right_handed()).values
    )


def test_a_missing_or_changed_snapshot_is_refused(seeds, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(seeds / "seed-0", folder)
    path = folder / "snapshot-1.safetensors"
    shutil.copyfile(seeds / "seed-1" / path.name, path)
    with pytest.raises(RunError, match=r"snapshot-1.safetensors is damaged or of another run"):
        open_run(folder)
    path.unlink()
    with pytest.raises(RunError, match="is missing"):
        open_run(folder)


@pytest.mark.parametrize("name", ["applicability.safetensors", "calibration.json"])
def test_changed_files_of_trust_are_refused(seeds, tmp_path, name, made_dataset):
    shutil.copytree(seeds / "seed-0", tmp_path / "copy")
    (tmp_path / "copy" / name).write_bytes(b"{}")
    with pytest.raises(RunError, match="is damaged or of another run"):
        predict(tmp_path / "copy", made_dataset(2).crystals)


def test_members_must_predict_the_same(seeds, tmp_path):
    shutil.copytree(seeds, tmp_path / "seeds")
    record = tmp_path / "seeds" / "seed-1" / "run.json"
    document = json.loads(record.read_text())
    document["targets"][0]["unit"] = "eV/atom"
    record.write_text(json.dumps(document))
    with pytest.raises(RunError, match=r"energy \(eV\) and .*seed-1 energy \(eV/atom\)"):
        open_ensemble(tmp_path / "seeds")
    with pytest.raises(RunError, match="no run folder"):
        open_ensemble(tmp_path)


def test_seeds_are_calibrated_on_their_mean_and_kept(seeds, tmp_path):
    model = open_ensemble(seeds)
    kept = Trust.open(model).calibration
    parts = [open_held_out(run.folder / "held_out.safetensors") for run in model.members]
    values = np.stack([part["validation"].values for part in parts])
    spread = values.std(0, ddof=1)[:, 0]
    errors = np.abs(values.mean(0) - parts[0]["validation"].targets)[:, 0]
    scores = np.sort(errors / (spread + np.median(spread)))
    np.testing.assert_allclose(kept.conformals["energy"].scores, scores, rtol=1e-6)
    document = json.loads((seeds / "calibration.json").read_text())
    assert (document["members"], document["checked_on"]) == (3, "test")
    # Of two of them there is no file: it is made anew.
    shutil.copytree(seeds, tmp_path / "two")
    shutil.rmtree(tmp_path / "two" / "seed-2")
    two = Trust.open(open_ensemble(tmp_path / "two")).calibration
    assert two.document["members"] == 2
    assert "seeds" not in two.document


def test_seeds_measured_on_other_crystals_have_no_interval(seeds, tmp_path, made_dataset):
    shutil.copytree(seeds, tmp_path / "seeds")
    config = open_run(seeds / "seed-1").config
    other = merge(config.values(), {"data": {"split_seed": 5}})
    shutil.rmtree(tmp_path / "seeds" / "seed-1")
    train(RunConfig.of(other), tmp_path / "seeds" / "seed-1")
    made = predict(tmp_path / "seeds", made_dataset(3).crystals)
    assert made.lower is None
    assert "no interval: the seeds were not all" in made.rows()[0]["warning"]
    assert np.isfinite(made.spread).all()
    assert np.isfinite(made.distance).all()


def test_intervals_of_a_run_hold_what_they_say(seeds, made_dataset):
    new = made_dataset(300, 11)
    made = predict(seeds, new.crystals, coverage=0.8)
    true = new.properties["energy"]
    inside = (made.lower[:, 0] <= true) & (true <= made.upper[:, 0])
    # 80 calibration rows of the same kind: 0.8, give or take four standard deviations of both.
    assert 0.6 < inside.mean() < 0.95
    wider = predict(seeds, new.crystals, coverage=0.95)
    assert (wider.upper >= made.upper).all()
    with pytest.raises(IntervalError, match="between 0 and 1"):
        predict(seeds, new.crystals, coverage=1)


def test_seeds_are_evaluated_as_one_with_their_coverage(seeds, made_dataset):
    new = made_dataset(300, 11)
    figures = evaluate(seeds, new)
    made = predict(seeds, new.crystals)
    true = new.properties["energy"]
    assert figures["mae"] == pytest.approx(np.abs(made.values[:, 0] - true).mean())
    inside = (made.lower[:, 0] <= true) & (true <= made.upper[:, 0])
    measured = figures["intervals"]["energy"]["0.9"]
    assert measured["inside"] == inside.mean()
    assert measured["groups"]["2 elements"]["n"] == measured["n"] == 300


def test_too_few_rows_for_a_coverage_are_said_in_the_row(seeds, made_dataset):
    made = predict(seeds, made_dataset(2).crystals, coverage=0.99)
    assert np.isnan(made.lower).all()
    rows = made.rows()
    assert rows[0]["energy_lower"] is None
    assert rows[0]["energy"] is not None
    assert "needs at least 99 validation crystals, the model has 80" in rows[0]["warning"]


def test_an_unseen_element_has_a_reason_and_no_number(seeds, made_dataset):
    crystals = of_numbers(made_dataset(2).crystals, [92, 8], [11, 17])
    made = predict(seeds, crystals)
    (failure,) = made.failures
    assert (failure.index, failure.reason) == (0, "element never in training")
    assert failure.detail.startswith("U: ")
    row = made.rows()[0]
    numbers = [value for name, value in row.items() if isinstance(value, float)]
    assert numbers == []
    assert row["warning"] == ""
    assert np.isfinite(made.values[1])
    allowed = predict(seeds, crystals, allow_unseen=True)
    assert allowed.failures == ()
    assert np.isfinite(allowed.values).all()
    assert "element never in training: U" in allowed.rows()[0]["warning"]
    np.testing.assert_allclose(allowed.values[1], made.values[1], rtol=1e-6)


def test_a_training_crystal_is_near_and_named(seeds, made_dataset):
    dataset = made_dataset(400, 0)
    made = predict(seeds, dataset.crystals, ids=dataset.ids, nearest=1)
    own = np.array([made.nearest[i] == made.ids[i] for i in range(400)])
    # The training part, as far as float16 tells neighbours apart.
    assert own.sum() > 200
    assert np.median(made.distance[own]) < np.median(made.distance[~own])
    stretched = Crystals(
        dataset.crystals.lattices * 3,
        dataset.crystals.frac_coords,
        dataset.crystals.numbers,
        dataset.crystals.offsets,
    )
    far = predict(seeds, stretched)
    assert np.median(far.distance) > 2 * np.median(made.distance)
    assert (far.percentile == 100).mean() > 0.5
    assert "further from the training crystals than 99 % of validation" in far.warnings[0]


def test_a_run_of_before_predicts_without_these_columns(seeds, tmp_path, made_dataset):
    folder = tmp_path / "old"
    shutil.copytree(seeds / "seed-0", folder)
    record = json.loads((folder / "run.json").read_text())
    extra = ("applicability.safetensors", "calibration.safetensors", "calibration.json")
    for name in (*extra, "held_out.safetensors"):
        del record["files"][name]
        (folder / name).unlink()
    (folder / "run.json").write_text(json.dumps(record))
    crystals = of_numbers(made_dataset(2).crystals, [92, 8], [11, 17])
    made = predict(folder, crystals)
    assert made.failures == ()
    assert made.lower is made.distance is made.warnings is None
    assert list(made.rows()[0]) == [
        "source",
        "id",
        "formula",
        "energy",
        "energy_spread",
        "energy_unit",
        "reason",
        "detail",
    ]


def test_the_report_tells_how_sure_it_is(seeds):
    page = (seeds / "seed-0" / "report.html").read_text()
    assert "How sure it is" in page
    document = Calibration.open(seeds / "seed-0").document
    inside = document["targets"]["energy"]["coverage"]["0.9"]["inside"]
    assert f"{100 * inside:.1f} %" in page
    assert "distance, quarter 4 of 4" in page


def test_several_targets_and_a_class(tmp_path, made_dataset, monkeypatch):
    monkeypatch.setattr("crystalcodec.workflow.precision.computes_bfloat16", lambda: True)
    rng = np.random.default_rng(0)
    numbers = made_dataset(200).properties["energy"]
    gap = np.maximum(numbers - np.median(numbers), 0.0)
    gap[rng.random(200) < 0.2] = np.nan
    made_dataset(200, gap=gap, metal=numbers < np.median(numbers)).write(tmp_path / "data.parquet")
    config = RunConfig.of(
        {
            "data": {"dataset": str(tmp_path / "data.parquet"), "fractions": [0.6, 0.4, 0.0]},
            "target": [
                {"column": "metal", "kind": "class"},
                {"column": "gap", "zero": "classifier"},
                {"column": "energy"},
            ],
            "representation": {"name": "crystal_graph"},
            "model": {"name": "cgcnn", "width": 8, "hidden": 8, "n_convolutions": 1},
            "training": {"epochs": 2, "batch_size": 32, "snapshots": 2},
            "machine": {"device": "cpu", "precision": "bf16-mixed"},
        }
    )
    run = train(config, tmp_path / "run")
    made = predict(run, made_dataset(6, 3).crystals)
    assert np.isnan(made.lower[:, 0]).all()
    assert np.isfinite(made.lower[:, 1:]).all()
    assert made.lower[:, 1].min() >= 0
    assert np.isfinite(made.spread).all()
    document = Calibration.open(run.folder).document
    assert list(document["targets"]) == ["gap", "energy"]
    assert document["checked_on"] == "validation, 10 folds"
    assert document["targets"]["gap"]["n"] < document["targets"]["energy"]["n"] == 80
    assert document["targets"]["gap"]["lower_limit"] == 0
    row = made.rows()[0]
    assert row["metal_lower"] is None
    # Nothing is wrong with the crystal; of gaps there are few in so small a set.
    assert made.warnings[0] == ""
    assert set(made.target_warnings) == {"gap"}
    assert row["warning"] == f"gap: {made.target_warnings['gap'][0]}"


def test_a_class_alone_has_a_distance_and_no_interval(values, tmp_path, made_dataset):
    for name, seed in (("train", 0), ("validation", 1)):
        energy = made_dataset(60, seed).properties["energy"]
        metal = energy < np.median(energy)
        made_dataset(60, seed, metal=metal).write(tmp_path / f"{name}.parquet")
    target = {"column": "metal", "kind": "class"}
    run = train(RunConfig.of({**values, "target": target}), tmp_path / "run")
    made = predict(run, made_dataset(3).crystals)
    assert made.lower is None
    assert np.isfinite(made.distance).all()
    assert not (run.folder / "calibration.json").exists()
    assert "How sure it is" not in (run.folder / "report.html").read_text()


def test_a_run_with_snapshots_gives_an_input(values, tmp_path, made_dataset):
    for name, seed in (("train", 0), ("validation", 1)):
        dataset = made_dataset(100, seed)
        made_dataset(100, seed, double=2 * dataset.properties["energy"]).write(
            tmp_path / f"{name}.parquet"
        )
    given = merge(values, {"training": {"snapshots": 2}})
    train(RunConfig.of(given), tmp_path / "given")
    inputs = {"runs": [str(tmp_path / "given")], "folds": 0, "width": 4}
    taking = merge(values, {"target": {"column": "double"}, "inputs": inputs})
    run = train(RunConfig.of(taking), tmp_path / "taking")
    crystals = made_dataset(4, 3).crystals
    before = predict(run, crystals).values
    shutil.rmtree(tmp_path / "given")
    again = open_run(run.folder)
    assert len(again.inputs[0].snapshots) == 1
    np.testing.assert_array_equal(predict(again, crystals).values, before)
