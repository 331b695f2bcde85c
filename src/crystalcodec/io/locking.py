"""One process at a time: lock files, which the system gives back when a process ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["LOCK", "locked"]

LOCK = ".lock"
"""Name of the lock file of a folder."""


@contextmanager
def locked(path: str | os.PathLike[str], refusal: Exception | None = None) -> Iterator[None]:
    """Hold a lock file alone while the body runs; it is removed afterwards.

    Parameters
    ----------
    path
        The lock file; its folder is made where it is missing.
    refusal
        Raised where another process holds it. Where None, that one is waited for.

    On a file system that knows no locks the body runs without one.

    Examples
    --------
    >>> import tempfile
    >>> place = Path(tempfile.mkdtemp()) / LOCK
    >>> with locked(place):
    ...     with locked(place, ValueError("in use")):
    ...         pass
    Traceback (most recent call last):
    ValueError: in use
    """
    place = Path(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    while True:
        file = place.open("wb")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (fcntl.LOCK_NB if refusal else 0))
        except BlockingIOError:
            file.close()
            assert refusal is not None
            raise refusal from None
        except OSError:
            break
        # The one that held it before has removed its file: it would lock out nobody.
        if _is_there(place, file.fileno()):
            break
        file.close()
    try:
        yield
    finally:
        place.unlink(missing_ok=True)
        file.close()


def _is_there(place: Path, descriptor: int) -> bool:
    """Whether an open file still has its name."""
    try:
        return os.path.samestat(place.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
