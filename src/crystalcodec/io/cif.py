"""CIF texts to crystals, strictly and fast.

gemmi takes the text apart; every check is made here. Where a text is against the grammar of CIF,
pymatgen's forgiving tokenizer has a second try, and the same checks follow.

A crystal comes out as the file says it: sites in the order of the file, for each the images under
the operations in their order, coordinates with all the digits written and no others. In
particular 0.33333 stays 0.33333: images of one site that fall together within 0.05 Å are one atom,
so that few digits do not multiply the atoms on special positions, and no coordinate needs to be
moved to 1/3 (pymatgen's reader moves coordinates within 1e-4 of 1/3 and 2/3, up to 7e-5, in
files without symmetry as well). Sites of occupancy 0 hold no atom and are left out. The cell is
put in pymatgen's orientation. Anisotropic displacements, charges, names of the sites and the
space group have no place in crystals and are left behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.elements import SYMBOLS, reduced_formula
from crystalcodec.io.cif_blocks import (
    AXES,
    CELL,
    blocks_of,
    column,
    line_of,
    line_of_complaint,
)
from crystalcodec.io.cif_expansion import Operations, expand
from crystalcodec.io.cif_symmetry import fits_formula, operations_of
from crystalcodec.io.cif_values import (
    CifError,
    Tags,
    formula_of,
    is_null,
    number,
    number_of_label,
    number_of_symbol,
)
from crystalcodec.io.loaded import MIN_DISTANCE, Loaded, Records

__all__ = ["add_cif", "read_cif_texts"]

Floats = npt.NDArray[np.float64]

_MAGNETIC: Final = ("_space_group_magn", "_atom_site_moment", "_space_group_symop_magn")
_MODULATED: Final = ("_cell_modulation", "_cell_wave_vector", "_space_group_ssg")
_ONES: Final = frozenset(("1", "1.0", "1.00", "1.000", "1.0000"))
# How far an occupancy may be off from 1: the rounding of float64.
_FULL: Final = 1e-6


def read_cif_texts(
    texts: Sequence[str],
    ids: Sequence[str] | None = None,
    *,
    min_distance: float = MIN_DISTANCE,
) -> Loaded:
    """Crystals of CIF texts, as tables hold them.

    Parameters
    ----------
    texts
        One CIF each; a text of several data blocks gives several crystals.
    ids
        One a text; without them the name of the data block.
    min_distance
        Å; a crystal with two atoms closer than this is a failure. 0: no such check.

    Returns
    -------
    Loaded
        The index of a failure is the position of its text; partial occupancy, unknown species,
        isotopes, implicit hydrogen, magnetic and modulated structures, dummies, atoms on top of
        each other, and a formula that the sites contradict are refused by name.

    Examples
    --------
    >>> text = '''data_cscl
    ... _cell_length_a 4.123(1)
    ... _cell_length_b 4.123(1)
    ... _cell_length_c 4.123(1)
    ... _cell_angle_alpha 90
    ... _cell_angle_beta 90
    ... _cell_angle_gamma 90
    ... loop_
    ... _atom_site_type_symbol
    ... _atom_site_fract_x
    ... _atom_site_fract_y
    ... _atom_site_fract_z
    ... Cs 0 0 0
    ... Cl 0.5 0.5 0.5'''
    >>> read_cif_texts([text, "data_cut off"]).crystals
    Crystals(n=1, n_sites_total=2: CsCl)
    """
    names: Sequence[str | None] = [None] * len(texts) if ids is None else ids
    if len(names) != len(texts):
        raise ValueError(f"{len(names)} ids for {len(texts)} texts: one a text is wanted")
    records = Records()
    for i, (text, name) in enumerate(zip(texts, names, strict=True)):
        add_cif(records, text, index=i, name=name, source="" if name is None else name)
    return records.finish(min_distance)


def add_cif(
    records: Records,
    text: str,
    *,
    index: int | None,
    name: str | None,
    source: str,
    properties: dict[str, Any] | None = None,
) -> None:
    """Add the crystals of one CIF text to records, and a failure for each faulty block.

    Parameters
    ----------
    records
        Where they go.
    text
        The CIF.
    index
        Of the text among its like; None: blocks are counted from 0.
    name
        Id of the crystal, to which a block name is added where there are several; None: the
        block name.
    source, properties
        Kept with each crystal.
    """
    before = len(records)
    try:
        blocks = [*blocks_of(text)]
    except CifError as error:
        line = line_of_complaint(error.value)
        records.fail(error.reason, error.detail, index=index or 0, source=source, line=line)
        return
    for block, tags in blocks:
        position = index if index is not None else len(records) - before
        own = name or block
        if name is not None and len(blocks) > 1:
            own = f"{name}/{block}"
        try:
            cell, coords, numbers = _crystal(tags)
        except Exception as unforeseen:
            told = _as_cif_error(unforeseen)
            detail = told.detail + (f" (block {block})" if len(blocks) > 1 else "")
            line = line_of(text, block, told)
            records.fail(told.reason, detail, index=position, source=source, line=line)
            continue
        records.add(
            cell, coords, numbers, index=position, name=own, source=source, properties=properties
        )
    if not blocks:
        detail = "no data block with a cell and atom sites" if text.strip() else "nothing in it"
        records.fail("no crystal in file", detail, index=index or 0, source=source)


@lru_cache(maxsize=65536)
def _is_refused(tag: str) -> bool:
    return tag.startswith(_MAGNETIC + _MODULATED)


def _as_cif_error(error: Exception) -> CifError:
    """The error itself, or what is said where it was not thought of: it stops no other text."""
    if isinstance(error, CifError):
        return error
    detail = f"{type(error).__name__}: {error}: not foreseen, please report it with the file"
    return CifError("reader error", detail)


def _crystal(tags: Tags) -> tuple[Sequence[float], list[float] | Floats, list[int]]:
    """Cell parameters, coordinates (a flat list or an array) and atomic numbers of a block."""
    if any(map(_is_refused, tags)):
        tag = next(filter(_is_refused, tags))
        kind = "magnetic" if tag.startswith(_MAGNETIC) else "modulated"
        raise CifError(
            f"{kind} structure",
            f"{tag} is given, and crystals here hold no {kind} order: give the nuclear structure "
            "in its own cell, without these tags",
            tag=tag,
        )
    cell = _cell(tags)
    numbers, coords = _sites(tags)
    formula = _formula(tags)
    choices = operations_of(tags, cell[3:])
    if choices[0] is None:
        _check_formula(numbers, formula)
        return cell, coords, numbers
    return cell, *_expanded(numbers, coords, choices, cell, formula)


@np.errstate(all="ignore")
def _expanded(
    numbers: list[int],
    coords: list[float],
    choices: list[Operations | None],
    cell: Sequence[float],
    formula: dict[int, float] | None,
) -> tuple[Floats, list[int]]:
    """Sites under the operations; of two choices of the origin, those of the one that fits."""
    listed = np.array(coords).reshape(-1, 3)
    if not np.isfinite(listed).all():
        raise CifError("coordinates not finite", "a coordinate is not a finite number")
    fitting: list[tuple[Floats, list[int]]] = []
    mismatch: CifError | None = None
    for operations in choices:
        if operations is None:
            images, owners = listed, np.arange(len(listed))
        else:
            images, owners = expand(listed, operations, cell)
        species = np.array(numbers)[owners].tolist()
        try:
            _check_formula(species, formula)
        except CifError as error:
            mismatch = error
        else:
            fitting.append((images, species))
    if len(fitting) == 1:
        return fitting[0]
    if mismatch is not None:
        raise mismatch
    raise CifError(
        "symmetry not understood",
        "the space group is given by a name that leaves two choices of the origin, and both fit: "
        "add :1 or :2 to the name, or write the operations into the file",
    )


def _cell(tags: Tags) -> tuple[float, ...]:
    cell = []
    for tag in CELL:
        values = column(tags, tag)
        if len(values) != 1:
            raise CifError("no cell", f"{tag} is missing or given more than once", tag=tag)
        try:
            parsed = number(values[0])
        except ValueError as error:
            raise CifError("no cell", f"{tag}: {error}", tag=tag) from error
        if parsed is None:
            raise CifError("no cell", f"{tag} is {values[0]}: give its value", tag=tag)
        cell.append(parsed)
    return tuple(cell)


def _sites(tags: Tags) -> tuple[list[int], list[float]]:
    """Atomic numbers and coordinates of the listed sites that hold an atom."""
    columns = {tag: column(tags, tag) for tag in AXES}
    species_tag = "_atom_site_type_symbol"
    species = column(tags, species_tag)
    if not species:
        species_tag = "_atom_site_label"
        species = column(tags, species_tag)
    n = len(species)
    if not n:
        raise CifError(
            "no atom sites", "no _atom_site_type_symbol and no _atom_site_label: add the sites"
        )
    for tag, values in columns.items():
        if len(values) != n:
            cartesian = "_atom_site_cartn_x" in tags
            hint = "Cartesian coordinates only: convert them" if cartesian else "add it"
            raise CifError("no coordinates", f"{len(values)} values of {tag} for {n} sites: {hint}")
    kept = _occupied(tags, n)
    _refuse_unplaced(tags, n)
    numbers = _numbers(species, species_tag, kept, tags)
    coords = _coordinates([columns[tag] for tag in AXES], kept)
    return numbers, coords


def _occupied(tags: Tags, n: int) -> list[int] | None:
    """Rows of sites that hold one whole atom; None for all. Partial occupancy is refused."""
    occupancies = column(tags, "_atom_site_occupancy")
    if _ONES.issuperset(occupancies):
        return None
    kept = []
    for row, value in enumerate(occupancies):
        try:
            occupancy = number(value)
        except ValueError as error:
            tag = "_atom_site_occupancy"
            raise _at("occupancy not understood", str(error), tag, row, tags) from error
        if occupancy is None or abs(occupancy - 1) <= _FULL:
            kept.append(row)
        elif occupancy != 0:
            raise _at(
                "partial occupancy",
                f"occupancy {value}, and a site here holds exactly one atom: order the "
                "structure first, for example with pymatgen's "
                "OrderDisorderedStructureTransformation",
                "_atom_site_occupancy",
                row,
                tags,
            )
    if not kept:
        raise CifError("no atom sites", "all occupancies are 0")
    return kept if len(kept) < n else None


def _refuse_unplaced(tags: Tags, n: int) -> None:
    """Refuse hydrogen that is attached but has no site, and sites that are dummies."""
    attached, flag = "_atom_site_attached_hydrogens", "_atom_site_calc_flag"
    if attached in tags:
        for row, value in enumerate(column(tags, attached)):
            if not is_null(value) and value.strip() not in ("0", "0.0"):
                detail = f"{value} hydrogens attached that have no coordinates: add their sites"
                raise _at("implicit hydrogen", detail, attached, row, tags)
    if flag in tags:
        for row, value in enumerate(column(tags, flag)[:n]):
            if value.strip("'\" ").lower() == "dum":
                raise _at("unknown species", "a dummy site: take it out", flag, row, tags)


def _numbers(species: list[str], tag: str, kept: list[int] | None, tags: Tags) -> list[int]:
    wanted = species if kept is None else [species[row] for row in kept]
    try:
        if tag == "_atom_site_type_symbol":
            return [number_of_symbol(value) for value in wanted]
        formula = _formula(tags) or {}
        return [number_of_label(value, formula.keys()) for value in wanted]
    except CifError as error:
        row = species.index(error.value) if error.value in species else 0
        raise _at(error.reason, error.detail, tag, row, tags) from error


def _coordinates(axes: list[list[str]], kept: list[int] | None) -> list[float]:
    """All coordinates in one list: x, y, z of the first site, then of the next."""
    if kept is not None:
        axes = [[axis[row] for row in kept] for axis in axes]
    coords = [0.0] * (3 * len(axes[0]))
    for i, axis in enumerate(axes):
        try:
            if "_" in "".join(axis):
                raise ValueError("Python takes 1_000 for a number")
            coords[i::3] = map(float, axis)
        except ValueError:
            coords[i::3] = _axis(axis, AXES[i])
    return coords


def _axis(values: list[str], tag: str) -> list[float]:
    coords = []
    for row, value in enumerate(values):
        try:
            # A dot stands for the default, which the CIF dictionary sets to 0.
            parsed = 0.0 if value == "." else number(value)
        except ValueError as error:
            raise CifError("no coordinates", str(error), tag=tag, row=row) from error
        if parsed is None:
            raise CifError(
                "no coordinates",
                f"{tag} of site {row} is {value}: give it, or take the site out",
                tag=tag,
                row=row,
            )
        coords.append(parsed)
    return coords


def _at(reason: str, detail: str, tag: str, row: int, tags: Tags) -> CifError:
    """An error that names the site by its label."""
    labels = column(tags, "_atom_site_label")
    name = f"site {row}" + (f" ({labels[row]})" if row < len(labels) else "")
    return CifError(reason, f"{name}: {detail}", tag=tag, row=row)


def _formula(tags: Tags) -> dict[int, float] | None:
    value = tags.get("_chemical_formula_sum", "")
    return formula_of(value) if isinstance(value, str) else None


def _check_formula(numbers: list[int], formula: dict[int, float] | None) -> None:
    """Refuse sites that are not those of the formula: atoms are missing, or too many."""
    if formula is None:
        return
    counts = {z: numbers.count(z) for z in set(numbers)}
    if fits_formula(counts, formula):
        return
    found = reduced_formula(counts)
    told = " ".join(f"{SYMBOLS[z]}{amount:g}" for z, amount in formula.items())
    missing = [SYMBOLS[z] for z in formula if z not in counts]
    if missing:
        raise CifError(
            "atoms missing",
            f"the formula is {told}, but no site holds {', '.join(missing)}: add the sites, or "
            "correct _chemical_formula_sum",
            tag="_chemical_formula_sum",
        )
    raise CifError(
        "formula contradicts sites",
        f"the formula is {told}, but the sites make {found}: check the sites and the symmetry "
        "operations, or correct _chemical_formula_sum",
        tag="_chemical_formula_sum",
    )
