"""ACE from its definition, against scipy's harmonics, sympy's 3j symbols and dscribe's SOAP."""

from __future__ import annotations

import json
from itertools import product

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from scipy.special import eval_legendre, sph_harm_y

from crystalcodec.crystals import Crystals
from crystalcodec.elements import SYMBOLS
from crystalcodec.failures import count_reasons
from crystalcodec.io import to_ase
from crystalcodec.representations.ace import ACE, SiteACE
from crystalcodec.representations.ace.channels import channel_weights
from crystalcodec.representations.ace.expansion import BBasis
from crystalcodec.representations.ace.radial import chebyshev, cutoff_values, gaussian_orbitals
from crystalcodec.representations.base import RepresentationError
from crystalcodec.representations.harmonics import (
    invariant_coupling,
    real_spherical_harmonics,
)
from crystalcodec.representations.neighbors import neighbors_within
from crystalcodec.testing import check_representation, sample_crystals

SMALL = {"cutoff": 4.5, "n_max": (3, 2, 2), "l_max": (0, 3, 2)}
BLIND = {"channels": "none", "centers": "alike"}
BOX = np.eye(3) * 30.0


def invariants(crystals, **parameters):
    """(n_sites_total, n_features) in float64, before they are rounded."""
    return SiteACE(**parameters).site_invariants(crystals)


def column(name, **parameters):
    return SiteACE(**parameters).feature_names().index(name)


def test_harmonics_are_those_of_scipy():
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(50, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    directions[:3] = [[0, 0, 1], [0, 0, -1], [1, 0, 0]]
    polar = np.arccos(directions[:, 2])
    azimuth = np.arctan2(directions[:, 1], directions[:, 0])
    ours = real_spherical_harmonics(directions, 8)
    for degree in range(9):
        for m in range(degree + 1):
            theirs = (-1) ** m * sph_harm_y(degree, m, polar, azimuth)
            scale = np.sqrt(2) if m else 1.0
            middle = degree**2 + degree
            np.testing.assert_allclose(ours[:, middle + m], scale * theirs.real, atol=1e-13)
            if m:
                np.testing.assert_allclose(ours[:, middle - m], scale * theirs.imag, atol=1e-13)


def test_harmonics_of_no_direction_are_their_mean_over_all():
    ours = real_spherical_harmonics(np.zeros((1, 3)), 3)[0]
    np.testing.assert_allclose(ours, np.r_[1 / np.sqrt(4 * np.pi), np.zeros(15)])


@pytest.mark.parametrize("degrees", [(0, 0, 0), (1, 1, 0), (1, 1, 2), (2, 2, 2), (3, 2, 1)])
def test_couplings_are_the_3j_symbols_of_sympy(degrees):
    wigner = pytest.importorskip("sympy.physics.wigner")
    symbols = np.zeros([2 * degree + 1 for degree in degrees], complex)
    for m in product(*[range(-degree, degree + 1) for degree in degrees]):
        place = tuple(np.add(m, degrees))
        symbols[place] = float(wigner.wigner_3j(*degrees, *m))
    # Coefficients of complex harmonics become those of real ones with the same sum.
    for axis, degree in enumerate(degrees):
        symbols = np.moveaxis(np.tensordot(_real_in_complex(degree), symbols, (1, axis)), 0, axis)
    ours = invariant_coupling(*degrees)
    sign = np.sign(float(wigner.wigner_3j(*degrees, 0, 0, 0)))
    np.testing.assert_allclose(symbols.imag, 0, atol=1e-14)
    np.testing.assert_allclose(ours, sign * symbols.real, atol=1e-14)
    assert (ours**2).sum() == pytest.approx(1)


def _real_in_complex(degree):
    """(2l + 1, 2l + 1) real harmonics as sums of complex ones of the usual phase."""
    matrix = np.zeros((2 * degree + 1,) * 2, complex)
    matrix[degree, degree] = 1
    for m in range(1, degree + 1):
        phase = (-1) ** m / np.sqrt(2)
        matrix[degree + m, degree + m], matrix[degree + m, degree - m] = phase, 1 / np.sqrt(2)
        matrix[degree - m, degree + m] = -1j * phase
        matrix[degree - m, degree - m] = 1j / np.sqrt(2)
    return matrix


def test_couplings_that_are_no_invariant_are_refused():
    for degrees in [(1, 1, 1), (0, 1, 2), (0, 0, 2)]:
        with pytest.raises(ValueError, match="no invariant"):
            invariant_coupling(*degrees)


def test_one_neighbour_by_hand():
    """R Y_00 for order 1; for order 2 R² (2l + 1) / 4π / √(2l + 1), whatever the direction."""
    distance = 2.1
    pair = Crystals.single(BOX, np.array([[0, 0, 0], [1, 2, 2]]) * distance / 90, [6, 8])
    parameters = {"cutoff": 5.0, "n_max": (2, 1), "l_max": (0, 3), **BLIND}
    fade = (1 + np.cos(np.pi * distance / 5)) / 2
    scaled = 1 - 2 * (np.exp(5.25 * (1 - distance / 5)) - 1) / (np.exp(5.25) - 1)
    wanted = [fade / np.sqrt(4 * np.pi), fade * (1 - scaled) / 2 / np.sqrt(4 * np.pi)]
    wanted += [fade**2 * np.sqrt(2 * degree + 1) / (4 * np.pi) for degree in range(4)]
    for row in invariants(pair, **parameters):
        np.testing.assert_allclose(row, wanted, rtol=1e-12)


def test_two_neighbours_at_an_angle_by_hand():
    """Order 2 knows the angle by Legendre's addition theorem, order 3 by a sum over triples."""
    angle = 0.7
    distances = np.array([1.9, 2.6])
    points = np.array([[0, 0, 0], [0, 0, 1.9], [2.6 * np.sin(angle), 0, 2.6 * np.cos(angle)]])
    crystal = Crystals.single(BOX, points / 30, [6, 6, 6])
    parameters = {"cutoff": 5.0, "n_max": (1, 1, 1), "l_max": (0, 3, 2), **BLIND}
    row = invariants(crystal, **parameters)[0]
    radial = (1 + np.cos(np.pi * distances / 5)) / 2
    for degree in range(4):
        legendre = eval_legendre(degree, [1.0, np.cos(angle)])
        dots = (radial**2).sum() * legendre[0] + 2 * radial.prod() * legendre[1]
        wanted = np.sqrt(2 * degree + 1) / (4 * np.pi) * dots
        got = row[column(f"b2_l{degree}-{degree}_n0_one_n0_one", **parameters)]
        assert got == pytest.approx(wanted, rel=1e-12)
    # l = 1, 1, 0 is order 2 of l = 1 times A_00.
    zero = radial.sum() / np.sqrt(4 * np.pi)
    one = row[column("b2_l1-1_n0_one_n0_one", **parameters)]
    got = row[column("b3_l1-1-0_n0_one_n0_one_n0_one", **parameters)]
    assert got == pytest.approx(zero * one, rel=1e-12)
    # l = 1, 1, 2 is u·Q·u, u the vector and Q the traceless tensor of the neighbours; a basis of
    # traceless symmetric tensors has five members, hence √5.
    unit = points[1:] / distances[:, None]
    vector = radial @ unit
    tensor = np.einsum("j,ja,jb->ab", radial, unit, unit) - radial.sum() * np.eye(3) / 3
    scale = 3 / (4 * np.pi) * np.sqrt(15 / (8 * np.pi)) / np.sqrt(5)
    got = row[column("b3_l1-1-2_n0_one_n0_one_n0_one", **parameters)]
    assert got == pytest.approx(scale * vector @ tensor @ vector, rel=1e-12)


@pytest.mark.parametrize("radial", ["chebyshev", "gto"])
def test_order_2_is_the_power_spectrum(radial):
    """Σ_m c_vlm c_v'lm* of complex coefficients, summed neighbour by neighbour, over √(2l + 1)."""
    crystal = sample_crystals(8)[[7]]
    cutoff, n_max, l_max = 4.0, 3, 4
    parameters = {
        "cutoff": cutoff, "n_max": (1, n_max), "l_max": (0, l_max), "radial": radial,
        "n_channels": 2, "channels": "random", "centers": "alike",
    }  # fmt: skip
    row = invariants(crystal, **parameters)
    weights = channel_weights("random", 2, (), 0)
    near = neighbors_within(crystal, cutoff)
    polar = np.arccos(near.vectors[:, 2] / near.distances)
    azimuth = np.arctan2(near.vectors[:, 1], near.vectors[:, 0])
    fade = (1 + np.cos(np.pi * near.distances / cutoff)) / 2
    names = SiteACE(**parameters).feature_names()
    seen = 0
    for degree in range(l_max + 1):
        if radial == "gto":
            values, mixing = gaussian_orbitals(near.distances, n_max, degree, cutoff, 0.5)
            values = mixing @ values * fade
        else:
            values = chebyshev(near.distances, n_max, cutoff, 5.25) * fade
        coefficients = np.zeros((len(crystal.numbers), n_max, 2, 2 * degree + 1), complex)
        for i, j, value, theta, phi in zip(
            near.centers, near.neighbors, values.T, polar, azimuth, strict=True
        ):
            harmonics = np.array(
                [sph_harm_y(degree, m, theta, phi) for m in range(-degree, degree + 1)]
            )
            weight = weights[crystal.numbers[j]]
            coefficients[i] += value[:, None, None] * weight[:, None] * harmonics.conj()
        spectrum = np.einsum("snam,stbm->snatb", coefficients, coefficients.conj()).real
        for n, a, t, b in product(range(n_max), range(2), range(n_max), range(2)):
            name = f"b2_l{degree}-{degree}_n{n}_random{a}_n{t}_random{b}"
            if name in names:
                seen += 1
                np.testing.assert_allclose(
                    row[:, names.index(name)],
                    spectrum[:, n, a, t, b] / np.sqrt(2 * degree + 1),
                    rtol=1e-9,
                    atol=1e-12,
                )
    assert seen == (l_max + 1) * 6 * 7 // 2


@pytest.mark.filterwarnings("ignore:In the future `np:FutureWarning")
def test_order_2_is_the_soap_of_dscribe_up_to_its_scale():
    """With the same orbitals and fading, and no atom in the centre, π√8 times ours."""
    descriptors = pytest.importorskip("dscribe.descriptors")
    crystals = sample_crystals(9)[[5, 8]]
    species = tuple(np.unique(crystals.numbers).tolist())
    cutoff, n_max, l_max, sigma = 5.0, 4, 3, 0.4
    parameters = {
        "cutoff": cutoff, "n_max": (1, n_max), "l_max": (0, l_max), "channels": "one_hot",
        "species": species, "radial": "gto", "sigma": sigma, "cutoff_function": "polynomial",
        "centers": "alike",
    }  # fmt: skip
    soap = descriptors.SOAP(
        species=[*species],
        r_cut=cutoff,
        n_max=n_max,
        l_max=l_max,
        sigma=sigma,
        periodic=True,
        rbf="gto",
        weighting={"function": "poly", "c": 1, "m": 1, "r0": cutoff, "w0": 0},
    )
    theirs = np.concatenate([soap.create(atoms) for atoms in to_ase(crystals)])
    ours = invariants(crystals, **parameters)
    names = {name: i for i, name in enumerate(SiteACE(**parameters).feature_names())}
    compared = np.zeros(theirs.shape[1], bool)
    for i, first in enumerate(species):
        for second in species[i:]:
            a, b = SYMBOLS[first], SYMBOLS[second]
            columns = np.arange(theirs.shape[1])[soap.get_location((a, b))]
            wanted = []
            for degree, n in product(range(l_max + 1), range(n_max)):
                for t in range(n if a == b else 0, n_max):
                    head = f"b2_l{degree}-{degree}"
                    turned = f"{head}_n{t}_{b}_n{n}_{a}"
                    wanted.append(names.get(f"{head}_n{n}_{a}_n{t}_{b}", names.get(turned)))
            np.testing.assert_allclose(
                np.pi * np.sqrt(8) * ours[:, wanted], theirs[:, columns], rtol=1e-8, atol=1e-10
            )
            compared[columns] = True
    assert compared.all()
    assert np.abs(theirs).max() > 0.1


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        SMALL,
        {**SMALL, "radial": "gto", "cutoff_function": "polynomial", "centers": "alike"},
        {**SMALL, "channels": "random", "n_channels": 3, "l_max": (0, 6, 4)},
    ],
    ids=["default", "small", "gto", "random"],
)
def test_rotation_and_inversion_change_less_than_one_in_a_million(parameters):
    crystals = sample_crystals(6)
    before = invariants(crystals, **parameters)
    scale = np.abs(before).max(axis=0)
    for matrix in [Rotation.random(random_state=0).as_matrix(), -np.eye(3), np.diag([1, 1, -1])]:
        turned = Crystals(
            crystals.lattices @ matrix, crystals.frac_coords, crystals.numbers, crystals.offsets
        )
        change = np.abs(invariants(turned, **parameters) - before)
        assert (change[:, scale > 0] / scale[scale > 0]).max() < 1e-6


def test_site_order_cell_and_supercell_do_not_count():
    crystals = sample_crystals(6)
    parameters = {**SMALL, "n_max": (3, 2, 1)}
    rows = invariants(crystals, **parameters)
    scale = np.abs(rows).max(axis=0)
    for matrix in [
        np.diag([2, 1, 1]),
        [[1, 0, 0], [1, 1, 0], [-1, 2, 1]],
        [[1, 1, 0], [-1, 1, 0], [0, 0, 1]],
    ]:
        copies = round(abs(np.linalg.det(matrix)))
        again = invariants(crystals.supercell(matrix), **parameters)
        np.testing.assert_allclose(
            again / scale, np.repeat(rows, copies, axis=0) / scale, atol=1e-9
        )
    one = crystals[[5]]
    order = np.random.default_rng(0).permutation(one.n_sites[0])
    shuffled = Crystals(one.lattices, one.frac_coords[order], one.numbers[order], one.offsets)
    np.testing.assert_allclose(
        invariants(shuffled, **parameters), invariants(one, **parameters)[order], rtol=1e-9
    )


def test_ace_is_the_mean_of_its_sites():
    crystals = sample_crystals(7)
    sites = SiteACE(**SMALL).encode(crystals)
    mean = ACE(**SMALL).encode(crystals)["ace"]
    np.testing.assert_array_equal(sites.offsets["sites"], crystals.offsets)
    for i, (start, stop) in enumerate(zip(crystals.offsets, crystals.offsets[1:], strict=False)):
        np.testing.assert_allclose(mean[i], sites["site_ace"][start:stop].mean(axis=0), rtol=2e-4)


@pytest.mark.parametrize(
    ("n", "l_max", "wanted"),
    [
        # (0,0,0), (1,1,0), (1,1,2), (2,2,0), (2,2,2): multisets of v where l's are equal.
        ((2, 2, 2), (0, 2, 2), 2 + 3 * 3 + (4 + 6 + 6 + 6 + 4)),
        ((1, 1, 1), (0, 3, 3), 1 + 4 + 8),
        ((3, 3), (0, 1), 3 + 2 * 6),
    ],
)
def test_the_products_are_linearly_independent(n, l_max, wanted):
    basis = BBasis(n, l_max)
    assert len(basis) == wanted
    random = np.random.default_rng(0).normal(size=(3 * wanted, max(n), (max(l_max) + 1) ** 2))
    values = np.concatenate(list(basis.products(random)), axis=1)
    assert np.linalg.matrix_rank(values / np.linalg.norm(values, axis=0)) == wanted


def test_independent_on_real_environments_too():
    parameters = {"cutoff": 5.0, "n_max": (2, 2, 1), "l_max": (0, 2, 2), **BLIND}
    rng = np.random.default_rng(1)
    crystals = Crystals.concatenate(
        Crystals.single(np.eye(3) * 5, rng.random((6, 3)), rng.integers(1, 90, 6))
        for _ in range(20)
    )
    values = invariants(crystals, **parameters)
    assert values.shape == (120, 2 + 9 + 5)
    assert np.linalg.matrix_rank(values / np.linalg.norm(values, axis=0), tol=1e-8) == 16


def test_every_order_of_factors_gives_the_same_product():
    """Dropped products equal kept ones: the coupling is symmetric for an even sum of l's."""
    for degrees in [(1, 1, 2), (2, 2, 2), (1, 2, 3)]:
        coupling = invariant_coupling(*degrees)
        turned = invariant_coupling(degrees[1], degrees[2], degrees[0])
        np.testing.assert_allclose(coupling.transpose(1, 2, 0), turned, atol=1e-15)
        swapped = invariant_coupling(degrees[1], degrees[0], degrees[2])
        np.testing.assert_allclose(coupling.transpose(1, 0, 2), swapped, atol=1e-15)


def test_orders_1_to_3_by_number_and_by_name():
    assert ACE().n_features == len(set(ACE().feature_names())) == 1984
    assert ACE(n_max=(5,), l_max=(0,), centers="alike").n_features == 20
    assert ACE(n_max=(2, 2), l_max=(0, 1), channels="none", centers="channels").n_features == 8
    centred = ACE(**SMALL)
    assert centred.n_features == 4 * ACE(**SMALL, centers="alike").n_features
    assert centred.feature_names()[0] == "b1_l0_n0_one_center_one"


def test_the_element_of_the_centre_enters_as_a_factor():
    crystals = sample_crystals(3)
    parameters = {**SMALL, "channels": "random", "n_channels": 2}
    plain = invariants(crystals, **parameters, centers="alike")
    centred = invariants(crystals, **parameters)
    own = channel_weights("random", 2, (), 0)[crystals.numbers]
    np.testing.assert_allclose(centred, np.hstack([plain * own[:, :1], plain * own[:, 1:]]))


def test_names_of_channels_of_the_centre_are_those_of_their_columns():
    crystals = sample_crystals(4, seed=2)
    alike = SiteACE(**SMALL, centers="alike")
    centred = SiteACE(**SMALL, centers="channels")
    plain = dict(
        zip(alike.feature_names(), invariants(crystals, **SMALL, centers="alike").T, strict=True)
    )
    found = dict(zip(centred.feature_names(), invariants(crystals, **SMALL).T, strict=True))
    weights = channel_weights("properties", 4, (), 0)[crystals.numbers].T
    own = dict(zip(centred.channel_names, weights, strict=True))
    assert len(found) == 4 * len(plain)
    for name, values in found.items():
        product_name, channel = name.split("_center_")
        np.testing.assert_allclose(values, plain[product_name] * own[channel], rtol=1e-12)


def test_isolated_atoms_have_zeros():
    alone = Crystals.single(np.eye(3) * 20, [[0.3, 0.1, 0.2]], [18])
    encoded = ACE().encode(Crystals.concatenate([sample_crystals(2), alone]))
    assert not encoded.failures
    assert not encoded["ace"][2].any()
    assert encoded["ace"][1].any()
    assert not SiteACE(radial="gto").encode(alone)["site_ace"].any()


def test_two_sites_in_one_place_stay_finite_and_invariant():
    coords = [[0.3, 0.7, 0.1], [0.3, 0.7, 0.1 + 1e-12]]
    double = Crystals.single(np.eye(3) * 9, coords, [26, 25])
    parameters = {"cutoff": 4.5, "n_max": (1, 1), "l_max": (0, 2), **BLIND}
    mean = 1 / np.sqrt(4 * np.pi)
    wanted = [mean, mean**2, 0, 0]  # fading is 1 at no distance
    np.testing.assert_allclose(invariants(double, **parameters), [wanted] * 2, atol=1e-15)
    matrix = Rotation.random(random_state=3).as_matrix()
    turned = Crystals.single(double.lattices[0] @ matrix, double.frac_coords, double.numbers)
    np.testing.assert_allclose(invariants(turned, **parameters), [wanted] * 2, atol=1e-15)


def test_a_neighbour_fades_at_the_cutoff():
    def at(distance, **parameters):
        pair = Crystals.single(BOX, [[0, 0, 0], [distance / 30, 0, 0]], [8, 8])
        return invariants(pair, **SMALL, **parameters)[0]

    for parameters in [
        {}, {"radial": "gto"}, {"radial": "gto", "cutoff_function": "polynomial"},
    ]:  # fmt: skip
        inside = at(4.499, **parameters)
        assert inside.any()
        np.testing.assert_allclose(inside, 0, atol=1e-5)
        assert not at(4.501, **parameters).any()
        near, nearer = at(2.0, **parameters), at(2.0001, **parameters)
        assert 0 < np.abs(near - nearer).max() < 1e-2


def test_cutoff_functions_by_hand():
    ends = np.array([0.0, 2.0, 4.0, 5.0])
    np.testing.assert_allclose(cutoff_values(ends, 4.0, "cosine"), [1, 0.5, 0, 0], atol=1e-15)
    np.testing.assert_allclose(cutoff_values(ends, 4.0, "polynomial"), [1, 0.5, 0, 0], atol=1e-15)


def test_channels():
    blind = invariants(sample_crystals(3), **SMALL, channels="none")
    assert blind.shape[1] * 4 < invariants(sample_crystals(1), **SMALL).shape[1]
    properties = channel_weights("properties", 0, (), 0)
    np.testing.assert_allclose(properties[1:104, 2:].mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(properties[1:104, 2:].std(axis=0), 1)
    assert np.isfinite(properties).all()
    assert not properties[0].any()
    random = channel_weights("random", 64, (), 5)
    np.testing.assert_array_equal(random, channel_weights("random", 64, (), 5))
    assert not np.array_equal(random, channel_weights("random", 64, (), 6))
    overlaps = random[1:] @ random[1:].T
    assert np.diag(overlaps).mean() == pytest.approx(1, abs=0.05)
    # The first numbers of the stream of seed 0, which saved representations rely on.
    np.testing.assert_allclose(
        channel_weights("random", 2, (), 0)[1:3],
        [[0.24773431437658333, -0.4337804381356133], [-1.2300114586986421, -1.5071353983126996]],
        rtol=1e-9,
    )


def test_one_hot_channels_are_found_in_the_data():
    crystals = sample_crystals(4)
    ace = SiteACE(**SMALL, channels="one_hot", centers="alike")
    assert ace.needs_fit
    with pytest.raises(RepresentationError, match="fit"):
        ace.encode(crystals)
    fitted = ace.fit(crystals)
    assert fitted.species == tuple(np.unique(crystals.numbers).tolist())
    assert fitted.fit(crystals[:1]) is fitted
    check_representation(fitted, crystals)
    names = [name for name in fitted.feature_names() if name.startswith("b1")]
    assert names[:2] == [f"b1_l0_n0_{SYMBOLS[z]}" for z in fitted.species[:2]]
    other = Crystals.single(np.eye(3) * 4, [[0, 0, 0]], [118])
    encoded = fitted.encode(Crystals.concatenate([crystals[:1], other]))
    assert count_reasons(encoded.failures) == {"element not among the species": 1}
    assert "Og" in encoded.failures[0].detail
    with pytest.raises(RepresentationError, match="no crystals"):
        ace.fit(crystals[:0])


@pytest.mark.parametrize(
    "parameters",
    [
        {**SMALL, "radial": "gto", "cutoff_function": "polynomial", "channels": "none"},
        {**SMALL, "channels": "random", "n_channels": 2, "centers": "alike"},
        {"cutoff": 4, "n_max": [4], "l_max": [0]},
    ],
)
def test_other_parameters_conform(parameters):
    check_representation(ACE(**parameters), sample_crystals(8))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"cutoff": 0.0}, "cutoff is 0.0"),
        ({"cutoff": "6"}, "cutoff is '6', wanted a number"),
        ({"cutoff": 1.0, "radial": "gto"}, "above 1 Å"),
        ({"n_max": (2, 2, 2, 2), "l_max": (0, 1, 1, 1)}, "1 to 3 orders"),
        ({"n_max": (2, 2)}, "one number for each"),
        ({"n_max": (2, 0, 1)}, "n at least 1"),
        ({"l_max": (1, 2, 2)}, "0 for order 1"),
        ({"l_max": (0, 30, 2)}, "at most 20"),
        ({"channels": "magic"}, "channels is 'magic'"),
        ({"species": (8,)}, "one_hot"),
        ({"species": (0,), "channels": "one_hot"}, "atomic numbers"),
        ({"species": (8, 8), "channels": "one_hot"}, "each once"),
        ({"n_channels": 0}, "n_channels is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"sigma": 0.0}, "sigma is 0.0"),
        ({"decay": 0.0}, "decay is 0.0"),
        ({"radial": "gto", "n_max": (30, 4, 2)}, "linearly dependent"),
        ({"centers": True}, "centers is True"),
    ],
)
def test_wrong_parameters_are_told(parameters, message):
    with pytest.raises(RepresentationError, match=message):
        ACE(**parameters)


def test_parameters_survive_json():
    ace = ACE(**SMALL, channels="one_hot", species=(8, 22), seed=3)
    config = json.loads(json.dumps(ace.config()))
    assert config.pop("name") == "ace"
    assert ACE(**config) == ace


def test_too_large_for_memory_is_said_before_it_starts():
    crystals = sample_crystals(2)
    with pytest.raises(RepresentationError, match=r"GiB"):
        SiteACE(
            n_max=(200, 60), l_max=(0, 20), channels="one_hot", species=tuple(range(1, 119))
        ).encode(crystals)
