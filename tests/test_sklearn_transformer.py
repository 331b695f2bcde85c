"""Representations as scikit-learn transformers: scikit-learn's own checks, and what they miss."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks

from crystalcodec import IRCR, Crystals, to_ase, to_pymatgen
from crystalcodec.registry import REPRESENTATIONS, UnknownNameError, load
from crystalcodec.representations import features
from crystalcodec.representations.base import (
    Field,
    RaggedRepresentation,
    Representation,
    RepresentationError,
)
from crystalcodec.sklearn import CrystalEncoder, EncoderInputError, _defaults
from crystalcodec.testing import sample_crystals

CRYSTALS = sample_crystals(24)


def salts(n, seed=0):
    """Rock-salt-like cells, and a number that is linear in what their arrays hold."""
    rng = np.random.default_rng(seed)
    constants = rng.uniform(3, 6, n)
    numbers = np.array([rng.choice([3, 8, 9, 11, 12, 17], 2, replace=False) for _ in range(n)])
    crystals = Crystals(
        constants[:, None, None] * np.eye(3),
        np.tile([[0.0, 0, 0], [0.5, 0.5, 0.5]], (n, 1)),
        numbers.ravel(),
        np.arange(n + 1) * 2,
    )
    return crystals, 0.5 * constants - 0.05 * numbers[:, 0]


@dataclass(frozen=True)
class CountsOfSpecies(Representation):
    """How many atoms of each known element; the elements are found in the data."""

    elements: tuple[int, ...] = ()
    name: ClassVar[str] = "counts_of_species"
    lost: ClassVar[str] = "all but the formula."

    @property
    def fields(self):
        return (Field("counts", "continuous", "counts", (len(self.elements),)),)

    @property
    def needs_fit(self):
        return not self.elements

    def fit(self, crystals):
        return CountsOfSpecies(tuple(np.unique(crystals.numbers).tolist()))

    def _encode(self, crystals):
        return {"counts": crystals.element_counts[:, list(self.elements)].astype(np.float32)}


@dataclass(frozen=True)
class CellAndCounts(Representation):
    """Two arrays: the cell parameters, and how many sites there are."""

    name: ClassVar[str] = "cell_and_counts"
    lost: ClassVar[str] = "positions."

    @property
    def fields(self):
        return (
            Field("cell", "continuous", "cell", (2, 3)),
            Field("n_sites", "index", "n_sites", ()),
        )

    def _encode(self, crystals):
        cell = crystals.cell_parameters.reshape(-1, 2, 3).astype(np.float32)
        return {"cell": cell, "n_sites": crystals.n_sites}


@dataclass(frozen=True)
class Sites(RaggedRepresentation):
    """Atomic numbers, one row a site."""

    name: ClassVar[str] = "sites"
    lost: ClassVar[str] = "positions."

    @property
    def fields(self):
        return (Field("numbers", "index", "numbers", ("sites",)),)

    def _encode_ragged(self, crystals):
        return {"numbers": crystals.numbers.copy()}, {"sites": crystals.offsets}


class EncoderOfNumbers(CrystalEncoder):
    """What scikit-learn's checks take for a transformer of rows of numbers."""

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        tags.input_tags.one_d_array = False
        return tags


def crystals_of_numbers(rows):
    """A crystal for each row of numbers, so that the checks have something to encode."""
    rows = np.asarray(rows, float)
    lengths = 2 + np.abs(rows[:, 0]) % 5
    numbers = 1 + (np.abs(rows[:, -1]) * 7 % 80).astype(int)
    return Crystals(
        lengths[:, None, None] * np.eye(3),
        np.zeros((len(rows), 3)),
        numbers,
        np.arange(len(rows) + 1),
    )


CHECKS = [
    "check_estimator_cloneable",
    "check_estimator_tags_renamed",
    "check_valid_tag_types",
    "check_estimator_repr",
    "check_no_attributes_set_in_init",
    "check_fit_score_takes_y",
    "check_estimators_overwrite_params",
    "check_dont_overwrite_parameters",
    "check_estimators_fit_returns_self",
    "check_readonly_memmap_input",
    "check_mixin_order",
    "check_parameters_default_constructible",
    "check_methods_sample_order_invariance",
    "check_methods_subset_invariance",
    "check_fit2d_1sample",
    "check_get_params_invariance",
    "check_set_params",
    "check_dict_unchanged",
    "check_fit_idempotent",
    "check_fit_check_is_fitted",
    "check_transformers_unfitted",
    "check_pipeline_consistency",
    "check_estimators_pickle",
    "check_set_output_transform",
    "check_set_output_transform_pandas",
    "check_global_output_transform_pandas",
]


@pytest.mark.parametrize("name", CHECKS)
def test_scikit_learn_s_own_check(name, monkeypatch):
    monkeypatch.setattr("crystalcodec.sklearn._as_crystals", crystals_of_numbers)
    getattr(estimator_checks, name)("EncoderOfNumbers", EncoderOfNumbers("ircr", max_sites=2))


@pytest.mark.parametrize("value", [-1, 3.0, "helloworld", np.array([1.0, 4.0]), [1], {}, []])
def test_values_are_judged_by_fit_alone(value):
    """As check_do_not_raise_errors_in_init_or_set_params, which takes **flat for a parameter."""
    given = {"representation": value, "parameters": value, "refused": value}
    encoder = CrystalEncoder(**given).set_params(**given)
    assert encoder.get_params()["refused"] is value
    with pytest.raises((ValueError, TypeError)):
        encoder.fit(CRYSTALS)


@pytest.mark.parametrize("name", ["check_estimator_cloneable", "check_get_params_invariance"])
@pytest.mark.parametrize(
    "encoder",
    [CrystalEncoder(), CrystalEncoder(IRCR(8)), CrystalEncoder(parameters={"max_sites": 9})],
    ids=["default", "object", "dictionary"],
)
def test_ways_to_say_it_are_all_parameters(name, encoder):
    getattr(estimator_checks, name)("CrystalEncoder", encoder)


def test_rows_are_the_arrays_in_the_order_of_the_names():
    encoder = CrystalEncoder("ircr").fit(CRYSTALS)
    rows = encoder.transform(CRYSTALS)
    encoded = IRCR().encode(CRYSTALS)
    assert rows.dtype == np.float32
    assert rows.shape == (24, 432) == (24, encoder.n_features_out_)
    names = encoder.get_feature_names_out()
    assert names.tolist() == list(IRCR().feature_names())
    # Row 94 of the array holds the lengths a, b, c.
    where = names.tolist().index("ircr_94_1")
    assert np.allclose(rows[:, where], CRYSTALS.cell_parameters[:, 1])
    assert np.array_equal(rows.reshape(24, 144, 3), encoded["ircr"])


def test_several_arrays_are_joined_in_the_order_of_the_names():
    encoder = CrystalEncoder(CellAndCounts()).fit(CRYSTALS)
    rows = encoder.transform(CRYSTALS)
    assert encoder.get_feature_names_out().tolist() == [
        "cell_0_0", "cell_0_1", "cell_0_2", "cell_1_0", "cell_1_1", "cell_1_2", "n_sites",
    ]  # fmt: skip
    assert rows.dtype == np.float32
    assert np.allclose(rows[:, :6], CRYSTALS.cell_parameters, rtol=1e-6)
    assert np.array_equal(rows[:, 6], CRYSTALS.n_sites)


def test_all_ways_to_give_crystals_are_the_same():
    encoder = CrystalEncoder("ircr").fit(CRYSTALS)
    rows = encoder.transform(CRYSTALS)
    assert np.array_equal(encoder.transform([*CRYSTALS]), rows)
    assert np.array_equal(encoder.transform(to_pymatgen(CRYSTALS)), rows)
    assert np.allclose(encoder.transform(to_ase(CRYSTALS[5:])), rows[5:], atol=1e-5)
    column = np.empty(24, object)
    column[:] = to_pymatgen(CRYSTALS)
    assert np.array_equal(encoder.transform(column), rows)


def test_a_pandas_series_of_structures_and_a_frame_as_output():
    pandas = pytest.importorskip("pandas")
    series = pandas.Series(to_pymatgen(CRYSTALS), index=[f"c{i}" for i in range(24)])
    encoder = CrystalEncoder("ircr").set_output(transform="pandas")
    frame = encoder.fit_transform(series)
    assert frame.columns.tolist() == list(IRCR().feature_names())
    assert frame.index.tolist() == series.index.tolist()
    assert np.array_equal(frame.to_numpy(), CrystalEncoder("ircr").fit_transform(CRYSTALS))
    assert encoder.fit_transform(CRYSTALS).shape == (24, 432)


def test_no_crystals_give_no_rows():
    encoder = CrystalEncoder("ircr").fit(CRYSTALS)
    assert encoder.transform(Crystals.empty()).shape == (0, 432)
    assert encoder.transform([]).shape == (0, 432)


def test_large_batches_are_encoded_in_pieces(monkeypatch):
    whole = CrystalEncoder("ircr").fit_transform(CRYSTALS)
    monkeypatch.setattr(features, "_PIECE", 5)
    assert np.array_equal(CrystalEncoder("ircr").fit_transform(CRYSTALS), whole)
    encoder = CrystalEncoder("ircr", max_sites=10, refused="nan").fit(CRYSTALS)
    rows = encoder.transform(CRYSTALS)
    assert np.array_equal(np.isnan(rows).any(axis=1), CRYSTALS.n_sites > 10)


def test_a_refused_crystal_is_an_error_that_names_it():
    encoder = CrystalEncoder("ircr", max_sites=10).fit(CRYSTALS)
    too_many = np.flatnonzero(CRYSTALS.n_sites > 10)
    told = rf"{len(too_many)} of 24 crystals \({len(too_many)} too many sites\); the first is "
    with pytest.raises(RepresentationError, match=told + f"crystal {too_many[0]}: too many sites"):
        encoder.transform(CRYSTALS)


def test_or_a_row_of_nan_and_is_counted():
    encoder = CrystalEncoder("ircr", max_sites=10, refused="nan").fit(CRYSTALS)
    rows = encoder.transform(CRYSTALS)
    too_many = CRYSTALS.n_sites > 10
    assert encoder.n_refused_ == too_many.sum() == len(encoder.failures_) > 0
    assert [failure.index for failure in encoder.failures_] == np.flatnonzero(too_many).tolist()
    assert np.isnan(rows[too_many]).all()
    held = CrystalEncoder("ircr", max_sites=10).fit(CRYSTALS).transform(CRYSTALS[~too_many])
    assert np.array_equal(rows[~too_many], held)
    encoder.transform(CRYSTALS[~too_many])
    assert encoder.n_refused_ == 0
    assert encoder.failures_ == ()


@pytest.mark.parametrize(
    "encoder",
    [
        CrystalEncoder("ircr", max_sites=7),
        CrystalEncoder("ircr", parameters={"max_sites": 7}),
        CrystalEncoder("ircr", parameters={"max_sites": 9}, max_sites=7),
        CrystalEncoder(IRCR(max_sites=7)),
        CrystalEncoder(IRCR(), max_sites=7),
        CrystalEncoder().set_params(max_sites=7),
        CrystalEncoder(IRCR()).set_params(max_sites=np.int64(7)),
        CrystalEncoder("crystens").set_params(representation="ircr", max_sites=7),
        clone(CrystalEncoder("ircr", max_sites=7)),
    ],
)
def test_parameters_reach_the_representation(encoder):
    assert encoder.fit(CRYSTALS).representation_ == IRCR(max_sites=7)
    assert encoder.get_params()["max_sites"] == 7


def test_parameters_of_the_representation_are_listed_with_their_values():
    assert CrystalEncoder().get_params()["max_sites"] == 20
    assert CrystalEncoder(IRCR(8)).get_params()["max_sites"] == 8
    assert "max_sites" not in CrystalEncoder().get_params(deep=False)
    assert repr(CrystalEncoder("ircr", max_sites=4)) == (
        "CrystalEncoder(parameters={'max_sites': 4})"
    )


@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_no_representation_has_a_parameter_of_the_transformer_s_own_name(name):
    own = {"representation", "parameters", "refused"}
    assert not own & {*_defaults(load(REPRESENTATIONS, name))}


def test_a_search_over_the_parameters_of_representation_and_model():
    crystals, energy = salts(60)
    pipeline = make_pipeline(CrystalEncoder("ircr"), StandardScaler(), Ridge())
    grid = {"crystalencoder__max_sites": [1, 2, 4], "ridge__alpha": [1e-3, 1e3]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one site does not hold two: scores of NaN
        search = GridSearchCV(pipeline, grid, cv=3).fit(crystals, energy)
    scores = search.cv_results_["mean_test_score"].reshape(3, 2)
    assert np.isnan(scores[0]).all()
    assert search.best_params_["ridge__alpha"] == 1e-3
    assert search.best_score_ > 0.99
    assert search.best_estimator_.predict(crystals[:3]).shape == (3,)


def test_a_search_over_representations():
    crystals, energy = salts(30)
    pipeline = make_pipeline(CrystalEncoder(), Ridge())
    chosen = ["ircr", IRCR(max_sites=2), CountsOfSpecies()]
    search = GridSearchCV(pipeline, {"crystalencoder__representation": chosen}, cv=3)
    search.fit(crystals, energy)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_cross_validation_of_crystals_and_of_lists_is_the_same():
    crystals, energy = salts(40)
    pipeline = make_pipeline(CrystalEncoder("ircr"), StandardScaler(), Ridge(1e-3))
    scores = cross_val_score(pipeline, crystals, energy, cv=4)
    assert (scores > 0.99).all()
    assert np.array_equal(cross_val_score(pipeline, [*crystals], energy, cv=4), scores)
    assert np.allclose(cross_val_score(pipeline, to_pymatgen(crystals), energy, cv=4), scores)


def test_rows_of_nan_can_be_filled_so_that_every_crystal_is_predicted():
    crystals, energy = salts(40)
    odd = Crystals.concatenate([crystals[:39], crystals[39:].supercell(2)])
    encoder = CrystalEncoder("ircr", max_sites=4, refused="nan")
    pipeline = make_pipeline(encoder, SimpleImputer(), Ridge())
    predicted = cross_val_predict(pipeline, odd, energy, cv=4)
    assert np.isfinite(predicted).all()


def test_parameters_that_are_found_in_crystals_are_found_by_fit():
    crystals, _ = salts(30)
    encoder = CrystalEncoder(CountsOfSpecies()).fit(crystals)
    assert encoder.representation_.elements == (3, 8, 9, 11, 12, 17)
    assert encoder.transform(crystals[:4]).sum(axis=1).tolist() == [2.0] * 4
    assert len(encoder.get_feature_names_out()) == 6
    assert encoder.representation == CountsOfSpecies()


def test_before_fit_there_is_nothing():
    for call in ("transform", "get_feature_names_out"):
        with pytest.raises(NotFittedError):
            getattr(CrystalEncoder(), call)(CRYSTALS)


@pytest.mark.parametrize(
    ("encoder", "error", "told"),
    [
        (CrystalEncoder("icrc"), UnknownNameError, "did you mean 'ircr'"),
        (CrystalEncoder("ircr", max_site=4), RepresentationError, "did you mean 'max_sites'"),
        (CrystalEncoder(IRCR(), max_site=4), RepresentationError, "did you mean 'max_sites'"),
        (CrystalEncoder("ircr", max_sites=-1), RepresentationError, "max_sites"),
        (CrystalEncoder(refused="drop"), RepresentationError, "wanted 'error' or 'nan'"),
        (CrystalEncoder(Sites()), RepresentationError, "has another length for each crystal"),
    ],
)
def test_what_cannot_work_is_told_by_fit(encoder, error, told):
    with pytest.raises(error, match=told):
        encoder.fit(CRYSTALS)


def test_a_wrong_name_is_told_where_it_is_set():
    encoder = CrystalEncoder()
    with pytest.raises(ValueError, match="did you mean 'max_sites'"):
        encoder.set_params(max_sights=3, refused="nan")
    assert encoder.get_params(deep=False) == CrystalEncoder().get_params(deep=False)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("NaCl.cif", "str 'NaCl.cif': wanted Crystals"),
        (7, "int '7': wanted Crystals"),
        ([[1.0, 2.0]], r"item 0 is list '\[1.0, 2.0\]'"),
        ([CRYSTALS[0], None], "item 1 is NoneType"),
        ([CRYSTALS[0], CRYSTALS[:2]], "item 1 holds 2 crystals"),
        (to_pymatgen(CRYSTALS[:1])[0], "one Structure: put it in a list"),
        (to_ase(CRYSTALS[:1])[0], "one Atoms: put it in a list"),
        ([CRYSTALS[0], *to_ase(CRYSTALS[:1])], "item 0 is Crystals .* item 1 is Atoms"),
    ],
)
def test_what_are_no_crystals_is_told(given, told):
    with pytest.raises(EncoderInputError, match=told):
        CrystalEncoder().fit(given)


def test_too_many_numbers_for_the_memory_are_told_before_the_work(monkeypatch):
    encoder = CrystalEncoder("ircr").fit(CRYSTALS)
    monkeypatch.setattr(features, "available_memory", lambda: 1000)
    with pytest.raises(RepresentationError, match="ircr of 24 crystals takes"):
        encoder.transform(CRYSTALS)
