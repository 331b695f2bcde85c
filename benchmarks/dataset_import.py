"""Importing tables into a dataset: crystals a second, memory, file size, time to read.

    python benchmarks/dataset_import.py

Each import runs in its own process, as the command line does, from Python's start to its end.
Memory is the peak resident set of the process that was started (VmHWM, Linux); it is taken for
20,000 and 80,000 rows of one table, one process, to see whether it grows with the input. On a
machine that does other work too, CPU seconds say more than seconds.
"""

from __future__ import annotations

from record import SHARED_DATA, record  # first: it sets the number of threads

# isort: split
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from crystalcodec.data import Dataset, iter_dataset

IMPORT = """
import json, resource, sys, time
from pathlib import Path
from crystalcodec.data import import_dataset
if __name__ == "__main__":
    before = time.perf_counter()
    report = import_dataset(sys.argv[2], sys.argv[3], jobs=int(sys.argv[1]))
    wall = time.perf_counter() - before
    own = resource.getrusage(resource.RUSAGE_SELF)
    workers = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(json.dumps({
        "n": report.n,
        "n_failed": report.n_failed,
        "wall_s": wall,
        "cpu_s": own.ru_utime + own.ru_stime + workers.ru_utime + workers.ru_stime,
        "peak_mb": int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024,
        "content_hash": report.content_hash,
    }))
"""


def run_import(source: Path, out: Path, jobs: int) -> dict[str, Any]:
    script = out.with_name("import_once.py")
    script.write_text(IMPORT)
    done = subprocess.run(
        [sys.executable, str(script), str(jobs), str(source), str(out)],
        capture_output=True,
        text=True,
        check=True,
    )
    figures: dict[str, Any] = json.loads(done.stdout)
    figures["crystals_per_s"] = figures["n"] / figures["wall_s"]
    figures["crystals_per_cpu_s"] = figures["n"] / figures["cpu_s"]
    print(f"{source.name} with {jobs}: {figures['crystals_per_s']:,.0f} crystals/s", flush=True)
    return figures


def read_times(path: Path) -> dict[str, float]:
    whole, own = [], []
    for _ in range(5):
        before, before_own = time.perf_counter(), time.process_time()
        Dataset.read(path)
        whole.append(time.perf_counter() - before)
        own.append(time.process_time() - before_own)
    before = time.perf_counter()
    n = sum(len(batch) for batch in iter_dataset(path))
    return {
        "n": n,
        "file_mb": path.stat().st_size / 1e6,
        "bytes_per_crystal": path.stat().st_size / n,
        "read_s_best_of_5": min(whole),
        "read_cpu_s_best_of_5": min(own),
        "read_in_batches_s": time.perf_counter() - before,
    }


def imports_and_reads(source: Path, folder: Path) -> dict[str, Any]:
    out = folder / f"{source.name}.parquet"
    results: dict[str, Any] = {}
    for jobs in (1, 2):
        out.unlink(missing_ok=True)
        results[f"{jobs} processes"] = run_import(source, out, jobs)
    hashes = {results[name]["content_hash"] for name in results}
    if len(hashes) != 1:
        raise SystemExit(f"one and two processes give different datasets: {hashes}")
    return {**results, "dataset": read_times(out)}


def memory_by_size(source: Path, folder: Path) -> dict[str, Any]:
    table = pq.read_table(source)
    results = {}
    for n in (20_000, 80_000):
        part = folder / f"rows_{n}.parquet"
        pq.write_table(table.slice(0, n), part, row_group_size=8192)
        figures = run_import(part, folder / f"rows_{n}.dataset.parquet", jobs=1)
        results[f"{n} rows"] = {name: figures[name] for name in ("n", "peak_mb", "wall_s", "cpu_s")}
    return results


def main() -> None:
    mp20 = SHARED_DATA / "mp20" / "train.csv.gz"
    mp = SHARED_DATA / "mp" / "mp.parquet"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        results = {
            "mp20/train.csv.gz": imports_and_reads(mp20, folder),
            "mp/mp.parquet": imports_and_reads(mp, folder),
            "memory, one process, rows of mp/mp.parquet": memory_by_size(mp, folder),
        }
    record("dataset_import", results, packages=("gemmi", "pyarrow"))


if __name__ == "__main__":
    main()
