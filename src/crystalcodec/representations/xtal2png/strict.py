"""Strict reading of xtal2png pictures: only what encoding could have made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals, find_faults
from crystalcodec.geometry import lattices_from_cell_parameters
from crystalcodec.representations.base import Decoded, FailureNotes
from crystalcodec.representations.xtal2png.rounding import length_errors
from crystalcodec.representations.xtal2png.site_distances import reduce_skew, site_distances

if TYPE_CHECKING:
    from crystalcodec.representations.xtal2png.representation import Xtal2PNG

__all__ = ["assembled", "levels_of_numbers", "read_pictures", "spread"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_HEADER: Final = 12
_SINGLE: Final = (0, 10, 11)  # rows of whole numbers: one step for each
_WHOLE_STEP: Final = 0.03  # of a pixel's step, what float32 leaves at 16 bits
_SECOND_ORDER: Final = 1.2  # errors are bounded in first order
_AT_ONCE: Final = 64  # pictures whose float32 copy stays in the processor's cache
_ROW_NAMES: Final = (
    *("atomic number", "x", "y", "z", "a", "b", "c", "alpha", "beta", "gamma"),
    *("number of sites", "space group"),
)


def read_pictures(xtal2png: Xtal2PNG, array: npt.NDArray[Any]) -> Decoded:
    """Crystals of pictures (n, side, side) that an encoding could be, and why the rest is none."""
    notes = FailureNotes()
    levels = _whole_levels(xtal2png, array, notes)
    good = ~notes.mask(len(array))
    counts = _counts(xtal2png, levels)
    notes.add(good & (counts == 0), "no number of sites", "row 10 holds none at the first site")
    counts[notes.mask(len(array))] = 0
    cells = _read_cells(xtal2png, levels)
    lattices = closed_lattices(cells, np.flatnonzero(counts), len(array), notes)
    reduced, changes = reduce_skew(lattices)
    strains = length_errors(lattices, cells, xtal2png.cell_ranges[1] * xtal2png.resolution / 2)
    columns: dict[int, tuple[Ints, Ints, Floats, Floats]] = {}
    for sites in np.unique(counts[counts > 0]).tolist():
        index = np.flatnonzero(counts == sites)
        numbers, coords, apart = _read_size(xtal2png, levels, index, sites, notes)
        expected = site_distances(lattices[index], coords, (reduced[index], changes[index]))
        allowed = xtal2png.resolution * cells[index, :3].sum(axis=1)
        allowed = allowed[:, None, None] + strains[index, None, None] * expected
        _compare_distances(xtal2png, apart, expected, _SECOND_ORDER * allowed, index, notes)
        columns[sites] = (index, numbers, coords, lattices[index])
    return assembled(len(array), counts, columns, notes)


def assembled(
    n: int,
    counts: Ints,
    columns: dict[int, tuple[Ints, Ints, Floats, Floats]],
    notes: FailureNotes,
    confidence: Floats | None = None,
) -> Decoded:
    """One batch of what was read size by size, without what was noted.

    Parameters
    ----------
    n
        Number of pictures.
    counts : (n,)
        Number of sites of each.
    columns
        By number of sites: indices (k,), atomic numbers (k, s), coordinates (k, s, 3), and
        lattices (k, 3, 3).
    confidence : (n,)
        Of each picture.
    """
    kept = ~notes.mask(n)
    offsets = np.concatenate([[0], np.cumsum(np.where(kept, counts, 0))])
    lattices = np.zeros((n, 3, 3))
    numbers = np.zeros(offsets[-1], np.int64)
    frac_coords = np.zeros((offsets[-1], 3))
    for sites, (index, some_numbers, coords, cells) in columns.items():
        here = kept[index]
        places = offsets[index[here]][:, None] + np.arange(sites)
        lattices[index] = cells
        numbers[places] = some_numbers[here]
        frac_coords[places] = coords[here]
    crystals = Crystals(lattices[kept], frac_coords, numbers, np.r_[0, offsets[1:][kept]])
    return Decoded.of(
        n, crystals, notes.in_order(), None if confidence is None else confidence[kept]
    )


def levels_of_numbers(xtal2png: Xtal2PNG, low_high: tuple[int, int]) -> Ints:
    """The step of a pixel that stands for each whole number of a range."""
    low, high = low_high
    return np.rint(np.arange(high - low + 1) / (high - low) * xtal2png.whole).astype(np.int64)


def _whole_levels(
    xtal2png: Xtal2PNG, array: npt.NDArray[Any], notes: FailureNotes
) -> npt.NDArray[np.uint16]:
    """(n, side, side) steps of the pixels; 0 for pictures whose pixels are no such steps."""
    levels = np.zeros(array.shape, np.uint16)
    whole = xtal2png.whole
    low, high, off = np.zeros((3, len(array)))
    for start in range(0, len(array), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        with np.errstate(over="ignore", invalid="ignore"):
            steps = np.asarray(array[part], np.float32) * np.float32(whole)
            low[part], high[part] = steps.min(axis=(1, 2)), steps.max(axis=(1, 2))
            rounded = np.rint(steps)
            np.subtract(steps, rounded, out=steps)
            off[part] = np.abs(steps, out=steps).max(axis=(1, 2))
            fine = (low[part] >= -_WHOLE_STEP) & (high[part] <= whole + _WHOLE_STEP)
            if not fine.all():  # also what is not finite
                rounded[~fine] = 0
            levels[part] = rounded
    notes.add(~np.isfinite(low + high), "not finite", "the array holds NaN or infinity")
    notes.add(
        (low < -_WHOLE_STEP) | (high > whole + _WHOLE_STEP),
        "outside [0, 1]",
        lambda i: f"values from {low[i] / whole:g} to {high[i] / whole:g}; see from_pixels",
    )
    notes.add(
        off > _WHOLE_STEP,
        "between two steps",
        lambda i: (
            f"a value lies {off[i]:.2g} of a step of 1/{whole} off: for pictures with noise "
            "decode with decoder='robust'"
        ),
    )
    return levels


def _counts(xtal2png: Xtal2PNG, levels: npt.NDArray[np.uint16]) -> Ints:
    """(n,) the number of sites that the first site says, 0 where it is none."""
    table = np.zeros(xtal2png.whole + 1, np.int64)
    low, _ = xtal2png.n_sites_range
    numbers = np.arange(max(low, 1), xtal2png.max_sites + 1)
    table[levels_of_numbers(xtal2png, xtal2png.n_sites_range)[numbers - low]] = numbers
    return table[levels[:, 10, _HEADER]]


def _read_size(
    xtal2png: Xtal2PNG,
    levels: npt.NDArray[np.uint16],
    index: Ints,
    sites: int,
    notes: FailureNotes,
) -> tuple[Ints, Floats, Ints]:
    """Atomic numbers, coordinates and steps of distances of pictures of one number of sites."""
    n, end, masks = len(levels), _HEADER + sites, xtal2png.masks
    above = levels[index, :_HEADER, _HEADER:end].astype(np.int64)
    left = levels[index, _HEADER:end, :_HEADER].transpose(0, 2, 1).astype(np.int64)
    apart = levels[index, _HEADER:end, _HEADER:end].astype(np.int64)

    def note(found: Any, reason: str, detail: str) -> None:
        notes.add(spread(found, index, n), reason, detail)

    inside = sum(block.sum(axis=(1, 2)) for block in (above, left, apart))
    everything = levels[index].sum(axis=(1, 2), dtype=np.int64)
    note(
        inside != everything, "pixels beyond the sites", f"there are {sites} sites; 0 wanted there"
    )
    if "lower_tri" in masks:
        note(left.any(axis=(1, 2)), "pixels in a mask", "the lower triangle is not 0 (masks)")
        # The rows above hold the lower half of a number of two halves.
        left = above
    difference = left - above
    halves = xtal2png.bits == 16
    unequal = (difference < 0) | (difference > int(halves))
    unequal[:, _SINGLE] |= difference[:, _SINGLE] != 0
    note(unequal.any(axis=(1, 2)), "mirrored entries differ", "rows above, columns on the left")
    same = (above == above[:, :, :1]) & (left == left[:, :, :1])
    note(~same[:, 4:].all(axis=(1, 2)), "entries that repeat differ", _named(~same[:, 4:]))

    numbers = _known(xtal2png, above[:, 0], xtal2png.atomic_number_range)
    note((numbers < 0).any(axis=1), "no such element", "a pixel that is no atomic number's")
    if "space_group" in masks:
        note(above[:, 11].any(axis=1), "pixels in a mask", "the space group is not 0 (masks)")
    else:
        group = _known(xtal2png, above[:, 11, 0], xtal2png.space_group_range)
        wrong = (group < 1) | (group > 230)
        note(wrong, "no such space group", "a pixel that is no space group's")
    mean = (above[:, 1:4] + left[:, 1:4]) / (2 * xtal2png.whole)
    if "distance" in masks:
        note(apart.any(axis=(1, 2)), "pixels in a mask", "the distances are not 0 (masks)")
    elif "lower_tri" in masks:
        note(np.tril(apart, -1).any(axis=(1, 2)), "pixels in a mask", "the lower triangle is not 0")
        apart = np.triu(apart) + np.triu(apart, 1).transpose(0, 2, 1)
    return np.maximum(numbers, 1), np.ascontiguousarray(mean.transpose(0, 2, 1)), apart


def _read_cells(xtal2png: Xtal2PNG, levels: npt.NDArray[np.uint16]) -> Floats:
    """(n, 6) cell parameters that stand at the first site."""
    above = levels[:, 4:10, _HEADER].astype(float)
    left = above if "lower_tri" in xtal2png.masks else levels[:, _HEADER, 4:10]
    low, span = xtal2png.cell_ranges
    return np.asarray(low + span * ((above + left) / (2 * xtal2png.whole)), float)


def closed_lattices(cells: Floats, index: Ints, n: int, notes: FailureNotes) -> Floats:
    """(n, 3, 3) lattices of these indices, unit cubes elsewhere.

    Where cell parameters (n, 6) close no cell that is noted.
    """
    lattices = np.broadcast_to(np.eye(3), (n, 3, 3)).copy()
    lattices[index] = lattices_from_cell_parameters(cells[index])
    one = np.ones(n, np.int64)
    flat = [fault.index for fault in find_faults(lattices, np.zeros((n, 3)), one, np.arange(n + 1))]
    lattices[flat] = np.eye(3)
    found = np.zeros(n, bool)
    found[flat] = True
    notes.add(found, "lattice closes no cell", "lengths and angles of no cell")
    return lattices


def _known(xtal2png: Xtal2PNG, levels: Ints, low_high: tuple[int, int]) -> Ints:
    """The whole number that each step stands for, -1 where it stands for none."""
    table = np.full(xtal2png.whole + 1, -1)
    known = levels_of_numbers(xtal2png, low_high)
    table[known] = low_high[0] + np.arange(len(known))
    return np.asarray(table[levels], np.int64)


def _compare_distances(
    xtal2png: Xtal2PNG,
    apart: Ints,
    expected: Floats,
    allowed: Floats,
    index: Ints,
    notes: FailureNotes,
) -> None:
    """Note pictures whose distances no crystal of these rounded coordinates can have."""
    if "distance" in xtal2png.masks:
        return
    n = int(index.max(initial=-1)) + 1
    lopsided = np.asarray((apart != apart.transpose(0, 2, 1)).any(axis=(1, 2)), bool)
    detail = "the distances are not symmetric"
    notes.add(spread(lopsided, index, n), "mirrored entries differ", detail)
    step = xtal2png.distance_range[1] / xtal2png.whole
    off = np.abs(apart * step - expected) - 0.51 * step
    wrong = np.asarray((off > allowed).any(axis=(1, 2)), bool)
    wrong |= np.diagonal(apart, axis1=1, axis2=2).any(axis=1)
    notes.add(
        spread(wrong, index, n),
        "distances contradict coordinates",
        "they are further off than the rounding of the pixels allows",
    )


def _named(found: Bools) -> str:
    """Which of the rows from 4 on differ in any of the pictures."""
    rows = np.flatnonzero(found.any(axis=(0, 2))) + 4
    return ", ".join(_ROW_NAMES[row] for row in rows.tolist())


def spread(found: Bools, index: Ints, n: int) -> Bools:
    """A mask over the whole batch from one over some of it."""
    mask = np.zeros(n, bool)
    mask[index[found]] = True
    return mask
