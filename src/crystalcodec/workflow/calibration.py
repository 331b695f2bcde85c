"""Intervals of a model: calibrated on validation crystals, checked on others, kept with the run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from crystalcodec.evaluation.intervals import (
    Conformal,
    coverage_figures,
    cross_fitted,
    rows_needed,
)
from crystalcodec.workflow.checkpoints import (
    FORMAT,
    CheckpointError,
    load_weights,
    save_weights,
)
from crystalcodec.workflow.ensembles import averaged
from crystalcodec.workflow.runs import sha256, write_json

__all__ = [
    "Calibration",
    "HeldOut",
    "limit_of",
    "open_held_out",
    "pooled",
    "save_held_out",
]

Floats = npt.NDArray[np.float64]

CALIBRATION: Final = "calibration.json"
SCORES: Final = "calibration.safetensors"
HELD_OUT: Final = "held_out.safetensors"
COVERAGES: Final = (0.5, 0.8, 0.9, 0.95)
"""Coverages that are checked when a calibration is made."""
FOLDS: Final = 10


@dataclass(frozen=True, eq=False)
class HeldOut:
    """What a model said of held-out crystals, and what is true.

    Parameters
    ----------
    targets, values : (n, t)
        True and predicted, in the units of the targets; NaN where there is none.
    spread : (n, t)
        Standard deviation over the members of an ensemble; None for one network.
    distances : (n,)
        To the training crystals; None where they are not measured.
    n_elements : (n,)
        Different elements of each crystal.
    content_hash
        Of the dataset that the crystals come from.
    """

    targets: Floats
    values: Floats
    spread: Floats | None
    distances: Floats | None
    n_elements: npt.NDArray[np.int64]
    content_hash: str = ""

    def column(self, i: int) -> tuple[Floats, Floats, Floats | None]:
        """Targets, values and spread of one target."""
        spread = None if self.spread is None else self.spread[:, i]
        return self.targets[:, i], self.values[:, i], spread

    def groups(self) -> dict[str, npt.NDArray[np.bool_]]:
        """(n,) masks: by number of elements, and by quarter of the distance."""
        names = {1: "1 element", 2: "2 elements", 3: "3 elements"}
        found = {name: self.n_elements == n for n, name in names.items()}
        found["4 or more elements"] = self.n_elements > 3
        if self.distances is not None and np.isfinite(self.distances).any():
            edges = np.nanquantile(self.distances, [0.25, 0.5, 0.75])
            quarter = np.where(np.isfinite(self.distances), np.digitize(self.distances, edges), -1)
            found |= {f"distance, quarter {k + 1} of 4": quarter == k for k in range(4)}
        return {name: rows for name, rows in found.items() if rows.any()}


@dataclass(frozen=True, eq=False)
class Calibration:
    """Intervals for the targets of a model.

    Parameters
    ----------
    conformals
        By target.
    document
        What ``calibration.json`` holds: how it was made, and the coverage that was measured.
    """

    conformals: Mapping[str, Conformal]
    document: Mapping[str, Any]

    @classmethod
    def fit(
        cls,
        units: Mapping[str, str],
        held_out: Mapping[str, HeldOut],
        limits: Mapping[str, float | None],
        members: int = 1,
    ) -> Calibration:
        """Calibrate on ``held_out["validation"]``; check on ``"test"``, or by folds of it.

        Parameters
        ----------
        units
            Unit of each target, in the order of the columns.
        held_out
            By part of the data.
        limits
            Below which no interval of a target reaches, None for none: :func:`limit_of`.
        members
            Networks whose mean the model is.
        """
        validation, test = held_out["validation"], held_out.get("test")
        conformals: dict[str, Conformal] = {}
        described: dict[str, Any] = {}
        for i, (name, unit) in enumerate(units.items()):
            limit = limits[name]
            targets, values, spread = validation.column(i)
            conformal = conformals[name] = Conformal.fit(targets, values, spread, limit)
            checked = {
                f"{coverage:g}": _checked(conformal, validation, test, i, coverage)
                for coverage in COVERAGES
            }
            error = np.abs(values - targets)
            described[name] = {
                "unit": unit,
                "score": "|error|" if conformal.floor is None else "|error| / (spread + floor)",
                "n": len(conformal.scores),
                "floor": conformal.floor,
                "lower_limit": conformal.lower_limit,
                "quantiles": {f"{c:g}": conformal.quantile(c) for c in COVERAGES},
                "coverage": checked,
                "spread_and_error": _grows(spread, error),
                "distance_and_error": _grows(validation.distances, error),
            }
        document = {
            "format": FORMAT,
            "calibrated_on": "validation",
            "checked_on": "test" if test is not None else f"validation, {FOLDS} folds",
            "members": members,
            "targets": described,
        }
        return cls(conformals, document)

    def intervals(
        self,
        names: Sequence[str],
        values: Floats,
        spread: Floats | None,
        coverage: float,
    ) -> tuple[Floats, Floats, dict[str, str]]:
        """(n, t) lower and upper ends of (n, t) values, NaN where there is none; why, by target.

        Raises
        ------
        IntervalError
            A coverage that is not between 0 and 1, or no spread where it was calibrated with one.
        """
        lower, upper = np.full(values.shape, np.nan), np.full(values.shape, np.nan)
        why = {}
        for i, name in enumerate(names):
            conformal = self.conformals.get(name)
            if conformal is None:
                continue
            wanted, there = rows_needed(coverage), len(conformal.scores)
            if there < wanted:
                why[name] = (
                    f"no {100 * coverage:g} % interval: it needs at least {wanted} validation "
                    f"crystals, the model has {there}"
                )
            column = None if spread is None else spread[:, i]
            lower[:, i], upper[:, i] = conformal.interval(values[:, i], coverage, column)
        return lower, upper, why

    def coverage_on(self, names: Sequence[str], rows: HeldOut) -> dict[str, Any]:
        """Measured coverage on rows that it was not calibrated with, by target and coverage."""
        return {
            name: {
                f"{coverage:g}": _measured(self.conformals[name], rows, i, coverage)
                for coverage in COVERAGES
            }
            for i, name in enumerate(names)
            if name in self.conformals
        }

    def save(self, folder: Path, header: Mapping[str, Any] | None = None) -> None:
        """Write ``calibration.json`` and the sorted scores, each whole or not at all.

        ``header`` is kept beside the document, and so is the SHA-256 of the scores.
        """
        kept = {
            name: {"floor": one.floor, "lower_limit": one.lower_limit}
            for name, one in self.conformals.items()
        }
        scores = {
            # Rounded up: float32 must not make an interval smaller.
            name: torch.from_numpy(np.nextafter(one.scores.astype(np.float32), np.float32(np.inf)))
            for name, one in self.conformals.items()
        }
        save_weights(folder / SCORES, scores, {"kind": "calibration", "targets": kept})
        document = {**self.document, **(header or {}), "scores_sha256": sha256(folder / SCORES)}
        write_json(folder / CALIBRATION, document)

    @classmethod
    def open(cls, folder: Path) -> Calibration:
        """Read what :meth:`save` wrote.

        Raises
        ------
        CheckpointError
            A file that is missing, damaged or of something else.
        """
        tensors, header = load_weights(folder / SCORES)
        try:
            if header["kind"] != "calibration":
                raise KeyError("kind")
            conformals = {
                name: Conformal(tensors[name].double().numpy(), **kept)
                for name, kept in header["targets"].items()
            }
            document = json.loads((folder / CALIBRATION).read_text(encoding="utf-8"))
            if document["format"] != FORMAT:
                raise KeyError("format")
            # Documents of before it was written have none.
            if document.pop("scores_sha256", digest := sha256(folder / SCORES)) != digest:
                raise ValueError("other scores than it was written with")
        except (KeyError, TypeError, ValueError, OSError) as error:
            raise CheckpointError(
                f"the calibration in {folder} is damaged or of another version: {error!r}"
            ) from None
        return cls(conformals, document)


def limit_of(training_targets: Floats) -> float | None:
    """0 where no training target is negative, as for a band gap; None otherwise."""
    known = training_targets[np.isfinite(training_targets)]
    return 0.0 if len(known) and known.min() >= 0 else None


def save_held_out(path: Path, held_out: Mapping[str, HeldOut]) -> None:
    """Write what a run said of held-out crystals, for the calibration of ensembles with it."""
    tensors: dict[str, torch.Tensor] = {}
    for part, rows in held_out.items():
        arrays = {
            "targets": rows.targets,
            "values": rows.values,
            "spread": rows.spread,
            "distances": rows.distances,
            "n_elements": rows.n_elements.astype(np.int8),
        }
        tensors |= {
            f"{part}.{name}": torch.from_numpy(np.ascontiguousarray(array))
            for name, array in arrays.items()
            if array is not None
        }
    hashes = {part: rows.content_hash for part, rows in held_out.items()}
    save_weights(path, tensors, {"kind": "held out", "content_hashes": hashes})


def open_held_out(path: Path) -> dict[str, HeldOut]:
    """Read a file of :func:`save_held_out`; raises CheckpointError."""
    tensors, header = load_weights(path)
    try:
        if header["kind"] != "held out":
            raise KeyError("kind")
        arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
        return {
            part: HeldOut(
                arrays[f"{part}.targets"],
                arrays[f"{part}.values"],
                arrays.get(f"{part}.spread"),
                arrays.get(f"{part}.distances"),
                arrays[f"{part}.n_elements"].astype(np.int64),
                content_hash,
            )
            for part, content_hash in header["content_hashes"].items()
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} is damaged or holds something else: {error!r}") from None


def pooled(members: Sequence[Mapping[str, HeldOut]]) -> dict[str, HeldOut]:
    """What the mean of several runs says of the crystals that all of them were measured on.

    Parts whose crystals differ from run to run are left out. Distances are those of the first.
    """
    first = members[0]
    together = {}
    for part, rows in first.items():
        theirs = [member.get(part) for member in members]
        if any(
            other is None
            or other.content_hash != rows.content_hash
            or not np.array_equal(other.targets, rows.targets, equal_nan=True)
            for other in theirs
        ):
            continue
        values, spread = averaged([other.values for other in theirs if other is not None])
        together[part] = HeldOut(
            rows.targets, values, spread, rows.distances, rows.n_elements, rows.content_hash
        )
    return together


def _checked(
    conformal: Conformal, validation: HeldOut, test: HeldOut | None, i: int, coverage: float
) -> dict[str, Any]:
    """Measured coverage of one target, on rows that its intervals were not calibrated with."""
    if test is not None:
        return _measured(conformal, test, i, coverage)
    targets, values, spread = validation.column(i)
    limit = conformal.lower_limit
    lower, upper = cross_fitted(targets, values, coverage, spread, limit, folds=FOLDS)
    return coverage_figures(targets, lower, upper, validation.groups())


def _measured(conformal: Conformal, rows: HeldOut, i: int, coverage: float) -> dict[str, Any]:
    targets, values, spread = rows.column(i)
    lower, upper = conformal.interval(values, coverage, spread)
    return coverage_figures(targets, lower, upper, rows.groups())


def _grows(signal: Floats | None, errors: Floats) -> dict[str, Any] | None:
    """Whether errors grow with a signal: Spearman's correlation, and the mean error by quarter."""
    from scipy.stats import rankdata

    if signal is None:
        return None
    used = np.isfinite(signal) & np.isfinite(errors)
    signal, errors = signal[used], errors[used]
    if len(signal) < 4 or np.ptp(signal) == 0 or np.ptp(errors) == 0:
        return None
    spearman = np.corrcoef(rankdata(signal), rankdata(errors))[0, 1]
    quarters = np.array_split(errors[np.argsort(signal, kind="stable")], 4)
    return {
        "n": len(signal),
        "spearman": float(spearman),
        "mae_by_quarter": [float(quarter.mean()) for quarter in quarters],
    }
