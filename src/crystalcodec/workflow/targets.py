"""Targets: the columns to learn, their missing values, and the way from outputs to values.

A network gives one output for each target, and after them one for each target with a classifier
of zeros: ``(n, n_outputs)``. :func:`learnable` makes what these outputs should be, and
:func:`values_of` makes values out of what they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.data import Dataset
from crystalcodec.workflow.config import TargetConfig
from crystalcodec.workflow.transforms import TargetError, TargetTransform

__all__ = [
    "Target",
    "TargetError",
    "TargetTransform",
    "choose_threshold",
    "fit_target",
    "learnable",
    "n_outputs",
    "target_values",
    "values_of",
]

Floats = npt.NDArray[np.float64]
_FEWEST: Final = 5


def target_values(dataset: Dataset, column: str, what: str) -> Floats:
    """(n,) the column as float64, NaN where missing.

    Raises
    ------
    DatasetError
        No such column, or one of text.
    TargetError
        Infinite values.
    """
    values = dataset.numeric(column)
    infinite = np.flatnonzero(np.isinf(values))
    if len(infinite):
        rows = ", ".join(f"row {i} (id {dataset.ids[i]})" for i in infinite[:3])
        more = f" and {len(infinite) - 3} more" if len(infinite) > 3 else ""
        raise TargetError(
            f"{column!r} of the {what} data is infinite in {rows}{more}: correct these values, or "
            "make them empty, which drops the rows"
        )
    return values


@dataclass(frozen=True)
class Target:
    """One column as a run learns it.

    Parameters
    ----------
    column, unit
        Its name, and its unit in the data; of a class "probability".
    kind, extensive, zero, weight
        As in :class:`~crystalcodec.workflow.config.TargetConfig`.
    transform
        Fitted on training crystals; of the value of one site where ``extensive``.
    deviation
        What knows nothing is off by, to which errors are compared: the mean absolute deviation of
        the training values; of a class the cross-entropy of its share.
    threshold
        Probability of not being 0 from which on the value is predicted and not 0.
    """

    column: str
    unit: str = ""
    kind: str = "value"
    extensive: bool = False
    zero: str = "value"
    weight: float = 1.0
    transform: TargetTransform = field(default_factory=lambda: TargetTransform("none"))
    deviation: float = 1.0
    threshold: float = 0.5

    @property
    def is_class(self) -> bool:
        """Whether a probability is predicted."""
        return self.kind == "class"

    @property
    def finds_zeros(self) -> bool:
        """Whether it has an output for being 0 or not."""
        return self.zero == "classifier"

    def describe(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return asdict(self)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Target:
        """The target that :meth:`describe` told, or TypeError or KeyError."""
        return cls(**{**values, "transform": TargetTransform(**values["transform"])})

    def with_threshold(self, threshold: float) -> Target:
        """The same target with another threshold."""
        return replace(self, threshold=threshold)


def fit_target(
    config: TargetConfig, unit: str, values: Floats, n_sites: npt.NDArray[Any], transform: str
) -> Target:
    """What is learnt of a column, from (m,) training values, NaN where missing.

    Raises
    ------
    TargetError
        Fewer than five values, no variance, a class of other values than 0 and 1, a value without
        the transform.
    """
    column = config.column
    there = ~np.isnan(values)
    known = values[there]
    if not len(known):
        raise TargetError(
            f"no training crystal with a target is left: nothing to learn from; {column!r} is "
            "empty in all that the representation holds"
        )
    if len(known) < _FEWEST:
        raise TargetError(
            f"{column!r} has {len(known)} values among the training crystals, wanted at least "
            f"{_FEWEST}: add labelled crystals"
        )
    if config.kind == "class":
        deviation = _entropy(column, known)
        return Target(column, "probability", "class", weight=config.weight, deviation=deviation)
    learnt = known / n_sites[there] if config.extensive else known
    if config.zero == "classifier":
        learnt = learnt[known != 0]
        if len(learnt) == len(known) or len(learnt) < _FEWEST:
            raise TargetError(
                f"{column!r} is 0 in {len(known) - len(learnt)} of {len(known)} training crystals: "
                f"a classifier of zeros wants some, and at least {_FEWEST} others; leave "
                "zero = 'classifier' out"
            )
    try:
        fitted = TargetTransform.fit(transform, learnt)
    except TargetError as error:
        raise TargetError(f"{column!r}: {error}") from None
    return Target(
        column,
        unit,
        extensive=config.extensive,
        zero=config.zero,
        weight=config.weight,
        transform=fitted,
        deviation=float(np.abs(known - known.mean()).mean()) or 1.0,
    )


def n_outputs(targets: Sequence[Target]) -> int:
    """Outputs that a network for these targets has."""
    return len(targets) + sum(target.finds_zeros for target in targets)


def learnable(
    targets: Sequence[Target],
    values: Floats,
    n_sites: npt.NDArray[Any],
    *,
    without_zeros: bool = False,
) -> npt.NDArray[np.float32]:
    """(m, n_outputs) what the outputs should be for (m, n_targets) values.

    A class is 0 or 1, and so is being zero (0) or not (1). NaN where there is nothing to learn: a
    missing value, the value of a zero that a classifier finds, and, ``without_zeros``, every
    other value that is 0, too.
    """
    columns, nonzero = [], []
    for target, given in zip(targets, values.T, strict=True):
        value = given / n_sites if target.extensive else given
        if target.finds_zeros:
            nonzero.append(np.where(np.isnan(given), np.nan, given != 0))
        if target.finds_zeros or (without_zeros and not target.is_class):
            value = np.where(given == 0, np.nan, value)
        columns.append(value if target.is_class else target.transform.apply(value))
    return np.stack([*columns, *nonzero], axis=1).astype(np.float32)


def values_of(
    targets: Sequence[Target], outputs: Floats, n_sites: npt.NDArray[Any]
) -> tuple[Floats, Floats]:
    """(n, n_targets) values and probabilities from (n, n_outputs) of a network.

    The value of a class is its probability. The value of a target with a classifier of zeros is 0
    where the probability of another value is below the threshold. Targets of other kinds have no
    probability: NaN. What is too large for a float is infinite, and what was NaN stays NaN.
    """
    values = np.empty((len(outputs), len(targets)))
    probabilities = np.full(values.shape, np.nan)
    extra = len(targets)
    with np.errstate(over="ignore"):
        for i, target in enumerate(targets):
            if target.is_class:
                values[:, i] = probabilities[:, i] = _logistic(outputs[:, i])
                continue
            value = target.transform.undo(outputs[:, i])
            values[:, i] = value * n_sites if target.extensive else value
            if target.finds_zeros:
                probabilities[:, i] = _logistic(outputs[:, extra])
                values[probabilities[:, i] < target.threshold, i] = 0.0
                extra += 1
    return values, probabilities


def choose_threshold(values: Floats, nonzero: Floats, probabilities: Floats) -> float:
    """The threshold with the least absolute error on validation crystals.

    Parameters
    ----------
    values, nonzero, probabilities : (n,)
        True values, what is predicted for values that are not 0, and the probability of that;
        rows with a NaN do not count.

    Returns
    -------
    float
        0.5 where no threshold is better; otherwise half-way between two probabilities.
    """
    rows = np.isfinite(values) & np.isfinite(nonzero) & np.isfinite(probabilities)
    order = np.argsort(-probabilities[rows], kind="stable")
    true, given, p = (array[rows][order] for array in (values, nonzero, probabilities))
    # After the k largest probabilities, everything is 0.
    taken = np.concatenate([[0.0], np.cumsum(np.abs(given - true))])
    dropped = np.abs(true).sum() - np.concatenate([[0.0], np.cumsum(np.abs(true))])
    error = taken + dropped
    # Between equal probabilities no threshold lies.
    edges = np.concatenate([[1.01], p, [0.0]])
    error[1:-1][p[:-1] == p[1:]] = np.inf
    half = int((p >= 0.5).sum())
    best = int(np.argmin(error))
    if not error[best] < error[half]:
        return 0.5
    return float((edges[best] + edges[best + 1]) / 2)


def _logistic(logits: Floats) -> Floats:
    """Probabilities, without overflow on either side."""
    result: Floats = 0.5 * (1 + np.tanh(0.5 * logits))
    return result


def _entropy(column: str, known: Floats) -> float:
    """Cross-entropy of a class's share; TargetError where it is no class, or only one."""
    other = known[(known != 0) & (known != 1)]
    if len(other):
        raise TargetError(
            f"{column!r} is a class, and {other[0]:g} among its values: wanted true and false, or "
            "1 and 0; leave kind = 'class' out to learn values"
        )
    share = float(known.mean())
    if share in (0.0, 1.0):
        raise TargetError(
            f"{column!r} is {bool(share)} in all {len(known)} training crystals: there is nothing "
            "to learn; choose another column, or data in which it differs"
        )
    return float(-share * np.log(share) - (1 - share) * np.log1p(-share))
