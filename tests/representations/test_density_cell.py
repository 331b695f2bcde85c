"""The density in the cell against a sum over images, and read back from good and bad fields."""

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
from crystalcodec.representations.density_cell import DensityCell
from crystalcodec.representations.fields.fourier_series import PROPERTIES
from crystalcodec.testing import round_trip_errors, sample_crystals

SALT = Crystals.single(
    [[0, 2.8, 2.8], [2.8, 0, 2.8], [2.8, 2.8, 0]], [[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17]
)
SKEWED = Crystals.single(
    lattices_from_cell_parameters([4.1, 5.2, 6.3, 70, 98, 115])[0],
    [[0.1, 0.2, 0.3], [0.6, 0.55, 0.9], [0.95, 0.7, 0.4]],
    [8, 92, 1],
)


def real_space(crystal: Crystals, size: int, sigma: float, weights: np.ndarray) -> np.ndarray:
    """The field from its definition: Gaussians of all atoms and images at each point."""
    axis = np.arange(size) / size
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1)
    shifts = np.stack(np.meshgrid(*[np.arange(-2, 3)] * 3, indexing="ij"), -1).reshape(-1, 3)
    field = np.zeros((size,) * 3)
    for coords, weight in zip(crystal.frac_coords, weights, strict=True):
        for shift in shifts:
            apart = (points - coords - shift) @ crystal.lattices[0]
            field += weight * np.exp(-(apart**2).sum(-1) / (2 * sigma**2))
    return field / (2 * np.pi * sigma**2) ** 1.5


@pytest.mark.parametrize("crystal", [SALT, SKEWED], ids=["salt", "skewed"])
def test_agrees_with_a_sum_over_images(crystal):
    channels = ("Z", "one", "electronegativity")
    array = DensityCell(size=20, channels=channels).encode(crystal)["density"][0]
    electronegativities = np.array([Element.from_Z(int(z)).X for z in crystal.numbers])
    for field, weights in zip(
        array,
        (crystal.numbers, np.ones(len(crystal.numbers)), electronegativities),
        strict=True,
    ):
        expected = real_space(crystal, 20, 0.4, weights)
        np.testing.assert_allclose(field, expected, atol=2e-4 * expected.max())


def test_in_a_long_cell_it_is_the_series_of_the_field_without_its_short_waves():
    crystal = Crystals.single(np.diag([3.0, 3.5, 16.0]), [[0.1, 0.3, 0.52]], [3])
    fine = real_space(crystal, 48, 0.4, np.array([1.0]))
    spectrum = np.fft.fftn(fine) / fine.size
    h = np.r_[0:8, -7:0]
    wanted = np.zeros((16, 16, 16), complex)
    wanted[np.ix_(h, h, h)] = spectrum[np.ix_(h, h, h)]
    expected = np.fft.ifftn(wanted).real * wanted.size
    array = DensityCell(size=16, channels=("one", "Z")).encode(crystal)["density"][0, 0]
    np.testing.assert_allclose(array, expected, atol=1e-5 * expected.max())
    assert array.min() < -0.05 * array.max()  # it rings, as the docstring says


def test_the_points_sum_to_the_weights():
    crystals = sample_crystals(6)
    encoded = DensityCell(channels=("Z", "one")).encode(crystals)
    held = crystals[encoded.index]
    sums = encoded["density"].mean(axis=(2, 3, 4)) * held.volumes[:, None]
    np.testing.assert_allclose(sums[:, 0], np.add.reduceat(held.numbers, held.offsets[:-1]), 1e-5)
    np.testing.assert_allclose(sums[:, 1], held.n_sites, rtol=1e-5)


def test_a_shift_by_whole_points_rolls_the_array():
    moved = Crystals(
        SKEWED.lattices, SKEWED.frac_coords + np.array([3, 30, 1]) / 32, SKEWED.numbers, [0, 3]
    )
    array, shifted = (DensityCell().encode(c)["density"] for c in (SKEWED, moved))
    rolled = np.roll(array, (3, 30, 1), (2, 3, 4))
    np.testing.assert_allclose(shifted, rolled, atol=1e-5 * array.max())


def test_columns_of_the_long_periodic_table():
    symbols = "H He Li Be B Ne Sc Zn Ga Kr La Yb Lu Hf Tl Rn Ac No Lr Og".split()
    columns = [PROPERTIES["column"][Element(symbol).Z] for symbol in symbols]
    assert columns == [1, 32, 1, 2, 27, 32, 17, 26, 27, 32, 3, 16, 17, 18, 27, 32, 3, 16, 17, 32]


@settings(max_examples=12)
@given(st.integers(0, 10**6))
def test_round_trip(seed):
    crystals = sample_crystals(6, seed=seed)
    encoded = DensityCell().encode(crystals)
    decoded = DensityCell().decode(encoded)
    assert not decoded.failures
    errors = round_trip_errors(crystals[encoded.index], decoded.crystals, any_order=True)
    assert errors.max() < 1e-4
    assert decoded.confidence.min() > 0.999


@pytest.mark.parametrize(
    "parameters",
    [
        {"channels": ["Z"]},
        {"channels": ("Z",), "sigma": 0.3, "size": 31},
        {"channels": ("period", "column"), "sigma": 0.5},
        {"channels": ("electronegativity", "Z", "one"), "size": 40},
    ],
)
def test_round_trip_of_other_parameters(parameters):
    representation = DensityCell(**parameters)
    decoded = representation.decode(representation.encode(SKEWED))
    assert round_trip_errors(SKEWED, decoded.crystals, any_order=True)[0] < 1e-4


def test_hydrogen_beside_uranium_is_found():
    lattice = np.diag([4.0, 5.0, 6.0])
    pair = Crystals.single(lattice, [[0, 0, 0], [0, 0.2, 0]], [92, 1])
    for channels in (("one", "period", "column"), ("Z",)):
        representation = DensityCell(channels=channels)
        decoded = representation.decode(representation.encode(pair))
        assert round_trip_errors(pair, decoded.crystals, any_order=True)[0] < 1e-4


def test_real_crystals_come_back(shared_data):
    from crystalcodec.io import read

    crystals = read(shared_data / "mp20" / "val.csv.gz", structure_column="cif").crystals[::60]
    encoded = DensityCell().encode(crystals)
    decoded = DensityCell().decode(encoded)
    assert count_reasons(encoded.failures) == {"sites too close": 1}
    assert not decoded.failures
    crystals = crystals[encoded.index]
    assert round_trip_errors(crystals, decoded.crystals, any_order=True).max() < 1e-4


def test_noise_needs_a_tolerance():
    rng = np.random.default_rng(0)
    crystals = sample_crystals(6)
    encoded = DensityCell().encode(crystals)
    crystals = crystals[encoded.index]
    density = encoded["density"]
    spread = density.std(axis=(2, 3, 4), keepdims=True)
    noisy = {
        **encoded.arrays,
        "density": density + 0.1 * spread * rng.standard_normal(density.shape),
    }
    assert count_reasons(DensityCell().decode(noisy).failures) == {
        "field not explained": len(crystals)
    }
    decoded = DensityCell(tolerance=0.5).decode(noisy)
    assert not decoded.failures
    assert round_trip_errors(crystals, decoded.crystals, any_order=True).max() < 0.02
    np.testing.assert_allclose(decoded.confidence, 0.9, atol=0.01)


def test_crystals_that_cannot_be_resolved_are_refused():
    close = Crystals.single(np.eye(3) * 4, [[0, 0, 0], [0, 0, 0.15]], [1, 8])
    long = Crystals.single(np.diag([4, 4, 80.0]), [[0, 0, 0], [0, 0, 0.03]], [1, 8])
    crystals = Crystals.concatenate(
        [
            SALT,
            close,
            long,
            SALT.supercell(4),
            Crystals.single(np.diag([3, 3, -3]), [[0, 0, 0]], [3]),
            Crystals.single(np.diag([3, 3, 1.2]), [[0, 0, 0]], [3]),
        ]
    )
    encoded = DensityCell().encode(crystals)
    assert [(failure.index, failure.reason) for failure in encoded.failures] == [
        (1, "sites too close"),
        (2, "sites too close"),
        (3, "too many sites"),
        (4, "left-handed lattice"),
        (5, "cell too thin"),
    ]
    assert "sites 0 and 1 are 1.4" in encoded.failures[0].detail
    assert not DensityCell(sigma=0.3).encode(crystals[[1, 5]]).failures
    assert not DensityCell(size=64).encode(crystals[2]).failures


def offset(a):
    a["density"] += 0.01


def scaled(a):
    a["density"] *= 1.3


def one_channel_scaled(a):
    a["density"][:, 1] *= 1.3


def hole(a):
    a["density"][..., :4, :4, :4] = 0


def short_waves(a):
    a["density"][..., ::2] += 0.02


REFUSED = {
    "offset": (offset, "field not explained"),
    "scaled": (scaled, "field not explained"),
    "one channel scaled": (one_channel_scaled, "field not explained"),
    "a hole": (hole, "field not explained"),
    "waves that no encoding holds": (short_waves, "field not explained"),
    "negative": (lambda a: a["density"].__imul__(-1), "no atom"),
    "flat": (lambda a: a["density"].fill(0.5), "flat field"),
    "a flat channel": (lambda a: a["density"][:, 2].fill(0), "flat field"),
    "NaN": (lambda a: a["density"].__setitem__((0, 1, 3, 3, 3), np.nan), "not finite"),
    "NaN in the cell": (lambda a: a["cell_parameters"].fill(np.nan), "not finite"),
    "huge": (lambda a: a["density"].__setitem__((0, 1, 3, 3, 3), 1e30), "value out of range"),
    "another length": (
        lambda a: a["cell_parameters"].__setitem__((0, 0), 4.2),
        "field not explained",
    ),
    "no length": (lambda a: a["cell_parameters"].__setitem__((0, 0), 0), "lattice closes no cell"),
    "angles": (lambda a: a["cell_parameters"].__setitem__((0, 3), 179), "lattice closes no cell"),
    "thin": (lambda a: a["cell_parameters"].__setitem__((0, 0), 0.5), "cell too thin"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_strict_decoding_gives_the_reason(case):
    change, reason = REFUSED[case]
    arrays = {name: array.copy() for name, array in DensityCell().encode(SALT).arrays.items()}
    change(arrays)
    decoded = DensityCell().decode(arrays)
    assert [failure.reason for failure in decoded.failures] == [reason]


def test_noise_alone_is_no_crystal_however_tolerant():
    rng = np.random.default_rng(0)
    shape = (20, 3, 32, 32, 32)
    cells = np.tile([5, 6, 7, 90, 95, 100], (20, 1))
    tolerant = DensityCell(tolerance=0.5)
    for density in (rng.random(shape), rng.standard_normal(shape)):
        arrays = {"density": density.astype(np.float32), "cell_parameters": cells}
        assert len(tolerant.decode(arrays).failures) == 20


def test_more_peaks_than_sites_are_too_many():
    arrays = DensityCell().encode(sample_crystals(12)[[9]])
    few = DensityCell(max_sites=2)
    assert [failure.reason for failure in few.decode(arrays).failures] == ["too many peaks"]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"channels": ("mass",)}, "mass"),
        ({"channels": ()}, "channels"),
        ({"channels": ("Z", "Z")}, "different"),
        ({"channels": ("one", "electronegativity")}, "tell all elements apart"),
        ({"size": 6}, "size is 6"),
        ({"sigma": 0.0}, "sigma"),
        ({"max_sites": 0}, "max_sites"),
        ({"tolerance": 0.0}, "tolerance"),
    ],
)
def test_odd_parameters_are_refused(parameters, message):
    with pytest.raises(RepresentationError, match=message):
        DensityCell(**parameters)
