"""Ctrl-C in a command that the same command takes up again."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import typer

__all__ = ["INTERRUPTED", "Told", "goes_on_in"]

INTERRUPTED: Final = 130
"""What typer exits with after Ctrl-C, as shells do."""


class Told(int):
    """An exit code whose reason has been printed."""


@contextmanager
def goes_on_in(folder: Path) -> Iterator[None]:
    """Ctrl-C inside ends the command with a line that names the folder."""
    try:
        yield
    except KeyboardInterrupt:
        print(f"interrupted; the same command goes on in {folder}", file=sys.stderr)
        raise typer.Exit(Told(INTERRUPTED)) from None
