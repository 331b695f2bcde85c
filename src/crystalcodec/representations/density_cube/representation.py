"""The density of a crystal's atoms in a cube, and the grid of species beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals, find_faults
from crystalcodec.elements import MAX_ATOMIC_NUMBER, SYMBOLS
from crystalcodec.failures import Failure
from crystalcodec.representations.base import (
    Arrays,
    Decoded,
    Encoded,
    FailureNotes,
    Field,
    InvertibleRepresentation,
    RepresentationError,
)
from crystalcodec.representations.density_cube.atoms import (
    WEIGHTS,
    CubeAtoms,
    Found,
    NoAtoms,
    Placed,
    cells_to_look_at,
    closest,
    place,
    told_by_weight,
)
from crystalcodec.representations.density_cube.gaussian_sums import write_sums
from crystalcodec.representations.density_cube.reading import CubeReading
from crystalcodec.representations.density_cube.species_grids import scatter_species

__all__ = ["DensityCube"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_CUTOFF: Final = 5.0  # of sigma: an atom further outside the cube adds less than 4e-6 of its peak
_CHUNK: Final = 32  # crystals at a time: their tables stay in the cache
_MOST_CELLS: Final = 200_000
_SLACK: Final = 0.01  # Å, how far a decoded atom may be from where it must be


@dataclass(frozen=True)
class DensityCube(InvertibleRepresentation):
    """Gaussians at the atoms of a crystal on the points of a cube, and which element is where.

    ``density`` (n, n_points, n_points, n_points), axes x y z: the sum over atoms of w
    (2 pi sigma²)^(-3/2) exp(-d²/2 sigma²), in weight per Å3. Points stand at 0, s, 2 s ... edge
    along each axis, both faces counted, as published. ``species``, same shape: the atomic number
    of the nearest atom where it is nearer than ``species_radius``, 0 elsewhere; of atoms equally
    near the one of higher number. ``lattice`` (n, 3, 3): cell vectors in rows, Å; the cube alone
    does not tell them. ``origin`` (n, 3), mode "cell" with centring "centroid" only: where in the
    cube the corner of the cell lies, Å.

    The field turns with the crystal: rotations are augmentation, see
    :func:`crystalcodec.data.augmentation.rotate`.

    Parameters
    ----------
    mode
        ``"cell"``: the atoms of one cell, coordinates in [0, 1), centred in the cube.
        ``"lattice"``: the crystal without end, the origin of its cell at the cube's first point;
        atoms up to 5 sigma outside the cube reach in (those further add below 4e-6 of their
        peak and are left out). The published code takes only the nearest image of each atom.
    edge
        Edge of the cube, Å.
    n_points
        Points along an edge; 30 and 60 are published.
    sigma
        Width of the Gaussians, Å; at least half the distance between points.
    centring
        In mode "cell", what lies at the middle of the cube: the ``"centroid"`` of the atoms, each
        counted once (published), or the middle of the ``"cell"``, half of a + b + c.
    weighting
        w: ``"Z"``, ``"one"``, ``"mass"``, ``"electronegativity"``, ``"group"``, ``"period"``, or
        119 numbers, by atomic number, of any other property.
    species
        Whether there is a grid of species. Without it the weights must tell the elements.
    species_radius
        Å. Published: 0.667 for cells, 0.65 for lattices.
    min_separation
        Å. Crystals with nearer atoms are refused: their Gaussians are one peak.
    tolerance
        Decoding: how far the field of the decoded atoms may lie from the array, relative to its
        largest number.
    lenient
        Decoding of generated or noisy cubes: peaks above ``threshold`` are atoms, nothing is
        checked, ``confidence`` tells how well the field of the decoded atoms agrees.
    threshold
        Smallest peak of an atom, relative to the lightest weight that there can be.

    Raises
    ------
    RepresentationError
        Parameters outside their range; ``weighting="one"`` without species.

    Notes
    -----
    Decoding narrows the Gaussians, takes the peaks, names each by the species at its place (or by
    its weight), fits all positions jointly and looks at what is left of the field for more. An
    array that its atoms do not explain to ``tolerance`` is refused. ``confidence`` is 1 less the
    norm of the difference over the norm of the array.

    References
    ----------
    Hoffmann et al., arXiv 1909.00949, 10.48550/arXiv.1909.00949.

    Examples
    --------
    >>> salt = Crystals.single(
    ...     [[0, 2.8, 2.8], [2.8, 0, 2.8], [2.8, 2.8, 0]], [[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17]
    ... )
    >>> cube = DensityCube()
    >>> encoded = cube.encode(salt)
    >>> encoded["density"].shape, sorted(encoded.arrays)
    ((1, 30, 30, 30), ['density', 'lattice', 'origin', 'species'])
    >>> cube.decode(encoded).crystals
    Crystals(n=1, n_sites_total=2: NaCl)
    >>> cube.atoms(encoded).positions.round(3).tolist()
    [[6.4, 6.4, 6.4], [3.6, 3.6, 3.6]]
    """

    name: ClassVar[str] = "density_cube"
    lost: ClassVar[str] = "the order of the sites"
    invariances: ClassVar = frozenset({"permutation"})
    continuity: ClassVar = "discontinuous"
    round_trip_tolerance: ClassVar[float] = 1e-3
    keeps_site_order: ClassVar[bool] = False

    mode: Literal["cell", "lattice"] = "cell"
    edge: float = 10.0
    n_points: int = 30
    sigma: float = 1.0
    centring: Literal["centroid", "cell"] = "centroid"
    weighting: str | tuple[float, ...] = "Z"
    species: bool = True
    species_radius: float = 0.667
    min_separation: float = 0.9
    tolerance: float = 1e-3
    lenient: bool = False
    threshold: float = 0.3

    def __post_init__(self) -> None:
        if not isinstance(self.weighting, str):
            object.__setattr__(self, "weighting", tuple(map(float, self.weighting)))
        for name, wanted in (("mode", ("cell", "lattice")), ("centring", ("centroid", "cell"))):
            if getattr(self, name) not in wanted:
                raise RepresentationError(f"{name} is {getattr(self, name)!r}, wanted {wanted}")
        table = WEIGHTS.get(self.weighting) if isinstance(self.weighting, str) else ...
        if table is None or (table is ... and len(self.weighting) != MAX_ATOMIC_NUMBER + 1):
            raise RepresentationError(
                f"weighting is {self.weighting!r}, wanted one of {', '.join(WEIGHTS)} or "
                f"{MAX_ATOMIC_NUMBER + 1} numbers by atomic number"
            )
        if self.n_points < 4 or not 0 < self.edge < np.inf:
            raise RepresentationError(
                f"edge = {self.edge} and n_points = {self.n_points}: wanted a length in Å and at "
                "least 4 points"
            )
        for name, least in (
            ("sigma", 0.5 * self.spacing),
            ("species_radius", 0.87 * self.spacing),
            ("min_separation", self.spacing),
        ):
            if not least <= getattr(self, name) < self.edge:
                raise RepresentationError(
                    f"{name} is {getattr(self, name)} Å, wanted {least:.3g} or more at "
                    f"{self.spacing:.3g} Å between points, and less than the edge"
                )
        if not 0 < self.tolerance < 1 or not 0 < self.threshold <= 1:
            raise RepresentationError(
                f"tolerance = {self.tolerance} and threshold = {self.threshold}: wanted 0 to 1"
            )
        if not self.species and not self._told_by_weight.any():
            raise RepresentationError(
                f"weighting is {self.weighting!r} and there is no grid of species: nothing tells "
                "the elements apart"
            )

    @property
    def layouts(self) -> dict[str, str]:
        """The grids: planes, rows and columns along x, y and z."""
        return {"density": "dhw"} | ({"species": "dhw"} if self.species else {})

    @property
    def spacing(self) -> float:
        """Distance between two points of the grid, Å."""
        return self.edge / (self.n_points - 1)

    @property
    def weights(self) -> Floats:
        """(119,) the weight of an atom by atomic number; 0 where there is none."""
        table = WEIGHTS[self.weighting] if isinstance(self.weighting, str) else self.weighting
        weights = np.nan_to_num(np.asarray(table, float), nan=0.0, posinf=0.0, neginf=0.0)
        weights[0] = 0.0
        return np.asarray(np.maximum(weights, 0.0), float)

    @property
    def _told_by_weight(self) -> npt.NDArray[np.bool_]:
        return told_by_weight(self.weights)

    @property
    def _has_origin(self) -> bool:
        return self.mode == "cell" and self.centring == "centroid"

    @property
    def _height(self) -> float:
        """The field at an atom of weight 1."""
        return float((2 * np.pi * self.sigma**2) ** -1.5)

    @property
    def fields(self) -> tuple[Field, ...]:
        """Density, species, lattice and origin."""
        grid = (self.n_points,) * 3
        fields = [Field("density", "continuous", "density", grid, unit="1/Å3")]
        if self.species:
            fields.append(Field("species", "index", "species", grid))
        fields.append(Field("lattice", "continuous", "lattice", (3, 3), unit="Å"))
        if self._has_origin:
            fields.append(Field("origin", "continuous", "origin", (3,), unit="Å"))
        return tuple(fields)

    def refuse(self, crystals: Crystals) -> list[Failure]:
        """Crystals with atoms outside the cube, too close, or of weights that tell nothing."""
        notes = FailureNotes()
        owner = crystals.crystal_indices
        n = len(crystals)
        for table, reason, detail in (
            (self.weights > 0, "element without weight", "weight above 0"),
            (self._told_by_weight | self.species, "element undecided", "weight of its own"),
        ):
            bad = ~table[crystals.numbers]
            first = {int(owner[s]): s for s in np.flatnonzero(bad)[::-1].tolist()}
            notes.add(
                _mask(owner[bad], n),
                reason,
                lambda i, f=first, d=detail: (  # type: ignore[misc]
                    f"{SYMBOLS[crystals.numbers[f[i]]]} has no {d} here: choose another weighting"
                ),
            )
        if self.mode == "cell":
            sites = self._in_cell(crystals)[0]
            outside = np.maximum(-sites, sites - self.edge).max(axis=1)
            reach = np.full(n, -np.inf)
            np.maximum.at(reach, owner, outside)
            notes.add(
                reach > 0,
                "cube too small for the cell",
                lambda i: f"an atom lies {reach[i]:.2f} Å outside the cube of {self.edge:g} Å",
            )
        else:
            # A sphere as large as the cube.
            notes.add_too_dense(crystals, 0.62 * self.edge)
            cells = cells_to_look_at(crystals.lattices, self.edge, _CUTOFF * self.sigma)
            notes.add(
                cells > _MOST_CELLS,
                "cell too skew",
                "its images in the cube are too many to look at: use a reduced cell",
            )
            here = ~notes.mask(n)
            seen = np.zeros(len(owner), bool)
            seen[~here[owner]] = True
            inside = place(crystals[here], self.edge, 0.0).sites
            seen[np.flatnonzero(here[owner])[inside]] = True
            notes.add(
                _mask(owner[~seen], n),
                "cube too small for the cell",
                f"an atom has no image in the cube of {self.edge:g} Å",
            )
        here = ~notes.mask(n)
        nearest = np.full(n, np.inf)
        nearest[here] = closest(crystals[here], self.min_separation, self.mode == "lattice")
        notes.add(
            nearest < self.min_separation,
            "sites too close",
            lambda i: (
                f"two atoms are {nearest[i]:.3f} Å apart, at least {self.min_separation:g} Å are "
                "told apart (min_separation)"
            ),
        )
        return notes.in_order()

    def _in_cell(self, crystals: Crystals) -> tuple[Floats, Floats]:
        """(n_sites_total, 3) the atoms in the cube, Å, and (n, 3) where the origin lies."""
        sites = crystals.cart_coords
        if self.centring == "cell":
            middle = crystals.lattices.sum(axis=1) / 2
        elif len(crystals):
            sums = np.add.reduceat(sites, crystals.offsets[:-1], axis=0)
            middle = sums / crystals.n_sites[:, None]
        else:
            middle = np.zeros((0, 3))
        origin = self.edge / 2 - middle
        return sites + origin[crystals.crystal_indices], origin

    def _placed(self, crystals: Crystals, margin: float) -> Placed:
        """The atoms in the cube, and those up to a margin outside it, Å."""
        if self.mode == "lattice":
            return place(crystals, self.edge, margin)
        sites = self._in_cell(crystals)[0]
        index = np.arange(len(sites))
        return Placed(crystals.crystal_indices, index, sites, np.zeros_like(sites))

    def _encode(self, crystals: Crystals) -> dict[str, npt.NDArray[Any]]:
        n, m = len(crystals), self.n_points
        arrays = {"density": np.empty((n, m, m, m), np.float32)}
        if self.species:
            arrays["species"] = np.zeros((n, m, m, m), np.float32)
        arrays["lattice"] = crystals.lattices.astype(np.float32)
        if self._has_origin:
            arrays["origin"] = self._in_cell(crystals)[1].astype(np.float32)
        for start in range(0, n, _CHUNK):
            some = slice(start, start + _CHUNK)
            self._fill(crystals[some], {name: array[some] for name, array in arrays.items()})
        return arrays

    def _fill(self, crystals: Crystals, arrays: dict[str, npt.NDArray[Any]]) -> None:
        """Density and species of some crystals, into their arrays."""
        placed = self._placed(crystals, _CUTOFF * self.sigma)
        numbers = crystals.numbers[placed.sites]
        write_sums(
            placed.positions,
            self._height * self.weights[numbers],
            np.searchsorted(placed.crystals, np.arange(len(crystals) + 1)),
            arrays["density"],
            self.spacing,
            self.sigma,
        )
        if self.species:
            scatter_species(placed, numbers, arrays["species"], self.spacing, self.species_radius)

    @property
    def _reading(self) -> CubeReading:
        return CubeReading(
            edge=self.edge,
            n_points=self.n_points,
            sigma=self.sigma,
            weights=self.weights,
            told=self._told_by_weight,
            species_radius=self.species_radius,
            min_separation=self.min_separation,
            margin=_CUTOFF * self.sigma,
            tolerance=self.tolerance,
            lenient=self.lenient,
            threshold=self.threshold,
            endless=self.mode == "lattice",
        )

    def atoms(self, arrays: Arrays | npt.NDArray[Any] | Encoded) -> CubeAtoms:
        """The atoms in cubes, without a lattice: for generated cubes.

        Parameters
        ----------
        arrays
            ``density`` and, where this representation has it, ``species``; others are not read.

        Returns
        -------
        CubeAtoms
            Positions in Å, atomic numbers, and a failure for each cube that holds none. In mode
            "lattice" atoms outside the cube reach in and are not known: positions are those of
            the peaks, to some 0.01 Å, and worse beside the faces.

        Raises
        ------
        RepresentationError
            Arrays of the wrong names or shapes.
        """
        arrays = arrays.arrays if isinstance(arrays, Encoded) else arrays
        given = dict(arrays) if isinstance(arrays, Mapping) else {"density": np.asarray(arrays)}
        n = len(given.get("density", ()))
        for name, shape in self.shapes().items():
            if name in ("lattice", "origin"):
                given[name] = np.zeros((n, *map(int, shape)))
        checked = self.checked(given)
        found, notes = self._read(checked, None)
        return CubeAtoms.of(found, notes.in_order())

    def _read(
        self, arrays: Arrays, lattices: Floats | None, notes: FailureNotes | None = None
    ) -> tuple[dict[int, Found], FailureNotes]:
        """The atoms of each cube that was not noted yet, by position, and why others fail."""
        notes = notes or FailureNotes()
        reading, found = self._reading, {}
        noted = notes.mask(len(arrays["density"]))
        # Each cube has its own number of atoms, and is fitted for some rounds: a cube at a time.
        for i in np.flatnonzero(~noted).tolist():
            density = np.asarray(arrays["density"][i], float) / self._height
            species = np.asarray(arrays["species"][i], float) if self.species else None
            lattice = lattices[i] if lattices is not None and self.mode == "lattice" else None
            try:
                found[i] = reading.read(density, species, lattice)
            except NoAtoms as none:
                notes.add(np.arange(i + 1) == i, none.reason, none.detail)
        return found, notes

    def _decode(self, arrays: Arrays) -> Decoded:
        n = len(arrays["density"])
        lattices = np.asarray(arrays["lattice"], float)
        notes = FailureNotes()
        self._note_lattices(lattices, notes)
        found, notes = self._read(arrays, lattices, notes)
        index = np.array(sorted(found), np.int64)
        numbers = [found[i].numbers for i in index.tolist()]
        offsets = np.cumsum([0, *map(len, numbers)])
        sites = np.concatenate([np.zeros((0, 3)), *(found[i].positions for i in index.tolist())])
        owner = np.repeat(np.arange(len(index)), np.diff(offsets))
        if self.mode == "cell":
            origin = self.edge / 2 - lattices[index].sum(axis=1) / 2
            if self._has_origin:
                origin = np.asarray(arrays["origin"], float)[index]
                self._note_centres(sites, offsets, index, notes)
            sites = sites - origin[owner]
        coords = np.einsum("si,sij->sj", sites, np.linalg.inv(lattices[index])[owner])
        if self.mode == "cell" and not self.lenient:
            # As far as an atom may be from its place, Å, on both sides of a face of the cell.
            slack = _SLACK * np.linalg.norm(np.linalg.inv(lattices[index]), axis=1)[owner]
            outside = ((coords < -slack) | (coords > 1 + slack)).any(axis=1)
            notes.add(
                _mask(index[owner[outside]], n),
                "atom outside its cell",
                "the lattice and the atoms in the cube do not belong together",
            )
        kept = ~notes.mask(n)[index]
        crystals = Crystals(
            lattices[index], coords, np.concatenate([np.zeros(0, int), *numbers]), offsets
        )[kept]
        confidence = np.array([found[i].confidence for i in index[kept].tolist()], float)
        return Decoded.of(n, crystals, notes.in_order(), confidence)

    def _note_lattices(self, lattices: Floats, notes: FailureNotes) -> None:
        """Lattices that close no cell, or one too flat for its images to be looked at."""
        n = len(lattices)
        one = (np.zeros((n, 3)), np.ones(n, np.int64), np.arange(n + 1))
        flat = [fault.index for fault in find_faults(lattices, *one)]
        notes.add(_mask(np.array(flat, np.int64), n), "lattice closes no cell", "it has no volume")
        if self.mode == "lattice":
            sound = np.where(notes.mask(n)[:, None, None], np.eye(3), lattices)
            short = np.linalg.norm(sound, axis=2).min(axis=1) < self.min_separation
            short |= np.abs(np.linalg.det(sound)) < self.min_separation**3 / 2
            notes.add(short, "sites too close", "a vector of the lattice is shorter than an atom")
            sound = np.where(notes.mask(n)[:, None, None], np.eye(3), sound)
            many = cells_to_look_at(sound, self.edge, _CUTOFF * self.sigma) > _MOST_CELLS
            notes.add(many, "cell too skew", "its images in the cube are too many to look at")

    def _note_centres(self, sites: Floats, offsets: Ints, index: Ints, notes: FailureNotes) -> None:
        """Atoms whose centroid is not the middle of the cube."""
        if self.lenient or not len(index):
            return
        middle = np.add.reduceat(sites, offsets[:-1], axis=0) / np.diff(offsets)[:, None]
        away = np.abs(middle - self.edge / 2).max(axis=1)
        off = np.zeros(int(index.max()) + 1)
        off[index] = away
        notes.add(
            off > _SLACK,
            "not self-consistent",
            lambda i: f"the centroid of the atoms is {off[i]:.3g} Å from the middle of the cube",
        )


def _mask(index: Ints, length: int) -> npt.NDArray[np.bool_]:
    mask = np.zeros(length, bool)
    mask[index] = True
    return mask
