"""The page "Choosing a representation" is what the script makes of the registry and the results."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import pytest

from crystalcodec.registry import REPRESENTATIONS

ROOT = Path(__file__).parents[1]


def load_script(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def script():
    return load_script("make_choosing_page")


def test_the_tables_of_the_benchmark_are_what_their_script_makes():
    tables = load_script("make_benchmark_tables")
    assert tables.PAGE.read_text() == tables.page(), "run scripts/make_benchmark_tables.py"


def test_the_page_is_what_the_script_makes(script):
    assert script.PAGE.read_text() == script.page(), "run scripts/make_choosing_page.py"


def test_every_representation_has_a_page_of_its_own_or_of_its_kind(script):
    text = script.page(Path("/nonexistent"))
    pages = {
        name: re.search(rf"^\| \[`{name}`\]\((\w+\.md)\)", text, re.MULTILINE)
        for name in REPRESENTATIONS
    }
    assert [name for name, link in pages.items() if link is None] == []
    assert pages["sine_matrix"][1] == "site_matrices.md"
    assert pages["element_embedding"][1] == "composition.md"
    assert pages["site_acsf"][1] == "soap.md"
    assert pages["density_slices"][1] == "slices.md"
    assert ":class:" not in text


def test_every_representation_stands_in_every_table_of_the_registry(script):
    text = script.page(Path("/nonexistent"))
    for name in REPRESENTATIONS:
        assert text.count(f"`{name}`") >= 3
    assert "## Measured" not in text  # no figure without a result file


def test_figures_come_from_the_result_files(script, tmp_path):
    measured = {
        "n_crystals": 1000,
        "n_encoded": 979,
        "n_came_back": 978,
        "n_failed": {"too many elements": 21},
        "encode_per_s": 461_116.4,
        "decode_per_s": 37_885.4,
        "fraction_of_copy_bandwidth": 0.1184,
        "largest_error_angstrom": 2.01e-6,
        "stream": {
            "n_crystals": 100_000,
            "peak_memory_megabytes": 63.04,
            "disk_megabytes": 170.2,
            "crystals_per_s": 157_694.0,
        },
    }
    result = {"representations": {"ircr": measured}}
    (tmp_path / "representations.json").write_text(json.dumps(result))
    rates = {"4": {"match_rate": 0.995}, "16": {"match_rate": 0.5, "wrong_crystal_rate": 0.25}}
    random = {"uniform": {"n": 50, "refused": 49}, "halves": {"n": 50, "refused": 0}}
    random["halves"]["decoded_to_one_of_the_two"] = 50
    ways = {"default": {"gaussian": rates, "random_pictures": random}, "n": 300, "scale": "own"}
    noise = {"representations": {"ircr": ways, "ircr with more sites": ways, "ircr2": ways}}
    (tmp_path / "image_noise.json").write_text(json.dumps(noise))
    text = script.page(tmp_path)
    row = "| `ircr` | 461,000 | 37,900 | 11.8 % | 979 | 978 | 2e-06 Å | 21 too many elements |"
    assert row in text
    assert "| `ircr` | 100,000 | 63 | 170 | 158,000 |" in text
    assert "| `ircr` | default | 300 | 99.5 % | 50 % | 25 % | 99 % |" in text
    assert "| `ircr` with more sites | default | 300 | 99.5 % | 50 % | 25 % | 99 % |" in text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.0312, "0.0312"), (1.728, "1.73"), (37885.4, "37,900"), (100, "100"), (None, "–")],
)
def test_numbers_have_three_digits(script, value, text):
    assert script._number(value) == text
