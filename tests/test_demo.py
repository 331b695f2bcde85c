"""The demo runs from data to prediction, with one epoch for each network."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def demo(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("demo", EXAMPLES / "demo.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "OUT", tmp_path / "demo")
    monkeypatch.setattr(
        module, "TASKS", {name: (task[0], 1, task[2]) for name, task in module.TASKS.items()}
    )
    return module


def test_the_demo_runs_to_its_end(demo, capsys):
    demo.main()
    shown = capsys.readouterr().out
    assert "nine of ten" in shown
    assert "2,080 crystals" in shown
    assert "2,080 decoded" in shown
    assert "not from density functional" in shown
    assert "NaCl, 8 sites" in shown
    assert "NaCl, 2 sites" in shown
    assert "of 500 random pictures 500 are refused" in " ".join(shown.split())
    assert (demo.OUT / "NaCl.png").read_bytes().startswith(b"\x89PNG")
    for name in ("mlp", "cnn1d"):
        assert (demo.OUT / name / "report.html").exists()
