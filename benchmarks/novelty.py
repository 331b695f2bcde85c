"""Uniqueness of 10,000 crystals and novelty against 27,136: time, and the answer of plain pairs.

Known crystals are the 25,829 of MP-20 train and val, and some of them again with other elements,
to make as many as the training set of MP-20 had when it was published. Generated ones are made
from them, so that what they are is known: copies of known ones that are moved and shaken, copies
of each other, the same crystals of other elements, and random arrangements in known compositions.
Then one composition 10,000 times, of few kinds, and the worst case: all crystals of one
composition and no two the same. Run on two processes:

    python benchmarks/novelty.py
"""

from __future__ import annotations

from record import SHARED_DATA, record  # first: it sets the number of threads

# isort: split
import argparse
import resource
import time
from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
from pymatgen.core.structure_matcher import StructureMatcher

from crystalcodec import Crystals, read, to_pymatgen
from crystalcodec.data.compositions import reduced_composition_numbers
from crystalcodec.data.matching import CDVAE, PYMATGEN, Tolerances, alike_in, first_alike
from crystalcodec.data.matching.cells import Cell, reduce_crystals
from crystalcodec.data.matching.fitting import Fitter
from crystalcodec.evaluation.base import Attempts, Evidence
from crystalcodec.evaluation.novelty import is_novel, is_unique, measure

JOBS = 2


def moved(crystals: Crystals, rng: np.random.Generator, sites: float = 0.05) -> Crystals:
    """In another cell, turned, shaken (Å), strained by 1 % and with another order of sites."""
    skew = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 1]])
    crystals = crystals.supercell(skew[rng.permutation(3)])
    orders = [
        start + rng.permutation(stop - start)
        for start, stop in zip(crystals.offsets[:-1], crystals.offsets[1:], strict=True)
    ]
    order = np.concatenate([np.zeros(0, int), *orders])
    coords = crystals.to_fractional(
        crystals.cart_coords + rng.normal(0, sites, crystals.cart_coords.shape)
    )
    turns, _ = np.linalg.qr(rng.normal(size=(len(crystals), 3, 3)))
    strains = np.eye(3) + rng.normal(0, 0.01, (len(crystals), 3, 3))
    return Crystals(
        crystals.lattices @ strains @ turns,
        (coords + rng.random((len(crystals), 3))[crystals.crystal_indices])[order],
        crystals.numbers[order],
        crystals.offsets,
    )


def substituted(crystals: Crystals, rng: np.random.Generator) -> Crystals:
    """Each element by another one, at random, among those of the set."""
    elements = np.unique(crystals.numbers)
    tables = np.tile(np.arange(119), (len(crystals), 1))
    for row in tables:
        row[elements] = rng.permutation(elements)
    numbers = tables[crystals.crystal_indices, crystals.numbers]
    return Crystals(crystals.lattices, crystals.frac_coords, numbers, crystals.offsets)


def arranged(crystals: Crystals, rng: np.random.Generator) -> Crystals:
    """Sites at random in the same cells."""
    coords = rng.random(crystals.frac_coords.shape)
    return Crystals(crystals.lattices, coords, crystals.numbers, crystals.offsets)


def generated(known: Crystals, n: int, rng: np.random.Generator) -> tuple[Crystals, np.ndarray]:
    """n crystals at random places, and what each is: 0 known, 1 again, 2 substituted, 3 random."""

    def some(share: float) -> Crystals:
        return known[rng.integers(0, len(known), round(n * share))]

    fresh = [moved(some(0.4), rng), substituted(some(0.3), rng), arranged(some(0.1), rng)]
    again = Crystals.concatenate(fresh)
    again = again[rng.integers(0, len(again), n - len(again))]
    crystals = Crystals.concatenate([*fresh, moved(again, rng, 0.02)])
    kinds = np.repeat([0, 2, 3, 1], [len(fresh[0]), len(fresh[1]), len(fresh[2]), len(again)])
    order = rng.permutation(n)
    return crystals[order], kinds[order]


def timed(function: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """What it gives, and seconds by the clock and of all processors, those of workers too."""

    def processor() -> float:
        used = [resource.getrusage(of) for of in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(one.ru_utime + one.ru_stime for one in used)

    start, before = time.perf_counter(), processor()
    result = function()
    return result, {
        "wall_s": time.perf_counter() - start,
        "processor_s": processor() - before,
    }


def matcher_of(tolerances: Tolerances) -> StructureMatcher:
    return StructureMatcher(tolerances.ltol, tolerances.stol, tolerances.angle_tol)


def against_plain(
    crystals: Crystals, known: Crystals, tolerances: Tolerances, n: int
) -> dict[str, Any]:
    """The same answer by ``fit`` of each pair, and by ``group_structures``."""
    matcher = matcher_of(tolerances)
    keys = reduced_composition_numbers(Crystals.concatenate([crystals, known]))
    shared = np.flatnonzero(np.isin(keys[: len(crystals)], keys[len(crystals) :]))[:n]
    wanted = np.flatnonzero(np.isin(keys[len(crystals) :], keys[shared]))
    structures, theirs = to_pymatgen(crystals[shared]), to_pymatgen(known[wanted])
    groups = {key: np.flatnonzero(keys[len(crystals) + wanted] == key) for key in keys[shared]}

    def by_pairs() -> list[int]:
        return [
            next((int(wanted[k]) for k in groups[key] if matcher.fit(theirs[k], one)), -1)
            for key, one in zip(keys[shared], structures, strict=True)
        ]

    pairs, plain = timed(by_pairs)
    ours, fast = timed(lambda: alike_in(crystals[shared], known, tolerances=tolerances))
    # The same number of crystals in groups of one composition.
    counts = np.bincount(keys[: len(crystals)])
    many = np.flatnonzero(counts[keys[: len(crystals)]] > 1)
    many = many[np.argsort(keys[many], kind="stable")][:n]
    grouped, plain_groups = timed(lambda: matcher.group_structures(to_pymatgen(crystals[many])))
    first, fast_groups = timed(lambda: first_alike(crystals[many], tolerances=tolerances))
    return {
        "novelty": {
            "n": len(shared),
            "n_novel": pairs.count(-1),
            "n_that_differ_in_being_novel": int(
                ((np.array(pairs) < 0) != (ours.positions < 0)).sum()
            ),
            "n_that_differ_in_position": int((np.array(pairs) != ours.positions).sum()),
            "plain_processor_s": plain["processor_s"],
            "ours_processor_s": fast["processor_s"],
        },
        "uniqueness": {
            "n": len(many),
            "n_groups_of_pymatgen": len(grouped),
            "n_groups": len(np.unique(first.positions)),
            "plain_processor_s": plain_groups["processor_s"],
            "ours_processor_s": fast_groups["processor_s"],
        },
    }


def without_keys(crystals: Crystals, known: Crystals, novel: np.ndarray, n: int) -> dict[str, Any]:
    """``fit`` of the first crystals with each known one, whatever its composition."""
    matcher, theirs, ours = StructureMatcher(), to_pymatgen(known), to_pymatgen(crystals[:n])
    found, times = timed(lambda: [[matcher.fit(one, other) for one in theirs] for other in ours])
    n_pairs = n * len(known)
    return {
        "n": n,
        "n_that_differ_in_being_novel": int((~np.array(found).any(axis=1) != novel[:n]).sum()),
        "processor_ms_a_pair": 1e3 * times["processor_s"] / n_pairs,
        "hours_for_all_pairs": times["processor_s"] / n * len(crystals) / 3600,
    }


def of_pairs(crystals: Crystals, tolerances: Tolerances, n: int) -> dict[str, int]:
    """Pairs and triples of one composition: where "the same" is not symmetric or transitive."""
    keys = reduced_composition_numbers(crystals)
    counts = np.bincount(keys)
    chosen = np.flatnonzero((counts[keys] > 2) & (counts[keys] < 9))
    reduced, failures = reduce_crystals(crystals[chosen], tolerances)
    chosen = np.delete(chosen, [failure.index for failure in failures])
    cells, fitter = [Cell(one) for one in reduced], Fitter(tolerances)
    found = {"pairs": 0, "same": 0, "same_one_way_only": 0, "chains": 0, "chains_not_closed": 0}
    for key in np.unique(keys[chosen]):
        group = np.flatnonzero(keys[chosen] == key).tolist()
        same = {}
        for i, j in combinations(group, 2):
            same[i, j] = fitter.fit(cells[i], cells[j])
            same[j, i] = fitter.fit(cells[j], cells[i])
            found["pairs"] += 1
            found["same"] += same[i, j]
            found["same_one_way_only"] += same[i, j] != same[j, i]
        for triple in combinations(group, 3):
            links = sum(same[pair] for pair in combinations(triple, 2))
            found["chains"] += links >= 2
            found["chains_not_closed"] += links == 2
        if found["pairs"] >= n:
            break
    return found


def of_shaken(known: Crystals, n: int, rng: np.random.Generator) -> list[dict[str, float]]:
    """Crystals and themselves, each coordinate of each site moved by a normal deviate (Å)."""
    some = known[rng.integers(0, len(known), n)]
    fitter, found = Fitter(PYMATGEN), []
    for sites in (0.1, 0.2, 0.3, 0.4, 0.5, 0.8):
        reduced, failures = reduce_crystals(
            Crystals.concatenate([some, moved(some, rng, sites)]), PYMATGEN
        )
        if failures:
            raise RuntimeError(f"not reduced: {failures}")
        cells = [Cell(one) for one in reduced]
        there = np.array([fitter.fit(cells[i], cells[n + i]) for i in range(n)])
        back = np.array([fitter.fit(cells[n + i], cells[i]) for i in range(n)])
        found.append(
            {
                "standard_deviation_angstrom": sites,
                "n": n,
                "n_same": int(there.sum()),
                "n_same_one_way_only": int((there != back).sum()),
            }
        )
    return found


def one_composition(n: int, rng: np.random.Generator, cube: bool) -> Crystals:
    """n random arrangements of Ti2Si4O8, in random cells or all in one cube."""
    cells = np.tile(np.eye(3), (n, 1, 1))
    if not cube:
        cells = cells + rng.uniform(-0.3, 0.3, (n, 3, 3))
    cells *= (14 * 12 / np.abs(np.linalg.det(cells)))[:, None, None] ** (1 / 3)
    numbers = np.tile(np.repeat([22, 14, 8], [2, 4, 8]), n)
    return Crystals(cells, rng.random((14 * n, 3)), numbers, 14 * np.arange(n + 1))


def worst_cases(n: int, n_worst: int, rng: np.random.Generator) -> dict[str, Any]:
    few = one_composition(20, rng, cube=False)
    shaken = moved(few[rng.integers(0, len(few), n)], rng)
    first, times = timed(lambda: first_alike(shaken, jobs=JOBS).positions)
    cases: dict[str, Any] = {
        "of_20_kinds": {"n": n, "n_found": len(np.unique(first)), **times},
    }
    for name, tolerances, cube, size in (
        ("in_random_cells", PYMATGEN, False, n_worst),
        ("in_one_cube", PYMATGEN, True, n_worst // 4),
        ("in_random_cells_cdvae", CDVAE, False, n_worst // 4),
    ):
        crystals = one_composition(size, rng, cube)
        found, times = timed(
            lambda c=crystals, t=tolerances: first_alike(c, tolerances=t, jobs=JOBS)
        )
        kept = len(np.unique(found.positions))
        pairs = size * (size - 1) / 2
        cases[name] = {
            "n": size,
            "n_found": kept,
            **times,
            "processor_ms_a_pair": 1e3 * times["processor_s"] / pairs,
            "processor_hours_for_10000_if_quadratic": times["processor_s"]
            * (1e4 / size) ** 2
            / 3600,
        }
    return cases


class Kept(Evidence):
    """Evidence that keeps what it was asked for, as that of the workflow does."""

    def once(self, name: str, function: Callable[[], Any]) -> Any:
        kept = self.__dict__.setdefault("kept", {})
        if name not in kept:
            kept[name] = function()
        return kept[name]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--known", type=int, default=27_136)
    parser.add_argument("--sample", type=int, default=1_000)
    parser.add_argument("--worst", type=int, default=600)
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    parts = ("train.csv.gz", "val.csv.gz")
    known = Crystals.concatenate(
        [read(SHARED_DATA / "mp20" / name, structure_column="cif").crystals for name in parts]
    )
    more = substituted(known[rng.integers(0, len(known), max(0, given.known - len(known)))], rng)
    known = Crystals.concatenate([known[: given.known], more])
    crystals, kinds = generated(known, given.n, rng)
    evidence = Kept(Attempts.of(crystals), train=known, jobs=JOBS)
    unique, of_uniqueness = timed(lambda: is_unique(evidence))
    novel, of_novelty = timed(lambda: is_novel(evidence))
    figures, of_others = timed(lambda: measure(evidence))
    with_cdvae, of_cdvae = timed(lambda: is_novel(evidence, CDVAE))
    names = ("moved_and_shaken_known", "again", "substituted", "random_sites")
    of_kinds = {
        name: {
            "n": int((kinds == i).sum()),
            "n_unique": int(unique[kinds == i].sum()),
            "n_novel": int(novel[kinds == i].sum()),
        }
        for i, name in enumerate(names)
    }
    record(
        "novelty",
        {
            "n_generated": len(crystals),
            "n_known": len(known),
            "processes": JOBS,
            "uniqueness": of_uniqueness,
            "novelty": of_novelty,
            "compositions_and_prototypes": of_others,
            "novelty_cdvae_tolerances": {"value": float(with_cdvae.mean()), **of_cdvae},
            "values": {figure.name: figure.value for figure in figures},
            "n_refused": sum(figures[0].failures.values()) + sum(figures[-1].failures.values()),
            "what_was_made": of_kinds,
            "plain_pairs_without_keys": without_keys(crystals, known, novel, 1),
            "plain_pairs": against_plain(crystals, known, PYMATGEN, given.sample),
            "plain_pairs_cdvae": against_plain(crystals, known, CDVAE, given.sample // 2),
            "pairs_of_known": of_pairs(known, PYMATGEN, 4 * given.sample),
            "pairs_of_known_cdvae": of_pairs(known, CDVAE, 4 * given.sample),
            "shaken": of_shaken(known, given.sample // 2, rng),
            "one_composition": worst_cases(given.n, given.worst, rng),
        },
        packages=("pymatgen-core", "scipy", "moyopy"),
    )


if __name__ == "__main__":
    main()
