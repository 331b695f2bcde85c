"""The contract of every representation: encode crystals to arrays, decode arrays to crystals."""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Literal, Self

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.failures import Failure
from crystalcodec.geometry import triple_products
from crystalcodec.representations.memory import available_memory

__all__ = [
    "Arrays",
    "Decoded",
    "Encoded",
    "FailureNotes",
    "Field",
    "InvertibleRaggedRepresentation",
    "InvertibleRepresentation",
    "Offsets",
    "RaggedRepresentation",
    "Representation",
    "RepresentationError",
    "held_crystals",
]

Arrays = Mapping[str, npt.NDArray[Any]]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Kind = Literal["continuous", "periodic", "categorical", "index"]
Offsets = Mapping[str, Ints]
Invariance = Literal["permutation", "translation", "rotation", "supercell", "unit_cell"]
Continuity = Literal["constant", "continuous", "discontinuous"]


class RepresentationError(ValueError):
    """Parameters or arrays that a representation cannot work with at all."""


@dataclass(frozen=True)
class Field:
    """A named part of a representation's arrays, and how its numbers are to be read.

    Parameters
    ----------
    name
        What the numbers are: ``"lattice"``.
    kind
        ``continuous``; ``periodic`` (0 and 1 are the same point); ``categorical`` (one-hot, or
        all zero where absent); ``index`` (a whole number that stands for something).
    array
        Name of the array that holds it.
    shape
        Shape without the batch axis; a ragged axis is given by its name, stands first, and takes
        the place of the batch axis in the array.
    where
        Slices that cut the field out of its array, batch axis not counted; empty for all of it.
    axis
        Axis of ``shape`` along which a categorical one has its one hot entry.
    unit
        ``"Å"``, ``"degree"``, or empty.
    """

    name: str
    kind: Kind
    array: str
    shape: tuple[int | str, ...]
    where: tuple[slice, ...] = ()
    axis: int | None = None
    unit: str = ""

    def of(self, arrays: Arrays) -> npt.NDArray[Any]:
        """The field's numbers, cut out of its array (a view), batch axis first."""
        return arrays[self.array][(slice(None), *self.where)]


@dataclass(frozen=True)
class Encoded:
    """Arrays of the crystals that could be encoded, and why the others could not.

    Parameters
    ----------
    arrays
        By name; the first axis of each is the encoded crystals, or a ragged axis that
        ``offsets`` cuts into crystals.
    index : (m,)
        Position in the input of each encoded crystal.
    failures
        One for each crystal that could not be encoded; with ``index`` they cover the input.
    offsets
        By ragged axis name, (m + 1,).
    """

    arrays: Arrays
    index: Ints
    failures: tuple[Failure, ...] = ()
    offsets: Mapping[str, Ints] = field(default_factory=dict)

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        return self.arrays[name]

    def __len__(self) -> int:
        return len(self.index)


@dataclass(frozen=True)
class Decoded:
    """Crystals of the arrays that could be decoded, and why the others could not.

    Parameters
    ----------
    crystals
        The decoded crystals.
    index : (m,)
        Position in the input of each decoded crystal.
    failures
        One for each array that could not be decoded; with ``index`` they cover the input.
    confidence : (m,)
        From 0 to 1 for each decoded crystal, how well its array agrees with itself, where the
        representation can tell; what the number means stands in the docstring of the class.
    """

    crystals: Crystals
    index: Ints
    failures: tuple[Failure, ...] = ()
    confidence: Floats | None = None

    @classmethod
    def of(
        cls,
        n: int,
        crystals: Crystals,
        failures: Iterable[Failure],
        confidence: Floats | None = None,
    ) -> Decoded:
        """The outcome of n arrays: crystals in order, and a failure for each other array."""
        failures = tuple(sorted(failures, key=lambda failure: failure.index))
        kept = np.ones(n, bool)
        kept[[failure.index for failure in failures]] = False
        return cls(crystals, np.flatnonzero(kept), failures, confidence)


def held_crystals(crystals: Crystals, failures: Iterable[Failure]) -> tuple[Crystals, Ints]:
    """The crystals that did not fail, and their positions in the batch."""
    kept = np.ones(len(crystals), bool)
    kept[[failure.index for failure in failures]] = False
    return crystals if kept.all() else crystals[kept], np.flatnonzero(kept)


DENSE: Final = 2.0
"""Sites per Å³; diamond has 0.18, and no pressure on Earth brings a crystal near this."""

_MOST_GROUPS: Final = 2_000_000


class FailureNotes:
    """The first fault of each crystal or array of a batch, noted with masks.

    Examples
    --------
    >>> notes = FailureNotes()
    >>> notes.add(np.array([False, True]), "too many sites", lambda i: f"{[2, 60][i]} sites")
    >>> notes.in_order()
    [Failure(index=1, reason='too many sites', detail='60 sites', source='', line=None)]
    """

    def __init__(self) -> None:
        self._first: dict[int, Failure] = {}

    def add(self, found: npt.ArrayLike, reason: str, detail: str | Callable[[int], str]) -> None:
        """Note this reason where ``found`` (n,) holds and nothing was noted before."""
        for i in np.flatnonzero(found).tolist():
            if i not in self._first:
                text = detail if isinstance(detail, str) else detail(i)
                self._first[i] = Failure(i, reason, text)

    def add_too_many_sites(self, crystals: Crystals, most: int) -> None:
        """Note crystals of more sites than fit."""
        counts = crystals.n_sites
        self.add(
            counts > most,
            "too many sites",
            lambda i: f"{counts[i]} sites, at most {most} fit (max_sites)",
        )

    def add_too_dense(self, crystals: Crystals, reach: float, bodies: int = 2) -> None:
        """Note made crystals whose cell has collapsed: their neighbours would end no computation.

        Parameters
        ----------
        reach
            Å, of neighbours.
        bodies
            2 where pairs of sites are looked at, 3 where triples are.
        """
        density = crystals.n_sites / crystals.volumes
        with np.errstate(over="ignore"):
            groups = crystals.n_sites * (4 / 3 * np.pi * reach**3 * density) ** (bodies - 1)
        what = {2: "pairs", 3: "triples"}[bodies]
        self.add(
            (density > DENSE) & (groups > _MOST_GROUPS),
            "too many neighbours",
            lambda i: (
                f"about {groups[i]:.1g} {what} of sites within {reach:g} Å: {crystals.n_sites[i]} "
                f"sites in {crystals.volumes[i]:.2g} Å³, a cell that no crystal has"
            ),
        )

    def add_left_handed(self, crystals: Crystals) -> None:
        """Note crystals of left-handed cells, where a cell is held as lengths and angles."""
        self.add(
            triple_products(crystals.lattices) < 0,
            "left-handed lattice",
            "lengths and angles do not tell handedness: use Crystals.right_handed()",
        )

    def mask(self, n: int) -> npt.NDArray[np.bool_]:
        """(n,) whether something was noted."""
        noted = np.zeros(n, bool)
        noted[[*self._first]] = True
        return noted

    def in_order(self) -> list[Failure]:
        """The failures, by index."""
        return [self._first[i] for i in sorted(self._first)]


class Representation(ABC):
    """A frozen dataclass of parameters that turns crystals into arrays.

    A leaf declares what stands below and implements :attr:`fields`, :meth:`_encode` and, where
    there are crystals that it cannot hold, :meth:`refuse`. The base owns masks, batches and
    failures.

    Attributes
    ----------
    name
        Name in the registry.
    lost
        What of a crystal the arrays do not tell, in one sentence.
    invariances
        Changes of the description of a crystal under which the arrays stay the same:
        ``permutation`` of the sites, ``translation`` of the origin, ``rotation`` of the frame,
        ``supercell``, ``unit_cell``: another choice of cell vectors of the same lattice.
    continuity
        What the arrays do as atoms move by less and less: ``constant``, they do not depend on
        positions; ``continuous``, they change by less and less; ``discontinuous``, they may jump.
    layouts
        For each array that is a picture or a volume what its axes are, batch axis not counted, a
        letter an axis: ``h`` rows, ``w`` columns, ``d`` depth, ``c`` channels (``"hwc"``).
    """

    name: ClassVar[str]
    lost: ClassVar[str]
    invariances: ClassVar[frozenset[Invariance]] = frozenset()
    continuity: ClassVar[Continuity] = "continuous"

    @property
    def layouts(self) -> Mapping[str, str]:
        """See above; a class variable where parameters do not change it."""
        return {}

    @property
    @abstractmethod
    def fields(self) -> tuple[Field, ...]:
        """The named parts of the arrays."""

    @abstractmethod
    def _encode(self, crystals: Crystals) -> dict[str, npt.NDArray[Any]]:
        """The arrays of crystals that :meth:`refuse` let pass, whole batch at once."""

    def refuse(self, crystals: Crystals) -> list[Failure]:
        """Why crystals of this batch cannot be held: one failure each, in order."""
        del crystals
        return []

    @property
    def needs_fit(self) -> bool:
        """Whether :meth:`fit` has to find parameters before anything can be encoded."""
        return False

    def fit(self, crystals: Crystals) -> Self:
        """The same representation with the parameters that these crystals ask for.

        Parameters
        ----------
        crystals
            Such as a training set.

        Returns
        -------
        Representation
            A fitted copy; itself where there is nothing to find.
        """
        del crystals
        return self

    def feature_names(self) -> tuple[str, ...]:
        """A name for each number of a crystal: its arrays flattened and joined in their order.

        Raises
        ------
        RepresentationError
            Arrays whose size differs from crystal to crystal.
        """
        names: list[str] = []
        for array, shape in self.shapes().items():
            if any(isinstance(axis, str) for axis in shape):
                raise RepresentationError(
                    f"{self.name}: the array {array!r} has another length for each crystal, so "
                    "its numbers have no names"
                )
            places = np.ndindex(*(int(axis) for axis in shape))
            names += ["_".join([array, *map(str, place)]) for place in places]
        return tuple(names)

    def n_bytes(self, crystals: Crystals) -> int:
        """Memory that the arrays of these crystals take, known before they are made.

        Where an axis is ragged this counts its arrays as empty, unless a leaf knows better.
        """
        shapes = self.shapes().values()
        fixed = [shape for shape in shapes if not any(isinstance(axis, str) for axis in shape)]
        return 4 * len(crystals) * sum(math.prod(int(axis) for axis in shape) for shape in fixed)

    def _check_ready(self, crystals: Crystals) -> None:
        if self.needs_fit:
            raise RepresentationError(
                f"{self.name} has parameters to be found in the data first: use the representation "
                "that its fit(crystals) gives, or set them"
            )
        wanted, there = self.n_bytes(crystals), available_memory()
        if wanted > there:
            raise RepresentationError(
                f"{self.name} of {len(crystals)} crystals takes {wanted / 2**30:.1f} GiB, "
                f"{there / 2**30:.1f} GiB of memory are free: use a smaller one, or fewer crystals "
                "at a time (save_encoded streams to disk)"
            )

    def encode(self, crystals: Crystals) -> Encoded:
        """Encode a batch.

        Parameters
        ----------
        crystals
            Any number of crystals; they are not changed.

        Returns
        -------
        Encoded
            Arrays of the crystals that this representation can hold, float32 (int64 where all
            that an array holds is of kind ``index``), and a failure for each of the others.

        Raises
        ------
        RepresentationError
            Parameters that :meth:`fit` has yet to find, or arrays larger than the free memory.
        """
        self._check_ready(crystals)
        failures = self.refuse(crystals)
        held, index = held_crystals(crystals, failures)
        return Encoded(self._encode(held), index, tuple(failures))

    def encode_stream(self, batches: Iterable[Crystals]) -> Iterator[Encoded]:
        """Encode batch after batch; indices count on through all of them."""
        start = 0
        for crystals in batches:
            encoded = self.encode(crystals)
            yield dataclasses.replace(
                encoded,
                index=encoded.index + start,
                failures=tuple(
                    dataclasses.replace(f, index=f.index + start) for f in encoded.failures
                ),
            )
            start += len(crystals)

    def shapes(self) -> dict[str, tuple[int | str, ...]]:
        """Shape of each array without its batch axis, by name."""
        none = Crystals.empty()
        return {name: array.shape[1:] for name, array in self._encode(none).items()}

    def config(self) -> dict[str, Any]:
        """Name and parameters, ready for JSON or TOML."""
        return {"name": self.name, **dataclasses.asdict(self)}  # type: ignore[call-overload]


class RaggedRepresentation(Representation):
    """A representation with arrays whose length differs from crystal to crystal, such as graphs.

    A leaf implements :meth:`_encode_ragged`. Rows of all crystals are joined, crystal after
    crystal; ``offsets`` of :class:`Encoded` cut them. A number that points to a row (the sites of
    an edge) counts from the first row of its crystal, so that a crystal is the same in any batch.
    Every ragged array has a field whose ``shape`` starts with the name of its axis.
    """

    @abstractmethod
    def _encode_ragged(
        self, crystals: Crystals
    ) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Ints]]:
        """Arrays by name, and offsets (m + 1,) by ragged axis."""

    def _encode(self, crystals: Crystals) -> dict[str, npt.NDArray[Any]]:
        return self._encode_ragged(crystals)[0]

    def encode(self, crystals: Crystals) -> Encoded:
        """Encode a batch; as :meth:`Representation.encode`, with the offsets of ragged axes."""
        self._check_ready(crystals)
        failures = self.refuse(crystals)
        held, index = held_crystals(crystals, failures)
        arrays, offsets = self._encode_ragged(held)
        return Encoded(arrays, index, tuple(failures), offsets)

    def shapes(self) -> dict[str, tuple[int | str, ...]]:
        """Shape of each array by name; a ragged axis by its name, first."""
        axes = {f.array: f.shape[0] for f in self.fields if f.shape and isinstance(f.shape[0], str)}
        return {
            name: (axes[name], *shape) if name in axes else shape
            for name, shape in super().shapes().items()
        }


class InvertibleRepresentation(Representation):
    """A representation whose arrays can be turned back into crystals.

    Attributes
    ----------
    round_trip_tolerance
        Largest distance in Å, after a rotation of the frame, between a site of a crystal and
        the same site decoded from its arrays.
    keeps_site_order
        Whether the sites come back in their order.
    keeps_cell
        Whether the crystal comes back in its cell, and with its origin; if not, in another one of
        the same crystal.
    """

    @property
    @abstractmethod
    def round_trip_tolerance(self) -> float:
        """See above; a class variable where parameters do not change it."""

    keeps_site_order: ClassVar[bool] = True
    keeps_cell: ClassVar[bool] = True

    @abstractmethod
    def _decode(self, arrays: Arrays) -> Decoded:
        """Crystals of the arrays that hold one, in order, and a failure for each other array."""

    def decode(self, arrays: Arrays | npt.NDArray[Any] | Encoded) -> Decoded:
        """Decode a batch, exactly as it stands: nothing is repaired, relaxed or symmetrised.

        Parameters
        ----------
        arrays
            What :meth:`encode` gives, or a mapping of arrays of the same shapes; where there is
            only one array, that array.

        Returns
        -------
        Decoded
            The crystals, and a failure for each array that holds none.

        Raises
        ------
        RepresentationError
            Arrays of the wrong names or shapes: nothing could be decoded at all.
        """
        return self._decode(self.checked(arrays))

    def checked(self, arrays: Arrays | npt.NDArray[Any] | Encoded) -> Arrays:
        """The arrays by name, once their names, shapes and types are those of this representation.

        Raises
        ------
        RepresentationError
            They are not.
        """
        shapes = self.shapes()
        if isinstance(arrays, Encoded):
            arrays = arrays.arrays
        if not isinstance(arrays, Mapping):
            if len(shapes) != 1:
                raise RepresentationError(
                    f"{self.name} has the arrays {', '.join(shapes)}: give a mapping of all"
                )
            arrays = {next(iter(shapes)): np.asarray(arrays)}
        for name, shape in shapes.items():
            if name not in arrays:
                raise RepresentationError(f"{self.name} needs the array {name!r}, got {[*arrays]}")
            if arrays[name].shape[1:] != shape or arrays[name].ndim != len(shape) + 1:
                wanted = ", ".join(map(str, ("n", *shape)))
                raise RepresentationError(
                    f"array {name!r} has shape {arrays[name].shape}, {self.name} with these "
                    f"parameters has ({wanted})"
                )
            if arrays[name].dtype.kind not in "fiub":
                raise RepresentationError(
                    f"array {name!r} holds {arrays[name].dtype}, expected real numbers"
                )
        lengths = {name: len(arrays[name]) for name in shapes}
        if len(set(lengths.values())) != 1:
            raise RepresentationError(f"arrays of different numbers of crystals: {lengths}")
        return arrays


class InvertibleRaggedRepresentation(RaggedRepresentation, InvertibleRepresentation):
    """Ragged arrays that can be turned back into crystals; a leaf has :meth:`_decode_ragged`."""

    @abstractmethod
    def _decode_ragged(self, arrays: Arrays, offsets: Offsets) -> Decoded:
        """As ``_decode``, with the offsets of each ragged axis."""

    def _decode(self, arrays: Arrays) -> Decoded:
        raise RepresentationError(
            f"{self.name} needs the offsets of its arrays: decode what encode gives"
        )

    def decode(self, arrays: Arrays | npt.NDArray[Any] | Encoded) -> Decoded:
        """Decode a batch; the arrays come as an :class:`Encoded`, which has their offsets.

        Raises
        ------
        RepresentationError
            No :class:`Encoded`, arrays of the wrong names or shapes, offsets that do not fit.
        """
        if not isinstance(arrays, Encoded):
            return self._decode({})
        return self._decode_ragged(self.checked(arrays), arrays.offsets)

    def checked(self, arrays: Arrays | npt.NDArray[Any] | Encoded) -> Arrays:
        """The arrays by name, once names, shapes, types and offsets are as declared.

        Raises
        ------
        RepresentationError
            They are not.
        """
        if not isinstance(arrays, Encoded):
            raise RepresentationError(f"{self.name} needs the offsets of its arrays, got none")
        for name, shape in self.shapes().items():
            if name not in arrays.arrays:
                raise RepresentationError(
                    f"{self.name} needs the array {name!r}, got {[*arrays.arrays]}"
                )
            array, rows = arrays.arrays[name], len(arrays)
            if shape and isinstance(shape[0], str):
                rows, shape = _rows_of(shape[0], arrays), shape[1:]
            if array.shape != (rows, *shape):
                raise RepresentationError(
                    f"array {name!r} has shape {array.shape}, {self.name} with these parameters "
                    f"and offsets has {(rows, *shape)}"
                )
            if array.dtype.kind not in "fiub":
                raise RepresentationError(
                    f"array {name!r} holds {array.dtype}, expected real numbers"
                )
        return arrays.arrays


def _rows_of(axis: str, encoded: Encoded) -> int:
    """Rows along a ragged axis, once its offsets are sound."""
    offsets = encoded.offsets.get(axis)
    sound = (
        offsets is not None
        and offsets.shape == (len(encoded) + 1,)
        and offsets.dtype.kind in "iu"
        and offsets[0] == 0
        and bool((np.diff(offsets) >= 0).all())
    )
    if offsets is None or not sound:
        raise RepresentationError(
            f"offsets of the axis {axis!r} are missing or no rising whole numbers from 0, one more "
            f"than the {len(encoded)} crystals"
        )
    return int(offsets[-1])
