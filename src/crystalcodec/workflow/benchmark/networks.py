"""The networks of the registry in a benchmark, through the package's own training loop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

__all__ = ["FORMAT", "NETWORKS", "Network", "network"]

FORMAT: Final = 2
"""Of what a network's cell computes; cells of another format are computed again."""

Floats = npt.NDArray[np.float64]
Settings = Mapping[str, Any]

_DENSE: Final = {"hidden": [256, 128, 32]}
_NARROW: Final = {"channels": [32, 64, 64, 64]}
_SMALL: Final = {"width": 16, "blocks": [1, 1], "hidden": [64], "seen": 20_000}
_TRAINING: Final = {
    "batch_size": 128,
    "learning_rate": 3e-3,
    "weight_decay": 0.1,
    "schedule": "one-cycle",
    "loss": "l1",
    "average": 0.995,
}
# The search is on fewer rows, and sees a part of the crystals that the last fit sees.
_SEARCH_SHARE: Final = 0.25
_EPOCHS: Final = (5, 300)
_SEARCH_EPOCHS: Final = (2, 300)


@dataclass(frozen=True)
class Network:
    """A network with an ordered list of candidate settings.

    Settings are parameters of the model and of the training, and ``seen``: crystals that pass
    through the network in all epochs together, which gives the epochs (5 to 300) where no
    ``epochs`` are set; ``precision`` of the training, as Fabric names it. Learnt is the
    standardised target, with the absolute error.
    """

    name: str
    candidates: tuple[Settings, ...]
    rank: int = 5

    def refusal(self, n: int, length: float, limits: Any) -> str | None:
        """By the numbers a crystal."""
        del n
        most = limits.dense_length if self.name == "mlp" else limits.network_length
        if length > most:
            return f"{length:,.0f} numbers a crystal, {self.name} is tried on at most {most:,}"
        return None

    def memory(self, n: int, length: float) -> float:
        """Bytes reckoned to be needed: the rows as read, scaled and as tensors; the first layer."""
        return 12.0 * n * length + 4.0 * 1024 * length

    def fit(
        self,
        features: Any,
        rows: npt.NDArray[np.int64],
        targets: Floats,
        settings: Settings,
        seed: int,
        device: str,
        *,
        searching: bool = False,
    ) -> FittedNetwork:
        """Train on rows that are held and their targets."""
        import torch

        from crystalcodec.models.base import build_model
        from crystalcodec.models.scaling import fit_scaling
        from crystalcodec.workflow.config import MachineConfig, TrainingConfig
        from crystalcodec.workflow.fitting import make_fabric
        from crystalcodec.workflow.loop import Loop
        from crystalcodec.workflow.samples import encode_samples, ragged_arrays

        torch.set_num_threads(1)
        torch.manual_seed(seed)
        model, training = _divided(settings)
        precision = training.pop("precision", "32-true")
        share, bounds = (_SEARCH_SHARE, _SEARCH_EPOCHS) if searching else (1.0, _EPOCHS)
        seen = float(training.pop("seen", 150_000)) * share
        if "epochs" not in training:
            training["epochs"] = int(np.clip(round(seen / len(rows)), *bounds))
        elif searching:
            training["epochs"] = max(bounds[0], round(training["epochs"] * share))
        training["validate_every"] = training["epochs"]
        training["batch_size"] = max(2, min(training["batch_size"], len(rows) // 4))
        predictor = build_model(self.name, features.representation, 1, **model)
        encoded = features.arrays(rows)
        ragged = ragged_arrays(features.representation)
        scaling = fit_scaling(encoded.arrays, "standardise", "entry", ragged, predictor.unscaled)
        fabric = make_fabric(
            MachineConfig.model_validate({"device": device, "precision": precision})
        )
        mean, std = float(targets.mean()), float(targets.std()) or 1.0
        wanted = ((targets - mean) / std).astype(np.float32)[:, None]
        samples = encode_samples(
            encoded,
            scaling,
            ragged,
            fabric.device,
            {"target": wanted},
        )
        Loop(
            predictor,
            _AbsoluteError(),
            _Fixed(samples),
            TrainingConfig(**training),
            fabric,
            seed,
        ).run()
        ranges = {
            name: (encoded.arrays[name].min(axis=0), encoded.arrays[name].max(axis=0))
            for name in scaling.offsets
        }
        return FittedNetwork(predictor, scaling, ranges, mean, std)


@dataclass(frozen=True)
class FittedNetwork:
    """A trained network, what its inputs were scaled by, and how its targets were standardised.

    ``ranges`` are the lowest and the highest value of each entry in training. An entry that hardly
    varies there would throw a crystal that has more of it far beyond everything that was learnt.
    """

    predictor: Any
    scaling: Any
    ranges: Mapping[str, tuple[npt.NDArray[Any], npt.NDArray[Any]]]
    mean: float
    std: float

    def predict(self, features: Any, rows: npt.NDArray[np.int64]) -> Floats:
        """(k,) values of rows that are held."""
        from crystalcodec.workflow.prediction import network_outputs
        from crystalcodec.workflow.samples import encode_samples, ragged_arrays

        device = next(self.predictor.parameters()).device
        ragged = ragged_arrays(features.representation)
        parts = []
        for start in range(0, len(rows), 2048):
            encoded = features.arrays(rows[start : start + 2048])
            kept = {name: np.clip(encoded[name], *ends) for name, ends in self.ranges.items()}
            samples = encode_samples(
                replace(encoded, arrays={**encoded.arrays, **kept}), self.scaling, ragged, device
            )
            parts.append(network_outputs(self.predictor, samples)[:, 0])
        return np.concatenate([np.zeros(0), *parts]) * self.std + self.mean


class _AbsoluteError:
    """What is minimised; nothing is watched, so that nothing is held out."""

    def loss(self, network: Any, batch: Mapping[str, Any]) -> Any:
        """Mean absolute error of the standardised target."""
        return (network(batch).float() - batch["target"]).abs().mean()

    def validate(self, network: Any) -> dict[str, float]:
        """No figures."""
        del network
        return {}


@dataclass(frozen=True)
class _Fixed:
    """The same samples in every epoch."""

    samples: Any

    @property
    def n(self) -> int:
        """Crystals in an epoch."""
        return int(self.samples.n)

    def epoch(self, epoch: int) -> Any:
        """All of them."""
        del epoch
        return self.samples


def network(name: str) -> Network:
    """The network of that name; one that is not listed here is tried with its own defaults."""
    return NETWORKS.get(name) or Network(
        name, tuple({**_TRAINING, "learning_rate": rate} for rate in (1e-3, 3e-3, 1e-2, 3e-4))
    )


def _divided(settings: Settings) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parameters of the model, and of the training."""
    from crystalcodec.workflow.config import TrainingConfig

    trained = {*TrainingConfig.model_fields, "seen", "precision"}
    training = {**_TRAINING, **{k: v for k, v in settings.items() if k in trained}}
    return {k: v for k, v in settings.items() if k not in trained}, training


NETWORKS: Final[Mapping[str, Network]] = {
    "mlp": Network(
        "mlp",
        (
            {**_DENSE},
            {**_DENSE, "learning_rate": 1e-2},
            {**_DENSE, "dropout": 0.2},
            {"hidden": [128], "learning_rate": 1e-3, "weight_decay": 1.0},
        ),
    ),
    # A quarter of the published width does as well on most arrays, in a quarter of the time.
    "cnn1d": Network(
        "cnn1d",
        (
            {**_DENSE, **_NARROW},
            {**_DENSE, **_NARROW, "learning_rate": 1e-2},
            {**_DENSE, **_NARROW, "dropout": 0.2},
            {**_DENSE},
        ),
        rank=6,
    ),
    "cgcnn": Network(
        "cgcnn",
        (
            {"learning_rate": 3e-3, "weight_decay": 0.01},
            {"learning_rate": 1e-2, "weight_decay": 0.01},
            {"learning_rate": 3e-3, "weight_decay": 0.01, "n_convolutions": 4},
            {"learning_rate": 3e-3, "weight_decay": 0.01, "width": 32, "hidden": 64},
        ),
        rank=7,
    ),
    # Small, and on few places: what a processor trains in minutes. Grids of 16 places along an
    # axis in two dimensions, of 8 in three, whatever the size of the array is.
    **{
        name: Network(
            name,
            (
                {**_SMALL, "stem_places": places},
                {**_SMALL, "stem_places": places, "learning_rate": 1e-2},
                {**_SMALL, "stem_places": places, "dropout": 0.2},
                {**_SMALL, "stem_places": places, "width": 8, "weight_decay": 1.0},
            ),
            rank,
        )
        for name, places, rank in (("resnet2d", 16, 8), ("resnet3d", 8, 9))
    },
}
