"""xtal2png's pictures, written and read."""

from crystalcodec.representations.xtal2png.representation import Xtal2PNG

__all__ = ["Xtal2PNG"]
