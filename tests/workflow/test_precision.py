"""bfloat16 where the processor has it, float32 where it would take many times as long."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from crystalcodec.representations.ircr import IRCR
from crystalcodec.workflow import RunConfig, loop, predict, train
from crystalcodec.workflow import precision as module
from crystalcodec.workflow.benchmark.networks import NETWORKS
from crystalcodec.workflow.config import MachineConfig, merge
from crystalcodec.workflow.fitting import make_fabric
from crystalcodec.workflow.precision import computes_bfloat16, used_precision
from crystalcodec.workflow.prediction import network_outputs
from crystalcodec.workflow.starting import precision_notice

ONE = "32-true"


@pytest.fixture(params=[True, False], ids=["has bfloat16", "has none"])
def processor(request, monkeypatch):
    """A processor with and one without bfloat16."""
    monkeypatch.setattr(module, "computes_bfloat16", lambda: request.param)
    return request.param


@pytest.fixture
def seen(monkeypatch):
    """Types of numbers that dense layers gave."""
    kinds = []
    forward = nn.Linear.forward

    def watched(self, given):
        made = forward(self, given)
        kinds.append(made.dtype)
        return made

    monkeypatch.setattr(nn.Linear, "forward", watched)
    return kinds


def wanted(values, precision):
    return RunConfig.of(merge(values, {"machine": {"precision": precision}}))


def weights(folder):
    return (folder / "model.safetensors").read_bytes()


def test_what_is_computed_in(processor):
    half = "bf16-mixed" if processor else ONE
    assert used_precision("bf16-mixed", "cpu") == half
    assert used_precision("16-mixed", "cpu") == ONE
    assert used_precision(ONE, "cpu") == ONE
    for device in ("cuda", "mps"):
        for name in ("bf16-mixed", "16-mixed", ONE):
            assert used_precision(name, device) == name


def test_a_torch_without_the_kernels_has_no_bfloat16(monkeypatch):
    computes_bfloat16.cache_clear()
    monkeypatch.setattr(torch, "ops", SimpleNamespace(mkldnn=SimpleNamespace()))
    try:
        assert computes_bfloat16() is False
    finally:
        computes_bfloat16.cache_clear()


def test_what_torch_says_is_taken(monkeypatch):
    for told in (True, False):
        computes_bfloat16.cache_clear()
        kernels = SimpleNamespace(_is_mkldnn_bf16_supported=lambda told=told: told)
        with monkeypatch.context() as patch:
            patch.setattr(torch, "ops", SimpleNamespace(mkldnn=kernels))
            assert computes_bfloat16() is told
    computes_bfloat16.cache_clear()


@pytest.mark.parametrize(("wanted", "kind"), [("bf16-mixed", "bfloat16"), ("16-mixed", "float16")])
def test_the_notice_names_what_is_missing(wanted, kind, monkeypatch):
    monkeypatch.setattr(module, "computes_bfloat16", lambda: False)
    config = SimpleNamespace(machine=MachineConfig(device="cpu", precision=wanted))
    (line,) = precision_notice(config)
    assert f"no fast {kind} " in line
    monkeypatch.setattr(config, "machine", MachineConfig(device="cuda", precision=wanted))
    assert precision_notice(config) == ()


@pytest.mark.parametrize("device", ["cpu", "auto"])
def test_a_fabric(processor, device):
    if device == "auto" and (torch.cuda.is_available() or torch.backends.mps.is_available()):
        pytest.skip("auto is no processor here")
    fabric = make_fabric(MachineConfig(device=device, precision="bf16-mixed"))
    with fabric.autocast():
        made = nn.Linear(2, 2)(torch.zeros(1, 2))
    assert made.dtype == (torch.bfloat16 if processor else torch.float32)


def test_a_training_says_what_it_computes_in(processor, values, tmp_path, seen):
    said = []
    run = train(wanted(values, "bf16-mixed"), tmp_path / "run", say=said.append)
    told = [line for line in said if "bfloat16" in line]
    record = json.loads((run.folder / "run.json").read_text())
    assert record["config"]["machine"]["precision"] == "bf16-mixed"
    assert record["identity"]["machine"]["precision"] == "bf16-mixed"
    if processor:
        assert not told
        assert record["precision"] == "bf16-mixed"
        assert torch.bfloat16 in seen
    else:
        (line,) = told
        assert "computes in 32-true" in line
        assert record["precision"] == ONE
        assert set(seen) == {torch.float32}
    plain = train(wanted(values, ONE), tmp_path / "plain", say=said.append)
    assert json.loads((plain.folder / "run.json").read_text())["precision"] == ONE
    assert (weights(plain.folder) == weights(run.folder)) is not processor


def test_predictions_of_a_run_in_bfloat16(values, tmp_path, monkeypatch, made_dataset, seen):
    """Trained where there is bfloat16: a processor without predicts with the same weights."""
    crystals = made_dataset(20, 5).crystals
    monkeypatch.setattr(module, "computes_bfloat16", lambda: True)
    run = train(wanted(values, "bf16-mixed"), tmp_path / "run")
    seen.clear()
    there = predict(run, crystals)
    assert torch.bfloat16 in seen
    monkeypatch.setattr(module, "computes_bfloat16", lambda: False)
    seen.clear()
    here = predict(run, crystals)
    assert set(seen) == {torch.float32}
    difference = np.abs(there.values - here.values)
    assert 0 < difference.max() < 0.05


def test_outputs_of_a_network(processor, seen):
    network = nn.Linear(3, 1)
    inputs = torch.rand(5, 3)
    samples = SimpleNamespace(n=5, batch=lambda index: inputs[index])
    with torch.no_grad():
        network.forward = lambda batch: nn.Linear.forward(network, batch)
        made = network_outputs(network, samples, "bf16-mixed")
        assert seen == [torch.bfloat16 if processor else torch.float32]
        exact = network_outputs(network, samples)
    assert np.array_equal(made, exact) is not processor


@pytest.mark.parametrize("model", ["mlp", "diffusion"])
def test_a_training_goes_on_on_another_processor(model, values, tmp_path, monkeypatch):
    if model == "diffusion":
        values = {key: value for key, value in values.items() if key != "target"}
        values["model"] = {"name": "diffusion", "widths": [8, 8]}
        values["representation"]["tolerance"] = 0.5
        values["training"]["validate_every"] = 4
        monkeypatch.setattr(
            "crystalcodec.workflow.generating.training.is_pictured", lambda *given: False
        )
    config = wanted(
        merge(values, {"training": {"epochs": 2}, "machine": {"checkpoint_seconds": 0.0}}),
        "bf16-mixed",
    )
    take_step = loop.Loop._take_step

    def interrupted(self, *given):
        take_step(self, *given)
        if self._step == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(module, "computes_bfloat16", lambda: True)
    with monkeypatch.context() as patch:
        patch.setattr(loop.Loop, "_take_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(config, tmp_path / "run")
    folder = tmp_path / "run"
    assert json.loads((folder / "run.json").read_text())["precision"] == "bf16-mixed"
    monkeypatch.setattr(module, "computes_bfloat16", lambda: False)
    said = []
    train(config, folder, say=said.append)
    assert "going on" in said[0]
    assert sum("bfloat16" in line for line in said) == 1
    record = json.loads((folder / "run.json").read_text())
    assert (record["status"], record["precision"]) == ("finished", ONE)


def test_networks_of_the_benchmark(processor, made_dataset, seen):
    representation = IRCR(max_sites=4, max_elements=3)
    dataset = made_dataset(40, 2)
    encoded = representation.encode(dataset.crystals)
    features = SimpleNamespace(representation=representation, arrays=lambda rows: encoded)
    settings = {"hidden": [8], "epochs": 1, "precision": "bf16-mixed"}
    targets = dataset.properties["energy"]
    NETWORKS["mlp"].fit(features, np.arange(40), targets, settings, 0, "cpu")
    assert (torch.bfloat16 in seen) is processor
