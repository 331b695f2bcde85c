"""Every step of every crystal, in one file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from crystalcodec.crystals import Crystals
from crystalcodec.relaxation.base import PotentialError

__all__ = ["Trajectory"]


class Trajectory:
    """Frames, which become a file when all are there.

    Each has the id ``crystal-step`` and the columns ``crystal`` (its position), ``step``,
    ``energy`` (eV, of the whole cell) and ``potential``.

    Parameters
    ----------
    path
        ``.extxyz``, ``.extxyz.gz`` or ``.parquet`` (a dataset).

    Raises
    ------
    PotentialError
        Another ending.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.name.lower().endswith((".extxyz", ".extxyz.gz", ".parquet")):
            raise PotentialError(f"trajectory {path}: wanted a name in .extxyz or .parquet")
        self._frames: list[Crystals] = []
        self._rows: list[tuple[int, int, float]] = []

    def add(self, crystal: int, step: int, frame: Crystals, energy: float) -> None:
        """One crystal after one step."""
        self._frames.append(frame)
        self._rows.append((crystal, step, energy))

    def write(self, potential: str) -> None:
        """Write the file, crystal after crystal, whole or not at all."""
        order = sorted(range(len(self._rows)), key=lambda i: self._rows[i][:2])
        rows = [self._rows[i] for i in order]
        frames = Crystals.concatenate([self._frames[i] for i in order])
        ids = [f"{crystal}-{step}" for crystal, step, _ in rows]
        columns: dict[str, list[Any]] = {
            "crystal": [row[0] for row in rows],
            "step": [row[1] for row in rows],
            "energy": [row[2] for row in rows],
            "potential": [potential] * len(rows),
        }
        if self.path.suffix.lower() == ".parquet":
            from crystalcodec.data.dataset import Dataset

            Dataset.from_crystals(frames, ids, columns, units={"energy": "eV"}).write(self.path)
        else:
            from crystalcodec.io import write

            write(frames, self.path, ids=ids, properties=columns)
