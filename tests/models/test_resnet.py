"""Residual networks: circular shifts, padding, which axis is what, and that they learn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from crystalcodec.crystals import Crystals
from crystalcodec.data.augmentation import shift_origin
from crystalcodec.models.base import ModelError, build_model
from crystalcodec.models.resnet import ResNet1d, ResNet2d, ResNet3d
from crystalcodec.representations.base import Field, Representation
from crystalcodec.representations.crystens import CrysTens
from crystalcodec.representations.density_cell import DensityCell
from crystalcodec.representations.density_cube import DensityCube
from crystalcodec.representations.ircr import IRCR
from crystalcodec.representations.powder_pattern import PowderPattern
from crystalcodec.representations.slices import DensitySliceBlocks, DensitySlices
from crystalcodec.representations.unimat import UniMat
from crystalcodec.representations.xtal2png import Xtal2PNG
from crystalcodec.testing import sample_crystals

LETTERS = {1: "h", 2: "hw", 3: "dhw"}
SMALL = {"width": 6, "hidden": []}


@dataclass(frozen=True)
class Picture(Representation):
    """One array of zeros, of any shape and layout."""

    shape: tuple[int, ...] = (8, 8)
    layout: str = ""
    index: bool = False

    name: ClassVar[str] = "picture"
    lost: ClassVar[str] = "everything"

    @property
    def layouts(self):
        return {"picture": self.layout} if self.layout else {}

    @property
    def fields(self):
        return (Field("p", "index" if self.index else "continuous", "picture", self.shape),)

    def _encode(self, crystals):
        dtype = np.int64 if self.index else np.float32
        return {"picture": np.zeros((len(crystals), *self.shape), dtype)}


def settled(model):
    """In evaluation, with large weights, and norms that are not those of a new network."""
    generator = torch.Generator().manual_seed(5)
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1 and "head" not in name:
            parameter.data *= 3
    for module in model.modules():
        if hasattr(module, "running_mean"):
            module.running_mean.uniform_(-0.3, 0.3, generator=generator)
            module.running_var.uniform_(0.5, 2.0, generator=generator)
            module.bias.data.uniform_(0.0, 0.5, generator=generator)
    return model.eval()


def built(name, representation, n_targets=2, **parameters):
    torch.manual_seed(0)
    return settled(build_model(name, representation, n_targets, **{**SMALL, **parameters}))


def tensors(encoded):
    return {name: torch.from_numpy(array) for name, array in encoded.arrays.items()}


@pytest.mark.parametrize(
    ("name", "representation", "sizes"),
    [
        ("resnet1d", IRCR(max_sites=6), {"ircr": (3, 116)}),
        ("resnet1d", PowderPattern(), {"powder_pattern": (1, 801)}),
        ("resnet2d", CrysTens(max_sites=12, chemistry=("group",)), {"crystens": (5, 24, 24)}),
        ("resnet2d", Xtal2PNG(), {"xtal2png": (1, 64, 64)}),
        ("resnet2d", DensitySlices(size=32, n_planes=2), {"density_slices": (2, 32, 32)}),
        ("resnet3d", DensitySliceBlocks(), {"density_slice_blocks": (1, 32, 32, 32)}),
        ("resnet3d", DensityCell(size=12), {"density": (3, 12, 12, 12)}),
        ("resnet3d", UniMat(max_atoms_per_element=8), {"unimat": (3, 8, 9, 18)}),
        (
            "resnet3d",
            DensityCube(n_points=22),
            {"density": (1, 22, 22, 22), "species": (8, 22, 22, 22)},
        ),
    ],
)
def test_channels_are_where_the_representation_has_them(name, representation, sizes):
    crystals = sample_crystals(6, max_sites=4)
    arrays = tensors(representation.encode(crystals))
    model = built(name, representation)
    for array, size in sizes.items():
        assert model._channels_first(arrays, array).shape[1:] == size
    assert set(model.joined) == arrays.keys() - sizes.keys()
    values = model(arrays)
    assert values.shape == (len(next(iter(arrays.values()))), 2)
    assert torch.isfinite(values).all()
    # All of the arrays count, those beside the picture too.
    for array in arrays:
        changed = {**arrays, array: arrays[array].flip(0)}
        assert not torch.equal(model(changed), values), array


def test_a_prediction_does_not_depend_on_the_batch():
    crystals, representation = sample_crystals(7), DensityCell(size=10)
    arrays = tensors(representation.encode(crystals))
    model = built("resnet3d", representation)
    alone = {name: array[3:4] for name, array in arrays.items()}
    torch.testing.assert_close(model(alone), model(arrays)[3:4], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_circular_shifts_by_the_stride_change_nothing(axis, kernel):
    grid = Picture((16, 16, 16), "dhw")
    model = built("resnet3d", grid, periodic="dhw", kernel=kernel)
    assert model.stride == 8
    assert len(model.places) == 0
    x = torch.randn(2, 16, 16, 16)
    before = model({"picture": x})
    shifted = model({"picture": x.roll(8, axis + 1)})
    torch.testing.assert_close(shifted, before, rtol=1e-5, atol=1e-6)
    # Nothing else is promised: a shift by one point is another prediction.
    assert not torch.allclose(model({"picture": x.roll(1, axis + 1)}), before, rtol=1e-5, atol=1e-6)


def test_only_periodic_axes_go_round():
    grid = Picture((16, 16, 16), "dhw")
    model = built("resnet3d", grid, periodic="dw", places=False)
    x = torch.randn(2, 16, 16, 16)
    before = model({"picture": x})
    for axis, same in ((1, True), (2, False), (3, True)):
        shifted = model({"picture": x.roll(8, axis)})
        assert torch.allclose(shifted, before, rtol=1e-5, atol=1e-6) == same, axis


def test_the_grid_of_a_cell_is_periodic_without_being_told():
    representation = DensityCell(size=16)
    model = built("resnet3d", representation)
    salt = Crystals.single(
        [[0, 2.8, 2.8], [2.8, 0, 2.8], [2.8, 2.8, 0]], [[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17]
    )
    half = Crystals(
        salt.lattices, salt.frac_coords + np.array([0.5, 0, 0.5]), salt.numbers, salt.offsets
    )
    moved = shift_origin(salt, np.random.default_rng(0))
    values = [model(tensors(representation.encode(c))) for c in (salt, half, moved)]
    # Half the cell is 8 points, the total stride; a shift by less is not exact.
    torch.testing.assert_close(values[0], values[1], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(values[0], values[2], rtol=1e-4, atol=1e-5)
    plain = built("resnet3d", representation, periodic="")
    values = [plain(tensors(representation.encode(c))) for c in (salt, half)]
    assert not torch.allclose(*values, rtol=1e-4, atol=1e-5)


def test_circular_padding_is_that_of_torch():
    model = built("resnet2d", Picture((6, 9), "hw"), periodic="hw", kernel=5)
    x = torch.randn(2, 1, 6, 9)
    around = functional.pad(x, (2, 2, 2, 2), mode="circular")
    wanted = functional.conv2d(around, model.stem.convolution.weight)
    torch.testing.assert_close(model.stem(x), wanted)
    one = built("resnet2d", Picture((6, 9), "hw"), periodic="w", kernel=5).stem
    wanted = functional.conv2d(
        functional.pad(torch.cat([x[..., -2:], x, x[..., :2]], dim=3), (0, 0, 2, 2)),
        one.convolution.weight,
    )
    torch.testing.assert_close(one(x), wanted)


def test_a_block_is_pre_activation():
    model = built("resnet1d", Picture((12, 3), "hc"), kernel=3)
    block, x = model.stages[0][0], torch.randn(2, 6, 12)

    def part(norm, convolution, y):
        mean, var = norm.running_mean[:, None], norm.running_var[:, None]
        y = (y - mean) / (var + norm.eps).sqrt() * norm.weight[:, None] + norm.bias[:, None]
        return functional.conv1d(functional.relu(y), convolution.convolution.weight, padding=1)

    wanted = x + part(block.between, block.second, part(block.before, block.first, x))
    torch.testing.assert_close(block(x), wanted)


def test_places_tell_rows_apart():
    picture = Picture((32, 1), "hc")
    x = torch.zeros(2, 32, 1)
    x[0, 9], x[1, 21] = 1.0, 1.0
    with_places = built("resnet1d", picture)({"picture": x})
    without = built("resnet1d", picture, places=False, blocks=[1], kernel=1)({"picture": x})
    assert not torch.allclose(with_places[0], with_places[1], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(without[0], without[1])


@pytest.mark.parametrize(
    ("size", "stride", "kernel", "left"),
    [(64, 4, 4, 16), (20, 2, 3, 10), (256, 16, 16, 16), (35, 3, 3, 12), (12, 1, 3, 12)],
)
def test_a_stem_in_steps_leaves_few_places_and_none_out(size, stride, kernel, left):
    model = built("resnet2d", Picture((size, 7), "hw"), stem_places=16, blocks=[1])
    assert model.stem.convolution.weight.shape[2:] == (kernel, kernel)
    assert (model.stem_stride, model.stride) == (stride, stride)
    assert [tuple(v.shape[1:]) for v in model.places] == [(left, 1), (1, -(-7 // stride))]
    x = torch.randn(2, size, 7, requires_grad=True)
    model.pooled({"picture": x}).sum().backward()
    assert (x.grad != 0).all()


def test_a_stem_in_steps_is_the_convolution_at_every_step():
    model = built("resnet3d", Picture((32, 32, 32), "dhw"), stem_places=8, periodic="dh")
    x = torch.randn(2, 1, 32, 32, 32)
    kernel = model.stem.convolution.weight
    assert kernel.shape[2:] == (4, 4, 4)
    torch.testing.assert_close(model.stem(x), functional.conv3d(x, kernel, stride=4))
    # Wider than its steps it looks beyond the ends: one place before, two behind.
    wide = built(
        "resnet3d", Picture((32, 32, 32), "dhw"), stem_places=8, periodic="dh", kernel=7
    ).stem
    around = torch.cat([x[:, :, -1:], x, x[:, :, :2]], 2)
    around = torch.cat([around[:, :, :, -1:], around, around[:, :, :, :2]], 3)
    wanted = functional.conv3d(functional.pad(around, (1, 2)), wide.convolution.weight, stride=4)
    torch.testing.assert_close(wide(x), wanted, rtol=1e-4, atol=1e-5)
    # Shifts along periodic axes by the total stride still change nothing.
    before = model({"picture": x[:, 0]})
    assert model.stride == 16
    for axis, same in ((1, True), (2, True), (3, False)):
        shifted = model({"picture": x[:, 0].roll(16, axis)})
        assert torch.allclose(shifted, before, rtol=1e-5, atol=1e-5) == same, axis


def test_a_kernel_may_go_round_more_than_once():
    model = built("resnet2d", Picture((4, 5), "hw"), periodic="hw", kernel=11)
    x = torch.randn(1, 1, 4, 5)
    around = x.repeat(1, 1, 5, 5)[:, :, 8 - 5 : 12 + 5, 10 - 5 : 15 + 5]
    wanted = functional.conv2d(around, model.stem.convolution.weight)
    torch.testing.assert_close(model.stem(x), wanted, rtol=1e-4, atol=1e-5)


def test_small_and_odd_sizes():
    for shape in ((4, 5), (7, 31)):
        model = built("resnet2d", Picture(shape, "hw"), blocks=[1, 2, 1, 1, 1])
        assert torch.isfinite(model({"picture": torch.randn(3, *shape)})).all()


def test_indices_become_vectors():
    volume = Picture((6, 6, 6), "dhw", index=True)
    model = built("resnet3d", volume, stem_stride=1, blocks=[1], kernel=1)
    x = torch.full((2, 6, 6, 6), 11)
    x[1] = 17
    values = model({"picture": x})
    assert not torch.allclose(values[0], values[1])


@pytest.mark.parametrize("name", ["resnet1d", "resnet2d", "resnet3d"])
def test_predictions_keep_full_precision_under_autocast(name):
    dims = int(name[-2])
    model = built(name, Picture((8,) * dims, LETTERS[dims]))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model({"picture": torch.randn(2, *(8,) * dims)}).dtype == torch.float32


@pytest.mark.parametrize(
    ("network", "shape"), [(ResNet1d, (24,)), (ResNet2d, (12, 12)), (ResNet3d, (8, 8, 8))]
)
def test_it_can_learn(network, shape):
    """What no linear network with a mean over places can: two peaks, or one twice as high."""
    torch.manual_seed(0)
    generator = np.random.default_rng(0)
    x = np.zeros((64, *shape), np.float32)
    flat = x.reshape(64, -1)
    for i, row in enumerate(flat):
        row[generator.choice(len(row), 2, replace=False)] = 1.0
        if i % 2:
            row *= 2 * (np.arange(len(row)) == row.argmax())
    assert (flat.sum(axis=1) == 2).all()
    wanted = torch.tensor(np.arange(64) % 2 * 2.0 - 1.0, dtype=torch.float32)[:, None]
    model = network(
        Picture(shape, LETTERS[len(shape)]), width=8, hidden=[16], stem_stride=1, kernel=3
    )
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(30):
        optimiser.zero_grad()
        loss = (model({"picture": torch.from_numpy(x)}) - wanted).square().mean()
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.3


def test_what_does_not_fit():
    for name, representation in (
        ("resnet2d", UniMat()),
        ("resnet1d", CrysTens()),
        ("resnet3d", IRCR()),
        ("resnet2d", IRCR()),  # three columns are channels
    ):
        with pytest.raises(ModelError, match="wanted an array of axes"):
            build_model(name, representation)
    with pytest.raises(ModelError, match="at least 4 long"):
        build_model("resnet1d", Picture((3,), "h"))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"width": 0}, "width is 0"),
        ({"kernel": 4}, "odd number"),
        ({"kernel": True}, "kernel is True"),
        ({"stem_stride": 0.5}, "stem_stride is 0.5"),
        ({"stem_places": 0}, "stem_places is 0"),
        ({"blocks": []}, "for each stage"),
        ({"blocks": [1, 0]}, "for each stage"),
        ({"blocks": "22"}, "for each stage"),
        ({"periodic": "dw"}, "letters among 'hw'"),
        ({"periodic": True}, "letters among 'hw'"),
        ({"hidden": [0]}, "hidden is"),
    ],
)
def test_wrong_parameters(parameters, message):
    with pytest.raises(ModelError, match=message):
        build_model("resnet2d", Picture(), **parameters)


def test_depth_and_width():
    model = build_model("resnet2d", Picture(), width=8, blocks=[1, 3])
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == 1 + 2 + 1 + 6
    assert model.norm.num_features == 16
    assert model.stride == 4
