"""Our tables are pymatgen's."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from pymatgen.core import Element

from crystalcodec import elements


@pytest.mark.parametrize("number", range(1, 119))
def test_tables_are_pymatgens(number):
    element = Element.from_Z(number)
    assert elements.SYMBOLS[number] == element.symbol
    assert elements.ATOMIC_NUMBERS[element.symbol] == number
    assert elements.ATOMIC_MASSES[number] == pytest.approx(float(element.atomic_mass), rel=1e-12)
    assert elements.PERIODS[number] == element.row
    assert elements.GROUPS[number] == element.group
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        np.testing.assert_equal(elements.ELECTRONEGATIVITIES[number], float(element.X))


def test_tables_have_a_row_for_no_element_and_cannot_be_changed():
    for table in (elements.ATOMIC_MASSES, elements.PERIODS, elements.GROUPS):
        assert len(table) == elements.MAX_ATOMIC_NUMBER + 1
        assert table[0] == 0
        with pytest.raises(ValueError, match="read-only"):
            table[1] = 0
