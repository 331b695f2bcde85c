"""The density VAE: its terms against their definitions, and what it memorises comes back."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from crystalcodec.crystals import Crystals
from crystalcodec.data import Dataset
from crystalcodec.generators.base import build_generator
from crystalcodec.generators.conditions import Conditions, Wanted
from crystalcodec.generators.density_vae.generator import (
    DensityVAE,
    balanced_cross_entropy,
    gaussian_kl,
    scaled_gradient,
)
from crystalcodec.models.base import ModelError
from crystalcodec.plots.film_strip import film_strip
from crystalcodec.representations.density_cell import DensityCell
from crystalcodec.representations.density_cube import DensityCube
from crystalcodec.representations.ircr import IRCR
from crystalcodec.workflow.config import RunConfig
from crystalcodec.workflow.generating.sampling import sample_arrays
from crystalcodec.workflow.generating.training import train_generator

CELL = DensityCell(size=8, sigma=0.6, tolerance=0.5)
CUBE = DensityCube(edge=6.5, n_points=11, sigma=0.8, lenient=True, species_radius=0.7)
LATTICE = dataclasses.replace(CUBE, mode="lattice")
SMALL = {"latent_size": 4, "widths": (8, 16), "segmenter_widths": (8, 16)}


def two_crystals():
    """Potassium chloride as caesium chloride, and iron in a larger and skew cell."""
    salt = Crystals.single(4.1 * np.eye(3), [[0.1, 0.1, 0.1], [0.6, 0.6, 0.6]], [19, 17])
    iron = Crystals.single(
        [[3.4, 0, 0], [0.4, 3.6, 0], [0, 0.3, 3.9]], [[0.2, 0.3, 0.1], [0.7, 0.75, 0.6]], [26, 26]
    )
    return Crystals.concatenate([salt, iron])


def arrays_of(representation, crystals):
    encoded = representation.encode(crystals)
    assert len(encoded) == len(crystals)
    return {name: torch.from_numpy(np.array(array)) for name, array in encoded.arrays.items()}


def made(representation, crystals=None, **parameters):
    crystals = two_crystals() if crystals is None else crystals
    torch.manual_seed(0)
    generator = build_generator(
        "density_vae", representation, Conditions(), **{**SMALL, **parameters}
    )
    generator.prepare(crystals, arrays_of(representation, crystals))
    return generator


def memorised(representation, steps=200, rate=5e-3, **parameters):
    generator = made(
        representation, **{"beta": 0.0, "gamma": 0.01, "latent_size": 16, **parameters}
    )
    batch = arrays_of(representation, two_crystals())
    optimiser = torch.optim.Adam(generator.parameters(), rate, fused=True)
    species = generator.grid.species(batch)
    generator.grid.species = lambda batch: species  # the same in each step
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = rate * (1 - step / steps)
        optimiser.zero_grad()
        generator(batch).backward()
        optimiser.step()
    return generator.eval()


@pytest.mark.parametrize(
    ("representation", "parameters"),
    [(CELL, {}), (CELL, {"local": True, "compressed": False}), (CUBE, {}), (LATTICE, {})],
    ids=["cell", "cell, local codes", "cube", "lattice"],
)
def test_what_it_memorised_comes_back(representation, parameters):
    crystals = two_crystals()
    # The cell's are learnt sooner, and are the slower ones.
    hurry = {"steps": 90, "rate": 8e-3} if representation is CELL else {}
    generator = memorised(representation, **hurry, **parameters)
    batch = arrays_of(representation, crystals)
    with torch.no_grad():
        codes = generator.encode(batch)
        assert codes.shape == (2, generator.decoder.code_size)
        arrays = {name: t.numpy() for name, t in generator.decode(codes).items()}
        figures = generator.figures(batch)
    assert {name: a.shape[1:] for name, a in arrays.items()} == representation.shapes()
    assert figures["species"] < 0.05
    decoded = representation.decode(arrays)
    assert decoded.failures == ()
    assert decoded.crystals.formulas == crystals.formulas
    np.testing.assert_allclose(
        decoded.crystals.cell_parameters, crystals.cell_parameters, rtol=0.03, atol=1
    )
    for i in range(2):
        got, want = decoded.crystals[i], crystals[i]
        away = got.frac_coords[:, None] - want.frac_coords
        distances = np.linalg.norm((away - np.rint(away)) @ want.lattices[0], axis=2)
        distances[got.numbers[:, None] != want.numbers] = np.inf
        assert distances.min(axis=0).max() < 0.25


def test_kl_is_that_of_the_distributions():
    mean, log_variance = torch.randn(2, 50, generator=torch.Generator().manual_seed(0))
    known = torch.distributions.kl_divergence(
        torch.distributions.Normal(mean, (log_variance / 2).exp()),
        torch.distributions.Normal(0.0, 1.0),
    )
    torch.testing.assert_close(gaussian_kl(mean, log_variance), known)
    assert gaussian_kl(torch.tensor(0.0), torch.tensor(0.0)) == 0


def test_cross_entropy_counts_atoms_and_emptiness_alike():
    logits = torch.log(torch.tensor([[0.5, 0.5], [0.5, 0.5], [0.75, 0.25], [0.2, 0.8]]))
    # Empty points: -log 0.5, -log 0.5, -log 0.75; the one atom: -log 0.8.
    empty = (2 * np.log(2) - np.log(0.75)) / 3
    wanted = (empty - np.log(0.8)) / 2
    value = balanced_cross_entropy(logits, torch.tensor([0, 0, 0, 1]))
    assert value.item() == pytest.approx(wanted, rel=1e-6)
    assert balanced_cross_entropy(logits[3:], torch.tensor([1])).item() == pytest.approx(
        -np.log(0.8)
    )
    nothing = balanced_cross_entropy(logits[:0], torch.zeros(0, dtype=torch.long))
    assert nothing.item() == 0


def test_scaled_gradient_changes_the_gradient_alone():
    x = torch.tensor([1.5, -2.0], requires_grad=True)
    y = scaled_gradient(x, 0.25)
    torch.testing.assert_close(y, x)
    y.square().sum().backward()
    torch.testing.assert_close(x.grad, 0.25 * 2 * x.detach())


@pytest.mark.parametrize("representation", [CELL, CUBE], ids=["cell", "cube"])
def test_each_network_follows_its_own_loss(representation):
    """From one start: forward against its terms, each with its weight, one by one."""
    batch = arrays_of(representation, two_crystals())
    weights = {"beta": 0.3, "gamma": 0.2, "cell_weight": 0.7}
    generator = made(representation, **weights)
    torch.manual_seed(1)
    generator(batch).backward()
    got = {name: p.grad for name, p in generator.named_parameters()}
    # With γ = 1 nothing is scaled.
    plain = made(representation, gamma=1.0)
    torch.manual_seed(1)
    losses = plain.losses(batch)
    mine = {n: p for n, p in plain.named_parameters() if not n.startswith("segmenter")}
    theirs = {n: p for n, p in plain.named_parameters() if n.startswith("segmenter")}
    ours = (
        losses["reconstruction"]
        + 0.7 * losses["cell"]
        + 0.3 * losses["kl"]
        + 0.2 * losses["segmentation"]
    )
    for parameters, loss in ((mine, ours), (theirs, losses["segmentation"])):
        known = torch.autograd.grad(loss, [*parameters.values()], retain_graph=True)
        for name, gradient in zip(parameters, known, strict=True):
            torch.testing.assert_close(got[name], gradient, rtol=1e-3, atol=2e-6)
    generator.eval()
    torch.manual_seed(2)
    figures = generator.figures(batch)
    assert next(iter(figures)) == "loss"
    total = figures["reconstruction"] + 0.7 * figures["cell"] + 0.3 * figures["kl"]
    torch.testing.assert_close(figures["loss"], total + 0.2 * figures["segmentation"])
    assert 0 <= figures["species"] <= 1


def test_no_element_is_named_that_training_did_not_have():
    generator = made(CELL).eval()
    density = torch.randn(3, 3, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        species = generator.segment(density)
    assert set(species.unique().tolist()) <= {0, 17, 19, 26}


def test_scales_are_undone():
    """A decoder that gave back what the encoder sees would give back the arrays."""
    for representation in (CELL, CUBE, LATTICE):
        for compressed in (False, True):
            generator = made(representation, compressed=compressed)
            batch = arrays_of(representation, two_crystals())
            density, numbers = generator._scaled(batch)
            assert density[:, :, -1].std() < 10
            assert numbers.mean(dim=0).abs().max() < 1e-4
            back = generator.grid.arrays(
                *generator._unscaled(density, numbers), generator.grid.species(batch)
            )
            for name, array in batch.items():
                torch.testing.assert_close(back[name], array, rtol=1e-3, atol=2e-3)


def test_samples():
    generator = made(CELL).eval()
    one = sample_arrays(generator, 5, seed=3)
    again = sample_arrays(generator, 5, seed=3)
    other = sample_arrays(generator, 5, seed=4)
    assert one.decoded is not None
    assert len(one.decoded.crystals) + len(one.decoded.failures) == 5
    for name, array in one.arrays.items():
        assert array.shape == (5, *CELL.shapes()[name])
        np.testing.assert_array_equal(array, again.arrays[name])
        assert not np.array_equal(array, other.arrays[name])
    # Without noise there is one sample: that of the mean of the codes.
    cold = sample_arrays(generator, 3, settings={"temperature": 0.0})
    np.testing.assert_allclose(
        cold.arrays["cell_parameters"][0], cold.arrays["cell_parameters"][2], rtol=1e-5
    )


def test_fitted_codes_have_the_moments_of_training():
    generator = made(CELL)
    codes = 3 + 0.5 * torch.randn(2000, 4, generator=torch.Generator().manual_seed(0))
    for _ in range(2000):
        generator._remember(codes)
    drawn = []
    generator.decode = lambda codes, batch: drawn.append(codes) or {}
    generator.sample(4000, Wanted(), torch.Generator().manual_seed(1), codes="fitted")
    generator.sample(4000, Wanted(), torch.Generator().manual_seed(1))
    fitted, normal = drawn
    torch.testing.assert_close(fitted.mean(dim=0), codes.mean(dim=0), atol=0.05, rtol=0)
    torch.testing.assert_close(fitted.std(dim=0), codes.std(dim=0), atol=0.05, rtol=0)
    assert normal.mean().abs() < 0.05
    assert abs(normal.std() - 1) < 0.05


def test_conditions_reach_the_decoder():
    crystals = two_crystals()
    conditions = Conditions.fit(("elements",), {"gap": np.array([0.0, 2.0])})
    torch.manual_seed(0)
    generator = build_generator("density_vae", CELL, conditions, **SMALL)
    batch = arrays_of(CELL, crystals)
    told = conditions.of(crystals, {"gap": np.array([0.0, 2.0])})
    generator.prepare(crystals, batch)
    generator(batch | {k: torch.from_numpy(v) for k, v in told.items()}).backward()
    assert all(p.grad.abs().sum() > 0 for p in generator.embedding.maps[1].parameters())
    generator.eval()
    with torch.no_grad():
        low, high = (
            generator.unnamed(torch.zeros(1, 4), conditions.batch(Wanted(values={"gap": gap}), 1))
            for gap in (0.0, 2.0)
        )
    assert not torch.allclose(low[1], high[1])


def test_film_strip_begins_and_ends_at_the_reconstructions():
    generator = made(CELL).eval()
    crystals = two_crystals()
    strip = film_strip(generator, crystals[0], crystals[1], 5)
    assert strip.weights.tolist() == [0, 0.25, 0.5, 0.75, 1]
    with torch.no_grad():
        codes = generator.encode(arrays_of(CELL, crystals))
        ends = generator.decode(codes)
        middle = generator.decode(codes.mean(dim=0, keepdim=True))
    for name, array in strip.arrays.items():
        assert array.shape == (5, *CELL.shapes()[name])
        for frame, known in ((0, ends[name][0]), (2, middle[name][0]), (4, ends[name][1])):
            np.testing.assert_allclose(array[frame], known, rtol=1e-3, atol=1e-4)
    assert len(strip.decoded.crystals) + len(strip.decoded.failures) == 5
    figure = strip.draw("from one to the other")
    assert [axes.get_title() for axes in figure.axes[:5]] == [
        "0.00",
        "0.25",
        "0.50",
        "0.75",
        "1.00",
    ]


def test_film_strip_of_any_latent_generator(toy):
    """The toy's codes are the arrays themselves: frames are their weighted means."""
    representation = IRCR(max_elements=3, max_sites=4)
    crystals = two_crystals()
    generator = toy(representation, Conditions())
    strip = film_strip(generator, crystals[0], crystals[1], 3)
    (known,) = representation.encode(crystals).arrays.values()
    (got,) = strip.arrays.values()
    np.testing.assert_allclose(got, [known[0], known.mean(axis=0), known[1]], atol=1e-5)


@pytest.mark.parametrize(
    ("first", "second", "n_frames", "said"),
    [
        (slice(0, 2), slice(1, 2), 3, "2 and 1 crystals"),
        (slice(0, 1), slice(0, 0), 3, "1 and 0 crystals"),
        (slice(0, 1), slice(1, 2), 1, "at least 2"),
    ],
)
def test_bad_film_strips(first, second, n_frames, said):
    crystals = two_crystals()
    with pytest.raises(ValueError, match=said):
        film_strip(made(CELL), crystals[first], crystals[second], n_frames)


def test_a_film_strip_names_the_crystal_that_cannot_be_held():
    crystals = two_crystals()
    crowd = Crystals.single(4 * np.eye(3), [[0, 0, 0], [0.01, 0, 0]], [1, 1])
    with pytest.raises(ValueError, match="second crystal: sites too close"):
        film_strip(made(CELL), crystals[0], crowd, 3)


@pytest.mark.parametrize(
    ("representation", "said"),
    [
        (IRCR(), "wanted density_cube or density_cell"),
        (DensityCube(species=False), "species = true"),
        (DensityCell(channels=("Z",)), "wanted 'one' among them"),
    ],
)
def test_representations_that_do_not_fit(representation, said):
    assert said in DensityVAE.fits(representation)
    with pytest.raises(ModelError, match=said):
        build_generator("density_vae", representation, Conditions())


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"widths": (8, 16, 32, 64, 64)}, "wanted a multiple of 16"),
        ({"widths": (8,)}, "widths is"),
        ({"segmenter_widths": (8, 1)}, "segmenter_widths is"),
        ({"latent_size": 0}, "latent_size is 0"),
        ({"latent_size": 2.5}, "latent_size is 2.5"),
        ({"beta": -1.0}, "beta is -1"),
        ({"gamma": float("nan")}, "gamma is nan"),
        ({"threshold": 1.0}, "threshold is 1"),
        ({"latent_sise": 3}, "did you mean 'latent_size'"),
    ],
)
def test_bad_parameters(parameters, said):
    with pytest.raises(ModelError, match=said):
        build_generator("density_vae", CELL, Conditions(), **parameters)


def test_bad_calls():
    generator = made(CELL).eval()
    random = torch.Generator()
    with pytest.raises(ModelError, match="did you mean 'fitted'"):
        generator.sample(1, Wanted(), random, codes="fited")
    with pytest.raises(ModelError, match="temperature is -1"):
        generator.sample(1, Wanted(), random, temperature=-1.0)
    with pytest.raises(ModelError, match=r"codes of shape \(2, 5\)"):
        generator.decode(torch.zeros(2, 5))
    batch = arrays_of(CELL, two_crystals())
    with pytest.raises(ModelError, match="NaN or infinity"):
        generator.encode(batch | {"density": batch["density"] * torch.nan})


def test_codes_far_outside_are_counted_failures():
    """No array that comes out makes decoding raise."""
    for representation in (CELL, CUBE):
        generator = made(representation).eval()
        with torch.no_grad():
            arrays = generator.decode(1e4 * torch.randn(3, 4))
        decoded = representation.decode({name: t.numpy() for name, t in arrays.items()})
        assert len(decoded.crystals) + len(decoded.failures) == 3


def test_a_run_can_be_trained_opened_and_sampled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    crystals = two_crystals()[np.arange(8) % 2]
    Dataset.from_crystals(crystals, ids=[str(i) for i in range(8)]).write("data.parquet")
    config = RunConfig.of(
        {
            "data": {"dataset": "data.parquet", "validation": "data.parquet"},
            "representation": {"name": "density_cell", "size": 8, "sigma": 0.6, "tolerance": 0.5},
            "model": {"name": "density_vae", **SMALL},
            "augmentation": {"names": ["permute_axes", "shift_origin"]},
            "training": {"epochs": 2, "batch_size": 4, "clip_norm": 1.0},
            "machine": {"device": "cpu"},
        }
    )
    run = train_generator(config, tmp_path / "run", progress=False)
    for name in ("loss", "reconstruction", "cell", "kl", "segmentation", "species"):
        assert np.isfinite(run.record["history"][f"validation_{name}"])
    assert run.generator.present.nonzero().flatten().tolist() == [0, 17, 19, 26]
    assert sample_arrays(run.generator, 2).n == 2
