"""Graphs of coordination polyhedra as ragged arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.failures import Failure
from crystalcodec.geometry import transform
from crystalcodec.representations.base import (
    FailureNotes,
    Field,
    RaggedRepresentation,
    RepresentationError,
)
from crystalcodec.representations.parameters import misfit
from crystalcodec.representations.unit_graph.units import (
    Units,
    anions_of,
    shared_ligands,
    units_of,
)

__all__ = ["UnitGraph"]

Ints = npt.NDArray[np.int64]

_UNIT_FEATURES: Final = ("coordination_number", "mean_distance", "distance_spread")


@dataclass(frozen=True)
class UnitGraph(RaggedRepresentation):
    """A crystal as a graph on two levels: atoms, and the coordination polyhedra they form.

    A unit is a cation with the anions around it: those up to ``bond_factor`` times the distance
    of the nearest. Anions are the sites of elements whose electronegativity lies within
    ``anion_window`` of the crystal's highest; all other sites are cations. Two units are joined
    where they share anions: one is a shared corner, two a shared edge, three or more a shared
    face.

    Arrays, rows of all crystals joined and cut by the offsets of their axis; indices count from
    the crystal's first site or unit:

    - ``numbers`` (sites,): atomic numbers;
    - ``lattice`` (3, 3): cell vectors in rows, Å;
    - ``unit_centers`` (units,): the site in the middle;
    - ``unit_features`` (units, 3): coordination number, mean distance of the ligands and its
      standard deviation, Å (0 without ligands);
    - ``members`` (members, 2): unit and site, the centre first, then its ligands by site;
      ``member_shifts`` (members, 3): whole cell vectors from that site to its image in the unit;
      ``member_vectors`` (members, 3): from the centre, Å;
    - ``unit_edges`` (unit_edges, 2): two units, both ways; ``unit_shifts`` (unit_edges, 3): whole
      cell vectors from the second to its image; ``unit_vectors`` (unit_edges, 3): from centre to
      centre, Å; ``shared`` (unit_edges,): ligands that both have.

    A crystal without anions, such as a metal, has a unit around every site, its ligands the sites
    around it, unless it is to be refused.

    Parameters
    ----------
    anion_window
        Difference of Pauling electronegativities: 0.6 makes O and N, O and F, S and Te anions
        together, and S of a sulfate a cation.
    least_difference
        Between the highest and the lowest electronegativity of a crystal with anions.
    bond_factor
        1 or more.
    cutoff
        Å; no ligand is further away. A cation without any is a unit by itself.
    without_anions
        ``sites``: every site is the centre of a unit and a ligand of its neighbours; ``refuse``:
        such a crystal is a failure.

    Raises
    ------
    RepresentationError
        A limit out of range.

    Examples
    --------
    >>> rocksalt = Crystals.single(
    ...     [[0, 2.8, 2.8], [2.8, 0, 2.8], [2.8, 2.8, 0]], [[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17]
    ... )
    >>> graph = UnitGraph().encode(rocksalt)
    >>> graph["unit_features"].astype(float).round(2).tolist()
    [[6.0, 2.8, 0.0]]
    >>> corners, edges = (int((graph["shared"] == n).sum()) for n in (1, 2))
    >>> corners, edges  # of NaCl6, an octahedron
    (6, 12)
    """

    name: ClassVar[str] = "unit_graph"
    lost: ClassVar[str] = (
        "the origin, and where units that share no atoms with others lie relative to them"
    )
    invariances: ClassVar = frozenset()
    continuity: ClassVar = "discontinuous"

    anion_window: float = 0.6
    least_difference: float = 0.6
    bond_factor: float = 1.3
    cutoff: float = 5.0
    without_anions: Literal["sites", "refuse"] = "sites"

    def __post_init__(self) -> None:
        if wrong := misfit(type(self), vars(self)):
            raise RepresentationError(wrong)
        if not 0 < self.cutoff < np.inf:
            raise RepresentationError(f"cutoff is {self.cutoff}, wanted a distance in Å above 0")
        if not self.bond_factor >= 1:
            raise RepresentationError(f"bond_factor is {self.bond_factor}, wanted 1 or more")
        if not (self.anion_window >= 0 and self.least_difference > 0):
            raise RepresentationError(
                f"anion_window is {self.anion_window}, wanted 0 or more; least_difference is "
                f"{self.least_difference}, wanted above 0"
            )
        if self.without_anions not in ("sites", "refuse"):
            raise RepresentationError(
                f"without_anions is {self.without_anions!r}, wanted sites or refuse"
            )

    @property
    def unit_feature_names(self) -> tuple[str, ...]:
        """A name for each column of ``unit_features``."""
        return _UNIT_FEATURES

    @property
    def fields(self) -> tuple[Field, ...]:
        """The named parts of the arrays."""
        return (
            Field("numbers", "index", "numbers", ("sites",)),
            Field("lattice", "continuous", "lattice", (3, 3), unit="Å"),
            Field("unit_centers", "index", "unit_centers", ("units",)),
            Field("unit_features", "continuous", "unit_features", ("units", 3)),
            Field("members", "index", "members", ("members", 2)),
            Field("member_shifts", "index", "member_shifts", ("members", 3)),
            Field("member_vectors", "continuous", "member_vectors", ("members", 3), unit="Å"),
            Field("unit_edges", "index", "unit_edges", ("unit_edges", 2)),
            Field("unit_shifts", "index", "unit_shifts", ("unit_edges", 3)),
            Field("unit_vectors", "continuous", "unit_vectors", ("unit_edges", 3), unit="Å"),
            Field("shared", "index", "shared", ("unit_edges",)),
        )

    def refuse(self, crystals: Crystals) -> list[Failure]:
        """Crystals that are too dense, or without anions, where these are to be refused."""
        notes = FailureNotes()
        notes.add_too_dense(crystals, self.cutoff)
        if self.without_anions == "refuse":
            _, ionic = anions_of(crystals, self.anion_window, self.least_difference)
            notes.add(
                ~ionic,
                "no anions",
                f"electronegativities differ by less than {self.least_difference:g}: "
                "without_anions='sites' takes every site for a centre",
            )
        return notes.in_order()

    def _encode_ragged(
        self, crystals: Crystals
    ) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Ints]]:
        anions, ionic = anions_of(crystals, self.anion_window, self.least_difference)
        owner = crystals.crystal_indices
        centers, ligands = ~anions, anions | ~ionic[owner]
        units = units_of(crystals, centers, ligands, self.cutoff, self.bond_factor)
        pairs, pair_shifts, shared = shared_ligands(units)
        first_site = crystals.offsets[owner[units.centers]]
        offsets = {
            "sites": crystals.offsets.copy(),
            "units": np.searchsorted(units.centers, crystals.offsets).astype(np.int64),
        }
        first_unit = offsets["units"][owner[units.centers]]
        members, member_shifts, member_vectors = _members(units)
        offsets["members"] = np.searchsorted(members[:, 0], offsets["units"]).astype(np.int64)
        offsets["unit_edges"] = np.searchsorted(pairs[:, 0], offsets["units"]).astype(np.int64)

        source, target = units.centers[pairs[:, 0]], units.centers[pairs[:, 1]]
        coords = crystals.frac_coords
        steps = coords[target] - coords[source] + pair_shifts
        vectors = transform(steps, crystals.lattices[owner[source]])
        local = np.stack([first_unit[members[:, 0]], first_site[members[:, 0]]], axis=1)
        return {
            "numbers": crystals.numbers.copy(),
            "lattice": crystals.lattices.astype(np.float32),
            "unit_centers": units.centers - first_site,
            "unit_features": _features(units),
            "members": members - local,
            "member_shifts": member_shifts,
            "member_vectors": member_vectors.astype(np.float32),
            "unit_edges": pairs - first_unit[pairs[:, 0]][:, None],
            "unit_shifts": pair_shifts,
            "unit_vectors": vectors.astype(np.float32),
            "shared": shared,
        }, offsets


def _members(units: Units) -> tuple[Ints, Ints, npt.NDArray[np.float64]]:
    """Unit and site of each member, its shift and its vector: centres before their ligands."""
    n = len(units.centers)
    unit = np.concatenate([np.arange(n), units.units])
    order = np.argsort(unit, kind="stable")
    site = np.concatenate([units.centers, units.sites])
    shifts = np.concatenate([np.zeros((n, 3), np.int64), units.shifts])
    vectors = np.concatenate([np.zeros((n, 3)), units.vectors])
    return np.stack([unit, site], axis=1)[order], shifts[order], vectors[order]


def _features(units: Units) -> npt.NDArray[np.float32]:
    n = len(units.centers)
    counts = np.bincount(units.units, minlength=n)
    some = np.maximum(counts, 1)
    means = np.bincount(units.units, units.distances, minlength=n) / some
    apart = (units.distances - means[units.units]) ** 2
    spreads = np.sqrt(np.bincount(units.units, apart, minlength=n) / some)
    return np.stack([counts, means, spreads], axis=1).astype(np.float32)
