"""Vibrations of a crystal as an interatomic potential predicts them."""

from crystalcodec.representations.potential_phonons.representation import (
    Phonons,
    PotentialPhonons,
)

__all__ = ["Phonons", "PotentialPhonons"]
