"""The geometry of cells: lattices, cell parameters, coordinates, whole batches at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "cell_parameters_from_lattices",
    "lattice_points",
    "lattices_from_cell_parameters",
    "transform",
    "triple_products",
    "wrap",
]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def wrap(frac_coords: Floats) -> Floats:
    """Fractional coordinates moved into [0, 1); those already there stay bit for bit."""
    wrapped = frac_coords - np.floor(frac_coords)
    wrapped[wrapped >= 1.0] = 0.0  # -1e-17 rounds up to 1
    return wrapped


def transform(rows: Floats, matrices: npt.NDArray[Any]) -> Floats:
    """Each row times its matrix: (s, 3), (s, 3, 3) -> (s, 3)."""
    return np.asarray(np.einsum("si,sij->sj", rows, matrices), float)


def triple_products(lattices: Floats) -> Floats:
    """(n,) a · (b × c) of lattices (n, 3, 3): the volume, negative for a left-handed cell."""
    normals = _cross(lattices[:, 1], lattices[:, 2])
    return np.asarray((lattices[:, 0] * normals).sum(axis=1), float)


def cell_parameters_from_lattices(lattices: Floats) -> Floats:
    """(n, 6) a, b, c in Å and alpha, beta, gamma in degrees, of lattices (n, 3, 3) in Å."""
    lengths = np.sqrt((lattices * lattices).sum(axis=2))
    following, last = lattices[:, [1, 2, 0]], lattices[:, [2, 0, 1]]
    normals = _cross(following, last)
    sines = np.sqrt((normals * normals).sum(axis=2))
    # The arc tangent keeps all digits near 0 and 180 degrees, where the arc cosine loses half.
    angles = np.degrees(np.arctan2(sines, (following * last).sum(axis=2)))
    return np.concatenate([lengths, angles], axis=1)


def lattices_from_cell_parameters(cell_parameters: npt.ArrayLike) -> Floats:
    """Right-handed lattices (n, 3, 3), Å, of a, b, c (Å), alpha, beta, gamma (degrees), (n, 6).

    The orientation is pymatgen's: c along z, a in the x-z plane. A set of parameters that closes
    no cell gives a lattice of NaN.
    """
    parameters = np.asarray(cell_parameters, float).reshape(-1, 6)
    a, b, c = parameters[:, :3].T
    with np.errstate(invalid="ignore"):
        cosines = np.cos(np.radians(parameters[:, 3:]))
    # Right angles are exact: cos(radians(90)) is 6e-17.
    cosines[parameters[:, 3:] == 90.0] = 0.0
    cos_alpha, cos_beta, cos_gamma = cosines.T
    sines = np.sqrt(1 - cosines**2)
    sin_alpha, sin_beta, _ = sines.T
    angles = parameters[:, 3:]
    # 450 degrees have the cosine of 90 and are no angle of a cell.
    closed = ((parameters[:, :3] > 0) & (angles > 0) & (angles < 180)).all(axis=1)
    closed &= (np.abs(cosines) < 1).all(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        # Angle between a* and b*, whose cosine leaves [-1, 1] where the angles close no cell.
        cos_star = (cos_alpha * cos_beta - cos_gamma) / (sin_alpha * sin_beta)
        sin_star = np.sqrt(1 - cos_star**2)
        zero = np.zeros_like(a)
        lattices = np.stack(
            [
                np.stack([a * sin_beta, zero, a * cos_beta], axis=1),
                np.stack(
                    [-b * sin_alpha * cos_star, b * sin_alpha * sin_star, b * cos_alpha], axis=1
                ),
                np.stack([zero, zero, c], axis=1),
            ],
            axis=1,
        )
    lattices[~closed] = np.nan
    return np.asarray(lattices + 0.0, float)


def lattice_points(matrix: Ints) -> Ints:
    """(|det|, 3) the lattice points of a cell inside its supercell, in rising order.

    ``matrix`` (3, 3) holds the vectors of the supercell in units of the cell's, in rows; its
    determinant is not 0.
    """
    determinant = round(np.linalg.det(matrix))
    # In whole numbers, so that a point on a face is inside on one side and outside on the other.
    adjugate = np.rint(np.linalg.inv(matrix) * determinant).astype(np.int64)
    low = np.minimum(matrix, 0).sum(axis=0)
    high = np.maximum(matrix, 0).sum(axis=0)
    ranges = [np.arange(start, stop + 1) for start, stop in zip(low, high, strict=True)]
    points = np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1).reshape(-1, 3)
    scaled = points @ adjugate * np.sign(determinant)
    inside = ((scaled >= 0) & (scaled < abs(determinant))).all(axis=1)
    return np.asarray(points[inside], np.int64)


def _cross(first: Floats, second: Floats) -> Floats:
    """Cross products over the last axis; three times as fast as numpy's on short rows."""
    (a, b, c), (d, e, f) = np.moveaxis(first, -1, 0), np.moveaxis(second, -1, 0)
    return np.stack([b * f - c * e, c * d - a * f, a * e - b * d], axis=-1)
