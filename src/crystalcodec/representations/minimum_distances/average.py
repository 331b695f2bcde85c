"""AMD: the mean distance to the k-th nearest neighbour, for k up to a limit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.representations.base import Field, Invariance, Representation, RepresentationError
from crystalcodec.representations.minimum_distances.search import nearest_distances, parts_of
from crystalcodec.representations.parameters import misfit

__all__ = ["AMD", "point_packing_coefficients"]


@dataclass(frozen=True)
class AMD(Representation):
    """Average minimum distances: (n, k) mean over the sites of the distance to the k-th neighbour.

    The array ``amd`` holds in column k - 1 the distance, Å, from a site to its k-th nearest
    neighbour in the infinite crystal, elements not looked at, averaged over the sites of the
    cell. It does not depend on the cell, its origin or its frame, and changes by at most 2ε where
    no atom moves by more than ε. For large k it follows the density alone, as the point packing
    coefficient times the cube root of k.

    Parameters
    ----------
    k
        Number of neighbours.

    Raises
    ------
    RepresentationError
        A number of neighbours below 1.

    References
    ----------
    Widdowson, Mosca, Pulido, Cooper, Kurlin, 10.46793/match.87-3.529W. Written from the
    definition there.

    Examples
    --------
    >>> polonium = Crystals.single(np.eye(3) * 3.0, [[0, 0, 0]], [84])
    >>> AMD(k=7).encode(polonium)["amd"].round(3)
    array([[3.   , 3.   , 3.   , 3.   , 3.   , 3.   , 4.243]], dtype=float32)
    """

    name: ClassVar[str] = "amd"
    lost: ClassVar[str] = (
        "elements, which site has which distances, directions, mirror image, all beyond the k-th "
        "neighbour"
    )
    invariances: ClassVar[frozenset[Invariance]] = frozenset(
        {"permutation", "translation", "rotation", "supercell", "unit_cell"}
    )
    continuity: ClassVar = "continuous"

    k: int = 100

    def __post_init__(self) -> None:
        fault = wrong_k(type(self), {"k": self.k})
        if fault:
            raise RepresentationError(fault)

    @property
    def fields(self) -> tuple[Field, ...]:
        """Mean distances."""
        return (Field("distances", "continuous", self.name, (self.k,), unit="Å"),)

    def feature_names(self) -> tuple[str, ...]:
        """``amd_1`` to ``amd_k``."""
        return tuple(f"amd_{i}" for i in range(1, self.k + 1))

    def _encode(self, crystals: Crystals) -> dict[str, npt.NDArray[Any]]:
        parts = [np.zeros((0, self.k), np.float32)]
        for part in parts_of(crystals, self.k):
            sums = np.add.reduceat(nearest_distances(part, self.k), part.offsets[:-1], axis=0)
            parts.append((sums / part.n_sites[:, None]).astype(np.float32))
        return {self.name: np.concatenate(parts)}


def point_packing_coefficients(crystals: Crystals) -> npt.NDArray[np.float64]:
    """(n,) in Å, the limit of AMD_k over the cube root of k: the radius of a ball for one site.

    It is the cube root of the volume of a site over that of the unit ball.

    Examples
    --------
    >>> polonium = Crystals.single(np.eye(3) * 3.0, [[0, 0, 0]], [84])
    >>> point_packing_coefficients(polonium).round(3).tolist()
    [1.861]
    """
    return np.asarray(np.cbrt(3 * crystals.volumes / (4 * np.pi * crystals.n_sites)), float)


def wrong_k(kind: type, parameters: dict[str, Any]) -> str:
    """What is wrong with the types of parameters or with the number of neighbours; empty if not."""
    fault = misfit(kind, parameters)
    if not fault and parameters["k"] < 1:
        fault = f"k is {parameters['k']}, wanted at least 1 neighbour"
    return fault
