"""Made slices against a supercell counted atom by atom, and planes against crystals we know."""

from __future__ import annotations

import gc
import tracemalloc
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crystalcodec.crystals import Crystals
from crystalcodec.data.augmentation import permute_sites
from crystalcodec.failures import count_reasons
from crystalcodec.representations.base import RepresentationError
from crystalcodec.representations.slices import DensitySliceBlocks, DensitySlices
from crystalcodec.representations.slices.drawing import SliceStyle, atoms_near_plane, draw_slice
from crystalcodec.representations.slices.planes import (
    PlanesError,
    all_planes,
    draw_planes,
    per_atom_scales,
)
from crystalcodec.testing import check_representation, sample_crystals

CUBIC = Crystals.single(np.eye(3) * 3, [[0, 0, 0]], [26])
PEROVSKITE = Crystals.single(
    4 * np.eye(3),
    [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]],
    [38, 22, 8, 8, 8],
)
ROW = Crystals.single(np.eye(3) * 6, [[0, 0, z] for z in (0.1, 0.3, 0.6)], [1, 1, 1])


def every_atom_near(crystal, frame, origin, reach, tolerance, scale):
    """Positions by a supercell that holds a ball around the square, atom by atom."""
    lattice = crystal.lattices[0] * scale
    radius = np.sqrt(2) * reach + tolerance
    heights = 1 / np.linalg.norm(np.linalg.inv(lattice), axis=0)
    centre = origin @ np.linalg.inv(lattice)
    ranges = [
        range(int(np.floor(f - radius / h)) - 1, int(np.ceil(f + radius / h)) + 1)
        for f, h in zip(centre, heights, strict=True)
    ]
    found = []
    for site, coords in enumerate(crystal.frac_coords):
        for cell in product(*ranges):
            right, up, above = frame @ ((coords + cell) @ lattice - origin)
            if abs(above) <= tolerance and max(abs(right), abs(up)) <= reach:
                found.append((site, round(right, 6), round(up, 6)))
    return sorted(found)


@settings(max_examples=15)
@given(st.integers(0, 10**6))
def test_every_atom_near_a_plane_is_found(seed):
    rng = np.random.default_rng(seed)
    crystal = sample_crystals(12, seed=seed, max_sites=5)[int(rng.integers(12))]
    scale = float(per_atom_scales(crystal)[0])
    planes = draw_planes(crystal, 1, seed=seed, scale=scale)
    tolerance = float(rng.uniform(0.02, 0.6))
    origin = planes.origins[0] + rng.uniform(-1, 1, 3)
    positions, sites = atoms_near_plane(
        crystal, planes.frames[0], origin, reach=3.2, tolerance=tolerance, scale=scale
    )
    got = sorted(
        (s, round(x, 6), round(y, 6)) for s, (x, y) in zip(sites.tolist(), positions, strict=True)
    )
    wanted = every_atom_near(crystal, planes.frames[0], origin, 3.2, tolerance, scale)
    assert len(got) == len(wanted)
    np.testing.assert_allclose(
        np.array(got).reshape(-1, 3), np.array(wanted).reshape(-1, 3), atol=3e-6
    )


@pytest.mark.parametrize("atoms", ["fixed", "element"])
def test_a_picture_is_the_sum_of_its_gaussians(atoms):
    rng = np.random.default_rng(1)
    style = SliceStyle(size=60, width=12.0, sigma=0.25, atoms=atoms)
    positions = rng.uniform(-7, 7, (40, 2))
    numbers = rng.integers(1, 119, 40)
    sigma = np.full(40, 0.25)
    height = np.ones(40)
    if atoms == "element":
        from ase.data import covalent_radii

        sigma *= np.sqrt(covalent_radii[np.minimum(numbers, 96)] / 1.4)
        height = 0.2 + 0.8 * numbers / 118
    middles = (np.arange(60) - 29.5) * 0.2
    picture = np.zeros((60, 60))
    for (x, y), s, h in zip(positions, sigma, height, strict=True):
        squares = (middles[None, :] - x) ** 2 + (middles[::-1, None] - y) ** 2
        picture += h * np.exp(-squares / (2 * s * s))
    np.testing.assert_allclose(style.draw(positions, numbers), np.minimum(picture, 1), atol=2e-5)


def test_no_atoms_make_a_black_picture():
    assert not SliceStyle(size=8).draw(np.zeros((0, 2)), np.zeros(0, int)).any()


def test_a_lattice_plane_is_known_pixel_by_pixel():
    """A simple cubic crystal at 1 Å3 an atom: each plane of the corner is a net that we know."""
    planes = all_planes(CUBIC, scale=1 / 3)
    style = SliceStyle(size=100, width=10.0, sigma=0.1)
    nets = {}
    for j in range(len(planes)):
        picture, n = draw_slice(CUBIC, planes, j, style)
        nets[tuple(np.sort(np.abs(planes.frames[j, 2].round(6))).tolist())] = n
        assert picture[49:51, 49:51].min() == pytest.approx(np.exp(-0.25), abs=1e-5)
    # (100) holds 11 x 11 atoms of a square of 10 Å around one of them, its rows 1 Å apart.
    assert nets[0.0, 0.0, 1.0] == 121
    assert nets[0.0, 0.707107, 0.707107] == 11 * 7
    assert set(nets) == {
        (0.0, 0.0, 1.0),
        (0.0, 0.707107, 0.707107),
        (0.57735, 0.57735, 0.57735),
    }
    assert len(planes) == 3


def test_equivalent_planes_are_counted_once():
    planes = all_planes(PEROVSKITE)
    listed = all_planes(PEROVSKITE, symprec=None)
    assert len(planes) < len(listed) <= 10
    normals = {tuple(np.sort(np.abs(n.round(6)))) for n in planes.frames[:, 2]}
    assert len(normals) == len(planes)  # here the kind of normal tells the planes apart
    again = all_planes(PEROVSKITE.supercell([1, 1, 1]))
    assert len(again) == len(planes)


def lattice_planes(crystal):
    """Kinds of planes by brute force: their atoms' species and distances seen from each atom."""
    kinds = set()
    coords = crystal.frac_coords
    lattice = crystal.lattices[0]
    around = np.array(list(product(range(-2, 3), repeat=3)))
    points = (coords[:, None] + around).reshape(-1, 3) @ lattice
    species = np.repeat(crystal.numbers, len(around))
    for triple in combinations(range(len(coords)), 3):
        a, b, c = coords[list(triple)] @ lattice
        normal = np.cross(b - a, c - a)
        if np.linalg.norm(normal) < 1e-6:
            continue
        normal /= np.linalg.norm(normal)
        above = (points - a) @ normal
        # What stands how far above and below the plane, whatever its direction.
        layers = sorted(
            {(round(abs(h), 4), int(z)) for h, z in zip(above, species, strict=True) if abs(h) < 2}
        )
        kinds.add(tuple(layers))
    return kinds


@pytest.mark.parametrize(
    "crystal",
    [
        PEROVSKITE,
        Crystals.single(
            [[0, 2, 2], [2, 0, 2], [2, 2, 0]],
            [[0, 0, 0], [0.25, 0.25, 0.25], [0.5, 0.5, 0.5], [0.75, 0.75, 0.75]],
            [29, 25, 51, 13],
        ).supercell([[-1, 1, 1], [1, -1, 1], [1, 1, -1]])[0],
    ],
    ids=["perovskite", "Heusler"],
)
def test_the_number_of_planes_agrees_with_brute_force(crystal):
    assert len(all_planes(crystal)) == len(lattice_planes(crystal))


def test_symmetry_neither_merges_nor_splits_when_the_origin_moves():
    for shift in (0.0, 0.13, 0.37):
        moved = Crystals.single(4 * np.eye(3), PEROVSKITE.frac_coords + shift, PEROVSKITE.numbers)
        assert len(all_planes(moved)) == len(all_planes(PEROVSKITE))


def test_the_order_of_sites_does_not_change_the_number_of_planes():
    rng = np.random.default_rng(0)
    crystals = sample_crystals(10, seed=6, max_sites=9)
    for one, other in zip(crystals, permute_sites(crystals, rng), strict=True):
        assert len(all_planes(one)) == len(all_planes(other))


def test_frames_are_right_handed_and_hold_the_three_atoms():
    for crystal in sample_crystals(12, seed=4):
        scale = float(per_atom_scales(crystal)[0])
        planes = draw_planes(crystal, 3, seed=1, scale=scale)
        np.testing.assert_allclose(np.linalg.det(planes.frames), 1)
        for j in range(3):
            coords = crystal.frac_coords[planes.sites[j]] + planes.translations[j]
            apart = coords @ crystal.lattices[0] * scale - planes.origins[j]
            flat = apart @ planes.frames[j].T
            np.testing.assert_allclose(flat[0], 0, atol=1e-9)
            assert flat[1, 0] > 0
            assert abs(flat[1, 1]) < 1e-9
            assert flat[2, 1] > 0
            assert np.abs(flat[:, 2]).max() < 1e-9


def test_drawn_planes_differ_and_depend_on_the_seed():
    crystal = sample_crystals(8, seed=2)[7]
    planes = draw_planes(crystal, 20, seed=0)
    triples = {
        (*s, *t.ravel()) for s, t in zip(planes.sites.tolist(), planes.translations, strict=True)
    }
    assert len(triples) == 20
    assert not np.array_equal(planes.sites, draw_planes(crystal, 20, seed=1).sites)
    np.testing.assert_array_equal(planes.sites, draw_planes(crystal, 20, seed=0).sites)


def test_planes_of_many_atoms_are_drawn_without_listing_them():
    crystal = PEROVSKITE.supercell(3)
    planes = draw_planes(crystal, 50, seed=3)
    assert len(planes) == 50
    assert len({tuple(s) for s in planes.sites.tolist()}) == 50
    with pytest.raises(PlanesError, match="too many atoms"):
        all_planes(PEROVSKITE.supercell(5))
    long = ROW.supercell([1, 1, 20])
    with pytest.raises(PlanesError, match="collinear atoms: all 60 atoms stand in a row"):
        draw_planes(long, 1, translates=False)


def test_crystals_without_a_plane_are_refused_by_name():
    crystals = Crystals.concatenate([PEROVSKITE, CUBIC, ROW])
    strict = DensitySlices(size=32, translates=False)
    encoded = strict.encode(crystals)
    assert encoded.index.tolist() == [0]
    assert [(f.index, f.reason) for f in encoded.failures] == [
        (1, "fewer than three atoms"),
        (2, "collinear atoms"),
    ]
    assert not DensitySlices(size=32).encode(crystals).failures
    many = DensitySlices(size=16, n_planes=11, translates=False).encode(crystals)
    assert count_reasons(many.failures) == {
        "too few planes": 1,
        "fewer than three atoms": 1,
        "collinear atoms": 1,
    }
    assert len(DensitySlices(size=16, n_planes=11).encode(crystals)) == 3
    assert len(DensitySlices(size=16, n_planes=99).encode(crystals).failures) == 1
    for search in (all_planes, lambda c, **k: draw_planes(c, 1, **k)):
        with pytest.raises(PlanesError, match="collinear atoms"):
            search(ROW, translates=False)
        with pytest.raises(PlanesError, match="fewer than three atoms"):
            search(CUBIC, translates=False)


def test_a_cell_too_thin_for_any_plane_is_refused_and_stops_nothing():
    lattice = np.diag([1e-3, 1e-3, 1e-3])
    thin = Crystals.single(lattice, [[0, 0, 0]], [1])
    crystals = Crystals.concatenate([PEROVSKITE, thin])
    encoded = DensitySlices(size=8, width=2.0, volume_per_atom=None).encode(crystals)
    assert [(f.index, f.reason) for f in encoded.failures] == [(1, "collinear atoms")]
    assert len(encoded) == 1


def test_collinear_triples_are_counted():
    crystal = Crystals.single(
        np.eye(3) * 9, [[0, 0, 0], [0.1, 0, 0], [0.2, 0, 0], [0, 0.3, 0.1]], [1, 1, 1, 8]
    )
    planes = all_planes(crystal, symprec=None)
    assert planes.n_collinear == 1
    assert len(planes) == 1  # the other three triples span the same plane


def test_the_cell_has_one_cubic_angstrom_an_atom():
    scaled = DensitySlices(size=64, width=10).encode(PEROVSKITE)["density_slices"]
    larger = Crystals.single(7.7 * np.eye(3), PEROVSKITE.frac_coords, PEROVSKITE.numbers)
    np.testing.assert_allclose(
        DensitySlices(size=64, width=10).encode(larger)["density_slices"], scaled, atol=1e-5
    )
    as_it_is = DensitySlices(size=64, width=10, volume_per_atom=None)
    assert as_it_is.encode(larger)["density_slices"].sum() < scaled.sum() / 4


def test_a_block_is_its_slices():
    block = DensitySliceBlocks(depth=5, spacing=0.5, tolerance=0.25, size=24, width=6)
    array = block.encode(PEROVSKITE)["density_slice_blocks"]
    assert array.shape == (1, 5, 24, 24)
    one = DensitySlices(size=24, width=6, tolerance=0.25).encode(PEROVSKITE)["density_slices"]
    np.testing.assert_array_equal(array[0, 2], one[0, 0])
    assert {tuple(p.sites[0].tolist()) for p in (block.planes(PEROVSKITE),)} == {
        tuple(DensitySlices().planes(PEROVSKITE).sites[0].tolist())
    }


@pytest.mark.parametrize(
    "representation",
    [
        DensitySlices(size=33, width=9.0, n_planes=3, atoms="element", seed=5),
        DensitySlices(size=16, translates=False),
        DensitySliceBlocks(depth=4, spacing=0.4, tolerance=0.2),
    ],
    ids=["element", "strict", "block"],
)
def test_they_conform(representation):
    check_representation(representation, sample_crystals(10))


@pytest.mark.parametrize(
    ("cls", "parameters"),
    [
        (DensitySlices, {"n_planes": 0}),
        (DensitySlices, {"size": 1}),
        (DensitySlices, {"width": 0.0}),
        (DensitySlices, {"width": 1e9}),
        (DensitySlices, {"size": 100_000}),
        (DensitySlices, {"sigma": float("nan")}),
        (DensitySlices, {"tolerance": -0.1}),
        (DensitySlices, {"atoms": "big"}),
        (DensitySlices, {"volume_per_atom": 0.0}),
        (DensitySliceBlocks, {"depth": 0}),
        (DensitySliceBlocks, {"spacing": 0.0}),
        (DensitySliceBlocks, {"n_planes": 2}),
    ],
)
def test_odd_parameters_are_refused(cls, parameters):
    with pytest.raises(RepresentationError, match=next(iter(parameters))):
        cls(**parameters)


def test_pictures_are_given_back_without_the_garbage_collector():
    # A crystal of one atom takes the atoms of more cells, after a first try that fails.
    crystals = Crystals.single(3 * np.eye(3), [[0, 0, 0]], [14])
    slices = DensitySlices(size=64)
    slices.encode(crystals)
    gc.collect()
    gc.disable()
    try:
        tracemalloc.start()
        for _ in range(50):
            slices.encode(crystals)
        assert tracemalloc.get_traced_memory()[0] < 5 * 64 * 64 * 4
    finally:
        tracemalloc.stop()
        gc.enable()
