"""The autoencoder of IRCR: its loss by hand, what it gives back, its branches."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from crystalcodec.crystals import Crystals
from crystalcodec.generators.base import build_generator
from crystalcodec.generators.conditions import Conditions, Wanted
from crystalcodec.generators.ircr_vae.fields import field_errors, written
from crystalcodec.generators.ircr_vae.network import (
    RowDecoder,
    RowEncoder,
    drawn,
    kl_divergence,
    padded_rows,
)
from crystalcodec.generators.parents import Parents, draw_codes
from crystalcodec.models.base import ModelError, count_parameters
from crystalcodec.representations.crystens import CrysTens
from crystalcodec.representations.ircr import IRCR

SMALL = {"code": 12, "channels": (24, 24, 32, 32), "hidden": 48, "n_parents": 4}


def form(**parameters):
    return IRCR(max_sites=4, max_elements=3, tolerance=0.5, **parameters)


def some():
    """Three crystals of two, three and four sites, of two elements each, one of them of one."""
    cells = np.array([np.diag([3.0, 4, 5]), np.diag([4.0, 4, 6]), np.diag([5.0, 6, 7])])
    coords = [[0, 0, 0], [0.5, 0.5, 0.5]]
    coords += [[0, 0, 0.98], [0.25, 0.5, 0.75], [0.5, 0, 0.3]]
    coords += [[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    numbers = [11, 17, 22, 8, 8, 29, 29, 29, 29]
    return Crystals(cells, np.array(coords), np.array(numbers), np.array([0, 2, 5, 9]))


def batch_of(crystals, representation=None):
    arrays = (representation or form()).encode(crystals).arrays
    return {k: torch.from_numpy(v) for k, v in arrays.items()}


def vae(conditions=None, **parameters):
    torch.manual_seed(0)
    made = build_generator(
        "ircr_vae", form(), conditions or Conditions(), **{**SMALL, **parameters}
    )
    made.prepare(some(), batch_of(some()))
    return made


def learnt(steps=200, **parameters):
    made = vae(beta=0.0, cell_weight=50.0, **parameters)
    # Copies, so that the normalisation over a batch sees more noise than that of three codes.
    batch = {k: v.repeat(8, 1, 1) for k, v in batch_of(some()).items()}
    optimiser = torch.optim.Adam(made.parameters(), lr=1e-2)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = 1e-2 * (1 - step / steps)
        loss = made(batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    # Running means of few steps are not those of the last weights.
    for layer in made.modules():
        if isinstance(layer, torch.nn.BatchNorm1d):
            layer.momentum = 0.3
    with torch.no_grad():
        for _ in range(20):
            made.parts(batch, made.posterior(batch)[0])
    return made.eval()


@pytest.fixture(scope="module")
def trained():
    return learnt()


def test_it_gives_back_the_crystals_that_it_learnt(trained):
    batch = batch_of(some())
    with torch.no_grad():
        arrays = trained.decode(trained.encode(batch))
        figures = trained.figures(batch)
    decoded = form().decode({k: v.numpy() for k, v in arrays.items()})
    assert not decoded.failures
    got = decoded.crystals
    np.testing.assert_array_equal(got.numbers, some().numbers)
    np.testing.assert_allclose(got.cell_parameters, some().cell_parameters, rtol=0.03)
    apart = got.frac_coords - some().frac_coords
    assert np.abs(apart - np.round(apart)).max() < 0.05
    assert figures["wrong_elements"].item() == figures["wrong_sites"].item() == 0


def test_the_published_loss_learns_too():
    made = learnt(loss="published")
    batch = batch_of(some())
    with torch.no_grad():
        made_arrays = made.decode(made.encode(batch))["ircr"]
    # The error of the scaled array, which is what it minimises, beside that of their mean.
    scaled = made._scaled(batch["ircr"])
    error = (made._scaled(made_arrays) - scaled).square().mean()
    assert error < 0.2 * (scaled - scaled.mean(0)).square().mean()
    # Numbers below 0.05 were made zero.
    assert not ((made_arrays > 0) & (made_arrays < 0.05)).any()


def test_errors_by_field_are_those_written_down_by_hand():
    """One crystal, a decoder that says nothing: every logit, cosine and sine is 0."""
    representation = form()
    array = batch_of(some()[:1])["ircr"]
    raw = torch.zeros(1, representation.n_rows, 6)
    cell = (torch.zeros(2, 3), torch.full((2, 3), 10.0))
    found = field_errors(representation, raw, array, cell, array)
    # Three columns, each one of 94 elements or none; four sites, each one of 3 columns or none.
    assert found.elements.item() == pytest.approx(3 * math.log(95), rel=1e-6)
    assert found.occupancy.item() == pytest.approx(4 * math.log(4), rel=1e-6)
    # Each axis of each site is 1 away from its circle.
    assert found.coordinates.item() == pytest.approx(3.0)
    cell_numbers = np.array([3, 4, 5, 90, 90, 90.0])
    assert found.cell.item() == pytest.approx(np.mean((cell_numbers / 10) ** 2), rel=1e-6)
    block = array[:, representation.blocks["P"]]
    assert found.properties.item() == pytest.approx(block.square().mean().item(), rel=1e-6)


def test_errors_of_single_entries():
    representation = form()
    array = batch_of(some()[:1])["ircr"]
    rows = representation.blocks
    raw = torch.zeros(1, representation.n_rows, 6)
    # Column 0 is sodium with odds of 9 to each of the other 94 categories.
    raw[0, rows["E"].start + 10, 0] = math.log(9)
    # Site 1 is put into column 0 with odds of 5; it is in column 1.
    raw[0, rows["O"].start + 1, 0] = math.log(5)
    # x of site 1, which is 0.5, is said to be 0.25: (0, 1) for (-1, 0).
    raw[0, rows["C"].start + 1, 3] = 1.0
    cell = (torch.zeros(2, 3), torch.ones(2, 3))
    found = field_errors(representation, raw, array, cell, array)
    elements = 2 * math.log(95) - math.log(9 / (94 + 9))
    assert found.elements.item() == pytest.approx(elements, rel=1e-6)
    occupancy = 3 * math.log(4) - math.log(1 / 8)
    assert found.occupancy.item() == pytest.approx(occupancy, rel=1e-6)
    # Two sites of three axes: five are 1 away, one has the squared distance 2.
    assert found.coordinates.item() == pytest.approx((5 + 2) / 2, rel=1e-6)


def test_what_is_written_is_what_the_numbers_say():
    representation = form()
    array = batch_of(some())["ircr"]
    rows = representation.blocks
    raw = torch.zeros(3, representation.n_rows, 6)
    for block in ("E", "O"):
        raw[:, rows[block], :3] = 8 * array[:, rows[block]] - 4
    raw[:, rows["L"], :3] = (array[:, rows["L"]] - 5) / 2
    angles = 2 * math.pi * array[:, rows["C"]]
    raw[:, rows["C"], :3], raw[:, rows["C"], 3:] = 2 * angles.cos(), 2 * angles.sin()
    cell = (torch.full((2, 3), 5.0), torch.full((2, 3), 2.0))
    made = written(representation, raw, cell, array[:, rows["P"]])
    torch.testing.assert_close(made, array, atol=1e-5, rtol=1e-5)


def test_divergence_is_torch_s():
    torch.manual_seed(0)
    mean, log_variance = torch.randn(5, 7), torch.randn(5, 7)
    one = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    wanted = torch.distributions.kl_divergence(one, torch.distributions.Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(kl_divergence(mean, log_variance), wanted)


def test_drawn_codes_have_the_mean_and_the_variance():
    torch.manual_seed(0)
    mean = torch.tensor([[1.0, -2.0]]).expand(20000, 2)
    log_variance = torch.tensor([[math.log(4.0), math.log(0.01)]]).expand(20000, 2)
    codes = drawn(mean, log_variance)
    torch.testing.assert_close(codes.mean(0), mean[0], atol=0.05, rtol=0)
    torch.testing.assert_close(codes.std(0), torch.tensor([2.0, 0.1]), atol=0, rtol=0.02)


def test_the_published_size():
    """Of 144 rows and 3 columns: numbers of weights counted from the published layers."""
    encoder = RowEncoder(3, 144, (64, 128, 256, 256), 1024, 256)
    sizes = [(3, 64, 5), (64, 128, 5), (128, 256, 5), (256, 256, 3)]
    convolutions = sum(i * o * k + o + 2 * o for i, o, k in sizes)
    dense = 18 * 256 * 1024 + 1024 + 2 * (1024 * 256 + 256)
    assert count_parameters(encoder) == convolutions + dense
    decoder = RowDecoder(3, 144, (64, 128, 256, 256), 1024, 256)
    sizes = [(256, 256, 3), (256, 256, 5), (256, 128, 5), (128, 64, 5)]
    convolutions = sum(i * o * k + o + 2 * i for i, o, k in sizes) + 64 * 3 + 3
    dense = 256 * 1024 + 1024 + 1024 * 18 * 256 + 18 * 256
    assert count_parameters(decoder) == convolutions + dense
    assert decoder(torch.zeros(2, 256)).shape == (2, 144, 3)


def test_rows_that_cannot_be_halved_are_padded():
    assert [padded_rows(n) for n in (8, 9, 144, 145)] == [8, 16, 144, 152]
    representation = form(max_atomic_number=30)
    made = build_generator("ircr_vae", representation, Conditions(), **SMALL).eval()
    batch = batch_of(some(), representation)
    assert made.decode(made.encode(batch))["ircr"].shape == batch["ircr"].shape


def test_scaling_is_found_in_training_data():
    made = vae()
    array = batch_of(some())["ircr"]
    lengths = made.form.blocks["L"].start
    assert made.low[lengths].item() == 3
    assert made.span[lengths].item() == 7 - 3
    # A row that is always zero is left as it is.
    assert made.low[0].item() == 0
    assert made.span[0].item() == 1
    torch.testing.assert_close(made.cell_mean[0], torch.tensor([4.0, 14 / 3, 6.0]))
    scaled = made._scaled(array)
    assert scaled.min().item() >= 0
    assert scaled.max().item() <= 1


def test_missing_property_values_do_not_count():
    conditions = Conditions.fit((), {"energy": np.array([-1.0, 0.0, 1.0])})
    made = vae(conditions, property_weight=2.0)
    with torch.no_grad():
        made.branches[0][-1].weight.zero_()
        made.branches[0][-1].bias.zero_()
    batch = batch_of(some())
    told = torch.tensor([[2.0], [float("nan")], [1.0]])
    parts = made.parts({**batch, "condition.energy": told}, torch.zeros(3, 12))
    assert parts["energy"].item() == pytest.approx(2.0 * (4 + 1) / 2)
    parts = made.parts({**batch, "condition.energy": told * float("nan")}, torch.zeros(3, 12))
    assert parts["energy"].item() == 0
    assert made.properties(torch.zeros(2, 12))["energy"].tolist() == [0, 0]


def test_branches_learn_and_choose_parents():
    conditions = Conditions.fit((), {"energy": np.array([-3.0, 0.0, 5.0])})
    made = vae(conditions, beta=0.0, n_parents=30)
    batch = batch_of(some())
    batch |= {
        k: torch.from_numpy(v)
        for k, v in conditions.of(some(), {"energy": np.array([-3.0, 0.0, 5.0])}).items()
    }
    optimiser = torch.optim.Adam(made.parameters(), lr=3e-3)
    for _ in range(150):
        loss = made(batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    # In training mode, where the normalisation is that of the batch.
    with torch.no_grad():
        found = made.properties(made.encode(batch))["energy"]
    assert found.tolist() == pytest.approx([-3, 0, 5], abs=0.5)


def test_parents_near_a_wish():
    parents = Parents(40, {"row": (2,)})
    parents.keep({"row": torch.arange(40.0)[:, None].repeat(1, 2)})
    random = torch.Generator().manual_seed(0)
    codes = draw_codes(
        200,
        parents,
        lambda rows: rows["row"],
        lambda c: (c[:, 0] - 20).abs(),
        random,
        scale=0.0,
        source="parents",
    )
    # Eight nearest of forty: 16 to 24 without one of the ends.
    assert set(codes[:, 0].tolist()) <= set(range(16, 25))
    assert len(set(codes[:, 0].tolist())) == 8


def test_codes_of_the_normal_distribution_of_parents():
    torch.manual_seed(0)
    mixing = torch.tensor([[2.0, 0.0], [1.5, 0.5]])
    rows = torch.randn(500, 2) @ mixing.T + torch.tensor([3.0, -1.0])
    parents = Parents(500, {"row": (2,)})
    parents.keep({"row": rows})
    codes = draw_codes(
        20000,
        parents,
        lambda r: r["row"],
        None,
        torch.Generator().manual_seed(1),
        scale=0.0,
        source="gaussian",
    )
    torch.testing.assert_close(codes.mean(0), rows.mean(0), atol=0.05, rtol=0)
    torch.testing.assert_close(codes.T.cov(), rows.T.cov(), atol=0.1, rtol=0.03)


def test_samples(trained):
    for source in ("parents", "gaussian"):
        with torch.no_grad():
            one, two = (
                trained.sample(5, Wanted(), torch.Generator().manual_seed(3), source=source)
                for _ in range(2)
            )
        assert one["ircr"].shape == (5, form().n_rows, 3)
        assert torch.equal(one["ircr"], two["ircr"])


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"loss": "mse"}, "wanted one of fields, published"),
        ({"channels": (8, 8, 8)}, "wanted four"),
        ({"code": 0}, "at least 1"),
        ({"beta": "x"}, "beta is 'x', wanted a finite number"),
        ({"cell_weight": -1.0}, "cell_weight is -1.0"),
        ({"n_parents": 0}, "n_parents is 0"),
        ({"latent": 3}, "no parameter 'latent'"),
    ],
)
def test_bad_parameters(parameters, said):
    with pytest.raises(ModelError, match=said):
        vae(**parameters)


def test_what_it_does_not_fit():
    with pytest.raises(ModelError, match="wanted ircr"):
        build_generator("ircr_vae", CrysTens(), Conditions())
    with pytest.raises(ModelError, match="branches for property values"):
        vae(Conditions.fit(("elements",), {}))
