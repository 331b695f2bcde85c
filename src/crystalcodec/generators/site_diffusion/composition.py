"""Which space group, how many sites, which elements and how many of each: one after another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from crystalcodec.elements import ELECTRONEGATIVITIES, MAX_ATOMIC_NUMBER
from crystalcodec.generators.site_diffusion.elements import ElementEmbedding, ElementHead
from crystalcodec.models.base import ModelError
from crystalcodec.models.dropout import Dropout

__all__ = [
    "EVEN",
    "HEADS",
    "N_SPACE_GROUPS",
    "CompositionModel",
    "Compositions",
    "Temperatures",
    "Told",
    "element_ranks",
]

N_SPACE_GROUPS: Final = 230
HEADS: Final = 4
_NONE: Final = -1e9
_PARTS: Final = 2


def element_ranks() -> Tensor:
    """(119,) order of the elements by electronegativity, as formulas are written; 0 for none."""
    known = np.nan_to_num(ELECTRONEGATIVITIES, nan=9.0)
    order = np.lexsort((np.arange(1, MAX_ATOMIC_NUMBER + 1), known[1:]))
    ranks = np.zeros(MAX_ATOMIC_NUMBER + 1, np.int64)
    ranks[order + 1] = np.arange(1, MAX_ATOMIC_NUMBER + 1)
    return torch.from_numpy(ranks)


@dataclass(frozen=True)
class Compositions:
    """Space groups and compositions of n crystals.

    Parameters
    ----------
    space_groups : (n,)
        0 where it is not known.
    n_sites : (n,)
        Number of sites.
    elements : (n, max_elements)
        Atomic numbers in the order of :func:`element_ranks`, then 0.
    counts : (n, max_elements)
        Sites of each.
    """

    space_groups: Tensor
    n_sites: Tensor
    elements: Tensor
    counts: Tensor

    def __getitem__(self, rows: Tensor) -> Compositions:
        return Compositions(
            self.space_groups[rows], self.n_sites[rows], self.elements[rows], self.counts[rows]
        )

    def __len__(self) -> int:
        return len(self.n_sites)

    def cut(self, k: int) -> Compositions:
        """The same with the first k elements alone."""
        return replace(self, elements=self.elements[:, :k], counts=self.counts[:, :k])

    @classmethod
    def of_sites(
        cls, numbers: Tensor, crystals: Tensor, space_groups: Tensor, max_elements: int
    ) -> Compositions:
        """From the sites of crystals; ``space_groups`` (n,) with 0 for unknown."""
        n = len(space_groups)
        ranks = element_ranks().to(numbers.device)
        table = torch.zeros(n, MAX_ATOMIC_NUMBER + 1, dtype=torch.long, device=numbers.device)
        table.index_put_((crystals, ranks[numbers]), torch.ones_like(numbers), accumulate=True)
        # Elements that are there first, in their order.
        there = (table > 0).long()
        order = (there * (MAX_ATOMIC_NUMBER + 2 - torch.arange(table.shape[1]).to(there))).argsort(
            dim=1, descending=True
        )[:, :max_elements]
        counts = table.gather(1, order)
        number_of = torch.zeros_like(ranks)
        number_of[ranks] = torch.arange(len(ranks), device=ranks.device)
        elements = torch.where(counts > 0, number_of[order], 0)
        return cls(space_groups, counts.sum(1), elements, counts)

    def sites(self) -> tuple[Tensor, Tensor]:
        """(n_sites_total,) atomic number of each site, and the crystal that it belongs to."""
        flat = self.counts.flatten()
        rows = torch.arange(len(flat), device=flat.device) // self.counts.shape[1]
        return (
            torch.repeat_interleave(self.elements.flatten(), flat),
            torch.repeat_interleave(rows, flat),
        )


@dataclass(frozen=True)
class Temperatures:
    """What logits of elements and of their amounts are divided by.

    Below 1 likely ones become likelier.

    Raises
    ------
    ModelError
        One that is not above 0.
    """

    elements: float = 1.0
    amounts: float = 1.0

    def __post_init__(self) -> None:
        for name, value in (("temperature", self.elements), ("amount_temperature", self.amounts)):
            if not 0 < value < math.inf:
                raise ModelError(f"{name} is {value}, wanted above 0")


EVEN: Final = Temperatures()


@dataclass(frozen=True)
class Told:
    """The conditions of n crystals, embedded, and how strongly they count.

    Parameters
    ----------
    condition : (n, width)
        What is wished.
    blank : (n, width)
        Nothing wished; not needed where ``guidance`` is 1.
    guidance
        1 for the condition as it was learnt, above 1 for more of it: at every step the logits are
        moved away from those without the condition.
    """

    condition: Tensor
    blank: Tensor | None = None
    guidance: float = 1.0

    def __len__(self) -> int:
        return len(self.condition)

    def __getitem__(self, rows: Tensor) -> Told:
        blank = None if self.blank is None else self.blank[rows]
        return Told(self.condition[rows], blank, self.guidance)

    @property
    def each(self) -> tuple[Tensor, ...]:
        """The condition, and nothing wished where both are needed."""
        if self.blank is None or self.guidance == 1:
            return (self.condition,)
        return self.condition, self.blank

    def mixed(self, logits: Sequence[Tensor]) -> Tensor:
        """One set of logits of those that :attr:`each` gave."""
        if len(logits) == 1:
            return logits[0]
        with_it, without = logits
        return without + self.guidance * (with_it - without)


class CompositionModel(nn.Module):
    """Probabilities of space groups and compositions, one step after another.

    First the space group, then the number of sites, then elements in the order of
    electronegativity with the number of sites of each, until all sites are taken: a causal
    transformer over (space group, number of sites) and the pairs so far. What cannot follow
    (an element that stands earlier in the order, more sites than are left) has probability 0.

    Parameters
    ----------
    max_sites, max_elements
        Of the representation.
    width, layers, heads
        Of the transformer.
    dropout
        In it.
    traits
        Whether elements are known by their traits, too.
    """

    ranks: Tensor
    seen: Tensor

    def __init__(
        self,
        max_sites: int,
        max_elements: int,
        width: int = 128,
        layers: int = 3,
        heads: int = HEADS,
        dropout: float = 0.1,
        traits: bool = False,
    ) -> None:
        super().__init__()
        self.max_sites, self.max_elements = max_sites, max_elements
        n_elements = MAX_ATOMIC_NUMBER + 1
        self.groups = nn.Embedding(N_SPACE_GROUPS + 1, width)
        self.totals = nn.Embedding(max_sites + 1, width)
        self.elements = ElementEmbedding(width, 0.1) if traits else nn.Embedding(n_elements, width)
        self.amounts = nn.Embedding(max_sites + 1, width)
        self.left = nn.Embedding(max_sites + 1, width)
        self.places = nn.Parameter(torch.randn(max_elements + 1, width) * 0.02)
        block = nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout, "gelu", batch_first=True, norm_first=True
        )
        block.dropout = block.dropout1 = block.dropout2 = Dropout(dropout)
        self.body = nn.TransformerEncoder(block, layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(width)
        self.start = nn.Parameter(torch.randn(width) * 0.5)
        self.to_group = nn.Sequential(
            nn.Linear(width, width), nn.GELU(), nn.Linear(width, N_SPACE_GROUPS + 1)
        )
        self.to_total = nn.Sequential(
            nn.Linear(width, width), nn.GELU(), nn.Linear(width, max_sites + 1)
        )
        self.to_element = ElementHead(width) if traits else nn.Linear(width, n_elements)
        self.to_amount = nn.Sequential(
            nn.Linear(2 * width, width), nn.GELU(), nn.Linear(width, max_sites + 1)
        )
        for embedding in (self.groups, self.totals, self.elements, self.amounts, self.left):
            if isinstance(embedding, nn.Embedding):
                nn.init.normal_(embedding.weight, std=0.1)
        self.register_buffer("ranks", element_ranks(), persistent=False)
        self.register_buffer("seen", torch.ones(n_elements, dtype=torch.bool))

    def log_likelihoods(
        self, made: Compositions, told: Told, temperatures: Temperatures = EVEN
    ) -> Tensor:
        """(n,) logarithm of the probability of each, with what :meth:`draw` draws with."""
        group = self.group_logits(told).log_softmax(dim=1)
        total = self.total_logits(made.space_groups, told).log_softmax(dim=1)
        likelihood = group.gather(1, made.space_groups[:, None])[:, 0]
        likelihood = likelihood + total.gather(1, made.n_sites[:, None])[:, 0]
        # Most crystals have few elements: these and the others apart, so that little is padding.
        n_elements = (made.counts > 0).sum(1)
        of_elements = torch.zeros_like(likelihood)
        for rows in n_elements.argsort().chunk(_PARTS):
            most = int(n_elements[rows].max()) if len(rows) else 0
            if most:
                each = self._each_element(made[rows].cut(most), told[rows], temperatures)
                of_elements = of_elements.index_copy(0, rows, each)
        return likelihood + of_elements

    def _each_element(self, made: Compositions, told: Told, temperatures: Temperatures) -> Tensor:
        """(n,) logarithm of the probability of the elements and their amounts."""
        before = made.counts.cumsum(1) - made.counts
        left = made.n_sites[:, None] - before
        previous = functional.pad(self.ranks[made.elements], (1, 0))[:, :-1]
        step = torch.arange(made.elements.shape[1], device=left.device)
        last = step == self.max_elements - 1
        # Nothing follows the last one.
        hidden = self._hidden(made.cut(len(step) - 1), told)
        chosen = told.mixed([self._element_logits(rows, previous) for rows in hidden])
        chosen = (chosen / temperatures.elements).log_softmax(dim=2)
        amounts = told.mixed(
            [self._amount_logits(rows, made.elements, left, last) for rows in hidden]
        )
        amounts = (amounts / temperatures.amounts).log_softmax(dim=2)
        each = chosen.gather(2, made.elements[..., None])[..., 0]
        each = each + amounts.gather(2, made.counts[..., None])[..., 0]
        return torch.where(made.counts > 0, each, 0.0).sum(1)

    def group_logits(self, told: Told) -> Tensor:
        """(n, 231) of the space groups."""
        return told.mixed([self.to_group(known + self.start) for known in told.each])

    def total_logits(self, space_groups: Tensor, told: Told) -> Tensor:
        """(n, max_sites + 1) of the numbers of sites."""
        groups = self.groups(space_groups)
        logits = told.mixed([self.to_total(known + groups) for known in told.each])
        return logits.index_fill(1, torch.zeros(1, dtype=torch.long, device=logits.device), _NONE)

    def _hidden(self, made: Compositions, told: Told) -> list[Tensor]:
        """(n, max_elements + 1, width) of each telling: what is known before each element."""
        total = self.groups(made.space_groups) + self.totals(made.n_sites)
        left = made.n_sites[:, None] - made.counts.cumsum(1)
        rest = self.elements(made.elements) + self.amounts(made.counts) + self.left(left)
        length = rest.shape[1] + 1
        mask = torch.ones(length, length, dtype=torch.bool, device=total.device).triu(1)
        hidden = []
        for known in told.each:
            first = known + total
            tokens = torch.cat([first[:, None], rest + first[:, None]], dim=1)
            tokens = tokens + self.places[:length]
            hidden.append(self.norm(self.body(tokens, mask=mask)))
        return hidden

    def _element_logits(self, hidden: Tensor, previous: Tensor) -> Tensor:
        """(n, k, 119): only elements of training data, later in the order than the one before."""
        logits: Tensor = self.to_element(hidden)
        allowed = (self.ranks > previous[..., None]) & self.seen
        return torch.where(allowed, logits, _NONE)

    def _amount_logits(
        self, hidden: Tensor, elements: Tensor, left: Tensor, last: Tensor
    ) -> Tensor:
        """(n, k, max_sites + 1): at least one, at most what is left; all of it for the last."""
        joined = torch.cat([hidden, self.elements(elements)], dim=-1)
        logits: Tensor = self.to_amount(joined)
        amounts = torch.arange(self.max_sites + 1, device=logits.device)
        allowed = (amounts >= 1) & (amounts <= left[..., None])
        # After the last element of all nothing can follow that would take what is left.
        last = last | (self.ranks[elements] >= (self.ranks * self.seen).max())
        allowed = torch.where(last[..., None], amounts == left[..., None], allowed)
        return torch.where(allowed, logits, _NONE)

    def draw(
        self,
        told: Told,
        random: torch.Generator,
        *,
        space_groups: Tensor | None = None,
        forced: Tensor | None = None,
        temperatures: Temperatures = EVEN,
    ) -> tuple[Compositions, Tensor]:
        """Random compositions, and the logarithm of the probability of what was forced.

        Parameters
        ----------
        told
            The conditions.
        space_groups : (n,)
            Given ones; drawn where None.
        forced : (k,)
            Atomic numbers of the elements that are to be there, and no other, in order.
        temperatures
            Below 1 likely elements and amounts become likelier.
        """
        n, device = len(told), told.condition.device
        score = torch.zeros(n, device=device)
        if space_groups is None:
            space_groups = _draw(self.group_logits(told), random, 1.0)
        else:
            logs = self.group_logits(told).log_softmax(1)
            score = score + logs.gather(1, space_groups[:, None])[:, 0]
        totals = self.total_logits(space_groups, told)
        if forced is not None:
            few = torch.arange(totals.shape[1], device=device) < len(forced)
            score = score + torch.where(few, _NONE, totals.log_softmax(1)).logsumexp(1)
            totals = torch.where(few, _NONE, totals)
        n_sites = _draw(totals, random, 1.0)
        shape = (n, self.max_elements)
        elements = torch.zeros(shape, dtype=torch.long, device=device)
        counts = torch.zeros_like(elements)
        for step in range(self.max_elements):
            made = Compositions(space_groups, n_sites, elements, counts)
            left = n_sites - counts.sum(1)
            hidden = [rows[:, step:] for rows in self._hidden(made.cut(step), told)]
            previous = self.ranks[elements[:, step - 1]] if step else torch.zeros_like(left)
            logits = told.mixed([self._element_logits(rows, previous[:, None]) for rows in hidden])
            logits = logits[:, 0]
            if forced is not None and step >= len(forced):
                break
            if forced is None:
                chosen = _draw(logits, random, temperatures.elements)
            else:
                chosen = forced[step].expand(n)
                score = score + (logits / temperatures.elements).log_softmax(1)[:, chosen[0]]
            last = torch.tensor([step == self.max_elements - 1], device=device)
            amounts = told.mixed(
                [self._amount_logits(rows, chosen[:, None], left[:, None], last) for rows in hidden]
            )[:, 0]
            if forced is not None:
                after = len(forced) - step - 1
                most = left - after
                held = torch.arange(amounts.shape[1], device=device)
                allowed = held == most[:, None] if after == 0 else held <= most[:, None]
                # What the model gives to amounts that leave too little, or too much, is lost.
                logs = (amounts / temperatures.amounts).log_softmax(1)
                kept = torch.where(allowed, logs, _NONE).logsumexp(1)
                score = score + kept
                amounts = torch.where(allowed, amounts, _NONE)
            amount = _draw(amounts, random, temperatures.amounts)
            going = left > 0
            elements[:, step] = torch.where(going, chosen, 0)
            counts[:, step] = torch.where(going, amount, 0)
        return Compositions(space_groups, n_sites, elements, counts), score


def _draw(logits: Tensor, random: torch.Generator, temperature: float) -> Tensor:
    """(n,) one of the classes of each row."""
    shares = (logits / temperature).softmax(dim=1).cpu()
    return torch.multinomial(shares, 1, generator=random)[:, 0].to(logits.device)
