"""What a person sees of a training, and how a person stops it."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["stop_requests", "training_progress"]


class Quiet:
    """No progress shown."""

    def on_epoch(self, row: dict[str, float]) -> None:
        """Nothing."""

    def on_step(self, done: int, total: int) -> None:
        """Nothing."""


class Bar:
    """A bar over all steps, with the last validation error beside it."""

    def __init__(self, bar: Any, epochs: int, unit: str) -> None:
        self._bar = bar
        self._epochs = epochs
        self._unit = f" {unit}" if unit else ""
        self._task = bar.add_task(f"epoch 1/{epochs}", total=None, error="")

    def on_epoch(self, row: dict[str, float]) -> None:
        """Show the epoch and the validation error."""
        epoch = min(int(row["epoch"]) + 1, self._epochs)
        update = {"description": f"epoch {epoch}/{self._epochs}"}
        if "validation_mae" in row:
            update["error"] = f"validation MAE {row['validation_mae']:.4g}{self._unit}"
        self._bar.update(self._task, **update)

    def on_step(self, done: int, total: int) -> None:
        """Move the bar."""
        self._bar.update(self._task, completed=done, total=total)


@contextmanager
def training_progress(show: bool | None, epochs: int, unit: str) -> Iterator[Bar | Quiet]:
    """A progress bar on stderr; none where ``show`` is False, or None and stderr no terminal."""
    if not (sys.stderr.isatty() if show is None else show):
        yield Quiet()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[error]}"),
    )
    with Progress(*columns, console=Console(stderr=True), refresh_per_second=4) as bar:
        yield Bar(bar, epochs, unit)


@contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """A function that tells whether Ctrl-C or a termination signal has come.

    The first signal only asks, so that no step is cut in half; the second stops at once.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    asked = False

    def ask(number: int, frame: Any) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, ask) for number in signals]
    try:
        yield lambda: asked
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)
