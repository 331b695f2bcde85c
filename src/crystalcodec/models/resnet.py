"""Residual convolutional networks on arrays of one, two and three dimensions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from crystalcodec.models.base import ModelError, Predictor, dense_head, fixed_arrays
from crystalcodec.representations.base import Representation

__all__ = ["ResNet1d", "ResNet2d", "ResNet3d"]

_LETTERS: Final = {1: "h", 2: "hw", 3: "dhw"}
_NAMES: Final = {1: "height", 2: "height, width", 3: "depth, height, width"}
_CONVOLUTIONS: Final = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_NORMS: Final = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_POOLS: Final = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}
_ELEMENTS: Final = 119
_SPECIES: Final = 8  # channels that stand for an index
_SMALLEST: Final = 4

# Grids whose axes run through the unit cell, so that the last point is the first one's neighbour.
_PERIODIC: Final = {"density_cell": "dhw"}


class _ResNet(Predictor):
    """A stem, stages of pre-activation blocks, the mean over all places, dense layers.

    A block adds to its input what norm, ReLU, convolution, norm, ReLU, convolution make of it: He
    et al., 10.1007/978-3-319-46493-0_38. Between stages neighbouring places are averaged two by
    two along each axis, and the width doubles. The norm is BatchNorm, which in evaluation takes
    the statistics of training: a prediction does not depend on the batch. Arrays without the
    axes of a picture (such as cell parameters) join the mean, before the dense layers.

    A mean over places forgets where things stood. Along axes that are not periodic each place
    therefore has a learned vector, added after the stem.

    Along periodic axes convolutions go round. A shift of the array along such an axis by a
    multiple of the total stride, :attr:`stride`, then leaves the prediction as it is, to rounding,
    where the size of the axis is a multiple of the stride, too. Other shifts change it, a little:
    averaging does not commute with them.

    Parameters
    ----------
    representation
        Any with arrays of the right number of axes. Which axis holds the channels its ``layouts``
        say; where they say nothing it is the last, if there is one more than wanted. Several
        such arrays of one size are joined as channels; indices (atomic numbers) become learned
        vectors first.
    n_targets
        Values predicted for each crystal.
    width
        Channels of the first stage.
    blocks
        Number of blocks in each stage.
    kernel
        Size of the convolutions, odd.
    stem_stride
        Places averaged to one, along each axis, before the first stage.
    stem_places
        Takes the place of ``stem_stride``: the first convolution itself takes steps, so large that
        at most that many places are left along the longest axis, and is wide enough to leave
        none out. Nothing is then computed at every place, which on large grids is most of the
        time.
    periodic
        Letters of the axes that go round, among ``"h"``, ``"hw"``, ``"dhw"``; None: those that
        run through a unit cell (all three of ``density_cell``, none of others).
    places
        Whether places along other axes have learned vectors.
    hidden
        Sizes of the dense hidden layers.
    dropout
        Fraction of dense hidden values set to zero in training.
    """

    dims: ClassVar[int]

    def __init__(
        self,
        representation: Representation,
        n_targets: int,
        *,
        width: int,
        blocks: Sequence[int],
        kernel: int,
        stem_stride: int,
        stem_places: int | None,
        periodic: str | None,
        places: bool,
        hidden: Sequence[int],
        dropout: float,
    ) -> None:
        super().__init__()
        if reason := self.fits(representation):
            raise ModelError(f"model {self.name!r} does not fit {representation.name!r}: {reason}")
        whole = {"width": width, "kernel": kernel, "stem_stride": stem_stride}
        if stem_places is not None:
            whole["stem_places"] = stem_places
        self._check(whole, blocks, periodic)
        pictures, rest, _ = _sort_arrays(representation, self.dims)
        self.channel_axes = {name: axis for name, (axis, _, _) in pictures.items()}
        self.joined = tuple(rest)
        indices = {f.array for f in representation.fields if f.kind == "index"}
        self.indices = tuple(name for name in pictures if name in indices)
        self.species = nn.Embedding(_ELEMENTS, _SPECIES) if self.indices else None
        channels = sum(n * (_SPECIES if k in indices else 1) for k, (_, n, _) in pictures.items())
        size = next(size for _, _, size in pictures.values())

        letters = _LETTERS[self.dims]
        if periodic is None:
            periodic = _PERIODIC.get(representation.name, "") if self.dims == 3 else ""
        around = tuple(letter in periodic for letter in letters)
        if stem_places is None:
            self.stem, self.averaged = _Convolution(channels, width, kernel, around), stem_stride
        else:
            stem_stride = math.ceil(max(size) / stem_places)
            wide = max(kernel, stem_stride)
            self.stem, self.averaged = _Convolution(channels, width, wide, around, stem_stride), 1
        self.stem_stride = stem_stride
        self.places = nn.ParameterList(
            nn.Parameter(0.1 * torch.randn(width, *_only(axis, math.ceil(n / stem_stride), size)))
            for axis, n in enumerate(size)
            if places and not around[axis]
        )
        widths = [width * 2**i for i in range(len(blocks))]
        self.stages = nn.ModuleList(
            nn.Sequential(*(_Block(size, kernel, around) for _ in range(count)))
            for size, count in zip(widths, blocks, strict=True)
        )
        self.wider = nn.ModuleList(
            _Convolution(one, other, 1, around) for one, other in itertools.pairwise(widths)
        )
        self.norm = _NORMS[self.dims](widths[-1])
        self.head = dense_head(widths[-1] + sum(rest.values()), hidden, n_targets, dropout)

    @property
    def stride(self) -> int:
        """Places of the array along an axis for each place of the last stage."""
        return int(self.stem_stride * 2 ** (len(self.stages) - 1))

    @classmethod
    def fits(cls, representation: Representation) -> str | None:
        """Representations with an array of that many axes, channels not counted, fit."""
        return _sort_arrays(representation, cls.dims)[2]

    def _check(self, whole: Mapping[str, int], blocks: Sequence[int], periodic: str | None) -> None:
        for name, value in whole.items():
            if not _whole(value):
                raise ModelError(f"{name} is {value!r}, wanted a whole number of at least 1")
        if whole["kernel"] % 2 == 0:
            raise ModelError(f"kernel is {whole['kernel']}, wanted an odd number: it has a middle")
        if isinstance(blocks, str) or not blocks or not all(map(_whole, blocks)):
            raise ModelError(f"blocks is {blocks!r}, wanted a whole number above 0 for each stage")
        letters = _LETTERS[self.dims]
        if periodic is not None and (not isinstance(periodic, str) or set(periodic) - set(letters)):
            raise ModelError(f"periodic is {periodic!r}, wanted letters among {letters!r}, or ''")

    def forward(self, arrays: Mapping[str, Tensor]) -> Tensor:
        """(batch, n_targets)."""
        pooled = self.pooled(arrays)
        values: Tensor = self.head(
            torch.cat([pooled, *(arrays[name].flatten(1) for name in self.joined)], dim=1)
        )
        return values

    def pooled(self, arrays: Mapping[str, Tensor]) -> Tensor:
        """(batch, channels) the mean of the last stage over all places."""
        x = torch.cat([self._channels_first(arrays, name) for name in self.channel_axes], dim=1)
        x = self._average(functional.relu(self.stem(x)), self.averaged)
        for vectors in self.places:
            x = x + vectors
        for i, stage in enumerate(self.stages):
            x = stage(self.wider[i - 1](self._average(x, 2)) if i else x)
        # Sums over many places in float32.
        mean: Tensor = functional.relu(self.norm(x)).float().flatten(2).mean(dim=2)
        return mean

    def _average(self, x: Tensor, n: int) -> Tensor:
        # Where the size is no multiple the last window is smaller, and averaged over what it has.
        if n == 1:
            return x
        averaged: Tensor = _POOLS[self.dims](x, n, ceil_mode=True, count_include_pad=False)
        return averaged

    def _channels_first(self, arrays: Mapping[str, Tensor], name: str) -> Tensor:
        axis, array = self.channel_axes[name], arrays[name]
        if name in self.indices and self.species is not None:
            vectors: Tensor = self.species(array.long())
            if axis is not None:
                vectors = vectors.movedim(axis, -2).flatten(-2)
            return vectors.movedim(-1, 1)
        return array[:, None] if axis is None else array.movedim(axis, 1)


class ResNet1d(_ResNet):
    """A residual convolutional network on arrays of one axis: rows of IRCR, powder patterns.

    Everything else is said at the class it is made from: blocks, padding, parameters.
    """

    name: ClassVar[str] = "resnet1d"
    dims: ClassVar[int] = 1

    def __init__(
        self,
        representation: Representation,
        n_targets: int = 1,
        *,
        width: int = 64,
        blocks: Sequence[int] = (1, 1, 1),
        kernel: int = 5,
        stem_stride: int = 1,
        stem_places: int | None = None,
        periodic: str | None = None,
        places: bool = True,
        hidden: Sequence[int] = (256,),
        dropout: float = 0.0,
    ) -> None:
        super().__init__(
            representation,
            n_targets,
            width=width,
            blocks=blocks,
            kernel=kernel,
            stem_stride=stem_stride,
            stem_places=stem_places,
            periodic=periodic,
            places=places,
            hidden=hidden,
            dropout=dropout,
        )


class ResNet2d(_ResNet):
    """A residual convolutional network on arrays of two axes, such as CrysTens.

    Everything else is said at the class it is made from: blocks, padding, parameters.
    """

    name: ClassVar[str] = "resnet2d"
    dims: ClassVar[int] = 2

    def __init__(
        self,
        representation: Representation,
        n_targets: int = 1,
        *,
        width: int = 32,
        blocks: Sequence[int] = (1, 1, 1, 1),
        kernel: int = 3,
        stem_stride: int = 2,
        stem_places: int | None = None,
        periodic: str | None = None,
        places: bool = True,
        hidden: Sequence[int] = (256,),
        dropout: float = 0.0,
    ) -> None:
        super().__init__(
            representation,
            n_targets,
            width=width,
            blocks=blocks,
            kernel=kernel,
            stem_stride=stem_stride,
            stem_places=stem_places,
            periodic=periodic,
            places=places,
            hidden=hidden,
            dropout=dropout,
        )


class ResNet3d(_ResNet):
    """A residual convolutional network on arrays of three axes, such as density_cell.

    Everything else is said at the class it is made from: blocks, padding, parameters.
    """

    name: ClassVar[str] = "resnet3d"
    dims: ClassVar[int] = 3

    def __init__(
        self,
        representation: Representation,
        n_targets: int = 1,
        *,
        width: int = 32,
        blocks: Sequence[int] = (1, 1, 1),
        kernel: int = 3,
        stem_stride: int = 2,
        stem_places: int | None = None,
        periodic: str | None = None,
        places: bool = True,
        hidden: Sequence[int] = (256,),
        dropout: float = 0.0,
    ) -> None:
        super().__init__(
            representation,
            n_targets,
            width=width,
            blocks=blocks,
            kernel=kernel,
            stem_stride=stem_stride,
            stem_places=stem_places,
            periodic=periodic,
            places=places,
            hidden=hidden,
            dropout=dropout,
        )


class _Convolution(nn.Module):
    """A convolution in steps: of n places n / step are left, rounded up, and none is passed over.

    It goes round periodic axes, and has zeros beyond the others.
    """

    def __init__(
        self, before: int, after: int, kernel: int, periodic: Sequence[bool], step: int = 1
    ) -> None:
        super().__init__()
        self.kernel, self.step, self.periodic = kernel, step, tuple(periodic)
        # Torch adds the zeros where both ends have as many; what else there is, is made beforehand.
        zeros = tuple(0 if around or step > 1 else kernel // 2 for around in periodic)
        convolution: Any = _CONVOLUTIONS[len(periodic)]
        self.convolution = convolution(before, after, kernel, step, padding=zeros, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, after, ...) of (batch, before, ...)."""
        zeros: list[int] = []
        for axis, periodic in enumerate(self.periodic, 2):
            n = x.shape[axis]
            first = (self.kernel - self.step) // 2
            last = self.step * (math.ceil(n / self.step) - 1) + self.kernel - n - first
            if periodic:
                x = _around(x, axis, first, last)
            zeros = [*((0, 0) if periodic else (first, last)), *zeros]
        if self.step > 1 and any(zeros):
            x = functional.pad(x, zeros)
        values: Tensor = self.convolution(x)
        return values


def _around(x: Tensor, axis: int, first: int, last: int) -> Tensor:
    """With copies of its end before it, and of its beginning behind it."""
    n = x.shape[axis]
    if max(first, last) > n:  # more than once round
        return x.index_select(axis, torch.arange(-first, n + last, device=x.device) % n)
    if not first and not last:
        return x
    return torch.cat([x.narrow(axis, n - first, first), x, x.narrow(axis, 0, last)], axis)


class _Block(nn.Module):
    """Input plus norm, ReLU, convolution, norm, ReLU, convolution."""

    def __init__(self, width: int, kernel: int, periodic: Sequence[bool]) -> None:
        super().__init__()
        norm = _NORMS[len(periodic)]
        self.before, self.between = norm(width), norm(width)
        self.first = _Convolution(width, width, kernel, periodic)
        self.second = _Convolution(width, width, kernel, periodic)

    def forward(self, x: Tensor) -> Tensor:
        """Of the same shape."""
        inner = self.first(functional.relu(self.before(x)))
        added: Tensor = x + self.second(functional.relu(self.between(inner)))
        return added


def _sort_arrays(
    representation: Representation, dims: int
) -> tuple[dict[str, tuple[int | None, int, tuple[int, ...]]], dict[str, int], str | None]:
    """Pictures (axis of the channels, their number, size), lengths of the others, why not.

    Axes are counted with the batch in front.
    """
    shapes, reason = fixed_arrays(representation)
    if reason:
        return {}, {}, reason
    layouts, pictures = representation.layouts, {}
    for name, shape in shapes.items():
        # Where a representation names its pictures, what it does not name is none.
        usual = {dims: _LETTERS[dims], dims + 1: _LETTERS[dims] + "c"}.get(len(shape), "")
        letters = layouts.get(name, "" if layouts else usual)
        if letters.replace("c", "") != _LETTERS[dims]:
            continue
        channel = letters.find("c")
        size = tuple(n for n, letter in zip(shape, letters, strict=True) if letter != "c")
        if min(size) < _SMALLEST:
            continue
        axis = None if channel < 0 else channel + 1
        pictures[name] = (axis, 1 if axis is None else shape[channel], size)
    shown = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
    if len({size for _, _, size in pictures.values()}) != 1:
        return (
            {},
            {},
            (
                f"it has {shown}; wanted an array of axes ({_NAMES[dims]}), with or without "
                f"channels, each axis at least {_SMALLEST} long"
            ),
        )
    rest = {name: math.prod(shape) for name, shape in shapes.items() if name not in pictures}
    return pictures, rest, None


def _only(axis: int, n: int, size: Sequence[int]) -> list[int]:
    """The shape that broadcasts along all axes but one."""
    return [n if i == axis else 1 for i in range(len(size))]


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
