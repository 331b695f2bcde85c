"""Figures with their intervals: what the families of metrics say of some evidence."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.evaluation.base import EvaluationError, Evidence, Figure
from crystalcodec.registry import FAMILIES, MissingExtraError, load

__all__ = [
    "COVERAGE",
    "INTERVAL",
    "N_RESAMPLES",
    "Families",
    "Figures",
    "Measured",
    "chosen_families",
    "measure",
]

Floats = npt.NDArray[np.float64]
Families = Mapping[str, Callable[[Evidence], list[Figure]]]

COVERAGE: Final = 0.95
N_RESAMPLES: Final = 200
INTERVAL: Final = (
    "Percentiles of the number over samples with replacement of what n counts. Coverage by recall, "
    "least distances by recall, Wasserstein, Jensen-Shannon and total variation distances of a "
    "sample are moved by what repetitions do to them on average (over 100 other samples) and kept "
    "within their range. A share of 0 or 1 has an interval of no width: of n attempts without a "
    "hit, up to 3 / n may be hits with 95 % confidence."
)


@dataclass(frozen=True, eq=False)
class Measured:
    """A figure's number and its interval; see :class:`~crystalcodec.evaluation.base.Figure`.

    Parameters
    ----------
    family
        The family that gave it.
    value
        NaN where there is nothing to count.
    low, high
        Ends of the 95 % bootstrap interval, NaN where there is none.
    """

    family: str
    name: str
    definition: str
    value: float
    low: float
    high: float
    n: int
    unit: str = ""
    better: str = ""
    failures: Mapping[str, int] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    of_each: Floats | None = None

    @classmethod
    def of(cls, family: str, figure: Figure, seed: int = 0) -> Measured:
        """Estimate a figure and its interval."""
        low, high = figure.interval(COVERAGE, n_resamples=N_RESAMPLES, seed=seed)
        given = figure.of_each
        return cls(
            family,
            figure.name,
            figure.definition,
            figure.value if figure.n else float("nan"),
            low,
            high,
            figure.n,
            figure.unit,
            figure.better,
            dict(figure.failures),
            dict(figure.extra),
            None if given is None else np.asarray(given, np.float64),
        )

    @property
    def shifted(self) -> bool:
        """Whether the interval does not hold the value.

        Samples with replacement repeat attempts: what grows with the number of different ones,
        as coverage does, is lower in all of them, and distances between distributions are larger.
        """
        rounding = 1e-9 * abs(self.value)
        return self.value < self.low - rounding or self.value > self.high + rounding

    def document(self) -> dict[str, Any]:
        """As JSON has it, without the values of each attempt."""
        names = ("name", "value", "low", "high", "unit", "better", "n", "failures", "definition")
        document = {name: getattr(self, name) for name in names}
        if self.extra:
            document["extra"] = _lists(self.extra)
        return document

    @classmethod
    def of_document(
        cls, family: str, document: Mapping[str, Any], of_each: Floats | None = None
    ) -> Measured:
        """What :meth:`document` was made of."""
        numbers = {
            key: float("nan") if document[key] is None else float(document[key])
            for key in ("value", "low", "high")
        }
        return cls(family, **{"extra": {}, **document, **numbers}, of_each=of_each)


Figures = Mapping[str, tuple[Measured, ...]]


def chosen_families(families: Families | Sequence[str] | None) -> dict[str, Any]:
    """Functions by name: those of the registry under these names, all where None.

    A family whose package is missing is given as the error that says so, unless it was named.

    Raises
    ------
    UnknownNameError
        A name that is none.
    MissingExtraError
        A family that was named and lacks its package.
    """
    if isinstance(families, Mapping):
        return dict(families)
    found: dict[str, Any] = {}
    for name in families or FAMILIES:
        try:
            found[name] = load(FAMILIES, name)
        except MissingExtraError as error:
            if families:
                raise
            found[name] = error
    return found


def measure(
    evidence: Evidence, families: Mapping[str, Any], *, seed: int = 0
) -> tuple[Figures, dict[str, str]]:
    """Figures by family, and why the other families have none.

    Raises
    ------
    EvaluationError
        A family with two figures of one name.
    """
    figures: dict[str, tuple[Measured, ...]] = {}
    left_out: dict[str, str] = {}
    for i, (family, function) in enumerate(families.items()):
        evidence.tell(family, i, len(families))
        try:
            if isinstance(function, MissingExtraError):
                raise function
            found = function(evidence)
        except MissingExtraError as error:
            left_out[family] = str(error)
            continue
        if not found:
            left_out[family] = "nothing to measure it against was given"
            continue
        names = [figure.name for figure in found]
        if len({*names}) < len(names):
            raise EvaluationError(f"{family}: figures of one name in {', '.join(names)}")
        figures[family] = tuple(Measured.of(family, figure, seed) for figure in found)
    return figures, left_out


def _lists(value: Any) -> Any:
    """The same nested value with arrays as lists."""
    if isinstance(value, Mapping):
        return {str(key): _lists(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_lists(entry) for entry in value]
    return value.tolist() if isinstance(value, np.ndarray) else value
