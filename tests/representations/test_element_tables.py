"""Tables of elements and species against the package that carries them, and by hand."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys

import numpy as np
import pytest

from crystalcodec.elements import ATOMIC_NUMBERS, SYMBOLS
from crystalcodec.registry import MissingExtraError
from crystalcodec.representations import element_tables
from crystalcodec.representations.base import RepresentationError
from crystalcodec.representations.composition.magpie import magpie_properties
from crystalcodec.representations.element_tables import (
    ELEMENT_TABLES,
    PETTIFOR_NUMBERS,
    PETTIFOR_ORDER,
    SPECIES_TABLES,
    element_table,
    species_table,
)

needs_tables = pytest.mark.skipif(
    importlib.util.find_spec("elementembeddings") is None, reason="ElementEmbeddings is not there"
)


@pytest.fixture(scope="module")
def peer():
    """The classes of ElementEmbeddings; seconds to import."""
    return pytest.importorskip("elementembeddings.core", exc_type=ImportError)


@needs_tables
@pytest.mark.parametrize("name", [n for n in ELEMENT_TABLES if n != "oliynyk_raw"])
def test_a_table_is_what_the_package_loads(name, peer):
    table, theirs = element_table(name), peer.Embedding.load_data(name).embeddings
    known = {symbol: row for symbol, row in theirs.items() if symbol in ATOMIC_NUMBERS}
    assert set(table.elements) == set(known)
    for symbol, row in known.items():
        # pandas reads decimal numbers to some 1e-13 only
        np.testing.assert_allclose(table.values[ATOMIC_NUMBERS[symbol]], row, rtol=1e-12)
    lacking = [z for z in range(119) if SYMBOLS[z] not in known]
    assert 0 in lacking
    assert np.isnan(table.values[lacking]).all()
    assert table.values.shape == (119, ELEMENT_TABLES[name].dimension)
    assert len(set(table.feature_names)) == ELEMENT_TABLES[name].dimension


@needs_tables
def test_no_table_of_the_package_is_left_out():
    from elementembeddings.utils.config import (
        DEFAULT_ELEMENT_EMBEDDINGS,
        DEFAULT_SPECIES_EMBEDDINGS,
    )

    assert {name: source.file for name, source in ELEMENT_TABLES.items()} == {
        **DEFAULT_ELEMENT_EMBEDDINGS,
        "oliynyk_raw": "oliynyk.csv",
    }
    assert {name: source.file for name, source in SPECIES_TABLES.items()} == (
        DEFAULT_SPECIES_EMBEDDINGS
    )


@needs_tables
def test_numbers_known_by_heart():
    magpie = element_table("magpie")
    chlorine = dict(zip(magpie.feature_names, magpie.values[17].tolist(), strict=True))
    assert chlorine["Number"] == 17
    assert chlorine["Electronegativity"] == 3.16
    assert chlorine["AtomicWeight"] == 35.453
    assert chlorine["NpValence"] == 5
    assert magpie.doi == "10.1038/npjcompumats.2016.28"
    assert len(magpie.elements) == 97
    assert not magpie.has[0]


@needs_tables
def test_a_row_with_a_gap_is_not_had():
    raw, filled = element_table("oliynyk_raw"), element_table("oliynyk")
    gaps = np.isnan(raw.values).any(axis=1) & ~np.isnan(raw.values).all(axis=1)
    assert gaps.sum() == 10
    assert not raw.has[gaps].any()
    assert filled.has[gaps].all()
    known = ~np.isnan(raw.values)
    np.testing.assert_array_equal(raw.values[known], filled.values[known])


@needs_tables
def test_magpie_of_both_packages_is_the_same_where_both_know():
    table = element_table("magpie")
    properties, names = magpie_properties()
    assert names == table.feature_names
    both = ~np.isnan(properties) & ~np.isnan(table.values)
    assert both.sum() > 2000
    np.testing.assert_array_equal(properties[both], table.values[both])


@needs_tables
def test_scales_are_one_hot_in_their_order():
    np.testing.assert_array_equal(element_table("atomic").values[1:], np.eye(118))
    pettifor = element_table("mod_petti")
    assert pettifor.feature_names == PETTIFOR_ORDER
    for symbol in ("He", "La", "O", "H", "Lr"):
        row = pettifor.values[ATOMIC_NUMBERS[symbol]]
        assert row.sum() == 1
        assert row[PETTIFOR_ORDER.index(symbol)] == 1
    assert "Rf" not in pettifor.elements


def test_the_pettifor_scale_numbers_each_element_once():
    assert sorted(PETTIFOR_NUMBERS[1:104].tolist()) == list(range(103))
    assert np.isnan(PETTIFOR_NUMBERS[[0, *range(104, 119)]]).all()
    assert [PETTIFOR_NUMBERS[ATOMIC_NUMBERS[s]] for s in ("He", "Na", "Li", "H")] == [
        0,
        10,
        11,
        102,
    ]
    assert not PETTIFOR_NUMBERS.flags.writeable


@needs_tables
@pytest.mark.parametrize("name", SPECIES_TABLES)
def test_species_are_those_that_the_package_loads(name, peer):
    from elementembeddings.utils.species import parse_species

    table = species_table(name)
    theirs = peer.SpeciesEmbedding.load_data(name, include_neutral=True).embeddings
    assert len(table.numbers) == len(theirs) == 336
    ours = zip(table.numbers.tolist(), table.oxidation_states.tolist(), table.values, strict=True)
    for (number, state, row), (text, their_row) in zip(ours, theirs.items(), strict=True):
        assert (SYMBOLS[number], float(state)) == parse_species(text)
        np.testing.assert_allclose(row, their_row, rtol=1e-12)


@needs_tables
def test_iron_has_its_species():
    table = species_table("skipspecies")
    states = table.oxidation_states[table.numbers == 26].tolist()
    assert {2, 3} <= set(states)
    assert len(set(states)) == len(states)


@pytest.mark.parametrize("text", ["Fe", "Fe2.5+", "fe2+", "Xx+", ""])
def test_text_that_is_no_species_is_refused(text):
    with pytest.raises((ValueError, KeyError)):
        element_tables._parse_species(text)


@needs_tables
def test_tables_are_read_once_and_cannot_be_written():
    table = element_table("megnet16")
    assert element_table("megnet16") is table
    with pytest.raises(ValueError, match="read-only"):
        table.values[1, 0] = 1.0
    with pytest.raises(ValueError, match="read-only"):
        species_table("skipspecies").values[1, 0] = 1.0


@needs_tables
def test_reading_imports_neither_the_package_nor_its_plotting():
    code = (
        "import sys; from crystalcodec.representations.element_tables import *;"
        "element_table('mat2vec'); species_table('skipspecies');"
        "print([m for m in ('elementembeddings', 'umap', 'pandas') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_an_unknown_table_is_refused_with_the_nearest_names():
    with pytest.raises(RepresentationError, match="did you mean 'mat2vec'"):
        element_table("mat2vek")
    with pytest.raises(RepresentationError, match="no table 'magpie'"):
        species_table("magpie")


def test_without_the_package_the_error_names_the_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for read, name in ((element_table, "magpie"), (species_table, "skipspecies")):
        with pytest.raises(MissingExtraError, match=r"crystalcodec\[descriptors\]"):
            read.__wrapped__(name)


def test_every_doi_is_one():
    for name, source in {**ELEMENT_TABLES, **SPECIES_TABLES}.items():
        assert re.fullmatch(r"10\.\d{4,5}/\S+", source.doi) or name in ("atomic", "random_200")
