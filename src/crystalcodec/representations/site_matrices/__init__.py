"""Matrices of the interaction of each two sites: Coulomb, sine and Ewald sum."""

from crystalcodec.representations.site_matrices.coulomb import CoulombMatrix
from crystalcodec.representations.site_matrices.ewald import EwaldSumMatrix
from crystalcodec.representations.site_matrices.representation import SiteMatrix
from crystalcodec.representations.site_matrices.sine import SineMatrix

__all__ = ["CoulombMatrix", "EwaldSumMatrix", "SineMatrix", "SiteMatrix"]
