"""What is done with codes, on a generator whose codes are known: the arrays themselves."""

from __future__ import annotations

import csv
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from crystalcodec import registry
from crystalcodec.crystals import Crystals
from crystalcodec.evaluation.projection import project
from crystalcodec.evaluation.similarity import SimilarityError
from crystalcodec.generators.base import Generator, LatentGenerator, build_generator
from crystalcodec.generators.conditions import Conditions
from crystalcodec.plots.latent import draw_graph, draw_path
from crystalcodec.representations.ircr import IRCR
from crystalcodec.workflow.latent import (
    LatentError,
    Window,
    codes_between,
    decode_codes,
    encode_crystals,
    interpolate,
    latent_graph,
    latent_map,
    latent_of,
    moves,
    perturb,
    predicted_values,
    reconstruct,
)


class Plain(LatentGenerator):
    """Codes are the arrays, flattened; the branch says the first length."""

    name = "plain"

    def __init__(self, representation, conditions):
        super().__init__(representation, conditions)
        self.shape = tuple(representation.shapes()["ircr"])
        self.weight = torch.nn.Parameter(torch.zeros(1))

    @classmethod
    def fits(cls, representation):
        return None

    def prepare(self, crystals, arrays):
        pass

    def forward(self, batch):
        return self.weight.sum()

    def sample(self, n, wanted, random):
        return {"ircr": torch.zeros(n, *self.shape)}

    def encode(self, batch):
        assert not self.training
        return batch["ircr"].flatten(1)

    def decode(self, codes, batch=None):
        return {"ircr": codes.reshape(-1, *self.shape)}

    def properties(self, codes):
        length = self.representation.blocks["L"].start * self.shape[1]
        return {"length": codes[:, length]}


class Noise(Generator):
    """No codes."""

    name = "noise"
    fits = Plain.fits
    prepare, forward, sample = Plain.prepare, Plain.forward, Plain.sample


def form():
    return IRCR(max_sites=4, tolerance=0.5)


@pytest.fixture
def plain(monkeypatch):
    module = SimpleNamespace(Plain=Plain)
    monkeypatch.setitem(sys.modules, "plain_generator", module)
    monkeypatch.setitem(registry.GENERATORS, "plain", "plain_generator:Plain")
    return build_generator("plain", form(), Conditions())


def salts(constants=(4.0, 5.0, 6.0, 7.0, 8.0)):
    """Two sites each, of different cells and anions."""
    n = len(constants)
    anions = np.array([9, 17, 35, 53, 8, 16])[np.arange(n) % 6]
    return Crystals(
        np.array(constants)[:, None, None] * np.eye(3),
        np.tile([[0.0, 0, 0], [0.5, 0.5, 0.5]], (n, 1)),
        np.stack([np.full(n, 11), anions], 1).ravel(),
        np.arange(n + 1) * 2,
    )


def large():
    return Crystals.single(9 * np.eye(3), np.random.default_rng(0).random((6, 3)), [3] * 6)


def test_codes_come_back_as_the_crystals(plain):
    crystals = Crystals.concatenate([salts()[:2], large(), salts()[2:]])
    codes = encode_crystals(plain.train(), crystals, batch_size=2)
    assert plain.training
    assert codes.index.tolist() == [0, 1, 3, 4, 5]
    assert [(f.index, f.reason) for f in codes.failures] == [(2, "too many sites")]
    np.testing.assert_array_equal(codes.codes, form().encode(salts())["ircr"].reshape(5, -1))
    made = decode_codes(plain, codes.codes, batch_size=2)
    np.testing.assert_array_equal(made.decoded.crystals.numbers, salts().numbers)


def test_reconstruction_counts_every_crystal(plain):
    crystals = Crystals.concatenate([salts()[:2], large(), salts()[2:]])
    attempts, codes = reconstruct(plain, crystals)
    assert attempts.n == 6
    assert attempts.reasons() == {"too many sites": 1}
    assert attempts.positions.tolist() == [0, 1, 3, 4, 5]
    assert len(codes.codes) == 5
    only, codes = reconstruct(plain, large())
    assert only.n == 1
    assert len(only.crystals) == len(codes.codes) == 0


def test_a_code_that_is_no_number_is_a_failure(plain, monkeypatch):
    def encode(self, batch):
        codes = batch["ircr"].flatten(1).clone()
        codes[1, 0] = float("nan")
        return codes

    monkeypatch.setattr(Plain, "encode", encode)
    attempts, codes = reconstruct(plain, Crystals.concatenate([large(), salts()]))
    assert attempts.reasons() == {"too many sites": 1, "code is not finite": 1}
    assert codes.index.tolist() == [1, 3, 4, 5]


def test_a_generator_may_take_fewer_sites_than_its_representation(plain):
    plain.max_sites = 2
    crystals = Crystals.concatenate([salts()[:1], salts()[:1].supercell((2, 1, 1)), large()])
    codes = encode_crystals(plain, crystals)
    assert codes.index.tolist() == [0]
    assert [f.reason for f in codes.failures] == ["too many sites"] * 2
    assert "fit the generator" in codes.failures[0].detail


def test_left_handed_cells_are_turned(plain):
    left = Crystals.single(-4 * np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17])
    assert not encode_crystals(plain, left).failures


def test_conditions_that_are_not_given_are_missing():
    seen = {}

    class Told(Plain):
        def encode(self, batch):
            seen.update(batch)
            return super().encode(batch)

    conditions = Conditions.fit(("elements",), {"gap": np.array([0.0, 2.0])})
    generator = Told(form(), conditions)
    encode_crystals(generator, salts()[:2])
    assert seen["condition.gap"].isnan().all()
    assert seen["condition.elements"][0].nonzero().flatten().tolist() == [8, 10]
    encode_crystals(generator, salts()[:2], {"gap": np.array([0.0, 3.0])})
    assert seen["condition.gap"][:, 0].tolist() == [-1.0, 2.0]


def test_between_two_codes():
    linear = codes_between([0.0, 2.0], [4.0, 0.0], 5)
    np.testing.assert_allclose(linear, [[0, 2], [1, 1.5], [2, 1], [3, 0.5], [4, 0]])
    # A quarter circle whose radius grows evenly.
    found = codes_between([2.0, 0.0], [0.0, 4.0], 4, "spherical")
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), [2, 8 / 3, 10 / 3, 4], rtol=1e-6)
    angles = np.degrees(np.arctan2(found[:, 1], found[:, 0]))
    np.testing.assert_allclose(angles, [0, 30, 60, 90], atol=1e-4)
    for one, other in (([1.0, 0.0], [2.0, 0.0]), ([1.0, 0.0], [-1.0, 0.0]), ([0.0], [1.0])):
        found = codes_between(one, other, 3, "spherical")
        np.testing.assert_allclose(found, codes_between(one, other, 3), atol=1e-6)


def test_codes_of_any_shape():
    a, b = np.ones((2, 3, 4)), np.zeros((2, 3, 4))
    assert codes_between(a, b, 5, "spherical").shape == (5, 2, 3, 4)


@pytest.mark.parametrize("way", ["linear", "spherical"])
def test_ends_of_an_interpolation_are_the_reconstructions(plain, way):
    path = interpolate(plain, salts()[:1], salts()[3:4], n=5, way=way)
    crystals, reasons = path.made.of_each()
    assert len(reasons) == 5
    for place, wanted in ((0, salts()[:1]), (-1, salts()[3:4])):
        attempts, _ = reconstruct(plain, wanted)
        assert crystals[place] == attempts.crystals
        assert path.rows()[place]["formula"] == wanted.formulas[0]


def test_the_middle_of_a_straight_way(plain):
    path = interpolate(plain, salts()[:1], salts()[4:5], n=3)
    np.testing.assert_allclose(path.made.decoded.crystals[1].cell_parameters[0, :3], 6, rtol=1e-6)


def test_no_noise_gives_the_parent(plain):
    found = perturb(plain, salts(), scale=0.0, children=3)
    assert found.parent_of.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]
    attempts, _ = reconstruct(plain, salts()[[*found.parent_of]])
    assert found.made.decoded.crystals == attempts.crystals
    assert not found.different.any()
    assert found.counts()["decoded"] == 15
    assert found.counts()["unique"] == 0


def test_children_are_counted(plain, monkeypatch):
    """Decoded codes are set by hand: of each kind one, and one twice."""
    base = form().encode(salts())["ircr"]
    other = form().encode(
        Crystals.single([[4.0, 0, 0], [0, 4, 0], [0, 0, 7]], [[0, 0, 0], [0.5, 0.5, 0.2]], [3, 9])
    )["ircr"][0]
    # Atoms on top of each other, one that is no crystal, the parent, and two that are the same.
    near = form().encode(Crystals.single(4 * np.eye(3), [[0, 0, 0], [0.01, 0, 0]], [11, 9]))
    rows = np.stack([near["ircr"][0], np.full_like(base[0], np.nan), base[0], other, other])
    monkeypatch.setattr(
        Plain, "decode", lambda self, codes, batch=None: {"ircr": torch.from_numpy(rows)}
    )
    found = perturb(plain, salts()[:1], scale=0.1, children=5)
    assert found.counts() == {
        "children": 5,
        "decoded": 4,
        "valid": 3,
        "different from the parent": 2,
        "unique": 1,
    }
    assert found.valid.tolist() == [False, False, True, True, True]
    assert found.unique.tolist() == [False, False, False, True, False]
    assert found.reasons() == {"not finite": 1}
    records = found.rows(["mine"])
    assert records[3]["formula"] == "LiF"
    assert records[3]["parent"] == "mine"
    assert records[3]["predicted_length"] == pytest.approx(4, abs=1)
    assert records[1]["failure"] == "not finite"


def test_children_that_cannot_be_compared_are_not_counted_as_different(plain, monkeypatch):
    parent = salts()[:1]
    long = Crystals.single(np.diag([3.0, 3.0, 900.0]), parent.frac_coords, parent.numbers)
    made = SimpleNamespace(
        decoded=SimpleNamespace(crystals=long, index=np.array([0])), failures=(), of_each=None
    )
    monkeypatch.setattr(moves, "decode_codes", lambda *given: made)
    found = perturb(plain, parent, scale=0.0, children=1)
    assert found.different.tolist() == found.unique.tolist() == [False]


def test_noise_has_the_scale(plain):
    found = perturb(plain, salts()[:1], scale=0.25, children=40, seed=1)
    apart = found.codes - encode_crystals(plain, salts()[:1]).codes
    assert apart.std() == pytest.approx(0.25, rel=0.02)
    again = perturb(plain, salts()[:1], scale=0.25, children=40, seed=1)
    assert np.array_equal(found.codes, again.codes)


def test_parents_that_cannot_be_encoded_are_told(plain):
    found = perturb(plain, Crystals.concatenate([large(), salts()[:1]]), scale=0.0, children=2)
    assert [failure.index for failure in found.parents.failures] == [0]
    assert [row["parent"] for row in found.rows(["a", "b"])] == ["b", "b"]


def test_branches_are_asked(plain):
    codes = encode_crystals(plain, salts())
    assert predicted_values(plain, codes.codes)["length"].tolist() == [4, 5, 6, 7, 8]


def test_map_is_the_projection_of_scikit_learn(plain, tmp_path):
    from sklearn.decomposition import PCA

    codes = encode_crystals(plain, salts())
    energies = np.array([1.0, 2.0, np.nan, 4.0, 5.0])
    found = latent_map(plain, codes, colour="energy", columns={"energy": energies})
    wanted = PCA(2, svd_solver="full").fit_transform(codes.flat.astype(float))
    np.testing.assert_allclose(np.abs(found.projection.points), np.abs(wanted), atol=1e-8)
    found.write(tmp_path / "map.csv", ["a", "b", "c", "d", "e"])
    with (tmp_path / "map.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["crystal"] for row in rows] == ["a", "b", "c", "d", "e"]
    assert rows[2]["energy"] == ""
    assert float(rows[1]["component_1"]) == found.projection.points[1, 0]
    assert rows[0]["formula"] == "NaF"


def test_colours_of_a_map(plain):
    crystals = Crystals.concatenate([large(), salts()])
    codes = encode_crystals(plain, crystals)
    assert latent_map(plain, codes).colours == ["F", "Cl", "Br", "I", "O"]
    assert latent_map(plain, codes, colour="crystal_system").colours == ["cubic"] * 5
    length = latent_map(plain, codes, colour="predicted_length").colours
    assert length.tolist() == [4, 5, 6, 7, 8]
    # The crystal without a code is left out of the column, too.
    energies = latent_map(plain, codes, colour="e", columns={"e": np.arange(6.0)}).colours
    assert energies.tolist() == [1, 2, 3, 4, 5]
    with pytest.raises(LatentError, match="did you mean 'anion'"):
        latent_map(plain, codes, colour="anions")


def test_bad_input(plain):
    noise = Noise(form(), Conditions())
    with pytest.raises(LatentError, match="has no latent space"):
        latent_of(noise)
    with pytest.raises(LatentError, match="has no latent space"):
        perturb(noise, salts())
    with pytest.raises(LatentError, match="scale is -1"):
        perturb(plain, salts(), scale=-1.0)
    with pytest.raises(LatentError, match="scale is nan"):
        perturb(plain, salts(), scale=float("nan"))
    with pytest.raises(LatentError, match="0 children"):
        perturb(plain, salts(), children=0)
    with pytest.raises(LatentError, match="none of 1 parents can be encoded: too many sites"):
        perturb(plain, large())
    with pytest.raises(LatentError, match="no crystals to encode"):
        encode_crystals(plain, Crystals.empty())
    with pytest.raises(LatentError, match="1 and 2 crystals: wanted two"):
        interpolate(plain, salts()[:1], salts()[:2])
    with pytest.raises(LatentError, match="the second crystal cannot be encoded: too many sites"):
        interpolate(plain, salts()[:1], large())
    with pytest.raises(LatentError, match="did you mean 'spherical'"):
        interpolate(plain, salts()[:1], salts()[1:2], way="sphere")
    with pytest.raises(LatentError, match="1 steps"):
        interpolate(plain, salts()[:1], salts()[1:2], n=1)
    with pytest.raises(LatentError, match="NaN or infinity"):
        decode_codes(plain, np.full((1, 12), np.nan))
    with pytest.raises(LatentError, match=r"wanted \(n, \.\.\.\)"):
        decode_codes(plain, np.zeros(3))
    with pytest.raises(SimilarityError, match="at least four"):
        latent_map(plain, encode_crystals(plain, salts()[:1]))
    with pytest.raises(LatentError, match="at least two crystals"):
        latent_graph(encode_crystals(plain, salts()[:1]).codes)


def test_pictures(plain, tmp_path):
    path = interpolate(plain, salts()[:1], salts()[3:4], n=11)
    crystals, reasons = path.made.of_each()
    figure = draw_path(crystals, reasons, path.parts, "a way")
    titles = [axes.get_title() for axes in figure.axes[:11]]
    assert titles[0] == "0.00  NaF"
    assert titles[-1] == "1.00  NaI"
    # What did not decode says why.
    figure = draw_path([None], ["not finite"], [0.5])
    assert figure.axes[0].texts[0].get_text() == "not finite"
    points = project(encode_crystals(plain, salts()).flat, "pca", standardise=False).points
    figure = draw_graph(
        points, [[0, 1]], colours=[1.0, 2, np.nan, 4, 5], label="energy", chosen=[1]
    )
    sizes = [len(c.get_offsets()) for c in figure.axes[0].collections[1:]]
    assert sizes == [1, 4, 1]


def test_windows():
    assert Window.parse("gap=1:2").holds([0.9, 1, 2, 2.1, np.nan]).tolist() == [0, 1, 1, 0, 0]
    assert Window.parse(" e = :-2 ").holds([-3, -1]).tolist() == [True, False]
    assert Window.parse("e=1e2:").high == np.inf
    for text in ("gap", "gap=", "gap=1", "gap=a:b", "=1:2", "gap=:", "gap=nan:2"):
        with pytest.raises(LatentError):
            Window.parse(text)
    with pytest.raises(LatentError, match="holds nothing"):
        Window.parse("gap=3:2")
