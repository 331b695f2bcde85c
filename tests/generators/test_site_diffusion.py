"""Compositions step by step and sites by diffusion: exact probabilities, symmetries, memory."""

from __future__ import annotations

import itertools
from itertools import combinations, permutations

import numpy as np
import pytest
import torch

import crystalcodec
from crystalcodec.crystals import Crystals
from crystalcodec.generators.base import build_generator
from crystalcodec.generators.conditions import ConditionError, Conditions, Wanted
from crystalcodec.generators.site_diffusion import generator as site_generator
from crystalcodec.generators.site_diffusion.composition import (
    CompositionModel,
    Compositions,
    Temperatures,
    Told,
    element_ranks,
)
from crystalcodec.generators.site_diffusion.denoiser import (
    SiteDenoiser,
    all_pairs,
    centred_on_zero,
)
from crystalcodec.generators.site_diffusion.drawing import wanted_compositions
from crystalcodec.generators.site_diffusion.tables import read_sites, write_sites
from crystalcodec.models.base import ModelError
from crystalcodec.representations.crystens import CrysTens
from crystalcodec.representations.ircr import IRCR
from crystalcodec.symmetry import space_group_numbers
from crystalcodec.workflow.generating.sampling import sample_arrays

TABLE = IRCR(max_sites=8, max_elements=3, tolerance=0.5)


def _tensors(representation, crystals):
    arrays = representation.encode(crystals).arrays
    return {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}


def _held(representation):
    crystals = crystalcodec.prototypes().crystals.right_handed()
    failed = {failure.index for failure in representation.refuse(crystals)}
    # Sites of an element stand together in all that this generator writes.
    kept = []
    for i in range(len(crystals)):
        numbers = crystals[i].numbers
        runs = 1 + np.count_nonzero(np.diff(numbers))
        if i not in failed and runs == len(np.unique(numbers)):
            kept.append(i)
    return crystals[np.array(kept)]


def test_tables_are_read_and_written_back():
    crystals = _held(TABLE)
    assert len(crystals) > 20
    arrays = _tensors(TABLE, crystals)
    table = read_sites(TABLE, arrays)
    assert table.numbers.tolist() == crystals.numbers.tolist()
    assert table.n_sites.tolist() == crystals.n_sites.tolist()
    back = write_sites(TABLE, table)
    for field in TABLE.fields:
        if field.name != "properties":  # decoding does not read them
            there, here = (field.of({"ircr": a["ircr"].numpy()}) for a in (arrays, back))
            np.testing.assert_array_equal(here, there, err_msg=field.name)
    decoded = TABLE.decode({"ircr": back["ircr"].numpy()})
    assert decoded.crystals.numbers.tolist() == crystals.numbers.tolist()


def test_coordinates_outside_of_the_cell_are_wrapped():
    crystals = _held(TABLE)[:3]
    table = read_sites(TABLE, _tensors(TABLE, crystals))
    moved = type(table)(table.numbers, table.frac_coords - 3.0, table.crystals, table.cells)
    coords = read_sites(TABLE, write_sites(TABLE, moved)).frac_coords
    assert (coords >= 0).all()
    assert (coords < 1).all()
    torch.testing.assert_close(coords, table.frac_coords, atol=1e-6, rtol=0)


def test_elements_are_ordered_as_in_formulas():
    ranks = element_ranks()
    assert ranks[0] == 0
    assert sorted(ranks[1:].tolist()) == list(range(1, 119))
    # Pauling's electronegativities: Cs 0.79, Li 0.98, Fe 1.83, O 3.44, F 3.98; He has none.
    assert ranks[[55, 3, 26, 8, 9]].diff().min() > 0
    assert ranks[2] > ranks[9]


def test_compositions_of_sites():
    numbers = torch.tensor([8, 22, 8, 11, 17])
    made = Compositions.of_sites(
        numbers, torch.tensor([0, 0, 0, 1, 1]), torch.tensor([136, 0]), max_elements=3
    )
    assert made.elements.tolist() == [[22, 8, 0], [11, 17, 0]]
    assert made.counts.tolist() == [[1, 2, 0], [1, 1, 0]]
    assert made.n_sites.tolist() == [3, 2]
    sites, crystals = made.sites()
    assert sites.tolist() == [22, 8, 8, 11, 17]
    assert crystals.tolist() == [0, 0, 0, 1, 1]


SEEN = [3, 8, 9, 26]


def _small_model():
    torch.manual_seed(0)
    model = CompositionModel(4, 2, width=16, layers=1, heads=2, dropout=0.0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    model.seen.zero_()
    model.seen[SEEN] = True
    return model.eval()


def _all_compositions(group):
    """Every composition of 1 to 4 sites of at most two of four elements."""
    ranks = element_ranks().tolist()
    elements, counts = [], []
    for n in range(1, 5):
        for one in SEEN:
            elements.append([one, 0])
            counts.append([n, 0])
        for pair in combinations(sorted(SEEN, key=ranks.__getitem__), 2):
            for first in range(1, n):
                elements.append([*pair])
                counts.append([first, n - first])
    counts = torch.tensor(counts)
    groups = torch.full((len(counts),), group)
    return Compositions(groups, counts.sum(1), torch.tensor(elements), counts)


@torch.no_grad()
def test_probabilities_of_all_compositions_sum_to_one():
    model = _small_model()
    every = _all_compositions(17)
    told = Told(torch.randn(1, 16).expand(len(every), -1))
    group = model.group_logits(Told(told.condition[:1])).log_softmax(1)[0, 17]
    for temperatures in (Temperatures(), Temperatures(0.5, 0.3)):
        likelihoods = model.log_likelihoods(every, told, temperatures)
        assert (likelihoods - group).exp().sum().item() == pytest.approx(1.0, abs=1e-5)


@torch.no_grad()
def test_a_composition_is_as_probable_alone_as_among_others():
    """Those of few elements are worked out apart from the others."""
    model = _small_model()
    every = _all_compositions(17)
    told = Told(torch.randn(len(every), 16))
    alone = [
        model.log_likelihoods(every[row], told[row]) for row in torch.arange(len(every)).split(1)
    ]
    torch.testing.assert_close(model.log_likelihoods(every, told), torch.cat(alone))


@torch.no_grad()
def test_guidance_of_compositions():
    model = _small_model()
    every = _all_compositions(17)
    condition, blank = torch.randn(2, 1, 16).expand(2, len(every), 16)

    def likelihoods(guidance):
        return model.log_likelihoods(every, Told(condition, blank, guidance))

    torch.testing.assert_close(likelihoods(1.0), model.log_likelihoods(every, Told(condition)))
    torch.testing.assert_close(likelihoods(0.0), model.log_likelihoods(every, Told(blank)))
    told = Told(condition, blank, 3.0)
    group = model.group_logits(told).softmax(1)[0]
    assert ((likelihoods(3.0)).exp() / group[17]).sum().item() == pytest.approx(1.0, abs=1e-5)
    # p(with)³ / p(without)², normalised.
    with_it, without = (model.group_logits(Told(t[:1])).softmax(1)[0] for t in (condition, blank))
    powers = with_it**3 / without**2
    torch.testing.assert_close(group, powers / powers.sum())


@torch.no_grad()
@pytest.mark.parametrize("temperatures", [(1.0, 1.0), (0.6, 1.0), (1.0, 0.3)])
def test_compositions_are_drawn_as_often_as_they_are_probable(temperatures):
    model = _small_model()
    every = _all_compositions(17)
    told = torch.zeros(1, 16)
    temperatures = Temperatures(*temperatures)
    likelihoods = model.log_likelihoods(every, Told(told.expand(len(every), -1)), temperatures)
    shares = (likelihoods - model.group_logits(Told(told)).log_softmax(1)[0, 17]).exp()
    n = 20_000
    made, _ = model.draw(
        Told(told.expand(n, -1)),
        torch.Generator().manual_seed(0),
        space_groups=torch.full((n,), 17),
        temperatures=temperatures,
    )
    keys = {
        (*e, *c): i
        for i, (e, c) in enumerate(zip(every.elements.tolist(), every.counts.tolist(), strict=True))
    }
    drawn = torch.zeros(len(every))
    for e, c in zip(made.elements.tolist(), made.counts.tolist(), strict=True):
        drawn[keys[(*e, *c)]] += 1
    spread = (shares * (1 - shares) / n).sqrt()
    assert ((drawn / n - shares).abs() / spread.clamp(min=1e-4)).max() < 5


@torch.no_grad()
@pytest.mark.parametrize("temperatures", [(1.0, 1.0), (0.4, 1.0), (1.0, 0.4)])
@pytest.mark.parametrize("wanted", [[8], [3, 8], [26, 9]])
def test_forced_elements_score_what_they_are_probable_with(wanted, temperatures):
    model = _small_model()
    every = _all_compositions(17)
    told = torch.zeros(1, 16)
    temperatures = Temperatures(*temperatures)
    likelihoods = model.log_likelihoods(every, Told(told.expand(len(every), -1)), temperatures)
    there = torch.tensor([{*e} - {0} == {*wanted} for e in every.elements.tolist()])
    n = 4000
    made, score = model.draw(
        Told(told.expand(n, -1)),
        torch.Generator().manual_seed(0),
        space_groups=torch.full((n,), 17),
        forced=torch.tensor(sorted(wanted, key=element_ranks().tolist().__getitem__)),
        temperatures=temperatures,
    )
    assert all({*e} - {0} == {*wanted} for e in made.elements.tolist())
    assert (made.counts.sum(1) == made.n_sites).all()
    truth = likelihoods[there].exp().sum().item()
    assert score.exp().mean().item() == pytest.approx(truth, rel=0.05)


def test_pairs_are_all_pairs_within_crystals():
    pairs = all_pairs(torch.tensor([2, 1, 3]))
    found = {*zip(pairs.receivers.tolist(), pairs.senders.tolist(), strict=True)}
    blocks = [range(2), range(2, 3), range(3, 6)]
    assert found == {(i, j) for block in blocks for i in block for j in block}
    assert pairs.crystals.tolist() == [0] * 4 + [1] + [2] * 9


def _denoiser_input(seed=0):
    generator = torch.Generator().manual_seed(seed)
    counts = torch.tensor([3, 4])
    crystals = torch.repeat_interleave(counts)
    return {
        "numbers": torch.tensor([8, 8, 22, 3, 9, 9, 26]),
        "crystals": crystals,
        "pairs": all_pairs(counts),
        "coords": torch.rand(7, 3, generator=generator),
        "cells": torch.randn(2, 6, generator=generator),
        "level": torch.tensor([-0.3, 0.4]),
        "known": torch.randn(2, 24, generator=generator),
        "lattices": torch.eye(3).expand(2, 3, 3) * torch.tensor([4.0, 6.0])[:, None, None],
    }


def _denoiser(images=False):
    torch.manual_seed(0)
    network = SiteDenoiser(24, 12, 2, images=images)
    # The last layers start at zero, which would make everything invariant.
    for last in (network.pull, network.push, network.to_cell[-1]):
        torch.nn.init.normal_(last.weight)
    for layer in network.layers:
        torch.nn.init.normal_(layer.film.weight, std=0.2)
    return network.double()


def _double(given):
    return {
        k: v.double() if isinstance(v, torch.Tensor) and v.is_floating_point() else v
        for k, v in given.items()
    }


@torch.no_grad()
@pytest.mark.parametrize("images", [False, True])
def test_the_denoiser_does_not_see_the_origin_nor_whole_translations(images):
    network, given = _denoiser(images), _double(_denoiser_input())
    noise, cells = network(**given)
    assert noise.abs().min() > 1e-4
    shift = torch.tensor([[0.3, -0.2, 0.7], [0.1, 0.5, 0.9]], dtype=torch.double)
    moved = given["coords"] + shift[given["crystals"]]
    moved[2] += torch.tensor([1.0, -2.0, 5.0])
    noise_moved, cells_moved = network(**{**given, "coords": moved})
    torch.testing.assert_close(noise_moved, noise)
    torch.testing.assert_close(cells_moved, cells)


@torch.no_grad()
def test_distances_are_those_of_all_images_around():
    network, given = _denoiser(images=True), _double(_denoiser_input())
    coords, lattices = given["coords"].numpy(), given["lattices"].numpy()
    pairs = given["pairs"]
    found = network._features(given["coords"], given["lattices"], pairs)[:, -24:].numpy()
    for row, i, j, crystal in zip(
        found, pairs.receivers, pairs.senders, pairs.crystals, strict=True
    ):
        apart = coords[j] - coords[i]
        wanted = np.zeros(24)
        for shift in itertools.product((-1, 0, 1), repeat=3):
            vector = (apart - np.round(apart) + shift) @ lattices[crystal]
            distance = np.linalg.norm(vector)
            wanted += np.exp(-0.5 * ((distance - np.linspace(0, 6, 24)) / (6 / 23)) ** 2)
        np.testing.assert_allclose(row, wanted, atol=2e-3)
    # A site and its own images tell the cell.
    own = pairs.receivers == pairs.senders
    assert np.abs(found[own][0] - found[own][-1]).max() > 0.5


@torch.no_grad()
def test_the_denoiser_follows_the_order_of_sites():
    network, given = _denoiser(), _double(_denoiser_input())
    noise, cells = network(**given)
    order = torch.tensor([2, 0, 1, 5, 3, 6, 4])
    moved = {**given, "numbers": given["numbers"][order], "coords": given["coords"][order]}
    noise_moved, cells_moved = network(**moved)
    torch.testing.assert_close(noise_moved, noise[order])
    torch.testing.assert_close(cells_moved, cells)


@torch.no_grad()
def test_a_crystal_does_not_see_the_others_of_its_batch_and_noise_has_mean_zero():
    network, given = _denoiser(), _double(_denoiser_input())
    noise, _ = network(**given)
    sums = torch.zeros(2, 3, dtype=torch.double).index_add(0, given["crystals"], noise)
    assert sums.abs().max() < 1e-12
    other = {**given, "coords": given["coords"].clone()}
    other["coords"][3:] = torch.rand(4, 3, dtype=torch.double)
    torch.testing.assert_close(network(**other)[0][:3], noise[:3])
    centred = centred_on_zero(given["coords"], given["crystals"], torch.tensor([3, 4]))
    torch.testing.assert_close(centred[:3], given["coords"][:3] - given["coords"][:3].mean(0))


def _generator(crystals, conditions, **parameters):
    torch.manual_seed(0)
    sizes = {"width": 48, "messages": 24, "layers": 2, "composition_width": 32, "dropout": 0.0}
    generator = build_generator("site_diffusion", TABLE, conditions, **{**sizes, **parameters})
    arrays = _tensors(TABLE, crystals)
    generator.prepare(crystals, arrays)
    told = conditions.of(crystals, {})
    return generator, arrays | {key: torch.from_numpy(value) for key, value in told.items()}


@pytest.fixture(scope="module")
def two_crystals():
    """Rock salt NaCl and CsCl, of one cell shape each."""
    salt = np.array([[0, 2.8, 2.8], [2.8, 0, 2.8], [2.8, 2.8, 0]])
    lattices = np.stack([salt, 4.1 * np.eye(3)])
    coords = np.array([[0, 0, 0], [0.5, 0.5, 0.5]] * 2)
    return Crystals(lattices, coords, np.array([11, 17, 55, 17]), np.array([0, 2, 4]))


@pytest.fixture(scope="module")
def trained(two_crystals):
    """A generator that has learnt two crystals by heart."""
    conditions = Conditions.fit(["space_group"], {})
    generator, batch = _generator(two_crystals, conditions)
    batch = {name: tensor.repeat(24, *[1] * (tensor.ndim - 1)) for name, tensor in batch.items()}
    optimiser = torch.optim.AdamW(generator.parameters(), 3e-3, weight_decay=0.0)
    steps = 700
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = 3e-3 * (1 + np.cos(np.pi * step / steps)) / 2
        loss = generator(batch)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(generator.parameters(), 1.0)
        optimiser.step()
    return generator.eval()


def test_what_was_learnt_by_heart_comes_back(trained, two_crystals):
    settings = {"steps": 25, "sampler": "sde"}
    made = sample_arrays(trained, 60, seed=1, settings=settings).decoded
    assert len(made.crystals) >= 54  # in so short a training a cell may not close
    formulas = np.array(made.crystals.formulas)
    assert {*formulas} == {"NaCl", "CsCl"}
    assert 15 < np.count_nonzero(formulas == "NaCl") < 45
    apart = made.crystals.frac_coords[1::2] - made.crystals.frac_coords[::2]
    assert np.abs(np.abs(apart - np.round(apart)) - 0.5).max() < 0.05
    for i in range(2):
        own = formulas == two_crystals.formulas[i]
        volumes = made.crystals.volumes[own]
        assert volumes == pytest.approx(two_crystals.volumes[i], rel=0.15)


def test_wishes_are_met(trained):
    made = sample_arrays(trained, 8, Wanted(formula="CsCl"), settings={"steps": 4})
    assert {*made.decoded.crystals.formulas} == {"CsCl"}
    made = sample_arrays(trained, 8, Wanted(elements=("Cl", "Na")), settings={"steps": 4})
    assert {*made.decoded.crystals.formulas} == {"NaCl"}
    # Only rock salt has this group, so the model tells the composition from it.
    made = sample_arrays(trained, 8, Wanted(space_group=225), settings={"steps": 25})
    assert {*made.decoded.crystals.formulas} == {"NaCl"}


def test_a_formula_unit_never_seen_is_kept_to(trained):
    made = sample_arrays(trained, 4, Wanted(formula="Na2Cl3"), settings={"steps": 2})
    numbers = made.decoded.crystals.numbers.reshape(4, 5)
    assert (np.sort(numbers, axis=1) == [11, 11, 17, 17, 17]).all()


def test_the_same_seed_gives_the_same_samples(trained):
    one, same, other = (
        sample_arrays(trained, 5, seed=seed, settings={"steps": 3}).arrays["ircr"]
        for seed in (3, 3, 4)
    )
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (Wanted(formula="Na5Cl5"), "at most 8 and 3 fit"),
        (Wanted(elements=("Na", "Cl", "Cs", "K")), "at most 8 and 3 fit"),
        (Wanted(formula="TiO2"), "not in any training crystal"),
        (Wanted(values={"band_gap": 1.0}), "not trained with a condition on 'band_gap'"),
        (Wanted(space_group=231), "wanted 1 to 230"),
    ],
)
def test_wishes_that_cannot_be_met(trained, wanted, said):
    with pytest.raises(ConditionError, match=said):
        sample_arrays(trained, 2, wanted)


def test_a_space_group_needs_a_training_with_it(two_crystals):
    generator, _ = _generator(two_crystals, Conditions())
    with pytest.raises(ConditionError, match="space_group"):
        sample_arrays(generator, 2, Wanted(space_group=225))


def test_one_training_crystal_is_enough(two_crystals):
    generator, batch = _generator(two_crystals[1:], Conditions())
    assert generator(batch).isfinite()
    made = sample_arrays(generator, 2, settings={"steps": 2}).arrays["ircr"]
    assert np.isfinite(made).all()


@torch.no_grad()
@pytest.mark.parametrize("temperature", [1.0, 0.2])
def test_multiples_of_a_formula_are_drawn_as_often_as_they_are_probable(two_crystals, temperature):
    generator, _ = _generator(two_crystals, Conditions())
    for parameter in generator.compositions.parameters():
        torch.nn.init.normal_(parameter, std=0.15)
    generator.eval()
    k = torch.arange(1, 5)
    elements = torch.tensor([[11, 17, 0]] * 4)  # sodium is less electronegative
    counts = torch.stack([k, k, torch.zeros_like(k)], dim=1)
    every = Compositions(torch.zeros_like(k), 2 * k, elements, counts)
    told = Told(generator.told_composition({}, 4))
    shares, others = (
        generator.compositions.log_likelihoods(every, told, Temperatures(t, t)).softmax(0)
        for t in (temperature, 1.2 - temperature)
    )
    assert (shares - others).abs().max() > 0.1
    n = 4000
    random = torch.Generator().manual_seed(0)
    made = wanted_compositions(
        generator.compositions,
        n,
        Wanted(formula="NaCl"),
        lambda count: Told(generator.told_composition({}, count)),
        random,
        temperatures=Temperatures(temperature, temperature),
        groups_drawn=False,
    )
    drawn = torch.bincount(made.counts[:, 0], minlength=5)[1:] / n
    torch.testing.assert_close(drawn, shares, atol=0.04, rtol=0)


@pytest.mark.parametrize("name", ["temperature", "amount_temperature"])
@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_temperatures_that_are_none(trained, temperature, name):
    with pytest.raises(ModelError, match=rf"\b{name} .*wanted"):
        sample_arrays(trained, 2, settings={name: temperature})


@pytest.mark.parametrize(
    ("wanted", "kinds", "columns"),
    [
        (Wanted(formula="NaCl"), ["composition"], {}),
        (Wanted(values={"gap": 1.0}), ["space_group"], {"gap": np.array([0.0, 1.0])}),
    ],
)
def test_guidance_is_towards_all_that_was_told(two_crystals, wanted, kinds, columns):
    torch.manual_seed(0)
    conditions = Conditions.fit(kinds, columns)
    generator = build_generator("site_diffusion", TABLE, conditions, width=16, messages=8, layers=1)
    generator.prepare(two_crystals, _tensors(TABLE, two_crystals))
    for parameter in generator.denoiser.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    plain, strong = (
        sample_arrays(generator, 3, wanted, settings={"steps": 3, "guidance": g}).arrays["ircr"]
        for g in (1.0, 4.0)
    )
    assert not np.array_equal(plain, strong)


def test_an_element_that_is_wished_twice_is_one(trained):
    once, twice = (
        sample_arrays(trained, 4, Wanted(elements=e), settings={"steps": 2}).arrays["ircr"]
        for e in (("Na", "Cl"), ("Na", "Na", "Cl"))
    )
    assert np.array_equal(once, twice)


@torch.no_grad()
def test_held_out_elements_that_training_did_not_have_are_counted(two_crystals):
    generator, _ = _generator(two_crystals[:1], Conditions())
    generator.eval()
    batch = _tensors(TABLE, two_crystals)
    known = generator.figures({name: array[:1] for name, array in batch.items()})
    both = generator.figures(batch)
    assert "unseen" not in known
    assert both["unseen"] == 0.5
    torch.testing.assert_close(both["composition"], known["composition"])


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"composition_width": 30}, "wanted a multiple of 4"),
        ({"composition_layers": 0}, "composition_layers is 0"),
        ({"dropout": 1.5}, "dropout 1.5"),
        ({"level_deviation": 0.0}, "level_deviation 0.0"),
    ],
)
def test_bad_parameters(parameters, said):
    with pytest.raises(ModelError, match=said):
        build_generator("site_diffusion", TABLE, Conditions(), **parameters)


def test_what_does_not_fit():
    with pytest.raises(ModelError, match="wanted ircr"):
        build_generator("site_diffusion", CrysTens(), Conditions())
    with pytest.raises(ModelError, match="width is 0"):
        build_generator("site_diffusion", TABLE, Conditions(), width=0)


def test_the_loss_of_a_batch_holds_every_crystal(two_crystals):
    """Each crystal's part is its own: the mean over one, and over it twice, is the same."""
    conditions = Conditions.fit(["space_group"], {})
    generator, batch = _generator(two_crystals, conditions)
    generator.eval()
    one = {name: tensor[:1] for name, tensor in batch.items()}
    with torch.no_grad():
        first = generator.figures(one)["composition"]
        second = generator.figures({k: v[1:] for k, v in batch.items()})["composition"]
        both = generator.figures(batch)["composition"]
    assert both.item() == pytest.approx((first + second).item() / 2, rel=1e-5)


def test_unknown_space_groups_are_none(two_crystals):
    conditions = Conditions.fit(["space_group"], {})
    generator, batch = _generator(two_crystals, conditions)
    assert generator._groups(batch, 2).tolist() == space_group_numbers(two_crystals).tolist()
    batch["condition.space_group"][0] = torch.nan
    assert generator._groups(batch, 2).tolist() == [0, 221]
    assert generator._groups({}, 2).tolist() == [0, 0]


def test_cells_go_there_and_back(two_crystals):
    generator, _ = _generator(two_crystals, Conditions())
    cells = torch.tensor([[3.0, 4.0, 5.0, 80.0, 95.0, 120.0], [9.0, 9.0, 20.0, 90.0, 90.0, 60.0]])
    n_sites = torch.tensor([2, 7])
    back = generator._cells(generator._standard(cells, n_sites), n_sites)
    torch.testing.assert_close(back, cells, rtol=1e-5, atol=1e-4)


def test_forced_orders_do_not_matter(trained):
    orders = [
        sample_arrays(trained, 4, Wanted(elements=order), settings={"steps": 2}).arrays["ircr"]
        for order in permutations(("Na", "Cl"))
    ]
    assert np.array_equal(*orders)


@pytest.mark.parametrize(
    ("settings", "drawn_with"),
    [
        ({}, Temperatures(1.0, 1.0)),
        ({"temperature": 0.7, "amount_temperature": 0.9}, Temperatures(0.7, 0.9)),
    ],
)
def test_temperatures_of_elements_and_amounts(trained, monkeypatch, settings, drawn_with):
    seen = []

    def watched(*args, temperatures, **more):
        seen.append(temperatures)
        return wanted_compositions(*args, temperatures=temperatures, **more)

    monkeypatch.setattr(site_generator, "wanted_compositions", watched)
    sample_arrays(trained, 1, settings={"steps": 2, **settings})
    assert {*seen} == {drawn_with}
