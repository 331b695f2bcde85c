"""The command generate."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from crystalcodec.cli.interruption import goes_on_in
from crystalcodec.registry import PRETRAINED_GENERATORS

__all__ = ["generate"]

_OWN = ", ".join(PRETRAINED_GENERATORS) or "none yet"


def generate(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write, new or empty.")],
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="NAME|RUN",
            help=f"Folder of a run, or of its seeds; or of the package: {_OWN}.",
        ),
    ] = None,
    n: Annotated[int, typer.Option("--number", "-n", help="Samples to make.")] = 100,
    formula: Annotated[str | None, typer.Option(help="Wanted: TiO2, or a multiple.")] = None,
    elements: Annotated[
        str | None, typer.Option(help="Wanted: Li,Fe,O, these and no others.")
    ] = None,
    space_group: Annotated[int | None, typer.Option(help="Wanted: a number, 1 to 230.")] = None,
    where: Annotated[
        list[str] | None, typer.Option(help="Wanted: band_gap=1.5. Repeat it.")
    ] = None,
    force_far: Annotated[
        bool, typer.Option("--force-far", help="Take values far outside of the training data, too.")
    ] = False,
    guide: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="A predictor whose slope leads to the wanted values."),
    ] = None,
    guide_strength: Annotated[
        float, typer.Option(help="How strongly the guide leads; 1: as computed.")
    ] = 1.0,
    steps: Annotated[
        int | None, typer.Option(help="Steps of sampling; default: the model's own.")
    ] = None,
    guidance: Annotated[
        float | None, typer.Option(help="How strongly the wish counts; 1: as it was learnt.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Any setting of sampling: sampler=sde.")
    ] = None,
    decode: Annotated[
        list[str] | None,
        typer.Option(
            "--decode", help="Other limits of the decoder than trained with: noise_limit=0.3."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the random numbers of the samples.")] = 0,
    batch_size: Annotated[int, typer.Option(help="Samples made at a time.")] = 250,
    seed_run: Annotated[
        int | None, typer.Option(help="Which seed-N of a folder of seeds; the first if not given.")
    ] = None,
    representation: Annotated[
        str | None, typer.Option(help="Refuse a model of another representation.")
    ] = None,
    clean: Annotated[
        str | None,
        typer.Option(
            metavar="STEP,...", help="In their order: merge=0.5, niggli, symmetrise=0.1 (Å)."
        ),
    ] = None,
    drop_invalid: Annotated[
        bool, typer.Option("--drop-invalid", help="Leave out what is not valid; it is counted.")
    ] = False,
    relax: Annotated[bool, typer.Option("--relax", help="Relax what is left.")] = False,
    potential: Annotated[
        str, typer.Option(help="Relax with this one; default: the hull's own, or CHGNet.")
    ] = "",
    judge: Annotated[bool, typer.Option("--judge", help="All figures of `judge`.")] = False,
    against: Annotated[
        list[str] | None,
        typer.Option(
            "--against", metavar="TRAIN", help="What it learnt from: tells what is novel."
        ),
    ] = None,
    held_out: Annotated[
        list[str] | None,
        typer.Option(metavar="VAL", help="Like it, but not learnt from. Repeat it."),
    ] = None,
    hull: Annotated[
        str | None, typer.Option(metavar="FILE", help="Of `hull build`: tells what is metastable.")
    ] = None,
    baselines: Annotated[
        bool, typer.Option(help="Judge crystals that no generator made, too.")
    ] = True,
    predict: Annotated[
        bool,
        typer.Option("--predict", help="Wanted properties by our own models, with and without."),
    ] = False,
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", min=1, help="Processes; default: all cores.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of torch.")] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only the result.")] = False,
) -> None:
    """Generate crystals with a trained generator: CIFs, a dataset, and a report of what was lost.

    crystalcodec generate -n 1000 --formula TiO2 -o runs/titania

    crystalcodec generate --model runs/mine -n 1000 --where band_gap=1.5 --judge --against
    train.parquet --held-out val.parquet -o runs/generated

    Each sample is counted: what gives no crystal is a failure with its reason.
    """
    import torch

    from crystalcodec.cli.judge import activity_bar
    from crystalcodec.data.workers import n_cores
    from crystalcodec.workflow.generating.folders import FinishedError
    from crystalcodec.workflow.generating.generation import generate as generate_crystals
    from crystalcodec.workflow.generating.wishes import parse_values

    settings = _settings(set_ or [], steps=steps, guidance=guidance)

    def say(line: str) -> None:
        if not quiet:
            print(line, file=sys.stderr, flush=True)

    known = _evidence(against, held_out, hull, potential, say)
    torch.set_num_threads(threads)
    try:
        with goes_on_in(out), activity_bar(quiet, "generating") as progress:
            made = generate_crystals(
                n,
                model=model,
                seed_run=seed_run,
                representation=representation,
                formula=formula,
                elements=() if elements is None else elements,
                space_group=space_group,
                where=parse_values(where or []),
                force_far=force_far,
                guide=guide,
                guide_strength=guide_strength,
                seed=seed,
                batch_size=batch_size,
                device=device,
                decoding=_assigned("--decode", decode or []),
                clean=[] if clean is None else clean.split(","),
                drop_invalid=drop_invalid,
                relax=relax,
                potential=potential,
                **known,
                judge=judge,
                baselines=baselines,
                predict=predict,
                jobs=jobs or n_cores(),
                folder=out,
                progress=progress,
                say=say,
                command=["crystalcodec", *sys.argv[1:]],
                **settings,
            )
    except FinishedError as finished:
        print(finished, file=sys.stderr)
        raise typer.Exit(int(not finished.n_crystals)) from None
    _show(made, out, say)
    if not len(made.crystals):
        print("no crystal is left: the report tells why", file=sys.stderr)
        _say_limits(made)
        raise typer.Exit(1)


def _say_limits(made: Any) -> None:
    """What nothing was decoded with, and how to take wider limits."""
    from crystalcodec.workflow.generating.decoders import decoding_parameters

    parameters = decoding_parameters(made.run.representation)
    if parameters and not dict(made.funnel.stages)["decoded"]:
        told = ", ".join(f"{name}={value}" for name, value in parameters.items())
        print(
            f"nothing was decoded, with {told}: --decode NAME=VALUE takes other limits",
            file=sys.stderr,
        )


def _settings(assignments: list[str], **given: Any) -> dict[str, Any]:
    """Settings of sampling by name."""
    from inspect import signature

    from crystalcodec.workflow.generating.generation import generate

    settings = {name: value for name, value in given.items() if value is not None}
    chosen = _assigned("--set", assignments)
    for key in chosen:
        if key in signature(generate).parameters:
            raise typer.BadParameter(f"--set {key}: {key} has an option of its own")
    return settings | chosen


def _assigned(option: str, assignments: list[str]) -> dict[str, Any]:
    """Values by name, of ``key=value``."""
    from crystalcodec.cli.train import value_of

    values = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key.strip().isidentifier():
            raise typer.BadParameter(f"{option} {assignment!r}: wanted key=value")
        values[key.strip()] = value_of(text.strip())
    return values


def _evidence(
    against: list[str] | None,
    held_out: list[str] | None,
    hull: str | None,
    potential: str,
    say: Any,
) -> dict[str, Any]:
    """What figures need, read from files."""
    from crystalcodec.workflow.judge_inputs import read_known

    known: dict[str, Any] = {}
    for name, sources in (("against", against), ("held_out", held_out)):
        if sources:
            known[name], unread = read_known(sources)
            for why, count in unread.items():
                say(f"{count:,} of {', '.join(sources)} could not be read: {why}")
    if hull is not None:
        from crystalcodec.relaxation.hull import Hull

        own = hull == "elements"
        known["hull"] = Hull.elemental(potential or "chgnet-0.3.0") if own else Hull.read(hull)
    return known


def _show(made: Any, out: Path, say: Any) -> None:
    """The funnel as text, and what was lost."""
    from crystalcodec.workflow.generating.writing import DATASET

    record = made.record
    stages = [*made.funnel.stages, *((f"{k} as wished", v) for k, v in record["met"].items())]
    width = max(len(name) for name, _ in stages)
    for name, count in stages:
        print(f"{name.replace('_', ' '):{width}}  {count:8,}  {100 * count / record['n']:5.1f} %")
    for stage, reasons in record["failures"].items():
        for reason, count in reasons.items():
            say(f"  {count:8,}  {stage}: {reason}")
    for one in record["cleaning"]:
        say(f"clean {one['step']}: {one['n_changed']:,} of {one['n']:,} changed")
    for name, why in record["not_measured"].items():
        say(f"{name}: not measured, {why}")
    for name, one in record["predicted"].get("properties", {}).items():
        unit = f" {one['unit']}" if one["unit"] else ""
        print(
            f"{name}, predicted by our own model: {one['with']['mean']:.4g}{unit} with the wish "
            f"for {one['wanted']:g}, {one['without']['mean']:.4g}{unit} without"
        )
    seconds = sum(record["seconds"].values())
    print(f"\n{len(made.crystals):,} crystals in {out / DATASET}, in {seconds:.1f} s")
    print(f"report: {out / 'report.html'}")
