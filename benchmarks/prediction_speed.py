"""The shipped predictors, from a folder of CIFs to a table: the command as a user runs it.

2,000 crystals of MP-20 val drawn with a fixed seed are written as CIF files; then the whole process
is timed, start of Python, reading, encoding, intervals and the table included. Processor time is
given beside wall time, since other work on the machine does not lengthen it. Run on one thread:

    python benchmarks/prediction_speed.py
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from record import SHARED_DATA, record  # first: it sets the number of threads

# isort: split
import numpy as np

from crystalcodec import read, write

N = 2000
REPEATS = 3


def main() -> None:
    everything = read(SHARED_DATA / "mp20" / "val.csv.gz", structure_column="cif").crystals
    drawn = np.sort(np.random.default_rng(0).permutation(len(everything))[:N])
    walls, processors = [], []
    with tempfile.TemporaryDirectory() as folder:
        cifs = Path(folder) / "cifs"
        cifs.mkdir()
        for i in drawn.tolist():
            write(everything[i], cifs / f"{i}.cif")
        command = [str(Path(sys.executable).with_name("crystalcodec")), "predict", str(cifs)]
        command += ["-o", str(Path(folder) / "table.csv")]
        for _ in range(REPEATS):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            start = time.perf_counter()
            told = subprocess.run(command, check=True, capture_output=True, text=True).stderr
            walls.append(time.perf_counter() - start)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            processors.append(used)
    record(
        "prediction_speed",
        {
            "data": "MP-20 val",
            "n": N,
            "told": told.strip(),
            "crystals_per_second_of_processor": N / min(processors),
            "crystals_per_second_of_wall": N / min(walls),
            "seconds_of_processor": processors,
            "seconds_of_wall": walls,
        },
        packages=("torch",),
    )


if __name__ == "__main__":
    main()
