"""Figures of reconstruction: match rates and distances, over the attempts and the references."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.data.matching import CDVAE, Tolerances
from crystalcodec.evaluation.base import Attempts, EvaluationError, Evidence, Figure
from crystalcodec.evaluation.reconstruction.matching import (
    OUTCOMES,
    match_pairs,
    same_composition_pairs,
)
from crystalcodec.evaluation.reconstruction.sites import MOST_SITES, site_differences

__all__ = ["best_of_samples", "measure", "measure_coverage", "measure_pairs", "published_validity"]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_CDVAE_PAPER: Final = "10.48550/arXiv.2110.06197"
_DIFFCSP_PAPER: Final = "10.48550/arXiv.2309.04475"
_METRE_PAPER: Final = "10.48550/arXiv.2509.12178"
_RMS: Final = (
    "the root mean square distance of paired sites by pymatgen's StructureMatcher "
    "({tolerances}), in units of (V / number of sites)^(1/3)"
)


def measure(evidence: Evidence, tolerances: Tolerances = CDVAE) -> list[Figure]:
    """All figures of reconstruction; none where the evidence has no wanted crystals.

    Those of :func:`measure_pairs`, with :func:`published_validity`, and :func:`measure_coverage`.

    Raises
    ------
    EvaluationError
        Another number of wanted crystals than attempts.
    """
    attempts, wanted = evidence.attempts, evidence.wanted
    if wanted is None:
        return []
    _check(wanted, attempts)
    arrays = evidence.once(
        f"reconstruction 1, {tolerances}, wanted {wanted.content_hash}",
        lambda: _all_arrays(wanted, attempts, tolerances, evidence),
    )
    valid = published_validity(attempts.crystals)
    return [
        *_pair_figures(wanted, attempts, arrays, tolerances, valid),
        *_coverage_figures(attempts, arrays, tolerances),
    ]


def published_validity(crystals: Crystals) -> Bools:
    """(n,) validity as CDVAE's match rate asks for it, structure and composition.

    The published code also asks for a CrystalNN fingerprint, which nearly every crystal has.
    """
    from crystalcodec.evaluation import validity

    compositions = validity.check_compositions(crystals, validity.published_rules())
    return np.asarray(validity.published_structure_validity(crystals) & compositions.valid, bool)


def measure_pairs(
    wanted: Crystals,
    attempts: Attempts,
    *,
    valid: npt.ArrayLike | None = None,
    tolerances: Tolerances = CDVAE,
    jobs: int = 1,
) -> list[Figure]:
    """Each attempt against the crystal that it should be.

    Parameters
    ----------
    wanted
        n crystals, one an attempt.
    attempts
        What came out; an attempt without a crystal is a miss.
    valid : (m,)
        Whether each crystal of the attempts is valid as CDVAE defines it
        (:func:`published_validity`); with it come the match rate and the distance as CDVAE counts
        them, where a crystal that is not valid matches nothing. DiffCSP asks the same of the
        wanted crystal, too: give the conjunction.
    tolerances
        What two crystals may differ by.
    jobs
        Number of processes.

    Raises
    ------
    EvaluationError
        Another number of wanted crystals than attempts, or of ``valid`` than crystals.
    """
    _check(wanted, attempts)
    theirs = wanted[attempts.positions]
    rms, outcomes = match_pairs(attempts.crystals, theirs, tolerances=tolerances, jobs=jobs)
    sites = site_differences(attempts.crystals, theirs)
    arrays = {"rms": rms, "outcomes": outcomes, "sites": sites}
    return _pair_figures(wanted, attempts, arrays, tolerances, valid)


def best_of_samples(
    wanted: Crystals,
    samples: Sequence[Attempts],
    *,
    valid: Sequence[npt.ArrayLike] | None = None,
    tolerances: Tolerances = CDVAE,
    jobs: int = 1,
) -> list[Figure]:
    """Match rate and distance of the best of k attempts at each crystal, as DiffCSP counts them.

    Parameters
    ----------
    wanted
        n crystals.
    samples
        k times n attempts.
    valid
        For each of the k, as :func:`measure_pairs` takes it: a crystal that is not valid is then
        no match, as published. None: validity does not count.
    tolerances, jobs
        As :func:`measure_pairs`.

    Returns
    -------
    list
        ``match_rate_of_<k>`` and ``match_rms_of_<k>``; ``extra["by_samples"]`` has the rate of
        the first 1, 2, ... k samples.

    Raises
    ------
    EvaluationError
        No samples, or another number of attempts than of wanted crystals.
    """
    if not samples:
        raise EvaluationError("no samples: wanted at least one attempt at each crystal")
    if valid is not None and len(valid) != len(samples):
        raise EvaluationError(f"validity of {len(valid)} samples, there are {len(samples)}")
    rows = []
    for k, attempts in enumerate(samples):
        _check(wanted, attempts)
        rms, _ = match_pairs(
            attempts.crystals, wanted[attempts.positions], tolerances=tolerances, jobs=jobs
        )
        if valid is not None:
            rms = np.where(_as_valid(valid[k], attempts), rms, np.nan)
        rows.append(attempts.spread(rms, np.nan))
    distances = np.fmin.accumulate(np.stack(rows), axis=0)
    rates = [float(rate) for rate in (~np.isnan(distances)).mean(axis=1)] if len(wanted) else []
    k, best = len(samples), distances[-1]
    only = "valid attempts (CDVAE's definition)" if valid is not None else "attempts"
    what = _RMS.format(tolerances=tolerances)
    return [
        Figure.share(
            f"match_rate_of_{k}",
            f"share of the {len(wanted)} wanted crystals that at least one of {k} {only} matches "
            f"(StructureMatcher, {tolerances}); {_DIFFCSP_PAPER}",
            ~np.isnan(best),
            extra={"by_samples": rates},
        ),
        Figure.mean(
            f"match_rms_of_{k}",
            f"{what}, of the nearest of {k} {only}; mean over the wanted crystals that one of them "
            f"matches; {_DIFFCSP_PAPER}",
            best,
            better="lower",
            failures={"no match": int(np.isnan(best).sum())},
        ),
    ]


def measure_coverage(
    wanted: Crystals,
    attempts: Attempts,
    *,
    tolerances: Tolerances = CDVAE,
    jobs: int = 1,
) -> list[Figure]:
    """METRe and cRMSE: every reference against every attempt of its reduced composition.

    Parameters
    ----------
    wanted
        r references; as many as attempts in the published use, any number here.
    attempts
        What came out, in any order.
    tolerances, jobs
        As :func:`measure_pairs`.

    Returns
    -------
    list
        ``metre``, ``metre_rms`` and ``metre_corrected_rms``, over the references.
    """
    pairs = same_composition_pairs(attempts.crystals, wanted)
    rms, _ = match_pairs(attempts.crystals, wanted, pairs, tolerances, jobs=jobs)
    return _coverage_figures(attempts, _nearest(pairs, rms, len(wanted)), tolerances)


def _check(wanted: Crystals, attempts: Attempts) -> None:
    if len(wanted) != attempts.n:
        raise EvaluationError(
            f"{len(wanted)} wanted crystals and {attempts.n} attempts: wanted as many"
        )


def _as_valid(valid: npt.ArrayLike, attempts: Attempts) -> Bools:
    told = np.asarray(valid, bool)
    if told.shape != (len(attempts.crystals),):
        raise EvaluationError(
            f"validity of shape {told.shape} for {len(attempts.crystals)} crystals: wanted one each"
        )
    return told


def _all_arrays(
    wanted: Crystals, attempts: Attempts, tolerances: Tolerances, evidence: Evidence
) -> Mapping[str, Array]:
    """Each attempt with its own reference and with the others of its composition, matched once."""
    pairs = same_composition_pairs(attempts.crystals, wanted)
    distances, found = match_pairs(
        attempts.crystals,
        wanted,
        pairs,
        tolerances,
        jobs=evidence.jobs,
        progress=lambda done, of: evidence.tell("matching pairs", done, of),
    )
    own = attempts.positions[pairs[:, 0]] == pairs[:, 1]
    rms, outcomes = np.full(len(attempts.crystals), np.nan), np.ones(len(attempts.crystals), int)
    rms[pairs[own, 0]], outcomes[pairs[own, 0]] = distances[own], found[own]
    sites = site_differences(attempts.crystals, wanted[attempts.positions])
    nearest = _nearest(pairs, distances, len(wanted))
    return {"rms": rms, "outcomes": outcomes, "sites": sites, **nearest}


def _nearest(pairs: Ints, rms: Floats, n_wanted: int) -> dict[str, Array]:
    """(r,) of each reference the least distance of an attempt, NaN for none, and how many."""
    best = np.full(n_wanted, np.nan)
    np.fmin.at(best, pairs[:, 1], rms)
    return {"best": best, "n_attempts": np.bincount(pairs[:, 1], minlength=n_wanted)}


def _pair_figures(
    wanted: Crystals,
    attempts: Attempts,
    arrays: Mapping[str, Array],
    tolerances: Tolerances,
    valid: npt.ArrayLike | None,
) -> list[Figure]:
    rms, outcomes = arrays["rms"], arrays["outcomes"]
    counts = np.bincount(outcomes, minlength=len(OUTCOMES)).tolist()
    told = Counter(dict(zip(OUTCOMES[1:], counts[1:], strict=True)))
    missed = dict(Counter(attempts.reasons()) + told)
    spread = attempts.spread(rms, np.nan)
    what = _RMS.format(tolerances=tolerances)
    figures = [
        Figure.share(
            "match_rate",
            f"share of all attempts that match the crystal they should be (StructureMatcher, "
            f"{tolerances}), whether valid or not",
            ~np.isnan(spread),
            failures=missed,
        ),
        Figure.mean(
            "match_rms",
            f"{what}; mean over the attempts that match",
            spread,
            better="lower",
            failures=missed,
        ),
        Figure.mean(
            "corrected_rms",
            f"cRMSE: {what}; mean over all attempts, where one that does not match counts "
            f"{tolerances.stol:g}; {_METRE_PAPER}",
            np.where(np.isnan(spread), tolerances.stol, spread),
            better="lower",
            failures=missed,
        ),
    ]
    if valid is not None:
        figures += _published_figures(attempts, rms, _as_valid(valid, attempts), missed, tolerances)
    return figures + _site_figures(attempts, wanted, arrays["sites"])


def _published_figures(
    attempts: Attempts, rms: Floats, valid: Bools, missed: dict[str, int], tolerances: Tolerances
) -> list[Figure]:
    spread = attempts.spread(np.where(valid, rms, np.nan), np.nan)
    refused = int((~valid & ~np.isnan(rms)).sum())
    failures = missed | ({"matches, and is not valid": refused} if refused else {})
    return [
        Figure.share(
            "published_match_rate",
            "share of all attempts that are valid as CDVAE defines it and match the crystal they "
            f"should be (StructureMatcher, {tolerances}); {_CDVAE_PAPER}",
            ~np.isnan(spread),
            failures=failures,
        ),
        Figure.mean(
            "published_match_rms",
            f"{_RMS.format(tolerances=tolerances)}; mean over the attempts that are valid as "
            f"CDVAE defines it and match; {_CDVAE_PAPER}",
            spread,
            better="lower",
            failures=failures,
        ),
    ]


def _site_figures(attempts: Attempts, wanted: Crystals, sites: Floats) -> list[Figure]:
    unpaired = np.isnan(sites[:, 0])
    missed = attempts.reasons()
    if unpaired.any():
        missed[f"more than {MOST_SITES} sites"] = int(unpaired.sum())
    got, should = attempts.crystals.cell_parameters, wanted[attempts.positions].cell_parameters
    pairing = (
        "sites paired one to one by minimum-image distance in the wanted cell, a pair of unlike "
        "species counting as 0.5 (V / n)^(1/3) more, after the best rigid shift"
    )
    return [
        Figure.mean(
            "site_displacement",
            f"mean distance of sites from where they should be, {pairing}; mean over the attempts "
            "that gave a crystal, whether it matches or not; the strain of the cell does not count",
            attempts.spread(sites[:, 0], np.nan),
            unit="Å",
            better="lower",
            failures=missed,
        ),
        Figure.mean(
            "species_accuracy",
            f"share of the sites with the right species, {pairing}: pairs of like species over the "
            "larger of the two numbers of sites; mean over all attempts, 0 without a crystal and "
            f"for more than {MOST_SITES} sites",
            attempts.spread(np.nan_to_num(sites[:, 2])),
            better="higher",
            failures=missed,
        ),
        Figure.mean(
            "length_error",
            "mean absolute difference of a, b and c from those they should be, in the setting of "
            "the cell as it is; mean over the attempts that gave a crystal",
            attempts.spread(np.abs(got - should)[:, :3].mean(axis=1), np.nan),
            unit="Å",
            better="lower",
            failures=attempts.reasons(),
        ),
        Figure.mean(
            "angle_error",
            "mean absolute difference of alpha, beta and gamma from those they should be, in the "
            "setting of the cell as it is; mean over the attempts that gave a crystal",
            attempts.spread(np.abs(got - should)[:, 3:].mean(axis=1), np.nan),
            unit="degrees",
            better="lower",
            failures=attempts.reasons(),
        ),
    ]


def _coverage_figures(
    attempts: Attempts, arrays: Mapping[str, Array], tolerances: Tolerances
) -> list[Figure]:
    best, tried = arrays["best"], arrays["n_attempts"]
    n = len(best)
    missed = {
        "no attempt of its composition": int((tried == 0).sum()),
        "no attempt matches": int((np.isnan(best) & (tried > 0)).sum()),
    }
    missed = {reason: count for reason, count in missed.items() if count}
    extra = {"n_attempts": attempts.n, "n_pairs": int(tried.sum())}
    of = f"over the {n} references, each against all {attempts.n} attempts; {_METRE_PAPER}"
    what = _RMS.format(tolerances=tolerances)
    return [
        Figure.share(
            "metre",
            "METRe: share of references that at least one attempt of the same reduced composition "
            f"matches (StructureMatcher, {tolerances}), {of}",
            ~np.isnan(best),
            failures=missed,
            extra=extra,
        ),
        Figure.mean(
            "metre_rms",
            f"{what}, of the nearest attempt; mean over the references that one matches, {of}",
            best,
            better="lower",
            failures=missed,
            extra=extra,
        ),
        Figure.mean(
            "metre_corrected_rms",
            f"cRMSE: {what}, of the nearest attempt; mean over all references, where one that "
            f"nothing matches counts {tolerances.stol:g}, {of}",
            np.where(np.isnan(best), tolerances.stol, best),
            better="lower",
            failures=missed,
            extra=extra,
        ),
    ]
