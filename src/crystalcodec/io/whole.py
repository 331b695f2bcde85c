"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["whole_file"]


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Write a file beside its place, then move it there in one step.

    The body writes to the temporary path that it is given. When the body ends well the file is
    flushed to disk and renamed to ``path``, replacing what stood there; when it raises, the
    temporary file is removed and ``path`` is as it was before.

    Parameters
    ----------
    path
        Where the file is wanted. Its folder is made where it is missing.

    Raises
    ------
    OSError
        The file could not be written; a full disk is said as such, with the path.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with whole_file(folder / "a.txt") as temporary:
    ...     _ = temporary.write_text("whole")
    >>> [file.name for file in folder.iterdir()]
    ['a.txt']
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    # The ending stays the last part of the name: writers choose their format by it.
    temporary = target.with_name(f".{secrets.token_hex(4)}.{target.name}")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(target)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OSError(
                error.errno,
                f"no space left to write {target}: free some and run again "
                "(what stood there before is untouched)",
            ) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)
