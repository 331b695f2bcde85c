"""The network that tells noise from coordinates and cells, given the elements."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from crystalcodec.elements import MAX_ATOMIC_NUMBER
from crystalcodec.generators.site_diffusion.elements import ElementEmbedding

__all__ = ["Pairs", "SiteDenoiser", "all_pairs", "centred_on_zero", "closing_lattices"]

# High multiples, among them those of special positions, tell small shifts from none; each is
# the product of its halves.
_HARMONICS: Final = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48)
_REACH: Final = 4.0  # standard deviations that Gaussians of distances are followed to
_SCALES: Final = (2.0, 6.0, 18.0, 54.0)  # the same for cells, in standard deviations


@dataclass(frozen=True)
class Pairs:
    """Every site with every site of its crystal, itself included.

    Parameters
    ----------
    receivers, senders : (n_pairs,)
        Sites.
    crystals : (n_pairs,)
        The crystal of each pair.
    """

    receivers: Tensor
    senders: Tensor
    crystals: Tensor


def all_pairs(counts: Tensor) -> Pairs:
    """The pairs of crystals of so many sites each."""
    starts = counts.cumsum(0) - counts
    squares = counts * counts
    crystals = torch.repeat_interleave(torch.arange(len(counts), device=counts.device), squares)
    place = torch.arange(len(crystals), device=counts.device)
    place = place - (squares.cumsum(0) - squares)[crystals]
    n, first = counts[crystals], starts[crystals]
    one = torch.div(place, n, rounding_mode="floor")
    return Pairs(first + one, first + place - one * n, crystals)


def centred_on_zero(values: Tensor, crystals: Tensor, counts: Tensor) -> Tensor:
    """(n_sites, 3) values less their mean over each crystal."""
    sums = values.new_zeros(len(counts), values.shape[1]).index_add(0, crystals, values)
    return values - (sums / counts[:, None]).index_select(0, crystals)


def closing_lattices(cells: Tensor) -> Tensor:
    """(n, 3, 3) Å, rows a, b, c, of cells (n, 6); of one that closes nowhere, what nearly does."""
    cosines = torch.deg2rad(cells[:, 3:].clamp(5, 175)).cos()
    alpha, beta, gamma = cosines.unbind(1)
    sine = (1 - gamma.square()).sqrt()
    across = (alpha - beta * gamma) / sine
    height = (1 - beta.square() - across.square()).clamp(min=0.01).sqrt()
    a, b, c = cells[:, :3].unbind(1)
    zero = torch.zeros_like(a)
    rows = [
        torch.stack([a, zero, zero], dim=1),
        torch.stack([b * gamma, b * sine, zero], dim=1),
        torch.stack([c * beta, c * across, c * height], dim=1),
    ]
    return torch.stack(rows, dim=1)


class SiteDenoiser(nn.Module):
    """Gated messages between all sites of a crystal; the same for any origin and order of sites.

    The network sees of the coordinates only differences, as harmonics exp(2πi m (x_j - x_i)) of
    each axis, and distances in the noisy cell, of the nearest image of each pair or of all that are
    in the cells around.
    Layers as in ``models/site_attention``, with scale and shift from what is known of the whole
    crystal: noise level, space group, conditions, noisy cell.

    Parameters
    ----------
    width
        Numbers a site carries.
    messages
        Numbers a pair tells in each layer.
    layers
        How many layers.
    n_radial
        Gaussians of distance that pairs see, up to ``radius``.
    radius
        Å; 6 with ``images``, 8 without, if not given.
    images
        Whether the Gaussians are summed over the 27 images of a pair that are in the cells around,
        and not of the nearest alone. A site and itself then tell the cell.
    traits
        Whether elements are known by their traits, too.
    """

    centres: Tensor
    around: Tensor
    waves: Tensor

    def __init__(
        self,
        width: int,
        messages: int,
        layers: int,
        n_radial: int = 24,
        radius: float | None = None,
        images: bool = False,
        traits: bool = False,
    ) -> None:
        super().__init__()
        self.width = width
        steps = torch.arange(-1.0, 2.0) if images else torch.zeros(1)
        self.register_buffer("around", torch.cartesian_prod(*[steps] * 3), persistent=False)
        if radius is None:
            radius = 6.0 if images else 8.0
        self.register_buffer("centres", torch.linspace(0, radius, n_radial), persistent=False)
        self.spacing = radius / (n_radial - 1)
        n_features = 6 * len(_HARMONICS) + n_radial
        if traits:
            self.elements: nn.Module = ElementEmbedding(width, 0.3)
        else:
            self.elements = nn.Embedding(MAX_ATOMIC_NUMBER + 1, width)
            nn.init.normal_(self.elements.weight, std=0.3)
        self.cell = nn.Sequential(
            nn.Linear(6 + 12 * len(_SCALES), width), nn.SiLU(), nn.Linear(width, width)
        )
        self.level = nn.Sequential(nn.Linear(32, width), nn.SiLU(), nn.Linear(width, width))
        self.register_buffer("waves", torch.linspace(0.5, 8.0, 16) * math.pi, persistent=False)
        self.layers = nn.ModuleList(_Layer(width, messages, n_features) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.receiver = nn.Linear(width, messages)
        self.sender = nn.Linear(width, messages, bias=False)
        self.pair = nn.Linear(n_features, messages, bias=False)
        self.pull = nn.Linear(messages, 3)
        self.push = nn.Linear(width, 3)
        last_of_cell = nn.Linear(width, 6)
        self.to_cell = nn.Sequential(nn.Linear(2 * width, width), nn.SiLU(), last_of_cell)
        for last in (self.pull, self.push, last_of_cell):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(
        self,
        numbers: Tensor,
        crystals: Tensor,
        pairs: Pairs,
        coords: Tensor,
        cells: Tensor,
        level: Tensor,
        known: Tensor,
        lattices: Tensor,
        marks: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The noise in the coordinates, and the answer for the cells before preconditioning.

        Parameters
        ----------
        numbers, crystals : (n_sites,)
            Atomic number of each site, and its crystal.
        pairs
            Of :func:`all_pairs`.
        coords : (n_sites, 3)
            Noisy fractional coordinates; whole numbers make no difference.
        cells : (n, 6)
            Noisy cells, scaled to about unit size.
        level : (n,)
            What is told of the noise level.
        known : (n, width)
            Space group and conditions, embedded.
        lattices : (n, 3, 3)
            Cell vectors of the noisy cells, Å.
        marks : (n_sites, width)
            What else is known of each site.

        Returns
        -------
        noise : (n_sites, 3)
            Their mean over each crystal is 0.
        cells : (n, 6)
        """
        waves = level[:, None] * self.waves
        fine = torch.cat([cells * scale for scale in _SCALES], dim=1)
        seen_cells = torch.cat([cells, fine.sin(), fine.cos()], dim=1)
        told = (
            known + self.cell(seen_cells) + self.level(torch.cat([waves.sin(), waves.cos()], dim=1))
        )
        told = functional.silu(told)
        features = self._features(coords, lattices, pairs)
        counts = torch.bincount(crystals, minlength=len(cells)).clamp(min=1)
        # Sums over sites of about the same size in small and in large cells.
        share = counts.to(features.dtype).rsqrt()[pairs.crystals][:, None]
        sites = self.elements(numbers)
        sites = sites if marks is None else sites + marks
        for layer in self.layers:
            sites = layer(sites, told, crystals, features, pairs, share)
        sites = self.norm(sites)
        seen = self.pair(features)
        seen = seen + self.receiver(sites).index_select(0, pairs.receivers)
        seen = seen + self.sender(sites).index_select(0, pairs.senders)
        pulls = self.pull(functional.silu(seen)) * share
        noise = self.push(sites).to(coords.dtype)
        noise = noise.index_add(0, pairs.receivers, pulls.to(noise.dtype))
        mean = sites.new_zeros(len(cells), self.width).index_add(0, crystals, sites)
        mean = mean / counts[:, None]
        centred = centred_on_zero(noise, crystals, counts)
        return centred, self.to_cell(torch.cat([mean, told], dim=1))

    def _features(self, coords: Tensor, lattices: Tensor, pairs: Pairs) -> Tensor:
        """(n_pairs, n_features): harmonics of differences, and distances."""
        apart = coords.index_select(0, pairs.senders) - coords.index_select(0, pairs.receivers)
        apart = apart - apart.round()
        angles = 2 * math.pi * apart
        turn = torch.stack([angles.cos(), angles.sin()], dim=2)
        powers = {1: turn}
        for multiple in _HARMONICS[1:]:
            powers[multiple] = _product(powers[multiple // 2], powers[multiple - multiple // 2])
        vectors = (apart[:, :, None] * lattices.index_select(0, pairs.crystals)).sum(1)
        radial = self._radial(vectors, lattices, pairs)
        harmonics = torch.cat([wave.flatten(1) for wave in powers.values()], dim=1)
        return torch.cat([harmonics, radial], dim=1)

    def _radial(self, nearest: Tensor, lattices: Tensor, pairs: Pairs) -> Tensor:
        """(n_pairs, n_radial): Gaussians of the distances of the images, summed."""
        if len(self.around) == 1:
            return self._gaussians(nearest.square().sum(1))
        shifts = (self.around.to(lattices) @ lattices).index_select(0, pairs.crystals)
        squares = (nearest[:, None] + shifts).square().sum(2)
        # Most images are farther than any Gaussian reaches.
        reach = self.centres[-1] + _REACH * self.spacing
        pair, image = (squares < reach**2).nonzero(as_tuple=True)
        near = self._gaussians(squares[pair, image])
        return near.new_zeros(len(nearest), near.shape[1]).index_add(0, pair, near)

    def _gaussians(self, squares: Tensor) -> Tensor:
        """(k, n_radial) of squared distances (k,), Å²."""
        distances = squares.clamp(min=1e-12).sqrt()
        return (-0.5 * ((distances[:, None] - self.centres) / self.spacing).square()).exp()


class _Layer(nn.Module):
    """One round of gated messages, and two dense layers on each site."""

    def __init__(self, width: int, messages: int, n_features: int) -> None:
        super().__init__()
        self.before = nn.LayerNorm(width, elementwise_affine=False)
        self.after = nn.LayerNorm(width, elementwise_affine=False)
        self.film = nn.Linear(width, 4 * width)
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)
        self.receiver = nn.Linear(width, 2 * messages)
        self.sender = nn.Linear(width, 2 * messages, bias=False)
        self.pair = nn.Linear(n_features, 2 * messages, bias=False)
        self.told = nn.Linear(messages, width)
        self.own = nn.Sequential(
            nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width)
        )

    def forward(
        self,
        sites: Tensor,
        told: Tensor,
        crystals: Tensor,
        features: Tensor,
        pairs: Pairs,
        share: Tensor,
    ) -> Tensor:
        """(n_sites, width), with what the others tell and what follows from it added."""
        scale, shift, scale_own, shift_own = (
            self.film(told).index_select(0, crystals).chunk(4, dim=1)
        )
        seen = self.before(sites) * (1 + scale) + shift
        joined = self.pair(features)
        joined = joined + self.receiver(seen).index_select(0, pairs.receivers)
        joined = joined + self.sender(seen).index_select(0, pairs.senders)
        gate, core = joined.chunk(2, dim=1)
        messages = torch.sigmoid(gate) * functional.silu(core) * share
        summed = messages.new_zeros(len(sites), messages.shape[1])
        sites = sites + self.told(summed.index_add(0, pairs.receivers, messages))
        added: Tensor = sites + self.own(self.after(sites) * (1 + scale_own) + shift_own)
        return added


def _product(one: Tensor, other: Tensor) -> Tensor:
    """Complex products of numbers whose last axis is real and imaginary part."""
    a, b = one.unbind(-1)
    c, d = other.unbind(-1)
    return torch.stack([a * c - b * d, a * d + b * c], dim=-1)
