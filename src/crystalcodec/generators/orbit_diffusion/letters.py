"""Which Wyckoff positions the sites of each element take: one orbit after another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from crystalcodec.generators.orbit_diffusion.tables import N_LETTERS, PositionTables
from crystalcodec.generators.site_diffusion.composition import (
    HEADS,
    N_SPACE_GROUPS,
    Compositions,
)
from crystalcodec.generators.site_diffusion.elements import ElementEmbedding
from crystalcodec.models.dropout import Dropout

__all__ = ["LetterModel", "OrbitLists"]

_NONE: Final = -1e9
_PARTS: Final = 4


@dataclass(frozen=True)
class OrbitLists:
    """The orbits of n crystals as rows, by element in the order of the composition, then letter.

    Parameters
    ----------
    slots : (n, max_orbits)
        Which element of the composition; 0 where there is no orbit.
    letters : (n, max_orbits)
        Numbers of letters, 0 where there is no orbit.
    """

    slots: Tensor
    letters: Tensor

    @classmethod
    def of_rows(
        cls,
        made: Compositions,
        crystals: Tensor,
        numbers: Tensor,
        letters: Tensor,
        max_orbits: int,
    ) -> tuple[OrbitLists, Tensor]:
        """From orbits crystal after crystal, and the order in which these stand in the lists."""
        slot = (made.elements[crystals] == numbers[:, None]).long().argmax(dim=1)
        order = ((crystals * 1000 + slot) * 100 + letters).argsort(stable=True)
        crystals, slot, letters = crystals[order], slot[order], letters[order]
        counts = torch.bincount(crystals, minlength=len(made))
        place = torch.arange(len(crystals), device=crystals.device)
        place = place - (counts.cumsum(0) - counts)[crystals]
        lists = torch.zeros(2, len(made), max_orbits, dtype=torch.long, device=crystals.device)
        lists[0, crystals, place], lists[1, crystals, place] = slot, letters
        return cls(lists[0], lists[1]), order


class LetterModel(nn.Module):
    """Probabilities of Wyckoff letters, given space group and composition.

    A causal transformer over the elements with their numbers of sites and the orbits so far: for
    each element in turn letters that rise, until its sites are taken. What cannot follow has
    probability 0: letters that the group has not, or of more sites than are left; single points
    that are taken; what leaves a number of sites that no letters give.

    Parameters
    ----------
    tables
        Of the positions.
    max_orbits, max_elements, max_sites
        Of the crystals.
    width, layers, dropout
        Of the transformer.
    """

    def __init__(
        self,
        tables: PositionTables,
        max_orbits: int,
        max_elements: int,
        max_sites: int,
        width: int = 128,
        layers: int = 3,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.max_orbits, self.max_elements = max_orbits, max_elements
        n_positions = len(tables.n_sites)
        self.groups = nn.Embedding(N_SPACE_GROUPS + 1, width)
        self.elements = ElementEmbedding(width, 0.1)
        self.amounts = nn.Embedding(max_sites + 1, width)
        self.left = nn.Embedding(max_sites + 1, width)
        self.positions = nn.Embedding(n_positions, width)
        self.symmetries = nn.Embedding(tables.n_symmetries, width)
        self.kinds = nn.Linear(5, width)
        self.bias = nn.Embedding(n_positions, 1)
        self.places = nn.Parameter(torch.randn(max_elements + max_orbits, width) * 0.02)
        block = nn.TransformerEncoderLayer(
            width, HEADS, 4 * width, dropout, "gelu", batch_first=True, norm_first=True
        )
        block.dropout = block.dropout1 = block.dropout2 = Dropout(dropout)
        self.body = nn.TransformerEncoder(block, layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        for embedding in (self.groups, self.amounts, self.left, self.symmetries):
            nn.init.normal_(embedding.weight, std=0.1)
        nn.init.normal_(self.positions.weight, std=0.05)
        nn.init.zeros_(self.bias.weight)

    def vectors(self, tables: PositionTables) -> Tensor:
        """(1732, width) of all positions."""
        kinds = functional.one_hot(tables.n_free, 4).float()
        kinds = torch.cat([kinds, tables.n_sites.float().clamp(min=1).log()[:, None]], dim=1)
        vectors: Tensor = (
            self.positions.weight + self.symmetries(tables.symmetries) + self.kinds(kinds)
        )
        return vectors

    def log_likelihoods(
        self, tables: PositionTables, made: Compositions, lists: OrbitLists, known: Tensor
    ) -> Tensor:
        """(n,) logarithm of the probability of the letters of each crystal.

        Parameters
        ----------
        known : (n, width)
            The conditions, embedded.
        """
        n_orbits = (lists.letters > 0).sum(1)
        result = torch.zeros(len(made), device=known.device)
        vectors = self.vectors(tables)
        # Most crystals have few orbits: those of about as many together, so that little is padding.
        for rows in _halves(n_orbits.argsort(), _PARTS):
            most = int(n_orbits[rows].max())
            own = OrbitLists(lists.slots[rows, :most], lists.letters[rows, :most])
            some = made[rows]
            some = some.cut(int((some.counts > 0).sum(1).max()))
            steps = _Steps.of(tables, some, own)
            logits = self._logits(tables, vectors, some, steps, known[rows]).log_softmax(dim=2)
            each = logits.gather(2, (own.letters - 1).clamp(min=0)[..., None])[..., 0]
            total = torch.where(own.letters > 0, each, 0.0).sum(1)
            result = result.index_copy(0, rows, total)
        return result

    def draw(
        self, tables: PositionTables, made: Compositions, known: Tensor, random: torch.Generator
    ) -> tuple[OrbitLists, Tensor]:
        """Random letters, and which crystals (n,) could be given letters for all of their sites."""
        n, device = len(made), known.device
        vectors = self.vectors(tables)
        lists = torch.zeros(2, n, self.max_orbits, dtype=torch.long, device=device)
        totals = made.counts.cumsum(1)
        taken = torch.zeros(n, dtype=torch.long, device=device)
        sound = made.space_groups > 0
        for step in range(self.max_orbits):
            going = sound & (taken < made.n_sites)
            if not going.any():
                break
            lists[0, :, step] = (totals <= taken[:, None]).sum(1).clamp(max=totals.shape[1] - 1)
            steps = _Steps.of(tables, made, OrbitLists(lists[0], lists[1])).until(step + 1)
            logits = self._logits(tables, vectors, made, steps, known)[:, -1]
            sound = sound & ~(going & (logits.amax(1) <= _NONE / 2))
            going = going & sound
            drawn = torch.multinomial(logits.softmax(1).cpu(), 1, generator=random)[:, 0].to(device)
            letters = torch.where(going, drawn + 1, 0)
            lists[1, :, step] = letters
            lists[0, :, step] = torch.where(going, lists[0, :, step], 0)
            sizes = tables.n_sites[tables.positions(made.space_groups, letters)]
            taken = taken + torch.where(going, sizes, 0)
        return OrbitLists(lists[0], lists[1]), sound & (taken == made.n_sites)

    def _logits(
        self,
        tables: PositionTables,
        vectors: Tensor,
        made: Compositions,
        steps: _Steps,
        known: Tensor,
    ) -> Tensor:
        """(n, k, 27) of the letters at each step."""
        whole = (self.groups(made.space_groups) + known)[:, None]
        n_elements, k = made.elements.shape[1], steps.slots.shape[1]
        before = self.elements(made.elements) + self.amounts(made.counts)
        orbits = (
            vectors[steps.previous]
            + self.elements(made.elements.gather(1, steps.slots))
            + self.left(steps.left)
        )
        places = torch.cat([self.places[:n_elements], self.places[self.max_elements :][:k]])
        tokens = torch.cat([before, orbits], dim=1) + whole + places
        length = n_elements + k
        mask = torch.ones(length, length, dtype=torch.bool, device=known.device).triu(1)
        mask[:n_elements, :n_elements] = False
        absent = functional.pad(made.counts == 0, (0, k))
        hidden = self.norm(self.body(tokens, mask=mask, src_key_padding_mask=absent))
        places = tables.first[made.space_groups][:, None] + torch.arange(
            1, N_LETTERS + 1, device=known.device
        )
        # Beyond the letters of a group stand those of the next one, which the mask leaves out.
        places = places.clamp(max=len(vectors) - 1)
        query = self.query(hidden[:, n_elements:]) / vectors.shape[1] ** 0.5
        logits = query @ vectors[places].transpose(1, 2) + self.bias(places)[:, None, :, 0]
        return torch.where(steps.allowed, logits.float(), _NONE)


def _halves(rows: Tensor, n: int) -> list[Tensor]:
    """The first half of rows, half of what is left, and so on: at most n parts, none of 0 rows."""
    parts: list[Tensor] = []
    while len(parts) < n - 1 and len(rows) > 1:
        half = len(rows) // 2
        parts.append(rows[:half])
        rows = rows[half:]
    return [*parts, rows] if len(rows) else parts


@dataclass(frozen=True)
class _Steps:
    """What is known before each orbit of a list.

    ``slots``, ``left`` (sites of the element that are left), ``previous`` (position of the orbit
    before, 0 for none), (n, k); ``allowed`` letters (n, k, 27).
    """

    slots: Tensor
    left: Tensor
    previous: Tensor
    allowed: Tensor

    def until(self, k: int) -> _Steps:
        """The first k."""
        return _Steps(
            self.slots[:, :k], self.left[:, :k], self.previous[:, :k], self.allowed[:, :k]
        )

    @classmethod
    def of(cls, tables: PositionTables, made: Compositions, lists: OrbitLists) -> _Steps:
        letters, slots = lists.letters, lists.slots
        groups = made.space_groups
        device = letters.device
        places = torch.where(letters > 0, tables.positions(groups[:, None], letters), 0)
        sizes = tables.n_sites[places]
        totals = made.counts.cumsum(1).gather(1, slots)
        left = (totals - (sizes.cumsum(1) - sizes)).clamp(0, tables.reachable.shape[2] - 1)
        previous = functional.pad(places, (1, 0))[:, :-1]
        number = torch.arange(1, N_LETTERS + 1, device=device)
        every = (tables.first[groups][:, None] + number).clamp(max=len(tables.n_sites) - 1)
        own = number <= tables.n_letters[groups][:, None]
        single = own & (tables.n_free[every] == 0)
        same = functional.pad(slots[:, 1:] == slots[:, :-1], (1, 0), value=False)
        least = torch.where(same, functional.pad(letters, (1, 0))[:, :-1], 1)
        hot = functional.one_hot(letters, N_LETTERS + 1)[..., 1:]
        used = (hot.cumsum(1) - hot) > 0
        rest = left[..., None] - tables.n_sites[every][:, None]
        # After a single point only later letters can follow.
        following = number + single.long()
        reach = tables.reachable[groups[:, None, None], following[:, None], rest.clamp(min=0)]
        allowed = (
            own[:, None]
            & (rest >= 0)
            & (number >= least[..., None])
            & ~(single[:, None] & used)
            & reach
        )
        return cls(slots, left, previous, allowed)
