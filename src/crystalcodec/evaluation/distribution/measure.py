"""The family ``distribution``: attempts as a whole against held-out crystals."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from crystalcodec.evaluation.base import Evidence, Figure
from crystalcodec.evaluation.distribution.category_figures import category_figures
from crystalcodec.evaluation.distribution.coverage import CUTOFFS, Cutoffs
from crystalcodec.evaluation.distribution.coverage_figures import coverage_figures
from crystalcodec.evaluation.distribution.discrepancy import Discrepancy
from crystalcodec.evaluation.distribution.fingerprints import (
    Rows,
    composition_fingerprints,
    fixed_rows,
    rows_of,
    structure_fingerprints,
)
from crystalcodec.evaluation.distribution.number_figures import number_figures

__all__ = ["measure"]

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


def measure(
    evidence: Evidence,
    *,
    cutoffs: Cutoffs = CUTOFFS["mp_20"],
    symprec: float = 0.1,
    representations: Mapping[str, Any] | None = None,
) -> list[Figure]:
    """How far the distribution of the attempts is from that of the held-out crystals.

    Parameters
    ----------
    evidence
        Attempts and ``held_out``; ``properties`` as far as there are.
    cutoffs
        Of coverage; those published for MP-20 unless told otherwise.
    symprec
        Å, of space groups. Generated atoms stand a little off their places.
    representations
        By name: representations of fixed shape whose arrays are compared too, by their maximum
        mean discrepancy.

    Returns
    -------
    list of Figure
        None without ``held_out``. A figure with nothing to count is NaN.

    Raises
    ------
    EvaluationError
        A representation of another kind.
    """
    if evidence.held_out is None:
        return []
    structures = rows_of(evidence, "fingerprints by crystal_nn", structure_fingerprints)
    compositions = rows_of(evidence, "fingerprints by magpie", composition_fingerprints)
    figures = [
        *coverage_figures(evidence, structures, compositions, cutoffs),
        *number_figures(evidence, evidence.held_out, _published_valid(evidence, structures)),
        *category_figures(evidence, evidence.held_out, symprec),
        _discrepancy_figure(evidence, "structure", "crystal_nn", structures),
        _discrepancy_figure(evidence, "composition", "magpie", compositions),
    ]
    for name, representation in (representations or {}).items():
        made_of = json.dumps(representation.config(), sort_keys=True)
        work = partial(fixed_rows, representation=representation)
        rows = rows_of(evidence, f"rows {made_of}", work)
        figures.append(_discrepancy_figure(evidence, name, made_of, rows))
    return figures


def _published_valid(evidence: Evidence, structures: Rows) -> Bools:
    """(n,) attempts that the published code calls valid: they have a fingerprint as well."""
    from crystalcodec.evaluation.validity import (
        check_compositions,
        published_rules,
        published_structure_validity,
    )

    attempts, crystals = evidence.attempts, evidence.attempts.crystals
    valid = check_compositions(crystals, published_rules()).valid
    valid = valid & published_structure_validity(crystals)
    return np.asarray(structures.known[0] & (attempts.spread(valid) > 0))


def _discrepancy_figure(evidence: Evidence, name: str, made_of: str, rows: Rows) -> Figure:
    known, held = rows.known
    x, y = rows.attempts[known], rows.held_out[held]
    kept = evidence.once(f"discrepancy of {made_of}", lambda: Discrepancy.measured(x, y).arrays)
    found = Discrepancy.kept(kept)
    attempts = evidence.attempts
    place = np.full(attempts.n, -1)
    place[known] = np.arange(len(x))

    def estimate(positions: Ints) -> float:
        chosen = place[positions]
        return found.value(chosen[chosen >= 0])

    witness = np.full(attempts.n, np.nan)
    witness[known] = found.witness
    reasons = attempts.reasons()
    if lacking := len(attempts.crystals) - len(x):
        reasons["cannot be encoded"] = lacking
    return Figure(
        f"squared_mmd_{name}",
        f"Squared maximum mean discrepancy, unbiased, between the vectors ({name}) of held-out "
        "and of generated crystals (Gretton et al., J. Mach. Learn. Res. 13, 723 (2012), eq. 3) "
        f"with a Gaussian kernel of width {found.bandwidth:.6g}, the median distance between "
        "held-out vectors. 0 on average for two samples of one distribution; compare with "
        "noise_floor, the same between random halves of the held-out crystals. Crystals without "
        "a vector are left out.",
        attempts.n,
        estimate,
        "",
        "lower",
        reasons,
        witness,
        {
            "n_counted": len(x),
            "bandwidth": found.bandwidth,
            "noise_floor": {
                "n": len(y) // 2,
                "halvings": len(found.halves),
                "p95": found.noise_floor,
            },
            "held_out": {"n": len(held), "without_vector": int((~held).sum())},
        },
    )
