"""Guidance of a generator by a trained predictor's run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from crystalcodec.generators.base import Generator
from crystalcodec.generators.guidance import PredictorGuidance
from crystalcodec.models.base import ModelError
from crystalcodec.representations.base import Representation
from crystalcodec.workflow.ensembles import Ensemble
from crystalcodec.workflow.generating.decoders import DECODING
from crystalcodec.workflow.prediction import opened
from crystalcodec.workflow.runs import Run
from crystalcodec.workflow.targets import Target

__all__ = ["Guide", "guidance_by_run", "open_guide", "property_function"]

_TOLERANCE: Final = 0.1  # of the mean absolute deviation of training values


@dataclass(frozen=True)
class Guide:
    """What a predictor's run guides samples to.

    Parameters
    ----------
    guidance
        One for each value, for the sample setting ``predictor_guidance``.
    values
        By property.
    record
        Run, hashes of its files, values and strength, ready for JSON.
    """

    guidance: tuple[PredictorGuidance, ...]
    values: Mapping[str, float]
    record: Mapping[str, Any]


def open_guide(
    folder: str | Path, generator: Generator, wanted: Mapping[str, float], strength: float = 1.0
) -> Guide:
    """Guidance to those of the wanted values that the predictor in a folder has as targets.

    Raises as :func:`guidance_by_run` does, and ModelError where it has none of them.
    """
    model = opened(folder)
    runs = model.members if isinstance(model, Ensemble) else (model,)
    columns = [target.column for target in model.targets]
    values = {name: value for name, value in wanted.items() if name in columns}
    if not values:
        asked = ", ".join(wanted) or "no value"
        raise ModelError(
            f"the predictor in {folder} tells {', '.join(columns)}, and {asked} is wanted: give "
            "such as --where " + f"{columns[0]}=1"
        )
    if "predictor_guidance" not in generator.sample_settings():
        raise ModelError(
            f"generator {generator.name!r} takes no guidance by a predictor: wanted one of "
            "the generator 'diffusion'"
        )
    guidance = tuple(
        guidance_by_run(model, generator, name, value, strength=strength)
        for name, value in values.items()
    )
    record = {
        "run": str(folder),
        "files": [dict(run.record["files"]) for run in runs],
        "values": values,
        "strength": strength,
    }
    return Guide(guidance, values, record)


def guidance_by_run(
    run: Run | Ensemble | str | Path,
    generator: Generator,
    column: str,
    value: float,
    *,
    tolerance: float | None = None,
    strength: float = 1.0,
) -> PredictorGuidance:
    """Guidance to samples of which a trained predictor tells a value.

    Parameters
    ----------
    run
        A run of a predictor, several as one, or the folder; its networks go to the device of the
        generator.
    generator
        Of the same representation; parameters of the decoder may differ.
    column
        One of the targets of the run.
    value
        What is wanted, in the unit of the target.
    tolerance
        How far off it may be, one standard deviation; a tenth of the mean absolute deviation of
        the run's training values where None.
    strength
        See :class:`~crystalcodec.generators.guidance.PredictorGuidance`.

    Raises
    ------
    RunError
        No finished run of a predictor, or damaged files.
    ModelError
        A run of another representation, of other targets, or one whose values are not a function
        of the arrays alone.
    """
    device = generator.device
    model = opened(run)
    predict = property_function(model, generator.representation, column, device)
    allowed = _TOLERANCE * _target(model, column).deviation if tolerance is None else tolerance
    return PredictorGuidance(predict, value, allowed, strength)


def property_function(
    run: Run | Ensemble | str | Path,
    representation: Representation,
    column: str,
    device: str | torch.device = "cpu",
) -> Any:
    """From arrays of a representation, as tensors in its units, to a property (n,), with slopes.

    The mean over all networks of the run, each with its own scaling, the transform of the target
    undone. Of a class it is the probability; a classifier of zeros is left out, since it jumps.

    Raises
    ------
    RunError, ModelError
        As :func:`guidance_by_run`.
    """
    model = opened(run)
    _target(model, column)
    for member in model.members:
        _check(member, representation)
    place = [one.column for one in model.targets].index(column)
    scalings = [_scaling(member, torch.device(device)) for member in model.members]
    for member in model.members:
        for network in member.networks:
            network.to(device).eval()

    def predict(arrays: Mapping[str, Tensor]) -> Tensor:
        told = []
        for member, scaling in zip(model.members, scalings, strict=True):
            scaled = {
                name: (array - scaling[name][0]) * scaling[name][1] if name in scaling else array
                for name, array in arrays.items()
            }
            outputs = [network(scaled)[:, place] for network in member.networks]
            own = member.targets[place]
            told.append(_value(own, torch.stack(outputs).mean(0)))
        return torch.stack(told).mean(0)

    return predict


def _value(target: Target, outputs: Tensor) -> Tensor:
    """Values of a network's outputs."""
    return outputs.sigmoid() if target.is_class else target.transform.undo_tensor(outputs)


def _target(model: Ensemble, column: str) -> Target:
    for target in model.targets:
        if target.column == column:
            if target.extensive:
                raise ModelError(
                    f"{column!r} grows with the number of sites, which arrays tell by steps: "
                    "wanted a predictor of the value of one site"
                )
            return target
    known = ", ".join(target.column for target in model.targets)
    raise ModelError(f"the run in {model.folder} predicts {known}, not {column!r}")


def _check(run: Run, representation: Representation) -> None:
    """Raise ModelError where a run reads other arrays than those of the representation."""
    if run.inputs:
        raise ModelError(
            f"the run in {run.folder} reads what other runs predict of a crystal, which an array "
            "has no slope for: wanted a predictor without inputs"
        )
    mine, theirs = representation.config(), run.representation.config()
    if mine["name"] != theirs["name"]:
        raise ModelError(
            f"the run in {run.folder} reads {theirs['name']}, the generator makes {mine['name']}: "
            "train a predictor on the same representation"
        )
    other = [
        f"{key} {theirs.get(key)!r}, not {mine[key]!r}"
        for key in mine
        if key not in DECODING and not _same(mine[key], theirs.get(key))
    ]
    if other:
        raise ModelError(
            f"the run in {run.folder} reads another {mine['name']} than the generator makes "
            f"({'; '.join(other)}): train a predictor on the same"
        )


def _same(one: Any, other: Any) -> bool:
    return bool(np.all(np.asarray(one, object) == np.asarray(other, object)))


def _scaling(run: Run, device: torch.device) -> dict[str, tuple[Tensor, Tensor]]:
    """Offset and inverse width of each array, as the run scales them."""
    found = {}
    for name, offset in run.scaling.offsets.items():
        width = run.scaling.widths[name]
        varies = width >= np.finfo(np.float32).tiny
        inverse = np.divide(1, width, out=np.zeros_like(width), where=varies)
        found[name] = (
            torch.tensor(offset, device=device),
            torch.tensor(inverse, device=device),
        )
    return found
