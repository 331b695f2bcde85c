"""Energies of the pure elements by the potentials, as the package carries them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from crystalcodec.registry import did_you_mean
from crystalcodec.relaxation.base import PotentialError

__all__ = ["ELEMENTAL_REFERENCES", "ElementalReference", "elemental_references", "how_made"]

ELEMENTAL_REFERENCES: Final = Path(__file__).with_name("elemental_references.json")


@dataclass(frozen=True)
class ElementalReference:
    """The lowest elemental crystal that was tried.

    Parameters
    ----------
    id
        Of the Materials Project.
    energy_per_atom
        eV/atom by the potential.
    relaxed
        Whether the potential relaxed it; if not, it is as the database holds it.
    n_tried
        Elemental crystals of this element that were compared.
    """

    id: str
    energy_per_atom: float
    relaxed: bool
    n_tried: int


@cache
def _tables() -> dict[str, Any]:
    tables: dict[str, Any] = json.loads(ELEMENTAL_REFERENCES.read_text(encoding="utf-8"))
    return tables


def elemental_references(potential: str) -> dict[str, ElementalReference]:
    """By symbol, in the order of the atomic numbers.

    Raises
    ------
    PotentialError
        If the package carries none for this potential.
    """
    known = _tables()["potentials"]
    if potential not in known:
        raise PotentialError(
            f"no elemental references of {potential!r}{did_you_mean(potential, known)}. Give a "
            "hull of your own, with crystals of the elements: Hull.of"
        )
    return {
        symbol: ElementalReference(one[0], one[1], one[2], one[3])
        for symbol, one in known[potential]["elements"].items()
    }


def how_made(potential: str) -> dict[str, Any]:
    """Versions, settings and source of the references of a potential."""
    tables = _tables()
    own = {**tables["potentials"][potential], "source": tables["source"]}
    del own["elements"]
    return own
