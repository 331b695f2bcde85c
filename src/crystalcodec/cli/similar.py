"""Command similar: the nearest known crystals."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from crystalcodec.cli.encode import Set, Sources, Strict, StructureColumn
from crystalcodec.cli.progress import progress_bar
from crystalcodec.cli.representations import representation_named
from crystalcodec.registry import REPRESENTATIONS

__all__ = ["similar"]

_NAMES = ", ".join(REPRESENTATIONS)
_DEFAULT = "magpie"


def similar(
    files: Sources,
    known: Annotated[
        list[str],
        typer.Option("--in", metavar="DATASET", help="Where to look; files as well. Repeat it."),
    ],
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="NAME",
            help=f"What is compared; default: {_DEFAULT}, standardised. One of: {_NAMES}.",
        ),
    ] = None,
    set_: Set = None,
    metric: Annotated[
        str,
        typer.Option(help="euclidean, manhattan, chebyshev, cosine, pearson or spearman."),
    ] = "euclidean",
    k: Annotated[int, typer.Option("-k", min=1, help="How many of each.")] = 10,
    standardise: Annotated[
        bool | None,
        typer.Option(
            "--standardise/--as-it-is",
            help="Whether each number gets mean 0 and deviation 1 over the dataset first.",
        ),
    ] = None,
    properties: Annotated[
        list[str] | None,
        typer.Option("--show", metavar="PROPERTY", help="Column of the dataset. Repeat it."),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Table: .csv or .json.")] = None,
    structure_column: StructureColumn = None,
    strict: Strict = False,
) -> None:
    """List the known crystals that are most like those in files.

    crystalcodec similar mine.cif --in mp20.parquet

    crystalcodec similar mine.cif --in mp20.parquet --to amd -k 5
    """
    from crystalcodec.failures import count_reasons
    from crystalcodec.workflow.similar import check_table, find_similar

    if out is not None:
        check_table(out)
    representation = representation_named(to or _DEFAULT, set_)
    with progress_bar("searching") as show:
        report = find_similar(
            files,
            known,
            representation,
            k=k,
            metric=metric,
            standardise=to is None if standardise is None else standardise,
            progress=None if show is None else _without_total(show),
            structure_column=structure_column,
        )
    shown = properties or []
    _check_properties(report, shown)
    if out is not None:
        report.write(out, shown)
        print(f"{len(report.queries):,} crystals compared with {report.n_searched:,}, in {out}")
    else:
        _print(report, shown)
    failed = {
        "of the files": count_reasons(report.query_failures),
        "of the dataset could not be read": report.unread,
        "of the dataset could not be held": report.refused,
    }
    for what, reasons in failed.items():
        for reason, count in reasons.items():
            print(f"{count:,} {what}: {reason}", file=sys.stderr)
    for failure in report.query_failures[:3]:
        print(f"  {failure}", file=sys.stderr)
    if not (report.queries and report.n_searched) or (strict and report.n_failed):
        raise typer.Exit(1)


def _check_properties(report: Any, names: list[str]) -> None:
    from crystalcodec.registry import did_you_mean

    known = {name: 0 for found in report.neighbours for near in found for name in near.properties}
    for name in names:
        if known and name not in known:
            raise typer.BadParameter(
                f"no property {name!r} in the dataset{did_you_mean(name, known)}",
                param_hint="--show",
            )


def _print(report: Any, properties: list[str]) -> None:
    """What was compared, and a table for each query."""
    representation = report.representation
    print(f"{report.metric} of {representation.name}, which loses {representation.lost}")
    header = ["", report.metric, "formula", "id", *properties]
    rows = report.rows(properties)
    by_query = iter(rows)
    for query, formula, found in zip(
        report.queries, report.query_formulas, report.neighbours, strict=True
    ):
        print(f"\n{formula} ({query}), among {report.n_searched:,}")
        table = [header]
        for _ in found:
            row = next(by_query)
            value = "undefined" if row["value"] is None else f"{row['value']:.6g}"
            told = [_text(row[name]) for name in properties]
            table.append([str(row["rank"]), value, row["formula"], row["id"], *told])
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        for line in table:
            cells = [
                cell.rjust(width) if i < 2 else cell.ljust(width)
                for i, (cell, width) in enumerate(zip(line, widths, strict=True))
            ]
            print("  ".join(cells).rstrip())


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _without_total(show: Any) -> Any:
    """How many are done of a number that is not known."""
    return lambda done: show(done, None)
