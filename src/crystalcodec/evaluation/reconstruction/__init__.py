"""Crystals against the crystals they should be: matches, distances of sites, coverage."""

from crystalcodec.evaluation.reconstruction.figures import (
    best_of_samples,
    measure,
    measure_coverage,
    measure_pairs,
    published_validity,
)
from crystalcodec.evaluation.reconstruction.matching import (
    OUTCOMES,
    match_pairs,
    same_composition_pairs,
)
from crystalcodec.evaluation.reconstruction.sites import MOST_SITES, pair_sites, site_differences

__all__ = [
    "MOST_SITES",
    "OUTCOMES",
    "best_of_samples",
    "match_pairs",
    "measure",
    "measure_coverage",
    "measure_pairs",
    "pair_sites",
    "published_validity",
    "same_composition_pairs",
    "site_differences",
]
