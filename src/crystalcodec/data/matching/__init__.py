"""Which crystals are the same by pymatgen's StructureMatcher: fast, and with its own answer.

:class:`Tolerances` says how far apart is the same; :data:`PYMATGEN` and :data:`CDVAE` are the two
in use. :func:`first_alike` finds repeats, :func:`alike_in` finds what is known already.
"""

from __future__ import annotations

from crystalcodec.data.matching.cells import REFUSALS
from crystalcodec.data.matching.engine import Alike, alike_in, first_alike
from crystalcodec.data.matching.tolerances import CDVAE, PYMATGEN, MatchingError, Tolerances

__all__ = [
    "CDVAE",
    "PYMATGEN",
    "REFUSALS",
    "Alike",
    "MatchingError",
    "Tolerances",
    "alike_in",
    "first_alike",
]
