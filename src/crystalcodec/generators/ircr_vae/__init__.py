"""A variational autoencoder on IRCR whose codes also tell properties."""

from crystalcodec.generators.ircr_vae.generator import IRCRVAE

__all__ = ["IRCRVAE"]
