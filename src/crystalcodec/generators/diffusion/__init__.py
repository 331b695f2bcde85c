"""Diffusion on the arrays of any representation of fixed shape, as pictures."""

from crystalcodec.generators.diffusion.generator import Diffusion

__all__ = ["Diffusion"]
