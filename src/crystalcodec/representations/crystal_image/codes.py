"""The codes of ``crystal_image``: what the numbers of a crystal look like as pixels.

Everything is an angle. An angle is drawn as the cosine and the sine of some of its multiples: the
low multiple is smooth and tells roughly where the angle is, the high ones tell it exactly, as on
a vernier.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.elements import ATOMIC_NUMBERS, MAX_ATOMIC_NUMBER

__all__ = [
    "AMPLITUDE",
    "BORDER",
    "CELL_MULTIPLES",
    "CENTRE",
    "COORDINATE_ROWS",
    "COUNT_CODES",
    "ELEMENTS",
    "ELEMENT_CODES",
    "ELEMENT_ROWS",
    "FLAT",
    "MAX_LENGTH",
    "MAX_SITES",
    "MENDELEEV_NUMBERS",
    "MIN_LENGTH",
    "PAIR_AMPLITUDE",
    "SHARE_ROW",
    "SIDE",
    "ZOOMS",
    "cell_codes",
    "cell_fractions",
    "cell_parameters",
    "drawn_angles",
]

Floats = npt.NDArray[np.float64]

SIDE: Final = 64
BORDER: Final = 12
"""Rows and columns of the frame."""
MAX_SITES: Final = SIDE - BORDER

# In whole steps of 255, and zero is black, which only empty places are: cosines 0, 1 and 1/2 are
# whole steps too, so that common fractions of the cell suffer little when pixels are rounded.
CENTRE: Final = 128 / 255
AMPLITUDE: Final = 126 / 255
PAIR_AMPLITUDE: Final = 89 / 255
"""Of cos + sin, which reaches the square root of 2."""

ELEMENT_ROWS: Final = slice(1, 7)
COORDINATE_ROWS: Final = slice(7, 11)
SHARE_ROW: Final = 11
"""Rows of the frame; row 0 is the mask."""

ZOOMS: Final = np.array(
    [4 if 4 * n <= MAX_SITES else 2 if 2 * n <= MAX_SITES else 1 for n in range(MAX_SITES + 1)]
)
"""Pixels a site along rows and columns, by number of sites."""

ELEMENTS: Final = np.array(
    [
        ATOMIC_NUMBERS[symbol]
        for symbol in """
        He Ne Ar Kr Xe Rn Fr Cs Rb K Na Li Ra Ba Sr Ca Yb Eu Sc Lu Tm Er Ho Dy Y Tb Gd Sm Pm Nd
        Pr Ce La Lr No Md Fm Es Cf Bk Cm Am Pu Np U Pa Th Ac Zr Hf Ti Ta Nb V W Mo Cr Re Tc Mn Fe
        Ru Os Co Rh Ir Ni Pt Pd Au Ag Cu Mg Hg Cd Zn Be Tl In Al Ga Pb Sn Ge Si B Bi Sb As P Po
        Te Se S C At I Br Cl N O F H
        """.split()
    ]
)
"""(103,) atomic numbers in the order of Pettifor's Mendeleev numbers, 10.1016/0038-1098(84)90765-8:
elements that replace each other in crystals stand side by side."""

_MULTIPLES_OF_ELEMENTS: Final = 2 ** np.arange(9)
CELL_MULTIPLES: Final = 0.5 * 2.0 ** np.arange(6)

MIN_LENGTH: Final = 1.0
MAX_LENGTH: Final = 128.0
"""Å; between them lie seven doublings."""
FLAT: Final = 1e-4
"""Smallest volume of a cell, of that of a box with the same edges."""
_DOUBLINGS: Final = 7.0


def _read_only(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    array.flags.writeable = False
    return array


def drawn_angles(angles: Floats) -> tuple[Floats, Floats]:
    """The pixels of the cosine and of the sine of angles in radians."""
    return CENTRE + AMPLITUDE * np.cos(angles), CENTRE + AMPLITUDE * np.sin(angles)


def _mendeleev_numbers() -> npt.NDArray[np.int64]:
    numbers = np.zeros(MAX_ATOMIC_NUMBER + 1, np.int64)
    numbers[ELEMENTS] = np.arange(1, len(ELEMENTS) + 1)
    return numbers


MENDELEEV_NUMBERS: Final = _read_only(_mendeleev_numbers())
"""By atomic number, 1 to 103; 0 where there is none (beyond lawrencium)."""


def _element_codes() -> npt.NDArray[np.float32]:
    """Rows cos and sin in turn, three multiples a row: a circle of 103 elements."""
    places = np.arange(len(ELEMENTS))[:, None] * _MULTIPLES_OF_ELEMENTS % len(ELEMENTS)
    cos, sin = drawn_angles(2 * np.pi * places / len(ELEMENTS))
    pairs = np.stack([cos.reshape(-1, 3, 3), sin.reshape(-1, 3, 3)], axis=2)
    return pairs.reshape(len(ELEMENTS), 6, 3).astype(np.float32)


ELEMENT_CODES: Final = _read_only(_element_codes())
"""(103, 6, 3) pixels of each element, in the order of ``ELEMENTS``."""


def cell_codes(fractions: Floats) -> Floats:
    """(..., 6, 2) pixels of numbers from 0 to 1: cos and sin of six multiples."""
    angles = 2 * np.pi * fractions[..., None] * CELL_MULTIPLES
    return np.stack(drawn_angles(angles), axis=-1)


def cell_fractions(parameters: Floats) -> Floats:
    """(n, 6) from 0 to 1: the logarithms of a, b, c between the limits, angles by 180 degrees."""
    with np.errstate(divide="ignore"):
        lengths = np.log2(parameters[:, :3] / MIN_LENGTH) / _DOUBLINGS
    return np.concatenate([lengths, parameters[:, 3:] / 180.0], axis=1)


def cell_parameters(fractions: Floats) -> Floats:
    """(n, 6) a, b, c in Å, then angles in degrees: undoes :func:`cell_fractions`."""
    lengths = MIN_LENGTH * 2.0 ** (_DOUBLINGS * fractions[:, :3])
    return np.concatenate([lengths, 180.0 * fractions[:, 3:]], axis=1)


def _count_codes() -> npt.NDArray[np.float32]:
    """Of each number of sites, the pixels along the frame that tell it."""
    codes = np.zeros((MAX_SITES + 1, MAX_SITES, 5), np.float32)
    for n in range(1, MAX_SITES + 1):
        codes[n, : n * ZOOMS[n]] = [1, 1, 1, n / MAX_SITES, np.log2(ZOOMS[n]) / 2]
    return codes


COUNT_CODES: Final = _read_only(_count_codes())
"""(53, 52, 5) mask (thrice), number of sites and zoom along the frame, by number of sites."""
