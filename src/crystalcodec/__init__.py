"""Encode crystals to arrays, decode arrays back to crystals, and learn from them.

The public names stand below; each is imported when it is first used.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from crystalcodec.registry import lazy_attributes

if TYPE_CHECKING:
    from crystalcodec.crystals import Crystals
    from crystalcodec.data import Dataset, prototypes
    from crystalcodec.data.augmentation import augment
    from crystalcodec.failures import Failure
    from crystalcodec.io import from_ase, from_pymatgen, read, to_ase, to_pymatgen, write
    from crystalcodec.plots.representations import show
    from crystalcodec.relaxation.relaxing import relax
    from crystalcodec.representations.ace import ACE, SiteACE
    from crystalcodec.representations.acsf import ACSF, SiteACSF
    from crystalcodec.representations.composition import (
        Composition,
        ElementEmbedding,
        Magpie,
        SpeciesEmbedding,
    )
    from crystalcodec.representations.crystal_graph import CrystalGraph
    from crystalcodec.representations.crystal_image import CrystalImage
    from crystalcodec.representations.crystal_nn import CrystalNNFingerprint
    from crystalcodec.representations.crystens import CrysTens
    from crystalcodec.representations.density_cell import DensityCell
    from crystalcodec.representations.density_cube import DensityCube
    from crystalcodec.representations.ftcp import FTCP
    from crystalcodec.representations.ircr import IRCR
    from crystalcodec.representations.mbtr import MBTR, SparseMBTR
    from crystalcodec.representations.minimum_distances import AMD, PDD
    from crystalcodec.representations.potential_vectors import (
        PotentialVectors,
        SitePotentialVectors,
    )
    from crystalcodec.representations.powder_pattern import PowderPattern
    from crystalcodec.representations.radial_distribution import RadialDistribution
    from crystalcodec.representations.shell_graph import ShellGraph
    from crystalcodec.representations.site_matrices import CoulombMatrix, EwaldSumMatrix, SineMatrix
    from crystalcodec.representations.slices import DensitySliceBlocks, DensitySlices
    from crystalcodec.representations.soap import SOAP, SiteSOAP
    from crystalcodec.representations.storage import load_encoded, save_encoded
    from crystalcodec.representations.structure_factors import StructureFactors
    from crystalcodec.representations.symmetry_labels import SymmetryLabels, WyckoffLetters
    from crystalcodec.representations.unimat import UniMat
    from crystalcodec.representations.unit_graph import UnitGraph
    from crystalcodec.representations.xtal2png import Xtal2PNG
    from crystalcodec.sklearn import CrystalEncoder
    from crystalcodec.workflow.generating.generation import generate
    from crystalcodec.workflow.pretrained import predict

_HOMES: Final = {
    "Crystals": "crystals",
    "Failure": "failures",
    "Dataset": "data",
    "generate": "workflow.generating.generation",
    "predict": "workflow.pretrained",
    "prototypes": "data",
    "augment": "data.augmentation",
    "read": "io",
    "write": "io",
    "from_ase": "io",
    "from_pymatgen": "io",
    "to_ase": "io",
    "to_pymatgen": "io",
    "relax": "relaxation.relaxing",
    "show": "plots.representations",
    "load_encoded": "representations.storage",
    "save_encoded": "representations.storage",
    "CrystalEncoder": "sklearn",
    "ACE": "representations.ace",
    "ACSF": "representations.acsf",
    "AMD": "representations.minimum_distances",
    "Composition": "representations.composition",
    "CoulombMatrix": "representations.site_matrices",
    "CrystalGraph": "representations.crystal_graph",
    "CrystalImage": "representations.crystal_image",
    "CrystalNNFingerprint": "representations.crystal_nn",
    "CrysTens": "representations.crystens",
    "DensityCell": "representations.density_cell",
    "DensityCube": "representations.density_cube",
    "DensitySliceBlocks": "representations.slices",
    "DensitySlices": "representations.slices",
    "ElementEmbedding": "representations.composition",
    "EwaldSumMatrix": "representations.site_matrices",
    "FTCP": "representations.ftcp",
    "IRCR": "representations.ircr",
    "Magpie": "representations.composition",
    "MBTR": "representations.mbtr",
    "PDD": "representations.minimum_distances",
    "PotentialVectors": "representations.potential_vectors",
    "PowderPattern": "representations.powder_pattern",
    "RadialDistribution": "representations.radial_distribution",
    "ShellGraph": "representations.shell_graph",
    "SineMatrix": "representations.site_matrices",
    "SiteACE": "representations.ace",
    "SiteACSF": "representations.acsf",
    "SitePotentialVectors": "representations.potential_vectors",
    "SiteSOAP": "representations.soap",
    "SOAP": "representations.soap",
    "SparseMBTR": "representations.mbtr",
    "SpeciesEmbedding": "representations.composition",
    "StructureFactors": "representations.structure_factors",
    "SymmetryLabels": "representations.symmetry_labels",
    "UniMat": "representations.unimat",
    "UnitGraph": "representations.unit_graph",
    "WyckoffLetters": "representations.symmetry_labels",
    "Xtal2PNG": "representations.xtal2png",
}

__all__ = [
    "ACE",
    "ACSF",
    "AMD",
    "FTCP",
    "IRCR",
    "MBTR",
    "PDD",
    "SOAP",
    "Composition",
    "CoulombMatrix",
    "CrysTens",
    "CrystalEncoder",
    "CrystalGraph",
    "CrystalImage",
    "CrystalNNFingerprint",
    "Crystals",
    "Dataset",
    "DensityCell",
    "DensityCube",
    "DensitySliceBlocks",
    "DensitySlices",
    "ElementEmbedding",
    "EwaldSumMatrix",
    "Failure",
    "Magpie",
    "PotentialVectors",
    "PowderPattern",
    "RadialDistribution",
    "ShellGraph",
    "SineMatrix",
    "SiteACE",
    "SiteACSF",
    "SitePotentialVectors",
    "SiteSOAP",
    "SparseMBTR",
    "SpeciesEmbedding",
    "StructureFactors",
    "SymmetryLabels",
    "UniMat",
    "UnitGraph",
    "WyckoffLetters",
    "Xtal2PNG",
    "augment",
    "from_ase",
    "from_pymatgen",
    "generate",
    "load_encoded",
    "predict",
    "prototypes",
    "read",
    "relax",
    "save_encoded",
    "show",
    "to_ase",
    "to_pymatgen",
    "write",
]
__version__ = version("crystalcodec")

__getattr__, __dir__ = lazy_attributes(__name__, _HOMES)
