"""How well the neighbours of a site form a named polyhedron: local structure order parameters.

Each neighbour j in turn is put at the north pole and each other k on the prime meridian. The
remaining ones m then have a polar angle θ_m and an azimuth φ_m, which Gaussians of θ and powers
of cosines of φ hold against those of the polyhedron; the best choice of j and k counts, or the
mean. θ depends on pairs alone, and the cosines of multiples of φ are polynomials of cos φ, so that
all sites with the same number of neighbours take a few array operations.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt

__all__ = ["ORDER_PARAMETERS", "Angles", "angles_of", "order_parameters"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

# A neighbour on the axis of another has no azimuth.
_ON_AXIS: Final = 1e-12
# Radians. Angles this near to a limit are at it: rounding decides nothing.
_TIE: Final = 1e-13
_TETRAHEDRAL: Final = 0.6081734479693927
_SOUTH: Final = 0.75 * np.pi
# cos φ at the azimuth up to which the see-saw looks.
_SEE_SAW: Final = float(np.cos(0.75 * np.pi))


@dataclass(frozen=True)
class Angles:
    """Angles between the n neighbours of some sites.

    Parameters
    ----------
    cosines, thetas : (b, n, n)
        Of the angle at the site between neighbours j and k, radians.
    azimuths : (b, n, n, n)
        cos φ of m, with j at the pole and k on the prime meridian.
    counts : (b, n, n, n)
        1 where j, k and m differ and m has an azimuth, else 0.
    meridian : (b, n, n)
        Whether k is another neighbour than j, and not on its axis.
    other : (n, n)
        Whether j and k differ.
    earlier : (b, n, n)
        1 where j stands before k, 1/2 where they are of the same rank, 0 where after.
    """

    cosines: Floats
    thetas: Floats
    azimuths: Floats
    counts: Floats
    meridian: Bools
    other: Bools
    earlier: Floats


def angles_of(vectors: Floats, ranks: Ints) -> Angles:
    """The angles between neighbours.

    Parameters
    ----------
    vectors : (b, n, 3)
        From each site to its neighbours, of any length but zero.
    ranks : (b, n)
        Rising; neighbours of the same rank are in no order.
    """
    n = vectors.shape[1]
    units = vectors / np.sqrt((vectors**2).sum(axis=2))[..., None]
    cosines = np.clip((units[:, :, None] * units[:, None]).sum(axis=3), -1.0, 1.0)
    other = ~np.eye(n, dtype=bool)
    # The part of k across the axis of j.
    across = units[:, None] - cosines[..., None] * units[:, :, None]
    lengths = np.sqrt((across**2).sum(axis=3))
    meridian = (lengths >= _ON_AXIS) & other
    across /= np.where(meridian, lengths, 1.0)[..., None]
    azimuths = np.clip(across @ across.transpose(0, 1, 3, 2), -1.0, 1.0)
    counts = (meridian[:, :, :, None] & meridian[:, :, None, :] & other).astype(float)
    before, after = ranks[:, :, None], ranks[:, None]
    earlier = np.where(before == after, 0.5, (before < after).astype(float))
    return Angles(cosines, np.arccos(cosines), azimuths, counts, meridian, other, earlier)


def order_parameters(vectors: Floats, ranks: Ints) -> Floats:
    """(b, p) all order parameters that there are for this number of neighbours.

    Parameters
    ----------
    vectors : (b, n, 3)
        From each site to its neighbours.
    ranks : (b, n)
        As for :func:`angles_of`.

    Examples
    --------
    >>> octahedron = np.concatenate([np.eye(3), -np.eye(3)])[None]
    >>> [*ORDER_PARAMETERS[6]], order_parameters(octahedron, np.zeros((1, 6), int)).round(3)
    (['hexagonal planar', 'octahedral', 'pentagonal pyramidal'], array([[0.2, 1. , 0.5]]))
    """
    functions = ORDER_PARAMETERS.get(vectors.shape[1], {})
    if not functions:
        return np.zeros((len(vectors), 0))
    angles = angles_of(vectors, ranks)
    return np.stack([function(angles) for function in functions.values()], axis=1)


def _gauss(angles: Floats, center: float, inverse_width: float) -> Floats:
    """Gaussian of angles, radians, about a centre, both in units of π."""
    return np.asarray(np.exp(-0.5 * (inverse_width * (angles / np.pi - center)) ** 2), float)


# cos²(f φ) by f, as a polynomial of cos φ.
_SQUARED_COSINES: Final[dict[float, Callable[[Floats], Floats]]] = {
    1.0: lambda c: c * c,
    1.5: lambda c: (1 + c * (4 * c * c - 3)) / 2,
    2.0: lambda c: (2 * c * c - 1) ** 2,
    2.5: lambda c: (1 + c * (5 + c * c * (16 * c * c - 20))) / 2,
    3.0: lambda c: (c * (4 * c * c - 3)) ** 2,
}


def _over_others(terms: Floats, values: Floats) -> Floats:
    """(b, n, n) sum over m of terms[j, k, m] values[j, m]."""
    return np.asarray((terms @ values[..., None])[..., 0], float)


def _best(sums: Floats, norms: Floats) -> Floats:
    """(b,) the largest over j and k of the sums over their norms; 0 where there is no norm."""
    values = sums / np.where(norms > 0, norms, 1.0)
    values = np.where(norms > 0, values, 0.0)
    n = values.shape[1]
    return np.asarray(values[:, ~np.eye(n, dtype=bool)].max(axis=1), float)


def _single_bond(a: Angles) -> Floats:
    return np.ones(len(a.thetas))


def _bent(a: Angles, center: float, inverse_width: float) -> Floats:
    return np.asarray(_gauss(a.thetas[:, 0, 1], center, inverse_width), float)


def _pyramid(a: Angles, fold: float, inverse_width: float, center: float = 0.5) -> Floats:
    """All others at one polar angle, turned by equal azimuths."""
    gauss = _gauss(a.thetas, center, inverse_width)
    sums = gauss + _over_others(a.counts * _SQUARED_COSINES[fold](a.azimuths), gauss)
    return _best(sums, 1 + a.counts.sum(axis=3))


def _bipyramid(
    a: Angles, fold: float, belt: float, pole: float, south: float = _SOUTH, center: float = 0.0
) -> Floats:
    """One at the south pole, the others around the equator, or as far from it as the centre."""
    at_pole = (a.thetas >= south - _TIE) & a.other
    gauss = np.where(at_pole, 0.0, _belt_of(a.thetas, belt, center))
    poles = np.where(at_pole, _gauss(a.thetas, 1.0, pole), 0.0)
    return _pole_and_belt(a, at_pole, gauss, poles, a.counts * _SQUARED_COSINES[fold](a.azimuths))


def _belt_of(thetas: Floats, inverse_width: float, center: float) -> Floats:
    return _gauss(np.abs(thetas - np.pi / 2), center, inverse_width)


def _pole_and_belt(
    a: Angles,
    at_pole: Bools,
    gauss: Floats,
    poles: Floats,
    terms: Floats,
    counts: Floats | None = None,
) -> Floats:
    around = ~at_pole & a.other
    sums, norms = gauss * around, around.astype(float)
    # South poles other than k.
    sums = sums + a.meridian * (poles.sum(axis=2, keepdims=True) - poles)
    norms += a.meridian * (at_pole.sum(axis=2, keepdims=True) - at_pole)
    counts = a.counts if counts is None else counts
    sums += around * _over_others(terms, gauss * around)
    norms += around * _over_others(counts, around.astype(float))
    return _best(sums, norms)


def _see_saw(a: Angles) -> Floats:
    """A rectangular see-saw: as a bipyramid, neighbours of azimuths below 135° alone."""
    at_pole = (a.thetas >= _SOUTH - _TIE) & a.other
    gauss = np.where(at_pole, 0.0, _belt_of(a.thetas, 27.0, 0.0))
    poles = np.where(at_pole, _gauss(a.thetas, 1.0, 11.5), 0.0)
    counts = a.counts * (a.azimuths > _SEE_SAW + _TIE)
    return _pole_and_belt(
        a, at_pole, gauss, poles, counts * _SQUARED_COSINES[2.0](a.azimuths), counts
    )


def _pentagon(a: Angles) -> Floats:
    center = np.where(a.thetas <= 0.6 * np.pi + _TIE, 0.4, 0.8)
    gauss = np.exp(-0.5 * (19.333 * (a.thetas / np.pi - center)) ** 2)
    sums = gauss + _over_others(a.counts * a.azimuths**2, gauss)
    return _best(sums, 1 + a.counts.sum(axis=3))


def _body_centred(a: Angles) -> Floats:
    """The order parameter of Peters for the corners of a cube.

    Of j and k only one order is looked at, the heavier bond at the pole; where neither is, the
    mean of both.
    """
    n = a.thetas.shape[1]
    at_pole = a.thetas >= 2.5261129449194057 - _TIE
    poles = 6 * np.where(at_pole, _gauss(a.thetas, 1.0, 15.0), 0.0)
    tilt = (a.thetas - np.pi / 2) / np.arcsin(1 / 3)
    tilt = tilt * np.exp(-0.5 * tilt**2) * np.exp(0.5)
    cosines = a.azimuths * (4 * a.azimuths**2 - 3)
    sides = np.where(a.thetas > np.pi / 2 + _TIE, 1.0, -1.0)
    belts = np.where(at_pole, 0.0, sides * _over_others(a.counts * cosines, tilt))
    sums = (np.where(a.other, a.earlier, 0.0) * (poles + belts)).sum(axis=(1, 2))
    return np.asarray(sums / (0.5 * n * (6 + (n - 2) * (n - 3))), float)


def _cuboctahedron(a: Angles) -> Floats:
    low, high = 1.3089969389957472, 1.8325957145940461
    at_pole = (a.thetas >= 2.792526803190927 - _TIE) & a.other
    poles = 1.8 * np.where(at_pole, _gauss(a.thetas, 1.0, 28.75), 0.0)
    equator = (a.thetas > low + _TIE) & (a.thetas < high - _TIE) & a.other
    north = (a.thetas < low - _TIE) & a.other
    south = (a.thetas > high + _TIE) & a.other & ~at_pole
    belt = np.where(equator, _gauss(a.thetas, 0.5, 25.5), 0.0)
    caps = np.where(north, _gauss(a.thetas, 1 / 3, 31.25), 0.0)
    caps = np.where(south, _gauss(a.thetas, 2 / 3, 31.25), caps)
    sines = np.sqrt(np.maximum(1 - a.azimuths**2, 0.0))
    turned = np.exp(-0.5 * (0.0556 * (sines - 0.81649658)) ** 2)
    sums = _over_others(a.counts * a.azimuths**2, belt) + _over_others(a.counts * turned, caps)
    norms = _over_others(a.counts, (equator | north | south).astype(float))
    return _best(poles + equator * sums, 1.8 * at_pole + equator * norms)


def _bond_orientation(a: Angles, order: int) -> Floats:
    """Steinhardt's q of order l: by the addition theorem, from the angles between bonds alone."""
    c = a.cosines**2
    if order == 2:
        legendre = (3 * c - 1) / 2
    elif order == 4:
        legendre = (c * (35 * c - 30) + 3) / 8
    else:
        legendre = (c * (c * (231 * c - 315) + 105) - 5) / 16
    return np.asarray(
        np.sqrt(np.maximum(legendre.sum(axis=(1, 2)), 0.0)) / a.cosines.shape[1], float
    )


_STEINHARDT: Final[dict[str, Callable[[Angles], Floats]]] = {
    f"q{order}": partial(_bond_orientation, order=order) for order in (2, 4, 6)
}

ORDER_PARAMETERS: Final[dict[int, dict[str, Callable[[Angles], Floats]]]] = {
    1: {"sgl_bd": _single_bond},
    2: {
        "L-shaped": partial(_bent, center=0.5, inverse_width=15.15),
        "water-like": partial(_bent, center=0.5802777777777778, inverse_width=13.95),
        "bent 120 degrees": partial(_bent, center=0.666666666667, inverse_width=13.25),
        "bent 150 degrees": partial(_bent, center=0.833333333333333, inverse_width=12.45),
        "linear": partial(_bent, center=1.0, inverse_width=8.667),
    },
    3: {
        "trigonal planar": partial(_pyramid, fold=1.0, inverse_width=17.5, center=0.66666666667),
        "trigonal non-coplanar": partial(
            _pyramid, fold=1.5, inverse_width=18.33, center=_TETRAHEDRAL
        ),
        "T-shaped": partial(_pyramid, fold=1.0, inverse_width=15.5),
    },
    4: {
        "square co-planar": partial(_bipyramid, fold=1.0, belt=17.7, pole=13.5),
        "tetrahedral": partial(_pyramid, fold=1.5, inverse_width=18.5, center=_TETRAHEDRAL),
        "rectangular see-saw-like": _see_saw,
        "see-saw-like": partial(_bipyramid, fold=1.5, belt=15.75, pole=12.75),
        "trigonal pyramidal": partial(_pyramid, fold=1.5, inverse_width=15.5),
    },
    5: {
        "pentagonal planar": _pentagon,
        "square pyramidal": partial(_pyramid, fold=2.0, inverse_width=14.9),
        "trigonal bipyramidal": partial(_bipyramid, fold=1.5, belt=16.6, pole=12.0),
    },
    6: {
        "hexagonal planar": partial(
            _bipyramid, fold=1.0, belt=25.0, pole=7.5, south=2.6179938779914944, center=0.16666667
        ),
        "octahedral": partial(_bipyramid, fold=2.0, belt=18.0, pole=15.0),
        "pentagonal pyramidal": partial(_pyramid, fold=2.5, inverse_width=13.8),
    },
    7: {
        "hexagonal pyramidal": partial(_pyramid, fold=3.0, inverse_width=12.5),
        "pentagonal bipyramidal": partial(_bipyramid, fold=2.5, belt=14.75, pole=12.5),
    },
    8: {
        "body-centered cubic": _body_centred,
        "hexagonal bipyramidal": partial(_bipyramid, fold=3.0, belt=13.6, pole=14.1),
    },
    9: _STEINHARDT,
    10: _STEINHARDT,
    11: _STEINHARDT,
    12: {"cuboctahedral": _cuboctahedron, **_STEINHARDT},
}
"""By number of neighbours, the order parameters by name, in the order of the fingerprint."""
