"""The 92 features of an element that CGCNN was published with: nine properties, each in bins.

A digit or letter says in which bin of a property an element lies, a point that the property has
no bin set. Bins are equal steps of the ranges below. The lists are the published ones: present
tables of the same properties put some elements elsewhere (other covalent radii, electron
affinities and heavy-element electronegativities), so that a network trained on the published
features needs these. 10.1103/PhysRevLett.120.145301.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from crystalcodec.elements import MAX_ATOMIC_NUMBER

__all__ = ["CGCNN_BINS", "cgcnn_features"]

_DIGITS: Final = "0123456789ABCDEFGHI"

# Name, number of bins, bin of each element from H to Fm.
CGCNN_BINS: Final[tuple[tuple[str, int, str], ...]] = (
    (
        "group",  # 0 for lanthanides and actinides
        19,
        "1I12DEFGHI12DEFGHI123456789ABCDEFGHI123456789ABCDEFGHI12000000000000003456789ABCDEFGHI"
        "12000000000000",
    ),
    (
        "period",
        7,
        "00111111112222222233333333333333333344444444444444444455555555555555555555555555555555"
        "66666666666666",
    ),
    (
        "electronegativity",  # 0.5 to 4.0
        10,
        "4.1345789.1233457.01223333343334457.012234445443344466011111.1.1.2222.122334445333344."
        "01122322......",
    ),
    (
        "covalent_radius",  # 25 to 250 pm
        10,
        "00432221115544333376544444333444443487655544444455544497666666666666666554444444555555"
        "87766666666666",
    ),
    (
        "valence_electrons",  # 1 to 12
        12,
        "0101234567012345670123456789AB234567012345678BAB234567011111111111111123456789AB234567"
        "01111111111111",
    ),
    (
        "first_ionization_energy",  # natural logarithm of eV, 1.3 to 3.3
        10,
        "69144566781323556702233333333423445602223333343423445501221222222222221333344445233445"
        "01122222222222",
    ),
    (
        "electron_affinity",  # -3.0 to 3.7 eV
        10,
        "5.5046269.5.56579.544455.4566.56579.54455556656.466794545557..5.65..64444546677.55578."
        "545...........",
    ),
    (
        "block",  # s, p, d, f
        4,
        "00001111110011111100222222222211111100222222222211111100333333333333332222222222111111"
        "00333333333333",
    ),
    (
        "atomic_volume",  # natural logarithm of cm3/mol, 1.5 to 4.3
        10,
        "463000444454234456864321111112333457975432222223445568975555.56555554643322222244555.."
        ".855435.55....",
    ),
)


def cgcnn_features() -> tuple[npt.NDArray[np.float64], tuple[str, ...]]:
    """One-hot bins (119, 92) by atomic number, NaN where there are none, and their names."""
    blocks, names = [], []
    for name, n_bins, bins in CGCNN_BINS:
        block = np.full((MAX_ATOMIC_NUMBER + 1, n_bins), np.nan)
        block[1 : len(bins) + 1] = 0.0
        for z, digit in enumerate(bins, 1):
            if digit != ".":
                block[z, _DIGITS.index(digit)] = 1.0
        blocks.append(block)
        names += [f"{name}_{k}" for k in range(n_bins)]
    return np.concatenate(blocks, axis=1), tuple(names)
