"""Tables of relaxed crystals: joined in order, and never of two potentials."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from crystalcodec import Failure, prototypes
from crystalcodec.registry import UnknownNameError
from crystalcodec.relaxation.base import PotentialError, Relaxed, load_potential


def table(n, positions, failures, potential="chgnet-0.3.0"):
    m = len(positions)
    return Relaxed(
        potential=potential,
        n=n,
        positions=np.array(positions),
        crystals=prototypes().crystals[:m],
        energies=np.arange(m, dtype=float),
        initial_energies=np.zeros(m),
        max_forces=np.zeros(m),
        max_stresses=np.zeros(m),
        n_steps=np.zeros(m, int),
        converged=np.ones(m, bool),
        volume_changes=np.zeros(m),
        rmsds=np.zeros(m),
        failures=tuple(Failure(i, "isolated atoms") for i in failures),
        settings={},
    )


def test_parts_are_joined_in_order():
    joined = Relaxed.concatenate([table(3, [0, 2], [1]), table(2, [1], [0])])
    assert joined.n == 5
    assert joined.positions.tolist() == [0, 2, 4]
    assert [failure.index for failure in joined.failures] == [1, 3]
    assert joined.energies.tolist() == [0, 1, 0]
    assert len(joined.crystals) == 3


def test_energies_of_two_potentials_are_not_mixed():
    with pytest.raises(PotentialError, match=r"chgnet-0.3.0 and sevennet-0.*own zero"):
        Relaxed.concatenate([table(1, [0], []), table(1, [0], [], "sevennet-0")])
    with pytest.raises(PotentialError, match="no parts"):
        Relaxed.concatenate([])


def test_each_crystal_is_a_row_or_a_failure():
    with pytest.raises(PotentialError, match="3 crystals, 2 rows and 0 failures"):
        table(3, [0, 2], [])
    with pytest.raises(PotentialError, match="each crystal once"):
        table(3, [0, 2], [2])
    with pytest.raises(PotentialError, match="energies has 3 rows, wanted 2"):
        dataclasses.replace(table(2, [0, 1], []), energies=np.zeros(3))


def test_a_potential_that_there_is_not():
    with pytest.raises(UnknownNameError):
        load_potential("chgnet-9")
