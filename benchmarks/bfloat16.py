"""What layers take in bfloat16 and in float32 on this processor, on one thread.

    python benchmarks/bfloat16.py

Forward and backward of dense layers and convolutions of the sizes that the recipes have. Where
torch has no fast kernels for bfloat16, trainings and predictions compute in float32
(``crystalcodec.workflow.precision``); this is what that saves.
"""

from __future__ import annotations

import time

import torch
from torch import nn

from crystalcodec.workflow.precision import computes_bfloat16
from record import record

LAYERS = {
    "dense, 2,048 rows, 512 to 512": (lambda: nn.Linear(512, 512), (2048, 512)),
    "convolution, 64 x 144, 64 to 64": (lambda: nn.Conv1d(64, 64, 3, padding=1), (32, 64, 144)),
    "convolution, 32 x 32 x 32, 32 to 32": (
        lambda: nn.Conv2d(32, 32, 3, padding=1),
        (32, 32, 32, 32),
    ),
    "convolution, 4 x 16 x 16 x 16, 16 to 16": (
        lambda: nn.Conv3d(16, 16, 3, padding=1),
        (4, 16, 16, 16, 16),
    ),
}
REPEATS = 3


def seconds(layer: nn.Module, inputs: torch.Tensor, half: bool) -> float:
    """Least processor time of a step forward and back."""
    times = []
    for _ in range(REPEATS + 1):
        start = time.process_time()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            made = layer(inputs)
        made.float().square().sum().backward()
        times.append(time.process_time() - start)
    return min(times[1:])


if __name__ == "__main__":
    torch.set_num_threads(1)
    rows = {}
    for name, (build, shape) in LAYERS.items():
        torch.manual_seed(0)
        layer, inputs = build(), torch.randn(shape)
        single, half = (seconds(layer, inputs, kind) for kind in (False, True))
        rows[name] = {
            "bfloat16_over_float32": round(half / single, 2),
            "milliseconds_float32": round(1000 * single, 2),
            "milliseconds_bfloat16": round(1000 * half, 2),
        }
        print(f"{name}: {rows[name]}")
    told = {
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "computes_bfloat16": computes_bfloat16(),
    }
    record("bfloat16", {**told, "layers": rows}, packages=("torch",))
