"""How every run begins: what the machine can do, the folder, and what its record tells first."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from crystalcodec.io.whole import whole_file
from crystalcodec.workflow.checkpoints import FORMAT
from crystalcodec.workflow.config import ConfigError, RunConfig
from crystalcodec.workflow.precision import used_precision
from crystalcodec.workflow.runs import RECORD, write_json

__all__ = [
    "check_machine",
    "computed_precision",
    "fixed_threads",
    "precision_notice",
    "provenance",
    "start_folder",
    "torch_device",
]


def check_machine(config: RunConfig) -> None:
    """Raise ConfigError where the machine cannot do what the configuration wants."""
    device = config.machine.device
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(device, True):
        raise ConfigError(f"machine.device is {device!r}, torch sees none: use 'auto' or 'cpu'")
    if config.machine.precision == "16-mixed" and device != "cuda" and not there["cuda"]:
        raise ConfigError("machine.precision '16-mixed' needs a CUDA device: use 'bf16-mixed'")


def computed_precision(config: RunConfig) -> str:
    """The precision that the machine computes in, see :func:`used_precision`."""
    return used_precision(config.machine.precision, _device(config))


def precision_notice(config: RunConfig) -> tuple[str, ...]:
    """What to tell where that is not the precision wanted."""
    wanted = config.machine.precision
    if computed_precision(config) == wanted:
        return ()
    kind = {"bf16-mixed": "bfloat16", "16-mixed": "float16"}[wanted]
    return (
        f"machine.precision {wanted!r}: this processor has no fast {kind} and would take many "
        "times as long; it computes in 32-true, which is more exact",
    )


def start_folder(folder: Path, config: RunConfig, record: Mapping[str, Any]) -> None:
    """The folder with its record and configuration, from which on it is this run's."""
    folder.mkdir(parents=True, exist_ok=True)
    # Temporary files that a killed run left; only this run writes in its folder.
    for path in folder.glob(".????????.*"):
        path.unlink(missing_ok=True)
    write_json(folder / RECORD, record)
    with whole_file(folder / "config.toml") as partial:
        Path(partial).write_text(config.to_toml(), encoding="utf-8")


def provenance(command: Sequence[str] | None) -> dict[str, Any]:
    """Format, versions and command, for the record of a run."""
    packages = ("crystalcodec", "numpy", "torch", "lightning", "safetensors")
    versions = {
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
        "platform": platform.platform(),
    }
    command = list(sys.argv if command is None else command)
    return {"format": FORMAT, "versions": versions, "command": command}


@contextmanager
def fixed_threads(threads: int) -> Iterator[None]:
    """Torch with this many threads; with another number a sum may round differently."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def torch_device(config: RunConfig) -> str:
    """Where the runs that give inputs work: on a CUDA device where this one does."""
    return "cuda" if _device(config) == "cuda" else "cpu"


def _device(config: RunConfig) -> str:
    """The kind of device that a training takes; ``auto`` is the first that there is."""
    wanted = config.machine.device
    if wanted != "auto":
        return wanted
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    return next((name for name, found in there.items() if found), "cpu")
