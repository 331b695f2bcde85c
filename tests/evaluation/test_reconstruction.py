"""Reconstruction: by hand, by pymatgen, under what must change nothing, and on junk."""

from __future__ import annotations

import numpy as np
import pytest
from pymatgen.analysis.structure_matcher import StructureMatcher

from crystalcodec import prototypes
from crystalcodec.crystals import Crystals
from crystalcodec.data.matching import CDVAE, Tolerances
from crystalcodec.evaluation.base import Attempts, EvaluationError, Evidence
from crystalcodec.evaluation.reconstruction import (
    MOST_SITES,
    OUTCOMES,
    best_of_samples,
    match_pairs,
    measure,
    measure_coverage,
    measure_pairs,
    published_validity,
    same_composition_pairs,
    site_differences,
    sites,
)
from crystalcodec.failures import Failure
from crystalcodec.io.foreign import to_pymatgen
from crystalcodec.registry import FAMILIES, load
from crystalcodec.representations.minimum_images import minimum_images, reduced_cells


def caesium_chloride(x=0.5, a=4.0, numbers=(55, 17)):
    return Crystals.single(a * np.eye(3), [[0, 0, 0], [x, 0.5, 0.5]], numbers)


def rock_salt(numbers=(55, 17), a=4.6):
    half = a / 2
    cell = [[0, half, half], [half, 0, half], [half, half, 0]]
    return Crystals.single(cell, [[0, 0, 0], [0.5, 0.5, 0.5]], numbers)


def noisy(crystals, length, seed=0):
    moves = np.random.default_rng(seed).normal(scale=length, size=crystals.frac_coords.shape)
    return Crystals(
        crystals.lattices,
        crystals.frac_coords + crystals.to_fractional(moves),
        crystals.numbers,
        crystals.offsets,
    )


def by_name(figures):
    return {figure.name: figure for figure in figures}


@pytest.fixture(scope="module")
def some() -> Crystals:
    crystals = prototypes().crystals
    return crystals[crystals.n_sites <= 12][::97]


# One atom of two moves by 0.4 Å: after the shift each is 0.2 Å off, in units of 32^(1/3) Å.
OFF = 0.2 / 32 ** (1 / 3)


def test_rms_by_hand():
    rms, outcomes = match_pairs(caesium_chloride(0.6), caesium_chloride())
    assert rms[0] == pytest.approx(OFF, rel=1e-9)
    assert OUTCOMES[outcomes[0]] == "matched"


def test_rms_is_pymatgens(some):
    got = noisy(some, 0.15)
    # All pairs of the first few, and each with its like.
    grid = np.stack(np.meshgrid(np.arange(6), np.arange(6)), -1).reshape(-1, 2)
    own = np.stack([np.arange(len(some))] * 2, axis=1)
    pairs = np.concatenate([grid, own])
    for tolerances in (CDVAE, Tolerances()):
        rms, outcomes = match_pairs(got, some, pairs, tolerances)
        matcher = StructureMatcher(tolerances.ltol, tolerances.stol, tolerances.angle_tol)
        left, right = to_pymatgen(got), to_pymatgen(some)
        peer = [matcher.get_rms_dist(left[i], right[j]) for i, j in pairs]
        assert [None if np.isnan(r) else r for r in rms] == [p if p is None else p[0] for p in peer]
        assert set(np.flatnonzero(outcomes == 0)) == {i for i, p in enumerate(peer) if p}
        assert 10 < np.count_nonzero(outcomes == 0) < len(pairs)


def test_a_match_does_not_depend_on_the_description(some):
    shifted = Crystals(some.lattices, some.frac_coords + 0.37, some.numbers, some.offsets)
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    turned = Crystals(some.lattices @ turn, some.frac_coords, some.numbers, some.offsets)
    for other in (shifted, turned, some[:5].supercell([2, 1, 1])):
        rms, outcomes = match_pairs(other, some[: len(other)])
        assert (outcomes == 0).all()
        assert (rms < 1e-4).all()


def test_processes_change_nothing(some):
    got = noisy(some, 0.2)
    pairs = np.stack([np.tile(np.arange(len(some)), 4)] * 2, axis=1)
    assert len(pairs) > 64  # several tasks
    calls = []
    alone = match_pairs(got, some, pairs, progress=lambda done, of: calls.append((done, of)))
    shared = match_pairs(got, some, pairs, jobs=2)
    for one, other in zip(alone, shared, strict=True):
        np.testing.assert_array_equal(one, other)
    assert len(calls) > 1
    assert calls[-1] == (len(pairs), len(pairs))


def test_pairs_of_one_composition():
    salt, other = caesium_chloride(), caesium_chloride(numbers=(55, 35))
    got = Crystals.concatenate([other, salt, salt.supercell([2, 1, 1])])
    wanted = Crystals.concatenate([salt, salt, other, rock_salt((3, 9))])
    pairs = sorted(map(tuple, same_composition_pairs(got, wanted).tolist()))
    assert pairs == [(0, 2), (1, 0), (1, 1), (2, 0), (2, 1)]


def test_junk_is_no_match_and_takes_no_memory():
    junk = Crystals.concatenate(
        [
            Crystals.single(np.diag([3, 3, 1e5]), [[0, 0, 0]], [5]),
            Crystals.single(np.diag([1e6, 1e3, 0.1]), [[0, 0, 0]], [5]),
            Crystals.single(100 * np.eye(3), [[0, 0, 0]], [5]),
            Crystals.single(np.diag([0.1, 900, 900]), [[0, 0, 0]], [5]),
            Crystals.single(3 * np.eye(3), [[0, 0, 0], [1e-9, 0, 0]], [5, 5]),
            Crystals.single([[3, 0, 0], [2.9999, 0.01, 0], [0, 0, 4]], [[0, 0, 0]], [5]),
            Crystals.single(2 * np.eye(3), [[0, 0, 0]], [118]),
        ]
    )
    boron = Crystals.single(2 * np.eye(3), [[0, 0, 0]], [5])
    wanted = boron[np.zeros(len(junk), int)]
    rms, outcomes = match_pairs(junk, wanted)
    # One atom in a cube is a cube of one atom, however large: volumes are scaled.
    assert outcomes[[0, 1, 2, 6]].tolist() == [3, 3, 0, 1]
    assert rms[2] == pytest.approx(0)
    assert np.isnan(rms[[0, 1, 3, 5, 6]]).all()
    _, own = match_pairs(junk, junk)
    assert own[[0, 1, 3]].tolist() == [3, 3, 3]
    assert np.isfinite(site_differences(junk, wanted)).all()


def test_collapsed_cells_are_told():
    """The reduction of a cell of 0.001 Å takes all memory."""
    tiny, small = (Crystals.single(edge * np.eye(3), [[0, 0, 0]], [5]) for edge in (1e-3, 0.1))
    rms, outcomes = match_pairs(
        Crystals.concatenate([tiny, small, small]), Crystals.concatenate([small, tiny, small])
    )
    told = "cell too small to be matched"
    assert [OUTCOMES[outcome] for outcome in outcomes] == [told, told, "matched"]
    assert np.isnan(rms).tolist() == [True, True, False]


def test_too_many_sites_are_told():
    line = Crystals.single(np.diag([3.0, 3.0, 3.0]), [[0, 0, 0]], [5]).supercell([9, 9, 9])
    _, outcomes = match_pairs(line, line)
    assert OUTCOMES[outcomes[0]] == "too many sites to be matched"
    assert line.n_sites[0] > MOST_SITES
    assert np.isnan(site_differences(line, line)).all()


def test_sites_by_hand():
    wanted = caesium_chloride()
    swapped = caesium_chloride(numbers=(17, 55))
    alloy = caesium_chloride(numbers=(55, 35))
    missing = Crystals.single(4 * np.eye(3), [[0.1, 0, 0]], [55])
    got = Crystals.concatenate([caesium_chloride(0.6), swapped, alloy, missing])
    found = site_differences(got, wanted[np.zeros(4, int)])
    np.testing.assert_allclose(
        found,
        # Swapped species are the same crystal, shifted by half a diagonal.
        [[0.2, 0.2, 1], [0, 0, 1], [0, 0, 0.5], [0, 0, 0.5]],
        atol=1e-12,
    )


def test_swapping_two_of_four_is_wrong_species():
    # Four different atoms in a row, so that no shift undoes it.
    cell, places = np.diag([3.0, 3.0, 16.0]), [[0, 0, z] for z in (0, 0.2, 0.45, 0.7)]
    wanted = Crystals.single(cell, places, [3, 9, 11, 17])
    got = Crystals.single(cell, places, [3, 11, 9, 17])
    assert site_differences(got, wanted)[0, 2] == 0.5
    assert site_differences(got, wanted)[0, 0] == pytest.approx(0, abs=1e-12)


def test_sites_do_not_depend_on_order_shift_or_images(some):
    random = np.random.default_rng(3)
    got = noisy(some, 0.05)
    plain = site_differences(got, some)
    assert (plain[:, 2] == 1).all()
    mixed = []
    for crystal in got:
        order = random.permutation(len(crystal.numbers))
        coords = crystal.frac_coords[order] + random.random(3)
        mixed.append(Crystals.single(crystal.lattices[0], coords, crystal.numbers[order]))
    np.testing.assert_allclose(
        site_differences(Crystals.concatenate(mixed), some), plain, atol=1e-9
    )


def test_small_moves_are_found_exactly(some):
    got = noisy(some, 0.02)
    moves = some.to_cartesian((got.frac_coords - some.frac_coords + 0.5) % 1 - 0.5)
    for i in range(len(some)):
        own = moves[some.offsets[i] : some.offsets[i + 1]]
        distances = np.linalg.norm(own - own.mean(axis=0), axis=1)
        found = site_differences(got[[i]], some[[i]])[0]
        np.testing.assert_allclose(found, [distances.mean(), distances.max(), 1], atol=1e-9)


def test_skew_cells_have_the_same_distances():
    wanted, got = caesium_chloride(), caesium_chloride(0.6)
    shear = np.array([[1, 0, 0], [3, 1, 0], [-2, 5, 1]])
    skew = [
        Crystals.single(shear @ c.lattices[0], c.frac_coords @ np.linalg.inv(shear), c.numbers)
        for c in (got, wanted)
    ]
    np.testing.assert_allclose(site_differences(*skew), [[0.2, 0.2, 1]], atol=1e-9)


def test_shortest_images_are_those_of_the_representations():
    random = np.random.default_rng(8)
    lattices = random.normal(size=(60, 3, 3)) * random.uniform(1, 6, size=(60, 3, 1))
    lattices[:3] = [np.eye(3), [[1, 0, 0], [-0.5, 0.75**0.5, 0], [0, 0, 2]], 1 - np.eye(3)]
    cells, _ = reduced_cells(lattices)
    differences = random.normal(size=(60, 40, 3)) * 2
    _, wanted = minimum_images(differences, cells)
    for cell, some, lengths in zip(cells, differences, wanted, strict=True):
        found = np.linalg.norm(sites._shortest(some, cell), axis=1)
        np.testing.assert_allclose(found, lengths, atol=1e-9)


def test_shifts_that_are_passed_over_were_no_better(monkeypatch):
    random = np.random.default_rng(9)
    crystals = []
    for _ in range(40):
        n = int(random.integers(2, 12))
        cell = np.diag(random.uniform(3, 6, 3)) + random.normal(scale=0.5, size=(3, 3))
        crystals.append(Crystals.single(cell, random.random((n, 3)), random.integers(5, 7, n)))
    wanted = Crystals.concatenate(crystals)
    shifted = Crystals(wanted.lattices, wanted.frac_coords + 0.3, wanted.numbers, wanted.offsets)
    got = noisy(shifted, np.repeat(random.uniform(0.01, 1, 40), wanted.n_sites)[:, None])
    quick = site_differences(got, wanted)
    calls = []
    monkeypatch.setattr(sites._Sites, "least", lambda *told: calls.append(told) or 0.0)
    np.testing.assert_allclose(site_differences(got, wanted), quick, atol=1e-9)
    assert calls


# Five attempts at CsCl: exact, off by a known length, another structure, another element, none.
WANTED = caesium_chloride()[np.zeros(5, int)]
GOT = Attempts.of(
    Crystals.concatenate(
        [caesium_chloride(), caesium_chloride(0.6), rock_salt(), caesium_chloride(numbers=(55, 35))]
    ),
    [Failure(4, "no lattice")],
)


def test_figures_by_hand():
    figures = by_name(measure_pairs(WANTED, GOT, valid=[False, True, True, True]))
    assert figures["match_rate"].value == 2 / 5
    assert figures["match_rate"].failures == {
        "no lattice": 1,
        "another composition": 1,
        "no match within the tolerances": 1,
    }
    assert figures["match_rms"].value == pytest.approx(OFF / 2, rel=1e-9)
    assert figures["corrected_rms"].value == pytest.approx((OFF + 3 * 0.5) / 5, rel=1e-9)
    # CDVAE: the exact one is not valid, and does not count.
    assert figures["published_match_rate"].value == 1 / 5
    assert figures["published_match_rms"].value == pytest.approx(OFF, rel=1e-9)
    assert figures["published_match_rate"].failures["matches, and is not valid"] == 1
    assert figures["species_accuracy"].value == pytest.approx((1 + 1 + 1 + 0.5 + 0) / 5)
    assert figures["species_accuracy"].n == 5
    # Rock salt has its atoms at the same fractions of another cell.
    assert figures["site_displacement"].value == pytest.approx(0.2 / 4)
    assert figures["site_displacement"].failures == {"no lattice": 1}
    side = 4.6 / 2**0.5
    assert figures["length_error"].value == pytest.approx(abs(side - 4) / 4)
    assert figures["angle_error"].value == pytest.approx(30 / 4)
    for figure in figures.values():
        assert figure.n == 5
        assert figure.of_each.shape == (5,)
        low, high = figure.interval()
        assert low <= high


def test_published_validity():
    salt, metal = caesium_chloride(), caesium_chloride(numbers=(28, 13))
    charged, near = caesium_chloride(numbers=(55, 12)), caesium_chloride(a=0.5)
    noble = caesium_chloride(numbers=(55, 10))
    crystals = Crystals.concatenate([salt, metal, charged, near, noble])
    # Alloys of metals pass (Cs and Mg, too); 0.43 Å is too near; neon has no oxidation state.
    assert published_validity(crystals).tolist() == [True, True, True, False, False]


def test_validity_is_left_out_where_it_is_not_told():
    names = set(by_name(measure_pairs(WANTED, GOT)))
    assert not {"published_match_rate", "published_match_rms"} & names


def test_best_of_samples_by_hand():
    # Three crystals, two samples each: matched by the first, by both, by none.
    wanted = caesium_chloride()[np.zeros(3, int)]
    good, off, bad = caesium_chloride(), caesium_chloride(0.6), rock_salt()
    first = Attempts.of(Crystals.concatenate([good, off, bad]))
    second = Attempts.of(Crystals.concatenate([bad, good]), [Failure(2, "no lattice")])
    figures = by_name(best_of_samples(wanted, [first, second]))
    assert figures["match_rate_of_2"].value == 2 / 3
    assert figures["match_rate_of_2"].extra["by_samples"] == [2 / 3, 2 / 3]
    assert figures["match_rms_of_2"].value == pytest.approx(0, abs=1e-9)
    only_first = by_name(best_of_samples(wanted, [first]))
    assert only_first["match_rms_of_1"].value == pytest.approx(OFF / 2)
    # Without the valid good ones: the first crystal has none left, the second its first sample.
    told = [[False, True, True], [True, False]]
    refused = by_name(best_of_samples(wanted, [first, second], valid=told))
    assert refused["match_rate_of_2"].value == 1 / 3
    assert refused["match_rms_of_2"].value == pytest.approx(OFF)


def test_coverage_by_hand():
    # Two polymorphs of CsCl, each twice among the references, and LiF that nothing is like.
    cubic, rock = caesium_chloride(), rock_salt()
    wanted = Crystals.concatenate([cubic, rock, rock_salt((3, 9)), cubic, rock])
    got = Attempts.of(
        Crystals.concatenate([caesium_chloride(0.6), cubic.supercell([2, 1, 1])]),
        [Failure(i, "no lattice") for i in (2, 3, 4)],
    )
    figures = by_name(measure_coverage(wanted, got))
    # Each reference has the nearest attempt, wherever it stands.
    assert figures["metre"].value == 2 / 5
    assert figures["metre_rms"].value == pytest.approx(0, abs=1e-5)
    assert figures["metre_corrected_rms"].value == pytest.approx(3 * 0.5 / 5, abs=1e-5)
    assert figures["metre"].failures == {
        "no attempt of its composition": 1,
        "no attempt matches": 2,
    }
    assert figures["metre"].extra == {"n_attempts": 5, "n_pairs": 8}
    # One attempt alone is 0.2 Å off both cubic references.
    alone = by_name(measure_coverage(wanted, Attempts.of(got.crystals[:1])))
    assert alone["metre_rms"].value == pytest.approx(OFF, rel=1e-9)
    assert alone["metre_corrected_rms"].value == pytest.approx((2 * OFF + 3 * 0.5) / 5, rel=1e-9)


def test_the_family_gives_both_from_one_matching():
    assert load(FAMILIES, "reconstruction") is measure
    assert measure(Evidence(GOT)) == []
    told = []
    evidence = Evidence(GOT, wanted=WANTED, progress=lambda *what: told.append(what))
    together = by_name(measure(evidence))
    pairs = measure_pairs(WANTED, GOT, valid=published_validity(GOT.crystals))
    apart = by_name([*pairs, *measure_coverage(WANTED, GOT)])
    assert set(together) == set(apart)
    for name, figure in apart.items():
        assert together[name].value == figure.value
        assert together[name].failures == figure.failures
    assert told[-1][1] == told[-1][2]


def test_perfect_reconstruction(some):
    figures = by_name(measure(Evidence(Attempts.of(some), wanted=some)))
    for name in ("match_rate", "metre", "species_accuracy"):
        assert figures[name].value == 1
    for name in ("match_rms", "corrected_rms", "metre_rms", "metre_corrected_rms"):
        assert figures[name].value == pytest.approx(0, abs=1e-5)
    for name in ("site_displacement", "length_error", "angle_error"):
        assert figures[name].value == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("n", [0, 1, 3])
def test_nothing_came_out(n):
    attempts = Attempts.of(Crystals.empty(), [Failure(i, "no lattice") for i in range(n)])
    figures = by_name(measure(Evidence(attempts, wanted=WANTED[:n])))
    empty = np.nan if n == 0 else 0.0
    np.testing.assert_equal(figures["match_rate"].value, empty)
    np.testing.assert_equal(figures["metre"].value, empty)
    np.testing.assert_equal(figures["species_accuracy"].value, empty)
    np.testing.assert_equal(figures["corrected_rms"].value, np.nan if n == 0 else 0.5)
    assert np.isnan(figures["match_rms"].value)
    assert np.isnan(figures["site_displacement"].value)


def test_misuse_is_told():
    with pytest.raises(EvaluationError, match="4 wanted crystals and 5 attempts"):
        measure_pairs(WANTED[:4], GOT)
    with pytest.raises(EvaluationError, match="wanted one each"):
        measure_pairs(WANTED, GOT, valid=[True])
    with pytest.raises(EvaluationError, match="at least one attempt"):
        best_of_samples(WANTED, [])
    with pytest.raises(EvaluationError, match="validity of 1 samples"):
        best_of_samples(WANTED, [GOT, GOT], valid=[[True] * 4])
    with pytest.raises(EvaluationError, match="wanted as many"):
        match_pairs(WANTED, WANTED[:2])
    with pytest.raises(EvaluationError, match="wanted as many"):
        site_differences(WANTED, WANTED[:2])
    with pytest.raises(EvaluationError, match="pairs up to"):
        match_pairs(WANTED, WANTED, [[0, 9]])
