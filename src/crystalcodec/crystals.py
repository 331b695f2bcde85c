"""Crystals: the one value type of this library."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.elements import ATOMIC_MASSES, MAX_ATOMIC_NUMBER, reduced_formula
from crystalcodec.failures import Failure
from crystalcodec.geometry import (
    cell_parameters_from_lattices,
    lattice_points,
    transform,
    triple_products,
    wrap,
)

__all__ = [
    "ContentHash",
    "Crystals",
    "CrystalsError",
    "find_faults",
]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# g/cm3 for one unified atomic mass unit in 1 Å3 (CODATA 2018).
_DENSITY_OF_ONE_U: Final = 1.66053906660
# A cell whose volume is below this fraction of the box a x b x c counts as flat: float64 keeps
# no more than a few digits of the positions in it.
_FLAT: Final = 1e-6


class CrystalsError(ValueError):
    """Arrays that are no crystals; the message names the crystal, the site and the value."""


@dataclass(frozen=True, eq=False, repr=False)
class Crystals:
    """A batch of crystals in columns; one crystal is a batch of one.

    The arrays are copied, checked and made read-only. Coordinates are wrapped into [0, 1), which
    leaves the crystal as it is. Oxidation states, isotopes, magnetic moments and partial
    occupancies have no place here.

    Parameters
    ----------
    lattices : (n, 3, 3)
        Cell vectors a, b, c in rows, Å. Either handedness; see :meth:`right_handed`.
    frac_coords : (n_sites_total, 3)
        Fractional coordinates of all sites, crystal after crystal.
    numbers : (n_sites_total,)
        Atomic numbers, 1 to 118.
    offsets : (n + 1,)
        Sites of crystal ``i`` are ``offsets[i]:offsets[i + 1]``; at least one each.

    Raises
    ------
    CrystalsError
        An array of the wrong shape or kind, a number that is not finite, a cell without volume,
        an atomic number outside 1 to 118, a crystal without sites.

    Examples
    --------
    >>> salt = Crystals.single(
    ...     [[0, 2.8, 2.8], [2.8, 0, 2.8], [2.8, 2.8, 0]], [[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17]
    ... )
    >>> salt
    Crystals(n=1, n_sites_total=2: NaCl)
    >>> float(salt.volumes[0].round(3))
    43.904
    """

    lattices: Floats
    frac_coords: Floats
    numbers: Ints
    offsets: Ints

    def __post_init__(self) -> None:
        arrays = _as_columns(self.lattices, self.frac_coords, self.numbers, self.offsets)
        faults = find_faults(*arrays)
        if faults:
            more = f" (and {len(faults) - 1} more crystals)" if len(faults) > 1 else ""
            raise CrystalsError(f"{faults[0]}{more}")
        self._set(arrays[0], wrap(arrays[1]), arrays[2], arrays[3])

    def _set(self, lattices: Floats, frac_coords: Floats, numbers: Ints, offsets: Ints) -> None:
        for name, array in (
            ("lattices", lattices),
            ("frac_coords", frac_coords),
            ("numbers", numbers),
            ("offsets", offsets),
        ):
            array.flags.writeable = False
            object.__setattr__(self, name, array)

    def __getstate__(self) -> dict[str, Any]:
        names = ("lattices", "frac_coords", "numbers", "offsets")
        return {name: getattr(self, name) for name in names}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Arrays come out of a pickle, or of a deep copy, writable.
        self._set(**state)

    @classmethod
    def _of_valid(
        cls, lattices: Floats, frac_coords: Floats, numbers: Ints, offsets: Ints
    ) -> Crystals:
        """Without a copy or a check: for arrays taken from crystals that were checked."""
        crystals = object.__new__(cls)
        crystals._set(lattices, frac_coords, numbers, offsets)
        return crystals

    @classmethod
    def single(
        cls, lattice: npt.ArrayLike, frac_coords: npt.ArrayLike, numbers: npt.ArrayLike
    ) -> Crystals:
        """One crystal from its lattice (3, 3), coordinates (n_sites, 3), numbers (n_sites,)."""
        sites = np.atleast_1d(np.asarray(numbers))
        return cls(
            np.asarray(lattice)[None],
            np.asarray(frac_coords),
            sites,
            np.array([0, len(sites)]),
        )

    @classmethod
    def empty(cls) -> Crystals:
        """The batch of no crystals."""
        return cls(np.zeros((0, 3, 3)), np.zeros((0, 3)), np.zeros(0, int), np.zeros(1, int))

    @classmethod
    def concatenate(cls, batches: Iterable[Crystals]) -> Crystals:
        """One batch of all crystals of all batches, in order."""
        parts = [cls.empty(), *batches]
        counts = np.concatenate([part.n_sites for part in parts])
        return cls._of_valid(
            np.concatenate([part.lattices for part in parts]),
            np.concatenate([part.frac_coords for part in parts]),
            np.concatenate([part.numbers for part in parts]),
            _offsets(counts),
        )

    def __len__(self) -> int:
        return len(self.lattices)

    def __iter__(self) -> Iterator[Crystals]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, key: int | slice | list[int] | npt.NDArray[Any]) -> Crystals:
        """Crystals by position, slice, list of positions or mask; always a batch."""
        everything: npt.NDArray[Any] = np.arange(len(self))
        index = np.atleast_1d(everything[key])  # numpy's own rules, and its errors
        if index.ndim != 1:
            raise IndexError(f"crystals have one axis, got an index of {index.ndim} axes")
        counts = self.n_sites[index]
        offsets = _offsets(counts)
        sites = np.arange(offsets[-1]) + np.repeat(self.offsets[index] - offsets[:-1], counts)
        return Crystals._of_valid(
            self.lattices[index], self.frac_coords[sites], self.numbers[sites], offsets
        )

    def __eq__(self, other: object) -> bool:
        """Whether every number is the same; for the same crystals within a tolerance, compare."""
        if not isinstance(other, Crystals):
            return NotImplemented
        return all(
            np.array_equal(getattr(self, name), getattr(other, name))
            for name in ("offsets", "numbers", "lattices", "frac_coords")
        )

    def __hash__(self) -> int:
        return hash(self.content_hash)

    def __repr__(self) -> str:
        shown = ", ".join(self[:4].formulas) + (", ..." if len(self) > 4 else "")
        return f"Crystals(n={len(self)}, n_sites_total={len(self.numbers)}: {shown})"

    @property
    def n_sites(self) -> Ints:
        """(n,) number of sites of each crystal."""
        return np.diff(self.offsets)

    @property
    def crystal_indices(self) -> Ints:
        """(n_sites_total,) the crystal that each site belongs to."""
        return np.repeat(np.arange(len(self)), self.n_sites)

    @property
    def cell_parameters(self) -> Floats:
        """(n, 6) a, b, c in Å and alpha, beta, gamma in degrees."""
        return cell_parameters_from_lattices(self.lattices)

    @property
    def volumes(self) -> Floats:
        """(n,) volume of each cell, Å3."""
        return np.abs(triple_products(self.lattices))

    @property
    def densities(self) -> Floats:
        """(n,) mass density of each crystal, g/cm3."""
        masses = np.add.reduceat(ATOMIC_MASSES[self.numbers], self.offsets[:-1])
        return _DENSITY_OF_ONE_U * masses / self.volumes

    @property
    def cart_coords(self) -> Floats:
        """(n_sites_total, 3) Cartesian coordinates of all sites, Å."""
        return self.to_cartesian(self.frac_coords)

    @property
    def element_counts(self) -> Ints:
        """(n, 119) number of atoms of each crystal by atomic number; column 0 is empty."""
        width = MAX_ATOMIC_NUMBER + 1
        cells = self.crystal_indices * width + self.numbers
        return np.bincount(cells, minlength=len(self) * width).reshape(len(self), width)

    @property
    def formulas(self) -> tuple[str, ...]:
        """Reduced formula of each crystal, as pymatgen writes it."""
        crystals, elements = np.nonzero(counts := self.element_counts)
        amounts: list[dict[int, int]] = [{} for _ in range(len(self))]
        for i, z, amount in zip(
            crystals.tolist(), elements.tolist(), counts[crystals, elements].tolist(), strict=True
        ):
            amounts[i][z] = amount
        return tuple(map(reduced_formula, amounts))

    @property
    def content_hash(self) -> str:
        """SHA-256 of the columns, as 64 hexadecimal digits: the same on every machine."""
        return ContentHash().update(self).hexdigest()

    def to_cartesian(self, frac_coords: npt.ArrayLike) -> Floats:
        """Cartesian coordinates (n_sites_total, 3), Å, of fractional ones, one row a site."""
        rows = self._rows(frac_coords)
        return transform(rows, self.lattices[self.crystal_indices])

    def to_fractional(self, cart_coords: npt.ArrayLike) -> Floats:
        """Fractional coordinates (n_sites_total, 3), not wrapped, of Cartesian ones in Å."""
        rows = self._rows(cart_coords)
        return transform(rows, np.linalg.inv(self.lattices)[self.crystal_indices])

    def _rows(self, coords: npt.ArrayLike) -> Floats:
        rows = np.asarray(coords, float)
        if rows.shape != self.frac_coords.shape:
            raise CrystalsError(
                f"coordinates of shape {rows.shape}, expected {self.frac_coords.shape}: "
                "one row for each site of the batch"
            )
        return rows

    def right_handed(self) -> Crystals:
        """The same crystals with every cell right-handed.

        Where a cell is left-handed its vectors and its fractional coordinates change sign
        together, so that no atom moves.
        """
        sign = np.sign(triple_products(self.lattices))
        return Crystals._of_valid(
            self.lattices * sign[:, None, None] + 0.0,
            wrap(self.frac_coords * sign[self.crystal_indices, None]),
            self.numbers,
            self.offsets,
        )

    def supercell(self, scaling: int | npt.ArrayLike) -> Crystals:
        """Supercells of all crystals.

        Parameters
        ----------
        scaling
            A number, three numbers (along a, b, c) or a (3, 3) integer matrix whose rows are the
            new cell vectors in units of the old ones. Site order: all copies of the first site,
            then of the second, and so on.

        Raises
        ------
        CrystalsError
            Scaling that is not of whole numbers, or has no volume.
        """
        given = np.asarray(scaling)
        matrix = given if given.ndim == 2 else np.diag(np.broadcast_to(given, 3))
        whole = np.rint(matrix).astype(np.int64)
        if whole.shape != (3, 3) or not np.array_equal(whole, matrix):
            raise CrystalsError(
                f"supercell scaling {given.tolist()}: wanted a whole number, three of them or a "
                "(3, 3) matrix of them"
            )
        if round(np.linalg.det(whole)) == 0:
            raise CrystalsError(f"supercell scaling {whole.tolist()} has no volume")
        shifts = lattice_points(whole)
        images = len(shifts)
        coords = (self.frac_coords[:, None, :] + shifts).reshape(-1, 3) @ np.linalg.inv(whole)
        return Crystals._of_valid(
            whole @ self.lattices,
            wrap(coords),
            np.repeat(self.numbers, images),
            self.offsets * images,
        )


class ContentHash:
    """SHA-256 of crystals that come in batches; how they are cut into batches does not matter."""

    def __init__(self) -> None:
        names = ("n_sites", "numbers", "lattices", "frac_coords")
        self._columns = {name: hashlib.sha256(name.encode()) for name in names}

    def update(self, crystals: Crystals) -> ContentHash:
        """Add crystals; gives itself."""
        for name, digest in self._columns.items():
            array = getattr(crystals, name)
            kind = "<f8" if array.dtype.kind == "f" else "<i8"
            digest.update(np.ascontiguousarray(array, kind).data)
        return self

    def hexdigest(self) -> str:
        """The hash of all crystals so far, as 64 hexadecimal digits."""
        whole = hashlib.sha256(b"crystalcodec.Crystals 1")
        for digest in self._columns.values():
            whole.update(digest.digest())
        return whole.hexdigest()


def find_faults(
    lattices: Floats, frac_coords: Floats, numbers: Ints, offsets: Ints
) -> list[Failure]:
    """Why these columns are no crystals: the first fault of each faulty crystal, in order.

    Parameters are the columns of :class:`Crystals`, of the right shapes.
    """
    counts = np.diff(offsets)
    owner = np.repeat(np.arange(len(counts)), counts)
    boxes = np.linalg.norm(lattices, axis=2).prod(axis=1)
    faults: dict[int, Failure] = {}

    def note(index: int, reason: str, detail: str) -> None:
        faults.setdefault(index, Failure(index, reason, detail))

    with np.errstate(invalid="ignore", over="ignore"):
        finite = np.isfinite(lattices).all(axis=(1, 2))
        flat = finite & ~(np.abs(triple_products(lattices)) > _FLAT * boxes)
    for i in np.flatnonzero(counts < 1).tolist():
        note(i, "no sites", "a crystal needs at least one site")
    for i in np.flatnonzero(~finite).tolist():
        note(i, "lattice not finite", f"lattice {lattices[i].tolist()}")
    for i in np.flatnonzero(flat).tolist():
        note(i, "no volume", f"lattice {lattices[i].tolist()} closes no cell")
    for s in np.flatnonzero(~np.isfinite(frac_coords).all(axis=1)):
        i = int(owner[s])
        at = f"site {s - offsets[i]}: {frac_coords[s].tolist()}"
        note(i, "coordinates not finite", at)
    for s in np.flatnonzero((numbers < 1) | (numbers > MAX_ATOMIC_NUMBER)):
        i = int(owner[s])
        at = f"site {s - offsets[i]}: {numbers[s]}, wanted 1 to {MAX_ATOMIC_NUMBER}"
        note(i, "no such element", at)
    return [faults[i] for i in sorted(faults)]


def _as_columns(
    lattices: npt.ArrayLike,
    frac_coords: npt.ArrayLike,
    numbers: npt.ArrayLike,
    offsets: npt.ArrayLike,
) -> tuple[Floats, Floats, Ints, Ints]:
    """The columns as fresh arrays of the right shapes and kinds."""
    columns: list[npt.NDArray[np.generic]] = []
    for name, given, shape, kind in (
        ("lattices", lattices, (None, 3, 3), np.float64),
        ("frac_coords", frac_coords, (None, 3), np.float64),
        ("numbers", numbers, (None,), np.int64),
        ("offsets", offsets, (None,), np.int64),
    ):
        array = np.asarray(given)
        fits = array.ndim == len(shape) and all(
            wanted in (None, got) for wanted, got in zip(shape, array.shape, strict=True)
        )
        if not fits:
            wanted = "(" + ", ".join("any" if s is None else str(s) for s in shape) + ")"
            raise CrystalsError(f"{name} has shape {array.shape}, expected {wanted}")
        if array.dtype.kind not in ("iu" if kind is np.int64 else "iuf"):
            wanted = "whole numbers" if kind is np.int64 else "real numbers"
            raise CrystalsError(f"{name} holds {array.dtype}, expected {wanted}")
        columns.append(np.array(array, kind) + kind(0))  # -0.0 becomes 0.0
    n_crystals, n_sites, ends = len(columns[0]), len(columns[1]), columns[3]
    if len(columns[2]) != n_sites:
        raise CrystalsError(f"{len(columns[2])} numbers for {n_sites} sites of frac_coords")
    steps = np.diff(ends.astype(np.int64))
    if len(ends) != n_crystals + 1 or ends[0] != 0 or ends[-1] != n_sites or (steps < 0).any():
        raise CrystalsError(
            f"offsets of length {len(ends)} from {ends[0] if len(ends) else 'nothing'} to "
            f"{ends[-1] if len(ends) else 'nothing'}: for {n_crystals} crystals of {n_sites} "
            f"sites they rise from 0 to {n_sites} in {n_crystals} steps"
        )
    return columns[0], columns[1], columns[2], columns[3]  # type: ignore[return-value]


def _offsets(counts: Ints) -> Ints:
    offsets = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=offsets[1:])
    return offsets
