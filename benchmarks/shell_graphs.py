"""Shell graphs: how much smaller than crystal graphs they are, and how fast they are made.

The peer is our own crystal graph with the same neighbours, which no package makes faster (see
benchmarks/graphs.py). Crystals are 1,000 of MP-20 val drawn with a fixed seed. Run on one thread:

    python benchmarks/shell_graphs.py
"""

from __future__ import annotations

from record import SHARED_DATA, best_of, record  # first: it sets the number of threads

# isort: split
import numpy as np

from crystalcodec import read
from crystalcodec.representations.crystal_graph import CrystalGraph
from crystalcodec.representations.shell_graph import ShellGraph


def main() -> None:
    everything = read(SHARED_DATA / "mp20" / "val.csv.gz", structure_column="cif").crystals
    drawn = np.random.default_rng(0).permutation(len(everything))[:1000]
    crystals = everything[np.sort(drawn)]
    rows = []
    for max_neighbors in (12, 16, 24):
        whole = CrystalGraph(
            max_neighbors=max_neighbors, cutoff=None, ties="kept", tie_tolerance=1e-3
        )
        row: dict[str, object] = {"max_neighbors": max_neighbors}
        edges = whole.encode(crystals)
        row["crystal_graph"] = {
            "nodes": len(edges["numbers"]) / len(crystals),
            "edges": len(edges["distances"]) / len(crystals),
            "crystals_per_second": len(crystals) / best_of(lambda: whole.encode(crystals)),  # noqa: B023
        }
        for max_degree in (0, 3):
            graph = ShellGraph(max_neighbors=max_neighbors, max_degree=max_degree)
            encoded = graph.encode(crystals)
            row[f"shell_graph, max_degree {max_degree}"] = {
                "edges_to_shells": len(edges["distances"]) / len(encoded["distances"]),
                "nodes": len(encoded["numbers"]) / len(crystals),
                "shells": len(encoded["distances"]) / len(crystals),
                "crystals_per_second": len(crystals) / best_of(lambda: graph.encode(crystals)),  # noqa: B023
            }
        rows.append(row)
    record("shell_graphs", {"data": "MP-20 val", "n": len(crystals), "rows": rows})


if __name__ == "__main__":
    main()
