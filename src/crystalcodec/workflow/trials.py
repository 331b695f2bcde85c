"""``transform = "auto"``: each transform that a column allows is tried, and the best is taken."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from crystalcodec.models.base import Predictor
from crystalcodec.workflow.config import RunConfig, TargetConfig
from crystalcodec.workflow.fitting import Task, fit
from crystalcodec.workflow.runs import RECORD, write_json
from crystalcodec.workflow.splits import Labelled
from crystalcodec.workflow.targets import Target, fit_target
from crystalcodec.workflow.transforms import CANDIDATES, possible_transforms

__all__ = ["fit_targets", "try_transforms"]

Names = Mapping[str, str]


def fit_targets(
    config: RunConfig, part: Labelled, units: Mapping[str, str], names: Names
) -> tuple[Target, ...]:
    """The targets of a run, fitted on its training crystals.

    ``names`` are transforms by column, instead of those of the configuration.

    Raises
    ------
    TargetError
        A column that cannot be learnt.
    """
    return tuple(
        fit_target(
            target,
            units[target.column],
            part.targets[:, i],
            part.crystals.n_sites,
            names.get(target.column, target.transform),
        )
        for i, target in enumerate(config.targets)
    )


def try_transforms(
    task: Task,
    units: Mapping[str, str],
    build: Callable[[], Predictor],
    record: dict[str, Any],
) -> dict[str, str]:
    """The best transform of each column whose transform is ``auto``, and trials for it.

    Each trial is a training of ``training.transform_epochs`` from the same random start, with one
    transform for all these columns (``standardise`` where a column does not allow it); a column
    takes the one with the least MAE, in its own unit, on the validation crystals. What is found
    is kept in the record as soon as it is known, so that an interrupted run does not try again.
    """
    allowed = {
        target.column: _allowed(task, target, i)
        for i, target in enumerate(task.config.targets)
        if target.transform == "auto"
    }
    if not allowed:
        return {}
    training = task.config.training
    epochs = min(training.transform_epochs, training.epochs)
    short = training.model_copy(
        update={"epochs": epochs, "patience": None, "snapshots": None, "validate_every": epochs}
    )
    tried: dict[str, dict[str, float]] = record.setdefault("transform_trials", {})
    for name in CANDIDATES:
        if name in tried or not any(name in names for names in allowed.values()):
            continue
        chosen = {c: name if name in names else "standardise" for c, names in allowed.items()}
        checkpoint = f"trial-{name}.safetensors"
        targets = fit_targets(task.config, task.data["train"], units, chosen)
        history = fit(task, build(), targets, short, checkpoint, f" {name}").history
        # Infinite is no number of JSON's.
        tried[name] = {
            c: min(history[-1][_figure(targets, c)], sys.float_info.max)
            for c in allowed
            if chosen[c] == name
        }
        write_json(task.folder / RECORD, record)
        (task.folder / checkpoint).unlink(missing_ok=True)
    best = {
        column: min((tried[name][column], i, name) for i, name in enumerate(names))[2]
        for column, names in allowed.items()
    }
    for column, name in best.items():
        shown = ", ".join(f"{n} {tried[n][column]:.4g}" for n in allowed[column])
        task.say(f"transform of {column}: {name} (validation MAE after {epochs} epochs: {shown})")
    return best


def _allowed(task: Task, config: TargetConfig, i: int) -> Sequence[str]:
    """Transforms that a column allows."""
    values = task.data["train"].targets[:, i]
    # Zeros that a classifier finds are not transformed.
    return possible_transforms(values[values != 0] if config.zero == "classifier" else values)


def _figure(targets: Sequence[Target], column: str) -> str:
    return "validation_mae" if len(targets) == 1 else f"validation_mae_{column}"
