"""Commands of ``crystalcodec data``: import, info, filter, split, export."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crystalcodec.cli.progress import progress_bar

if TYPE_CHECKING:
    from crystalcodec.data.statistics import Description, PropertyStatistics

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True)

Dataset = Annotated[Path, typer.Argument(metavar="DATASET", help="Dataset file (Parquet).")]
Force = Annotated[bool, typer.Option("--force", help="Replace what is there.")]
Jobs = Annotated[
    int | None,
    typer.Option("--jobs", "-j", min=1, help="Processes, one thread each; default: all cores."),
]


class SplitKind(StrEnum):
    """What stays together in a split."""

    RANDOM = "random"
    FORMULA = "formula"
    CHEMICAL_SYSTEM = "chemical-system"
    PROTOTYPE = "prototype"
    TIME = "time"


@app.command("import")
def import_(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Files, folders, patterns in quotes, zip or tar archives: CIF, POSCAR, extxyz, "
            "ASE db, pymatgen JSON, and CSV or Parquet tables."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Dataset file to write (Parquet).")],
    structure_column: Annotated[
        str | None, typer.Option(help="Column of a table that holds the structures.")
    ] = None,
    id_column: Annotated[
        str | None, typer.Option(help="Column of a table that holds the ids.")
    ] = None,
    format_: Annotated[
        str | None,
        typer.Option("--format", help="Format of all files, where their names do not tell it."),
    ] = None,
    properties: Annotated[
        list[str] | None,
        typer.Option("--property", help="Property column to keep; repeat it. Default: all."),
    ] = None,
    units: Annotated[
        list[str] | None,
        typer.Option("--units", metavar="NAME=UNIT", help="Unit of a property; repeat it."),
    ] = None,
    source: Annotated[str, typer.Option(help="Where the data come from.")] = "",
    licence: Annotated[str, typer.Option(help="Under which terms.")] = "",
    min_distance: Annotated[
        float, typer.Option(min=0, help="Å; crystals with atoms closer than this are refused.")
    ] = 0.1,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first failure.")] = False,
    failures: Annotated[
        Path | None,
        typer.Option(help="CSV of what could not be read. Default: OUT.failures.csv."),
    ] = None,
    jobs: Jobs = None,
    force: Force = False,
) -> None:
    """Read crystals from files into one dataset.

    Ids that come again get a number (salt, salt-2). An import that was killed goes on with the
    same command.
    """
    from rich.markup import escape

    from crystalcodec.data import import_dataset
    from crystalcodec.data.workers import n_cores

    named_units = dict(_name_and_value(text, "--units") for text in units or [])
    with progress_bar("reading") as progress:
        report = import_dataset(
            sources,
            out,
            format=format_,
            structure_column=structure_column,
            id_column=id_column,
            properties=properties or None,
            units=named_units,
            source=source,
            licence=licence,
            min_distance=min_distance,
            strict=strict,
            failures=failures,
            jobs=jobs or n_cores(),
            force=force,
            progress=progress,
        )
    show = _console().print
    if report.n_parts_before:
        show(f"{report.n_parts_before} of {report.n_parts} parts were there from a run before")
    show(f"{report.n:,} crystals in {escape(str(out))}, {report.n_failed:,} could not be read")
    for reason, count in report.failures.items():
        show(f"  {count:8,}  {escape(reason)}")
    if report.failures_path:
        show(f"  listed in {escape(str(report.failures_path))}")
    if report.n_renamed:
        show(f"{report.n_renamed:,} ids came again and got a number, such as salt-2")
    for own, given in report.renamed_columns.items():
        show(f"column {escape(given)} is called {escape(own)}: a dataset needs that name itself")
    if report.mixed:
        show(f"kept as text, for it holds several kinds: {escape(', '.join(report.mixed))}")
    if report.left_out:
        show(f"left out, neither number nor text: {escape(', '.join(report.left_out))}")
    show(f"content hash {report.content_hash}")


@app.command()
def info(
    dataset: Dataset,
    histograms: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Draw histograms (PNG) into this folder.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Check the values against the stored hash.")
    ] = False,
) -> None:
    """Say what a dataset holds: crystals, and the statistics of each property."""
    from crystalcodec import data

    rows = data.Dataset.read(dataset, verify=verify)
    description = data.describe(rows)
    if as_json:
        import json

        print(json.dumps(description.as_dict(), indent=2))
    else:
        _show_description(description)
    if histograms is not None:
        drawn = data.draw_histograms(rows, histograms)
        print(f"{len(drawn)} histograms in {histograms}", file=sys.stderr)


@app.command("filter")
def filter_(
    dataset: Dataset,
    out: Annotated[Path, typer.Option("--out", "-o", help="Dataset file to write.")],
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CONDITION",
            help='Condition on a property, such as "e_above_hull <= 0.1"; repeat it. A crystal '
            "without the property fails.",
        ),
    ] = None,
    min_sites: Annotated[int | None, typer.Option(help="Least number of sites.")] = None,
    max_sites: Annotated[int | None, typer.Option(help="Greatest number of sites.")] = None,
    min_elements: Annotated[int | None, typer.Option(help="Least number of elements.")] = None,
    max_elements: Annotated[int | None, typer.Option(help="Greatest number of elements.")] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="Made of these elements alone: Li,Fe,P,O.")
    ] = None,
    containing: Annotated[
        list[str] | None, typer.Option(help="With all of these elements: Li,O.")
    ] = None,
    excluding: Annotated[
        list[str] | None, typer.Option(help="Without any of these elements: Pb,Hg.")
    ] = None,
    unique: Annotated[
        bool,
        typer.Option("--unique", help="Of the same crystals keep the first (StructureMatcher)."),
    ] = False,
    jobs: Jobs = None,
    force: Force = False,
) -> None:
    """Keep the crystals that pass, and say how many each filter refused."""
    from rich.markup import escape

    from crystalcodec.data.filtering import Filter, filter_dataset, parse_elements
    from crystalcodec.data.workers import n_cores

    wanted = Filter(
        min_sites=min_sites,
        max_sites=max_sites,
        min_elements=min_elements,
        max_elements=max_elements,
        only=parse_elements(only or []),
        containing=parse_elements(containing or []),
        excluding=parse_elements(excluding or []),
        conditions=where or [],
    )
    with progress_bar("comparing") as progress:
        report = filter_dataset(
            dataset,
            out,
            wanted,
            unique=unique,
            jobs=jobs or n_cores(),
            force=force,
            progress=progress,
        )
    show = _console().print
    show(f"{report.n_read:,} crystals read")
    for name, count in report.losses.items():
        show(f"  {-count:8,}  {escape(name)}")
    show(f"{report.n_kept:,} crystals in {escape(str(out))}")


@app.command()
def split(
    dataset: Dataset,
    by: Annotated[
        SplitKind,
        typer.Option(
            help="What stays together: nothing, crystals of one formula, of one set of elements, "
            "of one structure prototype; or divide by time."
        ),
    ] = SplitKind.RANDOM,
    column: Annotated[str, typer.Option(help="Property that holds the time.")] = "",
    fractions: Annotated[
        str, typer.Option(help="Of train, validation and test, or NAME=FRACTION,...")
    ] = "0.64,0.16,0.2",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random order.")] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="JSON to write. Default: beside DATASET.")
    ] = None,
    jobs: Jobs = None,
    force: Force = False,
) -> None:
    """Divide a dataset into parts, stored as ids with seed and content hash."""
    from rich.markup import escape

    from crystalcodec import data
    from crystalcodec.data.storage import require_new
    from crystalcodec.data.workers import n_cores

    wanted = _fractions(fractions)
    path = out or dataset.with_name(f"{dataset.stem}.{by}.split.json")
    require_new(path, force=force)
    columns = [column] if column else []
    rows = data.Dataset.read(dataset, columns)
    with progress_bar("finding symmetries") as progress:
        done = data.split_dataset(
            rows,
            by.value,
            fractions=wanted,
            seed=seed,
            column=column,
            jobs=jobs or n_cores(),
            progress=progress,
        )
    done.write(path)
    show = _console().print
    total = sum(len(ids) for ids in done.parts.values())
    for name, ids in done.parts.items():
        share = len(ids) / total
        show(f"  {len(ids):8,}  {escape(name)} ({share:.1%}, wanted {done.fractions[name]:.1%})")
    if done.left_out:
        show(f"  {len(done.left_out):8,}  in no part: no value of {escape(column)}")
    show(f"written to {escape(str(path))}")


@app.command()
def export(
    dataset: Dataset,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            help="File (all.cif, x.extxyz, x.db, x.json, x.csv) or folder of CIF or POSCAR files.",
        ),
    ],
    format_: Annotated[
        str | None,
        typer.Option("--format", help="cif, poscar, extxyz, ase-db, json or csv."),
    ] = None,
    properties: Annotated[
        list[str] | None, typer.Option("--property", help="Property to write; default: all.")
    ] = None,
    force: Force = False,
) -> None:
    """Write a dataset to files of another format."""
    from crystalcodec.data import export_dataset

    n = export_dataset(dataset, out, format=format_, columns=properties or None, force=force)
    print(f"{n:,} crystals in {out}")


def _console() -> Any:
    from rich.console import Console

    return Console(soft_wrap=True, highlight=False)


def _name_and_value(text: str, option: str) -> tuple[str, str]:
    name, sign, value = text.rpartition("=")
    if not (sign and name.strip() and value.strip()):
        raise typer.BadParameter(f"{text!r}: wanted NAME=VALUE", param_hint=option)
    return name.strip(), value.strip()


def _fractions(text: str) -> dict[str, float]:
    entries = [entry.strip() for entry in text.split(",") if entry.strip()]
    default = ("train", "validation", "test")
    if len(entries) <= len(default) and not any("=" in entry for entry in entries):
        named = list(zip(default, entries, strict=False))
    else:
        named = [_name_and_value(entry, "--fractions") for entry in entries]
    try:
        return {name: float(value) for name, value in named}
    except ValueError:
        raise typer.BadParameter(
            f"{text!r}: wanted numbers such as 0.64,0.16,0.2", param_hint="--fractions"
        ) from None


def _show_description(description: Description) -> None:
    from rich.markup import escape

    show = _console().print
    show(f"[bold]{description.n:,} crystals[/bold], {description.n_formulas:,} formulas")
    if description.n_sites:
        low, middle, high = description.n_sites
        show(f"sites: {low} to {high}, median {middle:g}; {description.n_sites_total:,} in all")
    sizes = ", ".join(f"{n}: {count:,}" for n, count in description.n_elements.items())
    show(f"crystals by number of elements: {sizes or 'none'}")
    shown = list(description.elements.items())
    frequent = ", ".join(f"{symbol} {count:,}" for symbol, count in shown[:12])
    show(f"{len(shown)} elements: {frequent}" + (", ..." if len(shown) > 12 else ""))
    for name in ("source", "licence", "content_hash"):
        if value := getattr(description, name):
            show(f"{name.replace('_', ' ')}: {escape(value)}")
    for reason, count in (description.failures or {}).items():
        show(f"not imported: {count:,} {escape(reason)}")
    for one in description.properties:
        _show_property(one)
    if any(one.mean is not None for one in description.properties):
        from crystalcodec.data.statistics import OUTLIER_RULE

        show(f"outliers: {OUTLIER_RULE}")


def _show_property(one: PropertyStatistics) -> None:
    from rich.markup import escape

    show = _console().print
    unit = f" ({one.unit})" if one.unit else ""
    show(f"\n[bold]{escape(one.name)}[/bold]{escape(unit)}, {one.kind}")
    counts = f"  count {one.count:,}, missing {one.missing:,}"
    if one.infinite:
        counts += f", infinite {one.infinite:,} (in no figure below)"
    if one.kind == "text":
        common = ", ".join(f"{text!r} {count:,}" for text, count in (one.most_common or {}).items())
        show(f"{counts}, different {one.distinct:,}: {escape(common)}")
        return
    show(f"{counts}, outliers {one.outliers:,}")
    if one.mean is not None:
        show(
            f"  mean {_figure(one.mean)}, median {_figure(one.median)}, "
            f"standard deviation {_figure(one.standard_deviation)}, "
            f"variance {_figure(one.variance)}"
        )
        show(
            f"  range {_figure(one.minimum)} to {_figure(one.maximum)}, "
            f"skewness {_figure(one.skewness)}"
        )


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.6g}"
