"""SOAP through dscribe: numbers, averages, compression, species, periodicity."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import eval_legendre, spherical_in

from crystalcodec.crystals import Crystals
from crystalcodec.data.augmentation import permute_sites, rotate
from crystalcodec.representations.base import RepresentationError
from crystalcodec.representations.dscribe_shim import dscribe_descriptors
from crystalcodec.representations.soap import SOAP, SiteSOAP
from crystalcodec.testing import CHECKS, sample_crystals
from crystalcodec.workflow.invariance import another_cell

pytest.importorskip("dscribe")

MODES = ("off", "mu2", "mu1nu1", "crossover")
SMALL = {"r_cut": 4.0, "n_max": 3, "l_max": 2}


def salts():
    """NaCl, CsCl-like NaCl, and a thin tetragonal cell of both elements."""
    primitive = 2.82 * np.array([[0.0, 1, 1], [1, 0, 1], [1, 1, 0]])
    half = [[0, 0, 0], [0.5, 0.5, 0.5]]
    return Crystals.concatenate(
        [
            Crystals.single(primitive, half, [11, 17]),
            Crystals.single(np.eye(3) * 3.5, half, [11, 17]),
            Crystals.single(
                np.diag([2.2, 2.4, 9.0]), [[0.1, 0.2, 0.3], [0.6, 0.7, 0.55]], [17, 11]
            ),
        ]
    )


def spectra(representation, crystals):
    encoded = representation.encode(crystals)
    assert not encoded.failures
    return encoded["soap"]


@pytest.mark.parametrize(
    "soap",
    [
        SiteSOAP(**SMALL),
        SOAP(**SMALL, average="inner"),
        SOAP(**SMALL, compression="mu2", weighting="pow"),
        SOAP(**SMALL, compression="crossover", rbf="polynomial"),
    ],
)
@pytest.mark.parametrize("check", CHECKS)
def test_conforms(soap, check):
    CHECKS[check](soap.fit(sample_crystals()), sample_crystals())


@pytest.mark.parametrize("average", ["inner", "outer"])
@pytest.mark.parametrize("compression", MODES)
def test_equal_to_dscribe(average, compression):
    import ase

    crystals = salts()
    theirs = dscribe_descriptors().SOAP(
        species=["Na", "Cl"],
        r_cut=4.0,
        n_max=3,
        l_max=2,
        sigma=0.5,
        average=average,
        compression={"mode": compression},
        periodic=True,
    )
    atoms = [
        ase.Atoms(numbers=c.numbers, positions=c.cart_coords, cell=c.lattices[0], pbc=True)
        for c in crystals
    ]
    wanted = theirs.create(atoms)
    ours = SOAP(**SMALL, average=average, compression=compression).fit(crystals)
    assert ours.n_features == theirs.get_number_of_features() == len(set(ours.feature_names()))
    assert spectra(ours, crystals) == pytest.approx(wanted, rel=1e-6, abs=1e-6 * wanted.max())


def test_power_spectrum_of_one_neighbour_by_quadrature():
    # One Gaussian at distance d: c(n l m) = 4π exp(-d²/2σ²) Y(lm) ∫ r² g(nl) exp(-r²/2σ²) i_l dr.
    distance, sigma, n_max, l_max = 1.7, 0.6, 2, 3
    pair = Crystals.single(
        np.eye(3) * 60, [[0.5, 0.5, 0.5], [0.5 + distance / 60, 0.5, 0.5]], [1, 2]
    )
    soap = SiteSOAP(
        ("H", "He"), r_cut=4.0, n_max=n_max, l_max=l_max, sigma=sigma, compression="off"
    )
    got = dict(zip(SOAP(**vars(soap)).feature_names(), spectra(soap, pair)[0], strict=True))
    basis = soap._descriptor()
    alphas, betas = (np.asarray(a) for a in basis.get_basis_gto(4.0, n_max, l_max))
    for degree in range(l_max + 1):
        parts = []
        for n in range(n_max):

            def term(r, n=n, degree=degree):
                shape = betas[degree, n] @ np.exp(-alphas[degree] * r * r)
                bessel = spherical_in(degree, r * distance / sigma**2)
                return r ** (2 + degree) * shape * bessel * np.exp(-r * r / (2 * sigma**2))

            parts.append(4 * np.pi * np.exp(-(distance**2) / (2 * sigma**2)) * quad(term, 0, 12)[0])
        # The sum of Y(lm)² over m, and Legendre's polynomial is 1 at the angle 0.
        angular = (2 * degree + 1) / (4 * np.pi) * eval_legendre(degree, 1.0)
        for n in range(n_max):
            for m in range(n, n_max):
                wanted = np.pi * np.sqrt(8 / (2 * degree + 1)) * angular * parts[n] * parts[m]
                name = f"SOAP He-He n={n} n'={m} l={degree}"
                assert got[name] == pytest.approx(wanted, rel=1e-5, abs=1e-9), name


def test_names_tell_the_elements():
    soap = SOAP(("Na", "Cl"), **SMALL, compression="off")
    one = Crystals.single(np.eye(3) * 20, [[0.5] * 3], [17])
    names = np.array(soap.feature_names())
    assert {name.split()[1] for name in names[spectra(soap, one)[0] != 0]} == {"Cl-Cl"}
    both = spectra(soap, salts()[0])[0]
    assert {name.split()[1] for name in names[both != 0]} == {"Na-Na", "Na-Cl", "Cl-Cl"}


def test_outer_is_the_mean_of_the_sites():
    crystals = salts()
    sites = SiteSOAP(**SMALL).fit(crystals).encode(crystals)
    rows = [sites["soap"][a:b].mean(axis=0) for a, b in pairwise(sites.offsets["sites"])]
    outer = spectra(SOAP(**SMALL).fit(crystals), crystals)
    inner = spectra(SOAP(**SMALL, average="inner").fit(crystals), crystals)
    assert outer == pytest.approx(np.array(rows), rel=1e-5, abs=1e-5)
    assert np.abs(inner - outer).max() > 1e-2 * outer.max()


@pytest.mark.parametrize("kind", [SOAP, SiteSOAP])
def test_cells_thinner_than_the_reach(kind):
    # The cell is 2.2 Å thin, the reach 4 Å and more: the supercell holds it whole.
    thin = salts()[2]
    soap = kind(**SMALL).fit(thin)
    images = 5 * 5
    large = spectra(soap, thin.supercell([5, 5, 1]))
    one = spectra(soap, thin)
    if kind is SiteSOAP:
        one = np.repeat(one, images, axis=0)
    assert large == pytest.approx(one, rel=1e-5, abs=1e-6 * float(one.max()))


@pytest.mark.parametrize("compression", MODES)
def test_rotation_leaves_a_millionth(compression):
    crystals = sample_crystals()
    soap = SOAP(**SMALL, compression=compression).fit(crystals)
    before = spectra(soap, crystals)
    for change in (rotate, another_cell, permute_sites):
        after = spectra(soap, change(crystals, np.random.default_rng(2)))
        scale = np.abs(before).max(axis=1, keepdims=True)
        assert (np.abs(after - before) / scale).max() < 1e-6


def test_species_are_found_and_others_refused():
    crystals = salts()
    soap = SOAP(**SMALL)
    assert soap.needs_fit
    with pytest.raises(RepresentationError, match="fit"):
        soap.encode(crystals)
    fitted = soap.fit(crystals)
    assert fitted.species == ("Na", "Cl")
    assert fitted.fit(sample_crystals()) is fitted
    strange = Crystals.single(np.eye(3) * 4, [[0, 0, 0], [0.5] * 3], [19, 17])
    encoded = fitted.encode(Crystals.concatenate([crystals, strange]))
    assert encoded.index.tolist() == [0, 1, 2]
    (failure,) = encoded.failures
    assert (failure.index, failure.reason) == (3, "element without a channel")
    assert failure.detail.startswith("K: none of the 2 species")
    sites = SiteSOAP(("Na", "Cl"), **SMALL).encode(Crystals.concatenate([strange, crystals]))
    assert sites.offsets["sites"].tolist() == [0, 2, 4, 6]


def test_isolated_atoms_have_their_own_density_only():
    alone = Crystals.single(np.eye(3) * 50, [[0.2, 0.9, 0.4]], [17])
    near = Crystals.single(np.eye(3) * 50, [[0.2, 0.9, 0.4], [0.7, 0.4, 0.9]], [17, 17])
    soap = SOAP(("Cl",), **SMALL, compression="off")
    one, two = spectra(soap, alone)[0], spectra(soap, near)[0]
    assert one == pytest.approx(two)
    assert one[soap.feature_names().index("SOAP Cl-Cl n=0 n'=0 l=0")] > 0
    higher = [i for i, name in enumerate(soap.feature_names()) if not name.endswith("l=0")]
    assert one[higher] == pytest.approx(np.zeros(len(higher)), abs=1e-9)


def test_hidden_centre_and_weights_by_distance():
    alone = Crystals.single(np.eye(3) * 50, [[0.2, 0.9, 0.4]], [17])
    assert not spectra(SOAP(("Cl",), **SMALL, central_weight=0.0), alone).any()
    crystals = salts()
    plain = spectra(SOAP(**SMALL).fit(crystals), crystals)
    for weighting in ("poly", "pow", "exp"):
        weighted = SOAP(**SMALL, weighting=weighting).fit(crystals)
        assert np.abs(spectra(weighted, crystals) - plain).max() > 1e-2 * plain.max()


def test_atoms_beyond_the_end_of_the_weight_do_not_count():
    alone = Crystals.single(np.eye(3) * 50, [[0.2, 0.9, 0.4]], [17])
    pair = Crystals.single(np.eye(3) * 50, [[0.2, 0.9, 0.4], [0.24, 0.9, 0.4]], [17, 17])
    for r0, seen in ((1.9, False), (2.5, True)):
        soap = SOAP(("Cl",), **SMALL, weighting="poly", weighting_r0=r0)
        assert (spectra(soap, pair) == pytest.approx(spectra(soap, alone), rel=1e-6)) is not seen


def test_weights_of_species_tell_elements_apart_under_mu2():
    one, other = salts()[0], Crystals.single(salts().lattices[0], [[0.5] * 3, [0, 0, 0]], [11, 17])
    lithium = Crystals.single(salts().lattices[0], [[0, 0, 0], [0.5] * 3], [17, 17])
    same = SOAP(("Na", "Cl"), **SMALL, compression="mu2")
    assert spectra(same, one) == pytest.approx(spectra(same, lithium), rel=1e-5, abs=1e-5)
    weighed = SOAP(("Na", "Cl"), **SMALL, compression="mu2", species_weights=(0.93, 3.16))
    change = np.abs(spectra(weighed, one) - spectra(weighed, lithium)).max()
    assert change > 0.1 * spectra(weighed, lithium).max()
    assert spectra(weighed, one) == pytest.approx(spectra(weighed, other), rel=1e-4, abs=1e-4)


def test_size_is_known_before_anything_is_made(monkeypatch):
    symbols = SOAP().fit(sample_crystals(400)).species[:89]
    large = SOAP(symbols, n_max=8, l_max=6, compression="off")
    assert large.n_features == 712 * 713 // 2 * 7 > 1_000_000
    crystals = sample_crystals(3)
    assert large.n_bytes(crystals) == 3 * 4 * large.n_features
    monkeypatch.setattr("crystalcodec.representations.base.available_memory", lambda: 2**20)
    with pytest.raises(RepresentationError, match="GiB"):
        large.encode(crystals)
    sites = SiteSOAP(symbols)
    assert sites.n_bytes(crystals) == len(crystals.numbers) * 4 * sites.n_features
    assert [SOAP(symbols, compression=mode).n_features for mode in MODES] == [
        254_184,
        40,
        5_696,
        3_560,
    ]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"r_cut": 1.0}, "r_cut is 1.0"),
        ({"sigma": 0.0}, "sigma is 0.0"),
        ({"n_max": 0}, "n_max is 0"),
        ({"l_max": 21}, "l_max 21"),
        ({"compression": "mu3"}, "compression is 'mu3'"),
        ({"average": "off"}, "average is 'off'"),
        ({"species": ("Na", "Nb", "Na")}, "each once"),
        ({"species": ("Cl", "Na")}, "Na, Cl"),
        ({"species": ("Xx",)}, "symbols of elements"),
        ({"species_weights": (1.0,)}, "1 species_weights for 0 species"),
        ({"central_weight": -1.0}, "central_weight is -1.0"),
        ({"species": ("Na",), "species_weights": (float("nan"),)}, "finite"),
        ({"weighting": "poly", "weighting_r0": 0.0}, "weighting_r0 is 0"),
        ({"weighting": "pow", "weighting_d": 0.0}, "weighting_d is 0"),
    ],
)
def test_wrong_parameters_are_told(parameters, message):
    with pytest.raises(RepresentationError, match=message):
        SOAP(**parameters)
