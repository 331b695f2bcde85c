"""Relaxing perturbed MP-20 cells: ours, many at once, beside the potential's own way, one by one.

python benchmarks/relaxation.py --potential chgnet-0.3.0 --n 24 --jobs 2
python benchmarks/relaxation.py --potential sevennet-0-11jul2024 --n 12

Sites of validation crystals of MP-20 are moved by a normal deviate of 0.1 Å an axis, cells
strained by one of 3 %. CHGNet's own way is its ``StructOptimizer``, SevenNet's its calculator under
ASE's FIRE; both move the cell through ``FrechetCellFilter`` and stop at the same force. Times are
of this process's processor, since others share the cores. ``--jobs 2`` also measures the wall time
of two processes, for 256 crystals.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from pathlib import Path

from record import record  # isort: skip

import numpy as np
import torch

from crystalcodec import Crystals, Dataset
from crystalcodec.io import to_ase
from crystalcodec.relaxation import load_potential, relax
from crystalcodec.representations.potentials import SEVENNET_NAMES, load_chgnet, quiet

MAX_FORCE = 0.05


def perturbed(path: str, n: int) -> Crystals:
    """Crystals drawn at random, sites and cells perturbed."""
    crystals = Dataset.read(path).crystals
    rng = np.random.default_rng(0)
    chosen = crystals[np.sort(rng.choice(len(crystals), n, replace=False))]
    strains = rng.normal(size=(n, 3, 3)) * 0.03
    lattices = chosen.lattices @ (np.eye(3) + (strains + strains.transpose(0, 2, 1)) / 2)
    strained = Crystals(lattices, chosen.frac_coords, chosen.numbers, chosen.offsets)
    moved = strained.cart_coords + rng.normal(size=strained.frac_coords.shape) * 0.1
    return Crystals(lattices, strained.to_fractional(moved), chosen.numbers, chosen.offsets)


def own_way(crystals: Crystals, potential: str) -> tuple[list[int], list[float], list[float]]:
    """Evaluations, energies (eV/atom) and largest stresses (GPa) of the potential's own way."""
    from ase.filters import FrechetCellFilter
    from ase.optimize import FIRE

    steps, energies, stresses = [], [], []
    if potential.startswith("chgnet"):
        from chgnet.model.dynamics import StructOptimizer

        own = StructOptimizer(load_chgnet(potential).network, use_device="cpu")
        for atoms in to_ase(crystals):
            found = own.relax(atoms, fmax=MAX_FORCE, steps=500, verbose=False)["trajectory"]
            steps.append(len(found.energies) - 2)  # it keeps the last twice
            energies.append(float(found.energies[-1]) / len(atoms))
            stresses.append(float(np.abs(found.stresses[-1]).max()) * 160.21766208)
        return steps, energies, stresses
    from sevenn.calculator import SevenNetCalculator

    calculator = SevenNetCalculator(SEVENNET_NAMES[potential], device="cpu")
    for atoms in to_ase(crystals):
        atoms.calc = calculator
        optimiser = FIRE(FrechetCellFilter(atoms), logfile=None)
        optimiser.run(fmax=MAX_FORCE, steps=500)
        steps.append(optimiser.get_number_of_steps())
        energies.append(float(atoms.get_potential_energy()) / len(atoms))
        stresses.append(float(np.abs(atoms.get_stress()).max()) * 160.21766208)
    return steps, energies, stresses


def in_processes(crystals: Crystals, potential: str, jobs: int) -> float:
    """Wall seconds of so many processes, their start with it."""
    from crystalcodec.workflow.relaxing import relax_in_parts

    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        relax_in_parts(crystals, Path(folder) / "run", potential, jobs=jobs)
        return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--potential", default="chgnet-0.3.0")
    parser.add_argument("--n", type=int, default=24)
    parser.add_argument("--data", default="runs/mp20/val.parquet")
    parser.add_argument("--jobs", type=int)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    crystals = perturbed(options.data, options.n)
    potential = load_potential(options.potential)
    potential.evaluate(crystals[:2])  # what is made ready once
    start = time.process_time()
    ours = relax(crystals, potential, max_force=MAX_FORCE)
    seconds = time.process_time() - start
    start = time.process_time()
    with quiet():
        steps, energies, stresses = own_way(crystals, options.potential)
    own_seconds = time.process_time() - start
    if len(ours.positions) < options.n:
        raise SystemExit(f"{len(ours.failures)} crystals failed: {ours.failures[0]}")
    apart = (ours.energies - np.array(energies)) * 1000
    figures = {
        "potential": options.potential,
        "n": options.n,
        "mean_sites": float(crystals.n_sites.mean()),
        "max_force": MAX_FORCE,
        "settings": ours.settings,
        "ratio_of_processor_times": own_seconds / seconds,
        "ours": {
            "crystals_per_processor_minute": 60 * options.n / seconds,
            "processor_seconds": seconds,
            "mean_steps": float(ours.n_steps.mean()),
            "converged": int(ours.converged.sum()),
            "median_max_stress_GPa": float(np.median(ours.max_stresses)),
        },
        "own": {
            "crystals_per_processor_minute": 60 * options.n / own_seconds,
            "processor_seconds": own_seconds,
            "mean_steps": float(np.mean(steps)),
            "converged": int((np.array(steps) < 500).sum()),
            "median_max_stress_GPa": float(np.median(stresses)),
        },
        "energy_ours_minus_own_meV_per_atom": {
            "median": float(np.median(apart)),
            "mean": float(apart.mean()),
            "quantiles_0_10_90_100": np.quantile(apart, [0, 0.1, 0.9, 1]).tolist(),
            "within_1": int((np.abs(apart) <= 1).sum()),
            "lower_by_more_than_1": int((apart < -1).sum()),
            "higher_by_more_than_1": int((apart > 1).sum()),
        },
    }
    if options.jobs:
        # A process takes 64 crystals at once: fewer would leave one without work.
        several = 128 * options.jobs
        wall = in_processes(perturbed(options.data, several), options.potential, options.jobs)
        figures["processes"] = {
            "jobs": options.jobs,
            "n": several,
            "wall_seconds_with_start": wall,
            "crystals_per_minute": 60 * several / wall,
        }
    packages = ("chgnet",) if options.potential.startswith("chgnet") else ("sevenn",)
    record(f"relaxation_{options.potential}", figures, packages=(*packages, "torch", "ase"))


if __name__ == "__main__":
    main()
