"""Commands of ``crystalcodec hull``: build, info, show."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crystalcodec.cli.progress import progress_bar
from crystalcodec.registry import POTENTIALS

if TYPE_CHECKING:
    from crystalcodec.relaxation.hull import Hull

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True)

HullFile = Annotated[Path, typer.Argument(metavar="HULL", help="Hull file (Parquet).")]


@app.command()
def build(
    datasets: Annotated[
        list[Path], typer.Argument(metavar="DATASET...", help="Dataset files (Parquet).")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Hull file to write (Parquet).")],
    potential: Annotated[
        str, typer.Option(help=f"One of: {', '.join(POTENTIALS)}.")
    ] = "chgnet-0.3.0",
    relax: Annotated[
        bool,
        typer.Option(
            "--relax",
            help="Relax each crystal first. Default: energies of the crystals as they are, which "
            "fits those that were relaxed with density functional theory.",
        ),
    ] = False,
    elements: Annotated[
        bool,
        typer.Option(
            "--elements/--no-elements",
            help="Add the elemental references that come with the package.",
        ),
    ] = True,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", "-j", min=1, help="Processes, one thread each; default: all cores."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
) -> None:
    """Label datasets with a potential, and write the hull that they make.

    A build that was killed goes on with the same command.

    crystalcodec hull build mp20.parquet --potential chgnet-0.3.0 -o mp20.hull.parquet
    """
    from crystalcodec.data.workers import n_cores
    from crystalcodec.workflow.hulls import build_hull

    with progress_bar("labelling") as progress:
        report = build_hull(
            datasets,
            out,
            potential,
            relax=relax,
            elements=elements,
            jobs=jobs or n_cores(),
            force=force,
            progress=progress,
        )
    print(f"{report.n_given:,} crystals, {len(report.failures):,} without an energy")
    for reason, count in report.reasons.items():
        print(f"  {count:8,}  {reason}")
    if report.failures_path:
        print(f"  listed in {report.failures_path}")
    hull = report.hull
    if "n_converged" in hull.settings:
        unfinished = report.n_given - len(report.failures) - hull.settings["n_converged"]
        print(f"{unfinished:,} not converged: with the energies of their last steps")
    print(f"{report.n_elements_added:,} elemental references added")
    print(f"{len(hull):,} phases in {out}, {int(hull.on_hull.sum()):,} on the hull")
    _warn_of_missing(hull)
    print(f"content hash {hull.content_hash}")


@app.command()
def info(hull: HullFile) -> None:
    """Say what a hull holds: potential, phases, elements, and how it was made."""
    import json

    from crystalcodec.relaxation.hull import Hull as Read

    held = Read.read(hull)
    n_elements = int((held.element_energies == held.element_energies).sum())
    print(f"potential: {held.potential}")
    print(f"{len(held):,} phases, {int(held.on_hull.sum()):,} on the hull, {n_elements} elements")
    if held.source:
        print(f"source: {held.source}")
    print(f"content hash: {held.content_hash}")
    print(json.dumps(dict(held.settings), indent=2, sort_keys=True))
    _warn_of_missing(held)


@app.command()
def show(
    hull: HullFile,
    formula: Annotated[
        str | None, typer.Argument(help="Composition, such as LiFePO4: what it decomposes into.")
    ] = None,
    system: Annotated[
        str | None,
        typer.Option(metavar="Li-Fe-O", help="Elements: all phases of them and of some of them."),
    ] = None,
    above: Annotated[
        float, typer.Option(help="With --system: phases up to so many eV/atom above the hull.")
    ] = 0.0,
) -> None:
    """Show the phases that a composition decomposes into, or those of a chemical system."""
    from crystalcodec.relaxation.hull import Hull as Read

    if (formula is None) == (system is None):
        raise typer.BadParameter("wanted a formula or --system, one of them")
    held = Read.read(hull)
    if formula is not None:
        _show_mixture(held, formula)
    else:
        _show_system(held, str(system), above)


def _show_mixture(held: Hull, formula: str) -> None:
    phases = held.competing_phases(formula)
    lowest = sum(one.fraction * one.energy_per_atom for one in phases)
    formation = sum(one.fraction * one.formation_energy_per_atom for one in phases)
    print(f"{formula} on the hull of {held.potential}: {lowest:.4f} eV/atom, ", end="")
    print(f"{formation:.4f} eV/atom from the elements")
    rows = [
        (f"{one.fraction:.4f}", one.formula, f"{one.formation_energy_per_atom:.4f}", one.id)
        for one in phases
    ]
    _print(("of the atoms", "phase", "formation eV/atom", "id"), rows)


def _show_system(held: Hull, system: str, above: float) -> None:
    import numpy as np

    from crystalcodec.data.filtering import parse_elements
    from crystalcodec.elements import ATOMIC_NUMBERS
    from crystalcodec.registry import did_you_mean

    symbols = parse_elements([system])
    for symbol in symbols:
        if symbol not in ATOMIC_NUMBERS:
            raise typer.BadParameter(f"no element {symbol!r}{did_you_mean(symbol, ATOMIC_NUMBERS)}")
    numbers = [ATOMIC_NUMBERS[symbol] for symbol in symbols]
    others = np.ones(held.compositions.shape[1], bool)
    others[numbers] = False
    inside = ~(held.compositions[:, others] > 0).any(axis=1)
    chosen = np.flatnonzero(inside & (held.above <= above + 1e-8))
    rows = [
        (
            held.formulas[i],
            f"{held.formation_energies[i]:.4f}",
            f"{max(held.above[i], 0):.4f}",
            str(held.ids[i]),
        )
        for i in sorted(chosen.tolist(), key=lambda i: (held.formulas[i], held.above[i]))
    ]
    print(f"{len(rows):,} of {int(inside.sum()):,} phases of {system}, {held.potential}")
    _print(("phase", "formation eV/atom", "above hull", "id"), rows)
    if missing := [s for s in symbols if np.isnan(held.element_energies[ATOMIC_NUMBERS[s]])]:
        print(f"no pure {', '.join(missing)}: phases with it have no energy", file=sys.stderr)


def _warn_of_missing(held: Any) -> None:
    import numpy as np

    from crystalcodec.elements import SYMBOLS

    used = (held.compositions > 0).any(axis=0) & np.isnan(held.element_energies)
    if used.any():
        names = ", ".join(SYMBOLS[z] for z in np.flatnonzero(used))
        print(f"no pure {names}: phases with it have no energy above the hull", file=sys.stderr)


def _print(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for line in table:
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        print("  ".join(cells).rstrip())
