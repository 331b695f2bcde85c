"""Tables of numbers for elements and species: properties, and vectors that models learned.

The numbers are the data files of the package ElementEmbeddings (MIT). They are read from where it
is installed without importing it, which would take seconds and load its plotting.
"""

from __future__ import annotations

import csv
import importlib.util
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from crystalcodec.elements import ATOMIC_NUMBERS, MAX_ATOMIC_NUMBER, SYMBOLS
from crystalcodec.registry import MissingExtraError, did_you_mean
from crystalcodec.representations.base import RepresentationError

__all__ = [
    "ELEMENT_TABLES",
    "PETTIFOR_NUMBERS",
    "PETTIFOR_ORDER",
    "SPECIES_TABLES",
    "ElementTable",
    "SpeciesTable",
    "TableSource",
    "element_table",
    "species_table",
]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Rows = Mapping[str, list[float]]

_LICENCE: Final = "MIT, as part of ElementEmbeddings"


@dataclass(frozen=True)
class TableSource:
    """What a table is and where its numbers come from.

    Parameters
    ----------
    about
        In a few words.
    file
        Name of the data file.
    dimension
        Numbers an element or species.
    doi
        Of the work that published it; empty where there is none.
    licence
        Of the file as distributed.
    """

    about: str
    file: str
    dimension: int
    doi: str = ""
    licence: str = _LICENCE


ELEMENT_TABLES: Final[Mapping[str, TableSource]] = {
    "magpie": TableSource(
        "properties of the elements; gaps filled with medians",
        "magpie.csv",
        22,
        "10.1038/npjcompumats.2016.28",
    ),
    "magpie_sc": TableSource(
        "the properties of magpie, scaled", "magpie_sc.json", 22, "10.1038/npjcompumats.2016.28"
    ),
    "oliynyk": TableSource(
        "properties of the elements; gaps filled",
        "oliynyk_preprocessed.csv",
        44,
        "10.1021/acs.chemmater.6b02724",
    ),
    "oliynyk_sc": TableSource(
        "the properties of oliynyk, scaled",
        "oliynyk_sc.json",
        44,
        "10.1021/acs.chemmater.6b02724",
    ),
    "oliynyk_raw": TableSource(
        "the properties of oliynyk, gaps left open",
        "oliynyk.csv",
        44,
        "10.1021/acs.chemmater.6b02724",
    ),
    "xenonpy": TableSource(
        "properties of the elements",
        "xenonpy_element_features.csv",
        58,
        "10.1103/PhysRevB.108.134107",
    ),
    "mat2vec": TableSource(
        "words of abstracts of materials science", "mat2vec.csv", 200, "10.1038/s41586-019-1335-8"
    ),
    "matscholar": TableSource(
        "words of abstracts of materials science",
        "matscholar-embedding.json",
        200,
        "10.1021/acs.jcim.9b00470",
    ),
    "matscibert": TableSource(
        "tokens of a language model of materials science",
        "matscibert.csv",
        768,
        "10.1038/s41524-022-00784-w",
    ),
    "skipatom": TableSource(
        "neighbours in crystal structures",
        "skipatom_20201009_induced.csv",
        200,
        "10.1038/s41524-022-00729-3",
    ),
    "crystallm": TableSource(
        "tokens of a language model of CIF files",
        "crystallm_v24c.dim512_atom_vectors.csv",
        512,
        "10.48550/arXiv.2307.04340",
    ),
    "megnet16": TableSource(
        "atom vectors of MEGNet, trained on formation energies",
        "megnet16.json",
        16,
        "10.1021/acs.chemmater.9b01294",
    ),
    "cgnf": TableSource(
        "atom vectors of a crystal graph network for synthesizability",
        "cgnf.json",
        90,
        "10.1016/j.matt.2024.05.002",
    ),
    "chgnet": TableSource(
        "site vectors of CHGNet, averaged over MP-20",
        "chgnet.csv",
        64,
        "10.1038/s42256-023-00716-3",
    ),
    "mace_mp0": TableSource(
        "site vectors of MACE-MP-0, averaged over MP-20",
        "mace_mp0.csv",
        128,
        "10.48550/arXiv.2401.00096",
    ),
    "orb_v2": TableSource(
        "site vectors of ORB-v2, averaged over MP-20",
        "orb_v2.csv",
        256,
        "10.48550/arXiv.2410.22570",
    ),
    "sevennet": TableSource(
        "site vectors of SevenNet-0, averaged over MP-20",
        "sevennet.csv",
        128,
        "10.48550/arXiv.2402.03789",
    ),
    "chemeleon": TableSource(
        "site vectors of Chemeleon-DNG, averaged over MP-20",
        "chemeleon.csv",
        512,
        "10.1038/s41467-025-59636-y",
    ),
    "atomic": TableSource("one-hot, in the order of atomic numbers", "atomic.json", 118),
    "mod_petti": TableSource(
        "one-hot, in the order of the modified Pettifor scale",
        "mod_petti.json",
        103,
        "10.1088/1367-2630/18/9/093011",
    ),
    "random_200": TableSource("normal random numbers, to compare with", "random_200_new.csv", 200),
}
"""The tables of elements by name. ``_sc`` are scaled versions, as published with ElMD."""

SPECIES_TABLES: Final[Mapping[str, TableSource]] = {
    "skipspecies": TableSource(
        "neighbours in crystal structures with oxidation states",
        "skipspecies_2022_10_28_dim200.csv",
        200,
        "10.26434/chemrxiv-2024-8621l",
    ),
    "skipspecies_induced": TableSource(
        "the same, vectors of rare species induced from those of near ones",
        "skipspecies_2022_10_28_induced_dim200.csv",
        200,
        "10.26434/chemrxiv-2024-8621l",
    ),
}
"""The tables of species, an element in an oxidation state, by name."""

PETTIFOR_ORDER: Final[tuple[str, ...]] = tuple(
    """
    He Ne Ar Kr Xe Rn Fr Cs Rb K Na Li Ra Ba Sr Ca Eu Yb Lu Tm Y Er Ho Dy Tb Gd Sm Pm Nd Pr Ce
    La Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr Sc Zr Hf Ti Ta Nb V Cr Mo W Re Tc Os Ru Ir
    Rh Pt Pd Au Ag Cu Ni Co Fe Mn Mg Zn Cd Hg Be Al Ga In Tl Pb Sn Ge Si B C N P As Sb Bi Po
    Te Se S O At I Br Cl F H
    """.split()
)
"""The 103 elements up to Lr in the order of the modified Pettifor scale
(10.1088/1367-2630/18/9/093011): neighbours replace each other in known structures."""


def _pettifor_numbers() -> Floats:
    numbers = np.full(MAX_ATOMIC_NUMBER + 1, np.nan)
    numbers[[ATOMIC_NUMBERS[symbol] for symbol in PETTIFOR_ORDER]] = np.arange(len(PETTIFOR_ORDER))
    numbers.flags.writeable = False
    return numbers


PETTIFOR_NUMBERS: Final = _pettifor_numbers()
"""(119,) place in :data:`PETTIFOR_ORDER` by atomic number, from 0; NaN for "no element" and for
Z > 103."""


@dataclass(frozen=True, eq=False)
class ElementTable:
    """Numbers for each element; row Z belongs to the element of atomic number Z.

    Parameters
    ----------
    name
        In :data:`ELEMENT_TABLES`.
    values : (119, d)
        Read-only. NaN where there is no number: row 0, elements that the table lacks, and gaps.
    feature_names
        A name for each of the d columns.
    doi
        Of the work that published it; empty where there is none.
    """

    name: str
    values: Floats
    feature_names: tuple[str, ...]
    doi: str

    @property
    def has(self) -> npt.NDArray[np.bool_]:
        """(119,) whether the table has all numbers of this element."""
        has: npt.NDArray[np.bool_] = np.logical_and.reduce(np.isfinite(self.values), axis=1)
        return has

    @property
    def elements(self) -> tuple[str, ...]:
        """Symbols of the elements of which the table has all numbers, by atomic number."""
        return tuple(SYMBOLS[z] for z in np.flatnonzero(self.has))


@dataclass(frozen=True, eq=False)
class SpeciesTable:
    """Numbers for each species, an element in an oxidation state.

    Parameters
    ----------
    name
        In :data:`SPECIES_TABLES`.
    numbers : (m,)
        Atomic number of each species.
    oxidation_states : (m,)
        Its oxidation state; 0 for the neutral atom.
    values : (m, d)
        Its numbers. All three are read-only.
    feature_names
        A name for each of the d columns.
    doi
        Of the work that published it.
    """

    name: str
    numbers: Ints
    oxidation_states: Ints
    values: Floats
    feature_names: tuple[str, ...]
    doi: str


@cache
def element_table(name: str) -> ElementTable:
    """A table of elements by name, read once.

    Parameters
    ----------
    name
        In :data:`ELEMENT_TABLES`.

    Returns
    -------
    ElementTable
        Scales of one number (``atomic``, ``mod_petti``) come as one-hot rows in their order.

    Raises
    ------
    RepresentationError
        No such table.
    MissingExtraError
        The package ElementEmbeddings is not installed.

    Examples
    --------
    >>> table = element_table("magpie")
    >>> table.values.shape, table.feature_names[7], float(table.values[11, 7])
    ((119, 22), 'Electronegativity', 0.93)
    """
    source = _source(name, ELEMENT_TABLES)
    path = _data_folder() / "element_representations" / source.file
    rows, header = _read_rows(path)
    if name in ("atomic", "mod_petti"):
        rows, header = _one_hot_rows(name, rows)
    values = np.full((MAX_ATOMIC_NUMBER + 1, source.dimension), np.nan)
    for symbol, row in rows.items():
        if symbol in ATOMIC_NUMBERS:  # not megnet16's "Null", nor provisional names
            values[ATOMIC_NUMBERS[symbol]] = row
    values.flags.writeable = False
    return ElementTable(name, values, _feature_names(name, header, source), source.doi)


@cache
def species_table(name: str) -> SpeciesTable:
    """A table of species by name, read once.

    Parameters
    ----------
    name
        In :data:`SPECIES_TABLES`.

    Raises
    ------
    RepresentationError
        No such table.
    MissingExtraError
        The package ElementEmbeddings is not installed.

    Examples
    --------
    >>> table = species_table("skipspecies")
    >>> table.values.shape
    (336, 200)
    >>> table.oxidation_states[table.numbers == 11].tolist()
    [1]
    """
    source = _source(name, SPECIES_TABLES)
    path = _data_folder() / "species_representations" / source.file
    rows, header = _read_rows(path)
    species = [_parse_species(text) for text in rows]
    arrays = (
        np.array([number for number, _ in species], np.int64),
        np.array([state for _, state in species], np.int64),
        np.array([*rows.values()]),
    )
    for array in arrays:
        array.flags.writeable = False
    return SpeciesTable(name, *arrays, _feature_names(name, header, source), source.doi)


def _source(name: str, tables: Mapping[str, TableSource]) -> TableSource:
    if name not in tables:
        raise RepresentationError(f"no table {name!r}{did_you_mean(name, [*tables])}")
    return tables[name]


def _data_folder() -> Path:
    spec = importlib.util.find_spec("elementembeddings")
    if spec is None or spec.origin is None:
        raise MissingExtraError(
            "ElementEmbeddings, which holds the tables of elements, is not installed: "
            "pip install 'crystalcodec[descriptors]'"
        )
    return Path(spec.origin).parent / "data"


def _read_rows(path: Path) -> tuple[dict[str, list[float]], list[str]]:
    """Numbers by symbol, and the names of the columns, none in a JSON file."""
    if path.suffix == ".json":
        rows = json.loads(path.read_text(encoding="utf-8"))
        return {s: np.atleast_1d(row).astype(float).tolist() for s, row in rows.items()}, []
    with path.open(encoding="utf-8", newline="") as lines:
        header, *table = csv.reader(lines)
    return {s: [float(x or "nan") for x in row] for s, *row in table}, header[1:]


def _one_hot_rows(name: str, scale: Rows) -> tuple[dict[str, list[float]], list[str]]:
    """One-hot rows in the order of a scale, and the symbols in that order."""
    last = {"atomic": MAX_ATOMIC_NUMBER, "mod_petti": 103}[name]  # heavier ones stand as 0
    order = sorted(SYMBOLS[1 : last + 1], key=lambda symbol: scale[symbol])
    return dict(zip(order, np.eye(last).tolist(), strict=True)), order


def _feature_names(name: str, header: list[str], source: TableSource) -> tuple[str, ...]:
    if not header or header[0].isdigit():
        return tuple(f"{name}_{i}" for i in range(source.dimension))
    return tuple(header)


def _parse_species(text: str) -> tuple[int, int]:
    """Atomic number and oxidation state of ``Fe3+``, ``Cl-`` or ``H0+``."""
    found = re.fullmatch(r"([A-Z][a-z]?)(\d*)([+-])", text)
    if found is None:
        raise ValueError(f"{text!r} is no species such as 'Fe3+'")
    symbol, size, sign = found.groups()
    return ATOMIC_NUMBERS[symbol], int(sign + (size or "1"))
