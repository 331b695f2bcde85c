"""Codes with numbers of their own for each site."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from crystalcodec.generators.site_codec.network import Attention, Block, SiteTokens
from crystalcodec.generators.site_codec.slots import N_NUMBERS, Slots
from crystalcodec.models.base import FullPrecisionLinear

__all__ = ["SitesDecoder", "SitesEncoder"]


class SitesEncoder(nn.Module):
    """Slots to mean and logarithm of the variance of a code with numbers for each slot.

    Slots without a site have numbers, too: that there is none has to be told.

    Parameters
    ----------
    n_slots, width, layers, heads, harmonics
        Of :class:`~crystalcodec.generators.site_codec.network.SiteTokens`.
    code
        Numbers of a slot.
    """

    def __init__(
        self, n_slots: int, code: int, width: int, layers: int, heads: int, harmonics: int
    ) -> None:
        super().__init__()
        self.tokens = SiteTokens(n_slots, width, layers, heads, harmonics)
        self.norm = nn.LayerNorm(width)
        self.outward = FullPrecisionLinear(width, 2 * code)
        with torch.no_grad():  # little noise at first: what it hides cannot be learnt
            self.outward.bias[code:] -= 4.0

    def forward(self, slots: Slots, cells: Tensor) -> tuple[Tensor, Tensor]:
        """(n, slots * code) each; ``cells`` are the standardised ones."""
        tokens, _ = self.tokens(slots, cells)
        mean, log_variance = self.outward(self.norm(tokens)).chunk(2, dim=2)
        return mean.flatten(1), log_variance.flatten(1).clamp(-12, 4)


class SitesDecoder(nn.Module):
    """A code to the element of each slot, or none; the cell; coordinates given the elements.

    The first slot always has a site. Parameters as of :class:`SitesEncoder`; ``blocks`` dense
    layers on each slot lead to its coordinates.
    """

    def __init__(
        self, n_slots: int, code: int, width: int, layers: int, heads: int, blocks: int
    ) -> None:
        super().__init__()
        self.n_slots, self.code = n_slots, code
        self.inward = nn.Linear(code, width)
        self.places = nn.Parameter(torch.randn(n_slots, width) * 0.3)
        self.layers = nn.ModuleList(Attention(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.to_elements = FullPrecisionLinear(width, N_NUMBERS)
        self.to_cell = FullPrecisionLinear(width, 6)
        self.elements = nn.Embedding(N_NUMBERS, width)
        self.blocks = nn.Sequential(*(Block(width) for _ in range(blocks)))
        self.last = nn.LayerNorm(width)
        self.points = FullPrecisionLinear(width, 6)

    def whole(self, codes: Tensor) -> Tensor:
        """(n, slots, width) what attention makes of codes; the other methods take it."""
        tokens = self.inward(codes.view(len(codes), self.n_slots, self.code)) + self.places
        all_slots = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
        for layer in self.layers:
            tokens = layer(tokens, all_slots)
        found: Tensor = self.norm(tokens)
        return found

    def log_elements(self, whole: Tensor) -> Tensor:
        """(n, slots, 119) logarithms of the probabilities of each slot's element; 0 is none."""
        logits = self.to_elements(whole)
        never = torch.zeros(logits.shape[1:], dtype=torch.bool, device=logits.device)
        never[0, 0] = True
        result: Tensor = logits.masked_fill(never, -1e9).log_softmax(2)
        return result

    def composition_error(self, whole: Tensor, slots: Slots) -> Tensor:
        """(n,) nats that the right elements cost, those of slots without a site included."""
        right = self.log_elements(whole).gather(2, slots.numbers[..., None])
        return -right.sum((1, 2))

    def numbers(self, whole: Tensor) -> Tensor:
        """(n, slots) the likeliest atomic number of each slot; 0 for no site."""
        return self.log_elements(whole).argmax(2)

    def cell(self, whole: Tensor) -> Tensor:
        """(n, 6) the standardised cell."""
        cell: Tensor = self.to_cell(whole.mean(1))
        return cell

    def coordinates(self, whole: Tensor, numbers: Tensor) -> Tensor:
        """(n, slots, 3, 2) points near the unit circle of slots that have these elements."""
        tokens = self.blocks(whole + self.elements(numbers))
        points: Tensor = self.points(self.last(tokens))
        return points.view(*numbers.shape, 3, 2)
