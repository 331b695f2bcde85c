"""Commands encode, decode and show."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from crystalcodec.cli.representations import (
    chosen_representations,
    given_parameters,
    representation_named,
)
from crystalcodec.registry import REPRESENTATIONS

__all__ = ["decode", "encode", "show"]

_NAMES = ", ".join(REPRESENTATIONS)
_CRYSTALS = (
    "Files, folders, patterns in quotes, zip or tar archives: CIF, POSCAR, extxyz, ASE db, "
    "pymatgen JSON, tables, and datasets (Parquet)."
)

Sources = Annotated[list[str], typer.Argument(help=_CRYSTALS)]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PARAMETER=VALUE", help="Of the representation; repeat it."),
]
Failures = Annotated[
    Path | None, typer.Option(help="CSV of what failed. Default: OUT.failures.csv.")
]
Strict = Annotated[bool, typer.Option("--strict", help="Exit with 1 if anything failed.")]
Force = Annotated[bool, typer.Option("--force", help="Replace what is there.")]
RightHanded = Annotated[
    bool,
    typer.Option("--right-handed", help="Turn left-handed cells first; no atom moves."),
]
StructureColumn = Annotated[
    str | None, typer.Option(help="Column of a table that holds the structures.")
]
Format = Annotated[
    str | None,
    typer.Option("--format", help="Format of all files, where their names do not tell it."),
]


class Written(StrEnum):
    """What encode writes."""

    arrays = "arrays"
    png = "png"


def encode(
    sources: Sources,
    to: Annotated[str, typer.Option("--to", metavar="NAME", help=f"One of: {_NAMES}.")],
    set_: Set = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder to write. Default: named after the source."),
    ] = None,
    as_: Annotated[
        Written | None,
        typer.Option("--as", help="Default: png for pictures, arrays for the rest."),
    ] = None,
    right_handed: RightHanded = False,
    space_groups: Annotated[
        str | None,
        typer.Option(
            metavar="PROPERTY",
            help="Column of space-group numbers, where they are known: finding them takes time.",
        ),
    ] = None,
    structure_column: StructureColumn = None,
    format_: Format = None,
    failures: Failures = None,
    strict: Strict = False,
    force: Force = False,
) -> None:
    """Encode crystals from files: a PNG for each, or one folder of arrays.

    crystalcodec encode --to xtal2png cifs/
    crystalcodec encode --to ircr --set max_sites=40 train.parquet -o arrays
    """
    from crystalcodec.workflow.encoding import encode_files

    representation = representation_named(to, set_)
    folder = out or Path(f"{_stem(sources)}.{to}")
    with _counter("encoding") as progress:
        report = encode_files(
            sources,
            representation,
            folder,
            pictures=None if as_ is None else as_ is Written.png,
            right_handed=right_handed,
            space_groups=space_groups,
            failures=failures,
            force=force,
            progress=progress,
            structure_column=structure_column,
            format=format_,
        )
    refused = {"could not be read": report.unread, "could not be encoded": report.refused}
    _tell(f"{report.n_encoded:,} crystals in {folder}", refused, report)
    _exit(report.n_encoded, report.n_failed, strict)


def decode(
    paths: Annotated[
        list[Path],
        typer.Argument(help="What encode wrote; PNGs and folders of them; .npy and .npz files."),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            help="Folder of CIFs, dataset (x.parquet), or all.cif, x.extxyz, x.db, x.json.",
        ),
    ],
    from_: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="NAME", help=f"Where the files do not tell it; one of: {_NAMES}."
        ),
    ] = None,
    set_: Set = None,
    failures: Failures = None,
    strict: Strict = False,
    force: Force = False,
) -> None:
    """Decode arrays or pictures back into crystals; what holds none says why.

    crystalcodec decode cifs.xtal2png -o decoded/
    crystalcodec decode generated.npy --from ircr --set tolerance=0.5 -o generated.parquet
    """
    from crystalcodec.workflow.decoding import decode_files

    with _counter("decoding") as progress:
        report = decode_files(
            paths,
            out,
            name=from_,
            parameters=given_parameters(set_),
            failures=failures,
            force=force,
            progress=progress,
        )
    lost = {"could not be decoded": report.failures}
    made = f"{report.n_decoded:,} crystals in {out}"
    _tell(made if report.n_decoded else f"0 crystals, {out} is not written", lost, report)
    known = sorted(value for value in report.confidence.tolist() if value == value)
    if known:
        print(f"confidence: median {known[len(known) // 2]:.3g}, least {known[0]:.3g}")
    _exit(report.n_decoded, report.n_failed, strict)


def show(
    files: Sources,
    out: Annotated[Path, typer.Option("--out", "-o", help="Picture to write (PNG).")],
    as_: Annotated[
        str, typer.Option("--as", metavar="NAMES", help=f"all, or some of: {_NAMES}.")
    ] = "all",
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME.PARAMETER=VALUE", help="Of a representation; repeat it."
        ),
    ] = None,
    right_handed: RightHanded = False,
    structure_column: StructureColumn = None,
    format_: Format = None,
    limit: Annotated[int, typer.Option(min=1, help="Most crystals to draw, the first ones.")] = 4,
) -> None:
    """Draw crystals beside their representations, and say what each one loses.

    crystalcodec show salt.cif --as all -o salt.png
    """
    from crystalcodec.failures import count_reasons
    from crystalcodec.io import Loaded, iter_read
    from crystalcodec.plots.representations import show as draw

    if out.suffix.lower() != ".png":
        raise typer.BadParameter(f"{out}: wanted a name that ends in .png", param_hint="--out")
    names = list(REPRESENTATIONS) if as_ == "all" else [n.strip() for n in as_.split(",")]
    chosen = chosen_representations(names, set_)
    parts, found = [], 0
    for loaded in iter_read(files, structure_column=structure_column, format=format_):
        parts.append(loaded)
        found += len(loaded.crystals)
        if found > limit:
            break
    read = Loaded.concatenate(parts)
    crystals = read.crystals.right_handed() if right_handed else read.crystals
    n = min(limit, len(crystals))
    if n:
        draw(crystals[:n], chosen, out, ids=read.ids[:n])
        print(f"{n} crystals, {len(chosen)} representations in {out}")
        if found > n:
            print("there are more crystals than --limit: the first are drawn", file=sys.stderr)
    first = {failure.reason: failure for failure in reversed(read.failures)}
    for reason, count in count_reasons(read.failures).items():
        told = f"could not be read: {count} {reason}\n  first: {_first(first[reason])}"
        print(told, file=sys.stderr)
    if not n:
        print(f"no crystal to draw: {out} is not written", file=sys.stderr)
        raise typer.Exit(1)


def _stem(sources: list[str]) -> str:
    """A name for what comes from these sources."""
    if len(sources) > 1 or not (name := Path(sources[0]).resolve().name) or not Path(name).stem:
        return "crystals"
    return "crystals" if set("*?[") & set(name) else name.partition(".")[0] or name


def _tell(done: str, failed: dict[str, Any], report: Any) -> None:
    """What was done, and what failed: how many by reason, the first of each, and where all are."""
    n = {what: sum(reasons.values()) for what, reasons in failed.items()}
    print(", ".join([done, *(f"{count:,} {what}" for what, count in n.items())]))
    for reasons in failed.values():
        for reason, count in reasons.most_common():
            print(f"  {count:8,}  {reason}")
            print(f"            first: {_first(report.first[reason])}")
    if report.failures_path is not None:
        print(f"  listed in {report.failures_path}")


def _first(failure: Any) -> str:
    """Where a failure happened and what was wrong, in a line."""
    import textwrap

    told = ": ".join(part for part in (failure.source, failure.detail) if part)
    return textwrap.shorten(told, 240, placeholder=" ...")


def _exit(n_made: int, n_failed: int, strict: bool) -> None:
    if not n_made or (strict and n_failed):
        raise typer.Exit(1)


@contextmanager
def _counter(what: str) -> Iterator[Callable[[int], None] | None]:
    """How many are done, on a terminal; nothing in a pipe."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done: bar.update(task, completed=done, description=f"{what} {done:,}")
