"""Density in a cube: crystals a second, both modes, and what comes back.

The peer is the loop of the paper (arXiv 1909.00949): for each point of the grid, for each atom,
one distance and one exponential; in the lattice the distance is that of pymatgen to the nearest
image. It is run on a few crystals only. The same 1,000 MP-20 val crystals, on one thread:

    python benchmarks/density_cube.py
"""

from __future__ import annotations

from record import SHARED_DATA, best_of, record  # first: it sets the number of threads

# isort: split
import time

import numpy as np
from pymatgen.core import Structure
from pymatgen.core.sites import PeriodicSite

from crystalcodec import Crystals, read, to_pymatgen
from crystalcodec.failures import count_reasons
from crystalcodec.representations.density_cube import DensityCube
from crystalcodec.testing import round_trip_errors

POINTS = np.linspace(0, 10, 30)
HEIGHT = (2 * np.pi) ** -1.5


def paper_cell(structure: Structure) -> np.ndarray:
    density, species = np.zeros((2, 30, 30, 30))
    positions = structure.cart_coords + 5 - structure.cart_coords.mean(axis=0)
    for i, j, k in np.ndindex(30, 30, 30):
        point = np.array([POINTS[i], POINTS[j], POINTS[k]])
        for site, position in zip(structure, positions, strict=True):
            distance = np.linalg.norm(point - position)
            density[i, j, k] += HEIGHT * site.specie.Z * np.exp(-(distance**2) / 2)
            if distance < 0.667:
                species[i, j, k] = site.specie.Z
    return density


def paper_lattice(structure: Structure, points: np.ndarray) -> None:
    """The loop over some of the points: its time is that of the whole in proportion."""
    for point in points:
        probe = PeriodicSite("H", point, structure.lattice, coords_are_cartesian=True)
        total = 0.0
        for site in structure:
            distance, _ = site.distance_and_image(probe)
            total += HEIGHT * site.specie.Z * np.exp(-(distance**2) / 2)


def figures(crystals: Crystals, mode: str) -> dict[str, object]:
    both, density = DensityCube(mode=mode), DensityCube(mode=mode, species=False)
    encoded = both.encode(crystals)
    held = crystals[encoded.index]
    copy = np.empty_like(encoded["density"])
    seconds = {
        "density": best_of(lambda: density.encode(held), 3),
        "both": best_of(lambda: both.encode(held), 3),
        "copy": best_of(lambda: np.copyto(copy, encoded["density"]), 3),
    }
    start = time.perf_counter()
    decoded = both.decode(encoded)
    seconds["decode"] = time.perf_counter() - start
    returned = held[decoded.index]
    errors = round_trip_errors(returned, decoded.crystals, any_order=True)
    result = {
        "encode_density_per_s": len(held) / seconds["density"],
        "encode_with_species_per_s": len(held) / seconds["both"],
        "decode_per_s": len(held) / seconds["decode"],
        "density_megabytes_per_s": copy.nbytes / seconds["density"] / 1e6,
        "fraction_of_copy_bandwidth": seconds["copy"] / seconds["density"],
        "n_crystals": len(crystals),
        "n_encoded": len(held),
        "n_refused": count_reasons(encoded.failures),
        "n_decoded": len(decoded.crystals),
        "n_not_decoded": count_reasons(decoded.failures),
        "share_with_all_species_right": float(np.isfinite(errors).sum() / len(held)),
        "position_error_angstrom": {
            name: float(np.percentile(errors, q))
            for name, q in (("median", 50), ("99_percent", 99), ("largest", 100))
        },
    }
    if mode == "cell":
        decoded = density.decode(density.encode(held))
        result["n_decoded_without_species"] = len(decoded.crystals)
    return result


def main() -> None:
    everything = read(SHARED_DATA / "mp20" / "val.csv.gz", structure_column="cif").crystals
    order = np.random.default_rng(0).permutation(len(everything))[:1000]
    crystals = everything[np.sort(order)]
    cell, lattice = figures(crystals, "cell"), figures(crystals, "lattice")

    held = crystals[DensityCube().encode(crystals).index][::200]
    structures = to_pymatgen(held)
    start = time.perf_counter()
    by_paper = np.stack([paper_cell(structure) for structure in structures])
    paper_cell_rate = len(structures) / (time.perf_counter() - start)
    ours = DensityCube().encode(held)["density"]
    rng = np.random.default_rng(0)
    few = rng.choice(POINTS, (270, 3))  # one in a hundred of the 27,000 points
    start = time.perf_counter()
    for structure in structures:
        paper_lattice(structure, few)
    paper_lattice_rate = len(structures) / (time.perf_counter() - start) / 100
    record(
        "density_cube",
        {
            "ratio_cell": cell["encode_with_species_per_s"] / paper_cell_rate,
            "ratio_lattice": lattice["encode_with_species_per_s"] / paper_lattice_rate,
            "peer": "the loops of the paper over points and atoms, on a few crystals",
            "peer_cell_per_s": paper_cell_rate,
            "peer_lattice_per_s": paper_lattice_rate,
            "largest_difference_from_peer": float(np.abs(by_paper - ours).max() / by_paper.max()),
            "cell": cell,
            "lattice": lattice,
        },
        packages=("pymatgen",),
    )


if __name__ == "__main__":
    main()
