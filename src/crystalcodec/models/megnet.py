"""MEGNet: edges, sites and a state of the whole crystal that are updated in turn."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from crystalcodec.models.base import FullPrecisionLinear, ModelError, Predictor
from crystalcodec.models.graph_sums import (
    check_lengths,
    check_whole_numbers,
    gaussians,
    graph_misfit,
    joined_edges,
    mean_by,
    shifted_softplus,
    site_start,
    sum_by,
)
from crystalcodec.representations.base import Representation

__all__ = ["MEGNet"]

_N_ZEROS = 2
"""Numbers of the state of a crystal that has no ``globals``, all zero, as published."""


class MEGNet(Predictor):
    """The materials graph network, as published.

    Each block makes new edges of both sites, the edge and the state; new sites of the mean over
    their new edges, the site and the state; a new state of the means over new edges and new sites
    and the state; and adds each to the old. A dense network with ``widths`` 64, 64 and 32 does
    each; two dense layers, 64 and 32, stand before every block on each of the three. Set2set turns
    the sites, and the edges, of a crystal into one vector each; with the state they go through
    dense layers of 32 and 16 to the targets. The activation is ln((e^x + 1) / 2). Chen et al.,
    10.1021/acs.chemmater.9b01294.

    Parameters
    ----------
    representation
        Crystal graphs; the published ones join all within 4 Å (``neighbors="radius"``,
        ``cutoff=4.0``). Sites start from a learned vector for each element, or from its
        ``node_features`` where it has some; the state from its ``globals`` or from zeros.
    n_targets
        Values predicted for each crystal.
    embedding
        Numbers of the vector of an element.
    widths
        Of the first and the last layers of each dense network.
    n_blocks
        How many blocks.
    set2set_width, set2set_steps
        Numbers of a vector of set2set (it gives two), and its steps.
    longest, n_gaussians, gaussian_width
        Distances are expanded in so many Gaussians exp(-((d - mu) / gaussian_width)^2) with mu
        from 0 to ``longest``, Å.
    """

    name: ClassVar[str] = "megnet"
    centres: Tensor
    unscaled: ClassVar[tuple[str, ...]] = ("distances", "vectors", "lattice", "node_features")

    def __init__(
        self,
        representation: Representation,
        n_targets: int = 1,
        *,
        embedding: int = 16,
        widths: Sequence[int] = (64, 32),
        n_blocks: int = 3,
        set2set_width: int = 16,
        set2set_steps: int = 3,
        longest: float = 5.0,
        n_gaussians: int = 100,
        gaussian_width: float = 0.5,
    ) -> None:
        super().__init__()
        if reason := self.fits(representation):
            raise ModelError(f"model 'megnet' does not fit {representation.name!r}: {reason}")
        if isinstance(widths, str) or not isinstance(widths, Sequence) or len(widths) != 2:
            raise ModelError(f"widths is {widths!r}, wanted two: of the first and the last layers")
        inner, width = widths
        check_whole_numbers(1, inner_width=inner, last_width=width, embedding=embedding)
        check_whole_numbers(1, n_blocks=n_blocks, set2set_width=set2set_width)
        check_whole_numbers(1, set2set_steps=set2set_steps)
        check_whole_numbers(2, n_gaussians=n_gaussians)
        check_lengths(longest=longest, gaussian_width=gaussian_width)
        self.gaussian_width = gaussian_width
        centres = torch.linspace(0, longest, n_gaussians)
        self.register_buffer("centres", centres, persistent=False)
        self.start, self.given = site_start(representation, embedding)
        state = representation.shapes().get("globals")
        self.named_state = state is not None
        n_state = _N_ZEROS if state is None else int(state[0])
        starts = (embedding, n_gaussians, n_state)
        self.blocks = nn.ModuleList(
            _Block((width,) * 3 if place else starts, inner, width, skip_all=bool(place))
            for place in range(n_blocks)
        )
        self.of_sites = _Set2Set(width, set2set_width, set2set_steps)
        self.of_edges = _Set2Set(width, set2set_width, set2set_steps)
        self.dense = _dense(4 * set2set_width + width, width, set2set_width)
        self.last = FullPrecisionLinear(set2set_width, n_targets)

    @classmethod
    def fits(cls, representation: Representation) -> str | None:
        """Graphs fit: arrays of numbers, edges and distances."""
        return graph_misfit(representation)

    def forward(self, arrays: Mapping[str, Tensor]) -> Tensor:
        """(batch, n_targets) of graphs; edges count the sites of their own crystal."""
        of_sites, of_edges = arrays["sites_crystals"], arrays["edges_crystals"]
        edges = joined_edges(arrays)
        n = len(arrays["lattice"])
        if self.named_state:
            states = arrays["globals"]
        else:
            states = torch.zeros(n, _N_ZEROS, device=of_sites.device)
        sites = self.start(arrays[self.given])
        bonds = gaussians(arrays["distances"], self.centres, self.gaussian_width)
        for block in self.blocks:
            sites, bonds, states = block(sites, bonds, states, edges, of_sites, of_edges)
        vectors = [self.of_sites(sites, of_sites, n), self.of_edges(bonds, of_edges, n), states]
        predicted: Tensor = self.last(self.dense(torch.cat(vectors, dim=1)))
        return predicted


class _Block(nn.Module):
    """Dense layers, then new edges, sites and states, added to the old."""

    def __init__(self, starts: Sequence[int], inner: int, width: int, skip_all: bool) -> None:
        super().__init__()
        self.before = nn.ModuleList(_dense(start, inner, width) for start in starts)
        # The skip leads around the dense layers, too, but for those of the first block, which turn
        # what a crystal starts with into vectors of one width.
        self.skip_all = skip_all
        self.edge_update = _Update((width,) * 4, inner, width)
        self.site_update = _Update((width,) * 3, inner, width)
        self.state_update = _Update((width,) * 3, inner, width)

    def forward(
        self,
        sites: Tensor,
        bonds: Tensor,
        states: Tensor,
        edges: Tensor,
        of_sites: Tensor,
        of_edges: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """New sites (n_sites, width), edges (n_edges, width) and states (n, width)."""
        old = sites, bonds, states
        sites, bonds, states = (layer(x) for layer, x in zip(self.before, old, strict=True))
        if not self.skip_all:
            old = sites, bonds, states
        n = len(states)
        bonds = self.edge_update(
            (sites, edges[:, 0]), (sites, edges[:, 1]), (bonds, None), (states, of_edges)
        )
        around = mean_by(bonds, edges[:, 0], len(sites))
        sites = self.site_update((around, None), (sites, None), (states, of_sites))
        of_all = mean_by(bonds, of_edges, n), mean_by(sites, of_sites, n)
        states = self.state_update((of_all[0], None), (of_all[1], None), (states, None))
        return old[0] + sites, old[1] + bonds, old[2] + states


class _Update(nn.Module):
    """Dense layers on joined vectors: inner width twice with activation, then the width."""

    def __init__(self, widths: Sequence[int], inner: int, width: int) -> None:
        super().__init__()
        # The matrix of the first layer stands in blocks, one for each vector, which are applied
        # before vectors of sites and crystals are copied to their edges: the same sums.
        layers = [nn.Linear(n, inner, bias=not place) for place, n in enumerate(widths)]
        limit = (6 / (sum(widths) + inner)) ** 0.5
        for layer in layers:
            nn.init.uniform_(layer.weight, -limit, limit)
        nn.init.zeros_(layers[0].bias)
        self.first = nn.ModuleList(layers)
        self.second, self.third = _linear(inner, inner), _linear(inner, width)

    def forward(self, *vectors: tuple[Tensor, Tensor | None]) -> Tensor:
        """(rows, width) of vectors, and for each the row of it that each new row takes."""
        taken = [
            layer(x) if rows is None else layer(x).index_select(0, rows)
            for layer, (x, rows) in zip(self.first, vectors, strict=True)
        ]
        joined = sum(taken[1:], start=taken[0])
        inner = shifted_softplus(self.second(shifted_softplus(joined)))
        new: Tensor = self.third(inner)
        return new


class _Set2Set(nn.Module):
    """One vector for a set of any size: an LSTM that attends to its members at each step.

    Vinyals, Bengio and Kudlur, arXiv 1511.06391.
    """

    def __init__(self, n_in: int, width: int, n_steps: int) -> None:
        super().__init__()
        self.width, self.n_steps = width, n_steps
        self.memory = _linear(n_in, width)
        self.gates = nn.Linear(2 * width, 4 * width)
        nn.init.orthogonal_(self.gates.weight)
        with torch.no_grad():
            # Input, forget, cell, output; one for forget, so that the cell is kept at first.
            self.gates.bias.copy_(torch.tensor([0.0, 1.0, 0.0, 0.0]).repeat_interleave(width))

    def forward(self, rows: Tensor, owner: Tensor, n: int) -> Tensor:
        """(n, 2 width) of rows (m, n_in); an empty set attends to nothing, which is zero."""
        # Weights of attention are quotients of sums over many rows: in float32.
        with torch.autocast(rows.device.type, enabled=False):
            memory = self.memory(rows.float())
            cell = torch.zeros(n, self.width, device=rows.device)
            both = torch.zeros(n, 2 * self.width, device=rows.device)
            for _ in range(self.n_steps):
                enter, keep, new, leave = self.gates(both).chunk(4, dim=1)
                cell = torch.sigmoid(keep) * cell + torch.sigmoid(enter) * torch.tanh(new)
                asked = torch.sigmoid(leave) * torch.tanh(cell)
                attention = _softmax_by((memory * asked[owner]).sum(dim=1), owner, n)
                read = sum_by(memory * attention[:, None], owner, n)
                both = torch.cat([asked, read], dim=1)
        return both


def _softmax_by(scores: Tensor, owner: Tensor, n: int) -> Tensor:
    """(m,) softmax of scores (m,) among the rows of each owner."""
    # The largest cancels out: it only keeps the exponentials in range.
    largest = torch.full((n,), -torch.inf, device=scores.device)
    largest = largest.scatter_reduce(0, owner, scores.detach(), "amax")
    powers = torch.exp(scores - largest[owner])
    return powers / sum_by(powers[:, None], owner, n)[owner, 0]


def _linear(n_in: int, n_out: int) -> nn.Linear:
    """A linear layer that starts as published: Glorot's uniform weights, biases of zero."""
    layer = nn.Linear(n_in, n_out)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class _Activation(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        """The shifted softplus."""
        return shifted_softplus(x)


def _dense(*widths: int) -> nn.Sequential:
    """Linear and activation from each width to the next."""
    layers = [(_linear(one, other), _Activation()) for one, other in itertools.pairwise(widths)]
    return nn.Sequential(*itertools.chain.from_iterable(layers))
