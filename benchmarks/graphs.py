"""Crystal graphs: how many a second, and whether the edges are those of other programs.

1,000 crystals of MP-20 val in memory, one thread. Two graphs:

- 8 Å, 12 neighbours. Peers: CGCNN's published procedure, one crystal at a time: pymatgen's
  ``get_all_neighbors``, sorted, the first 12; and pymatgen's ``get_neighbor_list`` arrays with a
  sort and a cut in numpy. Ours: all arrays of ``CrystalGraph``.
- 6 Å, all neighbours. Peer: vesin, one crystal at a time, with what a graph needs: pairs, shifts,
  vectors and distances, copied; and, beside it, pairs alone. Ours: all arrays of
  ``CrystalGraph(neighbors="radius")``.

Edges are compared one by one with vesin's and pymatgen's on all crystals, and on as many made
cells: thin, skew, of one atom.

    python benchmarks/graphs.py
"""

from __future__ import annotations

from record import SHARED_DATA, best_of, record  # first: it sets the number of threads

# isort: split
import warnings

import numpy as np
import vesin
from pymatgen.core import Structure

from crystalcodec import Crystals, read, to_pymatgen
from crystalcodec.failures import count_reasons
from crystalcodec.representations.crystal_graph import CrystalGraph
from crystalcodec.representations.neighbors import nearest_neighbors, neighbors_within
from crystalcodec.representations.unit_graph import UnitGraph
from crystalcodec.testing import round_trip_errors

Rows = list[tuple[int, ...]]


def by_cgcnn(structure: Structure) -> tuple[np.ndarray, np.ndarray]:
    found = structure.get_all_neighbors(8.0, include_index=True)
    found = [sorted(near, key=lambda one: one[1]) for near in found]
    indices = [[one[2] for one in near[:12]] for near in found]
    distances = [[one[1] for one in near[:12]] for near in found]
    return np.array(indices, dtype=object), np.array(distances, dtype=object)


def by_pymatgen_arrays(structure: Structure) -> tuple[np.ndarray, ...]:
    centers, others, images, distances = structure.get_neighbor_list(8.0, exclude_self=True)
    order = np.lexsort((distances, centers))
    counts = np.bincount(centers, minlength=len(structure))
    rank = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    taken = order[rank < 12]
    return centers[taken], others[taken], images[taken], distances[taken]


def by_vesin(crystals: Crystals, cutoff: float, quantities: str) -> list[tuple[np.ndarray, ...]]:
    find = vesin.NeighborList(cutoff=cutoff, full_list=True, n_threads=1)
    cart, offsets = crystals.cart_coords, crystals.offsets
    return [
        find.compute(
            points=cart[offsets[i] : offsets[i + 1]],
            box=crystals.lattices[i],
            periodic=True,
            quantities=quantities,
        )
        for i in range(len(crystals))
    ]


def rows(*columns: np.ndarray) -> Rows:
    return sorted(map(tuple, np.column_stack(columns).astype(int).tolist()))


def equal_edges(crystals: Crystals, cutoff: float) -> dict[str, int]:
    """Crystals whose edges within the cut-off equal those of each peer, edge by edge."""
    near = neighbors_within(crystals, cutoff, order="site")
    theirs = by_vesin(crystals, cutoff, "ijS")
    counts = {"n_crystals": len(crystals), "n_edges": len(near), "vesin": 0, "pymatgen": 0}
    for i, structure in enumerate(to_pymatgen(crystals)):
        part = slice(*near.offsets[i : i + 2].tolist())
        first = crystals.offsets[i]
        ours = rows(near.centers[part] - first, near.neighbors[part] - first, near.images[part])
        centers, others, images, _ = structure.get_neighbor_list(cutoff, exclude_self=True)
        counts["vesin"] += ours == rows(*theirs[i])
        counts["pymatgen"] += ours == rows(centers, others, images)
    heights = 1 / np.linalg.norm(np.linalg.inv(crystals.lattices), axis=1).max(axis=1)
    counts["n_thinner_than_the_cutoff"] = int((heights < cutoff).sum())
    return counts


def made_cells(n: int) -> Crystals:
    rng = np.random.default_rng(0)
    crystals = []
    while len(crystals) < n:
        lattice = rng.normal(size=(3, 3)) * rng.uniform(1, 9, 3)[:, None]
        sites = 1 if len(crystals) % 5 == 0 else int(rng.integers(1, 20))
        if abs(np.linalg.det(lattice)) > 8 * sites:
            crystals.append(
                Crystals.single(lattice, rng.random((sites, 3)), rng.integers(1, 90, sites))
            )
    return Crystals.concatenate(crystals)


def main() -> None:
    everything = read(SHARED_DATA / "mp20" / "val.csv.gz", structure_column="cif").crystals
    chosen = np.random.default_rng(0).permutation(len(everything))[:1000]
    crystals = everything[np.sort(chosen)]
    structures = to_pymatgen(crystals)
    nearest, radius = CrystalGraph(), CrystalGraph(neighbors="radius", cutoff=6.0)
    encoded = nearest.encode(crystals)
    decoded = nearest.decode(encoded)

    worst = 0.0
    warnings.simplefilter("ignore")
    for i, structure in enumerate(structures):
        _, distances = by_cgcnn(structure)
        part = slice(*encoded.offsets["edges"][i : i + 2].tolist())
        theirs = np.concatenate([np.asarray(row, float) for row in distances])
        worst = max(worst, float(np.abs(theirs - encoded["distances"][part]).max()))

    seconds = {
        "cgcnn": best_of(lambda: [by_cgcnn(one) for one in structures], 2),
        "pymatgen_arrays": best_of(lambda: [by_pymatgen_arrays(one) for one in structures], 3),
        "graph_12": best_of(lambda: nearest.encode(crystals), 15),
        "vesin": best_of(lambda: by_vesin(crystals, 6.0, "ijSDd"), 15),
        "graph_6": best_of(lambda: radius.encode(crystals), 15),
        "vesin_pairs_alone": best_of(lambda: by_vesin(crystals, 6.0, "ij"), 7),
        "neighbors_6": best_of(lambda: neighbors_within(crystals, 6.0, order="site"), 7),
        "neighbors_6_by_distance": best_of(lambda: neighbors_within(crystals, 6.0), 7),
        "nearest_100": best_of(lambda: nearest_neighbors(crystals, 100), 3),
        "decode": best_of(lambda: nearest.decode(encoded), 5),
        "units": best_of(lambda: UnitGraph().encode(crystals), 3),
    }
    rates = {name: len(crystals) / value for name, value in seconds.items()}
    record(
        "graphs",
        {
            "ratio_12_neighbours_to_cgcnn": rates["graph_12"] / rates["cgcnn"],
            "ratio_12_neighbours_to_pymatgen_arrays": rates["graph_12"] / rates["pymatgen_arrays"],
            "ratio_6_angstrom_to_vesin": rates["graph_6"] / rates["vesin"],
            "crystals_per_s": rates,
            "n_crystals": len(crystals),
            "n_failed": count_reasons(encoded.failures),
            "n_edges_12_neighbours": len(encoded["edges"]),
            "n_edges_6_angstrom": len(radius.encode(crystals)["edges"]),
            "largest_difference_of_distances_from_cgcnn_angstrom": worst,
            "crystals_with_equal_edges_at_6_angstrom": equal_edges(crystals, 6.0),
            "made_cells_with_equal_edges_at_5_angstrom": equal_edges(made_cells(1000), 5.0),
            "n_decoded": len(decoded.crystals),
            "largest_round_trip_error_angstrom": float(
                round_trip_errors(crystals, decoded.crystals).max()
            ),
        },
        packages=("pymatgen", "vesin"),
    )


if __name__ == "__main__":
    main()
