"""A run whose samples are decoded otherwise than it was configured."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import replace
from typing import Any, Final

from crystalcodec.registry import did_you_mean
from crystalcodec.representations.base import Representation
from crystalcodec.representations.storage import representation_from
from crystalcodec.workflow.generating.folders import GenerationError
from crystalcodec.workflow.generating.runs import GeneratorRun

__all__ = ["DECODING", "decoding_parameters", "with_decoding"]

DECODING: Final = frozenset(
    {
        "decoder",
        "lenient",
        "max_noise",
        "max_residual",
        "min_confidence",
        "noise_limit",
        "threshold",
        "tolerance",
    }
)
"""Parameters of representations that change what is decoded, and not what is encoded."""


def decoding_parameters(representation: Representation) -> dict[str, Any]:
    """Those that a representation has, and their values."""
    return {name: value for name, value in representation.config().items() if name in DECODING}


def with_decoding(run: GeneratorRun, parameters: Mapping[str, Any]) -> GeneratorRun:
    """The run, whose samples are decoded with other parameters than it was trained with.

    The generator of what is given stays as it is; that of the new run shares its weights.

    Raises
    ------
    GenerationError
        A parameter that does not decode, or that the representation does not have.
    RepresentationError
        A value that it does not take.
    """
    if not parameters:
        return run
    there = decoding_parameters(run.representation)
    for name in parameters:
        if name not in there:
            known = ", ".join(sorted(there)) or "none"
            raise GenerationError(
                f"{run.representation.name} is not decoded by {name!r}"
                f"{did_you_mean(name, sorted(there))}; what decodes it: {known}. Other parameters "
                "are those of the training"
            )
    config = {**run.representation.config(), **parameters}
    generator = copy(run.generator)
    generator.representation = representation_from(config)
    return replace(run, representation=generator.representation, generator=generator)
