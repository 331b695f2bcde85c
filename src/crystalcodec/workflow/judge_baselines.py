"""What a table of figures is read beside: held-out crystals, random ones, substituted ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from crystalcodec.crystals import Crystals
from crystalcodec.evaluation.base import Attempts, Evidence, Progress
from crystalcodec.failures import Failure
from crystalcodec.registry import MissingExtraError
from crystalcodec.relaxation.base import Relaxed
from crystalcodec.workflow.benchmark.documents import digest, read_document, write_document
from crystalcodec.workflow.judge_figures import COVERAGE, N_RESAMPLES, Figures, Measured, measure
from crystalcodec.workflow.judge_properties import predicted
from crystalcodec.workflow.judge_store import Store, code_version, load_arrays, save_arrays

__all__ = ["HELD_OUT", "RANDOM", "SUBSTITUTED", "Baseline", "Relax", "judge_baselines"]

HELD_OUT: Final = "held-out"
RANDOM: Final = "random"
SUBSTITUTED: Final = "substituted"

_COLUMNS: Final = ("lattices", "frac_coords", "numbers", "offsets")

Relax = Callable[[str, Crystals], Relaxed]
"""From the name of a baseline and its crystals to the relaxed ones."""


@dataclass(frozen=True, eq=False)
class Baseline:
    """The figures of crystals that no generator made.

    Parameters
    ----------
    name
        ``held-out``, ``random`` or ``substituted``.
    note
        What they are, in words.
    n
        Attempts.
    figures
        By family.
    """

    name: str
    note: str
    n: int
    figures: Figures

    def find(self, figure: Measured) -> Measured | None:
        """Its figure of the same family and name."""
        own = self.figures.get(figure.family, ())
        return next((one for one in own if one.name == figure.name), None)


def judge_baselines(
    evidence: Evidence,
    families: Mapping[str, Any],
    *,
    n: int,
    seed: int = 0,
    properties: Sequence[str] = (),
    relax: Relax | None = None,
) -> list[Baseline]:
    """Judge all baselines that there is evidence for, as many attempts of each.

    Held-out crystals are a random sample of at most half of them, judged against the rest, so
    that none is compared with itself. Random and substituted crystals are made like those of
    ``train`` (of ``held_out`` without any) and judged as the attempts are. Figures are kept where
    the evidence is a :class:`~crystalcodec.workflow.judge_store.Store`.

    Parameters
    ----------
    n
        Attempts of each.
    properties
        Properties to predict for ``evidence.properties``.
    relax
        What relaxes their crystals; without it they have no figures of stability.
    """
    made = []
    for name in (HELD_OUT, RANDOM, SUBSTITUTED):
        found = _sample(name, evidence, n, seed)
        if found is None:
            continue
        attempts, held_out, note = found
        identity = _identity(name, evidence, families, attempts, seed, properties)
        # Hulls and relaxed crystals have no hash: what is slow of them is kept elsewhere.
        path = _path(evidence, identity) if evidence.hull is None and relax is None else None
        kept = None if path is None else _load(path)
        if kept is None:
            told = _progress(name, evidence)
            own = replace(
                evidence,
                attempts=attempts,
                held_out=held_out,
                relaxed=None,
                wanted=None,
                properties={},
                progress=told,
            )
            if properties:
                own = replace(own, properties=predicted(own, properties))
            if relax is not None:
                own = replace(own, relaxed=relax(name, attempts.crystals))
            figures, _ = measure(own, families, seed=seed)
            kept = Baseline(name, note, attempts.n, figures)
            if path is not None:
                _save(path, kept)
        made.append(kept)
    return made


def _sample(
    name: str, evidence: Evidence, n: int, seed: int
) -> tuple[Attempts, Crystals | None, str] | None:
    """Attempts of a baseline, what they are judged against, and what they are."""
    held_out, like = evidence.held_out, evidence.train or evidence.held_out
    if name == HELD_OUT:
        if held_out is None or len(held_out) < 2:
            return None
        order = np.random.default_rng(seed).permutation(len(held_out))
        size = min(n, len(held_out) // 2)
        chosen, rest = np.sort(order[:size]), np.sort(order[size:])
        note = (
            f"{size:,} of the {len(held_out):,} held-out crystals, against the other {len(rest):,}"
        )
        return Attempts.of(held_out[chosen]), held_out[rest], note
    if like is None or not len(like):
        return None
    made = _made(name, evidence, like, n, seed)
    source = "training" if evidence.train is not None else "held-out"
    if name == RANDOM:
        note = f"{n:,} random crystals with the compositions of the {source} crystals"
    else:
        note = f"{n:,} {source} crystals with elements substituted"
    return made, held_out, note


def _made(name: str, evidence: Evidence, like: Crystals, n: int, seed: int) -> Attempts:
    """Random or substituted crystals; made once where the evidence is kept."""
    identity = {"made": name, "like": like.content_hash, "n": n, "seed": seed}
    path = _path(evidence, {**identity, "code": code_version()}, ".npz")
    kept = None if path is None else load_arrays(path)
    if kept is not None:
        crystals = Crystals(*(kept[column] for column in _COLUMNS))
        failed = zip(kept["failed"].tolist(), kept["reasons"].tolist(), strict=True)
        return Attempts.of(crystals, [Failure(index, reason) for index, reason in failed])
    evidence.tell(f"making {name} crystals", 0, n)
    made = Attempts.of(*_generated(name, like, n, seed))
    if path is not None:
        arrays: dict[str, Any] = {column: getattr(made.crystals, column) for column in _COLUMNS}
        arrays["failed"] = np.array([failure.index for failure in made.failures], np.int64)
        arrays["reasons"] = np.array([failure.reason for failure in made.failures], np.str_)
        save_arrays(path, arrays)
    return made


def _generated(name: str, like: Crystals, n: int, seed: int) -> tuple[Crystals, list[Failure]]:
    if name == RANDOM:
        from crystalcodec.data.random_crystals import random_crystals

        return random_crystals(n, like=like, seed=seed)
    from crystalcodec.data.substitution import substituted_crystals

    return substituted_crystals(n, of=like, seed=seed)


def _path(evidence: Evidence, identity: Mapping[str, Any], ending: str = ".json") -> Path | None:
    """Where a thing of that identity is kept; None where nothing is."""
    if not isinstance(evidence, Store):
        return None
    return evidence.folder / "baselines" / f"{digest(identity)}{ending}"


def _identity(
    name: str,
    evidence: Evidence,
    families: Mapping[str, Any],
    attempts: Attempts,
    seed: int,
    properties: Sequence[str],
) -> dict[str, Any]:
    """Everything that the figures of a baseline follow from."""
    known = (attempts.crystals, evidence.train, evidence.held_out)
    return {
        "name": name,
        "n": attempts.n,
        "crystals": ["" if one is None else one.content_hash for one in known],
        "seed": seed,
        "families": {family: _described(function) for family, function in families.items()},
        "properties": sorted(properties),
        "interval": [COVERAGE, N_RESAMPLES],
        "code": code_version(),
    }


def _described(function: Any) -> str:
    if isinstance(function, MissingExtraError):
        return str(function)
    return f"{function.__module__}:{getattr(function, '__qualname__', function)}"


def _progress(name: str, evidence: Evidence) -> Progress | None:
    tell = evidence.progress
    return None if tell is None else lambda what, done, of: tell(f"{name}: {what}", done, of)


def _save(path: Path, made: Baseline) -> None:
    """The document last: it is what tells that all is there."""
    arrays = {
        f"{family}.{figure.name}": figure.of_each
        for family, figures in made.figures.items()
        for figure in figures
        if figure.of_each is not None
    }
    save_arrays(path.with_suffix(".npz"), arrays)
    figures = {family: [one.document() for one in own] for family, own in made.figures.items()}
    write_document(path, {"name": made.name, "note": made.note, "n": made.n, "figures": figures})


def _load(path: Path) -> Baseline | None:
    document, arrays = read_document(path), load_arrays(path.with_suffix(".npz"))
    if document is None or arrays is None:
        return None
    figures = {
        family: tuple(
            Measured.of_document(family, one, arrays.get(f"{family}.{one['name']}")) for one in own
        )
        for family, own in document["figures"].items()
    }
    return Baseline(document["name"], document["note"], document["n"], figures)
