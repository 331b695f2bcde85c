"""Whether wanted property values were met, by predictions of the package's own models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.generators.conditions import Condition, Conditions
from crystalcodec.registry import PRETRAINED
from crystalcodec.workflow.judge_properties import property_rows

__all__ = ["NOTE", "predicted_wishes"]

NOTE: Final = (
    "Predictions of crystalcodec's own models for crystals as they were generated; nothing was "
    "computed or measured. Where a generator is guided by such a model this is no evidence."
)


_UNKNOWN: Final = Condition("", "value", mean=np.nan, deviation=np.nan)


def predicted_wishes(
    wanted: Mapping[str, float],
    conditions: Conditions,
    crystals: Crystals,
    without: Callable[[], Crystals],
) -> dict[str, Any]:
    """Predicted values of the wanted properties, with the wish and without, by name.

    Parameters
    ----------
    wanted
        Values by property, whether the generator or its guide is told them.
    conditions
        Of the generator, for mean and deviation of the training data.
    crystals
        Those that were made with the wish.
    without
        Makes as many samples with the same seed and no wish for properties.

    Returns
    -------
    dict
        For each property that the package predicts ``wanted``, ``unit``, ``training`` (mean and
        deviation of the true values), ``with`` and ``without`` (``mean``, ``deviation``, and
        ``n`` of the crystals that have a prediction), and ``moved``, by how many deviations of
        the training data the wish moves the mean. ``training`` and ``moved`` are NaN where the
        generator was not trained with that property. ``left_out`` names the others.
    """
    names = tuple(name for name in wanted if name in PRETRAINED)
    found: dict[str, Any] = {}
    if others := [name for name in wanted if name not in names]:
        found["left_out"] = dict.fromkeys(others, "the package predicts no such property")
    if not names:
        return found
    rows = property_rows(crystals, names)
    plain = property_rows(without(), names)
    entries = {entry.name: entry for entry in conditions.entries}
    values: dict[str, Any] = {}
    for i, name in enumerate(names):
        entry = entries.get(name, _UNKNOWN)
        one, other = _spread(rows[:, i]), _spread(plain[:, i])
        values[name] = {
            "wanted": wanted[name],
            "unit": entry.unit,
            "training": {"mean": entry.mean, "deviation": entry.deviation},
            "without": other,
            "with": one,
            "moved": (one["mean"] - other["mean"]) / entry.deviation,
        }
    return {**found, "note": NOTE, "properties": values}


def _spread(values: npt.NDArray[np.float64]) -> dict[str, Any]:
    there = values[np.isfinite(values)]
    if not len(there):
        return {"mean": float("nan"), "deviation": float("nan"), "n": 0}
    return {"mean": float(there.mean()), "deviation": float(there.std()), "n": len(there)}
