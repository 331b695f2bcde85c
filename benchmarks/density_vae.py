"""A density VAE on held-out crystals: atoms found, false atoms, places, species, matches.

Each crystal of a random choice is encoded to a code without noise and decoded again. Atoms found
are matched with those that are there, one to one, so that as many pairs as can be are nearer than
the cutoff (``generators.density_vae.found_atoms``): in a cube those inside of it, with no lattice
told; on the grid of the cell by fractional coordinates in the true cell, nearest images. An atom
of a crystal that cannot be held or decoded was not found. The match rate is StructureMatcher's
with the tolerances of CDVAE, over all crystals. In a cube the atoms are also found with the true
density, or the true species, in the place of what the networks give. With ``--film-strip`` the way
from the first crystal to the second is drawn.

    python benchmarks/density_vae.py runs/density_vae_cell runs/mp20/val.parquet --n 500
"""

from __future__ import annotations

from record import record  # first: it sets the number of threads

# isort: split
import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from crystalcodec import Dataset
from crystalcodec.crystals import Crystals
from crystalcodec.evaluation.base import Attempts
from crystalcodec.evaluation.reconstruction import measure_pairs
from crystalcodec.failures import Failure, count_reasons
from crystalcodec.generators.density_vae import DensityVAE
from crystalcodec.generators.density_vae.found_atoms import FoundAtoms, match_atoms
from crystalcodec.plots.film_strip import film_strip
from crystalcodec.plots.results import save
from crystalcodec.representations.base import Decoded
from crystalcodec.representations.density_cube import DensityCube
from crystalcodec.representations.density_cube.atoms import place
from crystalcodec.workflow.generating.runs import open_generator

BATCH = 64
Arrays = dict[str, Any]


def reconstruct(
    generator: DensityVAE, crystals: Crystals
) -> Iterator[tuple[np.ndarray, Arrays, Arrays]]:
    """Positions of the crystals that are held, their arrays, and what comes back, in batches."""
    for start in range(0, len(crystals), BATCH):
        encoded = generator.representation.encode(crystals[start : start + BATCH])
        if not len(encoded):
            continue
        with torch.no_grad():
            batch = {name: torch.from_numpy(np.array(a)) for name, a in encoded.arrays.items()}
            made = generator.decode(generator.encode(batch))
        yield start + encoded.index, dict(encoded.arrays), {k: t.numpy() for k, t in made.items()}


def in_cube(
    cube: DensityCube, crystals: Crystals, arrays: Arrays, made: Arrays, cutoff: float
) -> list[FoundAtoms]:
    """Atoms found in each cube against those inside of it."""
    atoms = cube.atoms(made)
    found = {int(i): slice(*atoms.offsets[k : k + 2]) for k, i in enumerate(atoms.index)}
    outcomes = []
    for i in range(len(crystals)):
        crystal = crystals[i]
        if cube.mode == "cell":
            places, numbers = crystal.cart_coords + arrays["origin"][i], crystal.numbers
        else:
            placed = place(crystal, cube.edge, 0.0)
            places, numbers = placed.positions, crystal.numbers[placed.sites]
        here = found.get(i, slice(0, 0))
        outcomes.append(
            match_atoms(atoms.positions[here], atoms.numbers[here], places, numbers, cutoff)
        )
    return outcomes


def in_cell(crystals: Crystals, decoded: Decoded, cutoff: float) -> list[FoundAtoms]:
    """Atoms of each decoded crystal against those of the crystal that it should be."""
    found = dict(zip(decoded.index.tolist(), decoded.crystals, strict=True))
    outcomes = []
    for i in range(len(crystals)):
        crystal, got = crystals[i], found.get(i)
        coords = np.zeros((0, 3)) if got is None else got.frac_coords
        numbers = np.zeros(0, int) if got is None else got.numbers
        outcomes.append(
            match_atoms(
                coords,
                numbers,
                crystal.frac_coords,
                crystal.numbers,
                cutoff,
                crystal.lattices[0],
            )
        )
    return outcomes


def of_atoms(outcomes: list[FoundAtoms], n_refused: int) -> dict[str, Any]:
    """Figures over all atoms; ``n_refused`` atoms are of crystals that are not held."""
    wanted = sum(one.n_wanted for one in outcomes) + n_refused
    found = sum(one.n_found for one in outcomes)
    matched = sum(one.n_matched for one in outcomes)
    named = sum(int(one.named.sum()) for one in outcomes)
    distances = np.concatenate([one.distances for one in outcomes])
    return {
        "n_atoms": wanted,
        "atoms_found": matched / max(wanted, 1),
        "false_atoms_per_atom_found": (found - matched) / max(matched, 1),
        "position_error_mean_angstrom": float(distances.mean()) if matched else None,
        "position_error_median_angstrom": float(np.median(distances)) if matched else None,
        "species_accuracy_of_atoms_found": named / max(matched, 1),
        "atoms_found_and_named": named / max(wanted, 1),
        "crystals_with_all_atoms_and_no_other": sum(
            one.n_matched == one.n_wanted == one.n_found for one in outcomes
        ),
        "crystals_with_all_species_too": sum(
            one.n_matched == one.n_wanted == one.n_found and bool(one.named.all())
            for one in outcomes
        ),
    }


def joined(
    n: int, parts: list[tuple[np.ndarray, Decoded]], refused: tuple[Failure, ...]
) -> Attempts:
    """All crystals as attempts: decoded, not decoded, not held."""
    crystals = Crystals.concatenate([decoded.crystals for _, decoded in parts])
    positions = np.concatenate([where[decoded.index] for where, decoded in parts])
    failures = [
        Failure(int(where[f.index]), f.reason, f.detail)
        for where, decoded in parts
        for f in decoded.failures
    ]
    return Attempts(crystals, positions, n, (*failures, *refused))


def matches(crystals: Crystals, attempts: Attempts) -> dict[str, float | None]:
    """Match rate and distances; None where no crystal has one."""
    names = ("match_rate", "match_rms", "length_error", "angle_error")
    figures = [f for f in measure_pairs(crystals, attempts) if f.name in names]
    return {f.name: None if np.isnan(f.value) else f.value for f in figures}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--n", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cutoff", type=float, default=0.5, help="Å")
    parser.add_argument("--film-strip", type=Path, help="a PNG to write")
    options = parser.parse_args()
    torch.set_num_threads(1)
    run = open_generator(options.run)
    generator, representation = run.generator, run.representation
    if not isinstance(generator, DensityVAE):
        parser.error(f"{options.run} is a run of {generator.name}, wanted one of density_vae")
    crystals = Dataset.read(options.dataset).crystals.right_handed()
    chosen = np.random.default_rng(options.seed).permutation(len(crystals))[: options.n]
    crystals = crystals[np.sort(chosen)]
    refused = tuple(representation.refuse(crystals))
    cube = isinstance(representation, DensityCube)
    outcomes: list[FoundAtoms] = []
    true: dict[str, list[FoundAtoms]] = {"density": [], "species": []}
    own, given = [], []
    began = time.process_time()
    for where, arrays, made in reconstruct(generator, crystals):
        own.append((where, representation.decode(made)))
        cells = ("lattice", "origin") if cube else ("cell_parameters",)
        told = {name: arrays[name] for name in cells if name in arrays}
        given.append((where, representation.decode({**made, **told})))
        if cube:
            held = crystals[where]
            outcomes += in_cube(representation, held, arrays, made, options.cutoff)
            for name, found in true.items():
                mixed = {**made, name: arrays[name]}
                found += in_cube(representation, held, arrays, mixed, options.cutoff)
        else:
            outcomes += in_cell(crystals[where], own[-1][1], options.cutoff)
    seconds = time.process_time() - began
    n_refused = int(crystals.n_sites[[failure.index for failure in refused]].sum())
    attempts = joined(len(crystals), own, refused)
    record(
        f"density_vae_{options.run.name}",
        {
            "run": str(options.run),
            "config": dict(run.record["config"]),
            "n_parameters": run.record["n_parameters"],
            "training": run.record["history"],
            "data": run.record["data"],
            "held_out": str(options.dataset),
            "n": len(crystals),
            "seed": options.seed,
            "cutoff_angstrom": options.cutoff,
            "not_held": count_reasons(refused),
            "not_decoded": attempts.reasons(),
            "n_decoded": len(attempts.crystals),
            **of_atoms(outcomes, n_refused),
            **matches(crystals, attempts),
            # In a cube: which half of what the networks give loses the atoms.
            **{f"with_the_true_{k}": of_atoms(v, n_refused) for k, v in true.items() if v},
            "with_the_true_cell": matches(crystals, joined(len(crystals), given, refused)),
            "seconds": seconds,
        },
        packages=("torch", "monai", "pymatgen", "scipy"),
    )
    if options.film_strip:
        held = crystals[representation.encode(crystals[:50]).index]
        strip = film_strip(generator, held[0], held[1])
        ends = f"{held.formulas[0]} to {held.formulas[1]}"
        save(strip.draw(ends), options.film_strip)


if __name__ == "__main__":
    main()
