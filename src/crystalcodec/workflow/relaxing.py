"""Relaxing many crystals: in processes, in parts that outlive a kill, and tables of what came."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from crystalcodec.crystals import Crystals
from crystalcodec.data.columns import DatasetError
from crystalcodec.data.dataset import Dataset
from crystalcodec.data.workers import pool_of
from crystalcodec.failures import Failure
from crystalcodec.io.locking import LOCK, locked
from crystalcodec.io.whole import whole_file
from crystalcodec.relaxation.base import Potential, Relaxed, load_potential, packages_of
from crystalcodec.relaxation.limits import Limits, settings_of
from crystalcodec.relaxation.relaxing import relax
from crystalcodec.relaxation.tables import from_dataset, to_dataset, write_table

__all__ = [
    "RelaxReport",
    "RelaxingError",
    "load_relaxed",
    "relax_files",
    "relax_in_parts",
    "relaxation_key",
]

Progress = Callable[[int, int], None]

RECORD: Final = "relaxing.json"
RELAXED: Final = "relaxed.parquet"
TABLE: Final = "relaxed.csv"
TRAJECTORY: Final = "trajectory"
_PARTS: Final = "parts"
_FORMAT: Final = 1
_SIZE: Final = 64
"""Crystals of a part: what a kill loses of each process."""


class RelaxingError(ValueError):
    """A folder of another relaxation or of something else, or one that is not finished."""


@dataclass(frozen=True)
class RelaxReport:
    """What became of the crystals of some files.

    Parameters
    ----------
    relaxed
        Rows and failures of the crystals.
    unread
        Records that gave no crystal.
    dataset, table
        Where the relaxed crystals are, and the table of all.
    """

    relaxed: Relaxed
    unread: tuple[Failure, ...]
    dataset: Path
    table: Path


@dataclass(frozen=True)
class _Part:
    """What a process is told of a part."""

    crystals: Crystals
    folder: Path
    number: int
    potential: str
    limits: Limits
    trajectory: bool


def relax_in_parts(
    crystals: Crystals,
    folder: str | Path,
    potential: str = "chgnet-0.3.0",
    *,
    jobs: int = 1,
    progress: Progress | None = None,
    ids: Sequence[str] | None = None,
    trajectory: bool = False,
    unread: Sequence[Failure] = (),
    **limits: Any,
) -> Relaxed:
    """Relax crystals, keeping what is done in a folder; the same call goes on after a stop.

    Parameters
    ----------
    crystals
        Any crystals.
    folder
        New, empty, or of the same crystals, potential and limits. It gets ``relaxed.parquet``, a
        dataset of the relaxed crystals, and ``relaxed.csv``, a row for each crystal given; until
        then it holds parts.
    potential
        A name that :func:`~crystalcodec.relaxation.load_potential` takes.
    jobs
        Number of processes, one thread each.
    progress
        Called with the number of crystals done, and of all.
    ids
        Of the crystals, each once; their positions if not given.
    trajectory
        Whether to keep every step, in ``trajectory/*.extxyz``, one file for 64 crystals, which
        count from 0 in each.
    unread
        Records that gave no crystal, for the table.
    limits
        Parameters of :class:`~crystalcodec.relaxation.limits.Limits`.

    Raises
    ------
    RelaxingError
        The folder holds another relaxation or other files, or another process is at work in it.
    PotentialError, UnknownNameError, MissingExtraError
        Limits that make no sense; no such potential, or its package is not installed.
    """
    folder, chosen = Path(folder), Limits(**limits)
    wanted = _identity(crystals, potential, chosen, trajectory)
    if not (folder / RECORD).exists():
        _loaded(potential)  # one that cannot be loaded leaves no folder of its name
    _claim(folder, wanted)
    busy = f"another process relaxes crystals in {folder}: wait for it, or give another folder"
    with locked(folder / LOCK, RelaxingError(busy)):
        if (folder / RELAXED).exists():
            shutil.rmtree(folder / _PARTS, ignore_errors=True)
            return load_relaxed(folder)
        if not (folder / RECORD).exists():
            _write_record(folder, wanted)
        starts = range(0, len(crystals), _SIZE)
        parts = [
            _Part(crystals[start : start + _SIZE], folder, i, potential, chosen, trajectory)
            for i, start in enumerate(starts)
        ]
        todo = [part for part in parts if not _file(part).exists()]
        _relax_parts(todo, len(crystals), jobs, progress)
        found = [_read(_file(part)) for part in parts]
        if not parts:
            found = [relax(crystals, _loaded(potential), **asdict(chosen))]
        whole = Relaxed.concatenate(found)
        names = [str(i) for i in range(len(crystals))] if ids is None else list(ids)
        write_table(whole, folder / TABLE, ids=names, formulas=crystals.formulas, unread=unread)
        to_dataset(whole, names, given=wanted["crystals"]).write(folder / RELAXED)
        shutil.rmtree(folder / _PARTS, ignore_errors=True)
    return whole


def load_relaxed(folder: str | Path) -> Relaxed:
    """What a finished :func:`relax_in_parts`, or ``crystalcodec relax``, left.

    Parameters
    ----------
    folder
        The folder, or a dataset of relaxed crystals.

    Raises
    ------
    RelaxingError
        Nothing of the kind there, or not finished.
    PotentialError
        A damaged file, or a dataset of something else.
    """
    path = Path(folder)
    if path.is_dir():
        if (path / RECORD).exists() and not (path / RELAXED).exists():
            raise RelaxingError(
                f"the relaxation in {path} is not finished: the same command goes on"
            )
        path = path / RELAXED
    if not path.exists():
        raise RelaxingError(f"no relaxed crystals at {folder}: 'crystalcodec relax' makes some")
    return _read(path)


def relax_files(
    sources: Sequence[str | Path],
    out: str | Path,
    potential: str = "chgnet-0.3.0",
    *,
    jobs: int = 1,
    progress: Progress | None = None,
    trajectory: bool = False,
    limits: dict[str, Any] | None = None,
    **reading: Any,
) -> RelaxReport:
    """Relax the crystals of files, folders, archives, tables or datasets.

    Parameters
    ----------
    sources
        What :func:`crystalcodec.io.read` takes.
    out
        A folder as :func:`relax_in_parts` makes it, or the name of a dataset (``x.parquet``),
        beside which ``x.csv`` and ``x.trajectory`` appear; its parts are in
        ``x.parquet.relaxing`` until it is there.
    potential, jobs, progress, trajectory
        As in :func:`relax_in_parts`.
    limits
        Parameters of :class:`~crystalcodec.relaxation.limits.Limits`.
    reading
        More parameters of :func:`crystalcodec.io.read`; ``min_distance`` is 0 where it is not
        given, so that crystals of sites too close are rows of the table as all others are.

    Raises
    ------
    RelaxingError
        There is something else in ``out``, or beside it under a name that is needed.
    """
    from crystalcodec.io import Loaded, iter_read
    from crystalcodec.workflow.encoding import unique_names

    out = Path(out)
    single = out.suffix.lower() == ".parquet"
    folder = out.with_name(out.name + ".relaxing") if single else out
    given = limits or {}
    Limits(**given)  # told before files are read
    packages_of(potential)
    reading = {"min_distance": 0.0} | reading
    loaded = Loaded.concatenate([Loaded.empty(), *iter_read(sources, **reading)])
    crystals = loaded.crystals
    table = out.with_suffix(".csv") if single else folder / TABLE
    # The dataset last: once it is there, all is.
    moves = {TABLE: table, TRAJECTORY: out.with_suffix(".trajectory"), RELAXED: out}
    if single and out.exists():
        _check_same(out, crystals, potential, Limits(**given), moves[TRAJECTORY], trajectory)
        shutil.rmtree(folder, ignore_errors=True)
        return RelaxReport(load_relaxed(out), loaded.failures, out, table)
    if single and not (folder / RECORD).exists():
        _refuse_to_replace([table, *([moves[TRAJECTORY]] if trajectory else [])])
    relaxed = relax_in_parts(
        crystals,
        folder,
        potential,
        jobs=jobs,
        progress=progress,
        ids=list(unique_names(loaded.ids)),
        trajectory=trajectory,
        unread=loaded.failures,
        **given,
    )
    if single:
        for name, place in moves.items():
            if (folder / name).exists():
                (folder / name).replace(place)
        shutil.rmtree(folder)
    return RelaxReport(relaxed, loaded.failures, out if single else folder / RELAXED, table)


def _relax_parts(todo: Sequence[_Part], n: int, jobs: int, progress: Progress | None) -> None:
    """Make the files of the parts that are missing."""
    done = n - sum(len(part.crystals) for part in todo)

    def tell(more: int) -> None:
        if progress is not None:
            progress(done + more, n)

    tell(0)
    with pool_of(min(jobs, len(todo))) as pool:
        if pool is None:
            for part in todo:
                _relax_part(part, lambda one, _: tell(one))
                done += len(part.crystals)
            return
        try:
            for size in pool.map(_relax_part, todo):
                done += size
                tell(0)
        except BrokenProcessPool:
            raise RelaxingError(
                "a process was ended from outside, perhaps for the memory it took: the same "
                "command with fewer jobs goes on"
            ) from None


def _relax_part(part: _Part, progress: Progress | None = None) -> int:
    """Relax a part and write its file; gives the number of its crystals."""
    steps = part.folder / TRAJECTORY / f"{part.number:06d}.extxyz" if part.trajectory else None
    found = relax(
        part.crystals,
        _loaded(part.potential),
        trajectory=steps,
        progress=progress,
        **asdict(part.limits),
    )
    to_dataset(found).write(_file(part))
    return len(part.crystals)


@lru_cache(maxsize=2)
def _loaded(potential: str) -> Potential:
    return load_potential(potential)


def _file(part: _Part) -> Path:
    return part.folder / _PARTS / f"{part.number:06d}.parquet"


def _read(path: Path) -> Relaxed:
    try:
        return from_dataset(Dataset.read(path, verify=True), str(path))
    except DatasetError as error:
        raise RelaxingError(f"{error}; delete it, and relax again") from None


def _identity(
    crystals: Crystals, potential: str, limits: Limits, trajectory: bool
) -> dict[str, Any]:
    """What makes a relaxation this one."""
    return {
        "potential": potential,
        "settings": settings_of(packages_of(potential), limits),
        "n": len(crystals),
        "crystals": crystals.content_hash,
        "trajectory": trajectory,
    }


def relaxation_key(crystals: Crystals, potential: str) -> str:
    """A name of what :func:`relax_in_parts` does with these crystals, for folders that are shared.

    Other crystals, another potential and another version of it have another name.
    """
    identity = _identity(crystals, potential, Limits(), trajectory=False)
    text = json.dumps(identity, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def _claim(folder: Path, wanted: dict[str, Any]) -> None:
    """Make sure that a folder is new, empty, or of this relaxation."""
    if folder.exists() and not folder.is_dir():
        raise RelaxingError(f"{folder} is a file: give a folder, or a name in .parquet")
    record = folder / RECORD
    if not record.exists():
        others = [one.name for one in folder.glob("[!.]*")] if folder.exists() else []
        if others:
            raise RelaxingError(
                f"{folder} holds other files ({', '.join(sorted(others)[:3])}) and no relaxation: "
                "give an empty or new folder"
            )
        folder.mkdir(parents=True, exist_ok=True)
        return
    try:
        told = json.loads(record.read_text(encoding="utf-8"))
        there = dict(told["identity"]) if told["format"] == _FORMAT else {}
    except (ValueError, KeyError, TypeError):
        raise RelaxingError(f"{record} is damaged: delete {folder}, and relax again") from None
    _refuse_other(folder, there, wanted)


def _refuse_other(place: Path, there: dict[str, Any], wanted: dict[str, Any]) -> None:
    """An error that says in what one relaxation differs from another."""
    flat = [
        {**one, **{f"settings.{k}": v for k, v in one.get("settings", {}).items()}}
        for one in (there, wanted)
    ]
    names = [name for name in dict.fromkeys([*flat[1], *flat[0]]) if name != "settings"]
    differ = []
    for name in names:
        old, new = (one.get(name) for one in flat)
        if old != new:
            told = f"{name.removeprefix('settings.')} {old} there, {new} wanted"
            differ.append("other crystals" if name in ("crystals", "n") else told)
    if there.get("potential") != wanted["potential"]:
        differ = differ[:1]  # the rest follows from it, or does not matter beside it
    if differ:
        raise RelaxingError(
            f"{place} holds another relaxation ({'; '.join(dict.fromkeys(differ))}): give another "
            "place, or delete this one"
        )


def _refuse_to_replace(places: Iterable[Path]) -> None:
    """Files that are to appear beside a dataset might be the very ones that were read."""
    for place in places:
        if place.exists():
            raise RelaxingError(
                f"{place} exists, and would be replaced: move it, or give --out another name"
            )


def _check_same(
    out: Path, crystals: Crystals, potential: str, limits: Limits, steps: Path, trajectory: bool
) -> None:
    """Refuse a dataset that another relaxation made, or one without the steps that are wanted."""
    load_relaxed(out)  # which says if it is something else
    if trajectory and not steps.exists():
        raise RelaxingError(f"{out} was made without --trajectory: delete it to relax again")
    told = Dataset.read(out, []).metadata.notes["relaxation"]
    there = {name: told[name] for name in ("potential", "settings", "n")}
    wanted = _identity(crystals, potential, limits, False)
    del wanted["trajectory"]
    _refuse_other(out, {**there, "crystals": told["given"]}, wanted)


def _write_record(folder: Path, identity: dict[str, Any]) -> None:
    with whole_file(folder / RECORD) as temporary:
        text = json.dumps({"format": _FORMAT, "identity": identity}, indent=1)
        temporary.write_text(text + "\n", encoding="utf-8")
