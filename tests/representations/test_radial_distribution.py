"""Radial distributions against shells counted by hand, matminer, and sums written out."""

from __future__ import annotations

import numpy as np
import pytest

from crystalcodec.crystals import Crystals
from crystalcodec.io import to_pymatgen
from crystalcodec.representations import radial_distribution
from crystalcodec.representations.base import RepresentationError
from crystalcodec.representations.radial_distribution import RadialDistribution
from crystalcodec.testing import CHECKS, sample_crystals

FCC = np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
BCC = np.array([[-0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.5, 0.5, -0.5]])
COPPER = Crystals.single(3.6 * FCC, [[0, 0, 0]], [29])
IRON = Crystals.single(2.87 * BCC, [[0, 0, 0]], [26])
SALT = Crystals.single(5.64 * FCC, [[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17])


def counts(rdf: RadialDistribution, crystal: Crystals, channel: int = 0, per: float = 1.0):
    """Neighbours of an atom in each bin, from g and the density of the neighbours."""
    edges = np.linspace(0, rdf.cutoff, rdf.n_points + 1)
    shells = 4 / 3 * np.pi * np.diff(edges**3)
    g = rdf.encode(crystal)["radial_distribution"][0, :, channel]
    density = per * crystal.n_sites[0] / crystal.volumes[0]
    found = g * shells * density
    return {round(float(rdf.points[i]), 2): float(found[i]) for i in np.flatnonzero(found)}


@pytest.mark.parametrize(
    ("crystal", "expected"),
    [
        # 3.6 Å over the root of 2, 1, root of 3/2, of 2
        (COPPER, {2.55: 12, 3.65: 6, 4.45: 24, 5.05: 12}),
        # 2.87 Å times root 3 over 2, 1, root of 2, of 11/4, of 3
        (IRON, {2.45: 8, 2.85: 6, 4.05: 12, 4.75: 24, 4.95: 8}),
        (SALT, {2.85: 6, 3.95: 12, 4.85: 8}),
    ],
    ids=["fcc", "bcc", "rock salt"],
)
def test_shells_counted_by_hand(crystal, expected):
    rdf = RadialDistribution(cutoff=5.2, n_points=52, smoothing="histogram")
    found = counts(rdf, crystal)
    assert found.keys() == expected.keys()
    assert [*found.values()] == pytest.approx([*expected.values()], rel=1e-6)


def test_partial_shells_of_rock_salt():
    rdf = RadialDistribution(cutoff=5.2, n_points=52, smoothing="histogram", partial=True)
    fitted = rdf.fit(SALT)
    assert fitted.species == ("Na", "Cl")
    assert fitted.pairs == (("Na", "Na"), ("Na", "Cl"), ("Cl", "Cl"))
    assert counts(fitted, SALT, 0, 0.5) == {3.95: pytest.approx(12)}
    assert counts(fitted, SALT, 1, 0.5) == {2.85: pytest.approx(6), 4.85: pytest.approx(8)}
    assert counts(fitted, SALT, 2, 0.5) == {3.95: pytest.approx(12)}


def test_partial_distributions_make_up_the_total():
    crystals = sample_crystals(12)
    fitted = RadialDistribution(partial=True).fit(crystals)
    partial = fitted.encode(crystals)["radial_distribution"].astype(float)
    total = RadialDistribution().encode(crystals)["radial_distribution"][..., 0]
    for i, crystal in enumerate(crystals):
        share = {z: float((crystal.numbers == z).mean()) for z in crystal.numbers.tolist()}
        symbols = {
            s: share.get(int(z), 0.0) for s, z in zip(fitted.species, _z(fitted), strict=True)
        }
        weights = [symbols[a] * symbols[b] * (1 if a == b else 2) for a, b in fitted.pairs]
        np.testing.assert_allclose(partial[i] @ np.array(weights), total[i], rtol=1e-5, atol=1e-5)


def _z(rdf: RadialDistribution) -> list[int]:
    from crystalcodec.elements import ATOMIC_NUMBERS

    return [ATOMIC_NUMBERS[symbol] for symbol in rdf.species]


def test_a_histogram_is_matminer_s():
    matminer = pytest.importorskip("matminer.featurizers.structure.rdf")
    crystals = Crystals.concatenate([COPPER, SALT, sample_crystals(6, seed=3)])
    featurizer = matminer.RadialDistributionFunction(cutoff=8.0, bin_size=0.1)
    rdf = RadialDistribution(cutoff=8.0, n_points=80, smoothing="histogram")
    ours = rdf.encode(crystals)["radial_distribution"][..., 0]
    for found, structure in zip(ours, to_pymatgen(crystals), strict=True):
        # It counts the pairs of the whole cell, so that it grows with the number of sites.
        other = np.array(featurizer.featurize(structure))[:80] / len(structure)
        np.testing.assert_allclose(found, other, rtol=1e-4, atol=1e-6)


def test_a_smooth_one_is_the_sum_written_out():
    crystal = sample_crystals(6)[5]
    rdf = RadialDistribution(cutoff=6.0, n_points=60, sigma=0.15)
    steps = np.stack(np.meshgrid(*[np.arange(-6, 7)] * 3, indexing="ij"), -1).reshape(-1, 3)
    coords = crystal.cart_coords
    vectors = coords[None, :, None] + steps @ crystal.lattices[0] - coords[:, None, None]
    distances = np.linalg.norm(vectors, axis=-1).ravel()
    distances = distances[(distances > 1e-9) & (distances < 7)]
    kernel = np.exp(-0.5 * ((rdf.points[:, None] - distances) / 0.15) ** 2)
    kernel /= 0.15 * np.sqrt(2 * np.pi)
    n = crystal.n_sites[0]
    expected = (kernel / (4 * np.pi * distances**2)).sum(axis=1) * crystal.volumes[0] / n**2
    found = rdf.encode(crystal)["radial_distribution"][0, :, 0]
    np.testing.assert_allclose(found, expected, atol=1e-5 * expected.max())


def test_far_away_it_tends_to_one():
    rdf = RadialDistribution(cutoff=20.0, n_points=100, sigma=1.0)
    g = rdf.encode(Crystals.concatenate([COPPER, SALT]))["radial_distribution"][..., 0]
    # The edges of the shells wash out, and nothing is missing at the cutoff.
    assert np.abs(g[:, rdf.points > 12] - 1).max() < 0.02
    narrow = RadialDistribution().encode(COPPER)["radial_distribution"][0, :, 0]
    assert not narrow[RadialDistribution().points < 2].any()


def test_an_atom_alone_has_zeros():
    alone = Crystals.single(30 * np.eye(3), [[0, 0, 0]], [2])
    assert not RadialDistribution().encode(alone)["radial_distribution"].any()


def test_blocks_do_not_change_a_distribution(monkeypatch):
    crystals = sample_crystals(12)
    before = RadialDistribution().encode(crystals)["radial_distribution"]
    monkeypatch.setattr(radial_distribution, "_PAIRS_AT_ONCE", 2000)
    monkeypatch.setattr(radial_distribution, "_ENTRIES_AT_ONCE", 777)
    assert np.array_equal(RadialDistribution().encode(crystals)["radial_distribution"], before)


def test_elements_without_channel_are_refused():
    rdf = RadialDistribution(partial=True, species=("Cl", "Na"))
    encoded = rdf.encode(Crystals.concatenate([COPPER, SALT]))
    assert encoded.index.tolist() == [1]
    assert encoded.failures[0].reason == "element without channel"
    assert "Cu" in encoded.failures[0].detail


@pytest.mark.parametrize("partial", [False, True])
def test_sites_at_one_place_are_refused_and_others_held(partial):
    twice = Crystals.single(np.eye(3) * 4, [[0, 0, 0], [1 - 1e-6, 0, 0], [0.5, 0.5, 0.5]], [11] * 3)
    rdf = RadialDistribution(partial=partial).fit(Crystals.concatenate([SALT, twice]))
    encoded = rdf.encode(Crystals.concatenate([twice, SALT]))
    assert [(f.index, f.reason) for f in encoded.failures] == [(0, "sites at one place")]
    assert np.isfinite(encoded["radial_distribution"]).all()
    np.testing.assert_array_equal(
        encoded["radial_distribution"], rdf.encode(SALT)["radial_distribution"]
    )


def test_channels_wait_for_their_elements():
    with pytest.raises(RepresentationError, match="fit"):
        RadialDistribution(partial=True).encode(SALT)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"cutoff": 0.0}, "cutoff is 0.0, wanted a positive"),
        ({"sigma": -1.0}, "sigma is -1.0, wanted a positive"),
        ({"n_points": 0}, "at least 1"),
        ({"species": ("Na",)}, "partial=True"),
        ({"species": ("Xx",), "partial": True}, "symbols of elements"),
        ({"species": ("Na", "Na"), "partial": True}, "each once"),
        ({"smoothing": "box"}, "gaussian or histogram"),
    ],
)
def test_wrong_parameters_are_told(parameters, message):
    with pytest.raises(RepresentationError, match=message):
        RadialDistribution(**parameters)


@pytest.mark.parametrize("check", CHECKS)
def test_partial_channels_conform(check):
    crystals = sample_crystals()
    CHECKS[check](RadialDistribution(partial=True, n_points=40).fit(crystals), crystals)


def test_features_are_named_by_pair_and_distance():
    assert RadialDistribution().feature_names()[33] == "g 3.35"
    fitted = RadialDistribution(partial=True).fit(SALT)
    assert fitted.feature_names()[33 * 3 + 1] == "g Na-Cl 3.35"
    g = fitted.encode(SALT)["radial_distribution"].ravel()
    named = dict(zip(fitted.feature_names(), g, strict=True))
    assert named["g Na-Cl 2.85"] > 1 > named["g Na-Na 2.85"] == 0


def test_a_histogram_says_that_it_jumps():
    assert RadialDistribution().continuity == "continuous"
    histogram = RadialDistribution(smoothing="histogram", cutoff=4.0, n_points=40)
    assert histogram.continuity == "discontinuous"
    near, beyond = (
        histogram.encode(Crystals.single(a * np.eye(3), [[0, 0, 0]], [84]))["radial_distribution"]
        for a in (3.2999999, 3.3000001)
    )
    assert np.abs(near - beyond).max() > 0.5 * near.max()
