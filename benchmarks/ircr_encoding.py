"""IRCR: how many crystals a second are encoded and decoded, and how near to the memory's speed.

The peer is an encoder that fills one array a crystal, site by site, from pymatgen structures in
memory, which is how published code for this representation works. Crystals are the 7,150 of
MP-20 val that IRCR holds, ten times over. Run on one thread:

    python benchmarks/ircr_encoding.py
"""

from __future__ import annotations

from record import SHARED_DATA, best_of, record  # first: it sets the number of threads

# isort: split
import numpy as np
from pymatgen.core import Structure

from crystalcodec import IRCR, Crystals, read, to_pymatgen
from crystalcodec.failures import count_reasons
from crystalcodec.representations.ircr import VALENCES
from crystalcodec.testing import round_trip_errors


def peer(structure: Structure) -> np.ndarray:
    array = np.zeros((144, 3), np.float32)
    elements = list(dict.fromkeys(site.specie for site in structure))
    columns = {element: column for column, element in enumerate(elements)}
    counts = structure.composition.get_el_amt_dict()
    for element, column in columns.items():
        array[element.Z - 1, column] = 1
        array[136:142, column] = (
            element.Z,
            counts[element.symbol] / len(structure),
            element.row,
            element.group,
            np.nan_to_num(element.X),
            VALENCES[element.Z],
        )
    array[94], array[95] = structure.lattice.abc, structure.lattice.angles
    for i, site in enumerate(structure):
        array[96 + i] = site.frac_coords
        array[116 + i, columns[site.specie]] = 1
    return array


def main() -> None:
    everything = read(SHARED_DATA / "mp20" / "val.csv.gz", structure_column="cif").crystals
    ircr = IRCR()
    result = ircr.encode(everything)
    crystals = everything[result.index]
    decoded = ircr.decode(result)
    errors = round_trip_errors(crystals, decoded.crystals)

    structures = to_pymatgen(crystals)
    by_peer = np.stack([peer(structure) for structure in structures])
    difference = np.abs(by_peer - result["ircr"])
    difference[:, 96:116] = np.minimum(difference[:, 96:116], 1 - difference[:, 96:116])

    many = Crystals.concatenate([crystals] * 10)
    arrays = ircr.encode(many)
    copy = np.empty_like(arrays["ircr"])
    seconds = {
        "peer": best_of(lambda: [peer(structure) for structure in structures], 3),
        "encode": best_of(lambda: ircr.encode(many)),
        "decode": best_of(lambda: ircr.decode(arrays)),
        "copy": best_of(lambda: np.copyto(copy, arrays["ircr"])),
    }
    encode_rate = len(many) / seconds["encode"]
    peer_rate = len(structures) / seconds["peer"]
    record(
        "ircr_encoding",
        {
            "ratio_encode": encode_rate / peer_rate,
            "encode_per_s": encode_rate,
            "decode_per_s": len(many) / seconds["decode"],
            "peer_encode_per_s": peer_rate,
            "peer": "one crystal at a time, site by site, from pymatgen structures in memory",
            "array_megabytes_per_s": arrays["ircr"].nbytes / seconds["encode"] / 1e6,
            "copy_megabytes_per_s": arrays["ircr"].nbytes / seconds["copy"] / 1e6,
            "fraction_of_copy_bandwidth": seconds["copy"] / seconds["encode"],
            "n_crystals": len(everything),
            "n_encoded": len(crystals),
            "n_failed": count_reasons(result.failures),
            "n_decoded": len(decoded.crystals),
            "largest_round_trip_error_angstrom": errors.max(),
            "largest_difference_from_peer": float(difference.max()),
        },
        packages=("pymatgen",),
    )


if __name__ == "__main__":
    main()
