"""Which picture of a crystal a plain image network learns from: formation energy, MP-20.

The same small residual 2-D network, the same number of epochs, the same one-cycle schedule, no
augmentation, for each picture; crystals of MP-20 train that all of them hold are trained on, those
of MP-20 val are judged. The number of epochs is small, so that figures tell how fast a picture is
learnt from, not how far one can get. No setting was tuned for any of them. Run on one thread; some
minutes for each picture and seed:

    python benchmarks/image_learning.py --seeds 2
"""

from __future__ import annotations

from record import SHARED_DATA, record  # first: it sets the number of threads

# isort: split
import argparse
import sys
import time
from collections.abc import Callable

import numpy as np
import pyarrow.csv
import torch
from torch import Tensor, nn

from crystalcodec import CrystalImage, Crystals, CrysTens, Xtal2PNG, read
from crystalcodec.representations.base import Representation

CHEMISTRY = ("group", "period", "electronegativity", "covalent_radius", "valence")
TARGET = "formation_energy_per_atom"


def read_part(name: str) -> tuple[Crystals, np.ndarray]:
    path = SHARED_DATA / "mp20" / f"{name}.csv.gz"
    loaded = read(path, structure_column="cif")
    table = pyarrow.csv.read_csv(
        path, parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True)
    )
    energies = table[TARGET].to_numpy()
    if loaded.failures:
        raise SystemExit(f"{len(loaded.failures)} of {path} could not be read")
    return loaded.crystals.right_handed(), energies


def pictures(training: Crystals) -> dict[str, Representation]:
    return {
        "crystal_image": CrystalImage(),
        "crystens": CrysTens().fit(training),
        "crystens, five layers of chemistry": CrysTens(chemistry=CHEMISTRY).fit(training),
        "xtal2png": Xtal2PNG(),
    }


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.BatchNorm2d(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.silu(x + self.layers(x))


def network(channels: int) -> nn.Module:
    layers: list[nn.Module] = []
    for width in (32, 64, 128, 256):
        layers += [nn.Conv2d(channels, width, 4, stride=2, padding=1), nn.BatchNorm2d(width)]
        layers += [nn.SiLU(), Block(width)]
        channels = width
    return nn.Sequential(
        *layers,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(256, 128),
        nn.SiLU(),
        nn.Linear(128, 1),
    )


def tensor(representation: Representation, crystals: Crystals) -> tuple[Tensor, np.ndarray]:
    encoded = representation.encode(crystals)
    array = encoded[representation.name]
    array = array[..., None] if array.ndim == 3 else array
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(array, -1, 1))), encoded.index


def train(
    x: Tensor, y: Tensor, epochs: int, seed: int, judge: Callable[[nn.Module], float]
) -> list[float]:
    torch.manual_seed(seed)
    net = network(x.shape[1]).to(memory_format=torch.channels_last)
    batch = 128
    optimiser = torch.optim.AdamW(net.parameters(), weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, 3e-3, total_steps=epochs * (len(x) // batch)
    )
    generator = torch.Generator().manual_seed(seed)
    errors = []
    for epoch in range(epochs):
        start = time.perf_counter()
        net.train()
        order = torch.randperm(len(x), generator=generator)
        for step in range(len(x) // batch):
            chosen = order[step * batch : (step + 1) * batch]
            optimiser.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                predicted = net(x[chosen])[:, 0]
            loss = (predicted.float() - y[chosen]).abs().mean()
            loss.backward()
            optimiser.step()
            schedule.step()
        errors.append(judge(net))
        print(epoch, f"{errors[-1]:.4f}", f"{time.perf_counter() - start:.0f} s", file=sys.stderr)
    return errors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(1)
    (training, energies), (held_out, truths) = read_part("train"), read_part("val")
    kinds = pictures(training)
    inputs = {n: (tensor(r, training), tensor(r, held_out)) for n, r in kinds.items()}
    # The same crystals for all.
    common = [
        set.intersection(*(set(parts[i][1].tolist()) for parts in inputs.values())) for i in (0, 1)
    ]
    mean, scale = float(energies.mean()), float(energies.std())
    figures: dict[str, object] = {}
    for name, ((x, index), (x_val, index_val)) in inputs.items():
        kept, kept_val = (np.isin(i, [*c]) for i, c in zip((index, index_val), common, strict=True))
        x, x_val = x[torch.from_numpy(kept)], x_val[torch.from_numpy(kept_val)]
        y = torch.from_numpy((energies[index[kept]] - mean) / scale).float()
        truth = truths[index_val[kept_val]]

        def judge(net: nn.Module, x_val: Tensor = x_val, truth: np.ndarray = truth) -> float:
            net.eval()
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
                parts = [net(part)[:, 0].float() for part in x_val.split(512)]
            return float(np.abs(torch.cat(parts).numpy() * scale + mean - truth).mean())

        curves = []
        for seed in range(given.seeds):
            print(name, "seed", seed, file=sys.stderr)
            curves.append(train(x, y, given.epochs, seed, judge))
        last = np.array([curve[-1] for curve in curves])
        figures[name] = {
            "validation_mae_ev_per_atom": float(last.mean()),
            "seeds": last.tolist(),
            "curves": curves,
            "n_train": len(x),
            "n_val": len(x_val),
        }
    record(
        "image_learning",
        {
            "target": TARGET,
            "epochs": given.epochs,
            "mean_predictor_mae": float(np.abs(truths - mean).mean()),
            "pictures": figures,
        },
        packages=("torch",),
    )


if __name__ == "__main__":
    main()
