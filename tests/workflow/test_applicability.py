"""Distances to the training crystals: by hand, by brute force, and what comes out of the file."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from crystalcodec.crystals import Crystals
from crystalcodec.models.base import FullPrecisionLinear, build_model
from crystalcodec.models.scaling import fit_scaling
from crystalcodec.representations.crystal_graph import CrystalGraph
from crystalcodec.representations.ircr import IRCR
from crystalcodec.testing import sample_crystals
from crystalcodec.workflow.applicability import (
    ApplicabilityError,
    HiddenVectors,
    TrainingSpace,
    element_warnings,
    unseen_elements,
)
from crystalcodec.workflow.checkpoints import CheckpointError, save_weights
from crystalcodec.workflow.samples import encode_samples, ragged_arrays

COUNTS = np.full(119, 100)


def space(training, validation=None, **options):
    ids = [f"mp-{i}" for i in range(len(training))]
    validation = training[:50] + 0.1 if validation is None else validation
    return TrainingSpace.fit(training, ids, validation, COUNTS, **options)


@pytest.fixture(scope="module")
def vectors():
    rng = np.random.default_rng(0)
    # Of very different scales, and one direction that is always the same.
    mixing = rng.normal(size=(5, 8))
    return (rng.normal(size=(400, 5)) * [100, 10, 1, 1, 0.5] @ mixing + 7).astype(np.float32)


def test_distances_against_brute_force(vectors):
    training, validation, new = vectors[:250], vectors[250:350], vectors[350:]
    fitted = space(training, validation, dimensions=16)
    assert fitted.points.shape == (250, 5)
    # Independent: Mahalanobis distances, by the inverse of the covariance in the five directions.
    inverse = np.linalg.pinv(np.cov(training.T.astype(float), bias=True), rcond=1e-6)

    def mean_of_nearest(rows):
        differences = (rows[:, None] - training[None]).astype(float)
        squares = np.einsum("ijk,kl,ijl->ij", differences, inverse, differences)
        return np.sort(np.sqrt(np.maximum(squares, 0)), axis=1)[:, :5].mean(1)

    expected = mean_of_nearest(new) / np.median(mean_of_nearest(validation))
    distances = fitted.distances(new)
    np.testing.assert_allclose(distances, expected, rtol=5e-3)
    assert np.median(fitted.distances(validation)) == pytest.approx(1, rel=1e-5)
    percentiles = fitted.percentiles(distances)
    below = (mean_of_nearest(validation)[None] < mean_of_nearest(new)[:, None]).mean(1)
    assert np.abs(percentiles / 100 - below).max() <= 0.02


def test_nearest_training_crystals(vectors):
    fitted = space(vectors)
    assert [ids[0] for ids in fitted.nearest(vectors[[3, 70]], 3)] == ["mp-3", "mp-70"]
    assert [len(ids) for ids in fitted.nearest(vectors[:2], 3)] == [3, 3]
    few = space(vectors[:2], vectors[5:9])
    assert {len(ids) for ids in few.nearest(vectors[:4])} == {2}
    assert np.isfinite(few.distances(vectors[:4])).all()
    one = space(vectors[:1], vectors[5:9])
    assert one.nearest(vectors[:2]) == [["mp-0"], ["mp-0"]]


def test_far_is_warned_of_and_near_is_not(vectors):
    fitted = space(vectors[:250], vectors[250:])
    crystals = sample_crystals(2)
    percentiles = fitted.percentiles(fitted.distances(np.stack([vectors[0], vectors[0] * -50])))
    assert percentiles[0] < 90 < percentiles[1] == 100
    lines = fitted.warnings(crystals, percentiles)
    assert lines == [[], ["further from the training crystals than 99 % of validation"]]
    assert fitted.warnings(crystals, [98.9, 99.0])[0] == []


def test_the_choice_of_points_is_random_and_stays(vectors):
    one, other = space(vectors, limit=30), space(vectors, limit=30)
    assert one.ids == other.ids != space(vectors, limit=30, seed=1).ids
    assert len(one.ids) == len(one.points) == 30
    assert space(vectors, dimensions=2).points.shape == (400, 2)


def test_it_comes_back_from_the_file_and_is_small(tmp_path):
    rng = np.random.default_rng(1)
    training = rng.normal(size=(20_000, 64)).astype(np.float32)
    validation = rng.normal(size=(5000, 64)).astype(np.float32)
    space(training, validation).save(tmp_path / "usual.safetensors")
    assert (tmp_path / "usual.safetensors").stat().st_size < 150_000
    fitted = space(training, validation, dimensions=16)
    path = tmp_path / "space.safetensors"
    fitted.save(path)
    assert path.stat().st_size < 450_000
    back = TrainingSpace.open(path)
    assert (back.ids, back.points.shape) == (fitted.ids, (10_000, 16))
    new = rng.normal(size=(20, 64)).astype(np.float32)
    assert np.array_equal(back.distances(new), fitted.distances(new))
    assert np.array_equal(back.element_counts, COUNTS)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match="damaged"):
        TrainingSpace.open(path)
    save_weights(path, {"w": torch.zeros(2)}, {"kind": "training space"})
    with pytest.raises(CheckpointError, match="no training space"):
        TrainingSpace.open(path)
    save_weights(path, {"w": torch.zeros(2)}, {})
    with pytest.raises(CheckpointError, match="no training space"):
        TrainingSpace.open(path)


def test_elements_that_few_crystals_with_a_value_have(tmp_path, vectors):
    labels = np.stack([COUNTS, COUNTS])
    labels[1, 11], labels[1, 17] = 3, 20
    ids = [f"mp-{i}" for i in range(len(vectors))]
    few = COUNTS.copy()
    few[19] = labels[:, 19] = 5  # told of once, as an element that few crystals have at all
    fitted = TrainingSpace.fit(vectors, ids, vectors[:9], few, labels)
    fitted.save(tmp_path / "space.safetensors")
    back = TrainingSpace.open(tmp_path / "space.safetensors")
    salts = Crystals.concatenate(
        [Crystals.single(4 * np.eye(3), [[0] * 3, [0.5] * 3], [z, 17]) for z in (11, 19)]
    )
    assert back.label_warnings(salts, 0) == ["", ""]
    assert back.label_warnings(salts, 1) == [
        "few training crystals with a value have Na (3)",
        "",
    ]
    assert back.warnings(salts, np.zeros(2)) == [[], ["only 5 training crystals with K"]]
    old = TrainingSpace.fit(vectors, ids, vectors[:9], few)
    assert old.label_warnings(salts, 1) == ["", ""]


def test_validation_that_repeats_training_makes_anything_else_far(vectors):
    fitted = space(np.repeat(vectors[:20], 5, axis=0), vectors[:20])
    assert fitted.percentiles(fitted.distances(vectors[30:32])).tolist() == [100, 100]
    same = space(np.ones((5, 3), np.float32), np.ones((2, 3), np.float32))
    assert same.points.shape == (5, 1)
    assert np.isfinite(same.distances(np.ones((1, 3), np.float32))).all()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda v: TrainingSpace.fit(v, ["a"], v, COUNTS), "1 ids for vectors"),
        (lambda v: TrainingSpace.fit(v[:0], [], v, COUNTS), "0 ids"),
        (lambda v: space(v, v[:, :3]), "wanted the same width"),
        (lambda v: space(v, v * np.nan), "not finite"),
        (lambda v: space(v).distances(v[:, :3]), "the space was fitted on"),
    ],
)
def test_what_cannot_be_measured_is_refused(call, says, vectors):
    with pytest.raises(ApplicabilityError, match=says):
        call(vectors)


def crystals_of(*numbers):
    return Crystals.concatenate(
        Crystals.single(np.eye(3) * 4, np.linspace(0, 0.9, len(z))[:, None] * [1, 1, 1], z)
        for z in numbers
    )


def test_elements_by_hand():
    counts = np.zeros(119, int)
    counts[[8, 11, 17]] = 500, 1, 19
    crystals = crystals_of([8], [11, 17], [92, 8, 54], [8, 8])
    assert element_warnings(crystals, counts) == [
        [],
        ["only 1 training crystal with Na", "only 19 training crystals with Cl"],
        ["element never in training: Xe, U"],
        [],
    ]
    (failure,) = unseen_elements(crystals, counts)
    assert (failure.index, failure.reason) == (2, "element never in training")
    assert failure.detail.startswith("Xe, U: ")
    assert unseen_elements(Crystals.empty(), counts) == []


def captured(model, representation, crystals, **parameters):
    torch.manual_seed(0)
    network = build_model(model, representation, 2, **parameters).eval()
    encoded = representation.encode(crystals)
    samples = encode_samples(
        encoded, fit_scaling(encoded.arrays, "none"), ragged_arrays(representation), "cpu"
    )
    with torch.no_grad(), HiddenVectors(network) as hidden:
        values = network(samples.batch(torch.arange(samples.n)))
    return network, values, hidden.rows()


@pytest.mark.parametrize(
    ("model", "representation"), [("mlp", IRCR(max_sites=20)), ("cgcnn", CrystalGraph())]
)
def test_hidden_vectors_are_what_the_last_layer_gets(model, representation):
    network, values, hidden = captured(model, representation, sample_crystals(6))
    (*_, last) = (m for m in network.modules() if isinstance(m, FullPrecisionLinear))
    assert torch.equal(last(torch.from_numpy(hidden)), values)
    assert hidden.dtype == np.float32
    assert not network._forward_hooks
    assert not last._forward_pre_hooks


class PerSite(nn.Module):
    """A last layer on sites, whose values are summed; and one over a fixed axis of sites."""

    def __init__(self, fixed):
        super().__init__()
        self.last, self.fixed = FullPrecisionLinear(2, 1), fixed

    def forward(self, arrays):
        if self.fixed:
            return self.last(arrays["fixed"]).sum(1)
        values = self.last(arrays["sites"])
        return torch.zeros(2, 1).index_add(0, arrays["sites_crystals"].expand(3), values)


def test_a_last_layer_on_sites_is_averaged_over_them():
    sites = torch.tensor([[1.0, 0], [3, 0], [0, 5]])
    arrays = {"sites": sites, "sites_crystals": torch.tensor([0, 0, 1]), "fixed": sites[None]}
    with HiddenVectors(network := PerSite(fixed=False)) as hidden:
        network(arrays)
        network(arrays)
    assert hidden.rows().tolist() == [[2, 0], [0, 5]] * 2
    with HiddenVectors(network := PerSite(fixed=True)) as hidden:
        network(arrays)
    np.testing.assert_allclose(hidden.rows(), [[4 / 3, 5 / 3]])
    with HiddenVectors(network := PerSite(fixed=False)) as hidden:
        network({"sites": sites, "sites_crystals": torch.tensor([1])})
    assert hidden.rows() is None


def test_a_network_without_a_linear_layer_has_no_vectors():
    with HiddenVectors(network := nn.ReLU()) as hidden:
        network(torch.zeros(2, 2))
    assert hidden.rows() is None
    with HiddenVectors(network := nn.Linear(3, 1)) as hidden:
        network(torch.ones(2, 3))
    assert hidden.rows().shape == (2, 3)
