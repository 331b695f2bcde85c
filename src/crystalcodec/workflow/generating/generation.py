"""Generate crystals: sample a generator, decode, clean, check, relax and judge, all counted."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.evaluation.base import Attempts, Evidence, Progress
from crystalcodec.failures import Failure
from crystalcodec.generators.conditions import Wanted
from crystalcodec.relaxation.base import Relaxed
from crystalcodec.representations.base import InvertibleRepresentation
from crystalcodec.workflow.generating.cleaning import clean as run_steps
from crystalcodec.workflow.generating.cleaning import parse_steps
from crystalcodec.workflow.generating.decoders import with_decoding
from crystalcodec.workflow.generating.folders import claim_folder, release_folder
from crystalcodec.workflow.generating.funnel import Funnel, measure_funnel
from crystalcodec.workflow.generating.funnel import drop_invalid as without_invalid
from crystalcodec.workflow.generating.planning import (
    Plan,
    check_options,
    check_representation,
    device_of,
    potential_of,
    record_of,
)
from crystalcodec.workflow.generating.predicting import predicted_wishes
from crystalcodec.workflow.generating.predictor_guidance import open_guide
from crystalcodec.workflow.generating.runs import GeneratorRun, find_generator
from crystalcodec.workflow.generating.sampling import iter_samples
from crystalcodec.workflow.generating.wishes import check_wish, make_wanted, met
from crystalcodec.workflow.judge_store import Store
from crystalcodec.workflow.judging import Judgement
from crystalcodec.workflow.judging import judge as judge_attempts

__all__ = ["Generated", "generate"]

_SHOWN = 6  # samples whose arrays are kept for a picture


@dataclass(frozen=True, eq=False)
class Generated:
    """What a generator made, and what became of it.

    Parameters
    ----------
    attempts
        All samples: the crystals that are left, and a failure for each other one.
    funnel
        How many passed each stage.
    lost
        The failures by the stage they are of: ``decode``, ``clean``, ``drop``, ``relax``; those of
        the last count over ``crystals``.
    met
        (n,) by part of the wish, whether each sample is so.
    confidence : (n,)
        What decoding tells of it, NaN where nothing.
    record
        What ``generated.json`` holds.
    relaxed, judgement
        Where they were asked for.
    shown
        The arrays of the first samples, their crystals or None, and reasons, for a picture.
    run
        The generator.
    """

    attempts: Attempts
    funnel: Funnel
    lost: Mapping[str, tuple[Failure, ...]]
    met: Mapping[str, npt.NDArray[np.bool_]]
    confidence: npt.NDArray[np.float64]
    record: Mapping[str, Any]
    relaxed: Relaxed | None
    judgement: Judgement | None
    shown: tuple[Mapping[str, npt.NDArray[Any]], list[Crystals | None], list[str]]
    run: GeneratorRun

    @property
    def crystals(self) -> Crystals:
        """The crystals that are left, as they were decoded and cleaned."""
        return self.attempts.crystals

    @property
    def failures(self) -> tuple[Failure, ...]:
        """Why the other samples gave none, by sample."""
        return self.attempts.failures

    def write(self, folder: str | Path) -> None:
        """Write CIFs, the dataset, the record and the report into a new or empty folder.

        Raises
        ------
        GenerationError
            The folder holds something else.
        """
        from crystalcodec.workflow.generating.writing import write_generated

        folder = Path(folder)
        claim_folder(folder, self.record["identity"])
        write_generated(self, folder)


def generate(
    n: int = 100,
    *,
    model: str | Path | None = None,
    seed_run: int | None = None,
    representation: str | None = None,
    formula: str | None = None,
    elements: str | Sequence[str] = (),
    space_group: int | None = None,
    where: Mapping[str, float] | None = None,
    force_far: bool = False,
    guide: str | Path | None = None,
    guide_strength: float = 1.0,
    seed: int = 0,
    batch_size: int = 250,
    device: str = "cpu",
    decoding: Mapping[str, Any] | None = None,
    clean: Sequence[str] = (),
    drop_invalid: bool = False,
    relax: bool = False,
    potential: str = "",
    against: Crystals | None = None,
    held_out: Crystals | None = None,
    hull: Any = None,
    judge: bool = False,
    baselines: bool = True,
    predict: bool = False,
    jobs: int = 1,
    folder: str | Path | None = None,
    progress: Progress | None = None,
    say: Callable[[str], None] = lambda line: None,
    command: Sequence[str] | None = None,
    **settings: Any,
) -> Generated:
    """Generate crystals with a trained generator; every sample is counted.

    Parameters
    ----------
    n
        Number of samples.
    model
        Folder of a run, or of its seeds, or the name of a generator of the package; the first
        of the package where None.
    seed_run
        Which of the seeds of a folder; the first where None.
    representation
        The representation that the model must be of, where that matters.
    formula, elements, space_group, where
        What the crystals are to be: ``"TiO2"`` (or a multiple), ``"Li,Fe,O"`` (these and no
        others), a number, property values by name; as far as the model was trained with it.
    force_far
        Take property values far outside of the training data.
    guide, guide_strength
        Folder of a predictor of the same representation, whose slope leads the samples to those
        values of ``where`` that it predicts, and how strongly; the generator needs no training
        with them.
    seed, batch_size
        Random numbers, and samples made at a time: both are part of what comes out.
    device
        ``cpu``, ``cuda``, or ``auto`` for the latter where there is one.
    decoding
        Parameters of the representation that decode, where others are wanted than in the training:
        ``tolerance``, ``noise_limit`` and so on
        (:data:`~crystalcodec.workflow.generating.decoders.DECODING`).
    clean
        Steps of :data:`~crystalcodec.workflow.generating.cleaning.STEPS`, ``name`` or
        ``name=tolerance``, in their order.
    drop_invalid
        Count crystals whose structure or composition is not valid as failures.
    relax, potential
        Relax what is left, with that potential; that of the hull, or CHGNet, where not given.
    against, held_out, hull
        Training crystals, for what is novel; like crystals that were not learnt from; a
        :class:`~crystalcodec.relaxation.hull.Hull`, for what is metastable.
    judge, baselines
        All figures of :func:`~crystalcodec.workflow.judging.judge`, also of crystals that no
        generator made.
    predict
        Predict wanted properties with the package's own models, with the wish and without.
    jobs
        Processes for relaxing, comparing and judging.
    folder
        Where everything is written; parts that are done stay there after an interruption.
    progress
        Called with what is done, how many are done, and of how many.
    say
        Called with each line that a user should read.
    settings
        Of the generator's sampling: ``steps``, ``guidance`` and so on.

    Raises
    ------
    RunError
        No generator there.
    ConditionError, ModelError, CleaningError
        A wish, a setting or a cleaning step that is not possible.
    GenerationError
        Options that do not go together, or a folder that holds something else.
    RepresentationError
        A value of ``decoding`` that the representation does not take.
    """
    steps = parse_steps(clean)
    check_options(n, batch_size, seed, jobs, relax=relax or bool(potential), hull=hull)
    chosen = device_of(device)
    run = find_generator(model, seed=seed_run, device=chosen)
    check_representation(run, representation)
    run = with_decoding(run, decoding or {})
    values, guided = dict(where or {}), None
    if guide is not None:
        guided = open_guide(guide, run.generator, values, guide_strength)
        settings["predictor_guidance"] = guided.guidance
        # What the model was trained with as well, it is told as well.
        known = run.conditions.columns
        values = {k: v for k, v in values.items() if k not in guided.values or k in known}
    wanted = make_wanted(formula, elements, space_group, values)
    warnings = check_wish(run, wanted, force_far=force_far)
    plan = Plan(
        run,
        wanted,
        n,
        seed,
        batch_size,
        {**run.generator.sample_settings(), **settings},
        steps,
        drop_invalid,
        potential_of(potential, hull) if relax or potential else "",
        against,
        held_out,
        hull,
        judge,
        baselines,
        predict,
        jobs,
        None if folder is None else Path(folder),
        progress,
        {} if guided is None else guided.record,
        dict(decoding or {}),
    )
    samples = _samples(plan)
    if plan.folder is not None:
        claim_folder(plan.folder, plan.identity())
    for line in warnings:
        say(f"warning: {line}")
    try:
        made = _carry_out(plan, samples, warnings, sys.argv if command is None else command)
    except Exception:
        # A setting that only sampling itself refuses leaves no folder.
        if plan.folder is not None:
            release_folder(plan.folder)
        raise
    if plan.folder is not None:
        from crystalcodec.workflow.generating.writing import write_generated

        plan.tell("report", 0, 1)
        write_generated(made, plan.folder)
    return made


def _samples(plan: Plan) -> Iterator[dict[str, npt.NDArray[Any]]]:
    return iter_samples(
        plan.run.generator,
        plan.n,
        plan.wanted,
        seed=plan.seed,
        batch_size=plan.batch_size,
        settings=plan.settings,
    )


def _without_values(plan: Plan) -> Iterator[dict[str, npt.NDArray[Any]]]:
    """As many samples with the same seed; neither the model nor a guide is told values."""
    wanted = Wanted(plan.wanted.formula, plan.wanted.elements, plan.wanted.space_group)
    settings = {k: v for k, v in plan.settings.items() if k != "predictor_guidance"}
    return _samples(replace(plan, wanted=wanted, settings=settings))


def _carry_out(
    plan: Plan,
    samples: Iterator[dict[str, npt.NDArray[Any]]],
    warnings: Sequence[str],
    command: Sequence[str],
) -> Generated:
    attempts, confidence, shown = _decode(plan, samples)
    lost = {"decode": attempts.failures}
    n_decoded, n_cleaned, counts = len(attempts.crystals), None, list[dict[str, Any]]()
    if plan.steps:
        with plan.timed("cleaning"):
            attempts, counts = run_steps(attempts, plan.steps)
        lost["clean"] = _more(attempts, lost)
        n_cleaned = len(attempts.crystals)
    undropped = attempts
    if plan.drop_invalid:
        with plan.timed("dropping"):
            attempts = without_invalid(attempts)
        lost["drop"] = _more(attempts, lost)
    relaxed = None
    if plan.potential and len(attempts.crystals):
        with plan.timed("relaxing"):
            relaxed = _relax(plan, attempts)
        lost["relax"] = relaxed.failures
    evidence = _evidence(plan, attempts, relaxed)
    with plan.timed("funnel"):
        funnel = measure_funnel(evidence, n_decoded, n_cleaned, undropped)
    with plan.timed("wishes"):
        hits = met(attempts, plan.wanted)
    foreseen: dict[str, Any] = {}
    if plan.predict:
        with plan.timed("predicting"):
            foreseen = predicted_wishes(
                {**plan.wanted.values, **plan.guide.get("values", {})},
                plan.run.conditions,
                attempts.crystals,
                lambda: _decode(plan, _without_values(plan), "sampling again")[0].crystals,
            )
    judgement = None
    if plan.judge:
        with plan.timed("judging"):
            judgement = _judge(plan, evidence, command)
    record = record_of(plan, funnel, lost, hits, counts, relaxed, len(attempts.crystals))
    record |= {"predicted": foreseen, "warnings": list(warnings), "command": list(command)}
    return Generated(
        attempts, funnel, lost, hits, confidence, record, relaxed, judgement, shown, plan.run
    )


def _decode(
    plan: Plan, samples: Iterator[dict[str, npt.NDArray[Any]]], what: str = "sampling"
) -> tuple[Attempts, npt.NDArray[np.float64], Any]:
    """Sample and decode a batch at a time; arrays are kept of the first few alone."""
    representation = plan.run.representation
    assert isinstance(representation, InvertibleRepresentation)
    parts, failures, done = [], list[Failure](), 0
    confidence = np.full(plan.n, np.nan)
    shown: Any = None
    plan.tell(what, 0, plan.n)
    while True:
        with plan.timed(what):
            arrays = next(samples, None)
        if arrays is None:
            break
        with plan.timed("decoding"):
            decoded = representation.decode(arrays)
        parts.append(decoded.crystals)
        failures += [Failure(done + one.index, one.reason, one.detail) for one in decoded.failures]
        if decoded.confidence is not None:
            confidence[done + decoded.index] = decoded.confidence
        if shown is None:
            shown = _first(arrays, decoded)
        done += len(next(iter(arrays.values())))
        plan.tell(what, done, plan.n)
    return Attempts.of(Crystals.concatenate(parts), failures), confidence, shown


def _first(arrays: Mapping[str, npt.NDArray[Any]], decoded: Any) -> Any:
    """The first samples: arrays, crystals or None, reasons."""
    some = {name: array[:_SHOWN].copy() for name, array in arrays.items()}
    n = len(next(iter(some.values())))
    places = {int(place): i for i, place in enumerate(decoded.index[:n])}
    crystals = [decoded.crystals[places[i]] if i in places else None for i in range(n)]
    told = {one.index: one.reason for one in decoded.failures[:n]}
    return some, crystals, [told.get(i, "") for i in range(n)]


def _more(attempts: Attempts, lost: Mapping[str, Sequence[Failure]]) -> tuple[Failure, ...]:
    """The failures that are not in any stage yet."""
    known = {one.index for failures in lost.values() for one in failures}
    return tuple(one for one in attempts.failures if one.index not in known)


def _relax(plan: Plan, attempts: Attempts) -> Relaxed:
    from crystalcodec.relaxation.relaxing import relax
    from crystalcodec.workflow.relaxing import relax_in_parts

    def show(done: int, of: int) -> None:
        plan.tell("relaxing", done, of)

    if plan.folder is None:
        return relax(attempts.crystals, plan.potential, progress=show)
    return relax_in_parts(
        attempts.crystals,
        plan.folder / "relaxed",
        plan.potential,
        jobs=plan.jobs,
        progress=show,
        ids=[f"sample-{i:05d}" for i in attempts.positions.tolist()],
    )


def _evidence(plan: Plan, attempts: Attempts, relaxed: Relaxed | None) -> Evidence:
    """What figures are measured on; shared with the judge where there is a folder."""
    hull = plan.hull if relaxed is not None else None
    own = (attempts, plan.train, plan.held_out, relaxed, hull)
    if plan.folder is None or not plan.judge:
        return Evidence(*own, jobs=plan.jobs, progress=plan.progress)
    cache = plan.folder / "judged" / "cache"
    return Store(*own, jobs=plan.jobs, progress=plan.progress, folder=cache)


def _judge(plan: Plan, evidence: Evidence, command: Sequence[str]) -> Judgement:
    from crystalcodec.registry import PRETRAINED
    from crystalcodec.workflow.relaxing import relax_in_parts

    cache = None if plan.folder is None else plan.folder / "judged" / "cache"

    def relax_baseline(name: str, some: Crystals) -> Relaxed:
        assert cache is not None
        return relax_in_parts(
            some,
            cache / "relaxed" / some.content_hash[:20],
            plan.potential,
            jobs=plan.jobs,
            progress=lambda done, of: plan.tell(f"{name}: relaxing", done, of),
        )

    names = [name for name in plan.wanted.values if name in PRETRAINED]
    positions = evidence.attempts.n
    return judge_attempts(
        evidence.attempts,
        train=plan.train,
        held_out=plan.held_out,
        hull=evidence.hull,
        relaxed=evidence.relaxed,
        properties=names if plan.held_out is not None else (),
        baselines=plan.baselines,
        relax_baselines=relax_baseline if evidence.relaxed is not None and cache else None,
        seed=plan.seed,
        jobs=plan.jobs,
        folder=cache,
        progress=plan.progress,
        ids=[f"sample-{i:05d}" for i in range(positions)],
        about={"title": "Generated crystals, judged", "command": list(command)},
    )
