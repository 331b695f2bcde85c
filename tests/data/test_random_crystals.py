"""Random crystals: what they hold, that a seed decides, and what has no room."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from crystalcodec import Crystals, prototypes
from crystalcodec.crystals import CrystalsError
from crystalcodec.data.atom_sizes import ElementVolumes
from crystalcodec.data.random_crystals import AtomicPacking, random_crystals
from crystalcodec.evaluation.base import Attempts
from crystalcodec.io.foreign import to_pymatgen


@pytest.fixture(scope="module")
def like():
    crystals = prototypes().crystals
    return crystals[crystals.n_sites <= 8]


@pytest.fixture(scope="module")
def packing(like):
    return AtomicPacking.fit(like)


@pytest.fixture(scope="module")
def made(like, packing):
    return random_crystals(80, like=like, seed=3, packing=packing)


def test_each_is_a_crystal_or_a_failure(made):
    crystals, failures = made
    attempts = Attempts.of(crystals, failures)
    assert attempts.n == 80
    assert len(crystals) > 70


def test_no_atoms_are_nearer_than_the_table_says(made, packing):
    crystals, _ = made
    for structure in to_pymatgen(crystals):
        numbers = np.array([site.specie.Z for site in structure])
        first, second, _, distances = structure.get_neighbor_list(5.0)
        least = packing.separations[numbers[first], numbers[second]]
        assert (distances >= least - 1e-6).all()


def test_compositions_and_numbers_of_sites_are_those_of_like(made, like):
    counts = {tuple(row) for row in like.element_counts.tolist()}
    assert all(tuple(row) in counts for row in made[0].element_counts.tolist())
    assert len({tuple(row) for row in made[0].element_counts.tolist()}) > 20


def test_volumes_are_those_of_the_fit(made, packing):
    ratios = made[0].volumes / packing.volumes.of(made[0])
    assert 0.9 < np.median(ratios) < 1.25
    assert ratios.max() <= np.exp(5 * packing.volumes.spread) * 1.03**19
    assert np.std(np.log(ratios)) > 0.02


def test_cells_are_of_many_shapes_and_not_flat(made):
    parameters = made[0].cell_parameters
    boxes = parameters[:, :3].prod(axis=1)
    assert (made[0].volumes / boxes > 0.4).all()
    assert np.ptp(parameters[:, 3:]) > 30


def test_a_seed_decides(made, like, packing):
    again, _ = random_crystals(80, like=like, seed=3, packing=packing)
    other, _ = random_crystals(80, like=like, seed=4, packing=packing)
    assert made[0] == again
    assert made[0] != other


def test_given_compositions(like):
    silica = [14, 14, 8, 8, 8, 8]
    crystals, failures = random_crystals(20, like=like, seed=0, compositions=[silica, [26]])
    formulas = Counter(crystals.formulas)
    assert formulas["SiO2"] + formulas["Fe"] + len(failures) == 20
    assert formulas["SiO2"] > 0
    assert formulas["Fe"] > 0


def test_elements_that_like_lacks_get_room_by_their_radii(like):
    crystals, failures = random_crystals(8, like=like, seed=0, compositions=[[2, 118], [10], [54]])
    assert len(crystals) + len(failures) == 8
    assert len(crystals) >= 6


def test_what_has_no_room_is_a_failure(like):
    # Volumes of 5 Å³ and atoms 6 Å apart.
    tight = AtomicPacking(ElementVolumes(np.full(119, 5.0), 0.0), np.full((119, 119), 6.0))
    crystals, failures = random_crystals(5, like=like, seed=0, packing=tight, tries=3)
    assert len(crystals) == 0
    assert [failure.index for failure in failures] == [0, 1, 2, 3, 4]
    assert {failure.reason for failure in failures} == {"no room"}
    assert Attempts.of(crystals, failures).n == 5


def test_failures_stand_at_their_places(like):
    separations = AtomicPacking.fit(like).separations.copy()
    separations[26, 26] = 50.0
    packing = AtomicPacking(ElementVolumes.fit(like), separations)
    crystals, failures = random_crystals(
        30, like=like, seed=1, compositions=[[26], [11, 17]], packing=packing, tries=4
    )
    attempts = Attempts.of(crystals, failures)
    failed = set(range(30)) - set(attempts.positions.tolist())
    assert 0 < len(failed) < 30
    assert failed == {failure.index for failure in failures}
    assert set(crystals.formulas) == {"NaCl"}


def test_none(like):
    crystals, failures = random_crystals(0, like=like, seed=0)
    assert (len(crystals), failures) == (0, [])


@pytest.mark.parametrize("compositions", [[], [[]], [[0]], [[119]], [[26], []]])
def test_compositions_that_are_none_are_refused(like, compositions):
    with pytest.raises(CrystalsError, match="composition"):
        random_crystals(2, like=like, seed=0, compositions=compositions)


def test_nothing_to_be_like_is_refused():
    with pytest.raises(CrystalsError, match="to be like"):
        random_crystals(2, like=Crystals.empty(), seed=0)
