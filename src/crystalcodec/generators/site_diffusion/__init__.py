"""Compositions one element at a time, then coordinates and cell by diffusion over the sites."""

from crystalcodec.generators.site_diffusion.generator import SiteDiffusion

__all__ = ["SiteDiffusion"]
