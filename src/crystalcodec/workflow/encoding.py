"""Files of crystals to files of arrays or pictures."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np

from crystalcodec.crystals import Crystals
from crystalcodec.failures import Failure
from crystalcodec.io import Loaded, iter_read, write_failures
from crystalcodec.io.png import write_png
from crystalcodec.registry import did_you_mean
from crystalcodec.representations.base import Encoded, Representation, RepresentationError
from crystalcodec.representations.images import ImageRepresentation
from crystalcodec.representations.npy_files import StorageError, whole_folder
from crystalcodec.representations.space_groups import SpaceGroupRepresentation
from crystalcodec.representations.storage import EncodedWriter

__all__ = ["CONFIG_KEY", "ID_KEY", "EncodeReport", "encode_files", "fits_png", "unique_names"]

CONFIG_KEY: Final = "crystalcodec"
"""Key of a PNG's text under which the representation stands, as JSON."""

ID_KEY: Final = "id"
"""Key of a PNG's text under which the crystal's id stands."""

Progress = Callable[[int], None]

# Pictures that are encoded at once: 256 of 256 x 256 are 64 MiB.
_PICTURES: Final = 256


@dataclass
class EncodeReport:
    """What became of the crystals of some files.

    Parameters
    ----------
    out
        The folder that was written.
    n_encoded
        Crystals that are in it.
    unread, refused
        Records that could not be read, and crystals that could not be encoded, by reason.
    first
        The first of each reason.
    failures_path
        The CSV file that lists them; None if there are none.
    """

    out: Path
    n_encoded: int = 0
    unread: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    first: dict[str, Failure] = field(default_factory=dict)
    failures_path: Path | None = None

    @property
    def n_failed(self) -> int:
        """Records and crystals that are not in the folder."""
        return self.unread.total() + self.refused.total()


def encode_files(
    sources: Sequence[str | os.PathLike[str]],
    representation: Representation,
    out: str | os.PathLike[str],
    *,
    pictures: bool | None = None,
    right_handed: bool = False,
    space_groups: str | None = None,
    failures: str | os.PathLike[str] | None = None,
    force: bool = False,
    progress: Progress | None = None,
    **reading: Any,
) -> EncodeReport:
    """Encode the crystals of files, folders, archives, tables or datasets into a folder.

    Memory does not grow with the number of crystals.

    Parameters
    ----------
    sources
        What :func:`crystalcodec.io.read` takes.
    representation
        What encodes; one that needs it is fitted on these crystals first.
    out
        The folder, which appears whole or not at all: arrays as
        :func:`~crystalcodec.representations.storage.load_encoded` reads them, or a PNG for each
        crystal, named by its id and with the representation in its text.
    pictures
        Whether to write PNGs; by default where the array is a picture that a PNG holds.
    right_handed
        Turn left-handed cells into right-handed ones first; no atom moves.
    space_groups
        Property that holds the number of each crystal's space group, so that it need not be
        found; for a :class:`SpaceGroupRepresentation`.
    failures
        CSV file for what could not be read or encoded; ``out``.failures.csv where None. Written
        if there is any; an old one of that name is removed if there is none.
    force
        Replace a folder that stands there.
    progress
        Called with the number of crystals done.
    reading
        More parameters of :func:`crystalcodec.io.read`.

    Raises
    ------
    RepresentationError
        Pictures of a representation that has none; space groups for one that holds none.
    StorageError, ReadError
        Something stands in ``out``; sources that cannot be read at all.
    """
    if representation.needs_fit:
        # Another pass over the files, which crystals alone outlive.
        parts = [loaded.crystals for loaded in iter_read(sources, **reading)]
        representation = representation.fit(Crystals.concatenate(parts))
    writer: EncodedWriter | _PictureWriter
    if fits_png(representation) if pictures is None else pictures:
        if not (fits_png(representation) and isinstance(representation, ImageRepresentation)):
            raise RepresentationError(
                f"{representation.name} is no picture that a PNG holds: write arrays"
            )
        writer = _PictureWriter(out, representation, force=force)
    else:
        writer = EncodedWriter(out, representation, force=force)
    report = EncodeReport(Path(out))
    listing = failures_path(report.out, failures)
    listed: list[Failure] = []
    batches = iter_read(sources, **reading)
    with writer:
        done = 0
        for loaded in batches:
            crystals = loaded.crystals.right_handed() if right_handed else loaded.crystals
            encode = _known_groups(representation, loaded, space_groups)
            refused = writer.write(crystals, loaded.ids, encode)
            listed += _placed(loaded, refused, done)
            report.unread.update(failure.reason for failure in loaded.failures)
            report.refused.update(failure.reason for failure in refused)
            done += len(crystals)
            if progress is not None:
                progress(done)
        report.n_encoded = done - report.refused.total()
    report.first = {failure.reason: failure for failure in reversed(listed)}
    report.failures_path = list_failures(listed, listing, own=failures is None)
    return report


def failures_path(out: Path, given: str | os.PathLike[str] | None) -> Path:
    """Where failures are listed; told before the work starts if that cannot be."""
    named = out if out.name not in ("", "..") else out.resolve()
    path = named.with_name(f"{named.name}.failures.csv") if given is None else Path(given)
    if path.is_dir():
        raise StorageError(f"{path} is a folder: give the name of a CSV file for failures")
    check_writable(path)
    return path


def check_writable(path: Path) -> None:
    """An error if nothing can be made at a place, which need not be there yet."""
    above = next(place for place in Path(os.path.realpath(path)).parents if place.exists())
    if not (above.is_dir() and os.access(above, os.W_OK | os.X_OK)):
        kind = "a folder that cannot be written to" if above.is_dir() else "no folder"
        raise StorageError(f"{path} cannot be written: {above} is {kind}")


def list_failures(failures: Sequence[Failure], path: Path, *, own: bool) -> Path | None:
    """Write the list, if there is any; an old one, where the name is ours, does not outlive it."""
    if failures:
        write_failures(failures, path)
        return path
    if own:
        path.unlink(missing_ok=True)
    return None


def _known_groups(
    representation: Representation, loaded: Loaded, column: str | None
) -> Callable[[Crystals], Encoded] | None:
    """An encoder of the crystals that were loaded, piece after piece, that knows their groups."""
    if column is None:
        return None
    if not isinstance(representation, SpaceGroupRepresentation):
        raise RepresentationError(f"{representation.name} holds no space group: give none")
    if column not in loaded.properties and len(loaded.crystals):
        raise RepresentationError(
            f"no property {column!r} of space groups{did_you_mean(column, loaded.properties)}"
        )
    numbers = iter(_group(value) for value in loaded.properties.get(column, []))
    return lambda piece: representation.encode(
        piece, space_group_numbers=np.array([*islice(numbers, len(piece))], np.int64)
    )


def _group(value: Any) -> int:
    """A number of a space group, 0 (which none has) where it is none."""
    try:
        return int(value) if int(value) == float(value) else 0
    except (TypeError, ValueError, OverflowError):
        return 0


def _placed(loaded: Loaded, refused: Iterable[Failure], start: int) -> list[Failure]:
    """Failures of a batch with the sources of their crystals."""
    sources = loaded.sources
    return [
        *loaded.failures,
        *(dataclasses.replace(one, source=sources[one.index - start]) for one in refused),
    ]


class _PictureWriter:
    """Writes a PNG for each crystal, with the interface of :class:`EncodedWriter`."""

    def __init__(
        self, folder: str | os.PathLike[str], representation: ImageRepresentation, *, force: bool
    ) -> None:
        self._representation, self._n = representation, 0
        self._taken: dict[str, int] = {}
        self.whole = whole_folder(folder, force=force)
        self._config = json.dumps(representation.config(), sort_keys=True)

    def __enter__(self) -> _PictureWriter:
        self._folder = self.whole.__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        self.whole.__exit__(*raised)

    def write(
        self,
        crystals: Crystals,
        ids: Sequence[str],
        encode: Callable[[Crystals], Encoded] | None = None,
    ) -> list[Failure]:
        failures: list[Failure] = []
        for start in range(0, len(crystals), _PICTURES):
            stop = start + _PICTURES
            piece = crystals[start:stop]
            encoded = (encode or self._representation.encode)(piece)
            failures += self._write(encoded, len(piece), ids[start:stop])
        return failures

    def _write(self, encoded: Encoded, n: int, ids: Sequence[str]) -> list[Failure]:
        pixels = self._representation.to_pixels(encoded)
        if pixels.ndim == 4 and pixels.shape[-1] == 1:
            pixels = pixels[..., 0]
        named = [ids[i] for i in encoded.index.tolist()]
        for one, name, picture in zip(named, unique_names(named, self._taken), pixels, strict=True):
            text = {CONFIG_KEY: self._config, ID_KEY: one.replace("\0", "")}
            write_png(self._folder / f"{name}.png", picture, text=text)
        start, self._n = self._n, self._n + n
        return [dataclasses.replace(f, index=f.index + start) for f in encoded.failures]


def fits_png(representation: Representation) -> bool:
    """Whether its array is a picture that a PNG holds without loss of channels or depth."""
    if not isinstance(representation, ImageRepresentation):
        return False
    shape = representation.shapes()[representation.name]
    channels = shape[2] if len(shape) == 3 else 1
    return channels == 1 or (channels in (3, 4) and representation.bits == 8)


def unique_names(ids: Iterable[str], taken: dict[str, int] | None = None) -> Iterator[str]:
    """Names for files: without blanks and separators, each once whatever case counts.

    Parameters
    ----------
    ids
        What to name them after.
    taken
        How often each name, in lower case, was wanted before; grows.

    Examples
    --------
    >>> list(unique_names(["mp-1", "a/b", "MP-1"]))
    ['mp-1', 'a_b', 'MP-1-2']
    """
    known = {} if taken is None else taken
    for one in ids:
        bare = re.sub(r"[^\w.+()\[\]-]", "_", one, flags=re.ASCII).lstrip(".")[:180] or "crystal"
        name = bare
        while name.lower() in known:
            known[bare.lower()] += 1
            name = f"{bare}-{known[bare.lower()]}"
        known[name.lower()] = 1
        yield name
