"""Generators: networks that learn the distribution of a representation's arrays."""
