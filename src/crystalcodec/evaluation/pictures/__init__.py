"""Pictures of crystals against reference pictures: counts of atoms, features, power spectra."""

from crystalcodec.evaluation.pictures.arrays import PictureSet, pixel_numbers
from crystalcodec.evaluation.pictures.figures import (
    PictureRows,
    copy_figures,
    count_figures,
    feature_figures,
    kolmogorov_smirnov,
    measure_pictures,
    spectrum_figures,
)
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
    "PictureRows",
    "PictureSet",
    "copy_figures",
    "count_figures",
    "feature_figures",
    "frechet_distance",
    "frechet_distance_of_moments",
    "kolmogorov_smirnov",
    "log_spectra",
    "measure_pictures",
    "pixel_numbers",
    "power_spectra",
    "principal_features",
    "spectrum_figures",
    "spectrum_frequencies",
]
