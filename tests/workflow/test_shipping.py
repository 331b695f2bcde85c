"""The script that puts a model into the package: what predicts there is what was trained."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from crystalcodec.workflow import RunConfig, predict
from crystalcodec.workflow.training import train_seeds

SCRIPT = Path(__file__).parents[2] / "scripts" / "ship_model.py"


@pytest.fixture
def seeds(values, tmp_path):
    """A folder of two seeds."""
    train_seeds(RunConfig.of(values), tmp_path / "seeds", [0, 1])
    (tmp_path / "text.md").write_text("# A model\n")
    return tmp_path / "seeds"


@pytest.fixture
def ship(seeds, tmp_path, monkeypatch):
    """The script, with a package folder of its own, and what runs it."""
    spec = importlib.util.spec_from_file_location("ship_model", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    monkeypatch.setattr(script, "FOLDER", tmp_path / "pretrained")
    given = ["--card", str(tmp_path / "text.md"), "--check", str(tmp_path / "validation.parquet")]
    monkeypatch.setattr(sys, "argv", ["ship_model.py", str(seeds), "mine", *given])
    return script


def test_shipped_seeds_predict_with_their_intervals(ship, seeds, tmp_path, made_dataset):
    ship.main()
    crystals = made_dataset(6, 3).crystals
    trained, shipped = (predict(f, crystals) for f in (seeds, tmp_path / "pretrained" / "mine"))
    np.testing.assert_allclose(shipped.values, trained.values, rtol=1e-2, atol=1e-3)
    width = trained.upper - trained.lower
    np.testing.assert_allclose(shipped.upper - shipped.lower, width, rtol=1e-2)
    assert "| energy | eV | 60 |" in (tmp_path / "pretrained" / "mine" / "card.md").read_text()
    assert [path.name for path in (tmp_path / "pretrained").iterdir()] == ["mine"]


def test_the_card_has_learning_curves(ship, seeds, tmp_path, monkeypatch):
    sizes = tmp_path / "sizes.json"
    part = {"n_train": 1234, "mae": {"mean": 0.5, "deviation": None}}
    whole = {"n_train": 5678, "mae": {"mean": 0.25, "deviation": 0.01}}
    curve = [{"part": 8, "targets": {"energy": part}}, {"part": 1, "targets": {"energy": whole}}]
    sizes.write_text(json.dumps({"curve": curve}))
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--sizes", str(sizes)])
    ship.main()
    card = (tmp_path / "pretrained" / "mine" / "card.md").read_text()
    histories = [json.loads((seeds / f"seed-{i}" / "history.json").read_text()) for i in (0, 1)]
    last = [history[-1] for history in histories]
    found = [row["validation_mae"] for row in last]
    row = f"| {last[0]['epoch']} | {np.mean(found):.4g} ± {np.std(found, ddof=1):.2g} |"
    assert row in card.split("## Learning curve")[1]
    assert "| 1/8 | 0.5 (1,234) |\n| all | 0.25 ± 0.01 (5,678) |" in card


def test_what_loses_predictions_is_not_shipped(ship, tmp_path, monkeypatch):
    ship.main()
    card = tmp_path / "pretrained" / "mine" / "card.md"
    card.write_text("of before")
    whole = ship.load_weights

    def too_large(path):
        weights, header = whole(path)
        return {name: tensor * 1e6 for name, tensor in weights.items()}, header

    monkeypatch.setattr(ship, "load_weights", too_large)
    with pytest.raises(SystemExit, match="energy: 60 predictions are lost"):
        ship.main()
    assert card.read_text() == "of before"
    assert [path.name for path in (tmp_path / "pretrained").iterdir()] == ["mine"]
