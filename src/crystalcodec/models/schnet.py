"""SchNet: continuous-filter convolutions over the edges of a crystal graph."""

from __future__ import annotations

import math
from collections.abc import Mapping
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

__all__ = ["SchNet"]


class SchNet(Predictor):
    """The continuous-filter convolutional network, as published, for intensive properties.

    Each interaction adds to site i a dense layer, shifted softplus and another dense layer on the
    sum over its edges of (W x_j) times a filter, number by number. The filter is two dense layers
    with shifted softplus on the edge's distance, expanded in Gaussians exp(-gamma (d - mu)^2) with
    mu from 0 to the cut-off, and times the weight (1 + cos(pi d / cutoff)) / 2, zero beyond it.
    Then for each site a dense layer of half the width, shifted softplus and a last layer; the
    prediction is their mean over the sites. Schütt et al., 10.1063/1.5019779.

    Parameters
    ----------
    representation
        Crystal graphs. Sites start from a learned vector for each element, or from its
        ``node_features`` where it has some. With ``neighbors="radius"`` and the same cut-off the
        prediction is a smooth function of the coordinates.
    n_targets
        Values predicted for each crystal.
    width
        Numbers a site carries.
    n_filters
        Numbers of a filter.
    n_interactions
        How many interactions, each with weights of its own.
    cutoff
        Å; edges that are longer count for nothing.
    step
        Distance between the centres of the Gaussians, Å.
    gamma
        Their sharpness, 1/Å².
    """

    name: ClassVar[str] = "schnet"
    centres: Tensor
    unscaled: ClassVar[tuple[str, ...]] = ("distances", "vectors", "lattice", "node_features")

    def __init__(
        self,
        representation: Representation,
        n_targets: int = 1,
        *,
        width: int = 64,
        n_filters: int = 64,
        n_interactions: int = 6,
        cutoff: float = 5.0,
        step: float = 0.1,
        gamma: float = 10.0,
    ) -> None:
        super().__init__()
        if reason := self.fits(representation):
            raise ModelError(f"model 'schnet' does not fit {representation.name!r}: {reason}")
        check_whole_numbers(2, width=width)
        check_whole_numbers(1, n_filters=n_filters)
        check_whole_numbers(0, n_interactions=n_interactions)
        check_lengths(cutoff=cutoff, step=step)
        check_lengths("1/Å²", gamma=gamma)
        if step > cutoff:
            raise ModelError(f"step {step} and cutoff {cutoff}: wanted step <= cutoff, in Å")
        self.cutoff, self.gamma = cutoff, gamma
        self.register_buffer("centres", torch.arange(0, cutoff + step / 2, step), persistent=False)
        self.start, self.given = site_start(representation, width)
        self.interactions = nn.ModuleList(
            _Interaction(width, n_filters, len(self.centres)) for _ in range(n_interactions)
        )
        self.dense = nn.Linear(width, width // 2)
        self.last = FullPrecisionLinear(width // 2, n_targets)

    @classmethod
    def fits(cls, representation: Representation) -> str | None:
        """Graphs fit: arrays of numbers, edges and distances."""
        return graph_misfit(representation)

    def forward(self, arrays: Mapping[str, Tensor]) -> Tensor:
        """(batch, n_targets) of graphs; edges count the sites of their own crystal."""
        distances = arrays["distances"]
        edges = joined_edges(arrays)
        expanded = gaussians(distances, self.centres, self.gamma**-0.5)
        weights = 0.5 + 0.5 * torch.cos(distances.clamp(max=self.cutoff) * (math.pi / self.cutoff))
        sites = self.start(arrays[self.given])
        for interaction in self.interactions:
            sites = interaction(sites, edges[:, 0], edges[:, 1], expanded, weights)
        values = self.last(shifted_softplus(self.dense(sites)))
        return mean_by(values, arrays["sites_crystals"], len(arrays["lattice"]))


class _Interaction(nn.Module):
    """One continuous-filter convolution with the layers around it."""

    def __init__(self, width: int, n_filters: int, n_gaussians: int) -> None:
        super().__init__()
        self.filter = nn.ModuleList(
            (nn.Linear(n_gaussians, n_filters), nn.Linear(n_filters, n_filters))
        )
        self.before = nn.Linear(width, n_filters, bias=False)
        self.after = nn.ModuleList((nn.Linear(n_filters, width), nn.Linear(width, width)))

    def forward(
        self, sites: Tensor, centres: Tensor, neighbours: Tensor, edge: Tensor, weights: Tensor
    ) -> Tensor:
        """(n_sites, width), with what each site's neighbours tell added."""
        for layer in self.filter:
            edge = shifted_softplus(layer(edge))
        messages = self.before(sites).index_select(0, neighbours) * edge * weights[:, None]
        summed = sum_by(messages, centres, len(sites))
        first, second = self.after
        added: Tensor = sites + second(shifted_softplus(first(summed)))
        return added
