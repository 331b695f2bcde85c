"""CGCNN: gated convolutions over the edges of a crystal graph."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from crystalcodec.models.base import FullPrecisionLinear, ModelError, Predictor
from crystalcodec.models.graph_sums import (
    gaussians,
    graph_misfit,
    joined_edges,
    mean_by,
    site_start,
    sum_by,
)
from crystalcodec.representations.base import Representation

__all__ = ["CGCNN"]


class CGCNN(Predictor):
    """The crystal graph convolutional neural network, as published.

    Each convolution adds to a site the sum over its edges of sigmoid(z W_f + b_f) times
    softplus(z W_s + b_s), where z joins both sites and the edge; batch normalisation over all
    edges before the gate and over all sites after the sum. Then the mean over the sites, softplus
    between dense layers. Edges are distances expanded in Gaussians 0.2 Å apart and as wide, from
    0 to ``longest``. Xie and Grossman, 10.1103/PhysRevLett.120.145301.

    Parameters
    ----------
    representation
        Crystal graphs. Sites start from its ``node_features`` (``"cgcnn"`` are the published
        ones), or from a learned vector for each element where it has none.
    n_targets
        Values predicted for each crystal.
    width
        Numbers a site carries.
    hidden
        Width of the dense layers after the mean.
    n_convolutions, n_hidden
        How many convolutions, and how many dense hidden layers.
    longest, step
        Largest centre of a Gaussian and their distance, Å.
    """

    name: ClassVar[str] = "cgcnn"
    centres: Tensor
    unscaled: ClassVar[tuple[str, ...]] = ("distances", "vectors", "lattice", "node_features")

    def __init__(
        self,
        representation: Representation,
        n_targets: int = 1,
        *,
        width: int = 64,
        hidden: int = 128,
        n_convolutions: int = 3,
        n_hidden: int = 1,
        longest: float = 8.0,
        step: float = 0.2,
    ) -> None:
        super().__init__()
        if reason := self.fits(representation):
            raise ModelError(f"model 'cgcnn' does not fit {representation.name!r}: {reason}")
        for name, value in (("width", width), ("hidden", hidden), ("n_hidden", n_hidden)):
            if not isinstance(value, int) or value < 1:
                raise ModelError(f"{name} is {value!r}, wanted a whole number of at least 1")
        if not isinstance(n_convolutions, int) or n_convolutions < 0:
            raise ModelError(f"n_convolutions is {n_convolutions!r}, wanted a whole number")
        if not (longest > 0 and 0 < step <= longest):
            raise ModelError(f"longest {longest} and step {step}: wanted 0 < step <= longest, in Å")
        self.start, self.given = site_start(representation, width)
        self.step = step
        centres = torch.arange(0, longest + step / 2, step)
        self.register_buffer("centres", centres, persistent=False)
        self.convolutions = nn.ModuleList(
            _Convolution(width, len(centres)) for _ in range(n_convolutions)
        )
        sizes = [width, *[hidden] * n_hidden]
        self.dense = nn.ModuleList(
            nn.Linear(one, other) for one, other in itertools.pairwise(sizes)
        )
        self.last = FullPrecisionLinear(hidden, n_targets)

    @classmethod
    def fits(cls, representation: Representation) -> str | None:
        """Graphs fit: arrays of numbers, edges and distances."""
        return graph_misfit(representation)

    def forward(self, arrays: Mapping[str, Tensor]) -> Tensor:
        """(batch, n_targets) of graphs; edges count the sites of their own crystal."""
        edges = joined_edges(arrays)
        expanded = gaussians(arrays["distances"], self.centres, self.step)
        sites = self.start(arrays[self.given])
        for convolution in self.convolutions:
            sites = convolution(sites, edges[:, 0], edges[:, 1], expanded)
        mean = mean_by(sites, arrays["sites_crystals"], len(arrays["lattice"]))
        values = functional.softplus(mean)
        for layer in self.dense:
            values = functional.softplus(layer(values))
        predicted: Tensor = self.last(values)
        return predicted


class _Convolution(nn.Module):
    """One gated convolution."""

    def __init__(self, width: int, n_gaussians: int) -> None:
        super().__init__()
        # The published layer joins centre, neighbour and edge and multiplies them by one matrix.
        # Its three blocks are applied before sites are copied to their edges: the same sums, with
        # a matrix product a site and not one an edge.
        self.centre = nn.Linear(width, 2 * width)
        self.neighbour = nn.Linear(width, 2 * width, bias=False)
        self.edge = nn.Linear(n_gaussians, 2 * width, bias=False)
        self.before = nn.BatchNorm1d(2 * width)
        self.after = nn.BatchNorm1d(width)
        limit = (2 * width + n_gaussians) ** -0.5
        for block in (self.centre, self.neighbour, self.edge):
            nn.init.uniform_(block.weight, -limit, limit)
        nn.init.uniform_(self.centre.bias, -limit, limit)

    def forward(self, sites: Tensor, centres: Tensor, neighbours: Tensor, edge: Tensor) -> Tensor:
        """(n_sites, width), with what each site's edges tell added."""
        joined = self.edge(edge)
        joined = joined + self.centre(sites).index_select(0, centres)
        joined = joined + self.neighbour(sites).index_select(0, neighbours)
        gate, core = self.before(joined).chunk(2, dim=1)
        messages = torch.sigmoid(gate) * functional.softplus(core)
        summed = sum_by(messages, centres, len(sites))
        added: Tensor = functional.softplus(sites + self.after(summed))
        return added
