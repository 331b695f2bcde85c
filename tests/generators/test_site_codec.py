"""The site codec: its order of sites, its compositions, and that it learns."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from crystalcodec import prototypes
from crystalcodec.crystals import Crystals
from crystalcodec.generators.base import build_generator
from crystalcodec.generators.conditions import Conditions, Wanted
from crystalcodec.generators.site_codec.generator import coordinates_of, kl_divergence, points_of
from crystalcodec.generators.site_codec.site_network import SitesDecoder
from crystalcodec.generators.site_codec.slots import (
    Slots,
    cells_of,
    likeliest_counts,
    numbers_of_counts,
    slots_of,
)
from crystalcodec.models.base import ModelError
from crystalcodec.representations.composition import Magpie
from crystalcodec.representations.crystens import CrysTens
from crystalcodec.representations.ircr import IRCR
from crystalcodec.representations.unimat import UniMat

SMALL = {"code": 16, "width": 16, "layers": 1, "heads": 2, "hidden": 48, "blocks": 1}
SMALL |= {"max_sites": 8, "n_parents": 4}


class Says(torch.nn.Module):
    """A network that answers by a function."""

    def __init__(self, function):
        super().__init__()
        self.forward = function


def some(n=4):
    """Crystals with at most eight sites and cells that differ."""
    crystals = prototypes().crystals.right_handed()
    return crystals[np.flatnonzero((crystals.n_sites <= 8) & (crystals.n_sites > 1))[:n]]


def form():
    return IRCR(max_sites=8, max_elements=4, tolerance=0.5)


def arrays_of(representation, crystals):
    encoded = representation.encode(crystals)
    assert not encoded.failures
    return {k: torch.from_numpy(v) for k, v in encoded.arrays.items()}


def codec(representation, crystals, conditions=None, **parameters):
    torch.manual_seed(0)
    made = build_generator(
        "site_codec", representation, conditions or Conditions(), **{**SMALL, **parameters}
    )
    made.prepare(crystals, arrays_of(representation, crystals))
    return made


@pytest.fixture(scope="module", params=["crystal", "sites"])
def trained(request):
    """A codec that has seen four crystals often enough to know them by heart."""
    crystals = some()
    width = {"crystal": 16, "sites": 32}[request.param]
    made = codec(
        form(), crystals, beta=0.0, coordinate_weight=30.0, code_of=request.param, width=width
    )
    batch = arrays_of(form(), crystals)
    optimiser = torch.optim.Adam(made.parameters(), lr=5e-3)
    for step in range(200):
        for group in optimiser.param_groups:
            group["lr"] = 5e-3 * (1 - step / 200)
        loss = made(batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return made.eval(), crystals, batch


def test_it_gives_back_the_crystals_that_it_learnt(trained):
    made, crystals, batch = trained
    with torch.no_grad():
        arrays = made.decode(made.encode(batch))
    decoded = form().decode({k: v.numpy() for k, v in arrays.items()})
    assert not decoded.failures
    got = decoded.crystals
    np.testing.assert_array_equal(got.element_counts, crystals.element_counts)
    np.testing.assert_allclose(got.cell_parameters, crystals.cell_parameters, rtol=0.03)
    # Each site has one of its element at its place, up to whole cells.
    for one, other in zip(got, crystals, strict=True):
        apart = one.frac_coords[:, None] - other.frac_coords[None]
        apart = np.abs(apart - np.round(apart)).max(axis=2)
        apart[one.numbers[:, None] != other.numbers] = 1
        assert (apart.min(axis=1) < 0.05).all()


def test_figures_of_what_it_knows_are_small(trained):
    made, _, batch = trained
    with torch.no_grad():
        figures = made.figures(batch)
    assert figures["wrong_composition"].item() == 0
    assert figures["displacement"].item() < 0.2
    assert figures["angle_error"].item() < 2


@pytest.mark.parametrize("code_of", ["crystal", "sites"])
def test_the_order_of_sites_does_not_change_the_code(code_of):
    crystals = some()
    made = codec(form(), crystals, code_of=code_of)
    rng = np.random.default_rng(0)
    ends = crystals.offsets
    order = np.concatenate([rng.permutation(np.arange(a, b)) for a, b in pairwise(ends)])
    mixed = Crystals(
        crystals.lattices,
        crystals.frac_coords[order],
        crystals.numbers[order],
        crystals.offsets,
    )
    assert not np.array_equal(mixed.numbers, crystals.numbers)
    with torch.no_grad():
        one = made.encode(arrays_of(form(), crystals))
        other = made.encode(arrays_of(form(), mixed))
    assert torch.equal(one, other)


def test_representations_of_the_same_crystals_have_the_same_codes():
    crystals = some()
    made = codec(form(), crystals)
    with torch.no_grad():
        wanted = made.encode(arrays_of(form(), crystals))
        for representation in (CrysTens(), UniMat()):
            other = codec(representation, crystals)
            other.load_state_dict(made.state_dict())
            found = other.encode(arrays_of(representation, crystals))
            torch.testing.assert_close(found, wanted, atol=2e-3, rtol=1e-3)


def test_sites_stand_by_number_then_z_y_and_x():
    numbers = torch.tensor([8, 3, 8, 8])
    coords = torch.tensor([[0.1, 0.2, 0.5], [0.9, 0.9, 0.9], [0.6, 0.1, 0.5], [0.1, 0.0, -1e-4]])
    slots = slots_of(numbers, coords, torch.zeros(4, dtype=torch.long), torch.ones(1, 6), 6)
    assert slots.numbers.tolist() == [[3, 8, 8, 8, 0, 0]]
    # A site just below 0 stands where one at 0 would.
    wanted = coords[[1, 3, 2, 0]]
    assert torch.equal(slots.frac_coords[0, :4], wanted)
    assert slots.n_sites.tolist() == [4]
    assert slots.counts[0, [3, 8]].tolist() == [1, 3]
    assert slots.counts.sum() == 4


def test_the_likeliest_composition_is_that_of_all_compositions():
    """By trying every composition of three elements with up to four sites."""
    torch.manual_seed(0)
    counts = torch.randn(20, 3, 5).log_softmax(2)
    total = (3 * torch.randn(20, 5)).log_softmax(1)
    found = likeliest_counts(counts, total)
    every = torch.cartesian_prod(*[torch.arange(5)] * 3)
    every = every[(every.sum(1) > 0) & (every.sum(1) <= 4)]
    scores = sum(counts[:, i, every[:, i]] for i in range(3)) + total[:, every.sum(1)]
    assert torch.equal(found, every[scores.argmax(1)])
    # The total decides: without it some would have none, or too many sites.
    alone = counts.argmax(2)
    assert (alone != found).any()


def test_numbers_of_counts():
    counts = torch.zeros(2, 119)
    counts[0, 8], counts[0, 3] = 2, 1
    counts[1, 118] = 4
    assert numbers_of_counts(counts, 4).tolist() == [[3, 8, 8, 0], [118] * 4]


def test_cells_of_lattices():
    crystals = some(10)
    found = cells_of(torch.from_numpy(crystals.lattices.copy()))
    np.testing.assert_allclose(found.numpy(), crystals.cell_parameters, atol=1e-5)


def test_points_and_coordinates():
    coords = torch.tensor([0.0, 0.25, 0.75, -0.125, 0.999])
    torch.testing.assert_close(
        points_of(coords)[:3], torch.tensor([[1.0, 0], [0, 1], [0, -1]]), atol=1e-6, rtol=0
    )
    back = coordinates_of(3 * points_of(coords))
    torch.testing.assert_close(back % 1, coords % 1, atol=1e-6, rtol=0)


def test_divergence_is_torch_s():
    torch.manual_seed(0)
    mean, log_variance = torch.randn(5, 7), torch.randn(5, 7)
    one = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    wanted = torch.distributions.kl_divergence(one, torch.distributions.Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(kl_divergence(mean, log_variance), wanted)


def test_loss_is_the_sum_of_what_the_docstring_says():
    """With a decoder that always says the same, all is known."""
    crystals = some(2)
    made = codec(form(), crystals, beta=0.0, coordinate_weight=2.0, cell_weight=3.0)
    slots = made.slots(arrays_of(form(), crystals))
    made.decoder.whole = lambda codes: codes
    flat = torch.full((2, 119, 9), 1 / 9).log()
    made.decoder.compositions = lambda whole: (flat, torch.full((2, 9), 1 / 9).log())
    made.decoder.coordinates = lambda whole, numbers: torch.zeros(2, 8, 3, 2)
    made.decoder.cell = lambda whole: torch.zeros(2, 6)
    parts = made._errors(slots, torch.zeros(2, 16), {})
    # 119 elements and the number of sites, each one of nine.
    assert parts["composition"].item() == pytest.approx(120 * np.log(9), rel=1e-5)
    # Each of three axes is 1 away from its circle.
    assert parts["coordinates"].item() == pytest.approx(2.0 * 3)
    # Standardised over these two crystals: a number that differs has the mean square 1.
    cells = made._logarithms(slots.cells, slots.n_sites)
    share = (cells.std(0) > 1e-3).float().mean().item()
    assert parts["cell"].item() == pytest.approx(3.0 * share, abs=1e-3)


def test_each_slot_says_its_element_or_none():
    torch.manual_seed(0)
    decoder = SitesDecoder(5, 3, 8, 1, 2, 1)
    torch.nn.init.normal_(decoder.to_elements.weight)
    whole = decoder.whole(torch.randn(4, 15))
    probabilities = decoder.log_elements(whole).exp()
    torch.testing.assert_close(probabilities.sum(2), torch.ones(4, 5))
    assert (probabilities[:, 0, 0] == 0).all()
    assert (probabilities[:, 1:, 0] > 0).all()
    numbers = torch.tensor([[3, 8, 0, 0, 0], [1, 1, 1, 1, 1], [6, 0, 0, 0, 0], [3, 8, 9, 0, 0]])
    slots = Slots(numbers, torch.zeros(4, 5, 3), torch.ones(4, 6))
    wanted = [
        -sum(probabilities[i, j, z].log() for j, z in enumerate(row))
        for i, row in enumerate(numbers.tolist())
    ]
    torch.testing.assert_close(decoder.composition_error(whole, slots), torch.stack(wanted))
    # Where nothing speaks for a site, the first slot still has one.
    with torch.no_grad():
        decoder.to_elements.bias[0] += 1e4
    assert [(row > 0).tolist() for row in decoder.numbers(whole)] == [[True] + 4 * [False]] * 4


def test_missing_property_values_do_not_count():
    crystals = some()
    conditions = Conditions.fit((), {"gap": np.array([1.0, 2.0, 3.0, 4.0])})
    made = codec(form(), crystals, conditions)
    made.branch = Says(lambda codes: torch.zeros(len(codes), 1))
    told = torch.tensor([[2.0], [float("nan")], [1.0], [float("nan")]])
    error = made._property_error(torch.zeros(4, 16), {"condition.gap": told})
    assert error.item() == pytest.approx((4 + 1) / 2)
    nothing = made._property_error(torch.zeros(4, 16), {"condition.gap": told * float("nan")})
    assert nothing.item() == 0


def test_samples_of_no_noise_are_parents(trained):
    made, _, batch = trained
    with torch.no_grad():
        found = made.sample(6, Wanted(), torch.Generator().manual_seed(0), scale=0.0)
        known = made.decode(made.encode(batch))
    apart = (found["ircr"][:, None] - known["ircr"][None]).abs().amax((2, 3))
    assert apart.min(1).values.max() < 1e-3


def test_samples_are_the_same_for_the_same_seed(trained):
    made, _, _ = trained
    for source in ("parents", "gaussian"):
        with torch.no_grad():
            one, two, three = (
                made.sample(3, Wanted(), torch.Generator().manual_seed(seed), source=source)
                for seed in (1, 1, 2)
            )
        assert torch.equal(one["ircr"].nan_to_num(), two["ircr"].nan_to_num())
        assert not torch.equal(one["ircr"].nan_to_num(), three["ircr"].nan_to_num())


def test_wanted_values_choose_parents():
    """A branch that says the number of the parent: children of 3 are those of the nearest."""
    crystals = some()
    conditions = Conditions.fit((), {"gap": np.array([0.0, 1.0, 2.0, 3.0])})
    made = codec(form(), crystals, conditions, n_parents=20).eval()
    with torch.no_grad():
        own = made.encode(arrays_of(form(), crystals))
        entry = conditions.entries[0]

        def branch(codes):
            nearest = torch.cdist(codes, own).argmin(1, keepdim=True)
            return (nearest - entry.mean) / entry.deviation

        made.branch = Says(branch)
        assert made.properties(own)["gap"].tolist() == pytest.approx([0, 1, 2, 3], abs=1e-5)
        made.decode = lambda codes: {"codes": codes}
        found = made.sample(40, Wanted(values={"gap": 2.2}), torch.Generator(), scale=0.0)
    # Of 20 rows five are of each crystal; drawn from are the eight nearest: all of the third
    # crystal, and three of the fourth.
    near = torch.cdist(found["codes"], own)
    assert near.min(1).values.max() < 1e-3
    assert set(near.argmin(1).tolist()) == {2, 3}


def test_a_cell_that_closes_nothing_is_a_failure(trained):
    made, _, batch = trained
    with torch.no_grad():
        slots = made.slots(batch)
        slots.cells[1, 3:] = torch.tensor([170.0, 20.0, 90.0])
        arrays = made._arrays(slots)
    decoded = form().decode({k: v.numpy() for k, v in arrays.items()})
    assert [failure.index for failure in decoded.failures] == [1]
    assert len(decoded.crystals) == 3


def test_codes_far_away_give_arrays_and_no_error(trained):
    made, _, _ = trained
    with torch.no_grad():
        arrays = made.decode(
            1e4 * torch.randn(8, made.size, generator=torch.Generator().manual_seed(0))
        )
    decoded = form().decode({k: v.numpy() for k, v in arrays.items()})
    assert len(decoded.crystals) + len(decoded.failures) == 8


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"code": 0}, "code is 0"),
        ({"width": 18}, "multiple of 4"),
        ({"code_of": "cell"}, "code_of is 'cell', wanted one of crystal, sites"),
        ({"beta": "x"}, "beta is 'x', wanted a finite number"),
        ({"cell_weight": -1.0}, "cell_weight is -1.0"),
        ({"n_parents": 1}, "n_parents is 1"),
    ],
)
def test_bad_parameters(parameters, said):
    with pytest.raises(ModelError, match=said):
        codec(form(), some(), **parameters)


def test_what_it_does_not_fit():
    with pytest.raises(ModelError, match="does not fit 'magpie'"):
        build_generator("site_codec", Magpie(), Conditions())
    crystals = some()
    with pytest.raises(ModelError, match="branches for property values alone"):
        codec(form(), crystals, Conditions.fit(("space_group",), {}))
    with pytest.raises(ModelError, match="set max_sites"):
        codec(form(), crystals, max_sites=2)
    made = codec(form(), crystals)
    large = prototypes().crystals
    large = large[np.flatnonzero(large.n_sites > 8)[:1]].right_handed()
    wide = codec(IRCR(max_sites=40, max_elements=8), crystals)
    with pytest.raises(ModelError, match="made for at most 8"):
        wide.encode(arrays_of(IRCR(max_sites=40, max_elements=8), large))
    with pytest.raises(ModelError, match="wanted one of parents"):
        made.sample(1, Wanted(), torch.Generator(), source="prior")
    with pytest.raises(ModelError, match="wanted 0 or more"):
        made.sample(1, Wanted(), torch.Generator(), scale=-1.0)
