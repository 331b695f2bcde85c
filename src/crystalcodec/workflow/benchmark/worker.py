"""A process that computes tasks one after the other, each in a child of its own.

``python -m crystalcodec.workflow.benchmark.worker LOG [networks]`` reads a task a line as JSON and
answers with a line. The child is a fork, so that libraries are loaded once and the peak memory of
each task is its own; it is killed when its time is over, or when nobody reads the answers any more.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["main", "perform", "supervise"]


def perform(task: Mapping[str, Any]) -> dict[str, Any]:
    """Compute a task in this process; gives what it found, ready for JSON."""
    from crystalcodec.workflow.benchmark.rows import open_rows

    crystals, targets, folds = open_rows(Path(task["rows"]))
    fold = folds[task["fold"]]
    if task["kind"] == "encode":
        from crystalcodec.workflow.benchmark.encodings import encode_rows

        return encode_rows(
            task["representation"],
            crystals,
            fold.train,
            Path(task["folder"]),
            task["most_gib"],
            task["patience"],
        )
    from crystalcodec.workflow.benchmark.cells import Cell, run_cell

    cell = Cell(**{**task["cell"], "candidates": tuple(task["cell"]["candidates"])})
    folder = None if task["folder"] is None else Path(task["folder"])
    return run_cell(cell, folder, targets, fold)


def supervise(task: Mapping[str, Any], log: Path, ended: int | None = None) -> dict[str, Any]:
    """Compute a task in a child; gives its status, figures, seconds and peak memory.

    Parameters
    ----------
    task
        What :func:`perform` takes, and ``seconds`` after which the child is killed.
    log
        File that gets what the child prints.
    ended
        A file descriptor whose end means that nobody waits any more; the child is killed.
    """
    read, write = os.pipe()
    started = time.perf_counter()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        _child(task, log, write)
    os.close(write)
    answer, reason = _listen(read, started + float(task["seconds"]), ended)
    if reason:
        os.kill(pid, signal.SIGKILL)
    os.close(read)
    _, status, usage = os.wait4(pid, 0)
    if reason == "ended":
        raise BrokenPipeError
    # Linux counts in KiB, macOS in bytes.
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    told: dict[str, Any] = {
        "seconds": time.perf_counter() - started,
        "peak_memory": peak,
    }
    if reason:
        limit = f"{float(task['seconds']):g}"
        return {**told, "status": "timed out", "reason": f"killed after {limit} seconds"}
    if not answer:
        code = os.waitstatus_to_exitcode(status)
        how = f"by signal {-code}" if code < 0 else f"with code {code}"
        return {**told, "status": "failed", "reason": f"the process ended {how} (out of memory?)"}
    return {**told, **json.loads(answer)}


def main() -> None:
    """Answer tasks until the input ends."""
    log = Path(sys.argv[1])
    # Ctrl-C goes to the whole group; the parent decides, by ending the input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _load()
    if len(sys.argv) > 2:
        _load_networks()
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print does not mix with answers
    lines = _Lines(0)
    while (line := lines.next()) is not None:
        task = json.loads(line)
        try:
            answer = supervise(task, log, 0)
            out.write(json.dumps(answer) + "\n")
            out.flush()
        except BrokenPipeError:
            return


class _Lines:
    """Lines of a file descriptor, unbuffered beyond what was read."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self._rest = descriptor, b""

    def next(self) -> str | None:
        """The next line, None at the end."""
        while b"\n" not in self._rest:
            more = os.read(self._descriptor, 65536)
            if not more:
                return None
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode()


def _child(task: Mapping[str, Any], log: Path, write: int) -> None:
    """Compute, answer, end; never returns."""
    code = 1
    try:
        with log.open("a", encoding="utf-8") as printed:
            os.dup2(printed.fileno(), 1)
            os.dup2(printed.fileno(), 2)
        try:
            answer = {"status": "finished", **perform(task)}
        except Exception as error:
            traceback.print_exc()
            answer = {"status": "failed", "reason": f"{type(error).__name__}: {error}"}
        with os.fdopen(write, "w", encoding="utf-8") as pipe:
            pipe.write(json.dumps(_plain(answer)))
        code = 0
    finally:
        os._exit(code)


def _listen(read: int, deadline: float, ended: int | None) -> tuple[str, str]:
    """What the child answers, and why it is to be killed, if it is."""
    parts: list[bytes] = []
    watched = [read] if ended is None else [read, ended]
    while True:
        left = deadline - time.perf_counter()
        if left <= 0:
            return "", "time"
        # An hour at a time: no system waits for ever.
        ready, _, _ = select.select(watched, [], [], min(left, 3600.0))
        if read in ready:
            part = os.read(read, 65536)
            if not part:
                return b"".join(parts).decode(), ""
            parts.append(part)
        elif ready:
            # The parent sends nothing while a task runs: this is the end of the input.
            return "", "ended"


def _plain(value: Any) -> Any:
    """Numbers of numpy as Python's, NaN and infinity as None."""
    from crystalcodec.workflow.benchmark.documents import plain

    return plain(value)


def _load() -> None:
    """What almost every task needs, so that its children have it already."""
    import scipy.linalg
    import sklearn.ensemble

    import crystalcodec.representations.storage
    import crystalcodec.workflow.benchmark.cells
    import crystalcodec.workflow.benchmark.encodings  # noqa: F401

    del scipy, sklearn


def _load_networks() -> None:
    import lightning.fabric
    import torch

    import crystalcodec.workflow.loop
    import crystalcodec.workflow.prediction
    import crystalcodec.workflow.samples  # noqa: F401

    del lightning
    torch.set_num_threads(1)


if __name__ == "__main__":
    main()
