"""Snapshots: cosine cycles, one model at the end of each, resumed exactly; seeds as one model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from crystalcodec.workflow import train
from crystalcodec.workflow.checkpoints import read_header
from crystalcodec.workflow.config import ConfigError, RunConfig, TrainingConfig, merge
from crystalcodec.workflow.loop import Loop, TrainingError, learning_rate_factor
from crystalcodec.workflow.samples import Samples


def factors(total, **settings):
    config = TrainingConfig(**settings)
    return np.array([learning_rate_factor(config, step, total) for step in range(total)])


def test_cycles_are_cosines_as_published():
    rates = factors(300, snapshots=3, warmup=0.0)
    # Huang et al., equation 2, steps counted from 0: (cos(pi mod(t, T/M) / (T/M)) + 1) / 2.
    t = np.arange(300)
    np.testing.assert_allclose(rates, (np.cos(np.pi * (t % 100) / 100) + 1) / 2, atol=1e-12)


def test_the_first_cycle_alone_warms_up():
    rates = factors(300, snapshots=3, warmup=0.2)
    one = factors(100, warmup=0.2)
    np.testing.assert_allclose(rates[:100], one)
    assert (np.diff(rates[:20]) > 0).all()
    assert (np.diff(rates[100:200]) < 0).all()
    np.testing.assert_allclose(rates[100:200], rates[200:])


def test_cycles_that_do_not_divide_the_steps():
    rates = factors(10, snapshots=3, warmup=0.0)
    assert np.flatnonzero(rates == 1).tolist() == [0, 3, 6]
    assert factors(3, snapshots=3, warmup=0.0).tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    "training",
    [
        {"snapshots": 2, "schedule": "constant"},
        {"snapshots": 2, "schedule": "one-cycle"},
        {"snapshots": 2, "patience": 3},
        {"snapshots": 1},
        {"snapshots": 0},
    ],
)
def test_what_has_no_snapshots_is_refused(training):
    with pytest.raises(ConfigError, match="snapshots"):
        RunConfig.of({"data": {"dataset": "a"}, "target": {"column": "x"}, "training": training})


class Line:
    """y = 2 x, and its squared error."""

    n = 24

    def epoch(self, epoch):
        x = torch.linspace(-1, 1, self.n)[:, None]
        return Samples(self.n, {"x": x, "y": 2 * x})

    def loss(self, network, batch):
        return nn.functional.mse_loss(network(batch["x"]), batch["y"])

    def validate(self, network):
        return {"weight": network.weight.item()}


def loop(tmp_path, average=0.9, stop=lambda: False, **training):
    from lightning.fabric import Fabric

    torch.manual_seed(0)
    network = nn.Linear(1, 1)
    settings = {"epochs": 4, "batch_size": 8, "snapshots": 3, "average": average, **training}
    return Loop(
        network,
        Line(),
        Line(),
        TrainingConfig(**settings),
        Fabric(accelerator="cpu", devices=1),
        seed=0,
        checkpoint=tmp_path / "checkpoint.safetensors",
        stop=stop,
    )


@pytest.mark.parametrize("average", [0.9, 0.0])
def test_the_weights_at_the_end_of_each_cycle_are_kept(tmp_path, average):
    made = loop(tmp_path, average)
    seen = {}
    take_step = made._take_step

    def watch(*given):
        take_step(*given)
        seen[made._step] = made.judged.weight.item()

    made._take_step = watch
    made.run()
    # Twelve steps in cycles of four.
    assert [one["weight"].item() for one in made.snapshots] == [seen[4], seen[8], seen[12]]
    assert made.network.weight.item() == seen[12]
    assert len({seen[4], seen[8], seen[12]}) == 3


@pytest.mark.parametrize("interrupted", [2, 4, 5, 8, 11, 12])
def test_interrupted_anywhere_and_resumed_is_the_same_bit_for_bit(tmp_path, interrupted):
    whole = loop(tmp_path)
    whole.run()
    whole.checkpoint.unlink()
    broken = loop(tmp_path, stop=lambda: broken._step >= interrupted)
    with pytest.raises(KeyboardInterrupt):
        broken.run()
    resumed = loop(tmp_path)
    resumed.run()
    assert len(resumed.snapshots) == 3
    for one, other in zip(whole.snapshots, resumed.snapshots, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_an_interrupted_run_ends_with_the_same_files(values, tmp_path, monkeypatch):
    changes = {
        "training": {"epochs": 4, "snapshots": 2},
        "machine": {"checkpoint_seconds": 0.0},
    }
    config = RunConfig.of(merge(values, changes))
    whole = train(config, tmp_path / "whole")
    end_epoch = Loop._end_epoch

    def interrupted(self):
        end_epoch(self)
        if self._epoch == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "_end_epoch", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(config, tmp_path / "run")
    # Six steps an epoch: the first cycle ends at twelve of twenty-four.
    assert read_header(tmp_path / "run" / "checkpoint.safetensors")["step"] == 18
    assert not (tmp_path / "run" / "snapshot-1.safetensors").exists()
    resumed = train(config, tmp_path / "run")
    for name in (
        "model.safetensors",
        "snapshot-1.safetensors",
        "applicability.safetensors",
        "calibration.safetensors",
        "calibration.json",
        "held_out.safetensors",
        "metrics.json",
    ):
        assert (resumed.folder / name).read_bytes() == (whole.folder / name).read_bytes(), name
    one, last = (resumed.folder / f"{n}.safetensors" for n in ("snapshot-1", "model"))
    assert one.read_bytes() != last.read_bytes()


def test_more_snapshots_than_steps(tmp_path):
    with pytest.raises(TrainingError, match="13 snapshots of a training of 12 steps"):
        loop(tmp_path, snapshots=13)
