from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from crystalcodec.crystals import Crystals
from crystalcodec.data import prototype_labels
from crystalcodec.geometry import lattices_from_cell_parameters

FCC = np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
PEROVSKITE = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
HEXAGONAL = lattices_from_cell_parameters([[3.2, 3.2, 5.2, 90, 90, 120]])[0]


@pytest.mark.parametrize(
    ("label", "lattice", "coords", "numbers"),
    [
        ("A_229_a", 2.87 * np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]], [26, 26]),
        ("A_225_a", 3.6 * FCC, [[0, 0, 0]], [29]),
        ("A_227_a", 5.4 * FCC, [[0, 0, 0], [0.25, 0.25, 0.25]], [14, 14]),
        ("AB_225_a_b", 5.6 * FCC, [[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17]),
        ("AB_216_a_c", 5.4 * FCC, [[0, 0, 0], [0.25, 0.25, 0.25]], [30, 16]),
        ("AB_221_a_b", 4.1 * np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]], [55, 17]),
        ("ABC3_221_a_b_c", 3.9 * np.eye(3), PEROVSKITE, [38, 22, 8, 8, 8]),
        (
            "AB_186_b_b",
            HEXAGONAL,
            [[1 / 3, 2 / 3, 0], [2 / 3, 1 / 3, 0.5], [1 / 3, 2 / 3, 0.38], [2 / 3, 1 / 3, 0.88]],
            [30, 30, 8, 8],
        ),
    ],
)
def test_known_prototypes_however_they_are_given(
    label: str, lattice: np.ndarray, coords: list[list[float]], numbers: list[int]
) -> None:
    crystal = Crystals.single(lattice, coords, numbers)
    rng = np.random.default_rng(0)
    descriptions = [crystal]
    for shift in ([0.5, 0.5, 0.5], [0.25, 0.25, 0.25], [0.5, 0, 0], rng.random(3)):
        order = rng.permutation(len(numbers))
        turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        descriptions.append(
            Crystals.single(
                crystal.lattices[0] @ turn,
                crystal.frac_coords[order] + shift,
                crystal.numbers[order],
            )
        )
    descriptions.append(crystal.supercell([1, 2, 1]))
    labels, failures = prototype_labels(Crystals.concatenate(descriptions))
    assert not failures
    assert len(set(labels)) == 1
    assert labels[0] == label


def test_elements_do_not_matter(rock_salt: Crystals) -> None:
    other = Crystals.single(rock_salt.lattices[0], rock_salt.frac_coords, [8, 12])
    assert len(set(prototype_labels(Crystals.concatenate([rock_salt, other]))[0])) == 1


def test_every_crystal_has_a_label_or_a_reason(make_crystals: Callable[..., Crystals]) -> None:
    crystals = make_crystals(200, seed=8)
    labels, failures = prototype_labels(crystals)
    assert len(labels) == 200
    assert {i for i, label in enumerate(labels) if label is None} == {f.index for f in failures}
