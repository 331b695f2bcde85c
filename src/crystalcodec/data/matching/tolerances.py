"""How far two descriptions of one crystal may differ."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Final

__all__ = ["CDVAE", "PYMATGEN", "MatchingError", "Tolerances"]


class MatchingError(ValueError):
    """Tolerances with which nothing can be compared."""


@dataclass(frozen=True)
class Tolerances:
    """Tolerances of pymatgen's ``StructureMatcher``.

    Parameters
    ----------
    ltol
        Of lengths of lattice vectors, as a fraction: each is between 1 / (1 + ltol) and 1 + ltol
        times that of the other crystal, both scaled to one volume.
    stol
        Of sites, as a fraction of the cube root of the volume of a site.
    angle_tol
        Of angles between lattice vectors, degrees.

    Raises
    ------
    MatchingError
        Unless each is a positive number.
    """

    ltol: float = 0.2
    stol: float = 0.3
    angle_tol: float = 5.0

    def __post_init__(self) -> None:
        for name, value in zip(("ltol", "stol", "angle_tol"), astuple(self), strict=True):
            if not 0 < value < float("inf"):
                raise MatchingError(f"{name} is {value}, wanted a positive number")

    def __str__(self) -> str:
        return f"ltol {self.ltol:g}, stol {self.stol:g}, angle_tol {self.angle_tol:g}"


PYMATGEN: Final = Tolerances()
"""The defaults of ``StructureMatcher``."""

CDVAE: Final = Tolerances(ltol=0.3, stol=0.5, angle_tol=10.0)
"""Those of the published evaluation of CDVAE (arXiv 2110.06197): half as strict."""
