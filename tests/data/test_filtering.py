from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from crystalcodec.crystals import Crystals
from crystalcodec.data import Dataset, DatasetError, Filter, filter_dataset
from crystalcodec.data.conditions import parse_condition
from crystalcodec.data.filtering import parse_elements

MakeCrystals = Callable[..., Crystals]


@pytest.fixture
def salts(rock_salt: Crystals, tmp_path: Path) -> Path:
    """NaCl, its supercell, KCl, Fe, and LiFeO2 as a made-up chain."""
    potassium = Crystals.single(rock_salt.lattices[0] * 1.1, rock_salt.frac_coords, [19, 17])
    iron = Crystals.single(2.87 * np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]], [26, 26])
    chain = Crystals.single(
        np.diag([8.0, 3, 3]), [[0, 0, 0], [0.25, 0, 0], [0.5, 0, 0], [0.75, 0, 0]], [3, 8, 26, 8]
    )
    crystals = Crystals.concatenate([rock_salt, rock_salt.supercell(2), potassium, iron, chain])
    Dataset.from_crystals(
        crystals,
        ids=["salt", "super", "sylvite", "iron", "chain"],
        properties={
            "e_hull": [0.0, 0.05, 0.1, np.nan, np.inf],
            "metal": [False, None, False, True, True],
            "kind": ["ionic", "ionic", None, "metal", "oxide"],
        },
        units={"e_hull": "eV/atom"},
    ).write(tmp_path / "salts.parquet")
    return tmp_path / "salts.parquet"


@pytest.mark.parametrize(
    ("wanted", "kept", "losses"),
    [
        ({"min_sites": 3}, ["super", "chain"], [3]),
        ({"max_sites": 2}, ["salt", "sylvite", "iron"], [2]),
        ({"min_elements": 2, "max_elements": 2}, ["salt", "super", "sylvite"], [1, 1]),
        ({"only": ["Na", "Cl", "Fe"]}, ["salt", "super", "iron"], [2]),
        ({"containing": ["Fe"]}, ["iron", "chain"], [3]),
        ({"containing": ["Fe", "O"]}, ["chain"], [3, 1]),
        ({"excluding": ["Cl", "Li"]}, ["iron"], [3, 1]),
        ({"conditions": ["e_hull <= 0.05"]}, ["salt", "super"], [1, 2]),
        ({"conditions": ["e_hull<inf", "e_hull > 0"]}, ["super", "sylvite"], [1, 1, 1]),
        ({"conditions": ["metal = true"]}, ["iron", "chain"], [1, 2]),
        ({"conditions": ["metal != 1"]}, ["salt", "sylvite"], [1, 2]),
        ({"conditions": ["kind == ionic"]}, ["salt", "super"], [1, 2]),
        ({"conditions": ["kind != 'ionic'"]}, ["iron", "chain"], [1, 2]),
    ],
)
def test_each_filter_keeps_and_counts(
    salts: Path, tmp_path: Path, wanted: dict[str, object], kept: list[str], losses: list[int]
) -> None:
    out = tmp_path / "kept.parquet"
    report = filter_dataset(salts, out, Filter(**wanted))
    read = Dataset.read(out, verify=True)
    assert read.ids.tolist() == kept
    assert list(report.losses.values()) == losses
    assert (report.n_read, report.n_kept) == (5, len(kept))
    assert report.content_hash == read.content_hash
    assert read.metadata.units == {"e_hull": "eV/atom"}
    assert read.metadata.notes["filtered"][0]["losses"] == report.losses


def test_duplicates_go_last_and_the_first_stays(salts: Path, tmp_path: Path) -> None:
    out = tmp_path / "kept.parquet"
    report = filter_dataset(salts, out, Filter(), unique=True)
    assert Dataset.read(out).ids.tolist() == ["salt", "sylvite", "iron", "chain"]
    assert report.losses == {"duplicate of a crystal before it": 1}
    report = filter_dataset(salts, out, Filter(min_sites=3), unique=True, force=True)
    assert Dataset.read(out).ids.tolist() == ["super", "chain"]


def test_no_crystal_left_is_an_error(salts: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no crystal .* 5 fewer than 99 sites; nothing was"):
        filter_dataset(salts, tmp_path / "kept.parquet", Filter(min_sites=99))
    assert not (tmp_path / "kept.parquet").exists()


def test_what_is_there_is_not_replaced(salts: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="exists: give another name, or --force"):
        filter_dataset(salts, salts, Filter(min_sites=3))
    filter_dataset(salts, salts, Filter(min_sites=3), force=True)
    assert len(Dataset.read(salts)) == 2


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"conditions": ["e_hul <= 1"]}, "no column 'e_hul'; did you mean 'e_hull'"),
        ({"conditions": ["e_hull <= low"]}, "holds numbers, got 'low'"),
        ({"conditions": ["e_hull == nan"]}, "holds numbers, got 'nan'"),
        ({"conditions": ["kind < b"]}, "holds text, which compares by == or !="),
        ({"conditions": ["e_hull"]}, "wanted a property, a comparison"),
        ({"conditions": ["e_hull <="]}, "wanted a property, a comparison"),
        ({"conditions": ["<= 1"]}, "wanted a property, a comparison"),
        ({"conditions": ["0 < e_hull < 1"]}, "wanted a property, a comparison"),
        ({"containing": ["Xx"]}, "no element 'Xx'"),
        ({}, "no filter given"),
        ({"only": ["na"]}, "no element 'na'; did you mean 'Na'"),
    ],
)
def test_filters_that_make_no_sense_are_refused(
    salts: Path, tmp_path: Path, wanted: dict[str, object], message: str
) -> None:
    with pytest.raises(DatasetError, match=message):
        filter_dataset(salts, tmp_path / "kept.parquet", Filter(**wanted))
    assert not (tmp_path / "kept.parquet").exists()


def test_conditions_are_read_and_never_run() -> None:
    for text in ("__import__('os').system('true') == 0", "x == __import__('os')"):
        condition = parse_condition(text)
        assert condition.sign == "=="
    assert str(parse_condition("spacegroup.number=225")) == "spacegroup.number == 225"
    assert parse_condition(" gap (eV) >= -1e-3 ").value == "-1e-3"


def test_elements_are_separated_in_any_usual_way() -> None:
    assert parse_elements(["Na-Cl", "O, Si", "Na"]) == ("Na", "Cl", "O", "Si")


def test_a_column_that_loses_its_values_still_verifies(
    make_crystals: MakeCrystals, tmp_path: Path
) -> None:
    # More rows than one batch; the texts are in the second batch only.
    n = 5000
    texts = [None if i < 4500 else "late" for i in range(n)]
    Dataset.from_crystals(make_crystals(n), properties={"t": texts, "i": np.arange(n)}).write(
        tmp_path / "d.parquet"
    )
    report = filter_dataset(
        tmp_path / "d.parquet", tmp_path / "early.parquet", Filter(conditions=["i < 100"])
    )
    early = Dataset.read(tmp_path / "early.parquet", verify=True)
    assert early.content_hash == report.content_hash
    assert early.kinds["t"] == "number"
    filter_dataset(
        tmp_path / "d.parquet", tmp_path / "late.parquet", Filter(conditions=["t == late"])
    )
    assert len(Dataset.read(tmp_path / "late.parquet", verify=True)) == 500
