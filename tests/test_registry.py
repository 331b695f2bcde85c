"""Every name in the tables can be loaded and knows itself; unknown names get a hint."""

from __future__ import annotations

import pytest

from crystalcodec import registry


@pytest.mark.parametrize(
    "table", ["REPRESENTATIONS", "MODELS", "METRICS", "SOURCES", "AUGMENTATIONS"]
)
def test_every_name_loads(table):
    names = getattr(registry, table)
    for name in names:
        loaded = registry.load(names, name)
        assert callable(loaded)
        assert getattr(loaded, "name", name) == name


def test_an_unknown_name_gets_a_hint():
    with pytest.raises(registry.UnknownNameError, match=r"no 'ircrr' here; did you mean 'ircr'\?"):
        registry.load(registry.REPRESENTATIONS, "ircrr")
    with pytest.raises(registry.UnknownNameError, match=r"There is: nothing"):
        registry.load({}, "ircr")
