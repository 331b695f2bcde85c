"""Symmetry labels and Wyckoff letters of known crystals, and against spglib."""

from __future__ import annotations

import numpy as np
import pytest
import spglib

from crystalcodec.crystals import Crystals
from crystalcodec.data import prototype_labels
from crystalcodec.geometry import lattices_from_cell_parameters
from crystalcodec.representations.base import RepresentationError
from crystalcodec.representations.symmetry_labels import LETTERS, SymmetryLabels, WyckoffLetters
from crystalcodec.symmetry import (
    BRAVAIS_LATTICES,
    CRYSTAL_SYSTEMS,
    SymmetryError,
    bravais_lattice_ranks,
    crystal_system_ranks,
    pearson_symbols,
    space_group_numbers,
    wyckoff_letters,
)
from crystalcodec.testing import CHECKS, sample_crystals

FCC = np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
HEXAGONAL = lattices_from_cell_parameters([[3.2, 3.2, 5.2, 90, 90, 120]])[0]
KNOWN = {
    "rock salt": Crystals.single(5.6 * FCC, [[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17]),
    "diamond": Crystals.single(5.4 * FCC, [[0, 0, 0], [0.25, 0.25, 0.25]], [14, 14]),
    "wurtzite": Crystals.single(
        HEXAGONAL,
        [[1 / 3, 2 / 3, 0], [2 / 3, 1 / 3, 0.5], [1 / 3, 2 / 3, 0.38], [2 / 3, 1 / 3, 0.88]],
        [30, 30, 8, 8],
    ),
    "perovskite": Crystals.single(
        3.9 * np.eye(3),
        [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]],
        [38, 22, 8, 8, 8],
    ),
    "rutile": Crystals.single(
        np.diag([4.59, 4.59, 2.96]),
        [
            *([0, 0, 0], [0.5, 0.5, 0.5]),
            *([0.305, 0.305, 0], [0.695, 0.695, 0], [0.805, 0.195, 0.5], [0.195, 0.805, 0.5]),
        ],
        [22, 22, 8, 8, 8, 8],
    ),
    "selenium": Crystals.single(
        lattices_from_cell_parameters([[4.37, 4.37, 4.95, 90, 90, 120]])[0],
        [[0.225, 0, 1 / 3], [0, 0.225, 2 / 3], [-0.225, -0.225, 0]],
        [34, 34, 34],
    ),
}
EVERY = Crystals.concatenate(KNOWN.values())
# System, lattice, group, letters: of the choices that the normalizer leaves, the first.
EXPECTED = [
    ("cubic", "cF", 225, "ab", "cF8"),
    ("cubic", "cF", 227, "aa", "cF8"),
    ("hexagonal", "hP", 186, "bbbb", "hP4"),
    # With the origin on the other cation the letters would be b, a, d.
    ("cubic", "cP", 221, "abccc", "cP5"),
    ("tetragonal", "tP", 136, "aaffff", "tP6"),
    ("trigonal", "hP", 152, "aaa", "hP3"),
]


def test_known_crystals():
    arrays = SymmetryLabels(encoding="index").encode(EVERY)["symmetry_labels"]
    for row, (system, lattice, group, _, _) in zip(arrays.tolist(), EXPECTED, strict=True):
        assert row == [
            CRYSTAL_SYSTEMS.index(system) + 1,
            BRAVAIS_LATTICES.index(lattice) + 1,
            group,
        ]
    assert pearson_symbols(EVERY) == [pearson for *_, pearson in EXPECTED]


def test_known_letters():
    encoded = WyckoffLetters().encode(EVERY)
    words = ["".join(LETTERS[i] for i in encoded["wyckoff_letters"].tolist())]
    assert words == ["".join(letters for *_, letters, _ in EXPECTED)]
    assert np.array_equal(encoded.offsets["sites"], EVERY.offsets)


def test_one_hot_and_index_say_the_same():
    hot = SymmetryLabels().encode(EVERY)
    index = SymmetryLabels(encoding="index").encode(EVERY)["symmetry_labels"]
    assert index.dtype == np.int64
    for i, field in enumerate(SymmetryLabels().fields):
        part = field.of(hot.arrays)
        assert np.array_equal(part.argmax(axis=1) + 1, index[:, i])
        assert (part.sum(axis=1) == 1).all()


@pytest.mark.filterwarnings("ignore:Set OLD_ERROR_HANDLING:DeprecationWarning")
def test_letters_are_spglib_s_up_to_the_choice_of_origin():
    crystals = Crystals.concatenate([EVERY, sample_crystals(40, seed=7)])
    letters = wyckoff_letters(crystals)
    assert None not in letters
    for found, one in zip(letters, crystals, strict=True):
        cell = (one.lattices[0], one.frac_coords, one.numbers)
        other = spglib.get_symmetry_dataset(cell, 0.01)
        # Equivalent sites have one letter, and as many letters stand in both.
        orbits: dict[int, set[str]] = {}
        for orbit, letter in zip(other.crystallographic_orbits, found, strict=True):
            orbits.setdefault(int(orbit), set()).add(letter)
        assert all(len(some) == 1 for some in orbits.values())
        # Sites of a letter with one multiplicity: letters of spglib split the sites alike.
        pairs = set(zip(other.wyckoffs, found, strict=True))
        multiplicity = dict.fromkeys(found, 0)
        for letter in found:
            multiplicity[letter] += 1
        theirs = {letter: list(other.wyckoffs).count(letter) for letter in other.wyckoffs}
        assert sorted(multiplicity.values()) == sorted(theirs.values())
        assert len(pairs) == len(theirs)


@pytest.mark.filterwarnings("ignore:Set OLD_ERROR_HANDLING:DeprecationWarning")
def test_groups_of_each_system_and_lattice_are_those_of_the_tables():
    systems, lattices = crystal_system_ranks(), bravais_lattice_ranks()
    assert np.bincount(systems[1:]).tolist() == [2, 13, 59, 68, 25, 27, 36]
    starts = [1, 3, 16, 75, 143, 168, 195]
    assert [CRYSTAL_SYSTEMS[systems[group]] for group in starts] == [*CRYSTAL_SYSTEMS]
    assert (np.diff(systems[1:]) >= 0).all()
    rhombohedral = [146, 148, 155, 160, 161, 166, 167]
    assert np.flatnonzero(lattices == BRAVAIS_LATTICES.index("hR")).tolist() == rhombohedral
    by_type = spglib.get_spacegroup_type
    first = {}  # the letter of each group, from the first of its settings
    for hall in range(530, 0, -1):
        first[by_type(hall).number] = by_type(hall).international_short[0]
    for group, letter in first.items():
        ours = BRAVAIS_LATTICES[lattices[group]][1]
        assert ours == ("S" if letter in "ABC" and ours != "C" else letter), group


def test_prototypes_are_found_in_the_data():
    labels = SymmetryLabels(labels=("space_group", "prototype"))
    fitted = labels.fit(EVERY[:4])
    expected, _ = prototype_labels(EVERY)
    assert fitted.prototypes == tuple(sorted(expected[:4]))
    encoded = fitted.encode(EVERY)
    part = fitted.fields[1].of(encoded.arrays)
    for row, label in zip(part, expected, strict=True):
        hot = [fitted.prototypes[i] for i in np.flatnonzero(row)]
        assert hot == ([label] if label in fitted.prototypes else [])
    index = SymmetryLabels(labels=("prototype",), prototypes=("A_227_a",), encoding="index")
    assert index.encode(EVERY)["symmetry_labels"][:, 0].tolist() == [0, 1, 0, 0, 0, 0]


def test_a_crystal_without_symmetry_is_a_failure():
    twice = Crystals.single(4 * np.eye(3), [[0, 0, 0], [0, 0, 0.0001]], [1, 1])
    flat = Crystals.single(
        lattices_from_cell_parameters([5, 5, 5, 119.99, 119.99, 119.99])[0], [[0, 0, 0]], [11]
    )
    batch = Crystals.concatenate([EVERY[:1], twice, EVERY[1:2], flat])
    prototypes = SymmetryLabels(labels=("prototype",), prototypes=("A_227_a",))
    for representation in (SymmetryLabels(), WyckoffLetters(), prototypes):
        encoded = representation.encode(batch)
        assert encoded.index.tolist() == [0, 2]
        assert [(f.index, f.reason) for f in encoded.failures] == [
            (1, "symmetry not found"),
            (3, "symmetry not found"),
        ]
        assert "0.01 Å" in encoded.failures[0].detail
        assert [f.index for f in representation.refuse(batch)] == [1, 3]


def test_labels_jump_where_the_tolerance_ends():
    one = KNOWN["perovskite"]
    for away, groups in ((0.005, [221, 221]), (0.015, [99, 221])):
        coords = one.frac_coords.copy()
        coords[1, 2] += away / 3.9
        moved = Crystals(one.lattices, coords, one.numbers, one.offsets)
        found = [
            SymmetryLabels(encoding="index", symprec=symprec).encode(moved)["symmetry_labels"][0, 2]
            for symprec in (0.01, 0.1)
        ]
        assert found == groups


def test_an_angle_is_judged_by_its_own_tolerance():
    lattice = lattices_from_cell_parameters([4, 4, 4, 90, 90, 90.05])[0]
    crystal = Crystals.single(lattice, [[0, 0, 0]], [84])
    found = [
        int(space_group_numbers(crystal, symprec=0.1, angle_tolerance=angle)[0])
        for angle in (None, 0.5, 0.001)
    ]
    assert found[:2] == [221, 221]
    assert found[2] != 221
    with pytest.raises(SymmetryError, match="angle_tolerance is -1"):
        space_group_numbers(crystal, angle_tolerance=-1)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"labels": ()}, "at least one"),
        ({"labels": ("space_group", "space_group")}, "one twice"),
        ({"labels": ("pearson",)}, "labels is"),
        ({"encoding": "ordinal"}, "one_hot or index"),
        ({"prototypes": ("A_227_a",)}, "does not hold 'prototype'"),
        ({"symprec": 0.0}, "symprec is 0.0"),
        ({"angle_tolerance": -1.0}, "angle_tolerance is -1"),
    ],
)
def test_wrong_parameters_are_told(parameters, message):
    with pytest.raises(RepresentationError, match=message):
        SymmetryLabels(**parameters)


# What a rattle does to labels is tested above: none of the sample crystals leaves its group in
# less than the hundredth part of it.
@pytest.mark.parametrize("check", [check for check in CHECKS if check != "continuity"])
@pytest.mark.parametrize(
    "representation",
    [
        SymmetryLabels(encoding="index"),
        SymmetryLabels(labels=("prototype", "space_group"), symprec=0.02),
        WyckoffLetters(symprec=0.02, angle_tolerance=1.0),
    ],
    ids=["index", "prototypes", "letters"],
)
def test_other_parameters_conform(representation, check):
    crystals = sample_crystals()
    CHECKS[check](representation.fit(crystals), crystals)


def test_features_are_named_by_their_class():
    names = SymmetryLabels().feature_names()
    assert len(names) == 7 + 14 + 230
    assert (names[0], names[7], names[-1]) == (
        "crystal_system triclinic",
        "bravais_lattice aP",
        "space_group 230",
    )


def test_the_twenty_seventh_letter():
    signs = np.stack(np.meshgrid(*[[-1, 1]] * 3), -1).reshape(-1, 3)
    crystal = Crystals.single(np.diag([4, 5, 6]), signs * [0.11, 0.17, 0.23], [14] * 8)
    encoded = WyckoffLetters().encode(crystal)["wyckoff_letters"]
    assert space_group_numbers(crystal).tolist() == [47]
    assert {LETTERS[i] for i in encoded.tolist()} == {"A"}
