"""Density in the cell and structure factors: speed, and what comes back of MP-20 val.

The peer is the definition: for each atom and each of its 27 nearest images a Gaussian on all
points of the grid, summed in numpy, a crystal at a time. It gives the sampled field; ours is that
field's Fourier series up to the index 15. How far the two differ is measured against our own
series up to the index 31 at the same points, for all crystals, and against the peer for those
that it encodes. Matches are by StructureMatcher with its default tolerances. Run on one thread:

    python benchmarks/density_cell.py
"""

from __future__ import annotations

from record import best_of, record  # first: it sets the number of threads

# isort: split
import argparse
import time
from typing import Any

import numpy as np
from pymatgen.analysis.structure_matcher import StructureMatcher

from crystalcodec.crystals import Crystals
from crystalcodec.failures import count_reasons
from crystalcodec.representations.density_cell import DensityCell
from crystalcodec.representations.fields.fourier_series import property_table
from crystalcodec.representations.fields.periodic import PeriodicField
from crystalcodec.representations.structure_factors import StructureFactors
from crystalcodec.testing import round_trip_errors
from noise_match import benchmark_crystals, by_matcher

BATCH = 128  # crystals encoded at once when timed: 50 MB of densities


def peer(crystal: Crystals, representation: DensityCell) -> np.ndarray:
    """The sampled field from its definition."""
    size, sigma = representation.size, representation.sigma
    axis = np.arange(size) / size
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1) @ crystal.lattices[0]
    shifts = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3, indexing="ij"), -1).reshape(-1, 3)
    weights = property_table(representation.channels)[crystal.numbers]
    field = np.zeros((len(representation.channels), size, size, size))
    for coords, weight in zip(crystal.frac_coords, weights, strict=True):
        gaussian = np.zeros((size,) * 3)
        for image in (coords + shifts) @ crystal.lattices[0]:
            gaussian += np.exp(-np.square(points - image).sum(axis=-1) / (2 * sigma**2))
        field += weight[:, None, None, None] * gaussian
    return (field / (2 * np.pi * sigma**2) ** 1.5).astype(np.float32)


def band_limit(crystals: Crystals) -> dict[str, Any]:
    """What the index 15 cuts off: root mean square over the grid, by the field's deviation."""
    differences, lowest = [], []
    for start in range(0, len(crystals), BATCH):
        some = crystals[start : start + BATCH]
        fine, coarse = (DensityCell(channels=("Z",), size=size).encode(some) for size in (64, 32))
        same = np.isin(fine.index, coarse.index)
        there = fine["density"][same][:, 0, ::2, ::2, ::2]
        here = coarse["density"][:, 0]
        spread = there.std(axis=(1, 2, 3))
        differences.append(np.sqrt(np.square(there - here).mean(axis=(1, 2, 3))) / spread)
        lowest.append(-here.min(axis=(1, 2, 3)) / here.max(axis=(1, 2, 3)))
    difference, low = np.concatenate(differences), np.concatenate(lowest)
    return {
        "difference_from_sampled_field_over_deviation": {
            f"percentile_{p}": float(np.percentile(difference, p)) for p in (50, 90, 95, 99, 100)
        },
        "crystals_that_ring_below_minus_1_percent_of_the_maximum": float((low > 0.01).mean()),
    }


def measure(representation: PeriodicField, crystals: Crystals) -> dict[str, Any]:
    """Speed of both ways, and the round trip."""
    few = crystals[representation.encode(crystals[:BATCH]).index]
    arrays = representation.encode(few).arrays
    copies = {name: np.empty_like(array) for name, array in arrays.items()}
    size = sum(array.nbytes for array in arrays.values())
    seconds = {
        "encode": best_of(lambda: representation.encode(few)),
        "decode": best_of(lambda: representation.decode(arrays), 3),
        "copy": best_of(lambda: [np.copyto(copies[name], arrays[name]) for name in arrays]),
    }
    matcher = StructureMatcher()
    matched, n_encoded, n_decoded, worst = 0, 0, 0, 0.0
    refused, undecoded = [], []
    for start in range(0, len(crystals), BATCH):
        some = crystals[start : start + BATCH]
        encoded = representation.encode(some)
        decoded = representation.decode(encoded)
        held = some[encoded.index][decoded.index]
        errors = round_trip_errors(held, decoded.crystals, any_order=True)
        worst = max(worst, float(errors.max(initial=0.0)))
        matched += sum(
            by_matcher(matcher, one, other)
            for one, other in zip(held, decoded.crystals, strict=True)
        )
        n_encoded, n_decoded = n_encoded + len(encoded), n_decoded + len(decoded.crystals)
        refused += encoded.failures
        undecoded += decoded.failures
    return {
        "config": representation.config(),
        "encode_per_s": len(few) / seconds["encode"],
        "decode_per_s": len(few) / seconds["decode"],
        "fraction_of_copy_bandwidth": seconds["copy"] / seconds["encode"],
        "array_megabytes_per_s": size / seconds["encode"] / 1e6,
        "copy_megabytes_per_s": size / seconds["copy"] / 1e6,
        "bytes_per_crystal": size // len(few),
        "n_crystals": len(crystals),
        "n_encoded": n_encoded,
        "n_refused": count_reasons(refused),
        "n_decoded": n_decoded,
        "n_not_decoded": count_reasons(undecoded),
        "match_rate": matched / len(crystals),
        "largest_round_trip_error_angstrom": worst,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=1000, help="crystals of the round trip")
    parser.add_argument("--peer", type=int, default=20, help="crystals that the peer encodes")
    options = parser.parse_args()
    crystals = benchmark_crystals(options.n).right_handed()
    cell = DensityCell()
    some = crystals[cell.encode(crystals[: options.peer]).index]
    start = time.perf_counter()
    by_peer = np.stack([peer(crystal, cell) for crystal in some])
    peer_rate = len(some) / (time.perf_counter() - start)
    ours = cell.encode(some)["density"]
    axes = (2, 3, 4)
    from_peer = np.sqrt(np.square(by_peer - ours).mean(axis=axes)) / by_peer.std(axis=axes)
    ours_on_the_same = len(some) / best_of(lambda: cell.encode(some))
    representations = {
        "density_cell": cell,
        "density_cell, Z only": DensityCell(channels=("Z",)),
        "structure_factors": StructureFactors(),
    }
    figures = {name: measure(one, crystals) for name, one in representations.items()}
    record(
        "density_cell",
        {
            "ratio_encode": ours_on_the_same / peer_rate,
            "encode_per_s": ours_on_the_same,
            "peer_encode_per_s": peer_rate,
            "peer": "the definition: a Gaussian for each atom and its 27 nearest images, numpy",
            "n_peer": len(some),
            "median_difference_from_peer_over_deviation": float(np.median(from_peer)),
            "largest_difference_from_peer_over_deviation": float(from_peer.max()),
            **band_limit(crystals),
            **figures,
        },
        packages=("pymatgen", "scipy"),
    )


if __name__ == "__main__":
    main()
