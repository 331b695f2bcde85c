"""Predicted properties of generated crystals, for their distribution beside the held-out ones."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.evaluation.base import EvaluationError, Evidence
from crystalcodec.registry import PRETRAINED, UnknownNameError, did_you_mean

__all__ = ["check_properties", "predicted", "property_rows"]

Floats = npt.NDArray[np.float64]


def check_properties(names: Sequence[str]) -> None:
    """Raise UnknownNameError where the package predicts no such property."""
    for name in names:
        if name not in PRETRAINED:
            raise UnknownNameError(
                f"no predictor of {name!r} in the package{did_you_mean(name, PRETRAINED)}"
            )


def predicted(evidence: Evidence, names: Sequence[str]) -> dict[str, tuple[Floats, Floats]]:
    """Properties of the attempts (n,) and of the held-out crystals, by name, from our predictors.

    NaN where an attempt gave no crystal, or where there is no prediction. Both sides are
    predictions, so that what differs are the crystals and not the method.

    Raises
    ------
    EvaluationError
        Without held-out crystals.
    UnknownNameError
        A property that the package does not predict.
    """
    check_properties(names)
    if evidence.held_out is None:
        raise EvaluationError("properties are compared with those of held-out crystals: give some")
    function = partial(property_rows, names=tuple(names))
    label = f"predicted {', '.join(names)} ({_models(tuple(names))})"
    attempts, held_out = (
        evidence.each(label, crystals, function)
        for crystals in (evidence.attempts.crystals, evidence.held_out)
    )
    return {
        name: (evidence.attempts.spread(attempts[:, i], np.nan), held_out[:, i])
        for i, name in enumerate(names)
    }


def property_rows(crystals: Crystals, names: tuple[str, ...]) -> Floats:
    """(n, p) predicted properties, NaN where there is none."""
    import torch

    if not len(crystals):
        return np.zeros((0, len(names)))
    threads = torch.get_num_threads()
    # Small cells: more threads only wait for each other.
    torch.set_num_threads(1)
    try:
        made = _predictors(names).predict(crystals)
    finally:
        torch.set_num_threads(threads)
    return np.stack([made.of(name) for name in names], axis=1)


@lru_cache(maxsize=4)
def _predictors(names: tuple[str, ...]) -> Any:
    from crystalcodec.workflow.pretrained import open_pretrained

    return open_pretrained(names)


def _models(names: tuple[str, ...]) -> str:
    """What tells the models from later ones."""
    from crystalcodec.workflow.pretrained import FOLDER

    whole = hashlib.sha256()
    for folder in sorted({PRETRAINED[name] for name in names}):
        for path in sorted((FOLDER / folder).rglob("run.json")):
            whole.update(path.read_bytes())
    return whole.hexdigest()[:12]
