"""Crystals and datasets that the tests of datasets share."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from crystalcodec.crystals import Crystals
from crystalcodec.data import Dataset
from crystalcodec.io.writing import cif_texts


def random_crystals(n: int, seed: int = 0, max_sites: int = 6) -> Crystals:
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, max_sites + 1, n)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    # Along the diagonal of a long cell no two sites meet.
    places = np.array([(i + 0.1) / count for count in counts for i in range(count)])
    coords = np.stack([places, rng.random(len(places)), rng.random(len(places))], axis=1)
    lattices = np.diag([18.0, 5.0, 6.0]) + rng.normal(0, 0.2, (n, 3, 3))
    return Crystals(lattices, coords, rng.integers(1, 90, len(places)), offsets)


MakeCrystals = Callable[..., Crystals]


@pytest.fixture
def make_crystals() -> MakeCrystals:
    """Gives crystals at random, by number and seed."""
    return random_crystals


@pytest.fixture
def rock_salt() -> Crystals:
    a = 5.64
    return Crystals.single(
        [[0, a / 2, a / 2], [a / 2, 0, a / 2], [a / 2, a / 2, 0]],
        [[0, 0, 0], [0.5, 0.5, 0.5]],
        [11, 17],
    )


@pytest.fixture
def mixed() -> Dataset:
    """Ten crystals with a column of each kind, with and without missing values."""
    nan = float("nan")
    return Dataset.from_crystals(
        random_crystals(10),
        ids=[f"c{i}" for i in range(10)],
        properties={
            "energy": np.array([-1.5, nan, 0.25, 3.0, 0.1, -0.0, np.inf, 2.0, -2.0, 0.5]),
            "count": np.arange(10),
            "holes": [1, None, 3, 4, 5, 6, 7, 8, 9, 10],
            "metal": np.array([True, False] * 5),
            "stable": [True, None, False, True, None, False, True, True, True, True],
            "kind.of": ["a", None, "é", "", "b", "a", "a", "a", "a", "日本"],
            "nothing": [None] * 10,
        },
        units={"energy": "eV/atom"},
        descriptions={"energy": "made up"},
        source="nowhere",
        licence="CC0",
        notes={"seed": 0},
    )


WriteTable = Callable[..., Path]


@pytest.fixture
def write_table(tmp_path: Path) -> WriteTable:
    """Writes a CSV of crystals with the columns ``material_id``, ``cif`` and others."""

    def write(name: str, crystals: Crystals, **columns: list[object]) -> Path:
        path = tmp_path / name
        ids = columns.pop("material_id", [f"{path.stem}-{i}" for i in range(len(crystals))])
        texts = list(cif_texts(crystals, list(map(str, range(len(crystals))))))
        with path.open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["material_id", *columns, "cif"])
            rows.writerows(zip(ids, *columns.values(), texts, strict=True))
        return path

    return write
