"""Other descriptions of the same crystals, drawn at random, to train and to average over.

Each function takes a batch and a numpy generator and gives a batch of the same length. Because
it changes the description and not the arrays, augmentation works for every representation:
augment, then encode. All but :func:`invert` leave each crystal itself as it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np

from crystalcodec.crystals import Crystals
from crystalcodec.elements import MAX_ATOMIC_NUMBER
from crystalcodec.geometry import wrap
from crystalcodec.registry import AUGMENTATIONS, load

__all__ = [
    "augment",
    "invert",
    "permute_axes",
    "permute_elements",
    "permute_sites",
    "permute_sites_of_elements",
    "rotate",
    "shift_origin",
    "shift_origin_to_site",
]

_AXIS_ORDERS: Final = np.array([[0, 1, 2], [1, 2, 0], [2, 0, 1], [0, 2, 1], [2, 1, 0], [1, 0, 2]])


def augment(crystals: Crystals, names: Iterable[str], rng: np.random.Generator) -> Crystals:
    """Apply the augmentations of these names, in this order.

    Raises
    ------
    UnknownNameError
        For a name that is not among :data:`crystalcodec.registry.AUGMENTATIONS`.
    """
    for name in names:
        crystals = load(AUGMENTATIONS, name)(crystals, rng)
    return crystals


def permute_sites(crystals: Crystals, rng: np.random.Generator) -> Crystals:
    """Sites in a random order."""
    order = np.lexsort([rng.random(len(crystals.numbers)), crystals.crystal_indices])
    return Crystals(
        crystals.lattices, crystals.frac_coords[order], crystals.numbers[order], crystals.offsets
    )


def permute_sites_of_elements(crystals: Crystals, rng: np.random.Generator) -> Crystals:
    """Sites of the same element exchanged at random; the list of elements stays as it is."""
    by_element = crystals.crystal_indices * (MAX_ATOMIC_NUMBER + 1) + crystals.numbers
    places = np.argsort(by_element, kind="stable")
    order = np.empty_like(places)
    order[places] = np.lexsort([rng.random(len(places)), by_element])
    return Crystals(
        crystals.lattices, crystals.frac_coords[order], crystals.numbers, crystals.offsets
    )


def permute_elements(crystals: Crystals, rng: np.random.Generator) -> Crystals:
    """Elements in a random order, the sites of each together and in the order they had."""
    keys = rng.random((len(crystals), MAX_ATOMIC_NUMBER + 1))
    owner = crystals.crystal_indices
    order = np.lexsort([keys[owner, crystals.numbers], owner])
    return Crystals(
        crystals.lattices, crystals.frac_coords[order], crystals.numbers[order], crystals.offsets
    )


def shift_origin_to_site(crystals: Crystals, rng: np.random.Generator) -> Crystals:
    """Origin at a site drawn at random, so that special positions stay simple fractions."""
    chosen = crystals.offsets[:-1] + rng.integers(crystals.n_sites)
    shifts = crystals.frac_coords[chosen][crystals.crystal_indices]
    coords = crystals.frac_coords - shifts
    # 1/3 - 2/3 + 2/3 - 1/3 is not zero: what rounding puts just below 1 belongs at 0.
    coords[np.abs(coords - np.rint(coords)) < 1e-9] = 0.0
    return Crystals(crystals.lattices, coords, crystals.numbers, crystals.offsets)


def shift_origin(crystals: Crystals, rng: np.random.Generator) -> Crystals:
    """Origin at a random point of the cell."""
    shifts = rng.random((len(crystals), 3))[crystals.crystal_indices]
    return Crystals(
        crystals.lattices, crystals.frac_coords + shifts, crystals.numbers, crystals.offsets
    )


def permute_axes(crystals: Crystals, rng: np.random.Generator) -> Crystals:
    """Axes a, b, c in a random order; handedness is kept, by turning all three axes round.

    No atom moves. An odd order of the axes alone would make a right-handed cell left-handed.
    """
    drawn = rng.integers(len(_AXIS_ORDERS), size=len(crystals))
    orders = _AXIS_ORDERS[drawn]
    sign = np.where(drawn < 3, 1.0, -1.0)
    lattices = np.take_along_axis(crystals.lattices, orders[:, :, None], axis=1)
    owner = crystals.crystal_indices
    coords = np.take_along_axis(crystals.frac_coords, orders[owner], axis=1)
    return Crystals(
        lattices * sign[:, None, None],
        wrap(coords * sign[owner, None]),
        crystals.numbers,
        crystals.offsets,
    )


def rotate(crystals: Crystals, rng: np.random.Generator) -> Crystals:
    """Crystals turned in space, every rotation equally likely."""
    # Normal quaternions have no preferred direction: Shoemake, 10.1016/B978-0-08-050755-2.50036-1.
    w, x, y, z = (q := rng.standard_normal((len(crystals), 4))).T / np.linalg.norm(q, axis=1)
    rotations = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    ).transpose(2, 0, 1)
    lattices = crystals.lattices @ rotations
    return Crystals(lattices, crystals.frac_coords, crystals.numbers, crystals.offsets)


def invert(crystals: Crystals, rng: np.random.Generator) -> Crystals:
    """A random half of the crystals turned into their mirror images.

    A chiral crystal becomes its other hand: another crystal, with the same energy, gap, density
    and moduli. Only for targets that do not tell hands apart.
    """
    sign = rng.choice([1.0, -1.0], size=len(crystals))[crystals.crystal_indices]
    return Crystals(
        crystals.lattices,
        wrap(crystals.frac_coords * sign[:, None]),
        crystals.numbers,
        crystals.offsets,
    )
