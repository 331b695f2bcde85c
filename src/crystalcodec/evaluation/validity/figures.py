"""The figures of validity, counted over all attempts."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from crystalcodec.evaluation.base import Attempts, Evidence, Figure
from crystalcodec.evaluation.validity.composition import (
    CompositionChecks,
    StateRules,
    check_compositions,
    current_rules,
    published_rules,
)
from crystalcodec.evaluation.validity.structure import (
    ANGLES,
    ASPECT,
    FILLING,
    LEAST_DISTANCE,
    LEAST_SEPARATION,
    LEAST_VOLUME,
    LENGTHS,
    SKEW,
    VOLUME_PER_ATOM,
    StructureChecks,
    check_structures,
)

__all__ = ["measure"]

Bools = npt.NDArray[np.bool_]

_CDVAE: Final = "CDVAE, arXiv 2110.06197"
_RADII: Final = "covalent radii of Cordero et al., 10.1039/b801115j"
_OVER_ALL: Final = "An attempt without a crystal is not valid."

_STRUCTURAL: Final = (
    f"No two different sites nearer than {LEAST_DISTANCE} Å at their nearest images (those of a "
    f"site itself are not looked at), volume of the cell at least {LEAST_VOLUME} Å³ ({_CDVAE})"
)
_COMPOSITIONAL: Final = (
    "One element, or metals only (SMACT's list, with Ge and Sb), or oxidation states (one for each "
    "element) that sum to zero with each cation less electronegative than each anion"
)
_SEPARATED: Final = (
    f"No two atoms, images of a site among them, nearer than {LEAST_SEPARATION} times the sum of "
    f"their {_RADII}"
)
_SIZED: Final = (
    f"Volume per atom {VOLUME_PER_ATOM[0]:g} to {VOLUME_PER_ATOM[1]:g} Å³, and spheres of the "
    f"{_RADII} together {FILLING[0]:g} to {FILLING[1]:g} times the volume of the cell"
)
_REGULAR: Final = (
    f"Vectors of the reduced cell {LENGTHS[0]:g} to {LENGTHS[1]:g} Å, the longest at most "
    f"{ASPECT:g} times the shortest; angles of the given cell {ANGLES[0]:g} to {ANGLES[1]:g}°, its "
    f"volume at least {SKEW:g} a b c"
)


def measure(evidence: Evidence) -> list[Figure]:
    """The figures of validity of all attempts; they need nothing but the attempts.

    Raises
    ------
    MissingExtraError
        If SMACT, whose current rules are one of the figures, is not installed.
    """
    attempts = evidence.attempts
    structures = check_structures(attempts.crystals)
    evidence.tell("structures judged", len(attempts.crystals), len(attempts.crystals))
    published = check_compositions(attempts.crystals, published_rules())
    rules = current_rules()
    current = check_compositions(attempts.crystals, rules)
    evidence.tell("compositions judged", len(attempts.crystals), len(attempts.crystals))
    return [
        *_published(attempts, structures, published),
        *_bounds(attempts, structures, current, rules),
        *_compositions(attempts, current, rules),
        *_numbers(attempts, structures),
    ]


def _share(
    attempts: Attempts, name: str, definition: str, hits: Bools, extra: dict[str, int] | None = None
) -> Figure:
    text = f"Share of attempts. {definition}. {_OVER_ALL}"
    values = attempts.spread(hits) > 0
    return Figure.share(name, text, values, failures=attempts.reasons(), extra=extra)


def _published(
    attempts: Attempts, structures: StructureChecks, compositions: CompositionChecks
) -> list[Figure]:
    composition = (
        f"{_COMPOSITIONAL}; oxidation states and electronegativities of SMACT 2.2.1 ({_CDVAE}), "
        "which knows no element beyond Lr; at an unknown electronegativity as its code decides"
    )
    both = structures.published & compositions.valid
    return [
        _share(attempts, "structural_validity", _STRUCTURAL, structures.published),
        _share(
            attempts,
            "composition_validity",
            composition,
            compositions.valid,
            _ways(compositions),
        ),
        _share(
            attempts,
            "validity",
            "Structural and composition validity. The published one also asks for a CrystalNN "
            f"fingerprint ({_CDVAE})",
            both,
        ),
    ]


def _bounds(
    attempts: Attempts, structures: StructureChecks, current: CompositionChecks, rules: StateRules
) -> list[Figure]:
    plausible = structures.separated & structures.sized & structures.regular
    return [
        _share(attempts, "separation_validity", _SEPARATED, structures.separated),
        _share(attempts, "volume_validity", _SIZED, structures.sized),
        _share(attempts, "lattice_validity", _REGULAR, structures.regular),
        _share(
            attempts,
            "plausible_structures",
            f"{_SEPARATED}. {_SIZED}. {_REGULAR}",
            plausible,
        ),
        _share(
            attempts,
            "plausibility",
            f"Plausible structure and composition validity by the rules of {rules.name}",
            plausible & current.valid,
        ),
    ]


def _compositions(
    attempts: Attempts, current: CompositionChecks, rules: StateRules
) -> list[Figure]:
    return [
        _share(
            attempts,
            "smact_validity",
            f"{_COMPOSITIONAL}; smact_validity of {rules.name} with its defaults: states found at "
            "least three times in the ICSD of 2024 (10.21105/joss.01361)",
            current.valid,
            _ways(current),
        ),
        _share(
            attempts,
            "charge_neutrality",
            "Oxidation states, one for each element, can sum to zero; states of "
            f"{rules.name}, no exception for one element or metals",
            current.neutral,
        ),
        _share(
            attempts,
            "electronegativity_order",
            "There can be cations and anions with each cation less electronegative than each "
            f"anion, whatever their charges sum to; states of {rules.name}, no exceptions",
            current.ordered,
        ),
    ]


def _ways(checks: CompositionChecks) -> dict[str, int]:
    """How those that pass do so."""
    single, metals = checks.single_element & checks.valid, checks.all_metal & checks.valid
    return {
        "as_single_element": int(single.sum()),
        "as_metals": int((metals & ~single).sum()),
        "by_oxidation_states": int((checks.valid & ~metals & ~single).sum()),
    }


def _numbers(attempts: Attempts, structures: StructureChecks) -> list[Figure]:
    def mean(name: str, definition: str, values: npt.NDArray[np.float64], unit: str) -> Figure:
        text = f"Mean over the crystals. {definition}. Attempts without a crystal are left out."
        spread = attempts.spread(values, fill=np.nan)
        return Figure.mean(name, text, spread, unit=unit, failures=attempts.reasons())

    shortest = structures.shortest
    return [
        mean("shortest_distance", "Between any two atoms, images too", shortest.of_all, "Å"),
        mean(
            "separation",
            f"Smallest distance, images too, over the sum of {_RADII}",
            shortest.over_radii,
            "",
        ),
        mean("volume_per_atom", "Volume over number of sites", structures.volumes_per_atom, "Å³"),
    ]
