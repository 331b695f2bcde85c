from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from crystalcodec.crystals import Crystals
from crystalcodec.data import Dataset, DatasetError, Split, prototype_labels, split_dataset

MakeCrystals = Callable[..., Crystals]


@pytest.fixture
def many(make_crystals: MakeCrystals) -> Dataset:
    """600 crystals of 60 kinds: ten of each formula, with years 2000 to 2019."""
    crystals = make_crystals(60, seed=5, max_sites=4)
    chosen = np.random.default_rng(2).permutation(np.repeat(np.arange(60), 10))
    rng = np.random.default_rng(3)
    return Dataset.from_crystals(
        crystals[chosen],
        ids=[f"id{i}" for i in range(600)],
        properties={
            "year": rng.integers(2000, 2020, 600),
            "date": [f"{2000 + i % 7}-0{1 + i % 3}-01" if i % 10 else None for i in range(600)],
            "energy": rng.normal(size=600),
        },
    )


def parts_of(dataset: Dataset, split: Split) -> dict[str, set[str]]:
    parts = {name: set(ids) for name, ids in split.parts.items()}
    listed = [one for ids in split.parts.values() for one in ids] + list(split.left_out)
    assert sorted(listed) == sorted(dataset.ids)
    return parts


def test_a_random_split_has_the_stated_sizes(many: Dataset) -> None:
    split = split_dataset(many)
    assert {name: len(ids) for name, ids in parts_of(many, split).items()} == {
        "train": 384,
        "validation": 96,
        "test": 120,
    }


def test_a_seed_gives_the_same_split_on_every_machine(rock_salt: Crystals) -> None:
    ten = Dataset.from_crystals(rock_salt[[0] * 10])
    split = split_dataset(ten, seed=7)
    # Written down once; PCG64 and its permutation are the same everywhere.
    order = np.random.Generator(np.random.PCG64(7)).permutation(10)
    assert set(split.parts["train"]) == set(map(str, order[:6]))
    assert split.parts == split_dataset(ten, seed=7).parts
    assert split.parts != split_dataset(ten, seed=8).parts
    assert {name: "".join(ids) for name, ids in split.parts.items()} == FROZEN


FROZEN = {"train": "013678", "validation": "24", "test": "59"}


@pytest.mark.parametrize("kind", ["formula", "chemical-system", "prototype"])
def test_groups_stay_together(many: Dataset, kind: str) -> None:
    split = split_dataset(many, kind, seed=1)
    parts = parts_of(many, split)
    if kind == "prototype":
        keys = prototype_labels(many.crystals)[0]
    elif kind == "formula":
        keys = list(many.crystals.formulas)
    else:
        keys = [frozenset(np.flatnonzero(row)) for row in many.crystals.element_counts]
    where = {one: name for name, ids in parts.items() for one in ids}
    homes: dict[object, set[str]] = {}
    for one, key in zip(many.ids, keys, strict=True):
        homes.setdefault(key, set()).add(where[one])
    assert all(len(names) == 1 for names in homes.values())
    assert all(parts.values())
    if kind != "prototype":  # few large groups
        for name, wanted in split.fractions.items():
            assert abs(len(parts[name]) / 600 - wanted) < 0.05


def test_time_goes_forward_and_equal_times_stay_together(many: Dataset) -> None:
    split = split_dataset(many, "time", column="year")
    parts = split.apply(many)
    years = [parts[name].column("year") for name in ("train", "validation", "test")]
    assert years[0].max() < years[1].min() <= years[1].max() < years[2].min()
    assert abs(len(parts["train"]) / 600 - 0.64) < 0.06
    assert split.column == "year"


def test_crystals_without_a_time_are_left_out_and_listed(many: Dataset) -> None:
    split = split_dataset(many, "time", column="date")
    assert len(split.left_out) == 60
    parts = split.apply(many)
    assert max(parts["train"].column("date")) < min(parts["validation"].column("date"))
    assert sum(map(len, parts.values())) == 540


@pytest.mark.parametrize(("n", "sizes"), [(3, [1, 1, 1]), (4, [2, 1, 1]), (7, [5, 1, 1])])
def test_no_part_is_empty(rock_salt: Crystals, n: int, sizes: list[int]) -> None:
    split = split_dataset(Dataset.from_crystals(rock_salt[[0] * n]))
    assert [len(ids) for ids in split.parts.values()] == sizes


def test_three_large_groups_fill_three_parts(make_crystals: MakeCrystals) -> None:
    three = make_crystals(3, seed=9)
    for seed in range(20):
        dataset = Dataset.from_crystals(three[[0] * 50 + [1] * 30 + [2] * 20])
        split = split_dataset(dataset, "formula", seed=seed)
        assert all(split.parts.values())


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("random", {"fractions": {"a": 0.5, "b": 0.6}}, "add up to 1"),
        ("random", {"fractions": {"a": 1.0, "b": 0.0}}, "positive"),
        ("random", {"fractions": {}}, "fractions none"),
        ("random", {"column": "year"}, "uses no column"),
        ("time", {}, "needs the column"),
        ("time", {"column": "yaer"}, "did you mean 'year'"),
        ("formulas", {}, "did you mean 'formula'"),
    ],
)
def test_splits_that_make_no_sense_are_refused(
    many: Dataset, kind: str, options: dict[str, object], message: str
) -> None:
    with pytest.raises(DatasetError, match=message):
        split_dataset(many, kind, **options)


def test_too_few_crystals_or_groups_are_refused(many: Dataset, rock_salt: Crystals) -> None:
    with pytest.raises(DatasetError, match="2 different crystals cannot fill 3 parts"):
        split_dataset(many[:2])
    with pytest.raises(DatasetError, match="1 different groups cannot fill 3 parts"):
        split_dataset(Dataset.from_crystals(rock_salt[[0] * 9]), "formula")
    with pytest.raises(DatasetError, match="0 different crystals"):
        split_dataset(many[:0])


def test_repeated_ids_are_refused(many: Dataset) -> None:
    with pytest.raises(DatasetError, match="several crystals have one id"):
        split_dataset(many[[0, 1, 1, 2]])


def test_a_split_is_kept_with_what_it_belongs_to(many: Dataset, tmp_path: Path) -> None:
    split = split_dataset(many, "formula", seed=4)
    split.write(tmp_path / "split.json")
    read = Split.read(tmp_path / "split.json")
    assert (read.parts, read.kind, read.seed) == (split.parts, "formula", 4)
    assert read.fractions == split.fractions
    stored = json.loads((tmp_path / "split.json").read_text())
    assert stored["dataset_hash"] == many.content_hash
    parts = read.apply(many)
    assert [len(parts[name]) for name in parts] == list(stored["sizes"].values())
    assert parts["test"].ids.tolist() == list(split.parts["test"])


def test_a_split_of_another_dataset_is_refused(many: Dataset, tmp_path: Path) -> None:
    split = split_dataset(many)
    with pytest.raises(DatasetError, match="belongs to a dataset with content hash"):
        split.apply(many[:-1])
    many.write(tmp_path / "d.parquet")
    part = Dataset.read(tmp_path / "d.parquet", columns=["energy"])
    assert len(split.apply(part)["train"]) == 384


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "not JSON"), ("[]", "no split"), ("{}", "no split"), ('{"format": 2}', "format 2")],
)
def test_what_is_no_split_is_said(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "split.json").write_text(text)
    with pytest.raises(DatasetError, match=message):
        Split.read(tmp_path / "split.json")
    with pytest.raises(DatasetError, match="no such file"):
        Split.read(tmp_path / "other.json")
