"""Encode crystals to arrays, decode arrays back to crystals, and learn from them.

The public names stand below; each is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crystalcodec.crystals import Crystals
    from crystalcodec.data import Dataset, prototypes
    from crystalcodec.data.augmentation import augment
    from crystalcodec.failures import Failure
    from crystalcodec.io import from_ase, from_pymatgen, read, to_ase, to_pymatgen, write
    from crystalcodec.representations.ircr import IRCR

_HOME = {
    "Crystals": "crystalcodec.crystals",
    "Failure": "crystalcodec.failures",
    "Dataset": "crystalcodec.data",
    "prototypes": "crystalcodec.data",
    "augment": "crystalcodec.data.augmentation",
    "read": "crystalcodec.io",
    "write": "crystalcodec.io",
    "from_ase": "crystalcodec.io",
    "from_pymatgen": "crystalcodec.io",
    "to_ase": "crystalcodec.io",
    "to_pymatgen": "crystalcodec.io",
    "IRCR": "crystalcodec.representations.ircr",
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


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'crystalcodec' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
