"""The two regressors: published shapes and parameter counts, and what does not fit them."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from crystalcodec.models.base import ModelError, build_model, count_parameters
from crystalcodec.registry import MODELS, UnknownNameError, load
from crystalcodec.representations.base import Field, Representation
from crystalcodec.representations.ircr import IRCR
from crystalcodec.representations.radial_distribution import RadialDistribution
from crystalcodec.testing import sample_crystals


@dataclass(frozen=True)
class TwoArrays(Representation):
    """Two fixed arrays, all ones."""

    name: ClassVar[str] = "two"
    lost: ClassVar[str] = "everything"

    @property
    def fields(self):
        return Field("a", "continuous", "a", (4, 2)), Field("b", "continuous", "b", (3,))

    def _encode(self, crystals):
        n = len(crystals)
        return {"a": np.ones((n, 4, 2), np.float32), "b": np.ones((n, 3), np.float32)}


@dataclass(frozen=True)
class Ragged(Representation):
    """A row for each site."""

    name: ClassVar[str] = "ragged"
    lost: ClassVar[str] = "everything"

    @property
    def fields(self):
        return (Field("z", "index", "z", ("sites",)),)

    def _encode(self, crystals):
        return {"z": crystals.numbers}


OF_ARRAYS = [name for name in MODELS if load(MODELS, name).fits(IRCR()) is None]


def head_parameters(width):
    sizes = [width, 1024, 256, 128, 32]
    dense = sum(a * b + b + 2 * b for a, b in itertools.pairwise(sizes))
    return dense + 32 + 1


def test_mlp_is_432_1024_256_128_32_1():
    model = build_model("mlp", IRCR())
    layers = [(m.in_features, m.out_features) for m in model.modules() if isinstance(m, nn.Linear)]
    assert layers == [(432, 1024), (1024, 256), (256, 128), (128, 32), (32, 1)]
    assert [type(m) for m in model.head][:3] == [nn.Linear, nn.BatchNorm1d, nn.ReLU]
    assert count_parameters(model) == head_parameters(432) == 745_729


def test_cnn1d_is_3_64_128_256_256_then_the_same_head():
    model = build_model("cnn1d", IRCR())
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv1d)]
    assert [(c.in_channels, c.out_channels) for c in convolutions] == [
        (3, 64),
        (64, 128),
        (128, 256),
        (256, 256),
    ]
    assert [c.kernel_size[0] for c in convolutions] == [5, 5, 5, 3]
    assert [c.stride[0] for c in convolutions] == [2, 2, 2, 1]
    assert [c.padding[0] for c in convolutions] == [2, 2, 2, 1]
    kinds = (nn.Conv1d, nn.LeakyReLU, nn.BatchNorm2d)
    assert all(map(isinstance, model.convolutions[:3], kinds))
    assert model.convolutions[1].negative_slope == 0.2
    rows = torch.zeros(2, 3, 1, 144)
    assert model.convolutions(rows).shape == (2, 256, 1, 18)
    published = sum(
        a * b * k + b + 2 * b
        for a, b, k in [(3, 64, 5), (64, 128, 5), (128, 256, 5), (256, 256, 3)]
    )
    assert count_parameters(model) == published + head_parameters(256 * 18) == 5_426_433


def test_cnn1d_is_the_network_of_torch_with_its_weights():
    torch.manual_seed(0)
    model = build_model("cnn1d", IRCR()).double()
    layers = []
    for mine in model.convolutions:
        if isinstance(mine, nn.Conv1d):
            one = (mine.kernel_size, mine.stride, mine.padding)
            layers.append(nn.Conv1d(mine.in_channels, mine.out_channels, *one).double())
        elif isinstance(mine, nn.BatchNorm2d):
            layers.append(nn.BatchNorm1d(mine.num_features).double())
        else:
            layers.append(mine)
    reference = nn.Sequential(*layers)
    reference.load_state_dict(model.convolutions.state_dict())
    rows = torch.randn(5, 144, 3, dtype=torch.float64)
    mine = model({"ircr": rows})
    wanted = model.head(reference(rows.transpose(1, 2)).flatten(1))
    assert torch.allclose(mine, wanted, rtol=0, atol=1e-12)
    wanted.square().sum().backward()
    gradients = [p.grad.clone() for p in reference.parameters()]
    model.zero_grad()
    mine.square().sum().backward()
    for parameter, gradient in zip(model.convolutions.parameters(), gradients, strict=True):
        assert torch.allclose(parameter.grad, gradient, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", OF_ARRAYS)
def test_output_is_one_row_a_crystal(name):
    images = IRCR(max_sites=6, max_elements=6)
    model = build_model(name, images, 2).eval()
    crystals = sample_crystals(5, max_sites=6).right_handed()
    x = torch.from_numpy(images.encode(crystals)["ircr"])
    values = model({"ircr": x})
    assert values.shape == (5, 2)
    torch.testing.assert_close(model({"ircr": x[2:3]}), values[2:3])


@pytest.mark.parametrize("name", OF_ARRAYS)
def test_the_last_layer_keeps_full_precision_under_autocast(name):
    model = build_model(name, IRCR()).eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        values = model({"ircr": torch.rand(3, 144, 3)})
    assert values.dtype == torch.float32


def test_mlp_joins_all_arrays():
    model = build_model("mlp", TwoArrays(), hidden=[5])
    assert model.head[0].in_features == 11
    assert model({"a": torch.ones(2, 4, 2), "b": torch.ones(2, 3)}).shape == (2, 1)


def test_other_sizes():
    model = build_model(
        "cnn1d",
        IRCR(),
        channels=[8],
        kernels=[3],
        strides=[1],
        paddings=[1],
        hidden=[4],
        dropout=0.5,
    )
    assert model.head[0].in_features == 8 * 144
    assert any(isinstance(m, nn.Dropout) for m in model.modules())


def test_what_does_not_fit():
    with pytest.raises(ModelError, match=r"'mlp' does not fit 'ragged'.*sites"):
        build_model("mlp", Ragged())
    with pytest.raises(ModelError, match=r"one array \(length, channels\)"):
        build_model("cnn1d", TwoArrays())
    with pytest.raises(ModelError, match="no row is left"):
        build_model("cnn1d", IRCR(), kernels=[5, 5, 5, 30])
    with pytest.raises(ModelError, match="one entry a convolution"):
        build_model("cnn1d", IRCR(), channels=[8, 8])
    with pytest.raises(ModelError, match="one row: nothing to convolve along"):
        build_model("cnn1d", RadialDistribution(n_points=1))


def test_wrong_parameters():
    with pytest.raises(UnknownNameError, match="did you mean 'cnn1d'"):
        build_model("cnn", IRCR())
    with pytest.raises(ModelError, match="did you mean 'hidden'"):
        build_model("mlp", IRCR(), hiden=[3])
    for hidden in ([0], [2.5], "12", [True], 7):
        with pytest.raises(ModelError, match="hidden is"):
            build_model("mlp", IRCR(), hidden=hidden)
    for dropout in (2, -0.1, float("nan")):
        with pytest.raises(ModelError, match="dropout is"):
            build_model("mlp", IRCR(), dropout=dropout)
    with pytest.raises(ModelError, match="model 'cnn1d' cannot take these parameters"):
        build_model("cnn1d", IRCR(), channels=3)
