"""Train a generator: from a configuration to a finished run folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from crystalcodec.data import Dataset
from crystalcodec.elements import SYMBOLS
from crystalcodec.failures import count_reasons
from crystalcodec.generators.base import Generator, build_generator, generator_parameters
from crystalcodec.generators.conditions import Conditions
from crystalcodec.models.base import count_parameters
from crystalcodec.representations.base import Representation, held_crystals
from crystalcodec.representations.storage import representation_from
from crystalcodec.workflow.config import ConfigError, RunConfig
from crystalcodec.workflow.fitting import make_fabric, run_loop
from crystalcodec.workflow.generating.pictures import (
    is_pictured,
    write_history,
    write_sample_picture,
)
from crystalcodec.workflow.generating.runs import GeneratorRun, open_generator, save_generator
from crystalcodec.workflow.generating.sources import ArraySource, CrystalArrays
from crystalcodec.workflow.runs import (
    CHECKPOINT,
    RECORD,
    alone_in,
    claim,
    digest,
    identity,
    write_json,
)
from crystalcodec.workflow.samples import Batch, redescribe, split_share
from crystalcodec.workflow.splits import load_splits
from crystalcodec.workflow.starting import (
    check_machine,
    computed_precision,
    fixed_threads,
    precision_notice,
    provenance,
    start_folder,
)
from crystalcodec.workflow.targets import target_values

__all__ = ["GeneratorObjective", "train_generator"]

_PREPARED: Final = 8192  # crystals, at most, whose arrays a generator is prepared with
_PREPARED_BYTES: Final = 1 << 30
_VALIDATED: Final = 4096  # held-out crystals, at most, that its loss is measured on


@dataclass
class GeneratorObjective:
    """The loss of a generator, and its figures on held-out crystals.

    Parameters
    ----------
    held_out
        Their arrays and conditions.
    batch_size
        Crystals at a time.
    seed
        Of the random numbers of validation, the same each time.
    autocast
        Makes the context that a validation runs in, for its precision.
    """

    held_out: CrystalArrays
    batch_size: int
    seed: int
    autocast: Callable[[], Any]

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """The loss that the generator gives."""
        loss: Tensor = network(batch)
        return loss

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Means of the generator's figures."""
        assert isinstance(network, Generator)
        order = torch.arange(self.held_out.n, device=self.held_out.device)
        sums: dict[str, Tensor] = {}
        with torch.random.fork_rng(), self.autocast():
            torch.manual_seed(self.seed)
            for index in torch.split(order, self.batch_size):
                for name, value in network.figures(self.held_out.batch(index)).items():
                    sums[name] = sums.get(name, 0.0) + value.double() * len(index)
        return {f"validation_{k}": float(v) / self.held_out.n for k, v in sums.items()}


@dataclass(frozen=True)
class Told:
    """Crystals of a split that can be encoded, and the property columns beside them."""

    crystals: Any
    columns: Mapping[str, npt.NDArray[np.float64]]
    record: Mapping[str, Any]


def train_generator(
    config: RunConfig,
    folder: str | Path,
    *,
    progress: bool | None = None,
    command: Sequence[str] | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> GeneratorRun:
    """Train a generator; parameters and errors are those of ``workflow.training.train``.

    Raises
    ------
    ConditionError
        Conditions that cannot be learnt from these data.
    """
    folder = Path(folder)
    check_machine(config)
    representation = representation_from(config.representation.model_dump())
    for entry in config.augmentation.names:
        split_share(entry)
    told = config.conditions
    columns = list(told.values) if told else []
    datasets, units = load_splits(config.data, columns)
    wanted = identity(config, {name: part.content_hash for name, part in datasets.items()})
    found = claim(folder, wanted)
    if found is not None and found["status"] == "finished":
        say(f"{folder} holds this run, finished: nothing to do")
        return open_generator(folder)
    if found is not None:
        say(f"going on with the run in {folder}")
    if representation.needs_fit:
        representation = representation.fit(datasets["train"].crystals)
    with fixed_threads(config.machine.threads), torch.random.fork_rng():
        parts = {
            name: _told(part, columns, representation, name) for name, part in datasets.items()
        }
        for line in precision_notice(config):
            say(line)
        _say_left_out(parts, say)
        conditions = Conditions.fit(told.crystal if told else (), parts["train"].columns, units)
        parameters = generator_parameters(config.model.name, **config.model.parameters)
        torch.manual_seed(config.seed)
        generator = build_generator(config.model.name, representation, conditions, **parameters)
        _prepare(generator, parts["train"], config)
        record = {
            **provenance(command),
            "status": "training",
            "identity": wanted,
            "precision": computed_precision(config),
            "config": config.values(),
            "representation": representation.config(),
            "model": {"name": config.model.name, **parameters},
            "conditions": conditions.describe(),
            "n_parameters": count_parameters(generator),
            "data": {name: dict(part.record) for name, part in parts.items()},
        }
        with alone_in(folder):
            start_folder(folder, config, record)
            history = _fit(generator, parts, config, folder, digest(wanted), progress, say)
            record["files"] = save_generator(folder, generator)
            record["history"] = history[-1] if history else {}
            write_history(folder, history)
            record["status"] = "finished"
            write_json(folder / RECORD, record)
            (folder / CHECKPOINT).unlink(missing_ok=True)
    return open_generator(folder)


def _told(
    dataset: Dataset, columns: Sequence[str], representation: Representation, what: str
) -> Told:
    """The crystals that can be encoded; every cell is made right-handed, which moves no atom."""
    crystals = dataset.crystals.right_handed()
    failures = representation.refuse(crystals)
    held, index = held_crystals(crystals, failures)
    if not len(held):
        reasons = ", ".join(count_reasons(failures))
        raise ConfigError(f"{representation.name} holds none of the {what} crystals: {reasons}")
    record = {
        "n": len(crystals),
        "n_used": len(held),
        "failures": count_reasons(failures),
        "content_hash": dataset.content_hash,
        "elements": [SYMBOLS[number] for number in np.unique(held.numbers)],
    }
    values = {column: target_values(dataset, column, what)[index] for column in columns}
    return Told(held, values, record)


def _say_left_out(parts: Mapping[str, Told], say: Callable[[str], None]) -> None:
    for name, part in parts.items():
        if reasons := part.record["failures"]:
            shown = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
            say(
                f"{name}: {part.record['n_used']} of {part.record['n']} crystals used; left out: "
                f"{shown}"
            )


def _prepare(generator: Generator, part: Told, config: RunConfig) -> None:
    """Show the generator the training data, described as it will see them."""
    crystals, representation = part.crystals, generator.representation
    if config.augmentation.names:
        rng = np.random.default_rng([config.seed, 0, 0, 2])
        crystals = redescribe(crystals, config.augmentation.names, rng)
    each = max(1, representation.n_bytes(crystals[:1]))
    n = min(len(crystals), _PREPARED, max(2, _PREPARED_BYTES // each))
    rng = np.random.default_rng([config.seed, 0, 0, 3])
    chosen = np.sort(rng.choice(len(crystals), n, replace=False))
    arrays = representation.encode(crystals[chosen]).arrays
    tensors = {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
    generator.prepare(crystals, tensors)


def _fit(
    generator: Generator,
    parts: Mapping[str, Told],
    config: RunConfig,
    folder: Path,
    name: str,
    progress: bool | None,
    say: Callable[[str], None],
) -> list[dict[str, float]]:
    fabric = make_fabric(config.machine)
    representation, conditions = generator.representation, generator.conditions
    train, held_out = parts["train"], parts["validation"]
    source = ArraySource(
        train.crystals,
        representation,
        conditions.of(train.crystals, train.columns),
        config.augmentation.names,
        config.seed,
        fabric.device,
    )
    n = min(len(held_out.crystals), _VALIDATED)
    rng = np.random.default_rng([config.seed, 0, 0, 4])
    chosen = np.sort(rng.choice(len(held_out.crystals), n, replace=False))
    extra = conditions.of(
        held_out.crystals[chosen], {k: v[chosen] for k, v in held_out.columns.items()}
    )
    validated = CrystalArrays(held_out.crystals[chosen], representation, extra, fabric.device)
    size = config.training.batch_size
    objective = GeneratorObjective(validated, size, config.seed, fabric.autocast)

    def on_epoch(network: nn.Module, row: Mapping[str, float]) -> None:
        epoch = int(row["epoch"])
        judged = any(key.startswith("validation_") for key in row)
        if judged and is_pictured(epoch, config.training):
            assert isinstance(network, Generator)
            write_sample_picture(folder, network, epoch, config.seed, say)

    loop = run_loop(
        generator,
        objective,
        source,
        config.training,
        config.machine,
        config.seed,
        fabric=fabric,
        checkpoint=folder / CHECKPOINT,
        identity=name,
        progress=progress,
        on_epoch=on_epoch,
    )
    return loop.history
