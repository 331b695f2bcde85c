"""Run a benchmark: which cells there are, which are there already, and processes for the rest."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from crystalcodec.data.workers import n_cores
from crystalcodec.io.locking import LOCK, locked
from crystalcodec.representations.base import Representation
from crystalcodec.representations.storage import representation_from
from crystalcodec.workflow.benchmark.cells import Cell, candidates_of, why_not
from crystalcodec.workflow.benchmark.config import BenchmarkConfig, ModelChoice
from crystalcodec.workflow.benchmark.documents import digest, read_document, write_document
from crystalcodec.workflow.benchmark.encodings import misfit
from crystalcodec.workflow.benchmark.estimators import ESTIMATORS
from crystalcodec.workflow.benchmark.known import take_over
from crystalcodec.workflow.benchmark.processes import BenchmarkError, Worker
from crystalcodec.workflow.benchmark.rows import Rows, load_rows
from crystalcodec.workflow.benchmark.summary import Summary, write_results

__all__ = ["BenchmarkError", "run_benchmark"]

FORMAT: Final = 1
_PATIENCE: Final = 30.0
_DEFERRED: Final = 750
MEAN: Final = "no representation"


def run_benchmark(
    config: BenchmarkConfig,
    folder: str | Path,
    *,
    jobs: int | None = None,
    retry: bool = False,
    compute: bool = True,
    cache: str | Path | None = None,
    known: Sequence[str | Path] = (),
    command: Sequence[str] | None = None,
    say: Callable[[str], None] = lambda line: None,
    progress: Callable[[int, int], None] | None = None,
) -> Summary:
    """Compute the cells that are not there yet, and write results, table and report.

    Parameters
    ----------
    config
        The benchmark.
    folder
        Gets ``cells/`` (a JSON each), ``benchmark.json``, ``benchmark.md``, ``benchmark.html``
        and figures. Cells of an earlier run on the same rows stand in the results too.
    jobs
        Processes, one thread each; all cores where None.
    retry
        Compute failed cells and those that took too long again.
    compute
        Whether to compute what is missing; otherwise only results of what is there are written.
    cache
        Folder of encoded crystals, which several benchmarks can share; ``encoded`` in the folder
        where None. It may be deleted at any time when nothing runs.
    known
        ``benchmark.json`` of earlier benchmarks on the same rows: what they tell of is not
        computed again, and stands in the results.
    command
        What the results name as the command; ``sys.argv`` where None.
    say
        Called with lines that a user should read.
    progress
        Called with the number of cells that are done and that are known.

    Raises
    ------
    ConfigError, DatasetError, TargetError, BenchmarkError
        What cannot be run, before anything is computed.
    KeyboardInterrupt
        Interrupted; the same call goes on.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise BenchmarkError(f"{folder} is a file: give a folder for the benchmark")
    busy = f"another benchmark runs in {folder}: wait for it, or give another folder"
    with locked(folder / LOCK, BenchmarkError(busy)):
        rows = load_rows(config, folder / "data")
        for dataset in rows.datasets:
            if dataset["n_without_target"]:
                say(f"{dataset['path']}: {dataset['n_without_target']:,} rows without the target")
        rows.save(folder / "data" / "rows")
        commands: list[list[str]] = []
        for path in known:
            n, told_there = take_over(Path(path), folder, rows)
            say(f"{path}: {n:,} cells taken over")
            commands += told_there
        board = _Board(config, folder, rows, Path(cache or folder / "encoded"), retry)
        if missing := board.left_out():
            say(f"sizes left out, of more rows than there are: {', '.join(map(str, missing))}")
        board.plan()
        say(
            f"{len(rows.folds)} x {len(rows.folds[0].train):,} rows to train on, "
            f"{len(rows.folds[0].test):,} to test; {board.n_done:,} cells are there"
        )
        if board.waiting and compute:
            _work(board, jobs or n_cores(), say, progress)
        n_waiting = sum(not task.encoding for task in board.waiting)
        if board.waiting:
            n_encodings = len(board.waiting) - n_waiting
            say(f"{n_waiting:,} cells and {n_encodings} encodings are not computed")
        commands.append(list(sys.argv if command is None else command))
        return write_results(folder, config, rows, board.encodings, commands, n_waiting)


@dataclass(frozen=True)
class _Task:
    """Something for a worker, and where its outcome goes."""

    order: tuple[Any, ...]
    message: Mapping[str, Any]
    document: Path
    told: Mapping[str, Any]
    encoding: str = ""


@dataclass
class _Board:
    """What is to be done; every method but :meth:`plan` is called by several threads."""

    config: BenchmarkConfig
    folder: Path
    rows: Rows
    cache: Path
    retry: bool
    waiting: list[_Task] = field(default_factory=list)
    encodings: dict[str, dict[str, Any]] = field(default_factory=dict)
    n_done: int = 0
    n_running: int = 0

    def __post_init__(self) -> None:
        self.changed = threading.Condition()
        self._pending: dict[str, list[_Task]] = {}
        self._made: dict[str, Representation] = {}
        self._identity = self.rows.identity()

    def plan(self) -> None:
        """Note every encoding and cell that is not there."""
        labels = self.config.chosen_representations()
        models = self.config.chosen_models()
        if "dummy" in models:
            for cell in self._cells(MEAN, {}, "dummy"):
                self._add_cell(cell, None, 0.0)
        if set(models) == {"dummy"}:
            return
        for number, (label, entry) in enumerate(labels.items()):
            for fold in range(len(self.rows.folds)):
                self._plan_encoding(number, label, entry, fold)

    def _plan_encoding(self, number: int, label: str, entry: Mapping[str, Any], fold: int) -> None:
        key = self._encoding_key(entry, fold)
        if key in self.encodings or any(task.encoding == key for task in self.waiting):
            known = key in self.encodings
        else:
            document = self._known_encoding(key)
            known = document is not None and (
                document["status"] == "finished"
                or (document["status"] in ("failed", "timed out") and not self.retry)
            )
            if known and document is not None:
                self.encodings[key] = document
            else:
                self.waiting.append(self._encoding_task(number, label, entry, fold, key))
        if known:
            self._add_cells(key, fold)

    def _known_encoding(self, key: str) -> dict[str, Any] | None:
        """What is known of an encoding from an earlier run, or from another one's cache."""
        here = self.folder / "encodings" / f"{key}.json"
        document = read_document(here)
        if document is not None and not _tells_arrays(document):
            document = None
        if document is None and (self.cache / key).is_dir():
            document = read_document(self.cache / f"{key}.json")
            if document is not None:
                write_document(here, document)
        return document

    def _encoding_key(self, entry: Mapping[str, Any], fold: int) -> str:
        """One for all folds, unless the representation is fitted on rows of the fold."""
        told = {
            "format": FORMAT,
            "version": version("crystalcodec"),
            "representation": dict(entry),
            "crystals": self._identity["crystals"],
        }
        if _needs_fit(entry):
            told["fitted on"] = digest({"rows": self.rows.folds[fold].train.tolist()})
        return digest(told)

    def _encoding_task(
        self, number: int, label: str, entry: Mapping[str, Any], fold: int, key: str
    ) -> _Task:
        limits = self.config.limits
        message = {
            "kind": "encode",
            "rows": str(self.folder / "data" / "rows"),
            "fold": fold,
            "representation": dict(entry),
            "folder": str(self.cache / key),
            "most_gib": limits.encoded_gib,
            "seconds": limits.encode_seconds,
            "patience": _PATIENCE,
        }
        told = {"key": key, "label": label, "fold": fold, "config": dict(entry)}
        document = self.folder / "encodings" / f"{key}.json"
        return _Task((0, number, fold), message, document, told, key)

    def _cells(self, label: str, entry: Mapping[str, Any], model: str, fold: int = -1) -> Any:
        """Cells of a representation and a model; of all folds where none is given."""
        choice = self.config.chosen_models()[model]
        chosen = candidates_of(model, self.config.budget, choice.settings)
        for number in range(len(self.rows.folds)) if fold < 0 else [fold]:
            for size in self._sizes(choice, number):
                for seed in choice.seeds or self.config.seeds:
                    yield Cell(
                        label,
                        entry,
                        model,
                        chosen,
                        size,
                        seed,
                        number,
                        self.config.search_rows,
                        self.config.device,
                    )

    def _sizes(self, choice: ModelChoice, fold: int) -> list[int | str]:
        """The sizes that the training rows of a fold have; ``all`` stands for their number."""
        n = len(self.rows.folds[fold].train)
        sizes = choice.sizes or self.config.sizes
        most = n - 1 if "all" in sizes else n
        return [size for size in sizes if size == "all" or int(size) <= most]

    def left_out(self) -> list[int | str]:
        """Sizes of which no fold has the rows; BenchmarkError where no other is wanted."""
        choices = self.config.chosen_models().values()
        wanted = {size for choice in choices for size in choice.sizes or self.config.sizes}
        most = max(len(fold.train) for fold in self.rows.folds)
        missing = [size for size in wanted if size != "all" and int(size) > most]
        if len(missing) == len(wanted):
            told = ", ".join(map(str, sorted(missing)))
            raise BenchmarkError(
                f"no fold has rows for sizes {told}: there are {most:,} to train on (size all)"
            )
        return sorted(missing, key=int)

    def _add_cells(self, key: str, fold: int) -> None:
        """All cells of an encoding in a fold; where it failed each says so."""
        known = self.encodings[key]
        label, entry = known["label"], known["config"]
        for model, choice in self.config.chosen_models().items():
            wanted = choice.representations
            if model == "dummy" or (wanted and not {label, entry["name"]} & set(wanted)):
                continue
            if known["status"] == "finished" and self._misfit(key, model):
                continue
            for cell in self._cells(label, entry, model, fold):
                self._add_cell(cell, key, known.get("length", 0.0))

    def _misfit(self, key: str, model: str) -> str | None:
        if key not in self._made:
            self._made[key] = representation_from(self.encodings[key]["representation"])
        return misfit(self._made[key], model)

    def _add_cell(self, cell: Cell, encoding: str | None, length: float) -> None:
        identity = cell.identity(self._identity)
        key = digest(identity)
        document = self.folder / "cells" / f"{key}.json"
        there = read_document(document)
        known = None if encoding is None else self.encodings[encoding]
        n = len(self.rows.folds[cell.fold].train) if cell.size == "all" else int(cell.size)
        told = {"key": key, "identity": identity, "label": cell.label, "n": n, "length": length}
        if there is not None and there["status"] == "finished":
            # Its arrays may have been deleted since, and not be made again.
            self.n_done += 1
            return
        if known is not None and known["status"] != "finished":
            reason = f"not encoded: {known['reason']}"
            write_document(document, {**told, "status": known["status"], "reason": reason})
            self.n_done += 1
            return
        # Limits may have been changed: what was not run is looked at again.
        refused = why_not(cell, n, length, self.config.limits)
        tried = there is not None and there["status"] in ("failed", "timed out")
        if tried and not self.retry and not refused:
            self.n_done += 1
            return
        if refused:
            write_document(document, {**told, "status": "not run", "reason": refused})
            self.n_done += 1
            return
        message = {
            "kind": "cell",
            "rows": str(self.folder / "data" / "rows"),
            "fold": cell.fold,
            "folder": None if encoding is None else str(self.cache / encoding),
            "cell": asdict(cell),
            "network": cell.model not in ESTIMATORS,
            "seconds": self.config.limits.cell_seconds,
        }
        size = float("inf") if cell.size == "all" else int(cell.size)
        task = _Task((1, size, cell.rank, cell.seed, cell.fold), message, document, told)
        if encoding is not None and not (self.cache / encoding).is_dir():
            # The arrays were deleted; they are made again before the cell.
            if encoding not in self._pending:
                self._pending[encoding] = []
                again = self._encoding_task(0, cell.label, known["config"], cell.fold, encoding)  # type: ignore[index]
                self.waiting.append(again)
            self._pending[encoding].append(task)
            return
        self.waiting.append(task)

    def take(self) -> _Task | None:
        """The next task, waiting while one may still come; None where all is done."""
        with self.changed:
            while not self.waiting and self.n_running:
                self.changed.wait()
            if not self.waiting:
                return None
            task = min(self.waiting, key=lambda one: one.order)
            self.waiting.remove(task)
            self.n_running += 1
            return task

    @contextmanager
    def reserved(self, task: _Task) -> Iterator[dict[str, Any] | None]:
        """Nobody else encodes what a task encodes; gives what another benchmark made meanwhile."""
        if not task.encoding:
            yield None
            return
        with locked(self.cache / f".{task.encoding}.lock"):
            document = self._known_encoding(task.encoding)
            there = document is not None and document["status"] == "finished"
            yield document if there and (self.cache / task.encoding).is_dir() else None

    def finish(self, task: _Task, answer: Mapping[str, Any]) -> None:
        """Keep the outcome of a task, and note what it makes possible."""
        if answer["status"] == "deferred":
            # Slow encodings come after the smallest cells of the others.
            order = (1, _DEFERRED, answer["estimate"])
            message = {**task.message, "patience": None}
            with self.changed:
                self.n_running -= 1
                self.waiting.append(replace(task, order=order, message=message))
                self.changed.notify_all()
            return
        document = {**task.told, **answer}
        write_document(task.document, document)
        if task.encoding and answer["status"] == "finished":
            write_document(self.cache / f"{task.encoding}.json", document)
        with self.changed:
            self.n_running -= 1
            if task.encoding:
                self._encoded(task.encoding, document)
            else:
                self.n_done += 1
            self.changed.notify_all()

    def _encoded(self, key: str, document: dict[str, Any]) -> None:
        self.encodings[key] = document
        again = self._pending.pop(key, None)
        if again is not None and document["status"] == "finished":
            self.waiting += again
            return
        entry = document["config"]
        for fold in range(len(self.rows.folds)):
            if self._encoding_key(entry, fold) == key:
                self._add_cells(key, fold)

    @property
    def n_known(self) -> int:
        """Cells that are there, run or wait."""
        return self.n_done + self.n_running + len(self.waiting)


def _tells_arrays(encoding: Mapping[str, Any]) -> bool:
    """Whether what is known of an encoding tells which models fit its arrays.

    Results of before the fitted parameters were kept whole do not.
    """
    return encoding["status"] != "finished" or bool(encoding.get("representation"))


def _needs_fit(entry: Mapping[str, Any]) -> bool:
    """Whether a representation is fitted on training rows; one that cannot be made is not."""
    try:
        return bool(representation_from(entry).needs_fit)
    except (ValueError, ImportError):
        return False


def _work(
    board: _Board,
    jobs: int,
    say: Callable[[str], None],
    progress: Callable[[int, int], None] | None,
) -> None:
    """Threads that feed a worker each, until all is done or one of them fails."""
    errors: list[BaseException] = []
    stop = threading.Event()
    log = board.folder / "log.txt"

    def feed(worker: Worker) -> None:
        try:
            while not stop.is_set() and (task := board.take()) is not None:
                with board.reserved(task) as there:
                    answer = worker.ask(task.message) if there is None else there
                    board.finish(task, answer)
                if answer["status"] not in ("finished", "deferred"):
                    what = task.told["label"], task.told.get("identity", {}).get("model", "encode")
                    say(f"{what[0]}, {what[1]}: {answer['status']}: {answer['reason']}")
                if progress is not None:
                    progress(board.n_done, board.n_known)
        except BaseException as error:
            errors.append(error)
            stop.set()
            with board.changed:
                board.n_running = 0
                board.waiting.clear()
                board.changed.notify_all()

    with ExitStack() as stack:
        workers = [stack.enter_context(Worker(log)) for _ in range(jobs)]
        threads = [threading.Thread(target=feed, args=(one,), daemon=True) for one in workers]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                while thread.is_alive():
                    thread.join(0.2)
        except KeyboardInterrupt:
            stop.set()
            raise
    if errors:
        raise errors[0]
