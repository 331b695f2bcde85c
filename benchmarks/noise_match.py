"""Whether decoded crystals match the original ones, by StructureMatcher with a short cut.

StructureMatcher (pymatgen, default tolerances: 0.2 of the lengths, 0.3 (V / N)^(1/3) for sites, 5
degrees) decides. Two cases need no search: another reduced formula is no match, and a crystal
with the same sites in nearly the same cell and places is one. How well the short cut agrees with
StructureMatcher itself is checked by

    python benchmarks/noise_match.py
"""

from __future__ import annotations

from record import SHARED_DATA, record  # first: it sets the number of threads

# isort: split
import numpy as np
from pymatgen.analysis.structure_matcher import StructureMatcher
from scipy.optimize import linear_sum_assignment

from crystalcodec import Crystals, read, to_pymatgen
from crystalcodec.geometry import cell_parameters_from_lattices

STRAIN = 0.02  # of the length
ANGLE = 1.0  # degrees
SITE = 0.04  # of (V / N)^(1/3)


def same_composition(original: Crystals, decoded: Crystals) -> np.ndarray:
    """(n,) whether the reduced compositions are the same."""
    pairs = zip(original.formulas, decoded.formulas, strict=True)
    return np.array([a == b for a, b in pairs], bool)


def displacement(original: Crystals, decoded: Crystals) -> float:
    """Root mean square distance, Å, of the sites of one crystal from their twins.

    Measured in the original cell, less the mean shift; infinite where the sites differ.
    """
    if not np.array_equal(np.sort(original.numbers), np.sort(decoded.numbers)):
        return float("inf")
    lattice = original.lattices[0]
    coords = decoded.frac_coords
    if not np.array_equal(original.numbers, decoded.numbers) or _rms(
        original.frac_coords, coords, lattice
    ) > SITE * _length(original):
        difference = original.frac_coords[:, None] - coords
        cost = (((difference - np.rint(difference)) @ lattice) ** 2).sum(axis=2)
        cost[original.numbers[:, None] != decoded.numbers] = 1e6
        _, order = linear_sum_assignment(cost)
        if np.array_equal(original.numbers, decoded.numbers[order]):
            coords = coords[order]
    return _rms(original.frac_coords, coords, lattice)


def _rms(one: np.ndarray, other: np.ndarray, lattice: np.ndarray) -> float:
    difference = other - one
    difference -= np.rint(difference)
    vectors = difference @ lattice
    vectors -= vectors.mean(axis=0)
    return float(np.sqrt((vectors**2).sum(axis=1).mean()))


def _length(crystal: Crystals) -> float:
    return float((crystal.volumes[0] / crystal.n_sites[0]) ** (1 / 3))


def nearly_the_same(original: Crystals, decoded: Crystals) -> bool:
    """Whether cell and sites are so near that StructureMatcher need not be asked."""
    one, other = (cell_parameters_from_lattices(c.lattices)[0] for c in (original, decoded))
    return bool(
        (np.abs(other[:3] / one[:3] - 1) < STRAIN).all()
        and (np.abs(other[3:] - one[3:]) < ANGLE).all()
        and displacement(original, decoded) < SITE * _length(original)
    )


def matches(original: Crystals, decoded: Crystals) -> np.ndarray:
    """(n,) whether each decoded crystal matches the original one beside it."""
    matched = same_composition(original, decoded)
    matcher = StructureMatcher()
    for i in np.flatnonzero(matched).tolist():
        if not nearly_the_same(original[i], decoded[i]):
            matched[i] = by_matcher(matcher, original[i], decoded[i])
    return matched


def by_matcher(matcher: StructureMatcher, one: Crystals, other: Crystals) -> bool:
    """StructureMatcher's word; a crystal that it cannot handle is no match."""
    try:
        return bool(matcher.fit(to_pymatgen(one)[0], to_pymatgen(other)[0]))
    except (ValueError, RuntimeError, np.linalg.LinAlgError, MemoryError):
        return False


def benchmark_crystals(n: int = 1000, data: str = "mp20") -> Crystals:
    """n of the 1,000 crystals of MP-20 val that all benchmarks use, or of another data set."""
    everything = read(SHARED_DATA / data / "val.csv.gz", structure_column="cif").crystals
    chosen = np.random.default_rng(0).permutation(len(everything))[:1000]
    return everything[np.sort(chosen)[:: 1000 // n][:n]]


def main() -> None:
    """Short cut and StructureMatcher on crystals that are moved by more and more."""
    crystals = benchmark_crystals(250)
    rng = np.random.default_rng(0)
    matcher = StructureMatcher()
    taken = agreed = 0
    for scale in (0.02, 0.1, 0.2, 0.4):
        moved = Crystals(
            crystals.lattices * (1 + rng.normal(0, 0.1 * scale, (len(crystals), 3, 1))),
            crystals.to_fractional(
                crystals.cart_coords + rng.normal(0, scale / 2, crystals.cart_coords.shape)
            ),
            crystals.numbers,
            crystals.offsets,
        )
        near = [i for i in range(len(crystals)) if nearly_the_same(crystals[i], moved[i])]
        taken += len(near)
        agreed += sum(by_matcher(matcher, crystals[i], moved[i]) for i in near)
    record(
        "noise_match",
        {
            "short_cut_taken": taken,
            "of_which_structure_matcher_agrees": agreed,
            "of": 4 * len(crystals),
            "strain": STRAIN,
            "angle_degrees": ANGLE,
            "site_displacement_over_cube_root_of_volume_per_atom": SITE,
        },
        packages=("pymatgen",),
    )


if __name__ == "__main__":
    main()
