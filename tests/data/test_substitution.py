"""Element substitution: what changes, what stays, that a seed decides."""

from __future__ import annotations

import numpy as np
import pytest

from crystalcodec import Crystals, prototypes
from crystalcodec.crystals import CrystalsError
from crystalcodec.data.atom_sizes import ElementVolumes
from crystalcodec.data.substitution import replacement_weights, substituted_crystals
from crystalcodec.elements import ATOMIC_NUMBERS
from crystalcodec.evaluation.base import Attempts


def salts(*metals):
    coords = [[0, 0, 0], [0.5, 0.5, 0.5]]
    return Crystals.concatenate(
        Crystals.single(3.5 * np.eye(3), coords, [metal, 17]) for metal in metals
    )


@pytest.fixture(scope="module")
def known():
    return prototypes().crystals


@pytest.fixture(scope="module")
def made(known):
    return substituted_crystals(400, of=known, seed=2)


def parents(made, known):
    """The crystal that each came from: the same fractional coordinates."""
    keys = {}
    for i, crystal in enumerate(known):
        keys.setdefault(crystal.frac_coords.tobytes(), []).append(i)
    return [keys[crystal.frac_coords.tobytes()] for crystal in made]


def test_each_is_a_crystal(made):
    crystals, failures = made
    assert Attempts.of(crystals, failures).n == 400
    assert not failures


def test_elements_change_and_structure_stays(made, known):
    for crystal, candidates in zip(made[0], parents(made[0], known), strict=True):
        matches = []
        for i in candidates:
            parent = known[i]
            same = parent.numbers[:, None] == parent.numbers
            alike = crystal.numbers[:, None] == crystal.numbers
            scale = np.cbrt(crystal.volumes / parent.volumes)
            matches.append(
                np.array_equal(same, alike)
                and np.allclose(crystal.lattices, parent.lattices * scale)
                and set(crystal.numbers) != set(parent.numbers)
            )
        assert any(matches)


def test_elements_are_those_of_the_known_crystals(made, known):
    assert np.isin(made[0].numbers, known.numbers).all()


def test_a_seed_decides(made, known):
    assert substituted_crystals(400, of=known, seed=2)[0] == made[0]
    assert substituted_crystals(400, of=known, seed=3)[0] != made[0]


def test_volumes_by_hand():
    values = np.zeros(119)
    values[[3, 11, 17]] = [10.0, 30.0, 20.0]
    crystals, _ = substituted_crystals(
        40, of=salts(3, 11), seed=0, volumes=ElementVolumes(values, 0.0)
    )
    # Li (30 Å³ with Cl) and Na (50) replace each other, Cl has no other element to become.
    assert set(crystals.formulas) <= {"NaCl", "LiCl", "NaLi"}
    scale = {11: 50 / 30, 3: 30 / 50}
    plain = [i for i in range(len(crystals)) if 17 in crystals[i].numbers]
    assert plain
    for i in plain:
        metal = int(crystals[i].numbers[0])
        assert crystals.volumes[i] == pytest.approx(3.5**3 * scale[metal])


def test_weights_by_hand():
    weights = replacement_weights(2.0)
    na, k, li = (ATOMIC_NUMBERS[symbol] for symbol in ("Na", "K", "Li"))
    # The scale begins ... Cs Rb K Na Li ...
    assert weights[na, k] == weights[na, li] == pytest.approx(np.exp(-0.5))
    assert weights[k, li] == pytest.approx(np.exp(-1.0))
    np.testing.assert_array_equal(weights, weights.T)
    assert not np.diagonal(weights).any()
    assert not weights[104:].any()
    assert not weights[0].any()


def test_nearer_elements_come_as_often_as_their_weights_say():
    of = Crystals.concatenate([salts(11), salts(3, 19, 37, 55)])
    weights = replacement_weights(3.0)
    single = Crystals.single(4 * np.eye(3), [[0, 0, 0]], [11])
    batch = Crystals.concatenate([single, of])
    crystals, _ = substituted_crystals(20000, of=batch, seed=0)
    lone = crystals.numbers[crystals.offsets[:-1]][crystals.n_sites == 1]
    others = np.array([3, 17, 19, 37, 55])
    shares = np.array([np.mean(lone == z) for z in others])
    expected = weights[11, others] / weights[11, others].sum()
    assert len(lone) > 3000
    np.testing.assert_allclose(shares, expected, atol=0.03)


def test_where_nothing_is_left_it_is_a_failure():
    crystals, failures = substituted_crystals(5, of=salts(11), seed=0)
    assert len(crystals) == 0
    assert [failure.index for failure in failures] == [0, 1, 2, 3, 4]
    assert {failure.reason for failure in failures} == {"nothing to replace with"}


def test_elements_beyond_the_scale_stay():
    of = Crystals.concatenate([salts(118), salts(11, 19)])
    crystals, failures = substituted_crystals(60, of=of, seed=0)
    assert len(crystals) + len(failures) == 60
    heavy = [crystal for crystal in crystals if 118 in crystal.numbers]
    assert heavy
    assert all(set(crystal.numbers) & {11, 19} for crystal in heavy)


def test_none_and_nothing():
    crystals, failures = substituted_crystals(0, of=Crystals.empty(), seed=0)
    assert (len(crystals), failures) == (0, [])
    with pytest.raises(CrystalsError, match="no crystals"):
        substituted_crystals(1, of=Crystals.empty(), seed=0)
    with pytest.raises(CrystalsError, match="positive"):
        substituted_crystals(1, of=salts(11, 19), seed=0, reach=0)
