"""The run folder: what it holds, whose it is, and how a trained model comes back out of it."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from crystalcodec.io.locking import LOCK, locked
from crystalcodec.io.whole import whole_file
from crystalcodec.models.base import Predictor
from crystalcodec.models.scaling import Scaling
from crystalcodec.representations.base import Representation, RepresentationError
from crystalcodec.representations.storage import representation_from
from crystalcodec.workflow.checkpoints import FORMAT, load_weights, save_weights
from crystalcodec.workflow.config import ConfigError, RunConfig
from crystalcodec.workflow.input_network import build_network
from crystalcodec.workflow.targets import Target, n_outputs

__all__ = ["Run", "RunError", "open_run", "write_json"]

CHECKPOINT: Final = "checkpoint.safetensors"
MODEL: Final = "model.safetensors"
SCALING: Final = "scaling.safetensors"
RECORD: Final = "run.json"
INPUTS: Final = "inputs"
SNAPSHOT: Final = "snapshot-{}.safetensors"
"""Weights at the end of a cycle, counted from 1; those of the last are the model's."""


class RunError(ValueError):
    """A folder that is no run, holds another one, or has damaged files."""


@dataclass(frozen=True)
class Run:
    """A trained model and everything that is needed to predict with it.

    ``record`` is what ``run.json`` holds: versions, data hashes, figures and so on. ``inputs`` are
    the runs whose predictions this one takes as inputs. The mean of the outputs of ``predictor``
    and of ``snapshots``, the networks at the ends of earlier cycles, is what the run tells.
    """

    folder: Path
    config: RunConfig
    record: Mapping[str, Any]
    representation: Representation
    predictor: Predictor
    scaling: Scaling
    targets: tuple[Target, ...]
    inputs: tuple[Run, ...] = ()
    snapshots: tuple[Predictor, ...] = ()

    @property
    def networks(self) -> tuple[Predictor, ...]:
        """All of its networks, the last one last."""
        return (*self.snapshots, self.predictor)

    @property
    def target(self) -> str:
        """Name of the predicted property; of several, all of them."""
        return ", ".join(target.column for target in self.targets)

    @property
    def unit(self) -> str:
        """Unit of the predicted property, empty where the data told none, and of several."""
        return self.targets[0].unit if len(self.targets) == 1 else ""


def identity(
    config: RunConfig, hashes: Mapping[str, str], inputs: Sequence[Run] = ()
) -> dict[str, Any]:
    """What makes a run this run: settings that change its numbers, and the hashes of its data.

    A run that gives an input counts by what it is, and not by where it lies.
    """
    values = config.values()
    values["machine"] = {"precision": config.machine.precision}
    values["data"] = {
        "seed": config.data.split_seed,
        "fractions": values["data"].get("fractions"),
        **hashes,
    }
    values["inputs"]["runs"] = [
        digest({"identity": run.record["identity"], "files": run.record["files"]}) for run in inputs
    ]
    return values


def digest(document: Mapping[str, Any]) -> str:
    """SHA-256 of a JSON document, keys sorted."""
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def claim(folder: Path, wanted: Mapping[str, Any]) -> dict[str, Any] | None:
    """The record of the same run in this folder, None where the folder is free.

    Raises
    ------
    RunError
        The folder holds another run, or something else.
    """
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} is a file: give a folder for the run")
    if not folder.exists() or not any(folder.iterdir()):
        return None
    if not (folder / RECORD).exists():
        visible = [path.name for path in folder.iterdir() if not path.name.startswith(".")]
        if not visible:
            return None
        raise RunError(
            f"{folder} holds other files ({', '.join(sorted(visible)[:3])}) and no run: give an "
            "empty or new folder"
        )
    record = read_record(folder)
    differences = _differences(record.get("identity", {}), wanted)
    if differences:
        raise RunError(
            f"{folder} holds another run ({'; '.join(differences[:4])}): give another folder, or "
            "delete this one"
        )
    return record


def alone_in(folder: Path) -> AbstractContextManager[None]:
    """The folder of a run, while no other process trains in it; RunError where one does."""
    busy = f"another process trains in {folder}: wait for it, or give another folder"
    return locked(folder / LOCK, RunError(busy))


def read_record(folder: Path) -> dict[str, Any]:
    """``run.json`` of a folder, or RunError."""
    path = folder / RECORD
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        version = record["format"]
    except FileNotFoundError:
        raise RunError(f"{folder} is no run folder: there is no {RECORD} in it") from None
    except (ValueError, KeyError, TypeError):
        raise RunError(f"{path} is damaged: it is no JSON record of a run") from None
    if version != FORMAT:
        raise RunError(
            f"{folder} is a run of format version {version}, this crystalcodec reads {FORMAT}: "
            "use the version that made it, or train again"
        )
    return record


def check_predicts(folder: Path, record: Mapping[str, Any]) -> None:
    """Raise RunError for a run of a generator, whose record has conditions and no target."""
    if "conditions" in record:
        raise RunError(
            f"the run in {folder} is a generator's: `crystalcodec generate` takes it; wanted one "
            "of a predictor"
        )


def write_json(path: Path, document: Any) -> None:
    """Write JSON, whole or not at all; a number that is not finite becomes null."""
    with whole_file(path) as partial:
        Path(partial).write_text(
            json.dumps(finite(document), indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
        )


def finite(value: Any) -> Any:
    """The same nested value with None for NaN and infinity, which JSON has not."""
    if isinstance(value, Mapping):
        return {key: finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [finite(entry) for entry in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def save_model(folder: Path, predictor: Predictor, scaling: Scaling) -> dict[str, str]:
    """Write weights and scaling; gives the SHA-256 of each file."""
    arrays = {name: torch.from_numpy(array) for name, array in scaling.to_arrays().items()}
    save_weights(folder / SCALING, arrays, scaling.describe())
    save_weights(folder / MODEL, predictor.state_dict(), {"model": predictor.name})
    return {name: sha256(folder / name) for name in (MODEL, SCALING)}


def open_run(folder: str | Path, device: str | torch.device = "cpu") -> Run:
    """Load a finished run.

    Raises
    ------
    RunError
        No run, one that is not finished, of another format version, or with damaged files.
    """
    folder = Path(folder)
    record = read_record(folder)
    check_predicts(folder, record)
    if record.get("status") != "finished":
        raise RunError(
            f"the run in {folder} is not finished: the train command that began it goes on where "
            "it stopped"
        )
    for name in (MODEL, SCALING):
        check_file(folder, name, record)
    try:
        # A run of one target alone was written without the list.
        targets = tuple(map(Target.of, record.get("targets") or [record["target"]]))
        config = RunConfig.of(record["config"])
        # With every default written out, so that it does not matter if a default changes.
        representation = representation_from(record["representation"])
        model = {"name": record["model"]["name"], **record["model"]}
    except (KeyError, TypeError, ConfigError, RepresentationError) as error:
        raise RunError(f"{folder / RECORD} is damaged: {error!r}") from None
    n_inputs = len(config.inputs.runs)
    inputs = tuple(open_run(folder / INPUTS / str(i), device) for i in range(n_inputs))
    # The random start is overwritten; the caller's random numbers go on as if it had not been.
    with torch.random.fork_rng():
        predictor = build_network(
            config, model, representation, n_outputs(targets), sum(len(r.targets) for r in inputs)
        )
    _fill(predictor, folder / MODEL)
    predictor.to(device).eval()
    snapshots = tuple(copy.deepcopy(predictor) for _ in range(1, config.training.snapshots or 1))
    for i, snapshot in enumerate(snapshots, 1):
        _fill(snapshot, check_file(folder, SNAPSHOT.format(i), record))
    arrays, kind = load_weights(folder / SCALING)
    scaling = Scaling.from_arrays(
        kind["kind"], kind["per"], {name: tensor.numpy() for name, tensor in arrays.items()}
    )
    return Run(
        folder, config, record, representation, predictor, scaling, targets, inputs, snapshots
    )


def _fill(network: Predictor, path: Path) -> None:
    """Give a network the weights of a file, or RunError."""
    weights, _ = load_weights(path)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise RunError(f"{path} does not fit its model: {error}") from None


def check_file(folder: Path, name: str, record: Mapping[str, Any]) -> Path:
    """The path of a run's file, or RunError where it is missing or not the one of the record."""
    if not (folder / name).is_file():
        raise RunError(f"{folder / name} is missing: train again into another folder")
    if sha256(folder / name) != record.get("files", {}).get(name):
        raise RunError(
            f"{folder / name} is damaged or of another run (its SHA-256 is not the one in "
            f"{RECORD}): restore it from a copy, or train again"
        )
    return folder / name


def _differences(stored: Any, wanted: Any, key: str = "") -> list[str]:
    """Where two nested documents differ, in words."""
    if isinstance(stored, Mapping) and isinstance(wanted, Mapping):
        keys = [*wanted, *(k for k in stored if k not in wanted)]
        return [
            line
            for k in keys
            for line in _differences(stored.get(k), wanted.get(k), f"{key}.{k}" if key else k)
        ]
    if stored == wanted:
        return []
    if key.startswith("data."):
        return [f"{key}: other data"]
    return [f"{key}: {json.dumps(stored)} there, {json.dumps(wanted)} wanted"]


def sha256(path: Path) -> str:
    """SHA-256 of a file, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
