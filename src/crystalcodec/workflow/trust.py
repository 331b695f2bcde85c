"""What comes with a prediction: its interval, the distance to the training crystals, warnings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.failures import Failure
from crystalcodec.workflow.applicability import ApplicabilityError, TrainingSpace, unseen_elements
from crystalcodec.workflow.calibration import (
    CALIBRATION,
    HELD_OUT,
    SCORES,
    Calibration,
    HeldOut,
    limit_of,
    open_held_out,
    pooled,
    save_held_out,
)
from crystalcodec.workflow.ensembles import Ensemble
from crystalcodec.workflow.predictions import Predictions
from crystalcodec.workflow.runs import MODEL, Run, RunError, check_file, sha256

if TYPE_CHECKING:
    from crystalcodec.workflow.prediction import Answers
    from crystalcodec.workflow.splits import Labelled
    from crystalcodec.workflow.targets import Target

__all__ = ["Trust", "seed_weights", "write_seeds_trust", "write_trust"]

Floats = npt.NDArray[np.float64]

SPACE: Final = "applicability.safetensors"
COVERAGE: Final = 0.9
"""Of intervals where nothing else is asked for."""


@dataclass(frozen=True)
class Trust:
    """What a model knows about its own errors; both None for a run that was made without.

    Parameters
    ----------
    calibration
        Its intervals.
    space
        Its training crystals.
    note
        Why there are no intervals, where that has to be said.
    """

    calibration: Calibration | None = None
    space: TrainingSpace | None = None
    note: str = ""

    @classmethod
    def open(cls, model: Ensemble) -> Trust:
        """What is kept beside the weights of a model.

        Raises
        ------
        RunError, CheckpointError
            A file that is missing, damaged or of another run.
        """
        first = model.members[0]
        files = first.record.get("files", {})
        space = _opened_space(first.folder, files[SPACE]) if SPACE in files else None
        if len(model.members) > 1:
            calibration = _seeds_calibration(model)
            return cls(calibration, space, "" if calibration else _why_none(model))
        if SCORES not in files:
            return cls(None, space)
        if CALIBRATION not in files:
            raise RunError(f"the record of {first.folder} names {SCORES} and no {CALIBRATION}")
        return cls(_opened_calibration(first.folder, files[SCORES], files[CALIBRATION]), space)

    def add(
        self,
        made: Predictions,
        told: Answers,
        crystals: Crystals,
        coverage: float = COVERAGE,
        *,
        allow_unseen: bool = False,
        nearest: int = 0,
    ) -> Predictions:
        """Predictions with intervals, distances and warnings, as far as they are known.

        Parameters
        ----------
        made, told
            The predictions of ``crystals``, and what the networks said.
        coverage
            Of the intervals.
        allow_unseen
            Whether a crystal with an element of no training crystal keeps its number.
        nearest
            How many of the nearest training crystals to name.

        Raises
        ------
        IntervalError
            A coverage that is not between 0 and 1.
        """
        if self.space is not None and not allow_unseen:
            made = _without(made, unseen_elements(crystals, self.space.element_counts))
        answered = np.ones(len(made), bool)
        answered[[failure.index for failure in made.failures]] = False
        spread = told.spread
        if spread is not None:
            spread = np.where(answered[:, None], spread, np.nan)
            made = replace(made, spread=spread)
        lines: list[list[str]] | None = None
        if self.space is not None:
            made, lines = _placed(made, self.space, told.hidden, answered, crystals, nearest)
            made = _with_label_warnings(made, self.space, answered, crystals)
        if self.calibration is not None:
            lower, upper, none = self.calibration.intervals(
                made.targets, made.values, spread, coverage
            )
            made = replace(made, lower=lower, upper=upper, coverage=coverage)
            if none:
                made = _with_target_warnings(made, none, answered)
                lines = lines or [[] for _ in range(len(made))]
        if self.note:
            lines = [[*own, self.note] for own in lines or [[] for _ in range(len(made))]]
        if lines is None:
            return made
        joined = ("; ".join(own) if good else "" for own, good in zip(lines, answered, strict=True))
        return replace(made, warnings=tuple(joined))

    def coverage_on(
        self, targets: Sequence[Target], part: Labelled, told: Answers
    ) -> dict[str, Any]:
        """How many true values of labelled crystals lie in their intervals, by target.

        Rows that would be refused have no interval and do not count. Empty without intervals.
        """
        if self.calibration is None:
            return {}
        numbers = [i for i, target in enumerate(targets) if not target.is_class]
        rows = _held_out(part, told, numbers, self.space)
        return self.calibration.coverage_on([targets[i].column for i in numbers], rows)


def write_trust(
    run: Run, data: Mapping[str, Labelled], told: Mapping[str, Answers]
) -> tuple[dict[str, str], dict[str, Any]]:
    """Fit and write everything of a run that was just trained.

    Parameters
    ----------
    data, told
        By split, the labelled crystals and what the run says of them.

    Returns
    -------
    files
        SHA-256 of each file that was written, for the record.
    document
        What ``calibration.json`` holds; empty where there is nothing to calibrate.
    """
    names = [HELD_OUT]
    space = _fit_space(run, data, told)
    if space is not None:
        space.save(run.folder / SPACE)
        names.append(SPACE)
    numbers = [i for i, target in enumerate(run.targets) if not target.is_class]
    held_out = {
        name: _held_out(data[name], told[name], numbers, space)
        for name in ("validation", "test")
        if name in data
    }
    save_held_out(run.folder / HELD_OUT, held_out)
    document: dict[str, Any] = {}
    if numbers:
        calibration = Calibration.fit(
            {run.targets[i].column: run.targets[i].unit for i in numbers},
            held_out,
            {run.targets[i].column: limit_of(data["train"].targets[:, i]) for i in numbers},
            len(run.networks),
        )
        calibration.save(run.folder)
        names += [SCORES, CALIBRATION]
        document = dict(calibration.document)
    return {name: sha256(run.folder / name) for name in names}, document


def write_seeds_trust(model: Ensemble) -> Calibration | None:
    """Calibrate the mean of several runs and write it into their folder.

    None, and nothing written, where the runs were not measured on the same crystals.

    Raises
    ------
    RunError, CheckpointError
        A file of a run that is damaged.
    """
    calibration = _calibrated_seeds(model)
    if calibration is not None:
        calibration.save(model.folder, {"seeds": seed_weights(model)})
    return calibration


# Kept open: many predictions of a few crystals do not read the same files again.
@lru_cache(maxsize=8)
def _opened_space(folder: Path, digest: str) -> TrainingSpace:
    return TrainingSpace.open(check_file(folder, SPACE, {"files": {SPACE: digest}}))


@lru_cache(maxsize=8)
def _opened_calibration(folder: Path, scores: str, document: str) -> Calibration:
    for name, digest in ((SCORES, scores), (CALIBRATION, document)):
        check_file(folder, name, {"files": {name: digest}})
    return Calibration.open(folder)


def _seeds_calibration(model: Ensemble) -> Calibration | None:
    """The calibration of these very seeds: from their folder, or made anew."""
    if (model.folder / CALIBRATION).exists() and (model.folder / SCORES).exists():
        kept = Calibration.open(model.folder)
        if kept.document.get("seeds") == seed_weights(model):
            return kept
    return _calibrated_seeds(model)


def _calibrated_seeds(model: Ensemble) -> Calibration | None:
    numbers = [target for target in model.targets if not target.is_class]
    if not numbers or not all(_has(run, HELD_OUT) and _has(run, SCORES) for run in model.members):
        return None
    together = pooled(
        [open_held_out(check_file(run.folder, HELD_OUT, run.record)) for run in model.members]
    )
    if "validation" not in together:
        return None
    own = [Calibration.open(run.folder).conformals for run in model.members]
    limits = {
        target.column: (0.0 if all(one[target.column].lower_limit == 0 for one in own) else None)
        for target in numbers
    }
    units = {target.column: target.unit for target in numbers}
    return Calibration.fit(units, together, limits, len(model.members))


def _why_none(model: Ensemble) -> str:
    """Why seeds that could have intervals have none."""
    if all(target.is_class for target in model.targets) or not any(
        _has(run, HELD_OUT) for run in model.members
    ):
        return ""
    return "no interval: the seeds were not all validated on the same crystals"


def seed_weights(model: Ensemble) -> dict[str, str]:
    """SHA-256 of the weights of each seed, which tells whether a calibration is of these runs."""
    return {run.folder.name: run.record["files"][MODEL] for run in model.members}


def _has(run: Run, name: str) -> bool:
    """Whether a run was written with this file; runs of before it are none the worse."""
    return name in run.record.get("files", {})


def _fit_space(
    run: Run, data: Mapping[str, Labelled], told: Mapping[str, Answers]
) -> TrainingSpace | None:
    """The space of the training crystals; None where the network has no hidden vectors."""
    training, validation = told["train"].hidden, told["validation"].hidden
    if training is None or validation is None:
        return None
    rows = np.flatnonzero(np.isfinite(training).all(1))
    present = (data["train"].crystals.element_counts > 0).astype(np.int64)
    try:
        return TrainingSpace.fit(
            training[rows],
            [str(data["train"].ids[i]) for i in rows],
            validation[np.isfinite(validation).all(1)],
            present.sum(0),
            np.isfinite(data["train"].targets).T.astype(np.int64) @ present,
            seed=run.config.seed,
        )
    except ApplicabilityError:
        # No crystal of one of the parts has a prediction: there is nothing to compare with.
        return None


def _held_out(
    part: Labelled, told: Answers, numbers: list[int], space: TrainingSpace | None
) -> HeldOut:
    """Rows of a part; without numbers for those that would be refused."""
    values, spread = told.values[:, numbers].copy(), told.spread
    distances = None
    if space is not None:
        refused = unseen_elements(part.crystals, space.element_counts)
        values[[failure.index for failure in refused]] = np.nan
        distances = _distances(space, told.hidden, len(part))
    return HeldOut(
        part.targets[:, numbers],
        values,
        None if spread is None else spread[:, numbers],
        distances,
        (part.crystals.element_counts > 0).sum(1),
        part.content_hash,
    )


def _distances(space: TrainingSpace, hidden: Floats | None, n: int) -> Floats:
    """(n,) distances, NaN for rows without a hidden vector."""
    distances = np.full(n, np.nan)
    if hidden is not None:
        rows = np.flatnonzero(np.isfinite(hidden).all(1))
        distances[rows] = space.distances(hidden[rows])
    return distances


def _placed(
    made: Predictions,
    space: TrainingSpace,
    hidden: Floats | None,
    answered: npt.NDArray[np.bool_],
    crystals: Crystals,
    nearest: int,
) -> tuple[Predictions, list[list[str]]]:
    """Predictions with distances, percentiles and neighbours, and warnings of each row."""
    distances = np.where(answered, _distances(space, hidden, len(made)), np.nan)
    measured = np.isfinite(distances)
    percentiles = np.full(len(made), np.nan)
    percentiles[measured] = space.percentiles(distances[measured])
    made = replace(made, distance=distances, percentile=percentiles)
    if nearest and hidden is not None:
        named = [""] * len(made)
        rows = np.flatnonzero(measured)
        for i, ids in zip(rows, space.nearest(hidden[rows], nearest), strict=True):
            named[i] = " ".join(ids)
        made = replace(made, nearest=tuple(named))
    return made, space.warnings(crystals, percentiles)


def _with_label_warnings(
    made: Predictions, space: TrainingSpace, answered: npt.NDArray[np.bool_], crystals: Crystals
) -> Predictions:
    """Predictions with what each target knows little of."""
    told = {}
    for i, target in enumerate(made.targets):
        lines = space.label_warnings(crystals, i)
        if any(lines):
            told[target] = tuple(
                line if good else "" for line, good in zip(lines, answered, strict=True)
            )
    return replace(made, target_warnings=told)


def _with_target_warnings(
    made: Predictions, told: Mapping[str, str], answered: npt.NDArray[np.bool_]
) -> Predictions:
    """Predictions with a warning of a target in every row that has an answer."""
    warnings = dict(made.target_warnings)
    for target, text in told.items():
        there = warnings.get(target, ("",) * len(made))
        warnings[target] = tuple(
            ("; ".join(filter(None, (own, text))) if good else "")
            for own, good in zip(there, answered, strict=True)
        )
    return replace(made, target_warnings=warnings)


def _without(made: Predictions, refused: list[Failure]) -> Predictions:
    """Predictions with no number in the refused rows, where they are not failures already."""
    failed = {failure.index for failure in made.failures}
    more = [failure for failure in refused if failure.index not in failed]
    rows = [failure.index for failure in more]
    values = made.values.copy()
    values[rows] = np.nan
    chances = {name: column.copy() for name, column in made.probabilities.items()}
    for column in chances.values():
        column[rows] = np.nan
    failures = sorted((*made.failures, *more), key=lambda failure: failure.index)
    return replace(made, values=values, probabilities=chances, failures=tuple(failures))
