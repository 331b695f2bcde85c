"""What generators that draw compositions refuse: wishes that cannot fit, and bad parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from crystalcodec.elements import ATOMIC_NUMBERS, SYMBOLS
from crystalcodec.generators.conditions import ConditionError, Wanted
from crystalcodec.generators.site_diffusion.composition import HEADS, CompositionModel
from crystalcodec.models.base import ModelError

__all__ = ["check_parameters", "check_wanted"]


def check_wanted(model: CompositionModel, wanted: Wanted) -> None:
    """Raise ConditionError for a formula or elements that the model cannot give."""
    counts = wanted.counts
    elements = [*counts] or [ATOMIC_NUMBERS[symbol] for symbol in wanted.elements]
    sites = sum(counts.values())
    if sites > model.max_sites or len(elements) > model.max_elements:
        raise ConditionError(
            f"{wanted.formula or ','.join(wanted.elements)} needs {max(sites, len(elements))} "
            f"sites and {len(elements)} elements: at most {model.max_sites} and "
            f"{model.max_elements} fit"
        )
    unseen = [SYMBOLS[z] for z in elements if not model.seen[z]]
    if unseen:
        raise ConditionError(f"{', '.join(unseen)}: not in any training crystal")


def check_parameters(
    sizes: Mapping[str, Any],
    widths: Mapping[str, Any],
    dropout: float,
    drop: float,
    level_mean: float,
    level_deviation: float,
) -> None:
    """Raise ModelError for parameters that make no sense; ``widths`` are those of transformers."""
    for name, value in {**sizes, **widths}.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ModelError(f"{name} is {value!r}, wanted a whole number of at least 1")
    for name, value in widths.items():
        if value % HEADS:
            raise ModelError(f"{name} is {value}, wanted a multiple of {HEADS}")
    levels = math.isfinite(level_mean) and 0 < level_deviation < 10
    if not (0 <= dropout < 1 and 0 <= drop <= 1 and levels):
        raise ModelError(
            f"dropout {dropout}, drop {drop}, level_mean {level_mean}, level_deviation "
            f"{level_deviation}: wanted from 0 to below 1, from 0 to 1, a number, above 0 and "
            "below 10"
        )
