"""Predictions of a trained run for crystals or files."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt
import torch

from crystalcodec.crystals import Crystals
from crystalcodec.failures import Failure
from crystalcodec.io.whole import whole_file
from crystalcodec.models.base import Predictor
from crystalcodec.models.scaling import Scaling
from crystalcodec.representations.base import Representation
from crystalcodec.workflow.config import AugmentationConfig
from crystalcodec.workflow.runs import Run, open_run
from crystalcodec.workflow.samples import Samples, encode_samples, ragged_arrays, redescribe
from crystalcodec.workflow.targets import TargetTransform

__all__ = ["PredictionError", "Predictions", "predict", "predict_files", "predict_with"]

Floats = npt.NDArray[np.float64]
# Large enough that the time goes into arithmetic, small enough for the memory of any machine:
# crystals drawn and encoded at once, and crystals that go through the network at once.
_DRAWN, _BATCH = 4096, 512


class PredictionError(ValueError):
    """Predictions that cannot be made or written at all."""


@dataclass(frozen=True)
class Predictions:
    """One value for each crystal, NaN where there is none, and why.

    Parameters
    ----------
    target, unit
        The property and its unit.
    values : (n,)
        Predicted values.
    failures
        One for each crystal without a value; their index is its row.
    ids, sources, formulas : (n,)
        Of each row; a file that could not be read has no formula.
    """

    target: str
    unit: str
    values: Floats
    failures: tuple[Failure, ...]
    ids: tuple[str, ...]
    sources: tuple[str, ...]
    formulas: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.values)

    def rows(self) -> list[dict[str, Any]]:
        """One row for each crystal: source, id, formula, value or None, reason, detail."""
        why = {failure.index: failure for failure in self.failures}
        table = []
        for i, value in enumerate(self.values.tolist()):
            failure = why.get(i)
            table.append(
                {
                    "source": self.sources[i],
                    "id": self.ids[i],
                    "formula": self.formulas[i],
                    # A float32 network has seven digits.
                    self.target: None if failure else float(f"{value:.7g}"),
                    "unit": self.unit,
                    "reason": failure.reason if failure else "",
                    "detail": failure.detail if failure else "",
                }
            )
        return table

    def write(self, path: str | Path) -> None:
        """Write the rows as ``.csv``, ``.json`` or ``.parquet``, by the ending; whole or not.

        Raises
        ------
        PredictionError
            Another ending.
        OSError
            Where the file cannot be written.
        """
        path = Path(path)
        check_table_path(path)
        with whole_file(path) as partial:
            if path.suffix == ".json":
                text = json.dumps(self.rows(), indent=1, ensure_ascii=False)
                Path(partial).write_text(text + "\n", encoding="utf-8")
            elif path.suffix == ".csv":
                with Path(partial).open("w", newline="", encoding="utf-8") as file:
                    self.write_csv(file)
            else:
                import pyarrow as pa
                import pyarrow.parquet as pq

                table = {name: [row[name] for row in self.rows()] for name in self._columns}
                table[self.target] = pa.array(table[self.target], pa.float64())
                pq.write_table(pa.table(table), partial, compression="zstd")

    def write_csv(self, file: TextIO) -> None:
        """Write the rows to an open text file."""
        writer = csv.DictWriter(file, self._columns)
        writer.writeheader()
        writer.writerows(self.rows())

    @property
    def _columns(self) -> list[str]:
        return ["source", "id", "formula", self.target, "unit", "reason", "detail"]


def check_table_path(path: str | Path) -> None:
    """Raise PredictionError where no table can be written under that name."""
    if Path(path).suffix not in (".csv", ".json", ".parquet"):
        raise PredictionError(f"{path}: wanted a name that ends in .csv, .json or .parquet")


def predict(
    run: Run | str | Path,
    crystals: Crystals,
    *,
    ids: Sequence[str] | None = None,
    copies: int | None = None,
) -> Predictions:
    """Predict the property of crystals.

    Parameters
    ----------
    run
        A run or its folder.
    crystals
        Any number of crystals.
    ids
        One for each; their positions where None.
    copies
        Augmented copies to average over; as the run was configured where None. With copies the
        value of a crystal depends, a little, on its place in the batch.

    Raises
    ------
    RunError
        A folder that holds no finished run, or damaged files.
    PredictionError
        Another number of ids than of crystals, or copies of a run without augmentation.
    """
    run = run if isinstance(run, Run) else open_run(run)
    names = tuple(map(str, range(len(crystals)) if ids is None else ids))
    augmentation = run.config.augmentation
    if copies and not augmentation.names:
        raise PredictionError(
            f"{copies} copies asked for, but the run was trained without augmentation: its config "
            "names none to draw them by"
        )
    if copies is not None:
        augmentation = augmentation.model_copy(update={"copies": copies})
    if len(names) != len(crystals):
        raise PredictionError(f"{len(names)} ids for {len(crystals)} crystals: wanted one for each")
    values, failures = predict_with(
        run.predictor,
        run.representation,
        run.scaling,
        run.transform,
        crystals,
        augmentation,
        run.config.seed,
        run.config.machine.precision,
    )
    return Predictions(
        run.target, run.unit, values, failures, names, ("",) * len(values), crystals.formulas
    )


def predict_files(
    run: Run | str | Path,
    files: Sequence[str | Path],
    *,
    copies: int | None = None,
    **reading: Any,
) -> Predictions:
    """Predict for every crystal in files, folders, archives or tables.

    What cannot be read is a row with its reason, after the crystals. ``reading`` goes to
    :func:`crystalcodec.io.read`, whose errors this raises, too.
    """
    from crystalcodec.io import read

    run = run if isinstance(run, Run) else open_run(run)
    loaded = read(files, **reading)
    made = predict(run, loaded.crystals, ids=loaded.ids, copies=copies)
    n = len(made)
    unread = [
        Failure(n + i, f.reason, f.detail, f.source, f.line) for i, f in enumerate(loaded.failures)
    ]
    blank = ("",) * len(unread)
    return Predictions(
        run.target,
        run.unit,
        np.concatenate([made.values, np.full(len(unread), np.nan)]),
        (*made.failures, *unread),
        made.ids + blank,
        (*map(str, loaded.sources), *(f.source for f in unread)),
        made.formulas + blank,
    )


def predict_with(
    predictor: Predictor,
    representation: Representation,
    scaling: Scaling,
    transform: TargetTransform,
    crystals: Crystals,
    augmentation: AugmentationConfig,
    seed: int,
    precision: str = "32-true",
) -> tuple[Floats, tuple[Failure, ...]]:
    """(n,) values in the unit of the target, NaN where a crystal cannot be held, and why.

    Every cell is made right-handed first, which moves no atom. The network works in the precision
    that it was trained in; its last layer always in float32.
    """
    crystals = crystals.right_handed()
    failures = tuple(representation.refuse(crystals))
    kept = np.ones(len(crystals), bool)
    kept[[failure.index for failure in failures]] = False
    index = np.flatnonzero(kept)
    values = np.full(len(crystals), np.nan)
    held = crystals[index]
    ragged = ragged_arrays(representation)
    device = next(predictor.parameters()).device
    copies = augmentation.copies if augmentation.names else 0
    total = np.zeros(len(held))
    for start in range(0, len(held), _DRAWN):
        part = held[start : start + _DRAWN]
        for copy in range(max(1, copies)):
            drawn = part
            if copies:
                # Not the generators of the epochs, which are (seed, epoch).
                rng = np.random.default_rng([seed, start, copy, 1])
                drawn = redescribe(part, augmentation.names, rng)
            encoded = representation.encode(drawn)
            samples = encode_samples(encoded, scaling, ragged, device)
            learned = learnt(predictor, samples, precision)
            total[start : start + _DRAWN] += transform.undo(learned)
    values[index] = total / max(1, copies)
    return _without_overflow(values, index, failures)


def learnt(predictor: torch.nn.Module, samples: Samples, precision: str = "32-true") -> Floats:
    """(n,) what the model gives for samples: the transform of the target is not undone."""
    parts = []
    device = next(predictor.parameters()).device
    with torch.no_grad(), _autocast(precision, device):
        for start in range(0, samples.n, _BATCH):
            index = torch.arange(start, min(samples.n, start + _BATCH), device=device)
            parts.append(predictor(samples.batch(index))[:, 0].double().cpu().numpy())
    return np.concatenate(parts) if parts else np.zeros(0)


def _autocast(precision: str, device: torch.device) -> torch.autocast:
    kind = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(precision)
    # A processor has no float16 arithmetic worth using: float32 is the same, and more exact.
    used = kind is not None and not (kind is torch.float16 and device.type == "cpu")
    return torch.autocast(device.type, dtype=kind or torch.bfloat16, enabled=used)


def _without_overflow(
    values: Floats, index: npt.NDArray[np.int64], failures: tuple[Failure, ...]
) -> tuple[Floats, tuple[Failure, ...]]:
    """A value that is not finite is no answer: NaN and a reason."""
    bad = index[~np.isfinite(values[index])]
    values[bad] = np.nan
    more = [Failure(int(i), "prediction not finite", "far outside the training data") for i in bad]
    return values, tuple(sorted((*failures, *more), key=lambda failure: failure.index))
