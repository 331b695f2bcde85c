"""The family: its figures against the published formulas, and evidence of every kind."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from scipy.stats import wasserstein_distance

from crystalcodec import Crystals, Failure, prototypes
from crystalcodec.evaluation.base import Attempts, EvaluationError, Evidence
from crystalcodec.evaluation.distribution import (
    composition_fingerprints,
    measure,
    structure_fingerprints,
)
from crystalcodec.evaluation.distribution.resampling import recentred
from crystalcodec.registry import FAMILIES, REPRESENTATIONS, load

PROTOTYPES = prototypes().crystals
GENERATED, HELD_OUT = PROTOTYPES[::40], PROTOTYPES[17::40]
# Two atoms 0.1 Å apart, a valid composition.
OVERLAPPING = Crystals.single(4 * np.eye(3), [[0, 0, 0], [0.025, 0, 0]], [11, 17])
PUBLISHED = ("cov_recall", "cov_precision_published", "wdist_density", "wdist_num_elems")
COUNTED = (
    *PUBLISHED,
    *("cov_precision", "cov_recall_joint", "cov_precision_joint"),
    *("amsd_recall", "amsd_precision", "amcd_recall", "amcd_precision"),
    *("wdist_density_of_all", "wdist_num_elems_of_all", "wdist_num_sites_of_all"),
    *("jsd_space_group", "tv_space_group", "wdist_space_group"),
    *("jsd_crystal_system", "jsd_elements", "squared_mmd_structure", "squared_mmd_composition"),
)


def figures(attempts, held_out, **settings):
    if not isinstance(attempts, Attempts):
        attempts = Attempts.of(attempts)
    properties = settings.pop("properties", {})
    evidence = Evidence(attempts, held_out=held_out, properties=properties)
    return {figure.name: figure for figure in measure(evidence, **settings)}


def test_the_family_is_registered():
    assert load(FAMILIES, "distribution") is measure


def test_without_held_out_crystals_there_is_nothing():
    assert measure(Evidence(Attempts.of(GENERATED))) == []


@pytest.fixture(scope="module")
def found():
    return figures(GENERATED, HELD_OUT)


def test_names_and_definitions(found):
    assert {*COUNTED} <= {*found}
    for name, figure in found.items():
        assert figure.n == len(GENERATED)
        assert len(figure.definition) > 60, name
        assert not math.isnan(figure.value), name
        json.dumps({"failures": dict(figure.failures), "extra": dict(figure.extra)})


def test_coverage_as_published(found):
    structures = [structure_fingerprints(some) for some in (GENERATED, HELD_OUT)]
    compositions = [composition_fingerprints(some) for some in (GENERATED, HELD_OUT)]
    in_structure, in_composition = cdist(*structures), cdist(*compositions)
    for axis, way in ((0, "recall"), (1, "precision")):
        near = (in_structure.min(axis) <= 0.4) & (in_composition.min(axis) <= 10)
        assert found[f"cov_{way}"].value == pytest.approx(near.mean())
        assert found[f"amsd_{way}"].value == pytest.approx(in_structure.min(axis).mean())
        assert found[f"amcd_{way}"].value == pytest.approx(in_composition.min(axis).mean())
        both = ((in_structure <= 0.4) & (in_composition <= 10)).any(axis)
        assert found[f"cov_{way}_joint"].value == pytest.approx(both.mean())


@pytest.mark.filterwarnings("ignore:No oxidation states", "ignore:CrystalNN")
def test_fingerprints_as_of_matminer():
    fingerprint = pytest.importorskip("matminer.featurizers.site.fingerprint")
    from pymatgen.core import Lattice, Structure

    featurizer = fingerprint.CrystalNNFingerprint.from_preset("ops")
    some = GENERATED[[0, 5, 9]]
    for crystal, row in zip(some, structure_fingerprints(some), strict=True):
        structure = Structure(
            Lattice(crystal.lattices[0]), crystal.numbers.tolist(), crystal.frac_coords
        )
        sites = [featurizer.featurize(structure, i) for i in range(len(structure))]
        np.testing.assert_allclose(row, np.mean(sites, axis=0), atol=1e-6)


def test_crystals_a_tenth_longer_are_near_themselves():
    longer = Crystals(
        1.1 * HELD_OUT.lattices, HELD_OUT.frac_coords, HELD_OUT.numbers, HELD_OUT.offsets
    )
    apart = structure_fingerprints(longer) - structure_fingerprints(HELD_OUT)
    assert np.mean(np.linalg.norm(apart, axis=1) <= 0.4) > 0.5


def test_distances_as_of_scipy(found):
    elements = [(some.element_counts > 0).sum(axis=1) for some in (GENERATED, HELD_OUT)]
    expected = wasserstein_distance(GENERATED.densities, HELD_OUT.densities)
    assert found["wdist_density_of_all"].value == pytest.approx(expected)
    assert found["wdist_num_elems_of_all"].value == pytest.approx(wasserstein_distance(*elements))
    sites = wasserstein_distance(GENERATED.n_sites, HELD_OUT.n_sites)
    assert found["wdist_num_sites_of_all"].value == pytest.approx(sites)


def test_published_distances_are_of_the_valid():
    attempts = Crystals.concatenate([GENERATED, OVERLAPPING, OVERLAPPING])
    found = figures(attempts, HELD_OUT)
    valid, every = found["wdist_density"], found["wdist_density_of_all"]
    assert valid.failures["not valid"] >= 2
    assert np.isnan(valid.of_each[-2:]).all()
    expected = wasserstein_distance(attempts.densities, HELD_OUT.densities)
    assert every.value == pytest.approx(expected)
    counted = valid.of_each[~np.isnan(valid.of_each)]
    assert valid.value == pytest.approx(wasserstein_distance(counted, HELD_OUT.densities))
    assert valid.extra["n_counted"] == len(counted)
    assert valid.extra["published_draw"] is None
    # What has no fingerprint is not valid to the published code, whatever else holds.
    needle = Crystals.single(np.diag([3.0, 3.0, 300.0]), [[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17])
    assert "CrystalNN fingerprint" in valid.definition
    assert figures(needle, HELD_OUT)["wdist_density"].failures == {"not valid": 1}


def test_crystals_against_themselves():
    for name, figure in figures(HELD_OUT, HELD_OUT).items():
        if name.startswith("cov"):
            assert figure.value == 1, name
        elif name.startswith("squared_mmd"):
            assert figure.value <= 0
        elif name.startswith("wdist") and not name.endswith(("of_all", "space_group")):
            continue  # of the valid against all
        else:
            assert figure.value == pytest.approx(0, abs=1e-7), name


def test_failed_attempts_count():
    failures = [Failure(i, "no cell") for i in range(len(GENERATED))]
    attempts = Attempts(
        GENERATED,
        np.arange(len(GENERATED)) + len(GENERATED),
        2 * len(GENERATED),
        tuple(failures),
    )
    whole, half = figures(GENERATED, HELD_OUT), figures(attempts, HELD_OUT)
    for name in ("cov_precision", "cov_precision_joint"):
        assert half[name].value == pytest.approx(whole[name].value / 2)
    for name in {*COUNTED} - {"cov_precision", "cov_precision_joint"}:
        assert half[name].value == pytest.approx(whole[name].value), name
        assert half[name].failures["no cell"] == len(GENERATED)


def test_a_crystal_without_a_fingerprint_covers_nothing():
    flat = Crystals.single(np.diag([300.0, 300.0, 0.4]), [[0, 0, 0]], [11])
    attempts = Crystals.concatenate([flat, GENERATED])
    lacking = int(np.isnan(structure_fingerprints(attempts)).any(axis=1).sum())
    found = figures(attempts, HELD_OUT)
    failures = found["cov_precision"].failures
    assert failures.get("no fingerprint", 0) == lacking
    if lacking:
        assert found["cov_precision"].of_each[0] == 0
        assert found["cov_precision_published"].of_each[0] == 0
        assert math.isnan(found["amsd_precision"].of_each[0])


def test_properties():
    n, held = len(GENERATED), len(HELD_OUT)
    values, others = np.arange(n) * 1.0, np.arange(held) + 2.5
    values[3] = np.nan
    found = figures(GENERATED, HELD_OUT, properties={"formation_energy": (values, others)})
    expected = wasserstein_distance(values[~np.isnan(values)], others)
    assert found["wdist_formation_energy_of_all"].value == pytest.approx(expected)
    assert "wdist_formation_energy" in found
    with pytest.raises(EvaluationError, match="wanted one number for each"):
        figures(GENERATED, HELD_OUT, properties={"x": (values[1:], others)})


def test_any_representation_of_fixed_shape():
    one = load(REPRESENTATIONS, "amd")(k=10)
    found = figures(GENERATED, HELD_OUT, representations={"amd": one})
    assert found["squared_mmd_amd"].value == found["squared_mmd_amd"].value
    graph = load(REPRESENTATIONS, "crystal_graph")()
    with pytest.raises(EvaluationError, match="of fixed shape"):
        figures(GENERATED, HELD_OUT, representations={"graph": graph})


@pytest.mark.parametrize("n", [0, 1])
@pytest.mark.parametrize("n_held", [0, 1, 2])
def test_next_to_nothing(n, n_held):
    found = figures(GENERATED[:n], HELD_OUT[:n_held])
    for figure in found.values():
        low, high = figure.interval(n_resamples=5)
        assert math.isnan(figure.value) or figure.value >= -2
        assert math.isnan(low) or low <= high
    if n_held and not n:
        assert found["cov_recall"].value == 0
    if not n:
        assert math.isnan(found["cov_precision"].value)
    if not n_held:
        assert math.isnan(found["cov_recall"].value)
    if not (n and n_held):
        assert math.isnan(found["wdist_density_of_all"].value)
        assert math.isnan(found["jsd_elements"].value)
    assert math.isnan(found["squared_mmd_structure"].value)


def test_attempts_that_all_failed_and_attempts_that_are_all_invalid():
    none = figures(Attempts.of(Crystals.empty(), [Failure(0, "x"), Failure(1, "x")]), HELD_OUT)
    assert none["cov_recall"].value == none["cov_precision"].value == 0
    assert math.isnan(none["cov_precision_published"].value)
    assert math.isnan(none["amsd_recall"].value)
    invalid = figures(Crystals.concatenate([OVERLAPPING] * 3), HELD_OUT)
    assert math.isnan(invalid["wdist_density"].value)
    assert invalid["wdist_density"].failures == {"not valid": 3}
    assert invalid["wdist_density_of_all"].value > 0


def test_junk_is_counted():
    junk = Crystals.concatenate(
        [
            Crystals.single(100 * np.eye(3), [[0, 0, 0]], [2]),
            Crystals.single(4 * np.eye(3), [[0, 0, 0], [0, 0, 0]], [118, 118]),
            Crystals.single(np.diag([1e-2, 50, 50]), [[0, 0, 0], [0.5, 0.5, 0.5]], [1, 9]),
        ]
    )
    for figure in figures(junk, HELD_OUT[:5]).values():
        assert isinstance(figure.value, float)


def test_the_order_of_attempts_does_not_matter():
    one, other = figures(GENERATED, HELD_OUT), figures(GENERATED[::-1], HELD_OUT)
    for name in COUNTED:
        assert one[name].value == pytest.approx(other[name].value, abs=1e-9), name


def test_intervals_lie_around_the_values(found):
    for name in COUNTED:
        low, high = found[name].interval(n_resamples=100)
        assert low <= found[name].value <= high, name


def test_a_recentred_number():
    # The number of different attempts among ten: 10 for each once, 6.5 on average with repetitions.
    number = recentred(lambda positions: float(len(np.unique(positions))), 10, high=12.0)
    assert number(np.arange(10)) == 10
    assert number(np.array([3, 1])) == 2
    random = np.random.default_rng(3)
    samples = [number(random.integers(0, 10, 10)) for _ in range(300)]
    assert np.mean(samples) == pytest.approx(10, abs=0.3)
    assert max(samples) <= 12


def test_what_was_kept_gives_the_same():
    kept = {}

    class Keeping(Evidence):
        def once(self, name, function):
            if name not in kept:
                kept[name] = function()
            return kept[name]

    evidence = Keeping(Attempts.of(GENERATED), held_out=HELD_OUT)
    first = {figure.name: figure.value for figure in measure(evidence)}
    n = len(kept)
    again = {figure.name: figure.value for figure in measure(dataclasses.replace(evidence))}
    assert first == again
    assert len(kept) == n == 3
