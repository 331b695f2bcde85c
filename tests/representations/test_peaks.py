"""Peaks against Gaussians whose places are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crystalcodec.representations.density_cube.peaks import find_peaks


def gaussians(shape, places, heights, width=1.5, periodic=False):
    grid = np.stack(np.indices(shape), axis=-1)
    field = np.zeros(shape)
    for place, height in zip(places, heights, strict=True):
        away = grid - np.asarray(place)
        if periodic:
            away = away - np.rint(away / shape) * shape
        field += height * np.exp(-(away**2).sum(axis=-1) / (2 * width**2))
    return field


@given(st.integers(0, 10**6), st.booleans())
def test_one_gaussian_is_exact(seed, periodic):
    rng = np.random.default_rng(seed)
    shape = np.array([12, 13, 14])
    place = rng.uniform(0, shape) if periodic else rng.uniform(1, shape - 2)
    field = gaussians(shape, [place], [2.5], periodic=periodic)
    peaks = find_peaks(field[None], 1.0, periodic=periodic)
    assert len(peaks) == 1
    np.testing.assert_allclose(peaks.positions[0], place, atol=1e-6)
    np.testing.assert_allclose(peaks.heights, 2.5, rtol=1e-6)


def test_a_gaussian_on_skew_axes_is_exact():
    cell = np.array([[0.4, 0, 0], [0.15, 0.35, 0], [-0.1, 0.12, 0.38]])
    grid = np.stack(np.indices((11, 11, 11)), axis=-1)
    place = np.array([5.3, 4.6, 5.1])
    away = (grid - place) @ cell
    peaks = find_peaks(np.exp(-(away**2).sum(axis=-1))[None])
    np.testing.assert_allclose(peaks.positions, [place], atol=1e-9)


def test_fields_of_a_batch_keep_their_peaks():
    one = gaussians((16, 16, 16), [(4, 4, 4), (11.2, 10.5, 4.7)], [1, 3])
    other = gaussians((16, 16, 16), [(8, 8, 8)], [1])
    peaks = find_peaks(np.stack([one, np.zeros_like(one), other, one]), [0, 0, 0, 2])
    assert peaks.index.tolist() == [0, 0, 2, 3]
    positions, heights = peaks.of(0)
    np.testing.assert_allclose(positions, [[11.2, 10.5, 4.7], [4, 4, 4]], atol=1e-3)
    assert heights[0] > heights[1]
    assert len(peaks.of(1)[0]) == 0
    assert len(find_peaks(np.zeros((0, 5, 5, 5)))) == 0


def test_a_peak_across_the_boundary_of_a_periodic_field():
    field = gaussians((10, 10, 10), [(9.7, 0.2, 5)], [1], periodic=True)
    np.testing.assert_allclose(
        find_peaks(field[None], 0.5, periodic=True).positions, [[9.7, 0.2, 5]], atol=1e-6
    )
    at_face = find_peaks(field[None], 0.5)
    assert (at_face.positions >= 0).all()
    assert (at_face.positions <= 9).all()


@pytest.mark.parametrize("periodic", [False, True])
def test_plateaus_count_once_and_constants_do_not_crash(periodic):
    field = np.zeros((1, 8, 8, 8))
    field[0, 3:5, 3:5, 4] = 1.0
    peaks = find_peaks(field, periodic=periodic)
    assert len(peaks) == 1
    assert len(find_peaks(np.ones((2, 6, 6, 6)), periodic=periodic)) <= 2


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
@pytest.mark.parametrize("periodic", [False, True])
def test_junk_does_not_raise(value, periodic):
    field = np.random.default_rng(0).random((1, 6, 6, 6))
    field[0, 2, 2, 2] = value
    peaks = find_peaks(field, periodic=periodic)
    assert np.isfinite(peaks.positions).all()
    assert len(find_peaks(np.full((1, 6, 6, 6), np.nan))) == 0
