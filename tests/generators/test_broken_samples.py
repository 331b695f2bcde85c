"""The benchmark that noises real crystals: its sampler begins at any level, and near pairs."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from crystalcodec.crystals import Crystals
from crystalcodec.generators.base import build_generator
from crystalcodec.generators.conditions import Conditions
from crystalcodec.representations.ircr import IRCR
from crystalcodec.testing import sample_crystals

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def script():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        spec = importlib.util.spec_from_file_location("broken", BENCHMARKS / "broken_samples.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(BENCHMARKS))
        sys.modules.pop("record", None)
    return module


@pytest.fixture(scope="module")
def untrained():
    crystals, representation = sample_crystals(6), IRCR(tolerance=0.5)
    arrays = {"ircr": torch.from_numpy(representation.encode(crystals)["ircr"])}
    generator = build_generator("diffusion", representation, Conditions(), widths=[8, 8])
    generator.prepare(crystals, arrays)
    return generator.eval(), crystals, arrays


@torch.no_grad()
@pytest.mark.parametrize("level", [0.03, 0.5, 4.0])
def test_denoising_from_a_level(script, untrained, level, monkeypatch):
    """An untrained network knows the deviation of the data: x / √(1 + σ²) is the way down."""
    generator, _, arrays = untrained
    picture, row = generator.scaling(arrays)
    clean = torch.cat([picture.flatten(1), row], dim=1)
    x = clean + level * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    random = torch.Generator().manual_seed(1)
    varies = torch.cat([generator.scaling.varies.flatten(), generator.scaling.row_varies])
    denoised, seen = generator._denoised, []

    def watched(x, sigma, told):
        seen.append((sigma[0].item(), x))
        return denoised(x, sigma, told)

    monkeypatch.setattr(generator, "_denoised", watched)
    back = script.back(generator, x, level, random)
    first, begun = seen[0]
    assert first == pytest.approx(level, rel=1e-4)
    assert max(sigma for sigma, _ in seen) == first
    torch.testing.assert_close(begun, x, rtol=1e-4, atol=1e-4)
    wanted = x / (1 + level**2) ** 0.5
    torch.testing.assert_close(back[:, varies], wanted[:, varies], rtol=0.03, atol=0.01)


@torch.no_grad()
def test_without_noise_all_comes_back(script, untrained, monkeypatch):
    monkeypatch.setattr(script, "LEVELS", ())
    generator, crystals, arrays = untrained
    (first,) = script.levels(generator, crystals, arrays, 0)
    for name in ("decoded", "same_composition", "match_rate"):
        assert first[name] == 1


def test_nearest_pairs_of_one_element(script):
    made = [
        Crystals.single(np.eye(3) * 8, [[0, 0, 0], [x, 0, 0], [0.5, 0.5, 0.5]], [11, 17, 11])
        for x in (0.1, 0.9)
    ] + [Crystals.single(np.eye(3) * 8, [[0, 0, 0], [0.4, 0, 0], [0.95, 0, 0]], [11, 17, 11])]
    assert script.nearest_alike(Crystals.concatenate(made)).tolist() == [False, False, True]
