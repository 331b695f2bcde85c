"""A folder of slices to train image models on: in parallel, resumable, every plane recorded.

The crystals come down to parts that any process draws by itself. Of a part, the pictures are
written first and a marker last; a build that was killed goes on behind the last marker. When all
parts are there their tables are joined, in order, so that the result does not depend on the number
of processes or on kills.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from crystalcodec.crystals import Crystals
from crystalcodec.data.columns import DatasetError
from crystalcodec.data.dataset import Dataset
from crystalcodec.data.slice_parts import COLUMNS, Part, SliceOptions, draw_part
from crystalcodec.data.storage import DatasetWriter
from crystalcodec.data.workers import pool_of
from crystalcodec.failures import Failure
from crystalcodec.io.loaded import write_failures
from crystalcodec.io.locking import LOCK, locked
from crystalcodec.io.volumetric import volumetric_format
from crystalcodec.io.whole import whole_file

__all__ = ["SliceOptions", "SliceReport", "build_slice_dataset"]

_CRYSTALS_A_PART: Final = 64
_BUILD: Final = "build.json"
_OWN: Final = ("images", "parts", "slices.parquet", "slices.npy", "crystals.parquet")
_FAILURES: Final = "failures.csv"

Progress = Callable[[int, int], None]
Source = str | Path


@dataclass(frozen=True)
class SliceReport:
    """What a build made, and what it could not.

    Parameters
    ----------
    n_pictures, n_crystals
        Pictures, and the crystals that they are of.
    failures
        Crystals and files without a picture: number by reason.
    n_sparse
        Slices of densities that were dropped as sparse.
    n_collinear
        Triples of atoms that were passed over since they stand in a row.
    n_parts, n_parts_before
        Parts of the build, and those that an earlier run had finished.
    """

    n_pictures: int
    n_crystals: int
    failures: dict[str, int] = field(default_factory=dict)
    n_sparse: int = 0
    n_collinear: int = 0
    n_parts: int = 0
    n_parts_before: int = 0


def build_slice_dataset(
    sources: Crystals | Source | Sequence[Source],
    out: Source,
    options: SliceOptions | None = None,
    *,
    output: Literal["png", "array"] = "png",
    jobs: int = 1,
    force: bool = False,
    progress: Progress | None = None,
) -> SliceReport:
    """Draw slices of many crystals, or cut them out of many densities, into a folder.

    The folder holds ``slices.parquet``, a row a picture: ``image`` (path in the folder, or row of
    the array), ``crystal`` (row of ``crystals.parquet``), ``id``, ``formula``, ``kind`` (``made``,
    or which density), ``plane`` (its number), ``sites`` (the three atoms), ``translations`` (of
    each of the three, in cells), ``axis`` and ``index`` (of a slice of a density), ``normal``,
    ``right``, ``up`` and ``origin`` (the middle; Å), ``scale`` (of all lengths) and ``n_atoms``
    (in the picture; -1 where it is not known). Pictures are ``images/PART/CRYSTAL-PLANE.png``, or
    rows of ``slices.npy`` (n, size, size). ``failures.csv`` lists what gave no picture, and
    ``build.json`` the options.

    Parameters
    ----------
    sources
        Crystals; or files, folders and archives as :func:`crystalcodec.io.read` takes them, and
        CHGCAR and cube files. A folder with densities in it is searched for these alone.
    out
        The folder.
    options
        How slices are made; see :class:`SliceOptions`.
    output
        ``png``: a file a picture. ``array``: one array file.
    jobs
        Number of processes, each with one thread. With more than one, call this under
        ``if __name__ == "__main__"``.
    force
        Whether a finished or other build in ``out`` may be replaced.
    progress
        Called with the numbers of parts done and of all parts.

    Raises
    ------
    DatasetError
        A folder with other files or another build, one that is finished, a build under way, no
        picture at all, or a worker that died.
    ReadError
        A path that does not exist.
    OSError
        A full disk: parts made so far are kept.
    """
    options = options or SliceOptions()
    if output not in ("png", "array"):
        raise DatasetError(f"output is {output!r}, wanted 'png' or 'array'")
    parts, failures = _parts(sources)
    folder = Path(out)
    with _build(folder, _key(parts, options, output), force):
        before = {i for i in range(len(parts)) if _marker(folder, i).exists()}
        _draw_parts(folder, parts, options, output, before, jobs, progress)
        markers = [json.loads(_marker(folder, i).read_text()) for i in range(len(parts))]
        for marker in markers:
            failures += [Failure(*entry) for entry in marker["failures"]]
        report = SliceReport(
            n_pictures=sum(marker["n_pictures"] for marker in markers),
            n_crystals=sum(marker["n_crystals"] for marker in markers),
            failures=dict(Counter(failure.reason for failure in failures).most_common()),
            n_sparse=sum(marker["n_sparse"] for marker in markers),
            n_collinear=sum(marker["n_collinear"] for marker in markers),
            n_parts=len(parts),
            n_parts_before=len(before),
        )
        if failures:
            write_failures(failures, folder / _FAILURES)
        if not report.n_pictures:
            reasons = ", ".join(f"{n:,} {reason}" for reason, n in report.failures.items())
            listed = f" (listed in {folder / _FAILURES})" if failures else ""
            raise DatasetError(f"no slice: {reasons or 'there are no crystals'}{listed}")
        _join(folder, markers, options, output, report)
    return report


def _parts(sources: Crystals | Source | Sequence[Source]) -> tuple[list[Part], list[Failure]]:
    """What is drawn together, and what could not be read."""
    if isinstance(sources, Crystals):
        return _crystal_parts(sources, [str(i) for i in range(len(sources))]), []
    densities, others = [], []
    for source in [sources] if isinstance(sources, str | Path) else sources:
        path = Path(source)
        inside = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        named = [str(one) for one in inside if volumetric_format(one.name)]
        densities += named
        others += [] if named else [source]
    parts: list[Part] = []
    failures: list[Failure] = []
    if others:
        from crystalcodec.io import read

        loaded = read(others)
        failures = list(loaded.failures)
        parts = _crystal_parts(loaded.crystals, list(loaded.ids))
    start = sum(len(part.ids) for part in parts)
    for i, path_ in enumerate(densities):
        if not Path(path_).is_file():
            raise DatasetError(f"{path_} is not there")
        parts.append(Part(start + i, (Path(path_).name,), path=path_))
    return parts, failures


def _crystal_parts(crystals: Crystals, ids: list[str]) -> list[Part]:
    seen: Counter[str] = Counter()
    unique = []
    for name in ids:
        seen[name] += 1
        unique.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
    return [
        Part(
            start,
            tuple(unique[start : start + _CRYSTALS_A_PART]),
            crystals[start : start + _CRYSTALS_A_PART],
        )
        for start in range(0, len(crystals), _CRYSTALS_A_PART)
    ]


def _key(parts: Sequence[Part], options: SliceOptions, output: str) -> str:
    """Hash of all that the pictures depend on: crystals, files by size and time, options."""
    digest = hashlib.sha256(json.dumps([version("crystalcodec"), asdict(options), output]).encode())
    for part in parts:
        digest.update(json.dumps(part.ids).encode())
        if part.crystals is not None:
            digest.update(part.crystals.content_hash.encode())
        else:
            status = Path(part.path).stat()
            digest.update(f"{part.path} {status.st_size} {status.st_mtime_ns}".encode())
    return digest.hexdigest()


@contextmanager
def _build(folder: Path, key: str, force: bool) -> Iterator[None]:
    """The folder of a build, ours alone while the body runs."""
    folder.mkdir(parents=True, exist_ok=True)
    busy = f"another build in {folder} is under way: wait for it"
    with locked(folder / LOCK, DatasetError(busy)):
        manifest = folder / _BUILD
        others = [p for p in folder.iterdir() if p.name[0] != "."]
        if others and not manifest.exists():
            raise DatasetError(
                f"{folder} holds other files, such as {others[0].name}: give a folder of its own"
            )
        old = json.loads(manifest.read_text()) if others else {}
        if old and (old.get("key") != key or "n_pictures" in old or force):
            if not force:
                what = "a finished build" if "n_pictures" in old else "a build of other options"
                raise DatasetError(
                    f"{folder} holds {what}: give another folder, or --force (force=True) to "
                    "replace it"
                )
            _remove(folder)
        if not manifest.exists():
            with whole_file(manifest) as temporary:
                temporary.write_text(json.dumps({"key": key}))
        (folder / "parts").mkdir(exist_ok=True)
        yield


def _remove(folder: Path) -> None:
    for name in (*_OWN, _FAILURES, _BUILD):
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _marker(folder: Path, number: int) -> Path:
    return folder / "parts" / f"{number:06d}.json"


def _draw_parts(
    folder: Path,
    parts: Sequence[Part],
    options: SliceOptions,
    output: str,
    before: set[int],
    jobs: int,
    progress: Progress | None,
) -> None:
    missing = [i for i in range(len(parts)) if i not in before]
    n_done = len(before)

    def done() -> None:
        nonlocal n_done
        n_done += 1
        if progress:
            progress(n_done, len(parts))

    if progress:
        progress(n_done, len(parts))
    with pool_of(min(jobs, len(missing))) as pool:
        if pool is None:
            for i in missing:
                draw_part(str(folder), i, parts[i], options, output)
                done()
            return
        running = [
            pool.submit(draw_part, str(folder), i, parts[i], options, output) for i in missing
        ]
        try:
            for future in as_completed(running):
                future.result()
                done()
        except KeyboardInterrupt:
            # A part may take long, and one that is not finished is drawn again.
            for process in [*getattr(pool, "_processes", {}).values()]:
                process.terminate()
            raise
        except BrokenProcessPool:
            raise DatasetError(
                "a worker process was killed (by the system, if memory ran out): what it had "
                "finished is kept; run again, with fewer --jobs, to go on"
            ) from None


def _join(
    folder: Path,
    markers: Sequence[dict[str, Any]],
    options: SliceOptions,
    output: str,
    report: SliceReport,
) -> None:
    """One table, one file of crystals and one array, out of those of the parts."""
    parts = folder / "parts"
    drawn = [i for i, marker in enumerate(markers) if marker["n_pictures"]]
    with DatasetWriter(folder / "crystals.parquet", {}) as writer:
        for i in drawn:
            writer.write(Dataset.read(parts / f"{i:06d}.crystals.parquet"))
    if output == "array":
        with whole_file(folder / "slices.npy") as temporary:
            array = np.lib.format.open_memmap(
                temporary,
                mode="w+",
                dtype=np.uint8 if options.bits == 8 else np.uint16,
                shape=(report.n_pictures, options.size, options.size),
            )
            start = 0
            for i in drawn:
                part = np.load(parts / f"{i:06d}.npy", mmap_mode="r")
                array[start : start + len(part)] = part
                start += len(part)
            array.flush()
    with (
        whole_file(folder / "slices.parquet") as temporary,
        pq.ParquetWriter(temporary, COLUMNS) as table_writer,
    ):
        n_crystals = n_pictures = 0
        for i in drawn:
            table = pq.read_table(parts / f"{i:06d}.parquet")
            rows = pa.array(table["crystal"].to_numpy() + n_crystals)
            table = table.set_column(table.column_names.index("crystal"), "crystal", rows)
            if output == "array":
                images = [str(n_pictures + k) for k in range(len(table))]
                table = table.set_column(
                    table.column_names.index("image"), "image", pa.array(images)
                )
            table_writer.write_table(table.cast(COLUMNS))
            n_crystals += markers[i]["n_crystals"]
            n_pictures += len(table)
    old = json.loads((folder / _BUILD).read_text())
    with whole_file(folder / _BUILD) as temporary:
        entries = {**old, "options": asdict(options), "output": output, **asdict(report)}
        temporary.write_text(json.dumps(entries, indent=2) + "\n")
    shutil.rmtree(parts)
