"""Train CGCNN's own network with its own data loader, as its published program does.

    python cgcnn_peer.py FOLDER SETTINGS

Started by cgcnn_cost.py, with the package of CGCNN's code in PYTHONPATH. Reads ``train`` and
``val`` in the folder (CIF files, ``id_prop.csv``, ``atom_init.json``); writes ``history.json``
after each epoch, and goes on from ``state.safetensors`` where it was stopped.
"""

from __future__ import annotations

import json
import random
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from cgcnn2.data import CIFData, collate_pool
from cgcnn2.model import CrystalGraphConvNet
from torch.utils.data import DataLoader

from crystalcodec.io.whole import whole_file
from crystalcodec.workflow.checkpoints import load_state, save_state

warnings.filterwarnings("ignore")


class Clock:
    """Processor and wall time since the start of the process, and of earlier ones."""

    def __init__(self) -> None:
        self._wall = time.perf_counter() - time.process_time()
        self.before = [0.0, 0.0]

    def now(self) -> dict[str, float]:
        return {
            "process_seconds": self.before[0] + time.process_time(),
            "wall_seconds": self.before[1] + time.perf_counter() - self._wall,
        }


def train_epoch(model: Any, loader: Any, optimiser: Any, mean: Any, std: Any) -> float:
    """One pass; gives the processor time of forward, backward and step alone."""
    model.train()
    steps = 0.0
    for (atoms, edges, neighbours, crystals), target, _ in loader:
        start = time.process_time()
        predicted, _ = model(atoms, edges, neighbours, crystals)
        loss = torch.nn.functional.mse_loss(predicted, (target - mean) / std)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        steps += time.process_time() - start
    return steps


@torch.no_grad()
def validate(model: Any, loader: Any, mean: Any, std: Any) -> float:
    """MAE in the unit of the target."""
    model.eval()
    total, n = 0.0, 0
    for inputs, target, _ in loader:
        total += (model(*inputs)[0] * std + mean - target).abs().sum().item()
        n += len(target)
    return total / n


def main() -> None:
    clock = Clock()
    folder, settings = Path(sys.argv[1]), json.loads(sys.argv[2])
    torch.set_num_threads(1)
    torch.manual_seed(settings["seed"])
    data = {part: CIFData(str(folder / part)) for part in ("train", "val")}
    for dataset in data.values():
        for i in range(len(dataset)):
            dataset[i]  # kept in its cache: files are read and neighbours searched once
    loaded = clock.now()
    random.seed(settings["seed"])
    some = random.sample(range(len(data["train"])), min(500, len(data["train"])))
    targets = torch.stack([data["train"][i][1] for i in some])
    mean, std = targets.mean(), targets.std()
    (atoms, edges, _), _, _ = data["train"][0]
    model = CrystalGraphConvNet(atoms.shape[-1], edges.shape[-1])
    if settings["optimiser"] == "SGD":
        optimiser = torch.optim.SGD(model.parameters(), settings["learning_rate"], momentum=0.9)
    else:
        optimiser = torch.optim.Adam(model.parameters(), settings["learning_rate"])
    batches = {"batch_size": 256, "collate_fn": collate_pool}
    loaders = {
        part: DataLoader(dataset, shuffle=part == "train", **batches)
        for part, dataset in data.items()
    }
    history: list[dict[str, float]] = []
    state_file = folder / "state.safetensors"
    if state_file.exists():
        state, _ = load_state(state_file)
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        torch.set_rng_state(state["random"])
        history, loaded, (mean, std) = state["history"], state["loaded"], state["scaling"]
        # Files were read before, too: only what was done after the last state counts from here.
        now = clock.now()
        last = history[-1]
        clock.before = [
            last["process_seconds"] - now["process_seconds"],
            last["wall_seconds"] - now["wall_seconds"],
        ]
    while len(history) < settings["epochs"]:
        steps = train_epoch(model, loaders["train"], optimiser, mean, std)
        error = validate(model, loaders["val"], mean, std)
        row = {"epoch": len(history) + 1, "validation_mae": error, "step_seconds": steps}
        history.append(row | clock.now())
        print(json.dumps(history[-1]), flush=True)
        state = {
            "model": model.state_dict(),
            "optimiser": optimiser.state_dict(),
            "random": torch.get_rng_state(),
            "history": history,
            "loaded": loaded,
            "scaling": [mean, std],
        }
        save_state(state_file, state, {})
        with whole_file(folder / "history.json") as partial:
            Path(partial).write_text(json.dumps({"loaded": loaded, "epochs": history}))


if __name__ == "__main__":
    main()
