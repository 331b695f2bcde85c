"""Symmetric crystals: maps from orbits to sites, probabilities of letters, memory, wishes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

import crystalcodec
from crystalcodec.crystals import Crystals
from crystalcodec.generators.base import build_generator
from crystalcodec.generators.conditions import ConditionError, Conditions, Wanted
from crystalcodec.generators.edm import guided
from crystalcodec.generators.orbit_diffusion import generator as orbit_generator
from crystalcodec.generators.orbit_diffusion.generator import _Frame
from crystalcodec.generators.orbit_diffusion.letters import LetterModel, OrbitLists
from crystalcodec.generators.orbit_diffusion.tables import (
    N_LETTERS,
    PositionTables,
    read_orbits,
    write_orbits,
)
from crystalcodec.generators.site_diffusion.composition import Compositions, Temperatures, Told
from crystalcodec.generators.site_diffusion.drawing import wanted_compositions
from crystalcodec.models.base import ModelError
from crystalcodec.plots.samples import draw_samples
from crystalcodec.representations.ircr import IRCR
from crystalcodec.representations.wyckoff_orbits import WyckoffOrbits
from crystalcodec.symmetry import space_group_numbers
from crystalcodec.testing import displacements
from crystalcodec.workflow.generating.sampling import sample_arrays

ORBITS = WyckoffOrbits(max_orbits=8)


@pytest.fixture(scope="module")
def tables():
    return PositionTables(20)


def _tensors(crystals, representation=ORBITS):
    encoded = representation.encode(crystals)
    assert not encoded.failures
    return {name: torch.from_numpy(np.array(array)) for name, array in encoded.arrays.items()}


@pytest.fixture(scope="module")
def many():
    """Prototypes of many groups, and crystals of groups whose origin is open, with their orbits."""
    every = crystalcodec.prototypes().crystals.right_handed()
    chosen = every[np.linspace(0, len(every) - 1, 60).astype(int)]
    wurtzite = Crystals.single(
        [[3.8, 0, 0], [-1.9, 3.29, 0], [0, 0, 6.2]],
        [[1 / 3, 2 / 3, 0], [2 / 3, 1 / 3, 0.5], [1 / 3, 2 / 3, 0.37], [2 / 3, 1 / 3, 0.87]],
        [30, 30, 16, 16],
    )
    skew = Crystals.single(
        [[4, 0, 0], [1, 5, 0], [0.5, 0.7, 6]],
        [[0, 0, 0], [0.3, 0.1, 0.05], [0.7, 0.4, 0.6]],
        [3, 9, 8],
    )
    crystals = Crystals.concatenate([chosen, wurtzite, skew])
    return crystals[np.flatnonzero(crystals.n_sites <= 20)]


def _frame(tables, orbits):
    places = tables.positions(orbits.groups[orbits.crystals], orbits.letters)
    n_sites = torch.zeros_like(orbits.groups)
    n_sites = n_sites.index_add(0, orbits.crystals, tables.n_sites[places])
    return _Frame(tables, orbits.groups, orbits.crystals, places, n_sites)


def test_arrays_are_read_and_written_back(many):
    arrays = _tensors(many)
    back = write_orbits(ORBITS, read_orbits(arrays))
    for name, tensor in arrays.items():
        torch.testing.assert_close(back[name], tensor, msg=name)


def test_sites_of_orbits_are_those_that_decoding_gives(many, tables):
    arrays = _tensors(many)
    orbits = read_orbits(arrays)
    sites = _frame(tables, orbits).sites(orbits.coords).numpy()
    decoded = ORBITS.decode({name: t.numpy() for name, t in arrays.items()}).crystals
    apart = sites - decoded.frac_coords
    assert np.abs(apart - np.rint(apart)).max() < 1e-6


def test_noise_keeps_the_symmetry_and_the_origin(many, tables):
    arrays = _tensors(many)
    orbits = read_orbits(arrays)
    frame = _frame(tables, orbits)
    torch.manual_seed(0)
    noise, moved = frame.centred(torch.randn_like(orbits.coords))
    means = torch.zeros(len(many), 3).index_add(0, frame.crystals, moved)
    assert means.abs().max() < 1e-4
    # What the network is to tell of the sites is what the orbits moved by.
    torch.testing.assert_close(frame.steps_of(moved), noise)
    shaken = write_orbits(
        ORBITS,
        type(orbits)(
            orbits.groups,
            orbits.cells,
            orbits.crystals,
            orbits.numbers,
            orbits.letters,
            orbits.coords + 0.01 * noise,
        ),
    )
    decoded = ORBITS.decode({name: t.numpy() for name, t in shaken.items()})
    assert not decoded.failures  # all points are on their positions
    found = space_group_numbers(decoded.crystals, symprec=1e-4)
    assert found.tolist() == orbits.groups.tolist()
    assert displacements(many, decoded.crystals).max() > 0.05


def test_noise_is_normal_in_what_is_free(tables):
    # Position c of group 225 (perovskite-like) is a point, e a line, l the general one.
    groups = torch.full((30_000,), 225)
    for letter, free in (("a", 0), ("e", 1), ("j", 2), ("l", 3)):
        places = tables.positions(groups, torch.full_like(groups, ord(letter) - ord("a") + 1))
        owners = torch.arange(len(groups))
        frame = _Frame(tables, groups, owners, places, tables.n_sites[places])
        torch.manual_seed(0)
        noise, _ = frame.centred(torch.randn(len(groups), 3))
        assert noise.square().sum(1).mean().item() == pytest.approx(free, rel=0.02)


def test_reachable_numbers_of_sites(tables):
    # Group 221: 1, 1, 3, 3 points, then 6 and more. In the primitive cell of 225: 1, 1, 2, 6, ...
    assert tables.reachable[221, 1, :7].tolist() == [True] * 7
    assert tables.reachable[221, 3, :7].tolist() == [True, False, False, True, False, False, True]
    assert not tables.reachable[230, 1, 1:8].any()
    assert tables.reachable[:, :, 0].all()
    # Beyond the last letter nothing can follow.
    assert not tables.reachable[1, 2, 1:].any()
    assert tables.reachable[1, 1].all()


def _composition(group, counts):
    elements = torch.tensor([[11, 17, 8][: len(counts)] + [0] * (3 - len(counts))])
    amounts = torch.tensor([counts + [0] * (3 - len(counts))])
    return Compositions(torch.tensor([group]), amounts.sum(1), elements, amounts)


def _letter_model(tables):
    torch.manual_seed(0)
    model = LetterModel(tables, 8, 3, 20, width=16, layers=1).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return model


def _every_list(tables, made):
    """All letters that a composition can have, by brute force."""
    group = int(made.space_groups)
    n_letters = int(tables.n_letters[group])
    sizes = tables.n_sites[tables.first[group] + torch.arange(n_letters + 1)].tolist()
    free = tables.n_free[tables.first[group] + torch.arange(n_letters + 1)].tolist()
    of_each = []
    for count in made.counts[0].tolist():
        choices = [()] if count == 0 else []
        for k in range(1, count + 1):
            choices += [
                letters
                for letters in itertools.combinations_with_replacement(range(1, n_letters + 1), k)
                if sum(sizes[letter] for letter in letters) == count
            ]
        of_each.append(choices)
    for lists in itertools.product(*of_each):
        points = [letter for letters in lists for letter in letters if free[letter] == 0]
        if len(set(points)) == len(points):
            yield lists


@torch.no_grad()
@pytest.mark.parametrize(
    ("group", "counts"),
    [(221, [1, 1, 3]), (225, [2, 2]), (62, [4, 4, 8]), (2, [1, 2, 3]), (1, [4])],
)
def test_probabilities_of_all_letters_sum_to_one(tables, group, counts):
    made = _composition(group, counts)
    lists = [*_every_list(tables, made)]
    assert lists
    slots, letters = torch.zeros(2, len(lists), 8, dtype=torch.long)
    for row, of_each in enumerate(lists):
        flat = [(slot, letter) for slot, own in enumerate(of_each) for letter in own]
        for place, (slot, letter) in enumerate(flat):
            slots[row, place], letters[row, place] = slot, letter
    model = _letter_model(tables)
    repeated = made[torch.zeros(len(lists), dtype=torch.long)]
    known = torch.randn(1, 16).expand(len(lists), -1)
    likelihoods = model.log_likelihoods(tables, repeated, OrbitLists(slots, letters), known)
    total = likelihoods.exp().sum().item()
    # In group 2 some ways end nowhere: the last point after the one chosen is taken already.
    assert total == pytest.approx(1.0, abs=1e-4) if group != 2 else 0.9 < total < 1 - 1e-3
    n = 20_000
    drawn, sound = model.draw(
        tables,
        made[torch.zeros(n, dtype=torch.long)],
        known[:1].expand(n, -1),
        torch.Generator().manual_seed(0),
    )
    assert sound.float().mean().item() == pytest.approx(total, abs=0.005)
    counted = {}
    for row in zip(drawn.slots.tolist(), drawn.letters.tolist(), strict=True):
        counted[str(row)] = counted.get(str(row), 0) + 1
    for row in likelihoods.argsort(descending=True)[:5].tolist():
        share = counted.get(str((slots[row].tolist(), letters[row].tolist())), 0) / n
        assert share == pytest.approx(likelihoods[row].exp().item(), abs=0.015)


@torch.no_grad()
def test_what_has_no_letters_is_told(tables):
    model = _letter_model(tables)
    for group, counts in [(230, [4]), (225, [1, 1, 1]), (0, [2])]:
        made = _composition(group, counts)
        _, sound = model.draw(tables, made, torch.zeros(1, 16), torch.Generator().manual_seed(0))
        assert not sound.any()


def test_letters_have_a_number_each():
    assert N_LETTERS == 27


@pytest.fixture(scope="module")
def two_crystals():
    """Rutile, and wurtzite, whose origin is open along c."""
    rutile = Crystals.single(
        np.diag([4.594, 4.594, 2.959]),
        [[0, 0, 0], [0.5, 0.5, 0.5], [0.305, 0.305, 0], [0.695, 0.695, 0], [0.195, 0.805, 0.5],
         [0.805, 0.195, 0.5]],
        [22, 22, 8, 8, 8, 8],
    )  # fmt: skip
    wurtzite = Crystals.single(
        [[3.8, 0, 0], [-1.9, 3.29, 0], [0, 0, 6.2]],
        [[1 / 3, 2 / 3, 0], [2 / 3, 1 / 3, 0.5], [1 / 3, 2 / 3, 0.37], [2 / 3, 1 / 3, 0.87]],
        [30, 30, 16, 16],
    )
    return Crystals.concatenate([rutile, wurtzite])


def _generator(crystals, **parameters):
    torch.manual_seed(0)
    sizes = {"width": 48, "messages": 24, "layers": 2, "dropout": 0.0, "max_elements": 3}
    sizes |= {"composition_width": 32, "letter_width": 32, "letter_layers": 1}
    generator = build_generator("orbit_diffusion", ORBITS, Conditions(), **{**sizes, **parameters})
    arrays = _tensors(crystals)
    generator.prepare(crystals, arrays)
    return generator, arrays


@pytest.fixture(scope="module")
def trained(two_crystals):
    """A generator that has learnt two crystals by heart."""
    generator, batch = _generator(two_crystals)
    batch = {name: tensor.repeat(16, *[1] * (tensor.ndim - 1)) for name, tensor in batch.items()}
    optimiser = torch.optim.AdamW(generator.parameters(), 3e-3, weight_decay=0.0)
    steps = 300
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = 3e-3 * (1 + np.cos(np.pi * step / steps)) / 2
        loss = generator(batch)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(generator.parameters(), 1.0)
        optimiser.step()
    return generator.eval()


def test_what_was_learnt_by_heart_comes_back(trained, two_crystals):
    sampled = sample_arrays(trained, 40, seed=1)
    made = sampled.decoded
    assert not made.failures
    formulas = np.array(made.crystals.formulas)
    assert {*formulas} == {"TiO2", "ZnS"}
    assert 8 < np.count_nonzero(formulas == "ZnS") < 32
    groups = space_group_numbers(made.crystals, symprec=1e-3)
    for i, (formula, group) in enumerate([("TiO2", 136), ("ZnS", 186)]):
        own = np.flatnonzero(formulas == formula)
        assert (groups[own] == group).all()
        assert np.median(made.crystals.volumes[own]) == pytest.approx(
            two_crystals.volumes[i], rel=0.1
        )
    oxygen = sampled.arrays["frac_coords"][formulas == "TiO2", 0, 0]
    away = np.abs(oxygen[:, None] - [0.305, 0.695, 0.195, 0.805]).min(axis=1)
    assert np.median(away) < 0.02
    sulphur, zinc = np.moveaxis(sampled.arrays["frac_coords"][formulas == "ZnS", :2, 2], 1, 0)
    away = np.abs((zinc - sulphur) % 0.5 - [[0.37], [0.13]]).min(axis=0)
    assert np.median(away) < 0.02


def test_wishes_are_kept_to(trained):
    made = sample_arrays(trained, 6, Wanted(formula="TiO2"), settings={"steps": 4}).decoded
    assert {*made.crystals.formulas} == {"TiO2"}
    made = sample_arrays(trained, 6, Wanted(elements=("S", "Zn")), settings={"steps": 4}).decoded
    assert {*made.crystals.formulas} == {"ZnS"}
    made = sample_arrays(trained, 6, Wanted(space_group=194), settings={"steps": 4})
    assert (made.arrays["space_group"].argmax(axis=1) == 193).all()
    assert (space_group_numbers(made.decoded.crystals, symprec=1e-3) >= 191).all()


def test_a_formula_never_seen_is_kept_to(trained):
    made = sample_arrays(trained, 4, Wanted(formula="Ti2O3"), settings={"steps": 2}).decoded
    assert {*made.crystals.formulas} == {"Ti2O3"}


def test_the_same_seed_gives_the_same_samples(trained):
    one, same, other = (
        sample_arrays(trained, 5, seed=seed, settings={"steps": 3}).arrays["cell_parameters"]
        for seed in (3, 3, 4)
    )
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize(
    ("wanted", "error", "said"),
    [
        (Wanted(formula="Ti10O20"), ConditionError, "at most 20 and 3 fit"),
        (Wanted(formula="NaCl"), ConditionError, "not in any training crystal"),
        (Wanted(values={"band_gap": 1.0}), ConditionError, "not trained with"),
        # Eight sites at least stand together in the primitive cell of this group.
        (Wanted(formula="TiO2", space_group=230), ModelError, "hardly fits a space group"),
    ],
)
def test_wishes_that_cannot_be_met(trained, wanted, error, said):
    with pytest.raises(error, match=said):
        sample_arrays(trained, 2, wanted, settings={"steps": 2})


def test_the_loss_of_a_batch_holds_every_crystal(two_crystals):
    generator, arrays = _generator(two_crystals)
    generator.eval()
    parts = []
    with torch.no_grad():
        for rows in ([0], [1], [0, 1]):
            figures = generator.figures({name: t[rows] for name, t in arrays.items()})
            parts.append((figures["composition"] + figures["letters"]).item())
    assert parts[2] == pytest.approx((parts[0] + parts[1]) / 2, rel=1e-5)


def test_cells_go_there_and_back(many):
    generator, arrays = _generator(many[:20])
    orbits = read_orbits(arrays)
    n_sites = generator._n_sites(orbits)
    systems = generator.tables.systems[orbits.groups]
    logs = generator._cell_logs(orbits.cells, n_sites, orbits.groups)
    standard = (logs - generator.cell_means[systems]) / generator.cell_deviations[systems]
    for kept in (standard, generator._kept(standard, orbits.groups)):
        back = generator._cells(kept, n_sites, orbits.groups)
        torch.testing.assert_close(back, orbits.cells, rtol=1e-4, atol=1e-3)


@torch.no_grad()
def test_a_crystal_does_not_see_the_others_of_its_batch(two_crystals):
    generator, arrays = _generator(two_crystals)
    for parameter in generator.parameters():
        parameter += 0.05 * torch.randn_like(parameter)
    orbits = read_orbits(arrays)
    frame = _frame(generator.tables, orbits)
    sites, cells = frame.sites(orbits.coords), torch.randn(2, 6)
    numbers, known = orbits.numbers[frame.orbits], torch.randn(2, 48)
    first = frame.crystals == 0
    told = [
        generator._denoised(frame, numbers, other, cells, torch.ones(2), known)
        for other in (sites, torch.where(first[:, None], sites, torch.rand_like(sites)))
    ]
    own = orbits.crystals == 0
    torch.testing.assert_close(told[1][0][own], told[0][0][own])
    torch.testing.assert_close(told[1][1][0], told[0][1][0])
    assert (told[1][0][~own] - told[0][0][~own]).abs().max() > 1e-4


def test_in_training_cells_stay_what_their_groups_allow(two_crystals, monkeypatch):
    generator, arrays = _generator(two_crystals)
    seen = []
    denoised = generator._denoised

    def watched(frame, numbers, sites, cells, *rest):
        seen.append(cells)
        return denoised(frame, numbers, sites, cells, *rest)

    monkeypatch.setattr(generator, "_denoised", watched)
    generator(arrays)
    (cells,) = seen
    torch.testing.assert_close(cells[:, 0], cells[:, 1])  # tetragonal, and hexagonal
    assert (cells[:, 3:] == 0).all()
    assert (cells[:, 0] != cells[:, 2]).all()


def test_larger_cells_are_refused(two_crystals):
    with pytest.raises(ModelError, match=r"6 sites in its primitive cell, wanted at most 4"):
        _generator(two_crystals, max_sites=4)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"width": 0}, "width is 0"),
        ({"letter_width": 30}, "letter_width is 30, wanted a multiple of 4"),
        ({"dropout": 1.0}, "dropout 1.0"),
        ({"max_sites": 2.5}, "max_sites is 2.5"),
    ],
)
def test_bad_parameters(parameters, said):
    with pytest.raises(ModelError, match=said):
        build_generator("orbit_diffusion", ORBITS, Conditions(), **parameters)


def test_what_does_not_fit():
    with pytest.raises(ModelError, match="no orbits of a space group: wanted wyckoff_orbits"):
        build_generator("orbit_diffusion", IRCR(), Conditions())


@pytest.mark.parametrize("name", ["temperature", "amount_temperature"])
@pytest.mark.parametrize("temperature", [0.0, -1.0, float("inf")])
def test_temperatures_that_are_none(trained, temperature, name):
    with pytest.raises(ModelError, match=rf"\b{name} .*wanted"):
        sample_arrays(trained, 1, settings={name: temperature})


@pytest.mark.parametrize(
    ("settings", "drawn_with"),
    [
        ({}, Temperatures(1.0, 0.3)),
        ({"temperature": 0.7, "amount_temperature": 0.9}, Temperatures(0.7, 0.9)),
    ],
)
def test_temperatures_of_elements_and_amounts(trained, monkeypatch, settings, drawn_with):
    seen = []

    def watched(*args, temperatures, **more):
        seen.append(temperatures)
        return wanted_compositions(*args, temperatures=temperatures, **more)

    monkeypatch.setattr(orbit_generator, "wanted_compositions", watched)
    sample_arrays(trained, 1, settings={"steps": 2, **settings})
    assert {*seen} == {drawn_with}


def test_pictures_of_samples_show_the_orbits(two_crystals):
    """Not the space group, which is one line of 230 numbers with one that is 1."""
    arrays = ORBITS.encode(two_crystals).arrays
    figure = draw_samples(ORBITS, arrays, [*two_crystals], ["", ""])
    for axes in figure.axes[:2]:
        (image,) = axes.images
        assert sorted(image.get_array().shape) == sorted(arrays["frac_coords"].shape[1:])


def test_defaults_of_sampling(trained):
    """What the page says, and the figures of the shipped weights were measured with."""
    settings = trained.sample_settings()
    names = ("steps", "sampler", "guidance", "temperature", "amount_temperature")
    assert [settings[name] for name in names] == [30, "sde", 2.0, 1.0, 0.3]


@pytest.mark.parametrize(("settings", "strength"), [({}, 2.0), ({"guidance": 3.5}, 3.5)])
def test_wished_values_are_guided_in_every_step(two_crystals, monkeypatch, settings, strength):
    """Compositions and the denoiser get the strength; without a wish there is no guidance."""
    conditions = Conditions.fit((), {"energy": np.array([-1.0, 1.0])})
    sizes = {"width": 16, "messages": 8, "layers": 1, "composition_width": 16, "letter_width": 16}
    generator = build_generator("orbit_diffusion", ORBITS, conditions, **sizes)
    generator.prepare(two_crystals, _tensors(two_crystals))
    told, denoised = [], []

    def watched_told(*args):
        told.append(args[2])
        return Told(*args)

    def watched_guided(denoise, blank, guidance):
        denoised.append(guidance)
        return guided(denoise, blank, guidance)

    monkeypatch.setattr(orbit_generator, "Told", watched_told)
    monkeypatch.setattr(orbit_generator, "guided", watched_guided)
    sample_arrays(generator, 1, Wanted(values={"energy": 0.5}), settings={"steps": 2, **settings})
    assert {*told} == {*denoised} == {strength}
    denoised.clear()
    sample_arrays(generator, 1, settings={"steps": 2, **settings})
    assert not denoised
