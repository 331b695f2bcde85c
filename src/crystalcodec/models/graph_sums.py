"""What networks on crystal graphs share: edges counted through a batch, sums and means over them.

Rows that belong together (edges of a site, sites of a crystal) are summed with ``index_add``,
without padding and without compiled extras.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from crystalcodec.models.base import ModelError
from crystalcodec.representations.base import Representation

__all__ = [
    "N_ELEMENTS",
    "check_lengths",
    "check_whole_numbers",
    "count_by",
    "gaussians",
    "graph_misfit",
    "joined_edges",
    "mean_by",
    "shifted_softplus",
    "site_start",
    "sum_by",
]

_NEEDED = ("numbers", "edges", "distances", "lattice")
N_ELEMENTS = 119
"""Rows of a table of elements, so that an atomic number is its row."""


def graph_misfit(representation: Representation) -> str | None:
    """Why a network on graphs cannot work on that representation; None where it can."""
    there = representation.shapes()
    missing = [name for name in _NEEDED if name not in there]
    if missing or there["edges"][0] != "edges":
        return f"it is no crystal graph (no {', '.join(missing) or 'ragged edges'})"
    return None


def site_start(representation: Representation, width: int) -> tuple[nn.Module, str]:
    """The layer that gives a site its first ``width`` numbers, and the array that it reads.

    A linear layer on ``node_features`` where the representation has them, a learned vector for
    each element otherwise.
    """
    features = representation.shapes().get("node_features")
    if features is None:
        return nn.Embedding(N_ELEMENTS, width), "numbers"
    return nn.Linear(int(features[1]), width), "node_features"


def count_by(owner: Tensor, n: int) -> Tensor:
    """(n,) how many rows each owner has."""
    counts = torch.zeros(n, dtype=torch.long, device=owner.device)
    return counts.index_add(0, owner, torch.ones_like(owner))


def sum_by(rows: Tensor, owner: Tensor, n: int) -> Tensor:
    """(n, width) sums of the rows (m, width) of each owner, zero where it has none.

    In float32 whatever the rows are in: bfloat16 would drop the small ones among many.
    """
    zeros = torch.zeros(n, rows.shape[1], device=rows.device)
    return zeros.index_add(0, owner, rows.float())


def mean_by(rows: Tensor, owner: Tensor, n: int) -> Tensor:
    """(n, width) means of the rows (m, width) of each owner, zero where it has none."""
    return sum_by(rows, owner, n) / count_by(owner, n).clamp(min=1)[:, None]


def joined_edges(arrays: Mapping[str, Tensor]) -> Tensor:
    """(edges, 2) centre and neighbour, counted through the sites of the batch.

    The arrays hold edges that count the sites of their own crystal.
    """
    counts = count_by(arrays["sites_crystals"], len(arrays["lattice"]))
    first = counts.cumsum(0) - counts
    return arrays["edges"] + first[arrays["edges_crystals"], None]


def gaussians(distances: Tensor, centres: Tensor, width: float) -> Tensor:
    """(edges, centres) exp(-((d - centre) / width)^2), all in Å."""
    apart = (distances[:, None] - centres) / width
    # Beyond e^-60 nothing is told, and numbers too small for float32 make products crawl.
    return torch.exp(-apart.square().clamp(max=60.0))


def shifted_softplus(x: Tensor) -> Tensor:
    """ln((e^x + 1) / 2): a softplus that is 0 at 0."""
    return functional.softplus(x) - math.log(2.0)


def check_whole_numbers(least: int, **values: object) -> None:
    """Raise ModelError where a parameter is no whole number of at least ``least``."""
    for name, value in values.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ModelError(f"{name} is {value!r}, wanted a whole number of at least {least}")


def check_lengths(unit: str = "Å", **values: object) -> None:
    """Raise ModelError where a parameter is no finite number above 0."""
    for name, value in values.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not (number and 0 < float(value) < math.inf):  # type: ignore[arg-type]
            raise ModelError(f"{name} is {value!r}, wanted a number above 0, in {unit}")
