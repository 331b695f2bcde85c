"""A Wasserstein GAN with gradient penalty on arrays of crystals, and its physics term."""

from crystalcodec.generators.wgan.generator import WGAN

__all__ = ["WGAN"]
