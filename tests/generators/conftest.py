"""A generator that tests know the truth of, under the name ``toy`` of the registry."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
import torch

from crystalcodec import registry
from crystalcodec.generators.base import LatentGenerator
from crystalcodec.generators.conditions import ConditionEmbedding
from crystalcodec.models.base import fixed_arrays


class Toy(LatentGenerator):
    """Learns the mean array; a sample is the first training array."""

    name = "toy"

    def __init__(self, representation, conditions, *, width: int = 4):
        super().__init__(representation, conditions)
        ((self.array, shape),) = fixed_arrays(representation)[0].items()
        self.mean = torch.nn.Parameter(torch.zeros(shape))
        self.embedding = ConditionEmbedding(conditions, width)
        self.told = torch.nn.Linear(width, 1)
        self.register_buffer("first", torch.zeros(shape))

    @classmethod
    def fits(cls, representation):
        shapes, reason = fixed_arrays(representation)
        return reason or (None if len(shapes) == 1 else "it has several arrays; wanted one")

    def prepare(self, crystals, arrays):
        self.first.copy_(arrays[self.array][0])

    def forward(self, batch):
        array = batch[self.array]
        shift = self.told(self.embedding(batch, len(array)))
        noise = torch.randn_like(array) * 0.01
        return (array + noise - self.mean - shift.view(-1, *[1] * (array.ndim - 1))).square().mean()

    def sample(self, n, wanted, random, *, blur: float = 0.0):
        noise = torch.randn(n, *self.first.shape, generator=random)
        return {self.array: self.first + blur * noise}

    def encode(self, batch):
        return batch[self.array].flatten(1)

    def decode(self, codes, batch=None):
        return {self.array: codes.reshape(-1, *self.first.shape)}


@pytest.fixture
def toy(monkeypatch):
    """The class; the registry holds it during the test."""
    monkeypatch.setitem(sys.modules, "toy_generator", SimpleNamespace(Toy=Toy))
    monkeypatch.setitem(registry.GENERATORS, "toy", "toy_generator:Toy")
    return Toy
