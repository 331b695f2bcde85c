"""How much generated crystals, taken together, are like held-out ones."""

from crystalcodec.evaluation.distribution.categories import (
    Categories,
    jensen_shannon_distance,
    total_variation,
)
from crystalcodec.evaluation.distribution.coverage import (
    CUTOFFS,
    Coverage,
    Cutoffs,
)
from crystalcodec.evaluation.distribution.discrepancy import Discrepancy, median_distance
from crystalcodec.evaluation.distribution.fingerprints import (
    composition_fingerprints,
    fixed_rows,
    structure_fingerprints,
)
from crystalcodec.evaluation.distribution.measure import measure
from crystalcodec.evaluation.distribution.wasserstein import Wasserstein, wasserstein_distance

__all__ = [
    "CUTOFFS",
    "Categories",
    "Coverage",
    "Cutoffs",
    "Discrepancy",
    "Wasserstein",
    "composition_fingerprints",
    "fixed_rows",
    "jensen_shannon_distance",
    "measure",
    "median_distance",
    "structure_fingerprints",
    "total_variation",
    "wasserstein_distance",
]
