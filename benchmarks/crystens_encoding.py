"""CrysTens: how many crystals a second are encoded and decoded, and whether they come back.

The peer is the loop of the published code (github.com/michaeldalverson/CrysTens): one crystal at a
time, site by site and pair by pair, then its normalisation, which reaches the header alone.
Crystals are 1,000 of MP-20 val, repeated for timing. Run on one thread:

    python benchmarks/crystens_encoding.py
"""

from __future__ import annotations

from record import SHARED_DATA, best_of, record  # first: it sets the number of threads

# isort: split
import dataclasses
import math

import numpy as np

from crystalcodec import Crystals, read
from crystalcodec.failures import count_reasons
from crystalcodec.representations.crystens import CrysTens
from crystalcodec.representations.crystens.scales import NEAR_MAX
from crystalcodec.symmetry import space_group_numbers
from crystalcodec.testing import round_trip_errors

REPEATS = 8


def peer(
    cell: list[float], group: int, numbers: list[int], coords: list[list[float]], *, normalise: bool
) -> np.ndarray:
    array = np.zeros((64, 64, 4))
    for i, number in enumerate(numbers):
        for row, value in enumerate([number, *coords[i], *cell, group]):
            array[row, 12 + i, :] = value
            array[12 + i, row, :] = value
        for j in range(len(numbers)):
            x, y, z = (coords[i][axis] - coords[j][axis] for axis in range(3))
            length = math.sqrt(x**2 + y**2 + z**2)
            array[12 + i, 12 + j, 0] = length
            array[12 + j, 12 + i, 0] = length
            for layer, difference in ((1, x), (2, y), (3, z)):
                array[12 + i, 12 + j, layer] = difference
                array[12 + j, 12 + i, layer] = -difference
    if normalise:
        for i in range(52):
            if array[12 + i, 0, 0] != 0.0:
                for row, (_, largest) in enumerate(NEAR_MAX[:11]):
                    array[row, 12 + i, :] /= largest
                    array[12 + i, row, :] /= largest
    return array


def inputs(crystals: Crystals, groups: np.ndarray) -> list[tuple]:
    return [
        (cell.tolist(), group, one.numbers.tolist(), one.frac_coords.tolist())
        for cell, group, one in zip(
            crystals.cell_parameters, groups.tolist(), crystals, strict=True
        )
    ]


def round_trip(crystens: CrysTens, crystals: Crystals, groups: np.ndarray) -> dict:
    encoded = crystens.encode(crystals, space_group_numbers=groups)
    decoded = crystens.decode(encoded)
    errors = round_trip_errors(crystals[encoded.index][decoded.index], decoded.crystals)
    return {
        "n_encoded": len(encoded),
        "n_not_encoded": count_reasons(encoded.failures),
        "n_decoded": len(decoded.crystals),
        "n_not_decoded": count_reasons(decoded.failures),
        "n_back_within_1e-5_angstrom": int((errors <= 1e-5).sum()),
        "largest_error_angstrom": float(errors.max()),
    }


def main() -> None:
    everything = read(SHARED_DATA / "mp20" / "val.csv.gz", structure_column="cif").crystals
    chosen = np.sort(np.random.default_rng(0).permutation(len(everything))[:1000])
    crystals = everything[chosen]
    groups = space_group_numbers(crystals)
    many = Crystals.concatenate([crystals] * REPEATS)
    many_groups = np.tile(groups, REPEATS)
    fitted = CrysTens().fit(everything)
    variants = {
        "none": CrysTens(),
        "divide_near_max": CrysTens(normalisation="divide_near_max"),
        "avg_std": CrysTens(normalisation="avg_std"),
        "fitted": fitted,
        "fitted, periodic distances": CrysTens(distances="periodic").fit(everything),
        "fitted, two layers of chemistry": CrysTens(chemistry=("group", "period")).fit(everything),
    }

    lists = inputs(crystals, groups)
    by_peer = np.stack([peer(*one, normalise=False) for one in lists])
    ours = variants["none"].encode(crystals, space_group_numbers=groups)["crystens"]
    normalised = np.stack([peer(*one, normalise=True) for one in lists])
    near_max = variants["divide_near_max"].encode(crystals, space_group_numbers=groups)["crystens"]

    peer_seconds = best_of(lambda: [peer(*one, normalise=True) for one in lists], 3)
    moyopy_seconds = best_of(lambda: space_group_numbers(crystals), 3)
    rates = {}
    for name, crystens in variants.items():
        arrays = crystens.encode(many, space_group_numbers=many_groups)["crystens"]
        copy = np.empty_like(arrays)
        robust = dataclasses.replace(crystens, decoder="robust")
        seconds = {
            "encode": best_of(
                lambda c=crystens: c.encode(many, space_group_numbers=many_groups)  # type: ignore[misc]
            ),
            "copy": best_of(lambda a=arrays, b=copy: np.copyto(b, a)),  # type: ignore[misc]
            "decode": best_of(lambda c=crystens, a=arrays: c.decode(a), 3),  # type: ignore[misc]
            "decode robust": best_of(
                lambda c=robust, a=arrays[:1000]: c.decode(a),  # type: ignore[misc]
                2,
            ),
        }
        rates[name] = {
            "ratio_encode": len(many) / seconds["encode"] / (len(lists) / peer_seconds),
            "encode_per_s": len(many) / seconds["encode"],
            "decode_per_s": len(many) / seconds["decode"],
            "robust_decode_per_s": 1000 / seconds["decode robust"],
            "array_megabytes_per_s": arrays.nbytes / seconds["encode"] / 1e6,
            "copy_megabytes_per_s": arrays.nbytes / seconds["copy"] / 1e6,
            "fraction_of_copy_bandwidth": seconds["copy"] / seconds["encode"],
            **round_trip(crystens, crystals, groups),
        }
    encode = 1 / rates["divide_near_max"]["encode_per_s"]
    record(
        "crystens_encoding",
        {
            "ratio_encode": rates["divide_near_max"]["ratio_encode"],
            "peer": "loop of the published code, divide_near_max, space group given",
            "peer_encode_per_s": len(lists) / peer_seconds,
            "space_group_by_moyopy_per_s": len(crystals) / moyopy_seconds,
            "encode_with_moyopy_per_s": 1 / (encode + moyopy_seconds / len(crystals)),
            "by_normalisation": rates,
            "every_crystal_of_mp20_val": round_trip(
                fitted, everything, np.ones(len(everything), int)
            ),
            "largest_difference_from_peer": float(np.abs(by_peer - ours).max()),
            "largest_difference_from_peer_header_normalised": float(
                max(
                    np.abs(normalised[:, 12:, :12] - near_max[:, 12:, :12]).max(),
                    np.abs(normalised[:, :12] - near_max[:, :12]).max(),
                )
            ),
            "n_crystals": len(crystals),
        },
        packages=("moyopy",),
    )


if __name__ == "__main__":
    main()
