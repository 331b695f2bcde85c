"""What a generator can be asked for: properties, composition, elements, space group."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal, Self, cast, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from crystalcodec.crystals import Crystals
from crystalcodec.elements import ATOMIC_NUMBERS, MAX_ATOMIC_NUMBER, SYMBOLS
from crystalcodec.registry import did_you_mean
from crystalcodec.symmetry import space_group_numbers

__all__ = [
    "Condition",
    "ConditionEmbedding",
    "ConditionError",
    "Conditions",
    "Wanted",
    "parse_formula",
]

Floats = npt.NDArray[np.float32]
Kind = Literal["value", "composition", "elements", "space_group"]

CRYSTAL_KINDS: Final = ("composition", "elements", "space_group")
_SIZES: Final[Mapping[str, int]] = {
    "value": 1,
    "composition": MAX_ATOMIC_NUMBER,
    "elements": MAX_ATOMIC_NUMBER,
    "space_group": 230,
}
_PREFIX: Final = "condition."


class ConditionError(ValueError):
    """A wish that a generator cannot be told, or that makes no sense."""


@dataclass(frozen=True)
class Wanted:
    """What generated crystals are to be; empty for anything.

    Parameters
    ----------
    formula
        As many atoms of each element, or a multiple of them: ``"TiO2"``.
    elements
        Symbols of the only elements; each is to be there.
    space_group
        Number.
    values
        Property values by column.
    """

    formula: str | None = None
    elements: tuple[str, ...] = ()
    space_group: int | None = None
    values: Mapping[str, float] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.formula or self.elements or self.space_group is not None or self.values)

    @property
    def counts(self) -> dict[int, int]:
        """Atoms of each element of the formula, by atomic number; empty without one."""
        return parse_formula(self.formula) if self.formula else {}

    def describe(self) -> dict[str, Any]:
        """What is asked for, ready for JSON."""
        return {key: value for key, value in asdict(self).items() if value not in (None, (), {})}


def parse_formula(formula: str) -> dict[int, int]:
    """Atoms by atomic number, in the order of the formula.

    Raises
    ------
    ConditionError
        What is no formula of elements with whole numbers of atoms.

    Examples
    --------
    >>> parse_formula("Ca(OH)2")
    {20: 1, 8: 2, 1: 2}
    """
    from pymatgen.core import Composition

    amounts: dict[int, float] = {}
    try:
        for element, amount in Composition(formula, strict=True).items():
            # Deuterium has a symbol of its own and the number of hydrogen.
            amounts[element.Z] = amounts.get(element.Z, 0) + amount
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise ConditionError(f"formula {formula!r}: {error}; wanted such as TiO2") from None
    # pymatgen leaves out elements of which there are 0 atoms, and says nothing.
    nothing = re.search(r"(?<![\d.])0+(\.0*)?(?![\d.])", formula)
    whole = all(n < 1e9 and n == round(n) and n >= 1 for n in amounts.values())
    if nothing or not amounts or not whole:
        raise ConditionError(
            f"formula {formula!r}: wanted whole numbers of atoms of at least one element"
        )
    return {number: round(n) for number, n in amounts.items()}


@dataclass(frozen=True)
class Condition:
    """One thing that a generator is told of each crystal in training.

    Parameters
    ----------
    name
        The property column, or the kind.
    kind
        ``value``; ``composition``, the fraction of each element; ``elements``, which there are;
        ``space_group``.
    mean, deviation, low, high
        Of a value in training data.
    unit
        Of a value, empty where the data tell none.
    """

    name: str
    kind: Kind
    mean: float = 0.0
    deviation: float = 1.0
    low: float = 0.0
    high: float = 0.0
    unit: str = ""

    @property
    def size(self) -> int:
        """Numbers that tell it."""
        return _SIZES[self.kind]

    @property
    def key(self) -> str:
        """Its name in a batch."""
        return _PREFIX + self.name

    def of(self, crystals: Crystals, values: npt.NDArray[np.float64] | None) -> Floats:
        """(n, size) what is told of crystals; ``values`` (n,) is the column, NaN where missing."""
        n = len(crystals)
        if self.kind == "value":
            if values is None:
                raise ConditionError(f"no values of {self.name!r} are given")
            told: Floats = np.asarray((values - self.mean) / self.deviation, np.float32)
            return told[:, None]
        if self.kind == "space_group":
            hot = np.zeros((n, self.size), np.float32)
            numbers = space_group_numbers(crystals)
            known = numbers > 0
            hot[np.flatnonzero(known), numbers[known] - 1] = 1
            hot[~known] = np.nan
            return hot
        counts = np.zeros((n, self.size), np.float32)
        np.add.at(counts, (crystals.crystal_indices, crystals.numbers - 1), 1)
        if self.kind == "elements":
            return np.minimum(counts, 1)
        counts /= crystals.n_sites[:, None]
        return counts

    def wanted(self, wanted: Wanted) -> Floats | None:
        """(size,) what is told of a wish, None where it says nothing of this."""
        told = np.zeros(self.size, np.float32)
        if self.kind == "value":
            if self.name not in wanted.values:
                return None
            told[0] = (wanted.values[self.name] - self.mean) / self.deviation
        elif self.kind == "space_group":
            if wanted.space_group is None:
                return None
            told[wanted.space_group - 1] = 1
        elif self.kind == "elements":
            numbers = [*wanted.counts] or [ATOMIC_NUMBERS[symbol] for symbol in wanted.elements]
            if not numbers:
                return None
            told[np.array(numbers) - 1] = 1
        else:
            counts = wanted.counts
            if not counts:
                return None
            told[np.array([*counts]) - 1] = np.array([*counts.values()]) / sum(counts.values())
        return told


@dataclass(frozen=True)
class Conditions:
    """All that a generator is told of each crystal in training; empty for nothing."""

    entries: tuple[Condition, ...] = ()

    @classmethod
    def fit(
        cls,
        kinds: Sequence[str],
        columns: Mapping[str, npt.NDArray[np.float64]],
        units: Mapping[str, str] | None = None,
    ) -> Self:
        """Conditions on ``kinds`` of the crystals themselves and on property columns (n,).

        Raises
        ------
        ConditionError
            An unknown kind, one that is there twice or is called like a column; a column without
            two different values.
        """
        entries = []
        names = [*kinds, *columns]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ConditionError(
                f"the condition {', '.join(repeated)} is there twice: wanted each name once, and "
                "no property column called like a kind"
            )
        for kind in kinds:
            if kind not in CRYSTAL_KINDS:
                raise ConditionError(
                    f"no condition {kind!r}{did_you_mean(kind, CRYSTAL_KINDS)}; property columns "
                    "go under values"
                )
            entries.append(Condition(kind, cast(Kind, kind)))
        for name, values in columns.items():
            there = values[np.isfinite(values)]
            if len(there) < 2 or not np.ptp(there) > 0:
                raise ConditionError(
                    f"{name!r} has {len(there)} values in training data, and no two that differ: "
                    "nothing can be asked of it"
                )
            mean, deviation = float(there.mean()), float(there.std())
            low, high = float(there.min()), float(there.max())
            unit = (units or {}).get(name, "")
            entries.append(Condition(name, "value", mean, deviation, low, high, unit))
        return cls(tuple(entries))

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def names(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(entry.name for entry in self.entries)

    @property
    def columns(self) -> tuple[str, ...]:
        """The property columns among them."""
        return tuple(entry.name for entry in self.entries if entry.kind == "value")

    def of(
        self, crystals: Crystals, columns: Mapping[str, npt.NDArray[np.float64]]
    ) -> dict[str, Floats]:
        """What is told of crystals, by the key of a batch, (n, size) each."""
        return {e.key: e.of(crystals, columns.get(e.name)) for e in self.entries}

    def batch(
        self, wanted: Wanted, n: int, device: torch.device | None = None
    ) -> dict[str, Tensor]:
        """The same wish for n crystals, by the key of a batch; NaN where nothing is wished."""
        told = {}
        for entry in self.entries:
            row = entry.wanted(wanted)
            row = np.full(entry.size, np.nan, np.float32) if row is None else row
            told[entry.key] = torch.from_numpy(row).to(device).expand(n, -1)
        return told

    def check(self, wanted: Wanted, own: frozenset[str] = frozenset()) -> None:
        """Raise ConditionError where a wish makes no sense or is none of these.

        ``own`` names those of formula and elements that a generator keeps to in another way.
        """
        counts = wanted.counts
        for symbol in wanted.elements:
            if symbol not in ATOMIC_NUMBERS:
                raise ConditionError(f"no element {symbol!r}{did_you_mean(symbol, [*SYMBOLS[1:]])}")
        if counts and wanted.elements and {SYMBOLS[z] for z in counts} != {*wanted.elements}:
            raise ConditionError(
                f"formula {wanted.formula} and elements {','.join(wanted.elements)} do not go "
                "together: give one of them"
            )
        group = wanted.space_group
        if group is not None and not 1 <= group <= 230:
            raise ConditionError(f"space group {group}: wanted 1 to 230")
        kinds = {entry.kind for entry in self.entries}
        asked = {
            "formula": bool(counts) and not kinds & {"composition"},
            "elements": bool(wanted.elements) and not kinds & {"elements"},
            "space_group": group is not None and "space_group" not in kinds,
        }
        for name, unmet in asked.items():
            if unmet and name not in own:
                raise ConditionError(
                    f"this model was not trained with a condition on {name}{self._known(own)}"
                )
        for name, value in wanted.values.items():
            if name not in self.columns:
                raise ConditionError(
                    f"this model was not trained with a condition on {name!r}{self._known(own)}"
                )
            if not np.isfinite(value):
                raise ConditionError(f"{name} = {value}: wanted a number")

    def far(self, wanted: Wanted, deviations: float = 0.0) -> list[str]:
        """A sentence for each wanted value that is outside of what training data held.

        By more than so many standard deviations of these data, where that is given.
        """
        lines = []
        for entry in self.entries:
            value = wanted.values.get(entry.name)
            beyond = deviations * entry.deviation
            low, high = entry.low - beyond, entry.high + beyond
            if entry.kind == "value" and value is not None and not low <= value <= high:
                unit = f" {entry.unit}" if entry.unit else ""
                lines.append(
                    f"{entry.name} = {value:g} is outside of the training data, {entry.low:g} to "
                    f"{entry.high:g}{unit} (mean {entry.mean:g}, standard deviation "
                    f"{entry.deviation:g})"
                )
        return lines

    def _known(self, own: frozenset[str]) -> str:
        known = sorted({*self.names, *own})
        return f": it knows {', '.join(known)}" if known else ": it knows none"

    def describe(self) -> list[dict[str, Any]]:
        """Ready for JSON; :meth:`from_records` is the way back."""
        return [asdict(entry) for entry in self.entries]

    @classmethod
    def from_records(cls, records: Sequence[Mapping[str, Any]]) -> Self:
        """The conditions that :meth:`describe` told.

        Raises
        ------
        ConditionError
            Records that it does not give.
        """
        try:
            entries = tuple(Condition(**record) for record in records)
        except TypeError as error:
            raise ConditionError(f"damaged conditions: {error}") from None
        if any(entry.kind not in get_args(Kind) for entry in entries):
            raise ConditionError("damaged conditions: an unknown kind")
        return cls(entries)


class ConditionEmbedding(nn.Module):
    """What a batch tells of its crystals as one vector each; nothing told has a learned vector.

    In training each condition of each crystal is left out with the probability ``drop``, and all
    of them together with the same one, so that the network learns both with and without (Ho and
    Salimans, arXiv 2207.12598).

    Parameters
    ----------
    width
        Length of the vectors.
    drop
        See above.
    """

    def __init__(self, conditions: Conditions, width: int, drop: float = 0.1) -> None:
        super().__init__()
        self.keys = [entry.key for entry in conditions.entries]
        self.drop = drop
        self.width = width
        self.maps = nn.ModuleList(
            nn.Sequential(nn.Linear(entry.size, width), nn.SiLU(), nn.Linear(width, width))
            for entry in conditions.entries
        )
        self.nothing = nn.Parameter(torch.randn(len(self.keys), width) * 0.02)

    def forward(self, batch: Mapping[str, Tensor], n: int) -> Tensor:
        """(n, width); a batch without a condition tells nothing of it."""
        device = self.nothing.device
        total = torch.zeros(n, self.width, device=device)
        untold = torch.rand(n, device=device) < self.drop if self.training else None
        for i, (key, mapped) in enumerate(zip(self.keys, self.maps, strict=True)):
            if key not in batch:
                total = total + self.nothing[i]
                continue
            told = batch[key]
            missing = told.isnan().any(dim=1)
            if untold is not None:
                missing = missing | untold | (torch.rand(n, device=device) < self.drop)
            embedded = mapped(told.nan_to_num(0.0))
            total = total + torch.where(missing[:, None], self.nothing[i], embedded)
        return total
