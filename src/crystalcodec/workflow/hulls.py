"""Hulls of datasets: their crystals labelled by a potential, in parts that outlive a kill."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.data import Dataset
from crystalcodec.data.storage import require_new
from crystalcodec.data.workers import pool_of
from crystalcodec.failures import Failure, count_reasons
from crystalcodec.io import write_failures
from crystalcodec.io.whole import whole_file
from crystalcodec.relaxation.base import Potential, PotentialError, load_potential
from crystalcodec.relaxation.hull import Hull
from crystalcodec.relaxation.limits import Limits
from crystalcodec.relaxation.references import elemental_references
from crystalcodec.relaxation.relaxing import close_sites

__all__ = ["HullReport", "build_hull", "label_in_parts"]

Floats = npt.NDArray[np.float64]
Progress = Callable[[int, int], None]

_PART: Final = 128


@dataclass(frozen=True)
class HullReport:
    """What :func:`build_hull` did.

    Parameters
    ----------
    hull
        As it was written.
    path
        Where.
    n_given
        Crystals of the datasets.
    n_elements_added
        Elemental references of the package that were put beside them.
    failures
        Crystals without an energy.
    failures_path
        CSV that lists them, where there are any, each with its id and its position among all.
    """

    hull: Hull
    path: Path
    n_given: int
    n_elements_added: int
    failures: tuple[Failure, ...]
    failures_path: Path | None

    @property
    def reasons(self) -> dict[str, int]:
        """Number of failures by reason."""
        return count_reasons(self.failures)


def build_hull(
    datasets: Sequence[str | Path],
    out: str | Path,
    potential: str = "chgnet-0.3.0",
    *,
    relax: bool = False,
    elements: bool = True,
    jobs: int = 1,
    force: bool = False,
    progress: Progress | None = None,
    **limits: Any,
) -> HullReport:
    """Label the crystals of datasets with a potential, and write the hull that they make.

    What is done is kept in the folder ``OUT.parts`` (``OUT.relaxing`` with ``relax``) until the
    hull is there: the same call goes on after a stop.

    Parameters
    ----------
    datasets
        Dataset files.
    out
        File of the hull.
    potential
        Name in the registry.
    relax
        Whether each crystal is relaxed first. Without, each has its energy as the dataset holds
        it: fit for crystals that were relaxed with density functional theory, which lie near the
        minima of a potential trained on it. It is always a bit above them, so that what is
        relaxed and compared with such a hull comes out a bit too stable.
    elements
        Whether the elemental references that come with the package are added, where it has any
        for the potential.
    jobs
        Processes.
    force
        Replace an existing file.
    progress
        Called with the number of crystals done, and of all.
    limits
        More parameters of :func:`crystalcodec.relaxation.relax`.

    Raises
    ------
    DatasetError
        A dataset that cannot be read, or ``out`` is there and not ``force``.
    PotentialError
        No dataset, no crystal with an energy, or limits without ``relax``.
    UnknownNameError, MissingExtraError
        No such potential, or its package is not installed.
    """
    out = Path(out)
    require_new(out, force=force)
    if not datasets:
        raise PotentialError("no dataset to make a hull of, wanted one or more")
    if limits and not relax:
        raise PotentialError(f"{', '.join(limits)} without relax: energies as they are need none")
    held = [Dataset.read(path, []) for path in datasets]
    crystals = Crystals.concatenate([one.crystals for one in held])
    ids = np.concatenate([np.asarray(one.ids, object) for one in held])
    told = [
        {"name": Path(path).name, "n": len(one), "content_hash": one.content_hash}
        for path, one in zip(datasets, held, strict=True)
    ]
    folder = out.with_name(out.name + (".relaxing" if relax else ".parts"))
    energies, failures, how = _labelled(crystals, folder, potential, relax, jobs, progress, limits)
    failures = [replace(one, source=str(ids[one.index])) for one in failures]
    if len(failures) == len(crystals):
        raise PotentialError(f"none of {len(crystals)} crystals has an energy by {potential}")
    hull = Hull.of(crystals, energies, potential, ids)
    added = _elements(potential) if elements else None
    hull = Hull(
        potential,
        hull.compositions if added is None else np.vstack([hull.compositions, added.compositions]),
        hull.energies if added is None else np.concatenate([hull.energies, added.energies]),
        hull.ids if added is None else np.concatenate([hull.ids, added.ids]),
        ", ".join(Path(path).name for path in datasets),
        {
            "datasets": told,
            "relaxed": relax,
            **how,
            "n_crystals": len(crystals),
            "n_without_energy": len(failures),
            "n_elements_added": 0 if added is None else len(added),
            "failures": count_reasons(failures),
        },
    )
    hull.write(out)
    listed = out.with_name(out.name + ".failures.csv")
    listed.unlink(missing_ok=True)
    if failures:
        write_failures(failures, listed)
    shutil.rmtree(folder, ignore_errors=True)
    return HullReport(
        hull,
        out,
        len(crystals),
        0 if added is None else len(added),
        tuple(failures),
        listed if failures else None,
    )


def label_in_parts(
    crystals: Crystals,
    folder: str | Path,
    potential: str = "chgnet-0.3.0",
    *,
    jobs: int = 1,
    progress: Progress | None = None,
) -> tuple[Floats, list[Failure]]:
    """Energies of crystals as they are, eV/atom, NaN for the failures; kept part by part.

    Parameters
    ----------
    crystals
        n crystals.
    folder
        Where finished parts are kept, for the same call after a stop. Parts of other crystals or
        another potential are thrown away.
    potential
        Name in the registry.
    jobs, progress
        As in :func:`build_hull`.

    Returns
    -------
    (n,) energies, and the failures in order.
    """
    folder = Path(folder)
    _own(folder, {"crystals": crystals.content_hash, "potential": potential, "part": _PART})
    starts = range(0, len(crystals), _PART)
    paths = [folder / f"{start // _PART:06d}.json" for start in starts]
    waiting = [i for i, path in enumerate(paths) if not path.exists()]
    done = len(crystals) - sum(len(crystals[starts[i] : starts[i] + _PART]) for i in waiting)
    if progress is not None:
        progress(done, len(crystals))
    if waiting:
        _loaded(potential)  # an unknown name, or a package that is missing, is told here
    with pool_of(min(jobs, len(waiting))) as pool:
        label = partial(_label, potential=potential)
        parts = [crystals[starts[i] : starts[i] + _PART] for i in waiting]
        try:
            rows = map(label, parts) if pool is None else pool.map(label, parts)
            for i, part, (energies, failures) in zip(waiting, parts, rows, strict=True):
                _keep(paths[i], energies, failures)
                done += len(part)
                if progress is not None:
                    progress(done, len(crystals))
        except BrokenProcessPool:
            raise PotentialError(
                "a process was ended from outside, perhaps for the memory it took: the same "
                "command with fewer jobs goes on"
            ) from None
    found: list[float | None] = []
    failures_of_all: list[Failure] = []
    for start, path in zip(starts, paths, strict=True):
        try:
            part_of = json.loads(path.read_text())
        except ValueError:
            path.unlink()
            raise PotentialError(
                f"{path} was damaged and has been deleted: the same command computes it again"
            ) from None
        found += part_of["energies"]
        failures_of_all += [Failure(start + i, *told) for i, *told in part_of["failures"]]
    return np.array(found, np.float64), failures_of_all


def _keep(path: Path, energies: Floats, failures: Sequence[Failure]) -> None:
    kept = {
        "energies": [None if np.isnan(one) else float(one) for one in energies],
        "failures": [[one.index, one.reason, one.detail] for one in failures],
    }
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(kept))


def _label(crystals: Crystals, potential: str) -> tuple[Floats, tuple[Failure, ...]]:
    close = close_sites(crystals, Limits.min_distance)
    failures = [Failure(i, "sites too close", told) for i, told in close.items()]
    kept = np.array([i for i in range(len(crystals)) if i not in close], np.int64)
    found = _loaded(potential).evaluate(crystals[kept])
    energies = np.full(len(crystals), np.nan)
    energies[kept] = found.energies / crystals.n_sites[kept]
    failures += [Failure(int(kept[f.index]), f.reason, f.detail) for f in found.failures]
    told_of = {one.index for one in failures}
    for i in np.flatnonzero(~np.isfinite(energies)).tolist():
        if i not in told_of:
            failures.append(Failure(i, "energy not finite", "the energy is not a finite number"))
    energies[[one.index for one in failures]] = np.nan
    return energies, tuple(sorted(failures, key=lambda one: one.index))


@cache
def _loaded(potential: str) -> Potential:
    return load_potential(potential)


def _labelled(
    crystals: Crystals,
    folder: Path,
    potential: str,
    relax: bool,
    jobs: int,
    progress: Progress | None,
    limits: dict[str, Any],
) -> tuple[Floats, list[Failure], dict[str, Any]]:
    """Energies, failures, and settings for the file."""
    if not relax:
        found, failures = label_in_parts(crystals, folder, potential, jobs=jobs, progress=progress)
        return found, failures, {}
    from crystalcodec.workflow.relaxing import relax_in_parts

    relaxed = relax_in_parts(crystals, folder, potential, jobs=jobs, progress=progress, **limits)
    energies = np.full(len(crystals), np.nan)
    energies[relaxed.positions] = relaxed.energies
    how = {"relaxation": relaxed.settings, "n_converged": int(relaxed.converged.sum())}
    return energies, list(relaxed.failures), how


def _own(folder: Path, what: dict[str, Any]) -> None:
    """Make the folder, empty unless its parts are of this."""
    if folder.exists() and not folder.is_dir():
        raise PotentialError(f"{folder} is a file, and its name is needed: move it")
    told = {**what, "crystalcodec": version("crystalcodec")}
    key = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
    manifest = folder / "manifest.json"
    folder.mkdir(parents=True, exist_ok=True)
    if manifest.exists():
        with suppress(ValueError, AttributeError):
            if json.loads(manifest.read_text()).get("key") == key:
                return
        for old in folder.glob("*.json"):
            old.unlink()
    elif any(folder.glob("[!.]*")):  # what a kill left half written has a name with a dot
        raise PotentialError(
            f"{folder} holds files of another kind, and its name is needed: move it, or give "
            "another output"
        )
    with whole_file(manifest) as temporary:
        temporary.write_text(json.dumps({"key": key}))


def _elements(potential: str) -> Hull | None:
    """The elemental references of the package, under ids that say what they are."""
    try:
        elemental_references(potential)
    except PotentialError:
        return None
    return Hull.elemental(potential)
