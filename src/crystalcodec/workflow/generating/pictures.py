"""Pictures of a training: samples of a generator as it learns, and its losses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from crystalcodec.generators.base import Generator
from crystalcodec.io.whole import whole_file
from crystalcodec.plots.results import learning_curve, save
from crystalcodec.plots.samples import draw_samples
from crystalcodec.workflow.generating.sampling import sample_arrays
from crystalcodec.workflow.runs import write_json

__all__ = ["write_history", "write_sample_picture"]

FOLDER: Final = "samples"
_SHOWN: Final = 6


def write_sample_picture(
    folder: Path, generator: Generator, epoch: int, seed: int, say: Callable[[str], None]
) -> None:
    """``samples/epoch-00010.png``: arrays that it makes now, from the same noise each time.

    What goes wrong with a picture is said, and does not stop the training.
    """
    try:
        sampled = sample_arrays(generator, _SHOWN, seed=seed)
        crystals, reasons = sampled.of_each()
        figure = draw_samples(
            generator.representation, sampled.arrays, crystals, reasons, f"epoch {epoch}"
        )
        (folder / FOLDER).mkdir(exist_ok=True)
        with whole_file(folder / FOLDER / f"epoch-{epoch:05}.png") as partial:
            save(figure, partial)
    except (ValueError, RuntimeError, OSError) as error:
        say(f"no picture of samples after epoch {epoch}: {error}")


def write_history(folder: Path, history: Sequence[Mapping[str, float]]) -> None:
    """``history.json`` and ``learning_curve.png``."""
    write_json(folder / "history.json", list(history))
    with whole_file(folder / "learning_curve.png") as partial:
        save(learning_curve(history, "generator", ""), partial)
