"""Every registered representation: speed, size, round trip, and memory when encoding in a stream.

The crystals are the same 1,000 of MP-20 val in every benchmark, with the parameters of each
representation at their defaults, fitted on these crystals where that is needed; nothing here is
compared with a peer, which the benchmarks of the single representations do. Run on one thread, all
of them or some by name; results are merged into ``results/representations.json``:

    python benchmarks/representations.py
    python benchmarks/representations.py ircr unimat
    python benchmarks/representations.py --stream 100000 --folder /tmp

With ``--stream N`` N crystals (MP-20 val again and again, in random order) are encoded to disk
through ``save_encoded``, each representation in a process of its own whose peak memory the
operating system tells. The files are deleted after each. Where the disk has no room for N, or they
would take longer than ``--seconds``, fewer are encoded and the result says how many.
"""

from __future__ import annotations

from record import RESULTS, SHARED_DATA, best_of, record  # first: it sets the number of threads

# isort: split
import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from crystalcodec.crystals import Crystals
from crystalcodec.failures import count_reasons
from crystalcodec.registry import REPRESENTATIONS, load
from crystalcodec.representations.base import InvertibleRepresentation, Representation
from crystalcodec.representations.space_groups import SpaceGroupRepresentation
from crystalcodec.representations.storage import save_encoded

BATCH = 1024
LEFT_FREE = 4e9  # bytes of the disk that stay free
LONG = 10.0  # seconds of a run; what takes longer is run once
LARGE = 4e8  # bytes of arrays; beyond this the machine measures its memory, not the code


def everything() -> Crystals:
    from crystalcodec.io import read

    return read(SHARED_DATA / "mp20" / "val.csv.gz", structure_column="cif").crystals


def thousand(crystals: Crystals) -> Crystals:
    chosen = np.random.default_rng(0).permutation(len(crystals))[:1000]
    return crystals[np.sort(chosen)]


def measure(representation: Representation, crystals: Crystals) -> dict[str, Any]:
    """Speed and fidelity with everything in memory."""
    grouped = isinstance(representation, SpaceGroupRepresentation)
    if representation.needs_fit:
        representation = representation.fit(crystals)
    representation.encode(crystals[:10])  # tables, weights and packages are read once
    start = time.perf_counter()
    encoded = representation.encode(crystals)
    once = time.perf_counter() - start
    held = crystals[encoded.index]
    figures: dict[str, Any] = {
        "config": representation.config(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "n_crystals": len(crystals),
        "n_encoded": len(held),
        "n_failed": count_reasons(encoded.failures),
        "shapes": {name: list(shape) for name, shape in representation.shapes().items()},
    }
    size = sum(array.nbytes for array in encoded.arrays.values()) / max(1, len(held))
    figures["bytes_per_crystal"] = size
    # Often enough that a run is long, seldom enough that the arrays fit a small machine.
    times = int(np.clip(min(LARGE / max(1.0, size * len(held)), LONG / once), 1, 10))
    many = Crystals.concatenate([held] * times)
    if grouped:
        from crystalcodec.symmetry import space_group_numbers

        groups = np.tile(space_group_numbers(held), times)
        seconds = best_of(lambda: representation.encode(many, space_group_numbers=groups), 3)
        found = best_of(lambda: representation.encode(held), 1)
        figures["encode_per_s_space_group_by_moyopy"] = len(held) / found
    else:
        seconds = best_of(lambda: representation.encode(many), 3) if once < LONG else once
    figures["encode_per_s"] = len(many) / seconds
    arrays = list(representation.encode(held).arrays.values()) if times == 1 else None
    arrays = arrays or [np.concatenate([a] * times) for a in encoded.arrays.values()]
    copies = [np.empty_like(array) for array in arrays]
    copy = best_of(lambda: list(map(np.copyto, copies, arrays)), 5)
    figures["fraction_of_copy_bandwidth"] = copy / seconds
    figures["megabytes_per_s"] = size * len(many) / seconds / 1e6
    figures["copy_megabytes_per_s"] = size * len(many) / copy / 1e6
    if isinstance(representation, InvertibleRepresentation):
        figures |= round_trip(representation, encoded, held)
    return figures


def round_trip(
    representation: InvertibleRepresentation, encoded: Any, held: Crystals
) -> dict[str, Any]:
    from crystalcodec.testing import round_trip_errors

    decoded = representation.decode(encoded)
    seconds = best_of(lambda: representation.decode(encoded), 3)
    errors = round_trip_errors(
        held[decoded.index], decoded.crystals, any_order=not representation.keeps_site_order
    )
    within = errors <= representation.round_trip_tolerance
    known = errors[np.isfinite(errors)]
    return {
        "decode_per_s": len(held) / seconds,
        "n_decoded": len(decoded.crystals),
        "n_not_decoded": count_reasons(decoded.failures),
        "n_came_back": int(within.sum()),
        "n_other_species": int((~np.isfinite(errors)).sum()),
        "tolerance_angstrom": representation.round_trip_tolerance,
        "largest_error_angstrom": float(known.max()) if len(known) else None,
    }


def stream(name: str, n: int, folder: Path, seconds: float, figures: dict[str, Any]) -> Any:
    """What a process of its own needs for n crystals."""
    size = figures["bytes_per_crystal"]
    rate = figures.get("encode_per_s_space_group_by_moyopy", figures["encode_per_s"])
    room = int((shutil.disk_usage(folder).free - LEFT_FREE) / size)
    n = max(BATCH, min(n, room, int(seconds * min(rate, 1.5e9 / size))))
    with tempfile.TemporaryDirectory(dir=folder) as place:
        crystals = everything()
        columns = ("lattices", "frac_coords", "numbers", "offsets")
        np.savez(Path(place) / "crystals.npz", **{c: getattr(crystals, c) for c in columns})
        command = [sys.executable, __file__, "--child", name, str(n), place]
        result = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(result.stdout.splitlines()[-1])


def child(name: str, n: int, place: Path) -> None:
    """Encode n crystals to disk, and print what it took."""
    with np.load(place / "crystals.npz") as columns:
        crystals = Crystals(**columns)
    representation = load(REPRESENTATIONS, name)()
    if representation.needs_fit:
        representation = representation.fit(thousand(crystals))
    rng = np.random.default_rng(0)

    def batches() -> Iterator[Crystals]:
        for start in range(0, n, BATCH):
            yield crystals[rng.integers(0, len(crystals), min(BATCH, n - start))]

    before = peak_memory()
    start = time.perf_counter()
    report = save_encoded(place / "encoded", representation, batches())
    seconds = time.perf_counter() - start
    written = sum(file.stat().st_size for file in (place / "encoded").iterdir())
    figures = {
        "n_crystals": report.n,
        "n_encoded": report.n_encoded,
        "n_failed": dict(report.failures),
        "peak_memory_megabytes": peak_memory(),
        "memory_before_megabytes": before,
        "crystals_per_s": report.n / seconds,
        "disk_megabytes": written / 1e6,
        "disk_megabytes_per_s": written / seconds / 1e6,
    }
    print(json.dumps(figures))


def peak_memory() -> float:
    """Most memory that this process has held so far, in units of 1e6 bytes."""
    # The kernel's high-water mark of this program alone; ru_maxrss may remember its parent.
    mark = Path("/proc/self/status").read_text().partition("VmHWM:")[2]
    by_usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return 1024 * int(mark.split()[0] if mark else by_usage) / 1e6


def before() -> dict[str, Any]:
    """What was measured of each representation in runs before this one."""
    path = RESULTS / "representations.json"
    return json.loads(path.read_text())["representations"] if path.exists() else {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help="representations; all where none are named")
    parser.add_argument("--stream", type=int, metavar="N", help="crystals to encode to disk")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--seconds", type=float, default=170.0, help="most that a stream may take")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        name, n, place = options.names
        return child(name, int(n), Path(place))
    crystals = thousand(everything())
    known = before()
    for name in options.names or REPRESENTATIONS:
        figures = known.get(name, {})
        if options.stream is None or "encode_per_s" not in figures:
            kept = {"stream": figures["stream"]} if "stream" in figures else {}
            figures = measure(load(REPRESENTATIONS, name)(), crystals) | kept
        if options.stream is not None:
            figures["stream"] = stream(
                name, options.stream, options.folder, options.seconds, figures
            )
        known[name] = figures
        # Registered ones only, in the order of the registry; written after each.
        ordered = {one: known[one] for one in REPRESENTATIONS if one in known}
        record(
            "representations",
            {
                "peak_memory_megabytes_wanted": 1000,
                "largest_peak_memory_megabytes": max(
                    (f["stream"]["peak_memory_megabytes"] for f in known.values() if "stream" in f),
                    default=None,
                ),
                "representations": ordered,
            },
            packages=("moyopy",),
        )
    return None


if __name__ == "__main__":
    main()
