"""JSON of structures: pymatgen's dictionaries, lists and tables of them, and cells of atoms.

Only plain JSON is read, and only classes that are known by name: nothing is imported or unpickled
because a file says so. Understood are ``Structure`` dictionaries; dictionaries with a
``structure``, a ``cif`` or a ``poscar`` (such as ``ComputedStructureEntry``); dictionaries of
``cell``, ``positions`` and ``numbers``; pandas' ``columns`` and ``data``; lists of all these, one
a line or in brackets, and dictionaries that name them.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import numpy as np

from crystalcodec.crystals import Crystals
from crystalcodec.elements import SYMBOLS
from crystalcodec.io.cif import add_cif
from crystalcodec.io.cif_values import CifError, number_of_symbol
from crystalcodec.io.loaded import Records
from crystalcodec.io.poscar import add_poscar
from crystalcodec.io.streams import MIB, DamagedError

if TYPE_CHECKING:
    from crystalcodec.io.reading import Options, Part

__all__ = ["Place", "add_json", "read_json", "write_json"]

_STRUCTURES: Final = {"Structure", "IStructure"}
_ID_KEYS: Final = ("id", "material_id", "structure_id", "entry_id", "jid", "name")
# What a value of the wrong kind makes the conversions raise.
_MALFORMED: Final = (
    KeyError,
    TypeError,
    ValueError,
    AttributeError,
    IndexError,
    OverflowError,
)
# A document that is not a list is read whole.
_MAX_DOCUMENT: Final = 1024 * MIB
# How deep lists and names may hold one another: a table in a dictionary in a list.
_MAX_DEPTH: Final = 4


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value of a document stands, and what is said about it there.

    Parameters
    ----------
    index, source
        As of a record.
    name
        Id of its crystal, where there is one.
    properties
        Kept with the crystal.
    depth
        Number of lists and dictionaries around it.
    """

    index: int
    source: str
    name: str | None
    properties: Mapping[str, Any]
    depth: int = 0


def read_json(records: Records, stream: IO[bytes], part: Part, options: Options) -> Iterator[None]:
    """Add the structures of a JSON file to records; a list is read entry after entry."""
    del options
    index = 0
    for document, listed in _documents(stream):
        source = f"{part.source}!/{index}" if listed else part.source
        add_json(records, document, Place(index, source, None, {}), default_name=part.name)
        index += 1
        yield
    if index == 0:
        raise DamagedError("no crystal in file", "nothing in it")


def _documents(stream: IO[bytes]) -> Iterator[tuple[Any, bool]]:
    """JSON values one after another, and whether each is one of several.

    A list in brackets gives its entries, so that only one of them is in memory at a time; after
    it another may come.
    """
    decoder = json.JSONDecoder()
    decode = codecs.getincrementaldecoder("utf-8-sig")()
    text, position, ended, wanted = "", 0, False, MIB
    in_list = False
    started = False
    while True:
        while position < len(text) and (text[position].isspace() or text[position] in ",\x1e"):
            position += 1
        if not started and position < len(text):
            started = True
            in_list = text[position] == "["
            position += in_list
            continue
        if in_list and position < len(text) and text[position] == "]":
            position, in_list, started = position + 1, False, False
            continue
        if position < len(text):
            try:
                value, end = decoder.raw_decode(text, position)
            except ValueError as error:
                # Not JSON, or not yet the whole of it.
                if ended:
                    raise DamagedError("not a JSON", str(error)) from error
            except RecursionError as error:
                raise DamagedError("not a JSON", "nested too deeply") from error
            else:
                # A number could go on in what has not been read yet.
                if end < len(text) or ended:
                    position, wanted = end, MIB
                    yield value, in_list
                    continue
        if ended:
            if in_list:
                raise DamagedError("cut off", "the list has no end")
            return
        text, position = text[position:], 0
        if len(text) > _MAX_DOCUMENT:
            raise DamagedError(
                "text too large", f"one document of more than {_MAX_DOCUMENT} characters"
            )
        data = stream.read(wanted)
        # Twice as much each time, or a large document would be parsed over and over.
        wanted = min(2 * wanted, _MAX_DOCUMENT)
        ended = not data
        try:
            text += decode.decode(data, final=ended)
        except UnicodeDecodeError as error:
            raise DamagedError("not a text", str(error)) from error


def add_json(records: Records, value: Any, place: Place, default_name: str = "") -> None:
    """Add the structures of a JSON value, and a failure where there is none in it."""
    fallback = default_name if place.index == 0 and not place.depth else ""
    named = place.name or fallback or f"{default_name}/{place.index}"
    if isinstance(value, Mapping):
        if "lattice" in value and "sites" in value:
            return _add_structure(records, value, place, named)
        for key, add in (("cif", add_cif), ("poscar", add_poscar)):
            if isinstance(value.get(key), str):
                own = _wrapped(value, key, place)
                add(
                    records,
                    value[key],
                    index=place.index,
                    name=own.name or named,
                    source=place.source,
                    properties=dict(own.properties),
                )
                return None
        if isinstance(value.get("structure"), Mapping | str):
            inner = value["structure"]
            return add_json(
                records,
                _text_as_mapping(inner) if isinstance(inner, str) else inner,
                _wrapped(value, "structure", place),
                default_name,
            )
        if "cell" in value and "positions" in value:
            return _add_cell(records, value, place, named)
        if isinstance(value.get("columns"), list) and isinstance(value.get("data"), list):
            return _add_table(records, value, place, default_name)
        if "@class" not in value and place.depth < _MAX_DEPTH:
            return _add_several(records, [*value.items()], place, default_name)
    elif isinstance(value, list) and value and place.depth < _MAX_DEPTH:
        return _add_several(records, [*enumerate(value)], place, default_name, whole=True)
    what = f"an object of class {value['@class']!r}" if _has_class(value) else _told(value)
    records.fail(
        "no structure in JSON",
        f"{what}: wanted a pymatgen Structure, a dictionary with a structure, or cell, positions "
        "and numbers",
        index=place.index,
        source=place.source,
    )
    return None


def _has_class(value: Any) -> bool:
    return isinstance(value, Mapping) and "@class" in value


def _told(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"a dictionary of {', '.join([*map(str, value)][:6]) or 'nothing'}"
    return f"{type(value).__name__} {str(value)[:40]!r}"


def _text_as_mapping(text: str) -> Mapping[str, str]:
    return {"cif" if "_cell_length_a" in text else "poscar": text}


def _wrapped(value: Mapping[str, Any], key: str, place: Place) -> Place:
    """The place of what is under ``key``, with what the dictionary says beside it."""
    name = next((str(value[k]) for k in _ID_KEYS if isinstance(value.get(k), str | int)), None)
    own = {k: v for k, v in value.items() if k != key and k not in _ID_KEYS and k[:1] != "@"}
    nested = own.pop("properties", None)
    properties = {**place.properties, **_scalars(own)}
    if isinstance(nested, Mapping):
        properties |= _scalars(nested)
    return Place(place.index, place.source, name or place.name, properties, place.depth)


def _scalars(values: Mapping[str, Any]) -> dict[str, Any]:
    kept = {}
    for key, value in values.items():
        one = value[0] if isinstance(value, list) and len(value) == 1 else value
        if isinstance(one, bool | int | float | str) or one is None:
            kept[str(key)] = one
    return kept


def _add_several(
    records: Records,
    values: Sequence[tuple[Any, Any]],
    place: Place,
    default_name: str,
    *,
    whole: bool = False,
) -> None:
    """Each entry of a list or of a dictionary that names its entries.

    Beside the structures of a dictionary numbers and words may stand that tell something else;
    where it is ``whole`` every entry has to be a structure.
    """
    before = len(records)
    for key, entry in values:
        text = isinstance(entry, str) and ("_cell_length_a" in entry or entry.count("\n") > 5)
        if text or entry is None or whole or isinstance(entry, Mapping | list):
            name = key if isinstance(key, str) else place.name
            own = Place(
                place.index + len(records) - before,
                f"{place.source}!/{key}",
                name,
                place.properties,
                place.depth + 1,
            )
            add_json(records, _text_as_mapping(entry) if text else entry, own, default_name)
    if len(records) == before:
        told = _told(dict(values))
        records.fail("no structure in JSON", told, index=place.index, source=place.source)


def _add_table(records: Records, table: Mapping[str, Any], place: Place, name: str) -> None:
    """Rows of a table as pandas and matbench write it: columns, index, data."""
    columns = [*map(str, table["columns"])]
    rows = table["data"]
    index = table.get("index")
    keys = index if isinstance(index, list) and len(index) == len(rows) else range(len(rows))
    # Labels of rows may repeat, as after joining tables.
    entries = [
        (str(key), dict(zip(columns, row, strict=False)) if isinstance(row, list) else row)
        for key, row in zip(keys, rows, strict=True)
    ]
    _add_several(records, entries, place, name, whole=True)


def _add_structure(records: Records, value: Mapping[str, Any], place: Place, name: str) -> None:
    def fail(reason: str, detail: str) -> None:
        records.fail(reason, detail, index=place.index, source=place.source)

    kind = value.get("@class", "Structure")
    if kind not in _STRUCTURES:
        return fail("no structure in JSON", f"class {kind!r} is not known: wanted Structure")
    try:
        lattice = np.array(value["lattice"]["matrix"], float).reshape(3, 3)
        periodic = value["lattice"].get("pbc", [True] * 3)
        coords = np.array([site["abc"] for site in value["sites"]], float).reshape(-1, 3)
        numbers = [_atom(site["species"], i) for i, site in enumerate(value["sites"])]
        if len(coords) != len(numbers):
            raise ValueError(f"{coords.size} coordinates of {len(numbers)} sites")
    except CifError as error:
        return fail(error.reason, error.detail)
    except _MALFORMED as error:
        return fail("not a structure", f"{type(error).__name__}: {error}")
    if not all(periodic):
        return fail("not periodic", f"pbc {periodic}: a crystal repeats in all three directions")
    return records.add(
        lattice,
        coords,
        numbers,
        index=place.index,
        name=name,
        source=place.source,
        properties=place.properties,
    )


def _atom(species: Sequence[Mapping[str, Any]], site: int) -> int:
    if len(species) != 1 or float(species[0]["occu"]) != 1:
        told = ", ".join(f"{one['element']}:{one['occu']}" for one in species)
        raise CifError(
            "partial occupancy",
            f"site {site} holds {told or 'nothing'}, and a site here holds exactly one atom: "
            "order the structure first",
        )
    return number_of_symbol(str(species[0]["element"]))


@np.errstate(all="ignore")
def _add_cell(records: Records, value: Mapping[str, Any], place: Place, name: str) -> None:
    """Atoms as ASE has them: cell, Cartesian positions, numbers."""
    used = {"cell", "positions", "numbers", "atomic_numbers", "symbols", "pbc"}
    own = _wrapped({k: v for k, v in value.items() if k not in used}, "", place)
    try:
        cell = _array(value["cell"]).reshape(3, 3)
        positions = _array(value["positions"]).reshape(-1, 3)
        listed = value.get("numbers", value.get("atomic_numbers"))
        numbers = (
            [number_of_symbol(symbol) for symbol in value["symbols"]]
            if listed is None
            else _whole(_array(listed))
        )
        periodic = _array(value.get("pbc", [True] * 3)).astype(bool)
        if not periodic.all():
            raise CifError("not periodic", f"pbc {periodic.tolist()}: a crystal repeats in all")
        coords = positions @ np.linalg.inv(cell)
        if len(numbers) != len(coords):
            raise CifError("not a structure", f"{len(numbers)} numbers, {len(coords)} positions")
    except CifError as error:
        records.fail(error.reason, error.detail, index=place.index, source=place.source)
    except np.linalg.LinAlgError:
        detail = f"cell {value['cell']} closes no volume"
        records.fail("no volume", detail, index=place.index, source=place.source)
    except _MALFORMED as error:
        detail = f"{type(error).__name__}: {error}"
        records.fail("not a structure", detail, index=place.index, source=place.source)
    else:
        records.add(
            cell,
            coords,
            numbers,
            index=place.index,
            name=own.name or name,
            source=place.source,
            properties=own.properties,
        )


def _whole(values: np.ndarray[Any, np.dtype[np.float64]]) -> list[int]:
    if not (np.isfinite(values) & (values == np.rint(values)) & (abs(values) < 1000)).all():
        raise CifError("unknown species", f"numbers {values.tolist()[:9]}: wanted atomic numbers")
    return [int(value) for value in values.ravel().tolist()]


def _array(value: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Numbers, as lists or as ASE's JSON has arrays."""
    if isinstance(value, Mapping) and "array" in value:
        value = value["array"]
    if isinstance(value, Mapping) and "__ndarray__" in value:
        shape, _, flat = value["__ndarray__"]
        return np.array(flat, float).reshape(shape)
    return np.array(value, float)


def write_json(
    crystals: Crystals,
    path: Path,
    ids: Sequence[str] | None,
    properties: Mapping[str, Sequence[Any]],
) -> None:
    """Write pymatgen Structure dictionaries, all float64 exactly.

    One crystal alone is one dictionary, several are a list; with ids or properties each is a
    dictionary of ``id``, ``structure`` and ``properties``.
    """
    plain = ids is None and not properties
    single = plain and len(crystals) == 1
    with path.open("w", encoding="utf-8") as file:
        if not single:
            file.write("[")
        for i, crystal in enumerate(crystals):
            entry = _structure_dict(crystal)
            if not plain:
                own = {name: _plain(values[i]) for name, values in properties.items()}
                head = {} if ids is None else {"id": ids[i]}
                entry = {**head, "structure": entry, "properties": own}
            file.write(",\n" if i else "")
            json.dump(entry, file)
        file.write("\n" if single else "]\n")


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _structure_dict(crystal: Crystals) -> dict[str, Any]:
    cart = crystal.cart_coords.tolist()
    sites = [
        {
            "species": [{"element": SYMBOLS[z], "occu": 1}],
            "abc": abc,
            "xyz": xyz,
            "properties": {},
            "label": SYMBOLS[z],
        }
        for z, abc, xyz in zip(
            crystal.numbers.tolist(), crystal.frac_coords.tolist(), cart, strict=True
        )
    ]
    return {
        "@module": "pymatgen.core.structure",
        "@class": "Structure",
        "charge": 0,
        "lattice": {"matrix": crystal.lattices[0].tolist(), "pbc": [True, True, True]},
        "properties": {},
        "sites": sites,
    }
