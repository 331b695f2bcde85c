"""The nearest known crystals: which crystals of a dataset are most like some others."""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.evaluation.similarity import Nearest, SimilarityError, checked_metric
from crystalcodec.failures import Failure
from crystalcodec.io import Loaded, iter_read, whole_file
from crystalcodec.representations.base import Representation
from crystalcodec.representations.features import Features, features_of, n_features

__all__ = ["Neighbour", "SimilarReport", "find_similar"]

Sources = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
Progress = Callable[[int], None]

_BATCH, _BATCH_BYTES = 1024, 2**25
_COLUMNS: Final = ("query", "query_formula", "rank", "value", "id", "formula", "source")


@dataclass(frozen=True)
class Neighbour:
    """A crystal of the dataset that is near.

    Parameters
    ----------
    value
        The metric; NaN where it is not defined.
    id, source, formula
        Which crystal it is.
    crystal
        Itself.
    properties
        What the dataset tells of it, by column.
    """

    value: float
    id: str
    source: str
    formula: str
    crystal: Crystals
    properties: dict[str, Any] = field(default_factory=dict)


@dataclass
class SimilarReport:
    """The nearest crystals of each query, and what could not be compared.

    Parameters
    ----------
    representation
        What was compared, fitted.
    metric
        How.
    queries, query_formulas
        Id and formula of each crystal that was looked for.
    neighbours
        Of each, the nearest first.
    n_searched
        Crystals of the dataset that were compared.
    unread, refused
        Records of the dataset that could not be read, and crystals of it that the representation
        cannot hold, by reason.
    query_failures
        What of the queries could not be read or held.
    """

    representation: Representation
    metric: str
    queries: tuple[str, ...] = ()
    query_formulas: tuple[str, ...] = ()
    neighbours: tuple[tuple[Neighbour, ...], ...] = ()
    n_searched: int = 0
    unread: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    query_failures: tuple[Failure, ...] = ()

    @property
    def n_failed(self) -> int:
        """Records and crystals, of the dataset and of the queries, that were not compared."""
        return self.unread.total() + self.refused.total() + len(self.query_failures)

    def rows(self, properties: Sequence[str] = ()) -> list[dict[str, Any]]:
        """A row for each neighbour: query, rank from 1, value, id, formula, source, properties.

        Raises
        ------
        SimilarityError
            A property of the name of another column.
        """
        taken = [name for name in properties if name in _COLUMNS]
        if taken:
            raise SimilarityError(
                f"{', '.join(taken)} is a column of every answer: show properties of other names"
            )
        return [
            {
                "query": query,
                "query_formula": formula,
                "rank": rank,
                "value": None if np.isnan(near.value) else float(f"{near.value:.7g}"),
                "id": near.id,
                "formula": near.formula,
                "source": near.source,
                **{name: near.properties.get(name) for name in properties},
            }
            for query, formula, found in zip(
                self.queries, self.query_formulas, self.neighbours, strict=True
            )
            for rank, near in enumerate(found, start=1)
        ]

    def write(self, path: str | os.PathLike[str], properties: Sequence[str] = ()) -> None:
        """Write the rows as ``.csv`` or ``.json``, by the ending; whole or not at all.

        Raises
        ------
        SimilarityError
            Another ending.
        """
        path, rows = check_table(path), self.rows(properties)
        with whole_file(path) as partial:
            if path.suffix == ".json":
                text = json.dumps(rows, indent=1, ensure_ascii=False, default=str)
                Path(partial).write_text(text + "\n", encoding="utf-8")
                return
            with Path(partial).open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, [*_COLUMNS, *properties])
                writer.writeheader()
                writer.writerows(rows)


def check_table(path: str | os.PathLike[str]) -> Path:
    """The path, if a table can be written under that name."""
    checked = Path(path)
    if checked.suffix not in (".csv", ".json"):
        raise SimilarityError(f"{path}: wanted a name that ends in .csv or .json")
    return checked


def find_similar(
    queries: Crystals | Sources,
    known: Crystals | Sources,
    representation: Representation,
    *,
    k: int = 10,
    metric: str = "euclidean",
    standardise: bool = False,
    progress: Progress | None = None,
    **reading: Any,
) -> SimilarReport:
    """Find the crystals of a dataset that are most like each query.

    The dataset is read and encoded in a stream: memory does not grow with it (but for a
    representation that has to be fitted, which needs all crystals at once).

    Parameters
    ----------
    queries
        Crystals, or what :func:`crystalcodec.io.read` takes.
    known
        Where to look: the same.
    representation
        What is compared: its arrays, flattened and joined. One that needs it is fitted on the
        dataset and the queries together. Two descriptions of one crystal have distance 0 only
        under changes that its ``invariances`` name.
    k
        How many neighbours of each.
    metric
        In :data:`~crystalcodec.evaluation.similarity.SIMILARITY_METRICS`.
    standardise
        Take from each number its mean over the dataset and divide by its standard deviation
        first, so that no unit outweighs another; numbers that never change are left out. The
        dataset is encoded twice then.
    progress
        Called with the number of crystals done.
    reading
        More parameters of :func:`crystalcodec.io.read`.

    Raises
    ------
    RepresentationError
        A representation of no fixed shape.
    SimilarityError
        An unknown metric, ``k`` below 1.
    ReadError
        Sources that cannot be read at all.

    Examples
    --------
    >>> from crystalcodec import IRCR
    >>> from crystalcodec.testing import sample_crystals
    >>> crystals = sample_crystals(20)
    >>> [found] = find_similar(crystals[7], crystals, IRCR(), k=2).neighbours
    >>> found[0].id, found[0].value
    ('7', 0.0)
    """
    checked_metric(metric, k)
    if not representation.needs_fit:
        n_features(representation)  # no file is read for a representation that has no vector
    asked = Loaded.concatenate(_loaded(queries, reading))
    if representation.needs_fit:
        parts = [part.crystals for part in _loaded(known, reading)]
        representation = representation.fit(Crystals.concatenate([*parts, asked.crystals]))
    # Rows of a batch are what memory is taken for.
    size = max(1, min(_BATCH, _BATCH_BYTES // (8 * max(1, n_features(representation)))))
    features = features_of(representation, asked.crystals)
    report = SimilarReport(
        representation,
        metric,
        tuple(_of(asked.ids, features)),
        asked.crystals[features.index].formulas,
        query_failures=(*asked.failures, *features.failures),
    )
    change: Callable[[npt.NDArray[Any]], npt.NDArray[Any]] = _unchanged
    if standardise:
        change = _standardiser(_loaded(known, reading, size), representation)
    search = Nearest(change(features.rows), k, metric)
    kept: dict[int, Neighbour] = {}
    done = 0
    for part in _loaded(known, reading, size):
        found = features_of(representation, part.crystals)
        report.unread.update(failure.reason for failure in part.failures)
        report.refused.update(failure.reason for failure in found.failures)
        start = search.n_rows
        search.add(change(found.rows))
        kept = _kept(kept, search, start, part, found)
        done += len(part.crystals)
        if progress is not None:
            progress(done)
    report.n_searched = search.n_rows
    report.neighbours = tuple(
        tuple(_valued(kept[i], value) for i, value in zip(index, values, strict=True))
        for index, values in zip(search.index.tolist(), search.values.tolist(), strict=True)
    )
    return report


def _loaded(
    source: Crystals | Sources, reading: dict[str, Any], size: int = _BATCH
) -> Iterator[Loaded]:
    if not isinstance(source, Crystals):
        yield from iter_read(source, **reading, batch_size=size)
        return
    for start in range(0, max(1, len(source)), size):
        some = source[start : start + size]
        ids = tuple(str(start + i) for i in range(len(some)))
        yield Loaded(some, ids, ("",) * len(some))


def _of(column: Sequence[str], features: Features) -> list[str]:
    return [column[i] for i in features.index.tolist()]


def _unchanged(rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return rows


def _standardiser(
    parts: Iterable[Loaded], representation: Representation
) -> Callable[[npt.NDArray[Any]], npt.NDArray[Any]]:
    """What makes mean 0 and standard deviation 1 of each column of the dataset."""
    width = n_features(representation)
    n, mean, squares = 0, np.zeros(width), np.zeros(width)
    for part in parts:
        rows = features_of(representation, part.crystals).rows.astype(np.float64)
        if not len(rows):
            continue
        # Means and sums of squares of two batches joined (Chan, Golub and LeVeque, 1979).
        own, share = rows.mean(axis=0), len(rows) / (n + len(rows))
        squares += np.square(rows - own).sum(axis=0) + np.square(own - mean) * n * share
        mean += (own - mean) * share
        n += len(rows)
    spread = np.sqrt(squares / max(n, 1))
    varies = spread > 1e-6 * np.abs(mean)  # float32 tells no smaller change from none
    if not varies.any():
        varies[:], spread[:] = True, 1.0  # one crystal, or all the same: compared as they are
    # float32, so that numbers that are equal but for round-off have equal ranks.
    return lambda rows: ((rows[:, varies] - mean[varies]) / spread[varies]).astype(np.float32)


def _kept(
    before: dict[int, Neighbour], search: Nearest, start: int, part: Loaded, features: Features
) -> dict[int, Neighbour]:
    """What is told of the crystals that are among the nearest now; the rest is forgotten."""
    kept = {}
    for row in np.unique(search.index).tolist():
        if row < start:
            kept[row] = before[row]
            continue
        i = int(features.index[row - start])
        crystal = part.crystals[i]
        kept[row] = Neighbour(
            float("nan"),
            part.ids[i],
            part.sources[i],
            crystal.formulas[0],
            crystal,
            {name: values[i] for name, values in part.properties.items()},
        )
    return kept


def _valued(near: Neighbour, value: float) -> Neighbour:
    return Neighbour(value, near.id, near.source, near.formula, near.crystal, near.properties)
