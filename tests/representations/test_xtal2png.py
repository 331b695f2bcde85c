"""xtal2png against a picture of the package, an encoder from the definition, noise and junk."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crystalcodec.crystals import Crystals
from crystalcodec.failures import count_reasons
from crystalcodec.geometry import lattices_from_cell_parameters
from crystalcodec.io.foreign import to_pymatgen
from crystalcodec.io.png import read_png, write_png
from crystalcodec.representations.base import RepresentationError
from crystalcodec.representations.minimum_images import minimum_images
from crystalcodec.representations.xtal2png import Xtal2PNG
from crystalcodec.representations.xtal2png.site_distances import reduce_skew, site_distances
from crystalcodec.testing import check_representation, round_trip_errors, sample_crystals

THREE = Crystals.single(
    lattices_from_cell_parameters([3, 4, 5, 90, 90, 120])[0],
    [[0, 0, 0], [0.5, 0.25, 1 - 1e-9], [0.1, 0.2, 0.3]],
    [1, 8, 92],
)
# What xtal2png 0.9.4 makes of the same crystal, at its three sites.
ROWS = np.array(
    [
        [0, 15, 198],
        [0, 128, 26],
        [0, 64, 51],
        [0, 255, 76],
        [19, 19, 19],
        [39, 39, 39],
        [22, 22, 22],
        [128, 128, 128],
        [128, 128, 128],
        [170, 170, 170],
        [15, 15, 15],
        [0, 0, 0],
    ]
)
DISTANCES = np.array([[0, 19, 23], [19, 0, 26], [23, 26, 0]])


def pixels_of(crystals, groups=None, **parameters):
    xtal2png = Xtal2PNG(**parameters)
    groups = np.ones(len(crystals), int) if groups is None else groups
    return xtal2png.to_pixels(xtal2png.encode(crystals, space_group_numbers=groups))


def decoded(pixels, **parameters):
    xtal2png = Xtal2PNG(**parameters)
    return xtal2png.decode(xtal2png.from_pixels(pixels))


def noisy(pixels, level, seed=0):
    noise = np.random.default_rng(seed).normal(0, level, pixels.shape)
    return np.clip(np.rint(pixels + noise), 0, 255).astype(np.uint8)


def test_every_pixel_of_one_picture_is_that_of_the_package():
    expected = np.zeros((64, 64), np.uint8)
    expected[:12, 12:15], expected[12:15, :12] = ROWS, ROWS.T
    expected[12:15, 12:15] = DISTANCES
    np.testing.assert_array_equal(pixels_of(THREE)[0], expected)
    crystal = decoded(expected[None]).crystals
    assert crystal.numbers.tolist() == [1, 8, 92]
    np.testing.assert_allclose(
        crystal.cell_parameters[0, :3], 2 + ROWS[4:7, 0] * [13.3, 13, 34] / 255
    )
    np.testing.assert_allclose(crystal.cell_parameters[0, 3:], ROWS[7:10, 0] * 180 / 255)
    np.testing.assert_allclose(crystal.frac_coords, ROWS[1:4].T / 255 % 1)


def slow(crystal, group, bits):
    """Steps before rounding, number by number, with pymatgen's cell and distances."""
    structure = to_pymatgen(crystal)[0]
    whole, n = 2**bits - 1, len(structure)
    picture = np.zeros((64, 64))
    for i, site in enumerate(structure):
        numbers = [(site.specie.Z - 1) / 117, *site.frac_coords]
        limits = [(2, 15.3), (2, 15), (2, 36), (0, 180), (0, 180), (0, 180)]
        cell = [*structure.lattice.abc, *structure.lattice.angles]
        numbers += [(v - low) / (high - low) for v, (low, high) in zip(cell, limits, strict=True)]
        numbers += [n / 52, (group - 1) / 229]
        picture[:12, 12 + i] = picture[12 + i, :12] = np.array(numbers) * whole
    picture[12 : 12 + n, 12 : 12 + n] = structure.distance_matrix / 18 * whole
    return picture


@pytest.mark.parametrize("bits", [8, 16])
def test_agrees_with_an_encoder_written_from_the_definition(bits):
    xtal2png = Xtal2PNG(bits=bits)
    crystals = sample_crystals(60, seed=3, max_sites=52)
    groups = np.random.default_rng(0).integers(1, 231, len(crystals))
    encoded = xtal2png.encode(crystals, space_group_numbers=groups)
    expected = np.array([slow(crystals[i], groups[i], bits) for i in encoded.index])
    steps = encoded["xtal2png"] * (2.0**bits - 1)
    # Half a step, or a whole one where two mirrored entries share a number.
    off = np.abs(steps - expected)
    assert off.max() <= (0.501 if bits == 8 else 1.01)
    mirrored = (steps + steps.transpose(0, 2, 1)) / 2
    off = np.abs(mirrored - expected)
    assert off[:, 1:10].max() <= (0.501 if bits == 8 else 0.26)
    assert off.max() <= 0.51


def test_right_angles_are_written_one_way_in_any_orientation():
    cube = Crystals.single(np.eye(3) * 4, [[0, 0, 0]], [26])
    assert pixels_of(cube)[0, 7:10, 12].tolist() == [128] * 3  # 127.5, to the even step
    above, left = (
        pixels_of(cube, bits=16)[0, rows, columns] for rows, columns in ((7, 12), (12, 7))
    )
    assert (above, left) == (32767, 32768)
    np.testing.assert_allclose(
        decoded(pixels_of(cube, bits=16), bits=16).crystals.cell_parameters[0, 3:], 90, atol=1e-12
    )


@pytest.mark.parametrize("parameters", [{"bits": 16}, {"decoder": "robust"}, {"max_sites": 20}])
def test_conforms_with_other_parameters(parameters):
    check_representation(Xtal2PNG(**parameters))


def big_cells(n=3000):
    """Cells of all sizes and angles within the ranges, with four sites anywhere."""
    rng = np.random.default_rng(5)
    cells = np.c_[
        rng.uniform(2, 15.3, n),
        rng.uniform(2, 15, n),
        rng.uniform(2, 36, n),
        rng.uniform(15, 165, (n, 3)),
    ]
    cells[: n // 3, 3:] = 90
    cells[: n // 6, :3] = [15.3, 15, 36]
    lattices = lattices_from_cell_parameters(cells)
    closed = np.isfinite(lattices).all(axis=(1, 2))
    lattices = lattices[closed]
    closed = np.abs(np.linalg.det(lattices)) > 1e-2
    lattices = lattices[closed]
    n = len(lattices)
    return Crystals(lattices, rng.random((4 * n, 3)), np.full(4 * n, 8), np.arange(n + 1) * 4)


@pytest.mark.parametrize(("bits", "limit"), [(8, 0.5), (16, 0.001)])
def test_everything_held_comes_back_within_the_limit(bits, limit):
    crystals = big_cells()
    xtal2png = Xtal2PNG(bits=bits, distance_range=(0, 60))
    encoded = xtal2png.encode(crystals, space_group_numbers=np.ones(len(crystals), int))
    result = xtal2png.decode(encoded)
    assert not result.failures
    assert round_trip_errors(crystals[encoded.index], result.crystals).max() <= limit
    assert set(count_reasons(encoded.failures)) <= {"lattice too flat"}
    assert len(encoded) > (0.5 if bits == 8 else 0.99) * len(crystals)
    upright = crystals.cell_parameters[:, 3:] == 90
    refused = [failure.index for failure in encoded.failures]
    assert not upright.all(axis=1)[refused].any()


def test_real_crystals_come_back(shared_data):
    from crystalcodec import read

    crystals = read(shared_data / "mp20" / "val.csv.gz", structure_column="cif").crystals[:1500]
    groups = np.ones(len(crystals), int)
    for bits, limit in ((8, 0.2), (16, 0.0005)):
        xtal2png = Xtal2PNG(bits=bits)
        encoded = xtal2png.encode(crystals, space_group_numbers=groups)
        assert set(count_reasons(encoded.failures)) <= {"lattice out of range"}
        assert len(encoded) > 0.99 * len(crystals)
        result = xtal2png.decode(encoded)
        assert not result.failures
        assert round_trip_errors(crystals[encoded.index], result.crystals).max() < limit


@pytest.mark.parametrize("bits", [8, 16])
def test_files_hold_the_pixels(tmp_path, bits):
    pixels = pixels_of(THREE, bits=bits)
    write_png(tmp_path / "a.png", pixels[0], text={"crystal": "three"})
    picture = read_png(tmp_path / "a.png")
    result = decoded(picture.pixels[None], bits=bits)
    assert result.crystals == decoded(pixels, bits=bits).crystals
    other = Xtal2PNG(bits=24 - bits)
    with pytest.raises(RepresentationError, match="has pixels of uint"):
        other.from_pixels(picture.pixels[None])
    with pytest.raises(RepresentationError, match="has shape"):
        Xtal2PNG(bits=bits, max_sites=20).from_pixels(picture.pixels[None])


def crystal_of(cell=(4, 4, 4, 90, 90, 90), n_sites=1, number=8):
    coords = np.linspace(0, 1, n_sites, endpoint=False)[:, None] * [1, 1, 1]
    return Crystals.single(lattices_from_cell_parameters(cell)[0], coords, [number] * n_sites)


REFUSED = {
    "too many sites": (crystal_of(n_sites=53), {}),
    "element out of range": (crystal_of(number=90), {"atomic_number_range": (1, 83)}),
    "lattice out of range": (crystal_of((1.9, 4, 4, 90, 90, 90)), {}),
    "lattice too flat": (crystal_of((9, 9, 9, 60, 60, 119.999)), {}),
    "left-handed lattice": (Crystals.single(np.diag([4, 4, -4]), [[0, 0, 0]], [8]), {}),
    "distance out of range": (crystal_of((15, 15, 36, 90, 90, 90), 2), {}),
    "unknown space group": (crystal_of(), {}),
}


@pytest.mark.parametrize("reason", REFUSED)
@pytest.mark.parametrize("bits", [8, 16])
def test_each_crystal_that_does_not_fit_has_its_reason(reason, bits):
    crystal, parameters = REFUSED[reason]
    batch = Crystals.concatenate([crystal_of(), crystal, crystal_of()])
    groups = [1, 231 if reason == "unknown space group" else 1, 1]
    xtal2png = Xtal2PNG(bits=bits, **parameters)
    encoded = xtal2png.encode(batch, space_group_numbers=groups)
    assert encoded.index.tolist() == [0, 2]
    assert [(f.index, f.reason) for f in encoded.failures] == [(1, reason)]
    assert encoded.failures[0].detail


def changed(change, **parameters):
    pixels = pixels_of(sample_crystals(6), **parameters)[1:2].copy()
    change(pixels[0])
    return decoded(pixels, **parameters)


def set_pixel(*places, to=None):
    def change(picture):
        for row, column in places:
            picture[row, column] = picture[row, column] + 1 if to is None else to

    return change


SPOILT = {
    "no number of sites": set_pixel((10, 12), to=3),
    "pixels beyond the sites": set_pixel((0, 0), to=1),
    "mirrored entries differ": set_pixel((1, 12)),
    "entries that repeat differ": set_pixel((4, 13), (13, 4)),
    "no such element": set_pixel((0, 12), (12, 0), to=1),
    "distances contradict coordinates": set_pixel((12, 13), (13, 12), to=250),
}


@pytest.mark.parametrize("reason", SPOILT)
def test_each_spoilt_picture_has_its_reason(reason):
    result = changed(SPOILT[reason])
    assert [failure.reason for failure in result.failures] == [reason]
    assert not len(result.crystals)


def test_more_spoilt_pictures():
    def lopsided(picture):
        picture[12, 13] += 1

    def shrunk(picture):
        picture[7:10] = np.where(picture[7:10] > 0, 200, 0)
        picture[:, 7:10] = picture[7:10].T

    def unknown_group(picture):
        picture[11] = np.where(picture[10] > 0, 8, 0)
        picture[:, 11] = picture[11]

    assert count_reasons(changed(lopsided).failures) == {"mirrored entries differ": 1}
    assert count_reasons(changed(shrunk).failures) == {"lattice closes no cell": 1}
    # 16 bits leave steps between the space groups.
    assert count_reasons(changed(unknown_group, bits=16).failures) == {"no such space group": 1}


def test_values_that_are_no_pixels_have_their_reasons():
    xtal2png = Xtal2PNG()
    array = np.repeat(xtal2png.encode(THREE)["xtal2png"], 4, axis=0)
    array[0, 0, 0] = np.nan
    array[1, 0, 0] = 1.5
    array[2, 1, 13] += 0.3 / 255
    result = xtal2png.decode(array)
    reasons = ["not finite", "outside [0, 1]", "between two steps"]
    assert [failure.reason for failure in result.failures] == reasons
    assert result.index.tolist() == [3]


@settings(max_examples=60)
@given(st.data())
def test_one_wrong_step_anywhere_is_refused_or_holds_a_crystal_as_near(data):
    pixels = pixels_of(sample_crystals(3))[1:2].copy()
    row, column = data.draw(st.tuples(*[st.integers(0, 63)] * 2))
    pixels[0, row, column] = data.draw(st.integers(0, 255))
    result = decoded(pixels)
    if len(result.crystals):  # where the pixel is as it was
        np.testing.assert_array_equal(pixels_of(sample_crystals(3))[1], pixels[0])


@pytest.mark.parametrize("bits", [8, 16])
def test_decoded_crystals_have_the_rows_of_their_picture(bits):
    pixels = pixels_of(sample_crystals(), bits=bits)
    again = pixels_of(decoded(pixels, bits=bits).crystals, bits=bits)
    rows, coords = [0, *range(4, 12)], slice(1, 4)
    np.testing.assert_array_equal(pixels[:, rows], again[:, rows])
    whole = 2**bits - 1
    np.testing.assert_array_equal(pixels[:, coords] % whole, again[:, coords] % whole)


def test_many_pictures_decode_as_one_by_one(monkeypatch):
    from crystalcodec.representations.xtal2png import representation as module

    xtal2png = Xtal2PNG()
    array = xtal2png.encode(sample_crystals())["xtal2png"]
    array[5, 0, 0] = 1
    whole = xtal2png.decode(array)
    monkeypatch.setattr(module, "_PICTURES_AT_ONCE", 4)
    parts = xtal2png.decode(array)
    assert parts.crystals == whole.crystals
    assert parts.failures == whole.failures
    alone = [xtal2png.decode(array[i : i + 1]).crystals for i in range(len(array))]
    assert Crystals.concatenate(alone) == whole.crystals


def test_masks_leave_blocks_empty_and_hide_what_they_hide():
    for mask in ("distance", "space_group", "lower_tri"):
        for bits in (8, 16):
            pixels = pixels_of(THREE, masks=(mask,), bits=bits)
            assert pixels.sum() < pixels_of(THREE, [5], bits=bits).sum() or mask == "space_group"
            result = decoded(pixels, masks=(mask,), bits=bits)
            assert not result.failures
            assert round_trip_errors(THREE, result.crystals)[0] < (0.1 if bits == 8 else 0.001)
    hidden = Xtal2PNG(masks=("frac", "a"))
    array = hidden.encode(THREE)["xtal2png"]
    assert not array[0, 1:5].any()
    assert not array[0, :, 1:5].any()
    with pytest.raises(RepresentationError, match="nothing decodes without a, frac"):
        hidden.decode(array)
    spoilt = pixels_of(THREE)
    assert count_reasons(decoded(spoilt, masks=("distance",)).failures) == {"pixels in a mask": 1}
    assert count_reasons(decoded(spoilt, masks=("lower_tri",)).failures) == {"pixels in a mask": 1}


@pytest.mark.parametrize(
    "parameters",
    [
        {"bits": 12},
        {"decoder": "kind"},
        {"masks": ("atoms",)},
        {"a_range": (15, 2)},
        {"angle_range": (-90, 90)},
        {"distance_range": (0, np.inf)},
        {"distance_range": (0.5, 18)},
        {"max_sites": 53},
        {"max_sites": 0},
        {"n_sites_range": (0, 300), "max_sites": 300},
        {"n_sites_range": (2, 52)},
        {"space_group_range": (2, 230)},
        {"atomic_number_range": (0, 118)},
        {"atomic_number_range": (1, 119)},
        {"max_noise": 2},
        {"min_confidence": -1},
        {"decoder": "robust", "masks": ("distance",)},
    ],
    ids=str,
)
def test_bad_parameters_are_refused(parameters):
    with pytest.raises(RepresentationError):
        Xtal2PNG(**parameters)


def test_parameters_survive_json():
    one = Xtal2PNG(bits=16, masks=("distance",), a_range=(1.0, 20.0))
    config = json.loads(json.dumps(one.config()))
    assert config.pop("name") == "xtal2png"
    assert Xtal2PNG(**config) == one


def test_space_groups_are_found_where_none_are_given():
    salt = Crystals.single(
        [[0, 2.8, 2.8], [2.8, 0, 2.8], [2.8, 2.8, 0]], [[0, 0, 0], [0.5] * 3], [11, 17]
    )
    found = Xtal2PNG().encode(salt)["xtal2png"]
    given_ = Xtal2PNG().encode(salt, space_group_numbers=[225])["xtal2png"]
    np.testing.assert_array_equal(found, given_)
    assert round(found[0, 11, 12] * 255) == round(224 / 229 * 255)


def test_robust_reads_clean_pictures_better_than_their_rounding():
    crystals = sample_crystals(60, seed=2)
    crystals = crystals[Xtal2PNG().encode(crystals).index]
    pixels = pixels_of(crystals)
    strict, robust = decoded(pixels), decoded(pixels, decoder="robust")
    assert not robust.failures
    np.testing.assert_array_equal(robust.crystals.numbers, crystals.numbers)
    assert robust.confidence.min() > 0.9
    errors = [round_trip_errors(crystals, result.crystals) for result in (strict, robust)]
    assert np.median(errors[1]) < 0.9 * np.median(errors[0])
    assert errors[1].max() <= Xtal2PNG().round_trip_tolerance


def test_distances_mend_coordinates_and_cells():
    from crystalcodec.representations.xtal2png.refinement import refined

    rng = np.random.default_rng(4)
    k, sites = 40, 6
    low, span = np.array([2.0, 2, 2, 0, 0, 0]), np.array([13.3, 13, 34, 180, 180, 180])
    cells = (np.c_[rng.uniform(5, 9, (k, 3)), rng.uniform(75, 105, (k, 3))] - low) / span
    lattices = lattices_from_cell_parameters(low + span * cells)
    coords = rng.random((k, sites, 3))
    apart = site_distances(lattices, coords) / 18
    same = refined(cells, coords, apart, low, span, 18.0)
    np.testing.assert_allclose(same[0], cells, atol=1e-7)
    np.testing.assert_allclose(same[1], coords, atol=1e-7)
    assert same[2].max() < 1e-7
    moved = coords + rng.normal(0, 0.01, coords.shape)
    fitted, places, left = refined(cells, moved, apart, low, span, 18.0)

    def wrong(lattices, places):
        return np.abs(site_distances(lattices, places) - apart * 18).mean()

    # Far less off in its distances; a common shift of all sites is not seen by them.
    assert wrong(lattices_from_cell_parameters(low + span * fitted), places) < 0.75 * wrong(
        lattices, moved
    )
    assert left.max() < 0.02


def perovskites(n=200):
    """Five sites: two elements and three of a third, the cell cubic."""
    rng = np.random.default_rng(8)
    coords = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    return Crystals.concatenate(
        [
            Crystals.single(np.eye(3) * a, coords, [big, small, 8, 8, 8])
            for a, big, small in zip(
                rng.uniform(3.7, 4.5, n),
                rng.integers(55, 72, n),
                rng.integers(22, 42, n),
                strict=True,
            )
        ]
    )


def test_robust_reads_what_noise_leaves_and_says_how_sure_it_is():
    crystals = perovskites()
    pixels = pixels_of(crystals)
    assert not len(decoded(noisy(pixels, 1)).crystals)  # strict
    right, sure = {}, {}
    for level in (1, 2, 4):
        result = decoded(noisy(pixels, level), decoder="robust")
        assert not result.failures
        same = (result.crystals.element_counts == crystals.element_counts).all(axis=1)
        right[level], sure[level] = same.mean(), result.confidence.mean()
        # The geometry holds up whatever the elements.
        off = result.crystals.cell_parameters[:, :3] - crystals.cell_parameters[:, :3]
        errors = np.array([13.3, 13, 34]) * np.hypot(level / np.sqrt(10), 0.5) / 255
        assert (np.abs(off) < 5 * errors).all()
    assert right[1] > 0.55
    assert right[2] > 0.12
    for level in right:
        assert sure[level] == pytest.approx(right[level], abs=0.1)


def test_robust_puts_sites_of_one_element_together():
    crystals = perovskites()
    oxygen = decoded(noisy(pixels_of(crystals), 2), decoder="robust").crystals.numbers
    oxygen = oxygen.reshape(-1, 5)[:, 2:]
    assert (oxygen == oxygen[:, :1]).all(axis=1).mean() > 0.95
    # Alone, an entry of noise 2 / sqrt(2) is right where it is within half of 2.18 steps.
    assert (oxygen == 8).mean() > 0.75


def test_robust_refuses_what_no_crystal_explains():
    rng = np.random.default_rng(3)
    robust = Xtal2PNG(decoder="robust")
    crystals = sample_crystals(40, seed=6)
    array = robust.encode(crystals)["xtal2png"]
    junk = {
        "uniform": rng.random((300, 64, 64)),
        "bright": np.clip(rng.normal(0.8, 0.1, (300, 64, 64)), 0, 1),
        "dark": np.clip(rng.normal(0, 0.1, (300, 64, 64)), 0, 1),
        "grey": np.clip(rng.normal(0.1, 0.02, (300, 64, 64)), 0, 1),
        "shuffled": rng.permuted(array.reshape(len(array), -1), axis=1).reshape(array.shape),
        "upside down": array[:, ::-1, ::-1],
        "distances of others": np.concatenate(
            [array[1:, :12], np.concatenate([array[1:, 12:, :12], array[:-1, 12:, 12:]], 2)], 1
        ),
    }
    for name, pictures in junk.items():
        result = robust.decode(pictures)
        assert len(result.crystals) <= 0.01 * len(pictures), name
        assert all(failure.detail for failure in result.failures)


def test_robust_refuses_the_uncertain_where_it_is_told_to():
    pixels = noisy(pixels_of(perovskites(50)), 3)
    robust = decoded(pixels, decoder="robust")
    careful = decoded(pixels, decoder="robust", min_confidence=0.5)
    assert (careful.confidence >= 0.5).all()
    assert len(careful.crystals) == (robust.confidence >= 0.5).sum()
    assert set(count_reasons(careful.failures)) == {"too uncertain"}


def test_robust_reads_few_numbers_as_all_assignments_weighed():
    """Against every assignment of elements to two sites, priced as the docstring says."""
    from crystalcodec.representations.xtal2png.robust import _read_numbers

    rng = np.random.default_rng(1)
    known = np.rint(np.arange(118) / 117 * 255) / 255
    entries = rng.uniform(0.2, 0.6) + rng.normal(0, 0.02, (40, 2, 2))
    numbers, confidence = _read_numbers(Xtal2PNG(), entries, np.full(40, 0.01))
    for entry, found, sure in zip(entries, numbers, confidence, strict=True):
        costs = ((entry[:, :, None] - known) ** 2 / 2e-4).sum(axis=0)
        both = costs[0][:, None] + costs[1][None] + np.log(118) * (2 - np.eye(118))
        best = np.unravel_index(both.argmin(), both.shape)
        assert (found - 1).tolist() == [*best]
        # Assignments against the order of the entries are left out; they weigh little.
        assert sure >= np.exp(-both.min()) / np.exp(-both).sum() - 1e-9


def test_distances_are_those_of_the_nearest_images():
    rng = np.random.default_rng(0)
    lattices = rng.normal(0, 4, (400, 3, 3))
    lattices[:100, 2] += 3 * lattices[:100, 0] - 2 * lattices[:100, 1]
    coords = rng.random((400, 5, 3))
    differences = (coords[:, :, None] - coords[:, None]).reshape(400, 25, 3)
    _, expected = minimum_images(differences, lattices)
    found = site_distances(lattices, coords)
    np.testing.assert_allclose(found.reshape(400, 25), expected, atol=1e-9)
    np.testing.assert_array_equal(found, site_distances(lattices, coords, reduce_skew(lattices)))
    alone = [site_distances(lattices[i : i + 1], coords[i : i + 1])[0] for i in range(400)]
    np.testing.assert_array_equal(found, alone)


def test_fields_are_where_they_are_said_to_be():
    xtal2png = Xtal2PNG()
    array = xtal2png.encode(THREE)["xtal2png"]
    fields = {field.name: field.of({"xtal2png": array}) for field in xtal2png.fields}
    np.testing.assert_array_equal(np.rint(fields["frac_rows"][0, :, :3] * 255), ROWS[1:4])
    np.testing.assert_array_equal(np.rint(fields["angles_columns"][0, :3] * 255), ROWS[7:10].T)
    np.testing.assert_array_equal(np.rint(fields["distance"][0, :3, :3] * 255), DISTANCES)
    assert dataclasses.is_dataclass(xtal2png)


def test_robust_is_not_sure_of_a_number_whose_copies_contradict_each_other():
    pixels = pixels_of(perovskites(20)).copy()
    pixels[:, 12, 0] = np.minimum(pixels[:, 12, 0] + 5, 255)
    result = decoded(pixels, decoder="robust")
    wrong = (
        result.crystals.numbers.reshape(-1, 5)
        != perovskites(20)[result.index].numbers.reshape(-1, 5)
    ).any(axis=1)
    assert (result.confidence[wrong] < 0.9).all()


def test_robust_has_a_confidence_for_each_of_no_pictures():
    assert decoded(np.zeros((0, 64, 64), np.uint8), decoder="robust").confidence.shape == (0,)
