from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from crystalcodec.cli.data import app
from crystalcodec.crystals import Crystals
from crystalcodec.data import Dataset, DatasetError, Split

MakeCrystals = Callable[..., Crystals]
WriteTable = Callable[..., Path]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


def said(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


@pytest.fixture
def imported(make_crystals: MakeCrystals, write_table: WriteTable, tmp_path: Path) -> Path:
    crystals = make_crystals(50, seed=1)
    energies = [None if i % 10 == 0 else i / 50 for i in range(50)]
    table = write_table(
        "t.csv", crystals, energy=energies, year=[2000 + i for i in range(50)], kind=["k"] * 50
    )
    out = tmp_path / "d.parquet"
    text = said(
        *("import", table, "-o", out, "--units", "energy=eV/atom", "-j", 1),
        *("--source", "made up", "--licence", "CC0"),
    )
    assert "50 crystals in" in text
    assert "0 could not be read" in text
    return out


def test_import_keeps_what_it_is_told(imported: Path) -> None:
    metadata = Dataset.read(imported).metadata
    assert metadata.units == {"energy": "eV/atom"}
    assert (metadata.source, metadata.licence) == ("made up", "CC0")


def test_import_counts_failures_by_reason(
    write_table: WriteTable, make_crystals: MakeCrystals, tmp_path: Path
) -> None:
    table = write_table("t.csv", make_crystals(3), material_id=["a", "a", "b"])
    with table.open("a") as file:
        file.write("bad,\n")
    text = said(
        "import", table, "-o", tmp_path / "d.parquet", "-j", 1, "--failures", tmp_path / "f"
    )
    assert "3 crystals in" in text
    assert "1 could not be read" in text
    assert "1  no structure" in text
    assert "1 ids came again" in text
    assert (tmp_path / "f").exists()


def test_info_prints_each_property(imported: Path, tmp_path: Path) -> None:
    text = said("info", imported, "--verify")
    assert "50 crystals" in text
    assert "energy (eV/atom), number" in text
    values = np.array([i / 50 for i in range(50) if i % 10])
    assert f"mean {values.mean():.6g}, median {np.median(values):.6g}" in text
    assert f"standard deviation {values.std(ddof=1):.6g}" in text
    assert "count 45, missing 5, outliers 0" in text
    assert "range 0.02 to 0.98, skewness" in text
    said("info", imported, "--histograms", tmp_path / "figures")
    assert (tmp_path / "figures" / "energy.png").exists()


def test_info_as_json(imported: Path) -> None:
    described = json.loads(said("info", imported, "--json"))
    assert described["n"] == 50
    assert [p["name"] for p in described["properties"]] == ["energy", "year", "kind"]


def test_filter_says_what_each_filter_refused(imported: Path, tmp_path: Path) -> None:
    out = tmp_path / "kept.parquet"
    text = said(
        *("filter", imported, "-o", out, "--where", "energy > 0.5", "--where", "year < 2040"),
        *("--max-sites", 6, "--unique", "-j", 1),
    )
    kept = Dataset.read(out)
    expected = [i for i in range(50) if i % 10 and i / 50 > 0.5 and i < 40]
    assert kept.column("year").tolist() == [2000 + i for i in expected]
    assert "-5  no value of energy" in text
    assert "-23  not energy > 0.5" in text
    assert f"{len(expected)} crystals in" in text


def test_split_is_written_beside_the_dataset(imported: Path) -> None:
    text = said("split", imported, "--seed", 3)
    split = Split.read(imported.with_name("d.random.split.json"))
    assert split.seed == 3
    assert [len(part) for part in split.apply(Dataset.read(imported)).values()] == [32, 8, 10]
    assert "32  train (64.0%, wanted 64.0%)" in text
    said("split", imported, "--by", "time", "--column", "year", "--fractions", "old=0.5,new=0.5")
    split = Split.read(imported.with_name("d.time.split.json"))
    assert list(split.parts["old"]) == Dataset.read(imported).ids[:25].tolist()


def test_export(imported: Path, tmp_path: Path) -> None:
    assert "50 crystals" in said("export", imported, "-o", tmp_path / "x.extxyz")
    assert (tmp_path / "x.extxyz").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["info", "absent.parquet"], "no such file"),
        (["filter", "DATA", "-o", "x", "--where", "enrgy > 1"], "did you mean 'energy'"),
        (["split", "DATA", "--by", "time", "--column", "yaer"], "did you mean 'year'"),
        (["export", "DATA", "-o", "x.cfi", "--format", "cfi"], "did you mean 'cif'"),
        (["split", "DATA", "--fractions", "0.5,0.6"], "add up to 1"),
    ],
)
def test_errors_are_ours(imported: Path, arguments: list[str], message: str) -> None:
    result = run(*(imported if word == "DATA" else word for word in arguments))
    assert isinstance(result.exception, DatasetError)
    assert message in str(result.exception)


@pytest.mark.parametrize(
    "arguments",
    [
        ["split", "d", "--fractions", "a,b"],
        ["split", "d", "--by", "color"],
        ["import", "d", "-o", "x", "--units", "energy"],
        ["import", "d"],
        ["import", "d", "-o", "x", "--jobs", "0"],
    ],
)
def test_wrong_options_are_refused(arguments: list[str]) -> None:
    assert run(*arguments).exit_code == 2


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; import crystalcodec.cli.data, crystalcodec.data; "
        "heavy = {'pyarrow', 'pandas', 'torch', 'pymatgen', 'matplotlib', 'ase', 'gemmi'}; "
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
