"""The physics term: crystals whose distances are known, and gradients out of what is wrong."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from crystalcodec import prototypes
from crystalcodec.crystals import Crystals
from crystalcodec.generators.base import build_generator
from crystalcodec.generators.conditions import Conditions
from crystalcodec.generators.wgan.physics import (
    SoftSites,
    closeness,
    number_densities,
    outside,
    reader_of,
)
from crystalcodec.models.base import ModelError
from crystalcodec.registry import REPRESENTATIONS, load
from crystalcodec.representations.crystens import CrysTens
from crystalcodec.representations.ircr import IRCR

SMALL = {"latent": 8, "hidden": 16, "channels": 4, "depth": 2}


@pytest.fixture(scope="module")
def real():
    some = prototypes().crystals.right_handed()
    return some[np.flatnonzero(some.n_sites <= 12)[:150]]


def representations(crystals):
    return {
        "ircr": IRCR(max_sites=12, max_elements=6, tolerance=0.5),
        "crystens": CrysTens(max_sites=12, distances="periodic"),
        "fitted": CrysTens(max_sites=12).fit(crystals),
        "near_max": CrysTens(max_sites=12, normalisation="divide_near_max"),
        "avg_std": CrysTens(max_sites=12, normalisation="avg_std"),
    }


KINDS = ("ircr", "crystens", "fitted", "near_max", "avg_std")


def sites_of(representation, crystals):
    encoded = representation.encode(crystals)
    assert not encoded.failures
    arrays = {name: torch.from_numpy(np.array(array)) for name, array in encoded.arrays.items()}
    reader, reason = reader_of(representation)
    assert reason == ""
    return reader(arrays)


def shortest(crystals):
    """Å to the nearest atom or image of it, by pymatgen."""
    import crystalcodec

    found = []
    for structure in crystalcodec.to_pymatgen(crystals):
        neighbours = structure.get_all_neighbors(12.0)
        found.append(min(one.nn_distance for all_of in neighbours for one in all_of))
    return np.array(found)


def soft(lattice, coords, there=None):
    coords = torch.tensor([coords], dtype=torch.float32)
    there = torch.ones(coords.shape[:2]) if there is None else torch.tensor([there])
    return SoftSites(coords, there, torch.tensor(np.array([lattice]), dtype=torch.float32))


# By hand.


def test_two_atoms_at_a_known_distance():
    """0.5 Å apart along z, through the face of the cell: (1 - 0.5 / 2)² over two atoms."""
    sites = soft(5 * np.eye(3), [[0, 0, 0.05], [0, 0, 0.95]])
    assert closeness(sites, 2.0).item() == pytest.approx(0.75**2 / 2, rel=1e-5)
    assert closeness(sites, 0.5).item() == pytest.approx(0, abs=1e-6)


def test_an_atom_and_its_own_image():
    """A cell of 0.8 × 3 × 3 Å: the image is 0.8 Å off, one pair and one atom."""
    sites = soft(np.diag([0.8, 3.0, 3.0]), [[0.2, 0.3, 0.4]])
    assert closeness(sites, 1.0).item() == pytest.approx(0.2**2, rel=1e-4)
    assert closeness(soft(3 * np.eye(3), [[0.2, 0.3, 0.4]]), 1.0).item() == 0


def test_atoms_that_are_partly_there():
    sites = soft(5 * np.eye(3), [[0, 0, 0], [0, 0, 0.1]], [1.0, 0.5])
    assert closeness(sites, 1.0).item() == pytest.approx(0.5 * 0.25 / 1.5, rel=1e-5)
    assert number_densities(sites).item() == pytest.approx(1.5 / 125)
    none = soft(5 * np.eye(3), [[0, 0, 0], [0, 0, 0.1]], [0.0, 0.0])
    assert closeness(none, 1.0).item() == 0


def test_an_image_of_a_skew_cell():
    """At 60 degrees the nearest image is not the one whose coordinates differ least."""
    lattice = [[4, 0, 0], [2, np.sqrt(12), 0], [0, 0, 9]]
    sites = soft(lattice, [[0, 0, 0], [0.45, 0.45, 0]])
    images = [
        np.linalg.norm(np.array([0.45 + i, 0.45 + j, 0]) @ np.array(lattice))
        for i in range(-2, 3)
        for j in range(-2, 3)
    ]
    wanted = (1 - min(images) / 5) ** 2 / 2
    # Each atom also has an image of its own, 4 Å off.
    own = 2 * (1 - 4 / 5) ** 2 / 2
    assert closeness(sites, 5.0).item() == pytest.approx(wanted + own, rel=1e-5)


def test_density_outside_a_range():
    """Twice the largest: ln(2)²; a third of the least: ln(3)²; within: 0."""
    low, high = torch.tensor(0.03), torch.tensor(0.1)
    found = outside(torch.tensor([0.2, 0.01, 0.05, 0.1]), low, high)
    wanted = torch.tensor([np.log(2) ** 2, np.log(3) ** 2, 0.0, 0.0], dtype=torch.float32)
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-5)


# Arrays of real crystals.


@pytest.mark.parametrize("kind", KINDS)
def test_sites_and_cells_are_read_back(real, kind):
    sites = sites_of(representations(real)[kind], real)
    assert torch.equal(sites.there.sum(dim=1).round().long(), torch.tensor(real.n_sites))
    assert torch.isin(sites.there, torch.tensor([0.0, 1.0])).all()
    densities = real.n_sites / np.abs(np.linalg.det(real.lattices))
    np.testing.assert_allclose(number_densities(sites).numpy(), densities, rtol=1e-3)
    coords = sites.frac_coords[sites.there > 0.5].numpy()
    off = coords - real.frac_coords
    assert np.abs(off - off.round()).max() < 1e-5
    metric = sites.lattices @ sites.lattices.transpose(1, 2)
    wanted = real.lattices @ real.lattices.transpose(0, 2, 1)
    np.testing.assert_allclose(metric.numpy(), wanted, atol=2e-2)


@pytest.mark.parametrize("kind", ["ircr", "fitted"])
def test_real_crystals_have_no_term_and_squeezed_ones_do(real, kind):
    """None of those whose shortest distance, by pymatgen, is 1 Å or more; all of the others."""
    few = real[:40]
    distances = shortest(few)
    assert (distances >= 1).sum() > 20
    representation = representations(real)[kind]
    for factor in (1.0, 0.35):
        cells = Crystals(few.lattices * factor, few.frac_coords, few.numbers, few.offsets)
        found = closeness(sites_of(representation, cells), 1.0).numpy()
        sure = np.abs(distances * factor - 1) > 1e-3
        assert np.array_equal(found[sure] > 0, (distances * factor < 1)[sure])


@pytest.mark.parametrize("kind", ["ircr", "fitted"])
def test_the_term_of_training_data(real, kind):
    """0 for the crystals that it was shown, above 0 for a cell of twice the density."""
    representation = representations(real)[kind]
    distances = shortest(real[:60])
    some = real[np.flatnonzero(distances > 1.01)]
    array = torch.from_numpy(np.array(representation.encode(some)[representation.name]))
    generator = build_generator("wgan", representation, Conditions(), physics=1.0, **SMALL)
    generator.prepare(some, {representation.name: array})
    assert generator.physics_term(array).abs().max() < 1e-8
    if kind == "ircr":
        dense = array.clone()
        dense[:, representation.blocks["L"].start, :3] /= 10
        assert (generator.physics_term(dense) > 0.1).all()


# What the generator's training does with it.


@pytest.mark.parametrize("kind", ["ircr", "fitted"])
def test_gradients_pull_atoms_apart(real, kind):
    """Steps down the term alone remove it, from arrays of noise, and stay finite."""
    representation = representations(real)[kind]
    arrays = {
        representation.name: torch.from_numpy(
            np.array(representation.encode(real)[representation.name])
        )
    }
    torch.manual_seed(0)
    generator = build_generator(
        "wgan", representation, Conditions(), physics=1.0, closest=1.5, **SMALL
    )
    generator.prepare(real, arrays)
    generator.eval()
    assert "physics" in generator.figures(arrays)
    noise = torch.randn(16, 8)
    optimiser = torch.optim.Adam(generator.maker.parameters(), lr=3e-3)
    terms = []
    for _ in range(60):
        made = generator.scaling.unscale(generator._make(noise, {}))
        term = generator.physics_term(made).mean()
        optimiser.zero_grad()
        term.backward()
        assert all(p.grad.isfinite().all() for p in generator.maker.parameters())
        optimiser.step()
        terms.append(term.item())
    assert terms[0] > 1e-3
    assert terms[-1] < terms[0] / 5


def test_cells_that_do_not_close_have_a_finite_term():
    array = torch.zeros(1, 144, 3)
    array[0, 94] = 3.0
    array[0, 95] = torch.tensor([20.0, 170.0, 60.0])
    array[0, 116:118, 0] = 1.0
    reader, _ = reader_of(IRCR())
    sites = reader({"ircr": array.requires_grad_()})
    term = (
        closeness(sites, 1.0).sum()
        + outside(number_densities(sites), torch.tensor(0.01), torch.tensor(0.1)).sum()
    )
    term.backward()
    assert term.isfinite()
    assert array.grad.isfinite().all()


def test_the_weight_counts(real):
    representation = representations(real)["ircr"]
    arrays = {"ircr": torch.from_numpy(np.array(representation.encode(real)["ircr"]))}
    losses, terms = [], []
    for weight in (0.0, 2.0):
        torch.manual_seed(0)
        generator = build_generator(
            "wgan", representation, Conditions(), physics=weight, closest=2.0, **SMALL
        )
        generator.prepare(real, arrays)
        generator.position.fill_(5)  # the generator's turn
        torch.manual_seed(1)
        losses.append(generator(arrays).item())
        torch.manual_seed(1)
        made = generator._make(torch.randn(len(real), 8), {})
        if weight:
            terms.append(generator.physics_term(generator.scaling.unscale(made)).mean().item())
    assert losses[1] - losses[0] == pytest.approx(2 * terms[0], rel=1e-3)
    assert terms[0] > 0


def test_where_there_is_nothing_to_read():
    representation = load(REPRESENTATIONS, "xtal2png")()
    with pytest.raises(ModelError, match=r"no physics term on 'xtal2png'.*leave physics at 0"):
        build_generator("wgan", representation, Conditions(), physics=1.0, **SMALL)
    build_generator("wgan", representation, Conditions(), **SMALL)
