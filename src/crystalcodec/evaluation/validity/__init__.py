"""Validity of crystals: distances, volumes, cells and compositions.

As published by CDVAE (arXiv 2110.06197), with bounds from real crystals, and by SMACT's current
rules; ``docs/validity.md`` says what is known to be wrong with each.
"""

from crystalcodec.evaluation.validity.composition import (
    CompositionChecks,
    StateRules,
    check_compositions,
    current_rules,
    published_rules,
)
from crystalcodec.evaluation.validity.figures import measure
from crystalcodec.evaluation.validity.structure import (
    StructureChecks,
    check_structures,
    published_structure_validity,
)

__all__ = [
    "CompositionChecks",
    "StateRules",
    "StructureChecks",
    "check_compositions",
    "check_structures",
    "current_rules",
    "measure",
    "published_rules",
    "published_structure_validity",
]
