"""What is judged, from files: crystals, and every attempt that gave none, with its reason."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from crystalcodec.crystals import Crystals
from crystalcodec.evaluation.base import Attempts, EvaluationError
from crystalcodec.failures import Failure

__all__ = ["Given", "read_attempts", "read_known", "read_wanted"]

NOT_GIVEN: Final = "no crystal was given"


@dataclass(frozen=True)
class Given:
    """Attempts that were read from files.

    Parameters
    ----------
    attempts
        Crystals in the order of the files, then the failures.
    ids
        Of each attempt: the file of a crystal that was alone in it, otherwise its id there.
    names
        Of each crystal, what it is called in its file.
    notes
        What was counted that is no row of the files, in words.
    """

    attempts: Attempts
    ids: tuple[str, ...]
    names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def read_attempts(
    sources: Sequence[str | os.PathLike[str]],
    *,
    n: int | None = None,
    recorded: bool = True,
    structure_column: str | None = None,
    format: str | None = None,  # noqa: A002
) -> Given:
    """Read generated crystals; what cannot be read is an attempt that failed.

    Nothing is refused for short distances: that is for the metrics to judge.

    Parameters
    ----------
    sources
        What :func:`crystalcodec.io.read` takes; of a folder that ``generate`` wrote the dataset
        alone, since its CIFs are the same crystals.
    n
        Number of attempts, where more were made than there are crystals and failures: the others
        failed with ``"no crystal was given"``.
    recorded
        Count the failures that ``data import`` and ``decode`` recorded when they wrote a dataset:
        in its metadata, or in ``<name>.failures.csv`` beside it.
    structure_column, format
        As :func:`crystalcodec.io.read` has them.

    Raises
    ------
    ReadError
        A missing path, nothing to read.
    EvaluationError
        Fewer attempts than crystals and failures of reading, or nothing at all.
    """
    from crystalcodec.io import read

    sources = [_dataset_of(source) for source in sources]
    loaded = read(sources, min_distance=0, structure_column=structure_column, format=format)
    told = [
        (one.reason, one.detail, one.source, one.line)
        for one in loaded.failures
        if not _is_empty_dataset(one)
    ]
    notes = []
    room = None if n is None else n - len(loaded.crystals) - len(told)
    if room is not None and room < 0:
        raise EvaluationError(
            f"{n:,} attempts, but there are {len(loaded.crystals):,} crystals and {len(told):,} "
            f"failures: wanted at least {len(loaded.crystals) + len(told):,}"
        )
    for source in sources if recorded else ():
        there = _recorded(Path(source))
        if there and room is not None and len(there) > room:
            notes.append(f"{len(there):,} failures recorded for {source} are more than fit: left")
        elif there:
            notes.append(
                f"{len(there):,} failures recorded for {source} count as attempts; --only-rows "
                "leaves them, where these crystals are only a part of what was recorded"
            )
            told += there
            room = None if room is None else room - len(there)
    told += [(NOT_GIVEN, "", "", None)] * (room or 0)
    if not len(loaded.crystals) and not told:
        raise EvaluationError(f"nothing to judge in {', '.join(map(str, sources))}")
    start = len(loaded.crystals)
    failures = [Failure(start + i, *one) for i, one in enumerate(told)]
    ids = [
        one if re.search(rf"(?<!\w){re.escape(id_)}(?!\w)", one) else f"{one}: {id_}"
        for one, id_ in zip(map(_short, loaded.sources), loaded.ids, strict=True)
    ]
    ids += [failure.source for failure in failures]
    return Given(Attempts.of(loaded.crystals, failures), tuple(ids), loaded.ids, tuple(notes))


def _dataset_of(source: str | os.PathLike[str]) -> str | os.PathLike[str]:
    """The dataset of a folder of generated crystals; anything else as it is."""
    from crystalcodec.workflow.generating.folders import DATASET, RECORD

    folder = Path(source)
    own = (folder / RECORD).is_file() and (folder / DATASET).is_file()
    return folder / DATASET if own else source


def read_known(sources: Sequence[str | os.PathLike[str]]) -> tuple[Crystals, Mapping[str, int]]:
    """Crystals to judge against, and what could not be read of them by reason.

    Raises
    ------
    ReadError
        A missing path, nothing to read.
    EvaluationError
        No crystal in them.
    """
    from crystalcodec.failures import count_reasons
    from crystalcodec.io import read

    loaded = read(sources)
    if not len(loaded.crystals):
        reasons = ", ".join(f"{n} {why}" for why, n in count_reasons(loaded.failures).items())
        raise EvaluationError(f"no crystal in {', '.join(map(str, sources))} ({reasons})")
    return loaded.crystals, count_reasons(loaded.failures)


def read_wanted(sources: Sequence[str | os.PathLike[str]], given: Given) -> tuple[Crystals, Given]:
    """What each attempt should be, and the attempts in that order.

    Joined by the names in the files where those of the attempts are all among those that are
    wanted, each once: a crystal that is wanted and not there is an attempt that failed.
    Otherwise by their order, which failures would leave open. Row numbers, the ids of a dataset
    that was given none, are no names where crystals are missing.

    Raises
    ------
    ReadError
        A missing path, or a crystal that cannot be read.
    EvaluationError
        Neither names nor order tell what each attempt should be.
    """
    from crystalcodec.io import read

    loaded = read(sources, min_distance=0, strict=True)
    place = {name: i for i, name in enumerate(loaded.ids)}
    names = given.names
    known = len(place) == len(loaded.ids) and len({*names}) == len(names) and {*names} <= {*place}
    if not known:
        if not given.attempts.failures and len(names) == len(loaded.ids):
            return loaded.crystals, given
        raise EvaluationError(
            f"{len(names):,} crystals, {len(given.attempts.failures):,} failures and "
            f"{len(loaded.ids):,} crystals that were wanted: which should be which is not told; "
            "wanted the same ids in both, or as many crystals in the same order and no failure"
        )
    if len(names) < len(loaded.ids) and _are_row_numbers(given):
        raise EvaluationError(
            f"{len(names):,} crystals with the row numbers 0, 1, 2, ... as ids, of "
            f"{len(loaded.ids):,} that were wanted: which are missing is not told; wanted the ids "
            "of those that they should be, or as many crystals in the same order and no failure"
        )
    positions = [place[name] for name in names]
    order = sorted(range(len(names)), key=positions.__getitem__)
    missing = sorted({*range(len(loaded.ids))} - {*positions})
    told = given.attempts.failures if len(given.attempts.failures) == len(missing) else ()
    # Which failure is whose is not known; how many there are of each kind is.
    reasons = [one.reason for one in told] or [NOT_GIVEN] * len(missing)
    failures = [Failure(i, reason) for i, reason in zip(missing, reasons, strict=True)]
    ids = list(loaded.ids)
    for i in order:
        ids[positions[i]] = given.ids[i]
    attempts = Attempts.of(given.attempts.crystals[order], failures)
    return loaded.crystals, Given(attempts, tuple(ids), tuple(names[i] for i in order), given.notes)


def _is_empty_dataset(failure: Failure) -> bool:
    """Whether it is that of a dataset of no rows, which is no attempt itself."""
    suffix = Path(failure.source or "").suffix.lower()
    return failure.reason == "no crystal in file" and suffix in (".parquet", ".pq")


def _are_row_numbers(given: Given) -> bool:
    """Whether each crystal is a row of a table and called by the place of it."""
    rows = [str(i) for i in range(len(given.names))]
    return bool(rows) and [*given.names] == rows and all("!/row " in one for one in given.ids[:1])


def _recorded(path: Path) -> list[tuple[Any, ...]]:
    """Failures that were recorded when a file of crystals was written."""
    listed = path.with_name(f"{path.name}.failures.csv")
    if listed.is_file():
        with listed.open(newline="", encoding="utf-8", errors="backslashreplace") as file:
            return [
                (
                    row.get("reason") or "not told",
                    row.get("detail") or "",
                    row.get("source") or str(path),
                    None,
                )
                for row in csv.DictReader(file)
            ]
    if path.suffix.lower() not in (".parquet", ".pq") or not path.is_file():
        return []
    from crystalcodec.data.columns import DatasetError
    from crystalcodec.data.storage import DatasetReader

    try:
        with DatasetReader(path, []) as reader:
            metadata = reader.metadata
    except DatasetError:
        return []
    if metadata.notes.get("filtered"):
        return []  # rows that were left out on purpose are no attempts, nor are their failures
    return [
        (reason, "", str(path), None)
        for reason, count in metadata.failures.items()
        for _ in range(count)
    ]


def _short(source: str) -> str:
    """The last part of a path, with what stands in it."""
    whole, mark, inside = source.partition("!/")
    return f"{Path(whole).name}{mark}{inside}"
