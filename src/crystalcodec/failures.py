"""What could not be done, as data: failures are kept, counted and shown, never dropped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Failure", "count_reasons"]


@dataclass(frozen=True, slots=True)
class Failure:
    """One crystal, array or file that could not be handled, and why.

    Parameters
    ----------
    index
        Position in the input: of the crystal in its batch, of the array in its stack, of the
        record in its file.
    reason
        The kind of failure in a few fixed words, the same for every failure of that kind, so that
        failures can be counted (``"too many sites"``).
    detail
        What was got, what was wanted and what to do (``"25 sites, at most 20 fit"``).
    source
        Path, or path inside an archive, where the failure came from a file.
    line
        Line in that file, counted from 1, where it is known.
    """

    index: int
    reason: str
    detail: str = ""
    source: str = ""
    line: int | None = None

    def __str__(self) -> str:
        where = f"{self.source}:{self.line}: " if self.line else f"{self.source}: "
        what = f"{self.reason}: {self.detail}" if self.detail else self.reason
        return (where if self.source else f"crystal {self.index}: ") + what


def count_reasons(failures: Iterable[Failure]) -> dict[str, int]:
    """Number of failures by reason, the most frequent first.

    >>> count_reasons([Failure(0, "too many sites"), Failure(4, "too many sites")])
    {'too many sites': 2}
    """
    return dict(Counter(failure.reason for failure in failures).most_common())
