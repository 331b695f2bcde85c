"""Files of any kind to one dataset: in parallel, in bounded memory, resumable after a kill.

The sources come down to parts that are read one by one, by any process, and kept in a folder
beside the output. When all parts are there they are joined, in order, into the dataset. A part
that is finished is not read again; the folder goes when the dataset is there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from crystalcodec.data.columns import DatasetError, Kind
from crystalcodec.data.dataset import CRYSTAL_COLUMNS, Dataset, DatasetMetadata
from crystalcodec.data.parts import (
    Checkpoint,
    PartOptions,
    Summary,
    failures_of,
    folder_of,
    id_hash,
    read_part,
)
from crystalcodec.data.storage import DatasetReader, DatasetWriter, require_new
from crystalcodec.data.workers import pool_of
from crystalcodec.io import Member, ReadError, list_members, write_failures
from crystalcodec.registry import did_you_mean

__all__ = ["ImportReport", "import_dataset"]

Source = str | Path
Progress = Callable[[int, int], None]

# Small files that are read as one part.
_FILES_A_PART: Final = 256
# Of the sources, in messages and in the metadata.
_SHOWN: Final = 3
_NOTED: Final = 20


@dataclass(frozen=True)
class ImportReport:
    """What an import did.

    Parameters
    ----------
    n
        Number of crystals in the dataset.
    failures
        Number of records that could not be read, by reason.
    failures_path
        The CSV file that lists them; None if there are none.
    n_renamed
        Number of ids that were there already and got a number (``salt``, ``salt-2``, ...).
    mixed
        Property columns that hold several kinds of values and were kept as text.
    renamed_columns
        Names in the sources, by names in the dataset, of property columns that had to be renamed.
    left_out
        Columns that are no numbers, truth values or texts.
    n_parts, n_parts_before
        Number of parts, and how many of them a run before this one had read.
    content_hash
        Of the dataset.
    """

    n: int
    failures: Mapping[str, int]
    failures_path: Path | None
    n_renamed: int
    mixed: tuple[str, ...]
    renamed_columns: Mapping[str, str]
    left_out: tuple[str, ...]
    n_parts: int
    n_parts_before: int
    content_hash: str

    @property
    def n_failed(self) -> int:
        """Number of records that could not be read."""
        return sum(self.failures.values())


def import_dataset(
    sources: Source | Sequence[Source],
    out: Source,
    *,
    format: str | None = None,  # noqa: A002
    structure_column: str | None = None,
    id_column: str | None = None,
    properties: Sequence[str] | None = None,
    units: Mapping[str, str] | None = None,
    source: str = "",
    licence: str = "",
    min_distance: float = 0.1,
    strict: bool = False,
    failures: Source | None = None,
    jobs: int = 1,
    force: bool = False,
    progress: Progress | None = None,
) -> ImportReport:
    """Read crystals from files, folders, patterns, archives and tables into one dataset file.

    An id that comes again gets a number: ``salt``, ``salt-2``, ``salt-3``. A killed import goes
    on when it is started again with the same sources and options; the dataset is the same as if
    it had not been killed. Changed files or options start afresh.

    Parameters
    ----------
    sources
        What :func:`crystalcodec.io.list_members` takes.
    out
        The dataset file.
    format
        Format of all files, where names do not tell it.
    structure_column, id_column
        Columns of tables; without them the usual names are looked for.
    properties
        Property columns to keep; all numbers, truth values and texts where None.
    units
        Unit of a property column by name.
    source, licence
        Where the data come from, and under which terms; kept in the dataset. Datasets of ours
        among the sources hand on what they say of these, of units and of columns.
    min_distance
        Å; a crystal with two atoms closer than this is a failure.
    strict
        Make the first failure an error.
    failures
        CSV file for what could not be read; beside ``out`` where None. Written if there is any.
    jobs
        Number of processes, each with one thread. With more than one, call this under
        ``if __name__ == "__main__"``.
    force
        Whether ``out`` may be replaced.
    progress
        Called with the numbers of parts done and of all parts.

    Raises
    ------
    ReadError
        A path that does not exist, an unknown format; in strict mode, the first failure.
    DatasetError
        No crystal at all, an unknown property or unit, an ``out`` that exists or is to be read,
        another import to ``out`` under way, or a worker process that died.
    OSError
        A full disk: nothing of the dataset is there; the parts read so far are kept.
    """
    out = Path(out)
    require_new(out, force=force)
    failures_path = Path(failures) if failures else out.with_name(out.name + ".failures.csv")
    parts = _parts(_without_own(list_members(sources, format=format), out, failures_path))
    with Checkpoint(out, parts, PartOptions(structure_column, id_column, min_distance)) as kept:
        n_before = len(kept.finished())
        _read_parts(kept, strict=strict, jobs=jobs, progress=progress)
        summary = kept.summary()
        if summary.failures:
            write_failures(kept.failures(), failures_path)
        elif force:
            failures_path.unlink(missing_ok=True)  # of the dataset that is replaced
        if not summary.n:
            kept.remove()
            raise DatasetError(_nothing(sources, summary, failures_path))
        columns = _Columns(summary, properties, units or {})
        known = _known_before([member for part in parts for member in part], columns)
        metadata = replace(
            known,
            units={**known.units, **(units or {})},
            source=source or known.source,
            licence=licence or known.licence,
            failures=dict(summary.failures.most_common()),
            notes={**known.notes, "imported": _notes(sources, min_distance, columns)},
        )
        numbering = _Numbering(kept.id_hashes())
        joined = kept.folder / "dataset.parquet"
        with DatasetWriter(joined, columns.kinds, metadata) as writer:
            for batch, hashes in kept.batches(columns.kinds, columns.names):
                writer.write(numbering.apply(batch, hashes))
        joined.replace(out)
        kept.remove()
    return ImportReport(
        n=summary.n,
        failures=metadata.failures,
        failures_path=failures_path if summary.failures else None,
        n_renamed=numbering.n_renamed,
        mixed=columns.mixed,
        renamed_columns=columns.names,
        left_out=tuple(summary.left_out),
        n_parts=len(parts),
        n_parts_before=n_before,
        content_hash=writer.content_hash,
    )


def _without_own(members: Sequence[Member], out: Path, failures: Path) -> list[Member]:
    """Members without the files that an import to ``out`` itself makes in a folder it reads."""
    out = out.absolute()
    paths = {member.path: Path(member.path).absolute() for member in members}
    if out in paths.values():
        raise DatasetError(f"{out} is among the files to read: give another output")
    own = {
        given
        for given, path in paths.items()
        if path == failures.absolute() or path.parent == folder_of(out)
    }
    return [member for member in members if member.path not in own]


def _parts(members: Sequence[Member]) -> list[list[Member]]:
    """Members that are read together: many small files, or one table range or large file."""
    parts: list[list[Member]] = []
    for small, group in groupby(members, key=lambda member: member.format in ("cif", "poscar")):
        files = list(group)
        step = _FILES_A_PART if small else 1
        parts += [files[start : start + step] for start in range(0, len(files), step)]
    return parts


def _read_parts(kept: Checkpoint, *, strict: bool, jobs: int, progress: Progress | None) -> None:
    """Read what is not there yet."""
    finished = kept.finished()
    missing = [i for i in range(len(kept.parts)) if i not in finished]
    n_done = len(finished)

    def done(number: int) -> None:
        if strict:
            for failure in failures_of(kept.marker(number)):
                raise ReadError(f"{failure} (strict: nothing was written)")
        if progress:
            progress(n_done, len(kept.parts))

    for number in sorted(finished):
        done(number)
    with pool_of(min(jobs, len(missing))) as pool:
        if pool is None:
            for number in missing:
                read_part(kept.folder, number, kept.parts[number], kept.options)
                n_done += 1
                done(number)
            return
        running = [
            pool.submit(read_part, kept.folder, number, kept.parts[number], kept.options)
            for number in missing
        ]
        try:
            for future in as_completed(running):
                number = future.result()
                n_done += 1
                done(number)
        except BrokenProcessPool:
            raise DatasetError(
                "a worker process was killed (by the system, if memory ran out): what it had "
                "finished is kept; run again, with fewer --jobs, to go on"
            ) from None


class _Columns:
    """Property columns of the dataset, from what all parts hold.

    Parameters
    ----------
    kinds
        Kind by name.
    names
        Name in the sources, by name, where it is another one.
    mixed
        Columns of several kinds of values, kept as text.
    """

    def __init__(
        self, summary: Summary, wanted: Sequence[str] | None, units: Mapping[str, str]
    ) -> None:
        self.kinds: dict[str, Kind] = {}
        self.names: dict[str, str] = {}
        mixed = []
        known = [name for name in summary.kinds if name not in summary.left_out]
        for name in known if wanted is None else dict.fromkeys(wanted):
            if name not in known:
                raise DatasetError(f"no property {name!r} to keep{did_you_mean(name, known)}")
            kind, is_mixed = _common_kind(
                summary.kinds[name], complete=summary.n_values[name] == summary.n
            )
            own = f"source_{name}" if name in CRYSTAL_COLUMNS else name
            if own != name:
                self.names[own] = name
            self.kinds[own] = kind
            if is_mixed:
                mixed.append(own)
        for name in units:
            if name not in self.kinds:
                raise DatasetError(f"a unit for {name!r}{did_you_mean(name, self.kinds)}")
        self.mixed = tuple(mixed)


def _known_before(members: Sequence[Member], columns: _Columns) -> DatasetMetadata:
    """What datasets of ours among the sources say about the columns that are kept."""
    stored: dict[str, DatasetMetadata] = {}
    for path in dict.fromkeys(m.path for m in members if m.format == "parquet"):
        try:
            with DatasetReader(path, columns=()) as reader:
                stored[path] = reader.metadata
        except DatasetError:
            continue  # a table of another kind says nothing about its columns
    units: dict[str, str] = {}
    for path, metadata in stored.items():
        for name, unit in metadata.units.items():
            if name in columns.kinds and units.setdefault(name, unit) != unit:
                raise DatasetError(
                    f"column {name!r} is in {units[name]} in one source and in {unit} in {path}: "
                    "convert one, or import them apart"
                )
    before = [*stored.values()]
    return DatasetMetadata(
        units=units,
        descriptions={
            name: text
            for metadata in reversed(before)
            for name, text in metadata.descriptions.items()
            if name in columns.kinds
        },
        source="; ".join(dict.fromkeys(m.source for m in before if m.source)),
        licence="; ".join(dict.fromkeys(m.licence for m in before if m.licence)),
        # Notes of several datasets would contradict each other.
        notes=before[0].notes if len(before) == 1 else {},
    )


def _common_kind(seen: set[str], *, complete: bool) -> tuple[Kind, bool]:
    """The kind that holds all kinds seen in the parts, and whether that is text for want of one."""
    kinds = seen - {"nothing"}
    if not kinds or kinds == {"number"} or kinds == {"number", "integer"}:
        return "number", False
    if kinds == {"integer"}:
        return "integer" if complete else "number", False
    if kinds == {"boolean"}:
        return "boolean", False
    return "text", kinds != {"text"}


class _Numbering:
    """Ids made unique: one that comes again gets a number that makes it a free one.

    Holds eight bytes for each id, and the ids themselves only of those that repeat.
    """

    def __init__(self, hashes: npt.NDArray[np.uint64]) -> None:
        self.n_renamed = 0
        self._known, counts = np.unique(hashes, return_counts=True)
        self._repeated = self._known[counts > 1]
        self._times: dict[str, int] = {}

    def apply(self, batch: Dataset, hashes: npt.NDArray[np.uint64]) -> Dataset:
        """The batch with unique ids; batches come in order."""
        again = np.flatnonzero(np.isin(hashes, self._repeated))
        if not len(again):
            return batch
        ids = batch.ids.copy()
        for i in again.tolist():
            ids[i] = self._free(ids[i])
        return Dataset(batch.crystals, ids, batch.properties)

    def _free(self, name: str) -> str:
        times = self._times.get(name, 0) + 1
        free = name
        if times > 1:
            self.n_renamed += 1
            while self._is_known(free := f"{name}-{times}"):
                times += 1
        self._times[name] = times
        return free

    def _is_known(self, name: str) -> bool:
        sought = np.uint64(id_hash(name))
        position = int(np.searchsorted(self._known, sought))
        return position < len(self._known) and bool(self._known[position] == sought)


def _listed(sources: Source | Sequence[Source]) -> list[str]:
    return [str(one) for one in ([sources] if isinstance(sources, str | Path) else sources)]


def _nothing(sources: Source | Sequence[Source], summary: Summary, failures: Path) -> str:
    listed = _listed(sources)
    shown = ", ".join(listed[:_SHOWN]) + (", ..." if len(listed) > _SHOWN else "")
    if not summary.failures:
        return f"no crystal in {shown}: there are no records; nothing was written"
    reasons = ", ".join(f"{count:,} {what}" for what, count in summary.failures.most_common())
    return f"no crystal in {shown}: {reasons}; they are listed in {failures}"


def _notes(
    sources: Source | Sequence[Source], min_distance: float, columns: _Columns
) -> dict[str, object]:
    listed = _listed(sources)
    return {
        "sources": listed[:_NOTED],
        "n_sources": len(listed),
        "min_distance": min_distance,
        "renamed_columns": columns.names,
        "kept_as_text": list(columns.mixed),
    }
