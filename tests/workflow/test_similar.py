"""The nearest known crystals: those of the whole matrix, streams, failures, the command."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from typer.testing import CliRunner

from crystalcodec import IRCR, Crystals, write
from crystalcodec.cli import app
from crystalcodec.data import Dataset
from crystalcodec.evaluation.similarity import SimilarityError, pairwise
from crystalcodec.representations.base import (
    Field,
    RaggedRepresentation,
    Representation,
    RepresentationError,
)
from crystalcodec.representations.features import features_of
from crystalcodec.testing import sample_crystals
from crystalcodec.workflow import similar
from crystalcodec.workflow.similar import SimilarReport, find_similar

CRYSTALS = sample_crystals(40)


def cubes(*constants, numbers=84):
    """Simple cubic crystals of one atom."""
    n = len(constants)
    lattices = np.array(constants, float)[:, None, None] * np.eye(3)
    return Crystals(lattices, np.zeros((n, 3)), np.full(n, numbers), np.arange(n + 1))


@pytest.fixture
def dataset(tmp_path):
    crystals = cubes(3, 4, 5, 6, 7)
    path = tmp_path / "known.parquet"
    columns = {"gap": [0.5, 1.0, np.nan, 2.0, 2.5]}
    Dataset.from_crystals(crystals, ids=[f"po-{i}" for i in range(5)], properties=columns).write(
        path
    )
    return path


def ids(report):
    return [[near.id for near in found] for found in report.neighbours]


def test_known_answer(dataset):
    report = find_similar(cubes(5.4), dataset, IRCR(max_sites=1), k=3)
    assert ids(report) == [["po-2", "po-3", "po-1"]]
    # Three lengths differ by the same; all other numbers are equal.
    values = [near.value for near in report.neighbours[0]]
    assert np.allclose(values, np.sqrt(3) * np.array([0.4, 0.6, 1.4]), atol=1e-6)
    first = report.neighbours[0][0]
    assert first.formula == "Po"
    assert first.crystal == cubes(5)
    assert first.properties == {"gap": None}
    assert report.n_searched == 5
    assert report.n_failed == 0


@pytest.mark.parametrize("metric", ["manhattan", "cosine", "spearman"])
@pytest.mark.parametrize("standardise", [False, True])
def test_a_stream_finds_what_the_whole_matrix_has(metric, standardise, monkeypatch):
    monkeypatch.setattr(similar, "_BATCH", 7)
    queries, ircr = CRYSTALS[3:6], IRCR()
    report = find_similar(queries, CRYSTALS, ircr, k=6, metric=metric, standardise=standardise)
    rows = features_of(ircr, CRYSTALS).rows.astype(float)
    if standardise:
        varies = rows.std(axis=0) > 0
        rows = (rows[:, varies] - rows[:, varies].mean(axis=0)) / rows[:, varies].std(axis=0)
        rows = rows.astype(np.float32)  # ranks: numbers equal but for round-off are equal
    whole = pairwise(rows[3:6], rows, metric)
    cost = whole if metric == "manhattan" else -whole
    expected = np.argsort(cost.round(9), axis=1, kind="stable")[:, :6]
    assert ids(report) == [[str(i) for i in row] for row in expected]
    values = [[near.value for near in found] for found in report.neighbours]
    assert np.allclose(values, np.take_along_axis(whole, expected, axis=1), atol=1e-6)
    assert [found[0].crystal for found in report.neighbours] == [*queries]


def test_failures_of_either_side_are_counted_and_shift_nothing():
    known = Crystals.concatenate([cubes(9), cubes(3).supercell(2), cubes(4), cubes(5)])
    queries = Crystals.concatenate([cubes(3).supercell(3), cubes(4.1)])
    report = find_similar(queries, known, IRCR(max_sites=4), k=2)
    assert report.queries == ("1",)
    assert ids(report) == [["2", "3"]]
    assert report.n_searched == 3
    assert report.refused == {"too many sites": 1}
    assert [failure.index for failure in report.query_failures] == [0]
    assert report.n_failed == 2


def test_files_that_cannot_be_read_are_counted(tmp_path):
    write(cubes(3, 4), tmp_path / "known.extxyz")
    (tmp_path / "bad.cif").write_text("data_bad\n")
    report = find_similar(cubes(3), tmp_path, IRCR(max_sites=1))
    assert report.n_searched == 2
    assert report.unread.total() == 1


@dataclass(frozen=True)
class Species(Representation):
    """How many atoms of each element there is; the elements are found in the data."""

    elements: tuple[int, ...] = ()
    name: ClassVar[str] = "species"
    lost: ClassVar[str] = "all but the formula."

    @property
    def fields(self):
        return (Field("counts", "continuous", "counts", (len(self.elements),)),)

    @property
    def needs_fit(self):
        return not self.elements

    def fit(self, crystals):
        return Species(tuple(np.unique(crystals.numbers).tolist()))

    def _encode(self, crystals):
        return {"counts": crystals.element_counts[:, list(self.elements)].astype(np.float32)}


def test_a_representation_is_fitted_on_dataset_and_queries():
    report = find_similar(cubes(3, numbers=11), cubes(3, 4, numbers=17), Species(), k=1)
    assert report.representation.elements == (11, 17)
    assert report.neighbours[0][0].value == pytest.approx(np.sqrt(2))


def test_a_column_that_never_changes_does_not_count_when_standardised():
    known, query = cubes(3, 4, 5), cubes(4.4, numbers=83)
    report = find_similar(query, known, IRCR(max_sites=1), k=1, standardise=True)
    spread = np.std([3, 4, 5])
    # Lengths alone vary; P, E and the rest are the same in the whole dataset.
    assert report.neighbours[0][0].value == pytest.approx(np.sqrt(3) * 0.4 / spread, rel=1e-5)


def test_one_known_crystal_can_be_standardised():
    report = find_similar(cubes(4), cubes(3), IRCR(max_sites=1), standardise=True)
    assert report.neighbours[0][0].value == pytest.approx(np.sqrt(3), rel=1e-6)


def test_nothing_to_search_and_nothing_to_find():
    none = find_similar(cubes(3), Crystals.empty(), IRCR())
    assert (none.n_searched, none.neighbours) == (0, ((),))
    assert find_similar(Crystals.empty(), cubes(3), IRCR()).neighbours == ()


class Sites(RaggedRepresentation):
    name = "sites"
    lost = "positions."

    @property
    def fields(self):
        return (Field("numbers", "index", "numbers", ("sites",)),)

    def _encode_ragged(self, crystals):
        return {"numbers": crystals.numbers.copy()}, {"sites": crystals.offsets}


def test_arrays_of_no_fixed_length_are_told_before_anything_is_read():
    with pytest.raises(RepresentationError, match="'numbers' has another length for each crystal"):
        find_similar("no-such-file.cif", "no-such-file.parquet", Sites())


@pytest.mark.parametrize(
    ("arguments", "told"),
    [({"metric": "cosinus"}, "did you mean 'cosine'"), ({"k": 0}, "k = 0")],
)
def test_wrong_wishes_are_told_before_anything_is_read(arguments, told):
    with pytest.raises(SimilarityError, match=told):
        find_similar("no-such-file.cif", "no-such-file.parquet", IRCR(), **arguments)


def run(*arguments):
    return CliRunner().invoke(app, ["similar", *map(str, arguments)])


def test_the_command_prints_a_table(dataset, tmp_path):
    write(cubes(5.4), tmp_path / "mine.cif")
    result = run(
        tmp_path / "mine.cif", "--in", dataset, "--to", "ircr", "--set", "max_sites=1",
        "-k", 2, "--show", "gap",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0].startswith("euclidean of ircr, which loses")
    assert lines[2] == "Po (mine), among 5"
    assert lines[3].split() == ["euclidean", "formula", "id", "gap"]
    assert lines[4].split() == ["1", "0.69282", "Po", "po-2"]
    assert lines[5].split() == ["2", "1.03923", "Po", "po-3", "2"]


def test_the_command_compares_compositions_unless_told_otherwise(dataset, tmp_path):
    write(cubes(5.4), tmp_path / "mine.cif")
    result = run(tmp_path / "mine.cif", "--in", dataset, "-k", 1)
    assert result.exit_code == 0, result.output
    assert "euclidean of magpie" in result.output
    assert "po-0" in result.output  # all have the composition; the first comes first


def test_the_command_writes_tables(dataset, tmp_path):
    write(cubes(5.4, 3.2), tmp_path / "mine.extxyz")
    options = (tmp_path / "mine.extxyz", "--in", dataset, "--to", "ircr", "-k", 2)
    for name in ("near.csv", "near.json"):
        result = run(*options, "--show", "gap", "-o", tmp_path / name)
        assert result.exit_code == 0, result.output
        assert "2 crystals compared with 5" in result.output
    rows = json.loads((tmp_path / "near.json").read_text())
    assert [(row["rank"], row["id"]) for row in rows] == [
        (1, "po-2"), (2, "po-3"), (1, "po-0"), (2, "po-1"),
    ]  # fmt: skip
    with (tmp_path / "near.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [row["id"] for row in table] == [row["id"] for row in rows]
    assert float(table[0]["value"]) == pytest.approx(rows[0]["value"])


def test_the_command_tells_failures_and_fails_where_nothing_is_left(dataset, tmp_path):
    write(cubes(3).supercell(2), tmp_path / "mine.cif")
    result = run(tmp_path / "mine.cif", "--in", dataset, "--to", "ircr", "--set", "max_sites=1")
    assert result.exit_code == 1
    assert "1 of the files: too many sites" in result.output
    write(cubes(3), tmp_path / "mine.cif")
    (tmp_path / "bad.cif").write_text("data_bad\n")
    options = (tmp_path / "mine.cif", "--in", tmp_path, "--to", "ircr")
    result = run(*options)
    assert result.exit_code == 0
    assert "1 of the dataset could not be read: " in result.output
    assert run(*options, "--strict").exit_code == 1


def test_the_command_knows_the_columns_of_the_dataset(dataset, tmp_path):
    write(cubes(5.4), tmp_path / "mine.cif")
    result = run(tmp_path / "mine.cif", "--in", dataset, "--to", "ircr", "--show", "gab")
    assert result.exit_code == 2
    assert "did you mean" in result.output
    assert not (tmp_path / "x.txt").exists()
    told = run(tmp_path / "mine.cif", "--in", dataset, "-o", tmp_path / "x.txt")
    assert isinstance(told.exception, SimilarityError)


def test_a_property_of_the_name_of_a_column_is_refused():
    report = SimilarReport(IRCR(), "euclidean")
    with pytest.raises(SimilarityError, match="value is a column of every answer"):
        report.rows(["gap", "value"])
