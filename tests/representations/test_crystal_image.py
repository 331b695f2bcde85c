"""crystal_image against a picture drawn pixel by pixel from the definition, noise, and junk."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Element

from crystalcodec.crystals import Crystals
from crystalcodec.failures import count_reasons
from crystalcodec.geometry import lattices_from_cell_parameters
from crystalcodec.representations.base import RepresentationError
from crystalcodec.representations.crystal_image import CrystalImage, canonical_order
from crystalcodec.representations.crystal_image.codes import (
    ELEMENT_CODES,
    ELEMENTS,
    MENDELEEV_NUMBERS,
    ZOOMS,
    cell_fractions,
    cell_parameters,
)
from crystalcodec.testing import round_trip_errors, sample_crystals

PEROVSKITE = Crystals.single(
    [[3.9, 0, 0], [0, 3.9, 0], [0, 0, 4.2]],
    [[0.5, 0.5, 0], [0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0, 0.5], [0, 0.5, 0.5]],
    [8, 22, 8, 38, 8],
)


def picture(crystals=PEROVSKITE):
    return CrystalImage().encode(crystals)["crystal_image"]


def crystals_of(n_sites, seed=0):
    """Crystals of the given numbers of sites, in a cubic cell, on a grid, so that none overlap."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.arange(4) / 4] * 3, indexing="ij"), -1).reshape(-1, 3)
    return Crystals.concatenate(
        Crystals.single(
            np.eye(3) * (12 * n) ** (1 / 3),
            rng.permutation(grid)[:n] + 0.03,
            rng.integers(1, 104, n),
        )
        for n in n_sites
    )


def noisy(pictures, level, seed=0):
    noise = np.random.default_rng(seed).normal(0, level / 255, pictures.shape)
    return (np.rint(np.clip(pictures + noise, 0, 1) * 255) / 255).astype(np.float32)


def reasons(array, **parameters):
    return [f.reason for f in CrystalImage(**parameters).decode(array).failures]


def drawn_slowly(crystal):
    """The picture from the definition, number by number."""
    out = np.zeros((64, 64, 3))
    mid, swing = 128 / 255, 126 / 255
    n = len(crystal.numbers)
    zoom = 4 if n <= 13 else 2 if n <= 26 else 1
    parameters = crystal.cell_parameters[0]
    for axis in range(3):
        for kind, u in enumerate((np.log2(parameters[axis]) / 7, parameters[3 + axis] / 180)):
            for row in range(6):
                angle = 2 * np.pi * u * 2.0 ** (row - 1)
                for copy in range(6):
                    dither = (copy - 2.5) / 6 / 255
                    out[6 * kind + row, copy, axis] = mid + swing * np.cos(angle) + dither
                    out[6 * kind + row, 6 + copy, axis] = mid + swing * np.sin(angle) + dither
    for p in range(n * zoom):
        site = p // zoom
        number = int(crystal.numbers[site])
        column = np.zeros((12, 3))
        column[0] = 1
        place = int(Element.from_Z(number).mendeleev_no) - 1
        for k in range(9):
            angle = 2 * np.pi * 2**k * place / 103
            column[1 + 2 * (k // 3), k % 3] = mid + swing * np.cos(angle)
            column[2 + 2 * (k // 3), k % 3] = mid + swing * np.sin(angle)
        for row, multiple in ((7, 1), (9, 3)):
            angle = 2 * np.pi * multiple * crystal.frac_coords[site]
            column[row], column[row + 1] = mid + swing * np.cos(angle), mid + swing * np.sin(angle)
        column[11] = np.mean(crystal.numbers == number), n / 52, np.log2(zoom) / 2
        out[:12, 12 + p] = out[12 + p, :12] = column
        for q in range(n * zoom):
            d = 2 * np.pi * (crystal.frac_coords[site] - crystal.frac_coords[q // zoom])
            out[12 + p, 12 + q] = mid + 89 / 255 * (np.cos(d) + np.sin(d))
    return out


def test_agrees_with_a_picture_drawn_pixel_by_pixel():
    crystals = Crystals.concatenate([PEROVSKITE, crystals_of([1, 13, 14, 26, 27, 52])])
    for one, array in zip(crystals, picture(crystals), strict=True):
        np.testing.assert_allclose(array, drawn_slowly(one), atol=2e-6)


def test_some_pixels_are_known_by_hand():
    array = np.rint(picture()[0] * 255)
    assert (array[0, 12:32] == 255).all()  # five sites, four pixels each
    assert (array[0, 32:] == 0).all()
    assert (array[32:, 32:] == 0).all()
    assert array[7, 16].tolist() == [254, 254, 254]  # cosine of 0: Ti at the origin
    assert array[7, 12].tolist() == [2, 2, 254]  # O at 1/2, 1/2, 0
    assert array[8, 12].tolist() == [128, 128, 128]  # their sines
    assert array[6, :6].tolist() == [[128] * 3] * 6  # cosine of 90 degrees
    assert array[6, 6:12].tolist() == [[254] * 3] * 6
    assert array[11, 12, 0] == 153  # three of five are oxygen
    assert array[12, 12].tolist() == [217] * 3  # a site and itself


@pytest.mark.filterwarnings("ignore")
def test_the_order_of_elements_is_that_of_mendeleev_numbers():
    assert sorted(ELEMENTS) == list(range(1, 104))
    for number in range(1, 104):
        assert MENDELEEV_NUMBERS[number] == Element.from_Z(number).mendeleev_no


def test_codes_of_elements_are_far_apart_and_near_elements_look_alike():
    codes = ELEMENT_CODES.reshape(103, 18).astype(float)
    apart = np.sqrt(((codes[:, None] - codes) ** 2).sum(axis=2)) + 9 * np.eye(103)
    assert apart.min() > 1.6  # nine times the noise of one copy at 45/255
    place = MENDELEEV_NUMBERS - 1
    smooth = ELEMENT_CODES[:, :2, 0].astype(float)

    def look(one, other):
        return np.abs(smooth[place[one]] - smooth[place[other]]).max()

    assert look(26, 27) < 0.2 < look(26, 17)  # Fe and Co, Fe and Cl


@given(st.lists(st.floats(1.0, 128.0), min_size=3, max_size=3))
def test_cells_survive_their_scale(lengths):
    parameters = np.array([[*lengths, 60.0, 90.0, 135.0]])
    fractions = cell_fractions(parameters)
    assert ((fractions >= 0) & (fractions <= 1)).all()
    np.testing.assert_allclose(cell_parameters(fractions), parameters)


@settings(max_examples=25)
@given(st.integers(0, 10**6))
def test_round_trip(seed):
    crystals = sample_crystals(6, seed=seed)
    image = CrystalImage()
    encoded = image.encode(crystals)
    decoded = image.decode(encoded)
    assert not decoded.failures
    assert round_trip_errors(crystals[encoded.index], decoded.crystals).max() < 1e-4
    assert decoded.confidence.min() > 0.999
    assert not image.decode(noisy(encoded["crystal_image"], 4)).failures


def test_every_number_of_sites_comes_back_from_noise():
    crystals = crystals_of(range(1, 53))
    for level, allowed in ((0, 0.01), (4, 0.1), (32, 0.8)):
        decoded = CrystalImage().decode(noisy(picture(crystals), level))
        assert not decoded.failures
        assert round_trip_errors(crystals, decoded.crystals).max() < allowed
        assert decoded.confidence.min() > 0.9


def test_pixels_of_eight_bits():
    crystals = crystals_of([1, 5, 20, 52])
    image = CrystalImage()
    pixels = image.to_pixels(image.encode(crystals))
    assert pixels.shape == (4, 64, 64, 3)
    assert pixels.dtype == np.uint8
    decoded = image.decode(image.from_pixels(pixels))
    assert round_trip_errors(crystals, decoded.crystals).max() < 0.01


def test_coordinates_of_twelfths_hardly_suffer_from_eight_bits():
    coords = np.array([[0, 1 / 3, 2 / 3], [1 / 2, 1 / 4, 3 / 4], [1 / 6, 5 / 6, 1 / 12]])
    one = Crystals.single(np.eye(3) * 8, coords, [1, 2, 3])
    image = CrystalImage()
    again = image.decode(image.from_pixels(image.to_pixels(image.encode(one)))).crystals
    difference = np.abs(again.frac_coords - coords)
    assert np.minimum(difference, 1 - difference).max() < 1e-4


def test_angles_of_a_real_cell_survive_noise():
    cell = lattices_from_cell_parameters([3.1, 12.4, 55.0, 22.0, 97.0, 101.0])
    one = Crystals(cell, [[0.1, 0.2, 0.3], [0.9, 0.0, 0.5]], [47, 9], [0, 2])
    decoded = CrystalImage().decode(noisy(picture(one), 16)).crystals
    np.testing.assert_allclose(decoded.cell_parameters[0, :3], [3.1, 12.4, 55.0], rtol=0.01)
    np.testing.assert_allclose(decoded.cell_parameters[0, 3:], [22.0, 97.0, 101.0], atol=0.5)


def test_similar_crystals_have_similar_pictures():
    """A site that passes from 1 to 0, and a cell that grows by 0.1 %, change little."""

    def made(x, a=4.0):
        coords = [[x, 0.2, 0.3], [0.5, 0.5, 0.5]]
        return picture(Crystals.single(np.eye(3) * a, coords, [11, 17]))

    assert np.abs(made(0.999) - made(0.001)).max() < 0.05
    assert np.abs(made(0.3) - made(0.302)).max() < 0.05
    assert np.abs(made(0.3) - made(0.3, 4.004)).max() < 0.05
    assert np.abs(made(0.3) - made(0.8)).max() > 0.5


def test_what_cannot_be_held_is_refused_by_name():
    thin = lattices_from_cell_parameters([4, 4, 4, 0.0005, 90, 90])[0]
    one = Crystals.single(np.eye(3) * 3, [[0, 0, 0]], [104])
    crystals = Crystals.concatenate(
        [
            PEROVSKITE.supercell([1, 1, 11]),
            one,
            Crystals.single(np.diag([3, 3, -3]), [[0, 0, 0]], [3]),
            Crystals.single(np.diag([3, 3, 0.9]), [[0, 0, 0]], [3]),
            Crystals.single(np.diag([3, 3, 129]), [[0, 0, 0]], [3]),
            PEROVSKITE,
        ]
    )
    result = CrystalImage().encode(crystals)
    assert result.index.tolist() == [5]
    assert [(f.reason, f.detail) for f in result.failures] == [
        ("too many sites", "55 sites, at most 52 fit"),
        ("element out of range", "Rf: elements up to Lr have a code"),
        (
            "left-handed lattice",
            "lengths and angles do not tell handedness: use Crystals.right_handed()",
        ),
        ("length out of range", "a, b, c are [3.0, 3.0, 0.9] Å, wanted 1 to 128"),
        ("length out of range", "a, b, c are [3.0, 3.0, 129.0] Å, wanted 1 to 128"),
    ]
    assert np.isnan(thin).any() or CrystalImage().refuse(Crystals.single(thin, [[0, 0, 0]], [3]))


def test_a_flat_cell_is_refused():
    flat = Crystals.single([[4, 0, 0], [4, 4e-4, 0], [0, 0, 4]], [[0, 0, 0]], [3])
    assert [f.reason for f in CrystalImage().refuse(flat)] == ["cell too flat"]


@pytest.mark.parametrize("limit", [0, -1, 1.5])
def test_odd_parameters_are_refused(limit):
    with pytest.raises(RepresentationError, match=str(limit)):
        CrystalImage(max_residual=limit)


def changed(rows, columns, value):
    array = picture()
    array[0, rows, columns] = value
    return array


EVERYTHING = slice(None)
REFUSED = {
    "black": (changed(EVERYTHING, EVERYTHING, 0), "no occupied site"),
    "NaN": (changed(3, 60, np.nan), "not finite"),
    "infinity": (changed(3, 60, -np.inf), "not finite"),
    "bytes": (picture() * 255, "pixels out of range"),
    "angles of 0 degrees": (
        changed(slice(6, 12), slice(0, 12), np.repeat([254 / 255, 128 / 255], 6)[:, None]),
        "lattice closes no cell",
    ),
    "no element on one site": (
        np.where(
            np.isin(np.arange(64), range(16, 20))[:, None, None]
            & np.isin(np.arange(64), range(1, 7))[:, None]
            | np.isin(np.arange(64), range(16, 20))[:, None]
            & np.isin(np.arange(64), range(1, 7))[:, None, None],
            np.float32(0.5),
            picture(),
        ),
        "element undecided",
    ),
    "another element along the top": (
        np.concatenate([np.roll(picture()[:, :12], 4, axis=2)[:, :, :], picture()[:, 12:]], axis=1),
        None,
    ),
    "pairs of another crystal": (changed(slice(12, 32), slice(12, 32), 0.5), "not self-consistent"),
    "dirt on empty places": (
        changed(slice(40, 52), slice(40, 64), 0.9),
        "not self-consistent",
    ),
    "a corner of grey": (changed(slice(0, 12), slice(0, 12), 0.5), None),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_pictures_are_refused(case):
    array, reason = REFUSED[case]
    (got,) = reasons(array)
    assert reason in (None, got)


def test_a_strict_decoder_takes_clean_pictures_only():
    strict = CrystalImage(max_residual=0.01)
    image = picture(crystals_of([3, 30]))
    assert not strict.decode(noisy(image, 0)).failures
    failures = strict.decode(noisy(image, 8)).failures
    assert count_reasons(failures) == {"not self-consistent": 2}
    assert "at most 0.01 (max_residual)" in failures[0].detail


def test_random_pictures_are_refused():
    rng = np.random.default_rng(0)
    shape = (200, 64, 64, 3)
    real = picture(crystals_of([*range(1, 53)] * 4)[:200])
    pictures = {
        "uniform": rng.random(shape),
        "normal": np.clip(rng.normal(0.5, 0.25, shape), 0, 1),
        "constant": np.broadcast_to(np.linspace(0, 1, 200)[:, None, None, None], shape),
        "shuffled": rng.permuted(real.reshape(200, -1), axis=1).reshape(shape),
        "mean of two": (real + np.roll(real, 1, axis=0)) / 2,
        "negative": 1 - real,
        "upside down": real[:, ::-1],
    }
    for name, array in pictures.items():
        decoded = CrystalImage().decode(array.astype(np.float32))
        assert len(decoded.failures) == 200, name


def test_halves_of_two_crystals_give_one_of_the_two_or_none():
    crystals = crystals_of([*range(2, 53)])
    real = picture(crystals)
    other = np.roll(np.arange(51), 1)
    for axis in (1, 2):
        halves = [np.take(real, np.arange(32), axis), np.take(real[other], np.arange(32, 64), axis)]
        decoded = CrystalImage().decode(np.concatenate(halves, axis))
        first = round_trip_errors(crystals[decoded.index], decoded.crystals)
        second = round_trip_errors(crystals[other[decoded.index]], decoded.crystals)
        assert np.minimum(first, second).max(initial=0) < 0.1
        assert len(decoded.failures) > 40


def test_failures_are_counted_among_good_pictures_whatever_their_place():
    crystals = crystals_of([2, 40, 7] * 20)
    array = picture(crystals)
    array[[0, 30, 59]] = np.nan
    array[31] = 0.5
    decoded = CrystalImage().decode(array)
    kept = [i for i in range(60) if i not in (0, 30, 31, 59)]
    assert decoded.index.tolist() == kept
    assert [f.index for f in decoded.failures] == [0, 30, 31, 59]
    assert round_trip_errors(crystals[kept], decoded.crystals).max() < 1e-4
    alone = CrystalImage().decode(array[40:41])
    assert round_trip_errors(crystals[40], alone.crystals).max() < 1e-4


def test_confidence_falls_with_noise_and_tells_wrong_from_right():
    crystals = crystals_of([5, 15, 25, 35, 45] * 8)
    nearest = CrystalImage(max_residual=1.0)
    confidence, right = [], []
    for level in (16, 64, 96, 128, 160):
        decoded = nearest.decode(noisy(picture(crystals), level))
        errors = round_trip_errors(crystals[decoded.index], decoded.crystals)
        confidence.append(decoded.confidence)
        right.append(errors < 1.0)
    assert np.median(confidence[0]) > 0.999
    assert np.median(confidence[0]) >= np.median(confidence[2]) >= np.median(confidence[4])
    c, r = np.concatenate(confidence), np.concatenate(right)
    assert c[r].mean() > c[~r].mean() + 0.3


def test_canonical_order_sorts_within_crystals_and_moves_nothing():
    crystals = sample_crystals(10)
    ordered = canonical_order(crystals)
    assert ordered.offsets.tolist() == crystals.offsets.tolist()
    for one, other in zip(crystals, ordered, strict=True):
        places = MENDELEEV_NUMBERS[other.numbers]
        assert (np.diff(places) >= 0).all()
        assert sorted(zip(one.numbers, map(tuple, one.frac_coords), strict=True)) == sorted(
            zip(other.numbers, map(tuple, other.frac_coords), strict=True)
        )
    assert canonical_order(ordered) == ordered


def test_zooms_fill_the_frame():
    n = np.arange(1, 53)
    assert (ZOOMS[n] * n <= 52).all()
    assert ((2 * ZOOMS[n] * n > 52) | (ZOOMS[n] == 4)).all()


def test_real_crystals_survive_noise(shared_data):
    """300 of MPTS-52 val, up to 52 sites: all come back from noise of 16/255."""
    from crystalcodec.io import read

    table = shared_data / "mpts_52" / "val.csv.gz"
    crystals = read(table, structure_column="cif").crystals
    image = CrystalImage()
    encoded = image.encode(crystals)
    assert not encoded.failures
    some = slice(0, None, len(crystals) // 300)
    decoded = image.decode(noisy(encoded["crystal_image"][some], 16))
    assert not decoded.failures
    assert round_trip_errors(crystals[some], decoded.crystals).max() < 0.5
