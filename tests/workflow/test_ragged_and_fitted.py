"""Graphs and fitted representations go through training, prediction and encoding as others do."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from crystalcodec import write
from crystalcodec.representations.storage import load_encoded
from crystalcodec.testing import sample_crystals
from crystalcodec.workflow import RunConfig, encode_files, open_run, predict, train
from crystalcodec.workflow.config import merge

GRAPH = {
    "representation": {"name": "crystal_graph", "cutoff": 5.0, "max_neighbors": 6},
    "model": {"name": "cgcnn", "width": 8, "hidden": 8},
    "training": {"epochs": 2, "batch_size": 64},
}
FITTED = {
    "representation": {"name": "mbtr", "k": 1},
    "model": {"name": "mlp", "hidden": [16]},
    "training": {"epochs": 2, "batch_size": 64},
}


@pytest.fixture
def graph_run(values, tmp_path):
    return train(RunConfig.of(merge(values, GRAPH)), tmp_path / "graph")


def test_a_network_on_graphs_trains_in_the_units_of_its_arrays(graph_run):
    run = open_run(graph_run.folder)
    assert set(run.scaling.offsets) & {"distances", "vectors", "lattice"} == set()
    metrics = json.loads((run.folder / "metrics.json").read_text())
    assert metrics["validation"]["n"] > 0
    history = json.loads((run.folder / "history.json").read_text())
    assert history[1]["loss"] < history[0]["loss"]


def test_predictions_on_graphs_do_not_depend_on_their_batch(graph_run):
    crystals = sample_crystals(9)
    together = predict(graph_run, crystals, allow_unseen=True).values
    alone = [predict(graph_run, one, allow_unseen=True).values[0] for one in crystals]
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-5)
    assert np.ptp(together) > 0


def test_a_representation_is_fitted_on_training_crystals_and_kept(values, tmp_path):
    run = train(RunConfig.of(merge(values, FITTED)), tmp_path / "run")
    assert not run.representation.needs_fit
    assert open_run(tmp_path / "run").representation == run.representation
    assert run.record["representation"]["species"]
    first = next(run.predictor.parameters())
    assert torch.isfinite(first).all()


def test_files_are_encoded_by_a_representation_fitted_on_them(tmp_path):
    from crystalcodec.representations.mbtr import MBTR

    crystals = sample_crystals(6)
    write(crystals, tmp_path / "some.extxyz")
    report = encode_files([tmp_path / "some.extxyz"], MBTR(k=1), tmp_path / "out")
    assert report.n_encoded == 6
    representation, encoded, _ = load_encoded(tmp_path / "out")
    assert set(representation.species) == set(crystals.numbers.tolist())
    again = representation.encode(crystals)
    for name, array in again.arrays.items():
        np.testing.assert_allclose(encoded[name], array, rtol=1e-5, atol=1e-6)
