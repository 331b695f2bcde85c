"""Powder diffraction patterns, and the Bragg peaks that they are made of."""

from crystalcodec.representations.powder_pattern.representation import PowderPattern

__all__ = ["PowderPattern"]
