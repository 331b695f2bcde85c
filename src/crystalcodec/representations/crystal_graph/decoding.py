"""From graphs back to crystals: walk the edges, close the loops, check every edge."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals, find_faults
from crystalcodec.elements import MAX_ATOMIC_NUMBER
from crystalcodec.representations.base import Arrays, Decoded, FailureNotes, Offsets

__all__ = ["crystals_of_graphs"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

# Sums of products of whole numbers stay exact in float64 up to here, and no crystal comes near.
_MOST_CELLS = 1_000_000
_AXES = {
    "numbers": "sites",
    "edges": "edges",
    "shifts": "edges",
    "vectors": "edges",
    "distances": "edges",
    "anchor_sites": "parts",
    "anchors": "parts",
}


@dataclass(frozen=True)
class _Graphs:
    """Graphs of sound numbers, rows counted through the batch."""

    n: int
    numbers: Ints
    site_owner: Ints
    ends: Ints
    shifts: Floats
    vectors: Floats
    edge_owner: Ints
    anchor_sites: Ints
    anchors: Floats
    lattices: Floats


def crystals_of_graphs(arrays: Arrays, offsets: Offsets, tolerance: float) -> Decoded:
    """The crystals of graphs, one for each whose edges agree with one another.

    Parameters
    ----------
    arrays
        ``numbers``, ``edges``, ``shifts``, ``vectors``, ``distances``, ``lattice``,
        ``anchor_sites`` and ``anchors`` of :class:`CrystalGraph`.
    offsets
        Of the axes ``sites``, ``edges`` and ``parts``.
    tolerance
        Å by which a vector may differ from what the crystal has in its place.

    Notes
    -----
    Edge ``e`` from site i to an image of site j says ``x_j + shift @ L - x_i = vector``. A walk
    from the anchors along edges gives each site as a sum of vectors less a sum of shifts. An edge
    off the walk closes a loop, ``vector sum = shift sum @ L``: where the loops of a crystal span
    space, the lattice L follows from them by least squares and has to agree with the array
    ``lattice``; where they do not, L is that array. At last every edge is held against the
    crystal.
    """
    n = len(arrays["lattice"])
    notes = FailureNotes()
    _note_junk(notes, arrays, offsets, tolerance)
    kept = ~notes.mask(n)
    places = np.flatnonzero(kept)

    def note(found: Bools, reason: str, detail: str) -> None:
        mask = np.zeros(n, bool)
        mask[places[found]] = True
        notes.add(mask, reason, detail)

    graphs = _sound(arrays, offsets, kept)
    sums, cells, roots = _walk(graphs)
    torn = _any(roots < 0, graphs.site_owner, graphs.n)
    note(
        torn,
        "graph not connected",
        "a site that no walk along edges from an anchor reaches has no position",
    )
    source, target = graphs.ends.T
    joined = _any(roots[source] != roots[target], graphs.edge_owner, graphs.n)
    note(joined, "too many anchors", "two fixed sites in one connected part of the graph")
    loops = graphs.vectors - (sums[target] - sums[source])
    turns = graphs.shifts - (cells[target] - cells[source])
    fitted, spanning = _lattices(loops, turns, graphs.edge_owner, graphs.n)
    differ = np.abs(fitted - graphs.lattices).max(axis=(1, 2), initial=0.0) > tolerance
    note(
        spanning & differ,
        "lattice and edges differ",
        f"loops of edges give a lattice more than {tolerance:g} Å off the one that is told",
    )
    lattices = np.where(spanning[:, None, None], fitted, graphs.lattices)
    gaps = np.abs(loops - _times(turns, lattices[graphs.edge_owner]))
    open_ = _any((gaps > tolerance).any(axis=1), graphs.edge_owner, graphs.n)
    note(open_, "edges not consistent", f"loops of edges do not close to {tolerance:g} Å")

    volumes = np.linalg.det(lattices)
    solid = np.where((np.abs(volumes) > 0)[:, None, None], lattices, np.eye(3))
    steps = _times(sums, np.linalg.inv(solid)[graphs.site_owner])
    coords = graphs.anchors[np.maximum(roots, 0)] + steps - cells
    cuts = _cuts(np.bincount(graphs.site_owner, minlength=graphs.n))
    flat = np.zeros(graphs.n, bool)
    faults = find_faults(lattices, coords, graphs.numbers, cuts)
    flat[[fault.index for fault in faults]] = True
    note(flat, "lattice closes no cell", "it has no volume")
    whole = ~notes.mask(n)[places]
    sites = whole[graphs.site_owner]
    crystals = Crystals(
        lattices[whole], coords[sites], graphs.numbers[sites], _cuts(np.diff(cuts)[whole])
    )
    return Decoded.of(n, crystals, notes.in_order())


def _note_junk(notes: FailureNotes, arrays: Arrays, offsets: Offsets, tolerance: float) -> None:
    """Note graphs with numbers that no graph has."""
    n = len(arrays["lattice"])
    sites = np.diff(offsets["sites"])
    owners = {axis: np.repeat(np.arange(n), np.diff(offsets[axis])) for axis in _AXES.values()}

    def note(rows: Bools, axis: str, reason: str, detail: str) -> None:
        notes.add(_any(rows, owners[axis], n), reason, detail)

    notes.add(sites < 1, "no sites", "a crystal needs at least one site")
    notes.add(~np.isfinite(arrays["lattice"]).all(axis=(1, 2)), "not finite", "the lattice")
    for name, axis in _AXES.items():
        rows = np.asarray(arrays[name])
        bad = ~np.isfinite(rows.reshape(len(rows), rows.size // max(1, len(rows)))).all(axis=1)
        note(bad, axis, "not finite", f"the array {name!r} holds NaN or infinity")
    numbers = np.asarray(arrays["numbers"])
    unknown = ~((numbers >= 1) & (numbers <= MAX_ATOMIC_NUMBER) & (numbers == np.rint(numbers)))
    note(unknown, "sites", "no such element", f"atomic numbers are 1 to {MAX_ATOMIC_NUMBER}")
    for name, axis in (("edges", "edges"), ("anchor_sites", "parts")):
        rows = np.asarray(arrays[name]).reshape(len(arrays[name]), -1 if len(arrays[name]) else 1)
        most = np.repeat(sites, np.diff(offsets[axis]))[:, None]
        wrong = ~((rows >= 0) & (rows < most) & (rows == np.rint(rows))).all(axis=1)
        note(wrong, axis, "no such site", f"{name!r} names a site that the crystal does not have")
    shifts = np.asarray(arrays["shifts"])
    odd = ~((np.abs(shifts) <= _MOST_CELLS) & (shifts == np.rint(shifts))).all(axis=1)
    note(odd, "edges", "shift not whole", f"shifts are whole numbers up to {_MOST_CELLS}")
    with np.errstate(over="ignore", invalid="ignore"):
        lengths = np.sqrt((np.asarray(arrays["vectors"], float) ** 2).sum(axis=1))
        apart = ~(np.abs(lengths - arrays["distances"]) <= tolerance)
    note(
        apart,
        "edges",
        "distance and vector differ",
        f"an edge whose vector is not as long as its distance, to {tolerance:g} Å",
    )


def _sound(arrays: Arrays, offsets: Offsets, kept: Bools) -> _Graphs:
    """The graphs that are kept, as whole numbers and float64."""
    counts = {axis: np.diff(offsets[axis]) for axis in _AXES.values()}
    rows = {
        name: np.asarray(arrays[name])[np.repeat(kept, counts[axis])]
        for name, axis in _AXES.items()
    }
    every = np.arange(int(kept.sum()))
    owner = {axis: np.repeat(every, many[kept]) for axis, many in counts.items()}
    starts = _cuts(counts["sites"][kept])[:-1]
    return _Graphs(
        n=len(every),
        numbers=rows["numbers"].astype(np.int64),
        site_owner=owner["sites"],
        ends=rows["edges"].astype(np.int64) + starts[owner["edges"], None],
        shifts=rows["shifts"].astype(float),
        vectors=rows["vectors"].astype(float),
        edge_owner=owner["edges"],
        anchor_sites=rows["anchor_sites"].astype(np.int64) + starts[owner["parts"]],
        anchors=rows["anchors"].astype(float),
        lattices=np.asarray(arrays["lattice"], float)[kept],
    )


def _walk(graphs: _Graphs) -> tuple[Floats, Floats, Ints]:
    """Sums of vectors and of shifts from an anchor to each site, and which anchor; -1 for none."""
    n = len(graphs.numbers)
    sums, cells = np.zeros((n, 3)), np.zeros((n, 3))
    roots = np.full(n, -1)
    roots[graphs.anchor_sites] = np.arange(len(graphs.anchor_sites))
    # Edges are walked both ways; those to sites that are reached are done with.
    source, target = np.concatenate([graphs.ends, graphs.ends[:, ::-1]]).T
    row = np.arange(len(source))
    while True:
        ahead = roots[target] < 0
        source, target, row = source[ahead], target[ahead], row[ahead]
        step = np.flatnonzero(roots[source] >= 0)
        if not len(step):
            return sums, cells, roots
        # Of several edges to a site the first in order is taken.
        found, first = np.unique(target[step], return_index=True)
        before, edge = source[step[first]], row[step[first]]
        sign = np.where(edge < len(graphs.ends), 1.0, -1.0)[:, None]
        edge %= len(graphs.ends)
        sums[found] = sums[before] + sign * graphs.vectors[edge]
        cells[found] = cells[before] + sign * graphs.shifts[edge]
        roots[found] = roots[before]


def _lattices(loops: Floats, turns: Floats, owner: Ints, n: int) -> tuple[Floats, Bools]:
    """The lattices for which ``turns @ lattice`` is nearest to the loops; whether there is one."""
    gram, right = np.zeros((n, 3, 3)), np.zeros((n, 3, 3))
    for i in range(3):
        for j in range(3):
            gram[:, i, j] = np.bincount(owner, turns[:, i] * turns[:, j], minlength=n)
            right[:, i, j] = np.bincount(owner, turns[:, i] * loops[:, j], minlength=n)
    # The determinant is a whole number.
    spanning = np.linalg.det(gram) > 0.5
    gram[~spanning] = np.eye(3)
    return np.asarray(np.linalg.solve(gram, right), float), np.asarray(spanning, bool)


def _times(rows: Floats, matrices: Floats) -> Floats:
    return np.asarray(np.einsum("si,sij->sj", rows, matrices), float)


def _any(rows: npt.ArrayLike, owner: Ints, n: int) -> Bools:
    found = np.zeros(n, bool)
    found[owner[np.asarray(rows, bool)]] = True
    return found


def _cuts(counts: Ints) -> Ints:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
