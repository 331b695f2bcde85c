"""The 132 Magpie statistics against matminer's."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from crystalcodec.crystals import Crystals
from crystalcodec.elements import SYMBOLS
from crystalcodec.failures import count_reasons
from crystalcodec.representations.base import RepresentationError
from crystalcodec.representations.composition import Magpie
from crystalcodec.representations.composition.magpie import magpie_properties
from crystalcodec.testing import check_representation, sample_crystals


def crystal(amounts):
    """A crystal that holds these amounts by atomic number."""
    numbers = np.repeat([*amounts], [*amounts.values()])
    n = len(numbers)
    coords = np.zeros((n, 3))
    coords[:, 0] = np.arange(n) / n
    return Crystals.single(np.diag([3.0 * n, 3.0, 3.0]), coords, numbers)


def made_formulas(n, seed):
    """Amounts by atomic number, of 1 to 6 elements up to Z = 103."""
    rng = np.random.default_rng(seed)
    formulas = []
    for _ in range(n):
        elements = rng.choice(np.arange(1, 104), rng.integers(1, 7), replace=False)
        formulas.append({int(z): int(rng.integers(1, 13)) for z in elements})
    return formulas


AWKWARD = [
    *({z: 1} for z in range(1, 119)),  # one element, also those that have no property at all
    {11: 1, 17: 1},  # ties for the mode
    {17: 2, 11: 2},
    {26: 3, 8: 3, 22: 1},
    {3: 1, 25: 1, 8: 1, 9: 1},
    {57: 1, 58: 1, 60: 2, 71: 2},  # rare earths, and ties among them
    {63: 1, 70: 1, 61: 1, 65: 1},
    {2: 4, 8: 1},  # elements without a melting point or an electronegativity
    {18: 1, 10: 1},
    {87: 1, 86: 2, 85: 1},
    {99: 2, 8: 3},
    {114: 1, 118: 1, 1: 1},
    {29: 997, 30: 3},  # far from equal
]


@pytest.fixture(scope="module")
def matminer():
    """Names and features of a list of formulas, by matminer."""
    composite = pytest.importorskip("matminer.featurizers.composition.composite")
    from pymatgen.core import Composition

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        featurizer = composite.ElementProperty.from_preset("magpie")

    def featurize(formulas):
        compositions = [Composition({SYMBOLS[z]: a for z, a in f.items()}) for f in formulas]
        return np.array([featurizer.featurize(c) for c in compositions])

    return featurizer.feature_labels(), featurize


@pytest.mark.parametrize("formulas", [made_formulas(500, 0), AWKWARD], ids=["made", "awkward"])
def test_features_are_those_of_matminer(formulas, matminer):
    _, featurize = matminer
    theirs = featurize(formulas)
    crystals = Crystals.concatenate([crystal(amounts) for amounts in formulas])
    scale = np.abs(theirs).max(axis=0) + 1e-30
    magpie = Magpie()
    assert np.abs((magpie.statistics(crystals) - theirs) / scale).max() < 1e-12
    result = magpie.encode(crystals)
    assert not result.failures
    assert np.abs((result["magpie"] - theirs) / scale).max() < 1e-6


def test_names_are_those_of_matminer(matminer):
    labels, _ = matminer
    assert Magpie().feature_names() == tuple(labels)


def test_properties_are_those_of_matminer():
    data = pytest.importorskip("matminer.utils.data")
    theirs = data.MagpieData(impute_nan=False).all_elemental_props
    values, names = magpie_properties()
    for j, name in enumerate(names):
        column = [theirs[name][symbol] for symbol in SYMBOLS[1:]]
        np.testing.assert_array_equal(values[1:, j], column)
    assert np.isnan(values[0]).all()
    assert not values.flags.writeable


def test_statistics_by_hand():
    # Al2O3: electronegativities 1.61 and 3.44, atomic numbers 13 and 8.
    magpie = Magpie()
    row = magpie.encode(crystal({13: 4, 8: 6}))["magpie"][0]
    found = dict(zip(magpie.feature_names(), row.tolist(), strict=True))
    for statistic, wanted in {
        "minimum Number": 8,
        "maximum Number": 13,
        "range Number": 5,
        "mean Number": 10,
        "avg_dev Number": 0.4 * 3 + 0.6 * 2,
        "mode Number": 8,
        "mean Electronegativity": 0.4 * 1.61 + 0.6 * 3.44,
        "mode Electronegativity": 3.44,
    }.items():
        assert found[f"MagpieData {statistic}"] == pytest.approx(wanted, rel=1e-6)


def test_unknown_properties_can_be_an_error():
    batch = Crystals.concatenate([crystal({11: 1}), crystal({2: 1, 18: 2}), crystal({113: 1})])
    result = Magpie(missing="error").encode(batch)
    assert result.index.tolist() == [0]
    assert count_reasons(result.failures) == {"property not known": 2}
    assert result.failures[0].detail == (
        "He has no MeltingT, Electronegativity; Ar has no Electronegativity"
    )
    np.testing.assert_array_equal(result["magpie"], Magpie().encode(batch[:1])["magpie"])


def test_other_parameters_conform_too():
    check_representation(Magpie(missing="error"))


def test_a_batch_over_several_blocks_is_its_single_crystals():
    crystals = sample_crystals(20, seed=9)
    many = np.arange(5000) % 20  # 1,489 crystals a block
    single = np.concatenate([Magpie().encode(one)["magpie"] for one in crystals])
    np.testing.assert_array_equal(Magpie().encode(crystals[many])["magpie"], single[many])


def test_a_policy_of_no_meaning_is_refused():
    with pytest.raises(RepresentationError, match="wanted one of mean, error"):
        Magpie(missing="zero")
