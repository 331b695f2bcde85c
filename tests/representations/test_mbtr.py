"""MBTR: against dscribe, against sums by hand, and what it refuses."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
from scipy.special import erf

from crystalcodec.crystals import Crystals
from crystalcodec.data.augmentation import permute_sites, rotate, shift_origin
from crystalcodec.io import to_ase
from crystalcodec.representations.base import RepresentationError
from crystalcodec.representations.mbtr import MBTR, SparseMBTR
from crystalcodec.representations.mbtr.broadening import Broadening
from crystalcodec.representations.storage import representation_from
from crystalcodec.testing import CHECKS, sample_crystals

GRIDS = {
    "atomic_number": (0.0, 100.0, 60, 0.7),
    "distance": (0.5, 7.0, 80, 0.08),
    "inverse_distance": (0.0, 1.0, 100, 0.02),
    "angle": (0.0, 180.0, 90, 4.0),
    "cosine": (-1.0, 1.0, 50, 0.07),
}


def rutile(metal: int, a: float, c: float, u: float) -> Crystals:
    ends = [[u, u, 0], [-u, -u, 0], [0.5 + u, 0.5 - u, 0.5], [0.5 - u, 0.5 + u, 0.5]]
    return Crystals.single(
        np.diag([a, a, c]), [[0, 0, 0], [0.5, 0.5, 0.5], *ends], [metal] * 2 + [8] * 4
    )


def perovskite(large: int, small: int, anion: int, a: float) -> Crystals:
    sites = [[0.5, 0.5, 0.5], [0, 0, 0], [0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5]]
    return Crystals.single(np.eye(3) * a, sites, [large, small, *[anion] * 3])


def rock_salt(cation: int, anion: int, a: float) -> Crystals:
    cell = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) * a / 2
    return Crystals.single(cell, [[0, 0, 0], [0.5, 0.5, 0.5]], [cation, anion])


def hexagonal(first: int, second: int, a: float, c: float) -> Crystals:
    cell = [[a, 0, 0], [-a / 2, a * np.sqrt(0.75), 0], [0, 0, c]]
    sites = [[1 / 3, 2 / 3, 0], [2 / 3, 1 / 3, 0.5], [1 / 3, 2 / 3, 0.37], [2 / 3, 1 / 3, 0.87]]
    return Crystals.single(cell, sites, [first, first, second, second])


def of_few_elements(crystals: Crystals) -> Crystals:
    few = np.array([8, 11, 17, 22, 26, 55])[crystals.numbers % 6]
    return Crystals(crystals.lattices, crystals.frac_coords, few, crystals.offsets)


def crystals_to_compare() -> Crystals:
    real = [
        rutile(22, 4.594, 2.959, 0.305),
        rutile(26, 4.737, 3.186, 0.307),
        perovskite(55, 22, 8, 3.905),
        perovskite(55, 22, 17, 5.6),
        rock_salt(11, 17, 5.64),
        rock_salt(26, 8, 4.21),
        hexagonal(26, 17, 3.82, 6.26),
        Crystals.single(np.array([[-1, 1, 1], [1, -1, 1], [1, 1, -1]]) * 1.433, [[0, 0, 0]], [26]),
    ]
    return Crystals.concatenate([*real, of_few_elements(sample_crystals(22, seed=3, max_sites=8))])


@pytest.fixture(scope="module")
def crystals() -> Crystals:
    return crystals_to_compare()


@pytest.fixture(scope="module")
def dscribe_mbtr():
    pytest.importorskip("dscribe")
    from ase import Atoms
    from dscribe import descriptors
    from dscribe.core.system import System

    def by_keyword(atoms):
        # Their System hands positional arguments on to Atoms, which has taken none since ASE 3.27.
        system = object.__new__(System)
        Atoms.__init__(
            system,
            numbers=atoms.numbers,
            positions=atoms.positions,
            cell=atoms.cell,
            pbc=atoms.pbc,
        )
        system._distance_matrix = system._displacement_tensor = system._cell_inverse = None
        return system

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(System, "from_atoms", staticmethod(by_keyword))
        yield descriptors.MBTR


def by_dscribe(theirs, crystals, ours, geometry, weighting):
    descriptor = theirs(
        geometry={"function": geometry},
        grid=dict(zip(("min", "max", "n", "sigma"), GRIDS[geometry], strict=True)),
        weighting=weighting,
        normalization=ours.normalization,
        normalize_gaussians=ours.normalize_gaussians,
        species=list(ours.species),
        periodic=True,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "invalid value", RuntimeWarning)  # 0 / 0 in l2
        rows = [descriptor.create_single(atoms) for atoms in to_ase(crystals)]
    return np.nan_to_num(np.stack(rows))


def parameters(k, geometry, weighting):
    values = {"k": k, f"k{k}_grid": GRIDS[geometry]}
    if k > 1:
        values[f"k{k}_geometry"] = geometry
        values[f"k{k}_r_cut"] = None
        values |= {f"k{k}_{name}": value for name, value in weighting.items()}
        values[f"k{k}_weighting"] = values.pop(f"k{k}_function")
    return values


def assert_equal_to_dscribe(theirs, crystals, ours, geometry, weighting):
    ours = ours.fit(crystals)
    encoded = ours.encode(crystals)
    assert not encoded.failures
    wanted = by_dscribe(theirs, crystals, ours, geometry, weighting)
    assert np.count_nonzero(wanted.any(axis=1)) >= len(crystals) - 2
    scale = np.abs(wanted).max(axis=1, keepdims=True)
    # Of the largest number of each crystal; float32 rounds to 6e-8.
    assert (np.abs(encoded["mbtr"] - wanted) <= 2e-7 * scale + 1e-30).all()


CASES = [
    ("atomic_number", 1, None),
    ("distance", 2, {"function": "exp", "scale": 1.1, "threshold": 1e-2}),
    ("distance", 2, {"function": "inverse_square", "r_cut": 4.7}),
    ("inverse_distance", 2, {"function": "exp", "r_cut": 5.3, "threshold": 1e-3}),
    ("inverse_distance", 2, {"function": "inverse_square", "r_cut": 5.3}),
    ("angle", 3, {"function": "exp", "r_cut": 4.6, "threshold": 1e-2}),
    ("angle", 3, {"function": "smooth_cutoff", "r_cut": 2.9}),
    ("cosine", 3, {"function": "exp", "scale": 0.75, "threshold": 1e-3}),
    ("cosine", 3, {"function": "smooth_cutoff", "r_cut": 2.9, "sharpness": 3.0}),
]


@pytest.mark.parametrize(("geometry", "k", "weighting"), CASES)
def test_equal_to_dscribe(geometry, k, weighting, crystals, dscribe_mbtr):
    ours = MBTR(**parameters(k, geometry, weighting or {}), normalization="none")
    assert_equal_to_dscribe(dscribe_mbtr, crystals, ours, geometry, weighting)


@pytest.mark.parametrize("normalization", ["l2", "n_atoms", "valle_oganov"])
@pytest.mark.parametrize(("geometry", "k", "weighting"), [CASES[0], CASES[3], CASES[6]])
def test_normalizations_equal_dscribe(
    normalization, geometry, k, weighting, crystals, dscribe_mbtr
):
    ours = MBTR(
        **parameters(k, geometry, weighting or {}),
        normalization=normalization,
        normalize_gaussians=False,
    )
    assert_equal_to_dscribe(dscribe_mbtr, crystals[:14], ours, geometry, weighting)


@pytest.mark.parametrize("elements", [(11,), (17, 11), (11, 17, 17), (17, 11, 17)])
def test_locations_are_those_of_dscribe(elements, dscribe_mbtr):
    k = len(elements)
    geometry, weighting = {
        1: ("atomic_number", None),
        2: ("distance", {"function": "inverse_square", "r_cut": 3.0}),
        3: ("cosine", {"function": "smooth_cutoff", "r_cut": 3.0}),
    }[k]
    theirs = dscribe_mbtr(
        geometry={"function": geometry},
        grid={"min": 0, "max": 1, "n": 7, "sigma": 1},
        weighting=weighting,
        species=[8, 11, 17, 55],
        periodic=True,
    )
    ours = MBTR(k=k, species=(8, 11, 17, 55), **{f"k{k}_grid": (0.0, 1.0, 7, 1.0)})
    assert ours.location(*elements) == theirs.get_location(elements)
    several = MBTR(k=(1, k) if k > 1 else (1, 2), species=(8, 11, 17, 55))
    names = several.feature_names()[several.location(*elements)]
    symbols = {11: "Na", 17: "Cl"}
    ends = [symbols[z] for z in sorted((elements[0], elements[-1]))]
    own = [ends[0], *(symbols[z] for z in elements[1:-1]), *ends[1:]][:k]
    assert len(names) > 50
    assert all(name.startswith(f"k{k}_{'_'.join(own)}_{geometry}") or k == 2 for name in names)


def gaussian(points, center, sigma):
    step = points[1] - points[0]
    edges = np.append(points - step / 2, points[-1] + step / 2)
    return np.diff(erf((edges - center) / sigma / np.sqrt(2))) / 2 / step


def test_a_cubic_crystal_by_hand():
    a, grid = 3.0, (2.0, 6.0, 81, 0.1)
    cubic = Crystals.single(np.eye(3) * a, [[0.2, 0.3, 0.4]], [84])
    mbtr = MBTR(
        k2_geometry="distance", k2_grid=grid, k2_weighting="inverse_square", k2_r_cut=5.5,
        species=(84,),
    )  # fmt: skip
    points = np.linspace(*grid[:3])
    # Half of 6, 12 and 8 neighbours: each pair is counted once.
    wanted = sum(
        count / d**2 * gaussian(points, d, 0.1)
        for count, d in [(3, a), (6, a * np.sqrt(2)), (4, a * np.sqrt(3))]
    )
    np.testing.assert_allclose(mbtr.encode(cubic)["mbtr"][0], wanted, atol=2e-7)


def test_angles_of_a_cubic_crystal_by_hand():
    cubic = Crystals.single(np.eye(3) * 3.0, [[0, 0, 0]], [84])
    grid = (0.0, 200.0, 101, 3.0)
    mbtr = MBTR(
        k=3, k3_geometry="angle", k3_grid=grid, k3_weighting="smooth_cutoff", k3_r_cut=4.0,
        species=(84,),
    )  # fmt: skip
    points, x = np.linspace(*grid[:3]), 3 / 4
    weight = (1 + 2 * x**3 - 3 * x**2) ** 2
    # Of 15 pairs of the six neighbours, 12 are at a right angle and 3 are opposite.
    wanted = weight * (12 * gaussian(points, 90, 3.0) + 3 * gaussian(points, 180, 3.0))
    np.testing.assert_allclose(mbtr.encode(cubic)["mbtr"][0], wanted, atol=1e-6 * wanted.max())


def test_the_way_around_decides_which_triples_are_in():
    cubic = Crystals.single(np.eye(3) * 3.0, [[0, 0, 0]], [84])
    around = 3 + 3 + 3 * np.sqrt(2)  # a right angle; opposite neighbours are 12 Å around
    for half, n_triples in [(around / 2 - 0.01, 0), (around / 2 + 0.01, 12)]:
        mbtr = MBTR(k=3, k3_r_cut=half, k3_grid=(-2.0, 2.0, 401, 0.1), species=(84,))
        total = mbtr.encode(cubic)["mbtr"][0].sum() * 0.01
        weight = np.exp(np.log(1e-3) * around / (2 * half))
        # Two edges and the diagonal of a square: also the angles of 45 degrees at its ends.
        assert total == pytest.approx(3 * n_triples * weight, rel=1e-5)


def test_one_term_is_a_part_of_several(crystals):
    several = MBTR(k=(3, 1, 2), k3_r_cut=3.0).fit(crystals)
    assert several.k == (1, 2, 3)
    array = several.encode(crystals)["mbtr"]
    assert array.shape[1] == several.n_features == len(several.feature_names())
    for field, k in zip(several.fields, (1, 2, 3), strict=True):
        alone = MBTR(k=k, k3_r_cut=3.0, species=several.species).encode(crystals)["mbtr"]
        np.testing.assert_array_equal(field.of({"mbtr": array}), alone)


@pytest.mark.parametrize("k", [1, 2, 3, (1, 2, 3)])
def test_sparse_equals_dense(k, crystals):
    dense = MBTR(k=k, k3_r_cut=3.0).fit(crystals)
    sparse = SparseMBTR(k=k, k3_r_cut=3.0, species=dense.species)
    encoded = sparse.encode(crystals)
    matrix = sparse.to_csr(encoded)
    assert matrix.has_sorted_indices
    assert matrix.nnz < 0.2 * np.prod(matrix.shape)
    np.testing.assert_array_equal(matrix.toarray(), dense.encode(crystals)["mbtr"])
    assert sparse.n_bytes(crystals) == sum(array.nbytes for array in encoded.arrays.values())
    assert dense.n_bytes(crystals) == dense.encode(crystals)["mbtr"].nbytes


def test_a_row_does_not_depend_on_how_the_batch_is_cut(crystals, monkeypatch):
    from crystalcodec.representations.mbtr import counting

    mbtr = SparseMBTR(k=(2, 3), k3_r_cut=3.3).fit(crystals)
    whole = mbtr.encode(crystals)["values"]
    for name, limit in [
        ("_PAIRS", 900),
        ("_TRIPLES", 700),
        ("_CANDIDATES", 800),
        ("_SUMS", 20_000),
    ]:
        monkeypatch.setattr(counting, name, limit)
        assert np.abs(mbtr.encode(crystals)["values"] - whole).max() <= 2e-7 * whole.max()
        alone = np.concatenate([mbtr.encode(one)["values"] for one in crystals])
        np.testing.assert_array_equal(alone, mbtr.encode(crystals)["values"])


def test_large_cells_are_counted_as_small_ones(crystals, monkeypatch):
    from crystalcodec.representations.mbtr import counting

    searches = []
    search = counting.neighbors_within
    monkeypatch.setattr(
        counting, "neighbors_within", lambda *given: searches.append(given) or search(*given)
    )
    mbtr = MBTR(k2_weighting="inverse_square", k2_r_cut=5.1).fit(crystals)
    whole = mbtr.encode(crystals)["mbtr"]
    assert not searches
    monkeypatch.setattr(counting, "MOST_SITES", 4)
    searched = mbtr.encode(crystals)["mbtr"]
    assert len(searches) == np.count_nonzero(crystals.n_sites > 4) > 5
    assert np.abs(searched - whole).max() <= 2e-7 * whole.max()


def test_an_array_of_many_species_takes_memory_where_it_is_written():
    every = tuple(range(1, 95))
    salt = rock_salt(11, 17, 5.64)
    array = MBTR(species=every).encode(salt[[0] * 30])["mbtr"]
    assert array.nbytes > 2**25
    assert array.flags.writeable
    few = MBTR(species=(11, 17)).encode(salt)["mbtr"][0]
    np.testing.assert_array_equal(
        array[array != 0].reshape(30, -1), np.tile(few[few != 0], (30, 1))
    )


def test_changes_of_description_change_nothing(crystals):
    rng = np.random.default_rng(0)
    for normalization in ("l2", "n_atoms", "valle_oganov"):
        mbtr = MBTR(k=(2, 3), k3_r_cut=3.3, normalization=normalization).fit(crystals)
        wanted = mbtr.encode(crystals)["mbtr"]
        for changed in (
            permute_sites(crystals, rng),
            rotate(crystals, rng),
            shift_origin(crystals, rng),
            crystals.supercell([[1, 1, 0], [0, 1, 0], [0, -2, 1]]),
            crystals.supercell([[1, 0, 0], [-3, 1, 5], [0, 0, 1]]),
        ):
            found = mbtr.encode(changed)["mbtr"]
            assert np.abs(found - wanted).max() <= 1e-5 * wanted.max()
        larger = mbtr.encode(crystals.supercell([1, 2, 1]))["mbtr"]
        if normalization == "valle_oganov":
            # By its definition: a sum and a volume twice as large, by the amounts of three atoms.
            larger[:, mbtr.fields[1].where[0]] *= 2
        assert np.abs(larger - wanted).max() <= 1e-5 * wanted.max()


def test_without_normalization_a_supercell_counts_more(crystals):
    mbtr = MBTR(normalization="none").fit(crystals)
    assert "supercell" not in mbtr.invariances
    assert "supercell" in MBTR().invariances
    once, twice = mbtr.encode(crystals), mbtr.encode(crystals.supercell([2, 1, 1]))
    np.testing.assert_allclose(twice["mbtr"], 2 * once["mbtr"], atol=1e-5 * once["mbtr"].max())


@pytest.mark.parametrize("normalization", ["none", "l2", "n_atoms", "valle_oganov"])
def test_isolated_atoms_are_rows_of_zeros(normalization):
    apart = Crystals.single(np.eye(3) * 60.0, [[0, 0, 0], [0.5, 0.5, 0.5]], [1, 2])
    mbtr = MBTR(k=(2, 3), normalization=normalization).fit(apart)
    encoded = mbtr.encode(apart)
    assert len(encoded) == 1
    assert not encoded["mbtr"].any()


def test_a_cell_thinner_than_the_cutoff():
    needle = Crystals.single(np.diag([1.5, 30.0, 30.0]), [[0, 0, 0]], [6])
    grid = (0.0, 8.0, 161, 0.1)
    mbtr = MBTR(
        k2_geometry="distance", k2_grid=grid, k2_weighting="inverse_square", k2_r_cut=7.0,
        species=(6,),
    )  # fmt: skip
    points = np.linspace(*grid[:3])
    wanted = sum(gaussian(points, d, 0.1) / d**2 for d in (1.5, 3.0, 4.5, 6.0))
    np.testing.assert_allclose(mbtr.encode(needle)["mbtr"][0], wanted, atol=2e-7)


def test_an_element_not_among_the_species_is_refused():
    mbtr = MBTR(species=(11, 17))
    batch = Crystals.concatenate([rock_salt(11, 17, 5.64), rock_salt(12, 8, 4.21)])
    encoded = mbtr.encode(batch)
    assert encoded.index.tolist() == [0]
    assert encoded.failures[0].reason == "element not in species"
    assert "O, Mg" in encoded.failures[0].detail


def test_sites_in_one_place_are_refused():
    two = Crystals.single(np.eye(3) * 4, [[0, 0, 0], [1 - 1e-7, 0, 0]], [11, 17])
    encoded = MBTR(k=(1, 2), species=(11, 17)).encode(two)
    assert [failure.reason for failure in encoded.failures] == ["sites in one place"]
    assert encoded["mbtr"].shape[0] == 0
    assert len(MBTR(k=1, species=(11, 17)).encode(two)) == 1
    many = rock_salt(11, 17, 5.64).supercell([4, 4, 4])
    again = Crystals.single(
        many.lattices[0], np.vstack([many.frac_coords, many.frac_coords[:1]]), [*many.numbers, 11]
    )
    batch = Crystals.concatenate([many, again, rock_salt(11, 17, 5.64), two])
    assert MBTR(species=(11, 17)).encode(batch).index.tolist() == [0, 2]


def test_species_come_from_the_crystals_or_are_given(crystals):
    assert MBTR().needs_fit
    with pytest.raises(RepresentationError, match="fit"):
        MBTR().encode(crystals)
    fitted = MBTR().fit(crystals)
    assert fitted.species == tuple(np.unique(crystals.numbers).tolist())
    assert fitted.fit(crystals[:1]) is fitted
    assert MBTR(species=[17, 11]).species == (11, 17)


def test_what_does_not_fit_in_memory_is_said_before_it_starts(monkeypatch):
    from crystalcodec.representations import base

    monkeypatch.setattr(base, "available_memory", lambda: 2**33)
    every = tuple(range(1, 90))
    salt = rock_salt(11, 17, 5.64)
    assert MBTR(species=every).n_features == 4005 * 100
    assert MBTR(k=3, species=every).n_features == 89 * 4005 * 100
    with pytest.raises(RepresentationError, match=r"takes 13\.3 GiB"):
        MBTR(k=3, species=every).encode(salt[[0] * 100])
    assert len(SparseMBTR(k=3, species=every).encode(salt[[0] * 100])) == 100


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"k": 4}, "k is 4: wanted 1, 2 or 3"),
        ({"k": ()}, "k is"),
        ({"k": (2, 2)}, "k is"),
        ({"species": (0,)}, "species are"),
        ({"species": (11, 11)}, "species are"),
        ({"k2_geometry": "angle"}, "k2_geometry is 'angle', wanted 'distance' or"),
        ({"k2_weighting": "unity"}, "k2_weighting is 'unity': without weights"),
        ({"k2_weighting": "smooth_cutoff"}, "k2_weighting is 'smooth_cutoff', wanted 'exp' or"),
        ({"k2_scale": 1.0}, "give one and set the other to None"),
        ({"k2_r_cut": None}, "give one and set the other to None"),
        ({"k2_r_cut": -1.0}, "k2_r_cut is -1.0"),
        ({"k2_threshold": 0.0}, "k2_threshold is 0.0"),
        ({"k2_weighting": "inverse_square", "k2_r_cut": None}, "needs k2_r_cut"),
        ({"k2_weighting": "inverse_square", "k2_scale": 1.0}, "has none"),
        ({"k2_grid": (1.0, 1.0, 100, 0.1)}, "a minimum below the maximum"),
        ({"k2_grid": (0.0, 1.0, 1, 0.1)}, "has 1 points"),
        ({"k2_grid": (0.0, 1.0, 10, 0.0)}, "a sigma above 0"),
        ({"k2_grid": (0.0, 1.0, 10)}, "wanted minimum, maximum, number of points and sigma"),
        ({"k": 3, "k3_sharpness": 0.0}, "k3_sharpness is 0.0"),
        ({"normalization": "max"}, "normalization is 'max', wanted one of none, l2"),
    ],
)
def test_wrong_parameters_are_told(wrong, message):
    with pytest.raises(RepresentationError, match=message):
        MBTR(**wrong)


def test_a_location_that_is_not_there():
    with pytest.raises(RepresentationError, match="no spectrum of"):
        MBTR(species=(8,)).location(8, 11)


@pytest.mark.parametrize(
    "values",
    [
        {"k": 1, "normalization": "none"},
        {"k": [1, 2, 3], "k3_r_cut": 3.0},
        {"k2_r_cut": None, "k2_scale": 1, "k2_geometry": "distance", "k2_grid": [0, 6, 50, 0.05]},
        {"k": 3, "k3_weighting": "smooth_cutoff", "k3_r_cut": 4.0, "normalization": "valle_oganov"},
    ],
    ids=lambda values: json.dumps(values)[:24],
)
@pytest.mark.parametrize("kind", [MBTR, SparseMBTR])
def test_other_parameters_conform(kind, values):
    batch = of_few_elements(sample_crystals(16, max_sites=6))
    ready = representation_from({"name": kind.name, **values}).fit(batch)
    for check in CHECKS.values():
        check(ready, batch)


@pytest.mark.parametrize("sigma", [0.0004, 0.004, 0.011, 0.02, 0.1, 3.0])
@pytest.mark.parametrize("n", [2, 37, 100, 700])
def test_sums_of_gaussians_are_those_of_the_error_function(n, sigma):
    rng = np.random.default_rng(n)
    centers, weights = rng.uniform(-0.5, 1.5, 400), rng.random(400)
    rows = rng.integers(0, 70, 400)
    broadening = Broadening(0.0, 1.0, n, sigma)
    found = broadening.spectra(broadening.gather(rows, centers, weights, 70), 70)
    wanted = np.zeros((70, n))
    points = np.linspace(0, 1, n)
    for row, center, weight in zip(rows, centers, weights, strict=True):
        wanted[row] += weight * gaussian(points, center, sigma)
    assert np.abs(found - wanted).max() < 2e-9 * wanted.max()
