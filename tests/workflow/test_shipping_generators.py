"""The script that puts a generator into the package: its samples there are as good as before."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from crystalcodec.registry import GENERATORS, PRETRAINED_GENERATORS
from crystalcodec.workflow import RunConfig, train
from crystalcodec.workflow.generating import runs
from crystalcodec.workflow.generating.generation import generate
from crystalcodec.workflow.generating.runs import find_generator

SCRIPT = Path(__file__).parents[2] / "scripts" / "ship_generator.py"


@pytest.fixture
def ship(generator_values, tmp_path, monkeypatch):
    """The script, with a package folder of its own, a finished run, and what ships it."""
    from crystalcodec.workflow.generating import training

    monkeypatch.setattr(training, "write_sample_picture", lambda *given: None)
    spec = importlib.util.spec_from_file_location("ship_generator", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    monkeypatch.setattr(script, "FOLDER", tmp_path / "generators")
    monkeypatch.setattr(runs, "FOLDER", tmp_path / "generators")
    monkeypatch.setattr(runs, "PRETRAINED_GENERATORS", {"copies": "copies"})
    generator_values["representation"]["tolerance"] = 0.5
    generator_values["training"]["epochs"] = 1
    generator_values["machine"]["precision"] = "bf16-mixed"
    generator_values["conditions"] = {"values": ["energy"]}
    train(RunConfig.of(generator_values), tmp_path / "run")
    (tmp_path / "text.md").write_text("# Copies\n")
    given = [str(tmp_path / "run"), "copies", "--card", str(tmp_path / "text.md"), "-n", "40"]
    monkeypatch.setattr(sys, "argv", ["ship_generator.py", *given, "--half"])
    return script


def test_a_shipped_generator_is_found_by_its_name(ship, tmp_path):
    ship.main()
    folder = tmp_path / "generators" / "copies"
    assert sorted(path.name for path in folder.iterdir()) == [
        *("card.md", "config.toml", "model.safetensors", "run.json")
    ]
    whole = (tmp_path / "run" / "model.safetensors").stat().st_size
    assert (folder / "model.safetensors").stat().st_size < 0.6 * whole
    record = json.loads((folder / "run.json").read_text())
    assert record["config"]["machine"]["precision"] == "32-true"
    card = (folder / "card.md").read_text()
    assert card.startswith("# Copies\n")
    assert "| shipped | 100.00% |" in card
    run = find_generator()
    assert {tensor.dtype.itemsize for tensor in run.generator.state_dict().values()} == {4}
    made, trained = generate(12), generate(12, model=tmp_path / "run")
    assert made.crystals.formulas == trained.crystals.formulas
    assert made.funnel.stages == trained.funnel.stages


def test_what_the_package_ships_is_small_and_described():
    """Whatever there is: each opens, says what it is, and a folder without a name is none of it."""
    there = [path.name for path in runs.FOLDER.glob("*") if path.is_dir()]
    assert sorted(there) == sorted({*PRETRAINED_GENERATORS.values()})
    for name, folder in PRETRAINED_GENERATORS.items():
        files = [path for path in (runs.FOLDER / folder).rglob("*") if path.is_file()]
        assert sum(path.stat().st_size for path in files) < 8e6
        assert find_generator(name).generator.name in GENERATORS
        card = (runs.FOLDER / folder / "card.md").read_text(encoding="utf-8")
        assert "MP-20" in card
        assert "## As shipped" in card


def test_what_decodes_less_is_not_shipped(ship, tmp_path, monkeypatch):
    ship.main()
    folder = tmp_path / "generators" / "copies"
    (folder / "card.md").write_text("of before")
    whole = ship.load_weights

    def too_large(path):
        weights, header = whole(path)
        return {name: tensor * 1e6 for name, tensor in weights.items()}, header

    with monkeypatch.context() as patch:
        patch.setattr(ship, "load_weights", too_large)
        with pytest.raises(SystemExit, match=r"shipping loses .* of the samples \(decoded\)"):
            ship.main()
    with monkeypatch.context() as patch:
        patch.setattr(ship, "MOST_BYTES", 1000)
        with pytest.raises(SystemExit, match=r"at most 0\.001 MB are shipped"):
            ship.main()
    assert (folder / "card.md").read_text() == "of before"
    assert [path.name for path in (tmp_path / "generators").iterdir()] == ["copies"]
