"""The pages of a judgement: what is lost where, how values spread, the best and the worst."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.evaluation.base import Attempts
from crystalcodec.judge_report import Card, Gallery, TableRow, write_judge_report
from crystalcodec.workflow.judge_baselines import HELD_OUT, Baseline
from crystalcodec.workflow.judge_figures import Figures, Measured
from crystalcodec.workflow.judge_tables import SHIFTED, interval_text, number

__all__ = ["Ranking", "funnel_stages", "ranking", "spread_figures", "table_row", "write_pages"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

# What an attempt is asked one after the other, and the figures that answer it for each.
_STAGES: Final = (
    ("structurally valid", "structural_validity"),
    ("of valid composition, too", "validity"),
    ("unique", "uniqueness"),
    ("novel", "novelty"),
    ("metastable", "metastable"),
    ("stable", "stable"),
)
# What tells the best crystals from the worst, the first that there is.
_RANKS: Final = (("energy_above_hull", "lowest first"), ("separation", "nearest to 1 first"))
# Terms of a sum over pairs, which mean nothing for one crystal.
_NO_QUANTITY: Final = "squared_mmd"
_SHOWN: Final = 8
_MAX_HISTOGRAMS: Final = 30


def write_pages(
    folder: Path,
    document: Mapping[str, Any],
    attempts: Attempts,
    ids: Sequence[str],
    figures: Figures,
    baselines: Sequence[Baseline],
) -> None:
    """Write ``report.html``, and its figures as PNG into ``figures``."""
    from crystalcodec.plots.judging import funnel
    from crystalcodec.plots.results import save

    stages = funnel_stages(attempts, figures)
    path = folder / "figures" / "funnel.png"
    save(funnel(stages), path)
    write_judge_report(
        folder / "report.html",
        document,
        rows=[table_row(one, baselines) for own in figures.values() for one in own],
        baselines={one.name: one.note for one in baselines},
        funnel=path,
        histograms=_histograms(folder / "figures", attempts, figures, baselines),
        gallery=_gallery(attempts, ids, figures),
        remark=SHIFTED,
    )


def funnel_stages(attempts: Attempts, figures: Figures) -> list[tuple[str, int]]:
    """Number of attempts that are left after each stage that was measured.

    Each stage counts those that passed it and all before it.
    """
    left = attempts.spread(np.ones(len(attempts.crystals))).astype(bool)
    stages = [("attempts", attempts.n), ("crystals", int(left.sum()))]
    for name, figure in _STAGES:
        passed = _flags(figure, attempts.n, figures)
        if passed is not None:
            left = left & passed
            stages.append((name, int(left.sum())))
    return stages


def _flags(name: str, n: int, figures: Figures) -> Bools | None:
    """(n,) which attempts a share counts; None where there is no such share."""
    for figure in (one for own in figures.values() for one in own):
        values = figure.of_each
        if figure.name == name and values is not None and len(values) == n and _is_share(values):
            return np.asarray(values == 1)
    return None


def _is_share(values: Floats) -> bool:
    return bool(np.isin(values[~np.isnan(values)], (0.0, 1.0)).all())


@dataclass(frozen=True, eq=False)
class Ranking:
    """Attempts from the best to the worst.

    Parameters
    ----------
    figure
        What tells.
    rule
        Which values are good, in words.
    order : (k,)
        The attempts that have a value, the best first.
    """

    figure: Measured
    rule: str
    order: npt.NDArray[np.int64]


def ranking(n: int, figures: Figures) -> Ranking | None:
    """The attempts by what tells the best from the worst; None where nothing does.

    Energy above the hull where it is known, else the shortest distance in units of the radii,
    which is near 1 in a crystal, else the first figure that has a better side and more values
    than yes and no.
    """
    known = [
        one
        for own in figures.values()
        for one in own
        if one.of_each is not None
        and len(one.of_each) == n
        and np.isfinite(one.of_each).sum() > 1
        and not _is_share(one.of_each)
    ]
    ranks = [(one, rule) for name, rule in _RANKS for one in known if one.name == name]
    ranks += [(one, f"{one.better[:-2]}st first") for one in known if one.better]
    if not ranks:
        return None
    figure, rule = ranks[0]
    values = np.asarray(figure.of_each)
    ranked = np.flatnonzero(np.isfinite(values))
    keys = values[ranked]
    if rule.startswith("nearest"):
        keys = np.abs(keys - 1)
    elif rule.startswith("high"):
        keys = -keys
    return Ranking(figure, rule, ranked[np.argsort(keys, kind="stable")])


def _gallery(attempts: Attempts, ids: Sequence[str], figures: Figures) -> Gallery | None:
    found = ranking(attempts.n, figures)
    if found is None:
        return None
    figure, order = found.figure, found.order
    shown = min(_SHOWN, len(order) // 2)
    told = (
        f"By {figure.name.replace('_', ' ')} ({figure.family}), {found.rule}; {len(order):,} of "
        f"{attempts.n:,} attempts have it."
    )
    return Gallery(
        told,
        [_card(int(i), attempts, ids, figure) for i in order[:shown]],
        [_card(int(i), attempts, ids, figure) for i in order[::-1][:shown]],
    )


def _card(position: int, attempts: Attempts, ids: Sequence[str], figure: Measured) -> Card:
    from crystalcodec.plots.judging import crystal_png

    place = int(np.searchsorted(attempts.positions, position))
    crystal = attempts.crystals[place]
    value = float(np.asarray(figure.of_each)[position])
    lines = [
        ids[position] if ids else f"attempt {position}",
        f"{figure.name.replace('_', ' ')}: {number(value)} {figure.unit}".rstrip(),
        f"sites: {crystal.n_sites[0]:,}, cell: {number(float(crystal.volumes[0]))} Å³",
    ]
    return Card(crystal.formulas[0], lines, crystal_png(crystal))


def _histograms(
    folder: Path, attempts: Attempts, figures: Figures, baselines: Sequence[Baseline]
) -> dict[str, Path]:
    """PNG files by caption, one for each figure that has more values than yes and no."""
    from crystalcodec.plots.judging import histogram
    from crystalcodec.plots.results import save

    held_out = next((one for one in baselines if one.name == HELD_OUT), None)
    drawn: dict[str, Path] = {}
    for figure in spread_figures(figures)[:_MAX_HISTOGRAMS]:
        values = _finite(figure.of_each)
        other = held_out.find(figure) if held_out is not None else None
        name = figure.name.removeprefix("wdist_").removesuffix("_of_all")
        picture, beyond = histogram(
            values, name, figure.unit, None if other is None else _finite(other.of_each)
        )
        path = folder / f"{len(drawn):02d}.png"
        save(picture, path)
        caption = f"{figure.family}: {figure.name.replace('_', ' ')}"
        drawn[caption + ("; the outermost bins hold what lies beyond" if beyond else "")] = path
    return drawn


def spread_figures(figures: Figures) -> list[Measured]:
    """Figures whose values of each attempt make a histogram, each column of values once.

    Of figures that count the same values over fewer attempts, the one with the most is taken.
    """
    chosen: list[Measured] = []
    for figure in (one for own in figures.values() for one in own):
        values = figure.of_each
        if values is None or len(_finite(values)) < 2 or _is_share(values):
            continue
        if figure.name.startswith(_NO_QUANTITY):
            continue
        for i, other in enumerate(chosen):
            if _same_values(values, np.asarray(other.of_each)):
                if len(_finite(values)) > len(_finite(other.of_each)):
                    chosen[i] = figure
                break
        else:
            chosen.append(figure)
    return chosen


def _same_values(one: Floats, other: Floats) -> bool:
    """Whether two columns agree wherever both have a value, and one has all of the other's."""
    if len(one) != len(other):
        return False
    both = np.isfinite(one) & np.isfinite(other)
    fewer = min(len(_finite(one)), len(_finite(other)))
    return bool(both.sum() == fewer and np.allclose(one[both], other[both], rtol=1e-9, atol=0))


def _finite(values: Floats | None) -> Floats:
    return np.zeros(0) if values is None else values[np.isfinite(values)]


def table_row(figure: Measured, baselines: Sequence[Baseline]) -> TableRow:
    """A figure in words, with those of the baselines."""
    others = [one.find(figure) for one in baselines]
    return TableRow(
        figure.family,
        f"{figure.name} ({figure.unit})" if figure.unit else figure.name,
        number(figure.value),
        "" if figure.low != figure.low else interval_text(figure),
        figure.better,
        f"{figure.n:,}",
        {reason: count for reason, count in figure.failures.items() if count},
        figure.definition,
        ["" if other is None else number(other.value) for other in others],
        [
            "" if other is None or other.low != other.low else interval_text(other)
            for other in others
        ],
    )
