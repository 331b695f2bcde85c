"""The shipped generator, from nothing to CIF files: the command as a user runs it, two threads.

The whole process is timed, start of Python, decoding, cleaning and every file included; the seconds
of sampling alone are those that generated.json tells. Nothing else may run:

    python benchmarks/sampling_speed.py
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from record import record

N = 1000
REPEATS = 3
THREADS = 2


def main() -> None:
    runs = []
    for seed in range(REPEATS):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "generated"
            command = [str(Path(sys.executable).with_name("crystalcodec")), "generate"]
            command += ["-n", str(N), "--threads", str(THREADS), "--seed", str(seed)]
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            start = time.perf_counter()
            subprocess.run([*command, "-o", str(out)], check=True, capture_output=True)
            wall = time.perf_counter() - start
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            made = json.loads((out / "generated.json").read_text())
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        runs.append(
            {
                "seed": seed,
                "seconds_of_wall": wall,
                "seconds_of_processor": used,
                "seconds_of_sampling": made["seconds"]["sampling"],
            }
        )
    record(
        "sampling_speed",
        {
            "n": N,
            "threads_of_the_command": THREADS,
            "seconds_of_wall_per_1000": min(run["seconds_of_wall"] for run in runs) * 1000 / N,
            "seconds_of_sampling_per_1000": min(run["seconds_of_sampling"] for run in runs)
            * (1000 / N),
            "runs": runs,
        },
        packages=("torch",),
    )


if __name__ == "__main__":
    main()
