"""What a dataset holds: statistics of each property, of the crystals, and their histograms."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.data.columns import Column, DatasetError, Kind, kind_of, missing
from crystalcodec.data.compositions import element_presence, reduced_composition_numbers
from crystalcodec.data.dataset import Dataset
from crystalcodec.elements import SYMBOLS
from crystalcodec.io.whole import whole_file

__all__ = ["Description", "PropertyStatistics", "describe", "draw_histograms"]

Floats = npt.NDArray[np.float64]

OUTLIER_RULE: Final = (
    "more than 1.5 interquartile ranges below the first or above the third quartile"
)
_WHISKER: Final = 1.5
_COMMON_TEXTS: Final = 5
_MOST_BINS: Final = 60
# Where the whole range is wider than this many interquartile ranges, a histogram of all of it
# shows one bar.
_WIDEST: Final = 12.0


@dataclass(frozen=True)
class PropertyStatistics:
    """One property column in numbers; None where there are too few values to say.

    Variance, standard deviation and skewness are those of a sample (divided by n - 1, and
    adjusted Fisher-Pearson, as pandas has them). Of truth values, true is 1 and false is 0. Of
    text, only counts.

    Parameters
    ----------
    name, kind, unit
        The column; its unit is empty where unknown.
    count, missing, infinite
        Number of crystals with a finite value (or a text), without one, and with an infinite one.
    mean, median, standard_deviation, variance, minimum, maximum, skewness
        Of the finite values.
    outliers, outliers_below, outliers_above
        Number of outliers, and the limits beyond which a value is one: more than 1.5
        interquartile ranges below the first or above the third quartile (Tukey's rule).
    distinct, most_common
        For text: number of different texts, and the most frequent of them.
    """

    name: str
    kind: Kind
    unit: str
    count: int
    missing: int
    infinite: int = 0
    mean: float | None = None
    median: float | None = None
    standard_deviation: float | None = None
    variance: float | None = None
    minimum: float | None = None
    maximum: float | None = None
    skewness: float | None = None
    outliers: int = 0
    outliers_below: float | None = None
    outliers_above: float | None = None
    distinct: int | None = None
    most_common: Mapping[str, int] | None = None


@dataclass(frozen=True)
class Description:
    """A dataset in numbers.

    Parameters
    ----------
    n, n_sites_total
        Number of crystals, and of sites in all of them.
    n_sites
        Least, median and greatest number of sites of a crystal; None without crystals.
    n_elements
        Number of crystals by their number of elements.
    elements
        Number of crystals that hold each element, the most frequent first.
    n_formulas
        Number of different reduced formulas.
    properties
        The statistics of each property column.
    source, licence, content_hash, failures
        From the metadata.
    """

    n: int
    n_sites_total: int
    n_sites: tuple[int, float, int] | None
    n_elements: Mapping[int, int]
    elements: Mapping[str, int]
    n_formulas: int
    properties: tuple[PropertyStatistics, ...]
    source: str = ""
    licence: str = ""
    content_hash: str = ""
    failures: Mapping[str, int] | None = None

    def as_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return asdict(self) | {"outlier_rule": OUTLIER_RULE}


def describe(dataset: Dataset) -> Description:
    """Count, mean, median, spread, range, skewness and outliers of each property.

    Parameters
    ----------
    dataset
        Any dataset, also one without crystals.

    Examples
    --------
    >>> from crystalcodec.crystals import Crystals
    >>> iron = Crystals.single(2.87 * np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]], [26, 26])
    >>> dataset = Dataset.from_crystals(iron[[0, 0, 0]], properties={"gap": [1.0, None, 3.0]})
    >>> gap = describe(dataset).properties[0]
    >>> gap.count, gap.missing, gap.mean, gap.variance
    (2, 1, 2.0, 2.0)
    """
    crystals = dataset.crystals
    holds = element_presence(crystals)
    per_element = holds.sum(axis=0)
    order = sorted(np.flatnonzero(per_element).tolist(), key=lambda z: (-per_element[z], z))
    sizes, times = np.unique(holds.sum(axis=1), return_counts=True)
    n_sites = crystals.n_sites
    return Description(
        n=len(dataset),
        n_sites_total=len(crystals.numbers),
        n_sites=(
            (int(n_sites.min()), float(np.median(n_sites)), int(n_sites.max()))
            if len(dataset)
            else None
        ),
        n_elements=dict(zip(sizes.tolist(), times.tolist(), strict=True)),
        elements={SYMBOLS[z]: int(per_element[z]) for z in order},
        n_formulas=len(np.unique(reduced_composition_numbers(crystals))),
        properties=tuple(
            describe_column(name, column, dataset.metadata.units.get(name, ""))
            for name, column in dataset.properties.items()
        ),
        source=dataset.metadata.source,
        licence=dataset.metadata.licence,
        content_hash=dataset.content_hash,
        failures=dict(dataset.metadata.failures),
    )


def describe_column(name: str, column: Column, unit: str = "") -> PropertyStatistics:
    """The statistics of one property column."""
    kind = kind_of(column)
    n_missing = int(missing(column).sum())
    if kind == "text":
        texts = Counter(value for value in column if value is not None)
        return PropertyStatistics(
            name,
            kind,
            unit,
            len(column) - n_missing,
            n_missing,
            distinct=len(texts),
            most_common=dict(texts.most_common(_COMMON_TEXTS)),
        )
    values = np.asarray(column, np.float64)
    finite = values[np.isfinite(values)]
    n_infinite = len(values) - n_missing - len(finite)
    statistics = PropertyStatistics(name, kind, unit, len(finite), n_missing, n_infinite)
    return _with_moments(statistics, finite) if len(finite) else statistics


def _with_moments(empty: PropertyStatistics, values: Floats) -> PropertyStatistics:
    n = len(values)
    with np.errstate(over="ignore", invalid="ignore"):  # a square beyond 1e308 has no figure
        below, above = _whiskers(values)
        mean = _finite(values.mean())
        variance = _finite(values.var(ddof=1)) if n > 1 else None
        skewness = _skewness(values) if variance is not None else None
    return PropertyStatistics(
        empty.name,
        empty.kind,
        empty.unit,
        n,
        empty.missing,
        empty.infinite,
        mean=mean,
        median=float(np.median(values)),
        standard_deviation=None if variance is None else variance**0.5,
        variance=variance,
        minimum=float(values.min()),
        maximum=float(values.max()),
        skewness=skewness,
        outliers=int(((values < below) | (values > above)).sum()),
        outliers_below=_finite(below),
        outliers_above=_finite(above),
    )


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _whiskers(values: Floats) -> tuple[float, float]:
    first, third = np.quantile(values, [0.25, 0.75])
    reach = _WHISKER * (third - first)
    return float(first - reach), float(third + reach)


def _skewness(values: Floats) -> float | None:
    """Adjusted Fisher-Pearson coefficient G1; None below three values or without spread."""
    n = len(values)
    deviations = values - values.mean()
    second = float((deviations**2).mean())
    # A spread of rounding errors is none.
    if n < 3 or second <= (np.finfo(float).eps * float(np.abs(values).max())) ** 2:
        return None
    third = float((deviations**3).mean())
    return float(third / second**1.5 * (n * (n - 1)) ** 0.5 / (n - 2))


def draw_histograms(dataset: Dataset, folder: str | Path) -> list[Path]:
    """Draw a histogram of each numeric property, of the numbers of sites, and of the elements.

    Parameters
    ----------
    dataset
        At least one crystal.
    folder
        Where the PNG files go, named after the properties; made if it is not there.

    Returns
    -------
    list of Path
        The files, one a figure. A property without finite values has none.

    Raises
    ------
    DatasetError
        Without crystals.
    """
    if not len(dataset):
        raise DatasetError("a dataset without crystals has no histograms")
    paths: list[Path] = []
    for name, column in dataset.properties.items():
        if kind_of(column) == "text":
            continue
        values = np.asarray(column, np.float64)
        finite = values[np.isfinite(values)]
        if len(finite):
            unit = dataset.metadata.units.get(name, "")
            label = f"{name} ({unit})" if unit else name
            path = Path(folder) / f"{_file_name(name)}.png"
            if path in paths:
                path = path.with_stem(f"{path.stem}-{len(paths)}")
            _draw(path, label, finite, n_without=len(values) - len(finite))
            paths.append(path)
    sites = Path(folder) / "sites_of_a_crystal.png"
    _draw(sites, "sites of a crystal", dataset.crystals.n_sites.astype(float), n_without=0)
    elements = Path(folder) / "crystals_with_element.png"
    _draw_elements(elements, _element_counts(dataset))
    return [*paths, sites, elements]


def _element_counts(dataset: Dataset) -> dict[str, int]:
    counts = element_presence(dataset.crystals).sum(axis=0)
    return {SYMBOLS[z]: int(counts[z]) for z in np.flatnonzero(counts)}


def _file_name(name: str) -> str:
    return re.sub(r"[^\w.+-]", "_", name).lstrip(".") or "property"


def _draw(path: Path, label: str, values: Floats, *, n_without: int) -> None:
    from matplotlib.figure import Figure

    low, high, n_beyond = _shown_range(values)
    shown = values[(values >= low) & (values <= high)]
    figure = Figure(figsize=(6, 4), dpi=120, layout="constrained")
    axes = figure.subplots()
    axes.hist(shown, bins=_bins(shown), color="#3b6ea8")
    for value, name, style in (
        (float(values.mean()), "mean", "-"),
        (float(np.median(values)), "median", "--"),
    ):
        axes.axvline(value, color="#c0392b", linestyle=style, label=f"{name} {value:.4g}")
    remarks = [f"n = {len(values):,}"]
    remarks += [f"{n_without:,} without a finite value"] if n_without else []
    remarks += [f"{n_beyond:,} beyond the range shown"] if n_beyond else []
    axes.set_title(", ".join(remarks), fontsize=10)
    axes.set_xlabel(label)
    axes.set_ylabel("crystals")
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    _save(figure, path)


def _shown_range(values: Floats) -> tuple[float, float, int]:
    """The range of the histogram, and the number of values beyond it."""
    low, first, third, high = np.quantile(values, [0, 0.25, 0.75, 1])
    spread = third - first
    if spread > 0 and high - low > _WIDEST * spread:
        low, high = np.quantile(values, [0.005, 0.995])
    n_beyond = int(((values < low) | (values > high)).sum())
    return float(low), float(high), n_beyond


def _bins(values: Floats) -> list[float] | int:
    """Edges of the bars: one for each whole number where there are few, else as numpy's rule."""
    low, high = float(values.min()), float(values.max())
    if high - low < _MOST_BINS and np.array_equal(values, np.rint(values)):
        return [float(edge) for edge in np.arange(low - 0.5, high + 1.0)]
    return min(_MOST_BINS, max(10, len(np.histogram_bin_edges(values, "sturges")) * 3))


def _draw_elements(path: Path, counts: Mapping[str, int]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(6.0, 0.16 * len(counts) + 1), 4), dpi=120, layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(counts))
    axes.bar(places, list(counts.values()), color="#3b6ea8")
    axes.set_xticks(places, list(counts), fontsize=6 if len(counts) > 30 else 9)
    axes.set_xlim(-0.8, len(counts) - 0.2)
    axes.set_xlabel("element")
    axes.set_ylabel("crystals that hold it")
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.spines[["top", "right"]].set_visible(False)
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    with whole_file(path) as temporary:
        figure.savefig(temporary, format="png")
