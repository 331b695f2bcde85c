"""What is to be generated: the options checked, and what is told of them afterwards."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from crystalcodec.crystals import Crystals
from crystalcodec.evaluation.base import Progress
from crystalcodec.failures import Failure, count_reasons
from crystalcodec.generators.conditions import Wanted
from crystalcodec.relaxation.base import Relaxed, packages_of
from crystalcodec.representations.base import InvertibleRepresentation
from crystalcodec.workflow.generating.cleaning import Step
from crystalcodec.workflow.generating.folders import FORMAT, GenerationError
from crystalcodec.workflow.generating.funnel import Funnel
from crystalcodec.workflow.generating.runs import GeneratorRun
from crystalcodec.workflow.judge_store import versions
from crystalcodec.workflow.runs import MODEL

__all__ = [
    "Plan",
    "check_options",
    "check_representation",
    "device_of",
    "potential_of",
    "record_of",
    "told",
]

_POTENTIAL: Final = "chgnet-0.3.0"


@dataclass(frozen=True)
class Plan:
    """What is to be done, checked; parameters are those of ``generate``."""

    run: GeneratorRun
    wanted: Wanted
    n: int
    seed: int
    batch_size: int
    settings: Mapping[str, Any]
    steps: tuple[Step, ...]
    drop_invalid: bool
    potential: str
    train: Crystals | None
    held_out: Crystals | None
    hull: Any
    judge: bool
    baselines: bool
    predict: bool
    jobs: int
    folder: Path | None
    progress: Progress | None
    guide: Mapping[str, Any] = field(default_factory=dict)
    decoding: Mapping[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add what a stage takes to the seconds."""
        began = time.perf_counter()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - began

    def tell(self, what: str, done: int, of: int) -> None:
        """Report progress, where somebody listens."""
        if self.progress is not None:
            self.progress(what, done, of)

    def identity(self) -> dict[str, Any]:
        """What makes the crystals and figures these."""

        def hash_of(crystals: Any) -> str | None:
            return None if crystals is None else str(crystals.content_hash)

        return {
            "model": self.run.record["files"][MODEL],
            "wanted": self.wanted.describe(),
            "n": self.n,
            "seed": self.seed,
            "batch_size": self.batch_size,
            "settings": told(self.settings),
            "guide": dict(self.guide),
            "decoding": dict(self.decoding),
            "clean": [str(step) for step in self.steps],
            "drop_invalid": self.drop_invalid,
            "potential": self.potential,
            "against": hash_of(self.train),
            "held_out": hash_of(self.held_out),
            "hull": hash_of(self.hull),
            "judge": self.judge,
            "baselines": self.judge and self.baselines,
            "predict": self.predict,
        }


def told(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as JSON holds them; of an object, such as a guide, its kind and its numbers."""

    def plain(value: Any) -> Any:
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, Mapping):
            return {str(key): plain(one) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return [plain(one) for one in value]
        numbers = {k: v for k, v in getattr(value, "__dict__", {}).items() if not callable(v)}
        return {"kind": type(value).__name__, **plain(numbers)}

    return {name: plain(value) for name, value in settings.items()}


def check_options(n: int, batch_size: int, seed: int, jobs: int, *, relax: bool, hull: Any) -> None:
    """Raise GenerationError for numbers and options that make no sense."""
    for name, value, least in (
        ("n", n, 1),
        ("batch_size", batch_size, 1),
        ("seed", seed, 0),
        ("jobs", jobs, 1),
    ):
        if isinstance(value, bool) or int(value) != value or value < least:
            raise GenerationError(f"{name} is {value}: wanted a whole number of at least {least}")
    if hull is not None and not relax:
        raise GenerationError("a hull needs energies: relax the crystals, too (--relax)")


def device_of(name: str) -> str:
    """The device of that name, or GenerationError where there is none."""
    there = torch.cuda.is_available()
    if name not in ("auto", "cpu", "cuda") or (name == "cuda" and not there):
        seen = "" if there else ", and torch sees no CUDA device"
        raise GenerationError(f"device {name!r}: wanted auto, cpu or cuda{seen}")
    return "cuda" if name == "cuda" or (name == "auto" and there) else "cpu"


def potential_of(name: str, hull: Any) -> str:
    """The potential to relax with, known to be there and to be that of the hull."""
    chosen = name or (hull.potential if hull is not None else _POTENTIAL)
    packages_of(chosen)
    if hull is not None:
        hull.require(chosen)
    return chosen


def check_representation(run: GeneratorRun, wanted: str | None) -> None:
    """Raise GenerationError where a run makes other arrays than wanted, or no crystals."""
    there = run.representation
    if wanted is not None and there.name != wanted:
        raise GenerationError(
            f"the generator in {run.folder} makes {there.name}, and {wanted} is wanted: give a "
            "model of that representation"
        )
    if not isinstance(there, InvertibleRepresentation):
        raise GenerationError(
            f"the generator in {run.folder} makes {there.name}, whose arrays do not tell a "
            "crystal: crystalcodec.workflow.generating.sampling.sample_arrays gives the arrays"
        )


def record_of(
    plan: Plan,
    funnel: Funnel,
    lost: Mapping[str, Sequence[Failure]],
    hits: Mapping[str, npt.NDArray[np.bool_]],
    cleaning: Sequence[Mapping[str, Any]],
    relaxed: Relaxed | None,
    n_crystals: int,
) -> dict[str, Any]:
    """What ``generated.json`` holds of what was made."""
    run = plan.run
    every = np.logical_and.reduce([*hits.values()]) if hits else None
    return {
        "format": FORMAT,
        "status": "finished",
        "identity": plan.identity(),
        "versions": versions("torch", "diffusers", "monai"),
        "model": {
            "folder": str(run.folder),
            "generator": run.generator.name,
            "representation": run.representation.config(),
            "hash": run.record["files"][MODEL],
            "n_parameters": run.record.get("n_parameters"),
            "seed": run.config.seed,
        },
        "wanted": plan.wanted.describe(),
        "n": plan.n,
        "seed": plan.seed,
        "batch_size": plan.batch_size,
        "settings": told(plan.settings),
        "guide": dict(plan.guide),
        "stages": dict(funnel.stages),
        "n_crystals": n_crystals,
        "not_measured": dict(funnel.not_measured),
        "met": {
            **{name: int(found.sum()) for name, found in hits.items()},
            **({"all": int(every.sum())} if every is not None else {}),
        },
        "failures": {stage: count_reasons(some) for stage, some in lost.items()},
        "cleaning": list(cleaning),
        "relaxed": None
        if relaxed is None
        else {
            "potential": relaxed.potential,
            "n": relaxed.n,
            "n_with_energy": len(relaxed.positions),
            "n_converged": int(relaxed.converged.sum()),
        },
        "seconds": dict(plan.seconds),
    }
