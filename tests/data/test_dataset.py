from __future__ import annotations

import os

import numpy as np
import pytest

from crystalcodec.crystals import Crystals
from crystalcodec.data import Dataset, DatasetError, DatasetHash


def test_kinds_follow_from_the_values(mixed: Dataset) -> None:
    assert mixed.kinds == {
        "energy": "number",
        "count": "integer",
        "holes": "number",
        "metal": "boolean",
        "stable": "boolean",
        "kind.of": "text",
        "nothing": "number",
    }
    assert np.isnan(mixed.column("holes")[1])
    assert mixed.column("stable").tolist() == [True, None, False, True, None, False] + [True] * 4


def test_unknown_column_gets_a_hint(mixed: Dataset) -> None:
    with pytest.raises(DatasetError, match=r"no column 'enregy'; did you mean 'energy'\?"):
        mixed.column("enregy")


def test_numeric_turns_truth_into_numbers_and_refuses_text(mixed: Dataset) -> None:
    np.testing.assert_equal(mixed.numeric("stable")[:3], [1.0, np.nan, 0.0])
    with pytest.raises(DatasetError, match=r"'kind\.of' holds text"):
        mixed.numeric("kind.of")


@pytest.mark.parametrize("key", [3, slice(2, 7), [5, 1, 1], np.arange(10) % 3 == 0])
def test_indexing_takes_rows_of_all_columns(mixed: Dataset, key: object) -> None:
    part = mixed[key]
    positions = np.atleast_1d(np.arange(10)[key])
    assert part.ids.tolist() == [f"c{i}" for i in positions]
    assert part.crystals == mixed.crystals[positions]
    np.testing.assert_equal(part.column("energy"), mixed.column("energy")[positions])
    assert part.metadata.units == mixed.metadata.units


def test_columns_are_read_only_copies(mixed: Dataset) -> None:
    given = np.zeros(10)
    dataset = Dataset.from_crystals(mixed.crystals, properties={"x": given})
    given[0] = 5
    assert dataset.column("x")[0] == 0
    with pytest.raises(ValueError, match="read-only"):
        dataset.column("x")[0] = 1


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        ({"x": np.zeros(9)}, r"shape \(9,\), wanted \(10,\)"),
        ({"x": np.zeros((10, 2))}, r"shape \(10, 2\)"),
        ({"x": [1.0, "a"] * 5}, "cannot be one column"),
        ({"x": [[1, 2]] * 10}, "holds list<"),
        ({"x": [2**70] * 10}, "cannot be one column"),
        ({"x": [2**60 + 1, None] * 5}, "too large for float64"),
        ({"numbers": np.zeros(10)}, "cannot be called 'numbers'"),
    ],
)
def test_columns_that_do_not_fit_are_refused(
    mixed: Dataset, properties: dict[str, object], message: str
) -> None:
    with pytest.raises(DatasetError, match=message):
        Dataset.from_crystals(mixed.crystals, properties=properties)


def test_ids_must_be_one_each(mixed: Dataset) -> None:
    with pytest.raises(DatasetError, match="2 ids for 10 crystals"):
        Dataset.from_crystals(mixed.crystals, ids=["a", "b"])


def test_text_must_be_text(mixed: Dataset) -> None:
    stray = os.fsdecode(b"\xff")
    with pytest.raises(DatasetError, match="no text that UTF-8 holds"):
        Dataset.from_crystals(mixed.crystals[:1], ids=[stray])
    with pytest.raises(DatasetError, match="cannot be one column"):
        Dataset.from_crystals(mixed.crystals[:1], properties={"t": [stray]})


def test_a_unit_needs_its_column(mixed: Dataset) -> None:
    with pytest.raises(DatasetError, match="'enrgy'; did you mean 'energy'"):
        Dataset.from_crystals(
            mixed.crystals, properties={"energy": np.zeros(10)}, units={"enrgy": "eV"}
        )


def test_large_whole_numbers_stay_exact(mixed: Dataset) -> None:
    values = np.arange(10) + 2**60
    dataset = Dataset.from_crystals(mixed.crystals, properties={"x": values})
    assert dataset.column("x").tolist() == values.tolist()


def test_hash_sees_every_value_and_not_the_order_of_columns(mixed: Dataset) -> None:
    columns = dict(mixed.properties)
    turned = Dataset(mixed.crystals, mixed.ids, dict(reversed(columns.items())))
    assert turned == mixed
    others = [
        Dataset(mixed.crystals[::-1], mixed.ids, columns),
        Dataset(mixed.crystals, mixed.ids[::-1], columns),
        Dataset(mixed.crystals, mixed.ids, {k: v for k, v in columns.items() if k != "count"}),
    ]
    for name, column in columns.items():
        changed = np.roll(column, 1) if name != "nothing" else np.ones(10)
        others.append(Dataset(mixed.crystals, mixed.ids, {**columns, name: changed}))
    renamed = {("renamed" if name == "count" else name): c for name, c in columns.items()}
    others.append(Dataset(mixed.crystals, mixed.ids, renamed))
    assert len({mixed.content_hash, *(other.content_hash for other in others)}) == len(others) + 1


def test_hash_tells_where_texts_end(mixed: Dataset) -> None:
    two = mixed.crystals[:2]
    one = Dataset.from_crystals(two, ids=["a", "b"], properties={"t": ["ab", "c"]})
    other = Dataset.from_crystals(two, ids=["a", "b"], properties={"t": ["a", "bc"]})
    absent = Dataset.from_crystals(two, ids=["a", "b"], properties={"t": ["abc", None]})
    empty = Dataset.from_crystals(two, ids=["a", "b"], properties={"t": ["abc", ""]})
    assert len({one, other, absent, empty}) == 4


def test_hash_of_zeros_and_nans_does_not_depend_on_their_bits(mixed: Dataset) -> None:
    odd_nan = np.array([0x7FF8000000000123], np.uint64).view(np.float64)[0]
    one = Dataset.from_crystals(mixed.crystals[:2], properties={"x": np.array([0.0, np.nan])})
    other = Dataset.from_crystals(mixed.crystals[:2], properties={"x": np.array([-0.0, odd_nan])})
    assert one == other


def test_hash_of_batches_is_the_hash_of_the_whole(mixed: Dataset) -> None:
    for size in (1, 3, 10):
        batches = DatasetHash(mixed.kinds)
        for start in range(0, 10, size):
            batches.update(mixed[start : start + size])
        assert batches.hexdigest() == mixed.content_hash


def test_a_dataset_of_nothing() -> None:
    dataset = Dataset.from_crystals(Crystals.empty(), properties={"x": np.zeros(0)})
    assert len(dataset) == 0
    assert repr(dataset) == "Dataset(n=0: ; x)"
