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
    from crystalcodec.representations.crystal_image import CrystalImage
    from crystalcodec.representations.crystens import CrysTens
    from crystalcodec.representations.density_cell import DensityCell
    from crystalcodec.representations.density_cube import DensityCube
    from crystalcodec.representations.ftcp import FTCP
    from crystalcodec.representations.ircr import IRCR
    from crystalcodec.representations.slices import DensitySliceBlocks, DensitySlices
    from crystalcodec.representations.storage import load_encoded, save_encoded
    from crystalcodec.representations.structure_factors import StructureFactors
    from crystalcodec.representations.unimat import UniMat
    from crystalcodec.representations.xtal2png import Xtal2PNG

_HOMES: Final = {
    "Crystals": "crystals",
    "Failure": "failures",
    "Dataset": "data",
    "prototypes": "data",
    "augment": "data.augmentation",
    "read": "io",
    "write": "io",
    "from_ase": "io",
    "from_pymatgen": "io",
    "to_ase": "io",
    "to_pymatgen": "io",
    "show": "plots.representations",
    "load_encoded": "representations.storage",
    "save_encoded": "representations.storage",
    "CrysTens": "representations.crystens",
    "CrystalImage": "representations.crystal_image",
    "DensityCell": "representations.density_cell",
    "DensityCube": "representations.density_cube",
    "DensitySliceBlocks": "representations.slices",
    "DensitySlices": "representations.slices",
    "FTCP": "representations.ftcp",
    "IRCR": "representations.ircr",
    "StructureFactors": "representations.structure_factors",
    "UniMat": "representations.unimat",
    "Xtal2PNG": "representations.xtal2png",
}

__all__ = [
    "FTCP",
    "IRCR",
    "CrysTens",
    "CrystalImage",
    "Crystals",
    "Dataset",
    "DensityCell",
    "DensityCube",
    "DensitySliceBlocks",
    "DensitySlices",
    "Failure",
    "StructureFactors",
    "UniMat",
    "Xtal2PNG",
    "augment",
    "from_ase",
    "from_pymatgen",
    "load_encoded",
    "prototypes",
    "read",
    "save_encoded",
    "show",
    "to_ase",
    "to_pymatgen",
    "write",
]
__version__ = version("crystalcodec")

__getattr__, __dir__ = lazy_attributes(__name__, _HOMES)
