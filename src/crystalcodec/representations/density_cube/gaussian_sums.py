"""Sums of Gaussians of one known width on a grid: made sharper, and fitted jointly."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

__all__ = ["GaussianSum", "Sharpening", "sharpening", "write_sums"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_ITERATIONS: Final = 20
_CONVERGED: Final = 1e-8  # of sigma
_LARGEST_STEP: Final = 0.3  # of sigma
_DAMPING: Final = 1e-10
_NEAR: Final = 4.0  # of sigma
_ANEW: Final = 0.02  # of sigma: after smaller steps the normal matrix is as good as before


def write_sums(
    positions: Floats,
    heights: Floats,
    offsets: Ints,
    fields: npt.NDArray[np.float32],
    spacing: float,
    sigma: float,
) -> None:
    """Write sums of Gaussians into fields (n, N, N, N), float32.

    Parameters
    ----------
    positions : (t, 3), heights : (t,)
        Middle of each Gaussian, Å from the first point, and its largest value.
    offsets : (n + 1,)
        Gaussians of field ``i`` are ``offsets[i]:offsets[i + 1]``.
    """
    n, m = len(fields), fields.shape[1]
    grid = spacing * np.arange(m)
    away = np.empty((3, m, len(positions)), np.float32)
    places = np.ascontiguousarray(positions.T)[:, None]
    np.subtract(grid[:, None], places, out=away, casting="same_kind")
    away *= away
    away *= np.float32(-0.5 / sigma**2)
    # exp(-25) is nothing beside 1; less would make products too small for normal float32, which
    # are slow.
    tables = np.exp(np.maximum(away, np.float32(-25), out=away), out=away)
    tables[2] *= heights.astype(np.float32)
    ends = offsets.tolist()
    most = int(np.diff(offsets).max(initial=0))
    room = np.empty(m * m * most, np.float32)  # used again: fresh pages cost more than sums
    # A Gaussian is a product of three: the sum over atoms is one matrix product a field, which
    # BLAS writes where it belongs. Fields differ in atoms, hence the loop.
    for i in range(n):
        x, y, z = np.ascontiguousarray(tables[:, :, ends[i] : ends[i + 1]])
        planes = room[: m * m * x.shape[1]].reshape(m, m, -1)
        np.multiply(x[:, None], y, out=planes)
        np.matmul(planes.reshape(m * m, -1), z.T, out=fields[i].reshape(m * m, m))


@dataclass(frozen=True, eq=False)
class Sharpening:
    """Turns a sum of wide Gaussians on a cubic grid into one of narrow ones, stably.

    The field is written in the singular vectors of the wide Gaussian on the three axes, where
    taking a wide one out and putting a narrow one in is a product; components that noise would
    drown are damped (Tikhonov). Heights are kept: a Gaussian of height w gives one of about w.

    Parameters
    ----------
    project : (k, n_points)
        From the grid to the components of an axis.
    restore : (n_points, k)
        From these to the narrow field on the grid.
    gains : (k, k, k)
        By what each component is multiplied.
    """

    project: Floats
    restore: Floats
    gains: Floats

    def components(self, fields: npt.NDArray[Any]) -> Floats:
        """(n, k, k, k) of fields (n, N, N, N)."""
        return _along_axes(np.asarray(fields, float), self.project)

    def __call__(self, fields: npt.NDArray[Any]) -> Floats:
        """The narrow fields (n, N, N, N) of wide ones."""
        return _along_axes(self.components(fields) * self.gains, self.restore)


def _along_axes(fields: Floats, matrix: Floats) -> Floats:
    """The matrix (m, n) applied to the three axes of fields (b, n, n, n)."""
    n, (m, k) = len(fields), matrix.shape
    fields = (fields.reshape(-1, k) @ matrix.T).reshape(n, k, k, m)
    fields = matrix @ fields
    return (matrix @ fields.reshape(n, k, m * m)).reshape(n, m, m, m)


@lru_cache(maxsize=16)
def sharpening(
    n_points: int, spacing: float, sigma: float, margin: float, noise: float
) -> Sharpening:
    """The sharpening of a cube.

    Parameters
    ----------
    n_points, spacing
        Points along an edge, and the distance between two, Å.
    sigma
        Width of the Gaussians, Å.
    margin
        How far outside the cube there may be atoms, Å.
    noise
        Error of the field, relative to its largest number.
    """
    grid = spacing * np.arange(n_points)
    sources = np.arange(-margin, grid[-1] + margin + spacing / 4, spacing / 2)
    narrow = min(sigma, max(0.5 * sigma, 0.8 * spacing))
    squares = (grid[:, None] - sources) ** 2
    left, values, right = np.linalg.svd(np.exp(-squares / (2 * sigma**2)), full_matrices=False)
    kept = values > values[0] * noise / 10
    restore = np.exp(-squares / (2 * narrow**2)) @ right[kept].T / values[0]
    values = values[kept] / values[0]
    products = values[:, None, None] * values[:, None] * values
    return Sharpening(left[:, kept].T.copy(), restore, products / (products**2 + noise**2))


@dataclass(frozen=True, eq=False)
class GaussianSum:
    """Gaussians at sites and their images on a cubic grid, and the fit of the sites to a field.

    Parameters
    ----------
    grid : (n_points,)
        Points along each axis, Å.
    sigma
        Width, Å.
    owners : (t,)
        The site that each Gaussian belongs to, rising.
    shifts : (t, 3)
        How far from its site each Gaussian stands, Å.
    """

    grid: Floats
    sigma: float
    owners: Ints
    shifts: Floats

    def tables(self, sites: Floats) -> tuple[Floats, Floats]:
        """(3, t, n_points) each Gaussian along the axes, and its slope against the site."""
        away = self.grid - (sites[self.owners] + self.shifts).T[:, :, None]
        values = np.exp(-(away**2) / (2 * self.sigma**2))
        return values, away * values / self.sigma**2

    def field(self, values: Floats, heights: Floats) -> Floats:
        """(n_points, n_points, n_points) the sum, from the tables and the height of each site."""
        n = len(self.grid)
        x, y, z = values
        planes = (y[:, :, None] * z[:, None, :]).reshape(len(y), n * n)
        return np.asarray(((x * heights[self.owners, None]).T @ planes).reshape(n, n, n), float)

    def fit(
        self,
        field: Floats,
        sites: Floats,
        heights: Floats,
        *,
        free: bool,
        reach: float = np.inf,
    ) -> tuple[Floats, Floats, Floats]:
        """Sites (s, 3), heights (s,) and what is left of the field, by Gauss-Newton steps.

        All sites move together, so that overlapping neighbours are exact. Heights stay as they
        are unless they are ``free``. No coordinate moves by more than ``reach``, Å.
        """
        n, kinds = len(sites), 4 if free else 3
        step, normal, start = np.inf, None, sites
        near = self._near(sites)
        values, slopes = self.tables(sites)
        residual = field - self.field(values, heights)
        for _ in range(_ITERATIONS if reach == np.inf else _ITERATIONS // 2):
            if normal is None or step > _ANEW * self.sigma:
                inner = GaussianSum(self.grid, self.sigma, self.owners[near], self.shifts[near])
                normal = inner._normal(values[:, near], slopes[:, near], heights, kinds)
            slope = self._gradient(residual, values, slopes, heights)
            change = _solved(normal, slope[-kinds:].ravel()).reshape(kinds, n)
            limit = _LARGEST_STEP * self.sigma
            moved = sites + np.clip(change[-3:].T, -limit, limit)
            moved = start + np.clip(moved - start, -reach, reach)
            if free:
                heights = heights + change[0]
            step = float(np.abs(moved - sites).max(initial=0.0))
            sites = moved
            values, slopes = self.tables(sites)
            residual = field - self.field(values, heights)
            if not step > _CONVERGED * self.sigma:
                break
        return sites, heights, residual

    def _near(self, sites: Floats) -> Ints:
        """The Gaussians that steps are found with: those far outside the cube tell little."""
        away = sites[self.owners] + self.shifts
        beyond = np.maximum(np.maximum(-away, away - self.grid[-1]), 0.0)
        near = np.flatnonzero((beyond * beyond).sum(axis=1) <= (_NEAR * self.sigma) ** 2)
        whole = len(np.unique(self.owners[near])) == len(sites)
        return near if whole else np.arange(len(away))

    def _gradient(self, residual: Floats, values: Floats, slopes: Floats, heights: Floats) -> Any:
        """(4, s) sums of the residual times the change with height, x, y and z of each site."""
        n, flat = len(self.grid), residual.reshape(-1, len(self.grid)).T
        along_z = (values[2] @ flat).reshape(-1, n, n)
        sloped_z = (slopes[2] @ flat).reshape(-1, n, n)
        (x, y, _), (dx, dy, _) = values, slopes
        along_y = (along_z @ y[:, :, None])[..., 0]
        sums = np.stack(
            [
                (along_y * x).sum(axis=1),
                (along_y * dx).sum(axis=1),
                ((along_z @ dy[:, :, None])[..., 0] * x).sum(axis=1),
                ((sloped_z @ y[:, :, None])[..., 0] * x).sum(axis=1),
            ]
        )
        sums[1:] *= heights[self.owners]
        return np.add.reduceat(sums, self._starts, axis=1)

    def _normal(self, values: Floats, slopes: Floats, heights: Floats, kinds: int) -> Floats:
        """(kinds s, kinds s) products of the changes with (height,) x, y and z of two sites."""
        # Summing over images before the products costs t N^3, summing after them t^2 N.
        if len(heights) < len(self.owners) and 2 * len(self.owners) > len(self.grid) ** 2:
            changes = self._changes(values, slopes, heights)[4 - kinds :]
            changes = changes.reshape(kinds * len(heights), -1)
            return np.asarray(changes @ changes.T, float)
        both = (values, slopes)
        # Inner products over the grid are products of those along the three axes.
        grams = {
            (i, j): both[i] @ both[j].transpose(0, 2, 1)
            for i, j in ((0, 0), (0, 1), (1, 0), (1, 1))
        }
        tall = heights[self.owners]
        scale = (np.ones_like(tall), tall, tall, tall)
        n, first = len(heights), 4 - kinds
        normal = np.empty((kinds, n, kinds, n))
        for p in range(first, 4):
            for q in range(p, 4):
                block = scale[p][:, None] * scale[q]
                for axis in range(3):
                    block = block * grams[int(p == axis + 1), int(q == axis + 1)][axis]
                if len(tall) > n:
                    block = np.add.reduceat(block, self._starts, axis=0)
                    block = np.add.reduceat(block, self._starts, axis=1)
                normal[p - first, :, q - first] = block
                normal[q - first, :, p - first] = block.T
        return normal.reshape(kinds * n, kinds * n)

    def _changes(self, values: Floats, slopes: Floats, heights: Floats) -> Floats:
        """(4, s, N, N^2) change of the field with height, x, y and z of each site."""
        n, sites = len(self.grid), len(heights)
        (x, y, z), (dx, dy, dz) = values, slopes
        planes = [
            (a[:, :, None] * b[:, None, :]).reshape(-1, n * n)
            for a, b in ((y, z), (dy, z), (y, dz))
        ]
        changes = np.empty((4, sites, n, n * n))
        ends = [*self._starts.tolist(), len(self.owners)]
        # Sites differ in the number of their images, and each sum is a matrix product.
        for i in range(sites):
            own = slice(ends[i], ends[i + 1])
            flat, tall = x[own].T, heights[i] * x[own].T
            np.matmul(flat, planes[0][own], out=changes[0, i])
            np.matmul(heights[i] * dx[own].T, planes[0][own], out=changes[1, i])
            np.matmul(tall, planes[1][own], out=changes[2, i])
            np.matmul(tall, planes[2][own], out=changes[3, i])
        return changes

    @property
    def _starts(self) -> Ints:
        return np.flatnonzero(np.diff(self.owners, prepend=-1))


def _solved(normal: Floats, slope: Floats) -> Floats:
    """The step of a damped normal equation; none where it has no solution."""
    diagonal = normal.diagonal()
    damped = normal + np.diag(_DAMPING * diagonal + 1e-300)
    try:
        return np.asarray(np.linalg.solve(damped, slope), float)
    except np.linalg.LinAlgError:
        return np.zeros_like(slope)
