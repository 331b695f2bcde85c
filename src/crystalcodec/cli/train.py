"""Commands train, predict and evaluate."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from crystalcodec.cli.interruption import goes_on_in

__all__ = ["evaluate", "predict", "train", "value_of"]

# Which key of the configuration each flag sets.
_KEYS = {
    "data": "data.dataset",
    "validation": "data.validation",
    "test": "data.test",
    "split": "data.split",
    "fractions": "data.fractions",
    "split_seed": "data.split_seed",
    "target": "target.column",
    "kind": "target.kind",
    "transform": "target.transform",
    "extensive": "target.extensive",
    "zero": "target.zero",
    "weight": "target.weight",
    "inputs": "inputs.runs",
    "input_folds": "inputs.folds",
    "input_width": "inputs.width",
    "condition_values": "conditions.values",
    "condition_crystal": "conditions.crystal",
    "representation": "representation.name",
    "model": "model.name",
    "scaling": "scaling.kind",
    "scaling_per": "scaling.per",
    "augment": "augmentation.names",
    "copies": "augmentation.copies",
    "epochs": "training.epochs",
    "batch_size": "training.batch_size",
    "optimiser": "training.optimiser",
    "learning_rate": "training.learning_rate",
    "weight_decay": "training.weight_decay",
    "beta1": "training.beta1",
    "beta2": "training.beta2",
    "schedule": "training.schedule",
    "warmup": "training.warmup",
    "loss": "training.loss",
    "huber_delta": "training.huber_delta",
    "clip_norm": "training.clip_norm",
    "average": "training.average",
    "patience": "training.patience",
    "validate_every": "training.validate_every",
    "snapshots": "training.snapshots",
    "transform_epochs": "training.transform_epochs",
    "device": "machine.device",
    "precision": "machine.precision",
    "threads": "machine.threads",
    "checkpoint_seconds": "machine.checkpoint_seconds",
}


def train(
    config: Annotated[
        Path | None, typer.Argument(help="TOML file; flags win over what it says.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder of the run.")] = None,
    data: Annotated[str | None, typer.Option(help="Dataset (Parquet) to train on.")] = None,
    validation: Annotated[str | None, typer.Option(help="Dataset to validate on.")] = None,
    test: Annotated[str | None, typer.Option(help="Dataset to test on.")] = None,
    split: Annotated[str | None, typer.Option(help="Split (JSON) of the dataset.")] = None,
    fractions: Annotated[
        str | None, typer.Option(help="Train, validation, test at random: 0.64,0.16,0.2.")
    ] = None,
    split_seed: Annotated[int | None, typer.Option(help="Seed of the random fractions.")] = None,
    target: Annotated[
        str | None, typer.Option(help="Property column to learn, or several: a,b.")
    ] = None,
    kind: Annotated[
        str | None, typer.Option(help="value, or class for a column of true and false.")
    ] = None,
    transform: Annotated[
        str | None,
        typer.Option(
            help="none, standardise, sqrt, log or asinh, undone in every figure; "
            "auto: the best on validation crystals."
        ),
    ] = None,
    extensive: Annotated[
        bool | None,
        typer.Option("--extensive/--intensive", help="Learn the column for one site."),
    ] = None,
    zero: Annotated[
        str | None, typer.Option(help="classifier: learn whether it is 0, and the other values.")
    ] = None,
    weight: Annotated[float | None, typer.Option(help="Of each target's loss.")] = None,
    inputs: Annotated[
        str | None, typer.Option(help="Runs whose predictions are inputs: runs/gap,runs/cbm.")
    ] = None,
    input_folds: Annotated[
        int | None, typer.Option(help="Times that their recipes are trained again; 0: as they are.")
    ] = None,
    input_width: Annotated[
        int | None, typer.Option(help="Values that describe a crystal beside the inputs.")
    ] = None,
    condition_values: Annotated[
        str | None, typer.Option(help="Columns that a generator is told: band_gap,density.")
    ] = None,
    condition_crystal: Annotated[
        str | None,
        typer.Option(help="What it is told of crystals: composition,elements,space_group."),
    ] = None,
    representation: Annotated[str | None, typer.Option(help="Name of a representation.")] = None,
    model: Annotated[str | None, typer.Option(help="Name of a model, or of a generator.")] = None,
    scaling: Annotated[str | None, typer.Option(help="none, minmax or standardise.")] = None,
    scaling_per: Annotated[str | None, typer.Option(help="entry, row or array.")] = None,
    augment: Annotated[
        str | None, typer.Option(help="Augmentations, in order: permute_sites,shift_origin.")
    ] = None,
    copies: Annotated[
        int | None, typer.Option(help="Augmented copies that a prediction averages over.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the data.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Crystals a step.")] = None,
    optimiser: Annotated[str | None, typer.Option(help="adam or adamw.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="The highest one.")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="On matrices alone.")] = None,
    beta1: Annotated[float | None, typer.Option(help="Adam's memory of slopes.")] = None,
    beta2: Annotated[float | None, typer.Option(help="Adam's memory of squared slopes.")] = None,
    schedule: Annotated[str | None, typer.Option(help="constant, one-cycle or cosine.")] = None,
    warmup: Annotated[float | None, typer.Option(help="Part of all steps that rises.")] = None,
    loss: Annotated[str | None, typer.Option(help="mse, l1, huber or mape.")] = None,
    huber_delta: Annotated[float | None, typer.Option(help="Where huber turns linear.")] = None,
    clip_norm: Annotated[float | None, typer.Option(help="Largest norm of the slopes.")] = None,
    average: Annotated[
        float | None, typer.Option(help="Decay of the averaged weights, 0 for none.")
    ] = None,
    patience: Annotated[
        int | None, typer.Option(help="Stop after so many epochs without a better error.")
    ] = None,
    validate_every: Annotated[int | None, typer.Option(help="Epochs between errors.")] = None,
    snapshots: Annotated[
        int | None, typer.Option(help="Cosine cycles whose weights predict together.")
    ] = None,
    transform_epochs: Annotated[
        int | None, typer.Option(help="Epochs of each trial of --transform auto.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps.")] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            help="32-true, bf16-mixed (32-true on processors without fast bfloat16) or 16-mixed."
        ),
    ] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of torch.")] = None,
    checkpoint_seconds: Annotated[
        float | None, typer.Option(help="Seconds between states to go on from.")
    ] = None,
    seed: Annotated[
        list[int] | None, typer.Option(help="Repeat for several runs in seed-N of the folder.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any key: model.hidden=[64,32], representation.max_sites=40."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only the result.")] = False,
) -> None:
    """Train a model on a dataset; the same command goes on after an interruption.

    crystalcodec train --data train.parquet --validation val.parquet
    --target formation_energy_per_atom --model cnn1d -o runs/first

    Flags of the target hold for each of several; tables of their own in the TOML file set them
    apart.
    """
    given = {k: v for k, v in locals().items() if k in _KEYS and v is not None}
    overrides = _overrides(given, set_ or [])
    from crystalcodec.workflow import RunConfig, compare
    from crystalcodec.workflow.config import merge, read_toml
    from crystalcodec.workflow.training import train as run_training
    from crystalcodec.workflow.training import train_seeds

    values = _with_targets(read_toml(config) if config else {}, overrides)
    values = merge(values, overrides)
    if seed and len(seed) == 1:
        values["seed"] = seed[0]
    settings = RunConfig.of(values)
    folder = out or Path("runs") / "-".join([settings.model.name, *settings.columns])

    def say(line: str) -> None:
        if not quiet:
            print(line, file=sys.stderr, flush=True)

    options: dict[str, Any] = {"say": say, "progress": False if quiet else None}
    with goes_on_in(folder):
        if seed and len(seed) > 1:
            runs = train_seeds(settings, folder, seed, **options)
        else:
            runs = [run_training(settings, folder, **options)]
    if settings.generates:
        for run in runs:
            figures = {k: v for k, v in run.record["history"].items() if k != "epoch"}
            shown = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
            print(f"{run.folder}: {shown}")
        return
    comparison = compare(runs)
    if len(runs) > 1:
        comparison.write(folder / "summary.json")
    print(comparison.table())
    print(f"report: {runs[0].folder / 'report.html'}")


class TableFormat(StrEnum):
    """How predictions are printed."""

    csv = "csv"
    json = "json"


def predict(
    files: Annotated[
        list[Path], typer.Argument(help="Files, folders, archives or tables of crystals.")
    ],
    model: Annotated[
        Path | None,
        typer.Option(
            "--model",
            "-m",
            help="Folder of a run, or of its seeds; the package's own models if not given.",
        ),
    ] = None,
    property_: Annotated[
        str | None,
        typer.Option("--property", "-p", help="Only these: band_gap,magnetization. All otherwise."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Table: .csv, .json or .parquet.")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 if any crystal has no prediction.")
    ] = False,
    copies: Annotated[
        int | None, typer.Option(help="Augmented copies to average over; as trained if not given.")
    ] = None,
    coverage: Annotated[
        float, typer.Option(help="Share of true values that intervals are made to hold.")
    ] = 0.9,
    allow_unseen: Annotated[
        bool, typer.Option("--allow-unseen", help="A number for elements never in training, too.")
    ] = False,
    nearest: Annotated[int, typer.Option(min=0, help="Training crystals to name as nearest.")] = 0,
    threads: Annotated[int, typer.Option(min=1, help="Threads of torch.")] = 1,
) -> None:
    """Predict properties for every crystal in files; what has no prediction says why.

    crystalcodec predict *.cif

    crystalcodec predict *.cif --property band_gap --model runs/first -o table.csv
    """
    import torch

    from crystalcodec.failures import count_reasons
    from crystalcodec.workflow.predictions import check_table_path
    from crystalcodec.workflow.pretrained import predict as predict_properties

    if out is not None:
        check_table_path(out)
    torch.set_num_threads(threads)
    made = predict_properties(
        files,
        None if property_ is None else [name for name in property_.split(",") if name],
        model=model,
        copies=copies,
        coverage=coverage,
        allow_unseen=allow_unseen,
        nearest=nearest,
    )
    if out is not None:
        made.write(out)
    else:
        made.write_csv(sys.stdout)
    failed = len(made.failures)
    if failed or out is not None:
        reasons = ", ".join(f"{n} {reason}" for reason, n in count_reasons(made.failures).items())
        summary = f"{len(made) - failed} of {len(made)} predicted"
        print(f"{summary}; not: {reasons}" if failed else summary, file=sys.stderr)
    if failed == len(made) or (strict and failed):
        raise typer.Exit(1)


def evaluate(
    paths: Annotated[
        list[Path], typer.Argument(help="Run folders, and at most one dataset to evaluate on.")
    ],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Result as JSON.")] = None,
) -> None:
    """Compare runs by their own figures, or evaluate them on a dataset.

    crystalcodec evaluate runs/mlp runs/cnn1d
    crystalcodec evaluate runs/mlp val.parquet
    """
    from crystalcodec.workflow import compare
    from crystalcodec.workflow import evaluate as evaluate_run
    from crystalcodec.workflow.runs import RunError, finite, write_json

    datasets = [path for path in paths if not path.is_dir()]
    runs = [path for path in paths if path.is_dir()]
    if len(datasets) > 1 or not runs:
        raise RunError(
            f"wanted run folders and at most one dataset file, got {len(runs)} folders and "
            f"{', '.join(map(str, datasets)) or 'no file'}"
        )
    if not datasets:
        comparison = compare(runs)
        print(comparison.table())
        if out is not None:
            comparison.write(out)
        return
    results = {str(run): evaluate_run(run, datasets[0]) for run in runs}
    print(json.dumps(finite(results), indent=1))
    if out is not None:
        write_json(out, results)


def _overrides(given: dict[str, Any], assignments: list[str]) -> dict[str, Any]:
    """Flags and ``--set`` assignments as nested values."""
    nested: dict[str, Any] = {}
    for flag, value in given.items():
        if flag in ("inputs", "condition_values", "condition_crystal"):
            value = [part for part in value.split(",") if part]
        elif flag in ("augment", "fractions"):
            value = [value_of(part) for part in value.split(",") if part]
        _put(nested, _KEYS[flag], value)
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals:
            raise typer.BadParameter(f"--set {assignment!r}: wanted key=value")
        _put(nested, key.strip(), value_of(text.strip()))
    return nested


def _with_targets(values: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    """The file's values with the tables of the targets that ``--target a,b`` names.

    Takes their names out of the overrides, whose other keys hold for each of them. A target that
    the file describes keeps what it says.
    """
    given = overrides.get("target", {})
    if not isinstance(given, dict):
        raise typer.BadParameter(f"--set target={given!r}: wanted target.column=NAME")
    names = str(given.get("column", ""))
    there = values.get("target", [])
    tables = [there] if isinstance(there, dict) else list(there)
    if "," not in names and len(tables) < 2:
        return values
    wanted = [name for name in names.split(",") if name]
    if not wanted:
        return values
    del overrides["target"]["column"]
    described = {table.get("column"): table for table in tables}
    return {**values, "target": [described.get(name, {"column": name}) for name in wanted]}


def value_of(text: str) -> Any:
    """A number, list or truth value as TOML writes it, otherwise the text itself."""
    import tomllib

    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _put(nested: dict[str, Any], key: str, value: Any) -> None:
    *sections, last = key.split(".")
    for section in sections:
        nested = nested.setdefault(section, {})
        if not isinstance(nested, dict):
            raise typer.BadParameter(f"--set {key}: {section} has a value already: {nested!r}")
    nested[last] = value
