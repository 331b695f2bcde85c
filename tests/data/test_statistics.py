from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from crystalcodec.crystals import Crystals
from crystalcodec.data import Dataset, DatasetError, describe, draw_histograms

MakeCrystals = Callable[..., Crystals]


def one(dataset: Dataset, name: str):
    return next(p for p in describe(dataset).properties if p.name == name)


def with_column(make_crystals: MakeCrystals, values: list[object]) -> Dataset:
    return Dataset.from_crystals(make_crystals(len(values)), properties={"x": values})


def test_figures_by_hand(make_crystals: MakeCrystals) -> None:
    # Mean 4, deviations -3 -2 -1 0 6: squares add to 50, cubes to -27 - 8 - 1 + 216 = 180.
    x = one(with_column(make_crystals, [1.0, 2.0, 3.0, 4.0, 10.0, None]), "x")
    assert (x.count, x.missing, x.infinite) == (5, 1, 0)
    assert (x.mean, x.median, x.minimum, x.maximum) == (4.0, 3.0, 1.0, 10.0)
    assert x.variance == pytest.approx(50 / 4)
    assert x.standard_deviation == pytest.approx(12.5**0.5)
    g1 = (180 / 5) / (50 / 5) ** 1.5
    assert x.skewness == pytest.approx(g1 * (5 * 4) ** 0.5 / 3)
    # Quartiles 2 and 4, so that outliers are below -1 or above 7.
    assert (x.outliers, x.outliers_below, x.outliers_above) == (1, -1.0, 7.0)


def test_figures_are_those_of_pandas(make_crystals: MakeCrystals) -> None:
    pandas = pytest.importorskip("pandas")
    values = np.random.default_rng(0).gamma(2, size=500)
    values[::7] = np.nan
    x = one(Dataset.from_crystals(make_crystals(500), properties={"x": values}), "x")
    series = pandas.Series(values)
    assert x.count == series.count()
    for ours, theirs in (
        (x.mean, series.mean()),
        (x.median, series.median()),
        (x.standard_deviation, series.std()),
        (x.variance, series.var()),
        (x.skewness, series.skew()),
    ):
        assert ours == pytest.approx(theirs, rel=1e-12)


def test_infinite_values_are_counted_and_in_no_figure(make_crystals: MakeCrystals) -> None:
    x = one(with_column(make_crystals, [1.0, np.inf, 3.0, -np.inf, None]), "x")
    assert (x.count, x.missing, x.infinite, x.mean, x.maximum) == (2, 1, 2, 2.0, 3.0)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], (0, 0, None, None, None)),
        ([None, None], (0, 2, None, None, None)),
        ([2.0], (1, 0, 2.0, None, None)),
        ([2.0, 4.0], (2, 0, 3.0, 2.0, None)),
        ([0.1, 0.1, 0.1], (3, 0, 0.1, 0.0, None)),
    ],
)
def test_too_few_values_have_no_figure(
    make_crystals: MakeCrystals, values: list[object], expected: tuple[object, ...]
) -> None:
    x = one(with_column(make_crystals, values), "x")
    n, missing, mean, variance, skewness = expected
    assert (x.count, x.missing, x.skewness) == (n, missing, skewness)
    assert x.mean == (mean if mean is None else pytest.approx(mean))
    assert x.variance == (variance if variance is None else pytest.approx(variance, abs=1e-20))


def test_figures_beyond_float64_are_none(make_crystals: MakeCrystals) -> None:
    x = one(with_column(make_crystals, [1e300, -1e300, 1e300]), "x")
    assert (x.variance, x.standard_deviation, x.skewness) == (None, None, None)
    assert (x.minimum, x.maximum, x.median) == (-1e300, 1e300, 1e300)


def test_truth_values_count_as_numbers_and_texts_are_counted(mixed: Dataset) -> None:
    stable = one(mixed, "stable")
    assert (stable.count, stable.missing, stable.mean) == (8, 2, 6 / 8)
    text = one(mixed, "kind.of")
    assert (text.count, text.missing, text.distinct) == (9, 1, 5)
    assert next(iter(text.most_common.items())) == ("a", 5)


def test_crystals_are_summed_up(rock_salt: Crystals) -> None:
    iron = Crystals.single(2.87 * np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]], [26, 26])
    both = Crystals.concatenate([rock_salt, rock_salt.supercell(2), iron])
    described = describe(Dataset.from_crystals(both))
    assert (described.n, described.n_sites_total, described.n_formulas) == (3, 20, 2)
    assert described.n_sites == (2, 2.0, 16)
    assert described.n_elements == {1: 1, 2: 2}
    assert described.elements == {"Na": 2, "Cl": 2, "Fe": 1}


def test_nothing_can_be_described(make_crystals: MakeCrystals) -> None:
    described = describe(with_column(make_crystals, [1.0])[:0])
    assert (described.n, described.n_sites, described.elements) == (0, None, {})


def test_a_description_is_json(mixed: Dataset) -> None:
    loaded = json.loads(json.dumps(describe(mixed).as_dict(), allow_nan=False))
    assert loaded["n"] == 10
    assert {p["name"]: p["missing"] for p in loaded["properties"]}["holes"] == 1


def test_histograms_are_drawn(mixed: Dataset, tmp_path: Path) -> None:
    paths = draw_histograms(mixed, tmp_path / "figures")
    names = {path.stem for path in paths}
    assert names == {
        *("energy", "count", "holes", "metal", "stable"),
        *("sites_of_a_crystal", "crystals_with_element"),
    }
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)


@pytest.mark.parametrize(
    "values", [[5.0], [0.0, 1e-300], [1e300, -1e300], [0.0] * 98 + [1.0, 1e9], [0.1] * 5]
)
def test_odd_values_have_histograms(
    make_crystals: MakeCrystals, tmp_path: Path, values: list[object]
) -> None:
    assert len(draw_histograms(with_column(make_crystals, values), tmp_path)) == 3


def test_names_of_properties_do_not_lead_out_of_the_folder(
    make_crystals: MakeCrystals, tmp_path: Path
) -> None:
    dataset = Dataset.from_crystals(
        make_crystals(2),
        properties={"../../up": [1.0, 2.0], "..": [1.0, 2.0], "a/b": [0.0, 1.0], "a_b": [1.0, 2.0]},
    )
    paths = draw_histograms(dataset, tmp_path / "figures")
    assert {path.parent for path in paths} == {tmp_path / "figures"}
    assert len(set(paths)) == 6


def test_histograms_need_crystals(mixed: Dataset, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no histograms"):
        draw_histograms(mixed[:0], tmp_path)
