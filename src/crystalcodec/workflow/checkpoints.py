"""State on disk without pickle: tensors as safetensors, everything else as JSON beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import safetensors
import safetensors.torch
import torch

from crystalcodec.io.whole import whole_file

__all__ = [
    "FORMAT",
    "CheckpointError",
    "load_state",
    "load_weights",
    "read_header",
    "save_state",
    "save_weights",
]

FORMAT: Final = 1
"""Version of the files of a run; another version is refused."""

_KEY: Final = "crystalcodec"


class CheckpointError(ValueError):
    """A file of weights or of training state that cannot be used: damaged, or not ours."""


def save_state(path: Path, state: Mapping[str, Any], header: Mapping[str, Any]) -> None:
    """Write nested dicts and lists of tensors, numbers, text and None as one safetensors file.

    Whole or not at all. ``header`` is JSON that :func:`read_header` gives without the tensors.
    """
    tensors: dict[str, torch.Tensor] = {}
    rest = _split(state, tensors)
    _write(path, tensors, {"header": dict(header), "state": rest})


def save_weights(
    path: Path, weights: Mapping[str, torch.Tensor], header: Mapping[str, Any]
) -> None:
    """Write tensors under their own names, as any reader of safetensors sees them."""
    plain = {name: t.detach().cpu().clone().contiguous() for name, t in weights.items()}
    _write(path, plain, {"header": dict(header), "state": None})


def load_weights(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Tensors by name and the header of a file of :func:`save_weights`.

    Raises as :func:`load_state` does.
    """
    header = read_header(path)
    try:
        return safetensors.torch.load_file(path), header
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"{path} is damaged: {error}") from None


def _write(path: Path, tensors: dict[str, torch.Tensor], document: dict[str, Any]) -> None:
    content = safetensors.torch.save(tensors, {_KEY: json.dumps({"format": FORMAT, **document})})
    # Bytes through the file system, and not safetensors' own writer, whose errors of a full disk
    # are no OSError.
    with whole_file(path) as partial:
        Path(partial).write_bytes(content)


def load_state(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """State and header of a file that :func:`save_state` wrote; tensors on the CPU.

    Raises
    ------
    CheckpointError
        A damaged file, one of another format version, or one that is not ours.
    """
    document = _document(path)
    try:
        tensors = safetensors.torch.load_file(path)
        return _join(document["state"], tensors), document["header"]
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from None


def read_header(path: Path) -> dict[str, Any]:
    """The header alone; raises as :func:`load_state` does."""
    header: dict[str, Any] = _document(path)["header"]
    return header


def _document(path: Path) -> dict[str, Any]:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(_KEY)
    except FileNotFoundError:
        raise CheckpointError(f"no file {path}") from None
    except (safetensors.SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is damaged or no safetensors file: {error}") from None
    if text is None:
        raise CheckpointError(f"{path} was not written by crystalcodec")
    try:
        document: dict[str, Any] = json.loads(text)
        version = document["format"]
        _ = document["header"], document["state"]
    except (ValueError, KeyError, TypeError):
        raise CheckpointError(f"{path} is damaged: its header does not parse") from None
    if version != FORMAT:
        raise CheckpointError(
            f"{path} has format version {version}, this crystalcodec reads {FORMAT}: use the "
            "version that wrote it, or train again"
        )
    return document


def _split(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """JSON of a nested value; its tensors go to ``tensors`` and leave their key."""
    if isinstance(value, torch.Tensor):
        key = f"t{len(tensors)}"
        # A copy: safetensors refuses tensors that share memory.
        tensors[key] = value.detach().cpu().clone().contiguous()
        return {"tensor": key}
    if isinstance(value, Mapping):
        return {"dict": [[key, _split(entry, tensors)] for key, entry in value.items()]}
    if isinstance(value, list | tuple):
        return {"list": [_split(entry, tensors) for entry in value]}
    return value


def _join(value: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {key: _join(entry, tensors) for key, entry in content}
    return [_join(entry, tensors) for entry in content]
