"""Diffusion of the free numbers of the orbits of a space group."""

from crystalcodec.generators.orbit_diffusion.generator import OrbitDiffusion

__all__ = ["OrbitDiffusion"]
