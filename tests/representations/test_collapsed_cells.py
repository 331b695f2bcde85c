"""Cells that no crystal has, such as an untrained generator makes: told or held, but soon."""

from __future__ import annotations

import signal

import numpy as np
import pytest

from crystalcodec.crystals import Crystals
from crystalcodec.registry import REPRESENTATIONS, load
from crystalcodec.representations.neighbors import without_shells
from crystalcodec.testing import sample_crystals

# A network of a potential takes what it is given.
NAMES = sorted(name for name in REPRESENTATIONS if "potential" not in name)
SECONDS = 60
ELEMENT = int(sample_crystals().numbers[0])


def collapsed(edge, n_sites):
    """Sites at random places in a cube of that edge, Å."""
    coords = np.random.default_rng(0).random((n_sites, 3))
    return Crystals.single(np.eye(3) * edge, coords, [ELEMENT] * n_sites)


@pytest.fixture(autouse=True)
def limited():
    """An error after some time, in place of no end."""

    def end(*of):
        raise TimeoutError(f"not done after {SECONDS} seconds")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def fitted(name, **parameters):
    representation = load(REPRESENTATIONS, name)(**parameters)
    return representation.fit(sample_crystals()) if representation.needs_fit else representation


@pytest.mark.parametrize("name", NAMES)
def test_a_collapsed_cell_is_held_or_told_and_the_others_are_encoded(name):
    crystals = sample_crystals()
    representation = fitted(name)
    wanted = representation.encode(crystals).index.tolist()
    cells = [collapsed(edge, n) for edge in (0.3, 0.003, 1e-4) for n in (1, 20)]
    encoded = representation.encode(Crystals.concatenate([crystals, *cells]))
    assert [i for i in encoded.index.tolist() if i < len(crystals)] == wanted
    told = {failure.index for failure in encoded.failures}
    assert told | {*encoded.index.tolist()} == {*range(len(crystals) + len(cells))}


@pytest.mark.parametrize(
    ("name", "parameters", "reason"),
    [
        ("ace", {}, "too many neighbours"),
        ("acsf", {"g4_params": ((1.0, 1.0, 1.0),)}, "too many neighbours"),
        ("crystal_graph", {"neighbors": "radius"}, "too many neighbours"),
        ("crystal_graph", {"neighbors": "nearest"}, "cell too small"),
        ("density_cube", {"mode": "lattice"}, "too many neighbours"),
        ("mbtr", {}, "too many neighbours"),
        ("radial_distribution", {}, "too many neighbours"),
        ("shell_graph", {}, "cell too small"),
        ("soap", {}, "too many neighbours"),
        ("unit_graph", {}, "too many neighbours"),
    ],
)
def test_what_looks_at_neighbours_says_that_there_are_too_many(name, parameters, reason):
    encoded = fitted(name, **parameters).encode(collapsed(0.003, 20))
    assert [failure.reason for failure in encoded.failures] == [reason]
    assert "20 sites in 2.7e-08 Å³" in encoded.failures[0].detail


def test_no_crystal_that_exists_is_refused():
    diamond = Crystals.single(np.ones((3, 3)) - np.eye(3), [[0, 0, 0], [0.25] * 3], [6, 6])
    squeezed = Crystals.single(
        1.2 * diamond.lattices[0], diamond.frac_coords, diamond.numbers
    ).supercell([10, 10, 10])
    assert squeezed.n_sites[0] == 2000
    assert not without_shells(squeezed, 1e-3)[0].any()
    assert not fitted("ace", cutoff=4.0).encode(squeezed).failures
