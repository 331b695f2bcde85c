"""Reading ``crystal_image``: the numbers of the crystal whose picture is nearest, part by part.

Each part is read by maximum likelihood under white noise: the number of sites, each element and
each number of the cell as the nearest of all codes, the coordinates by least squares over what
the frame and the pairs of sites say together. How sure each reading is follows from the scatter
of the pixels about the codes, as measured in the picture itself.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from crystalcodec.geometry import lattices_from_cell_parameters
from crystalcodec.representations.crystal_image.codes import (
    AMPLITUDE,
    BORDER,
    CELL_MULTIPLES,
    CENTRE,
    COORDINATE_ROWS,
    COUNT_CODES,
    ELEMENT_CODES,
    ELEMENT_ROWS,
    ELEMENTS,
    FLAT,
    MAX_SITES,
    PAIR_AMPLITUDE,
    SHARE_ROW,
    ZOOMS,
    cell_codes,
    cell_parameters,
)

__all__ = ["Reading", "read_pictures", "shrunk"]

Floats = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_COUNT_TEMPLATES: Final = COUNT_CODES.reshape(len(COUNT_CODES), -1)
_COUNT_NORMS: Final = (_COUNT_TEMPLATES**2).sum(axis=1)
_ELEMENT_TEMPLATES: Final = (ELEMENT_CODES - np.float32(CENTRE)).reshape(len(ELEMENTS), -1)
_ELEMENT_DISTANCES: Final = ((_ELEMENT_TEMPLATES[:, None] - _ELEMENT_TEMPLATES[None]) ** 2).sum(
    axis=2
)
_GRID: Final = np.linspace(0, 1, 257)
_CELL_TEMPLATES: Final = (cell_codes(_GRID) - CENTRE).astype(np.float32).reshape(-1, 12)
_NEAR: Final = 0.04  # of the way from 0 to 1: half a turn of the highest multiple
# The scatter counts twice: the nearest code is nearer than the true one, and errors of neighbouring
# pixels go together. So confidence is the rate of matches (benchmarks/image_noise.py).
_CAUTION: Final = 2.0
_ROUNDING: Final = 1e-5  # smallest scatter: that of pixels of 8 bits, (1/255)**2 / 12, and some


class Reading(NamedTuple):
    """What was read of m pictures; what stands beyond the number of sites means nothing.

    ``sureness`` is the product over all parts of how probable the reading is; ``margin`` tells of
    the least certain site how far its pixels lie from the second nearest element towards the
    nearest: 1 on its code, 0.5 half-way between two.
    """

    lattices: Floats
    counts: Ints
    coords: Floats
    numbers: Ints
    sureness: Floats
    margin: Floats

    @property
    def occupied(self) -> Bools:
        """(m, 52) which of the places hold a site."""
        return np.asarray(np.arange(MAX_SITES) < self.counts[:, None])

    @property
    def flat(self) -> Bools:
        """(m,) whether the angles close no cell, or one without volume."""
        with np.errstate(invalid="ignore"):
            volumes = np.abs(np.linalg.det(self.lattices))
        boxes = np.linalg.norm(self.lattices, axis=2).prod(axis=1)
        return np.asarray(~(volumes > FLAT * boxes))


def read_pictures(pictures: npt.NDArray[np.float32]) -> Reading:
    """Read pictures (m, 64, 64, 3); nothing is refused here.

    A lattice whose angles close no cell is NaN, a picture without sites has count 0.
    """
    m = len(pictures)
    frame = pictures[:, BORDER:, :BORDER] + pictures[:, :BORDER, BORDER:].transpose(0, 2, 1, 3)
    frame *= np.float32(0.5)
    counts, log_sure = _counts(frame)
    fractions, log_cell = _cells(pictures[:, :BORDER, :BORDER])
    log_sure += log_cell
    lattices = lattices_from_cell_parameters(cell_parameters(fractions))
    coords = np.zeros((m, MAX_SITES, 3))
    numbers = np.zeros((m, MAX_SITES), np.int64)
    margin = np.ones(m)
    for zoom in (1, 2, 4):
        chosen = np.flatnonzero((ZOOMS[counts] == zoom) & (counts > 0))
        if not len(chosen):
            continue
        places = MAX_SITES // zoom
        some = counts[chosen]
        sites = shrunk(frame[chosen], zoom, 1)
        pairs = shrunk(shrunk(pictures[chosen, BORDER:, BORDER:], zoom, 1), zoom, 2)
        numbers[chosen, :places], margin[chosen], log_element = _elements(
            sites[:, :, ELEMENT_ROWS].reshape(len(chosen), places, -1), some
        )
        coords[chosen, :places], spread = _coords(sites[:, :, COORDINATE_ROWS], pairs, some, zoom)
        log_sure[chosen] += log_element + _log_placed(spread, lattices[chosen], some)
    sureness = np.where(np.isfinite(log_sure), np.exp(np.minimum(log_sure, 0)), 0.0)
    return Reading(lattices, counts, coords, numbers, sureness, margin)


def shrunk(array: Floats, zoom: int, axis: int) -> Floats:
    """The mean of each ``zoom`` neighbours along an axis."""
    if zoom == 1:
        return array
    before = (slice(None),) * axis
    total = array[(*before, slice(0, None, zoom))].copy()
    for k in range(1, zoom):
        total += array[(*before, slice(k, None, zoom))]
    return np.asarray(total * array.dtype.type(1 / zoom))


def _counts(frame: Floats) -> tuple[Ints, Floats]:
    """(m,) the number of sites, and the logarithm of its probability."""
    seen = np.concatenate([frame[:, :, 0], frame[:, :, SHARE_ROW, 1:]], axis=2)
    seen = seen.reshape(len(frame), -1)
    distances = _COUNT_NORMS - 2 * (seen @ _COUNT_TEMPLATES.T)
    best = distances.min(axis=1)
    scatter = ((seen**2).sum(axis=1) + best) / seen.shape[1]
    odds = np.exp(
        (best[:, None] - distances) / (2 * np.maximum(_CAUTION * scatter, _ROUNDING))[:, None]
    )
    return distances.argmin(axis=1), -np.log(odds.sum(axis=1)).astype(float)


def _cells(corner: Floats) -> tuple[Floats, Floats]:
    """(m, 6) the cell as numbers from 0 to 1, and the logarithm of its probability."""
    m = len(corner)
    copies = corner.reshape(m, 2, 6, 2, BORDER // 2, 3).sum(axis=4, dtype=float) / (BORDER // 2)
    codes = copies.transpose(0, 1, 4, 2, 3).reshape(m, 6, 6, 2) - CENTRE
    scores = codes.reshape(m, 6, 12).astype(np.float32) @ _CELL_TEMPLATES.T
    start = scores.argmax(axis=2)
    fractions = _GRID[start]
    waves = codes[..., 0] + 1j * codes[..., 1]
    speeds = 2 * np.pi * CELL_MULTIPLES
    stiffness = AMPLITUDE * (speeds**2).sum()
    for _ in range(4):
        turned = waves * np.exp(-1j * fractions[..., None] * speeds)
        step = (speeds * turned.imag).sum(axis=-1) / stiffness
        fractions = np.clip(fractions + np.clip(step, -4e-3, 4e-3), 0, 1)
    turned = waves * np.exp(-1j * fractions[..., None] * speeds)
    scatter = (np.abs(turned - AMPLITUDE) ** 2).sum(axis=(1, 2)) / 72
    scatter = np.maximum(_CAUTION * scatter, _ROUNDING).astype(np.float32)
    highest = np.take_along_axis(scores, start[..., None], axis=2)
    odds = np.exp((scores - highest) / scatter[:, None, None])
    near = np.abs(_GRID - fractions[..., None]) < _NEAR
    return fractions, np.log((odds * near).sum(axis=2) / odds.sum(axis=2)).sum(axis=1)


def _elements(seen: Floats, counts: Ints) -> tuple[Ints, Floats, Floats]:
    """(m, places) atomic numbers, (m,) smallest margin, and the logarithm of the probability."""
    occupied = np.arange(seen.shape[1]) < counts[:, None]
    seen = seen - np.float32(CENTRE)
    scores = seen @ _ELEMENT_TEMPLATES.T
    first = scores.argmax(axis=2)
    highest = np.take_along_axis(scores, first[..., None], axis=2)
    norm = (_ELEMENT_TEMPLATES[0] ** 2).sum()
    apart = (seen**2).sum(axis=2) - 2 * highest[..., 0] + norm
    scatter = (apart * occupied).sum(axis=1) / (counts * seen.shape[2])
    scatter = np.maximum(_CAUTION * scatter, _ROUNDING)[:, None]
    odds = np.exp((scores - highest) / scatter[..., None])
    log_sure = (-np.log(odds.sum(axis=2)) * occupied).sum(axis=1)
    np.put_along_axis(scores, first[..., None], -np.inf, axis=2)
    second = scores.argmax(axis=2)
    gap = highest[..., 0] - np.take_along_axis(scores, second[..., None], axis=2)[..., 0]
    margins = np.where(occupied, 0.5 + gap / _ELEMENT_DISTANCES[first, second], 1.0)
    return ELEMENTS[first], margins.min(axis=1), log_sure


def _coords(rows: Floats, pairs: Floats, counts: Ints, zoom: int) -> tuple[Floats, Floats]:
    """(m, places, 3) fractional coordinates, and (m,) their standard deviation.

    The angles t of the sites along an axis minimise the squared distance of exp(it) and exp(3it)
    from the frame and of exp(i(s - t)) from the pairs. The start is that of angular
    synchronisation (10.1016/j.acha.2010.02.001); Gauss and Newton's steps follow, whose matrix, a
    multiple of one less a constant, has its inverse in closed form.
    """
    places = pairs.shape[1]
    occupied = (np.arange(places) < counts[:, None])[:, None]
    waves = (rows - np.float32(CENTRE)).transpose(0, 2, 3, 1) / AMPLITUDE
    once = np.where(occupied, waves[:, 0] + 1j * waves[:, 1], 0)
    thrice = np.where(occupied, waves[:, 2] + 1j * waves[:, 3], 0)
    field = (pairs.transpose(0, 3, 1, 2) - np.float32(CENTRE)) / np.float32(2 * PAIR_AMPLITUDE)
    swapped = field.swapaxes(2, 3)
    both = occupied[..., None] & occupied[:, :, None] & ~np.eye(places, dtype=bool)
    differences = np.empty(field.shape, np.complex64)
    differences.real, differences.imag = (field + swapped) * both, (field - swapped) * both

    def from_pairs(v: Floats) -> Floats:
        return (differences @ v.astype(np.complex64)[..., None])[..., 0].astype(complex)

    in_frame, in_pairs = 2.0 * zoom, float(zoom**2)  # copies of each number
    v = once
    for _ in range(3):
        v = v / np.maximum(np.abs(v), 1e-6)
        v = in_frame * once + in_pairs * from_pairs(v)
    angles = np.angle(v)
    alpha = 10 * in_frame
    total = alpha + in_pairs * counts[:, None, None]
    for _ in range(4):
        v = np.exp(1j * angles)
        back = v.conj()
        pull = in_frame * ((once * back).imag + 3 * (thrice * back**3).imag)
        pull += in_pairs * (from_pairs(v) * back).imag
        pull = np.where(occupied, pull, 0)
        step = (pull + in_pairs / alpha * pull.sum(axis=2, keepdims=True)) / total
        angles = angles + np.clip(step, -0.3, 0.3)
    v = np.where(occupied, np.exp(1j * angles), 0)
    apart = np.abs(once - v) ** 2 + np.abs(thrice - v**3) ** 2
    scatter = np.maximum(apart.sum(axis=(1, 2)) / (12 * counts), _ROUNDING) * in_frame
    variance = scatter * (1 + in_pairs / alpha) / total[:, 0, 0]
    return np.where(occupied, angles, 0).transpose(0, 2, 1) / (2 * np.pi), np.sqrt(variance)


def _log_placed(spread: Floats, lattices: Floats, counts: Ints) -> Floats:
    """(m,) of the probability that all sites lie within 0.3 (V / N)^(1/3) of their places."""
    with np.errstate(invalid="ignore"):
        volumes = np.abs(np.linalg.det(lattices))
    allowed = 0.3 * (volumes / counts) ** (1 / 3)
    apart = (spread / (2 * np.pi))[:, None] * np.linalg.norm(lattices, axis=2)
    ratio = allowed**2 / np.maximum((apart**2).mean(axis=1), 1e-12)
    return np.where(counts > 1, counts * np.log1p(-np.exp(-0.5 * np.minimum(ratio, 100))), 0.0)
