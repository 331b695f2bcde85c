"""Representations: crystals to arrays and, where they can be inverted, back; one file each."""
