"""Which representations are pictures, and their arrays as torch wants pictures: channels first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from torch import Tensor

from crystalcodec.models.base import fixed_arrays
from crystalcodec.representations.base import Representation

__all__ = ["Image", "image_of"]

_AXES: Final = {"hw": (None, 1, 2), "hwc": (3, 1, 2), "chw": (1, 2, 3)}
_SMALLEST: Final = 8


@dataclass(frozen=True)
class Image:
    """The one array of a representation that is a picture.

    Parameters
    ----------
    array
        Its name.
    channels, height, width
        Its size.
    layout
        The order of its axes: ``hw``, ``hwc`` or ``chw``.
    """

    array: str
    channels: int
    height: int
    width: int
    layout: str

    def channels_first(self, array: Tensor) -> Tensor:
        """(batch, channels, height, width) of the array of a batch, a view."""
        if self.layout == "hw":
            return array[:, None]
        return array.permute(0, 3, 1, 2) if self.layout == "hwc" else array


def image_of(representation: Representation) -> tuple[Image | None, str | None]:
    """The picture of a representation, or why it has none.

    A picture is the only array and has at least 8 rows and 8 columns. Its axes are what the
    representation's ``layouts`` say; where they say nothing, (height, width) or (height, width,
    channels).
    """
    shapes, reason = fixed_arrays(representation)
    if reason:
        return None, reason
    wanted = "wanted one array (height, width) or (height, width, channels)"
    shown = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
    if len(shapes) != 1:
        return None, f"it has {shown}; {wanted}"
    ((name, shape),) = shapes.items()
    layout = representation.layouts.get(name, {2: "hw", 3: "hwc"}.get(len(shape), "no picture"))
    if layout not in _AXES:
        return None, f"it has {shown}, of axes {layout}; {wanted}"
    # Axes are counted with the batch in front.
    channel, row, column = _AXES[layout]
    channels = 1 if channel is None else shape[channel - 1]
    image = Image(name, channels, shape[row - 1], shape[column - 1], layout)
    if min(image.height, image.width) < _SMALLEST:
        return None, f"it has {shown}; wanted at least {_SMALLEST} rows and {_SMALLEST} columns"
    return image, None
