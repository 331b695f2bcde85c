"""Codes as points of a plane."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.evaluation.projection import Projection, project
from crystalcodec.generators.base import Generator
from crystalcodec.io.whole import whole_file
from crystalcodec.plots.maps import anions
from crystalcodec.registry import did_you_mean
from crystalcodec.symmetry import space_group_numbers
from crystalcodec.workflow.latent.codes import Codes, LatentError, predicted_values

__all__ = ["PREDICTED", "LatentMap", "latent_map"]

PREDICTED: Final = "predicted_"
ANION: Final = "anion"
SYSTEM: Final = "crystal_system"

# The last space group of each crystal system (International Tables, volume A).
_SYSTEMS: Final = {
    "triclinic": 2,
    "monoclinic": 15,
    "orthorhombic": 74,
    "tetragonal": 142,
    "trigonal": 167,
    "hexagonal": 194,
    "cubic": 230,
}


@dataclass(frozen=True, eq=False)
class LatentMap:
    """Codes in the plane of their two directions of most variance.

    Parameters
    ----------
    projection
        ``points`` (m, 2), in units of the code, and what the axes are.
    colours
        What each point is coloured by: numbers (NaN where missing) or texts.
    label
        What that is.
    codes
        Whose points they are.
    """

    projection: Projection
    colours: npt.NDArray[Any] | list[str]
    label: str
    codes: Codes

    def write(self, path: str | Path, names: Sequence[str] = ()) -> None:
        """A table (CSV): name, formula, two coordinates and the colour of each crystal."""
        formulas = self.codes.crystals.formulas
        given = self.codes.index.tolist()
        with whole_file(path) as partial, partial.open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["crystal", "formula", "component_1", "component_2", self.label])
            for i, (x, y) in enumerate(self.projection.points.tolist()):
                colour = self.colours[i]
                told = "" if isinstance(colour, float) and np.isnan(colour) else colour
                name = names[given[i]] if names else given[i]
                table.writerow([name, formulas[i], x, y, told])


def latent_map(
    generator: Generator,
    codes: Codes,
    *,
    colour: str = ANION,
    columns: Mapping[str, npt.ArrayLike] | None = None,
) -> LatentMap:
    """Lay codes out by principal components, as they are: no number of a code is rescaled.

    Parameters
    ----------
    codes
        At least four crystals'.
    colour
        A property of ``columns``; ``predicted_<column>``, what a branch of the generator says of
        the codes; ``anion``, the most electronegative element; ``crystal_system``.
    columns
        Property values of the crystals that were given, (n,) each, before any was left out.

    Raises
    ------
    LatentError
        A colour that there is not, a generator without codes.
    SimilarityError
        Too few codes, or codes that do not vary.
    """
    given = columns or {}
    branches = {PREDICTED + k: v for k, v in predicted_values(generator, codes.codes).items()}
    known = [ANION, SYSTEM, *given, *branches]
    if colour not in known:
        raise LatentError(f"no colour {colour!r} of codes{did_you_mean(colour, known)}")
    found = project(codes.flat, "pca", standardise=False)
    colours: npt.NDArray[Any] | list[str]
    if colour == ANION:
        colours = anions(codes.crystals)
    elif colour == SYSTEM:
        numbers = space_group_numbers(codes.crystals)
        names = np.array([*_SYSTEMS, "unknown"])
        place = np.searchsorted([*_SYSTEMS.values()], numbers)
        colours = names[np.where(numbers > 0, place, len(_SYSTEMS))].tolist()
    elif colour in branches:
        colours = branches[colour]
    else:
        colours = np.asarray(given[colour])[codes.index]
    return LatentMap(found, colours, colour, codes)
