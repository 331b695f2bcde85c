"""The command ``crystalcodec slices``: pictures of planes of crystals and densities."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer

from crystalcodec.cli.progress import progress_bar

__all__ = ["slices"]


class Atoms(StrEnum):
    """How atoms are drawn."""

    FIXED = "fixed"
    ELEMENT = "element"


class Output(StrEnum):
    """What pictures are written to."""

    PNG = "png"
    ARRAY = "array"


class Shape(StrEnum):
    """What a slice of a density shows."""

    FRACTIONAL = "fractional"
    CARTESIAN = "cartesian"


class Scaling(StrEnum):
    """Over what a density is scaled to 0 to 1."""

    SLICE = "slice"
    VOLUME = "volume"


def slices(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Crystals: files, folders, archives, datasets; or densities: CHGCAR and cube "
            "files, or folders of them."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write.")],
    planes: Annotated[
        str,
        typer.Option(help="Planes of a crystal, drawn at random; or all that symmetry tells."),
    ] = "1",
    size: Annotated[int, typer.Option(min=2, help="Pixels of a side.")] = 256,
    width: Annotated[float, typer.Option(help="Å; side of the square that is drawn.")] = 40.0,
    tolerance: Annotated[
        float, typer.Option(help="Å; atoms up to this far from the plane are drawn.")
    ] = 0.1,
    sigma: Annotated[float, typer.Option(help="Å; standard deviation of an atom.")] = 0.2,
    atoms: Annotated[
        Atoms, typer.Option(help="All atoms alike, or width and height by element.")
    ] = Atoms.FIXED,
    volume_per_atom: Annotated[
        float, typer.Option(help="Å3 that the cell is scaled to, an atom; 0: as it is.")
    ] = 1.0,
    translates: Annotated[
        bool,
        typer.Option(help="Where a cell has too few atoms, planes go through translates."),
    ] = True,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the choice of planes.")] = 0,
    axes: Annotated[str, typer.Option(help="Cell vectors to cut densities along.")] = "abc",
    indices: Annotated[
        str, typer.Option(metavar="I,J,...", help="Grid points to cut at. Default: all.")
    ] = "",
    shape: Annotated[
        Shape, typer.Option(help="Of slices of densities: the cell, or a true square.")
    ] = Shape.FRACTIONAL,
    density_width: Annotated[
        float | None,
        typer.Option(help="Å; side of Cartesian slices. Default: the longest cell vector."),
    ] = None,
    scaling: Annotated[
        Scaling, typer.Option(help="Scale each slice, or all of a density, to 0 to 1.")
    ] = Scaling.SLICE,
    threshold: Annotated[
        float, typer.Option(min=0, help="Times the mean of a density; below, a point is empty.")
    ] = 0.5,
    min_share: Annotated[
        float, typer.Option(min=0, max=1, help="Slices with fewer points not empty are dropped.")
    ] = 0.1,
    output: Annotated[
        Output, typer.Option("--as", help="A file a picture, or one array file.")
    ] = Output.PNG,
    bits: Annotated[int, typer.Option(help="Depth of pixels, 8 or 16.")] = 8,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", "-j", min=1, help="Processes, one thread each; default: all cores."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
) -> None:
    """Make a folder of grey pictures of planes, with every plane recorded in a table.

    Planes go through three atoms of a crystal; densities are cut along their axes. A build that
    was killed goes on with the same command.
    """
    from rich.console import Console
    from rich.markup import escape

    from crystalcodec.data.slice_dataset import SliceOptions, build_slice_dataset
    from crystalcodec.data.workers import n_cores
    from crystalcodec.representations.slices.charge import ChargeSlicing
    from crystalcodec.representations.slices.drawing import SliceStyle

    options = SliceOptions(
        planes=_planes(planes),
        style=SliceStyle(size, width, tolerance, sigma, atoms.value),
        volume_per_atom=volume_per_atom or None,
        translates=translates,
        seed=seed,
        charge=ChargeSlicing(
            size=size,
            axes=_axes(axes),
            indices=_indices(indices),
            shape=shape.value,
            width=density_width,
            scaling=scaling.value,
            threshold=threshold,
            min_share=min_share,
        ),
        bits=bits,
    )
    with progress_bar("drawing") as progress:
        report = build_slice_dataset(
            sources,
            out,
            options,
            output=output.value,
            jobs=jobs or n_cores(),
            force=force,
            progress=progress,
        )
    show = Console(soft_wrap=True, highlight=False).print
    if report.n_parts_before:
        show(f"{report.n_parts_before} of {report.n_parts} parts were there from a run before")
    show(f"{report.n_pictures:,} pictures of {report.n_crystals:,} crystals in {escape(str(out))}")
    if report.n_sparse:
        show(f"  {report.n_sparse:8,}  slices dropped: sparse")
    if report.n_collinear:
        show(f"  {report.n_collinear:8,}  triples passed over: collinear atoms")
    for reason, count in report.failures.items():
        show(f"  {count:8,}  without a picture: {escape(reason)}")
    if report.failures:
        show(f"  listed in {escape(str(out / 'failures.csv'))}")


def _planes(text: str) -> int | Literal["all"]:
    if text == "all":
        return "all"
    try:
        return int(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r}: wanted a number or all", param_hint="--planes"
        ) from None


def _axes(text: str) -> tuple[int, ...]:
    letters = text.strip().lower()
    if not letters or not set(letters) <= set("abc"):
        raise typer.BadParameter(f"{text!r}: wanted some of a, b, c", param_hint="--axes")
    return tuple("abc".index(letter) for letter in dict.fromkeys(letters))


def _indices(text: str) -> tuple[int, ...] | None:
    if not text.strip():
        return None
    try:
        return tuple(int(word) for word in text.split(","))
    except ValueError:
        raise typer.BadParameter(
            f"{text!r}: wanted whole numbers such as 0,12,24", param_hint="--indices"
        ) from None
