"""UniMat and FTCP: encoding against loops from their definitions, decoding, and round trips.

Neither has a package to install, so that the peers are the loops of the publications, written
here: for UniMat a loop over atoms that fills one tensor a crystal, for FTCP the recipe of the
published code, one crystal at a time with pymatgen's search for reciprocal lattice points and
numpy's products. Both start from pymatgen structures in memory. Round trips are of all 7,344
crystals of MP-20 val that fit, speeds of 1,000 of them, decoding from noise of 150. Run on one
thread:

    python benchmarks/unimat_ftcp.py
"""

from __future__ import annotations

import dataclasses

from record import SHARED_DATA, best_of, record  # first: it sets the number of threads

# isort: split
import numpy as np
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure

from crystalcodec import Crystals, read, to_pymatgen
from crystalcodec.failures import count_reasons
from crystalcodec.representations.base import Decoded, InvertibleRepresentation
from crystalcodec.representations.ftcp import FTCP
from crystalcodec.representations.ftcp.reciprocal import PROPERTIES
from crystalcodec.representations.unimat import UniMat
from crystalcodec.testing import round_trip_errors

MAX_SITES, MAX_ELEMENTS = 20, 4


def unimat_peer(structure: Structure) -> np.ndarray:
    array = np.full((20, 9, 18, 3), -1, np.float32)
    filled: dict[int, int] = {}
    for site in structure:
        element = site.specie
        row, column = element.row - 1, element.group - 1
        if element.is_lanthanoid or element.is_actinoid:
            row, column = row + 2, element.Z - (57 if element.is_lanthanoid else 89) + 2
        atom = filled.get(element.Z, 0)
        filled[element.Z] = atom + 1
        array[atom, row, column] = site.frac_coords
    return array


def ftcp_peer(structure: Structure) -> np.ndarray:
    array = np.zeros((103 + 2 + 2 * MAX_SITES + 1 + 92, MAX_ELEMENTS + 59), np.float32)
    elements = list(dict.fromkeys(site.specie.Z for site in structure))
    coords = np.zeros((MAX_SITES, 3))
    properties = np.zeros((92, MAX_SITES))
    for column, number in enumerate(elements):
        array[number - 1, column] = 1
        array[-92:, column] = PROPERTIES[number]
    array[103, :3], array[104, :3] = structure.lattice.abc, structure.lattice.angles
    for i, site in enumerate(structure):
        coords[i] = array[105 + i, :3] = site.frac_coords
        array[105 + MAX_SITES + i, elements.index(site.specie.Z)] = 1
        properties[:, i] = PROPERTIES[site.specie.Z]
    reciprocal = structure.lattice.reciprocal_lattice_crystallographic
    for radius in (1.297, 1.4):
        hkl, lengths, _, _ = reciprocal.get_points_in_sphere(
            [[0, 0, 0]], [0, 0, 0], radius, zip_results=False
        )
        if len(hkl) >= 60:
            break
    hkl, lengths = np.rint(hkl[lengths > 1e-8]).astype(int), lengths[lengths > 1e-8]
    order = np.lexsort((-hkl[:, 2], -hkl[:, 1], -hkl[:, 0], np.abs(hkl).sum(axis=1)))[:59]
    array[-93, MAX_ELEMENTS:] = lengths[order]
    array[-92:, MAX_ELEMENTS:] = properties @ (np.pi * coords @ hkl[order].T)
    return array


def figures(
    representation: InvertibleRepresentation, peer, everything: Crystals, some: Crystals
) -> dict[str, object]:
    name = representation.name
    result = representation.encode(everything)
    decoded = representation.decode(result)
    errors = round_trip_errors(
        everything[result.index][decoded.index],
        decoded.crystals,
        any_order=not representation.keeps_site_order,
    )
    del decoded
    n_failed, n_encoded = count_reasons(result.failures), len(result)
    del result

    arrays = representation.encode(some)
    held = some[arrays.index]
    structures = to_pymatgen(held)
    by_peer = np.stack([peer(structure) for structure in structures])
    # 1 - 1e-9 is 0 in float32 here and 1 there, which is the same place.
    difference = np.abs(by_peer - arrays[name])
    difference /= np.maximum(1, np.abs(by_peer))

    copy = np.empty_like(arrays[name])
    seconds = {
        "peer": best_of(lambda: [peer(structure) for structure in structures], 3),
        "encode": best_of(lambda: representation.encode(held), 9),
        "decode": best_of(lambda: representation.decode(arrays)),
        "copy": best_of(lambda: np.copyto(copy, arrays[name])),
    }
    n = len(held)
    return {
        "ratio_encode": seconds["peer"] / seconds["encode"],
        "encode_per_s": n / seconds["encode"],
        "decode_per_s": n / seconds["decode"],
        "peer_encode_per_s": n / seconds["peer"],
        "array_bytes_per_crystal": arrays[name].nbytes // n,
        "array_megabytes_per_s": arrays[name].nbytes / seconds["encode"] / 1e6,
        "copy_megabytes_per_s": arrays[name].nbytes / seconds["copy"] / 1e6,
        "fraction_of_copy_bandwidth": seconds["copy"] / seconds["encode"],
        "largest_difference_from_peer": float(difference.max()),
        "n_crystals": len(everything),
        "n_encoded": n_encoded,
        "n_failed": n_failed,
        "n_decoded": len(errors),
        "largest_round_trip_error_angstrom": errors.max(),
        "n_crystals_timed": n,
    }


def shares(decoded: Decoded, crystals: Crystals, structures: list[Structure]) -> dict[str, float]:
    """Shares of all crystals that match, that have their composition, and that are refused."""
    matcher, n, n_matched, n_composed = StructureMatcher(), len(crystals), 0, 0
    found = to_pymatgen(decoded.crystals)
    for i, other in zip(decoded.index.tolist(), found, strict=True):
        same = structures[i].composition.almost_equals(other.composition)
        n_composed += same
        n_matched += same and matcher.fit(structures[i], other)
    return {
        "match": n_matched / n,
        "composition": n_composed / n,
        "refused": len(decoded.failures) / n,
    }


def noise_figures(everything: Crystals, some: Crystals) -> dict[str, object]:
    """Match rates with normal noise of so many 255ths of each row's or array's range."""
    fitted = FTCP(max_sites=MAX_SITES, max_elements=MAX_ELEMENTS).fit(everything)
    plain, robust = (
        dataclasses.replace(fitted, tolerance=0.5),
        dataclasses.replace(fitted, decoder="robust"),
    )
    result = plain.encode(some)
    held, unimat = some[result.index], UniMat(tolerance=0.5)
    structures = to_pymatgen(held)
    rows, grids = result["ftcp"], unimat.encode(held)
    cells = grids["cell_parameters"]
    ranges = np.ptp(UniMat().encode(everything)["cell_parameters"], axis=0)
    rng = np.random.default_rng(0)
    figures: dict[str, object] = {"n_crystals": len(held)}
    for size in (1, 2, 4, 8, 16, 32):
        noisy = rows + rng.normal(0, size / 255, rows.shape)
        table = {
            "unimat": grids["unimat"] + rng.normal(0, 2 * size / 255, grids["unimat"].shape),
            "cell_parameters": cells + rng.normal(0, size / 255, cells.shape) * ranges,
        }
        figures[f"{size}/255"] = {
            "ftcp, tolerance 0.5": shares(plain.decode(noisy), held, structures),
            "ftcp, robust": shares(robust.decode(noisy), held, structures),
            "unimat, tolerance 0.5": shares(unimat.decode(table), held, structures),
        }
    junk = {
        "even noise": rng.random(rows.shape),
        "normal noise": rng.standard_normal(rows.shape),
        "shuffled entries": rng.permuted(rows.reshape(len(rows), -1), axis=1).reshape(rows.shape),
    }
    figures["ftcp, robust, share of junk refused"] = {
        name: len(robust.decode(array).failures) / len(rows) for name, array in junk.items()
    }
    return figures


def main() -> None:
    everything = read(SHARED_DATA / "mp20" / "val.csv.gz", structure_column="cif").crystals
    chosen = np.sort(np.random.default_rng(0).permutation(len(everything))[:1000])
    some = everything[chosen]
    ftcp = FTCP(max_sites=MAX_SITES, max_elements=MAX_ELEMENTS)
    robust = FTCP(max_sites=MAX_SITES, max_elements=MAX_ELEMENTS, decoder="robust")
    arrays = robust.encode(some)
    seconds = best_of(lambda: robust.decode(arrays), 3)
    unimat = figures(UniMat(), unimat_peer, everything, some)
    record(
        "unimat_ftcp",
        {
            "unimat": unimat,
            "ftcp": {
                **figures(ftcp, ftcp_peer, everything, some),
                "robust_decode_per_s": len(arrays) / seconds,
            },
            "noise": noise_figures(everything, some[:150]),
            "peer": "loops from the definitions, one crystal at a time, from pymatgen structures",
        },
        packages=("pymatgen",),
    )


if __name__ == "__main__":
    main()
