"""ShellNet: its formula in loops, what it must not see, and that it learns."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import expit

from crystalcodec.crystals import Crystals
from crystalcodec.data import prototypes
from crystalcodec.data.augmentation import invert, permute_sites, rotate, shift_origin
from crystalcodec.models.base import ModelError, build_model
from crystalcodec.models.scaling import fit_scaling
from crystalcodec.representations.ircr import IRCR
from crystalcodec.representations.shell_graph import ShellGraph
from crystalcodec.testing import sample_crystals
from crystalcodec.workflow.samples import encode_samples, ragged_arrays

GRAPH = ShellGraph(max_neighbors=8, max_degree=3)


def batch_of(graph, crystals):
    encoded = graph.encode(crystals)
    scaling = fit_scaling(encoded.arrays, "none")
    samples = encode_samples(encoded, scaling, ragged_arrays(graph), torch.device("cpu"))
    return samples.batch(torch.arange(len(crystals)))


def built(graph=GRAPH, n_targets=2, **parameters):
    torch.manual_seed(3)
    small = {"width": 12, "n_layers": 2, "n_channels": 3, "n_gaussians": 7}
    model = build_model("shellnet", graph, n_targets, **(small | parameters))
    for layer in model.layers:
        # Not the zeros that a layer begins with, which would hide what it does.
        torch.nn.init.normal_(layer.update[2].weight, std=0.3)
    return model.eval()


def predicted(model, graph, crystals):
    with torch.no_grad():
        return model(batch_of(graph, crystals)).numpy()


def silu(x):
    return x * expit(x)


def norm(x, layer):
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + layer.eps)
    return x * layer.weight.detach().double().numpy() + layer.bias.detach().double().numpy()


def dense(x, layer):
    out = x @ layer.weight.detach().double().numpy().T
    return out if layer.bias is None else out + layer.bias.detach().double().numpy()


def by_formula(model, encoded):
    """The prediction for one crystal, site by site and shell by shell, in float64."""
    arrays = {name: np.asarray(array, float) for name, array in encoded.arrays.items()}
    shells = encoded["shells"]
    centres = np.linspace(0.5, 9.0, 7)
    spread = np.sqrt(2) * 8.5 / 6
    nodes = model.elements.weight.detach().double().numpy()[encoded["numbers"]]
    apart = arrays["distances"][:, None] - centres
    edges = dense(np.exp(-((apart / spread) ** 2)), model.expand)
    for layer in model.layers:
        v, e = norm(nodes, layer.of_node), norm(edges, layer.of_shell)
        width = nodes.shape[1]
        told = np.zeros_like(edges)
        message = np.zeros_like(nodes)
        sums = np.zeros((len(nodes), 3, 15))
        for s, (i, j) in enumerate(shells):
            joined = dense(e[s], layer.shell) + dense(v[i], layer.centre)
            joined = joined + dense(v[j], layer.neighbour)
            told[s] = expit(joined[:width]) * silu(joined[width:])
            amount = arrays["counts"][s] / 6
            message[i] += amount * told[s]
            channels = amount * dense(told[s], layer.channels)
            sums[i] += channels[:, None] * arrays["harmonics"][s]
        edges = edges + dense(told, layer.renew)
        message = dense(message, layer.message)
        invariants = [
            (sums[:, :, l * l - 1 : (l + 1) ** 2 - 1] ** 2).sum(2)
            for l in (1, 2, 3)  # noqa: E741
        ]
        message = message + dense(np.log1p(np.concatenate(invariants, axis=1)), layer.angles)
        first, _, last = layer.update
        nodes = nodes + dense(silu(dense(np.concatenate([v, message], axis=1), first)), last)
    mean = (norm(nodes, model.normalise) * arrays["weights"][:, None]).sum(0)
    for layer in (model.head[0], model.head[2]):
        mean = silu(dense(mean, layer))
    return dense(mean, model.last)


def test_formula():
    crystals = prototypes().crystals[3::400]
    model = built()
    got = predicted(model, GRAPH, crystals)
    wanted = [by_formula(model, GRAPH.encode(crystals[i])) for i in range(len(crystals))]
    assert np.allclose(got, wanted, atol=1e-5)
    assert np.ptp(got, axis=0).min() > 0.01


@pytest.mark.parametrize("max_degree", [0, 3])
def test_description_of_the_crystal_does_not_matter(max_degree):
    graph = ShellGraph(max_neighbors=8, max_degree=max_degree)
    crystals = prototypes().crystals[5::150]
    model = built(graph)
    rng = np.random.default_rng(1)
    wanted = predicted(model, graph, crystals)
    for change in (permute_sites, shift_origin, rotate, invert):
        assert np.allclose(predicted(model, graph, change(crystals, rng)), wanted, atol=2e-4)
    larger = Crystals.concatenate([c.supercell([2, 1, 1]) for c in (crystals[0], crystals[3])])
    assert np.allclose(predicted(model, graph, larger), wanted[[0, 3]], atol=2e-4)


def test_angles_are_seen_where_the_graph_has_harmonics():
    """The same distances, another angle between two bonds."""

    def molecule(angle):
        arm = 1.5 * np.array([np.cos(angle), np.sin(angle), 0])
        places = np.array([[5, 5, 5], [6.5, 5, 5], [5 + arm[0], 5 + arm[1], 5]])
        return Crystals.single(np.eye(3) * 12, places / 12, [8, 1, 1])

    crystals = Crystals.concatenate([molecule(1.8), molecule(2.5)])
    blind = ShellGraph(cutoff=1.6)
    assert np.ptp(predicted(built(blind), blind, crystals), axis=0).max() < 1e-5
    seeing = ShellGraph(cutoff=1.6, max_degree=2)
    model = built(seeing)
    for layer in model.layers:
        # An untrained network sees angles weakly.
        torch.nn.init.normal_(layer.channels.weight, std=5.0)
    assert np.ptp(predicted(model, seeing, crystals), axis=0).min() > 3e-4


def test_others_in_the_batch_do_not_matter():
    crystals = sample_crystals(12)
    model = built()
    together = predicted(model, GRAPH, crystals)
    alone = [predicted(model, GRAPH, crystals[i])[0] for i in range(len(crystals))]
    assert np.allclose(together, alone, atol=1e-5)


def test_a_crystal_without_neighbours_is_predicted():
    graph = ShellGraph(cutoff=2.0, max_degree=2)
    lone = Crystals.single(np.eye(3) * 20, [[0, 0, 0]], [2])
    assert np.isfinite(predicted(built(graph), graph, lone)).all()


def test_strain_in_training_alone():
    crystals = sample_crystals(6)
    arrays = batch_of(GRAPH, crystals)
    model, plain = built(strain=0.02), built()
    assert torch.equal(model(arrays), plain(arrays))
    model.train()
    torch.manual_seed(0)
    one, other = model(arrays), model(arrays)
    assert (one - other).abs().min() > 0
    torch.manual_seed(0)
    assert torch.equal(model(arrays), one)


def test_half_precision_is_near():
    crystals = sample_crystals(20)
    model = built(width=32)
    arrays = batch_of(GRAPH, crystals)
    with torch.no_grad():
        exact = model(arrays)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rounded = model(arrays)
    assert rounded.dtype == torch.float32
    assert (rounded - exact).abs().max() < 0.05 * exact.abs().max()


def test_it_learns_the_energies_of_prototypes():
    data = prototypes()[::6]
    wanted = torch.tensor(data.numeric("formation_energy_per_atom")).float()[:, None]
    wanted = (wanted - wanted.mean()) / wanted.std()
    arrays = batch_of(GRAPH, data.crystals)
    torch.manual_seed(0)
    model = build_model("shellnet", GRAPH, width=24, n_layers=2).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(60):
        loss = (model(arrays) - wanted).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.25


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"width": 0}, "width is 0"),
        ({"n_layers": 1.5}, "n_layers is 1.5"),
        ({"n_gaussians": 1}, "n_gaussians is 1"),
        ({"longest": 0.2}, "wanted a range"),
        ({"strain": -0.1}, "strain is -0.1"),
        ({"dropout": 1.0}, "dropout is 1.0"),
    ],
)
def test_wrong_parameters(parameters, message):
    with pytest.raises(ModelError, match=message):
        build_model("shellnet", GRAPH, **parameters)


def test_other_representations_are_refused():
    with pytest.raises(ModelError, match="no shell graph"):
        build_model("shellnet", IRCR())
