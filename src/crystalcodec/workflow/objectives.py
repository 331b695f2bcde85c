"""What a training on targets minimises, and how well it does on held-out crystals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from crystalcodec.evaluation.classification import log_loss, roc_auc
from crystalcodec.evaluation.regression import mae, rmse
from crystalcodec.workflow.config import TrainingConfig
from crystalcodec.workflow.prediction import network_outputs
from crystalcodec.workflow.samples import Batch, Samples
from crystalcodec.workflow.targets import Target, values_of

__all__ = ["TargetObjective"]

_LOSSES: Mapping[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "mse": lambda got, wanted, delta: (got - wanted).square(),
    "l1": lambda got, wanted, delta: (got - wanted).abs(),
    "huber": lambda got, wanted, delta: functional.huber_loss(
        got, wanted, delta=delta, reduction="none"
    ),
}


@dataclass
class TargetObjective:
    """The loss of predicted targets, and the errors on held-out crystals in their units.

    Parameters
    ----------
    config
        Names the loss.
    targets
        What the outputs of the network mean.
    samples
        Held-out crystals.
    values : (m, n_targets)
        Their true values, NaN where missing.
    n_sites : (m,)
        Their numbers of sites.
    precision
        That the network works in.
    """

    config: TrainingConfig
    targets: Sequence[Target]
    samples: Samples
    values: npt.NDArray[np.float64]
    n_sites: npt.NDArray[np.int64]
    precision: str = "32-true"

    def __post_init__(self) -> None:
        finders = [target for target in self.targets if target.finds_zeros]
        self._weights = torch.tensor([t.weight for t in (*self.targets, *finders)])
        self._logits = [i for i, t in enumerate(self.targets) if t.is_class]
        self._logits += range(len(self.targets), len(self._weights))
        self._numbers = [i for i, t in enumerate(self.targets) if not t.is_class]

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Weighted mean over the outputs of the mean loss of those that there is a target for.

        ``batch["target"]`` is what :func:`~crystalcodec.workflow.targets.learnable` gives, and
        NaN where there is nothing to learn; an output without any in the batch adds 0.
        """
        got = network(batch).float()
        wanted = batch["target"]
        there = wanted.isfinite()
        # Not multiplied by 0 afterwards: NaN times 0 is NaN, and so is its slope.
        wanted = torch.where(there, wanted, 0.0)
        got = torch.where(there, got, 0.0)
        parts: dict[int, Tensor] = {}
        for i in self._numbers:
            parts[i] = self._error(i, got[:, i], wanted[:, i])
        for i in self._logits:
            parts[i] = functional.binary_cross_entropy_with_logits(
                got[:, i], wanted[:, i], reduction="none"
            )
        errors = torch.stack([parts[i] for i in range(len(parts))], dim=1)
        means = torch.where(there, errors, 0.0).sum(0) / there.sum(0).clamp(min=1)
        # Moved once, so that an accelerator does not wait for it in each step.
        self._weights = self._weights.to(means.device)
        return (means * self._weights).sum() / self._weights.sum()

    def _error(self, i: int, got: Tensor, wanted: Tensor) -> Tensor:
        """(batch,) the loss of one target's values."""
        if self.config.loss != "mape":
            return _LOSSES[self.config.loss](got, wanted, self.config.huber_delta)
        undo = self.targets[i].transform.undo_tensor
        true = undo(wanted)
        # Zeros are left out of what is learnt; this is for rounding, and for rows without any.
        return (undo(got) - true).abs() / true.abs().clamp(min=1e-12)

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Errors without augmented copies; the first of them is the one that is watched.

        For one target its MAE, or its cross-entropy where it is a class. For several the mean of
        each as a share of what knowing nothing gives (``deviation`` of the target), and then each.
        """
        outputs = network_outputs(network, self.samples, self.precision)
        values, _ = values_of(self.targets, outputs, self.n_sites)
        figures = [
            _figures(target, true, given)
            for target, true, given in zip(self.targets, self.values.T, values.T, strict=True)
        ]
        if len(figures) == 1:
            return {f"validation_{name}": value for name, value in figures[0].items()}
        shares = [
            next(iter(found.values())) / target.deviation
            for target, found in zip(self.targets, figures, strict=True)
        ]
        each = {
            f"validation_{name}_{target.column}": value
            for target, found in zip(self.targets, figures, strict=True)
            for name, value in found.items()
        }
        return {"validation_relative_error": float(np.mean(shares)), **each}


def _figures(
    target: Target, true: npt.NDArray[np.float64], given: npt.NDArray[np.float64]
) -> dict[str, float]:
    """Figures of one target, the one to watch first; infinite where a prediction is no number."""
    rows = ~np.isnan(true)
    metrics = (log_loss, roc_auc) if target.is_class else (mae, rmse)
    if not np.isfinite(given[rows]).all():
        return {metrics[0].__name__: np.inf, metrics[1].__name__: np.nan}
    return {metric.__name__: metric(true[rows], given[rows]) for metric in metrics}
