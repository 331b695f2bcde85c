"""The two halves of the codec: slots to a code, and a code to slots."""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor, nn

from crystalcodec.generators.site_codec.slots import (
    N_NUMBERS,
    Slots,
    likeliest_counts,
    numbers_of_counts,
)
from crystalcodec.models.base import FullPrecisionLinear

__all__ = ["Attention", "Block", "CrystalDecoder", "CrystalEncoder", "SiteTokens"]

_NEVER: Final = 30.0  # what a logarithm of a probability is at least, negative


class SiteTokens(nn.Module):
    """Slots to vectors that have seen each other, and the phases of the coordinates.

    Parameters
    ----------
    n_slots
        Slots of a crystal.
    width, layers, heads
        Of the attention between slots.
    harmonics
        Cosines and sines of how many multiples of the coordinates slots begin with.
    """

    def __init__(self, n_slots: int, width: int, layers: int, heads: int, harmonics: int) -> None:
        super().__init__()
        self.harmonics = harmonics
        self.elements = nn.Embedding(N_NUMBERS, width)
        self.places = nn.Parameter(torch.randn(n_slots, width) * 0.3)
        self.coords = nn.Linear(6 * harmonics, width)
        self.cell = nn.Linear(6, width)
        self.layers = nn.ModuleList(Attention(width, heads) for _ in range(layers))

    def forward(self, slots: Slots, cells: Tensor) -> tuple[Tensor, Tensor]:
        """(n, slots, width), and (n, slots, 6) cosines and sines of the coordinates."""
        steps = torch.arange(1, self.harmonics + 1, device=cells.device) * (2 * math.pi)
        phases = slots.frac_coords[..., None] * steps
        waves = torch.stack([phases.cos(), phases.sin()], dim=-1)
        tokens = self.elements(slots.numbers) + self.coords(waves.flatten(2)) + self.places
        tokens = tokens + self.cell(cells)[:, None]
        for layer in self.layers:
            tokens = layer(tokens, slots.there)
        return tokens, waves[..., 0, :].flatten(2)


class CrystalEncoder(nn.Module):
    """Slots to mean and logarithm of the variance of one code for the crystal.

    Parameters
    ----------
    n_slots, width, layers, heads, harmonics
        Of :class:`SiteTokens`.
    code
        Numbers of a code.
    hidden, blocks
        Of the dense layers that see the whole crystal.
    """

    def __init__(
        self,
        n_slots: int,
        code: int,
        width: int,
        layers: int,
        heads: int,
        hidden: int,
        blocks: int,
        harmonics: int,
    ) -> None:
        super().__init__()
        self.tokens = SiteTokens(n_slots, width, layers, heads, harmonics)
        self.short = nn.Linear(width, width // 2)
        # Phases, counts and cell also go to the dense layers as they are.
        self.inward = nn.Linear(n_slots * (width // 2 + 6) + N_NUMBERS + 6, hidden)
        self.blocks = nn.Sequential(*(Block(hidden) for _ in range(blocks)))
        self.outward = FullPrecisionLinear(hidden, 2 * code)

    def forward(self, slots: Slots, cells: Tensor) -> tuple[Tensor, Tensor]:
        """(n, code) each; ``cells`` are the standardised ones."""
        tokens, phases = self.tokens(slots, cells)
        kept = torch.cat([self.short(tokens), phases], dim=2)
        kept = (kept * slots.there[..., None]).flatten(1)
        whole = self.inward(torch.cat([kept, slots.counts, cells], dim=1))
        mean, log_variance = self.outward(self.blocks(whole)).chunk(2, dim=1)
        return mean, log_variance.clamp(-12, 4)


class CrystalDecoder(nn.Module):
    """A code to composition, cell and, given the elements of the slots, coordinates.

    The composition is a number of sites of each element (a distribution each) and a number of
    sites of the crystal; decoded is the likeliest of all, found exactly. Parameters as of
    :class:`CrystalEncoder`.
    """

    def __init__(
        self, n_slots: int, code: int, width: int, layers: int, heads: int, hidden: int, blocks: int
    ) -> None:
        super().__init__()
        self.n_slots = n_slots
        self.inward = nn.Linear(code, hidden)
        self.blocks = nn.Sequential(*(Block(hidden) for _ in range(blocks)))
        self.norm = nn.LayerNorm(hidden)
        self.counts = FullPrecisionLinear(hidden, N_NUMBERS * (n_slots + 1))
        with torch.no_grad():  # at first no element is there, as for nearly all of them is true
            self.counts.weight.mul_(0.1)
            self.counts.bias.view(N_NUMBERS, -1)[:, 0] += 6.0
        self.total = FullPrecisionLinear(hidden, n_slots + 1)
        self.to_cell = FullPrecisionLinear(hidden, 6)
        self.slots = nn.Linear(hidden, n_slots * width)
        self.elements = nn.Embedding(N_NUMBERS, width)
        self.places = nn.Parameter(torch.randn(n_slots, width) * 0.3)
        self.ranks = nn.Embedding(n_slots, width)
        self.layers = nn.ModuleList(Attention(width, heads) for _ in range(layers))
        self.last = nn.LayerNorm(width)
        self.points = FullPrecisionLinear(width, 6)

    def whole(self, codes: Tensor) -> Tensor:
        """(n, hidden) what the dense layers make of codes; the other methods take it."""
        found: Tensor = self.norm(self.blocks(self.inward(codes)))
        return found

    def compositions(self, whole: Tensor) -> tuple[Tensor, Tensor]:
        """Logarithms of probabilities: (n, 119, slots + 1) of counts, (n, slots + 1) of sites."""
        counts = self.counts(whole).view(-1, N_NUMBERS, self.n_slots + 1)
        return counts.log_softmax(2), self.total(whole).log_softmax(1)

    def composition_error(self, whole: Tensor, slots: Slots) -> Tensor:
        """(n,) nats that the right composition costs."""
        log_counts, log_total = self.compositions(whole)
        right = log_counts.gather(2, slots.counts.long()[..., None]).sum((1, 2))
        return -right - log_total.gather(1, slots.n_sites[:, None])[:, 0]

    def numbers(self, whole: Tensor) -> Tensor:
        """(n, slots) atomic numbers of the likeliest composition; 0 in slots without a site."""
        log_counts, log_total = self.compositions(whole)
        counts = likeliest_counts(log_counts.clamp(min=-_NEVER), log_total.clamp(min=-_NEVER))
        return numbers_of_counts(counts, self.n_slots)

    def cell(self, whole: Tensor) -> Tensor:
        """(n, 6) the standardised cell."""
        cell: Tensor = self.to_cell(whole)
        return cell

    def coordinates(self, whole: Tensor, numbers: Tensor) -> Tensor:
        """(n, slots, 3, 2) points near the unit circle of slots that have these elements."""
        there = numbers > 0
        # Which of its element's sites a slot is.
        same = (numbers[:, :, None] == numbers[:, None, :]).tril(-1).sum(2)
        tokens = self.slots(whole).view(len(numbers), self.n_slots, -1)
        tokens = tokens + self.elements(numbers) + self.places + self.ranks(same)
        for layer in self.layers:
            tokens = layer(tokens, there)
        points: Tensor = self.points(self.last(tokens))
        return points.view(len(numbers), self.n_slots, 3, 2)


class Attention(nn.Module):
    """A transformer layer over the slots that are there; normalisation first."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.threefold = nn.Linear(width, 3 * width)
        self.told = nn.Linear(width, width)
        self.own = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, tokens: Tensor, there: Tensor) -> Tensor:
        """(n, slots, width), with what others tell and what follows from it added."""
        n, slots, width = tokens.shape
        parts = self.threefold(self.before(tokens)).view(n, slots, 3, self.heads, -1)
        query, key, value = parts.permute(2, 0, 3, 1, 4).float().unbind(0)
        # Rows are short: two plain products are several times faster here than the fused kernels.
        with torch.autocast(tokens.device.type, enabled=False):
            scores = query @ key.transpose(2, 3) * query.shape[3] ** -0.5
            scores = scores.masked_fill(~there[:, None, None, :], -torch.inf)
            seen = scores.softmax(3) @ value
        tokens = tokens + self.told(seen.transpose(1, 2).reshape(n, slots, width))
        added: Tensor = tokens + self.own(self.after(tokens))
        return added


class Block(nn.Module):
    """Two dense layers, whose answer is added; normalisation first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(n, width)."""
        added: Tensor = x + self.layers(x)
        return added
