"""Arrays of a representation as numbers that can be noised, and the way back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor, nn

from crystalcodec.generators.diffusion.layout import Layout
from crystalcodec.models.base import ModelError
from crystalcodec.representations.base import Field, Representation

__all__ = ["ArrayScaling"]

_BITS: Final = 7  # of a whole number: elements go to 118
_POINT: Final = 1 / math.sqrt(2)  # deviation of the coordinates of a point of the unit circle
_ROUNDING: Final = 1e-6  # of float32, relative: what varies less does not vary


class ArrayScaling(nn.Module):
    """Arrays to a picture (n, channels, *size) and a row (n, m), both about 0 with deviation 1.

    Read from the fields of the representation: a continuous field is standardised, in a table
    (one axis) each of its rows, in pictures and volumes each of its channels; beside the picture
    each number alone. Of a categorical field 0 and 1 become -1 and 1. A whole number becomes
    seven bits, -1 or 1. A periodic field is standardised as one, or (``embed``) a number x
    becomes cos 2πx and sin 2πx, the sines in further channels.

    Entries that are the same in all training arrays are 0 in the picture, :attr:`varies` says
    which are not, and come back as they were, exactly.

    Parameters
    ----------
    embed
        See above.
    """

    offset: Tensor
    width: Tensor
    varies: Tensor
    row_offset: Tensor
    row_width: Tensor
    row_varies: Tensor
    circle: Tensor
    bits: Tensor
    groups: Tensor

    def __init__(self, representation: Representation, layout: Layout, embed: bool) -> None:
        super().__init__()
        self.layout = layout
        fields = representation.fields
        self.whole = {f.array for f in fields if f.kind == "index" and f.array in layout.letters}
        kinds, groups = _labels(fields, layout)
        kind = self._channels_first(kinds)
        circle = (kind == _KINDS["periodic"]) & embed
        if embed and not circle.any():
            raise ModelError(
                f"periodic is 'embed', but {representation.name!r} has no periodic field in its "
                "picture: wanted 'plain'"
            )
        # Channels that need another one for the sines.
        self.sines = circle.flatten(1).any(1).nonzero()[:, 0].tolist()
        self.n_channels = len(kind) + len(self.sines)
        self.n_row = sum(math.prod(layout.shapes[name]) for name in layout.beside)
        whole = (self.n_channels, *layout.size)
        for name, value in (
            ("offset", torch.zeros(whole)),
            ("width", torch.ones(whole)),
            ("varies", torch.ones(whole, dtype=torch.bool)),
            ("row_offset", torch.zeros(self.n_row)),
            ("row_width", torch.ones(self.n_row)),
            ("row_varies", torch.ones(self.n_row, dtype=torch.bool)),
        ):
            self.register_buffer(name, value)
        # What follows from the representation is not kept with the weights.
        self.register_buffer("circle", circle, persistent=False)
        bits = (kind == _KINDS["categorical"]) | (kind == _KINDS["index"])
        self.register_buffer("bits", bits, persistent=False)
        self.register_buffer("groups", self._channels_first(groups), persistent=False)
        # By array: whether an entry varies, and what it is where it does not.
        for i, shape in enumerate(layout.shapes.values()):
            self.register_buffer(f"free_{i}", torch.ones(shape, dtype=torch.bool))
            self.register_buffer(f"fixed_{i}", torch.zeros(shape))

    def fit(self, arrays: Mapping[str, Tensor]) -> None:
        """Find offsets, widths and what does not vary.

        Raises
        ------
        ModelError
            No arrays, numbers that are not finite, or none that varies.
        """
        for i, name in enumerate(self.layout.shapes):
            array = arrays[name]
            if not len(array) or not bool(array.isfinite().all()):
                raise ModelError(f"array {name!r}: wanted finite numbers of at least one crystal")
            low, high = array.amin(0).float(), array.amax(0).float()
            size = torch.maximum(low.abs(), high.abs())
            getattr(self, f"free_{i}").copy_(high - low > _ROUNDING * size)
            getattr(self, f"fixed_{i}").copy_(low)
        free = {n: getattr(self, f"free_{i}")[None] for i, n in enumerate(self.layout.shapes)}
        picture = self._channels_first(free)
        self.varies.copy_(torch.cat([picture, (picture & self.circle)[self.sines]]))
        self.row_varies.copy_(self._row(free)[0] if self.n_row else self.row_varies)
        if not (self.varies.any() or self.row_varies.any()):
            raise ModelError("all training crystals have the same arrays: nothing to learn")
        self._fit_picture(arrays)
        if self.n_row:
            row = self._row(arrays).double()
            self.row_offset.copy_(row.mean(0))
            self.row_width.copy_(torch.where(self.row_varies, row.std(0, correction=0), 1.0))

    def _fit_picture(self, arrays: Mapping[str, Tensor]) -> None:
        """Mean and deviation of each group of entries, those that do not vary left out."""
        raw = self._raw(arrays)[:, : len(self.groups)]
        mean = raw.mean(0, dtype=torch.float64).flatten()
        # Chunk by chunk: a square of everything in double precision may not fit into memory.
        square = torch.zeros_like(mean)
        for part in torch.split(raw, 256):
            square += (part.flatten(1).double() - mean).square().sum(0)
        square = square / len(raw) + mean.square()
        counted = (self.varies[: len(self.groups)] & ~self.circle & ~self.bits).flatten()
        group, n = self.groups.flatten()[counted], int(self.groups.max()) + 1
        sums = torch.zeros(3, n, dtype=torch.float64)
        for total, part in zip(sums, (mean, square, torch.ones_like(mean)), strict=True):
            total.index_add_(0, group.cpu(), part[counted].cpu())
        means, squares = sums[:2] / sums[2].clamp(min=1)
        widths = (squares - means.square()).clamp(min=0).sqrt()
        # Rounding of numbers that are nearly the same is no spread.
        widths = torch.where(widths > _ROUNDING * means.abs(), widths, 1.0)
        means, widths = means[self.groups.cpu()], widths[self.groups.cpu()]
        means = torch.where(self.bits.cpu(), 0.5, torch.where(self.circle.cpu(), 0.0, means))
        widths = torch.where(self.bits.cpu(), 0.5, torch.where(self.circle.cpu(), _POINT, widths))
        sines = torch.zeros(len(self.sines), *self.layout.size)
        self.offset.copy_(torch.cat([means, sines]))
        self.width.copy_(torch.cat([widths, sines + _POINT]))

    def forward(self, arrays: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Picture (n, channels, *size) and row (n, m) of arrays."""
        picture = (self._raw(arrays) - self.offset) / self.width * self.varies
        if not self.n_row:
            return picture, picture.new_zeros(len(picture), 0)
        row = (self._row(arrays) - self.row_offset) / self.row_width * self.row_varies
        return picture, row

    def arrays(self, picture: Tensor, row: Tensor) -> dict[str, Tensor]:
        """The arrays again; with slopes, save where whole numbers are read from bits."""
        raw = picture * self.width + self.offset
        n = len(self.groups)
        base, sines = raw[:, :n], raw[:, n:]
        if self.sines:
            points = base[:, self.sines]
            turns = torch.atan2(sines, points) / (2 * math.pi)
            turns = turns - turns.detach().floor()
            # Just below 0 plus 1 rounds to 1, which is 0.
            turns = torch.where(turns < 1, turns, torch.zeros_like(turns))
            base = base.index_copy(
                1,
                torch.tensor(self.sines, device=base.device),
                torch.where(self.circle[self.sines], turns, points),
            )
        row = row * self.row_width + self.row_offset
        made, channel, number = {}, 0, 0
        for i, (name, shape) in enumerate(self.layout.shapes.items()):
            if name in self.layout.letters:
                count = self.layout.channels(name) * (_BITS if name in self.whole else 1)
                part = base[:, channel : channel + count]
                array = self.layout.back(name, _from_bits(part) if name in self.whole else part)
                channel += count
            else:
                count = math.prod(shape)
                array = row[:, number : number + count].reshape(-1, *shape)
                number += count
            free, fixed = getattr(self, f"free_{i}"), getattr(self, f"fixed_{i}")
            made[name] = torch.where(free, array, fixed)
        return made

    def _raw(self, arrays: Mapping[str, Tensor]) -> Tensor:
        """(n, channels, *size) before scaling."""
        parts = []
        for name in self.layout.letters:
            first = self.layout.first(name, arrays[name])
            parts.append(_bits(first) if name in self.whole else first.float())
        base = torch.cat(parts, dim=1)
        if not self.sines:
            return base
        angles = 2 * math.pi * base
        cosines = torch.where(self.circle, angles.cos(), base)
        return torch.cat([cosines, (angles.sin() * self.circle)[:, self.sines]], dim=1)

    def _row(self, arrays: Mapping[str, Tensor]) -> Tensor:
        """(n, m) the numbers beside the picture."""
        return torch.cat([arrays[name].flatten(1) for name in self.layout.beside], dim=1)

    def _channels_first(self, arrays: Mapping[str, Tensor]) -> Tensor:
        """(channels, *size) of one array each, with the channels of bits."""
        parts = []
        for name in self.layout.letters:
            part = self.layout.first(name, arrays[name])
            parts.append(part.repeat_interleave(_BITS, dim=1) if name in self.whole else part)
        return torch.cat(parts, dim=1)[0]


_KINDS: Final = {"continuous": 0, "periodic": 1, "categorical": 2, "index": 3}


def _labels(
    fields: tuple[Field, ...], layout: Layout
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Of each array's entries, (1, ...), the kind, and which share an offset and a width."""
    kinds: dict[str, Any] = {}
    groups: dict[str, Any] = {}
    for order, (name, shape) in enumerate(layout.shapes.items()):
        kind, group = torch.zeros(1, *shape, dtype=torch.long), torch.zeros(1, *shape).long()
        # Rows of a table are quantities of their own; in pictures channels are.
        letters = layout.letters.get(name, "")
        axis = letters.find("h" if layout.axes == "h" else "c")
        places = torch.zeros(1, dtype=torch.long)
        if axis >= 0:
            places = torch.arange(shape[axis]).reshape(-1, *[1] * (len(shape) - axis - 1))
        most = max(1, *shape)
        for number, field in enumerate(fields, 1):
            if field.array != name:
                continue
            where = (slice(None), *field.where)
            kind[where] = _KINDS[field.kind]
            own = (order * (len(fields) + 1) + number) * most
            own_places = places if field.kind == "continuous" else torch.zeros_like(places)
            group[where] = (own + own_places.expand(shape)[field.where])[None]
        kinds[name], groups[name] = kind, group
    # Numbers without gaps; what no field tells of is a group, too.
    found = torch.unique(torch.cat([group.flatten() for group in groups.values()]))
    return kinds, {name: torch.searchsorted(found, group) for name, group in groups.items()}


def _bits(whole: Tensor) -> Tensor:
    """(n, 7 channels, ...) of whole numbers (n, channels, ...), 0 and 1, the lowest bit first."""
    shifts = torch.arange(_BITS, device=whole.device).reshape(-1, *[1] * (whole.ndim - 2))
    return ((whole.long()[:, :, None] >> shifts) & 1).flatten(1, 2).float()


def _from_bits(bits: Tensor) -> Tensor:
    """(n, channels, ...) whole numbers of :func:`_bits`, each bit the nearer of 0 and 1."""
    split = bits.reshape(len(bits), -1, _BITS, *bits.shape[2:]) > 0.5
    weights = 2 ** torch.arange(_BITS, device=bits.device).reshape(-1, *[1] * (bits.ndim - 2))
    whole: Tensor = (split * weights).sum(2).to(bits.dtype)
    return whole
