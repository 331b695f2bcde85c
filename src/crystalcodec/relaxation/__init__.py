"""Relaxing crystals with interatomic potentials, and hulls of their energies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from crystalcodec.registry import lazy_attributes

if TYPE_CHECKING:
    from crystalcodec.relaxation.base import Evaluated as Evaluated
    from crystalcodec.relaxation.base import Potential as Potential
    from crystalcodec.relaxation.base import PotentialError as PotentialError
    from crystalcodec.relaxation.base import Relaxed as Relaxed
    from crystalcodec.relaxation.base import load_potential as load_potential
    from crystalcodec.relaxation.calculators import ASEPotential as ASEPotential
    from crystalcodec.relaxation.hull import Hull as Hull
    from crystalcodec.relaxation.relaxing import relax as relax

_HOMES: Final = {
    "ASEPotential": "calculators",
    "Evaluated": "base",
    "Hull": "hull",
    "Potential": "base",
    "PotentialError": "base",
    "Relaxed": "base",
    "load_potential": "base",
    "relax": "relaxing",
}

__all__ = list(_HOMES)

__getattr__, __dir__ = lazy_attributes(__name__, _HOMES)
