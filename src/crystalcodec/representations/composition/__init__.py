"""What a crystal is made of, as arrays: amounts of elements, and pooled vectors of elements."""

from crystalcodec.representations.composition.amounts import Composition, one_hot
from crystalcodec.representations.composition.element_embedding import ElementEmbedding
from crystalcodec.representations.composition.magpie import Magpie
from crystalcodec.representations.composition.missing import MissingEntries
from crystalcodec.representations.composition.oxidation_states import AssignedSpecies
from crystalcodec.representations.composition.pooling import POOLINGS
from crystalcodec.representations.composition.species_embedding import SpeciesEmbedding

__all__ = [
    "POOLINGS",
    "AssignedSpecies",
    "Composition",
    "ElementEmbedding",
    "Magpie",
    "MissingEntries",
    "SpeciesEmbedding",
    "one_hot",
]
