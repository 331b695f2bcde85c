"""Train a predictor: from a configuration to a finished run folder."""

from __future__ import annotations

import logging
import platform
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from crystalcodec.evaluation.regression import mae, rmse
from crystalcodec.failures import count_reasons
from crystalcodec.io.whole import whole_file
from crystalcodec.models.base import Predictor, all_parameters, build_model, count_parameters
from crystalcodec.models.scaling import Scaling, fit_scaling
from crystalcodec.representations.base import Encoded, Representation
from crystalcodec.representations.storage import representation_from
from crystalcodec.workflow.checkpoints import FORMAT
from crystalcodec.workflow.config import ConfigError, RunConfig, TrainingConfig
from crystalcodec.workflow.loop import Loop, Row
from crystalcodec.workflow.prediction import learnt
from crystalcodec.workflow.progress import stop_requests, training_progress
from crystalcodec.workflow.results import write_results
from crystalcodec.workflow.runs import (
    CHECKPOINT,
    RECORD,
    Run,
    claim,
    digest,
    identity,
    open_run,
    save_model,
    write_json,
)
from crystalcodec.workflow.samples import (
    AugmentedCrystals,
    Batch,
    Samples,
    encode_samples,
    ragged_arrays,
    redescribe,
    split_share,
)
from crystalcodec.workflow.splits import Labelled, label, load_splits
from crystalcodec.workflow.targets import TargetError, TargetTransform

__all__ = ["RegressionObjective", "train", "train_seeds"]

_LOSSES: Mapping[str, Callable[..., Tensor]] = {
    "mse": lambda got, wanted, delta: nn.functional.mse_loss(got, wanted),
    "l1": lambda got, wanted, delta: nn.functional.l1_loss(got, wanted),
    "huber": lambda got, wanted, delta: nn.functional.huber_loss(got, wanted, delta=delta),
}


@dataclass
class RegressionObjective:
    """The loss of predicted targets, and the error on held-out crystals in the target's unit."""

    config: TrainingConfig
    samples: Samples
    targets: np.ndarray[Any, Any]
    transform: TargetTransform
    precision: str = "32-true"

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Loss in the transformed target, a scalar."""
        got = network(batch).float()
        return _LOSSES[self.config.loss](got, batch["target"], self.config.huber_delta)

    def validate(self, network: nn.Module) -> dict[str, float]:
        """MAE and RMSE, no augmented copies."""
        learned = learnt(network, self.samples, self.precision)
        with np.errstate(over="ignore"):
            values = np.nan_to_num(self.transform.undo(learned))
        return {
            "validation_mae": mae(self.targets, values),
            "validation_rmse": rmse(self.targets, values),
        }


def train(
    config: RunConfig,
    folder: str | Path,
    *,
    progress: bool | None = None,
    command: Sequence[str] | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Run:
    """Train and write a run folder; a run that was interrupted goes on where it stopped.

    Parameters
    ----------
    config
        The run.
    folder
        Where its files go. A finished run of the same configuration and data is given back as it
        is.
    progress
        Whether to show a progress bar; None for one where stderr is a terminal.
    command
        What the record names as the command; ``sys.argv`` where None.
    say
        Called with each line that a user should read: rows left out, resumed, and so on.

    Raises
    ------
    ConfigError, DatasetError, TargetError, ModelError, RepresentationError, UnknownNameError
        What cannot be trained, before anything is written.
    RunError
        The folder holds another run or other files.
    CheckpointError
        The state to go on from is damaged.
    KeyboardInterrupt
        Interrupted; the state is saved.
    """
    folder = Path(folder)
    _check_machine(config)
    representation = representation_from(config.representation.model_dump())
    for entry in config.augmentation.names:
        split_share(entry)
    column = config.target.column
    datasets, unit = load_splits(config.data, column)
    if representation.needs_fit:
        representation = representation.fit(datasets["train"].crystals)
    data = {name: label(part, column, representation, name) for name, part in datasets.items()}
    for line in _left_out(data):
        say(line)
    transform = TargetTransform.fit(config.target.transform, data["train"].targets)
    if not len(data["validation"]):
        raise TargetError("no validation crystal is left: nothing to measure the error on")
    with _fixed_threads(config.machine.threads), torch.random.fork_rng():
        torch.manual_seed(config.seed)
        predictor = build_model(config.model.name, representation, 1, **config.model.parameters)
        described = {name: part.describe() for name, part in data.items()}
        wanted = identity(config, described)
        found = claim(folder, wanted)
        if found is not None and found["status"] == "finished":
            say(f"{folder} holds this run, finished: nothing to do")
            return open_run(folder)
        if (folder / CHECKPOINT).exists():
            say(f"going on with the run in {folder}")
        scaling = _fit_scaling(config, representation, data["train"], predictor.unscaled)
        record = {
            **_provenance(command),
            "status": "training",
            "identity": wanted,
            "config": config.values(),
            "target": {"column": column, "unit": unit, "transform": transform.describe()},
            "representation": representation.config(),
            "model": {
                "name": predictor.name,
                **all_parameters(config.model.name, **config.model.parameters),
            },
            "scaling": scaling.describe(),
            "n_parameters": count_parameters(predictor),
            "data": described,
        }
        folder.mkdir(parents=True, exist_ok=True)
        _remove_partial_files(folder)
        write_json(folder / RECORD, record)
        with whole_file(folder / "config.toml") as partial:
            Path(partial).write_text(config.to_toml(), encoding="utf-8")
        history = _fit(folder, config, record, predictor, scaling, transform, data, progress)
        record["files"] = save_model(folder, predictor, scaling)
        run = Run(folder, config, record, representation, predictor, scaling, transform)
        write_results(run, data, history)
    (folder / CHECKPOINT).unlink(missing_ok=True)
    return open_run(folder)


def train_seeds(
    config: RunConfig, folder: str | Path, seeds: Sequence[int], **options: Any
) -> list[Run]:
    """The same run once for each seed, in ``seed-0``, ``seed-1`` ... of a folder.

    ``options`` and errors are those of :func:`train`.
    """
    return [
        train(config.model_copy(update={"seed": seed}), Path(folder) / f"seed-{seed}", **options)
        for seed in dict.fromkeys(seeds)
    ]


def _fit(
    folder: Path,
    config: RunConfig,
    record: Mapping[str, Any],
    predictor: Predictor,
    scaling: Scaling,
    transform: TargetTransform,
    data: Mapping[str, Labelled],
    progress: bool | None,
) -> list[Row]:
    """Run the loop; the predictor ends with its final weights. Gives the history."""
    from lightning.fabric import Fabric

    machine = config.machine
    # It announces its precision on every start; the configuration tells it.
    for name in ("lightning.fabric", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.WARNING)
    accelerator = "gpu" if machine.device == "cuda" else machine.device
    fabric = Fabric(accelerator=accelerator, devices=1, precision=machine.precision)
    representation = representation_from(record["representation"])
    ragged = ragged_arrays(representation)

    def make(encoded: Encoded, extra: Mapping[str, Any]) -> Samples:
        return encode_samples(encoded, scaling, ragged, fabric.device, extra)

    wanted = transform.apply(data["train"].targets).astype(np.float32)[:, None]
    source = AugmentedCrystals(
        data["train"].crystals,
        representation,
        {"target": wanted},
        config.augmentation.names,
        config.seed,
        make,
    )
    held_out = data["validation"]
    objective = RegressionObjective(
        config.training,
        make(representation.encode(held_out.crystals), {}),
        held_out.targets,
        transform,
        machine.precision,
    )
    unit = record["target"]["unit"]
    with training_progress(progress, config.training.epochs, unit) as bar, stop_requests() as stop:
        loop = Loop(
            predictor,
            objective,
            source,
            config.training,
            fabric,
            config.seed,
            checkpoint=folder / CHECKPOINT,
            checkpoint_seconds=machine.checkpoint_seconds,
            identity=digest(record["identity"]),
            stop=stop,
            on_epoch=bar.on_epoch,
            on_step=bar.on_step,
        )
        return loop.run()


def _fit_scaling(
    config: RunConfig,
    representation: Representation,
    training: Labelled,
    unscaled: Sequence[str],
) -> Scaling:
    """Fitted on what the model will see: augmented crystals where training augments them."""
    crystals = training.crystals
    if config.augmentation.names:
        rng = np.random.default_rng([config.seed, 0, 0, 2])
        crystals = redescribe(crystals, config.augmentation.names, rng)
    return fit_scaling(
        representation.encode(crystals).arrays,
        config.scaling.kind,
        config.scaling.per,
        ragged_arrays(representation),
        unscaled,
    )


def _check_machine(config: RunConfig) -> None:
    device = config.machine.device
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(device, True):
        raise ConfigError(f"machine.device is {device!r}, torch sees none: use 'auto' or 'cpu'")
    if config.machine.precision == "16-mixed" and device != "cuda" and not there["cuda"]:
        raise ConfigError("machine.precision '16-mixed' needs a CUDA device: use 'bf16-mixed'")


def _left_out(data: Mapping[str, Labelled]) -> list[str]:
    lines = []
    for name, part in data.items():
        reasons = count_reasons(part.failures)
        if reasons:
            shown = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
            lines.append(f"{name}: {len(part)} of {part.n} crystals used; left out: {shown}")
    return lines


def _provenance(command: Sequence[str] | None) -> dict[str, Any]:
    """Format, versions and command, for the record of a run."""
    packages = ("crystalcodec", "numpy", "torch", "lightning", "safetensors")
    versions = {
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
        "platform": platform.platform(),
    }
    command = list(sys.argv if command is None else command)
    return {"format": FORMAT, "versions": versions, "command": command}


def _remove_partial_files(folder: Path) -> None:
    """Temporary files that a killed run left; only this run writes in its folder."""
    for path in folder.glob(".????????.*"):
        path.unlink(missing_ok=True)


@contextmanager
def _fixed_threads(threads: int) -> Iterator[None]:
    """Torch with this many threads; with another number a sum may round differently."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
