"""How far crystals are from those that a model was trained on, by its own hidden vectors."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from crystalcodec.crystals import Crystals
from crystalcodec.elements import SYMBOLS
from crystalcodec.failures import Failure
from crystalcodec.models.base import FullPrecisionLinear
from crystalcodec.workflow.checkpoints import CheckpointError, load_weights, save_weights

__all__ = [
    "ApplicabilityError",
    "HiddenVectors",
    "TrainingSpace",
    "element_warnings",
    "unseen_elements",
]

Floats = npt.NDArray[np.floating[Any]]
Ints = npt.NDArray[np.int64]

NEIGHBOURS: Final = 5
DIMENSIONS: Final = 4
"""Principal components that are kept. The small ones, divided by their deviation, count as much as
the large ones, and tell less of the error: `benchmarks/uncertainty.py` compares."""
FEW: Final = 20
"""An element in fewer training crystals than this is warned of."""
FAR: Final = 99.0
"""Per cent of validation crystals that a crystal must be further away than for a warning."""
_STEPS: Final = 1001


class ApplicabilityError(ValueError):
    """Vectors that no distance can be measured with."""


class HiddenVectors:
    """Collects the input of a network's last layer while it predicts, in the order of crystals.

    The last layer is the last :class:`~crystalcodec.models.base.FullPrecisionLinear`, or the last
    ``torch.nn.Linear`` where there is none. Where it is applied to the rows of a ragged axis, the
    mean over a crystal's rows is taken, and over all axes between the first and the last.

    Examples
    --------
    >>> network = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), FullPrecisionLinear(2, 1))
    >>> with HiddenVectors(network) as hidden:
    ...     _ = network(torch.zeros(4, 3))
    >>> hidden.rows().shape
    (4, 2)
    """

    def __init__(self, network: nn.Module) -> None:
        layers = [m for m in network.modules() if isinstance(m, nn.Linear)]
        layers = [m for m in layers if isinstance(m, FullPrecisionLinear)] or layers
        self._network, self._layer = network, layers[-1] if layers else None
        self._caught: Tensor | None = None
        self._parts: list[npt.NDArray[np.float32]] = []
        self._whole = True
        self._handles: list[Any] = []

    def __enter__(self) -> Self:
        if self._layer is not None:
            self._handles = [
                self._layer.register_forward_pre_hook(self._catch),
                self._network.register_forward_hook(self._keep),
            ]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for handle in self._handles:
            handle.remove()

    def rows(self) -> npt.NDArray[np.float32] | None:
        """(n, width) of all crystals so far.

        None where the network has no such layer, or one whose rows belong to no crystals.
        """
        return np.concatenate(self._parts) if self._parts and self._whole else None

    def _catch(self, layer: nn.Module, given: tuple[Any, ...]) -> None:
        self._caught = given[0].detach()

    def _keep(self, network: nn.Module, given: tuple[Any, ...], output: Tensor) -> None:
        if self._caught is None:
            return
        rows, self._caught = self._caught.float(), None
        if rows.ndim > 2:
            rows = rows.flatten(1, -2).mean(1)
        of_crystals = len(rows) == len(output)
        vectors = rows if of_crystals else _mean_by_crystal(rows, given[0], len(output))
        if vectors is None:
            self._whole = False
        else:
            self._parts.append(vectors.cpu().numpy())


@dataclass(frozen=True, eq=False)
class TrainingSpace:
    """Training crystals as points, and how far validation crystals are from them.

    The hidden vectors of training crystals, along their principal axes and divided by the standard
    deviation along each. The distance of a crystal is its mean distance to its five nearest
    training crystals, divided by the median of that over validation crystals: 1 is usual.

    Parameters
    ----------
    mean : (width,)
        Of the hidden vectors.
    axes : (width, k)
        From centred vectors to the k coordinates.
    points : (m, k), float16
        Training crystals, all or a random choice of them.
    ids : (m,)
        Their ids.
    reference : (v,)
        Distances of validation crystals before the division, ascending, or as many quantiles.
    element_counts : (119,)
        Training crystals with each element, by atomic number.
    label_counts : (t, 119)
        Those of them that have a value of the target, for each target of the run; None in runs
        of before they were counted.
    """

    mean: Floats
    axes: Floats
    points: npt.NDArray[np.float16]
    ids: tuple[str, ...]
    reference: Floats
    element_counts: Ints
    label_counts: Ints | None = None

    @classmethod
    def fit(
        cls,
        training: Floats,
        ids: Sequence[str],
        validation: Floats,
        element_counts: Ints,
        label_counts: Ints | None = None,
        *,
        dimensions: int = DIMENSIONS,
        limit: int = 10_000,
        seed: int = 0,
    ) -> TrainingSpace:
        """Fit on hidden vectors (n, width) of training and (v, width) of validation crystals.

        Raises
        ------
        ApplicabilityError
            No rows, other widths, another number of ids, or numbers that are not finite.
        """
        _check(training, ids, validation)
        mean = training.mean(0, dtype=np.float64)
        centred = training - mean
        axes = _whitening(centred, dimensions)
        chosen = np.arange(len(training))
        if len(chosen) > limit:
            chosen = np.sort(np.random.default_rng(seed).choice(chosen, limit, replace=False))
        largest = float(np.finfo(np.float16).max)
        plain = cls(
            mean.astype(np.float32),
            np.ascontiguousarray(axes, np.float32),
            np.clip(centred[chosen] @ axes, -largest, largest).astype(np.float16),
            tuple(str(ids[i]) for i in chosen.tolist()),
            np.ones(1, np.float32),
            np.asarray(element_counts, np.int64),
            label_counts,
        )
        reference = np.sort(plain._to_nearest(validation, NEIGHBOURS)[0].mean(1))
        if len(reference) > _STEPS:
            reference = np.quantile(reference, np.linspace(0, 1, _STEPS))
        return replace(plain, reference=reference.astype(np.float32))

    def distances(self, vectors: Floats) -> npt.NDArray[np.float64]:
        """(n,) distances of (n, width) hidden vectors; 1 is usual among validation crystals."""
        # Where validation repeats training the median is 0, and any distance is unusual.
        median = float(np.median(self.reference)) or float(np.finfo(np.float32).tiny)
        distances: npt.NDArray[np.float64] = self._to_nearest(vectors, NEIGHBOURS)[0].mean(1)
        return distances / median

    def percentiles(self, distances: Floats) -> npt.NDArray[np.float64]:
        """(n,) per cent of validation crystals that are nearer, of :meth:`distances`."""
        median = float(np.median(self.reference)) or float(np.finfo(np.float32).tiny)
        nearer = np.searchsorted(self.reference, np.asarray(distances) * median, side="left")
        percentiles: npt.NDArray[np.float64] = 100 * nearer / len(self.reference)
        return percentiles

    def nearest(self, vectors: Floats, n: int = NEIGHBOURS) -> list[list[str]]:
        """Ids of the n nearest training crystals of each vector, the nearest first."""
        _, index = self._to_nearest(vectors, n)
        return [[self.ids[i] for i in row] for row in index]

    def warnings(self, crystals: Crystals, percentiles: Floats) -> list[list[str]]:
        """What is unusual about each crystal, in words."""
        lines = element_warnings(crystals, self.element_counts)
        text = f"further from the training crystals than {FAR:g} % of validation"
        for i in np.flatnonzero(np.asarray(percentiles) >= FAR):
            lines[i].append(text)
        return lines

    def label_warnings(self, crystals: Crystals, target: int) -> list[str]:
        """For each crystal, its elements that few training crystals with this target have.

        Elements that few training crystals have at all are told by :meth:`warnings`.
        """
        lines = [""] * len(crystals)
        if self.label_counts is None:
            return lines
        counts = self.label_counts[target]
        rare = (counts < FEW) & (self.element_counts >= FEW)
        seldom = (crystals.element_counts > 0) & rare
        for i in np.flatnonzero(seldom.any(1)):
            told = [f"{SYMBOLS[z]} ({counts[z]})" for z in np.flatnonzero(seldom[i])]
            lines[i] = f"few training crystals with a value have {', '.join(told)}"
        return lines

    def save(self, path: Path) -> None:
        """Write one safetensors file, whole or not at all."""
        packed = zlib.compress(json.dumps(self.ids).encode(), 9)
        tensors = {
            "mean": torch.from_numpy(self.mean),
            "axes": torch.from_numpy(self.axes),
            "points": torch.from_numpy(self.points),
            "reference": torch.from_numpy(self.reference),
            "element_counts": torch.from_numpy(self.element_counts.astype(np.int32)),
            # The ids as compressed JSON: in the header they would be half of the file.
            "ids": torch.frombuffer(bytearray(packed), dtype=torch.uint8),
        }
        if self.label_counts is not None:
            tensors["label_counts"] = torch.from_numpy(self.label_counts.astype(np.int32))
        save_weights(path, tensors, {"kind": "training space"})

    @classmethod
    def open(cls, path: Path) -> TrainingSpace:
        """Read a file of :meth:`save`.

        Raises
        ------
        CheckpointError
            A damaged file, or one of something else.
        """
        tensors, header = load_weights(path)
        try:
            if header["kind"] != "training space":
                raise KeyError("kind")
            arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
            ids = json.loads(zlib.decompress(arrays.pop("ids").tobytes()))
            for name in ("element_counts", "label_counts"):
                if name in arrays:
                    arrays[name] = arrays[name].astype(np.int64)
            return cls(**arrays, ids=tuple(ids))
        except (KeyError, TypeError, ValueError, zlib.error) as error:
            raise CheckpointError(f"{path} is damaged or no training space: {error!r}") from None

    @cached_property
    def _tree(self) -> Any:
        # scipy's and not scikit-learn's: as fast here, and imported in a quarter of the time.
        from scipy.spatial import cKDTree

        return cKDTree(self.points.astype(np.float32))

    def _to_nearest(self, vectors: Floats, n: int) -> tuple[npt.NDArray[np.float64], Ints]:
        """(rows, n) distances and positions of the nearest points; fewer where there are fewer."""
        if vectors.ndim != 2 or vectors.shape[1] != len(self.mean):
            raise ApplicabilityError(
                f"vectors {vectors.shape}, the space was fitted on (n, {len(self.mean)})"
            )
        n = min(n, len(self.points))
        distances, index = self._tree.query((vectors - self.mean) @ self.axes, n)
        return np.reshape(distances, (-1, n)), np.reshape(index, (-1, n))


def _check(training: Floats, ids: Sequence[str], validation: Floats) -> None:
    """Raise ApplicabilityError for vectors that no space can be fitted on."""
    if training.ndim != 2 or not len(training) or len(ids) != len(training):
        raise ApplicabilityError(
            f"{len(ids)} ids for vectors {training.shape}: wanted one for each row, and a row"
        )
    if validation.ndim != 2 or validation.shape[1] != training.shape[1] or not len(validation):
        raise ApplicabilityError(
            f"validation vectors {validation.shape} beside {training.shape}: wanted the same "
            "width, and a row"
        )
    if not (np.isfinite(training).all() and np.isfinite(validation).all()):
        raise ApplicabilityError("a hidden vector is not finite: no distance can be measured")


def _whitening(centred: Floats, dimensions: int) -> Floats:
    """(width, k) from centred vectors to their largest principal components, of variance 1."""
    variances, directions = np.linalg.eigh(centred.T @ centred / len(centred))
    # Directions of rounding alone would count as much as the others after the division.
    kept = np.flatnonzero(variances > 1e-6 * variances.max())[::-1][:dimensions]
    if not len(kept):  # all crystals at one point: any direction will do, undivided
        return directions[:, -1:]
    axes: Floats = directions[:, kept] / np.sqrt(variances[kept])
    return axes


def unseen_elements(crystals: Crystals, counts: Ints) -> list[Failure]:
    """One failure for each crystal with an element that no training crystal has."""
    unseen = (crystals.element_counts > 0) & (counts == 0)
    return [
        Failure(
            int(i),
            "element never in training",
            f"{_named(unseen[i])}: nothing was learnt of it, so a number would be a guess",
        )
        for i in np.flatnonzero(unseen.any(1))
    ]


def element_warnings(crystals: Crystals, counts: Ints) -> list[list[str]]:
    """For each crystal a line for its elements never seen and for each seen seldom."""
    present = crystals.element_counts > 0
    lines: list[list[str]] = [[] for _ in range(len(crystals))]
    for i in np.flatnonzero((present & (counts < FEW)).any(1)):
        if (unseen := present[i] & (counts == 0)).any():
            lines[i].append(f"element never in training: {_named(unseen)}")
        for number in np.flatnonzero(present[i] & (counts > 0) & (counts < FEW)):
            n = int(counts[number])
            crystals_ = "crystal" if n == 1 else "crystals"
            lines[i].append(f"only {n} training {crystals_} with {SYMBOLS[number]}")
    return lines


def _named(elements: npt.NDArray[np.bool_]) -> str:
    return ", ".join(SYMBOLS[number] for number in np.flatnonzero(elements))


def _mean_by_crystal(vectors: Tensor, arrays: Mapping[str, Tensor], n: int) -> Tensor | None:
    """(n, width) means of (rows, width) over each crystal's rows; None where no axis has them."""
    for name, owner in arrays.items():
        if name.endswith("_crystals") and len(owner) == len(vectors):
            sums = torch.zeros(n, vectors.shape[1], device=vectors.device)
            counts = torch.bincount(owner, minlength=n).clamp(min=1)
            return sums.index_add(0, owner, vectors) / counts[:, None]
    return None
