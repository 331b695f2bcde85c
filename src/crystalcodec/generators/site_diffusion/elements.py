"""Elements as vectors: one learnt for each, and what the periodic table tells of it."""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from crystalcodec.elements import ELECTRONEGATIVITIES, GROUPS, MAX_ATOMIC_NUMBER, PERIODS, SYMBOLS

__all__ = ["ElementEmbedding", "ElementHead", "element_traits", "tell_traits"]

_N: Final = MAX_ATOMIC_NUMBER + 1
_STATES: Final = range(-5, 9)  # oxidation states
_SERIES: Final = ((57, 71), (89, 103))  # lanthanides, actinides
N_TRAITS: Final = 7 + 18 + len(_STATES) + 2 * len(_SERIES) + 3


@cache
def element_traits() -> Tensor:
    """(119, 46) what is known of each element; row 0, no element, is 0.

    Period and group, common oxidation states (pymatgen), each as 0 or 1; lanthanides and actinides
    with how far along they are; Pauling's electronegativity less 1.8 (0 where none is known), its
    square; covalent radius (Cordero et al., 10.1039/b801115j, by ASE) in Å less 1.5.
    """
    from ase.data import covalent_radii
    from pymatgen.core import Element

    table = np.zeros((_N, N_TRAITS), np.float32)
    numbers = np.arange(1, _N)
    table[numbers, PERIODS[1:].astype(int) - 1] = 1
    table[numbers, 7 + GROUPS[1:].astype(int) - 1] = 1
    start = 7 + 18
    for number in numbers:
        for state in Element(SYMBOLS[number]).common_oxidation_states:
            if state in _STATES:
                table[number, start + state - _STATES.start] = 1
    start += len(_STATES)
    for first, last in _SERIES:
        inside = np.arange(first, last + 1)
        table[inside, start] = 1
        table[inside, start + 1] = (inside - first) / (last - first)
        start += 2
    known = np.nan_to_num(ELECTRONEGATIVITIES[1:] - 1.8)
    # ASE has 0.2 Å for elements that no radius is tabulated for.
    radii = np.array(covalent_radii[1:_N], float)
    radii = np.where(radii > 0.25, radii, 1.5) - 1.5
    table[1:, start:] = np.stack([known, known**2, radii], axis=1)
    return torch.from_numpy(table)


class ElementEmbedding(nn.Module):
    """Vectors of elements: what is learnt of each alone, and a linear map of its traits.

    So elements that training has few crystals of learn from those like them. The traits are kept
    with the weights: :func:`tell_traits` puts them there before training.

    Parameters
    ----------
    width
        Numbers of a vector.
    deviation
        Of the weights at the start.
    """

    table: Tensor

    def __init__(self, width: int, deviation: float) -> None:
        super().__init__()
        self.own = nn.Embedding(_N, width)
        self.of_traits = nn.Linear(N_TRAITS, width, bias=False)
        for weight in (self.own.weight, self.of_traits.weight):
            nn.init.normal_(weight, std=deviation)
        self.register_buffer("table", torch.zeros(_N, N_TRAITS))

    def forward(self, numbers: Tensor) -> Tensor:
        """(..., width) of atomic numbers (...), 0 for none."""
        return functional.embedding(numbers, self.own.weight + self.of_traits(self.table))


class ElementHead(nn.Module):
    """Logits of elements: what speaks for each alone, and for each of its traits."""

    table: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.own = nn.Linear(width, _N)
        self.of_traits = nn.Linear(width, N_TRAITS, bias=False)
        self.register_buffer("table", torch.zeros(_N, N_TRAITS))

    def forward(self, hidden: Tensor) -> Tensor:
        """(..., 119) of vectors (..., width)."""
        traits: Tensor = self.of_traits(hidden)
        logits: Tensor = self.own(hidden) + traits @ self.table.T
        return logits


def tell_traits(network: nn.Module) -> None:
    """Put the traits of the elements into all parts of a network that take them."""
    for part in network.modules():
        if isinstance(part, ElementEmbedding | ElementHead):
            part.table.copy_(element_traits())
