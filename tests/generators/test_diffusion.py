"""Arrays as pictures, their scaling, the network and the settings of the diffusion generator."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from crystalcodec.crystals import Crystals
from crystalcodec.generators.base import build_generator
from crystalcodec.generators.conditions import Conditions, Wanted
from crystalcodec.generators.diffusion import Diffusion
from crystalcodec.generators.diffusion.layout import layout_of
from crystalcodec.generators.diffusion.network import UNet
from crystalcodec.models.base import ModelError
from crystalcodec.registry import REPRESENTATIONS, load
from crystalcodec.representations.radial_distribution import RadialDistribution
from crystalcodec.testing import sample_crystals

SMALL = {"widths": [8, 16], "attention": 1, "places": 2}
# Parameters, shape of the picture, numbers beside it.
HELD = {
    "ircr": ({}, (3, 144), 0),
    "ftcp": ({}, (62, 238), 0),
    "crystens": ({"max_sites": 20, "normalisation": "avg_std"}, (4, 32, 32), 0),
    "xtal2png": ({"max_sites": 20}, (1, 32, 32), 0),
    "crystal_image": ({}, (3, 64, 64), 0),
    "unimat": ({}, (60, 9, 18), 6),
    "density_slices": ({"size": 16}, (1, 16, 16), 0),
    "density_cell": ({"size": 16, "sigma": 0.5}, (3, 16, 16, 16), 6),
    "density_cube": ({}, (8, 30, 30, 30), 12),
    "structure_factors": ({}, (6, 21, 21, 11), 6),
}


def _representation(name, **parameters):
    made = load(REPRESENTATIONS, name)(**parameters)
    return made.fit(sample_crystals()) if made.needs_fit else made


def _arrays(representation, crystals=None):
    encoded = representation.encode(sample_crystals() if crystals is None else crystals)
    return {name: torch.from_numpy(array.copy()) for name, array in encoded.arrays.items()}


def _prepared(name="ircr", conditions=None, crystals=None, settings=SMALL, **parameters):
    representation = _representation(name, **parameters)
    arrays = _arrays(representation, crystals)
    torch.manual_seed(0)
    generator = build_generator("diffusion", representation, conditions or Conditions(), **settings)
    generator.prepare(sample_crystals() if crystals is None else crystals, arrays)
    return generator.eval(), arrays


def _random(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", HELD)
def test_scaling_and_back_is_the_identity(name):
    parameters, shape, n_row = HELD[name]
    generator, arrays = _prepared(name, **parameters)
    picture, row = generator.scaling(arrays)
    assert picture.shape[1:] == shape
    assert row.shape == (len(picture), n_row)
    assert picture.isfinite().all()
    assert row.isfinite().all()
    back = generator.scaling.arrays(picture, row)
    assert back.keys() == arrays.keys()
    for key, array in arrays.items():
        scale = array.float().abs().amax(0).clamp(min=1)
        assert ((back[key] - array).abs() / scale).max() < 2e-5
        fixed = (array == array[:1]).all(0)
        assert (back[key] == array)[:, fixed].all()
    # What varies has mean 0 and deviation 1 in all, where nothing is a category.
    kinds = {field.kind for field in generator.representation.fields}
    if kinds == {"continuous"}:
        varying = picture[:, generator.scaling.varies]
        assert varying.mean().item() == pytest.approx(0, abs=1e-3)
        assert varying.square().mean().item() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("name", ["ircr", "ftcp", "crystens"])
def test_embedded_numbers_come_back_and_cross_the_edge_of_the_cell(name):
    generator, arrays = _prepared(name, settings={**SMALL, "periodic": "embed"})
    picture, row = generator.scaling(arrays)
    back = generator.scaling.arrays(picture, row)
    for key, array in arrays.items():
        scale = array.abs().amax(0).clamp(min=1)
        assert ((back[key] - array).abs() / scale).max() < 2e-5
    assert generator.scaling.n_channels > len(generator.scaling.groups)


def test_points_on_both_sides_of_the_edge_are_near_each_other():
    coords = [[0.0, 0, 0], [0.5, 0.25, 0.999]], [[0, 0, 0], [0.5, 0.25, 0.001]]
    crystals = Crystals.concatenate(
        [Crystals.single(np.eye(3) * 4, c, [11, 17]) for c in coords]
        + [Crystals.single(np.eye(3) * 4, [[0.0, 0, 0], [0.5, 0.25, 0.5]], [11, 17])]
    )
    plain, arrays = _prepared(crystals=crystals)
    embedded, _ = _prepared(crystals=crystals, settings={**SMALL, "periodic": "embed"})
    one, other = (g.scaling(arrays)[0].flatten(1) for g in (plain, embedded))
    assert torch.dist(one[0], one[1]) > 1
    # Coordinates of a point of the circle have the deviation 1 / √2: 4π 0.001 √2 apart.
    assert torch.dist(other[0], other[1]).item() == pytest.approx(0.00355 * 5, rel=0.01)


def test_what_is_scaled_how():
    """Categories to -1 and 1; rows of IRCR standardised alone, coordinates all together."""
    generator, arrays = _prepared()
    picture, _ = generator.scaling(arrays)
    rows = generator.representation.blocks
    varies = generator.scaling.varies
    for block in "EO":
        part, free = picture[:, :, rows[block]], varies[:, rows[block]]
        assert torch.equal(part[:, free].abs(), torch.ones_like(part[:, free]))
    array = arrays["ircr"]
    lengths = array[:, rows["L"].start]
    wanted = (lengths - lengths.mean()) / lengths.std(correction=0)
    torch.testing.assert_close(picture[:, :, rows["L"].start], wanted, atol=1e-5, rtol=1e-4)
    coords = array[:, rows["C"]].transpose(1, 2)
    free = varies[:, rows["C"]]
    among = coords[:, free]
    wanted = (among - among.mean()) / among.std(correction=0)
    torch.testing.assert_close(picture[:, :, rows["C"]][:, free], wanted, atol=1e-5, rtol=1e-4)


def test_channels_of_a_volume_are_scaled_alone():
    generator, arrays = _prepared("density_cell", size=8, sigma=0.8)
    picture, row = generator.scaling(arrays)
    for part in (*picture.unbind(1), *row.unbind(1)):
        assert part.mean().item() == pytest.approx(0, abs=1e-4)
        assert part.std(correction=0).item() == pytest.approx(1, abs=1e-4)


def test_whole_numbers_become_bits():
    generator, arrays = _prepared("density_cube")
    picture, _ = generator.scaling(arrays)
    place = (0, *np.argwhere(arrays["species"][0].numpy() > 0)[0])
    number = int(arrays["species"][place])
    bits = picture[place[0], 1:, place[1], place[2], place[3]]
    assert sum((1 << i) * (bit > 0) for i, bit in enumerate(bits.tolist())) == number
    assert set(bits.tolist()) <= {-1.0, 0.0, 1.0}


def test_nearly_equal_numbers_do_not_vary():
    """Angles of 90 and 90.00001 degrees are rounding; no width is that small."""
    crystals = sample_crystals(4)
    generator, arrays = _prepared(crystals=crystals)
    angles = generator.representation.blocks["L"].start + 1
    arrays["ircr"][:, angles] = 90 + 1e-5 * torch.arange(4)[:, None]
    generator.prepare(crystals, arrays)
    assert not generator.scaling.varies[:, angles].any()
    made = generator.scaling.arrays(*generator.scaling(arrays))["ircr"]
    assert torch.equal(made[:, angles], torch.full((4, 3), 90.0))


@pytest.mark.parametrize(
    ("count", "broken", "said"),
    [(1, False, "nothing to learn"), (3, True, "wanted finite numbers")],
)
def test_training_data_of_which_nothing_can_be_learnt(count, broken, said):
    representation = _representation("ircr")
    arrays = _arrays(representation, sample_crystals(count))
    if broken:
        arrays["ircr"][1, 0, 0] = torch.nan
    generator = Diffusion(representation, Conditions(), **SMALL)
    with pytest.raises(ModelError, match=said):
        generator.prepare(sample_crystals(count), arrays)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("crystal_graph", "differ from crystal to crystal"),
        ("composition", "wanted arrays of one size"),
    ],
)
def test_what_does_not_fit_is_told(name, said):
    representation = _representation(name)
    assert said in Diffusion.fits(representation)
    with pytest.raises(ModelError, match=said):
        build_generator("diffusion", representation, Conditions())


def test_too_few_places_are_told():
    with pytest.raises(ModelError, match="at least 4 places"):
        build_generator("diffusion", RadialDistribution(n_points=3), Conditions())


def test_axes_can_be_chosen():
    unimat = _representation("unimat")
    layout, _ = layout_of(unimat, "dhw")
    assert layout.size == (20, 9, 18)
    array = torch.randn(2, 20, 9, 18, 3)
    for axes in ("h", "hw", "dhw"):
        chosen, _ = layout_of(unimat, axes)
        first = chosen.first("unimat", array)
        assert torch.equal(chosen.back("unimat", first), array)
    assert first[1, 2, 5, 4, 3] == array[1, 5, 4, 3, 2]
    with pytest.raises(ModelError, match="wanted one of h, hw, dhw"):
        layout_of(unimat, "wh")
    assert "wanted arrays of one size" in layout_of(_representation("crystens"), "dhw")[1]


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"widths": [12]}, "multiples of 8"),
        ({"widths": []}, "multiples of 8"),
        ({"blocks": 0}, "blocks is 0"),
        ({"attention": 4}, "there are 3 levels"),
        ({"places": -1}, "places is -1"),
        ({"periodic": "embedded"}, "wanted 'plain' or 'embed'"),
        ({"high": 0.0}, "high 0.0"),
        ({"width": [8]}, "no parameter 'width'"),
    ],
)
def test_bad_parameters(parameters, said):
    with pytest.raises(ModelError, match=said):
        build_generator("diffusion", _representation("ircr"), Conditions(), **parameters)


def test_embedding_needs_a_periodic_field():
    with pytest.raises(ModelError, match="has no periodic field"):
        Diffusion(_representation("unimat"), Conditions(), periodic="embed")


def _lively(network):
    """Without the zeros that a network begins with."""
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return network.eval()


@pytest.mark.parametrize("size", [(19,), (9, 18), (5, 7, 6)])
def test_the_network_takes_odd_sizes(size):
    torch.manual_seed(0)
    network = _lively(UNet(len(size), 3, 2, [8, 16, 16], 1, 1, 4))
    x, told = torch.randn(2, 3, *size), torch.randn(2, 4)
    made = network(x, told)
    assert made.shape == (2, 2, *size)
    # One crystal of a batch does not see the others, and all see what they are told.
    torch.testing.assert_close(network(x[1:], told[1:]), made[1:], atol=1e-4, rtol=1e-4)
    assert (network(x, told + 1) - made).abs().max() > 1e-3


@pytest.mark.parametrize(("periodic", "same"), [(True, True), (False, False)])
def test_periodic_convolutions_go_round(periodic, same):
    """A shift by the stride, 2 of two levels, shifts what comes out."""
    torch.manual_seed(0)
    network = _lively(UNet(3, 1, 1, [8, 16], 1, 1, 4, periodic=periodic))
    x, told = torch.randn(1, 1, 8, 8, 8), torch.randn(1, 4)
    one = network(x, told).roll((2, 4, 6), (2, 3, 4))
    other = network(x.roll((2, 4, 6), (2, 3, 4)), told)
    assert torch.allclose(one, other, atol=1e-4, rtol=1e-4) is same


def test_density_cell_alone_is_periodic():
    def round_the_cell(generator):
        return {m.periodic for m in generator.modules() if hasattr(m, "periodic")}

    cell, _ = _prepared("density_cell", size=8, sigma=0.8)
    assert round_the_cell(cell) == {True}
    assert not cell.places.numel()
    for name in ("density_cube", "structure_factors", "crystens"):
        other = Diffusion(_representation(name), Conditions(), **SMALL)
        assert round_the_cell(other) == {False}
        assert other.places.numel()


@pytest.mark.parametrize("name", ["ircr", "unimat", "density_cell"])
def test_the_untrained_loss_is_one(name):
    """Of data of variance 1 the best linear denoiser, σ-weighted, is off by 1 at every level."""
    generator, arrays = _prepared(name, **({"size": 8, "sigma": 0.8} if "cell" in name else {}))
    many = {key: torch.cat([array] * 4) for key, array in arrays.items()}
    torch.manual_seed(0)
    with torch.no_grad():
        figures = torch.stack(
            [torch.stack(list(generator.figures(many).values())) for _ in range(8)]
        ).mean(0)
    scaled = generator.scaling(arrays)[0][:, generator.scaling.varies].square().mean().item()
    assert scaled == pytest.approx(1, abs=0.25)
    parts = figures[1:] if len(figures) > 1 else figures
    torch.testing.assert_close(parts, torch.ones_like(parts), atol=0.12, rtol=0)
    torch.testing.assert_close(figures[0], parts.sum())


def test_what_never_varies_is_neither_noised_nor_learnt():
    generator, arrays = _prepared()
    _lively(generator.network)
    array = arrays["ircr"]
    fixed = (array == array[:1]).all(0)
    assert 0.1 < fixed.float().mean() < 1
    made = generator.sample(3, Wanted(), _random(), steps=3, sampler="sde")["ircr"]
    assert torch.equal(made[:, fixed], array[:1].expand(3, -1, -1)[:, fixed])
    assert (made != array[:1])[:, ~fixed].any(0).all()


def test_samples_are_like_the_arrays_and_follow_the_seed():
    generator, arrays = _prepared("unimat")
    _lively(generator.network)
    made = generator.sample(2, Wanted(), _random(1), steps=3)
    again = generator.sample(2, Wanted(), _random(1), steps=3)
    other = generator.sample(2, Wanted(), _random(2), steps=3)
    for name, array in arrays.items():
        assert made[name].shape == (2, *array.shape[1:])
        assert made[name].dtype == torch.float32
        assert torch.equal(made[name], again[name])
        assert not torch.equal(made[name], other[name])


def test_the_weights_tell_all(tmp_path):
    from safetensors.torch import load_file, save_file

    generator, _ = _prepared("unimat")
    _lively(generator.network)
    save_file(generator.state_dict(), tmp_path / "weights.safetensors")
    other = build_generator("diffusion", generator.representation, Conditions(), **SMALL).eval()
    other.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    one, again = (g.sample(2, Wanted(), _random(), steps=3) for g in (generator, other))
    assert all(torch.equal(one[name], again[name]) for name in one)


def test_a_loss_follows_from_torch_s_random_numbers_alone():
    generator, arrays = _prepared(conditions=Conditions.fit(["elements"], {}))
    batch = {**arrays, "condition.elements": torch.ones(len(arrays["ircr"]), 118)}
    generator.train()
    torch.manual_seed(3)
    state, one = torch.get_rng_state(), generator(batch)
    other = generator(batch)
    torch.set_rng_state(state)
    assert torch.equal(generator(batch), one)
    assert not torch.equal(other, one)
    one.backward()
    assert generator.network.last.inner.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"sampler": "euler"}, "no sampler 'euler'"),
        ({"steps": 1}, "at least 2"),
        ({"predictor_guidance": [3.0]}, "wanted PredictorGuidance"),
        ({"predictor_guidance": 3.0}, "wanted PredictorGuidance"),
    ],
)
def test_bad_settings(settings, said):
    generator, _ = _prepared()
    with pytest.raises(ModelError, match=said):
        generator.sample(2, Wanted(), _random(), **settings)
    assert set(generator.sample_settings()) >= set(settings)
