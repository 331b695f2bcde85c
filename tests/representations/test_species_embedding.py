"""Species: whose oxidation states are given, guessed or not known, and their pooled vectors."""

from __future__ import annotations

import csv
import importlib.util

import numpy as np
import pytest
from pymatgen.core import Composition

from crystalcodec.crystals import Crystals
from crystalcodec.elements import SYMBOLS
from crystalcodec.failures import count_reasons
from crystalcodec.representations.base import RepresentationError
from crystalcodec.representations.composition import POOLINGS, SpeciesEmbedding
from crystalcodec.representations.composition.oxidation_states import species_name
from crystalcodec.representations.element_tables import (
    SPECIES_TABLES,
    _data_folder,
    species_table,
)
from crystalcodec.testing import check_representation, sample_crystals

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("elementembeddings") is None, reason="ElementEmbeddings is not there"
)


def crystal(*numbers):
    """Atoms in a row, in a cell that has room for them."""
    n = len(numbers)
    coords = np.zeros((n, 3))
    coords[:, 0] = np.arange(n) / n
    return Crystals.single(np.diag([3.0 * n, 3.0, 3.0]), coords, numbers)


SALT, MAGNETITE, IRON = crystal(11, 17), crystal(26, 8, 26, 8, 26, 8, 8), crystal(26, 26)
ALLOY = crystal(28, 28, 28, 13)  # Ni3Al


def row(symbol_number, state, table="skipspecies"):
    known = species_table(table)
    (found,) = np.flatnonzero((known.numbers == symbol_number) & (known.oxidation_states == state))
    return known.values[found]


def species(assigned, i):
    part = slice(assigned.starts[i], assigned.starts[i + 1])
    return {
        species_name(z, state): amount
        for z, state, amount in zip(
            assigned.numbers[part].tolist(),
            assigned.oxidation_states[part].tolist(),
            assigned.amounts[part].tolist(),
            strict=True,
        )
    }


def test_guessed_species_and_where_none_are():
    batch = Crystals.concatenate([SALT, ALLOY, MAGNETITE, IRON])
    assigned = SpeciesEmbedding().assign(batch)
    assert assigned.how.tolist() == ["guessed", "none", "guessed", "guessed"]
    assert [species(assigned, i) for i in range(4)] == [
        {"Na+": 1, "Cl-": 1},
        {},
        {"Fe2+": 1, "Fe3+": 2, "O2-": 4},
        {"Fe0+": 1},
    ]
    assert assigned.counts == {"given": 0, "guessed": 3, "none": 1}
    assert str(assigned) == "oxidation states of 4 crystals: 0 given, 3 guessed, 1 not known"
    (failure,) = assigned.failures
    assert (failure.index, failure.reason) == (1, "no oxidation states")
    assert "Al1Ni3" in failure.detail


def test_the_mean_is_that_of_the_rows_of_the_species():
    batch = Crystals.concatenate([ALLOY, SALT, MAGNETITE])
    result = SpeciesEmbedding().encode(batch)
    assert result.index.tolist() == [1, 2]
    wanted = [
        (row(11, 1) + row(17, -1)) / 2,
        (row(26, 2) + 2 * row(26, 3) + 4 * row(8, -2)) / 7,
    ]
    np.testing.assert_allclose(result["species_embedding"], wanted, rtol=1e-5, atol=1e-6)


def test_states_by_site_are_taken_as_they_stand():
    # All iron is Fe3+ here, which is not neutral, and no guess would say so.
    states = [3, -2, 3, -2, 3, -2, -2]
    embedding = SpeciesEmbedding()
    result = embedding.encode(MAGNETITE, states)
    wanted = (3 * row(26, 3) + 4 * row(8, -2)) / 7
    np.testing.assert_allclose(result["species_embedding"][0], wanted, rtol=1e-5, atol=1e-6)
    assert embedding.assign(MAGNETITE, states).how.tolist() == ["given"]


def test_states_may_be_given_for_some_crystals_only():
    batch = Crystals.concatenate([SALT, ALLOY, MAGNETITE])
    states = np.full(len(batch.numbers), np.nan)
    states[2:6] = [0, 0, 0, 0]
    assigned = SpeciesEmbedding().assign(batch, states)
    assert assigned.how.tolist() == ["guessed", "given", "guessed"]
    assert species(assigned, 1) == {"Al0+": 1, "Ni0+": 3}
    alone = SpeciesEmbedding(missing="zero").encode(batch[[1]], states[2:6])
    together = SpeciesEmbedding(missing="zero").encode(batch, states)
    np.testing.assert_array_equal(together["species_embedding"][1], alone["species_embedding"][0])


@pytest.mark.parametrize(
    ("states", "reason", "detail"),
    [
        ([1.0, np.nan], "oxidation states incomplete", "give all or none"),
        ([0.5, -0.5], "no such oxidation state", "0.5, wanted whole numbers"),
        ([1, -12], "no such oxidation state", "-12, wanted whole numbers from -9 to 9"),
        ([np.inf, -1], "no such oxidation state", "inf"),
    ],
    ids=["incomplete", "fraction", "large", "infinite"],
)
def test_states_of_no_meaning_are_failures(states, reason, detail):
    batch = Crystals.concatenate([IRON, SALT])
    result = SpeciesEmbedding(missing="zero").encode(batch, [0, 0, *states])
    assert result.index.tolist() == [0]
    (failure,) = result.failures
    assert (failure.index, failure.reason) == (1, reason)
    assert detail in failure.detail


@pytest.mark.parametrize("states", [[1], [[1, -1]], ["1", "-1"]], ids=["few", "rows", "text"])
def test_states_that_are_not_a_number_a_site_are_refused(states):
    with pytest.raises(RepresentationError, match="wanted a number for each of the 2 sites"):
        SpeciesEmbedding().encode(SALT, states)


def test_states_by_element_hold_and_guesses_keep_to_them():
    batch = Crystals.concatenate([SALT, crystal(26, 26, 8, 8, 8), MAGNETITE])
    embedding = SpeciesEmbedding(oxidation_states={"Na": 1, "Cl": -1, "Fe": 3})
    assigned = embedding.assign(batch)
    assert assigned.how.tolist() == ["given", "guessed", "none"]  # Fe3O4 of Fe3+ is not neutral
    assert species(assigned, 1) == {"O2-": 3, "Fe3+": 2}
    by_site = embedding.assign(SALT, [0, 0])
    assert species(by_site, 0) == {"Na0+": 1, "Cl0+": 1}  # sites come first


def test_states_by_element_hold_where_none_are_given_by_site():
    batch = Crystals.concatenate([ALLOY, SALT])
    embedding = SpeciesEmbedding(oxidation_states={"Na": 3, "Cl": -1})
    assigned = embedding.assign(batch, [0, 0, 0, 0, np.nan, np.nan])
    assert assigned.how.tolist() == ["given", "given"]
    assert species(assigned, 1) == {"Na3+": 1, "Cl-": 1}


def test_guessing_can_be_left_out():
    result = SpeciesEmbedding(guess=False).encode(SALT)
    assert count_reasons(result.failures) == {"no oxidation states": 1}
    assert not SpeciesEmbedding(guess=False).encode(SALT, [1, -1]).failures


def test_a_long_formula_is_not_guessed():
    result = SpeciesEmbedding(max_formula_atoms=6).encode(MAGNETITE)
    (failure,) = result.failures
    assert failure.reason == "formula too long"
    assert "O4Fe3 has 7 atoms" in failure.detail
    assert not SpeciesEmbedding(max_formula_atoms=7).encode(MAGNETITE).failures
    assert not SpeciesEmbedding(max_formula_atoms=2).encode(SALT.supercell(3)).failures


def test_a_species_that_the_table_lacks_follows_the_policy():
    batch = Crystals.concatenate([SALT, crystal(60), SALT])
    result = SpeciesEmbedding().encode(batch, [1, -1, 9, 1, -1])
    (failure,) = result.failures
    assert (failure.index, failure.reason) == (1, "species not in the table")
    assert failure.detail.startswith("Nd9+, not in 'skipspecies'")
    found = SpeciesEmbedding().missing_species(batch, [1, -1, 9, 2, -1])
    assert str(found) == "2 of 3 crystals hold what 'skipspecies' lacks: Nd9+ in 1, Na2+ in 1"
    zero = SpeciesEmbedding(missing="zero").encode(batch[[1]], [9])["species_embedding"]
    np.testing.assert_array_equal(zero, np.zeros((1, 200)))
    mean = SpeciesEmbedding(missing="mean").encode(batch[[1]], [9])["species_embedding"]
    wanted = species_table("skipspecies").values.mean(axis=0)
    np.testing.assert_allclose(mean[0], wanted, rtol=1e-5, atol=1e-7)


def test_guesses_are_those_of_pymatgen():
    formulas = ["LiFePO4", "Fe2O3", "Mn3O4", "BaTiO3", "CsPbI3", "Cu2O", "Li2MnO3", "TiO2", "GaAs"]
    batch = Crystals.concatenate(
        [
            crystal(*(e.Z for e, n in Composition(f).items() for _ in range(int(n))))
            for f in formulas
        ]
    )
    assigned = SpeciesEmbedding().assign(batch)
    for i, formula in enumerate(formulas):
        charged = Composition(formula).add_charges_from_oxi_state_guesses()
        assert species(assigned, i) == {
            species_name(s.Z, int(s.oxi_state)): n for s, n in charged.items()
        }


def test_vectors_are_those_of_the_package():
    composition = pytest.importorskip("elementembeddings.composition", exc_type=ImportError)
    core = pytest.importorskip("elementembeddings.core", exc_type=ImportError)
    loaded = core.SpeciesEmbedding.load_data("skipspecies", include_neutral=True)
    names = ["mean", "sum", "minpool", "maxpool", "range"]
    ours = ("mean", "sum", "minimum", "maximum", "range")
    batch = Crystals.concatenate([SALT, MAGNETITE])
    theirs = [
        composition.SpeciesCompositionalEmbedding(amounts, loaded).feature_vector(names)
        for amounts in ({"Na+": 1, "Cl-": 1}, {"Fe2+": 1, "Fe3+": 2, "O2-": 4})
    ]
    array = SpeciesEmbedding(pooling=ours).encode(batch)["species_embedding"]
    np.testing.assert_allclose(array, theirs, rtol=1e-5, atol=1e-5)


def test_names_of_species_are_those_of_the_table():
    folder = _data_folder() / "species_representations"
    with (folder / SPECIES_TABLES["skipspecies"].file).open() as lines:
        names = [line[0] for line in csv.reader(lines)][1:]
    table = species_table("skipspecies")
    ours = map(species_name, table.numbers.tolist(), table.oxidation_states.tolist())
    assert [*ours] == names


def test_many_crystals_are_their_single_ones():
    kinds = Crystals.concatenate([SALT, MAGNETITE, ALLOY, IRON, crystal(22, 8, 8)])
    many = np.random.default_rng(0).integers(0, 5, 3000)
    embedding = SpeciesEmbedding(pooling=POOLINGS)
    single = embedding.encode(kinds)
    together = embedding.encode(kinds[many])
    place = np.full(5, -1)
    place[single.index] = np.arange(len(single))
    np.testing.assert_array_equal(together.index, np.flatnonzero(place[many] >= 0))
    np.testing.assert_array_equal(
        together["species_embedding"], single["species_embedding"][place[many[together.index]]]
    )


@pytest.mark.parametrize(
    "parameters",
    [
        {"missing": "zero", "pooling": POOLINGS},
        {"oxidation_states": {SYMBOLS[z]: z % 7 - 3 for z in range(1, 95)}, "missing": "mean"},
    ],
    ids=["zero", "by element"],
)
def test_other_parameters_conform_too(parameters):
    representation = SpeciesEmbedding(**parameters)
    assert len(representation.encode(sample_crystals())) >= 8
    check_representation(representation)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"table": "magpie"}, "no table 'magpie'"),
        ({"pooling": "median"}, "no pooling"),
        ({"missing": "drop"}, "wanted one of error, zero, mean"),
        ({"oxidation_states": {"Xx": 1}}, "oxidation state 1 of 'Xx'"),
        ({"oxidation_states": (("Na", 12),)}, "from -9 to 9"),
        ({"oxidation_states": (("Na", 1.5),)}, "a whole number"),
        ({"oxidation_states": (("Na", 1), ("Na", 2))}, "named twice"),
        ({"max_formula_atoms": 0}, "wanted 1 up"),
    ],
    ids=["table", "pooling", "missing", "element", "large", "fraction", "twice", "atoms"],
)
def test_parameters_of_no_meaning_are_refused(parameters, message):
    with pytest.raises(RepresentationError, match=message):
        SpeciesEmbedding(**parameters)
