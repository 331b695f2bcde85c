"""Relaxation of one decorated structure type with CHGNet, inside its symmetry.

Only the few variables that the space group leaves free move (coefficients of invariant strains
and displacements), so the symmetry holds by construction and about ten evaluations suffice. A
crystal relaxed this way may be a saddle point of the potential: nothing tests whether breaking
the symmetry would lower the energy.

CHGNet: DOI 10.1038/s42256-023-00716-3.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from chgnet.model import CHGNet
from chgnet.model.model import BatchedGraph
from numpy.typing import NDArray
from pymatgen.core import Element, Lattice, Structure

from prototype_chemistry import Candidate, slater_radius
from prototype_symmetry import Template, template

FloatArray = NDArray[np.float64]

MODEL = "0.3.0"
EV_PER_CUBIC_ANGSTROM_IN_GPA = 160.21766208
#: The relaxation stops when the largest force component and stress component are below these.
FORCE_GOAL, STRESS_GOAL = 0.005, 0.05  # eV/Å, GPa
MAX_EVALUATIONS = 80
#: Largest strain and displacement (Å) of one step.
MAX_STRAIN_STEP, MAX_SHIFT_STEP = 0.06, 0.15
#: Guesses of curvature that scale the steps: 80 GPa for the cell, 5 eV/Å² for a site.
CELL_STIFFNESS, SITE_STIFFNESS = 0.5, 5.0
#: A crystal whose volume leaves this window around the starting one fell apart or collapsed.
VOLUME_WINDOW = (0.4, 3.0)
#: Shortest distance allowed, in sums of Slater radii.
SHORTEST_DISTANCE = 0.65
LATTICE_DECIMALS, COORDINATE_DECIMALS = 6, 8


class DropError(Exception):
    """A candidate leaves the dataset; ``args[0]`` is the countable reason."""


@dataclass(frozen=True)
class Relaxed:
    """Outcome of one relaxation, one line of the checkpoint.

    Attributes
    ----------
    key
        Name of the candidate.
    reason
        Why it was dropped, empty if it was not.
    lattice
        Rows a, b, c (Å), flattened; empty if dropped.
    frac_coords
        Fractional coordinates, flattened; empty if dropped.
    numbers
        Atomic numbers.
    energy
        CHGNet energy (eV/atom).
    evaluations
        How many times CHGNet was called.
    """

    key: str
    reason: str
    lattice: list[float]
    frac_coords: list[float]
    numbers: list[int]
    energy: float
    evaluations: int

    def structure(self) -> Structure:
        """The crystal with the decimals that the dataset stores."""
        # Adding zero turns -0.0 into 0.0.
        lattice = np.round(np.reshape(self.lattice, (3, 3)), LATTICE_DECIMALS) + 0.0
        coords = np.round(np.reshape(self.frac_coords, (-1, 3)) % 1.0, COORDINATE_DECIMALS) % 1.0
        return Structure(Lattice(lattice), self.numbers, coords)


class Potential:
    """CHGNet's energy of one crystal and its derivatives by cell and fractional coordinates.

    CHGNet's own ``predict_structure`` keeps what second derivatives need; leaving that out makes
    a relaxation about three times faster and gives the same numbers.
    """

    def __init__(self) -> None:
        torch.set_num_threads(1)
        torch.use_deterministic_algorithms(True)
        self.model = CHGNet.load(model_name=MODEL, use_device="cpu", verbose=False).eval()
        for parameter in self.model.parameters():
            parameter.requires_grad_(False)

    def __call__(
        self, lattice: FloatArray, coords: FloatArray, numbers: list[int]
    ) -> tuple[float, FloatArray, FloatArray]:
        """Energy (eV per cell), dE/dlattice (3, 3), dE/dfrac_coords (n, 3), both in eV/unit."""
        graph = self.model.graph_converter(Structure(Lattice(lattice), numbers, coords))
        batch = BatchedGraph.from_graphs(
            [graph],
            bond_basis_expansion=self.model.bond_basis_expansion,
            angle_basis_expansion=self.model.angle_basis_expansion,
        )
        per_atom = self.model._compute(batch)["e"]
        by_lattice, by_coords = torch.autograd.grad(
            per_atom.sum() * len(numbers), [graph.lattice, graph.atom_frac_coord]
        )
        energy = float(per_atom.sum() + self.model.composition_model([graph]).sum())
        return (
            energy * len(numbers),
            by_lattice.numpy().astype(np.float64),
            by_coords.numpy().astype(np.float64),
        )

    def public(self, structure: Structure) -> tuple[float, float, float]:
        """Energy (eV/atom), largest force (eV/Å) and stress (GPa) from CHGNet's own interface."""
        found = self.model.predict_structure(structure, task="efs")
        energy, force, stress = (np.asarray(found[key], dtype=np.float64) for key in "efs")
        return float(energy), float(np.abs(force).max()), float(np.abs(stress).max())


@dataclass(frozen=True)
class Point:
    """A place on the way of a relaxation: the free variables, the crystal, energy and slopes."""

    x: FloatArray
    lattice: FloatArray
    coords: FloatArray
    energy: float
    gradient: FloatArray
    force: float
    stress: float


class SymmetricRelaxation:
    """Relaxation of cell and positions in the few variables that the symmetry leaves free.

    The variables are coefficients of the invariant strains and displacements, scaled so that a
    typical crystal has unit curvature in each, as BFGS with a step limit wants it.
    """

    def __init__(self, potential: Potential, shape: Template, numbers: list[int]) -> None:
        self.potential, self.shape, self.numbers = potential, shape, numbers
        self.lattice0 = shape.lattice * _starting_scale(shape, numbers)
        self.inverse0 = np.linalg.inv(self.lattice0)
        volume = abs(np.linalg.det(self.lattice0))
        k, m = len(shape.strains), len(shape.shifts)
        self.scale = np.sqrt(np.r_[np.full(k, CELL_STIFFNESS * volume), np.full(m, SITE_STIFFNESS)])
        self.evaluations = 0

    def point(self, x: FloatArray) -> Point:
        """Evaluate the potential at the free variables ``x``."""
        strain, shift = self._move(x)
        lattice = self.lattice0 @ (np.eye(3) + strain)
        coords = self.shape.coords + shift @ self.inverse0
        volume = float(np.linalg.det(lattice)) / float(np.linalg.det(self.lattice0))
        if not VOLUME_WINDOW[0] <= volume <= VOLUME_WINDOW[1]:
            raise DropError("cell exploded or collapsed")
        self.evaluations += 1
        try:
            energy, by_lattice, by_coords = self.potential(lattice, coords, self.numbers)
        except ValueError as error:  # CHGNet's word for atoms without neighbours within 6 Å
            raise DropError("isolated atoms") from error
        by_strain = np.einsum("kij,ij->k", self.shape.strains, self.lattice0.T @ by_lattice)
        by_shift = np.einsum("mij,ij->m", self.shape.shifts, by_coords @ self.inverse0.T)
        forces = by_coords @ np.linalg.inv(lattice).T
        stress = lattice.T @ by_lattice / abs(np.linalg.det(lattice))
        return Point(
            x,
            lattice,
            coords,
            energy,
            np.r_[by_strain, by_shift] / self.scale,
            float(np.abs(forces).max()),
            float(np.abs(stress + stress.T).max()) / 2 * EV_PER_CUBIC_ANGSTROM_IN_GPA,
        )

    def run(self) -> Point:
        """Relax; raises :class:`DropError` if the goals are not met."""
        here = self.point(np.zeros(len(self.scale)))
        hessian, trust = np.eye(len(self.scale)), 1.0
        # Energies are single precision: differences under this (eV) are noise.
        noise = 2e-6 * len(self.numbers)
        while here.force > FORCE_GOAL or here.stress > STRESS_GOAL:
            if self.evaluations >= MAX_EVALUATIONS or trust < 1e-3:
                raise DropError("relaxation did not converge")
            step = self._step(hessian, here.gradient, trust)
            there = self.point(here.x + step)
            change = there.gradient - here.gradient
            curvature = float(step @ change)
            if curvature > 1e-10:
                image = hessian @ step
                hessian += np.outer(change, change) / curvature
                hessian -= np.outer(image, image) / float(step @ image)
            if there.energy <= here.energy + noise:
                here, trust = there, min(1.0, 2.0 * trust)
            else:
                trust *= 0.35
        return here

    def _move(self, x: FloatArray) -> tuple[FloatArray, FloatArray]:
        k = len(self.shape.strains)
        free = x / self.scale
        strain = np.einsum("k,kij->ij", free[:k], self.shape.strains)
        shift = np.einsum("m,mij->ij", free[k:], self.shape.shifts)
        return strain, shift

    def _step(self, hessian: FloatArray, gradient: FloatArray, trust: float) -> FloatArray:
        values, vectors = np.linalg.eigh(hessian)
        # Absolute values send the step downhill where the curvature is negative.
        step = -vectors @ ((vectors.T @ gradient) / np.maximum(np.abs(values), 0.02))
        strain, shift = self._move(step)
        length = max(
            float(np.abs(strain).max()) / MAX_STRAIN_STEP,
            float(np.abs(shift).max(initial=0.0)) / MAX_SHIFT_STEP,
        )
        return np.asarray(step * min(1.0, trust / max(length, 1e-12)))


def _shortest_contacts(lattice: FloatArray, coords: FloatArray, numbers: list[int]) -> FloatArray:
    """Per site, the shortest distance to another site in units of the sum of Slater radii."""
    radii = np.array([slater_radius(Element.from_Z(z).symbol) for z in numbers])
    reach = 2.6 * max(np.linalg.norm(lattice, axis=1))
    centre, other, _, distance = Structure(Lattice(lattice), numbers, coords).get_neighbor_list(
        reach
    )
    contacts = np.full(len(numbers), np.inf)
    np.minimum.at(contacts, centre, distance / (radii[centre] + radii[other]))
    return contacts


def _starting_scale(shape: Template, numbers: list[int]) -> float:
    """Factor on the template's cell that makes neighbours touch in Slater's radii."""
    contacts = _shortest_contacts(shape.lattice, shape.coords, numbers)
    return 1.0 / float(np.mean(contacts))


def relax(potential: Potential, candidate: Candidate) -> Relaxed:
    """Relax one candidate; a failure is an outcome, not an exception."""
    shape = template(candidate.prototype)
    by_role = dict(candidate.elements)
    numbers = [Element(by_role[role]).Z for role in shape.roles]
    relaxation = SymmetricRelaxation(potential, shape, numbers)
    try:
        end = relaxation.run()
        if _shortest_contacts(end.lattice, end.coords, numbers).min() < SHORTEST_DISTANCE:
            raise DropError("sites closer than 0.65 sums of Slater radii")
    except DropError as drop:
        return Relaxed(
            candidate.key, str(drop), [], [], numbers, float("nan"), relaxation.evaluations
        )
    return Relaxed(
        candidate.key,
        "",
        end.lattice.ravel().tolist(),
        end.coords.ravel().tolist(),
        numbers,
        end.energy / len(numbers),
        relaxation.evaluations,
    )
