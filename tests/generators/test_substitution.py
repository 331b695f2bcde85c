"""Elements replaced in training: seen ones, similar ones, one a crystal, and the model is told."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import crystalcodec
from crystalcodec.generators.base import build_generator
from crystalcodec.generators.conditions import Conditions
from crystalcodec.generators.orbit_diffusion.substitution import Substitution
from crystalcodec.models.base import ModelError
from crystalcodec.representations.wyckoff_orbits import WyckoffOrbits

ORBITS = WyckoffOrbits(max_orbits=8)
SMALL = {
    **{"width": 16, "messages": 8, "layers": 1, "composition_width": 16, "letter_width": 16},
    **{"composition_layers": 1, "letter_layers": 1, "dropout": 0.0},
}


def _crystals(n):
    """n times Na, Na, Cl, Cl, O: three elements in five orbits."""
    crystals = torch.arange(n).repeat_interleave(5)
    return crystals, torch.tensor([11, 11, 17, 17, 8]).repeat(n)


def _seen(*numbers):
    seen = torch.zeros(119, dtype=torch.bool)
    seen[list(numbers)] = True
    return seen


def test_one_element_of_a_share_of_the_crystals_is_replaced():
    torch.manual_seed(0)
    crystals, numbers = _crystals(4000)
    seen = _seen(3, 8, 9, 11, 16, 17, 19, 35)
    swapped, changed = Substitution(0.3, [4])(crystals, numbers, 4000, seen)
    assert changed.float().mean().item() == pytest.approx(0.3, abs=0.03)
    other = (swapped != numbers).view(-1, 5)
    assert torch.equal(other.any(1), changed)
    # Both orbits of an element change, and nothing else does.
    pairs = torch.tensor([[1, 1, 0, 0, 0], [0, 0, 1, 1, 0], [0, 0, 0, 0, 1]], dtype=torch.bool)
    which = (other[changed][:, None] == pairs).all(2)
    assert (which.sum(1) == 1).all()
    assert which.float().mean(0).tolist() == pytest.approx([0.4, 0.4, 0.2], abs=0.05)
    rows = swapped.view(-1, 5)
    assert seen[rows].all()
    kinds = torch.zeros(4000, 119).scatter_(1, rows, 1.0).sum(1)
    assert (kinds == 3).all(), "never one that the crystal has"
    # On the modified Pettifor scale K is next to Na, Br next to Cl, and none of them is far away.
    of_sodium = rows[:, 0][other[:, 0]]
    assert of_sodium.mode().values == 19
    assert rows[:, 2][other[:, 2]].mode().values == 35


def test_what_has_no_neighbour_stays_and_evaluation_changes_nothing():
    crystals, numbers = _crystals(50)
    swap = Substitution(1.0, [4])
    swapped, changed = swap(crystals, numbers, 50, _seen(8, 11, 17))
    assert not changed.any()
    assert torch.equal(swapped, numbers)
    swap.eval()
    swapped, changed = swap(crystals, numbers, 50, _seen(3, 8, 9, 11, 17))
    assert not changed.any()
    assert swapped is numbers


def _generator(**parameters):
    crystals = crystalcodec.prototypes().crystals.right_handed()[:40]
    encoded = ORBITS.encode(crystals)
    arrays = {name: torch.from_numpy(np.array(array)) for name, array in encoded.arrays.items()}
    arrays["condition.energy"] = torch.randn(len(encoded.index), 1)
    conditions = Conditions.fit((), {"energy": arrays["condition.energy"][:, 0].double().numpy()})
    torch.manual_seed(0)
    generator = build_generator("orbit_diffusion", ORBITS, conditions, **SMALL, **parameters)
    generator.prepare(crystals[encoded.index], arrays)
    return generator, arrays


def test_compositions_and_letters_learn_what_is_replaced():
    generator, arrays = _generator(substitute=1.0)
    generator(arrays).backward()
    marks = [*generator.substitution.marks]
    assert [len(mark) for mark in marks] == [16, 16]
    assert all(mark.grad.abs().sum() > 0 for mark in marks)
    # Values of the crystal that an element was replaced in are another crystal's: not told.
    told = generator.told_composition.maps[0][0].weight.grad
    assert told is None or not told.any()
    plain, arrays = _generator()
    plain(arrays).backward()
    assert plain.told_composition.maps[0][0].weight.grad.any()


def test_letters_are_of_the_replaced_elements_and_coordinates_of_the_real_ones(monkeypatch):
    generator, arrays = _generator(substitute=1.0)
    numbers = arrays["elements"].long()
    seen = {}
    real_letters, real_denoising = generator.letters.log_likelihoods, generator._denoising

    def letters(tables, made, lists, known):
        seen["made"], seen["lists"] = made, lists
        return real_letters(tables, made, lists, known)

    def denoising(batch, table, frame, of_sites):
        seen["sites"] = torch.equal(of_sites, table.numbers[frame.orbits])
        return real_denoising(batch, table, frame, of_sites)

    monkeypatch.setattr(generator.letters, "log_likelihoods", letters)
    monkeypatch.setattr(generator, "_denoising", denoising)
    loss = generator(arrays)
    assert loss < 1e4, "letters that their composition allows"
    made, lists = seen["made"], seen["lists"]
    there = lists.letters > 0
    of_orbits = made.elements.gather(1, lists.slots)
    # Each element has as many orbits as before, and mostly one of them is another element.
    for row in range(len(numbers)):
        before, after = numbers[row][numbers[row] > 0], of_orbits[row][there[row]]
        counts = [values.unique(return_counts=True)[1].tolist() for values in (before, after)]
        assert sorted(counts[0]) == sorted(counts[1])
        assert len({*after.tolist()} - {*before.tolist()}) <= 1
    assert not torch.equal(made.elements.sort(1).values, _compositions(numbers, made))
    assert seen["sites"]


def _compositions(numbers, made):
    """Elements of crystals as they were, sorted as those of compositions are."""
    table = torch.zeros_like(made.elements)
    for row, of_orbits in enumerate(numbers):
        kinds = of_orbits[of_orbits > 0].unique()
        table[row, : len(kinds)] = kinds
    return table.sort(1).values


def test_crystals_as_they_are_are_judged_as_without_it():
    generator, arrays = _generator(substitute=0.5)
    plain, _ = _generator()
    plain.load_state_dict(generator.state_dict(), strict=False)
    for one in (generator, plain):
        one.eval()
    torch.manual_seed(1)
    figures = generator.figures(arrays)
    torch.manual_seed(1)
    assert figures == plain.figures(arrays)
    assert {*generator.state_dict()} - {*plain.state_dict()} == {
        "substitution.marks.0",
        "substitution.marks.1",
    }


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_a_share_that_is_none(share):
    with pytest.raises(ModelError, match=r"substitute is .*share from 0 to 1"):
        build_generator("orbit_diffusion", ORBITS, Conditions(), **SMALL, substitute=share)
