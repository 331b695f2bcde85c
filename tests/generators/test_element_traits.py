"""Vectors of elements that know the periodic table."""

import pytest
import torch

from crystalcodec import prototypes
from crystalcodec.generators.base import build_generator
from crystalcodec.generators.conditions import Conditions
from crystalcodec.generators.site_diffusion.elements import (
    ElementEmbedding,
    ElementHead,
    element_traits,
    tell_traits,
)
from crystalcodec.representations.wyckoff_orbits import WyckoffOrbits


def test_traits_are_those_of_the_periodic_table():
    table = element_traits()
    assert len(table) == 119
    assert not table[0].any()
    assert table.isfinite().all()
    period, group, states = table.split([7, 18, 14, 7], dim=1)[:3]
    assert (period[1:].sum(1) == 1).all()
    assert (group[1:].sum(1) == 1).all()
    for number, row, column, known in (
        (3, 2, 1, {1}),
        (17, 3, 17, {-1, 1, 3, 5, 7}),
        (26, 4, 8, {2, 3}),
        (60, 6, 3, {3}),
    ):
        assert period[number].argmax() + 1 == row
        assert group[number].argmax() + 1 == column
        assert {int(state) - 5 for state in states[number].nonzero()} == known
    lanthanide, along, actinide = table[:, 39], table[:, 40], table[:, 41]
    assert lanthanide.nonzero().flatten().tolist() == [*range(57, 72)]
    assert actinide.nonzero().flatten().tolist() == [*range(89, 104)]
    assert along[57] == 0
    assert along[71] == 1
    assert table[9, 43].item() == pytest.approx(3.98 - 1.8, abs=1e-5)  # Pauling's of fluorine
    assert table[55, 45].item() == pytest.approx(2.44 - 1.5, abs=1e-5)  # radius of caesium
    assert len({tuple(row) for row in table[1:104].tolist()}) == 103


def test_a_network_is_told_and_its_weights_keep_it():
    network = torch.nn.Sequential(ElementEmbedding(8, 0.1), ElementHead(8))
    numbers = torch.tensor([[0, 3], [11, 26]])
    blank = network(numbers)
    assert torch.equal(blank, network[1].own(network[0].own(numbers)))
    tell_traits(network)
    told = network(numbers)
    assert told.shape == (2, 2, 119)
    assert not torch.allclose(told, blank)
    other = torch.nn.Sequential(ElementEmbedding(8, 0.1), ElementHead(8))
    other.load_state_dict(network.state_dict())
    assert torch.equal(other(numbers), told)


def test_a_generator_of_orbits_is_told_before_it_trains():
    crystals = prototypes().crystals[:4]
    orbits = WyckoffOrbits()
    encoded = orbits.encode(crystals)
    arrays = {name: torch.from_numpy(array) for name, array in encoded.arrays.items()}
    generator = build_generator("orbit_diffusion", orbits, Conditions(), max_sites=40)
    generator.prepare(crystals[encoded.index], arrays)
    told = [
        part
        for part in generator.modules()
        if isinstance(part, ElementEmbedding | ElementHead)
        and torch.equal(part.table, element_traits())
    ]
    # Of compositions both ends, of letters and denoiser one.
    assert len(told) == 4


def test_elements_that_were_not_seen_follow_those_like_them():
    """Sodium and chlorine are told apart; potassium and bromine, never seen, follow."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(ElementEmbedding(8, 0.1), torch.nn.Linear(8, 1))
    tell_traits(network)
    seen, sides = torch.tensor([3, 11, 37, 9, 17, 53]), torch.tensor([1.0, 1, 1, -1, -1, -1])
    optimiser = torch.optim.Adam(network.parameters(), lr=0.02)
    for _ in range(100):
        optimiser.zero_grad()
        (network(seen)[:, 0] - sides).square().mean().backward()
        optimiser.step()
    potassium, bromine = network(torch.tensor([19, 35]))[:, 0].tolist()
    assert potassium > 0.5
    assert bromine < -0.5
