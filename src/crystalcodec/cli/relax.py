"""Command relax: crystals moved downhill with an interatomic potential."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from crystalcodec.cli.encode import Format, Sources, Strict, StructureColumn
from crystalcodec.cli.progress import progress_bar
from crystalcodec.registry import POTENTIALS

__all__ = ["relax"]

_NAMES = ", ".join(POTENTIALS)


def relax(
    files: Sources,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder, or dataset (x.parquet), to write.")
    ],
    potential: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help=f"One of: {_NAMES}; or ase:module:factory of any calculator of ASE.",
        ),
    ] = "chgnet-0.3.0",
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", min=1, help="Processes, of one thread each.")
    ] = 1,
    max_force: Annotated[float, typer.Option(help="eV/Å; no force is larger at the end.")] = 0.05,
    max_stress: Annotated[
        float, typer.Option(help="GPa; no component of the stress is larger at the end.")
    ] = 0.5,
    max_steps: Annotated[int, typer.Option(min=0, help="Most steps of a crystal.")] = 500,
    fixed_cell: Annotated[bool, typer.Option("--fixed-cell", help="Move the sites alone.")] = False,
    volume_bounds: Annotated[
        tuple[float, float],
        typer.Option(help="Least and largest volume over that of the start."),
    ] = (0.5, 2.0),
    min_distance: Annotated[
        float, typer.Option(help="Å; sites nearer than this at either end are a failure.")
    ] = 0.3,
    trajectory: Annotated[
        bool, typer.Option("--trajectory", help="Keep every step, as extxyz.")
    ] = False,
    structure_column: StructureColumn = None,
    format_: Format = None,
    strict: Strict = False,
) -> None:
    """Relax crystals with an interatomic potential; the same command goes on after a stop.

    crystalcodec relax generated.parquet -o relaxed --jobs 2
    crystalcodec relax cifs/ -o relaxed.parquet --potential sevennet-0-11jul2024
    """
    from crystalcodec.failures import count_reasons
    from crystalcodec.workflow.relaxing import relax_files

    with progress_bar("relaxing") as show:
        report = relax_files(
            files,
            out,
            potential,
            jobs=jobs,
            progress=show,
            trajectory=trajectory,
            limits={
                "max_steps": max_steps,
                "max_force": max_force,
                "max_stress": max_stress,
                "cell": not fixed_cell,
                "volume_bounds": volume_bounds,
                "min_distance": min_distance,
            },
            structure_column=structure_column,
            format=format_,
        )
    relaxed = report.relaxed
    n_converged, failed = int(relaxed.converged.sum()), (*relaxed.failures, *report.unread)
    unfinished = len(relaxed.positions) - n_converged
    print(
        f"{n_converged:,} crystals relaxed with {relaxed.potential}, {unfinished:,} not "
        f"converged, {len(failed):,} failed, in {report.dataset}"
    )
    for reason, count in count_reasons(failed).items():
        first = next(one for one in failed if one.reason == reason)
        print(f"  {count:8,}  {reason}\n            first: {first.detail}", file=sys.stderr)
    print(f"table of all: {report.table}")
    if not len(relaxed.positions) or (strict and (failed or unfinished)):
        raise typer.Exit(1)
