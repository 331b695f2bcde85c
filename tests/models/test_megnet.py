"""MEGNet is the published network: compared with its formula, block by block."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.special import expit

from crystalcodec.crystals import Crystals
from crystalcodec.data.augmentation import permute_sites, rotate, shift_origin
from crystalcodec.models.base import ModelError, build_model, count_parameters
from crystalcodec.models.scaling import fit_scaling
from crystalcodec.representations.crystal_graph import CrystalGraph
from crystalcodec.representations.ircr import IRCR
from crystalcodec.testing import sample_crystals
from crystalcodec.workflow.samples import encode_samples, ragged_arrays

RADIUS = CrystalGraph(neighbors="radius", cutoff=4.0)
TIES_KEPT = CrystalGraph(ties="kept")
STATES = CrystalGraph(neighbors="radius", cutoff=4.0, global_features=("density", "n_sites"))


def batch_of(graph, crystals, index=None):
    encoded = graph.encode(crystals)
    scaling = fit_scaling(encoded.arrays, "none")
    samples = encode_samples(encoded, scaling, ragged_arrays(graph), torch.device("cpu"))
    return samples.batch(torch.arange(len(crystals)) if index is None else torch.tensor(index))


def built(graph, **parameters):
    torch.manual_seed(3)
    model = build_model("megnet", graph, 2, **parameters).eval()
    with torch.no_grad():  # biases that are not zero, so that they are looked at
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.add_(0.1 * torch.randn(parameter.shape))
    return model


def ssp(x):
    return np.log(0.5 * np.exp(x) + 0.5)


def weights(layer):
    return layer.weight.detach().numpy().astype(float), layer.bias.detach().numpy().astype(float)


def linear(layer, x):
    weight, bias = weights(layer)
    return weight @ x + bias


def twice(layers, x):
    """Two dense layers with activation."""
    return ssp(linear(layers[2], ssp(linear(layers[0], x))))


def update(layers, *vectors):
    """W3 ssp(W2 ssp(W1 x + b1) + b2) + b3 of the vectors joined to one."""
    first = np.concatenate([part.weight.detach().numpy() for part in layers.first], axis=1)
    x = first.astype(float) @ np.concatenate(vectors) + layers.first[0].bias.detach().numpy()
    return linear(layers.third, ssp(linear(layers.second, ssp(x))))


def set2set(layer, rows):
    """Vinyals' reading of a set, step by step."""
    width, memory = layer.width, [linear(layer.memory, row) for row in rows]
    cell, both = np.zeros(width), np.zeros(2 * width)
    for _ in range(layer.n_steps):
        enter, keep, new, leave = np.split(linear(layer.gates, both), 4)
        cell = expit(keep) * cell + expit(enter) * np.tanh(new)
        asked = expit(leave) * np.tanh(cell)
        powers = np.exp([m @ asked for m in memory])
        read = sum((p / powers.sum() * m for p, m in zip(powers, memory, strict=True)), 0 * asked)
        both = np.concatenate([asked, read])
    return both


def mean(rows, width):
    return np.mean(rows, axis=0) if len(rows) else np.zeros(width)


def published(model, encoded, state):
    """The formula for one crystal, site by site and edge by edge, in float64."""
    width = model.of_sites.memory.in_features
    table = model.start.weight.detach().numpy().astype(float)
    pairs = encoded["edges"].tolist()
    sites = [table[z] for z in encoded["numbers"]]
    mu = np.linspace(0, 5, 100)
    edges = [np.exp(-(((d - mu) / 0.5) ** 2)) for d in encoded["distances"].astype(float)]
    for place, block in enumerate(model.blocks):
        of_sites, of_edges, of_state = block.before
        dense = (
            [twice(of_sites, v) for v in sites],
            [twice(of_edges, e) for e in edges],
            twice(of_state, state),
        )
        old = (sites, edges, state) if place else dense
        v, e, u = dense
        e = [
            update(block.edge_update, v[i], v[j], x, u) for (i, j), x in zip(pairs, e, strict=True)
        ]
        around = [[x for (i, _), x in zip(pairs, e, strict=True) if i == s] for s in range(len(v))]
        v = [
            update(block.site_update, mean(a, width), x, u) for a, x in zip(around, v, strict=True)
        ]
        u = update(block.state_update, mean(e, width), mean(v, width), u)
        sites = [a + b for a, b in zip(old[0], v, strict=True)]
        edges = [a + b for a, b in zip(old[1], e, strict=True)]
        state = old[2] + u
    vectors = [set2set(model.of_sites, sites), set2set(model.of_edges, edges), state]
    return linear(model.last, twice(model.dense, np.concatenate(vectors)))


@pytest.mark.parametrize("graph", [RADIUS, STATES], ids=["zeros", "globals"])
def test_it_is_the_published_formula(graph):
    crystals = sample_crystals(6, max_sites=4)
    model = built(graph, embedding=5, widths=(7, 6), n_blocks=2, set2set_width=4)
    with torch.no_grad():
        got = model(batch_of(graph, crystals, [4, 0, 2])).numpy()
    for row, i in enumerate([4, 0, 2]):
        encoded = graph.encode(crystals[i])
        state = encoded["globals"][0].astype(float) if graph is STATES else np.zeros(2)
        wanted = published(model, encoded, state)
        np.testing.assert_allclose(got[row], wanted, rtol=5e-5, atol=5e-6)


def test_the_published_sizes():
    def dense(*widths):
        return sum((n + 1) * m for n, m in itertools.pairwise(widths))

    # Elements in 16 numbers; a state of two zeros; 100 Gaussians; three blocks of 64, 64, 32.
    update = dense(4 * 32, 64, 64, 32) + 2 * dense(3 * 32, 64, 64, 32)
    before = dense(16, 64, 32) + dense(100, 64, 32) + dense(2, 64, 32) + 2 * 3 * dense(32, 64, 32)
    set2set = dense(32, 16) + dense(32, 64)
    head = dense(32 + 32 + 32, 32, 16, 1)
    model = build_model("megnet", RADIUS)
    assert count_parameters(model) == 119 * 16 + before + 3 * update + 2 * set2set + head
    assert model(batch_of(RADIUS, sample_crystals(3))).shape == (3, 1)


@pytest.mark.parametrize("graph", [RADIUS, TIES_KEPT], ids=["radius", "nearest"])
@pytest.mark.parametrize("change", [permute_sites, rotate, shift_origin])
def test_the_description_of_a_crystal_does_not_matter(graph, change):
    crystals = sample_crystals(8)
    model = built(graph)
    with torch.no_grad():
        before = model(batch_of(graph, crystals))
        after = model(batch_of(graph, change(crystals, np.random.default_rng(0))))
        doubled = model(batch_of(graph, crystals.supercell([1, 2, 1])))
    torch.testing.assert_close(before, after, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(before, doubled, rtol=1e-4, atol=1e-5)
    assert before.std(dim=0).min() > 1e-3


def test_a_crystal_does_not_depend_on_the_others_of_its_batch():
    crystals = sample_crystals(6)
    model = built(RADIUS)
    with torch.no_grad():
        together = model(batch_of(RADIUS, crystals))
        alone = torch.cat([model(batch_of(RADIUS, crystals[i])) for i in range(6)])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)


def test_a_crystal_without_edges_among_others():
    lonely = Crystals.single(np.eye(3) * 9.0, [[0, 0, 0]], [2])
    crystals = Crystals.concatenate([sample_crystals(2), lonely, sample_crystals(2)])
    model = built(RADIUS)
    with torch.no_grad():
        got = model(batch_of(RADIUS, crystals))
        alone = model(batch_of(RADIUS, lonely))
    assert torch.isfinite(got).all()
    wanted = published(model, RADIUS.encode(lonely), np.zeros(2))
    np.testing.assert_allclose(got[2].numpy(), wanted, rtol=5e-5, atol=5e-6)
    np.testing.assert_allclose(alone[0].numpy(), wanted, rtol=5e-5, atol=5e-6)


def test_one_atom_with_edges_to_its_own_images():
    polonium = Crystals.single(np.eye(3) * 3.35, [[0.3, 0.1, 0.2]], [84])
    model = built(RADIUS)
    encoded = RADIUS.encode(polonium)
    assert len(encoded["edges"]) == 6
    with torch.no_grad():
        got = model(batch_of(RADIUS, polonium)).numpy()[0]
    np.testing.assert_allclose(got, published(model, encoded, np.zeros(2)), rtol=5e-5, atol=5e-6)


def test_attention_with_very_large_scores():
    model = built(RADIUS)
    with torch.no_grad():
        model.of_sites.memory.weight.mul_(1e4)
        values = model(batch_of(RADIUS, sample_crystals(5)))
    assert torch.isfinite(values).all()


def test_the_state_counts():
    model = built(STATES)
    batch = batch_of(STATES, sample_crystals(3))
    with torch.no_grad():
        before = model(batch)
        after = model({**batch, "globals": batch["globals"] + torch.tensor([1.0, 0.0])})
    assert (before - after).abs().min() > 1e-6


def test_half_precision_changes_little():
    crystals = sample_crystals(12)
    model = built(RADIUS)
    batch = batch_of(RADIUS, crystals)
    with torch.no_grad():
        full = model(batch)
        with torch.autocast("cpu", torch.bfloat16):
            half = model(batch)
    assert half.dtype == torch.float32
    assert not torch.equal(full, half)
    torch.testing.assert_close(full, half, rtol=0.05, atol=0.02)


def test_it_can_learn():
    crystals = sample_crystals(24)
    torch.manual_seed(0)
    model = build_model("megnet", RADIUS, n_blocks=1, widths=(32, 16))
    batch = batch_of(RADIUS, crystals)
    wanted = torch.tensor(crystals.densities, dtype=torch.float32)[:, None].log()
    wanted = wanted - wanted.mean()
    optimiser = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(100):
        optimiser.zero_grad()
        loss = ((model(batch) - wanted) ** 2).mean()
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.1 * wanted.var().item()


def test_what_does_not_fit():
    with pytest.raises(ModelError, match="no crystal graph"):
        build_model("megnet", IRCR())
    for wrong, message in (
        ({"widths": (64, 64, 32)}, "wanted two: of the first and the last layers"),
        ({"widths": "64"}, "widths is '64'"),
        ({"widths": (64, 0)}, "last_width is 0, wanted a whole number of at least 1"),
        ({"n_blocks": 0}, "n_blocks is 0"),
        ({"n_gaussians": 1}, "n_gaussians is 1, wanted a whole number of at least 2"),
        ({"longest": -1.0}, "longest is -1.0, wanted a number above 0, in Å"),
        ({"set2set_steps": 1.5}, "set2set_steps is 1.5"),
    ):
        with pytest.raises(ModelError, match=message):
            build_model("megnet", RADIUS, **wrong)
