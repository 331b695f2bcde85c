"""Conformance: checks that any representation can be held to, here or in another package.

``check_representation(MyRepresentation())`` runs them all and raises :class:`ConformanceError`
on the first that fails, with what was seen. Each check is also a function of its own, so that a
test report can name them.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from crystalcodec.crystals import Crystals
from crystalcodec.data.augmentation import permute_sites, rotate, shift_origin
from crystalcodec.geometry import lattices_from_cell_parameters
from crystalcodec.io.foreign import to_pymatgen
from crystalcodec.representations.base import (
    Encoded,
    InvertibleRepresentation,
    Representation,
    RepresentationError,
)
from crystalcodec.workflow.invariance import another_cell, continuity, same_arrays

__all__ = [
    "CHECKS",
    "ConformanceError",
    "check_representation",
    "displacements",
    "round_trip_errors",
    "sample_crystals",
]

_CUBIC, _HEXAGONAL = [1, 1, 1, 90, 90, 90], [1, 1, 1.6, 90, 90, 120]
_RHOMBOHEDRAL, _MONOCLINIC = [1, 1, 1, 60, 60, 60], [1, 1.3, 1.7, 90, 104, 90]


class ConformanceError(AssertionError):
    """A representation that does not do what it declares."""


def sample_crystals(n: int = 24, *, seed: int = 0, max_sites: int = 20) -> Crystals:
    """Made crystals of many kinds: 1 to ``max_sites`` sites, 1 to 3 elements, all cell shapes.

    No chemistry is meant. Atoms keep some distance and no two sites share their coordinates; the
    first crystals are the awkward ones: a single atom, an atom at the origin, coordinates just
    below 1, one element only, a needle-like cell.

    >>> len(sample_crystals(5))
    5
    """
    rng = np.random.default_rng(seed)
    crystals = []
    for i in range(n):
        shape = [_CUBIC, _HEXAGONAL, _RHOMBOHEDRAL, _MONOCLINIC][i % 4]
        cell = np.array(shape, float) if i % 8 < 4 else np.r_[1.0, 1.2, 1.4, 75, 98, 112]
        if i >= 4:
            cell[3:] += rng.uniform(-3, 3, 3) * (i % 3 == 0)
        n_sites = 1 if i == 0 else int(rng.integers(1, max_sites + 1))
        elements = rng.choice(np.arange(1, 95), size=1 if i == 3 else 3, replace=False)
        lattice = lattices_from_cell_parameters(cell)[0]
        lattice *= (12.0 * n_sites / abs(np.linalg.det(lattice))) ** (1 / 3)
        if i == 4:
            lattice *= np.array([[0.4], [0.4], [6.25]])
        # Points of a grid, shuffled: sites are apart, and some lie on faces of the cell.
        side = int(np.ceil(n_sites ** (1 / 3)))
        grid = np.stack(np.meshgrid(*[np.arange(side) / side] * 3, indexing="ij"), -1)
        coords = rng.permutation(grid.reshape(-1, 3))[:n_sites]
        coords = coords + rng.uniform(0, 0.2 / side, coords.shape) * (i % 2)
        if i == 2:
            # The site at the origin, where there is one, so that no two share a place.
            coords[(coords**2).sum(axis=1).argmin()] = 1 - 1e-9
        crystals.append(Crystals.single(lattice, coords, rng.choice(elements, size=n_sites)))
    return Crystals.concatenate(crystals)


def round_trip_errors(
    crystals: Crystals, decoded: Crystals, *, any_order: bool = False
) -> npt.NDArray[np.float64]:
    """(n,) the largest distance, Å, between a site or lattice point and its decoded twin.

    The frame of each decoded crystal is first turned onto the original one (polar decomposition).
    Infinite where species or, unless ``any_order``, their order differ; in any order each site's
    twin is the one of its element in the assignment of the smallest sum of squared distances.
    """
    if len(crystals) != len(decoded):
        raise ConformanceError(f"{len(crystals)} crystals went in, {len(decoded)} came back")
    errors = np.full(len(crystals), np.inf)
    for i, (one, other) in enumerate(zip(crystals, decoded, strict=True)):
        if any_order:
            other = _in_order_of(one, other)
        if not np.array_equal(one.numbers, other.numbers):
            continue
        u, _, vt = np.linalg.svd(other.lattices[0].T @ one.lattices[0])
        # A rotation alone: the mirror image is another crystal.
        u[:, -1] *= np.sign(np.linalg.det(u @ vt))
        turned = other.lattices[0] @ u @ vt
        difference = other.frac_coords - one.frac_coords
        coords = one.frac_coords + difference - np.rint(difference)
        apart = coords @ turned - one.cart_coords
        vectors = turned - one.lattices[0]
        errors[i] = max(np.linalg.norm(apart, axis=1).max(), np.linalg.norm(vectors, axis=1).max())
    return errors


def displacements(crystals: Crystals, decoded: Crystals) -> npt.NDArray[np.float64]:
    """(n,) the largest distance, Å, between a site and its decoded twin, whatever the cells are.

    By pymatgen's StructureMatcher, on primitive cells; infinite where these do not match within a
    twentieth of the mean spacing of sites, 5 % of the lengths of the cell and 1 degree.
    """
    from pymatgen.analysis.structure_matcher import StructureMatcher

    if len(crystals) != len(decoded):
        raise ConformanceError(f"{len(crystals)} crystals went in, {len(decoded)} came back")
    matcher = StructureMatcher(ltol=0.05, stol=0.05, angle_tol=1, scale=False)
    errors = np.full(len(crystals), np.inf)
    structures = zip(to_pymatgen(crystals), to_pymatgen(decoded), strict=True)
    for i, (one, other) in enumerate(structures):
        found = matcher.get_rms_dist(one, other)
        if found is not None:
            errors[i] = found[1] * (one.volume / len(one)) ** (1 / 3)
    return errors


def _in_order_of(one: Crystals, other: Crystals) -> Crystals:
    """The other crystal with its sites in the order of their twins, where species agree."""
    if not np.array_equal(np.sort(one.numbers), np.sort(other.numbers)):
        return other
    difference = one.frac_coords[:, None] - other.frac_coords
    vectors = (difference - np.rint(difference)) @ one.lattices[0]
    cost = (vectors**2).sum(axis=2)
    cost[one.numbers[:, None] != other.numbers] = 1e6
    _, order = linear_sum_assignment(cost)
    return Crystals(other.lattices, other.frac_coords[order], other.numbers[order], other.offsets)


def check_representation(representation: Representation, crystals: Crystals | None = None) -> None:
    """Run every check of :data:`CHECKS` that applies.

    Parameters
    ----------
    representation
        Any representation, registered or not.
    crystals
        What to encode; :func:`sample_crystals` where none are given.

    Raises
    ------
    ConformanceError
        On the first check that fails.
    """
    batch = sample_crystals() if crystals is None else crystals
    ready = representation.fit(batch) if representation.needs_fit else representation
    for check in CHECKS.values():
        check(ready, batch)


def check_fields(representation: Representation, crystals: Crystals) -> None:
    """Arrays are finite, float32, of the declared shapes; each field is of its declared kind."""
    encoded = representation.encode(crystals)
    shapes = representation.shapes()
    _require(set(shapes) == set(encoded.arrays), f"arrays {[*encoded.arrays]}, said {[*shapes]}")
    for name, array in encoded.arrays.items():
        kinds = {field.kind for field in representation.fields if field.array == name}
        wanted = (np.float32, np.int64) if kinds == {"index"} else (np.float32,)
        _require(array.dtype in wanted, f"array {name!r} is {array.dtype}, not float32")
        _require(bool(np.isfinite(array).all()), f"array {name!r} is not finite")
        axes = [axis for axis in shapes[name] if isinstance(axis, str)]
        _require(not axes or axes == [shapes[name][0]], f"array {name!r}: {axes} is not first")
        rows = len(encoded)
        if axes:
            cuts = encoded.offsets.get(axes[0], np.zeros(0, int))
            _require(
                len(cuts) == rows + 1 and cuts[0] == 0 and bool((np.diff(cuts) >= 0).all()),
                f"offsets of the axis {axes[0]!r} do not cut {rows} crystals",
            )
            rows = int(cuts[-1])
        _require(
            array.shape == (rows, *shapes[name][len(axes) :]),
            f"array {name!r} has shape {array.shape}, said {shapes[name]}",
        )
    if not any(isinstance(axis, str) for shape in shapes.values() for axis in shape):
        names = representation.feature_names()
        n_numbers = sum(math.prod(map(int, shape)) for shape in shapes.values())
        _require(len(set(names)) == n_numbers, f"{len(set(names))} names of {n_numbers} numbers")
    for name, letters in representation.layouts.items():
        _require(name in shapes, f"a layout for the array {name!r}, which is not there")
        _require(
            len(letters) == len(set(letters)) == len(shapes[name]) and set(letters) <= set("cdhw"),
            f"array {name!r} of shape {shapes[name]} cannot have the layout {letters!r}",
        )
    for field in representation.fields:
        part = field.of(encoded.arrays)
        # A ragged axis takes the place of the batch axis.
        batch = int(not (field.shape and isinstance(field.shape[0], str)))
        _require(
            part.shape[1:] == field.shape[1 - batch :],
            f"field {field.name!r} has shape {part.shape}, said {field.shape}",
        )
        if field.kind == "periodic":
            inside = bool(((part >= 0) & (part < 1)).all())
            _require(inside, f"periodic field {field.name!r} leaves [0, 1)")
        if field.kind == "categorical":
            _require(field.axis is not None, f"categorical field {field.name!r} names no axis")
            one_hot = bool(
                np.isin(part, (0, 1)).all() and (part.sum(batch + (field.axis or 0)) <= 1).all()
            )
            _require(one_hot, f"categorical field {field.name!r} is not one-hot")


def check_batches(representation: Representation, crystals: Crystals) -> None:
    """A batch equals its single crystals, in any order, and an empty batch is none."""
    encoded = representation.encode(crystals)
    every = np.sort(np.r_[encoded.index, [f.index for f in encoded.failures]].astype(int))
    _require(
        np.array_equal(every, np.arange(len(crystals))),
        "index and failures do not cover the batch once each",
    )
    _require(all(f.reason for f in encoded.failures), "a failure without a reason")
    for i, one in enumerate(crystals):
        alone = representation.encode(one)
        if not len(alone):
            _require(i not in encoded.index, f"crystal {i} fails alone and not in the batch")
            continue
        _require(i in encoded.index, f"crystal {i} fails in the batch and not alone")
        place = int(np.searchsorted(encoded.index, i))
        for name, array in _by_crystal(representation, encoded, place).items():
            _require(
                np.array_equal(array, alone[name]), f"crystal {i} differs in its batch: {name}"
            )
    none = representation.encode(crystals[:0])
    _require(len(none) == 0 and not none.failures, "an empty batch gives something")


def check_input_unchanged(representation: Representation, crystals: Crystals) -> None:
    """Encoding changes no crystal, decoding no array, and both give the same twice."""
    before = crystals.content_hash
    encoded = representation.encode(crystals)
    _require(crystals.content_hash == before, "encode changed its crystals")
    again = representation.encode(crystals)
    for name, array in encoded.arrays.items():
        _require(np.array_equal(array, again[name]), f"two encodings differ: {name}")
    if isinstance(representation, InvertibleRepresentation):
        copies = {name: array.copy() for name, array in encoded.arrays.items()}
        representation.decode(encoded)
        for name, array in encoded.arrays.items():
            _require(np.array_equal(array, copies[name]), f"decode changed the array {name!r}")


def check_config(representation: Representation, crystals: Crystals) -> None:
    """Name and parameters survive JSON and give the same representation again."""
    del crystals
    config = json.loads(json.dumps(representation.config()))
    _require(config.pop("name", None) == representation.name, "config does not hold the name")
    _require(type(representation)(**config) == representation, "config gives another one")
    _require(bool(representation.lost), "it does not say what is lost")


def check_round_trip(representation: Representation, crystals: Crystals) -> None:
    """Every crystal that was encoded comes back, within the stated tolerance."""
    if not isinstance(representation, InvertibleRepresentation):
        return
    encoded = representation.encode(crystals)
    decoded = representation.decode(encoded)
    _require(not decoded.failures, f"an encoded crystal does not decode: {decoded.failures[:1]}")
    _require(len(encoded) > 0, "all crystals are refused, so that nothing is shown")
    held = crystals[encoded.index]
    if representation.keeps_cell:
        errors = round_trip_errors(
            held, decoded.crystals, any_order=not representation.keeps_site_order
        )
    else:
        errors = displacements(held, decoded.crystals)
    if decoded.confidence is not None:
        _require(
            decoded.confidence.shape == (len(decoded.crystals),)
            and bool(((decoded.confidence >= 0) & (decoded.confidence <= 1)).all()),
            "confidence is not one number from 0 to 1 for each crystal",
        )
    worst = float(errors.max(initial=0.0))
    limit = representation.round_trip_tolerance
    _require(worst <= limit, f"a site comes back {worst:g} Å away, said at most {limit:g}")


def check_invariances(representation: Representation, crystals: Crystals) -> None:
    """The arrays stay the same under exactly the changes that the class declares."""
    encoded = representation.encode(crystals)
    crystals = crystals[encoded.index]
    rng = np.random.default_rng(0)
    changes: dict[Any, Callable[[Crystals], Crystals]] = {
        "permutation": lambda c: permute_sites(c, rng),
        "translation": lambda c: shift_origin(c, rng),
        "rotation": lambda c: rotate(c, rng),
        "supercell": lambda c: c.supercell([1, 1, 2]),
        "unit_cell": lambda c: another_cell(c, rng),
    }
    for name, change in changes.items():
        changed = representation.encode(change(crystals))
        same = not changed.failures and same_arrays(representation, encoded, changed)
        declared = name in representation.invariances
        _require(not declared or same, f"{name} changes the arrays of a class that excludes it")
        _require(declared or not same, f"{name} changes nothing, yet it is not declared")


def check_continuity(representation: Representation, crystals: Crystals) -> None:
    """Under small moves of the atoms the arrays do what the class declares, and no less."""
    crystals = Crystals.concatenate([crystals, _alike()])
    found = {continuity(representation, crystals, seed) for seed in range(3)}
    worst = max(found, key=("constant", "continuous", "discontinuous").index)
    declared = representation.continuity
    _require(worst == declared, f"as atoms move by little the arrays are {worst}, said {declared}")


def _alike() -> Crystals:
    """A crystal whose sites of an element have the same surroundings, turned.

    Lists that are sorted by a size of each site jump there, where neighbours in the list differ
    and their sizes do not.
    """
    ring = np.array([[0.1, 0.2, 0.4], [0.4, 0.1, 0.2], [0.2, 0.4, 0.1]])
    return Crystals.single(np.eye(3) * 6, [*ring, *(ring + 0.5)], [78] * 3 + [82] * 3)


def check_junk(representation: Representation, crystals: Crystals) -> None:
    """Junk is refused with a reason or an error of ours; nothing else is raised."""
    if not isinstance(representation, InvertibleRepresentation):
        return
    encoded = representation.encode(crystals)
    rng = np.random.default_rng(0)
    junk: dict[str, Callable[[npt.NDArray[Any]], npt.NDArray[Any]]] = {
        "zeros": np.zeros_like,
        "ones": np.ones_like,
        "NaN": lambda a: np.full(a.shape, np.nan, np.float32),
        "infinity": lambda a: np.full(a.shape, -np.inf, np.float32),
        "huge numbers": lambda a: np.full(a.shape, 3e38, np.float32),
        "uniform noise": lambda a: rng.random(a.shape).astype(np.float32),
        "normal noise": lambda a: rng.standard_normal(a.shape).astype(np.float32) * 100,
        "noise on top": lambda a: a + rng.normal(0, 0.3, a.shape).astype(np.float32),
        "whole numbers": lambda a: rng.integers(-5, 200, a.shape),
        "reversed rows": lambda a: a[:, ::-1].copy() if a.ndim > 1 else a,
    }
    for name, make in junk.items():
        arrays = {key: make(array) for key, array in encoded.arrays.items()}
        try:
            decoded = representation.decode(_like(encoded, arrays))
        except RepresentationError:
            continue
        except Exception as error:
            raise ConformanceError(f"{name} raises {type(error).__name__}: {error}") from error
        every = sorted([*decoded.index.tolist(), *(f.index for f in decoded.failures)])
        _require(every == list(range(len(encoded))), f"{name}: results do not cover the input")
        _require(len(decoded.crystals) == len(decoded.index), f"{name}: crystals without index")
        if name in ("NaN", "infinity", "zeros"):
            _require(not len(decoded.crystals), f"{name} decodes to a crystal")
    for name, array in encoded.arrays.items():
        wrong = {**encoded.arrays, name: array[..., :-1]}
        try:
            representation.decode(_like(encoded, wrong))
        except RepresentationError:
            continue
        raise ConformanceError(f"array {name!r} of a wrong shape is taken")


CHECKS: Final[dict[str, Callable[[Representation, Crystals], None]]] = {
    "fields": check_fields,
    "batches": check_batches,
    "input unchanged": check_input_unchanged,
    "config": check_config,
    "round trip": check_round_trip,
    "invariances": check_invariances,
    "continuity": check_continuity,
    "junk": check_junk,
}
"""The checks by name; each takes a representation and crystals."""


def _like(
    encoded: Encoded, arrays: Mapping[str, npt.NDArray[Any]]
) -> Mapping[str, npt.NDArray[Any]] | Encoded:
    """Other arrays, given as decode takes them: with offsets where there are any."""
    return dataclasses.replace(encoded, arrays=arrays) if encoded.offsets else arrays


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ConformanceError(message)


def _by_crystal(
    representation: Representation, encoded: Encoded, place: int
) -> dict[str, npt.NDArray[Any]]:
    """The arrays of one crystal, batch axis kept."""
    arrays = {}
    for name, shape in representation.shapes().items():
        start, stop = place, place + 1
        if shape and isinstance(shape[0], str):
            start, stop = encoded.offsets[shape[0]][place : place + 2].tolist()
        arrays[name] = encoded.arrays[name][start:stop]
    return arrays
