"""Predictions of a trained run for crystals or files.

:func:`outputs_of` gives what the network of a run tells of crystals, and
:func:`~crystalcodec.workflow.targets.values_of` makes values of it; :func:`answers` does both.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from crystalcodec.crystals import Crystals
from crystalcodec.failures import Failure
from crystalcodec.representations.base import Encoded, Representation
from crystalcodec.workflow.applicability import HiddenVectors
from crystalcodec.workflow.ensembles import Ensemble, averaged, open_ensemble
from crystalcodec.workflow.precision import used_precision
from crystalcodec.workflow.predictions import PredictionError, Predictions, check_table_path
from crystalcodec.workflow.runs import Run
from crystalcodec.workflow.samples import Samples, encode_samples, ragged_arrays, redescribe
from crystalcodec.workflow.targets import n_outputs, values_of
from crystalcodec.workflow.trust import COVERAGE, Trust

__all__ = [
    "Answers",
    "Encodings",
    "PredictionError",
    "Predictions",
    "answers",
    "answers_of",
    "check_table_path",
    "input_values",
    "network_outputs",
    "opened",
    "outputs_of",
    "predict",
    "predict_files",
    "with_unread",
]

Floats = npt.NDArray[np.float64]
Failures = tuple[Failure, ...]
# Large enough that the time goes into arithmetic, small enough for the memory of any machine:
# crystals drawn and encoded at once, and crystals that go through the network at once.
_DRAWN, _BATCH = 4096, 512


class Encodings:
    """Arrays of the crystals of one call, encoded once for all networks that take the same.

    Parameters
    ----------
    most
        Bytes that are kept; what comes after is encoded for each network.
    """

    def __init__(self, most: int = 1 << 29) -> None:
        self._left = most
        self._kept: dict[tuple[str, int], Encoded] = {}

    def of(self, representation: Representation, start: int, crystals: Crystals) -> Encoded:
        """Of the crystals that can be predicted, those from ``start`` on."""
        key = (json.dumps(representation.config(), sort_keys=True), start)
        if key in self._kept:
            return self._kept[key]
        encoded = representation.encode(crystals)
        size = sum(array.nbytes for array in encoded.arrays.values())
        if size <= self._left:
            self._left -= size
            self._kept[key] = encoded
        return encoded


def predict(
    run: Run | Ensemble | str | Path,
    crystals: Crystals,
    *,
    ids: Sequence[str] | None = None,
    copies: int | None = None,
    coverage: float = COVERAGE,
    allow_unseen: bool = False,
    nearest: int = 0,
    encodings: Encodings | None = None,
) -> Predictions:
    """Predict the targets of a run for crystals.

    Parameters
    ----------
    run
        A run, several runs as one, or the folder of a run or of ``seed-N`` runs.
    crystals
        Any number of crystals.
    ids
        One for each; their positions where None.
    copies
        Augmented copies to average over; as the run was configured where None. With copies the
        value of a crystal depends, a little, on its place in the batch.
    coverage
        Of the intervals.
    allow_unseen
        Whether a crystal with an element that no training crystal has gets a number.
    nearest
        How many of the nearest training crystals to name.
    encodings
        What other models have encoded of the same crystals, in the same call.

    Raises
    ------
    RunError, CheckpointError
        A folder that holds no finished run, or damaged files.
    PredictionError
        Another number of ids than of crystals, copies of a run without augmentation, or a negative
        ``nearest``.
    IntervalError
        A coverage that is not between 0 and 1.
    """
    model = opened(run)
    names = tuple(map(str, range(len(crystals)) if ids is None else ids))
    if len(names) != len(crystals):
        raise PredictionError(f"{len(names)} ids for {len(crystals)} crystals: wanted one for each")
    if nearest < 0:
        raise PredictionError(f"nearest is {nearest}, wanted 0 or more")
    trust = Trust.open(model)
    told = answers_of(model, crystals, copies, encodings)
    made = Predictions(
        tuple(target.column for target in model.targets),
        tuple(target.unit for target in model.targets),
        told.values,
        told.failures,
        names,
        ("",) * len(names),
        crystals.formulas,
        {
            target.column: told.probabilities[:, i]
            for i, target in enumerate(model.targets)
            if target.finds_zeros
        },
    )
    return trust.add(made, told, crystals, coverage, allow_unseen=allow_unseen, nearest=nearest)


def opened(run: Run | Ensemble | str | Path) -> Ensemble:
    """A model as an ensemble, which one run is, too; raises as :func:`open_ensemble` does."""
    if isinstance(run, Run):
        return Ensemble(run.folder, (run,))
    return run if isinstance(run, Ensemble) else open_ensemble(run)


def predict_files(
    run: Run | Ensemble | str | Path,
    files: Sequence[str | Path],
    *,
    copies: int | None = None,
    coverage: float = COVERAGE,
    allow_unseen: bool = False,
    nearest: int = 0,
    **reading: Any,
) -> Predictions:
    """Predict for every crystal in files, folders, archives or tables.

    What cannot be read is a row with its reason, after the crystals. ``reading`` goes to
    :func:`crystalcodec.io.read`, whose errors this raises, too; the rest is as for
    :func:`predict`.
    """
    from crystalcodec.io import read

    model = opened(run)
    loaded = read(files, **reading)
    made = predict(
        model,
        loaded.crystals,
        ids=loaded.ids,
        copies=copies,
        coverage=coverage,
        allow_unseen=allow_unseen,
        nearest=nearest,
    )
    made = replace(made, sources=tuple(map(str, loaded.sources)))
    return with_unread(made, loaded.failures)


def with_unread(made: Predictions, unread: Sequence[Failure]) -> Predictions:
    """Predictions with a row after them for each record that could not be read."""
    n, more = len(made), len(unread)
    failures = [Failure(n + i, f.reason, f.detail, f.source, f.line) for i, f in enumerate(unread)]
    blank = ("",) * more

    def longer(table: Floats) -> Floats:
        return np.concatenate([table, np.full((more, *table.shape[1:]), np.nan)])

    tables: dict[str, Any] = {
        name: longer(table)
        for name in ("values", "lower", "upper", "spread", "distance", "percentile")
        if (table := getattr(made, name)) is not None
    }
    return replace(
        made,
        **tables,
        failures=(*made.failures, *failures),
        ids=made.ids + blank,
        sources=(*made.sources, *(failure.source for failure in failures)),
        formulas=made.formulas + blank,
        probabilities={name: longer(column) for name, column in made.probabilities.items()},
        nearest=None if made.nearest is None else made.nearest + blank,
        warnings=None if made.warnings is None else made.warnings + blank,
        target_warnings={name: told + blank for name, told in made.target_warnings.items()},
    )


def answers(
    run: Run, crystals: Crystals, copies: int | None = None
) -> tuple[Floats, Floats, Failures]:
    """(n, n_targets) values and probabilities, NaN where a crystal has none, and why.

    A row with a value that is not finite is no answer, but a failure.
    """
    told = answers_of(run, crystals, copies)
    return told.values, told.probabilities, told.failures


@dataclass(frozen=True)
class Answers:
    """What a run, or the mean of several, says of n crystals.

    Parameters
    ----------
    values, probabilities : (n, t)
        As :func:`answers` gives them.
    failures
        Why rows have none, by position.
    spread : (n, t)
        Standard deviation of the values over networks; None for one network.
    hidden : (n, width)
        What the last layer of the (first) run's network sees; None where that cannot be told.
    """

    values: Floats
    probabilities: Floats
    failures: Failures
    spread: Floats | None = None
    hidden: Floats | None = None


def answers_of(
    model: Run | Ensemble,
    crystals: Crystals,
    copies: int | None = None,
    encodings: Encodings | None = None,
) -> Answers:
    """Values, their spread and hidden vectors; raises as :func:`outputs_of` does.

    The mean over the runs of an ensemble is that of their values; a run with snapshots tells what
    the mean of their outputs tells. The spread is that over the runs, or over the snapshots of a
    single one. A row with a value that is not finite is no answer, but a failure.
    """
    members = (model,) if isinstance(model, Run) else model.members
    # One network alone would keep arrays for nobody.
    encodings = encodings or (Encodings() if len(members) > 1 else Encodings(0))
    told = [_answers_of_run(run, crystals, copies, encodings) for run in members]
    if len(told) == 1:
        return told[0]
    values, spread = averaged([one.values for one in told])
    probabilities, _ = averaged([one.probabilities for one in told])
    why = {failure.index: failure for one in reversed(told) for failure in one.failures}
    failures = tuple(why[i] for i in sorted(why))
    return Answers(values, probabilities, failures, spread, told[0].hidden)


def _answers_of_run(
    run: Run, crystals: Crystals, copies: int | None, encodings: Encodings
) -> Answers:
    outputs, failures, vectors = _member_outputs(run, crystals, copies, encodings)
    values, probabilities = values_of(run.targets, outputs.mean(0), crystals.n_sites)
    failed = np.zeros(len(values), bool)
    failed[[failure.index for failure in failures]] = True
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1) & ~failed)
    values[bad] = probabilities[bad] = np.nan
    more = [Failure(int(i), "prediction not finite", "far outside the training data") for i in bad]
    ordered = sorted((*failures, *more), key=lambda failure: failure.index)
    each = [values_of(run.targets, one, crystals.n_sites)[0] for one in outputs]
    _, spread = averaged(each)
    return Answers(values, probabilities, tuple(ordered), spread, vectors)


def outputs_of(run: Run, crystals: Crystals, copies: int | None = None) -> tuple[Floats, Failures]:
    """What the network of a run gives for crystals, before any transform is undone.

    Every cell is made right-handed first, which moves no atom. The network works in the precision
    that it was trained in, where the processor does that well; its last layer always in float32.
    Outputs are averaged over the augmented copies, as many as the run is configured for where
    ``copies`` is None.

    Returns
    -------
    outputs : (n, n_outputs)
        NaN where the representation cannot hold a crystal, or a run that gives an input of this
        one has no prediction for it.
    failures
        Why, by position.

    Raises
    ------
    PredictionError
        Copies of a run without augmentation.
    """
    outputs, failures, _ = _member_outputs(run, crystals, copies, Encodings(0))
    return np.asarray(outputs.mean(0)), failures


def _member_outputs(
    run: Run, crystals: Crystals, copies: int | None, encodings: Encodings
) -> tuple[Floats, Failures, Floats | None]:
    """Outputs (networks, n, n_outputs), why some rows are NaN, and hidden vectors (n, width).

    The hidden vectors are those of the run's last network, as the outputs averaged over copies;
    None where they cannot be told.
    """
    copies = _copies(run, copies)
    names = run.config.augmentation.names if copies else ()
    crystals = crystals.right_handed()
    inputs, refused = input_values(run.inputs, crystals)
    why = {failure.index: failure for failure in refused}
    kept = np.ones(len(crystals), bool)
    kept[list(why)] = False
    index = np.flatnonzero(kept)
    shape = (len(run.networks), len(crystals), n_outputs(run.targets))
    outputs = np.full(shape, np.nan)
    vectors: Floats | None = None
    ragged = ragged_arrays(run.representation)
    device = next(run.predictor.parameters()).device
    for start in range(0, len(index), _DRAWN):
        rows = index[start : start + _DRAWN]
        part = crystals[rows]
        total = np.zeros((shape[0], len(rows), shape[2]))
        times = np.zeros(len(rows))
        lost: dict[int, Failure] = {}
        seen: Floats | None = None
        told = True
        for copy in range(max(1, copies)):
            if names or run.inputs:
                # Not the generators of the epochs, which are (seed, epoch).
                rng = np.random.default_rng([run.config.seed, start, copy, 1])
                encoded = run.representation.encode(redescribe(part, names, rng))
            else:
                encoded = encodings.of(run.representation, start, part)
            lost |= {failure.index: failure for failure in encoded.failures}
            held = encoded.index
            if not len(held):
                continue
            times[held] += 1
            extra = {"inputs": inputs[rows][held]} if run.inputs else None
            samples = encode_samples(encoded, run.scaling, ragged, device, extra)
            precision = run.config.machine.precision
            for member, network in enumerate(run.snapshots):
                total[member, held] += network_outputs(network, samples, precision)
            with HiddenVectors(run.predictor) as caught:
                total[-1, held] += network_outputs(run.predictor, samples, precision)
            found = caught.rows()
            if found is None:
                told = False
                continue
            if seen is None:
                seen = np.zeros((len(rows), found.shape[1]))
            seen[held] += found
        # A copy that cannot be held is left out of the mean; a crystal of which none can has none.
        for i in np.flatnonzero(times == 0):
            why[int(rows[i])] = replace(lost[int(i)], index=int(rows[i]))
        done = np.flatnonzero(times)
        outputs[:, rows[done]] = total[:, done] / times[done, None]
        if seen is not None and told:
            if vectors is None:
                vectors = np.full((len(crystals), seen.shape[1]), np.nan)
            vectors[rows[done]] = seen[done] / times[done, None]
    return outputs, tuple(why[i] for i in sorted(why)), vectors


def _copies(run: Run, copies: int | None) -> int:
    """Augmented copies to average over, or PredictionError."""
    augmentation = run.config.augmentation
    if copies and not augmentation.names:
        raise PredictionError(
            f"{copies} copies asked for, but the run was trained without augmentation: its config "
            "names none to draw them by"
        )
    return augmentation.copies if copies is None else copies


def input_values(
    runs: Sequence[Run], crystals: Crystals
) -> tuple[npt.NDArray[np.float32], Failures]:
    """(n, n_inputs) what runs predict as the inputs of another, and what they refuse."""
    found = [answers(run, crystals) for run in runs]
    tables = [np.zeros((len(crystals), 0)), *(values for values, _, _ in found)]
    failures = {
        failure.index: replace(
            failure, detail=f"{failure.detail} (for the input {run.target})".strip()
        )
        for run, (_, _, failed) in zip(runs, found, strict=True)
        for failure in failed
    }
    table = np.concatenate(tables, axis=1).astype(np.float32)
    return table, tuple(failures[i] for i in sorted(failures))


def network_outputs(
    network: torch.nn.Module, samples: Samples, precision: str = "32-true"
) -> Floats:
    """(n, n_outputs) what a network gives for samples."""
    parts = []
    device = next(network.parameters()).device
    with torch.no_grad(), _autocast(precision, device):
        for start in range(0, samples.n, _BATCH):
            index = torch.arange(start, min(samples.n, start + _BATCH), device=device)
            parts.append(network(samples.batch(index)).double().cpu().numpy())
    return np.concatenate(parts) if parts else np.zeros((0, 1))


def _autocast(precision: str, device: torch.device) -> torch.autocast:
    used = used_precision(precision, device.type)
    kind = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(used)
    return torch.autocast(device.type, dtype=kind or torch.bfloat16, enabled=kind is not None)
