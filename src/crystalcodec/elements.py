"""The elements as arrays: row Z of each table belongs to the element of atomic number Z.

Row 0 stands for "no element" and holds zeros, so that a table can be indexed by an atomic number
directly. The numbers are those of pymatgen's periodic table, held here so that geometry and
encoding need numpy alone; a test compares every entry with pymatgen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

__all__ = [
    "ATOMIC_MASSES",
    "ATOMIC_NUMBERS",
    "ELECTRONEGATIVITIES",
    "GROUPS",
    "MAX_ATOMIC_NUMBER",
    "PERIODS",
    "SYMBOLS",
    "reduced_formula",
]

MAX_ATOMIC_NUMBER: Final = 118

SYMBOLS: Final[tuple[str, ...]] = (
    "",
    *"""
    H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As
    Se Br Kr Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu
    Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np
    Pu Am Cm Bk Cf Es Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og
    """.split(),
)
"""Element symbols; ``SYMBOLS[11]`` is ``"Na"``."""

ATOMIC_NUMBERS: Final[dict[str, int]] = {
    symbol: number for number, symbol in enumerate(SYMBOLS) if symbol
}
"""Atomic number by symbol."""


def _table(values: list[float]) -> npt.NDArray[np.float64]:
    table = np.array([0.0, *values])
    table.flags.writeable = False
    return table


# fmt: off
ATOMIC_MASSES: Final = _table(
    [
        1.00794, 4.002602, 6.941, 9.012182, 10.811, 12.0107, 14.0067, 15.9994, 18.9984032,
        20.1797, 22.98976928, 24.305, 26.9815386, 28.0855, 30.973762, 32.065, 35.453,
        39.948, 39.0983, 40.078, 44.955912, 47.867, 50.9415, 51.9961, 54.938045, 55.845,
        58.933195, 58.6934, 63.546, 65.409, 69.723, 72.64, 74.9216, 78.96, 79.904, 83.798,
        85.4678, 87.62, 88.90585, 91.224, 92.90638, 95.94, 98.0, 101.07, 102.9055, 106.42,
        107.8682, 112.411, 114.818, 118.71, 121.76, 127.6, 126.90447, 131.293, 132.9054519,
        137.327, 138.90547, 140.116, 140.90765, 144.242, 145.0, 150.36, 151.964, 157.25,
        158.92535, 162.5, 164.93032, 167.259, 168.93421, 173.04, 174.967, 178.49, 180.94788,
        183.84, 186.207, 190.23, 192.217, 195.084, 196.966569, 200.59, 204.3833, 207.2,
        208.9804, 210.0, 210.0, 220.0, 223.0, 226.0, 227.0, 232.03806, 231.03588, 238.02891,
        237.0, 244.0, 243.0, 247.0, 247.0, 251.0, 252.0, 257.0, 258.0, 259.0, 262.0, 267.0,
        268.0, 269.0, 270.0, 270.0, 278.0, 281.0, 282.0, 285.0, 286.0, 289.0, 290.0, 293.0,
        294.0, 294.0,
    ]
)
"""Atomic masses in unified atomic mass units (longest-lived isotope where none is stable)."""

PERIODS: Final = _table(
    [
        1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4,
        4, 4, 4, 4, 4, 4, 4, 4, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 6, 6,
        6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6,
        6, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
        7, 7, 7, 7, 7, 7,
    ]
)
"""Period (row) of the periodic table."""

GROUPS: Final = _table(
    [
        1, 18, 1, 2, 13, 14, 15, 16, 17, 18, 1, 2, 13, 14, 15, 16, 17, 18, 1, 2, 3, 4, 5, 6,
        7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,
        13, 14, 15, 16, 17, 18, 1, 2, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 4, 5, 6,
        7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 1, 2, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3,
        3, 3, 3, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18,
    ]
)
"""Group of the periodic table, 1 to 18; lanthanides and actinides count as group 3."""

ELECTRONEGATIVITIES: Final = _table(
    [
        2.2, np.nan, 0.98, 1.57, 2.04, 2.55, 3.04, 3.44, 3.98, np.nan, 0.93, 1.31, 1.61,
        1.9, 2.19, 2.58, 3.16, np.nan, 0.82, 1.0, 1.36, 1.54, 1.63, 1.66, 1.55, 1.83, 1.88,
        1.91, 1.9, 1.65, 1.81, 2.01, 2.18, 2.55, 2.96, 3.0, 0.82, 0.95, 1.22, 1.33, 1.6,
        2.16, 1.9, 2.2, 2.28, 2.2, 1.93, 1.69, 1.78, 1.96, 2.05, 2.1, 2.66, 2.6, 0.79, 0.89,
        1.1, 1.12, 1.13, 1.14, 1.13, 1.17, 1.2, 1.2, 1.1, 1.22, 1.23, 1.24, 1.25, 1.1, 1.27,
        1.3, 1.5, 2.36, 1.9, 2.2, 2.2, 2.28, 2.54, 2.0, 1.62, 2.33, 2.02, 2.0, 2.2, 2.2,
        0.7, 0.9, 1.1, 1.3, 1.5, 1.38, 1.36, 1.28, 1.3, 1.3, 1.3, 1.3, 1.3, 1.3, 1.3, 1.3,
        1.3, np.nan, np.nan, np.nan, np.nan, np.nan, np.nan, np.nan, np.nan, np.nan, np.nan,
        np.nan, np.nan, np.nan, np.nan, np.nan,
    ]
)
"""Pauling electronegativity; NaN where none is tabulated (He, Ne, Ar and Z > 103)."""
# fmt: on

# Formulas that stay as the molecule or the peroxide that the field writes (as pymatgen does).
_UNREDUCED: Final = {
    **{formula: f"{formula}2" for formula in ("H", "N", "O", "F", "Cl")},
    **{f"{metal}O": f"{metal}2O2" for metal in ("H", "Li", "Na", "K", "Rb", "Cs")},
}
# Below this difference of electronegativity the last two elements of a formula are a polyanion.
_POLYANION_DIFFERENCE: Final = 1.65


def reduced_formula(amounts: Mapping[int, int]) -> str:
    """Reduced formula in the order of electronegativity, as pymatgen writes it.

    Parameters
    ----------
    amounts
        Number of atoms by atomic number.

    >>> reduced_formula({8: 16, 15: 4, 26: 4, 3: 4})
    'LiFePO4'
    """
    formula = _reduce(amounts)
    return _UNREDUCED.get(formula, formula)


def _reduce(amounts: Mapping[int, int]) -> str:
    order = sorted(
        amounts, key=lambda z: (np.nan_to_num(ELECTRONEGATIVITIES[z], nan=np.inf), SYMBOLS[z])
    )
    factor = math.gcd(*amounts.values())
    tail = ""
    if len(order) >= 3:
        electronegativities = ELECTRONEGATIVITIES[order[-2:]]
        group = {z: amounts[z] // factor for z in order[-2:]}
        times = math.gcd(*group.values())
        if electronegativities[1] - electronegativities[0] < _POLYANION_DIFFERENCE and times > 1:
            tail = f"({_reduce(group)}){times}"
            order = order[:-2]
    terms = ((SYMBOLS[z], amounts[z] // factor) for z in order)
    return "".join(s + (str(amount) if amount > 1 else "") for s, amount in terms) + tail
