"""Shell graphs as ragged arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.failures import Failure
from crystalcodec.representations.base import (
    FailureNotes,
    Field,
    Invariance,
    RaggedRepresentation,
    RepresentationError,
)
from crystalcodec.representations.harmonics import real_spherical_harmonics
from crystalcodec.representations.neighbors import (
    Neighbors,
    nearest_neighbors,
    without_shells,
)
from crystalcodec.representations.parameters import misfit
from crystalcodec.representations.shell_graph.kinds import (
    classes,
    equal_lengths,
    equal_within,
    in_order,
    split_kinds,
)

__all__ = ["ShellGraph"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_MOST_DEGREES: Final = 8
# Numbers that tell surroundings apart are of order one; moving a neighbour 2 Å away by the
# tolerance, in Å, changes them by a few times that.
_ANGLE_FACTOR: Final = 10.0


@dataclass(frozen=True)
class ShellGraph(RaggedRepresentation):
    """A crystal as a graph of the kinds of its sites and the shells of neighbours around them.

    Two sites are of one kind where no walk along edges tells them apart: the same element, and at
    the same distances the same numbers of neighbours of the same kinds (colour refinement of the
    crystal graph). All sites that a symmetry of the crystal brings onto each other are. The
    neighbours of one kind at one distance are one shell. A network whose messages depend on
    elements and distances alone computes the same from this graph, with the counts as weights, as
    from the whole crystal graph, of which it is a fifth on crystals of the Materials Project.

    Arrays, rows of all crystals joined and cut by the offsets of their axis:

    - ``numbers`` (nodes,): atomic numbers;
    - ``weights`` (nodes,): share of the crystal's sites that are of this kind;
    - ``shells`` (shells, 2): node in the middle and node around it, counted from the crystal's
      first;
    - ``distances`` (shells,): Å, the mean over what was joined;
    - ``counts`` (shells,): neighbours in the shell, the mean over the sites of the node;
    - ``volume_per_atom`` (1,): Å³;
    - where ``max_degree`` is above 0, ``harmonics`` (shells, (max_degree + 1)² - 1): mean of
      √(4π/(2l + 1)) Y_lm, l from 1, over the directions of the shell's neighbours around one site
      of the node, in the frame of the cell; column l² + l + m - 1.

    Nodes stand by element, then by a number that their surroundings determine; shells by node in
    the middle, node around it, and distance: the arrays depend on the crystal alone. Harmonics do
    so up to a rotation, and a reflection where the crystal has mirror images of its sites; from
    them a network takes invariants such as Σ_m A_lm², A being sums over the shells of one node.

    Lost: positions; without harmonics, angles and with them mirror images.

    Parameters
    ----------
    max_neighbors
        Nearest neighbours of each site, and all that are as near as the last.
    cutoff
        Å; no neighbour is further away. None is no limit.
    max_degree
        Largest l of the harmonics, 0 (none) to 8. Sites are then of one kind only if their
        directions agree, too.
    tolerance
        Å: distances that differ by no more are equal where that joins something; no distance is
        moved by more.

    Raises
    ------
    RepresentationError
        Parameters not above zero, a degree above 8.

    References
    ----------
    Colour refinement and message passing: Xu et al., arXiv 1810.00826. Networks on the asymmetric
    unit: Ruff et al., 10.1039/D4DD00018H. Invariants of shells: Steinhardt et al.,
    10.1103/PhysRevB.28.784.

    Examples
    --------
    >>> salt = Crystals.single(
    ...     [[0, 2.8, 2.8], [2.8, 0, 2.8], [2.8, 2.8, 0]], [[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17]
    ... )
    >>> graph = ShellGraph(max_neighbors=12).encode(salt.supercell([2, 2, 2]))
    >>> graph["numbers"].tolist(), graph["shells"].tolist()
    ([11, 17], [[0, 0], [0, 1], [1, 0], [1, 1]])
    >>> graph["counts"].tolist(), graph["distances"].astype(float).round(2).tolist()
    ([12.0, 6.0, 6.0, 12.0], [3.96, 2.8, 2.8, 3.96])
    """

    name: ClassVar[str] = "shell_graph"
    continuity: ClassVar = "discontinuous"

    max_neighbors: int = 16
    cutoff: float | None = None
    max_degree: int = 0
    tolerance: float = 1e-3

    def __post_init__(self) -> None:
        if wrong := misfit(type(self), vars(self)):
            raise RepresentationError(wrong)
        for name in ("max_neighbors", "cutoff", "tolerance"):
            value = getattr(self, name)
            if value is not None and not 0 < value < np.inf:
                raise RepresentationError(f"{name} is {value}, wanted a number above 0")
        if not 0 <= self.max_degree <= _MOST_DEGREES:
            raise RepresentationError(
                f"max_degree is {self.max_degree}, wanted 0 (no harmonics) to {_MOST_DEGREES}"
            )

    @property
    def invariances(self) -> frozenset[Invariance]:  # type: ignore[override]
        """All without harmonics; these are told in the frame of the crystal, around one site."""
        if self.max_degree:
            return frozenset({"translation", "supercell", "unit_cell"})
        return frozenset({"permutation", "translation", "rotation", "supercell", "unit_cell"})

    @property
    def lost(self) -> str:  # type: ignore[override]
        """What the arrays do not tell."""
        return "positions" if self.max_degree else "positions, angles, mirror images"

    @property
    def fields(self) -> tuple[Field, ...]:
        """The named parts of the arrays."""
        fields = (
            Field("numbers", "index", "numbers", ("nodes",)),
            Field("weights", "continuous", "weights", ("nodes",)),
            Field("shells", "index", "shells", ("shells", 2)),
            Field("distances", "continuous", "distances", ("shells",), unit="Å"),
            Field("counts", "continuous", "counts", ("shells",)),
            Field("volume_per_atom", "continuous", "volume_per_atom", (1,), unit="Å³"),
        )
        if not self.max_degree:
            return fields
        return (*fields, Field("harmonics", "continuous", "harmonics", ("shells", self._width)))

    @property
    def _width(self) -> int:
        return (self.max_degree + 1) ** 2 - 1

    def n_bytes(self, crystals: Crystals) -> int:
        """Memory of the arrays if no two sites and no two neighbours were equal."""
        shells = 1.4 * self.max_neighbors * len(crystals.numbers)
        return int(12 * len(crystals.numbers) + (24 + 4 * self._width) * shells + 4 * len(crystals))

    def refuse(self, crystals: Crystals) -> list[Failure]:
        """Crystals so small that distances follow one another by less than the tolerance."""
        notes = FailureNotes()
        notes.add(*without_shells(crystals, self.tolerance))
        return notes.in_order()

    def _encode_ragged(
        self, crystals: Crystals
    ) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Ints]]:
        near = nearest_neighbors(
            crystals,
            self.max_neighbors,
            cutoff=self.cutoff,
            ties="kept",
            tie_tolerance=self.tolerance,
        )
        lengths = equal_lengths(crystals, near, self.tolerance)
        elements = classes(crystals.crystal_indices, crystals.numbers)
        kinds = split_kinds(elements, near, lengths)
        kinds = in_order(elements, near, kinds, np.sqrt(crystals.numbers))
        harmonics = self._harmonics(near)
        if self.max_degree:
            kinds = self._split_by_angles(crystals, near, kinds, lengths, harmonics)
        n_nodes = int(kinds.max(initial=-1)) + 1
        members = np.bincount(kinds, minlength=n_nodes)
        # Kinds are numbered crystal after crystal, so their offsets follow from the sites'.
        owner, numbers = np.empty((2, n_nodes), np.int64)
        owner[kinds], numbers[kinds] = crystals.crystal_indices, crystals.numbers
        nodes = np.searchsorted(owner, np.arange(len(crystals) + 1)).astype(np.int64)
        rows = classes(kinds[near.centers], kinds[near.neighbors], lengths)
        joined = np.bincount(rows)
        edges = np.empty((len(joined), 2), np.int64)
        edges[rows] = np.stack([kinds[near.centers], kinds[near.neighbors]], axis=1)
        shells = np.searchsorted(edges[:, 0], nodes).astype(np.int64)
        first = np.repeat(nodes[:-1], np.diff(shells))
        arrays: dict[str, npt.NDArray[Any]] = {
            "numbers": numbers,
            "weights": (members / crystals.n_sites[owner]).astype(np.float32),
            "shells": edges - first[:, None],
            "distances": (np.bincount(rows, near.distances) / joined).astype(np.float32),
            "counts": (joined / members[edges[:, 0]]).astype(np.float32),
            "volume_per_atom": (crystals.volumes / crystals.n_sites)[:, None].astype(np.float32),
        }
        if self.max_degree:
            arrays["harmonics"] = _of_one_site(near, kinds, rows, harmonics)
        return arrays, {"nodes": nodes, "shells": shells}

    def _split_by_angles(
        self, crystals: Crystals, near: Neighbors, kinds: Ints, lengths: Ints, harmonics: Floats
    ) -> Ints:
        """Kinds split until the directions of a kind's neighbours agree, kind by kind."""
        elements = classes(crystals.crystal_indices, crystals.numbers)
        n_kinds = -1
        # Kinds that are split may split those around them; what is settled, each round leaves.
        while n_kinds != (n_kinds := int(kinds.max(initial=-1)) + 1):
            labels = _labels(crystals.numbers, elements, kinds)
            told = _invariants(near, labels, harmonics, self.max_degree)
            for column in told.T:
                kinds = equal_within(kinds, column, _ANGLE_FACTOR * self.tolerance)
            # Simple fractions would make numbers of regular polyhedra equal that are not.
            start = np.sqrt(crystals.numbers) + told @ np.exp(-np.arange(1.0, self.max_degree + 1))
            kinds = in_order(kinds, near, split_kinds(kinds, near, lengths), start)
        return kinds

    def _harmonics(self, near: Neighbors) -> Floats:
        """(n_pairs, width) of the direction of each neighbour."""
        if not self.max_degree:
            return np.zeros((len(near), 0))
        # A site in the same place as another has no direction.
        lengths = np.where(near.distances > 0, near.distances, 1.0)
        columns = real_spherical_harmonics(near.vectors / lengths[:, None], self.max_degree)[:, 1:]
        degrees = np.repeat(np.arange(1, self.max_degree + 1), _orders(self.max_degree))
        return columns * np.sqrt(4 * np.pi / (2 * degrees + 1))


def _orders(max_degree: int) -> Ints:
    return 2 * np.arange(1, max_degree + 1) + 1


def _labels(numbers: Ints, elements: Ints, kinds: Ints) -> Ints:
    """(n_sites_total,) a whole number for each kind of an element: the first has its atomic number.

    ``kinds`` stand in the order of ``elements``, which are numbered through all crystals.
    """
    first = np.full(int(elements.max(initial=-1)) + 1, len(kinds))
    np.minimum.at(first, elements, kinds)
    # Times the golden ratio and modulo 1 they lie far apart.
    labels: Ints = numbers + 145 * (kinds - first[elements])
    return labels


def _invariants(near: Neighbors, labels: Ints, harmonics: Floats, max_degree: int) -> Floats:
    """(n_sites_total, max_degree) Σ_m (Σ_j w_j Y_lm)² of each site, w by label and distance."""
    # Another weight for each label, without a draw: multiples of the golden ratio modulo 1.
    weights = 0.5 + np.modf(0.6180339887498949 * labels)[0]
    weights = np.exp(-0.5 * near.distances) * weights[near.neighbors]
    starts = np.flatnonzero(np.diff(near.centers, prepend=-1))
    sums = np.zeros((len(labels), harmonics.shape[1]))
    if len(starts):
        sums[near.centers[starts]] = np.add.reduceat(weights[:, None] * harmonics, starts)
    cuts = np.cumsum(_orders(max_degree)) - _orders(max_degree)
    return np.asarray(np.add.reduceat(sums * sums, cuts, axis=1), float)


def _of_one_site(
    near: Neighbors, kinds: Ints, rows: Ints, harmonics: Floats
) -> npt.NDArray[np.float32]:
    """(n_shells, width) means over the neighbours of the first site of each node."""
    first = np.zeros(len(kinds), bool)
    first[np.unique(kinds, return_index=True)[1]] = True
    kept = first[near.centers]
    order = np.argsort(rows[kept], kind="stable")
    of_shell = rows[kept][order]
    starts = np.flatnonzero(np.diff(of_shell, prepend=-1))
    sums = np.add.reduceat(harmonics[kept][order], starts) if len(starts) else harmonics[:0]
    return np.asarray(sums / np.bincount(of_shell)[:, None], np.float32)
