"""CrystalNN fingerprints: how likely each coordination number is, and which polyhedron it forms."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal, get_args

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.elements import SYMBOLS
from crystalcodec.failures import Failure
from crystalcodec.representations.base import (
    Encoded,
    FailureNotes,
    Field,
    Invariance,
    RaggedRepresentation,
    Representation,
    RepresentationError,
    held_crystals,
)
from crystalcodec.representations.crystal_nn.coordination import (
    COVALENT_RADII,
    Coordination,
    coordination,
)
from crystalcodec.representations.crystal_nn.order_parameters import (
    ORDER_PARAMETERS,
    order_parameters,
)
from crystalcodec.representations.crystal_nn.voronoi import CUTOFF, few_enough, voronoi_faces
from crystalcodec.representations.neighbors import neighbors_within
from crystalcodec.representations.parameters import misfit

__all__ = [
    "SITE_LABELS",
    "CrystalNNFingerprint",
    "SiteCrystalNN",
    "SiteFingerprints",
    "site_fingerprints",
]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Statistic = Literal["mean", "std_dev", "minimum", "maximum", "range"]

_LARGEST_NUMBER: Final = 24
SITE_LABELS: Final = tuple(
    f"{name} CN_{number}"
    for number in range(1, _LARGEST_NUMBER + 1)
    for name in ("wt", *ORDER_PARAMETERS.get(number, {}))
)
"""What the 61 numbers of a site are: ``wt CN_6`` is how likely six neighbours are, ``octahedral
CN_6`` that times how well these form an octahedron."""

# Å. Nearer sites have no Voronoi cell of their own that rounding does not decide.
_SAME_PLACE: Final = 1e-4
_HEAVIEST: Final = len(COVALENT_RADII) - 1
# Sites whose faces are held together.
_PART: Final = 20_000
# Entries (j, k, m) of the order parameters that are worked on together.
_BLOCK: Final = 32_000


@dataclass(frozen=True)
class SiteFingerprints:
    """Fingerprints of all sites of the crystals that have them, and why the others have none.

    Parameters
    ----------
    rows : (n_sites_total, 61)
        In the order of :data:`SITE_LABELS`, float64, the sites of crystal after crystal.
    offsets : (m + 1,)
        Rows of each crystal.
    index : (m,)
        Position in the input of each crystal.
    failures
        One for each of the others.
    """

    rows: Floats
    offsets: Ints
    index: Ints
    failures: tuple[Failure, ...]

    def statistics(self, stats: tuple[str, ...] = ("mean",)) -> Floats:
        """(m, 61, s) of each number over the sites of each crystal, float64.

        Parameters
        ----------
        stats
            Of ``mean``, ``std_dev`` (over the number of sites), ``minimum``, ``maximum``,
            ``range``.
        """
        if not len(self.index):
            return np.zeros((0, self.rows.shape[1], len(stats)))
        starts, counts = self.offsets[:-1], np.diff(self.offsets)
        found = {}
        mean = np.add.reduceat(self.rows, starts, axis=0) / counts[:, None]
        found["mean"] = mean
        if "std_dev" in stats:
            squares = (self.rows - np.repeat(mean, counts, axis=0)) ** 2
            found["std_dev"] = np.sqrt(np.add.reduceat(squares, starts, axis=0) / counts[:, None])
        if {"minimum", "maximum", "range"} & {*stats}:
            found["minimum"] = np.minimum.reduceat(self.rows, starts, axis=0)
            found["maximum"] = np.maximum.reduceat(self.rows, starts, axis=0)
            found["range"] = found["maximum"] - found["minimum"]
        return np.stack([found[stat] for stat in stats], axis=2)


def site_fingerprints(crystals: Crystals) -> SiteFingerprints:
    """The fingerprint of every site, in float64.

    Parameters
    ----------
    crystals
        Any number of crystals.

    Examples
    --------
    >>> salt = Crystals.single(
    ...     (np.ones((3, 3)) - np.eye(3)) * 2.82, [[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17]
    ... )
    >>> sodium = site_fingerprints(salt).rows[0]
    >>> sodium[SITE_LABELS.index("wt CN_6")], sodium[SITE_LABELS.index("octahedral CN_6")].round(9)
    (np.float64(1.0), np.float64(1.0))
    """
    notes = _unfit(crystals)
    held, index = held_crystals(crystals, notes.in_order())
    rows, open_ = [np.zeros((0, len(SITE_LABELS)))], [np.zeros(0, bool)]
    for part in _parts(held):
        faces = voronoi_faces(part)
        rows.append(_rows(len(part.numbers), coordination(part, faces)))
        open_.append(faces.open_)
    unclosed = np.zeros(len(crystals), bool)
    unclosed[index[held.crystal_indices[np.concatenate(open_)]]] = True
    notes.add(
        unclosed,
        "no closed Voronoi cell",
        "the neighbours of a site within the longest diagonal of the cell do not enclose it, or "
        "are too many to be looked at: use a cell that is less thin",
    )
    failures = tuple(notes.in_order())
    kept = ~notes.mask(len(crystals))[index]
    return SiteFingerprints(
        np.concatenate(rows)[kept[held.crystal_indices]],
        np.r_[0, np.cumsum(held.n_sites[kept])].astype(np.int64),
        index[kept],
        failures,
    )


def _parts(crystals: Crystals) -> Iterator[Crystals]:
    """The batch in parts of so many sites."""
    cuts = np.flatnonzero(np.diff(crystals.offsets[1:] // _PART)) + 1
    for which in np.split(np.arange(len(crystals)), cuts):
        yield crystals[which]


def _unfit(crystals: Crystals) -> FailureNotes:
    """Crystals that are told without their Voronoi cells to have no fingerprint."""
    notes = FailureNotes()
    owner, n = crystals.crystal_indices, len(crystals)
    heaviest = np.zeros(n, np.int64)
    np.maximum.at(heaviest, owner, crystals.numbers)
    notes.add(
        heaviest > _HEAVIEST,
        "element without a radius",
        lambda i: f"{SYMBOLS[heaviest[i]]}: covalent radii are known up to {SYMBOLS[_HEAVIEST]}",
    )
    few = few_enough(crystals, np.full(n, CUTOFF))
    notes.add(
        ~few,
        "too many neighbours",
        lambda i: (
            f"{crystals.n_sites[i]} sites in {crystals.volumes[i]:.3g} Å3 have too many neighbours "
            f"within {CUTOFF:g} Å to be looked at"
        ),
    )
    near = neighbors_within(crystals[few], _SAME_PLACE, order="site")
    shared = np.zeros(n, bool)
    shared[np.flatnonzero(few)[crystals[few].crystal_indices[near.centers]]] = True
    notes.add(
        shared,
        "sites in one place",
        f"two sites are nearer than {_SAME_PLACE:g} Å: neither has a Voronoi cell of its own",
    )
    return notes


def _rows(n_sites: int, bonds: Coordination) -> Floats:
    """(n_sites, 61) from the coordination numbers of each site."""
    rows = np.zeros((n_sites, len(SITE_LABELS)))
    column = 0
    for number in range(1, _LARGEST_NUMBER + 1):
        levels = np.flatnonzero(bonds.numbers == number)
        columns = slice(column + 1, column + 1 + len(ORDER_PARAMETERS.get(number, {})))
        rows[bonds.sites[levels], column] = bonds.weights[levels]
        column = columns.stop
        step = max(1, _BLOCK // number**3)
        for start in range(0, len(levels) if number in ORDER_PARAMETERS else 0, step):
            some = levels[start : start + step]
            sites = bonds.sites[some]
            first = bonds.starts[sites][:, None] + np.arange(number)
            values = order_parameters(bonds.vectors[first], bonds.ranks[first])
            rows[sites, columns] = bonds.weights[some][:, None] * values
    return rows


@dataclass(frozen=True)
class CrystalNNFingerprint(Representation):
    """CrystalNN fingerprint: (n, 61 s) coordination numbers and polyhedra, over the sites.

    For each site and each number of neighbours from 1 to 24 how likely that number is, and, up to
    12, that times how well the neighbours form each of the polyhedra of that number; of each of
    these 61 numbers the array ``crystal_nn`` holds the statistics over the sites of the cell,
    each number's statistics side by side. With the mean alone it is the fingerprint of structure
    by which the evaluation of CDVAE tells coverage.

    Neighbours are those of CrystalNN as it comes, without oxidation states: sites that share a
    face of their Voronoi cells, weighed by solid angle, electronegativity and distance.

    Parameters
    ----------
    stats
        One or more of ``mean``, ``std_dev``, ``minimum``, ``maximum``, ``range``.

    Raises
    ------
    RepresentationError
        Statistics that there are not, the same twice, or none.

    References
    ----------
    Pan, Ganose, Horton, Aykol, Persson, Zimmermann, Jain, 10.1021/acs.inorgchem.0c02996;
    Zimmermann, Jain, 10.1039/C9RA07755C; CDVAE: Xie, Fu, Ganea, Barzilay, Jaakkola,
    arXiv 2110.06197.

    Examples
    --------
    >>> salt = Crystals.single(
    ...     (np.ones((3, 3)) - np.eye(3)) * 2.82, [[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17]
    ... )
    >>> fingerprint = CrystalNNFingerprint()
    >>> octahedral = fingerprint.feature_names().index("mean octahedral CN_6")
    >>> fingerprint.encode(salt)["crystal_nn"][:, octahedral].round(4).tolist()
    [1.0]
    """

    name: ClassVar[str] = "crystal_nn"
    lost: ClassVar[str] = (
        "elements, lengths, mirror image, which site has which environment, all beyond the bonds "
        "of a site"
    )
    invariances: ClassVar[frozenset[Invariance]] = frozenset(
        {"permutation", "translation", "rotation", "supercell", "unit_cell"}
    )
    continuity: ClassVar = "discontinuous"

    stats: tuple[Statistic, ...] = ("mean",)

    def __post_init__(self) -> None:
        wrong = misfit(type(self), vars(self))
        if not wrong and not 0 < len(self.stats) == len({*self.stats}):
            wrong = f"stats are {list(self.stats)}, wanted at least one, each once"
        if wrong:
            raise RepresentationError(f"{wrong}; there is: {', '.join(get_args(Statistic))}")
        object.__setattr__(self, "stats", tuple(self.stats))

    @property
    def fields(self) -> tuple[Field, ...]:
        """Statistics of coordination numbers and order parameters."""
        size = len(SITE_LABELS) * len(self.stats)
        return (Field("environments", "continuous", self.name, (size,)),)

    def feature_names(self) -> tuple[str, ...]:
        """Statistic, polyhedron or ``wt``, and number of neighbours: ``mean octahedral CN_6``."""
        return tuple(f"{stat} {label}" for label in SITE_LABELS for stat in self.stats)

    def refuse(self, crystals: Crystals) -> list[Failure]:
        """Crystals with an element of no radius, sites in one place or an open Voronoi cell."""
        return list(site_fingerprints(crystals).failures)

    def encode(self, crystals: Crystals) -> Encoded:
        """Encode a batch; as the base does, but finds the Voronoi cells once."""
        self._check_ready(crystals)
        found = site_fingerprints(crystals)
        return Encoded(self._arrays(found), found.index, found.failures)

    def _encode(self, crystals: Crystals) -> dict[str, npt.NDArray[Any]]:
        return self._arrays(site_fingerprints(crystals))

    def _arrays(self, found: SiteFingerprints) -> dict[str, npt.NDArray[Any]]:
        numbers = found.statistics(self.stats).reshape(-1, len(SITE_LABELS) * len(self.stats))
        return {self.name: numbers.astype(np.float32)}


@dataclass(frozen=True)
class SiteCrystalNN(RaggedRepresentation):
    """CrystalNN fingerprints of each site: the ragged array ``crystal_nn`` (sites, 61).

    What the numbers are is told at :class:`CrystalNNFingerprint` and by :data:`SITE_LABELS`.

    Examples
    --------
    >>> iron = Crystals.single(np.eye(3) * 2.87, [[0, 0, 0], [0.5, 0.5, 0.5]], [26, 26])
    >>> row = SiteCrystalNN().encode(iron)["crystal_nn"][0]
    >>> f"{row[SITE_LABELS.index('wt CN_8')]:.3f}"
    '0.579'
    """

    name: ClassVar[str] = "site_crystal_nn"
    lost: ClassVar[str] = "elements, lengths, mirror image, all beyond the bonds of a site"
    invariances: ClassVar[frozenset[Invariance]] = frozenset(
        {"translation", "rotation", "unit_cell"}
    )
    continuity: ClassVar = "discontinuous"

    @property
    def fields(self) -> tuple[Field, ...]:
        """Coordination numbers and order parameters of each site."""
        return (Field("environments", "continuous", "crystal_nn", ("sites", len(SITE_LABELS))),)

    def n_bytes(self, crystals: Crystals) -> int:
        """Memory of the rows of all sites."""
        return 4 * len(crystals.numbers) * len(SITE_LABELS)

    def refuse(self, crystals: Crystals) -> list[Failure]:
        """As :meth:`CrystalNNFingerprint.refuse`."""
        return list(site_fingerprints(crystals).failures)

    def encode(self, crystals: Crystals) -> Encoded:
        """Encode a batch; as the base does, but finds the Voronoi cells once."""
        self._check_ready(crystals)
        found = site_fingerprints(crystals)
        arrays = {"crystal_nn": found.rows.astype(np.float32)}
        return Encoded(arrays, found.index, found.failures, {"sites": found.offsets})

    def _encode_ragged(
        self, crystals: Crystals
    ) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Ints]]:
        encoded = self.encode(crystals)
        return dict(encoded.arrays), dict(encoded.offsets)
