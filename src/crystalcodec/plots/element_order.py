"""Orders and families of the elements, and colours for them that everyone can tell apart."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.elements import ATOMIC_NUMBERS, MAX_ATOMIC_NUMBER

__all__ = ["COLOURS", "FAMILIES", "PETTIFOR_ORDER", "family_indices", "ink_on"]

PETTIFOR_ORDER: Final[tuple[int, ...]] = tuple(
    ATOMIC_NUMBERS[symbol]
    for symbol in """
    He Ne Ar Kr Xe Rn Fr Cs Rb K Na Li Ra Ba Sr Ca Yb Eu Sc Lu Tm Er Ho Dy Y Tb Gd Sm Pm Nd Pr
    Ce La Lr No Md Fm Es Cf Bk Cm Am Pu Np U Pa Th Ac Zr Hf Ti Ta Nb V W Mo Cr Re Tc Mn Fe Ru Os
    Co Rh Ir Ni Pt Pd Au Ag Cu Mg Hg Cd Zn Be Tl In Al Ga Pb Sn Ge Si B Bi Sb As P Po Te Se S C
    At I Br Cl N O F H Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og
    """.split()
)
"""Atomic numbers in the order of Pettifor's chemical scale (10.1016/0038-1098(84)90765-8), on
which neighbours replace each other in crystals; elements beyond 103, which it lacks, last."""

FAMILIES: Final[dict[str, str]] = {
    "alkali metals": "Li Na K Rb Cs Fr",
    "alkaline earths": "Be Mg Ca Sr Ba Ra",
    "lanthanides": "La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu",
    "actinides": "Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr",
    "transition metals": (
        "Sc Ti V Cr Mn Fe Co Ni Cu Zn Y Zr Nb Mo Tc Ru Rh Pd Ag Cd Hf Ta W Re Os Ir Pt Au Hg "
        "Rf Db Sg Bh Hs Mt Ds Rg Cn"
    ),
    "other metals": "Al Ga In Sn Tl Pb Bi Nh Fl Mc Lv",
    "metalloids": "B Si Ge As Sb Te Po",
    "other nonmetals": "H C N O P S Se",
    "halogens": "F Cl Br I At Ts",
    "noble gases": "He Ne Ar Kr Xe Rn Og",
}
"""Symbols of the elements of each family; each element is in one."""

COLOURS: Final[tuple[str, ...]] = (
    "#332288", "#88ccee", "#117733", "#999933", "#ddcc77", "#cc6677", "#882255", "#44aa99",
    "#aa4499", "#bbbbbb",
)  # fmt: skip
"""Ten colours that differ for every kind of colour vision (Tol's muted scheme), the last a grey."""


def family_indices() -> npt.NDArray[np.int64]:
    """(119,) the place of each element's family in :data:`FAMILIES`, by atomic number; 0: -1."""
    indices = np.full(MAX_ATOMIC_NUMBER + 1, -1)
    for i, symbols in enumerate(FAMILIES.values()):
        indices[[ATOMIC_NUMBERS[symbol] for symbol in symbols.split()]] = i
    return indices


def ink_on(colour: Any) -> str:
    """Black or white, whichever is read better on a colour."""
    from matplotlib.colors import to_rgb

    red, green, blue = to_rgb(colour)
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.55 else "white"
