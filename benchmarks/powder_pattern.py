"""Powder patterns: how many crystals a second, beside pymatgen's XRDCalculator.

The peer makes the Bragg peaks of each structure, already in memory, from 10 to 90 degrees; ours
makes the broadened pattern, and, timed apart, the peaks alone. Crystals are 1,000 of MP-20 val
drawn with a fixed seed. Peaks are compared before any broadening: reflections nearer than 0.002
degrees are taken together on both sides, and pymatgen is told to keep peaks below 0.001 of 100,
since it cuts reflections of one angle apart at the edges of bins 0.00001 degrees wide, and drops
the weak pieces. Run on one thread:

    python benchmarks/powder_pattern.py
"""

from __future__ import annotations

from record import SHARED_DATA, best_of, record  # first: it sets the number of threads

# isort: split
import numpy as np
from pymatgen.analysis.diffraction.core import AbstractDiffractionPatternCalculator
from pymatgen.analysis.diffraction.xrd import XRDCalculator

from crystalcodec import read, to_pymatgen
from crystalcodec.failures import count_reasons
from crystalcodec.representations.powder_pattern import PowderPattern
from crystalcodec.representations.powder_pattern.reflections import reflections_of


def together(positions: np.ndarray, intensities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean place and sum of peaks that stand within 0.002 degrees of each other."""
    order = np.argsort(positions)
    positions, intensities = positions[order], intensities[order]
    group = np.concatenate([[0], np.cumsum(np.diff(positions) > 2e-3)])
    sums = np.bincount(group, intensities)
    places = np.bincount(group, positions * intensities) / np.where(sums > 0, sums, 1)
    seen = sums > 1e-3 * sums.max()
    return places[seen], 100 * sums[seen] / sums.max()


def differences(pattern: PowderPattern, crystals, structures) -> tuple[float, float]:
    """Largest difference of angle, degrees, and of intensity, of peaks of at most 100."""
    keep = AbstractDiffractionPatternCalculator.SCALED_INTENSITY_TOL
    AbstractDiffractionPatternCalculator.SCALED_INTENSITY_TOL = -1.0
    angle = intensity = 0.0
    for crystal, structure in zip(crystals, structures, strict=True):
        other = together(*_as_arrays(XRDCalculator().get_pattern(structure)))
        reflections = reflections_of(crystal, pattern._reach(90.0))
        ours = together(*pattern._on_axis(reflections))
        assert len(ours[0]) == len(other[0])
        angle = max(angle, float(np.abs(ours[0] - other[0]).max()))
        intensity = max(intensity, float(np.abs(ours[1] - other[1]).max()))
    AbstractDiffractionPatternCalculator.SCALED_INTENSITY_TOL = keep
    return angle, intensity


def _as_arrays(pattern) -> tuple[np.ndarray, np.ndarray]:
    return np.array(pattern.x), np.array(pattern.y)


def main() -> None:
    everything = read(SHARED_DATA / "mp20" / "val.csv.gz", structure_column="cif").crystals
    drawn = sorted(np.random.default_rng(0).permutation(len(everything))[:1000])
    crystals = everything[drawn]
    structures = to_pymatgen(crystals)
    pattern = PowderPattern()
    encoded = pattern.encode(crystals)
    peer = XRDCalculator()
    seconds = {
        "peer": best_of(
            lambda: [peer.get_pattern(s, two_theta_range=(10, 90)) for s in structures], 3
        ),
        "pattern": best_of(lambda: pattern.encode(crystals), 7),
        "peaks": best_of(lambda: pattern.peaks(crystals), 7),
    }
    angle, intensity = differences(pattern, crystals[:200], structures[:200])
    n = len(crystals)
    record(
        "powder_pattern",
        {
            "ratio_pattern": seconds["peer"] / seconds["pattern"],
            "ratio_peaks": seconds["peer"] / seconds["peaks"],
            "target_ratio": 10,
            "patterns_per_s": n / seconds["pattern"],
            "peaks_per_s": n / seconds["peaks"],
            "peer_per_s": n / seconds["peer"],
            "peer": "pymatgen's XRDCalculator, peaks alone, structures in memory",
            "n_crystals": n,
            "n_failed": count_reasons(encoded.failures),
            "n_points": pattern.n_points,
            "n_compared": 200,
            "largest_difference_of_angle_degrees": angle,
            "largest_difference_of_intensity_of_100": intensity,
        },
        packages=("pymatgen",),
    )


if __name__ == "__main__":
    main()
