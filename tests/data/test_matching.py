"""The matching engine: equal to pymatgen's StructureMatcher, and right by hand."""

from __future__ import annotations

import itertools
from dataclasses import astuple

import numpy as np
import pytest
from pymatgen.core.structure_matcher import StructureMatcher

from crystalcodec import Crystals, prototypes, to_pymatgen
from crystalcodec.data import matching
from crystalcodec.data.compositions import reduced_composition_numbers
from crystalcodec.data.matching import (
    CDVAE,
    PYMATGEN,
    REFUSALS,
    MatchingError,
    Tolerances,
    alike_in,
    engine,
    first_alike,
)


def moved(crystals: Crystals, seed: int = 0) -> Crystals:
    """The same crystals: other origins, other orders of sites, turned, in other cells."""
    rng = np.random.default_rng(seed)
    cells = [[[1, 0, 0], [1, 1, 0], [0, -1, 1]], [[2, 0, 0], [0, 1, 0], [0, 0, 1]]]
    out = []
    for i, crystal in enumerate(crystals):
        crystal = crystal.supercell(cells[i % 2])
        order = rng.permutation(len(crystal.numbers))
        turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        out.append(
            Crystals.single(
                crystal.lattices[0] @ turn,
                crystal.frac_coords[order] + rng.random(3),
                crystal.numbers[order],
            )
        )
    return Crystals.concatenate(out)


def shaken(crystals: Crystals, sites: float, strain: float, seed: int = 0) -> Crystals:
    rng = np.random.default_rng(seed)
    coords = crystals.to_fractional(
        crystals.cart_coords + rng.normal(0, sites, crystals.cart_coords.shape)
    )
    strains = np.eye(3) + rng.normal(0, strain, (len(crystals), 3, 3))
    return Crystals(crystals.lattices @ strains, coords, crystals.numbers, crystals.offsets)


def random_crystals(n: int, numbers: list[int], seed: int = 0, cube: bool = False) -> Crystals:
    rng = np.random.default_rng(seed)
    volume = 12.0 * len(numbers)
    out = []
    for _ in range(n):
        shape = np.eye(3) + (not cube) * rng.uniform(-0.25, 0.25, (3, 3))
        shape *= (volume / abs(np.linalg.det(shape))) ** (1 / 3)
        out.append(Crystals.single(shape, rng.random((len(numbers), 3)), numbers))
    return Crystals.concatenate(out)


def tetragonal(ratio: float) -> Crystals:
    """One atom, c / a as given, volume 30."""
    a = (30 / ratio) ** (1 / 3)
    return Crystals.single(np.diag([a, a, a * ratio]), [[0, 0, 0]], [84])


def caesium_chloride(shift: float) -> Crystals:
    """Chlorine off the centre of a cube, along one axis, in parts of the edge."""
    return Crystals.single(4.1 * np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5 + shift]], [55, 17])


def first_of(*crystals: Crystals, **options) -> list[int]:
    return first_alike(Crystals.concatenate(crystals), **options).positions.tolist()


def plain(tolerances: Tolerances) -> StructureMatcher:
    ltol, stol, angle_tol = astuple(tolerances)
    return StructureMatcher(ltol=ltol, stol=stol, angle_tol=angle_tol)


def pairwise(crystals: Crystals, tolerances: Tolerances) -> list[int]:
    """What the definition says, by pymatgen, pair after pair."""
    matcher, structures = plain(tolerances), to_pymatgen(crystals)
    first = list(range(len(crystals)))
    for i, j in itertools.product(range(len(crystals)), repeat=2):
        if j < i and first[i] == i and first[j] == j and matcher.fit(structures[j], structures[i]):
            first[i] = j
    return first


SETS = {
    # Rock salt, fluorite, ... of few elements, each again in another cell and shaken.
    "prototypes": lambda: Crystals.concatenate(
        [
            (some := prototypes().crystals[::97]),
            moved(some),
            shaken(some, 0.1, 0.01),
            shaken(some, 0.4, 0.05),
        ]
    ),
    "random": lambda: random_crystals(14, [22, 22, 14, 8]),
    "random of one element": lambda: random_crystals(10, [6] * 6, cube=True),
    "random in a cube": lambda: random_crystals(10, [22, 8, 8, 8], cube=True),
    "two rarest elements": lambda: Crystals.concatenate(
        [random_crystals(6, [50, 50, 34, 34], 1), moved(random_crystals(6, [34, 50], 2))]
    ),
}


@pytest.mark.parametrize("tolerances", [PYMATGEN, CDVAE], ids=["pymatgen", "cdvae"])
@pytest.mark.parametrize("name", SETS)
def test_the_answer_is_that_of_plain_pairs(name, tolerances):
    crystals = SETS[name]()
    found = first_alike(crystals, tolerances=tolerances)
    keys = reduced_composition_numbers(crystals)
    expected = np.arange(len(crystals))
    for key in np.unique(keys):
        group = np.flatnonzero(keys == key)
        expected[group] = group[pairwise(crystals[group], tolerances)]
    assert found.positions.tolist() == expected.tolist()
    assert not found.failures
    if tolerances is PYMATGEN or "random" not in name:
        assert len(np.unique(expected)) > 1
    elif name == "random of one element":  # any six atoms in one cube are the same
        assert len(np.unique(expected)) == 1


def test_as_many_groups_as_pymatgen_makes():
    some = prototypes().crystals[::200]
    crystals = Crystals.concatenate([some, shaken(some, 0.2, 0.02), moved(some)])
    groups = StructureMatcher().group_structures(to_pymatgen(crystals))
    first = first_alike(crystals).positions
    assert len(np.unique(first)) == len(groups)


def test_lengths_by_hand():
    # At one volume a cell of c / a = r has c larger by r^(2/3): 1.2 at r = 1.2^1.5 = 1.3145.
    assert first_of(tetragonal(1), tetragonal(1.30)) == [0, 0]
    assert first_of(tetragonal(1), tetragonal(1.33)) == [0, 1]
    # 1.3^1.5 = 1.4822
    assert first_of(tetragonal(1), tetragonal(1.46), tolerances=Tolerances(ltol=0.3)) == [0, 0]
    assert first_of(tetragonal(1), tetragonal(1.50), tolerances=Tolerances(ltol=0.3)) == [0, 1]


def test_sites_by_hand():
    # After the mean shift each of two sites is off by half of it, in units of (1 / 2)^(1/3) of
    # the edge: 0.3 of them at a shift of 2 * 0.3 * 0.7937 = 0.476.
    assert first_of(caesium_chloride(0), caesium_chloride(0.46)) == [0, 0]
    assert first_of(caesium_chloride(0), caesium_chloride(0.49)) == [0, 1]
    # 2 * 0.1 * 0.7937 = 0.159
    strict = Tolerances(stol=0.1)
    assert first_of(caesium_chloride(0), caesium_chloride(0.15), tolerances=strict) == [0, 0]
    assert first_of(caesium_chloride(0), caesium_chloride(0.17), tolerances=strict) == [0, 1]


def test_angles_by_hand():
    def sheared(angle: float) -> Crystals:
        gamma = np.radians(angle)
        lattice = 3.1 * np.array([[1, 0, 0], [np.cos(gamma), np.sin(gamma), 0], [0, 0, 1]])
        return Crystals.single(lattice, [[0, 0, 0]], [84])

    assert first_of(sheared(90), sheared(86)) == [0, 0]
    assert first_of(sheared(90), sheared(84)) == [0, 1]
    assert first_of(sheared(90), sheared(84), tolerances=CDVAE) == [0, 0]


def test_the_same_is_not_transitive_and_the_order_counts():
    # 1.25^(2/3) = 1.160 is within 0.2, and 1.5625^(2/3) = 1.347 is not.
    chain = [tetragonal(1), tetragonal(1.25), tetragonal(1.5625)]
    assert first_of(*chain) == [0, 0, 2]
    assert first_of(chain[1], chain[0], chain[2]) == [0, 0, 0]


def test_volumes_count_only_where_asked():
    small = caesium_chloride(0)
    large = Crystals.single(2 * small.lattices[0], small.frac_coords, small.numbers)
    assert first_of(small, large) == [0, 0]
    assert first_of(small, large, volume_tolerance=0.1) == [0, 1]
    assert first_of(small, large, volume_tolerance=0.88) == [0, 0]  # 1 - 1 / 8
    assert first_of(small, large, volume_tolerance=0.87) == [0, 1]


def test_known_crystals():
    known = Crystals.concatenate([tetragonal(1), tetragonal(1.25), caesium_chloride(0)])
    swapped = Crystals.single(4.1 * np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]], [37, 17])
    new = Crystals.concatenate(
        [
            moved(caesium_chloride(0)),
            tetragonal(1.25),  # an exact copy, though the first is the same too
            tetragonal(1.1),  # the first of two
            tetragonal(1.5625),
            tetragonal(2.5),
            swapped,
            tetragonal(1.1),
        ]
    )
    assert alike_in(new, known).positions.tolist() == [2, 1, 0, 1, -1, -1, 0]
    assert alike_in(new, known[:0]).positions.tolist() == [-1] * 7
    assert alike_in(new[:0], known).positions.tolist() == []


def test_known_crystals_as_plain_pairs():
    some = prototypes().crystals[::150]
    new = Crystals.concatenate([shaken(some, 0.3, 0.03, 1), moved(some)])
    matcher = StructureMatcher()
    known, structures = to_pymatgen(some), to_pymatgen(new)
    expected = [
        next((k for k, one in enumerate(known) if matcher.fit(one, other)), -1)
        for other in structures
    ]
    assert alike_in(new, some).positions.tolist() == expected
    assert -1 in expected


def test_blocks_and_processes_do_not_change_the_answer(monkeypatch):
    crystals = Crystals.concatenate(
        [random_crystals(40, [22, 22, 8], 3), moved(random_crystals(40, [22, 22, 8], 3))]
    )
    crystals = crystals[np.random.default_rng(0).permutation(len(crystals))]
    told = []
    expected = first_alike(crystals, progress=lambda *args: told.append(args)).positions.tolist()
    assert len(set(expected)) < 45
    assert told[-1] == ("compared", 80, 80)
    known = alike_in(crystals, crystals[::3]).positions.tolist()
    monkeypatch.setattr(engine, "_BLOCK", 8)
    monkeypatch.setattr(engine, "_PAIRS_A_TASK", 50)
    assert first_alike(crystals).positions.tolist() == expected
    monkeypatch.setattr(engine, "_WORTH_A_PROCESS", 1)
    assert first_alike(crystals, jobs=2).positions.tolist() == expected
    assert alike_in(crystals, crystals[::3], jobs=2).positions.tolist() == known


def test_exact_copies_of_what_cannot_be_compared():
    needle = Crystals.single(np.diag([0.6, 0.6, 900]), [[0, 0, 0]], [84])
    other = Crystals.single(np.diag([0.6, 0.7, 900]), [[0, 0, 0]], [84])
    crystals = Crystals.concatenate([needle, other, tetragonal(1), needle, tetragonal(1.1)])
    found = first_alike(crystals)
    assert found.positions.tolist() == [0, 1, 2, 0, 2]
    assert [(f.index, f.reason) for f in found.failures] == [(0, REFUSALS[0]), (1, REFUSALS[0])]
    assert "900 Å" in found.failures[0].detail
    found = alike_in(crystals, crystals[1:3])
    assert found.positions.tolist() == [-1, 0, 1, -1, 1]
    assert [f.index for f in found.failures] == [0, 3]
    assert [f.index for f in found.known_failures] == [0]


def test_collapsed_cells_are_refused():
    """The reduction of a cell of 0.001 Å takes all memory."""
    cells = [edge * np.eye(3) for edge in (1e-3, 1.1e-3, 0.05)]
    crystals = Crystals.concatenate([Crystals.single(cell, [[0, 0, 0]], [6]) for cell in cells])
    found = first_alike(crystals)
    assert found.positions.tolist() == [0, 1, 2]
    assert [(f.index, f.reason) for f in found.failures] == [
        (0, "cell too small"),
        (1, "cell too small"),
    ]
    assert alike_in(crystals[[0, 2]], crystals[[1, 2]]).positions.tolist() == [-1, 1]


def test_many_formula_units_are_refused():
    rng = np.random.default_rng(0)
    many = [Crystals.single(20 * np.eye(3), rng.random((400, 3)), [14] * 400) for _ in range(2)]
    found = first_alike(Crystals.concatenate(many))
    assert found.positions.tolist() == [0, 1]
    assert [f.reason for f in found.failures] == ["too many sites"] * 2


def test_cells_out_of_the_ordinary():
    huge = Crystals.single(100 * np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]], [17, 55])
    onto = Crystals.single(4 * np.eye(3), [[0, 0, 0], [0, 0, 0]], [17, 55])
    helium = Crystals.single(4 * np.eye(3), [[0.1, 0, 0]], [2])
    oganesson = Crystals.single(4 * np.eye(3), [[0.1, 0, 0]], [118])
    piled = Crystals.single(4 * np.eye(3), np.zeros((6, 3)), [14] * 6)
    crystals = [caesium_chloride(0), huge, onto, onto, helium, moved(helium), oganesson]
    found = first_alike(Crystals.concatenate([*crystals, oganesson, piled, moved(piled)]))
    assert found.positions.tolist()[:8] == [0, 0, 2, 2, 4, 4, 6, 6]
    assert not found.failures


@pytest.mark.parametrize("n", [0, 1])
def test_few_crystals(n):
    found = first_alike(tetragonal(1)[:n])
    assert found.positions.tolist() == list(range(n))
    assert not found.failures


@pytest.mark.parametrize("name", ["ltol", "stol", "angle_tol"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_tolerances_that_are_none(name, value):
    with pytest.raises(MatchingError, match=f"{name} is "):
        Tolerances(**{name: value})


def test_the_presets():
    matcher = StructureMatcher()
    assert astuple(PYMATGEN) == (matcher.ltol, matcher.stol, matcher.angle_tol)
    assert astuple(CDVAE) == (0.3, 0.5, 10)
    assert str(CDVAE) == "ltol 0.3, stol 0.5, angle_tol 10"
    assert set(matching.__all__) >= {"PYMATGEN", "CDVAE"}
