"""The atomic cluster expansion: rotation-invariant polynomials of the density around each atom."""

from crystalcodec.representations.ace.representation import ACE, SiteACE

__all__ = ["ACE", "SiteACE"]
