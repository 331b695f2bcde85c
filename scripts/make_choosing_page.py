"""Write ``docs/choosing.md`` from the registry and from what the benchmarks measured.

    python scripts/make_choosing_page.py

Nothing on the page is typed by hand but for the sentences between the tables, so that it cannot
differ from the code; a test compares the page with what this script makes.
"""

from __future__ import annotations

import json
import math
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from crystalcodec.data import prototypes
from crystalcodec.registry import REPRESENTATIONS, load
from crystalcodec.representations.base import (
    InvertibleRepresentation,
    RaggedRepresentation,
    Representation,
)
from crystalcodec.representations.images import ImageRepresentation
from crystalcodec.representations.space_groups import SpaceGroupRepresentation

ROOT: Final = Path(__file__).parents[1]
PAGE: Final = ROOT / "docs" / "choosing.md"
RESULTS: Final = ROOT / "benchmarks" / "results"
_CHANGES: Final = ("permutation", "translation", "rotation", "supercell", "unit_cell")
_NOISE: Final = ("4", "16")  # of 255
_NONE: Final = "–"
# Parameters that are limits or sizes; those with max_ that steer a decoder have other names.
_LIMITS: Final = re.compile(
    r"^max_(sites|elements|atoms|atomic_number|index|length)|_range$|"
    r"^(edge|size|width|depth|grid|n_points|n_planes|shape|cutoff)$"
)


def page(results: Path = RESULTS) -> str:
    """The whole page."""
    all_of_them = [_ready(load(REPRESENTATIONS, name)()) for name in REPRESENTATIONS]
    speed = _result(results / "representations.json").get("representations", {})
    noise = _result(results / "image_noise.json")
    parts = [
        _INTRODUCTION,
        _how_to_choose(all_of_them),
        _holdings(all_of_them),
        _invariances(all_of_them),
        _losses(all_of_them),
        _measured(all_of_them, speed),
        _memory(all_of_them, speed),
        _under_noise(all_of_them, noise),
    ]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def _ready(representation: Representation) -> Representation:
    """Fitted, where it needs that, on the prototypes that come with the package."""
    if not representation.needs_fit:
        return representation
    return representation.fit(prototypes().crystals)


_INTRODUCTION: Final = """
<!-- Made by scripts/make_choosing_page.py; change that, not this page. -->

# Choosing a representation

Every representation that is registered, with its parameters at their defaults; those that find
parameters in the data are fitted here on the prototypes of the package. The tables are
made from the classes themselves and from the result files of the benchmarks; to see your own
crystal in all of them, with what each one loses written below it:

```console
$ crystalcodec show examples/NaCl.cif --as all -o salt.png
```
"""


def _how_to_choose(found: Sequence[Representation]) -> str:
    back = [r for r in found if isinstance(r, InvertibleRepresentation)]
    files = [r for r in found if isinstance(r, ImageRepresentation)]
    images = [r for r in found if {"hw", "hwc", "chw"} & set(r.layouts.values())]
    volumes = [r for r in found if any("d" in axes for axes in r.layouts.values())]
    lists = [r for r in found if isinstance(r, RaggedRepresentation)]
    grouped = [r for r in found if isinstance(r, SpaceGroupRepresentation)]
    ordered = [r for r in back if r.keeps_site_order]
    lines = [
        "## How to choose",
        "",
        "1. **Do crystals have to come back?** For generation and inverse design they do, and they "
        f"do from {_names(back)}. " + _one_way([r for r in found if r not in back]),
        "2. **How large are the crystals, and how many elements do they hold?** What does not fit "
        "is refused with its reason and counted, never cut off. The limits stand below; most are "
        "parameters, and arrays grow with them.",
        f"3. **What kind of network?** Pictures, for image models: {_names(images) or 'none'} "
        f"({_names(files) or 'none'} also as PNG files, with `crystalcodec encode`). Volumes: "
        f"{_names(volumes) or 'none'}. Lists whose length differs from crystal to crystal, a row "
        f"a site, an edge or an entry that is not zero, with offsets: {_names(lists) or 'none'}; "
        "the graphs among them for message passing. The rest are tables of numbers, for "
        "[scikit-learn](scikit_learn.md) and for fully connected or one-dimensional networks. "
        "How well each learns is [measured](benchmark.md).",
        "4. **Should equal crystals give equal arrays?** Where a change of the description is not "
        "marked below, another order of sites, another origin or another cell of the same crystal "
        "gives another array, and the network has to learn that from "
        "[augmentation](training.md).",
    ]
    if ordered and len(ordered) < len(back):
        others = _names([r for r in back if r not in ordered])
        lines.append(
            f"5. **Does the order of sites matter**, for forces or charges by site? "
            f"{_names(ordered)} give sites back in their order, {others} in an order of their own."
        )
    if grouped:
        lines.append(
            f"{6 if len(lines) > 6 else 5}. **Is time short?** {_names(grouped)} "
            f"{'hold' if len(grouped) > 1 else 'holds'} the space group. Finding it takes longer "
            "than all the rest; where it is known, give `space_group_numbers` to `encode`."
        )
    return "\n".join(
        textwrap.fill(line, 98, subsequent_indent="   ", break_on_hyphens=False) for line in lines
    )


def _one_way(names: Sequence[Representation]) -> str:
    if not names:
        return ""
    if len(names) > 4:
        return "The others go one way only."
    return f"{_names(names)} {'go' if len(names) > 1 else 'goes'} one way only."


def _holdings(found: Sequence[Representation]) -> str:
    rows = [[_link(r), _first_sentence(r), _shapes(r), _size(r), _limits(r)] for r in found]
    return "## What each one is\n\n" + _table(
        [
            "name",
            "what it is",
            "arrays of a crystal",
            "kB (ragged: a row)",
            "limits and sizes (parameters)",
        ],
        rows,
    )


def _invariances(found: Sequence[Representation]) -> str:
    rows = []
    for r in found:
        invertible = isinstance(r, InvertibleRepresentation)
        rows.append(
            [
                f"`{r.name}`",
                *("same" if change in r.invariances else _NONE for change in _CHANGES),
                "yes" if invertible else "no",
                r.continuity,
                ("kept" if r.keeps_site_order else "lost") if invertible else _NONE,
                f"{r.round_trip_tolerance:g} Å" if invertible else _NONE,
            ]
        )
    changes = [change.replace("unit_cell", "another cell") for change in _CHANGES]
    heads = ["name", *changes, "comes back", "under small moves", "site order", "within"]
    told = (
        "The conformance suite holds every class to this table: arrays stay the same under the "
        "changes that are marked, and under no other; as atoms move by less and less they are "
        "constant, continuous, or may jump. By how much, measured on real crystals: "
        "[what each representation respects](invariance.md)."
    )
    return _section("What stays the same, and what comes back", told, _table(heads, rows))


def _losses(found: Sequence[Representation]) -> str:
    return "## What is lost\n\n" + "\n".join(f"- `{r.name}`: {r.lost}." for r in found)


def _measured(found: Sequence[Representation], results: Mapping[str, Any]) -> str:
    measured = [(r, results[r.name]) for r in found if r.name in results]
    if not measured:
        return ""
    rows = []
    for r, one in measured:
        n = one["n_crystals"]
        error = one.get("largest_error_angstrom")
        rows.append(
            [
                f"`{r.name}`",
                _number(one["encode_per_s"]) + _by_moyopy(one),
                _number(one.get("decode_per_s")),
                _percent(one["fraction_of_copy_bandwidth"]),
                f"{one['n_encoded']:,}",
                f"{one['n_came_back']:,}" if "n_came_back" in one else _NONE,
                _NONE if error is None else f"{error:.1g} Å",
                _reasons(one["n_failed"]),
            ]
        )
    heads = ["name", "encode", "decode", "of copy bandwidth", "held", "came back", "largest error"]
    told = (
        f"On {n:,} crystals of MP-20 val, one thread, crystals a second "
        "(`benchmarks/representations.py`). Came back: the same species, every site and lattice "
        "point within the class's tolerance. In brackets: where the space group has to be found "
        "first. Speeds are of one run beside each other; the page of a representation has those of "
        "its own benchmark, beside peers, and on a shared machine they differ by up to a half."
    )
    return _section("Measured", told, _table([*heads, "refused"], rows))


def _by_moyopy(one: Mapping[str, Any]) -> str:
    key = "encode_per_s_space_group_by_moyopy"
    return f" ({_number(one[key])})" if key in one else ""


def _memory(found: Sequence[Representation], results: Mapping[str, Any]) -> str:
    streams = [(r, results[r.name]["stream"]) for r in found if "stream" in results.get(r.name, {})]
    if not streams:
        return ""
    rows = [
        [
            f"`{r.name}`",
            f"{one['n_crystals']:,}",
            _number(one["peak_memory_megabytes"]),
            _number(one["disk_megabytes"]),
            _number(one["crystals_per_s"]),
        ]
        for r, one in streams
    ]
    heads = ["name", "crystals", "peak memory, MB", "written, MB", "crystals a second"]
    told = (
        "In a stream, through `save_encoded`, each in a process of its own "
        "(`benchmarks/representations.py --stream 100000`; fewer where the disk or the time did "
        "not suffice). Memory does not grow with the number of crystals."
    )
    return _section("Encoding to disk", told, _table(heads, rows))


def _under_noise(found: Sequence[Representation], results: Mapping[str, Any]) -> str:
    """How many crystals still match when their arrays get noise, for each way of decoding."""
    measured = results.get("representations", {})
    rows = []
    for r in found:
        # Also the same representation with other parameters: "crystens with chemistry".
        for name in (n for n in measured if n == r.name or n.startswith(f"{r.name} ")):
            for label, way in measured[name].items():
                if not isinstance(way, dict) or "gaussian" not in way:
                    continue
                by_level = way["gaussian"]
                match = [_percent(by_level.get(level, {}).get("match_rate")) for level in _NOISE]
                wrong = _percent(by_level.get(_NOISE[-1], {}).get("wrong_crystal_rate"))
                n = f"{measured[name]['n']:,}"
                rows.append([f"`{r.name}`{name[len(r.name) :]}", label, n, *match, wrong])
                rows[-1].append(_refused(way))
    if not rows:
        return ""
    heads = ["name", "decoder", "crystals", *(f"match at {level}/255" for level in _NOISE)]
    told = (
        "A generator's array is never clean. Gaussian noise on every entry of crystals of MP-20 "
        "val, each field scaled to 0 to 1, then rounded to 8 bits; match is StructureMatcher's, "
        "and refusals count against it (`benchmarks/image_noise.py`). The default decoders are "
        "strict: they refuse what is not the encoding of a crystal. Random arrays are uniform, "
        "normal, shuffled, constant and smooth ones, and halves of two crystals glued together."
    )
    heads += [f"another crystal at {_NOISE[-1]}/255", "random arrays refused"]
    return _section("Under noise", told, _table(heads, rows))


def _section(title: str, told: str, table: str) -> str:
    return f"## {title}\n\n{textwrap.fill(told, 98, break_on_hyphens=False)}\n\n{table}"


def _refused(way: Mapping[str, Any]) -> str:
    """Share of random arrays that were refused; a half that holds a whole crystal is not random."""
    kinds = way.get("random_pictures", {}).values()
    n = sum(kind["n"] for kind in kinds)
    good = sum(kind["refused"] + kind.get("decoded_to_one_of_the_two", 0) for kind in kinds)
    return _percent(good / n) if n else _NONE


def _result(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.exists() else {}


def _names(found: Iterable[Representation]) -> str:
    names = [f"`{r.name}`" for r in found]
    return ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else "".join(names)


def _link(representation: Representation) -> str:
    """The name, linked to the page whose title names it or its class, else that tells of it.

    Of several pages that tell of it, the one that has its last word for a name comes first.
    """
    name, kind = representation.name, type(representation).__name__
    words = {name, name.replace("_", " "), kind}
    told = re.compile(rf"`{kind}`|import .*\b{kind}\b")
    pages = {path: path.read_text() for path in sorted(PAGE.parent.glob("*.md")) if path != PAGE}
    for path, text in pages.items():
        title = text.partition("\n")[0].lower()
        if path.stem == name or any(word.lower() in title for word in words):
            return f"[`{name}`]({path.name})"
    last = name.rpartition("_")[2]
    for path in sorted(pages, key=lambda path: path.stem not in (last, f"{last}s")):
        if told.search(pages[path]):
            return f"[`{name}`]({path.name})"
    return f"`{name}`"


def _first_sentence(representation: Representation) -> str:
    text = (type(representation).__doc__ or "").partition("\n")[0]
    return re.sub(r":\w+:(`[^`]+`)", r"\1", text).rstrip(".")


def _shapes(representation: Representation) -> str:
    shapes = representation.shapes().items()
    return "<br>".join(
        (f"{name}: " if len(shapes) > 1 else "") + " × ".join(map(str, shape))
        for name, shape in shapes
    )


def _size(representation: Representation) -> str:
    """Thousands of bytes of float32 arrays; of a ragged one, of a row."""
    fixed = [
        [axis for axis in shape if isinstance(axis, int)]
        for shape in representation.shapes().values()
    ]
    return _number(4 * sum(math.prod(shape) for shape in fixed) / 1000)


def _limits(representation: Representation) -> str:
    """Its parameters that say how much fits, and how large the arrays are."""
    limits = {
        name: value
        for name, value in representation.config().items()
        if _LIMITS.search(name) and not isinstance(value, str | bool | None)
    }
    return ", ".join(f"`{name}` {_value(value)}" for name, value in limits.items()) or "none"


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " to ".join(map(_value, value)) if len(value) == 2 else ", ".join(map(_value, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _number(value: float | None) -> str:
    """Three digits, with commas."""
    if value is None:
        return _NONE
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    rounded = round(value, 2 - math.floor(math.log10(abs(value))))
    text = f"{rounded:,.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _percent(value: float | None) -> str:
    return _NONE if value is None else f"{_number(100 * value)} %"


def _reasons(failures: Mapping[str, int]) -> str:
    return "<br>".join(f"{n} {reason}" for reason, n in failures.items()) or "none"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    escape: Callable[[str], str] = lambda cell: cell.replace("|", "\\|")  # noqa: E731
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(map(escape, line)) + " |" for line in lines)


def main() -> None:
    """Write the page."""
    PAGE.write_text(page())
    print(f"{len(REPRESENTATIONS)} representations in {PAGE}")


if __name__ == "__main__":
    main()
