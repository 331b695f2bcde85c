"""Sites, pairs and distances read from images are those of the crystals; what must not matter."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from scipy.interpolate import BSpline

from crystalcodec.crystals import Crystals
from crystalcodec.data.augmentation import invert, permute_axes, permute_sites, rotate, shift_origin
from crystalcodec.models.base import ModelError, build_model
from crystalcodec.models.site_attention import pairs as geometry
from crystalcodec.models.site_attention.pairs import (
    Images,
    nearest_images,
    radial_table,
    site_pairs,
)
from crystalcodec.models.site_attention.reading import reader_of
from crystalcodec.representations.crystal_image import CrystalImage
from crystalcodec.representations.crystens import CrysTens
from crystalcodec.representations.density_cell import DensityCell
from crystalcodec.representations.ftcp import FTCP
from crystalcodec.representations.ircr import IRCR
from crystalcodec.representations.minimum_images import minimum_images
from crystalcodec.representations.neighbors import neighbors_within
from crystalcodec.representations.unimat import UniMat
from crystalcodec.representations.xtal2png import Xtal2PNG
from crystalcodec.testing import sample_crystals

WIDE = IRCR(max_elements=8)
REPRESENTATIONS = [WIDE, FTCP(max_elements=8), CrysTens(), UniMat()]
NAMES = [representation.name for representation in REPRESENTATIONS]


def held(crystals, representation=WIDE):
    crystals = crystals.right_handed()
    return crystals[representation.encode(crystals).index]


def arrays_of(crystals, representation=WIDE):
    encoded = representation.encode(crystals)
    assert len(encoded) == len(crystals)
    return {name: torch.from_numpy(array) for name, array in encoded.arrays.items()}


def rows_of(crystals, representation=WIDE):
    return reader_of(representation)[0](arrays_of(crystals, representation))


def built(representation=WIDE, n_targets=2, **parameters):
    torch.manual_seed(1)
    return build_model("site_attention", representation, n_targets, **parameters).eval()


def skew():
    """Crystals of cells that are flat, needles, or far from reduced."""
    lattices = [
        [[2.6, 0, 0], [0.3, 2.7, 0], [7.1, 5.9, 9.0]],
        [[3.0, 0, 0], [14.2, 3.1, 0], [-8.7, 6.4, 3.3]],
        [[11.0, 0, 0], [5.2, 10.0, 0], [0.4, 0.2, 2.1]],
    ]
    generator = np.random.default_rng(2)
    return Crystals.concatenate(
        Crystals.single(lattice, generator.random((n, 3)), generator.integers(1, 90, n))
        for n, lattice in enumerate(lattices, 1)
    )


@pytest.mark.parametrize("representation", REPRESENTATIONS, ids=NAMES)
def test_the_sites_are_those_of_the_crystals(representation):
    crystals = held(sample_crystals(10), representation)
    rows = rows_of(crystals, representation)
    owner, numbers, coords = rows.crystals.numpy(), rows.numbers.numpy(), rows.frac_coords.numpy()
    np.testing.assert_array_equal(np.bincount(owner), crystals.n_sites)
    wanted = crystals.frac_coords.astype(np.float32)
    wanted[wanted == 1.0] = 0.0
    # UniMat has another order of the sites.
    one = np.lexsort([*coords.T, numbers, owner])
    other = np.lexsort([*wanted.T, crystals.numbers, crystals.crystal_indices])
    np.testing.assert_array_equal(numbers[one], crystals.numbers[other])
    np.testing.assert_array_equal(coords[one], wanted[other])
    wanted = np.einsum("nij,nkj->nik", crystals.lattices, crystals.lattices)
    got = rows.lattices.double()
    np.testing.assert_allclose(got @ got.mT, wanted, atol=1e-4)
    assert (torch.linalg.det(got) > 0).all()


def test_the_nearest_distances_are_those_of_minimum_images():
    crystals = held(Crystals.concatenate([sample_crystals(12), skew()]))
    rows = rows_of(crystals)
    pairs = site_pairs(rows)
    images = nearest_images(pairs, rows.lattices, 9.0)
    nearest = torch.full((len(pairs.first),), np.inf)
    nearest = nearest.scatter_reduce(0, images.pairs, images.distances, "amin")
    first, second = pairs.first.numpy(), pairs.second.numpy()
    assert len(first) == (crystals.n_sites * (crystals.n_sites + 1) // 2).sum()
    checked = 0
    for i, (one, other) in enumerate(zip(first, second, strict=True)):
        if one == other:
            continue  # no image of itself where it stands
        apart = crystals.frac_coords[other] - crystals.frac_coords[one]
        lattice = crystals.lattices[crystals.crystal_indices[one]]
        distance = float(minimum_images(apart[None, None], lattice[None])[1][0, 0])
        if distance < 8.99:
            assert nearest[i].item() == pytest.approx(distance, abs=5e-5)
            checked += 1
        else:
            assert nearest[i] > 8.98
    assert checked > 100


def test_no_image_within_the_radius_is_missed():
    crystals = held(Crystals.concatenate([sample_crystals(8), skew()]))
    rows = rows_of(crystals)
    pairs = site_pairs(rows)
    images = nearest_images(pairs, rows.lattices, 6.03)
    assert not images.unsound.any()
    near = neighbors_within(crystals, 6.03)
    for i in range(len(crystals)):
        here = pairs.crystals[images.pairs] == i
        found = images.distances[here]
        twice = (pairs.first != pairs.second)[images.pairs[here]]
        both = np.sort(np.concatenate([found, found[twice]]))
        wanted = np.sort(near.distances[near.offsets[i] : near.offsets[i + 1]])
        assert len(both) == len(wanted)
        np.testing.assert_allclose(both, wanted, atol=2e-5)


def test_images_found_in_many_parts_are_the_same(monkeypatch):
    rows = rows_of(held(Crystals.concatenate([sample_crystals(5), skew()])))
    pairs = site_pairs(rows)
    whole = nearest_images(pairs, rows.lattices, 5.0)
    monkeypatch.setattr(geometry, "_CHUNK", 97)
    parts = nearest_images(pairs, rows.lattices, 5.0)
    assert torch.equal(whole.pairs, parts.pairs)
    torch.testing.assert_close(whole.distances, parts.distances)


def test_the_table_is_made_of_cubic_b_splines():
    radius, spacing = 3.0, 0.4
    distances = torch.tensor([0.0, 0.05, 0.8, 1.93, 2.999, 1.1])
    images = Images(torch.tensor([0, 0, 0, 2, 3, 3]), distances, 5, torch.zeros(1))
    shares, weights = radial_table(images, radius, spacing)
    assert shares.shape == (5, 8 + 3)
    counts = (1 - (distances.double() / radius) ** 2) ** 3
    wanted = np.zeros((5, 11))
    for pair, distance, count in zip(images.pairs, distances, counts, strict=True):
        for k in range(11):
            # Spline k is centred at (k - 1) spacings.
            knots = spacing * (np.arange(5) + k - 3)
            value = float(BSpline.basis_element(knots, extrapolate=False)(float(distance)))
            wanted[pair, k] += count * np.nan_to_num(value)
    np.testing.assert_allclose(weights, wanted.sum(axis=1), atol=1e-6)
    sums = wanted.sum(axis=1, keepdims=True)
    # 1e-9 of an image is less than float32 tells near 1.
    for row in (0, 2):
        np.testing.assert_allclose(shares[row], wanted[row] / sums[row], atol=1e-5)
    assert not shares[[1, 4]].any()
    assert not weights[[1, 4]].any()
    sound = shares.sum(dim=1)[[0, 2, 3]]
    torch.testing.assert_close(sound, torch.ones(3))


def test_a_distance_that_is_rounded_up_to_the_radius_counts_nothing():
    # A cell whose nearest images are at 25 Å² less one unit of the last place.
    edge = np.sqrt(np.nextafter(np.float32(25), np.float32(0)))
    assert edge == np.float32(5)
    images = Images(torch.tensor([0, 1]), torch.tensor([2.0, float(edge)]), 2, torch.zeros(1))
    for spacing in (0.4, 0.5):
        shares, weights = radial_table(images, 5.0, spacing)
        torch.testing.assert_close(shares[0].sum(), torch.tensor(1.0))
        assert not shares[1].any()
        assert weights[1] == 0
        alone = Images(images.pairs[:1], images.distances[:1], 2, torch.zeros(1))
        assert torch.equal(radial_table(alone, 5.0, spacing)[0], shares)


@pytest.mark.parametrize("change", [permute_sites, shift_origin, rotate, invert, permute_axes])
@pytest.mark.parametrize("representation", REPRESENTATIONS, ids=NAMES)
def test_the_description_of_a_crystal_does_not_matter(change, representation):
    crystals = held(sample_crystals(8, max_sites=8), representation)
    model = built(representation)
    changed = change(crystals, np.random.default_rng(0))
    with torch.no_grad():
        before = model(arrays_of(crystals, representation))
        after = model(arrays_of(changed, representation))
    torch.testing.assert_close(before, after, rtol=1e-4, atol=1e-4)
    assert before.std(dim=0).min() > 0.01


def test_another_cell_of_the_same_lattice_does_not_matter():
    crystals = held(sample_crystals(6, max_sites=6))
    change = np.array([[1.0, 1, 0], [0, 1, 0], [0, 2, 1]])
    other = Crystals(
        change @ crystals.lattices,
        crystals.frac_coords @ np.linalg.inv(change),
        crystals.numbers,
        crystals.offsets,
    )
    model = built()
    with torch.no_grad():
        before, after = model(arrays_of(crystals)), model(arrays_of(held(other)))
    torch.testing.assert_close(before, after, rtol=1e-4, atol=1e-4)


def test_images_that_decode_to_the_same_crystals_have_the_same_value():
    crystals = held(sample_crystals(6, max_sites=6))
    model = built()
    values = {}
    for representation in REPRESENTATIONS:
        model.reader = reader_of(representation)[0]
        with torch.no_grad():
            values[representation.name] = model(arrays_of(crystals, representation))
    for name in NAMES[1:]:
        torch.testing.assert_close(values[name], values["ircr"], rtol=1e-4, atol=1e-4)


def test_empty_rows_and_the_batch_do_not_matter():
    crystals = held(sample_crystals(8, max_sites=7))
    model = built()
    with torch.no_grad():
        before = model(arrays_of(crystals))
        arrays = arrays_of(crystals)
        sites = WIDE.blocks["C"]
        empty = arrays["ircr"][:, WIDE.blocks["O"]].sum(dim=2) == 0
        arrays["ircr"][:, sites, :3][empty] = 0.37
        # Rows that are empty, wherever they stand.
        order = torch.randperm(WIDE.max_sites)
        for block in "CO":
            rows = arrays["ircr"][:, WIDE.blocks[block]]
            arrays["ircr"][:, WIDE.blocks[block]] = rows[:, order].clone()
        after = model(arrays)
        alone = torch.cat([model(arrays_of(crystals[i])) for i in range(len(crystals))])
    torch.testing.assert_close(before, after, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(before, alone, rtol=1e-4, atol=1e-5)


def test_the_volume_and_the_elements_matter():
    salt = Crystals.single(
        [[0, 2.8, 2.8], [2.8, 0, 2.8], [2.8, 2.8, 0]], [[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17]
    )
    wide = Crystals(salt.lattices * 1.1, salt.frac_coords, salt.numbers, salt.offsets)
    other = Crystals(salt.lattices, salt.frac_coords, [11, 35], salt.offsets)
    turned = Crystals(salt.lattices, salt.frac_coords, [17, 11], salt.offsets)
    with torch.no_grad():
        values = built()(arrays_of(Crystals.concatenate([salt, wide, other, turned])))
    assert (values[0] - values[1]).abs().max() > 1e-3
    assert (values[0] - values[2]).abs().max() > 1e-3
    torch.testing.assert_close(values[0], values[3], rtol=1e-4, atol=1e-5)


def test_crystals_of_one_atom_and_of_atoms_far_apart():
    copper = Crystals.single([[0, 1.8, 1.8], [1.8, 0, 1.8], [1.8, 1.8, 0]], [[0.3, 0, 0]], [29])
    sparse = Crystals.single(np.eye(3) * 30, [[0, 0, 0]], [29])
    with torch.no_grad():
        values = built()(arrays_of(Crystals.concatenate([copper, sparse])))
    assert torch.isfinite(values).all()
    assert not torch.allclose(values[0], values[1])
    pairs = site_pairs(rows_of(copper))
    images = nearest_images(pairs, rows_of(copper).lattices, 3.0)
    np.testing.assert_allclose(images.distances, [1.8 * 2**0.5] * 12, atol=1e-6)


def test_what_is_no_crystal_has_no_number():
    crystals = held(sample_crystals(4, max_sites=4))
    arrays = arrays_of(Crystals.concatenate([crystals] * 2))
    model, rows = built(), WIDE.blocks
    with torch.no_grad():
        wanted = model(arrays)
        array = arrays["ircr"]
        array[0, rows["L"].start, 0] = 1e-9  # no volume
        array[1, rows["L"].start + 1, :3] = torch.tensor([170.0, 20.0, 20.0])  # closes no cell
        array[2, rows["O"]] = 0.0  # no site
        array[3, rows["C"].start, 0] = torch.nan
        values = model(arrays)
    assert torch.isnan(values[:4]).all()
    torch.testing.assert_close(values[4:], wanted[4:], rtol=1e-4, atol=1e-5)


def test_an_empty_batch_has_no_values():
    arrays = {"ircr": torch.zeros(0, *WIDE.shapes()["ircr"])}
    assert built()(arrays).shape == (0, 2)


def test_bfloat16_stays_near():
    arrays = arrays_of(held(sample_crystals(8)))
    model = built()
    with torch.no_grad():
        wanted = model(arrays)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            values = model(arrays)
    assert values.dtype == torch.float32
    assert (values - wanted).abs().max() < 0.05 * wanted.std()


def test_gradients_reach_every_weight():
    model = built().train()
    model(arrays_of(held(sample_crystals(8)))).square().sum().backward()
    still = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert still == []


def test_it_can_learn_where_the_sites_are():
    """Two atoms of one element, told apart by their distance alone."""
    generator = np.random.default_rng(0)
    apart = generator.uniform(0.15, 0.5, 48)
    crystals = Crystals.concatenate(
        Crystals.single(np.eye(3) * 5.5, [[0, 0, 0], [x, 0, 0]], [14, 14]) for x in apart
    )
    wanted = torch.tensor((apart - apart.mean()) / apart.std(), dtype=torch.float32)[:, None]
    torch.manual_seed(0)
    representation = IRCR(max_sites=2)
    model = build_model("site_attention", representation, width=16, layers=2)
    arrays = arrays_of(crystals, representation)
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(80):
        optimiser.zero_grad()
        loss = (model(arrays) - wanted).square().mean()
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.05


def test_arrays_that_need_no_scaling():
    for representation in REPRESENTATIONS:
        assert representation.shapes().keys() <= set(built(representation).unscaled)


def test_what_does_not_fit():
    normalised = CrysTens(normalisation="divide_near_max")
    for representation, reason in (
        (DensityCell(), "tell no frac_coords"),
        (CrystalImage(), "tell no lengths, angles, frac_coords"),
        (Xtal2PNG(), "tell no lengths"),
        (normalised, "not in Å and degrees"),
    ):
        with pytest.raises(ModelError, match=reason):
            build_model("site_attention", representation)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"width": 0}, "width is 0"),
        ({"layers": 1.5}, "layers is 1.5"),
        ({"radius": -1.0}, "wanted 0 < spacing"),
        ({"spacing": 7.0}, "wanted 0 < spacing"),
        ({"messages": True}, "messages is True"),
    ],
)
def test_wrong_parameters(parameters, message):
    with pytest.raises(ModelError, match=message):
        build_model("site_attention", WIDE, **parameters)


def test_a_smaller_image_is_read_the_same():
    crystals = held(sample_crystals(5, max_sites=5))
    small = dataclasses.replace(WIDE, max_sites=6)
    model = built()
    with torch.no_grad():
        wanted = model(arrays_of(crystals))
        model.reader = reader_of(small)[0]
        torch.testing.assert_close(model(arrays_of(crystals, small)), wanted, rtol=1e-4, atol=1e-5)
