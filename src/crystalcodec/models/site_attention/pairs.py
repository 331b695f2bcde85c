"""Pairs of sites of periodic crystals, and how far apart all their images are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from crystalcodec.models.site_attention.reading import SiteRows

__all__ = [
    "Images",
    "Neighbourhoods",
    "Pairs",
    "nearest_images",
    "radial_table",
    "site_pairs",
    "splines_within",
]

_MOST_TRANSLATIONS: Final = 1 << 17
"""Of one crystal; a cell that has more within reach is smaller than any atom."""
_CHUNK: Final = 1 << 20  # images looked at together: their vectors stay below 50 MB


@dataclass(frozen=True)
class Pairs:
    """Every two sites of a crystal, once, and each site with itself.

    Parameters
    ----------
    first, second : (n_pairs,)
        Rows of the two sites, first <= second.
    crystals : (n_pairs,)
        The crystal of the batch.
    vectors : (n_pairs, 3)
        From the first to the second, Å, fractional differences wrapped to [-1/2, 1/2].
    """

    first: Tensor
    second: Tensor
    crystals: Tensor
    vectors: Tensor


@dataclass(frozen=True)
class Images:
    """Distances of the images of pairs.

    Parameters
    ----------
    pairs : (n_images,)
        The pair of each, in rising order.
    distances : (n_images,)
        Å, below the radius.
    n_pairs
        Number of pairs, of which some may have no image.
    unsound : (batch,)
        Crystals with numbers that are not finite, a cell that does not close, or one so small
        that its images were not made.
    """

    pairs: Tensor
    distances: Tensor
    n_pairs: int
    unsound: Tensor


@dataclass(frozen=True)
class Neighbourhoods:
    """What sites see of each other.

    Parameters
    ----------
    features, weights : (n_near, n_splines), (n_near,)
        Of :func:`radial_table`, for pairs that see each other.
    directed : (n_directed,)
        The row of features of each pair and direction; a site's pair with itself has one.
    receivers, senders : (n_directed,)
        The sites.
    """

    features: Tensor
    weights: Tensor
    directed: Tensor
    receivers: Tensor
    senders: Tensor

    @classmethod
    def of(cls, pairs: Pairs, features: Tensor, weights: Tensor) -> Neighbourhoods:
        """From all pairs and their table."""
        near = weights.nonzero()[:, 0]
        first, second = pairs.first[near], pairs.second[near]
        two = (first != second).nonzero()[:, 0]
        one = torch.arange(len(near), device=near.device)
        return cls(
            features[near],
            weights[near],
            torch.cat([one, two]),
            torch.cat([first, second[two]]),
            torch.cat([second, first[two]]),
        )


def site_pairs(rows: SiteRows) -> Pairs:
    """All pairs of sites within crystals."""
    n_crystals = len(rows.lattices)
    counts = _counts(rows.crystals, n_crystals)
    starts = counts.cumsum(0) - counts
    most = int(counts.max()) if n_crystals else 0
    one, other = torch.triu_indices(most, most, device=counts.device)
    crystals, which = (other < counts[:, None]).nonzero(as_tuple=True)
    first, second = starts[crystals] + one[which], starts[crystals] + other[which]
    apart = rows.frac_coords[second] - rows.frac_coords[first]
    apart = apart - apart.round()
    return Pairs(first, second, crystals, _times(apart, rows.lattices[crystals]))


def nearest_images(pairs: Pairs, lattices: Tensor, radius: float) -> Images:
    """All images of the second sites of pairs within the radius of the first.

    Which translations of a cell can reach is found from the cell, so that none is missed, however
    skew or flat it is. A site is no image of itself where it stands.

    Parameters
    ----------
    lattices : (batch, 3, 3)
        Cells of the crystals.
    radius
        Å.
    """
    steps, unsound = _steps(lattices, radius)
    lengths = torch.linalg.vector_norm(pairs.vectors, dim=1)
    unsound = unsound.index_put((pairs.crystals[~torch.isfinite(lengths)],), unsound.new_ones(()))
    reach = torch.zeros(len(lattices), device=lattices.device)
    reach = reach.scatter_reduce(0, pairs.crystals, lengths.nan_to_num(0.0), "amax") + radius
    owner, moves, standing = _translations(steps, lattices)
    near = (moves.square().sum(dim=1) <= reach[owner].square() * (1 + 1e-5)).nonzero()[:, 0]
    owner, moves, standing = owner[near], moves[near], standing[near]
    # Each pair is taken with each translation of its crystal.
    counts = _counts(owner, len(lattices))
    starts = (counts.cumsum(0) - counts)[pairs.crystals]
    each = counts[pairs.crystals]
    itself = pairs.first == pairs.second
    found: list[Tensor] = []
    distances: list[Tensor] = []
    for pair in _in_chunks(each):
        number = each[pair]
        which = torch.repeat_interleave(number)
        begin = starts[pair] - (number.cumsum(0) - number)
        move = torch.arange(len(which), device=which.device) + begin[which]
        which = pair[which]
        squares = (pairs.vectors[which] + moves[move]).square().sum(dim=1)
        kept = ((squares < radius**2) & ~(itself[which] & standing[move])).nonzero()[:, 0]
        found.append(which[kept])
        distances.append(squares[kept].sqrt())
    return Images(torch.cat(found), torch.cat(distances), len(pairs.first), unsound)


def _in_chunks(each: Tensor) -> tuple[Tensor, ...]:
    """Positions of pairs, in order, as many at a time as have about _CHUNK translations."""
    total = each.cumsum(0)
    n_chunks = 1 + int(total[-1]) // _CHUNK if len(total) else 1
    ends = torch.arange(1, n_chunks, device=each.device) * _CHUNK
    cuts = torch.searchsorted(total, ends).cpu()
    return torch.arange(len(each), device=each.device).tensor_split(cuts)


def _steps(lattices: Tensor, radius: float) -> tuple[Tensor, Tensor]:
    """(batch, 3) cells to look at on either side along each axis, and crystals given up."""
    a, b, c = lattices.unbind(1)
    normals = torch.stack([_cross(b, c), _cross(c, a), _cross(a, b)], dim=1)
    volumes = (a * normals[:, 0]).sum(dim=1).abs()
    heights = volumes[:, None] / torch.linalg.vector_norm(normals, dim=2)
    # A wrapped difference takes up to half a cell off a translation.
    steps = (radius / heights + 0.5 + 1e-4).floor()
    unsound = ~((2 * steps + 1).prod(dim=1) <= _MOST_TRANSLATIONS)
    return torch.where(unsound[:, None], 0.0, steps).long(), unsound


def _translations(steps: Tensor, lattices: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Crystal and vector, Å, of each translation of the boxes of steps, and whether it is none."""
    sizes = 2 * steps + 1
    counts = sizes.prod(dim=1)
    owner = torch.repeat_interleave(counts)
    place = torch.arange(len(owner), device=owner.device) - (counts.cumsum(0) - counts)[owner]
    _, middle, last = sizes[owner].unbind(1)
    whole = torch.stack(
        [
            torch.div(place, middle * last, rounding_mode="floor"),
            torch.div(place, last, rounding_mode="floor") % middle,
            place % last,
        ],
        dim=1,
    )
    whole = whole - steps[owner]
    return owner, _times(whole.to(lattices.dtype), lattices[owner]), (whole == 0).all(dim=1)


def splines_within(radius: float, spacing: float) -> int:
    """How many cubic B-splines are not zero somewhere from 0 to the radius."""
    return math.ceil(radius / spacing) + 3


def radial_table(images: Images, radius: float, spacing: float) -> tuple[Tensor, Tensor]:
    """How the images of each pair are spread over distances, and how much they count together.

    Each image counts (1 - (d / radius)²)³, which ends smoothly at the radius, shared out among the
    four cubic B-splines, ``spacing`` apart, that are not zero at its distance. They have the shape
    of Gaussians of width 0.58 spacings, sum to 1 everywhere, and cost four numbers a distance.

    Returns
    -------
    shares : (n_pairs, n_splines)
        Rows sum to 1; all zero for pairs that are never within the radius.
    weights : (n_pairs,)
        Sums of what the images count.
    """
    n_splines, n_pairs = splines_within(radius, spacing), images.n_pairs
    counts = (1 - (images.distances / radius).square()).pow(3)
    places = images.distances / spacing
    # The root of a square below the radius's may be rounded up to the radius, where no spline
    # begins any more.
    before = places.floor().clamp(max=n_splines - 4)
    u = places - before
    v = 1 - u
    splines = torch.stack(
        [v**3 / 6, 2 / 3 - u.square() * (1 - u / 2), 2 / 3 - v.square() * (1 - v / 2), u**3 / 6],
        dim=1,
    )
    table = torch.zeros(n_pairs * n_splines, device=counts.device)
    first = images.pairs * n_splines + before.long()
    offsets = torch.arange(4, device=first.device)
    parts = (splines * counts[:, None]).flatten()
    table = table.index_add(0, (first[:, None] + offsets).flatten(), parts)
    table = table.reshape(n_pairs, n_splines)
    weights = table.sum(dim=1)
    return table / weights.clamp(min=torch.finfo(table.dtype).tiny)[:, None], weights


def _times(rows: Tensor, matrices: Tensor) -> Tensor:
    """(n, 3) rows times a matrix each; sums, which autocast leaves in full precision."""
    x, y, z = rows.unsqueeze(2).unbind(1)
    a, b, c = matrices.unbind(1)
    return x * a + y * b + z * c


def _cross(one: Tensor, other: Tensor) -> Tensor:
    crossed: Tensor = torch.linalg.cross(one, other, dim=1)
    return crossed


def _counts(owner: Tensor, n: int) -> Tensor:
    counts = torch.zeros(n, dtype=torch.long, device=owner.device)
    return counts.index_add(0, owner, torch.ones_like(owner))
