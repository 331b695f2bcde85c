"""The dataset in the box: whole, honest about its labels, and as its script made it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import crystalcodec
from crystalcodec.data import Dataset
from crystalcodec.data.dataset import PROTOTYPES
from crystalcodec.io import to_ase, to_pymatgen


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return crystalcodec.prototypes()


def test_it_is_whole_small_and_of_the_size_it_says(dataset):
    assert Path(PROTOTYPES).stat().st_size < 1_000_000
    assert Dataset.read(PROTOTYPES, verify=True) == dataset
    assert len(dataset) == 2080
    assert len(set(dataset.ids)) == 2080
    assert dataset.crystals.n_sites.max() <= 20
    assert (dataset.crystals.element_counts > 0).sum(axis=1).max() <= 3
    assert len(crystalcodec.IRCR().encode(dataset.crystals)) == 2080


def test_it_says_that_its_labels_come_from_a_potential(dataset):
    assert "CHGNet" in dataset.metadata.source
    assert "not" in dataset.metadata.source
    assert "CHGNet" in dataset.metadata.descriptions["formation_energy_per_atom"]
    assert dataset.metadata.units["formation_energy_per_atom"] == "eV/atom"
    assert {"chgnet", "pymatgen", "numpy", "torch"} <= set(dataset.metadata.notes["versions"])


def test_geometry_and_its_labels_agree(dataset):
    crystals = dataset.crystals
    np.testing.assert_allclose(dataset.numeric("density"), crystals.densities, rtol=2e-4)
    per_atom = crystals.volumes / crystals.n_sites
    np.testing.assert_allclose(dataset.numeric("volume_per_atom"), per_atom, rtol=2e-4)
    assert list(dataset.column("formula")) == list(crystals.formulas)
    nearest = [
        np.sort(s.distance_matrix + 9 * np.eye(len(s)), axis=1).min() for s in to_pymatgen(crystals)
    ]
    assert min(nearest) > 0.7


def test_known_compounds_have_known_energies(dataset):
    known = {"rock-salt-NaCl": -2.11, "rock-salt-MgO": -3.05, "diamond-Si": 0.0}
    for name, expected in known.items():
        row = list(dataset.ids).index(name)
        energy = dataset.numeric("formation_energy_per_atom")[row]
        # CHGNet's mean error against the density functional theory it learnt from is 30 meV/atom.
        assert energy == pytest.approx(expected, abs=0.05), name


@pytest.mark.filterwarnings("ignore:Converting a tensor:UserWarning")  # in CHGNet's own code
def test_labels_are_chgnets_on_the_stored_geometry(dataset):
    chgnet = pytest.importorskip("chgnet.model")
    references = dataset.metadata.notes["elemental_energies"]
    rows = np.random.default_rng(0).choice(len(dataset), 6, replace=False)
    model = chgnet.CHGNet.load(use_device="cpu", verbose=False)
    for row, structure in zip(rows, to_pymatgen(dataset.crystals[rows]), strict=True):
        energy = float(model.predict_structure(structure)["e"])
        symbols = to_ase(dataset.crystals[row])[0].get_chemical_symbols()
        energy -= np.mean([references[symbol]["ev_per_atom"] for symbol in symbols])
        label = dataset.numeric("formation_energy_per_atom")[row]
        assert energy == pytest.approx(label, abs=2e-4)
