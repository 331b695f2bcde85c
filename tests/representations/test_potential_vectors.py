"""Vectors of CHGNet and SevenNet against what the packages themselves give."""

from __future__ import annotations

import sys
from importlib.util import find_spec

import numpy as np
import pytest

from crystalcodec.crystals import Crystals
from crystalcodec.io import to_ase, to_pymatgen
from crystalcodec.registry import MissingExtraError
from crystalcodec.representations.base import RepresentationError
from crystalcodec.representations.potential_vectors import (
    PotentialVectors,
    SitePotentialVectors,
    networks,
)
from crystalcodec.testing import sample_crystals

FCC = np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
SALT = Crystals.single(5.64 * FCC, [[0, 0, 0], [0.5, 0.5, 0.5]], [11, 17])
COPPER = Crystals.single(3.6 * FCC, [[0, 0, 0]], [29])
PEROVSKITE = Crystals.single(
    3.905 * np.eye(3),
    [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]],
    [38, 22, 8, 8, 8],
)
KNOWN = Crystals.concatenate([SALT, COPPER, PEROVSKITE])
SEVENNET = "sevennet-0-11jul2024"

chgnet = pytest.mark.skipif(not find_spec("chgnet"), reason="chgnet is not installed")
sevennet = pytest.mark.skipif(not find_spec("sevenn"), reason="sevenn is not installed")


@chgnet
@pytest.mark.filterwarnings("ignore:Converting a tensor:UserWarning")  # in CHGNet's own code
@pytest.mark.parametrize("version", ["0.3.0", "r2scan"])
def test_vectors_are_chgnet_s(version, capsys):
    from chgnet.model import CHGNet

    name = f"chgnet-{version}"
    sums = PotentialVectors(model=name, pooling="sum").encode(KNOWN)["potential_vectors"]
    means = PotentialVectors(model=name).encode(KNOWN)["potential_vectors"]
    sites = SitePotentialVectors(model=name, layer="before_last").encode(KNOWN)
    pooled = PotentialVectors(model=name, layer="before_last").encode(KNOWN)["potential_vectors"]
    assert not capsys.readouterr().out
    peer = CHGNet.load(model_name=version, use_device="cpu", verbose=False)
    for i, structure in enumerate(to_pymatgen(KNOWN)):
        expected = peer.predict_structure(
            structure, task="e", return_crystal_feas=True, return_atom_feas=True
        )
        np.testing.assert_allclose(sums[i], expected["crystal_fea"], rtol=1e-4, atol=1e-5)
        mean = expected["crystal_fea"] / len(structure)
        np.testing.assert_allclose(means[i], mean, rtol=1e-4, atol=1e-5)
        found = sites["site_potential_vectors"][slice(*sites.offsets["sites"][i : i + 2])]
        np.testing.assert_allclose(found, expected["atom_fea"], rtol=1e-4, atol=1e-5)
        mean = expected["atom_fea"].mean(axis=0)
        np.testing.assert_allclose(pooled[i], mean, rtol=1e-4, atol=1e-5)


@sevennet
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.jit in sevenn and e3nn
def test_vectors_lead_to_sevennet_s_energies():
    import torch
    from sevenn.calculator import SevenNetCalculator

    crystals = KNOWN[:2]
    sites = SitePotentialVectors(model=SEVENNET).encode(crystals)
    with pytest.warns(UserWarning, match="tensor product"):
        peer = SevenNetCalculator("7net-0_11july2024", device="cpu")
    for i, atoms in enumerate(to_ase(crystals)):
        vectors = sites["site_potential_vectors"][slice(*sites.offsets["sites"][i : i + 2])]
        hidden = peer.model._modules["reduce_input_to_hidden"].linear(torch.tensor(vectors))
        energies = peer.model._modules["reduce_hidden_to_energy"].linear(hidden)
        rescale = peer.model._modules["rescale_atomic_energy"]
        types = [peer.type_map[z] for z in atoms.numbers]
        shift = rescale.shift[types] if rescale.shift.dim() else rescale.shift
        scale = rescale.scale[types] if rescale.scale.dim() else rescale.scale
        total = (energies[:, 0] * scale + shift).sum()
        assert float(total.detach()) == pytest.approx(peer.get_potential_energy(atoms), abs=1e-3)


@pytest.mark.parametrize(
    ("model", "layer"),
    [
        pytest.param("chgnet-0.3.0", "last", marks=chgnet),
        pytest.param("chgnet-0.3.0", "before_last", marks=chgnet),
        pytest.param(SEVENNET, "last", marks=sevennet),
    ],
)
def test_a_vector_is_the_same_however_a_crystal_is_given(model, layer):
    one = SitePotentialVectors(model=model, layer=layer)
    whole = PotentialVectors(model=model, layer=layer)
    batch = whole.encode(KNOWN)["potential_vectors"]
    for i, crystal in enumerate(KNOWN):
        assert np.array_equal(whole.encode(crystal)["potential_vectors"][0], batch[i])
    turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    turned = Crystals(
        PEROVSKITE.lattices @ turn,
        PEROVSKITE.frac_coords + 0.3,
        PEROVSKITE.numbers,
        PEROVSKITE.offsets,
    )
    before, after = (one.encode(c)["site_potential_vectors"] for c in (PEROVSKITE, turned))
    np.testing.assert_allclose(after, before, atol=1e-4 * np.abs(before).max())
    # Equivalent sites have one vector, others do not.
    np.testing.assert_allclose(before[3:], before[[2, 2]], atol=1e-4 * np.abs(before).max())
    assert np.abs(before[0] - before[1]).max() > 0.01
    double = whole.encode(PEROVSKITE.supercell([1, 1, 2]))["potential_vectors"][0]
    np.testing.assert_allclose(double, batch[2], atol=1e-4 * np.abs(batch).max())


@pytest.mark.parametrize(
    ("model", "element", "symbol"),
    [
        pytest.param("chgnet-0.3.0", 96, "Cm", marks=chgnet),
        pytest.param(SEVENNET, 84, "Po", marks=sevennet),
    ],
)
def test_crystals_that_a_potential_cannot_take_are_failures(model, element, symbol):
    unknown = Crystals.single(4 * np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]], [element, 8])
    alone = Crystals.single(20 * np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5], [0.55, 0.5, 0.5]], [2] * 3)
    crystals = Crystals.concatenate([unknown, SALT, alone, COPPER])
    for representation in (PotentialVectors(model=model), SitePotentialVectors(model=model)):
        encoded = representation.encode(crystals)
        assert encoded.index.tolist() == [1, 3]
        assert [f.reason for f in encoded.failures] == ["element without weights", "isolated atom"]
        assert symbol in encoded.failures[0].detail
        assert encoded.failures[1].detail.startswith("1 sites without another within")
        assert [f.index for f in representation.refuse(crystals)] == [0, 2]


@chgnet
def test_the_threads_of_torch_are_given_back():
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        PotentialVectors().encode(SALT)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("model", "package", "extra"),
    [("chgnet-0.3.0", "chgnet", "mlip"), (SEVENNET, "sevenn", "sevennet")],
)
def test_a_missing_package_is_told_with_its_extra(model, package, extra, monkeypatch):
    networks.load_network.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)

    class Gone:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] == package:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(sys, "meta_path", [Gone(), *sys.meta_path])
    with pytest.raises(MissingExtraError, match=rf"crystalcodec\[{extra}\]"):
        PotentialVectors(model=model).encode(SALT)
    # Shapes, names and sizes need no package.
    assert len(PotentialVectors(model=model).feature_names()) == networks.LENGTHS[model]
    assert PotentialVectors(model=model).shapes() == {
        "potential_vectors": (networks.LENGTHS[model],)
    }


def test_a_file_that_holds_more_than_arrays_is_not_loaded(tmp_path):
    torch = pytest.importorskip("torch")
    import pickle

    path = tmp_path / "weights.pth"
    torch.save({"config": networks.Network}, path)
    with pytest.raises(pickle.UnpicklingError):
        networks._check_holds_arrays_only(str(path))


def test_memory_is_known_before():
    crystals = sample_crystals(5)
    assert PotentialVectors().n_bytes(crystals) == 4 * 5 * 64
    assert SitePotentialVectors().n_bytes(crystals) == 4 * len(crystals.numbers) * 64


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"model": "chgnet"}, "chgnet-0.3.0 or chgnet-r2scan or sevennet"),
        ({"layer": "first"}, "last or before_last"),
        ({"pooling": "max"}, "mean or sum"),
    ],
)
def test_wrong_parameters_are_told(parameters, message):
    with pytest.raises(RepresentationError, match=message):
        PotentialVectors(**parameters)
