"""A small made dataset with a target that the arrays tell, and a quick configuration."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from crystalcodec import prototypes, registry
from crystalcodec.crystals import Crystals
from crystalcodec.data import Dataset
from crystalcodec.generators.base import Generator
from crystalcodec.generators.conditions import ConditionEmbedding
from crystalcodec.io import write
from crystalcodec.models.base import fixed_arrays
from crystalcodec.workflow import RunConfig, train

ELEMENTS = np.array([3, 8, 9, 11, 12, 16, 17, 19, 20, 35])


def _made_dataset(n, seed=0, **columns):
    """Rock-salt-like cells of two sites; the target is a plane in lattice constant and numbers."""
    rng = np.random.default_rng(seed)
    constants = rng.uniform(3, 6, n)
    numbers = np.array([rng.choice(ELEMENTS, 2, replace=False) for _ in range(n)])
    crystals = Crystals(
        constants[:, None, None] * np.eye(3),
        np.tile([[0.0, 0, 0], [0.5, 0.5, 0.5]], (n, 1)),
        numbers.ravel(),
        np.arange(n + 1) * 2,
    )
    energy = 0.5 * constants - 0.05 * numbers[:, 0] - 0.02 * numbers[:, 1]
    properties = {"energy": energy, **columns}
    return Dataset.from_crystals(crystals, properties=properties, units={"energy": "eV"})


@pytest.fixture(scope="session")
def made_dataset():
    """The function that makes datasets: ``made_dataset(n, seed, **more_columns)``."""
    return _made_dataset


@pytest.fixture
def values(tmp_path, made_dataset):
    """A configuration as nested values, on datasets that were just written."""
    made_dataset(200, 0).write(tmp_path / "train.parquet")
    made_dataset(60, 1).write(tmp_path / "validation.parquet")
    return {
        "data": {
            "dataset": str(tmp_path / "train.parquet"),
            "validation": str(tmp_path / "validation.parquet"),
        },
        "target": {"column": "energy"},
        "representation": {"name": "ircr", "max_sites": 4},
        "model": {"name": "mlp", "hidden": [16, 8]},
        "training": {"epochs": 4, "batch_size": 32, "learning_rate": 0.01},
        "machine": {"device": "cpu"},
    }


@pytest.fixture(scope="session")
def run(tmp_path_factory, made_dataset):
    """A finished run, trained long enough to have learnt something."""
    folder = tmp_path_factory.mktemp("run")
    made_dataset(400, 0).write(folder / "data.parquet")
    config = RunConfig.of(
        {
            "data": {"dataset": str(folder / "data.parquet"), "fractions": [0.7, 0.15, 0.15]},
            "target": {"column": "energy"},
            "representation": {"name": "ircr", "max_sites": 4},
            "model": {"name": "mlp", "hidden": [64, 32]},
            "augmentation": {"names": ["permute_axes", "shift_origin"], "copies": 2},
            "training": {"epochs": 40, "batch_size": 32},
            "machine": {"device": "cpu"},
        }
    )
    return train(config, folder / "run", command=["crystalcodec", "train"])


@pytest.fixture(autouse=True)
def _empty_pictures(request, monkeypatch):
    """Figures are saved as empty ones, but in modules that are marked with ``pictures``.

    Drawing takes half of the time of a short training. What fixtures of a module or of all tests
    train is drawn, since they are made before this.
    """
    if request.node.get_closest_marker("pictures"):
        return
    drawn = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda _, *args, **options: drawn(Figure((0.1, 0.1)), *args, **options)
    )


class Copier(Generator):
    """Its samples are the first training crystals, in turn; some of each batch are broken."""

    name = "copier"
    own_conditions = frozenset({"formula", "elements"})
    kept = 8

    def __init__(self, representation, conditions, *, width: int = 4):
        super().__init__(representation, conditions)
        ((self.array, shape),) = fixed_arrays(representation)[0].items()
        self.mean = torch.nn.Parameter(torch.zeros(shape))
        self.embedding = ConditionEmbedding(conditions, width)
        self.told = torch.nn.Linear(width, 1)
        self.register_buffer("known", torch.zeros(self.kept, *shape))

    @classmethod
    def fits(cls, representation):
        shapes, reason = fixed_arrays(representation)
        return reason or (None if len(shapes) == 1 else "it has several arrays; wanted one")

    def prepare(self, crystals, arrays):
        self.known.copy_(arrays[self.array][: self.kept])

    def forward(self, batch):
        array = batch[self.array]
        shift = self.told(self.embedding(batch, len(array)))
        noise = torch.randn_like(array) * 0.01
        return (array + noise - self.mean - shift.view(-1, *[1] * (array.ndim - 1))).square().mean()

    def sample(self, n, wanted, random, *, broken: int = 0, blur: float = 0.0):
        noise = torch.randn(n, *self.mean.shape, generator=random)
        made = self.known[torch.arange(n) % self.kept] + blur * noise
        made[:broken] = torch.nan
        return {self.array: made}


@pytest.fixture
def copier(monkeypatch):
    """The class; the registry holds it during the test."""
    monkeypatch.setitem(sys.modules, "copier_generator", SimpleNamespace(Copier=Copier))
    monkeypatch.setitem(registry.GENERATORS, "copier", "copier_generator:Copier")
    return Copier


@pytest.fixture
def generator_values(values, copier):
    """The configuration of a run of the copier on the same datasets."""
    del values["target"]
    values["model"] = {"name": "copier"}
    values["training"] = {"epochs": 3, "batch_size": 64, "learning_rate": 0.01}
    return values


@pytest.fixture
def cifs(tmp_path):
    """Three crystals as CIF, two of them good, and one of atoms on top of each other."""
    place = tmp_path / "cifs"
    write(prototypes().crystals[:2], place, ids=["one", "two"])
    (place / "bad.cif").write_text("no CIF at all")
    overlapping = Crystals.single(np.eye(3) * 4, [[0, 0, 0], [0.001, 0, 0]], [11, 17])
    write(overlapping, place / "close.cif")
    return place
