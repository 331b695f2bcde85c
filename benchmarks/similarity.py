"""Nearest crystals: rows compared a second, each metric, beside scikit-learn's and scipy's.

The ten nearest of 7,344 crystals (MP-20 val) for 1,000 of them, by the 132 Magpie statistics
standardised over the crystals. Peers: scikit-learn's brute-force NearestNeighbors where it has the
metric; else scipy's cdist of everything (correlations: of ranks for Spearman) and a partition. Run
on one thread:

    python benchmarks/similarity.py
"""

from __future__ import annotations

from record import SHARED_DATA, best_of, record  # first: it sets the number of threads

# isort: split
import numpy as np
from scipy.spatial.distance import cdist
from scipy.stats import rankdata
from sklearn.neighbors import NearestNeighbors

from crystalcodec import read
from crystalcodec.evaluation.similarity import SIMILARITY_METRICS, nearest
from crystalcodec.representations.composition import Magpie
from crystalcodec.representations.features import features_of

K = 10


def by_scikit_learn(queries, rows, metric):
    found = NearestNeighbors(n_neighbors=K, algorithm="brute", metric=metric).fit(rows)
    return found.kneighbors(queries)[0]


def by_scipy(queries, rows, metric):
    if metric == "spearman":
        queries, rows = rankdata(queries, axis=1), rankdata(rows, axis=1)
    distances = cdist(queries, rows, "correlation")
    return np.sort(np.partition(distances, K - 1, axis=1)[:, :K], axis=1)


def main() -> None:
    everything = read(SHARED_DATA / "mp20" / "val.csv.gz", structure_column="cif").crystals
    features = features_of(Magpie(), everything)
    rows = features.rows.astype(np.float64)
    rows = (rows - rows.mean(axis=0)) / np.maximum(rows.std(axis=0), 1e-9)
    some = np.sort(np.random.default_rng(0).permutation(len(rows))[:1000])
    queries = rows[some]
    pairs = len(queries) * len(rows)
    figures = {}
    for metric, kind in SIMILARITY_METRICS.items():
        peer = by_scipy if metric in ("pearson", "spearman") else by_scikit_learn
        values = nearest(queries, rows, K, metric)[1]
        peers = peer(queries, rows, metric)
        ours = values if kind == "distance" else 1 - values
        seconds = best_of(lambda m=metric: nearest(queries, rows, K, m), 5)
        peer_seconds = best_of(lambda m=metric, p=peer: p(queries, rows, m), 3)
        figures[metric] = {
            "ratio": peer_seconds / seconds,
            "pairs_per_s": pairs / seconds,
            "peer_pairs_per_s": pairs / peer_seconds,
            "peer": "scikit-learn" if peer is by_scikit_learn else "scipy",
            "largest_difference": float(np.abs(ours - peers).max()),
        }
    record(
        "similarity",
        {
            "metrics": figures,
            "n_queries": len(queries),
            "n_rows": len(rows),
            "n_columns": rows.shape[1],
            "n_failed": len(features.failures),
            "k": K,
        },
        packages=("scikit-learn", "scipy"),
    )


if __name__ == "__main__":
    main()
