"""Command map: crystals or elements as points of a plane, or how alike elements are."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from crystalcodec.cli.encode import Set, StructureColumn
from crystalcodec.cli.representations import representation_named
from crystalcodec.registry import REPRESENTATIONS

__all__ = ["map_"]

_NAMES = ", ".join(REPRESENTATIONS)


class Method(StrEnum):
    """What is drawn."""

    pca = "pca"
    tsne = "tsne"
    umap = "umap"
    heat = "heat"


class Order(StrEnum):
    """The order of elements on a heat map."""

    periodic = "periodic"
    pettifor = "pettifor"


def map_(
    out: Annotated[Path, typer.Option("--out", "-o", help="Picture to write (PNG).")],
    sources: Annotated[
        list[str] | None, typer.Argument(help="Crystals: files, folders, archives, datasets.")
    ] = None,
    elements: Annotated[
        str | None,
        typer.Option("--elements", metavar="TABLE", help="A table of elements: magpie, mat2vec."),
    ] = None,
    to: Annotated[
        str, typer.Option("--to", metavar="NAME", help=f"For crystals, one of: {_NAMES}.")
    ] = "magpie",
    set_: Set = None,
    method: Annotated[
        Method, typer.Option(help="heat: of elements, all pairs as a matrix.")
    ] = Method.pca,
    colour: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Of crystals: a property, or anion. Of elements: family, electronegativity, "
            "mass, group, period.",
        ),
    ] = None,
    metric: Annotated[str, typer.Option(help="Of heat.")] = "cosine",
    order: Annotated[Order, typer.Option(help="Of heat.")] = Order.pettifor,
    standardise: Annotated[
        bool,
        typer.Option(
            "--standardise/--as-it-is", help="Whether each number gets mean 0 and deviation 1."
        ),
    ] = True,
    neighbours: Annotated[
        int | None, typer.Option(help="Perplexity of tsne (30), neighbours of umap (15).")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of tsne, umap and what is drawn.")] = 0,
    limit: Annotated[int, typer.Option(min=4, help="Most crystals to draw.")] = 5000,
    structure_column: StructureColumn = None,
) -> None:
    """Draw a map of crystals or of elements: what is alike is near.

    crystalcodec map train.parquet --to magpie --colour band_gap -o map.png

    crystalcodec map --elements skipatom --method tsne -o elements.png

    crystalcodec map --elements skipatom --method heat --order pettifor -o heat.png
    """
    if out.suffix.lower() != ".png":
        raise typer.BadParameter(f"{out}: wanted a name that ends in .png", param_hint="--out")
    if bool(sources) == (elements is not None):
        raise typer.BadParameter("wanted files of crystals or --elements TABLE, one of the two")
    if elements is not None:
        style: dict[str, Any] = {"standardise": standardise, "title": elements, "path": out}
        if method is Method.heat:
            _draw_heat(elements, metric=metric, order=order.value, **style)
        else:
            style |= {"colour": colour or "family", "neighbours": neighbours, "seed": seed}
            _draw_elements(elements, method=method.value, **style)
        print(f"{elements} in {out}")
        return
    if method is Method.heat:
        raise typer.BadParameter(
            "a heat map is of elements: give --elements", param_hint="--method"
        )
    from crystalcodec.workflow.crystal_map import map_crystals

    report = map_crystals(
        sources or [],
        representation_named(to, set_),
        out,
        method=method.value,
        colour=colour or "anion",
        standardise=standardise,
        neighbours=neighbours,
        seed=seed,
        limit=limit,
        structure_column=structure_column,
    )
    print(f"{report.n_drawn:,} crystals in {out}")
    if report.more:
        print("there are more crystals than --limit: some are drawn at random", file=sys.stderr)
    for what, reasons in (("read", report.unread), ("held", report.refused)):
        for reason, count in reasons.items():
            print(f"{count:,} could not be {what}: {reason}", file=sys.stderr)


def _draw_heat(table: str, **style: Any) -> None:
    from crystalcodec.plots.similarity import element_heat_map
    from crystalcodec.representations.element_tables import element_table

    element_heat_map(element_table(table).values, **style)


def _draw_elements(table: str, **style: Any) -> None:
    from crystalcodec.plots.maps import element_map
    from crystalcodec.representations.element_tables import element_table

    element_map(element_table(table).values, **style)
