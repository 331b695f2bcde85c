"""ShellNet: gated messages between the kinds of sites of a crystal, angles and all."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from crystalcodec.models.base import FullPrecisionLinear, ModelError, Predictor
from crystalcodec.models.graph_sums import (
    N_ELEMENTS,
    check_lengths,
    check_whole_numbers,
    count_by,
    gaussians,
    sum_by,
)
from crystalcodec.representations.base import Representation

__all__ = ["ShellNet"]

_NEEDED = ("numbers", "weights", "shells", "distances", "counts", "volume_per_atom")
# Neighbours whose messages are added up are some tens; divided by this they stay of order one.
_USUAL_COUNT = 6.0


class ShellNet(Predictor):
    """A message-passing network on shell graphs: invariant, periodic, without padding.

    Each shell carries a vector of its own, from its distance at first. In a layer, node i with
    vector v_i and its shells with vectors e_s and inner nodes j give

    - u_s = sigmoid(g_s) silu(h_s), (g_s, h_s) = W_e LN(e_s) + W_i LN(v_i) + W_j LN(v_j);
    - e_s + W u_s, the new vector of the shell;
    - m_i = W sum_s n_s u_s + W log(1 + sum_m A_ilm^2), with A_ilm = sum_s n_s (a · u_s) Y_slm for
      some vectors a and each l: sums over the n_s neighbours of a shell, and what they tell of the
      angles between shells, which needs no list of angles;
    - v_i + MLP(LN(v_i), m_i), the new vector of the node.

    Then the mean over the sites, and dense layers. It takes gates from CGCNN and CartNet, vectors
    of edges that are kept and nodes for symmetric sites from coGN, and sums of harmonics from ACE.
    Because equal sites and equal neighbours are computed once, a layer costs a fraction of one on
    the whole graph, and gives the same. 10.1103/PhysRevLett.120.145301, 10.1039/D4DD00018H,
    10.1039/D4DD00352G, 10.1103/PhysRevB.99.014104.

    Parameters
    ----------
    representation
        Shell graphs; angles are used where they have harmonics (``max_degree`` above 0).
    n_targets
        Values predicted for each crystal.
    width
        Numbers a node carries, and a shell.
    n_layers
        How many layers.
    n_channels
        Numbers of a shell (vectors a) that are summed with its harmonics.
    n_gaussians, shortest, longest
        Distances are expanded in that many Gaussians with centres between these, Å.
    strain
        In training, the distances of each crystal are multiplied by 1 + strain · z, z normal: two
        relaxations of one crystal with different functionals differ by about 1 %.
    dropout
        Fraction of the last hidden values that is set to zero in training.

    Notes
    -----
    ``volume_per_atom`` is not read, so that a strain changes distances alone.
    """

    name: ClassVar[str] = "shellnet"
    unscaled: ClassVar[tuple[str, ...]] = (
        "weights",
        "distances",
        "counts",
        "harmonics",
        "volume_per_atom",
    )
    centres: Tensor

    def __init__(
        self,
        representation: Representation,
        n_targets: int = 1,
        *,
        width: int = 96,
        n_layers: int = 3,
        n_channels: int = 8,
        n_gaussians: int = 48,
        shortest: float = 0.5,
        longest: float = 9.0,
        strain: float = 0.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if reason := self.fits(representation):
            raise ModelError(f"model 'shellnet' does not fit {representation.name!r}: {reason}")
        check_whole_numbers(1, width=width, n_layers=n_layers, n_channels=n_channels)
        check_whole_numbers(2, n_gaussians=n_gaussians)
        check_lengths(shortest=shortest, longest=longest)
        if shortest >= longest:
            raise ModelError(f"shortest {shortest} and longest {longest}: wanted a range, in Å")
        for name, value in (("strain", strain), ("dropout", dropout)):
            if not 0 <= value < 1:
                raise ModelError(f"{name} is {value!r}, wanted a number from 0 to below 1")
        self.strain = strain
        harmonics = representation.shapes().get("harmonics")
        self.degree = math.isqrt(int(harmonics[1]) + 1) - 1 if harmonics else 0
        centres = torch.linspace(shortest, longest, n_gaussians)
        self.register_buffer("centres", centres, persistent=False)
        # Neighbouring Gaussians cross at e^-1/8: each distance is told by some five of them.
        self.spread = math.sqrt(2.0) * (longest - shortest) / (n_gaussians - 1)
        self.elements = nn.Embedding(N_ELEMENTS, width)
        self.expand = nn.Linear(n_gaussians, width)
        self.layers = nn.ModuleList(_Layer(width, n_channels, self.degree) for _ in range(n_layers))
        self.normalise = nn.LayerNorm(width)
        self.head = nn.Sequential(
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Dropout(dropout),
        )
        self.last = FullPrecisionLinear(width, n_targets)

    @classmethod
    def fits(cls, representation: Representation) -> str | None:
        """Shell graphs fit."""
        missing = [name for name in _NEEDED if name not in representation.shapes()]
        return f"it is no shell graph (no {', '.join(missing)})" if missing else None

    def forward(self, arrays: Mapping[str, Tensor]) -> Tensor:
        """(batch, n_targets) of shell graphs; shells count the nodes of their own crystal."""
        n_crystals = len(arrays["volume_per_atom"])
        owner = arrays["nodes_crystals"]
        counts = count_by(owner, n_crystals)
        first = counts.cumsum(0) - counts
        edges = arrays["shells"] + first[arrays["shells_crystals"], None]
        distances = arrays["distances"]
        if self.training and self.strain:
            factors = 1 + self.strain * torch.randn(n_crystals, device=distances.device)
            distances = distances * factors[arrays["shells_crystals"]]
        graph = _Graph(edges[:, 0], edges[:, 1], arrays["counts"], arrays.get("harmonics"))
        nodes = self.elements(arrays["numbers"])
        shells = self.expand(gaussians(distances, self.centres, self.spread))
        for layer in self.layers:
            nodes, shells = layer(nodes, shells, graph)
        shares = arrays["weights"][:, None]
        mean = sum_by(self.normalise(nodes).float() * shares, owner, n_crystals)
        predicted: Tensor = self.last(self.head(mean))
        return predicted


class _Graph:
    """Shells of a batch: centres, neighbours, how many, and in which directions."""

    def __init__(
        self, centres: Tensor, neighbours: Tensor, counts: Tensor, harmonics: Tensor | None
    ) -> None:
        self.centres, self.neighbours, self.harmonics = centres, neighbours, harmonics
        self.amounts = counts[:, None] / _USUAL_COUNT


class _Layer(nn.Module):
    """One round of messages."""

    def __init__(self, width: int, n_channels: int, degree: int) -> None:
        super().__init__()
        self.degree, self.n_channels = degree, n_channels
        self.of_node, self.of_shell = nn.LayerNorm(width), nn.LayerNorm(width)
        # One matrix on the joined vectors, in three blocks: nodes are multiplied before they are
        # copied to their shells.
        self.centre = nn.Linear(width, 2 * width)
        self.neighbour = nn.Linear(width, 2 * width, bias=False)
        self.shell = nn.Linear(width, 2 * width, bias=False)
        self.renew = nn.Linear(width, width)
        self.message = nn.Linear(width, width)
        if degree:
            self.channels = nn.Linear(width, n_channels)
            self.angles = nn.Linear(n_channels * degree, width, bias=False)
        last = nn.Linear(width, width)
        # A layer begins as one that changes no node, whatever their number.
        nn.init.zeros_(last.weight)
        self.update = nn.Sequential(nn.Linear(2 * width, width), nn.SiLU(), last)

    def forward(self, nodes: Tensor, shells: Tensor, graph: _Graph) -> tuple[Tensor, Tensor]:
        """Vectors (nodes, width) and (shells, width) after the layer."""
        of_node = self.of_node(nodes)
        joined = self.shell(self.of_shell(shells))
        joined = joined + self.centre(of_node).index_select(0, graph.centres)
        joined = joined + self.neighbour(of_node).index_select(0, graph.neighbours)
        gate, core = joined.chunk(2, dim=1)
        told = torch.sigmoid(gate) * functional.silu(core)
        shells = shells + self.renew(told)
        message = self.message(sum_by(told.float() * graph.amounts, graph.centres, len(nodes)))
        if graph.harmonics is not None:
            message = message + self.angles(
                self._invariants(told, graph.harmonics, graph, len(nodes))
            )
        return nodes + self.update(torch.cat([of_node, message], dim=1)), shells

    def _invariants(self, told: Tensor, harmonics: Tensor, graph: _Graph, n_nodes: int) -> Tensor:
        """(nodes, degree * channels) log(1 + sum_m A_lm^2)."""
        amounts = self.channels(told).float() * graph.amounts
        products = amounts[:, :, None] * harmonics[:, None, :]
        sums = sum_by(products.flatten(1), graph.centres, n_nodes)
        squares = sums.square().view(n_nodes, self.n_channels, -1)
        of_degrees = [
            squares[:, :, degree**2 - 1 : (degree + 1) ** 2 - 1].sum(2)
            for degree in range(1, self.degree + 1)
        ]
        return torch.log1p(torch.cat(of_degrees, dim=1))
