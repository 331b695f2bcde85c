"""SiteAttention: the site rows of an image attend to each other through the periodic cell."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from crystalcodec.models.base import FullPrecisionLinear, ModelError, Predictor
from crystalcodec.models.site_attention.pairs import (
    Neighbourhoods,
    nearest_images,
    radial_table,
    site_pairs,
    splines_within,
)
from crystalcodec.models.site_attention.reading import reader_of
from crystalcodec.representations.base import Representation

__all__ = ["SiteAttention"]

# Weights of the pairs of a site sum to about this in a crystal of this density (Å-3), so that
# at first what others tell is as large as what a token holds: much smaller, and learning is slow.
_USUAL_WEIGHT: Final = 6.0
_USUAL_DENSITY: Final = 0.05
_ELEMENTS: Final = 119


class SiteAttention(Predictor):
    """Gated attention between the site rows of an image, which the network reads by their names.

    Elements, coordinates and cell are read back from the image, as decoding does; a row that is
    not empty is a token, at first a learned vector of its element. Every two tokens of a crystal
    see each other by the distances of all their periodic images within ``radius``, which are
    found from coordinates and cell. Each image counts (1 - (d / radius)²)³. The sum of the counts
    of a pair is its weight w; the counts, spread over cubic B-splines and divided by w, are its
    features e. A layer adds to each token h, after a layer norm, a linear map of

        sum over j of w_ij sigmoid(A h_i + B h_j + C e_ij) silu(A' h_i + B' h_j + C' e_ij)

    and then what two dense layers make of the token itself. The gate is a sigmoid for each
    channel, not a softmax over the rows: how many neighbours there are is to count. At the end
    the mean over the tokens, after a dense layer, goes to the targets through one linear layer.

    The prediction is the same, to rounding, for any order of the sites, any origin, any
    orientation, the mirror image and any primitive or other cell of the same volume. It is not
    the same for a supercell: images of one site become different sites, and the gate sees them
    apart. Distances are all that it sees: crystals whose sites have the same distances are one.

    What an image says of a crystal whose cell closes no volume, or is so small that more than
    131,072 cells have a part in it, or that has no site, gives NaN.

    Gates: Xie and Grossman, 10.1103/PhysRevLett.120.145301. Attention that sums over all periodic
    images: Taniai et al., arXiv 2403.11686.

    Parameters
    ----------
    representation
        IRCR, FTCP, CrysTens or UniMat, in their units.
    n_targets
        Values predicted for each crystal.
    width
        Numbers a token carries.
    messages
        Numbers a pair tells in each layer.
    layers
        How many layers.
    radius
        How far tokens see, Å.
    spacing
        Between the B-splines, Å.
    """

    name: ClassVar[str] = "site_attention"
    unscaled: ClassVar[tuple[str, ...]] = ("ircr", "ftcp", "crystens", "unimat", "cell_parameters")

    def __init__(
        self,
        representation: Representation,
        n_targets: int = 1,
        *,
        width: int = 128,
        messages: int = 64,
        layers: int = 3,
        radius: float = 5.0,
        spacing: float = 0.2,
    ) -> None:
        super().__init__()
        reader, reason = reader_of(representation)
        if reader is None:
            raise ModelError(f"model {self.name!r} does not fit {representation.name!r}: {reason}")
        for name, value in (("width", width), ("messages", messages), ("layers", layers)):
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ModelError(f"{name} is {value!r}, wanted a whole number of at least 1")
        if not 0 < spacing <= radius:
            raise ModelError(
                f"spacing {spacing} and radius {radius}: wanted 0 < spacing <= radius, in Å"
            )
        self.reader = reader
        self.radius, self.spacing = float(radius), float(spacing)
        # The sum of the counts of a uniform crystal: density times their integral over space.
        counted = _USUAL_DENSITY * 64 * math.pi / 315 * radius**3
        self.weight_unit = counted / _USUAL_WEIGHT
        self.elements = nn.Embedding(_ELEMENTS, width)
        nn.init.normal_(self.elements.weight, std=0.3)
        n_splines = splines_within(radius, spacing)
        self.layers = nn.ModuleList(_Layer(width, messages, n_splines) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.dense = nn.Linear(width, width)
        self.last = FullPrecisionLinear(width, n_targets)

    @classmethod
    def fits(cls, representation: Representation) -> str | None:
        """Images fit whose fields tell elements, coordinates and cell of the sites."""
        reader, reason = reader_of(representation)
        return reason if reader is None else None

    def forward(self, arrays: Mapping[str, Tensor]) -> Tensor:
        """(batch, n_targets) of images; NaN for what is no crystal."""
        device = next(iter(arrays.values())).device
        # bfloat16 has three digits: distances need more.
        with torch.autocast(device.type, enabled=False):
            rows = self.reader(arrays)
            pairs = site_pairs(rows)
            images = nearest_images(pairs, rows.lattices, self.radius)
            near = Neighbourhoods.of(pairs, *radial_table(images, self.radius, self.spacing))
        weights = near.weights / self.weight_unit
        sites = self.elements(rows.numbers)
        for layer in self.layers:
            sites = layer(sites, near, weights)
        sites = functional.silu(self.dense(self.norm(sites))).float()
        zeros = torch.zeros(len(rows.lattices), sites.shape[1] + 1, device=device)
        ones = torch.ones(len(sites), 1, device=device)
        # The last column counts the sites; a crystal of none has no mean.
        summed = zeros.index_add(0, rows.crystals, torch.cat([sites, ones], dim=1))
        mean = summed[:, :-1] / summed[:, -1:]
        predicted: Tensor = self.last(mean)
        return torch.where(images.unsound[:, None], torch.nan, predicted)


class _Layer(nn.Module):
    """One round of gated attention, and two dense layers on each token."""

    def __init__(self, width: int, messages: int, n_splines: int) -> None:
        super().__init__()
        self.before = nn.LayerNorm(width)
        # One matrix on receiver, sender and pair joined, cut into its blocks: the first two are
        # applied before sites are copied to their pairs, the third to both directions at once.
        self.receiver = nn.Linear(width, 2 * messages)
        self.sender = nn.Linear(width, 2 * messages, bias=False)
        self.pair = nn.Linear(n_splines, 2 * messages, bias=False)
        # Shares sum to 1: torch's own start, made for numbers of size 1, would hide the distances.
        nn.init.normal_(self.pair.weight, std=0.5)
        self.told = nn.Linear(messages, width)
        self.own = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width)
        )

    def forward(self, sites: Tensor, near: Neighbourhoods, weights: Tensor) -> Tensor:
        """(n_sites, width), with what the others tell and what follows from it added."""
        seen = self.before(sites)
        joined = self.pair(near.features).index_select(0, near.directed)
        joined += self.receiver(seen).index_select(0, near.receivers)
        joined += self.sender(seen).index_select(0, near.senders)
        gate, core = joined.chunk(2, dim=1)
        messages = torch.sigmoid(gate) * functional.silu(core)
        messages = messages.float() * weights.index_select(0, near.directed)[:, None]
        # Sums over many pairs in float32: bfloat16 would drop the small ones.
        zeros = torch.zeros(len(sites), messages.shape[1], device=sites.device)
        sites = sites + self.told(zeros.index_add(0, near.receivers, messages))
        added: Tensor = sites + self.own(sites)
        return added
