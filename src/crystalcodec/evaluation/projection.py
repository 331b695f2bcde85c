"""Rows of many numbers as points in a plane: PCA, t-SNE and UMAP."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from crystalcodec.evaluation.similarity import SimilarityError
from crystalcodec.registry import did_you_mean, import_extra
from crystalcodec.representations.memory import available_memory

__all__ = ["PROJECTIONS", "Projection", "project"]

Floats = npt.NDArray[np.float64]
Method = Literal["pca", "tsne", "umap"]

PROJECTIONS: Final = ("pca", "tsne", "umap")
# t-SNE of more columns is that of their first principal components, as its authors advise.
_COMPONENTS: Final = 50
_COPIES: Final = 4  # of all numbers, as float64, while a projection is found


@dataclass(frozen=True, eq=False)
class Projection:
    """Points in a plane.

    Parameters
    ----------
    points : (n, 2)
        In the order of the rows. No unit: of PCA, of the rows as they were compared; t-SNE and
        UMAP keep who is near, and distances between far points mean nothing.
    axes
        What each axis is, in words.
    method
        ``pca``, ``tsne`` or ``umap``.
    """

    points: Floats
    axes: tuple[str, str]
    method: str


def project(
    rows: npt.ArrayLike,
    method: Method | str = "pca",
    *,
    standardise: bool = True,
    neighbours: int | None = None,
    seed: int = 0,
) -> Projection:
    """Lay rows of numbers out in a plane.

    Parameters
    ----------
    rows : (n, d)
        A row for each thing; at least four things and two columns that vary.
    method
        ``pca``: the two directions of most variance. ``tsne`` (Barnes-Hut t-SNE started from PCA;
        of more than 50 columns, of their first 50 principal components). ``umap`` (needs the
        extra ``descriptors``).
    standardise
        Give each column mean 0 and standard deviation 1 first; columns that never change are
        left out.
    neighbours
        Perplexity of t-SNE (30 where None), neighbours of UMAP (15); less where there are few
        rows.
    seed
        Of t-SNE and UMAP; PCA is always the same.

    Raises
    ------
    SimilarityError
        An unknown method, too few rows or columns, a number that is not finite, more numbers
        than the free memory holds.
    MissingExtraError
        UMAP is not installed.

    References
    ----------
    t-SNE: van der Maaten and Hinton, J. Mach. Learn. Res. 9, 2579 (2008). UMAP:
    10.48550/arXiv.1802.03426.

    Examples
    --------
    >>> rows = np.array([[0, 0, 0], [1, 2, 0], [2, 4, 0], [3, 6.0, 0]])
    >>> found = project(rows, standardise=False)
    >>> found.axes[0]
    'principal component 1 (100.0 % of the variance)'
    >>> found.points[:, 0].round(3).tolist()
    [-3.354, -1.118, 1.118, 3.354]
    """
    if method not in PROJECTIONS:
        raise SimilarityError(f"no method {method!r}{did_you_mean(method, PROJECTIONS)}")
    columns = _columns(rows, standardise)
    if method == "pca":
        return _pca(columns)
    if method == "tsne":
        return _tsne(columns, 30 if neighbours is None else neighbours, seed)
    return _umap(columns, 15 if neighbours is None else neighbours, seed)


def _columns(rows: npt.ArrayLike, standardise: bool) -> Floats:
    """Columns that vary, each less its mean."""
    given = np.asarray(rows)
    if given.ndim != 2 or given.dtype.kind not in "biuf" or len(given) < 4:
        raise SimilarityError(
            f"rows of shape {given.shape} of {given.dtype}: wanted one row of numbers for each "
            "thing, (n, d), and at least four of them"
        )
    wanted, there = _COPIES * 8 * given.size, available_memory()
    if wanted > there:
        raise SimilarityError(
            f"{given.shape[0]} rows of {given.shape[1]} numbers take {wanted / 2**30:.1f} GiB to "
            f"project, {there / 2**30:.1f} GiB of memory are free: take fewer rows, or a smaller "
            "representation"
        )
    floats = given.astype(np.float64)
    if not np.isfinite(floats).all():
        row, column = np.argwhere(~np.isfinite(floats))[0].tolist()
        raise SimilarityError(
            f"row {row}, column {column} holds {floats[row, column]}: leave such rows out"
        )
    mean = floats.mean(axis=0)
    floats -= mean
    spread = np.sqrt(np.square(floats).mean(axis=0))
    varies = spread > 1e-6 * np.abs(mean)  # float32 tells no smaller change from none
    if varies.sum() < 2:
        raise SimilarityError(
            f"{varies.sum()} of {len(mean)} columns vary: a plane needs two of them"
        )
    floats = floats[:, varies]
    return floats / spread[varies] if standardise else floats


def _pca(columns: Floats) -> Projection:
    from sklearn.decomposition import PCA

    found = PCA(2, svd_solver="full" if columns.shape[1] < 2000 else "auto", random_state=0)
    points = found.fit_transform(columns)
    shares = found.explained_variance_ratio_.tolist()
    first, second = (
        f"principal component {i} ({100 * share:.1f} % of the variance)"
        for i, share in enumerate(shares, start=1)
    )
    return Projection(points, (first, second), "pca")


def _tsne(columns: Floats, perplexity: int, seed: int) -> Projection:
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    if min(columns.shape) > _COMPONENTS:
        columns = PCA(_COMPONENTS, random_state=seed).fit_transform(columns)
    most = _at_least_one(perplexity, (len(columns) - 1) / 3)
    found = TSNE(2, perplexity=most, init="pca", random_state=seed).fit_transform(columns)
    return Projection(found.astype(np.float64), ("t-SNE 1", "t-SNE 2"), "tsne")


def _umap(columns: Floats, neighbours: int, seed: int) -> Projection:
    umap = import_extra("umap", "descriptors")
    n = int(_at_least_one(neighbours, len(columns) - 1))
    # Its spectral start needs more points than a handful.
    start = "spectral" if len(columns) > 12 else "random"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "n_jobs value .* overridden", UserWarning)
        made: Any = umap.UMAP(
            n_components=2, n_neighbors=max(2, n), init=start, random_state=seed
        ).fit_transform(columns)
    return Projection(np.asarray(made, np.float64), ("UMAP 1", "UMAP 2"), "umap")


def _at_least_one(wanted: int, most: float) -> float:
    if wanted < 1:
        raise SimilarityError(f"{wanted} neighbours: wanted 1 or more")
    return min(float(wanted), most)
