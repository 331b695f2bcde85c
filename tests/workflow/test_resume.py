"""A training that is killed and started again ends with the same numbers, bit for bit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from crystalcodec.workflow import RunConfig, train
from crystalcodec.workflow.checkpoints import (
    CheckpointError,
    load_state,
    read_header,
    save_state,
    save_weights,
)
from crystalcodec.workflow.config import merge
from crystalcodec.workflow.runs import CHECKPOINT

PROGRAM = """
import sys
from crystalcodec.workflow import RunConfig, train
train(RunConfig.read(sys.argv[1]), sys.argv[2])
"""


@pytest.fixture
def slow(values):
    """A run of many short steps whose state is saved after each of them."""
    return RunConfig.of(
        merge(
            values,
            {
                "model": {"dropout": 0.2},
                "training": {"epochs": 20, "clip_norm": 1.0, "patience": 19},
                "augmentation": {"names": ["permute_sites", "shift_origin"], "copies": 2},
                "machine": {"checkpoint_seconds": 0.0},
            },
        )
    )


def start(config, folder):
    """Train in another process, and wait until it has saved a state."""
    path = folder.with_suffix(".toml")
    path.write_text(config.to_toml())
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(path), str(folder)],
        stderr=subprocess.PIPE,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + 60
    while not (folder / CHECKPOINT).exists():
        assert process.poll() is None, process.stderr.read().decode()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return process


def test_killed_in_the_middle_and_resumed_is_the_same_bit_for_bit(slow, tmp_path):
    whole = train(slow, tmp_path / "whole")
    process = start(slow, tmp_path / "killed")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    state = read_header(tmp_path / "killed" / CHECKPOINT)
    assert 0 < state["step"] < 20 * 6
    said = []
    resumed = train(slow, tmp_path / "killed", say=said.append)
    assert "going on" in said[0]
    for name in ("model.safetensors", "scaling.safetensors", "metrics.json", "predictions.csv"):
        assert (resumed.folder / name).read_bytes() == (whole.folder / name).read_bytes()
    histories = [
        [
            {key: value for key, value in row.items() if key != "seconds"}
            for row in json.loads((run.folder / "history.json").read_text())
        ]
        for run in (whole, resumed)
    ]
    assert histories[0] == histories[1]
    left = {path.name for path in resumed.folder.iterdir()}
    assert left == {path.name for path in whole.folder.iterdir()}


def test_interrupted_between_steps_saves_and_goes_on(slow, tmp_path, monkeypatch):
    from crystalcodec.workflow import loop

    config = RunConfig.of(merge(slow.values(), {"machine": {"checkpoint_seconds": 1000.0}}))
    whole = train(config, tmp_path / "whole")
    take_step = loop.Loop._take_step

    def interrupted(self, *given):
        take_step(self, *given)
        if self._step == 100:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(loop.Loop, "_take_step", interrupted)
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "run")
    assert signal.getsignal(signal.SIGINT) is handler
    monkeypatch.undo()
    assert read_header(tmp_path / "run" / CHECKPOINT)["step"] == 100
    resumed = train(config, tmp_path / "run")
    model = "model.safetensors"
    assert (resumed.folder / model).read_bytes() == (whole.folder / model).read_bytes()


@pytest.fixture
def half(slow, tmp_path, monkeypatch):
    """The folder of a run that stopped half-way."""
    from crystalcodec.workflow import loop

    end_epoch = loop.Loop._end_epoch

    def stop(self):
        end_epoch(self)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop.Loop, "_end_epoch", stop)
        with pytest.raises(KeyboardInterrupt):
            train(slow, tmp_path / "half")
    return tmp_path / "half"


def test_damaged_states_are_refused(slow, half):
    path = half / CHECKPOINT
    content = path.read_bytes()
    for damaged in (b"", content[:1000], b"x" * 200, content[:-50]):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"damaged.*delete it to start"):
            train(slow, half)


def test_the_state_of_another_training_is_refused(slow, half):
    state, header = load_state(half / CHECKPOINT)
    save_state(half / CHECKPOINT, state, header | {"identity": "another"})
    with pytest.raises(CheckpointError, match="another training"):
        train(slow, half)


def test_a_full_disk_is_said_and_leaves_the_state(slow, half, monkeypatch):
    import errno
    from pathlib import Path

    before = (half / CHECKPOINT).read_bytes()
    write_bytes = Path.write_bytes

    def full(self, content):
        if CHECKPOINT in self.name:
            write_bytes(self, content[:100])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_bytes(self, content)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError, match="space"):
            train(slow, half)
    assert (half / CHECKPOINT).read_bytes() == before
    assert train(slow, half).folder == half


def test_states_come_back_as_they_were(tmp_path):
    import torch

    shared = torch.arange(6.0).reshape(2, 3)
    state = {
        "optimiser": {
            "state": {0: {"step": torch.tensor(3.0)}},
            "groups": [{"betas": (0.9, 0.99)}],
        },
        "twice": [shared, shared.T],
        "random": torch.get_rng_state(),
        "nothing": None,
        "exact": 0.1 + 0.2,
    }
    save_state(tmp_path / "state.safetensors", state, {"identity": "x"})
    back, header = load_state(tmp_path / "state.safetensors")
    assert header == {"identity": "x"}
    assert back["optimiser"]["state"][0]["step"] == 3
    assert back["optimiser"]["groups"] == [{"betas": [0.9, 0.99]}]
    assert torch.equal(back["twice"][1], shared.T)
    assert torch.equal(back["random"], state["random"])
    assert back["nothing"] is None
    assert back["exact"] == state["exact"]


def test_weights_that_are_not_ours_or_of_another_version(tmp_path, monkeypatch):
    import safetensors.torch
    import torch

    from crystalcodec.workflow import checkpoints

    safetensors.torch.save_file({"w": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="not written by crystalcodec"):
        checkpoints.load_weights(tmp_path / "other.safetensors")
    monkeypatch.setattr(checkpoints, "FORMAT", 99)
    save_weights(tmp_path / "later.safetensors", {"w": torch.zeros(2)}, {})
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="format version 99"):
        checkpoints.load_weights(tmp_path / "later.safetensors")
    with pytest.raises(CheckpointError, match="no file"):
        checkpoints.load_weights(tmp_path / "none.safetensors")
