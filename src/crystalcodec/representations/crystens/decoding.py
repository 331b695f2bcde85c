"""Read CrysTens arrays: as they stand, or what a noisy one most likely holds."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.elements import MAX_ATOMIC_NUMBER
from crystalcodec.geometry import triple_products
from crystalcodec.representations.base import FailureNotes
from crystalcodec.representations.crystens.blocks import HEADER, LAYERS, ROWS, Blocks, chunks
from crystalcodec.representations.minimum_images import minimum_images

__all__ = [
    "choose_elements",
    "count_sites",
    "estimate_tables",
    "header_copies",
    "least_squares_coordinates",
    "mirrored_differences",
    "note_disagreements",
    "note_impossible",
    "note_noise",
    "read_tables",
]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_COPIES: Final = 8  # of a number of one site: four layers, row and column
# What one more element in a crystal costs, in units of squared noise: twice the logarithm of the
# number of elements that it could be.
_ANOTHER_ELEMENT: Final = 9.5
_LEAST_NOISE: Final = 1e-3  # in units of atomic numbers: exact arrays have none
# Root mean square of the seven numbers of the cell, ranges of length 1, below which no site is
# there; three angles of 60 degrees make 0.3.
_FAINT: Final = 0.15
# Or, fainter, where the seven stand out of the noise by this many times its variance.
_HEARD, _STANDS_OUT = 0.03, 25.0
_FLAT: Final = 1.000001e-6  # of a box of the same edges; crystals need this volume
_CLOSEST: Final = 0.5  # Å; nearer sites are junk (the shortest bond, H2, is 0.74 Å)
NOT_FINITE: Final = "the array holds NaN or infinity"


def read_tables(
    array: npt.NDArray[Any], blocks: Blocks, tolerance: float, notes: FailureNotes
) -> tuple[Ints, Floats]:
    """(n,) numbers of sites and (n, max_sites, 11) their numbers, from one copy of each.

    Atomic numbers and space groups are rounded, the cell and the group are those of site 0.
    """
    heads = array[:, HEADER:, :ROWS, 0].astype(float)
    finite = np.isfinite(heads).all(axis=(1, 2))
    notes.add(~finite, "not finite", NOT_FINITE)
    present = ~(np.abs(heads) <= tolerance).all(axis=2)
    counts = present.sum(axis=1)
    leading = np.arange(present.shape[1]) < counts[:, None]
    notes.add(
        (present != leading).any(axis=1),
        "gap between sites",
        "an empty row stands before that of a site",
    )
    tables = heads * blocks.width[:ROWS] + blocks.low[:ROWS]
    tables[:, :, 4:] = tables[:, :1, 4:]
    tables[:, :, (0, 10)] = np.rint(tables[:, :, (0, 10)])
    return counts, tables


def note_impossible(
    counts: Ints, tables: Floats, lattices: Floats, tolerance: float, notes: FailureNotes
) -> None:
    """Why numbers of sites (n, max_sites, 11) are of no crystal."""
    inside = np.arange(tables.shape[1]) < counts[:, None]
    notes.add(counts == 0, "no occupied site", "the row of site 0 is empty")
    numbers, groups, coords = tables[:, :, 0], tables[:, 0, 10], tables[:, :, 1:4]
    wrong = inside & ~((numbers >= 1) & (numbers <= MAX_ATOMIC_NUMBER))
    notes.add(
        wrong.any(axis=1),
        "no such element",
        lambda i: f"atomic number {numbers[i][wrong[i]][0]:g}, wanted 1 to {MAX_ATOMIC_NUMBER}",
    )
    notes.add(
        ~((groups >= 1) & (groups <= 230)),
        "unknown space group",
        lambda i: f"got the number {groups[i]:g}, wanted 1 to 230",
    )
    outside = inside & ~((coords >= -tolerance) & (coords <= 1 + tolerance)).all(axis=2)
    notes.add(
        outside.any(axis=1),
        "coordinates outside the cell",
        lambda i: f"site {outside[i].argmax()}: {coords[i][outside[i]][0].tolist()}",
    )
    boxes = np.sqrt((lattices * lattices).sum(axis=2)).prod(axis=1)
    notes.add(
        ~(triple_products(lattices) > _FLAT * boxes),
        "lattice closes no cell",
        lambda i: f"a, b, c, alpha, beta, gamma are {tables[i, 0, 4:10].round(4).tolist()}",
    )


def note_disagreements(
    array: npt.NDArray[Any],
    counts: Ints,
    tables: Floats,
    lattices: Floats,
    blocks: Blocks,
    tolerance: float,
    notes: FailureNotes,
) -> None:
    """Arrays with an entry that is off by more than ``tolerance`` (relative above 1)."""
    infinite, wrong = np.zeros((2, len(array)), bool)
    details: dict[int, str] = {}
    good = np.flatnonzero(~notes.mask(len(array)))
    for n, places in chunks(counts[good], blocks.n_layers):
        index = good[places]
        arrays, block = array[index], blocks.of(tables[index, :n], lattices[index])
        residual, stop = blocks.residual(arrays, block), HEADER + n
        allowed = tolerance * np.maximum(np.abs(block), 1.0)
        agree = (np.abs(residual) <= allowed).all(axis=(1, 2, 3))
        for rest in (arrays[:, stop:], arrays[:, :stop, stop:]):
            # The largest and the least are NaN where an entry is.
            agree &= rest.max(axis=(1, 2, 3), initial=0.0) <= tolerance
            agree &= rest.min(axis=(1, 2, 3), initial=0.0) >= -tolerance
        for j in np.flatnonzero(~agree).tolist():
            i = int(index[j])
            wrong[i], infinite[i] = True, not np.isfinite(arrays[j]).all()
            details[i] = _first_off(arrays[j], block[j], residual[j], tolerance)
    notes.add(infinite, "not finite", NOT_FINITE)
    notes.add(wrong, "not self-consistent", details.__getitem__)


def _first_off(
    array: npt.NDArray[Any], block: npt.NDArray[Any], residual: npt.NDArray[Any], tolerance: float
) -> str:
    """Where an array first disagrees with its block, in words."""
    off, should = np.array(array, float), np.zeros(array.shape)
    within = slice(0, len(block)), slice(0, len(block))
    off[within], should[within] = residual, block
    first = np.argwhere(~(np.abs(off) <= tolerance * np.maximum(np.abs(should), 1.0)))[0]
    row, column, layer = first.tolist()
    return (
        f"row {row}, column {column}, layer {layer} holds {array[row, column, layer]:g}, the "
        f"crystal that it decodes to has {should[row, column, layer]:g}; for generated arrays "
        "decode with decoder='robust', or clean them up first"
    )


def estimate_tables(
    array: npt.NDArray[Any], blocks: Blocks, notes: FailureNotes
) -> tuple[Ints, Floats, Floats]:
    """Numbers of sites (n,), the most likely numbers of each, the confidence in elements (n,)."""
    finite = np.isfinite(array).all(axis=(1, 2, 3))
    notes.add(~finite, "not finite", NOT_FINITE)
    counts = np.where(finite, count_sites(array), 0)
    tables = np.zeros((len(array), array.shape[1] - HEADER, ROWS))
    confidence = np.zeros(len(array))
    for n, index in chunks(counts, blocks.n_layers):
        stop = HEADER + n
        if n:
            part = array[index, :stop, :stop].astype(float)
            tables[index, :n], confidence[index] = estimate_table(part, blocks)
    return counts, tables, confidence


def note_noise(
    array: npt.NDArray[Any],
    counts: Ints,
    tables: Floats,
    lattices: Floats,
    blocks: Blocks,
    limit: float,
    notes: FailureNotes,
) -> None:
    """Arrays too far from those of their crystals, or of sites upon each other."""
    levels, nearest = np.zeros(len(array)), np.full(len(array), np.inf)
    good = np.flatnonzero(~notes.mask(len(array)))
    for n, places in chunks(counts[good], blocks.n_layers):
        index = good[places]
        block = blocks.of(tables[index, :n], lattices[index])
        residual = blocks.residual(array[index], block)
        levels[index] = _noise_levels(array[index], residual, blocks.spread)
        nearest[index] = _nearest(tables[index, :n, 1:4], lattices[index])
    notes.add(
        ~(levels <= limit),
        "not self-consistent",
        lambda i: (
            f"the array differs from that of the crystal it decodes to by {levels[i]:.3g} (root "
            f"mean square), at most {limit:g} is taken (noise_limit)"
        ),
    )
    notes.add(
        nearest < _CLOSEST,
        "sites coincide",
        lambda i: f"two sites are {nearest[i]:.3g} Å from each other, at least {_CLOSEST} wanted",
    )


def _noise_levels(arrays: npt.NDArray[Any], residual: npt.NDArray[Any], spread: Floats) -> Floats:
    """(g,) root mean square of the residual in the part of the arrays where it is largest.

    Parts are the header, distances, differences, further layers and empty places; so few of the
    many numbers cannot hide. Small parts scatter: each is taken as what it is above by two
    standard deviations of a root mean square of its size.
    """
    stop = residual.shape[1]
    n = stop - HEADER
    weighed = residual.astype(float)
    sites = weighed[:, HEADER:, :ROWS, :LAYERS] / spread[:ROWS, None]
    mirrored = weighed[:, :ROWS, HEADER:, :LAYERS] / spread[:ROWS, None, None]
    pairs = weighed[:, HEADER:, HEADER:]
    rest = [arrays[:, stop:], arrays[:, :stop, stop:], arrays[:, :HEADER, :HEADER]]
    parts = [
        ([sites, mirrored], 2 * n * ROWS * LAYERS),
        ([pairs[..., 0] / spread[11]], n * (n - 1)),
        ([pairs[..., 1:LAYERS] / spread[12]], n * (n - 1) * (LAYERS - 1)),
        ([pairs[..., LAYERS:] / spread[13:]], n * n * (pairs.shape[-1] - LAYERS)),
        # An empty place has no range of its own: the widest there is.
        ([part.astype(float) / spread.max() for part in rest], sum(part[0].size for part in rest)),
    ]
    level = np.zeros(len(arrays))
    for values, size in parts:
        if size:
            squares = sum((part.reshape(len(arrays), -1) ** 2).sum(axis=1) for part in values)
            level = np.maximum(level, np.sqrt(squares / size) / (1 + np.sqrt(2 / size)))
    return level


def _nearest(coords: Floats, lattices: Floats) -> Floats:
    """(g,) the shortest distance, Å, between two sites of coordinates (g, n, 3)."""
    i, j = np.triu_indices(coords.shape[1], 1)
    _, distances = minimum_images(coords[:, i] - coords[:, j], lattices)
    return np.asarray(distances.min(axis=1, initial=np.inf), float)


def count_sites(array: npt.NDArray[Any]) -> Ints:
    """(n,) how many leading sites repeat one cell, the others being nearest to zero.

    The least-squares fit of "the first k rows hold the same seven numbers, the rest none" is best
    where the squared sum of those rows, divided by k, is largest.
    """
    rows = array[:, HEADER:, 4:11, :4].mean(axis=3, dtype=float)
    columns = array[:, 4:11, HEADER:, :4].mean(axis=3, dtype=float).transpose(0, 2, 1)
    seven = (rows + columns) / 2
    sums = np.cumsum(seven, axis=1)
    scores = (sums * sums).sum(axis=2) / np.arange(1, sums.shape[1] + 1)
    counts = scores.argmax(axis=1) + 1
    best = scores.max(axis=1)
    # What the fit leaves is noise; published ranges make small cells faint, which stand out of it.
    rest = np.maximum((seven**2).sum(axis=(1, 2)) - best, 0.0) / (7 * seven.shape[1])
    heard = best / counts / 7 > np.minimum(_FAINT**2, _HEARD**2 + _STANDS_OUT * rest)
    return np.asarray(np.where(heard, counts, 0), np.int64)


def estimate_table(part: Floats, blocks: Blocks) -> tuple[Floats, Floats]:
    """The numbers of each site (g, n, 11) in their units, and (g,) the confidence in elements.

    ``part`` (g, 12 + n, 12 + n, layers) holds arrays of n sites, cut off behind them.
    """
    low, width, spread = blocks.low, blocks.width, blocks.spread
    copies = header_copies(part)
    means = copies.mean(axis=3)
    table = means * width[:ROWS] + low[:ROWS]
    table[:, :, 4:] = table[:, :, 4:].mean(axis=1, keepdims=True)
    table[:, :, 10] = np.clip(np.rint(table[:, :, 10]), 1, 230)

    # Variances where ranges have length 1, by the copies of atomic numbers.
    scatter = ((copies[:, :, 0] - means[:, :, 0, None]) ** 2).sum(axis=(1, 2)) / spread[0] ** 2
    reach = width * spread[: len(width)]  # of ranges in their units
    noise = np.maximum(scatter / ((_COPIES - 1) * table.shape[1]), (_LEAST_NOISE / reach[0]) ** 2)
    observed, cut = [table[:, :, 0]], [reach[0] ** 2 / _COPIES]
    for layer in range(LAYERS, part.shape[3]):
        estimate, share = _property_estimates(part[..., layer])
        observed.append(estimate)
        cut.append(share * spread[layer - LAYERS + len(width)] ** 2)
    numbers, confidence = choose_elements(
        np.stack(observed, axis=2),
        noise[:, None] * np.array(cut),
        np.stack([np.arange(MAX_ATOMIC_NUMBER + 1.0), *blocks.properties]),
    )
    # Numbers far beyond the first or the last element are left as they are, to be refused.
    far = np.abs(table[:, :, 0] - numbers) > 0.5 + 4 * reach[0] * np.sqrt(noise / _COPIES)[:, None]
    edge = (numbers == 1) | (numbers == MAX_ATOMIC_NUMBER)
    table[:, :, 0] = np.where(far & edge, np.rint(table[:, :, 0]), numbers)

    differences = part[:, HEADER:, HEADER:, 1:4] * width[12] + low[12]
    table[:, :, 1:4] = least_squares_coordinates(
        table[:, :, 1:4],
        differences,
        _COPIES / reach[1:4] ** 2,
        2 / reach[12] ** 2,
        blocks.periodic,
    )
    return table, confidence


def header_copies(part: Floats) -> Floats:
    """(g, n, 11, 8) all copies of the numbers of each site: four of its row, four of its column."""
    rows = part[:, HEADER:, :ROWS, :LAYERS]
    columns = part[:, :ROWS, HEADER:, :LAYERS].transpose(0, 2, 1, 3)
    return np.concatenate([rows, columns], axis=3)


def mirrored_differences(differences: Floats, coords: Floats, periodic: bool) -> Floats:
    """(g, n, n, 3) differences averaged with their mirror images, of opposite sign.

    Periodic ones are moved by whole numbers to where coordinates say.
    """
    between = (differences - differences.transpose(0, 2, 1, 3)) / 2
    if periodic:
        between = between - np.rint(between - coords[:, :, None] + coords[:, None])
    return between


def least_squares_coordinates(
    coords: Floats, differences: Floats, weight: Floats, pair_weight: float, periodic: bool
) -> Floats:
    """Coordinates (g, n, 3) that fit themselves and the differences of all pairs best.

    ``differences`` (g, n, n, 3) of site i from site j are first averaged with their mirror
    images. All sites being paired with all, the least-squares solution is closed: a weighted
    mean of the coordinate itself and of what each other site says about it.
    """
    n = coords.shape[1]
    between = mirrored_differences(differences, coords, periodic)
    told = (coords[:, None] + between).sum(axis=2)
    return np.asarray((weight * coords + pair_weight * told) / (weight + pair_weight * n), float)


def choose_elements(observed: Floats, variances: Floats, properties: Floats) -> tuple[Ints, Floats]:
    """Atomic numbers (g, n) of sites whose properties were seen with noise, chosen together.

    Sites of one element support each other: wanted is the assignment of least squared deviation
    in units of the noise, plus a fixed cost for each element used. Elements are added one by one
    while that pays, then each group of sites takes the element that suits all of it best.

    Parameters
    ----------
    observed : (g, n, k)
        k properties of each site.
    variances : (g, k)
        Of their noise.
    properties : (k, 119)
        What they are by atomic number.

    Returns
    -------
    numbers : (g, n)
        From 1 to 118.
    confidence : (g,)
        The probability that all groups got the right element, all elements being equally
        likely, and that no site is of another element than its group.
    """
    costs = np.zeros((*observed.shape[:2], MAX_ATOMIC_NUMBER + 1))
    for k, values in enumerate(properties):
        costs += (observed[..., k, None] - values) ** 2 / variances[:, k, None, None]
    costs = costs[..., 1:]  # row 0 is no element
    g, n, _ = costs.shape
    every, sites = np.arange(g), np.arange(n)
    first = costs.sum(axis=1).argmin(axis=1)
    chosen = np.broadcast_to(first[:, None], (g, n)).copy()
    for _ in range(n):
        now = np.take_along_axis(costs, chosen[..., None], axis=2)
        gain = np.maximum(now - costs, 0.0).sum(axis=1)
        more = gain.argmax(axis=1)
        pays = gain[every, more] > _ANOTHER_ELEMENT
        if not pays.any():
            break
        better = pays[:, None] & (costs[every[:, None], sites, more[:, None]] < now[..., 0])
        chosen = np.where(better, more[:, None], chosen)
        of_groups = _of_groups(costs, chosen)
        chosen = of_groups.argmin(axis=2)
    of_groups = _of_groups(costs, chosen)
    chosen = of_groups.argmin(axis=2)
    likelihood = np.exp(-0.5 * (of_groups - of_groups.min(axis=2, keepdims=True)))
    size = (chosen[:, :, None] == chosen[:, None]).sum(axis=2)
    doubt = np.log(likelihood.sum(axis=2)) / size
    # And that no site is of an element of its own.
    now = np.take_along_axis(costs, chosen[..., None], axis=2)
    apart = np.exp(-0.5 * np.maximum(costs - now + _ANOTHER_ELEMENT, -50.0)).sum(axis=2)
    doubt += np.log1p(np.maximum(apart - np.exp(-0.5 * _ANOTHER_ELEMENT), 0.0))
    return chosen + 1, np.exp(-doubt.sum(axis=1))


def _of_groups(costs: Floats, chosen: Ints) -> Floats:
    """(g, n, 118) the cost of each element for all sites that were given the same one."""
    together = (chosen[:, :, None] == chosen[:, None]).astype(float)
    return np.asarray(together @ costs, float)


def _property_estimates(layer: Floats) -> tuple[Floats, float]:
    """(g, n) a property by its layer (g, 12 + n, 12 + n), and the noise's variance is cut to.

    Two entries of the header and one of the diagonal hold it, two of each pair its mean with
    another site's; the least-squares solution of them all is closed.
    """
    n = layer.shape[1] - HEADER
    pairs = layer[:, HEADER:, HEADER:]
    diagonal = pairs[:, np.arange(n), np.arange(n)]
    alone = layer[:, HEADER:, 0] + layer[:, 0, HEADER:] + diagonal
    sums = (pairs + pairs.transpose(0, 2, 1)).sum(axis=2) - 2 * diagonal
    known = alone + sums / 2
    weight = 3 + (n - 2) / 2
    total = known.sum(axis=1, keepdims=True) / (weight + n / 2)
    return (known - total / 2) / weight, 1 / weight
