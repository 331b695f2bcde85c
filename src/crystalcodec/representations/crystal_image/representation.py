"""A picture of a crystal that can still be read when it is noisy."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.elements import SYMBOLS
from crystalcodec.failures import Failure
from crystalcodec.representations.base import (
    Arrays,
    Decoded,
    FailureNotes,
    Field,
    RepresentationError,
)
from crystalcodec.representations.crystal_image.checks import PARTS, differences_by_part
from crystalcodec.representations.crystal_image.codes import (
    AMPLITUDE,
    BORDER,
    CENTRE,
    COORDINATE_ROWS,
    COUNT_CODES,
    ELEMENT_CODES,
    ELEMENT_ROWS,
    FLAT,
    MAX_LENGTH,
    MAX_SITES,
    MENDELEEV_NUMBERS,
    MIN_LENGTH,
    PAIR_AMPLITUDE,
    SHARE_ROW,
    SIDE,
    ZOOMS,
    cell_codes,
    cell_fractions,
)
from crystalcodec.representations.crystal_image.reading import read_pictures
from crystalcodec.representations.images import ImageRepresentation

__all__ = ["CrystalImage", "canonical_order"]

_CHUNK: Final = 24  # crystals whose pictures fit into the cache
_BEYOND: Final = 1.0  # how far noise may take a pixel out of 0 to 1
_MARGIN: Final = 0.6  # of the way from the second nearest element to the nearest; 0.5 is half-way
# Copies of the cell differ by less than a step, so that their mean outlives the rounding to 8 bits.
_DITHER: Final = ((np.arange(BORDER // 2) - 2.5) / (255 * BORDER // 2)).astype(np.float32)


@dataclass(frozen=True)
class CrystalImage(ImageRepresentation):
    """A crystal of up to 52 sites as an RGB picture of 64 x 64 pixels, made to survive noise.

    Every number is an angle, drawn as the cosine and the sine of several of its multiples: the
    low ones change slowly and tell roughly, the high ones tell exactly, as on a vernier. Red,
    green and blue are the three axes for lattice and coordinates.

    =================  ==========================================================================
    corner, 12 x 12    the cell: rows 0 to 5 the logarithms of a, b, c (1 to 128 Å), rows 6 to 11
                       alpha, beta, gamma (0 to 180 degrees), each row twice the multiple of the
                       row before; the left half cosines, the right half sines, six copies of each
    top, 12 x 52       the sites, side by side: row 0 the mask; rows 1 to 6 the element, as cosine
                       and sine of 1, 2, 4 ... 256 times its place on a circle of 103 elements in
                       Pettifor's order; rows 7 to 10 cosine and sine of the coordinates and of
                       thrice the coordinates; row 11 the element's share of the sites, the
                       number of sites by 52, and the zoom
    side, 52 x 12      the same, transposed
    pairs, 52 x 52     cos d + sin d of the difference d of the coordinates of the site
                       of the row and that of the column
    =================  ==========================================================================

    A site is four pixels wide in a crystal of up to 13 sites, two up to 26, else one. Places
    without a site are black, which no site is.

    The orientation in space is lost; site order is kept. The picture depends on the order of
    sites, the origin and the choice of cell. :func:`canonical_order` sorts the sites, so that
    those of one element lie side by side.

    Decoding finds the crystal whose picture is nearest, part by part, draws it, and compares the
    two pictures part by part. Nothing is repaired, relaxed or symmetrised. The confidence of a
    decoded crystal is the probability, under independent noise as strong as the scatter of the
    pixels about their codes, that number of sites, elements, cell and places were all read right.

    Parameters
    ----------
    max_residual
        For decoding: how far a picture may differ from that of the crystal read in it, root mean
        square in units of the whole range, in any part (the cell; an element, the coordinates,
        the pairs of any one site; the empty places). Noise of 48/255 stays below 0.25. For
        pictures that must be clean, 0.01; 1 takes the nearest crystal, however far.

    Failures
    --------
    Encoding: ``too many sites``, ``element out of range`` (beyond Lr), ``length out of range``,
    ``cell too flat``, ``left-handed lattice``. Decoding: ``not finite``, ``pixels out of range``,
    ``no occupied site``, ``lattice closes no cell``, ``element undecided`` (a site between two
    elements), ``not self-consistent``.

    Examples
    --------
    >>> salt = Crystals.single(
    ...     [[0, 2.8, 2.8], [2.8, 0, 2.8], [2.8, 2.8, 0]], [[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17]
    ... )
    >>> picture = CrystalImage().encode(salt)["crystal_image"]
    >>> picture.shape
    (1, 64, 64, 3)
    >>> noise = np.random.default_rng(0).normal(0, 32 / 255, picture.shape)
    >>> decoded = CrystalImage().decode(np.clip(picture + noise, 0, 1))
    >>> decoded.crystals, decoded.confidence.round(3)
    (Crystals(n=1, n_sites_total=2: NaCl), array([1.]))
    """

    name: ClassVar[str] = "crystal_image"
    lost: ClassVar[str] = "the orientation of the crystal in space"
    invariances: ClassVar = frozenset({"rotation"})
    layouts: ClassVar = {"crystal_image": "hwc"}
    round_trip_tolerance: ClassVar[float] = 1e-4

    max_residual: float = 0.25

    def __post_init__(self) -> None:
        if not 0 < self.max_residual <= 1:
            raise RepresentationError(f"max_residual is {self.max_residual}, wanted 0 to 1")

    @property
    def fields(self) -> tuple[Field, ...]:
        """The cell, the sites along the top and down the side, and the pairs of sites."""
        frame, inner = slice(0, BORDER), slice(BORDER, SIDE)
        wheres = {
            "cell": (frame, frame),
            "sites_along_top": (frame, inner),
            "sites_down_side": (inner, frame),
            "pairs": (inner, inner),
        }
        return tuple(
            Field(
                name,
                "continuous",
                self.name,
                (rows.stop - rows.start, columns.stop - columns.start, 3),
                (rows, columns),
            )
            for name, (rows, columns) in wheres.items()
        )

    def refuse(self, crystals: Crystals) -> list[Failure]:
        """Crystals of too many sites, of the heaviest elements, of cells out of range."""
        notes = FailureNotes()
        counts = crystals.n_sites
        notes.add(
            counts > MAX_SITES,
            "too many sites",
            lambda i: f"{counts[i]} sites, at most {MAX_SITES} fit",
        )
        heavy = np.zeros(len(crystals), bool)
        heavy[crystals.crystal_indices[MENDELEEV_NUMBERS[crystals.numbers] == 0]] = True
        notes.add(
            heavy,
            "element out of range",
            lambda i: f"{SYMBOLS[crystals[i].numbers.max()]}: elements up to Lr have a code",
        )
        notes.add_left_handed(crystals)
        lengths = crystals.cell_parameters[:, :3]
        notes.add(
            crystals.volumes < 2 * FLAT * lengths.prod(axis=1),
            "cell too flat",
            lambda i: f"angles {crystals[i].cell_parameters[0, 3:].round(3).tolist()}",
        )
        notes.add(
            ((lengths < MIN_LENGTH) | (lengths > MAX_LENGTH)).any(axis=1),
            "length out of range",
            lambda i: (
                f"a, b, c are {lengths[i].round(3).tolist()} Å, wanted {MIN_LENGTH:g} to "
                f"{MAX_LENGTH:g}"
            ),
        )
        return notes.in_order()

    def _encode(self, crystals: Crystals) -> dict[str, npt.NDArray[Any]]:
        pictures = np.empty((len(crystals), SIDE, SIDE, 3), np.float32)
        for start in range(0, len(crystals), _CHUNK):
            draw(crystals[start : start + _CHUNK], pictures[start : start + _CHUNK])
        return {self.name: pictures}

    def _decode(self, arrays: Arrays) -> Decoded:
        pictures = np.asarray(arrays[self.name])
        n = len(pictures)
        notes = FailureNotes()
        flat = pictures.reshape(n, SIDE * SIDE * 3)
        # NaN passes through the smallest and the largest.
        low, high = flat.min(axis=1, initial=0), flat.max(axis=1, initial=0)
        finite = np.isfinite(low) & np.isfinite(high)
        notes.add(~finite, "not finite", "the picture holds NaN or infinity")
        notes.add(
            ~((low >= -_BEYOND) & (high <= 1 + _BEYOND)),
            "pixels out of range",
            lambda i: f"from {low[i]:g} to {high[i]:g}, wanted 0 to 1 (from_pixels divides by 255)",
        )
        readable = ~notes.mask(n)
        failures = notes.in_order()
        space = np.empty((min(n, _CHUNK), SIDE, SIDE, 3), np.float32)
        kept, confidences = [Crystals.empty()], [np.zeros(0)]
        for start in range(0, n, _CHUNK):
            some = slice(start, start + _CHUNK)
            index = np.flatnonzero(readable[some])
            if not len(index):
                continue
            chunk = pictures[some] if readable[some].all() else pictures[some][index]
            crystals, confidence, faults = self._read(np.asarray(chunk, np.float32), space)
            kept.append(crystals)
            confidences.append(confidence)
            failures += [
                dataclasses.replace(fault, index=start + int(index[fault.index]))
                for fault in faults
            ]
        return Decoded.of(n, Crystals.concatenate(kept), failures, np.concatenate(confidences))

    def _read(
        self, pictures: npt.NDArray[np.float32], space: npt.NDArray[np.float32]
    ) -> tuple[Crystals, npt.NDArray[np.float64], list[Failure]]:
        """The crystals that stand in finite pictures, their confidence, and all failures.

        ``space`` is room for as many pictures; fresh memory for each chunk would cost as much
        time as the reading.
        """
        notes, n = FailureNotes(), len(pictures)
        reading = read_pictures(pictures)
        notes.add(reading.counts == 0, "no occupied site", "the mask is dark")
        notes.add(reading.flat, "lattice closes no cell", "angles no cell can have, or no volume")
        notes.add(
            reading.margin < _MARGIN,
            "element undecided",
            lambda i: f"a site lies {reading.margin[i]:.2f} of the way between two elements",
        )
        good = ~notes.mask(n)
        occupied, counts = reading.occupied[good], reading.counts[good]
        crystals = Crystals(
            reading.lattices[good],
            reading.coords[good][occupied],
            reading.numbers[good][occupied],
            np.concatenate([[0], np.cumsum(counts)]),
        )
        again = space[: len(crystals)]
        draw(crystals, again)
        parts = np.zeros((n, len(PARTS)))
        parts[good] = differences_by_part(pictures if good.all() else pictures[good], again, counts)
        worst = parts.max(axis=1)
        notes.add(
            worst > self.max_residual,
            "not self-consistent",
            lambda i: (
                f"{PARTS[parts[i].argmax()]}: {worst[i]:.2f} from the picture of the crystal that "
                f"it decodes to (root mean square), at most {self.max_residual:g} (max_residual)"
            ),
        )
        taken = ~notes.mask(n)
        return crystals[taken[good]], reading.sureness[taken], notes.in_order()


def draw(crystals: Crystals, pictures: npt.NDArray[np.float32]) -> None:
    """Draw crystals that can be held into pictures (n, 64, 64, 3): every pixel is written."""
    n, n_sites, counts = len(crystals), len(crystals.numbers), crystals.n_sites
    cell = cell_codes(cell_fractions(crystals.cell_parameters)).astype(np.float32)
    corner = cell.reshape(n, 2, 3, 6, 2).transpose(0, 1, 3, 4, 2).reshape(n, BORDER, 2, 1, 3)
    corner = np.repeat(corner, BORDER // 2, axis=3) + _DITHER[:, None]
    pictures[:, :BORDER, :BORDER] = corner.reshape(n, BORDER, BORDER, 3)

    cos, sin = _turns(crystals.frac_coords)
    # The site that each pixel along the frame belongs to; the last row, of zeros, where none does.
    place = np.arange(MAX_SITES) // ZOOMS[counts][:, None]
    site = np.where(place < counts[:, None], place + crystals.offsets[:-1, None], -1)
    frame = _frame(crystals, cos, sin)[site]
    pictures[:, BORDER:, :BORDER] = frame
    pictures[:, :BORDER, BORDER:] = frame.transpose(0, 2, 1, 3)

    # cos(s - t) + sin(s - t) = cos s (cos t - sin t) + sin s (cos t + sin t): a product of small
    # matrices, with one more column and row for the centre.
    columns = np.zeros((n_sites + 1, 7), np.float32)
    columns[:-1] = np.concatenate([np.ones((n_sites, 1)), cos[0], sin[0]], axis=1)
    rows = np.zeros((n_sites + 1, 7, 3), np.float32)
    rows[:-1, 0] = CENTRE
    for axis in range(3):
        c, s = cos[0][:, axis], sin[0][:, axis]
        rows[:-1, 1 + axis, axis] = PAIR_AMPLITUDE * (c - s)
        rows[:-1, 4 + axis, axis] = PAIR_AMPLITUDE * (c + s)
    right = rows[site].transpose(0, 2, 1, 3).reshape(n, 7, 3 * MAX_SITES)
    flat = pictures.reshape(n, SIDE, 3 * SIDE)
    np.matmul(columns[site], right, out=flat[:, BORDER:, 3 * BORDER :])


def _turns(frac_coords: Any) -> tuple[Any, Any]:
    """Cosines and sines (2, n_sites, 3) of the coordinates as angles, and of thrice them."""
    angles = 2 * np.pi * np.stack([frac_coords, 3 * frac_coords % 1])
    return np.cos(angles), np.sin(angles)


def _frame(crystals: Crystals, cos: Any, sin: Any) -> npt.NDArray[np.float32]:
    """(n_sites_total + 1, 12, 3) the pixels of each site along the frame; the last are black."""
    counts = crystals.n_sites
    frame = np.zeros((len(crystals.numbers) + 1, BORDER, 3), np.float32)
    frame[:-1, 0] = 1.0
    frame[:-1, ELEMENT_ROWS] = ELEMENT_CODES[MENDELEEV_NUMBERS[crystals.numbers] - 1]
    frame[:-1, COORDINATE_ROWS] = CENTRE + AMPLITUDE * np.stack(
        [cos[0], sin[0], cos[1], sin[1]], axis=1
    )
    key = crystals.crystal_indices * len(MENDELEEV_NUMBERS) + crystals.numbers
    alike = np.bincount(key)[key] if len(key) else key
    owner_counts = np.repeat(counts, counts)
    frame[:-1, SHARE_ROW, 0] = alike / owner_counts
    frame[:-1, SHARE_ROW, 1:] = COUNT_CODES[owner_counts, 0, 3:]
    return frame


def canonical_order(crystals: Crystals) -> Crystals:
    """The same crystals with their sites sorted: by Mendeleev number, then by x, y, z.

    Similar crystals then have similar pictures more often, and sites of one element lie side by
    side. A site whose coordinate passes from 1 to 0 still changes its place in the order.

    >>> rutile = Crystals.single([[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    ...     [[0.3, 0.3, 0], [0.5, 0.5, 0.5], [0, 0, 0]], [8, 22, 22])
    >>> canonical_order(rutile).numbers
    array([22, 22,  8])
    """
    x, y, z = crystals.frac_coords.T
    order = np.lexsort((z, y, x, MENDELEEV_NUMBERS[crystals.numbers], crystals.crystal_indices))
    return Crystals(
        crystals.lattices, crystals.frac_coords[order], crystals.numbers[order], crystals.offsets
    )
