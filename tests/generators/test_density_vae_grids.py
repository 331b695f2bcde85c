"""Grids of the density VAE: periodic convolutions, targets, peaks and matched atoms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from crystalcodec.crystals import Crystals
from crystalcodec.generators.density_vae.cell_atoms import locate_atoms
from crystalcodec.generators.density_vae.found_atoms import match_atoms
from crystalcodec.generators.density_vae.grids import UNKNOWN, grid_of, species_grid
from crystalcodec.generators.density_vae.networks import (
    Circular,
    Encoder,
    Segmenter,
    make_periodic,
)
from crystalcodec.models.base import ModelError
from crystalcodec.representations.density_cell import DensityCell
from crystalcodec.representations.density_cube import DensityCube
from crystalcodec.representations.density_cube.atoms import closest
from crystalcodec.testing import sample_crystals

CELL = DensityCell(size=12, sigma=0.5, tolerance=0.5)


def rolled(x, steps):
    return torch.roll(x, steps, dims=(2, 3, 4))


@pytest.mark.parametrize("kernel", [3, 5])
def test_a_convolution_goes_round_as_torch_s_does(kernel):
    torch.manual_seed(0)
    known = nn.Conv3d(2, 3, kernel, padding=kernel // 2, padding_mode="circular").double()
    mine = nn.Conv3d(2, 3, kernel, padding=kernel // 2).double()
    mine.load_state_dict(known.state_dict())
    network = nn.Sequential(mine)
    make_periodic(network)
    assert isinstance(network[0], Circular)
    x = torch.randn(2, 2, 6, 6, 6, dtype=torch.double, requires_grad=True)
    torch.testing.assert_close(network(x), known(x))
    for function in (network, known):
        (gradient,) = torch.autograd.grad(function(x).sin().sum(), x)
        torch.testing.assert_close(gradient, torch.autograd.grad(known(x).sin().sum(), x)[0])


def test_a_transposed_convolution_goes_round():
    """Of a grid repeated three times along each axis the middle is what comes out."""
    torch.manual_seed(0)
    plain = nn.ConvTranspose3d(2, 3, 3, stride=2, padding=1, output_padding=1)
    x = torch.randn(1, 2, 4, 4, 4)
    middle = plain(x.repeat(1, 1, 3, 3, 3))[..., 8:16, 8:16, 8:16]
    network = nn.Sequential(plain)
    make_periodic(network)
    torch.testing.assert_close(network(x), middle)
    # By whole points of the coarse grid, twice as many of the fine one.
    torch.testing.assert_close(network(rolled(x, (1, 2, 3))), rolled(middle, (2, 4, 6)))


def test_the_segmenter_moves_with_the_grid():
    """Shifts by multiples of its stride, 4, move what it gives, around all axes."""
    torch.manual_seed(0)
    network = Segmenter(3, 119, (4, 8, 12), True).eval()
    x = torch.randn(2, 3, 12, 12, 12)
    with torch.no_grad():
        there = network(x).movedim(-1, 1)
        for steps in ((4, 0, 0), (0, 8, 4), (4, 4, 4)):
            here = network(rolled(x, steps)).movedim(-1, 1)
            torch.testing.assert_close(here, rolled(there, steps), rtol=1e-4, atol=1e-4)
        open_ended = Segmenter(3, 119, (4, 8, 12), False).eval()
        there = open_ended(x).movedim(-1, 1)
        here = open_ended(rolled(x, (4, 0, 0))).movedim(-1, 1)
        assert (here - rolled(there, (4, 0, 0))).abs().max() > 1e-3


def test_no_batch_norm_is_left_and_every_convolution_goes_round():
    network = Segmenter(3, 119, (4, 8, 12), True)
    assert not any(isinstance(m, nn.BatchNorm3d) for m in network.modules())
    alone = {
        id(m.convolution) for m in network.modules() if isinstance(m, Circular)
    }  # those that are made periodic
    for module in network.modules():
        if isinstance(module, nn.Conv3d | nn.ConvTranspose3d) and max(module.kernel_size) > 1:
            assert id(module) in alone


def test_local_codes_move_with_the_grid():
    torch.manual_seed(0)
    encoder = Encoder(1, 6, 8, (4, 8), 3, True, True).eval()
    x, numbers = torch.randn(1, 1, 8, 8, 8), torch.randn(1, 6)
    with torch.no_grad():
        there, here = encoder(x, numbers)[0], encoder(rolled(x, (2, 4, 0)), numbers)[0]
    grid = there[:, : 3 * 64].reshape(1, 3, 4, 4, 4)
    torch.testing.assert_close(
        here[:, : 3 * 64].reshape(1, 3, 4, 4, 4), rolled(grid, (1, 2, 0)), rtol=1e-4, atol=1e-4
    )
    torch.testing.assert_close(here[:, 3 * 64 :], there[:, 3 * 64 :])


def nearest_atoms(crystal, n_points, radius):
    """From the definition, one point at a time, with 125 images of each atom."""
    axis = np.arange(n_points) / n_points
    steps = np.indices((5, 5, 5)).reshape(3, -1).T - 2
    grid = np.zeros((n_points,) * 3, int)
    for place in np.ndindex(grid.shape):
        away = (crystal.frac_coords + steps[:, None] - axis[list(place)]) @ crystal.lattices[0]
        distances = np.linalg.norm(away, axis=2).min(axis=0)
        if distances.min() < radius:
            grid[place] = crystal.numbers[distances.argmin()]
    return grid


def test_species_are_those_of_the_nearest_atoms():
    crystals = sample_crystals().right_handed()
    crystals = crystals[CELL.encode(crystals).index][:6]
    made = species_grid(crystals, 8, 0.9).numpy()
    for i in range(len(crystals)):
        known = nearest_atoms(crystals[i], 8, 0.9)
        own = np.zeros_like(known, bool)
        for coords in crystals[i].frac_coords:
            own[tuple(np.rint(coords * 8).astype(int) % 8)] = True
        np.testing.assert_array_equal(made[i][~own], known[~own])
        # Every atom has a point, however far the points are apart.
        assert set(made[i][own]) <= set(crystals[i].numbers.tolist())
        assert (made[i][own] > 0).all()


def test_the_target_is_the_element_at_each_atom():
    """For both kinds of grid, of the arrays alone."""
    crystals = sample_crystals().right_handed()
    cube = DensityCube(edge=12.0, n_points=24, sigma=0.8)
    for representation in (CELL, cube):
        encoded = representation.encode(crystals)
        batch = {name: torch.from_numpy(np.array(a)) for name, a in encoded.arrays.items()}
        species = grid_of(representation).species(batch).numpy()
        held = crystals[encoded.index]
        assert species.shape == (len(held), *(representation.shapes()["density"][-3:]))
        for i in range(len(held)):
            if representation is CELL:
                places = np.rint(held[i].frac_coords * 12).astype(int) % 12
            else:
                origin = encoded["origin"][i]
                places = np.rint((held[i].cart_coords + origin) / cube.spacing).astype(int)
            wrong = species[i][tuple(places.T)] != held[i].numbers
            # Two atoms may share the point nearest to both.
            shared = len(np.unique(places, axis=0)) < len(places)
            assert not wrong.any() or shared


def test_what_does_not_decode_has_no_known_species():
    crystals = Crystals.single(4.1 * np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]], [55, 17])
    encoded = CELL.encode(crystals)
    batch = {name: torch.from_numpy(np.repeat(a, 2, axis=0)) for name, a in encoded.arrays.items()}
    batch["density"][1] = torch.nan
    species = grid_of(CELL).species(batch)
    assert (species[1] == UNKNOWN).all()
    assert set(species[0].unique().tolist()) == {0, 17, 55}


def located(density, cells, species, threshold=0.4):
    return locate_atoms(CELL, density, cells, species, threshold)


def test_atoms_are_located_at_the_peaks():
    crystals = sample_crystals().right_handed()
    # Two atoms nearer than about 4 widths may be one peak.
    crystals = crystals[np.flatnonzero(closest(crystals, 2.0, True) == np.inf)]
    assert len(crystals) > 3
    encoded = CELL.encode(crystals)
    crystals = crystals[encoded.index]
    species = species_grid(crystals, 12, 0.9).numpy()
    found, index = located(encoded["density"][:, 0], encoded["cell_parameters"], species)
    assert index.tolist() == list(range(len(crystals)))
    for i in range(len(crystals)):
        atoms = match_atoms(
            found[i].frac_coords,
            found[i].numbers,
            crystals[i].frac_coords,
            crystals[i].numbers,
            0.5,
            crystals[i].lattices[0],
        )
        assert (atoms.n_matched, atoms.n_false) == (int(crystals.n_sites[i]), 0)
        assert atoms.named.all()
        assert atoms.distances.max() < 0.1


def test_peaks_that_are_no_atoms():
    crystal = Crystals.single(4.1 * np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]], [55, 17])
    encoded = CELL.encode(crystal)
    density, cells = encoded["density"][:, 0], encoded["cell_parameters"]
    species = species_grid(crystal, 12, 0.9).numpy()
    # Where the segmenter sees nothing there is no atom.
    found, _ = located(density, cells, np.where(species == 55, 0, species))
    assert found.numbers.tolist() == [17]
    none, index = located(density, cells, 0 * species)
    assert len(none) == 0
    assert len(index) == 0
    # Not high enough: 0.3 of an atom below a threshold of 0.4.
    assert len(located(0.3 * density, cells, species)[0]) == 0
    assert len(located(0.5 * density, cells, species)[0]) == 1


def test_of_two_peaks_beside_one_another_the_higher_one_is_an_atom():
    cells = np.array([[4.0, 4, 4, 90, 90, 90]])
    density = np.zeros((1, 12, 12, 12))
    density[0, 0, 0, 0], density[0, 0, 0, 2], density[0, 6, 6, 6] = 3.0, 2.0, 1.0
    species = np.full(density.shape, 8)
    found, _ = located(density, cells, species)
    # 2 points are 0.67 Å.
    assert found.numbers.tolist() == [8, 8]
    np.testing.assert_allclose(found.frac_coords, [[0, 0, 0], [0.5, 0.5, 0.5]], atol=1e-9)


def test_junk_densities_hold_no_atoms():
    rng = np.random.default_rng(0)
    density = rng.normal(size=(6, 12, 12, 12))
    density[0], density[1] = np.nan, np.inf
    good = [4.0, 4, 4, 90, 90, 90]
    unknown, open_ended, huge = [np.nan, *good[1:]], [4.0, 4, 4, 10, 10, 170], [1e9, *good[1:]]
    cells = np.array([good, good, unknown, open_ended, huge, good])
    found, index = located(density, cells, np.full(density.shape, 26))
    assert index.tolist() == [5]
    assert len(found) == 1
    empty, index = located(density[:0], cells[:0], density[:0])
    assert len(empty) == 0
    assert len(index) == 0


def test_matched_atoms_by_hand():
    # 0.3 to the first, 0.2 to the second: the nearest pairing alone would leave one atom out.
    wanted = [[0.0, 0, 0], [0.5, 0, 0]]
    found = [[0.3, 0, 0], [0.85, 0, 0], [5.0, 0, 0]]
    atoms = match_atoms(found, [1, 2, 3], wanted, [1, 9], 0.4)
    assert (atoms.n_wanted, atoms.n_found, atoms.n_matched, atoms.n_false) == (2, 3, 2, 1)
    np.testing.assert_allclose(atoms.distances, [0.3, 0.35])
    assert atoms.named.tolist() == [True, False]
    # Nearer than 0.35 only one pair can be, the second one.
    closer = match_atoms(found, [1, 2, 3], wanted, [1, 9], 0.25)
    np.testing.assert_allclose(closer.distances, [0.2])
    assert closer.n_false == 2
    assert closer.named.tolist() == [False]
    for one, other in ((found[:0], wanted), (found, wanted[:0])):
        none = match_atoms(one, [1] * len(one), other, [1] * len(other), 0.4)
        assert none.n_matched == 0
        assert none.n_false == len(one)


def test_matched_atoms_across_the_faces():
    lattice = [[4.0, 0, 0], [1.0, 4.0, 0], [0, 0, 4.0]]
    atoms = match_atoms([[0.99, 0.01, 0.5]], [1], [[0.01, 0.99, 0.5]], [1], 0.5, lattice)
    # (-0.02, 0.02, 0) in the cell: -0.08 + 0.02 along x, 0.08 along y.
    np.testing.assert_allclose(atoms.distances, [np.hypot(0.06, 0.08)])


def test_grids_of_other_representations():
    with pytest.raises(ModelError, match="wanted 'one'"):
        grid_of(DensityCell(channels=("Z",)))
