"""Whether a generator repeats itself, and whether it repeats what it learnt from.

Crystals are the same by pymatgen's StructureMatcher (:mod:`crystalcodec.data.matching`);
prototypes are the same by their labels (:mod:`crystalcodec.symmetry`).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from hashlib import sha256
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.data.compositions import reduced_composition_numbers
from crystalcodec.data.matching import (
    PYMATGEN,
    REFUSALS,
    Alike,
    Tolerances,
    alike_in,
    first_alike,
)
from crystalcodec.evaluation.base import EvaluationError, Evidence, Figure

__all__ = [
    "PROTOTYPE_SYMPREC",
    "first_of_key",
    "is_novel",
    "is_unique",
    "measure",
    "prototype_keys",
]

Array = npt.NDArray[Any]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

PROTOTYPE_SYMPREC: Final = 0.1
"""Å; how far sites may be from the symmetric places of a prototype: crystals here are as they
were generated, and those of the training set are labelled with the same tolerance."""

_VERSION: Final = 1  # of what is kept by name
_NO_SYMMETRY: Final = "symmetry not found"
_FAILED: Final = "A failed attempt does not count as one. Over all attempts."
_SAME: Final = (
    "the same by StructureMatcher of pymatgen (doi:10.1016/j.commatsci.2012.10.028; {}, primitive "
    "cells, volumes scaled)"
)


def measure(
    evidence: Evidence,
    tolerances: Tolerances = PYMATGEN,
    *,
    symprec: float = PROTOTYPE_SYMPREC,
) -> list[Figure]:
    """Uniqueness of the attempts and, with crystals of ``train``, novelty.

    Both are counted of crystals, of reduced compositions and of prototypes.

    Parameters
    ----------
    evidence
        Attempts; ``train`` for novelty.
    tolerances
        How far apart is the same crystal.
    symprec
        Å; tolerance of the symmetry in the labels of prototypes.

    Raises
    ------
    MatchingError, SymmetryError
        Tolerances that are no positive numbers.
    """
    repeats = _repeats(evidence, tolerances)
    unique = _first_of_kind(evidence, repeats)
    figures = [
        _unique_crystals(evidence, repeats, tolerances),
        *_of_compositions(evidence),
        *_of_prototypes(evidence, symprec),
    ]
    if evidence.train is None:
        return figures
    known = _known(evidence, tolerances)
    novel = _not_known(evidence, known)
    same = _SAME.format(tolerances)
    refused = _refusals(evidence, known)
    about = {"n_train": len(evidence.train), "tolerances": str(tolerances)}
    return [
        *figures,
        Figure.share(
            "novelty",
            f"Share of attempts that gave a crystal which is {same} as none of train. A crystal "
            f"that cannot be compared (for a reason among the failures) is not novel. {_FAILED}",
            novel,
            failures=refused,
            extra=about,
        ),
        Figure.share(
            "unique_and_novel",
            f"Share of attempts that are {same} as no attempt before them that is the first of "
            f"its kind, and as none of train. A crystal that cannot be compared is neither. "
            f"{_FAILED}",
            unique & novel,
            failures=refused,
            extra=about,
        ),
    ]


def is_unique(evidence: Evidence, tolerances: Tolerances = PYMATGEN) -> Bools:
    """(n,) whether each attempt is a crystal, and the first of its kind among the attempts.

    Parameters
    ----------
    evidence
        n attempts.
    tolerances
        How far apart is the same crystal; see :func:`crystalcodec.data.matching.first_alike`.
    """
    return _first_of_kind(evidence, _repeats(evidence, tolerances))


def is_novel(evidence: Evidence, tolerances: Tolerances = PYMATGEN) -> Bools:
    """(n,) whether each attempt is a crystal that is the same as none of ``evidence.train``.

    Parameters
    ----------
    evidence
        n attempts, and what is known.
    tolerances
        How far apart is the same crystal; see :func:`crystalcodec.data.matching.alike_in`.

    Raises
    ------
    EvaluationError
        Without crystals of ``train``.
    """
    return _not_known(evidence, _known(evidence, tolerances))


def first_of_key(keys: npt.ArrayLike) -> Bools:
    """(n,) whether each row of (n,) or (n, k) keys is the first of its value."""
    rows = np.asarray(keys)
    first = np.zeros(len(rows), bool)
    first[np.unique(rows, axis=0, return_index=True)[1]] = True
    return first


def prototype_keys(crystals: Crystals, symprec: float = PROTOTYPE_SYMPREC) -> Ints:
    """(n, 2) numbers that are equal for crystals of one prototype; 0, 0 where there is none.

    They are 16 bytes of the SHA-256 of the label of :func:`crystalcodec.data.prototype_labels`:
    anonymous formula, space group and Wyckoff letters, and with these the Pearson symbol.
    """
    from crystalcodec.data.symmetry import prototype_labels

    labels, _ = prototype_labels(crystals, symprec=symprec)
    rows = [
        bytes(16) if label is None else sha256(label.encode()).digest()[:16] for label in labels
    ]
    return np.frombuffer(b"".join(rows), "<i8").astype(np.int64).reshape(-1, 2)


def _first_of_kind(evidence: Evidence, found: Mapping[str, Array]) -> Bools:
    first = found["first"] == np.arange(len(evidence.attempts.crystals))
    return _spread(evidence, first & (found["refused"] == 0))


def _not_known(evidence: Evidence, found: Mapping[str, Array]) -> Bools:
    return _spread(evidence, (found["known"] < 0) & (found["refused"] == 0))


def _unique_crystals(
    evidence: Evidence, found: Mapping[str, Array], tolerances: Tolerances
) -> Figure:
    unique = _first_of_kind(evidence, found)
    counts = np.bincount(found["first"], minlength=1)
    return Figure.share(
        "uniqueness",
        f"Share of attempts that are {_SAME.format(tolerances)} as no attempt before them that is "
        "the first of its kind. A crystal that cannot be compared (for a reason among the "
        f"failures) is not unique. The share falls with the number of attempts. {_FAILED}",
        unique,
        failures=_refusals(evidence, found),
        extra={
            "n_kinds": int(unique.sum()),
            "most_of_one_kind": int(counts.max(initial=0)),
            "tolerances": str(tolerances),
        },
    )


def _of_compositions(evidence: Evidence) -> list[Figure]:
    crystals, train = evidence.attempts.crystals, evidence.train
    both = crystals if train is None else Crystals.concatenate([crystals, train])
    keys = reduced_composition_numbers(both)
    ours, theirs = keys[: len(crystals)], keys[len(crystals) :]
    reasons = evidence.attempts.reasons()
    figures = [
        Figure.share(
            "composition_uniqueness",
            "Share of attempts whose reduced composition no attempt before them has. " + _FAILED,
            _spread(evidence, first_of_key(ours)),
            failures=reasons,
        )
    ]
    if train is not None:
        figures.append(
            Figure.share(
                "composition_novelty",
                "Share of attempts whose reduced composition no crystal of train has. " + _FAILED,
                _spread(evidence, ~np.isin(ours, theirs)),
                failures=reasons,
                extra={"n_train": len(train)},
            )
        )
    return figures


def _of_prototypes(evidence: Evidence, symprec: float) -> list[Figure]:
    crystals, train = evidence.attempts.crystals, evidence.train
    function = partial(prototype_keys, symprec=symprec)
    name = "prototypes of {}, symprec {:.17g}, version {}"
    ours = evidence.each(name.format("the attempts", symprec, _VERSION), crystals, function)
    ours = np.asarray(ours, np.int64).reshape(-1, 2)
    found = ours.any(axis=1)
    label = f"prototype (anonymous formula, space group, Wyckoff letters; moyopy, {symprec:g} Å)"
    failed = f"A crystal whose symmetry is not found does not count as one. {_FAILED}"
    reasons = _with(evidence.attempts.reasons(), _NO_SYMMETRY, int((~found).sum()))
    figures = [
        Figure.share(
            "prototype_uniqueness",
            f"Share of attempts whose {label} no attempt before them has. {failed}",
            _spread(evidence, first_of_key(ours) & found),
            failures=reasons,
        )
    ]
    if train is not None:
        theirs = evidence.each(name.format("train", symprec, _VERSION), train, function)
        theirs = np.asarray(theirs, np.int64).reshape(-1, 2)
        numbers = np.unique(np.concatenate([ours, theirs]), axis=0, return_inverse=True)[1]
        numbers = numbers.reshape(-1)
        known = np.isin(numbers[: len(ours)], numbers[len(ours) :])
        figures.append(
            Figure.share(
                "prototype_novelty",
                f"Share of attempts whose {label} no crystal of train has. {failed}",
                _spread(evidence, ~known & found),
                failures=reasons,
                extra={
                    "n_train": len(train),
                    "n_train_without_symmetry": int((~theirs.any(axis=1)).sum()),
                },
            )
        )
    return figures


def _repeats(evidence: Evidence, tolerances: Tolerances) -> Mapping[str, Array]:
    """``first`` (m,) of the crystals, and ``refused`` (m,), 1 + the place of the reason."""

    def find() -> Mapping[str, Array]:
        crystals = evidence.attempts.crystals
        found = first_alike(
            crystals, tolerances=tolerances, jobs=evidence.jobs, progress=_telling(evidence)
        )
        return {"first": found.positions, "refused": _codes(len(crystals), found)}

    return evidence.once(_name("repeats", tolerances), find)


def _known(evidence: Evidence, tolerances: Tolerances) -> Mapping[str, Array]:
    """``known`` (m,), positions in train or -1, and ``refused`` as in :func:`_repeats`."""
    train = evidence.train
    if train is None:
        raise EvaluationError("novelty is against train, and there is none: give its crystals")

    def find() -> Mapping[str, Array]:
        crystals = evidence.attempts.crystals
        found = alike_in(
            crystals,
            train,
            tolerances=tolerances,
            jobs=evidence.jobs,
            progress=_telling(evidence),
        )
        return {"known": found.positions, "refused": _codes(len(crystals), found)}

    return evidence.once(_name("known", tolerances), find)


def _name(what: str, tolerances: Tolerances) -> str:
    exact = f"{tolerances.ltol:.17g} {tolerances.stol:.17g} {tolerances.angle_tol:.17g}"
    return f"{what}, ltol stol angle_tol {exact}, version {_VERSION}"


def _telling(evidence: Evidence) -> Any:
    return evidence.tell if evidence.progress else None


def _codes(n: int, found: Alike) -> Ints:
    codes = np.zeros(n, np.int64)
    for failure in found.failures:
        codes[failure.index] = 1 + REFUSALS.index(failure.reason)
    return codes


def _refusals(evidence: Evidence, found: Mapping[str, Array]) -> dict[str, int]:
    reasons = evidence.attempts.reasons()
    for code, reason in enumerate(REFUSALS, 1):
        reasons = _with(reasons, reason, int((found["refused"] == code).sum()))
    return reasons


def _with(reasons: Mapping[str, int], reason: str, count: int) -> dict[str, int]:
    return {**reasons, reason: reasons.get(reason, 0) + count} if count else dict(reasons)


def _spread(evidence: Evidence, hits: npt.ArrayLike) -> Bools:
    """(n,) of the attempts, from (m,) of their crystals."""
    return evidence.attempts.spread(hits).astype(bool)
