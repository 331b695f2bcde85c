"""Slices of charge densities, calculated or made."""

from crystalcodec.representations.slices.representation import DensitySliceBlocks, DensitySlices

__all__ = ["DensitySliceBlocks", "DensitySlices"]
