"""The toy generator under its name, and a quick configuration of it."""

from __future__ import annotations

import pytest
from toy import Toy

from crystalcodec import registry


@pytest.fixture
def toy(monkeypatch):
    """The registry with the generator ``toy`` in it."""
    import toy as module

    monkeypatch.setitem(registry.GENERATORS, "toy", f"{module.__name__}:Toy")
    return Toy
