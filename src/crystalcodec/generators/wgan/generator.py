"""WGAN: a generator and a critic, trained in turn by one optimiser."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, Final

import torch
from torch import Tensor, nn

from crystalcodec.crystals import Crystals
from crystalcodec.generators.base import Batch, Generator
from crystalcodec.generators.conditions import ConditionEmbedding, Conditions, Wanted
from crystalcodec.generators.wgan.distances import gradient_penalty, sliced_wasserstein
from crystalcodec.generators.wgan.networks import (
    DenseCritic,
    DenseMaker,
    PictureCritic,
    PictureMaker,
)
from crystalcodec.generators.wgan.physics import (
    Reader,
    SoftSites,
    closeness,
    number_densities,
    outside,
    reader_of,
)
from crystalcodec.generators.wgan.scaling import MinMax
from crystalcodec.models.base import ModelError, fixed_arrays
from crystalcodec.models.images import image_of
from crystalcodec.representations.base import Representation

__all__ = ["WGAN"]

_AT_ONCE: Final = 256  # crystals whose densities are found at a time


class WGAN(Generator):
    """A Wasserstein GAN with gradient penalty: noise to arrays, judged by a critic.

    The critic learns to give real arrays larger numbers than made ones, its gradient between
    them being held near 1; the generator learns to make arrays that it gives large numbers. Of
    each ``critic_steps + 1`` batches the first train the critic, the last the generator: the loss
    of a batch has gradients for one of the two networks alone, and an optimiser leaves weights
    without a gradient as they are. The loss is no measure of how good the samples are:
    :meth:`figures` gives one.

    Each field goes linearly to [-1, 1] (:class:`MinMax`), where a hyperbolic tangent ends.
    Periodic numbers have an end there, too, at which the generator is not continuous. One-hot
    entries are probabilities, with one more for none of them; a sample has the likeliest.

    Arrays that are pictures by their representation's ``layouts`` (CrysTens) are made and judged
    by convolutions, others (IRCR) by dense layers.

    Parameters
    ----------
    representation
        One of one fixed array of two or three axes.
    conditions
        Told to both networks, as a vector beside the noise and beside what the critic sees.
    latent
        Numbers of the noise (published 128).
    hidden
        Width of dense layers.
    channels
        Of convolutions at full size.
    depth
        Hidden dense layers, or halvings of a picture.
    softmax
        Whether one-hot entries are made as probabilities; if not, each is a number like any
        other, as published.
    critic_steps
        Batches for the critic for each of the generator.
    penalty
        Weight of the gradient penalty.
    physics
        Weight of the physics term in the generator's loss: atoms nearer than ``closest``, and
        atoms in a cubic Å outside of the range of training data
        (:mod:`crystalcodec.generators.wgan.physics`).
    closest
        Å.
    condition_width
        Length of the vector of conditions.
    drop
        Share of crystals that each condition is left out of in training.

    Raises
    ------
    ModelError
        A parameter that makes no sense; a physics term where sites and cells cannot be read.

    References
    ----------
    Gulrajani et al., arXiv 1704.00028. On CrysTens: Alverson et al., Digital Discovery 3, 62
    (2024), 10.1039/D3DD00137G.
    """

    name: ClassVar[str] = "wgan"
    position: Tensor
    density_range: Tensor

    def __init__(
        self,
        representation: Representation,
        conditions: Conditions,
        *,
        latent: int = 128,
        hidden: int = 512,
        channels: int = 24,
        depth: int = 3,
        softmax: bool = True,
        critic_steps: int = 5,
        penalty: float = 10.0,
        physics: float = 0.0,
        closest: float = 1.0,
        condition_width: int = 64,
        drop: float = 0.1,
    ) -> None:
        super().__init__(representation, conditions)
        sizes = (latent, hidden, channels, depth, critic_steps, condition_width)
        numbers = min(penalty, physics) >= 0 and closest > 0 and 0 <= drop <= 1
        if min(sizes) < 1 or not (numbers and math.isfinite(penalty + physics + closest)):
            raise ModelError(
                "wgan: wanted sizes, depth and critic_steps of at least 1, penalty and physics of "
                "at least 0, closest above 0 Å, drop from 0 to 1, got "
                f"{sizes}, {penalty:g}, {physics:g}, {closest:g}, {drop:g}"
            )
        ((self.array, shape),) = fixed_arrays(representation)[0].items()
        self.latent, self.critic_steps, self.penalty = latent, critic_steps, penalty
        self.physics, self.closest, self.drop = physics, closest, drop
        told = condition_width if len(conditions) else 0
        # What is left out is left out for both networks, so it is drawn here and not by them.
        embeddings = [ConditionEmbedding(conditions, told, drop=0.0) for _ in range(2 * bool(told))]
        image = image_of(representation)[0] if representation.layouts else None
        maker: nn.Module
        critic: nn.Module
        if image is None:
            maker = DenseMaker(latent + told, shape, hidden, depth)
            critic = DenseCritic(shape, told, hidden, depth)
        else:
            maker = PictureMaker(latent + told, image, channels, depth)
            critic = PictureCritic(image, told, channels, depth)
        self.maker = nn.ModuleDict({"network": maker})
        self.critic = nn.ModuleDict({"network": critic})
        if embeddings:
            self.maker["told"], self.critic["told"] = embeddings
        self.scaling = MinMax(shape)
        self.one_hot = [f for f in representation.fields if softmax and f.kind == "categorical"]
        self.reader = self._reader() if physics else None
        # Numbers, since an average of infinite ones would be none.
        self.register_buffer("density_range", torch.tensor([1e-4, 1e4]))
        # Of the cycle, kept with the weights: a training that is resumed goes on where it was.
        self.register_buffer("position", torch.zeros((), dtype=torch.long))

    @classmethod
    def fits(cls, representation: Representation) -> str | None:
        """None for one array of fixed shape, of two or three axes, that holds no indices."""
        shapes, reason = fixed_arrays(representation)
        if reason:
            return reason
        shown = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        if len(shapes) != 1 or not all(2 <= len(shape) <= 3 for shape in shapes.values()):
            return f"it has {shown}; wanted one array of two or three axes"
        if all(field.kind == "index" for field in representation.fields):
            return "its array holds indices; wanted numbers that have a scale"
        return None

    def _reader(self) -> Reader:
        reader, reason = reader_of(self.representation)
        if reader is None:
            raise ModelError(
                f"wgan: no physics term on {self.representation.name!r}: {reason}; leave physics "
                "at 0"
            )
        return reader

    @torch.no_grad()
    def prepare(self, crystals: Crystals, arrays: Batch) -> None:
        """Find the range of each field, and of densities where there is a physics term."""
        fields = [f for f in self.representation.fields if f.array == self.array]
        self.scaling.fit(arrays[self.array], fields)
        if self.reader is not None:
            parts = torch.split(arrays[self.array], _AT_ONCE)
            densities = torch.cat([number_densities(self._sites(part)) for part in parts])
            self.density_range.copy_(torch.stack([densities.min(), densities.max()]))

    def forward(self, batch: Batch) -> Tensor:
        """The loss of the network whose turn it is; in training, the next one's turn comes."""
        real = self.scaling.scale(batch[self.array])
        told = self._told(batch, len(real))
        turn = int(self.position) % (self.critic_steps + 1)
        if self.training:
            self.position += 1
        if turn < self.critic_steps:
            return self._critic_loss(real, told)
        return self._maker_loss(len(real), told)

    def _critic_loss(self, real: Tensor, told: Mapping[str, Tensor]) -> Tensor:
        with torch.no_grad():
            made = self._make(self._noise(len(real)), told)
        distance = self._judge(made, told).mean() - self._judge(real, told).mean()
        penalty = gradient_penalty(lambda arrays: self._judge(arrays, told), real, made)
        return distance + self.penalty * penalty

    def _maker_loss(self, n: int, told: Mapping[str, Tensor]) -> Tensor:
        made = self._make(self._noise(n), told)
        with _frozen(self.critic):
            loss = -self._judge(made, told).mean()
        if self.physics:
            loss = loss + self.physics * self.physics_term(self.scaling.unscale(made)).mean()
        return loss

    def physics_term(self, array: Tensor) -> Tensor:
        """(n,) of arrays in their units: 0 where no atom is too near and the density is usual."""
        sites = self._sites(array)
        with torch.autocast(array.device.type, enabled=False):
            low, high = self.density_range
            return closeness(sites, self.closest) + outside(number_densities(sites), low, high)

    def _sites(self, array: Tensor) -> SoftSites:
        reader = self.reader or self._reader()
        with torch.autocast(array.device.type, enabled=False):
            return reader({self.array: array})

    def figures(self, batch: Batch) -> dict[str, Tensor]:
        """Distance of as many made arrays to held-out ones, and what the critic says of it.

        ``sliced_wasserstein`` compares scaled arrays along random directions; the critic's own
        estimate is its mean over held-out arrays less that over made ones, which is near 0 where
        it cannot tell them apart and below 0 where it has learnt its training data by heart.
        """
        real = self.scaling.scale(batch[self.array])
        told = self._told(batch, len(real))
        made = self._make(self._noise(len(real)), told)
        distance = self._judge(real, told).mean() - self._judge(made, told).mean()
        found = {
            "sliced_wasserstein": sliced_wasserstein(real, made),
            "critic_distance": distance.float(),
        }
        if self.physics:
            found["physics"] = self.physics_term(self.scaling.unscale(made.float())).mean()
        return found

    def sample(  # type: ignore[override]
        self, n: int, wanted: Wanted, random: torch.Generator, *, temperature: float = 1.0
    ) -> dict[str, Tensor]:
        """Arrays of n new crystals; of one-hot entries the likeliest choice is taken.

        Parameters
        ----------
        temperature
            Standard deviation of the noise; below 1 for likelier and less varied ones.
        """
        noise = torch.randn(n, self.latent, generator=random).to(self.device) * temperature
        made = self._make(noise, self.conditions.batch(wanted, n, self.device))
        array = self.scaling.unscale(made.float())
        for field in self.one_hot:
            where, axis = (slice(None), *field.where), 1 + (field.axis or 0)
            shares = array[where]
            most = shares.amax(dim=axis, keepdim=True)
            none = 1 - shares.sum(dim=axis, keepdim=True)
            array[where] = ((shares == most) & (most > none)).float()
        return {self.array: array}

    def _told(self, batch: Batch, n: int) -> dict[str, Tensor]:
        """Conditions of a batch; in training NaN where they are left out, one or all of them."""
        told = {entry.key: batch[entry.key] for entry in self.conditions.entries}
        if not self.training or not told:
            return told
        shape = (len(told) + 1, n, 1)
        left_out = torch.rand(shape, device=self.device) < self.drop
        return {
            key: values.masked_fill(left_out[i] | left_out[-1], torch.nan)
            for i, (key, values) in enumerate(told.items())
        }

    def _noise(self, n: int) -> Tensor:
        return torch.randn(n, self.latent, device=self.device)

    def _make(self, noise: Tensor, told: Mapping[str, Tensor]) -> Tensor:
        """Scaled arrays; what never varies in training data is 0."""
        raw: Tensor = self.maker["network"](
            torch.cat([noise, self._embedded(self.maker, told, len(noise))], dim=1)
        )
        made = raw.tanh()
        if self.one_hot:
            made = made.clone()  # the tangent's gradient needs what it gave
        for field in self.one_hot:
            where, axis = (slice(None), *field.where), 1 + (field.axis or 0)
            part = raw[where]
            none = torch.zeros_like(part.narrow(axis, 0, 1))
            shares = torch.cat([part, none], dim=axis).softmax(dim=axis)
            made[where] = (2 * shares.narrow(axis, 0, part.shape[axis]) - 1).to(made.dtype)
        return made * self.scaling.varies

    def _judge(self, arrays: Tensor, told: Mapping[str, Tensor]) -> Tensor:
        embedded = self._embedded(self.critic, told, len(arrays))
        judged: Tensor = self.critic["network"](arrays, embedded)
        return judged.float()

    def _embedded(self, networks: nn.ModuleDict, told: Mapping[str, Tensor], n: int) -> Tensor:
        if "told" not in networks:
            return torch.zeros(n, 0, device=self.device)
        embedded: Tensor = networks["told"](told, n)
        return embedded


@contextmanager
def _frozen(module: nn.Module) -> Iterator[Any]:
    """Weights that gradients go through and not to, and as they were afterwards."""
    were = [(weight, weight.requires_grad) for weight in module.parameters()]
    try:
        yield module.requires_grad_(False)
    finally:
        for weight, was in were:
            weight.requires_grad_(was)
