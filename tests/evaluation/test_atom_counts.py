"""Counting atoms in pictures whose atoms are known."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from crystalcodec.crystals import Crystals
from crystalcodec.evaluation.atom_counts import (
    AtomCountError,
    _noise,
    atom_positions,
    count_atoms,
    counting_errors,
)
from crystalcodec.representations.slices import DensitySlices
from crystalcodec.representations.slices.drawing import SliceStyle, draw_slice

pytest.importorskip("skimage")

STYLE = SliceStyle(size=128, width=20.0)


def scattered(seed, n=60):
    """Atoms at least 0.7 Å apart, in and around the picture."""
    rng = np.random.default_rng(seed)
    kept = np.zeros((0, 2))
    while len(kept) < n:
        one = rng.uniform(-11, 11, 2)
        if len(kept) == 0 or np.linalg.norm(kept - one, axis=1).min() > 0.7:
            kept = np.vstack([kept, one])
    return kept


@pytest.mark.parametrize("seed", range(6))
def test_places_are_found_to_a_fraction_of_a_pixel(seed):
    atoms = scattered(seed)
    picture = STYLE.draw(atoms, np.full(len(atoms), 6))
    inside = atoms[(np.abs(atoms) < 10 - 0.02).all(axis=1)]
    rows = 63.5 - inside[:, 1] / STYLE.pixel
    columns = inside[:, 0] / STYLE.pixel + 63.5
    got = atom_positions(picture)
    apart = np.linalg.norm(got[:, None] - np.stack([rows, columns], axis=1), axis=2)
    assert apart.min(axis=0).max() < 0.35
    assert abs(len(got) - len(inside)) <= 1


def test_a_top_between_two_pixels_is_one_atom():
    style = SliceStyle(size=10, width=10.0, sigma=1.0)
    for place in ([0.0, 0.0], [0.5, 0.0], [0.0, 0.5], [0.5, 0.5]):
        picture = style.draw(np.array([place]), np.array([1]))
        assert count_atoms(picture[None]).tolist() == [1]
        np.testing.assert_allclose(
            atom_positions(picture)[0], [4.5 - place[1], 4.5 + place[0]], atol=1e-3
        )


def test_atoms_across_the_rim_are_not_counted():
    style = SliceStyle(size=40, width=10.0, sigma=0.4)
    for x, n in ((4.9, 1), (5.1, 0), (5.6, 0)):
        for place in ([x, 0.3], [-x, 0.3], [0.3, x], [0.3, -x]):
            picture = style.draw(np.array([[-1.0, -1.0], place]), np.array([1, 1]))
            assert len(atom_positions(picture)) == 1 + n, place


def test_made_slices_are_counted():
    crystals = Crystals.concatenate(
        [
            Crystals.single(np.diag([3.0, 3.3, 3.7]), [[0.1, 0.2, 0.3]], [26]),
            Crystals.single(
                4 * np.eye(3),
                [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]],
                [38, 22, 8, 8, 8],
            ),
        ]
    )
    slices = DensitySlices(n_planes=4, width=20.0, size=128)
    truth, pictures = [], []
    for crystal in crystals:
        planes = slices.planes(crystal)
        for j in range(4):
            picture, n = draw_slice(crystal, planes, j, slices.style)
            truth.append(n)
            pictures.append(picture)
    errors = counting_errors(truth, count_atoms(np.array(pictures)))
    assert errors["mean_relative_error"] < 0.02
    pixels = np.rint(np.array(pictures) * 255).astype(np.uint8)
    assert counting_errors(truth, count_atoms(pixels))["mean_relative_error"] < 0.02


def test_noise_needs_smoothing():
    atoms = scattered(1, 30)
    picture = STYLE.draw(atoms, np.full(30, 6))
    noisy = picture + np.random.default_rng(0).normal(0, 16 / 255, picture.shape)
    wanted = count_atoms(picture[None])[0]
    assert abs(count_atoms(noisy[None], smoothing=0.7)[0] - wanted) <= 2
    assert count_atoms(noisy[None])[0] > 2 * wanted


@pytest.mark.parametrize("noise", [4, 16, 32])
def test_noise_is_measured(noise):
    atoms = scattered(2, 60)
    style = SliceStyle(size=256, width=20.0)
    picture = style.draw(atoms, np.full(60, 6))
    noisy = picture + np.random.default_rng(0).normal(0, noise / 255, picture.shape)
    assert _noise(noisy) * 255 == pytest.approx(noise, rel=0.1)


def test_errors_of_counts():
    errors = counting_errors([10, 20, 0, 40], [10, 22, 1, 38])
    assert errors == {
        "n": 4,
        "exact": 0.25,
        "mean_absolute_error": 1.25,
        "mean_relative_error": pytest.approx((0 + 0.1 + 0.05) / 3),
        "bias": 0.25,
    }


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: count_atoms(np.zeros((8, 8))), "wanted"),
        (lambda: atom_positions(np.zeros(8)), "wanted"),
        (lambda: atom_positions(np.zeros((2, 2))), "wanted"),
        (lambda: atom_positions(np.full((8, 8), np.nan)), "NaN"),
        (lambda: atom_positions(np.zeros((8, 8), int)), "wanted real numbers"),
        (lambda: counting_errors([], []), "wanted one each"),
        (lambda: counting_errors([1], [1, 2]), "wanted one each"),
    ],
)
def test_what_is_no_picture_is_refused(call, match):
    with pytest.raises(AtomCountError, match=match):
        call()


def test_the_extra_is_named_where_scikit_image_is_not_there(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage.feature", None)
    with pytest.raises(AtomCountError, match=r"pip install 'crystalcodec\[images\]'"):
        count_atoms(np.zeros((1, 8, 8)))
