"""The way from one crystal to another through the codes of a generator, as a film strip."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.plots.samples import draw_samples
from crystalcodec.representations.base import Decoded, InvertibleRepresentation, Representation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from crystalcodec.generators.base import LatentGenerator

__all__ = ["FilmStrip", "film_strip"]


@dataclass(frozen=True, eq=False)
class FilmStrip:
    """Frames between two crystals.

    Parameters
    ----------
    representation
        That of the arrays.
    weights : (k,)
        Share of the second crystal in the code of each frame, from 0 to 1.
    arrays
        Of each frame, by name.
    decoded
        The crystals of the frames, and why others are none; None where the representation cannot
        be decoded.
    """

    representation: Representation
    weights: npt.NDArray[np.float64]
    arrays: Mapping[str, npt.NDArray[Any]]
    decoded: Decoded | None

    def draw(self, title: str = "") -> Figure:
        """A column a frame: the first picture of its arrays, and below it its crystal."""
        crystals: list[Crystals | None] = []
        reasons: list[str] = []
        if self.decoded is not None:
            crystals, reasons = [None] * len(self.weights), [""] * len(self.weights)
            for place, crystal in zip(
                self.decoded.index.tolist(), self.decoded.crystals, strict=True
            ):
                crystals[place] = crystal
            for failure in self.decoded.failures:
                reasons[failure.index] = failure.reason
        figure = draw_samples(self.representation, self.arrays, crystals, reasons, title)
        for axes, weight in zip(figure.axes, self.weights.tolist(), strict=False):
            axes.set_title(f"{weight:.2f}", fontsize=7)
        return figure


def film_strip(
    generator: LatentGenerator, first: Crystals, second: Crystals, n_frames: int = 7
) -> FilmStrip:
    """Frames on the straight line between the codes of two crystals.

    The first and the last frame are the reconstructions of the two. A generator with conditions
    is told nothing.

    Parameters
    ----------
    first, second
        One crystal each.
    n_frames
        At least 2.

    Raises
    ------
    ValueError
        Other numbers of crystals, fewer frames, a crystal that the representation cannot hold.
    """
    import torch

    if len(first) != 1 or len(second) != 1:
        raise ValueError(f"{len(first)} and {len(second)} crystals: wanted one and one")
    if n_frames < 2:
        raise ValueError(f"{n_frames} frames: wanted at least 2, the two ends")
    representation = generator.representation
    encoded = representation.encode(Crystals.concatenate([first, second]).right_handed())
    if encoded.failures:
        failure = encoded.failures[0]
        which = ("first", "second")[failure.index]
        raise ValueError(
            f"{representation.name} cannot hold the {which} crystal: {failure.reason} "
            f"({failure.detail})"
        )
    weights = np.linspace(0.0, 1.0, n_frames)
    training = generator.training
    generator.eval()
    try:
        with torch.no_grad():
            batch = {
                name: torch.from_numpy(np.array(array)).to(generator.device)
                for name, array in encoded.arrays.items()
            }
            one, other = generator.encode(batch)
            shares = torch.from_numpy(weights).to(one).view(-1, *[1] * one.ndim)
            made = generator.decode(torch.lerp(one[None], other[None], shares))
    finally:
        generator.train(training)
    arrays = {name: tensor.float().cpu().numpy() for name, tensor in made.items()}
    decoded = None
    if isinstance(representation, InvertibleRepresentation):
        decoded = representation.decode(arrays)
    return FilmStrip(representation, weights, arrays, decoded)
