"""What each representation respects: measured changes of its arrays under changes of a crystal.

A change of the description (order of the sites, frame, origin, cell) is to leave the arrays as
they are; a small move of the atoms is to change them by little.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.data.augmentation import permute_sites, rotate, shift_origin
from crystalcodec.failures import count_reasons
from crystalcodec.io.whole import whole_file
from crystalcodec.representations.base import (
    Continuity,
    Encoded,
    Field,
    Representation,
)

__all__ = [
    "CHANGES",
    "Measured",
    "another_cell",
    "continuity",
    "measure_invariance",
    "same_arrays",
    "table",
    "write_invariance",
]

Floats = npt.NDArray[np.float64]
Verdict = Literal["exact", "reordered", "continuous", "changes", "none held"]

# Two encodings are the same where they differ by less than this, relative to the largest entry:
# a float32 sum over some hundred terms.
_SAME: Final = 1e-4
# Å or radians; atoms that move a hundred times less change a continuous array far less.
_LARGE: Final = 1e-2
_SMALL: Final = 1e-4
# An array that keeps this share of its change under the hundredth part of a move has jumped: even
# one that goes with the square root of the move keeps a tenth.
_JUMP: Final = 0.3
# Below this share of the distance between two crystals a change is rounding, and no jump.
_ROUNDING: Final = 1e-3

_GRADUAL: Final = ("rotation", "translation", "rattle")

CHANGES: Final[Mapping[str, str]] = {
    "permutation": "sites in another order",
    "rotation": "a turned frame",
    "translation": "another origin",
    "supercell": "twice the cell",
    "unit_cell": "other cell vectors of the same lattice",
    "rattle": "every atom moved by 0.01 Å",
}
"""The changes by name, and what they are."""


@dataclass(frozen=True)
class Measured:
    """How the arrays of one representation take one change.

    Parameters
    ----------
    representation, change
        Their names.
    verdict
        ``exact``: the arrays are the same; ``reordered``: rows of ragged arrays are the same in
        another order; ``continuous``: a hundredth of the move changes them by far less;
        ``changes``: none of these; ``none held``: no changed crystal could be encoded.
    median, largest
        Size of the change, in units of the distance between two of the crystals under this
        representation. Where arrays have another length, infinite.
    n, n_refused
        Crystals compared, and those that could not be encoded before or after the change.
    reasons
        Why they could not, with counts.
    """

    representation: str
    change: str
    verdict: Verdict
    median: float
    largest: float
    n: int
    n_refused: int
    reasons: Mapping[str, int]


def measure_invariance(
    representations: Sequence[Representation],
    crystals: Crystals,
    *,
    seed: int = 0,
    progress: Callable[[str], None] = lambda name: None,
) -> list[Measured]:
    """Encode crystals before and after each change of :data:`CHANGES`.

    Parameters
    ----------
    representations
        Those that need it are fitted on the crystals first.
    crystals
        At least two.
    seed
        Of orders, frames, origins, cells and moves.
    progress
        Called with the name of each representation before it is measured.

    Raises
    ------
    ValueError
        Fewer than two crystals: nothing to compare a change with.
    """
    if len(crystals) < 2:
        raise ValueError(f"{len(crystals)} crystals: wanted at least two to compare changes with")
    rows = []
    for representation in representations:
        progress(representation.name)
        ready = representation.fit(crystals) if representation.needs_fit else representation
        before = ready.encode(crystals)
        rows += [_measure(ready, crystals, before, change, seed) for change in CHANGES]
    return rows


def another_cell(crystals: Crystals, rng: np.random.Generator) -> Crystals:
    """The same crystals in other cells of the same lattices and volumes, as handed as before."""
    change = np.eye(3, dtype=int)
    for _ in range(3):
        row, other = rng.choice(3, 2, replace=False)
        change[row] += change[other] * rng.choice([-1, 1])
    return crystals.supercell(change)


def same_arrays(representation: Representation, one: Encoded, other: Encoded) -> bool:
    """Whether two encodings of as many crystals are the same but for rounding, field by field."""
    if any(array.shape != other[name].shape for name, array in one.arrays.items()):
        return False
    for field in _fields(representation):
        before = field.of(one.arrays)
        scale = np.abs(before).max(initial=1e-30)
        difference = _difference(field, before, field.of(other.arrays))
        if np.abs(difference).max(initial=0.0) > _SAME * scale:
            return False
    return True


def continuity(representation: Representation, crystals: Crystals, seed: int = 0) -> Continuity:
    """What the arrays do as atoms move by less and less.

    ``discontinuous`` where moving the atoms of some crystal by 0.0001 Å changes its arrays as
    moving them by 0.01 Å does, or not at all while 0.01 Å changes them by much.
    """
    before = representation.encode(crystals)
    move = _small_change("rattle", crystals, np.random.default_rng(seed))
    after = representation.encode(move(_LARGE))
    if len(before) == len(after) and same_arrays(representation, before, after):
        return "constant"
    jumps = _jumps(representation, crystals, before, move)
    return "discontinuous" if jumps else "continuous"


def _measure(
    representation: Representation, crystals: Crystals, before: Encoded, change: str, seed: int
) -> Measured:
    rng = np.random.default_rng([seed, [*CHANGES].index(change)])
    small = _small_change(change, crystals, rng) if change in _GRADUAL else None
    whole: dict[str, Callable[[], Crystals]] = {
        "permutation": lambda: permute_sites(crystals, rng),
        "rotation": lambda: rotate(crystals, rng),
        "translation": lambda: shift_origin(crystals, rng),
        "supercell": lambda: crystals.supercell([1, 1, 2]),
        "unit_cell": lambda: another_cell(crystals, rng),
    }
    changed = whole[change]() if change in whole else small(_LARGE) if small else crystals
    after = representation.encode(changed)
    one, other = _both(representation, before, after)
    sizes = _sizes(representation, one, other)
    reasons = count_reasons([*before.failures, *after.failures])
    verdict: Verdict = "changes"
    if not len(one):
        verdict = "none held"
    elif same_arrays(representation, one, other):
        verdict = "exact"
    elif _reordered(representation, one, other):
        verdict = "reordered"
    elif small is not None and not _jumps(representation, crystals, before, small):
        verdict = "continuous"
    return Measured(
        representation.name,
        change,
        verdict,
        float(np.median(sizes)) if len(sizes) else float("nan"),
        float(sizes.max()) if len(sizes) else float("nan"),
        len(one),
        len(crystals) - len(one),
        reasons,
    )


def _small_change(
    change: str, crystals: Crystals, rng: np.random.Generator
) -> Callable[[float], Crystals]:
    """The change of a given size, Å or radians, always in the same direction."""
    moves = rng.standard_normal((len(crystals.numbers), 3))
    if change == "translation":
        moves = moves[crystals.offsets[:-1]][crystals.crystal_indices]
    moves /= np.linalg.norm(moves, axis=1, keepdims=True)
    axis = rng.standard_normal(3)
    cross = np.cross(np.eye(3), axis / np.linalg.norm(axis))

    def moved(size: float) -> Crystals:
        coords = crystals.to_fractional(crystals.cart_coords + size * moves)
        return Crystals(crystals.lattices, coords, crystals.numbers, crystals.offsets)

    def turned(size: float) -> Crystals:
        rotation = np.eye(3) + np.sin(size) * cross + (1 - np.cos(size)) * cross @ cross
        return Crystals(
            crystals.lattices @ rotation, crystals.frac_coords, crystals.numbers, crystals.offsets
        )

    return turned if change == "rotation" else moved


def _jumps(
    representation: Representation,
    crystals: Crystals,
    before: Encoded,
    change: Callable[[float], Crystals],
) -> bool:
    large, small = (
        _sizes(representation, *_both(representation, before, after))
        for after in (representation.encode(change(size)) for size in (_LARGE, _SMALL))
    )
    # Arrays of another length, infinitely far away, have jumped whatever the larger move does.
    kept = (small > _ROUNDING) & ((small > _JUMP * large) | np.isinf(small))
    # A step that waits for a tolerance: nothing at first, then far at once.
    stepped = (small == 0) & (large > _JUMP)
    return bool((kept | stepped).any())


def _both(
    representation: Representation, before: Encoded, after: Encoded
) -> tuple[Encoded, Encoded]:
    """The crystals that were encoded before and after."""
    kept = np.intersect1d(before.index, after.index)
    return (
        _taken(representation, before, np.searchsorted(before.index, kept)),
        _taken(representation, after, np.searchsorted(after.index, kept)),
    )


def _taken(
    representation: Representation, encoded: Encoded, places: npt.NDArray[np.int64]
) -> Encoded:
    if len(places) == len(encoded):
        return encoded
    arrays, offsets = {}, {}
    for name, shape in representation.shapes().items():
        rows = places
        if shape and isinstance(shape[0], str):
            cuts = encoded.offsets[shape[0]]
            counts = np.diff(cuts)[places]
            offsets[shape[0]] = np.r_[0, np.cumsum(counts)]
            rows = np.arange(offsets[shape[0]][-1]) + np.repeat(
                cuts[places] - offsets[shape[0]][:-1], counts
            )
        arrays[name] = encoded.arrays[name][rows]
    return Encoded(arrays, encoded.index[places], (), offsets)


def _sizes(representation: Representation, one: Encoded, other: Encoded) -> Floats:
    """(n,) the change of each crystal: the largest over its fields, in units of their spread."""
    sizes = np.zeros(len(one))
    if not len(one):
        return sizes
    for field in _fields(representation):
        axis = field.shape[0] if field.shape else None
        if isinstance(axis, str):
            sizes = np.maximum(sizes, _ragged_sizes(field, axis, one, other))
            continue
        before, after = field.of(one.arrays), field.of(other.arrays)
        flat = before.reshape(len(before), -1)
        # The distance between two crystals drawn at random, root mean square.
        spread = np.sqrt(2 * flat.var(axis=0, dtype=np.float64).sum())
        difference = _difference(field, before, after).reshape(flat.shape)
        sizes = np.maximum(sizes, np.sqrt((difference**2).sum(axis=1)) / (spread or 1.0))
    return sizes


def _ragged_sizes(field: Field, axis: str, one: Encoded, other: Encoded) -> Floats:
    cuts, others = one.offsets[axis], other.offsets[axis]
    counts = np.diff(cuts)
    same = counts == np.diff(others)
    rows = np.arange(cuts[-1])[np.repeat(same, counts)]
    before = field.of(one.arrays)[rows]
    if not len(rows):
        return np.where(same, 0.0, np.inf)
    after = field.of(other.arrays)[rows + np.repeat((others - cuts)[:-1], counts)[rows]]
    flat = before.reshape(len(rows), -1)
    # The distance between two rows drawn at random, root mean square.
    spread = np.sqrt(2 * flat.var(axis=0, dtype=np.float64).sum())
    squares = (_difference(field, before, after).reshape(flat.shape) ** 2).sum(axis=1)
    owner = np.repeat(np.arange(len(counts)), counts)[rows]
    mean = np.bincount(owner, squares, minlength=len(counts)) / np.maximum(counts, 1)
    return np.where(same, np.sqrt(mean) / (spread or 1.0), np.inf)


def _fields(representation: Representation) -> tuple[Field, ...]:
    """Its fields, and whole arrays that have none."""
    named = {field.array for field in representation.fields}
    others = (
        Field(name, "continuous", name, shape)
        for name, shape in representation.shapes().items()
        if name not in named
    )
    return (*representation.fields, *others)


def _difference(field: Field, before: npt.NDArray[Any], after: npt.NDArray[Any]) -> Floats:
    """After minus before; where 0 and 1 are the same point, the shorter way round."""
    difference: Floats = np.asarray(after, np.float64) - before
    return difference - np.rint(difference) if field.kind == "periodic" else difference


def _reordered(representation: Representation, one: Encoded, other: Encoded) -> bool:
    """Whether ragged fields of real numbers hold the same rows, crystal by crystal."""
    if not one.offsets or any(
        not np.array_equal(cuts, other.offsets[axis]) for axis, cuts in one.offsets.items()
    ):
        return False
    rng = np.random.default_rng(0)
    for field in _fields(representation):
        axis = field.shape[0] if field.shape else None
        before, after = field.of(one.arrays), field.of(other.arrays)
        if before.dtype.kind != "f" and before.ndim > 1:
            continue  # sites of edges, which count another order
        if isinstance(axis, str):
            owner = np.repeat(np.arange(len(one)), np.diff(one.offsets[axis]))
            # A fixed random direction tells rows apart.
            weights = rng.standard_normal(int(np.prod(before.shape[1:], dtype=int)))
            before, after = (a.reshape(len(a), -1) @ weights for a in (before, after))
            before, after = (key[np.lexsort([key, owner])] for key in (before, after))
        scale = np.abs(before).max(initial=1e-30)
        if np.abs(_difference(field, before, after)).max(initial=0.0) > _SAME * scale:
            return False
    return True


def table(rows: Sequence[Measured]) -> str:
    """As text: a line for each representation, a column for each change."""
    names = list(dict.fromkeys(row.representation for row in rows))
    cells = {(row.representation, row.change): _cell(row) for row in rows}
    heads = ["representation", *CHANGES]
    lines = [heads, *([name, *(cells[name, change] for change in CHANGES)] for name in names)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(heads))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _cell(row: Measured) -> str:
    if row.verdict in ("exact", "reordered", "none held"):
        return row.verdict
    size = f"{row.median:.2g}" if np.isfinite(row.median) else "other size"
    return f"{row.verdict} {size}"


def write_invariance(rows: Sequence[Measured], path: str | Path, **described: Any) -> None:
    """Write the table as JSON, whole or not at all; what is infinite or missing is null."""
    document = {
        **described,
        "changes": dict(CHANGES),
        "unit": "distance between two of the crystals under the same representation",
        "rows": [
            {
                key: None if isinstance(value, float) and not np.isfinite(value) else value
                for key, value in asdict(row).items()
            }
            for row in rows
        ],
    }
    with whole_file(path) as partial:
        text = json.dumps(document, indent=1, ensure_ascii=False)
        Path(partial).write_text(text + "\n", encoding="utf-8")
