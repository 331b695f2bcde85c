"""Relaxing crystals with interatomic potentials, and hulls of their energies."""
