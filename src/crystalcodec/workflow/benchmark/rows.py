"""The rows of a benchmark: crystals and targets, and which are trained on and tested."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.data import Dataset
from crystalcodec.data.splitting import Split
from crystalcodec.io.whole import whole_file
from crystalcodec.workflow.benchmark.config import BenchmarkConfig, BenchmarkData
from crystalcodec.workflow.targets import TargetError, target_values

__all__ = ["Fold", "Rows", "load_rows", "open_rows", "training_rows"]

Ints = npt.NDArray[np.int64]
_ARRAYS = ("lattices", "frac_coords", "numbers", "offsets", "targets")


@dataclass(frozen=True)
class Fold:
    """Positions of the rows that are trained on and of those that are tested."""

    train: Ints
    test: Ints


@dataclass(frozen=True)
class Rows:
    """All crystals that have the target, and how they are divided.

    Parameters
    ----------
    crystals, targets
        n of them; every cell is right-handed.
    folds
        One where a test set is given.
    unit
        Of the target.
    datasets
        Path, content hash, rows and rows without the target of each file.
    """

    crystals: Crystals
    targets: npt.NDArray[np.float64]
    folds: tuple[Fold, ...]
    unit: str
    datasets: tuple[Mapping[str, Any], ...]

    @property
    def crystals_hash(self) -> str:
        """Content hash of the crystals in their order."""
        return self.crystals.content_hash

    def identity(self) -> dict[str, Any]:
        """What makes the rows these rows: hashes of crystals, targets and division."""
        division = hashlib.sha256()
        for fold in self.folds:
            for part in (fold.train, fold.test):
                division.update(f"{len(part)} ".encode())
                division.update(part.astype("<i8").tobytes())
        return {
            "crystals": self.crystals_hash,
            "targets": hashlib.sha256(self.targets.astype("<f8").tobytes()).hexdigest(),
            "division": division.hexdigest(),
        }

    def save(self, folder: Path) -> None:
        """Write what the workers read: .npy files, each whole."""
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {name: getattr(self.crystals, name) for name in _ARRAYS[:-1]}
        arrays["targets"] = self.targets
        for i, fold in enumerate(self.folds):
            arrays |= {f"train-{i}": fold.train, f"test-{i}": fold.test}
        for name, array in arrays.items():
            with whole_file(folder / f"{name}.npy") as partial, partial.open("wb") as file:
                np.save(file, array, allow_pickle=False)


def open_rows(folder: Path) -> tuple[Crystals, npt.NDArray[np.float64], tuple[Fold, ...]]:
    """Crystals, targets and folds that :meth:`Rows.save` wrote."""
    columns = [np.load(folder / f"{name}.npy", allow_pickle=False) for name in _ARRAYS]
    n_folds = len(list(folder.glob("train-*.npy")))
    folds = tuple(
        Fold(
            *(np.load(folder / f"{part}-{i}.npy", allow_pickle=False) for part in ("train", "test"))
        )
        for i in range(n_folds)
    )
    return Crystals(*columns[:4]), columns[4], folds


def load_rows(config: BenchmarkConfig, folder: Path) -> Rows:
    """Read the datasets and divide them; files of other formats are imported into the folder.

    Raises
    ------
    DatasetError, TargetError
        A dataset that cannot be read, without the target, or without rows to train on or test.
    """
    data, target = config.data, config.target
    parts = [_read(path, target, folder) for path in data.dataset]
    tests = [_read(path, target, folder) for path in data.test]
    units = {d.metadata.units.get(target, "") for d in (*parts, *tests)} - {""}
    if config.unit:
        units = {config.unit}
    if len(units) > 1:
        raise TargetError(f"{target!r} has several units: {', '.join(sorted(units))}")
    described, crystals, targets, kept_of = [], [], [], []
    for path, part in zip((*data.dataset, *data.test), (*parts, *tests), strict=True):
        values = target_values(part, target, "benchmark")
        kept = np.flatnonzero(~np.isnan(values))
        crystals.append(part.crystals[kept].right_handed())
        targets.append(values[kept])
        kept_of.append(kept)
        described.append(
            {
                "path": str(path),
                "content_hash": part.content_hash,
                "n": len(part),
                "n_without_target": len(part) - len(kept),
            }
        )
    sizes = [len(kept) for kept in kept_of]
    n = sum(sizes)
    if tests:
        n_train = sum(sizes[: len(parts)])
        folds: tuple[Fold, ...] = (Fold(np.arange(n_train), np.arange(n_train, n)),)
    else:
        folds = _divide(data, parts, kept_of, n)
    values = np.concatenate(targets)
    for fold in folds:
        if len(fold.train) < 20 or not len(fold.test):
            raise TargetError(
                f"{len(fold.train)} rows with {target!r} to train on and {len(fold.test)} to test: "
                "wanted at least 20 and 1"
            )
        if np.ptp(values[fold.train]) == 0:
            raise TargetError(f"{target!r} is the same in all training rows: nothing to learn")
    unit = next(iter(units), "")
    return Rows(Crystals.concatenate(crystals), values, folds, unit, tuple(described))


def training_rows(fold: Fold, number: int, size: int | str, seed: int) -> Ints:
    """The training rows of a cell, in a random order of which smaller sizes are the beginning."""
    order = np.random.default_rng([seed, number]).permutation(fold.train)
    return order if size == "all" else order[: int(size)]


def _divide(
    data: BenchmarkData, parts: Sequence[Dataset], kept_of: Sequence[Ints], n: int
) -> tuple[Fold, ...]:
    if data.split is not None:
        return (_by_split(data, parts, kept_of),)
    if data.folds is None:
        raise TargetError(
            "nothing says what is tested: give test datasets, a split, or a number of folds"
        )
    if n < data.folds:
        raise TargetError(f"{n} rows do not make {data.folds} folds")
    # KFold of scikit-learn, which is what Matbench divides its datasets with.
    from sklearn.model_selection import KFold

    folds = KFold(n_splits=data.folds, shuffle=True, random_state=data.fold_seed)
    return tuple(Fold(*map(np.asarray, pair)) for pair in folds.split(np.arange(n)))


def _by_split(data: BenchmarkData, parts: Sequence[Dataset], kept_of: Sequence[Ints]) -> Fold:
    if len(parts) > 1:
        raise TargetError(f"a split belongs to one dataset, got {len(parts)}")
    split = Split.read(str(data.split))
    split.apply(parts[0])  # which refuses another dataset
    tested = "test" if split.parts.get("test") else "validation"
    names = {name: part for part, names in split.parts.items() for name in names}
    part_of = np.array([names.get(name, "") for name in parts[0].ids[kept_of[0]]])
    trained = [name for name in ("train", "validation") if name != tested]
    return Fold(np.flatnonzero(np.isin(part_of, trained)), np.flatnonzero(part_of == tested))


def _read(path: str, target: str, folder: Path) -> Dataset:
    """A Parquet dataset, or another file imported once into the folder."""
    if str(path).endswith(".parquet"):
        return Dataset.read(path, [target])
    from crystalcodec.data import import_dataset

    source = Path(path)
    if not source.exists():
        raise TargetError(f"no dataset {path}")
    told = source.stat()
    name = hashlib.sha256(
        json.dumps([str(source.resolve()), told.st_size, told.st_mtime_ns]).encode()
    ).hexdigest()[:16]
    imported = folder / f"{name}.parquet"
    if not imported.exists():
        folder.mkdir(parents=True, exist_ok=True)
        import_dataset(str(path), imported)
    return Dataset.read(imported, [target])
