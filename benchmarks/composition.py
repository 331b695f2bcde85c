"""Composition: how many crystals a second are encoded, beside matminer and ElementEmbeddings.

The peers take a formula or a pymatgen composition at a time, made beforehand; ours takes the batch
of crystals. Crystals are 1,000 of MP-20 val. Run on one thread:

    python benchmarks/composition.py
"""

from __future__ import annotations

import time
import warnings

from record import SHARED_DATA, best_of, record  # first: it sets the number of threads

# isort: split
import numpy as np
from elementembeddings.composition import CompositionalEmbedding
from elementembeddings.core import Embedding
from matminer.featurizers.composition.composite import ElementProperty

from crystalcodec import Crystals, read, to_pymatgen
from crystalcodec.failures import count_reasons
from crystalcodec.representations.composition import (
    POOLINGS,
    Composition,
    ElementEmbedding,
    Magpie,
    SpeciesEmbedding,
)


def sample() -> Crystals:
    everything = read(SHARED_DATA / "mp20" / "val.csv.gz", structure_column="cif").crystals
    chosen = np.random.default_rng(0).permutation(len(everything))[:1000]
    return everything[np.sort(chosen)]


def relative_difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Largest difference, of each column relative to the largest number of the column."""
    return float((np.abs(ours - theirs) / (np.abs(theirs).max(axis=0) + 1e-30)).max())


def magpie(crystals: Crystals) -> dict[str, object]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # matminer announces a change of a default
        featurizer = ElementProperty.from_preset("magpie")
    compositions = [structure.composition for structure in to_pymatgen(crystals)]
    theirs = np.array([featurizer.featurize(composition) for composition in compositions])
    ours = Magpie()
    result = ours.encode(crystals)
    n = len(crystals)
    peer = n / best_of(lambda: [featurizer.featurize(c) for c in compositions], 3)
    rate = n / best_of(lambda: ours.encode(crystals), 30)
    return {
        "ratio": rate / peer,
        "per_s": rate,
        "matminer_per_s": peer,
        "n_failed": count_reasons(result.failures),
        "largest_relative_difference_float32": relative_difference(result["magpie"], theirs),
        "largest_relative_difference_float64": relative_difference(
            ours.statistics(crystals), theirs
        ),
    }


def weighted_mean(crystals: Crystals, table: str) -> dict[str, object]:
    ours = ElementEmbedding(table)
    result = ours.encode(crystals)
    held = crystals[result.index]
    loaded = Embedding.load_data(table)
    # Formulas, since that is what the package takes; reduced ones are the shortest to parse.
    formulas = [structure.composition.reduced_formula for structure in to_pymatgen(held)]

    def mean_vectors(embedding: Embedding | str) -> np.ndarray:
        return np.array(
            [CompositionalEmbedding(f, embedding).feature_vector("mean") for f in formulas]
        )

    theirs = mean_vectors(loaded)
    n = len(held)
    peer = n / best_of(lambda: mean_vectors(loaded))
    start = time.perf_counter()
    for formula in formulas[:200]:
        CompositionalEmbedding(formula, table).feature_vector("mean")
    by_name = 200 / (time.perf_counter() - start)
    rate = n / best_of(lambda: ours.encode(held), 30)
    array = result["element_embedding"]
    return {
        "ratio_with_the_table_loaded": rate / peer,
        "ratio_by_name": rate / by_name,
        "per_s": rate,
        "elementembeddings_loaded_per_s": peer,
        "elementembeddings_by_name_per_s": by_name,
        "dimension": array.shape[1],
        "n_failed": count_reasons(result.failures),
        "largest_relative_difference": relative_difference(array, theirs),
    }


def species(crystals: Crystals) -> dict[str, object]:
    embedding = SpeciesEmbedding()
    embedding.encode(crystals[:1])  # pymatgen and the table are loaded
    start = time.perf_counter()
    result = embedding.encode(crystals)
    first = time.perf_counter() - start
    return {
        "first_time_per_s": len(crystals) / first,
        "again_per_s": len(crystals) / best_of(lambda: embedding.encode(crystals)),
        "oxidation_states": embedding.assign(crystals).counts,
        "n_failed": count_reasons(result.failures),
    }


def main() -> None:
    crystals = sample()
    n = len(crystals)
    others = {
        "composition": Composition(),
        "mat2vec, all poolings": ElementEmbedding("mat2vec", POOLINGS),
        "crystallm, mean": ElementEmbedding("crystallm"),
    }
    record(
        "composition",
        {
            "magpie": magpie(crystals),
            "weighted_mean": {t: weighted_mean(crystals, t) for t in ("magpie", "mat2vec")},
            "others_per_s": {
                name: n / best_of(lambda r=r: r.encode(crystals), 20) for name, r in others.items()
            },
            "species_embedding": species(crystals),
            "n_crystals": n,
            "peers": "one formula at a time; compositions and formulas made beforehand",
        },
        packages=("matminer", "ElementEmbeddings", "pymatgen", "scipy"),
    )


if __name__ == "__main__":
    main()
