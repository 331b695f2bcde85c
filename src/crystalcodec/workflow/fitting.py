"""One training of a network on labelled crystals: what it works on, and the loop around it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from crystalcodec.models.base import Predictor
from crystalcodec.models.scaling import Scaling
from crystalcodec.representations.base import Encoded, Representation
from crystalcodec.workflow.config import MachineConfig, RunConfig, TrainingConfig
from crystalcodec.workflow.input_network import InputNetwork
from crystalcodec.workflow.loop import Loop, Objective
from crystalcodec.workflow.objectives import TargetObjective
from crystalcodec.workflow.precision import used_precision
from crystalcodec.workflow.progress import stop_requests, training_progress
from crystalcodec.workflow.samples import (
    AugmentedCrystals,
    Samples,
    Source,
    encode_samples,
    ragged_arrays,
)
from crystalcodec.workflow.splits import Labelled
from crystalcodec.workflow.targets import Target, learnable

if TYPE_CHECKING:
    from lightning.fabric import Fabric

__all__ = ["Task", "fit", "make_fabric", "run_loop"]


@dataclass(frozen=True)
class Task:
    """What the trainings of a run work on.

    Parameters
    ----------
    folder
        Of the run.
    scaling
        Fitted on training crystals.
    data
        By split; the inputs of training crystals are those that they are trained with.
    identity
        What a state to go on from must have been made with.
    progress
        As :func:`~crystalcodec.workflow.training.train` takes it.
    """

    folder: Path
    config: RunConfig
    representation: Representation
    scaling: Scaling
    data: Mapping[str, Labelled]
    identity: str
    progress: bool | None = None
    say: Callable[[str], None] = lambda line: None


def fit(
    task: Task,
    network: Predictor,
    targets: Sequence[Target],
    training: TrainingConfig,
    checkpoint: str,
    title: str = "",
) -> Loop:
    """Run the loop and give it; the network ends with its final weights.

    ``checkpoint`` is the name of the file of the training state, in the run's folder.
    """
    machine = task.config.machine
    fabric = make_fabric(machine)
    ragged = ragged_arrays(task.representation)
    train, held_out = task.data["train"], task.data["validation"]
    if isinstance(network, InputNetwork):
        network.fit_inputs(torch.from_numpy(train.inputs))

    def make(encoded: Encoded, extra: Mapping[str, Any]) -> Samples:
        return encode_samples(encoded, task.scaling, ragged, fabric.device, extra)

    wanted = learnable(
        targets, train.targets, train.crystals.n_sites, without_zeros=training.loss == "mape"
    )
    source = AugmentedCrystals(
        train.crystals,
        task.representation,
        {"target": wanted, **_inputs(train)},
        task.config.augmentation.names,
        task.config.seed,
        make,
    )
    objective = TargetObjective(
        training,
        targets,
        make(task.representation.encode(held_out.crystals), _inputs(held_out)),
        held_out.targets,
        held_out.crystals.n_sites,
        machine.precision,
    )
    return run_loop(
        network,
        objective,
        source,
        training,
        machine,
        task.config.seed,
        fabric=fabric,
        checkpoint=task.folder / checkpoint,
        identity=f"{task.identity}{title}",
        progress=task.progress,
        unit=targets[0].unit if len(targets) == 1 else "",
    )


def run_loop(
    network: nn.Module,
    objective: Objective,
    source: Source,
    training: TrainingConfig,
    machine: MachineConfig,
    seed: int,
    *,
    fabric: Fabric,
    checkpoint: Path,
    identity: str,
    progress: bool | None,
    unit: str = "",
    on_epoch: Callable[[nn.Module, dict[str, float]], None] = lambda network, row: None,
) -> Loop:
    """The loop, with a bar for people to see and signals to stop it; run to its end.

    ``on_epoch`` is called with the network whose answers count and the new row of the history.
    """
    with training_progress(progress, training.epochs, unit) as bar, stop_requests() as stop:

        def tell(row: dict[str, float]) -> None:
            bar.on_epoch(row)
            on_epoch(loop.judged, row)

        loop = Loop(
            network,
            objective,
            source,
            training,
            fabric,
            seed,
            checkpoint=checkpoint,
            checkpoint_seconds=machine.checkpoint_seconds,
            identity=identity,
            stop=stop,
            on_epoch=tell,
            on_step=bar.on_step,
        )
        loop.run()
    return loop


def make_fabric(machine: MachineConfig) -> Fabric:
    """What moves a training to its device and precision, float32 where bfloat16 is slow here."""
    from lightning.fabric import Fabric

    # It announces its precision on every start; the configuration tells it.
    for name in ("lightning.fabric", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.WARNING)
    accelerator = "gpu" if machine.device == "cuda" else machine.device
    plain = Fabric(accelerator=accelerator, devices=1)
    used: Any = used_precision(machine.precision, plain.device.type)
    return Fabric(accelerator=accelerator, devices=1, precision=used)


def _inputs(part: Labelled) -> dict[str, Any]:
    return {"inputs": part.inputs} if part.inputs.shape[1] else {}
