"""CGCNN is the published network: compared with its formula, edge by edge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from scipy.special import expit

from crystalcodec.data.augmentation import permute_sites, rotate, shift_origin
from crystalcodec.models.base import ModelError, build_model, count_parameters
from crystalcodec.models.scaling import fit_scaling
from crystalcodec.representations.base import Field, RaggedRepresentation
from crystalcodec.representations.ircr import IRCR
from crystalcodec.representations.neighbors import neighbors_within
from crystalcodec.testing import sample_crystals
from crystalcodec.workflow.samples import encode_samples, ragged_arrays


@dataclass(frozen=True)
class Graph(RaggedRepresentation):
    """All neighbours within a radius."""

    cutoff: float = 4.0
    n_features: int = 0

    name: ClassVar[str] = "graph"
    lost: ClassVar[str] = "angles"

    @property
    def fields(self):
        found = [
            Field("numbers", "index", "numbers", ("sites",)),
            Field("edges", "index", "edges", ("edges", 2)),
            Field("distances", "continuous", "distances", ("edges",)),
            Field("lattice", "continuous", "lattice", (3, 3)),
        ]
        if self.n_features:
            named = Field("features", "continuous", "node_features", ("sites", self.n_features))
            found.append(named)
        return tuple(found)

    def _encode_ragged(self, crystals):
        near = neighbors_within(crystals, self.cutoff)
        edges = np.stack([near.centers, near.neighbors], axis=1)
        arrays = {
            "numbers": crystals.numbers,
            "edges": edges - np.repeat(crystals.offsets[:-1], np.diff(near.offsets))[:, None],
            "distances": near.distances.astype(np.float32),
            "lattice": crystals.lattices.astype(np.float32),
        }
        if self.n_features:
            powers = np.arange(self.n_features)
            arrays["node_features"] = np.sin(crystals.numbers[:, None] * powers).astype(np.float32)
        return arrays, {"sites": crystals.offsets, "edges": near.offsets}


def samples_of(graph, crystals):
    encoded = graph.encode(crystals)
    scaling = fit_scaling(encoded.arrays, "none")
    return encode_samples(encoded, scaling, ragged_arrays(graph), torch.device("cpu"))


def built(graph, **parameters):
    torch.manual_seed(3)
    model = build_model("cgcnn", graph, 2, **parameters)
    # Running statistics that are not 0 and 1, so that they are looked at.
    for convolution in model.convolutions:
        for layer in (convolution.before, convolution.after):
            layer.running_mean.uniform_(-0.5, 0.5)
            layer.running_var.uniform_(0.5, 2.0)
    return model.eval()


def softplus(x):
    return np.logaddexp(0, x)


def normalised(layer, x):
    mean, var = layer.running_mean.numpy(), layer.running_var.numpy()
    scaled = (x - mean) / np.sqrt(var + layer.eps)
    return scaled * layer.weight.detach().numpy() + layer.bias.detach().numpy()


def published(model, crystal, features, cutoff):
    """v_i + sum over edges of sigmoid(z W_f + b_f) softplus(z W_s + b_s), in a plain loop."""
    near = neighbors_within(crystal, cutoff)
    weight, bias = model.start.weight.detach().numpy(), model.start.bias.detach().numpy()
    sites = features @ weight.T + bias
    centres = np.arange(0, 8.0001, 0.2)
    for layer in model.convolutions:
        joined = np.concatenate(
            [part.weight.detach().numpy() for part in (layer.centre, layer.neighbour, layer.edge)],
            axis=1,
        )
        total = np.zeros_like(sites)
        for i, j, distance in zip(near.centers, near.neighbors, near.distances, strict=True):
            edge = np.exp(-((distance - centres) ** 2) / 0.2**2)
            z = np.concatenate([sites[i], sites[j], edge])
            z = normalised(layer.before, joined @ z + layer.centre.bias.detach().numpy())
            half = len(z) // 2
            total[i] += softplus(z[half:]) * expit(z[:half])
        sites = softplus(sites + normalised(layer.after, total))
    values = softplus(sites.mean(axis=0))
    for dense in [*model.dense]:
        values = softplus(dense.weight.detach().numpy() @ values + dense.bias.detach().numpy())
    return model.last.weight.detach().numpy() @ values + model.last.bias.detach().numpy()


def test_it_is_the_published_formula():
    graph, crystals = Graph(cutoff=3.6, n_features=5), sample_crystals(6, max_sites=6)
    model = built(graph, width=7, hidden=9, n_hidden=2)
    samples = samples_of(graph, crystals)
    with torch.no_grad():
        got = model(samples.batch(torch.tensor([4, 0, 2]))).numpy()
    for row, i in enumerate([4, 0, 2]):
        features = graph.encode(crystals[i])["node_features"].astype(float)
        wanted = published(model, crystals[i], features, 3.6)
        np.testing.assert_allclose(got[row], wanted, rtol=2e-5, atol=2e-6)


def test_the_published_sizes():
    # 92-64; three of (169-128, its norm, a norm of 64); 64-128; 128-1.
    model = build_model("cgcnn", Graph(n_features=92))
    convolution = 169 * 128 + 128 + 2 * 128 + 2 * 64
    wanted = 92 * 64 + 64 + 3 * convolution + 64 * 128 + 128 + 128 + 1
    assert count_parameters(model) == wanted
    assert len(model.centres) == 41


@pytest.mark.parametrize("change", [permute_sites, rotate, shift_origin])
def test_the_description_of_a_crystal_does_not_matter(change):
    graph, crystals = Graph(), sample_crystals(8)
    model = built(graph)
    with torch.no_grad():
        before = model(samples_of(graph, crystals).batch(torch.arange(8)))
        changed = change(crystals, np.random.default_rng(0))
        after = model(samples_of(graph, changed).batch(torch.arange(8)))
        doubled = model(samples_of(graph, crystals.supercell([1, 2, 1])).batch(torch.arange(8)))
    torch.testing.assert_close(before, after, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(before, doubled, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(before[0], before[1])


def test_a_crystal_without_edges_has_a_value():
    graph = Graph(cutoff=0.5)
    model = built(graph)
    values = model(samples_of(graph, sample_crystals(3)).batch(torch.arange(3)))
    assert torch.isfinite(values).all()


def test_it_can_learn():
    graph, crystals = Graph(), sample_crystals(24)
    torch.manual_seed(0)
    model = build_model("cgcnn", graph, width=16, hidden=16)
    batch = samples_of(graph, crystals).batch(torch.arange(24))
    wanted = torch.tensor(crystals.densities, dtype=torch.float32)[:, None].log()
    optimiser = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(60):
        optimiser.zero_grad()
        loss = ((model(batch) - wanted) ** 2).mean()
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.1 * wanted.var().item()


def test_what_does_not_fit():
    with pytest.raises(ModelError, match="no crystal graph"):
        build_model("cgcnn", IRCR())
    with pytest.raises(ModelError, match="width is 0"):
        build_model("cgcnn", Graph(), width=0)
    with pytest.raises(ModelError, match="wanted 0 < step"):
        build_model("cgcnn", Graph(), step=9.0)
