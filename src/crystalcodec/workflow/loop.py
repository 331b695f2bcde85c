"""The training loop: any network, any objective, any source of samples.

It knows nothing of crystals, targets or files other than its checkpoint, so that predictors,
ensembles and generators share it. A run that is killed at any time and started again ends with
the same numbers as one that never was.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from crystalcodec.workflow.checkpoints import CheckpointError, load_state, save_state
from crystalcodec.workflow.config import TrainingConfig
from crystalcodec.workflow.samples import Batch, Batches, Source

if TYPE_CHECKING:
    from lightning.fabric import Fabric

__all__ = ["Loop", "Objective", "TrainingError", "learning_rate_factor"]

Row = dict[str, float]


class TrainingError(ValueError):
    """A training that cannot start or go on; the message says what to change."""


class Objective(Protocol):
    """What is minimised, and how well it goes."""

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """The loss of a batch, a scalar."""

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Figures on held-out samples; the first is watched, lower is better."""


@dataclass
class Loop:
    """One training.

    Parameters
    ----------
    network
        Trained in place. At the end it holds the final weights: the averaged ones where averages
        are kept, the best ones where ``patience`` is set, and those of the last cycle with
        ``snapshots``; the weights of all cycles are then in :attr:`snapshots`, in their order.
    seed
        Of the order of the crystals.
    checkpoint
        File of the training state; None to keep none.
    identity
        What a checkpoint must have been made with to be taken up.
    stop
        Asked after each step; where it says yes the state is saved and KeyboardInterrupt raised.
    on_epoch, on_step
        Called with the new row of the history, and with steps done and in all.
    """

    network: nn.Module
    objective: Objective
    source: Source
    config: TrainingConfig
    fabric: Fabric
    seed: int
    checkpoint: Path | None = None
    checkpoint_seconds: float = 30.0
    identity: str = ""
    stop: Callable[[], bool] = lambda: False
    on_epoch: Callable[[Row], None] = lambda row: None
    on_step: Callable[[int, int], None] = lambda done, total: None
    history: list[Row] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._epoch = self._batch = self._step = 0
        self._loss_sum = torch.zeros((), dtype=torch.float64, device=self.fabric.device)
        self._best: dict[str, Any] | None = None
        self.snapshots: list[dict[str, Tensor]] = []
        self._seconds = 0.0
        self._batches = max(1, self.source.n // self.config.batch_size)
        self._total = self._batches * self.config.epochs
        smallest = self.source.n // self._batches
        norms = (nn.modules.batchnorm._BatchNorm,)
        if smallest < 2 and any(isinstance(m, norms) for m in self.network.modules()):
            raise TrainingError(
                f"{self.source.n} training crystals in batches of {self.config.batch_size} leave "
                "batches of one, over which batch normalisation has no spread: wanted at least 2"
            )
        if self._total < (self.config.snapshots or 1):
            raise TrainingError(
                f"{self.config.snapshots} snapshots of a training of {self._total} steps: wanted "
                "at least one step each"
            )
        self._average = copy.deepcopy(self.network) if self.config.average else None
        # A fused step unscales float16 gradients itself, which leaves nothing to clip by norm.
        self._precision: Any = self.fabric.strategy.precision
        fused = getattr(self._precision, "scaler", None) is None
        self._optimiser = _optimiser(self.network, self.config, fused)

    def run(self) -> list[Row]:
        """Train to the end, from the checkpoint where there is one; gives the history.

        Raises
        ------
        KeyboardInterrupt
            Where ``stop`` said so; the state is saved.
        TrainingError
            A loss that is no longer finite.
        CheckpointError
            A damaged checkpoint, or one of another training.
        """
        # Fabric moves the network to its device and casts inside forward; the same parameters.
        wrapped, optimiser = self.fabric.setup(self.network, self._optimiser)
        if self._average is not None:
            self._average.to(self.fabric.device)
        if self.checkpoint is not None and self.checkpoint.exists():
            self._restore(self.checkpoint)
        saved = time.perf_counter()
        started = saved - self._seconds
        self.on_step(self._step, self._total)
        while self._epoch < self.config.epochs and not self._out_of_patience():
            samples = self.source.epoch(self._epoch)
            order = torch.randperm(samples.n, generator=_generator(self.seed, self._epoch))
            parts = order.to(self.fabric.device).tensor_split(self._batches)
            wrapped.train()
            while self._batch < self._batches:
                self._take_step(wrapped, optimiser, samples, parts[self._batch])
                now = time.perf_counter()
                self._seconds = now - started
                asked = self.stop()
                if asked or now - saved >= self.checkpoint_seconds:
                    self._save()
                    saved = now
                if asked:
                    raise KeyboardInterrupt
                self.on_step(self._step, self._total)
            self._end_epoch()
        # What comes after the loop may be killed, too.
        self._save()
        if self.stop():
            raise KeyboardInterrupt
        self._finish()
        return self.history

    def _take_step(self, wrapped: Any, optimiser: Any, samples: Batches, index: Tensor) -> None:
        rate = self.config.learning_rate * learning_rate_factor(
            self.config, self._step, self._total
        )
        for group in optimiser.param_groups:
            group["lr"] = rate
        loss = self.objective.loss(wrapped, samples.batch(index))
        optimiser.zero_grad()
        self.fabric.backward(loss)
        if self.config.clip_norm is not None:
            self.fabric.clip_gradients(wrapped, optimiser, max_norm=self.config.clip_norm)
        optimiser.step()
        self._step += 1
        self._batch += 1
        # Kept on the device: reading it each step would make an accelerator wait.
        self._loss_sum += loss.detach().double()
        if self._average is not None:
            # A short memory at first, so that the random start is soon forgotten.
            decay = min(self.config.average, (1 + self._step) / (10 + self._step))
            _move_towards(self._average, self.network, 1 - decay)
        cycles = self.config.snapshots
        if cycles and self._step in _cycle_ends(cycles, self._total):
            self.snapshots.append(_copied(self.judged))

    def _end_epoch(self) -> None:
        loss = self._mean_loss()
        self._epoch += 1
        row: Row = {
            "epoch": self._epoch,
            "learning_rate": self._optimiser.param_groups[0]["lr"],
            "loss": loss,
        }
        self._batch = 0
        self._loss_sum.zero_()
        last = self._epoch == self.config.epochs
        if last or self._epoch % self.config.validate_every == 0:
            network = self.judged
            network.eval()
            with torch.no_grad():
                figures = self.objective.validate(network)
            row |= figures
            value = next(iter(figures.values()), math.nan)
            value = value if math.isfinite(value) else math.inf
            if self.config.patience and (self._best is None or value < self._best["value"]):
                self._best = {"value": value, "epoch": self._epoch, "weights": _copied(network)}
        row["seconds"] = self._seconds
        self.history.append(row)
        self.on_epoch(row)

    def _mean_loss(self) -> float:
        """Mean loss of the epoch so far; an error where it is no longer finite."""
        mean = self._loss_sum.item() / max(1, self._batch)
        if not math.isfinite(mean):
            raise TrainingError(
                f"the loss became {mean} in epoch {self._epoch + 1}: use a lower learning_rate, "
                "clip_norm, or precision 32-true"
            )
        return mean

    @property
    def judged(self) -> nn.Module:
        """The network whose predictions count: the averaged one where there is one."""
        return self.network if self._average is None else self._average

    def _out_of_patience(self) -> bool:
        best, patience = self._best, self.config.patience
        return bool(patience and best and self._epoch - best["epoch"] >= patience)

    def _finish(self) -> None:
        weights = self._best["weights"] if self._best else self.judged.state_dict()
        self.network.load_state_dict(weights)
        self.network.eval()

    def _save(self) -> None:
        if self.checkpoint is None:
            return
        self._mean_loss()  # a state that is lost already is not kept
        cuda = torch.cuda.get_rng_state(self.fabric.device) if self._on_cuda else None
        state = {
            "network": self.network.state_dict(),
            "average": self._average.state_dict() if self._average is not None else None,
            "optimiser": self._optimiser.state_dict(),
            "precision": self._precision.state_dict(),
            "best": self._best,
            "snapshots": self.snapshots,
            "history": self.history,
            "random": {"cpu": torch.get_rng_state(), "cuda": cuda},
            "epoch": self._epoch,
            "batch": self._batch,
            "step": self._step,
            "loss_sum": self._loss_sum,
            "seconds": self._seconds,
        }
        header = {"identity": self.identity, "step": self._step, "epoch": self._epoch}
        save_state(self.checkpoint, state, header)

    def _restore(self, path: Path) -> None:
        try:
            state, header = load_state(path)
        except CheckpointError as error:
            raise CheckpointError(f"{error}; delete it to start this training anew") from None
        if header.get("identity") != self.identity:
            raise CheckpointError(
                f"{path} is the state of another training (other configuration or data): "
                "delete it to start anew, or use another folder"
            )
        self.network.load_state_dict(state["network"])
        if self._average is not None:
            self._average.load_state_dict(state["average"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._precision.load_state_dict(state["precision"])
        self._best, self.history = state["best"], state["history"]
        # A state of before there were snapshots has none.
        self.snapshots = state.get("snapshots", [])
        torch.set_rng_state(state["random"]["cpu"])
        if self._on_cuda and state["random"]["cuda"] is not None:
            torch.cuda.set_rng_state(state["random"]["cuda"], self.fabric.device)
        self._epoch, self._batch, self._step = state["epoch"], state["batch"], state["step"]
        self._loss_sum.copy_(state["loss_sum"])
        self._seconds = state["seconds"]

    @property
    def _on_cuda(self) -> bool:
        return bool(self.fabric.device.type == "cuda")


def learning_rate_factor(config: TrainingConfig, step: int, total: int) -> float:
    """What the learning rate is multiplied with at a step, counted from 0, of ``total``.

    With snapshots each cycle is a cosine of its own; the first alone has a warm-up, since later
    ones start from weights that are no longer random.
    """
    if config.schedule == "constant":
        return 1.0
    if config.snapshots:
        start, end = _cycle_of(config.snapshots, step, total)
        if start:
            return _cosine(1.0, 0.0, (step - start) / (end - start))
        total = end
    done = step / max(1, total)
    rising = done < config.warmup
    if config.schedule == "cosine":
        if rising:
            return (step + 1) / (config.warmup * total + 1)
        return _cosine(1.0, 0.0, (done - config.warmup) / max(1e-9, 1 - config.warmup))
    if rising:
        return _cosine(1 / 25, 1.0, done / config.warmup)
    return _cosine(1.0, 4e-6, (done - config.warmup) / max(1e-9, 1 - config.warmup))


def _cycle_ends(cycles: int, total: int) -> list[int]:
    """Steps taken at the end of each cycle; lengths differ by at most one step."""
    return [total * (i + 1) // cycles for i in range(cycles)]


def _cycle_of(cycles: int, step: int, total: int) -> tuple[int, int]:
    """Steps taken at the start and at the end of the cycle that a step, from 0, belongs to."""
    ends = [0, *_cycle_ends(cycles, total)]
    later = next(i for i, end in enumerate(ends) if step < end)
    return ends[later - 1], ends[later]


def _copied(network: nn.Module) -> dict[str, Tensor]:
    """Weights that training goes on without changing."""
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


def _cosine(start: float, end: float, part: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * part)) / 2


def _generator(seed: int, epoch: int) -> torch.Generator:
    generator = torch.Generator()
    # Seeds of neighbouring epochs and runs must not overlap: (seed, epoch) in one number.
    generator.manual_seed((seed * 1_000_003 + epoch) % 2**63)
    return generator


def _optimiser(
    network: nn.Module, config: TrainingConfig, fused: bool = True
) -> torch.optim.Optimizer:
    """Adam or AdamW; weight decay on matrices alone, not on biases and normalisation."""
    trained = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    kind = torch.optim.Adam if config.optimiser == "adam" else torch.optim.AdamW
    beta1 = 0.9 if config.beta1 is None else config.beta1
    return kind(groups, lr=config.learning_rate, betas=(beta1, config.beta2), fused=fused)


@torch.no_grad()
def _move_towards(average: nn.Module, network: nn.Module, part: float) -> None:
    """Weights and running statistics of ``average`` a part of the way to those of ``network``."""
    floats: tuple[list[Tensor], list[Tensor]] = ([], [])
    for mine, theirs in zip(
        (*average.parameters(), *average.buffers()),
        (*network.parameters(), *network.buffers()),
        strict=True,
    ):
        if mine.is_floating_point():
            floats[0].append(mine)
            floats[1].append(theirs)
        else:
            mine.copy_(theirs)
    torch._foreach_lerp_(*floats, part)
