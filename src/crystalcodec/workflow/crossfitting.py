"""Runs whose predictions are inputs of another: found, kept with it, and predicted out of sample.

A model fits the crystals that it was trained on better than others. If another model is trained
with its predictions for them as an input, it learns to trust that input more than it should, for
later it sees predictions for other crystals. So the recipe of the run that gives the input is
trained again without a part of the crystals, and predicts that part, for each part in turn.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from crystalcodec.data import Dataset
from crystalcodec.workflow.checkpoints import load_weights, save_weights
from crystalcodec.workflow.config import ConfigError, InputsConfig, RunConfig
from crystalcodec.workflow.fitting import Task
from crystalcodec.workflow.prediction import answers
from crystalcodec.workflow.runs import INPUTS, MODEL, RECORD, SCALING, Run, open_run

__all__ = [
    "check_folds",
    "input_columns",
    "keep_inputs",
    "open_inputs",
    "other_data",
    "out_of_sample",
]

Inputs = npt.NDArray[np.float32]
# Of a run's folder, what is needed to predict.
_KEPT: Final = (RECORD, "config.toml", MODEL, SCALING, INPUTS)
_VALUES: Final = "training.safetensors"
_FEWEST: Final = 10


def open_inputs(config: InputsConfig, folder: Path, device: str = "cpu") -> tuple[Run, ...]:
    """The runs that give inputs to the run in a folder; its own copies where they are gone.

    Raises
    ------
    RunError
        A folder without a finished run.
    """
    copies = [folder / INPUTS / str(i) for i in range(len(config.runs))]
    return tuple(
        open_run(copy if copy.exists() and not (Path(path) / RECORD).exists() else path, device)
        for path, copy in zip(config.runs, copies, strict=True)
    )


def keep_inputs(runs: Sequence[Run], folder: Path) -> None:
    """Copy what predicts from runs into the folder of the run that takes their predictions."""
    for i, run in enumerate(runs):
        place, partial = folder / INPUTS / str(i), folder / INPUTS / f".{i}"
        if place.exists():
            continue
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        snapshots = [name for name in run.record["files"] if name.startswith("snapshot-")]
        for name in (*_KEPT, *snapshots):
            source = run.folder / name
            if source.is_dir():
                left_out = shutil.ignore_patterns(_VALUES)
                shutil.copytree(source, partial / name, ignore=left_out)
            elif source.exists():
                shutil.copyfile(source, partial / name)
        partial.rename(place)


def input_columns(config: InputsConfig, runs: Sequence[Run]) -> list[str]:
    """Columns that training the runs again needs, and theirs in turn."""
    columns: dict[str, None] = {}
    for run in runs if config.folds else ():
        columns |= dict.fromkeys(target.column for target in run.targets)
        columns |= dict.fromkeys(input_columns(run.config.inputs, run.inputs))
    return list(columns)


def check_folds(config: InputsConfig, runs: Sequence[Run], parts: Mapping[str, Dataset]) -> None:
    """Raise ConfigError where the data have too few values to train an input's recipe again."""
    for column in input_columns(config, runs):
        known = {name: int(np.isfinite(parts[name].numeric(column)).sum()) for name in parts}
        if known["train"] < max(_FEWEST, 2 * config.folds) or not known["validation"]:
            raise ConfigError(
                f"the input {column!r} has {known['train']} values among the training and "
                f"{known['validation']} among the validation crystals, too few to train its recipe "
                f"again in {config.folds} folds: set inputs.folds to 0, which takes its run as it "
                "is"
            )


def other_data(config: RunConfig, runs: Sequence[Run]) -> list[str]:
    """A line for each input whose run names other data, which may hold crystals held out here."""
    return [
        f"input {run.target}: its run names other data ({run.config.data.dataset}) or another cut: "
        "figures on held-out crystals are too good where it was trained on them"
        for run in runs
        if run.config.data != config.data
    ]


def out_of_sample(task: Task, runs: Sequence[Run], parts: Mapping[str, Dataset]) -> Inputs:
    """(m, n_inputs) inputs of the training crystals, from models that did not see them.

    Each fold is a run of its own under ``folds`` of the folder, so that all goes on where it
    stopped. A crystal that the model of its fold refuses keeps the value of the run itself.
    """
    kept, work = task.folder / INPUTS / _VALUES, task.folder / "folds"
    if kept.exists():
        shutil.rmtree(work, ignore_errors=True)
        return np.asarray(load_weights(kept)[0]["values"].numpy())
    train = task.data["train"]
    values = train.inputs.copy()
    n_folds = task.config.inputs.folds
    order = np.random.default_rng([task.config.seed, 3]).permutation(len(parts["train"]))
    fold_of = np.empty(len(order), np.int64)
    fold_of[order] = np.arange(len(order)) % n_folds
    work.mkdir(exist_ok=True)
    start = refused = 0
    for i, run in enumerate(runs):
        columns = slice(start, start + len(run.targets))
        start = columns.stop
        for fold in range(n_folds):
            task.say(f"input {run.target}: fold {fold + 1} of {n_folds}")
            rows = np.flatnonzero(fold_of[train.rows] == fold)
            other = _train_again(task, run, parts, fold_of != fold, work / f"{i}-{fold}")
            given, _, failures = answers(other, train.crystals[rows])
            good = np.isfinite(given).all(axis=1)
            values[rows[good], columns] = given[good]
            refused += len(failures)
    if refused:
        task.say(f"{refused} inputs of training crystals are of a run that has seen them")
    save_weights(kept, {"values": torch.from_numpy(values)}, {"folds": n_folds})
    shutil.rmtree(work)
    return values


def _train_again(
    task: Task, run: Run, parts: Mapping[str, Dataset], rows: npt.NDArray[Any], folder: Path
) -> Run:
    """The recipe of a run on some of the training crystals, where this task runs."""
    from crystalcodec.workflow.training import train_predictor

    paths = {name: folder.with_name(f"{folder.name}-{name}.parquet") for name in parts}
    if not paths["train"].exists():
        parts["train"][rows].write(paths["train"])
    if not paths["validation"].exists():
        parts["validation"].write(paths["validation"])
    values = run.config.values()
    values["data"] = {
        "dataset": str(paths["train"]),
        "validation": str(paths["validation"]),
    }
    # What was chosen is not chosen again, and the runs that it takes inputs of lie beside it.
    values["target"] = [
        {**target.model_dump(), "transform": fitted.transform.name}
        for target, fitted in zip(run.config.targets, run.targets, strict=True)
    ]
    values["inputs"]["runs"] = [str(given.folder) for given in run.inputs]
    machine = task.config.machine.model_dump()
    values["machine"] = {**machine, "precision": run.config.machine.precision}
    return train_predictor(RunConfig.of(values), folder, progress=task.progress, command=["folds"])
