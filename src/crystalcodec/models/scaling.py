"""Scalings of a representation's arrays, fitted on training crystals only and kept with a model."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

import numpy as np
import numpy.typing as npt

from crystalcodec.registry import did_you_mean
from crystalcodec.representations.base import Arrays

__all__ = ["Scaling", "ScalingError", "fit_scaling"]

Kind = Literal["none", "minmax", "standardise"]
Per = Literal["entry", "row", "array"]
Floats = npt.NDArray[np.float32]

_DEFAULT_PER: Final[Mapping[str, Per]] = {"none": "entry", "minmax": "row", "standardise": "entry"}


class ScalingError(ValueError):
    """A scaling that does not exist, cannot be fitted, or does not fit the arrays."""


@dataclass(frozen=True, eq=False)
class Scaling:
    """``(x - offset) / width`` for each floating-point array of a representation.

    Where an entry was the same in all training crystals, or differed by less than float32 can
    divide by (1e-38), it becomes 0, whatever it is in other crystals, and comes back as the value
    it had in training. Arrays of whole numbers (indices, categories) pass unchanged.

    Parameters
    ----------
    kind
        ``minmax`` to [0, 1], ``standardise`` to mean 0 and standard deviation 1, or ``none``.
    per
        What shares an offset and a width: each ``entry`` of the array; each ``row`` (first axis
        after the batch), over crystals and columns; or the whole ``array``.
    offsets, widths
        By array name, float32, of a shape that broadcasts against one crystal's array.

    References
    ----------
    Min-max scaling by row: Mal, Seal and Sen, J. Phys. Chem. Lett. 15, 3221 (2024),
    10.1021/acs.jpclett.4c00068.
    """

    kind: Kind
    per: Per
    offsets: Mapping[str, Floats]
    widths: Mapping[str, Floats]

    def apply(self, arrays: Arrays) -> dict[str, npt.NDArray[Any]]:
        """The arrays scaled; the given ones are left as they are."""
        scaled = dict(arrays)
        for name, offset in self.offsets.items():
            array, width = self._of(arrays, name), self.widths[name]
            # Of a smaller width, such as that of a Gaussian's far tail, float32 has no inverse.
            varies = width >= np.finfo(np.float32).tiny
            inverse = np.divide(1, width, out=np.zeros_like(width), where=varies)
            scaled[name] = (array - offset) * inverse
        return scaled

    def inverse(self, arrays: Arrays) -> dict[str, npt.NDArray[Any]]:
        """Scaled arrays turned back; the given ones are left as they are."""
        back = dict(arrays)
        for name, offset in self.offsets.items():
            back[name] = self._of(arrays, name) * self.widths[name] + offset
        return back

    def _of(self, arrays: Arrays, name: str) -> npt.NDArray[Any]:
        if name not in arrays:
            raise ScalingError(f"the scaling was fitted on {name!r}, got {', '.join(arrays)}")
        array = arrays[name]
        shape = self.offsets[name].shape
        if array.ndim != len(shape) + 1 or any(
            n not in (1, m) for n, m in zip(shape, array.shape[1:], strict=True)
        ):
            raise ScalingError(
                f"array {name!r} has shape {array.shape}, the scaling was fitted on (n, ...) that "
                f"{shape} broadcasts to: use the representation that it was fitted with"
            )
        return array

    def to_arrays(self) -> dict[str, Floats]:
        """Offsets and widths under flat names, for a safetensors file."""
        named = {f"offset.{name}": array for name, array in self.offsets.items()}
        return named | {f"width.{name}": array for name, array in self.widths.items()}

    @classmethod
    def from_arrays(cls, kind: Kind, per: Per, arrays: Mapping[str, Floats]) -> Scaling:
        """The scaling whose :meth:`to_arrays` gave these.

        Raises
        ------
        ScalingError
            Arrays that no scaling gives: a name too many or too few, numbers that are not finite.
        """
        parts: dict[str, dict[str, Floats]] = {"offset": {}, "width": {}}
        for name, array in arrays.items():
            part, _, key = name.partition(".")
            if part not in parts or not np.isfinite(array).all():
                raise ScalingError(f"damaged scaling: {name!r} is no finite offset or width")
            parts[part][key] = np.ascontiguousarray(array, np.float32)
        if parts["offset"].keys() != parts["width"].keys():
            raise ScalingError("damaged scaling: offsets and widths of different arrays")
        return cls(kind, per, parts["offset"], parts["width"])

    def describe(self) -> dict[str, str]:
        """Kind and per, ready for JSON."""
        return {"kind": self.kind, "per": self.per}


def fit_scaling(
    arrays: Arrays,
    kind: str = "minmax",
    per: str | None = None,
    ragged: Iterable[str] = (),
    unscaled: Iterable[str] = (),
) -> Scaling:
    """Fit a scaling on the arrays of training crystals.

    Parameters
    ----------
    arrays
        By name, crystals along the first axis.
    kind
        ``none``, ``minmax`` or ``standardise``.
    per
        ``entry``, ``row`` or ``array``; ``row`` for minmax and ``entry`` for standardise where
        None.
    ragged
        Names of arrays whose first axis is ragged: their rows are the batch, so that ``row``
        means ``entry`` there.
    unscaled
        Names of arrays that stay as they are.

    Raises
    ------
    ScalingError
        Another kind, no crystals, or numbers that are not finite.

    Examples
    --------
    >>> scaling = fit_scaling({"x": np.array([[[0.0, 4.0]], [[1.0, 2.0]]], np.float32)})
    >>> scaling.apply({"x": np.full((1, 1, 2), 3.0, np.float32)})["x"].tolist()
    [[[0.75, 0.75]]]
    """
    for value, known in ((kind, get_args(Kind)), (per, (*get_args(Per), None))):
        if value not in known:
            names = tuple(name for name in known if name)
            raise ScalingError(f"no scaling {value!r}{did_you_mean(str(value), names)}")
    shared: Per = per or _DEFAULT_PER[kind]  # type: ignore[assignment]
    offsets: dict[str, Floats] = {}
    widths: dict[str, Floats] = {}
    for name, array in arrays.items():
        if kind == "none" or array.dtype.kind != "f" or name in unscaled:
            continue
        if not len(array):
            raise ScalingError("no training crystals to fit a scaling on")
        axes = {"entry": (0,), "row": (0, *range(2, array.ndim)), "array": None}[shared]
        if name in ragged and shared == "row":
            axes = (0,)
        if kind == "minmax":
            offset = array.min(axis=axes, keepdims=True)
            width = array.max(axis=axes, keepdims=True) - offset
        else:
            # float64: a float32 mean over millions of entries loses digits.
            offset = array.mean(axis=axes, keepdims=True, dtype=np.float64)
            width = array.std(axis=axes, keepdims=True, dtype=np.float64, mean=offset)
            # Rounding of the mean makes constant entries look as if they varied.
            width[width <= 1e-6 * np.abs(offset)] = 0.0
        if not (np.isfinite(offset).all() and np.isfinite(width).all()):
            raise ScalingError(f"array {name!r} holds numbers that are not finite")
        offsets[name] = offset[0].astype(np.float32)
        widths[name] = width[0].astype(np.float32)
    return Scaling(kind, shared, offsets, widths)  # type: ignore[arg-type]


def identical(one: Scaling, other: Scaling) -> bool:
    """Whether two scalings are the same, bit for bit."""
    mine, theirs = one.to_arrays(), other.to_arrays()
    return dataclasses.astuple(one)[:2] == dataclasses.astuple(other)[:2] and all(
        np.array_equal(mine.get(name, np.nan), theirs.get(name, np.nan))
        for name in mine.keys() | theirs.keys()
    )
