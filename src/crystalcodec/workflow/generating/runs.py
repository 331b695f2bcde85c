"""The run folder of a generator, and how a trained one comes back out of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from crystalcodec.generators.base import Generator, build_generator
from crystalcodec.generators.conditions import ConditionError, Conditions
from crystalcodec.registry import PRETRAINED_GENERATORS, did_you_mean
from crystalcodec.representations.base import Representation, RepresentationError
from crystalcodec.representations.storage import representation_from
from crystalcodec.workflow.checkpoints import load_weights, save_weights
from crystalcodec.workflow.config import ConfigError, RunConfig
from crystalcodec.workflow.ensembles import seed_folders
from crystalcodec.workflow.pretrained import FOLDER as PRETRAINED_FOLDER
from crystalcodec.workflow.runs import MODEL, RECORD, RunError, check_file, read_record, sha256

__all__ = ["FOLDER", "GeneratorRun", "find_generator", "open_generator", "save_generator"]

FOLDER: Final = PRETRAINED_FOLDER / "generators"
"""One folder a generator of the package: its run, as training writes it, and ``card.md``."""


@dataclass(frozen=True)
class GeneratorRun:
    """A trained generator and everything that is needed to sample it.

    ``record`` is what ``run.json`` holds: versions, data hashes, figures and so on.
    """

    folder: Path
    config: RunConfig
    record: Mapping[str, Any]
    representation: Representation
    generator: Generator

    @property
    def conditions(self) -> Conditions:
        """What it can be asked for."""
        return self.generator.conditions


def save_generator(folder: Path, generator: Generator) -> dict[str, str]:
    """Write the weights; gives the SHA-256 of each file."""
    save_weights(folder / MODEL, generator.state_dict(), {"generator": generator.name})
    return {MODEL: sha256(folder / MODEL)}


def open_generator(folder: str | Path, device: str | torch.device = "cpu") -> GeneratorRun:
    """Load a finished run of a generator.

    Raises
    ------
    RunError
        No run, one of a predictor, one that is not finished, of another format version, or with
        damaged files.
    """
    folder = Path(folder)
    record = read_record(folder)
    if "conditions" not in record:
        raise RunError(
            f"the run in {folder} is a predictor's: `crystalcodec predict` takes it; wanted one of "
            "a generator"
        )
    if record.get("status") != "finished":
        raise RunError(
            f"the run in {folder} is not finished: the train command that began it goes on where "
            "it stopped"
        )
    path = check_file(folder, MODEL, record)
    try:
        config = RunConfig.of(record["config"])
        # With every default written out, so that it does not matter if a default changes.
        representation = representation_from(record["representation"])
        conditions = Conditions.from_records(record["conditions"])
        model = dict(record["model"])
        name = model.pop("name")
    except (KeyError, TypeError, ConfigError, ConditionError, RepresentationError) as error:
        raise RunError(f"{folder / RECORD} is damaged: {error!r}") from None
    # The random start is overwritten; the caller's random numbers go on as if it had not been.
    with torch.random.fork_rng():
        generator = build_generator(name, representation, conditions, **model)
    weights, _ = load_weights(path)
    try:
        # Weights may be kept in half precision to be small.
        own = generator.state_dict()
        generator.load_state_dict(
            {k: t.to(own[k].dtype) if k in own else t for k, t in weights.items()}
        )
    except RuntimeError as error:
        raise RunError(f"{path} does not fit its model: {error}") from None
    generator.to(device).eval()
    return GeneratorRun(folder, config, record, representation, generator)


def find_generator(
    model: str | Path | None = None,
    *,
    seed: int | None = None,
    device: str | torch.device = "cpu",
) -> GeneratorRun:
    """The generator of a run folder, of a folder of seeds, or of a name in the package.

    Parameters
    ----------
    model
        A folder, or a name of :data:`~crystalcodec.registry.PRETRAINED_GENERATORS`, the first of
        which is taken where None.
    seed
        Which of the ``seed-N`` runs of a folder; the first where None.

    Raises
    ------
    RunError
        No such folder and no such name, no run of that seed, or what :func:`open_generator`
        refuses.
    """
    known = PRETRAINED_GENERATORS
    if model is None:
        if not known:
            raise RunError(
                "there is no generator in the package yet: give --model the folder of a run that "
                "`crystalcodec train` made"
            )
        model = next(iter(known))
    folder = Path(model)
    if not folder.exists() and str(model) in known:
        folder = FOLDER / known[str(model)]
    if not folder.exists():
        raise RunError(
            f"no folder {model}, and no generator of the package of that name"
            f"{did_you_mean(str(model), known)}"
        )
    seeds = [] if (folder / RECORD).exists() else seed_folders(folder)
    if seed is None:
        return open_generator(seeds[0] if seeds else folder, device)
    if (chosen := folder / f"seed-{seed}") not in seeds:
        there = ", ".join(path.name for path in seeds) or "no seed-N run"
        raise RunError(f"{folder} holds no run seed-{seed}: it holds {there}")
    return open_generator(chosen, device)
