"""Files and the objects of other libraries to crystals, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from crystalcodec.registry import lazy_attributes

if TYPE_CHECKING:
    from crystalcodec.io.cif import read_cif_texts
    from crystalcodec.io.foreign import from_ase, from_pymatgen, to_ase, to_pymatgen
    from crystalcodec.io.loaded import Loaded, ReadError, write_failures
    from crystalcodec.io.members import Member, list_members
    from crystalcodec.io.reading import iter_read, read, read_member, read_text
    from crystalcodec.io.whole import whole_file
    from crystalcodec.io.writing import write

__all__ = [
    "Loaded",
    "Member",
    "ReadError",
    "from_ase",
    "from_pymatgen",
    "iter_read",
    "list_members",
    "read",
    "read_cif_texts",
    "read_member",
    "read_text",
    "to_ase",
    "to_pymatgen",
    "whole_file",
    "write",
    "write_failures",
]

# Imported when first asked for: the parsers are heavy.
_HOMES: Final = {
    "Loaded": "loaded",
    "Member": "members",
    "ReadError": "loaded",
    "from_ase": "foreign",
    "from_pymatgen": "foreign",
    "iter_read": "reading",
    "list_members": "members",
    "read": "reading",
    "read_cif_texts": "cif",
    "read_member": "reading",
    "read_text": "reading",
    "to_ase": "foreign",
    "to_pymatgen": "foreign",
    "whole_file": "whole",
    "write": "writing",
    "write_failures": "loaded",
}

__getattr__, __dir__ = lazy_attributes(__name__, _HOMES)
