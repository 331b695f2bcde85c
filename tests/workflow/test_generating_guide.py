"""`generate --guide`: a trained predictor leads the samples of a generator that knows nothing."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from crystalcodec.cli import app
from crystalcodec.crystals import Crystals
from crystalcodec.data import Dataset
from crystalcodec.models.base import ModelError
from crystalcodec.workflow import RunConfig, train
from crystalcodec.workflow.generating import predicting
from crystalcodec.workflow.generating.generation import generate
from crystalcodec.workflow.prediction import predict


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A predictor of the gap, 6 Å less the lattice constant, and a generator trained for a step."""
    folder = tmp_path_factory.mktemp("guide")
    n = 300
    constants = np.random.default_rng(0).uniform(3, 6, n)
    crystals = Crystals(
        constants[:, None, None] * np.eye(3),
        np.tile([[0.0, 0, 0], [0.5, 0.5, 0.5]], (n, 1)),
        np.tile([11, 17], n),
        np.arange(n + 1) * 2,
    )
    properties = {"gap": 6 - constants}
    Dataset.from_crystals(crystals, properties=properties).write(folder / "data.parquet")
    common = {
        "data": {"dataset": str(folder / "data.parquet"), "fractions": [0.7, 0.15, 0.15]},
        "representation": {"name": "ircr", "max_sites": 4, "tolerance": 0.5},
        "machine": {"device": "cpu"},
    }
    predictor = {
        "target": {"column": "gap"},
        "model": {"name": "mlp", "hidden": [32]},
        "training": {"epochs": 15, "batch_size": 32, "learning_rate": 0.01},
    }
    generator = {
        "model": {"name": "diffusion", "widths": [8, 16]},
        "training": {"epochs": 1, "batch_size": 128, "learning_rate": 1e-6},
    }
    for name, config in (("predictor", predictor), ("generator", generator)):
        train(RunConfig.of({**common, **config}), folder / name)
    return folder


def test_samples_have_the_values_that_the_predictor_is_told(folders):
    means = []
    for value in (0.8, 2.4):
        made = generate(
            24,
            model=folders / "generator",
            where={"gap": value},
            guide=folders / "predictor",
            steps=15,
        )
        assert made.record["guide"]["values"] == {"gap": value}
        assert made.record["wanted"] == {}  # the generator itself is told nothing
        told = predict(folders / "predictor", made.crystals).values[:, 0]
        means.append(np.nanmean(told))
    assert means == pytest.approx([0.8, 2.4], abs=0.5)


def test_without_the_wish_is_without_the_guide(folders, monkeypatch):
    """Called gap here, of a predictor that tells the volume of the cell."""
    monkeypatch.setattr(predicting, "PRETRAINED", {"gap": "somewhere"})
    monkeypatch.setattr(
        predicting, "property_rows", lambda crystals, names: crystals.volumes[:, None]
    )
    given = {"n": 8, "model": folders / "generator", "steps": 15}
    made = generate(
        **given, where={"gap": 0.5}, guide=folders / "predictor", guide_strength=3, predict=True
    )
    told = made.record["predicted"]["properties"]["gap"]
    free = generate(**given).crystals.volumes
    assert told["without"] == {"mean": free.mean(), "deviation": free.std(), "n": len(free)}
    assert told["with"]["mean"] == made.crystals.volumes.mean()
    assert told["with"] != told["without"]
    assert told["wanted"] == 0.5
    assert np.isnan(told["moved"])  # the generator has not seen the property


def test_the_command(folders, tmp_path):
    arguments = ["generate", "-m", folders / "generator", "-n", 3, "--where", "gap=1.5"]
    arguments += ["--guide", folders / "predictor", "--steps", 3, "-o", tmp_path / "made", "-q"]
    answer = CliRunner().invoke(app, [*map(str, arguments)])
    assert answer.exit_code in (0, 1), answer.output  # three steps may leave no crystal
    record = json.loads((tmp_path / "made" / "generated.json").read_text())
    assert record["guide"]["run"] == str(folders / "predictor")
    assert record["identity"]["guide"]["strength"] == 1.0
    assert "guided to gap = 1.5 by" in (tmp_path / "made" / "report.html").read_text()


def test_what_cannot_guide(folders):
    with pytest.raises(ModelError, match="tells gap, and volume is wanted"):
        generate(2, model=folders / "generator", where={"volume": 1}, guide=folders / "predictor")
    with pytest.raises(ModelError, match="no value is wanted"):
        generate(2, model=folders / "generator", guide=folders / "predictor")
