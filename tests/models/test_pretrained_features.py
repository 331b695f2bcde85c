"""Frozen MobileNetV2 and its head: sizes, what it sees, what stays, where weights are from."""

from __future__ import annotations

import json
import socket
import warnings

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from crystalcodec.models.base import ModelError, all_parameters, build_model, count_parameters
from crystalcodec.models.scaling import fit_scaling
from crystalcodec.representations.crystens import CrysTens
from crystalcodec.workflow.checkpoints import load_weights
from crystalcodec.workflow.runs import save_model

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    transformers = pytest.importorskip("transformers")
    hub = pytest.importorskip("huggingface_hub")

NAME = "nobody/has-this-model"
SMALL = CrysTens(max_sites=4)  # 16 x 16 x 4
TINY = {"depth_multiplier": 0.35, "image_size": 32, "hidden": [8], "weights": "random"}


def tiny(n_targets=1, representation=SMALL, **parameters):
    return build_model("pretrained_features", representation, n_targets, **(TINY | parameters))


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Made weights in a folder, as the hub holds them: with a classifier, and the answer to it."""
    folder = tmp_path_factory.mktemp("published")
    torch.manual_seed(7)
    config = transformers.MobileNetV2Config(depth_multiplier=0.35, num_labels=3)
    network = transformers.MobileNetV2ForImageClassification(config)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if tensor.ndim > 1:
                nn.init.kaiming_normal_(tensor)
            elif tensor.is_floating_point():
                about = 0.0 if name.endswith(("bias", "mean")) else 1.0
                tensor.copy_(about + 0.2 * torch.rand(tensor.shape) - 0.1)
    network.eval().save_pretrained(folder)
    return folder, network.mobilenet_v2


@pytest.fixture
def copied(published, tmp_path):
    folder = tmp_path / "weights"
    folder.mkdir()
    for path in published[0].iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


def test_sizes(no_network):
    model = build_model("pretrained_features", CrysTens(), weights="random")
    # The published 3.4 million less the 1280 x 1001 of its classifier.
    assert sum(p.numel() for p in model.features.parameters()) == 2_223_872
    head = [(m.in_features, m.out_features) for m in model.head if isinstance(m, nn.Linear)]
    assert head == [(1280, 1024), (1024, 512), (512, 128), (128, 1)]
    assert [m.p for m in model.head if isinstance(m, nn.Dropout)] == [0.3] * 3
    normalised = 2 * (1024 + 512 + 128)
    assert count_parameters(model) == sum(a * b + b for a, b in head) + normalised
    assert model.image_size == 224


class _Seen(nn.Module):
    """Stands in the place of MobileNetV2 and keeps what it is given."""

    def forward(self, pixel_values):
        self.pixels = pixel_values
        return type("Output", (), {"pooler_output": pixel_values.mean((2, 3)).repeat(1, 427)})


def seen(x, representation=SMALL, **parameters):
    model = tiny(representation=representation, **parameters)
    model.features = stand_in = _Seen()
    model.extract({representation.name: torch.as_tensor(x, dtype=torch.float32)})
    return stand_in.pixels.detach().numpy()


def test_the_differences_of_crystens_become_the_three_channels():
    representation = CrysTens(max_sites=20)
    x = np.random.default_rng(0).random((2, 32, 32, 4))
    pixels = seen(x, representation)
    np.testing.assert_allclose(pixels, 2 * x[..., 1:].transpose(0, 3, 1, 2) - 1, atol=1e-6)
    learned = seen(x, representation, channels="learned")
    np.testing.assert_allclose(learned, pixels, atol=1e-6)
    mean = seen(x, representation, channels="average")
    for channel in range(3):
        np.testing.assert_allclose(mean[:, channel], 2 * x.mean(3) - 1, atol=1e-6)
    shifted = seen(3 * x - 1, representation, value_range=[-1, 2])
    np.testing.assert_allclose(shifted, pixels, atol=1e-6)


def test_fewer_channels_are_repeated():
    from crystalcodec.representations.site_matrices import CoulombMatrix

    x = np.random.default_rng(0).random((1, 32, 32))
    pixels = seen(x, CoulombMatrix(max_sites=32))
    for channel in range(3):
        np.testing.assert_allclose(pixels[0, channel], 2 * x[0] - 1, atol=1e-6)


def test_resized_between_the_centres_of_pixels():
    x = np.zeros((1, 16, 16, 4))
    x[0, :, 1:] = 1.0  # one dark column on the left
    pixels = seen(x, image_size=32)
    assert pixels.shape == (1, 3, 32, 32)
    np.testing.assert_allclose(pixels[0, 0, 5, :5], [-1, -0.5, 0.5, 1, 1], atol=1e-6)
    large = CrysTens(max_sites=52)
    rows = np.tile(np.arange(64)[:, None, None] % 2, (1, 1, 64, 4))
    inner = seen(rows, large)[..., 4:-4, :]
    np.testing.assert_allclose(inner, 0, atol=0.15)  # stripes of one pixel are grey at half size


def test_made_weights_are_read_and_give_the_features_of_the_network_itself(published, no_network):
    folder, network = published
    model = tiny(weights=str(folder), image_size=64, representation=CrysTens()).eval()
    assert model.weights_used == str(folder)
    x = torch.rand(3, 64, 64, 4)
    with torch.no_grad():
        wanted = network(2 * x[..., 1:].permute(0, 3, 1, 2) - 1).pooler_output
    assert wanted.std(0).mean() > 1e-3
    torch.testing.assert_close(model.extract({"crystens": x}), wanted)


def test_nothing_frozen_moves_in_training(published):
    torch.manual_seed(0)
    model = tiny(2, weights=str(published[0]), dropout=0.5).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    trained = [p for p in model.parameters() if p.requires_grad]
    assert len(trained) == sum(1 for _ in model.head.parameters())
    optimiser = torch.optim.AdamW(trained, 0.01, weight_decay=1.0)
    x, y = torch.rand(8, 16, 16, 4), torch.rand(8, 2)
    for _ in range(3):
        optimiser.zero_grad()
        nn.functional.mse_loss(model({"crystens": x}), y).backward()
        optimiser.step()
    after = model.state_dict()
    for name, tensor in before.items():
        frozen = name.startswith(("features.", "mix.", "_extra"))
        assert torch.equal(after[name], tensor) == frozen, name
    assert not any(m.training for m in model.features.modules())
    assert all(p.grad is None for p in model.features.parameters())
    assert model.head.training


def test_a_learned_mix_moves_and_the_network_behind_it_does_not():
    model = tiny(channels="learned")
    before = [p.clone() for p in model.features.parameters()]
    model({"crystens": torch.rand(4, 16, 16, 4)}).square().sum().backward()
    assert model.mix.weight.grad.abs().sum() > 0
    assert all(p.grad is None for p in model.features.parameters())
    assert all(map(torch.equal, before, model.features.parameters()))


def test_a_saved_model_needs_neither_folder_nor_network(copied, tmp_path, no_network):
    parameters = TINY | {"weights": str(copied)}
    model = build_model("pretrained_features", SMALL, **parameters).eval()
    x = torch.rand(4, 16, 16, 4)
    wanted = model({"crystens": x})
    scaling = fit_scaling({"crystens": x.numpy()}, "none")
    save_model(tmp_path, model, scaling)
    for path in copied.iterdir():
        path.unlink()
    recorded = all_parameters("pretrained_features", **parameters) | model.recorded()
    recorded = json.loads(json.dumps(recorded))
    assert recorded["weights_used"] == str(copied)
    opened = build_model("pretrained_features", SMALL, **recorded)
    assert opened.weights_used == "random"
    opened.load_state_dict(load_weights(tmp_path / "model.safetensors")[0])
    assert torch.equal(opened.eval()({"crystens": x}), wanted)
    assert opened.weights_used == str(copied)
    # Without its record's entry the weights themselves still tell what they are.
    other = tiny()
    other.load_state_dict(load_weights(tmp_path / "model.safetensors")[0])
    assert other.weights_used == str(copied)
    with pytest.raises(ModelError, match="no config"):
        build_model("pretrained_features", SMALL, **parameters)


def test_random_weights_are_the_same_each_time_and_tell_pictures_apart():
    states = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        model = tiny().eval()
        states.append(model.features.state_dict())
        assert model.weights_used == "random"
    assert all(torch.equal(states[0][name], tensor) for name, tensor in states[1].items())
    features = model.extract({"crystens": torch.rand(6, 16, 16, 4)})
    assert features.std(0).mean() > 0.02 * features.abs().mean() > 0
    # The other random numbers go on as if none had been drawn for them.
    torch.manual_seed(3)
    first = tiny().head[0].weight
    torch.manual_seed(3)
    nn.Conv2d(4, 3, 1)
    assert torch.equal(nn.Linear(1280, 8).weight, first)


class _Session:
    def __init__(self, answer):
        self.answer = answer

    def head(self, url, timeout):
        assert NAME in url
        assert timeout <= 10
        if isinstance(self.answer, Exception):
            raise self.answer
        return type("Answer", (), {"status_code": self.answer})


@pytest.mark.parametrize(
    ("answer", "says"),
    [(OSError("Name or service not known"), "Name or service not known"), (503, "status 503")],
)
def test_a_hub_out_of_reach_means_random_weights_and_says_so(monkeypatch, answer, says):
    monkeypatch.setattr(hub, "get_session", lambda: _Session(answer))
    with pytest.warns(UserWarning, match=f"RANDOM weights: there is no folder {NAME}.*{says}"):
        model = tiny(weights=NAME)
    assert says in model.recorded()["weights_used"]
    assert model.recorded()["weights_used"].startswith("random: ")
    own, random = model.features.state_dict(), tiny().features.state_dict()
    assert all(torch.equal(own[name], tensor) for name, tensor in random.items())


def test_offline_mode_asks_nobody(monkeypatch, no_network):
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.warns(UserWarning, match="offline mode is enabled"):
        model = tiny(weights=NAME)
    assert model.weights_used.startswith("random: ")


def test_a_hub_without_such_a_model_is_an_error(monkeypatch):
    for status in (401, 404):
        monkeypatch.setattr(hub, "get_session", lambda status=status: _Session(status))
        with pytest.raises(ModelError, match=f"the hub has no model.safetensors of '{NAME}'"):
            tiny(weights=NAME)


def test_weights_from_the_hub_or_its_cache(monkeypatch, published):
    folder = published[0]
    asked = []

    def download(name, file, local_files_only=False):
        asked.append((name, file, local_files_only))
        if local_files_only and not cached:
            raise hub.errors.LocalEntryNotFoundError("not there")
        return str(folder / file)

    monkeypatch.setattr(hub, "hf_hub_download", download)
    monkeypatch.setattr(hub, "get_session", lambda: _Session(302))
    wanted = tiny(weights=str(folder)).features.state_dict()
    for cached in (True, False):
        asked.clear()
        model = tiny(weights=NAME)
        assert model.weights_used == NAME
        own = model.features.state_dict()
        assert all(torch.equal(own[name], tensor) for name, tensor in wanted.items())
        assert [online for *_, online in asked] == ([True] * 2 if cached else [True, False, False])

    cached = False

    def broken(name, file, local_files_only=False):
        raise hub.errors.LocalEntryNotFoundError("x") if local_files_only else OSError("disk full")

    monkeypatch.setattr(hub, "hf_hub_download", broken)
    with pytest.warns(UserWarning, match="the download from the hub failed.*disk full"):
        tiny(weights=NAME)


def test_folders_that_hold_no_such_weights(copied, tmp_path):
    def refused(says, **parameters):
        with pytest.raises(ModelError, match=says):
            tiny(**({"weights": str(copied)} | parameters))

    refused("there is no folder", weights=str(tmp_path / "nowhere"))
    refused("there is no folder", weights=str(copied / "config.json"))
    refused("there is no folder", weights="weights")
    refused("wanted a folder", weights="")
    refused("wanted a folder", weights=7)
    refused("depth_multiplier 0.35 there, 0.5 here", depth_multiplier=0.5)
    weights, config = copied / "model.safetensors", copied / "config.json"
    tensors = load_file(weights)
    some = dict(list(tensors.items())[::2])
    save_file(some, weights)
    refused("tensors are missing or of another shape")
    wrong = {name: t.flatten()[:1].clone() if t.ndim == 4 else t for name, t in tensors.items()}
    save_file(wrong, weights)
    refused("tensors are missing or of another shape")
    name = "mobilenet_v2.conv_1x1.convolution.weight"
    save_file(tensors | {name: tensors[name] * np.nan}, weights)
    refused("not finite")
    weights.write_bytes(b"PK\x03\x04 pickled")
    refused("is damaged")
    weights.rename(copied / "pytorch_model.bin")
    refused("no model.safetensors; only safetensors are read")
    config.write_text("[]")
    weights.write_bytes(b"")
    refused("is no configuration|is damaged")


def test_one_row_a_crystal_whatever_else_is_in_the_batch(published):
    model = tiny(2, weights=str(published[0])).eval()
    x = torch.rand(70, 16, 16, 4)  # more than go through MobileNetV2 at once
    values = model({"crystens": x})
    assert values.shape == (70, 2)
    torch.testing.assert_close(model({"crystens": x[66:67]}), values[66:67])
    assert values.std(0).min() > 0


def test_the_last_layer_keeps_full_precision_under_autocast(published):
    model = tiny(weights=str(published[0]), dropout=0.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        values = model({"crystens": torch.rand(5, 16, 16, 4)})
        values.sum().backward()
    assert values.dtype == torch.float32
    assert values.isfinite().all()


def test_a_whole_run(copied, tmp_path, no_network):
    """Trained, written, opened again without folder and network; better than knowing nothing."""
    from crystalcodec.crystals import Crystals
    from crystalcodec.data import Dataset
    from crystalcodec.workflow import RunConfig, open_run, predict, train

    rng = np.random.default_rng(0)
    n = 120
    numbers = rng.integers(3, 90, (n, 2))
    crystals = Crystals(
        rng.uniform(3, 6, n)[:, None, None] * np.eye(3),
        np.tile([[0.0, 0, 0], [0.5, 0.5, 0.5]], (n, 1)),
        numbers.ravel(),
        np.arange(n + 1) * 2,
    )
    Dataset.from_crystals(crystals, properties={"z": numbers.mean(1)}).write(tmp_path / "d.parquet")
    parameters = TINY | {"weights": str(copied), "hidden": [32], "dropout": 0.1}
    config = RunConfig.of(
        {
            "data": {"dataset": str(tmp_path / "d.parquet"), "fractions": [0.75, 0.25, 0.0]},
            "target": {"column": "z"},
            "representation": {"name": "crystens", "max_sites": 4, "normalisation": "avg_std"},
            "model": {"name": "pretrained_features", **parameters},
            "scaling": {"kind": "none"},
            "training": {"epochs": 12, "batch_size": 30, "learning_rate": 0.01},
            "machine": {"device": "cpu"},
        }
    )
    run = train(config, tmp_path / "run")
    assert run.record["model"]["weights"] == run.predictor.weights_used == str(copied)
    fresh = tiny(weights=str(copied)).features.state_dict()
    kept = run.predictor.features.state_dict()
    assert all(torch.equal(kept[name], tensor) for name, tensor in fresh.items())
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["validation"]["r2"] > 0.3
    assert run.record["model"]["weights_used"] == str(copied)
    for path in copied.iterdir():
        path.unlink()
    copied.rmdir()
    again = open_run(tmp_path / "run")
    np.testing.assert_array_equal(predict(again, crystals).values, predict(run, crystals).values)


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"channels": "first"}, "channels is 'first'"),
        ({"image_size": 16}, "image_size is 16"),
        ({"image_size": 40.0}, "image_size is 40.0"),
        ({"depth_multiplier": 0}, "depth_multiplier is 0"),
        ({"value_range": [1, 0]}, "the lower one first"),
        ({"value_range": [0, float("inf")]}, "two finite numbers"),
        ({"value_range": [1]}, "two finite numbers"),
        ({"dropout": -0.1}, "dropout is -0.1"),
        ({"hidden": [0]}, "hidden is"),
        ({"weigths": "random"}, "did you mean 'weights'"),
    ],
)
def test_wrong_parameters(parameters, says):
    with pytest.raises(ModelError, match=says):
        tiny(**parameters)
