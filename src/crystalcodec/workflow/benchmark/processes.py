"""The processes that compute the cells of a benchmark, seen from the one that feeds them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

__all__ = ["BenchmarkError", "Worker"]

_THREADS: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class BenchmarkError(ValueError):
    """A benchmark that cannot be run, or a folder that holds other files."""


class Worker:
    """A process for the tasks of this thread, and another one for those of networks.

    Two, so that the libraries of networks do not count in the peak memory of other models.
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        self._started: dict[bool, subprocess.Popen[str]] = {}

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *of: object) -> None:
        for process in self._started.values():
            if process.stdin is not None:
                with suppress(BrokenPipeError):
                    process.stdin.close()  # at which it kills its child and ends
        for process in self._started.values():
            process.wait()
            if process.stdout is not None:
                process.stdout.close()

    def ask(self, task: Mapping[str, Any]) -> dict[str, Any]:
        """The outcome of a task."""
        process = self._process(bool(task.get("network")))
        line = ""
        if process.stdin is not None and process.stdout is not None:
            with suppress(BrokenPipeError):
                process.stdin.write(json.dumps(task) + "\n")
                process.stdin.flush()
                line = process.stdout.readline()
        if not line:
            raise BenchmarkError(
                "a worker process ended without an answer: start again, with fewer --jobs if "
                "memory was short"
            )
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _process(self, networks: bool) -> subprocess.Popen[str]:
        if networks not in self._started:
            command = [sys.executable, "-m", "crystalcodec.workflow.benchmark.worker"]
            self._started[networks] = subprocess.Popen(
                [*command, str(self._log), *(["networks"] if networks else [])],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, **dict.fromkeys(_THREADS, "1")},
                # Ctrl-C is for the parent alone, which then ends its workers.
                start_new_session=True,
            )
        return self._started[networks]
