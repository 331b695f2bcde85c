"""Distances between distributions over space groups, crystal systems and elements."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.elements import SYMBOLS
from crystalcodec.evaluation.base import Evidence, Figure
from crystalcodec.evaluation.distribution.categories import (
    Categories,
    jensen_shannon_distance,
    total_variation,
)
from crystalcodec.evaluation.distribution.number_figures import Numbers, wasserstein_figure
from crystalcodec.evaluation.distribution.resampling import noise_floor, recentred
from crystalcodec.symmetry import CRYSTAL_SYSTEMS, crystal_system_ranks, space_group_numbers

__all__ = ["category_figures"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_GROUPS: Final = tuple(str(number) for number in range(231))  # 0 where none was found
_BETWEEN: Final = (
    "between held-out crystals and all crystals that the attempts gave, valid or not, of their "
    "shares in "
)
_JSD: Final = (
    "Jensen-Shannon distance (root of the divergence in bits, 0 to 1, 10.1109/TIT.2003.813506) "
    + _BETWEEN
)
_TV: Final = "Total variation (half the sum of differences, 0 to 1) " + _BETWEEN


def category_figures(evidence: Evidence, held_out: Crystals, symprec: float) -> list[Figure]:
    """Of space groups (moyopy, to ``symprec`` Å), crystal systems and elements."""
    attempts = evidence.attempts
    stored = f"space_group_numbers symprec={symprec:g}"
    work = partial(space_group_numbers, symprec=symprec)
    groups = attempts.spread(evidence.each(stored, attempts.crystals, work), -1).astype(np.int64)
    held_groups = np.asarray(evidence.each(stored, held_out, work), np.int64)
    by_group = Categories.numbered(groups, held_groups, len(_GROUPS))
    by_system = Categories.numbered(_systems(groups), _systems(held_groups), len(CRYSTAL_SYSTEMS))
    by_element = Categories.of_rows(
        attempts.spread(_fractions(attempts.crystals), np.nan), _fractions(held_out)
    )
    failures = attempts.reasons()
    unknown = failures | ({"no space group": int(n)} if (n := (groups == 0).sum()) else {})
    of_groups = f"the 230 space groups (moyopy, symprec {symprec:g} Å); none found is one more."
    return [
        _figure("jsd_space_group", _JSD + of_groups, by_group, _GROUPS, unknown),
        _figure("tv_space_group", _TV + of_groups, by_group, _GROUPS, unknown, total_variation),
        _ranked_figure(groups, held_groups, symprec, unknown),
        _figure(
            "jsd_crystal_system",
            f"{_JSD}the 7 crystal systems (moyopy, symprec {symprec:g} Å); crystals without a "
            "space group are left out.",
            by_system,
            CRYSTAL_SYSTEMS,
            unknown,
        ),
        _figure(
            "jsd_elements",
            f"{_JSD}the elements; each crystal counts with its atomic fractions.",
            by_element,
            SYMBOLS,
            failures,
        ),
    ]


def _systems(groups: Ints) -> Ints:
    """Places in ``CRYSTAL_SYSTEMS``; -1 where there is no space group."""
    return crystal_system_ranks()[np.maximum(groups, 0)]


def _fractions(crystals: Crystals) -> Floats:
    """(n, 119) atomic fractions."""
    return np.asarray(crystals.element_counts / crystals.n_sites[:, None])


def _figure(
    name: str,
    definition: str,
    categories: Categories,
    labels: Sequence[str],
    failures: Mapping[str, int],
    distance: Callable[[Floats, Floats], float] = jensen_shannon_distance,
) -> Figure:
    held, shares = categories.held_rows, categories.shares()
    there = (shares > 0) | (categories.held_shares > 0)
    return Figure(
        name,
        definition,
        len(categories.known),
        recentred(partial(categories.apart, distance), len(categories.known), high=1.0),
        better="lower",
        failures=failures,
        extra={
            "n_counted": int(categories.known.sum()),
            "noise_floor": noise_floor(
                len(held), lambda a, b: distance(held[a].mean(axis=0), held[b].mean(axis=0))
            ),
            # By category: of the attempts, and of the held-out crystals.
            "shares": {
                labels[i]: [float(shares[i]), float(categories.held_shares[i])]
                for i in np.flatnonzero(there).tolist()
            },
        },
    )


def _ranked_figure(
    groups: Ints, held_groups: Ints, symprec: float, failures: Mapping[str, int]
) -> Figure:
    ranked, held = (np.where(some > 0, some, np.nan) for some in (groups, held_groups))
    return wasserstein_figure(
        "wdist_space_group",
        f"Wasserstein distance of order 1 between the space group numbers (moyopy, symprec "
        f"{symprec:g} Å) of held-out crystals and of all crystals that the attempts gave. They are "
        "places in a table and no scale: jsd_space_group does not depend on their order.",
        Numbers("space group numbers", "", ranked, held),
        failures,
    )
