"""Space groups and compositions as they are wanted, as probable as the model finds them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch

from crystalcodec.elements import ATOMIC_NUMBERS
from crystalcodec.generators.conditions import Wanted
from crystalcodec.generators.site_diffusion.composition import (
    N_SPACE_GROUPS,
    CompositionModel,
    Compositions,
    Temperatures,
    Told,
)

__all__ = ["wanted_compositions"]

_TRIALS: Final = 64  # compositions drawn for each one that is kept, where elements are wanted
_TRIALS_AT_MOST: Final = 16384


def wanted_compositions(
    model: CompositionModel,
    n: int,
    wanted: Wanted,
    told: Callable[[int], Told],
    random: torch.Generator,
    *,
    temperatures: Temperatures,
    groups_drawn: bool,
) -> Compositions:
    """Space groups and compositions of n crystals.

    A formula: each multiple that fits, under each space group, as often as it is probable.
    Elements: drawn with these forced, then kept in proportion to the probability of what was
    forced. Nothing: drawn.

    Parameters
    ----------
    wanted
        Formula, elements, space group.
    told
        The conditions of so many crystals.
    temperatures
        Of elements and of their amounts.
    groups_drawn
        Whether the model knows space groups; they are 0 where not.
    """
    if wanted.formula:
        every = _of_formula(model, wanted, groups_drawn)
        score = model.log_likelihoods(every, told(len(every)), temperatures)
    else:
        trials = min(_TRIALS * n, _TRIALS_AT_MOST) if wanted.elements else n
        device = model.ranks.device
        groups = None
        if wanted.space_group is not None or not groups_drawn:
            groups = torch.full((trials,), wanted.space_group or 0, device=device)
        forced = None
        if wanted.elements:
            symbols = dict.fromkeys(wanted.elements)
            forced = torch.tensor([ATOMIC_NUMBERS[s] for s in symbols], device=device)
            forced = forced[model.ranks[forced].argsort()]
        every, score = model.draw(
            told(trials), random, space_groups=groups, forced=forced, temperatures=temperatures
        )
        if not wanted.elements:
            return every
    chosen = torch.multinomial(score.softmax(0).cpu(), n, True, generator=random)
    return every[chosen.to(score.device)]


def _of_formula(model: CompositionModel, wanted: Wanted, groups_drawn: bool) -> Compositions:
    """Each multiple of a formula that fits, under each space group that it can have."""
    device = model.ranks.device
    counts = wanted.counts
    ranks = model.ranks.tolist()
    numbers = sorted(counts, key=lambda number: ranks[number])
    multiples = torch.arange(1, model.max_sites // sum(counts.values()) + 1, device=device)
    if wanted.space_group is not None:
        groups = torch.tensor([wanted.space_group], device=device)
    elif groups_drawn:
        groups = torch.arange(N_SPACE_GROUPS + 1, device=device)
    else:
        groups = torch.zeros(1, dtype=torch.long, device=device)
    multiple = multiples.repeat(len(groups))
    elements = torch.zeros(len(multiple), model.max_elements, dtype=torch.long, device=device)
    amounts = torch.zeros_like(elements)
    elements[:, : len(numbers)] = torch.tensor(numbers, device=device)
    once = torch.tensor([counts[number] for number in numbers], device=device)
    amounts[:, : len(numbers)] = once * multiple[:, None]
    return Compositions(groups.repeat_interleave(len(multiples)), amounts.sum(1), elements, amounts)
