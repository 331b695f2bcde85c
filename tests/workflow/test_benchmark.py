"""The benchmark: what a cell computes, what determines it, and what a run leaves."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from crystalcodec.crystals import Crystals
from crystalcodec.representations.storage import representation_from
from crystalcodec.testing import sample_crystals
from crystalcodec.workflow.benchmark.cells import Cell, CellError, candidates_of, run_cell, why_not
from crystalcodec.workflow.benchmark.config import BenchmarkLimits
from crystalcodec.workflow.benchmark.documents import digest
from crystalcodec.workflow.benchmark.encodings import Features, encode_rows, misfit
from crystalcodec.workflow.benchmark.estimators import ESTIMATORS
from crystalcodec.workflow.benchmark.networks import network
from crystalcodec.workflow.benchmark.rows import Fold, training_rows

N_TRAIN, N_TEST = 120, 40
IRCR = {"name": "ircr", "max_sites": 2}


@pytest.fixture(scope="module")
def made(made_dataset):
    """Crystals of two sites and their targets, and some of three sites, which IRCR refuses."""
    dataset = made_dataset(N_TRAIN + N_TEST)
    crystals = [*dataset.crystals]
    for i in range(0, len(crystals), 8):
        one = crystals[i]
        crystals[i] = Crystals.single(
            one.lattices[0], [*one.frac_coords, [0.25, 0.25, 0.25]], [*one.numbers, 1]
        )
    fold = Fold(np.arange(N_TRAIN), np.arange(N_TRAIN, N_TRAIN + N_TEST))
    return Crystals.concatenate(crystals), dataset.numeric("energy"), fold


@pytest.fixture(scope="module")
def encoded(made, tmp_path_factory):
    """The crystals as IRCR has them, on disk."""
    folder = tmp_path_factory.mktemp("encoded") / "ircr"
    crystals, _, fold = made
    return folder, encode_rows(IRCR, crystals, fold.train, folder, 1.0)


def cell_of(model="ridge", budget=2, size="all", seed=0, settings=None, entry=None, **more):
    chosen = candidates_of(model, budget, settings or {})
    entry = IRCR if entry is None else entry
    return Cell("ircr", entry, model, chosen, size, seed, 0, 2000, **more)


# What a cell computes


def test_crystals_that_are_not_held_are_scored_with_the_training_mean(made, encoded):
    _, targets, fold = made
    figures = run_cell(cell_of(), encoded[0], targets, fold)
    refused = np.arange(len(targets)) % 8 == 0
    assert figures["n_train_not_held"] == refused[:N_TRAIN].sum() == 15
    assert figures["n_test_not_held"] == refused[N_TRAIN:].sum() == 5
    # Of all training rows, those that are not held among them.
    mean = targets[:N_TRAIN].mean()
    lost = np.abs(targets[N_TRAIN:] - mean)[refused[N_TRAIN:]].sum()
    by_hand = (figures["mae_held"] * 35 + lost) / 40
    assert figures["mae"] == pytest.approx(by_hand, rel=1e-12)
    # The target is linear in what IRCR holds.
    assert figures["mae_held"] < 0.25 * figures["mae"]


def test_without_a_representation_the_mean_is_predicted(made):
    _, targets, fold = made
    figures = run_cell(cell_of("dummy", entry={}, size=50, seed=3), None, targets, fold)
    rows = training_rows(fold, 0, 50, 3)
    errors = targets[fold.test] - targets[rows].mean()
    assert figures["mae"] == pytest.approx(np.abs(errors).mean())
    assert figures["rmse"] == pytest.approx(np.sqrt((errors**2).mean()))
    assert figures["n_train"] == 50


@pytest.mark.parametrize("model", ["ridge", "kernel_ridge", "random_forest", "mlp"])
def test_nothing_of_the_test_rows_is_in_search_or_fit(made, encoded, model):
    _, targets, fold = made
    settings = {"epochs": 2} if model == "mlp" else {}
    cell = cell_of(model, settings=settings)
    changed = targets.copy()
    changed[fold.test] = np.random.default_rng(0).normal(50, 9, N_TEST)
    one, other = (run_cell(cell, encoded[0], t, fold) for t in (targets, changed))
    assert [entry["mae"] for entry in one["search"]] == [e["mae"] for e in other["search"]]
    assert one["settings"] == other["settings"]
    assert one["mae"] != other["mae"]


def test_the_budget_is_how_many_settings_are_tried(made, encoded):
    _, targets, fold = made
    for budget in (2, 3):
        figures = run_cell(cell_of("ridge", budget), encoded[0], targets, fold)
        tried = [entry["settings"] for entry in figures["search"]]
        assert tried == list(ESTIMATORS["ridge"].candidates[:budget])
        best = min(figures["search"], key=lambda entry: entry["mae"])
        assert figures["settings"] == best["settings"]
    assert run_cell(cell_of("ridge", 1), encoded[0], targets, fold)["search"] == []


def test_settings_given_to_a_model_stand_in_every_candidate():
    chosen = candidates_of("random_forest", 3, {"min_samples_leaf": 7})
    assert {one["min_samples_leaf"] for one in chosen} == {7}
    assert len(chosen) == 3  # the third and the first became the same, the fourth moved up
    assert candidates_of("ridge", 4, {"alpha": 2.0}) == ({"alpha": 2.0},)


def test_a_candidate_that_fails_is_recorded_and_the_others_go_on(made, encoded):
    _, targets, fold = made
    bad, good = {"alpha": -1e9}, {"alpha": 1.0}
    cell = Cell("ircr", IRCR, "ridge", (bad, good), "all", 0, 0, 2000)
    figures = run_cell(cell, encoded[0], targets, fold)
    assert figures["search"][0]["mae"] is None
    assert "LinAlgError" in figures["search"][0]["error"]
    assert figures["settings"] == good
    with pytest.raises(CellError, match="no candidate of the search can be fitted"):
        run_cell(
            Cell("ircr", IRCR, "ridge", (bad, {"alpha": -2e9}), "all", 0, 0, 2000),
            encoded[0],
            targets,
            fold,
        )


def test_a_representation_that_holds_almost_nothing_says_so(made, tmp_path):
    crystals, targets, fold = made
    config = {"name": "ircr", "max_atomic_number": 8}
    known = encode_rows(config, crystals, fold.train, tmp_path / "few", 1.0)
    assert sum(known["failures"].values()) == known["n"] - known["n_encoded"]
    with pytest.raises(CellError, match="are held by the representation, wanted at least 10"):
        run_cell(cell_of(entry=config, size=20), tmp_path / "few", targets, fold)


@pytest.mark.parametrize("model", [*(n for n in ESTIMATORS if n != "dummy"), "mlp", "cnn1d"])
def test_every_model_learns_what_the_arrays_tell(made, encoded, model):
    _, targets, fold = made
    few = {"seen": 8000, "hidden": [16], "batch_size": 16}
    settings = {"mlp": few, "cnn1d": {**few, "channels": [8, 8, 8, 8]}}.get(model, {})
    figures = run_cell(cell_of(model, 1, settings=settings), encoded[0], targets, fold)
    mean = run_cell(cell_of("dummy", entry={}), None, targets, fold)["mae"]
    assert figures["mae"] < 0.75 * mean


def test_a_network_on_graphs_takes_ragged_arrays(made, tmp_path):
    crystals, targets, fold = made
    config = {"name": "crystal_graph"}
    encode_rows(config, crystals, fold.train, tmp_path / "graph", 1.0)
    few = {"seen": 1500, "width": 8, "hidden": 8, "batch_size": 16}
    cell = cell_of("cgcnn", 1, entry=config, settings=few)
    figures = run_cell(cell, tmp_path / "graph", targets, fold)
    assert figures["n_test_not_held"] == 0
    assert np.isfinite(figures["mae"])


@pytest.mark.parametrize(
    ("model", "entry", "places"),
    [
        ("resnet2d", {"name": "xtal2png"}, (16, 16)),
        ("resnet2d", {"name": "sine_matrix", "max_sites": 20}, (10, 10)),
        ("resnet3d", {"name": "density_cell", "size": 16}, (8, 8, 8)),
    ],
)
def test_convolutions_on_pictures_and_grids(made, tmp_path, model, entry, places):
    crystals, targets, fold = made
    encode_rows(entry, crystals, fold.train, tmp_path / "encoded", 1.0)
    features = Features.open(tmp_path / "encoded", len(targets))
    train = fold.train[features.held(fold.train)]
    for settings in candidates_of(model, 4, {"epochs": 1}):
        fitted = network(model).fit(features, train, targets[train], settings, 0, "cpu")
        shapes = []
        fitted.predictor.stages[0].register_forward_hook(
            lambda module, given, out, shapes=shapes: shapes.append(tuple(out.shape[2:]))
        )
        assert np.isfinite(fitted.predict(features, train)).all()
        assert shapes == [places]


def test_a_search_of_few_passes_is_short(made, encoded, monkeypatch):
    import crystalcodec.workflow.loop as loop

    _, targets, fold = made
    seen, run = [], loop.Loop.run
    monkeypatch.setattr(loop.Loop, "run", lambda self: seen.append(self.config.epochs) or run(self))
    run_cell(cell_of("mlp", 2, settings={"seen": 10, "hidden": [4]}), encoded[0], targets, fold)
    assert seen == [2, 2, 5]


@pytest.mark.parametrize("model", ["mlp", "cnn1d"])
def test_networks_see_nothing_beyond_the_range_of_training(made, encoded, model):
    _, targets, fold = made
    features = Features.open(encoded[0], len(targets))
    train = fold.train[features.held(fold.train)]
    test = fold.test[features.held(fold.test)]
    settings = {"epochs": 2, "hidden": [8]}
    fitted = network(model).fit(features, train, targets[train], settings, 0, "cpu")
    name = next(iter(fitted.ranges))
    lowest, highest = (features.arrays(train)[name].min(0), features.arrays(train)[name].max(0))

    def predicted(change):
        class Changed:
            representation = features.representation

            def arrays(self, rows):
                here = features.arrays(rows)
                return replace(here, arrays={**here.arrays, name: change(here[name])})

        return fitted.predict(Changed(), test)

    within = predicted(lambda array: np.clip(array, lowest, highest))
    assert (fitted.predict(features, test) == within).all()
    # Far above, every entry is the highest of training.
    top = predicted(lambda array: np.broadcast_to(highest, array.shape))
    assert (predicted(lambda array: array + 1e6) == top).all()
    assert not np.allclose(top, within)
    # What was trained on is as it is without limits.
    unlimited = replace(fitted, ranges={})
    assert (unlimited.predict(features, train) == fitted.predict(features, train)).all()


def test_the_search_of_a_network_is_a_quarter_of_its_fit(made, encoded, monkeypatch):
    import crystalcodec.workflow.loop as loop

    _, targets, fold = made
    seen, run = [], loop.Loop.run
    monkeypatch.setattr(loop.Loop, "run", lambda self: seen.append(self.config.epochs) or run(self))
    cell = cell_of("mlp", 2, settings={"epochs": 40, "hidden": [4]})
    run_cell(cell, encoded[0], targets, fold)
    assert seen == [10, 10, 40]


def test_the_same_cell_gives_the_same_figures(made, encoded):
    _, targets, fold = made
    for model, settings in (("random_forest", {"n_estimators": 5}), ("mlp", {"epochs": 2})):
        cell = cell_of(model, 2, settings=settings)
        one, other = (run_cell(cell, encoded[0], targets, fold) for _ in range(2))
        assert one["mae"] == other["mae"]


def test_limits_are_known_beforehand():
    limits = BenchmarkLimits(
        kernel_rows=100, forest_length=50, boosting_length=30, ridge_rank=60, cell_gib=0.001
    )
    assert "101 rows" in why_not(cell_of("kernel_ridge"), 101, 5, limits)
    assert "51 numbers" in why_not(cell_of("random_forest"), 10, 51, limits)
    assert "31 numbers" in why_not(cell_of("hist_gradient_boosting"), 10, 31, limits)
    assert why_not(cell_of("ridge"), 60, 10**6, BenchmarkLimits(ridge_rank=60, cell_gib=9)) is None
    assert "61 rows" in why_not(cell_of("ridge"), 61, 1000, limits)
    assert "GiB" in why_not(cell_of("ridge"), 50, 10**5, limits)
    assert "mlp" in why_not(cell_of("mlp"), 10, 6001, BenchmarkLimits())
    assert why_not(cell_of("cnn1d"), 10, 6000, BenchmarkLimits()) is None
    assert why_not(cell_of("dummy"), 10, 5, limits) is None


# What determines a cell


def test_everything_that_changes_the_figures_changes_the_key():
    rows = {"crystals": "a", "targets": "b", "division": "c"}
    base = {"model": "ridge", "budget": 2, "size": 50, "seed": 0}
    keys = [digest(cell_of(**base).identity(rows))]
    changes = [
        {"model": "random_forest"},
        {"budget": 3},
        {"size": 51},
        {"size": "all"},
        {"seed": 1},
        {"settings": {"alpha": 7.0}},
        {"entry": {**IRCR, "max_sites": 3}},
    ]
    keys += [digest(cell_of(**{**base, **change}).identity(rows)) for change in changes]
    keys += [digest(cell_of(**base).identity({**rows, name: "other"})) for name in rows]
    keys.append(digest(cell_of("mlp").identity(rows)))
    keys.append(digest(cell_of("mlp", device="cuda").identity(rows)))
    assert len(set(keys)) == len(keys)
    # It survives JSON, and where a model of scikit-learn runs does not matter.
    assert digest(json.loads(json.dumps(cell_of(**base).identity(rows)))) == keys[0]
    assert digest(cell_of(**base, device="cuda").identity(rows)) == keys[0]


def test_training_rows_of_smaller_sizes_are_part_of_the_larger():
    fold = Fold(np.arange(100, 200), np.arange(100))
    few, more, every = (training_rows(fold, 0, size, 5) for size in (10, 40, "all"))
    assert few.tolist() == more[:10].tolist() == every[:10].tolist()
    assert sorted(every) == fold.train.tolist()
    assert few.tolist() != training_rows(fold, 0, 10, 6).tolist()


# Encoded crystals


def test_the_matrix_holds_the_flattened_arrays_of_the_rows(made, encoded):
    crystals, _, _ = made
    features = Features.open(encoded[0], len(crystals))
    rows = np.array([33, 2, 17, 155])
    assert features.held(np.array([0, 2, 8])).tolist() == [False, True, False]
    direct = representation_from(IRCR).encode(crystals[rows])["ircr"].reshape(4, -1)
    np.testing.assert_array_equal(features.matrix(rows), direct)


def test_ragged_arrays_of_rows_are_those_of_these_crystals_alone(tmp_path):
    crystals = sample_crystals(12)
    encode_rows({"name": "crystal_graph"}, crystals, np.arange(12), tmp_path / "g", 1.0)
    features = Features.open(tmp_path / "g", 12)
    rows = np.array([7, 1, 10])
    direct = representation_from({"name": "crystal_graph"}).encode(crystals[rows])
    taken = features.arrays(rows)
    assert {*taken.arrays} == {*direct.arrays}
    for name, array in direct.arrays.items():
        np.testing.assert_array_equal(taken[name], array)
    for axis, offsets in direct.offsets.items():
        np.testing.assert_array_equal(taken.offsets[axis], offsets)


def test_what_is_known_of_an_encoding(made, encoded):
    known = encoded[1]
    assert known["length"] == (94 + 2 + 2 + 2 + 8) * 3
    assert (known["n"], known["n_encoded"]) == (160, 140)
    assert known["failures"] == {"too many sites": 20}
    assert not known["ragged"]


def test_what_is_fitted_sees_the_training_rows_alone(made, tmp_path):
    crystals, _, _ = made
    rows = np.arange(6)
    known = encode_rows({"name": "mbtr", "k": 1}, crystals, rows, tmp_path / "fitted", 1.0)
    species = np.unique(crystals[rows].numbers)
    assert known["representation"]["species"] == tuple(species.tolist())
    held = [bool(np.isin(one.numbers, species).all()) for one in crystals]
    features = Features.open(tmp_path / "fitted", len(crystals))
    assert features.held(np.arange(len(crystals))).tolist() == held
    assert 6 <= sum(held) < len(held)


def test_arrays_too_large_for_the_disk_are_not_made(made, tmp_path):
    crystals, _, fold = made
    answer = encode_rows(IRCR, crystals, fold.train, tmp_path / "large", 1e-6)
    assert answer["status"] == "not run"
    assert answer["reason"].endswith("0.0 GiB on disk, above 1e-06 GiB (encoded_gib)")
    assert not (tmp_path / "large").exists()


def test_a_slow_encoding_is_put_off(made, tmp_path):
    crystals, _, fold = made
    answer = encode_rows(IRCR, crystals, fold.train, tmp_path / "slow", 1.0, patience=0.0)
    assert answer["status"] == "deferred"
    assert answer["estimate"] > 0
    assert not (tmp_path / "slow").exists()


def test_models_say_what_they_fit():
    picture, graph = (representation_from({"name": n}) for n in ("unimat", "crystal_graph"))
    assert misfit(picture, "mlp") is misfit(picture, "ridge") is misfit(graph, "cgcnn") is None
    assert "wanted one array" in misfit(picture, "cnn1d")
    assert "graph" in misfit(picture, "cgcnn")
    assert "another length" in misfit(graph, "random_forest")
