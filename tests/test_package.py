"""The package as a new user meets it: light to import, its names where it says, its help whole."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import crystalcodec

ROOT = Path(__file__).parents[1]
HEAVY = {"torch", "lightning", "pymatgen", "sklearn", "ase", "pyarrow", "scipy", "matplotlib"}


def modules_after(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter has imported after running the code."""
    report = "; import json, sys; print(); print(json.dumps([*sys.modules]))"
    result = subprocess.run(
        [sys.executable, "-c", code + report], capture_output=True, text=True, check=True
    )
    return {name.partition(".")[0] for name in json.loads(result.stdout.splitlines()[-1])}


def test_importing_the_package_imports_nothing_heavy():
    assert not modules_after("import crystalcodec") & {*HEAVY, "numpy"}


COMMANDS = """
    data train predict evaluate encode decode show slices invariance similar map benchmark
    generate
""".split()


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_help_imports_nothing_heavy(command):
    code = f"from crystalcodec.cli import app; app({[*command, '--help']!r}, standalone_mode=False)"
    assert not modules_after(code) & HEAVY


def test_crystals_need_numpy_alone():
    code = "from crystalcodec import Crystals; Crystals.empty()"
    assert not modules_after(code) & HEAVY


@pytest.mark.parametrize("name", crystalcodec.__all__)
def test_public_names_are_there(name):
    assert getattr(crystalcodec, name).__doc__
    assert name in dir(crystalcodec)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Crystal'"):
        _ = crystalcodec.Crystal


def test_the_command_line_ends_in_one_line_and_code_2_on_bad_input():
    code = "from crystalcodec.cli import main; main()"
    result = subprocess.run(
        [sys.executable, "-c", code, "data", "info", "no-such-file.parquet"],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 2
    assert "no-such-file.parquet" in result.stderr
    assert "Traceback" not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("raise KeyboardInterrupt", "the same command goes on"),
        ("with goes_on_in('runs/one'): raise KeyboardInterrupt", "goes on in runs/one"),
    ],
)
def test_ctrl_c_says_once_that_the_work_can_go_on(body, told):
    code = (
        "from crystalcodec import cli\n"
        "from crystalcodec.cli.interruption import goes_on_in\n"
        "def interrupted():\n"
        f"    {body}\n"
        "cli.app.command('wait')(interrupted)\n"
        "cli.main()"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, "wait"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 130
    assert told in result.stderr
    assert result.stderr.count("interrupted") == 1
    assert "Traceback" not in result.stderr


def test_the_version_is_the_one_of_the_changelog():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert crystalcodec.__version__ == version
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text()
