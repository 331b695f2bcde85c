"""The command invariance."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from crystalcodec.cli.encode import Format, Sources, StructureColumn
from crystalcodec.cli.representations import chosen_representations
from crystalcodec.registry import REPRESENTATIONS

__all__ = ["invariance"]


def invariance(
    sources: Sources,
    as_: Annotated[
        str,
        typer.Option(
            "--as", metavar="NAMES", help=f"all, or some of: {', '.join(REPRESENTATIONS)}."
        ),
    ] = "all",
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME.PARAMETER=VALUE", help="Of a representation; repeat it."
        ),
    ] = None,
    n: Annotated[int, typer.Option("--n", "-n", min=2, help="Crystals to draw at random.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="Of the draw, and of the changes.")] = 0,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Figure to write (PNG).")] = None,
    json: Annotated[Path | None, typer.Option(help="JSON file of all numbers.")] = None,
    structure_column: StructureColumn = None,
    format_: Format = None,
) -> None:
    """Measure what representations respect: other orders, frames, origins and cells, small moves.

    crystalcodec invariance crystals.parquet --as ircr,soap,crystal_graph -o invariance.png

    exact: the arrays stay the same. reordered: the same rows in another order. continuous: they
    change, and by little under a small move. changes: they change. The number is the median
    change, in units of the distance between two of the crystals under that representation.
    """
    import numpy as np

    from crystalcodec.io import read
    from crystalcodec.registry import MissingExtraError
    from crystalcodec.workflow.invariance import (
        Measured,
        measure_invariance,
        table,
        write_invariance,
    )

    if out is not None and out.suffix.lower() != ".png":
        raise typer.BadParameter(f"{out}: wanted a name that ends in .png", param_hint="--out")
    names = list(REPRESENTATIONS) if as_ == "all" else [name.strip() for name in as_.split(",")]
    chosen = chosen_representations(names, set_)
    crystals = read(sources, structure_column=structure_column, format=format_).crystals
    if len(crystals) < 2:
        raise typer.BadParameter(f"{len(crystals)} crystals: wanted at least two")
    drawn = np.sort(np.random.default_rng(seed).permutation(len(crystals))[:n])
    rows: list[Measured] = []
    for representation in chosen:
        if sys.stderr.isatty():
            print(f"\r\033[K{representation.name}", end="", file=sys.stderr, flush=True)
        try:
            rows += measure_invariance([representation], crystals[drawn], seed=seed)
        except MissingExtraError as error:
            print(f"{representation.name} is left out: {error}", file=sys.stderr)
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    print(table(rows))
    left_out = {row.representation: row.n_refused for row in rows if row.n_refused}
    if left_out:
        told = ", ".join(f"{name} {count}" for name, count in left_out.items())
        print(f"most of the {len(drawn)} crystals that could not be held: {told}")
    title = f"What representations respect ({len(drawn)} crystals)"
    if out is not None:
        from crystalcodec.plots.invariance import save_invariance

        save_invariance(rows, out, title)
        print(out)
    if json is not None:
        write_invariance(
            rows,
            json,
            n=len(drawn),
            seed=seed,
            content_hash=crystals[drawn].content_hash,
            representations=[representation.config() for representation in chosen],
        )
        print(json)
