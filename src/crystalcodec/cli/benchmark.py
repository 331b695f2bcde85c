"""``crystalcodec benchmark``: every representation with every model, on the same rows."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from crystalcodec.cli.interruption import goes_on_in
from crystalcodec.cli.progress import progress_bar

__all__ = ["benchmark"]


def benchmark(
    datasets: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RECIPE.toml] DATASET...",
            help="A TOML file of a benchmark, and datasets: Parquet, or what data import reads.",
        ),
    ] = None,
    target: Annotated[str | None, typer.Option("--target", help="Property to predict.")] = None,
    unit: Annotated[str | None, typer.Option(help="Of the target, where no dataset says.")] = None,
    test: Annotated[
        list[str] | None, typer.Option("--test", help="Dataset to test on; repeat it.")
    ] = None,
    split: Annotated[Path | None, typer.Option(help="JSON of `data split`.")] = None,
    folds: Annotated[
        int | None, typer.Option(min=2, help="Cut the dataset into folds, as Matbench does.")
    ] = None,
    representations: Annotated[
        list[str] | None,
        typer.Option(
            "--representations", "-r", help="Names, comma-separated: a,b:param=value,c; or all."
        ),
    ] = None,
    models: Annotated[
        list[str] | None,
        typer.Option("--models", "-m", help="Names, comma-separated: ridge,mlp:seen=100000."),
    ] = None,
    sizes: Annotated[str | None, typer.Option(help="Training rows: 500,1000,all.")] = None,
    seeds: Annotated[str | None, typer.Option(help="Seeds: 0,1,2.")] = None,
    budget: Annotated[
        int | None, typer.Option(min=1, help="Settings that the search of a model tries.")
    ] = None,
    cell_seconds: Annotated[float | None, typer.Option(help="A cell is killed after.")] = None,
    device: Annotated[str | None, typer.Option(help="Of the networks: cpu, cuda or mps.")] = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", min=1, help="Processes; default: all cores.")
    ] = None,
    retry: Annotated[
        bool, typer.Option("--retry", help="Compute failed cells, and too slow ones, again.")
    ] = False,
    only_report: Annotated[
        bool, typer.Option("--only-report", help="Compute nothing, write what is there.")
    ] = False,
    cache: Annotated[
        Path | None, typer.Option(help="Folder of encoded crystals, to share it.")
    ] = None,
    known: Annotated[
        list[Path] | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="benchmark.json on the same rows, to take its figures; repeat it.",
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the benchmark.")] = Path(
        "runs/benchmark"
    ),
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only the result.")] = False,
) -> None:
    """Score representations and models on one property; the same command goes on when stopped.

    crystalcodec benchmark train.parquet --test val.parquet --target band_gap -o runs/gaps
    """
    from crystalcodec.workflow.benchmark.config import BenchmarkConfig, parse_names
    from crystalcodec.workflow.benchmark.running import run_benchmark
    from crystalcodec.workflow.config import merge, read_toml

    given = list(datasets or [])
    recipe = given.pop(0) if given and given[0].endswith(".toml") else None
    data = {
        "dataset": given or None,
        "test": test or None,
        "split": None if split is None else str(split),
        "folds": folds,
    }
    flags: dict[str, Any] = {
        "data": {key: value for key, value in data.items() if value is not None},
        "target": target,
        "unit": unit,
        "representations": representations or None,
        "models": models or None,
        "sizes": None if sizes is None else [_size(text) for text in sizes.split(",")],
        "seeds": None if seeds is None else seeds.split(","),
        "budget": budget,
        "device": device,
        "limits": {} if cell_seconds is None else {"cell_seconds": cell_seconds},
    }
    values: dict[str, Any] = read_toml(recipe) if recipe else {}
    if models and isinstance(values.get("models"), dict):
        # A model that is only named keeps what the recipe says of it.
        named = [entry for text in models for entry in parse_names(text)]
        told = values.pop("models")
        flags["models"] = {e.pop("name"): e for e in named}
        flags["models"] = {n: {**told.get(n, {}), **e} for n, e in flags["models"].items()}
    values = merge(values, {key: value for key, value in flags.items() if value is not None})
    config = BenchmarkConfig.of(values)

    def say(line: str) -> None:
        if not quiet:
            print(line, file=sys.stderr, flush=True)

    with goes_on_in(out), progress_bar("cells") as bar:
        summary = run_benchmark(
            config,
            out,
            jobs=jobs,
            retry=retry,
            compute=not only_report,
            cache=cache,
            known=known or (),
            say=say,
            progress=None if quiet else bar,
        )
    print(summary.markdown(), end="")
    print(f"\nreport: {out / 'benchmark.html'}")


def _size(text: str) -> int | str:
    return int(text) if text.strip().isdigit() else text.strip()
