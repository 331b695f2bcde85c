"""The Wasserstein GAN: whose turn it is, the penalty, what scaling keeps, what is learnt."""

from __future__ import annotations

import copy
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

from crystalcodec import prototypes
from crystalcodec.generators.base import build_generator
from crystalcodec.generators.conditions import Conditions, Wanted
from crystalcodec.generators.wgan.distances import gradient_penalty, sliced_wasserstein
from crystalcodec.generators.wgan.generator import WGAN
from crystalcodec.generators.wgan.scaling import MinMax
from crystalcodec.models.base import ModelError
from crystalcodec.representations import crystens, ircr
from crystalcodec.representations.base import Field, Representation
from crystalcodec.representations.storage import representation_from
from crystalcodec.workflow.config import MachineConfig, TrainingConfig
from crystalcodec.workflow.fitting import make_fabric
from crystalcodec.workflow.generating.sampling import sample_arrays
from crystalcodec.workflow.generating.training import GeneratorObjective
from crystalcodec.workflow.loop import Loop, _move_towards, _optimiser

SMALL = {"latent": 8, "hidden": 16, "channels": 4, "depth": 2, "condition_width": 4}


@dataclass(frozen=True)
class Plane(Representation):
    """Crystals as points of a plane, whose place no crystal tells."""

    name: ClassVar[str] = "plane"
    lost: ClassVar[str] = "all"

    @property
    def fields(self):
        return (Field("point", "continuous", "plane", (1, 2)),)

    def _encode(self, crystals):
        return {"plane": np.zeros((len(crystals), 1, 2), np.float32)}


@pytest.fixture(scope="module")
def crystals():
    some = prototypes().crystals.right_handed()
    return some[np.flatnonzero((some.n_sites <= 6) & (some.n_sites > 1))[:64]]


def tensors(representation, crystals):
    encoded = representation.encode(crystals)
    return {name: torch.from_numpy(np.array(array)) for name, array in encoded.arrays.items()}


@pytest.fixture(params=["ircr", "crystens"])
def trained(request, crystals):
    """A generator that was shown its data, and their arrays."""
    if request.param == "ircr":
        representation = ircr.IRCR(max_sites=6, tolerance=0.5)
    else:
        representation = crystens.CrysTens(max_sites=6, distances="periodic").fit(crystals)
    torch.manual_seed(0)
    arrays = tensors(representation, crystals)
    generator = build_generator("wgan", representation, Conditions(), **SMALL)
    generator.prepare(crystals, arrays)
    return generator, arrays


def points(n=512):
    """Around (3, -1), unevenly: a quarter of them 2 to the right of the others."""
    random = torch.Generator().manual_seed(1)
    made = torch.randn(n, 1, 2, generator=random) * 0.3
    made[: n // 4, :, 0] += 2
    return made + torch.tensor([2.5, -1.0])


def plane(**parameters):
    torch.manual_seed(0)
    generator = WGAN(Plane(), Conditions(), **{**SMALL, "hidden": 64, **parameters})
    generator.prepare(prototypes().crystals[:1], {"plane": points()})
    return generator


class Points:
    """A source of a training: the points of the plane."""

    n = 512

    def epoch(self, epoch):
        return self

    def batch(self, index):
        return {"plane": points()[index]}


def loop(generator, **others):
    training = {"batch_size": 64, "optimiser": "adam", "learning_rate": 1e-3, "weight_decay": 0.0}
    config = TrainingConfig(
        **{**training, "beta2": 0.9, "schedule": "constant", "average": 0.99, **others}
    )
    fabric = make_fabric(MachineConfig(device="cpu"))
    held_out = Points()
    held_out.device = torch.device("cpu")
    objective = GeneratorObjective(held_out, 512, 0, fabric.autocast)
    return Loop(generator, objective, Points(), config, fabric, seed=0)


# The gradient penalty.


@pytest.mark.parametrize("weights", [[0.6, 0.8], [3.0, 4.0], [0.0, 0.0]])
def test_penalty_of_a_linear_critic(weights):
    """Its gradient is w everywhere: (|w| - 1)²."""
    w = torch.tensor(weights)
    penalty = gradient_penalty(lambda x: x @ w, torch.randn(5, 2), torch.randn(5, 2))
    assert penalty.item() == pytest.approx((w.norm().item() - 1) ** 2, abs=1e-6)


def test_penalty_between_the_samples():
    """Of |x|² / 2 the gradient is x: of points of norm 3 to 4, (|x| - 1)² is 4 to 9."""
    penalty = gradient_penalty(
        lambda x: x.square().sum(1) / 2, torch.tensor([[3.0, 0.0]]), torch.tensor([[4.0, 0.0]])
    )
    assert 4 <= penalty.item() <= 9


def test_penalty_has_second_derivatives():
    """Of the critic a · x, d/da of (|a| - 1)² is 2 (|a| - 1) a / |a|."""
    a = torch.tensor([3.0, 4.0], requires_grad=True)
    with torch.no_grad():  # as in validation; it takes its own gradients
        real, made = torch.randn(4, 2), torch.randn(4, 2)
    penalty = gradient_penalty(lambda x: x @ a, real, made)
    (gradient,) = torch.autograd.grad(penalty, a)
    torch.testing.assert_close(gradient, torch.tensor([4.8, 6.4]))


def test_penalty_is_in_full_precision():
    seen = []
    layer = torch.nn.Linear(2, 1)

    def critic(x):
        made = layer(x)
        seen.append(made.dtype)
        return made[:, 0]

    with torch.autocast("cpu", dtype=torch.bfloat16):
        penalty = gradient_penalty(critic, torch.randn(3, 2).bfloat16(), torch.randn(3, 2))
    assert seen == [torch.float32]
    wanted = (layer.weight.norm() - 1).square()
    torch.testing.assert_close(penalty, wanted)


# Distances of samples.


def test_sliced_wasserstein_of_a_shift():
    """W1 of a shift v along u is |u · v|, on average |v| E|u_1|."""
    torch.manual_seed(0)
    ones = torch.randn(50, 3)
    distance = sliced_wasserstein(ones, ones[torch.randperm(50)] + torch.ones(3), 20000)
    # In three dimensions E|u_1| is 1 / 2.
    assert distance.item() == pytest.approx(3**0.5 / 2, rel=0.02)
    assert sliced_wasserstein(ones, ones[torch.randperm(50)]).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("size", [100, 4000])
def test_sliced_wasserstein_of_two_arrays_does_not_depend_on_their_size(size):
    """A direction's product with ones is nearly normal of deviation 1: E|n| is sqrt(2 / pi)."""
    torch.manual_seed(0)
    distance = sliced_wasserstein(torch.zeros(1, size), torch.ones(1, size), 4000)
    assert distance.item() == pytest.approx((2 / np.pi) ** 0.5, rel=0.05)


def test_sliced_wasserstein_of_a_collapsed_sample():
    torch.manual_seed(0)
    spread = torch.randn(400, 5)
    assert sliced_wasserstein(spread, torch.randn(400, 5)) < 0.25
    assert sliced_wasserstein(spread, torch.zeros(400, 5)) > 0.7


# Scaling.


def test_scaling_there_and_back(trained):
    generator, arrays = trained
    array = arrays[generator.array]
    scaled = generator.scaling.scale(array)
    assert scaled.min() == -1
    assert scaled.max() == 1
    torch.testing.assert_close(generator.scaling.unscale(scaled), array, atol=2e-4, rtol=1e-5)


def test_entries_that_never_vary_come_back_exactly():
    array = torch.tensor([[[1.0, 5.0], [2.0, 7.0]], [[1.0, 6.0], [4.0, 7.0]]])
    field = Field("all", "continuous", "x", (2, 2))
    scaling = MinMax((2, 2))
    scaling.fit(array, [field])
    wanted = torch.tensor([[[0.0, -1.0], [-1.0, 0.0]], [[0.0, 1.0], [1.0, 0.0]]])
    torch.testing.assert_close(scaling.scale(array), wanted)
    made = scaling.unscale(torch.full((1, 2, 2), 0.5))
    torch.testing.assert_close(made, torch.tensor([[[1.0, 5.75], [3.5, 7.0]]]))


def test_rows_of_a_table_have_ranges_of_their_own_and_pictures_have_one():
    table = torch.tensor([[[0.0, 1.0], [10.0, 90.0]], [[0.5, 0.0], [50.0, 10.0]]])
    scaling = MinMax((2, 2))
    scaling.fit(table, [Field("all", "continuous", "x", (2, 2))])
    torch.testing.assert_close(scaling.scale(table)[0], torch.tensor([[-1.0, 1.0], [-1.0, 1.0]]))
    scaling = MinMax((2, 2, 1))
    scaling.fit(table[..., None], [Field("all", "continuous", "x", (2, 2, 1))])
    wanted = torch.tensor([[-1.0, 1 / 45 - 1], [20 / 90 - 1, 1.0]])
    torch.testing.assert_close(scaling.scale(table[..., None])[0, ..., 0], wanted)


def test_a_field_is_scaled_by_its_own_range(crystals):
    """Lengths by lengths, though the columns beside them hold zeros."""
    representation = ircr.IRCR(max_sites=6, max_elements=6)
    arrays = tensors(representation, crystals)
    scaling = MinMax(tuple(arrays["ircr"].shape[1:]))
    scaling.fit(arrays["ircr"], representation.fields)
    row = representation.blocks["L"].start
    lengths = arrays["ircr"][:, row, :3]
    torch.testing.assert_close(scaling.low[row, :3], lengths.min().expand(3))
    torch.testing.assert_close(scaling.width[row, :3], (lengths.max() - lengths.min()).expand(3))
    assert not scaling.varies[row, 3:].any()


# Whose turn it is.


def test_one_network_moves_a_step(trained):
    """With moments and weight decay of earlier steps, which must not move the other one."""
    generator, arrays = trained
    optimiser = _optimiser(generator, TrainingConfig(weight_decay=0.1, learning_rate=1e-3))
    generator.train()
    turns = []
    for _ in range(14):
        before = {name: weight.clone() for name, weight in generator.named_parameters()}
        loss = generator(arrays)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        moved = {
            name.partition(".")[0]
            for name, weight in generator.named_parameters()
            if not torch.equal(weight, before[name])
        }
        assert len(moved) == 1
        still = {
            name
            for name, weight in generator.named_parameters()
            if torch.equal(weight, before[name]) and name.startswith(*moved)
        }
        assert not still
        turns.append(*moved)
        assert all(weight.requires_grad for weight in generator.parameters())
    assert turns == ["critic"] * 5 + ["maker"] + ["critic"] * 5 + ["maker"] + ["critic"] * 2


def test_evaluation_leaves_the_turn_alone(trained):
    generator, arrays = trained
    generator.eval()
    with torch.no_grad():
        generator(arrays)
        generator.figures(arrays)
    assert generator.position == 0


@pytest.mark.parametrize("turn", [0, 5], ids=["critic", "generator"])
def test_mixed_precision(trained, turn):
    """Losses and gradients are those of full precision, but for three digits."""
    generator, arrays = trained
    found = []
    for mixed in (False, True):
        generator.position.fill_(turn)
        generator.zero_grad()
        torch.manual_seed(0)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=mixed):
            loss = generator(arrays)
        loss.backward()
        gradients = [p.grad.flatten() for p in generator.parameters() if p.grad is not None]
        found.append((loss, torch.cat(gradients)))
    (one, wanted), (other, got) = found
    assert other.dtype == torch.float32
    assert other.item() == pytest.approx(one.item(), abs=0.05 * max(1.0, abs(one.item())))
    assert torch.nn.functional.cosine_similarity(wanted, got, dim=0) > 0.98


def test_one_training_crystal_comes_back(crystals):
    """Nothing varies: whatever the networks do, it is that crystal; losses stay finite."""
    representation = ircr.IRCR(max_sites=6, tolerance=0.5)
    arrays = tensors(representation, crystals[:1])
    generator = build_generator("wgan", representation, Conditions(), physics=1.0, **SMALL)
    generator.prepare(crystals[:1], arrays)
    optimiser = torch.optim.Adam(generator.parameters(), lr=1e-2)
    for _ in range(7):
        loss = generator(arrays)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.isfinite()
    made = sample_arrays(generator, 3).decoded
    assert made.crystals.formulas == crystals[[0, 0, 0]].formulas
    np.testing.assert_allclose(
        made.crystals.frac_coords[: crystals[0].n_sites[0]] % 1, crystals[0].frac_coords, atol=1e-6
    )


def test_the_critic_learns_to_tell(trained):
    """In turns of the critic alone its loss, and so its estimate of the distance, gets better."""
    generator, arrays = trained
    optimiser = torch.optim.Adam(generator.critic.parameters(), lr=1e-3, betas=(0.0, 0.9))
    losses = []
    for _ in range(60):
        generator.position.zero_()
        loss = generator(arrays)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert np.mean(losses[-10:]) < np.mean(losses[:10]) - 1
    generator.eval()
    with torch.no_grad():
        assert generator.figures(arrays)["critic_distance"] > 0


# What is learnt.


def test_it_learns_a_distribution_of_the_plane():
    """Means and deviations of two groups of points, within what the weights still move by."""
    generator = plane(critic_steps=3, penalty=0.1)
    optimiser = torch.optim.Adam(generator.parameters(), lr=1e-3, betas=(0.0, 0.9), fused=True)
    average = copy.deepcopy(generator).eval()
    data = points()
    with torch.no_grad():
        first = average.figures({"plane": data})["sliced_wasserstein"]
    generator.train()
    for step in range(480):
        loss = generator({"plane": data[torch.randperm(len(data))[:256]]})
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        _move_towards(average, generator, 1 - min(0.99, (1 + step) / (10 + step)))
    with torch.no_grad():
        last = average.figures({"plane": data})["sliced_wasserstein"]
    assert last < first / 5
    made = torch.from_numpy(sample_arrays(average, 1000).arrays["plane"])
    torch.testing.assert_close(made.mean((0, 1)), data.mean((0, 1)), atol=0.2, rtol=0)
    torch.testing.assert_close(made.std((0, 1)), data.std((0, 1)), atol=0.25, rtol=0)


def test_a_training_that_was_stopped_ends_as_one_that_was_not(tmp_path):
    """Stopped after 13 steps, in the third cycle of 6: the turn is in the checkpoint."""
    whole = plane()
    wanted = loop(whole, epochs=3)
    wanted.run()
    part = plane()
    begun = loop(part, epochs=3)
    begun.checkpoint = tmp_path / "state"
    begun.stop = lambda: begun._step == 13
    with pytest.raises(KeyboardInterrupt):
        begun.run()
    torch.manual_seed(5)
    other = plane()
    resumed = loop(other, epochs=3)
    resumed.checkpoint = tmp_path / "state"
    resumed.run()
    assert other.position == whole.position == 24
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, other.state_dict()[name]), name
    for one, other_one in zip(wanted.history, resumed.history, strict=True):
        assert {**one, "seconds": 0} == {**other_one, "seconds": 0}


def test_conditions_are_told_to_both(crystals):
    volumes = np.abs(np.linalg.det(crystals.lattices))
    conditions = Conditions.fit(("elements",), {"volume": volumes})
    representation = ircr.IRCR(max_sites=6, tolerance=0.5)
    generator = build_generator("wgan", representation, conditions, **SMALL)
    arrays = tensors(representation, crystals)
    generator.prepare(crystals, arrays)
    told = conditions.of(crystals, {"volume": volumes})
    batch = arrays | {name: torch.from_numpy(np.array(row)) for name, row in told.items()}
    generator.eval()
    with torch.no_grad():
        made = generator.sample(2, Wanted(values={"volume": 50.0}), torch.Generator())["ircr"]
        other = generator.sample(2, Wanted(values={"volume": 250.0}), torch.Generator())["ircr"]
        assert not torch.equal(made, other)
        one = generator._judge(arrays["ircr"], generator._told(batch, 64))
        nan = {name: row * torch.nan for name, row in batch.items() if name not in arrays}
        assert not torch.equal(one, generator._judge(arrays["ircr"], nan))
    # Both networks are told, or not told, the same.
    generator.train()
    left_out = generator._told(batch, 64)
    shares = [row.isnan().any(1).float().mean() for row in left_out.values()]
    assert all(0.02 < share < 0.5 for share in shares)


# Sampling, and what it refuses.


def test_samples_are_arrays_of_the_representation(trained):
    generator, arrays = trained
    made = sample_arrays(generator, 5, seed=3)
    array = made.arrays[generator.array]
    assert array.shape == (5, *arrays[generator.array].shape[1:])
    assert np.array_equal(array, sample_arrays(generator, 5, seed=3).arrays[generator.array])
    low, high = (
        generator.scaling.unscale(torch.tensor(-1.0)),
        generator.scaling.unscale(torch.tensor(1.0)),
    )
    assert (array >= low.numpy() - 1e-3).all()
    assert (array <= high.numpy() + 1e-3).all()
    assert made.decoded.index.size + len(made.decoded.failures) == 5
    still = sample_arrays(generator, 2, settings={"temperature": 0.0}).arrays[generator.array]
    assert np.array_equal(still[0], still[1])


def test_one_hot_entries_are_shares_of_a_choice(trained):
    """With what is left for none; without softmax they are numbers like any other."""
    generator, _ = trained
    representation = generator.representation
    fields = [f for f in representation.fields if f.kind == "categorical"]
    assert len(generator.one_hot) == len(fields) == (2 if representation.name == "ircr" else 0)
    generator.scaling.low.fill_(0.0)
    generator.scaling.width.fill_(1.0)
    noise = 5 * torch.randn(20, 8)
    made = (generator._make(noise, {}) + 1) / 2
    for field in fields:
        part = made[(slice(None), *field.where)]
        raw = generator.maker["network"](noise)[(slice(None), *field.where)]
        weights = raw.exp() / (1 + raw.exp().sum(1 + field.axis, keepdim=True))
        torch.testing.assert_close(part, weights)
    # A sample has the likeliest choice, none where that is it.
    random = torch.Generator().manual_seed(0)
    noise = torch.randn(20, 8, generator=random)
    random.manual_seed(0)
    sampled = generator.sample(20, Wanted(), random)[generator.array].detach()
    for field in fields:
        where = (slice(None), *field.where)
        shares = ((generator._make(noise, {}) + 1) / 2)[where].movedim(1 + field.axis, -1)
        hot = sampled[where].movedim(1 + field.axis, -1)
        choice = torch.cat([shares, 1 - shares.sum(-1, keepdim=True)], dim=-1).argmax(-1)
        assert torch.equal(hot.sum(-1) == 0, choice == shares.shape[-1])
        assert torch.equal(hot.argmax(-1)[hot.sum(-1) > 0], choice[hot.sum(-1) > 0])
        assert hot.sum(-1).max() <= 1
    noise = 5 * noise
    plain = WGAN(representation, Conditions(), softmax=False, **SMALL)
    raw = plain.maker["network"](noise)
    torch.testing.assert_close(plain._make(noise, {}), raw.tanh())


@pytest.mark.parametrize(
    "parameters",
    [
        {"latent": 0},
        {"critic_steps": 0},
        {"penalty": -1.0},
        {"physics": -1.0},
        {"closest": 0.0},
        {"drop": 1.5},
        {"penalty": float("nan")},
    ],
)
def test_bad_parameters(parameters):
    with pytest.raises(ModelError, match="wgan: wanted"):
        WGAN(Plane(), Conditions(), **parameters)


@pytest.mark.parametrize("recipe", ["ircr", "ircr_gpu", "crystens"])
def test_the_recipes_are_of_this_generator(recipe):
    """They can be built and sampled, for the sites of MP-20, with the betas that a GAN needs."""
    path = Path(__file__).parents[2] / "benchmarks" / "recipes" / f"generate_wgan_{recipe}.toml"
    values = tomllib.loads(path.read_text())
    representation = representation_from(values["representation"])
    assert representation.max_sites == 20
    generator = build_generator(
        values["model"].pop("name"), representation, Conditions(), **values["model"]
    )
    assert isinstance(generator, WGAN)
    assert values["training"]["beta1"] == 0
    assert len(sample_arrays(generator, 2).arrays[representation.name]) == 2


def test_representations_that_do_not_fit():
    from crystalcodec.registry import REPRESENTATIONS, load

    for name, said in (("crystal_graph", "wanted fixed shapes"), ("density_cell", "two or three")):
        with pytest.raises(ModelError, match=said):
            WGAN(load(REPRESENTATIONS, name)(), Conditions())
