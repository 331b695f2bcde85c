"""How large atoms are in crystals: tabulated radii, and volumes fitted to crystals."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.elements import MAX_ATOMIC_NUMBER

__all__ = ["ElementVolumes", "covalent_radii"]

Floats = npt.NDArray[np.float64]

# The table ends with curium; heavier elements, of which no crystal is known, get its radius.
_LAST_RADIUS: Final = 96
# Å³; below it no element goes, so that cells have room for every atom.
_LEAST_VOLUME: Final = 3.0
# A radius counts in the fit as much as this many crystals of half that element would.
_WEIGHT_OF_RADIUS: Final = 0.25
# With fewer crystals their scatter says little.
_ENOUGH: Final = 10
_USUAL_SPREAD: Final = 0.1


@cache
def covalent_radii() -> Floats:
    """(119,) covalent radii, Å, by atomic number; 0 for "no element".

    Those of Cordero et al., 10.1039/b801115j, as ASE carries them: for C that of sp3, for Mn, Fe
    and Co those of low spin. Elements beyond Cm get its 1.69 Å.

    >>> float(covalent_radii()[8])
    0.66
    """
    from ase.data import covalent_radii as table

    radii = np.array(table[: MAX_ATOMIC_NUMBER + 1], float)
    radii[0] = 0.0
    radii[_LAST_RADIUS + 1 :] = radii[_LAST_RADIUS]
    radii.flags.writeable = False
    return radii


@dataclass(frozen=True, eq=False)
class ElementVolumes:
    """A volume for each element, so that their sums are the volumes of crystals, nearly.

    Parameters
    ----------
    values : (119,)
        Å³ an atom, by atomic number; 0 for "no element".
    spread
        Standard deviation of the logarithm of volume over sum, in the crystals of the fit.
    """

    values: Floats
    spread: float

    @classmethod
    def fit(cls, crystals: Crystals) -> ElementVolumes:
        """Least squares of the volume per atom of n crystals.

        An element that they lack gets a volume from its covalent radius, and rare ones are drawn
        towards that; no volume is below 3 Å³. The spread is taken from the middle 68 % of the
        crystals, and is 0.1 where there are fewer than 10.

        >>> iron = Crystals.single(2.87 * np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]], [26, 26])
        >>> volumes = ElementVolumes.fit(iron)
        >>> float(volumes.of(iron)[0].round(2))
        23.64
        """
        from scipy.optimize import lsq_linear

        counts = crystals.element_counts.astype(float)
        cubes = covalent_radii() ** 3
        ratios = crystals.volumes / (counts @ cubes)
        prior = (np.median(ratios) if len(ratios) else 8.0) * cubes
        shares = counts / crystals.n_sites[:, None]
        # Normal equations: 119 unknowns, whatever the number of crystals.
        gram = shares.T @ shares + _WEIGHT_OF_RADIUS * np.eye(len(prior))
        root = np.linalg.cholesky(gram).T
        right = shares.T @ (crystals.volumes / crystals.n_sites) + _WEIGHT_OF_RADIUS * prior
        target = np.linalg.solve(root.T, right)
        values = np.array(lsq_linear(root, target, bounds=(_LEAST_VOLUME, np.inf)).x)
        values[0] = 0.0
        values.flags.writeable = False
        spread = _USUAL_SPREAD
        if len(crystals) >= _ENOUGH:
            low, high = np.quantile(np.log(crystals.volumes / (counts @ values)), [0.16, 0.84])
            spread = float(high - low) / 2
        return cls(values, spread)

    def of(self, crystals: Crystals) -> Floats:
        """(n,) sums over the sites of each crystal, Å³."""
        return np.asarray(crystals.element_counts @ self.values, float)
