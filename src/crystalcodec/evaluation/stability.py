"""How stable attempts are: relaxed, and held against the mixtures of known phases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.evaluation.base import Attempts, EvaluationError, Evidence, Figure
from crystalcodec.evaluation.novelty import is_novel, is_unique
from crystalcodec.failures import Failure, count_reasons

if TYPE_CHECKING:
    from crystalcodec.relaxation.base import Relaxed
    from crystalcodec.relaxation.hull import Hull

__all__ = [
    "METASTABLE",
    "STABLE",
    "SUSPECT",
    "energies_above_hull",
    "measure",
    "relaxed_attempts",
]

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

STABLE: Final = 0.0
"""eV/atom above the hull up to which a crystal is stable."""

METASTABLE: Final = 0.1
"""eV/atom above the hull up to which a crystal is metastable: MatterGen's threshold."""

SUSPECT: Final = -0.5
"""eV/atom above the hull below which an energy is more likely a fault of the potential."""

# eV/atom; networks give energies of four bytes a number.
_ROUNDING: Final = 1e-5
# Files round: the same crystal may have been read from two.
_SAME_VOLUME: Final = 1e-3
_MATTERGEN: Final = "MatterGen, 10.1038/s41586-025-08628-5"


def relaxed_attempts(evidence: Evidence) -> Attempts:
    """The attempts after relaxation; what could not be relaxed is a failure with its reason.

    Raises
    ------
    EvaluationError
        If the relaxed crystals are not those of the attempts.
    """
    attempts, relaxed = evidence.attempts, _relaxed(evidence)
    lost = {
        int(attempts.positions[one.index]): Failure(
            int(attempts.positions[one.index]), one.reason, one.detail
        )
        for one in relaxed.failures
    }
    failures = {**{one.index: one for one in attempts.failures}, **lost}
    return Attempts(
        relaxed.crystals,
        attempts.positions[relaxed.positions],
        attempts.n,
        tuple(failures[i] for i in sorted(failures)),
    )


def energies_above_hull(evidence: Evidence) -> Floats:
    """(n,) eV/atom above the hull of each attempt after relaxation; NaN where it has none.

    Raises
    ------
    EvaluationError
        If the relaxed crystals are not those of the attempts.
    PotentialError
        If hull and relaxed crystals are by different potentials.
    """
    return _energies(relaxed_attempts(evidence), _relaxed(evidence), evidence.hull)


def measure(
    evidence: Evidence, thresholds: Sequence[tuple[str, float]] | None = None
) -> list[Figure]:
    """Figures of relaxation, and against a hull those of stability; with ``train`` S.U.N. too.

    Parameters
    ----------
    evidence
        Of which ``relaxed`` and ``hull`` are used; without the first there is no figure, and
        against a hull without compounds there are formation energies and no stable ones.
    thresholds
        Names and energies above the hull, eV/atom, up to which a crystal counts; default: stable
        at 0 and metastable at 0.1. Each gives a share of the stable, and with ``train`` one of
        the stable, unique and novel.

    Raises
    ------
    EvaluationError
        If the relaxed crystals are not those of the attempts.
    PotentialError
        If hull and relaxed crystals are by different potentials.
    """
    if evidence.relaxed is None:
        return []
    relaxed, attempts = _relaxed(evidence), relaxed_attempts(evidence)
    figures = _of_relaxation(attempts, relaxed)
    if evidence.hull is None:
        return figures
    hull: Hull = evidence.hull
    above = _energies(attempts, relaxed, hull)
    against = _Against.of(attempts, relaxed, hull)
    figures += _of_formation(attempts, relaxed, hull, against)
    if hull.of_elements_only:
        return figures
    figures += _of_energies(above, attempts, relaxed, against)
    named = dict(thresholds or (("stable", STABLE), ("metastable", METASTABLE)))
    reached = {name: above <= limit + _ROUNDING for name, limit in named.items()}
    figures += [
        Figure.share(
            name,
            f"Attempts at most {named[name]:g} eV/atom ({_ROUNDING:g} more for rounding) above the "
            f"hull after relaxation, over all attempts; {against.said}. One whose relaxation did "
            "not converge counts with its last energy, one without an energy does not count.",
            hits,
            failures=against.missed,
            extra={**against.extra, "threshold": named[name], **_suspects(above, hits)},
        )
        for name, hits in reached.items()
    ]
    if evidence.train is not None and len(evidence.train):
        figures += _of_new_ones(evidence, attempts, relaxed, reached, named, against)
    return figures


@dataclass(frozen=True)
class _Against:
    """What energies are held against, as it stands beside each number."""

    said: str
    extra: Mapping[str, Any]
    missed: Mapping[str, int]

    @classmethod
    def of(cls, attempts: Attempts, relaxed: Relaxed, hull: Hull) -> _Against:
        lost = [*attempts.failures, *hull.failures_of(relaxed.crystals)]
        made_of = hull.source or "a hull without a name"
        how = "relaxed by it" if hull.settings.get("relaxed") else "with their energies as given"
        return cls(
            f"energies by {relaxed.potential}, hull of {len(hull):,} phases from {made_of}, {how} "
            f"(hash {hull.content_hash[:12]})",
            {
                "potential": relaxed.potential,
                "relaxation": dict(relaxed.settings),
                "hull": {
                    "source": hull.source,
                    "n_phases": len(hull),
                    "content_hash": hull.content_hash,
                    "relaxed": bool(hull.settings.get("relaxed", False)),
                },
            },
            count_reasons(lost),
        )


def _relaxed(evidence: Evidence) -> Relaxed:
    if evidence.relaxed is None:
        raise EvaluationError("no relaxed crystals; give those of crystalcodec relax")
    relaxed: Relaxed = evidence.relaxed
    if relaxed.n != len(evidence.attempts.crystals):
        raise EvaluationError(
            f"{relaxed.n} crystals relaxed and {len(evidence.attempts.crystals)} crystals of the "
            "attempts: wanted the same; relax the generated crystals themselves"
        )
    before = evidence.attempts.crystals[relaxed.positions]
    if not (
        np.array_equal(before.offsets, relaxed.crystals.offsets)
        and np.array_equal(before.numbers, relaxed.crystals.numbers)
    ):
        raise EvaluationError(
            "the relaxed crystals hold other atoms than the attempts: they belong to others; "
            "relax the generated crystals themselves"
        )
    # Two sets of the same atoms differ in their cells: what was relaxed had these volumes.
    volumes = relaxed.crystals.volumes / (1 + relaxed.volume_changes)
    strange = np.flatnonzero(~np.isclose(volumes, before.volumes, rtol=_SAME_VOLUME, atol=0))
    if len(strange):
        raise EvaluationError(
            f"{len(strange)} of {len(before)} relaxed crystals began with other volumes than the "
            f"attempts have (the first: {volumes[strange[0]]:.4g} and "
            f"{before.volumes[strange[0]]:.4g} Å³): they belong to others; relax the generated "
            "crystals themselves"
        )
    return relaxed


def _energies(attempts: Attempts, relaxed: Relaxed, hull: Hull) -> Floats:
    return attempts.spread(hull.energies_above_of(relaxed), np.nan)


def _suspects(above: Floats, hits: Bools) -> dict[str, int]:
    return {f"n_below_{-SUSPECT:g}_eV": int(np.sum(hits & (above < SUSPECT)))}


def _of_relaxation(attempts: Attempts, relaxed: Relaxed) -> list[Figure]:
    """Figures that need no hull."""
    limits = relaxed.settings
    told = ", ".join(
        f"{said} {limits[name]:g} {unit}".strip()
        for name, said, unit in (
            ("max_force", "forces up to", "eV/Å"),
            ("max_stress", "stress up to", "GPa"),
            ("max_steps", "steps up to", ""),
        )
        if isinstance(limits.get(name), int | float)
    )
    by = f"relaxation with {relaxed.potential}" + (f" ({told})" if told else "")
    lost = attempts.reasons()
    extra = {"potential": relaxed.potential, "relaxation": dict(limits)}
    rmsds = attempts.spread(relaxed.rmsds, np.nan)
    energies = attempts.spread(relaxed.energies, np.nan)
    volumes = attempts.spread(relaxed.volume_changes, np.nan)
    displaced = (
        f"root mean squared displacement of the sites in the {by}, Å, over the attempts that have "
        "an energy after it, converged or not"
    )
    return [
        Figure.share(
            "relaxation_converged",
            f"Attempts whose {by} converged, over all attempts.",
            attempts.spread(relaxed.converged) > 0,
            failures=lost,
            extra=extra,
        ),
        Figure.mean(
            "rmsd_to_relaxed",
            f"Mean {displaced}; the shift of all sites together is left out.",
            rmsds,
            unit="Å",
            better="lower",
            failures=lost,
            extra=extra,
        ),
        _median(
            "median_rmsd_to_relaxed",
            f"Median {displaced}; the shift of all sites together is left out.",
            rmsds,
            "Å",
            lost,
            extra,
        ),
        Figure.mean(
            "volume_change_in_relaxation",
            f"Mean of the absolute value of the volume after the {by} over that before, minus 1, "
            "over the attempts that have an energy after it.",
            np.abs(volumes),
            better="lower",
            failures=lost,
            extra=extra,
        ),
        Figure.mean(
            "energy_per_atom",
            f"Mean energy after {by}, over the attempts that have one. Energies of different "
            "compositions and of different potentials do not compare.",
            energies,
            unit="eV/atom",
            failures=lost,
            extra=extra,
        ),
    ]


def _of_formation(
    attempts: Attempts, relaxed: Relaxed, hull: Hull, against: _Against
) -> list[Figure]:
    """Energies from the elements: the only ones that a hull without compounds tells."""
    values = hull.formation_energies_of(relaxed.crystals, relaxed.energies)
    formation = attempts.spread(values, np.nan)
    return [
        Figure.mean(
            "formation_energy_per_atom",
            "Mean energy after relaxation from the lowest phases of the elements in the hull, over "
            f"the attempts that have one; {against.said}.",
            formation,
            unit="eV/atom",
            better="lower",
            failures=against.missed,
            extra=against.extra,
        ),
        Figure.share(
            "negative_formation_energy",
            "Attempts whose energy after relaxation is below that of the elements in the hull, "
            "over all attempts: no measure of stability, for other compounds may lie lower; "
            f"{against.said}.",
            formation < 0,
            failures=against.missed,
            extra=against.extra,
        ),
    ]


def _of_energies(
    above: Floats, attempts: Attempts, relaxed: Relaxed, against: _Against
) -> list[Figure]:
    """Mean and median energy above the hull."""
    said = (
        "energy of the relaxed crystal above the lowest mixture of the phases of the hull, over "
        f"the attempts that have one; {against.said}."
    )
    return [
        Figure.mean(
            "energy_above_hull",
            f"Mean {said}",
            above,
            unit="eV/atom",
            better="lower",
            failures=against.missed,
            extra=against.extra,
        ),
        _median(
            "median_energy_above_hull",
            f"Median {said}",
            above,
            "eV/atom",
            against.missed,
            against.extra,
        ),
    ]


def _of_new_ones(
    evidence: Evidence,
    attempts: Attempts,
    relaxed: Relaxed,
    reached: Mapping[str, Bools],
    named: Mapping[str, float],
    against: _Against,
) -> list[Figure]:
    """S.U.N.: of those that reach a threshold, the unique and novel ones."""
    anything = np.logical_or.reduce(list(reached.values()))
    unique, novel = _unique_and_novel(evidence, attempts, relaxed, anything)
    return [
        Figure.share(
            {"stable": "sun", "metastable": "msun"}.get(name, f"sun_{name}"),
            f"Attempts that are at most {named[name]:g} eV/atom ({_ROUNDING:g} more for rounding) "
            "above the hull, unique and novel (S.U.N.), over all attempts. All three are judged on "
            f"the relaxed crystals, as in {_MATTERGEN}: unique is the first of its kind among all "
            "relaxed attempts, novel what is none of the training crystals, both by "
            "StructureMatcher with its default "
            f"tolerances (others of the field judge the unrelaxed ones); {against.said}.",
            hits & unique & novel,
            failures=against.missed,
            extra={
                **against.extra,
                "threshold": named[name],
                "n_reached": int(hits.sum()),
                "n_reached_unique": int((hits & unique).sum()),
                "n_reached_novel": int((hits & novel).sum()),
            },
        )
        for name, hits in reached.items()
    ]


def _unique_and_novel(
    evidence: Evidence, attempts: Attempts, relaxed: Relaxed, wanted: Bools
) -> tuple[Bools, Bools]:
    """Of the relaxed attempts: first of their kind among all, and not in train where wanted."""
    # A crystal equals one of ``wanted`` only if its composition does: the others need no look.
    held = attempts.crystals
    chosen = np.flatnonzero(wanted[attempts.positions])
    unique, novel = np.zeros(attempts.n, bool), np.zeros(attempts.n, bool)
    if not len(chosen):
        return unique, novel
    from crystalcodec.data.compositions import reduced_composition_numbers

    kinds = reduced_composition_numbers(held)
    same = np.flatnonzero(np.isin(kinds, kinds[chosen]))

    def of(which: Ints) -> Evidence:
        # Not evidence's own class: what that keeps is of the attempts as they were generated.
        return Evidence(
            Attempts.of(held[which]),
            train=evidence.train,
            jobs=evidence.jobs,
            progress=evidence.progress,
        )

    def found() -> Mapping[str, npt.NDArray[Any]]:
        return {"unique": is_unique(of(same)), "novel": is_novel(of(chosen))}

    rows = evidence.once(
        f"unique and novel after relaxation 1, {_fingerprint(relaxed, same, chosen)}", found
    )
    unique[attempts.positions[same]] = np.asarray(rows["unique"], bool)
    novel[attempts.positions[chosen]] = np.asarray(rows["novel"], bool)
    return unique, novel


def _fingerprint(relaxed: Relaxed, *rows: Ints) -> str:
    """Of the relaxed crystals, and of which were looked at."""
    import hashlib

    found = hashlib.sha256(relaxed.crystals.content_hash.encode())
    for one in rows:
        found.update(np.ascontiguousarray(one, "<i8").tobytes() + b" ")
    return f"{relaxed.potential} {found.hexdigest()[:16]}"


def _median(
    name: str,
    definition: str,
    values: Floats,
    unit: str,
    failures: Mapping[str, int],
    extra: Mapping[str, Any],
) -> Figure:
    def estimate(positions: Ints) -> float:
        chosen = values[positions]
        chosen = chosen[~np.isnan(chosen)]
        return float(np.median(chosen)) if len(chosen) else float("nan")

    return Figure(name, definition, len(values), estimate, unit, "lower", failures, values, extra)
