"""Several networks as one model: the seeds of a folder, or the snapshots of one training."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from crystalcodec.models.base import Predictor
from crystalcodec.workflow.checkpoints import save_weights
from crystalcodec.workflow.runs import RECORD, SNAPSHOT, Run, RunError, open_run, sha256
from crystalcodec.workflow.targets import Target

__all__ = [
    "Ensemble",
    "averaged",
    "open_ensemble",
    "save_snapshots",
    "seed_folders",
    "with_weights",
]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Ensemble:
    """Runs of one recipe whose mean predicts; one run is an ensemble of one.

    Parameters
    ----------
    folder
        Of the run, or of the ``seed-N`` runs.
    members
        Runs of the same targets in the same units.

    Raises
    ------
    RunError
        No members, or members of different targets or units.
    """

    folder: Path
    members: tuple[Run, ...]

    def __post_init__(self) -> None:
        if not self.members:
            raise RunError(f"{self.folder} holds no run")
        first = self.members[0]
        for run in self.members[1:]:
            if _predicted(run) != _predicted(first):
                raise RunError(
                    f"{first.folder} predicts {_shown(first)} and {run.folder} {_shown(run)}: the "
                    "members of an ensemble predict the same"
                )

    @property
    def targets(self) -> tuple[Target, ...]:
        """What it predicts."""
        return self.members[0].targets

    @property
    def has_spread(self) -> bool:
        """Whether there is more than one network."""
        return len(self.members) > 1 or bool(self.members[0].snapshots)


def open_ensemble(folder: str | Path, device: str | torch.device = "cpu") -> Ensemble:
    """The model of a folder: its run, or the mean of its ``seed-N`` runs.

    Raises
    ------
    RunError
        No run, one that is not finished or damaged, or seeds of different targets or units.
    """
    folder = Path(folder)
    seeds = [] if (folder / RECORD).exists() else seed_folders(folder)
    # Without seeds, what is wrong with the folder itself is the error.
    return Ensemble(folder, tuple(open_run(path, device) for path in seeds or [folder]))


def seed_folders(folder: str | Path) -> list[Path]:
    """The run folders ``seed-N`` of a folder, by N."""
    found = [path.parent for path in Path(folder).glob(f"seed-*/{RECORD}")]
    numbered = [path for path in found if re.fullmatch(r"seed-\d+", path.name)]
    return sorted(numbered, key=lambda path: int(path.name[5:]))


def averaged(members: Sequence[Floats]) -> tuple[Floats, Floats | None]:
    """Mean and spread over the members of an ensemble.

    Parameters
    ----------
    members
        Predictions of each, all of one shape, in the unit of the target.

    Returns
    -------
    mean
        Of that shape; NaN where a member has no number.
    spread
        Standard deviation over the members (with one degree of freedom less than there are);
        None for a single member, which tells nothing of its spread.
    """
    if len(members) == 1:
        return members[0], None
    stacked = np.stack(members)
    # What is infinite is no number either, and told as such by who asked.
    with np.errstate(invalid="ignore"):
        return stacked.mean(0), stacked.std(0, ddof=1)


def save_snapshots(
    folder: Path, snapshots: Sequence[Mapping[str, torch.Tensor]], model: str
) -> dict[str, str]:
    """Write the weights at the end of each cycle; gives the SHA-256 of each file.

    Those of the last cycle are the run's own weights, ``model.safetensors``, and not written
    again.
    """
    names = [SNAPSHOT.format(i) for i in range(1, len(snapshots))]
    for name, weights in zip(names, snapshots, strict=False):
        save_weights(folder / name, weights, {"model": model})
    return {name: sha256(folder / name) for name in names}


def with_weights(
    network: Predictor, snapshots: Sequence[Mapping[str, torch.Tensor]]
) -> tuple[Predictor, ...]:
    """Copies of a network with the weights of all snapshots but the last."""
    copies = tuple(copy.deepcopy(network) for _ in snapshots[:-1])
    for one, weights in zip(copies, snapshots, strict=False):
        one.load_state_dict(weights)
    return copies


def _predicted(run: Run) -> list[tuple[str, str, str]]:
    return [(target.column, target.unit, target.kind) for target in run.targets]


def _shown(run: Run) -> str:
    return ", ".join(f"{target.column} ({target.unit or 'no unit'})" for target in run.targets)
