"""Pictures of crystals against reference pictures: counts of atoms, features, power spectra."""

from crystalcodec.evaluation.pictures.arrays import PictureSet
from crystalcodec.evaluation.pictures.figures import kolmogorov_smirnov, measure_pictures
from crystalcodec.evaluation.pictures.frechet import (
    frechet_distance,
    frechet_distance_of_moments,
    principal_features,
)
from crystalcodec.evaluation.pictures.spectra import (
    SMALLEST_POWER,
    log_spectra,
    power_spectra,
    spectrum_frequencies,
)

__all__ = [
    "SMALLEST_POWER",
    "PictureSet",
    "frechet_distance",
    "frechet_distance_of_moments",
    "kolmogorov_smirnov",
    "log_spectra",
    "measure_pictures",
    "power_spectra",
    "principal_features",
    "spectrum_frequencies",
]
