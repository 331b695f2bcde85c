"""What judging reads: every attempt counts, and each is told by its name."""

from __future__ import annotations

import pytest

from crystalcodec import prototypes
from crystalcodec.crystals import Crystals
from crystalcodec.data import Dataset
from crystalcodec.data.dataset import DatasetMetadata
from crystalcodec.evaluation.base import EvaluationError
from crystalcodec.io import ReadError
from crystalcodec.workflow.judge_inputs import read_attempts, read_known, read_wanted

CRYSTALS = prototypes().crystals[:40]


def test_what_cannot_be_read_is_an_attempt(cifs):
    given = read_attempts([cifs])
    assert given.attempts.n == 4
    assert len(given.attempts.crystals) == 3, "short distances are for the metrics"
    (failure,) = given.attempts.failures
    assert failure.index == 3
    assert failure.source.endswith("bad.cif")
    assert given.ids[:3] == ("close.cif", "one.cif", "two.cif")
    more = read_attempts([cifs], n=10).attempts
    assert more.n == 10
    assert more.reasons()["no crystal was given"] == 6
    with pytest.raises(EvaluationError, match="3 attempts, but there are 3 crystals and 1"):
        read_attempts([cifs], n=3)
    with pytest.raises(ReadError, match="no such file"):
        read_attempts([cifs / "nowhere"])


def test_recorded_failures_of_a_dataset_count(tmp_path):
    path = tmp_path / "generated.parquet"
    metadata = DatasetMetadata(failures={"no cell": 2, "too many sites": 1})
    dataset = Dataset.from_crystals(CRYSTALS[:5])
    Dataset(dataset.crystals, dataset.ids, {}, metadata).write(path)
    given = read_attempts([path])
    assert given.attempts.n == 8
    assert given.attempts.reasons() == {"no cell": 2, "too many sites": 1}
    assert "3 failures" in given.notes[0]
    assert read_attempts([path], recorded=False).attempts.n == 5
    more = read_attempts([path], n=9).attempts
    assert more.reasons() == {"no cell": 2, "too many sites": 1, "no crystal was given": 1}
    # Told how many there were: what was recorded of a larger dataset is not of these.
    fewer = read_attempts([path], n=7)
    assert fewer.attempts.reasons() == {"no crystal was given": 2}
    assert "more than fit" in fewer.notes[0]
    # A list beside the file has the details, and counts once.
    listed = tmp_path / "generated.parquet.failures.csv"
    listed.write_text("source,line,index,reason,detail\nx.npy,,3,no cell,flat\n")
    (failure,) = read_attempts([path]).attempts.failures
    assert (failure.reason, failure.detail) == ("no cell", "flat")


def test_failures_of_a_filtered_dataset_do_not_count(tmp_path):
    path = tmp_path / "some.parquet"
    dataset = Dataset.from_crystals(CRYSTALS[:5])
    metadata = DatasetMetadata(failures={"no cell": 2}, notes={"filtered": [{"kept": 5}]})
    Dataset(dataset.crystals, dataset.ids, {}, metadata).write(path)
    assert read_attempts([path]).attempts.n == 5


def test_known_crystals_must_be_some(cifs):
    crystals, unread = read_known([cifs])
    assert len(crystals) == 2
    assert sum(unread.values()) == 2
    with pytest.raises(EvaluationError, match="no crystal in"):
        read_known([cifs / "bad.cif"])


def test_what_each_should_be_is_told_by_name(tmp_path):
    originals, copies = tmp_path / "originals.parquet", tmp_path / "copies.parquet"
    Dataset.from_crystals(CRYSTALS[:4], ids=list("abcd")).write(originals)
    Dataset.from_crystals(CRYSTALS[[3, 0, 2]], ids=list("dac")).write(copies)
    wanted, given = read_wanted([originals], read_attempts([copies]))
    assert wanted == CRYSTALS[:4]
    assert given.attempts.positions.tolist() == [0, 2, 3]
    assert given.attempts.crystals == CRYSTALS[[0, 2, 3]]
    assert [failure.index for failure in given.attempts.failures] == [1]
    assert given.names == ("a", "c", "d")
    listed = tmp_path / "copies.parquet.failures.csv"
    listed.write_text("source,line,index,reason,detail\nx.npy,,1,no cell,flat\n")
    _, given = read_wanted([originals], read_attempts([copies]))
    assert given.attempts.reasons() == {"no cell": 1}


def test_what_each_should_be_is_told_by_order_or_not_at_all(tmp_path):
    originals, copies = tmp_path / "originals.parquet", tmp_path / "copies.parquet"
    Dataset.from_crystals(CRYSTALS[:3], ids=list("abc")).write(originals)
    Dataset.from_crystals(CRYSTALS[:3], ids=list("xyz")).write(copies)
    wanted, given = read_wanted([originals], read_attempts([copies]))
    assert wanted == given.attempts.crystals
    with pytest.raises(EvaluationError, match="which should be which is not told"):
        read_wanted([originals], read_attempts([copies], n=4))
    Dataset.from_crystals(CRYSTALS[:2], ids=list("xy")).write(copies)
    with pytest.raises(EvaluationError, match="which should be which is not told"):
        read_wanted([originals], read_attempts([copies], n=3))


def test_row_numbers_do_not_tell_which_are_missing(tmp_path):
    """Written without ids, the second of three decoded crystals would stand for the first."""
    originals, copies = tmp_path / "originals.parquet", tmp_path / "copies.parquet"
    Dataset.from_crystals(CRYSTALS[:3]).write(originals)
    Dataset.from_crystals(CRYSTALS[1:3]).write(copies)
    with pytest.raises(EvaluationError, match="row numbers"):
        read_wanted([originals], read_attempts([copies]))
    Dataset.from_crystals(CRYSTALS[1:3], ids=["1", "2"]).write(copies)
    _, given = read_wanted([originals], read_attempts([copies]))
    assert given.attempts.positions.tolist() == [1, 2]
    Dataset.from_crystals(CRYSTALS[:3]).write(copies)
    _, given = read_wanted([originals], read_attempts([copies]))
    assert given.attempts.positions.tolist() == [0, 1, 2]


def test_a_dataset_of_no_rows_is_no_attempt_itself(tmp_path):
    path = tmp_path / "decoded.parquet"
    Dataset.from_crystals(Crystals.empty()).write(path)
    with pytest.raises(EvaluationError, match="nothing to judge"):
        read_attempts([path])
    assert read_attempts([path], n=5).attempts.reasons() == {"no crystal was given": 5}
    listed = tmp_path / "decoded.parquet.failures.csv"
    listed.write_text("source,line,index,reason,detail\nx.npy,,0,no cell,\nx.npy,,1,no cell,\n")
    assert read_attempts([path]).attempts.n == 2
    empty = tmp_path / "empty.cif"
    empty.write_text("")
    assert read_attempts([empty]).attempts.reasons() == {"no crystal in file": 1}


def test_ids_are_told_whole(tmp_path):
    path = tmp_path / "made12.parquet"
    Dataset.from_crystals(CRYSTALS[:3], ids=["1", "2", "b"]).write(path)
    assert read_attempts([path]).ids == (
        "made12.parquet!/row 0: 1",
        "made12.parquet!/row 1: 2",
        "made12.parquet!/row 2: b",
    )
