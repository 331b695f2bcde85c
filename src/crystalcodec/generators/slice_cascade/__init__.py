"""Pictures of slices by a cascade of two diffusion models."""

from crystalcodec.generators.slice_cascade.generator import SliceCascade

__all__ = ["SliceCascade"]
