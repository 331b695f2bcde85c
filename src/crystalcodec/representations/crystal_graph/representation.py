"""Crystal graphs as ragged arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal, cast

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.elements import SYMBOLS
from crystalcodec.failures import Failure
from crystalcodec.registry import did_you_mean
from crystalcodec.representations.base import (
    DENSE,
    Arrays,
    Decoded,
    Encoded,
    FailureNotes,
    Field,
    InvertibleRaggedRepresentation,
    Offsets,
    RepresentationError,
)
from crystalcodec.representations.crystal_graph.angles import edge_pairs
from crystalcodec.representations.crystal_graph.decoding import crystals_of_graphs
from crystalcodec.representations.crystal_graph.edge_features import (
    EDGE_FEATURES,
    GLOBAL_FEATURES,
    EdgeContext,
    edge_columns,
    global_columns,
)
from crystalcodec.representations.crystal_graph.local_environments import environments
from crystalcodec.representations.crystal_graph.node_features import (
    check_node_features,
    node_table,
)
from crystalcodec.representations.crystal_graph.parts import first_sites_of_parts
from crystalcodec.representations.neighbors import (
    Neighbors,
    nearest_neighbors,
    neighbors_within,
    without_shells,
)
from crystalcodec.representations.parameters import misfit

__all__ = ["CrystalGraph"]

Ints = npt.NDArray[np.int64]

_RULES: Final = ("radius", "nearest", "voronoi", "crystal_nn")


@dataclass(frozen=True)
class CrystalGraph(InvertibleRaggedRepresentation):
    """A crystal as a graph: sites, and directed edges to periodic images of their neighbours.

    Arrays, rows of all crystals joined and cut by the offsets of their axis:

    - ``numbers`` (sites,): atomic numbers;
    - ``edges`` (edges, 2): centre and neighbour, sites counted from the crystal's first;
    - ``shifts`` (edges, 3): whole cell vectors from the neighbour to its image;
    - ``vectors`` (edges, 3), ``distances`` (edges,): from the centre to that image, Å;
    - ``lattice`` (3, 3): cell vectors in rows, Å;
    - ``anchor_sites`` (parts,), ``anchors`` (parts, 3): the first site of each connected part of
      the graph and its fractional coordinates; one for a connected graph;
    - where asked for, ``node_features`` (sites, d), ``edge_features`` (edges, d), ``globals``
      (d,), and the line graph: ``angle_edges`` (angles, 2), two edges of one centre counted from
      the crystal's first edge, each pair once, and ``cosines`` (angles,) of the angle between.

    Edges are directed, and both directions are there for ``radius``; two sites may be joined by
    several edges, to different images, and a site to images of itself. Edges of a site stand by
    distance for ``nearest`` (equal ones by neighbour, then image), by neighbour and image
    otherwise. An isolated site has none, and is none the less a node.

    Decoding walks the edges from the anchors and gives the crystal in its cell, frame, origin and
    order of sites; edges that contradict one another are refused. Features, angles and globals are
    not read.

    Parameters
    ----------
    neighbors
        Which sites are joined: ``radius``, all within ``cutoff``; ``nearest``, the
        ``max_neighbors`` nearest within ``cutoff`` (fewer where there are fewer); ``voronoi``,
        those whose Voronoi cells share a face; ``crystal_nn``, pymatgen's CrystalNN. The last two
        read neither limit, take tens of milliseconds a crystal, and fail where pymatgen fails.
    cutoff
        Å, for ``nearest`` None is none; a distance up to 1e-8 Å longer counts as within. Also
        where the Gaussians and the weight of the edge features end.
    max_neighbors
        For ``nearest``.
    ties
        For ``nearest``, neighbours as near as the last: ``cut``, those that stand first are
        taken, so that a site has no more than ``max_neighbors`` edges and the choice follows the
        order of sites and the cell; ``kept``, all are, and the graph depends on the crystal
        alone.
    tie_tolerance
        Å; distances of a site that follow one another by less count as equal.
    node_features
        Names of :data:`NODE_FEATURES` (``cgcnn``: the 92 published ones) or of tables of elements
        (``magpie``). A crystal with an element that lacks one is a failure.
    edge_features
        Of ``distance``, ``gaussians``, ``direction``, ``cutoff_weight``,
        ``electronegativity_difference`` (of neighbour and centre).
    global_features
        Of ``composition``, ``volume_per_atom``, ``density``, ``lattice_parameters``, ``n_sites``.
    gaussian_step
        Å, distance and width of the Gaussians, which stand from 0 to the cut-off.
    angles
        Whether the line graph is there.
    tolerance
        For decoding: Å by which edges may contradict one another.

    Raises
    ------
    RepresentationError
        Limits not above zero, unknown names, Gaussians without a cut-off.

    References
    ----------
    Xie and Grossman, Phys. Rev. Lett. 120, 145301 (2018), 10.1103/PhysRevLett.120.145301.

    Examples
    --------
    >>> salt = Crystals.single(
    ...     [[0, 2.8, 2.8], [2.8, 0, 2.8], [2.8, 2.8, 0]], [[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17]
    ... )
    >>> graph = CrystalGraph(max_neighbors=6).encode(salt)
    >>> graph["edges"].shape, graph["distances"].astype(float).round(3).tolist()[:3]
    ((12, 2), [2.8, 2.8, 2.8])
    >>> CrystalGraph().decode(graph).crystals
    Crystals(n=1, n_sites_total=2: NaCl)
    """

    name: ClassVar[str] = "crystal_graph"
    lost: ClassVar[str] = "nothing"
    invariances: ClassVar = frozenset()
    continuity: ClassVar = "discontinuous"
    round_trip_tolerance: ClassVar[float] = 1e-4

    neighbors: Literal["radius", "nearest", "voronoi", "crystal_nn"] = "nearest"
    cutoff: float | None = 8.0
    max_neighbors: int = 12
    ties: Literal["cut", "kept"] = "cut"
    tie_tolerance: float = 1e-4
    node_features: tuple[str, ...] = ()
    edge_features: tuple[str, ...] = ()
    global_features: tuple[str, ...] = ()
    gaussian_step: float = 0.2
    angles: bool = False
    tolerance: float = 1e-3

    def __post_init__(self) -> None:
        if wrong := misfit(type(self), vars(self)):
            raise RepresentationError(wrong)
        for name in ("node_features", "edge_features", "global_features"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        _check_name("neighbors", self.neighbors, _RULES)
        _check_name("ties", self.ties, ("cut", "kept"))
        check_node_features(self.node_features)
        for name in self.edge_features:
            _check_name("edge_features", name, tuple(EDGE_FEATURES))
        for name in self.global_features:
            _check_name("global_features", name, tuple(GLOBAL_FEATURES))
        for name in ("cutoff", "max_neighbors", "tie_tolerance", "gaussian_step", "tolerance"):
            value = getattr(self, name)
            if value is not None and not 0 < value < np.inf:
                raise RepresentationError(f"{name} is {value}, wanted a number above 0")
        ends = {"gaussians", "cutoff_weight"} & {*self.edge_features}
        if self.cutoff is None and (self.neighbors == "radius" or ends):
            raise RepresentationError(
                f"cutoff is None: {' and '.join(sorted(ends)) or 'radius'} need a distance in Å"
            )

    @property
    def node_feature_names(self) -> tuple[str, ...]:
        """A name for each column of ``node_features``."""
        return node_table(self.node_features)[1]

    @property
    def edge_feature_names(self) -> tuple[str, ...]:
        """A name for each column of ``edge_features``."""
        named = [EDGE_FEATURES[name][1](self._gaussians) for name in self.edge_features]
        return tuple(name for names in named for name in names)

    @property
    def global_feature_names(self) -> tuple[str, ...]:
        """A name for each number of ``globals``."""
        named = [GLOBAL_FEATURES[name][1] for name in self.global_features]
        return tuple(name for names in named for name in names)

    @property
    def _gaussians(self) -> npt.NDArray[np.float64]:
        if self.cutoff is None:
            return np.zeros(0)
        steps = np.arange(round(self.cutoff / self.gaussian_step) + 1)
        return np.asarray(self.gaussian_step * steps, float)

    @property
    def fields(self) -> tuple[Field, ...]:
        """The named parts of the arrays."""
        fields = [
            Field("numbers", "index", "numbers", ("sites",)),
            Field("edges", "index", "edges", ("edges", 2)),
            Field("shifts", "index", "shifts", ("edges", 3)),
            Field("vectors", "continuous", "vectors", ("edges", 3), unit="Å"),
            Field("distances", "continuous", "distances", ("edges",), unit="Å"),
            Field("lattice", "continuous", "lattice", (3, 3), unit="Å"),
            Field("anchor_sites", "index", "anchor_sites", ("parts",)),
            Field("anchors", "periodic", "anchors", ("parts", 3)),
        ]
        for array, axes, names in (
            ("node_features", ("sites",), self.node_features and self.node_feature_names),
            ("edge_features", ("edges",), self.edge_feature_names),
            ("globals", (), self.global_feature_names),
        ):
            if names:
                fields.append(Field(array, "continuous", array, (*axes, len(names))))
        if self.angles:
            fields += [
                Field("angle_edges", "index", "angle_edges", ("angles", 2)),
                Field("cosines", "continuous", "cosines", ("angles",)),
            ]
        return tuple(fields)

    def n_bytes(self, crystals: Crystals) -> int:
        """Memory of the arrays, from the number of neighbours that the density lets expect."""
        if self.neighbors == "radius":
            reach = float(self.cutoff or 0.0)
            # A denser crystal is refused where that would take more.
            density = np.minimum(crystals.n_sites / crystals.volumes, DENSE)
            sphere = 4 / 3 * np.pi * reach**3 * density
        else:
            many = {"nearest": self.max_neighbors}.get(self.neighbors, 16)
            sphere = np.full(len(crystals), float(many))
        edges = float((sphere * crystals.n_sites).sum())
        angles = float((sphere * sphere * crystals.n_sites).sum()) / 2 * self.angles
        nodes = len(self.node_feature_names) if self.node_features else 0
        return int(
            edges * (56 + 4 * len(self.edge_feature_names))
            + 20 * angles
            + len(crystals.numbers) * (8 + 4 * nodes)
            + len(crystals) * (56 + 4 * len(self.global_feature_names))
        )

    def refuse(self, crystals: Crystals) -> list[Failure]:
        """Crystals with an element without features, too dense, or that pymatgen cannot analyse."""
        notes = self._without_features(crystals)
        if self.neighbors == "radius" and self.cutoff is not None:
            notes.add_too_dense(crystals, self.cutoff)
        elif self.neighbors == "nearest":
            notes.add(*without_shells(crystals, self.tie_tolerance))
        if self.neighbors in ("voronoi", "crystal_nn"):
            _note_all(notes, environments(crystals, self.neighbors)[1], len(crystals))
        return notes.in_order()

    def encode(self, crystals: Crystals) -> Encoded:
        """Encode a batch; as :meth:`RaggedRepresentation.encode`."""
        if self.neighbors not in ("voronoi", "crystal_nn"):
            return super().encode(crystals)
        # What takes pymatgen long is done once, not to refuse and again to encode.
        self._check_ready(crystals)
        notes = self._without_features(crystals)
        near, failures = environments(crystals, self.neighbors)
        _note_all(notes, failures, len(crystals))
        held = ~notes.mask(len(crystals))
        if not held.all():
            near = _of_crystals(near, crystals, held)
        arrays, offsets = self._arrays(crystals[held], near)
        return Encoded(arrays, np.flatnonzero(held), tuple(notes.in_order()), offsets)

    def _without_features(self, crystals: Crystals) -> FailureNotes:
        notes = FailureNotes()
        owner = crystals.crystal_indices
        wanted: list[tuple[str, npt.NDArray[np.bool_]]] = []
        if self.node_features:
            wanted.append(("node features", _complete(node_table(self.node_features)[0])))
        if "electronegativity_difference" in self.edge_features:
            wanted.append(("edge features", _complete(node_table(("electronegativity",))[0])))
        for what, has in wanted:
            lacking: dict[int, str] = {}
            for site in np.flatnonzero(~has[crystals.numbers]).tolist():
                symbol = SYMBOLS[crystals.numbers[site]]
                lacking.setdefault(int(owner[site]), symbol)
            details = {i: f"{symbol} lacks some of the {what}" for i, symbol in lacking.items()}
            mask = np.zeros(len(crystals), bool)
            mask[[*details]] = True
            notes.add(mask, "element without features", details.__getitem__)
        return notes

    def _encode_ragged(
        self, crystals: Crystals
    ) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Ints]]:
        if self.neighbors == "radius" and self.cutoff is not None:
            near = neighbors_within(crystals, self.cutoff, order="site")
        elif self.neighbors == "nearest":
            near = nearest_neighbors(
                crystals,
                self.max_neighbors,
                cutoff=self.cutoff,
                ties=self.ties,
                tie_tolerance=self.tie_tolerance,
            )
        else:
            rule = cast(Literal["voronoi", "crystal_nn"], self.neighbors)
            near = environments(crystals, rule)[0]
        return self._arrays(crystals, near)

    def _arrays(
        self, crystals: Crystals, near: Neighbors
    ) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Ints]]:
        """Arrays and offsets of crystals with these neighbours."""
        first = np.repeat(crystals.offsets[:-1], np.diff(near.offsets))
        edges = np.empty((len(near), 2), np.int64)
        np.subtract(near.centers, first, out=edges[:, 0])
        np.subtract(near.neighbors, first, out=edges[:, 1])
        anchored = first_sites_of_parts(near.centers, near.neighbors, len(crystals.numbers))
        anchors = crystals.frac_coords[anchored].astype(np.float32)
        anchors[anchors == 1.0] = 0.0  # 0.99999999 rounds up in float32
        arrays: dict[str, npt.NDArray[Any]] = {
            "numbers": crystals.numbers.copy(),
            "edges": edges,
            "shifts": near.images,
            "vectors": near.vectors.astype(np.float32),
            "distances": near.distances.astype(np.float32),
            "lattice": crystals.lattices.astype(np.float32),
            "anchor_sites": anchored - crystals.offsets[crystals.crystal_indices[anchored]],
            "anchors": anchors,
        }
        offsets = {
            "sites": crystals.offsets.copy(),
            "edges": near.offsets,
            "parts": np.searchsorted(anchored, crystals.offsets).astype(np.int64),
        }
        if self.node_features:
            table = node_table(self.node_features)[0].astype(np.float32)
            arrays["node_features"] = table[crystals.numbers]
        if self.edge_features:
            gaussians, cutoff = self._gaussians, self.cutoff or np.inf
            context = EdgeContext(near, crystals.numbers, gaussians, self.gaussian_step, cutoff)
            arrays["edge_features"] = edge_columns(self.edge_features, context)
        if self.global_features:
            arrays["globals"] = global_columns(self.global_features, crystals)
        if self.angles:
            pairs, cosines = edge_pairs(near.centers, near.vectors, near.distances)
            cuts = np.searchsorted(pairs[:, 0], near.offsets).astype(np.int64)
            arrays["angle_edges"] = pairs - np.repeat(near.offsets[:-1], np.diff(cuts))[:, None]
            arrays["cosines"] = cosines.astype(np.float32)
            offsets["angles"] = cuts
        return arrays, offsets

    def _decode_ragged(self, arrays: Arrays, offsets: Offsets) -> Decoded:
        return crystals_of_graphs(arrays, offsets, self.tolerance)


def _complete(table: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """(119,) elements that have all features."""
    return np.asarray(np.isfinite(table).all(axis=1), bool)


def _check_name(parameter: str, name: str, known: tuple[str, ...]) -> None:
    if name not in known:
        raise RepresentationError(f"{parameter}: no {name!r}{did_you_mean(name, known)}")


def _note_all(notes: FailureNotes, failures: list[Failure], n: int) -> None:
    for failure in failures:
        mask = np.zeros(n, bool)
        mask[failure.index] = True
        notes.add(mask, failure.reason, failure.detail)


def _of_crystals(near: Neighbors, crystals: Crystals, held: npt.NDArray[np.bool_]) -> Neighbors:
    """The rows of the crystals that are held, sites counted in those alone."""
    of_site = held[crystals.crystal_indices]
    place = np.cumsum(of_site) - 1
    kept = of_site[near.centers]
    counts = np.diff(near.offsets)[held]
    return Neighbors(
        place[near.centers[kept]],
        place[near.neighbors[kept]],
        near.images[kept],
        near.vectors[kept],
        near.distances[kept],
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
    )
