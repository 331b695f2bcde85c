"""Pictures against pictures: counts, features and spectra with known answers, and junk."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import sqrtm
from scipy.stats import ks_2samp

from crystalcodec.evaluation.base import EvaluationError
from crystalcodec.evaluation.pictures import (
    SMALLEST_POWER,
    PictureRows,
    PictureSet,
    copy_figures,
    frechet_distance,
    frechet_distance_of_moments,
    kolmogorov_smirnov,
    log_spectra,
    measure_pictures,
    pixel_numbers,
    power_spectra,
    principal_features,
    spectrum_frequencies,
)

pytest.importorskip("skimage")
ROWS, COLUMNS = np.mgrid[:32, :32]
# Middles of atoms that stand apart and away from the rim.
PLACES = [(6, 6), (6, 16), (6, 26), (16, 6), (16, 16), (16, 26), (26, 6), (26, 16), (26, 26)]


def atoms(n):
    """A picture of n atoms."""
    picture = np.zeros((32, 32))
    for y, x in PLACES[:n]:
        picture += np.exp(-((ROWS - y) ** 2 + (COLUMNS - x) ** 2) / (2 * 1.5**2))
    return picture


def pictures(counts):
    return np.array([atoms(n) for n in counts]).reshape(-1, 32, 32)


def by_name(figures):
    return {figure.name: figure for figure in figures}


def corner_features(values):
    """Three numbers of a picture."""
    return np.stack([values.mean((1, 2, 3)), values.std((1, 2, 3)), values[:, 6, 6, 0]], axis=1)


# Fréchet distance


def test_one_feature_by_hand():
    # Means 1 and 5, variances 2 and 8: 16 + (sqrt 2 - sqrt 8)^2 = 18.
    assert frechet_distance([[0.0], [2.0]], [[3.0], [7.0]]) == pytest.approx(18)


def test_diagonal_covariances_have_a_closed_form():
    random = np.random.default_rng(0)
    means = random.normal(size=(2, 6))
    deviations = random.uniform(0.1, 3, size=(2, 6))
    found = frechet_distance_of_moments(
        (means[0], np.diag(deviations[0] ** 2)), (means[1], np.diag(deviations[1] ** 2))
    )
    closed = ((means[0] - means[1]) ** 2).sum() + ((deviations[0] - deviations[1]) ** 2).sum()
    assert found == pytest.approx(closed, rel=1e-12)


@pytest.mark.parametrize("d", [1, 5, 64])
def test_scipys_matrix_root_gives_the_same(d):
    random = np.random.default_rng(d)
    one = random.normal(size=(300, d)) @ random.normal(size=(d, d)) + 1
    other = random.normal(size=(200, d))
    a, b = (np.atleast_2d(np.cov(rows.T)) for rows in (one, other))
    shift = ((one.mean(0) - other.mean(0)) ** 2).sum()
    peer = shift + np.trace(a) + np.trace(b) - 2 * np.trace(sqrtm(a @ b)).real
    assert frechet_distance(one, other) == pytest.approx(peer, rel=1e-9)
    assert frechet_distance(other, one) == pytest.approx(peer, rel=1e-9)


def test_singular_covariances_and_equal_sets():
    random = np.random.default_rng(1)
    few = random.normal(size=(5, 20))
    assert frechet_distance(few, few) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(few, few) >= 0
    assert frechet_distance(few, few + 2) == pytest.approx(4 * 20, rel=1e-6)
    # Orthogonal lines: nothing in common, so that the traces add up.
    one, other = np.zeros((2, 2)), np.zeros((2, 2))
    one[1, 0], other[1, 1] = 2, 4
    assert frechet_distance(one, other) == pytest.approx(2 + 8 + 1 + 4)


def test_it_turns_with_the_features():
    random = np.random.default_rng(2)
    one, other = random.normal(size=(50, 4)), random.normal(size=(60, 4)) * 2
    turn = np.linalg.qr(random.normal(size=(4, 4)))[0]
    plain = frechet_distance(one, other)
    assert frechet_distance(one @ turn + 7, other @ turn + 7) == pytest.approx(plain)
    assert frechet_distance(3 * one, 3 * other) == pytest.approx(9 * plain)


def test_few_pictures_make_it_large():
    """The bias: of samples of one distribution it falls with their number, and is never below 0."""
    random = np.random.default_rng(3)
    found = {
        n: np.mean(
            [
                frechet_distance(random.normal(size=(n, 8)), random.normal(size=(n, 8)))
                for _ in range(20)
            ]
        )
        for n in (20, 80, 320)
    }
    assert found[20] > 2 * found[80] > 4 * found[320] > 0


def test_principal_features():
    random = np.random.default_rng(4)
    reference = random.normal(size=(40, 6)) * [9, 5, 3, 0.01, 0.01, 0.01]
    other = reference + np.array([0, 0, 4, 0, 0, 0])
    a, b = principal_features(reference, other, n=3)
    assert a.shape == b.shape == (40, 3)
    assert np.abs(a.mean(axis=0)).max() < 1e-9
    np.testing.assert_allclose(np.diff(a.var(axis=0)) < 0, True)
    whole = frechet_distance(reference, other)
    assert frechet_distance(a, b) == pytest.approx(whole, rel=1e-3)
    assert frechet_distance(a[:, :2], b[:, :2]) < whole


def test_features_that_are_none():
    with pytest.raises(EvaluationError, match="3 and 2 features"):
        frechet_distance(np.zeros((4, 3)), np.zeros((4, 2)))
    with pytest.raises(EvaluationError, match="not finite"):
        frechet_distance([[0.0], [np.nan]], [[0.0], [1.0]])
    with pytest.raises(EvaluationError, match="one row a picture"):
        frechet_distance([1.0, 2.0], [[0.0], [1.0]])
    with pytest.raises(EvaluationError, match="principal axes"):
        principal_features(np.zeros((0, 3)), n=2)
    assert np.isnan(frechet_distance([[0.0]], [[0.0], [1.0]]))


# Power spectra


@pytest.mark.parametrize(("height", "width"), [(32, 32), (31, 31), (24, 40), (40, 25)])
def test_spectra_by_the_plain_transform(height, width):
    """Each ring as the mean of numpy's whole transform, without halves and sparse sums."""
    picture = np.random.default_rng(0).random((height, width))
    power = np.abs(np.fft.fft2(picture - picture.mean())) ** 2 / picture.size
    side = min(height, width)
    distances = side * np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
    rings = np.rint(distances)
    wanted = [power[rings == k].mean() for k in range(1, side // 2 + 1)]
    found = power_spectra(picture[None], window=False)
    assert found.shape == (1, 1, side // 2)
    np.testing.assert_allclose(found[0, 0], wanted, rtol=1e-10)
    np.testing.assert_allclose(spectrum_frequencies(height, width) * side, np.arange(side // 2) + 1)


def test_a_wave_has_its_ring():
    wave = 0.5 + 0.5 * np.cos(2 * np.pi * 5 * COLUMNS / 32)
    found = power_spectra(wave[None], window=False)[0, 0]
    # A quarter of the amplitude squared at both signs, times 1,024 pixels; 28 pixels in the ring.
    assert found[4] == pytest.approx(2 * 0.25**2 * 1024 / 28)
    assert np.delete(found, 4).max() < 1e-20
    # A half turn of the picture, or a quarter, is the same power.
    for turned in (wave.T, wave[::-1, ::-1]):
        np.testing.assert_allclose(
            power_spectra(turned[None], window=False)[0, 0], found, atol=1e-20
        )


def test_noise_has_its_variance_at_every_frequency():
    noise = np.random.default_rng(1).normal(scale=0.3, size=(400, 32, 32, 2))
    for window in (False, True):
        found = power_spectra(noise, window=window).mean(axis=0)
        np.testing.assert_allclose(found[:, 1:], 0.09, rtol=0.06)


def test_the_window_takes_the_rims_away():
    ramp = (COLUMNS / 31)[None]
    fine = slice(8, None)
    jump, faded = (power_spectra(ramp, window=window)[0, 0, fine].sum() for window in (0, 1))
    assert faded < jump / 1000


def test_logarithms_end_at_the_rounding():
    blank = np.zeros((2, 16, 16))
    np.testing.assert_allclose(log_spectra(blank), np.log10(SMALLEST_POWER))
    values = np.random.default_rng(3).random(100_000)
    rounding = values - np.round(values * 255) / 255
    assert rounding.var() == pytest.approx(SMALLEST_POWER, rel=0.02)
    eight = (np.random.default_rng(2).random((200, 16, 16)) * 255).round().astype(np.uint8)
    whole = power_spectra(eight)
    np.testing.assert_allclose(whole, power_spectra(eight / 255), rtol=1e-12)


# Numbers of atoms


def test_counts_by_scipy_and_by_hand():
    assert kolmogorov_smirnov([1, 1, 2, 2], [2, 2, 3, 3])["statistic"] == 0.5
    random = np.random.default_rng(5)
    one, other = random.integers(0, 30, 80), random.integers(3, 40, 70)
    found = kolmogorov_smirnov(one, other)
    peer = ks_2samp(one, other)
    assert (found["statistic"], found["p_value"]) == (peer.statistic, peer.pvalue)
    assert np.isnan(kolmogorov_smirnov([], [1])["statistic"])


def test_figure_of_counts():
    real = pictures([1, 2, 3, 4, 5, 6, 7, 8])
    made = pictures([1, 2, 3, 4, 1, 2, 3, 4])
    figure = by_name(measure_pictures(made, real))["atom_count_ks"]
    assert figure.of_each.tolist() == [1, 2, 3, 4, 1, 2, 3, 4]
    assert figure.value == 0.5
    # Resampled values are those of the test on the resampled counts.
    positions = np.array([0, 0, 3, 5, 5, 5, 7, 7])
    peer = ks_2samp(figure.of_each[positions], np.arange(1, 9))
    assert figure.estimate(positions) == pytest.approx(peer.statistic)
    assert figure.extra["mean_count"] == 2.5
    assert figure.extra["p_value"] == ks_2samp(figure.of_each, np.arange(1, 9)).pvalue


# All together


@pytest.fixture(scope="module")
def sets():
    random = np.random.default_rng(6)
    return pictures(random.integers(1, 10, 60)), pictures(random.integers(1, 10, 40))


def test_the_same_pictures_are_at_no_distance(sets):
    real = sets[0]
    for name, figure in by_name(measure_pictures(real, real, features=corner_features)).items():
        if not name.endswith("_floor"):
            assert figure.value == pytest.approx(0, abs=1e-9), name


def test_what_is_wrong_shows_in_its_figure(sets):
    real, made = sets
    plain = by_name(measure_pictures(made, real, features=corner_features))
    noise = made + np.random.default_rng(7).normal(scale=0.03, size=made.shape)
    noisy = by_name(measure_pictures(noise, real, features=corner_features))
    empty = by_name(measure_pictures(made * 0, real, features=corner_features))
    name = "power_spectrum_distance"
    assert noisy[name].value > 5 * plain[name].value
    assert empty["atom_count_ks"].value == 1
    assert empty["atom_count_ks"].extra["p_value"] < 1e-9
    assert empty["frechet_distance"].value > 20 * plain["frechet_distance"].value
    # Halves of the reference are as far apart as other pictures of the kind, more or less.
    for key in ("atom_count_ks", "frechet_distance", name):
        assert 0 < plain[f"{key}_floor"].value < 5 * plain[key].value + 0.1


def test_spectra_are_there_to_plot(sets):
    real, made = sets
    figure = by_name(measure_pictures(made, real))["power_spectrum_distance"]
    assert figure.extra["frequencies"] == spectrum_frequencies(32, 32).tolist()
    means = [np.array(figure.extra[key]) for key in ("mean_log_power", "mean_reference_log_power")]
    np.testing.assert_allclose(means[0][0], log_spectra(made).mean(axis=0))
    # The value is that of the two curves.
    assert figure.value == pytest.approx(np.sqrt(((means[0] - means[1]) ** 2).mean()))


def test_channels(sets):
    real, made = (np.stack([some, some**2], axis=-1) for some in sets)
    figures = by_name(measure_pictures(made, real))
    assert "atom_count_ks" not in figures
    assert len(figures["power_spectrum_distance"].extra["mean_log_power"]) == 2
    counted = by_name(measure_pictures(made, real, count=lambda p: p[..., 0].sum((1, 2)).round()))
    assert counted["atom_count_ks"].n == len(made)


def test_pictures_that_are_none_are_left_out_and_counted(sets):
    real, made = sets
    broken = made.copy()
    broken[3, 2, 2], broken[7, 0, 0] = np.nan, np.inf
    figures = by_name(measure_pictures(broken, real, features=corner_features))
    kept = by_name(
        measure_pictures(np.delete(made, [3, 7], axis=0), real, features=corner_features)
    )
    for name, figure in figures.items():
        assert figure.value == pytest.approx(kept[name].value), name
        if not name.endswith("_floor"):
            assert figure.n == len(made)
            assert figure.failures == {"no picture": 2}
            low, high = figure.interval(n_resamples=20)
            assert np.isfinite([low, high]).all()


@pytest.mark.parametrize(("n", "r"), [(0, 4), (1, 1), (4, 0), (0, 0), (2, 1)])
def test_next_to_nothing(n, r):
    figures = measure_pictures(pictures([2] * n), pictures([3] * r), features=corner_features)
    for figure in figures:
        assert np.isnan(figure.value) or figure.value >= 0
        figure.interval(n_resamples=5)


def test_all_broken(sets):
    for figure in measure_pictures(sets[1] * np.nan, sets[0], features=corner_features):
        if not figure.name.endswith("_floor"):
            assert np.isnan(figure.value)
            assert figure.failures == {"no picture": 40}


def test_pictures_are_read_as_they_are():
    grey = np.array([[[0, 51], [255, 102]]], np.uint8).repeat(5, 1).repeat(5, 2)
    told = PictureSet.of(grey)
    assert told.values.shape == (1, 10, 10, 1)
    assert told.values[0, 0, 9, 0] == 0.2
    assert PictureSet.of(np.full((2, 8, 8), 2.5)).values.max() == 2.5


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((8, 8)), "pictures of shape"),
        (np.zeros((2, 7, 8)), "at least 8 pixels"),
        (np.zeros((2, 8, 8, 0)), "pictures of shape"),
        (np.zeros((2, 8, 8), int), "wanted real numbers"),
        (np.zeros((2, 8, 8), complex), "wanted real numbers"),
    ],
)
def test_arrays_that_are_no_pictures(array, message):
    with pytest.raises(EvaluationError, match=message):
        PictureSet.of(array)


def test_misuse_is_told(sets):
    real, made = sets
    with pytest.raises(EvaluationError, match="wanted one size"):
        measure_pictures(made[:, :16], real)
    with pytest.raises(EvaluationError, match="one row of finite numbers each"):
        measure_pictures(made, real, features=lambda p: p.mean((1, 2, 3)))
    with pytest.raises(EvaluationError, match="wanted one each"):
        measure_pictures(made, real, count=lambda p: [1, 2])


def test_exact_counting_that_fails_is_no_warning():
    found = kolmogorov_smirnov([4, 5, 6] * 4, [1, 2, 3, 4, 5, 6] * 4)
    assert found["statistic"] == pytest.approx(0.5)
    assert 0 < found["p_value"] < 1


# Copies


def test_copies_are_pictures_with_the_same_pixels():
    stack = np.random.default_rng(0).integers(0, 256, (6, 32, 32)).astype(np.uint8)
    numbers = pixel_numbers(stack)
    assert len({*numbers}) == 6
    np.testing.assert_array_equal(pixel_numbers(stack / 255), numbers)
    np.testing.assert_array_equal(pixel_numbers(stack[..., None] / 255 + 0.001), numbers)
    changed = stack.astype(float) / 255
    changed[0, 3, 3] += 0.01 if changed[0, 3, 3] < 0.5 else -0.01
    changed[1, 0, 0] = np.nan
    told = pixel_numbers(changed)
    assert told[0] != numbers[0]
    assert np.isnan(told[1])
    rows = [PictureRows(told, {"no picture": 1}), PictureRows(numbers)]
    share, floor = copy_figures(*rows)
    assert share.value == pytest.approx(4 / 6)
    assert share.n == 6
    assert dict(share.failures) == {"no picture": 1}
    assert floor.value == 0
    _, doubled = copy_figures(rows[0], PictureRows(np.zeros(8)))
    assert doubled.value == 1


def test_rows_in_halves():
    rows = PictureRows(np.array([[0.0, 1], [np.nan, 2], [3, 4], [5, 6]]), {"no picture": 1})
    np.testing.assert_array_equal(rows.known, [[0, 1], [3, 4], [5, 6]])
    one, other = rows.halves(0)
    assert sorted([*one.values[:, 0], *other.values[:, 0]]) == [0, 3, 5]
    np.testing.assert_array_equal(rows.halves(0)[1].values, other.values)
