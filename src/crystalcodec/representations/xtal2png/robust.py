"""Reading xtal2png pictures with noise: everything that stands in them twice is weighed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
from scipy.special import log_ndtr

from crystalcodec.representations.base import Decoded, FailureNotes
from crystalcodec.representations.xtal2png.refinement import refined
from crystalcodec.representations.xtal2png.site_distances import site_distances
from crystalcodec.representations.xtal2png.strict import (
    assembled,
    closed_lattices,
    levels_of_numbers,
    spread,
)

if TYPE_CHECKING:
    from crystalcodec.representations.xtal2png.representation import Xtal2PNG

__all__ = ["read_pictures"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_HEADER: Final = 12
_REPEATED: Final = slice(4, 12)  # rows of one number for all sites
_N_SITES: Final = 10
# What is left of distances where coordinates are right: their own noise and its like.
_TIMES_NOISE: Final = 2.5
_SLACK: Final = 0.02
_DEVIATIONS: Final = 5.0  # of a mean from what it must be, in its standard errors
_CONTRADICTION: Final = 8.0  # of two copies of one number, in standard deviations of the noise
_SIGNAL: Final = 10.0
_AT_ONCE: Final = 512
_ENTRIES_AT_ONCE: Final = 1_000_000  # a derivative for each distance and coordinate


def read_pictures(xtal2png: Xtal2PNG, array: npt.NDArray[Any]) -> Decoded:
    """Crystals that explain pictures (n, side, side) with noise, and why the rest has none.

    The number of sites is the most likely step in the repeated rows. The noise is what repeated
    and mirrored entries differ by. Atomic numbers are the most likely assignment when each further
    element of a crystal costs as much as it tells: sites of one element are read together. Cell
    and coordinates are fitted to all their entries and to the distances. Pictures are refused
    where they do not agree with the crystal.
    """
    n = len(array)
    notes = FailureNotes()
    with np.errstate(over="ignore", invalid="ignore"):
        values = np.array(array, float)
        finite = np.isfinite(values).all(axis=(1, 2))
    notes.add(~finite, "not finite", "the array holds NaN or infinity")
    values[~finite] = 0.0
    # Far outside the range nothing is read from how far.
    np.clip(values, -1.0, 2.0, out=values)
    counts = _counts(xtal2png, values)
    confidence = np.zeros(n)
    columns: dict[int, tuple[Ints, Ints, Floats, Floats]] = {}
    counts[~finite] = 0
    for sites in np.unique(counts[counts > 0]).tolist():
        index = np.flatnonzero(counts == sites)
        step = min(_AT_ONCE, max(1, _ENTRIES_AT_ONCE // sites**3))
        parts = [
            _read_size(xtal2png, values, index[start : start + step], sites, notes)
            for start in range(0, len(index), step)
        ]
        confidence[index] = np.concatenate([part[3] for part in parts])
        columns[sites] = (index, *(np.concatenate([p[i] for p in parts]) for i in range(3)))  # type: ignore[assignment]
    notes.add(
        confidence < xtal2png.min_confidence,
        "too uncertain",
        lambda i: f"confidence {confidence[i]:.3g}, wanted {xtal2png.min_confidence:g}",
    )
    return assembled(n, counts, columns, notes, confidence)


def _counts(xtal2png: Xtal2PNG, values: Floats) -> Ints:
    """(n,) the number of sites that explains most of the repeated rows."""
    above = values[:, _REPEATED, _HEADER:]
    left = values[:, _HEADER:, _REPEATED].transpose(0, 2, 1)
    sums = np.cumsum(above + left, axis=2) / 2  # (n, 8, max_sites)
    numbers = np.arange(1, xtal2png.max_sites + 1)
    low, high = xtal2png.n_sites_range
    meant = (numbers - low) / (high - low)
    # A constant fitted to the first m entries, and 0 beyond, leaves less by this much.
    gained = sums**2 / numbers
    row = _N_SITES - _REPEATED.start
    gained[:, row] = 2 * meant * sums[:, row] - numbers * meant**2
    return np.asarray(numbers[gained.sum(axis=1).argmax(axis=1)], np.int64)


def _read_size(
    xtal2png: Xtal2PNG, values: Floats, index: Ints, sites: int, notes: FailureNotes
) -> tuple[Ints, Floats, Floats, Floats]:
    """Atomic numbers, coordinates, lattices and confidence of pictures of one number of sites."""
    n, end = len(values), _HEADER + sites
    pictures = values[index]
    above = pictures[:, :_HEADER, _HEADER:end]
    left = pictures[:, _HEADER:end, :_HEADER].transpose(0, 2, 1)
    apart = pictures[:, _HEADER:end, _HEADER:end]
    header = np.stack([above, left], axis=1)  # (k, 2, 12, sites)
    repeated = header[:, :, _REPEATED].mean(axis=(1, 3))
    noise = _noise(xtal2png, header, repeated, apart)
    numbers, confidence = _read_numbers(xtal2png, header[:, :, 0], noise)
    explained = _explained(xtal2png, header, repeated, numbers, sites)
    beyond = pictures.copy()
    beyond[:, :_HEADER, _HEADER:end] = 0.0
    beyond[:, _HEADER:end, :end] = 0.0
    unused = beyond[0].size - 2 * _HEADER * sites - sites**2
    rest = {
        "entries of no site": np.sqrt((beyond**2).sum(axis=(1, 2)) / unused),
        "rows and columns of the sites": _rms(header - explained[:, None]),
    }
    _note_blank(xtal2png, repeated, noise, sites, index, n, notes)
    most = np.full(len(index), xtal2png.max_noise)
    for what, size in rest.items():
        _note_noise(what, size, most, index, n, notes)

    means = np.clip(repeated[:, :6], 0.0, 1.0)
    coords = np.clip(header[:, :, 1:4].mean(axis=1), 0.0, 1.0).transpose(0, 2, 1)
    low, span = xtal2png.cell_ranges
    reach = xtal2png.distance_range[1]
    left_over = np.zeros(len(index))
    likely = ~notes.mask(n)[index]
    means[likely], coords[likely], left_over[likely] = refined(
        means[likely], coords[likely], apart[likely], low, span, reach
    )
    cells = np.ones((n, 6))
    cells[index] = low + span * means
    lattices = closed_lattices(cells, index[likely], n, notes)[index]
    expected = np.minimum(site_distances(lattices, coords) / reach, 1.0)
    left_over = np.maximum(_rms(apart - expected), left_over)
    most = np.minimum(most, _TIMES_NOISE * noise + _SLACK)
    _note_noise("distances", left_over, most, index, n, notes)
    return numbers, coords, lattices, confidence


def _note_blank(
    xtal2png: Xtal2PNG,
    repeated: Floats,
    noise: Floats,
    sites: int,
    index: Ints,
    n: int,
    notes: FailureNotes,
) -> None:
    """Note pictures whose repeated rows are no more than noise, or whose number of sites is off."""
    error = noise / np.sqrt(2 * sites)
    signal, off, allowed = np.zeros((3, n))
    signal[index] = np.sqrt((repeated**2).sum(axis=1)) / error
    notes.add(
        spread(signal[index] < _SIGNAL, index, n),
        "nothing but noise",
        lambda i: f"the repeated rows are {signal[i]:.1f} times their error, wanted {_SIGNAL:g}",
    )
    low, high = xtal2png.n_sites_range
    off[index] = repeated[:, _N_SITES - _REPEATED.start] - (sites - low) / (high - low)
    allowed[index] = _DEVIATIONS * error + 0.5 / (high - low)
    notes.add(
        np.abs(off) > allowed,
        "number of sites unclear",
        lambda i: f"row {_N_SITES} is {off[i]:.3f} off for {sites} sites, at most {allowed[i]:.3f}",
    )


def _note_noise(
    what: str, left_over: Floats, limits: Floats, index: Ints, n: int, notes: FailureNotes
) -> None:
    rest, most = np.zeros((2, n))
    rest[index], most[index] = left_over, limits
    reason = "distances contradict coordinates" if what == "distances" else "no crystal explains it"
    notes.add(
        rest > most,
        reason,
        lambda i: f"{what} are {rest[i]:.3f} off (root mean square), at most {most[i]:.3f}",
    )


def _rms(parts: Floats) -> Floats:
    """(k,) over all entries of (k, ...)."""
    axes = tuple(range(1, parts.ndim))
    return np.asarray(np.sqrt((parts**2).mean(axis=axes)), float)


def _explained(
    xtal2png: Xtal2PNG, header: Floats, repeated: Floats, numbers: Ints, sites: int
) -> Floats:
    """(k, 12, sites) what the rows of a crystal hold without noise."""
    rows = header.mean(axis=1)
    low, _ = xtal2png.atomic_number_range
    known = levels_of_numbers(xtal2png, xtal2png.atomic_number_range) / xtal2png.whole
    rows[:, 0] = known[numbers - low]
    rows[:, _REPEATED] = repeated[:, :, None]
    least, most = xtal2png.n_sites_range
    rows[:, _N_SITES] = (sites - least) / (most - least)
    return np.asarray(rows, float)


def _noise(xtal2png: Xtal2PNG, header: Floats, repeated: Floats, apart: Floats) -> Floats:
    """(k,) standard deviation of the noise, by what repeated entries differ."""
    sites = header.shape[3]
    off = header[:, :, _REPEATED] - repeated[:, None, :, None]
    squares = (off**2).sum(axis=(1, 2, 3))
    mirrored = header[:, 0, : _REPEATED.start] - header[:, 1, : _REPEATED.start]
    squares += (mirrored**2).sum(axis=(1, 2)) / 2
    squares += ((apart - apart.transpose(0, 2, 1)) ** 2).sum(axis=(1, 2)) / 4
    freedom = 16 * sites - 8 + 4 * sites + sites * (sites - 1) / 2
    # No less than what the rounding to pixels makes.
    return np.asarray(np.maximum(np.sqrt(squares / freedom), 0.3 / xtal2png.whole), float)


def _read_numbers(xtal2png: Xtal2PNG, entries: Floats, noise: Floats) -> tuple[Ints, Floats]:
    """(k, sites) atomic numbers of entries (k, 2, sites), and the (k,) probability of them.

    Sites are sorted by their entries, so that an assignment is a rising sequence of elements; the
    best one is found by dynamic programming. Each element that occurs costs the logarithm of how
    many there are: what it takes to say which.
    """
    low, _ = xtal2png.atomic_number_range
    known = levels_of_numbers(xtal2png, xtal2png.atomic_number_range) / xtal2png.whole
    order = entries.mean(axis=1).argsort(axis=1, kind="stable")
    sorted_ = np.take_along_axis(entries, order[:, None], axis=2)
    k, _, sites = entries.shape
    price = np.log(len(known))
    costs = _costs(sorted_, known, noise)
    best = costs[:, 0] + price
    total = -best
    came_from = np.zeros((k, sites, len(known)), np.int16)
    elements = np.arange(len(known))
    infinite = np.full((k, 1), np.inf)
    for site in range(1, sites):
        # The best of all lighter elements, and which it is.
        least = np.minimum.accumulate(best, axis=1)
        which = np.maximum.accumulate(np.where(best == least, elements, 0), axis=1)
        lighter = np.concatenate([infinite, least[:, :-1]], axis=1) + price
        stays = best <= lighter
        came_from[:, site, 1:] = which[:, :-1]
        came_from[:, site] = np.where(stays, elements, came_from[:, site])
        best = np.minimum(best, lighter) + costs[:, site]
        reached = np.logaddexp.accumulate(total, axis=1)
        arrived = np.concatenate([-infinite, reached[:, :-1]], axis=1) - price
        total = np.logaddexp(total, arrived) - costs[:, site]
    path = np.zeros((k, sites), np.int64)
    path[:, -1] = best.argmin(axis=1)
    every = np.arange(k)
    for site in range(sites - 1, 0, -1):
        path[:, site - 1] = came_from[every, site, path[:, site]]
    confidence = np.exp(-best.min(axis=1) - np.logaddexp.reduce(total, axis=1))
    numbers = np.empty_like(path)
    np.put_along_axis(numbers, order, path + low, axis=1)
    return numbers, np.minimum(confidence, 1.0)


def _costs(entries: Floats, known: Floats, noise: Floats) -> Floats:
    """(k, sites, elements) minus the log-likelihood of both entries of a site, for each element."""
    # Of two copies that differ by far more than the noise one is wrong, and which is not known.
    apart = np.abs(entries[:, 0] - entries[:, 1]) / np.sqrt(2)
    noise = np.where(apart > _CONTRADICTION * noise[:, None], apart, noise[:, None])
    width = noise[:, :, None]
    costs = np.zeros((entries.shape[0], entries.shape[2], len(known)))
    for copy in (0, 1):
        entry = entries[:, copy, :, None]
        off = (entry - known) / width
        costs += off**2 / 2
        # 0 says no more than that there was 0 or less before it was cut off to a pixel.
        cut = entries[:, copy] == 0
        costs[cut] += -log_ndtr(-known / noise[cut][:, None]) - off[cut] ** 2 / 2
    return costs
