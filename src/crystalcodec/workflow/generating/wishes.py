"""What is wished for: whether a model can be asked for it, and which crystals are so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.elements import ATOMIC_NUMBERS, MAX_ATOMIC_NUMBER, SYMBOLS
from crystalcodec.evaluation.base import Attempts
from crystalcodec.evaluation.novelty import PROTOTYPE_SYMPREC
from crystalcodec.generators.conditions import ConditionError, Wanted
from crystalcodec.representations.base import Representation
from crystalcodec.symmetry import space_group_numbers
from crystalcodec.workflow.generating.runs import GeneratorRun

__all__ = ["FAR", "check_wish", "make_wanted", "met", "parse_values"]

Bools = npt.NDArray[np.bool_]

FAR: Final = 3.0
"""Standard deviations of the training data beyond their range from which a value is refused."""

# Å between the sites of the crystal that a representation is tried with.
_APART: Final = 3.0
_MOST_ATOMS: Final = 4096
# What refuses a composition, whatever the cell.
_OF_COMPOSITION: Final = ("too many", "element")


def parse_values(texts: Sequence[str]) -> dict[str, float]:
    """Property values given as ``name=number``, several of them with commas between.

    Raises
    ------
    ConditionError
        What is not of that form, or a name that is there twice.

    >>> parse_values(["band_gap=1.5, density=3"])
    {'band_gap': 1.5, 'density': 3.0}
    """
    values: dict[str, float] = {}
    for part in (part for text in texts for part in text.split(",")):
        name, _, number = (one.strip() for one in part.partition("="))
        try:
            value = float(number)
        except ValueError:
            value = float("nan")
        if not name or not np.isfinite(value):
            raise ConditionError(f"{part.strip()!r}: wanted name=number, such as band_gap=1.5")
        if name in values:
            raise ConditionError(f"{name} is there twice: wanted each property once")
        values[name] = value
    return values


def make_wanted(
    formula: str | None = None,
    elements: str | Sequence[str] = (),
    space_group: int | None = None,
    where: Mapping[str, float] | None = None,
) -> Wanted:
    """The wish of these parts; ``elements`` may be one text with commas.

    Raises
    ------
    ConditionError
        A formula that does not parse, a text without elements, or a value that is no number.
    """
    given = elements.split(",") if isinstance(elements, str) else list(elements)
    symbols = tuple(dict.fromkeys(one.strip() for one in given if one.strip()))
    if isinstance(elements, str) and not symbols:
        raise ConditionError(f"no elements in {elements!r}: wanted such as Li,Fe,O")
    values = dict(where or {})
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float | np.number):
            raise ConditionError(f"{name} = {value!r}: wanted a number")
        values[name] = float(value)
    if formula is not None and not formula.strip():
        raise ConditionError("an empty formula: wanted such as TiO2")
    wanted = Wanted(formula, symbols, space_group, values)
    _ = wanted.counts  # parsed here, for the error
    return wanted


def check_wish(run: GeneratorRun, wanted: Wanted, *, force_far: bool = False) -> list[str]:
    """Warnings about a wish; errors where it cannot be asked of a run.

    Raises
    ------
    ConditionError
        A wish that makes no sense, that the generator was not trained for, that its
        representation cannot hold, or, unless ``force_far``, a value further than :data:`FAR`
        standard deviations outside of the training data.
    """
    run.generator.check(wanted)
    _check_fits(run.representation, wanted)
    if not force_far and (lines := run.conditions.far(wanted, FAR)):
        raise ConditionError(
            f"{'; '.join(lines)}: more than {FAR:g} standard deviations beyond what the model "
            "knows; wish for less, or use --force-far (force_far=True)"
        )
    warnings = run.conditions.far(wanted)
    known = run.record.get("data", {}).get("train", {}).get("elements")
    symbols = [SYMBOLS[number] for number in wanted.counts] or list(wanted.elements)
    if known and (unseen := [one for one in symbols if one not in known]):
        warnings.append(f"no training crystal holds {', '.join(unseen)}: the model never saw it")
    return warnings


def _check_fits(representation: Representation, wanted: Wanted) -> None:
    """Raise ConditionError where no crystal of that composition fits, by trying one."""
    counts = wanted.counts or {ATOMIC_NUMBERS[symbol]: 1 for symbol in wanted.elements}
    if not counts:
        return
    what = f"formula {wanted.formula}" if wanted.counts else f"elements {','.join(wanted.elements)}"
    n = sum(counts.values())
    if n > _MOST_ATOMS:
        raise ConditionError(f"{what} cannot fit: {n:,} atoms, more than any representation holds")
    failures = representation.refuse(_spread_out(counts))
    for failure in failures:
        if failure.reason.startswith(_OF_COMPOSITION):
            raise ConditionError(
                f"{what} cannot fit {representation.name} as this model was trained: "
                f"{failure.reason} ({failure.detail})"
            )


def _spread_out(counts: Mapping[int, int]) -> Crystals:
    """A crystal of these atoms, far apart in a cube."""
    numbers = np.repeat([*counts], [*counts.values()])
    side = int(np.ceil(len(numbers) ** (1 / 3) - 1e-9))
    grid = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    return Crystals.single(_APART * side * np.eye(3), grid[: len(numbers)] / side, numbers)


def met(attempts: Attempts, wanted: Wanted) -> dict[str, Bools]:
    """(n,) by part of the wish, whether each attempt is a crystal that is so.

    ``formula``: as many atoms of each element, or a multiple. ``elements``: these and no others.
    ``space_group``: found by moyopy within 0.1 Å, since generated sites are never quite in place.
    Property values are not looked at.
    """
    crystals = attempts.crystals
    counts = crystals.element_counts
    found: dict[str, npt.NDArray[Any]] = {}
    if wanted.counts:
        row = np.zeros(MAX_ATOMIC_NUMBER + 1, np.int64)
        row[[*wanted.counts]] = [*wanted.counts.values()]
        times = counts.sum(axis=1) // row.sum()
        found["formula"] = (times > 0) & (counts == times[:, None] * row).all(axis=1)
    if wanted.elements:
        there = np.zeros(MAX_ATOMIC_NUMBER + 1, bool)
        there[[ATOMIC_NUMBERS[symbol] for symbol in wanted.elements]] = True
        found["elements"] = ((counts > 0) == there).all(axis=1)
    if wanted.space_group is not None:
        numbers = space_group_numbers(crystals, symprec=PROTOTYPE_SYMPREC)
        found["space_group"] = numbers == wanted.space_group
    return {name: attempts.spread(hits) > 0 for name, hits in found.items()}
