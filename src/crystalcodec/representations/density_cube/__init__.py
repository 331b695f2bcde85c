"""Density in a cube, and the peaks in it."""

from crystalcodec.representations.density_cube.representation import DensityCube

__all__ = ["DensityCube"]
