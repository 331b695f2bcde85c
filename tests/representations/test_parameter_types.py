"""Values of a wrong type are told by name, whoever gives them: a file, or a line of Python."""

from __future__ import annotations

import dataclasses
import json

import pytest

from crystalcodec.registry import REPRESENTATIONS, load
from crystalcodec.representations.base import RepresentationError

# Of no parameter's type, whichever it is, beside text where none is wanted and numbers elsewhere.
WRONG = (True, 2.5, -0.5, "no such name", ["no such name"], [True], [None], {"no": "name"}, (1, 2))


# Those leave a wrong type to :func:`crystalcodec.representations.storage.representation_from`.
LENIENT = {
    "ircr", "crystens", "unimat", "ftcp", "xtal2png", "crystal_image", "density_slices",
    "density_slice_blocks", "density_cube", "density_cell", "structure_factors",
}  # fmt: skip


@pytest.mark.parametrize("name", [name for name in REPRESENTATIONS if name not in LENIENT])
def test_a_value_of_any_type_is_taken_whole_or_refused(name):
    """What is taken survives JSON and has a hash; nothing but our own error is raised."""
    kind = load(REPRESENTATIONS, name)
    refused = 0
    for field in dataclasses.fields(kind):
        for value in WRONG:
            try:
                made = kind(**{field.name: value})
            except RepresentationError:
                refused += 1
                continue
            hash(made)
            config = json.loads(json.dumps(made.config()))
            assert config.pop("name") == name
            assert kind(**config) == made
            if isinstance(value, bool):
                assert isinstance(field.default, bool), field.name
    assert refused or not dataclasses.fields(kind)
