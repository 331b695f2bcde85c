"""Orbits of space groups: the tables against spglib, known crystals, exact symmetry, junk."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest
import spglib

import crystalcodec
from crystalcodec.crystals import Crystals
from crystalcodec.geometry import lattices_from_cell_parameters, wrap
from crystalcodec.representations import wyckoff_orbits
from crystalcodec.representations.base import RepresentationError
from crystalcodec.representations.wyckoff_orbits import WyckoffOrbits
from crystalcodec.representations.wyckoff_orbits.cells import symmetric_cells
from crystalcodec.representations.wyckoff_orbits.orbits import distance_from_position
from crystalcodec.representations.wyckoff_orbits.positions import (
    LETTERS,
    N_SPACE_GROUPS,
    wyckoff_positions,
)
from crystalcodec.symmetry import space_group_numbers
from crystalcodec.testing import displacements

RUTILE = Crystals.single(
    np.diag([4.594, 4.594, 2.959]),
    [[0, 0, 0], [0.5, 0.5, 0.5], [0.305, 0.305, 0], [0.695, 0.695, 0], [0.195, 0.805, 0.5],
     [0.805, 0.195, 0.5]],
    [22, 22, 8, 8, 8, 8],
)  # fmt: skip
PEROVSKITE = Crystals.single(
    4 * np.eye(3),
    [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]],
    [38, 22, 8, 8, 8],
)
SKEW = [7.1, 8.3, 9.7, 83, 97, 104]  # no cell has more symmetry than it is given


def _rows():
    path = Path(wyckoff_orbits.__file__).with_name("positions.csv")
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    return [*csv.DictReader(lines)]


def _prototypes(n):
    every = crystalcodec.prototypes().crystals.right_handed()
    return every[np.linspace(0, len(every) - 1, n).astype(int)]


def test_there_are_1731_positions_of_230_groups():
    positions, rows = wyckoff_positions(), _rows()
    assert len(rows) == 1731
    assert positions.n_letters[1:].min() == 1
    assert positions.n_letters.sum() == 1731
    # The last letter of each group is the general position, of as many free numbers as space has.
    general = positions.first[1:] + positions.n_letters[1:]
    assert (positions.n_free[general] == 3).all()
    assert (positions.n_free[1:] == 3).sum() == 230


def test_images_in_the_primitive_cell_are_as_many_as_tabulated_ones():
    positions = wyckoff_positions()
    copies = np.rint(np.linalg.det(positions.to_primitive)).astype(int)
    for place, row in enumerate(_rows(), 1):
        images = positions.n_sites[place] * copies[int(row["number"])]
        assert images == int(row["multiplicity"])
    assert (positions.linears[positions.starts[1:]] == positions.to_primitive[
        [int(row["number"]) for row in _rows()]
    ]).all()  # fmt: skip


@pytest.mark.filterwarnings("ignore:Set OLD_ERROR_HANDLING:DeprecationWarning")
@pytest.mark.parametrize("group", range(1, N_SPACE_GROUPS + 1, 7))
def test_spglib_finds_group_and_site_symmetries_of_points_of_all_positions(group):
    positions, rng = wyckoff_positions(), np.random.default_rng(group)
    lattice = lattices_from_cell_parameters(
        symmetric_cells(np.array([SKEW]), np.array([group])) * [2, 2, 2, 1, 1, 1]
    )[0]
    cell = np.linalg.inv(positions.to_primitive[group]).T @ lattice
    first, n = positions.first[group], positions.n_letters[group]
    for place in range(first + 1, first + n + 1):
        # Two general orbits leave no more symmetry than the group's.
        index = np.array([first + n, first + n, place])
        free = rng.random((3, 3))
        points = positions.points[index] + np.einsum(
            "nij,nj->ni", positions.projectors[index], free
        )
        coords, orbits = positions.images(index, points)
        found = spglib.get_symmetry_dataset((cell, wrap(coords), orbits + 1), symprec=1e-5)
        assert found.number == group
        last = orbits == 2
        assert len(set(found.equivalent_atoms[last])) == 1
        symbols = {
            symbol.replace(".", "") for symbol in np.array(found.site_symmetry_symbols)[last]
        }
        # Other axes may give the symbol in another order.
        assert {"".join(sorted(symbol)) for symbol in symbols} == {
            "".join(sorted(positions.symmetries[place].replace(".", "")))
        }


def test_rutile_and_perovskite_are_what_textbooks_say():
    encoded = WyckoffOrbits(max_orbits=3).encode(Crystals.concatenate([RUTILE, PEROVSKITE]))
    assert (encoded["space_group"].argmax(axis=1) + 1).tolist() == [136, 221]
    assert encoded["elements"].tolist() == [[8, 22, 0], [8, 22, 38]]
    letters = [[LETTERS[k - 1] if k else "" for k in row] for row in encoded["letters"]]
    # Of both choices of the origin, on titanium and on strontium, the one with O on c comes first.
    assert letters == [["f", "a", ""], ["c", "b", "a"]]
    u = encoded["frac_coords"][0, 0]
    assert u[0] == u[1]
    assert min(abs(u[0] - x) for x in (0.305, 0.695, 0.195, 0.805)) < 1e-6
    np.testing.assert_allclose(encoded["cell_parameters"][0], [4.594, 4.594, 2.959, 90, 90, 90])


def test_prototypes_come_back():
    crystals = _prototypes(150)
    representation = WyckoffOrbits(max_orbits=60)
    encoded = representation.encode(crystals)
    assert not encoded.failures
    decoded = representation.decode(encoded)
    assert not decoded.failures
    assert displacements(crystals, decoded.crystals).max() < 4 * representation.symprec
    groups = encoded["space_group"].argmax(axis=1) + 1
    assert len(np.unique(groups)) > 20
    # As symmetric as float32 coordinates of the free numbers can be.
    assert space_group_numbers(decoded.crystals, symprec=1e-4).tolist() == groups.tolist()


def test_what_is_nearly_symmetric_comes_back_symmetric():
    rng = np.random.default_rng(0)
    shaken = Crystals(
        RUTILE.lattices,
        RUTILE.frac_coords + rng.normal(0, 5e-4, RUTILE.frac_coords.shape),
        RUTILE.numbers,
        RUTILE.offsets,
    )
    assert space_group_numbers(shaken, symprec=1e-5).tolist() == [1]
    representation = WyckoffOrbits(symprec=0.02)
    decoded = representation.decode(representation.encode(shaken)).crystals
    assert space_group_numbers(decoded, symprec=1e-5).tolist() == [136]
    assert 0 < displacements(shaken, decoded)[0] < 0.02


def test_the_order_of_sites_does_not_matter():
    order = np.array([5, 2, 0, 4, 1, 3])
    other = Crystals.single(RUTILE.lattices[0], RUTILE.frac_coords[order], RUTILE.numbers[order])
    one, two = (WyckoffOrbits().encode(c) for c in (RUTILE, other))
    for name, array in one.arrays.items():
        np.testing.assert_allclose(array, two[name], atol=1e-6)


def test_a_point_is_found_next_to_its_position():
    positions = wyckoff_positions()
    # Group 164: i is x, -x, z; beyond the cell it comes in again.
    place = positions.index(np.array([164]), np.array([LETTERS.index("i") + 1]))
    lattice = lattices_from_cell_parameters([4, 4, 6, 90, 90, 120])
    away, on = distance_from_position(np.array([[0.7, 0.3, 0.2]]), place, lattice, positions)
    assert away[0] < 1e-9
    np.testing.assert_allclose(wrap(on), [[0.7, 0.3, 0.2]])
    off = np.array([[0.7 + 0.01, 0.3 + 0.01, 0.2]])
    away, on = distance_from_position(off, place, lattice, positions)
    assert away[0] == pytest.approx(np.linalg.norm(np.array([0.01, 0.01, 0]) @ lattice[0]))
    np.testing.assert_allclose(wrap(on), [[0.7, 0.3, 0.2]])


def test_letters_that_a_group_has_not_are_position_0():
    positions = wyckoff_positions()
    found = positions.index(np.array([1, 1, 47, 225, 225]), np.array([1, 2, 27, 0, 13]))
    assert found.tolist()[1] == found.tolist()[3] == found.tolist()[4] == 0
    assert found[0] == 1
    assert positions.symmetries[found[2]] == "1"


def test_generated_arrays_are_moved_onto_their_positions_when_asked():
    crystals = Crystals.concatenate([RUTILE, PEROVSKITE])
    encoded = WyckoffOrbits().encode(crystals)
    rng = np.random.default_rng(0)
    arrays = {name: np.array(array) for name, array in encoded.arrays.items()}
    for name, size in [("space_group", 0.2), ("frac_coords", 0.01), ("cell_parameters", 0.1)]:
        arrays[name] += rng.normal(0, size, arrays[name].shape).astype(np.float32)
    strict = WyckoffOrbits().decode(arrays)
    assert [failure.reason for failure in strict.failures] == ["space group undecided"] * 2
    made = WyckoffOrbits(lenient=True).decode(arrays)
    assert not made.failures
    assert space_group_numbers(made.crystals, symprec=1e-4).tolist() == [136, 221]


def _with(**changes):
    arrays = {name: np.array(a) for name, a in WyckoffOrbits().encode(RUTILE).arrays.items()}
    for name, (where, value) in changes.items():
        arrays[name][0][where] = value
    return arrays


@pytest.mark.parametrize(
    ("changes", "reason", "told"),
    [
        ({"frac_coords": (0, np.nan)}, "not finite", "NaN"),
        ({"space_group": (slice(None), 0)}, "space group undecided", "230 numbers"),
        ({"space_group": (3, 1)}, "space group undecided", "230 numbers"),
        ({"elements": (slice(None), 0)}, "no occupied orbit", "0"),
        ({"elements": (0, 119)}, "no such element", "1 to 118"),
        ({"elements": (0, -1)}, "no such element", "1 to 118"),
        ({"letters": (0, 0)}, "no such Wyckoff letter", r"\[0, 1\] in group 136, which has 11"),
        ({"letters": (0, 12)}, "no such Wyckoff letter", r"\[12, 1\] in group 136"),
        ({"letters": (0, 1)}, "Wyckoff position taken twice", "single point"),
        ({"frac_coords": ((0, 0), 0.4)}, "point off its Wyckoff position", "lenient=True"),
        ({"cell_parameters": (1, 5.0)}, "cell of another crystal system", "lenient=True"),
        ({"cell_parameters": (4, 91)}, "cell of another crystal system", "group 136"),
        ({"cell_parameters": (2, 0)}, "lattice closes no cell", "lengths"),
        ({"cell_parameters": (2, -3)}, "lattice closes no cell", "lengths"),
    ],
)
def test_what_is_no_crystal_says_why(changes, reason, told):
    arrays = _with(**changes)
    (failure,) = WyckoffOrbits().decode(arrays).failures
    assert failure.reason == reason
    assert re.search(told, failure.detail)


def test_angles_that_no_cell_has():
    cell = lattices_from_cell_parameters([4, 5, 6, 75, 85, 95])
    triclinic = Crystals.single(cell[0], [[0, 0, 0], [0.3, 0.1, 0.05]], [11, 17])
    arrays = {k: np.array(a) for k, a in WyckoffOrbits().encode(triclinic).arrays.items()}
    arrays["cell_parameters"][0, 3:] = [60, 60, 170]
    (failure,) = WyckoffOrbits(lenient=True).decode(arrays).failures
    assert failure.reason == "lattice closes no cell"
    assert "angles" in failure.detail


def test_what_does_not_fit_is_refused():
    mirrored = Crystals.single(
        RUTILE.lattices[0] * [[1], [1], [-1]], RUTILE.frac_coords, RUTILE.numbers
    )
    flat = Crystals.single(np.diag([3, 3, 0.3]), [[0, 0, 0]], [29])
    batch = Crystals.concatenate([mirrored, RUTILE, PEROVSKITE, flat])
    encoded = WyckoffOrbits(max_orbits=2).encode(batch)
    assert encoded.index.tolist() == [1]
    assert [failure.reason for failure in encoded.failures] == [
        "left-handed lattice",
        "too many orbits",
        "no symmetry found",
    ]


@pytest.mark.parametrize(
    "wrong", [{"max_orbits": 0}, {"symprec": 0.0}, {"tolerance": -1.0}, {"tolerance": np.inf}]
)
def test_parameters_out_of_range(wrong):
    with pytest.raises(RepresentationError, match=next(iter(wrong))):
        WyckoffOrbits(**wrong)
