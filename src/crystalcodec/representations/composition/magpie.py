"""The 132 statistics of elemental properties of Magpie, as matminer computes them."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.elements import ATOMIC_NUMBERS, MAX_ATOMIC_NUMBER, SYMBOLS
from crystalcodec.failures import Failure
from crystalcodec.representations.base import FailureNotes, Field, Representation
from crystalcodec.representations.composition.missing import check_missing, filler
from crystalcodec.representations.composition.pooling import element_parts, pool

__all__ = ["Magpie", "magpie_properties"]

Floats = npt.NDArray[np.float64]

# matminer's names of the statistics, in its order, and ours.
_STATISTICS: Final = {
    "minimum": "minimum",
    "maximum": "maximum",
    "range": "range",
    "mean": "mean",
    "avg_dev": "mean_absolute_deviation",
    "mode": "mode",
}


@dataclass(frozen=True)
class Magpie(Representation):
    """Six statistics of 22 properties of the elements of a crystal: 132 numbers.

    Of each property the minimum, maximum, range, mean, mean absolute deviation from the mean (the
    last two weighted with the fractions of the elements) and mode (of the element that there is
    most of; the smallest value where several are equally many). Numbers, names and order are
    those of matminer's ``ElementProperty.from_preset("magpie")``; its tables are part of this
    package, so that nothing else need be installed.

    Parameters
    ----------
    missing
        What stands in for a property that an element has no value of: ``mean``, the mean over the
        elements that have one (as matminer does; it is so for He, Ne, Ar, Bk, At, Rn, Fr and
        elements from Es on); ``error``, such a crystal is a failure.

    Raises
    ------
    RepresentationError
        An unknown policy.

    References
    ----------
    Ward et al., npj Comput. Mater. 2, 16028 (2016), 10.1038/npjcompumats.2016.28; matminer: Ward
    et al., Comput. Mater. Sci. 152, 60 (2018), 10.1016/j.commatsci.2018.05.018.

    Examples
    --------
    >>> salt = Crystals.single(
    ...     [[0, 2.8, 2.8], [2.8, 0, 2.8], [2.8, 2.8, 0]], [[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17]
    ... )
    >>> magpie = Magpie()
    >>> array = magpie.encode(salt)["magpie"]
    >>> array.shape, magpie.feature_names()[45], array[0, 45].round(3)
    ((1, 132), 'MagpieData mean Electronegativity', np.float32(2.045))
    """

    name: ClassVar[str] = "magpie"
    lost: ClassVar[str] = "the cell and all positions; of the composition, all but the statistics"
    invariances: ClassVar = frozenset(
        {"permutation", "translation", "rotation", "supercell", "unit_cell"}
    )
    continuity: ClassVar = "constant"

    missing: str = "mean"

    def __post_init__(self) -> None:
        check_missing(self.missing, ("mean", "error"))

    @property
    def fields(self) -> tuple[Field, ...]:
        """The statistics."""
        return (Field("statistics", "continuous", self.name, (len(self.feature_names()),)),)

    def feature_names(self) -> tuple[str, ...]:
        """Matminer's labels: ``"MagpieData mean Electronegativity"``."""
        return tuple(
            f"MagpieData {statistic} {column}"
            for column in magpie_properties()[1]
            for statistic in _STATISTICS
        )

    def refuse(self, crystals: Crystals) -> list[Failure]:
        """Crystals of elements that lack a property, where that is an error."""
        if self.missing != "error":
            return []
        lacks = np.isnan(magpie_properties()[0])
        sites = lacks[crystals.numbers].any(axis=1)
        found = np.zeros(len(crystals), bool)
        found[crystals.crystal_indices[sites]] = True

        def detail(i: int) -> str:
            columns = magpie_properties()[1]
            return "; ".join(
                f"{SYMBOLS[z]} has no {', '.join(np.array(columns)[lacks[z]])}"
                for z in np.unique(crystals[i].numbers).tolist()
                if lacks[z].any()
            )

        notes = FailureNotes()
        notes.add(found, "property not known", detail)
        return notes.in_order()

    def statistics(self, crystals: Crystals) -> Floats:
        """(n, 132) as encoded, in double precision; NaN where a property is not known."""
        return self._pooled(crystals, np.float64)

    def _pooled(self, crystals: Crystals, kind: type[np.floating[Any]]) -> npt.NDArray[Any]:
        properties, _ = magpie_properties()
        values = np.where(np.isnan(properties), filler(properties, self.missing), properties)
        array = np.empty((len(crystals), values.shape[1], len(_STATISTICS)), kind)
        names = tuple(_STATISTICS.values())
        pool(element_parts(crystals), values, names, array.transpose(0, 2, 1))
        return array.reshape(len(crystals), array.shape[1] * array.shape[2])

    def _encode(self, crystals: Crystals) -> dict[str, npt.NDArray[Any]]:
        return {self.name: self._pooled(crystals, np.float32)}


@cache
def magpie_properties() -> tuple[Floats, tuple[str, ...]]:
    """(119, 22) the properties by atomic number, NaN where there is none, and their names.

    The numbers are those of the files ``magpie_elementdata`` of matminer 0.10.1. The table
    ``magpie`` of ElementEmbeddings agrees with them wherever both have one, but has fewer elements
    and fills its gaps with medians.
    """
    path = Path(__file__).with_name("magpie_properties.csv")
    with path.open(encoding="utf-8", newline="") as lines:
        (_, *names), *rows = csv.reader(lines)
    values = np.full((MAX_ATOMIC_NUMBER + 1, len(names)), np.nan)
    for symbol, *row in rows:
        values[ATOMIC_NUMBERS[symbol]] = [float(x or "nan") for x in row]
    values.flags.writeable = False
    return values, tuple(names)
