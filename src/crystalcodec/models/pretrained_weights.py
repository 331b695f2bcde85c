"""Weights that others trained: from a folder or the Hugging Face hub, safetensors only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from torch import Tensor, nn

from crystalcodec.models.base import ModelError
from crystalcodec.registry import import_extra

__all__ = ["find_weights"]

CONFIG: Final = "config.json"
WEIGHTS: Final = "model.safetensors"
_SECONDS: Final = 5.0  # until a hub that does not answer counts as out of reach
# Entries of its configuration that change what a MobileNetV2 computes from a picture.
_TOLD: Final = (
    "depth_multiplier",
    "depth_divisible_by",
    "min_depth",
    "expand_ratio",
    "output_stride",
    "first_layer_is_expansion",
    "finegrained_output",
    "hidden_act",
    "tf_padding",
    "layer_norm_eps",
    "num_channels",
    "model_type",
)


def find_weights(weights: str, network: nn.Module) -> tuple[dict[str, Tensor], str]:
    """The tensors of a MobileNetV2 by name, or none and why they could not be reached.

    Parameters
    ----------
    weights
        A folder, or a name on the hub.
    network
        What they are for: a ``MobileNetV2Model``.

    Raises
    ------
    ModelError
        A name that is neither; a hub that has no such weights; files that are missing, damaged
        or of another network.
    """
    if not isinstance(weights, str) or not weights:
        raise ModelError(f"weights is {weights!r}, wanted a folder, a name on the hub or 'random'")
    if Path(weights).expanduser().is_dir():
        return _read(Path(weights).expanduser(), network), ""
    if not _could_be_on_hub(weights):
        raise ModelError(
            f"weights: there is no folder {weights}; wanted one with {CONFIG} and {WEIGHTS}, a "
            "name on the hub such as 'google/mobilenet_v2_1.0_224', or 'random'"
        )
    folder, failure = _from_hub(weights)
    if folder is None:
        return {}, f"there is no folder {weights} here, and {failure}"
    return _read(folder, network), ""


def _could_be_on_hub(name: str) -> bool:
    """Whether it is ``owner/name``, and not a path to a folder that is not there."""
    hub = import_extra("huggingface_hub.utils", "images")
    try:
        hub.validate_repo_id(name)
    except hub.HFValidationError:
        return False
    return name.count("/") == 1 and not Path(name).exists()


def _from_hub(name: str) -> tuple[Path | None, str]:
    """The folder in the hub's cache, filled now where it was not, or why not."""
    hub = import_extra("huggingface_hub", "images")
    errors = import_extra("huggingface_hub.errors", "images")
    try:
        return _files(hub, name, local_files_only=True), ""
    except errors.LocalEntryNotFoundError:
        pass
    # One request without repetition: the hub's own client tries for half a minute.
    try:
        answer = hub.get_session().head(hub.hf_hub_url(name, WEIGHTS), timeout=_SECONDS)
    except Exception as error:  # each version of the hub's client has its own
        return None, f"the hub cannot be reached ({_short(error)})"
    if answer.status_code in (401, 404):
        raise ModelError(
            f"weights: the hub has no {WEIGHTS} of {name!r} that is open to you (status "
            f"{answer.status_code}), and there is no folder of that name"
        )
    if answer.status_code >= 400:
        return None, f"the hub answers with status {answer.status_code}"
    try:
        return _files(hub, name), ""
    except (errors.HfHubHTTPError, OSError) as error:
        return None, f"the download from the hub failed ({_short(error)})"


def _files(hub: object, name: str, **options: bool) -> Path:
    paths = [Path(hub.hf_hub_download(name, file, **options)) for file in (CONFIG, WEIGHTS)]  # type: ignore[attr-defined]
    return paths[0].parent


def _read(folder: Path, network: nn.Module) -> dict[str, Tensor]:
    """Every tensor of the network, none missing; those of a classifier are left behind."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise ModelError(
                f"weights: {folder} has no {name}; only safetensors are read, beside their {CONFIG}"
            )
    _check_config(folder / CONFIG, network)
    try:
        stored = load_file(folder / WEIGHTS)
    except SafetensorError as error:
        raise ModelError(f"weights: {folder / WEIGHTS} is damaged: {error}") from None
    stored = {name.removeprefix("mobilenet_v2."): tensor for name, tensor in stored.items()}
    own = network.state_dict()
    # Files of old versions of torch do not count the batches, and nothing depends on it.
    counters = {
        name: tensor for name, tensor in own.items() if name.endswith("num_batches_tracked")
    }
    found = {**counters, **{name: stored[name] for name in own if name in stored}}
    wrong = [n for n in own if n not in found or found[n].shape != own[n].shape]
    if wrong:
        raise ModelError(
            f"weights: {folder / WEIGHTS} is not of this network: {len(wrong)} of {len(own)} "
            f"tensors are missing or of another shape ({', '.join(wrong[:3])})"
        )
    if any(not tensor.isfinite().all() for tensor in found.values()):
        raise ModelError(f"weights: {folder / WEIGHTS} holds numbers that are not finite")
    return found


def _check_config(path: Path, network: nn.Module) -> None:
    """Raise where the weights were trained in another architecture."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        told = {key: stored[key] for key in _TOLD if key in stored}
    except (ValueError, TypeError) as error:
        raise ModelError(f"weights: {path} is no configuration: {error}") from None
    own = network.config.to_dict()  # type: ignore[operator, union-attr]
    different = [f"{k} {v!r} there, {own[k]!r} here" for k, v in told.items() if v != own[k]]
    if different:
        raise ModelError(f"weights: {path} is of another network: {'; '.join(different)}")


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0].rstrip(".")
