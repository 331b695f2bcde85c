"""Commands of ``crystalcodec latent``: map, interpolate, perturb, graph."""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from crystalcodec.io import Loaded
    from crystalcodec.workflow.latent import Codes

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True)

Run = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run.")]
Sources = Annotated[list[str], typer.Argument(help="Crystals: files, folders, archives, datasets.")]
Limit = Annotated[int, typer.Option(min=4, help="Most crystals; of more, drawn at random.")]
Windows = Annotated[
    list[str] | None,
    typer.Option("--where", metavar="NAME=LOW:HIGH", help="Wanted values. Repeat it."),
]
Structure = Annotated[str | None, typer.Option(help="Column of a table that holds the structures.")]


@app.command("map")
def map_(
    run: Run,
    sources: Sources,
    out: Annotated[Path, typer.Option("--out", "-o", help="Picture to write (PNG).")],
    colour: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="A property, predicted_<property> by a branch of the run, anion, crystal_system.",
        ),
    ] = "anion",
    limit: Limit = 5000,
    seed: Annotated[int, typer.Option(min=0, help="Of what is drawn.")] = 0,
    structure_column: Structure = None,
) -> None:
    """Draw the codes of crystals as points of a plane (PCA), and write them as a table.

    crystalcodec latent map runs/vae val.parquet --colour formation_energy_per_atom -o map.png
    """
    from crystalcodec.plots.maps import draw_map
    from crystalcodec.workflow.latent import encode_crystals, latent_map, open_latent

    _check_name(out, ".png")
    table = out.with_suffix(".csv")
    if table.exists() and any(Path(one).exists() and table.samefile(one) for one in sources):
        raise typer.BadParameter(
            f"the codes go to {table}, which is read: give another name", param_hint="--out"
        )
    generator = open_latent(run).generator
    loaded = _read(sources, limit, seed, structure_column)
    columns = _columns(loaded)
    codes = encode_crystals(generator, loaded.crystals, columns)
    found = latent_map(generator, codes, colour=colour, columns=_shown(loaded, columns))
    title = f"{generator.name}, codes of {len(codes.codes):,} crystals"
    draw_map(found.projection, found.colours, label=colour, title=title, path=out)
    found.write(table, loaded.ids)
    print(f"{len(codes.codes):,} codes of {codes.flat.shape[1]} numbers in {out} and {table}")
    _say_failures(codes)


@app.command()
def interpolate(
    run: Run,
    one: Annotated[str, typer.Argument(help="File of one crystal.")],
    other: Annotated[str, typer.Argument(help="File of another.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write.")],
    n: Annotated[int, typer.Option("--steps", "-n", min=2, help="Ends included.")] = 9,
    way: Annotated[str, typer.Option(help="linear or spherical.")] = "linear",
) -> None:
    """Crystals on the way from one to another, through their codes: a strip, a table and CIFs.

    crystalcodec latent interpolate runs/vae NaCl.cif KBr.cif -o way
    """
    from crystalcodec.plots.latent import draw_path
    from crystalcodec.plots.results import save
    from crystalcodec.workflow.latent import interpolate as interpolated
    from crystalcodec.workflow.latent import open_latent

    _check_folder(out)
    generator = open_latent(run).generator
    ends = [_read([source], None, 0, None).crystals for source in (one, other)]
    path = interpolated(generator, ends[0], ends[1], n=n, way=way)
    crystals, reasons = path.made.of_each()
    out.mkdir(parents=True, exist_ok=True)
    rows = path.rows()
    names = [f"step-{i:03}" for i in range(n)]
    if any(crystal is not None for crystal in crystals):
        _write_cifs(out, names, crystals)
    _write_table(out / "steps.csv", rows)
    if crystals:
        title = f"{generator.name}, {way}: {path.ends.formulas[0]} to {path.ends.formulas[1]}"
        save(draw_path(crystals, reasons, path.parts, title), out / "strip.png")
    for row in rows:
        print(f"{row['part']:.3f}  {row['formula'] or row['failure']}")
    decoded = sum(not row["failure"] for row in rows)
    print(f"{decoded} of {n} decoded, in {out}")
    if not decoded:
        raise typer.Exit(1)


@app.command()
def perturb(
    run: Run,
    sources: Sources,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write.")],
    where: Windows = None,
    scale: Annotated[
        float, typer.Option(help="Standard deviation of the noise, in units of the code.")
    ] = 1.0,
    children: Annotated[int, typer.Option(min=1, help="Of each parent.")] = 20,
    most: Annotated[int, typer.Option("--parents", min=1, help="Most parents.")] = 50,
    seed: Annotated[int, typer.Option(min=0, help="Of the noise, and of which parents.")] = 0,
    jobs: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    structure_column: Structure = None,
) -> None:
    """Crystals from codes near those of parents; what comes of them is counted.

    crystalcodec latent perturb runs/vae train.parquet --where band_gap=1:2 --scale 0.5 -o new
    """
    import numpy as np

    from crystalcodec.workflow.latent import LatentError, Window, open_latent
    from crystalcodec.workflow.latent import perturb as perturbed
    from crystalcodec.workflow.latent.windows import in_windows

    windows = [Window.parse(text) for text in where or []]
    _check_folder(out)
    generator = open_latent(run).generator
    loaded = _read(sources, None, seed, structure_column)
    met = np.flatnonzero(in_windows(windows, _columns(loaded), len(loaded.crystals)))
    if not len(met):
        raise LatentError(f"none of {len(loaded.crystals)} crystals is in the windows")
    chosen = np.sort(np.random.default_rng(seed).permutation(met)[:most])
    found = perturbed(
        generator, loaded.crystals[chosen], scale=scale, children=children, seed=seed, jobs=jobs
    )
    out.mkdir(parents=True, exist_ok=True)
    _write_table(out / "children.csv", found.rows([loaded.ids[i] for i in chosen]))
    crystals, _ = found.made.of_each()
    kept = np.flatnonzero(found.unique).tolist()
    if kept:
        _write_cifs(out, [f"child-{i:05}" for i in kept], [crystals[i] for i in kept])
    spread = float(found.parents.flat.std(axis=0).mean())
    print(f"{len(met):,} of {len(loaded.crystals):,} crystals are in the windows")
    print(
        f"{len(found.parents.codes)} parents, spread of their codes {spread:.3g}, noise {scale:g}"
    )
    for what, count in found.counts().items():
        print(f"{what}: {count:,}")
    for reason, count in found.reasons().items():
        print(f"{count:,} not decoded: {reason}", file=sys.stderr)
    print(f"in {out}")
    _say_failures(found.parents)
    if not kept:
        raise typer.Exit(1)


@app.command()
def graph(
    run: Run,
    sources: Sources,
    out: Annotated[Path, typer.Option("--out", "-o", help="Graph: .graphml or .json.")],
    where: Windows = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Nearest neighbours of each.")] = 10,
    metric: Annotated[str, typer.Option(help="euclidean or tanimoto.")] = "euclidean",
    cutoff: Annotated[
        float | None, typer.Option(help="In place of -k: the largest distance, or least tanimoto.")
    ] = None,
    neighbourhood: Annotated[
        float | None,
        typer.Option(help="Parents by their neighbours: the least share of these in the windows."),
    ] = None,
    limit: Limit = 3000,
    seed: Annotated[int, typer.Option(min=0, help="Of what is drawn.")] = 0,
    structure_column: Structure = None,
) -> None:
    """A graph of near codes, with property values on its nodes and parents chosen by them.

    crystalcodec latent graph runs/vae train.parquet --where band_gap=1:2 -o graph.graphml
    """
    import numpy as np

    from crystalcodec.plots.latent import draw_graph
    from crystalcodec.plots.results import save
    from crystalcodec.workflow.latent import (
        LatentError,
        Window,
        choose_parents,
        encode_crystals,
        latent_graph,
        latent_map,
        open_latent,
    )

    if out.suffix not in (".graphml", ".json"):
        raise LatentError(f"{out}: wanted a name that ends in .graphml or .json")
    windows = [Window.parse(text) for text in where or []]
    generator = open_latent(run).generator
    loaded = _read(sources, limit, seed, structure_column)
    columns = _columns(loaded)
    codes = encode_crystals(generator, loaded.crystals, columns)
    values: dict[str, Any] = {"crystal": [loaded.ids[i] for i in codes.index]}
    values["formula"] = list(codes.crystals.formulas)
    values |= {name: column[codes.index] for name, column in columns.items()}
    found = latent_graph(codes.codes, k=k, metric=metric, cutoff=cutoff, values=values)
    parents = np.zeros(0, np.int64)
    if windows:
        parents = choose_parents(found, windows, neighbourhood=neighbourhood)
    parts = int(found.components().max()) + 1
    if windows:
        chosen = np.isin(np.arange(found.n), parents)
        found = replace(found, values={**found.values, "parent": chosen})
    found.write(out)
    colour = windows[0].name if windows else next(iter(columns), None)
    laid = latent_map(generator, codes).projection
    figure = draw_graph(
        laid.points,
        found.edges,
        colours=None if colour is None else columns[colour][codes.index],
        label=colour or "",
        chosen=parents,
        title=f"{generator.name}, {found.n:,} codes, {len(found.edges):,} edges",
        axes_names=laid.axes,
    )
    picture = out.with_suffix(".png")
    save(figure, picture)
    print(f"{found.n:,} nodes, {len(found.edges):,} edges, {parts:,} parts, in {out} and {picture}")
    if windows:
        print(f"{len(parents):,} parents")
    _say_failures(codes)


def _read(
    sources: Sequence[str], limit: int | None, seed: int, structure_column: str | None
) -> Loaded:
    import numpy as np

    from crystalcodec.failures import count_reasons
    from crystalcodec.io import read

    loaded = read(list(sources), structure_column=structure_column)
    n = len(loaded.crystals)
    for failure in loaded.failures[:3]:
        print(f"not read: {failure}", file=sys.stderr)
    if len(loaded.failures) > 3:
        told = ", ".join(f"{n:,} {why}" for why, n in count_reasons(loaded.failures).items())
        print(f"not read, of {n + len(loaded.failures):,} records: {told}", file=sys.stderr)
    if limit is None or n <= limit:
        return loaded
    print(f"{limit:,} of {n:,} crystals are drawn at random (--limit)", file=sys.stderr)
    chosen = np.sort(np.random.default_rng(seed).permutation(n)[:limit])
    return type(loaded)(
        loaded.crystals[chosen],
        tuple(loaded.ids[i] for i in chosen),
        tuple(loaded.sources[i] for i in chosen),
        {k: [v[i] for i in chosen] for k, v in loaded.properties.items()},
        loaded.failures,
    )


def _columns(loaded: Loaded) -> dict[str, Any]:
    """Properties that are numbers, NaN where missing."""
    import numpy as np

    found = {}
    for name, column in loaded.properties.items():
        there = [value for value in column if value is not None]
        if there and all(isinstance(v, int | float) for v in there):
            found[name] = np.array([np.nan if v is None else float(v) for v in column])
    return found


def _shown(loaded: Loaded, columns: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers, and texts as they are."""
    import numpy as np

    texts = {k: np.array(v, object) for k, v in loaded.properties.items() if k not in columns}
    return {**columns, **texts}


def _check_name(path: Path, suffix: str) -> None:
    if path.suffix.lower() != suffix:
        raise typer.BadParameter(f"{path}: wanted a name that ends in {suffix}", param_hint="--out")


def _check_folder(folder: Path) -> None:
    """Crystals of another time are not to stand among those that are written now."""
    from crystalcodec.workflow.latent import LatentError

    if folder.exists() and not folder.is_dir():
        raise LatentError(f"{folder} is a file: give a folder")
    if folder.exists() and (there := sorted(path.name for path in folder.glob("[!.]*"))):
        raise LatentError(
            f"{folder} holds files ({', '.join(there[:3])}): give an empty or new folder"
        )


def _write_cifs(folder: Path, names: Sequence[str], crystals: Sequence[Any]) -> None:
    from crystalcodec.crystals import Crystals
    from crystalcodec.io import write

    there = [i for i, crystal in enumerate(crystals) if crystal is not None]
    joined = Crystals.concatenate([crystals[i] for i in there])
    write(joined, folder / "cifs", ids=[names[i] for i in there])


def _write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    from crystalcodec.io.whole import whole_file

    with whole_file(path) as partial, partial.open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)


def _say_failures(codes: Codes) -> None:
    from crystalcodec.failures import count_reasons

    for reason, count in count_reasons(codes.failures).items():
        print(f"{count:,} could not be encoded: {reason}", file=sys.stderr)
