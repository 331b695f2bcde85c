"""What is left of the samples of a generator, stage after stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.data.pair_distances import shortest_distances
from crystalcodec.evaluation.base import Attempts, Evidence
from crystalcodec.evaluation.novelty import is_novel, is_unique
from crystalcodec.evaluation.stability import METASTABLE, energies_above_hull
from crystalcodec.evaluation.validity import (
    check_compositions,
    published_rules,
    published_structure_validity,
)
from crystalcodec.failures import Failure

__all__ = ["Funnel", "drop_invalid", "measure_funnel", "validity"]

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

_ROUNDING: Final = 1e-5  # eV/atom, as the figure metastable has it


@dataclass(frozen=True, eq=False)
class Funnel:
    """How many samples passed each stage and all before it.

    Parameters
    ----------
    stages
        Name and number, from all samples on.
    not_measured
        Why the other stages are not there, by name.
    flags
        (n,) for each stage after decoding, whether a sample passed it, whatever the others say.
    energies : (n,)
        eV/atom above the hull, NaN where there is none; None without a hull.
    """

    stages: tuple[tuple[str, int], ...]
    not_measured: Mapping[str, str]
    flags: Mapping[str, Bools]
    energies: Floats | None = None


def validity(crystals: Crystals) -> tuple[Bools, Bools]:
    """(m,) whether structures and whether compositions are valid, by the published tests.

    Those of the figures ``structural_validity`` and ``composition_validity``.
    """
    if not len(crystals):
        return np.zeros(0, bool), np.zeros(0, bool)
    compositions = check_compositions(crystals, published_rules())
    return published_structure_validity(crystals), compositions.valid


def drop_invalid(attempts: Attempts) -> Attempts:
    """The attempts with a failure for each crystal that is not valid."""
    crystals, positions = attempts.crystals, attempts.positions
    structural, compositional = validity(crystals)
    if (structural & compositional).all():
        return attempts
    distances = shortest_distances(crystals).between_sites
    formulas = crystals.formulas
    failed = [
        Failure(int(positions[i]), "composition not valid", formulas[i])
        if structural[i]
        else Failure(
            int(positions[i]),
            "structure not valid",
            f"{formulas[i]}: sites {distances[i]:.3f} Å apart, volume {crystals[i].volumes[0]:.4g} "
            "Å³",
        )
        for i in np.flatnonzero(~(structural & compositional)).tolist()
    ]
    kept = structural & compositional
    failures = sorted([*attempts.failures, *failed], key=lambda one: one.index)
    return Attempts(crystals[kept], positions[kept], attempts.n, tuple(failures))


def measure_funnel(
    evidence: Evidence,
    decoded: int,
    cleaned: int | None = None,
    before_drop: Attempts | None = None,
) -> Funnel:
    """The stages that the evidence allows.

    Parameters
    ----------
    evidence
        The samples as attempts; ``train`` for what is novel, ``relaxed`` and ``hull`` for what is
        metastable.
    decoded
        Samples that gave a crystal.
    cleaned
        Those that were crystals after cleaning, too; None where nothing was cleaned.
    before_drop
        The attempts before those that are not valid were dropped; None where none were. Whether
        structures are valid is counted over them.
    """
    attempts = evidence.attempts
    whole = attempts if before_drop is None else before_drop
    there = whole.spread(np.ones(len(whole.crystals))) > 0
    structural, compositional = (whole.spread(found) > 0 for found in validity(whole.crystals))
    flags = {"valid structure": structural, "valid": structural & compositional}
    missing: dict[str, str] = {}
    some = bool(len(attempts.crystals))
    none = np.zeros(attempts.n, bool)
    flags["unique"] = is_unique(evidence) if some else none
    if evidence.train is None:
        missing["novel"] = "no training crystals were given (--against)"
    else:
        flags["novel"] = is_novel(evidence) if some else none
    energies, why = _energies(evidence)
    if energies is None:
        missing["metastable"] = why
    else:
        flags["metastable"] = energies <= METASTABLE + _ROUNDING
    stages = [("sampled", attempts.n), ("decoded", decoded)]
    if cleaned is not None:
        stages.append(("cleaned", cleaned))
    left = there
    for name, passed in flags.items():
        left = left & passed
        stages.append((name, int(left.sum())))
    return Funnel(tuple(stages), missing, flags, energies)


def _energies(evidence: Evidence) -> tuple[Floats | None, str]:
    """(n,) above the hull, or None and why."""
    hull: Any = evidence.hull
    if not len(evidence.attempts.crystals):
        return None, "there is no crystal to relax"
    if evidence.relaxed is None:
        return None, "the crystals were not relaxed (--relax)"
    if hull is None:
        return None, "no convex hull was given (--hull)"
    if hull.of_elements_only:
        return None, "the hull is of the elements alone, which tells none that decompose"
    return energies_above_hull(evidence), ""
