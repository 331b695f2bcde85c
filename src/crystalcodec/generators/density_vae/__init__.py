"""The variational autoencoder of densities, with a segmenter that names the atoms in them."""

from crystalcodec.generators.density_vae.generator import DensityVAE

__all__ = ["DensityVAE"]
