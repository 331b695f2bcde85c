"""Guidance by predictors: against the conditional distribution that is known, and by real runs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from crystalcodec.crystals import Crystals
from crystalcodec.data import Dataset
from crystalcodec.generators.base import build_generator
from crystalcodec.generators.conditions import Conditions, Wanted
from crystalcodec.generators.edm import EDM, SAMPLERS, run_sampler
from crystalcodec.generators.guidance import PredictorGuidance, guided_by_predictor
from crystalcodec.models.base import ModelError
from crystalcodec.representations.ircr import IRCR
from crystalcodec.representations.unimat import UniMat
from crystalcodec.workflow import RunConfig, predict, train
from crystalcodec.workflow.generating.predictor_guidance import (
    guidance_by_run,
    property_function,
)

MEAN = torch.tensor([1.0, -0.5, 0.0, 2.0])
WEIGHTS = torch.tensor([0.6, -0.8, 1.0, 0.0])
OFFSET = 0.3


def _denoise(x, sigma):
    """Of a normal distribution about MEAN of variance 1."""
    square = sigma.view(-1, 1).square()
    return (x + square * MEAN) / (1 + square)


def _predict(arrays):
    return arrays["x"] @ WEIGHTS + OFFSET


def _arrays(x):
    return {"x": x}


def _sampled(guidance, n=4000, sampler="dpm", steps=40):
    random = torch.Generator().manual_seed(0)
    start = torch.randn(n, 4, generator=random)
    denoise = guided_by_predictor(_denoise, guidance, _arrays, EDM())
    return run_sampler(denoise, start, random, edm=EDM(), steps=steps, sampler=sampler)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize(("value", "tolerance"), [(2.5, 0.5), (-1.0, 1.0), (1.3, 0.3)])
def test_a_normal_distribution_given_a_linear_property(sampler, value, tolerance):
    """By conditioning of normal distributions, written down from the definition."""
    made = _sampled([PredictorGuidance(_predict, value, tolerance)], sampler=sampler)
    before = (MEAN @ WEIGHTS + OFFSET).item()
    variance = WEIGHTS.square().sum().item()
    share = variance / (variance + tolerance**2)
    told = made @ WEIGHTS + OFFSET
    assert told.mean().item() == pytest.approx(before + share * (value - before), abs=0.06)
    assert told.std().item() == pytest.approx((variance * (1 - share)) ** 0.5, rel=0.12, abs=0.02)
    # What the property does not see stays as it was.
    across = torch.tensor([0.8, 0.6, 0.0, 0.0])
    assert (made @ across).mean().item() == pytest.approx((MEAN @ across).item(), abs=0.06)
    assert (made @ across).std().item() == pytest.approx(1.0, rel=0.06)
    assert made[:, 3].mean().item() == pytest.approx(2.0, abs=0.06)


def test_strength():
    none = _sampled([PredictorGuidance(_predict, 2.0, 0.5, strength=0.0)], n=50)
    torch.testing.assert_close(none, _sampled([], n=50))
    weak, strong = (
        (_sampled([PredictorGuidance(_predict, 3.0, 1.0, s)], n=500) @ WEIGHTS).mean().item()
        for s in (1.0, 1.5)
    )
    assert strong > weak + 0.1
    assert guided_by_predictor(_denoise, [], _arrays, EDM()) is _denoise


def test_two_properties_at_once():
    def last(arrays):
        return arrays["x"][:, 3]

    both = [PredictorGuidance(_predict, 2.5, 0.3), PredictorGuidance(last, 0.0, 0.5)]
    made = _sampled(both, n=2000)
    # The two do not share a number, so that each moves as if alone.
    assert made[:, 3].mean().item() == pytest.approx(2.0 - 2.0 / 1.25, abs=0.06)
    before, share = (MEAN @ WEIGHTS + OFFSET).item(), 2 / 2.09
    told = made @ WEIGHTS + OFFSET
    assert told.mean().item() == pytest.approx(before + share * (2.5 - before), abs=0.06)


@pytest.mark.parametrize("told", [torch.nan, torch.inf, 1.0])
def test_a_predictor_that_tells_nothing_moves_nothing(told):
    def blind(arrays):
        return arrays["x"][:, 0] * 0 + told

    made = _sampled([PredictorGuidance(blind, 2.0, 0.5)], n=20)
    torch.testing.assert_close(made, _sampled([], n=20))


def test_a_wild_predictor_moves_no_further_than_the_spread():
    def wild(arrays):
        return arrays["x"][:, 0] * 1e-3

    x, sigma = torch.randn(30, 4), torch.full((30,), 0.5)
    denoise = guided_by_predictor(_denoise, [PredictorGuidance(wild, 1e6, 1e-6)], _arrays, EDM())
    moved = (denoise(x, sigma) - _denoise(x, sigma)).square().mean(1).sqrt()
    torch.testing.assert_close(moved, torch.full((30,), (0.25 / 1.25) ** 0.5))


def test_bad_predictors_and_numbers():
    with pytest.raises(ModelError, match=r"of shape \(5, 4\)"):
        _sampled([PredictorGuidance(lambda arrays: arrays["x"], 1.0, 1.0)], n=5)
    for value, tolerance, strength in ((np.nan, 1, 1), (1, 0, 1), (1, 1, -1), (1, np.inf, 1)):
        with pytest.raises(ModelError, match="wanted finite numbers"):
            PredictorGuidance(_predict, value, tolerance, strength)


def _crystals(n, seed=0):
    rng = np.random.default_rng(seed)
    constants = rng.uniform(3, 6, n)
    return constants, Crystals(
        constants[:, None, None] * np.eye(3),
        np.tile([[0.0, 0, 0], [0.5, 0.5, 0.5]], (n, 1)),
        np.tile([11, 17], n),
        np.arange(n + 1) * 2,
    )


@pytest.fixture(scope="module")
def size_run(tmp_path_factory):
    """A predictor of the volume of a site's cube, which the lattice constant tells."""
    folder = tmp_path_factory.mktemp("run")
    constants, crystals = _crystals(300)
    properties = {"size": 0.1 * constants**3, "band_gap": 6 - constants}
    Dataset.from_crystals(crystals, properties=properties).write(folder / "data.parquet")
    config = RunConfig.of(
        {
            "data": {"dataset": str(folder / "data.parquet"), "fractions": [0.7, 0.15, 0.15]},
            "target": [
                {"column": "size", "transform": "log"},
                {"column": "band_gap", "transform": "standardise"},
            ],
            "representation": {"name": "ircr", "max_sites": 4},
            "model": {"name": "mlp", "hidden": [32]},
            "training": {"epochs": 15, "batch_size": 32, "learning_rate": 0.01},
            "machine": {"device": "cpu"},
        }
    )
    return train(config, folder / "run")


def test_the_function_of_a_run_is_what_it_predicts(size_run):
    _, crystals = _crystals(20, seed=1)
    representation = IRCR(max_sites=4, tolerance=0.5)
    array = torch.from_numpy(representation.encode(crystals)["ircr"])
    wanted = predict(size_run, crystals)
    for i, column in enumerate(("size", "band_gap")):
        told = property_function(size_run, representation, column)({"ircr": array})
        np.testing.assert_allclose(told.detach().numpy(), wanted.values[:, i], rtol=1e-4)


def test_samples_follow_a_run(size_run):
    """The generator is untrained, a normal distribution about the training data: it is moved."""
    _, crystals = _crystals(40, seed=2)
    representation = IRCR(max_sites=4, tolerance=0.5)
    generator = build_generator("diffusion", representation, Conditions(), widths=[8, 16])
    arrays = {"ircr": torch.from_numpy(representation.encode(crystals)["ircr"])}
    generator.prepare(crystals, arrays)
    generator.eval()
    told = property_function(size_run, representation, "band_gap")
    means = []
    for value in (0.8, 2.4):
        guidance = guidance_by_run(size_run, generator, "band_gap", value, tolerance=0.1)
        with torch.no_grad():
            made = generator.sample(
                60,
                Wanted(),
                torch.Generator().manual_seed(0),
                steps=15,
                predictor_guidance=guidance,
            )
            means.append(told(made).mean().item())
    assert means == pytest.approx([0.8, 2.4], abs=0.25)


def test_runs_that_cannot_guide(size_run):
    generator = build_generator("diffusion", IRCR(max_sites=4), Conditions(), widths=[8])
    assert guidance_by_run(size_run, generator, "size", 9.0).tolerance == pytest.approx(
        0.1 * size_run.targets[0].deviation
    )
    for representation, column, said in (
        (IRCR(max_sites=5), "size", "max_sites 4, not 5"),
        (UniMat(), "size", "reads ircr, the generator makes unimat"),
        (IRCR(max_sites=4), "volume", "predicts size, band_gap, not 'volume'"),
    ):
        with pytest.raises(ModelError, match=said):
            property_function(size_run, representation, column)
