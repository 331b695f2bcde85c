"""Encoded crystals of a benchmark: each representation once, on disk, read by memory map."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.registry import MODELS, load
from crystalcodec.representations.base import Encoded, Representation
from crystalcodec.representations.storage import EncodedWriter, load_encoded, representation_from
from crystalcodec.workflow.benchmark.estimators import ESTIMATORS

__all__ = ["Features", "encode_rows", "is_ragged", "misfit"]

Ints = npt.NDArray[np.int64]
_PIECE = 2048
_SAMPLE = 100


def encode_rows(
    config: Mapping[str, Any],
    crystals: Crystals,
    fit_rows: Ints,
    folder: Path,
    most_gib: float,
    patience: float | None = None,
) -> dict[str, Any]:
    """Encode all crystals into a folder; gives what is known of it, ready for JSON.

    Parameters
    ----------
    config
        Name and parameters of the representation.
    crystals
        All rows, trained on and tested.
    fit_rows
        Rows that the representation is fitted on, where it has to be.
    most_gib
        Arrays larger than this are not made (``status`` is ``not run``).
    patience
        Only give an estimate (``status`` is ``deferred``) where it would take more seconds.

    Raises
    ------
    RepresentationError, UnknownNameError, MissingExtraError
        What cannot be made.
    """
    representation = representation_from(config)
    started = time.process_time()
    if representation.needs_fit:
        representation = representation.fit(crystals[fit_rows])
    fit_seconds = time.process_time() - started
    wanted = representation.n_bytes(crystals) / 2**30
    if wanted > most_gib:
        reason = (
            f"{len(crystals):,} crystals would take {wanted:.1f} GiB on disk, above "
            f"{most_gib:g} GiB (encoded_gib)"
        )
        return {"status": "not run", "reason": reason}
    seconds = 0.0

    def timed(piece: Crystals) -> Encoded:
        nonlocal seconds
        before = time.process_time()
        encoded = representation.encode(piece)
        seconds += time.process_time() - before
        return encoded

    # What a first call loads or compiles does not belong to the time of the others.
    representation.encode(crystals[:2])
    if patience is not None:
        sample = crystals[:: max(1, len(crystals) // _SAMPLE)]
        timed(sample)
        estimate = seconds * len(crystals) / len(sample)
        if estimate > patience:
            return {"status": "deferred", "estimate": estimate}
        seconds = 0.0
    with EncodedWriter(folder, representation, force=True) as writer:
        for start in range(0, len(crystals), _PIECE):
            writer.write(crystals[start : start + _PIECE], encode=timed)
    return {
        "representation": representation.config(),
        "ragged": is_ragged(representation),
        "length": _length(representation, folder, writer.n_encoded),
        "n": writer.n,
        "n_encoded": writer.n_encoded,
        "failures": dict(writer.failures.most_common()),
        "encode_seconds": seconds,
        "fit_seconds": fit_seconds,
    }


def is_ragged(representation: Representation) -> bool:
    """Whether arrays have another length for each crystal."""
    return any(
        isinstance(axis, str) for shape in representation.shapes().values() for axis in shape
    )


def misfit(representation: Representation, model: str) -> str | None:
    """Why a model cannot work on a representation; None where it can."""
    if model not in ESTIMATORS:
        reason: str | None = load(MODELS, model).fits(representation)
        return reason
    if model != "dummy" and is_ragged(representation):
        return "its arrays have another length for each crystal; wanted fixed shapes"
    return None


def _length(representation: Representation, folder: Path, n_encoded: int) -> float:
    """Numbers a crystal; the mean where they differ."""
    shapes = representation.shapes()
    if not is_ragged(representation):
        return sum(math.prod(map(int, shape)) for shape in shapes.values())
    document = json.loads((folder / "representation.json").read_text(encoding="utf-8"))
    sizes = [
        np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False).size
        for name in document["arrays"]
        if not name.startswith("offsets-")
    ]
    return float(sum(sizes)) / max(1, n_encoded)


@dataclass(frozen=True)
class Features:
    """What a representation gives for rows: a matrix, or its arrays as they are.

    Parameters
    ----------
    representation, encoded
        As they were encoded, arrays as memory maps.
    place : (n,)
        Where each row stands among the encoded, -1 where it could not be held.
    """

    representation: Representation
    encoded: Encoded
    place: Ints

    @classmethod
    def open(cls, folder: Path, n: int) -> Features:
        """What :func:`encode_rows` wrote of n rows."""
        representation, encoded, _ = load_encoded(folder)
        place = np.full(n, -1)
        place[encoded.index] = np.arange(len(encoded))
        return cls(representation, encoded, place)

    def held(self, rows: Ints) -> npt.NDArray[np.bool_]:
        """(k,) whether each of the rows is held."""
        return self.place[rows] >= 0

    def matrix(self, rows: Ints) -> npt.NDArray[np.float32]:
        """(k, length) numbers of rows that are held, arrays flattened and joined."""
        place = self.place[rows]
        arrays = self.encoded.arrays.values()
        widths = [math.prod(array.shape[1:]) for array in arrays]
        numbers = np.empty((len(rows), sum(widths)), np.float32)
        # In the order of the file: a disk reads forwards.
        order = np.argsort(place)
        start = 0
        for array, width in zip(arrays, widths, strict=True):
            for at in range(0, len(order), _PIECE):
                some = order[at : at + _PIECE]
                block = array[place[some]].reshape(len(some), width)
                numbers[some, start : start + width] = block
            start += width
        return numbers

    def arrays(self, rows: Ints) -> Encoded:
        """The arrays of rows that are held, ragged ones cut and joined."""
        place = self.place[rows]
        axes = {
            field.array: field.shape[0]
            for field in self.representation.fields
            if field.shape and isinstance(field.shape[0], str)
        }
        taken: dict[str, Ints] = {}
        offsets: dict[str, Ints] = {}
        for axis, cuts in self.encoded.offsets.items():
            counts = np.diff(cuts)[place]
            offsets[axis] = np.concatenate([[0], np.cumsum(counts)])
            inside = np.arange(offsets[axis][-1]) - np.repeat(offsets[axis][:-1], counts)
            taken[axis] = np.repeat(cuts[place], counts) + inside
        arrays = {
            name: np.asarray(array[taken[axes[name]] if name in axes else place])
            for name, array in self.encoded.arrays.items()
        }
        return Encoded(arrays, np.arange(len(rows)), (), offsets)
