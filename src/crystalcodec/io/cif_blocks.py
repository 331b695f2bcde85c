"""Blocks of a CIF text: its tags and their values, and the lines where they stand."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

from crystalcodec.io.cif_values import CifError, Tags, is_null

__all__ = ["AXES", "CELL", "blocks_of", "column", "line_of", "line_of_complaint"]

CELL: Final = (
    "_cell_length_a",
    "_cell_length_b",
    "_cell_length_c",
    "_cell_angle_alpha",
    "_cell_angle_beta",
    "_cell_angle_gamma",
)
AXES: Final = ("_atom_site_fract_x", "_atom_site_fract_y", "_atom_site_fract_z")
_HEADER: Final = re.compile(r"^\s*data_", re.MULTILINE)
_FIELD_MARK: Final = re.compile(r"^;", re.MULTILINE)
# A value that starts so is a tag whose own value is missing before it.
_WORDS: Final = ("_", "loop_", "data_")
_SITE_TAGS: Final = ("_atom_site_type_symbol", "_atom_site_label", *AXES)


def blocks_of(text: str) -> Iterator[tuple[str, Tags]]:
    """Name and tags of each block that means to be a crystal."""
    import gemmi

    try:
        document = gemmi.cif.read_string(text)
    except (ValueError, RuntimeError) as error:
        # A RuntimeError is a name given twice: to be looked at, not a broken text.
        if isinstance(error, RuntimeError) and "duplicate" in str(error):
            parsed = [(b.name, _tags(b)) for b in gemmi.cif.read_string(text, check_level=0)]
        else:
            parsed = _tokenized_by_pymatgen(text, str(error))
    else:
        parsed = [(block.name, _tags(block)) for block in document]
    for name, tags in parsed:
        if _means_a_crystal(tags):
            yield name.strip(), tags


def _means_a_crystal(tags: Tags) -> bool:
    """Not so a block about the publication, a powder pattern, or a form left blank."""
    heights = tags.get(AXES[2])
    if heights and heights[0][:1] not in ("?", ".", ""):
        return True
    if not any(tag in tags for tag in _SITE_TAGS):
        return "_cell_length_a" in tags and not any(tag.startswith("_pd_") for tag in tags)
    return not all(is_null(value) for tag in _SITE_TAGS for value in column(tags, tag))


def _tags(block: Any) -> Tags:
    """Values of pairs and columns of loops, by tag in lower case and with no dots."""
    tags: dict[str, str | list[str]] = {}
    for item in block:
        pair = item.pair
        if pair is not None:
            key = _key(pair[0])
            if key in tags:
                _put(tags, key, pair[1])
            else:
                tags[key] = pair[1]
            continue
        loop = item.loop
        if loop is not None:
            values, names = loop.values, loop.tags
            width = len(names)
            for start, name in enumerate(names):
                key = _key(name)
                if key in tags:
                    _put(tags, key, values[start::width])
                else:
                    tags[key] = values[start::width]
    return tags


@lru_cache(maxsize=65536)
def _key(tag: str) -> str:
    return tag.lower().replace(".", "_")


def _put(tags: dict[str, str | list[str]], key: str, value: str | list[str]) -> None:
    """Set a value; of a cell or of sites nothing where it is given twice, and differently."""
    if tags.get(key, value) != value:
        value = [] if key in CELL or key.startswith("_atom_site_") else tags[key]
    tags[key] = value


def _tokenized_by_pymatgen(text: str, complaint: str) -> list[tuple[str, Tags]]:
    """Blocks of a text that is against the grammar; its own complaint where that fails too."""
    broken = CifError("not a CIF", f"{complaint}: repair the text", value=complaint)
    # What follows an open quote or text field would be passed over there.
    open_end = "unterminated" in complaint or len(_FIELD_MARK.findall(text)) % 2
    if open_end or "\0" in text or not _HEADER.search(text):
        raise broken
    from pymatgen.io.cif import CifFile

    with warnings.catch_warnings():
        # A value that stands nowhere may be a cut or an open quote: no guessing.
        warnings.simplefilter("error")
        try:
            blocks = CifFile.from_str(text).data
        except Exception as error:
            raise broken from error
    parsed: list[tuple[str, Tags]] = []
    for name, block in blocks.items():
        tags: dict[str, str | list[str]] = {}
        for tag, value in block.data.items():
            words = [value] if isinstance(value, str) else value
            if any(word.startswith(_WORDS) for word in words):
                raise broken
            _put(tags, _key(tag), value)
        parsed.append((name, tags))
    if not any(_means_a_crystal(tags) for _, tags in parsed):
        raise broken
    return parsed


def column(tags: Tags, tag: str) -> list[str]:
    """Values of a tag: those of its loop, the one of its pair, or none."""
    value = tags.get(tag, [])
    return [value] if isinstance(value, str) else value


def line_of_complaint(message: str) -> int | None:
    """Line that a message of gemmi names."""
    match = re.match(r"\w+:(\d+)", message)
    return int(match[1]) if match else None


def line_of(text: str, block: str, error: CifError) -> int | None:
    """Line of the text where an error stands, as far as it can be told."""
    lines = text.splitlines()
    start = next((i for i, line in enumerate(lines) if line.strip() == f"data_{block}"), 0)
    tag = error.tag.lower()
    if not tag:
        return start + 1
    for i in range(start, len(lines)):
        words = lines[i].lower().split(None, 1)
        if not words or words[0].replace(".", "_") != tag:
            continue
        if error.row is None:
            return i + 1
        first = next(
            (
                j
                for j in range(i, len(lines))
                if lines[j].strip() and not lines[j].lstrip().startswith(("_", "#"))
            ),
            i,
        )
        # One row a line, as nearly all files have it.
        return min(first + error.row, len(lines) - 1) + 1
    return start + 1
