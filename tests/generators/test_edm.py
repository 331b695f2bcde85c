"""Samplers against distributions whose denoiser is known exactly."""

from __future__ import annotations

import pytest
import torch

from crystalcodec.generators.edm import EDM, SAMPLERS, guided, run_sampler
from crystalcodec.models.base import ModelError


def _normal(mean, deviation):
    def denoise(x, sigma):
        square = sigma.view(-1, 1).square()
        return (deviation**2 * x + square * mean) / (deviation**2 + square)

    return denoise


def _sampled(denoise, n=4000, **options):
    random = torch.Generator().manual_seed(0)
    start = torch.randn(n, 1, generator=random)
    return run_sampler(denoise, start, random, edm=EDM(), **options)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_normal_distribution_comes_out(sampler):
    made = _sampled(_normal(1.5, 0.4), steps=40, sampler=sampler)
    assert made.mean().item() == pytest.approx(1.5, abs=0.03)
    assert made.std().item() == pytest.approx(0.4, rel=0.06)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_two_points_come_out(sampler):
    """Of -1 with probability 0.25 and 1 with 0.75 the expected value is known."""

    def denoise(x, sigma):
        logit = 2 * x / sigma.view(-1, 1).square() + torch.tensor(3.0).log()
        return 2 * torch.sigmoid(logit) - 1

    made = _sampled(denoise, steps=40, sampler=sampler)
    assert (made.abs() - 1).abs().max() < 0.02
    assert (made > 0).float().mean().item() == pytest.approx(0.75, abs=0.03)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_random_numbers_are_those_that_are_given(sampler):
    """Not torch's global ones; the stochastic sampler draws while it runs, the other does not."""
    start = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    state = torch.get_rng_state()
    one, same, other = (
        run_sampler(
            _normal(0.0, 1.0),
            start,
            torch.Generator().manual_seed(seed),
            edm=EDM(),
            steps=6,
            sampler=sampler,
        )
        for seed in (1, 1, 2)
    )
    assert torch.equal(one, same)
    assert torch.equal(one, other) is (sampler == "dpm")
    assert torch.equal(torch.get_rng_state(), state)


def test_the_deterministic_sampler_maps_noise_to_samples():
    """Of a normal distribution the flow is known: x = mean + deviation × start, nearly."""
    random = torch.Generator().manual_seed(0)
    start = torch.randn(50, 1, generator=random)
    made = run_sampler(_normal(2.0, 0.5), start, random, edm=EDM(), steps=200)
    torch.testing.assert_close(made, 2.0 + 0.5 * start, atol=0.03, rtol=0)


def test_guidance_goes_beyond_the_condition():
    one, other = _normal(1.0, 0.5), _normal(0.0, 0.5)
    assert guided(one, other, 1.0) is one
    made = _sampled(guided(one, other, 2.0), steps=30)
    assert made.mean().item() == pytest.approx(2.0, abs=0.05)


def test_levels_are_log_normal_and_spread_over_the_batch():
    torch.manual_seed(0)
    logs = EDM(log_mean=-0.5, log_deviation=1.2).levels(1000, torch.device("cpu")).log()
    assert logs.mean().item() == pytest.approx(-0.5, abs=0.01)
    assert logs.std().item() == pytest.approx(1.2, abs=0.02)
    # One in each thousandth of the distribution.
    parts = torch.special.ndtr((logs.double() + 0.5) / 1.2)
    assert sorted((parts * 1000).long().tolist()) == list(range(1000))


def test_weights_make_the_network_s_error_count_alike():
    """c_out² times the weight is 1 at every level (equation 8 of the paper)."""
    sigma = torch.tensor([0.002, 0.1, 1.0, 10.0, 80.0])
    edm = EDM(data=0.7)
    _, out, _ = edm.scales(sigma)
    torch.testing.assert_close(edm.weights(sigma) * out.square(), torch.ones(5))


@pytest.mark.parametrize(
    ("options", "said"),
    [({"sampler": "dmp"}, "did you mean 'dpm'"), ({"steps": 1}, "wanted at least 2")],
)
def test_bad_settings(options, said):
    with pytest.raises(ModelError, match=said):
        _sampled(_normal(0.0, 1.0), **options)
