"""Seconds of processor time that the small diffusion generators take, on one thread.

    python benchmarks/diffusion_speed.py

For each small recipe: training steps on crystals of MP-20 `train` in the recipe's precision and
batch, and one call of the network in sampling, both per 1,000 crystals.
"""

from __future__ import annotations

import time
from contextlib import nullcontext
from pathlib import Path

import torch

from crystalcodec.data import Dataset
from crystalcodec.generators.base import build_generator
from crystalcodec.generators.conditions import Conditions
from crystalcodec.models.base import count_parameters
from crystalcodec.representations.base import held_crystals
from crystalcodec.representations.storage import representation_from
from crystalcodec.workflow import RunConfig
from record import record

RECIPES = Path(__file__).parent / "recipes"
NAMES = ("ircr", "unimat", "crystens", "xtal2png", "density_cell")
SEEN = 200
STEPS = 3
SAMPLES = 32


def _best(function, n, repeats):
    """Least processor time of several calls, per 1,000 of n crystals."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return round(min(times) / n * 1000, 2)


def measure(name: str, dataset: Dataset) -> dict[str, object]:
    config = RunConfig.read(RECIPES / f"generate_diffusion_{name}.toml")
    representation = representation_from(config.representation.model_dump())
    crystals = dataset.crystals.right_handed()
    held, index = held_crystals(crystals, representation.refuse(crystals))
    columns = {column: dataset.numeric(column)[index] for column in config.conditions.values}
    conditions = Conditions.fit(config.conditions.crystal, columns)
    torch.manual_seed(0)
    parameters = config.model.parameters
    generator = build_generator(config.model.name, representation, conditions, **parameters)
    arrays = representation.encode(held).arrays | conditions.of(held, columns)
    tensors = {key: torch.from_numpy(array.copy()) for key, array in arrays.items()}
    generator.prepare(held, tensors)
    optimiser = torch.optim.AdamW(generator.parameters(), lr=1e-4, fused=True)
    size = config.training.batch_size
    batch = {key: tensor[:size] for key, tensor in tensors.items()}
    half = config.machine.precision == "bf16-mixed"

    def step() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16) if half else nullcontext():
            loss = generator(batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    step()
    training = _best(step, size, STEPS)
    generator.eval()
    width = generator.scaling.varies.numel() + generator.scaling.n_row
    x, sigma = torch.randn(SAMPLES, width), torch.ones(SAMPLES)
    told = generator.levels(generator.edm.told(sigma))
    with torch.no_grad():
        call = _best(lambda: generator._denoised(x, sigma, told), SAMPLES, 2)
    return {
        "parameters": count_parameters(generator),
        "picture": list(generator.scaling.varies.shape),
        "precision": config.machine.precision,
        "batch": size,
        "held_of_seen": [len(held), len(crystals)],
        "training_seconds_per_1000": training,
        "sampling_seconds_per_1000_and_call": call,
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    train = Dataset.read("runs/mp20/train.parquet")[:SEEN]
    figures = {name: measure(name, train) for name in NAMES}
    record("diffusion_speed", {"n_crystals": SEEN, "recipes": figures}, packages=("torch",))
