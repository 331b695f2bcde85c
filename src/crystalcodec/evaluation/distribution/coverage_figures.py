"""Figures of coverage and of least distances, as published with CDVAE and counted over all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from crystalcodec.evaluation.base import Attempts, Evidence, Figure
from crystalcodec.evaluation.distribution.coverage import Coverage, Cutoffs
from crystalcodec.evaluation.distribution.fingerprints import Rows
from crystalcodec.evaluation.distribution.resampling import recentred

__all__ = ["coverage_figures"]

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_DISTANCES: Final = (
    "Distances are Euclidean: in structure between CrystalNN fingerprints (order parameters, mean "
    "over the sites), in composition between the 132 Magpie statistics less the means and over "
    "the deviations published with CDVAE (Xie et al., 10.48550/arXiv.2110.06197). "
)
_SATURATED: Final = " Near 1 for most generators, and it rises with the number of attempts."


def coverage_figures(
    evidence: Evidence, structures: Rows, compositions: Rows, cutoffs: Cutoffs
) -> list[Figure]:
    """COV-R, COV-P, AMSD and AMCD of attempts with fingerprints of structure and composition."""
    attempts = evidence.attempts
    known, held = structures.known
    prints = (
        structures.attempts[known],
        compositions.attempts[known],
        structures.held_out[held],
        compositions.held_out[held],
    )
    kept = evidence.once(
        f"coverage by crystal_nn and magpie, {cutoffs}",
        lambda: Coverage.between(*prints, cutoffs).arrays,
    )
    found = Coverage.kept(prints, cutoffs, kept)
    reasons = attempts.reasons()
    if lacking := len(attempts.crystals) - int(known.sum()):
        reasons["no fingerprint"] = lacking
    extra = {"held_out": {"n": len(held), "without_fingerprint": int((~held).sum())}}
    make = _Maker(attempts, known, reasons, extra)
    built = np.isin(np.arange(attempts.n), attempts.positions)
    near, near_in_both = make.spread(found.precision()), make.spread(found.precision(joint=True))
    apart, joint = _texts_of_near(cutoffs)
    recall = "Share of the held-out crystals with a generated crystal near. "
    precision = (
        "Share of all attempts that have a held-out crystal near; one without a crystal or a "
        "fingerprint has none. "
    )
    published = (
        "Share of the generated crystals with a held-out crystal near, as in the published code: "
        "attempts without a crystal are left out, crystals without a fingerprint are not. "
    )
    figures = [
        make.of_held_out("cov_recall", recall + apart + _SATURATED, found.recall),
        make.of_attempts("cov_precision", precision + apart, near),
        make.of_attempts(
            "cov_precision_published", published + apart, np.where(built, near, np.nan)
        ),
        make.of_held_out(
            "cov_recall_joint", recall + joint + _SATURATED, partial(found.recall, joint=True)
        ),
        make.of_attempts("cov_precision_joint", precision + joint, near_in_both),
    ]
    kinds: tuple[tuple[str, Literal["structure", "composition"], int], ...] = (
        ("amsd", "structure", 0),
        ("amcd", "composition", 1),
    )
    for short, kind, place in kinds:
        least = np.where(np.isfinite(found.nearest[place]), found.nearest[place], np.nan)
        figures += [
            make.of_held_out(
                f"{short}_recall",
                f"Mean over the held-out crystals of the least distance in {kind} to a generated "
                f"one. {_DISTANCES}Failures are left out, as in the published code.",
                partial(found.average_least, kind),
                better="lower",
            ),
            make.of_attempts(
                f"{short}_precision",
                f"Mean over the generated crystals of the least distance in {kind} to a held-out "
                f"one. {_DISTANCES}Failures are left out, as in the published code.",
                make.spread(least, np.nan),
                better="lower",
            ),
        ]
    return figures


def _texts_of_near(cutoffs: Cutoffs) -> tuple[str, str]:
    """What near means in the published code, and in the published paper."""
    structure, composition = f"<= {cutoffs.structure:g}", f"<= {cutoffs.composition:g}"
    apart = (
        f"{_DISTANCES}Near, as in the published code: the least distance in structure is "
        f"{structure} and the least in composition {composition}, be they to one crystal or to two."
    )
    joint = (
        f"{_DISTANCES}Near, as in the formula of the paper: one crystal at {structure} in "
        f"structure and {composition} in composition."
    )
    return apart, joint


@dataclass(frozen=True, eq=False)
class _Maker:
    """What the figures share."""

    attempts: Attempts
    known: Bools
    failures: Mapping[str, int]
    extra: Mapping[str, Any]

    def spread(self, values: npt.ArrayLike, fill: float = 0.0) -> Floats:
        """(n,) values of the attempts with a fingerprint, ``fill`` for the others."""
        every = np.full(self.attempts.n, fill)
        every[self.known] = values
        return every

    def of_attempts(
        self,
        name: str,
        definition: str,
        values: Floats,
        better: Literal["higher", "lower"] = "higher",
    ) -> Figure:
        """The mean of values of each attempt."""
        return Figure.mean(
            name, definition, values, better=better, failures=self.failures, extra=self.extra
        )

    def of_held_out(
        self,
        name: str,
        definition: str,
        estimate: Callable[[Bools], float],
        better: Literal["higher", "lower"] = "higher",
    ) -> Figure:
        """A mean over the held-out crystals, from which attempts with a fingerprint count."""

        def of(positions: Ints) -> float:
            chosen = np.zeros(self.attempts.n, bool)
            chosen[positions] = True
            return estimate(chosen[self.known])

        return Figure(
            name,
            definition,
            self.attempts.n,
            recentred(of, self.attempts.n, high=1.0 if better == "higher" else np.inf),
            better=better,
            failures=self.failures,
            extra=self.extra,
        )
