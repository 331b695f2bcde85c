"""Powder patterns against Bragg's law, extinction rules, pymatgen, and sums written out."""

from __future__ import annotations

import numpy as np
import pytest
from pymatgen.analysis.diffraction.xrd import WAVELENGTHS as OTHERS
from pymatgen.analysis.diffraction.xrd import XRDCalculator

from crystalcodec.crystals import Crystals
from crystalcodec.geometry import lattices_from_cell_parameters
from crystalcodec.io import to_pymatgen
from crystalcodec.representations.base import RepresentationError
from crystalcodec.representations.powder_pattern import PowderPattern, profiles, reflections
from crystalcodec.representations.powder_pattern.form_factors import (
    form_factor_table,
    form_factors,
)
from crystalcodec.representations.powder_pattern.representation import WAVELENGTHS
from crystalcodec.testing import CHECKS, sample_crystals

FCC = np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
SALT = Crystals.single(5.64 * FCC, [[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17])
SILICON = Crystals.single(5.43 * FCC, [[0, 0, 0], [0.25, 0.25, 0.25]], [14, 14])
CAESIUM = Crystals.single(4.12 * np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]], [55, 17])
PEROVSKITE = Crystals.single(
    3.905 * np.eye(3),
    [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]],
    [38, 22, 8, 8, 8],
)
WURTZITE = Crystals.single(
    lattices_from_cell_parameters([[3.25, 3.25, 5.2, 90, 90, 120]])[0],
    [[1 / 3, 2 / 3, 0], [2 / 3, 1 / 3, 0.5], [1 / 3, 2 / 3, 0.38], [2 / 3, 1 / 3, 0.88]],
    [30, 30, 8, 8],
)
RUTILE = Crystals.single(
    np.diag([4.59, 4.59, 2.96]),
    [
        *([0, 0, 0], [0.5, 0.5, 0.5]),
        *([0.305, 0.305, 0], [0.695, 0.695, 0], [0.805, 0.195, 0.5], [0.195, 0.805, 0.5]),
    ],
    [22, 22, 8, 8, 8, 8],
)
KNOWN = Crystals.concatenate([SALT, SILICON, CAESIUM, PEROVSKITE, WURTZITE, RUTILE])


def bragg(d: float, wavelength: float = 1.54184) -> float:
    return float(np.degrees(2 * np.arcsin(wavelength / (2 * d))))


def test_rock_salt_has_the_peaks_of_a_face_centred_lattice():
    peaks = PowderPattern(high=60.0).peaks(SALT)
    squares = np.array([3, 4, 8, 11, 12])  # h² + k² + l², all odd or all even
    np.testing.assert_allclose(peaks.positions, [bragg(5.64 / n**0.5) for n in squares])
    assert peaks.multiplicities.tolist() == [8, 6, 12, 24, 8]
    # All odd: the difference of the two form factors; all even: the sum.
    s_squared = squares / 5.64**2 / 4
    sodium, chlorine = (form_factors(np.full(5, z), s_squared) for z in (11, 17))
    factor = np.where(squares % 2, sodium - chlorine, sodium + chlorine)
    theta = np.radians(peaks.positions / 2)
    lorentz = (1 + np.cos(2 * theta) ** 2) / (np.sin(theta) ** 2 * np.cos(theta))
    expected = factor**2 * lorentz * peaks.multiplicities
    np.testing.assert_allclose(peaks.intensities, 100 * expected / expected.max(), rtol=1e-9)


def test_silicon_has_the_extinctions_of_diamond():
    hkl = np.abs(PowderPattern().peaks(SILICON.supercell([[-1, 1, 1], [1, -1, 1], [1, 1, -1]])).hkl)
    found = [tuple(sorted(one, reverse=True)) for one in hkl.tolist()]
    assert found == [(1, 1, 1), (2, 2, 0), (3, 1, 1), (4, 0, 0), (3, 3, 1), (4, 2, 2)]


def test_peaks_are_those_of_pymatgen():
    crystals = Crystals.concatenate([KNOWN, sample_crystals(18, max_sites=10)])
    peaks = PowderPattern(low=0.0, high=90.0).peaks(crystals)
    for i, structure in enumerate(to_pymatgen(crystals)):
        other = XRDCalculator().get_pattern(structure)
        ours = slice(*peaks.offsets[i : i + 2])
        np.testing.assert_allclose(peaks.positions[ours], other.x, atol=1e-6, err_msg=str(i))
        np.testing.assert_allclose(peaks.intensities[ours], other.y, atol=1e-6, err_msg=str(i))


def test_peaks_of_a_mode_that_pymatgen_has_not():
    peaks = PowderPattern(axis="q", low=0.5, high=5.0, lorentz_polarisation=False).peaks(CAESIUM)
    squares = np.array([1, 2, 3, 4, 5, 6, 8, 9, 10])
    np.testing.assert_allclose(peaks.positions, 2 * np.pi * np.sqrt(squares) / 4.12)
    # 300 and 221 stand at the same place.
    assert peaks.multiplicities.tolist() == [6, 12, 8, 6, 24, 24, 12, 30, 24]
    s_squared = squares / 4.12**2 / 4
    caesium, chlorine = (form_factors(np.full(9, z), s_squared) for z in (55, 17))
    expected = (caesium + np.where(squares % 2, -1, 1) * chlorine) ** 2 * peaks.multiplicities
    np.testing.assert_allclose(peaks.intensities, 100 * expected / expected.max(), rtol=1e-9)


@pytest.mark.parametrize("mixing", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("axis", [("two_theta", 20.0, 80.0, 0.3), ("q", 1.0, 5.0, 0.02)])
def test_a_pattern_is_the_sum_of_its_peaks(mixing, axis):
    name, low, high, fwhm = axis
    given = {"axis": name, "n_points": 601, "fwhm": fwhm, "mixing": mixing}
    pattern = PowderPattern(low=low, high=high, normalise="sum", **given)
    # A profile from outside reaches in as far as the docstring says.
    margin = fwhm * (20 if mixing else 5 / np.sqrt(8 * np.log(2)))
    wide = PowderPattern(low=max(0, low - margin), high=high + margin, **given)
    peaks = wide.peaks(RUTILE)
    away = pattern.points[:, None] - peaks.positions
    sigma = fwhm / np.sqrt(8 * np.log(2))
    gauss = np.exp(-0.5 * (away / sigma) ** 2) / (sigma * np.sqrt(2 * np.pi))
    lorentz = fwhm / 2 / np.pi / (away**2 + (fwhm / 2) ** 2)
    expected = ((1 - mixing) * gauss + mixing * lorentz) @ peaks.intensities
    found = pattern.encode(RUTILE)["powder_pattern"][0]
    np.testing.assert_allclose(found, expected / expected.sum(), atol=2e-5 * found.max())


def test_the_highest_point_is_100_and_a_sum_is_1():
    highest = PowderPattern().encode(KNOWN)["powder_pattern"]
    np.testing.assert_allclose(highest.max(axis=1), 100)
    whole = PowderPattern(normalise="sum").encode(KNOWN)["powder_pattern"]
    np.testing.assert_allclose(whole.sum(axis=1), 1, rtol=1e-5)


def test_a_crystal_without_a_peak_in_reach_holds_zeros():
    pattern = PowderPattern(low=1.0, high=10.0)
    assert not pattern.encode(SALT)["powder_pattern"].any()
    assert not len(pattern.peaks(SALT).positions)


def test_extinct_reflections_alone_are_no_pattern():
    pattern = PowderPattern(high=40.0, n_points=301)
    primitive = Crystals.single(3.61 * FCC, [[0, 0, 0]], [29])
    cubic = Crystals.single(
        3.61 * np.eye(3), [[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]], [29] * 4
    )
    shifted = Crystals.single(
        3.61 * np.eye(3), cubic.frac_coords + np.array([0.1, 0.7, 0.3]), [29] * 4
    )
    for crystals in (primitive, cubic, shifted):
        assert not pattern.encode(crystals)["powder_pattern"].any()
        assert not len(pattern.peaks(crystals).positions)
    # The first allowed one, (111), is still there.
    reach = PowderPattern(high=50.0)
    for crystals in (primitive, cubic, shifted):
        assert reach.peaks(crystals).positions.round(1).tolist() == [43.4]


def test_a_cell_of_too_many_reflections_is_refused_before_it_starts():
    huge = Crystals.single(300 * np.eye(3), [[0, 0, 0]], [29])
    encoded = PowderPattern().encode(Crystals.concatenate([SALT, huge]))
    assert encoded.index.tolist() == [0]
    assert [failure.reason for failure in encoded.failures] == ["too many terms"]
    assert "4.4e+07 reflections of 1 sites" in encoded.failures[0].detail


def test_blocks_do_not_change_a_pattern(monkeypatch):
    crystals = Crystals.concatenate([KNOWN, sample_crystals(12)])
    before = PowderPattern().encode(crystals)["powder_pattern"]
    monkeypatch.setattr(reflections, "_TERMS_AT_ONCE", 64)
    monkeypatch.setattr(profiles, "_ENTRIES_AT_ONCE", 999)
    monkeypatch.setattr(
        "crystalcodec.representations.powder_pattern.representation._REFLECTIONS_AT_ONCE", 500
    )
    assert np.array_equal(PowderPattern().encode(crystals)["powder_pattern"], before)


def test_elements_without_form_factors_are_refused():
    heavy = Crystals.single(5 * np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]], [11, 99])
    encoded = PowderPattern().encode(Crystals.concatenate([SALT, heavy, SILICON]))
    assert encoded.index.tolist() == [0, 2]
    assert [(f.index, f.reason) for f in encoded.failures] == [(1, "no form factor")]
    assert "Es" in encoded.failures[0].detail
    with pytest.raises(RepresentationError, match="no form factor"):
        PowderPattern().peaks(heavy)


def test_form_factors_start_at_the_atomic_number_and_fall():
    numbers = np.arange(1, 99)
    assert np.isfinite(form_factor_table()[1:99]).all()
    assert np.isnan(form_factor_table()[99:]).all()
    np.testing.assert_array_equal(form_factors(numbers, np.zeros(98)), numbers)
    at = np.array([form_factors(numbers, np.full(98, s**2)) for s in (0.1, 0.3, 0.6)])
    assert (np.diff(at, axis=0) < 0).all()


def test_wavelengths_are_the_field_s():
    assert all(OTHERS[name] == value for name, value in WAVELENGTHS.items())
    by_name, by_number = (
        PowderPattern(wavelength=w, high=60.0).encode(SALT)["powder_pattern"]
        for w in ("MoKa", 0.71073)
    )
    assert np.array_equal(by_name, by_number)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"wavelength": "CuKz"}, "one of CuKa"),
        ({"wavelength": -1.0}, "positive number of Å"),
        ({"high": 175.0}, "high <= 170"),
        ({"low": 90.0}, "low < high"),
        ({"axis": "q"}, "high <= 8.119"),
        ({"axis": "d"}, "two_theta or q"),
        ({"n_points": 1}, "at least 2"),
        ({"fwhm": 0.0}, "positive"),
        ({"mixing": 1.5}, "0 to 1"),
        ({"normalise": "area"}, "max or sum"),
    ],
)
def test_wrong_parameters_are_told(parameters, message):
    with pytest.raises(RepresentationError, match=message):
        PowderPattern(**parameters)


@pytest.mark.parametrize("check", CHECKS)
def test_other_parameters_conform(check):
    pattern = PowderPattern(
        axis="q", low=0.5, high=6.0, n_points=300, fwhm=0.05, mixing=0.5, normalise="sum"
    )
    CHECKS[check](pattern, sample_crystals())


def test_features_are_named_by_their_place():
    names = PowderPattern().feature_names()
    assert (names[0], names[217], names[-1]) == (
        "two_theta 10.00",
        "two_theta 31.70",
        "two_theta 90.00",
    )
    fine = PowderPattern(low=30.0, high=30.01, n_points=1001)
    assert len(set(fine.feature_names())) == 1001
