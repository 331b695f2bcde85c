"""Sites in an order that does not depend on how they were listed, one slot each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

__all__ = ["Slots", "cells_of", "likeliest_counts", "numbers_of_counts", "slots_of"]

# Coordinates are compared by hundredths of the cell, cut where no simple fraction lies: 0.4999 and
# 0.5 do not decide an order, and sites at -0.001 stand with those at 0.
_BINS: Final = 100
_SHIFT: Final = 0.0225
N_NUMBERS: Final = 119


@dataclass(frozen=True)
class Slots:
    """The sites of n crystals by rising atomic number, then z, y and x.

    Parameters
    ----------
    numbers : (n, slots)
        Atomic numbers, 0 in slots without a site; these stand last.
    frac_coords : (n, slots, 3)
        0 in slots without a site.
    cells : (n, 6)
        a, b, c in Å, alpha, beta, gamma in degrees.
    """

    numbers: Tensor
    frac_coords: Tensor
    cells: Tensor

    @property
    def there(self) -> Tensor:
        """(n, slots) whether a slot has a site."""
        return self.numbers > 0

    @property
    def n_sites(self) -> Tensor:
        """(n,) sites."""
        return self.there.sum(1)

    @property
    def counts(self) -> Tensor:
        """(n, 119) sites of each atomic number."""
        hot = torch.zeros(len(self.numbers), N_NUMBERS, device=self.numbers.device)
        hot.scatter_add_(1, self.numbers, self.there.float())
        return hot


def slots_of(
    numbers: Tensor, frac_coords: Tensor, crystals: Tensor, cells: Tensor, n_slots: int
) -> Slots:
    """Sites, crystal after crystal, put in order; crystals have at most ``n_slots`` of them."""
    order = torch.arange(len(numbers), device=numbers.device)
    # Exact coordinates first, for sites of one element that share a hundredth.
    for axis in range(3):
        order = order[frac_coords[order, axis].argsort(stable=True)]
    bins = ((frac_coords + _SHIFT) % 1 * _BINS).long().clamp(0, _BINS - 1)
    key = (numbers * _BINS + bins[:, 2]) * _BINS**2 + bins[:, 1] * _BINS + bins[:, 0]
    order = order[key[order].argsort(stable=True)]
    order = order[crystals[order].argsort(stable=True)]
    counts = torch.bincount(crystals, minlength=len(cells))
    place = torch.arange(len(order), device=order.device) - (counts.cumsum(0) - counts)[crystals]
    filled = numbers.new_zeros(len(cells), n_slots)
    coords = frac_coords.new_zeros(len(cells), n_slots, 3)
    filled[crystals, place] = numbers[order]
    coords[crystals, place] = frac_coords[order]
    return Slots(filled, coords, cells)


def cells_of(lattices: Tensor) -> Tensor:
    """(n, 6) lengths, Å, and angles, degrees, of (n, 3, 3) cell vectors in rows."""
    lengths = lattices.norm(dim=2)
    one, other = lattices[:, [1, 0, 0]], lattices[:, [2, 2, 1]]
    products = lengths[:, [1, 0, 0]] * lengths[:, [2, 2, 1]]
    cosines = (one * other).sum(2) / products
    return torch.cat([lengths, torch.rad2deg(cosines.clamp(-1, 1).acos())], dim=1)


def numbers_of_counts(counts: Tensor, n_slots: int) -> Tensor:
    """(n, slots) atomic numbers, rising, of (n, 119) counts; 0 in slots without a site."""
    ends = counts.long().cumsum(1)
    slot = torch.arange(n_slots, device=counts.device).expand(len(counts), -1).contiguous()
    numbers = torch.searchsorted(ends.contiguous(), slot, right=True)
    return torch.where(slot < ends[:, -1:], numbers, 0)


def likeliest_counts(log_counts: Tensor, log_total: Tensor) -> Tensor:
    """The composition of greatest probability, exactly, among those of 1 to so many sites.

    Parameters
    ----------
    log_counts : (n, elements, slots + 1)
        Logarithms of the probabilities of 0, 1, ... sites of each element.
    log_total : (n, slots + 1)
        Of the number of sites of the crystal; that of 0 is not read.

    Returns
    -------
    (n, elements)
        Sites of each element: those of the largest sum of both logarithms.
    """
    n, n_elements, width = log_counts.shape
    device = log_counts.device
    totals = torch.arange(width, device=device)
    before = totals[:, None] - totals[None, :]  # (total, count): sites of the elements so far
    possible = before >= 0
    best = log_counts.new_full((n, width), -torch.inf)
    best[:, 0] = 0.0
    choices = []
    for element in range(n_elements):
        tried = best[:, before.clamp(min=0)] + log_counts[:, element][:, None, :]
        best, choice = tried.masked_fill(~possible, -torch.inf).max(dim=2)
        choices.append(choice)
    total = (best[:, 1:] + log_total[:, 1:]).argmax(1) + 1
    counts = torch.zeros(n, n_elements, dtype=torch.long, device=device)
    for element in reversed(range(n_elements)):
        counts[:, element] = choices[element].gather(1, total[:, None])[:, 0]
        total = total - counts[:, element]
    return counts
