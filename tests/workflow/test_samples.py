"""Batches of fixed and of ragged arrays, and the loop with an objective of another kind."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from crystalcodec.models.scaling import fit_scaling
from crystalcodec.registry import UnknownNameError
from crystalcodec.representations.ircr import IRCR
from crystalcodec.workflow.config import ConfigError, TrainingConfig
from crystalcodec.workflow.loop import Loop
from crystalcodec.workflow.samples import AugmentedCrystals, Samples, encode_samples, redescribe


def ragged():
    """Four crystals of 2, 0, 3 and 1 sites."""
    return Samples(
        4,
        {"volume": torch.arange(4.0), "z": torch.tensor([10, 11, 30, 31, 32, 40])},
        {"sites": torch.tensor([0, 2, 2, 5, 6])},
        {"z": "sites"},
    )


def test_ragged_arrays_are_joined_without_padding():
    batch = ragged().batch(torch.tensor([2, 0, 1]))
    assert batch["volume"].tolist() == [2, 0, 1]
    assert batch["z"].tolist() == [30, 31, 32, 10, 11]
    assert batch["sites_crystals"].tolist() == [0, 0, 0, 1, 1]


def test_crystals_may_be_drawn_twice_and_none_at_all():
    batch = ragged().batch(torch.tensor([3, 3]))
    assert batch["z"].tolist() == [40, 40]
    assert batch["sites_crystals"].tolist() == [0, 1]
    assert ragged().batch(torch.tensor([], dtype=torch.long))["z"].tolist() == []


def source(dataset, names, seed=0, kind="none"):
    representation = IRCR(max_sites=4)
    scaling = fit_scaling(representation.encode(dataset.crystals).arrays, kind)

    def make(encoded, extra):
        return encode_samples(encoded, scaling, {}, torch.device("cpu"), extra)

    extra = {"place": np.arange(len(dataset))}
    return AugmentedCrystals(dataset.crystals, representation, extra, names, seed, make)


def test_augmentation_depends_on_seed_and_epoch_alone(made_dataset):
    dataset = made_dataset(20)
    one, other = source(dataset, ("shift_origin",)), source(dataset, ("shift_origin",))
    later = one.epoch(5).tensors["ircr"]
    one.epoch(6)
    assert torch.equal(later, other.epoch(5).tensors["ircr"])
    assert not torch.equal(later, other.epoch(6).tensors["ircr"])
    assert not torch.equal(later, source(dataset, ("shift_origin",), 1).epoch(5).tensors["ircr"])
    assert one.epoch(5).tensors["place"].tolist() == list(range(20))


def test_without_augmentation_arrays_are_made_once(made_dataset):
    plain = source(made_dataset(5), ())
    assert plain.epoch(0) is plain.epoch(9)


class Reconstruction:
    """The objective of an autoencoder: nothing of targets, crystals or predictors."""

    def __init__(self, samples):
        self.samples = samples

    def loss(self, network, batch):
        flat = batch["ircr"].flatten(1)
        return nn.functional.mse_loss(network(flat), flat)

    def validate(self, network):
        with torch.no_grad():
            everything = self.samples.batch(torch.arange(self.samples.n))
            return {"reconstruction": self.loss(network, everything).item()}


def test_the_loop_trains_an_autoencoder_too(made_dataset):
    from lightning.fabric import Fabric

    crystals = source(made_dataset(64), ("permute_axes",), kind="standardise")
    torch.manual_seed(0)
    width = crystals.epoch(0).tensors["ircr"][0].numel()
    loop = Loop(
        nn.Sequential(nn.Linear(width, 16), nn.Tanh(), nn.Linear(16, width)),
        Reconstruction(crystals.epoch(0)),
        crystals,
        TrainingConfig(epochs=20, batch_size=16, learning_rate=1e-2, average=0.0),
        Fabric(accelerator="cpu", devices=1),
        seed=0,
    )
    history = loop.run()
    assert len(history) == 20
    assert history[-1]["reconstruction"] < history[0]["reconstruction"] / 3


def test_a_share_of_the_crystals(made_dataset):
    crystals = made_dataset(2000).crystals
    drawn = redescribe(crystals, ["shift_origin@0.25"], np.random.default_rng(0))
    moved = (drawn.frac_coords != crystals.frac_coords).any(axis=1)[::2]
    assert abs(moved.mean() - 0.25) < 0.04
    assert (drawn.numbers == crystals.numbers).all()
    with pytest.raises(ConfigError, match="share above 0"):
        redescribe(crystals, ["invert@2"], np.random.default_rng(0))
    with pytest.raises(UnknownNameError, match="did you mean 'invert'"):
        redescribe(crystals, ["invrt@0.5"], np.random.default_rng(0))
