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
    from crystalcodec.representations.ircr import IRCR

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
    "IRCR": "representations.ircr",
}

__all__ = [
    "IRCR",
    "Crystals",
    "Dataset",
    "Failure",
    "augment",
    "from_ase",
    "from_pymatgen",
    "prototypes",
    "read",
    "to_ase",
    "to_pymatgen",
    "write",
]
__version__ = version("crystalcodec")

__getattr__, __dir__ = lazy_attributes(__name__, _HOMES)
