"""A map of the crystals of some files, under any representation."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from crystalcodec.evaluation.projection import project
from crystalcodec.evaluation.similarity import SimilarityError
from crystalcodec.io import Loaded, iter_read
from crystalcodec.plots.maps import anions, draw_map
from crystalcodec.registry import did_you_mean
from crystalcodec.representations.base import Representation
from crystalcodec.representations.features import features_of, n_features

__all__ = ["MapReport", "map_crystals"]

ANION: Final = "anion"
_METHODS: Final = {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP"}


@dataclass
class MapReport:
    """What is on a map, and what is not.

    Parameters
    ----------
    out
        The picture.
    n_drawn
        Crystals on it.
    unread, refused
        Records that could not be read, and crystals that could not be held, by reason.
    more
        Whether there were more crystals than ``limit``.
    """

    out: Path
    n_drawn: int
    unread: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    more: bool = False


def map_crystals(
    sources: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    representation: Representation,
    out: str | os.PathLike[str],
    *,
    method: str = "pca",
    colour: str = ANION,
    standardise: bool = True,
    neighbours: int | None = None,
    seed: int = 0,
    limit: int = 5000,
    **reading: Any,
) -> MapReport:
    """Draw a map of crystals: a point for each, near where their arrays are alike.

    Parameters
    ----------
    sources
        What :func:`crystalcodec.io.read` takes.
    representation
        What is compared: its arrays, flattened and joined. One that needs it is fitted on these
        crystals.
    out
        The picture (PNG).
    method, standardise, neighbours, seed
        As of :func:`~crystalcodec.evaluation.projection.project`.
    colour
        A property of the crystals, numbers or text; ``anion``: the most electronegative element.
    limit
        Most crystals to draw; of more, as many are drawn at random, with the same ``seed`` the
        same ones.
    reading
        More parameters of :func:`crystalcodec.io.read`.

    Raises
    ------
    SimilarityError
        A colour that is no property, an unknown method, too few crystals, no name of a PNG.
    RepresentationError
        A representation of no fixed shape.
    """
    path = Path(out)
    if path.suffix.lower() != ".png":
        raise SimilarityError(f"{out}: wanted a name that ends in .png")
    if not representation.needs_fit:
        n_features(representation)
    loaded = Loaded.concatenate(iter_read(sources, **reading))
    properties = {ANION: [], **loaded.properties}
    if colour not in properties:
        raise SimilarityError(f"no property {colour!r}{did_you_mean(colour, properties)}")
    n = len(loaded.crystals)
    chosen = np.arange(n)
    if n > limit:
        chosen = np.sort(np.random.default_rng(seed).permutation(n)[:limit])
    crystals = loaded.crystals[chosen]
    if representation.needs_fit:
        representation = representation.fit(crystals)
    features = features_of(representation, crystals)
    found = project(
        features.rows, method, standardise=standardise, neighbours=neighbours, seed=seed
    )
    if colour in loaded.properties:
        column = loaded.properties[colour]
        colours = [column[i] for i in chosen[features.index].tolist()]
        label = colour.replace("_", " ") + _unit(sources, colour)
    else:
        colours, label = anions(crystals[features.index]), "most electronegative"
    title = f"{representation.name}, {_METHODS[method]} of {len(features.index):,} crystals"
    draw_map(found, colours, label=label, title=title, path=path)
    return MapReport(
        path,
        len(features.index),
        Counter(failure.reason for failure in loaded.failures),
        Counter(failure.reason for failure in features.failures),
        n > limit,
    )


def _unit(sources: Any, column: str) -> str:
    """The unit of a column in brackets, where one dataset file tells it."""
    from crystalcodec.data import DatasetError
    from crystalcodec.data.storage import DatasetReader

    files = [sources] if isinstance(sources, str | os.PathLike) else [*sources]
    if len(files) != 1 or Path(files[0]).suffix != ".parquet":
        return ""
    try:
        with DatasetReader(Path(files[0]), [column]) as reader:
            unit = reader.metadata.units.get(column, "")
    except (DatasetError, OSError):
        return ""  # a table of structures that is no dataset of ours
    return f" ({unit})" if unit else ""
