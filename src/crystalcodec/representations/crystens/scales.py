"""The quantities of CrysTens, the published ranges to normalise them, and its chemistry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from crystalcodec.elements import (
    ATOMIC_MASSES,
    ELECTRONEGATIVITIES,
    GROUPS,
    MAX_ATOMIC_NUMBER,
    PERIODS,
)

__all__ = ["AVG_STD", "CHEMISTRY", "COVALENT_RADII", "NEAR_MAX", "QUANTITIES", "Ranges"]

Ranges = tuple[tuple[float, float], ...]

# fmt: off
QUANTITIES: Final = (
    "atomic number", "x", "y", "z", "a", "b", "c", "alpha", "beta", "gamma", "space-group number",
    "distance", "difference",
)
# fmt: on
"""The eleven rows of the header, then what the pairs of sites hold."""

# Added to each difference before it is divided, so that it is positive.
_SHIFT: Final = 0.9999933

# The largest values, outliers left out, of the published training set.
_LARGEST: Final = (
    *(83.0, 0.979, 0.9813, 0.9782),
    *(19.866, 26.43, 42.5),
    *(107.69, 131.30000000000004, 119.99999999999999),
    227.0,
)

# Two numbers that are subtracted and divided by, then a shift, and the largest value before it.
# The first two are named average and standard deviation and are in fact the other way round;
# since shift and largest value were made with them, the result is a plain scaling all the same.
_MOMENTS: Final = (
    (22.417031299395948, 27.503517675002012, 0.778701530199605, 2.7844790475732646),
    (0.2934632568241515, 0.42520262764739036, 0.6901727264665755, 1.661631491833322),
    (0.2919067377134818, 0.43638668432502087, 0.6689176095393177, 1.6226127447382617),
    (0.29308350406375905, 0.44429446323553035, 0.659660491668988, 1.591076536917126),
    (2.7537991622182245, 6.631296113153595, 0.14950307531158527, 6.018461573238658),
    (3.30605670472346, 6.887269725378788, 0.22413187899920117, 6.0803402458545905),
    (5.797509184209129, 8.88626989936126, 0.4084401245195147, 12.423378095203498),
    (2.7943744442379326, 89.96235708184788, 0.0, 1.3028296429486415),
    (8.426823255100807, 92.73923379010695, 0.0, 1.4017387402522046),
    (12.722185599629745, 96.46287050653594, 0.0, 1.1121150950313212),
    (76.31186396273776, 116.00356506238859, 0.6492202538967989, 1.3248570072359955),
    (0.26288351681625777, 0.646245505143038, 0.4067858340586399, 2.15365474510736),
    (0.4099350434569409, 0.9999933333333323, 0.4099377763754505, 1.5900622236245516),
)

NEAR_MAX: Final[Ranges] = (
    *((0.0, largest) for largest in _LARGEST),
    (0.0, 1.2779113271271993),
    (-_SHIFT, 0.89146 - _SHIFT),
)
"""(low, high) of each quantity, which ``divide_near_max`` sends to 0 and 1."""


def _moments_as_ranges() -> Ranges:
    ranges = []
    for quantity, (first, second, shift, largest) in zip(QUANTITIES, _MOMENTS, strict=True):
        before = _SHIFT if quantity == "difference" else 0.0
        low = first - second * shift - before
        ranges.append((low, low + second * (shift + largest)))
    return tuple(ranges)


AVG_STD: Final[Ranges] = _moments_as_ranges()
"""(low, high) of each quantity, which ``avg_std`` sends to 0 and 1."""


def _by_number(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """A table by atomic number, 0 where there is no value."""
    table = np.zeros(MAX_ATOMIC_NUMBER + 1)
    given = np.nan_to_num(np.asarray(values, float), nan=0.0)
    table[: len(given)] = given
    table.flags.writeable = False
    return table


# fmt: off
COVALENT_RADII: Final = _by_number(
    [
        0, 0.31, 0.28, 1.28, 0.96, 0.84, 0.76, 0.71, 0.66, 0.57, 0.58, 1.66, 1.41, 1.21, 1.11,
        1.07, 1.05, 1.02, 1.06, 2.03, 1.76, 1.7, 1.6, 1.53, 1.39, 1.39, 1.32, 1.26, 1.24, 1.32,
        1.22, 1.22, 1.2, 1.19, 1.2, 1.2, 1.16, 2.2, 1.95, 1.9, 1.75, 1.64, 1.54, 1.47, 1.46, 1.42,
        1.39, 1.45, 1.44, 1.42, 1.39, 1.39, 1.38, 1.39, 1.4, 2.44, 2.15, 2.07, 2.04, 2.03, 2.01,
        1.99, 1.98, 1.98, 1.96, 1.94, 1.92, 1.92, 1.89, 1.9, 1.87, 1.87, 1.75, 1.7, 1.62, 1.51,
        1.44, 1.41, 1.36, 1.36, 1.32, 1.45, 1.46, 1.48, 1.4, 1.5, 1.5, 2.6, 2.21, 2.15, 2.06, 2.0,
        1.96, 1.9, 1.87, 1.8, 1.69,
    ]
)
# fmt: on
"""Covalent radius by atomic number, Å (Cordero et al. 2008, 10.1039/b801115j); 0 above Z = 96."""

CHEMISTRY: Final[Mapping[str, npt.NDArray[np.float64]]] = {
    "electronegativity": _by_number(ELECTRONEGATIVITIES),
    "covalent_radius": COVALENT_RADII,
    "valence": _by_number(np.where(GROUPS <= 12, GROUPS, np.where(GROUPS <= 17, GROUPS - 10, 0.0))),
    "period": _by_number(PERIODS),
    "group": _by_number(GROUPS),
    "atomic_mass": _by_number(ATOMIC_MASSES),
}
"""Properties by atomic number, 0 where there is none, that channels can be made of."""
