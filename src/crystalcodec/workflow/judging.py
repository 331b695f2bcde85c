"""Judge generated crystals: all families of metrics, with intervals, beside baselines."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from crystalcodec.crystals import Crystals
from crystalcodec.evaluation.base import Attempts, EvaluationError, Evidence, Progress
from crystalcodec.relaxation.base import Relaxed
from crystalcodec.workflow.benchmark.documents import write_document
from crystalcodec.workflow.judge_baselines import Baseline, Relax, judge_baselines
from crystalcodec.workflow.judge_figures import (
    COVERAGE,
    INTERVAL,
    N_RESAMPLES,
    Families,
    Figures,
    Measured,
    chosen_families,
    measure,
)
from crystalcodec.workflow.judge_properties import check_properties, predicted
from crystalcodec.workflow.judge_store import Store, code_version, versions
from crystalcodec.workflow.judge_tables import text_table, write_attempts, write_tables

__all__ = ["Judgement", "judge"]

FORMAT = 1


@dataclass(frozen=True, eq=False)
class Judgement:
    """What was found about generated crystals.

    Parameters
    ----------
    attempts
        What was judged.
    figures
        By family.
    left_out
        Why the other families have no figures.
    baselines
        The same figures of crystals that no generator made.
    about
        What the figures follow from: hashes, seeds, potential, hull, versions.
    ids
        What each attempt is called; empty where there are no names.
    """

    attempts: Attempts
    figures: Figures
    left_out: Mapping[str, str] = field(default_factory=dict)
    baselines: tuple[Baseline, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)
    ids: tuple[str, ...] = ()

    def all(self) -> list[Measured]:
        """All figures, family after family."""
        return [figure for figures in self.figures.values() for figure in figures]

    def figure(self, name: str) -> Measured:
        """The figure of that name, or of ``family.name`` where two families share it.

        Raises
        ------
        KeyError
            If there is none.
        """
        for figure in self.all():
            if name in (figure.name, f"{figure.family}.{figure.name}"):
                return figure
        known = ", ".join(f"{one.family}.{one.name}" for one in self.all())
        raise KeyError(f"no figure {name!r}: there is {known or 'none'}")

    def table(self) -> str:
        """All figures as text, with those of the baselines beside them."""
        return text_table(self.figures, self.baselines)

    def document(self) -> dict[str, Any]:
        """What ``judge.json`` holds."""
        return {
            "format": FORMAT,
            **self.about,
            "interval": {
                "coverage": COVERAGE,
                "n_resamples": N_RESAMPLES,
                "definition": INTERVAL,
            },
            "failures": self.attempts.reasons(),
            "families": {
                family: [figure.document() for figure in figures]
                for family, figures in self.figures.items()
            },
            "left_out": dict(self.left_out),
            "baselines": {
                one.name: {
                    "note": one.note,
                    "n": one.n,
                    "families": {
                        family: [figure.document() for figure in figures]
                        for family, figures in one.figures.items()
                    },
                }
                for one in self.baselines
            },
        }

    def write(self, folder: str | Path) -> None:
        """Write ``judge.json``, ``.csv`` and ``.md``, ``attempts.csv`` and ``report.html``.

        Raises
        ------
        OSError
            Where a file cannot be written.
        """
        from crystalcodec.workflow.judge_pages import write_pages

        folder = Path(folder)
        document = self.document()
        write_tables(folder, self.figures, self.baselines)
        write_attempts(folder / "attempts.csv", self.attempts, self.ids, self.all())
        write_pages(folder, document, self.attempts, self.ids, self.figures, self.baselines)
        write_document(folder / "judge.json", document)


def judge(
    attempts: Attempts,
    *,
    train: Crystals | None = None,
    held_out: Crystals | None = None,
    hull: Any = None,
    relaxed: Relaxed | None = None,
    wanted: Crystals | None = None,
    properties: Sequence[str] = (),
    families: Families | Sequence[str] | None = None,
    baselines: bool = False,
    baseline_size: int | None = None,
    relax_baselines: Relax | None = None,
    seed: int = 0,
    jobs: int = 1,
    folder: str | Path | None = None,
    progress: Progress | None = None,
    ids: Sequence[str] = (),
    about: Mapping[str, Any] | None = None,
) -> Judgement:
    """Judge generated crystals by every family of metrics that the evidence allows.

    Parameters
    ----------
    attempts
        All that was tried, with what failed.
    train, held_out, hull, relaxed, wanted
        See :class:`~crystalcodec.evaluation.Evidence`.
    properties
        Properties that the package predicts, to compare with those of ``held_out``.
    families
        Names of the registry, or functions from Evidence to figures by name; all where None.
    baselines
        Judge held-out, random and substituted crystals as well.
    baseline_size
        Attempts of each baseline; as many as ``attempts`` where None.
    relax_baselines
        Called with the name of a baseline and its crystals, for its figures of stability.
    seed
        Of the bootstrap and of the baselines.
    jobs
        Number of processes, each with one thread. With more than one, call this under
        ``if __name__ == "__main__"``.
    folder
        Where what is computed is kept, so that the same call goes on after a kill, and another
        one with the same training crystals need not work on them again; nothing is kept where
        None.
    progress
        Called with what is done, how many are done, and of how many.
    ids
        Names of the attempts, for tables and pictures.
    about
        More for ``judge.json``: the command, the files.

    Raises
    ------
    EvaluationError
        No attempts, evidence that does not fit them, or no family that has a figure.
    UnknownNameError
        A family or a property that there is not.

    Examples
    --------
    >>> from crystalcodec.testing import sample_crystals
    >>> def sizes(evidence):
    ...     atoms = evidence.attempts.spread(evidence.attempts.crystals.n_sites, np.nan)
    ...     return [Figure.mean("n_sites", "Mean number of sites.", atoms)]
    >>> from crystalcodec.evaluation.base import Figure
    >>> made = judge(Attempts.of(sample_crystals(3)), families={"sizes": sizes})
    >>> made.figure("n_sites").n
    3
    """
    chosen = chosen_families(families)
    check_properties(properties)
    _check(attempts, relaxed, wanted, ids)
    if seed < 0:
        raise EvaluationError(f"seed {seed}: wanted 0 or more")
    evidence = Evidence(
        attempts, train, held_out, relaxed, hull, wanted, jobs=jobs, progress=progress
    )
    if folder is not None:
        own = {name: getattr(evidence, name) for name in evidence.__dataclass_fields__}
        evidence = Store(**own, folder=Path(folder))
    if properties:
        evidence = replace(evidence, properties=predicted(evidence, properties))
    figures, left_out = measure(evidence, chosen, seed=seed)
    if not figures:
        why = "; ".join(f"{family}: {reason}" for family, reason in left_out.items())
        raise EvaluationError(f"no figure can be measured ({why or 'no family'})")
    beside: list[Baseline] = []
    if baselines:
        beside = judge_baselines(
            evidence,
            chosen,
            n=baseline_size or attempts.n,
            seed=seed,
            properties=properties,
            relax=relax_baselines,
        )
    told = {**_about(evidence, seed, properties), **(about or {})}
    # File names may hold bytes that no text file can.
    named = tuple(one.encode("utf-8", "backslashreplace").decode() for one in ids)
    return Judgement(attempts, figures, left_out, tuple(beside), told, named)


def _check(
    attempts: Attempts, relaxed: Relaxed | None, wanted: Crystals | None, ids: Sequence[str]
) -> None:
    if not attempts.n:
        raise EvaluationError("no attempts to judge: wanted at least one")
    if relaxed is not None and relaxed.n != len(attempts.crystals):
        raise EvaluationError(
            f"{relaxed.n} relaxed crystals (with failures) for {len(attempts.crystals)} crystals: "
            "relax exactly those that are judged"
        )
    if relaxed is not None:
        before, after = attempts.crystals[relaxed.positions], relaxed.crystals
        if not (
            np.array_equal(before.offsets, after.offsets)
            and np.array_equal(before.numbers, after.numbers)
        ):
            raise EvaluationError(
                "the relaxed crystals have other elements than those that are judged: relax "
                "exactly those, in their order"
            )
    if wanted is not None and len(wanted) != attempts.n:
        raise EvaluationError(
            f"{len(wanted)} crystals that were wanted, and {attempts.n} attempts: wanted one each"
        )
    if ids and len(ids) != attempts.n:
        raise EvaluationError(f"{len(ids)} names for {attempts.n} attempts: wanted one each")


def _about(evidence: Evidence, seed: int, properties: Sequence[str]) -> dict[str, Any]:
    """What the figures follow from."""
    attempts, relaxed, hull = evidence.attempts, evidence.relaxed, evidence.hull
    about: dict[str, Any] = {
        "attempts": {
            "n": attempts.n,
            "n_crystals": len(attempts.crystals),
            "content_hash": attempts.crystals.content_hash,
        }
    }
    for name in ("train", "held_out", "wanted"):
        crystals = getattr(evidence, name)
        if crystals is not None:
            about[name] = {"n": len(crystals), "content_hash": crystals.content_hash}
    if relaxed is not None:
        about["relaxed"] = {
            "potential": relaxed.potential,
            "n": relaxed.n,
            "n_with_energy": len(relaxed.positions),
            "n_converged": int(np.sum(relaxed.converged)),
            "settings": relaxed.settings,
        }
    if hull is not None:
        about["hull"] = {
            "potential": hull.potential,
            "n": len(hull),
            "content_hash": hull.content_hash,
            "source": hull.source,
        }
    return {
        **about,
        "properties": list(properties),
        "seed": seed,
        "versions": {"python": sys.version.split()[0], **versions("torch", "chgnet", "matminer")},
        "code": code_version(),
    }
