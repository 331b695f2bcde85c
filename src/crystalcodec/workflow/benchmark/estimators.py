"""Models of scikit-learn on flattened arrays: their settings, their limits, what they need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

__all__ = ["ESTIMATORS", "Estimator", "Fitted"]

Floats = npt.NDArray[Any]
Settings = Mapping[str, Any]


class Fitted:
    """A fitted model, and how its numbers are scaled.

    Parameters
    ----------
    predictor
        Anything with ``predict``.
    columns
        What it was fitted on.
    mean, std
        Of the targets.
    """

    def __init__(self, predictor: Any, columns: Columns, mean: float, std: float) -> None:
        self.predictor, self.columns, self.mean, self.std = predictor, columns, mean, std

    def predict(self, numbers: Floats) -> Floats:
        """(n,) values of crystals (n, length)."""
        learnt = np.asarray(self.predictor.predict(self.columns.apply(numbers)), float)
        return learnt.reshape(len(numbers)) * self.std + self.mean


@dataclass(frozen=True)
class Columns:
    """Columns that differ between training crystals, standardised over them.

    A column that is the same in all training crystals tells nothing and is left out. Beyond the
    smallest and the largest training value a column stays at it: a linear model of few crystals
    otherwise makes huge numbers of one that was almost constant among them.

    Parameters
    ----------
    kept : (k,)
        Positions of the columns.
    center, scale, low, high : (k,)
        Mean, standard deviation and range over the training crystals.
    """

    kept: npt.NDArray[np.int64]
    center: Floats
    scale: Floats
    low: Floats
    high: Floats

    @classmethod
    def fit(cls, numbers: Floats) -> Columns:
        """Over crystals (n, length)."""
        mean = numbers.mean(axis=0, dtype=np.float64)
        std = numbers.std(axis=0, dtype=np.float64)
        # Rounding of the mean makes constant columns look as if they varied.
        kept = np.flatnonzero(std > 1e-6 * np.abs(mean))
        center, scale = mean[kept].astype(np.float32), std[kept].astype(np.float32)
        low, high = numbers.min(axis=0)[kept], numbers.max(axis=0)[kept]
        return cls(kept, center, scale, low, high)

    def apply(self, numbers: Floats) -> Floats:
        """(n, k) float32, standardised."""
        scaled = numbers[:, self.kept].astype(np.float32)
        np.clip(scaled, self.low, self.high, out=scaled)
        scaled -= self.center
        scaled /= self.scale
        return scaled


@dataclass(frozen=True)
class Prepared:
    """Scaled numbers and targets of training crystals.

    Parameters
    ----------
    columns, mean, std
        How numbers and targets were scaled.
    numbers : (n, k)
        Scaled.
    targets : (n,)
        Standardised.
    shared
        What the model computed once for all settings.
    """

    columns: Columns
    mean: float
    std: float
    numbers: Floats
    targets: Floats
    shared: Any = None


class Constant:
    """Predicts 0 standard deviations from the mean of the training targets."""

    def predict(self, numbers: Floats) -> Floats:
        """(n,) zeros."""
        return np.zeros(len(numbers))


class Linear:
    """Weights of standardised columns."""

    def __init__(self, weights: Floats) -> None:
        self.weights = weights

    def predict(self, numbers: Floats) -> Floats:
        """(n,) weighted sums."""
        return numbers @ self.weights


@dataclass(frozen=True)
class Estimator:
    """A model with an ordered list of candidate settings.

    Attributes
    ----------
    rank
        How expensive it is beside the others; the cheap ones run first.
    """

    rank: ClassVar[int] = 0
    candidates: tuple[Settings, ...] = ({},)

    def refusal(self, n: int, length: int, limits: Any) -> str | None:
        """Why so many training rows or numbers a crystal are not begun; None where they are."""
        del n, length, limits
        return None

    def memory(self, n: int, length: int) -> float:
        """Bytes reckoned to be needed: the rows as they are, scaled, and scaled once more."""
        return 12.0 * n * length

    def in_search(self, settings: Settings) -> Settings:
        """The settings that a candidate of the search is fitted with."""
        return settings

    def prepare(self, numbers: Floats, targets: Floats) -> Prepared:
        """What every candidate needs of crystals (n, length) and their targets (n,)."""
        columns = Columns.fit(numbers)
        mean, std = float(targets.mean()), float(targets.std()) or 1.0
        scaled, learnt = columns.apply(numbers), (targets - mean) / std
        shared = self._shared(scaled, learnt) if len(columns.kept) else None
        return Prepared(columns, mean, std, scaled, learnt, shared)

    def fit(self, prepared: Prepared, settings: Settings, seed: int) -> Fitted:
        """Fit on what was prepared, which is not changed."""
        predictor = Constant()
        if len(prepared.columns.kept):
            predictor = self._fit(prepared, settings, seed)
        return Fitted(predictor, prepared.columns, prepared.mean, prepared.std)

    def _shared(self, numbers: Floats, targets: Floats) -> Any:
        """What does not depend on the settings."""
        del numbers, targets

    def _fit(self, prepared: Prepared, settings: Settings, seed: int) -> Any:
        raise NotImplementedError


@dataclass(frozen=True)
class Dummy(Estimator):
    """The mean of the training targets."""

    def _fit(self, prepared: Prepared, settings: Settings, seed: int) -> Any:
        return Constant()


@dataclass(frozen=True)
class Ridge(Estimator):
    """Linear least squares with a penalty on the weights; closed form, by Cholesky.

    The normal equations have the size of the smaller of rows and columns: n x n in the dual form.
    """

    rank: ClassVar[int] = 1
    candidates: tuple[Settings, ...] = tuple(
        {"alpha": alpha} for alpha in (10.0, 1000.0, 0.1, 100.0, 1.0, 1e4, 0.01, 1e5)
    )

    def refusal(self, n: int, length: int, limits: Any) -> str | None:
        """By the smaller of rows and columns."""
        if min(n, length) > limits.ridge_rank:
            return (
                f"ridge solves for the smaller of {n:,} rows and {length:,} numbers, which is "
                f"above {limits.ridge_rank:,}"
            )
        return None

    def memory(self, n: int, length: int) -> float:
        """The rows, and the matrix of the normal equations three times."""
        return 12.0 * n * length + 24.0 * min(n, length) ** 2

    def _shared(self, numbers: Floats, targets: Floats) -> tuple[Floats, Floats]:
        """The matrix of the normal equations, without penalty, and their right side."""
        n, width = numbers.shape
        if width > n:
            return products(numbers, numbers), targets
        square = np.zeros((width, width))
        # float64: columns are often nearly dependent. In blocks, or the memory would double.
        for start in range(0, n, 4096):
            block = numbers[start : start + 4096].astype(float)
            square += block.T @ block
        return square, numbers.T.astype(float) @ targets

    def _fit(self, prepared: Prepared, settings: Settings, seed: int) -> Any:
        n, width = prepared.numbers.shape
        square, right = prepared.shared
        solution = solved(square.copy(), float(settings["alpha"]), right)
        if width > n:
            solution = (solution.astype(np.float32) @ prepared.numbers).astype(float)
        return Linear(solution)


@dataclass(frozen=True)
class RandomForest(Estimator):
    """Trees on bootstrap samples, a third of the columns (at most 64) looked at in each node."""

    rank: ClassVar[int] = 4
    candidates: tuple[Settings, ...] = (
        {"min_samples_leaf": 1, "columns": 1 / 3},
        {"min_samples_leaf": 1, "columns": "sqrt"},
        {"min_samples_leaf": 3, "columns": 1 / 3},
        {"min_samples_leaf": 1, "columns": 0.6},
    )
    trees: int = 60
    search_trees: int = 20
    most_columns: int = 64

    def in_search(self, settings: Settings) -> Settings:
        """Fewer trees, which rank the candidates as well."""
        return {"n_estimators": self.search_trees, **settings}

    def refusal(self, n: int, length: int, limits: Any) -> str | None:
        """By the numbers a crystal."""
        return _too_long(length, limits.forest_length, "a forest")

    def _fit(self, prepared: Prepared, settings: Settings, seed: int) -> Any:
        from sklearn.ensemble import RandomForestRegressor

        given = dict(settings)
        share, width = given.pop("columns"), prepared.numbers.shape[1]
        wanted = width**0.5 if share == "sqrt" else width * float(share)
        columns = max(1, min(round(wanted), self.most_columns, width))
        trees = int(given.pop("n_estimators", self.trees))
        model = RandomForestRegressor(
            trees, max_features=columns, random_state=seed, n_jobs=1, **given
        )
        return model.fit(prepared.numbers, prepared.targets)


@dataclass(frozen=True)
class HistGradientBoosting(Estimator):
    """Boosted trees on binned columns; a tenth of the rows tell when to stop adding trees."""

    rank: ClassVar[int] = 3
    candidates: tuple[Settings, ...] = (
        {"learning_rate": 0.1, "max_leaf_nodes": 31, "max_features": 0.3},
        {"learning_rate": 0.1, "max_leaf_nodes": 31, "max_features": 1.0},
        {"learning_rate": 0.05, "max_leaf_nodes": 31, "max_features": 0.3},
        {
            "learning_rate": 0.1,
            "max_leaf_nodes": 15,
            "max_features": 0.3,
            "min_samples_leaf": 5,
        },
    )
    most_trees: int = 400

    def refusal(self, n: int, length: int, limits: Any) -> str | None:
        """By the numbers a crystal."""
        return _too_long(length, limits.boosting_length, "boosting")

    def _fit(self, prepared: Prepared, settings: Settings, seed: int) -> Any:
        from sklearn.ensemble import HistGradientBoostingRegressor

        # 63 bins are four times as fast as 255 on some thousand rows, and as good there.
        chosen = {
            "max_iter": self.most_trees,
            "max_bins": 63,
            "early_stopping": True,
            "n_iter_no_change": 10,
            **settings,
        }
        model = HistGradientBoostingRegressor(random_state=seed, **chosen)
        return model.fit(prepared.numbers, prepared.targets)


@dataclass(frozen=True)
class KernelRidge(Estimator):
    """Least squares of Gaussians of the distance; ``width`` in units of 1 / number of columns."""

    rank: ClassVar[int] = 2
    candidates: tuple[Settings, ...] = (
        {"width": 0.3, "alpha": 0.01},
        {"width": 0.1, "alpha": 0.01},
        {"width": 1.0, "alpha": 0.01},
        {"width": 0.1, "alpha": 0.001},
        {"width": 0.03, "alpha": 0.001},
        {"width": 0.3, "alpha": 0.1},
    )

    def refusal(self, n: int, length: int, limits: Any) -> str | None:
        """By the training rows."""
        del length
        if n > limits.kernel_rows:
            return (
                f"kernel ridge takes time by the cube of its {n:,} rows, above "
                f"{limits.kernel_rows:,}"
            )
        return None

    def memory(self, n: int, length: int) -> float:
        """The rows, and three matrices of all pairs of them."""
        return 12.0 * n * length + 24.0 * n * n

    def _shared(self, numbers: Floats, targets: Floats) -> Floats:
        """Squared distances between the crystals."""
        del targets
        return squared_distances(numbers, numbers)

    def _fit(self, prepared: Prepared, settings: Settings, seed: int) -> Any:
        gamma = float(settings["width"]) / prepared.numbers.shape[1]
        kernel = prepared.shared * -gamma
        np.exp(kernel, out=kernel)
        weights = solved(kernel, float(settings["alpha"]), prepared.targets)
        return Gaussians(prepared.numbers, weights, gamma)


@dataclass(frozen=True)
class Gaussians:
    """A weighted sum of Gaussians at the training crystals."""

    numbers: Floats
    weights: Floats
    gamma: float

    def predict(self, numbers: Floats) -> Floats:
        """(n,) sums."""
        values: Floats = np.exp(-self.gamma * squared_distances(numbers, self.numbers))
        return values @ self.weights


def solved(square: Floats, penalty: float, right: Floats) -> Floats:
    """The solution of (square + penalty) x = right, a symmetric matrix that is overwritten.

    Raises
    ------
    LinAlgError
        With the penalty it is not positive definite.
    """
    from scipy.linalg import cho_factor, cho_solve

    square.flat[:: len(square) + 1] += penalty
    # Its transpose, which is the same, is in the order of LAPACK: no copy is made.
    factor = cho_factor(square.T, overwrite_a=True, check_finite=False)
    solution: Floats = cho_solve(factor, right, check_finite=False)
    return solution


def products(some: Floats, others: Floats) -> Floats:
    """(n, m) float64 scalar products of float32 rows.

    float32 within a thousand columns, which is twice as fast, and float64 over them.
    """
    total = np.zeros((len(some), len(others)))
    for start in range(0, some.shape[1], 1024):
        columns = slice(start, start + 1024)
        total += some[:, columns] @ others[:, columns].T
    return total


def squared_distances(some: Floats, others: Floats) -> Floats:
    """(n, m) float64 squared distances of float32 rows, at least 0."""
    distances = products(some, others)
    distances *= -2
    distances += np.einsum("ij,ij->i", some, some, dtype=float)[:, None]
    distances += np.einsum("ij,ij->i", others, others, dtype=float)
    return np.maximum(distances, 0.0, out=distances)


def _too_long(length: int, most: int, what: str) -> str | None:
    if length > most:
        return f"{length:,} numbers a crystal, {what} is tried on at most {most:,}"
    return None


ESTIMATORS: Final[Mapping[str, Estimator]] = {
    "dummy": Dummy(),
    "ridge": Ridge(),
    "kernel_ridge": KernelRidge(),
    "hist_gradient_boosting": HistGradientBoosting(),
    "random_forest": RandomForest(),
}
"""By name, the cheap ones first."""
