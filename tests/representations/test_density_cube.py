"""The density in a cube against a direct sum, an atom of known field, and junk."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crystalcodec.crystals import Crystals
from crystalcodec.data.augmentation import rotate
from crystalcodec.elements import ATOMIC_MASSES
from crystalcodec.failures import count_reasons
from crystalcodec.representations.base import RepresentationError
from crystalcodec.representations.density_cube import DensityCube
from crystalcodec.representations.density_cube.atoms import closest
from crystalcodec.representations.density_cube.species_grids import SpeciesGrid
from crystalcodec.testing import CHECKS, round_trip_errors, sample_crystals

SALT = Crystals.single(
    [[0, 2.8, 2.8], [2.8, 0, 2.8], [2.8, 2.8, 0]], [[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17]
)
GRID = np.stack(np.indices((30, 30, 30)), axis=-1) * (10 / 29)
PEAK = (2 * np.pi) ** -1.5


def direct(positions, numbers, weights, sigma=1.0, radius=0.667):
    """Both grids from their definitions, in float64, atom by atom; no atom is left out."""
    density = np.zeros((30, 30, 30))
    nearest = np.full((30, 30, 30), np.inf)
    species = np.zeros((30, 30, 30))
    order = np.argsort(numbers)[::-1]
    for position, number in zip(positions[order], numbers[order], strict=True):
        squares = ((GRID - position) ** 2).sum(axis=-1)
        density += weights[number] * np.exp(-squares / (2 * sigma**2))
        wins = (squares < radius**2) & (squares < nearest)
        species[wins], nearest[wins] = number, squares[wins]
    return density * (2 * np.pi * sigma**2) ** -1.5, species


def endless(crystal, reach):
    """All atoms of the crystal up to a reach outside the cube."""
    inverse = np.linalg.inv(crystal.lattices[0])
    most = np.ceil(np.linalg.norm(inverse, axis=0) * (17.4 + reach)).astype(int) + 1
    shifts = np.array(list(itertools.product(*(range(-m, m + 1) for m in most))))
    positions = (crystal.cart_coords[:, None] + shifts @ crystal.lattices[0]).reshape(-1, 3)
    numbers = np.repeat(crystal.numbers, len(shifts))
    near = ((positions > -reach) & (positions < 10 + reach)).all(axis=1)
    return positions[near], numbers[near]


def test_one_atom_is_a_gaussian_in_the_middle():
    arrays = DensityCube(n_points=31).encode(Crystals.single(np.eye(3) * 4, [[0.3, 0, 0.9]], [26]))
    density = arrays["density"][0]
    assert density.max() == density[15, 15, 15] == pytest.approx(26 * PEAK)
    assert density[18, 15, 15] == pytest.approx(26 * PEAK * np.exp(-0.5))
    assert density[15, 12, 12] == pytest.approx(26 * PEAK * np.exp(-1.0))
    assert (arrays["species"][0] == 26).sum() == 33  # points nearer than two steps to a point
    np.testing.assert_allclose(arrays["origin"], [[3.8, 5, 1.4]], atol=1e-6)
    assert density.sum() * (1 / 3) ** 3 == pytest.approx(26, rel=1e-5)


@pytest.mark.parametrize("weighting", ["Z", "one", "mass"])
def test_a_cell_agrees_with_a_direct_sum(weighting):
    cube = DensityCube(weighting=weighting)
    crystals = sample_crystals(16, seed=2)
    encoded = cube.encode(crystals)
    weights = {"Z": np.arange(119.0), "one": np.ones(119), "mass": ATOMIC_MASSES}[weighting]
    for i, crystal in enumerate(crystals[encoded.index]):
        positions = crystal.cart_coords + 5 - crystal.cart_coords.mean(axis=0)
        density, species = direct(positions, crystal.numbers, weights)
        assert np.abs(encoded["density"][i] - density).max() < 1e-6 * density.max()
        np.testing.assert_array_equal(encoded["species"][i], species)


def test_a_lattice_agrees_with_a_direct_sum_over_many_images():
    cube = DensityCube(mode="lattice")
    crystals = Crystals.concatenate([SALT, sample_crystals(4, seed=5, max_sites=4)])
    encoded = cube.encode(crystals)
    assert len(encoded) >= 3
    for i, crystal in enumerate(crystals[encoded.index]):
        density, species = direct(*endless(crystal, 6.5), np.arange(119.0))
        # Atoms further than 5 sigma outside the cube are left out.
        assert np.abs(encoded["density"][i] - density).max() < 1e-5 * density.max()
        np.testing.assert_array_equal(encoded["species"][i], species)


def test_atoms_just_outside_reach_in():
    crystal = Crystals.single(np.eye(3) * 9.9, [[0.999, 0.5, 0.5]], [8])
    density = DensityCube(mode="lattice").encode(crystal)["density"][0]
    point = np.array([0.0, 14, 14]) * 10 / 29
    near = [[x, 4.95, 4.95] for x in (9.9 * 0.999 - 9.9, 9.9 * 0.999)]
    wanted = 8 * PEAK * np.exp(-((point - near) ** 2).sum(axis=1) / 2).sum()
    assert density[0, 14, 14] == pytest.approx(wanted, rel=1e-4)


def test_the_nearest_atom_names_a_point():
    crystal = Crystals.single(np.eye(3) * 5, [[0.4, 0.5, 0.5], [0.6, 0.5, 0.5]], [1, 92])
    species = DensityCube(n_points=31).encode(crystal)["species"][0]
    assert species[15, 15, 15] == 92  # as near to both
    assert species[14, 15, 15] == 1
    assert species[16, 15, 15] == 92


def test_rotating_the_crystal_rotates_the_field():
    quarter = np.array([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]])  # x to y, y to -x
    crystal = sample_crystals(2)[1]
    turned = Crystals(
        crystal.lattices @ quarter, crystal.frac_coords, crystal.numbers, crystal.offsets
    )
    before, after = (DensityCube().encode(c)["density"][0] for c in (crystal, turned))
    np.testing.assert_allclose(after, np.rot90(before, axes=(0, 1)), atol=1e-4)


def test_random_rotations_keep_all_that_rotations_keep():
    crystals = sample_crystals(8)
    turned = rotate(crystals, np.random.default_rng(0))
    cube = DensityCube(n_points=40, edge=16.0)
    one, other = cube.encode(crystals), cube.encode(turned)
    both = np.intersect1d(one.index, other.index)
    first, second = (e["density"][np.searchsorted(e.index, both)] for e in (one, other))
    assert len(both) >= 6
    assert np.abs(first - second).max() > 0.1
    norms = [(d.astype(float) ** 2).sum(axis=(1, 2, 3)) for d in (first, second)]
    np.testing.assert_allclose(*norms, rtol=1e-5)


@settings(max_examples=8)
@given(st.integers(0, 10**6), st.sampled_from(["centroid", "cell"]), st.booleans())
def test_round_trip_of_cells(seed, centring, species):
    crystals = sample_crystals(5, seed=seed, max_sites=8)
    cube = DensityCube(centring=centring, species=species)
    encoded = cube.encode(crystals)
    decoded = cube.decode(encoded)
    # A peak may be taken apart wrongly where nothing else tells it from its neighbour, without
    # species or where spheres of one element overlap: it must then be refused, not wrong.
    for failure in decoded.failures if species else ():
        one = crystals[int(encoded.index[failure.index])]
        apart = one.cart_coords[:, None] - one.cart_coords
        distances = np.linalg.norm(apart, axis=2)
        distances[one.numbers[:, None] != one.numbers] = np.inf
        np.fill_diagonal(distances, np.inf)
        assert distances.min() < 2 * cube.species_radius
        assert failure.reason == "not self-consistent"
    held = crystals[encoded.index][decoded.index]
    assert round_trip_errors(held, decoded.crystals, any_order=True).max(initial=0) < 1e-3


def test_round_trip_of_a_lattice():
    cube = DensityCube(mode="lattice")
    crystals = Crystals.concatenate([SALT, sample_crystals(4, seed=1, max_sites=6)])
    encoded = cube.encode(crystals)
    decoded = cube.decode(encoded)
    assert len(decoded.crystals) == len(encoded) >= 3
    errors = round_trip_errors(crystals[encoded.index], decoded.crystals, any_order=True)
    assert errors.max() < 1e-3
    assert decoded.confidence.min() > 0.9999


@pytest.mark.parametrize(
    "parameters",
    [
        {"n_points": 24, "edge": 9.0, "sigma": 0.7},
        {"n_points": 40, "edge": 12.0, "weighting": "one"},
        {"weighting": tuple(range(119, 0, -1))},
        {"weighting": "mass", "species": False},
        {"n_points": 60, "sigma": 0.5},
    ],
)
def test_other_parameters_round_trip(parameters):
    cube = DensityCube(**parameters)
    assert DensityCube(**json.loads(json.dumps({**cube.config(), "name": 0}), object_hook=_named))
    decoded = cube.decode(cube.encode(SALT))
    assert round_trip_errors(SALT, decoded.crystals, any_order=True).max() < 1e-4


def _named(config):
    return {key: value for key, value in config.items() if key != "name"}


@pytest.mark.parametrize("check", CHECKS)
def test_conforms_without_the_grid_of_the_cell(check):
    CHECKS[check](DensityCube(centring="cell"), sample_crystals(12))


def test_overlapping_atoms_are_told_apart():
    water = Crystals.single(
        np.eye(3) * 5, [[0.5, 0.5, 0.5], [0.5, 0.652, 0.618], [0.5, 0.348, 0.618]], [8, 1, 1]
    )
    decoded = DensityCube().decode(DensityCube().encode(water))
    assert round_trip_errors(water, decoded.crystals, any_order=True)[0] < 1e-4


def test_what_cannot_be_held_is_refused_by_name():
    crystals = Crystals.concatenate(
        [
            SALT,
            Crystals.single(np.diag([4, 4, 30]), [[0, 0, 0], [0, 0, 0.5]], [3, 9]),
            Crystals.single(np.eye(3) * 5, [[0, 0, 0], [0.1, 0, 0]], [3, 9]),
            Crystals.single(np.eye(3) * 5, [[0, 0, 0], [0.9, 0, 0]], [3, 9]),
        ]
    )
    result = DensityCube().encode(crystals)
    assert [(f.index, f.reason, f.detail) for f in result.failures] == [
        (
            1,
            "cube too small for the cell",
            "an atom lies 2.50 Å outside the cube of 10 Å",
        ),
        (
            2,
            "sites too close",
            "two atoms are 0.500 Å apart, at least 0.9 Å are told apart (min_separation)",
        ),
    ]
    # Across the boundary of the cell only the lattice has them side by side.
    result = DensityCube(mode="lattice").encode(crystals)
    assert [(f.index, f.reason) for f in result.failures] == [
        (1, "cube too small for the cell"),
        (2, "sites too close"),
        (3, "sites too close"),
    ]
    helium = Crystals.single(np.eye(3) * 4, [[0, 0, 0]], [2])
    result = DensityCube(weighting="electronegativity").encode(helium)
    assert count_reasons(result.failures) == {"element without weight": 1}
    result = DensityCube(weighting=(*range(118), 11.0), species=False).encode(SALT)
    assert count_reasons(result.failures) == {"element undecided": 1}
    flat = Crystals.single([[3, 0, 0], [0, 3, 0], [1e5, 1e5, 3]], [[0, 0, 0]], [2])
    assert [f.reason for f in DensityCube(mode="lattice").encode(flat).failures] == [
        "cell too skew"
    ]


def test_closest_agrees_with_a_search_over_images():
    crystals = sample_crystals(12, seed=4, max_sites=6)
    images = np.array(list(itertools.product(range(-3, 4), repeat=3)))
    found = closest(crystals, 4.0, True)
    for crystal, distance in zip(crystals, found.tolist(), strict=True):
        sites = crystal.cart_coords
        apart = sites[:, None, None] - sites[:, None] - images @ crystal.lattices[0]
        lengths = np.linalg.norm(apart, axis=-1)
        wanted = lengths[lengths > 1e-9].min()
        assert distance == (pytest.approx(wanted) if wanted < 4.0 else np.inf)


@pytest.mark.parametrize(
    "parameters",
    [
        {"mode": "both"},
        {"centring": "corner"},
        {"weighting": "colour"},
        {"weighting": (1.0, 2.0)},
        {"n_points": 3},
        {"edge": -1.0},
        {"sigma": 0.1},
        {"species_radius": 0.2},
        {"min_separation": 0.1},
        {"tolerance": 0.0},
        {"threshold": 1.5},
        {"weighting": "one", "species": False},
    ],
)
def test_odd_parameters_are_refused(parameters):
    with pytest.raises(RepresentationError, match=next(iter(parameters))):
        DensityCube(**parameters)


def changed(name, change):
    arrays = {key: array.copy() for key, array in DensityCube().encode(SALT).arrays.items()}
    change(arrays[name][0])
    return arrays


REFUSED = {
    "nothing": ("density", lambda a: a.fill(0), "no atoms"),
    "NaN": ("density", lambda a: a.fill(np.nan), "not finite"),
    "a spike": ("density", lambda a: a.__setitem__((3, 3, 3), 5), "not a sum of Gaussians"),
    "twice the density": ("density", lambda a: a.__imul__(2), "not self-consistent"),
    "another species": ("species", lambda a: a.__imul__(2), "not self-consistent"),
    "half a species": ("species", lambda a: a.__imul__(0.5), "species undecided"),
    "one species": ("species", lambda a: a.fill(11), "too many peaks"),
    "no species": ("species", lambda a: a.fill(0), "no atoms"),
    "no volume": ("lattice", lambda a: a.fill(1), "lattice closes no cell"),
    "another lattice": ("lattice", lambda a: a.__imul__(0.3), "atom outside its cell"),
    "another origin": ("origin", lambda a: a.__iadd__(1), "atom outside its cell"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_strict_decoding_gives_the_reason(case):
    name, change, reason = REFUSED[case]
    decoded = DensityCube().decode(changed(name, change))
    assert [failure.reason for failure in decoded.failures] == [reason]


@pytest.mark.parametrize("lenient", [False, True])
def test_a_cell_too_small_for_its_peaks_is_refused_before_its_images_fill_the_memory(lenient):
    cube = DensityCube(mode="lattice", edge=10.0, n_points=20, sigma=0.8, lenient=lenient)
    arrays = dict(cube.encode(Crystals.single(9.9 * np.eye(3), [[0.5] * 3], [8])).arrays)
    assert cube.decode(arrays).crystals.formulas == ("O2",)
    # Generated cells of less than 3.3 Å3 hold nothing; strict reading tries one of 1 Å3.
    arrays["lattice"] = (1.4 if lenient else 0.95) * np.eye(3, dtype=np.float32)[None]
    (failure,) = cube.decode(arrays).failures
    assert failure.reason == "too many peaks"
    assert "room for 0 atoms" in failure.detail


@pytest.mark.parametrize("mode", ["cell", "lattice"])
@pytest.mark.parametrize("lenient", [False, True])
def test_peaks_that_no_species_names_are_no_atoms(mode, lenient):
    cube = DensityCube(mode=mode, lenient=lenient)
    arrays = dict(cube.encode(SALT).arrays)
    arrays["species"] = np.zeros_like(arrays["species"])
    assert [failure.reason for failure in cube.decode(arrays).failures] == ["no atoms"]


@pytest.mark.parametrize("mode", ["cell", "lattice"])
@pytest.mark.parametrize("lenient", [False, True])
def test_a_peak_too_low_for_any_atom_is_none(mode, lenient):
    cube = DensityCube(mode=mode, species=False, lenient=lenient, threshold=0.3)
    arrays = dict(cube.encode(Crystals.single(5 * np.eye(3), [[0.5] * 3], [1])).arrays)
    arrays["density"] = arrays["density"] * 0.4
    assert [failure.reason for failure in cube.decode(arrays).failures] == ["no atoms"]


def test_a_site_outside_of_the_cube_has_no_name():
    grid = SpeciesGrid(np.full((8, 8, 8), 11.0), 1.0, 1.2)
    sites = np.array([[3.0, 3, 3], [3, 3, 8.4], [9, 3, 3]])
    assert grid.named(sites, blurred=True).tolist() == [11, 0, 0]


def test_points_of_the_grid_that_are_no_numbers_name_nothing():
    values = np.full((12, 12, 12), 11.0)
    values[:4] = np.nan
    grid = SpeciesGrid(values, 1.0, 1.2)
    sites = np.array([[1.0, 5, 5], [4, 5, 5], [8, 5, 5]])
    assert grid.named(sites, blurred=True).tolist() == [0, 11, 11]


def test_failures_are_counted_among_good_arrays():
    arrays = {
        name: np.concatenate([array] * 3)
        for name, array in DensityCube().encode(SALT).arrays.items()
    }
    arrays["density"][1] = 0
    decoded = DensityCube().decode(arrays)
    assert decoded.index.tolist() == [0, 2]
    assert len(decoded.crystals) == 2


def test_noisy_cubes_decode_leniently_with_a_confidence():
    arrays = dict(DensityCube().encode(SALT).arrays)
    noise = np.random.default_rng(0).normal(0, 0.02, arrays["density"].shape)
    arrays["density"] = arrays["density"] + noise
    arrays["species"] = arrays["species"] + 3 * noise
    assert len(DensityCube().decode(arrays).failures) == 1
    decoded = DensityCube(lenient=True).decode(arrays)
    assert decoded.crystals.formulas == ("NaCl",)
    assert round_trip_errors(SALT, decoded.crystals, any_order=True)[0] < 0.05
    assert 0.5 < decoded.confidence[0] < 0.99


def test_atoms_need_no_lattice():
    encoded = DensityCube().encode(SALT)
    atoms = DensityCube().atoms({name: encoded[name] for name in ("density", "species")})
    assert sorted(atoms.numbers.tolist()) == [11, 17]
    assert atoms.offsets.tolist() == [0, 2]
    assert np.abs(atoms.positions - 5).max() == pytest.approx(1.4, abs=1e-4)
    assert len(DensityCube(species=False).atoms(encoded["density"])) == 1
    nothing = DensityCube(species=False).atoms(np.zeros((2, 30, 30, 30)))
    assert len(nothing) == 0
    assert [f.index for f in nothing.failures] == [0, 1]
    with pytest.raises(RepresentationError, match="species"):
        DensityCube().atoms(encoded["density"])


def test_atoms_in_a_piece_of_a_lattice():
    cube = DensityCube(mode="lattice")
    atoms = cube.atoms(cube.encode(SALT))
    positions, numbers = endless(SALT, -1.0)
    apart = np.linalg.norm(positions[:, None] - atoms.positions, axis=-1)
    assert apart.min(axis=1).max() < 0.1
    assert (atoms.numbers[apart.argmin(axis=1)] == numbers).all()
    assert atoms.confidence[0] > 0.9


def test_real_crystals_come_back(shared_data):
    from crystalcodec.io import read

    crystals = read(shared_data / "mp20" / "val.csv.gz", structure_column="cif").crystals[:120]
    encoded = DensityCube().encode(crystals)
    assert set(count_reasons(encoded.failures)) == {"cube too small for the cell"}
    decoded = DensityCube().decode(encoded)
    assert not decoded.failures
    errors = round_trip_errors(crystals[encoded.index], decoded.crystals, any_order=True)
    assert errors.max() < 1e-4
