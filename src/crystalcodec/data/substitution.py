"""Known crystals with elements replaced by similar ones: the oldest way to guess new crystals."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from crystalcodec.crystals import Crystals, CrystalsError
from crystalcodec.data.atom_sizes import ElementVolumes
from crystalcodec.data.compositions import element_presence
from crystalcodec.elements import MAX_ATOMIC_NUMBER
from crystalcodec.failures import Failure
from crystalcodec.representations.element_tables import PETTIFOR_NUMBERS

__all__ = ["replacement_weights", "substituted_crystals"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_SHARE_REPLACED: Final = 0.5


def replacement_weights(reach: float = 3.0) -> Floats:
    """(119, 119) how readily an element is replaced by another one, by atomic number.

    exp(-d / reach), d the places between the two on the modified Pettifor scale (Glawe et al.,
    10.1088/1367-2630/18/9/093011), on which neighbours are those that replace each other in known
    crystals; 0 for an element and itself, and for those beyond Lr, which the scale lacks.

    >>> weights = replacement_weights()
    >>> float(weights[11, 19].round(3)), float(weights[11, 11])  # K is next to Na
    (0.717, 0.0)
    """
    if not reach > 0:
        raise CrystalsError(f"reach {reach}: wanted a positive number of places on the scale")
    places = PETTIFOR_NUMBERS
    weights = np.exp(-np.abs(places[:, None] - places) / reach)
    np.fill_diagonal(weights, 0.0)
    return np.nan_to_num(weights)


def substituted_crystals(
    n: int,
    *,
    of: Crystals,
    seed: int,
    reach: float = 3.0,
    volumes: ElementVolumes | None = None,
) -> tuple[Crystals, list[Failure]]:
    """Crystals made from known ones by element substitution.

    Of each: a crystal of ``of`` is drawn; each of its elements is replaced with probability 1/2,
    and one at least; the new element is drawn with :func:`replacement_weights` from those that
    occur in ``of`` and are not in the crystal, before or after. So elements stay as many, a
    substituted crystal is never the one it came from, and may be another one of ``of``. The cell
    is scaled alike in all directions by the ratio of the sums of the volumes of the elements,
    fitted to ``of``; fractional coordinates stay.

    Oxidation states have no say: Na may become Ca. (Substitution by ions, Hautier et al.,
    10.1021/ic102031h, needs states that have to be guessed first, and knows none for alloys.)

    Parameters
    ----------
    n
        How many to try.
    of
        Known crystals.
    seed
        The same seed gives the same crystals.
    reach
        Places on the scale; larger makes further elements more likely.
    volumes
        What :meth:`ElementVolumes.fit` gives, to fit it once.

    Returns
    -------
    crystals, failures
        Together n; each failure's index is its place among the n. There is one where no element
        of a crystal can be replaced.

    Raises
    ------
    CrystalsError
        No crystals to make any from, or a reach that is not positive.

    Examples
    --------
    >>> salts = Crystals.concatenate(
    ...     Crystals.single(5.6 * np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]], [metal, 17])
    ...     for metal in (3, 11, 19)
    ... )
    >>> made, failures = substituted_crystals(4, of=salts, seed=0)
    >>> len(made), bool(np.isin(made.numbers, [3, 11, 17, 19]).all())
    (4, True)
    """
    if n > 0 and not len(of):
        raise CrystalsError("no crystals to substitute in: wanted one or more")
    rng = np.random.default_rng(seed)
    weights = replacement_weights(reach)
    if volumes is None:
        volumes = ElementVolumes.fit(of)
    parents = of[rng.integers(0, len(of), n)] if n else Crystals.empty()
    taken = element_presence(parents)
    weights = weights * element_presence(of).any(axis=0)
    becomes = _replacements(taken, weights, rng)
    changed = (becomes != np.arange(MAX_ATOMIC_NUMBER + 1)).any(axis=1)
    numbers = becomes[parents.crystal_indices, parents.numbers]
    made = Crystals(parents.lattices, parents.frac_coords, numbers, parents.offsets)
    scale = np.cbrt(volumes.of(made) / volumes.of(parents)) if n else np.zeros(0)
    made = Crystals(
        parents.lattices * scale[:, None, None], parents.frac_coords, numbers, parents.offsets
    )
    return made[changed], [
        Failure(i, "nothing to replace with", f"{parents[i].formulas[0]}: no other element is left")
        for i in np.flatnonzero(~changed).tolist()
    ]


def _replacements(taken: Bools, weights: Floats, rng: np.random.Generator) -> Ints:
    """(n, 119) what each element of each crystal becomes; ``taken`` (n, 119) is where it is."""
    becomes = np.tile(np.arange(MAX_ATOMIC_NUMBER + 1), (len(taken), 1))
    # Elements come in random order: the first is replaced, each other one half of the time.
    keys = np.where(taken, rng.random(taken.shape), np.inf)
    order = np.argsort(keys, axis=1)
    taken = taken.copy()
    done = np.zeros(len(taken), bool)
    for place in range(int(taken.sum(axis=1).max(initial=0))):
        rows = np.arange(len(taken))
        element = order[:, place]
        there = np.isfinite(keys[rows, element])
        chance = rng.random(len(taken)) < _SHARE_REPLACED
        allowed = weights[element] * ~taken
        # The largest of log(weight) + Gumbel noise is drawn with these weights.
        with np.errstate(divide="ignore"):
            scores = np.log(allowed) + rng.gumbel(size=allowed.shape)
        chosen = scores.argmax(axis=1)
        use = there & (chance | ~done) & (allowed.sum(axis=1) > 0)
        becomes[rows[use], element[use]] = chosen[use]
        taken[rows[use], chosen[use]] = True
        done |= use
    return becomes
