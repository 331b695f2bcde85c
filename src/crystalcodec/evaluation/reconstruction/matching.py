"""Root mean square distances of pairs of crystals, as pymatgen's StructureMatcher finds them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals
from crystalcodec.data.compositions import reduced_composition_numbers
from crystalcodec.data.matching import CDVAE, Tolerances
from crystalcodec.data.workers import pool_of
from crystalcodec.evaluation.base import EvaluationError
from crystalcodec.representations.minimum_images import reduced_cells

__all__ = ["OUTCOMES", "match_pairs", "same_composition_pairs"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

OUTCOMES: Final = (
    "matched",
    "another composition",
    "no match within the tolerances",
    "cell too long to be matched",
    "too many sites to be matched",
    "the matcher raised an error",
    "cell too small to be matched",
)
"""What became of a pair; the numbers of :func:`match_pairs` are positions in it."""
_PAIRS_A_TASK: Final = 32
# Lattice points that pymatgen's reduction of a cell may list: those of a needle of 220 to 1.
_MOST_POINTS: Final = 200_000
# Bytes that its search for the primitive cell may take.
_MOST_MEMORY: Final = 2e9
# Å3. pymatgen lists the images within 0.1 Å at least, which are without number in a smaller cell.
_LEAST_VOLUME: Final = 1e-4
# Pairs of lattice vectors that the matcher may look at: those of needles of about 80 to 1.
_MOST_VECTOR_PAIRS: Final = 300_000


class _CellTooLongError(Exception):
    """A cell so much longer than thick that the matcher would try lattice vectors for ever."""


def match_pairs(
    got: Crystals,
    wanted: Crystals,
    pairs: npt.ArrayLike | None = None,
    tolerances: Tolerances = CDVAE,
    *,
    jobs: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Floats, Ints]:
    """Root mean square distance of each pair, where the two match.

    The first number of pymatgen's ``StructureMatcher(ltol, stol, angle_tol).get_rms_dist(got,
    wanted)``: both are reduced to primitive Niggli cells and scaled to one volume per site; of
    all mappings of the lattices and the sites the least root mean square distance of paired
    sites is taken, in units of (V / n)^(1/3). Pairs of different reduced composition cannot match
    and are not tried.

    Parameters
    ----------
    got, wanted
        Crystals.
    pairs : (p, 2)
        Positions in ``got`` and in ``wanted``; None for each with its like.
    tolerances
        What the two may differ by; those of CDVAE (10.48550/arXiv.2110.06197) by default, which all
        that compare with it use.
    jobs
        Number of processes.
    progress
        Called with the numbers of pairs done and of all.

    Returns
    -------
    rms : (p,)
        Without a unit; NaN where the two do not match.
    outcomes : (p,)
        What became of the pair, as a position in :data:`OUTCOMES`.

    Raises
    ------
    EvaluationError
        Different numbers of crystals and no pairs, or pairs beyond the crystals.

    Examples
    --------
    >>> iron = Crystals.single(2.87 * np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]], [26, 26])
    >>> rms, _ = match_pairs(iron.supercell(2), iron)
    >>> bool(rms[0] < 1e-9)
    True
    """
    told = _as_pairs(pairs, len(got), len(wanted))
    rms, outcomes = np.full(len(told), np.nan), np.full(len(told), 1)
    numbers = reduced_composition_numbers(Crystals.concatenate([got, wanted]))
    of_got, of_wanted = numbers[told[:, 0]], numbers[len(got) + told[:, 1]]
    # One after another those of one crystal: the matcher remembers what it reduced.
    order = np.lexsort((told[:, 0], told[:, 1], of_wanted))
    order = order[of_got[order] == of_wanted[order]]
    for outcome, refused in ((6, _too_small), (3, _too_long), (4, _too_large)):
        some = refused(got)[told[order, 0]] | refused(wanted)[told[order, 1]]
        outcomes[order[some]] = outcome
        order = order[~some]
    tasks = [order[start : start + _PAIRS_A_TASK] for start in range(0, len(order), _PAIRS_A_TASK)]
    inputs = (_task(got, wanted, told[task]) for task in tasks)
    function = partial(_match_task, tolerances=tolerances)
    n_done = len(told) - len(order)
    with pool_of(min(jobs, len(tasks))) as pool:
        results = map(function, inputs) if pool is None else pool.map(function, inputs)
        for task, (distances, found) in zip(tasks, results, strict=True):
            rms[task], outcomes[task] = distances, found
            n_done += len(task)
            if progress:
                progress(n_done, len(told))
    return rms, outcomes


def same_composition_pairs(got: Crystals, wanted: Crystals) -> Ints:
    """(p, 2) positions in both of all pairs of one reduced composition, by ``wanted``."""
    numbers = reduced_composition_numbers(Crystals.concatenate([got, wanted]))
    of_got, of_wanted = numbers[: len(got)], numbers[len(got) :]
    order = np.argsort(of_got, kind="stable")
    first = np.searchsorted(of_got[order], of_wanted, "left")
    counts = np.searchsorted(of_got[order], of_wanted, "right") - first
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    partners = order[np.repeat(first, counts) + within]
    return np.stack([partners, np.repeat(np.arange(len(wanted)), counts)], axis=1)


def _as_pairs(pairs: npt.ArrayLike | None, n_got: int, n_wanted: int) -> Ints:
    if pairs is None:
        if n_got != n_wanted:
            raise EvaluationError(
                f"{n_got} crystals and {n_wanted} that they should be: wanted as many, or pairs"
            )
        return np.stack([np.arange(n_got)] * 2, axis=1)
    told = np.asarray(pairs, np.int64).reshape(-1, 2)
    if len(told) and ((told < 0).any() or (told >= [n_got, n_wanted]).any()):
        raise EvaluationError(
            f"pairs up to {told.max(axis=0).tolist()} of {n_got} and {n_wanted} crystals"
        )
    return told


def _too_small(crystals: Crystals) -> npt.NDArray[np.bool_]:
    """(n,) cells of next to no volume, whose reduction would take all memory."""
    return np.asarray(~(crystals.volumes >= _LEAST_VOLUME))


def _too_long(crystals: Crystals) -> npt.NDArray[np.bool_]:
    """(n,) cells so much longer than thick that their reduction would take all memory."""
    longest = np.linalg.norm(reduced_cells(crystals.lattices)[0], axis=2).max(axis=1, initial=0)
    return np.asarray(4 / 3 * np.pi * longest**3 > _MOST_POINTS * crystals.volumes)


def _too_large(crystals: Crystals) -> npt.NDArray[np.bool_]:
    """(n,) crystals of so many sites that the search for the primitive cell would take all memory.

    pymatgen holds each smaller cell, by a divisor of the number of formula units, beside all
    vectors between sites of the rarest element.
    """
    counts = crystals.element_counts.astype(np.float64)
    units = np.gcd.reduce(crystals.element_counts, axis=1).astype(np.float64)
    rarest = np.where(counts > 0, counts, np.inf).min(axis=1, initial=np.inf)
    return np.asarray(72 * units**2 * rarest > _MOST_MEMORY)


def _task(got: Crystals, wanted: Crystals, pairs: Ints) -> tuple[Crystals, Crystals, Ints]:
    """The crystals of these pairs alone, and the pairs among them."""
    left, of_left = np.unique(pairs[:, 0], return_inverse=True)
    right, of_right = np.unique(pairs[:, 1], return_inverse=True)
    return got[left], wanted[right], np.stack([of_left, of_right], axis=1)


def _match_task(
    task: tuple[Crystals, Crystals, Ints], tolerances: Tolerances
) -> tuple[Floats, Ints]:
    from crystalcodec.io.foreign import to_pymatgen

    got, wanted, pairs = task
    matcher = _matcher(tolerances)
    left, right = to_pymatgen(got), to_pymatgen(wanted)
    rms, outcomes = np.full(len(pairs), np.nan), np.full(len(pairs), 2)
    for k, (i, j) in enumerate(pairs.tolist()):
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                found = matcher.get_rms_dist(left[i], right[j])
        except _CellTooLongError:
            outcomes[k] = 3
        except Exception:  # of many kinds: cells that cannot be reduced, atoms on top of another
            outcomes[k] = 5
        else:
            if found is not None:
                rms[k], outcomes[k] = found[0], 0
    return rms, outcomes


def _matcher(tolerances: Tolerances) -> Any:
    from pymatgen.analysis.structure_matcher import StructureMatcher

    class Bounded(StructureMatcher):  # type: ignore[misc]
        """Looks at no lattice that cannot match, and refuses one that would take for ever."""

        def _get_lattices(self, target_lattice: Any, s: Any, supercell_size: int = 1) -> Any:
            own, wanted = np.sort(s.lattice.abc), np.sort(target_lattice.abc)
            stretch = 1 + self.ltol
            # The lengths of a reduced cell are the least that a basis of its lattice can have.
            if np.any(own > wanted * stretch * (1 + 1e-6)):
                return iter(())
            shells = 4 / 3 * np.pi * wanted**3 * (stretch**3 - stretch**-3) / s.volume
            if np.maximum(shells, 6)[1:].prod() > _MOST_VECTOR_PAIRS:
                raise _CellTooLongError
            return super()._get_lattices(target_lattice, s, supercell_size)

    return Bounded(ltol=tolerances.ltol, stol=tolerances.stol, angle_tol=tolerances.angle_tol)
