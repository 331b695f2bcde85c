"""Rows of numbers that stand for crystals: fingerprints of structure and composition."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.evaluation.base import EvaluationError, Evidence

__all__ = ["Rows", "composition_fingerprints", "fixed_rows", "rows_of", "structure_fingerprints"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Rows:
    """One row for each attempt and each held-out crystal; NaN where one has none.

    Parameters
    ----------
    attempts : (n, d)
        By attempt.
    held_out : (l, d)
        By crystal.
    """

    attempts: Floats
    held_out: Floats

    @property
    def known(self) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """(n,) and (l,) which have a row."""
        return _finite(self.attempts), _finite(self.held_out)


def _finite(rows: Floats) -> npt.NDArray[np.bool_]:
    return np.asarray(np.isfinite(rows).all(axis=1))


def fixed_rows(crystals: Crystals, representation: Any) -> Floats:
    """(n, d) what a representation encodes each crystal to, all arrays flattened and joined.

    NaN where it cannot hold a crystal.

    Raises
    ------
    EvaluationError
        A representation whose arrays have another size for each crystal.
    """
    encoded = representation.encode(crystals)
    if encoded.offsets:
        raise EvaluationError(
            f"{representation.name} has arrays of another size for each crystal; wanted a "
            "representation of fixed shape"
        )
    arrays = [np.asarray(array, np.float64) for array in encoded.arrays.values()]
    flat = [array.reshape(len(array), int(np.prod(array.shape[1:]))) for array in arrays]
    rows = np.full((len(crystals), sum(array.shape[1] for array in flat)), np.nan)
    rows[encoded.index] = np.concatenate(flat, axis=1)
    return rows


def rows_of(evidence: Evidence, name: str, function: Callable[[Crystals], Floats]) -> Rows:
    """The rows that a function gives for crystals, of all attempts and all held-out crystals.

    ``name`` and ``function`` are those of :meth:`Evidence.each`.
    """
    held_out = evidence.held_out if evidence.held_out is not None else Crystals.empty()
    made = evidence.each(name, evidence.attempts.crystals, function)
    return Rows(evidence.attempts.spread(made, np.nan), evidence.each(name, held_out, function))


def structure_fingerprints(crystals: Crystals) -> Floats:
    """(n, 61) CrystalNN fingerprints (order parameters), the mean over the sites of each crystal.

    NaN for a crystal that has none. Zimmermann and Jain, RSC Adv. 10, 6063 (2020),
    10.1039/C9RA07755C.
    """
    from crystalcodec.representations.crystal_nn import SITE_LABELS, site_fingerprints

    found = site_fingerprints(crystals)
    rows = np.full((len(crystals), len(SITE_LABELS)), np.nan)
    rows[found.index] = found.statistics()[:, :, 0]
    return rows


def composition_fingerprints(crystals: Crystals) -> Floats:
    """(n, 132) Magpie statistics, less the means and over the deviations published with CDVAE.

    See :func:`composition_scale`. An element without a value of a property has the
    mean over the elements that have one, as in matminer 0.10.1.
    """
    from crystalcodec.representations.composition import Magpie

    means, deviations = composition_scale()
    return (Magpie().statistics(crystals) - means) / deviations


@cache
def composition_scale() -> tuple[Floats, Floats]:
    """(132,) means and (132,) standard deviations of the Magpie statistics.

    Those of the file ``cdvae/common/constants.py`` of the code of Xie et al.
    (10.48550/arXiv.2110.06197). It does not say of which materials they are; the means of
    statistics that are whole numbers are fractions of 20,690.
    """
    path = Path(__file__).with_name("composition_scale.csv")
    with path.open(encoding="utf-8", newline="") as lines:
        _, *rows = csv.reader(lines)
    values = np.array([[float(mean), float(deviation)] for _, mean, deviation in rows])
    values.flags.writeable = False
    return values[:, 0], values[:, 1]
