"""Pictures of a training: samples of a generator as it learns, and its losses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import torch

from crystalcodec.generators.base import Generator
from crystalcodec.io.whole import whole_file
from crystalcodec.plots.results import learning_curve, save
from crystalcodec.plots.samples import draw_samples
from crystalcodec.workflow.config import TrainingConfig
from crystalcodec.workflow.generating.sampling import sample_arrays
from crystalcodec.workflow.runs import write_json

__all__ = ["is_pictured", "write_history", "write_sample_picture"]

FOLDER: Final = "samples"
_SHOWN: Final = 6
_MOST: Final = 20  # pictures of a training: each takes a second or more


def is_pictured(epoch: int, training: TrainingConfig) -> bool:
    """Whether samples are drawn after this epoch, of those that end with a validation."""
    before = epoch - training.validate_every
    part, last = (max(0, one) * _MOST // training.epochs for one in (epoch, before))
    return epoch == training.epochs or part > last


def write_sample_picture(
    folder: Path, generator: Generator, epoch: int, seed: int, say: Callable[[str], None]
) -> None:
    """``samples/epoch-00010.png``: arrays that it makes now, from the same noise each time.

    What goes wrong with a picture is said, and does not stop the training.
    """
    try:
        # Training goes on with the random numbers that it would have had without a picture.
        with torch.random.fork_rng():
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
