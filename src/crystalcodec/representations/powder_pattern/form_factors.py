"""Atomic form factors of X-rays, from the table that pymatgen carries."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files

import numpy as np
import numpy.typing as npt

from crystalcodec.elements import ATOMIC_NUMBERS, MAX_ATOMIC_NUMBER

__all__ = ["form_factor_table", "form_factors"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# Mott's relation between the scattering of electrons, for which the table was fitted in Å, and
# of X-rays, in electrons: 8 π² times the Bohr radius.
_MOTT = 41.78214


@cache
def form_factor_table() -> Floats:
    """(119, 4, 2) the a, Å, and b, Å², of each atomic number; NaN where none are tabulated."""
    text = files("pymatgen.analysis.diffraction") / "atomic_scattering_params.json"
    table = np.full((MAX_ATOMIC_NUMBER + 1, 4, 2), np.nan)
    for symbol, parameters in json.loads(text.read_text(encoding="utf-8")).items():
        if symbol in ATOMIC_NUMBERS:  # deuterium stands there besides hydrogen
            table[ATOMIC_NUMBERS[symbol]] = parameters
    table.flags.writeable = False
    return table


def form_factors(numbers: Ints, s_squared: Floats) -> Floats:
    """Electrons that atoms of these numbers scatter like, row by row.

    f = Z - 41.78214 s² Σ a exp(-b s²), s = sin θ / λ = |g| / 2; at s = 0 it is Z.

    Parameters
    ----------
    numbers : (m,)
        Atomic numbers.
    s_squared : (m,)
        s², Å⁻².
    """
    total = np.zeros_like(s_squared)
    for a, b in np.moveaxis(form_factor_table(), 0, -1):
        total += a[numbers] * np.exp(-b[numbers] * s_squared)
    return np.asarray(numbers - _MOTT * s_squared * total, float)
