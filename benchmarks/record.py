"""Write what a benchmark measured, with everything that is needed to measure it again."""

from __future__ import annotations

import json
import os
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

# Before numpy starts its threads: figures are for one thread unless a benchmark says otherwise.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

RESULTS = Path(__file__).parent / "results"
SHARED_DATA = Path(
    os.environ.get("CRYSTALCODEC_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data")
)


def best_of(function: Callable[[], object], repeats: int = 5) -> float:
    """Shortest of several wall-clock times in seconds: the run that others disturbed least."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Mean over seeds, their standard deviation where there are several, and how many they are."""
    return {
        "mean": statistics.mean(values),
        "deviation": statistics.stdev(values) if len(values) > 1 else None,
        "n_seeds": len(values),
    }


def today() -> str:
    """The date in UTC, year-month-day."""
    return datetime.now(UTC).strftime("%Y-%m-%d")


def machine() -> dict[str, Any]:
    """Processor, number of its cores, version of Python."""
    model = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {"cpu": model[:1], "cores": os.cpu_count(), "python": platform.python_version()}


def record(name: str, figures: dict[str, Any], *, packages: tuple[str, ...] = ()) -> Path:
    """Print the figures and write them to ``results/<name>.json``."""
    result = {
        "benchmark": name,
        "command": shlex.join(["python", *sys.argv]),
        "date": today(),
        "machine": machine(),
        "threads": int(os.environ["OMP_NUM_THREADS"]),
        "versions": {p: version(p) for p in ("crystalcodec", "numpy", *packages)},
        **figures,
    }
    text = json.dumps(result, indent=2)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(text + "\n")
    print(text)
    return path
