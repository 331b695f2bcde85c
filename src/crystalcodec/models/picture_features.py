"""Features of pictures for the Fréchet distance: of a network trained on such pictures, or others.

A published network learnt from photographs and tells dogs apart; one that learnt from the
reference pictures themselves looks at what is in them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from crystalcodec.evaluation.pictures import PictureSet
from crystalcodec.io.whole import whole_file
from crystalcodec.models.base import ModelError
from crystalcodec.models.pretrained_weights import find_weights
from crystalcodec.registry import import_extra

__all__ = ["PictureFeatures", "mobilenet_features", "reduced_pictures", "train_picture_features"]

Floats = npt.NDArray[np.float64]
_KEY: Final = "crystalcodec.picture_features"
_TEMPERATURE: Final = 0.2
_CROP: Final = 0.75
_AT_ONCE: Final = 128


class PictureFeatures(nn.Module):
    """A small convolutional network whose last layer is compared.

    Convolutions 3 x 3 with batch norm and ReLU, of stride 2 from the second on; mean and standard
    deviation over all places; a linear layer. Values go in as the pictures have them, less the
    mean and over the standard deviation of the training pictures; features come out in standard
    deviations of the training pictures' features.

    Parameters
    ----------
    channels
        Of the pictures.
    n_features
        Numbers that come out.
    widths
        Channels of the convolutions.

    Attributes
    ----------
    trained_on
        What the features were trained on, in words.
    """

    def __init__(
        self, channels: int = 1, n_features: int = 64, widths: Sequence[int] = (16, 32, 64, 64)
    ) -> None:
        super().__init__()
        if channels < 1 or n_features < 1 or not widths or min(widths) < 1:
            raise ModelError(
                f"{channels} channels, {n_features} features, widths {list(widths)}: wanted whole "
                "numbers of at least 1, and at least one width"
            )
        self.config = {"channels": channels, "n_features": n_features, "widths": list(widths)}
        self.trained_on = "nothing"
        layers: list[nn.Module] = []
        before = channels
        for k, width in enumerate(widths):
            layers += [
                nn.Conv2d(before, width, 3, stride=2 if k else 1, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
            ]
            before = width
        self.convolutions = nn.Sequential(*layers)
        self.last = nn.Linear(2 * before, n_features)
        for name, size in (("input", channels), ("feature", n_features)):
            self.register_buffer(f"{name}_mean", torch.zeros(size))
            self.register_buffer(f"{name}_std", torch.ones(size))

    def forward(self, pictures: Tensor) -> Tensor:
        """(batch, n_features) of pictures (batch, channels, height, width), not standardised."""
        mean, std = self.get_buffer("input_mean"), self.get_buffer("input_std")
        maps = self.convolutions((pictures - mean[:, None, None]) / std[:, None, None])
        variance = maps.var(dim=(2, 3), unbiased=False)
        pooled = torch.cat([maps.mean(dim=(2, 3)), torch.sqrt(variance + 1e-6)], dim=1)
        out: Tensor = self.last(pooled)
        return out

    @torch.no_grad()
    def features(self, pictures: npt.ArrayLike) -> Floats:
        """(n, n_features) of pictures, in standard deviations of the training pictures' features.

        Parameters
        ----------
        pictures : (n, height, width) or (n, height, width, channels)
            As :class:`~crystalcodec.evaluation.pictures.PictureSet` takes them.

        Raises
        ------
        ModelError
            Another number of channels, or a value that is not finite.
        EvaluationError
            An array that is no pictures.
        """
        values = self._values(pictures)
        if not len(values):
            return np.zeros((0, self.last.out_features))
        self.eval()
        device = self.last.weight.device
        rows = torch.cat([self(part.to(device)) for part in torch.split(values, _AT_ONCE)])
        scaled = (rows - self.get_buffer("feature_mean")) / self.get_buffer("feature_std")
        return scaled.cpu().double().numpy()

    def save(self, path: str | Path) -> None:
        """Write the weights as safetensors, with what they are in the header."""
        from safetensors.torch import save_file

        header = {_KEY: json.dumps({**self.config, "trained_on": self.trained_on})}
        tensors = {name: tensor.contiguous() for name, tensor in self.state_dict().items()}
        with whole_file(path) as temporary:
            save_file(tensors, temporary, header)

    @classmethod
    def load(cls, path: str | Path) -> PictureFeatures:
        """The network of a file of :meth:`save`.

        Raises
        ------
        ModelError
            A file that is damaged, or of something else.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, "pt") as file:
                told = json.loads((file.metadata() or {})[_KEY])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            network = cls(told["channels"], told["n_features"], told["widths"])
            network.load_state_dict(tensors)
            network.trained_on = str(told["trained_on"])
        except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ModelError(f"{path} holds no picture features: {error}") from None
        return network.eval()

    def _values(self, pictures: npt.ArrayLike) -> Tensor:
        """(n, channels, height, width) float32."""
        told = PictureSet.of(pictures)
        if told.n_failed:
            raise ModelError(f"{told.n_failed} pictures hold values that are not finite")
        if told.values.shape[3] != self.config["channels"]:
            raise ModelError(
                f"pictures of {told.values.shape[3]} channels, wanted {self.config['channels']}"
            )
        return torch.from_numpy(np.moveaxis(told.values, 3, 1).astype(np.float32))


def train_picture_features(
    pictures: npt.ArrayLike,
    attributes: npt.ArrayLike | None = None,
    *,
    n_features: int = 64,
    widths: Sequence[int] = (16, 32, 64, 64),
    epochs: int = 20,
    batch_size: int = 64,
    learning_rate: float = 1e-3,
    seed: int = 0,
    device: str = "cpu",
    progress: Callable[[int, int, float], None] | None = None,
) -> PictureFeatures:
    """Train features on reference pictures: on their attributes, or on the pictures alone.

    With attributes, a linear layer on the features predicts them (mean squared error, each over
    its standard deviation). Without, the network learns to tell which two crops, of three quarters
    of the side and at random turned and mirrored, are of one picture among those of a batch
    (NT-Xent of SimCLR, 10.48550/arXiv.2002.05709). What the task does not need, features need not
    show: those of crops do not depend on how a picture is turned.

    Parameters
    ----------
    pictures : (n, height, width) or (n, height, width, channels)
        The reference; pictures that hold a value that is not finite are left out.
    attributes : (n, t)
        Numbers known of each picture: of atoms, of elements, of its kind. NaN where not known.
    n_features, widths
        See :class:`PictureFeatures`.
    epochs, batch_size, learning_rate
        Of Adam, with a cosine schedule.
    seed
        Of weights, order and crops.
    device
        Where it is trained and stays.
    progress
        Called with the epochs done, of how many, and the mean loss of the last one.

    Raises
    ------
    ModelError
        Fewer than four pictures, or attributes that do not fit them.
    EvaluationError
        An array that is no pictures.
    """
    told = PictureSet.of(pictures)
    if len(told.values) < 4:
        raise ModelError(f"{len(told.values)} pictures to train on, wanted at least four")
    values = torch.from_numpy(np.moveaxis(told.values, 3, 1).astype(np.float32))
    targets = None if attributes is None else _standardised(attributes, told)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = PictureFeatures(values.shape[1], n_features, widths)
        head = nn.Linear(n_features, n_features if targets is None else targets.shape[1])
        network.get_buffer("input_mean").copy_(values.mean(dim=(0, 2, 3)))
        network.get_buffer("input_std").copy_(values.std(dim=(0, 2, 3)).clamp_min(1e-6))
        network, head = network.to(device), head.to(device)
        _fit(network, head, values, targets, epochs, batch_size, learning_rate, progress)
    rows = torch.from_numpy(network.features(np.moveaxis(values.numpy(), 1, 3)))
    network.get_buffer("feature_mean").copy_(rows.mean(dim=0))
    network.get_buffer("feature_std").copy_(rows.std(dim=0).clamp_min(1e-6))
    task = "their crops" if targets is None else f"{targets.shape[1]} attributes of them"
    network.trained_on = f"{len(values)} pictures, {task}, {epochs} epochs, seed {seed}"
    return network


def mobilenet_features(
    weights: str = "google/mobilenet_v2_1.0_224",
    *,
    depth_multiplier: float = 1.0,
    image_size: int = 224,
) -> Callable[[npt.ArrayLike], Floats]:
    """Features of MobileNetV2 as it was trained on the photographs of ImageNet.

    Pictures from 0 to 1 go in as three channels (one three times; of more the first three), from
    -1 to 1, resized to ``image_size`` (bilinear); the mean over the last feature map comes out:
    1,280 numbers, which :func:`~crystalcodec.evaluation.pictures.principal_features` brings down.
    These are not the Inception features of published Fréchet distances, and the numbers do not
    compare with those.

    Parameters
    ----------
    weights
        A folder with ``config.json`` and ``model.safetensors``, or a name on the hub.
    depth_multiplier
        Width of the network, that of the weights.
    image_size
        Pixels a side.

    Raises
    ------
    ModelError
        Weights that are not there or cannot be reached: random ones would measure nothing.
    MissingExtraError
        Without ``transformers``.
    """
    transformers = import_extra("transformers", "images")
    config = transformers.MobileNetV2Config(depth_multiplier=depth_multiplier)
    network: Any = transformers.MobileNetV2Model(config)
    found, failure = find_weights(weights, network)
    if failure:
        raise ModelError(f"no weights of MobileNetV2: {failure}; give a folder that has them")
    network.load_state_dict(found)
    network.eval()

    @torch.no_grad()
    def features(pictures: npt.ArrayLike) -> Floats:
        told = PictureSet.of(pictures)
        if told.n_failed:
            raise ModelError(f"{told.n_failed} pictures hold values that are not finite")
        channels = [0, 0, 0] if told.values.shape[3] < 3 else [0, 1, 2]
        values = torch.from_numpy(np.moveaxis(told.values[..., channels], 3, 1).astype(np.float32))
        if not len(values):
            return np.zeros((0, int(network.conv_1x1.convolution.out_channels)))
        # Only where it shrinks does a picture need a filter against aliasing.
        shrinks = image_size < max(values.shape[2:])
        rows = []
        for part in torch.split(values, 32):
            resized = functional.interpolate(
                2 * part - 1,
                (image_size, image_size),
                mode="bilinear",
                align_corners=False,
                antialias=shrinks,
            )
            rows.append(network(pixel_values=resized).pooler_output)
        return torch.cat(rows).double().numpy()

    return features


def _standardised(attributes: npt.ArrayLike, told: PictureSet) -> Tensor:
    table = np.asarray(attributes, np.float64)
    table = table[:, None] if table.ndim == 1 else table
    if table.ndim != 2 or len(table) != told.n or not table.shape[1]:
        raise ModelError(f"attributes of shape {table.shape} for {told.n} pictures: wanted (n, t)")
    table = np.where(np.isfinite(table), table, np.nan)[told.positions]
    known = ~np.isnan(table)
    if (known.sum(axis=0) < 2).any():
        raise ModelError("an attribute that fewer than two pictures have: leave it out")
    spread = np.nanstd(table, axis=0)
    scaled = (table - np.nanmean(table, axis=0)) / np.where(spread > 0, spread, 1)
    return torch.from_numpy(scaled.astype(np.float32))


def _fit(
    network: PictureFeatures,
    head: nn.Module,
    values: Tensor,
    targets: Tensor | None,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    progress: Callable[[int, int, float], None] | None,
) -> None:
    device = network.last.weight.device
    optimiser = torch.optim.Adam([*network.parameters(), *head.parameters()], lr=learning_rate)
    per_epoch = max(1, len(values) // batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * per_epoch)
    for epoch in range(epochs):
        network.train()
        order, losses = torch.randperm(len(values)), []
        # Batches of nearly one size: batch norm and the contrast both need company.
        for batch in torch.tensor_split(order, per_epoch):
            some = values[batch].to(device)
            if targets is None:
                outputs = [functional.normalize(head(network(_crops(some))), dim=1) for _ in "12"]
                loss = _contrast(outputs[0], outputs[1])
            else:
                wanted = targets[batch].to(device)
                known = ~torch.isnan(wanted)
                loss = ((head(network(some)) - wanted)[known] ** 2).mean()
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            losses.append(float(loss.detach()))
        if progress:
            progress(epoch + 1, epochs, sum(losses) / len(losses))


def _crops(pictures: Tensor) -> Tensor:
    """A crop of each picture, of one place in the batch, each turned and mirrored its own way."""
    height, width = (max(4, int(size * _CROP)) for size in pictures.shape[2:])
    top = int(torch.randint(pictures.shape[2] - height + 1, ()))
    left = int(torch.randint(pictures.shape[3] - width + 1, ()))
    crops = pictures[:, :, top : top + height, left : left + width].clone()
    ways = torch.randint(8, (len(crops),))
    for way in range(1, 8):
        some = ways == way
        turned = torch.rot90(crops[some], 2 * (way % 2), dims=(2, 3))
        turned = turned.flip(3) if way & 2 else turned
        if height == width and way & 4:
            turned = turned.transpose(2, 3)
        crops[some] = turned
    return crops


def _contrast(one: Tensor, other: Tensor) -> Tensor:
    """NT-Xent: how badly each row finds its partner among all rows of both."""
    rows = torch.cat([one, other])
    similar = rows @ rows.T / _TEMPERATURE
    similar = similar.masked_fill(torch.eye(len(rows), dtype=torch.bool, device=rows.device), -1e9)
    n = len(one)
    partners = torch.cat([torch.arange(n, 2 * n), torch.arange(n)]).to(rows.device)
    return functional.cross_entropy(similar, partners)


def reduced_pictures(pictures: npt.ArrayLike, side: int = 64) -> Floats:
    """Pictures of at most ``side`` pixels a side, each a mean over the pixels that it covers.

    Parameters
    ----------
    pictures : (n, height, width) or (n, height, width, channels)
        As :class:`~crystalcodec.evaluation.pictures.PictureSet` takes them, all finite.
    side
        Both sides come down by one factor, so that the longer one has this; smaller pictures stay
        as they are.

    Returns
    -------
    (n, height, width, channels)

    Raises
    ------
    ModelError
        A value that is not finite.
    """
    told = PictureSet.of(pictures)
    if told.n_failed:
        raise ModelError(f"{told.n_failed} pictures hold values that are not finite")
    height, width = told.values.shape[1:3]
    factor = max(height, width) / side
    if factor <= 1 or not len(told.values):
        return told.values
    values = torch.from_numpy(np.moveaxis(told.values, 3, 1))
    # A picture has eight pixels a side at least.
    rows, columns = (min(size, max(8, round(size / factor))) for size in (height, width))
    means = functional.adaptive_avg_pool2d(values, (rows, columns))
    return np.moveaxis(means.numpy(), 1, 3)
