"""Slices of densities that are known functions of space."""

from __future__ import annotations

import numpy as np
import pytest

from crystalcodec.crystals import Crystals
from crystalcodec.io.volumetric import VolumetricData
from crystalcodec.representations.base import RepresentationError
from crystalcodec.representations.slices.charge import (
    ChargeSlicing,
    charge_block,
    plane_picture,
)

LATTICE = np.array([[6.0, 0, 0], [1.5, 5.0, 0], [-0.7, 0.4, 7.0]])
SHAPE = (24, 20, 30)


def density(f):
    """A smooth function of fractional coordinates with the period of the cell."""
    x, y, z = np.moveaxis(2 * np.pi * np.asarray(f), -1, 0)
    return 2 + np.cos(x) + 0.5 * np.sin(y) + 0.3 * np.cos(z + x) + 0.2 * np.sin(2 * y - z)


def volume(shape=SHAPE):
    grid = np.stack(np.meshgrid(*[np.arange(n) / n for n in shape], indexing="ij"), -1)
    crystal = Crystals.single(LATTICE, [[0, 0, 0]], [11])
    return VolumetricData(crystal, density(grid))


def unit(values):
    return (values - values.min()) / (values.max() - values.min())


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("size", [256, 30, 10])
def test_a_fractional_picture_is_the_cell(axis, size):
    (one,) = ChargeSlicing(size=size, axes=(axis,), indices=(3,)).cut(volume())
    f = np.zeros((size, size, 3))
    f[..., axis] = 3 / SHAPE[axis]
    f[..., (axis + 1) % 3] = (np.arange(size) + 0.5) / size
    f[..., (axis + 2) % 3] = ((np.arange(size)[::-1] + 0.5) / size)[:, None]
    np.testing.assert_allclose(one.picture, unit(density(f)), atol=0.03 if size > 10 else 0.12)
    assert (one.axis, one.index) == (axis, 3)
    np.testing.assert_allclose(one.frame[0], LATTICE[(axis + 1) % 3])
    np.testing.assert_allclose(one.frame[:2] @ one.frame[2], 0, atol=1e-12)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_cartesian_picture_is_true_to_scale(axis):
    slicing = ChargeSlicing(size=50, axes=(axis,), indices=(-2,), shape="cartesian", width=11.0)
    (one,) = slicing.cut(volume())
    assert one.index == SHAPE[axis] - 2
    np.testing.assert_allclose(one.frame @ one.frame.T, np.eye(3), atol=1e-12)
    steps = (np.arange(50) - 24.5) * 0.22
    points = (
        one.origin + steps[None, :, None] * one.frame[0] + steps[::-1, None, None] * one.frame[1]
    )
    f = points @ np.linalg.inv(LATTICE)
    np.testing.assert_allclose(f[..., axis], one.index / SHAPE[axis], atol=1e-12)
    np.testing.assert_allclose(one.picture, unit(density(f)), atol=0.03)


def test_weights_keep_the_mean_and_a_constant():
    constant = VolumetricData(volume().crystals, np.full((7, 5, 6), 2.5))
    for size in (3, 7, 64):
        slices = [*ChargeSlicing(size=size, scaling="volume").cut(constant)]
        assert len(slices) == 18
        assert not any(one.picture.any() for one in slices)
    picture = plane_picture(constant, np.eye(3), np.zeros(3), width=30.0, size=8)
    np.testing.assert_allclose(picture, 2.5)


def test_area_means_of_a_coarser_picture_are_exact():
    values = np.random.default_rng(0).random((1, 4, 8))
    data = VolumetricData(volume().crystals, values)
    (one,) = ChargeSlicing(size=2, axes=(0,), scaling="volume", min_share=0).cut(data)
    # Pixels meet half way between grid points only where these fall on their edges: half of each.
    y = np.array([[0.5, 1, 0.5, 0], [0.5, 0, 0.5, 1]]) / 2
    z = np.array([[0.5, 1, 1, 1, 0.5, 0, 0, 0], [0.5, 0, 0, 0, 0.5, 1, 1, 1]]) / 4
    wanted = (z @ values[0].T @ y.T)[::-1]
    scaled = (wanted - values.min()) / np.ptp(values)
    np.testing.assert_allclose(one.picture, scaled, atol=1e-6)


def test_sparse_slices_are_dropped_and_told():
    values = np.zeros((10, 8, 8))
    values[2:5] = 1.0
    values[7, 0, 0] = 90.0
    slab = VolumetricData(volume().crystals, values)
    kept = {
        one.index: one.share
        for one in ChargeSlicing(size=8, axes=(0,)).cut(slab)
        if one.picture is not None
    }
    assert kept == {2: 1.0, 3: 1.0, 4: 1.0}
    everything = [*ChargeSlicing(size=8, axes=(0,), min_share=0).cut(slab)]
    assert all(one.picture is not None for one in everything)
    assert everything[7].share == pytest.approx(1 / 64)
    lower = ChargeSlicing(size=8, axes=(0,), min_share=1 / 64)
    assert sum(one.picture is not None for one in lower.cut(slab)) == 4


def test_scaling_by_slice_and_by_volume():
    data = volume()
    by_slice = [one.picture for one in ChargeSlicing(size=40, axes=(0,)).cut(data)]
    assert all(p.min() == 0 and p.max() == 1 for p in by_slice)
    by_volume = [
        one.picture for one in ChargeSlicing(size=40, axes=(0,), scaling="volume").cut(data)
    ]
    assert min(p.min() for p in by_volume) >= 0
    assert np.argmax([p.mean() for p in by_volume]) == np.argmax(data.values.mean(axis=(1, 2)))


def test_a_fractional_block_is_its_slices():
    data = volume()
    block = charge_block(data, depth=15, size=12, axis=2)
    assert block.shape == (15, 12, 12)
    assert (block.min(), block.max()) == (0, 1)
    f = np.zeros((15, 12, 12, 3))
    f[..., 2] = ((np.arange(15) + 0.5) / 15)[:, None, None]
    f[..., 0] = (np.arange(12) + 0.5) / 12
    f[..., 1] = ((np.arange(12)[::-1] + 0.5) / 12)[:, None]
    np.testing.assert_allclose(block, unit(density(f)), atol=0.06)


def test_a_cartesian_block_follows_the_normal():
    block = charge_block(
        volume(), depth=5, size=16, axis=0, shape="cartesian", width=6.0, spacing=0.8
    )
    normal = np.cross(LATTICE[1], LATTICE[2])
    normal /= np.linalg.norm(normal)
    middle = np.full(3, 0.5) @ LATTICE
    planes = [
        density(
            (
                middle
                + place * 0.8 * normal
                + ((np.arange(16) - 7.5) * 0.375)[None, :, None]
                * (r := LATTICE[1] / np.linalg.norm(LATTICE[1]))
                + ((np.arange(16)[::-1] - 7.5) * 0.375)[:, None, None] * np.cross(normal, r)
            )
            @ np.linalg.inv(LATTICE)
        )
        for place in range(-2, 3)
    ]
    np.testing.assert_allclose(block, unit(np.array(planes)), atol=0.03)


@pytest.mark.parametrize(
    "parameters",
    [
        {"size": 1},
        {"axes": ()},
        {"axes": (3,)},
        {"shape": "round"},
        {"scaling": "none"},
        {"width": -1.0},
        {"threshold": -1.0},
        {"min_share": 2.0},
    ],
)
def test_odd_parameters_are_refused(parameters):
    with pytest.raises(RepresentationError, match=next(iter(parameters))):
        ChargeSlicing(**parameters)


def test_a_point_beyond_the_grid_is_refused():
    with pytest.raises(RepresentationError, match="no grid point 24 along axis 0 of 24"):
        [*ChargeSlicing(axes=(0,), indices=(24,)).cut(volume())]
    with pytest.raises(RepresentationError, match="depth"):
        charge_block(volume(), depth=0)
