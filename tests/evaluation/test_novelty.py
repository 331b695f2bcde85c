"""Uniqueness and novelty: by hand, against oneself, and of nothing."""

from __future__ import annotations

import numpy as np
import pytest

from crystalcodec import Crystals, Failure, prototypes
from crystalcodec.data.matching import CDVAE, MatchingError, Tolerances
from crystalcodec.evaluation.base import Attempts, EvaluationError, Evidence
from crystalcodec.evaluation.novelty import (
    first_of_key,
    is_novel,
    is_unique,
    measure,
    prototype_keys,
)
from crystalcodec.registry import FAMILIES, load

A = 5.64


def rock_salt(z: int = 11, a: float = A) -> Crystals:
    return Crystals.single(
        [[0, a / 2, a / 2], [a / 2, 0, a / 2], [a / 2, a / 2, 0]],
        [[0, 0, 0], [0.5, 0.5, 0.5]],
        [z, 17],
    )


def caesium_chloride() -> Crystals:
    return Crystals.single(3.5 * np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17])


def moved(crystals: Crystals, seed: int = 0) -> Crystals:
    """The same crystals: other origins, other orders of sites, turned in space."""
    rng = np.random.default_rng(seed)
    out = []
    for crystal in crystals:
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


def values(figures) -> dict[str, float]:
    return {figure.name: figure.value for figure in figures}


ATTEMPTS = Attempts.of(
    Crystals.concatenate(
        [
            rock_salt(),  # 0
            moved(rock_salt()),  # 1
            rock_salt().supercell([2, 1, 1]),  # 3
            caesium_chloride(),  # 4
            rock_salt(19, 6.3),  # 5
            moved(rock_salt(19, 7.0)),  # 6
        ]
    ),
    [Failure(2, "no cell"), Failure(7, "no cell")],
)


def test_by_hand():
    evidence = Evidence(ATTEMPTS, train=moved(rock_salt(11, 5.2), 1))
    assert is_unique(evidence).tolist() == [1, 0, 0, 0, 1, 1, 0, 0]
    assert is_novel(evidence).tolist() == [0, 0, 0, 0, 1, 1, 1, 0]
    figures = measure(evidence)
    assert values(figures) == {
        "uniqueness": 3 / 8,
        "composition_uniqueness": 2 / 8,  # NaCl, KCl
        "composition_novelty": 2 / 8,  # both of KCl
        "prototype_uniqueness": 2 / 8,  # that of rock salt, that of caesium chloride
        "prototype_novelty": 1 / 8,
        "novelty": 3 / 8,
        "unique_and_novel": 2 / 8,
    }
    for figure in figures:
        assert figure.failures == {"no cell": 2}
        assert figure.n == 8
        assert figure.better == "higher"
        assert "Over all attempts" in figure.definition
        low, high = figure.interval()
        assert low <= figure.value <= high
    assert "ltol 0.2, stol 0.3, angle_tol 5" in figures[0].definition
    assert figures[0].extra["n_kinds"] == 3
    assert figures[0].extra["most_of_one_kind"] == 3
    assert figures[-1].extra["n_train"] == 1


def test_without_train():
    evidence = Evidence(ATTEMPTS)
    names = {"uniqueness", "composition_uniqueness", "prototype_uniqueness"}
    assert set(values(measure(evidence))) == names
    with pytest.raises(EvaluationError, match="give its crystals"):
        is_novel(evidence)


def test_train_of_nothing_makes_all_novel():
    figures = values(measure(Evidence(ATTEMPTS, train=Crystals.empty())))
    for name in ("novelty", "composition_novelty", "prototype_novelty"):
        assert figures[name] == 6 / 8
    assert figures["unique_and_novel"] == 3 / 8


def test_what_is_known_is_not_novel():
    train = prototypes().crystals[::40]
    for generated in (train, moved(train)):
        figures = values(measure(Evidence(Attempts.of(generated), train=train)))
        for name in ("novelty", "composition_novelty", "prototype_novelty", "unique_and_novel"):
            assert figures[name] == 0


def test_everything_twice_halves_uniqueness():
    some = prototypes().crystals[::60]
    once = values(measure(Evidence(Attempts.of(some))))
    cells = Crystals.concatenate([one.supercell([1, 1, 2]) for one in moved(some)])
    twice = values(measure(Evidence(Attempts.of(Crystals.concatenate([some, cells])))))
    assert once["uniqueness"] > 0.9
    for name, value in once.items():
        assert twice[name] == pytest.approx(value / 2)


@pytest.mark.parametrize("n_failed", [0, 3])
def test_no_crystal_at_all(n_failed):
    attempts = Attempts.of(Crystals.empty(), [Failure(i, "no cell") for i in range(n_failed)])
    figures = measure(Evidence(attempts, train=rock_salt()))
    assert len(figures) == 7
    for figure in figures:
        assert figure.n == n_failed
        assert figure.value == 0 if n_failed else np.isnan(figure.value)


def test_one_crystal():
    figures = values(measure(Evidence(Attempts.of(rock_salt()), train=caesium_chloride())))
    assert figures.pop("composition_novelty") == 0
    assert set(figures.values()) == {1.0}


def test_what_cannot_be_compared_is_counted_and_is_neither_unique_nor_novel():
    needles = [
        Crystals.single(np.diag([0.6, width, 900]), [[0, 0, 0]], [84]) for width in (0.6, 0.7)
    ]
    cube = Crystals.single(3.35 * np.eye(3), [[0, 0, 0]], [84])
    lonely = Crystals.single(np.diag([0.6, 0.6, 900]), [[0, 0, 0]], [3])
    attempts = Attempts.of(Crystals.concatenate([*needles, cube, lonely]))
    evidence = Evidence(attempts, train=moved(cube))
    # Nothing has the composition of the last one, so that nothing is the same.
    assert is_unique(evidence).tolist() == [False, False, True, True]
    assert is_novel(evidence).tolist() == [False, False, False, True]
    figures = {figure.name: figure for figure in measure(evidence)}
    for name in ("uniqueness", "novelty", "unique_and_novel"):
        assert figures[name].failures == {"cell too elongated": 2}
    assert figures["unique_and_novel"].value == 1 / 4


def test_no_symmetry_no_prototype():
    # Two copies of this cell stand 0.3 Å apart.
    flat = Crystals.single(np.diag([0.3, 4, 4]), [[0, 0, 0]], [84])
    both = Crystals.concatenate([flat, rock_salt()])
    keys = prototype_keys(both)
    assert keys.shape == (2, 2)
    assert keys.any(axis=1).tolist() == [False, True]
    figures = {
        figure.name: figure for figure in measure(Evidence(Attempts.of(both), train=both[:1]))
    }
    for name in ("prototype_uniqueness", "prototype_novelty"):
        assert figures[name].value == 1 / 2
        assert figures[name].failures == {"symmetry not found": 1}
    assert figures["prototype_novelty"].extra["n_train_without_symmetry"] == 1


def test_prototypes_are_those_of_the_tolerance():
    off = Crystals.single(rock_salt().lattices[0], [[0, 0, 0], [0.5, 0.5, 0.508]], [11, 17])
    both = Crystals.concatenate([rock_salt(), off])  # by 0.03 Å
    loose, strict = prototype_keys(both), prototype_keys(both, 0.001)
    assert (loose[0] == loose[1]).all()
    assert (strict[0] != strict[1]).any()
    assert (strict[0] == loose[0]).all()


def test_tolerances_are_told_and_used():
    near = Crystals.single(3.5 * np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.99]], [11, 17])
    evidence = Evidence(Attempts.of(near), train=caesium_chloride())
    assert is_novel(evidence).tolist() == [True]
    assert is_novel(evidence, CDVAE).tolist() == [False]
    assert "stol 0.5" in measure(evidence, CDVAE)[0].definition
    with pytest.raises(MatchingError, match="stol"):
        measure(evidence, Tolerances(stol=-1))


def test_what_is_expensive_is_asked_for_by_one_name():
    class Kept(Evidence):
        asked: dict = {}  # noqa: RUF012

        def once(self, name, function):
            if name not in self.asked:
                self.asked[name] = function()
            return self.asked[name]

    evidence = Kept(ATTEMPTS, train=rock_salt())
    first = is_unique(evidence), is_novel(evidence)
    measure(evidence)
    assert len(evidence.asked) == 2
    assert all(isinstance(name, str) for name in evidence.asked)
    assert (is_unique(evidence) == first[0]).all()
    is_novel(evidence, CDVAE)
    assert len(evidence.asked) == 3


def test_first_of_key():
    assert first_of_key([3, 1, 3, 1, 2]).tolist() == [True, True, False, False, True]
    assert first_of_key([[0, 1], [1, 0], [0, 1]]).tolist() == [True, True, False]
    assert first_of_key(np.zeros((0, 2), int)).tolist() == []


def test_the_registry_knows_it():
    assert load(FAMILIES, "novelty") is measure
