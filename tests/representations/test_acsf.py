"""ACSF through dscribe against sums by hand."""

from itertools import pairwise

import numpy as np
import pytest

from crystalcodec.crystals import Crystals
from crystalcodec.data.augmentation import permute_sites, rotate, shift_origin
from crystalcodec.representations.acsf import ACSF, SiteACSF
from crystalcodec.representations.base import RepresentationError
from crystalcodec.representations.neighbors import neighbors_within
from crystalcodec.testing import CHECKS, sample_crystals
from crystalcodec.workflow.invariance import another_cell

pytest.importorskip("dscribe")

ANGULAR = {"g4_params": ((0.01, 1.0, 1.0), (0.02, 2.0, -1.0)), "g5_params": ((0.03, 4.0, 1.0),)}


def functions(representation, crystals):
    encoded = representation.encode(crystals)
    assert not encoded.failures
    return encoded["acsf"]


@pytest.mark.parametrize("acsf", [SiteACSF(), ACSF(g3_params=(1.0,)), ACSF(r_cut=3.0, **ANGULAR)])
@pytest.mark.parametrize("check", CHECKS)
def test_conforms(acsf, check):
    CHECKS[check](acsf.fit(sample_crystals()), sample_crystals())


def test_radial_functions_equal_sums_over_our_neighbours():
    crystals = sample_crystals()
    acsf = SiteACSF(r_cut=5.0, g2_params=((0.5, 2.0),), g3_params=(1.5,)).fit(crystals)
    near = neighbors_within(crystals, 5.0)
    cut = 0.5 * (np.cos(np.pi * near.distances / 5.0) + 1)
    values = [
        cut,
        np.exp(-0.5 * (near.distances - 2) ** 2) * cut,
        np.cos(1.5 * near.distances) * cut,
    ]
    kinds = np.unique(crystals.numbers)
    wanted = np.zeros((len(crystals.numbers), len(kinds), 3))
    channel = np.searchsorted(kinds, crystals.numbers[near.neighbors])
    for k, value in enumerate(values):
        np.add.at(wanted[..., k], (near.centers, channel), value)
    got = functions(acsf, crystals)
    assert got == pytest.approx(wanted.reshape(len(got), -1), rel=1e-5, abs=1e-6)


def test_angular_functions_by_hand():
    # A right angle at the first atom, with legs of 2 Å and 1.5 Å, in a cell beyond the reach.
    coords = np.array([[5, 5, 5], [7, 5, 5], [5, 6.5, 5]]) / 30
    crystal = Crystals.single(np.eye(3) * 30, coords, [8, 1, 6])
    acsf = SiteACSF(("H", "C", "O"), r_cut=4.0, g2_params=(), **ANGULAR)
    got = dict(zip(ACSF(**vars(acsf)).feature_names(), functions(acsf, crystal)[0], strict=True))

    def cut(r):
        return 0.5 * (np.cos(np.pi * r / 4.0) + 1)

    legs = 2.0**2 + 1.5**2  # the cosine is 0, and the third side the root of this
    third = np.sqrt(legs)
    both = cut(2.0) * cut(1.5)
    wanted = {
        "ACSF H G1": cut(2.0),
        "ACSF C G1": cut(1.5),
        "ACSF O G1": 0.0,
        "ACSF H-C G4 eta=0.01 zeta=1 lambda=1": np.exp(-0.01 * 2 * legs) * both * cut(third),
        "ACSF H-C G4 eta=0.02 zeta=2 lambda=-1": 0.5 * np.exp(-0.02 * 2 * legs) * both * cut(third),
        "ACSF H-C G5 eta=0.03 zeta=4 lambda=1": 2.0**-3 * np.exp(-0.03 * legs) * both,
    }
    for name, value in wanted.items():
        assert got.pop(name) == pytest.approx(value, rel=1e-5), name
    assert not any(got.values())


def test_averages_are_means_over_sites():
    crystals = sample_crystals()
    sites = SiteACSF().fit(crystals).encode(crystals)
    cuts = sites.offsets["sites"]
    wanted = [sites["acsf"][a:b].mean(axis=0) for a, b in pairwise(cuts)]
    got = functions(ACSF().fit(crystals), crystals)
    assert got == pytest.approx(np.array(wanted), rel=1e-5, abs=1e-6)


def test_rotation_leaves_a_millionth():
    crystals = sample_crystals()
    acsf = ACSF(r_cut=4.0, **ANGULAR).fit(crystals)
    before = functions(acsf, crystals)
    scale = np.abs(before).max(axis=1, keepdims=True)
    for change in (rotate, another_cell, permute_sites, shift_origin):
        after = functions(acsf, change(crystals, np.random.default_rng(2)))
        assert (np.abs(after - before) / scale).max() < 1e-6


def test_cells_thinner_than_the_reach():
    thin = Crystals.single(np.diag([2.2, 2.4, 9.0]), [[0.1, 0.2, 0.3], [0.6, 0.7, 0.55]], [17, 11])
    acsf = SiteACSF(**ANGULAR).fit(thin)
    large = functions(acsf, thin.supercell([6, 6, 1]))
    one = np.repeat(functions(acsf, thin), 36, axis=0)
    assert large == pytest.approx(one, rel=1e-5, abs=1e-6 * float(one.max()))


def test_isolated_atoms_are_all_zero():
    alone = Crystals.single(np.eye(3) * 30, [[0.5, 0.1, 0.2]], [17])
    assert not functions(ACSF(**ANGULAR).fit(alone), alone).any()


def test_species_are_found_and_others_refused():
    crystals = sample_crystals()[:4]
    acsf = ACSF()
    assert acsf.needs_fit
    fitted = acsf.fit(crystals)
    strange = Crystals.single(np.eye(3) * 3, [[0, 0, 0]], [118])
    encoded = fitted.encode(Crystals.concatenate([strange, crystals]))
    assert encoded.index.tolist() == [1, 2, 3, 4]
    (failure,) = encoded.failures
    assert (failure.index, failure.reason) == (0, "element without a channel")
    assert "Og" in failure.detail
    assert fitted.n_features == 7 * len(fitted.species) == len(fitted.feature_names())
    assert SiteACSF(fitted.species).n_bytes(crystals) == (
        4 * len(crystals.numbers) * fitted.n_features
    )


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"r_cut": 0.0}, "r_cut is 0.0"),
        ({"g2_params": ((1.0,),)}, "g2_params is"),
        ({"g2_params": ((0.0, 1.0),)}, "each η positive"),
        ({"g4_params": ((-1.0, 1.0, 1.0),)}, "each η positive"),
        ({"g2_params": ((1.0, float("nan")),)}, "finite numbers"),
        ({"g3_params": (float("nan"),)}, "finite numbers"),
        ({"g5_params": ((0.01, 1.5, 1.0),)}, "ζ is 1.5"),
        ({"g4_params": ((0.01, 0.0, 1.0),)}, "ζ is 0"),
        ({"g4_params": ((0.01, 1.0, 2.0),)}, "λ 2"),
        ({"species": ("O", "H")}, "H, O"),
    ],
)
def test_wrong_parameters_are_told(parameters, message):
    with pytest.raises(RepresentationError, match=message):
        ACSF(**parameters)
