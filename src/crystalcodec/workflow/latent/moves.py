"""New codes from those of crystals: between two of them, and around parents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.data.matching import first_alike
from crystalcodec.evaluation.reconstruction import OUTCOMES, match_pairs, published_validity
from crystalcodec.generators.base import Generator
from crystalcodec.registry import did_you_mean
from crystalcodec.workflow.generating.sampling import Sampled
from crystalcodec.workflow.latent.codes import (
    Codes,
    LatentError,
    decode_codes,
    encode_crystals,
    predicted_values,
)

__all__ = ["WAYS", "Children", "Path", "codes_between", "interpolate", "perturb"]

Floats = npt.NDArray[np.float32]

WAYS: Final = ("linear", "spherical")
_PARALLEL: Final = 1e-6
# Outcomes of a pair that has been compared.
_DIFFERENT: Final = [
    OUTCOMES.index("another composition"),
    OUTCOMES.index("no match within the tolerances"),
]


def codes_between(one: npt.ArrayLike, other: npt.ArrayLike, n: int, way: str = "linear") -> Floats:
    """(n, ...) codes from one to the other, both ends included.

    ``linear``: (1 - t) a + t b. ``spherical``: along the great circle of their directions
    (Shoemake, 10.1145/325334.325242), with the length between theirs, which keeps to where
    normally distributed codes are; linear where the directions are the same or opposite.

    Raises
    ------
    LatentError
        Codes of different shapes, an unknown way, less than two steps.

    Examples
    --------
    >>> codes_between([4.0, 0.0], [0.0, 2.0], 3).tolist()
    [[4.0, 0.0], [2.0, 1.0], [0.0, 2.0]]
    """
    a, b = np.asarray(one, np.float64), np.asarray(other, np.float64)
    if a.shape != b.shape:
        raise LatentError(f"codes of shapes {a.shape} and {b.shape}: wanted the same")
    if way not in WAYS:
        raise LatentError(f"no way {way!r} between codes{did_you_mean(way, WAYS)}")
    if n < 2:
        raise LatentError(f"{n} steps: wanted at least 2, which are the ends")
    t = np.linspace(0, 1, n).reshape(-1, *[1] * a.ndim)
    straight = (1 - t) * a + t * b
    if way == "spherical":
        lengths = float(np.linalg.norm(a)), float(np.linalg.norm(b))
        if min(lengths) > 0:
            cosine = np.clip((a * b).sum() / (lengths[0] * lengths[1]), -1, 1)
            angle = float(np.arccos(cosine))
            if np.sin(angle) > _PARALLEL:
                direction = np.sin((1 - t) * angle) * a / lengths[0]
                direction = (direction + np.sin(t * angle) * b / lengths[1]) / np.sin(angle)
                straight = direction * ((1 - t) * lengths[0] + t * lengths[1])
    straight[0], straight[-1] = a, b
    return straight.astype(np.float32)


@dataclass(frozen=True, eq=False)
class Path:
    """Crystals between two crystals.

    Parameters
    ----------
    parts : (n,)
        From 0 to 1, how far each is on the way.
    codes : (n, ...)
        Their codes.
    made
        What these decode to; ends are the reconstructions of the two crystals.
    ends
        The two crystals themselves.
    way
        ``linear`` or ``spherical``.
    """

    parts: npt.NDArray[np.float64]
    codes: Floats
    made: Sampled
    ends: Crystals
    way: str

    def rows(self) -> list[dict[str, Any]]:
        """A record of each step."""
        crystals, reasons = self.made.of_each()
        rows = []
        for t, crystal, reason in zip(self.parts.tolist(), crystals, reasons, strict=True):
            row: dict[str, Any] = {"part": t, "formula": "", "n_sites": None, "failure": reason}
            if crystal is not None:
                row |= {"formula": crystal.formulas[0], "n_sites": int(crystal.n_sites[0])}
            rows.append(row)
        return rows


def interpolate(
    generator: Generator, one: Crystals, other: Crystals, *, n: int = 9, way: str = "linear"
) -> Path:
    """Crystals on the way from one to another, through their codes.

    Parameters
    ----------
    one, other
        One crystal each.
    n
        Steps, ends included.
    way
        See :func:`codes_between`.

    Raises
    ------
    LatentError
        Not one crystal each; one that cannot be encoded; a generator without codes.
    """
    if len(one) != 1 or len(other) != 1:
        raise LatentError(
            f"{len(one)} and {len(other)} crystals: wanted two, one for each end of the way"
        )
    codes = encode_crystals(generator, Crystals.concatenate([one, other]))
    if codes.failures:
        first = codes.failures[0]
        raise LatentError(
            f"{('the first', 'the second')[first.index]} crystal cannot be encoded: "
            f"{first.reason} ({first.detail})"
        )
    steps = codes_between(codes.codes[0], codes.codes[1], n, way)
    parts = np.linspace(0, 1, n)
    # A decoder that reads conditions is told those of the nearer end.
    nearer = (parts > 0.5).astype(np.int64)
    described = Codes(steps, codes.crystals[nearer], np.arange(n))
    return Path(parts, steps, decode_codes(generator, steps, described), codes.crystals, way)


@dataclass(frozen=True, eq=False)
class Children:
    """Crystals from codes near those of parents.

    Parameters
    ----------
    parents
        The parents that could be encoded.
    parent_of : (n,)
        The parent of each child, among these.
    codes : (n, ...)
        Of the children.
    made
        What these decode to.
    valid, different, unique : (n,)
        Of each child: a structure and a composition that are valid as CDVAE defines it (arXiv
        2110.06197); no match of its parent (StructureMatcher in CDVAE's tolerances); and, of
        those that are both, the first of its kind (StructureMatcher in pymatgen's tolerances).
    predicted
        What the generator's branches say of the children's codes, by column.
    failures
        Parents that could not be encoded.
    """

    parents: Codes
    parent_of: npt.NDArray[np.int64]
    codes: Floats
    made: Sampled
    valid: npt.NDArray[np.bool_]
    different: npt.NDArray[np.bool_]
    unique: npt.NDArray[np.bool_]
    predicted: Mapping[str, npt.NDArray[Any]]

    def counts(self) -> dict[str, int]:
        """How many were tried, decoded, valid, then different from the parent, then unique."""
        decoded = 0 if self.made.decoded is None else len(self.made.decoded.crystals)
        return {
            "children": len(self.parent_of),
            "decoded": decoded,
            "valid": int(self.valid.sum()),
            "different from the parent": int((self.valid & self.different).sum()),
            "unique": int(self.unique.sum()),
        }

    def reasons(self) -> dict[str, int]:
        """Children that could not be decoded, by reason."""
        failures = () if self.made.decoded is None else self.made.decoded.failures
        return dict(Counter(failure.reason for failure in failures))

    def rows(self, names: Sequence[str] = ()) -> list[dict[str, Any]]:
        """A record of each child; ``names`` are those of the parents as they were given."""
        crystals, reasons = self.made.of_each()
        formulas = self.parents.crystals.formulas
        given = self.parents.index.tolist()
        rows = []
        for i, parent in enumerate(self.parent_of.tolist()):
            crystal = crystals[i]
            row = {
                "parent": names[given[parent]] if names else given[parent],
                "parent_formula": formulas[parent],
                "formula": "" if crystal is None else crystal.formulas[0],
                "valid": bool(self.valid[i]),
                "different": bool(self.different[i]),
                "unique": bool(self.unique[i]),
                "failure": reasons[i],
            }
            row |= {f"predicted_{k}": float(v[i]) for k, v in self.predicted.items()}
            rows.append(row)
        return rows


def perturb(
    generator: Generator,
    parents: Crystals,
    *,
    scale: float = 1.0,
    children: int = 20,
    seed: int = 0,
    jobs: int = 1,
) -> Children:
    """Children of crystals: their codes with normal noise added, decoded.

    Published (Mal, Seal and Sen, 10.1021/acs.jpclett.4c00068) with ``scale`` 1 and 20 children
    of each parent. A scale means something beside the spread of the codes alone: codes of an
    autoencoder without much divergence in its loss are not of deviation 1.

    Parameters
    ----------
    parents
        At least one.
    scale
        Standard deviation of the noise of each number, in units of the code; 0 gives back the
        parents as they are reconstructed.
    children
        Of each parent.
    seed
        Of the noise.
    jobs
        Processes that compare children.

    Raises
    ------
    LatentError
        A negative scale; no children; no parent that can be encoded; a generator without codes,
        or whose arrays cannot be decoded.
    """
    if not (np.isfinite(scale) and scale >= 0):
        raise LatentError(f"scale is {scale:g}: wanted 0 or more, in units of the code")
    if children < 1:
        raise LatentError(f"{children} children of each parent: wanted at least 1")
    codes = encode_crystals(generator, parents)
    if not len(codes.codes):
        reasons = ", ".join(sorted({failure.reason for failure in codes.failures}))
        raise LatentError(f"none of {len(parents)} parents can be encoded: {reasons}")
    of = np.repeat(np.arange(len(codes.codes)), children)
    noise = np.random.default_rng(seed).standard_normal((len(of), *codes.codes.shape[1:]))
    moved = codes.codes[of] + (scale * noise).astype(np.float32)
    described = Codes(moved, codes.crystals[of], of)
    made = decode_codes(generator, moved, described)
    if made.decoded is None:
        raise LatentError(
            f"arrays of {generator.representation.name!r} cannot be decoded to crystals"
        )
    crystals, index = made.decoded.crystals, made.decoded.index
    n = len(of)
    valid, different, unique = (np.zeros(n, bool) for _ in range(3))
    if len(crystals):
        valid[index] = published_validity(crystals)
        _, outcomes = match_pairs(crystals, codes.crystals[of[index]], jobs=jobs)
        # What cannot be compared is not known to be different.
        different[index] = np.isin(outcomes, _DIFFERENT)
        both = np.flatnonzero((valid & different)[index])
        if len(both):
            found = first_alike(crystals[both], jobs=jobs)
            first = found.positions == np.arange(len(both))
            first[[failure.index for failure in found.failures]] = False
            unique[index[both[first]]] = True
    predicted = predicted_values(generator, moved)
    return Children(codes, of, moved, made, valid, different, unique, predicted)
