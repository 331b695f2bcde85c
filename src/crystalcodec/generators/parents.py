"""Training crystals that a latent generator starts from when it samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from crystalcodec.generators.conditions import Conditions, Wanted
from crystalcodec.models.base import ModelError

__all__ = ["SOURCES", "Parents", "draw_codes", "misses"]

SOURCES = ("parents", "gaussian")


class Parents(nn.Module):
    """Rows of some training crystals, kept with the weights, so that a run can sample alone.

    Codes depend on the weights, which change in training; rows do not, and are encoded when
    codes are wanted.

    Parameters
    ----------
    n
        How many; where there are fewer training crystals some are there twice.
    shapes
        By name, the shape of a crystal's row.
    """

    def __init__(self, n: int, shapes: Mapping[str, tuple[int, ...]]) -> None:
        super().__init__()
        if not isinstance(n, int) or isinstance(n, bool) or n < 2:
            raise ModelError(f"n_parents is {n!r}, wanted a whole number of at least 2")
        self.n, self.names = n, tuple(shapes)
        for name, shape in shapes.items():
            self.register_buffer(name, torch.zeros(n, *shape))

    def keep(self, rows: Mapping[str, Tensor]) -> None:
        """Keep the first n of rows that are in a random order, by name (m, ...)."""
        for name in self.names:
            given = rows[name]
            place = torch.arange(self.n, device=given.device) % len(given)
            getattr(self, name).copy_(given[place])

    def rows(self, index: Tensor | None = None) -> dict[str, Tensor]:
        """All rows, or those at positions."""
        found = {name: getattr(self, name) for name in self.names}
        return found if index is None else {name: row[index] for name, row in found.items()}


def draw_codes(
    n: int,
    parents: Parents,
    encode: Callable[[Mapping[str, Tensor]], Tensor],
    miss: Callable[[Tensor], Tensor] | None,
    random: torch.Generator,
    *,
    scale: float,
    source: str,
    nearest: float = 0.05,
) -> Tensor:
    """(n, size) codes to decode: near those of parents, or of the normal distribution of them.

    Parameters
    ----------
    encode
        Rows of parents to (m, size) codes.
    miss
        How far what is predicted of codes is from what is wanted, (m,); None where anything is.
        Of parents the ``nearest`` share, at least eight, is then drawn from. Of the normal
        distribution eight times as many codes are drawn, and the nearest kept.
    scale
        Standard deviation of the normal noise that is added to parents' codes, in units of the
        code.
    source
        ``parents`` or ``gaussian``.
    """
    if source not in SOURCES:
        raise ModelError(f"source is {source!r}, wanted one of {', '.join(SOURCES)}")
    if not scale >= 0:
        raise ModelError(f"scale is {scale}, wanted 0 or more")
    if source == "parents" and miss is None:
        chosen = torch.randint(parents.n, (n,), generator=random)
        codes = encode(parents.rows(chosen.to(_device(parents))))
    elif source == "parents":
        assert miss is not None
        every = encode(parents.rows())
        best = miss(every).argsort()[: max(8, round(nearest * parents.n))]
        codes = every[best[torch.randint(len(best), (n,), generator=random).to(best.device)]]
    else:
        return _of_normal(n, encode(parents.rows()), miss, random)
    return codes + scale * torch.randn(codes.shape, generator=random).to(codes.device)


def misses(
    wanted: Wanted, conditions: Conditions, predict: Callable[[Tensor], Mapping[str, Tensor]]
) -> Callable[[Tensor], Tensor] | None:
    """How far what is predicted of codes is from the values that are wanted, if any are.

    (m,) sums of squares, in standard deviations of the training data.
    """
    if not wanted.values:
        return None
    scales = {entry.name: entry.deviation for entry in conditions.entries}

    def miss(codes: Tensor) -> Tensor:
        found = predict(codes)
        parts = [((found[k] - v) / scales[k]).square() for k, v in wanted.values.items()]
        return torch.stack(parts).sum(0)

    return miss


def _of_normal(
    n: int, codes: Tensor, miss: Callable[[Tensor], Tensor] | None, random: torch.Generator
) -> Tensor:
    """Codes of the normal distribution with the mean and the covariance of codes."""
    mean = codes.mean(0)
    # A singular covariance is fine: these are the directions times their spreads.
    _, spreads, directions = torch.linalg.svd(codes - mean, full_matrices=False)
    tries = n if miss is None else 8 * n
    drawn = torch.randn(tries, len(spreads), generator=random).to(codes.device)
    made: Tensor = mean + (drawn * spreads / max(1, len(codes) - 1) ** 0.5) @ directions
    return made if miss is None else made[miss(made).argsort()[:n]]


def _device(module: nn.Module) -> torch.device:
    found: Tensor = next(module.buffers())
    return found.device
