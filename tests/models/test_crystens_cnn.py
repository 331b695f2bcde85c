"""The CNN of CrysTens: its sizes, answers computed by hand, what does not fit it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from crystalcodec.crystals import Crystals
from crystalcodec.models.base import ModelError, all_parameters, build_model, count_parameters
from crystalcodec.registry import MODELS, REPRESENTATIONS, load
from crystalcodec.representations.base import Field, Representation
from crystalcodec.representations.crystens import CrysTens
from crystalcodec.workflow import RunConfig

RECIPES = Path(__file__).parents[2] / "benchmarks" / "recipes"


@dataclass(frozen=True)
class Picture(Representation):
    """One array of any shape and layout."""

    name: ClassVar[str] = "picture"
    lost: ClassVar[str] = "everything"

    shape: tuple[int, ...] = (8, 8)
    layout: str = ""

    @property
    def layouts(self):
        return {"picture": self.layout} if self.layout else {}

    @property
    def fields(self):
        return (Field("all", "continuous", "picture", self.shape),)

    def _encode(self, crystals):
        return {"picture": np.ones((len(crystals), *self.shape), np.float32)}


def salts(n, seed=0):
    """Cells of rock-salt kind, and a target that a plane in their numbers tells."""
    rng = np.random.default_rng(seed)
    constants = rng.uniform(3, 6, n)
    numbers = rng.integers(3, 50, (n, 2))
    crystals = Crystals(
        constants[:, None, None] * np.eye(3),
        np.tile([[0.0, 0, 0], [0.5, 0.5, 0.5]], (n, 1)),
        numbers.ravel(),
        np.arange(n + 1) * 2,
    )
    return crystals, 0.5 * constants - 0.05 * numbers[:, 0] - 0.02 * numbers[:, 1]


def test_sizes_on_crystens():
    model = build_model("crystens_cnn", CrysTens())
    kinds = [type(layer) for layer in model.convolutions]
    assert kinds == [nn.Conv2d, nn.ReLU, nn.MaxPool2d] * 3
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert [(c.in_channels, c.out_channels) for c in convolutions] == [(4, 32), (32, 64), (64, 128)]
    assert {c.kernel_size for c in convolutions} == {(3, 3)}
    picture = torch.zeros(2, 4, 64, 64)
    sides = []
    for layer in model.convolutions:
        picture = layer(picture)
        sides.append(tuple(picture.shape[1:]))
    assert sides[2::3] == [(32, 32, 32), (64, 16, 16), (128, 8, 8)]
    head = [(m.in_features, m.out_features) for m in model.head if isinstance(m, nn.Linear)]
    assert head == [(8192, 128), (128, 1)]
    assert isinstance(model.head[1], nn.ReLU)
    convolved = sum(a * b * 9 + b for a, b in [(4, 32), (32, 64), (64, 128)])
    assert count_parameters(model) == convolved + 8192 * 128 + 128 + 128 + 1 == 1_142_369


@pytest.mark.parametrize(
    ("shape", "layout", "order"),
    [
        ((9, 12, 2), "", (0, 1, 2)),
        ((9, 12, 2), "hwc", (0, 1, 2)),
        ((2, 9, 12), "chw", (2, 0, 1)),
    ],
)
def test_an_answer_computed_by_hand(shape, layout, order):
    """One filter that takes channel 1 of the pixel on the right; the head adds up."""
    model = build_model("crystens_cnn", Picture(shape, layout), channels=[1], hidden=[]).eval()
    assert model.head[0].in_features == 4 * 6
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.convolutions[0].weight[0, 1, 1, 2] = 1.0
        model.head[0].weight.fill_(1.0)
        model.head[0].bias.fill_(0.25)
    pictures = np.random.default_rng(0).normal(size=(3, 9, 12, 2)).astype(np.float32)
    wanted = []
    for picture in pictures[..., 1]:
        right = np.zeros((9, 12))
        right[:, :-1] = picture[:, 1:]
        # Of nine rows the last has no partner in a pooling by two.
        blocks = [
            right[2 * i : 2 * i + 2, 2 * j : 2 * j + 2].max() for i in range(4) for j in range(6)
        ]
        wanted.append(sum(max(0.0, block) for block in blocks) + 0.25)
    arrays = {"picture": torch.from_numpy(pictures.transpose(0, *(n + 1 for n in order)))}
    np.testing.assert_allclose(model(arrays).detach().numpy()[:, 0], wanted, rtol=1e-5)


def test_a_picture_without_channels_is_one_channel():
    torch.manual_seed(0)
    flat = build_model("crystens_cnn", Picture((10, 9)), channels=[3], hidden=[4]).eval()
    deep = build_model("crystens_cnn", Picture((10, 9, 1)), channels=[3], hidden=[4]).eval()
    deep.load_state_dict(flat.state_dict())
    x = torch.randn(2, 10, 9)
    torch.testing.assert_close(flat({"picture": x}), deep({"picture": x[..., None]}))


def test_one_row_a_crystal_whatever_else_is_in_the_batch():
    torch.manual_seed(0)
    model = build_model("crystens_cnn", CrysTens(max_sites=4), 2, dropout=0.5).eval()
    x = torch.randn(6, 16, 16, 4)
    values = model({"crystens": x})
    assert values.shape == (6, 2)
    torch.testing.assert_close(model({"crystens": x[3:4]}), values[3:4])


def test_the_last_layer_keeps_full_precision_under_autocast():
    model = build_model("crystens_cnn", CrysTens(max_sites=4))
    x = torch.randn(5, 16, 16, 4)
    exact = model({"crystens": x})
    with torch.autocast("cpu", dtype=torch.bfloat16):
        values = model({"crystens": x})
        values.sum().backward()
    assert values.dtype == torch.float32
    torch.testing.assert_close(values, exact, rtol=0.05, atol=0.02)
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_it_learns_something():
    torch.manual_seed(0)
    representation = CrysTens(max_sites=4, normalisation="avg_std")
    crystals, targets = salts(128)
    held_out, wanted = salts(64, seed=1)
    x = torch.from_numpy(representation.encode(crystals)["crystens"])
    y = torch.from_numpy(targets).float()[:, None]
    model = build_model("crystens_cnn", representation, channels=[8, 16], hidden=[32])
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    # At a constant rate the last step decides, and with it the rounding of the processor.
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 150)
    for _ in range(150):
        optimiser.zero_grad()
        nn.functional.l1_loss(model({"crystens": x}), y).backward()
        optimiser.step()
        schedule.step()
    model.eval()
    new = torch.from_numpy(representation.encode(held_out)["crystens"])
    errors = model({"crystens": new}).detach().numpy()[:, 0] - wanted
    assert np.abs(errors).mean() < 0.3 * np.abs(wanted - targets.mean()).mean()


FITTING = {
    "crystens",
    "xtal2png",
    "crystal_image",
    "density_slices",
    "coulomb_matrix",
    "ewald_sum_matrix",
    "sine_matrix",
}


@pytest.mark.parametrize("model", ["crystens_cnn", "pretrained_features"])
def test_what_of_the_registry_fits(model):
    fits = load(MODELS, model).fits
    fitting = {name for name in REPRESENTATIONS if fits(load(REPRESENTATIONS, name)()) is None}
    assert fitting & set(FITTING) == FITTING
    for name in ("ircr", "ftcp", "unimat", "density_cube", "composition", "crystal_graph"):
        assert name not in fitting


@pytest.mark.parametrize(
    ("representation", "says"),
    [
        (Picture((144, 3)), "at least 8 rows and 8 columns"),
        (Picture((7, 64, 4)), "at least 8 rows and 8 columns"),
        (Picture((16, 16, 16), "dhw"), "of axes dhw; wanted one array"),
        (Picture((238, 62), "hc"), "of axes hc"),
        (Picture((118,)), "no picture; wanted one array"),
        (Picture((4, 8, 8, 3)), "no picture; wanted one array"),
        (Picture(("sites", 8)), "differ from crystal to crystal"),
    ],
)
def test_what_does_not_fit(representation, says):
    for model in ("crystens_cnn", "pretrained_features"):
        with pytest.raises(ModelError, match=f"'{model}' does not fit 'picture'.*{says}"):
            build_model(model, representation)


@pytest.mark.parametrize("recipe", sorted(RECIPES.glob("crystens_*.toml")), ids=lambda p: p.stem)
def test_the_recipes_can_be_run(recipe):
    config = RunConfig.read(recipe)
    assert config.representation.name == "crystens"
    representation = CrysTens(**config.representation.parameters)
    assert load(MODELS, config.model.name).fits(representation) is None
    all_parameters(config.model.name, **config.model.parameters)


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"channels": [8, 0]}, "channels is"),
        ({"channels": "32"}, "channels is"),
        ({"hidden": [2.5]}, "hidden is"),
        ({"channels": [4] * 5}, "5 poolings leave nothing of 16 x 16 pixels"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"chanels": [3]}, "did you mean 'channels'"),
    ],
)
def test_wrong_parameters(parameters, says):
    with pytest.raises(ModelError, match=says):
        build_model("crystens_cnn", CrysTens(max_sites=4), **parameters)
