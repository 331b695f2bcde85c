"""WyckoffOrbits: space group, cell, and one point of each orbit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals, find_faults
from crystalcodec.elements import MAX_ATOMIC_NUMBER
from crystalcodec.failures import Failure
from crystalcodec.geometry import lattices_from_cell_parameters, wrap
from crystalcodec.representations.base import (
    Arrays,
    Decoded,
    Encoded,
    FailureNotes,
    Field,
    InvertibleRepresentation,
    RepresentationError,
)
from crystalcodec.representations.parameters import misfit
from crystalcodec.representations.wyckoff_orbits.cells import symmetric_cells
from crystalcodec.representations.wyckoff_orbits.orbits import (
    Orbits,
    distance_from_position,
    find_orbits,
)
from crystalcodec.representations.wyckoff_orbits.positions import (
    N_SPACE_GROUPS,
    wyckoff_positions,
)
from crystalcodec.symmetry import SYMPREC

__all__ = ["WyckoffOrbits"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_DEGREES_PER_ANGSTROM: Final = 10.0  # angles may be off by so much for each Å of the tolerance


@dataclass(frozen=True)
class WyckoffOrbits(InvertibleRepresentation):
    """A crystal as its space group, its conventional cell, and one point of each orbit.

    Arrays: ``space_group`` (n, 230), one-hot; ``cell_parameters`` (n, 6), a, b, c in Å and alpha,
    beta, gamma in degrees; ``elements`` (n, max_orbits), atomic numbers, and ``letters``
    (n, max_orbits), the number of the Wyckoff letter (1 for a), both 0 where there is no orbit;
    ``frac_coords`` (n, max_orbits, 3), a point of the orbit on its position as tabulated, in the
    conventional cell, 0 where there is none. Orbits stand by element, then letter. Groups are in
    the standard setting (axis b unique, hexagonal axes, origin choice 2); of the choices of origin
    and axes that leave group and metric as they are, the one whose letters come first is taken.

    Decoding gives the primitive standard cell, exactly symmetric. What is encoded may be as far
    from symmetric as ``symprec``, and comes back symmetric.

    Parameters
    ----------
    max_orbits
        Orbits that fit.
    symprec
        Å; how far sites may be from symmetric places.
    tolerance
        Å; how far a point may be from its position, and a length of the cell from those that it
        is to equal (angles: ten degrees for each Å), when it is decoded. It is moved there.
    lenient
        Decode generated arrays: points and cells are moved as far as it takes, and the largest
        entry is the space group.

    Raises
    ------
    RepresentationError
        Parameters out of range.

    References
    ----------
    International Tables for Crystallography A, 10.1107/97809553602060000114; positions and groups
    by moyopy. Of generators on such numbers: Cao et al. (CrystalFormer), arXiv 2403.15734; Jiao et
    al. (DiffCSP++), arXiv 2402.03992.

    Examples
    --------
    >>> salt = Crystals.single(
    ...     [[0, 2.8, 2.8], [2.8, 0, 2.8], [2.8, 2.8, 0]], [[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17]
    ... )
    >>> encoded = WyckoffOrbits(max_orbits=2).encode(salt)
    >>> int(encoded["space_group"][0].argmax()) + 1, encoded["letters"].tolist()
    (225, [[1, 2]])
    >>> encoded["elements"].tolist(), encoded["cell_parameters"].round().tolist()
    ([[11, 17]], [[6.0, 6.0, 6.0, 90.0, 90.0, 90.0]])
    """

    name: ClassVar[str] = "wyckoff_orbits"
    lost: ClassVar[str] = (
        "orientation, choice of cell and origin, order of the sites, and how far they are from "
        "symmetric places within symprec"
    )
    invariances: ClassVar = frozenset({"permutation"})
    continuity: ClassVar = "discontinuous"
    keeps_site_order: ClassVar[bool] = False
    keeps_cell: ClassVar[bool] = False

    max_orbits: int = 20
    symprec: float = SYMPREC
    tolerance: float = 1e-3
    lenient: bool = False

    def __post_init__(self) -> None:
        if wrong := misfit(type(self), vars(self)):
            raise RepresentationError(wrong)
        if self.max_orbits < 1:
            raise RepresentationError(f"max_orbits is {self.max_orbits}, wanted at least 1")
        for name in ("symprec", "tolerance"):
            if not 0 < getattr(self, name) < np.inf:
                raise RepresentationError(
                    f"{name} is {getattr(self, name)}, wanted a positive number of Å"
                )

    @property
    def round_trip_tolerance(self) -> float:
        """Å: sites move onto symmetric places, each by as far as ``symprec`` allows."""
        return 4 * self.symprec

    @property
    def fields(self) -> tuple[Field, ...]:
        """Space group, cell, and of each orbit element, letter and a point."""
        orbits = (self.max_orbits,)
        cell = "cell_parameters"
        return (
            Field("space_group", "categorical", "space_group", (N_SPACE_GROUPS,), axis=0),
            Field("lengths", "continuous", cell, (3,), (slice(0, 3),), unit="Å"),
            Field("angles", "continuous", cell, (3,), (slice(3, 6),), unit="degree"),
            Field("elements", "index", "elements", orbits),
            Field("letters", "index", "letters", orbits),
            Field("frac_coords", "periodic", "frac_coords", (*orbits, 3)),
        )

    def encode(self, crystals: Crystals) -> Encoded:
        """See the base. Symmetry is sought once."""
        self._check_ready(crystals)
        found, failures = self._find(crystals)
        held = [i for i, one in enumerate(found) if one is not None]
        return Encoded(
            self._arrays([found[i] for i in held]), np.array(held, np.int64), tuple(failures)
        )

    def refuse(self, crystals: Crystals) -> list[Failure]:
        """Left-handed cells, crystals without a symmetry that is found, too many orbits."""
        return self._find(crystals)[1]

    def _encode(self, crystals: Crystals) -> dict[str, npt.NDArray[Any]]:
        return self._arrays(self._find(crystals)[0])

    def _find(self, crystals: Crystals) -> tuple[list[Any], list[Failure]]:
        """The orbits of each crystal, None where it is refused, and why it is."""
        found = [*find_orbits(crystals, self.symprec)]
        notes = FailureNotes()
        notes.add_left_handed(crystals)
        told = [one if isinstance(one, str) else "" for one in found]
        notes.add([bool(text) for text in told], "no symmetry found", lambda i: told[i])
        counts = [0 if isinstance(one, str) else len(one.numbers) for one in found]
        notes.add(
            np.array(counts, int) > self.max_orbits,
            "too many orbits",
            lambda i: f"{counts[i]} orbits, at most {self.max_orbits} fit (max_orbits)",
        )
        refused = notes.mask(len(found))
        return [None if bad else one for one, bad in zip(found, refused, strict=True)], (
            notes.in_order()
        )

    def _arrays(self, found: list[Orbits]) -> dict[str, npt.NDArray[Any]]:
        n = len(found)
        groups = np.zeros((n, N_SPACE_GROUPS), np.float32)
        cells = np.zeros((n, 6), np.float32)
        elements, letters = np.zeros((2, n, self.max_orbits), np.int64)
        coords = np.zeros((n, self.max_orbits, 3), np.float32)
        for i, one in enumerate(found):
            k = len(one.numbers)
            groups[i, one.group - 1] = 1
            cells[i] = one.cell
            elements[i, :k], letters[i, :k], coords[i, :k] = one.numbers, one.letters, one.coords
        coords[coords >= 1.0] = 0.0  # float32 rounds 1 - 1e-9 up
        return {
            "space_group": groups,
            "cell_parameters": cells,
            "elements": elements,
            "letters": letters,
            "frac_coords": coords,
        }

    def _decode(self, arrays: Arrays) -> Decoded:
        n, notes = len(arrays["cell_parameters"]), FailureNotes()
        with np.errstate(over="ignore", invalid="ignore"):
            finite = np.all(
                [np.isfinite(a).reshape(n, -1).all(axis=1) for a in arrays.values()], axis=0
            )
        notes.add(~finite, "not finite", "the arrays hold NaN or infinity")
        groups = self._groups(np.where(finite[:, None], arrays["space_group"], 0), notes)
        cells = self._cells(np.where(finite[:, None], arrays["cell_parameters"], 1), groups, notes)
        whole = {
            name: np.where(finite[:, None], arrays[name], 0).clip(-1, 1e6).round().astype(np.int64)
            for name in ("elements", "letters")
        }
        positions = wyckoff_positions()
        there = whole["elements"] != 0
        index = np.where(there, positions.index(groups[:, None], whole["letters"]), 0)
        self._check_orbits(whole, there, index, groups, notes)
        good = ~notes.mask(n)
        rows, slots = np.nonzero(there & good[:, None])
        numbers, index = whole["elements"][rows, slots], index[rows, slots]
        lattices = lattices_from_cell_parameters(cells[good]).reshape(-1, 3, 3)
        place = np.cumsum(good) - 1
        away, on = distance_from_position(
            wrap(arrays["frac_coords"][rows, slots].astype(np.float64)),
            index,
            lattices[place[rows]],
            positions,
        )
        if not self.lenient:
            off = np.zeros(n, bool)
            off[rows[away > self.tolerance]] = True
            notes.add(
                off,
                "point off its Wyckoff position",
                f"further than {self.tolerance:g} Å (tolerance); for generated arrays decode with "
                "lenient=True, which moves it there",
            )
        coords, orbits = positions.images(index, on)
        return self._crystals(
            n, notes, groups, lattices, place, (rows[orbits], numbers[orbits], wrap(coords))
        )

    def _groups(self, hot: npt.NDArray[Any], notes: FailureNotes) -> Ints:
        """(n,) numbers of the groups."""
        hot = hot.astype(np.float64)
        highest = hot.max(axis=1, initial=0.0)
        undecided = highest <= 0
        if not self.lenient:
            undecided |= ((hot != 0) & (hot != 1)).any(axis=1) | (hot.sum(axis=1) != 1)
        notes.add(
            undecided, "space group undecided", "its 230 numbers are not one 1 and otherwise 0"
        )
        return np.asarray(hot.argmax(axis=1) + 1, np.int64)

    def _cells(self, cells: npt.NDArray[Any], groups: Ints, notes: FailureNotes) -> Floats:
        """(n, 6) cells as the groups want them."""
        cells = cells.astype(np.float64)
        bad = ~((cells[:, :3] > 0) & (cells[:, :3] < 1e6)).all(axis=1)
        notes.add(bad, "lattice closes no cell", "lengths that no cell can have")
        cells[bad] = [1, 1, 1, 90, 90, 90]
        wanted = symmetric_cells(cells, groups)
        if not self.lenient:
            scale = np.r_[[1.0] * 3, [_DEGREES_PER_ANGSTROM] * 3]
            off = (np.abs(wanted - cells) > self.tolerance * scale).any(axis=1) & ~bad
            notes.add(
                off,
                "cell of another crystal system",
                lambda i: (
                    f"{cells[i].round(3).tolist()} is no cell of group {groups[i]}; for "
                    "generated arrays decode with lenient=True, which makes it one"
                ),
            )
        closes = np.isfinite(lattices_from_cell_parameters(wanted)).reshape(len(cells), -1).all(1)
        notes.add(~closes, "lattice closes no cell", "angles that no cell can have")
        wanted[~closes] = [1, 1, 1, 90, 90, 90]
        return wanted

    def _check_orbits(
        self, whole: dict[str, Ints], there: Bools, index: Ints, groups: Ints, notes: FailureNotes
    ) -> None:
        elements = whole["elements"]
        wrong = (elements < 0) | (elements > MAX_ATOMIC_NUMBER)
        notes.add(wrong.any(axis=1), "no such element", f"wanted 0, or 1 to {MAX_ATOMIC_NUMBER}")
        notes.add(~there.any(axis=1), "no occupied orbit", "all elements are 0")
        notes.add(
            (there & (index == 0)).any(axis=1),
            "no such Wyckoff letter",
            lambda i: (
                f"letters {whole['letters'][i][there[i]].tolist()} in group {groups[i]}, which has "
                f"{wyckoff_positions().n_letters[groups[i]]}"
            ),
        )
        fixed = np.sort(
            np.where(there & (wyckoff_positions().n_free[index] == 0), index, 0), axis=1
        )
        twice = (fixed[:, 1:] == fixed[:, :-1]) & (fixed[:, 1:] > 0)
        notes.add(
            twice.any(axis=1),
            "Wyckoff position taken twice",
            "two orbits are on a position that is a single point",
        )

    def _crystals(
        self,
        n: int,
        notes: FailureNotes,
        groups: Ints,
        lattices: Floats,
        place: Ints,
        sites: tuple[Ints, Ints, Floats],
    ) -> Decoded:
        """Crystals in their primitive cells; ``lattices`` and ``place`` as ``sites`` need them."""
        rows, numbers, coords = sites
        matrices = np.linalg.inv(wyckoff_positions().to_primitive[groups]).transpose(0, 2, 1)
        cells = np.zeros((n, 3, 3))
        held = np.unique(rows)
        cells[held] = matrices[held] @ lattices[place[held]]
        counts = np.bincount(rows, minlength=n)
        offsets = np.concatenate([[0], np.cumsum(counts)])
        flat = np.zeros(n, bool)
        flat[[one.index for one in find_faults(cells, coords, numbers, offsets)]] = True
        notes.add(flat, "lattice closes no cell", "it has no volume")
        good = ~notes.mask(n)
        kept = good[rows]
        made = Crystals(
            cells[good],
            coords[kept],
            numbers[kept],
            np.concatenate([[0], np.cumsum(counts[good])]),
        )
        return Decoded.of(n, made, notes.in_order())
