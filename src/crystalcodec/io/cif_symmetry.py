"""Symmetry of a CIF: its operations, read or looked up, and the sites that they generate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np

from crystalcodec.io.cif_expansion import Operations
from crystalcodec.io.cif_values import CifError, Tags, is_null

__all__ = ["fits_formula", "operations_of"]

_OPERATION_TAGS: Final = (
    "_space_group_symop_operation_xyz",
    "_symmetry_equiv_pos_as_xyz",
    "_space_group_symop_operation_xyz_",
    "_symmetry_equiv_pos_as_xyz_",
)
_HALL_TAGS: Final = ("_space_group_name_hall", "_symmetry_space_group_name_hall")
_NAME_TAGS: Final = (
    "_space_group_name_h-m_alt",
    "_symmetry_space_group_name_h-m",
    "_symmetry_space_group_name_h-m_",
    "_symmetry_space_group_name_h_m",
    "_space_group_name_h-m",
    "_space_group_name_h-m_full",
)
_NUMBER_TAGS: Final = (
    "_space_group_it_number",
    "_symmetry_int_tables_number",
)
_IDENTITIES: Final = {"x,y,z", "+x,+y,+z"}


def operations_of(tags: Tags, angles: Sequence[float]) -> list[Operations | None]:
    """Symmetry operations of a block; None stands for the identity alone.

    Operations that the file lists are taken as they stand. Where it lists none they are looked
    up by Hall symbol, by Hermann-Mauguin symbol or by number; a symbol that leaves the choice of
    the origin open gives both choices, and the caller finds out which fits. A file that says
    nothing about symmetry lists all its sites, as the CIF dictionary has it.

    Parameters
    ----------
    tags
        The block by lower-case tag.
    angles
        alpha, beta, gamma in degrees: they tell hexagonal from rhombohedral axes.

    Raises
    ------
    CifError
        An operation or a space group that cannot be understood.
    """
    for tag in _OPERATION_TAGS:
        given = tags.get(tag)
        if given is None:
            continue
        listed = [given] if isinstance(given, str) else given
        if len(listed) == 1 and _bare(listed[0]) in _IDENTITIES:
            return [None]
        if not all(is_null(one) for one in listed):
            return [_listed(tuple(listed))]
    return _looked_up(tags, angles)


def _bare(value: str) -> str:
    return value.strip("'\" \t\r\n;").replace(" ", "").lower()


@lru_cache(maxsize=512)
def _listed(triplets: tuple[str, ...]) -> Operations:
    import gemmi

    operations = []
    for triplet in triplets:
        bare = _bare(triplet)
        try:
            if not set(bare) <= set("xyz0123456789+-*/.,"):
                raise ValueError("only x, y, z and numbers can stand in it")
            operation = gemmi.Op(bare)
        except (RuntimeError, ValueError) as error:
            raise CifError(
                "symmetry not understood", f"operation {triplet}: {error}", value=triplet
            ) from error
        if abs(operation.det_rot()) != operation.DEN**3:
            raise CifError(
                "symmetry not understood",
                f"operation {triplet} changes volumes, so it is no symmetry",
                value=triplet,
            )
        operations.append(operation)
    return _as_arrays(operations)


def _as_arrays(operations: Sequence[Any]) -> Operations:
    import gemmi

    scale = gemmi.Op.DEN
    rotations = np.array([one.rot for one in operations], np.float64) / scale
    translations = np.array([one.tran for one in operations], np.float64) / scale
    return Operations(rotations, translations)


def _looked_up(tags: Tags, angles: Sequence[float]) -> list[Operations | None]:
    for tag in _HALL_TAGS:
        hall = _single(tags, tag)
        if hall:
            found = _by_hall(hall.replace("_", " "))
            if found is not None:
                return [found]
    for tag in _NAME_TAGS:
        name = _single(tags, tag)
        if name:
            by_name = _by_name(name, float(angles[0]), float(angles[2]))
            if by_name:
                return list(by_name)
            raise CifError(
                "symmetry not understood",
                f"no operations listed, and {name!r} is no known space group: write the "
                "operations into the file",
                value=name,
            )
    for tag in _NUMBER_TAGS:
        number = _single(tags, tag)
        if number:
            return list(_by_number(number, float(angles[0]), float(angles[2])))
    return [None]


def _single(tags: Tags, tag: str) -> str:
    value = tags.get(tag, "")
    text = value if isinstance(value, str) else (value[0] if value else "")
    return "" if is_null(text) else text.strip("'\";\n\r ")


@lru_cache(maxsize=1024)
def _by_hall(hall: str) -> Operations | None:
    import gemmi

    try:
        return _as_arrays(list(gemmi.symops_from_hall(hall)))
    except (RuntimeError, ValueError):
        return None


@lru_cache(maxsize=1024)
def _by_name(name: str, alpha: float, gamma: float) -> tuple[Operations, ...]:
    import gemmi

    compact = "".join(name.replace("_", "").split())
    # ICSD's endings: S and Z for the first and the second choice of the origin.
    endings = {"S": ":1", "Z": ":2", "H": ":H", "R": ":R"}
    candidates = [name, compact]
    if len(compact) > 1 and compact[-1] in endings:
        candidates.append(compact[:-1].rstrip(":") + endings[compact[-1]])
    for candidate in candidates:
        group = gemmi.find_spacegroup_by_name(candidate, alpha, gamma)
        if group is not None:
            break
    else:
        return ()
    groups = [group]
    if group.ext in "12" and ":" not in candidate:
        groups.append(gemmi.find_spacegroup_by_name(f"{group.hm}:2"))
    return tuple(_as_arrays(list(one.operations())) for one in groups)


@lru_cache(maxsize=1024)
def _by_number(number: str, alpha: float, gamma: float) -> tuple[Operations, ...]:
    import gemmi

    group = gemmi.find_spacegroup_by_number(int(number)) if number.isdigit() else None
    if group is None:
        raise CifError(
            "symmetry not understood",
            f"no operations listed, and space group number {number!r} does not exist: wanted "
            "1 to 230",
            value=number,
        )
    return _by_name(group.hm, alpha, gamma)


def fits_formula(counts: Mapping[int, int], formula: Mapping[int, float]) -> bool:
    """Whether atoms counted in a cell stand in the ratio of a chemical formula.

    Both by atomic number; a formula's amounts may be rounded to a percent.
    """
    if counts.keys() != formula.keys():
        return False
    total, whole = sum(counts.values()), sum(formula.values())
    if all(count * whole == formula[z] * total for z, count in counts.items()):
        return True
    if all(float(amount).is_integer() for amount in formula.values()):
        return False
    return all(
        abs(counts[z] / total - formula[z] / whole) <= 0.01 * formula[z] / whole for z in counts
    )
