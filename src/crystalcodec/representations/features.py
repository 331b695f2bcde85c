"""Feature vectors: the arrays of a representation as one row of numbers a crystal."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.failures import Failure
from crystalcodec.representations.base import Encoded, Representation, RepresentationError
from crystalcodec.representations.memory import available_memory

__all__ = ["Features", "features_of", "n_features", "rows_of"]

# Arrays of a piece that is encoded at once, as well as the most crystals of one.
_PIECE_BYTES, _PIECE = 2**25, 4096


@dataclass(frozen=True)
class Features:
    """Feature vectors of the crystals that could be encoded, and why the others could not.

    Parameters
    ----------
    rows : (m, d)
        Numbers of each encoded crystal, float32, in the order of ``feature_names()``.
    index : (m,)
        Position in the input of each row.
    failures
        One for each crystal without a row; with ``index`` they cover the input.
    """

    rows: npt.NDArray[np.float32]
    index: npt.NDArray[np.int64]
    failures: tuple[Failure, ...] = ()


def n_features(representation: Representation) -> int:
    """How many numbers a crystal has.

    Raises
    ------
    RepresentationError
        Arrays whose size differs from crystal to crystal.
    """
    shapes = representation.shapes()
    for array, shape in shapes.items():
        if any(isinstance(axis, str) for axis in shape):
            raise RepresentationError(
                f"{representation.name}: the array {array!r} has another length for each crystal, "
                "so it gives no vector of fixed length: choose a representation of fixed shape, or "
                "parameters that give one (an average over sites, where it has one)"
            )
    return sum(math.prod(int(axis) for axis in shape) for shape in shapes.values())


def rows_of(encoded: Encoded) -> npt.NDArray[np.float32]:
    """(m, d) the arrays of each crystal, flattened and joined in their order."""
    parts = [
        array.reshape(len(encoded), math.prod(array.shape[1:])) for array in encoded.arrays.values()
    ]
    if len(parts) == 1:
        return parts[0].astype(np.float32, copy=False)
    return np.concatenate(parts, axis=1, dtype=np.float32, casting="unsafe")


def features_of(representation: Representation, crystals: Crystals) -> Features:
    """Feature vectors of crystals, encoded piece after piece.

    Parameters
    ----------
    representation
        Of fixed shape, and fitted where it needs that.
    crystals
        Any number of crystals.

    Raises
    ------
    RepresentationError
        Arrays of no fixed shape, parameters yet to be found, or more numbers than the free
        memory holds; the last is told, with the size, before the work starts.

    Examples
    --------
    >>> from crystalcodec import IRCR
    >>> from crystalcodec.testing import sample_crystals
    >>> features_of(IRCR(), sample_crystals(3)).rows.shape
    (3, 432)
    """
    if representation.needs_fit:
        representation.encode(Crystals.empty())  # tells what to do
    width = n_features(representation)
    wanted, there = 4 * width * len(crystals), available_memory()
    if wanted > there:
        raise RepresentationError(
            f"{representation.name} of {len(crystals)} crystals takes {wanted / 2**30:.1f} GiB, "
            f"{there / 2**30:.1f} GiB of memory are free: use a smaller one, or fewer crystals"
        )
    piece = max(1, min(_PIECE, _PIECE_BYTES // max(1, 4 * width)))
    rows = np.empty((len(crystals), width), np.float32)
    places: list[npt.NDArray[np.int64]] = []
    failures: list[Failure] = []
    done = 0
    pieces = (crystals[start : start + piece] for start in range(0, len(crystals), piece))
    for encoded in representation.encode_stream(pieces):
        rows[done : done + len(encoded)] = rows_of(encoded)
        done += len(encoded)
        places.append(encoded.index)
        failures += encoded.failures
    index = np.concatenate(places) if places else np.zeros(0, np.int64)
    return Features(rows[:done], index, tuple(failures))
