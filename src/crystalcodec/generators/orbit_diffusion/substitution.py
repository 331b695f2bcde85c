"""Training crystals with one element replaced by a similar one, and told so."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from crystalcodec.data.substitution import replacement_weights
from crystalcodec.generators.base import Batch
from crystalcodec.generators.conditions import ConditionEmbedding

__all__ = ["Substitution"]


class Substitution(nn.Module):
    """Replaces elements in a share of the training crystals, for models that are told of it.

    Each passes for the crystal it was made from, so that a model sees many more compositions than
    there are crystals and learns less of them by heart. A model gets a learnt vector with what was
    replaced, in place of property values, which are another crystal's; without the vector it gives
    what it thinks of real crystals (as Karras et al., arXiv 2006.06676, for pictures). In
    evaluation nothing is replaced.

    Parameters
    ----------
    share
        Of the crystals, from 0 to 1.
    widths
        Lengths of the vectors, one for each model.
    reach
        Of :func:`~crystalcodec.data.substitution.replacement_weights`.
    """

    weights: Tensor

    def __init__(self, share: float, widths: Sequence[int], reach: float = 2.0) -> None:
        super().__init__()
        self.share = share
        self.marks = nn.ParameterList(torch.randn(width) * 0.02 for width in widths)
        weights = torch.from_numpy(replacement_weights(reach)).float()
        self.register_buffer("weights", weights, persistent=False)

    def forward(
        self, crystals: Tensor, numbers: Tensor, n: int, seen: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Atomic numbers with those replaced, and which crystals are changed.

        One element of a crystal, that of an orbit drawn at random, becomes another that training
        has seen and that the crystal has not. What has no such neighbour stays.

        Parameters
        ----------
        crystals, numbers : (k,)
            Crystal and element of each orbit.
        n
            Crystals.
        seen : (119,)
            Which elements training has.

        Returns
        -------
        numbers : (k,)
        changed : (n,)
        """
        if not self.training:
            return numbers, torch.zeros(n, dtype=torch.bool, device=numbers.device)
        changed = torch.rand(n, device=numbers.device) < self.share
        lots = torch.rand(len(numbers), device=numbers.device)
        drawn = lots == lots.new_zeros(n).scatter_reduce(0, crystals, lots, "amax")[crystals]
        old = torch.zeros(n, dtype=torch.long, device=numbers.device)
        old[crystals[drawn]] = numbers[drawn]
        candidates = self.weights[old] * seen
        candidates[crystals, numbers] = 0.0
        changed = changed & (candidates.sum(1) > 0)
        # Rows that stay still need something to draw from.
        new = torch.multinomial(torch.where(changed[:, None], candidates, 1.0), 1)[:, 0]
        replaced = changed[crystals] & (numbers == old[crystals])
        return torch.where(replaced, new[crystals], numbers), changed

    def told(
        self, model: int, embedding: ConditionEmbedding, batch: Batch, n: int, changed: Tensor
    ) -> Tensor:
        """(n, width) what the model of this number is told of each crystal."""
        told: Tensor = embedding(batch, n)
        if not self.training:
            return told
        return torch.where(changed[:, None], embedding({}, n) + self.marks[model], told)
