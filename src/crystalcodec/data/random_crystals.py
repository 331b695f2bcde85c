"""Random crystals with sensible volumes and distances: what a generator has to beat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals, CrystalsError
from crystalcodec.data.atom_sizes import ElementVolumes
from crystalcodec.data.pair_distances import STEPS, image_squares, separation_table
from crystalcodec.elements import MAX_ATOMIC_NUMBER
from crystalcodec.failures import Failure
from crystalcodec.geometry import lattices_from_cell_parameters, wrap
from crystalcodec.representations.minimum_images import reduced_cells

__all__ = ["AtomicPacking", "random_crystals"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

# Degrees: a cell can always be chosen with angles in this range, or nearly.
_ANGLES: Final = (60.0, 120.0)
# Lengths before they are scaled to the volume: none more than three times another.
_LENGTHS: Final = (1.0, 3.0)
_LEAST_SKEW: Final = 0.5
# Cells drawn at once for each crystal; the first that its atoms can repeat in is taken.
_CELLS: Final = 8
_ROUNDS: Final = 100
# Pushed a little further than needed, so that pushing comes to an end.
_BEYOND: Final = 1.03
# Volume grows by this with each try.
_GROWTH: Final = 1.03
_BLOCK: Final = 2**16


@dataclass(frozen=True, eq=False)
class AtomicPacking:
    """How much room atoms take, from known crystals.

    Parameters
    ----------
    volumes
        Of the elements, with their spread.
    separations : (119, 119)
        Å; how near atoms of two elements may come to each other.
    """

    volumes: ElementVolumes
    separations: Floats

    @classmethod
    def fit(cls, crystals: Crystals, *, quantile: float = 0.05) -> AtomicPacking:
        """Volumes and separations of n crystals; ``quantile`` as in :func:`separation_table`."""
        return cls(ElementVolumes.fit(crystals), separation_table(crystals, quantile=quantile))


def random_crystals(
    n: int,
    *,
    like: Crystals,
    seed: int,
    compositions: Sequence[npt.ArrayLike] | None = None,
    packing: AtomicPacking | None = None,
    tries: int = 20,
) -> tuple[Crystals, list[Failure]]:
    """Crystals whose atoms are anywhere, but no nearer to each other than in known crystals.

    In the manner of ab initio random structure searching (AIRSS, Pickard and Needs,
    10.1088/0953-8984/23/5/053201), without its relaxation and without symmetry. Of each:

    - the composition, with its number of sites, is that of a crystal of ``like``, drawn at random;
    - the volume is the sum of volumes of its elements, fitted to ``like``, times exp(s x), with x
      normal and s the spread of the fit;
    - the cell has three lengths of which none is more than three times another and angles of 60°
      to 120°, scaled to the volume; cells in which an atom is too near to its own image are drawn
      again;
    - the atoms are put anywhere, and pairs that are too near are pushed apart, in small rounds;
    - too near is nearer than the 5th percentile of the shortest distances of the two elements in
      crystals of ``like`` that have both, or, where fewer than five have, than the sum of covalent
      radii times the 5th percentile of such ratios.

    Where that does not come to an end, cell and atoms are drawn again in a volume larger by 3 %.

    Parameters
    ----------
    n
        How many to try.
    like
        Known crystals.
    seed
        The same seed gives the same crystals.
    compositions
        Atomic numbers of the sites, for each crystal that may be drawn; ``like``'s where None.
    packing
        What :meth:`AtomicPacking.fit` gives, to fit it once.
    tries
        How often a crystal is tried.

    Returns
    -------
    crystals, failures
        Together n; each failure's index is its place among the n.

    Raises
    ------
    CrystalsError
        No composition to draw from, or one without sites or with no such element.

    Examples
    --------
    >>> iron = Crystals.single(2.87 * np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]], [26, 26])
    >>> crystals, failures = random_crystals(3, like=iron, seed=0)
    >>> len(crystals), set(crystals.formulas), failures
    (3, {'Fe'}, [])
    """
    rng = np.random.default_rng(seed)
    sites = _sites(like, compositions)
    if packing is None:
        packing = AtomicPacking.fit(like)
    drawn = [sites[i] for i in rng.integers(0, len(sites), n).tolist()]
    trials = _Trials(drawn, packing)
    pending = np.arange(n)
    for attempt in range(tries):
        if not len(pending):
            break
        pending = pending[~trials.attempt(pending, attempt, rng)]
    return trials.crystals(pending), [
        Failure(
            i,
            "no room",
            f"{len(drawn[i])} sites came no further apart in {tries} cells; more tries may do",
        )
        for i in pending.tolist()
    ]


def _sites(like: Crystals, compositions: Sequence[npt.ArrayLike] | None) -> list[Ints]:
    if compositions is None:
        found = np.split(like.numbers, like.offsets[1:-1]) if len(like) else []
    else:
        found = [np.atleast_1d(np.asarray(one)) for one in compositions]
    if not found:
        raise CrystalsError("no composition to draw from: wanted one crystal or more to be like")
    every = np.concatenate(found)
    if min(map(len, found)) < 1 or every.min() < 1 or every.max() > MAX_ATOMIC_NUMBER:
        raise CrystalsError(
            f"compositions of atomic numbers {every.min(initial=1)} to {every.max(initial=1)}, "
            f"some maybe empty: wanted one site or more, of 1 to {MAX_ATOMIC_NUMBER}"
        )
    return [np.asarray(one, np.int64) for one in found]


@dataclass
class _Trials:
    """Compositions, and the cell and coordinates of those that are done."""

    numbers: list[Ints]
    packing: AtomicPacking
    lattices: dict[int, Floats] = field(default_factory=dict)
    coords: dict[int, Floats] = field(default_factory=dict)

    def attempt(self, pending: Ints, attempt: int, rng: np.random.Generator) -> Bools:
        """Try each of these once; which are done."""
        done = np.zeros(len(pending), bool)
        sizes = np.array([len(self.numbers[i]) for i in pending])
        for size in np.unique(sizes).tolist():
            members = np.flatnonzero(sizes == size)
            at_once = max(1, _BLOCK // (size * max(1, size // 2)))
            for start in range(0, len(members), at_once):
                rows = members[start : start + at_once]
                done[rows] = self._block(pending[rows], attempt, rng)
        return done

    def _block(self, rows: Ints, attempt: int, rng: np.random.Generator) -> Bools:
        """Crystals of one number of sites."""
        numbers = np.array([self.numbers[i] for i in rows])
        sums = self.packing.volumes.values[numbers].sum(axis=1)
        spread = self.packing.volumes.spread * rng.standard_normal(len(rows))
        volumes = sums * np.exp(spread) * _GROWTH**attempt
        own = np.diagonal(self.packing.separations)[numbers].max(axis=1)
        cells, roomy = _cells(volumes, own, rng)
        coords = rng.random((*numbers.shape, 3))
        done = roomy.copy()
        if numbers.shape[1] > 1 and roomy.any():
            inside = _pushed_apart(
                coords[roomy], cells[roomy], numbers[roomy], self.packing.separations
            )
            coords[roomy], done[roomy] = inside
        for i in np.flatnonzero(done).tolist():
            self.lattices[int(rows[i])] = cells[i]
            self.coords[int(rows[i])] = coords[i]
        return done

    def crystals(self, failed: Ints) -> Crystals:
        """Those that are done, in order."""
        order = np.setdiff1d(np.arange(len(self.numbers)), failed).tolist()
        if not order:
            return Crystals.empty()
        offsets = np.cumsum([0, *(len(self.numbers[i]) for i in order)])
        return Crystals(
            np.stack([self.lattices[i] for i in order]),
            np.concatenate([self.coords[i] for i in order]),
            np.concatenate([self.numbers[i] for i in order]),
            offsets,
        )


def _cells(volumes: Floats, own: Floats, rng: np.random.Generator) -> tuple[Floats, Bools]:
    """(m, 3, 3) reduced cells of these volumes, and whether no atom is too near to its image."""
    shape = (len(volumes), _CELLS, 3)
    parameters = np.concatenate([rng.uniform(*_LENGTHS, shape), rng.uniform(*_ANGLES, shape)], 2)
    lattices = lattices_from_cell_parameters(parameters.reshape(-1, 6))
    boxes = parameters[..., :3].prod(axis=2).ravel()
    skew = np.abs(np.linalg.det(np.nan_to_num(lattices))) / boxes
    good = skew >= _LEAST_SKEW
    scale = (np.repeat(volumes, _CELLS) / (np.where(good, skew, 1.0) * boxes)) ** (1 / 3)
    lattices[~good] = np.eye(3)
    cells, _ = reduced_cells(lattices * scale[:, None, None])
    shortest = np.sqrt((cells * cells).sum(axis=2).min(axis=1))
    fits = (good & (shortest >= np.repeat(own, _CELLS))).reshape(-1, _CELLS)
    first = fits.argmax(axis=1)
    taken = cells.reshape(-1, _CELLS, 3, 3)[np.arange(len(volumes)), first]
    return taken, fits.any(axis=1)


def _pushed_apart(
    coords: Floats, cells: Floats, numbers: Ints, separations: Floats
) -> tuple[Floats, Bools]:
    """Coordinates (m, s, 3) after pushing, and for which crystals all separations hold."""
    size = numbers.shape[1]
    places = np.arange(1, size // 2 + 1)
    other = ((np.arange(size) + places[:, None]) % size).ravel()
    first = np.tile(np.arange(size), len(places))
    if size % 2 == 0:  # half around, each pair would come twice
        first, other = first[: -size // 2], other[: -size // 2]
    least = separations[numbers[:, first], numbers[:, other]]
    inverse = np.linalg.inv(cells)
    coords = coords.copy()
    done = np.zeros(len(coords), bool)
    for _ in range(_ROUNDS):
        active = np.flatnonzero(~done)
        differences = coords[active][:, other] - coords[active][:, first]
        differences -= np.rint(differences)
        squares = image_squares(differences, cells[active])
        near = squares < least[active] ** 2
        done[active] = ~near.any(axis=1)
        rows, pairs = np.nonzero(near)
        if not len(rows):
            break
        members = active[rows]
        vectors = _nearest(differences[rows, pairs], cells[members])
        lengths = np.sqrt((vectors * vectors).sum(axis=1))
        short = _BEYOND * least[members, pairs] - lengths
        moves = vectors * (0.5 * short / np.maximum(lengths, 1e-6))[:, None]
        moves = np.einsum("pi,pij->pj", moves, inverse[members])
        np.add.at(coords, (members, other[pairs]), moves)
        np.subtract.at(coords, (members, first[pairs]), moves)
    return wrap(coords), done


def _nearest(differences: Floats, cells: Floats) -> Floats:
    """(p, 3) Å, the shortest image of each fractional difference, one cell (p, 3, 3) each."""
    steps = np.concatenate([np.zeros((1, 3)), STEPS, -STEPS])
    images = (differences[:, None] + steps) @ cells
    best = (images * images).sum(axis=2).argmin(axis=1)
    return np.asarray(images[np.arange(len(images)), best], float)
