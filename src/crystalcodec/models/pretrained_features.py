"""PretrainedFeatures: a frozen network that learnt from photographs, and a dense head."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, Literal, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from crystalcodec.models.base import ModelError, Predictor, dense_head
from crystalcodec.models.images import image_of
from crystalcodec.models.pretrained_weights import find_weights
from crystalcodec.registry import import_extra
from crystalcodec.representations.base import Representation

__all__ = ["PretrainedFeatures"]

Channels = Literal["last", "average", "learned"]
_SMALLEST: Final = 32  # pixels a side; the network divides it by 32
_AT_ONCE: Final = 64  # pictures


class PretrainedFeatures(Predictor):
    """MobileNetV2 as it was trained on ImageNet, frozen, then dense layers with dropout.

    A picture is mapped to three channels, from ``value_range`` to [-1, 1], which is what
    MobileNetV2 was trained on, and resized to ``image_size`` x ``image_size`` pixels (bilinear,
    nothing cut off). The mean over the last feature map, 1,280 numbers, goes into the head.

    MobileNetV2 keeps its weights and the statistics of its batch normalisations in training; they
    are part of the saved run, so that prediction needs no other file and no network. Without the
    named weights it works with random ones, the same each time, and warns.

    Sandler et al., 10.1109/CVPR.2018.00474, through ``transformers`` (the extra ``images``).

    Parameters
    ----------
    representation
        Any of one array (height, width) or (height, width, channels).
    n_targets
        Values predicted for each crystal.
    weights
        A folder with ``config.json`` and ``model.safetensors`` (of ``MobileNetV2Model`` or
        ``MobileNetV2ForImageClassification``), a name on the Hugging Face hub, or ``"random"``.
        Only safetensors are read.
    depth_multiplier
        Width of MobileNetV2; that of the weights, as a rule part of their name.
    image_size
        Side of the resized picture, pixels. Time goes with its square.
    channels
        How other numbers of channels become three. ``last``: the last three, the only one three
        times, of two the second twice; of CrysTens these are the differences in x, y and z, and
        the header is in all of them. ``average``: the mean of all, three times. ``learned``: a
        trained 1 x 1 convolution that starts as ``last``; the gradient then goes through all of
        MobileNetV2, which takes three times as long.
    value_range
        The values that become -1 and 1; others lie outside. (0, 1) for pictures of
        ``normalisation`` and the scaling ``none``.
    hidden
        Sizes of the dense hidden layers.
    dropout
        Fraction of dense hidden values set to zero in training.
    weights_used
        Left out, except where a trained model is opened again: what ``weights`` turned out to be,
        out of the run's record. Nothing is then looked for, since the weights come with the run.

    Attributes
    ----------
    weights_used
        Where the frozen weights are from: a folder, a name on the hub, or ``"random"``, with the
        reason where they were not asked for.

    Raises
    ------
    ModelError
        A representation that is no picture, a parameter outside its range, weights that do not
        exist, are damaged or belong to another network.
    MissingExtraError
        Without ``transformers``.
    """

    name: ClassVar[str] = "pretrained_features"

    def __init__(
        self,
        representation: Representation,
        n_targets: int = 1,
        *,
        weights: str = "google/mobilenet_v2_1.0_224",
        depth_multiplier: float = 1.0,
        image_size: int = 224,
        channels: Channels = "last",
        value_range: Sequence[float] = (0.0, 1.0),
        hidden: Sequence[int] = (1024, 512, 128),
        dropout: float = 0.3,
        weights_used: str | None = None,
    ) -> None:
        super().__init__()
        image, reason = image_of(representation)
        if image is None:
            raise ModelError(f"model {self.name!r} does not fit {representation.name!r}: {reason}")
        _check(depth_multiplier, image_size, value_range, dropout)
        self.image = image
        self.image_size = image_size
        low, high = value_range
        self.scale, self.shift = 2 / (high - low), -(high + low) / (high - low)
        self.mix = _mix(image.channels, channels)
        self.features = _random_mobilenet(depth_multiplier)
        self.weights_used = "random"  # until others are loaded, here or with a run
        if weights_used is None and weights != "random":
            found, failure = find_weights(weights, self.features)
            if failure:
                self.weights_used = f"random: {failure}"
                warnings.warn(
                    f"pretrained_features works with RANDOM weights: {failure}. Give a folder "
                    "with them as 'weights', or 'random' to do without",
                    stacklevel=2,
                )
            else:
                self.weights_used = weights
                self.features.load_state_dict(found)
        self.features.requires_grad_(False)
        self.head = dense_head(_n_features(self.features), hidden, n_targets, dropout)
        self.train()

    @classmethod
    def fits(cls, representation: Representation) -> str | None:
        """Representations of one array that is a picture fit."""
        return image_of(representation)[1]

    def recorded(self) -> dict[str, Any]:
        """What belongs in a run's record beside the parameters."""
        return {"weights_used": self.weights_used}

    def train(self, mode: bool = True) -> Self:
        """Training mode of all but MobileNetV2, whose batch statistics stay as they are."""
        super().train(mode)
        self.features.eval()
        return self

    def extract(self, arrays: Mapping[str, Tensor]) -> Tensor:
        """(batch, 1280) features of one array (batch, height, width[, channels])."""
        pictures = self.image.channels_first(arrays[self.image.array])
        # At 224 x 224 pixels the first layers hold 10 MB a picture.
        return torch.cat([self._extract(part) for part in torch.split(pictures, _AT_ONCE)])

    def _extract(self, pictures: Tensor) -> Tensor:
        mixed = self.mix(pictures.to(self.mix.weight.dtype)) * self.scale + self.shift
        size = (self.image_size, self.image_size)
        # Only where it shrinks does a picture need a filter against aliasing.
        shrinks = self.image_size < max(self.image.height, self.image.width)
        resized = functional.interpolate(
            mixed, size, mode="bilinear", align_corners=False, antialias=shrinks
        )
        features: Tensor = self.features(pixel_values=resized).pooler_output
        return features

    def forward(self, arrays: Mapping[str, Tensor]) -> Tensor:
        """(batch, n_targets) of one array (batch, height, width[, channels])."""
        values: Tensor = self.head(self.extract(arrays))
        return values

    # A run that goes on is built anew, perhaps with the hub out of reach, and then takes its
    # weights from the checkpoint: what they are has to come along with them.
    def get_extra_state(self) -> Tensor:
        """``weights_used`` as bytes, so that it goes wherever the weights go."""
        return torch.tensor(list(self.weights_used.encode()), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        """Take over what :meth:`get_extra_state` gave."""
        self.weights_used = bytes(state.tolist()).decode()


def _check(
    depth_multiplier: float, image_size: int, value_range: Sequence[float], dropout: float
) -> None:
    if not (isinstance(depth_multiplier, int | float) and 0.1 <= depth_multiplier <= 2):
        raise ModelError(f"depth_multiplier is {depth_multiplier!r}, wanted a number, 0.1 to 2")
    if not isinstance(image_size, int) or isinstance(image_size, bool) or image_size < _SMALLEST:
        raise ModelError(
            f"image_size is {image_size!r}, wanted a whole number of at least {_SMALLEST}"
        )
    good = isinstance(value_range, Sequence) and not isinstance(value_range, str)
    if not (good and len(value_range) == 2 and all(map(math.isfinite, value_range))):
        raise ModelError(f"value_range is {value_range!r}, wanted two finite numbers")
    if not value_range[0] < value_range[1]:
        raise ModelError(f"value_range is {list(value_range)}, wanted the lower one first")
    if not 0 <= dropout < 1:
        raise ModelError(f"dropout is {dropout}, wanted at least 0 and below 1")


def _mix(n: int, channels: Channels) -> nn.Conv2d:
    """The 1 x 1 convolution from n channels to three."""
    if channels not in ("last", "average", "learned"):
        raise ModelError(f"channels is {channels!r}, wanted 'last', 'average' or 'learned'")
    mix = nn.Conv2d(n, 3, 1)
    with torch.no_grad():
        mix.weight.fill_(1 / n if channels == "average" else 0.0)
        mix.bias.zero_()  # type: ignore[union-attr]
        if channels != "average":
            for row in range(3):
                mix.weight[row, min(max(0, n - 3) + row, n - 1)] = 1.0
    return mix.requires_grad_(channels == "learned")


def _random_mobilenet(depth_multiplier: float) -> nn.Module:
    """MobileNetV2 without a classifier; its random weights are the same each time."""
    transformers = import_extra("transformers", "images")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network: nn.Module = transformers.MobileNetV2Model(
            transformers.MobileNetV2Config(depth_multiplier=depth_multiplier)
        )
        for layer in network.modules():
            # The default (normal, 0.02) shrinks a picture to 1e-22 on its way through 52 layers.
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return network


def _n_features(network: Any) -> int:
    return int(network.conv_1x1.convolution.out_channels)
