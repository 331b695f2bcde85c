"""CrysTensCNN: 3 x 3 convolutions with ReLU and max pooling, then a dense head."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import ClassVar

from torch import Tensor, nn

from crystalcodec.models.base import FullPrecisionLinear, ModelError, Predictor, _sizes
from crystalcodec.models.images import Image, image_of
from crystalcodec.representations.base import Representation

__all__ = ["CrysTensCNN"]


class CrysTensCNN(Predictor):
    """Convolution 3 x 3, ReLU, max pooling 2 x 2, layer after layer, then dense layers with ReLU.

    The published kind of network for properties from CrysTens. Known of it are the kernels, ReLU,
    max pooling, a dense head and the loss, the mean absolute percentage error
    (``training.loss = "mape"``). Inferred, as no source that could be read tells them: the
    number and width of the layers, zeros around each picture so that a convolution keeps its
    size, pooling by two, no normalisation between layers, no dropout. With the defaults a CrysTens
    (64 x 64 x 4) goes through 32 x 64 x 64, pooled to 32 x 32 x 32, 64 x 16 x 16 and 128 x 8 x 8
    (channels first), then 8192-128-1: 1,142,369 parameters.

    CrysTens: Alverson et al., Digital Discovery 3, 62 (2024), 10.1039/D3DD00137G.

    Parameters
    ----------
    representation
        Any of one array (height, width) or (height, width, channels).
    n_targets
        Values predicted for each crystal.
    channels
        One entry for each convolution; each halves the sides of the picture, rounded down.
    hidden
        Sizes of the dense hidden layers.
    dropout
        Fraction of dense hidden values set to zero in training.

    Raises
    ------
    ModelError
        A representation that is no picture, sizes that are no whole numbers of at least 1, a
        dropout outside [0, 1), or more convolutions than the picture can be halved.
    """

    name: ClassVar[str] = "crystens_cnn"

    def __init__(
        self,
        representation: Representation,
        n_targets: int = 1,
        *,
        channels: Sequence[int] = (32, 64, 128),
        hidden: Sequence[int] = (128,),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        image, reason = image_of(representation)
        if image is None:
            raise ModelError(f"model {self.name!r} does not fit {representation.name!r}: {reason}")
        if not 0 <= dropout < 1:
            raise ModelError(f"dropout is {dropout}, wanted at least 0 and below 1")
        self.image = image
        widths = _sizes("channels", channels)
        self.convolutions = _convolutions(image, widths)
        halvings = 2 ** len(widths)
        pixels = (image.height // halvings) * (image.width // halvings)
        layers: list[nn.Module] = []
        sizes = ((widths or (image.channels,))[-1] * pixels, *_sizes("hidden", hidden))
        for one, other in itertools.pairwise(sizes):
            layers += [nn.Linear(one, other), nn.ReLU()]
            if dropout:
                layers.append(nn.Dropout(dropout))
        self.head = nn.Sequential(*layers, FullPrecisionLinear(sizes[-1], n_targets))

    @classmethod
    def fits(cls, representation: Representation) -> str | None:
        """Representations of one array that is a picture fit."""
        return image_of(representation)[1]

    def forward(self, arrays: Mapping[str, Tensor]) -> Tensor:
        """(batch, n_targets) of one array (batch, height, width[, channels])."""
        picture = self.image.channels_first(arrays[self.image.array])
        values: Tensor = self.head(self.convolutions(picture).flatten(1))
        return values


def _convolutions(image: Image, widths: Sequence[int]) -> nn.Sequential:
    if min(image.height, image.width) < 2 ** len(widths):
        raise ModelError(
            f"channels is {list(widths)}: {len(widths)} poolings leave nothing of {image.height} x "
            f"{image.width} pixels; wanted fewer entries"
        )
    layers: list[nn.Module] = []
    for one, other in itertools.pairwise((image.channels, *widths)):
        layers += [nn.Conv2d(one, other, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers)
