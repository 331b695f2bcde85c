"""Periodic fields that no atoms explain, read leniently: peaks, and elements by ratios."""

from __future__ import annotations

import numpy as np
import pytest

from crystalcodec.crystals import Crystals
from crystalcodec.failures import count_reasons
from crystalcodec.geometry import lattices_from_cell_parameters
from crystalcodec.representations.base import RepresentationError
from crystalcodec.representations.density_cell import DensityCell
from crystalcodec.representations.structure_factors import StructureFactors

SKEWED = Crystals.single(
    lattices_from_cell_parameters([4.1, 5.2, 6.3, 70, 98, 115])[0],
    [[0.1, 0.2, 0.3], [0.6, 0.55, 0.9], [0.95, 0.7, 0.4]],
    [8, 92, 1],
)
CUBE = Crystals.single(6 * np.eye(3), [[0.1, 0.1, 0.1], [0.6, 0.55, 0.6]], [26, 16])
# As far as can be from the atoms of the cube.
BETWEEN = [[0.1, 0.1, 0.6], [0.1, 0.6, 0.1], [0.6, 0.1, 0.1], [0.6, 0.1, 0.6], [0.1, 0.6, 0.6]]
KINDS = {
    "density": (DensityCell, {}),
    "coarse": (DensityCell, {"size": 16, "sigma": 0.5}),
    "factors": (StructureFactors, {}),
}


@pytest.fixture(params=KINDS)
def kind(request):
    """A class, and parameters beside those of decoding."""
    return request.param


def made(kind, **decoding):
    cls, parameters = KINDS[kind]
    return cls(**parameters, **decoding)


def field_of(representation):
    return representation.fields[0].array


def whole_over_spread(arrays):
    """Of the worst channel, the root of the mean square over the standard deviation."""
    if "density" in arrays:
        field = arrays["density"][0].astype(float)
        squares = np.square(field).mean(axis=(1, 2, 3))
        return np.sqrt(squares / field.var(axis=(1, 2, 3))).max()
    parts = np.square(arrays["structure_factors"][0].astype(float))
    squares = parts[0::2] + parts[1::2]
    squares[..., 1:] *= 2  # the conjugates
    m = squares.shape[-1] - 1
    whole = squares.sum(axis=(1, 2, 3))
    return np.sqrt(whole / (whole - squares[:, m, m, 0])).max()


def assert_same(found, crystal, within=1e-3):
    order = np.argsort(crystal.numbers, kind="stable")
    assert found.numbers.tolist() == crystal.numbers[order].tolist()
    away = found.frac_coords - crystal.frac_coords[order]
    apart = (away - np.rint(away)) @ crystal.lattices[0]
    assert np.linalg.norm(apart, axis=1).max() < within  # Å


@pytest.mark.parametrize("crystal", [SKEWED, CUBE], ids=["skewed", "cube"])
def test_an_exact_field_gives_its_crystal(kind, crystal):
    representation = made(kind, lenient=True)
    decoded = representation.decode(representation.encode(crystal))
    assert_same(decoded.crystals, crystal)
    assert decoded.confidence[0] > 0.999


@pytest.mark.parametrize("height", [0.5, 0.7, 1.5])
def test_elements_are_told_by_ratios(kind, height):
    """Peaks of another height have the same atoms; confidence is exact, so much is left."""
    representation = made(kind, lenient=True)
    arrays = dict(representation.encode(CUBE).arrays)
    arrays[field_of(representation)] = arrays[field_of(representation)] * np.float32(height)
    decoded = representation.decode(arrays)
    assert_same(decoded.crystals, CUBE)
    left = abs(1 - height) / height * whole_over_spread(arrays)
    assert decoded.confidence[0] == pytest.approx(max(0.0, 1 - left), abs=1e-3)
    strict = made(kind, tolerance=0.2).decode(arrays)
    assert not len(strict.crystals)


def test_lower_peaks_are_no_atoms(kind):
    """Bumps of 0.3 of an atom between the atoms: too much for decoding that explains a field."""
    representation = made(kind, lenient=True)
    bumps = Crystals.single(6 * np.eye(3), BETWEEN, [14] * 5)
    name = field_of(representation)
    arrays = dict(representation.encode(CUBE).arrays)
    arrays[name] = arrays[name] + np.float32(0.3) * representation.encode(bumps)[name]
    decoded = representation.decode(arrays)
    assert_same(decoded.crystals, CUBE, within=0.02)
    assert 0 < decoded.confidence[0] < 0.9
    (failure,) = made(kind, tolerance=0.2).decode(arrays).failures
    assert failure.reason == "field not explained"
    more = made(kind, lenient=True, threshold=0.2).decode(arrays).crystals
    assert more.n_sites.tolist() == [7]
    none = made(kind, lenient=True, threshold=0.99)
    arrays[name] = arrays[name] * np.float32(0.5)
    assert count_reasons(none.decode(arrays).failures) == {"no atom": 1}


def test_of_two_near_peaks_the_higher_one_stays():
    """Peaks narrower than atoms are, nearer than two atoms can be told apart."""
    near = Crystals.single(6 * np.eye(3), [[0.46, 0.5, 0.5], [0.54, 0.5, 0.5]], [26, 26])
    one = Crystals.single(6 * np.eye(3), [[0.46, 0.5, 0.5]], [26])
    narrow, wide = DensityCell(sigma=0.12), DensityCell(sigma=0.3, lenient=True)
    assert [failure.reason for failure in wide.refuse(near)] == ["sites too close"]
    arrays = dict(narrow.encode(near).arrays)
    arrays["density"] = arrays["density"] + 0.5 * narrow.encode(one)["density"]
    found = wide.decode(arrays).crystals
    assert found.numbers.tolist() == [26]
    assert 0.4 < found.frac_coords[0, 0] < 0.5


def test_peaks_are_those_of_the_channel_one(kind):
    """Uranium of 0.3 of an atom is no atom, however high it is in another channel."""
    representation = made(kind, lenient=True, channels=("Z", "one"))
    uranium = Crystals.single(6 * np.eye(3), [[0.1, 0.2, 0.3]], [92])
    arrays = dict(representation.encode(uranium).arrays)
    assert_same(representation.decode(arrays).crystals, uranium)
    name = field_of(representation)
    arrays[name] = arrays[name] * np.float32(0.3)
    assert count_reasons(representation.decode(arrays).failures) == {"no atom": 1}


def test_channels_count_by_their_spread(kind):
    """Of period 2.4 and column 20: boron (2, 27) is nearer in parts of each than chromium."""
    representation = made(kind, lenient=True)
    chromium = Crystals.single(4 * np.eye(3), [[0.1, 0.2, 0.3]], [24])
    array = representation.encode(chromium)[field_of(representation)].copy()
    each = array.shape[1] // 3
    array[:, each : 2 * each] *= 0.6
    cells = representation.encode(chromium)["cell_parameters"]
    decoded = representation.decode({field_of(representation): array, "cell_parameters": cells})
    assert decoded.crystals.numbers.tolist() == [5]


def test_confidence_counts_waves_that_no_atom_has():
    """Up and down from point to point, half a standard deviation: a wave that is not encoded."""
    representation = DensityCell(lenient=True)
    arrays = dict(representation.encode(CUBE).arrays)
    wave = np.where(np.arange(32) % 2, -1, 1)[:, None, None]
    spread = arrays["density"].std(axis=(2, 3, 4), keepdims=True)
    arrays["density"] = (arrays["density"] + 0.5 * spread * wave).astype(np.float32)
    decoded = representation.decode(arrays)
    assert_same(decoded.crystals, CUBE)
    assert decoded.confidence[0] == pytest.approx(1 - 0.5 / np.sqrt(1.25), abs=1e-3)


def test_what_is_no_field_fails(kind):
    representation = made(kind, lenient=True, max_sites=2)
    name = field_of(representation)
    encoded = made(kind).encode(Crystals.concatenate([CUBE] * 4))
    arrays = {key: np.array(array) for key, array in encoded.arrays.items()}
    arrays[name][0] = np.nan
    arrays[name][1] = made(kind).encode(SKEWED)[name][0]
    arrays[name][2] = 0.0
    arrays["cell_parameters"][3, :3] = -1
    decoded = representation.decode(arrays)
    assert not len(decoded.crystals)
    reasons = [failure.reason for failure in decoded.failures]
    assert reasons == ["not finite", "too many peaks", "flat field", "lattice closes no cell"]


def test_the_batch_does_not_matter(kind):
    representation = made(kind, lenient=True)
    encoded = representation.encode(Crystals.concatenate([SKEWED, CUBE, SKEWED]))
    rng = np.random.default_rng(0)
    arrays = {key: np.array(array) for key, array in encoded.arrays.items()}
    name = field_of(representation)
    arrays[name] += (0.1 * arrays[name].std() * rng.normal(size=arrays[name].shape)).astype("f4")
    together = representation.decode(arrays).crystals
    for i in range(3):
        alone = representation.decode({key: array[i : i + 1] for key, array in arrays.items()})
        assert alone.crystals == together[i]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"threshold": 0}, "threshold is 0, wanted between 0 and 1"),
        ({"threshold": 1.0}, "threshold is 1.0"),
        ({"threshold": float("nan")}, "threshold is nan"),
        ({"lenient": True, "channels": ("Z",)}, "wanted 'one' among them"),
    ],
)
def test_odd_parameters_are_refused(kind, parameters, message):
    with pytest.raises(RepresentationError, match=message):
        made(kind, **parameters)
