"""Crystals as the orbits of their space group: exact symmetry, few numbers."""

from crystalcodec.representations.wyckoff_orbits.representation import WyckoffOrbits

__all__ = ["WyckoffOrbits"]
