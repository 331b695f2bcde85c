"""Features of pictures: what the networks are, what they learn, what is kept on disk."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
import torch
from torch.nn import functional

from crystalcodec.evaluation.pictures import frechet_distance
from crystalcodec.models.base import ModelError
from crystalcodec.models.picture_features import (
    PictureFeatures,
    _contrast,
    _crops,
    mobilenet_features,
    train_picture_features,
)

ROWS, COLUMNS = np.mgrid[:24, :24]


def stripes(n, seed=0):
    """Waves of random period and direction, and their period."""
    random = np.random.default_rng(seed)
    periods, angles = random.uniform(4, 12, n), random.uniform(0, np.pi, n)
    along = ROWS * np.sin(angles)[:, None, None] + COLUMNS * np.cos(angles)[:, None, None]
    return 0.5 + 0.5 * np.cos(2 * np.pi * along / periods[:, None, None]), periods


@pytest.fixture(scope="module")
def trained():
    pictures, periods = stripes(160)
    losses = []
    network = train_picture_features(
        pictures,
        np.stack([periods, np.where(np.arange(160) % 2, periods**2, np.nan)], axis=1),
        n_features=8,
        widths=(8, 16),
        epochs=25,
        learning_rate=5e-3,
        progress=lambda done, of, loss: losses.append(loss),
    )
    return network, losses


def test_attributes_are_learnt(trained):
    network, losses = trained
    assert len(losses) == 25
    assert losses[-1] < 0.5 * losses[0]
    # On pictures it never saw, the period is a linear function of the features.
    pictures, periods = stripes(300, seed=1)
    rows = np.c_[network.features(pictures), np.ones(300)]
    fit, *_ = np.linalg.lstsq(rows[:150], periods[:150], rcond=None)
    residual = rows[150:] @ fit - periods[150:]
    assert np.var(residual) < 0.2 * np.var(periods[150:])


def test_features_are_in_standard_deviations_of_the_training(trained):
    rows = trained[0].features(stripes(160)[0])
    assert rows.dtype == np.float64
    np.testing.assert_allclose(rows.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(rows.std(axis=0, ddof=1), 1, atol=1e-4)


def test_other_pictures_are_further_away(trained):
    network = trained[0]
    real, same = network.features(stripes(160)[0]), network.features(stripes(160, seed=2)[0])
    fine = network.features(stripes(160, seed=3)[0][:, ::2].repeat(2, 1))
    assert frechet_distance(fine, real) > 5 * frechet_distance(same, real)


def test_crops_alone_teach_something():
    pictures, _ = stripes(96)
    losses = []
    told = {"n_features": 8, "widths": (8, 16), "epochs": 8, "batch_size": 32}
    network = train_picture_features(
        pictures, progress=lambda done, of, loss: losses.append(loss), **told
    )
    assert losses[-1] < losses[0]
    again = train_picture_features(pictures, **told)
    np.testing.assert_array_equal(network.features(pictures), again.features(pictures))
    other = train_picture_features(pictures, seed=1, **told)
    assert np.abs(other.features(pictures) - network.features(pictures)).max() > 0.1
    assert "their crops" in network.trained_on


def test_training_leaves_the_random_numbers_of_others_alone():
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    train_picture_features(stripes(8)[0], n_features=2, widths=(4,), epochs=1)
    assert torch.equal(torch.rand(3), wanted)


def test_contrast_by_hand():
    # Two pairs at right angles: each row has its partner at 1, two others at 0.
    rows = torch.eye(2)
    e = np.exp(1 / 0.2)
    assert float(_contrast(rows, rows)) == pytest.approx(-np.log(e / (e + 2)), rel=1e-5)
    assert float(_contrast(rows, rows.flip(0))) > float(_contrast(rows, rows))


def test_crops_are_parts_of_the_picture_turned():
    torch.manual_seed(0)
    picture = torch.arange(64.0).reshape(1, 1, 8, 8).repeat(200, 1, 1, 1)
    crops = _crops(picture)
    assert crops.shape == (200, 1, 6, 6)
    corner = crops.amin(dim=(1, 2, 3))
    assert len(corner.unique()) == 1
    top, left = divmod(int(corner[0]), 8)
    part = picture[0, 0, top : top + 6, left : left + 6]
    ways = {
        tuple(torch.rot90(some, k).flatten().tolist()) for k in range(4) for some in (part, part.T)
    }
    assert {tuple(crop.flatten().tolist()) for crop in crops} == ways
    assert _crops(torch.zeros(3, 2, 8, 16)).shape == (3, 2, 6, 12)


def test_sizes_and_batches(trained):
    network = trained[0]
    assert sum(p.numel() for p in network.parameters()) == (
        9 * 8 + 2 * 8 + 9 * 8 * 16 + 2 * 16 + (2 * 16 + 1) * 8
    )
    pictures = stripes(140, seed=4)[0]
    rows = network.features(pictures)
    np.testing.assert_allclose(network.features(pictures[5:6]), rows[5:6], atol=1e-5)
    assert network.features(pictures[:0]).shape == (0, 8)
    eight = (pictures * 255).round().astype(np.uint8)
    np.testing.assert_allclose(network.features(eight), network.features(eight / 255), atol=1e-5)
    # Any size of picture gives as many features.
    assert network.features(np.zeros((2, 40, 31))).shape == (2, 8)


def test_saved_and_loaded(trained, tmp_path):
    network = trained[0]
    network.save(tmp_path / "features.safetensors")
    again = PictureFeatures.load(tmp_path / "features.safetensors")
    pictures = stripes(20, seed=5)[0]
    np.testing.assert_array_equal(again.features(pictures), network.features(pictures))
    assert (
        again.trained_on
        == network.trained_on
        == "160 pictures, 2 attributes of them, 25 epochs, seed 0"
    )


def test_files_of_something_else(tmp_path):
    from safetensors.torch import save_file

    (tmp_path / "text").write_text("no weights")
    save_file({"a": torch.zeros(2)}, tmp_path / "other")
    header = {
        "crystalcodec.picture_features": json.dumps(
            {"channels": 1, "n_features": 2, "widths": [4], "trained_on": ""}
        )
    }
    save_file({"a": torch.zeros(2)}, tmp_path / "wrong", header)
    for name in ("text", "other", "wrong"):
        with pytest.raises(ModelError, match="holds no picture features"):
            PictureFeatures.load(tmp_path / name)


def test_misuse_is_told(trained):
    network, _ = trained
    pictures = stripes(6)[0]
    with pytest.raises(ModelError, match="2 channels, wanted 1"):
        network.features(np.stack([pictures] * 2, axis=-1))
    with pytest.raises(ModelError, match="not finite"):
        network.features(pictures * np.nan)
    with pytest.raises(ModelError, match="at least four"):
        train_picture_features(pictures[:3])
    with pytest.raises(ModelError, match="attributes of shape"):
        train_picture_features(pictures, np.zeros((5, 2)))
    with pytest.raises(ModelError, match="fewer than two"):
        train_picture_features(pictures, np.full((6, 1), np.nan))
    with pytest.raises(ModelError, match="0 channels"):
        PictureFeatures(channels=0)


def test_broken_pictures_are_left_out_of_training():
    pictures = stripes(12)[0]
    broken = np.concatenate([pictures, pictures[:2] * np.nan])
    told = {"n_features": 2, "widths": (4,), "epochs": 2}
    whole, some = (train_picture_features(p, **told) for p in (pictures, broken))
    np.testing.assert_array_equal(whole.features(pictures), some.features(pictures))
    attributes = np.arange(14.0)
    told["attributes"] = attributes
    assert "12 pictures, 1 attributes" in train_picture_features(broken, **told).trained_on


# MobileNetV2


def test_mobilenet_is_what_transformers_gives(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        transformers = pytest.importorskip("transformers")
    torch.manual_seed(3)
    model = transformers.MobileNetV2Model(transformers.MobileNetV2Config(depth_multiplier=0.35))
    for layer in model.modules():
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight)
    model.eval().save_pretrained(tmp_path)
    features = mobilenet_features(str(tmp_path), depth_multiplier=0.35, image_size=64)
    pictures = stripes(3)[0]
    rows = features(pictures)
    three = torch.from_numpy(np.stack([pictures] * 3, axis=1).astype(np.float32))
    large = functional.interpolate(2 * three - 1, (64, 64), mode="bilinear", align_corners=False)
    with torch.no_grad():
        wanted = model(pixel_values=large).pooler_output.double().numpy()
    np.testing.assert_allclose(rows, wanted, rtol=1e-4, atol=1e-4)
    assert rows.shape == (3, 1280)
    assert features(np.stack([pictures] * 4, axis=-1)).shape == (3, 1280)
    assert features(pictures[:0]).shape == (0, 1280)
    with pytest.raises(ModelError, match="not finite"):
        features(pictures * np.nan)


def test_random_weights_measure_nothing(tmp_path):
    with pytest.raises(ModelError, match="weights"):
        mobilenet_features(str(tmp_path / "nowhere"))
