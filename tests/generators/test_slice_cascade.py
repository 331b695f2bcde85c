"""The cascade of slices: two pictures learnt by heart, and what each stage owes the other."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from crystalcodec import Crystals, registry
from crystalcodec.generators.base import build_generator
from crystalcodec.generators.conditions import Conditions, Wanted
from crystalcodec.generators.edm import EDM
from crystalcodec.generators.slice_cascade.networks import denoised_mean
from crystalcodec.generators.slice_cascade.pictures import PictureScale, crops, reduced
from crystalcodec.models.base import ModelError
from crystalcodec.representations.crystens import CrysTens
from crystalcodec.representations.slices import DensitySliceBlocks, DensitySlices

SLICES = DensitySlices(size=32, width=10.0, sigma=0.5)
SMALL = {"patch": 1, "channels": (32,), "large_channels": (32,), "crop": 16}


def _build(representation=SLICES, conditions=Conditions(), **changed):  # noqa: B008 - frozen
    torch.manual_seed(0)
    return build_generator("slice_cascade", representation, conditions, **{**SMALL, **changed})


def _random(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def pictures():
    """(2, 1, 32, 32): a slice of few atoms, and one of many."""
    places = [[[8, 8], [20, 24]], [[4 + 8 * i, 4 + 8 * j] for i in range(4) for j in range(4)]]
    y, x = np.mgrid[:32, :32]
    made = [sum(np.exp(-((y - i) ** 2 + (x - j) ** 2) / 6) for i, j in some) for some in places]
    return torch.from_numpy(np.minimum(made, 1)).float()[:, None]


@pytest.fixture(scope="module")
def learnt(pictures):
    """A cascade that knows these two by heart, the second three times as often."""
    generator = _build(level_mean=0.5)
    batch = {"density_slices": pictures[[0, 1, 1, 1] * 3]}
    generator.prepare(None, batch)
    optimiser = torch.optim.Adam(generator.parameters(), 4e-3)
    torch.manual_seed(1)
    for step in range(150):
        for group in optimiser.param_groups:
            group["lr"] = 4e-3 * (1 - step / 150)
        loss = generator(batch)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(generator.parameters(), 1.0)
        optimiser.step()
    return generator.eval()


def _distances(made, pictures):
    """(n, 2) root mean squares of the differences from each of the two."""
    return (made[:, None] - pictures).square().mean((2, 3, 4)).sqrt()


@torch.no_grad()
def test_two_pictures_learnt_by_heart_come_out(learnt, pictures):
    made = learnt.sample(48, Wanted(), _random())["density_slices"]
    assert made.shape == (48, 1, 32, 32)
    assert made.min() >= 0
    assert made.max() <= 1
    distances = _distances(made, pictures)  # the two are 0.39 apart
    assert distances.min(dim=1).values.median() < 0.13
    assert (distances.min(dim=1).values < 0.2).float().mean() > 0.9
    many = (distances.argmin(dim=1) == 1).float().mean().item()
    assert many == pytest.approx(0.75, abs=0.2)


@torch.no_grad()
def test_a_large_picture_is_of_the_small_one_it_was_shown(learnt, pictures):
    low = reduced(pictures, 4)
    made = learnt.enlarge(low, _random(), noise=0.0)
    assert (_distances(made, pictures).argmin(dim=1) == torch.tensor([0, 1])).all()
    # The same noise and the other small picture: the other large one.
    swapped = learnt.enlarge(low.flip(0), _random(), noise=0.0)
    assert (_distances(swapped, pictures).argmin(dim=1) == torch.tensor([1, 0])).all()
    # The small pictures of the two are 0.3 apart.
    assert (reduced(made, 4) - low).square().mean().sqrt() < 0.05


@torch.no_grad()
def test_noise_in_what_is_shown_is_forgiven(learnt, pictures):
    made = learnt.enlarge(reduced(pictures, 4), _random(), noise=0.3)
    assert _distances(made, pictures).diagonal().max() < 0.13


@torch.no_grad()
def test_a_sample_is_one_stage_after_the_other(learnt):
    random = _random(3)
    low = learnt.sample_small(5, Wanted(), random, steps=6)
    made = learnt.enlarge(low, random, steps=5, noise=0.2)
    whole = learnt.sample(5, Wanted(), _random(3), steps=6, large_steps=5, noise=0.2)
    assert torch.equal(made, whole["density_slices"])


@torch.no_grad()
def test_weights_tell_all(learnt):
    fresh = _build(level_mean=0.5).eval()
    fresh.load_state_dict(learnt.state_dict())
    one, other = (g.sample(2, Wanted(), _random(), steps=4) for g in (learnt, fresh))
    assert torch.equal(one["density_slices"], other["density_slices"])


def test_scales_are_those_of_the_data_and_undone():
    scale = PictureScale()
    # Two pictures of means 0.25 and 0.75; of all eight values the mean is 0.5, the spread 0.5 / √2.
    told = torch.tensor([[0.0, 0.5, 0.0, 0.5], [1.0, 0.5, 1.0, 0.5]]).view(2, 1, 2, 2)
    scale.fit(told)
    assert scale.mean.item() == pytest.approx(0.5)
    assert scale.deviation.item() == pytest.approx(0.125**0.5)
    assert scale.deviation_of_means.item() == pytest.approx(0.25 / 0.125**0.5)
    torch.testing.assert_close(scale.undo(scale.standard(told)), told)


def test_scales_of_pictures_that_are_all_black_are_finite():
    scale = PictureScale()
    scale.fit(torch.zeros(3, 1, 8, 8))
    assert torch.isfinite(scale.standard(torch.ones(1, 1, 8, 8))).all()
    assert torch.equal(scale.undo(torch.zeros(1)), torch.zeros(1))


def test_crops_cover_the_picture_and_lie_where_the_small_ones_do():
    torch.manual_seed(0)
    one = torch.arange(2 * 24 * 24.0).view(1, 2, 24, 24).expand(300, -1, -1, -1)
    low = reduced(one, 4)
    large, small = crops(one, low, 8)
    assert large.shape == (300, 2, 8, 8)
    assert small.shape == (300, 2, 2, 2)
    torch.testing.assert_close(reduced(large, 4), small)
    # 24 / 4 - 8 / 4 + 1 = 5 places along each axis.
    assert len(large[:, 0, 0, 0].unique()) == 25
    assert len(large.unique()) == one[0].numel()


def test_a_crop_of_the_whole_picture_is_the_picture(pictures):
    large, small = crops(pictures, reduced(pictures, 4), 32)
    assert torch.equal(large, pictures)
    assert torch.equal(small, reduced(pictures, 4))


def test_the_mean_of_normal_pictures_is_what_bayes_says():
    """Means of deviation d, noise of s = sigma / √pixels in them: E = mean d² / (d² + s²)."""
    sigma, mean = torch.tensor([0.0, 8.0, 400.0]), torch.tensor([1.0, 1.0, -3.0])
    found = denoised_mean(EDM(data=0.5), sigma, mean, torch.zeros(3), 64)
    torch.testing.assert_close(found, torch.tensor([1.0, 0.2, -3 * 0.25 / (0.25 + 2500)]))
    # What the network says counts at high noise by the deviation of the data.
    loud = denoised_mean(EDM(data=0.5), torch.tensor([4e6]), torch.zeros(1), torch.ones(1), 64)
    assert loud.item() == pytest.approx(0.5, rel=1e-3)


def test_a_network_that_knows_nothing_gives_the_mean_of_normal_pictures(pictures):
    generator = _build()
    generator.prepare(None, {"density_slices": pictures})
    sigma = torch.tensor([0.1, 30.0])
    noisy = torch.randn(2, 1, 8, 8) * sigma.view(-1, 1, 1, 1)
    found = generator._small(noisy, sigma, torch.zeros(2, 128)).mean((1, 2, 3))
    square = generator.small_scale.deviation_of_means.square()
    wanted = noisy.mean((1, 2, 3)) * square / (square + sigma.square() / 64)
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_the_loss_is_that_of_both_stages_and_reaches_every_weight(pictures, share):
    generator = _build(large_share=share).train()
    batch = {"density_slices": pictures[[0, 1, 0, 1]]}
    generator.prepare(None, batch)
    for weight in generator.parameters():
        weight.data += 0.01 * torch.randn_like(weight)
    torch.manual_seed(5)
    loss = generator(batch)
    torch.manual_seed(5)
    figures = generator.figures(batch)
    assert [*figures] == ["loss", "small_loss", "large_loss"]
    assert loss.item() == figures["loss"].item()
    torch.testing.assert_close(loss, figures["small_loss"] + figures["large_loss"])
    loss.backward()
    weights = dict(generator.named_parameters())
    idle = [name for name, weight in weights.items() if len(weight) and weight.grad is None]
    assert idle == []


def test_several_planes_are_channels():
    salt = Crystals.single(
        [[0, 2.8, 2.8], [2.8, 0, 2.8], [2.8, 2.8, 0]], [[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17]
    )
    planes = DensitySlices(size=32, width=10.0, n_planes=3)
    arrays = {k: torch.from_numpy(v) for k, v in planes.encode(salt).arrays.items()}
    generator = _build(planes)
    generator.prepare(salt, arrays)
    assert generator(arrays).isfinite()
    with torch.no_grad():
        made = generator.eval().sample(2, Wanted(), _random(), steps=2, large_steps=2)
    assert made["density_slices"].shape == (2, 3, 32, 32)


@torch.no_grad()
def test_conditions_reach_the_first_stage():
    conditions = Conditions.fit(["elements"], {})
    generator = _build(conditions=conditions).eval()
    for weight in generator.parameters():
        weight.data += 0.05 * torch.randn_like(weight)
    salt, oxide = Wanted(elements=("Na", "Cl")), Wanted(elements=("Mg", "O"))
    one, other, free, strong = (
        generator.sample_small(2, wanted, _random(), steps=3, guidance=guidance)
        for wanted, guidance in ((salt, 1.0), (oxide, 1.0), (Wanted(), 3.0), (salt, 3.0))
    )
    assert not torch.equal(one, other)
    assert not torch.equal(one, free)
    assert not torch.equal(one, strong)


def test_it_is_in_the_registry_and_says_what_it_fits():
    kind = registry.load(registry.GENERATORS, "slice_cascade")
    assert kind.fits(DensitySlices()) is None
    assert "density_slice_blocks (32, 32, 32)" in kind.fits(DensitySliceBlocks())
    assert "wanted density_slices" in kind.fits(CrysTens())
    known = {"steps": 30, "large_steps": 10, "noise": 0.1, "guidance": 1.0, "sampler": "dpm"}
    assert kind.sample_settings() == known


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"factor": 5}, "size is 32 pixels, wanted a multiple of 5"),
        ({"channels": (16, 16, 16, 16, 16)}, "wanted a multiple of 64"),
        ({"factor": 0}, "factor is 0"),
        ({"blocks": True}, "blocks is True"),
        ({"crop": 18}, "crop is 18"),
        ({"crop": 64}, "crop is 64 pixels, wanted a multiple of 4 and at most 32"),
        ({"crop": 0}, "crop is 0"),
        ({"channels": ()}, "wanted multiples of 16"),
        ({"large_channels": (24,)}, "wanted multiples of 16"),
        ({"large_share": 0.0}, "large_share 0.0"),
        ({"most_noise": -1.0}, "most_noise -1.0"),
        ({"colour": 3}, "no parameter 'colour'"),
    ],
)
def test_bad_parameters(changed, said):
    with pytest.raises(ModelError, match=said):
        _build(**changed)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"noise": 0.7}, "noise is 0.7, wanted 0 to 0.5"),
        ({"noise": float("nan")}, "noise is nan"),
        ({"steps": 1}, "wanted at least 2"),
        ({"sampler": "euler"}, "no sampler 'euler'"),
    ],
)
def test_bad_settings(settings, said):
    with pytest.raises(ModelError, match=said):
        _build().eval().sample(1, Wanted(), _random(), **settings)
