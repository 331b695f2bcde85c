"""Mode collapse: how many different things a generator makes, beside as many real ones.

Plain functions, and no family of the registry: these numbers count repetitions among the samples,
which samples with replacement, as the judge's intervals are made of, would invent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.data.compositions import chemical_system_numbers, reduced_composition_numbers
from crystalcodec.elements import MAX_ATOMIC_NUMBER
from crystalcodec.evaluation.base import EvaluationError

__all__ = [
    "KINDS",
    "Collapse",
    "Variety",
    "collapse",
    "effective_number",
    "kinds_of",
    "variety",
    "vendi_score",
]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

KINDS: Final[Mapping[str, str]] = {
    "crystal": "the same by StructureMatcher of pymatgen (10.1016/j.commatsci.2012.10.028), its "
    "defaults",
    "composition": "of one reduced composition",
    "chemical_system": "of one set of elements",
    "prototype": "of one anonymous formula, space group and Wyckoff letters (moyopy, 0.1 Å)",
}
"""What counts as the same."""

_COVERAGE: Final = 0.95
_ROUND_OFF: Final = 1e-9


@dataclass(frozen=True)
class Variety:
    """How many kinds there are among samples.

    Parameters
    ----------
    n
        Samples whose kind is known.
    n_kinds
        Different kinds among them.
    most_of_one
        Samples of the commonest kind.
    effective
        exp of the Shannon entropy of the shares of kinds (nats): as many equally common kinds are
        as various. From 1 to ``n``, and below what more samples would give.
    n_pairs
        Pairs of samples of one kind.
    support, low, high
        1 / probability that two samples are of one kind, and its interval: the number of kinds
        that the generator can make if all are equally likely, fewer than that if they are not.
        Infinite where no two samples are of one kind; then ``low`` alone tells something.
    """

    n: int
    n_kinds: int
    most_of_one: int
    effective: float
    n_pairs: int
    support: float
    low: float
    high: float

    def document(self) -> dict[str, Any]:
        """Ready for JSON; None for what is not finite."""
        return {key: _finite(value) for key, value in asdict(self).items()}


@dataclass(frozen=True)
class Collapse:
    """Variety of made crystals, and of as many real ones.

    Parameters
    ----------
    n_attempts
        Samples of the generator.
    n
        Crystals compared on each side; attempts that gave none have no kind.
    made, real
        By what counts as the same (:data:`KINDS`).
    elements
        Effective number of elements, each crystal counting once: made, real.
    vendi
        Vendi scores of ``composition`` and ``structure``: made, real.
    left_out
        Crystals without a kind by what counts as the same: made, real.
    """

    n_attempts: int
    n: int
    made: Mapping[str, Variety]
    real: Mapping[str, Variety]
    elements: tuple[float, float]
    vendi: Mapping[str, tuple[float, float]]
    left_out: Mapping[str, tuple[int, int]]

    def document(self) -> dict[str, Any]:
        """Ready for JSON; None for what is not finite."""
        return {
            "n_attempts": self.n_attempts,
            "n": self.n,
            "made": {name: one.document() for name, one in self.made.items()},
            "real": {name: one.document() for name, one in self.real.items()},
            "elements": [_finite(value) for value in self.elements],
            "vendi": {name: [_finite(one) for one in two] for name, two in self.vendi.items()},
            "left_out": {name: list(two) for name, two in self.left_out.items()},
        }


def variety(labels: npt.ArrayLike, coverage: float = _COVERAGE) -> Variety:
    """How many kinds there are among samples, and how many there may be.

    The number of kinds behind the samples is told by pairs that are of one kind, as in the
    birthday paradox (Arora and Zhang, arXiv 1706.08224): of c pairs among n (n - 1) / 2, the
    unbiased estimate of the probability p that two samples are of one kind is their share, and
    1 / p is the number of kinds if all are equally likely. Its interval is the exact one of a
    Poisson number c (Garwood), widened by the jackknife's variance of c where that is above c, as
    it is where some kinds are common.

    Parameters
    ----------
    labels : (n,)
        A whole number for the kind of each sample.
    coverage
        Of the interval.

    Raises
    ------
    EvaluationError
        Labels that are no row of whole numbers, or a coverage outside (0, 1).

    Examples
    --------
    >>> found = variety([4, 4, 7, 9])
    >>> found.n_kinds, found.most_of_one, found.n_pairs, found.support
    (3, 2, 1, 6.0)
    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or (len(labels) and labels.dtype.kind not in "iu"):
        raise EvaluationError(
            f"labels of shape {labels.shape} and type {labels.dtype}: wanted a whole number each"
        )
    if not 0 < coverage < 1:
        raise EvaluationError(f"coverage is {coverage:g}, wanted between 0 and 1")
    n = len(labels)
    counts = np.unique(labels, return_counts=True)[1].astype(np.int64)
    pairs = int((counts * (counts - 1) // 2).sum())
    all_pairs = n * (n - 1) / 2
    low, high = _pair_interval(counts, pairs, coverage)
    return Variety(
        n,
        len(counts),
        int(counts.max(initial=0)),
        effective_number(counts),
        pairs,
        all_pairs / pairs if pairs else (np.inf if n > 1 else np.nan),
        max(all_pairs / high, 1.0) if n > 1 else np.nan,
        (all_pairs / low if low else np.inf) if n > 1 else np.nan,
    )


def _pair_interval(counts: Ints, pairs: int, coverage: float) -> tuple[float, float]:
    """Between which the expected number of pairs of one kind lies."""
    from scipy.stats import chi2

    n = int(counts.sum())
    tail = (1 - coverage) / 2
    if n < 3 or not pairs:
        return 0.0, float(chi2.ppf(1 - tail, 2 * pairs + 2) / 2)
    # Leaving out a sample of a kind of c takes c - 1 pairs away; scaled to all pairs again.
    without = (pairs - (counts - 1)) * n / (n - 2)
    mean = (counts * without).sum() / n
    variance = (n - 1) / n * (counts * (without - mean) ** 2).sum()
    spread = max(1.0, variance / pairs)
    told = pairs / spread
    low = spread * chi2.ppf(tail, 2 * told) / 2
    high = spread * chi2.ppf(1 - tail, 2 * told + 2) / 2
    return float(low), float(min(high, n * (n - 1) / 2))


def effective_number(weights: npt.ArrayLike) -> float:
    """Exponential of the entropy of weights made to sum to 1; NaN where all are 0.

    In nats: the Shannon entropy, and so Hill's number of order 1 (10.2307/1934352).

    >>> effective_number([1, 1, 1, 1, 0])
    4.0
    """
    weights = np.asarray(weights, np.float64).reshape(-1)
    total = weights.sum()
    if not total > 0:
        return float("nan")
    shares = weights[weights > 0] / total
    return round(float(np.exp(-(shares * np.log(shares)).sum())), 9)


def vendi_score(similarities: npt.ArrayLike) -> float:
    """Effective number of different samples, by how alike they are in pairs.

    exp of the Shannon entropy of the eigenvalues of the matrix divided by n (Friedman and Dieng,
    10.48550/arXiv.2210.02410): 1 where all samples are alike, n where none is like another.

    Parameters
    ----------
    similarities : (n, n)
        Symmetric, without negative eigenvalues, 1 on the diagonal.

    Raises
    ------
    EvaluationError
        A matrix that is not such a one.

    Examples
    --------
    >>> vendi_score(np.kron(np.eye(3), np.ones((2, 2))))
    3.0
    """
    matrix = np.asarray(similarities, np.float64)
    n = len(matrix)
    if matrix.shape != (n, n) or not np.isfinite(matrix).all():
        raise EvaluationError(f"similarities of shape {matrix.shape}: wanted (n, n), all finite")
    if not n:
        return float("nan")
    if not (np.allclose(matrix, matrix.T) and np.allclose(matrix.diagonal(), 1)):
        raise EvaluationError("similarities are not symmetric, or not 1 on the diagonal")
    values = np.linalg.eigvalsh(matrix / n)
    if values.min() < -1e-6:
        raise EvaluationError(
            f"similarities have the negative eigenvalue {values.min() * n:.3g}: no such samples "
            "exist"
        )
    return effective_number(np.where(values > _ROUND_OFF, values, 0.0))


def kinds_of(crystals: Crystals, jobs: int = 1) -> dict[str, tuple[Ints, int]]:
    """By name (:data:`KINDS`) a label for each crystal that has a kind, and how many have none.

    Parameters
    ----------
    crystals
        Any crystals; one that cannot be compared (by a reason that the matching or the symmetry
        tells) has no kind.
    jobs
        Number of processes.
    """
    from crystalcodec.data.matching import first_alike
    from crystalcodec.evaluation.novelty import prototype_keys

    n = len(crystals)
    same = first_alike(crystals, jobs=jobs)
    compared = np.ones(n, bool)
    compared[[failure.index for failure in same.failures]] = False
    keys = prototype_keys(crystals)
    found = keys.any(axis=1)
    prototypes = np.unique(keys[found], axis=0, return_inverse=True)[1].reshape(-1)
    return {
        "crystal": (same.positions[compared], int((~compared).sum())),
        "composition": (reduced_composition_numbers(crystals), 0),
        "chemical_system": (chemical_system_numbers(crystals), 0),
        "prototype": (prototypes.astype(np.int64), int((~found).sum())),
    }


def collapse(
    made: Crystals,
    held_out: Crystals,
    *,
    n_attempts: int | None = None,
    seed: int = 0,
    jobs: int = 1,
) -> Collapse:
    """Measure the variety of made crystals, and of as many held-out ones, which is the most.

    As many crystals are drawn from the larger side as the smaller one has, without replacement:
    numbers of kinds grow with the number of crystals.

    Parameters
    ----------
    made
        Crystals of a generator.
    held_out
        Real crystals of the kind that it learnt from.
    n_attempts
        Samples that it took; ``len(made)`` where None.
    seed
        Of the draws.
    jobs
        Number of processes.

    Raises
    ------
    EvaluationError
        Fewer attempts than crystals.
    """
    attempts = len(made) if n_attempts is None else n_attempts
    if attempts < len(made):
        raise EvaluationError(
            f"{attempts} attempts for {len(made)} crystals: wanted at least those"
        )
    n = min(len(made), len(held_out))
    rng = np.random.default_rng(seed)
    ours, theirs = (
        crystals[np.sort(rng.choice(len(crystals), n, replace=False))]
        if len(crystals) > n
        else crystals
        for crystals in (made, held_out)
    )
    kinds = [kinds_of(crystals, jobs) for crystals in (ours, theirs)]
    parts = [_fractions(crystals) for crystals in (ours, theirs)]
    elements = tuple(effective_number(part.sum(axis=0)) for part in parts)
    compositions = tuple(vendi_score(_cosines(part)) for part in parts)
    structures, missing = _structure_scores(ours, theirs)
    left_out = {name: (kinds[0][name][1], kinds[1][name][1]) for name in KINDS}
    return Collapse(
        attempts,
        n,
        {name: variety(kinds[0][name][0]) for name in KINDS},
        {name: variety(kinds[1][name][0]) for name in KINDS},
        (elements[0], elements[1]),
        {"composition": (compositions[0], compositions[1]), "structure": structures},
        {**left_out, "structure": missing},
    )


def _fractions(crystals: Crystals) -> Floats:
    """(n, 119) share of each element in the atoms of each crystal."""
    counts = np.zeros((len(crystals), MAX_ATOMIC_NUMBER + 1))
    np.add.at(counts, (crystals.crystal_indices, crystals.numbers), 1)
    fractions: Floats = counts / np.maximum(crystals.n_sites, 1)[:, None]
    return fractions


def _cosines(rows: Floats) -> Floats:
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    cosines: Floats = unit @ unit.T
    return cosines


def _structure_scores(
    made: Crystals, real: Crystals
) -> tuple[tuple[float, float], tuple[int, int]]:
    """Vendi scores by average minimum distances, and crystals that have none.

    exp(-d² / 2 w²), d the Euclidean distance of two vectors of 100 numbers in Å
    (10.46793/match.87-3.529W) and w the median of it among the real crystals.
    """
    from crystalcodec.evaluation.distribution import median_distance
    from crystalcodec.evaluation.similarity import pairwise
    from crystalcodec.representations.minimum_distances import AMD

    rows, missing = [], []
    for crystals in (made, real):
        encoded = AMD().encode(crystals)
        vectors = np.asarray(encoded["amd"], np.float64)
        finite = np.isfinite(vectors).all(axis=1)
        rows.append(vectors[finite])
        missing.append(len(crystals) - int(finite.sum()))
    width = median_distance(rows[1])
    scores = [
        vendi_score(np.exp(-(pairwise(part) ** 2) / (2 * width**2))) if len(part) else np.nan
        for part in rows
    ]
    return (float(scores[0]), float(scores[1])), (missing[0], missing[1])


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
