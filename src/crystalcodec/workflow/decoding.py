"""Files of arrays or pictures back to files of crystals."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.failures import Failure
from crystalcodec.io import write
from crystalcodec.io.formats import WRITERS, format_of
from crystalcodec.representations.base import Decoded
from crystalcodec.representations.npy_files import StorageError
from crystalcodec.workflow.encoded_files import Wanted, read_pieces
from crystalcodec.workflow.encoding import check_writable, failures_path, list_failures

__all__ = ["DecodeReport", "decode_files"]

Progress = Callable[[int], None]

_TABLES: Final = (".parquet", ".pq")


@dataclass
class DecodeReport:
    """What became of the arrays of some files.

    Parameters
    ----------
    out
        What was written; nothing where no array holds a crystal.
    n_decoded
        Crystals that are in it.
    failures
        Files that could not be read and arrays that could not be decoded, by reason.
    first
        The first of each reason.
    failures_path
        The CSV file that lists them; None if there are none.
    confidence : (n_decoded,)
        Of each crystal, NaN where its representation gives none.
    """

    out: Path
    n_decoded: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    first: dict[str, Failure] = field(default_factory=dict)
    failures_path: Path | None = None
    confidence: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))

    @property
    def n_failed(self) -> int:
        """Files and arrays that gave no crystal."""
        return self.failures.total()


def decode_files(
    paths: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    name: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    failures: str | os.PathLike[str] | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> DecodeReport:
    """Decode arrays and pictures into files of crystals.

    Parameters
    ----------
    paths
        Folders of :func:`~crystalcodec.workflow.encoding.encode_files`; .npy files (where the
        representation has one array) and .npz files (arrays by name); PNGs, or folders of these.
    out
        A dataset (``.parquet``), or what :func:`crystalcodec.io.write` writes: a folder of CIFs,
        ``all.extxyz``, ``x.json``.
    name
        The representation, where files do not tell it, or tell another.
    parameters
        Of the representation; they win over those that files tell, so that a decoder can be told
        its tolerance.
    failures
        CSV file for what could not be decoded; ``out``.failures.csv where None. Written if there
        is any.
    force
        Replace what stands in ``out``, or add to a folder with files in it.
    progress
        Called with the number of arrays done.

    Raises
    ------
    StorageError
        A path that is nothing of this, a place that is taken or a name that tells no format.
    RepresentationError, UnknownNameError
        A representation that there is not, or that cannot be decoded.
    """
    target = Path(out)
    _check_target(target, force=force)
    check_writable(target)
    listing = failures_path(target, failures)
    wanted = Wanted(name, dict(parameters or {}))
    report = DecodeReport(target)
    parts, ids, listed = list[Crystals](), list[str](), list[Failure]()
    confidence = [np.zeros(0)]
    done = 0
    for piece in read_pieces(paths, wanted):
        listed += piece.failures
        if piece.representation is not None:
            decoded = piece.representation.decode(piece.arrays)
            parts.append(decoded.crystals)
            ids += [piece.ids[i] for i in decoded.index.tolist()]
            confidence.append(_confidence(decoded))
            listed += [piece.placed(one) for one in decoded.failures]
        done += len(piece.ids) + len(piece.failures)
        if progress is not None:
            progress(done)
    report.n_decoded = len(ids)
    report.confidence = np.concatenate(confidence)
    report.failures.update(failure.reason for failure in listed)
    report.first = {failure.reason: failure for failure in reversed(listed)}
    if ids:
        _write(Crystals.concatenate(parts), target, ids, report.confidence)
    report.failures_path = list_failures(listed, listing, own=failures is None)
    return report


def _confidence(decoded: Decoded) -> npt.NDArray[np.float64]:
    if decoded.confidence is None:
        return np.full(len(decoded.crystals), np.nan)
    return decoded.confidence


def _check_target(target: Path, *, force: bool) -> None:
    if target.suffix and not target.is_dir() and target.suffix.lower() not in _TABLES:
        named = format_of(target.name)
        if named not in WRITERS:
            raise StorageError(
                f"{target.name}: the ending tells no format; wanted .parquet, .cif, .extxyz, .db, "
                ".json, or a folder without an ending"
            )
    elif target.is_file() and not target.suffix and format_of(target.name) not in WRITERS:
        raise StorageError(f"{target} is a file: give the name of a folder")
    taken = any(target.iterdir()) if target.is_dir() else target.exists()
    if taken and not force:
        raise StorageError(f"{target} exists: give another name, or --force (force=True)")


def _write(
    crystals: Crystals, target: Path, ids: Sequence[str], confidence: npt.NDArray[np.float64]
) -> None:
    told = bool(np.isfinite(confidence).any())
    if target.suffix.lower() in _TABLES:
        from crystalcodec.data import Dataset

        properties: dict[str, Any] = {"confidence": confidence} if told else {}
        Dataset.from_crystals(crystals, _unique(ids), properties).write(target)
        return
    known = [None if value != value else value for value in confidence.tolist()]
    write(crystals, target, ids=ids, properties={"confidence": known} if told else None)


def _unique(ids: Sequence[str]) -> list[str]:
    """Ids of which those that come again get a number: salt, salt-2."""
    counts: dict[str, int] = {}
    given = []
    for one in ids:
        name = one
        while name in counts:
            counts[one] += 1
            name = f"{one}-{counts[one]}"
        counts[name] = 1
        given.append(name)
    return given
