"""SchNet is the published network: compared with its formula, edge by edge."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from crystalcodec.crystals import Crystals
from crystalcodec.data.augmentation import permute_sites, rotate, shift_origin
from crystalcodec.models.base import ModelError, build_model, count_parameters
from crystalcodec.models.scaling import fit_scaling
from crystalcodec.representations.crystal_graph import CrystalGraph
from crystalcodec.representations.ircr import IRCR
from crystalcodec.representations.neighbors import neighbors_within
from crystalcodec.testing import sample_crystals
from crystalcodec.workflow.samples import encode_samples, ragged_arrays

RADIUS = CrystalGraph(neighbors="radius", cutoff=4.0)
TIES_KEPT = CrystalGraph(ties="kept")


def batch_of(graph, crystals, index=None):
    encoded = graph.encode(crystals)
    scaling = fit_scaling(encoded.arrays, "none")
    samples = encode_samples(encoded, scaling, ragged_arrays(graph), torch.device("cpu"))
    return samples.batch(torch.arange(len(crystals)) if index is None else torch.tensor(index))


def built(graph, **parameters):
    torch.manual_seed(3)
    return build_model("schnet", graph, 2, **parameters).eval()


def ssp(x):
    return np.log(0.5 * np.exp(x) + 0.5)


def dense(layer, x):
    wx = layer.weight.detach().numpy().astype(float) @ x
    return wx if layer.bias is None else wx + layer.bias.detach().numpy()


def published(model, crystal, near, cutoff):
    """The formula in a plain loop over sites and edges, in float64."""
    table = model.start.weight.detach().numpy().astype(float)
    sites = [table[z] for z in crystal.numbers]
    centres = 0.1 * np.arange(round(cutoff / 0.1) + 1)
    for layer in model.interactions:
        new = []
        for i, x in enumerate(sites):
            total = np.zeros(layer.before.out_features)
            for c, j, d in zip(near.centers, near.neighbors, near.distances, strict=True):
                if c != i or d > cutoff:
                    continue
                filters = np.exp(-10.0 * (d - centres) ** 2)
                for part in layer.filter:
                    filters = ssp(dense(part, filters))
                smooth = 0.5 * (1 + np.cos(np.pi * d / cutoff))
                total += dense(layer.before, sites[j]) * filters * smooth
            first, second = layer.after
            new.append(x + dense(second, ssp(dense(first, total))))
        sites = new
    return np.mean([dense(model.last, ssp(dense(model.dense, x))) for x in sites], axis=0)


def test_it_is_the_published_formula():
    crystals = sample_crystals(6, max_sites=5)
    model = built(RADIUS, width=8, n_filters=6, n_interactions=2, cutoff=3.5)
    with torch.no_grad():
        got = model(batch_of(RADIUS, crystals, [4, 0, 2])).numpy()
    for row, i in enumerate([4, 0, 2]):
        near = neighbors_within(crystals[i], 4.0)  # some of them lie beyond the network's 3.5 Å
        assert near.distances.max() > 3.5 or not len(near)
        wanted = published(model, crystals[i], near, 3.5)
        np.testing.assert_allclose(got[row], wanted, rtol=2e-5, atol=2e-6)


def test_the_published_sizes():
    # Six of (51-64, 64-64; 64-64 without bias; 64-64, 64-64); 64-32, 32-1; 119 elements.
    model = build_model("schnet", RADIUS)
    interaction = (51 * 64 + 64) + (64 * 64 + 64) + 64 * 64 + 2 * (64 * 64 + 64)
    assert count_parameters(model) == 119 * 64 + 6 * interaction + (64 * 32 + 32) + (32 + 1)
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


def test_it_sees_distances_and_elements():
    model = built(RADIUS)
    salt = [[0, 0, 0], [0.5, 0.5, 0.5]]
    crystals = Crystals.concatenate(
        [
            Crystals.single(np.eye(3) * a, salt, numbers)
            for a, numbers in ((3.2, [55, 17]), (3.3, [55, 17]), (3.2, [55, 35]))
        ]
    )
    with torch.no_grad():
        one, wider, other = model(batch_of(RADIUS, crystals))
    assert (one - wider).abs().max() > 1e-4
    assert (one - other).abs().max() > 1e-4


def test_the_prediction_is_continuous_at_the_cutoff():
    graph = CrystalGraph(neighbors="radius", cutoff=4.0)
    model = built(graph, cutoff=4.0)
    cells = [np.eye(3) * a for a in (4.0 - 1e-4, 4.0 + 1e-4)]
    crystals = Crystals.concatenate([Crystals.single(c, [[0, 0, 0]], [84]) for c in cells])
    encoded = graph.encode(crystals)
    assert np.diff(encoded.offsets["edges"]).tolist() == [6, 0]
    with torch.no_grad():
        within, beyond = model(batch_of(graph, crystals))
    torch.testing.assert_close(within, beyond, rtol=0, atol=1e-5)


def test_a_crystal_does_not_depend_on_the_others_of_its_batch():
    crystals = sample_crystals(6)
    model = built(RADIUS)
    with torch.no_grad():
        together = model(batch_of(RADIUS, crystals))
        alone = torch.cat([model(batch_of(RADIUS, crystals[i])) for i in range(6)])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)


def test_without_edges_it_is_the_mean_over_elements():
    graph = CrystalGraph(neighbors="radius", cutoff=0.5)
    model = built(graph, n_interactions=0)
    deeper = built(graph)
    crystals = sample_crystals(4)
    with torch.no_grad():
        got = model(batch_of(graph, crystals)).numpy()
        assert torch.isfinite(deeper(batch_of(graph, crystals))).all()
    table = model.start.weight.detach().numpy().astype(float)
    for row, crystal in zip(got, (crystals[i] for i in range(4)), strict=True):
        values = [dense(model.last, ssp(dense(model.dense, table[z]))) for z in crystal.numbers]
        np.testing.assert_allclose(row, np.mean(values, axis=0), rtol=1e-5, atol=1e-6)


def test_one_atom_with_edges_to_its_own_images():
    polonium = Crystals.single(np.eye(3) * 3.35, [[0.3, 0.1, 0.2]], [84])
    model = built(RADIUS)
    with torch.no_grad():
        got = model(batch_of(RADIUS, polonium)).numpy()[0]
    near = neighbors_within(polonium, 4.0)
    assert len(near) == 6
    np.testing.assert_allclose(got, published(model, polonium, near, 5.0), rtol=2e-5, atol=2e-6)


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
    model = build_model("schnet", RADIUS, width=16, n_filters=16, n_interactions=2)
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


def test_node_features_are_read_in_place_of_elements():
    graph = CrystalGraph(node_features=("cgcnn",))
    model = built(graph)
    assert model.start.in_features == 92
    batch = batch_of(graph, sample_crystals(3))
    with torch.no_grad():
        before = model(batch)
        other = model({**batch, "numbers": torch.ones_like(batch["numbers"])})
    assert torch.equal(before, other)


def test_what_does_not_fit():
    with pytest.raises(ModelError, match="no crystal graph"):
        build_model("schnet", IRCR())
    for wrong, message in (
        ({"width": 1}, "width is 1, wanted a whole number of at least 2"),
        ({"width": True}, "width is True"),
        ({"n_interactions": -1}, "n_interactions is -1"),
        ({"cutoff": float("nan")}, "cutoff is nan, wanted a number above 0, in Å"),
        ({"gamma": "10"}, "gamma is '10'"),
        ({"step": 6.0}, "wanted step <= cutoff"),
    ):
        with pytest.raises(ModelError, match=message):
            build_model("schnet", RADIUS, **wrong)
