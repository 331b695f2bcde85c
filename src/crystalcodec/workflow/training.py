"""Train a predictor or a generator: from a configuration to a finished run folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from crystalcodec.failures import count_reasons
from crystalcodec.models.base import Predictor, all_parameters, count_parameters
from crystalcodec.models.scaling import Scaling, fit_scaling
from crystalcodec.representations.base import Representation
from crystalcodec.representations.storage import representation_from
from crystalcodec.workflow.config import RunConfig
from crystalcodec.workflow.crossfitting import (
    check_folds,
    input_columns,
    keep_inputs,
    open_inputs,
    other_data,
    out_of_sample,
)
from crystalcodec.workflow.ensembles import Ensemble, save_snapshots, with_weights
from crystalcodec.workflow.fitting import Task, fit
from crystalcodec.workflow.generating.runs import GeneratorRun
from crystalcodec.workflow.generating.training import train_generator
from crystalcodec.workflow.input_network import InputNetwork, build_network
from crystalcodec.workflow.loop import Row
from crystalcodec.workflow.prediction import outputs_of
from crystalcodec.workflow.results import write_results
from crystalcodec.workflow.runs import (
    CHECKPOINT,
    Run,
    alone_in,
    claim,
    digest,
    identity,
    open_run,
    save_model,
)
from crystalcodec.workflow.samples import ragged_arrays, redescribe, split_share
from crystalcodec.workflow.splits import Labelled, label, load_splits
from crystalcodec.workflow.starting import (
    check_machine,
    computed_precision,
    fixed_threads,
    precision_notice,
    provenance,
    start_folder,
    torch_device,
)
from crystalcodec.workflow.targets import (
    Target,
    TargetError,
    choose_threshold,
    n_outputs,
    values_of,
)
from crystalcodec.workflow.trials import fit_targets, try_transforms
from crystalcodec.workflow.trust import write_seeds_trust

__all__ = ["train", "train_predictor", "train_seeds"]


def train(
    config: RunConfig,
    folder: str | Path,
    *,
    progress: bool | None = None,
    command: Sequence[str] | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Run | GeneratorRun:
    """Train and write a run folder; a run that was interrupted goes on where it stopped.

    What is trained is a predictor or a generator, as the name of the model says.

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
    if config.generates:
        return train_generator(config, folder, progress=progress, command=command, say=say)
    return train_predictor(config, folder, progress=progress, command=command, say=say)


def train_predictor(
    config: RunConfig,
    folder: str | Path,
    *,
    progress: bool | None = None,
    command: Sequence[str] | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Run:
    """Train a predictor; parameters and errors are those of :func:`train`."""
    folder = Path(folder)
    check_machine(config)
    representation = representation_from(config.representation.model_dump())
    for entry in config.augmentation.names:
        split_share(entry)
    inputs = open_inputs(config.inputs, folder, torch_device(config))
    columns = dict.fromkeys([*config.columns, *input_columns(config.inputs, inputs)])
    datasets, units = load_splits(config.data, list(columns))
    check_folds(config.inputs, inputs, datasets)
    wanted = identity(config, {name: part.content_hash for name, part in datasets.items()}, inputs)
    found = claim(folder, wanted)
    if found is not None and found["status"] == "finished":
        say(f"{folder} holds this run, finished: nothing to do")
        return open_run(folder)
    if found is not None:
        say(f"going on with the run in {folder}")
    if representation.needs_fit:
        representation = representation.fit(datasets["train"].crystals)
    with fixed_threads(config.machine.threads), torch.random.fork_rng():
        data = {
            name: label(part, config.columns, representation, name, inputs)
            for name, part in datasets.items()
        }
        notices = (
            *precision_notice(config),
            *_left_out(data, config),
            *other_data(config, inputs),
        )
        for line in notices:
            say(line)
        # Refused here, before anything is written.
        first = {t.column: "standardise" for t in config.targets if t.transform == "auto"}
        targets = fit_targets(config, data["train"], units, first)
        _check_validation(targets, data["validation"])
        _check_classes(targets, data)
        build = _builder(config, representation, n_outputs(targets), data["train"])
        network = build()
        scaling = _fit_scaling(config, representation, data["train"], network)
        task = Task(folder, config, representation, scaling, data, digest(wanted), progress, say)
        record = {
            **provenance(command),
            "status": "training",
            "identity": wanted,
            "precision": computed_precision(config),
            **_described(task, network),
            "transform_trials": (found or {}).get("transform_trials", {}),
        }
        with alone_in(folder):
            start_folder(folder, config, record)
            keep_inputs(inputs, folder)
            if inputs and config.inputs.folds:
                given = out_of_sample(task, inputs, datasets)
                task = replace(task, data={**data, "train": replace(data["train"], inputs=given)})
            run, history = _train(task, build, units, record, inputs)
            write_results(run, data, history)
            (folder / CHECKPOINT).unlink(missing_ok=True)
    return open_run(folder)


def train_seeds(
    config: RunConfig, folder: str | Path, seeds: Sequence[int], **options: Any
) -> list[Any]:
    """The same run once for each seed, in ``seed-0``, ``seed-1`` ... of a folder.

    The folder of predictors is a model, too: their mean, whose intervals are calibrated at the
    end. ``options`` and errors are those of :func:`train`.
    """
    # Checked before the first of them is trained.
    configs = [RunConfig.of({**config.values(), "seed": seed}) for seed in dict.fromkeys(seeds)]
    runs: list[Any] = [train(one, Path(folder) / f"seed-{one.seed}", **options) for one in configs]
    if len(runs) > 1 and not config.generates:
        write_seeds_trust(Ensemble(Path(folder), tuple(runs)))
    return runs


def _builder(
    config: RunConfig, representation: Representation, outputs: int, training: Labelled
) -> Callable[[], Predictor]:
    """What makes the network of a run, each time with the same random weights."""
    model = _model(config)

    def build() -> Predictor:
        torch.manual_seed(config.seed)
        return build_network(config, model, representation, outputs, training.inputs.shape[1])

    return build


def _train(
    task: Task,
    build: Callable[[], Predictor],
    units: Mapping[str, str],
    record: dict[str, Any],
    inputs: tuple[Run, ...],
) -> tuple[Run, list[Row]]:
    """The training itself: the run with its weights on disk, and the history."""
    chosen = try_transforms(task, units, build, record)
    targets = fit_targets(task.config, task.data["train"], units, chosen)
    network = build()
    loop = fit(task, network, targets, task.config.training, CHECKPOINT)
    record["model"] |= network.recorded()
    record["files"] = save_model(task.folder, network, task.scaling)
    record["files"] |= save_snapshots(task.folder, loop.snapshots, network.name)
    run = Run(
        task.folder,
        task.config,
        record,
        task.representation,
        network,
        task.scaling,
        targets,
        inputs,
        with_weights(network, loop.snapshots),
    )
    return _with_thresholds(run, task.data["validation"]), loop.history


def _model(config: RunConfig) -> dict[str, Any]:
    """Name and all parameters of the model."""
    parameters = all_parameters(config.model.name, **config.model.parameters)
    return {"name": config.model.name, **parameters}


def _described(task: Task, network: Predictor) -> dict[str, Any]:
    """What a training works on, for the record of a run."""
    return {
        "config": task.config.values(),
        "representation": task.representation.config(),
        "model": _model(task.config),
        "scaling": task.scaling.describe(),
        "n_parameters": count_parameters(network),
        "data": {name: part.describe() for name, part in task.data.items()},
    }


def _check_validation(targets: Sequence[Target], part: Labelled) -> None:
    """Raise TargetError where a target has no validation crystal."""
    if not len(part):
        raise TargetError("no validation crystal is left: nothing to measure the error on")
    empty = np.isnan(part.targets).all(axis=0)
    if empty.any():
        column = targets[int(np.flatnonzero(empty)[0])].column
        raise TargetError(
            f"{column!r} is empty in all validation crystals: nothing to measure its error on; cut "
            "the data in another way, or leave it out"
        )


def _check_classes(targets: Sequence[Target], data: Mapping[str, Labelled]) -> None:
    """Raise TargetError where a class has another value than 0 and 1 in any part of the data."""
    for name, part in data.items():
        for target, values in zip(targets, part.targets.T, strict=True):
            other = values[~np.isnan(values) & (values != 0) & (values != 1)]
            if target.is_class and len(other):
                raise TargetError(
                    f"{target.column!r} is a class, and {other[0]:g} among its {name} values: "
                    "wanted true and false, or 1 and 0"
                )


def _with_thresholds(run: Run, part: Labelled) -> Run:
    """The run with the thresholds of its zeros chosen on validation crystals, and in its record."""
    targets = run.targets
    if any(target.finds_zeros for target in targets):
        outputs, _ = outputs_of(run, part.crystals)
        # With a threshold of 0 the value is that of a crystal that is not 0.
        values, probabilities = values_of(
            [target.with_threshold(0.0) for target in targets], outputs, part.crystals.n_sites
        )
        targets = tuple(
            target.with_threshold(
                choose_threshold(part.targets[:, i], values[:, i], probabilities[:, i])
            )
            if target.finds_zeros
            else target
            for i, target in enumerate(targets)
        )
    record = {**run.record, "targets": [target.describe() for target in targets]}
    return replace(run, targets=targets, record=record)


def _fit_scaling(
    config: RunConfig,
    representation: Representation,
    training: Labelled,
    network: Predictor,
) -> Scaling:
    """Fitted on what the model will see: augmented crystals where training augments them."""
    model = network.predictor if isinstance(network, InputNetwork) else network
    crystals = training.crystals
    if config.augmentation.names:
        rng = np.random.default_rng([config.seed, 0, 0, 2])
        crystals = redescribe(crystals, config.augmentation.names, rng)
    return fit_scaling(
        representation.encode(crystals).arrays,
        config.scaling.kind,
        config.scaling.per,
        ragged_arrays(representation),
        model.unscaled,
    )


def _left_out(data: Mapping[str, Labelled], config: RunConfig) -> list[str]:
    """What a user should know of the data: rows that are not used, and why."""
    lines = []
    for name, part in data.items():
        reasons = count_reasons(part.failures)
        if reasons:
            shown = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
            lines.append(f"{name}: {len(part)} of {part.n} crystals used; left out: {shown}")
    if config.training.loss == "mape":
        for target, values in zip(config.targets, data["train"].targets.T, strict=True):
            zeros = int((values == 0).sum())
            if zeros and target.kind == "value":
                lines.append(f"train: {zeros} crystals whose {target.column} is 0 are in no loss")
    return lines
