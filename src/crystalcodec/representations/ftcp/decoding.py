"""The two ways from an FTCP array back to a crystal: its real-space half, or all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals, find_faults
from crystalcodec.geometry import lattices_from_cell_parameters
from crystalcodec.representations.base import Decoded, FailureNotes
from crystalcodec.representations.ftcp.reciprocal import (
    LAST_WITH_PROPERTIES,
    PROPERTIES,
    reciprocal_metrics,
    reciprocal_points,
    squared_lengths,
)

if TYPE_CHECKING:
    from crystalcodec.representations.ftcp.representation import FTCP

__all__ = ["decode_directly", "decode_robustly"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

# How large a row's numbers get where no training crystals say it, as in MP-20: 1/Å, the sums, and
# Å and degrees.
_NOMINAL: Final = {"E": 1.0, "C": 1.0, "O": 1.0, "K": 1.3, "P": 160.0}
_LENGTH, _ANGLE = 45.0, 170.0
_LARGEST_DEVIATION: Final = 0.25  # noise has 0.13 at 32/255; a picture of even noise has 0.58
_LEAST_AGREEMENT: Final = 0.6  # mean of the entries that should be 1, in E and in O
_HUGE: Final = 1e12
_STEPS: Final = 10  # of Gauss and Newton on the cell; noisy starts need most of them
_BELOW_ONE: Final = 1 - 2.0**-24  # the last float32 before 1
_SHIFT: Final = 1e-4  # Å and degrees, for the derivatives of k lengths


def decode_directly(ftcp: FTCP, array: npt.NDArray[Any]) -> Decoded:
    """Read the real-space half, and below a tolerance of 0.5 ask that all else agrees with it."""
    rows, tolerance = ftcp.blocks, ftcp.tolerance
    notes = FailureNotes()
    array = _finite(array, notes)
    low, scale = (values[:, None] for values in ftcp.row_scales)
    left = array[:, :, : ftcp.n_columns] * scale + low
    element_of, none, unclear = _hot(left[:, rows["E"]], 1, tolerance)
    column_of, empty, unclear_site = _hot(left[:, rows["O"]], 2, tolerance)
    notes.add(empty.all(axis=1), "no occupied site", "no entry of block O is 1")
    notes.add(unclear_site.any(axis=1), "occupancy undecided", _undecided("O", tolerance))
    notes.add(unclear.any(axis=1), "element undecided", _undecided("E", tolerance))
    unknown = ~empty & np.take_along_axis(none, column_of, axis=1)
    notes.add(unknown.any(axis=1), "site without element", "its column of block E has no entry 1")
    numbers = np.take_along_axis(element_of + 1, column_of, axis=1)
    parameters = left[:, rows["L"], :3].reshape(-1, 6)
    crystals, places = _crystals(parameters, left[:, rows["C"], :3], numbers, ~empty, notes)
    if tolerance < 0.5:
        details = _disagreements(ftcp, crystals, array[places])
        wrong = np.zeros(len(array), bool)
        wrong[places[[*details]]] = True
        texts = {int(places[j]): text for j, text in details.items()}
        notes.add(wrong, "not self-consistent", texts.__getitem__)
        crystals = crystals[~wrong[places]]
    return Decoded.of(len(array), crystals, notes.in_order())


def _hot(block: Floats, axis: int, tolerance: float) -> tuple[Ints, Bools, Bools]:
    """Position of the hot entry along an axis, whether there is none, whether it is unclear."""
    hot = block >= 1 - tolerance
    none = np.asarray(~hot.any(axis=axis))
    if tolerance >= 0.5:
        return block.argmax(axis=axis), none, np.zeros_like(none)
    unclear: Bools = ~(hot | (np.abs(block) <= tolerance)).all(axis=axis) | (hot.sum(axis=axis) > 1)
    return block.argmax(axis=axis), none, unclear


def _undecided(block: str, tolerance: float) -> str:
    return (
        f"block {block} has an entry further than {tolerance:g} from 0 and 1, or two entries 1 "
        "where one belongs; for generated arrays decode with decoder='robust' or tolerance=0.5"
    )


def _disagreements(ftcp: FTCP, crystals: Crystals, array: npt.NDArray[Any]) -> dict[int, str]:
    """By position, the first entry that the encoding of the crystal would not have."""
    encoded = ftcp.encode(crystals)
    again = np.full_like(array, np.nan)
    again[encoded.index] = encoded[ftcp.name]
    difference = np.abs(array - again)
    coords = difference[:, ftcp.blocks["C"], :3]
    period = 1.0 / ftcp.row_scales[1][ftcp.blocks["C"], None]
    np.minimum(coords, np.abs(period - coords), out=coords)
    np.abs(again, out=again)
    np.maximum(again, 1.0, out=again)
    again *= ftcp.tolerance
    wrong = np.flatnonzero(~(difference <= again).all(axis=(1, 2)))
    details = {}
    for j in wrong.tolist():
        row, column = np.argwhere(~(difference[j] <= again[j]))[0].tolist()
        got = array[j, row, column]
        details[j] = (
            f"row {row}, column {column} holds {got:g}, which is {difference[j, row, column]:g} "
            "from what the crystal that it decodes to has there"
        )
    return details


def decode_robustly(ftcp: FTCP, array: npt.NDArray[Any]) -> Decoded:
    """Weigh all that the array says, then ask that the crystal explains it."""
    rows, width = ftcp.blocks, ftcp.n_columns
    notes = FailureNotes()
    low, scale = (values[:, None] for values in ftcp.row_scales)
    array = _finite(array, notes) * scale + low
    weights = 1.0 / _ranges(ftcp)
    sites, column_of = _sites(array[:, rows["O"], :width])
    elements = _elements(array[:, :, :width], rows, weights)
    numbers = np.take_along_axis(elements, column_of, axis=1)
    parameters = _cell(array[:, :, width:], array[:, rows["L"], :3].reshape(-1, 6), rows, weights)
    decided = (sites, column_of, elements)
    coords = _coordinates(ftcp, array, parameters, decided, weights)
    crystals, places = _crystals(parameters, coords, numbers, sites, notes)
    deviation, agreement = _residuals(ftcp, crystals, array[places], column_of[places], weights)
    agreed = (agreement - _LEAST_AGREEMENT) / (1 - _LEAST_AGREEMENT)
    confidence = np.minimum(1 - deviation / _LARGEST_DEVIATION, agreed)
    wrong = np.zeros(len(array), bool)
    wrong[places] = ~(confidence >= 0)
    position = {int(place): j for j, place in enumerate(places)}
    notes.add(
        wrong,
        "not self-consistent",
        lambda i: (
            f"the array is {deviation[position[i]]:.2g} from the encoding of the best crystal, at "
            f"most {_LARGEST_DEVIATION} wanted, or its ones are {agreement[position[i]]:.2g} on "
            f"average, at least {_LEAST_AGREEMENT} wanted"
        ),
    )
    kept = ~wrong[places]
    return Decoded.of(len(array), crystals[kept], notes.in_order(), confidence[kept])


def _ranges(ftcp: FTCP) -> Floats:
    """(n_rows,) how large the numbers of each row get."""
    if ftcp.row_ranges is not None:
        return ftcp.row_scales[1]
    ranges = np.ones(ftcp.n_rows)
    for block, size in _NOMINAL.items():
        ranges[ftcp.blocks[block]] = size
    ranges[ftcp.blocks["L"]] = _LENGTH, _ANGLE
    return ranges


def _sites(block: Floats) -> tuple[Bools, Ints]:
    """(n, max_sites) which sites there are and the column of each.

    Sites fill the first rows, so that their number is the one whose rows are nearest to one-hot
    rows, and the others to zero, in the sum of squares.
    """
    gain = np.cumsum(2 * block.max(axis=2) - 1, axis=1)
    n_sites = gain.argmax(axis=1) + 1
    return np.arange(block.shape[1]) < n_sites[:, None], block.argmax(axis=2)


def _elements(left: Floats, rows: dict[str, slice], weights: Floats) -> Ints:
    """(n, width) atomic number of each column: the nearest of all pairs of one-hot and properties.

    Both halves of the pair are whole numbers 0 and 1, whatever the sums beside them measure.
    """
    n_elements = min(rows["E"].stop, LAST_WITH_PROPERTIES)
    table = PROPERTIES[1 : n_elements + 1].astype(float)
    one_hot = left[:, :n_elements] * weights[:n_elements, None] ** 2
    properties = left[:, rows["P"]] * weights[rows["P"], None] ** 2
    squares = weights[:n_elements] ** 2 + table @ weights[rows["P"]] ** 2
    score = 2 * (one_hot + np.einsum("zp,npc->nzc", table, properties)) - squares[:, None]
    return np.asarray(score.argmax(axis=1) + 1)


def _cell(right: Floats, given: Floats, rows: dict[str, slice], weights: Floats) -> Floats:
    """(n, 6) cell parameters nearest to those given and to the lengths of k together.

    Gauss-Newton steps, with the points that belong to the cell found anew at each.
    """
    lengths = right[:, rows["K"].start]
    own = np.repeat(weights[rows["L"]], 3)
    k_weight = weights[rows["K"].start]
    parameters = _closing(given)
    for _ in range(_STEPS):
        hkl, wanted, found = reciprocal_points(parameters)
        slopes = np.stack(
            [(_k_lengths(parameters + s, hkl) - wanted) / s.max() for s in np.eye(6) * _SHIFT],
            axis=2,
        )
        usable = found & np.isfinite(slopes).all(axis=(1, 2))
        slopes[~usable] = 0.0
        misfit = np.where(usable[:, None], lengths - wanted, 0.0)
        normal = k_weight**2 * np.einsum("nka,nkb->nab", slopes, slopes) + np.diag(own**2)
        force = k_weight**2 * np.einsum("nka,nk->na", slopes, misfit)
        force += own**2 * (given - parameters)
        step = np.linalg.solve(normal, force[..., None])[..., 0]
        # A step never halves or doubles a length, nor turns an angle by more than 20 degrees.
        bound = np.concatenate([parameters[:, :3] / 3, np.full((len(step), 3), 20.0)], axis=1)
        largest = np.max(np.abs(step) / bound, axis=1, initial=1.0)
        parameters = _closing(parameters + step / largest[:, None])
    return parameters


def _closing(parameters: Floats) -> Floats:
    """Parameters that close a cell, for a start: angles drawn towards 90, lengths from 1 Å."""
    parameters = parameters.copy()
    parameters[:, :3] = np.clip(parameters[:, :3], 1.0, 1e6)
    parameters[:, 3:] = np.clip(parameters[:, 3:], 0.01, 179.99)
    for _ in range(20):
        flat = ~np.isfinite(reciprocal_metrics(parameters)).all(axis=1)
        if not flat.any():
            break
        parameters[flat, 3:] = 90.0 + 0.8 * (parameters[flat, 3:] - 90.0)
    return parameters


def _k_lengths(parameters: Floats, hkl: Floats) -> Floats:
    with np.errstate(invalid="ignore"):
        return np.asarray(np.sqrt(squared_lengths(reciprocal_metrics(parameters), hkl)), float)


def _coordinates(
    ftcp: FTCP,
    array: Floats,
    parameters: Floats,
    decided: tuple[Bools, Ints, Ints],
    weights: Floats,
) -> Floats:
    """(n, max_sites, 3) coordinates, moved so that their sums fit the reciprocal half, too.

    The sums of property times pi k·r are linear in the sum of coordinates of each element. These
    are fitted to both halves, and each site of the element takes its share of the difference.
    """
    sites, column_of, elements = decided
    rows, width = ftcp.blocks, ftcp.n_columns
    given = array[:, rows["C"], :3]
    member = sites[:, :, None] & (column_of[:, :, None] == np.arange(width))
    n_members = member.sum(axis=1)
    sums = np.einsum("nsc,nsx->ncx", member, given)
    hkl, _, found = reciprocal_points(parameters)
    table = PROPERTIES[elements] * (n_members > 0)[:, :, None] * weights[rows["P"]]
    measured = array[:, rows["P"], width:] * weights[rows["P"], None] / np.pi
    measured = np.einsum("ncp,npk,nkx->ncx", table, measured, hkl, optimize=True)
    moments = np.einsum("nkx,nky->nxy", hkl, hkl)
    overlaps = np.einsum("ncp,ndp->ncd", table, table)
    misfit = np.pi**2 * (measured - np.einsum("ncd,ndx,nxy->ncy", overlaps, sums, moments))
    normal = np.pi**2 * np.einsum("ncd,nxy->ncxdy", overlaps, moments)
    normal = normal.reshape(-1, 3 * width, 3 * width)
    diagonal = np.repeat(weights[rows["C"].start] ** 2 / np.maximum(n_members, 1), 3, axis=1)
    normal[:, range(3 * width), range(3 * width)] += diagonal
    step = np.linalg.solve(normal, misfit.reshape(-1, 3 * width, 1)).reshape(-1, width, 3)
    step *= (found[:, None] & (n_members > 0))[..., None] / np.maximum(n_members, 1)[..., None]
    fitted = given + np.einsum("nsc,ncx->nsx", member, step)
    # Encoded coordinates lie in [0, 1): one just below 0 is 0, and not the next cell's 0.99.
    return np.asarray(np.clip(fitted, 0.0, _BELOW_ONE), float)


def _residuals(
    ftcp: FTCP, crystals: Crystals, array: Floats, column_of: Ints, weights: Floats
) -> tuple[Floats, Floats]:
    """(n,) root mean square deviation from the encoding, (n,) mean where E and O have ones.

    The deviation is that of the block where it is largest, so that few numbers cannot hide among
    many zeros. Small blocks scatter: each is taken as what it is above by two standard deviations
    of a root mean square of its size. The ones of P are not asked:
    their rows hold sums, too, so that scaled noise drowns them.
    """
    rows, width = ftcp.blocks, ftcp.n_columns
    deviation, agreement = np.full(len(array), np.inf), np.zeros(len(array))
    encoded = ftcp.encode(crystals)
    low, scale = (values[:, None] for values in ftcp.row_scales)
    again = encoded[ftcp.name].astype(float) * scale + low
    array = array[encoded.index]
    difference = (array - again) * weights[:, None]
    coords = difference[:, rows["C"], :3]
    coords -= np.rint(coords * _ranges(ftcp)[rows["C"], None]) * weights[rows["C"], None]
    left, right = difference[:, :, :width], difference[:, :, width:]
    parts = [left[:, rows[block]] for block in "ECO"]
    parts += [left[:, rows["L"], :3], right[:, rows["K"]], right[:, rows["P"]], difference]
    levels = (
        [np.sqrt((part**2).mean(axis=(1, 2))) / (1 + np.sqrt(2 / part[0].size)) for part in parts]
        if len(array)
        else [np.zeros(0)]
    )
    deviation[encoded.index] = np.max(levels, axis=0)
    least = np.full(len(array), np.inf)
    for block in ("E", "O"):
        ones, values = again[:, rows[block], :width] > 0.5, array[:, rows[block], :width]
        mean = (values * ones).sum(axis=(1, 2)) / np.maximum(ones.sum(axis=(1, 2)), 1)
        least = np.minimum(least, mean)
    # Columns that are not in the order of their first sites, or two of one element, are no FTCP.
    occupied = again[:, rows["O"], :width] > 0.5
    moved = occupied.any(axis=2) & (occupied.argmax(axis=2) != column_of[encoded.index])
    agreement[encoded.index] = np.where(moved.any(axis=1), 0.0, least)
    return deviation, agreement


def _finite(array: npt.NDArray[Any], notes: FailureNotes) -> npt.NDArray[Any]:
    """The array with zeros where it is not finite, or too large to be squared: these are noted."""
    finite = (np.abs(array) < _HUGE).all(axis=(1, 2))
    notes.add(~finite, "not finite", f"it holds NaN, infinity or a number above {_HUGE:g}")
    return array if finite.all() else np.where(finite[:, None, None], array, 0.0)


def _crystals(
    parameters: Floats, coords: Floats, numbers: Ints, sites: Bools, notes: FailureNotes
) -> tuple[Crystals, Ints]:
    """The crystals of arrays without a fault so far, and their positions; flat cells are noted."""
    lattices = lattices_from_cell_parameters(parameters)
    closes = np.isfinite(lattices).all(axis=(1, 2))
    notes.add(~closes, "lattice closes no cell", "lengths or angles that no cell can have")
    places = np.flatnonzero(~notes.mask(len(parameters)))
    lattices, counts = lattices[places], sites[places].sum(axis=1)
    coords, numbers = coords[places][sites[places]], numbers[places][sites[places]]
    kept = np.ones(len(places), bool)
    for fault in find_faults(lattices, coords, numbers, _offsets(counts)):
        kept[fault.index] = False
    flat = np.zeros(len(parameters), bool)
    flat[places[~kept]] = True
    notes.add(flat, "lattice closes no cell", "it has no volume")
    owner = np.repeat(kept, counts)
    crystals = Crystals(lattices[kept], coords[owner], numbers[owner], _offsets(counts[kept]))
    return crystals, places[kept]


def _offsets(counts: Ints) -> Ints:
    return np.concatenate([[0], np.cumsum(counts)])
