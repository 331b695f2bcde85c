"""The published clean-up of generated CrysTens arrays, as a step of its own before decoding."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from crystalcodec.elements import MAX_ATOMIC_NUMBER
from crystalcodec.geometry import lattices_from_cell_parameters, wrap
from crystalcodec.representations.base import Arrays, RepresentationError
from crystalcodec.representations.crystens.blocks import HEADER, ROWS, Blocks, chunks
from crystalcodec.representations.crystens.decoding import header_copies, mirrored_differences
from crystalcodec.representations.crystens.representation import CrysTens
from crystalcodec.representations.minimum_images import minimum_images

__all__ = ["clean_up", "cluster_means"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def clean_up(
    arrays: Arrays | npt.NDArray[Any],
    representation: CrysTens,
    *,
    angle_tolerance: float = 0.2,
    pair_weight: float | None = None,
    n_coordinate_clusters: int | None = None,
    n_element_clusters: int | None = 3,
    duplicate_distance: float = 0.5,
) -> Mapping[str, npt.NDArray[Any]]:
    """Turn generated arrays into exact ones, which the strict decoder takes.

    In turn, as published: sites are counted; mirrored and repeated entries are averaged, those
    of the cell over all sites; each coordinate is mixed from itself and from what the
    differences to all sites say; coordinates, then atomic numbers, are clustered (k-means) and
    replaced by the means of their clusters; of sites upon each other the first is kept. Where
    the published code slips, the step does what its text says (see the documentation).

    An array of which nothing can be made (not finite, no site, a number that is no element, a
    cell that does not close) is returned as it is, for the decoder to refuse.

    Parameters
    ----------
    arrays
        As for :meth:`CrysTens.decode`; they are not changed.
    representation
        How they are to be read.
    angle_tolerance
        The first site whose alpha is off that of site 0 by this fraction or more ends the sites
        (published ``ref_percent``).
    pair_weight
        From 0, coordinates as they stand, to 1, differences alone (published
        ``rel_coord_percent``); 1 - 1 / (12 + number of sites) where none is given.
    n_coordinate_clusters
        Distinct values that the x, y and z of all sites, taken together, may have (published
        ``num_coord_clusters``); no clustering where none is given, as published.
    n_element_clusters
        Elements at most (published ``num_atom_clusters``); no clustering for None.
    duplicate_distance
        Å; a site nearer than this to one before it is dropped. 0 drops none.

    Raises
    ------
    RepresentationError
        Arrays of the wrong shape, a parameter outside its range.

    References
    ----------
    Alverson et al., Digital Discovery 3, 62 (2024), 10.1039/D3DD00137G.

    Examples
    --------
    >>> from crystalcodec.testing import sample_crystals
    >>> crystens = CrysTens().fit(sample_crystals())
    >>> array = crystens.encode(sample_crystals(1))["crystens"]
    >>> noisy = array + np.random.default_rng(0).normal(0, 0.001, array.shape)
    >>> crystens.decode(noisy).failures[0].reason
    'gap between sites'
    >>> crystens.decode(clean_up(noisy, crystens)).failures
    ()
    """
    for name, number in (
        ("n_coordinate_clusters", n_coordinate_clusters),
        ("n_element_clusters", n_element_clusters),
    ):
        if number is not None and number < 1:
            raise RepresentationError(f"{name} is {number}, wanted at least 1")
    if pair_weight is not None and not 0 <= pair_weight <= 1:
        raise RepresentationError(f"pair_weight is {pair_weight}, wanted 0 to 1")
    if not (angle_tolerance > 0 and duplicate_distance >= 0):
        raise RepresentationError(
            f"wanted angle_tolerance above 0 and duplicate_distance of at least 0, got "
            f"{angle_tolerance} and {duplicate_distance}"
        )
    name, blocks = representation.name, representation.blocks
    array = representation.checked(arrays)[name]
    out = array.astype(np.float32)
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        finite = np.isfinite(array).all(axis=(1, 2, 3))
        counts = np.where(finite, _leading_sites(array, blocks, angle_tolerance), 0)
        for n, index in chunks(counts, blocks.n_layers):
            if not n:
                continue
            stop = HEADER + n
            weight = 1 - 1 / stop if pair_weight is None else pair_weight
            tables = _averaged(array[index, :stop, :stop].astype(float), blocks, weight)
            # Array by array: clusters and sites that are dropped differ from one to the next.
            for i, table in zip(index.tolist(), tables, strict=True):
                _cluster(table, n_coordinate_clusters, n_element_clusters)
                cleaned = _written(table, blocks, duplicate_distance)
                if cleaned is not None:
                    out[i] = 0.0
                    out[i, : len(cleaned), : len(cleaned)] = cleaned
    return {name: out}


def _leading_sites(array: npt.NDArray[Any], blocks: Blocks, tolerance: float) -> Ints:
    """(n,) rows before the first whose alpha is not that of the first row."""
    alphas = array[:, HEADER:, 7, 0].astype(float) * blocks.width[7] + blocks.low[7]
    other = ~(np.abs(alphas - alphas[:, :1]) < tolerance * np.abs(alphas[:, :1]))
    ended = np.concatenate([other, np.ones((len(array), 1), bool)], axis=1)
    return np.asarray(ended.argmax(axis=1), np.int64)


def _averaged(part: Floats, blocks: Blocks, weight: float) -> Floats:
    """(g, n, 11) numbers of sites, copies averaged and coordinates mixed."""
    table = header_copies(part).mean(axis=3) * blocks.width[:ROWS] + blocks.low[:ROWS]
    table[:, :, 4:] = table[:, :, 4:].mean(axis=1, keepdims=True)
    table[:, :, 10] = np.clip(np.rint(table[:, :, 10]), 1, 230)
    coords = table[:, :, 1:4]
    differences = part[:, HEADER:, HEADER:, 1:4] * blocks.width[12] + blocks.low[12]
    between = mirrored_differences(differences, coords, blocks.periodic)
    told = (coords[:, None] + between).mean(axis=2)
    table[:, :, 1:4] = (1 - weight) * coords + weight * told
    return np.asarray(table, float)


def _cluster(table: Floats, n_coordinates: int | None, n_elements: int | None) -> None:
    """Replace coordinates and atomic numbers (rounded) by the means of their clusters."""
    if n_coordinates is not None:
        coords = table[:, 1:4]
        table[:, 1:4] = cluster_means(coords.ravel(), n_coordinates).reshape(coords.shape)
    numbers = np.rint(table[:, 0])
    if n_elements is not None:
        numbers = np.rint(cluster_means(numbers, n_elements))
    table[:, 0] = numbers


def _written(table: Floats, blocks: Blocks, closest: float) -> npt.NDArray[Any] | None:
    """The block of the sites (n, 11) that are kept, or None where they are no crystal."""
    lattice = lattices_from_cell_parameters(table[0, 4:10])
    numbers = table[:, 0]
    known = ((numbers >= 1) & (numbers <= MAX_ATOMIC_NUMBER)).all()
    if not (known and np.isfinite(lattice).all() and np.linalg.det(lattice[0]) > 0):
        return None
    coords = wrap(table[:, 1:4])
    # A hair below 0 is 0, as rounding in float32 leaves it, and not just below 1.
    table[:, 1:4] = np.where(coords > 1 - 1e-6, 0.0, coords)
    between = table[:, None, 1:4] - table[:, 1:4]
    _, distances = minimum_images(between.reshape(1, -1, 3), lattice)
    near = distances.reshape(len(table), len(table)) < closest
    kept: list[int] = []
    for site in range(len(table)):
        if not near[site, kept].any():
            kept.append(site)
    return np.asarray(blocks.of(table[None, kept], lattice)[0])


def cluster_means(values: Floats, n_clusters: int) -> Floats:
    """Each value replaced by the mean of its cluster: k-means on a line, the best of all.

    On a line clusters are runs of the sorted values, so that the partition of least squared
    distance is found exactly (dynamic programming) and needs no seed.

    >>> cluster_means(np.array([8.0, 22.0, 9.0, 38.0]), 3).tolist()
    [8.5, 22.0, 8.5, 38.0]
    """
    n = len(values)
    if n_clusters >= n:
        return values.copy()
    order = np.argsort(values, kind="stable")
    # Measured from the mean, so that squares do not cancel.
    centre = values.mean()
    sums = np.concatenate([[0.0], np.cumsum(values[order] - centre)])
    squares = np.concatenate([[0.0], np.cumsum((values[order] - centre) ** 2)])
    start, stop = np.ogrid[0:n, 0 : n + 1]
    size = np.maximum(stop - start, 1)
    scatter = squares[stop] - squares[start] - (sums[stop] - sums[start]) ** 2 / size
    # By start of the last run (rows) and end (columns): what that run alone costs.
    costs = np.where(start < stop, np.maximum(scatter, 0.0), math.inf)
    best = np.concatenate([[0.0], np.full(n, math.inf)])
    starts = np.zeros((n_clusters, n + 1), np.int64)
    for k in range(n_clusters):
        total = best[:n, None] + costs
        starts[k], best = total.argmin(axis=0), total.min(axis=0)
    means, end = np.empty(n), n
    for k in reversed(range(n_clusters)):
        begin = int(starts[k, end])
        means[order[begin:end]] = centre + (sums[end] - sums[begin]) / max(end - begin, 1)
        end = begin
    return means
