"""Cleaning steps: what each changes is known beforehand, and nothing is lost uncounted."""

from __future__ import annotations

import numpy as np
import pytest

from crystalcodec import prototypes
from crystalcodec.crystals import Crystals
from crystalcodec.data.matching import first_alike
from crystalcodec.data.pair_distances import shortest_distances
from crystalcodec.evaluation.base import Attempts
from crystalcodec.failures import Failure
from crystalcodec.io import to_pymatgen
from crystalcodec.symmetry import space_group_numbers
from crystalcodec.workflow.generating import cleaning
from crystalcodec.workflow.generating.cleaning import STEPS, CleaningError, clean, parse_steps

SITES = np.array(
    [
        *([0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]),
        *([0.5, 0.5, 0.5], [0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5]),
    ]
)
SALT = Crystals.single(5.64 * np.eye(3), SITES, [11] * 4 + [17] * 4)
SOME = prototypes().crystals[::40]


def cleaned(crystals, *steps):
    attempts, counts = clean(Attempts.of(crystals), parse_steps(steps))
    return attempts.crystals, counts


def test_near_sites_of_one_element_become_one_at_their_mean():
    """Across the face of the cell, three in a chain, and not with another element."""
    coords = [[0.98, 0, 0], [0.02, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0.56], [0.5, 0.5, 0.62]]
    crystal = Crystals.single(
        np.diag([10.0, 10, 5]), [*coords, [0.5, 0.5, 0.65]], [11, 11, 17, 17, 17, 9]
    )
    made, (count,) = cleaned(crystal, "merge=0.45")
    np.testing.assert_allclose(
        made.frac_coords, [[0, 0, 0], [0.5, 0.5, 0.56], [0.5, 0.5, 0.65]], atol=1e-12
    )
    assert made.numbers.tolist() == [11, 17, 9]
    assert count["n_changed"] == 1
    assert count["notes"] == {"sites merged into others": 3}
    assert count["lost"] == {}
    # 0.4 Å apart, so that nothing merges below.
    same, (count,) = cleaned(crystal, "merge=0.29")
    assert same == crystal
    assert count["n_changed"] == 0


def test_merging_agrees_with_pymatgen():
    rng = np.random.default_rng(0)
    parts = []
    for _ in range(20):
        coords = rng.random((5, 3))
        doubled = np.concatenate([coords, coords + rng.normal(0, 0.004, (5, 3))])
        parts.append(Crystals.single(np.diag([6.0, 7, 8]), doubled, [3, 8, 9, 11, 12] * 2))
    given = Crystals.concatenate(parts)
    made, _ = cleaned(given, "merge=0.3")
    for one, structure in zip(made, to_pymatgen(given), strict=True):
        structure.merge_sites(0.3, mode="average")
        ours = dict(zip(one.numbers.tolist(), one.frac_coords, strict=True))
        assert len(ours) == len(structure) == 5
        for site in structure:
            away = ours[site.specie.Z] - site.frac_coords
            np.testing.assert_allclose(away - np.rint(away), 0, atol=1e-9)


def test_niggli_cells_are_those_of_pymatgen_and_no_atom_moves():
    skew = np.array([[1, 2, 0], [0, 1, 3], [1, 0, 1]])
    given = Crystals.concatenate([SOME, SALT.supercell(skew)])
    made, (count,) = cleaned(given, "niggli")
    assert count["n"] == len(given)
    assert count["notes"] == {}
    for one, before in zip(made, to_pymatgen(given), strict=True):
        wanted = before.lattice.get_niggli_reduced_lattice()
        np.testing.assert_allclose(one.cell_parameters[0], wanted.parameters, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(made.volumes, given.volumes)
    assert (np.linalg.det(made.lattices) > 0).tolist() == (
        np.linalg.det(given.lattices) > 0
    ).tolist()
    one, other = shortest_distances(made), shortest_distances(given)
    np.testing.assert_allclose(one.of_all, other.of_all, rtol=1e-9)
    assert (space_group_numbers(made) == space_group_numbers(given)).all()
    again, (count,) = cleaned(made, "niggli")
    assert count["n_changed"] == 0
    assert again == made


def test_symmetry_moves_sites_to_where_they_belong():
    rng = np.random.default_rng(0)
    shaken = Crystals.single(
        5.64 * np.eye(3) + rng.normal(0, 0.01, (3, 3)),
        SITES + rng.normal(0, 0.003, (8, 3)),
        SALT.numbers,
    )
    assert space_group_numbers(shaken, symprec=1e-3).tolist() == [1]
    made, (count,) = cleaned(shaken, "symmetrise=0.2")
    assert count["step"] == "symmetrise=0.2"
    assert count["n_changed"] == 1
    assert space_group_numbers(made, symprec=1e-4).tolist() == [225]
    assert made.n_sites.tolist() == [2]  # the primitive cell
    assert made.volumes[0] * 4 == pytest.approx(shaken.volumes[0], rel=1e-2)
    away = made.frac_coords[1] - made.frac_coords[0]
    np.testing.assert_allclose(away - np.floor(away), 0.5, atol=1e-9)


def test_what_has_no_symmetry_stays_as_it_is():
    rng = np.random.default_rng(1)
    lawless = Crystals.single(4 * np.eye(3) + rng.random((3, 3)), rng.random((4, 3)), [3, 8, 9, 11])
    flat = Crystals.single(np.diag([5.0, 5.0, 0.1]), [[0, 0, 0]], [3])
    both = Crystals.concatenate([lawless, flat])
    made, (count,) = cleaned(both, "symmetrise")
    assert made == both
    assert count["n_changed"] == 0
    assert count["notes"] == {"left as they were, no symmetry found": 1}


def test_all_steps_leave_real_crystals_what_they_are():
    made, counts = cleaned(SOME, "merge", "niggli", "symmetrise=0.01")
    assert [one["step"] for one in counts] == ["merge=0.5", "niggli", "symmetrise=0.01"]
    assert made.formulas == SOME.formulas
    both = Crystals.concatenate([SOME, made])
    first = first_alike(both).positions
    assert (first[len(SOME) :] == first[: len(SOME)]).all()


def test_junk_passes_through_and_failures_stay():
    junk = Crystals.concatenate(
        [
            Crystals.single(np.eye(3) * 100, [[0, 0, 0]], [2]),
            Crystals.single(np.eye(3), np.zeros((6, 3)), [1, 1, 3, 3, 9, 9]),
            Crystals.single(np.diag([4.0, 4.0, 1e-3]), [[0, 0, 0], [0.5, 0.5, 0.5]], [118, 1]),
        ]
    )
    attempts = Attempts.of(junk, [Failure(1, "no cell"), Failure(4, "no site")])
    made, counts = clean(attempts, parse_steps(list(STEPS)))
    assert made.n == 5
    assert made.failures == attempts.failures
    assert made.positions.tolist() == [0, 2, 3]
    assert made.crystals.n_sites.tolist() == [1, 3, 2]
    assert [one["n"] for one in counts] == [3, 3, 3]
    empty, counts = clean(Attempts.of(Crystals.empty()), parse_steps(list(STEPS)))
    assert empty.n == 0
    assert [one["n_changed"] for one in counts] == [0, 0, 0]


def test_what_is_no_crystal_after_a_step_is_a_counted_failure(monkeypatch):
    def squash(crystals, tolerance):
        lattices = np.array(crystals.lattices)
        lattices[1, 2] = lattices[1, 1]
        columns = (lattices, crystals.frac_coords, crystals.numbers, crystals.offsets)
        return cleaning.Cleaned(columns, np.ones(len(crystals), bool))

    monkeypatch.setitem(STEPS, "squash", cleaning._Kind(squash, "breaks one"))
    attempts = Attempts.of(SOME[:3], [Failure(0, "no cell")])
    made, (count,) = clean(attempts, parse_steps(["squash"]))
    assert made.positions.tolist() == [1, 3]
    assert made.crystals == SOME[[0, 2]]
    assert [(one.index, one.reason) for one in made.failures] == [(0, "no cell"), (2, "no volume")]
    assert made.failures[1].detail.startswith("after squash")
    assert count["lost"] == {"no volume": 1}
    assert count["n_changed"] == 2


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["merg"], "did you mean 'merge'"),
        (["niggli=1"], "takes no tolerance"),
        (["merge="], "positive number"),
        (["merge=-1"], "positive number"),
        (["merge=inf"], "positive number"),
        (["symmetrise=much"], "positive number"),
        (["merge", "merge=0.1"], "merge is there twice"),
    ],
)
def test_steps_that_there_are_not(texts, said):
    with pytest.raises(CleaningError, match=said):
        parse_steps(texts)
