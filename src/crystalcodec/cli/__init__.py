"""The command line: each command parses, calls one public function and prints.

Nothing heavy is imported before a command runs, so that ``crystalcodec --help`` is instant.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from crystalcodec.cli import (
    benchmark,
    data,
    encode,
    generate,
    hull,
    invariance,
    judge,
    latent,
    maps,
    relax,
    similar,
    slices,
    train,
)
from crystalcodec.cli.interruption import INTERRUPTED, Told

__all__ = ["app", "main"]

app = typer.Typer(
    name="crystalcodec",
    help="Encode crystals to arrays, decode arrays back to crystals, and learn from them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(data.app, name="data", help="Datasets on disk: import, info, filter, split, export.")
app.command()(encode.encode)
app.command()(encode.decode)
app.command()(encode.show)
app.command()(similar.similar)
app.command("map")(maps.map_)
app.command()(slices.slices)
app.command()(invariance.invariance)
app.command()(train.train)
app.command()(train.predict)
app.command()(train.evaluate)
app.command()(benchmark.benchmark)
app.command()(generate.generate)
app.command()(relax.relax)
app.add_typer(hull.app, name="hull", help="Convex hulls by a potential: build, info, show.")
app.command()(judge.judge)
app.add_typer(latent.app, name="latent", help="Codes: map, interpolate, perturb, graph.")


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"crystalcodec {version('crystalcodec')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    del version


def main() -> None:
    """Run the command line; errors of ours end in one line and exit code 2."""
    try:
        app()
    except SystemExit as stop:
        if stop.code == INTERRUPTED and not isinstance(stop.code, Told):
            told = "interrupted; the same command goes on where it stopped, or starts again"
            print(told, file=sys.stderr)
        raise
    except (ValueError, OSError, ImportError) as error:
        # A wrong file, name or number of the user's; any other error is a fault of this library
        # and keeps its traceback.
        ours = type(error).__module__.partition(".")[0] == "crystalcodec"
        if not ours and not isinstance(error, OSError):
            raise
        print(f"crystalcodec: {error}", file=sys.stderr)
        sys.exit(2)
