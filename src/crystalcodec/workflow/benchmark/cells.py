"""One cell: a representation, a model, a number of training rows, a seed and a fold."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.evaluation.regression import mae, r2, rmse
from crystalcodec.workflow.benchmark.encodings import Features
from crystalcodec.workflow.benchmark.estimators import ESTIMATORS
from crystalcodec.workflow.benchmark.networks import FORMAT as NETWORK_FORMAT
from crystalcodec.workflow.benchmark.networks import network
from crystalcodec.workflow.benchmark.rows import Fold, training_rows

__all__ = ["FORMAT", "Cell", "CellError", "candidates_of", "is_current", "run_cell", "why_not"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

FORMAT: Final = 2
VALIDATION_SHARE: Final = 0.1


class CellError(ValueError):
    """A cell that cannot be computed; the message says why."""


@dataclass(frozen=True)
class Cell:
    """What determines a cell's figures.

    Parameters
    ----------
    label
        Of the representation, as the table shows it.
    representation
        Its config, before it was fitted.
    model
        Name of the model.
    candidates
        Settings that the search tries, in order.
    size
        Training rows, or ``all``.
    seed, fold
        Numbers.
    search_rows
        Most rows that a candidate of the search is fitted on.
    device
        Where networks are trained.
    """

    label: str
    representation: Mapping[str, Any]
    model: str
    candidates: tuple[Mapping[str, Any], ...]
    size: int | str
    seed: int
    fold: int
    search_rows: int
    device: str = "cpu"

    def identity(self, rows: Mapping[str, Any]) -> dict[str, Any]:
        """Everything that the figures depend on, ready for JSON."""
        told: dict[str, Any] = {
            "format": FORMAT,
            "version": version("crystalcodec"),
            "rows": dict(rows),
            "representation": dict(self.representation),
            "model": self.model,
            "candidates": [dict(settings) for settings in self.candidates],
            "size": self.size,
            "seed": self.seed,
            "fold": self.fold,
            "search_rows": self.search_rows,
        }
        if self.model not in ESTIMATORS:
            told |= {"device": self.device, "network_format": NETWORK_FORMAT}
        return told

    @property
    def rank(self) -> int:
        """How expensive its model is beside the others."""
        return ESTIMATORS[self.model].rank if self.model in ESTIMATORS else network(self.model).rank


def is_current(identity: Mapping[str, Any]) -> bool:
    """Whether a cell of that identity is computed as cells are now."""
    network = identity["model"] not in ESTIMATORS
    return identity["format"] == FORMAT and (
        not network or identity.get("network_format") == NETWORK_FORMAT
    )


def candidates_of(model: str, budget: int, settings: Mapping[str, Any]) -> tuple[Any, ...]:
    """The first candidates of a model, as many as the budget allows, with the given settings."""
    source: Any = ESTIMATORS.get(model) or network(model)
    chosen: list[dict[str, Any]] = []
    for candidate in source.candidates:
        one = {**candidate, **settings}
        if one not in chosen:
            chosen.append(one)
    return tuple(chosen[:budget])


def why_not(cell: Cell, n: int, length: float, limits: Any) -> str | None:
    """Why a cell of n training rows and so many numbers a crystal is not begun, or None."""
    source: Any = ESTIMATORS.get(cell.model) or network(cell.model)
    reason: str | None = source.refusal(n, length, limits)
    if reason:
        return reason
    needed = source.memory(n, length) / 2**30
    if needed > limits.cell_gib:
        return (
            f"{n:,} rows of {length:,.0f} numbers would take {needed:.1f} GiB of memory, above "
            f"{limits.cell_gib:g} GiB (cell_gib)"
        )
    return None


def run_cell(
    cell: Cell, features_folder: Path | None, targets: Floats, fold: Fold
) -> dict[str, Any]:
    """Search, fit on all training rows of the cell, predict the test rows; gives the figures.

    Crystals that the representation cannot hold are left out of the fit, and in the test they are
    predicted as the mean of all training targets.

    Raises
    ------
    CellError
        No candidate can be fitted, too few rows are held, or a prediction is not finite.
    """
    trained = training_rows(fold, cell.fold, cell.size, cell.seed)
    mean = float(targets[trained].mean())
    predictions = np.full(len(fold.test), mean)
    figures: dict[str, Any] = {"n_train": len(trained), "n_test": len(fold.test)}
    if features_folder is None:
        held_train, held_test = np.ones(len(trained), bool), np.ones(len(fold.test), bool)
        figures |= {"settings": {}, "search": [], "search_seconds": 0.0, "train_seconds": 0.0}
        figures["predict_seconds"] = 0.0
    else:
        features = Features.open(features_folder, len(targets))
        held_train, held_test = features.held(trained), features.held(fold.test)
        runner = _Runner(cell, features, targets)
        figures |= runner.fit(trained[held_train])
        started = clock(cell.device)
        predictions[held_test] = runner.predict(fold.test[held_test])
        figures["predict_seconds"] = clock(cell.device) - started
    true = targets[fold.test]
    if not np.isfinite(predictions).all():
        raise CellError(f"{int((~np.isfinite(predictions)).sum())} predictions are not finite")
    figures |= {
        "n_train_not_held": int((~held_train).sum()),
        "n_test_not_held": int((~held_test).sum()),
        "mae": mae(true, predictions),
        "rmse": rmse(true, predictions),
        "r2": r2(true, predictions),
        "mae_held": mae(true[held_test], predictions[held_test]) if held_test.any() else None,
    }
    return figures


def clock(device: str = "cpu") -> float:
    """Seconds that count as time: of the processor, which other work on the machine leaves alone.

    A cell has one thread. Where an accelerator computes, the processor waits: seconds of the wall.
    """
    return time.process_time() if device == "cpu" else time.perf_counter()


class _Runner:
    """Search and fit of one cell, the same for models of both kinds."""

    def __init__(self, cell: Cell, features: Features, targets: Floats) -> None:
        self.cell, self.features, self.targets = cell, features, targets
        self.predict: Callable[[Ints], Floats]

    def fit(self, rows: Ints) -> dict[str, Any]:
        """Search among the candidates, fit the best on all rows."""
        if len(rows) < 10:
            raise CellError(
                f"{len(rows)} training crystals are held by the representation, wanted at least 10"
            )
        started = clock(self.cell.device)
        tried, best = self._search(rows)
        searched = clock(self.cell.device)
        self.predict = self._fitter(rows, searching=False)(best)
        return {
            "settings": dict(best),
            "search": tried,
            "search_seconds": searched - started,
            "train_seconds": clock(self.cell.device) - searched,
        }

    def _search(self, rows: Ints) -> tuple[list[dict[str, Any]], Mapping[str, Any]]:
        """What each candidate reached on a tenth of the rows, and the best."""
        candidates = self.cell.candidates
        if len(candidates) == 1:
            return [], candidates[0]
        n_validation = max(1, round(VALIDATION_SHARE * len(rows)))
        # Rows are in random order; which end is held out does not depend on the model.
        held_out, rest = rows[-n_validation:], rows[:-n_validation]
        rest = rest[: self.cell.search_rows]
        fit = self._fitter(rest, searching=True)
        tried: list[dict[str, Any]] = []
        for settings in candidates:
            entry: dict[str, Any] = {"settings": dict(settings), "mae": None}
            try:
                entry["mae"] = mae(self.targets[held_out], fit(settings)(held_out))
            except (ValueError, ArithmeticError, np.linalg.LinAlgError) as error:
                entry["error"] = f"{type(error).__name__}: {error}"
            tried.append(entry)
        worked = [entry for entry in tried if entry["mae"] is not None]
        if not worked:
            raise CellError(f"no candidate of the search can be fitted: {tried[0]['error']}")
        return tried, min(worked, key=lambda entry: entry["mae"])["settings"]

    def _fitter(
        self, rows: Ints, *, searching: bool
    ) -> Callable[[Mapping[str, Any]], Callable[[Ints], Floats]]:
        """From settings to a function that predicts rows."""
        cell, targets = self.cell, self.targets[rows]
        if cell.model not in ESTIMATORS:
            return lambda settings: partial(
                network(cell.model)
                .fit(
                    self.features,
                    rows,
                    targets,
                    settings,
                    cell.seed,
                    cell.device,
                    searching=searching,
                )
                .predict,
                self.features,
            )
        estimator = ESTIMATORS[cell.model]
        prepared = estimator.prepare(self.features.matrix(rows), targets)

        def fit(settings: Mapping[str, Any]) -> Callable[[Ints], Floats]:
            used = estimator.in_search(settings) if searching else settings
            fitted = estimator.fit(prepared, used, cell.seed)
            return partial(_in_blocks, fitted.predict, self.features)

        return fit


def _in_blocks(predict: Callable[[Any], Floats], features: Features, rows: Ints) -> Floats:
    """Predictions of rows, without all their numbers in memory at once."""
    parts = [
        predict(features.matrix(rows[start : start + 1024])) for start in range(0, len(rows), 1024)
    ]
    return np.concatenate([np.zeros(0), *parts])
