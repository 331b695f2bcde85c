"""The command judge."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from crystalcodec.cli.encode import Format, Sources, StructureColumn
from crystalcodec.cli.interruption import goes_on_in
from crystalcodec.registry import FAMILIES, PRETRAINED

__all__ = ["activity_bar", "judge"]

_POTENTIAL = "chgnet-0.3.0"


def judge(
    generated: Sources,
    against: Annotated[
        list[str] | None,
        typer.Option("--against", metavar="TRAIN", help="What it learnt from. Repeat it."),
    ] = None,
    held_out: Annotated[
        list[str] | None,
        typer.Option(metavar="VAL", help="Like it, but not learnt from. Repeat it."),
    ] = None,
    hull: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Hull by `hull build`; elements: of the elements alone."),
    ] = None,
    relax: Annotated[bool, typer.Option("--relax", help="Relax all crystals first.")] = False,
    potential: Annotated[
        str, typer.Option(help="That relaxes; the hull's own if there is one.")
    ] = "",
    relaxed: Annotated[
        Path | None, typer.Option(help="What `relax` made of the same files.")
    ] = None,
    wanted: Annotated[
        list[str] | None,
        typer.Option(metavar="DATASET", help="What each should be, where they are copies."),
    ] = None,
    families: Annotated[str | None, typer.Option(help=f"Some of: {', '.join(FAMILIES)}.")] = None,
    properties: Annotated[
        str | None,
        typer.Option(help=f"To predict and compare; some of: {', '.join(PRETRAINED)}."),
    ] = None,
    baselines: Annotated[
        bool | None,
        typer.Option(help="Judge held-out, random, substituted ones, too. [default: baselines]"),
    ] = None,
    baseline_size: Annotated[
        int | None, typer.Option(min=1, help="Of each; as many as attempts if not given.")
    ] = None,
    attempts: Annotated[
        int | None, typer.Option(min=1, help="How many were made, if more than are there.")
    ] = None,
    only_rows: Annotated[
        bool, typer.Option("--only-rows", help="Do not count failures recorded with a dataset.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of intervals and baselines.")] = 0,
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", min=1, help="Processes; default: all cores.")
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Folder of what was computed, to share it.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the report.")] = Path(
        "runs/judged"
    ),
    features: Annotated[
        str,
        typer.Option(help="Of pictures, by a network: own (trained on REAL), mobilenet, none."),
    ] = "own",
    max_pictures: Annotated[
        int | None, typer.Option(min=1, help="Judge a random sample of so many of either side.")
    ] = None,
    structure_column: StructureColumn = None,
    format_: Format = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only the result.")] = False,
) -> None:
    """Judge generated crystals by all published metrics that the evidence allows.

    crystalcodec judge generated.parquet --against train.parquet --held-out val.parquet
    -o runs/judged

    What cannot be read counts as an attempt that failed. The same command goes on when stopped.

    Pictures (folders of PNG, of slices, .npy, encoded crystals) are judged against real ones:

    crystalcodec judge PICTURES --against REAL -o runs/judged
    """
    from crystalcodec.data.workers import n_cores
    from crystalcodec.workflow.judge_figures import chosen_families
    from crystalcodec.workflow.judge_inputs import read_attempts, read_known, read_wanted
    from crystalcodec.workflow.judge_picture_inputs import are_pictures
    from crystalcodec.workflow.judge_properties import check_properties
    from crystalcodec.workflow.judging import judge as judge_attempts

    if out.exists() and not out.is_dir():
        raise typer.BadParameter(f"{out} is a file: give a folder", param_hint="--out")
    if are_pictures(generated):
        of_crystals = {
            "--held-out": held_out,
            "--hull": hull,
            "--relax": relax,
            "--potential": potential,
            "--relaxed": relaxed,
            "--wanted": wanted,
            "--families": families,
            "--properties": properties,
            "--baselines": baselines,
            "--baseline-size": baseline_size,
            "--structure-column": structure_column,
            "--format": format_,
        }
        for option, value in of_crystals.items():
            if value:
                raise typer.BadParameter("is for crystals, not for pictures", param_hint=option)
        reading = {"recorded": not only_rows, "max_pictures": max_pictures, "seed": seed}
        _judge_pictures(
            generated,
            against,
            reading,
            n=attempts,
            features=features,
            jobs=jobs or n_cores(),
            cache=cache,
            out=out,
            quiet=quiet,
        )
        return
    if max_pictures is not None or features != "own":
        option = "--features" if max_pictures is None else "--max-pictures"
        raise typer.BadParameter("is for pictures, and crystals are given", param_hint=option)
    if relax and relaxed is not None:
        raise typer.BadParameter("--relax and --relaxed: give one of them")
    if hull is not None and not relax and relaxed is None:
        raise typer.BadParameter(
            "wants --relax or --relaxed: it needs energies", param_hint="--hull"
        )
    chosen = chosen_families(_names(families) or None)
    predicted = _names(properties)
    check_properties(predicted)
    if predicted and not held_out:
        raise typer.BadParameter("wants --held-out to compare with", param_hint="--properties")
    jobs = jobs or n_cores()

    def say(line: str) -> None:
        if not quiet:
            print(line, file=sys.stderr, flush=True)

    given = read_attempts(
        generated,
        n=attempts,
        recorded=not only_rows,
        structure_column=structure_column,
        format=format_,
    )
    for note in given.notes:
        say(note)
    known: dict[str, Any] = {}
    files: dict[str, Any] = {"attempts": list(generated)}
    if wanted:
        known["wanted"], given = read_wanted(wanted, given)
        files["wanted"] = wanted
    for name, sources in (("train", against), ("held_out", held_out)):
        if sources:
            known[name], unread = read_known(sources)
            files[name] = sources
            for why, count in unread.items():
                say(f"{count:,} of {', '.join(sources)} could not be read: {why}")
    # Numbers without those of crystals that no generator made beside them say little.
    beside = baselines is not False
    kept = cache or out / "cache"
    with goes_on_in(out), activity_bar(quiet) as progress:
        stable = _stability(
            given.attempts.crystals,
            hull=hull,
            potential=(potential or None) if relax else None,
            relax=relax,
            relaxed=relaxed,
            folders=(out / "relaxed", kept / "relaxed" if beside else None),
            jobs=jobs,
            progress=progress,
        )
        made = judge_attempts(
            given.attempts,
            **known,
            **stable,
            properties=predicted,
            families=chosen,
            baselines=beside,
            baseline_size=baseline_size,
            seed=seed,
            jobs=jobs,
            folder=kept,
            progress=progress,
            ids=given.ids,
            about={
                "title": f"{', '.join(Path(one).name for one in generated[:3])}, judged",
                "command": ["crystalcodec", *sys.argv[1:]],
                "files": files,
            },
        )
        if progress is not None:
            progress("report", 0, 1)
        made.write(out)
    print(made.table())
    for family, why in made.left_out.items():
        say(f"{family}: {why}")
    print(f"\nreport: {out / 'report.html'}")


def _judge_pictures(
    generated: list[str],
    against: list[str] | None,
    reading: dict[str, Any],
    *,
    n: int | None,
    features: str,
    jobs: int,
    cache: Path | None,
    out: Path,
    quiet: bool,
) -> None:
    """Judge pictures against real ones, and write the report."""
    from crystalcodec.workflow.judge_picture_inputs import are_pictures, read_pictures
    from crystalcodec.workflow.judge_pictures import check_features, judge_pictures

    check_features(features)
    if not against or not are_pictures(against):
        raise typer.BadParameter(
            "wants real pictures to judge pictures against", param_hint="--against"
        )
    real = read_pictures(against, **{**reading, "recorded": False})
    pictures = read_pictures(generated, like=real, n=n, **reading)
    told = [f"generated: {note}" for note in pictures.notes]
    told += [f"real: {note}" for note in real.notes]
    told += [f"{count:,} real pictures left out: {why}" for why, count in real.reasons().items()]
    for line in () if quiet else told:
        print(line, file=sys.stderr, flush=True)
    with goes_on_in(out), activity_bar(quiet) as progress:
        made = judge_pictures(
            pictures,
            real,
            features=features,
            seed=reading["seed"],
            jobs=jobs,
            folder=cache or out / "cache",
            progress=progress,
            about={
                "title": f"{', '.join(Path(one).name for one in generated[:3])}, judged",
                "command": ["crystalcodec", *sys.argv[1:]],
                "files": {"attempts": list(generated), "reference": list(against)},
            },
        )
        made.write(out)
    print(made.table())
    for what, why in made.left_out.items() if not quiet else ():
        print(f"{what}: {why}", file=sys.stderr)
    print(f"\nreport: {out / 'report.html'}")


def _names(text: str | None) -> list[str]:
    return [name.strip() for name in (text or "").split(",") if name.strip()]


def _stability(
    crystals: Any,
    *,
    hull: str | None,
    potential: str | None,
    relax: bool,
    relaxed: Path | None,
    folders: tuple[Path, Path | None],
    jobs: int,
    progress: Callable[[str, int, int], None] | None,
) -> dict[str, Any]:
    """What judging takes of hull and relaxed crystals: read, or relaxed now."""
    if not relax and relaxed is None:
        return {}
    from crystalcodec.relaxation.hull import Hull
    from crystalcodec.workflow.relaxing import load_relaxed, relax_in_parts, relaxation_key

    found: dict[str, Any] = {}
    if relaxed is not None:
        found["relaxed"] = load_relaxed(relaxed)
        potential = found["relaxed"].potential
    if hull is not None:
        own = Hull.elemental(potential or _POTENTIAL) if hull == "elements" else Hull.read(hull)
        potential = potential or own.potential
        own.require(potential)
        found["hull"] = own
    if relaxed is not None or not len(crystals):
        return found

    def relaxing(name: str, some: Any, folder: Path) -> Any:
        def show(done: int, of: int) -> None:
            if progress is not None:
                progress(name, done, of)

        return relax_in_parts(some, folder, potential or _POTENTIAL, jobs=jobs, progress=show)

    found["relaxed"] = relaxing("relaxing", crystals, folders[0])
    shared = folders[1]
    if shared is not None:
        found["relax_baselines"] = lambda name, some: relaxing(
            f"{name}: relaxing", some, shared / relaxation_key(some, potential or _POTENTIAL)
        )
    return found


@contextmanager
def activity_bar(
    quiet: bool, what: str = "judging"
) -> Iterator[Callable[[str, int, int], None] | None]:
    """A bar that says what is done now; nothing in a pipe."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)

        def show(name: str, done: int, total: int) -> None:
            told = name if len(name) < 50 else f"{name[:47]}..."
            bar.update(task, description=escape(told), completed=done, total=total)

        yield show
