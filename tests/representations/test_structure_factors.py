"""Structure factors from their definition, as the twin of the density, and read back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crystalcodec.crystals import Crystals
from crystalcodec.failures import count_reasons
from crystalcodec.representations.base import RepresentationError
from crystalcodec.representations.density_cell import DensityCell
from crystalcodec.representations.structure_factors import StructureFactors
from crystalcodec.testing import round_trip_errors, sample_crystals

SALT = Crystals.single(
    [[0, 2.8, 2.8], [2.8, 0, 2.8], [2.8, 2.8, 0]], [[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17]
)


def factors(crystals, **parameters):
    array = StructureFactors(**parameters).encode(crystals)["structure_factors"]
    return array[:, 0::2] + 1j * array[:, 1::2]


def test_rock_salt_by_hand():
    """Na at the origin and Cl at the centre: their sum where h + k + l is even, else the rest."""
    array = factors(SALT, channels=("one", "Z"), max_index=3)[0]
    h = np.arange(-3, 4)
    odd = (h[:, None, None] + h[:, None] + h[3:]) % 2 == 1
    np.testing.assert_allclose(array[0], np.where(odd, 0, 2), atol=1e-5)
    np.testing.assert_allclose(array[1], np.where(odd, -6, 28), atol=1e-4)


@pytest.mark.parametrize("sigma", [0.0, 0.4])
def test_agrees_with_the_definition(sigma):
    crystal = sample_crystals(10)[[9]]
    array = factors(crystal, channels=("Z", "one"), max_index=8, sigma=sigma)[0, 0]
    reciprocal = np.linalg.inv(crystal.lattices[0]).T
    for h, k, m in [(0, 0, 0), (1, 0, 0), (-4, 3, 2), (4, -4, 4), (0, -2, 1)]:
        total = sum(
            z * np.exp(-2j * np.pi * (h * x[0] + k * x[1] + m * x[2]))
            for z, x in zip(crystal.numbers.tolist(), crystal.frac_coords, strict=True)
        )
        square = float(((np.array([h, k, m]) @ reciprocal) ** 2).sum())
        total *= np.exp(-2 * np.pi**2 * sigma**2 * square)
        assert array[h + 8, k + 8, m] == pytest.approx(total, rel=1e-4, abs=1e-3)


def test_a_shift_of_the_origin_is_a_phase():
    crystals = sample_crystals(8)
    shift = np.array([0.13, 0.58, 0.71])
    moved = Crystals(
        crystals.lattices, crystals.frac_coords + shift, crystals.numbers, crystals.offsets
    )
    before, after = factors(crystals, max_index=6), factors(moved, max_index=6)
    h = np.arange(-6, 7)
    phase = h[:, None, None] * shift[0] + h[:, None] * shift[1] + h[6:] * shift[2]
    np.testing.assert_allclose(after, before * np.exp(-2j * np.pi * phase), atol=2e-3)


def test_the_density_and_the_factors_give_each_other():
    crystals = sample_crystals(8)
    cell = DensityCell(sigma=0.5).encode(crystals)
    crystals = crystals[cell.index]
    array = factors(crystals, sigma=0.5, max_index=15)
    volumes = crystals.volumes[:, None, None, None, None]
    spectrum = np.fft.fftn(cell["density"], axes=(2, 3, 4)) / 32**3 * volumes
    h = np.arange(-15, 16)
    ours = spectrum[:, :, h[:, None, None], h[:, None], h[15:]]
    np.testing.assert_allclose(ours, array, atol=1e-5 * np.abs(array).max())
    # Parseval: the mean square of the field is the sum of squares of its coefficients.
    twice = np.where(np.arange(16) == 0, 1, 2)
    np.testing.assert_allclose(
        (cell["density"].astype(float) ** 2).mean(axis=(2, 3, 4)),
        (np.abs(array.astype(complex)) ** 2 * twice).sum(axis=(2, 3, 4))
        / volumes[:, :, 0, 0, 0] ** 2,
        rtol=1e-5,
    )


@settings(max_examples=8)
@given(st.integers(0, 10**6))
def test_round_trip(seed):
    crystals = sample_crystals(5, seed=seed)
    encoded = StructureFactors(max_index=8).encode(crystals)
    decoded = StructureFactors(max_index=8).decode(encoded)
    assert not decoded.failures
    errors = round_trip_errors(crystals[encoded.index], decoded.crystals, any_order=True)
    assert errors.max() < 1e-4


@pytest.mark.parametrize("parameters", [{"sigma": 0.4}, {"channels": ["Z"], "max_index": 12}])
def test_round_trip_of_other_parameters(parameters):
    representation = StructureFactors(**parameters)
    decoded = representation.decode(representation.encode(SALT))
    assert round_trip_errors(SALT, decoded.crystals, any_order=True)[0] < 1e-4


def test_noise_needs_a_tolerance():
    rng = np.random.default_rng(0)
    encoded = StructureFactors().encode(SALT)
    array = encoded["structure_factors"]
    noisy = {
        **encoded.arrays,
        "structure_factors": array + 0.1 * array.std() * rng.standard_normal(array.shape),
    }
    assert count_reasons(StructureFactors().decode(noisy).failures) == {"field not explained": 1}
    decoded = StructureFactors(tolerance=0.9).decode(noisy)
    assert round_trip_errors(SALT, decoded.crystals, any_order=True)[0] < 0.05


def broken(place, value):
    arrays = {name: array.copy() for name, array in StructureFactors().encode(SALT).arrays.items()}
    arrays["structure_factors"][place] = value
    return [failure.reason for failure in StructureFactors().decode(arrays).failures]


def test_strict_decoding_gives_the_reason():
    assert broken((0, 1, 10, 10, 0), 3.0) == ["field not explained"]  # F(000) is real
    assert broken((0, 0, 12, 10, 0), 9.0) == ["field not explained"]  # F(-h) is its conjugate
    assert broken((0, 0, 12, 10, 3), np.inf) == ["not finite"]
    assert broken((0, 0, 12, 10, 3), 1e20) == ["value out of range"]
    assert broken((0, slice(0, 2)), 0.0) == ["flat field"]


def test_random_factors_are_no_crystal():
    rng = np.random.default_rng(0)
    arrays = {
        "structure_factors": rng.normal(0, 20, (20, 6, 21, 21, 11)).astype(np.float32),
        "cell_parameters": np.tile([5, 6, 7, 90, 95, 100], (20, 1)),
    }
    assert len(StructureFactors(tolerance=0.5).decode(arrays).failures) == 20


def test_crystals_that_cannot_be_resolved_are_refused():
    pair = Crystals.single(np.diag([4, 4, 30.0]), [[0, 0, 0], [0, 0, 0.04]], [1, 8])
    crystals = Crystals.concatenate([pair, Crystals.single(np.diag([3, 3, -3]), [[0, 0, 0]], [3])])
    encoded = StructureFactors().encode(crystals)
    assert [failure.reason for failure in encoded.failures] == [
        "sites too close",
        "left-handed lattice",
    ]
    assert not StructureFactors(max_index=24).encode(pair).failures


@pytest.mark.parametrize("parameters", [{"max_index": 2}, {"sigma": -1.0}, {"channels": ("one",)}])
def test_odd_parameters_are_refused(parameters):
    with pytest.raises(RepresentationError, match=next(iter(parameters))):
        StructureFactors(**parameters)
